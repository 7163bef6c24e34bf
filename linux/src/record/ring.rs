//! Memory between the decision thread, which writes entries, and the executor, which takes them to
//! the disk.
//!
//! The executor is another process: when the daemon is killed, what it wrote up to its last moment
//! is still there. Writing is a few stores into memory, without a system call; only when half of
//! the ring is full is the other side woken.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use postcard::ser_flavors::Flavor;
use serde::Serialize;

use crate::sys::shared::SharedWords;

/// The size of the ring's memory, in bytes.
pub const RING_LEN: usize = WORDS * 8;

const WORDS: usize = 1 << 16;
/// How many words are in use for anything but entries.
const RESERVED: usize = 8;
/// The number of words that have been written since the beginning.
const HEAD: usize = 0;
/// The number of words that have been taken.
const TAIL: usize = 1;
/// How often the taker could not write, and in the low half the system's last error.
const FAULTS: usize = 2;

const CAPACITY: u64 = (WORDS - RESERVED) as u64;

/// What a message in the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A segment begins.
    Start,
    /// An entry.
    Entry,
    /// The segment ends here, and none follows.
    End,
}

impl Kind {
    const fn number(self) -> u64 {
        match self {
            Self::Start => 1,
            Self::Entry => 2,
            Self::End => 3,
        }
    }

    const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Start),
            2 => Some(Self::Entry),
            3 => Some(Self::End),
            _ => None,
        }
    }
}

/// The shared part.
#[derive(Debug)]
struct Shared {
    words: SharedWords,
    bell: EventFd,
}

impl Shared {
    fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.words.word(at)
    }

    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.word(at).map_or(0, |word| word.load(order))
    }

    /// Returns the word with this running number.
    fn slot(&self, number: u64) -> Option<&AtomicU64> {
        let at = usize::try_from(number % CAPACITY).ok()?;
        self.words.word(RESERVED + at)
    }
}

/// Makes a ring and returns its two ends.
///
/// # Errors
/// Out of memory or descriptors.
pub(crate) fn ring() -> Result<(Sender, Taker), Errno> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let bell = EventFd::from_value_and_flags(0, flags)?;
    let shared = Arc::new(Shared { words: SharedWords::anonymous(WORDS)?, bell });
    let taker = Taker { shared: Arc::clone(&shared), tail: 0 };
    Ok((Sender { shared, head: 0, has_rung: false }, taker))
}

/// The end that is written to. Nothing here blocks.
#[derive(Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
    head: u64,
    /// Whether the taker was woken since the ring was last less than half full.
    has_rung: bool,
}

impl Sender {
    /// Puts a message into the ring and returns its length, or `None` if there is no room for it.
    pub(crate) fn put(&mut self, kind: Kind, message: &impl Serialize) -> Option<u32> {
        let limit = self.shared.load(TAIL, Ordering::Acquire).wrapping_add(CAPACITY);
        let at = self.head.wrapping_add(1);
        let put = Put { shared: &self.shared, at, limit, word: 0, len: 0 };
        let (len, end) = postcard::serialize_with_flavor(message, put).ok()?;
        let head = kind.number() << 32 | u64::from(len);
        self.shared.slot(self.head)?.store(head, Ordering::Relaxed);
        self.head = end;
        self.shared.word(HEAD)?.store(end, Ordering::Release);
        self.ring_bell(limit);
        Some(len)
    }

    /// Returns whether the ring is at most half full.
    pub(crate) fn has_room(&self) -> bool {
        let tail = self.shared.load(TAIL, Ordering::Acquire);
        self.head.wrapping_sub(tail) <= CAPACITY / 2
    }

    /// Returns how often the taker could not write so far, and the last error.
    pub(crate) fn faults(&self) -> (u32, Option<Errno>) {
        let word = self.shared.load(FAULTS, Ordering::Relaxed);
        let (count, error) = (word >> 32, word & u64::from(u32::MAX));
        let error = i32::try_from(error).ok().filter(|error| *error != 0).map(Errno::from_raw);
        (u32::try_from(count).unwrap_or(u32::MAX), error)
    }

    /// Wakes the taker.
    pub(crate) fn wake(&self) {
        // It fails only where it has been rung many times already.
        let _rung = self.shared.bell.write(1);
    }

    fn ring_bell(&mut self, limit: u64) {
        let is_half_full = limit.wrapping_sub(self.head) < CAPACITY / 2;
        if is_half_full && !self.has_rung {
            self.wake();
        }
        self.has_rung = is_half_full;
    }
}

/// A message on its way into the ring.
struct Put<'r> {
    shared: &'r Shared,
    at: u64,
    limit: u64,
    word: u64,
    len: u32,
}

