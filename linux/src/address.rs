//! Service addresses: taken, defended, and given up so that no two machines answer for one.
//!
//! [`Addresses`] does for the decision thread what an address needs: it installs and deletes by
//! [`netlink`], tells neighbours by ARP and neighbour discovery, watches for others who claim the
//! address and for adapters that go, and keeps the [`lease`] by which the kernel silences the
//! address on time, whatever becomes of this process.
//!
//! Nothing here waits. One descriptor tells when there is something to read:
//!
//! ```no_run
//! use lifesign::address::{Addresses, ServiceAddress, lease::EnforcerChoice};
//! use lifesign::clock;
//! use lifesign_core::time::Duration;
//!
//! let ip = [10, 77, 0, 100].into();
//! let service = ServiceAddress { ip, prefix: 24, adapter: String::new() };
//! let mut addresses = Addresses::open(&[vec![service]], EnforcerChoice::Auto)?;
//! addresses.remove_leftovers()?; // before the first frame to a peer
//! let deadline = clock::now() + Duration::from_millis(25);
//! addresses.acquire(0, deadline, clock::now())?;
//! // Readable: handle_readable. Due: handle_timeout. After each: poll_event, poll_timeout.
//! addresses.renew(0, deadline + Duration::from_millis(5), clock::now())?;
//! addresses.release(0)?;
//! # Ok::<(), lifesign::address::error::Error>(())
//! ```

mod account;
mod arp;
mod attach;
mod bench;
mod bpf;
pub mod error;
pub mod event;
mod front;
pub mod lease;
pub mod mac;
mod macvlan;
mod message;
pub mod monitor;
mod ndp;
mod neighbour;
pub mod netlink;
mod nftables;
pub(crate) mod packet;
mod place;
pub(crate) mod presence;
mod refresh;
pub mod route;
mod routing;
mod seat;
mod source;
mod subject;
mod take_down;
mod wire;

use std::collections::VecDeque;
use std::net::IpAddr;

use lifesign_core::time::{Duration, Instant};

pub use self::account::{Counters, MAX_ADDRESSES, Taken};
pub use self::bench::Seats;
pub use self::mac::MacPlan;
pub use self::place::ServiceAddress;
pub use self::presence::Learned;
pub use self::seat::Seat;
pub use self::take_down::TakeDown;

use self::bench::Bench;
use self::error::Error;
use self::event::AddressEvent;
use self::front::Fronts;
use self::lease::{EnforcerChoice, Lease};
use self::monitor::Change;
use self::netlink::{Adapter, Netlink};
use self::nftables::speakers::Speakers;
use self::place::Place;
use self::presence::Presence;
use self::source::Sources;
use self::subject::Subject;
use self::wire::Wires;
use crate::clock;

pub(crate) use self::message::Writer;
pub(crate) use self::place::same_subnet;

/// The service addresses of this machine, by group.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
    lease: Lease,
    wires: Wires,
    adapters: Vec<Adapter>,
    slots: Vec<Slot>,
    groups: Vec<Vec<usize>>,
    /// The adapters on which the lease is in force: those of the addresses, and their siblings.
    guarded: Vec<u32>,
    /// The hardware addresses of groups, where they may have some.
    fronts: Option<Fronts>,
    events: VecDeque<AddressEvent>,
    counters: Counters,
    /// The networks with their adapters.
    benches: Vec<Bench>,
    /// By which adapters ARP may speak for addresses on networks of several, where the kernel has
    /// packet filters.
    speakers: Option<Speakers>,
    /// What leads what speaks from the addresses.
    sources: Sources,
}

/// One service address.
#[derive(Debug)]
struct Slot {
    service: ServiceAddress,
    group: usize,
    /// Who is asked besides known neighbours.
    refresh: Vec<IpAddr>,
    place: Option<Place>,
    /// The adapter and the hardware address of its group, while that is raised.
    front: Option<(u32, [u8; 6])>,
    is_installed: bool,
    /// Whether neighbours are to be asked at the next opportunity.
    is_to_ask: bool,
    presence: Presence,
}

