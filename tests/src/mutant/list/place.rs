//! Rules about groups that follow others, and groups that are kept apart.

use crate::mutant::{Change, Mutant, caught};

const PLACE: &str = "core/src/engine/place.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "follower-alone",
        "A group that follows another is started and kept only where that one is held.",
        &[Change {
            file: PLACE,
            find: "settings.with.filter(|leader| !self.is_kept(*leader))",
            replace: "settings.with.filter(|_| false)",
        }],
    )
    .quick(),
    caught(
        "leader-stops-first",
        "What is let go in good order is stopped only when nothing that follows it is up.",
        &[Change {
            file: PLACE,
            find: "if self.followers_up(group).next().is_none() {",
            replace: "if self.followers_up(group).count() < 99 {",
        }],
    ),
    caught(
        "apart-is-not-kept",
        "A group yields to those that come before it.",
        &[Change {
            file: PLACE,
            find: ".find(|first| self.prevails(*first))",
            replace: ".find(|_| false)",
        }],
    ),
    caught(
        "starts-beside-another",
        "What others yield to starts only when none of them is up any more.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "before.or_else(|| self.occupant(group).map(Obstacle::Occupied))",
            replace: "before",
        }],
    )
    .quick(),
    caught(
        "claims-where-it-cannot-start",
        "Where one that was to make way cannot be stopped, nobody claims what comes first.",
        &[Change {
            file: PLACE,
            find: "let is_stuck = |(_, role): &(GroupId, Role)| matches!(role, Role::Stuck(_));",
            replace: "let is_stuck = |(_, role): &(GroupId, Role)| matches!(role, Role::Idle);",
        }],
    ),
    caught(
        "makes-way-for-nothing",
        "Nobody makes way for a claim that is not granted.",
        &[Change {
            file: PLACE,
            find: "claim.asked || self.is_granted(group, &claim)",
            replace: "claim.asked || claim.since <= self.now",
        }],
    ),
];
