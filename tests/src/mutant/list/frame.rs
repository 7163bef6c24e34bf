//! Rules about frames and sessions: whose they are, when they were sent, and of which start.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    // Frames: whose they are.
    caught(
        "tag-shorter",
        "All bytes of a tag are compared.",
        &[Change {
            file: "core/src/seal.rs",
            find: "mac.verify_truncated_left(tag)",
            replace: "mac.verify_truncated_left(&tag[..8])",
        }],
    ),
    caught(
        "tag-unchecked",
        "A frame with a wrong tag is dropped.",
        &[Change {
            file: "core/src/frame.rs",
            find: "Some(false) => return Err(FrameError::Tag),\n        Some(true) => {}",
            replace: "Some(_) => {}",
        }],
    )
    .quick(),
    caught(
        "key-ignored",
        "A tag is judged by the key that the frame names.",
        &[Change {
            file: "core/src/seal.rs",
            find: "self.keys.iter().find(|(other, _)| *other == id)",
            replace: "self.keys.iter().find(|_| id == id)",
        }],
    ),
    caught(
        "foreign-cluster",
        "A frame of another cluster under the same key is dropped.",
        &[Change {
            file: "core/src/frame.rs",
            find: "if header.cluster != cluster {",
            replace: "if false {",
        }],
    ),
    caught(
        "contradiction",
        "A body that says two things about one group or node is dropped.",
        &[Change {
            file: "core/src/frame.rs",
            find: "if repeats(&body) {",
            replace: "if repeats(&body) && GROUPS > MAX_GROUPS {",
        }],
    ),
    caught(
        "stranger",
        "Only configured members are heard.",
        &[Change {
            file: "core/src/member.rs",
            find: "if !self.others.contains(header.sender) {",
            replace: "if false {",
        }],
    ),
    caught(
        "wrong-link",
        "A frame that was sent on another link is not life on this one.",
        &[Change {
            file: "core/src/member.rs",
            find: "|| !(self.any_link || header.sender.is_witness() || header.link == link)",
            replace: "",
        }],
    ),
    caught(
        "loop-unnoticed",
        "Own frames that come back are told from other machines' frames under the own id.",
        &[Change {
            file: "core/src/member.rs",
            find: "let own = header.boot == self.sequence.boot();",
            replace: "let own = false;",
        }],
    ),
    caught(
        "own-id",
        "Frames under the own id are not taken for a stranger's.",
        &[Change {
            file: "core/src/member.rs",
            find: "if header.sender == self.me {",
            replace: "if false {",
        }],
    ),
    caught(
        "own-frames-are-life",
        "Frames under the own id are no peer's, and neither are a stranger's.",
        &[
            Change {
                file: "core/src/member.rs",
                find: "if header.sender == self.me {",
                replace: "if false {",
            },
            Change {
                file: "core/src/member.rs",
                find: "if !self.others.contains(header.sender) {",
                replace: "if false {",
            },
        ],
    ),
    // Frames: when they were sent.
    caught(
        "freshness-unchecked",
        "Only a frame that echoes one of the last frames of this start is life.",
        &[Change {
            file: "core/src/member.rs",
            find: "is_some_and(|echo| self.sequence.sent(&echo).is_some());",
            replace: "is_none_or(|_| true);",
        }],
    )
    .quick(),
    caught(
        "freshness-window",
        "An echo of the ninth last frame proves nothing.",
        &[Change {
            file: "core/src/peer.rs",
            find: "&& self.newest - echo.sequence < FRESH_FRAMES",
            replace: "&& self.newest - echo.sequence <= FRESH_FRAMES",
        }],
    ),
    caught(
        "echo-of-any-start",
        "An echo of an earlier start's frame proves nothing.",
        &[Change { file: "core/src/peer.rs", find: "&& echo.boot == self.boot;", replace: ";" }],
    ),
    caught(
        "replay",
        "A frame counts once on each link.",
        &[Change { file: "core/src/peer.rs", find: "if !first_time {", replace: "if false {" }],
    ),
    caught(
        "overtaken-reopens",
        "A session that has ended is not opened again by a frame that was overtaken before it ended.",
        &[Change {
            file: "core/src/peer.rs",
            find: "if living.is_none() && self.is_overtaken(header) {",
            replace: "if false {",
        }],
    ),
    caught(
        "replay-window",
        "The replay window is 64 frames wide.",
        &[Change {
            file: "core/src/peer.rs",
            find: "if behind >= 64 || self.seen",
            replace: "if behind >= 63 || self.seen",
        }],
    ),
    caught(
        "stale-echo",
        "A frame that is not fresh does not advance what is echoed.",
        &[Change {
            file: "core/src/peer.rs",
            find: "        if !fresh {\n",
            replace: "        if let Some(session) = &mut self.session {\n\
                      \x20           session.newest = session.newest.max(header.sequence);\n\
                      \x20       }\n\
                      \x20       if !fresh {\n",
        }],
    ),
    // Sessions: which start of a peer.
    caught(
        "session-displaced",
        "While a session lives, no other start displaces it.",
        &[Change {
            file: "core/src/peer.rs",
            find: "if living.is_some_and(|boot| boot != header.boot) {",
            replace: "if false {",
        }],
    ),
    caught(
        "displaced-start-returns",
        "A start that was displaced never comes back.",
        &[Change {
            file: "core/src/peer.rs",
            find: "if self.retired.contains(&header.boot) || self.ending",
            replace: "if self.ending",
        }],
    ),
    caught(
        "farewell-taken-back",
        "A start that said farewell never comes back.",
        &[Change {
            file: "core/src/peer.rs",
            find: "|| self.ending == Some(Ending::Left(header.boot)) {",
            replace: "{",
        }],
    ),
    caught(
        "foreign-farewell",
        "Only the start that lives can say farewell.",
        &[Change {
            file: "core/src/peer.rs",
            find: "if living.is_some_and(|boot| boot != header.boot) {",
            replace: "let farewell = body.flags.has(Flags::FAREWELL);\n\
                      \x20       if !farewell && living.is_some_and(|boot| boot != header.boot) {",
        }],
    ),
    caught(
        "farewell-too-early",
        "A node says farewell only when it holds nothing any more.",
        &[Change {
            file: "core/src/engine.rs",
            find: "self.leaving && self.groups.iter().all(|group| group.role == Role::Idle)",
            replace: "self.leaving",
        }],
    )
    .quick(),
    caught(
        "copies-differ",
        "All copies of one number say the same; after any news a new number is taken.",
        &[Change {
            file: "core/src/engine.rs",
            find: "        if !self.owed.is_empty() {\n            self.owed = LinkSet::EMPTY;",
            replace: "        if false {\n            self.owed = LinkSet::EMPTY;",
        }],
    ),
    caught(
        "witness-copies-differ",
        "All copies of a witness's number say the same.",
        &[Change {
            file: "core/src/witness.rs",
            find: "        if !self.owed.is_empty() {\n            self.owed = NodeSet::EMPTY;",
            replace: "        if false {\n            self.owed = NodeSet::EMPTY;",
        }],
    ),
];
