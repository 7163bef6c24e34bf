//! Boot time for what the laboratory measures, and the kernel's wall-clock stamps in terms of it.

use nix::sys::time::TimeSpec;

use crate::clock;

/// A reader of boot time that knows how far the wall clock is from it.
///
/// The kernel stamps arriving packets by the wall clock. The two clocks run at one rate, so a new
/// [`calibrate`](Self::calibrate) changes the distance only where somebody sets the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    /// Wall-clock time minus boot time, in microseconds.
    distance_us: i128,
}

impl Stopwatch {
    /// Returns a calibrated stopwatch.
    #[must_use]
    pub fn new() -> Self {
        let mut stopwatch = Self { distance_us: distance().0 };
        for _ in 0..CALIBRATIONS {
            stopwatch.calibrate();
        }
        stopwatch
    }

    /// Compares the clocks, and keeps what was known if something came between the two readings.
    pub fn calibrate(&mut self) {
        let (distance_us, doubt_us) = distance();
        if doubt_us <= DOUBT_US {
            self.distance_us = distance_us;
        }
    }

    /// Returns the boot time, in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        clock::now().as_micros()
    }

    /// Returns the boot time at which the wall clock showed `stamp`, in microseconds.
    #[must_use]
    pub fn from_wall_clock_us(&self, stamp: TimeSpec) -> u64 {
        u64::try_from(micros(stamp) - self.distance_us).unwrap_or(0)
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self::new()
    }
}

/// How often a new stopwatch looks for an undisturbed reading.
const CALIBRATIONS: u32 = 16;

/// The longest time between the readings of one calibration, in microseconds.
const DOUBT_US: i128 = 2;

/// Returns the wall clock's distance from boot time and how far it may be off, in microseconds.
fn distance() -> (i128, i128) {
    let before = i128::from(clock::now().as_micros());
    let wall = i128::from(clock::wall_us());
    let after = i128::from(clock::now().as_micros());
    (wall - i128::midpoint(before, after), after - before)
}

fn micros(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000 + i128::from(time.tv_nsec()) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_is_the_same_by_both_clocks() {
        let mut stopwatch = Stopwatch::new();
        let near = (0..100).any(|_| {
            stopwatch.calibrate();
            let before = stopwatch.now_us();
            let wall = std::time::Duration::from_micros(clock::wall_us());
            let after = stopwatch.now_us();
            let converted = stopwatch.from_wall_clock_us(wall.into());
            (before.saturating_sub(4)..=after + 4).contains(&converted)
        });
        assert!(near, "not once within four microseconds");
    }
}
