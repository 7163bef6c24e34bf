//! Raw settings in, a [`Config`] that cannot be wrong out.
//!
//! The heart of it is one inequality. A holder's authority is counted from the *sending* of the
//! frames that its voters echo, a voter's promise from their *receipt*, so delay does not appear;
//! only the rates of the clocks do:
//!
//! ```text
//! D + S + g + K  <=  L * (1 - rho_holder) / (1 + rho_voter)
//! ```
//!
//! with D the age at which authority ends, S the budget for stopping, g how late the daemon may
//! run, K by how much the enforcing mechanism may overshoot, L the length of a promise, and rho the
//! rate errors of the clocks.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::frame::LinkClass;
use crate::group::{GroupConfig, GroupId, MAX_GROUPS, decision_order};
use crate::node::{ClusterId, MAX_LINKS, NodeId};
use crate::quorum::Quorum;
use crate::time::Duration;

/// Everything an [`Engine`](crate::engine::Engine) knows before it starts; made by [`Config::new`],
/// it is consistent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config<const GROUPS: usize = MAX_GROUPS, const LINKS: usize = MAX_LINKS> {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which of its servers this is.
    pub me: NodeId,
    /// Votes, witnesses and the chain that counts them.
    pub quorum: Quorum,
    /// The kinds of the links, numbered from 0.
    pub links: Vec<LinkClass, LINKS>,
    /// The spans of the protocol.
    pub timing: Timing,
    /// The groups, numbered from 0.
    pub groups: Vec<GroupConfig, GROUPS>,
    /// A digest of the settings on which all nodes must agree.
    pub digest: u32,
}

/// The spans of the protocol. All are of the same settings on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timing {
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
    /// A peer silent on every link for this long is lost. At least two heartbeats.
    pub dead: Duration,
    /// The longest promise this voter makes, and how long it waits after its start before it makes
    /// any.
    pub longest_promise: Duration,
    /// How long after its start a node first claims anything, so that it has met its peers.
    pub settle: Duration,
    /// How long a survivor may withhold its consent before quorum alone decides.
    pub dispute: Duration,
    /// How long a holder that offers a group waits for a taker, and a taker for the holder.
    pub offer: Duration,
}

impl<const GROUPS: usize, const LINKS: usize> Config<GROUPS, LINKS> {
    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Says which rule is broken, and for which group. Nothing is changed.
    pub fn new(parts: Self) -> Result<Self, ConfigError> {
        if !parts.quorum.nodes().contains(parts.me) {
            return Err(ConfigError::NotAMember);
        }
        if parts.links.is_empty() {
            return Err(ConfigError::Links);
        }
        let timing = &parts.timing;
        if timing.heartbeat == Duration::ZERO || timing.dead < timing.heartbeat.times(2) {
            return Err(ConfigError::DeadTooShort);
        }
        for (group, number) in parts.groups.iter().zip(0..) {
            if group.promise > timing.longest_promise {
                return Err(ConfigError::PromiseTooLong { group: number });
            }
            if group.promise.as_micros() % 1000 != 0
                || group.promise.as_millis() > MAX_PROMISE_MILLIS
            {
                return Err(ConfigError::PromiseRange { group: number });
            }
            if group.authority < timing.heartbeat {
                return Err(ConfigError::AuthorityTooShort { group: number });
            }
            if group.order.is_empty()
                || !group.order.iter().all(|node| parts.quorum.nodes().contains(*node))
            {
                return Err(ConfigError::Order { group: number });
            }
        }
        let order = parts.decision_order();
        let mut known = GroupId::all().take(parts.groups.len());
        match known.find(|group| !order.contains(group)) {
            Some(group) => Err(ConfigError::Ring { group: group.number() }),
            None => Ok(parts),
        }
    }

    /// Returns the groups in the order in which their places are decided; all of them, once
    /// [`new`](Self::new) has looked.
    pub(crate) fn decision_order(&self) -> Vec<GroupId, GROUPS> {
        let decided_by = |id: GroupId| self.groups.get(id.index()).map(GroupConfig::decided_by);
        decision_order(decided_by).collect()
    }
}

