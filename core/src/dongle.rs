//! Messages between a dongle and whoever is on one of its lines.
//!
//! They share the line with frames and are told from them by their first byte. They are never
//! passed on: a dongle answers on the line on which it was asked.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | [`OPEN`] or [`SEALED`] |
//! | 1 | key id; only if sealed |
//! | n | [`Request`] or [`Reply`] in postcard's format |
//! | 16 | tag over everything before it, by the cluster's keys for [`PURPOSE`]; only if sealed |
//!
//! Who may read a dongle's log and state is whoever holds a cable to it. What changes it is sealed:
//! resets always, and provisioning by the present key unless the dongle is new or unlocked by hand.
//! Nothing recorded works twice: provisioning carries the challenge of the last [`Info`], a reset
//! its own number ([`reset`](crate::reset)).

pub mod settings;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::node::{BootId, ClusterId, NodeId, NodeSet};
use crate::reset::{Answer, Arm, Fire};
use crate::seal::{KeyId, Keyring, TAG_LEN};
use crate::time::Instant;

pub use settings::{NotProvisioned, PortSettings, Settings};

/// The version of these messages; the same number is in [`Info::version`].
pub const VERSION: u8 = 1;
/// The first byte of a message without a tag.
pub const OPEN: u8 = 0xd0;
/// The first byte of a message with a tag.
pub const SEALED: u8 = 0xd1;
/// What the cluster's keys are derived for before they seal these messages.
pub const PURPOSE: &[u8] = b"lifesign dongle";
/// The longest message, in bytes.
pub const MAX_MESSAGE_LEN: usize = 352;
/// The most ports of a dongle.
pub const MAX_PORTS: usize = 5;
/// The longest name of a port, in bytes.
pub const MAX_NAME_LEN: usize = 15;
/// The most bytes that are echoed.
pub const MAX_ECHO_LEN: usize = 200;
/// How many events a dongle remembers.
pub const MAX_EVENTS: usize = 64;
/// How many events one reply carries.
pub const EVENTS_PER_REPLY: usize = 8;

/// What a dongle is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you, and how are you?
    Info,
    /// What happened, from event number `from` on?
    Log {
        /// The number of the first event that is wanted.
        from: u32,
    },
    /// Say this back.
    Echo {
        /// To tell answers apart.
        number: u16,
        /// Anything.
        filler: Vec<u8, MAX_ECHO_LEN>,
    },
    /// Be the witness of a cluster, with these settings from here on.
    Provision(Provision),
    /// Arm a reset line; sealed.
    Arm(Arm),
    /// Fire an armed line; sealed.
    Fire(Fire),
}

/// What a dongle answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Info`].
    Info(Info),
    /// To [`Request::Log`].
    Log(Log),
    /// To [`Request::Echo`].
    Echo {
        /// The number that was asked with.
        number: u16,
        /// What was asked with.
        filler: Vec<u8, MAX_ECHO_LEN>,
    },
    /// To [`Request::Provision`]: it is stored, or nothing has changed.
    Provisioned(Result<(), NotProvisioned>),
    /// To [`Request::Arm`] and [`Request::Fire`]; sealed.
    Reset(Answer),
    /// What was asked is not understood: of another version, or longer than this dongle takes.
    NotUnderstood,
}

/// Whether a dongle takes settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lock {
    /// It has none yet, and takes any. It passes nothing on.
    Unprovisioned,
    /// It takes what the present key has sealed.
    Locked,
    /// It is unlocked by hand and takes any.
    Unlocked,
}

/// Why a dongle started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// It does not know.
    Unknown,
    /// Power came.
    Power,
    /// The supply was too low.
    BrownOut,
    /// The reset button or line.
    Pin,
    /// Its own watchdog: the loop had stopped.
    Watchdog,
    /// It found a fault in itself.
    Fault,
    /// It was asked to, or restarted to take new settings.
    Software,
}

