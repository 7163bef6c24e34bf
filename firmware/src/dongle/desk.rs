//! Where messages are sorted, and requests of people and servers answered.

use lifesign_core::dongle::{self, Event, NotProvisioned, Reply, Sealed, Settings, What};
use lifesign_core::group::Token;
use lifesign_core::node::BootId;
use lifesign_core::relay::{NotForwarded, Origin, PortId, PortSet, Relay};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::{Duration, Instant};

use super::post::{Beginning, Judged, Post};
use super::{Board, Damaged, Pins, Save, Stored};
use crate::events::Ring;
use crate::lights::{Leds, Light};
/// After this long, what could not be stored is tried again, and an alarm is over.
const WHILE: Duration = Duration::from_millis(60_000);

/// What has come in at one port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    pub(super) received: u32,
    pub(super) garbage: u32,
    pub(super) refused: u32,
    pub(super) overruns: u32,
}

/// What is being saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saving {
    Settings,
    Tokens(Token),
    Wait(Duration),
}

/// Everything of a dongle but the finding of messages in bytes.
#[derive(Debug)]
pub(super) struct Desk<
    'r,
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
> {
    pub(super) ring: &'r mut Ring,
    pub(super) relay: Relay<PORTS, SLOTS, LINE, ECHOES>,
    pub(super) now: Instant,
    pub(super) board: Board,
    pub(super) post: Option<Post<PORTS, MEMBERS, ECHOES, GROUPS>>,
    pub(super) arrivals: [Arrivals; PORTS],
    pub(super) pins: Pins,
    pub(super) starts: Option<u32>,
    tokens: Token,
    wait: Duration,
    pub(super) boot: BootId,
    seed: u64,
    /// How often something was drawn from the seed.
    draws: u32,
    pub(super) challenge: u64,
    /// Settings that are to be stored, and where they came in.
    pub(super) offered: Option<(Settings, PortId)>,
    /// Tokens that are to be stored.
    owed: Option<Token>,
    saving: Option<Saving>,
    /// Nothing but settings is stored before.
    retry: Instant,
    /// The alarm is on until then.
    alarm: Instant,
}

