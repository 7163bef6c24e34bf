//! Answers leave by the adapter that holds the address: a rule and a table for each service
//! address that may sit on one of several adapters.
//!
//! Where two adapters share a subnet, the main table has a route to it by each, and would send
//! the answers by the one that came first: with its hardware address, or into a cable that is
//! unplugged. So what comes *from* the address follows a table of its own, with the subnet and the
//! gateways in it by the adapter that holds it.
//!
//! Rules and routes carry a protocol number of their own, by which they are found and removed,
//! whoever has left them.

use std::net::IpAddr;

use super::error::Error;
use super::message::Message;
use super::netlink::{Installed, Netlink};
use super::place::same_subnet;

/// A way to a network by a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    /// The network.
    destination: Option<IpAddr>,
    /// How many leading bits name it.
    prefix: u8,
    /// The router.
    router: IpAddr,
}

/// Leads what comes from an address out by the adapter on which it is, as slot number `slot`.
///
/// # Errors
/// [`Error::Call`]
pub(super) fn steer(
    netlink: &mut Netlink,
    slot: usize,
    address: Installed,
    gateways: &[Gateway],
) -> Result<(), Error> {
    let table = number(slot);
    let subnet =
        Gateway { destination: Some(subnet(address)), prefix: address.prefix, router: UNSPECIFIED };
    put_route(netlink, table, address, subnet)?;
    for gateway in gateways.iter().filter(|it| same_subnet(it.router, address.ip, address.prefix)) {
        put_route(netlink, table, address, *gateway)?;
    }
    let outcome = put_rule(netlink, libc::RTM_NEWRULE, table, address.ip);
    // It is there already when the address is taken again.
    match outcome {
        Err(Error::Call { errno: nix::errno::Errno::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

/// Takes the rule and the routes of slot number `slot` away.
///
/// # Errors
/// [`Error::Call`] where the rule is there and stays. Routes in a table that no rule leads to are
/// of no consequence.
pub(super) fn release(
    netlink: &mut Netlink,
    slot: usize,
    address: Installed,
    gateways: &[Gateway],
) -> Result<(), Error> {
    let table = number(slot);
    match put_rule(netlink, libc::RTM_DELRULE, table, address.ip) {
        Err(Error::Call { errno: nix::errno::Errno::ENOENT, .. }) => return Ok(()),
        other => other?,
    }
    let near = |gateway: &&Gateway| same_subnet(gateway.router, address.ip, address.prefix);
    let routers = gateways.iter().filter(near).map(|way| (way.destination, way.prefix));
    for (destination, prefix) in routers.chain([(Some(subnet(address)), address.prefix)]) {
        let (family, _) = family(address.ip);
        let route = Route { family, prefix, table, protocol: MARK, destination, router: None };
        // With its adapter it has gone already.
        let _gone = delete_route(netlink, table, &route);
    }
    Ok(())
}

/// Takes away every rule and route that bears our mark, in this life or an earlier one.
///
/// # Errors
/// The first failure; everything else has been tried all the same.
pub(super) fn clear(netlink: &mut Netlink) -> Result<(), Error> {
    let mut first = Ok(());
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut header = [0; HEADER_LEN];
        header[0] = u8::try_from(family).unwrap_or(0);
        netlink.begin(libc::RTM_GETRULE, libc::NLM_F_DUMP).put(&header);
        let found = netlink.dump("list rules", libc::RTM_NEWRULE, read_rule)?;
        for (table, ip) in found {
            let outcome = put_rule(netlink, libc::RTM_DELRULE, table, ip);
            first = first.and(outcome);
        }
    }
    for (table, route) in marked(netlink)? {
        let outcome = delete_route(netlink, table, &route);
        first = first.and(outcome);
    }
    first
}

/// Forgets the neighbours on adapter `index` that have not answered yet, and what waits for them.
///
/// What was to be said from an address before it went would be said when they answer, which may be
/// seconds later, and until then the kernel asks for them in the name of that address.
///
/// # Errors
/// [`Error::Call`] where they cannot be listed. One that has answered meanwhile is none of them.
pub(super) fn forget_unanswered(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    netlink.begin(libc::RTM_GETNEIGH, libc::NLM_F_DUMP).put(&[0; HEADER_LEN]);
    let unanswered = |message: &Message<'_>| {
        let header = message.body.first_chunk::<HEADER_LEN>()?;
        let [family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *header;
        let is_it = u32::from_ne_bytes([i0, i1, i2, i3]) == index
            && u16::from_ne_bytes([s0, s1]) & INCOMPLETE != 0;
        let mut attributes = message.attributes(HEADER_LEN);
        let (_, ip) = attributes.find(|(kind, _)| is_it && *kind == libc::NDA_DST)?;
        Some((family, ip.to_vec()))
    };
    for (family, ip) in netlink.dump("list neighbours", libc::RTM_NEWNEIGH, unanswered)? {
        let writer = netlink.begin(libc::RTM_DELNEIGH, 0);
        writer.put(&[family, 0, 0, 0]);
        writer.put(&index.to_ne_bytes());
        writer.put(&[0; 4]);
        writer.attribute(libc::NDA_DST, &ip);
        let _gone = netlink.request(|| "forget a neighbour".to_owned());
    }
    Ok(())
}

/// Returns the routers that the main table leads to, by whatever adapter.
///
/// Only the first [`MOST_ROUTES`] of each family are looked at, the default route among them: a
/// router has a million, and the decision thread has no time for them.
///
/// # Errors
/// [`Error::Call`]
pub(super) fn gateways() -> Result<Vec<Gateway>, Error> {
    let mut gateways = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        // Where the list is cut short, the rest of it would be in the way of later answers.
        let mut lister = Netlink::open()?;
        let mut header = [0; HEADER_LEN];
        header[0] = u8::try_from(family).unwrap_or(0);
        lister.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP).put(&header);
        let mut count = 0;
        lister.dump_while("list routes", libc::RTM_NEWROUTE, |message| {
            let main = u32::from(libc::RT_TABLE_MAIN);
            let route = read_route(message).filter(|route| route.table == main);
            gateways.extend(route.and_then(|route| route.gateway()));
            count += 1;
            count < MOST_ROUTES
        })?;
    }
    Ok(gateways)
}

/// A route as the kernel has it.
#[derive(Clone, Debug)]
struct Route {
    family: u8,
    prefix: u8,
    table: u32,
    protocol: u8,
    destination: Option<IpAddr>,
    router: Option<IpAddr>,
}

impl Route {
    fn gateway(&self) -> Option<Gateway> {
        let (destination, prefix) = (self.destination, self.prefix);
        Some(Gateway { destination, prefix, router: self.router? })
    }
}

fn routes(netlink: &mut Netlink) -> Result<Vec<Route>, Error> {
    netlink.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP).put(&[0; HEADER_LEN]);
    netlink.dump("list routes", libc::RTM_NEWROUTE, read_route)
}

