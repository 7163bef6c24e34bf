//! Who: nodes, sets of nodes, and which start of theirs.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The most servers a cluster can have.
pub const MAX_NODES: usize = 16;
/// The most witnesses a cluster can have; an odd number of them is used.
pub const MAX_WITNESSES: usize = 3;
/// The most participants of any kind: servers and witnesses.
pub const MAX_MEMBERS: usize = MAX_NODES + MAX_WITNESSES;
/// The most links a cluster can have.
pub const MAX_LINKS: usize = 8;

/// The same bounds as the numbers that ids are made of.
const NODES: u8 = 16;
const MEMBERS: u8 = 19;
const LINKS: u8 = 8;
const _: () = assert!(NODES as usize == MAX_NODES, "ids count the same nodes as tables");
const _: () = assert!(MEMBERS as usize == MAX_MEMBERS, "ids count the same members as tables");
const _: () = assert!(LINKS as usize == MAX_LINKS, "ids count the same links as tables");

/// A participant of a cluster: a server (ids 0 to 15, in the order of the settings) or a witness
/// (16 to 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeId(u8);

impl NodeId {
    /// Returns the participant with this number, or `None` if there can be none.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < MEMBERS { Some(Self(number)) } else { None }
    }

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

    /// Returns the number: 0 to 15 for a server, 16 to 18 for a witness.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the place of this participant in a table of [`MAX_MEMBERS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns every possible participant, servers first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MEMBERS).map(Self)
    }
}

impl TryFrom<u8> for NodeId {
    type Error = NoSuchNode;

    fn try_from(number: u8) -> Result<Self, NoSuchNode> {
        Self::new(number).ok_or(NoSuchNode)
    }
}

impl From<NodeId> for u8 {
    fn from(node: NodeId) -> Self {
        node.0
    }
}

/// The error of a participant's number that is out of range. No state changes; a healthy cluster
/// has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchNode;

impl fmt::Display for NoSuchNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no participant can have this number")
    }
}

impl core::error::Error for NoSuchNode {}

/// A set of participants.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeSet(u32);

const _: () = assert!(MAX_MEMBERS <= 32, "a NodeSet has one bit for each participant");

impl NodeSet {
    /// The set of nobody.
    pub const EMPTY: Self = Self(0);

    /// Returns the set whose members are the one bits of `bits`; bits beyond the last participant
    /// are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << MAX_MEMBERS) - 1))
    }

    /// Returns the set as bits, one for each participant's number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether `node` is in the set.
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 >> node.0 & 1 == 1
    }

    /// Returns the place of `node` in a table with one slot for each member of this set, in the
    /// order of their numbers, or `None` if it is not in the set.
    #[must_use]
    pub const fn place(self, node: NodeId) -> Option<usize> {
        let before = self.0 & ((1 << node.0) - 1);
        if self.contains(node) { Some(before.count_ones() as usize) } else { None }
    }

    /// Puts `node` into the set.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.0;
    }

    /// Takes `node` out of the set.
    pub fn remove(&mut self, node: NodeId) {
        self.0 &= !(1 << node.0);
    }

    /// Returns the set with `node` in it.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | 1 << node.0)
    }

    /// Returns those in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns those in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns those in this set that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether nobody is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns how many are in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns the members in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let number = u8::try_from(rest.0.trailing_zeros()).ok()?;
            let node = NodeId::new(number)?;
            rest.remove(node);
            Some(node)
        })
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
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

/// One way to reach peers, by its place in the settings, 0 to 7. The same number names the same
/// link on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u8);

impl LinkId {
    /// Returns the link with this number, or `None` if there can be none.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < LINKS { Some(Self(number)) } else { None }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the place of this link in a table of [`MAX_LINKS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns every possible link.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LINKS).map(Self)
    }
}

/// A set of links, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkSet(u8);

const _: () = assert!(MAX_LINKS <= 8, "a LinkSet has one bit for each link");

impl LinkSet {
    /// No link at all.
    pub const EMPTY: Self = Self(0);

    /// Returns the first `count` links.
    #[must_use]
    pub fn first(count: usize) -> Self {
        LinkId::all().take(count).fold(Self::EMPTY, |mut set, link| {
            set.insert(link);
            set
        })
    }

    /// Returns whether `link` is in the set.
    #[must_use]
    pub const fn contains(self, link: LinkId) -> bool {
        self.0 >> link.0 & 1 == 1
    }

    /// Puts `link` into the set.
    pub fn insert(&mut self, link: LinkId) {
        self.0 |= 1 << link.0;
    }

    /// Takes `link` out of the set.
    pub fn remove(&mut self, link: LinkId) {
        self.0 &= !(1 << link.0);
    }

    /// Returns whether the set has no link.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the links in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = LinkId> {
        LinkId::all().filter(move |link| self.contains(*link))
    }
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

    #[test]
    fn sets_obey_the_algebra_of_sets() {
        for left in 0..256 {
            for right in 0..256 {
                let (left, right) = (NodeSet::from_bits(left), NodeSet::from_bits(right));
                assert_eq!(left.difference(right).union(left.intersection(right)), left);
                assert_eq!(
                    left.union(right).len() + left.intersection(right).len(),
                    left.len() + right.len()
                );
                assert_eq!(left.iter().collect::<NodeSet>(), left);
                let places = left.iter().map(|node| left.place(node));
                assert!(places.eq((0..usize::try_from(left.len()).unwrap()).map(Some)));
                assert!(right.difference(left).iter().all(|node| left.place(node).is_none()));
            }
        }
    }
}
