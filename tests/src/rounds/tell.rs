//! What is told of a round that went wrong, so that a stranger can see why.

use std::fs;

use super::scenery::GROUPS;
use super::stage::Stage;

/// How many lines of what services wrote, and how many stays at an address, are told.
const LAST: usize = 24;

impl Stage {
    /// Returns whether what went wrong since a time may be the fault of the machine itself, which
    /// stood still.
    pub(super) fn is_excused(&self, since_us: u64) -> bool {
        !self.is_broken && !self.gauge.stalls(since_us).is_empty()
    }

    /// Returns what each member wrote since the last call.
    pub(super) fn fresh_journals(&mut self) -> String {
        let mut text = String::new();
        for name in self.members() {
            let journal = self.trial.cluster().journal(name);
            let from = self.read.insert(name, journal.len()).unwrap_or(0);
            text += &format!("--- {name} wrote\n{}", journal.get(from..).unwrap_or(&journal));
        }
        text
    }

    /// Returns what was done since a time, and what was seen of it from outside.
    pub(super) fn seen(&self, since_us: u64) -> String {
        let mut text = "--- what was done, by the clock of the journals\n".to_owned();
        for (at_us, what) in self.deeds.iter().filter(|(at_us, _)| *at_us >= since_us) {
            text += &format!("[{}] {what}\n", seconds(*at_us));
        }
        text += "--- who got no processor\n";
        for stall in self.gauge.stalls(since_us) {
            let (end, length_ms) = (seconds(stall.end_us), stall.length_us / 1_000);
            text += &format!("[{end}] {} for {length_ms} ms until here\n", stall.who);
        }
        text += &format!("--- who is to hold each group: {:?}\n", self.expected());
        for (index, group) in GROUPS.iter().enumerate() {
            text += &format!("--- who was seen to answer for {group}\n");
            let record = self.trial.lab().switch().record(index).all;
            let spans = record.spans();
            for span in &spans[spans.len().saturating_sub(LAST)..] {
                let name = self.shape.nodes().get(span.server).copied().unwrap_or("?");
                let (first, last) = (seconds(span.first_us), seconds(span.last_us));
                text += &format!("[{first}] to [{last}] {name}\n");
            }
        }
        let ledger = fs::read_to_string(self.ledger_path()).unwrap_or_default();
        let lines: Vec<&str> = ledger.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST)..].join("\n");
        text + &format!("--- what the services wrote last\n{last}\n")
    }

    /// Returns how each node says that things are, and why.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for name in self.shape.nodes() {
            text += &format!("--- {name} says\n{}", self.trial.ask(name, &["status"]));
            for group in GROUPS {
                text += &self.trial.ask(name, &["why", group]);
            }
        }
        text
    }
}

fn seconds(at_us: u64) -> String {
    format!("{}.{:06}", at_us / 1_000_000, at_us % 1_000_000)
}
