//! What is on its way: happenings by their moments, and the bytes that they carry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lifesign_core::group::Token;

use super::Micros;

/// What happens at a moment that is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A frame comes in.
    Frame { to: u8, link: u8, parcel: Parcel },
    /// An agent has come to its end.
    Done { node: u8, boot: u64, group: u8, started: bool, good: bool },
    /// Something that could not be stopped is tried to be stopped again.
    Again { node: u8, boot: u64, group: u8 },
    /// Tokens are on the disk of a machine, or could not be written, if it has not died since.
    Saved { node: u8, life: u32, token: Token, good: bool },
    /// Tokens that could not be saved are saved again.
    Save { node: u8, boot: u64, token: Token },
    /// Bytes have gone over a line.
    Bytes { line: usize, parcel: Parcel },
    /// A machine has booted.
    Boot { node: u8 },
}

/// Happenings in the order of their moments, and of their making within a moment.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Micros, u64, Happening)>>,
    made: u64,
}

impl Queue {
    /// Lets something happen at `at`.
    pub(super) fn push(&mut self, at: Micros, happening: Happening) {
        self.made += 1;
        self.heap.push(Reverse((at, self.made, happening)));
    }

    /// Returns when the next thing happens.
    pub(super) fn next(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes out the next thing that has happened by `now`.
    pub(super) fn pop(&mut self, now: Micros) -> Option<Happening> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse((_, _, happening))| happening)
    }
}

/// Bytes that are on their way, once or several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parcel(u32);

/// All bytes that are on their way. Their room is used again, so that a frame costs no allocation.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    list: Vec<(u32, Vec<u8>)>,
    free: Vec<u32>,
}

impl Parcels {
    /// Puts bytes in, in use once.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Parcel {
        let at = self.free.pop().unwrap_or_else(|| {
            self.list.push((0, Vec::with_capacity(128)));
            u32::try_from(self.list.len() - 1).expect("room for every frame")
        });
        let (uses, kept) = &mut self.list[at as usize];
        *uses = 1;
        kept.clear();
        kept.extend_from_slice(bytes);
        Parcel(at)
    }

    /// Uses a parcel once more.
    pub(super) fn share(&mut self, parcel: Parcel) -> Parcel {
        self.list[parcel.0 as usize].0 += 1;
        parcel
    }

    /// Returns the bytes.
    pub(super) fn bytes(&self, parcel: Parcel) -> &[u8] {
        &self.list[parcel.0 as usize].1
    }

    /// Takes note that one use has ended.
    pub(super) fn release(&mut self, parcel: Parcel) {
        let (uses, _) = &mut self.list[parcel.0 as usize];
        *uses -= 1;
        if *uses == 0 {
            self.free.push(parcel.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_first_happens_first() {
        let mut queue = Queue::default();
        for (at, node) in [(5, 9), (5, 1), (3, 7)] {
            queue.push(at, Happening::Boot { node });
        }
        assert_eq!((queue.pop(2), queue.next()), (None, Some(3)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(9)).collect();
        assert_eq!(order, [7, 9, 1].map(|node| Happening::Boot { node }));
    }

    #[test]
    fn the_room_of_a_parcel_is_free_after_its_last_use() {
        let mut parcels = Parcels::default();
        let one = parcels.put(b"one");
        parcels.share(one);
        parcels.release(one);
        assert_eq!(parcels.bytes(one), b"one");
        assert_ne!(parcels.put(b"two"), one);
        parcels.release(one);
        assert_eq!(parcels.put(b"three"), one);
        assert_eq!(parcels.bytes(one), b"three");
    }
}
