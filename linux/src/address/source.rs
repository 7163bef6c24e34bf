//! Routes by source: what speaks from a service address leaves by the adapter that holds it.
//!
//! Linux chooses a way by the destination. Where the address is on an adapter of its group's MAC
//! address, or on one of several adapters of a network, the main table may lead by another one:
//! from a hardware address that is not the one neighbours and switches know, or into a cable that
//! is unplugged. So the addresses of a group have a routing table of their own, with the routes of
//! the main table out of the adapters of the network, all by the one that holds them; and a rule
//! leads there whatever comes from such an address. What that table does not know goes the ordinary
//! way. It follows the main table, for as long as the group is held.
//!
//! Rules and routes carry a protocol number of their own, and the tables numbers of the cluster:
//! by both they are found and removed, whoever has left them. A rule comes before the routes of
//! its table and goes after them, so whoever is killed leaves no table that no rule leads to.

mod way;

use std::net::IpAddr;

use lifesign_core::node::ClusterId;
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;

use super::bench::Bench;
use super::error::Error;
use super::front::Fronts;
use super::mac::Mark;
use super::neighbour::forget_unanswered;
use super::netlink::{Installed, Netlink};
use super::place::same_subnet;
use super::routing::{FAMILIES, family};
use super::{Addresses, MacPlan};

pub(super) use self::way::clear;
use self::way::{Route, first_of, main_routes};

/// Where what speaks from some addresses of a group goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lead {
    group: usize,
    table: u32,
    /// The addresses, all on the adapter that holds them.
    addresses: Vec<Installed>,
    /// The adapters whose routes lead there, the one below or itself first.
    bases: Vec<u32>,
}

impl Lead {
    fn out(&self) -> u32 {
        self.addresses.first().map_or(0, |address| address.index)
    }

    /// Whether a route of the main table is to lead by the adapter that holds the addresses.
    fn covers(&self, route: &Route) -> bool {
        let is_near = |gateway| {
            let mut addresses = self.addresses.iter();
            addresses.any(|address| same_subnet(gateway, address.ip, address.prefix))
        };
        self.bases.contains(&route.index) || route.gateway.is_some_and(is_near)
    }

    /// Returns the routes of its table in a family, from those of the main table, the best first.
    fn routes(&self, family_of: u8, main: impl Iterator<Item = Route>) -> Vec<Route> {
        let mut known: Vec<Route> = main.filter(|route| self.covers(route)).collect();
        known.sort_by_key(|route| self.bases.first() != Some(&route.index));
        let of_family = self.addresses.iter().filter(|address| family(address.ip) == family_of);
        known.extend(of_family.map(|address| Route {
            family: family_of,
            prefix: address.prefix,
            index: address.index,
            destination: Some(subnet(*address)),
            gateway: None,
            priority: address.ip.is_ipv6().then_some(SUBNET_PRIORITY),
        }));
        let mut wanted: Vec<Route> = Vec::new();
        for route in known.into_iter().map(|route| Route { index: self.out(), ..route }) {
            let is_same = |other: &Route| {
                let is_subnet = other.gateway.is_none() && route.gateway.is_none();
                other.is_to_where(&route) && (is_subnet || other.priority == route.priority)
            };
            if !wanted.iter().any(is_same) {
                wanted.push(route);
            }
        }
        // A gateway has to be reachable before it is named.
        wanted.sort_by_key(|route| route.gateway.is_some());
        wanted
    }
}

/// The routes by source of this machine.
#[derive(Debug)]
pub(super) struct Sources {
    mark: Mark,
    leads: Vec<Lead>,
    /// The routes by routers that were in the main table, and whether they went with their adapter:
    /// they are to be had by another one.
    known: Vec<(Route, bool)>,
    /// When the tables are to follow the main table.
    due: Option<Instant>,
}

impl Sources {
    /// Returns those of the cluster that a plan names: none.
    pub(super) fn new(plan: Option<&MacPlan>) -> Self {
        let mark = Mark::new(plan.map_or(ClusterId(0), |plan| plan.cluster));
        Self { mark, leads: Vec::new(), known: Vec::new(), due: None }
    }

    /// Returns by what adapters and tables of the cluster are known.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns when the tables are to follow the main table.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes in that routes have changed: there may be a million of them, and each is told.
    pub(super) fn note_change(&mut self, now: Instant) {
        self.due.get_or_insert(now + FOLLOW_LATER);
    }

    /// Takes in that an adapter was switched off or went, and its routes with it.
    pub(super) fn lose(&mut self, index: u32) {
        for (_, is_lost) in self.known.iter_mut().filter(|(route, _)| route.index == index) {
            *is_lost = true;
        }
    }

    /// Takes in the routes by routers that are there now.
    fn remember(&mut self, found: &[Route]) {
        let found: Vec<Route> = found.iter().filter(|it| it.gateway.is_some()).copied().collect();
        self.known.retain(|(route, _)| !found.iter().any(|other| other.is_to_where(route)));
        self.known.extend(found.into_iter().map(|route| (route, false)));
    }

    /// Forgets the routes that were deleted, other than with their adapter.
    fn forget(&mut self, found: &[Route]) {
        self.known.retain(|(route, is_lost)| *is_lost || found.contains(route));
    }
}

impl Addresses {
    /// Hears of routes from here on, if an address may be where the main table does not lead.
    pub(super) fn hear_routes(&self) -> Result<(), Error> {
        let has_macvlan = self.fronts.as_ref().is_some_and(Fronts::has_macvlan);
        match has_macvlan || self.benches.iter().any(Bench::is_shared) {
            true => self.wires.hear_routes(),
            false => Ok(()),
        }
    }

