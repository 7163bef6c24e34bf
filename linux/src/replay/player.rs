//! An engine that is fed with what was recorded, and watched whether it answers alike.

use lifesign_core::decree::Saying;
use lifesign_core::engine::{Engine, Event};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::GroupId;
use lifesign_core::node::LinkId;
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring, TAG_LEN};
use lifesign_core::time::Instant;

use super::moment::Moment;
use super::notes::Notes;
use super::segment::{Entries, ReadError, Segment};
use crate::log::WallTime;
use crate::record::entry::{Entry, Keys, WRONG_TAG, Wrote, judgement, judgement_text};
use crate::record::pack::Packer;
use crate::settings::Settings;
use crate::view::View;

/// An engine on its way through a recording.
#[derive(Debug)]
pub struct Player {
    engine: Engine,
    settings: Settings,
    node: String,
    program: String,
    notes: Notes,
    packer: Packer,
    /// The beginning of the segment by both clocks.
    begun: (Instant, u64),
    now: Instant,
    lost: Option<u64>,
    /// What has come in or gone out, and waits for the result that was recorded.
    pending: Option<Pending>,
    counts: Counts,
    /// Whether the segment was read to an end that is none of a crash.
    is_complete: bool,
}

/// How much was reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many inputs were fed.
    pub inputs: u64,
    /// How many frames were written again.
    pub frames: u64,
    /// How many decisions came out again.
    pub decisions: u64,
}

#[derive(Debug)]
enum Pending {
    /// A frame that waits for what became of it, because that says how its tag was.
    Frame { link: LinkId, message: Vec<u8>, tag: u8 },
    /// What the engine wrote.
    Wrote(Option<Wrote>),
}

/// What one entry was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that people are told.
    Quiet,
    /// The engine has decided something.
    Decided(Event),
    /// The operator wants this node free of a group, or of all.
    Standby(Option<GroupId>),
    /// The operator wants a group here, or all.
    Takeover(Option<GroupId>),
    /// The operator said something to the whole cluster, and it was passed on.
    Said(Saying),
    /// The node leaves.
    Leave,
    /// Other keys are in use.
    Keys(Keys),
    /// Somebody was told how things are.
    Told,
}

/// Something that did not come out as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: String,
    /// What was recorded.
    pub recorded: String,
    /// What came out.
    pub came_out: String,
}

impl Player {
    /// Makes the player of `segment`, and returns it with the entries to feed it.
    ///
    /// # Errors
    /// The state that the segment begins with contradicts itself.
    pub fn new(segment: Segment<'_>) -> Result<(Self, Entries<'_>), ReadError> {
        let Segment { origin, settings, start, entries } = segment;
        let keyring = keyring(&start.keys).ok_or(ReadError::Contradiction)?;
        let engine = start.engine.with_keyring(keyring).map_err(|_| ReadError::Contradiction)?;
        let player = Self {
            engine,
            settings,
            node: origin.node,
            program: origin.program,
            notes: Notes::new(start.notes),
            packer: Packer::default(),
            begun: (start.at, start.wall_us),
            now: start.at,
            lost: start.lost,
            pending: None,
            counts: Counts::default(),
            is_complete: false,
        };
        Ok((player, entries))
    }

