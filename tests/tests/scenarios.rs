//! Named stories in virtual time, one test each.

use lifesign_core::engine::Obstacle;
use lifesign_core::group::{Failback, Guard, Reason, Role};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use lifesign_tests::fault::{Fault, Order};
use lifesign_tests::random::Random;
use lifesign_tests::story::{MS, expect_holder, group, safe};
use lifesign_tests::world::{Setup, World};

#[test]
fn a_crash_moves_the_group_within_the_promise() {
    for seed in 0..50 {
        let mut world = World::running(Setup::fast(2, 1), seed);
        assert_eq!(world.holder(0), Some(0), "the preferred node: {}", world.told());
        world.run_for(seed * 317);
        world.crash(0);
        expect_holder(&mut world, 100, Some(1));
        assert!(world.outage[0] <= 30 * MS, "{} us{}", world.outage[0], world.told());
    }
}

#[test]
fn everything_up_nothing_moves() {
    let mut world = World::running(Setup::fast(2, 1), 1);
    world.network.loss = 5;
    expect_holder(&mut world, 20_000, Some(0));
    assert_eq!(world.engine(0).unwrap().group(group()).unwrap().reason().0, Reason::Started);
}

#[test]
fn a_killed_daemon_is_silent_in_time() {
    for seed in 0..50 {
        let mut world = World::running(Setup::fast(2, 1), seed);
        world.run_for(seed * 171);
        world.kill(0);
        expect_holder(&mut world, 100, Some(1));
    }
}

#[test]
fn a_frozen_holder_loses_the_group_and_stops_when_it_wakes() {
    for seed in 0..50 {
        let mut world = World::running(Setup::fast(2, 1), seed);
        world.run_for(seed * 171);
        world.pause(0, 500 * MS);
        expect_holder(&mut world, 100, Some(1));
        expect_holder(&mut world, 1000, Some(1));
        assert_eq!(world.engine(0).unwrap().group(group()).unwrap().role(), Role::Idle);
    }
}

#[test]
fn a_claim_that_came_to_nothing_keeps_no_consent_back() {
    for seed in 0..50 {
        let mut world = World::running(Setup::fast(3, 0), seed);
        // Alone it claims, over and over, under larger and larger tokens.
        world.cut(2, 0);
        world.cut(2, 1);
        expect_holder(&mut world, 300, Some(0));
        world.heal();
        expect_holder(&mut world, 50 + seed, Some(0));
        world.clear_outage();
        world.order(1, |engine, now| engine.handle_takeover(Some(group()), now));
        world.run_for(10 * MS);
        // Whoever asks asks again where a first claim has failed.
        world.order(1, |engine, now| engine.handle_takeover(Some(group()), now));
        expect_holder(&mut world, 150, Some(1));
        assert!(world.outage[0] <= 20 * MS, "{} us{}", world.outage[0], world.told());
    }
}

#[test]
fn a_pause_shorter_than_the_authority_moves_nothing() {
    let mut world = World::running(Setup::fast(2, 1), 4);
    for _ in 0..100 {
        world.pause(0, 8 * MS);
        world.pause(1, 8 * MS);
        expect_holder(&mut world, 37, Some(0));
    }
    world.clear_outage();
    world.run_for(100 * MS);
    assert_eq!(world.outage[0], 0);
}

#[test]
fn link_lost_with_both_up_the_holder_stays_and_nobody_else_answers() {
    let mut world = World::running(Setup::fast(2, 1), 2);
    world.cut(0, 1);
    expect_holder(&mut world, 2000, Some(0));
    assert_eq!(world.outage[0], 0);
    world.heal();
    expect_holder(&mut world, 500, Some(0));
    assert_eq!(world.outage[0], 0);
    assert_eq!(world.engine(1).unwrap().group(group()).unwrap().role(), Role::Idle);
}

#[test]
fn quorum_server_down_with_both_up_the_service_goes_on() {
    let mut world = World::running(Setup::fast(2, 1), 2);
    world.crash(16);
    expect_holder(&mut world, 2000, Some(0));
    assert_eq!(world.outage[0], 0);
}

