//! Real daemons on real kernels: a cluster in a laboratory, written down in a few words.
//!
//! [`run`] gives each test namespaces of its own. Spans are such that a busy machine without
//! real-time priority keeps them. Whoever waits, waits for much longer than it should take. What
//! cannot be done panics, as do two servers that answered at once, with what the daemons wrote.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

mod adapters;
mod command;
pub mod routers;
mod setup;
mod watchdog;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lifesign::demo::client::Client;
use lifesign::demo::cluster::Cluster;
use lifesign::demo::dongle::Dongle;
use lifesign::demo::emulator::Board;
use lifesign::demo::lab::Lab;
use lifesign::demo::watchdog::Watchdog;
use lifesign::namespace::{self, Users};
use nix::sys::signal::Signal;
use serde_json::Value;

pub use self::setup::Setup;
use crate::scratch::Scratch;

/// The quorum server.
pub const WITNESS: &str = "quorum";

/// How long anything may take that must come, in microseconds.
const PATIENCE_US: u64 = 30_000_000;

/// The key that all have unless a test says otherwise.
pub const KEY: &str = "version = 1\nsign = 1\n[keys]\n\
    1 = \"7472796c6966657369676e7472796c6966657369676e7472796c696665736967\"\n";

/// Another key.
pub const OTHER_KEY: &str = "version = 1\nsign = 1\n[keys]\n\
    1 = \"6f746865726b65796f746865726b65796f746865726b65796f746865726b6579\"\n";

/// A cluster that is tried. Two servers that answered at once end it with a panic.
#[derive(Debug)]
pub struct Trial {
    cluster: Cluster,
    program: PathBuf,
    setup: Setup,
    settings: PathBuf,
    witness_settings: PathBuf,
    watchdogs: Vec<(String, Watchdog)>,
    _scratch: Scratch,
}

/// Runs `body` with a cluster of `setup`, whose daemons are not started, in namespaces.
///
/// `test` is the full name of the calling test and `program` the lifesign program. In the end, no
/// two servers may have answered for one address at any time.
pub fn run(test: &str, program: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    let entered = namespace::enter(test, Users::New);
    if entered.unwrap_or_else(|error| panic!("{error}")).is_none() {
        return;
    }
    let mut trial = Trial::build(program, setup);
    body(&mut trial);
    trial.expect_one_holder_at_most();
}

impl Trial {
    /// Builds a laboratory in the caller's namespaces, with no daemon started; see [`run`].
    #[must_use]
    pub fn build(program: &str, setup: Setup) -> Self {
        let scratch = Scratch::new("trial");
        let directory = scratch.path();
        let lab = Lab::build(Path::new(program), &setup.plan()).expect("a laboratory");
        let cluster = Cluster::new(lab, program.into(), directory.to_owned());
        let write = |name: &str, text: &str| cluster.write(name, text).expect("a file");
        write("key", KEY);
        let settings = write("lifesign.toml", &setup.text(directory));
        let witness_settings = write("witness.toml", &setup.witness_text(directory));
        let (program, watchdogs) = (program.into(), Vec::new());
        Self { cluster, program, setup, settings, witness_settings, watchdogs, _scratch: scratch }
    }

    /// Starts every daemon and waits until all hear each other and alpha serves every group that it
    /// comes first for.
    pub fn begin(&mut self) {
        self.start_all();
        self.await_ready();
        for group in 0..self.setup.groups.len() {
            let (name, nodes) = self.setup.groups[group].clone();
            let Some(first) = nodes.first() else { continue };
            if self.holder(group).as_deref() != Some(first) {
                self.order(first, &["takeover", name]);
            }
            self.await_holder_of(group, first);
        }
    }

    /// Starts every daemon.
    pub fn start_all(&mut self) {
        let names: Vec<&str> = self.setup.members().map(|(name, _)| name).collect();
        names.into_iter().for_each(|name| self.start(name));
    }

    /// Starts the real firmware in QEMU with a line to each server, and makes it the witness.
    #[must_use]
    pub fn start_dongle(&mut self) -> Dongle {
        let dongle = self.start_new_dongle();
        let settings = self.settings.clone();
        self.provision(&settings);
        dongle
    }

    /// Starts the real firmware in QEMU with a line to each server.
    #[must_use]
    pub fn start_new_dongle(&mut self) -> Dongle {
        // It says what is missing, where there would be the emulation otherwise.
        let _image = crate::rig::image(Board::Mps2An385);
        Dongle::start(&mut self.cluster, &self.setup.nodes).expect("a dongle")
    }

