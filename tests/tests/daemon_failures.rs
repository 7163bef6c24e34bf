//! Real daemons whose services die: restarts in place, moves, and an end of both.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Returns a pair with two services, `db` and `web`, and these lines in the group's table.
fn pair(lines: &str) -> Setup {
    let mut text = lines.to_owned();
    for name in ["db", "web"] {
        text += &format!(
            "[[group.service]]\nname = \"{name}\"\nstart = [\"DIRECTORY/agent\"]\n\
             stop = [\"DIRECTORY/agent\"]\nmonitor = [\"DIRECTORY/agent\"]\n\
             start_limit = \"10s\"\nstop_limit = \"10s\"\nmonitor_limit = \"10s\"\n\
             monitor_interval = \"100ms\"\n"
        );
    }
    // A start that failed is tried again here after ten such spans.
    Setup::pair().with_timing("offer = \"300ms\"").with_services(&text)
}

/// What plays the services: one is up where a file says so. A file `fail.NODE.SERVICE.ACTION` makes
/// an action fail, and `sick.NODE.SERVICE` makes a service die as soon as it is up.
const AGENT: &str = "#!/bin/sh
cd PLACE
me=$LIFESIGN_NODE.$LIFESIGN_SERVICE
[ $LIFESIGN_ACTION = monitor ] || echo $me.$LIFESIGN_ACTION $LIFESIGN_TOKEN >>calls
if [ -e fail.$me.$LIFESIGN_ACTION ]; then echo it is broken; exit 3; fi
case $LIFESIGN_ACTION in
start) [ -e sick.$me ] || : >up.$me ;;
stop) rm -f up.$me ;;
monitor) [ -e up.$me ] || { echo it is dead; exit 7; } ;;
esac
";

fn tried(test: &str, lines: &str, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), pair(lines), |trial| {
        let place = trial.cluster().directory().to_owned();
        let path = place.join("agent");
        fs::write(&path, AGENT.replace("PLACE", &place.display().to_string())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        trial.begin();
        fs::remove_file(place.join("calls")).unwrap();
        body(trial);
    });
}

/// Returns what was called since the beginning, each with its token.
fn calls(trial: &Trial) -> Vec<(String, u64)> {
    let text = fs::read_to_string(trial.cluster().directory().join("calls")).unwrap_or_default();
    let call = |line: &str| {
        let (name, token) = line.split_once(' ').unwrap();
        (name.to_owned(), token.parse().unwrap())
    };
    text.lines().map(call).collect()
}

fn names(trial: &Trial) -> Vec<String> {
    calls(trial).into_iter().map(|(name, _)| name).collect()
}

/// Returns how often the first service of the group was started, under different tokens.
fn stays(trial: &Trial) -> usize {
    let started = calls(trial).into_iter().filter(|(name, _)| name.ends_with(".db.start"));
    let mut tokens: Vec<u64> = started.map(|(_, token)| token).collect();
    tokens.dedup();
    tokens.len()
}

fn remove(trial: &Trial, name: &str) {
    fs::remove_file(trial.cluster().directory().join(name)).unwrap();
}

fn is_up(trial: &Trial, name: &str) -> bool {
    trial.cluster().directory().join(format!("up.{name}")).exists()
}

#[test]
fn a_service_that_dies_is_restarted_in_place() {
    tried("a_service_that_dies_is_restarted_in_place", "", |trial| {
        let token = trial.status("alpha")["groups"][0]["token"].clone();
        let since_us = trial.lab().now_us();
        remove(trial, "up.alpha.db");
        let whole = ["web.stop", "db.stop", "db.start", "web.start"];
        let whole = whole.map(|call| format!("alpha.{call}"));
        trial.await_that("both are restarted", |trial| names(trial) == whole);
        trial.await_that("it is told", |trial| {
            let failures = trial.status("alpha")["groups"][0]["failures"].clone();
            failures["restarts"][0]["service"] == "db" && failures["restarts"][0]["count"] == 1
        });
        // What was found dead before the restart is no news after it.
        trial.expect_throughout(1_000, "nothing else is done", |trial| names(trial) == whole);
        let text = trial.ask("alpha", &["status"]);
        assert!(text.contains("db was restarted 1 of 2 times within 10 min 00 s"), "{text}");
        remove(trial, "up.alpha.web");
        trial.await_that("one is restarted alone", |trial| {
            names(trial)[4..] == ["alpha.web.stop", "alpha.web.start"]
        });
        trial.await_that("the restart is over", |trial| is_up(trial, "alpha.web"));
        assert_eq!(trial.status("alpha")["groups"][0]["token"], token);
        assert_eq!(trial.seen_since(since_us), [0], "beta has never answered");
        assert_eq!(trial.holder(0).as_deref(), Some("alpha"));
        trial.await_that("an alert tells it", |trial| {
            trial.has_alert("alpha", "failing: www/web was restarted 1 of 2 times")
        });
    });
}

