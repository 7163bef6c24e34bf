//! Rules that random faults seldom try, one test each.

use lifesign_core::dongle::{
    self, Cause, MAX_MESSAGE_LEN, PURPOSE, PortSettings, Request, Settings,
};
use lifesign_core::engine::Obstacle;
use lifesign_core::frame::{self, Body, Echo, Header, LinkClass, MAX_FRAME_LEN, Phase, Want};
use lifesign_core::group::{Guard, Role, Token};
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, LinkId, LinkSet, NodeId};
use lifesign_core::relay::PortId;
use lifesign_core::reset::{Arm, RequestId};
use lifesign_core::seal::KeyId;
use lifesign_core::stream::enframe;
use lifesign_core::time::{Duration, Instant};
use lifesign_firmware::Small;
use lifesign_firmware::dongle::{Board, Stored};
use lifesign_firmware::events::Ring;
use lifesign_tests::story::{MS, expect_holder, group, safe};
use lifesign_tests::world::{Setup, World, keyring};

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a possible node")
}

fn link(number: u8) -> LinkId {
    LinkId::new(number).expect("a possible link")
}

fn role(world: &World, number: u8) -> Role {
    world.engine(number).and_then(|engine| engine.group(group())).map_or(Role::Idle, |it| it.role())
}

fn rejected(world: &World, number: u8, on: u8, kind: Rejected) -> u32 {
    let counters = world.engine(number).map(|engine| engine.member().counters(link(on)));
    counters.map_or(0, |counters| counters.rejected[kind.kind().0])
}

fn hears(world: &World, number: u8, of: u8) -> bool {
    let engine = world.engine(number).expect("a running server");
    engine.member().peers.session(node(of)).is_some()
}

/// Returns a fresh frame for the server `to`, as somebody can make it who has the key and listens.
fn forge(world: &World, to: u8, sender: u8, on: u8, wants: &[Want]) -> Vec<u8> {
    let member = world.engine(to).expect("a running server").member();
    let own = &member.sequence;
    let (boot, newest) = member
        .peers
        .session(node(sender))
        .map_or((BootId::new(77), 0), |session| (session.boot, session.newest));
    let cluster = ClusterId(7);
    let key = KeyId(0);
    let sequence = newest + 1;
    let (class, link) = (LinkClass::Udp, link(on));
    let header = Header { class, link, sender: node(sender), key, cluster, boot, sequence };
    let links = LinkSet::first(1);
    let echo = Echo { node: node(to), boot: own.boot(), sequence: own.newest(), links };
    let body: Body = Body {
        digest: 1u32.to_le_bytes(),
        echoes: [echo].into_iter().collect(),
        wants: wants.iter().copied().collect(),
        ..Body::default()
    };
    let mut buffer = [0; MAX_FRAME_LEN];
    let len = frame::encode(&header, &body, &keyring(), &mut buffer);
    buffer[..len].to_vec()
}

#[test]
fn frames_that_were_held_back_are_not_life() {
    let mut world = World::running(Setup::fast(2, 1), 20);
    world.recording = true;
    for to in [1, 16] {
        world.network.cuts.insert((0, to, 0));
    }
    world.run_for(15 * MS);
    world.crash(0);
    world.recording = false;
    expect_holder(&mut world, 500, Some(1));
    let held_back: Vec<_> =
        std::mem::take(&mut world.recorded).into_iter().filter(|frame| frame.0 == 0).collect();
    assert!(held_back.len() >= 4);
    for (_, to, on, bytes) in held_back {
        world.inject(to, on, bytes);
        world.run_for(MS);
        assert!(!hears(&world, 1, 0), "{}", world.told());
        let witness = world.witness(16).unwrap();
        assert!(witness.member().peers.session(node(0)).is_none());
    }
    expect_holder(&mut world, 100, Some(1));
}