impl Addresses {
    /// Finds the adapters of all addresses and puts the lease in place, every address closed.
    ///
    /// Group `n` has the addresses `groups[n]`. An adapter that is missing may come later. Those on
    /// one of `networks` sit on the first adapter for their origin to begin with. With `macs`, call
    /// [`prepare_macs`](Self::prepare_macs) before anything is acquired.
    ///
    /// # Errors
    /// [`Error::NoEnforcer`], [`Error::TooMany`], [`Error::Call`].
    pub fn open_on(
        groups: &[Vec<ServiceAddress>],
        networks: &[Seats],
        macs: Option<&MacPlan>,
        choice: EnforcerChoice,
    ) -> Result<Self, Error> {
        let count = groups.iter().map(Vec::len).sum();
        if count > MAX_ADDRESSES {
            return Err(Error::TooMany { count });
        }
        // Before the first listing, so that nothing happens between it and the first event.
        let wires = Wires::open()?;
        let mut netlink = Netlink::open()?;
        let (mut slots, mut members) = (Vec::new(), Vec::new());
        for (group, services) in groups.iter().enumerate() {
            members.push((slots.len()..slots.len() + services.len()).collect());
            slots.extend(services.iter().map(|service| Slot::new(service.clone(), group)));
        }
        let (adapters, installed) = (netlink.adapters()?, netlink.addresses()?);
        let services: Vec<IpAddr> = slots.iter().map(|slot| slot.service.ip).collect();
        let benches = Bench::all(networks, &adapters);
        for slot in &mut slots {
            slot.find(&benches, &services, &adapters, &installed);
        }
        let mut indices: Vec<u32> = slots.iter().filter_map(Slot::index).collect();
        indices.extend(benches.iter().flat_map(|bench| bench.indices.iter().flatten()));
        indices.sort_unstable();
        indices.dedup();
        let is_ethernet =
            slots.iter().filter_map(|slot| slot.place.as_ref()).all(Place::is_ethernet);
        let guarded = place::guarded(&indices, &services, &adapters, &installed);
        let fronts = macs.map(|plan| Fronts::new(plan, slots.len()));
        let mac_of = |group: usize| macs?.groups.get(group).copied()?.map(|mac| mac.address);
        let mut subjects: Vec<Subject> =
            slots.iter().map(|slot| Subject::Ip(slot.service.ip, mac_of(slot.group))).collect();
        subjects.extend(fronts.iter().flat_map(Fronts::macs).map(Subject::Mac));
        let lease = Lease::open(&subjects, &guarded, is_ethernet, choice)?;
        let mut addresses = Self {
            netlink,
            lease,
            wires,
            adapters,
            slots,
            groups: members,
            guarded,
            fronts,
            events: VecDeque::new(),
            counters: Counters::default(),
            benches,
            speakers: None,
            sources: Sources::new(macs),
        };
        addresses.hear_routes()?;
        let macs = addresses.group_macs();
        for index in indices {
            addresses.wires.connect(index, &services, &addresses.asked_on(index), &macs)?;
        }
        addresses.find_seats();
        Ok(addresses)
    }

