//! A holder's authority: how old the support of a quorum is, counted from sending.
//!
//! A voter's support for a claim is as old as the newest frame of the claimant that the voter
//! echoed while promising it the group under that claim's token. The voter's promise counts from
//! the *receipt* of that frame, so however long the network held it up, authority that ends at age
//! D ends before the promise does.

use serde::{Deserialize, Serialize};

use crate::node::{MAX_MEMBERS, NodeId, NodeSet};
use crate::quorum::Quorum;
use crate::time::Instant;

/// When each voter's newest supporting echo was sent by the claimant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Support<const MEMBERS: usize = MAX_MEMBERS> {
    /// Whose slots these are, in the order of their numbers.
    voters: NodeSet,
    #[serde(with = "crate::array")]
    sent: [Option<Instant>; MEMBERS],
}

impl<const MEMBERS: usize> Support<MEMBERS> {
    /// Makes the support of a new claim: none of `voters` supports it. There is room for the first
    /// `MEMBERS` of them.
    #[must_use]
    pub const fn new(voters: NodeSet) -> Self {
        Self { voters, sent: [None; MEMBERS] }
    }

    /// Returns whose slots these are.
    pub(crate) const fn voters(&self) -> NodeSet {
        self.voters
    }

    /// Takes note that `voter` supports the claim as of a frame that was sent at `sent`. Older news
    /// changes nothing.
    pub fn note(&mut self, voter: NodeId, sent: Instant) {
        let place = self.voters.place(voter);
        if let Some(slot) = place.and_then(|place| self.sent.get_mut(place)) {
            *slot = (*slot).max(Some(sent));
        }
    }

    /// Returns when the newest frame that `voter` supports was sent.
    #[must_use]
    pub fn of(&self, voter: NodeId) -> Option<Instant> {
        self.sent.get(self.voters.place(voter)?).copied().flatten()
    }

    /// Returns the sending time of the oldest support in the freshest set of voters that makes a
    /// quorum, or `None` if no set of supporters makes one.
    ///
    /// A superset of a quorum is a quorum, so voters are added from the freshest on until they are
    /// one.
    #[must_use]
    pub fn since(&self, quorum: &Quorum) -> Option<Instant> {
        self.since_with(quorum, None)
    }

    /// Returns the same, with the support of one more voter if one is given.
    #[must_use]
    pub fn since_with(&self, quorum: &Quorum, own: Option<(NodeId, Instant)>) -> Option<Instant> {
        let sent = |voter| {
            let own = own.filter(|(node, _)| *node == voter).map(|(_, at)| at);
            own.max(self.of(voter))
        };
        let (mut voters, mut rest) = (NodeSet::EMPTY, quorum.members());
        loop {
            let (mut freshest, mut best) = (None, None);
            for voter in rest.iter() {
                let sent = sent(voter);
                if sent > best {
                    (freshest, best) = (Some(voter), sent);
                }
            }
            let voter = freshest?;
            voters.insert(voter);
            rest.remove(voter);
            if quorum.is_met_by(voters) {
                return best;
            }
        }
    }

    /// Returns the voters whose support was sent after `moment`.
    #[must_use]
    pub fn newer_than(&self, moment: Instant) -> NodeSet {
        let newer = |voter: &NodeId| self.of(*voter).is_some_and(|sent| sent > moment);
        self.voters.iter().filter(newer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Module;
    use proptest::prelude::*;

    fn support(sent: &[(u8, u64)]) -> Support {
        let mut support = Support::new(NodeId::all().collect());
        for (voter, micros) in sent {
            support.note(NodeId::new(*voter).unwrap(), Instant::from_micros(*micros));
        }
        support
    }

    fn since(quorum: &Quorum, sent: &[(u8, u64)]) -> Option<u64> {
        support(sent).since(quorum).map(Instant::as_micros)
    }

    #[test]
    fn authority_is_as_old_as_the_oldest_of_the_freshest_quorum() {
        let three = Quorum::new(&[1, 1, 1], 0, &[Module::Majority], false).unwrap();
        assert_eq!(since(&three, &[(0, 9), (1, 5), (2, 7)]), Some(7));
        assert_eq!(since(&three, &[(0, 9), (1, 5)]), Some(5));
        assert_eq!(since(&three, &[(0, 9)]), None);
    }

    #[test]
    fn a_witness_counts_only_in_a_tie() {
        let two = Quorum::new(&[1, 1], 1, &[Module::Majority, Module::Witness], false).unwrap();
        assert_eq!(since(&two, &[(0, 9), (16, 8)]), Some(8));
        assert_eq!(since(&two, &[(0, 9), (1, 7)]), Some(7));
        assert_eq!(since(&two, &[(16, 9), (1, 7)]), Some(7));
        assert_eq!(since(&two, &[(16, 9)]), None);
        assert_eq!(since(&two, &[(0, 9), (17, 8)]), None, "a stranger's support is none");
    }

    #[test]
    fn older_news_changes_nothing() {
        assert_eq!(support(&[(1, 9), (1, 4)]), support(&[(1, 9)]));
    }

    proptest! {
        /// The definition, tried over every subset.
        #[test]
        fn no_quorum_is_fresher(
            sent in proptest::collection::vec(proptest::option::of(0u64..9), 5),
            odd in any::<bool>(),
        ) {
            let votes: &[u8] = if odd { &[1, 1, 1] } else { &[1, 2, 1] };
            let quorum = if odd {
                Quorum::new(votes, 0, &[Module::Majority], false).unwrap()
            } else {
                Quorum::new(votes, 1, &[Module::Majority, Module::Witness], false).unwrap()
            };
            let voters = [0, 1, 2, 16, 17].into_iter().zip(&sent);
            let pairs: std::vec::Vec<_> =
                voters.filter_map(|(voter, sent)| Some((voter, (*sent)?))).collect();
            let subset = |mask: u32| {
                let chosen = pairs.iter().enumerate().filter(move |(at, _)| mask >> at & 1 == 1);
                chosen.map(|(_, pair)| *pair)
            };
            let is_quorum = |mask: &u32| {
                let voters = subset(*mask).map(|(voter, _)| NodeId::new(voter).unwrap());
                quorum.is_met_by(voters.collect())
            };
            let oldest = |mask: u32| subset(mask).map(|(_, sent)| sent).min();
            let best = (0..1 << pairs.len()).filter(is_quorum).filter_map(oldest).max();
            prop_assert_eq!(since(&quorum, &pairs), best);
        }
    }
}
