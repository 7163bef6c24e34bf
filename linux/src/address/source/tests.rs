//! Tables of an address that may be on one of two adapters, as they follow the main table.

use lifesign_core::network::Origin;

use super::super::lease::{Enforcer, EnforcerChoice};
use super::super::{Seats, ServiceAddress};
use super::way::read_rules;
use super::*;
use crate::clock;
use crate::namespace::{Users, cable, enter};

#[test]
fn a_subnet_has_no_bits_beyond_its_prefix() {
    for (ip, prefix, expected) in [
        ("10.77.3.100", 24, "10.77.3.0"),
        ("10.77.3.100", 20, "10.77.0.0"),
        ("10.77.3.100", 32, "10.77.3.100"),
        ("fd00:1:2:3:4::1", 64, "fd00:1:2:3::"),
        ("fd00::1", 128, "fd00::1"),
    ] {
        let address = Installed { index: 1, ip: ip.parse().unwrap(), prefix };
        assert_eq!(subnet(address), expected.parse::<IpAddr>().unwrap(), "{ip}/{prefix}");
    }
}

const SERVICE: &str = "10.77.0.100";
const TABLE: u32 = 0x8000_0000;

/// Lays a cable for each of two adapters in one subnet; returns their numbers.
fn lay() -> [u32; 2] {
    [("near", "far", 1), ("next", "last", 2)].map(|(near, far, host)| {
        cable::lay_silent(near, far, &[([10, 77, 0, host].into(), 24)]).unwrap()
    })
}

fn open() -> Addresses {
    let ip: IpAddr = SERVICE.parse().unwrap();
    let group = vec![ServiceAddress { ip, prefix: 24, adapter: String::new() }];
    let adapters = vec!["near".to_owned(), "next".to_owned()];
    let seats = Seats { adapters, services: vec![(ip, Origin::Home)], ask: Vec::new() };
    let choice = EnforcerChoice::Only(Enforcer::Nftables);
    Addresses::open_on(&[group], &[seats], None, choice).unwrap()
}

fn acquire(addresses: &mut Addresses) {
    let now = clock::now();
    addresses.acquire(0, now + Duration::from_millis(600_000), now).unwrap();
}

/// Adds or deletes the default route of the main table by a router on an adapter.
fn route(index: u32, router: [u8; 4], is_there: bool) {
    let gateway = Some(router.into());
    let (family, prefix, destination, priority) = (2, 0, None, None);
    let route = Route { family, prefix, index, destination, gateway, priority };
    let kind = if is_there { libc::RTM_NEWROUTE } else { libc::RTM_DELROUTE };
    let flags = if is_there { libc::NLM_F_CREATE } else { 0 };
    Netlink::open().unwrap().put_way(&route, 254, (kind, flags)).unwrap();
}

/// Returns the routers of the address's table, each with the adapter.
fn routers() -> Vec<(u32, IpAddr)> {
    let routes = first_of(2, TABLE).unwrap();
    routes.into_iter().filter_map(|route| Some((route.index, route.gateway?))).collect()
}

/// Runs the daemon's loop until the address's table has these routers.
fn await_routers(addresses: &mut Addresses, expected: &[(u32, IpAddr)]) {
    let began = clock::now();
    while routers() != expected {
        assert!(clock::now().since(began) < Duration::from_millis(20_000), "{:?}", routers());
        std::thread::sleep(std::time::Duration::from_millis(1));
        addresses.handle_readable(clock::now());
        addresses.handle_timeout(clock::now());
    }
}

#[test]
fn a_default_route_is_followed_by_whichever_adapter_holds_the_address() {
    let name = "address::source::tests::a_default_route_is_followed_by_whichever_adapter_holds_the_address";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    let [near, next] = lay();
    let mut addresses = open();
    acquire(&mut addresses);
    assert_eq!(routers(), []);
    let (first, second) = ([10, 77, 0, 50], [10, 77, 0, 51]);
    route(near, first, true);
    await_routers(&mut addresses, &[(near, first.into())]);
    // It goes with its adapter, and is to be had by the other one.
    cable::switch("near", false).unwrap();
    addresses.handle_readable(clock::now());
    assert_eq!(addresses.seat(0, Origin::Home, 1).unwrap(), [0]);
    acquire(&mut addresses);
    assert_eq!(routers(), [(next, first.into())]);
    let now = clock::now() + FOLLOW_LATER.times(2);
    addresses.handle_timeout(now);
    assert_eq!(routers(), [(next, first.into())], "also later");
    // Another one takes its place, and when that is deleted, neither is left.
    route(next, second, true);
    await_routers(&mut addresses, &[(next, second.into())]);
    route(next, second, false);
    await_routers(&mut addresses, &[]);
    addresses.release(0).unwrap();
    assert_eq!(first_of(2, TABLE).unwrap(), []);
}

#[test]
fn what_an_earlier_life_left_is_removed_and_nothing_of_another_cluster() {
    let name = "address::source::tests::\
                what_an_earlier_life_left_is_removed_and_nothing_of_another_cluster";
    let Some(_) = enter(name, Users::New).unwrap() else { return };
    lay();
    let mut addresses = open();
    acquire(&mut addresses);
    let mut netlink = Netlink::open().unwrap();
    let strange: IpAddr = [10, 77, 0, 200].into();
    netlink.add_rule(strange, TABLE | 0x100).unwrap();
    let rules = || read_rules(&mut Netlink::open().unwrap(), 2).unwrap();
    assert_eq!(rules().len(), 2);
    drop(addresses);
    open().remove_leftovers().unwrap();
    assert_eq!((rules(), first_of(2, TABLE).unwrap()), (vec![(strange, TABLE | 0x100)], vec![]));
}
