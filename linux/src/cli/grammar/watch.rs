//! The grammar of `watch`.

use clap::Args;

use super::ControlArgs;

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  lifesign watch
  lifesign watch --json --reconnect
  lifesign watch --json --since 41 --start 9f0c2b51d4e86a37";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) at: ControlArgs,
    /// Answer in JSON, for machines: one snapshot, event, gap or end a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Begin after this event, which is known already, as far as what follows it is kept
    #[arg(long, value_name = "NUMBER")]
    pub(crate) since: Option<u64>,
    /// Which start of the daemon that number is of, as a snapshot says
    #[arg(long, value_name = "START", requires = "since")]
    pub(crate) start: Option<String>,
    /// Wait for the next daemon when this one ends, until interrupted
    #[arg(long)]
    pub(crate) reconnect: bool,
}
