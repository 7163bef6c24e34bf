//! Real daemons with a watchdog: a machine whose services nobody stops dies before they start
//! elsewhere, and no other machine does.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifesign::demo::watchdog::Kind;
use lifesign_tests::trial::{self, Setup, Trial, WITNESS};
use nix::sys::signal::Signal;

/// What plays the service: while it runs it writes its node's name and the time since the machine
/// started to `ticks`. A file `hang.NODE` makes its stop hang, and `fail.NODE` makes it fail.
const AGENT: &str = "#!/bin/sh
cd PLACE
me=$LIFESIGN_NODE
case $LIFESIGN_ACTION in
start)
    setsid sh -c 'while :; do
        read up rest </proc/uptime
        echo '$me' '$LIFESIGN_TOKEN' $up >>ticks
        sleep 0.02
    done' </dev/null >/dev/null 2>&1 &
    echo $! >pid.$me ;;
stop)
    if [ -e hang.$me ]; then sleep 1000; fi
    if [ -e fail.$me ]; then echo it is broken; exit 3; fi
    if [ -e pid.$me ]; then
        pid=$(cat pid.$me)
        kill $pid
        # What was being written when it was killed may come yet.
        while kill -0 $pid 2>/dev/null; do sleep 0.01; done
        rm pid.$me
    fi ;;
esac
exit 0
";

/// Returns a pair whose group must have stopped before it starts elsewhere, with `lines` in the
/// table of the watchdog.
fn pair(lines: &str) -> Setup {
    let text = format!(
        "[[group.service]]\nname = \"db\"\nstart = [\"DIRECTORY/agent\"]\n\
         stop = [\"DIRECTORY/agent\"]\nstop_limit = \"1s\"\n\n\
         [watchdog]\ndevice = {{ alpha = \"DIRECTORY/alpha.watchdog\", \
         beta = \"DIRECTORY/beta.watchdog\" }}\ntimeout = \"1s\"\nreset_limit = \"100ms\"\n{lines}"
    );
    Setup::pair().with_guard("stop").with_longest_promise("5s").with_services(&text)
}

/// Tries a pair with these watchdogs of alpha and of beta, before any daemon runs.
fn with(test: &str, lines: &str, kinds: [Option<Kind>; 2], body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), pair(lines), |trial| {
        let place = trial.cluster().directory().to_owned();
        let path = place.join("agent");
        fs::write(&path, AGENT.replace("PLACE", &place.display().to_string())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, kind) in ["alpha", "beta"].into_iter().zip(kinds) {
            if let Some(kind) = kind {
                trial.add_watchdog(name, kind);
            }
        }
        body(trial);
        expect_one_at_a_time(trial);
    });
}

/// Tries a pair that is up and served by alpha.
fn tried(test: &str, body: impl FnOnce(&mut Trial)) {
    with(test, "", [Some(Kind::obedient()); 2], |trial| {
        trial.begin();
        body(trial);
    });
}

/// A stay of the service: where, under which token, and its first and its last moment, in seconds
/// since the machine started.
type Stay = (String, u32, f64, f64);

/// Returns every stay of the service, in order.
fn stays(trial: &Trial) -> Vec<Stay> {
    let text = fs::read_to_string(trial.cluster().directory().join("ticks")).unwrap_or_default();
    let mut stays: Vec<Stay> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, token, at] = words[..] else { continue };
        let (token, at) = (token.parse().unwrap(), at.parse().unwrap());
        match stays.last_mut() {
            Some((last, under, _, until)) if last == name && *under == token => *until = at,
            _ => stays.push((name.to_owned(), token, at, at)),
        }
    }
    stays
}

/// Demands that the service never ran twice at once: a stay that has ended never goes on.
fn expect_one_at_a_time(trial: &Trial) {
    let stays = stays(trial);
    for (at, stay) in stays.iter().enumerate() {
        let again = stays[at + 1..].iter().any(|later| later.0 == stay.0 && later.1 == stay.1);
        assert!(!again, "the service ran twice at once: {stays:?}");
    }
}

/// Waits until the service runs on `node`, and returns since when, in microseconds since the
/// machine started.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a moment of a test")]
fn await_stay(trial: &Trial, node: &str) -> u64 {
    let last = |trial: &Trial| stays(trial).pop().filter(|stay| stay.0 == node);
    trial.await_that("the service runs there", |trial| last(trial).is_some());
    (last(trial).expect("a stay").2 * 1e6) as u64
}

