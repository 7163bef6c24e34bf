//! Who answered for an address, and for how long two machines did.
//!
//! The switch shows every service address to every server at least once a millisecond and writes
//! down each *sighting*: a frame from a server that answers for the address. An [`Observer`] joins
//! the sightings of one server into *spans*. A span is closed only after [`SILENCE_US`] without a
//! sighting, so a server that was seen before and after another one held the address throughout,
//! even if the other was seen but once. Two servers held the address at once for as long as their
//! spans overlap, and each overlap counts for at least [`ROUND_US`], because a sighting is a point.
//!
//! The sightings carry the kernel's time of arrival at the switch. What the switch itself asks is
//! answered before the asking call returns, so the order of sightings is the order of the answers.
//!
//! Where an address moves between adapters of one server, it may be back within that silence.
//! There an observer is told of the questions too: a span also ends when [`UNANSWERED_ROUNDS`]
//! rounds have been asked, whole, between two sightings. Who holds the address answers each.
//!
//! All times are microseconds of one clock.

use std::collections::VecDeque;

/// How long a server has to be silent before it is believed that it let the address go.
///
/// The switch asks every [`ROUND_US`], so an address that is held is seen twenty times in this
/// span.
pub const SILENCE_US: u64 = 20_000;

/// The time from one question of the switch to the next: the resolution of what is observed.
pub const ROUND_US: u64 = 1_000;

/// After how many rounds of questions without an answer a server has let the address go.
///
/// One holds between two answers of a holder: the end of the round of the first.
pub const UNANSWERED_ROUNDS: usize = 2;

/// The time over which one server was seen to answer for the address, first and last sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The server, by its index in the laboratory.
    pub server: usize,
    /// The time of the first sighting, in microseconds.
    pub first_us: u64,
    /// The time of the last sighting, in microseconds.
    pub last_us: u64,
}

/// What has been seen of one service address.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    spans: Vec<Span>,
    /// The servers that were asked of late, and when they had answered if they held the address.
    asked: VecDeque<(usize, u64)>,
}

