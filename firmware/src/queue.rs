//! Bytes on their way between an interrupt and the loop.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A queue of `N` bytes, a power of two, with one side that puts in and one that takes out.
///
/// Either side may be an interrupt; neither waits for the other. Two on one side would lose bytes
/// or see them twice, and nothing worse. It divides by nothing, so no division can fail.
#[derive(Debug)]
pub struct Queue<const N: usize> {
    bytes: [AtomicU8; N],
    /// How many bytes were ever put in.
    put: AtomicUsize,
    /// How many were ever taken out.
    taken: AtomicUsize,
}

impl<const N: usize> Queue<N> {
    const IS_POWER: () = assert!(N.is_power_of_two(), "places are found by masking");

    /// Makes an empty queue.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::IS_POWER;
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// Puts a byte in, and returns whether there was room.
    pub fn put(&self, byte: u8) -> bool {
        let put = self.put.load(Ordering::Relaxed);
        // The other side's reads of this place come before its count says so.
        if put.wrapping_sub(self.taken.load(Ordering::Acquire)) >= N {
            return false;
        }
        if let Some(place) = self.bytes.get(put & (N.wrapping_sub(1))) {
            place.store(byte, Ordering::Relaxed);
        }
        self.put.store(put.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest byte out.
    pub fn take(&self) -> Option<u8> {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken == self.put.load(Ordering::Acquire) {
            return None;
        }
        let byte = self.bytes.get(taken & (N.wrapping_sub(1)))?.load(Ordering::Relaxed);
        self.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// Returns how many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        let taken = self.taken.load(Ordering::Acquire);
        self.put.load(Ordering::Acquire).wrapping_sub(taken).min(N)
    }

    /// Returns whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes have room besides those that are in it.
    #[must_use]
    pub fn room(&self) -> usize {
        N.saturating_sub(self.len())
    }
}

impl<const N: usize> Default for Queue<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn bytes_come_out_in_order_and_what_has_no_room_is_refused() {
        let queue = Queue::<4>::new();
        for round in 0..100u8 {
            assert!((0..4).all(|byte| queue.put(round.wrapping_add(byte))));
            assert!(!queue.put(9) && queue.room() == 0);
            for byte in 0..4 {
                assert_eq!(queue.take(), Some(round.wrapping_add(byte)));
            }
            assert!(queue.take().is_none() && queue.is_empty());
        }
    }

    #[test]
    fn two_sides_at_once_lose_nothing() {
        let queue = Queue::<16>::new();
        let sent = 100_000u32;
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..sent {
                    while !queue.put(number.to_le_bytes()[0]) {
                        thread::yield_now();
                    }
                }
            });
            for number in 0..sent {
                let byte = loop {
                    match queue.take() {
                        Some(byte) => break byte,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(byte, number.to_le_bytes()[0]);
            }
        });
    }
}
