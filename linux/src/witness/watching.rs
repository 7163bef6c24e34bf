//! What the quorum server tells those who watch: who is heard, and what is promised to whom.

use std::collections::BTreeMap;

use lifesign_core::time::Instant;

use super::Server;
use crate::clock;
use crate::control::Picture;
use crate::log::WallTime;
use crate::notice::{Kind, Notice};
use crate::report::witness::ClusterReport;

/// What was told of a cluster last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How each node is.
    nodes: BTreeMap<u8, String>,
    /// To which node each group is promised, and under which token.
    promises: BTreeMap<u8, (u8, u32)>,
}

impl Server {
    /// Tells those who watch what has happened in this turn.
    pub(super) fn tell_watchers(&mut self, now: Instant) {
        for served in self.clusters.values_mut().filter(|served| served.is_touched) {
            served.is_touched = false;
            let report = served.report(now);
            for notice in served.told.take_in(&report) {
                self.control.announce(notice);
            }
        }
        let picture = self.control.needs_picture();
        let picture = picture.then(|| Picture::Witness(Box::new(self.report(now))));
        self.control.tell_watchers(picture, now);
    }
}

impl Told {
    /// Takes in how a cluster is, and returns what is news.
    fn take_in(&mut self, report: &ClusterReport) -> Vec<Notice> {
        let mut news = Vec::new();
        let cluster = &report.name;
        for node in &report.nodes {
            let state = node.state.clone();
            if self.nodes.get(&node.number) != Some(&state) {
                let text = format!("node {} of {cluster} is {state}", node.number);
                news.push((Kind::Peer, node.number, state.clone(), None, text));
                self.nodes.insert(node.number, state);
            }
        }
        let promises = report.promises.iter();
        let promises: BTreeMap<u8, (u8, u32)> =
            promises.map(|promise| (promise.group, (promise.node, promise.token))).collect();
        for (group, (node, token)) in &promises {
            if self.promises.get(group) != Some(&(*node, *token)) {
                let state = "promised".to_owned();
                let text = format!(
                    "group {group} of {cluster} is promised to node {node} under token {token}"
                );
                news.push((Kind::Group, *group, state, Some(*token), text));
            }
        }
        for group in self.promises.keys().filter(|group| !promises.contains_key(group)) {
            let text = format!("group {group} of {cluster} is promised to nobody");
            news.push((Kind::Group, *group, "free".to_owned(), None, text));
        }
        self.promises = promises;
        let time = WallTime { micros: clock::wall_us() }.to_string();
        let notice =
            |(kind, number, state, token, text): (Kind, u8, String, Option<u32>, String)| Notice {
                kind,
                subject: number.to_string(),
                state,
                text,
                token,
                node: "witness".to_owned(),
                cluster: cluster.clone(),
                time: time.clone(),
                ..Notice::default()
            };
        news.into_iter().map(notice).collect()
    }
}
