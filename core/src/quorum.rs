//! Who may speak for the cluster: votes, and a chain of quorum modules.
//!
//! The modules are asked in order. HAVE or NO decides; a TIE asks the next; a TIE at the end is NO.
//! A witness that refuses, is silent or cannot be reached is NO and never a TIE, because the next
//! module would then be a second arbiter and two owners would be possible. With these rules any two
//! sets of voters that make a quorum share a voter, and that is the whole safety argument: the
//! shared voter keeps its promise to the first until it runs out. The test below states it over
//! every subset for every chain.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::node::{MAX_NODES, MAX_WITNESSES, NodeId, NodeSet};

/// The most modules a chain can have.
pub const MAX_MODULES: usize = 2;

/// One way to judge whether a set of voters may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Module {
    /// More than half of the configured votes is HAVE, exactly half is TIE, less is NO.
    Majority,
    /// More than half of the witnesses is HAVE, anything else is NO.
    Witness,
    /// Always HAVE: both halves of a cluster that has fallen apart go on. Not safe; only by
    /// explicit consent.
    TwoNodes,
}

/// What a module says of a set of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// This set may decide.
    Have,
    /// This set may not decide.
    No,
    /// This module cannot tell; ask the next.
    Tie,
}

/// The votes of a cluster and the modules that count them; once made, it cannot be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Quorum {
    votes: Vec<u8, MAX_NODES>,
    total: u32,
    nodes: NodeSet,
    witnesses: NodeSet,
    modules: Vec<Module, MAX_MODULES>,
}

/// A [`Quorum`] as it is written; the rest follows from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Written {
    votes: Vec<u8, MAX_NODES>,
    witnesses: u8,
    modules: Vec<Module, MAX_MODULES>,
}

impl From<Quorum> for Written {
    fn from(quorum: Quorum) -> Self {
        let witnesses = u8::try_from(quorum.witnesses.len()).unwrap_or(u8::MAX);
        Self { votes: quorum.votes, witnesses, modules: quorum.modules }
    }
}

impl TryFrom<Written> for Quorum {
    type Error = QuorumError;

    fn try_from(written: Written) -> Result<Self, QuorumError> {
        // Whoever wrote it had the consent.
        Self::new(&written.votes, written.witnesses, &written.modules, true)
    }
}

impl Quorum {
    /// Makes the chain `modules` for servers with these `votes`, in the order of their ids, and for
    /// the first `witnesses` witnesses.
    ///
    /// # Errors
    /// Says which rule the chain breaks. Nothing is changed.
    pub fn new(
        votes: &[u8],
        witnesses: u8,
        modules: &[Module],
        accept_split_brain: bool,
    ) -> Result<Self, QuorumError> {
        let votes: Vec<u8, MAX_NODES> =
            Vec::from_slice(votes).map_err(|_| QuorumError::TooManyNodes)?;
        if votes.iter().all(|votes| *votes == 0) {
            return Err(QuorumError::NoVotes);
        }
        if usize::from(witnesses) > MAX_WITNESSES {
            return Err(QuorumError::TooManyWitnesses);
        }
        let modules: Vec<Module, MAX_MODULES> =
            Vec::from_slice(modules).map_err(|_| QuorumError::BadChain)?;
        match modules.as_slice() {
            [Module::Majority] | [Module::Majority, Module::Witness] => {}
            [Module::Majority, Module::TwoNodes] if accept_split_brain => {}
            [Module::Majority, Module::TwoNodes] => return Err(QuorumError::SplitBrainNotAccepted),
            _ => return Err(QuorumError::BadChain),
        }
        let asks_witness = modules.contains(&Module::Witness);
        match (asks_witness, witnesses) {
            (true, 0) => return Err(QuorumError::NoWitness),
            (true, count) if count.is_multiple_of(2) => return Err(QuorumError::EvenWitnesses),
            (false, 1..) => return Err(QuorumError::UnusedWitness),
            _ => {}
        }
        let total = votes.iter().map(|votes| u32::from(*votes)).sum();
        let nodes = NodeId::all().take(votes.len()).collect();
        let witnesses = (0..witnesses).filter_map(NodeId::witness).collect();
        Ok(Self { votes, total, nodes, witnesses, modules })
    }

