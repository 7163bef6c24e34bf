//! Serial links over pseudo-terminals that a wire joins.
//!
//! What time it is, the tests say: nothing here waits for a clock, except for bytes to arrive.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

#[path = "serial/node.rs"]
mod node;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lifesign::link::failure::{Failure, OpenError};
use lifesign::link::serial::diagnosis::Diagnosis;
use lifesign::link::serial::terminal::{LowLatency, Terminal};
use lifesign::link::serial::{SerialSpec, line_time};
use lifesign::link::{Link, LinkSpec, Specification, State};
use lifesign::wire::{Faults, Side, Wire};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::time::{Duration, Instant};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Uid, geteuid, setfsuid};

use self::node::{Made, Node, Place, id, messages, on_line, until, write};

#[test]
fn a_null_modem_carries_frames_both_ways() {
    let place = Place::new("null-modem");
    let _wire = place.wire("a", "b");
    let mut nodes = [place.node(0, &["a"]), place.node(1, &["b"])];
    for (sequence, [from, to]) in (1..).zip([[0, 1], [1, 0], [0, 1], [1, 0]]) {
        nodes[from].send(sequence);
        until(&mut nodes, |nodes| nodes[to].heard.last() == Some(&(id(from), sequence, 0)));
    }
    for node in &nodes {
        assert_eq!(node.link.state(), State::Up);
        let statistics = node.link.statistics();
        assert_eq!((statistics.sent, statistics.received), (2, 2));
        let port = &node.link.ports()[0];
        assert_eq!(port.diagnosis(node.now), Diagnosis::Good);
        let statistics = port.statistics();
        assert_eq!((statistics.sent, statistics.received, statistics.garbage.total()), (2, 2, 0));
        assert_eq!(statistics.bytes_sent, statistics.bytes_received);
        // Of a pseudo-terminal nobody knows these.
        assert_eq!((statistics.line_errors, port.latency_timer_ms()), (None, None));
        assert_eq!(port.low_latency(), Some(LowLatency::Unknown));
    }
}

#[test]
fn messages_of_any_length_arrive_in_any_pieces() {
    let place = Place::new("pieces");
    let _wire = place.wire("a", "far");
    let mut node = place.node(0, &["a"]);
    let far = place.open("far");
    for (sequence, piece) in (1..).zip([1, 2, 3, 7, 64, 1000]) {
        let line = on_line(&Made { sequence, ..Made::of(1) }.frame());
        for piece in line.chunks(piece) {
            write(&far, piece);
            node.receive();
        }
        until(std::slice::from_mut(&mut node), |nodes| {
            nodes[0].heard.last() == Some(&(id(1), sequence, 0))
        });
    }
    // The longest of all, and one that is too long.
    write(&far, &[on_line(&[1; MAX_FRAME_LEN]), on_line(&[1; MAX_FRAME_LEN + 1])].concat());
    write(&far, &on_line(&Made { sequence: 99, ..Made::of(1) }.frame()));
    until(std::slice::from_mut(&mut node), |nodes| nodes[0].heard.len() == 7);
    let port = node.link.ports()[0].statistics();
    assert_eq!((port.received, port.garbage.length, port.garbage.total()), (8, 1, 1));
}

#[test]
fn after_noise_the_next_message_is_read() {
    let place = Place::new("noise");
    let wire = place.wire("a", "far");
    let mut node = place.node(0, &["a"]);
    let far = place.open("far");
    wire.set_faults(Side::Right, Faults { is_drowned: true, ..Faults::default() });
    until(std::slice::from_mut(&mut node), |nodes| {
        nodes[0].link.ports()[0].statistics().garbage.total() > 20
    });
    assert_eq!(node.link.ports()[0].diagnosis(node.now), Diagnosis::Noise);
    wire.heal();
    write(&far, &on_line(&Made::of(1).frame()));
    until(std::slice::from_mut(&mut node), |nodes| !nodes[0].heard.is_empty());
    assert_eq!(node.link.ports()[0].diagnosis(node.now), Diagnosis::Noisy);
    assert_eq!(node.link.state(), State::Up, "noise is not a reason to stop sending");
}

