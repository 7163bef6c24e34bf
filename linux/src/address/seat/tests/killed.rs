//! Processes killed at every request to the kernel of a move, and what is made of it.

use super::super::super::netlink::steps::{self, machine};
use super::*;
use crate::namespace::MAIN;

/// Starts as a daemon does.
fn start() -> Addresses {
    let mut addresses = open(Enforcer::Nftables);
    addresses.remove_leftovers().unwrap();
    addresses
}

/// What a daemon does that moves addresses there and back; it is killed in one of the moves.
fn live(step: i64) {
    let mut addresses = start();
    acquire(&mut addresses);
    steps::allow(step);
    take_seat(&mut addresses, 1);
    take_seat(&mut addresses, 0);
    steps::allow(i64::MAX);
    addresses.close().unwrap();
}

#[test]
fn a_move_is_put_right_after_every_step() {
    let name = "address::seat::tests::killed::a_move_is_put_right_after_every_step";
    let Some(role) = enter(name, Users::New).unwrap() else { return };
    if role != MAIN {
        return live(role.parse().unwrap());
    }
    let _indices = [lay(0), lay(1)];
    // Once, so that what the kernel makes for good is there.
    start().close().unwrap();
    let before = machine();
    // What a supervisor has of a daemon; the tables are found by their names.
    let mut supervisor = start().take_down().unwrap();
    for step in 0.. {
        for is_supervised in [true, false] {
            if !steps::is_killed_at(name, step) {
                assert!(step > 20, "{step} steps");
                assert_eq!(machine(), before);
                return;
            }
            expect_one_adapter(step);
            if is_supervised {
                supervisor.run().unwrap();
            } else {
                // Left as it is: the next one starts where nobody has put anything in order.
                drop(start());
            }
            expect_put_right(step, &before);
        }
    }
}

/// Demands that each service address is on one adapter at most, and answered for at one.
fn expect_one_adapter(step: i64) {
    let known = Netlink::open().unwrap().addresses().unwrap();
    for ip in services() {
        let count = known.iter().filter(|address| address.ip == ip).count();
        assert!(count <= 1, "step {step}: {ip} is on {count} adapters");
    }
    assert!(!(is_answered(0) && is_answered(1)), "step {step}: both answer");
}

/// Demands that nothing is left of addresses, rules and routes, and that nobody answers.
fn expect_put_right(step: i64, before: &str) {
    assert_eq!(machine(), before, "step {step}");
    assert!(!is_answered(0) && !is_answered(1), "step {step}: somebody answers");
}
