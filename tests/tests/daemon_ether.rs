//! Real daemons with a link of raw Ethernet: what is left when IP is gone altogether.

use lifesign_tests::trial::{self, Setup, Trial};

/// Raw Ethernet on the first network, next to the IP that everybody else uses.
const WIRE: &str = "\n[[link]]\nname = \"wire\"\nkind = \"ether\"\nadapter = \"eth0\"\n";

fn wired(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup.with_services(WIRE), |trial| {
        trial.begin();
        body(trial);
    });
}

/// Lets no IP in or out of a server, whatever it is.
fn shut(trial: &mut Trial, name: &str) {
    trial.run_on(name, "nft add table inet shut");
    for hook in ["input", "output"] {
        let chain = format!("{{ type filter hook {hook} priority -500; policy drop; }}");
        trial.run_on(name, &format!("nft add chain inet shut {hook} {chain}"));
    }
}

fn wire(trial: &Trial, name: &str) -> serde_json::Value {
    trial.status(name)["links"][1].clone()
}

#[test]
fn a_firewall_that_shuts_everything_moves_nothing() {
    let test = "a_firewall_that_shuts_everything_moves_nothing";
    wired(test, Setup::pair(), |trial| {
        let since_us = trial.lab().now_us();
        for name in ["alpha", "beta"] {
            assert_eq!(wire(trial, name)["kind"], "ether");
            assert_eq!(wire(trial, name)["adapter"], "eth0");
            shut(trial, name);
        }
        for (name, peer) in [("alpha", "beta"), ("beta", "alpha")] {
            let lost = format!("redundancy is lost: {peer} is heard without IP alone (wire)");
            trial.await_that("it is told", |trial| trial.has_alert(name, &lost));
            trial.await_that("the quorum server is lost", |trial| {
                trial.peer(name, trial::WITNESS)["state"] == "lost"
            });
        }
        trial.expect_throughout(3_000, "the peers live", |trial| {
            trial.peer("beta", "alpha")["state"] == "alive"
                && trial.peer("alpha", "beta")["state"] == "alive"
        });
        // Clients reach nobody, and the firewall of either is no reason to go to the other.
        assert_eq!(trial.status("alpha")["groups"][0]["role"], "holding");
        assert_eq!(trial.status("beta")["groups"][0]["role"], "idle");
        for name in ["alpha", "beta"] {
            trial.run_on(name, "nft delete table inet shut");
        }
        trial.await_ready();
        trial.await_holder("alpha");
        assert_eq!(trial.seen_since(since_us), [0]);
    });
}

#[test]
fn who_has_no_address_left_takes_its_service_address_again_and_serves() {
    let test = "who_has_no_address_left_takes_its_service_address_again_and_serves";
    wired(test, Setup::pair(), |trial| {
        trial.run_on("alpha", "ip address flush dev eth0");
        let lost = "redundancy is lost: alpha is heard without IP alone (wire)";
        trial.await_that("it is told", |trial| trial.has_alert("beta", lost));
        trial.await_that("the quorum server is lost", |trial| {
            trial.peer("alpha", trial::WITNESS)["state"] == "lost"
        });
        trial.expect_to_stay("alpha", 2_000);
        assert_eq!(trial.status("alpha")["links"][0]["state"], "down: own address missing");
        assert_eq!(trial.peer("beta", "alpha")["state"], "alive");
        trial.run_on("alpha", "ip address add 10.77.0.1/24 dev eth0");
        trial.await_ready();
    });
}

#[test]
fn a_daemon_that_is_killed_says_farewell_without_ip() {
    let test = "a_daemon_that_is_killed_says_farewell_without_ip";
    wired(test, Setup::three(), |trial| {
        for name in ["alpha", "beta", "gamma"] {
            shut(trial, name);
        }
        trial.await_that("IP is gone", |trial| {
            trial.has_alert("beta", "gamma is heard without IP alone")
        });
        trial.kill("gamma");
        for name in ["alpha", "beta"] {
            trial.await_that("it has left", |trial| trial.peer(name, "gamma")["state"] == "left");
        }
    });
}
