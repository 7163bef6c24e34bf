//! A server's end of a line, as far as the line and the dongle can tell.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;

use lifesign::clock;
use lifesign_core::dongle::{self, MAX_MESSAGE_LEN, Reply, Request};
use lifesign_core::frame::{
    self, Body, Echo, Flags, Header, LinkClass, MAX_FRAME_LEN, Phase, Want,
};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{BootId, LinkId, LinkSet, NodeId};
use lifesign_core::seal::{KeyId, Keyring};
use lifesign_core::stream::{self, Deframer, MAX_LINE_LEN};
use lifesign_core::time::Instant;

use super::{CLUSTER, keyring, pause, read_now};

/// Somebody at the end of a line.
#[derive(Debug)]
pub struct Speaker {
    node: NodeId,
    boot: BootId,
    sequence: u64,
    stream: UnixStream,
    keyring: Keyring,
    deframer: Box<Deframer<{ MAX_LINE_LEN - 2 }>>,
    heard: Vec<Heard>,
    replies: Vec<Reply>,
    garbage: u64,
    /// The newest frame of everybody else.
    newest: BTreeMap<NodeId, (Header, Body)>,
    /// What it claims, and under which token.
    claims: Option<(GroupId, Token)>,
}

/// A frame with a right tag that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who says it has sent it.
    pub node: NodeId,
    /// In which start.
    pub boot: BootId,
    /// Its number.
    pub sequence: u64,
    /// When it was whole.
    pub at: Instant,
}

