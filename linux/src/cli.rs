//! The command line: what each command does, and all printing.
//!
//! Grammar and help are in `grammar`.
//!
//! Exit status: 0 good, 1 failed, 2 usage or bad settings; of `dongle` besides 3 the device cannot
//! be used, 4 no dongle answers, 5 it is of another cluster or version.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command talks to whoever gave it"
)]

mod agent;
mod dongle;
mod explain;
mod fence;
mod grammar;
mod heartbeat;
mod watch;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use lifesign_core::node::NodeId;
use serde::Serialize;

use self::grammar::demo::DemoArgs;
use self::grammar::lasting::{GroupArgs, LastingCommand, MaintenanceCommand, PlaceArgs};
use self::grammar::{
    CheckArgs, Cli, Command, KeygenArgs, MoveArgs, ReplayArgs, RunArgs, StatusArgs, WhyArgs,
};
use crate::check::witness::WitnessCheck;
use crate::check::{Check, expected};
use crate::control::Picture;
use crate::daemon::{self, StartError};
use crate::demo::stage::{Arbiter, Family};
use crate::demo::{self, DemoError};
use crate::executor::INPUT_LEN_MAX;
use crate::keygen::{self, Task};
use crate::operate::{self, Lasting, Move, Outcome};
use crate::page::Page;
use crate::replay::{self, Question};
use crate::settings::witness::WitnessSettings;
use crate::settings::{LoadError, Settings, host_name, said};
use crate::webhook::{self, Address};
use crate::witness::{self, WitnessError};
use crate::{status, why};

/// Does what the command line says, and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse_from(heartbeat::words()).command {
        Command::Run(args) => run(args),
        Command::Witness { file, state_dir, control } => {
            witness(witness::Options { file, state_dir, control })
        }
        Command::Check(args) => check(&args),
        Command::Explain(command) => explain::main(&command),
        Command::Status(args) => status(&args),
        Command::Why(args) => why(&args),
        Command::Watch(args) => watch::main(&args),
        Command::Replay(args) => replay(args),
        Command::Standby(args) => relocate(&args, Move::Away),
        Command::Takeover(args) => relocate(&args, Move::Here),
        Command::Lasting(command) => lasting(command),
        Command::Keygen(args) => keygen(&args),
        Command::Import(args) => heartbeat::import(args),
        Command::ClStatus(args) => heartbeat::cl_status(&args),
        Command::HbStandby(args) => heartbeat::relocate(&args, Move::Away),
        Command::HbTakeover(args) => heartbeat::relocate(&args, Move::Here),
        Command::Demo(args) => show(args),
        Command::Dongle(command) => dongle::main(command),
        Command::Fence(command) => fence::main(&command),
        Command::Post { address } => post(&address),
        Command::Agent(args) => agent::main(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lifesign", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            ExitCode::SUCCESS
        }
        Command::Manual { directory } => match clap_mangen::generate_to(Cli::command(), &directory)
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("write into {}: {}", directory.display(), said(&error))),
        },
    }
}

/// The exit status of wrong usage and of bad settings.
const BAD_SETTINGS: u8 = 2;

fn run(args: RunArgs) -> ExitCode {
    let RunArgs { file, ha_d, choices, mut node, state_dir, control, record } = args;
    let mut text = None;
    let mut file = file.unwrap_or_default();
    if let Some(directory) = ha_d {
        match heartbeat::for_daemon(&directory, node, choices) {
            Ok(made) => (file, text, node) = (made.file, Some(made.text), Some(made.node)),
            Err(status) => return status,
        }
    } else if choices.is_some() {
        return bad("--address, --witness, --accept-split-brain and --key-file go with --ha-d");
    }
    match daemon::run(&daemon::Options { file, text, node, state_dir, control, record }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Settings(error)) => refuse(&error),
        Err(StartError::Refused(why)) => fail(&why),
    }
}

/// Posts what stands on standard input.
fn post(address: &Address) -> ExitCode {
    let mut body = String::new();
    match io::stdin().take(INPUT_LEN_MAX as u64).read_to_string(&mut body) {
        Ok(_) => match webhook::post(address, &body) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => fail(&format!("post to {address}: {why}")),
        },
        Err(error) => fail(&format!("read what to post: {}", said(&error))),
    }
}

fn witness(options: witness::Options) -> ExitCode {
    match witness::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(WitnessError::Settings(error)) => refuse(&error),
        Err(WitnessError::Refused(why)) => fail(&why),
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    if WitnessSettings::is_meant(&args.file) {
        return check_witness(args);
    }
    let (settings, source) = match Settings::load_with_source(&args.file) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    let me = match this_node(&settings, args.node.as_deref()) {
        Ok(me) => me,
        Err(error) => return bad(&error),
    };
    let mut check = Check::new(&settings, expected(settings.enforcer));
    if let Some(me) = me {
        let path = args.file.to_string_lossy();
        check = check.on_this_machine(&settings, me);
        check = match check.with_agents(settings, me, (&path, &source)) {
            Ok(check) => check,
            Err(mistakes) => return refuse(&LoadError::Wrong(mistakes)),
        };
    }
    if args.json {
        say_json(&check);
        for error in &check.errors {
            eprintln!("error: {error}");
        }
    } else {
        say(&check.to_string());
    }
    if check.accepted { ExitCode::SUCCESS } else { ExitCode::from(BAD_SETTINGS) }
}

