//! Real daemons whose servers are fenced by agents: in order, together, in vain, and by a person.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifesign::agent::fence::Kind;
use lifesign::agent::metadata::Metadata;
use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::signal::Signal;

/// An agent that notes its process and then its call, and does as files beside it say: it hangs,
/// fails, or says that the power is still on.
const AGENT: &str = "#!/bin/sh\nme=${0##*/}\nat=DIRECTORY/$me\n\
    while IFS== read key value; do case $key in action) action=$value ;;\n\
    nodename) node=$value ;; password) password=$value ;; esac; done\n\
    if [ \"$action\" = metadata ]; then cat <<END\n\
    <resource-agent name=\"own\"><parameters><parameter name=\"ip\"/><parameter name=\"password\"/>\
    </parameters><actions><action name=\"on\" automatic=\"0\"/><action name=\"off\"/>\
    <action name=\"reboot\"/><action name=\"status\"/><action name=\"monitor\"/></actions>\
    </resource-agent>\nEND\nexit; fi\n\
    echo $$ >$at.pid; echo $me $action $node >>DIRECTORY/calls\n\
    if [ -e $at.hangs ]; then trap '' TERM; while :; do sleep 1; done; fi\n\
    if [ -e $at.fails ]; then echo \"no way with $password\" >&2; exit 1; fi\n\
    if [ $action = status ] && ! [ -e $at.lies ]; then exit 2; fi\nexit 0\n";

/// A plug-in of cluster-glue that knows alpha and notes its calls.
const PLUG_IN: &str = "#!/bin/sh\ncase $1 in\ngetconfignames) echo hostlist ;;\n\
    getinfo-xml) echo '<parameters><parameter name=\"hostlist\" required=\"1\"><content/>\
    </parameter></parameters>' ;;\ngethosts) echo $hostlist ;;\nstatus) ;;\n\
    *) echo ${0##*/} $* $hostlist >>DIRECTORY/calls ;;\nesac\n";

fn path(trial: &Trial, name: &str) -> PathBuf {
    trial.cluster().directory().join(name)
}

