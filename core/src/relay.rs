//! Passing frames on between the ports of one member: a dongle's, or those of a server in a ring.
//!
//! A frame that came in at one port goes once out of every other. What a frame says is the state of
//! its sender, so a newer one replaces an older one that still waits: a slow line carries fewer
//! frames and never an older state than it must. A port that takes nothing keeps the frame it has
//! begun, and loses others; where room is short, the port with the longest queue loses its oldest
//! frame, so no port loses for another.
//!
//! What goes in must have a right tag: a relay carries no noise and no stranger's words.

mod port;

pub use port::{MAX_PORTS, PortId, PortSet};

use heapless::Vec;

use crate::frame::{self, Header};
use crate::node::{BootId, NodeId};
use crate::stream;

/// Whose message it is. A newer one of the same origin replaces one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A frame of this member.
    Node(NodeId),
    /// An answer to whoever asked at this port.
    Answer(PortId),
}

/// Why a frame is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotForwarded {
    /// It, or a newer one of the same start, was passed on already. Wherever lines form a ring.
    Seen,
    /// It is longer than a slot. In clusters larger than this relay is made for.
    TooLong,
    /// It has no header. Never, if its tag was checked.
    NotAFrame,
}

/// What a port has done; the counters stop at their largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortCounters {
    /// Messages sent whole.
    pub sent: u32,
    /// Messages that a newer one of the same origin replaced before they were begun.
    pub displaced: u32,
    /// Messages lost because there was no room, or because the port was closed.
    pub dropped: u32,
    /// Frames that came in here and had come in before: another way leads to the same sender.
    pub seen: u32,
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<const PORTS: usize, const LINE: usize> {
    origin: Origin,
    /// As it goes over the line.
    line: Vec<u8, LINE>,
    /// Where it has yet to be begun.
    waiting: PortSet,
    /// Where it is being sent.
    sending: PortSet,
    /// The place in each port's queue: what was displaced leaves its place to what displaces it.
    places: [u32; PORTS],
}

/// The newest frame that was passed on of one start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Start {
    sender: NodeId,
    boot: BootId,
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Port {
    /// The slot that is being sent, and how much of it has gone out.
    current: Option<(usize, usize)>,
    counters: PortCounters,
}

/// Passes frames on between `PORTS` ports, with room for `SLOTS` messages of `LINE` bytes on the
/// line, and a memory of `STARTS` starts of members.
///
/// One slot for each port and one more keep it going; one for each port and each member keep it
/// from ever dropping what a newer frame has not replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relay<const PORTS: usize, const SLOTS: usize, const LINE: usize, const STARTS: usize> {
    slots: [Option<Slot<PORTS, LINE>>; SLOTS],
    ports: [Port; PORTS],
    /// The least recently heard first.
    starts: Vec<Start, STARTS>,
    order: u32,
}

