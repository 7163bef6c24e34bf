//! A feeder and a watchdog that bites in earnest, without a machine.

use core::time::Duration as Span;
use std::fs;
use std::os::fd::AsRawFd;
use std::thread;

use lifesign_core::time::Instant;

use super::*;
use crate::demo::watchdog::{Dial, Kind, Watchdog};
use crate::settings::tests::Folder;
use crate::watchdog::note::Note;
use crate::{clock, log};

/// A feeder at work, with the daemon's end and the device.
struct Stage {
    folder: Folder,
    device: Watchdog,
    keeper: Keeper,
    feeding: Feeding,
    state: State,
}

impl Stage {
    fn new(kind: Kind, timeout_s: u64) -> Self {
        let folder = Folder::new("feeder");
        let path = folder.path.join("watchdog");
        let device = Watchdog::start(&path, kind).unwrap();
        let timeout = Duration::from_millis(timeout_s * 1000);
        let plan = Plan {
            device: path,
            timeout,
            overshoot: timeout.times(2),
            groups: vec!["db".to_owned(), "web".to_owned()],
            note: folder.path.join("alpha.bite"),
        };
        let (keeper, feeding, feeder) = ends(plan).unwrap();
        let (logger, _drain) = log::channel("alpha").unwrap();
        thread::spawn(move || feeder.feed(Pid::this(), Arc::new(logger)).unwrap());
        Self { folder, device, keeper, feeding, state: State::Opening }
    }

    /// Waits until the state is as wanted, and what was ordered is done.
    fn await_state(&mut self, what: &str, is_it: impl Fn(&State) -> bool) {
        let until = clock::now() + Duration::from_millis(20_000);
        while !(self.keeper.is_heeded() && is_it(&self.state)) {
            assert!(!clock::now().has_reached(until), "waited for {what}: {:?}", self.state);
            let mut waiting = [PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, PollTimeout::from(100_u8)).unwrap();
            while let Some(state) = self.keeper.poll_state() {
                self.state = state;
            }
        }
    }

    fn arm(&mut self) {
        self.keeper.arm(true);
        assert!(!self.keeper.is_heeded(), "nobody knows yet whether it counts");
        self.await_state("an armed one", |state| matches!(state, State::Armed(_)));
    }

    fn await_dial(&self, what: &str, is_it: impl Fn(&Dial) -> bool) {
        let until = clock::now() + Duration::from_millis(20_000);
        while !is_it(&self.device.dial()) {
            assert!(
                !clock::now().has_reached(until),
                "waited for {what}: {:?}",
                self.device.dial()
            );
            thread::sleep(Span::from_millis(5));
        }
    }

    fn note(&self) -> Option<Note> {
        Note::load(&self.folder.path.join("alpha.bite"))
    }
}

/// Returns a limit that lies so far ahead, or behind if there is nothing.
fn limit(ahead: Option<Duration>, group: usize, is_stopping: bool) -> Option<Limit> {
    let until = ahead.map_or(Instant::ZERO, |ahead| clock::now() + ahead);
    Some(Limit { until, group, is_stopping })
}

const LONG: Option<Duration> = Some(Duration::from_millis(3_600_000));

#[test]
fn it_rests_until_it_is_armed_and_is_fed_then() {
    let mut stage = Stage::new(Kind::obedient(), 5);
    stage.await_state("one at rest", |state| matches!(state, State::Resting(_)));
    let State::Resting(facts) = stage.state.clone() else { unreachable!() };
    assert_eq!((facts.timeout_s, facts.can_rest, facts.info.firmware), (5, true, 7));
    assert!(facts.info.has_magic_close && facts.info.identity == "laboratory");
    assert!(!stage.device.dial().is_counting);
    stage.keeper.set(limit(LONG, 0, false));
    stage.arm();
    assert!(stage.device.dial().is_counting);
    let fed = stage.device.dial().fed;
    stage.await_dial("more feeds", |dial| dial.fed > fed + 1);
    stage.keeper.arm(false);
    stage.await_state("one at rest", |state| matches!(state, State::Resting(_)));
    assert!(!stage.device.dial().is_counting);
    stage.feeding.disarm();
    assert!(stage.device.dial().bites_us.is_empty());
}

#[test]
fn when_the_time_is_over_it_bites_and_the_reason_is_known_before() {
    for (is_stopping, why) in [
        (true, "web did not stop in time"),
        (false, "the authority over web ended, and the daemon (process"),
    ] {
        let mut stage = Stage::new(Kind::obedient(), 1);
        stage.keeper.set(limit(None, 1, is_stopping));
        stage.arm();
        stage.await_dial("a bite", |dial| !dial.bites_us.is_empty());
        let note = stage.note().unwrap();
        assert!(note.why.starts_with(why), "{note:?}");
        assert_eq!(note.count, 1);
        assert!(note.wall_us < clock::wall_us());
    }
}