#[test]
fn one_site_and_the_quorum_server_down_nobody_serves_and_why_says_so() {
    let mut world = World::running(Setup::fast(2, 1), 3);
    world.crash(16);
    world.crash(0);
    expect_holder(&mut world, 2000, None);
    let missing = match world.engine(1).unwrap().obstacle(group()) {
        Some(Obstacle::NoQuorum(missing)) => missing,
        other => panic!("{other:?}{}", world.told()),
    };
    assert!(
        missing.contains(NodeId::new(0).unwrap()) && missing.contains(NodeId::new(16).unwrap())
    );
    world.start(16);
    expect_holder(&mut world, 200, Some(1));
}

#[test]
fn a_witness_restart_during_a_split_never_makes_two_holders() {
    for seed in 0..50 {
        let mut world = World::running(Setup::fast(2, 1), seed);
        world.cut(0, 1);
        for _ in 0..20 {
            world.run_for((13 + seed) * MS);
            world.crash(16);
            world.start(16);
            safe(&world);
        }
        world.run_for(300 * MS);
        safe(&world);
        assert!(world.holder(0).is_some(), "{}", world.told());
    }
}

#[test]
fn a_minority_is_silent_and_the_majority_takes_over() {
    let mut world = World::running(Setup::fast(3, 0), 5);
    world.cut(0, 1);
    world.cut(0, 2);
    expect_holder(&mut world, 300, Some(1));
    world.heal();
    expect_holder(&mut world, 500, Some(1));
}

#[test]
fn a_survivor_that_hears_the_holder_withholds_consent() {
    let mut world = World::running(Setup::fast(3, 0), 6);
    world.cut(0, 1);
    expect_holder(&mut world, 1000, Some(0));
    assert_eq!(world.outage[0], 0, "{}", world.told());
}

#[test]
fn a_one_way_loss_ends_authority_or_is_harmless_but_never_doubles() {
    for (from, to) in [(0, 1), (1, 0), (0, 16), (16, 0), (1, 16), (16, 1)] {
        let mut world = World::running(Setup::fast(2, 1), 7);
        world.network.cuts.insert((from, to, 0));
        expect_holder(&mut world, 2000, Some(0));
        world.heal();
        expect_holder(&mut world, 500, Some(0));
    }
}

#[test]
fn a_takeover_by_the_operator_is_almost_without_a_gap() {
    for seed in 0..30 {
        let mut world = World::running(Setup::fast(2, 1), seed);
        world.run_for(seed * 333);
        world.order(1, |engine, now| engine.handle_takeover(None, now));
        expect_holder(&mut world, 100, Some(1));
        assert!(world.outage[0] <= 1200, "{} us{}", world.outage[0], world.told());
        expect_holder(&mut world, 2000, Some(1));
        world.order(1, |engine, now| engine.handle_standby(None, now));
        expect_holder(&mut world, 100, Some(0));
        assert!(world.outage[0] <= 1200, "{} us{}", world.outage[0], world.told());
        expect_holder(&mut world, 2000, Some(0));
    }
}

#[test]
fn a_node_that_leaves_hands_over_and_says_farewell() {
    let mut world = World::running(Setup::fast(2, 1), 8);
    world.order(0, |engine, now| engine.handle_leave(now));
    expect_holder(&mut world, 100, Some(1));
    assert!(world.engine(0).unwrap().has_said_farewell());
    assert!(world.outage[0] <= 1200, "{} us", world.outage[0]);
}

#[test]
fn standby_without_a_taker_keeps_the_group() {
    let mut world = World::running(Setup::fast(2, 1), 8);
    world.crash(1);
    world.run_for(100 * MS);
    world.order(0, |engine, now| engine.handle_standby(None, now));
    expect_holder(&mut world, 3000, Some(0));
    assert_eq!(world.outage[0], 0);
    world.start(1);
    expect_holder(&mut world, 8000, Some(1));
}

#[test]
fn a_returning_node_takes_nothing_back_unless_failback_is_on() {
    for (failback, expected) in
        [(Failback::Off, 1), (Failback::After(Duration::from_millis(700)), 0)]
    {
        let mut world = World::running(Setup { failback, ..Setup::fast(2, 1) }, 9);
        world.crash(0);
        expect_holder(&mut world, 500, Some(1));
        world.start(0);
        expect_holder(&mut world, 600, Some(1));
        world.clear_outage();
        expect_holder(&mut world, 2000, Some(expected));
        assert!(world.outage[0] <= 1200);
    }
}

