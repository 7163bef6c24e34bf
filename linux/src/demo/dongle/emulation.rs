//! The emulated dongle: the firmware's library as a program of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::demo::emulator::trace::Pulse;

/// A running emulation.
#[derive(Debug)]
pub(super) struct Emulation {
    directory: PathBuf,
    journal: PathBuf,
    /// When it started, in microseconds of boot time; a few of them too late.
    started_us: u64,
}

/// Returns the command that runs the emulation with its devices in `directory`.
pub(super) fn command(program: &Path, directory: &Path, ports: usize) -> Command {
    let mut command = Command::new(program);
    command.args(["dongle", "emulate", "--json", "--ports", &ports.to_string()]);
    command.arg("--dir").arg(directory);
    command
}

impl Emulation {
    /// Returns the emulation that was started by [`command`] and that writes to the file `journal`,
    /// as soon as it is there.
    pub(super) fn attach(directory: PathBuf, journal: PathBuf) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let said = fs::read_to_string(&journal).unwrap_or_default();
            if let Some(uptime_us) = happenings(&said).last().and_then(|it| uptime_us(&it)) {
                let started_us = clock::now().as_micros().saturating_sub(uptime_us);
                return Ok(Self { directory, journal, started_us });
            }
            thread::sleep(Duration::from_millis(1));
        }
        let said = fs::read_to_string(&journal).unwrap_or_default();
        Err(io::Error::other(format!("the emulation does not start; it wrote: {}", said.trim())))
    }

    /// Returns the device of a port, from 0.
    pub(super) fn port(&self, port: usize) -> PathBuf {
        self.directory.join(format!("port{}", port + 1))
    }

    /// Returns every time that a reset line was active.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        let said = fs::read_to_string(&self.journal).unwrap_or_default();
        pulses(&said, self.started_us)
    }
}

/// How often it is looked for while it starts, every millisecond.
const ATTEMPTS: u32 = 10_000;

/// Returns what `journal` tells, one object a line.
fn happenings(journal: &str) -> impl Iterator<Item = Value> {
    // The last line may not be whole yet.
    journal.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn uptime_us(happening: &Value) -> Option<u64> {
    happening.get("uptime_ms")?.as_u64()?.checked_mul(1_000)
}

fn pulses(journal: &str, started_us: u64) -> Vec<Pulse> {
    let mut pulses: Vec<Pulse> = Vec::new();
    for told in happenings(journal).filter(|told| told["event"] == "pulse") {
        let number = told["port"].as_u64().and_then(|port| usize::try_from(port).ok());
        let (Some(number), Some(at_us)) = (number, uptime_us(&told)) else { continue };
        let (port, at_us) = (number.saturating_sub(1), started_us + at_us);
        if told["text"].as_str().is_some_and(|text| text.ends_with("is active")) {
            pulses.push(Pulse { port, begun_us: at_us, ended_us: None });
        } else if let Some(pulse) = pulses.iter_mut().rfind(|pulse| pulse.port == port) {
            pulse.ended_us = pulse.ended_us.or(Some(at_us));
        }
    }
    pulses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_are_read_from_what_the_emulation_tells() {
        let told = |uptime_ms: u64, event: &str, text: &str| {
            let port = 2;
            serde_json::json!({ "uptime_ms": uptime_ms, "event": event, "port": port, "text": text })
                .to_string()
        };
        let lines = [
            told(0, "port", "port 2 is /run/x/port2"),
            told(700, "pulse", "reset line 2 (beta) is active"),
            told(700, "noted", "resets beta"),
            told(900, "pulse", "reset line 2 (beta) is released"),
            "{\"uptime_ms\":90".to_owned(),
        ];
        let expected = Pulse { port: 1, begun_us: 700_005, ended_us: Some(900_005) };
        assert_eq!(pulses(&lines.join("\n"), 5), [expected]);
        let unended = Pulse { ended_us: None, ..expected };
        assert_eq!(pulses(&lines[..3].join("\n"), 5), [unended]);
    }
}
