//! What a server and a witness have in common: they hear frames, keep sessions and promises, and
//! number their own frames.

mod rejected;

pub use rejected::{Counters, Rejected};

use serde::{Deserialize, Serialize};

use crate::decree::Told;
use crate::frame::{self, Body, Flags, FrameError, Header, LinkClass, MAX_ECHOES, Want, Word};
use crate::group::{GroupId, MAX_GROUPS, Token};
use crate::node::{BootId, ClusterId, LinkId, MAX_LINKS, MAX_MEMBERS, NodeId, NodeSet};
use crate::peer::{Accepted, Peers, Sequence, Session};
use crate::promise::{Claimant, Promise, Supported, Voter};
use crate::seal::Keyring;
use crate::time::{Duration, Instant};

/// What a frame that was taken in has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: NodeId,
    /// What it did to the sender's session.
    pub accepted: Accepted,
    /// Whether this voter's promises have changed hands.
    pub promised: bool,
    /// What the sender says that an operator has said.
    pub decree: Option<Told>,
}

/// The common part of a server and a witness, with room for the first `MEMBERS` others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member<
    const MEMBERS: usize = MAX_MEMBERS,
    const ECHOES: usize = MAX_ECHOES,
    const GROUPS: usize = MAX_GROUPS,
    const LINKS: usize = MAX_LINKS,
> {
    cluster: ClusterId,
    me: NodeId,
    others: NodeSet,
    #[serde(skip, default = "Keyring::none")]
    keyring: Keyring,
    /// Accept frames of any link number: a witness has links of its own.
    any_link: bool,
    /// This start's own frames.
    pub sequence: Sequence,
    /// Everybody else.
    pub peers: Peers<MEMBERS, ECHOES, GROUPS, LINKS>,
    /// What this voter has promised.
    pub voter: Voter<GROUPS>,
    #[serde(with = "crate::array")]
    counters: [Counters; LINKS],
    suspicious: u16,
}

/// Who a member is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its own id.
    pub me: NodeId,
    /// The ids of everybody else.
    pub others: NodeSet,
    /// This start.
    pub boot: BootId,
    /// Tokens up to this one may have been used by earlier starts.
    pub reserved: Token,
    /// When it started.
    pub started: Instant,
}

