//! What a round does to the cluster.

use core::fmt;

use crate::random::Random;

/// What a round does; each ends with everything up and whole.
///
/// | round | in Linux-HA's suite |
/// |---|---|
/// | `flip` | Flip, Stop, Start |
/// | `restart` | Restart |
/// | `one-by-one` | `StopOnebyOne`, `StartOnebyOne`, with `SpecialTest1`'s gain of a quorum |
/// | `together` | `SimulStop`, `SimulStart` |
/// | `rolling` | `RestartOnebyOne` |
/// | `partial-start` | `PartialStart` |
/// | `standby` | Standby, and back |
/// | `split` | `Split_brain`, `Split_brain2`: any set of ways between the members |
/// | `redundant-path` | `RedundantpathTest` |
/// | `near-quorum` | `NearQuorumPoint` |
/// | `crash` | none: any machine dies, and is fenced if it held what that is for |
/// | `stonith` | Stonith: a server is reset through its device, and returns |
/// | `detection` | `DetectionTime` |
/// | `bandwidth` | Bandwidth |
/// | `service-fails` | `ResourceRecover` |
/// | `component-fails` | `ComponentFail` |
/// | `frozen` | none: a daemon stands still, and goes on |
/// | `cable-pulled` | `IPaddrtest`: the holder's cable of the address |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One node is stopped, and started again.
    Flip,
    /// One node is stopped and started at once.
    Restart,
    /// All are stopped in turn, and started in turn.
    OneByOne,
    /// All are stopped at once, and started at once.
    Together,
    /// Each in turn is stopped and started.
    Rolling,
    /// A node is stopped while it starts.
    PartialStart,
    /// A node gives everything away, and takes it back.
    Standby,
    /// Some members do not hear each other for a while.
    Split,
    /// One of two networks fails, and nothing happens.
    RedundantPath,
    /// Any set of the members is down for a while.
    NearQuorum,
    /// A machine loses its power, and comes back.
    Crash,
    /// The holder of what is fenced for loses its power, stands still or is cut off.
    Stonith,
    /// A machine loses its power, and a client counts.
    Detection,
    /// What the heartbeats take of the wire.
    Bandwidth,
    /// A service dies.
    ServiceFails,
    /// One of a daemon's processes is killed.
    ComponentFails,
    /// A daemon stands still, and goes on.
    Frozen,
    /// The cable that clients use is pulled from a holder.
    CablePulled,
}

impl Kind {
    /// Every kind, in the order of Linux-HA's list.
    pub const ALL: [Self; 18] = [
        Self::Flip,
        Self::Restart,
        Self::OneByOne,
        Self::Together,
        Self::Rolling,
        Self::PartialStart,
        Self::Standby,
        Self::Split,
        Self::RedundantPath,
        Self::NearQuorum,
        Self::Crash,
        Self::Stonith,
        Self::Detection,
        Self::Bandwidth,
        Self::ServiceFails,
        Self::ComponentFails,
        Self::Frozen,
        Self::CablePulled,
    ];

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Restart => "restart",
            Self::OneByOne => "one-by-one",
            Self::Together => "together",
            Self::Rolling => "rolling",
            Self::PartialStart => "partial-start",
            Self::Standby => "standby",
            Self::Split => "split",
            Self::RedundantPath => "redundant-path",
            Self::NearQuorum => "near-quorum",
            Self::Crash => "crash",
            Self::Stonith => "stonith",
            Self::Detection => "detection",
            Self::Bandwidth => "bandwidth",
            Self::ServiceFails => "service-fails",
            Self::ComponentFails => "component-fails",
            Self::Frozen => "frozen",
            Self::CablePulled => "cable-pulled",
        }
    }

    /// Returns whether it may be played while the networks lose frames.
    #[must_use]
    pub const fn bears_loss(self) -> bool {
        !matches!(self, Self::RedundantPath | Self::Detection | Self::Bandwidth | Self::CablePulled)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One round; the seed and the number say everything about it.
#[derive(Clone, Debug)]
pub struct Round {
    /// The seed of the whole run.
    pub seed: u64,
    /// Which round of it, from 0.
    pub number: u64,
    /// What it does.
    pub kind: Kind,
    /// How many of a million frames between the members are lost while it lasts.
    pub loss_ppm: u32,
    /// What is drawn while it is played.
    pub random: Random,
}

impl Round {
    /// Draws the round with this number; as many rounds as there are kinds have each once.
    #[must_use]
    pub fn draw(seed: u64, number: u64) -> Self {
        let count = Kind::ALL.len() as u64;
        let mut order = Kind::ALL;
        let mut shuffle = Random::new(seed ^ (number / count).wrapping_mul(0x00d1_b54a_32d1_92ed));
        for last in (1..order.len()).rev() {
            let other = usize::try_from(shuffle.below(last as u64 + 1)).unwrap_or(0);
            order.swap(last, other);
        }
        let kind = order[usize::try_from(number % count).unwrap_or(0)];
        Self::of_kind(kind, seed, number)
    }

    /// Draws a round of this kind.
    #[must_use]
    pub fn of_kind(kind: Kind, seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed.rotate_left(32) ^ number);
        let drawn = random.pick(&[0, 0, 0, 20_000, 50_000]);
        let loss_ppm = if kind.bears_loss() { drawn } else { 0 };
        Self { seed, number, kind, loss_ppm, random }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_once_in_as_many_rounds() {
        let count = Kind::ALL.len() as u64;
        for seed in 0..50 {
            let mut words: Vec<&str> =
                (count..2 * count).map(|number| Round::draw(seed, number).kind.word()).collect();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), Kind::ALL.len());
        }
    }

    #[test]
    fn a_round_is_drawn_alike_each_time() {
        let [mut one, mut other] = [7, 7].map(|seed| Round::draw(seed, 40));
        assert_eq!((one.kind, one.random.bits()), (other.kind, other.random.bits()));
        assert_ne!(Round::draw(8, 40).random.bits(), one.random.bits());
    }
}
