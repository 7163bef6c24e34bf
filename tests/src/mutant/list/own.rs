//! Rules about what shows clients the way: who may change a name.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "newer-name-taken",
        "A name that a newer holder has is not taken from it.",
        &[Change {
            file: "linux/src/agent/own/record.rs",
            find: "let is_older = other.token < own.token || other == own;",
            replace: "let is_older = true;",
        }],
    )
    .quick(),
    caught(
        "name-taken-without-condition",
        "A name changes hands on the condition that its token is still what was read.",
        &[Change {
            file: "linux/src/agent/own/primary.rs",
            find: "Some(text) => condition.push((&plan.beside, Class::IN, never, txt(text)))?,",
            replace: "Some(_) => {}",
        }],
    ),
    caught(
        "name-of-others-taken-away",
        "A stop takes away what is there under its own token alone.",
        &[Change {
            file: "linux/src/agent/own/record.rs",
            find: "mark.filter(|mark| mark.holder == *holder && !mark.is_stopped) else {",
            replace: "mark.filter(|mark| !mark.is_stopped) else {",
        }],
    ),
    caught(
        "stopped-name-forgotten",
        "The token of a name outlives its stop.",
        &[Change {
            file: "linux/src/agent/own/record.rs",
            find: "Some(rest) => (rest, true),",
            replace: "Some(_) => return None,",
        }],
    ),
    caught(
        "unsigned-answer-believed",
        "What a name server says is believed under its signature alone.",
        &[Change {
            file: "linux/src/agent/own/primary.rs",
            find: "Err(error) => *noted = Noted::Unsigned(self.distrust(error, &answer)),",
            replace: "Err(_) => return Some(answer),",
        }],
    ),
];
