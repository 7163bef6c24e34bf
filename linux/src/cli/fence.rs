//! What `lifesign fence` does, and its question.

use std::process::ExitCode;

use super::grammar::fence::{ConfirmArgs, FenceCommand, TestArgs};
use super::{bad, fail, is_confirmed, refuse, say};
use crate::agent::attempt;
use crate::operate;
use crate::settings::Settings;

/// Does what `command` says, and returns the exit status.
pub(super) fn main(command: &FenceCommand) -> ExitCode {
    match command {
        FenceCommand::Test(args) => test(args),
        FenceCommand::Confirm(args) => confirm(args),
    }
}

fn test(args: &TestArgs) -> ExitCode {
    let settings = match Settings::load(&args.settings) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let node = match settings.known_node(&args.node) {
        Ok(node) => node,
        Err(unknown) => return bad(&unknown),
    };
    let attempts = attempt::all(&settings, node);
    if attempts.is_empty() {
        return fail(&format!("nothing can fence {}: it has no `[[node.fence]]`", args.node));
    }
    for attempt in &attempts {
        say(&attempt.text);
    }
    let all = attempts.iter().all(|attempt| attempt.is_good);
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn confirm(args: &ConfirmArgs) -> ExitCode {
    let (control, node) = (&args.at.control, &args.node);
    let waiting = match operate::report(control) {
        Ok(report) => report.fencing.into_iter().find(|fence| fence.node == *node),
        Err(error) => return fail(&error),
    };
    let Some(waiting) = waiting else {
        return fail(&format!("nothing here waits for {node} to be fenced"));
    };
    say(&format!(
        "{} waits until it is certain that {node} is silent; {}.\nIf {node} still runs, both will \
         write to what they share, and it will be destroyed.\nPull its plug, or look at the lamp \
         of its power supply. That it does not answer is not enough.",
        waiting.group, waiting.text
    ));
    match if args.yes { Ok(true) } else { is_confirmed(&format!("{node} is switched off")) } {
        Ok(true) => {}
        Ok(false) => return fail("nothing was said"),
        Err(why) => return fail(&why),
    }
    match operate::confirm(control, node, &waiting.boot) {
        Ok(()) => {
            say(&format!("{} no longer waits for {node}", waiting.group));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}
