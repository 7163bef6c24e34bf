//! The stage on which the scenes play: two servers, a witness and a client, with real daemons.

mod answer;
mod example;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

pub use self::answer::Bounds;
use self::answer::{is_complete, read_bounds};
use self::example::{CALM, KEY, PACE, SETTINGS, TIMING, WITNESS_SETTINGS};
use super::client::{Client, Log};
use super::cluster::{Cluster, ClusterError};
use super::lab::{Lab, LabError, MachinePlan, Plan, Role};
use super::picture::{Health, MachineView, View};
use super::show::Show;
use crate::sys;

/// The servers, in the order of preference.
pub const SERVERS: [&str; 2] = ["alpha", "beta"];

/// The quorum server.
pub const WITNESS: &str = "quorum";

/// Machines, daemons and the client, and what is shown of them.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    client: Client,
    bounds: Bounds,
    settings: PathBuf,
    witness_settings: PathBuf,
    show: Show,
    view: View,
    begun_us: u64,
    judged_us: u64,
    drawn_us: u64,
}

impl Stage {
    /// Builds the laboratory, starts every daemon and the client.
    ///
    /// Where daemons get no real-time priority their spans are longer, and so are the promises.
    ///
    /// `program` is the lifesign program; everything is written to `directory`.
    ///
    /// # Errors
    /// [`StageError`] with the step that failed.
    pub fn set(program: &Path, directory: &Path, show: Show) -> Result<Self, StageError> {
        let mut lab = Lab::build(program, &plan()).map_err(StageError::Lab)?;
        let address: IpAddr = SERVICE.parse().map_err(|_| StageError::Program("address"))?;
        let client = Client::start(lab.machine("client"), address).map_err(StageError::Start)?;
        let begun_us = lab.now_us();
        // A thread of its own, because the priority stays with the thread that asks.
        let is_realtime = thread::spawn(|| sys::set_fifo_priority(1).is_ok());
        let is_realtime = is_realtime.join().unwrap_or(false);
        let cluster = Cluster::new(lab, program.to_owned(), directory.to_owned());
        let place = directory.display().to_string();
        let [timing, pace] = if is_realtime { [""; 2] } else { CALM };
        let write = |name: &str, text: &str| {
            let text = text.replace("DIRECTORY", &place);
            let text = text.replace(TIMING, timing).replace(PACE, pace);
            cluster.write(name, &text).map_err(StageError::Start)
        };
        write("key", KEY)?;
        let settings = write("lifesign.toml", SETTINGS)?;
        let witness_settings = write("witness.toml", WITNESS_SETTINGS)?;
        let checked = cluster.check(&settings).map_err(StageError::Settings)?;
        let bounds =
            read_bounds(&checked, is_realtime).ok_or(StageError::Program("check --json"))?;
        let view = View { address: SERVICE.to_owned(), ..View::default() };
        let mut stage = Self {
            cluster,
            client,
            bounds,
            settings,
            witness_settings,
            show,
            view,
            begun_us,
            judged_us: 0,
            drawn_us: 0,
        };
        if !is_realtime {
            stage.announce("no real-time priority here, so the spans are longer");
        }
        stage.announce("two servers and a witness start");
        stage.start_witness().map_err(StageError::Start)?;
        for name in SERVERS {
            stage.start_node(name).map_err(StageError::Start)?;
        }
        if stage.await_ready() { Ok(stage) } else { Err(StageError::NotReady(stage.last_words())) }
    }

    /// Starts the daemon of the server `name`, whose machine is booted if it is off.
    ///
    /// # Errors
    /// What kept it from starting.
    pub fn start_node(&mut self, name: &str) -> io::Result<()> {
        self.cluster.lab_mut().machine(name).boot()?;
        self.cluster.start_node(name, &self.settings)
    }

    /// Starts the quorum server.
    ///
    /// # Errors
    /// What kept it from starting.
    pub fn start_witness(&mut self) -> io::Result<()> {
        self.cluster.start_witness(WITNESS, &self.witness_settings)
    }

