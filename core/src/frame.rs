//! One authenticated message: its layout, encoding and decoding.
//!
//! # Version 1
//!
//! All numbers are little-endian. The header's layout is the same in every version; the body is
//! tagged by it.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | link class in the high four bits ([`LinkClass`]), link number in the low four |
//! | 2 | 1 | sender ([`NodeId`]) |
//! | 3 | 1 | key id |
//! | 4 | 4 | cluster id |
//! | 8 | 8 | boot id of the sender's start |
//! | 16 | 8 | sequence number, from 1, one for each frame of that start; copies on several links share it |
//! | 24 | n | body ([`Body`]) in postcard's format, fields in the order of the type |
//! | 24 + n | m | the operator's word ([`Told`]), likewise; nothing if there is none |
//! | 24 + n + m | 16 | tag over everything before it ([`seal`](crate::seal)) |
//!
//! A frame is at most [`MAX_FRAME_LEN`] bytes. Two nodes with two groups need about 85, with a
//! witness about 100, and up to 28 more from an operator's first word on. Code that knows of no
//! such word understands the frames of those to whom nothing was ever said, and refuses the others
//! as bodies that it does not understand: it takes their senders for lost, and counts that.
//!
//! The tag is checked before the body is looked at. Whatever the bytes, decoding returns, changes
//! nothing and does not panic.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::decree::{MAX_TOLD_LEN, Told};
use crate::group::{GroupId, MAX_GROUPS, Token};
use crate::node::{BootId, ClusterId, LinkId, LinkSet, MAX_MEMBERS, NodeId, NodeSet};
use crate::seal::{KeyId, Keyring, TAG_LEN};

/// The version of frames that this code speaks.
pub const VERSION: u8 = 1;
/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 24;
/// The shortest frame: a header and a tag.
pub const MIN_FRAME_LEN: usize = HEADER_LEN + TAG_LEN;
/// The longest frame at the largest configuration, in bytes.
pub const MAX_FRAME_LEN: usize = 1024;

/// The most echoes in a frame: one of every other member.
pub const MAX_ECHOES: usize = MAX_MEMBERS - 1;

/// A varint holds 7 bits a byte.
const MAX_VARINT_U32: usize = 5;
const MAX_VARINT_U64: usize = 10;
const MAX_VARINT_FAVOURS: usize = MAX_MEMBERS.div_ceil(7);
const _: () = assert!(
    frame_len_max(MAX_ECHOES, MAX_GROUPS) + MAX_TOLD_LEN <= MAX_FRAME_LEN,
    "the largest body and the longest word must fit a frame"
);

/// Returns the length of the longest frame with so many echoes and groups, without an operator's
/// word.
#[must_use]
pub const fn frame_len_max(echoes: usize, groups: usize) -> usize {
    len_max(echoes, groups, MAX_VARINT_U64)
}

const fn len_max(echoes: usize, groups: usize, sequence: usize) -> usize {
    let scalars = 1 + 4 + MAX_VARINT_U32 + 3 + MAX_VARINT_FAVOURS;
    let echoes = 1 + echoes * (1 + 8 + sequence + 1);
    let wants = 1 + groups * (1 + 1 + MAX_VARINT_U32 + 3);
    let promises = 1 + groups * (1 + 2 + MAX_VARINT_U32);
    MIN_FRAME_LEN + scalars + echoes + wants + promises
}

/// Returns the length of the longest frame that a member of a cluster of `members` (servers and
/// witnesses) with `groups` sends before its sequence number needs six bytes: at 200 frames a
/// second, within its first five years. The operator's word is in it.
#[must_use]
pub const fn longest(members: usize, groups: usize) -> usize {
    len_max(members.saturating_sub(1), groups, 5) + MAX_TOLD_LEN
}

/// The kind of a link; it is under the tag, so a frame of one kind is void on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkClass {
    /// UDP over IPv4 or IPv6.
    Udp,
    /// Raw Ethernet.
    Ether,
    /// A serial line.
    Serial,
}

