//! The dongle of the demonstration, with a serial line to each server.
//!
//! ```text
//!   alpha ── alpha.tty ══ wire ══ port 0 ┐
//!                                        ├ dongle: the real firmware in QEMU, or its emulation
//!   beta ─── beta.tty ═══ wire ══ port 1 ┘
//! ```
//!
//! It runs on a machine of its own that no network reaches. The wires take the time that lines of
//! [`SPEED`] take.

mod emulation;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::emulation::Emulation;
use super::cluster::Cluster;
use super::emulator::trace::Pulse;
use super::emulator::{self, Board, Emulator, Missing};
use crate::link::serial::SPEED;
use crate::wire::{End, Wire};

/// The machine on which the dongle runs.
pub const DONGLE: &str = "dongle";

/// How long it holds a reset line, in milliseconds.
pub const PULSE_MS: f64 = 200.0;

/// A running dongle.
#[derive(Debug)]
pub struct Dongle {
    heart: Heart,
    wires: Vec<Wire>,
    missing: Option<Missing>,
}

/// What the dongle is.
#[derive(Debug)]
enum Heart {
    /// The real firmware in QEMU.
    Firmware(Emulator),
    /// The firmware's library as a program of this machine.
    Emulation(Emulation),
}

impl Dongle {
    /// Starts a dongle on the machine [`DONGLE`] of `cluster`, with a line to each of `servers`.
    ///
    /// It is the real firmware if that and QEMU are there, else the emulation.
    ///
    /// # Errors
    /// What kept it from starting.
    pub fn start(cluster: &mut Cluster, servers: &[&str]) -> io::Result<Self> {
        let directory = cluster.directory().join("ports");
        fs::create_dir_all(&directory)?;
        let program = cluster.program().to_owned();
        let places = [program, std::env::current_dir()?];
        let (heart, missing) = match emulator::image(Board::Mps2An385, &places) {
            Ok(image) => {
                let command = emulator::command(Board::Mps2An385, &image, &directory);
                cluster.start(DONGLE, command)?;
                let emulator = Emulator::attach(&directory, &cluster.journal_path(DONGLE))?;
                (Heart::Firmware(emulator), None)
            }
            Err(missing) => {
                let command = emulation::command(cluster.program(), &directory, servers.len());
                cluster.start(DONGLE, command)?;
                let emulation = Emulation::attach(directory, cluster.journal_path(DONGLE))?;
                (Heart::Emulation(emulation), Some(missing))
            }
        };
        let mut dongle = Self { heart, wires: Vec::new(), missing };
        for (port, server) in servers.iter().enumerate() {
            let near = End::Terminal(device(cluster.directory(), server));
            dongle.wires.push(Wire::join(near, dongle.port(port), Some(SPEED))?);
        }
        Ok(dongle)
    }

    /// Makes it the witness that `settings` name [`DONGLE`], over the line of the first of
    /// `servers`, as an administrator would.
    ///
    /// # Errors
    /// What the command wrote.
    pub fn provision(cluster: &Cluster, settings: &Path, servers: &[&str]) -> io::Result<()> {
        let mut command = Command::new(cluster.program());
        let first = servers.first().copied().unwrap_or_default();
        command.args(["dongle", "provision"]).arg(device(cluster.directory(), first));
        command.arg("--settings").arg(settings).args(["--resets", &servers.join(",")]);
        command.args(["--pulse", &format!("{PULSE_MS}ms")]);
        for (port, server) in (1..).zip(servers) {
            command.arg("--port").arg(format!("{port}={server}"));
        }
        let output = command.arg("--yes").stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("provision the dongle: {said}")))
    }

    /// Returns what the real firmware would have needed, if this is the emulation.
    #[must_use]
    pub const fn missing(&self) -> Option<Missing> {
        self.missing
    }

    /// Returns by how much the times of [`pulses`](Self::pulses) may be too late, in microseconds.
    #[must_use]
    pub const fn doubt_us(&self) -> u64 {
        match &self.heart {
            Heart::Firmware(_) => 0,
            // It tells milliseconds, from a start that was seen within some more.
            Heart::Emulation(_) => 10_000,
        }
    }

    /// Returns every time that a reset line was active.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        match &self.heart {
            Heart::Firmware(emulator) => emulator.pulses(),
            Heart::Emulation(emulation) => emulation.pulses(),
        }
    }

    /// Returns the emulator of the real firmware, if that is what it is.
    pub const fn emulator(&mut self) -> Option<&mut Emulator> {
        match &mut self.heart {
            Heart::Firmware(emulator) => Some(emulator),
            Heart::Emulation(_) => None,
        }
    }

    /// Returns the line of the server with this index; its left end is the server.
    #[must_use]
    pub fn line(&self, server: usize) -> &Wire {
        &self.wires[server]
    }

    /// Cuts the lines to all servers.
    pub fn cut_lines(&self) {
        self.wires.iter().for_each(Wire::cut);
    }

    /// Mends the lines.
    pub fn heal_lines(&self) {
        self.wires.iter().for_each(Wire::heal);
    }

    fn port(&self, port: usize) -> End {
        match &self.heart {
            Heart::Firmware(emulator) => End::Socket(emulator.port(port)),
            Heart::Emulation(emulation) => End::Device(emulation.port(port)),
        }
    }
}

/// Returns the serial device of `server`.
#[must_use]
pub fn device(directory: &Path, server: &str) -> PathBuf {
    directory.join(format!("{server}.tty"))
}
