//! Every fault of the simulator acts: what a test plays is what would happen.

use std::collections::BTreeMap;

use lifesign_core::frame::FrameError;
use lifesign_core::group::{Guard, Reason, Role};
use lifesign_core::member::Rejected;
use lifesign_core::node::LinkId;
use lifesign_core::peer::Stale;
use lifesign_tests::fault::{Fault, Keys, Manner, Order, Rubbish, Step};
use lifesign_tests::seen::{End, Seen};
use lifesign_tests::story::{MS, expect_holder, group, safe};
use lifesign_tests::world::{Micros, Neighbours, Setup, Wiring, World};

/// Returns how many frames `host` has refused on its first link, as `rejected`.
fn refused(world: &World, host: u8, rejected: Rejected) -> u32 {
    let link = LinkId::new(0).expect("the first link");
    let counters = world.engine(host).map(|engine| engine.member().counters(link));
    counters.map_or(0, |counters| counters.rejected[rejected.kind().0])
}

/// Runs for `millis` under `fault` and returns what was seen.
fn seen_under(world: &mut World, fault: Fault, millis: Micros) -> Vec<(Micros, Seen)> {
    world.watch();
    world.take_seen();
    world.apply(&fault);
    world.run_for(millis * MS);
    world.take_seen()
}

/// Returns the numbers of the frames of 0 in the order in which 1 takes them in.
fn arrived(seen: &[(Micros, Seen)]) -> Vec<u64> {
    let number = |seen: &Seen| match *seen {
        Seen::Arrived { from: 0, to: 1, sequence, .. } => Some(sequence),
        _ => None,
    };
    seen.iter().filter_map(|(_, seen)| number(seen)).collect()
}

fn role(world: &World, host: u8) -> Option<Role> {
    Some(world.engine(host)?.group(group())?.role())
}

#[test]
fn losses_come_in_bursts() {
    let longest_gap = |fault| {
        let mut world = World::running(Setup::fast(2, 1), 1);
        let numbers = arrived(&seen_under(&mut world, fault, 4000));
        let gaps = numbers.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        (gaps.max().unwrap_or(0), numbers.len())
    };
    // Both lose one frame in five.
    let (bursts, left) = longest_gap(Fault::Burst { enter: 100, leave: 400, percent: 100 });
    let (single, most) = longest_gap(Fault::Loss { percent: 20 });
    assert!(bursts > 3 * single, "{bursts} in bursts, {single} one by one");
    assert!(left * 2 > most && most > left / 2, "{left} and {most} of as many arrive");
}

