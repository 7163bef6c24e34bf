//! What is seen from outside: who answers, for how long nobody did, and what is told of it.

use super::{Micros, Setup, World};
use crate::oracle::{Oracle, Wrong};
use crate::seen::{Seen, TraceHash};

/// One line of what was seen from outside.
pub type Line = (Micros, String);

/// How much was done, to compare speeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that have reached a process's socket.
    pub frames: u64,
    /// Wake-ups of processes.
    pub moves: u64,
}

/// What an observer has seen.
#[derive(Debug)]
pub(super) struct Sight {
    /// In words.
    trace: Vec<Line>,
    /// Since it was last taken, if somebody watches.
    seen: Option<Vec<(Micros, Seen)>>,
    hash: TraceHash,
    /// What is promised, judged.
    oracle: Oracle,
    /// How many of its verdicts were told.
    told: usize,
    wrong: Option<String>,
    /// When the last answer for each group was given, if nobody answers now.
    last: Vec<Micros>,
    /// Whether the network was whole.
    pub(super) whole: bool,
    /// The last moment at which something happened. What ends by itself is seen to have ended at
    /// the next such moment, so that it does not matter where a run is interrupted.
    pub(super) moment: Micros,
    /// A fault happens, so that what comes of it is not by hand.
    pub(super) is_fault: bool,
}

impl Sight {
    pub(super) fn new(setup: &Setup, now: Micros) -> Self {
        let groups = usize::from(setup.groups);
        Self {
            trace: Vec::new(),
            seen: None,
            hash: TraceHash::default(),
            oracle: Oracle::new(setup),
            told: 0,
            wrong: None,
            last: vec![now; groups],
            whole: true,
            moment: now,
            is_fault: false,
        }
    }
}

impl World {
    /// Keeps what is seen from now on, for [`take_seen`](Self::take_seen).
    pub fn watch(&mut self) {
        self.sight.seen.get_or_insert_default();
    }

    /// Returns what was seen since the last time, in order.
    pub fn take_seen(&mut self) -> Vec<(Micros, Seen)> {
        self.sight.seen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Returns the sum over everything that was seen so far: of one seed it is always the same.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.sight.hash.value()
    }

    /// Takes note that whatever was broken has been repaired, and will stay so.
    pub fn healed(&mut self) {
        self.see(Seen::Healed);
    }

    /// Returns every promise that was broken so far, also beyond what is assumed.
    #[must_use]
    pub fn verdicts(&self) -> &[Wrong] {
        self.sight.oracle.verdicts()
    }

    /// Returns how long after [`healed`](Self::healed) every group must be held.
    #[must_use]
    pub fn convergence(&self) -> Micros {
        self.sight.oracle.convergence()
    }

    /// Returns whether something went beyond what is assumed.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        !self.sight.oracle.broken().is_empty()
    }

    /// The run ends here: judges what has come due.
    pub fn conclude(&mut self) {
        self.sight.oracle.finish(self.now);
    }

    /// Tells what is seen now.
    pub(super) fn see(&mut self, seen: Seen) {
        self.sight.hash.add(self.now, &seen);
        self.sight.oracle.see(self.now, &seen);
        let known = self.sight.told;
        self.sight.told = self.sight.oracle.verdicts().len();
        for at in known..self.sight.told {
            let wrong = &self.sight.oracle.verdicts()[at];
            let (is_fatal, what) = (wrong.is_fatal(), wrong.to_string());
            if is_fatal {
                self.sight.wrong.get_or_insert_with(|| what.clone());
            }
            self.note(what);
        }
        if let Some(kept) = &mut self.sight.seen {
            kept.push((self.now, seen));
        }
    }

    /// Tells that somebody disturbs the world, unless a fault does.
    pub(super) fn by_hand(&mut self) {
        if !self.sight.is_fault {
            self.see(Seen::ByHand);
        }
    }

    /// Tells whether the network is whole, if that has changed.
    pub(super) fn look_at_network(&mut self) {
        let lines_whole = self.lines.iter().all(super::SerialLine::is_whole) && !self.reset_stuck;
        let whole = lines_whole && self.network.is_whole(self.sight.moment);
        if std::mem::replace(&mut self.sight.whole, whole) != whole {
            self.see(Seen::Network { whole });
        }
    }

    /// Returns the only server that answers for `group` now.
    #[must_use]
    pub fn holder(&self, group: u8) -> Option<u8> {
        let mut answering = self.answering(group);
        answering.next().filter(|_| answering.next().is_none())
    }

    /// Returns which promise was broken first that no broken assumption excuses, if any was.
    #[must_use]
    pub fn wrong(&self) -> Option<&str> {
        self.sight.wrong.as_deref()
    }

    /// Returns the last lines of the trace.
    #[must_use]
    pub fn told(&self) -> String {
        let lines = self.sight.trace.iter().rev().take(60).rev();
        lines.map(|(at, line)| format!("\n{:>12.3} ms {line}", *at as f64 / 1000.0)).collect()
    }

    pub(super) fn note(&mut self, line: String) {
        self.sight.trace.push((self.now, line));
        if self.sight.trace.len() > 4000 {
            self.sight.trace.drain(..2000);
        }
    }

    fn answering(&self, group: u8) -> impl Iterator<Item = u8> {
        let (group, now) = (usize::from(group), self.now);
        let servers = self.hosts.iter().take(self.setup.nodes.into());
        let answers = move |host: &&super::host::Host| {
            host.leases.get(group).is_some_and(|lease| now < lease.ends)
        };
        servers.filter(answers).map(|host| host.number)
    }

    /// Forgets the outages so far.
    pub fn clear_outage(&mut self) {
        self.outage.fill(0);
    }

    /// Takes note that `number` answers for a group until another moment than before.
    pub(super) fn note_answering(
        &mut self,
        group: usize,
        number: u8,
        before: Micros,
        after: Micros,
    ) {
        let now = self.now;
        let of = |host: &super::host::Host| host.leases.get(group).map_or(0, |lease| lease.ends);
        let servers = self.hosts.iter().take(self.setup.nodes.into());
        let others = servers.filter(|host| host.number != number);
        let ends = others.map(of).max().unwrap_or(0);
        let last = &mut self.sight.last[group];
        *last = (*last).max(before.max(ends).min(now));
        if after > now {
            self.outage[group] = self.outage[group].max(now - *last);
        }
    }

    /// Counts outages that are not over.
    pub(super) fn count_outages(&mut self) {
        for group in 0..self.setup.groups {
            let at = usize::from(group);
            let servers = self.hosts.iter().take(self.setup.nodes.into());
            let ends = servers.filter_map(|host| host.leases.get(at)).map(|lease| lease.ends).max();
            let last = self.sight.last[at].max(ends.unwrap_or(0));
            self.outage[at] = self.outage[at].max(self.now.saturating_sub(last));
        }
    }
}
