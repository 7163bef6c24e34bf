//! What the engine tells its caller.

use super::{Engine, Obstacle};
use crate::decree::Stamp;
use serde::{Deserialize, Serialize};

use crate::group::{GroupId, Reason, Role, Token};
use crate::node::{BootId, NodeId, NodeSet};
use crate::peer::Ending;

/// How a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// It has not been heard since this start.
    Unmet,
    /// It is heard and hears us, in this start.
    Alive(BootId),
    /// It has fallen silent on every link.
    Lost(BootId),
    /// It has left in good order.
    Left(BootId),
}

impl Condition {
    /// Returns which start of the peer there is to fence, the inner `None` standing for any it may
    /// have been, or `None` if there is nothing to fence.
    #[must_use]
    pub const fn start_to_fence(self) -> Option<Option<BootId>> {
        match self {
            Self::Unmet => Some(None),
            Self::Alive(boot) | Self::Lost(boot) => Some(Some(boot)),
            Self::Left(_) => None,
        }
    }
}

/// Something the caller has to do or may want to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// This node plays another part for a group. `Starting` and `Stopping` ask the caller to start
    /// and stop it and to report how that went.
    Group {
        /// Which group.
        group: GroupId,
        /// The part.
        role: Role,
        /// Why.
        reason: Reason,
    },
    /// A peer is doing otherwise.
    Peer {
        /// Which peer.
        node: NodeId,
        /// How.
        condition: Condition,
    },
    /// The operator's word is otherwise; it must be saved, so that it outlives this process.
    Decreed(Stamp),
    /// Tokens up to this one must be saved as used before they may be minted.
    Reserve(Token),
    /// A group can start only when this node is certain to be silent in this start; `None` if none
    /// is known.
    FenceNeeded {
        /// Which group.
        group: GroupId,
        /// Which node.
        node: NodeId,
        /// Which start of it.
        boot: Option<BootId>,
    },
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Returns the next thing that has changed since it was last reported, or `None`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        // The cause before what it brings about.
        if let Some(stamp) = self.poll_decree() {
            return Some(Event::Decreed(stamp));
        }
        for (group, state) in GroupId::all().zip(&mut self.groups) {
            if state.reported != (state.role, state.reason) {
                state.reported = (state.role, state.reason);
                return Some(Event::Group { group, role: state.role, reason: state.reason });
            }
        }
        for node in self.member.others().iter() {
            let condition = self.condition(node);
            let place = self.member.others().place(node);
            let reported = place.and_then(|place| self.conditions.get_mut(place));
            if let Some(reported) = reported.filter(|reported| **reported != condition) {
                *reported = condition;
                return Some(Event::Peer { node, condition });
            }
        }
        self.poll_reserve().or_else(|| self.poll_fence())
    }

    /// Returns how `node` is doing.
    #[must_use]
    pub fn condition(&self, node: NodeId) -> Condition {
        let Some(peer) = self.member.peers.get(node) else {
            return Condition::Unmet;
        };
        match (peer.session(), peer.ending()) {
            (Some(session), _) => Condition::Alive(session.boot),
            (None, Some(Ending::Lost(boot))) => Condition::Lost(boot),
            (None, Some(Ending::Left(boot))) => Condition::Left(boot),
            (None, None) => Condition::Unmet,
        }
    }

    fn poll_reserve(&mut self) -> Option<Event> {
        let largest = self.groups.iter().map(|state| state.largest).max()?;
        self.member.voter.poll_reserve(largest).map(Event::Reserve)
    }

    fn poll_fence(&mut self) -> Option<Event> {
        if !self.now.has_reached(self.fence_from()) {
            return None;
        }
        for group in GroupId::all().take(self.groups.len()) {
            // Nobody is fenced for a claim that has no quorum, or that a living node objects to.
            if !matches!(self.obstacle(group), Some(Obstacle::Unfenced(_))) {
                self.with(group, |state| state.fence_asked = NodeSet::EMPTY);
                continue;
            }
            // Who has come back and is gone again is asked for anew.
            let present: NodeSet = self.unfenced(group).map(|(node, _)| node).collect();
            let asked = self.group(group)?.fence_asked.intersection(present);
            self.with(group, |state| state.fence_asked = asked);
            let Some((node, boot)) = self.unfenced(group).find(|(node, _)| !asked.contains(*node))
            else {
                continue;
            };
            self.with(group, |state| state.fence_asked.insert(node));
            return Some(Event::FenceNeeded { group, node, boot });
        }
        None
    }
}