#[test]
fn own_frames_are_nobody_s_and_a_loop_is_told_from_a_second_machine() {
    let mut world = World::running(Setup::fast(2, 1), 21);
    world.recording = true;
    world.run_for(50 * MS);
    world.recording = false;
    let own: Vec<_> = world.recorded.iter().filter(|frame| frame.0 == 0).cloned().collect();
    let again = |world: &mut World| {
        for (_, _, on, bytes) in &own {
            world.inject(0, *on, bytes.clone());
        }
        world.run_for(MS);
        [Rejected::Loop, Rejected::OwnId].map(|kind| rejected(world, 0, 0, kind) > 0)
    };
    assert_eq!(again(&mut world), [true, false]);
    world.crash(0);
    world.start(0);
    world.run_for(100 * MS);
    assert_eq!(again(&mut world), [false, true]);
    let forged = forge(&world, 0, 0, 0, &[]);
    world.inject(0, 0, forged);
    world.run_for(MS);
    assert!(!hears(&world, 0, 0));
}

#[test]
fn strangers_and_crossed_links_are_not_heard() {
    let mut world = World::running(Setup { links: 2, ..Setup::fast(2, 1) }, 22);
    let forged = forge(&world, 0, 5, 0, &[]);
    world.inject(0, 0, forged);
    world.run_for(MS);
    assert!(!hears(&world, 0, 5));
    assert_eq!(rejected(&world, 0, 0, Rejected::Stranger), 1);
    let crossed = forge(&world, 0, 1, 1, &[]);
    world.inject(0, 0, crossed);
    world.run_for(MS);
    assert_eq!(rejected(&world, 0, 0, Rejected::WrongLink), 1);
}

#[test]
fn frames_of_an_earlier_start_free_no_promise() {
    let mut world = World::running(Setup::fast(2, 1), 23);
    world.recording = true;
    world.run_for(50 * MS);
    world.recording = false;
    world.crash(0);
    world.start(0);
    world.run_for(500 * MS);
    world.order(0, |engine, now| engine.handle_takeover(None, now));
    expect_holder(&mut world, 500, Some(0));
    let boot = world.engine(0).unwrap().member().sequence.boot();
    for (from, to, on, bytes) in std::mem::take(&mut world.recorded) {
        if from == 0 {
            world.inject(to, on, bytes);
            world.run_for(1);
            let voters = [
                world
                    .engine(1)
                    .unwrap()
                    .member()
                    .voter
                    .promise(group(), world.engine(1).unwrap().now()),
                world.witness(16).unwrap().member().voter.promise(group(), Instant::ZERO),
            ];
            for promise in voters {
                assert_eq!(promise.map(|promise| promise.to.boot), Some(boot), "{}", world.told());
            }
        }
    }
}

#[test]
fn all_copies_of_one_number_say_the_same() {
    let world = World::running(Setup { links: 2, ..Setup::fast(2, 1) }, 24);
    let mut buffer = [0; MAX_FRAME_LEN];
    let mut engine = world.engine(0).unwrap().clone();
    let now = engine.now() + Duration::from_millis(10);
    engine.handle_timeout(now);
    let first = engine.poll_transmit(now, &mut buffer).unwrap();
    let number = frame::peek(&buffer[..first.len]).unwrap().sequence;
    engine.handle_standby(None, now);
    let second = engine.poll_transmit(now, &mut buffer).unwrap();
    let renumbered = frame::peek(&buffer[..second.len]).unwrap().sequence;
    assert_eq!((first.link, second.link, renumbered), (link(0), link(0), number + 1));

    let mut witness = world.witness(16).unwrap().clone();
    let now = witness.poll_timeout() + Duration::from_millis(10);
    let first = witness.poll_transmit(now, &mut buffer).unwrap();
    let number = frame::peek(&buffer[..first.len]).unwrap().sequence;
    witness.handle_timeout(now);
    let second = witness.poll_transmit(now, &mut buffer).unwrap();
    let renumbered = frame::peek(&buffer[..second.len]).unwrap().sequence;
    assert_eq!((first.to, second.to, renumbered), (node(0), node(0), number + 1));
}