    /// Feeds one entry.
    ///
    /// # Errors
    /// Something did not come out as recorded.
    pub fn feed(&mut self, entry: &Entry<'_>) -> Result<Step, Difference> {
        if let Some(now) = self.moment_of(entry) {
            self.now = now;
            self.counts.inputs += 1;
            if self.pending.is_some() {
                return Err(self.out_of_place(entry));
            }
        }
        let now = self.now;
        match entry {
            Entry::Check(_) => self.engine.check_authority(now),
            Entry::Timeout(_) => self.engine.handle_timeout(now),
            Entry::Frame { link, packed, tag, .. } => {
                let unpacked = self.packer.unpack(*link, packed);
                let (link, tag) = (LinkId::new(*link), *tag);
                let (Some(link), Some(message)) = (link, unpacked) else {
                    return Err(self.out_of_place(entry));
                };
                self.pending = Some(Pending::Frame { link, message, tag });
            }
            Entry::Judged(judged) => return self.hear(*judged, entry),
            Entry::Event(event) => return self.compare_event(*event),
            Entry::Transmit(_) => self.pending = Some(Pending::Wrote(self.transmit())),
            Entry::Wrote(wrote) => return self.compare_frame(*wrote, entry),
            Entry::Started(_, group, good) => self.engine.handle_started(*group, *good, now),
            Entry::Stopped(_, group, good) => self.engine.handle_stopped(*group, *good, now),
            Entry::Failed(_, group) => self.engine.handle_failed(*group, now),
            Entry::Able(_, group, able) => self.engine.handle_able(*group, *able, now),
            Entry::Reserved(_, token) => self.engine.handle_reserved(*token, now),
            Entry::Fenced(_, node, boot) => self.engine.handle_fenced(*node, *boot, now),
            Entry::Standby(_, group) => {
                self.engine.handle_standby(*group, now);
                return Ok(Step::Standby(*group));
            }
            Entry::Takeover(_, group) => {
                self.engine.handle_takeover(*group, now);
                return Ok(Step::Takeover(*group));
            }
            Entry::Saying(_, saying) => {
                let said = self.engine.handle_saying(saying, now);
                return Ok(if said.is_ok() { Step::Said(*saying) } else { Step::Quiet });
            }
            Entry::Leave(_) => {
                self.engine.handle_leave(now);
                return Ok(Step::Leave);
            }
            Entry::Keys(keys) => {
                let keyring = keyring(keys).ok_or_else(|| self.out_of_place(entry))?;
                self.engine.set_keyring(keyring);
                return Ok(Step::Keys(keys.clone()));
            }
            Entry::Note(note) => self.notes.take(note),
            Entry::Told(_) => return Ok(Step::Told),
        }
        Ok(Step::Quiet)
    }

    /// Feeds what still waits for its result: the last input before a daemon died. Whatever comes
    /// of it, nothing was recorded to compare it with.
    ///
    /// # Errors
    /// None at present: the engine takes it or refuses it.
    pub fn finish(&mut self) -> Result<(), Difference> {
        if let Some(Pending::Frame { link, message, tag }) = self.pending.take() {
            let bytes = tagged(&message, tag, false);
            let _unknown = self.engine.handle_frame(link, &bytes, self.now);
        }
        Ok(())
    }

    fn hear(&mut self, judged: u8, entry: &Entry<'_>) -> Result<Step, Difference> {
        let Some(Pending::Frame { link, message, tag }) = self.pending.take() else {
            return Err(self.out_of_place(entry));
        };
        let bytes = tagged(&message, tag, judged == WRONG_TAG);
        let result = judgement(&self.engine.handle_frame(link, &bytes, self.now));
        if result == judged {
            return Ok(Step::Quiet);
        }
        Err(Difference {
            what: format!("a frame of {} bytes over link {}", bytes.len(), link.number()),
            recorded: judgement_text(judged),
            came_out: judgement_text(result),
        })
    }

    fn compare_event(&mut self, recorded: Option<Event>) -> Result<Step, Difference> {
        let event = self.engine.poll_event();
        if event != recorded {
            let text = |event: Option<Event>| {
                event.map_or_else(|| "nothing".to_owned(), |event| format!("{event:?}"))
            };
            return Err(Difference {
                what: "what was decided".to_owned(),
                recorded: text(recorded),
                came_out: text(event),
            });
        }
        self.counts.decisions += u64::from(event.is_some());
        Ok(event.map_or(Step::Quiet, Step::Decided))
    }

    fn transmit(&mut self) -> Option<Wrote> {
        let mut buffer = [0; MAX_FRAME_LEN];
        let transmit = self.engine.poll_transmit(self.now, &mut buffer)?;
        Some(Wrote::of(transmit.link.number(), buffer.get(..transmit.len)?))
    }

    fn compare_frame(
        &mut self,
        recorded: Option<Wrote>,
        entry: &Entry<'_>,
    ) -> Result<Step, Difference> {
        let Some(Pending::Wrote(wrote)) = self.pending.take() else {
            return Err(self.out_of_place(entry));
        };
        if wrote != recorded {
            let text = |wrote: Option<Wrote>| match wrote {
                None => "nothing".to_owned(),
                Some(Wrote { link, len, check }) => {
                    format!("{len} bytes for link {link} with the check {check:08x}")
                }
            };
            return Err(Difference {
                what: "a frame to send".to_owned(),
                recorded: text(recorded),
                came_out: text(wrote),
            });
        }
        self.counts.frames += u64::from(wrote.is_some());
        Ok(Step::Quiet)
    }

