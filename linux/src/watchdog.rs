//! The watchdog: what ends a machine on which nobody stops the services in time.
//!
//! A watchdog resets the machine when it has not been fed for its timeout W. It covers what stop
//! commands cannot: a daemon that hangs, is stopped or starved, and a stop that fails.
//!
//! ```text
//! decision thread ── until when, and why no longer ──► one shared word ──┐ looked at before
//!        │                                                               ▼ each feed
//!        └──────────── orders, and what became of them ───────────► feeder ──► /dev/watchdog
//!                                                                     ▲
//! supervisor ──────────── all has stopped, or has not ────────────────┘
//! ```
//!
//! The [`feeder`] is a process of its own, for a driver may take its time over a feed, and the
//! decision thread never waits. The decision thread moves the shared word, the [`Bowl`], by one
//! store. So the device outlives the daemon: the supervisor has it disarmed when everything has
//! stopped. While nothing that needs it is up, it is open and rests, if the driver can stop its
//! counting.
//!
//! # Why nothing runs twice
//!
//! The word holds U, the least of [`fed_until`](lifesign_core::watchdog::fed_until) over the groups
//! that may be up: S + g after the end of the authority that is known, or after the beginning of a
//! stop. It is there before the first command that starts something, and a group leaves it once it
//! has stopped. Nobody feeds while the clock is past it, so the machine is silent 2 W + F later at
//! the latest, as [`lifesign_core::watchdog`] shows. With K = 2 W + F that is the inequality of
//! every other enforcer, D + S + g + K <= L (1 - rho) / (1 + rho), so no voter's promise has run
//! out by then. The device counts by a clock of its own, which is credited with the same rho.
//!
//! The kernel feeds once more by itself when a device is closed without a word, as it is when the
//! feeder is killed. That is covered like the late feed above, but not on top of one.
//!
//! # Before it bites
//!
//! What is not fed is written down first, by [`note`]: which group, and whether it did not stop or
//! nobody moved the end of its authority. The next start of the daemon tells it.

pub mod device;
pub mod feeder;
pub mod note;

use std::sync::Arc;

use lifesign_core::group::MAX_GROUPS;
use lifesign_core::time::Instant;
use nix::errno::Errno;

use crate::sys::shared::SharedWords;

/// Until when the machine is fed, and because of what no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Until when.
    pub until: Instant,
    /// The index of the group whose time it is, below [`MAX_GROUPS`].
    pub group: usize,
    /// Whether its stop has begun; else it is its authority that ends.
    pub is_stopping: bool,
}

/// The word that the decision thread writes and the feeder reads.
#[derive(Clone, Debug)]
pub struct Bowl {
    words: Arc<SharedWords>,
}

impl Bowl {
    /// Makes a word that processes share over fork; it allows feeding without end.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new() -> Result<Self, Errno> {
        let bowl = Self { words: Arc::new(SharedWords::anonymous(1)?) };
        bowl.set(None);
        Ok(bowl)
    }

    /// Sets until when feeding is allowed; without an end if nothing is up that needs it.
    pub fn set(&self, limit: Option<Limit>) {
        self.words.store(0, limit.map_or(ENDLESS, |limit| limit.packed()));
    }

    /// Returns until when feeding is allowed, if there is an end.
    #[must_use]
    pub fn get(&self) -> Option<Limit> {
        let word =
            self.words.word(0).map_or(0, |word| word.load(core::sync::atomic::Ordering::SeqCst));
        (word != ENDLESS).then(|| Limit::unpacked(word))
    }
}

/// What stands in the word while nothing is up.
const ENDLESS: u64 = u64::MAX;

impl Limit {
    /// Packs the limit into one word: microseconds above, then the group, then one bit.
    const fn packed(self) -> u64 {
        let most = (1 << (u64::BITS - SHIFT)) - 2;
        let micros = self.until.as_micros();
        let micros = if micros > most { most } else { micros };
        (micros << SHIFT) | ((self.group as u64) << 1) | self.is_stopping as u64
    }

    fn unpacked(word: u64) -> Self {
        Self {
            until: Instant::from_micros(word >> SHIFT),
            group: usize::try_from(word >> 1 & GROUP_BITS).unwrap_or_default(),
            is_stopping: word & 1 == 1,
        }
    }
}

/// How many bits stand below the microseconds; what is left lasts 2,283 years.
const SHIFT: u32 = 8;
/// The bits of a group.
const GROUP_BITS: u64 = 0x7f;

const _: () = assert!(MAX_GROUPS as u64 <= GROUP_BITS, "a group's index fits its bits");

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_limit_goes_through_one_word() {
        let bowl = Bowl::new().unwrap();
        assert_eq!(bowl.get(), None);
        for group in [0, 31] {
            for is_stopping in [false, true] {
                let limit = Limit { until: at(123_456_789), group, is_stopping };
                bowl.set(Some(limit));
                assert_eq!(bowl.get(), Some(limit));
            }
        }
        let until = Instant::from_micros(u64::MAX);
        bowl.set(Some(Limit { until, group: 31, is_stopping: true }));
        assert!(bowl.get().is_some(), "however far away, it is an end");
        bowl.set(None);
        assert_eq!(bowl.get(), None);
    }
}
