//! The recorder: what the daemon puts into its engine and gets out of it, in a bounded ring on
//! disk.
//!
//! The engine decides by its state and its inputs alone, so whoever has both can see every decision
//! again: that is [`replay`](crate::replay). [`Recorded`] is the only way to an engine that is
//! recorded, and nothing can go past it.
//!
//! ```text
//! decision thread ── entries ──► ring in shared memory ──► writer, in the executor ──► segments
//! ```
//!
//! The decision thread neither writes files nor waits: an entry is a few stores into memory. The
//! writer belongs to another process at ordinary priority, which has everything up to the last
//! moment of a daemon that is killed. Where it does not keep up, entries are lost, counted and
//! told; the segment ends there, and the next begins with the state of the engine.
//!
//! A recording has no keys, and nothing in it could be sent: frames stand in it without their tags.
//!
//! | file | what it is |
//! |---|---|
//! | [`entry`] | what is recorded |
//! | [`pack`] | frames in few bytes |
//! | `ring` | the memory between the two processes |
//! | [`block`] | the format on disk, and what damage looks like |
//! | [`writer`] | segments, of which the oldest make room |

pub mod block;
pub mod entry;
pub mod pack;
mod recorded;
mod ring;
pub mod writer;

use std::path::{Path, PathBuf};

use lifesign_core::engine::Engine;
use lifesign_core::seal::TAG_LEN;
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;

use self::entry::{Entry, Keys, Note, Start};
use self::pack::{LONGEST_PACKED, Packer};
use self::ring::{Kind, Sender};
use self::writer::Writer;
use crate::clock;

pub use self::recorded::Recorded;
pub use self::ring::RING_LEN;

/// Where and how much is recorded, and what each segment says of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The directory of the segments.
    pub directory: PathBuf,
    /// The most bytes that all segments may have.
    pub bound: u64,
    /// What each segment says of its origin.
    pub origin: block::Origin,
}

/// The least that can be recorded, in bytes.
pub const LEAST_BOUND: u64 = 1 << 20;
/// The most that can be recorded, in bytes.
pub const MOST_BOUND: u64 = 1 << 36;

/// How many segments there are when the bound is reached, about.
const SEGMENTS: u64 = 8;
/// The longest segment, in bytes.
const LONGEST_SEGMENT: u64 = 8 << 20;
/// How long a recording rests after the disk has refused something.
const REST: Duration = Duration::from_millis(10_000);

/// Returns the directory for what `node` records, in the directory `state`.
#[must_use]
pub fn directory(state: &Path, node: &str) -> PathBuf {
    state.join(format!("{node}.record"))
}

/// Makes the two ends of a recording: one for the decision thread, one for the executor.
///
/// # Errors
/// Out of memory or descriptors.
pub fn open(plan: Plan) -> Result<(Recorder, Writer), Errno> {
    let (sender, taker) = ring::ring()?;
    let segment_len = (plan.bound / SEGMENTS).min(LONGEST_SEGMENT);
    let recorder = Recorder {
        sender,
        segment_len,
        written: 0,
        now: Instant::ZERO,
        state: State::Fresh,
        lost: 0,
        faults: 0,
        rests_until: Instant::ZERO,
        keys: None,
        notes: Vec::new(),
        packer: Packer::default(),
    };
    Ok((recorder, Writer::new(taker, plan)))
}

/// The end of a recording that belongs to the decision thread.
#[derive(Debug)]
pub struct Recorder {
    sender: Sender,
    /// At what length a segment ends, in bytes.
    segment_len: u64,
    /// How long the segment is, in bytes.
    written: u64,
    /// The moment of the last entry.
    now: Instant,
    state: State,
    /// How many entries were lost altogether.
    lost: u64,
    /// How often the writer could not write, as far as that was taken note of.
    faults: u32,
    /// Not before this moment is another segment begun.
    rests_until: Instant,
    /// Which keys are in use.
    keys: Option<Keys>,
    notes: Vec<Note>,
    packer: Packer,
}

