//! What is seen from outside, in true time.
//!
//! The world says it, one [`Seen`] after the other with the moment at which it happened; the
//! oracle, the trace and the coverage make of it what they need and never look into an engine.
//! Hosts are numbers: servers from 0 on, witnesses and the dongle from 16 on.

use std::hash::Hasher;

use lifesign_core::engine::Condition;
use lifesign_core::group::{GroupSet, Reason, Role};

use crate::fault::Fault;
use crate::world::Micros;

/// An end of what a kernel answers for that nothing but a stop, a crash or a reset brings about.
pub const ENDLESS: Micros = Micros::MAX;

/// How a start of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The process alone: what its kernel answers for goes on until its lease ends.
    Killed,
    /// The whole machine, with everything that was up there.
    Crashed,
    /// The machine was reset from outside.
    Reset,
    /// It left in good order.
    Left,
}

/// A voter's word that it supports nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promise {
    /// To which server.
    pub to: u8,
    /// To which start of it.
    pub boot: u64,
    /// Under which token.
    pub token: u32,
    /// The first true moment at which the voter's clock is past its end.
    pub until: Micros,
}

/// One thing that an observer with a true clock sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A fault begins, or what a plan calls one.
    Fault(Fault),
    /// A process starts. What an earlier start of it had up is down.
    Started {
        /// Where.
        host: u8,
        /// The id of this start.
        boot: u64,
    },
    /// A process has ended.
    Ended {
        /// Where.
        host: u8,
        /// How.
        how: End,
    },
    /// A server plays another part for a group. `Starting` is the moment from which something of
    /// it may be up.
    Role {
        /// Which server.
        host: u8,
        /// Which group.
        group: u8,
        /// The part.
        role: Role,
        /// Why.
        reason: Reason,
    },
    /// A server answers for a group, or what ends that by itself has been moved.
    Answers {
        /// Which server.
        host: u8,
        /// Which group.
        group: u8,
        /// The token under which it was started.
        token: u32,
        /// The first true moment at which it is silent unless this is said again: by the kernel
        /// lease, by stopping, or by the watchdog. [`ENDLESS`] if nothing but a stop ends it.
        until: Micros,
    },
    /// A server is silent for a group from this moment on. It is not said when what was said of
    /// the end comes true by itself.
    Silent {
        /// Which server.
        host: u8,
        /// Which group.
        group: u8,
    },
    /// What a voter has promised now; also said when it is renewed, and with `None` when it is
    /// freed before its end.
    Promised {
        /// The voter.
        voter: u8,
        /// Which group.
        group: u8,
        /// The promise.
        promise: Option<Promise>,
    },
    /// A host has saved that all tokens up to this one may have been used.
    Saved {
        /// Which host.
        host: u8,
        /// The token.
        token: u32,
    },
    /// A server has learned what the operator has said last, or remembers it from before its start.
    Decreed {
        /// Which server.
        host: u8,
        /// The word's number, and on which server it was said.
        stamp: (u32, u8),
        /// The groups that are to be started nowhere.
        disabled: GroupSet,
        /// The groups in maintenance, and the first true moment at which the server's clock is past
        /// its end.
        maintenance: Option<(GroupSet, Micros)>,
    },
    /// A process has sent a frame with a new number; copies over other links are not told.
    Sent {
        /// Who.
        from: u8,
        /// Which start of it.
        boot: u64,
        /// The number.
        sequence: u64,
    },
    /// An undamaged, rightly tagged frame has reached a process that takes it in now, by whatever
    /// way; also when an attacker has kept it for a while.
    Arrived {
        /// Who has sealed it.
        from: u8,
        /// Who takes it in.
        to: u8,
        /// Which start of the sender.
        boot: u64,
        /// Its number.
        sequence: u64,
    },
    /// A host sees a peer otherwise than before.
    Peer {
        /// Which host.
        host: u8,
        /// Which peer.
        peer: u8,
        /// How.
        condition: Condition,
    },
    /// From now on a clock is wrong by so many millionths. It is said of every clock at first.
    Clock {
        /// Whose.
        host: u8,
        /// Its rate error.
        error_ppm: i64,
    },
    /// Whether networks and serial lines now do nothing but carry frames with their usual delay.
    Network {
        /// They do.
        whole: bool,
    },
    /// Whatever was broken has been repaired, every machine runs, every order was taken back, and
    /// nothing will be broken from now on.
    Healed,
    /// A server asks the dongle for the second step of a reset.
    ResetAsked {
        /// Which server.
        asker: u8,
        /// The number of its request, so that its repetition is not another one.
        request: u64,
        /// For which group.
        group: u8,
        /// For its claim under this token.
        token: u32,
        /// Who is to be reset.
        target: u8,
        /// The start that is meant, if one is known.
        boot: Option<u64>,
    },
    /// The dongle begins to drive a reset line.
    Pulse {
        /// Whose.
        target: u8,
        /// The line follows, so that the machine is reset.
        felt: bool,
    },
    /// The dongle lets go of a reset line.
    PulseEnded {
        /// Whose.
        target: u8,
    },
    /// An operator vouches to a server that another is silent.
    Vouched {
        /// To whom.
        to: u8,
        /// Who is silent.
        target: u8,
        /// In which start, or in whatever start it may have been.
        boot: Option<u64>,
    },
    /// A whole message that is no dongle's has gone out on one direction of a serial line.
    OnLine {
        /// Who writes there.
        writer: u8,
        /// Which direction of which line.
        line: u8,
        /// Who has sealed it, in which start, and its number; `None` if it has no right tag.
        frame: Option<(u8, u64, u64)>,
    },
    /// What has gone out on one direction of a serial line is no message.
    Garbage {
        /// Who writes there.
        writer: u8,
        /// Which direction of which line.
        line: u8,
    },
    /// Somebody does to a host, or to all, what no [`Fault`](Self::Fault) tells of.
    ByHand,
}

/// A running sum over everything that was seen and when: two runs of one seed have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash(u64);

impl TraceHash {
    /// Adds what was seen.
    pub fn add(&mut self, at: Micros, seen: &Seen) {
        self.write_u64(at);
        core::hash::Hash::hash(seen, self);
    }

    /// Returns the sum.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

// Not the standard library's hasher: this one is cheap, and the same in every version.
impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_tells_what_when_and_in_which_order() {
        let seen = [Seen::Started { host: 0, boot: 1 }, Seen::Silent { host: 0, group: 1 }];
        let sum = |trace: &[(Micros, Seen)]| {
            let mut hash = TraceHash::default();
            trace.iter().for_each(|(at, seen)| hash.add(*at, seen));
            hash.value()
        };
        let one = sum(&[(1, seen[0]), (2, seen[1])]);
        assert_eq!(one, sum(&[(1, seen[0]), (2, seen[1])]));
        assert_ne!(one, sum(&[(2, seen[0]), (2, seen[1])]));
        assert_ne!(one, sum(&[(1, seen[1]), (2, seen[0])]));
        assert_ne!(one, sum(&[(1, seen[0])]));
    }
}