impl LinkClass {
    const fn number(self) -> u8 {
        match self {
            Self::Udp => 1,
            Self::Ether => 2,
            Self::Serial => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Udp),
            2 => Some(Self::Ether),
            3 => Some(Self::Serial),
            _ => None,
        }
    }
}

/// The part of a frame that every version shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the link it was sent on.
    pub class: LinkClass,
    /// The link it was sent on.
    pub link: LinkId,
    /// Who sent it.
    pub sender: NodeId,
    /// Which key made the tag.
    pub key: KeyId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which start of the sender it belongs to.
    pub boot: BootId,
    /// Its number among the frames of that start.
    pub sequence: u64,
}

/// What a node says about itself in each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flags(u8);

impl Flags {
    /// It has just started and makes no promises yet.
    pub const BOOTING: Self = Self(1);
    /// The operator wants it free of groups.
    pub const STANDBY: Self = Self(2);
    /// It is going away in good order and will hold nothing any more in this start: its farewell.
    pub const FAREWELL: Self = Self(4);

    /// Returns these flags and `others`.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// Proof that the sender heard a peer: the peer's frame that the sender accepted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Echo {
    /// Whose frame.
    pub node: NodeId,
    /// Of which start.
    pub boot: BootId,
    /// Its sequence number.
    pub sequence: u64,
    /// The links on which the peer is heard.
    pub links: LinkSet,
}

/// How far a want has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Asked for, not yet backed by a quorum.
    Claiming,
    /// Asked for by the operator, so that a holder gives way.
    Asking,
    /// Held: the resources may be up.
    Holding,
    /// Held, and offered to whoever may take it.
    Offering,
}

impl Phase {
    /// Returns whether the sender's resources may be up.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Holding | Self::Offering)
    }
}

/// The sender holds a group or asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Want {
    /// Which group.
    pub group: GroupId,
    /// How far it has come.
    pub phase: Phase,
    /// Under which token.
    pub token: Token,
    /// The length of the promise it asks for, in milliseconds.
    pub promise_ms: u32,
}

/// The sender's word as a voter on a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Word {
    /// Which group.
    pub group: GroupId,
    /// To whom the group is promised, if to anybody.
    pub to: Option<NodeId>,
    /// The token it is promised under, or the largest ever promised under if it is promised to
    /// nobody.
    pub token: Token,
}

/// Everything a node has to say, in version 1.
///
/// `ECHOES` and `GROUPS` are what a reader has room for; a body with more is refused by it. They do
/// not change what is on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Body<const ECHOES: usize = MAX_ECHOES, const GROUPS: usize = MAX_GROUPS> {
    /// What the node says of itself.
    pub flags: Flags,
    /// A digest of the settings that must agree, zero from a witness.
    pub digest: [u8; 4],
    /// The longest promise this voter makes, in milliseconds.
    pub longest_promise_ms: u32,
    /// How many frames with a wrong tag this node has seen, modulo 2^16.
    pub suspicious: u16,
    /// The nodes a witness would promise to; empty from a server.
    pub favours: NodeSet,
    /// Whom it hears.
    pub echoes: Vec<Echo, ECHOES>,
    /// What it holds or asks for.
    pub wants: Vec<Want, GROUPS>,
    /// What it has promised.
    pub words: Vec<Word, GROUPS>,
}

impl<const ECHOES: usize, const GROUPS: usize> Body<ECHOES, GROUPS> {
    /// Returns the sender's proof that it heard `node`.
    #[must_use]
    pub fn echo_of(&self, node: NodeId) -> Option<Echo> {
        self.echoes.iter().find(|echo| echo.node == node).copied()
    }

    /// Returns what the sender wants with `group`.
    #[must_use]
    pub fn want(&self, group: GroupId) -> Option<Want> {
        self.wants.iter().find(|want| want.group == group).copied()
    }

