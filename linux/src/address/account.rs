//! What was done with addresses, measured and counted, and what can be asked of them.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use lifesign_core::time::Duration;

use super::error::Error;
use super::front;
use super::lease::{Enforcer, EnforcerChoice, Refusal};
use super::netlink::Netlink;
use super::nftables::speakers::Speakers;
use super::source;
use super::take_down::delete_all;
use super::{Addresses, MacPlan, ServiceAddress, TakeDown};

/// How long each step of taking a group's addresses took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Opening the lease.
    pub lease: Duration,
    /// Installing the addresses.
    pub install: Duration,
    /// Sending the first announcements.
    pub announce: Duration,
}

/// What went wrong without anyone to return it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that an adapter did not take.
    pub frames_unsent: u64,
    /// Questions to the kernel that failed while events were handled.
    pub failures: u64,
    /// Events which nobody took before there were too many.
    pub events_lost: u64,
}

impl Addresses {
    /// Opens addresses that are on no network of several adapters, and have no hardware address.
    ///
    /// # Errors
    /// As [`open_on`](Self::open_on).
    pub fn open(groups: &[Vec<ServiceAddress>], choice: EnforcerChoice) -> Result<Self, Error> {
        Self::open_on(groups, &[], None, choice)
    }

    /// As [`open`](Self::open), with hardware addresses for groups.
    ///
    /// # Errors
    /// As [`open_on`](Self::open_on).
    pub fn open_with_macs(
        groups: &[Vec<ServiceAddress>],
        macs: Option<&MacPlan>,
        choice: EnforcerChoice,
    ) -> Result<Self, Error> {
        Self::open_on(groups, &[], macs, choice)
    }

    /// Deletes service addresses that an earlier life left on any adapter, and returns them.
    ///
    /// Their lease is closed already. To be called before the first frame to a peer.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub fn remove_leftovers(&mut self) -> Result<Vec<IpAddr>, Error> {
        let services = self.services();
        let deleted = delete_all(&mut self.netlink, &services)?;
        source::clear(&mut self.netlink, self.sources.mark())?;
        Ok(deleted)
    }

    /// Takes the lease's rules out of the kernel, for a daemon that leaves in good order.
    ///
    /// Without this they stay, closed, so that nobody else can answer for the addresses here.
    ///
    /// # Errors
    /// As [`release`](Self::release), which is done for every group first.
    pub fn close(&mut self) -> Result<(), Error> {
        for group in 0..self.groups.len() {
            self.release(group)?;
        }
        for (index, before) in self.ignoring() {
            self.netlink.set_arp_ignore(index, before)?;
        }
        front::clear(&mut self.netlink, self.sources.mark())?;
        source::clear(&mut self.netlink, self.sources.mark())?;
        self.speakers.as_mut().map_or(Ok(()), Speakers::remove)?;
        self.lease.remove(&self.guarded)
    }

    /// Returns what another process needs to take everything down after this one was killed.
    ///
    /// # Errors
    /// [`Error::Call`] where no further sockets can be opened.
    pub fn take_down(&self) -> Result<TakeDown, Error> {
        let (netlink, closer, mark) = (Netlink::open()?, self.lease.closer()?, self.sources.mark());
        Ok(TakeDown::new(netlink, closer, self.services(), mark, self.ignoring()))
    }

    /// Returns what enforces the lease.
    #[must_use]
    pub const fn enforcer(&self) -> Enforcer {
        self.lease.enforcer()
    }

    /// Returns the more exact enforcers that do not work here, each with its reason.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        self.lease.refusals()
    }

    /// Returns what went wrong so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the adapter of an address: its name and whether it has a carrier.
    #[must_use]
    pub fn adapter_of(&self, ip: IpAddr) -> Option<(&str, bool)> {
        let index = self.slots.iter().find(|slot| slot.service.ip == ip)?.index()?;
        let adapter = self.adapters.iter().find(|adapter| adapter.index == index)?;
        Some((&adapter.name, adapter.carrier))
    }
}

impl AsFd for Addresses {
    /// Returns a descriptor that is readable when [`Addresses::handle_readable`] has work.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wires.as_fd()
    }
}

/// The most service addresses that one machine may have.
pub const MAX_ADDRESSES: usize = 64;
