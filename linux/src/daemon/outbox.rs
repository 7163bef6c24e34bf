//! Notices that wait for one target: one at a time, in order, each at least once.
//!
//! A delivery that fails is tried again, after longer and longer pauses. What waits is bounded:
//! where there is no room, an earlier notice on the same subject is merged into the next one, which
//! says how many it stands for. So whatever comes in, the last state of each subject is delivered.

use std::collections::VecDeque;

use lifesign_core::time::{Duration, Instant};

use crate::notice::{Kind, Notice};

/// What waits for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outbox {
    /// The oldest first; it is the one that is under way.
    waiting: VecDeque<Notice>,
    is_under_way: bool,
    /// How often the first was tried in vain.
    tries: u32,
    /// When it is tried again.
    due: Option<Instant>,
    /// Why it was not delivered.
    failure: Option<String>,
}

impl Outbox {
    /// Adds what has happened.
    pub(super) fn push(&mut self, notice: Notice) {
        self.waiting.push_back(notice);
        if self.waiting.len() > MOST {
            self.merge();
        }
    }

    /// Returns the notice to deliver now, if one is due; it is under way from here on.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Notice> {
        if self.is_under_way || self.due.is_some_and(|due| !now.has_reached(due)) {
            return None;
        }
        let notice = self.waiting.front()?.clone();
        self.is_under_way = true;
        Some(notice)
    }

    /// Takes note that what was under way has arrived.
    pub(super) fn handle_delivered(&mut self) {
        if self.is_under_way {
            self.waiting.pop_front();
        }
        let waiting = core::mem::take(&mut self.waiting);
        *self = Self { waiting, ..Self::default() };
    }

    /// Takes note that what was under way has not arrived, for this reason.
    pub(super) fn handle_failed(&mut self, why: String, now: Instant) {
        self.is_under_way = false;
        let pause = FIRST_PAUSE.times(1 << self.tries.min(MOST_DOUBLINGS)).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        self.due = Some(now + pause);
        self.failure = Some(why);
    }

    /// Returns when the next delivery is due, if one waits that is not under way.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let waits = !self.is_under_way && !self.waiting.is_empty();
        waits.then(|| self.due.unwrap_or(now))
    }

    /// Returns why nothing arrives, if that is so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Returns whether all has been delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Merges the oldest notice that another one follows on the same subject. Groups and members
    /// are fewer than there is room for, so if there is none, alerts are: then two of them.
    fn merge(&mut self) {
        let first = usize::from(self.is_under_way);
        let later = |at: usize, is_alike: &dyn Fn(&Notice, &Notice) -> bool| {
            let this = self.waiting.get(at)?;
            let next = self.waiting.iter().skip(at + 1).position(|other| is_alike(this, other))?;
            Some((at, at + 1 + next))
        };
        let same =
            |one: &Notice, other: &Notice| one.kind == other.kind && one.subject == other.subject;
        let alerts =
            |one: &Notice, other: &Notice| one.kind == Kind::Alert && other.kind == Kind::Alert;
        let all = first..self.waiting.len();
        let found = all.clone().find_map(|at| later(at, &same));
        let found = found.or_else(|| all.clone().find_map(|at| later(at, &alerts)));
        let Some((at, next)) = found else { return };
        let merged = self.waiting.get(at).map_or(0, |notice| notice.merged).saturating_add(1);
        if let Some(next) = self.waiting.get_mut(next) {
            next.merged = next.merged.saturating_add(merged);
        }
        self.waiting.remove(at);
    }
}

