//! Serial lines: bytes at a pace, bits that flip, cuts, and readers that stop reading.

use lifesign_core::frame::{self, MAX_ECHOES};
use lifesign_core::group::MAX_GROUPS;
use lifesign_core::stream::{Deframer, MAX_LINE_LEN};

use super::setup::Setup;
use super::start::{CLUSTER, keyring_of};
use super::{Micros, Wiring};
use crate::fault::Keys;
use crate::random::Random;
use crate::seen::Seen;

/// The longest message on a line, as it goes over it.
pub(super) type Reader = Deframer<{ MAX_LINE_LEN - 2 }>;

/// One end of a line: a host and the number of its port.
pub(super) type End = (u8, u8);

/// One direction of a line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose port writes.
    pub(super) from: End,
    /// Whose port reads.
    pub(super) to: End,
    /// Nothing arrives.
    pub cut: bool,
    /// The other end takes nothing any more, so that the writer cannot go on.
    pub stuck: bool,
    /// Of 10,000 bytes, how many have a wrong bit.
    pub noise: u64,
    /// Bytes are on their way.
    pub(super) busy: bool,
    /// What an observer at the writer's end reads.
    reader: Box<Reader>,
}

impl Line {
    fn new(from: End, to: End) -> Self {
        Self { from, to, cut: false, stuck: false, noise: 0, busy: false, reader: Box::default() }
    }

    /// Returns every direction of every line of `setup`.
    pub(super) fn all(setup: &Setup) -> Vec<Self> {
        let pairs: Vec<(End, End)> = match setup.wiring {
            None => Vec::new(),
            Some(Wiring::NullModem) => vec![((0, 0), (1, 0))],
            Some(Wiring::Ring) => (0..setup.nodes)
                .map(|number| ((number, 0), ((number + 1) % setup.nodes, 1)))
                .collect(),
            Some(Wiring::Dongle) => {
                (0..setup.nodes).map(|number| ((number, 0), (16, number))).collect()
            }
        };
        let both = |(one, other)| [Self::new(one, other), Self::new(other, one)];
        pairs.into_iter().flat_map(both).collect()
    }

    /// Heals the line.
    pub(super) fn heal(&mut self) {
        (self.cut, self.stuck, self.noise) = (false, false, 0);
    }

    /// Returns whether nothing is wrong with it.
    pub(super) const fn is_whole(&self) -> bool {
        !self.cut && !self.stuck && self.noise == 0
    }

    /// Forgets what the writer's earlier start has sent.
    pub(super) fn forget(&mut self) {
        *self.reader = Reader::default();
    }

    /// Returns how long `count` bytes take.
    pub(super) fn span(baud: u64, count: usize) -> Micros {
        count as u64 * 10_000_000 / baud
    }

    /// Returns `bytes` as they arrive.
    pub(super) fn disturbed(&self, mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
        if self.cut {
            return Vec::new();
        }
        if self.noise > 0 {
            for byte in &mut bytes {
                if random.below(10_000) < self.noise {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        bytes
    }

    /// Looks at bytes that are sent, and returns what is seen of them. It has the number `line`.
    pub(super) fn watch(&mut self, line: u8, bytes: &[u8]) -> Vec<Seen> {
        let (writer, mut seen) = (self.from.0, Vec::new());
        for byte in bytes {
            let Some(message) = self.reader.push(*byte) else { continue };
            let Ok(message) = message else {
                seen.push(Seen::Garbage { writer, line });
                continue;
            };
            if lifesign_core::dongle::is_dongle_message(message) {
                continue;
            }
            let keys = keyring_of(Keys::BothOldSigns);
            let read = frame::decode::<MAX_ECHOES, MAX_GROUPS>(message, CLUSTER, &keys);
            let frame = read
                .ok()
                .map(|(header, _)| (header.sender.number(), header.boot.bits(), header.sequence));
            seen.push(Seen::OnLine { writer, line, frame });
        }
        seen
    }
}
