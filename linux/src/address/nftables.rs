//! The lease as a packet filter: an address answers while it is in a set whose elements time out.
//!
//! [`rules`] describes the tables. Each change is one batch, which the kernel applies as a whole or
//! not at all, within the call that sends it.
//!
//! # Relative timeouts
//! A set counts a timeout from when the kernel adds the element, in whole ticks. A process that is
//! stopped between reading the clock and that moment would extend its lease by the pause. So
//! every change of a lease takes two batches. The first adds an element to the `guard` set that
//! lives to the end of the running tick. Then the clock is read, and the second batch begins by
//! deleting that element: where the tick is over, the whole batch fails and is tried anew. Both lie
//! in one tick then, and as timeouts round down to ticks, the lease ends no later than asked.
//!
//! A renewal deletes the element and adds it again: where it has timed out, the deletion fails and
//! with it the batch. So a stale renewal opens nothing; only a grant does.
//!
//! What remains: the guard is judged when its batch begins, so a process that loses its processor
//! inside that one system call, for more than a tick, and is killed before it returns to see so,
//! leaves a lease longer by the pause (one that returns corrects it). Ticks stand still while
//! the machine is suspended, and lag where a hypervisor withholds the processor that counts them.

mod expression;
mod rules;

use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use nix::time::{ClockId, clock_getres};

use self::rules::{Batch, Family};
use super::error::Error;
use super::netlink::Netlink;
use crate::clock;

/// The tables of the lease, and the connection by which they are changed.
#[derive(Debug)]
pub(crate) struct Nftables {
    netlink: Netlink,
    batch: Batch,
    guard: u32,
    addresses: Vec<IpAddr>,
}

impl Nftables {
    /// Puts the tables in place for `addresses`, all closed, instead of those of an earlier life.
    ///
    /// # Errors
    /// [`Error::Call`]: not permitted; or a family or expression that the kernel lacks.
    pub(crate) fn open(addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut tables = Self::connect(NAME)?;
        tables.addresses = addresses.to_vec();
        tables.install()?;
        Ok(tables)
    }

    /// Connects to the tables which another connection put in place.
    ///
    /// # Errors
    /// [`Error::Call`] where the kernel has no netlink for packet filters.
    pub(crate) fn join() -> Result<Self, Error> {
        Self::connect(NAME)
    }

