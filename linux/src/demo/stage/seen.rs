//! What the switch has seen of who answers.

use super::super::observer::Observer;
use super::{SERVERS, Stage};

impl Stage {
    /// Returns for how long two servers answered for one address between two times.
    #[must_use]
    pub fn two_holders_us(&self, from_us: u64, to_us: u64) -> u64 {
        let of_group = |group| self.cluster.lab().two_holders_us(group, from_us, to_us);
        (0..self.clients.len()).map(of_group).max().unwrap_or(0)
    }

    /// Returns the server that alone is seen to answer for the address of a group.
    #[must_use]
    pub fn holder(&self, group: usize) -> Option<&'static str> {
        let holders = self.cluster.lab().holders(group);
        let [holder] = holders[..] else {
            return None;
        };
        SERVERS.into_iter().find(|name| *name == holder)
    }

    /// Returns when `name` was first seen to begin to answer for a group since `from_us`.
    #[must_use]
    pub fn first_seen_us(&self, group: usize, name: &str, from_us: u64) -> Option<u64> {
        let server = self.cluster.lab().index_of(name);
        first_since(&self.cluster.lab().switch().record(group).all, server, from_us)
    }

    /// Returns the index of the only adapter of `name` by which it is seen to answer for the first
    /// group's address.
    #[must_use]
    pub fn adapter(&self, name: &str) -> Option<usize> {
        let lab = self.cluster.lab();
        let [port] = lab.switch().record(0).at_port.holders(lab.now_us())[..] else { return None };
        (0..lab.unplugged(name).len()).find(|cable| lab.port(name, *cable) == port)
    }

    /// Returns the index of the adapter of `name` whose cable is pulled, if there is one.
    #[must_use]
    pub fn pulled_adapter(&self, name: &str) -> Option<usize> {
        self.cluster.lab().unplugged(name).iter().position(|is_pulled| *is_pulled)
    }

    /// Returns when `name` was first seen to begin to answer by another adapter than that with the
    /// index `cable`, since `from_us`.
    #[must_use]
    pub fn first_elsewhere_us(&self, name: &str, cable: usize, from_us: u64) -> Option<u64> {
        let lab = self.cluster.lab();
        let seen = lab.switch().record(0).at_port;
        let others = (0..lab.unplugged(name).len()).filter(|other| *other != cable);
        others.filter_map(|other| first_since(&seen, lab.port(name, other), from_us)).min()
    }
}

/// Returns when `place` was first seen to begin to answer since `from_us`.
fn first_since(seen: &Observer, place: usize, from_us: u64) -> Option<u64> {
    let own = seen.spans().iter().filter(|span| span.server == place);
    own.map(|span| span.first_us).filter(|first_us| *first_us >= from_us).min()
}
