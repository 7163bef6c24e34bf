//! Real daemons with services to start and stop, kills in the middle of it, and adapters that go.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifesign_tests::trial::{self, Setup, Trial, WITNESS, pause};

fn with(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// Returns the settings of two services, `db` and `web`, whose commands are the script `agent`.
fn services() -> String {
    let mut text = String::new();
    for name in ["db", "web"] {
        text += &format!(
            "[[group.service]]\nname = \"{name}\"\nstart = [\"DIRECTORY/agent\", \"start\"]\n\
             stop = [\"DIRECTORY/agent\", \"stop\"]\nmonitor = [\"DIRECTORY/agent\", \"monitor\"]\n\
             start_limit = \"10s\"\nstop_limit = \"5s\"\nmonitor_limit = \"5s\"\n\
             monitor_interval = \"200ms\"\n"
        );
    }
    text
}

/// Writes the agent: it notes each call, and fails where a file `fail.NODE.SERVICE.ACTION` says so.
fn write_agent(trial: &Trial) {
    let place = trial.cluster().directory().display();
    let script = format!(
        "#!/bin/sh\nme=$LIFESIGN_NODE.$LIFESIGN_SERVICE.$LIFESIGN_ACTION\n\
         [ \"$1\" = \"$LIFESIGN_ACTION\" ] || exit 9\n\
         [ $1 = monitor ] || echo $me $LIFESIGN_GROUP $LIFESIGN_TOKEN >>{place}/calls\n\
         if [ -e {place}/fail.$me ]; then echo it is broken; exit 3; fi\nexit 0\n"
    );
    let path = trial.cluster().directory().join("agent");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn served(test: &str, body: impl FnOnce(&mut Trial)) {
    with(test, Setup::pair().with_services(&services()), |trial| {
        write_agent(trial);
        trial.begin();
        body(trial);
    });
}

/// Returns the calls of the agent so far: node, service and action, with the token.
fn calls(trial: &Trial) -> Vec<(String, u64)> {
    let text = fs::read_to_string(trial.cluster().directory().join("calls")).unwrap_or_default();
    let call = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], "www", "{line}");
        (words[0].to_owned(), words[2].parse().unwrap())
    };
    text.lines().map(call).collect()
}

/// Returns what was called, without tokens.
fn names(trial: &Trial) -> Vec<String> {
    calls(trial).into_iter().map(|(name, _)| name).collect()
}

fn fail(trial: &Trial, what: &str) {
    trial.write(&format!("fail.{what}"), "");
}

fn repair(trial: &Trial, what: &str) {
    fs::remove_file(trial.cluster().directory().join(format!("fail.{what}"))).unwrap();
}

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    served("services_start_in_order_and_stop_in_reverse", |trial| {
        assert_eq!(names(trial), ["alpha.db.start", "alpha.web.start"]);
        let first = calls(trial)[0].1;
        let state = trial.status("alpha")["groups"][0]["services"].clone();
        assert_eq!(state[0]["state"], "started", "{state}");
        fs::remove_file(trial.cluster().directory().join("calls")).unwrap();
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        let expected = ["alpha.web.stop", "alpha.db.stop", "beta.db.start", "beta.web.start"];
        assert_eq!(names(trial), expected, "nothing starts before all has stopped");
        let tokens: Vec<u64> = calls(trial).into_iter().map(|(_, token)| token).collect();
        assert_eq!(tokens[..2], [first, first]);
        assert!(tokens[2] > first && tokens[3] == tokens[2], "each claim has a larger token");
    });
}

#[test]
fn a_start_that_fails_moves_the_group() {
    served("a_start_that_fails_moves_the_group", |trial| {
        fail(trial, "beta.web.start");
        fs::remove_file(trial.cluster().directory().join("calls")).unwrap();
        drop(trial.ask("beta", &["takeover", "www"]));
        trial.await_that("beta has tried", |trial| {
            names(trial).contains(&"beta.web.start".to_owned())
        });
        trial.await_holder("alpha");
        let called = names(trial);
        let at = |name: &str| called.iter().position(|call| call == name);
        assert!(at("beta.web.start") < at("beta.web.stop"), "what half started is stopped");
        assert!(at("beta.db.stop") < at("alpha.db.start"), "{called:?}");
        assert!(trial.has_alert("beta", "it is broken"), "{}", trial.status("beta"));
    });
}

#[test]
fn what_does_not_stop_is_never_called_stopped() {
    served("what_does_not_stop_is_never_called_stopped", |trial| {
        fail(trial, "alpha.db.stop");
        drop(trial.ask("beta", &["takeover", "www"]));
        trial.await_that("alpha is stuck", |trial| {
            trial.status("alpha")["groups"][0]["role"] == "stuck"
        });
        trial.expect_throughout(1_500, "beta starts nothing", |trial| {
            !names(trial).iter().any(|call| call.starts_with("beta"))
        });
        repair(trial, "alpha.db.stop");
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
    });
}

