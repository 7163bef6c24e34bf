//! Three real daemons in a ring of serial cables.

use std::sync::Mutex;

use lifesign::wire::{End, Wire};
use lifesign_tests::trial::{self, Setup, Trial, pause};

const RING: &str = "\n[[link]]\nname = \"ring\"\nkind = \"serial\"\ndevice = { \
    alpha = [\"DIRECTORY/ab\", \"DIRECTORY/ac\"], \
    beta = [\"DIRECTORY/bc\", \"DIRECTORY/ba\"], \
    gamma = [\"DIRECTORY/ca\", \"DIRECTORY/cb\"] }\n";

const ALL: [&str; 3] = ["alpha", "beta", "gamma"];

/// Returns the cables from alpha to beta, from beta to gamma and from gamma to alpha.
fn join(trial: &Trial) -> [Wire; 3] {
    [("ab", "ba"), ("bc", "cb"), ("ca", "ac")].map(|(left, right)| {
        let end = |name| End::Terminal(trial.cluster().directory().join(name));
        Wire::join(end(left), end(right), Some(115_200)).expect("a wire")
    })
}

/// Returns whether everybody is heard by everybody on the ring.
fn is_whole(trial: &Trial) -> bool {
    ALL.iter().all(|name| {
        let status = trial.status(name);
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.len() == 2
            && peers.iter().all(|peer| {
                let ring = &peer["links"][1];
                ring["heard"] == true && ring["hears_us"] == true
            })
    })
}

/// Returns the sum of a counter over both ports of a node.
fn counted(trial: &Trial, name: &str, what: &str) -> u64 {
    let status = trial.status(name);
    let ports = status["links"][1]["ports"].as_array().cloned().unwrap_or_default();
    ports.iter().filter_map(|port| port[what].as_u64()).sum()
}

/// Cuts every network between the daemons.
fn cut_every_network(trial: &Trial) {
    for (one, other) in [("alpha", "beta"), ("beta", "gamma"), ("gamma", "alpha")] {
        trial.lab().cut(one, other);
    }
}

/// Tries a ring whose every cable works.
///
/// One after the other, for a line that nobody serves on a busy machine is as good as cut.
fn ringed(test: &str, body: impl FnOnce(&mut Trial, &[Wire; 3])) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let setup = Setup::three().with_services(RING);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let wires = join(trial);
        let spans = "dead = \"1500ms\"\npromise = \"1s\"";
        let from = "dead = \"500ms\"\npromise = \"600ms\"";
        let settings = trial.write_changed("patient.toml", from, spans);
        for name in ALL {
            trial.start_with(name, &settings);
        }
        trial.await_ready();
        trial.await_that("the ring works", is_whole);
        body(trial, &wires);
    });
}

#[test]
fn a_ring_goes_on_with_any_one_cable_cut() {
    ringed("a_ring_goes_on_with_any_one_cable_cut", |trial, wires| {
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
        let holder = trial.holder(0);
        cut_every_network(trial);
        trial.await_that("lost redundancy is told", |trial| {
            ALL.iter().all(|name| trial.has_alert(name, "redundancy is lost"))
        });
        for wire in wires {
            wire.cut();
            trial.expect_throughout(2_500, "everybody lives", |trial| {
                ALL.iter().all(|name| trial.is_complete(name))
            });
            wire.heal();
            pause(200);
        }
        assert_eq!(trial.holder(0), holder);
        for name in ALL {
            assert!(counted(trial, name, "relayed") > 50, "{name}");
            assert!(counted(trial, name, "copies") > 20, "{name}");
            // What comes twice is sorted out before the engine counts it as a replay or a loop.
            let rejected = trial.status(name)["links"][1]["rejected"].clone();
            for kind in ["replayed", "loop", "own id", "wrong link", "wrong tag"] {
                assert_eq!(rejected[kind].as_u64().unwrap_or(0), 0, "{name}: {kind}");
            }
        }
    });
}

#[test]
fn two_cuts_part_one_node_and_nobody_holds_twice() {
    ringed("two_cuts_part_one_node_and_nobody_holds_twice", |trial, wires| {
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
        cut_every_network(trial);
        pause(300);
        let [ab, _, ca] = wires;
        ab.cut();
        ca.cut();
        trial.await_that("alpha is lost", |trial| {
            ["beta", "gamma"].iter().all(|name| trial.peer(name, "alpha")["state"] == "lost")
        });
        trial.expect_one_holder_at_most();
        ab.heal();
        ca.heal();
        trial.await_that("the ring works again", is_whole);
        trial.expect_one_holder_at_most();
    });
}