fn write_program(trial: &Trial, name: &str, text: &str) {
    let path = path(trial, name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let place = trial.cluster().directory().display().to_string();
    fs::write(&path, text.replace("DIRECTORY", &place)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs `body` with a pair whose server alpha is fenced by what `lines` say; no daemon is started.
fn prepared(test: &str, lines: &str, body: impl FnOnce(&mut Trial)) {
    let setup = Setup::pair().with_guard("fence").with_first(lines);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        for name in ["fence_one", "fence_two"] {
            write_program(trial, name, AGENT);
        }
        write_program(trial, "external/own", PLUG_IN);
        trial.write("password", "hush-hush\n");
        body(trial);
    });
}

/// The same, with alpha serving.
fn served(test: &str, lines: &str, body: impl FnOnce(&mut Trial)) {
    prepared(test, lines, |trial| {
        trial.begin();
        body(trial);
    });
}

fn calls(trial: &Trial) -> Vec<String> {
    let text = fs::read_to_string(path(trial, "calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn await_calls(trial: &Trial, count: usize) {
    trial.await_that("the agents are called", |trial| calls(trial).len() >= count);
}

fn remove(trial: &Trial, name: &str) {
    fs::remove_file(path(trial, name)).unwrap();
}

fn fence(agent: &str, lines: &str) -> String {
    format!("[[node.fence]]\nagent = \"DIRECTORY/{agent}\"\n{lines}\n")
}

#[test]
fn agents_come_in_order_and_what_they_say_is_kept() {
    let test = "agents_come_in_order_and_what_they_say_is_kept";
    let lines = fence("fence_one", "") + &fence("fence_two", "action = \"off\"");
    served(test, &lines, |trial| {
        trial.write("fence_one.fails", "");
        assert_eq!(calls(trial), Vec::<String>::new(), "nobody is fenced while all is well");
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_holder("beta");
        let expected = ["fence_one reboot alpha", "fence_two off alpha", "fence_two status alpha"];
        assert_eq!(calls(trial), expected);
        let fenced = trial.status("beta")["fenced"][0].clone();
        assert_eq!(fenced["node"], "alpha", "{fenced}");
        assert_eq!(fenced["fenced"], true, "{fenced}");
        assert!(fenced["by"].as_str().unwrap().ends_with("fence_two"), "{fenced}");
        let journal = trial.cluster().journal("beta");
        for said in [
            "fence_one to reboot alpha, which could be holding it",
            "fence_one: reboot exit status 1 (\"no way with\")",
            "www: alpha is fenced: ",
            "fence_two status says that it is off",
        ] {
            assert!(journal.contains(said), "{said}: {journal}");
        }
        assert!(!trial.has_alert("beta", "is not fenced"), "{}", trial.status("beta"));
        let why = trial.ask("beta", &["why", "www"]);
        assert!(why.contains("last fence: alpha was fenced for www"), "{why}");
        assert!(trial.ask("beta", &["status"]).contains("alpha was fenced for www"));
    });
}

#[test]
fn two_power_supplies_are_off_together_before_they_are_on_again() {
    let test = "two_power_supplies_are_off_together_before_they_are_on_again";
    let lines = fence("fence_one", "level = 1") + &fence("fence_two", "level = 1");
    served(test, &lines, |trial| {
        trial.write("fence_two.fails", "");
        trial.crash("alpha");
        trial.await_that("one of two fails", |trial| {
            trial.has_alert("beta", "alpha is not fenced by")
        });
        assert_eq!(calls(trial), ["fence_one off alpha", "fence_two off alpha"]);
        assert!(trial.lab().holders(0).is_empty(), "one of two is nothing");
        remove(trial, "calls");
        remove(trial, "fence_two.fails");
        trial.await_holder("beta");
        await_calls(trial, 6);
        let mut calls = calls(trial);
        calls[4..].sort();
        let deeds = ["off", "status", "on"]
            .map(|deed| [format!("fence_one {deed} alpha"), format!("fence_two {deed} alpha")]);
        assert_eq!(calls, deeds.concat());
    });
}

#[test]
fn what_does_not_end_in_time_is_never_done_and_is_tried_again() {
    let test = "what_does_not_end_in_time_is_never_done_and_is_tried_again";
    served(test, &fence("fence_one", "limit = \"500ms\""), |trial| {
        trial.write("fence_one.hangs", "");
        trial.crash("alpha");
        await_calls(trial, 2);
        trial.await_that("it is told", |trial| {
            trial.has_alert("beta", "fence_one: reboot ended at its time limit")
        });
        assert!(trial.lab().holders(0).is_empty(), "nobody serves");
        let why = trial.ask("beta", &["why", "www"]);
        assert!(why.contains("alpha could still be holding it"), "{why}");
        assert_eq!(trial.status("beta")["fenced"][0]["fenced"], false);
        remove(trial, "fence_one.hangs");
        trial.await_holder("beta");
        assert!(!trial.has_alert("beta", "is not fenced"));
    });
}

#[test]
fn off_is_not_believed_while_status_says_on() {
    let test = "off_is_not_believed_while_status_says_on";
    served(test, &fence("fence_one", "action = \"off\""), |trial| {
        trial.write("fence_one.lies", "");
        trial.crash("alpha");
        trial.await_that("it is told", |trial| {
            trial.has_alert("beta", "fence_one: status says that it is on")
        });
        trial.expect_throughout(1_000, "nobody serves", |trial| trial.lab().holders(0).is_empty());
        remove(trial, "fence_one.lies");
        trial.await_holder("beta");
    });
}

#[test]
fn a_server_that_is_back_is_not_fenced_for_its_former_start() {
    let test = "a_server_that_is_back_is_not_fenced_for_its_former_start";
    served(test, &fence("fence_one", ""), |trial| {
        trial.write("fence_one.hangs", "");
        trial.crash("alpha");
        await_calls(trial, 1);
        trial.repair("alpha");
        trial.await_that("the agent is ended", |trial| {
            trial.cluster().journal("beta").contains("alpha is back, so ")
        });
        trial.await_that("somebody serves", |trial| trial.holder(0).is_some());
        assert_eq!(calls(trial), ["fence_one reboot alpha"], "it is not called again");
        for name in ["alpha", "beta"] {
            trial.await_that("both hear each other", |trial| trial.is_complete(name));
        }
        if trial.holder(0).as_deref() != Some("alpha") {
            trial.order("alpha", &["takeover", "www"]);
            trial.await_holder("alpha");
        }
        remove(trial, "fence_one.hangs");
        trial.crash("alpha");
        trial.await_holder("beta");
        assert_eq!(calls(trial).len(), 2, "the new start is fenced by itself");
    });
}

#[test]
fn a_daemon_that_dies_while_it_fences_begins_again() {
    let test = "a_daemon_that_dies_while_it_fences_begins_again";
    served(test, &fence("fence_one", ""), |trial| {
        trial.write("fence_one.hangs", "");
        trial.crash("alpha");
        await_calls(trial, 1);
        let agent = trial.noted_process("beta", "fence_one.pid").expect("it runs");
        trial.kill("beta");
        let process = Path::new("/proc").join(agent.to_string());
        trial.await_that("the agent ends with it", |_| !process.exists());
        assert!(trial.lab().holders(0).is_empty());
        remove(trial, "fence_one.hangs");
        trial.start_again("beta");
        trial.await_holder("beta");
        assert_eq!(calls(trial), ["fence_one reboot alpha"; 2], "from the beginning");
    });
}

#[test]
fn whoever_has_no_quorum_fences_nobody() {
    let test = "whoever_has_no_quorum_fences_nobody";
    served(test, &fence("fence_one", ""), |trial| {
        trial.lab().cut("alpha", "beta");
        trial.await_that("beta has lost alpha", |trial| {
            trial.peer("beta", "alpha")["state"] == "lost"
        });
        trial.expect_to_stay("alpha", 2_000);
        assert_eq!(calls(trial), Vec::<String>::new());
        let refused = trial.ask("beta", &["fence", "confirm", "--yes", "alpha"]);
        assert!(refused.contains("nothing here waits for alpha to be fenced"), "{refused}");
    });
}

#[test]
fn a_password_is_told_to_the_agent_and_to_nobody_else() {
    let test = "a_password_is_told_to_the_agent_and_to_nobody_else";
    let lines = fence("fence_one", "secrets = { password = \"DIRECTORY/password\" }");
    served(test, &lines, |trial| {
        trial.write("fence_one.fails", "");
        trial.crash("alpha");
        trial.await_that("it has failed", |trial| {
            trial.has_alert("beta", "(\\\"no way with ***\\\")")
        });
        let status = trial.status("beta").to_string();
        let said = trial.cluster().journal("beta") + &status + &trial.ask("beta", &["why"]);
        assert!(!said.contains("hush"), "{said}");
    });
}

#[test]
fn a_person_may_say_that_a_server_is_off() {
    let test = "a_person_may_say_that_a_server_is_off";
    served(test, "", |trial| {
        trial.crash("alpha");
        let alert = "nothing can fence alpha: when it is certainly off";
        trial.await_that("a person is asked", |trial| trial.has_alert("beta", alert));
        trial.expect_throughout(1_000, "nobody serves", |trial| trial.lab().holders(0).is_empty());
        let asked = trial.ask("beta", &["fence", "confirm", "alpha"]);
        assert!(asked.contains("say --yes if it shall be done"), "{asked}");
        assert!(asked.contains("Pull its plug"), "{asked}");
        let other = trial.ask("beta", &["fence", "confirm", "--yes", "beta"]);
        assert!(other.contains("nothing here waits for beta"), "{other}");
        trial.order("beta", &["fence", "confirm", "--yes", "alpha"]);
        trial.await_holder("beta");
        let fenced = trial.status("beta")["fenced"][0].clone();
        assert_eq!(fenced["by"], "a person", "{fenced}");
        trial.repair("alpha");
        for name in ["alpha", "beta"] {
            trial.await_that("both hear each other", |trial| trial.is_complete(name));
        }
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        trial.crash("alpha");
        trial.await_that("the word counts no longer", |trial| trial.has_alert("beta", alert));
        assert!(trial.lab().holders(0).is_empty());
    });
}

#[test]
fn a_plug_in_of_cluster_glue_resets_by_its_exit_status() {
    let test = "a_plug_in_of_cluster_glue_resets_by_its_exit_status";
    let lines = fence("external/own", "parameters = { hostlist = \"alpha\" }");
    served(test, &lines, |trial| {
        let file = trial.settings().display().to_string();
        let tried = trial.run_program(&["fence", "test", "--settings", &file, "alpha"]);
        let tried = String::from_utf8(tried.stdout).unwrap();
        assert!(tried.contains("its device answers, and it knows alpha"), "{tried}");
        trial.crash("alpha");
        trial.await_holder("beta");
        assert_eq!(calls(trial), ["own reset alpha alpha"]);
    });
}

/// Debian's own agent for trials keeps the power of its server in a file.
#[test]
fn the_dummy_of_fence_agents_switches_off_and_tells() {
    let test = "the_dummy_of_fence_agents_switches_off_and_tells";
    let lines = "[[node.fence]]\nagent = \"fence_dummy\"\naction = \"off\"\n\
        parameters = { type = \"file\", status_file = \"DIRECTORY/power\" }\n";
    served(test, lines, |trial| {
        trial.write("power", "on");
        let file = trial.settings().display().to_string();
        let try_it = |trial: &Trial| {
            let output = trial.run_program(&["fence", "test", "--settings", &file, "alpha"]);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let tried = try_it(trial);
        assert!(tried.contains("its device answers, and alpha is on"), "{tried}");
        trial.crash("alpha");
        trial.await_holder("beta");
        assert_eq!(fs::read_to_string(path(trial, "power")).unwrap(), "off");
        assert!(try_it(trial).contains("alpha is off"));
        let journal = trial.cluster().journal("beta");
        assert!(journal.contains("fence_dummy status says that it is off"), "{journal}");
    });
}

#[test]
fn a_parameter_that_an_agent_does_not_know_is_refused_before_anything_starts() {
    let test = "a_parameter_that_an_agent_does_not_know_is_refused_before_anything_starts";
    let lines = fence("fence_one", "parameters = { pi = \"10.0.0.1\" }");
    prepared(test, &lines, |trial| {
        let file = trial.settings().display().to_string();
        let output = trial.run_program(&["check", "--node", "beta", &file]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        trial.start("beta");
        trial.await_that("the daemon ends", |trial| !trial.cluster().is_running("beta"));
        let journal = trial.cluster().journal("beta");
        for said in [String::from_utf8(output.stderr).unwrap(), journal] {
            for expected in ["unknown parameter `pi`", "lifesign.toml:", "did you mean \"ip\"?"] {
                assert!(said.contains(expected), "{expected} is not in\n{said}");
            }
        }
    });
}

/// Every agent that is installed, of which none may be marked so oddly that it cannot be used.
#[test]
fn whatever_is_installed_describes_itself() {
    let mut odd = Vec::new();
    let mut count = 0;
    let listed = |folder: &str| {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let names = entries.flatten().map(|entry| entry.file_name().into_string().unwrap());
        names.collect::<Vec<String>>()
    };
    let agents = listed("/usr/sbin").into_iter().filter(|name| name.starts_with("fence_"));
    let plug_ins = listed("/usr/lib/stonith/plugins/external").into_iter();
    for kind in agents.map(Kind::Rhcs).chain(plug_ins.map(Kind::External)) {
        let program = kind.program();
        count += 1;
        if let Err(why) = Metadata::ask_fence(&kind, &program.display().to_string()) {
            odd.push(format!("{kind}: {why}"));
        }
    }
    assert!(count > 100, "{count} agents; install fence-agents and cluster-glue");
    // The first asks a person and has no metadata; the second needs Python 2.
    let known = ["fence_ack_manual", "external/ibmrsa-telnet"];
    odd.retain(|text| !known.iter().any(|known| text.starts_with(known)));
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}