#[test]
fn a_service_that_is_unwell_moves_the_group() {
    served("a_service_that_is_unwell_moves_the_group", |trial| {
        fail(trial, "alpha.web.monitor");
        trial.await_holder("beta");
        let called = names(trial);
        assert!(called.ends_with(&["beta.db.start".to_owned(), "beta.web.start".to_owned()]));
        assert!(called.contains(&"alpha.db.stop".to_owned()), "{called:?}");
    });
}

/// Kills the daemon of alpha, and after a while that of beta, which is about to take over.
fn kill_both(trial: &mut Trial, delay_ms: u64) {
    trial.kill("alpha");
    pause(delay_ms);
    trial.kill("beta");
    trial.start_again("alpha");
    trial.start_again("beta");
    trial.await_ready();
    trial.expect_one_holder_at_most();
    if trial.holder(0).as_deref() != Some("alpha") {
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
    }
}

#[test]
fn whoever_takes_over_is_killed_at_any_step() {
    with("whoever_takes_over_is_killed_at_any_step", Setup::pair(), |trial| {
        trial.begin();
        // The farewell of the killed one comes at once, and with it the takeover.
        for delay_ms in (0..=60).step_by(4) {
            kill_both(trial, delay_ms);
        }
    });
}

#[test]
fn whoever_takes_over_from_a_crashed_machine_is_killed_at_any_step() {
    let name = "whoever_takes_over_from_a_crashed_machine_is_killed_at_any_step";
    with(name, Setup::pair(), |trial| {
        trial.begin();
        // A crashed one is missed first, after 220 ms.
        for delay_ms in (200..=340).step_by(10) {
            trial.crash("alpha");
            pause(delay_ms);
            trial.kill("beta");
            trial.start_again("beta");
            trial.await_holder("beta");
            trial.lab().set_cables("alpha", true);
            trial.start_again("alpha");
            trial.await_ready();
            trial.order("alpha", &["takeover", "www"]);
            trial.await_holder("alpha");
            trial.expect_one_holder_at_most();
        }
    });
}

#[test]
fn an_adapter_of_a_link_is_removed_and_comes_back() {
    let setup = Setup::pair().with_second_link();
    with("an_adapter_of_a_link_is_removed_and_comes_back", setup, |trial| {
        trial.begin();
        let since_us = trial.lab().now_us();
        let link = |trial: &Trial| trial.status("alpha")["links"][1]["state"].clone();
        assert_eq!(link(trial), "up");
        trial.cluster_mut().lab_mut().take_adapter("alpha", 1).unwrap();
        trial.await_that("it is noticed", |trial| link(trial) != "up" && !link(trial).is_null());
        pause(500);
        assert_eq!(trial.seen_since(since_us), [0], "the other link is enough");
        trial.cluster_mut().lab_mut().return_adapter("alpha", 1, "10.78.0.1/24").unwrap();
        trial.await_that("the link is back", |trial| link(trial) == "up");
        trial.await_that("it carries frames", |trial| {
            trial.peer("alpha", "beta")["links"][1]["heard"] == true
                && trial.peer("beta", "alpha")["links"][1]["heard"] == true
        });
        let drops = trial.status("alpha")["links"][1]["drops"].as_u64().unwrap();
        assert!(drops < 300, "it tried {drops} times");
        // From here on it can stand in for the other one.
        let (one, other) = (trial.lab().port("alpha", 0), trial.lab().port("beta", 0));
        trial.lab().switch().cut(one, other);
        pause(1_000);
        assert!(trial.is_complete("alpha") && trial.is_complete("beta"));
        assert_eq!(trial.seen_since(since_us), [0]);
        assert_eq!(trial.peer("alpha", WITNESS)["state"], "alive");
    });
}

#[test]
fn the_adapter_of_the_address_is_removed_and_comes_back() {
    let setup = Setup::pair().with_second_link();
    with("the_adapter_of_the_address_is_removed_and_comes_back", setup, |trial| {
        trial.begin();
        trial.cluster_mut().lab_mut().take_adapter("alpha", 0).unwrap();
        trial.await_holder("beta");
        trial.cluster_mut().lab_mut().return_adapter("alpha", 0, "10.77.0.1/24").unwrap();
        trial.await_that("the link is back", |trial| {
            trial.status("alpha")["links"][0]["state"] == "up"
        });
        trial.await_that("alpha is offered the service", |trial| {
            trial.cluster().ask("alpha", &["takeover", "www"]).unwrap().status.success()
        });
        trial.await_holder("alpha");
    });
}
