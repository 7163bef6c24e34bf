//! What a dongle does for servers, and what it does not let be done.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here is a test's failure"
)]

#[path = "bench/bench.rs"]
mod bench;

use bench::{Bench, Server, keyring, live, node, port, settings};
use lifesign_core::dongle::{
    Cause, Lock, Log, NotProvisioned, PURPOSE, Provision, Reply, Request, What,
};
use lifesign_core::frame::Phase;
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::BootId;
use lifesign_core::relay::PortSet;
use lifesign_core::reset::{Answer, Arm, Fire, Outcome, Refusal, RequestId};

fn events(bench: &mut Bench) -> Vec<What> {
    let mut from = 0;
    let mut events = Vec::new();
    loop {
        let replies = bench.ask(port(1), &Request::Log { from }, None);
        let Some(Reply::Log(Log { events: some, .. })) = replies.first() else { panic!() };
        let Some((last, _)) = some.last() else { return events };
        from = last + 1;
        events.extend(some.iter().map(|(_, event)| event.what));
    }
}

#[test]
fn without_settings_it_passes_nothing_on_and_says_so() {
    let mut bench = Bench::new();
    let mut server = Server::new(0);
    server.live(&mut bench, 1000);
    assert!(bench.heard.iter().all(Vec::is_empty) && server.witness.is_none());
    let info = bench.info();
    assert_eq!((info.lock, info.member, info.promises), (Lock::Unprovisioned, None, false));
    assert_eq!((info.board.as_str(), info.cause, info.starts), ("bench", Cause::Power, 1));
    assert_eq!(info.ports[0].received, 51);
    let fast = (0..1000).filter(|_| {
        let before = bench.dongle.leds(bench.now).life;
        bench.pass(1);
        bench.dongle.leds(bench.now).life != before
    });
    assert!(fast.count() >= 14, "the light of life blinks fast");
}

#[test]
fn it_passes_authentic_frames_on_once_to_all_other_ports() {
    let mut bench = Bench::provisioned();
    let mut server = Server::new(0);
    let frame = server.frame();
    bench.say(port(0), &frame);
    bench.say(port(1), &frame);
    assert!(!bench.heard[0].contains(&frame), "not back to where it came from");
    for at in [1, 2] {
        let copies = bench.heard[at].iter().filter(|message| **message == frame).count();
        assert_eq!(copies, 1, "port {at}");
    }
    let mut forged = server.frame();
    forged[30] ^= 1;
    bench.say(port(0), &forged);
    assert!(!bench.heard[1].contains(&forged));
    let info = bench.info();
    assert_eq!((info.ports[0].received, info.ports[0].refused), (5, 1));
    assert!(events(&mut bench).contains(&What::Forged(0)));
    assert!((0..1000).any(|_| {
        bench.pass(1);
        bench.dongle.leds(bench.now).alarm
    }));
}

#[test]
fn its_own_frames_that_come_back_are_not_passed_on() {
    let mut bench = Bench::provisioned();
    let mut server = Server::new(0);
    server.live(&mut bench, 200);
    let own = bench.take_heard(port(2)).into_iter().find(|message| message[2] == 16).unwrap();
    bench.say(port(1), &own);
    assert!(!bench.heard[2].contains(&own));
    assert!(events(&mut bench).contains(&What::Loop(1)));
}

#[test]
fn noise_is_counted_and_forgotten() {
    let mut bench = Bench::provisioned();
    let noise: Vec<u8> = (0..5000u32).map(|at| (at * at / 7 % 253) as u8).collect();
    let now = bench.now;
    bench.dongle.handle_bytes(port(0), &noise, now);
    bench.dongle.set_overruns(port(0), 9);
    let mut server = Server::new(1);
    let frame = server.frame();
    bench.say(port(0), &frame);
    assert!(bench.heard[1].contains(&frame), "what comes after it is read");
    let info = bench.info();
    assert!(info.ports[0].garbage > 5);
    assert_eq!(info.ports[0].overruns, 9);
}

