//! How long nobody answers: after one failure in an otherwise calm cluster, and after everything
//! was repaired.

use lifesign_core::group::Guard;

use super::terms::Terms;
use crate::world::Micros;

/// What has happened to a group since the cluster was calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing that should be felt.
    Nothing,
    /// The machine or the process of its holder has died.
    Death,
    /// Somebody has asked that it be moved.
    Move,
}

/// A group for which nobody answered for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) since: Micros,
    pub(super) span: Micros,
    pub(super) bound: Micros,
    pub(super) cause: Cause,
}

/// The cluster as a whole.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Networks and serial lines do nothing but carry frames.
    whole: bool,
    /// When something was last broken, repaired, or done by hand.
    disturbed: Micros,
    /// Until when something is broken that comes right by itself.
    broken: Micros,
    /// Until when the operator's word forbids what is promised.
    restrained: Micros,
    /// Since when nothing has been broken any more, until that was judged.
    healed: Option<Micros>,
    /// A start or a stop has failed.
    pub(super) has_failed: bool,
    /// Somebody has told a server to be free of groups or to take them: they may move later.
    ordered: bool,
    /// What has happened since the cluster was calm, for each group, if it was.
    causes: Vec<Option<Cause>>,
}

impl Service {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            whole: true,
            disturbed: 0,
            broken: 0,
            restrained: 0,
            healed: None,
            has_failed: false,
            ordered: false,
            causes: vec![None; terms.groups.into()],
        }
    }

    /// Something has happened on which no bound rests.
    pub(super) fn disturbed(&mut self, at: Micros) {
        self.disturbed = at;
        self.causes.fill(None);
        self.healed = None;
    }

    pub(super) fn network(&mut self, whole: bool, at: Micros) {
        self.whole = whole;
        self.disturbed(at);
    }

    pub(super) fn healed(&mut self, at: Micros) {
        self.disturbed(at);
        self.healed = Some(at.max(self.broken));
    }

    /// Something is broken until a moment, however soon everything else is repaired.
    pub(super) fn broken_until(&mut self, until: Micros) {
        self.broken = self.broken.max(until);
    }

    /// The operator's word forbids what is promised until a moment.
    pub(super) fn restrained(&mut self, until: Micros) {
        self.restrained = until;
    }

    /// Somebody has learned what the operator has said: groups may come and go, and what was
    /// repaired stays so.
    pub(super) fn worded(&mut self, at: Micros) {
        let healed = self.healed;
        self.disturbed(at);
        self.healed = healed;
    }

    /// Somebody gives an order to a calm cluster, or to another.
    pub(super) fn ordered(&mut self, calm: bool, at: Micros) {
        self.disturbed(at);
        self.ordered = true;
        self.causes.fill(calm.then_some(Cause::Move));
    }

    /// Somebody has died in a calm cluster that has a quorum without it.
    pub(super) fn died(&mut self, terms: &Terms, held: impl Fn(u8) -> bool, at: Micros) {
        self.disturbed(at);
        for (group, cause) in (0..).zip(&mut self.causes) {
            *cause = match held(group) {
                false => Some(Cause::Nothing),
                // How long a reset takes is not promised.
                true if terms.guard == Guard::Fence => None,
                true => Some(Cause::Death),
            };
        }
    }

    /// Returns whether nothing has been broken for so long that nobody waits for anything.
    pub(super) fn is_calm(&self, terms: &Terms, at: Micros) -> bool {
        self.whole
            && terms.has_room
            && at.saturating_sub(self.disturbed.max(self.broken).max(self.restrained))
                > terms.calm()
    }

    /// Judges a span in which nobody answered for `group`.
    pub(super) fn gap(
        &self,
        terms: &Terms,
        group: u8,
        since: Micros,
        at: Micros,
    ) -> Option<TooLong> {
        let span = at.saturating_sub(since);
        // A group that goes where others let it waits for these, for which no bound is promised.
        if span == 0 || since < self.disturbed || terms.is_placed(group) {
            return None;
        }
        let cause = match self.causes.get(usize::from(group)).copied().flatten() {
            None if !self.is_calm(terms, since) => return None,
            None => Cause::Nothing,
            Some(cause) => cause,
        };
        let may_move = self.ordered || terms.returns;
        let bound = match cause {
            Cause::Death => terms.crash(),
            Cause::Move => terms.switchover(),
            Cause::Nothing if may_move => terms.switchover(),
            Cause::Nothing => 0,
        };
        if cause != Cause::Nothing && terms.waits_for_stops(group) {
            return None;
        }
        (span > bound).then_some(TooLong { since, span, bound, cause })
    }

    /// Returns since when everything was repaired, and by when every group must be held, once that
    /// moment has come: it is judged once.
    pub(super) fn due(&mut self, terms: &Terms, at: Micros) -> Option<(Micros, Micros)> {
        let healed = self.healed?;
        let due = healed + terms.convergence(self.has_failed);
        (at >= due).then(|| {
            self.healed = None;
            (healed, due)
        })
    }
}
