//! When to try again what has just failed.

use lifesign_core::time::{Duration, Instant};

/// A pause that doubles with each failure, from 100 ms to 2 s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    pause: Duration,
    next: Option<Instant>,
}

impl BackOff {
    /// Notes a failure: the next attempt is due after a pause twice as long as the last.
    pub fn failed(&mut self, now: Instant) {
        let doubled = self.pause.times(2);
        self.pause = doubled.clamp(Self::SHORTEST, Self::LONGEST);
        self.next = Some(now + self.pause);
    }

    /// Makes the next attempt due at once, because there is reason to think that it will succeed.
    pub fn hurry(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// Notes that nothing is to be tried; the next failure's pause is still longer than the last.
    ///
    /// What succeeds and fails at once must not be tried without a pause, so only
    /// [`settled`](Self::settled) forgets.
    pub fn succeeded(&mut self) {
        self.next = None;
    }

    /// Forgets former failures: the next pause is the shortest.
    pub fn settled(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Returns when the next attempt is due, if any is.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether an attempt is due.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now.has_reached(next))
    }

    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_millis(2000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_tenth_of_a_second_to_two() {
        let mut backoff = BackOff::default();
        assert!(!backoff.is_due(micros(u64::MAX)));
        let mut now = micros(5);
        for pause_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = Duration::from_millis(pause_ms);
            backoff.failed(now);
            assert_eq!(backoff.poll_timeout(), Some(now + pause));
            assert!(!backoff.is_due(now + pause - Duration::from_micros(1)));
            now = now + pause;
            assert!(backoff.is_due(now));
        }
    }

    #[test]
    fn success_alone_does_not_shorten_the_next_pause() {
        let mut backoff = BackOff::default();
        backoff.failed(Instant::ZERO);
        backoff.succeeded();
        assert_eq!(backoff.poll_timeout(), None);
        backoff.failed(Instant::ZERO);
        assert_eq!(backoff.poll_timeout(), Some(micros(200_000)));
        backoff.settled();
        backoff.failed(Instant::ZERO);
        assert_eq!(backoff.poll_timeout(), Some(micros(100_000)));
    }

    fn micros(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }
}
