//! Holding a group: authority, and giving it away in good order.

use super::Engine;
use crate::frame::Phase;
use crate::group::{Failback, GroupId, Reason, Role, Token};
use crate::node::NodeId;
use crate::promise::Supported;
use crate::time::Instant;

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Returns when this node's authority over `group` ends unless newer support comes, or `None`
    /// if no quorum supports it. The kernel lease of its addresses ends at the same moment.
    #[must_use]
    pub fn authority_end(&self, group: GroupId) -> Option<Instant> {
        let (state, settings) = (self.group(group)?, self.settings(group)?);
        // This node's own support is as old as the present moment while its promise to itself
        // lives.
        let supports = self.supports_itself(group, state.role.token()?);
        let own = supports.then_some((self.config.me, self.now));
        let since = state.support.since_with(&self.config.quorum, own);
        since.map(|since| since + settings.authority)
    }

    /// Returns whether this node, as a voter, has promised `group` to its own want under `token`.
    pub(super) fn supports_itself(&self, group: GroupId, token: Token) -> bool {
        let boot = self.member.sequence.boot();
        let own = Supported { node: self.config.me, boot, token };
        self.member.voter.promise(group, self.now).is_some_and(|promise| promise.to == own)
    }

    pub(super) fn has_authority(&self, group: GroupId) -> bool {
        self.authority_end(group).is_some_and(|end| self.now < end)
    }

    /// Gives up `group` if its authority has ended.
    pub(super) fn end_authority(&mut self, group: GroupId) {
        let role = self.group(group).map(|state| state.role);
        if let Some(Role::Starting(token) | Role::Holding { token, .. }) = role
            && !self.has_authority(group)
        {
            self.set_role(group, Role::Stopping(token), Reason::AuthorityLost);
        }
    }

    /// Judges whether a held group is given away, offered, or kept.
    pub(super) fn consider_giving(
        &mut self,
        group: GroupId,
        token: Token,
        offered_until: Option<Instant>,
    ) {
        if let Some(other) = self.second_holder(group, token) {
            return self.set_role(group, Role::Stopping(token), Reason::HeldBy(other));
        }
        if let Some(reason) = self.parting(group) {
            return self.part(group, token, reason);
        }
        if self.maintenance_end(group).is_some() {
            // It stays, and nobody is told that it could be had.
            if offered_until.is_some() {
                let kept = Role::Holding { token, offered_until: None };
                self.set_role(group, kept, Reason::Maintenance);
            }
            return;
        }
        match offered_until {
            Some(until) if self.now.has_reached(until) => self.end_offer(group, token),
            Some(_) => {}
            None => self.consider_offer(group, token),
        }
    }

    /// Frees the group after a confirmed stop, and as a voter promises it to whoever waits for it.
    pub(super) fn let_go(&mut self, group: GroupId) {
        let Some((reason, _)) = self.group(group).map(super::Group::reason) else {
            return;
        };
        let timing = self.config.timing;
        let pause = match reason {
            // Time for the taker, or for a better placed node, to come first.
            Reason::HandedTo(_) | Reason::HeldBy(_) | Reason::AuthorityLost => timing.dead.times(2),
            Reason::StartFailed | Reason::Failed => timing.offer.times(START_PAUSE),
            _ => crate::time::Duration::ZERO,
        };
        let (me, boot) = (self.config.me, self.member.sequence.boot());
        let after = if let Reason::HandedTo(_) = reason { reason } else { Reason::Stopped };
        self.set_role(group, Role::Idle, after);
        let retry = self.now + pause;
        self.with(group, |state| {
            state.retry = retry;
            state.last_holder = Some((me, true));
        });
        self.member.voter.release(group, me, boot);
    }

    /// Returns a living peer that holds the same group with a better right: a larger token, or the
    /// same and a better place. It can only be where split brain was accepted or an assumption was
    /// broken.
    fn second_holder(&self, group: GroupId, token: Token) -> Option<NodeId> {
        let rank = |node| self.settings(group).and_then(|settings| settings.rank(node));
        let mine = rank(self.config.me);
        self.member.peers.sessions().find_map(|(node, session)| {
            let want = session.body.want(group).filter(|want| want.phase.is_held())?;
            let better = want.token > token || (want.token == token && rank(node) < mine);
            better.then_some(node)
        })
    }

    /// Returns the node to give `group` to: one whose operator asks, or, while it is offered, any
    /// that claims it. What is offered because a better placed node is back goes to no other than a
    /// better placed one: nodes that are no better would hand it to each other without end, as long
    /// as that node does not take it.
    pub(super) fn taker(&self, group: GroupId, offered: bool) -> Option<NodeId> {
        let wants = |node: &NodeId, phase: Phase| {
            let session = self.member.peers.session(*node);
            session
                .and_then(|session| session.body.want(group))
                .is_some_and(|want| want.phase == phase)
        };
        let asking = self.takers(group).find(|node| wants(node, Phase::Asking));
        let returns = self.group(group).is_some_and(|state| {
            let goes = self.leaving || self.standby || state.standby || !state.able;
            !goes && matches!(state.reason, Reason::Failback(_))
        });
        let rank = |node| self.settings(group).and_then(|settings| settings.rank(node));
        let suits = |node: &NodeId| {
            wants(node, Phase::Claiming) && (!returns || rank(*node) < rank(self.config.me))
        };
        asking.or_else(|| self.takers(group).filter(|_| offered).find(suits))
    }

    fn consider_offer(&mut self, group: GroupId, token: Token) {
        let Some((standby, able, retry)) =
            self.group(group).map(|state| (state.standby, state.able, state.retry))
        else {
            return;
        };
        let anybody = self.takers(group).next().is_some();
        let reason = match self.failback(group) {
            // Nobody else can have a follower as long as its leader is here.
            _ if self.leader(group).is_some() => return,
            _ if self.leaving => Reason::Leaving,
            _ if !self.now.has_reached(retry) => return,
            _ if (self.standby || standby) && anybody => Reason::Standby,
            _ if !able && anybody => Reason::Unable,
            Some(node) => Reason::Failback(node),
            None => return,
        };
        let until = self.now + self.config.timing.offer;
        self.set_role(group, Role::Holding { token, offered_until: Some(until) }, reason);
    }

    fn end_offer(&mut self, group: GroupId, token: Token) {
        let pause = self.config.timing.offer.times(OFFER_PAUSE);
        let hold_off = match self.settings(group).map(|settings| settings.failback) {
            Some(Failback::After(hold_off)) => hold_off,
            Some(Failback::Off) | None => crate::time::Duration::ZERO,
        };
        let retry = self.now + pause.max(hold_off);
        self.set_role(group, Role::Holding { token, offered_until: None }, Reason::NoTaker);
        self.with(group, |state| state.retry = retry);
    }

    /// Returns the better placed node to which the group should return by now.
    fn failback(&self, group: GroupId) -> Option<NodeId> {
        let settings = self.settings(group)?;
        let Failback::After(hold_off) = settings.failback else {
            return None;
        };
        let mine = settings.rank(self.config.me);
        let placed = self.group(group)?.placed;
        let steady = |node: &NodeId| {
            let session = self.member.peers.session(*node);
            session.is_some_and(|session| {
                let is_back = placed.is_none_or(|placed| session.since >= placed);
                is_back && self.now.since(session.since) >= hold_off
            })
        };
        let better = self.takers(group).filter(|node| settings.rank(*node) < mine && steady(node));
        better.min_by_key(|node| settings.rank(*node))
    }
}

/// How many offer times pass before a group that nobody took is offered again.
const OFFER_PAUSE: u64 = 5;
/// How many offer times pass before a start that failed is tried again here.
const START_PAUSE: u64 = 10;
