//! Breadth first through every state, so that what goes wrong first goes wrong in the fewest steps.
//!
//! Of each state that was met only a hash of 64 bits is kept, and from which state by which step it
//! was met first. States that were met and not gone on from yet are kept whole; they are small.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::digest::{AlreadyHashed, Digest};
use super::law::{Broken, judge};
use super::prologue::Prologue;
use super::setup::Setup;
use super::stage::Stage;
use super::state::{Action, State};

/// A law that was broken, and the steps that led there.
#[derive(Debug)]
pub struct Violation {
    /// Which.
    pub broken: Broken,
    /// The state that everything began with.
    pub root: State,
    /// The steps.
    pub path: Vec<Action>,
}

/// What an exploration has found.
#[derive(Debug)]
pub struct Report {
    /// How many states were made.
    pub generated: u64,
    /// How many of them were different.
    pub unique: u64,
    /// The most steps to any of them.
    pub depth: u32,
    /// How many of them are at the horizon.
    pub ends: u64,
    /// In how many of those the group is held.
    pub held: u64,
    /// In how many of those it is held under another token than at the beginning.
    pub moved: u64,
    /// Different hosts, messages and turns.
    pub counts: (usize, usize, usize),
    /// The most states that waited to be gone on from.
    pub waiting: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every state within the limits was met.
    pub is_complete: bool,
    /// What went wrong.
    pub violation: Option<Violation>,
}

/// How a state was met first.
#[derive(Clone, Copy, Debug)]
struct Origin {
    parent: u32,
    action: Action,
}

/// A search on its way.
#[derive(Debug)]
pub struct Search {
    stage: Stage,
    root: State,
    met: HashSet<u64, AlreadyHashed>,
    origins: Vec<Origin>,
    waiting: VecDeque<(u32, State)>,
    report: Report,
    began: Instant,
}

/// How many different states of hosts are kept at most, of about 2.5 KiB each.
const MOST_HOSTS: usize = 1_000_000;
/// Where the beginning comes from: nowhere.
const NOBODY: u32 = u32::MAX;

impl Search {
    /// Prepares to explore `setup`, from the first quiet moment in which somebody holds the group.
    ///
    /// # Panics
    /// If nobody ever does.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let began = Instant::now();
        let mut stage = Stage::new(setup);
        let root = Prologue::new(&mut stage).play();
        let report = Report {
            generated: 1,
            unique: 1,
            depth: 0,
            ends: 0,
            held: 0,
            moved: 0,
            counts: (0, 0, 0),
            waiting: 0,
            took: Duration::ZERO,
            is_complete: false,
            violation: None,
        };
        let mut met = HashSet::default();
        met.insert(Digest::short(&root));
        Self {
            stage,
            met,
            origins: vec![Origin { parent: NOBODY, action: Action::Tick }],
            waiting: VecDeque::from([(0, root.clone())]),
            root,
            report,
            began,
        }
    }

    /// Goes on until everything was met, a law is broken, or `most` different states were met.
    #[must_use]
    pub fn run(mut self, most: u64) -> (Report, Stage) {
        let horizon = self.root.at + self.stage.setup.horizon;
        let mut level_ends = 0;
        while let Some((id, state)) = self.waiting.pop_front() {
            let actions = state.actions(&self.stage, horizon);
            if actions.is_empty() {
                let is_held = state.answering(&self.stage).next().is_some();
                self.report.ends += 1;
                self.report.held += u64::from(is_held);
                self.report.moved += u64::from(is_held && state.token > self.root.token);
            }
            let is_over = actions.into_iter().any(|action| self.go_on(id, &state, action));
            if is_over || self.report.unique >= most || self.stage.counts().0 >= MOST_HOSTS {
                return self.end(false);
            }
            if id == level_ends && !self.waiting.is_empty() {
                level_ends = newest(&self.origins);
                self.report.depth += 1;
            }
        }
        self.end(true)
    }

    /// Takes one step, and returns whether it broke a law.
    fn go_on(&mut self, id: u32, state: &State, action: Action) -> bool {
        let mut next = state.step(&mut self.stage, action);
        self.report.generated += 1;
        let broken = judge(&self.stage, &mut next);
        if !self.met.insert(Digest::short(&next.state)) && broken.is_none() {
            return false;
        }
        self.report.unique += 1;
        self.origins.push(Origin { parent: id, action });
        let at = newest(&self.origins);
        if let Some(broken) = broken {
            let (root, path) = (self.root.clone(), self.path(at));
            self.report.violation = Some(Violation { broken, root, path });
            return true;
        }
        self.waiting.push_back((at, next.state));
        self.report.waiting = self.report.waiting.max(self.waiting.len());
        false
    }

    fn path(&self, mut at: u32) -> Vec<Action> {
        let mut path = Vec::new();
        while let Some(origin) =
            self.origins.get(at as usize).filter(|origin| origin.parent != NOBODY)
        {
            path.push(origin.action);
            at = origin.parent;
        }
        path.reverse();
        path
    }

    fn end(mut self, is_complete: bool) -> (Report, Stage) {
        self.report.is_complete = is_complete;
        self.report.counts = self.stage.counts();
        self.report.took = self.began.elapsed();
        (self.report, self.stage)
    }
}

fn newest(origins: &[Origin]) -> u32 {
    u32::try_from(origins.len() - 1).expect("less than four thousand millions")
}
