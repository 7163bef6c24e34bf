//! What a replay prints.

use lifesign_core::engine::Event;
use lifesign_core::time::Instant;
use serde_json::json;

use super::Question;
use super::player::{Difference, Player, Step};
use crate::report::{EnforcerReport, NodeState, Report, VERSION};
use crate::why;

/// Returns what a step is in words, with the event that it was, or `None` if it is nothing for
/// people.
pub(super) fn step(player: &Player, step: &Step) -> Option<(String, Option<Event>)> {
    let view = player.view();
    let text = match step {
        Step::Quiet | Step::Told => return None,
        Step::Decided(event) => {
            let text = view.event_text(event).or_else(|| other(player, event));
            return text.map(|text| (text, Some(*event)));
        }
        Step::Standby(group) => view.standby_text(*group),
        Step::Takeover(group) => view.takeover_text(*group),
        Step::Said(saying) => view.saying_text(saying),
        Step::Leave => "leaving in good order, as asked by a signal".to_owned(),
        Step::Keys(keys) => {
            let ids: Vec<String> = keys.ids.iter().map(|id| id.0.to_string()).collect();
            format!("accepts the keys {} and signs with {}", ids.join(", "), keys.signer.0)
        }
    };
    Some((text, None))
}

/// Returns the words for what a daemon does without a word, or in words of its own.
fn other(player: &Player, event: &Event) -> Option<String> {
    let view = player.view();
    match event {
        Event::Reserve(token) => Some(format!("has tokens up to {} saved as used", token.0)),
        Event::FenceNeeded { group, node, .. } => Some(format!(
            "{}: {} must be fenced before it can start here",
            view.group_name(*group),
            view.settings.name_of(*node)
        )),
        _ => None,
    }
}

/// Returns one line, at the moment that the player has reached.
pub(super) fn line(player: &Player, text: &str, event: Option<&Event>, json: bool) -> String {
    if !json {
        return format!("{} {} {text}", player.stamp(), player.node());
    }
    json!({
        "at_us": player.now().as_micros(),
        "wall_us": player.wall_us(player.now()),
        "node": player.node(),
        "text": text,
        "event": event,
    })
    .to_string()
}

/// Returns a difference with the input and the moment where it came up.
pub(super) fn difference(player: &Player, difference: &Difference) -> String {
    let input = player.counts().inputs;
    let text = format!(
        "{} (input {input} of this segment, {})",
        String::from(difference.clone()),
        player.stamp()
    );
    match player.other_program() {
        None => text,
        Some(other) => {
            let own = env!("CARGO_PKG_VERSION");
            format!("{text}; it was recorded by lifesign {other}, and this is {own}")
        }
    }
}

/// Returns the explanation of a group at `at`, in the words of the daemon.
pub(super) fn why(
    player: &Player,
    group: &str,
    at: Instant,
    question: &Question,
) -> Result<String, String> {
    let report = report(player, at);
    if question.json {
        return serde_json::to_string_pretty(&report).map_err(|error| error.to_string());
    }
    why::render(&report, Some(group), question.page).map(|text| text.trim_end().to_owned())
}

/// Returns what the daemon would have reported, as far as that follows from its engine.
fn report(player: &Player, at: Instant) -> Report {
    let view = player.view();
    let settings = view.settings;
    Report {
        version: VERSION,
        node: player.node().to_owned(),
        cluster: settings.cluster.clone(),
        state: if view.engine.is_leaving() {
            NodeState::Leaving
        } else if view.engine.is_standby() {
            NodeState::Standby
        } else {
            NodeState::Online
        },
        uptime_ms: 0,
        digest: format!("{:08x}", view.engine.config().digest),
        quorum: view.quorum_report(),
        groups: settings
            .groups()
            .filter_map(|(id, group)| view.group_report(id, group, &[], at))
            .collect(),
        peers: settings
            .members()
            .filter(|(node, _)| *node != view.me())
            .map(|(node, _)| view.peer_report(node, at))
            .collect(),
        links: Vec::new(),
        fencing: Vec::new(),
        fenced: Vec::new(),
        networks: Vec::new(),
        ip_side: None,
        at_us: at.as_micros(),
        word: None,
        recording: None,
        clients: Vec::new(),
        watchdog: None,
        connections: None,
        alerts: Vec::new(),
        timing: (&settings.timing).into(),
        scheduling: String::new(),
        enforcer: EnforcerReport { name: String::new(), overshoot_us: 0, refused: Vec::new() },
        decisions: Vec::new(),
    }
}
