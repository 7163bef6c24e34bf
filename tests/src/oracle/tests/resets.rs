//! Resets, proof and serial lines, kept and broken.

use lifesign_core::engine::Condition;
use lifesign_core::group::{Role, Token};
use lifesign_core::node::BootId;

use super::{MS, Story, boot};
use crate::oracle::{Assumption, Rule};
use crate::seen::{ENDLESS, End, Seen};
use crate::world::Micros;

/// Server 0 holds what is fenced and falls silent; server 1 has a quorum and asks for a reset.
fn asked(named: u64, voters: &[u8]) -> Story {
    let mut story = Story::fenced();
    story.promise(0, 0, 1, 125).promise(16, 0, 1, 125);
    story.role(0, Role::Starting(Token(1))).answers(0, 1, ENDLESS).pass_but(130, &[0]);
    let condition = Condition::Lost(BootId::new(boot(0)));
    story.see(Seen::Peer { host: 1, peer: 0, condition });
    for voter in voters {
        story.promise(*voter, 1, 2, 125);
    }
    let boot = Some(named);
    let (asker, target) = (1, 0);
    story.see(Seen::ResetAsked { asker, request: 1, group: 0, token: 2, target, boot });
    story
}

fn pulse(story: &mut Story, felt: bool) -> &mut Story {
    story.see(Seen::Pulse { target: 0, felt });
    if felt {
        story.see(Seen::Ended { host: 0, how: End::Reset });
    }
    story.pass_but(50, &[0]).see(Seen::PulseEnded { target: 0 })
}

fn take(story: &mut Story) -> &mut Story {
    story.role(1, Role::Starting(Token(2))).answers(1, 2, ENDLESS)
}

#[test]
fn a_fenced_group_starts_with_proof() {
    let mut story = asked(boot(0), &[1, 16]);
    take(pulse(&mut story, true)).end(&[]);
    let mut story = asked(boot(0), &[1, 16]);
    take(pulse(&mut story, false)).end(&[Rule::Proof, Rule::OneHolder]);
    let mut story = asked(boot(0), &[1, 16]);
    let vouched = Seen::Vouched { to: 1, target: 0, boot: Some(boot(0)) };
    take(story.see(Seen::Silent { host: 0, group: 0 }).see(vouched)).end(&[]);
    // Of a start that nobody has met, only a pulse in this one's own time tells anything.
    let mut story = Story::fenced();
    story.see(Seen::Started { host: 1, boot: 7 }).pass_but(300, &[0]);
    story.promise(1, 1, 2, 125).promise(16, 1, 2, 125);
    take(&mut story).end(&[Rule::Proof]);
}

#[test]
fn an_operator_who_is_wrong_is_an_excuse() {
    let mut story = asked(boot(0), &[1, 16]);
    story.see(Seen::Vouched { to: 1, target: 0, boot: Some(boot(0)) });
    let beyond = take(&mut story).end(&[Rule::OneHolder]);
    assert_eq!(beyond, Some(Assumption::TrueWord { target: 0 }));
}

#[test]
fn resets_are_asked_for_with_a_quorum() {
    let mut story = asked(boot(0), &[1]);
    story.end(&[Rule::ResetAsked]);
    let mut story = Story::fenced();
    pulse(&mut story, false).end(&[Rule::ResetAsked]);
}

#[test]
fn resets_are_apart_and_hit_the_start_that_is_meant() {
    let again = |after: Micros| {
        let mut story = asked(boot(0), &[1, 16]);
        pulse(&mut story, false).pass_but(after, &[0]);
        story.promise(1, 1, 2, 125).promise(16, 1, 2, 125);
        let (asker, target, boot) = (1, 0, Some(boot(0)));
        story.see(Seen::ResetAsked { asker, request: 2, group: 0, token: 2, target, boot });
        pulse(&mut story, true);
        story
    };
    again(500).end(&[]);
    again(400).end(&[Rule::PulsesApart]);
    // A start that the dongle has just heard of is not the one that is meant.
    let mut story = asked(7, &[1, 16]);
    story.see(Seen::Arrived { from: 0, to: 16, boot: boot(0), sequence: 201 });
    story.at += 10 * MS;
    pulse(&mut story, false).end(&[Rule::RightStart]);
}

#[test]
fn nobody_is_reset_who_is_alive() {
    let living = |silent: Micros| {
        let mut story = Story::fenced();
        story.hold(0, 1).answers(0, 1, ENDLESS).pass(400).pass_but(silent, &[0]);
        story.promise(1, 1, 2, 125).role(0, Role::Idle).promise(16, 1, 2, 125);
        let (asker, target, named) = (1, 0, Some(boot(0)));
        story.see(Seen::ResetAsked { asker, request: 1, group: 0, token: 2, target, boot: named });
        story
    };
    let lost = Condition::Lost(BootId::new(boot(0)));
    let mut story = living(120);
    story.see(Seen::Peer { host: 1, peer: 0, condition: lost });
    pulse(&mut story, true).end(&[]);
    // The asker has never said that it has lost it.
    pulse(&mut living(120), true).end(&[Rule::LivingTarget]);
    pulse(&mut living(0), true).end(&[Rule::LivingTarget; 2]);
}

#[test]
fn a_relay_sends_each_frame_once() {
    let mut story = Story::fenced();
    let line = |line, number| Seen::OnLine { writer: 16, line, frame: Some((0, 100, number)) };
    story.see(line(1, 7)).see(line(3, 7)).see(line(1, 9)).see(line(1, 8)).see(line(1, 600));
    story.see(line(1, 601)).end(&[]);
    story.see(line(1, 600)).see(line(1, 8)).end(&[Rule::RelayOnce; 2]);
    let mut story = Story::fenced();
    story.see(line(1, 7)).see(Seen::Started { host: 16, boot: 9 }).see(line(1, 7)).end(&[]);
    story.see(Seen::OnLine { writer: 16, line: 1, frame: None });
    story.see(Seen::Garbage { writer: 16, line: 1 }).end(&[Rule::RelayOnce; 2]);
}
