//! Links between two network namespaces joined by a pair of adapters.
//!
//! Each test starts itself anew in a user and network namespace of its own (`alpha`); a thread of
//! it makes a second network namespace (`beta`) and opens sockets there, which then belong to it
//! wherever they are used.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

#[path = "link/pair.rs"]
mod pair;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use lifesign::link::failure::{Failure, OpenError};
use lifesign::link::udp::{Delivery, UdpSpec};
use lifesign::link::{Link, LinkSpec, Source, Specification, State, Verdict};
use lifesign_core::time::{Duration, Instant};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{SockaddrStorage, connect};

use self::pair::{Beta, enter, run, wait, wait_until_sent};

#[test]
fn frames_cross_by_multicast_broadcast_and_unicast_over_both_families() {
    if !enter("frames_cross_by_multicast_broadcast_and_unicast_over_both_families") {
        return;
    }
    let beta = Beta::new();
    let cases = [
        (Delivery::Multicast(ip("239.255.76.83")), V4),
        (Delivery::Broadcast, V4),
        (Delivery::Unicast, V4),
        (Delivery::Multicast(ip("ff02::4c53")), V6),
        (Delivery::Unicast, V6),
        (Delivery::Multicast(ip("ff02::4c53")), LOCAL),
        (Delivery::Unicast, LOCAL),
    ];
    for (delivery, [own, peer]) in cases {
        let mut here = Link::open(&spec("left", delivery, own, &[peer])).unwrap();
        let mut there = beta.open(spec("right", delivery, peer, &[own])).unwrap();
        here.send(&frame(7), START);
        assert_eq!(taken(&mut there), [(frame(7), ip(own))], "{delivery:?}");
        there.send(&frame(8), START);
        assert_eq!(taken(&mut here), [(frame(8), ip(peer))], "{delivery:?}");
        assert_eq!(here.state(), State::Up);
        let statistics = here.statistics();
        assert_eq!((statistics.sent, statistics.bytes_sent), (1, 64), "{delivery:?}");
        assert_eq!((statistics.received, statistics.bytes_received), (1, 64), "{delivery:?}");
        assert_eq!(statistics.filtered, 0, "the kernel's filter leaves nothing to sort out");
    }
}

#[test]
fn a_witness_gets_each_frame_by_unicast_and_its_answer_arrives() {
    if !enter("a_witness_gets_each_frame_by_unicast_and_its_answer_arrives") {
        return;
    }
    let beta = Beta::new();
    for delivery in [Delivery::Multicast(ip("239.255.76.83")), Delivery::Broadcast] {
        let mut spec = spec("left", delivery, V4[0], &[]);
        let Specification::Udp(udp) = &mut spec.kind else { unreachable!() };
        udp.witnesses = vec![ip(V4[1])];
        let mut here = Link::open(&spec).unwrap();
        // Bound to its address, so that neither multicast nor broadcast reaches it.
        let witness = beta.run(|| UdpSocket::bind((V4[1], PORT)).unwrap());
        here.send(&frame(1), START);
        let mut buffer = [0; 2048];
        let (len, from) = witness.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&frame(1)[..], source(V4[0])));
        witness.send_to(&frame(2), from).unwrap();
        assert_eq!(take(&mut here), [(frame(2), source(V4[1]))]);
    }
}

#[test]
fn the_kernel_drops_what_no_member_sends() {
    if !enter("the_kernel_drops_what_no_member_sends") {
        return;
    }
    let beta = Beta::new();
    for ([own, peer], stranger) in [(V4, "10.77.0.66"), (V6, "fd77::66")] {
        let mut here = Link::open(&spec("left", Delivery::Unicast, own, &[peer])).unwrap();
        let forged = beta.run(move || UdpSocket::bind((stranger, 0)).unwrap());
        let member = beta.run(move || UdpSocket::bind((peer, 0)).unwrap());
        let mut wrong_version = frame(3);
        wrong_version[0] = 2;
        forged.send_to(&frame(3), (own, PORT)).unwrap();
        member.send_to(&wrong_version, (own, PORT)).unwrap();
        member.send_to(&[1; 39], (own, PORT)).unwrap();
        member.send_to(&[1; 1025], (own, PORT)).unwrap();
        member.send_to(&frame(4), (own, PORT)).unwrap();
        assert_eq!(take(&mut here).iter().map(|(bytes, _)| bytes[1]).collect::<Vec<_>>(), [4]);
        let statistics = here.statistics();
        assert_eq!((statistics.filtered, statistics.too_long), (0, 0), "woken by {stranger}");
        assert_eq!(statistics.kernel_drops, 4);
    }
}