#[test]
fn it_promises_to_one_side_and_keeps_its_word() {
    let mut bench = Bench::provisioned();
    let (mut alpha, mut beta) = (Server::new(0), Server::new(1));
    alpha.wants = vec![Server::want(0, Phase::Claiming, 5000)];
    alpha.live(&mut bench, 400);
    assert_eq!(alpha.promised(0), Some(node(0)));
    assert!(bench.store.tokens() >= Token(5500), "saved ahead, before it promised");
    beta.wants = vec![Server::want(0, Phase::Claiming, 5001)];
    live(&mut bench, &mut [&mut alpha, &mut beta], 1000);
    assert_eq!(beta.promised(0), Some(node(0)));
    beta.live(&mut bench, 900);
    assert_eq!(beta.promised(0), None, "kept to the end");
    beta.live(&mut bench, 400);
    assert_eq!(beta.promised(0), Some(node(1)), "and then free");
    let events = events(&mut bench);
    for what in [What::Heard(node(0)), What::Heard(node(1)), What::Lost(node(0))] {
        assert!(events.contains(&what), "{what:?} in {events:?}");
    }
}

#[test]
fn after_a_reset_it_waits_and_is_another_start() {
    let mut bench = Bench::provisioned();
    let mut alpha = Server::new(0);
    alpha.wants = vec![Server::want(0, Phase::Claiming, 1)];
    alpha.live(&mut bench, 400);
    assert_eq!(alpha.promised(0), Some(node(0)));
    let before = bench.info();
    let mut bench = bench.reset(Cause::Watchdog);
    let after = bench.info();
    assert_ne!(after.boot, before.boot);
    assert_eq!((after.starts, after.cause, after.lock), (2, Cause::Watchdog, Lock::Locked));
    let mut beta = Server::new(1);
    beta.wants = vec![Server::want(0, Phase::Claiming, 2000)];
    beta.live(&mut bench, 980);
    assert_eq!((beta.promised(0), bench.info().promises), (None, false));
    beta.live(&mut bench, 200);
    assert_eq!((beta.promised(0), bench.info().promises), (Some(node(1)), true));
}

#[test]
fn boot_ids_and_challenges_never_repeat() {
    let mut bench = Bench::provisioned();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let info = bench.info();
        assert!(seen.insert(info.boot.bits()) && seen.insert(info.challenge));
        bench = bench.reset(Cause::Pin);
    }
}

#[test]
fn a_dongle_that_cannot_count_its_starts_promises_nothing() {
    let mut bench = Bench::provisioned();
    let mut flash = bench.store.medium().clone();
    flash.is_stuck = true;
    bench = Bench::on(lifesign_firmware::store::Store::open(flash), Cause::Power);
    let mut alpha = Server::new(0);
    alpha.wants = vec![Server::want(0, Phase::Holding, 1)];
    alpha.live(&mut bench, 3000);
    assert_eq!(alpha.promised(0), None);
    assert_eq!((bench.info().starts, bench.info().promises), (0, false));
    let frame = alpha.frame();
    bench.say(port(0), &frame);
    assert!(bench.heard[1].contains(&frame), "it passes frames on all the same");
    assert!(events(&mut bench).contains(&What::StoreFailed));
}

