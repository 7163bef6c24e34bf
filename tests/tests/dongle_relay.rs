//! The real firmware passes frames on, whatever happens on its lines.
//!
//! Each test needs `qemu-system-arm` and the images that `firmware/build` makes.

use lifesign::demo::emulator::Board;
use lifesign::wire::{Faults, Side};
use lifesign_core::dongle::{Lock, NotProvisioned, Provision, Reply, Request, What};
use lifesign_core::seal::{Key, KeyId, Keyring};
use lifesign_tests::rig::{self, Heard, Rig, Speaker, pause};

fn with(test: &str, board: Board, ports: usize, body: impl FnOnce(&mut Rig)) {
    rig::run(test, env!("CARGO_BIN_EXE_subject"), board, ports, body);
}

/// A dongle that is provisioned, with this many servers.
fn provisioned(test: &str, ports: usize, body: impl FnOnce(&mut Rig)) {
    with(test, Board::Mps2An385, ports, |rig| {
        rig.provision();
        body(rig);
    });
}

/// Has every one of `who` say a frame, `rounds` times, `every_ms` apart, and returns what each
/// heard in the end.
fn talk(rig: &mut Rig, who: &[usize], rounds: u64, every_ms: u64) -> Vec<Vec<Heard>> {
    let mut heard = vec![Vec::new(); rig.speakers.len()];
    for _ in 0..rounds {
        for &at in who {
            rig.speakers[at].say();
        }
        pause(every_ms);
        collect(rig, &mut heard);
    }
    await_quiet(rig, &mut heard);
    heard
}

/// Adds what every speaker has heard to `heard`, and returns whether any of it was said by another
/// speaker, and whether any by the dongle.
fn collect(rig: &mut Rig, heard: &mut [Vec<Heard>]) -> (bool, bool) {
    let (mut spoken, mut alive) = (false, false);
    for (heard, speaker) in heard.iter_mut().zip(&mut rig.speakers) {
        for frame in speaker.take_heard() {
            alive |= frame.node.is_witness();
            spoken |= !frame.node.is_witness();
            heard.push(frame);
        }
    }
    (spoken, alive)
}

/// Collects until nothing of what was said can still be on its way: while a busy machine leaves no
/// processor to the dongle, it says nothing itself.
fn await_quiet(rig: &mut Rig, heard: &mut [Vec<Heard>]) {
    let (mut quiet_ms, mut words) = (0, 0);
    while quiet_ms < MUTE_MS && (quiet_ms < LATEST_MS || words < 2) {
        pause(STEP_MS);
        let (spoken, alive) = collect(rig, heard);
        (quiet_ms, words) =
            if spoken { (0, 0) } else { (quiet_ms + STEP_MS, words + u64::from(alive)) };
    }
}

/// How late a frame may come that was said, in milliseconds, where the dongle has a processor.
const LATEST_MS: u64 = 500;
/// After how long a dongle that says nothing has nothing to say, in milliseconds.
const MUTE_MS: u64 = 4_000;
/// How often is looked, in milliseconds.
const STEP_MS: u64 = 50;

/// Everybody hears every frame of everybody else once and in order, and none of its own.
fn everybody_hears_everybody(rig: &mut Rig) {
    let all: Vec<usize> = (0..rig.speakers.len()).collect();
    let (before, heard) = rig.undisturbed(|rig| {
        let before: Vec<u64> = all.iter().map(|&at| next_number(rig, at)).collect();
        (before, talk(rig, &all, ROUNDS, 100))
    });
    for &at in &all {
        for &from in &all {
            let mut numbers = Speaker::numbers(&heard[at], &rig.speakers[from]);
            numbers.retain(|number| *number >= before[from]);
            let rounds = if at == from { 0 } else { ROUNDS };
            let expected: Vec<u64> = (before[from]..before[from] + rounds).collect();
            assert_eq!(numbers, expected, "{at} hears {from}");
        }
        let witness = heard[at].iter().filter(|frame| frame.node.is_witness()).count();
        assert!(witness > 2, "the dongle itself speaks at {at}: {witness}");
    }
}

const ROUNDS: u64 = 20;

/// Returns the number of the frame after the one that `at` says here.
fn next_number(rig: &mut Rig, at: usize) -> u64 {
    let said = rig.speakers[at].say();
    pause(20);
    said + 1
}

/// Waits until `to` hears `from`, and forgets what anybody has heard.
fn await_path(rig: &mut Rig, from: usize, to: usize) {
    rig.await_that(&format!("{to} hears {from}"), |rig| {
        rig.speakers[from].say();
        pause(50);
        let heard = rig.speakers[to].take_heard();
        !Speaker::numbers(&heard, &rig.speakers[from]).is_empty()
    });
    forget(rig);
}