/// How a dongle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The version of these messages that it speaks.
    pub version: u8,
    /// The version of its firmware: major, minor, patch.
    pub firmware: [u8; 3],
    /// The board it runs on.
    pub board: String<MAX_NAME_LEN>,
    /// The port on which it was asked, from 0.
    pub port: u8,
    /// Whether it takes settings.
    pub lock: Lock,
    /// To be repeated by [`Provision`]; of no use afterwards.
    pub challenge: u64,
    /// The cluster, and which witness of it, if it is provisioned.
    pub member: Option<(ClusterId, NodeId)>,
    /// The longest promise it makes, in milliseconds.
    pub longest_promise_ms: u32,
    /// Whether it promises yet: a dongle that has just started waits out the longest promise, and
    /// one that cannot count its starts never promises.
    pub promises: bool,
    /// Its clock, in microseconds since it started.
    pub uptime: Instant,
    /// Why it started.
    pub cause: Cause,
    /// How often it has started; 0 if it cannot count.
    pub starts: u32,
    /// Its boot id.
    pub boot: BootId,
    /// How many nodes, groups and bytes in a frame it has room for.
    pub limits: (u8, u8, u16),
    /// Whom it hears.
    pub hears: NodeSet,
    /// Its ports.
    pub ports: Vec<PortInfo, MAX_PORTS>,
}

/// How one port is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name, or nothing.
    pub name: String<MAX_NAME_LEN>,
    /// Whom its reset line resets, if it is wired.
    pub resets: Option<NodeId>,
    /// Messages that came in whole.
    pub received: u32,
    /// Runs of bytes that were no message.
    pub garbage: u32,
    /// Frames that were refused: another cluster's, forged, own ones.
    pub refused: u32,
    /// Bytes lost because the dongle was too slow.
    pub overruns: u32,
    /// Messages sent.
    pub sent: u32,
    /// Messages replaced by newer ones or lost before they could be sent.
    pub lost: u32,
}

/// The settings of a dongle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provision {
    /// The challenge of the last [`Info`].
    pub challenge: u64,
    /// What is to be stored.
    pub settings: Settings,
}

/// Some of a dongle's events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The number of the next event that will happen; the newest has one less.
    pub next: u32,
    /// Events with their numbers.
    pub events: Vec<(u32, Event), EVENTS_PER_REPLY>,
}

/// Something that happened to a dongle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the start in which it happened.
    pub at_ms: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum What {
    /// The dongle started, for this reason; which start of it.
    Started(Cause, u16),
    /// New settings are in force.
    Provisioned,
    /// Settings were refused.
    NotProvisioned(NotProvisioned),
    /// A node is heard.
    Heard(NodeId),
    /// A node has fallen silent, or has left.
    Lost(NodeId),
    /// The favoured nodes have changed: one bit for each of the first 16.
    Favours(u16),
    /// A reset line was armed for a node.
    Armed(NodeId),
    /// A reset line became active.
    Fired(NodeId),
    /// A pulse is over, and the line had followed.
    Reset(NodeId),
    /// A request for a reset was refused.
    Refused(NodeId, crate::reset::Refusal),
    /// Frames with a wrong tag came in at a port.
    Forged(u8),
    /// Its own frames came back at a port.
    Loop(u8),
    /// A frame was too long or said more than there is room for.
    TooLarge(u8),
    /// Something could not be stored.
    StoreFailed,
}

/// Writes an open message into `buffer` and returns its length, or `None` if it is too long.
#[must_use]
pub fn encode<T: Serialize>(message: &T, buffer: &mut [u8; MAX_MESSAGE_LEN]) -> Option<usize> {
    let (first, rest) = buffer.split_first_mut()?;
    *first = OPEN;
    let written = postcard::to_slice(message, rest).ok()?.len();
    written.checked_add(1)
}

/// Writes a message sealed by `control`, the keyring derived for [`PURPOSE`], into `buffer` and
/// returns its length, or `None` if it is too long.
#[must_use]
pub fn seal<T: Serialize>(
    message: &T,
    control: &Keyring,
    buffer: &mut [u8; MAX_MESSAGE_LEN],
) -> Option<usize> {
    let [kind, key, rest @ ..] = buffer;
    (*kind, *key) = (SEALED, control.signer().0);
    let len = postcard::to_slice(message, rest).ok()?.len().checked_add(2)?;
    let (text, rest) = buffer.split_at_mut_checked(len)?;
    rest.get_mut(..TAG_LEN)?.copy_from_slice(&control.tag(text));
    len.checked_add(TAG_LEN)
}

/// Whether a message was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It was, by a key of the keyring.
    Yes,
    /// It was open.
    No,
}

/// Why bytes are not a message to or from a dongle. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAMessage {
    /// They begin like something else, perhaps a frame.
    OtherKind,
    /// Sealed with a key that is not at hand.
    Key,
    /// The tag is wrong.
    Tag,
    /// Not understood: of another version.
    Body,
}