    /// Returns the sender's word on `group`.
    #[must_use]
    pub fn word(&self, group: GroupId) -> Option<Word> {
        self.words.iter().find(|word| word.group == group).copied()
    }

    /// Returns whom the sender hears.
    #[must_use]
    pub fn hears(&self) -> NodeSet {
        self.echoes.iter().map(|echo| echo.node).collect()
    }
}

/// Writes a frame into `buffer` and returns its length.
///
/// The header's key id is replaced by that of the key that signs. A buffer of [`frame_len_max`]
/// bytes always suffices; a smaller one does not compile.
pub fn encode<const ECHOES: usize, const GROUPS: usize, const LEN: usize>(
    header: &Header,
    body: &Body<ECHOES, GROUPS>,
    keyring: &Keyring,
    buffer: &mut [u8; LEN],
) -> usize {
    const { assert!(frame_len_max(ECHOES, GROUPS) <= LEN, "the largest body must fit the buffer") };
    write(header, body, None, keyring, buffer)
}

/// Writes a frame with what the operator has said last, if anything was, as [`encode`] does. The
/// buffer has room for [`MAX_TOLD_LEN`] bytes more.
pub fn encode_told<const ECHOES: usize, const GROUPS: usize, const LEN: usize>(
    header: &Header,
    body: &Body<ECHOES, GROUPS>,
    told: Option<&Told>,
    keyring: &Keyring,
    buffer: &mut [u8; LEN],
) -> usize {
    const { assert!(frame_len_max(ECHOES, GROUPS) + MAX_TOLD_LEN <= LEN, "a word fits, too") };
    write(header, body, told, keyring, buffer)
}

fn write<const ECHOES: usize, const GROUPS: usize, const LEN: usize>(
    header: &Header,
    body: &Body<ECHOES, GROUPS>,
    told: Option<&Told>,
    keyring: &Keyring,
    buffer: &mut [u8; LEN],
) -> usize {
    let head = head(header, keyring.signer());
    let body_len = {
        let (front, rest) = buffer.split_at_mut(HEADER_LEN);
        front.copy_from_slice(&head);
        // The assertions say that the largest fits, so there is no error to report.
        let len = postcard::to_slice(body, rest).map_or(0, |written| written.len());
        let word = told.zip(rest.get_mut(len..)).and_then(|(told, rest)| {
            postcard::to_slice(told, rest).map(|written| written.len()).ok()
        });
        len + word.unwrap_or(0)
    };
    let end = HEADER_LEN + body_len;
    let (message, rest) = buffer.split_at_mut(end.min(LEN - TAG_LEN));
    let tag = keyring.tag(message);
    for (to, from) in rest.iter_mut().zip(tag) {
        *to = from;
    }
    end + TAG_LEN
}

fn head(header: &Header, key: KeyId) -> [u8; HEADER_LEN] {
    let [c0, c1, c2, c3] = header.cluster.0.to_le_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = header.boot.bits().to_le_bytes();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = header.sequence.to_le_bytes();
    let link = header.class.number() << 4 | header.link.number();
    [
        VERSION,
        link,
        header.sender.number(),
        key.0,
        c0,
        c1,
        c2,
        c3,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
    ]
}

/// Checks a frame's form, cluster and tag, and returns its header and body.
///
/// # Errors
/// Says why the bytes are not a frame of this cluster. Nothing is changed.
pub fn decode<const ECHOES: usize, const GROUPS: usize>(
    bytes: &[u8],
    cluster: ClusterId,
    keyring: &Keyring,
) -> Result<(Header, Body<ECHOES, GROUPS>), FrameError> {
    decode_told(bytes, cluster, keyring).map(|(header, body, _)| (header, body))
}

