//! Groups that follow others, and groups that stay away from others.
//!
//! A group may be told to run `with` another, its leader, and `apart` from some that come before
//! it. Each node keeps to four rules, for which it looks at nothing but its own part for these
//! groups:
//!
//! 1. A group that has a leader is claimed, started and kept only while this node holds the leader
//!    and does not let it go.
//! 2. A group yields to one that it is apart from: it is not claimed, not started and not kept
//!    where that one is up, or is claimed and lacks nothing else, or is asked for by the operator.
//! 3. What is let go in good order is stopped only when nothing that follows it is up any more.
//!    The end of authority waits for nobody.
//! 4. What others yield to starts only when none of them is up any more. Where one of them cannot
//!    be stopped, it is not claimed.
//!
//! *Safety.* Two groups that are apart never run on one node: of two starts the second finds the
//! first up, and is refused by rule 2 or by rule 4. A follower is up without its leader only while
//! it is being stopped: rule 1 stops it as soon as the leader is not held, and rule 3 has it
//! stopped before that where there is time. What is up under which authority is another matter
//! and is not touched.
//!
//! *Liveness.* Settings in which a group's place depends on itself are refused, so there is an
//! order in which the place of each group is decided by those before it. For those after it a group
//! only waits: for stops, which end, and a stop that fails is waited for by no leader, and keeps
//! the group that comes first from this one node. So the first groups settle as if they were
//! alone; once they have, so does the next; and each moves at most once for each move of those
//! before it.
//!
//! A follower that fails does not move its leader: what others rest on is not interrupted for what
//! rests on it. It is tried again here, until the shell says that this machine cannot serve it.

