//! Many seeds one after the other, and what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::coverage::Coverage;
use crate::oracle::Assumption;
use crate::plan::{Plan, Profile, Report, Verdict};

/// One seed in this many is run twice, and the two runs must not differ.
const TWICE: u64 = 20;

/// Which seeds to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds, the first to come first.
    pub seeds: Range<u64>,
    /// When to begin no other seed.
    pub until: Option<Instant>,
    /// How many seeds run side by side.
    pub jobs: usize,
    /// The only profile, if not any.
    pub profile: Option<Profile>,
}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many seeds were run.
    pub runs: u64,
    /// How many of them were run twice.
    pub twice: u64,
    /// How much virtual time has passed, in microseconds, summed over all worlds.
    pub cluster_us: u128,
    /// The same, summed over all servers of all worlds.
    pub node_us: u128,
    /// How many faults were applied.
    pub faults: u64,
    /// How often a group came to be held by another start of a server than before.
    pub moves: u64,
    /// How many frames were put on links.
    pub frames: u64,
    /// How many runs went beyond an assumption.
    pub beyond: u64,
    /// What the oracle reported in those, and in how many of them.
    pub reported: BTreeMap<String, u64>,
    /// The longest time from healing until every group was held, in heartbeats.
    pub slowest_convergence: u64,
    /// Which faults met which states.
    pub coverage: Coverage,
    /// How much of the processors' time it took.
    pub spent: Duration,
}

/// A seed that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was played.
    pub plan: Plan,
    /// The broken promise.
    pub verdict: Verdict,
}

impl Tally {
    fn add(&mut self, plan: &Plan, report: &Report) {
        self.runs += 1;
        self.cluster_us += u128::from(report.span);
        self.node_us += u128::from(report.span) * u128::from(plan.setup.nodes);
        self.faults += plan.steps.len() as u64;
        self.moves += report.moves;
        self.frames += report.frames;
        self.beyond += u64::from(report.is_beyond);
        let excused = report.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Broken(wrong) => Some((wrong.rule, wrong.beyond?)),
            Verdict::Wrong(_) | Verdict::Panic(_) | Verdict::Differs(..) => None,
        });
        let excused = excused.map(|(rule, beyond)| format!("{rule:?} beyond {}", word(beyond)));
        for what in excused.collect::<BTreeSet<_>>() {
            *self.reported.entry(what).or_default() += 1;
        }
        self.slowest_convergence = self.slowest_convergence.max(report.convergence);
        self.coverage.add(&report.coverage);
    }

    /// Returns how much of `whole` is done per hour of a processor.
    #[must_use]
    pub fn per_hour(&self, whole: f64) -> f64 {
        whole * 3600.0 / self.spent.as_secs_f64().max(1e-6)
    }
}

/// Returns microseconds as years.
#[must_use]
pub fn years(micros: u128) -> f64 {
    const YEAR: f64 = 365.25 * 86_400.0 * 1e6;
    micros as f64 / YEAR
}

impl Campaign {
    /// Runs the seeds up to the first that goes wrong. `progress` is told now and then.
    ///
    /// # Errors
    /// Returns what went wrong first, besides what was done until then.
    pub fn run(&self, progress: impl Fn(&Tally) + Sync) -> (Tally, Option<Failure>) {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let total = Mutex::new((Tally::default(), None, Instant::now()));
        let begun = spent();
        let work = || {
            while let Some(seed) = self.next(&next, &stop) {
                let (plan, report) = Plan::draw(seed, self.profile);
                let wrong = report.fatal().cloned().or_else(|| differs(&plan, &report, seed));
                let Ok(mut total) = total.lock() else { return };
                let (tally, failure, told) = &mut *total;
                tally.add(&plan, &report);
                tally.twice += u64::from(seed.is_multiple_of(TWICE));
                if let Some(verdict) = wrong {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(Failure { plan, verdict });
                }
                if told.elapsed() > Duration::from_secs(10) {
                    *told = Instant::now();
                    tally.spent = spent().saturating_sub(begun);
                    progress(tally);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let (mut tally, failure, _) =
            total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.spent = spent().saturating_sub(begun);
        (tally, failure)
    }

    fn next(&self, next: &AtomicU64, stop: &AtomicBool) -> Option<u64> {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        if late || stop.load(Ordering::Relaxed) {
            return None;
        }
        let seed = next.fetch_add(1, Ordering::Relaxed);
        (seed < self.seeds.end).then_some(seed)
    }
}

/// Plays one seed in some a second time, from what was drawn, and says whether it went otherwise.
fn differs(plan: &Plan, report: &Report, seed: u64) -> Option<Verdict> {
    if !seed.is_multiple_of(TWICE) {
        return None;
    }
    let again = plan.run();
    let same = again.hash == report.hash;
    (!same).then_some(Verdict::Differs(report.hash, again.hash))
}

/// Returns the word for an assumption, whoever broke it.
const fn word(assumption: Assumption) -> &'static str {
    match assumption {
        Assumption::ClockRate { .. } => "ClockRate",
        Assumption::ClocksGoOn { .. } => "ClocksGoOn",
        Assumption::HonestAgent { .. } => "HonestAgent",
        Assumption::StateKept { .. } => "StateKept",
        Assumption::TrueWord { .. } => "TrueWord",
        Assumption::SameSettings { .. } => "SameSettings",
    }
}

/// Returns how much of the processors' time this process has used.
fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
