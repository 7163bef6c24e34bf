//! Measures lifesign beside keepalived: the same machines, the same wires, the same client, one
//! run.
//!
//! For each contender: the outage after the holder crashes with its cables, over several crashes;
//! the time with two holders, also while the holder is frozen and while the servers are cut off
//! from each other; processor time and memory of an idle standby and an idle holder; moves of the
//! address while sixteen processes keep every processor busy. Usage:
//!
//! `compare [--crashes N] [--busy SECONDS] [--idle SECONDS] [--no-split] [CONTENDER]...`
//!
//! The contenders are `keepalived`, `keepalived-realtime`, `keepalived-mac`, `lifesign` and
//! `lifesign-mac`; all if none is named.

mod contender;
mod cost;
mod course;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lifesign::demo::machine::{self, ROLE};
use lifesign::namespace::{self, Users};

use contender::Contender;
use course::Course;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command says why it failed")]
            {
                eprintln!("compare: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    if let Some(played) = machine::play_role() {
        return Ok(played?);
    }
    let wanted = Wanted::read(std::env::args().skip(1))?;
    if std::env::var_os(ROLE).is_none() {
        return isolate_self();
    }
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    namespace::raise_loopback()?;
    say(&format!("crashes {}, busy {} s, idle {} s", wanted.crashes, wanted.busy_s, wanted.idle_s));
    for contender in &wanted.contenders {
        let directory = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let outcome = compete(*contender, &wanted, directory.clone());
        std::fs::remove_dir_all(&directory)?;
        outcome?;
    }
    Ok(())
}

/// Sends one contender over the whole course.
fn compete(
    contender: Contender,
    wanted: &Wanted,
    directory: PathBuf,
) -> Result<(), Box<dyn Error>> {
    let mut course = Course::set(contender, directory)?;
    say(&format!("\n{}", contender.name()));
    if wanted.crashes > 0 {
        say(&course.crash(wanted.crashes)?.to_string());
    }
    if wanted.has_split {
        say(&course.split()?);
    }
    if wanted.idle_s > 0 {
        say(&course.idle(wanted.idle_s)?);
    }
    if wanted.busy_s > 0 {
        say(&course.busy(wanted.busy_s)?);
    }
    Ok(())
}

/// Runs this program once more in namespaces, with the caller's users where those allow it.
fn isolate_self() -> Result<(), Box<dyn Error>> {
    let start = |users| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).env(ROLE, "inner");
        namespace::isolate(&mut command, users);
        command.status()
    };
    let status = match start(Users::Same) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => start(Users::New)?,
        outcome => outcome?,
    };
    if status.success() { Ok(()) } else { Err("the run in its namespaces failed".into()) }
}

/// What to measure.
struct Wanted {
    crashes: u64,
    busy_s: u64,
    idle_s: u64,
    has_split: bool,
    contenders: Vec<Contender>,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut wanted =
            Self { crashes: 20, busy_s: 30, idle_s: 30, has_split: true, contenders: Vec::new() };
        while let Some(argument) = arguments.next() {
            let number = match argument.as_str() {
                "--crashes" => &mut wanted.crashes,
                "--busy" => &mut wanted.busy_s,
                "--idle" => &mut wanted.idle_s,
                "--no-split" => {
                    wanted.has_split = false;
                    continue;
                }
                name => {
                    let contender = Contender::from_name(name);
                    wanted.contenders.push(contender.ok_or_else(|| format!("what is {name}?"))?);
                    continue;
                }
            };
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            *number = value.parse()?;
        }
        if wanted.contenders.is_empty() {
            wanted.contenders = Contender::ALL.to_vec();
        }
        Ok(wanted)
    }
}

#[expect(clippy::print_stdout, reason = "the measurements are what this command is for")]
fn say(line: &str) {
    println!("{line}");
}
