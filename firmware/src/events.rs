//! The last 64 things that happened, kept over a reset where memory is.

use lifesign_core::dongle::{EVENTS_PER_REPLY, Event, Log, MAX_EVENTS, What};

/// The ring of events.
///
/// It is made of words of which any bits are a ring, so it can lie in memory that nobody
/// initialises; [`is_whole`](Self::is_whole) says whether it was written, or is what memory holds
/// when power comes.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Ring {
    magic: u32,
    /// The number of the next event.
    next: u32,
    not_next: u32,
    /// The time, and what happened in postcard's format.
    entries: [[u32; 2]; MAX_EVENTS],
}

const MAGIC: u32 = u32::from_le_bytes(*b"ring");

impl Ring {
    /// Returns a ring of no events.
    #[must_use]
    pub const fn new() -> Self {
        Self { magic: MAGIC, next: 0, not_next: !0, entries: [[0; 2]; MAX_EVENTS] }
    }

    /// Returns whether this ring was written.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.magic == MAGIC && self.next == !self.not_next
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.magic, self.next, self.not_next) = (MAGIC, 0, !0);
    }

    /// Writes an event in place of the oldest. One that says the same as the newest, within ten
    /// seconds, is not written: nobody who repeats himself can push out the rest.
    pub fn push(&mut self, event: Event) {
        let newest = self.next.checked_sub(1).and_then(|number| self.get(number));
        let is_repeated = newest.is_some_and(|newest| {
            newest.what == event.what && event.at_ms.abs_diff(newest.at_ms) < 10_000
        });
        let Some(what) = pack(event.what).filter(|_| !is_repeated) else { return };
        let at = place(self.next);
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = [event.at_ms, what];
        }
        self.next = self.next.wrapping_add(1);
        self.not_next = !self.next;
    }

    /// Returns the number of the next event.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Returns the event with this number, if it is one of the last.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Event> {
        let behind = self.next.checked_sub(number).and_then(|behind| usize::try_from(behind).ok());
        let [at_ms, what] = *self.entries.get(place(number))?;
        let is_kept = behind.is_some_and(|behind| (1..=MAX_EVENTS).contains(&behind));
        let (what, _) = postcard::take_from_bytes(&what.to_le_bytes()).ok().filter(|_| is_kept)?;
        Some(Event { at_ms, what })
    }

    /// Returns the events from number `from` on, as many as one reply carries.
    #[must_use]
    pub fn log(&self, from: u32) -> Log {
        let oldest = self.next.saturating_sub(u32::try_from(MAX_EVENTS).unwrap_or(0));
        let numbers = from.max(oldest)..self.next;
        let known = numbers.filter_map(|number| Some((number, self.get(number)?)));
        Log { next: self.next, events: known.take(EVENTS_PER_REPLY).collect() }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0) % MAX_EVENTS
}

/// Returns what happened in four bytes. There is always room, which a test shows.
fn pack(what: What) -> Option<u32> {
    let what = match what {
        // Of the number of starts 14 bits have room; the whole number is in the dongle's info.
        What::Started(cause, starts) => What::Started(cause, starts & 0x3fff),
        other => other,
    };
    let mut bytes = [0; 4];
    postcard::to_slice(&what, &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifesign_core::dongle::{Cause, NotProvisioned};
    use lifesign_core::node::NodeId;
    use lifesign_core::reset::Refusal;

    fn event(at_ms: u32, node: u8) -> Event {
        Event { at_ms, what: What::Heard(NodeId::new(node % 16).unwrap()) }
    }

    #[test]
    fn whatever_happens_fits_and_comes_back() {
        let node = NodeId::new(18).unwrap();
        let all = [
            What::Started(Cause::Software, 0x3fff),
            What::Provisioned,
            What::NotProvisioned(NotProvisioned::Store),
            What::Heard(node),
            What::Lost(node),
            What::Favours(u16::MAX),
            What::Armed(node),
            What::Fired(node),
            What::Reset(node),
            What::Refused(node, Refusal::LineStuck),
            What::Forged(255),
            What::Loop(255),
            What::TooLarge(255),
            What::StoreFailed,
        ];
        let mut ring = Ring::new();
        for (at_ms, what) in (0..).zip(all) {
            ring.push(Event { at_ms, what });
            assert_eq!(ring.get(at_ms), Some(Event { at_ms, what }));
        }
        ring.push(Event { at_ms: 99, what: What::Started(Cause::Power, u16::MAX) });
        assert!(ring.get(14).is_some(), "a number that has no room loses its upper bits");
    }

    #[test]
    fn the_last_64_are_kept_and_read_in_pieces() {
        let mut ring = Ring::new();
        for number in 0..200 {
            ring.push(event(number, number.to_le_bytes()[0]));
        }
        assert!(ring.get(135).is_none() && ring.get(136).is_some() && ring.get(200).is_none());
        let (mut from, mut read) = (0, 0);
        loop {
            let log = ring.log(from);
            let Some((last, _)) = log.events.last() else { break };
            assert!(log.events.iter().all(|(number, event)| event.at_ms == *number));
            read += log.events.len();
            from = last + 1;
        }
        assert_eq!((read, from), (MAX_EVENTS, 200));
    }

    #[test]
    fn what_is_repeated_is_written_once_in_ten_seconds() {
        let mut ring = Ring::new();
        for at_ms in [0, 5, 9_999, 10_000, 10_001, 3] {
            ring.push(event(at_ms, 1));
        }
        assert_eq!(ring.next(), 2);
    }

    #[test]
    fn memory_that_was_never_written_is_not_taken_for_a_ring() {
        let mut ring =
            Ring { magic: 7, next: u32::MAX, not_next: 3, entries: [[9; 2]; MAX_EVENTS] };
        assert!(!ring.is_whole());
        ring.clear();
        assert!(ring.is_whole() && ring.log(0).events.is_empty());
    }
}
