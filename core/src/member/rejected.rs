//! Why frames are not taken in, and how often.

use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::frame::FrameError;
use crate::peer::Stale;

/// Why a frame is not taken in. Only counters change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// It is not a frame of this cluster, or is damaged or forged.
    Frame(FrameError),
    /// It is not life.
    Stale(Stale),
    /// It was sent on another link, or a link of another kind: crossed cables, or a replay from
    /// elsewhere.
    WrongLink,
    /// It is this node's own: the link is a loop.
    Loop,
    /// Another start, or another machine, uses this node's id.
    OwnId,
    /// The sender is not a member of this cluster.
    Stranger,
}

impl Rejected {
    /// The number of different counters.
    pub const KINDS: usize = 14;

    /// Returns the place of this kind in a table of counters, and its name.
    #[must_use]
    pub const fn kind(self) -> (usize, &'static str) {
        match self {
            Self::Frame(FrameError::Length) => (0, "length"),
            Self::Frame(FrameError::Version) => (1, "version"),
            Self::Frame(FrameError::Header) => (2, "header"),
            Self::Frame(FrameError::Cluster) => (3, "other cluster"),
            Self::Frame(FrameError::Key) => (4, "unknown key"),
            Self::Frame(FrameError::Tag) => (5, "wrong tag"),
            Self::Frame(FrameError::Body) => (6, "body"),
            Self::Stale(Stale::Replayed) => (7, "replayed"),
            Self::Stale(Stale::NotFresh) => (8, "not fresh"),
            Self::Stale(Stale::OtherStart) => (9, "other start"),
            Self::WrongLink => (10, "wrong link"),
            Self::Loop => (11, "loop"),
            Self::OwnId => (12, "own id"),
            Self::Stranger => (13, "stranger"),
        }
    }

    /// Returns whether the frame has a right tag of this cluster, so that it may be passed on to
    /// others although it means nothing here.
    #[must_use]
    pub const fn is_authentic(self) -> bool {
        match self {
            Self::Frame(error) => matches!(error, FrameError::Body),
            Self::WrongLink => false,
            Self::Stale(_) | Self::Loop | Self::OwnId | Self::Stranger => true,
        }
    }

    /// Returns the names of all kinds, in the order of their places.
    #[must_use]
    pub const fn names() -> [&'static str; Self::KINDS] {
        [
            "length",
            "version",
            "header",
            "other cluster",
            "unknown key",
            "wrong tag",
            "body",
            "replayed",
            "not fresh",
            "other start",
            "wrong link",
            "loop",
            "own id",
            "stranger",
        ]
    }
}

/// How many frames were not taken in on one link, by kind; the counters stop at their largest
/// value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// One counter for each kind, in the order of [`Rejected::names`].
    pub rejected: [u32; Rejected::KINDS],
    /// How many frames were taken in.
    pub accepted: u64,
}

/// Nothing is decided by what was counted, so states that differ in that alone have one hash.
impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_a_place_for_each_kind() {
        let frames = [
            FrameError::Length,
            FrameError::Version,
            FrameError::Header,
            FrameError::Cluster,
            FrameError::Key,
            FrameError::Tag,
            FrameError::Body,
        ];
        let stale = [Stale::Replayed, Stale::NotFresh, Stale::OtherStart].map(Rejected::Stale);
        let others = [Rejected::WrongLink, Rejected::Loop, Rejected::OwnId, Rejected::Stranger];
        let all = frames.map(Rejected::Frame).into_iter().chain(stale).chain(others);
        let places: std::vec::Vec<_> = all.map(Rejected::kind).collect();
        let expected: std::vec::Vec<_> = Rejected::names().into_iter().enumerate().collect();
        assert_eq!(places, expected);
    }
}
