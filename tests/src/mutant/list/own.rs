//! Rules about what shows clients the way: who may change a name, and how long a route stands.

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
    caught(
        "route-outlives-address",
        "What takes an address down withdraws its route: a release, a supervisor, the next start.",
        &[Change {
            file: "linux/src/address/take_down.rs",
            find: "let mut first = route::withdraw(netlink, services).map(drop);",
            replace: "let mut first = route::withdraw(netlink, &[]).map(drop);",
        }],
    )
    .quick(),
    caught(
        "route-of-the-frozen",
        "A route whose time is over goes also while the daemon does not get on.",
        &[Change {
            file: "linux/src/supervisor/overdue.rs",
            find: "let said = match self.take_down.withdraw(routes) {",
            replace: "let said = match self.take_down.withdraw(&[]) {",
        }],
    )
    .quick(),
    caught(
        "route-to-nobody",
        "A route leads to an address that is on this machine.",
        &[Change {
            file: "linux/src/agent/own/route.rs",
            find: "if !installed.iter().any(|address| address.ip == self.ip) {",
            replace: "if installed.is_empty() {",
        }],
    ),
    caught(
        "route-withdrawn-late",
        "What leads clients to a group starts last and is withdrawn before anything stops.",
        &[Change {
            file: "linux/src/settings/own.rs",
            find: "behind.iter().find(|other| !is_own(other))",
            replace: "behind.iter().find(|_| false)",
        }],
    ),
    caught(
        "route-without-lease",
        "A route leads to an address of its group, which the kernel lease guards.",
        &[Change {
            file: "linux/src/settings/own.rs",
            find: "if !addresses.iter().any(|address| address.ip == plan.ip) {",
            replace: "if addresses.is_empty() {",
        }],
    ),
];
