//! Rules about voters and witnesses: what is promised, to whom, and until when.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "no-boot-wait",
        "A voter that has just started makes no promise until its longest has passed.",
        &[Change {
            file: "core/src/promise.rs",
            find: "ready: now + longest,",
            replace: "ready: now,",
        }],
    )
    .quick(),
    caught(
        "promise-broken",
        "A promise that lives is given to nobody else.",
        &[Change {
            file: "core/src/promise.rs",
            find: "filter(|promise| same.is_none() && !now.has_reached(promise.until))",
            replace: "filter(|_| false)",
        }],
    )
    .quick(),
    caught(
        "promise-shortened",
        "A renewal never shortens a promise.",
        &[Change {
            file: "core/src/promise.rs",
            find: "same.map_or(Instant::ZERO, |promise| promise.until).max(now + length)",
            replace: "now + length",
        }],
    ),
    caught(
        "promise-too-short",
        "A promise lasts as long as the want asks for.",
        &[Change {
            file: "core/src/promise.rs",
            find: ".max(now + length)",
            replace: ".max(now + Duration::from_micros(length.as_micros() / 2))",
        }],
    ),
    caught(
        "promise-too-long",
        "No voter promises for longer than it waits after a restart.",
        &[Change {
            file: "core/src/promise.rs",
            find: "if length > self.longest {",
            replace: "if false {",
        }],
    ),
    caught(
        "promise-ends-with-session",
        "A promise outlives the session of the node it was made to.",
        &[Change {
            file: "core/src/engine.rs",
            find: "            self.forget_holder(node, false);\n",
            replace: "            self.forget_holder(node, false);\n\
                      \x20           let peer = self.member.peers.get(node);\n\
                      \x20           if let Some(ending) = peer.and_then(|peer| peer.ending()) {\n\
                      \x20               self.member.voter.left(node, ending.boot());\n\
                      \x20           }\n",
        }],
    ),
    caught(
        "promise-survives-restart",
        "A verified newer start frees what was promised to earlier ones.",
        &[Change {
            file: "core/src/member.rs",
            find: "accepted == Accepted::Opened && self.voter.restarted(node, session.boot);",
            replace: "false;",
        }],
    ),
    caught(
        "promise-freed-unverified",
        "A start that has not proved itself frees nothing.",
        &[Change {
            file: "core/src/member.rs",
            find: "let fresh =",
            replace: "self.voter.restarted(header.sender, header.boot);\nlet fresh =",
        }],
    ),
    caught(
        "promise-freed-by-another-start",
        "Only a frame of the start a promise was made to can free it.",
        &[Change {
            file: "core/src/promise.rs",
            find: "is_some_and(|slot| slot.free(|to| to.node == node && to.boot == boot))",
            replace: "is_some_and(|slot| slot.free(|to| to.node == node))",
        }],
    ),
    caught(
        "old-token",
        "A claim is promised only under a token larger than any before.",
        &[Change {
            file: "core/src/promise.rs",
            find: "if claimed && !renewed && want.token <= slot.largest {",
            replace: "if false {",
        }],
    )
    .quick(),
    caught(
        "token-forgotten",
        "After a restart a voter takes every token that may have been used for old.",
        &[Change {
            file: "core/src/promise.rs",
            find: "let slot = Slot { promise: None, largest: saved };",
            replace: "let slot = Slot { promise: None, largest: Token(0) };",
        }],
    ),
    caught(
        "token-unsaved",
        "A voter promises under no token beyond those saved as used.",
        &[Change {
            file: "core/src/promise.rs",
            find: "if want.token > self.saved {",
            replace: "if false {",
        }],
    ),
    caught(
        "promise-told-unproven",
        "A promise is told only beside the echo of the very frame that renewed it.",
        &[Change {
            file: "core/src/member.rs",
            find: "session.boot == boot && session.newest == promise.renewed_by",
            replace: "session.boot == boot",
        }],
    ),
    caught(
        "silent-witness-is-have",
        "A silent witness is NO.",
        &[Change {
            file: "core/src/quorum.rs",
            find: "if present * 2 > self.witnesses.len()",
            replace: "if present == 0 || present * 2 > self.witnesses.len()",
        }],
    ),
    caught(
        "silent-witness-is-tie",
        "A silent witness is NO and no tie.",
        &[Change {
            file: "core/src/quorum.rs",
            find: "{ Answer::Have } else { Answer::No }",
            replace: "{ Answer::Have } else { Answer::Tie }",
        }],
    ),
    caught(
        "promise-of-no-length",
        "What is promised lasts: a promise of no length is refused.",
        &[Change {
            file: "core/src/promise.rs",
            find: "if length == Duration::ZERO {",
            replace: "if false {",
        }],
    ),
    caught(
        "saved-without-end",
        "What was asked to be saved is not asked for again.",
        &[Change {
            file: "core/src/promise.rs",
            find: "if ahead <= self.asked {",
            replace: "if false {",
        }],
    ),
    caught(
        "half-is-have",
        "Exactly half of the votes is a tie.",
        &[Change {
            file: "core/src/quorum.rs",
            find: "core::cmp::Ordering::Equal => Answer::Tie,",
            replace: "core::cmp::Ordering::Equal => Answer::Have,",
        }],
    )
    .quick(),
    caught(
        "tie-is-have",
        "A tie at the end of the chain is NO.",
        &[Change {
            file: "core/src/quorum.rs",
            find: "decided == Some(Answer::Have)",
            replace: "decided != Some(Answer::No)",
        }],
    ),
    caught(
        "side-ignored",
        "A witness promises to nodes of the favoured side alone.",
        &[
            Change {
                file: "core/src/witness.rs",
                find: "let admits = |_: &Body<ECHOES, GROUPS>, node, _: &Want| favoured.contains(node);",
                replace: "let admits = |_: &Body<ECHOES, GROUPS>, _: NodeId, _: &Want| true;",
            },
            Change {
                file: "core/src/witness.rs",
                find: "favoured.contains(node).then_some(0)",
                replace: "Some(usize::from(!favoured.contains(node)))",
            },
        ],
    )
    .quick(),
    caught(
        "side-changed-early",
        "A witness changes sides only after its last promise to the other has run out.",
        &[Change {
            file: "core/src/side.rs",
            find: "if !others_hold {",
            replace: "if others_hold || !others_hold {",
        }],
    ),
    caught(
        "side-by-hearsay",
        "Nodes are on one side only if they hear each other both ways.",
        &[Change {
            file: "core/src/side.rs",
            find: "hears(of).contains(*node) && hears(*node).contains(of)",
            replace: "hears(of).contains(*node)",
        }],
    ),
];