    fn out_of_place(&self, entry: &Entry<'_>) -> Difference {
        Difference {
            what: "the order of entries".to_owned(),
            recorded: format!("{entry:?}"),
            came_out: match &self.pending {
                Some(_) => "an input whose result is missing".to_owned(),
                None => "nothing that this could belong to".to_owned(),
            },
        }
    }

    /// Returns the moment of an input, or `None` if `entry` is none.
    #[must_use]
    pub fn moment_of(&self, entry: &Entry<'_>) -> Option<Instant> {
        let after = match entry {
            Entry::Check(after)
            | Entry::Frame { after, .. }
            | Entry::Timeout(after)
            | Entry::Transmit(after)
            | Entry::Started(after, ..)
            | Entry::Stopped(after, ..)
            | Entry::Failed(after, _)
            | Entry::Able(after, ..)
            | Entry::Reserved(after, _)
            | Entry::Fenced(after, ..)
            | Entry::Standby(after, _)
            | Entry::Takeover(after, _)
            | Entry::Leave(after)
            | Entry::Saying(after, _)
            | Entry::Told(after) => *after,
            Entry::Judged(_)
            | Entry::Event(_)
            | Entry::Wrote(_)
            | Entry::Keys(_)
            | Entry::Note(_) => return None,
        };
        Some(Instant::from_micros(self.now.as_micros().wrapping_add_signed(after)))
    }

    /// Returns the moment of the last input.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns `moment` on the machine's clock.
    #[must_use]
    pub fn clock(&self, moment: Moment) -> Instant {
        let (at, wall_us) = self.begun;
        Instant::from_micros(match moment {
            Moment::Clock(micros) => micros,
            Moment::Wall(micros) => at.as_micros().saturating_add(micros).saturating_sub(wall_us),
        })
    }

    /// Returns a moment on the wall clock, in microseconds since 1970.
    #[must_use]
    pub fn wall_us(&self, moment: Instant) -> u64 {
        let (at, wall_us) = self.begun;
        wall_us.saturating_add(moment.as_micros()).saturating_sub(at.as_micros())
    }

    /// Returns the moment of the last input by both clocks, as the log writes it.
    #[must_use]
    pub fn stamp(&self) -> String {
        let micros = self.now.as_micros();
        let wall = WallTime { micros: self.wall_us(self.now) };
        format!("{wall} [{}.{:06}]", micros / 1_000_000, micros % 1_000_000)
    }

    /// Returns how many entries before this segment are lost; `None` if it is the first of a start.
    #[must_use]
    pub const fn lost(&self) -> Option<u64> {
        self.lost
    }

    /// Returns how much was reproduced.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the version of the program that recorded this, if it is another one than this.
    #[must_use]
    pub fn other_program(&self) -> Option<&str> {
        Some(self.program.as_str()).filter(|program| *program != env!("CARGO_PKG_VERSION"))
    }

    /// Returns whether the segment was read to an end that is none of a crash.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes note whether the segment was read to such an end.
    pub fn set_complete(&mut self, is_complete: bool) {
        self.is_complete = is_complete;
    }

    /// Returns whether this engine is in the state that `before` has reached.
    #[must_use]
    pub fn goes_on_from(&self, before: &Self) -> bool {
        self.engine == before.engine
    }

    /// Returns the engine with everything that its words need.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { settings: &self.settings, engine: &self.engine, around: &self.notes }
    }
}

/// The keys of a replay are made up: the true ones are in no recording.
fn key(id: KeyId) -> Key {
    Key::new([id.0; KEY_LEN]).derive(b"lifesign replay")
}

/// Returns a keyring with the ids `keys`, or `None` if there can be none.
fn keyring(keys: &Keys) -> Option<Keyring> {
    let pairs: Vec<(KeyId, Key)> = keys.ids.iter().map(|id| (*id, key(*id))).collect();
    Keyring::new(&pairs, keys.signer).ok()
}

/// Returns the frame `message` with a tag of `len` bytes, right for the key that it names unless
/// `is_wrong`.
fn tagged(message: &[u8], len: u8, is_wrong: bool) -> Vec<u8> {
    let id = KeyId(message.get(KEY_AT).copied().unwrap_or(0));
    let mut tag = Keyring::new(&[(id, key(id))], id).map_or([0; TAG_LEN], |ring| ring.tag(message));
    if is_wrong {
        tag[0] ^= 1;
    }
    let mut bytes = message.to_vec();
    bytes.extend(tag.into_iter().take(len.into()));
    bytes
}

/// Where the id of its key stands in a frame.
const KEY_AT: usize = 3;
