//! Messages on a line: where one begins and ends, and whether it arrived whole.
//!
//! A line carries bytes without boundaries, loses some and makes some up. A message is made
//! recognisable by consistent overhead byte stuffing, which leaves no zero byte in it, so that a
//! zero always ends whatever came before: after any noise the next message is read again.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | zero: ends what noise began |
//! | n | message and check, stuffed (Cheshire and Baker, SIGCOMM 1997) |
//! | 1 | zero |
//!
//! The check is CRC-16/IBM-SDLC (the FCS of RFC 1662, appendix C.2), little-endian, behind the
//! message and under the stuffing. It tells noise from forgery cheaply; the tag inside is what
//! counts.
//!
//! The first byte of a message says what it is: a [`frame`](crate::frame) begins with its version,
//! a message to or from a dongle with a byte of [`dongle`](crate::dongle).

use cobs::{DecodeResult, DecoderState, EncoderState, PushResult};
use crc::{CRC_16_IBM_SDLC, Crc};
use embedded_io::{Read, Write};

use crate::frame::MAX_FRAME_LEN;

/// The bytes of the check.
const CHECK_LEN: usize = 2;
/// A run of bytes without zero is at most this long; each needs one byte more.
const RUN: usize = 254;
const CHECK: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);

/// Returns how many bytes a message of `len` bytes takes on a line at most, the zeros around it
/// included.
#[must_use]
pub const fn line_len(len: usize) -> usize {
    let checked = len.saturating_add(CHECK_LEN);
    checked.saturating_add(checked / RUN).saturating_add(3)
}

/// The most bytes that a frame takes on a line.
pub const MAX_LINE_LEN: usize = line_len(MAX_FRAME_LEN);

/// Writes `message` as it goes over a line into `line` and returns how many bytes that takes, or
/// `None` if there is no room; [`line_len`] always suffices.
#[must_use]
pub fn enframe(message: &[u8], line: &mut [u8]) -> Option<usize> {
    let check = CHECK.checksum(message).to_le_bytes();
    *line.first_mut()? = 0;
    let body = line.get_mut(1..)?;
    let mut state = EncoderState::default();
    // The state expects that the place of the first count is taken already.
    let mut at: usize = 1;
    for byte in message.iter().chain(&check) {
        match state.push(*byte) {
            PushResult::AddSingle(byte) => put(body, &mut at, byte)?,
            PushResult::ModifyFromStartAndSkip((count_at, count)) => {
                *body.get_mut(count_at)? = count;
                put(body, &mut at, 0)?;
            }
            PushResult::ModifyFromStartAndPushAndSkip((count_at, count, byte)) => {
                *body.get_mut(count_at)? = count;
                put(body, &mut at, byte)?;
                put(body, &mut at, 0)?;
            }
        }
    }
    let (count_at, count) = state.finalize();
    *body.get_mut(count_at)? = count;
    put(body, &mut at, 0)?;
    Some(at.saturating_add(1))
}

fn put(line: &mut [u8], at: &mut usize, byte: u8) -> Option<()> {
    *line.get_mut(*at)? = byte;
    *at = at.saturating_add(1);
    Some(())
}

/// Finds messages in a stream of bytes. `N` is the longest message it can take, as stuffed and
/// without the zeros: [`line_len`] less two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deframer<const N: usize> {
    held: [u8; N],
    len: usize,
    /// More came than fits; what is held is of no use.
    overflowed: bool,
    /// The message was given out; the next byte begins another.
    done: bool,
}

/// Why bytes between two zeros are not a message. They are dropped; the next message is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Garbage {
    /// They are not stuffed as they should be. Noise, or the wrong speed; also the rest of a
    /// message whose beginning was lost.
    Stuffing,
    /// They are more than can be a message here. Noise, or a larger cluster than this.
    Length,
    /// The check is wrong. Noise.
    Check,
}

impl<const N: usize> Default for Deframer<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Deframer<N> {
    /// Makes a deframer that waits for a message to begin.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: [0; N], len: 0, overflowed: false, done: false }
    }

    /// Takes in one byte, and returns a message if it ended one, or what was there instead. The
    /// cost is bounded by `N`.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], Garbage>> {
        if self.done {
            (self.len, self.done) = (0, false);
        }
        if byte != 0 {
            match self.held.get_mut(self.len) {
                Some(slot) => {
                    *slot = byte;
                    self.len = self.len.saturating_add(1);
                }
                None => self.overflowed = true,
            }
            return None;
        }
        let len = core::mem::take(&mut self.len);
        if core::mem::take(&mut self.overflowed) {
            return Some(Err(Garbage::Length));
        }
        if len == 0 {
            return None;
        }
        Some(match self.open(len) {
            Ok(len) => {
                (self.len, self.done) = (len, true);
                self.held.get(..len).ok_or(Garbage::Length)
            }
            Err(garbage) => Err(garbage),
        })
    }

    /// Unstuffs the first `len` bytes in place and checks them; returns the message's length.
    fn open(&mut self, len: usize) -> Result<usize, Garbage> {
        let mut state = DecoderState::Idle;
        let mut written: usize = 0;
        for at in 0..=len {
            // What is written is never ahead of what is read: each run's count is not written.
            let byte = if at == len { Some(0) } else { self.held.get(at).copied() };
            match state.feed(byte.ok_or(Garbage::Length)?) {
                Ok(DecodeResult::DataContinue(byte)) => {
                    *self.held.get_mut(written).ok_or(Garbage::Length)? = byte;
                    written = written.saturating_add(1);
                }
                Ok(DecodeResult::NoData | DecodeResult::DataComplete) => {}
                Err(_) => return Err(Garbage::Stuffing),
            }
        }
        let whole = self.held.get(..written).ok_or(Garbage::Length)?;
        let (message, check) = whole.split_last_chunk::<CHECK_LEN>().ok_or(Garbage::Check)?;
        if CHECK.checksum(message) == u16::from_le_bytes(*check) {
            Ok(message.len())
        } else {
            Err(Garbage::Check)
        }
    }
}

