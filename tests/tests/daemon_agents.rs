//! Real daemons whose services are agents: of OCF, an init script, and a script of Linux-HA.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lifesign_tests::trial::{self, Setup, Trial};

/// The services `one`, `two` and `three`, each another kind of agent.
const SERVICES: &str = "[[group.service]]\nname = \"one\"\nagent = \"ocf:own:thing\"\n\
    parameters = { target = \"a b\" }\nmonitor_interval = \"1h\"\nstart_limit = \"3s\"\n\
    [[group.service]]\nname = \"two\"\nagent = \"lsb:DIRECTORY/script\"\n\
    monitor_interval = \"1h\"\nrestarts = 0\n\
    [[group.service]]\nname = \"three\"\nagent = \"heartbeat:DIRECTORY/old\"\n\
    arguments = [\"10.0.0.1\", \"x\"]\nmonitor_interval = \"1h\"\n";

/// What all agents begin with: they note their call, and hang where a file says so, deaf to signals
/// and saying much. What they start stays behind with their output open.
const BEGIN: &str = "#!/bin/sh\nme=DIRECTORY/$LIFESIGN_NODE.$LIFESIGN_SERVICE\n\
    [ \"$1\" = meta-data ] || echo ${me##*/} $* >>DIRECTORY/calls\n\
    if [ -e $me.hangs ]; then trap '' TERM; while :; do echo flood; done; fi\n\
    begin() { env >$me.environment; touch $me.up; sleep 1000 & }\n\
    end() { [ -e $me.lies ] || rm -f $me.up; }\n";

const OCF: &str = "case $1 in\nstart) begin ;;\nstop) end ;;\n\
    monitor) [ -e $me.up ] || exit 7 ;;\n\
    meta-data) echo '<resource-agent><parameters><parameter name=\"target\" required=\"1\">\
    <content/></parameter></parameters></resource-agent>' ;;\n*) exit 3 ;;\nesac\nexit 0\n";

const LSB: &str = "case $1 in\nstart) begin ;;\nstop) end ;;\nstatus) [ -e $me.up ] || exit 3 ;;\n\
    *) exit 2 ;;\nesac\nexit 0\n";

/// Its exit status says the contrary of its text, which alone counts.
const OLD: &str = "[ \"$1 $2\" = '10.0.0.1 x' ] || exit 2\ncase $3 in\nstart) begin ;;\n\
    stop) end; exit 1 ;;\n\
    status) if [ -e $me.up ]; then echo Running; exit 3; fi; echo not running ;;\nesac\nexit 0\n";

fn write_program(trial: &Trial, name: &str, text: &str) {
    let path = trial.cluster().directory().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let place = trial.cluster().directory().display().to_string();
    fs::write(&path, text.replace("DIRECTORY", &place)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs `body` with daemons that are not started, and agents that wait for them.
fn prepared(test: &str, body: impl FnOnce(&mut Trial)) {
    let setup = Setup::pair().with_services(SERVICES);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        write_program(trial, "ocf/resource.d/own/thing", &format!("{BEGIN}{OCF}"));
        write_program(trial, "script", &format!("{BEGIN}{LSB}"));
        write_program(trial, "old", &format!("{BEGIN}{OLD}"));
        let place = trial.cluster().directory().to_owned();
        trial.cluster_mut().set_environment("OCF_ROOT", &place.join("ocf"));
        trial.cluster_mut().set_environment("HA_RSCTMP", &place.join("temporary"));
        body(trial);
    });
}

/// Runs `body` with daemons of which alpha serves.
fn served(test: &str, body: impl FnOnce(&mut Trial)) {
    prepared(test, |trial| {
        trial.begin();
        body(trial);
    });
}

fn has(trial: &Trial, name: &str) -> bool {
    trial.cluster().directory().join(name).exists()
}

fn remove(trial: &Trial, name: &str) {
    fs::remove_file(trial.cluster().directory().join(name)).unwrap();
}