/// Returns the header and the body of a frame, and the operator's word that it carries, if it does.
///
/// # Errors
/// As those of [`decode`].
pub fn decode_told<const ECHOES: usize, const GROUPS: usize>(
    bytes: &[u8],
    cluster: ClusterId,
    keyring: &Keyring,
) -> Result<(Header, Body<ECHOES, GROUPS>, Option<Told>), FrameError> {
    if bytes.len() > MAX_FRAME_LEN {
        return Err(FrameError::Length);
    }
    let (message, tag) = bytes.split_last_chunk::<TAG_LEN>().ok_or(FrameError::Length)?;
    let (head, body) = message.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Length)?;
    let header = header(head)?;
    if header.cluster != cluster {
        return Err(FrameError::Cluster);
    }
    match keyring.verify(header.key, message, tag) {
        None => return Err(FrameError::Key),
        Some(false) => return Err(FrameError::Tag),
        Some(true) => {}
    }
    let (body, rest) =
        postcard::take_from_bytes::<Body<ECHOES, GROUPS>>(body).map_err(|_| FrameError::Body)?;
    if repeats(&body) {
        return Err(FrameError::Body);
    }
    Ok((header, body, word_of_operator(rest)?))
}

/// Returns what the header of `bytes` claims, without any check of the tag: only good for a first
/// sorting.
///
/// # Errors
/// Says why the bytes cannot be a frame. Nothing is changed.
pub fn peek(bytes: &[u8]) -> Result<Header, FrameError> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Length)?;
    if rest.len() < TAG_LEN || bytes.len() > MAX_FRAME_LEN {
        return Err(FrameError::Length);
    }
    header(head)
}

fn header(head: &[u8; HEADER_LEN]) -> Result<Header, FrameError> {
    let [
        version,
        link,
        sender,
        key,
        c0,
        c1,
        c2,
        c3,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
    ] = *head;
    if version != VERSION {
        return Err(FrameError::Version);
    }
    Ok(Header {
        class: LinkClass::from_number(link >> 4).ok_or(FrameError::Header)?,
        link: LinkId::new(link & 0x0f).ok_or(FrameError::Header)?,
        sender: NodeId::new(sender).ok_or(FrameError::Header)?,
        key: KeyId(key),
        cluster: ClusterId(u32::from_le_bytes([c0, c1, c2, c3])),
        boot: BootId::new(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])),
        sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
    })
}

/// Reads the operator's word, which is all of `bytes` if there is any. Only servers have operators.
fn word_of_operator(bytes: &[u8]) -> Result<Option<Told>, FrameError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (told, rest) = postcard::take_from_bytes::<Told>(bytes).map_err(|_| FrameError::Body)?;
    let is_sound = rest.is_empty() && !told.stamp.by.is_witness();
    is_sound.then_some(Some(told)).ok_or(FrameError::Body)
}

/// A body that says two things about one node or one group is nobody's honest word.
fn repeats<const ECHOES: usize, const GROUPS: usize>(body: &Body<ECHOES, GROUPS>) -> bool {
    let is_again = |seen: &mut u32, group: GroupId| {
        let bit = 1 << group.number();
        let before = *seen;
        *seen |= bit;
        before & bit != 0
    };
    let (mut wants, mut words) = (0, 0);
    usize::try_from(body.hears().len()) != Ok(body.echoes.len())
        || body.wants.iter().any(|want| is_again(&mut wants, want.group))
        || body.words.iter().any(|word| is_again(&mut words, word.group))
}

