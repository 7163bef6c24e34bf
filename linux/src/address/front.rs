//! The hardware address of a group on this machine: prepared, raised with it and lowered with it.
//!
//! | | macvlan | adapter |
//! |-|---------|---------|
//! | prepared | an adapter upon that of the addresses, switched off | nothing |
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
    /// When the routes of the groups are to follow those of their adapters.
    routes_due: Option<Instant>,
}

/// The hardware address of a group.
#[derive(Debug)]
struct Front {
    group: usize,
    mac: GroupMac,
    /// Its place among what the lease is about.
    subject: usize,
    /// The adapter of its own, and the one below it.
    made: Option<(u32, u32)>,
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
            Front { group, mac, subject, made: None, is_raised: false, tell_from: Instant::ZERO }
        };
        let fronts = macs.enumerate().map(front).collect();
        Self { mark: Mark::new(plan.cluster), fronts, routes_due: None }
    }

    /// Returns the hardware addresses, in the order of the lease.
    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> {
        self.fronts.iter().map(|front| front.mac.address)
    }

    /// Returns by what its adapters and tables are known.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
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
        if fronts.fronts.iter().any(|front| front.mac.on == MacOn::Macvlan) {
            self.wires.hear_routes()?;
        }
        let groups: Vec<usize> = fronts.fronts.iter().map(|front| front.group).collect();
        let removed = clear(&mut self.netlink, mark)?;
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
        if fronts.of(group).and_then(|front| front.made).is_some_and(|(_, on)| on == base.index) {
            return Ok(());
        }
        if let Some((index, _)) = fronts.of_mut(group).and_then(|front| front.made.take()) {
            self.wires.disconnect(index);
            // Where its adapter went, it went too.
            let _ = self.netlink.delete_adapter(index);
        }
        let alias = format!("lifesign: MAC address of group {group}");
        let name = mark.adapter(group);
        let index = self.netlink.add_macvlan(&name, base.index, mac.address, &alias)?;
        let services: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| slot.group == group)
            .map(|slot| slot.service.ip)
            .collect();
        self.wires.connect(index, &services, &[], &[])?;
        for ip in services {
            self.netlink.add_rule(ip, mark.table(group))?;
        }
        if let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) {
            front.made = Some((index, base.index));
        }
        Ok(())
    }

    /// Prepares the hardware addresses of the groups with an address on adapter `index`.
    pub(super) fn prepare_fronts_on(&mut self, index: u32) -> Result<(), Error> {
        let groups = self.groups_on(index);
        let placed = groups.into_iter().filter(|group| self.is_placed(*group));
        placed.collect::<Vec<_>>().into_iter().try_for_each(|group| self.prepare_front(group))
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
        if !front.is_raised {
            front.tell_from = clock::now() + SETTLE;
        }
        let index = match (mac.on, front.made) {
            (MacOn::Macvlan, Some((index, _))) => {
                front.is_raised = true;
                let outcome = self.netlink.switch(index, true);
                if outcome.as_ref().is_err_and(|error| error.is(Errno::ENODEV)) {
                    // Somebody deleted it; the next attempt makes another one.
                    front.made = None;
                }
                outcome?;
                self.netlink.copy_routes(base.index, index, mark.table(group))?;
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

    /// Switches off the adapter of `group`'s hardware address, if it has one: nothing is said from
    /// there any more, whatever comes next.
    pub(super) fn switch_off(&mut self, group: usize) -> Result<(), Error> {
        let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) else {
            return Ok(());
        };
        let Some((index, _)) = front.made.filter(|_| front.mac.on == MacOn::Macvlan) else {
            return Ok(());
        };
        match self.netlink.switch(index, false) {
            Err(error) if error.is(Errno::ENODEV) => {
                front.made = None;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Puts back the hardware address of the adapter that has that of `group`, if one has.
    pub(super) fn put_back(&mut self, group: usize) -> Result<(), Error> {
        let Some(front) = self.fronts.as_mut().and_then(|fronts| fronts.of_mut(group)) else {
            return Ok(());
        };
        if !std::mem::take(&mut front.is_raised) || front.mac.on == MacOn::Macvlan {
            return Ok(());
        }
        let mark = self.fronts.as_ref().map(Fronts::mark);
        mark.map_or(Ok(()), |mark| restore(&mut self.netlink, mark).map(drop))
    }

    /// Takes in that a frame came here whose source is a group's hardware address: from another
    /// machine, as what this one sends does not come back.
    pub(super) fn handle_source(&mut self, mac: Mac, now: Instant) {
        let mut fronts = self.fronts.iter_mut().flat_map(|fronts| &mut fronts.fronts);
        let Some(front) = fronts.find(|front| front.mac.address == mac) else { return };
        let group = front.group;
        let mut members = self.slots.iter_mut().filter(|slot| slot.group == group);
        if members.any(|slot| slot.presence.is_probing()) {
            for slot in self.slots.iter_mut().filter(|slot| slot.group == group) {
                slot.presence.stop_probing();
            }
        } else if front.is_raised && now.has_reached(front.tell_from) {
            front.tell_from = now + TELL_AGAIN;
        } else {
            return;
        }
        self.tell(AddressEvent::MacConflict { group, mac });
    }

    /// Takes in that routes have changed: there may be a million of them, and each is told.
    pub(super) fn note_routes(&mut self, now: Instant) {
        if let Some(fronts) = &mut self.fronts {
            fronts.routes_due.get_or_insert(now + ROUTES_LATER);
        }
    }

    /// Returns when the routes of groups are to follow.
    pub(super) fn routes_due(&self) -> Option<Instant> {
        self.fronts.as_ref()?.routes_due
    }

    /// Lets the routes of groups follow those of their adapters, where that is due.
    pub(super) fn follow_routes(&mut self, now: Instant) {
        let Some(fronts) = &mut self.fronts else { return };
        if fronts.routes_due.is_none_or(|due| !now.has_reached(due)) {
            return;
        }
        fronts.routes_due = None;
        let mark = fronts.mark;
        for front in fronts.fronts.iter().filter(|front| front.is_raised) {
            let Some((index, base)) = front.made else { continue };
            let copied = self.netlink.copy_routes(base, index, mark.table(front.group));
            self.counters.failures += u64::from(copied.is_err());
        }
    }

    /// Whether an adapter is one that was made for a group.
    pub(super) fn is_front(&self, index: u32) -> bool {
        let mut fronts = self.fronts.iter().flat_map(|fronts| &fronts.fronts);
        fronts.any(|front| front.made.is_some_and(|(own, _)| own == index))
    }

    /// Forgets an adapter that went, and those upon it.
    pub(super) fn forget_front(&mut self, index: u32) {
        for front in self.fronts.iter_mut().flat_map(|fronts| &mut fronts.fronts) {
            front.made = front.made.filter(|(own, base)| *own != index && *base != index);
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
/// How long routes that change are collected.
const ROUTES_LATER: Duration = Duration::from_millis(200);
/// How often it is told that another machine sends from the hardware address of a group.
const TELL_AGAIN: Duration = Duration::from_millis(10_000);

#[cfg(test)]
mod tests;
