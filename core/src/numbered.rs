//! Numbers of one kind of thing, and sets of them. Nodes, links, groups and ports are numbered
//! alike, from 0 in the order of the settings, so that a table has a place for each.

/// Defines a type of the numbers below a count, and one of sets of them with a bit for each.
macro_rules! numbered {
    (
        $(#[$id_meta:meta])*
        $Id:ident below $count:expr;
        $(#[$set_meta:meta])*
        $Set:ident of $Bits:ty
    ) => {
        $(#[$id_meta])*
        pub struct $Id(u8);

        impl $Id {
            /// Returns what has this number, or `None` if nothing can have it.
            #[must_use]
            pub const fn new(number: u8) -> Option<Self> {
                if (number as usize) < $count { Some(Self(number)) } else { None }
            }

            /// Returns what has this place in a table, or `None` if nothing can have it.
            #[must_use]
            pub fn at(index: usize) -> Option<Self> {
                u8::try_from(index).ok().and_then(Self::new)
            }

            /// Returns the number, from 0.
            #[must_use]
            pub const fn number(self) -> u8 {
                self.0
            }

            /// Returns the place in a table that has one for each possible number.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// Returns every possible one, in the order of the numbers.
            pub fn all() -> impl Iterator<Item = Self> {
                (0..=u8::MAX).map_while(Self::new)
            }
        }

        impl TryFrom<u8> for $Id {
            type Error = $crate::numbered::OutOfRange;

            fn try_from(number: u8) -> Result<Self, Self::Error> {
                Self::new(number).ok_or($crate::numbered::OutOfRange)
            }
        }

        impl From<$Id> for u8 {
            fn from(id: $Id) -> Self {
                id.0
            }
        }

        $(#[$set_meta])*
        pub struct $Set($Bits);

        impl $Set {
            /// The empty set.
            pub const EMPTY: Self = Self(0);

            /// Returns the set of all the one bits of `bits`; those beyond the last possible number
            /// are dropped.
            #[must_use]
            pub const fn from_bits(bits: $Bits) -> Self {
                Self(bits & <$Bits>::MAX >> (<$Bits>::BITS as usize - $count))
            }

            /// Returns the set as bits, one for each number.
            #[must_use]
            pub const fn bits(self) -> $Bits {
                self.0
            }

            /// Returns the set of the first `count` numbers, or of all if there are fewer.
            #[must_use]
            pub const fn first(count: usize) -> Self {
                if count >= $count { Self::from_bits(<$Bits>::MAX) } else { Self((1 << count) - 1) }
            }

            /// Returns whether `id` is in the set.
            #[must_use]
            pub const fn contains(self, id: $Id) -> bool {
                self.0 >> id.0 & 1 == 1
            }

            /// Returns whether all of `other` is in this set.
            #[must_use]
            pub const fn covers(self, other: Self) -> bool {
                other.0 & !self.0 == 0
            }

            /// Puts `id` into the set.
            pub fn insert(&mut self, id: $Id) {
                *self = self.with(id);
            }

            /// Takes `id` out of the set.
            pub fn remove(&mut self, id: $Id) {
                *self = self.without(id);
            }

            /// Returns the set with `id` in it.
            #[must_use]
            pub const fn with(self, id: $Id) -> Self {
                Self(self.0 | 1 << id.0)
            }

            /// Returns the set without `id`.
            #[must_use]
            pub const fn without(self, id: $Id) -> Self {
                Self(self.0 & !(1 << id.0))
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

            /// Returns whether the set is empty.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Returns how many are in the set.
            #[must_use]
            pub const fn len(self) -> u32 {
                self.0.count_ones()
            }

            /// Returns the place of `id` in a table with one slot for each of this set, in the
            /// order of the numbers, or `None` if it is not in the set.
            #[must_use]
            pub const fn place(self, id: $Id) -> Option<usize> {
                let before = self.0 & ((1 << id.0) - 1);
                if self.contains(id) { Some(before.count_ones() as usize) } else { None }
            }

            /// Returns those in the set, in the order of the numbers.
            pub fn iter(self) -> impl Iterator<Item = $Id> {
                let mut rest = self;
                core::iter::from_fn(move || {
                    let next = $Id::at(usize::try_from(rest.0.trailing_zeros()).ok()?)?;
                    rest.remove(next);
                    Some(next)
                })
            }
        }

        impl FromIterator<$Id> for $Set {
            fn from_iter<I: IntoIterator<Item = $Id>>(ids: I) -> Self {
                ids.into_iter().fold(Self::EMPTY, Self::with)
            }
        }
    };
}

pub(crate) use numbered;

/// The error of a number that is out of range. No state changes; a healthy cluster has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl core::fmt::Display for OutOfRange {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("nothing of its kind can have this number")
    }
}

impl core::error::Error for OutOfRange {}

#[cfg(test)]
mod tests {
    use crate::node::{NodeId, NodeSet};

    #[test]
    fn numbers_beyond_the_last_are_refused() {
        assert_eq!(NodeId::new(18).map(NodeId::number), Some(18));
        assert_eq!((NodeId::new(19), NodeId::at(19), NodeId::at(256)), (None, None, None));
        assert_eq!(NodeId::try_from(18).map(u8::from), Ok(18));
        assert_eq!(NodeId::try_from(19), Err(super::OutOfRange));
        assert_eq!(NodeId::all().count(), 19);
        assert_eq!(NodeId::all().map(NodeId::index).last(), Some(18));
    }

    #[test]
    fn a_set_has_no_bit_beyond_the_last_number() {
        let all = NodeSet::from_bits(u32::MAX);
        assert_eq!((all.len(), NodeSet::first(19), NodeSet::first(99)), (19, all, all));
        assert!(NodeId::all().eq(all.iter()));
        assert!(NodeId::all().take(5).eq(NodeSet::first(5).iter()));
        assert!(NodeSet::first(0).is_empty());
    }

    #[test]
    fn sets_obey_the_algebra_of_sets() {
        for left in 0..256 {
            for right in 0..256 {
                let (left, right) = (NodeSet::from_bits(left), NodeSet::from_bits(right));
                let both = left.intersection(right);
                assert_eq!(left.difference(right).union(both), left);
                assert_eq!(left.union(right).len() + both.len(), left.len() + right.len());
                assert_eq!(left.covers(right), both == right);
                assert_eq!(left.iter().collect::<NodeSet>(), left);
                assert!(left.iter().all(|id| left.contains(id) && !left.without(id).contains(id)));
                let places = left.iter().map(|id| left.place(id));
                assert!(places.eq((0..usize::try_from(left.len()).unwrap()).map(Some)));
                assert!(right.difference(left).iter().all(|id| left.place(id).is_none()));
            }
        }
    }
}
