//! Groups that follow others, and groups that are kept apart.

use lifesign_core::engine::Obstacle;
use lifesign_core::group::{GroupId, Guard, Reason, Role};
use lifesign_tests::fault::{Fault, Manner, Order};
use lifesign_tests::seen::Seen;
use lifesign_tests::story::{MS, safe};
use lifesign_tests::world::{Micros, Setup, World};

const DB: u8 = 0;
const WEB: u8 = 1;

fn id(group: u8) -> GroupId {
    GroupId::new(group).expect("a group")
}

/// Two servers and a witness, or three servers, and a group that follows another.
fn following(nodes: u8, witnesses: u8) -> Setup {
    Setup { groups: 2, with: vec![(WEB, DB)], ..Setup::fast(nodes, witnesses) }
}

/// The same, and a group that makes way for another.
fn yielding(nodes: u8, witnesses: u8) -> Setup {
    Setup { groups: 2, apart: vec![(WEB, DB)], ..Setup::fast(nodes, witnesses) }
}

/// Runs for `millis`, demands that nothing was ever wrong, and returns who holds each group.
fn holders(world: &mut World, millis: u64) -> Vec<Option<u8>> {
    world.run_for(millis * MS);
    safe(world);
    (0..).zip(&world.outage).map(|(group, _)| world.holder(group)).collect()
}

fn role(world: &World, host: u8, group: u8) -> Role {
    world.engine(host).and_then(|it| it.group(id(group))).expect("a group").role()
}

fn obstacle(world: &World, host: u8, group: u8) -> Option<Obstacle> {
    world.engine(host).expect("it runs").obstacle(id(group))
}

fn order(host: u8, group: Option<u8>, order: Order) -> Fault {
    Fault::Order { host, group, order }
}

/// Returns when each group's role became what `is` says on `host`, in the order of the changes.
fn changes(
    seen: &[(Micros, Seen)],
    at: u8,
    is: impl Fn(Role) -> bool,
) -> Vec<(u8, Micros, Reason)> {
    let change = |(when, seen): &(Micros, Seen)| match *seen {
        Seen::Role { host, group, role, reason } if host == at && is(role) => {
            Some((group, *when, reason))
        }
        _ => None,
    };
    seen.iter().filter_map(change).collect()
}

fn is_stopping(role: Role) -> bool {
    matches!(role, Role::Stopping(_))
}

#[test]
fn a_group_runs_where_the_one_runs_that_it_follows() {
    let mut world = World::running(following(2, 1), 1);
    assert_eq!(holders(&mut world, 100), [Some(0), Some(0)], "{}", world.told());
    assert_eq!(obstacle(&world, 1, WEB), Some(Obstacle::With(id(DB))));
    world.crash(0);
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
    world.start(0);
    assert_eq!(holders(&mut world, 2000), [Some(1), Some(1)], "{}", world.told());
}

#[test]
fn its_leader_is_handed_over_only_once_the_follower_is_down() {
    let mut world = World::running(following(2, 1), 2);
    world.apply(&Fault::Agent { host: 0, group: WEB, manner: Manner::Slow(50 * MS) });
    world.watch();
    world.take_seen();
    world.apply(&order(1, Some(DB), Order::Takeover));
    world.run_for(20 * MS);
    assert_eq!(world.holder(DB), Some(0), "it serves on: {}", world.told());
    assert!(is_stopping(role(&world, 0, WEB)), "{}", world.told());
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
    let seen = world.take_seen();
    let stops = changes(&seen, 0, is_stopping);
    let [web, db] = stops.as_slice() else { panic!("{stops:?}") };
    assert_eq!((web.0, web.2), (WEB, Reason::With(id(DB))));
    assert_eq!(db.0, DB);
    assert!(db.1 >= web.1 + 50 * MS, "{stops:?}");
    let starts = changes(&seen, 1, |role| matches!(role, Role::Starting(_)));
    assert_eq!(starts.iter().map(|start| start.0).collect::<Vec<_>>(), [DB, WEB]);
}