#[test]
fn late_frames_are_overtaken() {
    let order = |fault| {
        let mut world = World::running(Setup::fast(2, 1), 2);
        let numbers = arrived(&seen_under(&mut world, fault, 500));
        numbers.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    assert!(order(Fault::Reorder { percent: 20, span: 12 * MS }) > 5);
    assert!(order(Fault::Delay { delay: 100, jitter: 20 * MS }) > 5);
    assert_eq!(order(Fault::Delay { delay: 100, jitter: 100 }), 0);
}

#[test]
fn damage_reaches_the_process_if_the_checksum_below_is_right() {
    for checksum_right in [true, false] {
        let mut world = World::running(Setup::fast(2, 1), 3);
        world.apply(&Fault::Damage { percent: 20, checksum_right });
        expect_holder(&mut world, 2000, Some(0));
        let wrong = refused(&world, 1, Rejected::Frame(FrameError::Tag));
        assert_eq!(wrong > 20, checksum_right, "{wrong} with a wrong tag");
    }
}

#[test]
fn cuts_have_a_direction_and_a_link_and_mend_one_by_one() {
    let mut world = World::running(Setup { links: 2, ..Setup::fast(2, 1) }, 4);
    let hears = |world: &World, at: u8, of: u8| {
        let node = lifesign_core::node::NodeId::new(of).expect("a node");
        let engine = world.engine(at).expect("a running server");
        engine.member().peers.get(node).is_some_and(|peer| peer.session().is_some())
    };
    world.apply(&Fault::Cut { from: 0, to: 1, link: Some(0) });
    world.run_for(200 * MS);
    assert!(hears(&world, 1, 0), "the other link is whole");
    world.apply(&Fault::Cut { from: 0, to: 1, link: None });
    world.run_for(200 * MS);
    assert!(!hears(&world, 1, 0) && !hears(&world, 0, 1), "{}", world.told());
    world.apply(&Fault::Mend { from: 1, to: 0, link: None });
    world.run_for(200 * MS);
    assert!(!hears(&world, 1, 0), "that way was never cut");
    world.apply(&Fault::Mend { from: 0, to: 1, link: Some(1) });
    world.run_for(200 * MS);
    assert!(hears(&world, 1, 0) && hears(&world, 0, 1), "{}", world.told());
    safe(&world);
}

#[test]
fn a_paused_process_answers_on_for_a_while_and_a_machine_that_stands_still_does_not() {
    let silent = |fault| {
        let mut world = World::running(Setup::fast(2, 1), 5);
        let begun = world.now();
        let seen = seen_under(&mut world, fault, 5);
        let silent = seen.iter().find(|(_, seen)| matches!(seen, Seen::Silent { host: 0, .. }));
        silent.map(|(at, _)| at - begun)
    };
    assert_eq!(silent(Fault::Pause { host: 0, span: 200 * MS }), None);
    assert_eq!(silent(Fault::Freeze { host: 0, span: 200 * MS }), Some(0));
    assert_eq!(silent(Fault::Suspend { host: 0, span: 200 * MS }), Some(0));
}

#[test]
fn clocks_go_on_in_a_machine_that_stands_still_unless_it_is_suspended() {
    let lost = |fault: Option<Fault>| {
        let mut world = World::running(Setup { clock_error: 0, ..Setup::fast(2, 1) }, 6);
        let before = world.engine(1).expect("it runs").now();
        fault.into_iter().for_each(|fault| world.apply(&fault));
        world.run_for(1000 * MS);
        1000 - world.engine(1).expect("it runs").now().since(before).as_millis()
    };
    assert!(lost(None) <= 10);
    assert!(lost(Some(Fault::Freeze { host: 1, span: 400 * MS })) <= 10);
    assert!((390..=410).contains(&lost(Some(Fault::Suspend { host: 1, span: 400 * MS }))));
    let slow = lost(Some(Fault::ClockRate { host: 1, error_ppm: -100_000 }));
    assert!((90..=110).contains(&slow), "{slow}");
}

#[test]
fn a_machine_dies_after_any_step_and_comes_back() {
    for step in [Step::Authority, Step::Frames, Step::Decision, Step::Events, Step::OneFrame] {
        let mut world = World::running(Setup::fast(2, 1), 7);
        let crash = Fault::CrashIn { host: 0, step, boot: Some(50 * MS) };
        let seen = seen_under(&mut world, crash, 20);
        let ended = Seen::Ended { host: 0, how: End::Crashed };
        assert!(seen.iter().any(|(_, seen)| *seen == ended), "{step:?}: {}", world.told());
        assert!(!world.is_running(0), "{step:?}");
        world.run_for(500 * MS);
        assert!(world.is_running(0), "{step:?}: {}", world.told());
        expect_holder(&mut world, 500, Some(1));
    }
}

/// Between what it decides and the frame that says so: somebody who is to start a group never said
/// that it wants it no more.
#[test]
fn what_was_decided_when_a_machine_died_was_not_said() {
    let mut world = World::running(Setup::fast(2, 1), 8);
    world.watch();
    world.take_seen();
    world.apply(&Fault::Order { host: 0, group: None, order: Order::Standby });
    world.apply(&Fault::CrashIn { host: 0, step: Step::Events, boot: None });
    world.run_for(MS);
    let seen = world.take_seen();
    let is_role = |seen: &Seen| matches!(seen, Seen::Role { host: 0, reason: Reason::Standby, .. });
    assert!(seen.iter().any(|(_, seen)| is_role(seen)), "{}", world.told());
    assert!(!seen.iter().any(|(_, seen)| matches!(seen, Seen::Sent { from: 0, .. })));
}

#[test]
fn without_saved_tokens_nothing_new_is_claimed() {
    for fault in [
        Fault::SaveFails { host: 0, span: 3000 * MS },
        Fault::SaveSlow { host: 0, span: 3000 * MS },
    ] {
        let mut world = World::new(Setup { nodes: 3, witnesses: 0, ..Setup::fast(3, 0) }, 9);
        world.apply(&fault);
        world.start(0);
        world.run_for(2500 * MS);
        assert!(matches!(role(&world, 0), Some(Role::Idle)), "{}", world.told());
        world.start(1);
        world.start(2);
        expect_holder(&mut world, 1500, Some(1));
        world.run_for(3000 * MS);
        let saved = world.engine(0).expect("it runs").member().voter.saved();
        assert!(saved.0 > 0, "{fault}: {}", world.told());
        safe(&world);
    }
}

#[test]
fn on_damaged_tokens_nobody_starts_and_without_any_they_count_from_nothing() {
    let mut world = World::running(Setup::fast(2, 1), 10);
    world.apply(&Fault::TearState { host: 1 });
    world.apply(&Fault::Crash { host: 1 });
    world.apply(&Fault::Boot { host: 1 });
    assert!(!world.is_running(1), "{}", world.told());
    world.repair();
    assert!(world.is_running(1), "{}", world.told());
    let largest = |world: &World| world.engine(1).map(|it| it.member().voter.saved().0);
    world.run_for(500 * MS);
    for (fault, expected) in [(None, true), (Some(Fault::LoseState { host: 1 }), false)] {
        fault.iter().for_each(|fault| world.apply(fault));
        world.apply(&Fault::Crash { host: 1 });
        world.apply(&Fault::Boot { host: 1 });
        assert_eq!(largest(&world) > Some(0), expected, "{}", world.told());
    }
}

#[test]
fn agents_do_what_they_are_told_or_not() {
    let outcome = |manner, order| {
        let mut world = World::running(Setup::fast(2, 1), 11);
        let host = u8::from(order == Order::Takeover);
        world.apply(&Fault::Agent { host, group: 0, manner });
        world.watch();
        world.apply(&Fault::Order { host, group: None, order });
        world.run_for(400 * MS);
        let reasons = world.take_seen().into_iter().filter_map(|(_, seen)| match seen {
            Seen::Role { host: at, reason, .. } if at == host => Some(reason),
            _ => None,
        });
        (reasons.collect::<Vec<_>>(), world.holder(0))
    };
    let started = |manner| outcome(manner, Order::Takeover);
    assert_eq!(started(Manner::Honest).1, Some(1));
    assert_eq!(started(Manner::Slow(20 * MS)).1, Some(1));
    for manner in [Manner::FailStart, Manner::Hang, Manner::Slow(4000 * MS)] {
        assert!(started(manner).0.contains(&Reason::StartFailed), "{manner:?}");
    }
    let (reasons, holder) = started(Manner::LieStarted);
    assert!(reasons.contains(&Reason::Started) && holder.is_none(), "{reasons:?} {holder:?}");
    for manner in [Manner::FailStop, Manner::Hang] {
        let (reasons, holder) = outcome(manner, Order::Standby);
        assert!(reasons.contains(&Reason::StopFailed), "{manner:?}: {reasons:?}");
        assert_ne!(holder, Some(0), "the kernel answers no more: {manner:?}");
    }
}

/// The process cannot stop what it has to; its watchdog, which has a clock of its own, can.
#[test]
fn a_watchdog_ends_the_machine_of_a_process_that_does_not_run() {
    let mut world = World::running(Setup { guard: Guard::Stop, ..Setup::fast(2, 1) }, 12);
    let seen = seen_under(&mut world, Fault::Pause { host: 0, span: 60_000 * MS }, 100);
    let ended = Seen::Ended { host: 0, how: End::Reset };
    assert!(seen.iter().any(|(_, seen)| *seen == ended), "{}", world.told());
    expect_holder(&mut world, 500, Some(1));
    assert!(world.is_running(0), "it has booted: {}", world.told());
}

/// The inequality counts on a watchdog that bites as late as it can.
#[test]
fn a_watchdog_that_bites_as_late_as_it_can_is_early_enough() {
    let setup = Setup { guard: Guard::Stop, watchdog_ms: 3, ..Setup::fast(2, 1) };
    for seed in 0..20 {
        let mut world = World::running(setup.clone(), seed);
        world.run_for(seed * 313);
        let fault = Fault::Pause { host: 0, span: 60_000 * MS };
        let seen = seen_under(&mut world, fault, 100);
        let ended = Seen::Ended { host: 0, how: End::Reset };
        assert!(seen.iter().any(|(_, seen)| *seen == ended), "{}", world.told());
        expect_holder(&mut world, 500, Some(1));
    }
}

#[test]
fn whatever_is_replayed_reflected_or_made_up_is_counted_and_does_nothing() {
    let mut world = World::running(Setup::fast(2, 1), 13);
    world.apply(&Fault::Record { on: true });
    world.run_for(100 * MS);
    world.apply(&Fault::Replay { count: 50, to: Some(1), pick: 1 });
    world.apply(&Fault::Reflect { host: 0, span: 50 * MS });
    for rubbish in [Rubbish::Bytes, Rubbish::Forged, Rubbish::WrongKey, Rubbish::OtherCluster] {
        world.apply(&Fault::Flood { to: 1, count: 50, rubbish, pick: 2 });
    }
    world.apply(&Fault::HoldBack { from: 0, to: 16, span: 10 * MS });
    expect_holder(&mut world, 200, Some(0));
    assert!(refused(&world, 1, Rejected::Stale(Stale::Replayed)) >= 10, "{}", world.told());
    assert!(refused(&world, 0, Rejected::Loop) >= 5);
    assert!(refused(&world, 1, Rejected::Frame(FrameError::Tag)) >= 50);
    assert_eq!(refused(&world, 1, Rejected::Frame(FrameError::Cluster)), 50);
    assert_eq!(world.outage[0], 0);
}

#[test]
fn what_is_held_back_comes_all_at_once() {
    let mut world = World::running(Setup::fast(2, 1), 14);
    let begun = world.now();
    let seen = seen_under(&mut world, Fault::HoldBack { from: 0, to: 1, span: 100 * MS }, 101);
    let mut moments: BTreeMap<Micros, u32> = BTreeMap::new();
    for (at, seen) in seen {
        if let Seen::Arrived { from: 0, to: 1, .. } = seen {
            *moments.entry(at - begun).or_default() += 1;
        }
    }
    assert!(moments.get(&(100 * MS)).is_some_and(|count| *count >= 5), "{moments:?}");
    assert!(moments.keys().filter(|at| (MS..100 * MS).contains(*at)).count() <= 1, "{moments:?}");
}

#[test]
fn frames_of_one_link_are_void_on_another_and_on_a_line() {
    let mut world = World::running(Setup { links: 2, ..Setup::fast(2, 1) }, 15);
    world.apply(&Fault::SwapLinks { one: 0, other: 1 });
    world.run_for(100 * MS);
    assert!(refused(&world, 1, Rejected::WrongLink) >= 10);
    let mut world = World::running(Setup::wired(2, 1, Wiring::NullModem), 16);
    world.apply(&Fault::Record { on: true });
    world.run_for(100 * MS);
    world.apply(&Fault::SwapClasses { to: 1, count: 20, pick: 3 });
    world.run_for(100 * MS);
    let line = LinkId::new(1).expect("the line");
    let counters = world.engine(1).expect("it runs").member().counters(line);
    assert!(counters.rejected[Rejected::WrongLink.kind().0] >= 5, "{counters:?}");
    safe(&world);
}

#[test]
fn two_clusters_share_a_wire_and_neither_minds() {
    for (neighbours, kind) in [
        (Neighbours::OtherKey, Rejected::Frame(FrameError::Tag)),
        (Neighbours::OtherCluster, Rejected::Frame(FrameError::Cluster)),
    ] {
        let setup = Setup { neighbours: Some(neighbours), ..Setup::fast(2, 1) };
        let mut world = World::running(setup, 17);
        world.start(32);
        world.start(33);
        expect_holder(&mut world, 2000, Some(0));
        assert!(refused(&world, 0, kind) > 100, "{neighbours:?}");
        let other =
            |number| world.engine(number).and_then(|it| it.group(group())).map(|it| it.role());
        assert!(other(32).is_some_and(|role| role.is_up()), "{neighbours:?}: {}", world.told());
        assert!(other(33).is_some_and(|role| !role.is_up()), "{neighbours:?}");
        world.apply(&Fault::Crash { host: 0 });
        expect_holder(&mut world, 200, Some(1));
    }
}

#[test]
fn keys_rotate_while_everybody_runs_also_over_a_crash_in_the_middle() {
    for crash_at in 0..12 {
        let mut world = World::running(Setup::fast(2, 1), 18);
        let steps = [Keys::BothOldSigns, Keys::BothNewSigns, Keys::New];
        let turns = steps.into_iter().flat_map(|keys| [(0, keys), (1, keys), (16, keys)]);
        for (turn, (host, keys)) in (0..).zip(turns) {
            world.apply(&Fault::Rekey { host, keys });
            if turn == crash_at {
                world.apply(&Fault::Crash { host: 1 });
                world.apply(&Fault::Boot { host: 1 });
            }
            expect_holder(&mut world, 30, Some(0));
        }
        expect_holder(&mut world, 500, Some(0));
        assert_eq!(world.outage[0], 0, "crash at {crash_at}: {}", world.told());
        // Who has the old key alone is nobody any more.
        world.apply(&Fault::Rekey { host: 1, keys: Keys::Old });
        world.run_for(200 * MS);
        assert!(refused(&world, 0, Rejected::Frame(FrameError::Key)) >= 10);
    }
}

#[test]
fn a_server_with_other_settings_gets_nothing_until_it_has_the_same_again() {
    let mut world = World::running(Setup::fast(2, 1), 19);
    world.apply(&Fault::Reconfigure { host: 1, digest: 2, promise_ms: 25 });
    world.run_for(500 * MS);
    world.apply(&Fault::Crash { host: 0 });
    expect_holder(&mut world, 2000, Some(1));
    // Of two that are left, neither has the other's consent to be a quorum.
    let mut world = World::running(Setup::fast(3, 0), 19);
    world.apply(&Fault::Reconfigure { host: 1, digest: 2, promise_ms: 25 });
    world.run_for(500 * MS);
    world.apply(&Fault::Crash { host: 0 });
    expect_holder(&mut world, 2000, None);
    world.repair();
    world.run_for(2000 * MS);
    safe(&world);
    assert!(world.holder(0).is_some(), "{}", world.told());
}
