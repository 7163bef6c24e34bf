//! What happens to service addresses and their adapters, and how it comes about.

use std::net::{IpAddr, Ipv4Addr};

use lifesign_core::time::Instant;

use super::netlink::{Adapter, Installed};
use super::place::{self, Place, ServiceAddress};
use super::presence::{Learned, Outcome, Presence};
use super::wire::Wires;
use super::{Addresses, Error, Slot};
use crate::clock;

/// News about a service address or its adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressEvent {
    /// The adapter of addresses went, and they with it.
    AdapterLost {
        /// Its name.
        adapter: String,
        /// The groups with an address on it.
        groups: Vec<usize>,
    },
    /// The adapter of addresses came; a group that is held is to be acquired anew.
    AdapterBack {
        /// Its name.
        adapter: String,
        /// The groups with an address on it.
        groups: Vec<usize>,
    },
    /// An adapter came that the lease or the frames of the addresses do not work on.
    AdapterUnusable {
        /// Its name.
        adapter: String,
        /// Why.
        reason: Error,
    },
    /// An adapter has another name; its addresses stay.
    Renamed {
        /// The name it had.
        from: String,
        /// The name it has.
        to: String,
    },
    /// An adapter carries no frames.
    CarrierLost {
        /// Its name.
        adapter: String,
        /// The groups with an address on it.
        groups: Vec<usize>,
    },
    /// An adapter carries frames again.
    CarrierBack {
        /// Its name.
        adapter: String,
        /// The groups with an address on it.
        groups: Vec<usize>,
    },
    /// Someone else deleted an address that is held; it may be acquired anew.
    AddressRemoved {
        /// Its group.
        group: usize,
        /// The address.
        ip: IpAddr,
    },
    /// Another machine has an address that is held or probed for.
    Conflict {
        /// Its group.
        group: usize,
        /// The address.
        ip: IpAddr,
        /// The hardware address of the other.
        mac: [u8; 6],
    },
    /// Another machine sends from the hardware address of a group that is held or probed for.
    MacConflict {
        /// Its group.
        group: usize,
        /// The hardware address.
        mac: [u8; 6],
    },
    /// A probe is over and nobody has the addresses of a group.
    Free {
        /// The group.
        group: usize,
    },
    /// So many neighbours have answered to an address.
    NeighboursLearned {
        /// Its group.
        group: usize,
        /// The address.
        ip: IpAddr,
        /// The counts.
        learned: Learned,
    },
}

impl Addresses {
    /// Takes in what an adapter is like; true where one of ours may be new.
    pub(super) fn handle_adapter(&mut self, adapter: Adapter) -> bool {
        let groups = self.groups_on(adapter.index);
        let Some(known) = self.adapters.iter_mut().find(|known| known.index == adapter.index)
        else {
            self.adapters.push(adapter);
            return true;
        };
        let before = std::mem::replace(known, adapter.clone());
        if before.name != adapter.name && self.guarded.contains(&adapter.index) {
            // Some kernels guard an adapter by its name.
            let outcome = self.guard(adapter.index, adapter.mac.is_some());
            self.counters.failures += u64::from(outcome.is_err());
        }
        if !groups.is_empty() {
            for slot in &mut self.slots {
                if let Some(place) = &mut slot.place
                    && place.index == adapter.index
                {
                    place.mac = adapter.mac;
                    place.name.clone_from(&adapter.name);
                }
            }
            let name = adapter.name.clone();
            if before.carrier && !adapter.carrier {
                self.tell(AddressEvent::CarrierLost { adapter: name, groups });
            } else if !before.carrier && adapter.carrier {
                self.tell(AddressEvent::CarrierBack { adapter: name, groups });
            }
            if before.name != adapter.name {
                self.tell(AddressEvent::Renamed { from: before.name, to: adapter.name });
            }
            return false;
        }
        // A name that one of ours waits for, or a subnet, may be here.
        before.name != adapter.name || self.is_incomplete()
    }

    /// Forgets an adapter that went.
    pub(super) fn handle_adapter_gone(&mut self, index: u32) {
        let groups = self.groups_on(index);
        self.guarded.retain(|guarded| *guarded != index);
        self.leave_seat(index);
        self.wires.disconnect(index);
        self.forget_front(index);
        let gone = self.adapters.extract_if(.., |adapter| adapter.index == index).last();
        for slot in self.slots.iter_mut().filter(|slot| slot.index() == Some(index)) {
            slot.fall_silent();
            slot.place = None;
        }
        if let Some(adapter) = gone
            && !groups.is_empty()
        {
            self.tell(AddressEvent::AdapterLost { adapter: adapter.name, groups });
        }
    }

