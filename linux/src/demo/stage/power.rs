//! What a reset line does to a server: its machine dies, and boots when the line is let go.

use super::super::emulator::trace::Pulse;
use super::{SERVERS, Stage};

/// What the reset lines have done so far.
#[derive(Debug, Default)]
pub(super) struct Power {
    pulses: Vec<Pulse>,
    /// How many pulses have begun and how many have ended, for each server.
    obeyed: [(usize, usize); 2],
}

impl Power {
    /// Returns whose line is active.
    pub(super) fn active(&self) -> [bool; 2] {
        self.obeyed.map(|(begun, ended)| begun > ended)
    }

    /// Takes note of what the lines did; returns which servers die now and which boot.
    fn handle(&mut self, pulses: Vec<Pulse>) -> ([bool; 2], [bool; 2]) {
        let count = |server: usize| {
            let own = pulses.iter().filter(|pulse| pulse.port == server);
            let ended = own.clone().filter(|pulse| pulse.ended_us.is_some());
            (own.count(), ended.count())
        };
        let counts = [count(0), count(1)];
        let was = std::mem::replace(&mut self.obeyed, counts);
        self.pulses = pulses;
        let changes = [0, 1].map(|at| (counts[at].0 > was[at].0, counts[at].1 > was[at].1));
        (changes.map(|(begun, _)| begun), changes.map(|(_, ended)| ended))
    }
}

impl Stage {
    /// Does to the servers what the dongle's reset lines do to real ones.
    pub(super) fn obey_reset_lines(&mut self) {
        let Some(dongle) = &self.dongle else { return };
        let (dying, booting) = self.power.handle(dongle.pulses());
        for (at, name) in SERVERS.into_iter().enumerate() {
            if dying[at] {
                self.cluster.lab_mut().machine(name).crash();
            }
            if booting[at] {
                // A daemon that does not start is seen: the scene does not settle.
                drop(self.start_node(name));
            }
        }
    }

    /// Waits until the dongle would reset again: it leaves some time between two pulses.
    pub fn await_line_rested(&mut self) {
        let ended_us = self.power.pulses.iter().filter_map(|pulse| pulse.ended_us).max();
        let rested_us = ended_us.unwrap_or(self.begun_us) + DISTANCE_US;
        self.await_until(rested_us, |_| false);
    }

    /// Returns the pulses of a server's reset line that began at `from_us` or later.
    #[must_use]
    pub fn pulses_since(&self, server: &str, from_us: u64) -> Vec<Pulse> {
        let own = |pulse: &&Pulse| SERVERS[pulse.port] == server && pulse.begun_us >= from_us;
        self.power.pulses.iter().filter(own).copied().collect()
    }
}

/// The least time between two pulses, and from the dongle's start to the first, in microseconds.
const DISTANCE_US: u64 = 2_500_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pulse_kills_once_and_boots_once() {
        let pulse = |port, ended_us| Pulse { port, begun_us: 5, ended_us };
        let mut power = Power::default();
        assert_eq!(power.handle(vec![]), ([false; 2], [false; 2]));
        assert_eq!(power.handle(vec![pulse(1, None)]), ([false, true], [false; 2]));
        assert_eq!(power.handle(vec![pulse(1, None)]), ([false; 2], [false; 2]));
        assert_eq!(power.active(), [false, true]);
        assert_eq!(power.handle(vec![pulse(1, Some(9))]), ([false; 2], [false, true]));
        let both = vec![pulse(1, Some(9)), pulse(0, Some(20))];
        assert_eq!(power.handle(both), ([true, false], [true, false]));
        assert_eq!(power.active(), [false; 2]);
    }
}
