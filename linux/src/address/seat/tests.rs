//! Addresses that may be on one of two adapters, on adapters of the kernel.

mod killed;

use std::fs::File;
use std::net::Ipv4Addr;

use super::super::lease::{Enforcer, EnforcerChoice};
use super::super::netlink::Netlink;
use super::super::packet::{Operation, PacketSocket};
use super::super::{Seats, ServiceAddress};
use super::*;
use crate::clock;
use crate::namespace::elsewhere::Elsewhere;
use crate::namespace::{Users, cable, enter};

const SERVICES: [&str; 2] = ["10.77.0.100", "fd00:77::100"];
/// The cables by their near ends, which are the adapters, and their far ends.
const CABLES: [(&str, &str); 2] = [("near", "far"), ("next", "last")];

fn services() -> [IpAddr; 2] {
    SERVICES.map(|text| text.parse().unwrap())
}

/// Returns the own address of the adapter with this place.
fn own(at: usize) -> Ipv4Addr {
    [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)][at]
}

/// Lays the cable of the adapter with this place; returns its number.
fn lay(at: usize) -> u32 {
    let (near, far) = CABLES[at];
    let own6 = ["fd00:77::1", "fd00:77::2"][at].parse().unwrap();
    cable::lay_silent(near, far, &[(own(at).into(), 24), (own6, 64)]).unwrap()
}

fn open(enforcer: Enforcer) -> Addresses {
    let service = |ip: IpAddr| {
        let prefix = if ip.is_ipv4() { 24 } else { 64 };
        ServiceAddress { ip, prefix, adapter: String::new() }
    };
    let adapters = CABLES.map(|(near, _)| near.to_owned()).to_vec();
    let here = services().map(|ip| (ip, Origin::Home)).to_vec();
    let seats = Seats { adapters, services: here, ask: Vec::new() };
    let group = services().map(service).to_vec();
    Addresses::open_on(&[group], &[seats], None, EnforcerChoice::Only(enforcer)).unwrap()
}

fn acquire(addresses: &mut Addresses) {
    let now = clock::now();
    addresses.acquire(0, now + Duration::from_millis(600_000), now).unwrap();
}

/// Moves the addresses to the adapter with this place.
fn take_seat(addresses: &mut Addresses, at: usize) {
    addresses.seat(0, Origin::Home, at).unwrap();
    acquire(addresses);
}

