//! Profiles: spans that fit together, to begin with.

use lifesign_core::time::Duration;

/// A set of spans that fit together.
///
/// | profile | heartbeat | dead | promise | settle | probe | for |
/// |---|---|---|---|---|---|---|
/// | `fast` | 5 ms | 22 ms | 25 ms | 200 ms | 50 ms | a quiet network, K of at most 13 ms |
/// | `standard` | 100 ms | 700 ms | 1 s | 3 s | 200 ms | any local network |
/// | `slow` | 1 s | 8 s | 12 s | 15 s | 200 ms | machines that pause, networks that lose much |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Failover in tens of milliseconds.
    Fast,
    /// Failover in about a second.
    Standard,
    /// Failover in about ten seconds.
    Slow,
}

impl Profile {
    /// Every profile, the fastest first.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Standard, Self::Slow];

    /// Returns the word for it in the settings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Standard => "standard",
            Self::Slow => "slow",
        }
    }

    /// Returns how often a heartbeat is sent.
    #[must_use]
    pub const fn heartbeat(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 5,
            Self::Standard => 100,
            Self::Slow => 1000,
        })
    }

    /// Returns after how much silence a peer is lost.
    #[must_use]
    pub const fn dead(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 22,
            Self::Standard => 700,
            Self::Slow => 8000,
        })
    }

    /// Returns how long a promise lasts.
    #[must_use]
    pub const fn promise(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 25,
            Self::Standard => 1000,
            Self::Slow => 12_000,
        })
    }

    /// Returns how long a node looks around after its start before it claims anything.
    #[must_use]
    pub const fn settle(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 200,
            Self::Standard => 3000,
            Self::Slow => 15_000,
        })
    }

    /// Returns how long a node asks whether somebody else has an address before it takes it.
    #[must_use]
    pub const fn conflict_probe(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 50,
            Self::Standard | Self::Slow => 200,
        })
    }

    /// The rate error that a clock is credited with, in millionths.
    pub const CLOCK_ERROR: u32 = 10_000;
}
