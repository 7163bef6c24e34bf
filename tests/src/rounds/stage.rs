//! The cluster of the rounds: what is done to it, and what is therefore to be expected.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use lifesign::demo::fabric::ALL_PPM;
use nix::sys::signal::Signal;

use super::fences::Fence;
use super::gauge::Gauge;
use super::ledger::Ledger;
use super::scenery::{self, APP, GROUPS, Shape};
use super::view::{State, View};
use crate::trial::{Trial, pause};

/// A cluster in a laboratory, and what has been done to it.
#[derive(Debug)]
pub struct Stage {
    pub(super) trial: Trial,
    pub(super) shape: Shape,
    pub(super) ledger: Ledger,
    pub(super) gauge: Gauge,
    /// The views of late, each with when it began, by the boot clock; the last is the present one.
    views: VecDeque<(u64, View)>,
    /// What was done, each with when, by the boot clock.
    pub(super) deeds: Vec<(u64, String)>,
    /// The fences that were done.
    pub(super) fences: Vec<Fence>,
    /// Under which token the group that is fenced for was held at the last audit, and when.
    pub(super) audited: Option<(u64, u64)>,
    /// What was waited for so long that somebody should look at it.
    pub(super) slow: Vec<String>,
    /// Whether something was seen that may never be.
    pub(super) is_broken: bool,
    loss_ppm: u32,
    pub(super) read: BTreeMap<&'static str, usize>,
}

/// What went otherwise than it should.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// How long anything may take that must come, in microseconds, on a machine that does not stand
/// still: longer than an alert stays that a peer comes and goes.
pub(super) const PATIENCE_US: u64 = 75_000_000;

/// How long it may take in all, in microseconds.
const MOST_PATIENCE_US: u64 = 5 * PATIENCE_US;

/// How long anything takes that is told, in microseconds.
const SLOW_US: u64 = 15_000_000;

