//! By which adapters ARP may speak for addresses that may be on one of several.
//!
//! An adapter that has just come answers for the addresses of all others, as Linux does, until the
//! daemon has put the lease in force on it and set `arp_ignore`. A rule in the kernel covers that
//! time: ARP from such an address leaves only by the adapters in a set, and whoever comes is not in
//! it. The set has all adapters that are prepared and not the one that holds the address, so a move
//! from one to the other changes nothing here and costs nothing.
//!
//! Neighbour discovery needs no rule: an adapter answers only for addresses of its own.

use nix::errno::Errno;

use super::super::error::Error;
use super::super::subject::Subject;
use super::Nftables;
use super::set::Family;

/// The adapters by which ARP may speak for some addresses, and the table that tells the kernel.
#[derive(Debug)]
pub(crate) struct Speakers {
    tables: Nftables,
    services: Vec<Subject>,
    adapters: Vec<u32>,
}

impl Speakers {
    /// Puts the table in place for `services` of IPv4, instead of that of an earlier life, with no
    /// adapter in it. Without services there is none.
    ///
    /// # Errors
    /// [`Error::Call`] where the kernel has no packet filters.
    pub(crate) fn open(services: Vec<Subject>) -> Result<Self, Error> {
        let tables = Nftables::connect("lifesign_adapters")?;
        let mut speakers = Self { tables, services, adapters: Vec::new() };
        match speakers.services.is_empty() {
            true => speakers.remove()?,
            false => speakers.install()?,
        }
        Ok(speakers)
    }

    /// Lets ARP leave by an adapter, which is prepared.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn allow(&mut self, index: u32) -> Result<(), Error> {
        if self.services.is_empty() || self.adapters.contains(&index) {
            return Ok(());
        }
        self.adapters.push(index);
        self.tables.batch.begin();
        self.tables.batch.add_speaker(index);
        let outcome = self.change("let ARP leave by an adapter");
        if outcome.is_err() {
            // It is tried again.
            self.adapters.retain(|known| *known != index);
        }
        outcome
    }

    /// Takes in that an adapter went: another one may come with its number.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn forget(&mut self, index: u32) -> Result<(), Error> {
        if self.adapters.extract_if(.., |known| *known == index).last().is_none() {
            return Ok(());
        }
        self.tables.batch.begin();
        self.tables.batch.delete_speaker(index);
        self.change("let ARP leave by an adapter no more")
    }

    /// Removes the table, if it is there.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        self.tables.batch.begin();
        self.tables.batch.remove_tables(&[Family::Arp]);
        self.send("remove the table of adapters")
    }

    /// Replaces the table by one with the adapters that are known.
    fn install(&mut self) -> Result<(), Error> {
        let batch = &mut self.tables.batch;
        batch.begin();
        batch.remove_tables(&[Family::Arp]);
        batch.add_speakers(&self.services);
        self.adapters.iter().for_each(|index| batch.add_speaker(*index));
        self.send("install the table of adapters")
    }

    /// Sends a change of the set.
    fn change(&mut self, what: &str) -> Result<(), Error> {
        match self.send(what) {
            // Someone flushed every table of this machine.
            Err(error) if error.is(Errno::ENOENT) => self.install(),
            outcome => outcome,
        }
    }

    fn send(&mut self, what: &str) -> Result<(), Error> {
        self.tables.send(what).map_err(|failure| failure.error)
    }
}
