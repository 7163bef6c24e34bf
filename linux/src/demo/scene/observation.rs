//! What is seen of a scene besides its outage.

use serde_json::Value;

use super::Scene;
use super::outcome::milliseconds;
use crate::demo::client::PERIOD_US;
use crate::demo::dongle::{DONGLE, Dongle};
use crate::demo::stage::{SERVERS, Stage};
use crate::demo::traffic::Traffic;

/// What was seen, and whether it had to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    /// Sentences.
    pub(super) told: Vec<String>,
    /// Whether the scene showed what it is for.
    pub(super) is_expected: bool,
    /// The outage, where another client than the one that always asks saw it.
    pub(super) outage_us: Option<u64>,
}

impl Observation {
    /// Looks around after `scene` began at `begun_us` with `holder`, before anything is repaired.
    pub(super) fn of(scene: Scene, stage: &Stage, holder: &str, begun_us: u64) -> Self {
        match scene {
            Scene::NetworksCut => Self::of_cut(stage, holder, &["wire"], begun_us),
            Scene::LinesCut => Self::of_cut(stage, holder, &["lan", "private"], begun_us),
            Scene::MachineFrozen => Self::of_reset(stage, holder, begun_us),
            Scene::UdpService => Self::of_datagrams(stage, begun_us),
            Scene::TcpService => Self::of_call(stage, holder, begun_us),
            Scene::AdapterUnplugged | Scene::AdapterSilent => {
                Self::of_swap(stage, holder, begun_us)
            }
            _ => Self { told: Vec::new(), is_expected: true, outage_us: None },
        }
    }

    /// Returns the observation with votes, which the dongle's must be among.
    pub(super) fn with_votes(mut self, votes: Option<Votes>) -> Self {
        if let Some(Votes { holder, names }) = votes {
            self.is_expected &= names.iter().any(|name| name == DONGLE);
            self.told.insert(0, format!("{holder} holds with {}", names.join(" and ")));
        }
        self
    }

    /// Only `left` of the links may still carry heartbeats, and everything stays where it is.
    fn of_cut(stage: &Stage, holder: &str, left: &[&str], begun_us: u64) -> Self {
        let other = Stage::other(holder);
        let status = stage.cluster().status(holder).unwrap_or_default();
        let heard = heard(&status, other);
        let has_moved =
            (0..stage.groups()).any(|group| stage.first_seen_us(group, other, begun_us).is_some());
        let links = if heard.is_empty() { "nothing".into() } else { heard.join(" and ") };
        let mut told =
            vec![moved(other, has_moved), format!("{holder} hears {other} on {links} alone")];
        let alerts = status["alerts"].as_array().into_iter().flatten();
        let texts = alerts.filter_map(|alert| alert["text"].as_str());
        told.extend(texts.filter(|text| text.contains("redundancy")).map(str::to_owned));
        Self { told, is_expected: !has_moved && heard == left, outage_us: None }
    }

    /// The holder answers by another of its adapters, and the other server did not.
    fn of_swap(stage: &Stage, holder: &str, begun_us: u64) -> Self {
        let other = Stage::other(holder);
        let has_moved = stage.first_seen_us(0, other, begun_us).is_some();
        let pulled = stage.pulled_adapter(holder);
        let swapped_us = pulled.and_then(|it| stage.first_elsewhere_us(holder, it, begun_us));
        let swapped = swapped_us.map_or_else(
            || format!("{holder} did not answer by its other adapter"),
            |at_us| {
                let after = milliseconds(at_us.saturating_sub(begun_us));
                format!("{holder} answered by its other adapter after {after:.1} ms")
            },
        );
        let is_expected = swapped_us.is_some() && !has_moved;
        Self { told: vec![swapped, moved(other, has_moved)], is_expected, outage_us: None }
    }

    /// No more requests were lost than were sent during the outage.
    fn of_datagrams(stage: &Stage, begun_us: u64) -> Self {
        let log = stage.traffic().map(Traffic::datagrams).unwrap_or_default();
        // The last answers may still be on their way.
        let until_us = stage.now_us().saturating_sub(100 * PERIOD_US);
        let (sent, arrived) = log.counts_between(begun_us, until_us);
        let outage_us = log.longest_outage_us(begun_us, until_us);
        let lost = sent.saturating_sub(arrived);
        let told = format!("{lost} of {sent} requests by UDP were lost");
        let lost_us = u64::try_from(lost).unwrap_or(u64::MAX).saturating_mul(PERIOD_US);
        let is_expected = arrived > 0 && lost_us <= outage_us + PERIOD_US;
        Self { told: vec![told], is_expected, outage_us: Some(outage_us) }
    }

