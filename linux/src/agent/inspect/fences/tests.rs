//! Fence agents that are there, missing, odd or wrong.

use super::*;
use crate::agent::inspect::{Lack, inspect};
use crate::settings::tests::{EXAMPLE, Folder};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What an agent of Red Hat's cluster says, with `parameters` and `actions` in it.
fn rhcs(actions: &str) -> String {
    format!(
        "#!/bin/sh\nread line; [ \"$line\" = action=metadata ] || exit 1\ncat <<END\n\
         <?xml version=\"1.0\" ?><resource-agent name=\"fence_own\"><parameters>\n\
         <parameter name=\"action\" required=\"1\"><content default=\"reboot\"/></parameter>\n\
         <parameter name=\"ipaddr\" required=\"1\" deprecated=\"1\"><content/></parameter>\n\
         <parameter name=\"ip\" required=\"1\" obsoletes=\"ipaddr\"><content/></parameter>\n\
         <parameter name=\"passwd\" deprecated=\"1\"/>\n\
         <parameter name=\"password\" obsoletes=\"passwd\"/>\n\
         </parameters><actions>{actions}</actions></resource-agent>\nEND\n"
    )
}

const ACTIONS: &str = "<action name=\"on\" automatic=\"0\"/><action name=\"off\"/>\
    <action name=\"reboot\"/><action name=\"status\"/><action name=\"monitor\"/>";

const EXTERNAL: &str = "#!/bin/sh\ncase $1 in\ngetconfignames) echo hostlist odd ;;\n\
    getinfo-xml) echo '<parameters><parameter name=\"hostlist\" required=\"1\"><content/>\
    </parameter></parameters>' ;;\n*) exit 1 ;;\nesac\n";

fn machine(name: &str, script: &str, mode: u32) -> Folder {
    let folder = Folder::new("fences");
    let path = folder.path.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

/// Returns what beta is told about the fence of alpha that `lines` describe, and whether its agent
/// can tell if alpha has power. `DIRECTORY` in them is the machine's.
fn said(machine: &Folder, lines: &str, lack: Lack) -> Result<(Vec<String>, bool), String> {
    let lines = lines.replace("DIRECTORY", &machine.path.display().to_string());
    let source = EXAMPLE.replace("guard = \"address\"", "guard = \"fence\"");
    let source = source.replace("votes = 1\n", &format!("{lines}\n"));
    let parsed = Settings::parse("test.toml", &source);
    let mut settings = parsed.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let beta = settings.node("beta").unwrap();
    let advice = inspect(&mut settings, beta, ("test.toml", &source), lack);
    let advice = advice.map_err(|mistakes| mistakes.to_string())?;
    Ok((advice, settings.nodes[0].fence[0].tells))
}

const OWN: &str = "[[node.fence]]\nagent = \"DIRECTORY/fence_own\"\n";

#[test]
fn a_fence_that_knows_its_parameters_is_good() {
    let machine = machine("fence_own", &rhcs(ACTIONS), 0o755);
    let lines = format!("{OWN}parameters = {{ ip = \"10.0.0.1\" }}");
    assert_eq!(said(&machine, &lines, Lack::Refused), Ok((Vec::new(), true)));
    let old = format!("{OWN}parameters = {{ ipaddr = \"10.0.0.1\" }}");
    let (advice, _) = said(&machine, &old, Lack::Refused).unwrap();
    assert!(advice[0].ends_with("deprecates `ipaddr` in favour of `ip`"), "{advice:?}");
}

#[test]
fn what_a_fence_lacks_is_said_where_it_stands() {
    let good = rhcs(ACTIONS);
    let no_off = rhcs("<action name=\"reboot\"/><action name=\"on\"/>");
    let lets_in = rhcs(&ACTIONS.replace("automatic=\"0\"", "automatic=\"1\""));
    let ip = "parameters = { ip = \"1\" }\n";
    for (script, mode, lines, expected) in [
        (&good, 0o755, "".to_owned(), "the parameter `ip` is missing"),
        (
            &good,
            0o755,
            "parameters = { ip = \"1\", pi = \"2\" }".to_owned(),
            "did you mean \"ip\"?",
        ),
        (&good, 0o644, ip.to_owned(), "may not be executed"),
        (&no_off, 0o755, format!("{ip}action = \"off\""), "cannot do `off`"),
        (&no_off, 0o755, format!("{ip}action = \"off\""), "write action = \"reboot\""),
        (&lets_in, 0o755, ip.to_owned(), "must let a node in again that is back"),
        (&"#!/bin/sh\nexit 3\n".to_owned(), 0o755, ip.to_owned(), "exit status 3"),
        (&"#!/bin/sh\necho usage\n".to_owned(), 0o755, ip.to_owned(), "it is no XML"),
        (
            &good,
            0o755,
            format!("{ip}secrets = {{ password = \"DIRECTORY/fence_own\" }}"),
            "lets others in; run `chmod 600",
        ),
        (
            &good,
            0o755,
            format!("{ip}secrets = {{ password = \"/no/such\" }}"),
            "open secret /no/such: no such file or directory",
        ),
    ] {
        let machine = machine("fence_own", script, mode);
        let text = said(&machine, &format!("{OWN}{lines}"), Lack::Refused).unwrap_err();
        assert!(text.contains(expected), "{expected} is not in\n{text}");
        assert!(text.contains("--> test.toml:1"), "{text}");
    }
    let nowhere = said(&machine("x", "", 0o644), OWN, Lack::Refused).unwrap_err();
    assert!(nowhere.contains("this machine has no agent /"), "{nowhere}");
    let lines = "[[node.fence]]\nagent = \"fence_of_nobody\"";
    let (advice, tells) = said(&machine("x", "", 0o644), lines, Lack::Noted).unwrap();
    assert!(advice[0].ends_with("; install the package fence-agents") && !tells, "{advice:?}");
}

#[test]
fn a_plug_in_may_take_what_it_does_not_describe() {
    let machine = machine("external/own", EXTERNAL, 0o755);
    let own = "[[node.fence]]\nagent = \"DIRECTORY/external/own\"\n";
    let lines = format!("{own}parameters = {{ hostlist = \"alpha\", odd = \"1\" }}");
    assert_eq!(said(&machine, &lines, Lack::Refused), Ok((Vec::new(), false)));
    let text = said(&machine, own, Lack::Refused).unwrap_err();
    assert!(text.contains("the parameter `hostlist` is missing"), "{text}");
}

#[test]
fn a_machine_looks_at_what_it_would_run_and_at_nothing_else() {
    let machine = machine("x", "", 0o644);
    let source = EXAMPLE.replace("votes = 1\n", "[[node.fence]]\nagent = \"fence_no\"\n");
    let of = |name: &str, guard: &str| {
        let source = source.replace("\"address\"", &format!("{guard:?}"));
        let mut settings = Settings::parse("test.toml", &source).unwrap();
        let me = settings.node(name).unwrap();
        inspect(&mut settings, me, ("test.toml", &source), Lack::Refused)
    };
    assert!(of("beta", "fence").is_err());
    assert_eq!(of("alpha", "fence"), Ok(Vec::new()), "nobody fences itself");
    assert_eq!(of("beta", "address"), Ok(Vec::new()), "nothing waits for it");
    drop(machine);
}
