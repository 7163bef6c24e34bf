//! The hardware address of a group on this machine: prepared, raised with it and lowered with it.
//!
//! | | macvlan | adapter |
//! |-|---------|---------|
//! | prepared | an adapter upon each that the addresses may be on, switched off | nothing |
//! | raised | it is switched on | the original is noted, then replaced |
//! | lowered | it is switched off, before anything else | the original is put back |
//! | what a killed life left | the adapter is deleted | the original is put back |
//!
//! The lease is open before an address is raised. While it is closed no frame leaves from there,
//! so a machine that was frozen, or on which everything was killed, is silent until it is put
//! right.

mod leftover;

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;

use super::arp::Mac;
use super::bench::Bench;
use super::error::Error;
use super::event::AddressEvent;
use super::mac::{GroupMac, MacOn, Mark};
use super::place::Place;
use super::{Addresses, MacPlan, Slot};
use crate::clock;

pub(super) use self::leftover::clear;
use self::leftover::{restore, substitute};

/// The hardware addresses of all groups.
#[derive(Debug)]
pub(super) struct Fronts {
    mark: Mark,
    fronts: Vec<Front>,
    /// Whether what an earlier life left is gone, so that adapters may be made.
    is_cleared: bool,
}

/// The hardware address of a group.
#[derive(Debug)]
struct Front {
    group: usize,
    mac: GroupMac,
    /// Its place among what the lease is about.
    subject: usize,
    /// The adapters of its own, each with the one below it; one of them at most is switched on.
    made: Vec<(u32, u32)>,
    /// Whether its own adapter is switched on, or the adapter has it.
    is_raised: bool,
    /// From when on it is told that another machine sends from there.
    tell_from: Instant,
}

impl Fronts {
    /// Returns the addresses of a plan, none of them on any adapter; `subject` is the first place
    /// that the lease has for them.
    pub(super) fn new(plan: &MacPlan, subject: usize) -> Self {
        let macs = plan.groups.iter().enumerate().filter_map(|(group, mac)| Some((group, (*mac)?)));
        let front = |(at, (group, mac))| {
            let subject = subject + at;
            let (made, tell_from) = (Vec::new(), Instant::ZERO);
            Front { group, mac, subject, made, is_raised: false, tell_from }
        };
        let fronts = macs.enumerate().map(front).collect();
        Self { mark: Mark::new(plan.cluster), fronts, is_cleared: false }
    }

    /// Returns the hardware addresses, in the order of the lease.
    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> {
        self.fronts.iter().map(|front| front.mac.address)
    }

    /// Whether one of them is to be on an adapter of its own.
    pub(super) fn has_macvlan(&self) -> bool {
        self.fronts.iter().any(|front| front.mac.on == MacOn::Macvlan)
    }

    /// Returns where the lease has the hardware address of a group, if it has one.
    pub(super) fn subject(&self, group: usize) -> Option<usize> {
        self.of(group).map(|front| front.subject)
    }

    fn of(&self, group: usize) -> Option<&Front> {
        self.fronts.iter().find(|front| front.group == group)
    }

    fn of_mut(&mut self, group: usize) -> Option<&mut Front> {
        self.fronts.iter_mut().find(|front| front.group == group)
    }
}

impl Addresses {
    /// Removes what an earlier life left of hardware addresses, and returns what that was; then
    /// makes the adapters that groups will need, switched off.
    ///
    /// To be called before the first frame to a peer, after
    /// [`remove_leftovers`](Self::remove_leftovers).
    ///
    /// # Errors
    /// [`Error::Call`]; [`Error::Apart`], [`Error::TwoMacs`] where addresses cannot be served.
    pub fn prepare_macs(&mut self) -> Result<Vec<String>, Error> {
        let Some(fronts) = &self.fronts else { return Ok(Vec::new()) };
        let mark = fronts.mark;
        let groups: Vec<usize> = fronts.fronts.iter().map(|front| front.group).collect();
        let removed = clear(&mut self.netlink, mark)?;
        self.fronts.iter_mut().for_each(|fronts| fronts.is_cleared = true);
        if !removed.is_empty() {
            self.look_for_adapters();
        }
        for group in groups {
            if self.is_placed(group) {
                self.prepare_front(group)?;
            }
        }
        Ok(removed)
    }

