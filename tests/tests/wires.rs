//! Named stories with serial lines and a dongle, in virtual time, one test each.

use lifesign_core::engine::Obstacle;
use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;
use lifesign_tests::oracle::Rule;
use lifesign_tests::story::{MS, expect_holder, group, safe};
use lifesign_tests::world::{Setup, Wiring, World};

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

/// Node 0 holds with the dongle's vote alone while node 1 hears nobody; then node 0 hears nobody,
/// and node 1 hears the dongle. Node 1's own promise has long run out.
fn hand_the_dongle_over(setup: Setup, seed: u64, then: impl Fn(&mut World)) -> World {
    let mut world = World::running(Setup { links: 0, promise_ms: 1000, ..setup }, seed);
    world.cut_line(1);
    expect_holder(&mut world, 1500 + seed * 3, Some(0));
    world.heal_line(1);
    world.cut_line(0);
    then(&mut world);
    for _ in 0..600 {
        world.run_for(5 * MS);
    }
    world
}

#[test]
fn a_dongle_that_is_reset_in_the_middle_of_a_lease_waits_it_out() {
    for seed in 0..10 {
        let world = hand_the_dongle_over(with_dongle(2), seed, |world| {
            world.run_for(seed * 7 * MS);
            world.crash(16);
            world.run_for(5 * MS);
            world.start(16);
        });
        safe(&world);
        assert_eq!(world.holder(0), Some(1), "{}", world.told());
    }
}

#[test]
fn a_dongle_s_clock_three_percent_off_is_safe_where_the_settings_allow_for_it() {
    let exact = Setup { clock_error: 100, ..with_dongle(2) };
    for seed in 0..10 {
        for error in [-30_000, 30_000] {
            let allows = Setup { witness_error: 30_000, ..exact.clone() };
            let world =
                hand_the_dongle_over(allows, seed, |world| world.set_clock_error(16, error));
            safe(&world);
            assert_eq!(world.holder(0), Some(1), "{}", world.told());
        }
    }
    let blind = |seed| {
        let setup = Setup { witness_error: 100, ..exact.clone() };
        hand_the_dongle_over(setup, seed, |world| world.set_clock_error(16, 30_000))
    };
    let two =
        |seed: &u64| blind(*seed).verdicts().iter().any(|wrong| wrong.rule == Rule::OneHolder);
    let two = (0..10).filter(two).count();
    assert!(two > 0, "settings that do not allow for the clock must show two holders");
}

#[test]
fn two_servers_that_ask_at_once_have_one_pulse() {
    for seed in 0..10 {
        let mut world = World::running(Setup { groups: 3, ..fencing(3) }, seed);
        world.order(0, |engine, now| engine.handle_takeover(None, now));
        world.run_for(1000 * MS + seed * 1700);
        assert_eq!([0, 1, 2].map(|it| world.holder(it)), [Some(0); 3], "{}", world.told());
        world.pause(0, 60_000 * MS);
        world.run_for(3000 * MS);
        safe(&world);
        assert_eq!(world.pulses().len(), 1, "{}", world.told());
        assert_eq!([0, 1, 2].map(|it| world.holder(it)), [Some(1), Some(1), Some(2)]);
    }
}

#[test]
fn recorded_requests_do_nothing() {
    let mut world = World::running(fencing(2), 3);
    world.run_for(600 * MS);
    world.pause(0, 60_000 * MS);
    expect_holder(&mut world, 3000, Some(1));
    assert!(world.requests() >= 2);
    for number in 0..200 {
        world.replay_request(number);
        if number == 100 {
            world.crash(0);
        }
        world.run_for(30 * MS);
        safe(&world);
    }
    assert_eq!(world.pulses().len(), 1, "{}", world.told());
}

#[test]
fn a_target_that_comes_back_between_the_two_steps_is_not_reset() {
    for seed in 0..10 {
        let mut world = World::running(fencing(2), seed);
        world.run_for(600 * MS + seed * 1300);
        world.pause(0, 60_000 * MS);
        while world.requests() == 0 {
            world.run_for(20);
        }
        // The second step waits at the server's own end.
        world.lines[2].stuck = true;
        world.resume(0);
        world.run_for(60 * MS);
        world.heal_line(1);
        world.run_for(2000 * MS);
        safe(&world);
        assert_eq!(world.pulses().len(), 0, "{}", world.told());
        assert!(world.holder(0).is_some(), "{}", world.told());
    }
}

#[test]
fn a_server_that_nobody_has_met_since_is_reset_all_the_same() {
    let mut world = World::running(fencing(2), 4);
    world.run_for(600 * MS);
    world.crash(0);
    world.crash(1);
    world.run_for(500 * MS);
    world.start(1);
    expect_holder(&mut world, 1500, Some(1));
    assert_eq!(world.pulses().len(), 1);
}

