//! One dongle, without its hardware: bytes and moments go in; bytes, lines and lights come out.
//!
//! Write this loop around it: what came at a port into [`handle_bytes`](Dongle::handle_bytes); time
//! and pins into [`handle_timeout`](Dongle::handle_timeout); [`poll_save`](Dongle::poll_save) until
//! there is nothing to save; for each port as much of [`pending`](Dongle::pending) as it takes;
//! lines and lights as [`lines`](Dongle::lines) and [`leds`](Dongle::leds) say; then sleep until
//! [`poll_timeout`](Dongle::poll_timeout).

mod desk;
mod post;
mod request;

use lifesign_core::dongle::{Cause, Settings};
use lifesign_core::group::Token;
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::stream::Deframer;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::Witness;

use crate::events::Ring;
use crate::lights::{self, Leds};
use desk::Desk;

/// What a dongle runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// The board's name.
    pub name: &'static str,
    /// Why it started.
    pub cause: Cause,
}

/// The settings in the store have a right check and are not understood: another version of the
/// firmware wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// What the store held at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The settings, if there are any.
    pub settings: Option<Result<Settings, Damaged>>,
    /// How often the dongle has started, this start included; `None` if that could not be stored,
    /// and then it promises nothing.
    pub starts: Option<u32>,
    /// Tokens up to this one may have been promised under.
    pub tokens: Token,
    /// How long promises of earlier starts can last.
    pub wait: Duration,
}

impl Stored {
    /// Returns what a store holds that was never written, at its first start.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { settings: None, starts: Some(1), tokens: Token(0), wait: Duration::ZERO }
    }
}

/// What must outlive a reset. Only when it does, the dongle goes on by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save<'a> {
    /// Other settings, and how long promises can last that were made before them: both or neither.
    Settings {
        /// The settings.
        settings: &'a Settings,
        /// How long promises of earlier starts can last from here on.
        wait: Duration,
    },
    /// Tokens up to this one may have been promised under.
    Tokens(Token),
    /// How long promises of earlier starts can last.
    Wait(Duration),
}

/// What pins say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Somebody who can touch the dongle unlocks it.
    pub unlocked: bool,
    /// The reset lines that are active, read back after they were last set.
    pub lines: PortSet,
}

/// A dongle with `PORTS` ports and room for the nodes with the first `MEMBERS` ids, `GROUPS`
/// groups, `ECHOES` others that a node hears, `SLOTS` messages on their way out, `LINE` bytes of a
/// message on the line, zeros included, and `HELD` without them.
///
/// [`Small`](crate::Small) and [`Large`](crate::Large) are two of them.
#[derive(Debug)]
pub struct Dongle<
    'r,
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
    const HELD: usize,
> {
    deframers: [Deframer<HELD>; PORTS],
    desk: Desk<'r, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE>,
}

impl<
    'r,
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
    const HELD: usize,
> Dongle<'r, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE, HELD>
{
    const LENGTHS: () = assert!(HELD + 2 == LINE, "what comes in can go out");

    /// Starts a dongle. `seed` is as random as the board can make it, and `ring` holds what earlier
    /// starts have written, if memory has kept it.
    #[must_use]
    pub fn new(board: Board, stored: Stored, ring: &'r mut Ring, seed: u64, now: Instant) -> Self {
        let mut dongle = Self::idle(board, ring, seed, now);
        dongle.begin(stored);
        dongle
    }

    /// Returns a dongle as [`new`](Self::new) does, but one that knows nothing yet of what the
    /// store held: tell it next, by [`begin`](Self::begin). In two steps neither needs much of the
    /// stack at once.
    #[must_use]
    pub fn idle(board: Board, ring: &'r mut Ring, seed: u64, now: Instant) -> Self {
        let () = Self::LENGTHS;
        Self {
            deframers: [const { Deframer::new() }; PORTS],
            desk: Desk::idle(board, ring, seed, now),
        }
    }

    /// Goes on from what the store held. To be called once, before anything else.
    pub fn begin(&mut self, stored: Stored) {
        self.desk.begin(stored);
    }

    /// Takes in what came at `port`.
    pub fn handle_bytes(&mut self, port: PortId, bytes: &[u8], now: Instant) {
        let Self { deframers, desk } = self;
        let Some(deframer) = deframers.get_mut(port.index()) else { return };
        for byte in bytes {
            match deframer.push(*byte) {
                Some(Ok(message)) => desk.handle_message(port, message, now),
                Some(Err(_)) => desk.handle_garbage(port),
                None => {}
            }
        }
    }

    /// Takes note that `count` bytes in all were lost at `port` because nobody took them in time.
    pub fn set_overruns(&mut self, port: PortId, count: u32) {
        self.desk.set_overruns(port, count);
    }

    /// Does what is due by `now`. Calling it early or often changes nothing.
    pub fn handle_timeout(&mut self, pins: Pins, now: Instant) {
        self.desk.handle_timeout(pins, now);
    }

    /// Returns what is left of the bytes that `port` is sending; empty if there is nothing. Say
    /// with [`sent`](Self::sent) how many have gone.
    pub fn pending(&mut self, port: PortId) -> &[u8] {
        self.desk.relay.pending(port)
    }

    /// Takes note that `count` of the pending bytes of `port` have gone.
    pub fn sent(&mut self, port: PortId, count: usize) {
        self.desk.relay.sent(port, count);
    }

    /// Returns what must be saved; say with [`handle_saved`](Self::handle_saved) whether it was,
    /// and ask again.
    #[must_use]
    pub fn poll_save(&mut self) -> Option<Save<'_>> {
        self.desk.poll_save()
    }

    /// Takes note whether what [`poll_save`](Self::poll_save) returned last is saved. What is not
    /// is asked for again after a while, except settings, which are refused.
    pub fn handle_saved(&mut self, saved: bool, now: Instant) {
        self.desk.handle_saved(saved, now);
    }

    /// Returns the reset lines that are to be active: at most one.
    #[must_use]
    pub fn lines(&self) -> PortSet {
        self.desk.lines()
    }

    /// Returns the lights that are to be lit.
    #[must_use]
    pub fn leds(&self, now: Instant) -> Leds {
        self.desk.leds(now)
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work, or a light changes; ask
    /// again after every call.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let now = self.desk.now;
        self.desk.poll_timeout().min(lights::next_change(now))
    }

    /// Returns the witness, if the dongle is provisioned.
    #[must_use]
    pub fn witness(&self) -> Option<&Witness<MEMBERS, ECHOES, GROUPS, PORTS>> {
        self.desk.post.as_ref().map(|post| &post.witness)
    }

    /// Returns the events.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        self.desk.ring
    }
}
