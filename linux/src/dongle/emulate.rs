//! A dongle without hardware: its firmware on this machine, behind pseudo-terminals.
//!
//! The library that runs here is the one in the microcontroller. Around it, a wire paces each port
//! to its speed, a file stands in for flash, and a command for whatever a reset line leads to.

mod flash;
mod port;
mod pulse;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use lifesign_core::dongle::{Cause, MAX_PORTS, Settings as Stored};
use lifesign_core::node::NodeId;
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::time::Instant;
use lifesign_firmware::Large;
use lifesign_firmware::dongle::{Board, Pins, Save};
use lifesign_firmware::events::Ring;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use self::flash::Flash;
use self::port::Port;
use self::pulse::Pulses;
use super::{DongleError, history};
use crate::clock;
use crate::settings::said;

/// What the command line says to an emulated dongle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many ports it has, 1 to 5.
    pub ports: u8,
    /// The directory for their devices, `port1` and so on.
    pub directory: PathBuf,
    /// The file in the place of its flash; by default `flash` in the directory.
    pub state: Option<PathBuf>,
    /// The only speed at which its lines are understood, in baud; without one each line has the
    /// speed of whoever opens its device.
    pub speed: Option<u32>,
    /// Whether its unlock pin is held.
    pub is_unlocked: bool,
    /// What the shell runs when a reset line fires.
    pub on_reset: Option<String>,
}

/// Something that happened, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When, since the dongle has started.
    pub uptime_ms: u64,
    /// What kind: `port`, `state`, `noted`, `pulse`, `command` or `end`.
    pub event: &'static str,
    /// At which port, from 1.
    pub port: Option<u8>,
    /// Whose port that is.
    pub name: Option<String>,
    /// The words for it.
    pub text: String,
}

/// Runs a dongle until `stop` is readable, and says what happens.
///
/// # Errors
/// Why it does not start.
pub fn run(
    options: &Options,
    stop: BorrowedFd<'_>,
    say: &mut dyn FnMut(&Happening),
) -> Result<(), DongleError> {
    match options.ports {
        1 => run_with::<1>(options, stop, say),
        2 => run_with::<2>(options, stop, say),
        3 => run_with::<3>(options, stop, say),
        4 => run_with::<4>(options, stop, say),
        5 => run_with::<MAX_PORTS>(options, stop, say),
        _ => Err(DongleError::Unfit(format!("a dongle has 1 to {MAX_PORTS} ports"))),
    }
}

fn run_with<const PORTS: usize>(
    options: &Options,
    stop: BorrowedFd<'_>,
    say: &mut dyn FnMut(&Happening),
) -> Result<(), DongleError> {
    let failed = |path: &Path, error: &io::Error| {
        DongleError::Failed(format!("open {}: {}", path.display(), said(error)))
    };
    let directory = &options.directory;
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let _lock = lock(directory)?;
    let state = options.state.clone().unwrap_or_else(|| directory.join("flash"));
    let mut flash = Flash::open(&state)?;
    let mut ports = Vec::new();
    for number in 1..=PORTS {
        let path = directory.join(format!("port{number}"));
        ports.push(Port::new(&path, options.speed).map_err(|error| failed(&path, &error))?);
    }
    let stored = flash.start();
    let settings = stored.settings.clone().and_then(Result::ok);
    let started = clock::now();
    let board = Board { name: "emulated", cause: Cause::Power };
    let mut ring = Ring::new();
    let mut emulator = Emulator {
        dongle: Large::<PORTS, SLOTS>::new(board, stored, &mut ring, seed()?, Instant::ZERO),
        ports,
        flash,
        pins: Pins { unlocked: options.is_unlocked, lines: PortSet::EMPTY },
        pulses: Pulses::new(options.on_reset.clone()),
        settings,
        told: 0,
        started,
        say,
    };
    emulator.begin();
    emulator.run(stop);
    emulator.tell("end", None, "ends, as asked".to_owned());
    Ok(())
}

/// How many messages can wait to go out.
const SLOTS: usize = 12;

/// Keeps other emulators out of `directory`.
fn lock(directory: &Path) -> Result<Flock<File>, DongleError> {
    let path = directory.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| {
        DongleError::Failed(format!("open {}: {}", path.display(), said(&error)))
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        DongleError::Failed(format!(
            "another dongle is emulated in {}: say --dir with another directory",
            directory.display()
        ))
    })
}

fn seed() -> Result<u64, DongleError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| DongleError::Failed(format!("draw a random number: {error}")))?;
    Ok(u64::from_le_bytes(seed))
}

struct Emulator<'r, 's, const PORTS: usize> {
    dongle: Large<'r, PORTS, SLOTS>,
    ports: Vec<Port>,
    flash: Flash,
    pins: Pins,
    pulses: Pulses,
    /// What it has stored, for names.
    settings: Option<Stored>,
    /// The number of the next event to tell.
    told: u32,
    started: Instant,
    say: &'s mut dyn FnMut(&Happening),
}

