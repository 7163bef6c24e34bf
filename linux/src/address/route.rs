//! Host routes to service addresses, which a routing daemon finds and tells to routers.
//!
//! They stand in the kernel's main table under a protocol number of our own, which tells them from
//! all others: a leftover is known by it, and a routing daemon can be told to pass on these alone.
//! The kernel itself never needs them, for what is its own address it delivers to itself.

use std::net::IpAddr;

use nix::errno::Errno;

use super::error::Error;
use super::message::Message;
use super::netlink::{Netlink, read_ip};
use super::routing::{HEADER_LEN, bits, family, number, octets};

/// The number by which our routes are known: the protocol in the kernel's table.
pub const PROTOCOL: u8 = 76;

/// A host route of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRoute {
    /// Whereto.
    pub ip: IpAddr,
    /// The number of its adapter.
    pub index: u32,
    /// Its metric, which a routing daemon can pass on.
    pub metric: u32,
}

impl Netlink {
    /// Adds a route, or changes the one to the same place with the same metric.
    ///
    /// # Errors
    /// [`Error::Call`] with the kernel's reason: no such adapter, not permitted.
    pub fn add_route(&mut self, route: HostRoute) -> Result<(), Error> {
        self.begin(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        self.put_host_route(route);
        self.request(|| format!("add the route to {}", route.ip))
    }

    /// Deletes a route; no adapter and no metric are any.
    ///
    /// # Errors
    /// [`Error::Call`], also where there is none.
    pub fn delete_route(&mut self, route: HostRoute) -> Result<(), Error> {
        self.begin(libc::RTM_DELROUTE, 0);
        self.put_host_route(route);
        self.request(|| format!("delete the route to {}", route.ip))
    }

    /// Returns every route of ours.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub fn routes(&mut self) -> Result<Vec<HostRoute>, Error> {
        self.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP);
        self.writer().put(&[0; HEADER_LEN]);
        self.dump("list routes", libc::RTM_NEWROUTE, read)
    }

    fn put_host_route(&mut self, route: HostRoute) {
        let is_ipv4 = route.ip.is_ipv4();
        let scope = if is_ipv4 { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
        let writer = self.writer();
        writer.put(&[family(route.ip), bits(route.ip), 0, 0, libc::RT_TABLE_MAIN]);
        writer.put(&[PROTOCOL, scope, libc::RTN_UNICAST, 0, 0, 0, 0]);
        writer.attribute(libc::RTA_DST, &octets(route.ip));
        if route.index != 0 {
            writer.attribute(libc::RTA_OIF, &route.index.to_ne_bytes());
        }
        if route.metric != 0 {
            writer.attribute(libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
        }
    }
}

/// Deletes our routes to `services`, on any adapter and with any metric, and returns how many there
/// were.
///
/// They are named to the kernel rather than looked for: its table may be long.
///
/// # Errors
/// The first failure; everything else has been tried all the same.
pub(super) fn withdraw(netlink: &mut Netlink, services: &[IpAddr]) -> Result<usize, Error> {
    let (mut first, mut count) = (Ok(()), 0);
    for ip in services {
        let any = HostRoute { ip: *ip, index: 0, metric: 0 };
        let mut outcome = Ok(());
        for _ in 0..MOST_ROUTES {
            outcome = netlink.delete_route(any);
            if outcome.is_err() {
                break;
            }
            count += 1;
        }
        if outcome.as_ref().is_err_and(|error| error.is(Errno::ESRCH)) {
            outcome = Ok(());
        }
        first = first.and(outcome);
    }
    first.map(|()| count)
}

/// How many routes to one address are withdrawn at a time; there is one, unless settings have
/// changed.
const MOST_ROUTES: usize = 8;

/// Reads the body of a route's message; `None` where it is not one of ours.
fn read(message: &Message<'_>) -> Option<HostRoute> {
    let [_, _, _, _, table, protocol, ..] = *message.body.first_chunk::<HEADER_LEN>()?;
    if protocol != PROTOCOL || table != libc::RT_TABLE_MAIN {
        return None;
    }
    let (mut ip, mut index, mut metric) = (None, None, 0);
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            libc::RTA_DST => ip = read_ip(value),
            libc::RTA_OIF => index = number(value),
            libc::RTA_PRIORITY => metric = number(value).unwrap_or(0),
            _ => {}
        }
    }
    Some(HostRoute { ip: ip?, index: index?, metric })
}
