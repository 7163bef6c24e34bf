//! When a member speaks: at each heartbeat, and in between when it has news, but not without limit.

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Instant};

/// The beat of one member, and what it owes besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cadence {
    heartbeat: Duration,
    next: Instant,
    /// When the last frame went out, if one did.
    last: Option<Instant>,
    credit: u8,
    /// There is news that has not been sent.
    news: bool,
}

/// How many frames may go out between two heartbeats.
const CREDIT: u8 = 4;

impl Cadence {
    /// Begins to speak `now`, every `heartbeat`.
    #[must_use]
    pub const fn new(heartbeat: Duration, now: Instant) -> Self {
        Self { heartbeat, next: now, last: None, credit: CREDIT, news: false }
    }

    /// Returns how often it speaks.
    pub(crate) const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Takes note that there is something to say before the next heartbeat.
    pub fn tell(&mut self) {
        self.news = true;
    }

    /// Brings the next heartbeat forward, so that it carries the echo of a frame that has just been
    /// heard: an echo that waited for the next beat would make the holder's authority older by that
    /// wait. It waits just long enough for other nodes' frames of the same moment, and beats never
    /// come closer than half an interval.
    pub fn answer(&mut self, now: Instant) {
        let half = Duration::from_micros(self.heartbeat.as_micros() / 2);
        if self.last.is_none_or(|last| now.since(last) >= half) {
            let gather = Duration::from_micros(self.heartbeat.as_micros() / 16);
            self.next = self.next.min(now + gather);
        }
    }

    /// Returns whether a frame is due, and takes note that it is sent. The heartbeat keeps its
    /// beat; a beat that was missed is not made up for.
    pub fn take(&mut self, now: Instant) -> bool {
        if now.has_reached(self.next) {
            let behind = now.since(self.next).as_micros() / self.heartbeat.as_micros().max(1);
            self.next = self.next + self.heartbeat.times(behind.saturating_add(1));
            self.credit = CREDIT;
            self.news = false;
            self.last = Some(now);
            return true;
        }
        if self.news && self.credit > 0 {
            self.credit -= 1;
            self.news = false;
            self.last = Some(now);
            return true;
        }
        false
    }

    /// Returns when the next frame is due.
    #[must_use]
    pub const fn next(&self, now: Instant) -> Instant {
        if self.news && self.credit > 0 { now } else { self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn the_heartbeat_keeps_its_beat_and_does_not_catch_up() {
        let mut cadence = Cadence::new(Duration::from_millis(10), at(0));
        assert!(cadence.take(at(0)) && !cadence.take(at(9)));
        assert!(cadence.take(at(12)) && !cadence.take(at(19)) && cadence.take(at(20)), "no drift");
        assert!(cadence.take(at(57)) && !cadence.take(at(59)) && cadence.take(at(60)), "no burst");
    }

    #[test]
    fn news_goes_out_at_once_and_not_without_limit() {
        let mut cadence = Cadence::new(Duration::from_millis(10), at(0));
        assert!(cadence.take(at(0)));
        let mut sent = 0;
        for _ in 0..20 {
            cadence.tell();
            sent += u8::from(cadence.take(at(5)));
        }
        assert_eq!(sent, CREDIT);
        assert_eq!(cadence.next(at(5)), at(10));
        assert!(cadence.take(at(10)) && !cadence.take(at(11)), "the heartbeat has told the news");
    }

    #[test]
    fn an_answer_brings_the_beat_forward_but_not_closer_than_half() {
        let mut cadence = Cadence::new(Duration::from_millis(16), at(0));
        assert!(cadence.take(at(0)));
        cadence.answer(at(7));
        assert_eq!(cadence.next(at(7)), at(16), "too soon");
        cadence.answer(at(8));
        assert_eq!(cadence.next(at(8)), at(9));
        assert!(cadence.take(at(9)));
        assert_eq!(cadence.next(at(9)), at(25), "the beat goes on from there");
    }
}
