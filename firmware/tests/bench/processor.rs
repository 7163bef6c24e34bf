//! The stories that the processor itself is tried with.

use cortex_m_semihosting::{debug, hprintln};
use heapless::Vec;
use lifesign_core::dongle::{Cause, Settings};
use lifesign_core::frame::{self, Body, Echo, Header, LinkClass, MAX_FRAME_LEN};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, LinkSet, NodeId};
use lifesign_core::relay::PortId;
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::stream::{Deframer, MAX_LINE_LEN, enframe};
use lifesign_core::time::{Duration, Instant};
use lifesign_core::vectors;
use lifesign_firmware::Small;
use lifesign_firmware::dongle::{Board, Pins, Stored};
use lifesign_firmware::events::Ring;

use crate::{board, kept};

/// How many instructions one tick of [`ticks`] is, with one nanosecond for each.
const PER_TICK: u32 = 40;
const ROUNDS: u32 = 200;

/// Runs every story, and ends the emulator.
pub(crate) fn run() -> ! {
    let marked = kept::take_mark();
    if marked.is_some() {
        tell("the watchdog bites a loop that hangs", marked == Some(kept::Fault::Watchdog));
        end(true);
    }
    let Some(peripherals) = cortex_m::Peripherals::take() else { end(false) };
    let mut all = true;
    for (name, case) in vectors::CASES {
        all &= tell(name, case());
    }
    let mut on = board::Board::start(peripherals.SYST);
    all &= tell("the clock goes on over a wrap of its counter", clock_goes_on(&mut on));
    all &= tell("a sleep ends in time", sleep_ends(&mut on));
    all &= tell("frames are verified and passed on", frames_are_passed_on());
    if !all {
        end(false);
    }
    // Nobody feeds the watchdog any more.
    loop {
        core::hint::spin_loop();
    }
}

fn tell(name: &str, is_right: bool) -> bool {
    hprintln!("test {} ... {}", name, if is_right { "ok" } else { "FAILED" });
    is_right
}

