//! Linux-HA's own questions and orders: `cl_status`, `hb_standby`, `hb_takeover`.
//!
//! Scripts know their words, output and exit status. Nodes and pinged machines are nodes there; a
//! witness is none. A group is `local` if this node is its home, else `foreign`.

use crate::report::{GroupReport, GroupRole, NodeState, PeerKind, PeerReport, PeerState, Report};

/// What a tool says, and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it says.
    pub text: String,
    /// Whether that is an answer, for standard output, or what is wrong, for standard error.
    pub is_answer: bool,
    /// The exit status; an answer may have one too that is not 0, such as that a node is dead.
    pub code: u8,
}

/// A parameter is wrong.
const BAD_PARAMETER: u8 = 11;
const FAILED: u8 = 1;

fn good(text: impl Into<String>) -> Told {
    Told { text: text.into(), is_answer: true, code: 0 }
}

/// An answer that is not the one hoped for.
fn bad(text: impl Into<String>) -> Told {
    Told { code: FAILED, ..good(text) }
}

fn failed(text: impl Into<String>) -> Told {
    Told { text: text.into(), is_answer: false, code: FAILED }
}

fn wrong(text: impl Into<String>) -> Told {
    Told { code: BAD_PARAMETER, ..failed(text) }
}

const USAGE: &str = "usage: cl_status hbstatus [-v] | listnodes [-n|-p] | nodestatus NODE | \
    nodetype NODE | nodeweight NODE | listhblinks NODE | hblinkstatus NODE LINK | \
    clientstatus NODE CLIENT | rscstatus | hbparameter -p NAME; each with -m for people";

/// Answers `cl_status` with these words; `report` is what the daemon says, or why it says nothing.
#[must_use]
pub fn cl_status(words: &[String], report: Result<&Report, &str>) -> Told {
    let is_flag = |word: &&str| word.starts_with('-');
    let flags: Vec<&str> = words.iter().map(String::as_str).filter(is_flag).collect();
    let mut rest = words.iter().map(String::as_str).filter(|word| !is_flag(word));
    let Some(question) = rest.next() else { return wrong(USAGE) };
    let values: Vec<&str> = rest.collect();
    let report = match (question, report) {
        ("hbstatus", Ok(report)) => return good(running(report, flags.contains(&"-v"))),
        ("hbstatus", Err(_)) => return bad("Heartbeat is stopped on this machine."),
        (_, Ok(report)) => report,
        (_, Err(why)) => return failed(why),
    };
    let asked = Asked { report, flags: &flags };
    match (question, values.as_slice()) {
        ("listnodes", []) => good(asked.names()),
        ("nodestatus", [node]) => asked.node_status(node),
        ("nodetype", [node]) => asked.node_type(node),
        ("nodeweight", [node]) => asked.node_weight(node),
        ("listhblinks", [node]) => asked.links(node),
        ("hblinkstatus", [node, link]) => asked.link_status(node, link),
        ("clientstatus", [node, client] | [node, client, _]) => asked.client_status(node, client),
        ("rscstatus", []) => {
            let status = resource_status(report);
            good(asked.said(status, || format!("This node is holding {status} resources.")))
        }
        ("hbparameter", [name]) if flags.contains(&"-p") => asked.parameter(name),
        ("nodesite", [_]) => failed("lifesign has no nodesite; see `lifesign status`"),
        _ => wrong(USAGE),
    }
}

/// A question about a report.
struct Asked<'a> {
    report: &'a Report,
    flags: &'a [&'a str],
}