impl<const PORTS: usize> Emulator<'_, '_, PORTS> {
    fn begin(&mut self) {
        for (at, id) in (0..self.ports.len()).zip(PortId::all()) {
            let path = self.ports[at].path().display().to_string();
            self.tell("port", Some(id), format!("port {} is {path}", at + 1));
        }
        let state = match &self.settings {
            Some(settings) => format!("has settings of cluster {:08x}", settings.cluster.0),
            None => format!(
                "has no settings: `lifesign dongle provision {} --help`",
                self.ports[0].path().display()
            ),
        };
        self.tell("state", None, state);
    }

    fn run(&mut self, stop: BorrowedFd<'_>) {
        loop {
            let now = self.now();
            self.take_in(now);
            self.dongle.handle_timeout(self.pins, now);
            self.save(now);
            self.give_out();
            self.drive();
            self.tell_events();
            if self.wait(stop) {
                return;
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + clock::now().since(self.started)
    }

    fn take_in(&mut self, now: Instant) {
        let mut bytes = [0; 256];
        for (port, id) in self.ports.iter_mut().zip(PortId::all()) {
            port.follow();
            loop {
                let count = port.read(&mut bytes);
                self.dongle.handle_bytes(id, &bytes[..count], now);
                if count < bytes.len() {
                    break;
                }
            }
        }
    }

    fn save(&mut self, now: Instant) {
        while let Some(wanted) = self.dongle.poll_save() {
            let is_saved = self.flash.save(&wanted);
            if let (Save::Settings { settings, .. }, true) = (wanted, is_saved) {
                self.settings = Some(settings.clone());
            }
            self.dongle.handle_saved(is_saved, now);
        }
    }

    fn give_out(&mut self) {
        let now = clock::now();
        for (port, id) in self.ports.iter_mut().zip(PortId::all()) {
            loop {
                let count = port.write(self.dongle.pending(id), now);
                if count == 0 {
                    break;
                }
                self.dongle.sent(id, count);
            }
        }
    }

    /// Lets the reset lines be as the dongle wants them.
    fn drive(&mut self) {
        let wanted = self.dongle.lines();
        for id in PortId::all().take(PORTS) {
            let (was, is) = (self.pins.lines.contains(id), wanted.contains(id));
            if was == is {
                continue;
            }
            let name = self.port_name(id).unwrap_or_default();
            let state = if is { "active" } else { "released" };
            let number = id.number() + 1;
            self.tell("pulse", Some(id), format!("reset line {number} ({name}) is {state}"));
            let begun = if is { self.pulses.begin(id, &name) } else { Ok(()) };
            if let Err(why) = begun {
                self.tell("command", Some(id), why);
            }
        }
        self.pins.lines = wanted;
        while let Some((id, how)) = self.pulses.poll_ended() {
            self.tell("command", Some(id), how);
        }
    }

    /// Tells what the dongle has noted.
    fn tell_events(&mut self) {
        while self.told < self.dongle.ring().next() {
            let event = self.dongle.ring().get(self.told);
            self.told += 1;
            if let Some(event) = event {
                let settings = self.settings.as_ref();
                let text = history::sentence(&event.what, &|node| name_of(settings, node));
                self.tell("noted", None, text);
            }
        }
    }

    fn tell(&mut self, event: &'static str, port: Option<PortId>, text: String) {
        let happening = Happening {
            uptime_ms: self.now().as_micros() / 1000,
            event,
            port: port.map(|port| port.number() + 1),
            name: port.and_then(|port| self.port_name(port)),
            text,
        };
        (self.say)(&happening);
    }

    fn port_name(&self, port: PortId) -> Option<String> {
        let name = self.settings.as_ref()?.ports.get(port.index())?.name.to_string();
        Some(name).filter(|name| !name.is_empty())
    }

    /// Waits until there is something to do, and returns whether to stop.
    fn wait(&mut self, stop: BorrowedFd<'_>) -> bool {
        let mut due = self.started + self.dongle.poll_timeout().since(Instant::ZERO);
        if let Some(patience) = self.pulses.patience() {
            due = due.min(clock::now() + patience);
        }
        for (port, id) in self.ports.iter().zip(PortId::all()) {
            if !self.dongle.pending(id).is_empty() {
                due = due.min(port.poll_timeout());
            }
        }
        let left = due.since(clock::now()).as_micros();
        let left = TimeSpec::from_duration(std::time::Duration::from_micros(left));
        let readable = |port| PollFd::new(port, PollFlags::POLLIN);
        let mut watched: Vec<PollFd<'_>> =
            self.ports.iter().map(AsFd::as_fd).chain([stop]).map(readable).collect();
        // Whatever wakes it, everything is looked at.
        let _ready = ppoll(&mut watched, Some(left), None);
        watched.last().and_then(PollFd::any).unwrap_or(false)
    }
}

/// Returns the name of the node that a port's reset line leads to, or its number.
fn name_of(settings: Option<&Stored>, node: NodeId) -> String {
    let mut ports = settings.into_iter().flat_map(|settings| &settings.ports);
    match ports.find(|port| port.resets == Some(node)) {
        Some(port) => port.name.to_string(),
        None => format!("node {}", node.number()),
    }
}