fn check_witness(args: &CheckArgs) -> ExitCode {
    match WitnessSettings::load(&args.file) {
        Ok(settings) => {
            let check = WitnessCheck::new(&settings);
            if args.json {
                say_json(&check);
            } else {
                say(check.to_string().trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

/// Returns which node this machine is: the one named, else the one with its host name, if there is
/// one.
fn this_node(settings: &Settings, name: Option<&str>) -> Result<Option<NodeId>, String> {
    match name {
        Some(name) => settings.known_node(name).map(Some),
        None => Ok(settings.node(&host_name())),
    }
}

fn show(args: DemoArgs) -> ExitCode {
    let DemoArgs { json, scenes, unprivileged, dongle, ipv6 } = args;
    let arbiter = if dongle { Arbiter::Dongle } else { Arbiter::QuorumServer };
    let family = if ipv6 { Family::Ipv6 } else { Family::Ipv4 };
    match demo::run(&demo::Options { json, unprivileged, scenes, arbiter, family }) {
        Ok(status) => ExitCode::from(status),
        Err(error @ DemoError::NoScene { .. }) => bad(&error.to_string()),
        Err(error) => fail(&error.to_string()),
    }
}

fn keygen(args: &KeygenArgs) -> ExitCode {
    let task = match (args.add, args.sign, args.remove) {
        (true, _, _) => Task::Add,
        (_, Some(id), _) => Task::Sign(id),
        (_, _, Some(id)) => Task::Remove(id),
        _ => Task::Create { may_replace: args.force },
    };
    match keygen::run(Path::new(&args.path), task) {
        Ok(done) => {
            say(&done);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// Prints `text` and a line's end. A reader who has heard enough, such as `head`, is no failure.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Asks whether `what` is so, on the terminal, and returns whether the answer is yes.
///
/// # Errors
/// There is no terminal to ask on.
fn is_confirmed(what: &str) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err("there is no terminal to ask on: say --yes if it shall be done".to_owned());
    }
    print!("{what}? [y/N] ");
    // Without an answer nothing is done, so neither failure does harm.
    let _ = io::stdout().flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Prints `value` as JSON.
fn say_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say(&text),
        Err(error) => eprintln!("error: write JSON: {error}"),
    }
}

/// Says why settings are not loaded.
fn refuse(error: &LoadError) -> ExitCode {
    eprintln!("{}", error.render(Page::of(&io::stderr()).is_coloured));
    ExitCode::from(BAD_SETTINGS)
}

fn bad(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(BAD_SETTINGS)
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

fn status(args: &StatusArgs) -> ExitCode {
    let page = Page::of(&io::stdout());
    loop {
        let report = match operate::status(&args.at.control) {
            Ok(report) => report,
            Err(error) if !args.watch => return fail(&error),
            Err(error) => {
                if !redraw(&format!("{error}\n")) {
                    return ExitCode::SUCCESS;
                }
                std::thread::sleep(EACH);
                continue;
            }
        };
        if args.json {
            match &report {
                Picture::Report(report) => say_json(report),
                Picture::Witness(report) => say_json(report),
            }
            return ExitCode::SUCCESS;
        }
        let text = match &report {
            Picture::Report(report) => status::render(report, page),
            Picture::Witness(report) => status::witness::render(report, page),
        };
        if !args.watch {
            say(text.trim_end());
            return ExitCode::SUCCESS;
        }
        if !redraw(&text) {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(EACH);
    }
}

/// How often a watched page is drawn.
const EACH: std::time::Duration = std::time::Duration::from_secs(1);

/// Puts `text` in the place of the page before, and returns whether somebody still reads.
fn redraw(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let clear = if stdout.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    writeln!(stdout, "{clear}{text}").and_then(|()| stdout.flush()).is_ok()
}

fn why(args: &WhyArgs) -> ExitCode {
    let page = Page::of(&io::stdout());
    let report = operate::report(&args.at.control);
    match report.and_then(|report| why::render(&report, args.group.as_deref(), page)) {
        Ok(text) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn replay(args: ReplayArgs) -> ExitCode {
    let ReplayArgs { path, from, until, why, at, json } = args;
    let page = Page::of(&io::stdout());
    let is_explained = why.is_some();
    let question = Question { from, until, why, at, json, page };
    let outcome = match replay::run(&path, &question, &mut say) {
        Ok(outcome) => outcome,
        Err(error) => return fail(&error.to_string()),
    };
    if !outcome.is_good() {
        return fail(&outcome.to_string());
    }
    if !is_explained {
        say(&if json { outcome.to_json() } else { outcome.to_string() });
    }
    ExitCode::SUCCESS
}

fn relocate(args: &MoveArgs, to: Move) -> ExitCode {
    tell(operate::relocate(&args.at.control, args.group.as_deref(), to))
}

fn lasting(command: LastingCommand) -> ExitCode {
    let (at, group, what) = match command {
        LastingCommand::Move(PlaceArgs { at, group, node }) => {
            (at, Some(group), Lasting::Move(node))
        }
        LastingCommand::Maintenance(MaintenanceCommand::On { at, lasting, group }) => {
            (at, group, Lasting::Maintain(lasting))
        }
        LastingCommand::Maintenance(MaintenanceCommand::Off { at, group }) => {
            (at, group, Lasting::Resume)
        }
        LastingCommand::Disable(GroupArgs { at, group }) => (at, Some(group), Lasting::Disable),
        LastingCommand::Enable(GroupArgs { at, group }) => (at, Some(group), Lasting::Enable),
    };
    tell(operate::say(&at.control, group.as_deref(), &what))
}

/// Prints what became of an order.
fn tell(outcome: Result<Outcome, String>) -> ExitCode {
    match outcome {
        Ok(outcome) => {
            say(&outcome.text);
            if outcome.has_moved { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        let grammar = Cli::command();
        let top = grammar.get_subcommands();
        for command in top.flat_map(|command| command.get_subcommands().chain([command])) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            assert!(command.get_after_help().is_some(), "{}", command.get_name());
        }
    }
}
