//! Fences as they are written, and what is said of wrong ones.

use super::*;
use crate::agent::fence::means_against;
use crate::settings::Settings;
use crate::settings::tests::{EXAMPLE, SERIAL};

/// Returns the example with `lines` in the table of alpha.
fn with(source: &str, lines: &str) -> Result<Settings, String> {
    let text = source.replacen("name = \"alpha\"\n", &format!("name = \"alpha\"\n{lines}\n"), 1);
    Settings::parse("test.toml", &text).map_err(|mistakes| mistakes.to_string())
}

fn fences(lines: &str) -> Vec<Fence> {
    let lines = format!("votes = 1\n{lines}");
    let source = EXAMPLE.replace("votes = 1\n", "");
    with(&source, &lines).unwrap_or_else(|text| panic!("{text}")).nodes[0].fence.clone()
}

#[test]
fn fences_come_in_order_or_by_level() {
    let two = fences(
        "[[node.fence]]\nagent = \"fence_ipmilan\"\naction = \"off\"\nlimit = \"20s\"\n\
         parameters = { ip = \"10.0.0.11\", lanplus = \"1\" }\n\
         secrets = { password = \"/etc/lifesign/alpha\" }\n\
         [[node.fence]]\nagent = \"external/ipmi\"",
    );
    assert_eq!(two[0].kind, Kind::Rhcs("fence_ipmilan".to_owned()));
    assert_eq!((two[0].manner, two[0].level), (Manner::Off, 1));
    assert_eq!(two[0].limit, Duration::from_millis(20_000));
    assert_eq!(two[0].parameters[1].name, "lanplus");
    assert_eq!(two[0].secrets[0].value, "/etc/lifesign/alpha");
    assert_eq!(two[1].kind, Kind::External("ipmi".to_owned()));
    assert_eq!((two[1].manner, two[1].level, two[1].limit), (Manner::Reboot, 2, LIMIT));
    let together = fences(
        "[[node.fence]]\nagent = \"/opt/fence_one\"\nlevel = 2\n\
         [[node.fence]]\nagent = \"/opt/external/two\"\nlevel = 2",
    );
    assert!(together.iter().all(|fence| fence.level == 2));
    assert_eq!(together[1].kind, Kind::External("/opt/external/two".to_owned()));
}

#[test]
fn a_reset_line_comes_first_where_it_is_not_placed() {
    let settings = with(SERIAL, "[[node.fence]]\nagent = \"fence_one\"").unwrap();
    let alpha = settings.node("alpha").unwrap();
    let means = means_against(&settings, alpha);
    assert_eq!((means[1].manner, means[1].level), (Manner::Line, 0));
    let lines = "[[node.fence]]\nagent = \"fence_one\"\n[[node.fence]]\nagent = \"dongle\"";
    let settings = with(SERIAL, lines).unwrap();
    let means = means_against(&settings, alpha);
    assert_eq!((means.len(), means[1].manner, means[1].level), (2, Manner::Line, 2));
}

#[test]
fn who_is_fenced_by_what_must_be_the_same_everywhere() {
    let source = EXAMPLE.replace("votes = 1\n", "");
    let digest = |lines: &str| with(&source, lines).unwrap().digest();
    let one = digest("[[node.fence]]\nagent = \"fence_one\"");
    assert_ne!(one, Settings::parse("test.toml", &source).unwrap().digest());
    assert_ne!(one, digest("[[node.fence]]\nagent = \"fence_two\""));
    assert_ne!(one, digest("[[node.fence]]\nagent = \"fence_one\"\naction = \"off\""));
    let told = "[[node.fence]]\nagent = \"fence_one\"\nparameters = { ip = \"10.0.0.1\" }";
    assert_eq!(one, digest(told), "parameters may differ");
}

#[test]
fn wrong_fences_are_said_where_they_stand() {
    let fence = "[[node.fence]]\nagent = \"fence_one\"\n";
    for (lines, expected) in [
        ("[[node.fence]]\nlevel = 1", "has no `agent`"),
        ("[[node.fence]]\nagent = \"ipmilan\"", "there is no such kind of fence agent"),
        ("[[node.fence]]\nagent = \"/opt/one\"", "which kind of agent is this?"),
        ("[[node.fence]]\nagent = \"external/a b\"", "this is no name of a plug-in"),
        ("[[node.fence]]\nagent = \"fence_ack_manual\"", "lifesign fence confirm NODE"),
        ("[[node.fence]]\nagent = \"dongle\"", "no dongle has a reset line to alpha"),
        (&format!("{fence}action = \"reset\""), "write \"reboot\""),
        (&format!("{fence}action = \"offf\""), "did you mean \"off\"?"),
        (&format!("{fence}level = 10"), "must be 1 to 9"),
        (&format!("{fence}limit = 5"), "put it in quotes, with its unit"),
        (&format!("{fence}paramters = {{}}"), "did you mean \"parameters\"?"),
        (&format!("{fence}parameters = {{ action = \"off\" }}"), "lifesign says this by itself"),
        (&format!("{fence}parameters = {{ pcmk_delay = \"1\" }}"), "words of Pacemaker"),
        (&format!("{fence}parameters = {{ \"a b\" = \"1\" }}"), "no parameter is called"),
        (&format!("{fence}parameters = {{ a = \"1\\n2\" }}"), "more than one line"),
        (&format!("{fence}parameters = {{ a = 1 }}"), "`a` must be a text in quotes"),
        (
            &format!("{fence}parameters = {{ a = \"{}\" }}", "x".repeat(2100)),
            "the parameters are too long",
        ),
        (
            &format!("{fence}parameters = {{ a = \"1\" }}\nsecrets = {{ a = \"/a\" }}"),
            "`a` is there twice",
        ),
        (&format!("{fence}level = 1\n{fence}"), "this fence has no `level`"),
        (
            &format!("{fence}level = 1\n[[node.fence]]\nagent = \"dongle\"\nlevel = 1"),
            "a dongle does not act together with others",
        ),
        (&fence.repeat(MOST + 1), "are too many"),
    ] {
        let source = EXAMPLE.replace("votes = 1\n", "");
        let text = with(&source, lines).unwrap_err();
        assert!(text.contains(expected), "{expected} is not in\n{text}");
        assert!(text.contains("--> test.toml:"), "{text}");
    }
}

#[test]
fn a_password_in_the_settings_is_refused_and_not_shown() {
    let fence = "[[node.fence]]\nagent = \"fence_one\"\n";
    let source = EXAMPLE.replace("votes = 1\n", "");
    for lines in [
        "parameters = { passwd = \"hush-hush\", what = 1 }",
        "parameters = { snmp_auth_password = \"hush-hush\" }",
        "secrets = { password = \"hush-hush\" }",
    ] {
        let text = with(&source, &format!("{fence}{lines}")).unwrap_err();
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("file of mode 600") && text.contains("***"), "{text}");
    }
}