#[test]
fn a_holder_that_nobody_answers_stops() {
    let mut world = World::running(Setup::fast(3, 0), 25);
    for other in [1, 2] {
        world.cut(0, other);
    }
    expect_holder(&mut world, 100, Some(1));
    assert!(!role(&world, 0).is_up(), "{}", world.told());
}

#[test]
fn of_two_holders_the_one_with_the_older_token_stops() {
    let mut world = World::running(Setup::fast(2, 1), 26);
    let token = Token(1000);
    let want = Want { group: group(), phase: Phase::Holding, token, promise_ms: 25 };
    let forged = forge(&world, 0, 1, 0, &[want]);
    world.inject(0, 0, forged);
    world.run_for(MS);
    assert!(!role(&world, 0).is_up(), "{}", world.told());
}

#[test]
fn what_has_to_stop_is_never_up_on_two() {
    for seed in 0..12 {
        let setup = Setup { guard: Guard::Stop, start_us: 4 * MS, ..Setup::fast(2, 1) };
        let mut world = World::running(setup, seed);
        for taker in [1, 0, 1] {
            world.run_for(seed * 313);
            world.order(taker, |engine, now| engine.handle_takeover(None, now));
            expect_holder(&mut world, 200, Some(taker));
        }
        world.pause(1, 300 * MS);
        expect_holder(&mut world, 200, Some(0));
        world.run_for(300 * MS);
        world.kill(0);
        expect_holder(&mut world, 200, Some(1));
    }
}

#[test]
fn a_machine_that_is_fed_late_is_reset_before_another_starts() {
    for seed in 0..12 {
        let setup = Setup { guard: Guard::Stop, watchdog_ms: 3, ..Setup::fast(2, 1) };
        let mut world = World::running(setup, seed);
        world.run_for(seed * 313);
        world.pause(0, 300 * MS);
        expect_holder(&mut world, 200, Some(1));
    }
}

#[test]
fn a_group_that_cannot_be_stopped_goes_nowhere() {
    let mut world = World::running(Setup { start_us: 50 * MS, ..Setup::fast(2, 1) }, 27);
    world.order(1, |engine, now| engine.handle_takeover(None, now));
    world.run_for(10 * MS);
    assert!(matches!(role(&world, 0), Role::Stopping(_)), "{}", world.told());
    world.order(0, |engine, now| engine.handle_stopped(group(), false, now));
    world.run_for(30 * MS);
    assert!(matches!(role(&world, 0), Role::Stuck(_)), "{}", world.told());
    assert!(!role(&world, 1).is_up(), "{}", world.told());
    // The shell tries again, and this time it works.
    expect_holder(&mut world, 200, Some(1));
}

#[test]
fn a_survivor_s_consent_is_awaited() {
    let mut world = World::running(Setup::fast(5, 0), 28);
    for other in 1..=3 {
        world.network.cuts.insert((0, other, 0));
    }
    world.run_for(15 * MS);
    world.crash(0);
    // Three have promised nothing any more; the fourth heard the old holder 15 ms longer.
    world.run_for(18 * MS);
    let obstacle = world.engine(1).unwrap().obstacle(group());
    assert!(
        matches!(obstacle, Some(Obstacle::Consent(survivor, _)) if survivor == node(4)),
        "{obstacle:?}{}",
        world.told()
    );
    expect_holder(&mut world, 60, Some(1));
}

#[test]
fn a_node_with_other_settings_gets_no_promise() {
    let mut world = World::new(Setup::fast(3, 0), 29);
    world.start_with(0, |config| config.digest = 2);
    world.start(1);
    world.start(2);
    for _ in 0..40 {
        world.run_for(50 * MS);
        assert!(!role(&world, 0).is_up(), "{}", world.told());
    }
    expect_holder(&mut world, 1, Some(1));
}