#[test]
fn a_service_that_keeps_dying_moves_its_group() {
    tried("a_service_that_keeps_dying_moves_its_group", "", |trial| {
        trial.write("sick.alpha.web", "");
        remove(trial, "up.alpha.web");
        trial.await_holder("beta");
        let called = names(trial);
        let count = |name: &str| called.iter().filter(|call| *call == name).count();
        assert_eq!(count("alpha.web.start"), 2, "{called:?}");
        assert_eq!(count("alpha.web.stop"), 3, "{called:?}");
        assert_eq!(count("alpha.db.stop"), 1, "what is well is not touched before: {called:?}");
        assert!(called.ends_with(&["beta.db.start".to_owned(), "beta.web.start".to_owned()]));
        let failures = trial.status("alpha")["groups"][0]["failures"].clone();
        assert_eq!((failures["count"].as_u64(), failures["share"].as_u64()), (Some(1), Some(2)));
        assert_eq!(failures["last"], "www/web: monitor exit status 7 (\"it is dead\")");
        assert!(trial.status("beta")["groups"][0]["failures"].is_null());
        trial.expect_to_stay("beta", 1_000);
    });
}

#[test]
fn what_fails_everywhere_comes_to_rest_and_starts_again_when_asked() {
    let test = "what_fails_everywhere_comes_to_rest_and_starts_again_when_asked";
    tried(test, "failure_window = \"5m\"\nmoves = 4\n", |trial| {
        for node in ["alpha", "beta"] {
            trial.write(&format!("sick.{node}.db"), "");
        }
        remove(trial, "up.alpha.db");
        for node in ["alpha", "beta"] {
            trial.await_that(&format!("{node} leaves it alone"), |trial| {
                trial.status(node)["groups"][0]["failures"]["next_attempt_ms"].is_u64()
            });
        }
        // With the stay before the first failure it was up at four places in turn.
        assert_eq!(stays(trial), 4, "{:?}", calls(trial));
        trial.expect_throughout(5_000, "nothing is started", |trial| stays(trial) == 4);
        let status = trial.ask("alpha", &["status"]);
        let head = "DOWN: nobody holds www: it has failed here 2 times within 5 min 00 s; last";
        let plain = status.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.starts_with(head), "{status}");
        assert!(plain.contains("or by `lifesign takeover www` here"), "{status}");
        let why = trial.ask("alpha", &["why", "www"]);
        let plain = why.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "why not on alpha: it has failed here 2 times within 5 min 00 s; last www/db: monitor \
             exit status 7",
            "4 min ",
            "pass, then this node tries again",
            "the operator runs `lifesign takeover www` here, which forgets these failures",
        ] {
            assert!(plain.contains(part), "{part}: {why}");
        }
        let group = trial.status("alpha")["groups"][0].clone();
        let left = group["failures"]["next_attempt_ms"].as_u64().unwrap();
        assert!((200_000..300_000).contains(&left), "{group}");
        assert!(!is_up(trial, "alpha.web") && !is_up(trial, "beta.web"), "nothing is left behind");
        remove(trial, "sick.beta.db");
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        assert!(trial.status("beta")["groups"][0]["failures"].is_null());
        assert!(trial.status("alpha")["groups"][0]["failures"]["next_attempt_ms"].is_u64());
    });
}

#[test]
fn a_group_that_failed_everywhere_comes_back_when_its_failures_are_old() {
    let test = "a_group_that_failed_everywhere_comes_back_when_its_failures_are_old";
    tried(test, "failure_window = \"15s\"\nmoves = 2\n", |trial| {
        let failing = ["alpha", "beta"].map(|node| format!("fail.{node}.db.start"));
        failing.iter().for_each(|name| trial.write(name, ""));
        remove(trial, "up.alpha.db");
        trial.await_that("alpha leaves it alone", |trial| {
            trial.ask("alpha", &["why", "www"]).contains("pass, then this node tries again")
        });
        trial.await_that("beta has tried", |trial| {
            names(trial).contains(&"beta.db.start".to_owned())
        });
        let called = names(trial);
        failing.iter().for_each(|name| remove(trial, name));
        let count = |name: &str| called.iter().filter(|call| *call == name).count();
        assert_eq!(["alpha.db.start", "beta.db.start"].map(count), [1, 1], "{called:?}");
        assert!(!called.iter().any(|call| call.ends_with(".web.start")), "{called:?}");
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
    });
}

