//! Trying fence agents without harm.

use lifesign_core::fence::{Answer, Deed};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;

use super::fence::{Fence, Kind, fences_of, has_line, judge};
use super::metadata::Metadata;
use crate::clock;
use crate::executor;
use crate::executor::message::{Outcome, last_words};
use crate::page::span;
use crate::settings::Settings;

/// What came of trying one means against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it would probably work.
    pub is_good: bool,
    /// What was asked and answered, in a line.
    pub text: String,
}

/// Tries everything that `settings` name against `node`, on this machine. Nothing is switched.
#[must_use]
pub fn all(settings: &Settings, node: NodeId) -> Vec<Attempt> {
    let name = settings.name_of(node);
    let named = fences_of(settings, node).iter();
    let mut attempts: Vec<Attempt> = named.map(|fence| attempt(fence, &name)).collect();
    let is_placed = fences_of(settings, node).iter().any(|fence| fence.kind == Kind::Dongle);
    if has_line(settings, node) && !is_placed {
        attempts.insert(0, of_dongle());
    }
    attempts
}

fn of_dongle() -> Attempt {
    let text = "dongle: see `lifesign dongle info`, which says whom it can reset".to_owned();
    Attempt { is_good: true, text }
}

fn attempt(fence: &Fence, node: &str) -> Attempt {
    let mut fence = fence.clone();
    fence.program = fence.kind.program();
    let program = fence.program.display().to_string();
    let began = clock::now();
    let said = match &fence.kind {
        Kind::Dongle => return of_dongle(),
        Kind::Rhcs(_) => Metadata::ask_fence(&fence.kind, &program)
            .and_then(|metadata| agent(&fence, node, &metadata.actions)),
        Kind::External(_) => plug_in(&fence, node),
    };
    let took = span(clock::now().since(began).as_millis());
    let (is_good, said) = match said {
        Ok(said) => (true, said),
        Err(why) => (false, format!("BAD: {why}")),
    };
    Attempt { is_good, text: format!("level {}, {}: {said}, in {took}", fence.level, fence.kind) }
}

/// Asks an agent of Red Hat's cluster whether its device answers, and for the node's power.
fn agent(fence: &Fence, node: &str, actions: &[String]) -> Result<String, String> {
    let can = |word: &str| actions.iter().any(|action| action == word);
    let mut said = "it can be run".to_owned();
    if can("monitor") {
        good(fence, "monitor", node)?;
        "its device answers".clone_into(&mut said);
    }
    if !can("status") {
        return Ok(said);
    }
    let (outcome, output) = run(fence, "status", node);
    match judge(Deed::Status, &outcome).0 {
        Answer::IsOn => Ok(format!("{said}, and {node} is on")),
        Answer::IsOff => Ok(format!("{said}, and {node} is off")),
        Answer::Done | Answer::Failed => Err(format!("status: {outcome}{}", last_words(&output))),
    }
}

/// Asks a plug-in of cluster-glue whether its device answers, and whether it knows the node.
fn plug_in(fence: &Fence, node: &str) -> Result<String, String> {
    good(fence, "status", node)?;
    let hosts = good(fence, "gethosts", node)?;
    let hosts: Vec<&str> = hosts.split_whitespace().collect();
    if hosts.iter().any(|host| host.eq_ignore_ascii_case(node)) {
        return Ok(format!("its device answers, and it knows {node}"));
    }
    Err(format!("its device answers, and it does not know {node}, but {}", hosts.join(", ")))
}

fn good(fence: &Fence, word: &str, node: &str) -> Result<String, String> {
    match run(fence, word, node) {
        (Outcome::Exited(0), output) => Ok(output),
        (outcome, output) => Err(format!("{word}: {outcome}{}", last_words(&output))),
    }
}

fn run(fence: &Fence, word: &str, node: &str) -> (Outcome, String) {
    executor::run_here(&fence.call(word, node, fence.limit.min(PATIENCE)))
}

/// The most that an agent is waited for when a person waits too.
const PATIENCE: Duration = Duration::from_millis(60_000);
