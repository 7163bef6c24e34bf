//! Steps out of any bytes.

use lifesign_core::frame::{self, Body, Echo, Flags, Header, Phase, Want, Word};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{LinkSet, NodeId, NodeSet};

use super::frame::sealed;

/// What one step does, and with what. A step is written as a byte for what, one for how long the
/// rest is, and the rest.
pub(super) struct Step<'a> {
    /// What is done, in the low four bits, and how.
    pub(super) what: u8,
    /// With what.
    pub(super) bytes: Bytes<'a>,
}

/// Returns the steps that `script` tells of.
pub(super) fn steps(script: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let mut rest = script;
    core::iter::from_fn(move || {
        let [what, len, after @ ..] = rest else { return None };
        let (part, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        Some(Step { what: *what, bytes: Bytes(part) })
    })
}

/// Bytes of which numbers are made; when they run out, all that comes is zero.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn node(&mut self) -> NodeId {
        NodeId::new(self.below(19)).expect("a number of a node")
    }

    fn group(&mut self) -> GroupId {
        // Most groups are among the first, and some are beyond every table.
        let number = self.byte();
        GroupId::new(if number < 0xe0 { number % 3 } else { number % 32 })
            .expect("a group's number")
    }

    fn token(&mut self) -> Token {
        let number = self.byte();
        Token(if number == 0xff { u32::MAX } else { u32::from(number) })
    }

    /// Returns a body that says anything at all, with `echo` in it.
    pub(super) fn body(&mut self, echo: Option<Echo>, digest: [u8; 4]) -> Body {
        const FLAGS: [Flags; 4] =
            [Flags::BOOTING, Flags::STANDBY, Flags::FAREWELL, Flags::BOOTING.with(Flags::FAREWELL)];
        const PHASES: [Phase; 4] =
            [Phase::Claiming, Phase::Asking, Phase::Holding, Phase::Offering];
        let kinds = self.byte();
        let flags = match kinds & 7 {
            0 => FLAGS[usize::from(self.below(4))],
            _ => Flags::default(),
        };
        let digest = if kinds & 8 == 0 { digest } else { [self.byte(); 4] };
        let mut body = Body {
            flags,
            digest,
            longest_promise_ms: u32::from(self.word()),
            suspicious: u16::from(self.byte()),
            favours: NodeSet::from_bits(u32::from(self.word())),
            ..Body::default()
        };
        body.echoes.extend(echo);
        for _ in 0..kinds >> 4 & 3 {
            let (node, number) = (self.node(), self.byte());
            if body.echo_of(node).is_none() {
                let boot = lifesign_core::node::BootId::new(u64::from(number & 3));
                let sequence = u64::from(number >> 2);
                let _room =
                    body.echoes.push(Echo { node, boot, sequence, links: LinkSet::first(1) });
            }
        }
        for _ in 0..kinds >> 6 {
            let (group, token, how) = (self.group(), self.token(), self.byte());
            let phase = PHASES[usize::from(how & 3)];
            let promise_ms = if how == 0xff { u32::MAX } else { u32::from(how >> 2) };
            if body.want(group).is_none() {
                let _room = body.wants.push(Want { group, phase, token, promise_ms });
            }
            let (group, token, to) = (self.group(), self.token(), NodeId::new(self.byte()));
            if body.word(group).is_none() {
                let _room = body.words.push(Word { group, to, token });
            }
        }
        body
    }
}

/// Returns `body` as a frame with a right tag.
pub(super) fn frame_of(header: &Header, body: &Body) -> Vec<u8> {
    let mut buffer = [0; frame::MAX_FRAME_LEN];
    let len = frame::encode(header, body, &super::frame::KEYRINGS[0], &mut buffer);
    buffer[..len].to_vec()
}

/// Returns a frame with a right tag whose body is any bytes.
pub(super) fn frame_around(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut message = frame_of(header, &Body::default());
    message.truncate(frame::HEADER_LEN);
    message.extend_from_slice(body);
    sealed(&message)
}
