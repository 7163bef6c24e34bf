//! What has failed here lately, and what follows from it.
//!
//! A service that its monitor finds dead is restarted in place, so often within a span of time.
//! After that its group fails here, as it does when one of its services cannot be started: it goes
//! elsewhere. Where it has failed as often as is allowed, the node is penalised: it leaves the
//! group alone until the first of these failures is as old as that span.
//!
//! Each node counts for itself, and its share is the moves that the settings allow, divided by the
//! nodes that may hold the group. In no such span does a group fail more often than its share on
//! any node, so in none does it move more often than allowed, though no node is told what another
//! has counted. Addresses that cannot be taken do not count: nothing was started then.
//!
//! A node that leaves a group alone and sees that nobody else is alive who could take it tries it
//! all the same, once within such a span: a service that may work is better than one that does not
//! run.

use lifesign_core::time::{Duration, Instant};

use crate::explain::Penalty;
use crate::page::{span, times};
use crate::settings::Group;

/// What has failed of one group on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    /// How long a failure counts.
    window: Duration,
    /// How often the group may fail here within the window before this node is penalised.
    share: usize,
    services: Vec<Restarts>,
    /// When the group failed here, the earliest first; at most `share` of them.
    failed: Vec<Instant>,
    /// What was seen to fail last.
    last: String,
    /// Whether a penalty was in force when that was last asked.
    was_penalised: bool,
    /// When the group was last tried in spite of a penalty, because nobody else was alive.
    tried_alone: Option<Instant>,
    /// Whether it is tried so, or up since: until it fails here again.
    is_reprieved: bool,
}

/// How often one service was restarted in place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Restarts {
    /// How often that may be within the window.
    most: usize,
    /// When, the earliest first; at most `most` of them.
    at: Vec<Instant>,
}

/// What to do about a service that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Stop it and start it again here.
    Restart,
    /// Give its group up.
    Move,
}

impl Failures {
    /// Returns the count of a group with these settings, of which nothing has failed yet.
    pub(super) fn new(group: &Group) -> Self {
        let restarts = |most: u32| Restarts { most: count(most), at: Vec::new() };
        Self {
            window: group.failure_window,
            share: (count(group.moves) / group.prefer.len().max(1)).max(1),
            services: group.services.iter().map(|service| restarts(service.restarts)).collect(),
            failed: Vec::new(),
            last: String::new(),
            was_penalised: false,
            tried_alone: None,
            is_reprieved: false,
        }
    }

    /// Takes note of what fails, in words; it is told as the last cause.
    pub(super) fn note(&mut self, what: &str) {
        what.clone_into(&mut self.last);
    }

    /// Decides what becomes of a service that was found dead, and counts that.
    pub(super) fn handle_dead(&mut self, service: usize, now: Instant) -> Remedy {
        self.forget_old(now);
        match self.services.get_mut(service) {
            Some(restarts) if restarts.at.len() < restarts.most => {
                restarts.at.push(now);
                Remedy::Restart
            }
            _ => Remedy::Move,
        }
    }

    /// Counts that the group has failed here. If it comes back, its services are restarted as
    /// often as before.
    pub(super) fn handle_failed(&mut self, now: Instant) {
        self.forget_old(now);
        self.services.iter_mut().for_each(|restarts| restarts.at.clear());
        if self.failed.len() >= self.share {
            self.failed.remove(0);
        }
        self.failed.push(now);
        self.is_reprieved = false;
        self.was_penalised = self.penalised_until(now).is_some();
    }

    /// Forgets everything, because the operator says so.
    pub(super) fn clear(&mut self) {
        self.services.iter_mut().for_each(|restarts| restarts.at.clear());
        self.failed.clear();
        self.was_penalised = false;
        (self.tried_alone, self.is_reprieved) = (None, false);
    }

