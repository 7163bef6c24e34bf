//! From wanting a group to being allowed to start it.

use super::Engine;
use crate::authority::Support;
use crate::frame::Phase;
use crate::group::{Claim, GroupId, Reason, Role, Token};
use crate::node::{NodeId, NodeSet};
use crate::time::Instant;

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Goes through all groups, so that each has settled in the present moment: after those on
    /// which its place depends.
    pub(super) fn decide(&mut self) {
        for at in 0..self.order.len() {
            if let Some(group) = self.order.get(at) {
                self.decide_on(*group);
            }
        }
    }

    fn decide_on(&mut self, group: GroupId) {
        self.reconsider(group);
        match self.group(group).map(|state| state.role) {
            Some(Role::Idle) => self.consider_claim(group),
            Some(Role::Claiming(_)) => {}
            Some(Role::Starting(token)) => {
                if let Some(reason) = self.parting(group) {
                    self.set_role(group, Role::Stopping(token), reason);
                }
            }
            Some(Role::Holding { token, offered_until }) => {
                self.consider_giving(group, token, offered_until);
            }
            Some(Role::Stopping(_) | Role::Stuck(_)) | None => {}
        }
        if let Some(Role::Claiming(claim)) = self.group(group).map(|state| state.role) {
            self.consider_claimed(group, claim);
        }
    }

    /// Begins to claim `group` because the operator asks, if nothing on this node's own side is in
    /// the way.
    pub(super) fn ask_for(&mut self, group: GroupId) {
        self.with(group, |state| state.retry = Instant::ZERO);
        let idle = self.group(group).is_some_and(|state| state.role == Role::Idle);
        if idle && self.own_obstacle(group).is_none() {
            self.claim(group, true, Reason::Asked);
        }
    }

    /// Returns when this node next has something to do for `group` if nothing is heard.
    pub(super) fn next_change(&self, group: GroupId) -> Option<Instant> {
        let state = self.group(group)?;
        match state.role {
            Role::Idle => match self.obstacle(group)? {
                super::Obstacle::Rank(at)
                | super::Obstacle::Settling(at)
                | super::Obstacle::Maintenance(at) => Some(at),
                _ => None,
            },
            Role::Starting(_) | Role::Holding { .. } => self.authority_end(group),
            Role::Claiming(_) => {
                let from = Some(self.fence_from()).filter(|from| !self.now.has_reached(*from));
                from.filter(|_| matches!(self.obstacle(group), Some(super::Obstacle::Unfenced(_))))
            }
            Role::Stopping(_) | Role::Stuck(_) => None,
        }
    }

    /// Returns the token that the next claim of `group` would carry, or `None` after the last.
    pub(super) fn next_token(&self, group: GroupId) -> Option<Token> {
        self.group(group)?.largest.max(self.member.voter.largest_token(group)).next()
    }

    /// As a voter, promises a free `group` to the best of those who want it, this node among them.
    fn reconsider(&mut self, group: GroupId) {
        let Some(settings) = self.config.groups.get(group.index()) else {
            return;
        };
        let digest = self.config.digest.to_le_bytes();
        let merit = |phase: Phase, node: NodeId| {
            let order = match phase {
                Phase::Holding | Phase::Offering => 0,
                Phase::Asking => 1,
                Phase::Claiming => 2,
            };
            Some(order * crate::node::MAX_NODES + settings.rank(node)?)
        };
        let own = self.want(group).and_then(|want| merit(want.phase, self.config.me));
        let rank =
            |body: &crate::frame::Body<ECHOES, GROUPS>, node: NodeId, want: &crate::frame::Want| {
                let theirs =
                    merit(want.phase, node).filter(|_| super::admissible(body, want, digest))?;
                own.is_none_or(|own| theirs < own).then_some(theirs)
            };
        if self.member.reconsider(group, rank, self.now) {
            self.cadence.tell();
        }
        self.renew_own_promises();
    }

    fn consider_claim(&mut self, group: GroupId) {
        let clear = self.own_obstacle(group).or_else(|| self.foreign_obstacle(group)).is_none();
        let now = self.now;
        self.with(group, |state| {
            state.clear_since = if clear { state.clear_since.or(Some(now)) } else { None };
        });
        if !clear || self.obstacle(group).is_some() {
            return;
        }
        let reason = match self.group(group).and_then(|state| state.last_holder) {
            None => Reason::Unheld,
            Some((holder, _)) if holder == self.config.me => Reason::Free,
            Some((holder, true)) => Reason::Released(holder),
            Some((holder, false)) => match self.holder(group) {
                Some((holder, _)) => Reason::Released(holder),
                None => Reason::HolderLost(holder),
            },
        };
        self.claim(group, false, reason);
    }

    fn claim(&mut self, group: GroupId, asked: bool, reason: Reason) {
        let Some(token) =
            self.next_token(group).filter(|token| *token <= self.member.voter.saved())
        else {
            return;
        };
        let voters = self.config.quorum.members();
        let first = self.member.sequence.newest().saturating_add(1);
        let claim = Claim { token, first, since: self.now, asked, disputed_since: None };
        self.with(group, |state| {
            state.largest = token;
            state.support = Support::new(voters);
        });
        self.set_role(group, Role::Claiming(claim), reason);
        self.renew_own_promises();
    }

    fn consider_claimed(&mut self, group: GroupId, claim: Claim) {
        let Claim { token, asked, .. } = claim;
        if self.leaving {
            return self.withdraw(group, Reason::Leaving);
        }
        if let Some(reason) = self.forbidden(group, &claim) {
            return self.withdraw(group, reason);
        }
        let occupied = || self.stuck_occupant(group).map(Reason::Occupied);
        if let Some(reason) = self.misplaced(group).or_else(occupied) {
            return self.withdraw(group, reason);
        }
        if let Some((holder, Phase::Holding)) = self.holder(group).filter(|_| !asked) {
            return self.withdraw(group, Reason::HeldBy(holder));
        }
        if let Some(better) = self.better_claim(group, asked) {
            return self.withdraw(group, Reason::BetterClaim(better));
        }
        if !self.has_authority(group) {
            self.consider_waiting(group, &claim);
            return;
        }
        let dissenters = self.dissenters(group);
        if self.outbid(dissenters, group, token, true) {
            // A claim of its own has failed under this token or a larger one: it cannot consent.
            return self.withdraw(group, Reason::Unanswered);
        }
        let dissenter = dissenters.iter().next();
        if dissenter.is_some() && claim.disputed_since.is_none() {
            let disputed = Claim { disputed_since: Some(self.now), ..claim };
            self.with(group, |state| state.role = Role::Claiming(disputed));
        }
        if self.obstacle(group).is_none() {
            let reason = dissenter.map_or(Reason::Granted, Reason::Disputed);
            self.set_role(group, Role::Starting(token), reason);
            let placed = asked.then_some(self.now);
            self.with(group, |state| state.placed = placed);
        }
    }

    /// A claim that is not answered makes way, if there is anybody else who could claim.
    fn consider_waiting(&mut self, group: GroupId, claim: &Claim) {
        let Some(settings) = self.settings(group) else {
            return;
        };
        if let Some((_, Phase::Offering)) = self.holder(group) {
            return;
        }
        let timing = &self.config.timing;
        let limit = super::claim_limit(settings, timing.heartbeat);
        let waited = self.now.since(claim.since);
        let others = self.takers(group).next().is_some();
        if claim.asked && waited >= timing.offer.max(limit) {
            self.withdraw(group, Reason::Unanswered);
        } else if !claim.asked && others && waited >= limit {
            let retry = self.now + limit;
            self.withdraw(group, Reason::Unanswered);
            self.with(group, |state| state.retry = retry);
        } else if self.outbid(self.member.peers.alive(), group, claim.token, waited >= limit) {
            // Somebody was promised the group under a larger token since: this claim can never be
            // supported.
            self.withdraw(group, Reason::Unanswered);
        }
    }

    /// Returns whether one of these voters knows a larger token than this claim's and promises the
    /// group to nobody. The same token will do once the claim has `waited`: somebody else has
    /// minted it too, or what was promised under it has run out, and is not promised under again.
    fn outbid(&self, voters: NodeSet, group: GroupId, token: Token, waited: bool) -> bool {
        self.member.peers.sessions().filter(|(node, _)| voters.contains(*node)).any(
            |(_, session)| {
                let word = session.body.word(group).filter(|word| word.to.is_none());
                word.is_some_and(|word| word.token > token || (waited && word.token == token))
            },
        )
    }

    fn withdraw(&mut self, group: GroupId, reason: Reason) {
        let (me, boot) = (self.config.me, self.member.sequence.boot());
        self.set_role(group, Role::Idle, reason);
        self.member.voter.release(group, me, boot);
        self.reconsider(group);
    }
}
