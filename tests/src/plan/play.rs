//! Plays a plan, step by step or as it is drawn.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::draw::{Draw, Moment};
use super::{Plan, Report, Verdict};
use crate::coverage::Coverage;
use crate::fault::{Fault, Keys, Order};
use crate::scene::Scene;
use crate::seen::Seen;
use crate::world::{Micros, World};

/// A world, and those who look at it.
pub(super) struct Player<T> {
    plan: Plan,
    world: World,
    begun: Micros,
    panic: Option<String>,
    scene: Scene,
    coverage: Coverage,
    holders: Vec<Option<(u8, u64)>>,
    boots: [u64; 32],
    moves: u64,
    frames: u64,
    convergence: u64,
    tell: T,
}

impl<T> fmt::Debug for Player<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Player").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl<T: FnMut(Micros, &Seen, &Scene)> Player<T> {
    /// Starts every process of the plan's world.
    pub(super) fn new(plan: Plan, tell: T) -> Self {
        let mut world = World::new(plan.setup.clone(), plan.seed);
        let begun = world.now();
        world.watch();
        for number in world.numbers() {
            world.start(number);
        }
        let mut player = Self {
            panic: None,
            scene: Scene::new(&plan.setup),
            coverage: Coverage::default(),
            holders: vec![None; plan.setup.groups.into()],
            boots: [0; 32],
            moves: 0,
            frames: 0,
            convergence: 0,
            plan,
            world,
            begun,
            tell,
        };
        player.look();
        player
    }

    /// Chooses faults and lets them happen.
    pub(super) fn play_drawn(&mut self, draw: &mut Draw) {
        self.run_until(0);
        for fault in draw.first() {
            self.apply(fault);
        }
        for _ in 0..draw.steps() {
            match draw.moment() {
                Moment::After(span) => self.run_until(self.now() + span),
                Moment::When { group, holder, taker, longest, then } => {
                    let end = self.now() + longest;
                    let awaited = |scene: &Scene| scene.states(group) == (holder, taker);
                    while self.now() < end && !self.is_over() && !awaited(&self.scene) {
                        self.run_until(end.min(self.now() + draw.glance()));
                    }
                    self.run_until(self.now() + then);
                }
            }
            if self.is_over() {
                self.plan.heals_at = self.now();
                return;
            }
            if let Some(fault) = draw.fault(&self.scene) {
                self.apply(fault);
            }
        }
        self.plan.heals_at = self.now() + draw.rest();
        self.run_until(self.plan.heals_at);
        self.heal();
    }

    /// Lets these faults happen.
    pub(super) fn play(&mut self, steps: &[(Micros, Fault)], heals_at: Micros) {
        for (at, fault) in steps {
            self.run_until(*at);
            if self.is_over() {
                return;
            }
            self.apply(*fault);
        }
        self.run_until(heals_at);
        self.plan.heals_at = heals_at;
        self.heal();
    }

    /// Says what came of it.
    pub(super) fn finish(mut self) -> (Plan, Report) {
        if !self.is_over() {
            self.dare(World::conclude);
        }
        let broken = self.world.verdicts().iter().cloned().map(Verdict::Broken);
        let mut verdicts: Vec<Verdict> =
            broken.chain(self.panic.take().map(Verdict::Panic)).collect();
        if let Some(wrong) = self.world.wrong()
            && !verdicts.iter().any(Verdict::is_fatal)
        {
            verdicts.push(Verdict::Wrong(wrong.to_owned()));
        }
        let report = Report {
            verdicts,
            is_beyond: self.world.is_beyond(),
            hash: self.world.trace_hash(),
            span: self.now(),
            moves: self.moves,
            frames: self.frames,
            convergence: self.convergence,
            coverage: self.coverage,
        };
        (self.plan, report)
    }

    /// Returns the time since the start.
    fn now(&self) -> Micros {
        self.world.now() - self.begun
    }

    /// Returns whether a promise was broken without an excuse: nothing after that means anything.
    fn is_over(&self) -> bool {
        self.panic.is_some() || self.world.wrong().is_some()
    }

    /// Lets the world do something, and takes note if that panics.
    fn dare(&mut self, act: impl FnOnce(&mut World)) {
        let world = &mut self.world;
        let done = catch_unwind(AssertUnwindSafe(|| act(world)));
        if let Err(words) = done {
            let text = words.downcast_ref::<String>().cloned();
            let text = text.or_else(|| words.downcast_ref::<&str>().map(ToString::to_string));
            self.panic.get_or_insert_with(|| text.unwrap_or_default());
        }
        self.look();
    }

    fn run_until(&mut self, at: Micros) {
        let span = at.saturating_sub(self.now());
        if !self.is_over() {
            self.dare(|world| world.run_for(span));
            self.scene.at(self.world.now());
        }
    }

    /// Takes in what was seen since the last look.
    fn look(&mut self) {
        for (at, seen) in self.world.take_seen() {
            self.scene.see(at, &seen);
            self.count(&seen);
            (self.tell)(at - self.begun, &seen, &self.scene);
        }
    }

    fn count(&mut self, seen: &Seen) {
        match *seen {
            Seen::Started { host, boot } => self.boots[usize::from(host) % 32] = boot,
            Seen::Answers { host, group, .. } => {
                let held = Some((host, self.boots[usize::from(host) % 32]));
                if let Some(holder) = self.holders.get_mut(usize::from(group))
                    && *holder != held
                {
                    *holder = held;
                    self.moves += 1;
                }
            }
            Seen::Sent { .. } => self.frames += 1,
            _ => {}
        }
    }

    fn apply(&mut self, fault: Fault) {
        let at = self.now();
        self.coverage.count(&fault, &self.scene, self.plan.setup.groups);
        self.dare(|world| world.apply(&fault));
        self.plan.steps.push((at, fault));
    }

    /// Repairs everything, as people would who know what broke, and waits until every group is
    /// held; and then as long again, in which it has to stay so.
    fn heal(&mut self) {
        let faults = self.taken_back();
        if self.is_over() {
            return;
        }
        self.dare(|world| {
            faults.iter().for_each(|fault| world.apply(fault));
            world.repair();
        });
        let setup = &self.plan.setup;
        let (groups, heartbeat) = (setup.groups, setup.heartbeat_ms * 1000);
        let begun = self.now();
        let end = begun + self.world.convergence();
        let is_held = |world: &World| (0..groups).all(|group| world.holder(group).is_some());
        while self.now() < end && !self.is_over() && !is_held(&self.world) {
            self.run_until(end.min(self.now() + heartbeat));
        }
        self.convergence = (self.now() - begun).div_ceil(heartbeat);
        self.run_until(end + 1);
    }

    /// Returns what takes back what only an order takes back: the rotation of keys, and that
    /// somebody cannot serve.
    fn taken_back(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for host in self.world.numbers() {
            let touched = |kind: &str| {
                let mut steps = self.plan.steps.iter().map(|(_, fault)| fault);
                steps.any(|fault| fault.host() == Some(host) && fault.kind() == kind)
            };
            if touched("rekey") {
                faults.push(Fault::Rekey { host, keys: Keys::Old });
            }
            if touched("order") {
                faults.push(Fault::Order { host, group: None, order: Order::Able });
            }
        }
        faults
    }
}
