//! `lifesign explain`: what settings lead to.

use std::process::ExitCode;

use super::grammar::explain::ExplainCommand;
use super::{refuse, say, say_json};
use crate::check::expected;
use crate::layers::{Caches, Layers};
use crate::settings::Settings;

/// Explains what is asked for.
pub(super) fn main(command: &ExplainCommand) -> ExitCode {
    let ExplainCommand::Layers(args) = command;
    let settings = match Settings::load(&args.file) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let usual = Caches::default();
    let caches = Caches {
        neighbours: args.neighbours.unwrap_or(usual.neighbours),
        switches: args.switches.unwrap_or(usual.switches),
    };
    let layers = Layers::new(&settings, expected(settings.enforcer), caches);
    if args.json {
        say_json(&layers);
    } else {
        say(&layers.to_string());
    }
    ExitCode::SUCCESS
}