    /// Says what happens from here on.
    pub fn announce(&mut self, what: &str) {
        what.clone_into(&mut self.view.scene);
        self.show.say(what);
        self.refresh();
    }

    /// Says what came of it.
    pub fn report(&mut self, what: &str) {
        what.clone_into(&mut self.view.result);
        self.show.say(what);
        self.refresh();
    }

    /// Returns the output, for what comes after the last scene.
    pub const fn show_mut(&mut self) -> &mut Show {
        &mut self.show
    }

    /// Lets `milliseconds` pass, with the picture going on.
    pub fn pause(&mut self, milliseconds: u64) {
        let end_us = self.now_us() + milliseconds * 1_000;
        self.await_until(end_us, |_| false);
    }

    /// Waits until one server holds the address and the client is answered, for a while.
    ///
    /// Returns false if that takes more than [`PATIENCE_US`].
    pub fn await_settled(&mut self) -> bool {
        let mut since_us = None;
        self.await_until(self.now_us() + PATIENCE_US, |stage| {
            let now_us = stage.now_us();
            if stage.holder().is_none() || !stage.is_answered() {
                since_us = None;
                return false;
            }
            now_us - *since_us.get_or_insert(now_us) >= SETTLED_US
        })
    }

    /// Waits until one server serves and every daemon is ready to do so.
    ///
    /// Returns false if that takes more than [`PATIENCE_US`], or if a daemon has ended by itself.
    pub fn await_ready(&mut self) -> bool {
        let mut ready = false;
        self.await_until(self.now_us() + PATIENCE_US, |stage| {
            ready = SERVERS.iter().all(|name| stage.is_ready(name));
            ready || !SERVERS.iter().all(|name| stage.cluster.is_running(name))
        });
        ready && self.await_settled()
    }

    /// Returns the time that has been judged, and judges to the present from here on.
    pub fn take_judged_us(&mut self) -> (u64, u64) {
        let now_us = self.now_us();
        (std::mem::replace(&mut self.judged_us, now_us), now_us)
    }

    /// Returns the daemons, to hurt.
    pub const fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Returns the daemons.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns what `check` promised.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Returns what the client has seen so far.
    #[must_use]
    pub fn log(&self) -> Log {
        self.client.log()
    }

