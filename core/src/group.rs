//! Groups: resources that move together, and the part this node plays for each.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::node::{MAX_NODES, NodeId};
use crate::numbered::numbered;
use crate::time::{Duration, Instant};

/// The most groups a cluster can have.
pub const MAX_GROUPS: usize = 32;

numbered! {
    /// A group, by its place in the settings, 0 to 31.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(try_from = "u8", into = "u8")]
    GroupId below MAX_GROUPS;
    /// A set of groups.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
    )]
    GroupSet of u32
}

/// A number that grows with every claim of a group, so that a resource can tell the present holder
/// from every earlier one. Zero is no token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Token(pub u32);

impl Token {
    /// Returns the next larger token, or `None` after the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// What must be certain before a group may start elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Guard {
    /// The addresses are silent: the kernel lease sees to it.
    Address,
    /// The services have stopped: the stop budget is part of the promise.
    Stop,
    /// Every other node is alive and not holding, has left in good order, or has been fenced.
    Fence,
}

/// Whether a group returns to the node it prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failback {
    /// It stays where it is.
    Off,
    /// It returns once a better node has been well for this long.
    After(Duration),
}

/// The settings of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupConfig {
    /// What must be certain before it may start elsewhere.
    pub guard: Guard,
    /// L: how long a promise for it lasts on the voter's clock. Whole milliseconds.
    pub promise: Duration,
    /// D: the age of its support at which a holder gives it up.
    pub authority: Duration,
    /// Which nodes may hold it, the preferred first.
    pub order: Vec<NodeId, MAX_NODES>,
    /// Whether it returns to a preferred node.
    pub failback: Failback,
    /// The group that it follows: it runs only where that one does.
    pub with: Option<GroupId>,
    /// The groups that come before it: it never runs on the node that runs one of them.
    pub apart: GroupSet,
}

impl GroupConfig {
    /// Returns the groups on which it depends where this one may run.
    #[must_use]
    pub fn decided_by(&self) -> GroupSet {
        decided_by(self.with, self.apart)
    }

    /// Returns the place of `node` in the order, 0 for the preferred, or `None` if it may not hold
    /// the group.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<usize> {
        self.order.iter().position(|candidate| *candidate == node)
    }
}

/// Returns the groups on which it depends where a group may run: its leader and those that come
/// before it.
#[must_use]
pub fn decided_by(with: Option<GroupId>, apart: GroupSet) -> GroupSet {
    with.into_iter().fold(apart, GroupSet::with)
}

/// Returns the groups in the order in which their places are decided: each as early as it can be,
/// after those on which its place depends, as `decided_by` says. One that depends on itself or on a
/// group that is not there is left out.
pub fn decision_order(
    decided_by: impl Fn(GroupId) -> Option<GroupSet>,
) -> impl Iterator<Item = GroupId> {
    let mut decided = GroupSet::EMPTY;
    core::iter::from_fn(move || {
        let is_next = |group: &GroupId| {
            !decided.contains(*group) && decided_by(*group).is_some_and(|by| decided.covers(by))
        };
        let next = GroupId::all().find(is_next)?;
        decided.insert(next);
        Some(next)
    })
}

/// The part this node plays for one group.
///
/// | from | event | to |
/// |---|---|---|
/// | Idle | nothing is in the way, or the operator asks | Claiming |
/// | Claiming | authority, consent and fencing are complete | Starting |
/// | Claiming | a better claim, a holder, no answer, failed probe, no place here, disabled | Idle |
/// | Starting | the shell has started it | Holding |
/// | Starting | the shell has failed, authority has ended, no place here, disabled | Stopping |
/// | Holding | authority has ended, it is given away, or it is disabled | Stopping |
/// | Stopping | the shell has stopped it | Idle |
/// | Stopping | the shell has failed to stop it | Stuck |
/// | Stuck | the shell has stopped it after all | Idle |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Not ours.
    Idle,
    /// Asked for, not yet backed by a quorum.
    Claiming(Claim),
    /// Backed by a quorum; the shell is starting it.
    Starting(Token),
    /// Started. `offered_until` is set while another node may take it in good order.
    Holding {
        /// The claim's token.
        token: Token,
        /// Until when a taker is awaited, if the group is being offered.
        offered_until: Option<Instant>,
    },
    /// The shell is stopping it.
    Stopping(Token),
    /// Stopping failed: nobody else may be told that it is free.
    Stuck(Token),
}

impl Role {
    /// Returns the token under which the group is wanted, if it is.
    #[must_use]
    pub const fn token(&self) -> Option<Token> {
        match self {
            Self::Idle => None,
            Self::Claiming(claim) => Some(claim.token),
            Self::Starting(token)
            | Self::Holding { token, .. }
            | Self::Stopping(token)
            | Self::Stuck(token) => Some(*token),
        }
    }

    /// Returns whether the group's resources may be up here.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(
            self,
            Self::Starting(_) | Self::Holding { .. } | Self::Stopping(_) | Self::Stuck(_)
        )
    }

    /// Returns whether the group needs authority here.
    #[must_use]
    pub const fn needs_authority(&self) -> bool {
        matches!(self, Self::Starting(_) | Self::Holding { .. })
    }
}

/// A want that is not yet backed by a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Minted for this claim.
    pub token: Token,
    /// The first frame that carries it; echoes of earlier frames do not count.
    pub first: u64,
    /// When it began.
    pub since: Instant,
    /// Whether the operator asked, so that a holder gives way.
    pub asked: bool,
    /// Since when a quorum has backed it while a survivor withholds consent.
    pub disputed_since: Option<Instant>,
}

/// Why a group's role last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing has happened since the start.
    Start,
    /// Nobody has held it since this node started.
    Unheld,
    /// Nobody holds it since this node let it go.
    Free,
    /// The holder fell silent on every link.
    HolderLost(NodeId),
    /// The holder gave it up in good order.
    Released(NodeId),
    /// The operator asked this node to take it.
    Asked,
    /// A quorum supports it and every survivor agrees.
    Granted,
    /// A quorum supports it; a survivor withheld its consent for the whole dispute time.
    Disputed(NodeId),
    /// The shell has started it.
    Started,
    /// The shell could not start it.
    StartFailed,
    /// Something of it has failed after it had started.
    Failed,
    /// This machine cannot serve it well: an adapter is gone or has no carrier.
    Unable,
    /// The support of a quorum grew too old.
    AuthorityLost,
    /// It was given to this node.
    HandedTo(NodeId),
    /// The daemon is ending.
    Leaving,
    /// The shell has stopped it.
    Stopped,
    /// The shell could not stop it.
    StopFailed,
    /// A node with a better claim wants it.
    BetterClaim(NodeId),
    /// Somebody holds it.
    HeldBy(NodeId),
    /// No quorum answered in time.
    Unanswered,
    /// It is offered to others because the operator wants this node free.
    Standby,
    /// It is offered to the node it prefers.
    Failback(NodeId),
    /// Nobody took it when it was offered.
    NoTaker,
    /// The group that it follows does not stay here.
    With(GroupId),
    /// This group, which comes before it, is here or comes here.
    Apart(GroupId),
    /// This group, which was to make way for it here, could not be stopped.
    Occupied(GroupId),
    /// The operator wants it started nowhere.
    Disabled,
    /// The operator wants nothing to move for a while.
    Maintenance,
}