    /// Forgets what is too old, and returns whether a penalty has ended since this was last asked.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        let is_penalised = self.penalised_until(now).is_some();
        core::mem::replace(&mut self.was_penalised, is_penalised) && !is_penalised
    }

    /// Lets this node try the group in spite of a penalty, because nobody else is alive who could
    /// take it, and returns whether it does: once within the window.
    pub(super) fn reprieve(&mut self, now: Instant) -> bool {
        let may = self.tried_alone.is_none_or(|at| !self.counts(at, now));
        if !may || self.penalised_until(now).is_none() {
            return false;
        }
        self.tried_alone = Some(now);
        (self.is_reprieved, self.was_penalised) = (true, false);
        true
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let first = self.failed.first().filter(|_| self.was_penalised)?;
        Some(*first + self.window)
    }

    /// Returns until when this node leaves the group alone, if it does.
    pub(super) fn penalised_until(&self, now: Instant) -> Option<Instant> {
        if self.is_reprieved {
            return None;
        }
        let counted = self.failed.len().checked_sub(self.share)?;
        let until = *self.failed.get(counted)? + self.window;
        (!now.has_reached(until)).then_some(until)
    }

    /// Returns the penalty that is in force, in words.
    pub(super) fn penalty(&self, now: Instant) -> Option<Penalty> {
        let until = self.penalised_until(now)?;
        let (count, window) = (times(self.failed.len() as u64), self.window_text());
        let last = if self.last.is_empty() { "" } else { "; last " };
        let what = format!("it has failed here {count} within {window}{last}{}", self.last);
        Some(Penalty { what, until })
    }

    /// Returns how often the group has failed here of late.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.failed.iter().filter(|at| self.counts(**at, now)).count()
    }

    /// Returns how often it may.
    pub(super) const fn share(&self) -> usize {
        self.share
    }

    /// Returns how often a service was restarted in place of late, and how often it may be.
    pub(super) fn restarts(&self, service: usize, now: Instant) -> (usize, usize) {
        self.services.get(service).map_or((0, 0), |restarts| {
            (restarts.at.iter().filter(|at| self.counts(**at, now)).count(), restarts.most)
        })
    }

    /// Returns how long a failure counts.
    pub(super) const fn window(&self) -> Duration {
        self.window
    }

    /// Returns how long a failure counts, for people.
    pub(super) fn window_text(&self) -> String {
        span(self.window.as_millis())
    }

    /// Returns what was seen to fail last, if anything was.
    pub(super) fn last(&self) -> Option<&str> {
        Some(self.last.as_str()).filter(|last| !last.is_empty())
    }

    fn counts(&self, at: Instant, now: Instant) -> bool {
        !now.has_reached(at + self.window)
    }

    fn forget_old(&mut self, now: Instant) {
        let window = self.window;
        let is_fresh = |at: &Instant| !now.has_reached(*at + window);
        self.failed.retain(is_fresh);
        // What is counted from here on is counted as ever.
        self.is_reprieved &= self.failed.len() >= self.share;
        self.services.iter_mut().for_each(|restarts| restarts.at.retain(is_fresh));
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::example;
    use lifesign_core::node::NodeId;

    const WINDOW: u64 = 600_000;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(5_000_000) + Duration::from_millis(millis)
    }

    /// Returns the count of a group that `nodes` may hold, with a service that may be restarted
    /// `restarts` times.
    fn failures(nodes: usize, moves: u32, restarts: u32) -> Failures {
        let mut group = example().groups.remove(0);
        group.prefer = NodeId::all().take(nodes).collect();
        group.moves = moves;
        group.failure_window = Duration::from_millis(WINDOW);
        group.services.push(group.services[0].clone());
        group.services[0].restarts = restarts;
        group.services[1].restarts = 1;
        Failures::new(&group)
    }

    #[test]
    fn a_dead_service_is_restarted_as_often_as_allowed_and_then_its_group_moves() {
        let mut it = failures(2, 4, 2);
        assert_eq!(it.handle_dead(0, at(0)), Remedy::Restart);
        assert_eq!(it.handle_dead(0, at(10)), Remedy::Restart);
        assert_eq!(it.restarts(0, at(10)), (2, 2));
        assert_eq!(it.handle_dead(0, at(WINDOW - 1)), Remedy::Move);
        assert_eq!(it.handle_dead(1, at(WINDOW - 1)), Remedy::Restart, "each counts for itself");
        assert_eq!(it.handle_dead(0, at(WINDOW)), Remedy::Restart, "the first is too old");
        assert_eq!(it.handle_dead(0, at(WINDOW)), Remedy::Move, "the second is not");
        assert_eq!(it.restarts(0, at(WINDOW + 10)), (1, 2));
    }

    #[test]
    fn where_no_restart_is_allowed_the_group_moves_at_once() {
        let mut it = failures(2, 4, 0);
        assert_eq!(it.handle_dead(0, at(0)), Remedy::Move);
        assert_eq!(it.handle_dead(7, at(0)), Remedy::Move, "a service that is not there");
    }

    #[test]
    fn a_group_that_comes_back_has_its_restarts_again() {
        let mut it = failures(2, 4, 1);
        assert_eq!(it.handle_dead(0, at(0)), Remedy::Restart);
        assert_eq!(it.handle_dead(0, at(1)), Remedy::Move);
        it.handle_failed(at(1));
        assert_eq!(it.handle_dead(0, at(2)), Remedy::Restart);
    }

    #[test]
    fn a_node_is_penalised_from_its_last_allowed_failure_until_the_first_is_old() {
        let mut it = failures(2, 4, 2);
        it.handle_failed(at(100));
        assert_eq!((it.share(), it.count(at(100))), (2, 1));
        assert_eq!(it.penalised_until(at(100)), None, "it may fail once more");
        assert_eq!(it.poll_timeout(), None);
        it.handle_failed(at(5000));
        assert_eq!(it.penalised_until(at(5000)), Some(at(100 + WINDOW)));
        assert_eq!(it.poll_timeout(), Some(at(100 + WINDOW)));
        assert!(!it.handle_timeout(at(99 + WINDOW)));
        assert!(it.handle_timeout(at(100 + WINDOW)), "it ends");
        assert!(!it.handle_timeout(at(100 + WINDOW)), "and ends once");
        assert_eq!((it.poll_timeout(), it.count(at(100 + WINDOW))), (None, 1));
        it.handle_failed(at(200 + WINDOW));
        assert_eq!(it.penalised_until(at(200 + WINDOW)), Some(at(5000 + WINDOW)));
    }

    #[test]
    fn the_penalty_ends_by_itself_for_whoever_asks_late() {
        let mut it = failures(4, 4, 2);
        it.handle_failed(at(0));
        assert!(it.penalty(at(WINDOW - 1)).is_some());
        assert_eq!(it.penalty(at(WINDOW)), None, "also before the timeout is handled");
        assert!(it.handle_timeout(at(9 * WINDOW)));
    }

    #[test]
    fn the_operator_clears_it() {
        let mut it = failures(4, 4, 1);
        it.handle_dead(0, at(0));
        it.handle_failed(at(1));
        it.handle_dead(1, at(2));
        it.clear();
        assert_eq!((it.penalised_until(at(2)), it.poll_timeout()), (None, None));
        assert_eq!((it.restarts(0, at(2)).0, it.restarts(1, at(2)).0, it.count(at(2))), (0, 0, 0));
        assert!(!it.handle_timeout(at(2)), "nothing has ended by itself");
    }

    #[test]
    fn who_is_alone_tries_once_more_and_keeps_what_works() {
        let mut it = failures(2, 2, 1);
        assert!(!it.reprieve(at(0)), "nothing is in the way");
        it.handle_failed(at(0));
        assert!(it.penalised_until(at(1)).is_some());
        assert!(it.reprieve(at(1)));
        assert_eq!((it.penalised_until(at(1)), it.poll_timeout()), (None, None));
        assert!(!it.reprieve(at(2)), "it is tried already");
        assert_eq!(it.penalised_until(at(WINDOW - 1)), None, "what works is not given away");
        it.handle_failed(at(WINDOW - 1));
        assert_eq!(it.penalised_until(at(WINDOW)), Some(at(2 * WINDOW - 1)));
        assert!(!it.reprieve(at(WINDOW)), "once within the window");
        assert!(it.reprieve(at(WINDOW + 1)));
        it.clear();
        it.handle_failed(at(WINDOW + 2));
        assert!(it.reprieve(at(WINDOW + 3)), "the operator's word counts for more");
    }

    #[test]
    fn a_reprieve_ends_with_the_penalty() {
        let mut it = failures(2, 2, 1);
        it.handle_failed(at(0));
        assert!(it.reprieve(at(1)) && !it.handle_timeout(at(WINDOW)));
        it.handle_failed(at(WINDOW + 5));
        assert!(it.penalised_until(at(WINDOW + 6)).is_some());
    }

    /// A node that is alone, with a group that fails as soon as it is tried.
    #[test]
    fn no_window_has_more_tries_of_who_is_alone_than_one_besides_its_share() {
        for moves in 1..=8 {
            let mut it = failures(1, moves, 0);
            let mut failed: Vec<u64> = Vec::new();
            for now in (0..20 * WINDOW).step_by(1000) {
                it.handle_timeout(at(now));
                if it.penalised_until(at(now)).is_none() || it.reprieve(at(now)) {
                    it.handle_failed(at(now));
                    failed.push(now);
                }
            }
            for (place, first) in failed.iter().enumerate() {
                let within = failed[place..].iter().filter(|time| **time < first + WINDOW).count();
                assert!(within <= usize::try_from(moves).unwrap() + 1, "{moves}: {failed:?}");
            }
            assert!(failed.len() >= 20, "it never comes to rest for good: {failed:?}");
        }
    }

    #[test]
    fn a_failure_while_penalised_takes_the_place_of_the_first() {
        let mut it = failures(2, 4, 1);
        for millis in [0, 10, 20] {
            it.handle_failed(at(millis));
        }
        assert_eq!(it.count(at(20)), 2);
        assert_eq!(it.penalised_until(at(20)), Some(at(10 + WINDOW)));
    }

    #[test]
    fn a_penalty_says_what_has_failed_how_often() {
        let mut it = failures(4, 4, 1);
        it.handle_failed(at(0));
        let penalty = it.penalty(at(1)).unwrap();
        assert_eq!(penalty.what, "it has failed here once within 10 min 00 s");
        it.note("db: start exit status 3");
        let penalty = it.penalty(at(1)).unwrap();
        let expected = "it has failed here once within 10 min 00 s; last db: start exit status 3";
        assert_eq!((penalty.what.as_str(), penalty.until), (expected, at(WINDOW)));
        assert_eq!(it.last(), Some("db: start exit status 3"));
    }

    /// Every node is broken, and whoever may take the group does so at once, or a little later, in
    /// an order that varies.
    #[test]
    fn no_window_has_more_moves_than_allowed_however_many_nodes_there_are() {
        for nodes in 1..=16usize {
            for moves in u32::try_from(nodes).unwrap()..=20 {
                for pace in [1, 777, WINDOW / 7] {
                    let failed = broken_everywhere(nodes, moves, pace);
                    for (place, first) in failed.iter().enumerate() {
                        let end = first + WINDOW;
                        let within = failed[place..].iter().filter(|time| **time < end).count();
                        assert!(within <= usize::try_from(moves).unwrap(), "{nodes} {moves}");
                    }
                    assert_eq!(failed.len(), 4 * nodes, "it is tried again and again");
                }
            }
        }
    }

    /// Returns when a group fails that is broken on every node, until each has failed some times.
    fn broken_everywhere(nodes: usize, moves: u32, pace: u64) -> Vec<u64> {
        let mut all = vec![failures(nodes, moves, 0); nodes];
        let (mut failed, mut now, mut turn) = (Vec::new(), 0, 0);
        while failed.len() < 4 * nodes && now < 100 * WINDOW {
            turn = (turn * 5 + 3) % 64;
            let able = |place: &usize| all[*place].penalised_until(at(now)).is_none();
            match (0..nodes).map(|place| (place + turn) % nodes).find(able) {
                Some(place) => {
                    all[place].handle_failed(at(now));
                    failed.push(now);
                    now += pace;
                }
                None => {
                    let due = all.iter().filter_map(Failures::poll_timeout).min().unwrap();
                    now = due.since(at(0)).as_millis().max(now + 1);
                    for it in &mut all {
                        it.handle_timeout(at(now));
                    }
                }
            }
        }
        failed
    }
}
