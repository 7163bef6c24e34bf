//! The grammar of `lifesign fence`, with its help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ControlArgs;

#[derive(Debug, Subcommand)]
pub(in super::super) enum FenceCommand {
    /// Try the fence agents of a node, without harm
    ///
    /// Runs each of them on this machine as the settings say, and asks it whether its device
    /// answers and, where it can tell, whether the node has power. Nothing is switched. Exit status
    /// 0 means that all of them work.
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
    /// Say that you have made certain that a node is off
    ///
    /// A group with guard = "fence" waits until it is certain that no other node can still be
    /// holding it. Where no agent and no dongle can see to that, a person can: go there and pull
    /// the plug. The word counts for the start of the node that is waited for and no later one, and
    /// is refused where nothing waits for it.
    #[command(after_help = CONFIRM_EXAMPLES)]
    Confirm(ConfirmArgs),
}

pub(super) const AFTER_HELP: &str = "\
Examples:
  lifesign fence test beta
  lifesign fence confirm beta";

const TEST_EXAMPLES: &str = "\
Examples:
  lifesign fence test beta
  lifesign fence test --settings lifesign.toml beta";

const CONFIRM_EXAMPLES: &str = "\
Examples:
  lifesign fence confirm beta
  lifesign fence confirm --yes beta        from a script, after it has made certain";

#[derive(Debug, Args)]
pub(in super::super) struct TestArgs {
    /// The node
    pub(in super::super) node: String,
    /// The settings
    #[arg(long, value_name = "FILE", default_value = "/etc/lifesign.toml")]
    pub(in super::super) settings: PathBuf,
}

#[derive(Debug, Args)]
pub(in super::super) struct ConfirmArgs {
    #[command(flatten)]
    pub(in super::super) at: ControlArgs,
    /// The node that is off
    pub(in super::super) node: String,
    /// Do not ask
    #[arg(long)]
    pub(in super::super) yes: bool,
}
