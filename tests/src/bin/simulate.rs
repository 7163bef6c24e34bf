//! Plays what seeds stand for, in virtual time, and tells what came of it.
//!
//! One seed, or one plan in a file, is told one event a line: see [`lifesign_tests::trace`] and
//! [`lifesign_tests::scene`] for the columns. Many seeds end in a table of what was covered and in
//! figures. The first that goes wrong is made small and written to a file.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lifesign_tests::campaign::{Campaign, Failure, Tally, years};
use lifesign_tests::plan::{Plan, Profile, Report};
use lifesign_tests::shrink::shrink;
use lifesign_tests::trace::Trace;

const HELP: &str = "\
usage: simulate [SEED | PLAN-FILE] [--seeds N | --for DURATION] [--from SEED]
                [--jobs N] [--profile NAME] [--to FILE]

  SEED            play one seed and tell it, one event a line
  PLAN-FILE       the same for a kept plan
  --seeds N       play this many seeds (default 1000) and count
  --for DURATION  play seeds for this long: 90s, 2m, 1h
  --from SEED     the first of them (default 0); in decimal, or 0x in hexadecimal
  --jobs N        how many seeds are played side by side (default 1)
  --profile NAME  only this one: fast, standard, slow or serial
  --to FILE       where a small plan of the first failure goes (default failed.toml)

A line of a trace: milliseconds since the start, host, marks, what happened (* a fault).
There is a mark for each host, servers first and then witnesses, in a block for each group:
  .  does not run                           x  does not run, its kernel still answers
  -  has nothing to do with the group       c  claims it
  s  starts it      h  holds it             o  holds it and offers it to others
  e  stops it       !  could not stop it    z  its process does not run for a while
  S H O E Z  the same, and its kernel answers for the group
A witness has the number of the server that it has promised the group to.
Exit status: 0 good, 1 a promise was broken, 2 the command line is wrong.";

/// What is asked for.
#[derive(Debug)]
enum Errand {
    Seed(u64),
    File(PathBuf),
    Many,
}

#[derive(Debug)]
struct Options {
    errand: Errand,
    seeds: u64,
    from: u64,
    span: Option<Duration>,
    jobs: usize,
    profile: Option<Profile>,
    to: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(options) = parse(&words) else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let good = match &options.errand {
        Errand::Seed(seed) => {
            // Drawing plays it; what is told is the same run, from what was drawn.
            let (plan, _) = Plan::draw(*seed, options.profile);
            tell(&plan)
        }
        Errand::File(path) => match Plan::load(path) {
            Ok(plan) => tell(&plan),
            Err(error) => {
                eprintln!("simulate: {}: {error}", path.display());
                return ExitCode::from(2);
            }
        },
        Errand::Many => many(&options),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(words: &[String]) -> Option<Options> {
    let mut options = Options {
        errand: Errand::Many,
        seeds: 1000,
        from: 0,
        span: None,
        jobs: 1,
        profile: None,
        to: "failed.toml".into(),
    };
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--seeds" => options.seeds = number(words.next()?)?,
            "--from" => options.from = number(words.next()?)?,
            "--for" => {
                options.span = Some(span(words.next()?)?);
                options.seeds = u64::MAX;
            }
            "--jobs" => options.jobs = usize::try_from(number(words.next()?)?).ok()?,
            "--profile" => options.profile = Some(Profile::named(words.next()?)?),
            "--to" => options.to = words.next()?.into(),
            _ if word.starts_with("--") => return None,
            _ => {
                let file = || Errand::File(word.into());
                options.errand = number(word).map_or_else(file, Errand::Seed);
            }
        }
    }
    Some(options)
}

/// Reads a number that a plan's file can hold.
fn number(word: &str) -> Option<u64> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => word.parse().ok()?,
    };
    Some(number & i64::MAX.cast_unsigned())
}

fn span(word: &str) -> Option<Duration> {
    let at = word.len().checked_sub(1)?;
    let (digits, unit) = word.split_at_checked(at)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(unit)?))
}

