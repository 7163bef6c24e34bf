//! What the operator has said last: later words win, nobody's time grows, and everybody who has
//! heard a word does as it says.

use std::collections::BTreeMap;

use lifesign_core::group::{GroupId, GroupSet, Reason, Role};

use super::terms::{ROUNDING, Terms};
use super::verdict::Rule;
use crate::seen::ENDLESS;
use crate::world::Micros;

/// A word's number, and where it was said.
pub(super) type Stamp = (u32, u8);

/// A word, as a server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) disabled: GroupSet,
    pub(super) maintenance: Option<(GroupSet, Micros)>,
}

/// The words of the operator, and who knows them.
#[derive(Clone, Debug)]
pub(super) struct Decrees {
    known: Vec<Option<Known>>,
    /// Since when.
    since: Vec<Micros>,
    /// Until when its maintenance lasts there, however its clock may change meanwhile.
    firm: Vec<Micros>,
    /// Which groups a server holds or wants, and does not stop.
    wants: Vec<GroupSet>,
    /// When each word about maintenance was said, and when that ends where it was.
    said: BTreeMap<Stamp, (Micros, Micros)>,
}

impl Decrees {
    pub(super) fn new(terms: &Terms) -> Self {
        let nodes = usize::from(terms.nodes);
        Self {
            known: vec![None; nodes],
            since: vec![0; nodes],
            firm: vec![0; nodes],
            wants: vec![GroupSet::EMPTY; nodes],
            said: BTreeMap::new(),
        }
    }

    /// A process starts: what it remembers it says itself.
    pub(super) fn started(&mut self, place: usize) {
        if let (Some(known), Some(wants)) = (self.known.get_mut(place), self.wants.get_mut(place)) {
            (*known, *wants) = (None, GroupSet::EMPTY);
        }
    }

    /// A server knows a word from now on; returns what is wrong with that.
    pub(super) fn heard(
        &mut self,
        terms: &Terms,
        place: usize,
        word: Known,
        at: Micros,
    ) -> Option<(Rule, String)> {
        let host = terms.host(place);
        *self.since.get_mut(place)? = at;
        let before = self.known.get_mut(place)?.replace(word);
        if let Some(before) = before.filter(|before| before.stamp > word.stamp) {
            let what =
                format!("{host} takes word {:?} for later than {:?}", word.stamp, before.stamp);
            return Some((Rule::LaterWord, what));
        }
        let (_, until) = word.maintenance?;
        let left = until.saturating_sub(at);
        *self.firm.get_mut(place)? = until - left.min(2 * left * terms.error / 1_000_000);
        let is_author = host == word.stamp.1 && before.is_none_or(|it| it.stamp < word.stamp);
        let (said, end) = self.said.entry(word.stamp).or_insert((at, until));
        if is_author {
            // It may be said once more by who has forgotten that it was.
            *end = until.max(*end);
        }
        // A clock may change from one end of what is assumed to the other, twice.
        let drift = end.saturating_sub(*said) * 5 * terms.error / 1_000_000;
        (until > *end + drift + ROUNDING).then(|| {
            let what = format!(
                "{host} keeps word {:?} until {until} us, which was said to end at {end} us",
                word.stamp
            );
            (Rule::TimeLeft, what)
        })
    }

    /// A server plays another part for a group; returns what is wrong with that. `is_new`: it did
    /// not claim the group under this token before.
    pub(super) fn role(
        &mut self,
        place: usize,
        group: u8,
        (role, reason): (Role, Reason),
        is_new: bool,
        at: Micros,
    ) -> Option<(Rule, String)> {
        let (id, wants) = (GroupId::new(group)?, self.wants.get_mut(place)?);
        // What others follow is only offered until they have stopped.
        let is_wanted = matches!(
            role,
            Role::Claiming(_) | Role::Starting(_) | Role::Holding { offered_until: None, .. }
        );
        *wants = if is_wanted { wants.with(id) } else { wants.without(id) };
        // What it does at the moment of learning it may have decided before.
        let since = *self.since.get(place)?;
        let word = self.known.get(place).copied().flatten().filter(|_| since < at)?;
        let begins = match role {
            Role::Claiming(_) => is_new,
            Role::Starting(_) => true,
            _ => false,
        };
        if begins && word.disabled.contains(id) {
            let what = format!("group {group} is disabled and becomes {role:?}");
            return Some((Rule::Disabled, what));
        }
        let (groups, _) = word.maintenance?;
        let until = *self.firm.get(place)?;
        let moves = match role {
            Role::Claiming(_) => is_new,
            Role::Holding { offered_until, .. } => offered_until.is_some() && !must_stop(reason),
            Role::Stopping(_) => matches!(reason, Reason::HandedTo(_)),
            Role::Idle | Role::Starting(_) | Role::Stuck(_) => false,
        };
        (moves && groups.contains(id) && at + ROUNDING < until).then(|| {
            let what = format!("group {group} is in maintenance until {until} us: {role:?}");
            (Rule::Maintenance, what)
        })
    }

    /// A server has said something: whatever it knew before, it has acted upon by then.
    pub(super) fn sent(&self, place: usize) -> Option<(Rule, String)> {
        let word = self.known.get(place).copied().flatten()?;
        let wants = *self.wants.get(place)?;
        let group = wants.iter().find(|group| word.disabled.contains(*group))?;
        Some((Rule::Disabled, format!("{group:?} is disabled and still wanted")))
    }

    /// Returns until when a word forbids what would otherwise be promised.
    pub(super) fn restrained(&self) -> Micros {
        let ends = self.known.iter().flatten().map(|word| match word.maintenance {
            _ if !word.disabled.is_empty() => ENDLESS,
            Some((_, until)) => until,
            None => 0,
        });
        ends.max().unwrap_or(0)
    }
}

/// Returns whether what a server lets go for this reason is stopped, whoever may want it.
const fn must_stop(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Leaving | Reason::Disabled | Reason::Failed | Reason::With(_) | Reason::Apart(_)
    )
}
