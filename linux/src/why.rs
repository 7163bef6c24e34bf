//! Why a group is where it is, why not elsewhere, and what would have to change.

use core::fmt::Write;

use crate::page::{Page, Paint, list, span, unknown, wrap};
use crate::report::{GroupReport, GroupRole, PeerState, Report, VoterReport};

/// Returns the answer about `group`, or about all groups.
///
/// # Errors
/// There is no such group; the sentence names those there are.
pub fn render(report: &Report, group: Option<&str>, page: Page) -> Result<String, String> {
    let chosen: Vec<&GroupReport> = report
        .groups
        .iter()
        .filter(|known| group.is_none_or(|group| known.name == group))
        .collect();
    if chosen.is_empty() {
        return Err(match group {
            Some(group) => unknown("group", group, report.groups.iter().map(|it| it.name.as_str())),
            None => "the settings have no group".to_owned(),
        });
    }
    let texts: Vec<String> = chosen.iter().map(|group| one(report, group, page)).collect();
    Ok(texts.join("\n"))
}

fn one(report: &Report, group: &GroupReport, page: Page) -> String {
    let me = &report.node;
    let since = span(group.since_ms);
    let head = match (&group.holder, group.role) {
        (_, GroupRole::Stuck) => {
            format!("could not be stopped on {me}, so nobody else may start it")
        }
        (Some(holder), GroupRole::Offering) => {
            format!("is held by {holder} under token {} and offered to others", group.token)
        }
        (Some(holder), _) => format!("is held by {holder} under token {}", group.token),
        (None, GroupRole::Idle) => "is held by nobody that is heard here".to_owned(),
        (None, role) => format!("is held by nobody yet, {me} is {}", role.word()),
    };
    let painted = match (&group.holder, group.role) {
        (_, GroupRole::Stuck) | (None, _) => page.paint(Paint::Bad, &group.name),
        (Some(_), _) => page.paint(Paint::Good, &group.name),
    };
    let mut text = wrap(&format!("{} ", group.name), &head).replacen(&group.name, &painted, 1);
    text.push_str(&wrap(
        "  ",
        &format!("{me} is {} since {since}: {}", group.role.word(), group.reason),
    ));
    if !group.addresses.is_empty() {
        text.push_str(&wrap("  addresses: ", &group.addresses.join(", ")));
    }
    write_place(&mut text, report, group);
    if let Some(left) = group.maintenance_left_ms {
        let left = span(left);
        let said = format!(
            "it is in maintenance for another {left}: nobody claims, moves or restarts it; only a \
             holder that loses its authority stops"
        );
        text.push_str(&wrap("  ", &said));
    }
    if group.role != GroupRole::Idle {
        write_voters(&mut text, group, page);
    }
    if let Some(left) = group.authority_left_ms {
        let _ = writeln!(text, "  unless they are renewed, its authority ends in {left:.1} ms");
    }
    write_elsewhere(&mut text, report, group);
    if let Some(watchdog) = report.watchdog.as_ref().filter(|_| group.watched) {
        text.push_str(&wrap("  watchdog: ", &watchdog.sentence()));
        let bite = watchdog.last_bite.as_ref().map(|bite| format!("{me} {}", bite.sentence()));
        text.push_str(&bite.map(|bite| wrap("  last bite: ", &bite)).unwrap_or_default());
    }
    for fenced in report.fenced.iter().filter(|fenced| fenced.group == group.name) {
        text.push_str(&wrap("  last fence: ", &fenced.sentence()));
    }
    if !group.would_change.is_empty() {
        text.push_str("\n  what would change that\n");
    }
    for change in &group.would_change {
        text.push_str(&wrap("    - ", change));
    }
    text
}

fn write_place(text: &mut String, report: &Report, group: &GroupReport) {
    let follows = |other: &&GroupReport| other.with.as_ref() == Some(&group.name);
    let followers: Vec<&str> =
        report.groups.iter().filter(follows).map(|other| other.name.as_str()).collect();
    let firsts: Vec<&str> = group.apart.iter().map(String::as_str).collect();
    if let Some(mac) = &group.mac {
        text.push_str(&wrap("  MAC address: ", mac));
    }
    if let Some(leader) = &group.with {
        text.push_str(&wrap("  runs with: ", leader));
    }
    if !followers.is_empty() {
        text.push_str(&wrap("  followed by: ", &list(&followers)));
    }
    if !firsts.is_empty() {
        text.push_str(&wrap("  runs apart from: ", &list(&firsts)));
    }
}