    /// Finds out whether [`open`](Self::open) would do, and changes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn check() -> Result<(), Error> {
        // What one batch adds and removes was never there.
        let mut tables = Self::connect("lifesign_check")?;
        tables.batch.begin();
        tables.batch.add_tables(&[], false);
        tables.batch.remove_tables();
        tables.send("try tables").map_err(|failure| failure.error)
    }

    /// Connects to the kernel's packet filters.
    fn connect(table: &'static str) -> Result<Self, Error> {
        let netlink = Netlink::open_protocol(SockProtocol::NetlinkNetFilter)?;
        Ok(Self { netlink, batch: Batch::new(table), guard: 0, addresses: Vec::new() })
    }

    /// Lets `addresses` answer until `deadline_us`, whether or not they do so already.
    ///
    /// # Errors
    /// [`Error::TooShort`], [`Error::Call`]; all of them are closed or as before then.
    pub(crate) fn grant(&mut self, addresses: &[IpAddr], deadline_us: u64) -> Result<(), Error> {
        self.extend(addresses, deadline_us, false)
    }

    /// Lets `addresses`, which must answer still, answer until `deadline_us`.
    ///
    /// # Errors
    /// [`Error::Expired`] where one of them answers no more; [`Error::TooShort`]; [`Error::Call`].
    pub(crate) fn renew(&mut self, addresses: &[IpAddr], deadline_us: u64) -> Result<(), Error> {
        self.extend(addresses, deadline_us, true)
    }

    /// Closes `addresses` at once, whether or not they are open.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn revoke(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        self.batch.begin();
        for address in addresses {
            for family in Family::of(*address) {
                // Deleting needs an element, and adding one that is there changes nothing.
                self.batch.add_element(*family, *address, SHORTEST_MS);
                self.batch.delete_element(*family, *address);
            }
        }
        self.send("close the lease").map_err(|failure| failure.error)
    }

    /// Removes the tables: every address answers that is installed.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        self.batch.begin();
        self.batch.remove_tables();
        self.send("remove the lease's tables").map_err(|failure| failure.error)
    }

    /// Replaces the tables by closed ones.
    fn install(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        // Without the lookup of local addresses, what is translated to other machines stays open.
        for local_lookup in [true, false] {
            self.batch.begin();
            self.batch.remove_tables();
            self.batch.add_tables(&self.addresses, local_lookup);
            outcome = self.send("install the lease's tables").map_err(|failure| failure.error);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Moves the end of the lease; fails where an element is missing that `only_open` asks for.
    fn extend(
        &mut self,
        addresses: &[IpAddr],
        deadline_us: u64,
        only_open: bool,
    ) -> Result<(), Error> {
        let tick_ms = tick_us().div_ceil(1000);
        let mut only_open = only_open;
        for _ in 0..ATTEMPTS {
            let guard = match self.raise_guard(tick_ms) {
                // Someone flushed every table of this machine, and so nothing is closed. Whoever
                // renews has the authority to hold, so what comes back is opened.
                Err(error) if error.is(Errno::ENOENT) => {
                    self.install()?;
                    only_open = false;
                    continue;
                }
                outcome => outcome?,
            };
            let before_us = now_us();
            let remaining_us = deadline_us.saturating_sub(before_us);
            let timeout_ms = remaining_us / 1000;
            if timeout_ms < tick_ms {
                self.revoke(addresses)?;
                return Err(Error::TooShort { remaining_us, least_us: tick_ms * 1000 });
            }
            self.batch.begin();
            self.batch.delete_guard(guard);
            for address in addresses {
                for family in Family::of(*address) {
                    if !only_open {
                        self.batch.add_element(*family, *address, timeout_ms);
                    }
                    self.batch.delete_element(*family, *address);
                    self.batch.add_element(*family, *address, timeout_ms);
                }
            }
            match self.send("extend the lease") {
                Ok(()) if now_us().saturating_sub(before_us) <= STALL_US => return Ok(()),
                // Open, but perhaps for longer than asked: set right by the next attempt, which
                // replaces what is there.
                Ok(()) => only_open = false,
                Err(failure) if failure.guard => {}
                Err(failure) if failure.error.is(Errno::ENOENT) => return Err(Error::Expired),
                Err(failure) => return Err(failure.error),
            }
        }
        self.revoke(addresses)?;
        Err(Error::Stalled)
    }

    /// Adds an element that lives to the end of the running tick, and returns its key.
    fn raise_guard(&mut self, tick_ms: u64) -> Result<u32, Error> {
        self.guard = self.guard.wrapping_add(1);
        self.batch.begin();
        self.batch.add_guard(self.guard, tick_ms);
        self.send("raise the lease's guard").map_err(|failure| failure.error)?;
        Ok(self.guard)
    }

    /// Sends the batch and returns what the kernel made of it.
    fn send(&mut self, what: &str) -> Result<(), Failure> {
        let (bytes, first, last) = self.batch.finish();
        let mut answered = false;
        let mut failure: Option<Failure> = None;
        let sent = self.netlink.exchange(bytes, |sequence, number| {
            // Answers to an earlier batch have nothing to say here.
            if sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                return;
            }
            answered = true;
            // The message behind the one that begins the batch may be the guard's.
            let guard = sequence == first.wrapping_add(1);
            if number != 0 && failure.as_ref().is_none_or(|known| guard && !known.guard) {
                let error = Error::call(what)(Errno::from_raw(number));
                failure = Some(Failure { guard: guard && number == libc::ENOENT, error });
            }
        });
        match (sent, failure) {
            (Err(errno), _) => Err(Failure { guard: false, error: Error::call(what)(errno) }),
            (Ok(()), Some(failure)) => Err(failure),
            (Ok(()), None) if answered => Ok(()),
            (Ok(()), None) => {
                Err(Failure { guard: false, error: Error::NoAnswer { what: what.to_owned() } })
            }
        }
    }
}

/// Why a batch changed nothing.
#[derive(Debug)]
struct Failure {
    /// Whether its first message found its element gone.
    guard: bool,
    /// What the kernel said.
    error: Error,
}

/// Returns the length of a tick in microseconds, rounded up: what timeouts round down to.
pub(crate) fn tick_us() -> u64 {
    // The coarse clock exists on every kernel; ticks are never longer than ten milliseconds.
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .ok()
        .and_then(|tick| u64::try_from(tick.tv_nsec()).ok())
        .map_or(10_000, |nanoseconds| nanoseconds.div_ceil(1000))
}

/// Returns the time in microseconds.
fn now_us() -> u64 {
    clock::now().as_micros()
}