impl Asked<'_> {
    /// Returns a word, or with `-m` a sentence.
    fn said(&self, word: &str, sentence: impl FnOnce() -> String) -> String {
        if self.flags.contains(&"-m") { sentence() } else { word.to_owned() }
    }

    fn names(&self) -> String {
        let names = names(self.report, self.flags).join("\n");
        self.said(&names, || format!("The nodes are as follow:\n{names}"))
    }

    fn node_status(&self, node: &str) -> Told {
        let Some(status) = node_status(self.report, node) else { return unknown() };
        let is_good = matches!(status, "active" | "up" | "ping");
        let text = self.said(status, || format!("The cluster node {node} is {status}"));
        if is_good { good(text) } else { bad(text) }
    }

    fn node_type(&self, node: &str) -> Told {
        let Some(kind) = node_type(self.report, node) else { return unknown() };
        good(self.said(kind, || format!("The node {node}'s type: {kind}")))
    }

    /// All nodes count alike.
    fn node_weight(&self, node: &str) -> Told {
        match node_type(self.report, node) {
            Some(NORMAL) => {
                let said = || format!("The weight of the cluster node {node} is {WEIGHT}");
                good(self.said(WEIGHT, said))
            }
            _ => wrong("Error. Maybe due to incorrect node name."),
        }
    }

    fn links(&self, node: &str) -> Told {
        let Some(links) = links(self.report, node) else { return unknown() };
        let links: Vec<String> = links.iter().map(|link| format!("\t{link}")).collect();
        let links = links.join("\n");
        let head = "\tthis node have the following heartbeat links:";
        good(self.said(&links, || format!("{head}\n{links}")))
    }

    fn link_status(&self, node: &str, link: &str) -> Told {
        let Some(is_up) = link_status(self.report, node, link) else { return unknown() };
        let status = if is_up { "up" } else { "dead" };
        let said = || format!("The node {node}'s heartbeat link {link} is {status}");
        let text = self.said(status, said);
        if is_up { good(text) } else { bad(text) }
    }

    /// Nobody is a client of this daemon as programs were of Linux-HA's.
    fn client_status(&self, node: &str, client: &str) -> Told {
        if node_type(self.report, node) != Some(NORMAL) {
            return unknown();
        }
        // Of the clients of others nothing is known here.
        let is_own = node.eq_ignore_ascii_case(&self.report.node);
        let mut own = self.report.clients.iter().filter(|_| is_own);
        let runs = own.any(|known| known.name == client && known.state == "running");
        if runs {
            good(self.said("online", || "Client is online".to_owned()))
        } else {
            bad("offline")
        }
    }

    fn parameter(&self, name: &str) -> Told {
        let timing = &self.report.timing;
        let millis = match name {
            "keepalive" => timing.heartbeat_ms,
            "deadtime" => timing.dead_ms,
            "initdead" => timing.settle_ms,
            _ => return failed(format!("Cannot get parameter {name}'s value")),
        };
        let value = format!("{millis}ms");
        good(self.said(&value, || format!("Heartbeat parameter {name}'s value: {value}")))
    }
}

/// What every node has in a vote, by the count of Linux-HA.
const WEIGHT: &str = "100";
/// What a node is that is none to be pinged.
const NORMAL: &str = "normal";

/// Returns that the daemon runs, and with `-v` whom it sees how.
fn running(report: &Report, is_detailed: bool) -> String {
    let mut text = "Heartbeat is running on this machine.".to_owned();
    if !is_detailed {
        return text;
    }
    text += &format!("\nversion:\tlifesign {}", env!("CARGO_PKG_VERSION"));
    text += "\nmanaged by:\t\"haresources\"";
    for name in names(report, &[]) {
        let status = node_status(report, name).unwrap_or_default();
        let kind = node_type(report, name).unwrap_or_default();
        text += &format!("\n{name}\t{status}\t(nodetype: {kind})");
        for link in links(report, name).unwrap_or_default() {
            let is_up = link_status(report, name, link) == Some(true);
            text += &format!("\n\t{link}\t{}", if is_up { "up" } else { "dead" });
        }
    }
    text
}

fn unknown() -> Told {
    wrong("Error. May be due to incorrect node name")
}

fn nodes(report: &Report) -> impl Iterator<Item = &PeerReport> {
    report.peers.iter().filter(|peer| peer.kind == PeerKind::Node)
}

fn pings(report: &Report) -> impl Iterator<Item = (&str, bool)> {
    let pings = report.ip_side.iter().flat_map(|side| &side.pings);
    pings.map(|ping| (ping.address.as_str(), ping.answered_ms.is_some_and(|ago| ago < SILENT_MS)))
}

/// A pinged machine that has not answered for so long is dead to Linux-HA's tools.
const SILENT_MS: f64 = 30_000.0;

fn names<'a>(report: &'a Report, flags: &[&str]) -> Vec<&'a str> {
    let (only_nodes, only_pings) = (flags.contains(&"-n"), flags.contains(&"-p"));
    let mut names = Vec::new();
    if !only_pings || only_nodes {
        names.push(report.node.as_str());
        names.extend(nodes(report).map(|peer| peer.name.as_str()));
    }
    if !only_nodes || only_pings {
        names.extend(pings(report).map(|(address, _)| address));
    }
    names
}

fn node_status(report: &Report, node: &str) -> Option<&'static str> {
    Some(if node == report.node {
        match report.state {
            NodeState::Booting => "init",
            NodeState::Leaving => "up",
            NodeState::Online | NodeState::Standby => "active",
        }
    } else if let Some(peer) = nodes(report).find(|peer| peer.name == node) {
        match peer.state {
            PeerState::Alive => "active",
            PeerState::OneWay => "up",
            PeerState::Unmet if report.state == NodeState::Booting => "init",
            PeerState::Lost | PeerState::Left | PeerState::Unmet => "dead",
        }
    } else {
        let (_, answers) = pings(report).find(|(address, _)| *address == node)?;
        if answers { "ping" } else { "dead" }
    })
}