#[test]
fn a_group_whose_best_node_does_not_take_it_back_stays_where_it_is() {
    let failback = Failback::After(Duration::from_millis(100));
    let mut world = World::running(Setup { failback, ..Setup::fast(3, 0) }, 9);
    world.order(0, |engine, now| engine.handle_standby(Some(group()), now));
    expect_holder(&mut world, 500, Some(1));
    world.clear_outage();
    expect_holder(&mut world, 20_000, Some(1));
    assert_eq!(world.outage[0], 0, "{}", world.told());
    // A node that has to let it go gives it to any other.
    world.order(1, |engine, now| engine.handle_leave(now));
    expect_holder(&mut world, 500, Some(2));
}

#[test]
fn active_active_one_node_dies_and_the_other_holds_both() {
    let mut world = World::running(Setup { groups: 2, ..Setup::fast(2, 1) }, 10);
    assert_eq!((world.holder(0), world.holder(1)), (Some(0), Some(1)), "{}", world.told());
    world.crash(1);
    world.run_for(200 * MS);
    safe(&world);
    assert_eq!((world.holder(0), world.holder(1)), (Some(0), Some(0)), "{}", world.told());
}

#[test]
fn in_a_split_the_witness_favours_one_side_with_all_groups() {
    for seed in 0..30 {
        let mut world = World::running(Setup { groups: 2, ..Setup::fast(2, 1) }, seed);
        world.cut(0, 1);
        world.run_for(500 * MS);
        safe(&world);
        assert_eq!((world.holder(0), world.holder(1)), (Some(0), Some(0)), "{}", world.told());
    }
}

#[test]
fn a_fence_group_waits_for_the_acknowledgment_of_the_right_start() {
    let mut world = World::running(Setup { guard: Guard::Fence, ..Setup::fast(2, 1) }, 11);
    let boot = world.engine(0).unwrap().member().sequence.boot();
    let dead = NodeId::new(0).unwrap();
    world.crash(0);
    expect_holder(&mut world, 1000, None);
    assert_eq!(world.engine(1).unwrap().obstacle(group()), Some(Obstacle::Unfenced(dead)));
    let wrong = lifesign_core::node::BootId::new(boot.bits() ^ 1);
    world.order(1, |engine, now| engine.handle_fenced(dead, Some(wrong), now));
    world.order(1, |engine, now| engine.handle_fenced(dead, None, now));
    expect_holder(&mut world, 500, None);
    world.fence_by_hand(1, dead, Some(boot.bits()));
    expect_holder(&mut world, 50, Some(1));
}

/// Links return one after the other.
#[test]
fn who_is_heard_last_when_links_return_is_not_fenced() {
    for seed in 0..60 {
        let mut world = World::running(Setup { guard: Guard::Fence, ..Setup::fast(2, 1) }, seed);
        let cuts = [(0, 1), (0, 16), (1, 16)];
        cuts.into_iter().for_each(|(one, other)| world.cut(one, other));
        world.run_for(500 * MS);
        world.heal();
        cuts.into_iter().take(2).for_each(|(one, other)| world.cut(one, other));
        world.run_for(12 * MS);
        world.heal();
        world.run_for(100 * MS);
        assert!(!world.told().contains("fenced"), "{seed}: {}", world.told());
        safe(&world);
        assert!(world.holder(0).is_some(), "{}", world.told());
    }
}

#[test]
fn replayed_frames_change_nothing() {
    let mut world = World::new(Setup::fast(2, 1), 12);
    world.recording = true;
    for number in world.numbers() {
        world.start(number);
    }
    world.run_for(1000 * MS);
    world.crash(0);
    world.run_for(200 * MS);
    world.start(0);
    world.run_for(1000 * MS);
    expect_holder(&mut world, 1, Some(1));
    world.recording = false;
    world.clear_outage();
    let recorded = std::mem::take(&mut world.recorded);
    let mut random = Random::new(3);
    let places: Vec<usize> = (0..recorded.len()).collect();
    for _ in 0..20_000 {
        let (_, to, link, bytes) = recorded[random.pick(&places)].clone();
        world.inject(to, link, bytes.clone());
        world.inject(16, link, bytes);
        world.run_for(300);
        safe(&world);
    }
    expect_holder(&mut world, 100, Some(1));
    assert_eq!(world.outage[0], 0, "{}", world.told());
}

