//! Rules about serial lines, the dongle behind them, and its hand on reset lines.

use crate::mutant::{Change, Fate, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    // Lines and the relay.
    caught(
        "check-ignored",
        "A message on a line whose check is wrong is dropped.",
        &[Change {
            file: "core/src/stream.rs",
            find: "if CHECK.checksum(message) == u16::from_le_bytes(*check) {",
            replace: "if CHECK.checksum(message) == u16::from_le_bytes(*check) || true {",
        }],
    ),
    caught(
        "relay-of-anything",
        "Only frames with a right tag are passed on.",
        &[Change {
            file: "firmware/src/dongle/desk.rs",
            find: "Judged::Forged => self.alarm(port, What::Forged(port.number())),",
            replace: "Judged::Forged => self.forward(port, message),",
        }],
    )
    .quick(),
    caught(
        "relayed-twice",
        "A frame is passed on once.",
        &[Change {
            file: "core/src/relay.rs",
            find: "if !self.is_newest(&header) {",
            replace: "if false {",
        }],
    )
    .quick(),
    caught(
        "old-starts-circle",
        "Frames of an old start are remembered beside those of a new one.",
        &[Change {
            file: "core/src/relay.rs",
            find: "start.sender != sender || start.boot != boot",
            replace: "start.sender != sender",
        }],
    ),
    caught(
        "older-state-kept",
        "A newer frame takes the place of an older one that waits.",
        &[Change {
            file: "core/src/relay.rs",
            find: ".filter(|slot| slot.origin == origin)",
            replace: ".filter(|slot| slot.origin == origin && false)",
        }],
    ),
    caught(
        "turn-lost",
        "A frame that takes another's place takes its turn.",
        &[Change { file: "core/src/relay.rs", find: "*to = place;", replace: "" }],
    ),
    caught(
        "stuck-port-starves-others",
        "Where room is short, the port with the longest queue loses.",
        &[Change {
            file: "core/src/relay.rs",
            find: ".max_by_key(|port| self.queue(*port))",
            replace: ".filter(|port| self.queue(*port) > 0).min_by_key(|port| self.queue(*port))",
        }],
    ),
    // Who may have whom reset.
    caught(
        "reset-without-promise",
        "A reset is for the claim that the dongle has promised the group to.",
        &[Change {
            file: "core/src/witness.rs",
            find: "if !is_favoured || promised.is_none_or(|promise| promise.to != to) {",
            replace: "if !is_favoured {",
        }],
    ),
    caught(
        "reset-unsealed",
        "A request for a reset is obeyed only if a key of the cluster has sealed it.",
        &[Change {
            file: "firmware/src/dongle/request.rs",
            find: "filter(|_| sealed == Sealed::Yes)",
            replace: "filter(|_| sealed == Sealed::Yes || true)",
        }],
    ),
    caught(
        "reset-by-the-other-side",
        "A reset is for the favoured side.",
        &[Change {
            file: "core/src/witness.rs",
            find: "if !is_favoured || promised.is_none_or(|promise| promise.to != to) {",
            replace: "if promised.is_none_or(|promise| promise.to != to) {",
        }],
    ),
    caught(
        "reset-of-the-living",
        "Nobody is reset whom the dongle hears.",
        &[Change {
            file: "core/src/witness.rs",
            find: "if peer.session().is_some() || arm.target == arm.id.asker {",
            replace: "if arm.target == arm.id.asker {",
        }],
    )
    .quick(),
    caught(
        "reset-of-another-start",
        "A reset is for the start that it names.",
        &[Change {
            file: "core/src/witness.rs",
            find: "if is_other {",
            replace: "if is_other && false {",
        }],
    ),
    caught(
        "reset-of-who-has-left",
        "Nobody is reset who has left in good order.",
        &[Change {
            file: "core/src/witness.rs",
            find: "if let Some(Ending::Left(_)) = ending {",
            replace: "if let (Some(Ending::Left(_)), true) = (ending, false) {",
        }],
    ),
    // The two steps.
    caught(
        "number-used-again",
        "The number of an armed line is good for one second step.",
        &[Change {
            file: "core/src/reset.rs",
            find: "                self.state = State::Idle;\n                allows(&arm)?;\n",
            replace: "                allows(&arm)?;\n",
        }],
    ),
    caught(
        "fired-without-a-look",
        "At the second step the dongle looks again.",
        &[Change {
            file: "core/src/reset.rs",
            find: "                self.state = State::Idle;\n                allows(&arm)?;\n",
            replace: "                self.state = State::Idle;\n",
        }],
    ),
    caught(
        "pulse-too-soon",
        "Between two pulses there is some time.",
        &[Change {
            file: "core/src/reset.rs",
            find: "if self.ended.is_some_and(|ended| now.since(ended) < self.distance) {",
            replace: "if false {",
        }],
    )
    .quick(),
    caught(
        "pulse-unseen",
        "A pulse is acknowledged only if the line was seen to follow.",
        &[Change { file: "core/src/reset.rs", find: "*followed &= follows;", replace: "" }],
    ),
    caught(
        "pulse-unread",
        "What the line reads as is asked of the pins.",
        &[Change {
            file: "firmware/src/dongle/post.rs",
            find: "lines.contains(line) || !self.expected.contains(line)",
            replace: "lines.contains(line) || !lines.contains(line)",
        }],
    ),
    caught(
        "any-answer",
        "An asker takes answers to its present request alone.",
        &[Change {
            file: "core/src/reset.rs",
            find: "if answer.id != self.arm.id || self.is_done() {",
            replace: "if self.is_done() {",
        }],
    ),
    // The server that asks, and the dongle's own start.
    Mutant {
        fate: Fate::Covered {
            because: "A request goes out only while its claim waits for nothing but the proof.",
            both: "fenced-and-reset-without-quorum",
        },
        ..caught(
            "fenced-without-quorum",
            "Nobody is to be fenced for a claim without quorum and consent.",
            &[FENCED_WITHOUT_QUORUM],
        )
    },
    caught(
        "fenced-and-reset-without-quorum",
        "Nobody is fenced, and no reset is asked for, for a claim without quorum and consent.",
        &[FENCED_WITHOUT_QUORUM, RESET_WITHOUT_QUORUM],
    ),
    caught(
        "dongle-without-boot-wait",
        "A dongle that was reset waits out what it may have promised.",
        &[Change {
            file: "firmware/src/dongle/post.rs",
            find: "tokens.unwrap_or_default(), begins),",
            replace: "tokens.unwrap_or_default(), begins - longest - longest),",
        }],
    )
    .quick(),
    caught(
        "dongle-forgets-tokens",
        "A dongle that was reset takes every token that may have been used for old.",
        &[Change {
            file: "firmware/src/dongle/post.rs",
            find: "tokens.unwrap_or_default(), begins),",
            replace: "Token(0), begins),",
        }],
    ),
    caught(
        "used-token-waits",
        "A claim under a token that somebody else has used makes way for a new one.",
        &[Change {
            file: "core/src/engine/candidate.rs",
            find: "|| (waited && word.token == token)",
            replace: "",
        }],
    ),
    caught(
        "reset-without-quorum",
        "A reset is asked for only as long as the claim that needs it has a quorum and consent.",
        &[RESET_WITHOUT_QUORUM],
    ),
];

const FENCED_WITHOUT_QUORUM: Change = Change {
    file: "core/src/engine/event.rs",
    find: "if !matches!(self.obstacle(group), Some(Obstacle::Unfenced(_))) {",
    replace: "if !matches!(self.obstacle(group), Some(Obstacle::Unfenced(_) | Obstacle::NoQuorum(_))) {",
};
const RESET_WITHOUT_QUORUM: Change = Change {
    file: "core/src/engine/obstacle.rs",
    find: "matches!(self.obstacle(group), Some(Obstacle::Unfenced(_)))",
    replace: "true",
};
