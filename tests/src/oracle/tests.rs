//! Each promise once kept and once broken, in streams that are written by hand.

mod resets;

use lifesign_core::engine::Condition;
use lifesign_core::group::{Guard, Reason, Role, Token};
use lifesign_core::node::BootId;

use super::{Assumption, Oracle, Rule};
use crate::fault::{Fault, Manner, Order};
use crate::seen::{ENDLESS, End, Promise, Seen};
use crate::world::{Micros, Setup, Wiring};

const MS: Micros = 1000;

/// Two servers and a witness that run and hear one another.
struct Story {
    oracle: Oracle,
    at: Micros,
    number: u64,
    hosts: Vec<u8>,
}

fn boot(host: u8) -> u64 {
    100 + u64::from(host)
}

impl Story {
    fn new(setup: &Setup) -> Self {
        let hosts = (0..setup.nodes).chain((0..setup.witnesses).map(|it| 16 + it)).collect();
        let mut story = Self { oracle: Oracle::new(setup), at: 1000 * MS, number: 0, hosts };
        for host in story.hosts.clone() {
            story.see(Seen::Started { host, boot: boot(host) });
        }
        story.pass(1000);
        for (host, peer) in story.pairs() {
            let condition = Condition::Alive(BootId::new(boot(peer)));
            story.see(Seen::Peer { host, peer, condition });
        }
        story
    }

    fn fast() -> Self {
        Self::new(&Setup::fast(2, 1))
    }

    fn fenced() -> Self {
        Self::new(&Setup { guard: Guard::Fence, ..Setup::wired(2, 1, Wiring::Dongle) })
    }

    fn pairs(&self) -> Vec<(u8, u8)> {
        let of = |one: u8| self.hosts.iter().map(move |other| (one, *other));
        self.hosts.iter().flat_map(|one| of(*one)).filter(|(one, other)| one != other).collect()
    }

    fn see(&mut self, seen: Seen) -> &mut Self {
        self.oracle.see(self.at, &seen);
        self
    }

    /// Lets `millis` pass in which everybody hears everybody.
    fn pass(&mut self, millis: Micros) -> &mut Self {
        self.pass_but(millis, &[])
    }

    /// Lets `millis` pass in which nothing of `silent` arrives.
    fn pass_but(&mut self, millis: Micros, silent: &[u8]) -> &mut Self {
        let end = self.at + millis * MS;
        while self.at + 5 * MS <= end {
            self.at += 5 * MS;
            self.number += 1;
            let sequence = self.number;
            for from in self.hosts.clone() {
                self.see(Seen::Sent { from, boot: boot(from), sequence });
            }
            for (from, to) in self.pairs() {
                if !silent.contains(&from) {
                    self.see(Seen::Arrived { from, to, boot: boot(from), sequence });
                }
            }
        }
        self.at = end;
        self
    }

    fn promise(&mut self, voter: u8, to: u8, token: u32, millis: Micros) -> &mut Self {
        let until = self.at + millis * MS;
        let promise = Some(Promise { to, boot: boot(to), token, until });
        self.see(Seen::Promised { voter, group: 0, promise })
    }

    fn role(&mut self, host: u8, role: Role) -> &mut Self {
        self.see(Seen::Role { host, group: 0, role, reason: Reason::Granted })
    }

    fn answers(&mut self, host: u8, token: u32, millis: Micros) -> &mut Self {
        let until = if millis == ENDLESS { ENDLESS } else { self.at + millis * MS };
        self.see(Seen::Answers { host, group: 0, token, until })
    }

    /// `host` starts the group and has it up for 19 ms, promised by itself and the witness.
    fn hold(&mut self, host: u8, token: u32) -> &mut Self {
        self.promise(host, host, token, 25).promise(16, host, token, 25);
        self.role(host, Role::Starting(Token(token))).answers(host, token, 19)
    }

