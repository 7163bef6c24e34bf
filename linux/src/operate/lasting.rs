//! Saying something to the whole cluster, and waiting until all that is alive knows it and has done
//! it.

use std::path::Path;

use lifesign_core::time::Duration;

use super::{MISMATCH, Outcome, answer, await_outcome, demand_known, place, report};
use crate::clock;
use crate::control::{Command, Request, Response};
use crate::page::{list, span};
use crate::report::{GroupReport, GroupRole, PeerKind, PeerReport, PeerState, Report, WordReport};

/// What is said to the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Do nothing with a group, or with any, for so long.
    Maintain(Duration),
    /// The maintenance is over.
    Resume,
    /// Stop a group, and start it nowhere.
    Disable,
    /// It may be started again.
    Enable,
    /// Bring a group to this node.
    Move(String),
}

impl Lasting {
    fn request(&self, group: Option<&str>) -> Request {
        let group = group.map(str::to_owned);
        match self {
            Self::Maintain(span) => Request::new(Command::Maintain, group).lasting(*span),
            Self::Resume => Request::new(Command::Resume, group),
            Self::Disable => Request::new(Command::Disable, group),
            Self::Enable => Request::new(Command::Enable, group),
            Self::Move(node) => Request::new(Command::Move, group).to(node.clone()),
        }
    }
}

/// Says something to the cluster at the daemon at `control`, about `group` or all groups, and waits
/// until every living node knows it and it is done, for as long as the daemon says that may take.
///
/// # Errors
/// Says why it was not said, or that another word was said at the same time and counts instead.
pub fn say(control: &Path, group: Option<&str>, what: &Lasting) -> Result<Outcome, String> {
    demand_known(&report(control)?, group)?;
    let start = clock::now();
    let (name, wait) = answer(control, &what.request(group), |response| match response {
        Response::Said { word, wait_ms } => Some((word, Duration::from_millis(wait_ms))),
        _ => None,
    })?;
    let until = start + wait;
    await_outcome(control, until, |report, now| {
        let Some(word) = &report.word else { return Err(MISMATCH.to_owned()) };
        if word.name != name && !stands(what, group, report, word) {
            return Err(format!(
                "another word was said at the same time on {}, and counts instead; see `lifesign \
                 status`, and say it again if you mean it",
                word.by
            ));
        }
        let is_known = word.saved && word.unheard_by.is_empty();
        let is_over = is_known && is_done(what, group, report) || now.has_reached(until);
        Ok(is_over.then(|| outcome(what, group, report, word, now.since(start))))
    })
}

fn chosen<'a>(report: &'a Report, group: Option<&str>) -> Option<&'a GroupReport> {
    report.groups.iter().find(|known| Some(known.name.as_str()) == group)
}

/// Returns whether what was said stands, though perhaps as a part of a later word.
fn stands(what: &Lasting, group: Option<&str>, report: &Report, word: &WordReport) -> bool {
    let names = report.groups.iter().map(|known| &known.name);
    let mut meant = names.filter(|name| group.is_none_or(|group| group == name.as_str()));
    match what {
        Lasting::Maintain(_) => meant.all(|name| word.maintenance.contains(name)),
        Lasting::Resume => !meant.any(|name| word.maintenance.contains(name)),
        Lasting::Disable => meant.all(|name| word.disabled.contains(name)),
        Lasting::Enable => !meant.any(|name| word.disabled.contains(name)),
        // Where the group is tells better than who has spoken since.
        Lasting::Move(_) => true,
    }
}

/// Returns whether what was said is done, as far as more is to be done than to know it.
fn is_done(what: &Lasting, group: Option<&str>, report: &Report) -> bool {
    let Some(group) = chosen(report, group) else { return true };
    match what {
        Lasting::Maintain(_) | Lasting::Resume => true,
        Lasting::Disable => group.holder.is_none() && !group.role.is_up(),
        Lasting::Enable => group.holder.is_some(),
        Lasting::Move(node) => {
            let is_up = *node != report.node || group.role == GroupRole::Holding;
            group.holder.as_ref() == Some(node) && is_up
        }
    }
}

fn outcome(
    what: &Lasting,
    group: Option<&str>,
    report: &Report,
    word: &WordReport,
    took: Duration,
) -> Outcome {
    let is_done = is_done(what, group, report);
    let mut text = match (what, chosen(report, group)) {
        (Lasting::Maintain(_) | Lasting::Resume, _) | (_, None) => maintenance_text(word),
        (_, Some(group)) => group_text(what, group, report, &span(took.as_millis())),
    };
    for sentence in missing(report, word) {
        text.push('\n');
        text.push_str(&sentence);
    }
    let is_known = word.saved && word.unheard_by.is_empty();
    // Whether a group that may start can start is another question.
    Outcome { has_moved: is_known && (is_done || *what == Lasting::Enable), text }
}

fn maintenance_text(word: &WordReport) -> String {
    match word.maintenance_left_ms {
        Some(left) => format!(
            "maintenance of {} for {}: nothing of it moves, is started or restarted; a holder that \
             loses its authority stops all the same; `lifesign maintenance off` ends it",
            listed(&word.maintenance),
            span(left)
        ),
        None => "nothing is in maintenance".to_owned(),
    }
}

