//! Hardware addresses on adapters of the kernel, in the order in which things happen to them.

mod killed;

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use lifesign_core::network::Origin;
use lifesign_core::node::ClusterId;
use lifesign_core::time::Duration;
use nix::sys::socket::SockProtocol;

use super::super::lease::{Enforcer, EnforcerChoice};
use super::super::macvlan::{self, Layer};
use super::super::message::{Message, Messages};
use super::super::netlink::{BUFFER_LEN, Netlink, connect, receive};
use super::super::packet::{Operation, PacketSocket};
use super::super::{Seats, ServiceAddress, netlink};
use super::*;
use crate::clock;
use crate::namespace::{Users, cable, enter};

const MAC: Mac = [2, 0, 0x5e, 0x10, 0, 1];
const FRONT: &str = "ls-00000007-00";

/// Lays a cable whose near end is in a service's subnet, and opens the addresses on it.
fn open(on: MacOn) -> Addresses {
    if Netlink::open().unwrap().layers().unwrap().iter().all(|it| it.name != "near") {
        cable::lay_silent("near", "far", &[([10, 77, 0, 1].into(), 24)]).unwrap();
    }
    let ip = [10, 77, 0, 100].into();
    let group = vec![ServiceAddress { ip, prefix: 24, adapter: String::new() }];
    let groups = vec![Some(GroupMac { address: MAC, on })];
    let plan = MacPlan { cluster: ClusterId(7), groups };
    let choice = EnforcerChoice::Only(Enforcer::Nftables);
    Addresses::open_with_macs(&[group], Some(&plan), choice).unwrap()
}

fn acquire(addresses: &mut Addresses, milliseconds: u64) {
    let now = clock::now();
    addresses.acquire(0, now + Duration::from_millis(milliseconds), now).unwrap();
}

fn layer(name: &str) -> Option<Layer> {
    let layers = Netlink::open().unwrap().layers().unwrap();
    layers.into_iter().find(|layer| layer.name == name)
}

/// Listens for what happens to adapters and addresses from here on.
fn listen() -> OwnedFd {
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR;
    connect(SockProtocol::NetlinkRoute, groups.unsigned_abs()).unwrap()
}

