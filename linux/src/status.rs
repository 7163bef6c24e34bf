//! A report as a page that a tired person understands.
//!
//! The first line says GOOD, DEGRADED or DOWN, and why. Below it stand the groups with their
//! holders, the members with a mark for each link, the links, and what is worth a look.

mod links;
mod place;
pub mod witness;
mod word;

use core::fmt::Write;

use crate::page::{Page, Paint, WIDTH, list, span, times, wrap};
use crate::report::{
    FailuresReport, GroupReport, GroupRole, IpSideReport, NodeState, PeerKind, PeerReport,
    PeerState, RecordingReport, Report, RestartsReport,
};

/// How things are, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every group is held, and the next failure can be survived.
    Good,
    /// Every group is held, and something is missing.
    Degraded,
    /// A group is not held.
    Down,
}

impl Health {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Degraded => "DEGRADED",
            Self::Down => "DOWN",
        }
    }

    const fn paint(self) -> Paint {
        match self {
            Self::Good => Paint::Good,
            Self::Degraded => Paint::Warning,
            Self::Down => Paint::Bad,
        }
    }
}

/// Returns how things are and, in one sentence, why.
#[must_use]
pub fn judge(report: &Report) -> (Health, String) {
    let unheld: Vec<&GroupReport> = report
        .groups
        .iter()
        .filter(|group| group.holder.is_none() && !group.role.is_up() && !group.disabled)
        .filter(|group| !place::makes_way(report, group))
        .collect();
    if let Some(first) = unheld.first() {
        let names: Vec<&str> = unheld.iter().map(|group| group.name.as_str()).collect();
        let nobody = format!("nobody holds {}", list(&names));
        return match (report.state, &first.obstacle) {
            (NodeState::Booting, _) => (
                Health::Degraded,
                format!(
                    "{} has just started and knows of nobody who holds {}",
                    report.node,
                    list(&names)
                ),
            ),
            (_, Some(obstacle)) => (Health::Down, format!("{nobody}: {obstacle}")),
            (_, None) => {
                (Health::Down, format!("{nobody} ({} is {})", report.node, first.role.word()))
            }
        };
    }
    let mut flaws = flaws(report);
    match flaws.len() {
        0 => (Health::Good, good(report)),
        1 | 2 => (Health::Degraded, flaws.join("; ")),
        more => {
            flaws.truncate(2);
            (Health::Degraded, format!("{}; and {} more", flaws.join("; "), more - 2))
        }
    }
}

fn good(report: &Report) -> String {
    let all = "every member is here";
    match report.groups.as_slice() {
        [] => format!("{all}, and there is no group to hold"),
        [group] => {
            format!("{} holds {}, {all}", group.holder.as_deref().unwrap_or("somebody"), group.name)
        }
        _ => format!("every group is held, {all}"),
    }
}

