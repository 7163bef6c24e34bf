//! Taking every service address down when the daemon cannot.

use std::net::IpAddr;

use super::error::Error;
use super::front;
use super::lease::Closer;
use super::mac::Mark;
use super::netlink::Netlink;
use super::route;
use super::steer;

/// What a supervisor needs to take the service addresses down after the daemon was killed.
///
/// Made by [`Addresses::take_down`](super::Addresses::take_down) before the processes part: its
/// sockets are open and its memory is shared, so [`run`](Self::run) opens nothing. Only one process
/// may use it.
#[derive(Debug)]
pub struct TakeDown {
    netlink: Netlink,
    closer: Closer,
    services: Vec<IpAddr>,
    /// By what the adapters of hardware addresses are known, if groups may have some.
    mark: Option<Mark>,
    /// Adapters that are to answer for the addresses of others again, with what they had before.
    ignoring: Vec<(u32, u32)>,
    is_steered: bool,
}

impl TakeDown {
    /// Returns a way to take `services` down.
    pub(crate) const fn new(
        netlink: Netlink,
        closer: Closer,
        services: Vec<IpAddr>,
        mark: Option<Mark>,
    ) -> Self {
        Self { netlink, closer, services, mark, ignoring: Vec::new(), is_steered: false }
    }

    /// Returns the way with adapters to set back, and rules to take away.
    pub(crate) fn with_seats(mut self, ignoring: Vec<(u32, u32)>) -> Self {
        self.ignoring = ignoring;
        self.is_steered = true;
        self
    }

    /// Closes every lease, deletes every service address, and puts hardware addresses back, in this
    /// order, whatever fails.
    ///
    /// Returns how many addresses were there. Costs a few system calls, well below a millisecond.
    ///
    /// # Errors
    /// The first failure; everything else has been tried all the same. A lease that could not be
    /// closed runs out at its deadline.
    pub fn run(&mut self) -> Result<usize, Error> {
        let closed = self.closer.close();
        let deleted = delete_all(&mut self.netlink, &self.services);
        let cleared = self.mark.map(|mark| front::clear(&mut self.netlink, mark)).transpose();
        let mut undone = Ok(());
        if self.is_steered {
            undone = steer::clear(&mut self.netlink);
            for (index, before) in &self.ignoring {
                let outcome = self.netlink.set_arp_ignore(*index, *before);
                undone = undone.and(outcome);
            }
        }
        closed
            .and(undone)
            .and_then(|()| deleted.and_then(|addresses| cleared.map(|_| addresses.len())))
    }
}

/// Withdraws the routes to `services`, deletes those which are installed on any adapter, and
/// returns them.
pub(crate) fn delete_all(netlink: &mut Netlink, services: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let (mut deleted, mut adapters) = (Vec::new(), Vec::new());
    let mut first = route::withdraw(netlink, services);
    for address in netlink.addresses()? {
        if services.contains(&address.ip) {
            let outcome = netlink.delete_address(address);
            if outcome.is_ok() {
                deleted.push(address.ip);
                adapters.push(address.index);
            }
            first = first.and(outcome);
        }
    }
    adapters.dedup();
    for index in adapters {
        let outcome = steer::forget_unanswered(netlink, index);
        first = first.and(outcome);
    }
    first.map(|()| deleted)
}
