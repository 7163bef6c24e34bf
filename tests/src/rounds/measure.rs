//! What is measured in rounds, and the bounds that follow from the settings.

use core::fmt;
use std::collections::BTreeMap;
use std::fs;

use lifesign_core::frame::MAX_FRAME_LEN;
use serde_json::Value;

use super::scenery::Shape;
use super::stage::{Outcome, Stage};
use crate::trial::pause;

/// A measure and its bound.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// What was found.
    pub found: f64,
    /// What it may be.
    pub bound: f64,
}

impl Ratio {
    /// Returns the measure in parts of its bound.
    #[must_use]
    pub fn of(self) -> f64 {
        self.found / self.bound
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} of {:.0} ({:.2})", self.found, self.bound, self.of())
    }
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// From each crash of a holder to the first answer, in milliseconds, by `check`'s bound.
    pub detection: Vec<Ratio>,
    /// Heartbeats a second of one node on one network, by what the settings ask for.
    pub frames: Vec<Ratio>,
    /// Bytes of one heartbeat on the wire, with all headers, by the longest that there can be.
    pub bytes: Vec<Ratio>,
    /// How long each round took, in seconds, by its kind.
    pub rounds: BTreeMap<&'static str, Vec<f64>>,
    /// How many rounds were played again, because the machine stood still while they were played.
    pub again: u64,
}

impl Figures {
    /// Returns the figures as lines for people: least, median and most of each.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = String::new();
        for (kind, seconds) in &self.rounds {
            if let Some(spread) = Spread::of(seconds) {
                text += &format!("{kind:16} {:4} rounds, {spread:.1} s\n", seconds.len());
            }
        }
        for (what, unit, ratios) in self.measured() {
            let found: Vec<f64> = ratios.iter().map(|ratio| ratio.found).collect();
            let parts: Vec<f64> = ratios.iter().map(|ratio| ratio.of()).collect();
            if let (Some(found), Some(parts)) = (Spread::of(&found), Spread::of(&parts)) {
                let (count, bound) = (ratios.len(), ratios[0].bound);
                text += &format!("{what}: {count} times, {found:.0} {unit}\n");
                text += &format!("    in parts of its bound of {bound:.0}: {parts:.2}\n");
            }
        }
        text + &format!("played again because the machine stood still: {}\n", self.again)
    }

    /// Returns what is much larger than others of the same run, each a sentence.
    #[must_use]
    pub fn outliers(&self) -> Vec<String> {
        let outlier = |(what, unit, ratios): (&str, &str, &[Ratio])| {
            let found: Vec<f64> = ratios.iter().map(|ratio| ratio.found).collect();
            let spread = Spread::of(&found)?;
            let is_far = spread.most > MOST_OF_MEDIAN * spread.median;
            is_far.then(|| format!("{what}: {spread:.0} {unit}"))
        };
        self.measured().into_iter().filter_map(outlier).collect()
    }

    fn measured(&self) -> [(&'static str, &'static str, &[Ratio]); 3] {
        [
            ("crash to first answer", "ms", &self.detection),
            ("heartbeats of a node on a network", "a second", &self.frames),
            ("a heartbeat on the wire", "bytes", &self.bytes),
        ]
    }
}

/// How much more than the median of its run anything may be.
const MOST_OF_MEDIAN: f64 = 2.0;

/// The least, the median and the most of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Returns nothing for no figures.
    fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.get(sorted.len().checked_sub(1)? / 2..=sorted.len() / 2)?;
        let median = middle.iter().sum::<f64>() / middle.len() as f64;
        Some(Self { least: *sorted.first()?, median, most: *sorted.last()? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(0);
        let [least, median, most] =
            [self.least, self.median, self.most].map(|figure| format!("{figure:.places$}"));
        write!(f, "{least} / {median} / {most}")
    }
}

/// What one adapter has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u64,
    bytes: u64,
}

/// How long the wire is listened to, in milliseconds.
const LISTENED_MS: u64 = 3_000;

impl Stage {
    /// Returns the longest that a crash may take by `check`, for the first group.
    pub(super) fn crash_bound_ms(&self) -> Outcome<f64> {
        let bound = &self.checked()?["groups"][0]["bounds"]["crash_ms"];
        bound.as_f64().ok_or_else(|| format!("check says of a crash: {bound}"))
    }

    fn checked(&self) -> Outcome<Value> {
        self.trial.cluster().check(self.trial.settings()).map_err(|error| error.to_string())
    }

    /// Counts what each node sends while nothing happens and nobody asks it anything.
    pub(super) fn bandwidth(&mut self, figures: &mut Figures) -> Outcome {
        let heartbeat_ms = self.checked()?["heartbeat_ms"].as_f64().unwrap_or(f64::NAN);
        // One frame for all nodes, and one for the quorum server.
        let copies = if self.shape == Shape::Pair { 2e3 } else { 1e3 };
        self.trial.lab().switch().set_asking(false);
        pause(200);
        let begun_us = self.trial.lab().now_us();
        let before = self.sent_by_all();
        pause(LISTENED_MS);
        let after = self.sent_by_all();
        let seconds = (self.trial.lab().now_us() - begun_us) as f64 / 1e6;
        self.trial.lab().switch().set_asking(true);
        for (before, after) in before.into_iter().zip(after) {
            let packets = (after.packets - before.packets) as f64;
            let bytes = (after.bytes - before.bytes) as f64;
            let rate = Ratio { found: packets / seconds, bound: copies / heartbeat_ms };
            let size = Ratio { found: bytes / packets.max(1.0), bound: LONGEST_ON_WIRE };
            // Besides the heartbeats a node answers its neighbours' questions now and then.
            if !(0.5..1.5).contains(&rate.of()) || size.of() > 1.0 {
                return Err(format!("a node sends {rate} packets a second, each {size} bytes"));
            }
            figures.frames.push(rate);
            figures.bytes.push(size);
        }
        self.settle("nothing has happened")
    }

    /// Returns what each adapter of each node has sent.
    fn sent_by_all(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        for name in self.shape.nodes() {
            let machine = self.trial.cluster_mut().lab_mut().machine(name);
            let read = machine.within(|| fs::read_to_string("/proc/thread-self/net/dev"));
            let text = read.unwrap_or_default();
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                // After the name there are eight columns of what was received.
                if words.first().is_some_and(|word| word.starts_with("eth")) && words.len() > 10 {
                    let number = |at: usize| words[at].parse().unwrap_or_default();
                    all.push(Sent { bytes: number(9), packets: number(10) });
                }
            }
        }
        all
    }
}

/// A frame of the longest kind with its headers: Ethernet, IPv4 and UDP.
const LONGEST_ON_WIRE: f64 = (MAX_FRAME_LEN + 14 + 20 + 8) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |figures: &[f64]| Spread::of(figures).map(|it| it.to_string());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[4.0]).as_deref(), Some("4 / 4 / 4"));
        assert_eq!(spread(&[9.0, 1.0]).as_deref(), Some("1 / 5 / 9"));
        assert_eq!(spread(&[9.0, 1.0, 2.0]).as_deref(), Some("1 / 2 / 9"));
    }

    #[test]
    fn what_is_far_from_the_rest_of_its_run_is_told() {
        let ratio = |found: f64| Ratio { found, bound: 1.0 };
        let detection = vec![ratio(10.0), ratio(11.0), ratio(20.0)];
        let mut figures = Figures { detection, ..Figures::default() };
        assert_eq!(figures.outliers(), Vec::<String>::new());
        figures.detection[2] = ratio(23.0);
        assert_eq!(figures.outliers(), ["crash to first answer: 10 / 11 / 23 ms"]);
    }
}
