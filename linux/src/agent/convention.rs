//! What the exit codes and the output of a service's commands mean.
//!
//! | asked whether it runs | runs | changes | does not run | anything else |
//! |---|---|---|---|---|
//! | plain command | 0 | | | failed |
//! | OCF | 0, 190 | | 7 | failed |
//! | systemd | 0 | 3 with `activating`, `deactivating` | 3 with `inactive`, `failed` | failed |
//! | LSB | 0 | | 3 | failed |
//! | Linux-HA | text with `running` or `OK` | | text with `not running`, or none of these | |
//!
//! A unit that is on its way is well for as long as its start may take, and no longer. A change is
//! good with exit status 0. A script of Linux-HA may end a stop with any status, since
//! its text decides whether it has stopped.

use lifesign_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

use super::{Action, ocf};
use crate::executor::message::Outcome;

/// How the exit codes and the output of a service's commands are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Convention {
    /// Exit status 0 is good and any other is bad.
    #[default]
    Command,
    /// As the Open Cluster Framework says.
    Ocf,
    /// As `systemctl` answers.
    Systemd,
    /// As the Linux Standard Base says of init scripts.
    Lsb,
    /// As Linux-HA reads its resource scripts.
    Heartbeat,
}

impl Convention {
    /// Returns whether a service is asked before it is started, and left alone if it runs.
    #[must_use]
    pub const fn is_asked_first(self) -> bool {
        matches!(self, Self::Lsb | Self::Heartbeat)
    }

    /// Returns whether a service is asked after it was stopped, and must not run then.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        !matches!(self, Self::Command)
    }

    /// Returns whether `action` is the first of those that make up a change.
    #[must_use]
    pub const fn begins_with(self, action: Action) -> bool {
        match action {
            Action::Look | Action::Stop => true,
            Action::Start => !self.is_asked_first(),
            Action::Verify | Action::Monitor => false,
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is as it should be: a change has succeeded, the service is well, runs already
    /// before its start, or does not run after its stop.
    pub is_good: bool,
    /// Why it is not; of a service that is well, what else there is to say, mostly nothing.
    pub said: String,
    /// Whether the service is on its way from one state to the other, which is good for a while.
    pub is_changing: bool,
}

impl Judgement {
    fn new(is_good: bool, said: String) -> Self {
        Self { is_good, said, is_changing: false }
    }
}

/// How long a service has been on its way, by its regular answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// Returns `judgement` of a regular answer, or a bad one if the service has been on its way for
    /// `limit`: one that dies again and again as it starts is not well.
    #[must_use]
    pub fn judge(&mut self, judgement: Judgement, limit: Duration, now: Instant) -> Judgement {
        if !judgement.is_changing {
            self.since = None;
            return judgement;
        }
        if now.since(*self.since.get_or_insert(now)) < limit {
            return judgement;
        }
        self.since = None;
        Judgement::new(false, format!("still {} after {limit}", judgement.said))
    }
}

/// How a service is, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// It runs, and not as well as it should.
    Degraded,
    /// It is on its way from one to the other.
    Changing,
    Down,
    Failed,
}

/// Judges what came of `action`.
#[must_use]
pub fn judge(convention: Convention, action: Action, outcome: &Outcome, output: &str) -> Judgement {
    let Outcome::Exited(code) = *outcome else {
        return Judgement::new(false, outcome.to_string());
    };
    if action.is_change() {
        return changed(convention, action, code);
    }
    let (state, said) = state(convention, code, output);
    match action {
        Action::Verify => match state {
            State::Down => Judgement::new(true, String::new()),
            State::Running => Judgement::new(false, format!("still {said}")),
            State::Degraded | State::Changing | State::Failed => Judgement::new(false, said),
        },
        Action::Look => Judgement::new(matches!(state, State::Running | State::Degraded), said),
        Action::Monitor | Action::Start | Action::Stop => match state {
            State::Running => Judgement::new(true, String::new()),
            State::Degraded => Judgement::new(true, said),
            State::Changing => Judgement { is_good: true, said, is_changing: true },
            State::Down | State::Failed => Judgement::new(false, said),
        },
    }
}