    /// Whoever holds goes on for `millis`.
    fn keep(&mut self, host: u8, token: u32, millis: Micros) -> &mut Self {
        for _ in 0..millis / 5 {
            self.pass(5).promise(host, host, token, 25).promise(16, host, token, 25);
            self.answers(host, token, 19);
        }
        self
    }

    /// `host` stops and says so.
    fn stop(&mut self, host: u8) -> &mut Self {
        self.role(host, Role::Idle).see(Seen::Silent { host, group: 0 })
    }

    fn free(&mut self, voter: u8) -> &mut Self {
        self.see(Seen::Promised { voter, group: 0, promise: None })
    }

    /// Everything is repaired, and `host` holds for so long that the cluster is calm.
    fn calm(&mut self, host: u8, token: u32) -> &mut Self {
        self.hold(host, token).keep(host, token, 3000)
    }

    /// Ends the story; demands that exactly these rules were broken, each once, and returns what
    /// excuses the first.
    fn end(&mut self, expected: &[Rule]) -> Option<Assumption> {
        self.oracle.finish(self.at);
        let verdicts = self.oracle.verdicts();
        let rules: Vec<Rule> = verdicts.iter().map(|wrong| wrong.rule).collect();
        let texts: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
        assert_eq!(rules, expected, "{texts:#?}");
        verdicts.first().and_then(|wrong| wrong.beyond)
    }
}

#[test]
fn one_after_the_other_is_one_holder() {
    let mut story = Story::fast();
    story.hold(0, 1).keep(0, 1, 100).pass(30).hold(1, 2).keep(1, 2, 20);
    story.stop(1).free(1).free(16).pass(1).hold(0, 3).end(&[]);
}

#[test]
fn two_at_once_are_told_once_and_end_it_unless_a_clock_was_wrong() {
    let doubled = |before: Option<Seen>, setup: &Setup| {
        let mut story = Story::new(setup);
        if let Some(seen) = before {
            story.see(seen);
        }
        let endless = setup.guard == Guard::Fence;
        let span = if endless { ENDLESS } else { 24 };
        story.hold(0, 1).answers(0, 1, span).pass(10);
        story.promise(1, 1, 2, 25).promise(0, 1, 2, 25).promise(16, 1, 2, 25);
        story.role(0, Role::Idle).role(1, Role::Starting(Token(2))).answers(1, 2, span);
        story.answers(1, 2, span);
        let verdicts = story.oracle.verdicts();
        let doubled: Vec<_> =
            verdicts.iter().filter(|wrong| wrong.rule == Rule::OneHolder).collect();
        assert_eq!(doubled.len(), 1, "{verdicts:?}");
        doubled[0].beyond
    };
    let fast = Setup::fast(2, 1);
    let fenced = Setup { guard: Guard::Fence, ..fast.clone() };
    let stops = Setup { guard: Guard::Stop, ..fast.clone() };
    let clock = |error_ppm| Some(Seen::Clock { host: 1, error_ppm });
    let lies = Fault::Agent { host: 0, group: 0, manner: Manner::LieStopped };
    let sleeps = Fault::Suspend { host: 0, span: 7 };
    assert_eq!(doubled(None, &fast), None);
    assert_eq!(doubled(clock(-10_000), &fast), None);
    let wrong_clock = Assumption::ClockRate { host: 1 };
    assert_eq!(doubled(clock(-10_001), &fast), Some(wrong_clock));
    assert_eq!(doubled(clock(-10_001), &fenced), None, "a fence needs no clock");
    let slept = Assumption::ClocksGoOn { host: 0 };
    assert_eq!(doubled(Some(Seen::Fault(sleeps)), &fast), Some(slept));
    assert_eq!(doubled(Some(Seen::Fault(sleeps)), &fenced), None);
    assert_eq!(doubled(Some(Seen::Fault(lies)), &fast), None, "the kernel does not lie");
    let lied = Assumption::HonestAgent { host: 0 };
    assert_eq!(doubled(Some(Seen::Fault(lies)), &stops), Some(lied));
}

