//! What every build must answer alike: bytes frozen for version 1, and the smallest stories.
//!
//! The same cases run on the host, in `cargo test`, and on a microcontroller, so that a compiler, a
//! word size or a byte order that changes the protocol is noticed. The bytes were not made by this
//! code.

use heapless::Vec;

use crate::dongle;
use crate::frame::{
    self, Body, Echo, FrameError, Header, LinkClass, MAX_FRAME_LEN, Phase, Want, Word,
};
use crate::group::{GroupId, Token};
use crate::node::{BootId, ClusterId, LinkId, LinkSet, NodeId};
use crate::promise::{Claimant, Refusal, Voter};
use crate::relay::{NotForwarded, PortId, Relay};
use crate::reset::{Fire, RequestId};
use crate::seal::{KEY_LEN, Key, KeyId, Keyring};
use crate::stream::{Deframer, Garbage, MAX_LINE_LEN, enframe};
use crate::time::{Duration, Instant};

/// A case: its name, and whether this build answers it rightly.
pub type Case = (&'static str, fn() -> bool);

/// Every case.
pub const CASES: &[Case] = &[
    ("a frozen frame is read", frozen_frame_is_read),
    ("a frozen frame is written", frozen_frame_is_written),
    ("each changed bit of a frame is refused", changed_bits_are_refused),
    ("a frozen line is read after noise", frozen_line_is_read),
    ("a frozen line is written", frozen_line_is_written),
    ("a frozen sealed message is read", sealed_message_is_read),
    ("a frame is passed on once", frame_is_passed_on_once),
    ("a promise is kept until it runs out", promise_is_kept),
];

/// A heartbeat of version 1 on a serial line: two groups, one of them held.
const FRAME: [u8; 83] = [
    0x01, 0x32, 0x00, 0x01, 0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0xe8, 0x07, 0x00,
    0x00, 0x01, 0x01, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0xc0, 0x84, 0x3d, 0x03, 0x02,
    0x00, 0x02, 0x03, 0xe8, 0x07, 0x01, 0x00, 0xac, 0x02, 0xdc, 0x0b, 0x02, 0x00, 0x01, 0x00, 0x03,
    0x01, 0x00, 0x07, 0x73, 0x3e, 0x45, 0xef, 0x32, 0x6f, 0x50, 0x6a, 0xea, 0xf4, 0x62, 0xe5, 0x58,
    0x08, 0x0d, 0xca,
];

/// The same as it goes over a line.
const LINE: [u8; 88] = [
    0x00, 0x03, 0x01, 0x32, 0x0f, 0x01, 0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
    0x12, 0x11, 0x05, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x07, 0x01, 0x02, 0x03, 0x04, 0xe8,
    0x07, 0x01, 0x10, 0x01, 0x01, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0xc0, 0x84, 0x3d,
    0x03, 0x02, 0x06, 0x02, 0x03, 0xe8, 0x07, 0x01, 0x06, 0xac, 0x02, 0xdc, 0x0b, 0x02, 0x02, 0x01,
    0x03, 0x03, 0x01, 0x14, 0x07, 0x73, 0x3e, 0x45, 0xef, 0x32, 0x6f, 0x50, 0x6a, 0xea, 0xf4, 0x62,
    0xe5, 0x58, 0x08, 0x0d, 0xca, 0xd3, 0x57, 0x00,
];

/// A sealed request to fire an armed reset line.
const FIRE: [u8; 38] = [
    0xd1, 0x01, 0x05, 0x01, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x07, 0x88, 0x8e, 0x98,
    0xa8, 0xc0, 0xe0, 0x80, 0x81, 0x01, 0x71, 0xa5, 0x5c, 0x0c, 0x2a, 0xd2, 0x4b, 0x01, 0xe9, 0x78,
    0x9a, 0x36, 0xe5, 0xd3, 0x39, 0x95,
];

fn keyring() -> Option<Keyring> {
    Keyring::new(&[(KeyId(1), Key::new([0x5a; KEY_LEN]))], KeyId(1)).ok()
}

fn header() -> Option<Header> {
    Some(Header {
        class: LinkClass::Serial,
        link: LinkId::new(2)?,
        sender: NodeId::new(0)?,
        key: KeyId(1),
        cluster: ClusterId(0x0102_0304),
        boot: BootId::new(0x1112_1314_1516_1718),
        sequence: 5,
    })
}

fn body() -> Option<Body> {
    let (zero, one) = (GroupId::new(0)?, GroupId::new(1)?);
    let (node, boot) = (NodeId::new(1)?, BootId::new(0x2122_2324_2526_2728));
    let echo = Echo { node, boot, sequence: 1_000_000, links: LinkSet::first(2) };
    let held = Want { group: zero, phase: Phase::Holding, token: Token(3), promise_ms: 1000 };
    let claimed = Want { group: one, phase: Phase::Claiming, token: Token(300), promise_ms: 1500 };
    let words = [
        Word { group: zero, to: NodeId::new(0), token: Token(3) },
        Word { group: one, to: None, token: Token(7) },
    ];
    Some(Body {
        digest: [1, 2, 3, 4],
        longest_promise_ms: 1000,
        echoes: Vec::from_slice(&[echo]).ok()?,
        wants: Vec::from_slice(&[held, claimed]).ok()?,
        words: Vec::from_slice(&words).ok()?,
        ..Body::default()
    })
}

fn frozen_frame_is_read() -> bool {
    let read = || {
        let read = frame::decode::<18, 32>(&FRAME, header()?.cluster, &keyring()?).ok()?;
        Some(read == (header()?, body()?))
    };
    read() == Some(true)
}

fn frozen_frame_is_written() -> bool {
    let written = || {
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header()?, &body()?, &keyring()?, &mut buffer);
        Some(buffer.get(..len)? == FRAME)
    };
    written() == Some(true)
}