fn node_type(report: &Report, node: &str) -> Option<&'static str> {
    if node == report.node || nodes(report).any(|peer| peer.name == node) {
        return Some(NORMAL);
    }
    pings(report).any(|(address, _)| address == node).then_some("ping")
}

/// Returns the adapters and devices of the links to `node`.
fn links<'a>(report: &'a Report, node: &str) -> Option<Vec<&'a str>> {
    let all = || report.links.iter().map(|link| link.adapter.as_str()).collect();
    if node == report.node {
        return Some(all());
    }
    nodes(report).any(|peer| peer.name == node).then(all)
}

fn link_status(report: &Report, node: &str, wanted: &str) -> Option<bool> {
    let is_it = |name: &str, adapter: &str| name == wanted || adapter == wanted;
    let link = report.links.iter().find(|link| is_it(&link.name, &link.adapter))?;
    Some(if node == report.node {
        link.is_up()
    } else {
        let peer = nodes(report).find(|peer| peer.name == node)?;
        peer.links.iter().any(|other| other.link == link.name && other.heard)
    })
}

fn is_local(report: &Report, group: &GroupReport) -> bool {
    group.nodes.first() == Some(&report.node)
}

fn resource_status(report: &Report) -> &'static str {
    let is_moving =
        |group: &GroupReport| !matches!(group.role, GroupRole::Idle | GroupRole::Holding);
    if report.groups.iter().any(is_moving) {
        return "transition";
    }
    let holds = |local: bool| {
        report
            .groups
            .iter()
            .any(|group| group.role == GroupRole::Holding && is_local(report, group) == local)
    };
    match (holds(true), holds(false)) {
        (true, true) => "all",
        (true, false) => "local",
        (false, true) => "foreign",
        (false, false) => "none",
    }
}

