//! Groups that follow others, and groups that are kept apart: what makes sense of it.

use lifesign_core::group::{Failback, GroupId, GroupSet, decided_by, decision_order};
use lifesign_core::node::NodeId;
use toml::Spanned;

use super::Group;
use super::mistake::{Mistakes, did_you_mean};
use super::table::Table;
use crate::page::list;

/// What a group says of its place, as written.
#[derive(Debug)]
pub(super) struct Place {
    with: Option<Spanned<String>>,
    apart: Vec<Spanned<String>>,
}

impl Place {
    /// Reads `with` and `apart`. A group that follows another has no order of its own.
    pub(super) fn read(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Self {
        let owned = |text: &Spanned<&str>| Spanned::new(text.span(), (*text.get_ref()).to_owned());
        let with = table.text("with", mistakes).map(|text| owned(&text));
        let apart = table.texts("apart", mistakes);
        let apart = apart.map(|texts| texts.get_ref().iter().map(owned).collect());
        if with.is_some() {
            for key in ["prefer", "failback", "hold_off"] {
                let hint = "it goes where the group goes that it follows: leave it out here";
                table.refuse(key, "a group that follows another", hint, mistakes);
            }
        }
        Self { with, apart: apart.unwrap_or_default() }
    }

    /// Returns whether the group follows another.
    pub(super) const fn follows(&self) -> bool {
        self.with.is_some()
    }
}

/// Tells each group whom it follows and what it is kept apart from, as `places` says of each.
pub(super) fn resolve(groups: &mut [Group], places: &[Place], mistakes: &mut Mistakes) {
    for at in 0..groups.len().min(places.len()) {
        let with = places[at].with.as_ref().and_then(|name| find(groups, at, name, mistakes));
        let mut apart = GroupSet::EMPTY;
        for name in &places[at].apart {
            let Some(first) = find(groups, at, name, mistakes) else { continue };
            if apart.contains(first) {
                let title = format!("`apart` names {:?} twice", name.get_ref());
                mistakes.add(name.span(), title);
            }
            apart.insert(first);
        }
        (groups[at].with, groups[at].apart) = (with, apart);
    }
    let all = All { groups, places };
    let order: Vec<usize> =
        decision_order(|group| all.decided_by(group.index())).map(GroupId::index).collect();
    if order.len() < groups.len() {
        return all.blame_ring(&order, mistakes);
    }
    if all.blame_contradictions(mistakes) {
        return;
    }
    for at in &order {
        if let Some(leader) = groups[*at].with {
            let Group { prefer, home, .. } = groups[leader.index()].clone();
            let followed = (prefer, home, Failback::Off);
            let own = &mut groups[*at];
            (own.prefer, own.home, own.failback) = followed;
        }
    }
    All { groups, places }.blame_crowding(&order, mistakes);
}

/// Returns the other group called `name`, or notes that there is none.
fn find(
    groups: &[Group],
    own: usize,
    name: &Spanned<String>,
    mistakes: &mut Mistakes,
) -> Option<GroupId> {
    let named = name.get_ref().as_str();
    let found = groups.iter().position(|group| group.name == named);
    match found {
        Some(at) if at == own => {
            mistakes
                .add(name.span(), format!("{named:?} is this group itself"))
                .hint("name another group");
            None
        }
        Some(at) => GroupId::at(at),
        None => {
            let others: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            let hint = did_you_mean(named, others.iter().copied());
            mistakes
                .add(name.span(), format!("there is no group {named:?}"))
                .hint(hint.unwrap_or_else(|| format!("known are {}", list(&others))));
            None
        }
    }
}

/// All groups, and what they say of their places.
#[derive(Clone, Copy, Debug)]
struct All<'g> {
    groups: &'g [Group],
    places: &'g [Place],
}

