//! Asking a running daemon, and waiting until groups have moved.

mod lasting;

pub use lasting::{Lasting, say};

use std::path::Path;

use lifesign_core::time::{Duration, Instant};

use crate::clock;
use crate::control::client::ask;
use crate::control::{Command, Picture, Request, Response};
use crate::page::{span, unknown};
use crate::report::{GroupReport, GroupRole, Report};

/// How long an answer is waited for.
pub(crate) const LIMIT: Duration = Duration::from_millis(5000);
/// How often the daemon is asked whether groups have moved.
const EACH: Duration = Duration::from_millis(10);

/// Where groups shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// To this node.
    Here,
    /// To any other node.
    Away,
}

/// What became of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether every group in question is where it shall be.
    pub has_moved: bool,
    /// Where the groups are, and how long it took: one line each.
    pub text: String,
}

/// Returns the report of whatever answers at `control`.
///
/// # Errors
/// Says why there is none.
pub fn status(control: &Path) -> Result<Picture, String> {
    answer(control, &Request::new(Command::Status, None), |response| match response {
        Response::Report { report } => Some(Picture::Report(report)),
        Response::Witness { report } => Some(Picture::Witness(report)),
        _ => None,
    })
}

/// Asks whatever answers at `control`, and returns what `understood` makes of the answer.
///
/// # Errors
/// Says why there is none, why it refuses, or that it has answered something else.
fn answer<T>(
    control: &Path,
    request: &Request,
    understood: impl FnOnce(Response) -> Option<T>,
) -> Result<T, String> {
    match ask(control, request, LIMIT).map_err(|error| error.to_string())? {
        Response::Refused { reason } => Err(reason),
        response => understood(response).ok_or_else(|| MISMATCH.to_owned()),
    }
}

/// What is said of an answer to another question.
pub(crate) const MISMATCH: &str = "the daemon has answered something else";

/// Returns the report of the daemon at `control`.
///
/// # Errors
/// Says why there is none.
pub fn report(control: &Path) -> Result<Report, String> {
    match status(control)? {
        Picture::Report(report) => Ok(*report),
        Picture::Witness(_) => {
            Err(format!("{} is a quorum server, which holds nothing", control.display()))
        }
    }
}

/// Asks the daemon at `control` to move `group`, or all groups, and waits for the outcome for as
/// long as the daemon says it may take.
///
/// # Errors
/// Says why nothing was tried, or why the outcome is not known.
pub fn relocate(control: &Path, group: Option<&str>, to: Move) -> Result<Outcome, String> {
    let before = report(control)?;
    demand_known(&before, group)?;
    let command = match to {
        Move::Here => Command::Takeover,
        Move::Away => Command::Standby,
    };
    let start = clock::now();
    let request = Request::new(command, group.map(str::to_owned));
    let until = start + answer(control, &request, accepted)?;
    await_outcome(control, until, |report, now| {
        let has_moved = chosen(report, group).all(|group| has_moved(&before, report, group, to));
        let is_over = has_moved || now.has_reached(until);
        Ok(is_over.then(|| outcome(&before, report, group, to, now.since(start))))
    })
}

/// Returns how long a move that will be tried may take.
fn accepted(response: Response) -> Option<Duration> {
    match response {
        Response::Accepted { wait_ms } => Some(Duration::from_millis(wait_ms)),
        _ => None,
    }
}

/// Asks the daemon at `control` how things are until `judged` has an outcome, at least once more
/// when `until` is reached.
fn await_outcome(
    control: &Path,
    until: Instant,
    mut judged: impl FnMut(&Report, Instant) -> Result<Option<Outcome>, String>,
) -> Result<Outcome, String> {
    loop {
        let report = report(control)?;
        let now = clock::now();
        if let Some(outcome) = judged(&report, now)? {
            return Ok(outcome);
        }
        let span = EACH.min(until.since(now));
        std::thread::sleep(std::time::Duration::from_micros(span.as_micros()));
    }
}

/// Tells the daemon at `control` a person's word that `node` is off in its start `boot`.
///
/// # Errors
/// Says why that changes nothing.
pub fn confirm(control: &Path, node: &str, boot: &str) -> Result<(), String> {
    answer(control, &Request::confirm(node, boot), accepted).map(|_| ())
}

/// Refuses a group that is not there.
fn demand_known(report: &Report, group: Option<&str>) -> Result<(), String> {
    let known = report.groups.iter().map(|group| group.name.as_str());
    match group {
        Some(name) if !known.clone().any(|known| known == name) => {
            Err(unknown("group", name, known))
        }
        _ => Ok(()),
    }
}

fn chosen<'a>(report: &'a Report, group: Option<&'a str>) -> impl Iterator<Item = &'a GroupReport> {
    report.groups.iter().filter(move |known| group.is_none_or(|group| known.name == group))
}

/// Returns whether a group is where it shall be. What this node may not hold need not come here,
/// and what it did not hold need not go.
fn has_moved(before: &Report, report: &Report, group: &GroupReport, to: Move) -> bool {
    let is_here = group.holder.as_ref() == Some(&report.node);
    let was_elsewhere =
        before.groups.iter().any(|known| known.name == group.name && !known.role.is_up());
    match to {
        Move::Here => {
            is_here && group.role == GroupRole::Holding || !group.nodes.contains(&report.node)
        }
        Move::Away => !is_here && !group.role.is_up() && (group.holder.is_some() || was_elsewhere),
    }
}

