//! Resets: who asked for them, whom they hit, and what they prove.

use std::collections::BTreeMap;

use lifesign_core::engine::Condition;

use super::terms::Terms;
use crate::world::Micros;

/// What a server asks of the dongle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) asker: u8,
    pub(super) number: u64,
    pub(super) target: u8,
    /// The start that is meant, if one is known.
    pub(super) boot: Option<u64>,
}

/// A pulse that its machine has felt.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    target: u8,
    at: Micros,
    whole: bool,
}

/// What is known of resets and of what servers take for proof.
#[derive(Clone, Debug, Default)]
pub(super) struct Resets {
    /// What was asked for and has not led to a pulse.
    open: Vec<Request>,
    known: Vec<(u8, u64)>,
    active: Option<(u8, Micros, bool)>,
    ended: Option<Micros>,
    felt: Vec<Pulse>,
    /// What operators have vouched for: to whom, about whom, in which start.
    vouched: Vec<(u8, u8, Option<u64>)>,
    /// When each start of a server began.
    starts: BTreeMap<u64, Micros>,
    /// How each server sees each other one.
    conditions: BTreeMap<(u8, u8), (Condition, Micros)>,
}

impl Resets {
    /// A process starts: it has met nobody, and nobody has vouched for anybody to it.
    pub(super) fn started(&mut self, host: u8, boot: u64, at: Micros) {
        self.starts.insert(boot, at);
        self.conditions.retain(|(by, _), _| *by != host);
        self.vouched.retain(|(to, ..)| *to != host);
        // Its requests are numbered anew.
        self.known.retain(|(asker, _)| *asker != host);
    }

    pub(super) fn sees(&mut self, host: u8, peer: u8, condition: Condition, at: Micros) {
        self.conditions.insert((host, peer), (condition, at));
    }

    pub(super) fn vouched(&mut self, to: u8, target: u8, boot: Option<u64>) {
        self.vouched.push((to, target, boot));
    }

    /// Takes note of a request, and returns whether it is a new one.
    pub(super) fn asked(&mut self, request: Request) -> bool {
        let name = (request.asker, request.number);
        let is_new = !self.known.contains(&name);
        if is_new {
            self.known.push(name);
            self.open.push(request);
        }
        is_new
    }

    /// A pulse begins. Returns the request behind it, which is used up by that, and when the last
    /// one ended.
    pub(super) fn begins(
        &mut self,
        target: u8,
        felt: bool,
        at: Micros,
    ) -> (Option<Request>, Option<Micros>) {
        self.active = Some((target, at, felt));
        let behind = self.open.iter().position(|request| request.target == target);
        (behind.map(|behind| self.open.remove(behind)), self.ended)
    }

    /// A pulse ends.
    pub(super) fn ends(&mut self, terms: &Terms, at: Micros) {
        self.ended = Some(at);
        if let Some((target, since, true)) = self.active.take() {
            // The dongle's clock may be fast.
            let whole = terms.most_shown(16, at - since) * 10 >= terms.pulses.1 * 9;
            self.felt.push(Pulse { target, at: since, whole });
        }
    }

    /// Returns since when `host` has taken `peer` for alive in this start, if it does.
    pub(super) fn alive_since(&self, host: u8, peer: u8, boot: u64) -> Option<Micros> {
        let (condition, since) = self.conditions.get(&(host, peer))?;
        matches!(condition, Condition::Alive(it) if it.bits() == boot).then_some(*since)
    }

    /// Returns of whom `host` in its start `own` has no proof that it is silent or well.
    pub(super) fn unproven(&self, terms: &Terms, host: u8, own: u64) -> Option<u8> {
        (0..terms.nodes).filter(|other| *other != host).find(|other| {
            let condition = self.conditions.get(&(host, *other));
            match condition.map_or(Condition::Unmet, |(condition, _)| *condition) {
                Condition::Alive(_) | Condition::Left(_) => false,
                Condition::Lost(boot) => {
                    !self.is_silent(host, *other, boot.bits(), Some(boot.bits()))
                }
                Condition::Unmet => !self.is_silent(host, *other, own, None),
            }
        })
    }

    /// Returns whether `target` was reset since `start` began, or somebody has vouched for it.
    fn is_silent(&self, host: u8, target: u8, start: u64, boot: Option<u64>) -> bool {
        let begun = self.starts.get(&start).copied().unwrap_or(Micros::MAX);
        let hit = |pulse: &Pulse| pulse.target == target && pulse.whole && pulse.at >= begun;
        self.felt.iter().any(hit) || self.vouched.contains(&(host, target, boot))
    }
}