/// Returns the calls of the agents so far: node and service, and what they were told.
fn calls(trial: &Trial) -> Vec<String> {
    let text = fs::read_to_string(trial.cluster().directory().join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What is called to start all on `node`.
fn start_of(node: &str) -> Vec<String> {
    ["one start", "two status", "two start", "three 10.0.0.1 x status", "three 10.0.0.1 x start"]
        .map(|call| format!("{node}.{call}"))
        .into()
}

/// What is called to stop all on `node`.
fn stop_of(node: &str) -> Vec<String> {
    [
        "three 10.0.0.1 x stop",
        "three 10.0.0.1 x status",
        "two stop",
        "two status",
        "one stop",
        "one monitor",
    ]
    .map(|call| format!("{node}.{call}"))
    .into()
}

#[test]
fn agents_are_called_in_order_and_asked_after_each_stop() {
    served("agents_are_called_in_order_and_asked_after_each_stop", |trial| {
        assert_eq!(calls(trial), start_of("alpha"));
        let services = trial.status("alpha")["groups"][0]["services"].clone();
        for at in 0..3 {
            assert_eq!(services[at]["state"], "started", "{services}");
        }
        remove(trial, "calls");
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        assert_eq!(calls(trial), [stop_of("alpha"), start_of("beta")].concat());
        assert!(!has(trial, "alpha.one.up") && has(trial, "beta.one.up"));
    });
}

#[test]
fn agents_find_what_they_need_in_their_environment() {
    served("agents_find_what_they_need_in_their_environment", |trial| {
        let place = trial.cluster().directory().display().to_string();
        let environment = |service: &str| {
            let path = trial.cluster().directory().join(format!("alpha.{service}.environment"));
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<String>>()
        };
        let (one, two, three) = (environment("one"), environment("two"), environment("three"));
        for expected in [
            "OCF_RA_VERSION_MAJOR=1",
            "OCF_RESOURCE_INSTANCE=www_one",
            "OCF_RESOURCE_TYPE=thing",
            "OCF_RESOURCE_PROVIDER=own",
            "OCF_RESKEY_target=a b",
            "OCF_RESKEY_CRM_meta_timeout=3000",
            "OCF_RESKEY_CRM_meta_name=start",
            "LIFESIGN_GROUP=www",
            "LIFESIGN_ACTION=start",
            "LC_ALL=C",
        ] {
            assert!(one.iter().any(|line| line == expected), "{expected} is not in {one:?}");
        }
        let shared = [format!("OCF_ROOT={place}/ocf"), format!("HA_RSCTMP={place}/temporary")];
        for expected in shared {
            assert!(one.contains(&expected) && three.contains(&expected), "{expected}");
            assert!(!two.contains(&expected), "an init script is told nothing of this");
        }
        assert!(has(trial, "temporary"), "agents expect the folder to be there");
    });
}

#[test]
fn a_stop_that_lies_is_never_called_stopped() {
    served("a_stop_that_lies_is_never_called_stopped", |trial| {
        trial.write("alpha.two.lies", "");
        drop(trial.ask("beta", &["takeover", "www"]));
        trial.await_that("alpha is stuck", |trial| {
            trial.status("alpha")["groups"][0]["role"] == "stuck"
        });
        assert!(trial.has_alert("alpha", "www/two: after stop still running (0)"));
        trial.expect_throughout(1_500, "beta starts nothing", |trial| {
            !calls(trial).iter().any(|call| call.starts_with("beta"))
        });
        remove(trial, "alpha.two.lies");
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
    });
}

#[test]
fn a_script_that_runs_already_is_not_started() {
    prepared("a_script_that_runs_already_is_not_started", |trial| {
        for name in ["alpha.one.up", "alpha.two.up", "alpha.three.up"] {
            trial.write(name, "");
        }
        trial.begin();
        let expected = ["alpha.one start", "alpha.two status", "alpha.three 10.0.0.1 x status"];
        let own = calls(trial).into_iter().filter(|call| call.starts_with("alpha"));
        assert_eq!(own.take(3).collect::<Vec<String>>(), expected);
        assert_eq!(trial.status("alpha")["groups"][0]["services"][1]["state"], "started");
    });
}

#[test]
fn an_agent_that_hangs_and_floods_is_ended_at_its_limit() {
    served("an_agent_that_hangs_and_floods_is_ended_at_its_limit", |trial| {
        trial.write("beta.one.hangs", "");
        drop(trial.ask("beta", &["takeover", "www"]));
        trial.await_that("beta has tried", |trial| {
            calls(trial).contains(&"beta.one start".to_owned())
        });
        trial.await_that("its stop has failed too", |trial| {
            trial.has_alert("beta", "www/one: stop ended at its time limit")
        });
        assert!(trial.has_alert("beta", "www/one: start ended at its time limit"));
        assert!(!calls(trial).contains(&"beta.one monitor".to_owned()), "it has not ended well");
        remove(trial, "beta.one.hangs");
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
    });
}

#[test]
fn a_killed_daemon_is_cleaned_up_behind_by_the_same_calls() {
    served("a_killed_daemon_is_cleaned_up_behind_by_the_same_calls", |trial| {
        remove(trial, "calls");
        trial.kill("alpha");
        trial.await_holder("beta");
        assert_eq!(calls(trial), [stop_of("alpha"), start_of("beta")].concat());
        trial.start_again("alpha");
        trial.await_ready();
        trial.write("beta.one.lies", "");
        trial.kill("beta");
        let told = "a service did not stop, so its group is not given free";
        trial.await_that("the supervisor says so", |trial| {
            trial.cluster().journal("beta").contains(told)
        });
    });
}

/// An agent of Debian, from its meta-data to its death.
#[test]
fn the_dummy_of_resource_agents_is_served() {
    let dummy = Path::new("/usr/lib/ocf/resource.d/heartbeat/Dummy");
    assert!(dummy.exists(), "{} is missing: install resource-agents", dummy.display());
    let setup = Setup::pair().with_services(
        "[[group.service]]\nname = \"dummy\"\nagent = \"ocf:heartbeat:Dummy\"\n\
         parameters = { fake = \"x\" }\nmonitor_interval = \"200ms\"\n",
    );
    let test = "the_dummy_of_resource_agents_is_served";
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let temporary = trial.cluster().directory().join("temporary");
        trial.cluster_mut().set_environment("HA_RSCTMP", &temporary);
        let state = "temporary/Dummy-www_dummy.state";
        trial.begin();
        assert!(has(trial, state), "{}", trial.status("alpha"));
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        assert!(has(trial, state));
        remove(trial, state);
        trial.await_that("beta notices", |trial| {
            trial.cluster().journal("beta").contains("www/dummy: monitor not running (7)")
        });
        trial.await_that("it is started again", |trial| has(trial, state));
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
        trial.stop("alpha");
        trial.stop("beta");
        assert!(!has(trial, state), "what is left is stopped");
    });
}