    /// Makes the dongle the witness of these settings.
    pub fn provision(&self, settings: &Path) {
        Dongle::provision(&self.cluster, settings, &self.setup.nodes)
            .expect("a provisioned dongle");
    }

    /// Starts the daemon of `name`, on a machine that is booted if it is off.
    pub fn start(&mut self, name: &str) {
        let settings = self.settings.clone();
        self.start_with(name, &settings);
    }

    /// Starts the daemon of `name` with other settings.
    pub fn start_with(&mut self, name: &str, settings: &Path) {
        self.cluster.lab_mut().machine(name).boot().expect("a machine");
        self.tell_watchdogs(name);
        if name == WITNESS {
            let settings = self.witness_settings.clone();
            self.cluster.start_witness(name, &settings).expect("a quorum server");
        } else {
            self.cluster.start_node(name, settings).expect("a daemon");
        }
    }

    /// Writes a file beside the settings, for its owner alone.
    pub fn write(&self, name: &str, text: &str) {
        self.cluster.write(name, text).expect("a file");
    }

    /// Writes the settings with a text in them replaced, under another name.
    #[must_use]
    pub fn write_changed(&self, name: &str, from: &str, to: &str) -> PathBuf {
        let text = fs::read_to_string(&self.settings).expect("the settings");
        assert!(text.contains(from), "the settings have no {from}");
        self.cluster.write(name, &text.replace(from, to)).expect("a file")
    }

    /// Kills everything on `name` and pulls its cables.
    pub fn crash(&mut self, name: &str) {
        self.cluster.lab_mut().crash(name);
    }

    /// Plugs the cables of `name` in and starts its daemon.
    pub fn repair(&mut self, name: &str) {
        self.cluster.lab().set_cables(name, true);
        self.start(name);
    }

    /// Starts the daemon of `name` until it answers, as often as an init system would.
    ///
    /// What a killed one left behind keeps its lock for a moment.
    pub fn start_again(&mut self, name: &str) {
        let begun_us = self.lab().now_us();
        while self.status(name).is_null() {
            assert!(self.lab().now_us() - begun_us < PATIENCE_US, "{name} does not start");
            if !self.cluster.is_running(name) {
                self.start(name);
            }
            pause(20);
        }
    }

