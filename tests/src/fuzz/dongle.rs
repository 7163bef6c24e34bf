//! A dongle, whatever comes over its lines.

use lifesign_core::dongle::{
    self, Cause, MAX_MESSAGE_LEN, OPEN, PURPOSE, PortSettings, Reply, Request, SEALED, Sealed,
    Settings,
};
use lifesign_core::frame::{self, Echo, Header, LinkClass, Phase, Want};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, LinkSet, NodeId};
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::reset::{Arm, Fire, Outcome, RequestId};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::stream::{self, Deframer, MAX_LINE_LEN, line_len};
use lifesign_core::time::{Duration, Instant};
use lifesign_firmware::dongle::{Board, Damaged, Dongle, Pins, Save, Stored};
use lifesign_firmware::events::Ring;
use lifesign_firmware::{Large, Small};

use super::frame::{CLUSTER, KEYRINGS, KEYS};
use super::script::{Bytes, Step, frame_around, frame_of, steps};

/// Runs a dongle through steps: noise, requests open, sealed and forged, frames with honest and
/// with any bodies, time, pins, a store that fails. The first byte says what its store held, and
/// how large it is.
///
/// # Panics
/// If one of these is not so:
///
/// - At most one reset line is active. It becomes so only by a request that is rightly sealed,
///   never again within the distance of two pulses, and only after a first step.
/// - A locked dongle stores settings only if its present key has sealed them.
/// - Whatever goes out of a port is a message: a frame with a right tag, or an answer that can be
///   read. Answers about resets are sealed.
/// - When all that is due is done, it waits for a later moment.
pub fn dongle(input: &[u8]) {
    let Some((form, script)) = input.split_first() else { return };
    let mut ring = Ring::new();
    let board = Board { name: "fuzzed", cause: Cause::Unknown };
    let stored = Stored {
        settings: match form & 3 {
            0 => None,
            1 => Some(Err(Damaged)),
            _ => Some(Ok(settings())),
        },
        starts: (form & 4 == 0).then_some(u32::from(*form)),
        tokens: Token(u32::from(form >> 4)),
        wait: Duration::from_millis(u64::from(form >> 4)),
    };
    if form & 8 == 0 {
        run(Small::<3, 6>::new(board, stored, &mut ring, SEED, START), script);
    } else {
        run(Large::<3, 6>::new(board, stored, &mut ring, SEED, START), script);
    }
}

const SEED: u64 = 0x1234_5678;
const START: Instant = Instant::ZERO;
const PORTS: usize = 3;
const PULSE_MS: u16 = 50;
const DISTANCE_MS: u16 = 500;

fn settings() -> Settings {
    let port = |number| PortSettings { resets: NodeId::new(number), ..PortSettings::default() };
    Settings {
        cluster: ClusterId(CLUSTER),
        me: NodeId::witness(0).expect("the first witness"),
        heartbeat_ms: 20,
        dead_ms: 60,
        longest_promise_ms: 100,
        keys: KEYS.map(|id| (KeyId(id), [id; KEY_LEN])).into_iter().collect(),
        signer: KeyId(KEYS[0]),
        pulse_ms: PULSE_MS,
        distance_ms: DISTANCE_MS,
        ports: [0, 1, 2].map(port).into_iter().collect(),
    }
}

/// What is known of the dongle from outside.
struct Seen {
    control: Keyring,
    strangers: Keyring,
    now: Instant,
    pins: Pins,
    /// Its start and newest frame.
    newest: Option<(BootId, u64)>,
    /// The challenge of its last answer, and the nonce of the last line that was armed.
    challenge: u64,
    nonce: u64,
    was_armed: bool,
    /// Whether settings were stored since the start.
    is_set_anew: bool,
    /// When the last pulse ended.
    ended: Option<Instant>,
    sequence: u64,
}

fn run<
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
    const HELD: usize,