impl All<'_> {
    fn decided_by(&self, at: usize) -> Option<GroupSet> {
        let group = self.groups.get(at)?;
        Some(decided_by(group.with, group.apart))
    }

    /// Notes that groups wait for each other: a ring among those that are not in `order`.
    fn blame_ring(&self, order: &[usize], mistakes: &mut Mistakes) {
        let next = |at: usize| {
            let mut others = self.decided_by(at)?.iter().map(GroupId::index);
            others.find(|other| !order.contains(other))
        };
        let mut ring: Vec<usize> = Vec::new();
        let mut at = (0..self.groups.len()).find(|at| !order.contains(at));
        while let Some(group) = at.filter(|at| !ring.contains(at)) {
            ring.push(group);
            at = next(group);
        }
        let Some(first) = at else { return };
        let begin = ring.iter().position(|group| *group == first).unwrap_or_default();
        let ring = &ring[begin..];
        let names: Vec<&str> = ring.iter().map(|at| self.groups[*at].name.as_str()).collect();
        let second = names.get(1).copied().unwrap_or_default();
        let (named, others) = self.word(first, second);
        let mistake = mistakes.add(named, format!("{} decide each other's place", list(&names)));
        mistake.label("here").hint(
            "one of two groups comes first: leave `with` or `apart` out where it comes first",
        );
        if let Some(other) = others {
            mistake.other(other, "and here");
        }
    }

    /// Returns where the group at `at` names `other`, and where `other` names a group.
    fn word(
        &self,
        at: usize,
        other: &str,
    ) -> (core::ops::Range<usize>, Option<core::ops::Range<usize>>) {
        let spans = |place: &Place, name: Option<&str>| {
            let mut words = place.with.iter().chain(&place.apart);
            let found = words.find(|word| name.is_none_or(|name| word.get_ref() == name));
            found.map(Spanned::span)
        };
        let theirs = self.groups.iter().position(|group| group.name == other);
        let theirs = theirs.and_then(|at| spans(&self.places[at], None));
        (spans(&self.places[at], Some(other)).unwrap_or_default(), theirs)
    }

    /// Returns the group that the one at `at` follows in the end, itself if it follows none.
    fn root(&self, at: usize) -> usize {
        let mut root = at;
        while let Some(leader) = self.groups[root].with {
            root = leader.index();
        }
        root
    }

    /// Notes where groups run together and are kept apart, and returns whether any are.
    fn blame_contradictions(&self, mistakes: &mut Mistakes) -> bool {
        let mut is_wrong = false;
        for (at, place) in self.places.iter().enumerate() {
            for name in &place.apart {
                let first = self.groups.iter().position(|group| group.name == *name.get_ref());
                let is_other = |first: &usize| *first == at || self.root(*first) != self.root(at);
                if first.as_ref().is_none_or(is_other) {
                    continue;
                }
                is_wrong = true;
                let root = &self.groups[self.root(at)].name;
                let own = &self.groups[at].name;
                mistakes
                    .add(name.span(), format!("{own} runs where {} runs", name.get_ref()))
                    .label("so they cannot be apart")
                    .hint(format!("both go where {root} goes, by `with`: leave one of them out"));
            }
        }
        is_wrong
    }

    /// Notes which groups have no place even when every node is up and every group is where it
    /// prefers to be.
    fn blame_crowding(&self, order: &[usize], mistakes: &mut Mistakes) {
        let mut nodes: Vec<Option<NodeId>> = vec![None; self.groups.len()];
        for at in order {
            let group = &self.groups[*at];
            let is_free =
                |node: &&NodeId| !group.apart.iter().any(|it| nodes[it.index()] == Some(**node));
            let free = match group.with {
                Some(leader) => nodes[leader.index()].as_ref().filter(is_free).copied(),
                None => group.prefer.iter().find(is_free).copied(),
            };
            nodes[*at] = free;
            let is_led = group.with.is_none_or(|leader| nodes[leader.index()].is_some());
            if free.is_none() && is_led && !group.apart.is_empty() && !group.prefer.is_empty() {
                let firsts = group.apart.iter().map(|it| self.groups[it.index()].name.as_str());
                let firsts: Vec<&str> = firsts.collect();
                let span = self.places[*at].apart.first().map(Spanned::span).unwrap_or_default();
                let verb = if firsts.len() == 1 { "comes" } else { "come" };
                mistakes
                    .add(span, format!("{} has no place even when every node is up", group.name))
                    .label(format!("{} {verb} first wherever it may run", list(&firsts)))
                    .hint("let `prefer` of one of them name another node");
            }
        }
    }
}
