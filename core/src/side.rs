//! A witness's choice of side.
//!
//! Where servers have lost each other, a witness supports one *side*: a set of nodes that hear one
//! another. It chooses the larger side, and of equal ones the side that holds groups. A node comes
//! into favour only when no promise to a node outside the chosen side is live any more, so a
//! witness never supports two sides at once.

use crate::node::{NodeId, NodeSet};

/// The nodes a witness would promise to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    favoured: NodeSet,
}

impl Side {
    /// Returns the nodes in favour.
    #[must_use]
    pub const fn favoured(self) -> NodeSet {
        self.favoured
    }

    /// Judges anew. `hears` gives for each living node whom it hears; `promised` counts the live
    /// promises to a node.
    pub fn choose(
        &mut self,
        alive: NodeSet,
        hears: impl Fn(NodeId) -> NodeSet,
        promised: impl Fn(NodeId) -> usize,
    ) {
        let mut rest = alive;
        let mut chosen = NodeSet::EMPTY;
        let mut best = None;
        while let Some(first) = rest.iter().next() {
            let side = component(first, alive, &hears);
            rest = rest.difference(side);
            let held: usize = side.iter().map(&promised).sum();
            // A smaller side has no quorum with the witness either, and must not keep it from a
            // larger one by asking on. Earlier sides win a draw: they have the node with the
            // lowest number.
            let merit = (side.len(), held, side.intersection(self.favoured).len());
            if best.is_none_or(|best| merit > best) {
                (best, chosen) = (Some(merit), side);
            }
        }
        self.favoured = self.favoured.intersection(chosen);
        let others_hold = NodeId::all().any(|node| !chosen.contains(node) && promised(node) > 0);
        if !others_hold {
            self.favoured = chosen;
        }
    }
}

/// Returns the living nodes that `first` reaches over pairs that hear each other both ways.
fn component(first: NodeId, alive: NodeSet, hears: &impl Fn(NodeId) -> NodeSet) -> NodeSet {
    let mut side = NodeSet::EMPTY.with(first);
    loop {
        let joined = |node: &NodeId| {
            side.iter().any(|of| hears(of).contains(*node) && hears(*node).contains(of))
        };
        let grown = side.union(alive.iter().filter(joined).collect());
        if grown == side {
            return side;
        }
        side = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u8]) -> NodeSet {
        numbers.iter().map(|number| NodeId::new(*number).unwrap()).collect()
    }

    /// Chooses among `sides`, in which everybody hears everybody, with the `promised` counts of
    /// each node.
    fn choose(side: &mut Side, sides: &[&[u8]], promised: &[usize]) -> NodeSet {
        let alive = sides.iter().fold(NodeSet::EMPTY, |all, side| all.union(set(side)));
        let hears = |node| {
            let own = sides.iter().map(|side| set(side)).find(|side| side.contains(node));
            own.unwrap_or_default()
        };
        side.choose(alive, hears, |node| promised.get(node.index()).copied().unwrap_or(0));
        side.favoured()
    }

    #[test]
    fn everybody_is_in_favour_while_all_hear_all() {
        let mut side = Side::default();
        assert_eq!(choose(&mut side, &[&[0, 1, 2]], &[1, 0, 2]), set(&[0, 1, 2]));
    }

    #[test]
    fn the_side_that_holds_groups_is_kept() {
        let mut side = Side::default();
        choose(&mut side, &[&[0, 1]], &[0, 1]);
        assert_eq!(choose(&mut side, &[&[0], &[1]], &[0, 1]), set(&[1]));
        assert_eq!(
            choose(&mut side, &[&[0], &[1]], &[0, 0]),
            set(&[1]),
            "also while it holds nothing"
        );
    }

    #[test]
    fn with_groups_on_both_sides_one_is_favoured_and_the_choice_stays() {
        let mut side = Side::default();
        choose(&mut side, &[&[0, 1]], &[1, 1]);
        assert_eq!(choose(&mut side, &[&[0], &[1]], &[1, 1]), set(&[0]));
        assert_eq!(choose(&mut side, &[&[0], &[1]], &[1, 0]), set(&[0]));
        assert_eq!(choose(&mut side, &[&[0], &[1]], &[0, 0]), set(&[0]));
    }

    #[test]
    fn nobody_new_comes_into_favour_while_the_other_side_has_a_promise() {
        let mut side = Side::default();
        choose(&mut side, &[&[0]], &[1, 0]);
        assert_eq!(
            choose(&mut side, &[&[1]], &[1, 0]),
            set(&[]),
            "the old side is gone, its promise is not"
        );
        assert_eq!(choose(&mut side, &[&[1]], &[0, 0]), set(&[1]));
    }

    #[test]
    fn a_crash_does_not_interrupt_the_survivors() {
        let mut side = Side::default();
        choose(&mut side, &[&[0, 1, 2]], &[1, 1, 0]);
        assert_eq!(choose(&mut side, &[&[1, 2]], &[1, 1, 0]), set(&[1, 2]));
    }

    #[test]
    fn hearing_in_one_direction_is_not_being_together() {
        let mut side = Side::default();
        let hears = |node: NodeId| if node.number() == 0 { set(&[0, 1]) } else { set(&[1]) };
        side.choose(set(&[0, 1]), hears, |_| 0);
        assert_eq!(side.favoured(), set(&[0]));
    }
}
