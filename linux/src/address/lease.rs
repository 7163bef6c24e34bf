//! The kernel lease: a service address answers until a deadline that the kernel itself enforces.
//!
//! Three enforcers do it, by decreasing exactness:
//!
//! | enforcer | needs | overshoot |
//! |----------|-------|-----------|
//! | [`Bpf`](Enforcer::Bpf) | root of the first user namespace, Linux 6.6, Ethernet | frames in flight |
//! | [`Nftables`](Enforcer::Nftables) | `CAP_NET_ADMIN` over the network namespace | two ticks |
//! | [`ValidLifetime`](Enforcer::ValidLifetime) | the same | a second |
//!
//! Of the two ticks of nftables, one is for rounding, and one because a tick may be late where the
//! machine is virtual.
//!
//! Every address starts closed. A *grant* opens it. A *renewal* moves the deadline of one that is
//! open and refuses one whose deadline has passed, so a renewal that comes late opens nothing. What
//! the kernel holds stays when every process is killed, and runs out there.
//!
//! The hardware address of a group has a lease too: no frame leaves from it while that is closed,
//! whatever it carries. `valid_lft` cannot do that.
//!
//! The BPF enforcer guards the adapter an address belongs to and its siblings, which have an
//! address in the same subnet; nftables guards every adapter.

use std::fmt;
use std::sync::Arc;

use super::attach::Programs;
use super::error::Error;
use super::nftables::{self, Nftables};
use super::subject::Subject;

/// What makes an address fall silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcer {
    /// A program on the adapter, which compares the time with a deadline in shared memory.
    Bpf,
    /// A packet filter whose sets time out.
    Nftables,
    /// The kernel's own lifetime of addresses, in seconds.
    ValidLifetime,
}

impl Enforcer {
    /// Every enforcer, the most exact first.
    pub const ALL: [Self; 3] = [Self::Bpf, Self::Nftables, Self::ValidLifetime];

    /// Returns how long after its deadline an address may still answer, in microseconds.
    ///
    /// This is `K` of the inequality. Frames in flight are counted as 100 us. The length of a tick
    /// is asked of the kernel; a tick that a hypervisor withholds for longer than another one is
    /// not covered.
    #[must_use]
    pub fn overshoot_us(self) -> u64 {
        match self {
            Self::Bpf => 100,
            Self::Nftables => 2 * nftables::tick_us(),
            Self::ValidLifetime => SECOND_US,
        }
    }

    /// Returns the shortest lease that can be granted, in microseconds.
    #[must_use]
    pub fn least_us(self) -> u64 {
        match self {
            Self::Bpf => 1,
            Self::Nftables => nftables::tick_us().div_ceil(1000) * 1000,
            Self::ValidLifetime => SECOND_US,
        }
    }

    /// Finds out whether this enforcer works here, and changes nothing.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(self) -> Result<(), Error> {
        match self {
            Self::Bpf => Programs::check(),
            Self::Nftables => Nftables::check(),
            Self::ValidLifetime => Ok(()),
        }
    }
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "bpf",
            Self::Nftables => "nftables",
            Self::ValidLifetime => "valid_lft",
        })
    }
}

/// Which enforcer is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnforcerChoice {
    /// The most exact that works.
    #[default]
    Auto,
    /// This one or none.
    Only(Enforcer),
}

/// An enforcer that was not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub enforcer: Enforcer,
    /// What it ran into.
    pub reason: Error,
}

/// The deadlines of service addresses, and of the hardware addresses of groups.
#[derive(Debug)]
pub(crate) struct Lease {
    mechanism: Mechanism,
    subjects: Vec<Subject>,
    until_us: Vec<u64>,
    refusals: Vec<Refusal>,
}

/// An enforcer at work.
#[derive(Debug)]
enum Mechanism {
    Bpf(Arc<Programs>),
    Nftables(Nftables),
    ValidLifetime,
}

