//! The stage on which the scenes play: two servers, an arbiter and a client, with real daemons.

mod answer;
mod arbiter;
mod error;
mod example;
mod family;
mod power;
mod seen;
mod sight;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

pub use self::answer::Bounds;
use self::answer::{is_complete, read_bounds};
pub use self::arbiter::Arbiter;
pub use self::error::StageError;
use self::example::{KEY, PACE, TIMING, WITNESS_SETTINGS};
pub use self::family::Family;
use self::power::Power;
use super::client::{Client, Log};
use super::cluster::Cluster;
use super::dongle::Dongle;
use super::lab::Lab;
use super::picture::View;
use super::show::Show;
use super::traffic::Traffic;
use crate::sys;

/// The servers, in the order of preference.
pub const SERVERS: [&str; 2] = ["alpha", "beta"];

/// Machines, daemons and the client, and what is shown of them.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    clients: Vec<Client>,
    traffic: Option<Traffic>,
    arbiter: Arbiter,
    services: Vec<IpAddr>,
    dongle: Option<Dongle>,
    power: Power,
    bounds: Vec<Bounds>,
    settings: PathBuf,
    witness_settings: PathBuf,
    show: Show,
    view: View,
    begun_us: u64,
    judged_us: u64,
    drawn_us: u64,
}

impl Stage {
    /// Builds the laboratory, starts every daemon and the clients.
    ///
    /// Where daemons get no real-time priority their spans are longer, and so are the promises.
    ///
    /// `program` is the lifesign program; everything is written to `directory`.
    ///
    /// # Errors
    /// [`StageError`] with the step that failed.
    pub fn set(
        program: &Path,
        directory: &Path,
        show: Show,
        arbiter: Arbiter,
        family: Family,
    ) -> Result<Self, StageError> {
        let mut lab = Lab::build(program, &arbiter.plan(family)).map_err(StageError::Lab)?;
        let services = arbiter.services(family);
        let mut clients = Vec::new();
        for &address in &services {
            let client = Client::start(lab.machine("client"), address);
            clients.push(client.map_err(StageError::Start)?);
        }
        let traffic = arbiter.start_traffic(&mut lab, services[0]).map_err(StageError::Start)?;
        let begun_us = lab.now_us();
        // A thread of its own, because the priority stays with the thread that asks.
        let is_realtime = thread::spawn(|| sys::set_fifo_priority(1).is_ok());
        let is_realtime = is_realtime.join().unwrap_or(false);
        let cluster = Cluster::new(lab, program.to_owned(), directory.to_owned());
        let place = directory.display().to_string();
        let (settings, calm) = arbiter.settings();
        let [timing, pace] = if is_realtime { arbiter.spans() } else { calm };
        let write = |name: &str, text: &str| {
            let text = family.adapt(text).replace("DIRECTORY", &place);
            let text = text.replace(TIMING, timing).replace(PACE, pace);
            cluster.write(name, &text).map_err(StageError::Start)
        };
        write("key", KEY)?;
        let settings = write("lifesign.toml", settings)?;
        let witness_settings = write("witness.toml", WITNESS_SETTINGS)?;
        let checked = cluster.check(&settings).map_err(StageError::Settings)?;
        let bounds = read_bounds(&checked, arbiter.unaffected_ms(is_realtime))
            .ok_or(StageError::Program("check --json"))?;
        let mut stage = Self {
            cluster,
            clients,
            traffic,
            arbiter,
            services,
            dongle: None,
            power: Power::default(),
            bounds,
            settings,
            witness_settings,
            show,
            view: View::default(),
            begun_us,
            judged_us: 0,
            drawn_us: 0,
        };
        if !is_realtime {
            stage.announce("no real-time priority here, so the spans are longer");
        }
        stage.start_all().map_err(StageError::Start)?;
        if stage.await_ready() { Ok(stage) } else { Err(StageError::NotReady(stage.last_words())) }
    }