#[test]
fn nobody_starts_without_a_quorum_of_promises() {
    let start = |voters: &[u8]| {
        let mut story = Story::fast();
        for voter in voters {
            story.promise(*voter, 0, 1, 25);
        }
        story.role(0, Role::Starting(Token(1))).answers(0, 1, 20).pass(30);
        story
    };
    for voters in [&[0, 1][..], &[0, 16], &[0, 1, 16]] {
        start(voters).end(&[]);
    }
    for voters in [&[][..], &[0], &[16], &[1]] {
        // At the start and as long as it goes on.
        start(voters).end(&[Rule::Backed; 2]);
    }
    // A promise under another token is none.
    let mut story = Story::fast();
    story.promise(0, 0, 1, 25).promise(16, 0, 2, 25);
    story.role(0, Role::Starting(Token(1))).answers(0, 1, 0).pass(1);
    story.answers(0, 1, 20).end(&[Rule::Backed]);
}

#[test]
fn what_is_up_stays_backed() {
    let mut story = Story::fast();
    story.hold(0, 1).pass(10).promise(1, 0, 1, 25).promise(0, 0, 1, 25).pass(10);
    story.answers(0, 1, 15).pass(30);
    story.end(&[]);
    // The witness's promise runs out, and is renewed too late.
    let mut story = Story::fast();
    story.hold(0, 1).pass(20).promise(0, 0, 1, 25).answers(0, 1, 20).pass(10);
    story.promise(16, 0, 1, 25).pass(30).end(&[Rule::Backed]);
    // It is taken back.
    let mut story = Story::fast();
    story.hold(0, 1).pass(10).free(16).pass(10).end(&[Rule::PromiseKept, Rule::Backed]);
}

#[test]
fn a_promise_is_kept_also_by_a_voter_that_has_forgotten_it() {
    let witness = Seen::Started { host: 16, boot: 7 };
    let crash = Seen::Ended { host: 16, how: End::Crashed };
    let mut story = Story::fast();
    story.hold(0, 1).pass(1).see(crash).see(witness).pass(24).stop(0).pass(2);
    story.promise(16, 1, 2, 25).end(&[]);
    // Too early, for both reasons.
    let mut story = Story::fast();
    story.hold(0, 1).pass(1).see(crash).see(witness).pass(10);
    story.promise(16, 1, 2, 25).end(&[Rule::BootWait, Rule::PromiseKept]);
    // A dead holder frees nothing, its next start everything.
    let dies = Seen::Ended { host: 0, how: End::Crashed };
    let mut story = Story::fast();
    story.hold(0, 1).pass(1).see(dies).pass(1).free(16).end(&[Rule::PromiseKept]);
    let mut story = Story::fast();
    story.hold(0, 1).pass(1).see(dies).see(Seen::Started { host: 0, boot: 8 });
    story.free(16).promise(16, 1, 2, 25).end(&[]);
    // Who no longer wants it frees it.
    let mut story = Story::fast();
    story.hold(0, 1).pass(10).stop(0).free(0).promise(16, 1, 2, 25).end(&[]);
}

#[test]
fn tokens_grow() {
    let mut story = Story::fast();
    story.hold(0, 5).stop(0).free(0).free(16).pass(1).hold(1, 6).end(&[]);
    for token in [5, 4] {
        let mut story = Story::fast();
        story.hold(0, 5).stop(0).free(0).free(16).pass(1).hold(1, token);
        assert_eq!(story.end(&[Rule::TokensGrow]), None);
    }
    // The witness has promised both; only what it has lost can excuse it.
    for (host, excused) in [(16, true), (0, false), (1, false)] {
        let mut story = Story::fast();
        story.hold(0, 5).stop(0).free(0).free(16).pass(1);
        story.see(Seen::Fault(Fault::LoseState { host })).hold(1, 5);
        let beyond = story.end(&[Rule::TokensGrow]);
        assert_eq!(beyond, excused.then_some(Assumption::StateKept { host }));
    }
}

