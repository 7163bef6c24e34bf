//! What the quorum server tells those who watch: who is heard, and what is promised to whom.

use std::collections::BTreeMap;

use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::NodeId;
use lifesign_core::time::Instant;

use super::Server;
use super::served::Served;
use crate::clock;
use crate::control::Picture;
use crate::log::WallTime;
use crate::notice::{Kind, Notice};

/// What was told of a cluster last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How each node is.
    nodes: BTreeMap<NodeId, &'static str>,
    /// To which node each group is promised, and under which token.
    promises: BTreeMap<GroupId, (NodeId, Token)>,
}

impl Server {
    /// Tells those who watch what has happened in this turn.
    pub(super) fn tell_watchers(&mut self, now: Instant) {
        for served in self.clusters.values_mut().filter(|served| served.is_touched) {
            served.is_touched = false;
            for notice in served.news(now) {
                self.control.announce(notice);
            }
        }
        let picture = self.control.needs_picture();
        let picture = picture.then(|| Picture::Witness(Box::new(self.report(now))));
        self.control.tell_watchers(picture, now);
    }
}

impl Served {
    /// Returns what has changed since this was asked last.
    fn news(&mut self, now: Instant) -> Vec<Notice> {
        let mut news = Vec::new();
        for node in self.witness.member().others().iter() {
            let Some(state) = self.state(node, now) else { continue };
            if self.told.nodes.insert(node, state) != Some(state) {
                let text = format!("node {} of {} is {state}", node.number(), self.settings.name);
                news.push(self.notice((Kind::Peer, node.number()), state, text));
            }
        }
        for group in GroupId::all() {
            let promise = self.witness.member().voter.promise(group, now);
            let promise = promise.map(|promise| (promise.to.node, promise.to.token));
            if self.told.promises.get(&group).copied() == promise {
                continue;
            }
            let subject = (Kind::Group, group.number());
            let promised =
                format!("group {} of {} is promised to", group.number(), self.settings.name);
            if let Some((node, token)) = promise {
                let text = format!("{promised} node {} under token {}", node.number(), token.0);
                let notice = self.notice(subject, "promised", text);
                news.push(Notice { token: Some(token.0), ..notice });
                self.told.promises.insert(group, (node, token));
            } else {
                news.push(self.notice(subject, "free", format!("{promised} nobody")));
                self.told.promises.remove(&group);
            }
        }
        news
    }

    fn notice(&self, (kind, number): (Kind, u8), state: &str, text: String) -> Notice {
        Notice {
            kind,
            subject: number.to_string(),
            state: state.to_owned(),
            text,
            node: "witness".to_owned(),
            cluster: self.settings.name.clone(),
            time: WallTime { micros: clock::wall_us() }.to_string(),
            ..Notice::default()
        }
    }
}
