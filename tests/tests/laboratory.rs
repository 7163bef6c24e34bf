//! The laboratory is tried before anything is tried in it: its wires, its rules and its verdicts.
//!
//! In place of daemons the tests install and delete addresses themselves, so they know who holds
//! what.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lifesign::address::netlink::{Installed, Netlink};
use lifesign::clock;
use lifesign::demo::client::{Client, PERIOD_US};
use lifesign::demo::lab::{Lab, MachinePlan, Plan, Role};
use lifesign::demo::machine::Machine;
use lifesign::namespace::{self, Users};

/// Builds two servers and a client with one service address to watch.
fn lab() -> Lab {
    lab_of(["10.77.0.1/24", "10.77.0.2/24", "10.77.0.50/24"], SERVICE)
}

fn lab_of([alpha, beta, client]: [&str; 3], service: &str) -> Lab {
    let plan = Plan::new()
        .with_machine(MachinePlan::new("alpha", Role::Server).with_cable(0, alpha))
        .with_machine(MachinePlan::new("beta", Role::Server).with_cable(0, beta))
        .with_machine(MachinePlan::new("client", Role::Client).with_cable(0, client))
        .with_watched(0, service);
    Lab::build(Path::new(env!("CARGO_BIN_EXE_subject")), &plan).unwrap()
}

const SERVICE: &str = "10.77.0.100";

/// Runs the body of the test `name` alone in namespaces, as an ordinary user can.
fn in_namespaces(name: &str, body: impl FnOnce()) {
    if namespace::enter(name, Users::New).unwrap().is_some() {
        body();
    }
}

fn change_address(machine: &Machine, hold: bool) {
    change_address_to(machine, SERVICE, 24, hold);
}

fn change_address_to(machine: &Machine, address: &str, prefix: u8, hold: bool) {
    let ip: IpAddr = address.parse().unwrap();
    let change = || {
        let mut netlink = Netlink::open().map_err(io::Error::other)?;
        let adapters = netlink.adapters().map_err(io::Error::other)?;
        let index = adapters.iter().find(|adapter| adapter.name == "eth0").unwrap().index;
        let address = Installed { index, ip, prefix };
        if hold {
            netlink.add_address(address, false, None).map_err(io::Error::other)
        } else {
            netlink.delete_address(address).map_err(io::Error::other)
        }
    };
    machine.within(change).unwrap();
}

