//! Instants and spans, in microseconds.
//!
//! An [`Instant`] counts from an arbitrary start that belongs to the caller's clock. The clock must
//! not run backwards and must keep counting while the machine sleeps (`CLOCK_BOOTTIME` on Linux).
//! At one microsecond a unit, 64 bits last 584,000 years, so nothing here handles wrap-around.

use core::fmt;
use core::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A moment on the caller's clock, in microseconds since that clock's arbitrary start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// Returns the moment `micros` microseconds after the clock's start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the clock's start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns how long ago `earlier` was, or zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// Returns whether this moment is `deadline` or later.
    #[must_use]
    pub const fn has_reached(self, deadline: Self) -> bool {
        self.0 >= deadline.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the clock's start.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// A span of time, in microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Returns a span of `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns a span of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns the span in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the whole milliseconds of the span.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Returns the span `factor` times over, saturating.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// Returns the span times `numerator` over `denominator`, rounded down, saturating. A
    /// `denominator` of zero counts as one.
    #[must_use]
    pub const fn scaled(self, numerator: u64, denominator: u64) -> Self {
        let denominator = if denominator == 0 { 1 } else { denominator };
        // In 128 bits the product of two 64-bit numbers cannot overflow.
        let scaled = self.0 as u128 * numerator as u128 / denominator as u128;
        if scaled > u64::MAX as u128 {
            return Self(u64::MAX);
        }
        #[expect(clippy::cast_possible_truncation, reason = "compared with the largest just above")]
        let micros = scaled as u64;
        Self(micros)
    }

    /// Returns this span less `other`, or `None` if `other` is longer.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }
}

impl Add for Duration {
    type Output = Self;

    /// Saturates at the longest span.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Duration {
    /// Writes milliseconds with as many decimals as are needed, seconds from ten seconds up.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part, unit) = if self.0 < 10_000_000 {
            (self.0 / 1000, self.0 % 1000, "ms")
        } else {
            (self.0 / 1_000_000, self.0 / 1000 % 1000, "s")
        };
        match (part % 10, part % 100, part) {
            (_, _, 0) => write!(formatter, "{whole} {unit}"),
            (_, 0, _) => write!(formatter, "{whole}.{} {unit}", part / 100),
            (0, _, _) => write!(formatter, "{whole}.{:02} {unit}", part / 10),
            _ => write!(formatter, "{whole}.{part:03} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let late = Instant::from_micros(u64::MAX);
        assert_eq!(late + Duration::from_millis(1), late);
        assert_eq!(Instant::ZERO - Duration::from_millis(1), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(late), Duration::ZERO);
        assert!(late.has_reached(late));
    }

    #[test]
    fn spans_are_written_for_people() {
        let written = |micros| Duration::from_micros(micros).to_string();
        assert_eq!(written(27_000), "27 ms");
        assert_eq!(written(26_500), "26.5 ms");
        assert_eq!(written(26_470), "26.47 ms");
        assert_eq!(written(7), "0.007 ms");
        assert_eq!(written(12_500_000), "12.5 s");
    }
}
