//! Plays rounds on real daemons in network namespaces: see [`lifesign_tests::rounds`].
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::{Command, ExitCode};

use lifesign::demo::machine::{self, ROLE};
use lifesign::namespace::{self, Users};
use lifesign_tests::rounds::{self, Kind, Round, Shape};

const HELP: &str = "\
usage: rounds [--rounds N] [--seed N] [--from N] [--shape three|pair] [--kind NAME]

  --rounds N      play so many rounds (default 200)
  --seed N        what they are drawn from (default 1)
  --from N        the number of the first (default 0)
  --shape NAME    three servers (default), or a pair of them with a quorum server
  --kind NAME     this kind alone: flip, restart, one-by-one, together, rolling, partial-start,
                  standby, split, redundant-path, near-quorum, crash, stonith, detection,
                  bandwidth, service-fails, component-fails, frozen, cable-pulled

Exit status: 0 good, 1 a round went wrong, 2 the command line is wrong.";

/// What is asked for.
struct Options {
    rounds: u64,
    seed: u64,
    from: u64,
    shape: Shape,
    kind: Option<Kind>,
}

fn main() -> ExitCode {
    if let Some(played) = machine::play_role() {
        return if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| !word.starts_with('-')) {
        // It is the `lifesign` program too: what is tried is what this was built with.
        return lifesign::cli::main();
    }
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(options) = parse(&words) else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let outcome = if std::env::var_os(ROLE).is_none() { isolate_self() } else { play(&options) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rounds: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Option<Options> {
    let mut options = Options { rounds: 200, seed: 1, from: 0, shape: Shape::Three, kind: None };
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word {
            "--rounds" => options.rounds = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--from" => options.from = value.parse().ok()?,
            "--shape" => options.shape = Shape::named(value)?,
            "--kind" => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.word() == value);
                options.kind = Some(kind?);
            }
            _ => return None,
        }
    }
    Some(options)
}

/// Runs this program once more in namespaces of its own.
fn isolate_self() -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args(std::env::args_os().skip(1)).env(ROLE, "inner");
    namespace::isolate(&mut command, Users::New);
    let status = command.status().map_err(|error| format!("start in namespaces: {error}"))?;
    if status.success() { Ok(()) } else { Err("it went wrong".to_owned()) }
}

fn play(options: &Options) -> Result<(), String> {
    let ready = |error: std::io::Error| error.to_string();
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|errno| errno.to_string())?;
    namespace::raise_loopback().map_err(ready)?;
    let program = std::env::current_exe().map_err(ready)?;
    let numbers = options.from..options.from.saturating_add(options.rounds);
    let drawn = numbers.map(|number| match options.kind {
        Some(kind) => Round::of_kind(kind, options.seed, number),
        None => Round::draw(options.seed, number),
    });
    let begun = std::time::Instant::now();
    let program = program.display().to_string();
    let figures = rounds::play(&program, options.shape, drawn, |round, odd| {
        let at = begun.elapsed().as_secs();
        println!(
            "{}",
            format!("[{at:5} s] round {} {} {odd}", round.number, round.kind).trim_end()
        );
    })?;
    print!("{}", figures.told());
    println!(
        "{} rounds on {}, seed {}: all good, {} s",
        options.rounds,
        options.shape.word(),
        options.seed,
        begun.elapsed().as_secs()
    );
    Ok(())
}