fn place(group: &GroupReport) -> String {
    format!("held by {}", group.holder.as_deref().unwrap_or("nobody"))
}

fn outcome(
    before: &Report,
    report: &Report,
    group: Option<&str>,
    to: Move,
    took: Duration,
) -> Outcome {
    let mut lines = Vec::new();
    let mut all = true;
    for group in chosen(report, group) {
        let has_moved = has_moved(before, report, group, to);
        all &= has_moved;
        let (name, place) = (&group.name, place(group));
        let took = span(took.as_millis());
        lines.push(match (has_moved, &group.obstacle) {
            (true, _) => format!("{name} is {place}, after {took}"),
            (false, obstacle) => {
                let still = if group.holder.is_some() { "still " } else { "" };
                let why = obstacle.as_ref().unwrap_or(&group.reason);
                format!("{name} is {still}{place} after {took}: {why}")
            }
        });
    }
    if lines.is_empty() {
        lines.push("there is no group to move".to_owned());
    }
    Outcome { has_moved: all, text: lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::server::Control;
    use crate::report::tests::{good, held};
    use crate::settings::tests::Folder;

    fn operated(
        reports: Vec<Report>,
        response: Response,
        group: Option<&str>,
        to: Move,
    ) -> Result<Outcome, String> {
        served(reports, response, |path| relocate(path, group, to))
    }

    /// Serves `reports` to who `asks`, one for each `status`, the last again and again; answers
    /// everything else with `response`.
    pub(super) fn served(
        mut reports: Vec<Report>,
        response: Response,
        asks: impl FnOnce(&Path) -> Result<Outcome, String> + Send,
    ) -> Result<Outcome, String> {
        let folder = Folder::new("operate");
        let path = folder.path.join("control");
        let mut control = Control::bind(&path).unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| asks(&path));
            while !client.is_finished() {
                control.handle_ready(clock::now());
                while let Some((id, request)) = control.poll_request() {
                    let answer = match request.command {
                        Command::Status => {
                            let report = Box::new(reports[0].clone());
                            if reports.len() > 1 {
                                reports.remove(0);
                            }
                            Response::Report { report }
                        }
                        _ => response.clone(),
                    };
                    control.answer(id, &answer, clock::now());
                }
                std::thread::yield_now();
            }
            client.join().unwrap()
        })
    }

    /// Returns the text without the time it took.
    fn untimed(outcome: &Outcome) -> String {
        let words = outcome.text.split(' ');
        words
            .filter(|word| !word.ends_with("ms") && word.parse::<f64>().is_err())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn patient() -> Response {
        Response::Accepted { wait_ms: 60_000 }
    }

    #[test]
    fn a_move_is_waited_for() {
        let mut between = good();
        between.groups = vec![held("www", "beta", GroupRole::Stopping)];
        let mut after = good();
        after.groups = vec![held("www", "beta", GroupRole::Idle)];
        let reports = vec![good(), good(), between, after];
        let outcome = operated(reports, patient(), Some("www"), Move::Away).unwrap();
        assert!(outcome.has_moved);
        assert!(untimed(&outcome).starts_with("www is held by beta, after"), "{}", outcome.text);
    }

    #[test]
    fn a_move_that_does_not_happen_is_told_with_its_obstacle() {
        let mut report = good();
        report.groups = vec![held("www", "beta", GroupRole::Claiming)];
        report.groups[0].obstacle = Some("it has no quorum".to_owned());
        let answer = Response::Accepted { wait_ms: 30 };
        let outcome = operated(vec![report], answer, None, Move::Here).unwrap();
        assert!(!outcome.has_moved);
        assert!(outcome.text.starts_with("www is still held by beta after "), "{}", outcome.text);
        assert!(outcome.text.ends_with(": it has no quorum"), "{}", outcome.text);
    }

    #[test]
    fn what_this_node_may_not_hold_is_not_waited_for() {
        let mut report = good();
        report.groups.push(held("mail", "beta", GroupRole::Idle));
        report.groups[1].nodes = vec!["beta".to_owned()];
        let outcome = operated(vec![report], patient(), None, Move::Here).unwrap();
        assert!(outcome.has_moved);
        assert_eq!(outcome.text.lines().count(), 2);
    }

    #[test]
    fn what_nobody_has_taken_has_not_moved() {
        let mut dropped = good();
        dropped.groups[0].holder = None;
        dropped.groups[0].role = GroupRole::Idle;
        let answer = Response::Accepted { wait_ms: 30 };
        let outcome = operated(vec![good(), dropped.clone()], answer, None, Move::Away).unwrap();
        assert!(!outcome.has_moved, "{}", outcome.text);
        assert!(outcome.text.starts_with("www is held by nobody after "), "{}", outcome.text);
        let outcome = operated(vec![dropped], patient(), None, Move::Away).unwrap();
        assert!(outcome.has_moved, "it was not here to begin with: {}", outcome.text);
    }

    #[test]
    fn a_refusal_and_an_unknown_group_are_told_at_once() {
        let refused = Response::refused("this node has just started");
        let error = operated(vec![good()], refused, None, Move::Here).unwrap_err();
        assert_eq!(error, "this node has just started");
        let error = operated(vec![good()], patient(), Some("mail"), Move::Away).unwrap_err();
        assert_eq!(error, "there is no group \"mail\"; known are www");
    }
}
