//! What was wrong, and whether an assumption had been broken before.

use std::fmt;

use lifesign_core::group::Guard;

use super::terms::Terms;
use crate::world::Micros;

/// A promise that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// At most one server has a group up.
    OneHolder,
    /// A server has a group up only while a quorum has promised it to that server.
    Backed,
    /// A voter promises a group to another only when its promise has run out, also one that it has
    /// forgotten, or when whoever had it wants it no more.
    PromiseKept,
    /// A voter that has just started promises nothing until its longest promise has passed.
    BootWait,
    /// Each start of a group has a larger token than every one before it.
    TokensGrow,
    /// What is up is silent in time once nobody hears its holder: killed, paused or cut off.
    SilentInTime,
    /// Nobody is lost to a host that has heard it in time.
    NotLost,
    /// Everything is held in time after everything was repaired, and stays so.
    Converges,
    /// A group is started where it was not no more often than it takes to settle after everything
    /// was repaired.
    Settles,
    /// A group that follows another is started and held only where that one is held, and is stopped
    /// before it.
    Together,
    /// Groups that are kept apart are never up on one server.
    Apart,
    /// Nobody waits longer for an answer than `lifesign check` says.
    Outage,
    /// A `fence` group starts only with proof that every other server is silent.
    Proof,
    /// A reset is asked for with a quorum, and the dongle resets only if asked.
    ResetAsked,
    /// Two pulses are far enough apart.
    PulsesApart,
    /// Only the start that is meant is reset.
    RightStart,
    /// Nobody is reset whom the dongle or the asker hears.
    LivingTarget,
    /// A server that knows a group to be disabled neither starts nor keeps it.
    Disabled,
    /// A server that knows a group to be in maintenance does not claim it, offer it or hand it
    /// over.
    Maintenance,
    /// No earlier word of the operator takes the place of a later one.
    LaterWord,
    /// No maintenance lasts longer anywhere than where it was said.
    TimeLeft,
    /// A relay sends each frame once, and nothing but frames.
    RelayOnce,
}

/// What a promise rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assumption {
    /// A clock's rate is right within what is assumed.
    ClockRate {
        /// Whose clock's was not.
        host: u8,
    },
    /// A machine's clocks go on while it stands still.
    ClocksGoOn {
        /// Whose did not.
        host: u8,
    },
    /// An agent that says it has stopped has stopped.
    HonestAgent {
        /// Whose lied.
        host: u8,
    },
    /// What is saved is there after a restart.
    StateKept {
        /// Whose was gone.
        host: u8,
    },
    /// An operator who vouches for somebody's silence is right.
    TrueWord {
        /// Who was not silent.
        target: u8,
    },
    /// The settings are the same everywhere.
    SameSettings {
        /// Whose were not.
        host: u8,
    },
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub rule: Rule,
    /// When, in true time.
    pub at: Micros,
    /// By whom or to whom.
    pub host: Option<u8>,
    /// For which group.
    pub group: Option<u8>,
    /// What was seen.
    pub what: String,
    /// What it rests on that had been broken before; then it is told, and nobody's fault.
    pub beyond: Option<Assumption>,
}

impl Wrong {
    /// Returns whether no assumption was broken before.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        self.beyond.is_none()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, at, what, beyond, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 microseconds")]
        let millis = *at as f64 / 1000.0;
        write!(formatter, "{rule:?} at {millis:.3} ms: {what}")?;
        if let Some(assumption) = beyond {
            write!(formatter, " (beyond what is assumed: {assumption:?})")?;
        }
        Ok(())
    }
}

/// The verdicts of a run so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts {
    pub(super) all: Vec<Wrong>,
    /// What was broken, and when.
    pub(super) broken: Vec<Assumption>,
}

/// More verdicts of one rule than this tell nothing new.
const MOST: usize = 20;

impl Verdicts {
    /// Takes note of a wrong; `excuses` says which broken assumption this promise rests on.
    pub(super) fn blame(&mut self, mut wrong: Wrong, excuses: impl Fn(Assumption) -> bool) {
        if self.all.iter().filter(|other| other.rule == wrong.rule).count() < MOST {
            wrong.beyond = self.broken.iter().copied().find(|broken| excuses(*broken));
            self.all.push(wrong);
        }
    }

    pub(super) fn broke(&mut self, assumption: Assumption) {
        if !self.broken.contains(&assumption) {
            self.broken.push(assumption);
        }
    }
}

/// Returns whether a promise rests on an assumption.
pub(super) fn rests_on(terms: &Terms, rule: Rule, broken: Assumption) -> bool {
    let unless_fenced = terms.guard != Guard::Fence;
    match (broken, rule) {
        (Assumption::ClockRate { .. } | Assumption::ClocksGoOn { .. }, Rule::OneHolder) => {
            unless_fenced
        }
        (
            Assumption::ClockRate { .. },
            Rule::Backed
            | Rule::SilentInTime
            | Rule::BootWait
            | Rule::NotLost
            | Rule::Converges
            | Rule::Settles
            | Rule::Outage
            // A dongle measures its pulses by its own clock.
            | Rule::PulsesApart
            | Rule::Proof
            | Rule::TimeLeft
            | Rule::Maintenance,
        ) => true,
        // A clock that stood still moves the end of what was promised before it did.
        (
            Assumption::ClocksGoOn { .. },
            Rule::Backed
            | Rule::SilentInTime
            | Rule::Outage
            | Rule::BootWait
            | Rule::TimeLeft
            | Rule::Maintenance,
        ) => true,
        // An address is taken away by the kernel, whatever its agent says.
        (Assumption::HonestAgent { .. }, Rule::OneHolder | Rule::Backed | Rule::SilentInTime) => {
            terms.guard != Guard::Address
        }
        (
            Assumption::HonestAgent { .. },
            Rule::Converges | Rule::Outage | Rule::Together | Rule::Apart,
        ) => true,
        (Assumption::TrueWord { .. }, Rule::OneHolder) => true,
        (Assumption::SameSettings { .. }, Rule::Converges | Rule::Outage | Rule::Settles) => true,
        _ => false,
    }
}