#[test]
fn a_line_is_handed_one_message_at_a_time_and_then_the_newest() {
    for speed in [9600, 115_200] {
        let place = Place::new("pace");
        let _wire = place.wire("a", "far");
        let mut node = place.node_at(0, &["a"], speed);
        let far = place.open("far");
        let frames: Vec<_> = (1..=4).map(|sequence| Made { sequence, ..Made::of(0) }).collect();
        let time = line_time(on_line(&frames[0].frame()).len(), speed);
        let begin = node.now;
        assert_eq!(node.link.poll_timeout(), None);
        for made in &frames {
            node.link.send(&made.frame(), begin);
        }
        assert_eq!(messages(&far, 1), [frames[0].frame()], "{speed}");
        assert_eq!(node.link.poll_timeout(), Some(begin + time));
        let early = Instant::from_micros((begin + time).as_micros() - 1);
        assert!(!node.link.handle_timeout(early));
        assert!(!node.link.handle_timeout(begin + time));
        assert_eq!(messages(&far, 1), [frames[3].frame()], "the newest state wins");
        let port = node.link.ports()[0].statistics();
        assert_eq!((port.sent, port.displaced, port.dropped), (2, 2, 0));
        assert_eq!(node.link.poll_timeout(), None, "nothing waits");
        // What comes while the line is still busy waits for it, and no longer.
        node.link.send(&frames[1].frame(), begin + time + Duration::from_micros(5));
        assert_eq!(node.link.poll_timeout(), Some(begin + time.times(2)));
    }
    assert_eq!(line_time(96, 9600), Duration::from_millis(100));
    assert_eq!(line_time(96, 115_200), Duration::from_micros(8334));
}

#[test]
fn a_port_that_takes_nothing_loses_its_own_frames_only() {
    let place = Place::new("stuck");
    let stuck = place.wire("a0", "b0");
    let _lively = place.wire("a1", "b1");
    let mut nodes = [place.node(0, &["a0", "a1"]), place.node(1, &["b0"]), place.node(2, &["b1"])];
    stuck.set_faults(Side::Left, Faults { is_stalled: true, ..Faults::default() });
    let mut sent = 0;
    while nodes[0].link.ports()[0].state() == State::Up {
        sent += 1;
        assert!(sent < 5000, "it takes everything");
        nodes[0].send(sent);
        until(&mut nodes, |nodes| nodes[2].heard.last() == Some(&(id(0), sent, 0)));
    }
    assert_eq!(nodes[0].link.ports()[0].state(), State::Down(Failure::Stuck));
    assert!(nodes[0].link.ports()[0].to_string().ends_with("a0: takes no bytes"));
    assert_eq!(nodes[0].link.state(), State::Up, "the other port goes on");
    for sequence in sent + 1..sent + 20 {
        nodes[0].send(sequence);
        until(&mut nodes, |nodes| nodes[2].heard.last() == Some(&(id(0), sequence, 0)));
    }
    stuck.set_speed(Some(1_000_000));
    stuck.heal();
    until(&mut nodes, |nodes| nodes[1].heard.last() == Some(&(id(0), sent + 19, 0)));
    assert_eq!(nodes[0].link.ports()[0].state(), State::Up);
    assert!(nodes[0].link.ports()[0].statistics().displaced >= 17);
}

#[test]
fn a_device_that_is_unplugged_is_opened_again_by_its_path() {
    let place = Place::new("unplug");
    let wire = place.wire("a", "b");
    let mut nodes = [place.node(0, &["a"]), place.node(1, &["b"])];
    for round in 1..=3 {
        wire.unplug(Side::Left);
        until(&mut nodes, |nodes| nodes[0].link.ports()[0].statistics().hang_ups == round);
        nodes[0].send(round * 10);
        // The path leads nowhere until the device is back.
        until(&mut nodes, |nodes| nodes[0].link.state() == State::Down(Failure::DeviceMissing));
        assert!(nodes[0].link.ports()[0].to_string().ends_with("a: no such device"));
        assert!(nodes[0].link.poll_timeout().is_some());
        assert_eq!(nodes[1].link.state(), State::Up);
        wire.plug(Side::Left).unwrap();
        until(&mut nodes, |nodes| nodes[0].link.state() == State::Up);
        assert_eq!(nodes[0].link.statistics().reopened, round);
        nodes[0].send(round * 10 + 1);
        until(&mut nodes, |nodes| nodes[1].heard.last() == Some(&(id(0), round * 10 + 1, 0)));
        nodes[1].send(round);
        until(&mut nodes, |nodes| nodes[0].heard.last() == Some(&(id(1), round, 0)));
    }
}