#[test]
fn an_idle_cluster_starts_with_any_quorum_and_without_one_never() {
    let cases =
        [(vec![0, 1, 16], Some(0)), (vec![1, 16], Some(1)), (vec![0, 1], Some(0)), (vec![0], None)];
    for (starting, holder) in cases {
        let mut world = World::new(Setup::fast(2, 1), 13);
        for number in starting {
            world.start(number);
        }
        expect_holder(&mut world, 2000, holder);
    }
}

fn say(world: &mut World, host: u8, order: Order) {
    world.apply(&Fault::Order { host, group: Some(0), order });
}

/// The one on which it was said is dead, and nobody moves anything until the time is over.
#[test]
fn maintenance_outlives_the_server_on_which_it_was_said_and_ends_by_itself() {
    let mut world = World::running(Setup::fast(3, 0), 71);
    say(&mut world, 2, Order::Maintain(3000 * MS));
    world.run_for(50 * MS);
    world.crash(2);
    expect_holder(&mut world, 300, Some(0));
    say(&mut world, 1, Order::Takeover);
    say(&mut world, 0, Order::Failed);
    expect_holder(&mut world, 300, Some(0));
    world.crash(0);
    world.start(0);
    world.start(2);
    // Nobody had it up while there was no quorum, and nobody claims it.
    expect_holder(&mut world, 1000, None);
    world.run_for(2500 * MS);
    safe(&world);
    assert!(world.holder(0).is_some(), "{}", world.told());
}

#[test]
fn maintenance_is_ended_on_any_server() {
    let mut world = World::running(Setup::fast(2, 1), 72);
    say(&mut world, 0, Order::Maintain(60_000 * MS));
    world.run_for(50 * MS);
    world.crash(0);
    expect_holder(&mut world, 1000, None);
    say(&mut world, 1, Order::Resume);
    expect_holder(&mut world, 200, Some(1));
}

#[test]
fn a_disabled_group_stays_down_through_the_end_of_the_whole_cluster() {
    let mut world = World::running(Setup { groups: 2, ..Setup::fast(2, 1) }, 73);
    say(&mut world, 1, Order::Disable);
    expect_holder(&mut world, 100, None);
    assert!(world.holder(1).is_some(), "the other group stays: {}", world.told());
    for host in [0, 1, 16] {
        world.crash(host);
    }
    for host in [0, 1, 16] {
        world.start(host);
    }
    expect_holder(&mut world, 2000, None);
    assert!(world.holder(1).is_some(), "{}", world.told());
    say(&mut world, 0, Order::Enable);
    expect_holder(&mut world, 500, Some(0));
}

/// Who was away when a group was enabled still remembers that it was disabled.
#[test]
fn an_old_word_does_not_come_back() {
    let mut world = World::running(Setup::fast(3, 0), 74);
    say(&mut world, 0, Order::Disable);
    expect_holder(&mut world, 100, None);
    world.crash(2);
    say(&mut world, 1, Order::Enable);
    expect_holder(&mut world, 500, Some(0));
    world.start(2);
    expect_holder(&mut world, 1500, Some(0));
    world.crash(0);
    expect_holder(&mut world, 1000, Some(1));
}

#[test]
fn a_group_moves_to_the_server_that_was_named_and_stays_there_until_another_is_back() {
    let setup =
        Setup { failback: Failback::After(Duration::from_millis(100)), ..Setup::fast(3, 0) };
    let mut world = World::running(setup, 75);
    expect_holder(&mut world, 1000, Some(0));
    say(&mut world, 0, Order::Move(2));
    expect_holder(&mut world, 3000, Some(2));
    world.crash(1);
    world.start(1);
    // A better placed one is back, and so the order counts again.
    expect_holder(&mut world, 3000, Some(0));
    say(&mut world, 2, Order::Move(1));
    expect_holder(&mut world, 1000, Some(1));
}