#[test]
fn the_source_is_the_own_address_though_a_service_address_is_first() {
    if !enter("the_source_is_the_own_address_though_a_service_address_is_first") {
        return;
    }
    let beta = Beta::new();
    run("ip address del 10.77.0.1/24 dev left");
    run("ip address add 10.77.0.100/24 dev left");
    run("ip address add 10.77.0.1/24 dev left");
    for delivery in [Delivery::Broadcast, Delivery::Multicast(ip("239.255.76.83"))] {
        let mut here = Link::open(&spec("left", delivery, V4[0], &[V4[1]])).unwrap();
        let mut there = beta.open(spec("right", delivery, V4[1], &[V4[0]])).unwrap();
        here.send(&frame(1), START);
        assert_eq!(take(&mut there), [(frame(1), source(V4[0]))]);
    }
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    if !enter("a_port_in_use_is_a_clear_error") {
        return;
    }
    let _beta = Beta::new();
    let taken = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
    for delivery in [Delivery::Unicast, Delivery::Broadcast, Delivery::Multicast(ip("239.1.1.1"))] {
        let error = Link::open(&spec("left", delivery, V4[0], &[V4[1]])).unwrap_err();
        assert!(matches!(error, OpenError::PortInUse { port: PORT, .. }), "{error}");
    }
    drop(taken);
    let first = spec("left", Delivery::Broadcast, V4[0], &[V4[1]]);
    let _open = Link::open(&first).unwrap();
    let error = Link::open(&first).unwrap_err();
    assert_eq!(error.to_string(), "UDP port 6940 on left: in use by another program");
    // The same port on another adapter is another link.
    Link::open(&spec("lo", Delivery::Unicast, "127.0.0.1", &["127.0.0.2"])).unwrap();
}

#[test]
fn an_adapter_that_vanishes_and_returns_is_opened_again_with_pauses() {
    if !enter("an_adapter_that_vanishes_and_returns_is_opened_again_with_pauses") {
        return;
    }
    for [own, peer] in [V4, V6] {
        let multicast = if own == V4[0] { ip("239.255.76.83") } else { ip("ff02::4c53") };
        for delivery in [Delivery::Multicast(multicast), Delivery::Unicast] {
            let beta = Beta::new();
            let mut here = Link::open(&spec("left", delivery, own, &[peer])).unwrap();
            run("ip link delete left");
            here.send(&frame(1), START);
            assert_eq!(here.state(), State::Down(Failure::AdapterMissing), "{delivery:?}");
            assert!(here.descriptor().is_none());
            let mut now = here.poll_timeout().unwrap();
            assert_eq!(now, START + Duration::from_millis(100));
            here.send(&frame(1), START);
            assert!(!here.handle_timeout(now - Duration::from_micros(1)), "not yet");
            assert!(!here.handle_timeout(now), "still no adapter");
            assert_eq!(here.poll_timeout(), Some(now + Duration::from_millis(200)));
            drop(beta);
            let beta = Beta::new();
            now = now + Duration::from_millis(200);
            assert!(here.handle_timeout(now), "{:?}", here.statistics().send_failures.last_text());
            assert_eq!((here.poll_timeout(), here.statistics().reopened), (None, 1));
            let mut there = beta.open(spec("right", delivery, peer, &[own])).unwrap();
            there.send(&frame(2), START);
            assert_eq!(take(&mut here).len(), 1, "{delivery:?}");
            here.send(&frame(3), START);
            assert_eq!(here.state(), State::Up);
            run("ip link delete left");
        }
    }
}

#[test]
fn hints_about_adapters_hurry_the_opening_and_close_what_is_gone() {
    if !enter("hints_about_adapters_hurry_the_opening_and_close_what_is_gone") {
        return;
    }
    let beta = Beta::new();
    let delivery = Delivery::Broadcast;
    let mut here = Link::open(&spec("left", delivery, V4[0], &[V4[1]])).unwrap();
    assert!(!here.handle_adapter_change(START), "nothing changed");
    run("ip link set left down");
    run("ip link set left name other");
    run("ip link set other up");
    assert!(!here.handle_adapter_change(START), "renamed: works on");
    here.send(&frame(1), START);
    assert_eq!(here.state(), State::Up);
    run("ip link add left type veth peer name idle");
    assert!(here.handle_adapter_change(START), "another adapter has the name");
    assert_eq!(here.statistics().reopened, 1);
    here.send(&frame(1), START);
    assert!(matches!(here.state(), State::Down(_)), "that adapter is down");
    run("ip link delete left");
    assert!(!here.handle_adapter_change(START));
    assert_eq!(here.state(), State::Down(Failure::AdapterMissing));
    run("ip link set other down");
    run("ip link set other name left");
    assert!(here.handle_adapter_change(START), "at once, without the pause");
    drop(beta);
}

