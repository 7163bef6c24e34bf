//! Where the service addresses of a network may sit: several adapters of this machine. Those that
//! are at home here are together on one of them, and those that are taken over on one, which may
//! be another.
//!
//! The lease is in force on all of these adapters, and each answers for its own addresses alone
//! (`arp_ignore`), so an address that moves from one to the other is never answered for by both: it
//! is deleted where it was before it is added anywhere else. An adapter that has just come, which
//! is not prepared so, says nothing about them: [`speakers`](super::nftables::speakers).

use std::net::IpAddr;

use lifesign_core::network::Origin;
use lifesign_core::time::{Duration, Instant};

use super::arp::{self, Mac};
use super::bench::Bench;
use super::error::Error;
use super::event::AddressEvent;
use super::netlink::{Adapter, Installed};
use super::nftables::speakers::Speakers;
use super::place::Place;
use super::{Addresses, Slot, ndp};

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
    /// When one last answered.
    pub answered_at: Option<Instant>,
}

impl Seat {
    /// Returns whether a third station answers, where nobody has been heard since `heard`: an
    /// answer from before says nothing of what has happened since.
    #[must_use]
    pub fn answered_since(&self, heard: Instant) -> Option<bool> {
        let is_newer = self.answered_at.is_some_and(|at| heard < at);
        self.answered.filter(|is_there| is_newer || !is_there)
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
                answered_at: bench.answered.get(at).copied().flatten(),
            }
        };
        bench.seats.adapters.iter().zip(&bench.indices).enumerate().map(seat).collect()
    }

    /// Lets the addresses of one origin on a network sit on the adapter with this place in its list
    /// from here on, and returns the groups that have lost one by that: they are to be acquired
    /// anew.
    ///
    /// # Errors
    /// [`Error::Call`] where an address cannot be deleted from the adapter where it is. It stays
    /// there, and so do those after it.
    pub fn seat(&mut self, network: usize, origin: Origin, at: usize) -> Result<Vec<usize>, Error> {
        let Some(bench) = self.benches.get_mut(network) else { return Ok(Vec::new()) };
        let name = bench.seats.adapters.get(at).cloned().unwrap_or_default();
        let index = bench.indices.get(at).copied().flatten();
        let services: Vec<IpAddr> = bench.services(origin).collect();
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
                // Nothing is said from its hardware address there, whatever comes next.
                self.switch_off(group)?;
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
            let own = bench.seats.services.iter().zip(&mut bench.places);
            own.filter(|((_, other), _)| *other == origin).for_each(|(_, place)| *place = at);
        }
        moved.dedup();
        Ok(moved)
    }

    /// Returns whether the addresses of an origin on a network sit on the adapter with this place
    /// in its list.
    #[must_use]
    pub fn is_seated(&self, network: usize, origin: Origin, at: usize) -> bool {
        let Some(bench) = self.benches.get(network) else { return true };
        bench.services(origin).all(|ip| bench.place(ip) == Some(at))
    }

    /// Returns the service addresses of an origin on a network, each with its group.
    #[must_use]
    pub fn services_on(&self, network: usize, origin: Origin) -> Vec<(usize, IpAddr)> {
        let bench = self.benches.get(network);
        let own: Vec<IpAddr> = bench.into_iter().flat_map(|it| it.services(origin)).collect();
        let slots = self.slots.iter().map(|slot| (slot.group, slot.service.ip));
        slots.filter(|(_, ip)| own.contains(ip)).collect()
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
        self.bind_addresses();
        let (services, macs) = (self.services(), self.group_macs());
        let mut found = Vec::new();
        for bench in &mut self.benches {
            bench.find(&self.adapters);
            for index in bench.indices.iter().flatten() {
                let adapter = self.adapters.iter().find(|adapter| adapter.index == *index);
                found.extend(adapter.cloned());
            }
        }
        if found.iter().any(|adapter| !self.is_settled(adapter.index)) {
            self.note_routers();
        }
        for adapter in found {
            let (index, is_ethernet) = (adapter.index, adapter.mac.is_some());
            let is_new = !self.wires.has(index);
            let outcome = match self.guard(index, is_ethernet) {
                Ok(()) if is_new => self
                    .wires
                    .connect(index, &services, &self.asked_on(index), &macs)
                    .and_then(|()| self.prepare_fronts_on(index)),
                other => other,
            };
            let outcome = outcome.and_then(|()| {
                let mut benches = self.benches.iter_mut();
                let own = benches.find(|bench| bench.indices.contains(&Some(index)));
                own.map_or(Ok(()), |bench| bench.ignore(&mut self.netlink, &adapter))
            });
            let outcome = outcome.and_then(|()| self.let_speak(index));
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
    fn is_settled(&self, index: u32) -> bool {
        let mut benches = self.benches.iter();
        self.wires.has(index) && benches.any(|bench| bench.ignoring.iter().any(|it| it.0 == index))
    }

    /// Has ARP leave only by adapters that are prepared, which needs packet filters.
    fn bind_addresses(&mut self) {
        if self.speakers.is_none() {
            let shared = Bench::shared(&self.benches);
            let is_shared = !shared.is_empty();
            self.speakers = Speakers::open(shared).ok();
            self.counters.failures += u64::from(is_shared && self.speakers.is_none());
        }
    }

    /// Lets ARP leave by an adapter, which is prepared.
    pub(super) fn let_speak(&mut self, index: u32) -> Result<(), Error> {
        self.speakers.as_mut().map_or(Ok(()), |speakers| speakers.allow(index))
    }

    /// Forgets an adapter that went.
    pub(super) fn leave_seat(&mut self, gone: u32) {
        let forgotten = self.speakers.as_mut().map(|speakers| speakers.forget(gone));
        self.counters.failures += u64::from(forgotten.is_some_and(|outcome| outcome.is_err()));
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

    /// Returns the adapters that are to answer again as they did before.
    pub(super) fn ignoring(&self) -> Vec<(u32, u32)> {
        self.benches.iter().flat_map(|bench| bench.ignoring.iter().copied()).collect()
    }

    fn adapter(&self, index: u32) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.index == index)
    }
}

impl Slot {
    /// Finds its adapter: that of its network for it, if it is on one.
    pub(super) fn find(
        &mut self,
        benches: &[Bench],
        services: &[IpAddr],
        adapters: &[Adapter],
        installed: &[Installed],
    ) {
        if let Some(bench) = Bench::of(benches, self.service.ip) {
            let place = bench.place(self.service.ip).unwrap_or_default();
            self.service.adapter = bench.seats.adapters.get(place).cloned().unwrap_or_default();
        }
        let is_service = |ip| services.contains(&ip);
        self.place = Place::find(&self.service, adapters, installed, is_service);
    }
}

/// How often third stations are asked while something is to be told.
const ASK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
