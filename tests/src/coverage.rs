//! Which faults have met which states, so that nobody has to believe that they did.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::{Fault, Manner, Order};
use crate::scene::{Holder, Scene, Taker};

/// The kinds of faults that a plan is drawn from.
pub const KINDS: [&str; 54] = [
    "loss",
    "burst",
    "delay",
    "reorder",
    "duplicates",
    "damage",
    "cut",
    "mend",
    "cut-networks",
    "kill",
    "crash",
    "crash-in",
    "boot",
    "pause",
    "freeze",
    "suspend",
    "clock-rate",
    "lose-state",
    "tear-state",
    "save-fails",
    "save-slow",
    "hang",
    "fail-start",
    "fail-stop",
    "lie-started",
    "lie-stopped",
    "slow",
    "standby",
    "takeover",
    "leave",
    "failed",
    "unable",
    "maintain",
    "resume",
    "disable",
    "enable",
    "move",
    "reconfigure",
    "rekey",
    "replay",
    "hold-back",
    "reflect",
    "flood",
    "swap-links",
    "swap-classes",
    "cut-line",
    "stick-line",
    "noise",
    "mend-line",
    "bytes",
    "stranger",
    "replay-request",
    "reset-stuck",
    "reset-free",
];

/// Returns the name under which a fault is counted: agents and orders have one for each manner.
#[must_use]
pub const fn name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Agent { manner, .. } => match manner {
            Manner::Honest => "honest",
            Manner::Hang => "hang",
            Manner::FailStart => "fail-start",
            Manner::FailStop => "fail-stop",
            Manner::LieStarted => "lie-started",
            Manner::LieStopped => "lie-stopped",
            Manner::Slow(_) => "slow",
        },
        Fault::Order { order, .. } => match order {
            Order::Standby => "standby",
            Order::Takeover => "takeover",
            Order::Leave => "leave",
            Order::Failed => "failed",
            Order::Able => "able",
            Order::Unable => "unable",
            Order::Maintain(_) => "maintain",
            Order::Resume => "resume",
            Order::Disable => "disable",
            Order::Enable => "enable",
            Order::Move(_) => "move",
        },
        Fault::ResetStuck { stuck: false } => "reset-free",
        _ => fault.kind(),
    }
}

/// How often each fault has met each state of a holder and of a taker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(&'static str, Holder, Taker), u64>);

impl Coverage {
    /// Counts that `fault` came while this was the scene, once for each group.
    pub fn count(&mut self, fault: &Fault, scene: &Scene, groups: u8) {
        let kind = name(fault);
        if !KINDS.contains(&kind) {
            return;
        }
        for group in 0..groups {
            let (holder, taker) = scene.states(group);
            *self.0.entry((kind, holder, taker)).or_default() += 1;
        }
    }

    /// Adds what another run has met.
    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// Returns how often these have met.
    #[must_use]
    pub fn met(&self, kind: &'static str, holder: Holder, taker: Taker) -> u64 {
        self.0.get(&(kind, holder, taker)).copied().unwrap_or(0)
    }

    /// Returns the cells that are to be met and were not, a fault's after the other.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, Holder, Taker)> {
        let all = KINDS
            .into_iter()
            .flat_map(|kind| declared().map(move |(holder, taker)| (kind, holder, taker)));
        all.filter(|(kind, holder, taker)| self.met(kind, *holder, *taker) == 0).collect()
    }
}

/// Returns the pairs of states that every fault is to meet: whatever the holder does, while the
/// others look on and while one of them claims; and the usual holder alone.
fn declared() -> impl Iterator<Item = (Holder, Taker)> {
    let pairs = Holder::ALL
        .into_iter()
        .flat_map(|holder| [Taker::Idle, Taker::Claiming].map(|taker| (holder, taker)));
    pairs.chain([(Holder::Holding, Taker::Off), (Holder::Holding, Taker::Paused)])
}

impl Holder {
    const fn mark(self) -> char {
        match self {
            Self::Nobody => '-',
            Self::Starting => 'S',
            Self::Holding => 'H',
            Self::Offering => 'O',
            Self::Stopping => 'E',
            Self::Gone => 'x',
            Self::Paused => 'Z',
        }
    }
}

impl Taker {
    const fn mark(self) -> char {
        match self {
            Self::Off => '.',
            Self::Paused => 'z',
            Self::Idle => '-',
            Self::Claiming => 'c',
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = Holder::ALL
            .into_iter()
            .flat_map(|holder| Taker::ALL.map(|taker| (holder, taker)))
            .collect();
        write!(formatter, "{:<15}", "fault")?;
        for (holder, taker) in &columns {
            write!(formatter, " {:>4}", format!("{}{}", holder.mark(), taker.mark()))?;
        }
        writeln!(formatter)?;
        for kind in KINDS {
            write!(formatter, "{:<15}", kind)?;
            for (holder, taker) in &columns {
                write!(formatter, " {:>4}", short(self.met(kind, *holder, *taker)))?;
            }
            writeln!(formatter)?;
        }
        writeln!(formatter, "holder: - nobody, S starting, H holding, O offering, E stopping,")?;
        writeln!(formatter, "        x dead and its kernel answers, Z paused")?;
        writeln!(formatter, "taker:  . off, z paused, - idle, c claiming")?;
        let missing = self.missing();
        if missing.is_empty() {
            return writeln!(formatter, "every declared cell was met");
        }
        write!(formatter, "declared cells that were not met:")?;
        for kind in KINDS {
            let cells = missing.iter().filter(|(it, ..)| *it == kind);
            let words: Vec<String> = cells
                .map(|(_, holder, taker)| format!("{}{}", holder.mark(), taker.mark()))
                .collect();
            if !words.is_empty() {
                write!(formatter, " {}({})", kind, words.join(" "))?;
            }
        }
        writeln!(formatter)
    }
}

/// Writes a count in at most four columns.
fn short(count: u64) -> String {
    match count {
        0 => ".".into(),
        1..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}