impl Speaker {
    /// Returns the node `node` at `stream`.
    pub(super) fn new(node: NodeId, stream: UnixStream) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        Self {
            node,
            boot: BootId::new(0x1000 + u64::from(node.number())),
            sequence: 0,
            stream,
            keyring: keyring(),
            deframer: Box::new(Deframer::new()),
            heard: Vec::new(),
            replies: Vec::new(),
            garbage: 0,
            newest: BTreeMap::new(),
            claims: None,
        }
    }

    /// Returns who it is.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Starts anew, with another boot id.
    pub const fn reboot(&mut self) {
        self.boot = BootId::new(self.boot.bits() + 0x100);
        self.sequence = 0;
    }

    /// Says the next frame, and returns its number.
    pub fn say(&mut self) -> u64 {
        let frame = self.next_frame(0, &keyring());
        self.say_message(&frame);
        self.sequence
    }

    /// Returns the next frame, about as long as one of two servers, and `more` bytes longer, with a
    /// tag by `keyring`.
    pub fn next_frame(&mut self, more: usize, keyring: &Keyring) -> Vec<u8> {
        let mut body: Body = Body { flags: Flags::BOOTING, digest: [7; 4], ..Body::default() };
        let echoes = NodeId::all().filter(|node| *node != self.node).take(3 + more / ECHO_LEN);
        for node in echoes {
            let (boot, links) = (BootId::new(u64::MAX / 3), LinkSet::first(1));
            let echo = Echo { node, boot, sequence: self.sequence + 1, links };
            body.echoes.push(echo).expect("room for an echo");
        }
        self.frame_of(&body, keyring)
    }

    fn frame_of(&mut self, body: &Body, keyring: &Keyring) -> Vec<u8> {
        self.sequence += 1;
        let header = Header {
            class: LinkClass::Serial,
            link: LinkId::new(0).expect("the first link"),
            sender: self.node,
            key: KeyId(1),
            cluster: CLUSTER,
            boot: self.boot,
            sequence: self.sequence,
        };
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header, body, keyring, &mut buffer);
        buffer[..len].to_vec()
    }

    /// Claims a group under a token with all it says as a living node from here on.
    pub const fn claim(&mut self, group: GroupId, token: Token) {
        self.claims = Some((group, token));
    }

    /// Says a frame as a living node does: it echoes whom it hears, and claims what it wants.
    pub fn live(&mut self) {
        self.listen();
        let mut body: Body = Body { digest: [7; 4], ..Body::default() };
        body.longest_promise_ms = LONGEST_PROMISE_MS;
        for (node, (header, _)) in &self.newest {
            let (boot, sequence) = (header.boot, header.sequence);
            let echo = Echo { node: *node, boot, sequence, links: LinkSet::first(1) };
            body.echoes.push(echo).expect("room for an echo");
        }
        if let Some((group, token)) = self.claims {
            let (phase, promise_ms) = (Phase::Claiming, LONGEST_PROMISE_MS);
            let want = Want { group, phase, token, promise_ms };
            body.wants.push(want).expect("room for a want");
        }
        let frame = self.frame_of(&body, &keyring());
        self.say_message(&frame);
    }

    /// Returns whether the dongle has promised what is claimed, as it said last.
    #[must_use]
    pub fn is_promised(&self) -> bool {
        let witness = NodeId::witness(0).and_then(|witness| self.newest.get(&witness));
        let (Some((_, body)), Some((group, token))) = (witness, self.claims) else {
            return false;
        };
        let word = body.word(group);
        word.is_some_and(|word| word.to == Some(self.node) && word.token == token)
    }

    /// Returns the token of its claim.
    #[must_use]
    pub fn token(&self) -> Token {
        self.claims.map(|(_, token)| token).unwrap_or_default()
    }

    /// Returns the name of its present start.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// Puts a message on the line, whatever it is.
    pub fn say_message(&mut self, message: &[u8]) {
        let mut line = [0; MAX_LINE_LEN];
        let len = stream::enframe(message, &mut line).expect("a message that fits");
        self.say_bytes(&line[..len]);
    }

    /// Puts bytes on the line.
    pub fn say_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                // The line has not taken what was said before.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => pause(1),
                Err(error) => panic!("the wire: {error}"),
            }
        }
    }

    /// Asks the dongle, open for all to read, and forgets earlier replies.
    pub fn ask(&mut self, request: &Request) {
        self.listen();
        self.replies.clear();
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = dongle::encode(request, &mut buffer).expect("a short request");
        self.say_message(&buffer[..len]);
    }

    /// Asks the dongle, sealed by the key of the cluster.
    pub fn ask_sealed(&mut self, request: &Request) -> Vec<u8> {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let control = self.keyring.derive(dongle::PURPOSE);
        let len = dongle::seal(request, &control, &mut buffer).expect("a short request");
        self.say_message(&buffer[..len]);
        buffer[..len].to_vec()
    }

    /// Waits for a reply of the dongle until `until`.
    pub fn await_reply(&mut self, until: Instant) -> Option<Reply> {
        loop {
            self.listen();
            if !self.replies.is_empty() {
                return Some(self.replies.remove(0));
            }
            if clock::now().has_reached(until) {
                return None;
            }
            pause(1);
        }
    }

    /// Takes in what has arrived.
    pub fn listen(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let count = read_now(&mut self.stream, &mut bytes);
            if count == 0 {
                return;
            }
            for byte in &bytes[..count] {
                self.handle_byte(*byte);
            }
        }
    }

    fn handle_byte(&mut self, byte: u8) {
        let message = match self.deframer.push(byte) {
            Some(Ok(message)) => message,
            Some(Err(_)) => {
                self.garbage += 1;
                return;
            }
            None => return,
        };
        if dongle::is_dongle_message(message) {
            let control = self.keyring.derive(dongle::PURPOSE);
            let decoded = dongle::decode(message, Some(&control));
            self.replies.extend(decoded.ok().map(|(reply, _)| reply));
            return;
        }
        let decoded = frame::decode(message, CLUSTER, &self.keyring);
        let (header, body) = decoded
            .unwrap_or_else(|error| panic!("{:?} was sent what is no frame: {error:?}", self.node));
        let Header { sender: node, boot, sequence, .. } = header;
        self.newest.insert(header.sender, (header, body));
        self.heard.push(Heard { node, boot, sequence, at: clock::now() });
    }

    /// Returns all that was heard since this was last asked.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        self.listen();
        std::mem::take(&mut self.heard)
    }

    /// Returns the numbers of the frames of a node's present start among `heard`.
    #[must_use]
    pub fn numbers(heard: &[Heard], of: &Self) -> Vec<u64> {
        let is_of = |frame: &&Heard| frame.node == of.node && frame.boot == of.boot;
        heard.iter().filter(is_of).map(|frame| frame.sequence).collect()
    }

    /// Returns how often there was something on the line that was no message.
    #[must_use]
    pub const fn garbage(&self) -> u64 {
        self.garbage
    }
}

/// The promise that is asked for, and the longest that the dongle makes, in milliseconds.
pub(super) const LONGEST_PROMISE_MS: u32 = 2_500;

/// About how long an echo in a frame is, in bytes.
const ECHO_LEN: usize = 12;