    /// Lists adapters anew, tells what changed, and finds places for addresses that have none.
    pub(super) fn look_for_adapters(&mut self) {
        let (Ok(adapters), Ok(installed)) = (self.netlink.adapters(), self.netlink.addresses())
        else {
            self.counters.failures += 1;
            return;
        };
        let known: Vec<u32> = self.adapters.iter().map(|adapter| adapter.index).collect();
        for index in known {
            if !adapters.iter().any(|adapter| adapter.index == index) {
                self.handle_adapter_gone(index);
            }
        }
        for adapter in adapters {
            self.handle_adapter(adapter);
        }
        let services = self.services();
        let mut found = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.place.is_none()) {
            let is_service = |ip| services.contains(&ip);
            slot.place = Place::find(&slot.service, &self.adapters, &installed, is_service);
            if let Some(place) = &slot.place
                && !found.iter().any(|known: &Place| known.index == place.index)
            {
                found.push(place.clone());
            }
        }
        for place in found {
            self.use_adapter(&place, &services);
        }
        self.find_seats();
        for index in place::siblings(&services, &self.adapters, &installed) {
            if !self.guarded.contains(&index) && self.guard(index, true).is_err() {
                self.counters.failures += 1;
            }
        }
    }

    /// Puts the lease in force on an adapter.
    pub(super) fn guard(&mut self, index: u32, is_ethernet: bool) -> Result<(), Error> {
        self.lease.guard_adapter(index, is_ethernet)?;
        if !self.guarded.contains(&index) {
            self.guarded.push(index);
        }
        Ok(())
    }

    /// Guards an adapter and listens on it; leaves its addresses without a place where that fails.
    fn use_adapter(&mut self, place: &Place, services: &[IpAddr]) {
        let macs = self.group_macs();
        let outcome = self
            .guard(place.index, place.is_ethernet())
            .and_then(|()| {
                let asked = self.asked_on(place.index);
                self.wires.connect(place.index, services, &asked, &macs)
            })
            .and_then(|()| self.prepare_fronts_on(place.index));
        let (groups, adapter) = (self.groups_on(place.index), place.name.clone());
        match outcome {
            Ok(()) => self.tell(AddressEvent::AdapterBack { adapter, groups }),
            Err(reason) => {
                for slot in self.slots.iter_mut().filter(|slot| slot.index() == Some(place.index)) {
                    slot.place = None;
                }
                self.tell(AddressEvent::AdapterUnusable { adapter, reason });
            }
        }
    }

    /// Lists addresses anew and tells which of those held are gone.
    pub(super) fn look_for_addresses(&mut self) {
        let Ok(installed) = self.netlink.addresses() else {
            self.counters.failures += 1;
            return;
        };
        let mut removed = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_installed) {
            if !installed.iter().any(|address| address.ip == slot.service.ip) {
                slot.fall_silent();
                removed
                    .push(AddressEvent::AddressRemoved { group: slot.group, ip: slot.service.ip });
            }
        }
        removed.into_iter().for_each(|event| self.tell(event));
    }

    /// Takes in frames.
    pub(super) fn hear(&mut self, now: Instant) {
        let own: Vec<[u8; 6]> = self.adapters.iter().filter_map(|adapter| adapter.mac).collect();
        // Who has a group's hardware address is this machine only while it holds the group.
        let moving = self.group_macs();
        let (mut outcomes, mut sources) = (Vec::new(), Vec::new());
        let (slots, benches) = (&mut self.slots, &mut self.benches);
        self.wires.hear(|index, frame| {
            benches.iter_mut().for_each(|bench| bench.hear(index, frame, now));
            let is_source = |mac: &&[u8; 6]| frame.get(6..12) == Some(&mac[..]);
            sources.extend(moving.iter().find(is_source).map(|mac| (index, *mac)));
            for (at, slot) in slots.iter_mut().enumerate() {
                if slot.hears(index) {
                    let is_held = slot.is_installed;
                    let is_own = |mac| own.contains(&mac) && (is_held || !moving.contains(&mac));
                    let outcome = slot.presence.handle_frame(frame, is_own, now.as_micros());
                    outcomes.extend(outcome.map(|outcome| (at, outcome)));
                }
            }
        });
        for (at, outcome) in outcomes {
            self.handle_outcome(at, Some(outcome));
        }
        sources.into_iter().for_each(|(index, mac)| self.handle_source(index, mac, now));
    }

    /// Makes an event of what came of frames or time.
    pub(super) fn handle_outcome(&mut self, at: usize, outcome: Option<Outcome>) {
        let (Some(slot), Some(outcome)) = (self.slots.get(at), outcome) else { return };
        let (group, ip) = (slot.group, slot.service.ip);
        match outcome {
            Outcome::Conflict(mac) => {
                // One address in use is enough to know.
                for slot in self.slots.iter_mut().filter(|slot| slot.group == group) {
                    slot.presence.stop_probing();
                }
                self.tell(AddressEvent::Conflict { group, ip, mac });
            }
            Outcome::Free => {
                let mut members = self.slots.iter().filter(|slot| slot.group == group);
                if !members.any(|slot| slot.presence.is_probing()) {
                    self.tell(AddressEvent::Free { group });
                }
            }
            Outcome::Learned(learned) => {
                self.tell(AddressEvent::NeighboursLearned { group, ip, learned });
            }
        }
    }

    /// Keeps an event for [`poll_event`](Self::poll_event); the oldest goes where there are too
    /// many.
    pub(super) fn tell(&mut self, event: AddressEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
            self.counters.events_lost += 1;
        }
        self.events.push_back(event);
    }

    /// Returns the groups with an address on adapter `index`.
    pub(super) fn groups_on(&self, index: u32) -> Vec<usize> {
        let on_it = self.slots.iter().filter(|slot| slot.index() == Some(index));
        let mut groups: Vec<usize> = on_it.map(|slot| slot.group).collect();
        groups.dedup();
        groups
    }

    /// Returns whether every address of the group with this index has an adapter.
    #[must_use]
    pub fn is_placed(&self, group: usize) -> bool {
        self.slots.iter().all(|slot| slot.group != group || slot.place.is_some())
    }

    /// Whether an address has no adapter now.
    pub(super) fn is_incomplete(&self) -> bool {
        self.slots.iter().any(|slot| slot.place.is_none())
    }

    /// Returns every service address.
    pub(super) fn services(&self) -> Vec<IpAddr> {
        self.slots.iter().map(|slot| slot.service.ip).collect()
    }

    /// Returns the places of a group's addresses in `slots`.
    pub(super) fn members(&self, group: usize) -> Result<Vec<usize>, Error> {
        self.groups.get(group).cloned().ok_or(Error::NoGroup { group })
    }

    /// Returns where the address in a slot belongs.
    pub(super) fn place_of(&self, slot: usize) -> Result<Place, Error> {
        let slot = self.slots.get(slot).ok_or(Error::NoGroup { group: slot })?;
        let ServiceAddress { ip, adapter, .. } = &slot.service;
        slot.place.clone().ok_or_else(|| Error::NoAdapter { ip: *ip, adapter: adapter.clone() })
    }

    /// Returns the address in a slot as it is while it is held.
    pub(super) fn installed_at(&self, slot: usize) -> Installed {
        let seat = self.slots.get(slot).and_then(Slot::seat_index);
        self.installed_of(slot, seat.unwrap_or(0))
    }

    /// Returns the address in a slot as it is on adapter `index`.
    pub(super) fn installed_of(&self, slot: usize, index: u32) -> Installed {
        let service = self.slots.get(slot).map(|slot| (slot.service.ip, slot.service.prefix));
        let (ip, prefix) = service.unwrap_or((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32));
        Installed { index, ip, prefix }
    }
}

