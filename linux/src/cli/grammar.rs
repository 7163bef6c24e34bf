//! The grammar of the command line, with all help texts.

pub(super) mod agent;
pub(super) mod demo;
pub(super) mod dongle;
pub(super) mod explain;
pub(super) mod fence;
pub(super) mod heartbeat;
pub(super) mod lasting;
pub(super) mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use self::agent::{AGENT_EXAMPLE, AgentArgs};
use self::demo::{DEMO_EXAMPLES, DemoArgs};
use self::dongle::DongleCommand;
use self::explain::{ExplainCommand, LAYERS_EXAMPLES};
use self::fence::FenceCommand;
use self::heartbeat::{
    CL_STATUS_EXAMPLES, ChoiceArgs, ClStatusArgs, HB_STANDBY_EXAMPLES, HB_TAKEOVER_EXAMPLES,
    IMPORT_EXAMPLES, ImportArgs, SetArgs,
};
use self::lasting::LastingCommand;
use self::watch::{WATCH_EXAMPLES, WatchArgs};
use crate::replay::moment::Moment;
use crate::settings::value::record_bound_said;
use crate::webhook::Address;

/// Keeps a service address alive on one of several servers, and never on two.
#[derive(Debug, Parser)]
#[command(name = "lifesign", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str = "\
To begin:
  lifesign keygen /etc/lifesign/key       make the secret, copy it to every node and witness
  lifesign check /etc/lifesign.toml       see what the settings promise, before anything starts

Exit status: 0 good, 1 failed, 2 usage or bad settings.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
        /// In place of the settings' control socket
        #[arg(long, value_name = "PATH")]
        control: Option<PathBuf>,
    },
    /// Judge settings: mistakes, the safety inequality with its numbers, worst failover times
    ///
    /// Reads the file and touches nothing. Every mistake is shown where it stands, with a hint. For
    /// each group it prints, term by term, the inequality that keeps two nodes from answering at
    /// once, and the longest time without an answer after a crash, a killed daemon and an orderly
    /// switchover. Settings that cannot keep the inequality are refused, with exit status 2.
    ///
    /// The file of a quorum server is known by its content.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Explain what settings lead to
    #[command(subcommand, after_help = LAYERS_EXAMPLES)]
    Explain(ExplainCommand),
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
    /// Show how things are, and then everything that happens, in order
    ///
    /// Every event has a number. Whoever does not read in time is told how many events were left
    /// out, and then how things are. Ends with the daemon: exit status 0 if that has left in good
    /// order, else 1.
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Decide once more what a daemon has recorded, and show that it comes out alike
    ///
    /// With `record = "16MiB"` in its settings, or `run --record 16MiB`, a daemon records what its
    /// engine is told and what comes out of it, in `NODE.record` in its `state_dir`; the oldest
    /// makes room. A replay feeds the same engine, prints the decisions with their times, and
    /// compares each of them and every frame that was sent, bit for bit. A recording has no keys in
    /// it, and no settings or keys are needed to replay it. Exit status 1 if something differs or
    /// cannot be read.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
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
    #[command(flatten)]
    Lasting(LastingCommand),
    /// Make a key file, or rotate its keys
    ///
    /// Without an option it writes a file with one fresh key, readable for its owner alone, and
    /// never over an old one. Every node and witness of a cluster needs the same file.
    ///
    /// To rotate, do each step on all machines before the next: --add a key, --sign with it,
    /// --remove the old one. Whatever step each machine is at, all understand each other.
    #[command(after_help = KEYGEN_EXAMPLES)]
    Keygen(KeygenArgs),
    /// Make settings of the files of Linux-HA heartbeat: ha.cf, authkeys and haresources
    ///
    /// Prints complete settings, with a remark wherever something needed thought, after our own
    /// parser has accepted them. What cannot be translated is refused, every line of it with what
    /// to do; then exit status 2, and nothing is printed or written.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Answer as Linux-HA heartbeat's tool of this name did
    ///
    /// Exit status 0 good, 1 failed, 11 wrong question or name.
    #[command(name = "cl_status", after_help = CL_STATUS_EXAMPLES)]
    ClStatus(ClStatusArgs),
    /// Give groups away, as Linux-HA heartbeat's tool of this name did
    #[command(name = "hb_standby", after_help = HB_STANDBY_EXAMPLES)]
    HbStandby(SetArgs),
    /// Take groups here, as Linux-HA heartbeat's tool of this name did
    #[command(name = "hb_takeover", after_help = HB_TAKEOVER_EXAMPLES)]
    HbTakeover(SetArgs),
    /// Look at, set up and try a dongle, or be one
    ///
    /// A dongle is a microcontroller on serial ports of the servers: it passes heartbeats on
    /// between them, votes as their witness, and can reset a server that does not answer.
    #[command(subcommand, after_help = dongle::AFTER_HELP)]
    Dongle(DongleCommand),
    /// Try what makes another server silent, or say that one is
    #[command(subcommand, after_help = fence::AFTER_HELP)]
    Fence(FenceCommand),
    /// Show on this machine alone what happens to an address when servers fail
    ///
    /// Builds two servers, a witness, a switch and a client in namespaces, runs the real daemons
    /// there and hurts them in several ways. With --dongle the witness is a dongle on serial lines.
    /// Needs neither root nor settings, and leaves nothing behind. Exit status 0 means that every
    /// promise was kept.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Post an event, which stands on standard input, to a web server
    ///
    /// The daemon runs this for a `webhook` of its settings.
    #[command(hide = true, after_help = POST_EXAMPLE)]
    Post {
        /// The web server's address, as in the settings
        address: Address,
    },
    /// Do what one of our own agents does
    ///
    /// The daemon runs this for services with `agent = "lifesign:..."`.
    #[command(hide = true, after_help = AGENT_EXAMPLE)]
    Agent(AgentArgs),
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
  lifesign run --node alpha /etc/lifesign.toml
  lifesign run --ha-d /etc/ha.d --witness quorum=10.0.0.9";

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

