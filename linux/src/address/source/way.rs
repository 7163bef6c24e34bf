//! Rules that lead to tables, and the routes in these, as the kernel has them.

use std::net::IpAddr;

use nix::errno::Errno;

use super::super::error::Error;
use super::super::mac::Mark;
use super::super::message::Message;
use super::super::netlink::{Netlink, read_ip};
use super::super::route::PROTOCOL;
use super::super::routing::{
    FAMILIES, HEADER_LEN, MAIN_TABLE, bits, family, first_routes, number, octets, put_table,
};

/// A route of a table out of one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) family: u8,
    pub(super) prefix: u8,
    pub(super) index: u32,
    pub(super) destination: Option<IpAddr>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) priority: Option<u32>,
}

impl Route {
    /// Whether it leads to the same places as another one, if it leads at all.
    pub(super) fn is_to_where(&self, other: &Self) -> bool {
        self.family == other.family
            && self.prefix == other.prefix
            && self.destination == other.destination
    }
}

impl Netlink {
    /// Leads what comes from `ip` to the routing table `table`, if it is not done already.
    pub(super) fn add_rule(&mut self, ip: IpAddr, table: u32) -> Result<(), Error> {
        match self.put_rule((ip, table), libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL) {
            Err(error) if error.is(Errno::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn put_rule(
        &mut self,
        (ip, table): (IpAddr, u32),
        kind: u16,
        flags: i32,
    ) -> Result<(), Error> {
        let writer = self.begin(kind, flags);
        writer.put(&[family(ip), 0, bits(ip), 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
        writer.attribute(RULE_SOURCE, &octets(ip));
        writer.attribute(RULE_PRIORITY, &PRIORITY.to_ne_bytes());
        writer.attribute(RULE_TABLE, &table.to_ne_bytes());
        writer.attribute(RULE_PROTOCOL, &[PROTOCOL]);
        self.request(|| format!("lead answers from {ip} to routing table {table}"))
    }

    /// Deletes a route; what is gone with its adapter, or has been replaced, needs no deleting.
    pub(super) fn delete_way(&mut self, route: &Route, table: u32) -> Result<(), Error> {
        match self.put_way(route, table, (libc::RTM_DELROUTE, 0)) {
            Err(error) if error.is(Errno::ESRCH) || error.is(Errno::ENODEV) => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn put_way(
        &mut self,
        route: &Route,
        table: u32,
        (kind, flags): (u16, i32),
    ) -> Result<(), Error> {
        let writer = self.begin(kind, flags);
        let is_far = route.gateway.is_some();
        let scope = if is_far { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        writer.put(&[route.family, route.prefix, 0, 0, 0, PROTOCOL, scope, libc::RTN_UNICAST]);
        // A gateway is on the adapter, whatever the table says of it.
        let flags = if is_far { ON_LINK } else { 0 };
        writer.put(&flags.to_ne_bytes());
        put_table(writer, table);
        writer.attribute(libc::RTA_OIF, &route.index.to_ne_bytes());
        if let Some(destination) = route.destination {
            writer.attribute(libc::RTA_DST, &octets(destination));
        }
        if let Some(gateway) = route.gateway {
            writer.attribute(libc::RTA_GATEWAY, &octets(gateway));
        }
        if let Some(priority) = route.priority {
            writer.attribute(libc::RTA_PRIORITY, &priority.to_ne_bytes());
        }
        self.request(|| format!("change a route of table {table}"))
    }
}

/// Takes away every rule that bears the mark, and the routes of the table it leads to, of this life
/// or an earlier one.
///
/// # Errors
/// The first failure; everything else has been tried all the same.
pub(in crate::address) fn clear(netlink: &mut Netlink, mark: Mark) -> Result<(), Error> {
    let mut first = Ok(());
    for family in FAMILIES {
        let rules = read_rules(netlink, family)?;
        let rules: Vec<_> = rules.into_iter().filter(|(_, at)| mark.is_our_table(*at)).collect();
        let mut tables: Vec<u32> = rules.iter().map(|(_, table)| *table).collect();
        tables.dedup();
        for table in tables {
            let writer = netlink.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP);
            writer.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            put_table(writer, table);
            let read = |message: &Message<'_>| read_route(message, table);
            for route in netlink.dump("list routes", libc::RTM_NEWROUTE, read)? {
                let gone = netlink.delete_way(&route, table);
                first = first.and(gone);
            }
        }
        for rule in rules {
            let gone = netlink.put_rule(rule, libc::RTM_DELRULE, 0);
            first = first.and(gone);
        }
    }
    first
}

/// Returns the rules of a family that bear our protocol number.
pub(super) fn read_rules(netlink: &mut Netlink, family: u8) -> Result<Vec<(IpAddr, u32)>, Error> {
    let writer = netlink.begin(libc::RTM_GETRULE, libc::NLM_F_DUMP);
    writer.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    match netlink.dump("list routing rules", libc::RTM_NEWRULE, read_rule) {
        // A kernel without IPv6 or without rules has none.
        Err(error) if error.is(Errno::EOPNOTSUPP) || error.is(Errno::EAFNOSUPPORT) => Ok(vec![]),
        rules => rules,
    }
}

/// Returns the first routes of the main table.
pub(super) fn main_routes() -> Result<Vec<Route>, Error> {
    let mut found = Vec::new();
    for family in FAMILIES {
        found.extend(first_of(family, MAIN_TABLE)?);
    }
    Ok(found)
}

/// Returns the first routes of a table and family.
pub(super) fn first_of(family: u8, table: u32) -> Result<Vec<Route>, Error> {
    let mut found = Vec::new();
    first_routes(family, table, |message| found.extend(read_route(message, table)))?;
    Ok(found)
}

/// Reads a rule's message: the address and the table, if it bears our protocol number.
fn read_rule(message: &Message<'_>) -> Option<(IpAddr, u32)> {
    let (mut source, mut table, mut is_ours) = (None, 0, false);
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            RULE_SOURCE => source = read_ip(value),
            RULE_TABLE => table = number(value)?,
            RULE_PROTOCOL => is_ours = value == [PROTOCOL],
            _ => {}
        }
    }
    source.filter(|_| is_ours).map(|ip| (ip, table))
}

/// Reads a message about a route of `wanted`; `None` where it is not out of one adapter, or where
/// each adapter has it by itself.
fn read_route(message: &Message<'_>, wanted: u32) -> Option<Route> {
    let head = *message.body.first_chunk::<HEADER_LEN>()?;
    let [family, prefix, _, _, table, _, _, kind, f0, f1, f2, f3] = head;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    if kind != libc::RTN_UNICAST || flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let (mut table, mut index) = (u32::from(table), None);
    let (mut destination, mut gateway, mut priority) = (None, None, None);
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            libc::RTA_TABLE => table = number(value)?,
            libc::RTA_OIF => index = number(value),
            libc::RTA_DST => destination = Some(read_ip(value)?),
            libc::RTA_GATEWAY => gateway = Some(read_ip(value)?),
            libc::RTA_PRIORITY => priority = number(value),
            // A gateway of another family is of no use here.
            RTA_VIA => return None,
            _ => {}
        }
    }
    let is_own = match destination {
        Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_multicast(),
        Some(IpAddr::V4(_)) | None => false,
    };
    (table == wanted && !is_own).then_some(())?;
    Some(Route { family, prefix, index: index?, destination, gateway, priority })
}

/// A rule that leads to a table.
const TO_TABLE: u8 = 1;
const RULE_SOURCE: u16 = 2;
const RULE_PRIORITY: u16 = 6;
const RULE_TABLE: u16 = 15;
const RULE_PROTOCOL: u16 = 21;
/// The gateway of a route where it is of another family.
const RTA_VIA: u16 = 18;
/// The gateway is on the adapter, without a look at other routes.
const ON_LINK: u32 = 4;
/// Before the main table's rule, behind those of most administrators.
const PRIORITY: u32 = 32_000;