    /// Returns the server that alone is seen to answer for the address.
    #[must_use]
    pub fn holder(&self) -> Option<&'static str> {
        let holders = self.cluster.lab().holders(0);
        let [holder] = holders[..] else {
            return None;
        };
        SERVERS.into_iter().find(|name| *name == holder)
    }

    /// Returns the server that is not `name`.
    #[must_use]
    pub fn other(name: &str) -> &'static str {
        if name == SERVERS[0] { SERVERS[1] } else { SERVERS[0] }
    }

    /// Returns boot time, in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.cluster.lab().now_us()
    }

    /// Returns what the switch saw and all daemons wrote, for one who looks for a reason.
    #[must_use]
    pub fn journals(&self) -> String {
        let mut text = String::new();
        for span in self.cluster.lab().switch().record(0).all.spans() {
            let [first, last] = [span.first_us, span.last_us].map(super::scene::milliseconds);
            text += &format!("{first:.3} to {last:.3} ms: {} answers\n", SERVERS[span.server]);
        }
        for name in SERVERS.into_iter().chain([WITNESS]) {
            text += &format!("--- {name}\n{}", self.cluster.journal(name));
        }
        text
    }

    /// Returns the last lines of what all daemons wrote.
    fn last_words(&self) -> String {
        let mut text = String::new();
        for name in SERVERS.into_iter().chain([WITNESS]) {
            let journal = self.cluster.journal(name);
            let lines: Vec<&str> = journal.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            text += &format!("--- {name}\n{}\n", last.join("\n"));
        }
        text
    }

    /// Returns whether the client was answered a moment ago.
    fn is_answered(&self) -> bool {
        let last_us = self.client.last_arrival_us();
        last_us.is_some_and(|at_us| at_us + ANSWERED_US >= self.now_us())
    }

    /// Returns whether the daemon of `name` says that it takes part and hears all its peers.
    fn is_ready(&self, name: &str) -> bool {
        self.cluster.status(name).is_some_and(|status| is_complete(&status))
    }

    /// Shows the picture until `done` or until `end_us`; returns whether it was done.
    fn await_until(&mut self, end_us: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if self.now_us() >= end_us {
                return false;
            }
            if self.now_us() >= self.drawn_us + PICTURE_US {
                self.refresh();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Shows how everything is at present.
    fn refresh(&mut self) {
        self.drawn_us = self.now_us();
        if !self.show.has_picture() {
            return;
        }
        let lab = self.cluster.lab();
        let holders = lab.holders(0);
        let machine = |name: &str| MachineView {
            name: name.to_owned(),
            health: self.health(name),
            unplugged: lab.is_unplugged(name),
            holds: holders.contains(&name),
        };
        let (servers, witness) = (SERVERS.map(machine), machine(WITNESS));
        self.view.servers = servers;
        self.view.witness = witness;
        self.view.cut = lab.is_cut(SERVERS[0], SERVERS[1]);
        self.view.answered = self.is_answered();
        self.view.elapsed_ds = (self.now_us() - self.begun_us) / 100_000;
        self.show.draw(&self.view);
    }

    fn health(&self, name: &str) -> Health {
        match self.cluster.daemon(name) {
            _ if !self.cluster.lab().is_on(name) => Health::Off,
            Ok(daemon) if !daemon.is_running() => Health::Dead,
            Ok(daemon) if daemon.is_frozen() => Health::Frozen,
            Ok(_) => Health::Running,
            Err(_) => Health::Dead,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A frozen daemon would stay so until its machine ends, which is all that is left to come.
        for name in SERVERS {
            drop(self.cluster.signal(name, Signal::SIGCONT));
        }
    }
}

/// How long one may wait for a state that should come by itself, in microseconds.
pub const PATIENCE_US: u64 = 10_000_000;

/// How long a state has to last before it counts as settled, in microseconds.
const SETTLED_US: u64 = 200_000;

/// The time from one picture to the next while nothing is said, in microseconds.
const PICTURE_US: u64 = 50_000;

/// How old the last answer may be for the client to be served, in microseconds.
const ANSWERED_US: u64 = 20_000;

/// How much of what a daemon wrote is shown when the stage is not set.
const LAST_LINES: usize = 10;

/// The service address.
const SERVICE: &str = "10.77.0.100";

fn plan() -> Plan {
    Plan::new()
        .with_machine(MachinePlan::new(SERVERS[0], Role::Server).with_cable(0, "10.77.0.1/24"))
        .with_machine(MachinePlan::new(SERVERS[1], Role::Server).with_cable(0, "10.77.0.2/24"))
        .with_machine(MachinePlan::new(WITNESS, Role::Witness).with_cable(0, "10.77.0.9/24"))
        .with_machine(MachinePlan::new("client", Role::Client).with_cable(0, "10.77.0.50/24"))
        .with_watched(0, SERVICE)
}

/// Why the stage could not be set.
#[derive(Debug)]
pub enum StageError {
    /// The laboratory was not built.
    Lab(LabError),
    /// Something was not written or not started.
    Start(io::Error),
    /// The program refused the settings of the demonstration.
    Settings(ClusterError),
    /// The program did not say what the demonstration has to know.
    Program(&'static str),
    /// No server served in time; with what the daemons wrote.
    NotReady(String),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lab(error) => write!(f, "{error}"),
            Self::Start(error) => write!(f, "start the demonstration: {error}"),
            Self::Settings(error) => write!(f, "{error}"),
            Self::Program(what) => write!(f, "the program's answer is not understood: {what}"),
            Self::NotReady(journals) => {
                write!(f, "no server serves; the daemons wrote:\n{journals}")
            }
        }
    }
}

impl core::error::Error for StageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_server_is_the_other() {
        assert_eq!(Stage::other("alpha"), "beta");
        assert_eq!(Stage::other("beta"), "alpha");
    }
}
