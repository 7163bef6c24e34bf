//! What has been done to the members, and what they therefore know of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::scenery::Shape;
use crate::trial::WITNESS;

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its daemon runs.
    Up,
    /// Its daemon has ended in good order.
    Stopped,
    /// It has no power.
    Dead,
    /// Its daemon stands still.
    Frozen,
}

/// How all members are at one time, and which of them hear each other.
#[derive(Clone, Debug)]
pub(super) struct View {
    shape: Shape,
    states: BTreeMap<&'static str, State>,
    /// When the daemons that run were started, by the boot clock.
    started_us: BTreeMap<&'static str, u64>,
    pub(super) cuts: BTreeSet<(&'static str, &'static str)>,
    /// Who is on standby.
    pub(super) resting: BTreeSet<&'static str>,
    /// Who has seen a stopped node leave, and runs since.
    told: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// By whom a node was fenced that has not started since, nor they.
    fenced: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Who held the group that is fenced for when it was looked at last.
    pub(super) holder: Option<&'static str>,
    pub(super) is_degraded: bool,
}

impl View {
    /// Returns the view of members of which none runs yet.
    pub(super) const fn new(shape: Shape) -> Self {
        Self {
            shape,
            states: BTreeMap::new(),
            started_us: BTreeMap::new(),
            cuts: BTreeSet::new(),
            resting: BTreeSet::new(),
            told: BTreeMap::new(),
            fenced: BTreeMap::new(),
            holder: None,
            is_degraded: false,
        }
    }

    /// Returns the servers and the quorum server.
    pub(super) fn members(&self) -> Vec<&'static str> {
        let witness = (self.shape == Shape::Pair).then_some(WITNESS);
        self.shape.nodes().iter().copied().chain(witness).collect()
    }

    /// Returns how `name` is.
    pub(super) fn state(&self, name: &str) -> State {
        self.states.get(name).copied().unwrap_or(State::Stopped)
    }

    /// Notes how `name` is; whoever runs no more, or anew, is not on standby and knows nothing.
    pub(super) fn set_state(&mut self, name: &'static str, state: State) {
        if state != State::Frozen {
            self.forget(name);
            self.resting.remove(name);
        }
        if state == State::Up {
            self.fenced.remove(name);
        }
        self.states.insert(name, state);
    }

    /// Notes that the daemon of `name` was started at a time.
    pub(super) fn note_started(&mut self, name: &'static str, at_us: u64) {
        self.set_state(name, State::Up);
        self.started_us.insert(name, at_us);
    }

    /// Notes that a daemon that stood still goes on.
    pub(super) fn go_on(&mut self, name: &'static str) {
        self.states.insert(name, State::Up);
    }

    /// Notes who sees these leave.
    pub(super) fn note_leaving(&mut self, names: &[&'static str]) {
        for name in names {
            let stays = |other: &&'static str| {
                !names.contains(other) && self.state(other) == State::Up && self.hear(name, other)
            };
            let told = self.shape.nodes().iter().copied().filter(stays).collect();
            self.told.insert(name, told);
        }
    }

    /// Notes that `asker` had `target` fenced.
    pub(super) fn note_fenced(&mut self, asker: &'static str, target: &'static str) {
        self.fenced.entry(target).or_default().insert(asker);
    }

    /// Notes that `name` starts anew, or ends, and knows nothing of who has left or is silent.
    fn forget(&mut self, name: &str) {
        let known = self.told.values_mut().chain(self.fenced.values_mut());
        known.for_each(|knowing| knowing.retain(|other| *other != name));
    }

    /// Returns whether two members hear each other if both are up.
    pub(super) fn hear(&self, one: &'static str, other: &'static str) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    /// Returns whether `name` is up and hears enough others to hold something.
    pub(super) fn has_quorum(&self, name: &'static str) -> bool {
        let is_heard = |other: &&'static str| {
            self.state(other) == State::Up && (*other == name || self.hear(name, other))
        };
        let heard = self.members().iter().filter(|other| is_heard(other)).count();
        // Of three votes two are needed; where one is the witness's it breaks a tie.
        self.state(name) == State::Up && heard >= 2
    }

    /// Returns whether everything is up and everybody hears everybody.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_degraded
            && self.cuts.is_empty()
            && self.members().iter().all(|name| self.state(name) == State::Up)
    }

    /// Returns whether `other` could hold something for all that `name` knows without a fence.
    pub(super) fn could_hold(&self, name: &'static str, other: &'static str) -> bool {
        match self.state(other) {
            State::Stopped => !self.told.get(other).is_some_and(|told| told.contains(name)),
            State::Up => !self.hear(name, other),
            State::Dead | State::Frozen => true,
        }
    }

    /// Returns whether `asker` had `target` fenced, and neither has started since.
    pub(super) fn is_fenced(&self, asker: &str, target: &str) -> bool {
        self.fenced.get(target).is_some_and(|askers| askers.contains(asker))
    }

    /// Returns why `asker` may not have `target` fenced at a time, if that is so.
    pub(super) fn objection(
        &self,
        asker: &'static str,
        target: &'static str,
        at_us: u64,
    ) -> Option<String> {
        // Whoever has just started promises nothing, and a holder may lose its authority by that.
        let is_steady = |name: &&'static str| {
            let started_us = self.started_us.get(*name).copied().unwrap_or(u64::MAX);
            self.state(name) == State::Up && started_us.saturating_add(STEADY_US) <= at_us
        };
        let keeps = |holder: &&'static str| {
            let members = self.members();
            let supports = |name: &&&'static str| *name == holder || self.hear(name, holder);
            *holder != target
                && (*holder == asker || self.hear(asker, holder))
                && members.iter().filter(supports).filter(|name| is_steady(name)).count() >= 2
                && is_steady(holder)
                && !self.resting.contains(holder)
        };
        if !self.has_quorum(asker) {
            Some("it has no quorum".to_owned())
        } else if !self.could_hold(asker, target) {
            Some(format!("{target} is {:?} and known to hold nothing", self.state(target)))
        } else if self.is_fenced(asker, target) {
            Some(format!("it has had {target} fenced already"))
        } else {
            let holder = self.holder.filter(keeps)?;
            Some(format!("{holder} holds the group and keeps it"))
        }
    }
}

