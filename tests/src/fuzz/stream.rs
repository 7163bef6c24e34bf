//! Messages out of any bytes on a line.

use lifesign_core::frame::{self, VERSION};
use lifesign_core::relay::{PortCounters, PortId, Relay};
use lifesign_core::stream::{self, Deframer, Garbage, MAX_LINE_LEN, line_len};

use crate::random::Random;

/// Reads any bytes as a line: the first byte says whether the rest is the line itself (even) or
/// tells what is on it (odd), which of the last three is judged besides, and how the line is cut.
///
/// # Panics
/// If one of these is not so:
///
/// - The deframer finds the messages and the garbage that a second, slower reading finds: one that
///   cuts at zeros, unstuffs by the book and counts the check bit by bit.
/// - A deframer with less room finds the same, except what it has no room for.
/// - However the line is cut, [`read`](stream::read) finds the same messages.
/// - After any noise a message that is written is read again as it was, and takes no more than
///   [`line_len`].
/// - A relay passes each frame on once, whole and in order, however its line takes the bytes. A
///   line that takes them late gets whole frames too, and the newest of each sender unless frames
///   had to be dropped; each frame is sent, displaced or dropped, and counted.
pub fn stream(input: &[u8]) {
    let Some((form, bytes)) = input.split_first() else { return };
    let line = if form & 1 == 0 { bytes.to_vec() } else { told(bytes) };
    let mut pieces = Pieces(Random::new(u64::from(*form)));
    let expected = read_by_the_book(&line, LARGE);
    assert_eq!(pushed::<LARGE>(&line), expected);
    assert_eq!(pushed::<SMALL>(&line), read_by_the_book(&line, SMALL));
    let messages: Vec<&[u8]> = expected.iter().filter_map(|found| found.as_deref().ok()).collect();
    match form >> 1 & 3 {
        0 => demand_there_and_back(&line, bytes),
        1 => demand_same_from_reader(&line, &messages, &mut pieces),
        2 => pass_on(&messages, &mut pieces),
        _ => {}
    }
}

/// How many frames are passed on at most: a relay forgets sooner.
const MOST_FRAMES: usize = 12;

/// The longest line of a message at the largest cluster, and at a small one.
const LARGE: usize = MAX_LINE_LEN - 2;
const SMALL: usize = 94;

type Found = Result<Vec<u8>, Garbage>;

/// Returns the line that `script` tells of: noise, messages, frames and damaged ones.
fn told(script: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    let mut rest = script;
    while let [what, len, after @ ..] = rest {
        let (part, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        match what & 3 {
            0 => line.extend_from_slice(part),
            1 => line.extend(enframed(part)),
            2 => line.extend(enframed(&like_a_frame(*what, part))),
            _ => {
                let mut damaged = enframed(part);
                let at = usize::from(*what >> 2) % damaged.len();
                damaged[at] ^= 1 << (what & 7);
                line.extend(damaged);
            }
        }
    }
    line
}

/// Returns what a relay takes for a frame of one of a few starts: it trusts that the tag was
/// checked.
fn like_a_frame(what: u8, part: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; frame::MIN_FRAME_LEN];
    (bytes[0], bytes[1]) = (VERSION, 0x30);
    (bytes[2], bytes[8]) = (what >> 2 & 7, what >> 5);
    bytes[16] = part.first().copied().unwrap_or_default();
    bytes.extend_from_slice(part);
    bytes
}

fn enframed(message: &[u8]) -> Vec<u8> {
    let mut line = vec![0xaa; line_len(message.len())];
    let len = stream::enframe(message, &mut line).expect("a line of this length suffices");
    line.truncate(len);
    line
}

fn pushed<const N: usize>(line: &[u8]) -> Vec<Found> {
    let mut deframer = Box::new(Deframer::<N>::new());
    let found = line.iter().filter_map(|byte| Some(deframer.push(*byte)?.map(<[u8]>::to_vec)));
    found.collect()
}

/// Returns what is on a line: whatever stands before each zero, unstuffed and checked.
fn read_by_the_book(line: &[u8], room: usize) -> Vec<Found> {
    let Some(end) = line.iter().rposition(|byte| *byte == 0) else { return Vec::new() };
    let runs = line[..end].split(|byte| *byte == 0);
    runs.filter(|run| !run.is_empty()).map(|run| unstuffed(run, room)).collect()
}

fn unstuffed(run: &[u8], room: usize) -> Found {
    if run.len() > room {
        return Err(Garbage::Length);
    }
    let mut message = Vec::new();
    let mut rest = run;
    while let [count, after @ ..] = rest {
        let count = usize::from(*count) - 1;
        if after.len() < count {
            return Err(Garbage::Stuffing);
        }
        message.extend_from_slice(&after[..count]);
        rest = &after[count..];
        // A run of 254 bytes is followed by no zero of the message's own.
        if count < 254 && !rest.is_empty() {
            message.push(0);
        }
    }
    let check = message.split_off(message.len().checked_sub(2).ok_or(Garbage::Check)?);
    if check == checked(&message).to_le_bytes() { Ok(message) } else { Err(Garbage::Check) }
}

/// CRC-16/IBM-SDLC, bit by bit, as in RFC 1662.
fn checked(message: &[u8]) -> u16 {
    let mut state = 0xffff_u16;
    for byte in message {
        state ^= u16::from(*byte);
        for _ in 0..8 {
            state = if state & 1 == 1 { state >> 1 ^ 0x8408 } else { state >> 1 };
        }
    }
    !state
}

