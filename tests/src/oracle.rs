//! A second opinion: what lifesign promises, judged from outside.
//!
//! The oracle is written from what the README promises and knows nothing of how that is done. It
//! is told what an observer with a true clock sees ([`Seen`]) and what is assumed ([`Setup`]), and
//! says which [`Rule`] was broken, when, by whom, and whether an [`Assumption`] had been broken
//! before: then that is reported, and nobody's fault.
//!
//! | what is judged | by |
//! |---|---|
//! | at most one holder, backed by a quorum of promises that are kept | `book` |
//! | who is heard, nobody is lost who is | `hearing` |
//! | what the operator has said last | `decrees` |
//! | who is where others are, or are not | `places` |
//! | how long nobody answers, and that healing brings everything back | `service` |
//! | resets, and proof where `fence` asks for it | `resets` |
//! | what goes out on serial lines | `lines` |
//!
//! `terms` has the arithmetic and every bound, as formulas of the settings.

mod book;
mod decrees;
mod hearing;
mod judge;
mod lines;
mod places;
mod resets;
mod service;
mod terms;
mod verdict;

#[cfg(test)]
mod tests;

pub use verdict::{Assumption, Rule, Wrong};

use lifesign_core::group::{Guard, Reason, Role};

use crate::fault::{Fault, Manner, Order};
use crate::seen::{End, Seen};
use crate::world::{Micros, Setup};
use book::Book;
use decrees::{Decrees, Known};
use hearing::Hearing;
use lines::Lines;
use places::Places;
use resets::{Request, Resets};
use service::Service;
use terms::{Terms, Voters};
use verdict::Verdicts;

/// One member, as far as it can be seen.
#[derive(Clone, Debug, Default)]
struct Member {
    boot: u64,
    since: Micros,
    running: bool,
    /// How long its promises last, and are assumed to.
    promise: Micros,
    /// Under which token it wants each group.
    wants: Vec<Option<u32>>,
}

/// Judges a run by what is seen of it.
#[derive(Clone, Debug)]
pub struct Oracle {
    terms: Terms,
    members: Vec<Member>,
    book: Book,
    decrees: Decrees,
    hearing: Hearing,
    lines: Lines,
    resets: Resets,
    places: Places,
    service: Service,
    verdicts: Verdicts,
}

