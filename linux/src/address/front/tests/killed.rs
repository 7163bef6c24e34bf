//! Processes killed at every request to the kernel, and what the next start makes of it.

use super::super::super::netlink::steps::{self, machine};
use super::*;
use crate::namespace::MAIN;

const SERVICES: [&str; 2] = ["10.77.0.100", "fd00:77::100"];

/// Starts as a daemon does.
fn start(on: MacOn) -> Addresses {
    let service = |ip: &&str| {
        let ip: IpAddr = ip.parse().unwrap();
        let prefix = if ip.is_ipv4() { 24 } else { 64 };
        ServiceAddress { ip, prefix, adapter: String::new() }
    };
    let group = SERVICES.iter().map(service).collect();
    let groups = vec![Some(GroupMac { address: MAC, on })];
    let plan = MacPlan { cluster: ClusterId(7), groups };
    let choice = EnforcerChoice::Only(Enforcer::Nftables);
    let mut addresses = Addresses::open_with_macs(&[group], Some(&plan), choice).unwrap();
    addresses.remove_leftovers().unwrap();
    addresses.prepare_macs().unwrap();
    addresses
}

/// What a daemon does with a group's hardware address from its start to its end.
fn live(on: MacOn) {
    let mut addresses = start(on);
    acquire(&mut addresses, 60_000);
    addresses.renew(0, clock::now() + Duration::from_millis(70_000), clock::now()).unwrap();
    addresses.release(0).unwrap();
    acquire(&mut addresses, 60_000);
    addresses.close().unwrap();
}

/// Demands that no frame leaves from the group's hardware address.
fn expect_closed() {
    let far = layer("far").unwrap().index;
    let socket = PacketSocket::open(far, 0x88b5, &[Operation::end(true)]).unwrap();
    let frame = [&[0xff; 6], &MAC[..], &[0x88, 0xb5], &[0; 46]].concat();
    for adapter in ["near", FRONT] {
        let _ = cable::send(adapter, &frame);
    }
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(socket.receive(&mut [0; 64]).unwrap(), None);
}

fn killed_at_every_step(name: &str, on: MacOn) {
    let Some(role) = enter(name, Users::New).unwrap() else { return };
    if role != MAIN {
        steps::allow(role.parse().unwrap());
        return live(on);
    }
    let own = [("10.77.0.1", 24), ("fd00:77::1", 64)];
    let own = own.map(|(ip, prefix)| (ip.parse().unwrap(), prefix));
    cable::lay_silent("near", "far", &own).unwrap();
    // Once, so that what the kernel makes for good is there.
    drop(start(on).close());
    let before = machine();
    drop(start(on));
    let prepared = machine();
    for step in 0.. {
        if !steps::is_killed_at(name, step) {
            assert!(step > 40, "{step} steps");
            assert_eq!(machine(), before);
            return;
        }
        let mut addresses = start(on);
        assert_eq!(machine(), prepared, "step {step}");
        expect_closed();
        acquire(&mut addresses, 60_000);
        addresses.close().unwrap();
        assert_eq!(machine(), before, "step {step}");
    }
}

#[test]
fn a_macvlan_is_put_right_after_every_step() {
    let name = "address::front::tests::killed::a_macvlan_is_put_right_after_every_step";
    killed_at_every_step(name, MacOn::Macvlan);
}

#[test]
fn an_adapter_is_put_right_after_every_step() {
    let name = "address::front::tests::killed::an_adapter_is_put_right_after_every_step";
    killed_at_every_step(name, MacOn::Adapter);
}
