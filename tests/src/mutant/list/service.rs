//! Rules about services: what is believed of a start and a stop, and how often either is tried.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "stop-not-asked-about",
        "An agent is asked after its stop whether anything runs.",
        &[Change {
            file: "linux/src/daemon/conduct.rs",
            find: "if at == service && is_good && self.convention(at).is_verified() =>",
            replace: "if at == service && is_good && false =>",
        }],
    )
    .quick(),
    caught(
        "stop-that-lies-believed",
        "What says after its stop that it runs has not stopped.",
        &[Change {
            file: "linux/src/agent/convention.rs",
            find: "State::Running => Judgement::new(false, format!(\"still {said}\")),",
            replace: "State::Running => Judgement::new(true, format!(\"still {said}\")),",
        }],
    ),
    caught(
        "stop-unclear-believed",
        "What does not say after its stop that nothing runs has not stopped.",
        &[Change {
            file: "linux/src/agent/convention.rs",
            find: "State::Degraded | State::Changing | State::Failed => Judgement::new(false, said),",
            replace: "State::Degraded | State::Changing | State::Failed => Judgement::new(true, said),",
        }],
    ),
    caught(
        "stop-failed-forgotten",
        "A group with a service that has not stopped is never called stopped.",
        &[Change {
            file: "linux/src/daemon/conduct.rs",
            find: "self.is_failing |= !is_good;",
            replace: "self.is_failing |= false;",
        }],
    ),
    caught(
        "restarted-beside-itself",
        "A service that has not stopped is not started again in place.",
        &[Change {
            file: "linux/src/daemon/conduct.rs",
            find: "        let first = self.restarted?;\n        if !is_good {",
            replace: "        let first = self.restarted?;\n        if false {",
        }],
    ),
    caught(
        "script-started-without-a-look",
        "A script is asked before its start whether it runs already.",
        &[Change {
            file: "linux/src/daemon/conduct.rs",
            find: "if is_asked_first { Action::Look } else { Action::Start }",
            replace: "if is_asked_first && false { Action::Look } else { Action::Start }",
        }],
    ),
    caught(
        "what-runs-started-again",
        "A script that runs already is left alone.",
        &[Change {
            file: "linux/src/daemon/conduct.rs",
            find: "(Progress::Starting(at), Action::Look) if at == service && !is_good =>",
            replace: "(Progress::Starting(at), Action::Look) if at == service =>",
        }],
    ),
    caught(
        "restarts-without-end",
        "A service is restarted in place as often as the settings allow, and no more.",
        &[Change {
            file: "linux/src/daemon/failures.rs",
            find: "Some(restarts) if restarts.at.len() < restarts.most => {",
            replace: "Some(restarts) if restarts.at.len() < usize::MAX => {",
        }],
    )
    .quick(),
    caught(
        "moves-not-shared",
        "The nodes share the moves that a group that fails everywhere may make.",
        &[Change {
            file: "linux/src/daemon/failures.rs",
            find: "share: (count(group.moves) / group.prefer.len().max(1)).max(1),",
            replace: "share: count(group.moves).max(1),",
        }],
    ),
    caught(
        "share-exceeded",
        "A node whose share of the moves is used up leaves the group alone.",
        &[Change {
            file: "linux/src/daemon/failures.rs",
            find: "let counted = self.failed.len().checked_sub(self.share)?;",
            replace: "let counted = self.failed.len().checked_sub(self.share + 1)?;",
        }],
    ),
    caught(
        "tried-alone-again-and-again",
        "A node that is alone tries what has failed too often once within the window.",
        &[Change {
            file: "linux/src/daemon/failures.rs",
            find: "self.tried_alone.is_none_or(|at| !self.counts(at, now));",
            replace: "true;",
        }],
    ),
    caught(
        "client-never-given-up",
        "A program that dies at once again and again is given up.",
        &[Change {
            file: "linux/src/daemon/clients.rs",
            find: "_ if self.quick > MOST_QUICK => State::GivenUp,",
            replace: "_ if self.quick == u32::MAX => State::GivenUp,",
        }],
    ),
    caught(
        "client-leaves-children",
        "What a program beside the daemon has started ends with it.",
        &[Change {
            file: "linux/src/executor/running.rs",
            find: "if self.stays || !matches!(self.stage, Stage::Free { .. }) {",
            replace: "if !matches!(self.stage, Stage::Free { .. }) {",
        }],
    ),
];