#[test]
fn when_authority_ends_nothing_waits() {
    let setup = Setup { guard: Guard::Stop, ..following(2, 1) };
    let mut world = World::running(setup, 3);
    world.watch();
    world.take_seen();
    world.cut(0, 1);
    world.cut(0, 16);
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
    let stops = changes(&world.take_seen(), 0, is_stopping);
    let [first, second] = stops.as_slice() else { panic!("{stops:?}") };
    assert_eq!(first.1, second.1, "at once: {stops:?}");
}

#[test]
fn a_follower_is_not_moved_by_itself() {
    let mut world = World::running(following(2, 1), 4);
    world.apply(&order(0, Some(WEB), Order::Standby));
    world.apply(&order(1, Some(WEB), Order::Takeover));
    assert_eq!(holders(&mut world, 2500), [Some(0), Some(0)], "{}", world.told());
    world.apply(&order(0, Some(DB), Order::Standby));
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
}

#[test]
fn a_follower_that_fails_leaves_its_leader_in_peace_and_is_tried_again() {
    let mut world = World::running(following(2, 1), 5);
    world.watch();
    world.take_seen();
    world.apply(&order(0, Some(WEB), Order::Failed));
    assert_eq!(holders(&mut world, 500), [Some(0), None], "{}", world.told());
    assert!(matches!(obstacle(&world, 0, WEB), Some(Obstacle::Waiting(_))), "{}", world.told());
    world.run_for(11_000 * MS);
    assert_eq!(holders(&mut world, 10), [Some(0), Some(0)], "{}", world.told());
    let moved = changes(&world.take_seen(), 0, |role| !matches!(role, Role::Idle));
    assert!(moved.iter().all(|change| change.0 == WEB), "{moved:?}");
}

#[test]
fn a_leader_that_fails_goes_after_its_follower() {
    let mut world = World::running(following(2, 1), 6);
    world.apply(&Fault::Agent { host: 0, group: WEB, manner: Manner::Slow(50 * MS) });
    world.watch();
    world.take_seen();
    world.apply(&order(0, Some(DB), Order::Failed));
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
    let stops = changes(&world.take_seen(), 0, is_stopping);
    assert_eq!(stops.iter().map(|stop| stop.0).collect::<Vec<_>>(), [WEB, DB]);
    assert_eq!(stops[1].2, Reason::Failed);
}

#[test]
fn a_follower_that_cannot_be_stopped_does_not_hold_its_leader_up() {
    let mut world = World::running(following(2, 1), 7);
    world.apply(&Fault::Agent { host: 0, group: WEB, manner: Manner::FailStop });
    world.apply(&order(1, Some(DB), Order::Takeover));
    world.run_for(300 * MS);
    assert_eq!(world.holder(DB), Some(1), "{}", world.told());
    assert!(matches!(role(&world, 0, WEB), Role::Stuck(_)), "{}", world.told());
    assert!(!role(&world, 1, WEB).is_up());
    world.repair();
    assert_eq!(holders(&mut world, 3000), [Some(1), Some(1)], "{}", world.told());
}

#[test]
fn whoever_leaves_takes_followers_along() {
    let mut world = World::running(following(2, 1), 8);
    world.apply(&order(0, None, Order::Leave));
    assert_eq!(holders(&mut world, 300), [Some(1), Some(1)], "{}", world.told());
    world.apply(&order(1, None, Order::Leave));
    assert_eq!(holders(&mut world, 1500), [None, None], "{}", world.told());
}

#[test]
fn three_in_a_chain_move_one_after_the_other() {
    let setup = Setup { groups: 3, with: vec![(0, 1), (1, 2)], ..Setup::fast(3, 0) };
    let mut world = World::running(setup, 9);
    assert_eq!(holders(&mut world, 100), [Some(2); 3], "{}", world.told());
    world.watch();
    world.take_seen();
    world.apply(&order(0, Some(2), Order::Takeover));
    assert_eq!(holders(&mut world, 500), [Some(0); 3], "{}", world.told());
    let seen = world.take_seen();
    let groups = |changes: Vec<(u8, Micros, Reason)>| -> Vec<u8> {
        changes.into_iter().map(|change| change.0).collect()
    };
    assert_eq!(groups(changes(&seen, 2, is_stopping)), [0, 1, 2]);
    assert_eq!(groups(changes(&seen, 0, |role| matches!(role, Role::Starting(_)))), [2, 1, 0]);
    world.crash(0);
    let held = holders(&mut world, 500);
    assert!(held[0].is_some() && held.iter().all(|holder| *holder == held[0]), "{held:?}");
}

