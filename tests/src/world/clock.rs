//! Clocks that disagree: each has its own rate, and stands still only with its machine.

use lifesign_core::time::Instant;

use super::Micros;

const MILLION: u64 = 1_000_000;

/// A clock that runs at its own rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// A true moment, and what the clock shows then.
    since: (Micros, u64),
    error: i64,
}

impl Clock {
    /// Makes a clock that shows `shown` at the beginning of time, wrong by `error` millionths.
    pub(super) const fn new(shown: u64, error: i64) -> Self {
        Self { since: (0, shown), error }
    }

    /// Returns its rate error, in millionths.
    pub(super) const fn error(self) -> i64 {
        self.error
    }

    /// Returns the clock that goes on from `now` with another rate error.
    pub(super) fn at_rate(self, error: i64, now: Micros) -> Self {
        Self { since: (now, self.read(now).as_micros()), error }
    }

    /// Returns the clock that stood still for `span` before `now`.
    pub(super) fn stopped(self, span: Micros, now: Micros) -> Self {
        Self { since: (now, self.read(now.saturating_sub(span)).as_micros()), ..self }
    }

    const fn rate(self) -> u64 {
        MILLION.saturating_add_signed(self.error)
    }

    /// Returns what it shows at a true moment that is not before its last change.
    pub(super) fn read(self, at: Micros) -> Instant {
        let (since, shown) = self.since;
        let span = at.saturating_sub(since);
        let (whole, rest) = (span / MILLION, span % MILLION);
        Instant::from_micros(shown + whole * self.rate() + rest * self.rate() / MILLION)
    }

    /// Returns the first true moment at which it shows `local` or more.
    pub(super) fn when(self, local: Instant) -> Micros {
        let (since, shown) = self.since;
        since.saturating_add(self.lasts(local.as_micros().saturating_sub(shown)))
    }

    /// Returns how long it takes in true time until it has counted `span`, at least.
    pub(super) fn lasts(self, span: u64) -> Micros {
        let rate = self.rate();
        let (whole, rest) = (span / rate, span % rate);
        whole.saturating_mul(MILLION).saturating_add((rest * MILLION).div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_moment_at_which_a_clock_shows_a_time_is_found_exactly() {
        for error in [-30_000, -100, 0, 1, 10_000, 500_000] {
            let clock = Clock::new(77, error).at_rate(error, 1_000_003);
            let mut at = 1_000_003;
            for step in [5, 17, 999, 1_000_000, 123_456_789_012, 31_557_600_000_000] {
                at += step;
                let shown = clock.read(at);
                let first = clock.when(shown);
                assert!(first <= at && clock.read(first) >= shown, "{error} {step}");
                assert!(clock.read(first - 1) < shown, "{error} {step}");
            }
        }
    }

    #[test]
    fn a_clock_never_steps() {
        let clock = Clock::new(5, 10_000);
        let faster = clock.at_rate(500_000, 900);
        assert_eq!(faster.read(900), clock.read(900));
        let stopped = clock.stopped(300, 900);
        assert_eq!(stopped.read(900), clock.read(600));
        assert_eq!(stopped.read(1000).as_micros() - stopped.read(900).as_micros(), 101);
    }
}