#[test]
fn a_target_that_was_heard_once_more_before_it_died_is_reset_all_the_same() {
    let mut pulses = 0;
    for seed in 0..5 {
        let mut world = World::running(fencing(2), seed);
        world.run_for(600 * MS);
        world.crash(0);
        world.run_for(120 * MS);
        world.start(0);
        world.run_for(4 * MS);
        world.crash(0);
        // Where its short life was proved to the other, that is proof enough.
        expect_holder(&mut world, 3000, Some(1));
        pulses += world.pulses().len();
    }
    assert!(pulses > 0);
}

#[test]
fn a_claim_under_a_token_that_is_used_already_is_made_anew() {
    for seed in 0..10 {
        let setup = Setup { links: 0, promise_ms: 1000, ..with_dongle(2) };
        let mut world = World::running(setup, seed);
        world.order(1, |engine, now| engine.handle_takeover(None, now));
        expect_holder(&mut world, 500, Some(1));
        world.cut_line(1);
        // Both mint the same next token, and only one of them is promised the group under it.
        expect_holder(&mut world, 3000 + seed * 7, Some(0));
        world.cut_line(0);
        world.heal_line(1);
        expect_holder(&mut world, 4000, Some(1));
    }
}

#[test]
fn nobody_is_reset_for_a_claim_without_quorum() {
    let mut world = World::running(fencing(2), 5);
    world.run_for(600 * MS);
    world.cut_networks();
    world.cut_line(0);
    world.lines[3].cut = true;
    expect_holder(&mut world, 2000, None);
    assert_eq!((world.pulses().len(), world.requests()), (0, 0), "{}", world.told());
}

#[test]
fn a_ring_survives_any_one_cut_and_two_leave_a_majority() {
    for (one, seed) in (0..3).zip(10..) {
        let mut world = World::running(Setup::wired(3, 0, Wiring::Ring), seed);
        world.cut_networks();
        world.cut_line(one);
        expect_holder(&mut world, 2000, Some(0));
        assert_eq!(world.outage[0], 0, "{}", world.told());
    }
    let mut world = World::running(Setup::wired(3, 0, Wiring::Ring), 13);
    world.cut_networks();
    world.cut_line(0);
    world.cut_line(2);
    expect_holder(&mut world, 1000, Some(1));
}

#[test]
fn a_port_that_nobody_reads_harms_no_other() {
    for stuck in [[5, 5], [4, 5]] {
        let mut world = World::running(Setup { links: 0, ..with_dongle(3) }, 14);
        for line in stuck {
            world.lines[line].stuck = true;
        }
        expect_holder(&mut world, 3000, Some(0));
        assert_eq!(world.outage[0], 0, "{}", world.told());
    }
}

#[test]
fn noise_on_every_line_costs_frames_and_nothing_else() {
    let mut world = World::running(Setup { links: 0, ..with_dongle(2) }, 15);
    for line in &mut world.lines {
        line.noise = 5;
    }
    for _ in 0..50 {
        world.inject_bytes(16, 0, &[0x55; 40]);
        world.inject_bytes(1, 0, &[0; 40]);
        expect_holder(&mut world, 40, Some(0));
    }
    assert_eq!(world.outage[0], 0, "{}", world.told());
}

#[test]
fn what_has_no_right_tag_is_passed_on_to_nobody() {
    for (setup, to) in [(with_dongle(2), 16), (Setup::wired(3, 0, Wiring::Ring), 1)] {
        let mut world = World::running(setup, 18);
        let message = [&[1, 0x31, 0, 0, 7, 0, 0, 0][..], &[200; 60][..]].concat();
        for port in [0, 1] {
            world.inject_message(to, port, &message);
            world.run_for(100 * MS);
            safe(&world);
        }
    }
}

#[test]
fn a_line_of_9600_baud_carries_heartbeats_of_a_second() {
    let slow = Setup { baud: 9600, heartbeat_ms: 1000, dead_ms: 4500, ..with_dongle(2) };
    let mut world = World::new(Setup { promise_ms: 5000, links: 0, ..slow }, 16);
    for number in world.numbers() {
        world.start(number);
    }
    expect_holder(&mut world, 60_000, Some(0));
    world.crash(0);
    expect_holder(&mut world, 8000, Some(1));
}

#[test]
fn a_line_that_cannot_carry_all_gives_everybody_a_turn() {
    let setup = Setup { baud: 115_200, links: 0, ..with_dongle(3) };
    let mut world = World::new(setup, 17);
    for number in world.numbers() {
        world.start(number);
    }
    world.run_for(3000 * MS);
    for at in 0..3 {
        let heard = &world.engine(at).unwrap().member().peers;
        for of in (0..3).filter(|of| *of != at).chain([16]) {
            let of = NodeId::new(of).unwrap();
            assert!(heard.session(of).is_some(), "{at} {of:?}{}", world.told());
        }
    }
    safe(&world);
}
