//! Rules about fencing by agents: whose word is believed, and for which start it counts.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "agent-failed-counts",
        "A fence agent that fails or does not end in time has fenced nobody.",
        &[Change {
            file: "core/src/fence.rs",
            find: "if !is_believed {",
            replace: "if !is_believed && answer != Answer::Failed {",
        }],
    )
    .quick(),
    caught(
        "agent-unverified",
        "A server that was switched off is fenced when its agent, asked again, says that it is off.",
        &[Change {
            file: "core/src/fence.rs",
            find: "Deed::Status => answer == Answer::IsOff,",
            replace: "Deed::Status => answer != Answer::Failed,",
        }],
    ),
    caught(
        "agent-one-of-two",
        "Of agents that act together, all must have worked.",
        &[Change {
            file: "core/src/fence.rs",
            find: "self.stage = if self.next_step().is_some() { Stage::Ready } else { Stage::Done };",
            replace: "self.stage = Stage::Done;",
        }],
    ),
    caught(
        "agent-for-another-start",
        "A fence counts for the start that it was begun for, and for no later one.",
        &[Change {
            file: "core/src/fence.rs",
            find: "(self.stage == Stage::Done && is_same)",
            replace: "(self.stage == Stage::Done && (is_same || true))",
        }],
    ),
    caught(
        "agent-for-nobody",
        "Nothing is begun against a server while no claim waits for it.",
        &[Change {
            file: "core/src/fence.rs",
            find: "if !is_waiting || !self.has_means() {",
            replace: "if !self.has_means() {",
        }],
    ),
    caught(
        "fence-at-once",
        "Whoever has just heard somebody anew fences nobody until others have had time to be heard.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "newest.map_or(Instant::ZERO, |since| since + self.config.timing.dead)",
            replace: "newest.map_or(Instant::ZERO, |_| Instant::ZERO)",
        }],
    ),
];
