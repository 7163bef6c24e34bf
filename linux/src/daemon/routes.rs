//! Until when routes may stand, as the supervisor knows it.

use lifesign_core::group::GroupId;
use lifesign_core::time::Instant;

use super::Daemon;
use crate::agent::own::route::RoutePlan;

impl Daemon {
    /// Says, before the lease of `group` is moved to `end`, that routes to its addresses may stand
    /// for g longer. By then this thread has looked at its authority anew, or it does not get on;
    /// if it was slower and has its authority all the same, it looks whether they still stand.
    pub(super) fn extend_routes(&mut self, group: GroupId, end: Instant, now: Instant) {
        let (at, grace) = (group.index(), self.settings.timing.heartbeat);
        self.supervisor.set_end(group, Some(end + grace));
        let (Some(holding), Some(known)) = (self.groups.get_mut(at), self.settings.groups.get(at))
        else {
            return;
        };
        if now.has_reached(holding.lease_end + grace) {
            let monitors = holding.conduct.monitors.iter_mut().zip(&known.services);
            for (due, _) in monitors.filter(|(_, service)| RoutePlan::of(service).is_some()) {
                *due = due.map(|_| now);
            }
        }
    }

    /// Says that nothing of `group` is up any more, unless it is.
    pub(super) fn forget_routes(&self, group: GroupId, is_up: bool) {
        if !is_up {
            self.supervisor.set_end(group, None);
        }
    }
}