/// Returns what the node says of its watchdog.
fn watchdog(trial: &Trial, node: &str) -> serde_json::Value {
    trial.status(node)["watchdog"].clone()
}

/// Starts `node` again after a bite, and demands that it tells why it was left to bite.
fn expect_reason(trial: &mut Trial, node: &str, why: &str) {
    trial.repair(node);
    trial.await_that("it answers", |trial| !trial.status(node).is_null());
    let bite = watchdog(trial, node)["last_bite"].clone();
    assert_eq!(bite["count"], 1, "{bite}");
    assert!(bite["why"].as_str().unwrap().contains(why), "{bite}");
    let told = trial.ask(node, &["why", "www"]);
    assert!(told.contains("last bite: ") && told.contains("was let bite"), "{told}");
    let started = watchdog(trial, node)["boot_status"].clone();
    assert_eq!(started[0], "the watchdog had reset the machine", "{started}");
}

#[test]
fn a_frozen_daemon_has_its_machine_reset_before_another_starts() {
    tried("a_frozen_daemon_has_its_machine_reset_before_another_starts", |trial| {
        let status = watchdog(trial, "alpha");
        assert_eq!(
            (&status["state"], &status["identity"]),
            (&"armed".into(), &"laboratory".into())
        );
        assert_eq!((&status["timeout_ms"], &status["firmware"]), (&1000.into(), &7.into()));
        assert_eq!(watchdog(trial, "beta")["state"], "resting");
        assert!(!trial.dial("beta").is_counting && trial.dial("alpha").is_counting);
        trial.signal("alpha", Signal::SIGSTOP);
        let bitten_us = trial.await_bite("alpha");
        trial.await_holder("beta");
        assert!(bitten_us < await_stay(trial, "beta"), "beta was earlier than the bite");
        assert!(trial.dial("beta").is_counting && trial.dial("beta").bites_us.is_empty());
        expect_reason(trial, "alpha", "the authority over www ended, and the daemon (process ");
        let why = watchdog(trial, "alpha")["last_bite"]["why"].to_string();
        assert!(why.contains("is stopped by a signal"), "{why}");
    });
}

#[test]
fn what_ends_in_good_order_does_not_bite() {
    tried("what_ends_in_good_order_does_not_bite", |trial| {
        trial.order("alpha", &["standby", "www"]);
        trial.await_holder("beta");
        trial.await_that("alpha's rests", |trial| !trial.dial("alpha").is_counting);
        trial.stop("beta");
        trial.await_that("beta's is closed", |trial| trial.dial("beta").disarmed == 1);
        assert!(!trial.dial("beta").is_counting);
        trial.start_again("beta");
        // The time in which one that was left alone would have bitten.
        trial.expect_throughout(2_500, "none bites", |trial| {
            ["alpha", "beta"].iter().all(|name| trial.dial(name).bites_us.is_empty())
        });
        trial.await_that("beta's rests", |trial| watchdog(trial, "beta")["state"] == "resting");
    });
}

#[test]
fn a_daemon_that_is_killed_or_isolated_stops_and_does_not_bite() {
    tried("a_daemon_that_is_killed_or_isolated_stops_and_does_not_bite", |trial| {
        trial.kill("alpha");
        trial.await_holder("beta");
        trial.await_that("it is disarmed", |trial| trial.dial("alpha").disarmed == 1);
        assert!(!trial.dial("alpha").is_counting);
        for other in ["alpha", WITNESS] {
            trial.lab().cut("beta", other);
        }
        trial.await_that("beta stops", |trial| {
            trial.status("beta")["groups"][0]["services"][0]["state"] == "stopped"
        });
        trial.await_that("beta's rests", |trial| !trial.dial("beta").is_counting);
        trial.expect_throughout(2_500, "none bites", |trial| {
            ["alpha", "beta"].iter().all(|name| trial.dial(name).bites_us.is_empty())
        });
        assert_eq!(stays(trial).last().map(|stay| stay.0.as_str()), Some("beta"));
    });
}

#[test]
fn a_stop_that_hangs_has_the_machine_reset() {
    tried("a_stop_that_hangs_has_the_machine_reset", |trial| {
        await_stay(trial, "alpha");
        trial.write("hang.alpha", "");
        // Its machine is reset while it waits.
        let _said = trial.ask("alpha", &["standby", "www"]);
        let bitten_us = trial.await_bite("alpha");
        assert!(bitten_us < await_stay(trial, "beta"));
        fs::remove_file(trial.cluster().directory().join("hang.alpha")).unwrap();
        expect_reason(trial, "alpha", "www did not stop in time");
    });
}