/// Why a message was not written. Part of it may have gone out; the reader drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError<E> {
    /// It is longer than `N` allows.
    Length,
    /// The line failed.
    Line(E),
}

/// Writes `message` to a line, all of it. `N` bytes are room for what goes over the line.
///
/// # Errors
/// The message is too long, or the line failed.
pub fn write<const N: usize, W: Write>(
    line: &mut W,
    message: &[u8],
) -> Result<(), WriteError<W::Error>> {
    let mut bytes = [0; N];
    let len = enframe(message, &mut bytes).ok_or(WriteError::Length)?;
    let mut rest = bytes.get(..len).ok_or(WriteError::Length)?;
    while !rest.is_empty() {
        let count = line.write(rest).map_err(WriteError::Line)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    line.flush().map_err(WriteError::Line)
}

/// Reads from a line until a message is whole, copies it into `message` and returns its length, or
/// `None` at the end of the line. Garbage on the way is skipped, and so is a message for which
/// `message` has no room.
///
/// # Errors
/// The line failed.
pub fn read<const N: usize, R: Read>(
    line: &mut R,
    deframer: &mut Deframer<N>,
    message: &mut [u8],
) -> Result<Option<usize>, R::Error> {
    let mut byte = [0];
    while line.read(&mut byte)? > 0 {
        for byte in byte {
            let Some(Ok(whole)) = deframer.push(byte) else { continue };
            if let Some(to) = message.get_mut(..whole.len()) {
                to.copy_from_slice(whole);
                return Ok(Some(whole.len()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const N: usize = MAX_LINE_LEN - 2;

    fn line(message: &[u8]) -> Vec<u8> {
        let mut line = vec![0xaa; line_len(message.len())];
        let len = enframe(message, &mut line).unwrap();
        line.truncate(len);
        line
    }

    fn messages(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Garbage>) {
        let mut deframer = Deframer::<N>::new();
        let (mut messages, mut garbage) = (Vec::new(), Vec::new());
        for byte in bytes {
            match deframer.push(*byte) {
                None => {}
                Some(Ok(message)) => messages.push(message.to_vec()),
                Some(Err(what)) => garbage.push(what),
            }
        }
        (messages, garbage)
    }

    /// The published check value of CRC-16/IBM-SDLC is 0x906e for "123456789".
    #[test]
    fn a_message_looks_on_the_line_as_documented() {
        assert_eq!(line(b"123456789"), b"\0\x0c123456789\x6e\x90\0");
        assert_eq!(messages(&line(&[])), (vec![vec![]], vec![]));
    }

    #[test]
    fn the_longest_frame_of_any_content_fits() {
        for byte in [0, 1, 0xff] {
            let message = [byte; MAX_FRAME_LEN];
            let whole = line(&message);
            assert!(whole.len() <= MAX_LINE_LEN);
            assert_eq!(messages(&whole).0, [message.to_vec()]);
        }
        assert_eq!(enframe(&[1; 8], &mut [0; 12]), None, "one byte too little");
        assert_eq!(enframe(&[1; 8], &mut [0; 13]), Some(13));
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_next_message_read() {
        let mut bytes = vec![1; N + 1];
        bytes.extend(line(b"next"));
        assert_eq!(messages(&bytes), (vec![b"next".to_vec()], vec![Garbage::Length]));
    }

    #[test]
    fn readers_and_writers_carry_messages() {
        let mut wire = [0; 64];
        let mut rest = wire.as_mut_slice();
        write::<32, _>(&mut rest, b"one").unwrap();
        write::<32, _>(&mut rest, b"two").unwrap();
        assert_eq!(write::<8, _>(&mut rest, b"three"), Err(WriteError::Length));
        let mut deframer = Deframer::<32>::new();
        let mut message = [0; 3];
        let mut from = wire.as_slice();
        for expected in [b"one", b"two"] {
            assert_eq!(read(&mut from, &mut deframer, &mut message), Ok(Some(3)));
            assert_eq!(&message, expected);
        }
        assert_eq!(read(&mut from, &mut deframer, &mut message), Ok(None));
    }

    proptest! {
        #[test]
        fn any_message_comes_back_after_any_noise(
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            message in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut bytes = noise;
            bytes.extend(line(&message));
            let (messages, _) = messages(&bytes);
            prop_assert_eq!(messages.last(), Some(&message));
        }

        #[test]
        fn a_changed_bit_never_yields_another_message(
            message in proptest::collection::vec(any::<u8>(), 1..80),
            bit in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = line(&message);
            let bit = 8 + bit.index((bytes.len() - 2) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.extend(line(b"next"));
            let (messages, _) = messages(&bytes);
            // A bit that becomes a zero byte splits the message in two, either of which passes the
            // check once in 65,536 times; the tag inside is what counts.
            prop_assert!(messages.len() == 1 || !messages.contains(&message));
        }
    }
}
