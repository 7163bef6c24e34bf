//! Who has a group up, and what was promised to whom.

use super::terms::{Terms, Voters};
use crate::seen::{ENDLESS, Promise};
use crate::world::Micros;

/// What one server has up of one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Up {
    /// Under which token.
    pub(super) token: u32,
    /// The first moment at which it is silent again.
    pub(super) until: Micros,
    /// It was said already that nothing backs it.
    told: bool,
}

/// One group.
#[derive(Clone, Debug)]
struct Group {
    /// What each voter has promised last, whether it remembers or not.
    promises: Vec<Option<Promise>>,
    ups: Vec<Up>,
    /// Everything that is up was backed by a quorum until here.
    backed: Micros,
    /// It was said already that two have it up.
    doubled: bool,
    /// The largest token under which it was started, and who had promised it then.
    token: u32,
    voters: Voters,
}

/// Who has which group up, and what was promised to whom.
#[derive(Clone, Debug)]
pub(super) struct Book {
    groups: Vec<Group>,
}

/// What is wrong with what a server has up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No quorum has promised it from this moment on.
    Unbacked { place: usize, token: u32, from: Micros },
    /// Somebody else has it up too.
    Doubled { other: usize },
}

impl Book {
    pub(super) fn new(terms: &Terms) -> Self {
        let group = Group {
            promises: vec![None; terms.members()],
            ups: vec![Up::default(); terms.nodes.into()],
            backed: 0,
            doubled: false,
            token: 0,
            voters: 0,
        };
        Self { groups: vec![group; terms.groups.into()] }
    }

    /// Judges what was up until `at` by the promises as they stood.
    pub(super) fn judge(&mut self, terms: &Terms, group: u8, at: Micros) -> Option<Flaw> {
        let group = self.groups.get_mut(usize::from(group))?;
        if at <= group.backed {
            return None;
        }
        let mut flaw = None;
        let mut backed = Micros::MAX;
        for place in 0..group.ups.len() {
            let up = group.ups[place];
            // What nothing but a stop ends is not promised to end in time.
            if up.until <= group.backed || up.until == ENDLESS || up.told {
                continue;
            }
            let covered = group.covered(terms, place, up.token);
            if covered < at.min(up.until) {
                group.ups[place].told = true;
                let from = covered.max(group.backed);
                flaw = Some(Flaw::Unbacked { place, token: up.token, from });
            } else if up.until > at {
                backed = backed.min(covered);
            }
        }
        group.backed = backed.max(at);
        flaw
    }

    /// Returns what a voter has promised last.
    pub(super) fn promise(&self, group: u8, place: usize) -> Option<Promise> {
        self.groups.get(usize::from(group))?.promises.get(place).copied().flatten()
    }

    /// A voter promises, or frees what it had promised. To be judged before. Returns what it had
    /// promised, if that is gone now and had not run out.
    pub(super) fn promised(
        &mut self,
        group: u8,
        place: usize,
        promise: Option<Promise>,
        at: Micros,
    ) -> Option<Promise> {
        let group = self.groups.get_mut(usize::from(group))?;
        let slot = group.promises.get_mut(place)?;
        let before = std::mem::replace(slot, promise);
        let same = |one: &Promise| {
            promise
                .is_some_and(|it| it.token == one.token && (it.to, it.boot) == (one.to, one.boot))
        };
        let renewed =
            before.is_some_and(|it| same(&it) && it.until <= promise.map_or(0, |it| it.until));
        if !renewed {
            group.backed = at;
        }
        before.filter(|it| it.until > at && !same(it))
    }

    /// A server has a group up until a moment, or is silent if that is `at` or before. To be judged
    /// before.
    pub(super) fn up(
        &mut self,
        group: u8,
        place: usize,
        token: u32,
        until: Micros,
        at: Micros,
    ) -> Option<Flaw> {
        let group = self.groups.get_mut(usize::from(group))?;
        let up = group.ups.get_mut(place)?;
        let goes_on = up.until > at && up.token == token;
        *up = Up { token, until, told: up.told && goes_on };
        if !goes_on {
            group.backed = at;
        }
        let live = |(other, up): (usize, &Up)| (other != place && up.until > at).then_some(other);
        let other = group.ups.iter().enumerate().find_map(live).filter(|_| until > at);
        let told = std::mem::replace(&mut group.doubled, other.is_some());
        other.filter(|_| !told).map(|other| Flaw::Doubled { other })
    }

    /// Returns until when what `place` has up lasts, 0 if it never had it up.
    pub(super) fn until(&self, group: u8, place: usize) -> Micros {
        self.get(group, place).until
    }

    /// Returns what `place` has up, or had up last.
    pub(super) fn get(&self, group: u8, place: usize) -> Up {
        let group = self.groups.get(usize::from(group));
        group.and_then(|it| it.ups.get(place)).copied().unwrap_or_default()
    }

    /// Returns until when somebody has the group up, in the past if nobody has.
    pub(super) fn served_until(&self, group: u8) -> Micros {
        let group = self.groups.get(usize::from(group));
        group.and_then(|it| it.ups.iter().map(|up| up.until).max()).unwrap_or(0)
    }

    /// Returns the voters that promise the group to `place` under `token` at `at`.
    pub(super) fn supporters(&self, group: u8, place: usize, token: u32, at: Micros) -> Voters {
        let Some(group) = self.groups.get(usize::from(group)) else { return 0 };
        let voters = group.promises.iter().enumerate();
        let live = voters.filter(|(_, promise)| {
            promise
                .is_some_and(|it| usize::from(it.to) == place && it.token == token && it.until > at)
        });
        live.fold(0, |all, (voter, _)| all | 1 << voter)
    }

    /// A start under a token; returns the one before and who had promised it, and takes the larger
    /// of both from now on.
    pub(super) fn token(&mut self, group: u8, token: u32, voters: Voters) -> (u32, Voters) {
        let Some(group) = self.groups.get_mut(usize::from(group)) else { return (0, 0) };
        let before = (group.token, group.voters);
        if token > group.token {
            (group.token, group.voters) = (token, voters);
        }
        before
    }
}

impl Group {
    /// Returns until when a quorum has promised this group to `place` under `token`, 0 if none has.
    fn covered(&self, terms: &Terms, place: usize, token: u32) -> Micros {
        let is_for = |it: &Promise| usize::from(it.to) == place && it.token == token;
        let until = |voter: usize| self.promises[voter].filter(is_for).map(|it| it.until);
        let mut voters: Voters = 0;
        loop {
            let rest = (0..self.promises.len()).filter(|voter| voters >> voter & 1 == 0);
            let Some((longest, next)) = rest.filter_map(|it| Some((until(it)?, it))).max() else {
                return 0;
            };
            voters |= 1 << next;
            if terms.is_quorum(voters) {
                return longest;
            }
        }
    }
}