/// How many views are kept: more than there are changes while an agent is not looked at.
const VIEWS: usize = 64;

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
        let views = VecDeque::from([(trial.lab().now_us(), View::new(shape))]);
        let mut stage = Self {
            trial,
            shape,
            ledger: Ledger::new(scenery::listed()),
            gauge: Gauge::start(),
            views,
            deeds: Vec::new(),
            fences: Vec::new(),
            audited: None,
            slow: Vec::new(),
            is_broken: false,
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
        self.view().members()
    }

    /// Returns how everything is.
    pub(super) fn view(&self) -> &View {
        self.view_at(u64::MAX)
    }

    /// Returns how everything was at a time of late.
    pub(super) fn view_at(&self, at_us: u64) -> &View {
        let (first, rest) = (&self.views[0], self.views.iter().rev());
        &rest.clone().find(|(since_us, _)| *since_us <= at_us).unwrap_or(first).1
    }

    /// Changes how everything is.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut View)) {
        let mut view = self.view().clone();
        change(&mut view);
        self.views.push_back((self.trial.lab().now_us(), view));
        if self.views.len() > VIEWS {
            self.views.pop_front();
        }
    }

    /// Notes what is done, for people.
    pub(super) fn note_deed(&mut self, what: String) {
        self.deeds.push((self.trial.lab().now_us(), what));
    }

    /// Returns how `name` is.
    pub(super) fn state(&self, name: &str) -> State {
        self.view().state(name)
    }

    /// Starts the daemon of `name`, on a machine that is plugged in and booted.
    pub(super) fn start(&mut self, name: &'static str) {
        self.note_deed(format!("start {name}"));
        self.trial.repair(name);
        self.note_up(name);
    }

    /// Starts the daemon of `name` as an init system would: again, until it stays.
    pub(super) fn start_again(&mut self, name: &'static str) {
        self.note_deed(format!("start {name}, unless it runs"));
        self.trial.start_again(name);
        self.note_up(name);
    }

    fn note_up(&mut self, name: &'static str) {
        let now_us = self.trial.lab().now_us();
        self.change(|view| view.note_started(name, now_us));
        if let Ok(daemon) = self.trial.cluster().daemon(name) {
            self.gauge.watch(name, daemon.id());
        }
    }

    /// Ends the daemon of `name` in good order.
    pub(super) fn stop(&mut self, name: &'static str) -> Outcome {
        self.stop_together(&[name])
    }

    /// Ends all these daemons at once, in good order, with all that they have started but services.
    pub(super) fn stop_together(&mut self, names: &[&'static str]) -> Outcome {
        self.note_deed(format!("stop {}", names.join(", ")));
        self.change(|view| view.note_leaving(names));
        for name in names {
            self.trial.signal(name, Signal::SIGTERM);
            self.change(|view| view.set_state(name, State::Stopped));
        }
        let begun_us = self.trial.lab().now_us();
        for name in names {
            // An init system waits for the last process, which has the lock of the next daemon.
            while !self.daemon_processes(name).is_empty() {
                self.give_up_after(begun_us, &format!("{name} ends"))?;
            }
        }
        Ok(())
    }

    /// Takes the power of `name` away, with its cables.
    pub(super) fn crash(&mut self, name: &'static str) {
        self.note_deed(format!("{name} loses its power"));
        self.trial.crash(name);
        self.change(|view| view.set_state(name, State::Dead));
        self.note_gone(name, "*");
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
        self.note_deed(format!("the daemon of {name} stands still"));
        self.trial.signal(name, Signal::SIGSTOP);
        self.change(|view| view.set_state(name, State::Frozen));
        // What a frozen daemon has started runs on, which nothing but a fence could end.
        self.note_gone(name, APP);
    }

    /// Lets a daemon that stood still go on, unless it was fenced.
    pub(super) fn thaw(&mut self, name: &'static str) {
        if self.state(name) == State::Frozen {
            self.note_deed(format!("the daemon of {name} goes on"));
            self.trial.signal(name, Signal::SIGCONT);
            self.change(|view| view.go_on(name));
        }
    }

    /// Makes `name` give everything away, or take it back.
    pub(super) fn rest(&mut self, name: &'static str, rests: bool) {
        let word = if rests { "standby" } else { "takeover" };
        self.note_deed(format!("{word} on {name}"));
        self.trial.order(name, &[word]);
        self.change(|view| {
            if rests {
                view.resting.insert(name)
            } else {
                view.resting.remove(name)
            };
        });
    }

    /// Brings a group to a node in good order.
    pub(super) fn place(&mut self, group: usize, name: &'static str) -> Outcome {
        self.note_deed(format!("{} is brought to {name}", GROUPS[group]));
        let begun_us = self.trial.lab().now_us();
        while self.trial.holder(group).as_deref() != Some(name) {
            // It may be refused for a moment, such as after a failure; the holder counts.
            let said = self.trial.ask(name, &["takeover", GROUPS[group]]);
            self.wait(300)?;
            self.give_up_after(
                begun_us,
                &format!("{} is brought to {name}: {said}", GROUPS[group]),
            )?;
        }
        Ok(())
    }

    /// Returns who holds the group, which somebody does.
    pub(super) fn holder(&mut self, group: usize) -> Outcome<&'static str> {
        let begun_us = self.trial.lab().now_us();
        loop {
            let holder = self.trial.holder(group);
            let found = self.shape.nodes().iter().find(|name| Some(**name) == holder.as_deref());
            if let Some(name) = found {
                return Ok(name);
            }
            self.give_up_after(begun_us, &format!("somebody holds {}", GROUPS[group]))?;
        }
    }

    /// Cuts every way between two members, in both directions.
    pub(super) fn cut(&mut self, one: &'static str, other: &'static str) {
        self.note_deed(format!("{one} and {other} are cut off from each other"));
        self.change(|view| view.cuts.extend([(one, other)]));
        self.apply_links();
    }

    /// Makes every way whole, and every cable.
    pub(super) fn heal(&mut self) {
        self.note_deed("all networks are whole".to_owned());
        self.trial.lab().heal();
        self.change(|view| {
            view.is_degraded = false;
            view.cuts.clear();
        });
        // Whoever has no power has no cables either.
        for name in self.members() {
            let is_dead = self.state(name) == State::Dead;
            self.trial.lab().set_cables(name, !is_dead);
        }
        self.apply_links();
    }

    /// Cuts every way of `name` on the second network.
    pub(super) fn degrade(&mut self, name: &'static str) {
        self.note_deed(format!("{name} is cut off on the second network"));
        self.change(|view| view.is_degraded = true);
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
                    let loss_ppm =
                        if self.view().hear(one, other) { self.loss_ppm } else { ALL_PPM };
                    self.trial.lab().set_loss(one, other, loss_ppm);
                }
            }
        }
    }

    /// Waits until an audit finds everything as it is to be.
    pub(super) fn settle(&mut self, what: &str) -> Outcome {
        let begun_us = self.trial.lab().now_us();
        let mut last = Vec::new();
        loop {
            self.demand_safety()?;
            let complaints = self.audit();
            if complaints.is_empty() {
                let took_us = self.trial.lab().now_us() - begun_us;
                if took_us > SLOW_US {
                    let took = Duration::from_micros(took_us).as_secs();
                    self.slow.push(format!("{what}: {took} s, at last for: {}", last.join("; ")));
                }
                return Ok(());
            }
            self.give_up_after(begun_us, &format!("{what}:\n  {}", complaints.join("\n  ")))?;
            last = complaints;
        }
    }

    /// Waits a little, unless it has been waited for long enough since `begun_us`, or since the
    /// machine stood still last.
    pub(super) fn give_up_after(&mut self, begun_us: u64, what: &str) -> Outcome {
        let stalls = self.gauge.stalls(begun_us);
        let from_us = stalls.iter().map(|stall| stall.end_us).fold(begun_us, u64::max);
        let now_us = self.trial.lab().now_us();
        if now_us > from_us + PATIENCE_US || now_us > begun_us + MOST_PATIENCE_US {
            return Err(format!("waited for: {what}"));
        }
        self.wait(50)
    }

    /// Lets time pass, in which machines are fenced if that is asked for.
    pub(super) fn wait(&mut self, milliseconds: u64) -> Outcome {
        let end_us = self.trial.lab().now_us() + milliseconds * 1_000;
        loop {
            self.serve_fences()?;
            let left_us = end_us.saturating_sub(self.trial.lab().now_us());
            if left_us == 0 {
                return Ok(());
            }
            pause(left_us.div_ceil(1_000).min(20));
        }
    }

    pub(super) fn ledger_path(&self) -> std::path::PathBuf {
        self.trial.cluster().directory().join("ledger")
    }

    /// Writes down that nothing of a group runs on `name` any more, as its own services cannot.
    fn note_gone(&self, name: &str, group: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.ledger_path());
        file.and_then(|mut file| writeln!(file, "{name} {group} * gone 0")).expect("a ledger");
    }
}