#[test]
fn what_stops_late_is_fed_again_and_the_reason_is_withdrawn() {
    let mut stage = Stage::new(Kind::obedient(), 30);
    stage.keeper.set(limit(None, 0, true));
    stage.arm();
    let until = clock::now() + Duration::from_millis(20_000);
    let await_note = |is_there: bool| {
        while stage.note().is_some() != is_there {
            assert!(!clock::now().has_reached(until), "a note is there, or not: {is_there}");
            thread::sleep(Span::from_millis(5));
        }
    };
    await_note(true);
    stage.keeper.set(None);
    await_note(false);
    let fed = stage.device.dial().fed;
    stage.await_dial("a feed", |dial| dial.fed > fed);
}

#[test]
fn a_dead_daemon_is_outlived_and_what_has_stopped_is_disarmed() {
    let mut stage = Stage::new(Kind::obedient(), 5);
    stage.keeper.set(limit(LONG, 0, false));
    stage.arm();
    let Stage { folder, device, keeper, feeding, .. } = stage;
    drop(keeper);
    let fed = device.dial().fed;
    let until = clock::now() + Duration::from_millis(20_000);
    while device.dial().fed < fed + 2 {
        assert!(!clock::now().has_reached(until), "its last limit holds");
        thread::sleep(Span::from_millis(5));
    }
    feeding.disarm();
    // The other end sees it closed a moment later.
    while device.dial().disarmed == 0 {
        assert!(!clock::now().has_reached(until), "it is disarmed");
        thread::sleep(Span::from_millis(5));
    }
    assert!(!device.dial().is_counting);
    assert_eq!(Note::load(&folder.path.join("alpha.bite")), None);
}

#[test]
fn what_has_not_stopped_is_left_to_the_watchdog() {
    let mut stage = Stage::new(Kind::obedient(), 1);
    stage.keeper.set(limit(LONG, 0, false));
    stage.arm();
    let Stage { folder, device, feeding, .. } = stage;
    feeding.leave("the daemon had ended, and db did not stop");
    let until = clock::now() + Duration::from_millis(20_000);
    while device.dial().bites_us.is_empty() {
        assert!(!clock::now().has_reached(until), "it bites");
        thread::sleep(Span::from_millis(5));
    }
    assert_eq!((device.dial().bites_us.len(), device.dial().disarmed), (1, 0));
    let note = Note::load(&folder.path.join("alpha.bite")).unwrap();
    assert_eq!(note.why, "the daemon had ended, and db did not stop");
}

#[test]
fn when_nobody_is_left_what_is_up_is_left_to_the_watchdog() {
    for (limit, bites) in [(limit(LONG, 1, false), 1), (None, 0)] {
        let mut stage = Stage::new(Kind::obedient(), 1);
        stage.keeper.set(limit);
        stage.arm();
        let Stage { folder, device, keeper, feeding, .. } = stage;
        drop(feeding);
        let fed = device.dial().fed;
        let until = clock::now() + Duration::from_millis(20_000);
        while device.dial().fed < fed + 2 {
            assert!(!clock::now().has_reached(until), "without a supervisor the daemon is enough");
            thread::sleep(Span::from_millis(5));
        }
        drop(keeper);
        while device.dial().is_counting {
            assert!(!clock::now().has_reached(until), "it bites, or is disarmed");
            thread::sleep(Span::from_millis(5));
        }
        assert_eq!(device.dial().bites_us.len(), bites);
        let note = Note::load(&folder.path.join("alpha.bite")).map(|note| note.why);
        let why = "the daemon and its supervisor had ended, and nobody stopped web".to_owned();
        assert_eq!(note, Some(why).filter(|_| bites == 1));
    }
}

#[test]
fn a_driver_that_counts_longer_is_refused_and_disarmed() {
    let mut stage = Stage::new(Kind { least_s: 30, nowayout: false }, 5);
    stage.await_state("a refusal", |state| matches!(state, State::Unusable(_)));
    let State::Unusable(why) = &stage.state else { unreachable!() };
    let expected = "laboratory counts 30 s, and the settings have a timeout of 5 s: raise it";
    assert_eq!(why, expected);
    stage.await_dial("one at rest", |dial| !dial.is_counting && dial.disarmed > 0);
}

#[test]
fn one_that_cannot_rest_is_fed_from_the_opening_on() {
    let mut stage = Stage::new(Kind { least_s: 1, nowayout: true }, 5);
    stage.await_state("one that counts", |state| matches!(state, State::Armed(_)));
    let fed = stage.device.dial().fed;
    stage.await_dial("feeds", |dial| dial.is_counting && dial.fed > fed + 1);
}

#[test]
fn a_process_is_seen_as_it_is() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let process = sys::open_process(pid).unwrap();
    assert!(process.as_raw_fd() > 2);
    let state = || work::state_of(&process);
    nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
    let until = clock::now() + Duration::from_millis(20_000);
    while state() != Some('T') {
        assert!(!clock::now().has_reached(until), "{:?}", state());
        thread::sleep(Span::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(state(), None, "it has ended");
    assert!(fs::metadata("/proc/self").is_ok());
}
