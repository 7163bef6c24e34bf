//! The dongle's firmware on a board of its own: a store that outlives resets, and pins.

use lifesign_core::dongle::{Cause, PortSettings, Settings};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::Token;
use lifesign_core::node::{ClusterId, NodeId};
use lifesign_core::relay::PortId;
use lifesign_core::stream::line_len;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::Witness;
use lifesign_firmware::dongle::{Board, Pins, Save, Stored};
use lifesign_firmware::events::Ring;

use super::setup::Setup;
use super::{GROUPS, MEMBERS, keyring};

/// What a dongle keeps over its starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store {
    starts: u32,
    tokens: Token,
    wait: Duration,
}

impl Store {
    pub(super) const fn new() -> Self {
        Self { starts: 0, tokens: Token(0), wait: Duration::ZERO }
    }
}

/// The firmware with tables like those of the simulated servers.
type Firmware = lifesign_firmware::dongle::Dongle<
    'static,
    4,
    MEMBERS,
    MEMBERS,
    GROUPS,
    10,
    { line_len(MAX_FRAME_LEN) },
    { line_len(MAX_FRAME_LEN) - 2 },
>;

/// A dongle that runs.
#[derive(Debug)]
pub(super) struct Dongle {
    inner: Firmware,
}

impl Dongle {
    /// Starts a dongle that was set up for the cluster of `setup`.
    pub(super) fn new(
        setup: &Setup,
        me: NodeId,
        store: &mut Store,
        seed: u64,
        now: Instant,
    ) -> Self {
        store.starts += 1;
        let stored = Stored {
            settings: Some(Ok(settings(setup, me))),
            starts: Some(store.starts),
            tokens: store.tokens,
            wait: store.wait,
        };
        let board = Board { name: "simulated", cause: Cause::Unknown };
        // It borrows its ring for good, as on a board; a start costs the test half a kilobyte.
        let ring = Box::leak(Box::new(Ring::new()));
        Self { inner: Firmware::new(board, stored, ring, seed, now) }
    }

    pub(super) fn handle_bytes(&mut self, port: PortId, bytes: &[u8], now: Instant) {
        self.inner.handle_bytes(port, bytes, now);
    }

    /// Does what is due by `now`; the line that is driven reads as active if it `follows`.
    pub(super) fn handle_timeout(&mut self, follows: bool, store: &mut Store, now: Instant) {
        let lines = if follows { self.inner.lines() } else { Default::default() };
        self.inner.handle_timeout(Pins { unlocked: false, lines }, now);
        while let Some(save) = self.inner.poll_save() {
            match save {
                Save::Settings { wait, .. } | Save::Wait(wait) => store.wait = wait,
                Save::Tokens(tokens) => store.tokens = tokens,
            }
            self.inner.handle_saved(true, now);
        }
    }

    /// Returns the witness that it is.
    pub(super) fn witness(&self) -> Option<&Witness<MEMBERS, MEMBERS, GROUPS, 4>> {
        self.inner.witness()
    }

    /// Returns the number of its newest frame, 0 before the first.
    pub(super) fn sequence(&self) -> u64 {
        self.witness().map_or(0, |witness| witness.member().sequence.newest())
    }

    /// Returns whose reset line is active. The server at each port has the port's number.
    pub(super) fn line(&self) -> Option<u8> {
        self.inner.lines().iter().next().map(PortId::number)
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.inner.poll_timeout()
    }

    pub(super) fn pending(&mut self, port: PortId) -> &[u8] {
        self.inner.pending(port)
    }

    pub(super) fn sent(&mut self, port: PortId, count: usize) {
        self.inner.sent(port, count);
    }
}

fn settings(setup: &Setup, me: NodeId) -> Settings {
    let millis = |span: u64| u32::try_from(span).expect("a span of a test");
    let (pulse, distance) = setup.pulse_ms;
    let short = |span: u64| u16::try_from(span).expect("a span of a test");
    let port = |number| PortSettings { resets: NodeId::new(number), ..PortSettings::default() };
    let keys = keyring();
    Settings {
        cluster: ClusterId(7),
        me,
        heartbeat_ms: millis(setup.heartbeat_ms),
        dead_ms: millis(setup.dead_ms),
        longest_promise_ms: millis(setup.promise_ms),
        keys: keys.secrets().map(|(id, bytes)| (id, *bytes)).collect(),
        signer: keys.signer(),
        pulse_ms: short(pulse),
        distance_ms: short(distance),
        ports: (0..setup.nodes).map(port).collect(),
    }
}
