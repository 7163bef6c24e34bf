//! Real daemons with the real firmware as their only witness.
//!
//! Each test needs `qemu-system-arm` and the image that `firmware/build` makes.

use std::sync::Mutex;

use lifesign::demo::dongle::{DONGLE, Dongle, device};
use lifesign_tests::rig::Debugger;
use lifesign_tests::trial::{self, Setup, Trial, pause};

const NODES: [&str; 2] = ["alpha", "beta"];

/// One after the other: with several at once QEMU is too slow for the lines of a busy machine.
fn with(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// Tries two servers with a dongle, served by alpha.
fn pair(test: &str, setup: Setup, body: impl FnOnce(&mut Trial, Dongle)) {
    with(test, setup, |trial| {
        let dongle = trial.start_dongle();
        trial.begin();
        body(trial, dongle);
    });
}

/// Whether `name` holds the first group by its own vote and the dongle's alone.
fn holds_with_dongle(trial: &Trial, name: &str) -> bool {
    let status = trial.status(name);
    let voters = status["groups"][0]["voters"].as_array().cloned().unwrap_or_default();
    let votes = |voter: &&serde_json::Value| voter["supports"] == true;
    let names: Vec<_> = voters.iter().filter(votes).map(|voter| voter["name"].clone()).collect();
    trial.holder(0).as_deref() == Some(name) && names.contains(&DONGLE.into()) && names.len() == 2
}

/// Leaves one server with the dongle and the other with nobody.
fn isolate(trial: &Trial, dongle: &Dongle, server: usize) {
    dongle.line(server).cut();
    dongle.line(1 - server).heal();
    trial.lab().cut("alpha", "beta");
}

/// Resets the dongle in the middle of its promise to one server, and gives it to the other in the
/// same moment; returns how long that one waited, in milliseconds.
fn steal_with_a_reset(trial: &Trial, dongle: &mut Dongle, from: usize) -> u64 {
    isolate(trial, dongle, 1 - from);
    let (old, new) = (NODES[from], NODES[1 - from]);
    trial.await_that("one holds with the dongle", |trial| holds_with_dongle(trial, old));
    let begun_us = trial.lab().now_us();
    dongle.emulator().expect("the real firmware").reset().expect("a reset");
    isolate(trial, dongle, from);
    trial.await_that("the other takes over", |trial| holds_with_dongle(trial, new));
    let index = trial.lab().index_of(new);
    let record = trial.lab().switch().record(0);
    let spans = record.all.spans().iter().filter(|span| span.server == index);
    let first_us = spans.map(|span| span.first_us).filter(|first_us| *first_us >= begun_us).min();
    trial.expect_one_holder_at_most();
    (first_us.expect("a first answer") - begun_us) / 1_000
}

#[test]
fn a_dongle_that_is_reset_keeps_what_it_has_promised() {
    let test = "a_dongle_that_is_reset_keeps_what_it_has_promised";
    pair(test, Setup::with_dongle(&NODES), |trial, mut dongle| {
        for from in [0, 1] {
            let waited_ms = steal_with_a_reset(trial, &mut dongle, from);
            // The longest promise is 1200 ms, less what clocks may be off.
            assert!(waited_ms > 1_150, "{waited_ms} ms");
            trial.lab().heal();
            dongle.heal_lines();
            trial.await_ready();
        }
    });
}

#[test]
fn a_dongle_whose_clock_is_as_fast_as_allowed_is_safe() {
    let test = "a_dongle_whose_clock_is_as_fast_as_allowed_is_safe";
    let setup = Setup::with_dongle(&NODES).with_timing("clock_error = \"4.2%\"");
    pair(test, setup, |trial, mut dongle| {
        make_clock_fast(trial, &mut dongle);
        for from in [0, 1] {
            let waited_ms = steal_with_a_reset(trial, &mut dongle, from);
            assert!(waited_ms > 1_100, "{waited_ms} ms");
            // The reset has set the clock right.
            make_clock_fast(trial, &mut dongle);
            trial.lab().heal();
            dongle.heal_lines();
            trial.await_ready();
        }
    });
}

#[test]
fn a_dongle_whose_clock_is_faster_than_allowed_is_refused() {
    let test = "a_dongle_whose_clock_is_faster_than_allowed_is_refused";
    with(test, Setup::with_dongle(&NODES), |trial| {
        let mut dongle = trial.start_dongle();
        let place = device(trial.cluster().directory(), "alpha");
        let try_line = |trial: &Trial| {
            let words = ["dongle", "test", "--seconds", "5", "--settings"];
            let paths = [trial.settings(), &place].map(|path| path.to_str().expect("a path"));
            trial.run_program(&[&words[..], &paths[..]].concat())
        };
        make_clock_fast(trial, &mut dongle);
        let output = try_line(trial);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("clock"), "{said}");
    });
}