/// Returns what every speaker has heard and hears until nothing is on its way.
fn all_heard(rig: &mut Rig) -> Vec<Vec<Heard>> {
    let mut heard = vec![Vec::new(); rig.speakers.len()];
    await_quiet(rig, &mut heard);
    heard
}

/// Forgets what was heard, and what is on its way.
fn forget(rig: &mut Rig) {
    drop(all_heard(rig));
}

fn faults(rig: &Rig, port: usize, side: Side, faults: Faults) {
    rig.wire(port).set_faults(side, faults);
}

#[test]
fn two_ports() {
    provisioned("two_ports", 2, everybody_hears_everybody);
}

#[test]
fn three_ports() {
    provisioned("three_ports", 3, everybody_hears_everybody);
}

#[test]
fn five_ports() {
    provisioned("five_ports", 5, everybody_hears_everybody);
}

#[test]
fn three_ports_of_the_other_board() {
    with("three_ports_of_the_other_board", Board::Stm32F405, 3, |rig| {
        rig.provision();
        assert_eq!(rig.info().board.as_str(), "stm32f405");
        everybody_hears_everybody(rig);
    });
}

#[test]
fn a_new_dongle_passes_nothing_on_and_says_so() {
    with("a_new_dongle_passes_nothing_on_and_says_so", Board::Mps2An385, 2, |rig| {
        let info = rig.info();
        assert_eq!((info.lock, info.member), (Lock::Unprovisioned, None));
        let heard = talk(rig, &[0, 1], 10, 50);
        assert_eq!(heard, [vec![], vec![]]);
        assert_eq!(rig.info().lock, Lock::Unprovisioned);
    });
}

#[test]
fn a_dongle_that_belongs_to_a_cluster_takes_no_other_settings() {
    let test = "a_dongle_that_belongs_to_a_cluster_takes_no_other_settings";
    provisioned(test, 2, |rig| {
        let settings = rig.settings();
        let challenge = rig.info().challenge;
        let request = Request::Provision(Provision { challenge, settings });
        let refused = Reply::Provisioned(Err(NotProvisioned::Locked));
        assert_eq!(rig.ask(1, &request), refused);
        everybody_hears_everybody(rig);
    });
}

#[test]
fn frames_with_another_key_are_not_passed_on() {
    provisioned("frames_with_another_key_are_not_passed_on", 2, |rig| {
        await_path(rig, 0, 1);
        let other = Keyring::new(&[(KeyId(1), Key::new([9; 32]))], KeyId(1)).unwrap();
        for _ in 0..10 {
            let forged = rig.speakers[0].next_frame(0, &other);
            rig.speakers[0].say_message(&forged);
            pause(20);
        }
        let heard = &all_heard(rig)[1];
        assert_eq!(Speaker::numbers(heard, &rig.speakers[0]), [0; 0]);
        let info = rig.info();
        assert_eq!(info.ports[0].refused, 10);
        assert!(rig.log().contains(&What::Forged(0)), "it is noted");
    });
}

#[test]
fn noise_loses_frames_and_makes_none() {
    provisioned("noise_loses_frames_and_makes_none", 3, |rig| {
        await_path(rig, 0, 1);
        for port in 0..3 {
            for side in Side::ALL {
                faults(rig, port, side, Faults { bit_errors: 300, ..Faults::default() });
            }
        }
        let first: Vec<u64> = (0..3).map(|at| rig.speakers[at].say() + 1).collect();
        let heard = talk(rig, &[0, 1, 2], 60, 50);
        // A speaker panics on a frame whose tag is wrong, so what arrives is what was said.
        for (at, heard) in heard.iter().enumerate() {
            for from in (0..3).filter(|from| *from != at) {
                let numbers = Speaker::numbers(heard, &rig.speakers[from]);
                assert!(numbers.is_sorted_by(|one, next| one < next), "twice: {numbers:?}");
                let last = first[from] + 60;
                assert!(numbers.iter().all(|number| (first[from] - 1..last).contains(number)));
                let count = numbers.len();
                assert!((10..60).contains(&count), "{count} of 60, from {from} to {at}");
            }
        }
        (0..3).for_each(|port| rig.wire(port).heal());
        forget(rig);
        everybody_hears_everybody(rig);
    });
}

