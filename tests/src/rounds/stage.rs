//! The cluster of the rounds: what is done to it, and what is therefore to be expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;

use lifesign::demo::fabric::ALL_PPM;
use nix::sys::signal::Signal;

use super::ledger::Ledger;
use super::scenery::{self, DISK, GROUPS, Shape};
use crate::trial::{Trial, WITNESS, pause};

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its daemon runs.
    Up,
    /// Its daemon has ended in good order.
    Stopped,
    /// It has lost its power.
    Dead,
    /// Its daemon stands still.
    Frozen,
}

/// Who is to hold a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Exactly one of these.
    One(Vec<&'static str>),
    /// At most one, and no other than these.
    AtMostOne(Vec<&'static str>),
}

/// A cluster in a laboratory, and what has been done to it.
#[derive(Debug)]
pub struct Stage {
    pub(super) trial: Trial,
    pub(super) shape: Shape,
    pub(super) ledger: Ledger,
    states: BTreeMap<&'static str, State>,
    cuts: BTreeSet<(&'static str, &'static str)>,
    resting: BTreeSet<&'static str>,
    /// Who has seen a stopped node leave, and runs since.
    told: BTreeMap<&'static str, BTreeSet<&'static str>>,
    is_degraded: bool,
    loss_ppm: u32,
    read: BTreeMap<&'static str, usize>,
}

/// What went otherwise than it should.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// How long anything may take that must come, in microseconds.
const PATIENCE_US: u64 = 45_000_000;

impl Stage {
    /// Builds the cluster in the caller's namespaces and starts everything.
    ///
    /// `program` is the lifesign program.
    ///
    /// # Errors
    /// What is not as it should be after the start.
    pub fn build(program: &str, shape: Shape) -> Result<Self, String> {
        let mut trial = Trial::build(program, shape.setup());
        scenery::write_services(&mut trial);
        let mut stage = Self {
            trial,
            shape,
            ledger: Ledger::new(scenery::listed()),
            states: BTreeMap::new(),
            cuts: BTreeSet::new(),
            resting: BTreeSet::new(),
            told: BTreeMap::new(),
            is_degraded: false,
            loss_ppm: 0,
            read: BTreeMap::new(),
        };
        for name in stage.members() {
            stage.start(name);
        }
        stage.settle("all are started")?;
        Ok(stage)
    }

    /// Returns the servers and the quorum server.
    pub(super) fn members(&self) -> Vec<&'static str> {
        let witness = (self.shape == Shape::Pair).then_some(WITNESS);
        self.shape.nodes().iter().copied().chain(witness).collect()
    }

    /// Returns how `name` is.
    pub(super) fn state(&self, name: &str) -> State {
        self.states.get(name).copied().unwrap_or(State::Stopped)
    }

    /// Starts the daemon of `name`, on a machine that is plugged in and booted.
    pub(super) fn start(&mut self, name: &'static str) {
        self.forget(name);
        self.trial.repair(name);
        self.states.insert(name, State::Up);
    }

    /// Starts the daemon of `name` as an init system would: again, until it stays.
    pub(super) fn start_again(&mut self, name: &'static str) {
        self.forget(name);
        self.trial.start_again(name);
        self.states.insert(name, State::Up);
    }

    /// Ends the daemon of `name` in good order.
    pub(super) fn stop(&mut self, name: &'static str) {
        self.note_leaving(&[name]);
        self.trial.stop(name);
        self.states.insert(name, State::Stopped);
        self.resting.remove(name);
    }

    /// Notes who sees these leave.
    fn note_leaving(&mut self, names: &[&'static str]) {
        for name in names {
            let stays = |other: &&'static str| {
                !names.contains(other) && self.state(other) == State::Up && self.hear(name, other)
            };
            let told = self.shape.nodes().iter().copied().filter(stays).collect();
            self.forget(name);
            self.told.insert(name, told);
        }
    }

    /// Notes that `name` starts anew, or ends, and knows nothing of who has left.
    fn forget(&mut self, name: &str) {
        self.told.values_mut().for_each(|told| told.retain(|other| *other != name));
    }

    /// Ends all these daemons at once, in good order.
    pub(super) fn stop_together(&mut self, names: &[&'static str]) -> Outcome {
        self.note_leaving(names);
        for name in names {
            self.trial.signal(name, Signal::SIGTERM);
            self.states.insert(name, State::Stopped);
        }
        let begun_us = self.trial.lab().now_us();
        while names.iter().any(|name| self.trial.cluster().is_running(name)) {
            self.give_up_after(begun_us, "all daemons end")?;
        }
        Ok(())
    }

    /// Takes the power of `name` away, with its cables.
    pub(super) fn crash(&mut self, name: &'static str) {
        self.forget(name);
        self.trial.crash(name);
        self.states.insert(name, State::Dead);
        self.resting.remove(name);
        self.note_gone(name);
        // Where a machine keeps these, they do not survive its boot.
        let place = self.trial.cluster().directory().to_owned();
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.starts_with(&format!("{name}.")) && file.ends_with(".pid") {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Lets the daemon of `name` stand still, and nothing else on its machine.
    pub(super) fn freeze(&mut self, name: &'static str) {
        self.trial.signal(name, Signal::SIGSTOP);
        self.states.insert(name, State::Frozen);
        // What a frozen daemon has started runs on, which nothing but a fence could end.
        self.note_gone(name);
    }

    /// Lets a daemon that stood still go on.
    pub(super) fn thaw(&mut self, name: &'static str) {
        self.trial.signal(name, Signal::SIGCONT);
        self.states.insert(name, State::Up);
    }

    /// Makes `name` give everything away, or take it back.
    pub(super) fn rest(&mut self, name: &'static str, rests: bool) {
        let word = if rests { "standby" } else { "takeover" };
        self.trial.order(name, &[word]);
        if rests {
            self.resting.insert(name)
        } else {
            self.resting.remove(name)
        };
    }

    /// Brings a group to a node in good order.
    pub(super) fn place(&self, group: usize, name: &'static str) -> Outcome {
        let begun_us = self.trial.lab().now_us();
        while self.trial.holder(group).as_deref() != Some(name) {
            // It may be refused for a moment, such as after a failure; the holder counts.
            let said = self.trial.ask(name, &["takeover", GROUPS[group]]);
            pause(300);
            self.give_up_after(
                begun_us,
                &format!("{} is brought to {name}: {said}", GROUPS[group]),
            )?;
        }
        Ok(())
    }

    /// Returns who holds the group, which somebody does.
    pub(super) fn holder(&self, group: usize) -> Outcome<&'static str> {
        let holder = self.trial.holder(group);
        let found = self.shape.nodes().iter().find(|name| Some(**name) == holder.as_deref());
        found.copied().ok_or_else(|| format!("nobody holds {}", GROUPS[group]))
    }

    /// Cuts every way between two members, in both directions.
    pub(super) fn cut(&mut self, one: &'static str, other: &'static str) {
        self.cuts.insert((one, other));
        self.apply_links();
    }

    /// Makes every way whole, and every cable.
    pub(super) fn heal(&mut self) {
        self.is_degraded = false;
        self.cuts.clear();
        self.trial.lab().heal();
        self.apply_links();
    }

    /// Cuts every way of `name` on the second network.
    pub(super) fn degrade(&mut self, name: &'static str) {
        self.is_degraded = true;
        for other in self.members().into_iter().filter(|other| *other != name) {
            let (one, other) = (self.trial.lab().port(name, 1), self.trial.lab().port(other, 1));
            self.trial.lab().switch().cut(one, other);
        }
    }

    /// Loses so many of a million frames between any two members.
    pub(super) fn set_loss(&mut self, loss_ppm: u32) {
        self.loss_ppm = loss_ppm;
        self.apply_links();
    }

    fn apply_links(&self) {
        for one in self.members() {
            for other in self.members() {
                if one != other {
                    let loss_ppm = if self.hear(one, other) { self.loss_ppm } else { ALL_PPM };
                    self.trial.lab().set_loss(one, other, loss_ppm);
                }
            }
        }
    }

    /// Returns whether two members hear each other if both are up.
    pub(super) fn hear(&self, one: &'static str, other: &'static str) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    /// Returns whether `name` is up and hears enough others to hold something.
    pub(super) fn has_quorum(&self, name: &'static str) -> bool {
        let is_heard = |other: &&'static str| {
            self.state(other) == State::Up && (*other == name || self.hear(name, other))
        };
        let heard = self.members().iter().filter(|other| is_heard(other)).count();
        // Of three votes two are needed; where one is the witness's it breaks a tie.
        self.state(name) == State::Up && heard >= 2
    }

    /// Returns whether everything is up and everybody hears everybody.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_degraded
            && self.cuts.is_empty()
            && self.members().iter().all(|name| self.state(name) == State::Up)
    }

    /// Returns who is to hold the group.
    pub(super) fn expected(&self, group: usize) -> Expected {
        let nodes = self.shape.nodes();
        let may_hold = |name: &&'static str| self.has_quorum(name);
        let able: Vec<&'static str> = nodes.iter().copied().filter(may_hold).collect();
        let willing = |name: &&'static str| !self.resting.contains(name);
        let able: Vec<&'static str> = able.into_iter().filter(willing).collect();
        if GROUPS[group] == DISK && !able.iter().any(|name| self.is_certain(name))
            || able.is_empty()
        {
            return Expected::AtMostOne(able);
        }
        Expected::One(able)
    }

    /// Returns whether `name` knows of every other node that it does not hold anything: nothing
    /// fences here, so whoever is neither heard nor has left could still hold it.
    fn is_certain(&self, name: &'static str) -> bool {
        let others = self.shape.nodes().iter().filter(|other| **other != name);
        others.into_iter().all(|other| match self.state(other) {
            State::Stopped => self.told.get(other).is_some_and(|told| told.contains(name)),
            State::Up => self.hear(name, other),
            State::Dead | State::Frozen => false,
        })
    }

    /// Waits until an audit finds everything as it is to be.
    pub(super) fn settle(&mut self, what: &str) -> Outcome {
        let begun_us = self.trial.lab().now_us();
        loop {
            self.demand_safety()?;
            let complaints = self.audit();
            if complaints.is_empty() {
                return Ok(());
            }
            self.give_up_after(begun_us, &format!("{what}:\n  {}", complaints.join("\n  ")))?;
        }
    }

    /// Waits a little, unless it has been waited for long enough since `begun_us`.
    pub(super) fn give_up_after(&self, begun_us: u64, what: &str) -> Outcome {
        if self.trial.lab().now_us() - begun_us > PATIENCE_US {
            return Err(format!("waited for: {what}"));
        }
        pause(50);
        Ok(())
    }

    /// Says what ought never to be, if it was.
    pub(super) fn demand_safety(&mut self) -> Outcome {
        for (index, group) in GROUPS.iter().enumerate() {
            let both_us = self.trial.lab().two_holders_us(index, 0, u64::MAX);
            if both_us > 0 {
                let record = self.trial.lab().switch().record(index).all;
                return Err(format!(
                    "two servers answered for {group} for {both_us} us: {:?}",
                    record.spans()
                ));
            }
        }
        let text = fs::read_to_string(self.ledger_path()).unwrap_or_default();
        let broken = self.ledger.read(&text);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
    }

    /// Returns what each member wrote since the last call.
    pub(super) fn fresh_journals(&mut self) -> String {
        let mut text = String::new();
        for name in self.members() {
            let journal = self.trial.cluster().journal(name);
            let from = self.read.insert(name, journal.len()).unwrap_or(0);
            text += &format!("--- {name}\n{}", journal.get(from..).unwrap_or(&journal));
        }
        text
    }

    /// Returns how each node says that things are, and why.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for name in self.shape.nodes() {
            text += &format!("--- {name}\n{}", self.trial.ask(name, &["status"]));
            for group in GROUPS {
                text += &self.trial.ask(name, &["why", group]);
            }
        }
        text
    }

    fn ledger_path(&self) -> std::path::PathBuf {
        self.trial.cluster().directory().join("ledger")
    }

    /// Writes down that nothing runs on `name` any more, as its own services cannot.
    fn note_gone(&self, name: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.ledger_path());
        file.and_then(|mut file| writeln!(file, "{name} * * gone 0")).expect("a ledger");
    }
}
