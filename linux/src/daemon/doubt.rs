//! When the wire is asked before addresses are taken: where no node is known to have answered for
//! them until a moment ago, so that a machine which is none of ours may.

use lifesign_core::group::{GroupId, Reason, Role};
use lifesign_core::time::Instant;

use super::Daemon;

impl Daemon {
    /// Notes at the beginning of a claim whether the addresses of a group are in doubt, and that
    /// they are not while it is held.
    ///
    /// Who has just offered a group, or left, answered for it. Who gave it up otherwise may never
    /// have: its own question may have been answered by somebody else.
    pub(super) fn note_doubt(&mut self, group: GroupId, role: Role, reason: Reason) {
        let is_given_up = match reason {
            Reason::Released(holder) => {
                let session = self.engine.member().peers.session(holder);
                session.is_some_and(|session| session.body.want(group).is_none())
            }
            _ => false,
        };
        let Some(holding) = self.groups.get_mut(group.index()) else { return };
        match role {
            Role::Claiming(_) => holding.is_doubtful |= is_given_up,
            Role::Holding { .. } => holding.is_doubtful = false,
            _ => {}
        }
    }

    /// Takes in that a machine which is none of ours has an address of a group: it is told, and
    /// keeps the group from a start.
    pub(super) fn handle_stranger(&mut self, group: usize, what: &str, now: Instant) {
        self.alert(format!("{}: {what}", self.group_name(group)));
        let Some(holding) = self.groups.get_mut(group) else { return };
        holding.is_doubtful = true;
        let step = holding.conduct.probed(false);
        self.take_steps(group, step, now);
    }

    /// Returns whether the wire is to be asked before the addresses of a group are taken.
    pub(super) fn is_cold(&self, group: GroupId) -> bool {
        let is_doubtful = self.groups.get(group.index()).is_some_and(|holding| holding.is_doubtful);
        let is_unheld = self.engine.group(group).is_some_and(|state| state.last_holder().is_none());
        let known = self.settings.groups.get(group.index());
        let has_addresses = known.is_some_and(|group| !group.addresses.is_empty());
        (is_doubtful || is_unheld) && has_addresses
    }
}
