//! The wire of demo and tests: that it carries, takes its time, and has the faults it promises.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use lifesign::clock;
use lifesign::wire::{End, Faults, Side, Wire};
use lifesign_core::time::Duration;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;

#[test]
fn bytes_cross_in_both_directions_unchanged() {
    let place = Place::new("cross");
    let wire = place.wire(None);
    let [left, right] = [place.open("left"), place.open("right")];
    let all: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    for (from, to) in [(&left, &right), (&right, &left)] {
        for part in all.chunks(1000) {
            send(from, part);
            assert!(take(to, part.len()) == part);
        }
    }
    for side in Side::ALL {
        let traffic = wire.traffic(side);
        assert_eq!((traffic.taken, traffic.arrived), (20_000, 20_000));
        assert_eq!((traffic.lost, traffic.overrun, traffic.bits_turned), (0, 0, 0));
    }
}

#[test]
fn a_line_takes_the_time_of_its_speed_and_no_less() {
    let place = Place::new("pace");
    let wire = place.wire(Some(9600));
    let [left, right] = [place.open("left"), place.open("right")];
    for (speed, len, least_ms) in [(9600, 96, 100), (115_200, 1152, 100), (9600, 1, 1)] {
        wire.set_speed(Some(speed));
        let begin = clock::now();
        send(&left, &vec![7; len]);
        assert_eq!(take(&right, len).len(), len);
        let spent = clock::now().since(begin);
        assert!(spent >= Duration::from_millis(least_ms), "{speed}: {} us", spent.as_micros());
        // A machine with too much to do may be late, though not for ever.
        assert!(spent < Duration::from_millis(least_ms + 500), "{speed}: {} us", spent.as_micros());
    }
}

#[test]
fn a_cut_loses_what_is_sent_and_healing_does_not_bring_it_back() {
    let place = Place::new("cut");
    let wire = place.wire(None);
    let [left, right] = [place.open("left"), place.open("right")];
    wire.cut();
    send(&left, b"lost");
    until(|| wire.traffic(Side::Left).lost == 4);
    wire.heal();
    send(&left, b"kept");
    assert_eq!(take(&right, 4), b"kept");
    // One conductor alone.
    wire.set_faults(Side::Left, Faults { is_cut: true, ..Faults::default() });
    send(&left, b"lost");
    send(&right, b"back");
    assert_eq!(take(&left, 4), b"back");
    until(|| wire.traffic(Side::Left).lost == 8);
}

#[test]
fn a_stalled_sender_fills_its_buffer_and_what_waits_arrives_later() {
    let place = Place::new("stall");
    let wire = place.wire(None);
    let [left, right] = [place.open("left"), place.open("right")];
    wire.set_faults(Side::Left, Faults { is_stalled: true, ..Faults::default() });
    let mut accepted = 0;
    while let Ok(len) = nix::unistd::write(&left, &[7; 512]) {
        accepted += len;
        assert!(accepted < 1_000_000, "nothing fills");
    }
    assert_eq!(wire.traffic(Side::Left).taken, 0);
    // At a speed at which the reader keeps up.
    wire.set_speed(Some(1_000_000));
    wire.heal();
    assert_eq!(take(&right, accepted).len(), accepted);
}

#[test]
fn bit_errors_are_as_many_as_asked_and_the_same_for_the_same_seed() {
    let mut outcomes = Vec::new();
    for seed in [1, 1, 2] {
        let place = Place::new("noise");
        let wire = place.wire(None);
        let [left, right] = [place.open("left"), place.open("right")];
        wire.set_faults(Side::Left, Faults { bit_errors: 10_000, ..Faults::default() });
        wire.set_seed(seed);
        send(&left, &[0; 2000]);
        let heard = take(&right, 2000);
        let turned: u32 = heard.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(wire.traffic(Side::Left).bits_turned, u64::from(turned));
        assert!((100..220).contains(&turned), "{turned} of 16000 at one in a hundred");
        outcomes.push(heard);
    }
    assert!(outcomes[0] == outcomes[1] && outcomes[0] != outcomes[2]);
}

#[test]
fn garbage_drowns_what_is_sent_at_the_speed_of_the_line() {
    let place = Place::new("drown");
    let wire = place.wire(Some(115_200));
    let [left, right] = [place.open("left"), place.open("right")];
    let begin = clock::now();
    wire.set_faults(Side::Left, Faults { is_drowned: true, ..Faults::default() });
    send(&left, &[0; 100]);
    let heard = take(&right, 2000);
    let spent = clock::now().since(begin);
    assert!(spent >= Duration::from_millis(170), "{} us for 2000 bytes", spent.as_micros());
    assert!(heard.windows(10).all(|part| part != [0; 10]), "what was sent is not in it");
    assert_eq!(wire.traffic(Side::Left).lost, 100);
    // The other direction is not touched.
    send(&right, b"calm");
    assert_eq!(take(&left, 4), b"calm");
}

