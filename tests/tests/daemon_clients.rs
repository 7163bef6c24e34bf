//! Real daemons that keep programs running beside them, however badly these behave.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

/// A client that notes its starts and its end, and does as a file beside it says.
const CLIENT: &str = "#!/bin/sh\nme=$1\ncd DIRECTORY || exit 1\n\
    echo $LIFESIGN_NODE.$me start >>calls\nid -u >$LIFESIGN_NODE.$me.user\n\
    echo $$ >$LIFESIGN_NODE.$me.pid\n\
    case $(cat $me.does 2>/dev/null) in\n\
    dies) echo it is broken; exit 3 ;;\nno-more) exit 100 ;;\n\
    floods) while :; do echo flood flood flood; done ;;\n\
    leaves) sleep 1000 & echo $! >$LIFESIGN_NODE.$me.child; exit 0 ;;\n\
    deaf) trap '' TERM; while :; do sleep 0.1; done ;;\nesac\n\
    trap 'echo $LIFESIGN_NODE.$me end >>calls; exit 0' TERM\nwhile :; do sleep 0.02; done\n";

/// Returns the settings of clients with these names.
fn clients(names: &[&str], lines: &str) -> String {
    let client = |name: &&str| {
        format!(
            "[[client]]\nname = \"{name}\"\ncommand = [\"DIRECTORY/client\", \"{name}\"]\n\
             nodes = [\"alpha\"]\n{lines}"
        )
    };
    names.iter().map(client).collect()
}

/// Runs `body` with daemons of which alpha serves, and the clients of `settings`, which do as
/// `deeds` say.
fn kept(test: &str, settings: &str, deeds: &[(&str, &str)], body: impl FnOnce(&mut Trial)) {
    let setup = Setup::pair().with_services(settings);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let place = trial.cluster().directory().to_owned();
        let path = place.join("client");
        fs::write(&path, CLIENT.replace("DIRECTORY", &place.display().to_string())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, deed) in deeds {
            trial.write(&format!("{name}.does"), deed);
        }
        trial.begin();
        body(trial);
    });
}

fn read(trial: &Trial, name: &str) -> String {
    fs::read_to_string(trial.cluster().directory().join(name)).unwrap_or_default()
}

fn count(trial: &Trial, call: &str) -> usize {
    read(trial, "calls").lines().filter(|line| *line == call).count()
}

/// Returns what alpha says of its client `name`.
fn client(trial: &Trial, name: &str) -> Value {
    let status = trial.status("alpha");
    let clients = status["clients"].as_array().cloned().unwrap_or_default();
    clients.into_iter().find(|client| client["name"] == name).unwrap_or_default()
}

fn await_state(trial: &Trial, name: &str, state: &str) {
    trial.await_that(&format!("{name} is {state}"), |trial| client(trial, name)["state"] == state);
}

#[test]
fn clients_start_in_order_and_end_in_reverse_after_the_groups() {
    let test = "clients_start_in_order_and_end_in_reverse_after_the_groups";
    let service = "[[group.service]]\nname = \"db\"\nstart = [\"/bin/true\"]\n\
        stop = [\"/bin/sh\", \"-c\", \"echo group stop >>DIRECTORY/calls\"]\n";
    let settings = service.to_owned() + &clients(&["one", "two"], "");
    kept(test, &settings, &[], |trial| {
        for name in ["one", "two"] {
            await_state(trial, name, "running");
        }
        trial.await_that("both note their start", |trial| count(trial, "alpha.two start") == 1);
        assert!(trial.ask("alpha", &["status"]).contains("client      one running for "));
        assert_eq!(trial.status("beta")["clients"], Value::Array(Vec::new()), "not on beta");
        let runs = trial.cluster().ask("alpha", &["status", "--json"]).unwrap();
        assert!(runs.status.success());
        trial.stop("alpha");
        let calls = read(trial, "calls");
        let ends: Vec<&str> = calls.lines().filter(|line| !line.ends_with("start")).collect();
        assert_eq!(ends, ["group stop", "alpha.two end", "alpha.one end"]);
    });
}