/// How long a daemon has to have run before others can count on its promises: longer than the
/// longest promise, with a claim and all that it waits for.
const STEADY_US: u64 = 30_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LATE_US: u64 = 2 * STEADY_US;

    fn objection(view: &View, asker: &'static str, target: &'static str) -> Option<String> {
        view.objection(asker, target, LATE_US)
    }

    /// Returns three servers that are up, of which beta holds the group.
    fn three() -> View {
        let mut view = View::new(Shape::Three);
        view.members().into_iter().for_each(|name| view.note_started(name, 0));
        view.holder = Some("beta");
        view
    }

    #[test]
    fn nobody_who_is_heard_or_has_left_or_is_fenced_is_fenced() {
        let mut view = three();
        assert!(objection(&view, "alpha", "beta").is_some(), "it is heard");
        for state in [State::Dead, State::Frozen] {
            let mut view = view.clone();
            view.set_state("beta", state);
            assert_eq!(objection(&view, "alpha", "beta"), None, "{state:?}");
            view.note_fenced("alpha", "beta");
            assert!(objection(&view, "alpha", "beta").is_some(), "once for one start");
            assert_eq!(objection(&view, "gamma", "beta"), None, "who does not know of it");
            view.set_state("beta", State::Up);
            view.set_state("beta", State::Dead);
            assert_eq!(objection(&view, "alpha", "beta"), None, "another start");
        }
        view.note_leaving(&["beta"]);
        view.set_state("beta", State::Stopped);
        assert!(objection(&view, "alpha", "beta").is_some(), "it was seen to leave");
        view.set_state("alpha", State::Up);
        assert_eq!(objection(&view, "alpha", "beta"), None, "not by this start");
    }

    #[test]
    fn nobody_is_fenced_for_what_is_held_or_without_a_quorum() {
        let mut view = three();
        view.set_state("gamma", State::Dead);
        assert!(objection(&view, "alpha", "gamma").is_some(), "beta holds it");
        assert!(objection(&view, "beta", "gamma").is_some(), "it holds it itself");
        let mut fresh = view.clone();
        fresh.note_started("alpha", LATE_US - 1);
        assert_eq!(objection(&fresh, "beta", "gamma"), None, "alpha may promise nothing yet");
        view.holder = None;
        assert_eq!(objection(&view, "alpha", "gamma"), None);
        view.cuts.insert(("beta", "alpha"));
        assert!(objection(&view, "alpha", "gamma").is_some(), "alpha is alone");
        let mut view = three();
        view.cuts.extend([("alpha", "beta"), ("beta", "gamma")]);
        assert_eq!(objection(&view, "alpha", "beta"), None, "the holder is cut off");
        assert!(objection(&view, "beta", "alpha").is_some(), "and fences nobody");
    }
}
