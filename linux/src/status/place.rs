//! Groups that others keep from where they could be, on the page.

use crate::page::list;
use crate::report::{GroupReport, PeerReport, PeerState, Report};

/// Returns whether nobody holds `group` because groups that come first are wherever it could be.
pub(super) fn makes_way(report: &Report, group: &GroupReport) -> bool {
    let leader = report.groups.iter().find(|other| group.with.as_ref() == Some(&other.name));
    if leader.is_some_and(|leader| makes_way(report, leader)) {
        return group.holder.is_none();
    }
    let has_first = |node: &String| {
        let mut firsts = report.groups.iter().filter(|other| group.apart.contains(&other.name));
        firsts.any(|first| first.holder.as_ref() == Some(node))
    };
    let is_alive = |node: &&String| {
        let alive = |peer: &PeerReport| peer.name == **node && peer.state == PeerState::Alive;
        **node == report.node || report.peers.iter().any(alive)
    };
    let mut nodes = group.nodes.iter().filter(is_alive).peekable();
    group.holder.is_none() && nodes.peek().is_some() && nodes.all(has_first)
}

/// Returns who makes way for whom, a sentence each.
pub(super) fn flaws(report: &Report) -> impl Iterator<Item = String> {
    let groups = report.groups.iter().filter(|group| makes_way(report, group));
    groups.map(|group| {
        let firsts: Vec<&str> = group.with.iter().chain(&group.apart).map(String::as_str).collect();
        format!("{} makes way for {}", group.name, list(&firsts))
    })
}
