//! Shows that for each safety rule there is a test that fails without it.
//!
//! `mutants [--jobs N] [--quick | --only NAME...] [--list]`: builds lifesign without one rule after
//! the other, in N copies at a time, and runs the core's tests, the scenarios, a bounded swarm and
//! the small clusters that are tried in full on each, or the daemon's own tests where its sources
//! are changed, up to the first that fails. Says which test that was, and after how many seconds of
//! testing. Exits with 1 if a mutant survives that should not, if one is caught that is said to be
//! covered, or if the unchanged sources fail.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use lifesign_tests::mutant::judge::{Copied, JudgeError, Layer, Outcome};
use lifesign_tests::mutant::{Fate, Mutant, list};

/// How many seeds the swarm runs on each mutant.
const SEEDS: u64 = 60;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let jobs = match words.as_slice() {
        ["--jobs", number, ..] => number.parse().ok().filter(|jobs| (1..=16).contains(jobs)),
        _ => Some(1),
    };
    if words.first() == Some(&"--jobs") {
        words.drain(..words.len().min(2));
    }
    let chosen: Vec<&Mutant> = match words.as_slice() {
        [] | ["--list"] => list::all().collect(),
        ["--quick"] | ["--quick", "--list"] => list::all().filter(|it| it.quick).collect(),
        ["--only", names @ ..] => list::all().filter(|it| names.contains(&it.name)).collect(),
        _ => Vec::new(),
    };
    let Some(jobs) = jobs.filter(|_| !chosen.is_empty()) else {
        eprintln!("usage: mutants [--jobs N] [--quick | --only NAME...] [--list]");
        return ExitCode::from(2);
    };
    if words.contains(&"--list") {
        for mutant in &chosen {
            println!("{:<32} {}", mutant.name, mutant.rule);
        }
        return ExitCode::SUCCESS;
    }
    match try_all(&chosen, jobs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries the unchanged sources and then each mutant, in as many copies at a time as `jobs` says,
/// and returns whether all went as expected.
fn try_all(chosen: &[&Mutant], jobs: usize) -> Result<bool, JudgeError> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources.join("target"), PathBuf::from);
    let begun = Instant::now();
    let copy = |job: usize| {
        let place = if job == 0 { "mutants".into() } else { format!("mutants-{job}") };
        Copied::new(&sources, &target.join(place), SEEDS)
    };
    let first = copy(0)?;
    let unchanged = first.judge_unchanged(chosen)?;
    println!("{:<36} {:<60} {:>6.1} s", "unchanged", told(&unchanged), seconds(begun));
    if unchanged != Outcome::Survived {
        return Ok(false);
    }
    let mut copies = vec![first];
    for job in 1..jobs {
        copies.push(copy(job)?);
    }
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |copied: Copied| -> Result<(), JudgeError> {
        while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = try_one(&copied, mutant)?;
            verdicts.lock().unwrap_or_else(PoisonError::into_inner).push((*mutant, verdict));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            copies.into_iter().map(|copied| scope.spawn(|| work(copied))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(conclude(&verdicts, begun))
}

/// What came of a mutant.
enum Verdict {
    /// It was caught by this layer.
    Caught(Layer),
    /// It survived, as it was expected to.
    Covered,
    /// Not what was expected.
    Unexpected,
}

/// Tries one mutant and tells how that went.
fn try_one(copied: &Copied, mutant: &Mutant) -> Result<Verdict, JudgeError> {
    let since = Instant::now();
    let (words, verdict) = match copied.judge(mutant) {
        Ok(outcome) => (told(&outcome), judged(&outcome, mutant.fate)),
        Err(error @ JudgeError::Io(..)) => return Err(error),
        Err(error) => (error.to_string(), Verdict::Unexpected),
    };
    let mut line = format!("{:<36} {words:<60} {:>6.1} s", mutant.name, seconds(since));
    if matches!(verdict, Verdict::Unexpected) {
        line.push_str(" <- not as expected");
    }
    if let (Verdict::Covered, Fate::Covered { because, both }) = (&verdict, mutant.fate) {
        line.push_str(&format!("\n    covered: {because} Without both: {both}."));
    }
    println!("{line}");
    Ok(verdict)
}

const fn judged(outcome: &Outcome, fate: Fate) -> Verdict {
    match (outcome, fate) {
        (Outcome::Caught(layer, ..), Fate::Caught) => Verdict::Caught(*layer),
        (Outcome::Survived, Fate::Covered { .. }) => Verdict::Covered,
        _ => Verdict::Unexpected,
    }
}

/// Tells how many mutants each layer caught, and returns whether all went as expected.
fn conclude(verdicts: &[(&Mutant, Verdict)], begun: Instant) -> bool {
    let count = |is: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|(_, it)| is(it)).count();
    for layer in Layer::ALL {
        let caught = count(&|it| matches!(it, Verdict::Caught(by) if *by == layer));
        println!("{caught:>4} caught by {layer}");
    }
    println!("{:>4} covered by another rule", count(&|it| matches!(it, Verdict::Covered)));
    let wrong = count(&|it| matches!(it, Verdict::Unexpected));
    println!("{} mutants, {wrong} not as expected, {:.0} s", verdicts.len(), seconds(begun));
    for (mutant, _) in verdicts.iter().filter(|(_, it)| matches!(it, Verdict::Unexpected)) {
        println!("{}: {}", mutant.name, mutant.rule);
    }
    wrong == 0
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Survived => "survived".into(),
        Outcome::Caught(layer, test, after) => {
            format!("caught by {layer} after {:.2} s: {test}", after.as_secs_f64())
        }
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
