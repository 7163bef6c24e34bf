//! When to try again what has just failed.

/// A pause that doubles with each failure, from 100 ms to 2 s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    pause_us: u64,
    next_us: Option<u64>,
}

impl BackOff {
    /// Notes a failure: the next attempt is due after a pause twice as long as the last.
    pub fn failed(&mut self, now_us: u64) {
        self.pause_us = (self.pause_us * 2).clamp(Self::SHORTEST_US, Self::LONGEST_US);
        self.next_us = Some(now_us.saturating_add(self.pause_us));
    }

    /// Makes the next attempt due at once, because there is reason to think that it will succeed.
    pub fn hurry(&mut self, now_us: u64) {
        self.next_us = Some(now_us);
    }

    /// Notes that nothing is to be tried; the next failure's pause is still longer than the last.
    ///
    /// What succeeds and fails at once must not be tried without a pause, so only
    /// [`settled`](Self::settled) forgets.
    pub fn succeeded(&mut self) {
        self.next_us = None;
    }

    /// Forgets former failures: the next pause is the shortest.
    pub fn settled(&mut self) {
        self.pause_us = 0;
    }

    /// Returns when the next attempt is due, if any is.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.next_us
    }

    /// Returns whether an attempt is due.
    #[must_use]
    pub fn is_due(&self, now_us: u64) -> bool {
        self.next_us.is_some_and(|next_us| now_us >= next_us)
    }

    const SHORTEST_US: u64 = 100_000;
    const LONGEST_US: u64 = 2_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_tenth_of_a_second_to_two() {
        let mut backoff = BackOff::default();
        assert!(!backoff.is_due(u64::MAX));
        let mut now_us = 5;
        for pause_us in [100_000, 200_000, 400_000, 800_000, 1_600_000, 2_000_000, 2_000_000] {
            backoff.failed(now_us);
            assert_eq!(backoff.poll_timeout(), Some(now_us + pause_us));
            assert!(!backoff.is_due(now_us + pause_us - 1));
            now_us += pause_us;
            assert!(backoff.is_due(now_us));
        }
    }

    #[test]
    fn success_alone_does_not_shorten_the_next_pause() {
        let mut backoff = BackOff::default();
        backoff.failed(0);
        backoff.succeeded();
        assert_eq!(backoff.poll_timeout(), None);
        backoff.failed(0);
        assert_eq!(backoff.poll_timeout(), Some(200_000));
        backoff.settled();
        backoff.failed(0);
        assert_eq!(backoff.poll_timeout(), Some(100_000));
    }
}
