//! What is told of servers that are fenced, or were.

use lifesign_core::fence::{Deed, Order, Stage};
use lifesign_core::group::GroupId;
use lifesign_core::node::NodeId;
use lifesign_core::time::{Duration, Instant};

use super::super::Daemon;
use super::{Chase, MUST_BE_FENCED, NOT_FENCED_BY, boot_text};
use crate::page::span;
use crate::report::{FenceReport, FencedReport};

/// A fence that is over.
#[derive(Clone, Debug)]
pub(in super::super) struct Ended {
    pub(super) node: NodeId,
    pub(super) group: GroupId,
    pub(super) by: String,
    pub(super) is_fenced: bool,
    pub(super) text: String,
    pub(super) at: Instant,
    pub(super) took: Duration,
}

impl Daemon {
    pub(super) fn remember(&mut self, ended: Ended) {
        self.fenced.retain(|other| other.node != ended.node);
        self.fenced.push(ended);
    }

    /// Has it told that `target` is fenced; the alerts that it is not are over, whoever could not.
    pub(super) fn tell_fenced(&mut self, target: NodeId, text: &str) {
        let name = self.settings.name_of(target);
        self.notify_of_fence(&name, format!("{name} is fenced: {text}"));
        for at in 0..self.settings.groups.len() {
            let group = self.group_name(at);
            self.all_clear(&format!("{group}: {name}{NOT_FENCED_BY}"));
            self.all_clear(&format!("{group}: {name}{MUST_BE_FENCED}"));
        }
    }

    /// Returns what is known of the fencing of `node` for `group` by agents, in a sentence.
    pub(in super::super) fn pursuit_state(&self, group: GroupId, node: NodeId) -> Option<String> {
        let is_it = |chase: &&Chase| {
            chase.pursuit.target() == node && chase.claims.iter().any(|(other, _)| *other == group)
        };
        let now = self.engine.now();
        self.pursuits.iter().find(is_it).map(|chase| self.chase_text(chase, now))
    }

    fn chase_text(&self, chase: &Chase, now: Instant) -> String {
        let name = self.settings.name_of(chase.pursuit.target());
        let last = chase.failure.as_ref();
        let last = last.map(|failure| format!("; last, {failure}")).unwrap_or_default();
        match chase.pursuit.stage() {
            _ if !chase.pursuit.has_means() => format!(
                "nothing can fence {name}: when it is certainly off, say `lifesign fence confirm \
                 {name}`"
            ),
            Stage::Running(Order { means, deed, limit }, since) => {
                let by = self.agent_of(chase.pursuit.target(), means);
                let so_far = span(now.since(since).as_millis());
                let most = span(limit.as_millis());
                let does = running_word(deed);
                format!("{by} {does} {name}, for {so_far} of at most {most}{last}")
            }
            Stage::Resting(until) => {
                let left = span(until.since(now).as_millis());
                format!("{name} will be fenced again in {left}{last}")
            }
            Stage::Ready | Stage::Line(_) | Stage::Done => {
                format!("{name} will be fenced{last}")
            }
        }
    }

    /// Returns what machines are told of agents at work.
    pub(in super::super) fn chase_reports(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = FenceReport> {
        let shown = self.pursuits.iter();
        let shown = shown.filter(|chase| !matches!(chase.pursuit.stage(), Stage::Line(_)));
        shown.map(move |chase| {
            let (by, state) = match chase.pursuit.stage() {
                _ if !chase.pursuit.has_means() => ("a person".to_owned(), "asked"),
                Stage::Running(order, _) => {
                    (self.agent_of(chase.pursuit.target(), order.means), "running")
                }
                Stage::Resting(_) => (String::new(), "pausing"),
                Stage::Ready | Stage::Line(_) | Stage::Done => (String::new(), "waiting"),
            };
            FenceReport {
                group: self.group_name(chase.group.index()),
                node: self.settings.name_of(chase.pursuit.target()),
                boot: boot_text(chase.pursuit.boot()),
                by,
                state: state.to_owned(),
                text: self.chase_text(chase, now),
                since_ms: now.since(chase.since).as_millis(),
            }
        })
    }

    /// Returns what machines are told of fences that are over.
    pub(in super::super) fn fenced_reports(&self, now: Instant) -> Vec<FencedReport> {
        let report = |ended: &Ended| FencedReport {
            node: self.settings.name_of(ended.node),
            group: self.group_name(ended.group.index()),
            by: ended.by.clone(),
            fenced: ended.is_fenced,
            text: ended.text.clone(),
            ago_ms: now.since(ended.at).as_millis(),
            took_ms: ended.took.as_millis(),
        };
        self.fenced.iter().map(report).collect()
    }
}

const fn running_word(deed: Deed) -> &'static str {
    match deed {
        Deed::Off => "is switching off",
        Deed::Reboot => "is rebooting",
        Deed::On => "is switching on",
        Deed::Status => "is looking at the power of",
    }
}
