//! Linux-HA's own questions and orders: `cl_status`, `hb_standby`, `hb_takeover`.
//!
//! Scripts know their words, output and exit status. Nodes and pinged machines are nodes there; a
//! witness is none. A group is `local` if this node is its home, else `foreign`.

use crate::report::{GroupReport, GroupRole, NodeState, PeerKind, PeerReport, PeerState, Report};

/// What a tool says, and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// For standard output, or for standard error if the status is not 0.
    pub text: String,
    /// The exit status.
    pub code: u8,
}

/// A parameter is wrong.
const BAD_PARAMETER: u8 = 11;
const FAILED: u8 = 1;

fn good(text: impl Into<String>) -> Told {
    Told { text: text.into(), code: 0 }
}

fn wrong(text: impl Into<String>) -> Told {
    Told { text: text.into(), code: BAD_PARAMETER }
}

const USAGE: &str = "usage: cl_status hbstatus | listnodes [-n|-p] | nodestatus NODE | nodetype \
    NODE | listhblinks NODE | hblinkstatus NODE LINK | rscstatus";

/// Answers `cl_status` with these words; `report` is what the daemon says, or why it says nothing.
#[must_use]
pub fn cl_status(words: &[String], report: Result<&Report, &str>) -> Told {
    let is_flag = |word: &&str| word.starts_with('-');
    let flags: Vec<&str> = words.iter().map(String::as_str).filter(is_flag).collect();
    let mut rest = words.iter().map(String::as_str).filter(|word| !is_flag(word));
    let Some(question) = rest.next() else { return wrong(USAGE) };
    let values: Vec<&str> = rest.collect();
    if question == "hbstatus" {
        return match report {
            Ok(_) => good("Heartbeat is running on this machine."),
            Err(_) => {
                Told { text: "Heartbeat is stopped on this machine.".to_owned(), code: FAILED }
            }
        };
    }
    let report = match report {
        Ok(report) => report,
        Err(why) => return Told { text: why.to_owned(), code: FAILED },
    };
    match (question, values.as_slice()) {
        ("listnodes", []) => good(names(report, &flags).join("\n")),
        ("nodestatus", [node]) => known(node_status(report, node)),
        ("nodetype", [node]) => known(node_type(report, node)),
        ("listhblinks", [node]) => known(links(report, node).map(|links| links.join("\n"))),
        ("hblinkstatus", [node, link]) => known(link_status(report, node, link)),
        ("rscstatus", []) => good(resource_status(report)),
        (
            "listnodes" | "nodestatus" | "nodetype" | "listhblinks" | "hblinkstatus" | "rscstatus",
            _,
        ) => wrong(USAGE),
        ("nodeweight" | "nodesite" | "clientstatus" | "hbparameter", _) => Told {
            text: format!("lifesign has no {question}; see `lifesign status` and `lifesign check`"),
            code: FAILED,
        },
        _ => wrong(USAGE),
    }
}

/// Returns what is known, or what was said of a wrong name.
fn known(answer: Option<String>) -> Told {
    answer.map_or_else(|| wrong("Error. May be due to incorrect node name"), good)
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

fn node_status(report: &Report, node: &str) -> Option<String> {
    let status = if node == report.node {
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
    };
    Some(status.to_owned())
}

fn node_type(report: &Report, node: &str) -> Option<String> {
    if node == report.node || nodes(report).any(|peer| peer.name == node) {
        return Some("normal".to_owned());
    }
    pings(report).any(|(address, _)| address == node).then(|| "ping".to_owned())
}

/// Returns the adapters and devices of the links to `node`.
fn links<'a>(report: &'a Report, node: &str) -> Option<Vec<&'a str>> {
    let all = || report.links.iter().map(|link| link.adapter.as_str()).collect();
    if node == report.node {
        return Some(all());
    }
    nodes(report).any(|peer| peer.name == node).then(all)
}

fn link_status(report: &Report, node: &str, wanted: &str) -> Option<String> {
    let is_it = |name: &str, adapter: &str| name == wanted || adapter == wanted;
    let link = report.links.iter().find(|link| is_it(&link.name, &link.adapter))?;
    let is_up = if node == report.node {
        link.is_up()
    } else {
        let peer = nodes(report).find(|peer| peer.name == node)?;
        peer.links.iter().any(|other| other.link == link.name && other.heard)
    };
    Some(if is_up { "up" } else { "dead" }.to_owned())
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
            ("listhblinks beta", "eth0"),
            ("hblinkstatus beta eth0", "up"),
            ("rscstatus", "local"),
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
        assert_eq!(asked("hbparameter -p deadtime").1, 1);
    }

    #[test]
    fn a_daemon_that_is_silent_is_stopped() {
        let ask = |word: &str| cl_status(&[word.to_owned()], Err("nobody is there"));
        let stopped = "Heartbeat is stopped on this machine.";
        assert_eq!(ask("hbstatus"), Told { text: stopped.to_owned(), code: 1 });
        assert_eq!(ask("rscstatus"), Told { text: "nobody is there".to_owned(), code: 1 });
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
            assert_eq!(node_status(&report, "beta").as_deref(), Some(word), "{state:?}");
        }
        report.state = NodeState::Booting;
        report.peers[0].state = PeerState::Unmet;
        assert_eq!(node_status(&report, "beta").as_deref(), Some("init"));
        assert_eq!(node_status(&report, "alpha").as_deref(), Some("init"));
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
