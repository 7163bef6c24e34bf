//! Who: nodes, sets of nodes, and which start of theirs.

use serde::{Deserialize, Serialize};

use crate::numbered::numbered;

/// The most servers a cluster can have.
pub const MAX_NODES: usize = 16;
/// The most witnesses a cluster can have; an odd number of them is used.
pub const MAX_WITNESSES: usize = 3;
/// The most participants of any kind: servers and witnesses.
pub const MAX_MEMBERS: usize = MAX_NODES + MAX_WITNESSES;
/// The most links a cluster can have.
pub const MAX_LINKS: usize = 8;

/// The same bound as the number that ids are made of.
const NODES: u8 = 16;
const _: () = assert!(NODES as usize == MAX_NODES, "ids count the same nodes as tables");

numbered! {
    /// A participant of a cluster: a server (ids 0 to 15, in the order of the settings) or a
    /// witness (16 to 18).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(try_from = "u8", into = "u8")]
    NodeId below MAX_MEMBERS;
    /// A set of participants.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
    )]
    NodeSet of u32
}

impl NodeId {
    /// Returns the witness with this number, counted from 0, or `None` if there can be none.
    #[must_use]
    pub const fn witness(number: u8) -> Option<Self> {
        Self::new(NODES.saturating_add(number))
    }

    /// Returns which witness this is, counted from 0, or `None` if it is a server.
    #[must_use]
    pub const fn witness_number(self) -> Option<u8> {
        self.0.checked_sub(NODES)
    }

    /// Returns whether this is a witness and not a server.
    #[must_use]
    pub const fn is_witness(self) -> bool {
        self.0 >= NODES
    }
}

/// One start of one participant: 64 random bits drawn at that start, so that its frames, promises
/// and echoes are told from those of every earlier start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(u64);

impl BootId {
    /// Returns the boot id made of these random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// Returns the bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

// Eight bytes on the wire, not a variable-length integer: the bits are random, so a varint would
// need ten.
impl Serialize for BootId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_le_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(u64::from_le_bytes(<[u8; 8]>::deserialize(deserializer)?)))
    }
}

/// A cluster, told from every other on the same wire and under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u32);

numbered! {
    /// One way to reach peers, by its place in the settings, 0 to 7. The same number names the same
    /// link on every node.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    LinkId below MAX_LINKS;
    /// A set of links.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    LinkSet of u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_last_participant_are_refused() {
        assert_eq!(NodeId::new(18).map(NodeId::number), Some(18));
        assert_eq!(NodeId::new(19), None);
        assert_eq!(NodeId::witness(0).map(NodeId::number), Some(16));
        assert_eq!(NodeId::witness(3), None);
        for number in 0..u8::try_from(MAX_WITNESSES).unwrap() {
            let witness = NodeId::witness(number).unwrap();
            assert_eq!(witness.witness_number(), Some(number));
        }
        assert_eq!(NodeId::new(15).unwrap().witness_number(), None);
        assert_eq!(NodeId::witness(255), None);
    }
}