/// Returns what is missing, the worst first.
fn flaws(report: &Report) -> Vec<String> {
    let mut flaws = word::flaws(report);
    for group in report.groups.iter().filter(|group| group.role == GroupRole::Stuck) {
        flaws.push(format!("{} could not be stopped on {}", group.name, report.node));
    }
    flaws.extend(place::flaws(report));
    if !report.quorum.have {
        flaws.push(format!("{} is in no quorum", report.node));
    }
    flaws.extend(report.ip_side.iter().filter_map(|side| side.why.clone()));
    let named = |state| {
        let these = report.peers.iter().filter(move |peer| peer.state == state);
        these.map(|peer| peer.name.as_str()).collect::<Vec<&str>>()
    };
    for (state, one, many) in [
        (PeerState::Lost, "is lost", "are lost"),
        (PeerState::OneWay, "does not hear us", "do not hear us"),
        (PeerState::Unmet, "has not been met", "have not been met"),
        (PeerState::Left, "has left", "have left"),
    ] {
        let names = named(state);
        if !names.is_empty() {
            flaws.push(format!("{} {}", list(&names), if names.len() == 1 { one } else { many }));
        }
    }
    for link in report.links.iter().filter(|link| !link.is_up()) {
        flaws.push(format!("link {} is {}", link.name, link.state));
    }
    for peer in report.peers.iter().filter(|peer| peer.settings_agree == Some(false)) {
        flaws.push(format!("{} has other settings", peer.name));
    }
    for peer in report.peers.iter().filter(|peer| peer.state == PeerState::Alive) {
        for link in peer.links.iter().filter(|link| !(link.heard && link.hears_us)) {
            flaws.push(format!("link {} to {} is broken", link.link, peer.name));
        }
    }
    match report.state {
        NodeState::Online => {}
        NodeState::Booting => flaws.push(format!("{} has just started", report.node)),
        NodeState::Standby => flaws.push(format!("{} is on standby", report.node)),
        NodeState::Leaving => flaws.push(format!("{} is leaving", report.node)),
    }
    let is_new = |text: &str| !report.ip_side.iter().any(|side| is_about(side, text));
    flaws.extend(report.alerts.iter().map(|alert| alert.text.clone()).filter(|text| is_new(text)));
    flaws
}

/// Returns whether an alert says what is said of the IP side already.
fn is_about(side: &IpSideReport, alert: &str) -> bool {
    side.why.as_ref().is_some_and(|why| alert.starts_with(why.as_str()))
}

/// Returns `report` as a page.
#[must_use]
pub fn render(report: &Report, page: Page) -> String {
    let mut text = glance(report, page);
    write_members(&mut text, report, page);
    links::write(&mut text, report, page);
    write_rest(&mut text, report, page);
    text
}

/// Returns the beginning of the page: how things are, and who holds what.
#[must_use]
pub fn glance(report: &Report, page: Page) -> String {
    let (health, why) = judge(report);
    let head = wrap(&format!("{}: ", health.word()), &why);
    let mut text = head.replacen(health.word(), &page.paint(health.paint(), health.word()), 1);
    let state = match report.state {
        NodeState::Booting => "booting",
        NodeState::Online => "online",
        NodeState::Standby => "standby",
        NodeState::Leaving => "leaving",
    };
    let seen = format!(
        "cluster {}, seen from {} ({state}, up {})",
        report.cluster,
        report.node,
        span(report.uptime_ms)
    );
    text.push_str(&wrap("", &seen));
    text.push_str(&word::render(report, page));
    text.push('\n');
    write_groups(&mut text, report, page);
    text
}

/// Returns how wide a column must be for `words`, its heading and a gap, at most `most`.
fn column<'a>(heading: &str, words: impl Iterator<Item = &'a str>, most: usize) -> usize {
    words.map(|word| word.chars().count()).fold(heading.len(), usize::max).min(most) + 2
}

fn write_groups(text: &mut String, report: &Report, page: Page) {
    if report.groups.is_empty() {
        return;
    }
    let names = column("GROUP", report.groups.iter().map(|group| group.name.as_str()), 16);
    let holders = report.groups.iter().filter_map(|group| group.holder.as_deref());
    let holders = column("HOLDER", holders, 16);
    let heading = format!("{:names$}{:holders$}{:14}ADDRESSES", "GROUP", "HOLDER", "SINCE");
    let _ = writeln!(text, "{}", page.paint(Paint::Heading, &heading));
    for group in &report.groups {
        let name = page.fit(&group.name, names - 2);
        let holder = page.fit(group.holder.as_deref().unwrap_or("nobody"), holders - 2);
        let holder = match (&group.holder, group.role) {
            (_, GroupRole::Stuck) => page.paint(Paint::Bad, &holder),
            (None, _) => page.paint(Paint::Bad, &holder),
            (Some(_), _) => page.paint(Paint::Good, &holder),
        };
        let since = span(group.since_ms);
        let mut what = group.addresses.first().cloned().unwrap_or_default();
        if group.addresses.len() > 1 {
            let _ = write!(what, " and {} more", group.addresses.len() - 1);
        }
        if let Some((mac, _)) = group.mac.as_ref().and_then(|mac| mac.split_once(' ')) {
            let _ = write!(what, " at {mac}");
        }
        if !matches!(group.role, GroupRole::Idle | GroupRole::Holding) {
            let _ = write!(what, " ({} here)", group.role.word());
        }
        what.push_str(word::mark(group));
        let indent = " ".repeat(names + holders + 14);
        let line =
            wrap(&indent, &what).replacen(&indent, &format!("{name}  {holder}  {since:14}"), 1);
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(failures) = &group.failures {
            text.push_str(&wrap("    failures  ", &failed(&group.name, failures)));
        }
        for service in group.services.iter().filter(|service| service.state != "started") {
            text.push_str(&wrap("    service ", &format!("{}: {}", service.name, service.state)));
        }
    }
    text.push('\n');
}