/// The name of the tables.
const NAME: &str = "lifesign";
/// How often a change is tried: with ticks of a millisecond about one in five meets a tick's end.
const ATTEMPTS: usize = 8;
/// How long a change may take, in microseconds, before its effect is taken for uncertain.
const STALL_US: u64 = 1000;
/// A timeout for elements that are deleted in the batch which adds them.
const SHORTEST_MS: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Users, enter};
    use std::time::Duration;

    const ADDRESSES: [&str; 2] = ["10.77.0.100", "fd00::100"];

    fn tables() -> (Nftables, Vec<IpAddr>) {
        let addresses: Vec<IpAddr> = ADDRESSES.iter().map(|text| text.parse().unwrap()).collect();
        (Nftables::open(&addresses).unwrap(), addresses)
    }

    #[test]
    fn only_a_grant_opens_what_has_run_out() {
        let name = "address::nftables::tests::only_a_grant_opens_what_has_run_out";
        let Some(_) = enter(name, Users::New).unwrap() else {
            return;
        };
        let (mut tables, addresses) = tables();
        let soon = || now_us() + 60_000;
        assert_eq!(tables.renew(&addresses, soon()), Err(Error::Expired), "nothing was granted");
        tables.grant(&addresses, soon()).unwrap();
        tables.renew(&addresses, soon()).unwrap();
        tables.grant(&addresses, soon()).unwrap();
        std::thread::sleep(Duration::from_millis(70));
        assert_eq!(tables.renew(&addresses, soon()), Err(Error::Expired));
        assert_eq!(tables.renew(&addresses[..1], soon()), Err(Error::Expired));
        tables.grant(&addresses, soon()).unwrap();
        tables.revoke(&addresses).unwrap();
        tables.revoke(&addresses).unwrap();
        assert_eq!(tables.renew(&addresses, soon()), Err(Error::Expired));
    }

    #[test]
    fn a_later_life_starts_closed_and_takes_the_lease_from_the_earlier() {
        let name = "address::nftables::tests::\
                    a_later_life_starts_closed_and_takes_the_lease_from_the_earlier";
        let Some(_) = enter(name, Users::New).unwrap() else {
            return;
        };
        let (mut earlier, addresses) = tables();
        let later = now_us() + 60_000_000;
        earlier.grant(&addresses, later).unwrap();
        let (mut tables, _) = tables();
        assert_eq!(earlier.renew(&addresses, later), Err(Error::Expired));
        tables.grant(&addresses, later).unwrap();
        let mut joined = Nftables::join().unwrap();
        joined.revoke(&addresses).unwrap();
        assert_eq!(tables.renew(&addresses, later), Err(Error::Expired));
        tables.remove().unwrap();
        tables.remove().unwrap();
        assert!(joined.revoke(&addresses).unwrap_err().is(Errno::ENOENT));
    }

    #[test]
    fn tables_which_someone_flushed_come_back_with_the_next_renewal() {
        let name = "address::nftables::tests::\
                    tables_which_someone_flushed_come_back_with_the_next_renewal";
        let Some(_) = enter(name, Users::New).unwrap() else {
            return;
        };
        let (mut tables, addresses) = tables();
        let later = now_us() + 60_000_000;
        tables.grant(&addresses, later).unwrap();
        Nftables::join().unwrap().remove().unwrap();
        tables.renew(&addresses, later).unwrap();
        Nftables::join().unwrap().revoke(&addresses).unwrap();
        assert_eq!(tables.renew(&addresses, later), Err(Error::Expired));
    }

    #[test]
    fn a_lease_shorter_than_a_tick_is_refused_and_closed() {
        let name = "address::nftables::tests::a_lease_shorter_than_a_tick_is_refused_and_closed";
        let Some(_) = enter(name, Users::New).unwrap() else {
            return;
        };
        let (mut tables, addresses) = tables();
        tables.grant(&addresses, now_us() + 60_000_000).unwrap();
        let outcome = tables.renew(&addresses, now_us());
        assert!(matches!(outcome, Err(Error::TooShort { .. })), "{outcome:?}");
        assert_eq!(tables.renew(&addresses, now_us() + 60_000_000), Err(Error::Expired));
    }

    #[test]
    fn a_check_leaves_nothing_behind() {
        let name = "address::nftables::tests::a_check_leaves_nothing_behind";
        let Some(_) = enter(name, Users::New).unwrap() else {
            return;
        };
        let (mut tables, addresses) = tables();
        tables.grant(&addresses, now_us() + 60_000_000).unwrap();
        Nftables::check().unwrap();
        tables.renew(&addresses, now_us() + 60_000_000).unwrap();
        let mut checked = Nftables::connect("lifesign_check").unwrap();
        assert!(checked.revoke(&addresses).unwrap_err().is(Errno::ENOENT));
    }
}