/// Whether what comes next belongs to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been recorded yet.
    Fresh,
    /// A segment is being written.
    Open,
    /// So many entries are lost since the last segment.
    Lossy(u64),
}

/// How a recording is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How many entries were lost since the start.
    pub lost: u64,
    /// What the disk has refused last, if it has refused anything.
    pub error: Option<Errno>,
}

impl Recorder {
    /// Returns how the recording is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { lost: self.lost, error: self.sender.faults().1 }
    }

    /// Records an input of `engine`, which is as it is before that; `entry` is made of the time
    /// since the entry before.
    fn input<'a>(&mut self, engine: &Engine, now: Instant, entry: impl FnOnce(i64) -> Entry<'a>) {
        let after = self.advance(engine, now);
        self.put(&entry(after));
    }

    /// Records a frame that came over link number `link`, as [`input`](Self::input) does.
    fn frame(&mut self, engine: &Engine, now: Instant, link: u8, bytes: &[u8]) {
        let after = self.advance(engine, now);
        let (message, tag) = bytes.split_at(bytes.len().saturating_sub(TAG_LEN));
        let tag = tag.len().to_le_bytes()[0];
        let mut packed = [0; LONGEST_PACKED];
        let len = self.packer.pack(link, message, &mut packed);
        let packed = packed.get(..len).unwrap_or_default();
        self.put(&Entry::Frame { after, link, packed, tag });
    }

    /// Gets ready for an input, and returns the time since the entry before.
    fn advance(&mut self, engine: &Engine, now: Instant) -> i64 {
        self.look_for_faults(now);
        if self.state != State::Open || self.written >= self.segment_len {
            self.begin(engine, now);
        }
        let before = self.now.as_micros().cast_signed();
        self.now = now;
        now.as_micros().cast_signed().wrapping_sub(before)
    }

    /// Records a result of the last input.
    fn outcome(&mut self, entry: &Entry<'_>) {
        self.put(entry);
    }

    /// Takes note of what explanations refer to.
    fn note(&mut self, note: Note) {
        if self.notes.contains(&note) {
            return;
        }
        self.notes.retain(|other| !note.replaces(other));
        self.notes.push(note.clone());
        if self.state == State::Open {
            self.put(&Entry::Note(note));
        }
    }

    /// Ends the recording in good order.
    fn end(&mut self) {
        if self.state == State::Open {
            let _len = self.sender.put(Kind::End, &());
            self.sender.wake();
        }
    }

    fn put(&mut self, entry: &Entry<'_>) {
        match self.state {
            State::Open => match self.sender.put(Kind::Entry, entry) {
                Some(len) => self.written += u64::from(len),
                None => {
                    self.state = State::Lossy(1);
                    self.lost += 1;
                }
            },
            State::Lossy(count) => {
                self.state = State::Lossy(count + 1);
                self.lost += 1;
            }
            State::Fresh => {}
        }
    }

    /// Begins a segment, if there is room for one.
    fn begin(&mut self, engine: &Engine, now: Instant) {
        // A segment that would be torn at once by the next loss is of no use; an open one goes on.
        if !self.sender.has_room() || !now.has_reached(self.rests_until) {
            return;
        }
        let lost = match self.state {
            State::Fresh => None,
            State::Open => Some(0),
            State::Lossy(count) => Some(count),
        };
        let keys = self.keys.get_or_insert_with(|| Keys::of(engine.member().keyring())).clone();
        let notes = self.notes.clone();
        let start = Start { at: now, wall_us: clock::wall_us(), lost, keys, notes, engine };
        if let Some(len) = self.sender.put(Kind::Start, &start) {
            self.state = State::Open;
            self.written = len.into();
            self.now = now;
            self.packer.clear();
        }
    }

    /// What the disk has refused is missing: the next segment begins with the state again.
    fn look_for_faults(&mut self, now: Instant) {
        let (faults, _) = self.sender.faults();
        if faults != self.faults {
            self.faults = faults;
            self.rests_until = now + REST;
            self.state = State::Lossy(match self.state {
                State::Lossy(count) => count,
                State::Fresh | State::Open => 0,
            });
        }
    }
}
