//! What a dongle has noted, in words.

use std::fmt::Write;

use lifesign_core::dongle::{Event, Info, What};
use lifesign_core::node::{NodeId, NodeSet};
use lifesign_core::time::Duration;
use serde::Serialize;

use super::picture::cause;
use crate::log::WallTime;
use crate::page;
use crate::settings::Settings;
use crate::settings::safety::cluster_id;

/// What a dongle has noted, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// The events.
    pub events: Vec<Entry>,
}

/// One thing that a dongle has noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from the first since power came.
    pub number: u32,
    /// How long after the start in which it happened, in milliseconds.
    pub at_ms: u32,
    /// When by this machine's clock, in microseconds since 1970; only of events of this start, for
    /// nobody knows how long the dongle was off before, and of its first seven weeks.
    pub wall_us: Option<u64>,
    /// What happened.
    pub text: String,
    /// Whether it is about a reset line.
    pub is_reset: bool,
}

impl Entry {
    /// Returns when it happened by this machine's clock, as far as that is known.
    #[must_use]
    pub fn when(&self) -> String {
        match self.wall_us {
            Some(micros) => WallTime { micros }.to_string(),
            // As far as a dongle counts.
            None if self.at_ms == u32::MAX => "after seven weeks".to_owned(),
            None => "in an earlier start".to_owned(),
        }
    }
}

impl History {
    /// Tells `events`, which the dongle that said `info` at `wall_us` has noted, with the names of
    /// `settings` if it is of their cluster.
    #[must_use]
    pub fn new(
        events: &[(u32, Event)],
        info: &Info,
        wall_us: u64,
        settings: Option<&Settings>,
    ) -> Self {
        let is_start = |what: &What| matches!(what, What::Started(..));
        let last_start = events.iter().rposition(|(_, event)| is_start(&event.what)).unwrap_or(0);
        let own = settings.filter(|settings| {
            info.member.is_some_and(|(cluster, _)| cluster == cluster_id(&settings.cluster))
        });
        let name = |node: NodeId| match own {
            Some(settings) => settings.name_of(node),
            None => format!("node {}", node.number()),
        };
        let tell = |(at, (number, event)): (usize, &(u32, Event))| {
            let since = Duration::from_millis(u64::from(event.at_ms));
            // What happened after the dongle was asked for its time has just happened.
            let ago = Duration::from_micros(info.uptime.as_micros()).checked_sub(since);
            let is_known = at >= last_start && event.at_ms != u32::MAX;
            let ago = is_known.then(|| ago.unwrap_or_default());
            Entry {
                number: *number,
                at_ms: event.at_ms,
                wall_us: ago.map(|ago| wall_us.saturating_sub(ago.as_micros())),
                text: sentence(&event.what, &name),
                is_reset: matches!(
                    event.what,
                    What::Armed(_) | What::Fired(_) | What::Reset(_) | What::Refused(..)
                ),
            }
        };
        Self { events: events.iter().enumerate().map(tell).collect() }
    }

    /// Returns it as a page for people.
    #[must_use]
    pub fn render(&self) -> String {
        if self.events.is_empty() {
            return "The dongle has noted nothing.\n".to_owned();
        }
        let mut text = String::new();
        for event in &self.events {
            let millis = event.at_ms % 1000;
            let since = format!("+{}.{millis:03} s", event.at_ms / 1000);
            let _ = writeln!(text, "{:<24}  {since:>14}  {}", event.when(), event.text);
        }
        text
    }
}

/// Returns what happened as a sentence without an end.
pub(super) fn sentence(what: &What, name: &dyn Fn(NodeId) -> String) -> String {
    let port = |number: &u8| u16::from(*number) + 1;
    match what {
        What::Started(why, 0) => format!("started {}; it cannot count its starts", cause(*why)),
        What::Started(why, number) => format!("start number {number}, {}", cause(*why)),
        What::Provisioned => "new settings are in force".to_owned(),
        What::NotProvisioned(why) => format!("settings were refused: {why}"),
        What::Heard(node) => format!("{} is heard", name(*node)),
        What::Lost(node) => format!("{} has fallen silent, or has left", name(*node)),
        What::Favours(0) => "favours nobody".to_owned(),
        What::Favours(bits) => {
            let nodes: Vec<String> =
                NodeSet::from_bits(u32::from(*bits)).iter().map(name).collect();
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            format!("favours {}", page::list(&nodes))
        }
        What::Armed(node) => format!("the reset line of {} is armed", name(*node)),
        What::Fired(node) => format!("the reset line of {} is active", name(*node)),
        What::Reset(node) => format!("{} was reset: the pulse is over", name(*node)),
        What::Refused(node, why) => format!("did not reset {}: {why}", name(*node)),
        What::Forged(number) => {
            format!("frames with a wrong tag came in at port {}", port(number))
        }
        What::Loop(number) => format!("its own frames came back at port {}", port(number)),
        What::TooLarge(number) => {
            format!("a frame larger than it has room for came in at port {}", port(number))
        }
        What::StoreFailed => "something could not be stored".to_owned(),
        _ => "something that this version does not know".to_owned(),
    }
}
