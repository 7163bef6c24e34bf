//! Rules about networks with several adapters on each node.

use crate::mutant::{Change, Mutant, caught};

const NETWORK: &str = "core/src/network.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "adapter-blamed-in-doubt",
        "Who hears nobody and has nobody to compare with blames no adapter.",
        &[Change {
            file: NETWORK,
            find: "if self.others_meet || (is_unanswered && answered_elsewhere) {",
            replace: "if self.others_meet || answered_elsewhere || !is_several(self.others) {",
        }],
    )
    .quick(),
    caught(
        "deaf-peer-makes-mute",
        "Where a third station answers, it is not this node's adapter that nobody hears.",
        &[Change {
            file: NETWORK,
            find: "            if is_answered {\n                Verdict::Peer\n            } else if \
                   is_unanswered || is_several(heard) {",
            replace: "            if is_unanswered || is_answered || is_several(heard) {",
        }],
    ),
    caught(
        "adapter-returned-to-at-once",
        "An address returns only to an adapter that has been well for its hold-off.",
        &[Change {
            file: NETWORK,
            find: "self.since.map(|since| since + self.hold_off)",
            replace: "self.since",
        }],
    ),
    caught(
        "hold-off-never-grows",
        "An adapter that flaps is left alone for twice as long each time.",
        &[Change {
            file: NETWORK,
            find: "let doubled = self.hold_off.times(2).min(MOST_HOLD_OFF);",
            replace: "let doubled = self.hold_off.min(MOST_HOLD_OFF);",
        }],
    ),
    caught(
        "hold-off-without-end",
        "The hold-off of an adapter is bounded.",
        &[Change {
            file: NETWORK,
            find: "let doubled = self.hold_off.times(2).min(MOST_HOLD_OFF);",
            replace: "let doubled = self.hold_off.times(2);",
        }],
    ),
    caught(
        "dead-peer-is-a-flap",
        "The death of a peer is no failure of an adapter.",
        &[Change {
            file: NETWORK,
            find: "verdict.is_mine() || (verdict.rank() < best && best == PROVEN)",
            replace: "!verdict.is_proven()",
        }],
    ),
    caught(
        "moves-for-nothing",
        "An address leaves an adapter only for a better one.",
        &[Change {
            file: NETWORK,
            find: "let next = if current < best && best >= DOUBTFUL {",
            replace: "let next = if current <= best && current < PROVEN {",
        }],
    ),
];