fn changed(convention: Convention, action: Action, code: i32) -> Judgement {
    let is_told_by_status = convention == Convention::Heartbeat && action == Action::Stop;
    if code == 0 || is_told_by_status {
        return Judgement::new(true, String::new());
    }
    let said = if convention == Convention::Ocf {
        ocf::name(code)
    } else {
        Outcome::Exited(code).to_string()
    };
    Judgement::new(false, said)
}

fn state(convention: Convention, code: i32, output: &str) -> (State, String) {
    match convention {
        Convention::Command => {
            let state = if code == 0 { State::Running } else { State::Failed };
            (state, Outcome::Exited(code).to_string())
        }
        Convention::Ocf => {
            let state = match code {
                ocf::SUCCESS => State::Running,
                ocf::DEGRADED => State::Degraded,
                ocf::NOT_RUNNING => State::Down,
                _ => State::Failed,
            };
            (state, ocf::name(code))
        }
        Convention::Systemd => systemd(code, output),
        Convention::Lsb => lsb(code),
        Convention::Heartbeat => heartbeat(output),
    }
}

fn systemd(code: i32, output: &str) -> (State, String) {
    let word = output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let state = match (code, word) {
        (0, _) => State::Running,
        (3, "activating" | "deactivating" | "reloading" | "refreshing") => State::Changing,
        (3, "inactive" | "failed") => State::Down,
        _ => State::Failed,
    };
    let said = match (state, code, word) {
        (State::Running, ..) => "running (0)".to_owned(),
        (_, 4, _) => "no such unit (4)".to_owned(),
        (_, _, "") => format!("exit status {code}"),
        (_, 3, word) => word.to_owned(),
        (_, code, word) => format!("{word} ({code})"),
    };
    (state, said)
}

fn lsb(code: i32) -> (State, String) {
    let (state, name) = match code {
        0 => (State::Running, "running"),
        1 => (State::Failed, "dead, with its file of the process id left"),
        2 => (State::Failed, "dead, with its lock file left"),
        3 => (State::Down, "not running"),
        4 => (State::Failed, "in an unknown state"),
        _ => return (State::Failed, Outcome::Exited(code).to_string()),
    };
    (state, format!("{name} ({code})"))
}