>(
    mut it: Dongle<'_, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE, HELD>,
    script: &[u8],
) {
    let stranger = Keyring::new(&[(KeyId(KEYS[0]), Key::new([9; KEY_LEN]))], KeyId(KEYS[0]));
    let mut seen = Seen {
        control: KEYRINGS[0].derive(PURPOSE),
        strangers: stranger.expect("one key that signs").derive(PURPOSE),
        now: START,
        pins: Pins::default(),
        newest: None,
        challenge: 0,
        nonce: 0,
        was_armed: false,
        is_set_anew: false,
        ended: None,
        sequence: 0,
    };
    for mut step in steps(script) {
        let before = it.lines();
        let port = PortId::new((step.what >> 4) % 3).expect("three ports");
        match step.what & 7 {
            7 => {
                let millis = u64::from(step.bytes.word() % 700);
                seen.now = seen.now + Duration::from_millis(millis);
                let how = step.bytes.byte();
                let lines = if how & 1 == 0 { it.lines() } else { PortSet::EMPTY };
                seen.pins = Pins { unlocked: how & 6 == 6, lines };
                it.handle_timeout(seen.pins, seen.now);
                assert!(it.lines().is_empty() || it.lines() == before, "a line became active");
            }
            _ => it.handle_bytes(port, &seen.line(&mut step), seen.now),
        }
        let is_sealed = matches!(step.what & 7, 2 | 6);
        seen.judge_lines(before, it.lines(), is_sealed);
        seen.save(&mut it, is_sealed, step.what & 0x80 == 0);
        for port in PortId::all().take(PORTS) {
            seen.read(&drained(&mut it, port));
        }
        if step.what & 7 == 7 {
            assert!(it.poll_timeout() > seen.now, "it does not come to rest");
        }
    }
}

impl Seen {
    /// Returns what goes over the line in a step.
    fn line(&mut self, step: &mut Step<'_>) -> Vec<u8> {
        let what = step.what & 7;
        if what == 0 {
            return step.bytes.0.to_vec();
        }
        let message = match what {
            1 => [&[OPEN][..], step.bytes.0].concat(),
            2 => sealed(step.bytes.0, &self.control),
            3 => sealed(step.bytes.0, &self.strangers),
            4 => {
                let header = self.header(&mut step.bytes);
                frame_around(&header, step.bytes.0)
            }
            5 => {
                let header = self.header(&mut step.bytes);
                let mut body = step.bytes.body(self.echo(), [0; 4]);
                let want = self.want(step.bytes);
                if body.wants.is_empty() {
                    body.wants.extend(want);
                }
                frame_of(&header, &body)
            }
            _ => self.request(&mut step.bytes),
        };
        let mut line = vec![0; line_len(message.len())];
        let len = stream::enframe(&message, &mut line).expect("a line of this length suffices");
        line.truncate(len);
        line
    }

    /// Returns a sealed request that is as it should be, or nearly so.
    fn request(&self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let how = bytes.byte();
        let asker = NodeId::new(bytes.below(3)).expect("a server");
        let id = RequestId { asker, boot: BootId::new(u64::from(how >> 6)), number: 1 };
        let request = match how & 3 {
            0 => Request::Fire(Fire { id, nonce: self.nonce }),
            1 => Request::Fire(Fire { id, nonce: u64::from(bytes.byte()) }),
            2 => Request::Provision(dongle::Provision {
                challenge: self.challenge,
                settings: settings(),
            }),
            _ => Request::Arm(Arm {
                id,
                group: GroupId::new(how >> 2 & 1).expect("a group"),
                token: Token(u32::from(bytes.byte())),
                target: bytes.node(),
                target_boot: (how & 8 != 0).then(|| BootId::new(u64::from(bytes.byte()))),
            }),
        };
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let keyring = if how & 0x20 == 0 { &self.control } else { &KEYRINGS[0] };
        let len = dongle::seal(&request, keyring, &mut buffer).expect("a request fits");
        buffer[..len].to_vec()
    }

    fn header(&mut self, bytes: &mut Bytes<'_>) -> Header {
        let who = bytes.byte();
        self.sequence += 1;
        Header {
            class: if who == 0xff { LinkClass::Udp } else { LinkClass::Serial },
            link: LinkId::new(0).expect("the first link"),
            sender: NodeId::new(who % 8 % 5).expect("a server"),
            key: KeyId(KEYS[0]),
            cluster: ClusterId(CLUSTER),
            boot: BootId::new(u64::from(who >> 6)),
            sequence: self.sequence,
        }
    }

    fn echo(&self) -> Option<Echo> {
        let (boot, sequence) = self.newest?;
        let node = NodeId::witness(0).expect("the first witness");
        Some(Echo { node, boot, sequence, links: LinkSet::first(1) })
    }

