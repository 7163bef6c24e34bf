//! What is measured in rounds, and the bounds that follow from the settings.

use core::fmt;
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
}

impl Figures {
    /// Returns the figures as lines for people.
    #[must_use]
    pub fn told(&self) -> String {
        let line = |what: &str, unit: &str, ratios: &[Ratio]| {
            let found = ratios.iter().map(|ratio| ratio.found);
            let Some(most) = found.clone().reduce(f64::max) else { return String::new() };
            let least = found.clone().fold(most, f64::min);
            let mean = found.sum::<f64>() / ratios.len() as f64;
            let bound = ratios[0].bound;
            let of = ratios.iter().map(|ratio| ratio.of()).fold(0.0, f64::max);
            format!(
                "{what}: {least:.0} to {most:.0} {unit}, mean {mean:.0}, of {} ({of:.2} of the \
                 bound of {bound:.0} at most)\n",
                ratios.len()
            )
        };
        line("crash to first answer", "ms", &self.detection)
            + &line("heartbeats of a node on a network", "a second", &self.frames)
            + &line("a heartbeat on the wire", "bytes", &self.bytes)
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