#[test]
fn an_isolated_holder_that_cannot_stop_is_reset_before_another_starts() {
    tried("an_isolated_holder_that_cannot_stop_is_reset_before_another_starts", |trial| {
        trial.write("fail.alpha", "");
        for other in ["beta", WITNESS] {
            trial.lab().cut("alpha", other);
        }
        let bitten_us = trial.await_bite("alpha");
        assert!(bitten_us < await_stay(trial, "beta"));
    });
}

#[test]
fn a_killed_daemon_whose_service_does_not_stop_has_the_machine_reset() {
    tried("a_killed_daemon_whose_service_does_not_stop_has_the_machine_reset", |trial| {
        trial.write("fail.alpha", "");
        trial.kill("alpha");
        let bitten_us = trial.await_bite("alpha");
        assert!(bitten_us < await_stay(trial, "beta"));
        fs::remove_file(trial.cluster().directory().join("fail.alpha")).unwrap();
        expect_reason(trial, "alpha", "the daemon had ended, and www did not stop");
    });
}

#[test]
fn a_node_without_the_required_watchdog_leaves_the_group_alone() {
    let test = "a_node_without_the_required_watchdog_leaves_the_group_alone";
    with(test, "", [None, Some(Kind::obedient())], |trial| {
        trial.start_all();
        trial.await_holder("beta");
        let said = "alpha.watchdog cannot be armed: no such file or directory";
        trial.await_that("an alert tells it", |trial| trial.has_alert("alpha", said));
        assert_eq!(watchdog(trial, "alpha")["state"], "unusable");
        let told = trial.ask("alpha", &["takeover", "www"]);
        assert!(told.contains("its watchdog") && told.contains("cannot be armed"), "{told}");
        trial.expect_throughout(1_000, "beta keeps it", |trial| {
            trial.status("beta")["groups"][0]["role"] == "holding"
        });
        trial.add_watchdog("alpha", Kind::obedient());
        trial.await_that("it is found", |trial| watchdog(trial, "alpha")["state"] == "resting");
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        trial.await_that("it runs", |trial| trial.dial("alpha").is_counting);
    });
}

#[test]
fn a_watchdog_that_is_not_required_may_be_missing() {
    let test = "a_watchdog_that_is_not_required_may_be_missing";
    with(test, "required = false\n", [None, Some(Kind::obedient())], |trial| {
        trial.begin();
        trial.await_that("an alert tells it", |trial| {
            trial.has_alert("alpha", "where the daemon hangs, nothing ends the services in time")
        });
    });
}

#[test]
fn a_watchdog_that_counts_longer_or_is_taken_is_refused() {
    let test = "a_watchdog_that_counts_longer_or_is_taken_is_refused";
    let slow = Kind { least_s: 30, nowayout: false };
    with(test, "", [Some(slow), Some(Kind::obedient())], |trial| {
        let path = trial.cluster().directory().join("beta.watchdog");
        let other = lifesign::watchdog::device::Device::open(&path).unwrap();
        trial.start_all();
        for (name, why) in [
            ("alpha", "laboratory counts 30 s, and the settings have a timeout of 1 s: raise it"),
            ("beta", "beta.watchdog cannot be armed: held by another program"),
        ] {
            trial.await_that(why, |trial| trial.has_alert(name, why));
        }
        trial.expect_throughout(3_000, "nobody takes it", |trial| trial.holder(0).is_none());
        assert!(!trial.dial("alpha").is_counting, "what is refused is disarmed");
        other.disarm().unwrap();
        trial.await_holder("beta");
        assert_eq!(trial.dial("beta").timeout_s, 1);
    });
}

#[test]
fn a_watchdog_that_never_stops_is_fed_while_the_daemon_runs() {
    let test = "a_watchdog_that_never_stops_is_fed_while_the_daemon_runs";
    let relentless = Kind { least_s: 1, nowayout: true };
    with(test, "", [Some(relentless), Some(Kind::obedient())], |trial| {
        trial.begin();
        trial.order("alpha", &["standby", "www"]);
        trial.await_holder("beta");
        trial.expect_throughout(2_500, "it is fed", |trial| {
            trial.dial("alpha").bites_us.is_empty() && trial.dial("alpha").is_counting
        });
        assert_eq!(watchdog(trial, "alpha")["can_rest"], false);
        trial.stop("alpha");
        trial.start("alpha");
        trial.expect_throughout(2_500, "it is fed again in time", |trial| {
            trial.dial("alpha").bites_us.is_empty()
        });
    });
}