/// Plays one plan, tells it, and returns whether it was good.
fn tell(plan: &Plan) -> bool {
    let setup = &plan.setup;
    println!(
        "seed {}: {} servers, {} witnesses, {} groups, guard {:?}, heartbeat {} ms, promise {} ms",
        plan.seed,
        setup.nodes,
        setup.witnesses,
        setup.groups,
        setup.guard,
        setup.heartbeat_ms,
        setup.promise_ms
    );
    let mut trace = Trace::default();
    let report = plan.run_telling(|at, seen, scene| {
        if let Some(line) = trace.line(at, seen, scene) {
            println!("{line}");
        }
    });
    for verdict in &report.verdicts {
        println!("{}{verdict}", if verdict.is_fatal() { "BROKEN: " } else { "" });
    }
    println!(
        "{:.3} s of virtual time, {} faults, {} moves, trace {:016x}",
        report.span as f64 / 1e6,
        plan.steps.len(),
        report.moves,
        report.hash
    );
    report.fatal().is_none()
}

/// Plays many seeds and returns whether all were good.
fn many(options: &Options) -> bool {
    let campaign = Campaign {
        seeds: options.from..options.from.saturating_add(options.seeds),
        until: options.span.map(|span| Instant::now() + span),
        jobs: options.jobs,
        profile: options.profile,
    };
    let (tally, failure) = campaign.run(|tally| {
        eprintln!(
            "{} seeds, {} moves, {:.4} years, {} s of processor time",
            tally.runs,
            tally.moves,
            years(tally.cluster_us),
            tally.spent.as_secs()
        );
    });
    print_tally(&tally, options);
    failure.as_ref().is_none_or(|failure| {
        print_failure(failure, &options.to);
        false
    })
}

fn print_tally(tally: &Tally, options: &Options) {
    println!("{}", tally.coverage);
    let profile = options.profile.map_or("any", Profile::word);
    println!(
        "{} seeds from {} (profile {profile}), {} of them run twice to the same trace",
        tally.runs, options.from, tally.twice
    );
    println!("{} faults, {} moves, {} frames sent", tally.faults, tally.moves, tally.frames);
    println!(
        "longest time from repair until every group was held: {} heartbeats",
        tally.slowest_convergence
    );
    println!("{} runs went beyond what is assumed; the oracle reported there:", tally.beyond);
    for (what, count) in &tally.reported {
        println!("  {count:>8} {what}");
    }
    let (clusters, nodes) = (years(tally.cluster_us), years(tally.node_us));
    println!("{clusters:.4} cluster-years, {nodes:.4} node-years, {} s", tally.spent.as_secs());
    println!(
        "per processor-hour: {:.2} cluster-years, {:.2} node-years, {:.0} moves",
        tally.per_hour(clusters),
        tally.per_hour(nodes),
        tally.per_hour(tally.moves as f64)
    );
    let tag = if cfg!(lifesign_stub_tag) { "a stub" } else { "HMAC-SHA256" };
    println!("the tag of frames is {tag}");
}

/// Makes a failing plan small, writes it to a file, and says how to see it again.
fn print_failure(failure: &Failure, to: &Path) {
    const TRIES: usize = 2000;
    let Failure { plan, verdict } = failure;
    println!("BROKEN: seed {}: {verdict}", plan.seed);
    let same = |report: &Report| report.fatal().is_some_and(|it| it.is_like(verdict));
    let small = shrink(plan, TRIES, |plan| same(&plan.run()));
    let lesson = format!("Seed {}: {verdict}.", plan.seed);
    let written = small.write(&lesson).map_err(|error| error.to_string());
    match written.and_then(|text| std::fs::write(to, text).map_err(|error| error.to_string())) {
        Ok(()) => println!(
            "{} of {} faults are enough; replay: cargo run --release -p lifesign-tests --bin \
             simulate -- {}",
            small.steps.len(),
            plan.steps.len(),
            to.display()
        ),
        Err(error) => println!(
            "{}: {error}; replay: cargo run --release -p lifesign-tests --bin simulate -- {}",
            to.display(),
            plan.seed
        ),
    }
}