use super::{Engine, Obstacle};
use crate::frame::{Body, Phase};
use crate::group::{Claim, GroupId, Reason, Role, Token};

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Returns the group that `group` follows, if it follows one.
    pub(super) fn leader(&self, group: GroupId) -> Option<GroupId> {
        self.settings(group)?.with
    }

    /// Returns why `group` must not be here as other groups are placed: its leader is not here to
    /// stay, or one that comes before it is here or comes here.
    pub(super) fn misplaced(&self, group: GroupId) -> Option<Reason> {
        let settings = self.settings(group)?;
        if let Some(leader) = settings.with.filter(|leader| !self.is_kept(*leader)) {
            return Some(Reason::With(leader));
        }
        settings.apart.iter().find(|first| self.prevails(*first)).map(Reason::Apart)
    }

    /// Returns why `group`, which is up, is to be stopped in good order, if it is.
    pub(super) fn parting(&self, group: GroupId) -> Option<Reason> {
        let state = self.group(group)?;
        let disabled = self.is_disabled(group).then_some(Reason::Disabled);
        let offered_until = match state.role {
            Role::Holding { offered_until, .. } => offered_until,
            Role::Starting(_) => return disabled.or_else(|| self.misplaced(group)),
            Role::Idle | Role::Claiming(_) | Role::Stopping(_) | Role::Stuck(_) => return None,
        };
        if disabled.is_some() {
            return disabled;
        }
        if state.reason == Reason::Failed {
            return Some(Reason::Failed);
        }
        if let Some(reason) = self.misplaced(group) {
            return Some(reason);
        }
        if self.maintenance_end(group).is_some() {
            return self.parting_in_maintenance(group);
        }
        if let Some(taker) = self.taker(group, offered_until.is_some()) {
            return Some(Reason::HandedTo(taker));
        }
        let is_over = offered_until.is_some_and(|until| self.now.has_reached(until))
            || self.takers(group).next().is_none();
        // A follower goes when its leader does.
        let leaves = self.leaving && is_over && self.leader(group).is_none();
        leaves.then_some(Reason::Leaving)
    }

    /// Returns why `group`, which is in maintenance, is to be stopped all the same: what had begun
    /// before is brought to its end, and whoever leaves stops what it holds and offers it to
    /// nobody.
    fn parting_in_maintenance(&self, group: GroupId) -> Option<Reason> {
        let state = self.group(group)?;
        let is_offered = matches!(state.role, Role::Holding { offered_until: Some(_), .. });
        if is_offered && let Reason::HandedTo(_) = state.reason {
            return Some(state.reason);
        }
        (self.leaving && self.leader(group).is_none()).then_some(Reason::Leaving)
    }

    /// Stops `group`, which is held, for `reason`; as long as anything that follows it is up, it is
    /// only offered.
    pub(super) fn part(&mut self, group: GroupId, token: Token, reason: Reason) {
        if self.followers_up(group).next().is_none() {
            return self.set_role(group, Role::Stopping(token), reason);
        }
        let is_told = self.group(group).is_some_and(|state| {
            let is_offered = matches!(state.role, Role::Holding { offered_until: Some(_), .. });
            is_offered && (reason != Reason::Failed || state.reason == Reason::Failed)
        });
        if !is_told {
            let until = Some(self.now + self.config.timing.offer);
            self.set_role(group, Role::Holding { token, offered_until: until }, reason);
        }
    }

    /// Returns whether `group` is held here and is not let go.
    fn is_kept(&self, group: GroupId) -> bool {
        let held = self.group(group).is_some_and(|it| matches!(it.role, Role::Holding { .. }));
        held && self.parting(group).is_none()
    }

    /// Returns whether those that come after `group` yield to it here.
    fn prevails(&self, group: GroupId) -> bool {
        match self.group(group).map(|state| state.role) {
            Some(Role::Claiming(claim)) => claim.asked || self.is_granted(group, &claim),
            Some(Role::Idle) | None => false,
            Some(role) => role.is_up(),
        }
    }

    fn is_granted(&self, group: GroupId, claim: &Claim) -> bool {
        self.foreign_claim_obstacle(group, claim).is_none()
    }

    /// Returns what stands in the way of a claim of `group` here, as other groups are placed.
    pub(super) fn place_obstacle(&self, group: GroupId) -> Option<Obstacle> {
        match self.misplaced(group) {
            Some(Reason::With(leader)) => Some(Obstacle::With(leader)),
            Some(Reason::Apart(first)) => Some(Obstacle::Apart(first)),
            _ => self.stuck_occupant(group).map(Obstacle::Occupied),
        }
    }

    /// Returns the groups that follow `group` and run here, or are about to, or are being stopped.
    /// What could not be stopped holds nothing up.
    fn followers_up(&self, group: GroupId) -> impl Iterator<Item = GroupId> {
        let follows = move |it: &GroupId| self.leader(*it) == Some(group);
        self.up()
            .filter(|(_, role)| !matches!(role, Role::Stuck(_)))
            .map(|(it, _)| it)
            .filter(follows)
    }

    /// Returns a group that yields to `group` and is still up here.
    pub(super) fn occupant(&self, group: GroupId) -> Option<GroupId> {
        self.occupants(group).next().map(|(it, _)| it)
    }

    /// Returns a group that was to yield to `group` and could not be stopped here.
    pub(super) fn stuck_occupant(&self, group: GroupId) -> Option<GroupId> {
        let is_stuck = |(_, role): &(GroupId, Role)| matches!(role, Role::Stuck(_));
        self.occupants(group).find(is_stuck).map(|(it, _)| it)
    }

    fn occupants(&self, group: GroupId) -> impl Iterator<Item = (GroupId, Role)> {
        self.up().filter(move |(it, _)| {
            self.settings(*it).is_some_and(|settings| settings.apart.contains(group))
        })
    }

    fn up(&self) -> impl Iterator<Item = (GroupId, Role)> {
        let roles = GroupId::all().zip(&self.groups).map(|(group, state)| (group, state.role));
        roles.filter(|(_, role)| role.is_up())
    }

    /// Returns whether a peer that says `body` could take `group`, as it has placed the others.
    pub(super) fn has_place(&self, group: GroupId, body: &Body<ECHOES, GROUPS>) -> bool {
        let Some(settings) = self.settings(group) else { return false };
        let phase = |other| body.want(other).map(|want| want.phase);
        settings.with.is_none_or(|leader| phase(leader) == Some(Phase::Holding))
            && !settings.apart.iter().any(|first| phase(first).is_some_and(Phase::is_held))
    }
}