/// Returns the adapters on which any service address is installed, each once.
fn installed() -> Vec<u32> {
    let known = Netlink::open().unwrap().addresses().unwrap();
    let ours = known.iter().filter(|address| services().contains(&address.ip));
    let mut indices: Vec<u32> = ours.map(|address| address.index).collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// Asks at the far end of an adapter's cable for the service address of IPv4, then for the
/// adapter's own until that is answered for; returns whether the first was by then.
fn is_answered(at: usize) -> bool {
    let far = CABLES[at].1;
    let index = cable::index_of(&mut Netlink::open().unwrap(), far).unwrap();
    let socket = PacketSocket::open(index, arp::ETHERTYPE, &[Operation::end(true)]).unwrap();
    let service: Ipv4Addr = SERVICES[0].parse().unwrap();
    let mut senders = Vec::new();
    let mut buffer = [0; 64];
    while !senders.contains(&own(at)) {
        for ip in [service, own(at)] {
            cable::send(far, &arp::probe([2, 0, 0, 0, 0, 9], ip)).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
        while let Some(len) = socket.receive(&mut buffer).unwrap() {
            let heard = arp::read(&buffer[..len]).filter(|heard| heard.is_answer);
            senders.extend(heard.map(|heard| heard.sender));
        }
    }
    senders.contains(&service)
}

/// Demands that the service address is answered for by the adapter with this place.
fn expect_answers(at: usize) {
    assert!((0..20).any(|_| is_answered(at)), "nobody answers over {:?}", CABLES[at]);
}

/// Demands that nobody answers by the adapter with this place.
fn expect_silence(at: usize) {
    assert!(!(0..5).any(|_| is_answered(at)), "somebody answers over {:?}", CABLES[at]);
}

/// Returns the enforcers that can be tried here and are no last resort.
fn enforcers() -> impl Iterator<Item = Enforcer> {
    [Enforcer::Bpf, Enforcer::Nftables].into_iter().filter(|enforcer| enforcer.check().is_ok())
}

fn users() -> Users {
    if Enforcer::Bpf.check().is_ok() { Users::Same } else { Users::New }
}

#[test]
fn an_adapter_that_has_just_come_does_not_answer_for_another() {
    let name = "address::seat::tests::an_adapter_that_has_just_come_does_not_answer_for_another";
    let Some(_) = enter(name, users()).unwrap() else { return };
    for enforcer in enforcers() {
        lay(0);
        let mut addresses = open(enforcer);
        acquire(&mut addresses);
        for _ in 0..2 {
            expect_answers(0);
            let index = lay(1);
            // Nothing has told the daemon yet, and nothing is prepared there.
            expect_silence(1);
            addresses.handle_readable(clock::now());
            expect_silence(1);
            take_seat(&mut addresses, 1);
            assert_eq!(installed(), [index]);
            expect_answers(1);
            expect_silence(0);
            take_seat(&mut addresses, 0);
            cable::remove(CABLES[1].0).unwrap();
            addresses.handle_readable(clock::now());
        }
        addresses.close().unwrap();
        assert_eq!(addresses.counters().failures, 0, "{enforcer}");
        cable::remove(CABLES[0].0).unwrap();
    }
}

#[test]
fn an_adapter_with_the_number_of_one_that_went_does_not_answer_for_another() {
    let name = "address::seat::tests::\
                an_adapter_with_the_number_of_one_that_went_does_not_answer_for_another";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let [_, index] = [lay(0), lay(1)];
    let next = CABLES[1].0;
    let mut addresses = open(Enforcer::Nftables);
    acquire(&mut addresses);
    let here = File::open("/proc/thread-self/ns/net").unwrap();
    let elsewhere = Elsewhere::open().unwrap();
    cable::give(next, &elsewhere).unwrap();
    addresses.handle_readable(clock::now());
    elsewhere.run(move || cable::give(next, here).unwrap());
    assert_eq!(cable::settle(next, &[(own(1).into(), 24)]).unwrap(), index);
    expect_silence(1);
    addresses.handle_readable(clock::now());
    take_seat(&mut addresses, 1);
    expect_answers(1);
}

#[test]
fn who_leaves_in_good_order_binds_no_address_to_adapters() {
    let name = "address::seat::tests::who_leaves_in_good_order_binds_no_address_to_adapters";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    lay(0);
    let mut addresses = open(Enforcer::Nftables);
    addresses.close().unwrap();
    let index = lay(1);
    let ip = services()[0];
    let address = Installed { index, ip, prefix: 24 };
    Netlink::open().unwrap().add_address(address, false, None).unwrap();
    expect_answers(1);
}

#[test]
fn addresses_that_move_are_on_one_adapter_which_alone_answers() {
    let name = "address::seat::tests::addresses_that_move_are_on_one_adapter_which_alone_answers";
    let Some(_) = enter(name, users()).unwrap() else { return };
    let indices = [lay(0), lay(1)];
    for enforcer in enforcers() {
        let mut addresses = open(enforcer);
        for at in [0, 1, 0] {
            take_seat(&mut addresses, at);
            assert_eq!(installed(), [indices[at]], "{enforcer}");
            expect_answers(at);
            expect_silence(1 - at);
        }
        addresses.close().unwrap();
    }
}

#[test]
fn an_answer_from_before_the_silence_says_nothing() {
    let at = |millis: u64| Instant::from_micros(millis * 1_000);
    let seat = |answered, answered_at| Seat {
        name: "eth0".to_owned(),
        carrier: true,
        is_there: true,
        answered,
        answered_at,
    };
    for (answered, answered_at, expected) in [
        (Some(true), Some(at(99)), None),
        (Some(true), Some(at(101)), Some(true)),
        (Some(false), Some(at(99)), Some(false)),
        (Some(false), None, Some(false)),
        (None, None, None),
    ] {
        assert_eq!(seat(answered, answered_at).answered_since(at(100)), expected);
    }
}
