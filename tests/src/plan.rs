//! A run as plain data: what the world is made of, what breaks when, and when it is repaired.
//!
//! [`Plan::draw`] makes one from a seed while it plays it: each seed switches some kinds of faults
//! on, and chooses the moment of each by what can be seen then, so that faults meet the states that
//! last shortest. [`Plan::run`] plays it again from the data alone, to the same end. Every run has
//! a phase of faults; then all is repaired, and the groups have to be held again in bounded time.

mod draw;
mod play;
mod shape;
mod text;

pub use shape::Profile;
pub use text::PlanError;

use std::fmt;

use crate::coverage::Coverage;
use crate::fault::Fault;
use crate::oracle::Wrong;
use crate::scene::Scene;
use crate::seen::Seen;
use crate::world::{Micros, Setup};

use draw::Draw;
use play::Player;

/// What is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the world draws at random: clocks, delays, losses.
    pub seed: u64,
    /// What the world is made of.
    pub setup: Setup,
    /// When all is repaired, in microseconds from the start.
    pub heals_at: Micros,
    /// What breaks, and when, in microseconds from the start.
    pub steps: Vec<(Micros, Fault)>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which promises were broken, the first first.
    pub verdicts: Vec<Verdict>,
    /// Whether the plan goes beyond what is assumed.
    pub is_beyond: bool,
    /// A sum over all that was seen; the same plan has the same.
    pub hash: u64,
    /// How much virtual time has passed, in microseconds.
    pub span: Micros,
    /// How often a group came to be held by another start of a server than before.
    pub moves: u64,
    /// How many frames were sent.
    pub frames: u64,
    /// How long it took from repair until every group was held, in heartbeats.
    pub convergence: u64,
    /// Which faults met which states.
    pub coverage: Coverage,
}

/// Something that went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A promise was broken.
    Broken(Wrong),
    /// Something else was wrong, and the world says what.
    Wrong(String),
    /// Something has panicked, and says this.
    Panic(String),
    /// Two runs of one plan came to these sums.
    Differs(u64, u64),
}

impl Verdict {
    /// Returns whether nothing excuses it.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Broken(wrong) => wrong.is_fatal(),
            Self::Wrong(_) | Self::Panic(_) | Self::Differs(..) => true,
        }
    }

    /// Returns whether `other` is of the same kind, so that a smaller plan shows the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Broken(one), Self::Broken(two)) => one.rule == two.rule,
            (Self::Wrong(_), Self::Wrong(_))
            | (Self::Panic(_), Self::Panic(_))
            | (Self::Differs(..), Self::Differs(..)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(wrong) => wrong.fmt(formatter),
            Self::Wrong(what) => formatter.write_str(what),
            Self::Panic(words) => write!(formatter, "panic: {words}"),
            Self::Differs(one, two) => write!(formatter, "two runs differ: {one:016x}, {two:016x}"),
        }
    }
}

impl Report {
    /// Returns the first broken promise that no broken assumption excuses.
    #[must_use]
    pub fn fatal(&self) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.is_fatal())
    }
}

impl Plan {
    /// Draws what `seed` stands for, and plays it. `profile` is the only one, if not any.
    #[must_use]
    pub fn draw(seed: u64, profile: Option<Profile>) -> (Self, Report) {
        Self::draw_telling(seed, profile, |_, _, _| {})
    }

    /// The same, and tells what happens when, and what the scene is then.
    #[must_use]
    pub fn draw_telling(
        seed: u64,
        profile: Option<Profile>,
        tell: impl FnMut(Micros, &Seen, &Scene),
    ) -> (Self, Report) {
        let mut draw = Draw::new(seed, profile);
        let plan = Self { seed, setup: draw.setup().clone(), heals_at: 0, steps: Vec::new() };
        let mut player = Player::new(plan, tell);
        player.play_drawn(&mut draw);
        player.finish()
    }

    /// Plays the plan.
    #[must_use]
    pub fn run(&self) -> Report {
        self.run_telling(|_, _, _| {})
    }

    /// Plays the plan and tells what happens when, and what the scene is then.
    #[must_use]
    pub fn run_telling(&self, tell: impl FnMut(Micros, &Seen, &Scene)) -> Report {
        let empty = Self { steps: Vec::new(), ..self.clone() };
        let mut player = Player::new(empty, tell);
        player.play(&self.steps, self.heals_at);
        player.finish().1
    }
}
