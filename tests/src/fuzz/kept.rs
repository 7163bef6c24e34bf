//! What a member's state may become, whatever it has heard.

use lifesign_core::engine::{Condition, Engine};
use lifesign_core::group::GroupId;
use lifesign_core::member::{Member, Rejected};
use lifesign_core::node::{NodeId, NodeSet};
use lifesign_core::promise::Promise;
use lifesign_core::time::Instant;
use lifesign_core::witness::Witness;

/// A frame that was not taken in has changed only counters, and what is echoed.
pub(super) fn demand_untouched(before: &Engine, after: &Engine, rejected: Rejected) {
    let (old, new) = (before.member(), after.member());
    assert_eq!(old.voter, new.voter, "{rejected:?}");
    assert_eq!(old.sequence, new.sequence, "{rejected:?}");
    assert!(old.peers == new.peers || matches!(rejected, Rejected::Stale(_)), "{rejected:?}");
    assert!(GroupId::all().take(2).all(|group| before.group(group) == after.group(group)));
    assert_eq!(before.poll_timeout(), after.poll_timeout(), "{rejected:?}");
    let conditions = |engine: &Engine| NodeId::all().map(|node| engine.condition(node)).collect();
    let [old, new]: [Vec<Condition>; 2] = [conditions(before), conditions(after)];
    assert_eq!(old, new, "{rejected:?}");
}

/// What was promised is kept; `by` is whose word may free it.
pub(super) fn demand_kept<const M: usize, const E: usize, const G: usize, const L: usize>(
    before: &Member<M, E, G, L>,
    after: &Member<M, E, G, L>,
    by: Option<NodeId>,
    now: Instant,
) {
    let (old, new) = (&before.voter, &after.voter);
    for group in GroupId::all() {
        assert!(new.largest_token(group) >= old.largest_token(group), "tokens grow");
        let (was, is) = (old.promise(group, now), new.promise(group, now));
        if let Some(is) = is.filter(|is| Some(*is) != was) {
            assert!(now.has_reached(new.ready()), "promised too soon: {is:?}");
            assert!(is.until <= now + new.longest(), "promised for too long: {is:?}");
            assert!(is.to.token <= new.saved(), "promised beyond what is saved: {is:?}");
        }
        let Some(was) = was else { continue };
        let same = |is: &Promise| is.to.node == was.to.node && is.to.boot == was.to.boot;
        match is {
            Some(is) if same(&is) => assert!(is.until >= was.until, "{was:?} became {is:?}"),
            _ => assert_eq!(by, Some(was.to.node), "{was:?} became {is:?}"),
        }
    }
}

/// A witness supports one side.
pub(super) fn demand_one_side<const M: usize, const E: usize, const G: usize, const L: usize>(
    before: &Witness<M, E, G, L>,
    after: &Witness<M, E, G, L>,
    now: Instant,
) {
    let promised = |it: &Witness<M, E, G, L>| -> Vec<Option<Promise>> {
        GroupId::all().map(|group| it.member().voter.promise(group, now)).collect()
    };
    let (old, new) = (promised(before), promised(after));
    let either = before.favoured().union(after.favoured());
    let given: NodeSet = (old.iter().zip(&new))
        .filter(|(old, new)| old != new)
        .filter_map(|(_, new)| Some(new.as_ref()?.to.node))
        .collect();
    assert!(given.difference(either).is_empty(), "{given:?} is promised, {either:?} favoured");
    if !after.favoured().difference(before.favoured()).is_empty() {
        let all: NodeSet = new.iter().flatten().map(|promise| promise.to.node).collect();
        assert!(
            all.difference(after.favoured()).is_empty(),
            "{all:?} with promises, others favoured"
        );
    }
}