    /// The client that waits was told that its connection is gone, and has another.
    fn of_call(stage: &Stage, holder: &str, begun_us: u64) -> Self {
        let calls = stage.traffic().map(Traffic::calls).unwrap_or_default();
        let Some((told_us, greeted_us)) = calls.after(begun_us) else {
            let told = vec!["the client that waits still waits".to_owned()];
            return Self { told, is_expected: false, outage_us: None };
        };
        let other = Stage::other(holder);
        let since = |at_us: u64| milliseconds(at_us.saturating_sub(begun_us));
        let mut text = format!("the client that waits was told at {:.1} ms", since(told_us));
        if let Some(at_us) = stage.first_seen_us(0, other, begun_us) {
            let after = milliseconds(told_us.saturating_sub(at_us));
            text += &format!(", {after:.1} ms after {other} answered");
        }
        let told = vec![text, format!("it was connected anew at {:.1} ms", since(greeted_us))];
        let outage_us = greeted_us.saturating_sub(begun_us);
        Self { told, is_expected: true, outage_us: Some(outage_us) }
    }

    /// The dongle reset the holder, once, and nobody else, before the other server answered.
    fn of_reset(stage: &Stage, holder: &str, begun_us: u64) -> Self {
        let other = Stage::other(holder);
        let since = |at_us: u64| milliseconds(at_us.saturating_sub(begun_us));
        let pulses: Vec<(u64, u64)> = stage
            .pulses_since(holder, begun_us)
            .iter()
            .filter_map(|pulse| Some((pulse.begun_us, pulse.ended_us?)))
            .collect();
        let mut told = Vec::new();
        for (from_us, to_us) in &pulses {
            let [from, to] = [*from_us, *to_us].map(since);
            told.push(format!("the dongle reset {holder} from {from:.1} to {to:.1} ms"));
        }
        let answered_us = stage.first_seen_us(Scene::MachineFrozen.group(), other, begun_us);
        if let Some(at_us) = answered_us {
            told.push(format!("{other} answered at {:.1} ms", since(at_us)));
        }
        let doubt_us = stage.dongle().map_or(0, Dongle::doubt_us);
        let is_first = match (&pulses[..], answered_us) {
            ([(_, ended_us)], Some(at_us)) => *ended_us <= at_us + doubt_us,
            _ => false,
        };
        let others = SERVERS.iter().filter(|name| **name != holder);
        let spared = others.map(|name| stage.pulses_since(name, begun_us)).all(|it| it.is_empty());
        Self { told, is_expected: is_first && spared, outage_us: None }
    }
}

/// Says whether the other server answered.
fn moved(other: &str, has_moved: bool) -> String {
    if has_moved { format!("{other} answered") } else { format!("{other} did not answer") }
}

/// By whose votes a server holds a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Votes {
    holder: String,
    names: Vec<String>,
}

impl Votes {
    /// Returns the votes by which `holder` says that it holds a group.
    pub(super) fn of(stage: &Stage, group: usize, holder: &str) -> Self {
        let status = stage.cluster().status(holder).unwrap_or_default();
        let voters = status["groups"][group]["voters"].as_array().into_iter().flatten();
        let supports = voters.filter(|voter| voter["supports"] == true);
        let names = supports.filter_map(|voter| voter["name"].as_str());
        Self { holder: holder.to_owned(), names: names.map(str::to_owned).collect() }
    }
}

/// Returns the links on which a node hears `peer`, by what it says of itself.
fn heard<'a>(status: &'a Value, peer: &str) -> Vec<&'a str> {
    let peers = status["peers"].as_array().into_iter().flatten();
    let links = peers.filter(|entry| entry["name"] == peer);
    let links = links.filter_map(|entry| entry["links"].as_array()).flatten();
    let heard = links.filter(|link| link["heard"] == true);
    heard.filter_map(|link| link["link"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_links_on_which_a_peer_is_heard_are_those_of_that_peer() {
        let link = |name: &str, heard: bool| json!({ "link": name, "heard": heard });
        let status = json!({ "peers": [
            { "name": "dongle", "links": [link("wire", true)] },
            { "name": "beta", "links": [link("lan", false), link("wire", true)] },
        ]});
        assert_eq!(heard(&status, "beta"), ["wire"]);
        assert_eq!(heard(&Value::Null, "beta"), [""; 0]);
    }
}