#[test]
fn what_does_not_stop_is_not_started_again_anywhere() {
    tried("what_does_not_stop_is_not_started_again_anywhere", "", |trial| {
        trial.write("fail.alpha.db.stop", "");
        remove(trial, "up.alpha.db");
        trial.await_that("alpha is stuck", |trial| {
            trial.status("alpha")["groups"][0]["role"] == "stuck"
        });
        trial.expect_throughout(1_500, "nothing is started", |trial| {
            !names(trial).iter().any(|call| call.ends_with(".start"))
        });
        remove(trial, "fail.alpha.db.stop");
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
    });
}

/// Kills the process of alpha that runs its commands.
fn kill_executor(trial: &mut Trial) {
    let ids = trial.cluster_mut().lab_mut().machine("alpha").process_ids().unwrap();
    let name = |id: &i32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    let executor = ids.into_iter().find(|id| name(id).trim() == "lifesign-exec").unwrap();
    kill(Pid::from_raw(executor), Signal::SIGKILL).unwrap();
    trial.await_that("it is told", |trial| trial.has_alert("alpha", "the executor is dead"));
}

/// Waits until beta serves, before which alpha's services have stopped once, in order.
fn await_beta_after_a_stop(trial: &Trial) {
    trial.await_holder("beta");
    let expected = ["alpha.web.stop", "alpha.db.stop", "beta.db.start", "beta.web.start"];
    assert_eq!(names(trial), expected);
    trial.await_that("a farewell is said", |trial| trial.peer("beta", "alpha")["state"] == "left");
}

#[test]
fn who_can_run_no_commands_any_more_leaves_them_to_the_supervisor() {
    let test = "who_can_run_no_commands_any_more_leaves_them_to_the_supervisor";
    tried(test, "", |trial| {
        kill_executor(trial);
        trial.expect_throughout(1_000, "alpha serves", |trial| {
            trial.holder(0).as_deref() == Some("alpha")
        });
        trial.stop("alpha");
        await_beta_after_a_stop(trial);
    });
}

#[test]
fn a_daemon_that_dies_after_its_executor_is_cleaned_up_behind() {
    let test = "a_daemon_that_dies_after_its_executor_is_cleaned_up_behind";
    tried(test, "", |trial| {
        kill_executor(trial);
        trial.kill("alpha");
        await_beta_after_a_stop(trial);
    });
}

#[test]
fn who_is_alone_tries_once_more_what_has_failed_there() {
    let test = "who_is_alone_tries_once_more_what_has_failed_there";
    tried(test, "failure_window = \"5m\"\nmoves = 2\n", |trial| {
        trial.write("fail.alpha.db.start", "");
        remove(trial, "up.alpha.db");
        trial.await_holder("beta");
        let tries =
            |trial: &Trial| names(trial).iter().filter(|call| *call == "alpha.db.start").count();
        let is_left_alone = |trial: &Trial| {
            trial.status("alpha")["groups"][0]["failures"]["next_attempt_ms"].is_u64()
        };
        trial.await_that("alpha leaves it alone", is_left_alone);
        let before = tries(trial);
        trial.crash("beta");
        trial.await_that("alpha tries", |trial| tries(trial) == before + 1);
        let said =
            "tries www in spite of its failures here: nobody else is alive who could take it";
        assert!(trial.status("alpha")["decisions"].to_string().contains(said));
        trial.await_that("alpha leaves it alone again", is_left_alone);
        // Whatever beta does, it is tried no more.
        trial.repair("beta");
        trial.await_holder("beta");
        trial.crash("beta");
        trial.await_that("it is seen", |trial| trial.peer("alpha", "beta")["state"] == "lost");
        trial.expect_throughout(3_000, "it stays", |trial| tries(trial) == before + 1);
        assert!(is_left_alone(trial));
    });
}

#[test]
fn who_is_alone_keeps_what_works_there() {
    let test = "who_is_alone_keeps_what_works_there";
    tried(test, "failure_window = \"5m\"\nmoves = 2\n", |trial| {
        trial.write("fail.alpha.db.start", "");
        remove(trial, "up.alpha.db");
        trial.await_holder("beta");
        remove(trial, "fail.alpha.db.start");
        trial.order("beta", &["standby"]);
        trial.await_holder("alpha");
        trial.order("beta", &["takeover"]);
        trial.await_holder("beta");
        trial.crash("beta");
        trial.await_holder("alpha");
        trial.repair("beta");
        trial.await_that("beta is back", |trial| trial.is_complete("beta"));
        trial.expect_to_stay("alpha", 2_000);
    });
}
