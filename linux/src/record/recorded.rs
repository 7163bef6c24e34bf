//! An engine whose every change is recorded.

use std::ops::Deref;

use lifesign_core::decree::{Saying, Stamp};
use lifesign_core::engine::{Engine, Event, Transmit, Unsaid};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::{GroupId, Token};
use lifesign_core::member::{Heard, Rejected};
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::seal::Keyring;
use lifesign_core::time::Instant;

use super::entry::{Entry, Keys, Note, Wrote, judgement};
use super::{Health, Recorder};

/// An engine, and the recorder of everything that changes it, if there is one. For reading it is
/// the engine itself.
#[derive(Debug)]
pub struct Recorded {
    engine: Engine,
    recorder: Option<Recorder>,
}

impl Deref for Recorded {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Recorded {
    /// Returns `engine` with its recorder.
    #[must_use]
    pub const fn new(engine: Engine, recorder: Option<Recorder>) -> Self {
        Self { engine, recorder }
    }

    /// See [`Engine::handle_frame`].
    ///
    /// # Errors
    /// Says why the frame is not taken in.
    pub fn handle_frame(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Heard, Rejected> {
        if let Some(recorder) = &mut self.recorder {
            recorder.frame(&self.engine, now, link.number(), bytes);
        }
        let result = self.engine.handle_frame(link, bytes, now);
        self.outcome(|| Entry::Judged(judgement(&result)));
        result
    }

    /// See [`Engine::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.input(now, Entry::Timeout);
        self.engine.handle_timeout(now);
    }

    /// See [`Engine::check_authority`].
    pub fn check_authority(&mut self, now: Instant) {
        self.input(now, Entry::Check);
        self.engine.check_authority(now);
    }

    /// See [`Engine::poll_event`].
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.engine.poll_event();
        self.outcome(|| Entry::Event(event));
        event
    }

    /// See [`Engine::poll_transmit`].
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        buffer: &mut [u8; MAX_FRAME_LEN],
    ) -> Option<Transmit> {
        self.input(now, Entry::Transmit);
        let transmit = self.engine.poll_transmit(now, buffer);
        self.outcome(|| {
            Entry::Wrote(transmit.map(|transmit| {
                Wrote::of(transmit.link.number(), buffer.get(..transmit.len).unwrap_or(buffer))
            }))
        });
        transmit
    }

    /// See [`Engine::handle_started`].
    pub fn handle_started(&mut self, group: GroupId, started: bool, now: Instant) {
        self.input(now, |after| Entry::Started(after, group, started));
        self.engine.handle_started(group, started, now);
    }

    /// See [`Engine::handle_stopped`].
    pub fn handle_stopped(&mut self, group: GroupId, stopped: bool, now: Instant) {
        self.input(now, |after| Entry::Stopped(after, group, stopped));
        self.engine.handle_stopped(group, stopped, now);
    }

    /// See [`Engine::handle_failed`].
    pub fn handle_failed(&mut self, group: GroupId, now: Instant) {
        self.input(now, |after| Entry::Failed(after, group));
        self.engine.handle_failed(group, now);
    }

    /// See [`Engine::handle_able`].
    pub fn handle_able(&mut self, group: GroupId, able: bool, now: Instant) {
        self.input(now, |after| Entry::Able(after, group, able));
        self.engine.handle_able(group, able, now);
    }

    /// See [`Engine::handle_reserved`].
    pub fn handle_reserved(&mut self, reserved: Token, now: Instant) {
        self.input(now, |after| Entry::Reserved(after, reserved));
        self.engine.handle_reserved(reserved, now);
    }

    /// See [`Engine::handle_fenced`].
    pub fn handle_fenced(&mut self, node: NodeId, boot: Option<BootId>, now: Instant) {
        self.input(now, |after| Entry::Fenced(after, node, boot));
        self.engine.handle_fenced(node, boot, now);
    }

    /// See [`Engine::handle_standby`].
    pub fn handle_standby(&mut self, group: Option<GroupId>, now: Instant) {
        self.input(now, |after| Entry::Standby(after, group));
        self.engine.handle_standby(group, now);
    }

    /// See [`Engine::handle_takeover`].
    pub fn handle_takeover(&mut self, group: Option<GroupId>, now: Instant) {
        self.input(now, |after| Entry::Takeover(after, group));
        self.engine.handle_takeover(group, now);
    }

    /// See [`Engine::handle_saying`].
    ///
    /// # Errors
    /// Says why it is not said.
    pub fn handle_saying(&mut self, saying: &Saying, now: Instant) -> Result<Stamp, Unsaid> {
        self.input(now, |after| Entry::Saying(after, *saying));
        self.engine.handle_saying(saying, now)
    }

    /// See [`Engine::handle_leave`].
    pub fn handle_leave(&mut self, now: Instant) {
        self.input(now, Entry::Leave);
        self.engine.handle_leave(now);
    }

    /// See [`Engine::set_keyring`].
    pub fn set_keyring(&mut self, keyring: Keyring) {
        if let Some(recorder) = &mut self.recorder {
            let keys = Keys::of(&keyring);
            recorder.keys = Some(keys.clone());
            recorder.outcome(&Entry::Keys(keys));
        }
        self.engine.set_keyring(keyring);
    }

    /// Takes note of what explanations refer to besides the engine; `make` is called only if that
    /// is recorded.
    pub fn note(&mut self, make: impl FnOnce() -> Note) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(make());
        }
    }

    /// Takes note that somebody was told how things are.
    pub fn told(&mut self, now: Instant) {
        self.input(now, Entry::Told);
    }

    /// Returns whether anything is recorded.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Returns how the recording is doing, if there is one.
    #[must_use]
    pub fn recording(&self) -> Option<Health> {
        self.recorder.as_ref().map(Recorder::health)
    }

    /// Ends the recording in good order.
    pub fn end_recording(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end();
        }
    }

    fn input<'a>(&mut self, now: Instant, entry: impl FnOnce(i64) -> Entry<'a>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&self.engine, now, entry);
        }
    }

    fn outcome<'a>(&mut self, entry: impl FnOnce() -> Entry<'a>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.outcome(&entry());
        }
    }
}
