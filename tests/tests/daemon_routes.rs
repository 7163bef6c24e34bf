//! Real daemons behind a router, which learns of their routes from BIRD or FRR, by BGP or OSPF, for
//! both families of addresses.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use lifesign::demo::client::Client;
use lifesign_tests::figures;
use lifesign_tests::trial::routers::{self, Protocol, ROUTED, ROUTED_V6, Software};
use lifesign_tests::trial::{self, Setup, Trial, WITNESS};
use nix::sys::signal::Signal;

const SERVICES: &str = "[[group.service]]\nname = \"web\"\n\
    start = [\"/bin/sh\", \"-c\", \"ROUTES >>DIRECTORY/$LIFESIGN_NODE.start\"]\n\
    stop = [\"/bin/sh\", \"-c\", \"ROUTES >>DIRECTORY/$LIFESIGN_NODE.stop\"]\n\
    [[group.service]]\nname = \"route\"\nagent = \"lifesign:route\"\n\
    monitor_interval = \"1h\"\nparameters = { prefix = \"192.0.2.77/32\" }\n\
    [[group.service]]\nname = \"route6\"\nagent = \"lifesign:route\"\n\
    monitor_interval = \"1h\"\nparameters = { prefix = \"2001:db8::77/128\" }\n";

/// What says whether there is a route of ours.
const ROUTES: &str = "(ip -4 route show proto 76; ip -6 route show proto 76; echo looked)";

/// Runs `body` with clients of both families that are served by alpha through the router.
fn served(
    test: &str,
    software: Software,
    protocol: Protocol,
    body: impl FnOnce(&mut Trial, &[Client; 2]),
) {
    let services = SERVICES.replace("ROUTES", ROUTES);
    let setup = Setup::pair().with_router(software).with_services(&services);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        routers::start_routing(trial, software, protocol);
        trial.begin();
        await_ways(trial, Some("alpha"));
        let clients = [ROUTED, ROUTED_V6].map(|ip| {
            let machine = trial.cluster_mut().lab_mut().machine("client");
            Client::start(machine, ip.parse().unwrap()).unwrap()
        });
        body(trial, &clients);
    });
}

/// Waits until the router leads to the service addresses over `server` alone, or nowhere. Where a
/// busy machine has let go of them meanwhile, `server` is given them again.
fn await_ways(trial: &mut Trial, server: Option<&str>) {
    let mut seen = <[String; 2]>::default();
    for _ in 0..600 {
        seen = routers::ways(trial);
        let leads = |way: &String| match server {
            None => way.is_empty(),
            // A way may lead over both.
            Some("alpha") => way.contains("eth1") && !way.contains("eth2"),
            Some(_) => way.contains("eth2") && !way.contains("eth1"),
        };
        if seen.iter().all(leads) {
            return;
        }
        if let (Some(server), Some(holder)) = (server, trial.holder(0))
            && holder != server
        {
            trial.order(server, &["takeover", "www"]);
        }
        trial::pause(50);
    }
    panic!("the router leads over {seen:?}, not over {server:?}");
}

/// Waits until both clients have had an answer from here on.
fn await_answers(trial: &Trial, clients: &[Client; 2]) {
    let start = trial.lab().now_us();
    trial.await_that("the clients are served", |_| {
        clients.iter().all(|client| client.last_arrival_us().is_some_and(|at| at > start))
    });
}

/// Does `deed`, after which alpha does not serve any more and beta does. For how long the clients
/// had no answer is a figure.
fn measure(trial: &mut Trial, clients: &[Client; 2], what: &str, deed: impl FnOnce(&mut Trial)) {
    // Servers learn the way back to the clients a little later than the router learns theirs.
    await_answers(trial, clients);
    trial::pause(300);
    let begun = trial.lab().now_us();
    deed(trial);
    trial.await_holder("beta");
    await_ways(trial, Some("beta"));
    await_answers(trial, clients);
    let now = trial.lab().now_us();
    let outages = clients.each_ref().map(|client| client.log().longest_outage_us(begun, now));
    for (family, outage) in ["IPv4", "IPv6"].iter().zip(outages) {
        let millis = outage / 1000;
        figures::note(&format!(
            "route, {what}, {family}: {millis} ms without an answer at the client"
        ));
    }
}

