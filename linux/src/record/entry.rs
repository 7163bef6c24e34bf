//! What a recording is made of: every call that changes an engine, and what came out of it.

use lifesign_core::decree::Saying;
use lifesign_core::engine::{Engine, Event};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::member::{Heard, Rejected};
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::peer::Accepted;
use lifesign_core::seal::{KeyId, Keyring, TAG_LEN};
use lifesign_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::explain::Penalty;

/// One call of the engine, one result of it, or one thing that explanations refer to.
///
/// A moment is given as the microseconds since that of the entry before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry<'a> {
    /// Authority is looked at.
    Check(i64),
    /// A frame has come.
    Frame {
        /// When.
        after: i64,
        /// Over which link.
        link: u8,
        /// The frame without its tag, as [`pack`](super::pack) writes it.
        #[serde(borrow)]
        packed: &'a [u8],
        /// How many bytes of a tag there were: fewer than a whole one where the frame is too short.
        tag: u8,
    },
    /// What became of that frame; see [`judgement`].
    Judged(u8),
    /// Whatever is due is done.
    Timeout(i64),
    /// The engine was asked what has changed, and this is what it said.
    Event(Option<Event>),
    /// The engine is asked for a frame.
    Transmit(i64),
    /// What it wrote.
    Wrote(Option<Wrote>),
    /// The shell has started a group, or could not.
    Started(i64, GroupId, bool),
    /// The shell has stopped a group, or could not.
    Stopped(i64, GroupId, bool),
    /// Something of a group has failed.
    Failed(i64, GroupId),
    /// Whether this machine can serve a group.
    Able(i64, GroupId, bool),
    /// Tokens are saved as used.
    Reserved(i64, Token),
    /// A fence was acknowledged.
    Fenced(i64, NodeId, Option<BootId>),
    /// The operator wants this node free of a group, or of all.
    Standby(i64, Option<GroupId>),
    /// The operator wants a group here, or all.
    Takeover(i64, Option<GroupId>),
    /// The node begins to leave.
    Leave(i64),
    /// Other keys are in use from here on.
    Keys(Keys),
    /// Something that explanations refer to is otherwise.
    Note(Note),
    /// Somebody was told how things are.
    Told(i64),
    /// The operator says something to the whole cluster.
    Saying(i64, Saying),
}

/// What is kept of a frame that the engine wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    /// Over which link it goes.
    pub link: u8,
    /// How long it is, with its tag.
    pub len: u16,
    /// The check of all but its tag.
    pub check: u32,
}

impl Wrote {
    /// Returns what is kept of the frame `bytes` for link number `link`.
    #[must_use]
    pub fn of(link: u8, bytes: &[u8]) -> Self {
        let message = &bytes[..bytes.len().saturating_sub(TAG_LEN)];
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        Self { link, len, check: check(message) }
    }
}

/// Which keys are in use; never the keys themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Those that are accepted.
    pub ids: Vec<KeyId>,
    /// The one that signs.
    pub signer: KeyId,
}

impl Keys {
    /// Returns which keys `keyring` has.
    #[must_use]
    pub fn of(keyring: &Keyring) -> Self {
        Self { ids: keyring.ids().collect(), signer: keyring.signer() }
    }
}

/// What explanations refer to besides the engine, in words. The last note on the same matter holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// What is wrong with this node's IP side, if anything is.
    IpSide(Option<String>),
    /// Why a member may not be heard, if that is known.
    Unheard(NodeId, Option<String>),
    /// What is known of the reset of a node that a group waits for.
    Reset(GroupId, NodeId, String),
    /// Why this node leaves a group alone because of what has failed here, if it does.
    Penalty(GroupId, Option<Penalty>),
    /// Why this node leaves a group alone because of its watchdog, if it does.
    Unguarded(GroupId, Option<String>),
}

impl Note {
    /// Returns whether this note takes the place of `other`.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::IpSide(_), Self::IpSide(_)) => true,
            (Self::Unheard(one, _), Self::Unheard(two, _)) => one == two,
            (Self::Reset(group, node, _), Self::Reset(other, target, _)) => {
                (group, node) == (other, target)
            }
            (Self::Penalty(one, _), Self::Penalty(two, _)) => one == two,
            (Self::Unguarded(one, _), Self::Unguarded(two, _)) => one == two,
            _ => false,
        }
    }
}

/// What every segment begins with, so that it can be understood without those before it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start<E = Engine> {
    /// When, on the machine's clock.
    pub at: Instant,
    /// The same moment on the wall clock, in microseconds since 1970.
    pub wall_us: u64,
    /// How many entries between the segment before it and this one are lost; `None` if there is
    /// none before it in this start of the daemon.
    pub lost: Option<u64>,
    /// Which keys are in use.
    pub keys: Keys,
    /// What explanations refer to.
    pub notes: Vec<Note>,
    /// The engine as it is, without its keys.
    pub engine: E,
}

/// Returns one number for what became of a frame. The sender of a frame that is taken in stands in
/// the frame.
#[must_use]
pub fn judgement(result: &Result<Heard, Rejected>) -> u8 {
    match result {
        Ok(heard) => {
            let accepted = match heard.accepted {
                Accepted::Newest => 0,
                Accepted::Opened => 1,
                Accepted::Copy => 2,
                Accepted::Farewell => 3,
            };
            TAKEN | accepted << 1 | u8::from(heard.promised)
        }
        Err(rejected) => u8::try_from(rejected.kind().0).unwrap_or(TAKEN - 1),
    }
}

/// What became of a frame with a wrong tag.
pub const WRONG_TAG: u8 = 5;

/// The bit that says that a frame was taken in.
const TAKEN: u8 = 0x80;

/// Returns what a judgement says, for people.
#[must_use]
pub fn judgement_text(judgement: u8) -> String {
    if judgement & TAKEN == 0 {
        let name = Rejected::names().get(usize::from(judgement)).copied();
        return format!("refused: {}", name.unwrap_or("for an unknown reason"));
    }
    let accepted = match judgement >> 1 & 3 {
        0 => "news",
        1 => "a session opened",
        2 => "a copy",
        _ => "a farewell",
    };
    let promised = if judgement & 1 == 1 { ", and a promise changed hands" } else { "" };
    format!("taken in: {accepted}{promised}")
}

/// Returns the check that guards what is written.
#[must_use]
pub fn check(bytes: &[u8]) -> u32 {
    CHECK.checksum(bytes)
}

static CHECK: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