#[test]
fn a_promise_outlives_the_session_it_was_made_in() {
    for seed in 0..12 {
        let mut world = World::running(Setup { dead_ms: 11, ..Setup::fast(3, 0) }, seed);
        world.run_for(seed * 417);
        world.cut(0, 1);
        world.cut(0, 2);
        expect_holder(&mut world, 200, Some(1));
    }
}

#[test]
fn a_verified_restart_frees_what_the_earlier_start_was_promised() {
    let setup = Setup { promise_ms: 500, ..Setup::fast(2, 1) };
    let mut world = World::new(setup, 30);
    for number in world.numbers() {
        world.start(number);
    }
    world.run_for(3000 * MS);
    assert_eq!(world.holder(0), Some(0));
    world.crash(0);
    world.start(0);
    expect_holder(&mut world, 120, Some(1));
}

#[test]
fn support_of_an_earlier_claim_is_worth_nothing() {
    for seed in 0..30 {
        let mut world = World::running(Setup::fast(3, 0), seed);
        world.run_for(seed * 331);
        world.order(1, |engine, now| engine.handle_takeover(None, now));
        let handed_over = (0..400).any(|_| {
            world.run_for(50);
            world.holder(0) == Some(1)
        });
        assert!(handed_over, "{}", world.told());
        world.cut(0, 1);
        world.cut(0, 2);
        world.run_for(20 * MS);
        for _ in 0..60 {
            world.run_for(100);
            world.order(0, |engine, now| engine.handle_takeover(None, now));
            safe(&world);
        }
    }
}

#[test]
fn a_node_s_own_promise_binds_it_whatever_the_operator_asks() {
    for seed in 0..12 {
        let mut world = World::running(Setup { dead_ms: 11, ..Setup::fast(2, 1) }, seed);
        world.cut(0, 16);
        expect_holder(&mut world, 300, Some(0));
        world.run_for(seed * 417);
        world.cut(0, 1);
        // The old holder is given up, and the promise to it lives on.
        world.run_for(12 * MS);
        for _ in 0..120 {
            world.order(1, |engine, now| engine.handle_takeover(None, now));
            world.run_for(100);
            safe(&world);
        }
        expect_holder(&mut world, 100, Some(1));
    }
}

#[test]
fn what_is_being_stopped_is_not_free() {
    for seed in 0..12 {
        let timing = Setup { promise_ms: 100, stop_ms: 60, start_us: 50 * MS, ..Setup::fast(2, 1) };
        let mut world = World::running(Setup { guard: Guard::Stop, ..timing }, seed);
        world.run_for(seed * 313);
        world.order(1, |engine, now| engine.handle_takeover(None, now));
        world.run_for(2 * MS);
        assert!(matches!(role(&world, 0), Role::Stopping(_)), "{}", world.told());
        world.cut(0, 1);
        world.cut(0, 16);
        expect_holder(&mut world, 300, Some(1));
    }
}

#[test]
fn of_two_claims_at_one_moment_the_worse_makes_way() {
    for seed in 0..12 {
        let mut world = World::running(Setup::fast(3, 0), seed);
        for claimant in [2, 1] {
            world.order(claimant, |engine, now| engine.handle_takeover(None, now));
        }
        expect_holder(&mut world, 40, Some(1));
        assert!(world.outage[0] <= 5 * MS, "{} us{}", world.outage[0], world.told());
    }
}