impl Oracle {
    /// Begins to judge a run of `setup` in which nobody runs yet.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let terms = Terms::new(setup);
        let member = Member {
            promise: terms.promise,
            wants: vec![None; terms.groups.into()],
            ..Member::default()
        };
        Self {
            members: vec![member; terms.members()],
            book: Book::new(&terms),
            decrees: Decrees::new(&terms),
            hearing: Hearing::new(&terms),
            lines: Lines::default(),
            resets: Resets::default(),
            places: Places::new(&terms),
            service: Service::new(&terms),
            verdicts: Verdicts::default(),
            terms,
        }
    }

    /// Takes note of what was seen at `at`, which is never earlier than what was seen before.
    pub fn see(&mut self, at: Micros, seen: &Seen) {
        self.judge_due(at);
        self.judge_places(at);
        match *seen {
            Seen::Sent { from, boot, sequence } => {
                self.hearing.sent(self.terms.place(from), boot, sequence, at);
                let wrong = self.decrees.sent(self.terms.place(from));
                self.blame_word(from, wrong, at);
            }
            Seen::Arrived { from, to, boot, sequence } => {
                let (from, to) = (self.terms.place(from), self.terms.place(to));
                self.hearing.arrived(from, to, boot, sequence, at);
            }
            Seen::Promised { voter, group, promise } => {
                self.judge_promise(voter, group, promise, at);
            }
            Seen::Answers { host, group, token, until } => {
                self.judge_answers(host, group, token, until, at);
            }
            Seen::Silent { host, group } => self.silent(host, group, at),
            Seen::Role { host, group, role, reason } => self.role(host, group, role, reason, at),
            Seen::Peer { host, peer, condition } => self.judge_peer(host, peer, condition, at),
            Seen::Started { host, boot } => self.started(host, boot, at),
            Seen::Ended { host, how } => self.ended(host, how, at),
            Seen::Clock { host, error_ppm } => {
                if error_ppm.unsigned_abs() > self.terms.error_of(host) {
                    self.verdicts.broke(Assumption::ClockRate { host });
                }
            }
            Seen::Network { whole } => self.service.network(whole, at),
            Seen::Healed => {
                self.service.healed(at);
                self.places.healed();
            }
            Seen::ByHand => self.service.disturbed(at),
            Seen::Fault(fault) => self.fault(&fault, at),
            Seen::Decreed { host, stamp, disabled, maintenance } => {
                self.decreed(host, Known { stamp, disabled, maintenance }, at);
            }
            Seen::Saved { .. } => {}
            Seen::ResetAsked { .. }
            | Seen::Pulse { .. }
            | Seen::PulseEnded { .. }
            | Seen::Vouched { .. } => self.see_reset(at, seen),
            Seen::OnLine { .. } | Seen::Garbage { .. } => self.judge_line(at, seen),
        }
    }

    /// The run ends at `at`: judges what has come due by then.
    pub fn finish(&mut self, at: Micros) {
        self.judge_due(at);
        self.judge_places(at + 1);
        for group in 0..self.terms.groups {
            self.judge_book(group, at);
            self.judge_gap(group, at);
        }
    }

    /// Returns everything that was wrong so far, in the order in which it was seen.
    #[must_use]
    pub fn verdicts(&self) -> &[Wrong] {
        &self.verdicts.all
    }

    /// Returns the first wrong that no broken assumption excuses.
    #[must_use]
    pub fn fatal(&self) -> Option<&Wrong> {
        self.verdicts.all.iter().find(|wrong| wrong.is_fatal())
    }

    /// Returns the assumptions that were broken so far.
    #[must_use]
    pub fn broken(&self) -> &[Assumption] {
        &self.verdicts.broken
    }

    /// Returns how long after [`Seen::Healed`] every group must be held, by what was seen so far.
    #[must_use]
    pub fn convergence(&self) -> Micros {
        self.terms.convergence(self.service.has_failed)
    }

    fn member(&self, host: u8) -> Option<&Member> {
        self.members.get(self.terms.place(host))
    }

    fn started(&mut self, host: u8, boot: u64, at: Micros) {
        self.down(host, at);
        let place = self.terms.place(host);
        let Some(member) = self.members.get_mut(place) else { return };
        (member.boot, member.since, member.running) = (boot, at, true);
        member.wants.fill(None);
        self.hearing.started(place, boot);
        self.decrees.started(place);
        self.service.restrained(self.decrees.restrained());
        self.resets.started(host, boot, at);
        self.lines.started(host);
        self.service.disturbed(at);
    }

    fn ended(&mut self, host: u8, how: End, at: Micros) {
        self.places.ended(host);
        let calm = self.is_calm(at);
        let place = self.terms.place(host);
        let Some(member) = self.members.get_mut(place) else { return };
        member.running = false;
        let running = self.members.iter().enumerate();
        let rest =
            running.fold(0, |all: Voters, (voter, it)| all | Voters::from(it.running) << voter);
        let relays = self.terms.has_dongle && host >= 16 && !self.terms.has_network;
        if calm && self.terms.is_quorum(rest) && !relays {
            let book = &self.book;
            self.service.died(&self.terms, |group| book.until(group, place) > at, at);
        } else {
            self.service.disturbed(at);
        }
        if matches!(how, End::Crashed | End::Reset) {
            self.down(host, at);
        }
    }

    /// Nothing is up on `host` any more.
    fn down(&mut self, host: u8, at: Micros) {
        for group in 0..self.terms.groups {
            if self.book.until(group, self.terms.place(host)) > at {
                self.silent(host, group, at);
            }
        }
    }

    fn silent(&mut self, host: u8, group: u8, at: Micros) {
        self.judge_book(group, at);
        let place = self.terms.place(host);
        let up = self.book.get(group, place);
        self.book.up(group, place, up.token, at.min(up.until), at);
    }

    fn role(&mut self, host: u8, group: u8, role: Role, reason: Reason, at: Micros) {
        let place = self.terms.place(host);
        let mut is_new = true;
        if let Some(wants) =
            self.members.get_mut(place).and_then(|it| it.wants.get_mut(usize::from(group)))
        {
            let wanted = role.token().map(|token| token.0);
            is_new = *wants != wanted;
            *wants = wanted;
        }
        let wrong = self.decrees.role(place, group, (role, reason), is_new, at);
        self.blame_word(host, wrong, at);
        if matches!(reason, Reason::StartFailed | Reason::Failed | Reason::StopFailed) {
            self.service.has_failed = true;
        }
        self.places.role(host, group, role, reason, at);
        if let Role::Starting(token) = role {
            self.judge_start(host, group, token.0, at);
        }
    }

    /// A server knows the operator's word.
    fn decreed(&mut self, host: u8, word: Known, at: Micros) {
        let place = self.terms.place(host);
        let wrong = self.decrees.heard(&self.terms, place, word, at);
        self.service.worded(at);
        self.service.restrained(self.decrees.restrained());
        self.blame_word(host, wrong, at);
    }

    /// Returns whether everybody runs, everything is held, and nothing has been broken for long.
    fn is_calm(&self, at: Micros) -> bool {
        self.service.is_calm(&self.terms, at)
            && self.members.iter().all(|member| member.running)
            && (0..self.terms.groups).all(|group| self.book.served_until(group) > at)
    }

    fn fault(&mut self, fault: &Fault, at: Micros) {
        let broken = match *fault {
            Fault::Suspend { host, .. } => Some(Assumption::ClocksGoOn { host }),
            Fault::LoseState { host } | Fault::TearState { host } => {
                Some(Assumption::StateKept { host })
            }
            Fault::Agent { host, manner: Manner::LieStarted | Manner::LieStopped, .. } => {
                Some(Assumption::HonestAgent { host })
            }
            Fault::Reconfigure { host, promise_ms, .. } => {
                let place = self.terms.place(host);
                if let Some(member) = self.members.get_mut(place) {
                    member.promise = promise_ms * 1000;
                }
                Some(Assumption::SameSettings { host })
            }
            _ => None,
        };
        broken.into_iter().for_each(|assumption| self.verdicts.broke(assumption));
        if let Fault::Pause { span, .. }
        | Fault::Freeze { span, .. }
        | Fault::Suspend { span, .. }
        | Fault::HoldBack { span, .. }
        | Fault::Reflect { span, .. } = *fault
        {
            self.service.broken_until(at + span);
        }
        match *fault {
            Fault::Kill { .. } | Fault::Crash { .. } => {
                // That somebody has ended is said by itself.
            }
            Fault::Order {
                order: Order::Standby | Order::Takeover | Order::Leave | Order::Move(_),
                ..
            } => {
                let calm = self.is_calm(at);
                self.service.ordered(calm, at);
            }
            // A clock that is right within what is assumed disturbs nobody.
            Fault::ClockRate { .. } | Fault::Record { .. } => {}
            _ => self.service.disturbed(at),
        }
    }
}

fn fenced(terms: &Terms) -> bool {
    terms.guard == Guard::Fence
}

fn request(seen: &Seen) -> Option<(Request, u8, u32)> {
    match *seen {
        Seen::ResetAsked { asker, request, group, token, target, boot } => {
            Some((Request { asker, number: request, target, boot }, group, token))
        }
        _ => None,
    }
}