#[test]
fn garbage_at_full_rate_at_one_port_hurts_no_other() {
    provisioned("garbage_at_full_rate_at_one_port_hurts_no_other", 3, |rig| {
        await_path(rig, 1, 2);
        faults(rig, 0, Side::Left, Faults { is_drowned: true, ..Faults::default() });
        pause(200);
        // The garbage itself may be more than QEMU takes in time; what is said must not.
        let (first, heard) = rig.undisturbed_at(&[1, 2], |rig| {
            let first = next_number(rig, 1);
            (first, talk(rig, &[1], 40, 50))
        });
        let expected: Vec<u64> = (first..first + 40).collect();
        for to in [0, 2] {
            let numbers = Speaker::numbers(&heard[to], &rig.speakers[1]);
            assert!(numbers.ends_with(&expected), "{to} hears {numbers:?}");
        }
        rig.wire(0).heal();
        await_path(rig, 0, 2);
        let Reply::Info(info) = rig.ask(1, &Request::Info) else { panic!("no info") };
        assert!(info.ports[0].garbage > 20, "{info:?}");
        assert_eq!((info.ports[1].garbage, info.ports[2].garbage), (0, 0));
        everybody_hears_everybody(rig);
    });
}

#[test]
fn a_line_is_unplugged_and_plugged_in_again() {
    provisioned("a_line_is_unplugged_and_plugged_in_again", 3, |rig| {
        await_path(rig, 0, 1);
        for _ in 0..3 {
            rig.wire(2).unplug(Side::Right);
            let (first, heard) = rig.undisturbed_at(&[0, 1], |rig| {
                let first = next_number(rig, 0);
                (first, talk(rig, &[0, 1], 10, 50))
            });
            let numbers = Speaker::numbers(&heard[1], &rig.speakers[0]);
            assert!(numbers.ends_with(&(first..first + 10).collect::<Vec<_>>()), "{numbers:?}");
            assert_eq!(heard[2], [], "nothing comes through a line that is not there");
            rig.wire(2).plug(Side::Right).unwrap();
            await_path(rig, 0, 2);
            await_path(rig, 2, 1);
        }
        everybody_hears_everybody(rig);
    });
}

#[test]
fn a_port_that_never_reads_loses_its_own_frames_alone() {
    provisioned("a_port_that_never_reads_loses_its_own_frames_alone", 3, |rig| {
        await_path(rig, 0, 1);
        faults(rig, 2, Side::Right, Faults { is_stalled: true, ..Faults::default() });
        // More than everything between the dongle and that speaker can hold.
        let first = [0, 1].map(|at| rig.speakers[at].say() + 1);
        let (rounds, overrun) = (400, rig.overrun());
        let mut heard = talk(rig, &[0, 1], rounds, 25);
        // Where the machine is busy, QEMU itself may lose what a line brings.
        let excused = rig.overrun() - overrun;
        for (at, from) in [(1, 0), (0, 1)] {
            let numbers = Speaker::numbers(&heard[at], &rig.speakers[from]);
            let came = numbers.iter().filter(|number| **number >= first[from]).count() as u64;
            assert!(came + excused >= rounds, "{came} of {rounds} from {from} to {at}");
        }
        assert_eq!(heard[2], []);
        // The newest state comes first, not what is a minute old.
        rig.wire(2).heal();
        heard = rig.undisturbed(|rig| talk(rig, &[0], 20, 50));
        let newest = Speaker::numbers(&heard[2], &rig.speakers[0]);
        let expected: Vec<u64> = (first[0] + rounds..=newest[newest.len() - 1]).collect();
        assert!(newest.ends_with(&expected[expected.len() - 20..]), "{newest:?}");
        let stale = newest.iter().filter(|number| **number < first[0] + rounds - 40).count();
        assert!(stale < 20, "what was said long ago: {newest:?}");
        everybody_hears_everybody(rig);
    });
}

#[test]
fn a_frame_that_comes_back_is_no_news() {
    provisioned("a_frame_that_comes_back_is_no_news", 3, |rig| {
        await_path(rig, 0, 1);
        let frame = rig.speakers[0].next_frame(0, &rig::keyring());
        for at in [0, 1, 0, 2, 1] {
            rig.speakers[at].say_message(&frame);
            pause(50);
        }
        let heard = all_heard(rig);
        let counts = [0, 1, 2].map(|at| Speaker::numbers(&heard[at], &rig.speakers[0]).len());
        assert_eq!(counts, [0, 1, 1], "each other port hears it once");
    });
}

#[test]
fn frames_of_a_large_cluster_are_passed_on() {
    provisioned("frames_of_a_large_cluster_are_passed_on", 2, |rig| {
        await_path(rig, 0, 1);
        let frame = rig.speakers[0].next_frame(140, &rig::keyring());
        assert!(frame.len() > 200, "{} bytes", frame.len());
        rig.speakers[0].say_message(&frame);
        let heard = &all_heard(rig)[1];
        assert_eq!(Speaker::numbers(heard, &rig.speakers[0]).len(), 1);
    });
}