/// The spans that every member needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// How often peers speak.
    pub heartbeat: Duration,
    /// A peer silent for this long is lost.
    pub dead: Duration,
    /// The longest promise it makes, and how long it waits before it makes any.
    pub longest_promise: Duration,
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Member<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Makes a member that has just started, has met nobody, and has promised nothing that it
    /// remembers.
    // Made where it will lie: a microcontroller's stack has no room for a second copy.
    #[inline]
    #[must_use]
    pub fn new(identity: &Identity, keyring: Keyring, spans: &Spans) -> Self {
        Self {
            cluster: identity.cluster,
            me: identity.me,
            others: identity.others,
            keyring,
            any_link: identity.me.is_witness(),
            sequence: Sequence::new(identity.boot),
            peers: Peers::new(identity.others, spans.heartbeat, spans.dead),
            voter: Voter::new(spans.longest_promise, identity.reserved, identity.started),
            counters: [Counters::default(); LINKS],
            suspicious: 0,
        }
    }

    /// Takes in the bytes that came over `link`, and judges the sender's wants by the voter's rule
    /// if `admits` lets it.
    ///
    /// # Errors
    /// Says why they are not taken in; only counters have changed.
    pub fn hear(
        &mut self,
        link: LinkId,
        class: LinkClass,
        bytes: &[u8],
        admits: impl Fn(&Body<ECHOES, GROUPS>, NodeId, &Want) -> bool,
        now: Instant,
    ) -> Result<Heard, Rejected> {
        let result = self.receive(link, class, bytes, admits, now);
        if let Some(counters) = self.counters.get_mut(link.index()) {
            match &result {
                Ok(_) => counters.accepted = counters.accepted.saturating_add(1),
                Err(rejected) => {
                    if let Some(count) = counters.rejected.get_mut(rejected.kind().0) {
                        *count = count.saturating_add(1);
                    }
                }
            }
        }
        if matches!(result, Err(Rejected::Frame(FrameError::Tag))) {
            self.suspicious = self.suspicious.wrapping_add(1);
        }
        result
    }

    fn receive(
        &mut self,
        link: LinkId,
        class: LinkClass,
        bytes: &[u8],
        admits: impl Fn(&Body<ECHOES, GROUPS>, NodeId, &Want) -> bool,
        now: Instant,
    ) -> Result<Heard, Rejected> {
        let (header, body, decree): (_, Body<ECHOES, GROUPS>, _) =
            frame::decode_told(bytes, self.cluster, &self.keyring).map_err(Rejected::Frame)?;
        if header.sender == self.me {
            let own = header.boot == self.sequence.boot();
            return Err(if own { Rejected::Loop } else { Rejected::OwnId });
        }
        if !self.others.contains(header.sender) {
            return Err(Rejected::Stranger);
        }
        if header.class != class
            || !(self.any_link || header.sender.is_witness() || header.link == link)
        {
            return Err(Rejected::WrongLink);
        }
        let fresh = body.echo_of(self.me).is_some_and(|echo| self.sequence.sent(&echo).is_some());
        let accepted =
            self.peers.accept(&header, body, link, fresh, now).map_err(Rejected::Stale)?;
        let promised = self.judge(header.sender, accepted, admits, now);
        Ok(Heard { from: header.sender, accepted, promised, decree })
    }

    /// Returns whether the sender of a newly heard frame waits for its echo: it holds or wants
    /// something, and its authority ages until it is answered.
    #[must_use]
    pub fn wants_answer(&self, heard: &Heard) -> bool {
        let session = self.peers.session(heard.from);
        heard.accepted == Accepted::Newest
            && session.is_some_and(|session| !session.body.wants.is_empty())
    }

    /// Applies the voter's rule to what the newest frame of `node` wants, and returns whether
    /// promises changed hands.
    fn judge(
        &mut self,
        node: NodeId,
        accepted: Accepted,
        admits: impl Fn(&Body<ECHOES, GROUPS>, NodeId, &Want) -> bool,
        now: Instant,
    ) -> bool {
        let Some(session) = self.peers.session(node) else {
            let left = self.peers.get(node).and_then(crate::peer::Peer::ending);
            return left.is_some_and(|ending| self.voter.left(node, ending.boot()));
        };
        if accepted == Accepted::Copy {
            return false;
        }
        let mut changed = accepted == Accepted::Opened && self.voter.restarted(node, session.boot);
        for group in GroupId::all().take(GROUPS) {
            match session.body.want(group) {
                None => changed |= self.voter.release(group, node, session.boot),
                Some(want) if admits(&session.body, node, &want) => {
                    let before = self.voter.promise(group, now).map(|promise| promise.to);
                    let to = Supported { node, boot: session.boot, token: want.token };
                    let from = Claimant { node, boot: session.boot, sequence: session.newest };
                    let promised = self.voter.consider(&want, from, now).is_ok();
                    changed |= promised && before != Some(to);
                }
                Some(_) => {}
            }
        }
        changed
    }

    /// Promises `group` to the best of the living peers that want it, if it is promised to nobody;
    /// lower is better. Returns whether it did.
    pub fn reconsider(
        &mut self,
        group: GroupId,
        rank: impl Fn(&Body<ECHOES, GROUPS>, NodeId, &Want) -> Option<usize>,
        now: Instant,
    ) -> bool {
        if self.voter.promise(group, now).is_some() {
            return false;
        }
        let pending = self.peers.sessions().filter_map(|(node, session)| {
            let want = session.body.want(group)?;
            let from = Claimant { node, boot: session.boot, sequence: session.newest };
            Some((rank(&session.body, node, &want)?, from, want))
        });
        let best = pending.min_by_key(|(rank, from, _)| (*rank, from.node));
        best.is_some_and(|(_, from, want)| self.voter.consider(&want, from, now).is_ok())
    }

    /// Writes the frame `body` for `link` under the number `sequence` and returns its length.
    pub fn write<const LEN: usize>(
        &self,
        link: LinkId,
        class: LinkClass,
        sequence: u64,
        body: &Body<ECHOES, GROUPS>,
        buffer: &mut [u8; LEN],
    ) -> usize {
        frame::encode(&self.header(link, class, sequence), body, &self.keyring, buffer)
    }

    /// Writes the frame `body` as [`write`](Self::write) does, with the operator's word.
    pub fn write_told<const LEN: usize>(
        &self,
        link: LinkId,
        class: LinkClass,
        sequence: u64,
        (body, told): (&Body<ECHOES, GROUPS>, Option<&Told>),
        buffer: &mut [u8; LEN],
    ) -> usize {
        frame::encode_told(&self.header(link, class, sequence), body, told, &self.keyring, buffer)
    }

    fn header(&self, link: LinkId, class: LinkClass, sequence: u64) -> Header {
        let (cluster, boot, key) = (self.cluster, self.sequence.boot(), self.keyring.signer());
        Header { class, link, sender: self.me, key, cluster, boot, sequence }
    }

    /// Returns the parts of a frame's body that every member fills alike.
    ///
    /// A promise is told only if the very frame that is echoed has renewed it: to its holder an
    /// echo beside a promise means that the promise counts from that frame.
    #[must_use]
    pub fn body(&self, now: Instant) -> Body<ECHOES, GROUPS> {
        let booting = !now.has_reached(self.voter.ready());
        let mut body = Body {
            flags: if booting { Flags::BOOTING } else { Flags::default() },
            longest_promise_ms: u32::try_from(self.voter.longest().as_millis()).unwrap_or(u32::MAX),
            suspicious: self.suspicious,
            ..Body::default()
        };
        // There is room for an echo of everybody else, and for a word on every group.
        body.echoes.extend(
            self.peers.echoes(now).filter(|echo| echo.node != self.me).take(body.echoes.capacity()),
        );
        for group in GroupId::all().take(GROUPS) {
            let word = self.word(group, now);
            if word.to.is_some() || word.token.0 > 0 {
                let _room = body.words.push(word);
            }
        }
        body
    }

    fn word(&self, group: GroupId, now: Instant) -> Word {
        let told = |promise: &Promise| {
            let (node, boot) = (promise.to.node, promise.to.boot);
            let proven = |session: &Session<ECHOES, GROUPS>| {
                session.boot == boot && session.newest == promise.renewed_by
            };
            node == self.me || self.peers.session(node).is_some_and(proven)
        };
        match self.voter.promise(group, now).filter(told).map(|promise| promise.to) {
            Some(to) => Word { group, to: Some(to.node), token: to.token },
            None => Word { group, to: None, token: self.voter.largest_token(group) },
        }
    }

    /// Takes the keys `keyring` into use from the next frame on.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        self.keyring = keyring;
    }

    /// Returns the keys in use.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Returns what was taken in and what was not on `link`.
    #[must_use]
    pub fn counters(&self, link: LinkId) -> Counters {
        self.counters.get(link.index()).copied().unwrap_or_default()
    }

    /// Returns how many frames with a wrong tag came, modulo 2^16.
    #[must_use]
    pub const fn suspicious(&self) -> u16 {
        self.suspicious
    }

    /// Returns this member's id.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// Returns everybody else.
    #[must_use]
    pub const fn others(&self) -> NodeSet {
        self.others
    }
}