/// Returns the routes with our mark, and the table of each.
fn marked(netlink: &mut Netlink) -> Result<Vec<(u32, Route)>, Error> {
    let ours = |route: &Route| route.protocol == MARK && TABLES.contains(&route.table);
    let found = routes(netlink)?.into_iter().filter(ours);
    Ok(found.map(|route| (route.table, route)).collect())
}

fn put_rule(netlink: &mut Netlink, kind: u16, table: u32, ip: IpAddr) -> Result<(), Error> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let flags = if kind == libc::RTM_NEWRULE { flags } else { 0 };
    let writer = netlink.begin(kind, flags);
    let (family, bits) = family(ip);
    writer.put(&[family, 0, bits, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
    writer.attribute(RULE_SOURCE, &octets(ip));
    writer.attribute(RULE_PRIORITY, &table.to_ne_bytes());
    writer.attribute(RULE_TABLE, &table.to_ne_bytes());
    writer.attribute(RULE_PROTOCOL, &[MARK]);
    netlink.request(|| format!("rule for answers from {ip}"))
}

fn put_route(
    netlink: &mut Netlink,
    table: u32,
    address: Installed,
    way: Gateway,
) -> Result<(), Error> {
    let writer = netlink.begin(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    let (family, _) = family(address.ip);
    let is_near = way.router.is_unspecified();
    let scope = if is_near { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    writer.put(&[family, way.prefix, 0, 0, 0, MARK, scope, libc::RTN_UNICAST]);
    // A router of the subnet is on this adapter, whatever the main table says.
    let flags: u32 = if is_near { 0 } else { ONLINK };
    writer.put(&flags.to_ne_bytes());
    if let Some(destination) = way.destination {
        writer.attribute(libc::RTA_DST, &octets(destination));
    }
    if !is_near {
        writer.attribute(libc::RTA_GATEWAY, &octets(way.router));
    }
    writer.attribute(libc::RTA_OIF, &address.index.to_ne_bytes());
    writer.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
    netlink.request(|| format!("route for answers from {}", address.ip))
}

fn delete_route(netlink: &mut Netlink, table: u32, route: &Route) -> Result<(), Error> {
    let writer = netlink.begin(libc::RTM_DELROUTE, 0);
    writer.put(&[route.family, route.prefix, 0, 0, 0, MARK, libc::RT_SCOPE_NOWHERE, 0]);
    writer.put(&[0; 4]);
    if let Some(destination) = route.destination {
        writer.attribute(libc::RTA_DST, &octets(destination));
    }
    writer.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
    netlink.request(|| "delete a route for answers".to_owned())
}

/// Returns the table and the address of a rule with our mark.
fn read_rule(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    let (mut source, mut table, mut is_ours) = (None, 0, false);
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            RULE_SOURCE => source = read_ip(value),
            RULE_TABLE => table = number_of(value),
            RULE_PROTOCOL => is_ours = value == [MARK],
            _ => {}
        }
    }
    source.filter(|_| is_ours && TABLES.contains(&table)).map(|ip| (table, ip))
}

fn read_route(message: &Message<'_>) -> Option<Route> {
    let [family, prefix, _, _, small, protocol, ..] = *message.body.first_chunk::<HEADER_LEN>()?;
    let mut route =
        Route { family, prefix, table: small.into(), protocol, destination: None, router: None };
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            libc::RTA_DST => route.destination = read_ip(value),
            libc::RTA_GATEWAY => route.router = read_ip(value),
            libc::RTA_TABLE => route.table = number_of(value),
            _ => {}
        }
    }
    Some(route)
}