#[test]
fn a_terminal_that_is_unplugged_hangs_up_and_returns_under_its_path() {
    let place = Place::new("unplug");
    let wire = place.wire(None);
    let [left, right] = [place.open("left"), place.open("right")];
    let path = place.path("left");
    let before = fs::read_link(&path).unwrap();
    wire.unplug(Side::Left);
    assert!(fs::symlink_metadata(&path).is_err());
    assert!(!wire.is_plugged(Side::Left));
    let mut watched = [PollFd::new(left.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, 1000_u16), Ok(1));
    assert!(watched[0].revents().unwrap().contains(PollFlags::POLLHUP));
    send(&right, b"nobody");
    until(|| wire.traffic(Side::Right).lost == 6);
    wire.plug(Side::Left).unwrap();
    let left = place.open("left");
    send(&right, b"again");
    assert_eq!(take(&left, 5), b"again");
    drop(wire);
    assert!(fs::symlink_metadata(&path).is_err(), "{before:?} leaves nothing behind");
}

#[test]
fn an_emulators_socket_is_called_when_it_is_there_and_again_when_it_has_gone() {
    let place = Place::new("socket");
    let socket = place.path("socket");
    let ends = [End::Terminal(place.path("left")), End::Socket(socket.clone())];
    let [left, right] = ends;
    let wire = Wire::join(left, right, None).unwrap();
    let left = place.open("left");
    assert!(!wire.is_plugged(Side::Right));
    for round in 0..3 {
        let _none = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let (mut emulator, _) = listener.accept().unwrap();
        until(|| wire.is_plugged(Side::Right));
        emulator.write_all(&[round; 3]).unwrap();
        assert_eq!(take(&left, 3), [round; 3]);
        send(&left, &[round; 5]);
        let mut heard = [9; 5];
        emulator.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [round; 5]);
        drop((emulator, listener));
        until(|| !wire.is_plugged(Side::Right));
    }
}

#[test]
fn a_device_and_a_descriptor_can_be_joined_as_well() {
    let place = Place::new("device");
    let outer = place.wire(None);
    let (mut far, near) = UnixStream::pair().unwrap();
    let near = End::Descriptor(near.into());
    let inner = Wire::join(End::Device(place.path("right")), near, Some(1_000_000)).unwrap();
    until(|| inner.is_plugged(Side::Left));
    let left = place.open("left");
    send(&left, b"through two wires");
    let mut heard = [0; 17];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"through two wires");
    far.write_all(b"and back").unwrap();
    assert_eq!(take(&left, 8), b"and back");
    drop(outer);
    until(|| !inner.is_plugged(Side::Left));
}

#[test]
fn a_place_that_cannot_be_is_an_error() {
    let place = Place::new("error");
    let nowhere = End::Terminal("/nowhere/at/all".into());
    assert!(Wire::join(End::Terminal(place.path("left")), nowhere, None).is_err());
    assert!(fs::symlink_metadata(place.path("left")).is_err());
}

/// A directory of a test's own, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("lifesign-wire-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn wire(&self, speed: Option<u32>) -> Wire {
        let [left, right] = ["left", "right"].map(|name| End::Terminal(self.path(name)));
        Wire::join(left, right, speed).unwrap()
    }

    fn open(&self, name: &str) -> OwnedFd {
        device(&self.path(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn device(path: &Path) -> OwnedFd {
    open(path, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK, Mode::empty()).unwrap()
}

fn send(to: &OwnedFd, bytes: &[u8]) {
    assert_eq!(nix::unistd::write(to, bytes), Ok(bytes.len()));
}

/// Returns what arrives, up to `len` bytes, at most two seconds after the last that did.
fn take(from: &OwnedFd, len: usize) -> Vec<u8> {
    let mut heard = vec![0; len];
    let mut at = 0;
    while at < len {
        let mut watched = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, 2000_u16) != Ok(1) {
            break;
        }
        at += nix::unistd::read(from, &mut heard[at..]).unwrap();
    }
    heard.truncate(at);
    heard
}

/// Waits until `is_so`, for two seconds at most.
fn until(is_so: impl Fn() -> bool) {
    let end = clock::now() + Duration::from_millis(2000);
    while !is_so() {
        assert!(!clock::now().has_reached(end), "it does not come about");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