    fn start_all(&mut self) -> io::Result<()> {
        match self.arbiter {
            Arbiter::QuorumServer => {
                self.announce("two servers and a witness start");
                self.start_witness()?;
            }
            Arbiter::Dongle => {
                let dongle = Dongle::start(&mut self.cluster, &SERVERS)?;
                if let Some(missing) = dongle.missing() {
                    self.announce(&format!("the dongle is emulated: {missing}"));
                }
                self.announce("two servers and a dongle start");
                Dongle::provision(&self.cluster, &self.settings, &SERVERS)?;
                self.dongle = Some(dongle);
            }
        }
        SERVERS.into_iter().try_for_each(|name| self.start_node(name))
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
        self.cluster.start_witness(self.arbiter.name(), &self.witness_settings)
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

    /// Waits until one server holds each address and each client is answered, for a while.
    ///
    /// Returns false if that takes more than [`PATIENCE_US`].
    pub fn await_settled(&mut self) -> bool {
        let mut since_us = None;
        self.await_until(self.now_us() + PATIENCE_US, |stage| {
            let now_us = stage.now_us();
            let is_held = (0..stage.clients.len()).all(|group| stage.holder(group).is_some());
            if !is_held || !stage.is_answered() {
                since_us = None;
                return false;
            }
            now_us - *since_us.get_or_insert(now_us) >= SETTLED_US
        })
    }

    /// Waits until `name` alone is seen to answer for a group, for at most [`PATIENCE_US`].
    pub fn await_holder(&mut self, group: usize, name: &str) {
        let end_us = self.now_us() + PATIENCE_US;
        self.await_until(end_us, |stage| stage.holder(group) == Some(name));
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

    /// Returns what `check` promised for a group.
    #[must_use]
    pub fn bounds(&self, group: usize) -> Bounds {
        self.bounds[group]
    }

    /// Returns what the client of a group has seen so far.
    #[must_use]
    pub fn log(&self, group: usize) -> Log {
        self.clients[group].log()
    }

    /// Returns the service that the servers run and its clients, if they run one.
    #[must_use]
    pub const fn traffic(&self) -> Option<&Traffic> {
        self.traffic.as_ref()
    }

    /// Waits until a server knows that a client is connected with the other, for at most
    /// [`PATIENCE_US`].
    pub fn await_known_client(&mut self, name: &str) -> bool {
        self.await_until(self.now_us() + PATIENCE_US, |stage| {
            let status = stage.cluster.status(name).unwrap_or_default();
            status["connections"]["known"].as_u64().is_some_and(|count| count > 0)
        })
    }

    /// Waits until a server answers by the adapter with the index `cable` and by no other, for at
    /// most [`PATIENCE_US`].
    pub fn await_adapter(&mut self, name: &str, cable: usize) -> bool {
        let end_us = self.now_us() + PATIENCE_US;
        self.await_until(end_us, |stage| stage.adapter(name) == Some(cable))
    }

    /// Returns how many groups there are.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.clients.len()
    }

    /// Returns the dongle, if there is one.
    #[must_use]
    pub const fn dongle(&self) -> Option<&Dongle> {
        self.dongle.as_ref()
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
        for (group, service) in self.services.iter().enumerate() {
            for span in self.cluster.lab().switch().record(group).all.spans() {
                let [first, last] = [span.first_us, span.last_us].map(super::scene::milliseconds);
                let server = SERVERS[span.server];
                text += &format!("{first:.3} to {last:.3} ms: {server} answers for {service}\n");
            }
        }
        for name in SERVERS.into_iter().chain([self.arbiter.name()]) {
            text += &format!("--- {name}\n{}", self.cluster.journal(name));
        }
        text
    }

    /// Returns the last lines of what all daemons wrote.
    fn last_words(&self) -> String {
        let mut text = String::new();
        for name in SERVERS.into_iter().chain([self.arbiter.name()]) {
            let journal = self.cluster.journal(name);
            let lines: Vec<&str> = journal.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            text += &format!("--- {name}\n{}\n", last.join("\n"));
        }
        text
    }

    /// Returns whether each client was answered a moment ago.
    fn is_answered(&self) -> bool {
        let now_us = self.now_us();
        let mut last_us = self.clients.iter().map(Client::last_arrival_us);
        last_us.all(|last_us| last_us.is_some_and(|at_us| at_us + ANSWERED_US >= now_us))
    }

    /// Returns whether the daemon of `name` says that it takes part and hears all its peers.
    fn is_ready(&self, name: &str) -> bool {
        self.cluster.status(name).is_some_and(|status| is_complete(&status))
    }

    /// Shows the picture until `done` or until `end_us`; returns whether it was done.
    fn await_until(&mut self, end_us: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            self.obey_reset_lines();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_server_is_the_other() {
        assert_eq!(Stage::other("alpha"), "beta");
        assert_eq!(Stage::other("beta"), "alpha");
    }
}