/// The longest promise that fits a frame: 21 bits of milliseconds, about 35 minutes.
pub const MAX_PROMISE_MILLIS: u64 = (1 << 21) - 1;

/// The terms of the inequality that keeps two nodes from holding one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// L, the length of a promise on the voter's clock.
    pub promise: Duration,
    /// S, the budget for stopping services once authority has ended.
    pub stop: Duration,
    /// g, how late the daemon may run while it is what enforces the end.
    pub granularity: Duration,
    /// K, by how much the enforcing mechanism may overshoot.
    pub overshoot: Duration,
    /// The rate error of a holder's clock, in millionths.
    pub holder_error: u32,
    /// The rate error of a voter's clock, in millionths.
    pub voter_error: u32,
}

impl Lease {
    /// Returns the right side of the inequality: the promise as the slowest honest holder's clock
    /// may count it.
    #[must_use]
    pub const fn secured(&self) -> Duration {
        let faithful = MILLION.saturating_sub(self.holder_error as u64);
        self.promise.scaled(faithful, MILLION + self.voter_error as u64)
    }

    /// Returns what a holder's frame may age before its promise must be given up: the right side
    /// less S, g and K, or `None` if those leave nothing.
    #[must_use]
    pub fn authority(&self) -> Option<Duration> {
        let spent = self.stop + self.granularity + self.overshoot;
        self.secured().checked_sub(spent).filter(|authority| *authority > Duration::ZERO)
    }

    /// Returns whether the inequality holds for a holder that gives up at age `authority`.
    #[must_use]
    pub fn holds(&self, authority: Duration) -> bool {
        authority + self.stop + self.granularity + self.overshoot <= self.secured()
    }

    /// Returns the longest that a promise can last in true time: the voter's clock may be slow.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        let slow = MILLION.saturating_sub(self.voter_error as u64);
        self.promise.scaled(MILLION, if slow == 0 { 1 } else { slow })
    }
}

const MILLION: u64 = 1_000_000;