impl Lease {
    /// Puts the chosen enforcer in place for `subjects`, on `adapters` by number, all closed.
    ///
    /// `is_ethernet` tells whether all of them carry Ethernet frames.
    ///
    /// What an earlier life left is replaced.
    ///
    /// # Errors
    /// [`Error::NoEnforcer`] with every reason.
    pub(crate) fn open(
        subjects: &[Subject],
        adapters: &[u32],
        is_ethernet: bool,
        choice: EnforcerChoice,
    ) -> Result<Self, Error> {
        let mut refusals = Vec::new();
        for enforcer in Enforcer::ALL {
            if matches!(choice, EnforcerChoice::Only(only) if only != enforcer) {
                continue;
            }
            let outcome = if enforcer == Enforcer::Bpf && !is_ethernet {
                Err(Error::NotEthernet)
            } else {
                Mechanism::start(enforcer, subjects, adapters)
            };
            match outcome {
                Ok(mechanism) => {
                    let until_us = vec![0; subjects.len()];
                    return Ok(Self { mechanism, subjects: subjects.to_vec(), until_us, refusals });
                }
                Err(reason) => refusals.push(Refusal { enforcer, reason }),
            }
        }
        let each =
            refusals.iter().map(|refusal| format!("{}: {}", refusal.enforcer, refusal.reason));
        Err(Error::NoEnforcer { refusals: each.collect::<Vec<_>>().join("; ") })
    }

    /// Guards an adapter that came.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::NotEthernet`]: no address may be installed there.
    pub(crate) fn guard_adapter(&mut self, index: u32, is_ethernet: bool) -> Result<(), Error> {
        match &mut self.mechanism {
            Mechanism::Bpf(_) if !is_ethernet => Err(Error::NotEthernet),
            Mechanism::Bpf(programs) => programs.attach(index),
            Mechanism::Nftables(tables) => tables.guard(index),
            Mechanism::ValidLifetime => Ok(()),
        }
    }

    /// Lets the addresses `slots` answer until `deadline_us`.
    ///
    /// # Errors
    /// [`Error::TooShort`], [`Error::Stalled`] or [`Error::Call`]; they are closed then.
    pub(crate) fn grant(
        &mut self,
        slots: &[usize],
        deadline_us: u64,
        now_us: u64,
    ) -> Result<(), Error> {
        self.extend(slots, deadline_us, now_us, false)
    }

    /// Moves the deadline of the addresses `slots`, which must be open.
    ///
    /// # Errors
    /// [`Error::Expired`] where one of them is closed; else as [`grant`](Self::grant).
    pub(crate) fn renew(
        &mut self,
        slots: &[usize],
        deadline_us: u64,
        now_us: u64,
    ) -> Result<(), Error> {
        if slots.iter().any(|slot| self.until_us.get(*slot).is_none_or(|until| *until <= now_us)) {
            return Err(Error::Expired);
        }
        self.extend(slots, deadline_us, now_us, true)
    }

    /// Closes the addresses `slots` at once.
    ///
    /// # Errors
    /// [`Error::Call`]: they stay open until their deadline, which nobody moves.
    pub(crate) fn revoke(&mut self, slots: &[usize]) -> Result<(), Error> {
        for slot in slots {
            if let Some(until) = self.until_us.get_mut(*slot) {
                *until = 0;
            }
        }
        let subjects = self.subjects_of(slots);
        self.mechanism.close(slots, &subjects)
    }

