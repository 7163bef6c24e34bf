//! A dongle on a bench: its store in memory, its ports at hand, and servers made of frames.

use lifesign_core::dongle::{
    self, Cause, Info, MAX_MESSAGE_LEN, PURPOSE, PortSettings, Provision, Reply, Request, Settings,
};
use lifesign_core::frame::{self, Body, Echo, Header, LinkClass, MAX_FRAME_LEN, Phase, Want};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, LinkSet, NodeId};
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::stream::{Deframer, enframe, line_len};
use lifesign_core::time::{Duration, Instant};
use lifesign_firmware::Small;
use lifesign_firmware::dongle::{Board, Pins, Stored};
use lifesign_firmware::events::Ring;
use lifesign_firmware::store::{Area, MIN_AREA_LEN, Medium, Store};

pub(crate) const PORTS: usize = 3;
pub(crate) type Dongle = Small<'static, PORTS, 5>;

/// Flash that never wears out, and fails on demand.
#[derive(Clone, Debug)]
pub(crate) struct Flash {
    pub(crate) areas: [Vec<u32>; 2],
    pub(crate) is_stuck: bool,
}

impl Medium for Flash {
    fn area_len(&self) -> usize {
        MIN_AREA_LEN
    }

    fn read(&self, area: Area, offset: usize) -> u32 {
        self.areas[area as usize].get(offset / 4).copied().unwrap_or(u32::MAX)
    }

    fn erase(&mut self, area: Area) {
        if !self.is_stuck {
            self.areas[area as usize].fill(u32::MAX);
        }
    }

    fn program(&mut self, area: Area, offset: usize, word: u32) {
        if !self.is_stuck {
            self.areas[area as usize][offset / 4] &= word;
        }
    }
}

/// The dongle and everything that surrounds it.
pub(crate) struct Bench {
    pub(crate) dongle: Dongle,
    pub(crate) store: Store<Flash>,
    pub(crate) now: Instant,
    pub(crate) pins: Pins,
    /// The reset lines do not move.
    pub(crate) is_line_stuck: bool,
    /// How often a line became active.
    pub(crate) pulses: Vec<PortId>,
    deframers: [Deframer<2048>; PORTS],
    /// What came out of each port.
    pub(crate) heard: [Vec<Vec<u8>>; PORTS],
}

pub(crate) fn port(number: u8) -> PortId {
    PortId::new(number).unwrap()
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn keyring(byte: u8) -> Keyring {
    Keyring::new(&[(KeyId(1), Key::new([byte; KEY_LEN]))], KeyId(1)).unwrap()
}

pub(crate) fn settings(key: u8) -> Settings {
    let names = ["alpha", "beta", "gamma"];
    let ports = (0..).zip(names).map(|(number, name)| PortSettings {
        name: name.try_into().unwrap(),
        resets: Some(node(number)),
    });
    Settings {
        cluster: ClusterId(7),
        me: NodeId::witness(0).unwrap(),
        heartbeat_ms: 50,
        dead_ms: 200,
        longest_promise_ms: 1000,
        keys: [(KeyId(1), [key; KEY_LEN])].into_iter().collect(),
        signer: KeyId(1),
        pulse_ms: 300,
        distance_ms: 2000,
        ports: ports.collect(),
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let areas = [const { Vec::new() }; 2].map(|_: Vec<u32>| vec![0; MIN_AREA_LEN / 4]);
        Self::on(Store::open(Flash { areas, is_stuck: false }), Cause::Power)
    }

    /// Starts a dongle on what `store` holds.
    pub(crate) fn on(mut store: Store<Flash>, cause: Cause) -> Self {
        let stored = store.start();
        Self::from(stored, store, cause)
    }

    pub(crate) fn from(stored: Stored, store: Store<Flash>, cause: Cause) -> Self {
        let ring = Box::leak(Box::new(Ring::new()));
        let board = Board { name: "bench", cause };
        let dongle = Dongle::new(board, stored, ring, 42, Instant::ZERO);
        let deframers = [const { Deframer::new() }; PORTS];
        Self {
            dongle,
            store,
            now: Instant::ZERO,
            pins: Pins::default(),
            is_line_stuck: false,
            pulses: Vec::new(),
            deframers,
            heard: Default::default(),
        }
    }

    /// One that is the witness of cluster 7, past its wait, with nothing heard yet.
    pub(crate) fn provisioned() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.provision(&settings(1), None), Ok(()));
        bench.pass(2500);
        bench
    }

    /// The same dongle after a reset.
    pub(crate) fn reset(self, cause: Cause) -> Self {
        Self::on(Store::open(self.store.medium().clone()), cause)
    }

    /// Lets so many milliseconds pass, a turn each.
    pub(crate) fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now = self.now + Duration::from_millis(1);
            self.turn();
        }
    }

    pub(crate) fn turn(&mut self) {
        self.dongle.handle_timeout(self.pins, self.now);
        while let Some(save) = self.dongle.poll_save() {
            let saved = self.store.save(&save);
            self.dongle.handle_saved(saved, self.now);
        }
        for at in PortId::all().take(PORTS) {
            loop {
                let bytes = self.dongle.pending(at).to_vec();
                if bytes.is_empty() {
                    break;
                }
                self.dongle.sent(at, bytes.len());
                for byte in bytes {
                    if let Some(Ok(message)) = self.deframers[at.index()].push(byte) {
                        self.heard[at.index()].push(message.to_vec());
                    }
                }
            }
        }
        let lines = self.dongle.lines();
        self.pulses.extend(lines.iter().filter(|line| !self.pins.lines.contains(*line)));
        self.pins.lines = if self.is_line_stuck { PortSet::EMPTY } else { lines };
    }

    /// Puts a message on the line of a port.
    pub(crate) fn say(&mut self, at: PortId, message: &[u8]) {
        let mut line = vec![0; line_len(message.len())];
        let len = enframe(message, &mut line).unwrap();
        self.dongle.handle_bytes(at, &line[..len], self.now);
        self.turn();
    }

    pub(crate) fn take_heard(&mut self, at: PortId) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.heard[at.index()])
    }

    /// Asks at a port, sealed by `control` if there is one, and returns what is answered there.
    pub(crate) fn ask(
        &mut self,
        at: PortId,
        request: &Request,
        control: Option<&Keyring>,
    ) -> Vec<Reply> {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = match control {
            Some(control) => dongle::seal(request, control, &mut buffer),
            None => dongle::encode(request, &mut buffer),
        };
        self.take_heard(at);
        self.say(at, &buffer[..len.unwrap()]);
        let own = keyring(1).derive(PURPOSE);
        let heard = self.take_heard(at).into_iter();
        let replies = heard.filter(|message| dongle::is_dongle_message(message));
        replies.map(|message| dongle::decode(&message, Some(&own)).unwrap().0).collect()
    }

    pub(crate) fn info(&mut self) -> Info {
        let replies = self.ask(port(0), &Request::Info, None);
        let Some(Reply::Info(info)) = replies.first() else { panic!("{replies:?}") };
        info.clone()
    }

    pub(crate) fn provision(
        &mut self,
        settings: &Settings,
        control: Option<&Keyring>,
    ) -> Result<(), dongle::NotProvisioned> {
        let challenge = self.info().challenge;
        let provision = Provision { challenge, settings: settings.clone() };
        let replies = self.ask(port(0), &Request::Provision(provision), control);
        let Some(Reply::Provisioned(result)) = replies.first() else { panic!("{replies:?}") };
        *result
    }
}