#[test]
fn settings_are_taken_from_those_who_may_give_them() {
    let mut bench = Bench::provisioned();
    let (present, other) = (keyring(1).derive(PURPOSE), keyring(2).derive(PURPOSE));
    assert_eq!(bench.provision(&settings(2), None), Err(NotProvisioned::Locked));
    assert_eq!(bench.provision(&settings(2), Some(&other)), Err(NotProvisioned::Locked));
    let mut wrong = settings(2);
    wrong.ports[0].resets = Some(node(4));
    assert_eq!(
        bench.provision(&wrong, Some(&present)),
        Err(NotProvisioned::Ports),
        "nobody can be heard who has no room here"
    );
    assert_eq!(bench.info().member, Some((settings(1).cluster, settings(1).me)));
    let challenge = bench.info().challenge;
    let mut changed = settings(1);
    changed.cluster.0 = 8;
    let provision = Request::Provision(Provision { challenge, settings: changed });
    let replies = bench.ask(port(2), &provision, Some(&present));
    assert_eq!(replies, [Reply::Provisioned(Ok(()))]);
    let replies = bench.ask(port(2), &provision, Some(&present));
    assert_eq!(replies, [Reply::Provisioned(Err(NotProvisioned::Challenge))], "recorded");
    bench.pins.unlocked = true;
    bench.turn();
    assert_eq!(bench.info().lock, Lock::Unlocked);
    assert_eq!(bench.provision(&settings(2), None), Ok(()));
    let mut bench = bench.reset(Cause::Pin);
    assert_eq!(bench.provision(&settings(2), Some(&other)), Ok(()), "the present key by now");
}

#[test]
fn settings_that_cannot_be_stored_change_nothing() {
    let mut bench = Bench::provisioned();
    let present = keyring(1).derive(PURPOSE);
    let mut flash = bench.store.medium().clone();
    flash.is_stuck = true;
    bench.store = lifesign_firmware::store::Store::open(flash);
    let mut changed = settings(1);
    changed.cluster.0 = 8;
    assert_eq!(bench.provision(&changed, Some(&present)), Err(NotProvisioned::Store));
    assert_eq!(bench.info().member, Some((settings(1).cluster, settings(1).me)));
}

#[test]
fn shorter_promises_begin_when_longer_ones_have_ended() {
    let mut bench = Bench::provisioned();
    let present = keyring(1).derive(PURPOSE);
    let mut short = settings(1);
    short.longest_promise_ms = 300;
    assert_eq!(bench.provision(&short, Some(&present)), Ok(()));
    bench.pass(990);
    assert!(!bench.info().promises);
    // The wait outlives a reset as well, until it has once been waited out.
    let mut bench = bench.reset(Cause::Power);
    bench.pass(990);
    assert!(!bench.info().promises);
    bench.pass(20);
    assert!(bench.info().promises);
    let mut bench = bench.reset(Cause::Power);
    bench.pass(310);
    assert!(bench.info().promises);
}

fn arm(asker: &Server, target: u8, number: u32) -> Arm {
    Arm {
        id: RequestId { asker: asker.id, boot: asker.boot, number },
        group: GroupId::new(0).unwrap(),
        token: Token(2),
        target: node(target),
        target_boot: Some(BootId::new(100 + u64::from(target))),
    }
}

fn outcome(replies: &[Reply]) -> Outcome {
    match replies {
        [Reply::Reset(Answer { outcome, .. }), ..] => *outcome,
        other => panic!("{other:?}"),
    }
}

/// Alpha has died; beta has claimed group 0 under token 2 and has the dongle's promise.
fn beta_alone() -> (Bench, Server) {
    let mut bench = Bench::provisioned();
    let (mut alpha, mut beta) = (Server::new(0), Server::new(1));
    alpha.wants = vec![Server::want(0, Phase::Claiming, 1)];
    live(&mut bench, &mut [&mut alpha, &mut beta], 400);
    beta.live(&mut bench, 1200);
    beta.wants = vec![Server::want(0, Phase::Claiming, 2)];
    beta.live(&mut bench, 400);
    assert_eq!(beta.promised(0), Some(node(1)));
    (bench, beta)
}