impl Put<'_> {
    fn store(&mut self, word: u64) -> postcard::Result<()> {
        if self.limit.wrapping_sub(self.at) == 0 || self.limit.wrapping_sub(self.at) > CAPACITY {
            return Err(postcard::Error::SerializeBufferFull);
        }
        let slot = self.shared.slot(self.at).ok_or(postcard::Error::SerializeBufferFull)?;
        slot.store(word, Ordering::Relaxed);
        self.at = self.at.wrapping_add(1);
        Ok(())
    }
}

impl Flavor for Put<'_> {
    type Output = (u32, u64);

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.word |= u64::from(byte) << (self.len % 8 * 8);
        self.len = self.len.checked_add(1).ok_or(postcard::Error::SerializeBufferFull)?;
        if self.len.is_multiple_of(8) {
            let word = core::mem::take(&mut self.word);
            self.store(word)?;
        }
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<Self::Output> {
        if !self.len.is_multiple_of(8) {
            self.store(self.word)?;
        }
        Ok((self.len, self.at))
    }
}

/// The end that is taken from.
#[derive(Debug)]
pub(crate) struct Taker {
    shared: Arc<Shared>,
    tail: u64,
}

impl Taker {
    /// Takes the next message out of the ring; its bytes are put behind those in `bytes`.
    pub(crate) fn take(&mut self, bytes: &mut Vec<u8>) -> Option<Kind> {
        let head = self.shared.load(HEAD, Ordering::Acquire);
        if head == self.tail {
            return None;
        }
        let first = self.shared.slot(self.tail)?.load(Ordering::Relaxed);
        let len = usize::try_from(first & u64::from(u32::MAX)).ok()?;
        let mut at = self.tail;
        let end = bytes.len() + len;
        bytes.reserve(len + 8);
        while bytes.len() < end {
            at = at.wrapping_add(1);
            let word = self.shared.slot(at)?.load(Ordering::Relaxed);
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(end);
        self.tail = at.wrapping_add(1);
        self.shared.word(TAIL)?.store(self.tail, Ordering::Release);
        Kind::from_number(first >> 32)
    }

    /// Tells the other end that something could not be written.
    pub(crate) fn tell_fault(&self, error: Errno) {
        let Some(word) = self.shared.word(FAULTS) else { return };
        let count = (word.load(Ordering::Relaxed) >> 32).wrapping_add(1) & u64::from(u32::MAX);
        let error = u64::from((error as i32).unsigned_abs());
        word.store(count << 32 | error, Ordering::Relaxed);
    }

    /// Makes the bell silent again.
    pub(crate) fn hush(&self) {
        let _count = self.shared.bell.read();
    }
}

impl AsFd for Taker {
    /// Readable when half of the ring is full.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_often_the_ring_turns() {
        let (mut sender, mut taker) = ring().unwrap();
        let mut bytes = Vec::new();
        for round in 0..2_000_u32 {
            for len in [0, 1, 7, 8, 9, 100, 1000] {
                let message: Vec<u8> = (0..len).map(|at| (at + round).to_le_bytes()[0]).collect();
                assert!(sender.put(Kind::Entry, &message).is_some());
                bytes.clear();
                assert_eq!(taker.take(&mut bytes), Some(Kind::Entry));
                let out: Vec<u8> = postcard::from_bytes(&bytes).unwrap();
                assert_eq!(out, message);
            }
        }
        assert_eq!(taker.take(&mut bytes), None);
    }

    #[test]
    fn what_has_no_room_is_refused_whole_and_the_bell_rings_once() {
        let (mut sender, mut taker) = ring().unwrap();
        let message = vec![7_u8; 1000];
        let mut count = 0;
        while sender.put(Kind::Entry, &message).is_some() {
            count += 1;
        }
        assert!(count > RING_LEN / 1100, "{count}");
        assert!(!sender.has_room());
        assert!(
            sender.put(Kind::End, &()).is_some() || sender.put(Kind::Entry, &message).is_none()
        );
        let rung = taker.shared.bell.read().unwrap();
        assert_eq!(rung, 1);
        let mut bytes = Vec::new();
        for _ in 0..count {
            bytes.clear();
            assert_eq!(taker.take(&mut bytes), Some(Kind::Entry));
            assert_eq!(postcard::from_bytes::<Vec<u8>>(&bytes).unwrap(), message);
        }
        assert!(sender.has_room());
        taker.tell_fault(Errno::ENOSPC);
        taker.tell_fault(Errno::EROFS);
        assert_eq!(sender.faults(), (2, Some(Errno::EROFS)));
    }
}