    /// Prepares the hardware address of `group`, if it has one, on the adapter of its addresses.
    pub(super) fn prepare_front(&mut self, group: usize) -> Result<(), Error> {
        let Some(base) = self.base_of(group)? else { return Ok(()) };
        let Some(fronts) = &mut self.fronts else { return Ok(()) };
        let mark = fronts.mark;
        let others = fronts.fronts.iter().filter(|front| front.group != group);
        let mut rivals = others.filter(|front| front.mac.on == MacOn::Adapter);
        let (slots, mine) = (&self.slots, fronts.of(group).map(|front| front.mac));
        let is_rival = |front: &Front| {
            slots.iter().any(|slot| slot.group == front.group && slot.index() == Some(base.index))
        };
        let Some(mac) = mine else { return Ok(()) };
        if mac.on == MacOn::Adapter {
            return match rivals.any(is_rival) {
                true => Err(Error::TwoMacs { adapter: base.name }),
                false => Ok(()),
            };
        }
        let bases = self.bases_of(group, base.index);
        let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) else {
            return Ok(());
        };
        let stale = |(_, on): &mut (u32, u32)| !bases.iter().any(|(_, index)| index == on);
        for (index, _) in front.made.extract_if(.., stale) {
            self.wires.disconnect(index);
            // Where its adapter went, it went too.
            let _ = self.netlink.delete_adapter(index);
        }
        let made: Vec<u32> = front.made.iter().map(|(_, on)| *on).collect();
        for (place, on) in bases.into_iter().filter(|(_, on)| !made.contains(on)) {
            let name = mark.adapter(group, place);
            match self.make_front(group, &name, on, mac) {
                Err(error) if on == base.index => return Err(error),
                // It is tried again when the addresses are to be there.
                outcome => self.counters.failures += u64::from(outcome.is_err()),
            }
        }
        Ok(())
    }

    /// Makes the adapter of a group's hardware address upon adapter `on`.
    fn make_front(
        &mut self,
        group: usize,
        name: &str,
        on: u32,
        mac: GroupMac,
    ) -> Result<(), Error> {
        let alias = format!("lifesign: MAC address of group {group}");
        let index = self.netlink.add_macvlan(name, on, mac.address, &alias)?;
        // First, so that it is known whatever comes of the rest.
        if let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) {
            front.made.push((index, on));
        }
        let own = self.slots.iter().filter(|slot| slot.group == group);
        let services: Vec<_> = own.map(|slot| slot.service.ip).collect();
        self.wires.connect(index, &services, &[], &[])?;
        self.let_speak(index)
    }

    /// Returns the adapters that the addresses of `group`, now on adapter `base`, may be on, each
    /// with its place among them.
    fn bases_of(&self, group: usize, base: u32) -> Vec<(usize, u32)> {
        let mut services = self.slots.iter().filter(|it| it.group == group).map(|it| it.service.ip);
        let bench = services.find_map(|ip| Bench::of(&self.benches, ip));
        let shared = bench.filter(|bench| bench.is_shared());
        shared.map_or_else(
            || vec![(0, base)],
            |bench| {
                let places = bench.indices.iter().enumerate();
                places.filter_map(|(place, index)| Some((place, (*index)?))).collect()
            },
        )
    }

    /// Prepares the hardware addresses of the groups whose addresses may be on adapter `index`,
    /// once what an earlier life left is gone.
    pub(super) fn prepare_fronts_on(&mut self, index: u32) -> Result<(), Error> {
        if self.fronts.as_ref().is_none_or(|fronts| !fronts.is_cleared) {
            return Ok(());
        }
        for group in 0..self.groups.len() {
            let may_be = |slot: &Slot| {
                let bench = Bench::of(&self.benches, slot.service.ip);
                slot.index() == Some(index)
                    || bench.is_some_and(|bench| bench.indices.contains(&Some(index)))
            };
            let mut own = self.slots.iter().filter(|slot| slot.group == group);
            if own.any(may_be) && self.is_placed(group) {
                self.prepare_front(group)?;
            }
        }
        Ok(())
    }

    /// Raises the hardware address of `group`, if it has one.
    ///
    /// Its lease is open; frames leave from it as soon as this returns.
    pub(super) fn raise(&mut self, group: usize) -> Result<(), Error> {
        let Some(base) = self.base_of(group)? else { return Ok(()) };
        self.prepare_front(group)?;
        let Some(fronts) = &mut self.fronts else { return Ok(()) };
        let mark = fronts.mark;
        let Some(front) = fronts.of_mut(group) else { return Ok(()) };
        let mac = front.mac;
        let made = front.made.iter().find(|(_, on)| *on == base.index).map(|(index, _)| *index);
        let is_there = self.slots.iter().any(|it| it.group == group && it.front.is_some());
        if !front.is_raised || !is_there {
            front.tell_from = clock::now() + SETTLE;
        }
        let index = match (mac.on, made) {
            (MacOn::Macvlan, Some(index)) => {
                front.is_raised = true;
                self.switch_off_but(group, Some(index))?;
                let outcome = self.netlink.switch(index, true);
                if outcome.as_ref().is_err_and(|error| error.is(Errno::ENODEV)) {
                    // Somebody deleted it; the next attempt makes another one.
                    self.forget_front(index);
                }
                outcome?;
                index
            }
            (MacOn::Macvlan, None) => return Err(Error::NoGroup { group }),
            (MacOn::Adapter, _) => {
                front.is_raised = true;
                substitute(&mut self.netlink, mark, &base, mac.address)?;
                base.index
            }
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.group == group) {
            slot.front = Some((index, mac.address));
        }
        Ok(())
    }

    /// Switches off the adapters of `group`'s hardware address, if it has any: nothing is said from
    /// there any more, whatever comes next.
    pub(super) fn switch_off(&mut self, group: usize) -> Result<(), Error> {
        self.switch_off_but(group, None)
    }

    /// Switches off those other than `kept`.
    fn switch_off_but(&mut self, group: usize, kept: Option<u32>) -> Result<(), Error> {
        let front = self.fronts.as_ref().and_then(|fronts| fronts.of(group));
        let made: Vec<u32> =
            front.iter().flat_map(|it| &it.made).map(|(index, _)| *index).collect();
        let mut first = Ok(());
        for index in made.into_iter().filter(|index| Some(*index) != kept) {
            match self.netlink.switch(index, false) {
                Err(error) if error.is(Errno::ENODEV) => self.forget_front(index),
                outcome => first = first.and(outcome),
            }
        }
        first
    }

    /// Puts back the hardware address of the adapter that has that of `group`, if one has.
    pub(super) fn put_back(&mut self, group: usize) -> Result<(), Error> {
        let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) else {
            return Ok(());
        };
        if !std::mem::take(&mut front.is_raised) || front.mac.on == MacOn::Macvlan {
            return Ok(());
        }
        restore(&mut self.netlink, self.sources.mark()).map(drop)
    }

    /// Takes in that a frame came in on adapter `index` whose source is a group's hardware address:
    /// from another machine, as what this one sends does not come back where it was sent.
    pub(super) fn handle_source(&mut self, index: u32, mac: Mac, now: Instant) {
        let mut fronts = self.fronts.iter_mut().flat_map(|fronts| &mut fronts.fronts);
        let Some(front) = fronts.find(|front| front.mac.address == mac) else { return };
        let group = front.group;
        let is_sent_here =
            || self.slots.iter().any(|slot| slot.group == group && slot.index() == Some(index));
        let mut members = self.slots.iter().filter(|slot| slot.group == group);
        if members.any(|slot| slot.presence.is_probing()) {
            for slot in self.slots.iter_mut().filter(|slot| slot.group == group) {
                slot.presence.stop_probing();
            }
        } else if front.is_raised && is_sent_here() && now.has_reached(front.tell_from) {
            front.tell_from = now + TELL_AGAIN;
        } else {
            return;
        }
        self.tell(AddressEvent::MacConflict { group, mac });
    }

    /// Whether an adapter is one that was made for a group.
    pub(super) fn is_front(&self, index: u32) -> bool {
        let mut fronts = self.fronts.iter().flat_map(|fronts| &fronts.fronts);
        fronts.any(|front| front.made.iter().any(|(own, _)| *own == index))
    }

    /// Forgets an adapter that went, and those upon it.
    pub(super) fn forget_front(&mut self, index: u32) {
        for front in self.fronts.iter_mut().flat_map(|fronts| &mut fronts.fronts) {
            front.made.retain(|(own, base)| *own != index && *base != index);
        }
    }

    /// Returns the places of a group's addresses, and of its hardware address, in the lease.
    pub(super) fn leased(&self, group: usize) -> Result<Vec<usize>, Error> {
        let mut places = self.members(group)?;
        places.extend(self.fronts.as_ref().and_then(|fronts| fronts.subject(group)));
        Ok(places)
    }

    /// Whether a hardware address is that of a group, wherever it is held.
    pub(super) fn group_macs(&self) -> Vec<Mac> {
        self.fronts.iter().flat_map(Fronts::macs).collect()
    }

    /// Returns the adapter that all addresses of `group` belong to; `None` where the group has no
    /// hardware address.
    fn base_of(&self, group: usize) -> Result<Option<Place>, Error> {
        if self.fronts.as_ref().and_then(|fronts| fronts.of(group)).is_none() {
            return Ok(None);
        }
        let mut base: Option<Place> = None;
        for slot in self.members(group)? {
            let place = self.place_of(slot)?;
            match &base {
                Some(base) if base.index != place.index => {
                    let ip = self.installed_of(slot, place.index).ip;
                    return Err(Error::Apart { ip });
                }
                Some(_) => {}
                None => base = Some(place),
            }
        }
        Ok(base)
    }
}

impl Slot {
    /// Returns the adapter which the address is on while it is held, and from which hardware
    /// address it speaks.
    pub(super) fn seat(&self) -> Option<(u32, Mac)> {
        let place = self.place.as_ref()?;
        self.front.or_else(|| Some((place.index, place.mac?)))
    }

    /// Returns the number of the adapter which the address is on while it is held.
    pub(super) fn seat_index(&self) -> Option<u32> {
        self.front.map(|(index, _)| index).or_else(|| self.index())
    }

    /// Whether what comes on adapter `index` may be about this address.
    pub(super) fn hears(&self, index: u32) -> bool {
        self.index() == Some(index) || self.front.is_some_and(|(own, _)| own == index)
    }
}

/// How long frames of the holder before may still be on their way.
const SETTLE: Duration = Duration::from_millis(1000);
/// How often it is told that another machine sends from the hardware address of a group.
const TELL_AGAIN: Duration = Duration::from_millis(10_000);

#[cfg(test)]
mod tests;
