//! Rules about what the operator says to the whole cluster.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "claims-in-maintenance",
        "Nobody claims a group that is in maintenance.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "} else if let Some(until) = self.maintenance_end(group) {",
            replace: "} else if let Some(until) = self.maintenance_end(group).filter(|_| false) {",
        }],
    )
    .quick(),
    caught(
        "moves-in-maintenance",
        "A holder neither offers nor hands over a group that is in maintenance.",
        &[
            Change {
                file: "core/src/engine/holder.rs",
                find: "if self.maintenance_end(group).is_some() {",
                replace: "if self.maintenance_end(group).filter(|_| false).is_some() {",
            },
            Change {
                file: "core/src/engine/place.rs",
                find: "if self.maintenance_end(group).is_some() {",
                replace: "if self.maintenance_end(group).filter(|_| false).is_some() {",
            },
        ],
    ),
    caught(
        "starts-a-disabled-group",
        "Nobody claims a group that is disabled.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "} else if self.is_disabled(group) {",
            replace: "} else if self.is_disabled(group) && group.number() > 31 {",
        }],
    )
    .quick(),
    caught(
        "keeps-a-disabled-group",
        "Whoever holds a group that is disabled stops it.",
        &[Change {
            file: "core/src/engine/place.rs",
            find: "            return disabled;\n",
            replace: "",
        }],
    ),
    caught(
        "old-word-wins",
        "A later word of the operator takes the place of an earlier one, and never the reverse.",
        &[Change {
            file: "core/src/decree.rs",
            find: "self.weight() > known.weight()",
            replace: "self.weight() != known.weight()",
        }],
    )
    .quick(),
    caught(
        "same-word-anew",
        "The deadline of a maintenance is fixed once, and not anew with every frame.",
        &[Change {
            file: "core/src/decree.rs",
            find: "self.weight() > known.weight()",
            replace: "self.weight() >= known.weight()",
        }],
    ),
    caught(
        "told-time-grows",
        "The time that is left of a maintenance counts from before it was told.",
        &[Change {
            file: "core/src/engine/frames.rs",
            find: "self.hear_decree(heard.from, heard.decree.as_ref(), sent);",
            replace: "self.hear_decree(heard.from, heard.decree.as_ref(), self.now.max(sent));",
        }],
    ),
    caught(
        "speaks-before-it-listens",
        "Whoever has just started learns what was said last before it says anything.",
        &[Change {
            file: "core/src/engine/decreed.rs",
            find: "} else if !self.now.has_reached(settled) {",
            replace: "} else if !self.now.has_reached(settled) && self.started > self.now {",
        }],
    ),
    caught(
        "word-of-other-settings",
        "What a node with other settings says of groups is not taken over.",
        &[Change {
            file: "core/src/engine/frames.rs",
            find: "if has_same_settings && let Some((_, sent)) = sent {",
            replace: "if let (Some((_, sent)), true | false) = (sent, has_same_settings) {",
        }],
    ),
    caught(
        "old-moves-are-taken-up",
        "A move that was said long ago is not taken up by who comes later.",
        &[Change {
            file: "core/src/decree.rs",
            find: "(!now.has_reached(moving.until)).then_some(moving.group)",
            replace: "Some(moving.group).filter(|_| now >= Instant::ZERO)",
        }],
    ),
];
