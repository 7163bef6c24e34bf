//! The lease as a packet filter: an address answers while it is in a set whose elements time out.
//!
//! [`rules`] describes the tables. Each change is one batch, which the kernel applies as a whole or
//! not at all, within the call that sends it.
//!
//! # Relative timeouts
//! A set counts a timeout from when the kernel adds the element, in whole ticks. A process that is
//! stopped between reading the clock and that moment would extend its lease by the pause. So
//! every change of a lease takes two batches. The first adds an element to the `guard` set that
//! lives to the end of the running tick, or some ticks longer. Then the clock is read, and the
//! second batch begins by deleting that element: where its time is over, the whole batch fails and
//! is tried anew. The lease is granted for as much less as the guard lives beyond the running tick,
//! and as timeouts round down to ticks, it ends no more than a tick later than asked.
//!
//! A batch that fails waits in the kernel until every processor has let go of the tables, which
//! takes tens of milliseconds, and seconds where many processes wait for their turn. So guards live
//! for as long as the lease can spare, and what can be known to fail is not sent.
//!
//! A renewal deletes the element and adds it again: where it has timed out, the deletion fails and
//! with it the batch. So a stale renewal opens nothing; only a grant does.
//!
//! What remains: the guard is judged when its batch begins, so a process that loses its processor
//! inside that one system call, for longer than the guard lives, and is killed before it returns to
//! see so, leaves a lease longer by the pause (one that returns corrects it). Ticks stand still
//! while the machine is suspended, and lag where a hypervisor withholds the processor that counts
//! them.

mod expression;
mod rules;
mod set;
pub(crate) mod speakers;

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::SockProtocol;
use nix::time::{ClockId, clock_getres};

use self::rules::Batch;
use self::set::Family;
use super::error::Error;
use super::netlink::Netlink;
use super::subject::Subject;
use crate::clock;

/// The tables of the lease, and the connection by which they are changed.
#[derive(Debug)]
pub(crate) struct Nftables {
    netlink: Netlink,
    batch: Batch,
    guard: u32,
    subjects: Vec<Subject>,
    /// The adapters by which frames from a hardware address could leave.
    adapters: Vec<u32>,
    chains: u32,
}

impl Nftables {
    /// Puts the tables in place for `subjects`, all closed, instead of those of an earlier life;
    /// hardware addresses are closed on `adapters`.
    ///
    /// # Errors
    /// [`Error::Call`]: not permitted; or a family or expression that the kernel lacks.
    pub(crate) fn open(subjects: &[Subject], adapters: &[u32]) -> Result<Self, Error> {
        let mut tables = Self::connect(NAME)?;
        tables.subjects = subjects.to_vec();
        tables.adapters = adapters.to_vec();
        tables.install()?;
        if !tables.has_macs() {
            tables.remove_macs();
        }
        Ok(tables)
    }