/// Returns the groups that `hb_standby` or `hb_takeover` means by `which`, for one that gives what
/// it holds or one that takes what it does not.
///
/// # Errors
/// How the tool is used.
pub fn meant(report: &Report, which: &str, gives: bool) -> Result<Vec<String>, String> {
    // Who takes everything home again takes what is local; who gives it back, what is foreign.
    let local = match (which, gives) {
        ("all", _) => None,
        ("local", _) | ("failback", false) => Some(true),
        ("foreign", _) | ("failback", true) => Some(false),
        _ => {
            let name = if gives { "hb_standby" } else { "hb_takeover" };
            return Err(format!("usage: {name} [all|foreign|local|failback]"));
        }
    };
    let groups = report.groups.iter().filter(|group| {
        let is_here = group.holder.as_ref() == Some(&report.node);
        let can_move = is_here == gives && (gives || group.nodes.contains(&report.node));
        can_move && local.is_none_or(|local| is_local(report, group) == local)
    });
    Ok(groups.map(|group| group.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{good as report, held};

    fn asked(words: &str) -> (String, u8) {
        let mut report = report();
        report.groups.push(held("mail", "beta", GroupRole::Idle));
        report.groups[1].nodes.reverse();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let told = cl_status(&words, Ok(&report));
        (told.text, told.code)
    }

    #[test]
    fn questions_have_the_known_answers() {
        for (words, text) in [
            ("hbstatus", "Heartbeat is running on this machine."),
            ("listnodes", "alpha\nbeta"),
            ("listnodes -n", "alpha\nbeta"),
            ("listnodes -p", ""),
            ("nodestatus beta", "active"),
            ("nodestatus alpha", "active"),
            ("nodetype beta", "normal"),
            ("listhblinks beta", "\teth0"),
            ("hblinkstatus beta eth0", "up"),
            ("rscstatus", "local"),
            ("nodeweight beta", "100"),
            ("hbparameter -p deadtime", "200ms"),
            ("hbparameter -p keepalive", "50ms"),
            ("listnodes -m", "The nodes are as follow:\nalpha\nbeta"),
            ("nodestatus -m beta", "The cluster node beta is active"),
            ("nodetype -m beta", "The node beta's type: normal"),
            ("hblinkstatus -m beta eth0", "The node beta's heartbeat link eth0 is up"),
            ("rscstatus -m", "This node is holding local resources."),
            (
                "hbstatus -v",
                concat!(
                    "Heartbeat is running on this machine.\nversion:\tlifesign ",
                    env!("CARGO_PKG_VERSION"),
                    "\nmanaged by:\t\"haresources\"\nalpha\tactive\t(nodetype: normal)\n\teth0\t",
                    "up\nbeta\tactive\t(nodetype: normal)\n\teth0\tup"
                ),
            ),
        ] {
            assert_eq!(asked(words), (text.to_owned(), 0), "{words}");
        }
    }

    #[test]
    fn wrong_questions_have_the_known_exit_status() {
        let name = "Error. May be due to incorrect node name";
        for words in ["nodestatus gamma", "nodetype quorum", "hblinkstatus beta eth9"] {
            assert_eq!(asked(words), (name.to_owned(), 11), "{words}");
        }
        for words in ["", "nodestatus", "listnodes x", "what"] {
            assert_eq!(asked(words), (USAGE.to_owned(), 11), "{words}");
        }
        assert_eq!(
            asked("hbparameter -p udpport"),
            ("Cannot get parameter udpport's value".into(), 1)
        );
        assert_eq!(asked("clientstatus beta ipfail"), ("offline".to_owned(), 1));
        assert_eq!(asked("nodeweight quorum").1, 11);
        assert_eq!(asked("nodesite beta").1, 1);
    }

    #[test]
    fn a_client_of_this_node_is_online_while_it_runs() {
        let asked = |state: &str, node: &str| {
            let mut report = report();
            report.clients = vec![crate::report::ClientReport {
                name: "mon".to_owned(),
                state: state.to_owned(),
                since_ms: 1,
                starts: 1,
                last: None,
            }];
            let words = ["clientstatus", node, "mon"].map(str::to_owned);
            let told = cl_status(&words, Ok(&report));
            (told.text, told.code)
        };
        assert_eq!(asked("running", "alpha"), ("online".to_owned(), 0));
        assert_eq!(asked("given up", "alpha"), ("offline".to_owned(), 1));
        assert_eq!(asked("running", "beta"), ("offline".to_owned(), 1));
    }

    #[test]
    fn a_dead_node_and_a_dead_link_are_answers_that_fail() {
        let mut report = report();
        report.peers[0].state = PeerState::Lost;
        report.peers[0].links.iter_mut().for_each(|link| link.heard = false);
        for words in [&["nodestatus", "beta"][..], &["hblinkstatus", "beta", "eth0"]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let told = cl_status(&words, Ok(&report));
            assert_eq!(told, Told { text: "dead".to_owned(), is_answer: true, code: 1 });
        }
    }

    #[test]
    fn a_daemon_that_is_silent_is_stopped() {
        let ask = |word: &str| cl_status(&[word.to_owned()], Err("nobody is there"));
        let stopped = "Heartbeat is stopped on this machine.";
        assert_eq!(ask("hbstatus"), Told { text: stopped.to_owned(), is_answer: true, code: 1 });
        assert_eq!(ask("rscstatus"), failed("nobody is there"));
    }

    #[test]
    fn states_of_nodes_and_resources_have_old_words() {
        let mut report = report();
        for (state, word) in [
            (PeerState::Lost, "dead"),
            (PeerState::Left, "dead"),
            (PeerState::Unmet, "dead"),
            (PeerState::OneWay, "up"),
        ] {
            report.peers[0].state = state;
            assert_eq!(node_status(&report, "beta"), Some(word), "{state:?}");
        }
        report.state = NodeState::Booting;
        report.peers[0].state = PeerState::Unmet;
        assert_eq!(node_status(&report, "beta"), Some("init"));
        assert_eq!(node_status(&report, "alpha"), Some("init"));
        report.groups[0].nodes.reverse();
        assert_eq!(resource_status(&report), "foreign");
        report.groups[0].role = GroupRole::Idle;
        assert_eq!(resource_status(&report), "none");
        report.groups[0].role = GroupRole::Stopping;
        assert_eq!(resource_status(&report), "transition");
    }

    #[test]
    fn sets_of_groups_are_local_or_foreign() {
        let mut report = report();
        report.groups.push(held("mail", "alpha", GroupRole::Holding));
        report.groups[1].nodes.reverse();
        report.groups.push(held("news", "beta", GroupRole::Idle));
        let of = |which: &str, gives| meant(&report, which, gives).map(|names| names.join(" "));
        assert_eq!(of("all", true).unwrap(), "www mail");
        assert_eq!(of("local", true).unwrap(), "www");
        assert_eq!(of("foreign", true).unwrap(), "mail");
        assert_eq!(of("failback", true).unwrap(), "mail");
        assert_eq!(of("all", false).unwrap(), "news");
        assert_eq!(of("failback", false).unwrap(), "news");
        assert_eq!(of("foreign", false).unwrap(), "");
        assert!(of("some", true).unwrap_err().starts_with("usage: hb_standby"));
    }
}
