//! Rounds on real daemons: every kind once, on three servers, and some on two with a quorum server.

use lifesign::namespace::{self, Users};
use lifesign_tests::rounds::{self, Kind, Round, Shape};

/// Plays these kinds in fresh namespaces.
fn play(test: &str, shape: Shape, kinds: &[Kind]) {
    let entered = namespace::enter(test, Users::New);
    if entered.unwrap_or_else(|error| panic!("{error}")).is_none() {
        return;
    }
    let drawn = (0..).zip(kinds).map(|(number, kind)| Round::of_kind(*kind, SEED, number));
    rounds::play(env!("CARGO_BIN_EXE_subject"), shape, drawn, |_, _| {})
        .unwrap_or_else(|why| panic!("{why}"));
}

const SEED: u64 = 1;

#[test]
fn daemons_come_and_go() {
    let kinds = [Kind::Flip, Kind::Standby, Kind::PartialStart, Kind::Restart];
    play("daemons_come_and_go", Shape::Three, &kinds);
}

#[test]
fn parts_of_a_node_die() {
    let kinds = [Kind::ComponentFails, Kind::ServiceFails, Kind::Frozen];
    play("parts_of_a_node_die", Shape::Three, &kinds);
}

#[test]
fn networks_fail() {
    let kinds = [Kind::Split, Kind::RedundantPath, Kind::CablePulled];
    play("networks_fail", Shape::Three, &kinds);
}

#[test]
fn machines_die_and_the_wire_is_measured() {
    let kinds = [Kind::Bandwidth, Kind::Detection, Kind::Stonith];
    play("machines_die_and_the_wire_is_measured", Shape::Three, &kinds);
}

#[test]
fn all_start_and_stop_in_every_order() {
    let kinds = [Kind::Together, Kind::OneByOne, Kind::NearQuorum];
    play("all_start_and_stop_in_every_order", Shape::Three, &kinds);
}

#[test]
fn all_restart_in_turn() {
    play("all_restart_in_turn", Shape::Three, &[Kind::Rolling]);
}

#[test]
fn a_pair_and_its_quorum_server_bear_it_too() {
    let kinds = [Kind::Split, Kind::NearQuorum, Kind::Crash];
    play("a_pair_and_its_quorum_server_bear_it_too", Shape::Pair, &kinds);
}
