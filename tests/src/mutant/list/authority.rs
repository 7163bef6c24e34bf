//! Rules about claims and authority: when a node may start a group, and when it must stop it.

use crate::mutant::{Change, Fate, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "age-from-receipt",
        "Support is as old as the sending of the frame that is echoed.",
        &[Change {
            file: "core/src/engine/frames.rs",
            find: "state.support.note(heard.from, sent);",
            replace: "state.support.note(heard.from, self.now);",
        }],
    )
    .quick(),
    caught(
        "authority-too-long",
        "Authority ends at D and no heartbeat later.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "map(|since| since + settings.authority)",
            replace: "map(|since| since + settings.authority + self.config.timing.heartbeat)",
        }],
    )
    .quick(),
    caught(
        "authority-one-unit-too-long",
        "Authority is the longest that the inequality allows, and not a microsecond longer.",
        &[Change {
            file: "core/src/config.rs",
            find: "self.secured().checked_sub(spent).filter(",
            replace: "(self.secured() + Duration::from_micros(1)).checked_sub(spent).filter(",
        }],
    ),
    caught(
        "lease-renewed-from-the-clock",
        "The kernel lease ends with authority, however late it is looked at.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "since.map(|since|",
            replace: "since.map(|_| self.now).map(|since|",
        }],
    ),
    caught(
        "lease-replaced-by-another-daemon",
        "A second daemon, which would put its own lease in the place of the first one's, does not \
         start.",
        &[Change {
            file: "linux/src/daemon/sole.rs",
            find: "Err(Errno::EADDRINUSE) => judge(owner()),",
            replace: "Err(Errno::EADDRINUSE) => Ok(Self::Unknown(String::new())),",
        }],
    ),
    caught(
        "inequality-without-clocks",
        "D leaves room for clocks that disagree.",
        &[Change {
            file: "core/src/config.rs",
            find: "self.promise.scaled(faithful, MILLION + self.voter_error as u64)",
            replace: "self.promise.scaled(faithful, faithful)",
        }],
    ),
    caught(
        "inequality-without-stop",
        "D leaves room for stopping and for the enforcer's overshoot.",
        &[Change {
            file: "core/src/config.rs",
            find: "let spent = self.stop + self.granularity + self.overshoot;",
            replace: "let spent = self.granularity;",
        }],
    ),
    caught(
        "authority-never-ends",
        "A group whose authority has ended is stopped.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "&& !self.has_authority(group)",
            replace: "&& false",
        }],
    )
    .quick(),
    caught(
        "failback-to-anyone",
        "A group that a better placed node may have back goes to no worse placed one.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "(!returns || rank(*node) < rank(self.config.me))",
            replace: "(!returns || rank(*node) != rank(self.config.me))",
        }],
    ),
    caught(
        "youngest-support",
        "Authority is as old as the oldest support of the quorum.",
        &[Change {
            file: "core/src/authority.rs",
            find: "return best;",
            replace: "return quorum.members().iter().filter_map(|voter| self.of(voter)).max();",
        }],
    ),
    caught(
        "own-promise-taken-for-granted",
        "A node's own support counts only while its promise to itself lives.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "is_some_and(|promise| promise.to == own)",
            replace: "is_none_or(|promise| promise.to.node != own.node || promise.to == own)",
        }],
    ),
    caught(
        "own-promise-not-renewed",
        "A node that wants a group keeps its own promise for itself.",
        &[Change {
            file: "core/src/engine/frames.rs",
            find: "let _refused = self.member.voter.consider(&want, from, self.now);",
            replace: "let _refused = (want, from);",
        }],
    ),
    Mutant {
        fate: Fate::Covered {
            because: "A voter tells its promise under a new token only beside the echo of the \
                      frame that renewed it, which is the claim's first or a later one.",
            both: "echoes-before-the-claim-told-unproven",
        },
        ..caught(
            "echoes-before-the-claim",
            "Echoes of frames sent before the claim do not count.",
            &[Change {
                file: "core/src/engine/frames.rs",
                find: "if number >= first {",
                replace: "if number >= first || true {",
            }],
        )
    },
    caught(
        "echoes-before-the-claim-told-unproven",
        "Echoes of frames before the claim do not count, and a promise is told by its proof.",
        &[
            Change {
                file: "core/src/engine/frames.rs",
                find: "if number >= first {",
                replace: "if number >= first || true {",
            },
            Change {
                file: "core/src/member.rs",
                find: "session.boot == boot && session.newest == promise.renewed_by",
                replace: "session.boot == boot",
            },
        ],
    ),
    Mutant {
        fate: Fate::Covered {
            because: "A promise under an earlier token was renewed by a frame before the claim, \
                      whose echo does not count.",
            both: "support-of-any-token-and-age",
        },
        ..caught(
            "support-of-any-token",
            "A promise under another token is no support.",
            &[Change {
                file: "core/src/engine/frames.rs",
                find: "word.to == Some(me) && Some(word.token) == state.role.token()",
                replace: "word.to == Some(me) && state.role.token().is_some()",
            }],
        )
    },
    caught(
        "support-of-any-token-and-age",
        "A promise under another token is no support, nor is an echo of a frame before the claim.",
        &[
            Change {
                file: "core/src/engine/frames.rs",
                find: "word.to == Some(me) && Some(word.token) == state.role.token()",
                replace: "word.to == Some(me) && state.role.token().is_some()",
            },
            Change {
                file: "core/src/engine/frames.rs",
                find: "if number >= first {",
                replace: "if number >= first || true {",
            },
        ],
    ),
    caught(
        "support-outlives-claim",
        "Support of an earlier claim does not count for a new one.",
        &[Change {
            file: "core/src/engine/candidate.rs",
            find: "            state.support = Support::new(voters);\n",
            replace: "",
        }],
    ),
    caught(
        "token-reused",
        "Every claim mints a larger token.",
        &[Change {
            file: "core/src/engine/candidate.rs",
            find: "max(self.member.voter.largest_token(group)).next()",
            replace: "max(self.member.voter.largest_token(group)).max(Token(1)).into()",
        }],
    ),
    caught(
        "released-before-stopped",
        "A group is wanted until it has been stopped.",
        &[Change {
            file: "core/src/engine/frames.rs",
            find: "Role::Idle => return None,",
            replace: "Role::Idle | Role::Stopping(_) => return None,",
        }],
    )
    .quick(),
    caught(
        "failed-stop-frees",
        "Only a confirmed stop frees a group.",
        &[Change {
            file: "core/src/engine.rs",
            find: "Some(Role::Stopping(_) | Role::Stuck(_)) if stopped => self.let_go(group),",
            replace: "Some(Role::Stopping(_) | Role::Stuck(_)) => self.let_go(group),",
        }],
    ),
    caught(
        "consent-not-asked",
        "A claim with a quorum waits for the consent of every peer that is alive.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "if let Some(node) = self.dissenters(group).iter().next() {",
            replace: "if let Some(node) = self.dissenters(group).iter().find(|_| false) {",
        }],
    )
    .quick(),
    caught(
        "other-settings",
        "A claim of a node with other settings is not supported.",
        &[Change {
            file: "core/src/engine.rs",
            find: "want.phase.is_held() || body.digest == digest",
            replace: "want.phase.is_held() || digest == digest",
        }],
    ),
    caught(
        "fence-not-awaited",
        "A fence group waits until every other node is certain not to hold it.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "(!is_fenced).then_some((node, boot))",
            replace: "(is_fenced && !is_fenced).then_some((node, boot))",
        }],
    ),
    caught(
        "fence-of-another-start",
        "A fence is acknowledged for one start of a node.",
        &[Change {
            file: "core/src/engine/obstacle.rs",
            find: "let is_fenced = acknowledged == Some(super::Fenced { boot });",
            replace: "let is_fenced = acknowledged.is_some();",
        }],
    )
    .quick(),
    caught(
        "better-claim-ignored",
        "Of two claims the worse one makes way.",
        &[Change {
            file: "core/src/engine/candidate.rs",
            find: "if let Some(better) = self.better_claim(group, asked) {",
            replace: "if let Some(better) = self.better_claim(group, asked).filter(|_| false) {",
        }],
    ),
    caught(
        "two-holders-stay",
        "Where two hold one group after all, the worse one stops.",
        &[Change {
            file: "core/src/engine/holder.rs",
            find: "if let Some(other) = self.second_holder(group, token) {",
            replace: "if let Some(other) = self.second_holder(group, token).filter(|_| false) {",
        }],
    ),
    caught(
        "question-after-the-end",
        "Nobody is asked from an address whose lease has ended.",
        &[Change {
            file: "linux/src/address/presence.rs",
            find: "if !self.is_held || self.is_over(now_us) {",
            replace: "if self.is_over(now_us) {",
        }],
    ),
    caught(
        "announcement-after-the-end",
        "An address is not announced once its lease has ended.",
        &[Change {
            file: "linux/src/address/presence.rs",
            find: "        if self.is_over(now_us) {\n            self.fall_silent();",
            replace: "        if false {\n            self.fall_silent();",
        }],
    ),
];