#[test]
fn a_missing_address_and_an_adapter_that_is_off_are_states_that_pass() {
    if !enter("a_missing_address_and_an_adapter_that_is_off_are_states_that_pass") {
        return;
    }
    let beta = Beta::new();
    for (delivery, [own, peer], address) in [
        (Delivery::Unicast, V4, "10.77.0.1/24"),
        (Delivery::Broadcast, V4, "10.77.0.1/24"),
        (Delivery::Unicast, V6, "fd77::1/64"),
        (Delivery::Multicast(ip("ff02::4c53")), V6, "fd77::1/64"),
    ] {
        run(&format!("ip address del {address} dev left"));
        // Another address keeps the route, so that the kernel could send from it.
        run("ip address add 10.77.0.100/25 dev left");
        run("ip address add fd77::100/64 dev left nodad");
        let mut here = Link::open(&spec("left", delivery, own, &[peer])).unwrap();
        let mut there = beta.open(spec("right", delivery, peer, &[own])).unwrap();
        here.send(&frame(1), START);
        assert_eq!(here.state(), State::Down(Failure::AddressMissing), "{delivery:?} {own}");
        assert!(here.descriptor().is_some(), "the socket is kept");
        let nodad = if own == V6[0] { " nodad" } else { "" };
        run(&format!("ip address add {address} dev left{nodad}"));
        here.send(&frame(2), START);
        assert_eq!(here.state(), State::Up, "{delivery:?} {own}");
        assert_eq!(take(&mut there).len(), 1);
        run("ip link set left down");
        here.send(&frame(3), START);
        assert!(matches!(here.state(), State::Down(_)), "{delivery:?} {own}");
        run("ip link set left up");
        // IPv6 addresses go with the adapter's being switched off.
        let _exists = Command::new("ip")
            .args(["address", "add", "fd77::1/64", "dev", "left", "nodad"])
            .stderr(std::process::Stdio::null())
            .status();
        wait_until_sent(&mut here, &frame(0));
        run("ip address del 10.77.0.100/25 dev left");
        assert_eq!(here.state(), State::Up);
        assert_eq!(here.statistics().reopened, 0, "the socket was good all the time");
    }
}