/// A message has no room in a slot. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl<const PORTS: usize, const SLOTS: usize, const LINE: usize, const STARTS: usize> Default
    for Relay<PORTS, SLOTS, LINE, STARTS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const PORTS: usize, const SLOTS: usize, const LINE: usize, const STARTS: usize>
    Relay<PORTS, SLOTS, LINE, STARTS>
{
    /// Each port can be in the middle of a message of its own, and one more must find room.
    const ROOM: () = assert!(
        PORTS >= 1 && PORTS <= MAX_PORTS && SLOTS > PORTS && STARTS >= 1,
        "a relay has 1 to 8 ports, more slots than ports, and a memory"
    );

    /// Makes a relay that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        let () = Self::ROOM;
        Self {
            slots: core::array::from_fn(|_| None),
            ports: [Port::default(); PORTS],
            starts: Vec::new(),
            order: 0,
        }
    }

    /// Passes on a frame with a right tag, which came in at `from`, to every other port.
    ///
    /// # Errors
    /// Says why it is not passed on; only counters have changed.
    pub fn forward(&mut self, frame: &[u8], from: PortId) -> Result<(), NotForwarded> {
        let header = frame::peek(frame).map_err(|_| NotForwarded::NotAFrame)?;
        if !self.is_newest(&header) {
            if let Some(port) = self.ports.get_mut(from.index()) {
                port.counters.seen = port.counters.seen.saturating_add(1);
            }
            return Err(NotForwarded::Seen);
        }
        let others = PortSet::first(PORTS).without(from);
        self.send(Origin::Node(header.sender), frame, others)
            .map_err(|TooLong| NotForwarded::TooLong)
    }

    /// Sends a message out of the ports `to`, in place of one of the same origin that waits.
    ///
    /// # Errors
    /// The message is too long; nothing has changed.
    pub fn send(&mut self, origin: Origin, message: &[u8], to: PortSet) -> Result<(), TooLong> {
        if stream::line_len(message.len()) > LINE {
            return Err(TooLong);
        }
        self.order = self.order.wrapping_add(1);
        let places = self.displace(origin);
        // There is always room: each port sends at most one slot, and there are more slots.
        let Some(at) = self.free_slot() else { return Ok(()) };
        let Some(place) = self.slots.get_mut(at) else { return Ok(()) };
        let mut line = Vec::new();
        let _room = line.resize(LINE, 0);
        let len = stream::enframe(message, &mut line).ok_or(TooLong)?;
        line.truncate(len);
        *place = Some(Slot { origin, line, waiting: to, sending: PortSet::EMPTY, places });
        Ok(())
    }

    /// Returns what is left of the bytes that `port` is sending, and begins the next message if
    /// there are none; empty if nothing waits. Say with [`sent`](Self::sent) how many have gone.
    pub fn pending(&mut self, port: PortId) -> &[u8] {
        if self.ports.get(port.index()).is_some_and(|state| state.current.is_none()) {
            self.begin(port);
        }
        let current = self.ports.get(port.index()).and_then(|state| state.current);
        let rest = current.and_then(|(at, gone)| self.slots.get(at)?.as_ref()?.line.get(gone..));
        rest.unwrap_or_default()
    }

    /// Takes note that `count` of the pending bytes of `port` have gone out.
    pub fn sent(&mut self, port: PortId, count: usize) {
        let Some(state) = self.ports.get_mut(port.index()) else { return };
        let Some((at, gone)) = &mut state.current else { return };
        *gone = gone.saturating_add(count);
        let len = self.slots.get(*at).and_then(Option::as_ref).map_or(0, |slot| slot.line.len());
        if *gone >= len {
            state.counters.sent = state.counters.sent.saturating_add(1);
            self.finish(port);
        }
    }

    /// Gives up everything that waits for `port`, and what it is in the middle of: it was closed.
    pub fn clear(&mut self, port: PortId) {
        let begun = self.ports.get(port.index()).is_some_and(|state| state.current.is_some());
        let waiting = self.queue(port);
        self.finish(port);
        for slot in self.slots.iter_mut().flatten() {
            slot.waiting = slot.waiting.without(port);
        }
        self.tidy();
        if let Some(state) = self.ports.get_mut(port.index()) {
            let lost = waiting.saturating_add(u32::from(begun));
            state.counters.dropped = state.counters.dropped.saturating_add(lost);
        }
    }

    /// Returns what `port` has done.
    #[must_use]
    pub fn counters(&self, port: PortId) -> PortCounters {
        self.ports.get(port.index()).map(|state| state.counters).unwrap_or_default()
    }

    /// Returns whether a frame with this header, or a newer one of the same start, was passed on.
    #[must_use]
    pub fn has_seen(&self, header: &Header) -> bool {
        let same = |start: &Start| start.sender == header.sender && start.boot == header.boot;
        self.starts.iter().any(|start| same(start) && header.sequence <= start.newest)
    }

    /// Returns whether `port` has nothing to send; unlike `pending` it begins nothing.
    #[must_use]
    pub fn is_idle(&self, port: PortId) -> bool {
        self.queue(port) == 0 && self.ports.get(port.index()).is_none_or(|at| at.current.is_none())
    }

    /// Remembers the newest frame of its start, and returns whether this is it. Old starts are
    /// remembered for a while, so that their frames do not circle.
    fn is_newest(&mut self, header: &Header) -> bool {
        if self.has_seen(header) {
            return false;
        }
        let Header { sender, boot, sequence: newest, .. } = *header;
        self.starts.retain(|start| start.sender != sender || start.boot != boot);
        if self.starts.is_full() {
            let mut is_first = true;
            self.starts.retain(|_| !core::mem::take(&mut is_first));
        }
        // There is room: one was taken out if there was none.
        self.starts.push(Start { sender, boot, newest }).is_ok()
    }

    /// Takes back what waits of `origin`, and returns its place in each port's queue: that of what
    /// waited there, or the last.
    ///
    /// Whoever speaks more often than the line can carry would else lose its turn by each frame.
    fn displace(&mut self, origin: Origin) -> [u32; PORTS] {
        let mut places = [self.order; PORTS];
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.origin == origin) {
            let waiting = core::mem::take(&mut slot.waiting);
            let kept = PortId::all().zip(slot.places).zip(&mut places).zip(&mut self.ports);
            for (((_, place), to), state) in
                kept.filter(|(((port, _), _), _)| waiting.contains(*port))
            {
                *to = place;
                state.counters.displaced = state.counters.displaced.saturating_add(1);
            }
        }
        self.tidy();
        places
    }

    /// Returns a free slot; if there is none, the longest queues lose their oldest until there is.
    fn free_slot(&mut self) -> Option<usize> {
        // Each round takes one waiting port from one slot, so this ends.
        for _ in 0..SLOTS.saturating_mul(PORTS).saturating_add(1) {
            if let Some(at) = self.slots.iter().position(Option::is_none) {
                return Some(at);
            }
            let longest = PortId::all().take(PORTS).max_by_key(|port| self.queue(*port))?;
            let oldest = self.next(longest)?;
            if let Some(slot) = self.slots.get_mut(oldest).and_then(Option::as_mut) {
                slot.waiting = slot.waiting.without(longest);
            }
            if let Some(state) = self.ports.get_mut(longest.index()) {
                state.counters.dropped = state.counters.dropped.saturating_add(1);
            }
            self.tidy();
        }
        None
    }

    /// Returns how many messages wait for `port`.
    fn queue(&self, port: PortId) -> u32 {
        let waiting = self.slots.iter().flatten().filter(|slot| slot.waiting.contains(port));
        waiting.fold(0, |count, _| count.saturating_add(1))
    }

    /// Returns the oldest slot that waits for `port`.
    fn next(&self, port: PortId) -> Option<usize> {
        let newest = self.order;
        let waiting = self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let slot = slot.as_ref().filter(|slot| slot.waiting.contains(port))?;
            Some((newest.wrapping_sub(*slot.places.get(port.index())?), at))
        });
        waiting.max().map(|(_, at)| at)
    }

    fn begin(&mut self, port: PortId) {
        let Some(at) = self.next(port) else { return };
        if let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) {
            slot.waiting = slot.waiting.without(port);
            slot.sending = slot.sending.with(port);
        }
        if let Some(state) = self.ports.get_mut(port.index()) {
            state.current = Some((at, 0));
        }
    }

    fn finish(&mut self, port: PortId) {
        let Some(state) = self.ports.get_mut(port.index()) else { return };
        let Some((at, _)) = state.current.take() else { return };
        if let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) {
            slot.sending = slot.sending.without(port);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        for place in &mut self.slots {
            if place.as_ref().is_some_and(|slot| slot.waiting.is_empty() && slot.sending.is_empty())
            {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Body, LinkClass, MAX_FRAME_LEN};
    use crate::node::{ClusterId, LinkId};
    use crate::seal::{KEY_LEN, Key, KeyId, Keyring};
    use crate::stream::Deframer;
    use std::vec::Vec as List;

    const LINE: usize = 160;
    type Three = Relay<3, 6, LINE, 4>;

    fn port(number: u8) -> PortId {
        PortId::new(number).unwrap()
    }

    fn frame(sender: u8, boot: u64, sequence: u64) -> List<u8> {
        let keyring = Keyring::new(&[(KeyId(1), Key::new([1; KEY_LEN]))], KeyId(1)).unwrap();
        let header = Header {
            class: LinkClass::Serial,
            link: LinkId::new(0).unwrap(),
            sender: NodeId::new(sender).unwrap(),
            key: KeyId(1),
            cluster: ClusterId(1),
            boot: BootId::new(boot),
            sequence,
        };
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header, &<Body>::default(), &keyring, &mut buffer);
        buffer[..len].to_vec()
    }

    /// Lets `port` send all it has, a few bytes at a time.
    fn drain<const P: usize, const S: usize, const T: usize>(
        relay: &mut Relay<P, S, LINE, T>,
        at: u8,
    ) -> List<List<u8>> {
        let (mut deframer, mut messages) = (Deframer::<LINE>::new(), List::new());
        loop {
            let bytes = relay.pending(port(at));
            let count = bytes.len().min(7);
            if count == 0 {
                return messages;
            }
            for byte in &bytes[..count] {
                if let Some(Ok(message)) = deframer.push(*byte) {
                    messages.push(message.to_vec());
                }
            }
            relay.sent(port(at), count);
        }
    }

    #[test]
    fn a_frame_goes_once_out_of_every_other_port() {
        let mut relay = Three::new();
        let first = frame(0, 7, 1);
        assert_eq!(relay.forward(&first, port(0)), Ok(()));
        assert_eq!(relay.forward(&first, port(1)), Err(NotForwarded::Seen), "it came round a ring");
        assert!(drain(&mut relay, 0).is_empty());
        assert!(relay.is_idle(port(0)) && !relay.is_idle(port(1)));
        assert_eq!(drain(&mut relay, 1), core::slice::from_ref(&first));
        assert!(relay.is_idle(port(1)));
        for (bytes, seen) in
            [(first.clone(), true), (frame(0, 7, 2), false), (frame(0, 8, 1), false)]
        {
            assert_eq!(relay.has_seen(&frame::peek(&bytes).unwrap()), seen);
        }
        assert_eq!(drain(&mut relay, 2), [first]);
        assert_eq!(
            relay.counters(port(1)),
            PortCounters { sent: 1, seen: 1, ..Default::default() }
        );
    }

    #[test]
    fn frames_of_old_starts_do_not_circle_beside_those_of_new_ones() {
        let mut relay = Three::new();
        let (old, new) = (frame(0, 1, 900), frame(0, 2, 1));
        assert_eq!(relay.forward(&old, port(0)), Ok(()));
        assert_eq!(relay.forward(&new, port(0)), Ok(()));
        for _ in 0..3 {
            assert_eq!(relay.forward(&old, port(1)), Err(NotForwarded::Seen));
            assert_eq!(relay.forward(&new, port(2)), Err(NotForwarded::Seen));
        }
    }

    #[test]
    fn the_newest_state_wins_and_what_has_begun_is_finished() {
        let mut relay = Three::new();
        let frames: List<_> = (1..=9).map(|number| frame(0, 1, number)).collect();
        relay.forward(&frames[0], port(0)).unwrap();
        let begun = relay.pending(port(1)).len();
        relay.sent(port(1), begun - 1);
        for frame in &frames[1..] {
            relay.forward(frame, port(0)).unwrap();
        }
        relay.sent(port(1), 1);
        assert_eq!(drain(&mut relay, 1), [frames[8].clone()]);
        assert_eq!(drain(&mut relay, 2), [frames[8].clone()]);
        assert_eq!(relay.counters(port(1)).displaced, 7);
        assert_eq!(relay.counters(port(2)).displaced, 8);
    }

    #[test]
    fn whoever_waits_longest_comes_first_however_often_others_speak() {
        let mut relay = Three::new();
        let mut sent = [0; 3];
        for sequence in 1..=30 {
            for sender in 0..3 {
                relay.forward(&frame(sender, 1, sequence), port(0)).unwrap();
            }
            let line = relay.pending(port(1)).to_vec();
            relay.sent(port(1), line.len());
            let mut deframer = Deframer::<LINE>::new();
            let message =
                line.iter().find_map(|byte| Some(deframer.push(*byte)?.unwrap().to_vec()));
            sent[frame::peek(&message.unwrap()).unwrap().sender.index()] += 1;
        }
        assert_eq!(sent, [10; 3]);
    }

    #[test]
    fn a_stuck_port_loses_its_own_frames_only() {
        let mut relay = Three::new();
        let senders = 7;
        for sequence in 1..=50 {
            let all: List<_> = (0..senders).map(|sender| frame(sender, 1, sequence)).collect();
            for frame in &all {
                relay.forward(frame, port(0)).unwrap();
                assert_eq!(drain(&mut relay, 2), core::slice::from_ref(frame), "port 1 is stuck");
            }
            let _begun = relay.pending(port(1));
        }
        assert_eq!(relay.counters(port(2)).dropped, 0);
        assert!(relay.counters(port(1)).dropped > 0);
        let late = drain(&mut relay, 1);
        let newest = frame(senders - 1, 1, 50);
        assert_eq!(late.last(), Some(&newest), "what it still gets is the newest");
    }

    #[test]
    fn a_queue_that_moves_loses_nothing_to_one_that_is_stuck() {
        let mut relay = Three::new();
        for sequence in 1..=20 {
            for senders in [[0, 1], [2, 3], [4, 5], [6, 7]] {
                let both = senders.map(|sender| frame(sender, 1, sequence));
                for frame in &both {
                    relay.forward(frame, port(0)).unwrap();
                }
                assert_eq!(drain(&mut relay, 2), both, "port 1 is stuck");
            }
        }
        assert!(relay.counters(port(1)).dropped > 0);
    }

    #[test]
    fn a_closed_port_forgets_what_waited_for_it() {
        let mut relay = Three::new();
        relay.forward(&frame(0, 1, 1), port(0)).unwrap();
        relay.forward(&frame(1, 1, 1), port(0)).unwrap();
        relay.sent(port(1), 0);
        let _begun = relay.pending(port(1)).len();
        relay.clear(port(1));
        assert!(drain(&mut relay, 1).is_empty());
        assert_eq!(relay.counters(port(1)).dropped, 2);
        assert_eq!(drain(&mut relay, 2).len(), 2);
    }

    #[test]
    fn what_is_too_long_is_refused_and_the_rest_goes_on() {
        let mut relay = Relay::<2, 3, 48, 2>::new();
        assert_eq!(relay.forward(&frame(0, 1, 1), port(0)), Err(NotForwarded::TooLong));
        assert_eq!(relay.forward(&[1; 12], port(0)), Err(NotForwarded::NotAFrame));
        let to = PortSet::first(2);
        assert_eq!(relay.send(Origin::Answer(port(0)), &[1; 100], to), Err(TooLong));
        assert_eq!(relay.send(Origin::Answer(port(0)), &[1; 10], to), Ok(()));
        assert!(!relay.pending(port(1)).is_empty());
    }

    #[test]
    fn a_small_memory_forgets_the_start_that_was_silent_longest() {
        let mut relay = Three::new();
        for boot in 1..=5 {
            relay.forward(&frame(0, boot, 1), port(0)).unwrap();
        }
        assert_eq!(relay.forward(&frame(0, 5, 1), port(1)), Err(NotForwarded::Seen));
        assert_eq!(relay.forward(&frame(0, 1, 1), port(1)), Ok(()), "forgotten, so passed again");
    }
}