    /// Leads what speaks from the addresses of `group` out by the adapters that hold them, where
    /// the main table may lead elsewhere.
    pub(super) fn lead(&mut self, group: usize) -> Result<(), Error> {
        let leads = self.leads_of(group);
        let before: Vec<Lead> =
            self.sources.leads.extract_if(.., |lead| lead.group == group).collect();
        // First, so that whatever fails here is undone.
        self.sources.leads.extend(leads.iter().cloned());
        for lead in &leads {
            for address in &lead.addresses {
                self.netlink.add_rule(address.ip, lead.table)?;
            }
        }
        for lead in &before {
            self.netlink.replace(lead, leads.iter().find(|it| it.table == lead.table))?;
        }
        if leads.is_empty() {
            return Ok(());
        }
        let found = main_routes()?;
        self.sources.remember(&found);
        for lead in &leads {
            self.netlink.fill(lead, &found, &self.sources)?;
            // What waits for a neighbour elsewhere would come out there when the neighbour answers.
            for index in lead.bases.iter().filter(|index| **index != lead.out()) {
                forget_unanswered(&mut self.netlink, *index)?;
            }
        }
        Ok(())
    }

    /// Ends that for the addresses of `group`.
    pub(super) fn unlead(&mut self, group: usize) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut left = Vec::new();
        for lead in self.sources.leads.extract_if(.., |lead| lead.group == group) {
            let gone = self.netlink.replace(&lead, None);
            if gone.is_err() {
                left.push(lead);
            }
            outcome = outcome.and(gone);
        }
        self.sources.leads.extend(left);
        outcome
    }

    /// Lets the tables follow the main table, where that is due.
    pub(super) fn follow_routes(&mut self, now: Instant) {
        if self.sources.due.is_none_or(|due| !now.has_reached(due)) {
            return;
        }
        self.sources.due = None;
        let outcome = self.note_routes().and_then(|found| {
            self.sources.forget(&found);
            let sources = &self.sources;
            let mut leads = sources.leads.iter();
            leads.try_for_each(|lead| self.netlink.fill(lead, &found, sources))
        });
        self.counters.failures += u64::from(outcome.is_err());
    }

    /// Notes the routers that the machine uses. With an adapter go the routes by it, so they are
    /// remembered.
    pub(super) fn note_routers(&mut self) {
        if self.benches.iter().any(Bench::is_shared) {
            self.counters.failures += u64::from(self.note_routes().is_err());
        }
    }

    fn note_routes(&mut self) -> Result<Vec<Route>, Error> {
        let found = main_routes()?;
        self.sources.remember(&found);
        Ok(found)
    }

    /// Returns where what speaks from the addresses of `group` is to go: nothing for those on an
    /// adapter that is alone.
    fn leads_of(&self, group: usize) -> Vec<Lead> {
        let mut leads: Vec<Lead> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.group == group) {
            let (Some(base), Some(out)) = (slot.index(), slot.seat_index()) else { continue };
            let bench = Bench::of(&self.benches, slot.service.ip).filter(|it| it.is_shared());
            if base == out && bench.is_none() {
                continue;
            }
            let address = self.installed_of(at, out);
            if let Some(lead) = leads.iter_mut().find(|lead| lead.out() == out) {
                lead.addresses.push(address);
                continue;
            }
            let others = bench.into_iter().flat_map(|bench| bench.indices.iter().copied());
            let others = others.flatten().filter(|index| *index != base);
            let bases = [base].into_iter().chain(others).collect();
            let table = self.sources.mark.table(at);
            leads.push(Lead { group, table, addresses: vec![address], bases });
        }
        leads
    }
}

impl Netlink {
    /// Takes away the rules that `other` in place of `lead` does not need, and the routes if there
    /// is none in its place.
    fn replace(&mut self, lead: &Lead, other: Option<&Lead>) -> Result<(), Error> {
        let mut outcome = Ok(());
        for family in FAMILIES.into_iter().filter(|_| other.is_none()) {
            match first_of(family, lead.table) {
                Ok(routes) => {
                    for route in routes {
                        let gone = self.delete_way(&route, lead.table);
                        outcome = outcome.and(gone);
                    }
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        let is_kept = |ip| other.is_some_and(|other| other.addresses.iter().any(|it| it.ip == ip));
        for address in lead.addresses.iter().filter(|address| !is_kept(address.ip)) {
            let gone = match self.put_rule((address.ip, lead.table), libc::RTM_DELRULE, 0) {
                Err(error) if error.is(Errno::ENOENT) => Ok(()),
                outcome => outcome,
            };
            outcome = outcome.and(gone);
        }
        outcome
    }

    /// Gives the table of some addresses its routes, and no others.
    fn fill(&mut self, lead: &Lead, main: &[Route], sources: &Sources) -> Result<(), Error> {
        for family_of in FAMILIES {
            if !lead.addresses.iter().any(|address| family(address.ip) == family_of) {
                continue;
            }
            let lost = sources.known.iter().filter(|(_, is_lost)| *is_lost).map(|(route, _)| route);
            let all = main.iter().chain(lost).filter(|route| route.family == family_of).copied();
            let wanted = lead.routes(family_of, all);
            let there = first_of(family_of, lead.table)?;
            let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
            for route in wanted.iter().filter(|route| !there.contains(route)) {
                self.put_way(route, lead.table, (libc::RTM_NEWROUTE, flags))?;
            }
            for route in there.iter().filter(|route| !wanted.contains(route)) {
                self.delete_way(route, lead.table)?;
            }
        }
        Ok(())
    }
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

/// How long routes that change are collected.
const FOLLOW_LATER: Duration = Duration::from_millis(200);
/// What the kernel makes of a route of IPv6 without one.
const SUBNET_PRIORITY: u32 = 1024;

#[cfg(test)]
mod tests;