    /// Takes the enforcer away: every address that is installed answers without end.
    ///
    /// For a daemon that leaves in good order, after the addresses are deleted.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn remove(&mut self, adapters: &[u32]) -> Result<(), Error> {
        match &mut self.mechanism {
            Mechanism::Bpf(_) => adapters.iter().try_for_each(|index| Programs::detach(*index)),
            Mechanism::Nftables(tables) => tables.remove(),
            Mechanism::ValidLifetime => Ok(()),
        }
    }

    /// Returns another hold on the same lease, good for closing, that a forked process may use.
    ///
    /// # Errors
    /// [`Error::Call`] where no further socket can be opened.
    pub(crate) fn closer(&self) -> Result<Closer, Error> {
        let mechanism = match &self.mechanism {
            Mechanism::Bpf(programs) => Mechanism::Bpf(Arc::clone(programs)),
            Mechanism::Nftables(_) => Mechanism::Nftables(Nftables::join()?),
            Mechanism::ValidLifetime => Mechanism::ValidLifetime,
        };
        Ok(Closer { mechanism, subjects: self.subjects.clone() })
    }

    /// Returns the enforcer at work.
    pub(crate) const fn enforcer(&self) -> Enforcer {
        match self.mechanism {
            Mechanism::Bpf(_) => Enforcer::Bpf,
            Mechanism::Nftables(_) => Enforcer::Nftables,
            Mechanism::ValidLifetime => Enforcer::ValidLifetime,
        }
    }

    /// Returns the enforcers that were tried and did not work.
    pub(crate) fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Returns the lifetime with which an address is installed, in seconds, where that is the
    /// lease.
    pub(crate) fn lifetime_s(&self, deadline_us: u64, now_us: u64) -> Option<u32> {
        match self.mechanism {
            Mechanism::ValidLifetime => {
                let seconds = deadline_us.saturating_sub(now_us) / SECOND_US;
                Some(u32::try_from(seconds).unwrap_or(u32::MAX - 1))
            }
            Mechanism::Bpf(_) | Mechanism::Nftables(_) => None,
        }
    }

    /// Opens or extends.
    fn extend(
        &mut self,
        slots: &[usize],
        deadline_us: u64,
        now_us: u64,
        only_open: bool,
    ) -> Result<(), Error> {
        let remaining_us = deadline_us.saturating_sub(now_us);
        let least_us = self.enforcer().least_us();
        if remaining_us < least_us {
            self.revoke(slots)?;
            return Err(Error::TooShort { remaining_us, least_us });
        }
        let subjects = self.subjects_of(slots);
        let outcome = match &mut self.mechanism {
            Mechanism::Bpf(programs) => {
                slots.iter().for_each(|slot| programs.set(*slot, deadline_us));
                Ok(())
            }
            Mechanism::Nftables(tables) if only_open => tables.renew(&subjects, deadline_us),
            Mechanism::Nftables(tables) => tables.grant(&subjects, deadline_us),
            Mechanism::ValidLifetime => Ok(()),
        };
        for slot in slots {
            if let Some(until) = self.until_us.get_mut(*slot) {
                *until = if outcome.is_ok() { deadline_us } else { 0 };
            }
        }
        outcome
    }

    /// Returns what is in `slots`.
    fn subjects_of(&self, slots: &[usize]) -> Vec<Subject> {
        slots.iter().filter_map(|slot| self.subjects.get(*slot).copied()).collect()
    }
}

/// A hold on a lease that can only close it.
#[derive(Debug)]
pub(crate) struct Closer {
    mechanism: Mechanism,
    subjects: Vec<Subject>,
}

impl Closer {
    /// Closes every address at once.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        let slots: Vec<usize> = (0..self.subjects.len()).collect();
        self.mechanism.close(&slots, &self.subjects)
    }
}

impl Mechanism {
    /// Puts an enforcer in place and removes what another one left.
    fn start(enforcer: Enforcer, subjects: &[Subject], adapters: &[u32]) -> Result<Self, Error> {
        match enforcer {
            Enforcer::Bpf => {
                let programs = Programs::load(subjects)?;
                adapters.iter().try_for_each(|index| programs.attach(*index))?;
                // Tables of an earlier life would stay closed for ever; mostly there are none.
                let _ = Nftables::join().and_then(|mut tables| tables.remove());
                Ok(Self::Bpf(Arc::new(programs)))
            }
            Enforcer::Nftables => {
                let tables = Nftables::open(subjects, adapters)?;
                clear_programs(adapters);
                Ok(Self::Nftables(tables))
            }
            Enforcer::ValidLifetime if subjects.iter().any(Subject::is_mac) => {
                Err(Error::NoMacLease)
            }
            Enforcer::ValidLifetime => {
                clear_programs(adapters);
                let _ = Nftables::join().and_then(|mut tables| tables.remove());
                Ok(Self::ValidLifetime)
            }
        }
    }

    /// Closes subjects, given by place and by value.
    fn close(&mut self, slots: &[usize], subjects: &[Subject]) -> Result<(), Error> {
        match self {
            Self::Bpf(programs) => {
                slots.iter().for_each(|slot| programs.set(*slot, 0));
                Ok(())
            }
            Self::Nftables(tables) => tables.revoke(subjects),
            // Deleting the address is what closes it.
            Self::ValidLifetime => Ok(()),
        }
    }
}

/// Removes programs of an earlier life; who may not, finds none that it could have left.
fn clear_programs(adapters: &[u32]) {
    for index in adapters {
        let _ = Programs::detach(*index);
    }
}

/// A second in microseconds: what the kernel counts lifetimes of addresses in.
const SECOND_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nftables_may_be_two_ticks_late_and_the_most_exact_comes_first() {
        assert_eq!(Enforcer::Nftables.overshoot_us(), 2 * nftables::tick_us());
        assert!(Enforcer::ALL.map(Enforcer::overshoot_us).is_sorted_by(|less, more| less < more));
    }
}
