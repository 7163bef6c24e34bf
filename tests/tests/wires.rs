//! Named stories with serial lines and a dongle, in virtual time, one test each.

use lifesign_core::engine::Obstacle;
use lifesign_core::group::{GroupId, Guard};
use lifesign_core::node::NodeId;
use lifesign_tests::world::{Setup, Wiring, World};

const MS: u64 = 1000;

fn group() -> GroupId {
    GroupId::new(0).expect("the first group")
}

fn safe(world: &World) {
    assert_eq!(world.wrong(), None, "{}", world.told());
}

/// Runs for `millis` and demands that `node` holds the first group at the end.
fn expect_holder(world: &mut World, millis: u64, node: Option<u8>) {
    world.run_for(millis * MS);
    safe(world);
    assert_eq!(world.holder(0), node, "{}", world.told());
}

fn with_dongle(nodes: u8) -> Setup {
    Setup::wired(nodes, 1, Wiring::Dongle)
}

fn fencing(nodes: u8) -> Setup {
    Setup { guard: Guard::Fence, ..with_dongle(nodes) }
}

#[test]
fn every_network_is_lost_and_the_serial_path_lives_nothing_moves() {
    let wirings = [
        Setup::wired(2, 1, Wiring::NullModem),
        with_dongle(2),
        with_dongle(3),
        Setup::wired(3, 0, Wiring::Ring),
        Setup::wired(4, 1, Wiring::Ring),
    ];
    for setup in wirings {
        for seed in 0..8 {
            let mut world = World::running(setup.clone(), seed);
            world.cut_networks();
            expect_holder(&mut world, 3000, Some(0));
            assert_eq!(world.outage[0], 0, "{}", world.told());
            world.heal();
            expect_holder(&mut world, 1000, Some(0));
            assert_eq!(world.outage[0], 0, "{}", world.told());
        }
    }
}

#[test]
fn one_crashes_and_the_other_takes_over_with_the_dongle_s_vote() {
    for seed in 0..20 {
        let mut world = World::running(with_dongle(2), seed);
        world.run_for(seed * 3170);
        world.crash(0);
        expect_holder(&mut world, 500, Some(1));
        assert!(world.outage[0] <= 200 * MS, "{} us{}", world.outage[0], world.told());
    }
}

#[test]
fn a_frozen_holder_is_reset_before_its_group_is_started_elsewhere() {
    for seed in 0..20 {
        let mut world = World::running(fencing(2), seed);
        world.run_for(600 * MS + seed * 1710);
        world.pause(0, 60_000 * MS);
        expect_holder(&mut world, 1000, Some(1));
        assert_eq!(world.pulses().len(), 1);
        assert_eq!(world.pulses()[0].target, 0);
        expect_holder(&mut world, 2000, Some(1));
        assert!(world.engine(0).is_some(), "it has come back by itself");
        assert_eq!(world.pulses().len(), 1);
    }
}

#[test]
fn a_line_that_does_not_follow_is_no_reset_and_nothing_starts() {
    let mut world = World::running(fencing(2), 1);
    world.reset_stuck = true;
    world.run_for(600 * MS);
    world.pause(0, 60_000 * MS);
    world.run_for(4000 * MS);
    safe(&world);
    let frozen = NodeId::new(0).unwrap();
    assert_eq!(world.engine(1).unwrap().obstacle(group()), Some(Obstacle::Unfenced(frozen)));
    world.reset_stuck = false;
    expect_holder(&mut world, 1500, Some(1));
}