/// One bit of each byte, a different one from byte to byte.
fn changed_bits_are_refused() -> bool {
    let refused = |at: usize| {
        let mut wrong = FRAME;
        *wrong.get_mut(at)? ^= 1 << (at % 8);
        let read = frame::decode::<18, 32>(&wrong, header()?.cluster, &keyring()?);
        Some(read.is_err() && (at < frame::HEADER_LEN || read == Err(FrameError::Tag)))
    };
    (0..FRAME.len()).all(|at| refused(at) == Some(true))
}

fn frozen_line_is_read() -> bool {
    let mut deframer = Deframer::<MAX_LINE_LEN>::new();
    let noise = [0x55, 0, 3, 1, 0, 0xff];
    let garbage = noise.iter().filter_map(|byte| Some(deframer.push(*byte)?.is_err())).count();
    let ends = LINE.first().map(|byte| deframer.push(*byte) == Some(Err(Garbage::Stuffing)));
    let mut message = LINE
        .iter()
        .skip(1)
        .filter_map(|byte| deframer.push(*byte).map(|message| message == Ok(FRAME.as_slice())));
    garbage == 2 && ends == Some(true) && message.next() == Some(true)
}

fn frozen_line_is_written() -> bool {
    let mut line = [0; MAX_LINE_LEN];
    enframe(&FRAME, &mut line).and_then(|len| line.get(..len)) == Some(LINE.as_slice())
}

fn sealed_message_is_read() -> bool {
    let read = || {
        let control = keyring()?.derive(dongle::PURPOSE);
        let (message, sealed) = dongle::decode::<dongle::Request>(&FIRE, Some(&control)).ok()?;
        let boot = BootId::new(0x2122_2324_2526_2728);
        let id = RequestId { asker: NodeId::new(1)?, boot, number: 7 };
        let fire = dongle::Request::Fire(Fire { id, nonce: 0x0102_0304_0506_0708 });
        Some(message == fire && sealed == dongle::Sealed::Yes)
    };
    read() == Some(true)
}

fn frame_is_passed_on_once() -> bool {
    let passed = || {
        let (one, two) = (PortId::new(0)?, PortId::new(1)?);
        let mut relay = Relay::<2, 3, 160, 2>::new();
        relay.forward(&FRAME, one).ok()?;
        let once = relay.pending(two) == LINE && relay.pending(one).is_empty();
        Some(once && relay.forward(&FRAME, two) == Err(NotForwarded::Seen))
    };
    passed() == Some(true)
}

fn promise_is_kept() -> bool {
    let kept = || {
        let second = |count| Instant::ZERO + Duration::from_millis(1000).times(count);
        let mut voter = Voter::<2>::new(Duration::from_millis(1000), Token(9), second(0));
        let want = *body()?.wants.first()?;
        let from = |node| {
            let node = NodeId::new(node)?;
            Some(Claimant { node, boot: BootId::new(1), sequence: 1 })
        };
        let early = voter.consider(&want, from(0)?, second(0));
        let first = voter.consider(&want, from(0)?, second(1));
        let other = voter.consider(&want, from(1)?, second(1));
        let later = voter.consider(&want, from(1)?, second(2));
        let refused = matches!(other, Err(Refusal::Promised(_)));
        Some(early == Err(Refusal::Booting(second(1))) && first.is_ok() && refused && later.is_ok())
    };
    kept() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_answered_rightly() {
        for (name, case) in CASES {
            assert!(case(), "{name}");
        }
    }
}