#[test]
fn a_dead_server_is_reset_in_two_steps_and_once() {
    let (mut bench, beta) = beta_alone();
    let control = keyring(1).derive(PURPOSE);
    let step = Request::Arm(arm(&beta, 0, 1));
    assert!(bench.ask(port(1), &step, None).is_empty(), "what is not sealed is not answered");
    let armed = outcome(&bench.ask(port(1), &step, Some(&control)));
    let Outcome::Armed { nonce } = armed else { panic!("{armed:?}") };
    let id = arm(&beta, 0, 1).id;
    let wrong = Request::Fire(Fire { id, nonce: nonce ^ 1 });
    assert_eq!(
        outcome(&bench.ask(port(1), &wrong, Some(&control))),
        Outcome::Refused(Refusal::NotArmed)
    );
    assert_eq!(bench.dongle.lines(), PortSet::EMPTY);
    let fire = Request::Fire(Fire { id, nonce });
    assert_eq!(outcome(&bench.ask(port(1), &fire, Some(&control))), Outcome::Pulsing);
    assert_eq!(bench.dongle.lines(), PortSet::EMPTY.with(port(0)));
    assert!(bench.dongle.leds(bench.now).alarm);
    bench.pass(299);
    assert_eq!(bench.dongle.lines(), PortSet::EMPTY.with(port(0)));
    bench.pass(2);
    assert_eq!(bench.dongle.lines(), PortSet::EMPTY);
    assert_eq!(outcome(&bench.ask(port(1), &fire, Some(&control))), Outcome::Done, "asked again");
    bench.pass(4000);
    for _ in 0..3 {
        bench.ask(port(1), &step, Some(&control));
        bench.ask(port(1), &fire, Some(&control));
    }
    assert_eq!(bench.pulses, [port(0)], "recorded requests move nothing");
    let events = events(&mut bench);
    let wrong_number = What::Refused(node(0), Refusal::NotArmed);
    for what in [What::Armed(node(0)), wrong_number, What::Fired(node(0)), What::Reset(node(0))] {
        assert!(events.contains(&what), "{what:?} in {events:?}");
    }
}

#[test]
fn a_living_server_and_a_stuck_line_are_told_apart() {
    let (mut bench, mut beta) = beta_alone();
    let control = keyring(1).derive(PURPOSE);
    let mut gamma = Server::new(2);
    live(&mut bench, &mut [&mut beta, &mut gamma], 400);
    let step = Request::Arm(arm(&beta, 2, 1));
    assert_eq!(
        outcome(&bench.ask(port(1), &step, Some(&control))),
        Outcome::Refused(Refusal::Alive)
    );
    let step = Request::Arm(arm(&gamma, 0, 1));
    assert_eq!(
        outcome(&bench.ask(port(2), &step, Some(&control))),
        Outcome::Refused(Refusal::NotPromised)
    );
    let step = Request::Arm(arm(&beta, 3, 2));
    assert_eq!(
        outcome(&bench.ask(port(1), &step, Some(&control))),
        Outcome::Refused(Refusal::NoLine)
    );
    bench.is_line_stuck = true;
    let armed = outcome(&bench.ask(port(1), &Request::Arm(arm(&beta, 0, 3)), Some(&control)));
    let Outcome::Armed { nonce } = armed else { panic!("{armed:?}") };
    let fire = Request::Fire(Fire { id: arm(&beta, 0, 3).id, nonce });
    assert_eq!(outcome(&bench.ask(port(1), &fire, Some(&control))), Outcome::Pulsing);
    bench.pass(302);
    assert_eq!(
        outcome(&bench.ask(port(1), &fire, Some(&control))),
        Outcome::Refused(Refusal::LineStuck)
    );
}

#[test]
fn it_says_back_what_it_is_told_and_does_not_understand_nonsense() {
    let mut bench = Bench::new();
    let filler = (0..200).collect();
    let echo = Request::Echo { number: 5, filler };
    let Request::Echo { filler, .. } = echo.clone() else { panic!() };
    assert_eq!(bench.ask(port(2), &echo, None), [Reply::Echo { number: 5, filler }]);
    bench.say(port(2), &[0xd0, 0xff, 0xff]);
    assert_eq!(bench.take_heard(port(2)), [vec![0xd0, 5]]);
}
