//! Where the service addresses of a network may sit: several adapters of this machine, on one of
//! which they are.
//!
//! The lease is in force on all of these adapters, and each answers for its own addresses alone
//! (`arp_ignore`), so an address that moves from one to the other is never answered for by both: it
//! is deleted where it was before it is added anywhere else.

use std::net::IpAddr;

use lifesign_core::time::{Duration, Instant};

use super::arp::{self, Mac};
use super::error::Error;
use super::event::AddressEvent;
use super::netlink::{Adapter, Installed, Netlink};
use super::place::Place;
use super::{Addresses, Slot, ndp, steer};

/// The adapters of a network on this machine, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// The adapters by their names: the service adapter first, then the standby ones.
    pub adapters: Vec<String>,
    /// The service addresses that sit on one of them.
    pub services: Vec<IpAddr>,
    /// Third stations that are asked whether they are there.
    pub ask: Vec<IpAddr>,
}

/// Adapters of a network, and which of them has the addresses.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) seats: Seats,
    /// Each adapter's number, while it is there.
    pub(super) indices: Vec<Option<u32>>,
    /// The place of the adapter with the addresses.
    pub(super) current: usize,
    /// When a third station last answered on each adapter.
    answered: Vec<Option<Instant>>,
    /// When they were first asked of late, and when last.
    asked: Option<(Instant, Instant)>,
    /// The adapters that answered for the addresses of others as well, with what they had before.
    ignoring: Vec<(u32, u32)>,
}

/// How an adapter of a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its name in the settings.
    pub name: String,
    /// Whether it is there and carries frames.
    pub carrier: bool,
    /// Whether it is there.
    pub is_there: bool,
    /// Whether a third station answers on it; `None` where none is asked, or not for long enough.
    pub answered: Option<bool>,
}

impl Bench {
    pub(super) fn new(seats: Seats) -> Self {
        let count = seats.adapters.len();
        let (indices, answered) = (vec![None; count], vec![None; count]);
        Self { seats, indices, current: 0, answered, asked: None, ignoring: Vec::new() }
    }

    /// Returns the network of a service address.
    pub(super) fn of(benches: &[Self], ip: IpAddr) -> Option<&Self> {
        benches.iter().find(|bench| bench.seats.services.contains(&ip))
    }

    /// Finds the adapters: by name, or the same one under another name.
    pub(super) fn find(&mut self, adapters: &[Adapter]) {
        for (name, index) in self.seats.adapters.iter().zip(&mut self.indices) {
            let named = adapters.iter().find(|adapter| adapter.name == *name);
            let known = adapters.iter().find(|adapter| Some(adapter.index) == *index);
            *index = named.or(known).map(|adapter| adapter.index);
        }
    }

    /// Whether the addresses may be on one of several adapters.
    pub(super) fn is_shared(&self) -> bool {
        self.seats.adapters.len() > 1
    }

    /// Has an adapter answer for its own addresses alone, and notes what it did before.
    fn ignore(&mut self, netlink: &mut Netlink, adapter: &Adapter) -> Result<(), Error> {
        if !self.is_shared() || self.ignoring.iter().any(|(index, _)| *index == adapter.index) {
            return Ok(());
        }
        let path = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", adapter.name);
        let before = std::fs::read_to_string(path).ok();
        let before = before.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // Larger numbers ignore even more.
        if before == 0 {
            netlink.set_arp_ignore(adapter.index, OWN_ALONE)?;
        }
        self.ignoring.push((adapter.index, before));
        Ok(())
    }

    /// Notes an answer of a third station that came in on an adapter.
    pub(super) fn hear(&mut self, index: u32, frame: &[u8], now: Instant) {
        let is_asked = |ip: IpAddr| self.seats.ask.contains(&ip);
        let is_answer = arp::read(frame)
            .is_some_and(|heard| heard.is_answer && is_asked(heard.sender.into()))
            || ndp::read(frame)
                .is_some_and(|heard| heard.is_advertisement && is_asked(heard.target.into()));
        if !is_answer {
            return;
        }
        for (at, answered) in self.indices.iter().zip(&mut self.answered) {
            if *at == Some(index) {
                *answered = Some(now);
            }
        }
    }