/// A server, as far as a dongle sees one.
pub(crate) struct Server {
    pub(crate) id: NodeId,
    pub(crate) boot: BootId,
    pub(crate) sequence: u64,
    keyring: Keyring,
    cluster: ClusterId,
    echo: Option<Echo>,
    pub(crate) wants: Vec<Want>,
    /// What the witness said last.
    pub(crate) witness: Option<Body>,
}

impl Server {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            id: node(number),
            boot: BootId::new(100 + u64::from(number)),
            sequence: 0,
            keyring: keyring(1),
            cluster: ClusterId(7),
            echo: None,
            wants: Vec::new(),
            witness: None,
        }
    }

    pub(crate) fn want(group: u8, phase: Phase, token: u32) -> Want {
        let group = GroupId::new(group).unwrap();
        Want { group, phase, token: Token(token), promise_ms: 1000 }
    }

    /// Returns its next frame.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let header = Header {
            class: LinkClass::Serial,
            link: LinkId::new(0).unwrap(),
            sender: self.id,
            key: KeyId(1),
            cluster: self.cluster,
            boot: self.boot,
            sequence: self.sequence,
        };
        let body: Body = Body {
            longest_promise_ms: 1000,
            echoes: self.echo.into_iter().collect(),
            wants: self.wants.iter().copied().collect(),
            ..Body::default()
        };
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header, &body, &self.keyring, &mut buffer);
        buffer[..len].to_vec()
    }

    /// Takes in what came out of its port.
    pub(crate) fn hear(&mut self, messages: &[Vec<u8>]) {
        for message in messages {
            let read = frame::decode::<18, 32>(message, self.cluster, &self.keyring);
            let Ok((header, body)) = read else { continue };
            if header.sender.is_witness() {
                let (node, boot, sequence) = (header.sender, header.boot, header.sequence);
                self.echo = Some(Echo { node, boot, sequence, links: LinkSet::first(1) });
                self.witness = Some(body);
            }
        }
    }

    /// Speaks at its port and listens, every 20 ms for so long.
    pub(crate) fn live(&mut self, bench: &mut Bench, millis: u64) {
        live(bench, &mut [self], millis);
    }

    /// Returns to whom the witness said that it has promised `group`.
    pub(crate) fn promised(&self, group: u8) -> Option<NodeId> {
        self.witness.as_ref()?.word(GroupId::new(group).unwrap())?.to
    }
}

/// Lets servers speak, each at the port of its number, every 20 ms for so long.
pub(crate) fn live(bench: &mut Bench, servers: &mut [&mut Server], millis: u64) {
    for _ in 0..millis / 20 {
        for server in &mut *servers {
            let at = port(server.id.number());
            let heard = bench.take_heard(at);
            server.hear(&heard);
            let frame = server.frame();
            bench.say(at, &frame);
        }
        bench.pass(20);
    }
    for server in servers {
        let heard = bench.take_heard(port(server.id.number()));
        server.hear(&heard);
    }
}
