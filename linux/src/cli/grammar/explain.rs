//! The grammar of `lifesign explain`, with its help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifesign_core::time::Duration;

use crate::settings::value::span_said;

pub(super) const LAYERS_EXAMPLES: &str = "\
Examples:
  lifesign explain layers /etc/lifesign.toml
  lifesign explain layers --neighbours 4h /etc/lifesign.toml      a router that asks that seldom
  lifesign explain layers --json /etc/lifesign.toml | jq .groups";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExplainCommand {
    /// How clients find a new holder, and the worst time that they see after a crash
    ///
    /// For each group: which layer leads whom (adapters, MAC addresses, neighbours, routes, names,
    /// connections), how long each cache may keep the old answer, and the sum with what `lifesign
    /// check` counts, for clients in the same subnet, in another one, and behind a router.
    #[command(after_help = LAYERS_EXAMPLES)]
    Layers(LayersArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LayersArgs {
    /// The settings
    pub(in crate::cli) file: PathBuf,
    /// How long hosts and routers of the same subnet keep a MAC address that nobody confirms
    /// [default: 53s, as Linux does]
    #[arg(long, value_name = "SPAN", value_parser = span_said)]
    pub(in crate::cli) neighbours: Option<Duration>,
    /// How long switches keep a port from which nothing comes [default: 300s]
    #[arg(long, value_name = "SPAN", value_parser = span_said)]
    pub(in crate::cli) switches: Option<Duration>,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