/// What is wrong with the settings. No state changes; none of these happens in a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// This node is not one of the configured servers.
    NotAMember,
    /// There is no link.
    Links,
    /// The dead time is shorter than two heartbeats, or there is no heartbeat.
    DeadTooShort,
    /// A group asks for a longer promise than voters make.
    PromiseTooLong {
        /// The group's number.
        group: u8,
    },
    /// A promise must be whole milliseconds and at most [`MAX_PROMISE_MILLIS`].
    PromiseRange {
        /// The group's number.
        group: u8,
    },
    /// A group's authority ends before the next heartbeat could renew it.
    AuthorityTooShort {
        /// The group's number.
        group: u8,
    },
    /// A group's order of nodes is empty or names a stranger.
    Order {
        /// The group's number.
        group: u8,
    },
    /// A group's place depends on itself, by `with` and `apart`, or on a group that is not there.
    Ring {
        /// The group's number.
        group: u8,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAMember => formatter.write_str("this node is not one of the configured nodes"),
            Self::Links => formatter.write_str("there is no link"),
            Self::DeadTooShort => {
                formatter.write_str("the dead time must be at least two heartbeats")
            }
            Self::PromiseTooLong { group } => {
                write!(formatter, "group {group} asks for a longer promise than voters make")
            }
            Self::PromiseRange { group } => {
                write!(
                    formatter,
                    "the promise of group {group} must be whole milliseconds, at most {MAX_PROMISE_MILLIS}"
                )
            }
            Self::AuthorityTooShort { group } => {
                write!(
                    formatter,
                    "the authority of group {group} ends before the next heartbeat could renew it"
                )
            }
            Self::Order { group } => {
                write!(formatter, "the order of group {group} is empty or names a stranger")
            }
            Self::Ring { group } => {
                write!(formatter, "the place of group {group} depends on itself or on a stranger")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(promise: u64, error: u32) -> Lease {
        Lease {
            promise: Duration::from_micros(promise),
            stop: Duration::ZERO,
            granularity: Duration::ZERO,
            overshoot: Duration::ZERO,
            holder_error: error,
            voter_error: error,
        }
    }

    /// The published example: L 1.6 s and 1 % both sides secure 1.568 s.
    #[test]
    fn the_secured_span_shrinks_with_the_clocks_errors() {
        assert_eq!(lease(1_600_000, 10_000).secured(), Duration::from_micros(1_568_316));
        assert_eq!(lease(1_600_000, 0).secured(), Duration::from_micros(1_600_000));
        assert_eq!(lease(1_600_000, 1_000_000).secured(), Duration::ZERO);
    }

    /// Whatever authority is derived satisfies the inequality, and one microsecond more does not.
    /// The true-time statement behind it is checked with both clocks at their extremes.
    #[test]
    fn the_derived_authority_is_exactly_the_longest_safe_one() {
        for promise in [5_000, 27_000, 100_000, 8_500_000] {
            for error in [0, 100, 10_000, 30_000] {
                let lease = Lease {
                    granularity: Duration::from_micros(900),
                    overshoot: Duration::from_micros(100),
                    ..lease(promise, error)
                };
                let authority = lease.authority().unwrap();
                assert!(lease.holds(authority));
                assert!(!lease.holds(authority + Duration::from_micros(1)));
                let silent_at =
                    (authority.as_micros() + 1000) as f64 / (1.0 - f64::from(error) / 1e6);
                let free_at = promise as f64 / (1.0 + f64::from(error) / 1e6);
                assert!(silent_at <= free_at + 1e-6, "{silent_at} against {free_at}");
            }
        }
    }

    /// Returns the settings of groups with these leaders and those that come before them.
    fn placed(groups: &[(Option<u8>, &[u8])]) -> Result<Config<4, 1>, ConfigError> {
        let quorum = Quorum::new(&[1, 1, 1], 0, &[crate::quorum::Module::Majority], false).unwrap();
        let id = |number: u8| GroupId::new(number).unwrap();
        let group = |(with, apart): &(Option<u8>, &[u8])| GroupConfig {
            guard: crate::group::Guard::Address,
            promise: Duration::from_millis(30),
            authority: Duration::from_millis(20),
            order: quorum.nodes().iter().collect(),
            failback: crate::group::Failback::Off,
            with: with.map(id),
            apart: apart.iter().copied().map(id).collect(),
        };
        let span = Duration::from_millis(30);
        Config::new(Config {
            cluster: ClusterId(1),
            me: NodeId::new(0).unwrap(),
            links: [LinkClass::Udp].into_iter().collect(),
            timing: Timing {
                heartbeat: Duration::from_millis(10),
                dead: span,
                longest_promise: span,
                settle: span,
                dispute: span,
                offer: span,
            },
            groups: groups.iter().map(group).collect(),
            digest: 1,
            quorum: quorum.clone(),
        })
    }

    #[test]
    fn every_group_s_place_is_decided_by_those_before_it() {
        let order = |groups: &[(Option<u8>, &[u8])]| {
            let order = placed(groups)?.decision_order();
            Ok(order.iter().map(|group| group.number()).collect::<std::vec::Vec<_>>())
        };
        let ring = |group| Err(ConfigError::Ring { group });
        assert_eq!(order(&[(None, &[]), (None, &[]), (None, &[])]), Ok(std::vec![0, 1, 2]));
        assert_eq!(order(&[(Some(2), &[1]), (Some(2), &[]), (None, &[])]), Ok(std::vec![2, 1, 0]));
        assert_eq!(order(&[(None, &[]), (Some(1), &[])]), ring(1), "itself");
        assert_eq!(order(&[(None, &[1]), (None, &[0])]), ring(0), "each other");
        assert_eq!(order(&[(None, &[]), (Some(2), &[]), (None, &[1])]), ring(1));
        assert_eq!(order(&[(None, &[3])]), ring(0), "a stranger");
    }

    #[test]
    fn a_budget_that_eats_the_promise_leaves_no_authority() {
        let lease = Lease { stop: Duration::from_millis(30), ..lease(27_000, 0) };
        assert_eq!(lease.authority(), None);
    }
}