    /// Closes hardware addresses on a further adapter too, or again on one with another name.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn guard(&mut self, index: u32) -> Result<(), Error> {
        if !self.adapters.contains(&index) {
            self.adapters.push(index);
        }
        if !self.has_macs() {
            return Ok(());
        }
        self.batch.begin();
        self.add_adapter(index);
        self.send("guard an adapter").map_err(|failure| failure.error)
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
        tables.batch.add_tables(&Family::ADDRESSES, &[], false);
        tables.batch.remove_tables(&Family::ADDRESSES);
        tables.send("try tables").map_err(|failure| failure.error)
    }

    /// Connects to the kernel's packet filters.
    fn connect(table: &'static str) -> Result<Self, Error> {
        let netlink = Netlink::open_protocol(SockProtocol::NetlinkNetFilter)?;
        let (subjects, adapters) = (Vec::new(), Vec::new());
        Ok(Self { netlink, batch: Batch::new(table), guard: 0, subjects, adapters, chains: 0 })
    }

    /// Lets `addresses` answer until `deadline_us`, whether or not they do so already.
    ///
    /// # Errors
    /// [`Error::TooShort`], [`Error::Call`]; all of them are closed or as before then.
    pub(crate) fn grant(&mut self, subjects: &[Subject], deadline_us: u64) -> Result<(), Error> {
        self.extend(subjects, deadline_us, false)
    }

    /// Lets `addresses`, which must answer still, answer until `deadline_us`.
    ///
    /// # Errors
    /// [`Error::Expired`] where one of them answers no more; [`Error::TooShort`]; [`Error::Call`].
    pub(crate) fn renew(&mut self, subjects: &[Subject], deadline_us: u64) -> Result<(), Error> {
        self.extend(subjects, deadline_us, true)
    }

    /// Closes `addresses` at once, whether or not they are open.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn revoke(&mut self, subjects: &[Subject]) -> Result<(), Error> {
        self.batch.begin();
        for subject in subjects {
            for family in Family::of(*subject) {
                // Deleting needs an element, and adding one that is there changes nothing.
                self.batch.add_element(*family, *subject, SHORTEST_MS);
                self.batch.delete_element(*family, *subject);
            }
        }
        self.send("close the lease").map_err(|failure| failure.error)
    }

    /// Removes the tables: every address answers that is installed.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        self.remove_macs();
        self.batch.begin();
        self.batch.remove_tables(&Family::ADDRESSES);
        self.send("remove the lease's tables").map_err(|failure| failure.error)
    }

    /// Removes the table of hardware addresses, which a kernel without such tables does not have.
    fn remove_macs(&mut self) {
        self.batch.begin();
        self.batch.remove_tables(&[Family::Netdev]);
        let _ = self.send("remove the lease's table of frames");
    }

    /// Whether any hardware address is to be closed.
    fn has_macs(&self) -> bool {
        self.subjects.iter().any(Subject::is_mac)
    }

    /// Adds to the batch what closes hardware addresses on an adapter, if it is there.
    fn add_adapter(&mut self, index: u32) {
        let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
        if let Some(name) = name {
            // Some kernels let a chain go with the name of its adapter, so each is a new one.
            self.chains = self.chains.wrapping_add(1);
            let chain = format!("out{}", self.chains);
            self.batch.add_adapter(&chain, &name, &self.subjects);
        }
    }

    /// Replaces the tables by closed ones.
    fn install(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        // Without the lookup of local addresses, what is translated to other machines stays open.
        let has_macs = self.has_macs();
        let families = if has_macs { &Family::ALL[..] } else { &Family::ADDRESSES };
        for local_lookup in [true, false] {
            self.batch.begin();
            self.batch.remove_tables(families);
            self.batch.add_tables(families, &self.subjects, local_lookup);
            for index in self.adapters.clone().into_iter().filter(|_| has_macs) {
                self.add_adapter(index);
            }
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
        subjects: &[Subject],
        deadline_us: u64,
        only_open: bool,
    ) -> Result<(), Error> {
        let tick_ms = tick_us().div_ceil(1000);
        let mut only_open = only_open;
        for _ in 0..ATTEMPTS {
            let (raised_us, into_us) = clock::tick_us();
            let is_late = into_us * 2 > tick_ms * 1000;
            let guard_ms = guard_ms(deadline_us.saturating_sub(now_us()), tick_ms, is_late);
            let guard = match self.raise_guard(guard_ms) {
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
            let timeout_ms = (remaining_us / 1000).saturating_sub(guard_ms - tick_ms);
            if timeout_ms < tick_ms {
                self.revoke(subjects)?;
                return Err(Error::TooShort { remaining_us, least_us: tick_ms * 1000 });
            }
            self.batch.begin();
            self.batch.delete_guard(guard);
            for subject in subjects {
                for family in Family::of(*subject) {
                    if !only_open {
                        self.batch.add_element(*family, *subject, timeout_ms);
                    }
                    self.batch.delete_element(*family, *subject);
                    self.batch.add_element(*family, *subject, timeout_ms);
                }
            }
            let (begun_us, _) = clock::tick_us();
            if begun_us.saturating_sub(raised_us) >= guard_ms * 1000 {
                continue;
            }
            match self.send("extend the lease") {
                Ok(()) if now_us().saturating_sub(before_us) <= guard_ms * 1000 => return Ok(()),
                // Open, but perhaps for longer than asked: set right by the next attempt, which
                // replaces what is there.
                Ok(()) => only_open = false,
                Err(failure) if failure.guard => {}
                Err(failure) if failure.error.is(Errno::ENOENT) => return Err(Error::Expired),
                Err(failure) => return Err(failure.error),
            }
        }
        self.revoke(subjects)?;
        Err(Error::Stalled)
    }

    /// Adds an element that lives for so many milliseconds, the running tick counted as a whole
    /// one, and returns its key.
    fn raise_guard(&mut self, guard_ms: u64) -> Result<u32, Error> {
        self.guard = self.guard.wrapping_add(1);
        self.batch.begin();
        self.batch.add_guard(self.guard, guard_ms);
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

/// Returns how long the guard of a lease lives, in milliseconds: a sixteenth of what is left of it
/// and [`MOST_GUARD_MS`] at most, in whole ticks; but one at least, or two where it is late in the
/// running one and the lease is longer than three.
fn guard_ms(remaining_us: u64, tick_ms: u64, is_late: bool) -> u64 {
    let remaining_ms = remaining_us / 1000;
    let least = if is_late && remaining_ms > 3 * tick_ms { 2 } else { 1 };
    ((remaining_ms / SHARE).min(MOST_GUARD_MS) / tick_ms).max(least) * tick_ms
}

/// Returns the time in microseconds.
fn now_us() -> u64 {
    clock::now().as_micros()
}

/// The name of the tables.
const NAME: &str = "lifesign";
/// How often a change is tried.
const ATTEMPTS: usize = 8;
/// What part of a lease its guard may live for.
const SHARE: u64 = 16;
/// The longest that a guard lives unless a tick is longer, in milliseconds.
const MOST_GUARD_MS: u64 = 50;
/// A timeout for elements that are deleted in the batch which adds them.
const SHORTEST_MS: u64 = 1;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::namespace::{Users, enter};
    use std::time::Duration;

    const ADDRESSES: [&str; 2] = ["10.77.0.100", "fd00::100"];

    fn tables() -> (Nftables, Vec<Subject>) {
        let addresses = ADDRESSES.iter().map(|text| text.parse::<IpAddr>().unwrap().into());
        let mac = [2, 0, 0, 0, 0, 7];
        let subjects: Vec<Subject> = addresses.chain([Subject::Mac(mac)]).collect();
        (Nftables::open(&subjects, &[1]).unwrap(), subjects)
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
    fn a_guard_lives_for_what_the_lease_can_spare() {
        for (remaining_us, tick_ms, is_late, expected) in [
            (0, 4, true, 4),
            (12_999, 4, true, 4),
            (22_000, 4, false, 4),
            (22_000, 4, true, 8),
            (40_000, 1, false, 2),
            (500_000, 4, true, 28),
            (60_000_000, 10, false, 50),
            (60_000_000, 4, false, 48),
        ] {
            let found = guard_ms(remaining_us, tick_ms, is_late);
            assert_eq!(found, expected, "{remaining_us} {tick_ms} {is_late}");
        }
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
