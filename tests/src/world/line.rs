//! Serial lines: bytes at a pace, bits that flip, cuts, and readers that stop reading.

use std::collections::BTreeSet;

use lifesign_core::frame::{self, MAX_ECHOES};
use lifesign_core::group::MAX_GROUPS;
use lifesign_core::node::ClusterId;
use lifesign_core::stream::{Deframer, MAX_LINE_LEN};

use super::setup::Setup;
use super::{Micros, Wiring, keyring};
use crate::random::Random;

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
    seen: Seen,
}

/// What an observer at the writer's end has seen.
#[derive(Clone, Debug)]
struct Seen {
    reader: Box<Reader>,
    frames: BTreeSet<(u8, u64, u64)>,
}

impl Line {
    fn new(from: End, to: End) -> Self {
        Self {
            from,
            to,
            cut: false,
            stuck: false,
            noise: 0,
            busy: false,
            seen: Seen { reader: Box::default(), frames: BTreeSet::new() },
        }
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

    /// Forgets what the writer's earlier start has sent.
    pub(super) fn forget(&mut self) {
        self.seen = Seen { reader: Box::default(), frames: BTreeSet::new() };
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

    /// Looks at bytes that are sent: only rightly tagged frames may go out, each once.
    pub(super) fn watch(&mut self, bytes: &[u8]) -> Option<String> {
        let (from, to) = (self.from, self.to);
        bytes.iter().find_map(|byte| {
            let message = match self.seen.reader.push(*byte)? {
                Ok(message) => message,
                Err(garbage) => return Some(format!("{from:?} sends {garbage:?} to {to:?}")),
            };
            if lifesign_core::dongle::is_dongle_message(message) {
                return None;
            }
            let Ok((header, _)) =
                frame::decode::<MAX_ECHOES, MAX_GROUPS>(message, ClusterId(7), &keyring())
            else {
                return Some(format!("{from:?} sends to {to:?} what has no right tag"));
            };
            let name = (header.sender.number(), header.boot.bits(), header.sequence);
            let again = !self.seen.frames.insert(name);
            again.then(|| format!("{from:?} sends {name:?} to {to:?} once more"))
        })
    }
}
