//! Real daemons behind a router, which learns of their routes from BIRD, by BGP or OSPF.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs::File;
use std::io::Write;
use std::process::Command;

use lifesign::demo::client::Client;
use lifesign_tests::trial::routers::{self, Protocol, ROUTED};
use lifesign_tests::trial::{self, Setup, Trial, WITNESS};

const SERVICES: &str = "[[group.service]]\nname = \"web\"\n\
    start = [\"/bin/sh\", \"-c\", \"ROUTES >>DIRECTORY/$LIFESIGN_NODE.start\"]\n\
    stop = [\"/bin/sh\", \"-c\", \"ROUTES >>DIRECTORY/$LIFESIGN_NODE.stop\"]\n\
    [[group.service]]\nname = \"route\"\nagent = \"lifesign:route\"\n\
    monitor_interval = \"1h\"\nparameters = { prefix = \"192.0.2.77/32\" }\n";

/// What says whether there is a route of ours.
const ROUTES: &str = "ip route show proto 76; echo looked";

/// Runs `body` with a client that is served by alpha through the router.
fn served(test: &str, protocol: Protocol, body: impl FnOnce(&mut Trial, &mut Client)) {
    let services = SERVICES.replace("ROUTES", ROUTES);
    let setup = Setup::pair().with_router().with_services(&services);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        routers::start_router(trial, protocol);
        for name in ["alpha", "beta"] {
            routers::start_daemon(trial, name, protocol);
        }
        trial.begin();
        await_way(trial, "10.91.0.1");
        let mut client = trial.client();
        body(trial, &mut client);
    });
}

/// Waits until the router leads to the service address over `expected`, or nowhere if that is
/// empty.
fn await_way(trial: &mut Trial, expected: &str) {
    let mut seen = String::new();
    for _ in 0..600 {
        seen = routers::way(trial);
        if (expected.is_empty() && seen.is_empty())
            || (!expected.is_empty() && seen.contains(expected))
        {
            return;
        }
        trial::pause(50);
    }
    panic!("the router leads to {ROUTED} over {seen:?}, not over {expected}");
}

/// Does `deed`, after which alpha does not serve any more and beta does. For how long the client
/// had no answer is written into the file that `LIFESIGN_FIGURES` names.
fn measure(trial: &mut Trial, client: &Client, what: &str, deed: impl FnOnce(&mut Trial)) {
    // Servers learn the way back to the client a little later than the router learns theirs.
    let start = trial.lab().now_us();
    trial.await_that("the client is served", |_| {
        client.last_arrival_us().is_some_and(|at| at > start)
    });
    trial::pause(300);
    let begun = trial.lab().now_us();
    deed(trial);
    trial.await_holder("beta");
    await_way(trial, "10.92.0.1");
    let there = trial.lab().now_us();
    trial.await_that("the client is served elsewhere", |_| {
        client.last_arrival_us().is_some_and(|at| at > there)
    });
    let now = trial.lab().now_us();
    let outage = client.log().longest_outage_us(begun, now);
    let Some(path) = std::env::var_os("LIFESIGN_FIGURES") else { return };
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    writeln!(file, "{what}: {} ms without an answer at the client", outage / 1000).unwrap();
}

fn moves(test: &str, protocol: Protocol) {
    served(test, protocol, |trial, client| {
        measure(trial, client, &format!("{protocol:?}, switchover"), |trial| {
            trial.order("beta", &["takeover", "www"]);
        });
        // The route comes when the service runs, and goes before the service stops.
        for file in ["alpha.start", "alpha.stop", "beta.start"] {
            assert_eq!(seen_by_service(trial, file), "looked\n", "{file}");
        }
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        await_way(trial, "10.91.0.1");
        measure(trial, client, &format!("{protocol:?}, crash"), |trial| trial.crash("alpha"));
    });
}

fn seen_by_service(trial: &Trial, file: &str) -> String {
    std::fs::read_to_string(trial.cluster().directory().join(file)).unwrap_or_default()
}

/// Returns the routes of ours on `name`.
fn routes_of(trial: &mut Trial, name: &str) -> String {
    let machine = trial.cluster_mut().lab_mut().machine(name);
    let ask = || Command::new("/bin/ip").args(["route", "show", "proto", "76"]).output();
    String::from_utf8_lossy(&machine.within(ask).unwrap().stdout).into_owned()
}

#[test]
fn clients_behind_a_router_follow_by_bgp() {
    moves("clients_behind_a_router_follow_by_bgp", Protocol::Bgp);
}

#[test]
fn clients_behind_a_router_follow_by_ospf() {
    moves("clients_behind_a_router_follow_by_ospf", Protocol::Ospf);
}

#[test]
fn no_route_outlives_its_daemon() {
    let test = "no_route_outlives_its_daemon";
    served(test, Protocol::Ospf, |trial, _| {
        // The supervisor withdraws it behind a daemon that is killed.
        trial.stop("beta");
        assert_ne!(routes_of(trial, "alpha"), "");
        trial.kill("alpha");
        await_way(trial, "");
        assert_eq!(routes_of(trial, "alpha"), "");
        // What is left all the same is gone when a daemon starts, also one that may claim nothing.
        trial.stop(WITNESS);
        let add = "ip addr add 192.0.2.77/32 dev lo; ip route add 192.0.2.77 dev lo proto 76";
        let machine = trial.cluster_mut().lab_mut().machine("beta");
        let left = machine.within(|| Command::new("/bin/sh").args(["-c", add]).status());
        assert!(left.unwrap().success());
        await_way(trial, "10.92.0.1");
        trial.start("beta");
        trial.await_that("beta runs", |trial| trial.cluster().status("beta").is_some());
        assert_eq!(routes_of(trial, "beta"), "");
        await_way(trial, "");
    });
}