#[test]
fn whom_nobody_hears_is_silent_in_time() {
    // Promised by the witness, which is another's word; it is not heard, which is not.
    let isolated = |answers: Micros| {
        let mut story = Story::fast();
        story.hold(0, 1).pass_but(15, &[0]).promise(16, 0, 1, 25).promise(0, 0, 1, 25);
        story.answers(0, 1, answers).pass(20);
        story
    };
    isolated(9).end(&[]);
    isolated(10).end(&[Rule::SilentInTime]);
    // It is no excuse that the voter has started anew since.
    let mut story = Story::fast();
    story.hold(0, 1).pass_but(5, &[0]).see(Seen::Started { host: 16, boot: 7 });
    story.answers(0, 1, 19).end(&[]);
}

#[test]
fn who_is_heard_is_not_lost() {
    let lost = |silent: Micros| {
        let mut story = Story::fast();
        let condition = Condition::Lost(BootId::new(boot(1)));
        story.pass_but(silent, &[1]).see(Seen::Peer { host: 0, peer: 1, condition });
        story
    };
    lost(22).end(&[]);
    lost(21).end(&[Rule::NotLost]);
    lost(0).end(&[Rule::NotLost]);
    // Frames that answer nothing recent are no sign of life: nothing of 0 has reached 1 for long.
    let mut story = Story::fast();
    let condition = Condition::Lost(BootId::new(boot(1)));
    story.pass_but(100, &[0]).see(Seen::Peer { host: 0, peer: 1, condition }).end(&[]);
}

#[test]
fn everything_is_held_in_time_after_it_was_repaired() {
    let healed = |serves: bool| {
        let mut story = Story::fast();
        story.see(Seen::Healed).pass(500);
        if serves {
            story.hold(0, 1);
        }
        let bound = story.oracle.convergence() / MS;
        for _ in 0..bound / 5 {
            if serves {
                story.keep(0, 1, 5)
            } else {
                story.pass(5)
            };
        }
        story
    };
    healed(true).end(&[]);
    healed(false).end(&[Rule::Converges]);
    let mut story = Story::fast();
    story.see(Seen::Healed).pass(1000).see(Seen::Network { whole: false }).pass(3000).end(&[]);
}

#[test]
fn a_crash_costs_no_more_than_promised() {
    // 25 ms / 0.99 + 10 ms + 1 ms + 0.1 ms
    for (silence, expected) in [(36, &[][..]), (37, &[Rule::Outage])] {
        let mut story = Story::fast();
        story.calm(0, 1).see(Seen::Ended { host: 0, how: End::Crashed });
        story.pass_but(silence, &[0]).promise(1, 1, 2, 25).promise(16, 1, 2, 25);
        story.role(1, Role::Starting(Token(2))).answers(1, 2, 19).end(expected);
    }
    // It is not promised when something else breaks.
    let mut story = Story::fast();
    story.calm(0, 1).see(Seen::Ended { host: 0, how: End::Crashed }).pass(1);
    story.see(Seen::Network { whole: false }).pass(99).hold(1, 2).end(&[]);
}

#[test]
fn where_nothing_happens_nothing_moves() {
    let mut story = Story::fast();
    story.calm(0, 1).stop(0).free(0).free(16).pass(1).hold(1, 2).end(&[Rule::Outage]);
    for (silence, expected) in [(15, &[][..]), (17, &[Rule::Outage])] {
        let mut story = Story::fast();
        let order = Fault::Order { host: 1, group: None, order: Order::Takeover };
        story.calm(0, 1).see(Seen::Fault(order)).pass(3);
        story.stop(0).free(0).free(16).pass(silence).hold(1, 2).end(expected);
    }
}