/// The most notices that wait: more than there can be groups and members.
const MOST: usize = 64;
/// How long after its first failure a delivery is tried again; each time it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(60_000);
const MOST_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn notice(kind: Kind, subject: &str, sequence: u64) -> Notice {
        Notice { kind, subject: subject.to_owned(), sequence, ..Notice::default() }
    }

    /// Delivers everything, and returns each notice's sequence and how many it stands for.
    fn drained(outbox: &mut Outbox) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        while let Some(notice) = outbox.poll(at(u32::MAX.into())) {
            all.push((notice.sequence, notice.merged));
            outbox.handle_delivered();
        }
        all
    }

    #[test]
    fn one_is_under_way_at_a_time_and_in_order() {
        let mut outbox = Outbox::default();
        assert!(outbox.poll(at(0)).is_none() && outbox.poll_timeout(at(0)).is_none());
        (1..=3).for_each(|sequence| outbox.push(notice(Kind::Group, "www", sequence)));
        assert_eq!(outbox.poll_timeout(at(5)), Some(at(5)));
        assert_eq!(outbox.poll(at(5)).map(|notice| notice.sequence), Some(1));
        assert_eq!((outbox.poll(at(6)), outbox.poll_timeout(at(6))), (None, None));
        outbox.handle_delivered();
        assert_eq!(drained(&mut outbox), [(2, 0), (3, 0)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_fails_is_tried_again_after_longer_and_longer_pauses_and_holds_up_the_rest() {
        let mut outbox = Outbox::default();
        outbox.push(notice(Kind::Group, "www", 1));
        outbox.push(notice(Kind::Group, "www", 2));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(outbox.poll(now).map(|notice| notice.sequence), Some(1));
            outbox.handle_failed("exit status 1".to_owned(), now);
            let due = outbox.poll_timeout(now).unwrap();
            assert!(outbox.poll(due - Duration::from_micros(1)).is_none());
            pauses.push(due.since(now).as_millis());
            now = due;
        }
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000];
        assert_eq!(pauses, expected);
        assert_eq!(outbox.failure(), Some("exit status 1"));
        outbox.poll(now).unwrap();
        outbox.handle_delivered();
        assert_eq!(outbox.failure(), None);
        assert_eq!(outbox.poll(now).map(|notice| notice.sequence), Some(2), "without a pause");
    }

    #[test]
    fn the_last_state_of_each_subject_arrives_however_many_there_were() {
        let mut outbox = Outbox::default();
        outbox.push(notice(Kind::Peer, "beta", 0));
        outbox.poll(at(0)).unwrap();
        for sequence in 1..=1000 {
            let subject = if sequence == 10 { "mail" } else { "www" };
            outbox.push(notice(Kind::Group, subject, sequence));
        }
        outbox.handle_failed("no".to_owned(), at(0));
        let all = drained(&mut outbox);
        assert_eq!(all.len(), MOST);
        assert_eq!(all[0], (0, 0), "what is under way is not touched");
        assert!(all.contains(&(10, 0)) && all.last() == Some(&(1000, 0)), "{all:?}");
        assert!(all.is_sorted(), "the order is kept: {all:?}");
        let stood_for: u64 = all.iter().map(|(_, merged)| u64::from(*merged) + 1).sum();
        assert_eq!(stood_for, 1001, "each is counted");
    }

    #[test]
    fn alerts_that_are_all_different_make_room_for_groups() {
        let mut outbox = Outbox::default();
        for sequence in 0..32 {
            outbox.push(notice(Kind::Group, &format!("group {sequence}"), sequence));
        }
        for sequence in 32..500 {
            outbox.push(notice(Kind::Alert, &format!("alert {sequence}"), sequence));
        }
        let all = drained(&mut outbox);
        assert_eq!(all.len(), MOST);
        let expected: Vec<(u64, u32)> = (0..32).map(|sequence| (sequence, 0)).collect();
        assert_eq!(all[..32], expected);
        assert_eq!(all.last(), Some(&(499, 0)));
    }

    #[test]
    fn what_was_not_under_way_cannot_arrive() {
        let mut outbox = Outbox::default();
        outbox.push(notice(Kind::Group, "www", 1));
        outbox.handle_delivered();
        assert_eq!(drained(&mut outbox), [(1, 0)]);
    }
}
