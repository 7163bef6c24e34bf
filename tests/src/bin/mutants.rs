//! Shows that for each safety rule there is a test that fails without it.
//!
//! `mutants [--quick | --only NAME...] [--list]`: builds lifesign without one rule after the other
//! and runs the core's tests, the scenarios and a bounded swarm on each, up to the first that
//! fails. Exits with 1 if a mutant survives that should not, if one is caught that is said to be
//! covered, or if the unchanged sources fail.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use lifesign_tests::mutant::judge::{Copied, JudgeError, Outcome};
use lifesign_tests::mutant::{Fate, Mutant, list};

/// How many seeds the swarm runs on each mutant.
const SEEDS: u64 = 60;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let chosen: Vec<&Mutant> = match words.as_slice() {
        [] | ["--list"] => list::all().collect(),
        ["--quick"] | ["--quick", "--list"] => list::all().filter(|it| it.quick).collect(),
        ["--only", names @ ..] => list::all().filter(|it| names.contains(&it.name)).collect(),
        _ => Vec::new(),
    };
    if chosen.is_empty() {
        eprintln!("usage: mutants [--quick | --only NAME...] [--list]");
        return ExitCode::from(2);
    }
    if words.contains(&"--list") {
        for mutant in &chosen {
            println!("{:<32} {}", mutant.name, mutant.rule);
        }
        return ExitCode::SUCCESS;
    }
    match try_all(&chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries the unchanged sources and then each mutant, and returns whether all went as expected.
fn try_all(chosen: &[&Mutant]) -> Result<bool, JudgeError> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources.join("target"), PathBuf::from);
    let copied = Copied::new(&sources, &target.join("mutants"), SEEDS)?;
    let begun = Instant::now();
    let unchanged = copied.judge(None)?;
    println!("{:<32} {:<60} {:>6.1} s", "unchanged", told(&unchanged), seconds(begun));
    if unchanged != Outcome::Survived {
        return Ok(false);
    }
    let mut wrong = Vec::new();
    for mutant in chosen {
        let since = Instant::now();
        let outcome = match copied.judge(Some(mutant)) {
            Ok(outcome) => told(&outcome),
            Err(error @ JudgeError::Io(..)) => return Err(error),
            Err(error) => error.to_string(),
        };
        let expected = match mutant.fate {
            Fate::Caught => outcome.starts_with(CAUGHT),
            Fate::Covered { .. } => outcome == SURVIVED,
        };
        let verdict = if expected { "" } else { " <- not as expected" };
        println!("{:<32} {outcome:<60} {:>6.1} s{verdict}", mutant.name, seconds(since));
        if !expected {
            wrong.push(mutant);
        }
        if let (true, Fate::Covered { because, both }) = (expected, mutant.fate) {
            println!("    covered: {because} Without both: {both}.");
        }
    }
    println!("{} mutants, {} not as expected, {:.0} s", chosen.len(), wrong.len(), seconds(begun));
    for mutant in &wrong {
        println!("{}: {}", mutant.name, mutant.rule);
    }
    Ok(wrong.is_empty())
}

const CAUGHT: &str = "caught by ";
const SURVIVED: &str = "survived";

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Survived => SURVIVED.into(),
        Outcome::Caught(layer, test) => format!("{CAUGHT}{layer}: {test}"),
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