#[test]
fn pauses_between_attempts_grow_from_a_tenth_of_a_second_to_two() {
    let place = Place::new("pauses");
    let mut node = place.node(0, &["nowhere"]);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let due = node.link.poll_timeout().unwrap();
        node.now = node.now.max(due);
        node.link.handle_timeout(node.now);
        // It is opened apart from the thread that decides.
        let mut watched = [PollFd::new(node.link.descriptor().unwrap(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut watched, 2000_u16), Ok(1));
        node.receive();
        pauses.push(node.link.poll_timeout().unwrap().since(node.now).as_millis());
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 2000, 2000, 2000]);
}

#[test]
fn a_device_in_use_is_not_taken_away() {
    let place = Place::new("busy");
    let _wire = place.wire("a", "b");
    let mut nodes = [place.node(0, &["a"]), place.node(1, &["b"])];
    let mut second = place.node(2, &["a"]);
    assert_eq!(second.link.state(), State::Down(Failure::Busy));
    assert!(second.link.ports()[0].to_string().ends_with("a: in use by another program"));
    nodes[0].send(1);
    until(&mut nodes, |nodes| nodes[1].heard.len() == 1);
    nodes[1].send(1);
    until(&mut nodes, |nodes| nodes[0].heard.len() == 1);
    // Once it is free, the other has it.
    let [first, _] = nodes;
    drop(first);
    until(std::slice::from_mut(&mut second), |nodes| nodes[0].link.state() == State::Up);
}

#[test]
fn what_is_wrong_with_a_device_is_said_in_one_line() {
    let place = Place::new("wrong");
    let _wire = place.wire("a", "b");
    fs::write(place.path("file"), "no terminal").unwrap();
    for (device, said, failure) in [
        ("/dev/null".into(), "not a serial device", Failure::NotSerial),
        (place.path("file"), "not a serial device", Failure::NotSerial),
        (place.path("missing"), "no such device", Failure::DeviceMissing),
    ] {
        let mut node = place.node_with(0, vec![device.clone(), place.path("a")], 115_200);
        let port = &node.link.ports()[0];
        assert_eq!(port.to_string(), format!("{}: {said}", device.display()));
        assert_eq!(port.state(), State::Down(failure));
        // The other port goes on.
        assert_eq!(node.link.state(), State::Up);
        node.send(1);
        assert_eq!(node.link.statistics().sent, 1);
        drop(node);
        let node = place.node_with(0, vec![device], 115_200);
        assert_eq!(node.link.state(), State::Down(failure));
    }
}

#[test]
fn a_forbidden_device_is_said_to_be() {
    let place = Place::new("forbidden");
    let _wire = place.wire("a", "b");
    fs::set_permissions(place.path("a"), Permissions::from_mode(0o000)).unwrap();
    let path = place.path("a");
    // The rights of files are those of the thread: root gives up its own for this one alone.
    let open = move || {
        if geteuid().is_root() {
            setfsuid(Uid::from_raw(65_534));
        }
        Terminal::open(&path, 115_200, true).unwrap_err()
    };
    let refused = std::thread::spawn(open).join().unwrap();
    assert_eq!(refused.failure, Failure::Forbidden);
    assert_eq!(refused.to_string(), "this user may not open it");
}