/// Returns what `read` makes of all that has happened.
fn told<T>(socket: &OwnedFd, read: impl Fn(&Message<'_>) -> Option<T>) -> Vec<T> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut all = Vec::new();
    while let Some(len) = receive(socket, &mut buffer).unwrap() {
        all.extend(Messages::new(&buffer[..len]).filter_map(|message| read(&message)));
    }
    all
}

#[test]
fn an_adapter_is_switched_off_before_its_address_goes() {
    let name = "address::front::tests::an_adapter_is_switched_off_before_its_address_goes";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let mut addresses = open(MacOn::Macvlan);
    addresses.prepare_macs().unwrap();
    acquire(&mut addresses, 60_000);
    let events = listen();
    addresses.release(0).unwrap();
    let order = told(&events, |message| match message.kind {
        libc::RTM_NEWLINK => {
            let adapter = netlink::read_adapter(message)?;
            (adapter.name == FRONT && !adapter.up).then_some("off")
        }
        libc::RTM_DELADDR => Some("gone"),
        _ => None,
    });
    let first = |what| order.iter().position(|it| *it == what);
    assert!(first("off").is_some() && first("off") < first("gone"), "{order:?}");
    addresses.close().unwrap();
    assert_eq!(layer(FRONT), None);
}

#[test]
fn the_original_is_noted_before_it_is_replaced_and_until_it_is_back() {
    let name = "address::front::tests::\
                the_original_is_noted_before_it_is_replaced_and_until_it_is_back";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let mut addresses = open(MacOn::Adapter);
    addresses.prepare_macs().unwrap();
    let original = layer("near").unwrap().mac.unwrap();
    let note = Mark::new(ClusterId(7)).note(original);
    let events = listen();
    acquire(&mut addresses, 60_000);
    addresses.release(0).unwrap();
    let changes = told(&events, |message| {
        let is_link = message.kind == libc::RTM_NEWLINK;
        macvlan::read(message).filter(|layer| is_link && layer.name == "near")
    });
    let replaced: Vec<&Layer> = changes.iter().filter(|it| it.mac == Some(MAC)).collect();
    assert!(!replaced.is_empty(), "{changes:?}");
    assert!(replaced.iter().all(|it| it.names == [note.clone()]), "{replaced:?}");
    let last = layer("near").unwrap();
    assert_eq!((last.mac, last.names), (Some(original), Vec::new()));
}

#[test]
fn what_an_earlier_life_left_is_put_right() {
    let name = "address::front::tests::what_an_earlier_life_left_is_put_right";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let mut earlier = open(MacOn::Adapter);
    earlier.prepare_macs().unwrap();
    let original = layer("near").unwrap().mac;
    acquire(&mut earlier, 60_000);
    // Another group had one too, of which these settings know nothing, and another cluster.
    let mut netlink = Netlink::open().unwrap();
    let base = layer("near").unwrap().index;
    let strange = "ls-00000008-00";
    for (name, last) in [("ls-00000007-03", 3), (strange, 4)] {
        netlink.add_macvlan(name, base, [2, 0, 0, 0, 0, last], "").unwrap();
    }
    drop(earlier);
    let removed = open(MacOn::Macvlan).prepare_macs().unwrap();
    assert_eq!(removed, ["ls-00000007-03", "near"]);
    let near = layer("near").unwrap();
    assert_eq!((near.mac, near.names), (original, Vec::new()));
    assert_eq!(layer("ls-00000007-03"), None);
    assert!(layer(strange).is_some() && layer(FRONT).is_some());
    // Whoever is killed between the note and the change left the note alone.
    let (mark, mac) = (Mark::new(ClusterId(7)), original.unwrap());
    netlink.set_name(base, &mark.note(mac), true).unwrap();
    assert_eq!(clear(&mut netlink, mark).unwrap(), [FRONT]);
    assert_eq!(layer("near").unwrap().names, [""; 0]);
}

#[test]
fn nothing_leaves_from_there_once_the_lease_is_over() {
    let name = "address::front::tests::nothing_leaves_from_there_once_the_lease_is_over";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let mut addresses = open(MacOn::Macvlan);
    addresses.prepare_macs().unwrap();
    acquire(&mut addresses, 600_000);
    let far = layer("far").unwrap().index;
    let is_ours = [
        Operation::word(6),
        Operation::equal(0x0200_5e10, 0, 1),
        Operation::end(true),
        Operation::end(false),
    ];
    let socket = PacketSocket::open(far, 0x88b5, &is_ours).unwrap();
    let frame = [&[0xff; 6], &MAC[..], &[0x88, 0xb5], &[0; 46]].concat();
    let arrives = |adapter: &str| {
        let _ = cable::send(adapter, &frame);
        // A cable of the kernel delivers within a moment, once it is open.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut count = 0;
        while socket.receive(&mut [0; 64]).is_ok_and(|len| len.is_some()) {
            count += 1;
        }
        count > 0
    };
    let is_open = || [FRONT, "near"].map(|adapter| (0..500).any(|_| arrives(adapter)));
    let is_closed = || [FRONT, "near"].map(|adapter| (0..3).all(|_| !arrives(adapter)));
    assert_eq!(is_open(), [true; 2]);
    let deadline = clock::now() + Duration::from_millis(300);
    addresses.renew(0, deadline, clock::now()).unwrap();
    let end = deadline + Duration::from_micros(Enforcer::Nftables.overshoot_us());
    while !clock::now().has_reached(end) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // What was on its way has arrived.
    arrives("far");
    assert_eq!(is_closed(), [true; 2]);
    acquire(&mut addresses, 600_000);
    assert_eq!(is_open(), [true; 2], "again");
    addresses.lease.revoke(&addresses.leased(0).unwrap()).unwrap();
    assert_eq!(is_closed(), [true; 2], "closed at once");
}

#[test]
fn what_is_upon_one_adapter_is_off_before_what_is_upon_the_other_is_on() {
    let name = "address::front::tests::\
                what_is_upon_one_adapter_is_off_before_what_is_upon_the_other_is_on";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    for (near, far) in [("near", "far"), ("next", "last")] {
        cable::lay_silent(near, far, &[]).unwrap();
    }
    let ip: IpAddr = [10, 77, 0, 100].into();
    let group = vec![ServiceAddress { ip, prefix: 24, adapter: String::new() }];
    let groups = vec![Some(GroupMac { address: MAC, on: MacOn::Macvlan })];
    let plan = MacPlan { cluster: ClusterId(7), groups };
    let adapters = ["near", "next"].map(str::to_owned).to_vec();
    let seats = Seats { adapters, services: vec![(ip, Origin::Home)], ask: Vec::new() };
    let choice = EnforcerChoice::Only(Enforcer::Nftables);
    let mut addresses = Addresses::open_on(&[group], &[seats], Some(&plan), choice).unwrap();
    addresses.prepare_macs().unwrap();
    let other = format!("{FRONT}1");
    assert!(layer(FRONT).is_some() && layer(&other).is_some(), "prepared upon both");
    acquire(&mut addresses, 60_000);
    for (at, from, to) in [(1, FRONT, other.as_str()), (0, other.as_str(), FRONT)] {
        let events = listen();
        assert_eq!(addresses.seat(0, Origin::Home, at).unwrap(), [0]);
        acquire(&mut addresses, 60_000);
        let order = told(&events, |message| {
            let is_link = message.kind == libc::RTM_NEWLINK;
            let adapter = netlink::read_adapter(message).filter(|_| is_link)?;
            match (adapter.name, adapter.up) {
                (name, false) if name == from => Some("off"),
                (name, true) if name == to => Some("on"),
                _ => None,
            }
        });
        let first = |what| order.iter().position(|it| *it == what);
        assert!(first("off").is_some() && first("off") < first("on"), "{order:?}");
    }
    addresses.close().unwrap();
    assert_eq!((layer(FRONT), layer(&other)), (None, None));
}

/// An adapter of the kind ifb, which never takes another one, stands for drivers that want it
/// switched off, of which a kernel without their hardware may have none.
#[test]
fn an_adapter_that_keeps_its_mac_is_left_as_it_is() {
    let name = "address::front::tests::an_adapter_that_keeps_its_mac_is_left_as_it_is";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let words = ["link", "add", "near", "type", "ifb"];
    assert!(std::process::Command::new("ip").args(words).status().unwrap().success());
    cable::switch("near", true).unwrap();
    let mut netlink = Netlink::open().unwrap();
    let index = cable::index_of(&mut netlink, "near").unwrap();
    let own = netlink::Installed { index, ip: [10, 77, 0, 1].into(), prefix: 24 };
    netlink.add_address(own, true, None).unwrap();
    let before = layer("near");
    let mut addresses = open(MacOn::Adapter);
    addresses.prepare_macs().unwrap();
    let now = clock::now();
    let refused = addresses.acquire(0, now + Duration::from_millis(60_000), now);
    assert!(matches!(&refused, Err(Error::FixedMac { adapter, .. }) if adapter == "near"));
    assert_eq!(layer("near"), before);
    let installed = netlink.addresses().unwrap();
    assert!(installed.iter().all(|it| it.index != index || *it == own || it.ip.is_ipv6()));
    addresses.close().unwrap();
}

#[test]
fn a_stranger_that_sends_from_the_mac_keeps_it_from_being_taken() {
    let name =
        "address::front::tests::a_stranger_that_sends_from_the_mac_keeps_it_from_being_taken";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let mut addresses = open(MacOn::Macvlan);
    addresses.prepare_macs().unwrap();
    addresses.probe(0, Duration::from_millis(5000), clock::now()).unwrap();
    // It speaks of no address of the group.
    cable::send("far", &super::super::arp::probe(MAC, [10, 77, 0, 77].into())).unwrap();
    let event = loop {
        addresses.handle_readable(clock::now());
        addresses.handle_timeout(clock::now());
        if let Some(event) = addresses.poll_event() {
            break event;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert_eq!(event, AddressEvent::MacConflict { group: 0, mac: MAC });
    // Nobody is called free after that.
    addresses.handle_timeout(clock::now() + Duration::from_millis(10_000));
    assert_eq!(addresses.poll_event(), None);
}