/// Cuts bytes into pieces of 1 to 9.
struct Pieces(Random);

impl Pieces {
    fn next(&mut self, left: usize) -> usize {
        left.min(1 + usize::try_from(self.0.below(9)).unwrap_or(0))
    }
}

/// A line that gives and takes a few bytes at a time.
struct Line<'a> {
    bytes: &'a [u8],
    written: Vec<u8>,
    pieces: &'a mut Pieces,
}

impl embedded_io::ErrorType for Line<'_> {
    type Error = core::convert::Infallible;
}

impl embedded_io::Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let count = self.pieces.next(self.bytes.len().min(buffer.len()));
        let (now, later) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

impl embedded_io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let count = self.pieces.next(bytes.len());
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn demand_same_from_reader(bytes: &[u8], messages: &[&[u8]], pieces: &mut Pieces) {
    let mut line = Line { bytes, written: Vec::new(), pieces };
    let mut deframer = Box::new(Deframer::<LARGE>::new());
    let mut message = [0; MAX_LINE_LEN];
    for expected in messages {
        let read = stream::read(&mut line, &mut deframer, &mut message);
        assert_eq!(read, Ok(Some(expected.len())));
        assert_eq!(message[..expected.len()], **expected);
    }
    assert_eq!(stream::read(&mut line, &mut deframer, &mut message), Ok(None));
    for expected in messages {
        let written = stream::write::<MAX_LINE_LEN, _>(&mut line, expected);
        assert!(written.is_ok(), "{written:?}");
    }
    let all: Vec<u8> = messages.iter().flat_map(|message| enframed(message)).collect();
    assert_eq!(line.written, all);
}

fn demand_there_and_back(noise: &[u8], message: &[u8]) {
    let message = &message[..message.len().min(frame::MAX_FRAME_LEN)];
    let line = enframed(message);
    assert!(line.len() <= line_len(message.len()));
    let (first, inner) = line.split_first().expect("a line has two zeros");
    let (last, inner) = inner.split_last().expect("a line has two zeros");
    assert!(*first == 0 && *last == 0 && !inner.contains(&0), "{line:?}");
    let mut short = vec![0; line.len() - 1];
    assert_eq!(stream::enframe(message, &mut short), None, "there was no room");
    let mut deframer = Box::new(Deframer::<LARGE>::new());
    for byte in noise {
        let _noise = deframer.push(*byte);
    }
    // The first zero ends the noise, which may even be a message.
    let _noise = deframer.push(line[0]);
    for byte in inner {
        assert_eq!(deframer.push(*byte), None);
    }
    assert_eq!(deframer.push(0), Some(Ok(message)));
}

const SLOT: usize = 160;
type ThreePorts = Relay<3, 6, SLOT, 4>;

fn pass_on(messages: &[&[u8]], pieces: &mut Pieces) {
    let frames = messages.iter().copied().filter(|message| frame::peek(message).is_ok());
    let frames: Vec<&[u8]> = frames.take(MOST_FRAMES).collect();
    if frames.is_empty() {
        return;
    }
    let [from, to, late] = [0, 1, 2].map(|number| PortId::new(number).expect("three ports"));
    let mut relay = Box::new(ThreePorts::new());
    let (mut taken, mut taken_late, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    for frame in &frames {
        if relay.forward(frame, from).is_ok() {
            assert!(line_len(frame.len()) <= SLOT, "it was too long");
            passed.push(Ok(frame.to_vec()));
        }
        if pieces.next(2) == 1 {
            let pending = relay.pending(late);
            let count = pieces.next(pending.len());
            taken_late.extend_from_slice(&pending[..count]);
            relay.sent(late, count);
        }
        taken.extend(drained(&mut relay, to, pieces));
        assert!(relay.forward(frame, late).is_err(), "it was passed on twice");
    }
    assert_eq!(pushed::<SLOT>(&taken), passed, "whole, in order, and once");
    assert!(relay.is_idle(to) && relay.pending(from).is_empty());
    taken_late.extend(drained(&mut relay, late, pieces));
    let kept = pushed::<SLOT>(&taken_late);
    assert!(kept.iter().all(|found| passed.contains(found)), "made up or torn: {kept:?}");
    let PortCounters { sent, displaced, dropped, .. } = relay.counters(late);
    assert_eq!((sent + displaced + dropped) as usize, passed.len(), "each frame is accounted for");
    assert_eq!(sent as usize, kept.len());
    let sender = |found: &Found| found.as_ref().map(|frame| frame[2]).ok();
    for (at, frame) in passed.iter().enumerate() {
        let is_newest = passed[at + 1..].iter().all(|later| sender(later) != sender(frame));
        let is_kept = !is_newest || dropped > 0 || kept.contains(frame);
        assert!(is_kept, "the newest of a sender was lost: {frame:?}");
    }
}

fn drained(relay: &mut ThreePorts, port: PortId, pieces: &mut Pieces) -> Vec<u8> {
    let mut line = Vec::new();
    loop {
        let pending = relay.pending(port);
        let count = pieces.next(pending.len());
        if count == 0 {
            return line;
        }
        line.extend_from_slice(&pending[..count]);
        relay.sent(port, count);
    }
}
