//! The engine's reasons and obstacles as sentences, and what would have to change.
//!
//! "It" is the group, "this node" the one that reports. Sentences have no full stop.

use lifesign_core::engine::{Obstacle, Unsaid};
use lifesign_core::group::{GroupId, Reason};
use lifesign_core::node::{NodeId, NodeSet};
use lifesign_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::page::{list, span};

/// A sentence, and what would have to happen for it to become untrue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is the case.
    pub what: String,
    /// What would change it; each alone may do.
    pub would_change: Vec<String>,
}

/// A node leaves a group alone for a while, because it has failed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalty {
    /// How often it has failed, and how: a sentence.
    pub what: String,
    /// When the node tries again.
    pub until: Instant,
}

/// How members and groups are called.
#[derive(Clone, Copy)]
pub struct Names<'n> {
    /// Gives the name of a node or witness.
    pub member: &'n dyn Fn(NodeId) -> String,
    /// Gives the name of a group.
    pub group: &'n dyn Fn(GroupId) -> String,
}

impl core::fmt::Debug for Names<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Returns `reason` as a sentence.
#[must_use]
pub fn reason(reason: Reason, names: Names<'_>) -> String {
    let Names { member: name, group } = names;
    match reason {
        Reason::Start => "nothing has happened since this node started".to_owned(),
        Reason::Unheld => "nobody has held it since this node started".to_owned(),
        Reason::Free => "nobody has taken it since this node let it go".to_owned(),
        Reason::HolderLost(node) => {
            format!("{}, which held it, fell silent on every link", name(node))
        }
        Reason::Released(node) => format!("{} gave it up in good order", name(node)),
        Reason::Asked => "the operator asked this node to take it".to_owned(),
        Reason::Granted => "a quorum supports it and every survivor agrees".to_owned(),
        Reason::Disputed(node) => format!(
            "a quorum supports it; {} withheld its consent for the whole dispute time",
            name(node)
        ),
        Reason::Started => "it has been started".to_owned(),
        Reason::StartFailed => "it could not be started".to_owned(),
        Reason::Failed => "something of it has failed".to_owned(),
        Reason::Unable => "an adapter it needs here is gone or has no carrier".to_owned(),
        Reason::AuthorityLost => "no quorum answered, and the authority ran out".to_owned(),
        Reason::HandedTo(node) => format!("it was handed to {}", name(node)),
        Reason::Leaving => "this node is leaving".to_owned(),
        Reason::Stopped => "it has been stopped".to_owned(),
        Reason::StopFailed => "it could not be stopped".to_owned(),
        Reason::BetterClaim(node) => format!("{} wants it too and comes first", name(node)),
        Reason::HeldBy(node) => format!("{} holds it", name(node)),
        Reason::Unanswered => "no quorum answered the claim in time".to_owned(),
        Reason::Standby => "the operator wants this node free of it".to_owned(),
        Reason::Failback(node) => format!("it is offered to {}, which it prefers", name(node)),
        Reason::NoTaker => "it was offered, and nobody took it".to_owned(),
        Reason::With(leader) => {
            format!("it follows {}, which is not up here, or about to go", group(leader))
        }
        Reason::Apart(first) => {
            format!("{} is here or comes here, and comes first", group(first))
        }
        Reason::Occupied(other) => {
            format!("{}, which was to make way for it, could not be stopped", group(other))
        }
        Reason::Disabled => "the operator has disabled it".to_owned(),
        Reason::Maintenance => "it is in maintenance, and nothing moves".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Returns what `obstacle` keeps this node from, at `now`.
#[must_use]
pub fn obstacle(obstacle: &Obstacle, names: Names<'_>, now: Instant) -> Explanation {
    let Names { member: name, group } = names;
    let left = |until: Instant| span(until.since(now).as_millis());
    let (what, would_change) = match obstacle {
        Obstacle::NotInOrder => (
            "the settings do not name this node for it".to_owned(),
            vec!["`prefer` of the group names this node".to_owned()],
        ),
        Obstacle::Leaving => {
            ("this node is leaving".to_owned(), vec!["the daemon is started again here".to_owned()])
        }
        Obstacle::Standby => (
            "the operator wants this node free of it".to_owned(),
            vec!["the operator runs `lifesign takeover` here".to_owned()],
        ),
        Obstacle::Unable => (
            "an adapter it needs here is gone or has no carrier".to_owned(),
            vec!["the adapter carries frames again".to_owned()],
        ),
        Obstacle::Settling(until) => (
            "this node has just started and is meeting its peers".to_owned(),
            vec![format!("{} pass", left(*until))],
        ),
        Obstacle::With(_) | Obstacle::Apart(_) | Obstacle::Occupied(_) => {
            misplaced(obstacle, group)
        }
        Obstacle::Waiting(until) => (
            "an attempt has failed".to_owned(),
            vec![format!("{} pass, then this node tries again", left(*until))],
        ),
        Obstacle::Unreserved(_) => (
            "the next token is not saved on disk yet".to_owned(),
            vec!["the state directory can be written to".to_owned()],
        ),
        Obstacle::HeldBy(node) => held_by(&name(*node)),
        Obstacle::ClaimedBy(node) => (
            format!("{} wants it too and comes first", name(*node)),
            vec![format!("{} gives up its claim, or falls silent", name(*node))],
        ),
        Obstacle::Promised(promise) => (
            format!("this node has promised it to {}", name(promise.to.node)),
            vec![format!("the promise runs out, in {} at most", left(promise.until))],
        ),
        Obstacle::Rank(until) => (
            "a better placed node is given time to claim it first".to_owned(),
            vec![format!("{} pass", left(*until))],
        ),
        Obstacle::NoQuorum(missing) => no_quorum(*missing, name),
        Obstacle::Consent(node, until) => (
            format!("a quorum supports it; {} is alive and does not agree", name(*node)),
            vec![
                format!("{} agrees, for it no longer hears another holder", name(*node)),
                format!("{} pass; then the quorum alone decides", left(*until)),
            ],
        ),
        Obstacle::Unfenced(node) => unfenced(&name(*node)),
        other => forbidden(other, now),
    };
    Explanation { what, would_change }
}

/// Returns what the operator's word forbids on every node, and how that ends.
fn forbidden(obstacle: &Obstacle, now: Instant) -> (String, Vec<String>) {
    match obstacle {
        Obstacle::Disabled => (
            "the operator has disabled it on every node".to_owned(),
            vec!["the operator runs `lifesign enable` on any node".to_owned()],
        ),
        Obstacle::Maintenance(until) => (
            maintenance(*until, now),
            vec![
                "the operator runs `lifesign maintenance off` on any node".to_owned(),
                format!("{} pass", span(until.since(now).as_millis())),
            ],
        ),
        other => (format!("{other:?}"), Vec::new()),
    }
}

/// Returns the sentence on a maintenance that lasts until `until`.
#[must_use]
pub fn maintenance(until: Instant, now: Instant) -> String {
    let left = span(until.since(now).as_millis());
    format!("it is in maintenance for another {left}, and nothing moves")
}

/// Returns why something is not said to the whole cluster; `node` is where a group was to move.
#[must_use]
pub fn unsaid(unsaid: &Unsaid, node: &str, now: Instant) -> String {
    match unsaid {
        Unsaid::Leaving => "this node is leaving; say it on another".to_owned(),
        Unsaid::Settling(until) => format!(
            "this node has just started and may not know what was said last; wait {}, or say it on \
             another",
            span(until.since(now).as_millis())
        ),
        Unsaid::NotInOrder => format!("the settings do not name {node} for it"),
        Unsaid::NotAlive => {
            format!("{node} is not alive here, has just started or has other settings")
        }
        Unsaid::Standby => {
            format!("{node} is on standby; `lifesign takeover` there ends that")
        }
        Unsaid::Disabled => "it is disabled; `lifesign enable` comes first".to_owned(),
        Unsaid::Maintenance(until) => maintenance(*until, now),
        Unsaid::Exhausted => "too many words have been said in this cluster".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Returns the explanation for a node that clients cannot reach, as `what` says.
#[must_use]
pub fn cut_off(what: String) -> Explanation {
    let would_change = [
        "an IP link hears a peer or a witness again, or a ping is answered",
        "no peer is alive on a link without IP: then nobody else could serve",
    ];
    Explanation { what, would_change: would_change.map(str::to_owned).to_vec() }
}

/// Returns the explanation for a node whose watchdog cannot be armed, as `what` says.
#[must_use]
pub fn unguarded(what: String) -> Explanation {
    let would_change = [
        "the device can be opened; it is tried again every few seconds",
        "the settings have required = false in `[watchdog]`, or watchdog = false in the group",
    ];
    Explanation { what, would_change: would_change.map(str::to_owned).to_vec() }
}

/// Returns the explanation for a node that leaves `group` alone because of `penalty`, at `now`.
#[must_use]
pub fn penalised(penalty: &Penalty, group: &str, now: Instant) -> Explanation {
    let left = span(penalty.until.since(now).as_millis());
    let would_change = vec![
        format!("{left} pass, then this node tries again"),
        format!("the operator runs `lifesign takeover {group}` here, which forgets these failures"),
        "nobody else is alive who could take it; then this node tries once".to_owned(),
    ];
    Explanation { what: penalty.what.clone(), would_change }
}

/// Returns the explanation for a node that both keep from a group.
#[must_use]
pub fn both(one: Explanation, other: Explanation) -> Explanation {
    let what = format!("{}; and {}", one.what, other.what);
    let either = [one.would_change, other.would_change].concat();
    Explanation { what, would_change: either }
}

fn misplaced(obstacle: &Obstacle, name: &dyn Fn(GroupId) -> String) -> (String, Vec<String>) {
    match obstacle {
        Obstacle::With(leader) => (
            format!("it follows {}, which is not up here, or about to go", name(*leader)),
            vec![format!("`lifesign takeover {}` here brings both", name(*leader))],
        ),
        Obstacle::Apart(first) => (
            format!("{} is here or comes here, and comes first", name(*first)),
            vec![format!("{} goes elsewhere", name(*first))],
        ),
        Obstacle::Occupied(other) => (
            format!("{} is still up here and has to make way first", name(*other)),
            vec![format!("{} stops", name(*other))],
        ),
        other => (format!("{other:?}"), Vec::new()),
    }
}

fn held_by(holder: &str) -> (String, Vec<String>) {
    (
        format!("{holder} holds it and is alive"),
        vec![
            format!("{holder} falls silent on every link, or gives it up"),
            "the operator runs `lifesign takeover` here".to_owned(),
        ],
    )
}

fn unfenced(node: &str) -> (String, Vec<String>) {
    (
        format!("{node} could still be holding it"),
        vec![
            format!("{node} is fenced"),
            format!("{node} comes back and does not hold it"),
            format!(
                "it is certainly off, and the operator runs `lifesign fence confirm {node}` here"
            ),
        ],
    )
}

fn no_quorum(missing: NodeSet, name: &dyn Fn(NodeId) -> String) -> (String, Vec<String>) {
    let names: Vec<String> = missing.iter().map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let verb = if names.len() > 1 { "do" } else { "does" };
    (
        format!("it has no quorum: {} {verb} not support it", list(&names)),
        vec![format!("enough of {} answer and promise it to this node", list(&names))],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifesign_core::group::Token;
    use lifesign_core::node::BootId;
    use lifesign_core::promise::{Promise, Supported};

    const NAMES: Names<'static> = Names { member: &name, group: &group };

    fn group(group: GroupId) -> String {
        ["db", "web"].get(group.index()).map_or("test", |name| name).to_owned()
    }

    fn name(node: NodeId) -> String {
        ["alpha", "beta"].get(node.index()).map_or("quorum", |name| name).to_owned()
    }

    const NOW: Instant = Instant::from_micros(1_000_000);
    const LATER: Instant = Instant::from_micros(1_060_000);

    fn db() -> GroupId {
        GroupId::new(0).unwrap()
    }

    fn beta() -> NodeId {
        NodeId::new(1).unwrap()
    }

    #[test]
    fn every_obstacle_is_a_sentence_and_says_what_would_change_it() {
        let to = Supported { node: beta(), boot: BootId::new(7), token: Token(3) };
        let promise = Promise { to, renewed_by: 9, until: LATER };
        let voters = [beta(), NodeId::witness(0).unwrap()].into_iter().collect();
        for (given, expected) in [
            (Obstacle::NotInOrder, "the settings do not name this node for it"),
            (Obstacle::Leaving, "this node is leaving"),
            (Obstacle::Standby, "the operator wants this node free of it"),
            (Obstacle::Disabled, "the operator has disabled it on every node"),
            (
                Obstacle::Maintenance(LATER),
                "it is in maintenance for another 60 ms, and nothing moves",
            ),
            (Obstacle::Settling(LATER), "this node has just started and is meeting its peers"),
            (Obstacle::Waiting(LATER), "an attempt has failed"),
            (Obstacle::Unreserved(Token(1)), "the next token is not saved on disk yet"),
            (Obstacle::HeldBy(beta()), "beta holds it and is alive"),
            (Obstacle::ClaimedBy(beta()), "beta wants it too and comes first"),
            (Obstacle::Promised(promise), "this node has promised it to beta"),
            (Obstacle::Rank(LATER), "a better placed node is given time to claim it first"),
            (Obstacle::NoQuorum(voters), "it has no quorum: beta and quorum do not support it"),
            (
                Obstacle::Consent(beta(), LATER),
                "a quorum supports it; beta is alive and does not agree",
            ),
            (Obstacle::Unfenced(beta()), "beta could still be holding it"),
            (Obstacle::With(db()), "it follows db, which is not up here, or about to go"),
            (Obstacle::Apart(db()), "db is here or comes here, and comes first"),
            (Obstacle::Occupied(db()), "db is still up here and has to make way first"),
        ] {
            let said = obstacle(&given, NAMES, NOW);
            assert_eq!(said.what, expected);
            assert!(!said.would_change.is_empty(), "{given:?}");
        }
        let said = obstacle(&Obstacle::Promised(promise), NAMES, NOW);
        assert_eq!(said.would_change, ["the promise runs out, in 60 ms at most"]);
    }

    #[test]
    fn a_penalty_says_how_long_it_lasts_and_how_to_end_it() {
        let penalty = Penalty { what: "it has failed here once".to_owned(), until: LATER };
        let explained = penalised(&penalty, "www", NOW);
        let left = span(LATER.since(NOW).as_millis());
        assert_eq!(explained.would_change[0], format!("{left} pass, then this node tries again"));
        assert!(explained.would_change[1].contains("`lifesign takeover www` here"));
        let both = both(explained, cut_off("this node's IP side is down".to_owned()));
        assert_eq!(both.what, "it has failed here once; and this node's IP side is down");
        assert_eq!(both.would_change.len(), 5);
    }

    #[test]
    fn every_reason_is_a_sentence() {
        for given in [
            Reason::Start,
            Reason::Unheld,
            Reason::HolderLost(beta()),
            Reason::Released(beta()),
            Reason::Asked,
            Reason::Granted,
            Reason::Disputed(beta()),
            Reason::Started,
            Reason::StartFailed,
            Reason::AuthorityLost,
            Reason::HandedTo(beta()),
            Reason::Leaving,
            Reason::Stopped,
            Reason::StopFailed,
            Reason::BetterClaim(beta()),
            Reason::HeldBy(beta()),
            Reason::Unanswered,
            Reason::Standby,
            Reason::Failback(beta()),
            Reason::NoTaker,
            Reason::With(db()),
            Reason::Apart(db()),
            Reason::Occupied(db()),
            Reason::Disabled,
            Reason::Maintenance,
        ] {
            let said = reason(given, NAMES);
            assert!(said.contains(' ') && !said.ends_with('.'), "{given:?}: {said}");
            let is_about_beta = format!("{given:?}").contains("NodeId");
            assert_eq!(said.contains("beta"), is_about_beta, "{given:?}: {said}");
            let is_about_db = format!("{given:?}").contains("GroupId");
            assert_eq!(said.contains("db"), is_about_db, "{given:?}: {said}");
        }
    }
}