    /// Sends a signal to the daemon of `name` and to none of its children.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.cluster.signal(name, signal).expect("a daemon that runs");
    }

    /// Kills the daemon of `name` and nothing else.
    pub fn kill(&self, name: &str) {
        self.signal(name, Signal::SIGKILL);
    }

    /// Has the daemon of `name` read its keys again.
    pub fn reload(&self, name: &str) {
        self.signal(name, Signal::SIGHUP);
    }

    /// Ends the daemon of `name` in good order.
    pub fn stop(&self, name: &str) {
        let limit = Duration::from_micros(PATIENCE_US);
        self.cluster.stop(name, limit).expect("a daemon that ends");
    }

    /// Runs a command against the daemon of `name` and returns what it wrote.
    #[must_use]
    pub fn ask(&self, name: &str, words: &[&str]) -> String {
        let output = self.cluster.ask(name, words).expect("a command");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Runs a command against the daemon of `name`, which does it.
    pub fn order(&self, name: &str, words: &[&str]) {
        let output = self.cluster.ask(name, words).expect("a command");
        assert!(output.status.success(), "{words:?} on {name}: {output:?}");
    }

    /// Waits until every daemon hears every other, and every group is held by one of them.
    pub fn await_ready(&self) {
        for name in &self.setup.nodes {
            self.await_that(&format!("{name} hears all"), |trial| trial.is_complete(name));
        }
        for group in 0..self.setup.groups.len() {
            self.await_that("every group is held", |trial| trial.holder(group).is_some());
        }
    }

    /// Waits until `name` alone holds the first group, and says so.
    pub fn await_holder(&self, name: &str) {
        self.await_holder_of(0, name);
    }

    /// Waits until `name` alone holds the group with this index, and says so.
    pub fn await_holder_of(&self, group: usize, name: &str) {
        self.await_that(&format!("{name} holds group {group}"), |trial| {
            trial.holder(group).as_deref() == Some(name)
        });
    }

    /// Returns how many groups there are.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.setup.groups.len()
    }

    /// Waits until nobody answers for the first group.
    pub fn await_nobody(&self) {
        self.await_that("nobody answers", |trial| trial.cluster.lab().holders(0).is_empty());
    }

    /// Waits until `condition` holds.
    pub fn await_that(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let begun_us = self.lab().now_us();
        while !condition(self) {
            assert!(self.lab().now_us() - begun_us < PATIENCE_US, "waited for: {what}");
            pause(10);
        }
    }

    /// Demands that `condition` holds for `milliseconds` from here on, looked at often.
    pub fn expect_throughout(
        &self,
        milliseconds: u64,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) {
        let begun_us = self.lab().now_us();
        while self.lab().now_us() - begun_us < milliseconds * 1_000 {
            assert!(condition(self), "should be so all the time: {what}");
            pause(10);
        }
    }

    /// Demands that nobody but `name` answers for the first group in so many milliseconds from here
    /// on, and that it still does then. How steadily is not looked at: a busy machine stutters.
    pub fn expect_to_stay(&self, name: &str, milliseconds: u64) {
        let since_us = self.lab().now_us();
        pause(milliseconds);
        self.await_holder(name);
        assert_eq!(self.seen_since(since_us), [self.lab().index_of(name)], "{name} stays");
    }

    /// Demands that no two servers answered for one address since the beginning.
    pub fn expect_one_holder_at_most(&self) {
        for group in 0..self.setup.groups.len() {
            let record = self.lab().switch().record(group);
            let both_us = record.all.two_holders_us(0, u64::MAX);
            assert_eq!(both_us, 0, "two servers answered for group {group}: {record:?}");
        }
    }

    /// Returns who alone answers for a group and says that it holds it.
    #[must_use]
    pub fn holder(&self, group: usize) -> Option<String> {
        let holders = self.lab().holders(group);
        let [holder] = holders[..] else { return None };
        let status = self.cluster.status(holder)?;
        (status["groups"][group]["role"] == "holding").then(|| holder.to_owned())
    }

    /// Returns what `status --json` says on `name`, or null while its daemon does not answer.
    #[must_use]
    pub fn status(&self, name: &str) -> Value {
        self.cluster.status(name).unwrap_or_default()
    }

    /// Returns what `name` says of `peer`, or null.
    #[must_use]
    pub fn peer(&self, name: &str, peer: &str) -> Value {
        let status = self.status(name);
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.into_iter().find(|entry| entry["name"] == peer).unwrap_or_default()
    }

    /// Returns how many frames of one kind `name` has rejected on its first link.
    #[must_use]
    pub fn rejected(&self, name: &str, kind: &str) -> u64 {
        self.status(name)["links"][0]["rejected"][kind].as_u64().unwrap_or(0)
    }

    /// Returns whether an alert of `name` contains `text`.
    #[must_use]
    pub fn has_alert(&self, name: &str, text: &str) -> bool {
        self.status(name)["alerts"].to_string().contains(text)
    }

    /// Returns whether `name` takes part and hears all others.
    #[must_use]
    pub fn is_complete(&self, name: &str) -> bool {
        let status = self.status(name);
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        let is_alive = |peer: &Value| peer["state"] == "alive";
        status["state"] == "online" && !peers.is_empty() && peers.iter().all(is_alive)
    }

    /// Returns who was seen to answer for the first group since a time, each stay once.
    #[must_use]
    pub fn seen_since(&self, from_us: u64) -> Vec<usize> {
        let record = self.lab().switch().record(0);
        let late = record.all.spans().iter().filter(|span| span.last_us >= from_us);
        let mut seen: Vec<usize> = late.map(|span| span.server).collect();
        seen.dedup();
        seen
    }

    /// Returns the daemons.
    pub const fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Returns the daemons.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the laboratory.
    #[must_use]
    pub const fn lab(&self) -> &Lab {
        self.cluster.lab()
    }

    /// Starts a client of the first group.
    #[must_use]
    pub fn client(&mut self) -> Client {
        let address = self.setup.service(0).parse().expect("an address");
        Client::start(self.cluster.lab_mut().machine("client"), address).expect("a client")
    }

    /// Returns the path of the settings that all nodes share.
    #[must_use]
    pub fn settings(&self) -> &Path {
        &self.settings
    }
}

impl Drop for Trial {
    #[expect(clippy::print_stderr, reason = "whoever looks for the reason needs the journals")]
    fn drop(&mut self) {
        for (name, _) in self.setup.members() {
            // A frozen daemon would keep its machine from ending.
            drop(self.cluster.signal(name, Signal::SIGCONT));
            if thread::panicking() {
                eprintln!("--- {name}\n{}", self.cluster.journal(name));
                eprintln!("{}", self.status(name));
            }
        }
    }
}

/// Lets time pass in which something might go wrong.
pub fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