    /// Returns whether `voters` make a quorum. The votes of strangers do not count.
    ///
    /// More voters never make it false: a superset of a quorum is a quorum.
    #[must_use]
    pub fn is_met_by(&self, voters: NodeSet) -> bool {
        let decided = self
            .modules
            .iter()
            .map(|module| self.ask(*module, voters))
            .find(|answer| *answer != Answer::Tie);
        decided == Some(Answer::Have)
    }

    /// Returns what one module says of `voters`.
    #[must_use]
    pub fn ask(&self, module: Module, voters: NodeSet) -> Answer {
        match module {
            Module::Majority => {
                match self.count(voters).cmp(&(self.total() - self.count(voters))) {
                    core::cmp::Ordering::Greater => Answer::Have,
                    core::cmp::Ordering::Equal => Answer::Tie,
                    core::cmp::Ordering::Less => Answer::No,
                }
            }
            Module::Witness => {
                let present = self.witnesses.intersection(voters).len();
                if present * 2 > self.witnesses.len() { Answer::Have } else { Answer::No }
            }
            Module::TwoNodes => Answer::Have,
        }
    }

    /// Returns the configured votes of `voters`, witnesses apart.
    #[must_use]
    pub fn count(&self, voters: NodeSet) -> u32 {
        let of = |(node, votes): (NodeId, &u8)| {
            if voters.contains(node) { u32::from(*votes) } else { 0 }
        };
        NodeId::all().zip(&self.votes).map(of).sum()
    }

    /// Returns the configured votes of all servers.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// Returns every configured server.
    #[must_use]
    pub const fn nodes(&self) -> NodeSet {
        self.nodes
    }

    /// Returns every configured witness.
    #[must_use]
    pub const fn witness_ids(&self) -> NodeSet {
        self.witnesses
    }

    /// Returns every configured participant.
    #[must_use]
    pub const fn members(&self) -> NodeSet {
        self.nodes.union(self.witnesses)
    }

    /// Returns the chain.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }
}

/// What is wrong with a chain. No state changes; none of these happens in a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumError {
    /// There are more servers than a cluster can have.
    TooManyNodes,
    /// Nobody has a vote.
    NoVotes,
    /// There are more witnesses than a cluster can have.
    TooManyWitnesses,
    /// The chain is none of `majority`, `majority` then `witness`, `majority` then `two-nodes`.
    BadChain,
    /// The chain asks a witness and none is configured.
    NoWitness,
    /// The number of witnesses is even, so that they could tie.
    EvenWitnesses,
    /// A witness is configured that the chain never asks.
    UnusedWitness,
    /// `two-nodes` without the consent it needs.
    SplitBrainNotAccepted,
}

impl core::fmt::Display for QuorumError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::TooManyNodes => "more than 16 nodes",
            Self::NoVotes => "no node has a vote",
            Self::TooManyWitnesses => "more than 3 witnesses",
            Self::BadChain => {
                "the quorum chain must be \"majority\", alone or followed by \"witness\" or \"two-nodes\""
            }
            Self::NoWitness => "the quorum chain asks a witness and none is configured",
            Self::EvenWitnesses => "an even number of witnesses can tie; configure 1 or 3",
            Self::UnusedWitness => "a witness is configured that the quorum chain never asks",
            Self::SplitBrainNotAccepted => {
                "\"two-nodes\" lets both nodes hold an address when they lose each other; it needs accept_split_brain = true"
            }
        })
    }
}

