//! Fuzzes without libFuzzer: `fuzz TARGET COUNT [SEED [LONGEST]]` runs a target on COUNT mutations
//! of what is kept for it in `tests/corpus`, or of those inputs that have at most LONGEST bytes.
//!
//! It learns nothing on the way, but is quick and wants no special compiler. An input that breaks
//! the target is written to `broken`, and the exit status is 1.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, io};

use lifesign_tests::fuzz::mutation::mutated;
use lifesign_tests::fuzz::{TARGETS, Target};
use lifesign_tests::random::Random;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let target = words.first().and_then(|name| TARGETS.iter().find(|it| it.name == name));
    let numbers: Option<Vec<u64>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
    let (Some(target), Some([count, rest @ ..])) = (target, numbers.as_deref()) else {
        let names = TARGETS.map(|target| target.name).join(", ");
        eprintln!("usage: fuzz TARGET COUNT [SEED [LONGEST]], and TARGET is one of {names}");
        return ExitCode::from(2);
    };
    let seed = rest.first().copied().unwrap_or_default();
    let longest = rest.get(1).copied().unwrap_or(u64::MAX);
    match fuzz(target, *count, seed, longest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the target held.
fn fuzz(target: &Target, count: u64, seed: u64, longest: u64) -> io::Result<bool> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let mut kept: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<io::Result<_>>()?;
    kept.retain(|input| input.len() as u64 <= longest);
    let (mut random, begun) = (Random::new(seed), Instant::now());
    for number in 1..=count {
        let input = mutated(&kept, &mut random);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            fs::write("broken", &input)?;
            eprintln!("mutation {number} of seed {seed} breaks {}", target.name);
            return Ok(false);
        }
        if number == count || number % 10_000_000 == 0 {
            let seconds = begun.elapsed().as_secs();
            let rate = number / seconds.max(1);
            println!("{}: {number} runs, {seconds} s, {rate} a second", target.name);
        }
    }
    Ok(true)
}