#[test]
fn a_promise_to_an_earlier_claim_that_comes_late_is_no_support() {
    let mut fresh = 0;
    for seed in 0..30 {
        let slow = Setup { heartbeat_ms: 10, dead_ms: 20, promise_ms: 100, ..Setup::fast(2, 1) };
        let mut world = World::running(slow, seed);
        world.run_for(seed * 417);
        world.recording = true;
        world.network.cuts.extend([(16, 0, 0), (1, 0, 0)]);
        world.run_for(7 * MS);
        world.recording = false;
        world.order(0, |engine, now| engine.handle_failed(group(), now));
        world.run_for(MS / 2);
        assert_eq!(role(&world, 0), Role::Idle, "{}", world.told());
        world.cut(0, 1);
        world.cut(0, 16);
        world.order(1, |engine, now| engine.handle_takeover(None, now));
        expect_holder(&mut world, 24, Some(1));
        world.order(0, |engine, now| engine.handle_takeover(None, now));
        for (from, to, on, bytes) in std::mem::take(&mut world.recorded) {
            if (from, to) == (16, 0) {
                world.inject(to, on, bytes);
            }
        }
        expect_holder(&mut world, 3, Some(1));
        fresh += usize::from(hears(&world, 0, 16));
    }
    assert!(fresh > 0, "what comes late must not always be too late");
}

#[test]
fn in_an_even_split_without_a_witness_nobody_holds() {
    for nodes in [2, 4] {
        let mut world = World::running(Setup::fast(nodes, 0), 31);
        for one in 0..nodes / 2 {
            for other in nodes / 2..nodes {
                world.cut(one, other);
            }
        }
        expect_holder(&mut world, 1000, None);
        world.heal();
        world.run_for(500 * MS);
        safe(&world);
        assert!(world.holder(0).is_some(), "{}", world.told());
    }
}

/// A small witness has room for the groups that are configured, and is deaf to whoever speaks of
/// more. After a start with saved tokens a voter could tell a largest token of every group.
#[test]
fn a_server_speaks_of_its_own_groups_alone_also_after_a_restart() {
    let mut world = World::running(Setup::fast(2, 1), 31);
    world.crash(0);
    world.start(0);
    world.recording = true;
    world.run_for(500 * MS);
    let own: Vec<_> = world.recorded.iter().filter(|frame| frame.0 == 0).collect();
    assert!(own.len() > 50, "{}", world.told());
    for (_, _, _, bytes) in own {
        let read = frame::decode::<2, 1>(bytes, ClusterId(7), &keyring());
        assert!(read.is_ok(), "{read:?}");
    }
}

/// Whoever has a cable and no key may ask a dongle how it is, and no more.
#[test]
fn an_open_request_for_a_reset_is_not_even_answered() {
    let settings = Settings {
        cluster: ClusterId(7),
        me: node(16),
        heartbeat_ms: 20,
        dead_ms: 60,
        longest_promise_ms: 100,
        keys: keyring().secrets().map(|(id, bytes)| (id, *bytes)).collect(),
        signer: keyring().signer(),
        pulse_ms: 50,
        distance_ms: 100,
        ports: [PortSettings::default(), PortSettings::default()].into_iter().collect(),
    };
    let stored = Stored { settings: Some(Ok(settings)), ..Stored::nothing() };
    let (mut ring, at) = (Ring::new(), Instant::from_micros(1_000_000));
    let board = Board { name: "alone", cause: Cause::Unknown };
    let mut dongle = Small::<2, 4>::new(board, stored, &mut ring, 1, Instant::ZERO);
    let port = PortId::new(0).expect("the first port");
    let id = RequestId { asker: node(0), boot: BootId::new(1), number: 1 };
    let arm = Arm { id, group: group(), token: Token(1), target: node(1), target_boot: None };
    let control = keyring().derive(PURPOSE);
    for (is_sealed, request) in
        [(false, Request::Info), (false, Request::Arm(arm)), (true, Request::Arm(arm))]
    {
        let (mut message, mut line) = ([0; MAX_MESSAGE_LEN], [0; 400]);
        let len = if is_sealed {
            dongle::seal(&request, &control, &mut message)
        } else {
            dongle::encode(&request, &mut message)
        };
        let len = enframe(&message[..len.expect("it fits")], &mut line).expect("it fits");
        dongle.handle_bytes(port, &line[..len], at);
        let answered = !dongle.pending(port).is_empty();
        while !dongle.pending(port).is_empty() {
            dongle.sent(port, 1);
        }
        assert_eq!(answered, is_sealed || request == Request::Info, "{request:?}");
    }
}