    /// Returns whether a third station answers on an adapter.
    fn is_answered(&self, at: usize, now: Instant) -> Option<bool> {
        let (first, _) = self.asked?;
        let is_recent = |answered: &Instant| now.since(*answered) < ASK_PATIENCE;
        let is_there = self.answered.get(at).copied().flatten().is_some_and(|at| is_recent(&at));
        (is_there || now.since(first) >= ASK_PATIENCE).then_some(is_there)
    }
}

impl Addresses {
    /// Returns how each adapter of a network is.
    #[must_use]
    pub fn seats(&self, network: usize, now: Instant) -> Vec<Seat> {
        let Some(bench) = self.benches.get(network) else { return Vec::new() };
        let seat = |(at, (name, index)): (usize, (&String, &Option<u32>))| {
            let adapter = index.and_then(|index| self.adapter(index));
            Seat {
                name: name.clone(),
                carrier: adapter.is_some_and(|adapter| adapter.carrier),
                is_there: adapter.is_some(),
                answered: bench.is_answered(at, now),
            }
        };
        bench.seats.adapters.iter().zip(&bench.indices).enumerate().map(seat).collect()
    }

    /// Lets the addresses of a network sit on the adapter with this place in its list from here
    /// on, and returns the groups that have lost one by that: they are to be acquired anew.
    ///
    /// # Errors
    /// [`Error::Call`] where an address cannot be deleted from the adapter where it is. It stays
    /// there, and so do those after it.
    pub fn seat(&mut self, network: usize, at: usize) -> Result<Vec<usize>, Error> {
        let Some(bench) = self.benches.get_mut(network) else { return Ok(Vec::new()) };
        let name = bench.seats.adapters.get(at).cloned().unwrap_or_default();
        let index = bench.indices.get(at).copied().flatten();
        let services = bench.seats.services.clone();
        let installed = self.netlink.addresses()?;
        let mut moved = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(there) = self.slots.get(slot) else { continue };
            if !services.contains(&there.service.ip) || (index.is_some() && there.index() == index)
            {
                continue;
            }
            let (ip, group) = (there.service.ip, there.group);
            if there.is_installed {
                moved.push(group);
            }
            for address in installed.iter().filter(|address| address.ip == ip) {
                self.delete_if_there(*address)?;
            }
            let place = index.and_then(|index| self.place_at(slot, index, &installed));
            if let Some(there) = self.slots.get_mut(slot) {
                there.fall_silent();
                there.service.adapter.clone_from(&name);
                there.place = place;
            }
        }
        if let Some(bench) = self.benches.get_mut(network) {
            bench.current = at;
        }
        moved.dedup();
        Ok(moved)
    }

    /// Returns which adapter of a network the addresses sit on, by its place in the list.
    #[must_use]
    pub fn seated(&self, network: usize) -> Option<usize> {
        self.benches.get(network).map(|bench| bench.current)
    }

    /// Returns the name of an adapter of a network.
    #[must_use]
    pub fn seat_name(&self, network: usize, at: usize) -> Option<&str> {
        self.benches.get(network)?.seats.adapters.get(at).map(String::as_str)
    }

    /// Deletes an address; what is gone with its adapter needs no deleting.
    fn delete_if_there(&mut self, address: Installed) -> Result<(), Error> {
        match self.netlink.delete_address(address) {
            Err(error) => {
                let left = self.netlink.addresses()?;
                if left.contains(&address) { Err(error) } else { Ok(()) }
            }
            Ok(()) => Ok(()),
        }
    }

    /// Returns the place of a slot's address on an adapter.
    fn place_at(&self, slot: usize, index: u32, installed: &[Installed]) -> Option<Place> {
        let services = self.services();
        let service = &self.slots.get(slot)?.service;
        let adapter = self.adapter(index)?;
        Some(Place::on(adapter, service, installed, |ip| services.contains(&ip)))
    }

    /// Asks the third stations of a network on all of its adapters, if it is time.
    pub fn ask(&mut self, network: usize, now: Instant) {
        let Some(bench) = self.benches.get(network).filter(|bench| !bench.seats.ask.is_empty())
        else {
            return;
        };
        let first = match bench.asked {
            Some((_, last)) if now.since(last) < ASK_EVERY => return,
            Some((first, last)) if now.since(last) < ASK_EVERY.times(2) => first,
            Some(_) | None => now,
        };
        let numbers: Vec<u32> = bench.indices.iter().copied().flatten().collect();
        let carrying = numbers.into_iter().filter_map(|index| self.adapter(index));
        let carrying: Vec<(u32, Mac)> = carrying
            .filter(|adapter| adapter.carrier)
            .filter_map(|adapter| Some((adapter.index, adapter.mac?)))
            .collect();
        for (index, mac) in carrying {
            for ip in &bench.seats.ask {
                let sent = match ip {
                    IpAddr::V4(to) => self.wires.send(index, *ip, &arp::probe(mac, *to)),
                    IpAddr::V6(to) => self.wires.send(index, *ip, &ndp::probe(mac, *to)),
                };
                self.counters.frames_unsent += u64::from(sent.is_err());
            }
        }
        if let Some(bench) = self.benches.get_mut(network) {
            bench.asked = Some((first, now));
        }
    }

    /// Returns when the third stations of a network are asked next, if that goes on.
    #[must_use]
    pub fn next_question(&self, network: usize, now: Instant) -> Option<Instant> {
        let (_, last) = self.benches.get(network)?.asked?;
        Some(last + ASK_EVERY).filter(|due| now < *due)
    }

    /// Returns whether an address of a group sits on the adapter called `name`.
    #[must_use]
    pub fn is_on(&self, group: usize, name: &str) -> bool {
        let mut own = self.slots.iter().filter(|slot| slot.group == group);
        own.any(|slot| slot.place.as_ref().is_some_and(|place| place.name == name))
    }

    /// Finds the adapters of all networks, puts the lease in force on them and listens there.
    pub(super) fn find_seats(&mut self) {
        let (services, macs) = (self.services(), self.group_macs());
        let mut found = Vec::new();
        for bench in &mut self.benches {
            bench.find(&self.adapters);
            for index in bench.indices.iter().flatten() {
                let adapter = self.adapters.iter().find(|adapter| adapter.index == *index);
                found.extend(adapter.cloned());
            }
        }
        if found.iter().any(|adapter| !self.is_seated(adapter.index)) {
            self.note_gateways();
        }
        for adapter in found {
            let (index, is_ethernet) = (adapter.index, adapter.mac.is_some());
            let is_new = !self.wires.has(index);
            let outcome = match self.guard(index, is_ethernet) {
                Ok(()) if is_new => {
                    self.wires.connect(index, &services, &self.asked_on(index), &macs)
                }
                other => other,
            };
            let outcome = outcome.and_then(|()| {
                let mut benches = self.benches.iter_mut();
                let own = benches.find(|bench| bench.indices.contains(&Some(index)));
                own.map_or(Ok(()), |bench| bench.ignore(&mut self.netlink, &adapter))
            });
            if let Err(reason) = outcome {
                // An adapter on which the lease is not in force is none for an address.
                for at in self.benches.iter_mut().flat_map(|bench| &mut bench.indices) {
                    if *at == Some(index) {
                        *at = None;
                    }
                }
                self.tell(AddressEvent::AdapterUnusable { adapter: adapter.name, reason });
            }
        }
    }

    /// Whether an adapter of a network is known to answer for its own addresses alone.
    fn is_seated(&self, index: u32) -> bool {
        let mut benches = self.benches.iter();
        self.wires.has(index) && benches.any(|bench| bench.ignoring.iter().any(|it| it.0 == index))
    }

    /// Forgets an adapter that went.
    pub(super) fn leave_seat(&mut self, gone: u32) {
        for bench in &mut self.benches {
            bench.ignoring.retain(|(index, _)| *index != gone);
            let own = bench.indices.iter_mut().zip(&mut bench.answered);
            for (index, answered) in own.filter(|(index, _)| **index == Some(gone)) {
                (*index, *answered) = (None, None);
            }
        }
    }

    /// Returns whom adapter `index` is to hear besides.
    pub(super) fn asked_on(&self, index: u32) -> Vec<IpAddr> {
        let own = self.benches.iter().filter(|bench| bench.indices.contains(&Some(index)));
        own.flat_map(|bench| bench.seats.ask.iter().copied()).collect()
    }

    /// Whether there are networks.
    pub(super) const fn has_benches(&self) -> bool {
        !self.benches.is_empty()
    }

    /// Returns the adapters that are to answer again as they did before.
    pub(super) fn ignoring(&self) -> Vec<(u32, u32)> {
        self.benches.iter().flat_map(|bench| bench.ignoring.iter().copied()).collect()
    }

    /// Notes the routers that the machine uses. With an adapter go the routes by it, so what is not
    /// there now is remembered: it is to be had by another adapter.
    fn note_gateways(&mut self) {
        if !self.benches.iter().any(Bench::is_shared) {
            return;
        }
        match steer::gateways() {
            Ok(found) => {
                self.gateways.retain(|known| !found.contains(known));
                self.gateways.extend(found);
            }
            Err(_) => self.counters.failures += 1,
        }
    }

    /// Leads the answers of an address out by its adapter, where there are several.
    pub(super) fn steer(&mut self, slot: usize, address: Installed) -> Result<(), Error> {
        if !Bench::of(&self.benches, address.ip).is_some_and(Bench::is_shared) {
            return Ok(());
        }
        steer::steer(&mut self.netlink, slot, address, &self.gateways)?;
        // What waits for a neighbour elsewhere would come out there when the neighbour answers.
        let own = Bench::of(&self.benches, address.ip).map(|bench| bench.indices.clone());
        for index in own.into_iter().flatten().flatten().filter(|index| *index != address.index) {
            steer::forget_unanswered(&mut self.netlink, index)?;
        }
        Ok(())
    }

    /// Ends that for the addresses in `slots`.
    pub(super) fn unsteer(&mut self, slots: &[usize]) -> Result<(), Error> {
        for slot in slots {
            let address = self.installed_of(*slot, 0);
            if Bench::of(&self.benches, address.ip).is_some_and(Bench::is_shared) {
                steer::release(&mut self.netlink, *slot, address, &self.gateways)?;
            }
        }
        Ok(())
    }

    fn adapter(&self, index: u32) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.index == index)
    }
}

impl Slot {
    /// Finds its adapter: the first one of its network, if it is on one.
    pub(super) fn find(
        &mut self,
        benches: &[Bench],
        services: &[IpAddr],
        adapters: &[Adapter],
        installed: &[Installed],
    ) {
        if let Some(bench) = Bench::of(benches, self.service.ip) {
            self.service.adapter = bench.seats.adapters.first().cloned().unwrap_or_default();
        }
        let is_service = |ip| services.contains(&ip);
        self.place = Place::find(&self.service, adapters, installed, is_service);
    }
}

/// How often third stations are asked while something is to be told.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// After how long a station that does not answer is not there.
const ASK_PATIENCE: Duration = Duration::from_millis(750);
/// What `arp_ignore` is on an adapter that answers for its own addresses alone.
const OWN_ALONE: u32 = 1;