/// Returns why `group` is not on `node` because of where other groups are.
fn misplaced(report: &Report, group: &GroupReport, node: &str) -> Option<String> {
    let is_there = |name: &String| {
        let other = report.groups.iter().find(|other| other.name == *name);
        other.is_some_and(|other| other.holder.as_deref() == Some(node))
    };
    if let Some(leader) = group.with.as_ref().filter(|leader| !is_there(leader)) {
        return Some(format!("it follows {leader}, which is not there"));
    }
    let first = group.apart.iter().find(|first| is_there(first))?;
    Some(format!("{first} is there, and comes first"))
}

fn write_voters(text: &mut String, group: &GroupReport, page: Page) {
    text.push_str("\n  it rests on promises; a quorum of them is needed\n");
    let width = group.voters.iter().map(|voter| voter.name.chars().count()).max().unwrap_or(0);
    for voter in &group.voters {
        let VoterReport { name, supports, age_ms, why_not } = voter;
        let name = page.fit(name, width.min(20));
        let said = match (supports, age_ms, why_not) {
            (true, Some(age), _) => format!("yes, {age:.1} ms old"),
            (true, None, _) => "yes".to_owned(),
            (false, _, Some(why_not)) => format!("no: {why_not}"),
            (false, Some(age), None) => format!("no longer, {age:.1} ms old"),
            (false, None, None) => "no".to_owned(),
        };
        text.push_str(&wrap(&format!("    {name}  "), &said));
    }
}

fn write_elsewhere(text: &mut String, report: &Report, group: &GroupReport) {
    let me = report.node.as_str();
    if let Some(obstacle) = &group.obstacle {
        text.push('\n');
        text.push_str(&wrap(&format!("  why not on {me}: "), obstacle));
    }
    let holder = group.holder.as_deref();
    let is_other = |name: &&String| name.as_str() != me && Some(name.as_str()) != holder;
    let mut is_first = group.obstacle.is_none();
    for name in group.nodes.iter().filter(is_other) {
        let Some(peer) = report.peers.iter().find(|peer| peer.name == *name) else { continue };
        let why = match peer.state {
            PeerState::Alive => misplaced(report, group, name).unwrap_or_else(|| match holder {
                Some(holder) => format!("{holder} holds it and is alive"),
                None => "it has not claimed it; ask there".to_owned(),
            }),
            PeerState::Left => "it has left in good order".to_owned(),
            PeerState::Unmet => "it has not been met".to_owned(),
            state => format!("it is {}", state.word()),
        };
        if core::mem::take(&mut is_first) {
            text.push('\n');
        }
        text.push_str(&wrap(&format!("  why not on {name}: "), &why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::good;

    #[test]
    fn a_holder_shows_what_it_rests_on() {
        let expected = "\
www is held by alpha under token 17
  alpha is holding since 2 h 03 min: it has been started
  addresses: 10.77.0.100/24

  it rests on promises; a quorum of them is needed
    alpha   yes, 0.4 ms old
    beta    yes, 6.1 ms old
    quorum  yes, 3.9 ms old
  unless they are renewed, its authority ends in 20.3 ms

  why not on beta: alpha holds it and is alive
";
        assert_eq!(render(&good(), Some("www"), Page::PLAIN).unwrap(), expected);
    }

    #[test]
    fn a_node_that_may_not_says_why_and_what_would_help() {
        let mut report = good();
        let group = &mut report.groups[0];
        group.holder = None;
        group.role = GroupRole::Claiming;
        group.since_ms = 1200;
        group.reason = "beta, which held it, fell silent on every link".to_owned();
        group.authority_left_ms = None;
        for voter in &mut group.voters[1..] {
            voter.supports = false;
            voter.age_ms = None;
        }
        group.voters[1].why_not = Some("it is lost".to_owned());
        group.voters[2].why_not = Some("it favours the other side".to_owned());
        group.obstacle = Some("it has no quorum: beta and quorum do not support it".to_owned());
        group.would_change = vec!["enough of beta and quorum answer".to_owned()];
        report.peers[0].state = PeerState::Lost;
        let expected = "\
www is held by nobody yet, alpha is claiming
  alpha is claiming since 1.2 s: beta, which held it, fell silent on every link
  addresses: 10.77.0.100/24

  it rests on promises; a quorum of them is needed
    alpha   yes, 0.4 ms old
    beta    no: it is lost
    quorum  no: it favours the other side

  why not on alpha: it has no quorum: beta and quorum do not support it
  why not on beta: it is lost

  what would change that
    - enough of beta and quorum answer
";
        assert_eq!(render(&report, None, Page::PLAIN).unwrap(), expected);
    }

    #[test]
    fn groups_that_are_not_there_are_named() {
        let mut report = good();
        assert_eq!(
            render(&report, Some("mail"), Page::PLAIN).unwrap_err(),
            "there is no group \"mail\"; known are www"
        );
        report.groups.clear();
        assert_eq!(render(&report, None, Page::PLAIN).unwrap_err(), "the settings have no group");
    }
}