fn number_of(value: &[u8]) -> u32 {
    <[u8; 4]>::try_from(value).map_or(0, u32::from_ne_bytes)
}

fn read_ip(value: &[u8]) -> Option<IpAddr> {
    let short = <[u8; 4]>::try_from(value).map(IpAddr::from);
    short.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Returns the family of an address and how many bits it has.
fn family(ip: IpAddr) -> (u8, u8) {
    let (family, bits) = if ip.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    (u8::try_from(family).unwrap_or(0), bits)
}

/// Returns the address of the subnet of `address`.
fn subnet(address: Installed) -> IpAddr {
    let beyond = |bits: u8| u32::from(bits.saturating_sub(address.prefix));
    match address.ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(beyond(32)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(beyond(128)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// Returns the number of a slot's table, which is the priority of its rule as well.
fn number(slot: usize) -> u32 {
    TABLES.start.saturating_add(u32::try_from(slot).unwrap_or(0)).min(TABLES.end - 1)
}

/// The tables, one for each service address; their rules come before that of the main table.
const TABLES: std::ops::Range<u32> = 7600..7664;
/// The mark of our rules and routes: a protocol of routing that nobody else uses.
const MARK: u8 = 76;
/// No router.
const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
/// The most routes that are looked at for routers.
const MOST_ROUTES: usize = 1000;
/// Family, two prefixes, TOS, table, protocol or two spare bytes, scope, kind or action, flags.
const HEADER_LEN: usize = 12;
/// The state of a neighbour that is asked for and has not answered.
const INCOMPLETE: u16 = 1;
/// A rule that leads to a table.
const TO_TABLE: u8 = 1;
const RULE_SOURCE: u16 = 2;
const RULE_PRIORITY: u16 = 6;
const RULE_TABLE: u16 = 15;
const RULE_PROTOCOL: u16 = 21;
/// A router that is on the adapter, without a look at other routes.
const ONLINK: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_no_bits_beyond_its_prefix() {
        for (ip, prefix, expected) in [
            ("10.77.3.100", 24, "10.77.3.0"),
            ("10.77.3.100", 20, "10.77.0.0"),
            ("10.77.3.100", 32, "10.77.3.100"),
            ("fd00:1:2:3:4::1", 64, "fd00:1:2:3::"),
            ("fd00::1", 128, "fd00::1"),
        ] {
            let address = Installed { index: 1, ip: ip.parse().unwrap(), prefix };
            assert_eq!(subnet(address), expected.parse::<IpAddr>().unwrap(), "{ip}/{prefix}");
        }
    }

    #[test]
    fn every_address_has_a_table_of_its_own() {
        assert_eq!(TABLES.len(), super::super::MAX_ADDRESSES);
        let all: Vec<u32> = (0..TABLES.len()).map(number).collect();
        assert!(all.is_sorted_by(|less, more| less < more) && all.last() == Some(&7663));
    }
}