impl core::error::Error for QuorumError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec as List;

    /// Every chain that is safe, for up to five nodes with up to two votes each and up to three
    /// witnesses.
    fn safe_chains() -> List<Quorum> {
        let mut chains = List::new();
        for nodes in 1..=5u32 {
            for pattern in 0..3u32.pow(nodes) {
                let votes: List<u8> =
                    (0..nodes).map(|node| (pattern / 3u32.pow(node) % 3) as u8).collect();
                chains.extend(Quorum::new(&votes, 0, &[Module::Majority], false));
                for witnesses in [1, 3] {
                    chains.extend(Quorum::new(
                        &votes,
                        witnesses,
                        &[Module::Majority, Module::Witness],
                        false,
                    ));
                }
            }
        }
        chains
    }

    fn subsets(of: NodeSet) -> impl Iterator<Item = NodeSet> {
        let members: List<NodeId> = of.iter().collect();
        (0..1u32 << members.len()).map(move |mask| {
            members
                .iter()
                .enumerate()
                .filter(|(at, _)| mask >> at & 1 == 1)
                .map(|(_, node)| *node)
                .collect()
        })
    }

    /// It is enough to look at complements: two quorums without a shared voter exist exactly if
    /// some quorum's complement is a quorum, because a superset of a quorum is one.
    #[test]
    fn any_two_quorums_share_a_voter() {
        let mut quorums = 0;
        for chain in safe_chains() {
            for voters in subsets(chain.members()) {
                if chain.is_met_by(voters) {
                    quorums += 1;
                    let others = chain.members().difference(voters);
                    assert!(
                        !chain.is_met_by(others),
                        "{chain:?}: {voters:?} and {others:?} both decide"
                    );
                }
            }
        }
        assert!(quorums > 10_000, "the chains must have quorums to compare: {quorums}");
    }

    #[test]
    fn more_voters_never_lose_a_quorum() {
        for chain in safe_chains() {
            for voters in subsets(chain.members()).filter(|voters| chain.is_met_by(*voters)) {
                for more in chain.members().iter() {
                    assert!(
                        chain.is_met_by(voters.with(more)),
                        "{chain:?}: {voters:?} and {more:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn everybody_together_decides_and_nobody_never_does() {
        for chain in safe_chains() {
            assert!(chain.is_met_by(chain.members()));
            assert!(!chain.is_met_by(NodeSet::EMPTY));
        }
    }

    #[test]
    fn two_nodes_by_consent_lets_both_halves_decide() {
        let modules = [Module::Majority, Module::TwoNodes];
        assert_eq!(
            Quorum::new(&[1, 1], 0, &modules, false),
            Err(QuorumError::SplitBrainNotAccepted)
        );
        let chain = Quorum::new(&[1, 1], 0, &modules, true).unwrap();
        let [left, right] = [0, 1].map(|number| NodeSet::EMPTY.with(NodeId::new(number).unwrap()));
        assert!(chain.is_met_by(left) && chain.is_met_by(right), "this is why it needs consent");
    }

    #[test]
    fn a_silent_witness_is_no_and_not_a_tie() {
        let chain = Quorum::new(&[1, 1], 1, &[Module::Majority, Module::Witness], false).unwrap();
        let alone = NodeSet::EMPTY.with(NodeId::new(0).unwrap());
        assert_eq!(chain.ask(Module::Majority, alone), Answer::Tie);
        assert_eq!(chain.ask(Module::Witness, alone), Answer::No);
        assert!(!chain.is_met_by(alone));
        assert!(chain.is_met_by(alone.with(NodeId::witness(0).unwrap())));
    }

    #[test]
    fn chains_that_could_have_two_arbiters_are_refused() {
        let refuse = |witnesses, modules: &[Module]| {
            Quorum::new(&[1, 1], witnesses, modules, true).unwrap_err()
        };
        assert_eq!(refuse(2, &[Module::Majority, Module::Witness]), QuorumError::EvenWitnesses);
        assert_eq!(refuse(0, &[Module::Majority, Module::Witness]), QuorumError::NoWitness);
        assert_eq!(refuse(1, &[Module::Majority]), QuorumError::UnusedWitness);
        assert_eq!(refuse(1, &[Module::Witness]), QuorumError::BadChain);
        assert_eq!(refuse(0, &[]), QuorumError::BadChain);
        assert_eq!(refuse(4, &[Module::Majority, Module::Witness]), QuorumError::TooManyWitnesses);
    }
}