const REPLAY_EXAMPLES: &str = "\
Examples:
  lifesign replay /var/lib/lifesign/alpha.record
  lifesign replay --from 2026-11-22T03:04:05Z --until 2026-11-22T03:05:00Z alpha.record
  lifesign replay --why www --at 12345.678901 alpha.record/00000017.record";

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

const MANUAL_EXAMPLE: &str = "\
Example:
  lifesign manual /usr/local/share/man/man1";

const POST_EXAMPLE: &str = "\
Example:
  echo '{\"event\": \"test\"}' | lifesign post http://10.77.0.9:8080/hook";

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  lifesign completions bash > /etc/bash_completion.d/lifesign";

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The settings
    #[arg(required_unless_present = "ha_d", conflicts_with = "ha_d")]
    pub(super) file: Option<PathBuf>,
    /// In place of settings: a directory of Linux-HA heartbeat, with ha.cf, authkeys, haresources
    ///
    /// It is read as `lifesign import` does, and its authkeys is the key file.
    #[arg(long, value_name = "DIR")]
    pub(super) ha_d: Option<PathBuf>,
    #[command(flatten, next_help_heading = "With --ha-d")]
    pub(super) choices: ChoiceArgs,
    /// Which node this is; by default the one with this machine's host name
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// In place of the settings' directory for what must outlive the daemon
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// In place of the settings' control socket
    #[arg(long, value_name = "PATH")]
    pub(super) control: Option<PathBuf>,
    /// Record what the daemon does, in at most so many bytes, in place of the settings' `record`
    ///
    /// `lifesign replay` reads it, from `NODE.record` in the directory for what must outlive the
    /// daemon. It has no keys in it.
    #[arg(long, value_name = "SIZE", value_parser = record_bound_said)]
    pub(super) record: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The settings
    pub(super) file: PathBuf,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(super) json: bool,
    /// Look at this machine as this node: are its adapters and keys there?
    ///
    /// By default the node with this machine's host name, if there is one.
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
}

/// Where the daemon is asked.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/lifesign/control")]
    pub(super) control: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) at: ControlArgs,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(super) json: bool,
    /// Show it again each second, until interrupted
    #[arg(long, conflicts_with = "json")]
    pub(super) watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    pub(super) at: ControlArgs,
    /// The group; all groups if left out
    pub(super) group: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A recording: its directory, or one segment in it
    pub(super) path: PathBuf,
    /// Show no decision before this moment, written as in the log, by either clock
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<Moment>,
    /// Show no decision after this moment
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Moment>,
    /// In place of the decisions, explain this group as the daemon would have done
    #[arg(long, value_name = "GROUP")]
    pub(super) why: Option<String>,
    /// Explain it as of this moment; the end of the recording if left out
    #[arg(long, value_name = "TIME", requires = "why")]
    pub(super) at: Option<Moment>,
    /// Answer in JSON, for machines: one decision a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    pub(super) at: ControlArgs,
    /// The group; all groups if left out
    pub(super) group: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// The key file
    #[arg(default_value = "/etc/lifesign/key")]
    pub(super) path: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub(super) force: bool,
    /// Add a fresh key, which is accepted and does not sign yet
    #[arg(long, conflicts_with = "force")]
    pub(super) add: bool,
    /// Sign with this key
    #[arg(long, value_name = "ID", conflicts_with_all = ["force", "add"])]
    pub(super) sign: Option<u8>,
    /// Take this key away
    #[arg(long, value_name = "ID", conflicts_with_all = ["force", "add", "sign"])]
    pub(super) remove: Option<u8>,
}