impl Observer {
    /// Returns an observer that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { spans: Vec::new(), asked: VecDeque::new() }
    }

    /// Notes that `server` answered for the address at `at_us`.
    ///
    /// Sightings of different servers may come in any order; those of one server come in order, or
    /// late by less than [`SILENCE_US`].
    pub fn handle_sighting(&mut self, server: usize, at_us: u64) {
        let newest = self.spans.iter_mut().rev().find(|span| span.server == server);
        let is_one = |span: &Span| {
            let between = |(whom, asked_us): &&(usize, u64)| {
                *whom == server && span.last_us < *asked_us && *asked_us < at_us
            };
            at_us <= span.last_us.saturating_add(SILENCE_US)
                && self.asked.iter().filter(between).count() < UNANSWERED_ROUNDS
        };
        match newest {
            Some(span) if is_one(span) => {
                span.first_us = span.first_us.min(at_us);
                span.last_us = span.last_us.max(at_us);
            }
            _ => self.spans.push(Span { server, first_us: at_us, last_us: at_us }),
        }
    }

    /// Notes that a round of questions to `server` had ended at `at_us`, with its answer to each if
    /// it holds the address.
    pub fn handle_round(&mut self, server: usize, at_us: u64) {
        let is_old = |(_, asked_us): &(usize, u64)| asked_us.saturating_add(SILENCE_US) < at_us;
        while self.asked.front().is_some_and(is_old) {
            self.asked.pop_front();
        }
        self.asked.push_back((server, at_us));
    }

    /// Returns all spans, by the time at which they were begun.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Returns the servers seen within [`SILENCE_US`] before `now_us`, in rising order.
    #[must_use]
    pub fn holders(&self, now_us: u64) -> Vec<usize> {
        let live = |span: &&Span| span.last_us.saturating_add(SILENCE_US) >= now_us;
        let mut holders: Vec<usize> =
            self.spans.iter().filter(live).map(|span| span.server).collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// Returns the server of the newest sighting.
    #[must_use]
    pub fn last_seen(&self) -> Option<usize> {
        let newest = self.spans.iter().max_by_key(|span| span.last_us)?;
        Some(newest.server)
    }

    /// Returns for how long two or more servers held the address between `from_us` and `to_us`.
    ///
    /// The cost is quadratic in the number of spans, which changes of the holder bound.
    #[must_use]
    pub fn two_holders_us(&self, from_us: u64, to_us: u64) -> u64 {
        let mut overlaps = Vec::new();
        for (index, one) in self.spans.iter().enumerate() {
            for other in &self.spans[index + 1..] {
                let first = one.first_us.max(other.first_us).max(from_us);
                let last = one.last_us.min(other.last_us).min(to_us);
                if one.server != other.server && first <= last {
                    overlaps.push((first, last.max(first.saturating_add(ROUND_US))));
                }
            }
        }
        overlaps.sort_unstable();
        let mut total_us = 0;
        let mut counted_to = 0;
        for (first, last) in overlaps {
            total_us += last.saturating_sub(first.max(counted_to));
            counted_to = counted_to.max(last);
        }
        total_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;

    fn seen(sightings: &[(usize, u64)]) -> Observer {
        let mut observer = Observer::new();
        for &(server, at_us) in sightings {
            observer.handle_sighting(server, at_us);
        }
        observer
    }

    /// Sightings of `server` in each millisecond from `from_ms` until before `to_ms`.
    fn each_ms(server: usize, from_ms: u64, to_ms: u64) -> Vec<(usize, u64)> {
        (from_ms..to_ms).map(|ms| (server, ms * 1_000)).collect()
    }

    #[test]
    fn nothing_seen_is_nobody() {
        let observer = Observer::new();
        assert_eq!(observer.two_holders_us(0, u64::MAX), 0);
        assert_eq!(observer.last_seen(), None);
        assert!(observer.holders(0).is_empty());
    }

    #[test]
    fn a_change_in_good_order_has_no_overlap() {
        let observer = seen(&[each_ms(A, 0, 50), each_ms(B, 50, 100)].concat());
        assert_eq!(observer.two_holders_us(0, 100_000), 0);
        assert_eq!(observer.holders(60_000), [A, B], "seen shortly before");
        assert_eq!(observer.holders(90_000), [B]);
        assert_eq!(observer.last_seen(), Some(B));
    }

    #[test]
    fn an_overlap_is_as_long_as_it_lasted() {
        let observer = seen(&[each_ms(A, 0, 60), each_ms(B, 40, 100)].concat());
        assert_eq!(observer.two_holders_us(0, 100_000), 19_000);
        assert_eq!(observer.two_holders_us(50_000, 100_000), 9_000);
        assert_eq!(observer.two_holders_us(60_000, 100_000), 0);
    }

    #[test]
    fn one_sighting_between_two_of_another_is_an_overlap() {
        let observer = seen(&[(A, 0), (B, 5), (A, 10)]);
        assert_eq!(observer.two_holders_us(0, 100_000), ROUND_US);
        let claim = [each_ms(A, 0, 50), vec![(B, 20_500)]].concat();
        assert_eq!(seen(&claim).two_holders_us(0, 100_000), ROUND_US);
    }

    #[test]
    fn alternation_within_the_silence_is_an_overlap_and_beyond_it_is_two_changes() {
        let close = seen(&[(A, 0), (B, 10_000), (A, SILENCE_US)]);
        assert_eq!(close.two_holders_us(0, 100_000), ROUND_US);
        let far = seen(&[(A, 0), (B, 10_000), (A, SILENCE_US + 1)]);
        assert_eq!(far.two_holders_us(0, 100_000), 0);
        assert_eq!(far.spans().len(), 3);
    }

    #[test]
    fn rounds_without_an_answer_end_a_span_and_those_of_others_do_not() {
        let told = |rounds: &[(usize, u64)]| {
            let mut observer = seen(&[(A, 0), (B, 3_000)]);
            rounds.iter().for_each(|&(server, at_us)| observer.handle_round(server, at_us));
            observer.handle_sighting(A, 6_000);
            observer.two_holders_us(0, 100_000)
        };
        assert_eq!(told(&[(A, 10), (A, 2_000)]), 0);
        assert_eq!(told(&[(A, 10)]), ROUND_US, "the round that was answered at first");
        assert_eq!(told(&[(A, 0), (A, 2_000), (A, 6_000)]), ROUND_US, "one between the answers");
        assert_eq!(told(&[(B, 10), (B, 2_000), (A, 5_000)]), ROUND_US, "another was asked");
    }

    #[test]
    fn a_holder_that_answers_every_round_is_one_span() {
        let mut observer = Observer::new();
        for ms in 0..100 {
            observer.handle_sighting(A, ms * 1_000);
            observer.handle_sighting(A, ms * 1_000 + 20);
            observer.handle_round(A, ms * 1_000 + 30);
        }
        observer.handle_sighting(B, 50_500);
        assert_eq!(observer.spans().len(), 2);
        assert_eq!(observer.two_holders_us(0, 100_000), ROUND_US);
    }

    #[test]
    fn the_same_instant_is_an_overlap() {
        assert_eq!(seen(&[(A, 7), (B, 7)]).two_holders_us(0, 100), ROUND_US);
    }

    #[test]
    fn three_at_once_count_once() {
        let all = [each_ms(A, 0, 50), each_ms(B, 0, 50), each_ms(C, 0, 50)].concat();
        assert_eq!(seen(&all).two_holders_us(0, 100_000), 49_000);
    }

    #[test]
    fn sightings_that_come_late_join_their_span() {
        let observer = seen(&[(A, 5_000), (B, 30_000), (A, 4_000), (A, 6_000)]);
        assert_eq!(observer.spans().len(), 2);
        assert_eq!(observer.spans()[0].first_us, 4_000);
        assert_eq!(observer.two_holders_us(0, 100_000), 0);
    }

    #[test]
    fn every_pair_of_spans_is_judged_like_the_definition_by_points() {
        // All placements of two spans on a line of eight milliseconds, against counting instants.
        let span = |server, from, to| each_ms(server, from, to + 1);
        for (a, b) in (0..8).flat_map(|a| (a..8).map(move |b| (a, b))) {
            for (c, d) in (0..8).flat_map(|c| (c..8).map(move |d| (c, d))) {
                let observer = seen(&[span(A, a, b), span(B, c, d)].concat());
                let both = (0..8).filter(|ms| (a..=b).contains(ms) && (c..=d).contains(ms));
                let expected_us = match both.count() as u64 {
                    0 => 0,
                    count => ((count - 1) * 1_000).max(ROUND_US),
                };
                assert_eq!(observer.two_holders_us(0, u64::MAX), expected_us, "{a}-{b} {c}-{d}");
            }
        }
    }
}