/// Waits until `condition` holds, for much longer than it should take.
fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let begun_us = clock::now().as_micros();
    while !condition() {
        assert!(clock::now().as_micros() - begun_us < 20_000_000, "waited for: {what}");
        pause(5);
    }
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Returns whether a datagram from `from` comes out at `to`, trying for as long as it takes.
fn reaches(lab: &mut Lab, from: &str, to: (&str, &str), expected: bool) -> bool {
    let sender = lab.machine(from).within(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let receiver = lab.machine(to.0).within(|| UdpSocket::bind("0.0.0.0:7000")).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let tries = if expected { 500 } else { 10 };
    (0..tries).any(|_| {
        sender.send_to(&[7; 64], (to.1, 7000)).unwrap();
        receiver.recv(&mut [0; 64]).is_ok_and(|len| len == 64)
    })
}

#[test]
fn machines_reach_each_other_unless_a_cut_or_a_cable_forbids_it() {
    in_namespaces("machines_reach_each_other_unless_a_cut_or_a_cable_forbids_it", || {
        let mut lab = lab();
        assert!(reaches(&mut lab, "alpha", ("beta", "10.77.0.2"), true));
        lab.cut("alpha", "beta");
        assert!(!reaches(&mut lab, "alpha", ("beta", "10.77.0.2"), false));
        assert!(reaches(&mut lab, "alpha", ("client", "10.77.0.50"), true));
        lab.heal();
        assert!(reaches(&mut lab, "alpha", ("beta", "10.77.0.2"), true));
        lab.set_loss("alpha", "beta", 1_000_000);
        assert!(!reaches(&mut lab, "alpha", ("beta", "10.77.0.2"), false));
        lab.heal();
        lab.set_cables("beta", false);
        assert!(!reaches(&mut lab, "client", ("beta", "10.77.0.2"), false));
        lab.set_cables("beta", true);
        assert!(reaches(&mut lab, "client", ("beta", "10.77.0.2"), true));
    });
}

#[test]
fn one_holder_is_seen_and_two_are_counted() {
    in_namespaces("one_holder_is_seen_and_two_are_counted", || {
        let mut lab = lab();
        assert!(lab.holders(0).is_empty());
        change_address(lab.machine("alpha"), true);
        await_that("alpha is seen", || lab.holders(0) == ["alpha"]);
        pause(100);
        let begun_us = lab.now_us();
        assert_eq!(lab.two_holders_us(0, 0, begun_us), 0);
        change_address(lab.machine("beta"), true);
        await_that("both are seen", || lab.holders(0) == ["alpha", "beta"]);
        pause(100);
        change_address(lab.machine("alpha"), false);
        await_that("beta alone is seen", || lab.holders(0) == ["beta"]);
        let lasted_us = lab.now_us() - begun_us;
        let both_us = lab.two_holders_us(0, begun_us, lab.now_us());
        assert!((90_000..=lasted_us).contains(&both_us), "{both_us} of {lasted_us}");
    });
}

#[test]
fn a_holder_behind_a_pulled_cable_is_seen_but_not_on_the_wire() {
    in_namespaces("a_holder_behind_a_pulled_cable_is_seen_but_not_on_the_wire", || {
        let mut lab = lab();
        change_address(lab.machine("alpha"), true);
        await_that("alpha is seen", || lab.holders(0) == ["alpha"]);
        lab.set_cables("alpha", false);
        pause(50);
        let begun_us = lab.now_us();
        change_address(lab.machine("beta"), true);
        await_that("both are seen", || lab.holders(0) == ["alpha", "beta"]);
        pause(50);
        let record = lab.switch().record(0);
        assert!(record.all.two_holders_us(begun_us, lab.now_us()) >= 30_000);
        assert_eq!(record.on_wire.two_holders_us(begun_us, lab.now_us()), 0);
    });
}

#[test]
fn an_address_that_is_away_for_a_while_is_an_outage_with_one_holder() {
    in_namespaces("an_address_that_is_away_for_a_while_is_an_outage_with_one_holder", || {
        let mut lab = lab();
        change_address(lab.machine("alpha"), true);
        let client = Client::start(lab.machine("client"), SERVICE.parse().unwrap()).unwrap();
        await_that("the client is answered", || client.last_arrival_us().is_some());
        pause(50);
        let begun_us = lab.now_us();
        change_address(lab.machine("alpha"), false);
        pause(100);
        let back_us = lab.now_us();
        change_address(lab.machine("alpha"), true);
        await_that("alpha answers", || client.last_arrival_us().is_some_and(|at| at > back_us));
        pause(20);
        let now_us = lab.now_us();
        assert_eq!(lab.two_holders_us(0, begun_us, now_us), 0);
        let log = client.log();
        let outage_us = log.longest_outage_us(begun_us, now_us);
        let own_us = log.own_lateness_us(begun_us, now_us);
        assert!(outage_us + own_us >= 95_000, "{outage_us} and late by {own_us}");
        assert!(outage_us < now_us - begun_us, "{outage_us}");
        let (sent, arrived) = log.counts();
        assert!(arrived > 0 && arrived < sent, "{arrived} of {sent}");
    });
}

#[test]
fn a_service_that_stays_has_no_outage_but_the_period() {
    in_namespaces("a_service_that_stays_has_no_outage_but_the_period", || {
        let mut lab = lab();
        change_address(lab.machine("alpha"), true);
        let client = Client::start(lab.machine("client"), SERVICE.parse().unwrap()).unwrap();
        await_that("the client is answered", || client.last_arrival_us().is_some());
        pause(50);
        let begun_us = lab.now_us();
        pause(300);
        let outage_us = client.log().longest_outage_us(begun_us, lab.now_us());
        // The machine of the tests may stop for a while; an outage of the service would not end.
        assert!((PERIOD_US..100_000).contains(&outage_us), "{outage_us}");
        assert_eq!(lab.holders(0), ["alpha"]);
        assert!(lab.switch().counters().rounds > 100);
    });
}

#[test]
fn a_crash_ends_every_process_and_leaves_the_address() {
    in_namespaces("a_crash_ends_every_process_and_leaves_the_address", || {
        let mut lab = lab();
        change_address(lab.machine("alpha"), true);
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null());
        let process = lab.machine("alpha").start(command).unwrap();
        assert!(process.is_running());
        lab.crash("alpha");
        assert!(!process.is_running());
        assert!(!lab.machine("alpha").is_on());
        await_that("alpha is seen", || lab.holders(0) == ["alpha"]);
        let refused = lab.machine("alpha").start(Command::new("true")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
        lab.machine("alpha").boot().unwrap();
        let process = lab.machine("alpha").start(Command::new("true")).unwrap();
        let status = process.wait(Duration::from_secs(20)).unwrap();
        assert!(status.is_some_and(|status| status.success()));
    });
}

#[test]
fn an_adapter_without_a_raised_end_at_the_switch_has_no_carrier() {
    in_namespaces("an_adapter_without_a_raised_end_at_the_switch_has_no_carrier", || {
        let mut lab = lab();
        let carrier = |machine: &Machine| {
            let adapters = machine.within(|| {
                let mut netlink = Netlink::open().map_err(io::Error::other)?;
                netlink.adapters().map_err(io::Error::other)
            });
            adapters.unwrap().iter().find(|adapter| adapter.name == "eth0").unwrap().carrier
        };
        await_that("a carrier", || carrier(lab.machine("alpha")));
        lab.set_carrier("alpha", 0, false).unwrap();
        await_that("no carrier", || !carrier(lab.machine("alpha")));
        assert!(carrier(lab.machine("beta")));
        lab.set_carrier("alpha", 0, true).unwrap();
        assert!(
            reaches(&mut lab, "beta", ("alpha", "10.77.0.1"), true),
            "after the carrier is back"
        );
    });
}

#[test]
fn a_repetition_arrives_where_the_frame_itself_is_cut_off() {
    in_namespaces("a_repetition_arrives_where_the_frame_itself_is_cut_off", || {
        let mut lab = lab();
        assert!(reaches(&mut lab, "alpha", ("beta", "10.77.0.2"), true), "neighbours are known");
        lab.cut("alpha", "beta");
        lab.repeat("alpha", "beta", 30_000);
        let sender = lab.machine("alpha").within(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let receiver = lab.machine("beta").within(|| UdpSocket::bind("0.0.0.0:7001")).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let sent_us = lab.now_us();
        sender.send_to(&[7; 64], ("10.77.0.2", 7001)).unwrap();
        assert_eq!(receiver.recv(&mut [0; 100]).unwrap(), 64);
        assert!(lab.now_us() - sent_us >= 30_000);
    });
}

#[test]
fn an_address_of_version_6_is_watched_and_asked_as_well() {
    in_namespaces("an_address_of_version_6_is_watched_and_asked_as_well", || {
        let service = "fd4c::100";
        let mut lab = lab_of(["fd4c::1/64", "fd4c::2/64", "fd4c::50/64"], service);
        let client = Client::start(lab.machine("client"), service.parse().unwrap()).unwrap();
        assert!(lab.holders(0).is_empty());
        change_address_to(lab.machine("alpha"), service, 64, true);
        await_that("alpha is seen", || lab.holders(0) == ["alpha"]);
        await_that("the client is answered", || client.last_arrival_us().is_some());
        change_address_to(lab.machine("beta"), service, 64, true);
        await_that("both are seen", || lab.holders(0) == ["alpha", "beta"]);
        pause(30);
        assert!(lab.two_holders_us(0, 0, lab.now_us()) > 0);
        change_address_to(lab.machine("alpha"), service, 64, false);
        await_that("beta alone is seen", || lab.holders(0) == ["beta"]);
    });
}
