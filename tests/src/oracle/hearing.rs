//! Who has heard whom, by frames that prove to be recent.
//!
//! A frame is *fresh* if it was sent after one of the receiver's own last eight frames had reached
//! its sender. That is told here from when frames were sent and when they arrived, and not from
//! what they say.

use lifesign_core::engine::Condition;

use super::terms::Terms;
use crate::world::Micros;

/// How many of a host's last frames prove that an answer to them is recent.
const FRESH: u64 = 8;
/// How many of a host's last frames are remembered.
const KEPT: usize = 64;

/// A frame that was sent.
#[derive(Clone, Debug)]
struct Frame {
    sequence: u64,
    at: Micros,
    /// For each member, its start and the number of its newest frame that had proved itself here.
    echoes: Vec<(u64, u64)>,
}

/// What a host has sent in its present start.
#[derive(Clone, Debug, Default)]
struct Sender {
    boot: u64,
    newest: u64,
    frames: Vec<Frame>,
}

/// What one host has heard of another in the present starts of both.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    boot: u64,
    /// The newest number that arrived at all, and when it was sent.
    newest: u64,
    sent: Micros,
    /// When anything arrived last, 0 before the first.
    came: Micros,
    /// The newest number whose echo the other is told.
    echoed: u64,
    /// The newest fresh number, and when it came; 0 before the first.
    fresh: u64,
    fresh_at: Micros,
    /// Since when fresh frames have come without a gap of `dead`.
    since: Micros,
    /// Which start of the other the host takes for alive.
    alive: Option<u64>,
    /// The other has left in good order, and is not heard any more in this start.
    left: bool,
}

/// Who has heard whom.
#[derive(Clone, Debug)]
pub(super) struct Hearing {
    members: usize,
    dead: Micros,
    senders: Vec<Sender>,
    /// For each host, one after the other, what it has heard of each.
    heard: Vec<Heard>,
}

impl Hearing {
    pub(super) fn new(terms: &Terms) -> Self {
        let members = terms.members();
        Self {
            members,
            dead: terms.dead,
            senders: vec![Sender::default(); members],
            heard: vec![Heard::default(); members * members],
        }
    }

    /// A host starts: it has heard nobody. What its earlier start has answered to stays answered.
    pub(super) fn started(&mut self, host: usize, boot: u64) {
        if let Some(sender) = self.senders.get_mut(host) {
            *sender = Sender { boot, ..Sender::default() };
            for heard in &mut self.heard[host * self.members..][..self.members] {
                let Heard { boot, newest, sent, .. } = *heard;
                *heard = Heard { boot, newest, sent, ..Heard::default() };
            }
        }
    }

    pub(super) fn sent(&mut self, from: usize, boot: u64, sequence: u64, at: Micros) {
        let Some(sender) = self.senders.get_mut(from).filter(|it| it.boot == boot) else { return };
        sender.newest = sender.newest.max(sequence);
        let heard = &self.heard[from * self.members..][..self.members];
        let echoes = heard.iter().map(|it| (it.boot, it.echoed));
        let slot = usize::try_from(sequence).unwrap_or(0) % KEPT;
        if let Some(frame) = sender.frames.get_mut(slot) {
            (frame.sequence, frame.at) = (sequence, at);
            frame.echoes.clear();
            frame.echoes.extend(echoes);
        } else {
            let none = Frame { sequence: 0, at: 0, echoes: Vec::new() };
            sender.frames.resize(slot, none);
            sender.frames.push(Frame { sequence, at, echoes: echoes.collect() });
        }
    }

    pub(super) fn arrived(&mut self, from: usize, to: usize, boot: u64, number: u64, at: Micros) {
        if from >= self.members || to >= self.members || from == to {
            return;
        }
        let heard = &mut self.heard[to * self.members + from];
        if heard.alive.is_none() && heard.boot != boot {
            // Whoever was heard last is echoed until somebody has proved himself.
            heard.echoed = 0;
        }
        let (sender, receiver) = (&self.senders[from], &self.senders[to]);
        let slot = usize::try_from(number).unwrap_or(0) % KEPT;
        let frame = sender.frames.get(slot).filter(|it| it.sequence == number);
        // Of an earlier start, or so old that it proves nothing.
        let Some(frame) = frame.filter(|_| sender.boot == boot) else { return };
        let (echoed_boot, echo) = frame.echoes[to];
        let is_fresh = echo > 0
            && echoed_boot == receiver.boot
            && receiver.newest < echo.saturating_add(FRESH);
        let heard = &mut self.heard[to * self.members + from];
        if heard.boot != boot {
            *heard = Heard { boot, alive: heard.alive, ..Heard::default() };
        }
        heard.came = at;
        // A copy, or what was overtaken, tells nothing new.
        let is_new = number > heard.newest;
        if is_new {
            (heard.newest, heard.sent) = (number, frame.at);
        }
        let other = heard.alive.is_some_and(|alive| alive != boot);
        if is_fresh && is_new && !heard.left && !other {
            if heard.fresh == 0 || at - heard.fresh_at >= self.dead {
                heard.since = at;
            }
            (heard.fresh, heard.fresh_at) = (number, at);
            heard.echoed = number;
        } else if is_new && heard.alive.is_none() && !heard.left {
            heard.echoed = number;
        }
    }

    /// A host sees another otherwise than before.
    pub(super) fn sees(&mut self, host: usize, peer: usize, condition: Condition, at: Micros) {
        if let Some(heard) = self.heard.get_mut(host * self.members + peer) {
            heard.alive = match condition {
                Condition::Alive(boot) => Some(boot.bits()),
                _ => None,
            };
            heard.left = matches!(condition, Condition::Left(boot) if boot.bits() == heard.boot);
            // It begins anew, and echoes nothing of what came before; which frame has opened a
            // session cannot be told for certain, if it was not in order.
            let opened = heard.alive == Some(heard.boot) && heard.fresh_at == at;
            heard.echoed = if opened { heard.fresh } else { 0 };
        }
    }

    /// Returns when `host` last took in a fresh frame of `peer` in its start `boot`.
    pub(super) fn fresh_at(&self, host: usize, peer: usize, boot: u64) -> Option<Micros> {
        let heard = self.heard.get(host * self.members + peer)?;
        (heard.boot == boot && heard.fresh > 0).then_some(heard.fresh_at)
    }

    /// Returns since when `host` has heard `peer` without a gap, if it still does at `at`.
    pub(super) fn since(&self, host: usize, peer: usize, boot: u64, at: Micros) -> Option<Micros> {
        let last = self.fresh_at(host, peer, boot)?;
        let heard = self.heard.get(host * self.members + peer)?;
        (at.saturating_sub(last) < self.dead / 2).then_some(heard.since)
    }

    /// Returns which start of `peer` was heard last by `host`, and when.
    pub(super) fn last(&self, host: usize, peer: usize) -> Option<(u64, Micros)> {
        let heard = self.heard.get(host * self.members + peer)?;
        (heard.came > 0).then_some((heard.boot, heard.came))
    }

    /// Returns when the newest frame of `from` that has reached `to` was sent.
    pub(super) fn newest_sent(&self, from: usize, to: usize) -> Option<Micros> {
        let heard = self.heard.get(to * self.members + from)?;
        (heard.newest > 0 && heard.boot == self.senders.get(from)?.boot).then_some(heard.sent)
    }
}
