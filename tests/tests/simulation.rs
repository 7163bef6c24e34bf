//! Whatever breaks, the promises are kept: plans that have taught something, and seeds.
//!
//! `LIFESIGN_SEEDS` sets how many seeds are played, `LIFESIGN_SEED` is the first; alone it is the
//! only one. The program `simulate` plays more of them and tells what they covered.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};

use lifesign_tests::campaign::{Campaign, Failure};
use lifesign_tests::fault::Fault;
use lifesign_tests::plan::{Plan, Report};
use lifesign_tests::shrink::shrink;
use lifesign_tests::world::Setup;

const MS: u64 = 1000;

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    files.sort();
    files
}

#[test]
fn plans_that_have_taught_something_are_good() {
    for path in kept() {
        let report = Plan::load(&path).unwrap().run();
        assert_eq!(report.fatal(), None, "{}", path.display());
    }
}

#[test]
fn every_kept_plan_says_first_what_it_taught() {
    assert!(!kept().is_empty());
    for path in kept() {
        let text = fs::read_to_string(&path).unwrap();
        let lesson = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
        assert!(lesson.ends_with('.'), "{}: {lesson}", path.display());
    }
}

#[test]
fn whatever_breaks_the_promises_are_kept_and_healing_brings_every_group_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("LIFESIGN_SEED") {
        Some(seed) => seed..seed.saturating_add(number("LIFESIGN_SEEDS").unwrap_or(1)),
        None => 0..number("LIFESIGN_SEEDS").unwrap_or(100),
    };
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let campaign = Campaign { seeds, until: None, jobs, profile: None };
    if let (_, Some(Failure { plan, verdict })) = campaign.run(|_| {}) {
        panic!("seed {}: {verdict}", plan.seed);
    }
}

#[test]
fn what_is_drawn_while_it_is_played_is_played_again_to_the_same_trace() {
    for seed in 1_000_000..1_000_020 {
        let (plan, report) = Plan::draw(seed, None);
        assert_eq!(plan.run().hash, report.hash, "seed {seed}");
        let again = Plan::read(&plan.write("Nothing.").unwrap()).unwrap();
        assert_eq!(again, plan);
    }
}

/// A world whose holders believe in their authority for twice as long as anybody promised.
fn unsafe_setup() -> Setup {
    Setup { authority_ms: Some(50), groups: 2, links: 2, ..Setup::fast(3, 0) }
}

#[test]
fn a_plan_that_shows_a_fault_shrinks_to_what_it_takes() {
    let mut steps = vec![(5 * MS, Fault::Loss { percent: 3 })];
    for at in 0..20 {
        steps.push((400 * MS + at * 10 * MS, Fault::Duplicates { percent: 10 }));
        steps.push((400 * MS + at * 10 * MS, Fault::Pause { host: 2, span: MS }));
    }
    for other in [1, 2] {
        steps.push((610 * MS, Fault::Cut { from: 0, to: other, link: None }));
        steps.push((610 * MS, Fault::Cut { from: other, to: 0, link: None }));
    }
    let plan = Plan { seed: 1, setup: unsafe_setup(), heals_at: 900 * MS, steps };
    let shown = plan.run();
    let verdict = shown.fatal().expect("two servers answer");
    let same = |report: &Report| report.fatal().is_some_and(|it| it.is_like(verdict));
    let small = shrink(&plan, 500, |plan| same(&plan.run()));
    assert!(small.steps.len() <= 4, "{small:?}");
    assert_eq!((small.setup.groups, small.setup.links), (1, 1));
    let again = Plan::read(&small.write("Authority outlives the promise.").unwrap()).unwrap();
    assert_eq!(again.run().hash, small.run().hash);
    assert_eq!(again.run().verdicts, small.run().verdicts);
}