fn heartbeat(output: &str) -> (State, String) {
    let lower = output.to_ascii_lowercase();
    if lower.contains("not running") {
        (State::Down, "not running".to_owned())
    } else if lower.contains("running") || output.contains("OK") {
        (State::Running, "running".to_owned())
    } else {
        (State::Down, "not running, for its status says neither \"running\" nor \"OK\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTIONS: [Action; 3] = [Action::Look, Action::Monitor, Action::Verify];

    /// Returns whether each question is answered well.
    fn answers(convention: Convention, code: i32, output: &str) -> [bool; 3] {
        QUESTIONS.map(|action| judge(convention, action, &Outcome::Exited(code), output).is_good)
    }

    const RUNNING: [bool; 3] = [true, true, false];
    const CHANGING: [bool; 3] = [false, true, false];
    const DOWN: [bool; 3] = [false, false, true];
    const FAILED: [bool; 3] = [false, false, false];

    #[test]
    fn every_ocf_code_is_read_as_the_standard_says() {
        for code in 0..=255 {
            let expected = match code {
                0 | 190 => RUNNING,
                7 => DOWN,
                _ => FAILED,
            };
            assert_eq!(answers(Convention::Ocf, code, ""), expected, "{code}");
        }
    }

    #[test]
    fn every_code_of_an_init_script_is_read_as_the_standard_says() {
        for code in 0..=255 {
            let expected = match code {
                0 => RUNNING,
                3 => DOWN,
                _ => FAILED,
            };
            assert_eq!(answers(Convention::Lsb, code, "running OK"), expected, "{code}");
        }
    }

    #[test]
    fn units_on_their_way_are_no_failure_and_not_stopped() {
        for (code, word, expected) in [
            (0, "active\n", RUNNING),
            (0, "reloading\n", RUNNING),
            (3, "activating\n", CHANGING),
            (3, "deactivating\n", CHANGING),
            (3, "inactive\n", DOWN),
            (3, "failed\n", DOWN),
            (3, "maintenance\n", FAILED),
            (3, "", FAILED),
            (4, "inactive\n", FAILED),
            (1, "Failed to connect to bus: No such file or directory\n", FAILED),
            (127, "", FAILED),
        ] {
            assert_eq!(answers(Convention::Systemd, code, word), expected, "{code} {word}");
        }
    }

    #[test]
    fn the_text_of_a_script_of_linux_ha_decides_and_its_exit_code_does_not() {
        for (text, expected) in [
            ("running", RUNNING),
            ("nginx is Running as 7", RUNNING),
            ("OK", RUNNING),
            ("broken", DOWN),
            ("not running", DOWN),
            ("NOT RUNNING", DOWN),
            ("Not running, last OK", DOWN),
            ("stopped", DOWN),
            ("", DOWN),
        ] {
            for code in [0, 1, 3, 7, 255] {
                assert_eq!(answers(Convention::Heartbeat, code, text), expected, "{text} {code}");
            }
        }
    }

    #[test]
    fn a_change_is_good_with_status_0() {
        for convention in [
            Convention::Command,
            Convention::Ocf,
            Convention::Systemd,
            Convention::Lsb,
            Convention::Heartbeat,
        ] {
            for action in [Action::Start, Action::Stop] {
                assert!(judge(convention, action, &Outcome::Exited(0), "").is_good);
                let is_told_by_status =
                    convention == Convention::Heartbeat && action == Action::Stop;
                let judgement = judge(convention, action, &Outcome::Exited(1), "running");
                assert_eq!(judgement.is_good, is_told_by_status, "{convention:?} {action:?}");
            }
        }
    }

    #[test]
    fn what_did_not_end_by_itself_is_never_good() {
        for outcome in [
            Outcome::TimedOut,
            Outcome::Cancelled,
            Outcome::Signalled(9),
            Outcome::Unkillable,
            Outcome::NotStarted("no such file".to_owned()),
        ] {
            for action in [Action::Start, Action::Stop].into_iter().chain(QUESTIONS) {
                for convention in [Convention::Command, Convention::Ocf, Convention::Heartbeat] {
                    let judgement = judge(convention, action, &outcome, "not running");
                    assert!(!judgement.is_good, "{convention:?} {action:?} {outcome}");
                    assert_eq!(judgement.said, outcome.to_string());
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let said = |convention, action, code, output: &str| {
            judge(convention, action, &Outcome::Exited(code), output).said
        };
        use Action::{Monitor, Start, Verify};
        assert_eq!(said(Convention::Ocf, Monitor, 7, ""), "not running (7)");
        assert_eq!(said(Convention::Ocf, Monitor, 190, ""), "degraded (190)");
        assert_eq!(said(Convention::Ocf, Start, 5, ""), "not installed (5)");
        assert_eq!(said(Convention::Ocf, Verify, 0, ""), "still running (0)");
        assert_eq!(said(Convention::Ocf, Monitor, 8, ""), "promoted, which nobody asked for (8)");
        assert_eq!(said(Convention::Systemd, Monitor, 3, "failed\n"), "failed");
        assert_eq!(said(Convention::Systemd, Monitor, 4, "inactive\n"), "no such unit (4)");
        assert_eq!(said(Convention::Heartbeat, Verify, 0, "running"), "still running");
        assert_eq!(said(Convention::Command, Monitor, 3, ""), "exit status 3");
        assert_eq!(said(Convention::Ocf, Monitor, 0, ""), "");
    }

    #[test]
    fn a_service_that_never_arrives_is_not_well() {
        let at = |ms: u64| Instant::from_micros(1_000_000 + ms * 1000);
        let limit = Duration::from_millis(100);
        let answer = |word: &str| {
            let code = if word == "active" { 0 } else { 3 };
            judge(Convention::Systemd, Action::Monitor, &Outcome::Exited(code), word)
        };
        let mut patience = Patience::default();
        for (word, ms, is_good) in [
            ("activating", 0, true),
            ("activating", 99, true),
            ("active", 100, true),
            ("activating", 150, true),
            ("activating", 249, true),
            ("activating", 250, false),
            ("activating", 251, true),
        ] {
            let judgement = patience.judge(answer(word), limit, at(ms));
            assert_eq!(judgement.is_good, is_good, "{word} at {ms}");
            let expected = if is_good { word } else { "still activating after 100 ms" };
            assert!(judgement.said == expected || word == "active", "{judgement:?}");
        }
    }
}
