//! The dongle's clock: a counter of 32 bits, made as long as anybody will wait.
//!
//! The counter runs in hardware whatever the program does. Interrupts of a timer are never counted:
//! some are lost whenever the processor has something better to do, and a promise would then last
//! too long.

use lifesign_core::time::Instant;

/// A counter of microseconds that wraps around after 71 minutes, continued over its wraps.
///
/// It must be read at least once between two wraps; the loop does so many times a second, or the
/// watchdog bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    last: u32,
    micros: u64,
}

impl Clock {
    /// Makes a clock whose start is when the counter stood at `count`.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self { last: count, micros: 0 }
    }

    /// Returns the time since the start, now that the counter stands at `count`.
    pub const fn read(&mut self, count: u32) -> Instant {
        let passed = count.wrapping_sub(self.last);
        self.last = count;
        // A u32 always fits, and 64 bits of microseconds never run out.
        self.micros = self.micros.saturating_add(passed as u64);
        Instant::from_micros(self.micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_over_every_wrap() {
        let start = u32::MAX - 10;
        let mut clock = Clock::new(start);
        let mut count = start;
        let mut expected = 0u64;
        for step in [0, 5, 6, 1, u32::MAX, 0x8000_0000, 0x8000_0000, 17] {
            count = count.wrapping_add(step);
            expected += u64::from(step);
            assert_eq!(clock.read(count), Instant::from_micros(expected));
        }
        assert!(expected > u64::from(u32::MAX));
    }
}