/// Returns the message in `bytes`, and whether it was sealed by a key of `control`.
///
/// # Errors
/// Says why they are none.
pub fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    control: Option<&Keyring>,
) -> Result<(T, Sealed), NotAMessage> {
    let (body, sealed) = match bytes {
        [OPEN, body @ ..] => (body, Sealed::No),
        [SEALED, key, _body @ ..] => {
            let control = control.ok_or(NotAMessage::Key)?;
            let (text, tag) = bytes.split_last_chunk::<TAG_LEN>().ok_or(NotAMessage::Body)?;
            match control.verify(KeyId(*key), text, tag) {
                None => return Err(NotAMessage::Key),
                Some(false) => return Err(NotAMessage::Tag),
                Some(true) => (text.get(2..).ok_or(NotAMessage::Body)?, Sealed::Yes),
            }
        }
        _ => return Err(NotAMessage::OtherKind),
    };
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok((message, sealed)),
        _ => Err(NotAMessage::Body),
    }
}

/// Returns whether `message` is to or from a dongle, and not a frame.
#[must_use]
pub fn is_dongle_message(message: &[u8]) -> bool {
    matches!(message, [OPEN | SEALED, ..])
}

#[cfg(test)]
mod tests {
    use super::settings::tests::{name, settings};
    use super::*;
    use crate::reset::{Outcome, RequestId};

    fn control() -> Keyring {
        let keys = [(KeyId(3), crate::seal::Key::new([9; crate::seal::KEY_LEN]))];
        Keyring::new(&keys, KeyId(3)).unwrap().derive(PURPOSE)
    }

    fn answer() -> Answer {
        let id =
            RequestId { asker: NodeId::new(1).unwrap(), boot: BootId::new(2), number: u32::MAX };
        Answer { id, outcome: Outcome::Armed { nonce: u64::MAX } }
    }

    #[test]
    fn the_largest_messages_fit() {
        let port = PortInfo {
            name: name(),
            resets: NodeId::new(15),
            received: u32::MAX,
            garbage: u32::MAX,
            refused: u32::MAX,
            overruns: u32::MAX,
            sent: u32::MAX,
            lost: u32::MAX,
        };
        let info = Info {
            version: VERSION,
            firmware: [255; 3],
            board: name(),
            port: 4,
            lock: Lock::Unlocked,
            challenge: u64::MAX,
            member: Some((ClusterId(u32::MAX), NodeId::new(18).unwrap())),
            longest_promise_ms: u32::MAX,
            promises: true,
            uptime: Instant::from_micros(u64::MAX),
            cause: Cause::Software,
            starts: u32::MAX,
            boot: BootId::new(u64::MAX),
            limits: (255, 255, u16::MAX),
            hears: NodeSet::from_bits(u32::MAX),
            ports: Vec::from_array([0; MAX_PORTS].map(|_| port.clone())),
        };
        let event = Event {
            at_ms: u32::MAX,
            what: What::Refused(NodeId::new(1).unwrap(), crate::reset::Refusal::LineStuck),
        };
        let log = Log { next: 9, events: Vec::from_array([(u32::MAX, event); EVENTS_PER_REPLY]) };
        for reply in [Reply::Info(info), Reply::Log(log), Reply::Reset(answer())] {
            let mut buffer = [0; MAX_MESSAGE_LEN];
            let len = seal(&reply, &control(), &mut buffer).unwrap();
            let back = decode(&buffer[..len], Some(&control()));
            assert_eq!(back, Ok((reply, Sealed::Yes)));
        }
        let provision = Request::Provision(Provision { challenge: 1, settings: settings() });
        let mut buffer = [0; MAX_MESSAGE_LEN];
        assert!(seal(&provision, &control(), &mut buffer).unwrap() <= 240);
    }

    #[test]
    fn what_is_sealed_cannot_be_changed_and_strangers_cannot_seal() {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = seal(&Reply::Reset(answer()), &control(), &mut buffer).unwrap();
        for bit in 0..len * 8 {
            let mut wrong = buffer;
            wrong[bit / 8] ^= 1 << (bit % 8);
            let read = decode::<Reply>(&wrong[..len], Some(&control()));
            // An open message has no tag; what the bits say then must not count as sealed.
            assert!(!matches!(read, Ok((_, Sealed::Yes))), "bit {bit}");
        }
        let stranger = control().derive(b"else");
        let read = decode::<Reply>(&buffer[..len], Some(&stranger));
        assert_eq!(read, Err(NotAMessage::Tag));
        assert_eq!(decode::<Reply>(&buffer[..len], None), Err(NotAMessage::Key));
        assert_eq!(
            decode::<Reply>(&[crate::frame::VERSION; 40], None),
            Err(NotAMessage::OtherKind)
        );
    }
}