#[test]
fn whoever_dies_at_once_is_given_up_and_whoever_says_so_is_left_alone() {
    let test = "whoever_dies_at_once_is_given_up_and_whoever_says_so_is_left_alone";
    let settings = clients(&["bad", "done", "good"], "");
    kept(test, &settings, &[("bad", "dies"), ("done", "no-more")], |trial| {
        await_state(trial, "done", "ended");
        await_state(trial, "bad", "given up");
        let alert = "client bad: exit status 3 (\\\"it is broken\\\"); it died 11 times";
        assert!(trial.has_alert("alpha", alert), "{}", trial.status("alpha"));
        assert!(!trial.has_alert("alpha", "client done"));
        trial.expect_throughout(1_500, "nothing more is tried", |trial| {
            (count(trial, "alpha.bad start"), count(trial, "alpha.done start")) == (11, 1)
        });
        assert_eq!(client(trial, "good")["state"], "running", "it has nothing to do with it");
        let journal = trial.cluster().journal("alpha");
        let lines = journal.lines().filter(|line| line.contains("client bad")).count();
        assert!((2..=3).contains(&lines), "said once, and once that it is over: {journal}");
        // A killed one is started again.
        let id = trial.noted_process("alpha", "alpha.good.pid").expect("it runs");
        kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
        trial.await_that("it runs again", |trial| count(trial, "alpha.good start") == 2);
        assert!(trial.has_alert("alpha", "client good: ended by signal 9; it is started again"));
        assert_eq!(trial.holder(0).as_deref(), Some("alpha"));
    });
}

#[test]
fn floods_and_children_left_behind_are_bounded() {
    let test = "floods_and_children_left_behind_are_bounded";
    let settings = clients(&["flood", "mother"], "");
    kept(test, &settings, &[("flood", "floods"), ("mother", "leaves")], |trial| {
        await_state(trial, "mother", "given up");
        trial.await_that("its children are gone", |trial| {
            trial.cluster().directory().join("alpha.mother.child").exists()
        });
        assert_eq!(
            trial.noted_process("alpha", "alpha.mother.child"),
            None,
            "the last child ends with its mother"
        );
        assert_eq!(client(trial, "flood")["state"], "running");
        let id = trial.noted_process("alpha", "alpha.flood.pid").expect("it runs");
        kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
        trial.await_that("its end is told", |trial| trial.has_alert("alpha", "client flood"));
        let journal = trial.cluster().journal("alpha");
        assert!(journal.len() < 20_000, "{} bytes", journal.len());
        let told = client(trial, "flood")["last"].clone();
        assert!(told.as_str().is_some_and(|told| told.len() < 700), "{told}");
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
    });
}

#[test]
fn whoever_is_deaf_is_killed_at_its_limit_and_a_killed_daemon_leaves_none_behind() {
    let test = "whoever_is_deaf_is_killed_at_its_limit_and_a_killed_daemon_leaves_none_behind";
    let settings = clients(&["deaf", "good"], "stop_limit = \"300ms\"\n");
    kept(test, &settings, &[("deaf", "deaf")], |trial| {
        for name in ["deaf", "good"] {
            trial.await_that("it runs", |trial| {
                !read(trial, &format!("alpha.{name}.pid")).is_empty()
            });
        }
        let gone = |trial: &mut Trial, ids: [Option<i32>; 2]| {
            let paths = ids.map(|id| format!("/proc/{}", id.expect("it ran")));
            trial
                .await_that("none is left", |_| !paths.iter().any(|path| Path::new(path).exists()));
        };
        let ids =
            ["alpha.deaf.pid", "alpha.good.pid"].map(|name| trial.noted_process("alpha", name));
        trial.kill("alpha");
        gone(trial, ids);
        trial.start_again("alpha");
        await_state(trial, "deaf", "running");
        trial.await_that("both have started again", |trial| {
            (count(trial, "alpha.deaf start"), count(trial, "alpha.good start")) == (2, 2)
        });
        let ids =
            ["alpha.deaf.pid", "alpha.good.pid"].map(|name| trial.noted_process("alpha", name));
        trial.stop("alpha");
        gone(trial, ids);
    });
}

#[test]
fn a_client_runs_as_its_user_or_says_why_not() {
    let test = "a_client_runs_as_its_user_or_says_why_not";
    let settings = clients(&["own"], "user = \"root\"\n")
        + &clients(&["other"], "user = \"nobody\"\n")
        + &clients(&["none"], "user = \"no-such-user\"\n");
    kept(test, &settings, &[], |trial| {
        trial.await_that("it has noted who it is", |trial| {
            read(trial, "alpha.own.user").trim() == geteuid().to_string()
        });
        await_state(trial, "none", "given up");
        let none = "client none: it is not started: this machine has no user \\\"no-such-user\\\"";
        assert!(trial.has_alert("alpha", none), "{}", trial.status("alpha"));
        // In a user namespace with one user nobody can become another.
        await_state(trial, "other", "given up");
        assert_eq!(count(trial, "alpha.other start"), 0);
        assert!(trial.has_alert("alpha", "client other: not started: "));
        assert_eq!(trial.holder(0).as_deref(), Some("alpha"));
    });
}
