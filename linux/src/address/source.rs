//! Routes by source: what speaks from a group's address leaves by the adapter of the group.
//!
//! Linux chooses a way by the destination. The adapter below has the route to the subnet, so
//! answers from a group's address would leave there, from a hardware address that is not the
//! group's: switches would forget where that is, and neighbours learn the wrong one. So the group
//! has a routing table of its own with the routes of the adapter below, and a rule leads there
//! whatever comes from its addresses. What that table does not know goes the ordinary way.

use std::net::IpAddr;

use nix::errno::Errno;

use super::error::Error;
use super::macvlan::family;
use super::message::Message;
use super::netlink::{Netlink, read_ip};

/// A route of the main table out of one adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    family: u8,
    prefix: u8,
    index: u32,
    destination: Option<Vec<u8>>,
    gateway: Option<Vec<u8>>,
    priority: Option<u32>,
}

/// A rule that leads to a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    family: u8,
    prefix: u8,
    source: Option<Vec<u8>>,
    priority: u32,
    table: u32,
}

impl Netlink {
    /// Leads what comes from `ip` to the routing table `table`, if it is not done already.
    ///
    /// # Errors
    /// [`Error::Call`]: the kernel has no routing by rules.
    pub(crate) fn add_rule(&mut self, ip: IpAddr, table: u32) -> Result<(), Error> {
        let (bytes, prefix) = match ip {
            IpAddr::V4(ip) => (ip.octets().to_vec(), 32),
            IpAddr::V6(ip) => (ip.octets().to_vec(), 128),
        };
        let source = Some(bytes);
        let rule = Rule { family: family(ip), prefix, source, priority: PRIORITY, table };
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        match self.put_rule(&rule, libc::RTM_NEWRULE, flags) {
            Err(error) if error.is(Errno::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    /// Deletes every rule that leads to a table which `is_ours`.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::NoAnswer`]; every rule is tried.
    pub(crate) fn delete_rules(&mut self, is_ours: impl Fn(u32) -> bool) -> Result<(), Error> {
        let mut outcome = Ok(());
        for family in FAMILIES {
            let writer = self.begin(libc::RTM_GETRULE, libc::NLM_F_DUMP);
            writer.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let rules = match self.dump("list routing rules", libc::RTM_NEWRULE, read_rule) {
                // A kernel without IPv6 or without rules has none.
                Err(error) if error.is(Errno::EOPNOTSUPP) || error.is(Errno::EAFNOSUPPORT) => {
                    continue;
                }
                rules => rules?,
            };
            for rule in rules.into_iter().filter(|rule| is_ours(rule.table)) {
                let deleted = self.put_rule(&rule, libc::RTM_DELRULE, 0);
                outcome = outcome.and(deleted);
            }
        }
        outcome
    }

    /// Gives `table` the routes that the main table has out of adapter `base`, out of adapter
    /// `front` instead, and no others. They go when `front` is switched off.
    ///
    /// Only the first [`MOST_ROUTES`] of each family are looked at, the default route among them: a
    /// router has a million, and whoever takes a group over has no time for them. What is left out
    /// goes the ordinary way.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::NoAnswer`].
    pub(crate) fn copy_routes(&mut self, base: u32, front: u32, table: u32) -> Result<(), Error> {
        for family in FAMILIES {
            // Where the list is cut short, the rest of it would be in the way of later answers.
            let mut lister = Self::open()?;
            let writer = lister.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP);
            writer.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let (mut wanted, mut there, mut count) = (Vec::new(), Vec::new(), 0);
            lister.dump_while("list routes", libc::RTM_NEWROUTE, |message| {
                match read_route(message) {
                    Some((MAIN_TABLE, route)) if route.index == base => {
                        wanted.push(Route { index: front, ..route });
                    }
                    Some((of, route)) if of == table && route.index == front => there.push(route),
                    Some(_) | None => {}
                }
                count += 1;
                count < MOST_ROUTES
            })?;
            for route in there.iter().filter(|route| !wanted.contains(route)) {
                self.put_route(route, table, (libc::RTM_DELROUTE, 0))?;
            }
            // A gateway has to be reachable before it is named.
            wanted.sort_by_key(|route| route.gateway.is_some());
            let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
            for route in wanted.iter().filter(|route| !there.contains(route)) {
                self.put_route(route, table, (libc::RTM_NEWROUTE, flags))?;
            }
        }
        Ok(())
    }

    fn put_rule(&mut self, rule: &Rule, kind: u16, flags: i32) -> Result<(), Error> {
        let writer = self.begin(kind, flags);
        writer.put(&[rule.family, 0, rule.prefix, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
        if let Some(source) = &rule.source {
            writer.attribute(FRA_SRC, source);
        }
        writer.attribute(FRA_PRIORITY, &rule.priority.to_ne_bytes());
        writer.attribute(FRA_TABLE, &rule.table.to_ne_bytes());
        let table = rule.table;
        self.request(|| format!("lead a group's address to routing table {table}"))
    }

    fn put_route(
        &mut self,
        route: &Route,
        table: u32,
        (kind, flags): (u16, i32),
    ) -> Result<(), Error> {
        let writer = self.begin(kind, flags);
        let scope = if route.gateway.is_some() { EVERYWHERE } else { ON_LINK };
        let head = [route.family, route.prefix, 0, 0, 0, BY_ADMINISTRATOR, scope, UNICAST];
        writer.put(&head);
        let flags = if route.gateway.is_some() { GATEWAY_IS_NEAR } else { 0 };
        writer.put(&flags.to_ne_bytes());
        writer.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
        writer.attribute(libc::RTA_OIF, &route.index.to_ne_bytes());
        if let Some(destination) = &route.destination {
            writer.attribute(libc::RTA_DST, destination);
        }
        if let Some(gateway) = &route.gateway {
            writer.attribute(libc::RTA_GATEWAY, gateway);
        }
        if let Some(priority) = route.priority {
            writer.attribute(libc::RTA_PRIORITY, &priority.to_ne_bytes());
        }
        self.request(|| format!("change a route of table {table}"))
    }
}

/// Reads a rule's message.
fn read_rule(message: &Message<'_>) -> Option<Rule> {
    let [family, _, prefix, _, table, _, _, action, ..] = *message.body.first_chunk::<12>()?;
    if action != TO_TABLE {
        return None;
    }
    let mut rule = Rule { family, prefix, source: None, priority: 0, table: table.into() };
    for (attribute, value) in message.attributes(12) {
        match attribute {
            FRA_SRC => rule.source = Some(value.to_vec()),
            FRA_PRIORITY => rule.priority = number(value)?,
            FRA_TABLE => rule.table = number(value)?,
            _ => {}
        }
    }
    Some(rule)
}

/// Reads a route's message, and which table it is of; `None` where it is not out of one adapter, or
/// where each adapter has it by itself.
fn read_route(message: &Message<'_>) -> Option<(u32, Route)> {
    let head = *message.body.first_chunk::<12>()?;
    let [family, prefix, _, _, table, _, _, kind, f0, f1, f2, f3] = head;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    if kind != UNICAST || flags & CLONED != 0 {
        return None;
    }
    let (mut table, mut index) = (u32::from(table), None);
    let (mut destination, mut gateway, mut priority) = (None, None, None);
    for (attribute, value) in message.attributes(12) {
        match attribute {
            libc::RTA_TABLE => table = number(value)?,
            libc::RTA_OIF => index = number(value),
            libc::RTA_DST => destination = Some(value.to_vec()),
            libc::RTA_GATEWAY => gateway = Some(value.to_vec()),
            libc::RTA_PRIORITY => priority = number(value),
            _ => {}
        }
    }
    let is_own = match destination.as_deref().and_then(read_ip) {
        Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_multicast(),
        Some(IpAddr::V4(_)) | None => false,
    };
    if is_own {
        return None;
    }
    Some((table, Route { family, prefix, index: index?, destination, gateway, priority }))
}

/// Reads a number of four bytes.
fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

const FAMILIES: [u8; 2] = [2, 10];
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
/// The most routes that are looked at.
const MOST_ROUTES: usize = 1000;
/// What a rule does: it leads to a table.
const TO_TABLE: u8 = 1;
/// Before the main table's rule, behind those of most administrators.
const PRIORITY: u32 = 32_000;
pub(super) const MAIN_TABLE: u32 = 254;
const BY_ADMINISTRATOR: u8 = 4;
const EVERYWHERE: u8 = 0;
const ON_LINK: u8 = 253;
const UNICAST: u8 = 1;
/// Of routes that are a memory of another one.
const CLONED: u32 = 0x200;
/// The gateway is on the adapter, whatever the table says of it.
const GATEWAY_IS_NEAR: u32 = 4;