    /// Starts asking on the wire whether anyone has the addresses of `group`, for `window`.
    ///
    /// [`AddressEvent::Conflict`] or [`AddressEvent::Free`] tells what came of it.
    ///
    /// # Errors
    /// [`Error::NoGroup`], or [`Error::NoAdapter`] where an address has none now.
    pub fn probe(&mut self, group: usize, window: Duration, now: Instant) -> Result<(), Error> {
        let members = self.members(group)?;
        for slot in &members {
            self.place_of(*slot)?;
        }
        for slot in members {
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.presence.probe(window.as_micros(), now.as_micros());
            }
        }
        self.handle_timeout(now);
        Ok(())
    }

    /// Takes the addresses of `group`: opens their lease until `deadline`, installs and announces.
    ///
    /// Also for a group that is held already, after its adapter came back.
    ///
    /// # Errors
    /// [`Error::NoGroup`], [`Error::NoAdapter`], [`Error::TooShort`], [`Error::Call`]. Nothing is
    /// taken then: what was begun is undone.
    pub fn acquire(
        &mut self,
        group: usize,
        deadline: Instant,
        now: Instant,
    ) -> Result<Taken, Error> {
        let members = self.members(group)?;
        let places =
            members.iter().map(|slot| self.place_of(*slot)).collect::<Result<Vec<_>, _>>()?;
        let start = clock::now();
        self.lease.grant(&self.leased(group)?, deadline.as_micros(), now.as_micros())?;
        let leased = clock::now();
        if let Err(error) = self.raise(group).and_then(|()| self.lead(group)) {
            // What cannot be undone as well is closed at least, and runs out.
            let _ = self.release(group);
            return Err(error);
        }
        let lifetime_s = self.lease.lifetime_s(deadline.as_micros(), now.as_micros());
        for (slot, place) in members.iter().zip(&places) {
            let address = self.installed_at(*slot);
            let added = self.netlink.add_address(address, place.needs_route, lifetime_s);
            if let Err(error) = added {
                let _ = self.release(group);
                return Err(error);
            }
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.is_installed = true;
            }
        }
        let installed = clock::now();
        for slot in members {
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.presence.announce(now.as_micros());
                slot.presence.speak_until(deadline.as_micros());
                slot.is_to_ask = true;
                self.counters.frames_unsent += slot.speak(&self.wires, now.as_micros()).0;
            }
        }
        Ok(Taken {
            lease: leased.since(start),
            install: installed.since(leased),
            announce: clock::now().since(installed),
        })
    }

    /// Lets the addresses of `group` answer until `deadline`.
    ///
    /// # Errors
    /// [`Error::Expired`] where their lease has run out: they are silent, and are to be released or
    /// acquired anew. [`Error::NoGroup`], [`Error::TooShort`], [`Error::Call`].
    pub fn renew(&mut self, group: usize, deadline: Instant, now: Instant) -> Result<(), Error> {
        let members = self.members(group)?;
        self.lease.renew(&self.leased(group)?, deadline.as_micros(), now.as_micros())?;
        for slot in &members {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.presence.speak_until(deadline.as_micros());
            }
        }
        if let Some(seconds) = self.lease.lifetime_s(deadline.as_micros(), now.as_micros()) {
            for slot in members {
                let place = self.place_of(slot)?;
                let address = self.installed_at(slot);
                self.netlink.add_address(address, place.needs_route, Some(seconds))?;
            }
        }
        Ok(())
    }

    /// Gives up the addresses of `group`: closes their lease, deletes them and looks again.
    ///
    /// # Errors
    /// [`Error::NotGone`] naming an address that is still installed, [`Error::NoGroup`],
    /// [`Error::Call`]. Every step is tried, whatever the ones before returned.
    pub fn release(&mut self, group: usize) -> Result<(), Error> {
        let members = self.members(group)?;
        // Before the kernel takes leave of anybody in the name of the addresses.
        let switched = self.switch_off(group);
        let closed = self.lease.revoke(&self.leased(group)?);
        let mut services = Vec::new();
        for slot in &members {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.fall_silent();
                services.push(slot.service.ip);
            }
        }
        let deleted = take_down::delete_all(&mut self.netlink, &services);
        let put_back = self.put_back(group);
        let installed = self.netlink.addresses()?;
        if let Some(left) = installed.iter().find(|address| services.contains(&address.ip)) {
            return Err(deleted.err().unwrap_or(Error::NotGone { ip: left.ip }));
        }
        let unled = self.unlead(group);
        closed.and(switched).and(put_back).and(unled)
    }

    /// Takes in everything that the descriptor of [`AsFd`](std::os::fd::AsFd) tells of.
    ///
    /// Returns whether the machine's adapters or addresses have changed. Neighbours who speak make
    /// the descriptor readable as well, as often as they like.
    pub fn handle_readable(&mut self, now: Instant) -> bool {
        let mut is_news = false;
        let mut is_stale = false;
        let mut is_suspect = false;
        for change in self.wires.changes(&mut self.counters.failures) {
            is_news = true;
            match change {
                Change::Adapter(adapter) => {
                    if !adapter.up {
                        self.sources.lose(adapter.index);
                    }
                    is_stale |= self.handle_adapter(adapter);
                }
                Change::AdapterGone(adapter) => {
                    self.sources.lose(adapter.index);
                    is_suspect |= self.is_front(adapter.index);
                    self.handle_adapter_gone(adapter.index);
                }
                Change::Address(address) => {
                    is_stale |= self.is_incomplete() || !self.guarded.contains(&address.index);
                }
                Change::AddressGone(address) => {
                    is_suspect |= self.slots.iter().any(|slot| slot.is_at(address));
                }
                Change::Routes => self.sources.note_change(now),
                Change::Lost => {
                    self.sources.note_change(now);
                    (is_stale, is_suspect) = (true, true);
                }
            }
        }
        if is_stale {
            self.look_for_adapters();
        }
        if is_suspect {
            self.look_for_addresses();
        }
        self.hear(now);
        is_news
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_us = now.as_micros();
        self.follow_routes(now);
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            if std::mem::take(&mut slot.is_to_ask) {
                slot.ask(&mut self.netlink, &self.wires, now_us, &mut self.counters);
            }
            let (unsent, outcome) = slot.speak(&self.wires, now_us);
            self.counters.frames_unsent += unsent;
            self.handle_outcome(at, outcome);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work; a past time is now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = |slot: &Slot| {
            if slot.is_to_ask { Some(0) } else { slot.presence.poll_timeout() }
        };
        let slots = self.slots.iter().filter_map(due).min().map(Instant::from_micros);
        slots.into_iter().chain(self.sources.due()).min()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<AddressEvent> {
        self.events.pop_front()
    }
}
