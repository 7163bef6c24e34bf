//! The real firmware is reset, hangs and comes back.
//!
//! Each test needs `qemu-system-arm` and the images that `firmware/build` makes.

use lifesign::clock;
use lifesign::demo::emulator::Board;
use lifesign_core::dongle::{Cause, Lock, What};
use lifesign_core::time::Duration;
use lifesign_tests::rig::{self, Rig, Speaker, pause};

fn provisioned(test: &str, body: impl FnOnce(&mut Rig)) {
    rig::run(test, env!("CARGO_BIN_EXE_subject"), Board::Mps2An385, 2, |rig| {
        rig.provision();
        body(rig);
    });
}

fn await_relay(rig: &mut Rig) {
    rig.await_that("frames are passed on", |rig| {
        rig.speakers[0].say();
        pause(50);
        let heard = rig.speakers[1].take_heard();
        !Speaker::numbers(&heard, &rig.speakers[0]).is_empty()
    });
}

/// How often QEMU told that the board was reset.
fn resets(rig: &mut Rig) -> usize {
    let events = rig.emulator().monitor().events().expect("QEMU");
    events.iter().filter(|event| event.name == "RESET").count()
}

#[test]
fn settings_and_events_outlive_a_reset() {
    provisioned("settings_and_events_outlive_a_reset", |rig| {
        await_relay(rig);
        let before = rig.info();
        rig.emulator().reset().unwrap();
        await_relay(rig);
        let after = rig.info();
        assert_eq!(after.member, before.member);
        assert_eq!((after.lock, after.starts), (Lock::Locked, before.starts + 1));
        assert_ne!(after.boot, before.boot, "it is another start");
        assert_ne!(after.challenge, before.challenge);
        assert!(after.uptime < before.uptime + Duration::from_millis(5_000));
        let log = rig.log();
        let starts = log.iter().filter(|what| matches!(what, What::Started(..))).count();
        assert_eq!(starts, 2, "{log:?}");
        assert!(log.contains(&What::Provisioned), "{log:?}");
        assert_eq!(rig.emulator().pulses(), [], "no line moves when the board is reset");
    });
}

#[test]
fn it_promises_only_after_the_longest_promise_has_run_out() {
    provisioned("it_promises_only_after_the_longest_promise_has_run_out", |rig| {
        rig.await_that("it promises", |rig| rig.info().promises);
        for _ in 0..3 {
            rig.emulator().reset().unwrap();
            loop {
                // What it says of itself was true between asking and the answer.
                let info = rig.info();
                if info.promises {
                    assert!(info.uptime.as_micros() >= 2_500_000, "{info:?}");
                    break;
                }
                assert!(info.uptime.as_micros() < 3_500_000, "{info:?}");
                pause(20);
            }
        }
    });
}

#[test]
fn the_watchdog_bites_when_the_loop_hangs() {
    provisioned("the_watchdog_bites_when_the_loop_hangs", |rig| {
        await_relay(rig);
        let (starts, was) = (rig.info().starts, resets(rig));
        let mut debugger = rig.debug();
        debugger.hang().unwrap();
        debugger.resume().unwrap();
        let hung = clock::now();
        rig.await_that("the board is reset", |rig| resets(rig) > was);
        let took = clock::now().since(hung);
        assert!(took.as_micros() > 300_000, "not by the watchdog: {took}");
        await_relay(rig);
        let info = rig.info();
        assert_eq!((info.starts, info.cause), (starts + 1, Cause::Watchdog), "{info:?}");
        assert!(!info.promises, "it waits as after every start");
        assert!(rig.log().iter().any(|what| matches!(what, What::Started(Cause::Watchdog, _))));
        assert_eq!(rig.emulator().pulses(), [], "no line moves");
    });
}

#[test]
fn a_busy_dongle_is_not_bitten() {
    provisioned("a_busy_dongle_is_not_bitten", |rig| {
        await_relay(rig);
        let was = resets(rig);
        for _ in 0..200 {
            for at in 0..2 {
                let frame = rig.speakers[at].next_frame(0, &rig::keyring());
                rig.speakers[at].say_message(&frame);
                rig.speakers[at].take_heard();
            }
            pause(10);
        }
        assert_eq!(resets(rig), was);
        let info = rig.info();
        let overruns: u32 = info.ports.iter().map(|port| port.overruns).sum();
        assert_eq!(overruns, 0, "{info:?}");
    });
}