fn end(is_right: bool) -> ! {
    hprintln!("test result: {}", if is_right { "ok" } else { "FAILED" });
    loop {
        debug::exit(if is_right { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

/// Sets the counter to just before its wrap and looks at the clock before and after.
fn clock_goes_on(on: &mut board::Board) -> bool {
    board::set_counter(u32::MAX - 500);
    let before = on.now();
    on.sleep(before + Duration::from_millis(20), 0);
    let passed = on.now().since(before);
    board::set_counter(1_000_000);
    let _skipped = on.now();
    passed >= Duration::from_millis(20) && passed < Duration::from_millis(40)
}

fn sleep_ends(on: &mut board::Board) -> bool {
    let before = on.now();
    on.sleep(before + Duration::from_millis(7), 0);
    let passed = on.now().since(before);
    passed >= Duration::from_millis(7) && passed < Duration::from_millis(9)
}

type Dongle = Small<'static, 3, 5>;

/// Lets a server's heartbeats through a dongle, and counts instructions.
fn frames_are_passed_on() -> bool {
    let Some(mut server) = Server::new() else { return false };
    let Some(settings) = server.settings() else { return false };
    let stored = Stored { settings: Some(Ok(settings)), ..Stored::nothing() };
    let ring: &'static mut Ring = kept::ring();
    let on = Board { name: "test", cause: Cause::Unknown };
    let mut dongle = Dongle::new(on, stored, ring, 1, Instant::ZERO);
    let (mut passed, mut spent, mut bytes) = (0u32, 0u32, 0u32);
    let mut now = Instant::ZERO;
    for _ in 0..ROUNDS {
        now = now + Duration::from_millis(20);
        dongle.handle_timeout(Pins::default(), now);
        server.hear(&mut dongle);
        let mut line = [0; MAX_LINE_LEN];
        let Some(len) = server.speak(&mut line) else { return false };
        let line = line.get(..len).unwrap_or_default();
        let began = board::ticks();
        let Some(port) = PortId::new(0) else { return false };
        dongle.handle_bytes(port, line, now);
        spent = spent.saturating_add(began.wrapping_sub(board::ticks()));
        passed = passed.saturating_add(u32::from(is_passed_on(&mut dongle, line)));
        bytes = bytes.saturating_add(u32::try_from(len).unwrap_or(0));
    }
    let each = spent.saturating_mul(PER_TICK) / ROUNDS;
    let len = bytes / ROUNDS;
    hprintln!("figure: {} instructions to verify, judge and pass on {} bytes", each, len);
    passed == ROUNDS
}

/// Takes everything out of ports 1 and 2, and returns whether `line` was there.
fn is_passed_on(dongle: &mut Dongle, line: &[u8]) -> bool {
    let mut copies = 0u32;
    for port in PortId::all().skip(1).take(2) {
        loop {
            let pending = dongle.pending(port);
            if pending.is_empty() {
                break;
            }
            copies = copies.saturating_add(u32::from(pending == line));
            let count = pending.len();
            dongle.sent(port, count);
        }
    }
    copies == 2
}

/// A server at port 0.
struct Server {
    id: NodeId,
    keyring: Keyring,
    deframer: Deframer<MAX_LINE_LEN>,
    sequence: u64,
    echo: Option<Echo>,
}

const CLUSTER: ClusterId = ClusterId(7);
const KEY: [u8; KEY_LEN] = [9; KEY_LEN];

impl Server {
    fn new() -> Option<Self> {
        let keyring = Keyring::new(&[(KeyId(1), Key::new(KEY))], KeyId(1)).ok()?;
        let id = NodeId::new(0)?;
        Some(Self { id, keyring, deframer: Deframer::new(), sequence: 0, echo: None })
    }

    fn settings(&self) -> Option<Settings> {
        Some(Settings {
            cluster: CLUSTER,
            me: NodeId::witness(0)?,
            heartbeat_ms: 20,
            dead_ms: 100,
            longest_promise_ms: 500,
            keys: Vec::from_iter([(KeyId(1), KEY)]),
            signer: KeyId(1),
            pulse_ms: 100,
            distance_ms: 100,
            ports: Vec::new(),
        })
    }

    /// Takes in what the dongle says at port 0, and remembers its newest frame.
    fn hear(&mut self, dongle: &mut Dongle) {
        let Some(port) = PortId::new(0) else { return };
        loop {
            let pending = dongle.pending(port);
            if pending.is_empty() {
                return;
            }
            for byte in pending {
                let Some(Ok(message)) = self.deframer.push(*byte) else { continue };
                if let Ok((header, _)) = frame::decode::<18, 32>(message, CLUSTER, &self.keyring) {
                    let (node, boot, sequence) = (header.sender, header.boot, header.sequence);
                    self.echo = Some(Echo { node, boot, sequence, links: LinkSet::first(1) });
                }
            }
            let count = pending.len();
            dongle.sent(port, count);
        }
    }

    /// Writes its next heartbeat as it goes over the line: it holds two groups.
    fn speak(&mut self, line: &mut [u8]) -> Option<usize> {
        self.sequence = self.sequence.saturating_add(1);
        let header = Header {
            class: LinkClass::Serial,
            link: LinkId::new(0)?,
            sender: self.id,
            key: KeyId(1),
            cluster: CLUSTER,
            boot: BootId::new(5),
            sequence: self.sequence,
        };
        let want = |group, token| {
            let (group, phase) = (GroupId::new(group)?, frame::Phase::Holding);
            Some(frame::Want { group, phase, token: Token(token), promise_ms: 500 })
        };
        let body: Body = Body {
            longest_promise_ms: 500,
            echoes: self.echo.into_iter().collect(),
            wants: [want(0, 1)?, want(1, 2)?].into_iter().collect(),
            ..Body::default()
        };
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header, &body, &self.keyring, &mut buffer);
        enframe(buffer.get(..len)?, line)
    }
}
