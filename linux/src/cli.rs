//! The command line: grammar, help and printing.
//!
//! Exit status: 0 good, 1 failed, 2 usage or bad settings.
#![expect(clippy::print_stderr, reason = "a command talks to whoever gave it")]

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lifesign_core::node::NodeId;
use serde::Serialize;

use crate::check::{Check, expected};
use crate::daemon::{self, StartError};
use crate::demo::{self, DemoError};
use crate::keygen::{self, Task};
use crate::operate::{self, Move};
use crate::page::Page;
use crate::settings::{LoadError, Settings, said};
use crate::witness::{self, WitnessError};
use crate::{status, why};

/// Keeps a service address alive on one of several servers, and never on two.
#[derive(Debug, Parser)]
#[command(name = "lifesign", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
To begin:
  lifesign keygen /etc/lifesign/key       make the secret, copy it to every node and witness
  lifesign check /etc/lifesign.toml       see what the settings promise, before anything starts

Exit status: 0 good, 1 failed, 2 usage or bad settings.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon of a node
    ///
    /// Everything that can be wrong is said in one line and with a non-zero exit status, before
    /// anything is touched. SIGTERM hands every group over and leaves in good order; SIGHUP reads
    /// the key file again.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Run a quorum server, which decides when a cluster has fallen into equal halves
    ///
    /// One server can serve many clusters; it needs to know neither their nodes nor their groups.
    /// SIGHUP reads the key files again.
    #[command(after_help = WITNESS_EXAMPLE)]
    Witness {
        /// The settings of the quorum server
        file: PathBuf,
        /// In place of the settings' directory for what must outlive the server
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Judge settings: mistakes, the safety inequality with its numbers, worst failover times
    ///
    /// Reads the file and touches nothing. Every mistake is shown where it stands, with a hint. For
    /// each group it prints, term by term, the inequality that keeps two nodes from answering at
    /// once, and the longest time without an answer after a crash, a killed daemon and an orderly
    /// switchover. Settings that cannot keep the inequality are refused, with exit status 2.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Show how things are, as this machine sees them
    ///
    /// The first line says GOOD (everything is held, and the next failure can be survived),
    /// DEGRADED (everything is held, something is missing) or DOWN (something is not held), and
    /// why.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Explain why a group is where it is, why not elsewhere, and what would change that
    #[command(after_help = WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Give a group, or everything, to other nodes, in good order
    ///
    /// The group is offered, and moves as soon as another node can take it. Without a group, this
    /// node keeps voting and stays free of all groups until `lifesign takeover`. Waits for the
    /// outcome, and prints where the groups are and how long it took. Exit status 1 if they have
    /// not moved.
    #[command(after_help = STANDBY_EXAMPLES)]
    Standby(MoveArgs),
    /// Take a group, or everything, to this node, in good order; ends standby
    ///
    /// A holder that is alive gives it up first. Waits for the outcome, and prints where the groups
    /// are and how long it took. Exit status 1 if they have not moved.
    #[command(after_help = TAKEOVER_EXAMPLES)]
    Takeover(MoveArgs),
    /// Make a key file, or rotate its keys
    ///
    /// Without an option it writes a file with one fresh key, readable for its owner alone, and
    /// never over an old one. Every node and witness of a cluster needs the same file.
    ///
    /// To rotate, do each step on all machines before the next: --add a key, --sign with it,
    /// --remove the old one. Whatever step each machine is at, all understand each other.
    #[command(after_help = KEYGEN_EXAMPLES)]
    Keygen(KeygenArgs),
    /// Show on this machine alone what happens to an address when servers fail
    ///
    /// Builds two servers, a witness, a switch and a client in namespaces, runs the real daemons
    /// there and hurts them in several ways. Needs neither root nor settings, and leaves nothing
    /// behind. Exit status 0 means that every promise was kept.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLE)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    #[command(after_help = MANUAL_EXAMPLE)]
    Manual {
        /// The directory; it must exist
        directory: PathBuf,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  lifesign run /etc/lifesign.toml
  lifesign run --node alpha /etc/lifesign.toml";

const WITNESS_EXAMPLE: &str = "\
Example:
  lifesign witness /etc/lifesign-witness.toml";

const CHECK_EXAMPLES: &str = "\
Examples:
  lifesign check /etc/lifesign.toml
  lifesign check --node alpha --json /etc/lifesign.toml";

const STATUS_EXAMPLES: &str = "\
Examples:
  lifesign status
  lifesign status --watch
  lifesign status --json | jq .groups";

const WHY_EXAMPLES: &str = "\
Examples:
  lifesign why
  lifesign why www";

const STANDBY_EXAMPLES: &str = "\
Examples:
  lifesign standby          before this machine is serviced
  lifesign standby www";

const TAKEOVER_EXAMPLES: &str = "\
Examples:
  lifesign takeover         when this machine is back
  lifesign takeover www";

const KEYGEN_EXAMPLES: &str = "\
Examples:
  lifesign keygen /etc/lifesign/key
  lifesign keygen --add /etc/lifesign/key
  lifesign keygen --sign 2 /etc/lifesign/key
  lifesign keygen --remove 1 /etc/lifesign/key";

const DEMO_EXAMPLES: &str = "\
Examples:
  lifesign demo
  lifesign demo --json
  lifesign demo --scene switchover --scene server-crashed";

const MANUAL_EXAMPLE: &str = "\
Example:
  lifesign manual /usr/local/share/man/man1";

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  lifesign completions bash > /etc/bash_completion.d/lifesign";

#[derive(Debug, Args)]
struct RunArgs {
    /// The settings
    file: PathBuf,
    /// Which node this is; by default the one with this machine's host name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// In place of the settings' directory for what must outlive the daemon
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// In place of the settings' control socket
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The settings
    file: PathBuf,
    /// Answer in JSON, for machines
    #[arg(long)]
    json: bool,
    /// Look at this machine as this node: are its adapters and keys there?
    ///
    /// By default the node with this machine's host name, if there is one.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// Where the daemon is asked.
#[derive(Debug, Args)]
struct ControlArgs {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/lifesign/control")]
    control: PathBuf,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    at: ControlArgs,
    /// Answer in JSON, for machines
    #[arg(long)]
    json: bool,
    /// Show it again each second, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

#[derive(Debug, Args)]
struct WhyArgs {
    #[command(flatten)]
    at: ControlArgs,
    /// The group; all groups if left out
    group: Option<String>,
}

#[derive(Debug, Args)]
struct MoveArgs {
    #[command(flatten)]
    at: ControlArgs,
    /// The group; all groups if left out
    group: Option<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Print nothing but what was measured, in JSON
    #[arg(long)]
    json: bool,
    /// Play this scene only; can be given several times
    #[arg(long = "scene", value_name = "NAME")]
    scenes: Vec<String>,
    /// Do as for an ordinary user, even as root
    #[arg(long)]
    unprivileged: bool,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// The key file
    #[arg(default_value = "/etc/lifesign/key")]
    path: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Add a fresh key, which is accepted and does not sign yet
    #[arg(long, conflicts_with = "force")]
    add: bool,
    /// Sign with this key
    #[arg(long, value_name = "ID", conflicts_with_all = ["force", "add"])]
    sign: Option<u8>,
    /// Take this key away
    #[arg(long, value_name = "ID", conflicts_with_all = ["force", "add", "sign"])]
    remove: Option<u8>,
}

/// Does what the command line says, and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run(args),
        Command::Witness { file, state_dir } => witness(&file, state_dir),
        Command::Check(args) => check(&args),
        Command::Status(args) => status(&args),
        Command::Why(args) => why(&args),
        Command::Standby(args) => relocate(&args, Move::Away),
        Command::Takeover(args) => relocate(&args, Move::Here),
        Command::Keygen(args) => keygen(&args),
        Command::Demo(args) => show(args),
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
    let RunArgs { file, node, state_dir, control } = args;
    match daemon::run(&daemon::Options { file, node, state_dir, control }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Settings(error)) => refuse(&error),
        Err(StartError::Refused(why)) => fail(&why),
    }
}

fn witness(file: &Path, state_dir: Option<PathBuf>) -> ExitCode {
    match witness::run(file, state_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(WitnessError::Settings(error)) => refuse(&error),
        Err(WitnessError::Refused(why)) => fail(&why),
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let settings = match Settings::load(&args.file) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let me = match this_node(&settings, args.node.as_deref()) {
        Ok(me) => me,
        Err(error) => return bad(&error),
    };
    let mut check = Check::new(&settings, expected(settings.enforcer));
    if let Some(me) = me {
        check = check.on_this_machine(&settings, me);
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

/// Returns which node this machine is: the one named, else the one with its host name, if there is
/// one.
fn this_node(settings: &Settings, name: Option<&str>) -> Result<Option<NodeId>, String> {
    match name {
        Some(name) => settings.node(name).map(Some).ok_or_else(|| {
            let known: Vec<&str> = settings.nodes.iter().map(|node| node.name.as_str()).collect();
            format!("there is no node {name:?}; known are {}", known.join(", "))
        }),
        None => {
            let host = nix::unistd::gethostname().ok();
            Ok(host.and_then(|host| settings.node(&host.to_string_lossy())))
        }
    }
}

fn show(args: DemoArgs) -> ExitCode {
    let DemoArgs { json, scenes, unprivileged } = args;
    match demo::run(&demo::Options { json, unprivileged, scenes }) {
        Ok(status) => ExitCode::from(status),
        Err(error @ DemoError::NoScene(_)) => bad(&error.to_string()),
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
        let report = match operate::report(&args.at.control) {
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
            say_json(&report);
            return ExitCode::SUCCESS;
        }
        let text = status::render(&report, page);
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

fn relocate(args: &MoveArgs, to: Move) -> ExitCode {
    match operate::relocate(&args.at.control, args.group.as_deref(), to) {
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
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            assert!(command.get_after_help().is_some(), "{}", command.get_name());
        }
    }
}
