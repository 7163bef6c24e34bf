//! How late is late.
//!
//! An [`Expectation`] watches one peer over one link. It knows when the peer was last heard and
//! keeps a histogram of the gaps between its frames, so that an administrator can see how close a
//! link comes to its limit.

use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Instant};

/// The upper bounds of the buckets of a [`Lateness`] histogram, in microseconds over the heartbeat
/// interval; the last bucket is open.
pub const LATENESS_BOUNDS_US: [u64; 11] =
    [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000];

/// How often frames were late by how much: one counter for each of [`LATENESS_BOUNDS_US`] and one
/// for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// The counters; they stop at their largest value.
    pub counts: [u32; LATENESS_BOUNDS_US.len() + 1],
    /// The longest gap between two frames.
    pub longest: Duration,
}

/// Nothing is decided by how late frames were, so states that differ in that alone have one hash.
impl Hash for Lateness {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Lateness {
    fn note(&mut self, gap: Duration, heartbeat: Duration) {
        let late = gap.checked_sub(heartbeat).unwrap_or_default().as_micros();
        let bucket = LATENESS_BOUNDS_US
            .iter()
            .position(|bound| late < *bound)
            .unwrap_or(LATENESS_BOUNDS_US.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.longest = self.longest.max(gap);
    }
}

/// What is known of one peer over one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expectation {
    heard: Option<Instant>,
    lateness: Lateness,
}

impl Expectation {
    /// Takes note of a live frame. Copies that arrive together count once for the histogram's gap.
    pub fn note(&mut self, heartbeat: Duration, now: Instant) {
        if let Some(before) = self.heard {
            self.lateness.note(now.since(before), heartbeat);
        }
        self.heard = Some(now);
    }

    /// Returns when the peer was last heard on this link.
    #[must_use]
    pub const fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Returns whether the peer was heard on this link within the last `dead`.
    #[must_use]
    pub fn is_fresh(&self, dead: Duration, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < dead)
    }

    /// Returns how late frames were.
    #[must_use]
    pub const fn lateness(&self) -> &Lateness {
        &self.lateness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_sorted_by_their_lateness() {
        let heartbeat = Duration::from_millis(10);
        let mut expectation = Expectation::default();
        let mut now = Instant::ZERO;
        for gap_us in [10_000, 10_999, 11_000, 60_000, 20_000_000] {
            expectation.note(heartbeat, now);
            now = now + Duration::from_micros(gap_us);
        }
        expectation.note(heartbeat, now);
        let mut expected = [0; 12];
        (expected[0], expected[1], expected[6], expected[11]) = (2, 1, 1, 1);
        assert_eq!(expectation.lateness().counts, expected);
        assert_eq!(expectation.lateness().longest, Duration::from_micros(20_000_000));
    }

    #[test]
    fn silence_of_exactly_the_dead_time_is_no_longer_fresh() {
        let mut expectation = Expectation::default();
        let dead = Duration::from_millis(25);
        assert!(!expectation.is_fresh(dead, Instant::ZERO));
        expectation.note(Duration::from_millis(10), Instant::ZERO);
        assert!(expectation.is_fresh(dead, Instant::from_micros(24_999)));
        assert!(!expectation.is_fresh(dead, Instant::from_micros(25_000)));
    }
}
