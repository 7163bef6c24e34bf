//! The grammar of what is said to the whole cluster.

use clap::{Args, Subcommand};
use lifesign_core::time::Duration;

use super::ControlArgs;
use crate::settings::value::span_said;

/// Something that holds for every node.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LastingCommand {
    /// Bring a group to a node, in good order, from wherever it is
    ///
    /// Can be said on any node that hears that one. Waits for the outcome, and prints where the
    /// group is and how long it took. Exit status 1 if it is not there. It stays there, also if it
    /// is to return to a better placed node, until one of those has been away and is back.
    #[command(after_help = MOVE_EXAMPLES)]
    Move(PlaceArgs),
    /// Do nothing for a while, in the whole cluster, while people work on it
    ///
    /// Nothing is claimed, moved, offered or restarted, and what fails is shown and left alone. It
    /// ends by itself, also if the node on which it was said is dead, and is ended on any node. It
    /// never makes anything less safe: a holder that loses its authority stops, and what has
    /// stopped stays down until it is over. A daemon that ends stops what it holds.
    #[command(subcommand, after_help = MAINTENANCE_EXAMPLES)]
    Maintenance(MaintenanceCommand),
    /// Stop a group wherever it is, and start it nowhere until `lifesign enable`
    ///
    /// Can be said on any node. It outlives restarts of daemons and of the whole cluster. Waits
    /// until the group has stopped and every living node knows that it is to stay down. Exit status
    /// 1 if that was not so in time.
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable(GroupArgs),
    /// Let a group start again that was disabled
    ///
    /// Waits until somebody holds it. Exit status 0 as soon as every living node knows it.
    #[command(after_help = DISABLE_EXAMPLES)]
    Enable(GroupArgs),
}

/// Maintenance begins or ends.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MaintenanceCommand {
    /// Do nothing for a while: claim, move, offer and restart nothing, and show what fails
    ///
    /// It ends by itself, on every node. Said once more of all that is in maintenance, it sets the
    /// time anew.
    #[command(after_help = MAINTENANCE_EXAMPLES)]
    On {
        #[command(flatten)]
        at: ControlArgs,
        /// For how long, at most a week, such as 30m or 2h
        #[arg(long = "for", value_name = "SPAN", value_parser = span_said)]
        lasting: Duration,
        /// The group; all groups if left out
        group: Option<String>,
    },
    /// End it now
    #[command(after_help = MAINTENANCE_EXAMPLES)]
    Off {
        #[command(flatten)]
        at: ControlArgs,
        /// The group; all groups if left out
        group: Option<String>,
    },
}

/// One group.
#[derive(Debug, Args)]
pub(in crate::cli) struct GroupArgs {
    #[command(flatten)]
    pub(in crate::cli) at: ControlArgs,
    /// The group
    pub(in crate::cli) group: String,
}

/// One group, and where it shall go.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    #[command(flatten)]
    pub(in crate::cli) at: ControlArgs,
    /// The group
    pub(in crate::cli) group: String,
    /// The node that shall hold it
    pub(in crate::cli) node: String,
}

const MAINTENANCE_EXAMPLES: &str = "\
Examples:
  lifesign maintenance on --for 2h         before a switch is replaced
  lifesign maintenance on --for 20m www
  lifesign maintenance off";

const DISABLE_EXAMPLES: &str = "\
Examples:
  lifesign disable www
  lifesign enable www";

const MOVE_EXAMPLES: &str = "\
Example:
  lifesign move www beta";