fn moves(test: &str, software: Software, protocol: Protocol) {
    served(test, software, protocol, |trial, clients| {
        let takes_back = |trial: &mut Trial| {
            trial.order("alpha", &["takeover", "www"]);
            trial.await_holder("alpha");
            await_ways(trial, Some("alpha"));
            if (software, protocol) == (Software::Bird, Protocol::Ospf) {
                trial::pause(MIN_LS_INTERVAL_MS);
            }
        };
        let by = format!("{software:?}, {protocol:?}");
        measure(trial, clients, &format!("{by}, switchover"), |trial| {
            trial.order("beta", &["takeover", "www"]);
        });
        // The route comes when the service runs, and goes before the service stops.
        for file in ["alpha.start", "alpha.stop", "beta.start"] {
            // On a busy machine beta may have been first.
            let seen = seen_by_service(trial, file);
            assert!(
                !seen.is_empty() && seen.lines().all(|line| line == "looked"),
                "{file}: {seen}"
            );
        }
        takes_back(trial);
        // A frozen daemon withdraws nothing, its supervisor does.
        measure(trial, clients, &format!("{by}, daemon frozen"), |trial| {
            trial.signal("alpha", Signal::SIGSTOP);
        });
        assert_eq!(routers::routes_of(trial, "alpha"), "");
        trial.signal("alpha", Signal::SIGCONT);
        trial.await_that("alpha knows who serves", |trial| {
            trial.status("alpha")["groups"][0]["role"] == "idle"
        });
        assert_eq!(routers::routes_of(trial, "alpha"), "");
        takes_back(trial);
        measure(trial, clients, &format!("{by}, crash"), |trial| trial.crash("alpha"));
    });
}

/// For so long BIRD does not tell anew of a route that it has told of, or has withdrawn (RFC 2328,
/// `MinLSInterval`).
const MIN_LS_INTERVAL_MS: u64 = 5_000;

fn seen_by_service(trial: &Trial, file: &str) -> String {
    std::fs::read_to_string(trial.cluster().directory().join(file)).unwrap_or_default()
}

#[test]
fn clients_behind_a_router_follow_by_bgp() {
    moves("clients_behind_a_router_follow_by_bgp", Software::Bird, Protocol::Bgp);
}

#[test]
fn clients_behind_a_router_follow_by_ospf() {
    moves("clients_behind_a_router_follow_by_ospf", Software::Bird, Protocol::Ospf);
}

#[test]
fn clients_follow_by_bgp_of_frr() {
    moves("clients_follow_by_bgp_of_frr", Software::Frr, Protocol::Bgp);
}

#[test]
fn clients_follow_by_ospf_of_frr() {
    moves("clients_follow_by_ospf_of_frr", Software::Frr, Protocol::Ospf);
}

/// With BFD the router finds a dead server sooner; everything else stays as it is without.
fn follow_a_crash(test: &str, protocol: Protocol) {
    served(test, Software::BirdWithBfd, protocol, |trial, clients| {
        measure(trial, clients, &format!("BirdWithBfd, {protocol:?}, crash"), |trial| {
            trial.crash("alpha");
        });
    });
}

#[test]
fn clients_follow_a_crash_by_bgp_and_bfd() {
    follow_a_crash("clients_follow_a_crash_by_bgp_and_bfd", Protocol::Bgp);
}

#[test]
fn clients_follow_a_crash_by_ospf_and_bfd() {
    follow_a_crash("clients_follow_a_crash_by_ospf_and_bfd", Protocol::Ospf);
}

#[test]
fn no_route_outlives_its_daemon() {
    let test = "no_route_outlives_its_daemon";
    served(test, Software::Bird, Protocol::Ospf, |trial, _| {
        // The supervisor withdraws it behind a daemon that is killed.
        trial.stop("beta");
        assert_ne!(routers::routes_of(trial, "alpha"), "");
        trial.kill("alpha");
        await_ways(trial, None);
        assert_eq!(routers::routes_of(trial, "alpha"), "");
        // What is left all the same is gone when a daemon starts, also one that may claim nothing.
        trial.stop(WITNESS);
        for ip in [ROUTED, ROUTED_V6] {
            trial.run_on("beta", &format!("ip addr add {ip} dev lo"));
            trial.run_on("beta", &format!("ip route add {ip} dev lo proto 76"));
        }
        await_ways(trial, Some("beta"));
        trial.start("beta");
        trial.await_that("beta runs", |trial| trial.cluster().status("beta").is_some());
        assert_eq!(routers::routes_of(trial, "beta"), "");
        await_ways(trial, None);
    });
}
