//! The grammar of `lifesign agent`, which the daemon's executor runs.

use clap::Args;

use crate::agent::own::{Deed, Own};

pub(in crate::cli) const AGENT_EXAMPLE: &str = "\
Example:
  LIFESIGN_TOKEN=42 LIFESIGN_NODE=alpha lifesign agent dns monitor server=10.0.0.53 \\
    zone=example.org name=www.example.org a=10.0.0.100 key_file=/etc/lifesign/dns.key";

#[derive(Debug, Args)]
pub(in crate::cli) struct AgentArgs {
    /// Which agent
    pub(in crate::cli) own: Own,
    /// What it is to do: start, stop or monitor
    pub(in crate::cli) deed: Deed,
    /// Its parameters
    #[arg(value_name = "NAME=VALUE")]
    pub(in crate::cli) parameters: Vec<String>,
}