#[test]
fn an_error_on_the_socket_is_counted_and_does_not_wake_for_ever() {
    if !enter("an_error_on_the_socket_is_counted_and_does_not_wake_for_ever") {
        return;
    }
    let _beta = Beta::new();
    let mut here = Link::open(&spec("left", Delivery::Unicast, V4[0], &[V4[1]])).unwrap();
    // Only a connected socket hears that nobody listens.
    let descriptor = here.descriptor().unwrap().as_raw_fd();
    let to: SockaddrStorage = source(V4[1]).into();
    connect(descriptor, &to).unwrap();
    here.send(&frame(1), START);
    wait(&here);
    assert_eq!(here.receive(&mut [0; 1024], START, &mut |_, _| panic!("no frame")), 0);
    assert_eq!(here.statistics().receive_failures.of(Failure::Refused), 1);
    let mut descriptors = [PollFd::new(here.descriptor().unwrap(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut descriptors, 0_u16).unwrap(), 0, "still in error");
    here.send(&frame(1), START);
    assert_eq!(here.state(), State::Up);
}

#[test]
fn a_flood_is_taken_in_parts_and_no_frame_in_part() {
    if !enter("a_flood_is_taken_in_parts_and_no_frame_in_part") {
        return;
    }
    let beta = Beta::new();
    let mut here = Link::open(&spec("left", Delivery::Unicast, V4[0], &[V4[1]])).unwrap();
    let mut there = beta.open(spec("right", Delivery::Unicast, V4[1], &[V4[0]])).unwrap();
    for number in 0..100 {
        there.send(&frame(number), START);
    }
    wait(&here);
    let mut buffer = [0; 1024];
    assert_eq!(here.receive(&mut buffer, START, &mut |_, _| Verdict::Authentic), 64);
    assert_eq!(here.receive(&mut buffer, START, &mut |_, _| Verdict::Authentic), 36);
    assert_eq!(here.receive(&mut buffer, START, &mut |_, _| Verdict::Authentic), 0);
    // A buffer shorter than the frame: counted, and nothing delivered in part.
    there.send(&frame(1), START);
    wait(&here);
    assert_eq!(here.receive(&mut buffer[..63], START, &mut |_, _| panic!("in part")), 0);
    assert_eq!(here.statistics().too_long, 1);
}

#[test]
fn a_full_receive_buffer_is_counted() {
    if !enter("a_full_receive_buffer_is_counted") {
        return;
    }
    let beta = Beta::new();
    let mut here = Link::open(&spec("left", Delivery::Unicast, V4[0], &[V4[1]])).unwrap();
    let mut there = beta.open(spec("right", Delivery::Unicast, V4[1], &[V4[0]])).unwrap();
    // The kernel keeps few frames for a neighbour that it is still looking for.
    there.send(&frame(8), START);
    assert_eq!(take(&mut here).len(), 1);
    let mut sent = 10_000;
    for _ in 0..sent {
        there.send(&[1; 1024], START);
    }
    assert_eq!(there.statistics().sent, sent + 1);
    let (mut received, mut buffer) = (0, [0; 1024]);
    let mut is_last_there = false;
    while !is_last_there {
        // The count rides on the next frame that finds room; on a busy machine some come late.
        there.send(&frame(9), START);
        sent += 1;
        thread::sleep(std::time::Duration::from_millis(10));
        let mut look = |bytes: &[u8], _: Source| {
            is_last_there |= bytes.len() < 1024;
            Verdict::Authentic
        };
        loop {
            match here.receive(&mut buffer, START, &mut look) {
                0 => break,
                count => received += count as u64,
            }
        }
    }
    assert!(received < sent, "the buffer was meant to be too small");
    assert_eq!(here.statistics().kernel_drops, sent - received);
}

/// Does nothing but print what a frame costs; run with `--ignored --nocapture` in release.
#[test]
#[ignore = "a measurement"]
fn what_a_frame_costs() {
    if !enter("what_a_frame_costs") {
        return;
    }
    let beta = Beta::new();
    for delivery in [Delivery::Unicast, Delivery::Multicast(ip("239.255.76.83"))] {
        let mut here = Link::open(&spec("left", delivery, V4[0], &[V4[1]])).unwrap();
        let mut there = beta.open(spec("right", delivery, V4[1], &[V4[0]])).unwrap();
        let (mut sending_us, mut receiving_us, mut buffer) = (0, 0, [0; 1024]);
        let rounds = 200;
        for _ in 0..rounds {
            let start = lifesign::clock::now();
            for _ in 0..64 {
                there.send(&[1; 96], START);
            }
            let middle = lifesign::clock::now();
            assert_eq!(here.receive(&mut buffer, START, &mut |_, _| Verdict::Authentic), 64);
            sending_us += middle.since(start).as_micros();
            receiving_us += lifesign::clock::now().since(middle).as_micros();
        }
        let frames = rounds * 64;
        let nanoseconds = |us: u64| us * 1000 / frames;
        let (sending, receiving) = (nanoseconds(sending_us), nanoseconds(receiving_us));
        println!("MEASURED {delivery:?}: send {sending} ns, receive {receiving} ns a frame");
    }
}

const PORT: u16 = 6940;
const START: Instant = Instant::from_micros(1);
const V4: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const LOCAL: [&str; 2] = ["fe80::77:1", "fe80::77:2"];
const V6: [&str; 2] = ["fd77::1", "fd77::2"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn source(address: &str) -> SocketAddr {
    SocketAddr::new(ip(address), PORT)
}

fn frame(number: u8) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0] = 1;
    bytes[1] = number;
    bytes
}

fn spec(adapter: &str, delivery: Delivery, own: &str, peers: &[&str]) -> LinkSpec {
    let peers = peers.iter().map(|peer| ip(peer)).collect();
    let (adapter, own) = (adapter.to_owned(), ip(own));
    let udp = UdpSpec { adapter, delivery, port: PORT, own, peers, witnesses: Vec::new() };
    LinkSpec { name: "lan".into(), kind: Specification::Udp(udp) }
}

fn take(link: &mut Link) -> Vec<(Vec<u8>, SocketAddr)> {
    wait(link);
    let (mut taken, mut buffer) = (Vec::new(), [0; 1024]);
    link.receive(&mut buffer, START, &mut |bytes, source| {
        let Source::Udp(source) = source else { panic!("not from a port") };
        taken.push((bytes.to_vec(), source));
        Verdict::Authentic
    });
    taken
}

fn taken(link: &mut Link) -> Vec<(Vec<u8>, IpAddr)> {
    take(link).into_iter().map(|(bytes, source)| (bytes, source.ip())).collect()
}