    fn want(&self, mut bytes: Bytes<'_>) -> Option<Want> {
        let (phase, token) = (Phase::Claiming, Token(u32::from(bytes.byte())));
        let group = GroupId::new(bytes.below(2))?;
        Some(Want { group, phase, token, promise_ms: 50 })
    }

    fn judge_lines(&mut self, before: PortSet, after: PortSet, is_sealed: bool) {
        assert!(after.iter().count() <= 1, "two lines at once");
        if before.is_empty() && !after.is_empty() {
            assert!(is_sealed && self.was_armed, "a line became active unasked");
            let since = self.ended.map(|ended| self.now.since(ended));
            let distance = Duration::from_millis(u64::from(DISTANCE_MS));
            let is_far = since.is_none_or(|since| since >= distance);
            assert!(is_far || self.is_set_anew, "two pulses in a row");
        }
        if !before.is_empty() && after.is_empty() {
            self.ended = Some(self.now);
        }
    }

    fn save<
        const MEMBERS: usize,
        const ECHOES: usize,
        const GROUPS: usize,
        const SLOTS: usize,
        const LINE: usize,
        const HELD: usize,
    >(
        &mut self,
        it: &mut Dongle<'_, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE, HELD>,
        is_sealed: bool,
        works: bool,
    ) {
        let mut count = 0;
        while let Some(save) = it.poll_save() {
            if matches!(save, Save::Settings { .. }) {
                let is_open = !self.is_provisioned() || self.pins.unlocked;
                assert!(is_sealed || is_open, "stored what no key has sealed");
                self.is_set_anew |= works;
            }
            it.handle_saved(works, self.now);
            count += 1;
            assert!(count < 10, "it saves without end");
        }
    }

    /// Whether it has spoken as a witness: only then is it certain that it is locked.
    const fn is_provisioned(&self) -> bool {
        self.newest.is_some()
    }

    /// Reads what came out of a port.
    fn read(&mut self, line: &[u8]) {
        let mut deframer = Box::new(Deframer::<{ MAX_LINE_LEN - 2 }>::new());
        for byte in line {
            let Some(message) = deframer.push(*byte) else { continue };
            let message = message.expect("what goes out is whole");
            if dongle::is_dongle_message(message) {
                assert!(message.len() <= MAX_MESSAGE_LEN);
                match dongle::decode::<Reply>(message, Some(&self.control)) {
                    Ok((reply, sealed)) => self.hear(&reply, sealed),
                    Err(error) => assert!(self.is_set_anew, "{error:?}: {message:?}"),
                }
            } else {
                let read = frame::decode(message, ClusterId(CLUSTER), &KEYRINGS[0]);
                let read: Result<(Header, frame::Body), _> = read;
                let header = frame::peek(message).expect("a frame");
                let is_own = header.sender.is_witness();
                assert!(read.is_ok() || self.is_set_anew || !is_own, "{:?}", read.err());
                if is_own && read.is_ok() {
                    self.newest = Some((header.boot, header.sequence));
                }
            }
        }
    }

    fn hear(&mut self, reply: &Reply, sealed: Sealed) {
        match reply {
            Reply::Info(info) => self.challenge = info.challenge,
            Reply::Reset(answer) => {
                assert_eq!(sealed, Sealed::Yes, "{reply:?}");
                if let Outcome::Armed { nonce } = answer.outcome {
                    (self.nonce, self.was_armed) = (nonce, true);
                }
            }
            _ => {}
        }
    }
}

fn sealed(body: &[u8], control: &Keyring) -> Vec<u8> {
    let mut message = [&[SEALED, control.signer().0][..], body].concat();
    message.extend(control.tag(&message));
    message
}

fn drained<
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
    const SLOTS: usize,
    const LINE: usize,
    const HELD: usize,
>(
    it: &mut Dongle<'_, PORTS, MEMBERS, ECHOES, GROUPS, SLOTS, LINE, HELD>,
    port: PortId,
) -> Vec<u8> {
    let mut line = Vec::new();
    loop {
        let pending = it.pending(port);
        if pending.is_empty() {
            return line;
        }
        line.extend_from_slice(pending);
        let count = pending.len();
        it.sent(port, count);
    }
}