impl Slot {
    /// Returns the slot of an address that has no place yet.
    pub(super) fn new(service: ServiceAddress, group: usize) -> Self {
        let presence = Presence::new(service.ip);
        let (is_installed, is_to_ask) = (false, false);
        let refresh = Vec::new();
        let (place, front) = (None, None);
        Self { service, group, refresh, place, front, is_installed, is_to_ask, presence }
    }

    /// Notes that the address is not held.
    pub(super) fn fall_silent(&mut self) {
        self.presence.fall_silent();
        self.front = None;
        self.is_installed = false;
        self.is_to_ask = false;
    }

    /// Sends what is due; returns how many frames the adapter did not take. Where there are no
    /// Ethernet frames, as on loopback, there are no neighbours, and the times pass in silence.
    pub(super) fn speak(&mut self, wires: &Wires, now_us: u64) -> (u64, Option<Outcome>) {
        let Some(index) = self.seat_index() else { return (0, None) };
        let mac = self.seat().map(|(_, mac)| mac);
        let ip = self.service.ip;
        // Between the wake-up and here this process may have been stopped.
        let now_us = now_us.max(clock::now().as_micros());
        let mut unsent = 0;
        let outcome = self.presence.handle_timeout(mac.unwrap_or_default(), now_us, |frame| {
            unsent += u64::from(mac.is_some() && wires.send(index, ip, frame).is_err());
        });
        (unsent, outcome)
    }

    /// Returns the number of its adapter.
    pub(super) fn index(&self) -> Option<u32> {
        self.place.as_ref().map(|place| place.index)
    }

    /// Whether it is installed as `address`.
    pub(super) fn is_at(&self, address: Installed) -> bool {
        self.is_installed
            && self.service.ip == address.ip
            && self.seat_index() == Some(address.index)
    }
}

/// The most events that wait to be taken.
const MAX_EVENTS: usize = 256;