#[test]
fn on_the_last_server_the_one_that_comes_first_stays() {
    let mut world = World::running(yielding(2, 1), 10);
    assert_eq!(holders(&mut world, 100), [Some(0), Some(1)], "{}", world.told());
    world.crash(0);
    assert_eq!(holders(&mut world, 500), [Some(1), None], "{}", world.told());
    assert_eq!(obstacle(&world, 1, WEB), Some(Obstacle::Apart(id(DB))));
    world.start(0);
    assert_eq!(holders(&mut world, 1000), [Some(1), Some(0)], "{}", world.told());
    world.crash(0);
    assert_eq!(holders(&mut world, 500), [Some(1), None], "{}", world.told());
    world.start(0);
    world.run_for(1000 * MS);
    world.apply(&order(0, Some(DB), Order::Takeover));
    assert_eq!(
        holders(&mut world, 500),
        [Some(0), Some(1)],
        "they change places: {}",
        world.told()
    );
}

#[test]
fn one_that_makes_way_goes_elsewhere_if_it_can() {
    let mut world = World::running(yielding(3, 0), 11);
    assert_eq!(holders(&mut world, 100), [Some(0), Some(1)], "{}", world.told());
    world.apply(&order(1, Some(WEB), Order::Takeover));
    world.apply(&order(0, Some(WEB), Order::Takeover));
    assert_eq!(holders(&mut world, 2000), [Some(0), Some(1)], "never there: {}", world.told());
    assert_eq!(obstacle(&world, 0, WEB), Some(Obstacle::Apart(id(DB))));
    world.watch();
    world.take_seen();
    world.apply(&order(1, Some(DB), Order::Takeover));
    let held = holders(&mut world, 500);
    assert_eq!(held[0], Some(1), "{}", world.told());
    assert!(held[1].is_some_and(|holder| holder != 1), "{}", world.told());
    let stops = changes(&world.take_seen(), 1, is_stopping);
    assert_eq!(
        stops.iter().map(|it| (it.0, it.2)).collect::<Vec<_>>(),
        [(WEB, Reason::Apart(id(DB)))]
    );
}

#[test]
fn nobody_starts_beside_what_could_not_be_stopped() {
    let mut world = World::running(yielding(2, 1), 12);
    world.apply(&Fault::Agent { host: 1, group: WEB, manner: Manner::FailStop });
    world.crash(0);
    world.run_for(500 * MS);
    assert!(matches!(role(&world, 1, WEB), Role::Stuck(_)), "{}", world.told());
    assert!(!role(&world, 1, DB).is_up(), "{}", world.told());
    assert_eq!(obstacle(&world, 1, DB), Some(Obstacle::Occupied(id(WEB))));
    world.repair();
    assert!(holders(&mut world, 4000)[0].is_some(), "{}", world.told());
}

/// A claim that is not granted disturbs nobody: whoever else hears the holder does not promise.
#[test]
fn nobody_makes_way_for_a_claim_that_comes_to_nothing() {
    let mut world = World::running(yielding(3, 0), 13);
    world.watch();
    world.take_seen();
    world.cut(0, 1);
    assert_eq!(holders(&mut world, 5000), [Some(0), Some(1)], "{}", world.told());
    assert_eq!(changes(&world.take_seen(), 1, is_stopping), []);
}

#[test]
fn where_one_cannot_be_stopped_the_other_is_left_to_somebody_else() {
    let mut world = World::running(yielding(3, 0), 14);
    assert_eq!(holders(&mut world, 100), [Some(0), Some(1)], "{}", world.told());
    world.apply(&Fault::Agent { host: 1, group: WEB, manner: Manner::FailStop });
    world.crash(0);
    world.run_for(1500 * MS);
    assert_eq!(world.holder(DB), Some(2), "{}", world.told());
    assert!(matches!(role(&world, 1, WEB), Role::Stuck(_)), "{}", world.told());
}