/// Why bytes are not a frame of this cluster. No variant changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// Too short or too long. Not in a healthy cluster.
    Length,
    /// Another version. While a cluster is being upgraded.
    Version,
    /// A header with impossible values. Not in a healthy cluster.
    Header,
    /// Another cluster's. Where two clusters share a wire.
    Cluster,
    /// Made with a key that is not in the keyring. While keys are being rotated in the wrong order.
    Key,
    /// The tag is wrong: damaged or forged. Not in a healthy cluster.
    Tag,
    /// Rightly tagged, and not understood. Not in a healthy cluster.
    Body,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decree::Stamp;
    use crate::group::GroupSet;
    use crate::seal::{KEY_LEN, Key};
    use proptest::prelude::*;

    fn decode(
        bytes: &[u8],
        cluster: ClusterId,
        keyring: &Keyring,
    ) -> Result<(Header, Body), FrameError> {
        super::decode(bytes, cluster, keyring)
    }

    fn keyring() -> Keyring {
        Keyring::new(&[(KeyId(1), Key::new([0x5a; KEY_LEN]))], KeyId(1)).unwrap()
    }

    fn header() -> Header {
        Header {
            class: LinkClass::Udp,
            link: LinkId::new(0).unwrap(),
            sender: NodeId::new(0).unwrap(),
            key: KeyId(1),
            cluster: ClusterId(0x0102_0304),
            boot: BootId::new(0x1112_1314_1516_1718),
            sequence: 5,
        }
    }

    fn group(number: u8) -> GroupId {
        GroupId::new(number).unwrap()
    }

    fn two_nodes_two_groups() -> Body {
        let want =
            |number, phase| Want { group: group(number), phase, token: Token(3), promise_ms: 1000 };
        let word = |number, to| Word { group: group(number), to: NodeId::new(to), token: Token(3) };
        Body {
            digest: [1, 2, 3, 4],
            longest_promise_ms: 1000,
            echoes: Vec::from_slice(&[Echo {
                node: NodeId::new(1).unwrap(),
                boot: BootId::new(u64::MAX),
                sequence: 1_000_000,
                links: LinkSet::first(2),
            }])
            .unwrap(),
            wants: Vec::from_slice(&[want(0, Phase::Holding), want(1, Phase::Claiming)]).unwrap(),
            words: Vec::from_slice(&[word(0, 0), word(1, 1)]).unwrap(),
            ..Body::default()
        }
    }

    fn largest() -> Body {
        let mut body = Body {
            flags: Flags(255),
            digest: [255; 4],
            longest_promise_ms: u32::MAX,
            suspicious: u16::MAX,
            favours: NodeSet::from_bits(u32::MAX),
            ..Body::default()
        };
        for node in NodeId::all().skip(1) {
            let echo = Echo {
                node,
                boot: BootId::new(u64::MAX),
                sequence: u64::MAX,
                links: LinkSet::first(8),
            };
            body.echoes.push(echo).unwrap();
        }
        for group in GroupId::all() {
            let promise_ms = u32::try_from(crate::config::MAX_PROMISE_MILLIS).unwrap();
            body.wants
                .push(Want { group, phase: Phase::Offering, token: Token(u32::MAX), promise_ms })
                .unwrap();
            body.words.push(Word { group, to: NodeId::new(18), token: Token(u32::MAX) }).unwrap();
        }
        body
    }

    fn longest_word() -> Told {
        let groups = GroupSet::first(MAX_GROUPS);
        Told {
            stamp: Stamp { number: u32::MAX, by: NodeId::new(15).unwrap() },
            disabled: groups,
            maintenance: Some((groups, u32::MAX)),
            moving: Some((group(31), NodeId::new(15).unwrap(), u16::MAX)),
        }
    }

    fn round_trip(body: &Body) -> usize {
        told_trip(body, None)
    }

    fn told_trip(body: &Body, told: Option<Told>) -> usize {
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = encode_told(&header(), body, told.as_ref(), &keyring(), &mut buffer);
        let (head, back, word) = decode_told(&buffer[..len], header().cluster, &keyring()).unwrap();
        assert_eq!((head, &back, word), (header(), body, told));
        len
    }

    #[test]
    fn the_largest_frame_fits_and_a_small_cluster_s_is_small() {
        assert!(told_trip(&largest(), Some(longest_word())) <= MAX_FRAME_LEN);
        assert!(round_trip(&two_nodes_two_groups()) <= 96);
        assert_eq!(round_trip(&<Body>::default()), MIN_FRAME_LEN + 11);
    }

    #[test]
    fn no_frame_is_longer_than_foretold() {
        let mut body = largest();
        for echo in &mut body.echoes {
            echo.sequence = (1 << 35) - 1;
        }
        let word = Some(longest_word());
        assert_eq!(told_trip(&body, word), longest(MAX_MEMBERS, MAX_GROUPS));
        assert!(told_trip(&two_nodes_two_groups(), word) <= longest(2, 2));
    }

    #[test]
    fn each_bit_of_a_frame_is_under_the_tag() {
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = encode(&header(), &two_nodes_two_groups(), &keyring(), &mut buffer);
        for bit in 0..len * 8 {
            let mut wrong = buffer;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&wrong[..len], header().cluster, &keyring()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_shorter_or_longer_run_of_bytes_is_refused() {
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = encode(&header(), &two_nodes_two_groups(), &keyring(), &mut buffer);
        for other in (0..MAX_FRAME_LEN).filter(|other| *other != len) {
            assert!(
                decode(&buffer[..other], header().cluster, &keyring()).is_err(),
                "{other} bytes"
            );
        }
        assert_eq!(
            decode(&[0; MAX_FRAME_LEN + 1], header().cluster, &keyring()),
            Err(FrameError::Length)
        );
    }

    #[test]
    fn a_body_that_contradicts_itself_is_refused() {
        let mut body = two_nodes_two_groups();
        body.words[1].group = group(0);
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = encode(&header(), &body, &keyring(), &mut buffer);
        assert_eq!(decode(&buffer[..len], header().cluster, &keyring()), Err(FrameError::Body));
    }

    #[test]
    fn the_operator_s_word_follows_the_body_and_says_nothing_before_it_is_said() {
        let (body, longest) = (two_nodes_two_groups(), longest_word());
        let silent = round_trip(&body);
        assert_eq!(told_trip(&body, Some(longest)), silent + MAX_TOLD_LEN);
        let short = Told {
            stamp: Stamp { number: 1, ..longest.stamp },
            disabled: GroupSet::EMPTY.with(group(1)),
            maintenance: None,
            moving: None,
        };
        assert_eq!(told_trip(&body, Some(short)), silent + 5);
        let witness = Stamp { number: 1, by: NodeId::witness(0).unwrap() };
        let mut buffer = [0; MAX_FRAME_LEN];
        let told = Told { stamp: witness, ..longest };
        let len = encode_told(&header(), &body, Some(&told), &keyring(), &mut buffer);
        assert_eq!(decode(&buffer[..len], header().cluster, &keyring()), Err(FrameError::Body));
    }

    #[test]
    fn strangers_are_told_apart() {
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = encode(&header(), &<Body>::default(), &keyring(), &mut buffer);
        assert_eq!(decode(&buffer[..len], ClusterId(9), &keyring()), Err(FrameError::Cluster));
        let other = Keyring::new(&[(KeyId(2), Key::new([1; KEY_LEN]))], KeyId(2)).unwrap();
        assert_eq!(decode(&buffer[..len], header().cluster, &other), Err(FrameError::Key));
        let forger = Keyring::new(&[(KeyId(1), Key::new([1; KEY_LEN]))], KeyId(1)).unwrap();
        assert_eq!(decode(&buffer[..len], header().cluster, &forger), Err(FrameError::Tag));
        buffer[0] = 2;
        assert_eq!(decode(&buffer[..len], header().cluster, &keyring()), Err(FrameError::Version));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..1100),
        ) {
            prop_assert!(decode(&bytes, header().cluster, &keyring()).is_err());
        }

        /// A forger with the key can tag any body; it decodes to itself or is refused.
        #[test]
        fn any_tagged_body_is_answered_without_panic(
            body in proptest::collection::vec(any::<u8>(), 0..900),
        ) {
            let mut bytes = head(&header(), KeyId(1)).to_vec();
            bytes.extend(body);
            let tag = keyring().tag(&bytes);
            bytes.extend(tag);
            if let Ok((_, body, told)) = decode_told(&bytes, header().cluster, &keyring()) {
                told_trip(&body, told);
            }
        }
    }
}