fn group_text(what: &Lasting, group: &GroupReport, report: &Report, took: &str) -> String {
    let (name, place) = (&group.name, place(group));
    let why = group.obstacle.as_ref().unwrap_or(&group.reason);
    match (what, is_done(what, Some(name), report)) {
        (Lasting::Disable, true) => format!("{name} is disabled: stopped everywhere, after {took}"),
        (Lasting::Disable, false) => format!("{name} is disabled, and still {place} after {took}"),
        (Lasting::Enable, true) => format!("{name} is enabled, and {place}, after {took}"),
        (Lasting::Enable, false) => format!("{name} is enabled, and {place} after {took}: {why}"),
        (_, true) => format!("{name} is {place}, after {took}"),
        (Lasting::Move(node), false) if *node != report.node => format!(
            "{name} is still {place} after {took}; run `lifesign why {name}` on {node}, which \
             knows what is in its way"
        ),
        (_, false) => format!("{name} is still {place} after {took}: {why}"),
    }
}

/// Returns who does not know the word, and what follows from that.
fn missing(report: &Report, word: &WordReport) -> Vec<String> {
    let mut said = Vec::new();
    if !word.saved {
        said.push(format!("{} has not saved it yet", report.node));
    }
    if !word.unheard_by.is_empty() {
        said.push(format!("{} did not hear of it in time", listed(&word.unheard_by)));
    }
    let is_away = |peer: &&PeerReport| {
        let is_deaf = peer.state != PeerState::Alive || peer.settings_agree == Some(false);
        peer.kind == PeerKind::Node && is_deaf
    };
    let away: Vec<String> =
        report.peers.iter().filter(is_away).map(|peer| peer.name.clone()).collect();
    if !away.is_empty() {
        let verb = if away.len() == 1 { "is" } else { "are" };
        said.push(format!(
            "{} {verb} not here to hear it, and will learn it from the others",
            listed(&away)
        ));
    }
    said
}

fn listed(names: &[String]) -> String {
    list(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::served;
    use super::*;
    use crate::report::tests::{good, held};

    fn word(name: &str) -> WordReport {
        WordReport {
            name: name.to_owned(),
            by: "alpha".to_owned(),
            saved: true,
            unheard_by: Vec::new(),
            disabled: Vec::new(),
            maintenance: Vec::new(),
            maintenance_left_ms: None,
        }
    }

    fn with(word: WordReport) -> Report {
        Report { word: Some(word), ..good() }
    }

    fn down(word: WordReport) -> Report {
        let mut report = with(word);
        report.groups = vec![held("www", "beta", GroupRole::Idle)];
        report.groups[0].holder = None;
        report
    }

    fn said(reports: Vec<Report>, wait_ms: u64, what: &Lasting) -> Result<Outcome, String> {
        let response = Response::Said { word: "7 of alpha".to_owned(), wait_ms };
        served(reports, response, |path| say(path, Some("www"), what))
    }

    #[test]
    fn a_word_is_said_when_every_living_node_knows_it_and_it_is_done() {
        let disabled = WordReport { disabled: vec!["www".to_owned()], ..word("7 of alpha") };
        let late =
            WordReport { unheard_by: vec!["beta".to_owned()], saved: false, ..disabled.clone() };
        let reports = vec![good(), with(late), with(disabled.clone()), down(disabled)];
        let outcome = said(reports, 60_000, &Lasting::Disable).unwrap();
        assert!(outcome.has_moved);
        let expected = "www is disabled: stopped everywhere, after ";
        assert!(outcome.text.starts_with(expected), "{}", outcome.text);
    }

    #[test]
    fn the_loser_of_two_words_is_told() {
        let other = WordReport { by: "beta".to_owned(), ..word("7 of beta") };
        let error = said(vec![good(), with(other)], 60_000, &Lasting::Disable).unwrap_err();
        assert!(error.starts_with("another word was said at the same time on beta"), "{error}");
        let later = WordReport { disabled: vec!["www".to_owned()], ..word("8 of beta") };
        let outcome = said(vec![good(), down(later)], 60_000, &Lasting::Disable).unwrap();
        assert!(outcome.has_moved, "a later word has it in it: {}", outcome.text);
    }

    #[test]
    fn who_has_not_heard_is_named() {
        let unheard = WordReport {
            unheard_by: vec!["beta".to_owned()],
            maintenance: vec!["www".to_owned()],
            maintenance_left_ms: Some(7_200_000),
            ..word("7 of alpha")
        };
        let hours = Lasting::Maintain(Duration::from_millis(7_200_000));
        let outcome = said(vec![good(), with(unheard)], 30, &hours).unwrap();
        assert!(!outcome.has_moved);
        assert!(outcome.text.starts_with("maintenance of www for 2 h 00 min"), "{}", outcome.text);
        assert!(outcome.text.ends_with("beta did not hear of it in time"), "{}", outcome.text);
    }

    #[test]
    fn a_move_that_did_not_happen_says_where_to_ask() {
        let reports = vec![good(), with(word("7 of alpha"))];
        let outcome = said(reports, 30, &Lasting::Move("beta".to_owned())).unwrap();
        assert!(!outcome.has_moved);
        assert!(outcome.text.contains("run `lifesign why www` on beta"), "{}", outcome.text);
    }
}
