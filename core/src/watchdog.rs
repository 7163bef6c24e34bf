//! Until when a machine may be fed that holds a group, and how much later its reset may come.
//!
//! A watchdog resets a machine when it has not been fed for its timeout W. Let U be the moment up
//! to which feeding is allowed, by [`fed_until`]. Whoever feeds looks at the clock first, and may
//! be paused between the look and the feed for any time. Take the last feed: it was allowed before
//! U, and the feed before it came earlier still. The device had not fired meanwhile, so the last
//! feed came less than W after U, and the reset comes less than 2 W after U. F later the machine is
//! silent. So a watchdog is an enforcer with K = 2 W + F in the inequality of
//! [`Lease`](crate::config::Lease), and [`overshoot`] is that K.

use crate::time::{Duration, Instant};

/// Returns K of a watchdog with `timeout` W whose machine is silent at most `reset_limit` F after
/// its expiry: 2 W + F.
#[must_use]
pub fn overshoot(timeout: Duration, reset_limit: Duration) -> Duration {
    timeout.times(2) + reset_limit
}

/// Returns until when a machine may be fed on which a group is up: `stop_time` S and `granularity`
/// g after its authority ends, or after its stop began if that was earlier.
#[must_use]
pub fn fed_until(
    authority_end: Instant,
    stopping_since: Option<Instant>,
    stop_time: Duration,
    granularity: Duration,
) -> Instant {
    let from = stopping_since.map_or(authority_end, |since| since.min(authority_end));
    from + stop_time + granularity
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    const S: Duration = Duration::from_millis(5100);
    const G: Duration = Duration::from_millis(100);

    #[test]
    fn feeding_ends_a_stop_budget_after_the_authority_or_the_beginning_of_the_stop() {
        assert_eq!(fed_until(at(1000), None, S, G), at(6200));
        assert_eq!(fed_until(at(1000), Some(at(400)), S, G), at(5600), "a stop that hangs");
        assert_eq!(fed_until(at(1000), Some(at(1100)), S, G), at(6200), "authority ended first");
    }

    #[test]
    fn a_watchdog_may_take_twice_its_timeout_and_the_reset() {
        let span = overshoot(Duration::from_millis(5000), Duration::from_millis(500));
        assert_eq!(span, Duration::from_millis(10_500));
    }

    /// One pause at every moment, of every length, in steps of a tenth of W.
    #[test]
    fn no_pause_keeps_a_machine_alive_for_2_w_after_the_limit() {
        const W: u64 = 10;
        let mut worst = 0;
        for (limit, interval) in [(20, 1), (23, 2), (29, 3), (31, 5)] {
            for pause_at in 0..60 {
                for pause in 0..3 * W {
                    let fires = fires(limit, interval, pause_at, pause, W);
                    assert!(fires < limit + 2 * W, "{limit} {interval} {pause_at} {pause}");
                    worst = worst.max(fires.saturating_sub(limit));
                }
            }
        }
        assert!(worst > W + W / 2, "the look and the feed were never far apart: {worst}");
    }

    /// Returns when a device fires whose feeder pauses once, between a look and the feed after it.
    fn fires(limit: u64, interval: u64, pause_at: u64, pause: u64, timeout: u64) -> u64 {
        let (mut now, mut fires) = (0, timeout);
        loop {
            let is_allowed = now < limit;
            if (pause_at..pause_at + interval).contains(&now) {
                now += pause;
            }
            if now >= fires {
                return fires;
            }
            if is_allowed {
                fires = now + timeout;
            }
            now += interval;
        }
    }
}