impl<
    'r,
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
> Desk<'r, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE>
{
    pub(super) fn idle(board: Board, ring: &'r mut Ring, seed: u64, now: Instant) -> Self {
        Self {
            ring,
            relay: Relay::new(),
            now,
            board,
            post: None,
            arrivals: [Arrivals::default(); PORTS],
            pins: Pins::default(),
            starts: None,
            tokens: Token(0),
            wait: Duration::ZERO,
            boot: BootId::new(seed),
            seed,
            draws: 0,
            challenge: 0,
            offered: None,
            owed: None,
            saving: None,
            retry: now,
            alarm: now,
        }
    }

    /// Goes on from what the store held.
    pub(super) fn begin(&mut self, stored: Stored) {
        let Stored { settings, starts, tokens, wait } = stored;
        (self.starts, self.tokens, self.wait) = (starts, tokens, wait);
        let [low, high, ..] = starts.unwrap_or(0).to_le_bytes();
        self.note(What::Started(self.board.cause, u16::from_le_bytes([low, high])));
        if starts.is_none() {
            self.note(What::StoreFailed);
        }
        let read = settings.map(|read| {
            let settings = read.map_err(|Damaged| NotProvisioned::Store)?;
            Post::<PORTS, MEMBERS, ECHOES, GROUPS>::check(&settings).map(|()| settings)
        });
        match read {
            None => {}
            Some(Ok(settings)) => self.take_up(settings, self.now),
            Some(Err(wrong)) => self.note(What::NotProvisioned(wrong)),
        }
        self.challenge = self.draw();
    }

    /// Takes in a message, whatever it is.
    pub(super) fn handle_message(&mut self, port: PortId, message: &[u8], now: Instant) {
        self.now = self.now.max(now);
        self.count(port, |arrivals| &mut arrivals.received);
        if dongle::is_dongle_message(message) {
            self.handle_request(port, message);
            return;
        }
        let Some(post) = &mut self.post else { return };
        match post.handle_frame(port, message, self.now) {
            Judged::Authentic => self.forward(port, message),
            Judged::TooLarge => {
                self.forward(port, message);
                self.note(What::TooLarge(port.number()));
            }
            Judged::Loop => self.alarm(port, What::Loop(port.number())),
            Judged::Forged => self.alarm(port, What::Forged(port.number())),
            Judged::Foreign => self.count(port, |arrivals| &mut arrivals.refused),
        }
        self.note_changes();
        self.speak();
    }

    /// Takes note of bytes that are no message.
    pub(super) fn handle_garbage(&mut self, port: PortId) {
        self.count(port, |arrivals| &mut arrivals.garbage);
    }

    pub(super) fn set_overruns(&mut self, port: PortId, count: u32) {
        if let Some(arrivals) = self.arrivals.get_mut(port.index()) {
            arrivals.overruns = count;
        }
    }

    pub(super) fn handle_timeout(&mut self, pins: Pins, now: Instant) {
        self.now = self.now.max(now);
        self.pins = pins;
        let Some(post) = &mut self.post else { return };
        if let Some((answer, port, what)) = post.handle_timeout(pins.lines, self.now) {
            self.note(what);
            if let Some(port) = port {
                self.reply(port, &Reply::Reset(answer), Sealed::Yes);
            }
        }
        self.note_changes();
        self.speak();
    }

    pub(super) fn poll_save(&mut self) -> Option<Save<'_>> {
        if self.offered.is_some() {
            let wait = self.wait_with(self.offered.as_ref()?);
            self.saving = Some(Saving::Settings);
            let (settings, _) = self.offered.as_ref()?;
            return Some(Save::Settings { settings, wait });
        }
        let post = self.post.as_mut().filter(|_| self.starts.is_some())?;
        self.owed = post.witness.poll_reserve().or(self.owed);
        if !self.now.has_reached(self.retry) {
            return None;
        }
        if let Some(tokens) = self.owed {
            self.saving = Some(Saving::Tokens(tokens));
            return Some(Save::Tokens(tokens));
        }
        let longest = post.witness.member().voter.longest();
        if self.wait > longest && self.now.has_reached(post.ready()) {
            self.saving = Some(Saving::Wait(longest));
            return Some(Save::Wait(longest));
        }
        None
    }

    pub(super) fn handle_saved(&mut self, saved: bool, now: Instant) {
        self.now = self.now.max(now);
        let saving = self.saving.take();
        if !saved && saving.is_some() {
            self.note(What::StoreFailed);
            self.alarm = self.now + WHILE;
            self.retry = self.now + WHILE;
        }
        match saving {
            Some(Saving::Settings) => self.settle(saved),
            Some(Saving::Tokens(tokens)) if saved => {
                self.tokens = tokens;
                self.owed = None;
                if let Some(post) = &mut self.post {
                    post.witness.handle_reserved(tokens, self.now);
                }
                self.speak();
            }
            Some(Saving::Wait(wait)) if saved => self.wait = wait,
            Some(Saving::Tokens(_) | Saving::Wait(_)) | None => {}
        }
    }

    pub(super) fn lines(&self) -> PortSet {
        self.post.as_ref().map_or(PortSet::EMPTY, Post::lines)
    }

    pub(super) fn leds(&self, now: Instant) -> Leds {
        let life = if self.post.is_some() { Light::Slow } else { Light::Fast };
        let witness = match &self.post {
            Some(post) if self.promises() && post.hears().is_empty() => Light::Slow,
            Some(_) if self.promises() => Light::Lit,
            Some(_) | None => Light::Dark,
        };
        let is_alarmed = !self.now.has_reached(self.alarm) || self.starts.is_none();
        let alarm = match self.lines().is_empty() {
            false => Light::Lit,
            true if is_alarmed => Light::Slow,
            true => Light::Dark,
        };
        Leds { life: life.is_lit(now), witness: witness.is_lit(now), alarm: alarm.is_lit(now) }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.post.as_ref().map_or(self.now + WHILE, Post::poll_timeout)
    }

    /// Goes on by the offered settings, or without them.
    fn settle(&mut self, saved: bool) {
        let Some(offered) = self.offered.take() else { return };
        if !saved {
            let refused = Reply::Provisioned(Err(NotProvisioned::Store));
            return self.reply(offered.1, &refused, Sealed::No);
        }
        self.wait = self.wait_with(&offered);
        let (settings, port) = offered;
        // What waits was said under other settings, perhaps in another cluster.
        PortId::all().take(PORTS).for_each(|port| self.relay.clear(port));
        self.take_up(settings, self.now);
        self.challenge = self.draw();
        self.note(What::Provisioned);
        self.reply(port, &Reply::Provisioned(Ok(())), Sealed::No);
    }

    /// Returns how long promises can last once the offered settings are in force.
    fn wait_with(&self, offered: &(Settings, PortId)) -> Duration {
        let longest = Duration::from_millis(offered.0.longest_promise_ms.into());
        self.wait.max(longest)
    }

    fn take_up(&mut self, settings: Settings, now: Instant) {
        self.post = None;
        let Some(keyring) = settings.keyring() else { return };
        self.boot = BootId::new(self.draw_by(Some(&keyring)));
        let control = keyring.derive(dongle::PURPOSE);
        let tokens = self.starts.map(|_| self.tokens);
        let longest = Duration::from_millis(settings.longest_promise_ms.into());
        self.wait = self.wait.max(longest);
        let beginning = Beginning { boot: self.boot, tokens, wait: self.wait, now };
        self.owed = None;
        self.install(settings, (keyring, control), &beginning);
    }

    /// Fills the post. A function of its own, because it needs much of the stack and calls little.
    #[inline(never)]
    fn install(&mut self, settings: Settings, keys: (Keyring, Keyring), beginning: &Beginning) {
        self.post = Some(Post::new(settings, keys, beginning));
    }

    /// Returns whether it may promise by now.
    pub(super) fn promises(&self) -> bool {
        let ready = self.post.as_ref().map(Post::ready);
        self.starts.is_some() && ready.is_some_and(|ready| self.now.has_reached(ready))
    }

    /// Sends the witness's frames that are due out of every port.
    fn speak(&mut self) {
        let Some(post) = &mut self.post else { return };
        let mut buffer = [0; LINE];
        while let Some(len) = post.witness.poll_broadcast(self.now, &mut buffer) {
            let frame = buffer.get(..len).unwrap_or_default();
            // It has room: it says no more than there is room for here.
            let origin = Origin::Node(post.settings.me);
            let _room = self.relay.send(origin, frame, PortSet::first(PORTS));
        }
    }

    fn forward(&mut self, port: PortId, frame: &[u8]) {
        if self.relay.forward(frame, port) == Err(NotForwarded::TooLong) {
            self.note(What::TooLarge(port.number()));
        }
    }

    fn note_changes(&mut self) {
        while let Some(what) = self.post.as_mut().and_then(Post::poll_change) {
            self.note(what);
        }
    }

    /// Writes down what has happened.
    pub(super) fn note(&mut self, what: What) {
        // Seven weeks fit.
        let at_ms = u32::try_from(self.now.as_micros() / 1000).unwrap_or(u32::MAX);
        self.ring.push(Event { at_ms, what });
    }

    /// Takes note of something at `port` that somebody should look at.
    pub(super) fn alarm(&mut self, port: PortId, what: What) {
        self.count(port, |arrivals| &mut arrivals.refused);
        self.alarm = self.now + WHILE;
        self.note(what);
    }

    /// Counts one more of what came in at `port`.
    pub(super) fn count(&mut self, port: PortId, counter: impl Fn(&mut Arrivals) -> &mut u32) {
        if let Some(counter) = self.arrivals.get_mut(port.index()).map(counter) {
            *counter = counter.saturating_add(1);
        }
    }

    /// Returns a number that nobody can guess who has no key, and that never comes again: the start
    /// and the draw are in it.
    pub(super) fn draw(&mut self) -> u64 {
        let control = self.post.as_ref().map(|post| post.control.clone());
        self.draw_by(control.as_ref())
    }

    #[inline(never)]
    fn draw_by(&mut self, keyring: Option<&Keyring>) -> u64 {
        self.draws = self.draws.wrapping_add(1);
        let mut key = [0; KEY_LEN];
        let mut message = [0; 24];
        let parts = [self.seed.to_le_bytes(), self.boot.bits().to_le_bytes()];
        let counts = [self.starts.unwrap_or(0).to_le_bytes(), self.draws.to_le_bytes()];
        let bytes = parts.as_flattened().iter().chain(counts.as_flattened());
        message.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        key.iter_mut().zip(message).for_each(|(to, from)| *to = from);
        // Without settings there is no key; the seed has to do.
        let own = Keyring::new(&[(KeyId(0), Key::new(key))], KeyId(0)).ok();
        let tag = keyring.or(own.as_ref()).map(|keyring| keyring.tag(&message));
        let tag = tag.unwrap_or_default();
        tag.first_chunk().map_or(self.seed, |drawn| u64::from_le_bytes(*drawn))
    }
}