fn write_members(text: &mut String, report: &Report, page: Page) {
    let names = report.peers.iter().map(|peer| peer.name.as_str()).chain([report.node.as_str()]);
    let names = column("MEMBER", names, 16);
    // What is left of the page, less the word `witness`, is shared by the links.
    let share = WIDTH.saturating_sub(names + 11 + 8) / report.links.len().max(1);
    let width = |link: &str| (link.chars().count() + 2).max(4).min(share.max(4));
    let mut heading = format!("{:names$}{:11}", "MEMBER", "");
    for link in &report.links {
        heading.push_str(&page.fit(&link.name, width(&link.name) - 2));
        heading.push_str("  ");
    }
    let _ = writeln!(text, "{}", page.paint(Paint::Heading, heading.trim_end()));
    let _ = writeln!(text, "{}  this node", page.fit(&report.node, names - 2));
    let mut is_whole = true;
    for peer in &report.peers {
        let word = format!("{:11}", peer.state.word());
        let paint = match peer.state {
            PeerState::Alive => Paint::Good,
            PeerState::Left => Paint::Warning,
            PeerState::Lost | PeerState::Unmet | PeerState::OneWay => Paint::Bad,
        };
        let mut line = format!("{}  {}", page.fit(&peer.name, names - 2), page.paint(paint, &word));
        for link in &report.links {
            let mark = mark(peer, &link.name, page);
            is_whole &= mark == mark_of(page).0 || mark == '-';
            line.push(mark);
            line.push_str(&" ".repeat(width(&link.name) - 1));
        }
        if peer.kind == PeerKind::Witness {
            line.push_str("witness");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !is_whole {
        let (both, one, none) = mark_of(page);
        let legend = format!("{both} heard both ways, {one} one way, {none} silent");
        let _ = writeln!(text, "{:names$}{}", "", page.paint(Paint::Heading, &legend));
    }
    text.push('\n');
}

/// Returns the marks for a link that works both ways, one way, and not at all.
const fn mark_of(page: Page) -> (char, char, char) {
    if page.is_ascii { ('*', '/', 'x') } else { ('●', '◐', '✗') }
}

fn mark(peer: &PeerReport, link: &str, page: Page) -> char {
    let (both, one, none) = mark_of(page);
    match peer.links.iter().find(|other| other.link == link) {
        None => '-',
        Some(link) => match (link.heard, link.hears_us) {
            (true, true) => both,
            (true, false) | (false, true) => one,
            (false, false) => none,
        },
    }
}

fn write_rest(text: &mut String, report: &Report, page: Page) {
    let quorum = &report.quorum;
    let modules: Vec<String> =
        quorum.modules.iter().map(|module| format!("{} {}", module.name, module.answer)).collect();
    let quorum = format!(
        "{}, {} of {} votes ({})",
        if quorum.have { "yes" } else { "no" },
        quorum.votes,
        quorum.total,
        modules.join(", ")
    );
    text.push_str(&wrap("quorum      ", &quorum));
    if let Some(side) = &report.ip_side {
        text.push_str(&wrap("IP side     ", &ip_side(side)));
    }
    let enforcer = &report.enforcer;
    let micros = enforcer.overshoot_us;
    let lease = format!("{}, at most {} ms late", enforcer.name, crate::report::millis(micros));
    text.push_str(&wrap("lease       ", &lease));
    for refused in &enforcer.refused {
        text.push_str(&wrap("            without ", refused));
    }
    text.push_str(&wrap("scheduling  ", &report.scheduling));
    text.push_str(&wrap("settings    ", &report.digest));
    if let Some(recording) = &report.recording {
        text.push_str(&wrap("recording   ", &said_of(recording)));
    }
    if let Some(watchdog) = &report.watchdog {
        let said = format!("{}: {}", watchdog.device, watchdog.sentence());
        text.push_str(&wrap("watchdog    ", &said));
        let bite = watchdog.last_bite.as_ref().map(|bite| wrap("last bite   ", &bite.sentence()));
        text.push_str(&bite.unwrap_or_default());
    }
    for fenced in &report.fenced {
        text.push_str(&wrap("last fence  ", &fenced.sentence()));
    }
    for client in &report.clients {
        text.push_str(&wrap("client      ", &client.sentence()));
    }
    if !report.alerts.is_empty() || !report.fencing.is_empty() {
        text.push('\n');
    }
    for fence in &report.fencing {
        let line = wrap("FENCE ", &format!("{}: {}", fence.group, fence.text));
        text.push_str(&line.replacen("FENCE", &page.paint(Paint::Warning, "FENCE"), 1));
    }
    for alert in &report.alerts {
        let line = wrap("ALERT ", &format!("{} (since {})", alert.text, span(alert.since_ms)));
        text.push_str(&line.replacen("ALERT", &page.paint(Paint::Warning, "ALERT"), 1));
    }
    if !report.decisions.is_empty() {
        let _ = writeln!(text, "\n{}", page.paint(Paint::Heading, "LATELY"));
    }
    for decision in report.decisions.iter().take(5) {
        let ago = format!("{:>12} ago  ", span(decision.ago_ms));
        text.push_str(&wrap(&ago, &decision.text));
    }
}

/// Returns what has failed of a group, in a sentence.
fn failed(group: &str, failures: &FailuresReport) -> String {
    let mut said: Vec<String> = Vec::new();
    if failures.count > 0 {
        said.push(format!("failed here {}", times(failures.count)));
    }
    for restarts in &failures.restarts {
        let RestartsReport { service, count, most } = restarts;
        said.push(format!("{service} was restarted {count} of {most} times"));
    }
    let mut said = format!("{} within {}", said.join(", "), span(failures.window_ms));
    if let Some(next) = failures.next_attempt_ms {
        let next = span(next);
        let _ = write!(said, "; tried again in {next}, or by `lifesign takeover {group}` here");
    }
    said
}

/// Returns where a recording is and what of it is missing, in a sentence.
fn said_of(recording: &RecordingReport) -> String {
    let RecordingReport { directory, bound, lost, error } = recording;
    let mut said = format!("{directory}, at most {} MiB", bound >> 20);
    if *lost > 0 {
        let _ = write!(said, ", {lost} entries are lost");
    }
    if let Some(error) = error {
        let _ = write!(said, ", the disk refused: {error}");
    }
    said
}

/// Returns whether clients can reach the node, and who answers it, in a sentence.
fn ip_side(side: &IpSideReport) -> String {
    let mut said = if side.works { "works".to_owned() } else { "down".to_owned() };
    for ping in &side.pings {
        let _ = match (ping.answered_ms, &ping.failure) {
            (_, Some(failure)) => write!(said, ", {}: {failure}", ping.address),
            (None, None) => write!(said, ", {} has not answered", ping.address),
            (Some(ago), None) => write!(said, ", {} answered {ago:.0} ms ago", ping.address),
        };
    }
    said
}

#[cfg(test)]
mod tests;