/// Makes the clock of the emulated board run by 25/24 too fast, 4.17 %.
fn make_clock_fast(trial: &Trial, dongle: &mut Dongle) {
    /// The divider of the clock that the firmware reads; it divides by one more.
    const PRESCALE: u32 = 0x4002_801c;
    let directory = trial.cluster().directory();
    let emulator = dongle.emulator().expect("the real firmware");
    let mut debugger = Debugger::attach(emulator.monitor(), directory).expect("a debugger");
    debugger.write_register(PRESCALE, 23).expect("a register");
    debugger.resume().expect("a processor that goes on");
}

#[test]
fn a_dead_server_is_reset_once_though_two_groups_wait_for_it() {
    let test = "a_dead_server_is_reset_once_though_two_groups_wait_for_it";
    let nodes = ["gamma", "alpha", "beta"];
    let setup = Setup::with_dongle(&nodes)
        .with_group("mail", &["gamma", "beta", "alpha"])
        .with_guard("fence");
    with(test, setup, |trial| {
        let dongle = trial.start_dongle();
        trial.begin();
        let since_us = trial.lab().now_us();
        trial.crash("gamma");
        trial.await_that("somebody asks for a reset", |_| {
            dongle.pulses().iter().any(|pulse| pulse.ended_us.is_some())
        });
        trial.repair("gamma");
        for group in [0, 1] {
            trial.await_that("each group is held elsewhere", |trial| {
                trial.holder(group).is_some_and(|name| name != "gamma")
            });
        }
        let pulses = dongle.pulses();
        assert_eq!(pulses.len(), 1, "{pulses:?}");
        assert_eq!(pulses[0].port, 0, "gamma's");
        let ended_us = pulses[0].ended_us.expect("an end");
        for group in [0, 1] {
            let record = trial.lab().switch().record(group);
            let gamma = trial.lab().index_of("gamma");
            let others = record.all.spans().iter().filter(|span| span.server != gamma);
            let later = others.filter(|span| span.last_us > since_us);
            assert!(later.clone().count() > 0);
            for span in later {
                assert!(span.first_us >= ended_us, "{span:?} before {ended_us}");
            }
        }
        trial.await_ready();
        pause(2_500);
        assert_eq!(dongle.pulses().len(), 1, "and nobody afterwards");
    });
}

#[test]
fn without_its_device_a_daemon_goes_on_with_its_other_links() {
    let test = "without_its_device_a_daemon_goes_on_with_its_other_links";
    with(test, Setup::with_dongle(&NODES), |trial| {
        NODES.into_iter().for_each(|name| trial.start(name));
        trial.await_holder("alpha");
        trial.await_that("they hear each other", |trial| {
            trial.peer("alpha", "beta")["state"] == "alive"
        });
        let link = trial.status("alpha")["links"][1].clone();
        assert!(link.to_string().contains("alpha.tty"), "{link}");
        // It is found when it comes.
        let _dongle = trial.start_new_dongle();
        trial.await_that("the device is open", |trial| {
            trial.status("alpha")["links"][1]["state"] == "up"
        });
    });
}

#[test]
fn with_a_dongle_of_another_cluster_a_daemon_goes_on_with_its_other_links() {
    let test = "with_a_dongle_of_another_cluster_a_daemon_goes_on_with_its_other_links";
    with(test, Setup::with_dongle(&NODES), |trial| {
        let other = trial.write_changed("other.toml", "\"trial\"", "\"strange\"");
        let dongle = trial.start_new_dongle();
        trial.provision(&other);
        NODES.into_iter().for_each(|name| trial.start(name));
        trial.await_holder("alpha");
        trial.await_that("they hear each other", |trial| {
            trial.peer("alpha", "beta")["state"] == "alive"
        });
        trial.expect_throughout(1_000, "the stranger is no witness", |trial| {
            trial.peer("alpha", DONGLE)["state"] != "alive"
        });
        let status = trial.status("alpha");
        assert_eq!(trial.seen_since(0), [0], "{status}");
        drop(dongle);
    });
}
