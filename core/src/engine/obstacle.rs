//! Why this node does not claim a group, or may not start what it claims: the same answers decide
//! and explain.

use super::Engine;
use crate::frame::{Flags, Phase};
use crate::group::{Claim, GroupId, Guard, Role, Token};
use crate::node::{BootId, NodeId, NodeSet};
use crate::peer::Ending;
use crate::promise::Promise;
use crate::time::Instant;

/// What stands between this node and a group. The first that applies is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Obstacle {
    /// The group's order does not name this node.
    NotInOrder,
    /// This node is leaving.
    Leaving,
    /// The operator wants it started nowhere.
    Disabled,
    /// The operator wants nothing to move until this moment.
    Maintenance(Instant),
    /// The operator wants this node free of it.
    Standby,
    /// This machine cannot serve it: an adapter is gone or has no carrier.
    Unable,
    /// This node has just started and meets its peers until this moment.
    Settling(Instant),
    /// It follows this group, which is not here to stay.
    With(GroupId),
    /// It must not be where this group is, which comes first, and which is here or comes here.
    Apart(GroupId),
    /// This group makes way for it and is still up here.
    Occupied(GroupId),
    /// An attempt failed; the next is not before this moment.
    Waiting(Instant),
    /// The next token is not yet saved as used.
    Unreserved(Token),
    /// A living peer holds it.
    HeldBy(NodeId),
    /// A living peer wants it and comes first.
    ClaimedBy(NodeId),
    /// This node, as a voter, has promised it to another.
    Promised(Promise),
    /// A better placed node is given this long to claim it first.
    Rank(Instant),
    /// Its claim has no quorum: these voters do not support it.
    NoQuorum(NodeSet),
    /// Its claim has a quorum; this living peer withholds consent until this moment.
    Consent(NodeId, Instant),
    /// This node could still be holding it and must be fenced.
    Unfenced(NodeId),
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Returns what stands between this node and `group`, or `None` if it has it or is about to
    /// claim it.
    #[must_use]
    pub fn obstacle(&self, group: GroupId) -> Option<Obstacle> {
        match self.group(group)?.role {
            Role::Idle => self.idle_obstacle(group),
            Role::Claiming(claim) => self.claim_obstacle(group, &claim),
            Role::Starting(_) | Role::Holding { .. } | Role::Stopping(_) | Role::Stuck(_) => None,
        }
    }

    /// Returns whether this node's claim of `group` under `token` waits for nothing but proof that
    /// servers are silent, `target` among them. Only as long as it does may that server be fenced:
    /// nobody is fenced for a claim that has no quorum, or that a living node objects to, and
    /// nobody who has come back meanwhile and does not hold it.
    #[must_use]
    pub fn waits_for_fence(&self, group: GroupId, token: Token, target: NodeId) -> bool {
        let claimed = self.group(group).and_then(|state| state.role().token());
        claimed == Some(token)
            && self.now.has_reached(self.fence_from())
            && matches!(self.obstacle(group), Some(Obstacle::Unfenced(_)))
            && self.unfenced(group).any(|(node, _)| node == target)
    }

    /// Returns from when on somebody who is silent may be fenced. Whoever has just heard somebody
    /// anew may be about to hear others, too: links return one after the other, and the last that
    /// is heard is not dead for that.
    pub(super) fn fence_from(&self) -> Instant {
        let newest = self.member.peers.sessions().map(|(_, session)| session.since).max();
        newest.map_or(Instant::ZERO, |since| since + self.config.timing.dead)
    }

    fn idle_obstacle(&self, group: GroupId) -> Option<Obstacle> {
        if let Some(obstacle) = self.own_obstacle(group).or_else(|| self.foreign_obstacle(group)) {
            return Some(obstacle);
        }
        let since = self.group(group)?.clear_since.unwrap_or(self.now);
        let claim_at = since + self.config.timing.heartbeat.times(self.better_candidates(group));
        (!self.now.has_reached(claim_at)).then_some(Obstacle::Rank(claim_at))
    }

    /// What stands in the way on this node's own side.
    pub(super) fn own_obstacle(&self, group: GroupId) -> Option<Obstacle> {
        let (state, settings) = (self.group(group)?, self.settings(group)?);
        let settled = (self.started + self.config.timing.settle).max(self.member.voter.ready());
        if settings.rank(self.config.me).is_none() {
            Some(Obstacle::NotInOrder)
        } else if self.leaving {
            Some(Obstacle::Leaving)
        } else if self.is_disabled(group) {
            Some(Obstacle::Disabled)
        } else if let Some(until) = self.maintenance_end(group) {
            Some(Obstacle::Maintenance(until))
        } else if self.standby || state.standby {
            Some(Obstacle::Standby)
        } else if !state.able {
            Some(Obstacle::Unable)
        } else if !self.now.has_reached(settled) {
            Some(Obstacle::Settling(settled))
        } else if let Some(obstacle) = self.place_obstacle(group) {
            Some(obstacle)
        } else if !self.now.has_reached(state.retry) {
            Some(Obstacle::Waiting(state.retry))
        } else {
            let token = self.next_token(group)?;
            (token > self.member.voter.saved()).then_some(Obstacle::Unreserved(token))
        }
    }

    /// What stands in the way on other nodes' side.
    pub(super) fn foreign_obstacle(&self, group: GroupId) -> Option<Obstacle> {
        if let Some((holder, Phase::Holding)) = self.holder(group) {
            return Some(Obstacle::HeldBy(holder));
        }
        if let Some(claimant) = self.better_claim(group, false) {
            return Some(Obstacle::ClaimedBy(claimant));
        }
        let promise = self.member.voter.promise(group, self.now)?;
        let offered = self.holder(group).map(|(holder, _)| holder) == Some(promise.to.node);
        (promise.to.node != self.config.me && !offered).then_some(Obstacle::Promised(promise))
    }

    fn claim_obstacle(&self, group: GroupId, claim: &Claim) -> Option<Obstacle> {
        let before =
            self.place_obstacle(group).or_else(|| self.foreign_claim_obstacle(group, claim));
        before.or_else(|| self.occupant(group).map(Obstacle::Occupied))
    }

    /// What other nodes have against this node's claim.
    pub(super) fn foreign_claim_obstacle(&self, group: GroupId, claim: &Claim) -> Option<Obstacle> {
        if !self.has_authority(group) {
            return Some(Obstacle::NoQuorum(self.unsupportive(group)));
        }
        if let Some(node) = self.dissenters(group).iter().next() {
            let until = claim.disputed_since.unwrap_or(self.now) + self.config.timing.dispute;
            if !self.now.has_reached(until) {
                return Some(Obstacle::Consent(node, until));
            }
        }
        self.unfenced(group).next().map(|(node, _)| Obstacle::Unfenced(node))
    }

    /// Returns the living peer that holds `group`, and whether it offers it. Offers come last, so
    /// that a holder that offers does not hide one that does not.
    pub(super) fn holder(&self, group: GroupId) -> Option<(NodeId, Phase)> {
        let held = self.member.peers.sessions().filter_map(|(node, session)| {
            let want = session.body.want(group).filter(|want| want.phase.is_held())?;
            Some((node, want.phase))
        });
        held.min_by_key(|(_, phase)| *phase)
    }

    /// Returns a living peer whose want comes before this node's: the operator's word first, then
    /// the group's order.
    pub(super) fn better_claim(&self, group: GroupId, asked: bool) -> Option<NodeId> {
        let settings = self.settings(group)?;
        let mine = (!asked, settings.rank(self.config.me)?);
        let digest = self.config.digest.to_le_bytes();
        let claims = self.member.peers.sessions().filter_map(|(node, session)| {
            let want = session
                .body
                .want(group)
                .filter(|want| super::admissible(&session.body, want, digest))?;
            match want.phase {
                Phase::Claiming | Phase::Asking => {
                    Some(((want.phase != Phase::Asking, settings.rank(node)?), node))
                }
                Phase::Holding | Phase::Offering => None,
            }
        });
        claims.filter(|(merit, _)| *merit < mine).min().map(|(_, node)| node)
    }

    /// Returns the living servers that could take `group` in good order.
    pub(super) fn takers(&self, group: GroupId) -> impl Iterator<Item = NodeId> {
        let digest = self.config.digest.to_le_bytes();
        self.member.peers.sessions().filter_map(move |(node, session)| {
            let flags = session.body.flags;
            let able = !flags.has(Flags::STANDBY)
                && !flags.has(Flags::BOOTING)
                && session.body.digest == digest;
            let listed = self.settings(group)?.rank(node).is_some();
            let has_place = self.has_place(group, &session.body);
            (able && listed && has_place && !node.is_witness()).then_some(node)
        })
    }

    /// Returns how many living nodes that do not hold `group` already come before this one.
    pub(super) fn better_candidates(&self, group: GroupId) -> u64 {
        let Some(settings) = self.settings(group) else {
            return 0;
        };
        let mine = settings.rank(self.config.me);
        let holder = self.holder(group).map(|(holder, _)| holder);
        let better = |node: &NodeId| settings.rank(*node) < mine && holder != Some(*node);
        self.takers(group).filter(better).fold(0, |count, _| count + 1)
    }

    /// Returns the living servers that have not promised `group` to this node's claim: their
    /// consent is missing. A server that has just started cannot promise and is not asked.
    pub(super) fn dissenters(&self, group: GroupId) -> NodeSet {
        let token = self.group(group).and_then(|state| state.role.token());
        let dissents = |(node, session): (NodeId, &crate::peer::Session<ECHOES, GROUPS>)| {
            let word = session.body.word(group);
            let agrees = word
                .is_some_and(|word| word.to == Some(self.config.me) && Some(word.token) == token);
            let asked = !node.is_witness() && !session.body.flags.has(Flags::BOOTING);
            (asked && !agrees).then_some(node)
        };
        self.member.peers.sessions().filter_map(dissents).collect()
    }

    /// Returns the voters that do not support this node's claim, or whose support is too old.
    fn unsupportive(&self, group: GroupId) -> NodeSet {
        let (Some(state), Some(settings)) = (self.group(group), self.settings(group)) else {
            return NodeSet::EMPTY;
        };
        let mut supporters = state.support.newer_than(self.now - settings.authority);
        if state.role.token().is_some_and(|token| self.supports_itself(group, token)) {
            supporters.insert(self.config.me);
        }
        self.config.quorum.members().difference(supporters)
    }

    /// Returns the servers that could still be holding a `fence` group, with the start to be fenced
    /// if one is known.
    pub(super) fn unfenced(
        &self,
        group: GroupId,
    ) -> impl Iterator<Item = (NodeId, Option<BootId>)> {
        let guarded = self.settings(group).is_some_and(|settings| settings.guard == Guard::Fence);
        let others = self.config.quorum.nodes().difference(NodeSet::EMPTY.with(self.config.me));
        let (member, fenced) = (&self.member, &self.fenced);
        others.iter().filter(move |_| guarded).filter_map(move |node| {
            let peer = member.peers.get(node)?;
            match (peer.session(), peer.ending()) {
                (Some(session), _) => {
                    let holds = session.body.want(group).is_some_and(|want| want.phase.is_held());
                    holds.then_some((node, Some(session.boot)))
                }
                (None, Some(Ending::Left(_))) => None,
                (None, ending) => {
                    let boot = ending.map(Ending::boot);
                    let place = member.others().place(node)?;
                    let acknowledged = fenced.get(place).copied().flatten();
                    let is_fenced = acknowledged == Some(super::Fenced { boot });
                    (!is_fenced).then_some((node, boot))
                }
            }
        })
    }
}