#[test]
fn a_specification_that_contradicts_itself_is_an_error() {
    let spec = |devices: &[&str], speed| SerialSpec {
        devices: devices.iter().map(PathBuf::from).collect(),
        speed,
        low_latency: true,
        own: id(0),
    };
    for (spec, expected) in [
        (spec(&[], 9600), "a serial link needs a device"),
        (spec(&["1", "2", "3", "4", "5"], 9600), "a serial link has at most 4 devices"),
        (spec(&["1", "2", "1"], 9600), "two ports of a link must not be the same device"),
        (spec(&["1"], 0), "the speed of a serial link must be from 1200 to 4000000"),
    ] {
        let spec = LinkSpec { name: "wire".into(), kind: Specification::Serial(spec) };
        let error = Link::open(&spec).unwrap_err();
        assert!(matches!(error, OpenError::Contradiction { .. }));
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_comes_in_tells_what_is_wrong_with_the_cable() {
    let place = Place::new("diagnosis");
    let _wire = place.wire("a", "far");
    let far = place.open("far");
    let other_version = || {
        let mut frame = Made::of(1).frame();
        frame[0] = 2;
        frame
    };
    for (message, diagnosis) in [
        (Made::of(0).frame(), Diagnosis::Loopback),
        (Made { link: 1, ..Made::of(1) }.frame(), Diagnosis::Swapped),
        (Made { cluster: 8, ..Made::of(1) }.frame(), Diagnosis::Foreign),
        (Made { key: 7, ..Made::of(1) }.frame(), Diagnosis::Foreign),
        (other_version(), Diagnosis::OtherVersion),
        (vec![0xd0; 20], Diagnosis::DongleAlone),
        (vec![0xd1; 20], Diagnosis::DongleAlone),
        (Made::of(1).frame(), Diagnosis::Good),
    ] {
        let mut node = place.node(0, &["a"]);
        assert_eq!(node.link.ports()[0].diagnosis(node.now), Diagnosis::Silent);
        write(&far, &on_line(&message));
        until(std::slice::from_mut(&mut node), |nodes| {
            let statistics = nodes[0].link.ports()[0].statistics();
            statistics.received + statistics.answers == 1
        });
        assert_eq!(node.link.ports()[0].diagnosis(node.now), diagnosis);
    }
}

#[test]
fn a_dongle_is_asked_at_every_port_and_its_answers_are_kept() {
    let place = Place::new("dongle");
    let _wires = [place.wire("a0", "far0"), place.wire("a1", "far1")];
    let fars = [place.open("far0"), place.open("far1")];
    let mut node = place.node(0, &["a0", "a1"]);
    node.link.ask(&[0xd0, 1, 2, 3], node.now);
    for far in &fars {
        assert_eq!(messages(far, 1), [[0xd0, 1, 2, 3]]);
    }
    // A newer question replaces one that waits for the line.
    node.link.ask(&[0xd0, 4], node.now);
    node.link.ask(&[0xd0, 5], node.now);
    node.now = node.now + Duration::from_millis(100);
    node.link.handle_timeout(node.now);
    assert_eq!(messages(&fars[1], 1), [[0xd0, 5]]);
    for answer in 0..20 {
        write(&fars[1], &on_line(&[0xd1, answer]));
    }
    until(std::slice::from_mut(&mut node), |nodes| {
        nodes[0].link.ports()[1].statistics().answers == 20
    });
    for answer in 12..20 {
        let reply = node.link.poll_reply().unwrap();
        assert_eq!((reply.port, &reply.bytes[..]), (1, &[0xd1, answer][..]));
    }
    assert_eq!(node.link.poll_reply(), None);
    assert!(node.heard.is_empty(), "the daemon's frames are not among them");
    assert_eq!(node.link.ports()[0].statistics().sent, 2, "answers are not passed on");
}

#[test]
fn a_ring_of_three_gives_each_frame_once_and_survives_a_cut() {
    let place = Place::new("ring");
    let wires = [place.wire("ab", "ba"), place.wire("bc", "cb"), place.wire("ca", "ac")];
    let mut nodes =
        [place.node(0, &["ab", "ac"]), place.node(1, &["ba", "bc"]), place.node(2, &["cb", "ca"])];
    let mut sequence = 0;
    let mut round = |nodes: &mut [Node; 3], ways: u64| {
        sequence += 1;
        for from in 0..3 {
            nodes[from].send(sequence);
            let copies = |nodes: &[Node]| -> u64 {
                let ports = nodes.iter().flat_map(|node| node.link.ports());
                ports.map(|port| port.statistics().received).sum()
            };
            let before = copies(nodes);
            until(nodes, |nodes| is_quiet(nodes, &wires));
            assert_eq!(copies(nodes), before + ways, "of {from}");
            for (at, node) in nodes.iter().enumerate().filter(|(at, _)| *at != from) {
                let news = node
                    .heard
                    .iter()
                    .filter(|(sender, number, _)| (*sender, *number) == (id(from), sequence));
                assert_eq!(news.count(), 1, "of {from} at {at}");
            }
            assert!(nodes[from].heard.iter().all(|(sender, ..)| *sender != id(from)));
        }
    };
    for _ in 0..3 {
        // A frame comes to each of two nodes from both sides.
        round(&mut nodes, 4);
    }
    for wire in &wires {
        wire.cut();
        for _ in 0..3 {
            round(&mut nodes, 2);
        }
        wire.heal();
        round(&mut nodes, 4);
    }
    let mut twice = 0;
    for node in &nodes {
        let [one, other] = [0, 1].map(|at| *node.link.ports()[at].statistics());
        // Two frames in each of fifteen rounds.
        assert_eq!((one.relayed + other.relayed, one.dropped + other.dropped), (30, 0));
        twice += one.copies + other.copies + one.returned + other.returned;
    }
    // Six rounds were without a cut. What comes to a node by the longer way first goes on to where
    // it began.
    assert_eq!(twice, 6 * 3 * 2);
}

#[test]
fn a_loopback_plug_in_a_ring_is_found_out() {
    let place = Place::new("plug");
    let _wires = [place.wire("ab", "ba"), place.wire("plug", "inside")];
    let mut nodes = [place.node(0, &["ab", "plug"]), place.node(1, &["ba"])];
    let plug = place.open("inside");
    for sequence in 1..5 {
        nodes[0].send(sequence);
        nodes[1].send(sequence);
        until(&mut nodes, |nodes| nodes[0].heard.len() == usize::try_from(sequence).unwrap());
        until(&mut nodes, |nodes| nodes[0].link.poll_timeout().is_none());
        // What comes out of the plug goes in again: own frames, and those of the other node.
        for message in messages(&plug, 2) {
            write(&plug, &on_line(&message));
        }
    }
    until(&mut nodes, |nodes| nodes[0].link.ports()[1].statistics().received == 8);
    let [good, bad] = [0, 1].map(|at| &nodes[0].link.ports()[at]);
    assert_eq!(good.diagnosis(nodes[0].now), Diagnosis::Good);
    assert_eq!(bad.diagnosis(nodes[0].now), Diagnosis::Loopback);
    assert_eq!((bad.statistics().returned, bad.statistics().copies), (4, 4));
    assert_eq!(nodes[0].heard.len(), 4, "each frame once");
    assert_eq!(nodes[1].heard.len(), 4);
}

#[test]
fn what_is_not_authentic_is_not_passed_on() {
    let place = Place::new("stranger");
    let _wires = [place.wire("a0", "far0"), place.wire("a1", "far1")];
    let [stranger, friend] = [place.open("far0"), place.open("far1")];
    let mut node = place.node(0, &["a0", "a1"]);
    let good = Made { sequence: 7, ..Made::of(1) }.frame();
    for (count, message) in (1..).zip([
        Made { key: 7, sequence: 9, ..Made::of(1) }.frame(),
        Made { cluster: 8, sequence: 9, ..Made::of(1) }.frame(),
        Made { link: 1, sequence: 9, ..Made::of(1) }.frame(),
        Made { sequence: 9, ..Made::of(0) }.frame(),
        vec![1; 100],
        good.clone(),
    ]) {
        write(&stranger, &on_line(&message));
        until(std::slice::from_mut(&mut node), |nodes| {
            nodes[0].link.ports()[0].statistics().received == count
        });
    }
    assert_eq!(messages(&friend, 1), [good], "a forged number does not keep out the true one");
    assert_eq!(node.link.ports()[0].statistics().relayed, 1);
    assert_eq!(node.link.ports()[1].statistics().sent, 1);
}

/// Returns whether all that was sent has arrived or is lost.
fn is_quiet(nodes: &[Node], wires: &[Wire]) -> bool {
    let (mut sent, mut received) = (0, 0);
    for port in nodes.iter().flat_map(|node| node.link.ports()) {
        sent += port.statistics().bytes_sent;
        received += port.statistics().bytes_received;
    }
    for traffic in wires.iter().flat_map(|wire| Side::ALL.map(|side| wire.traffic(side))) {
        sent -= traffic.arrived + traffic.lost;
        received = received.wrapping_sub(traffic.arrived);
    }
    let has_time = nodes.iter().all(|node| node.link.poll_timeout().is_none());
    has_time && sent == 0 && received == 0
}
