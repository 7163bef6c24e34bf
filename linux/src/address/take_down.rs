//! Taking every service address down when the daemon cannot.

use std::net::IpAddr;

use super::error::Error;
use super::front;
use super::lease::Closer;
use super::mac::Mark;
use super::neighbour::forget_unanswered;
use super::netlink::Netlink;
use super::route;
use super::source;

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
    /// By what adapters and routing tables are known.
    mark: Mark,
    /// Adapters that are to answer for the addresses of others again, with what they had before.
    ignoring: Vec<(u32, u32)>,
}

impl TakeDown {
    /// Returns a way to take `services` down, and to set adapters back.
    pub(crate) const fn new(
        netlink: Netlink,
        closer: Closer,
        services: Vec<IpAddr>,
        mark: Mark,
        ignoring: Vec<(u32, u32)>,
    ) -> Self {
        Self { netlink, closer, services, mark, ignoring }
    }

    /// Withdraws the routes to `services`, and nothing else; returns how many there were.
    ///
    /// # Errors
    /// The first failure; everything else has been tried all the same.
    pub fn withdraw(&mut self, services: &[IpAddr]) -> Result<usize, Error> {
        route::withdraw(&mut self.netlink, services)
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
        let cleared = front::clear(&mut self.netlink, self.mark);
        let mut undone = source::clear(&mut self.netlink, self.mark);
        for (index, before) in &self.ignoring {
            let outcome = self.netlink.set_arp_ignore(*index, *before);
            undone = undone.and(outcome);
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
    let mut first = route::withdraw(netlink, services).map(drop);
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
        let outcome = forget_unanswered(netlink, index);
        first = first.and(outcome);
    }
    first.map(|()| deleted)
}
