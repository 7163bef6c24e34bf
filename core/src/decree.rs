//! The operator's lasting word: one register that all nodes share, and the last word wins.
//!
//! A [`Decree`] says which groups are disabled, which are in maintenance and for how long, and
//! which group is to move. Whoever is told something by an operator makes the next decree of the
//! one that it knows, under the next [`Stamp`], and says it in every frame; whoever hears a larger
//! stamp takes that decree over as a whole. It forbids claims and asks for stops in good order, so
//! it can never make a second holder, whatever becomes of it.
//!
//! How long something lasts is told as the time that is left, in whole milliseconds, rounded down.
//! A receiver counts it from when it *sent* the frame that is echoed beside it, which was before
//! the decree was told, and fixes its own deadline once for each decree. So however often a decree
//! is passed on, no deadline lies behind the one of the node on which it was said, but for what
//! clocks disagree by.

use serde::{Deserialize, Serialize};

use crate::group::{GroupId, GroupSet};
use crate::node::NodeId;
use crate::time::{Duration, Instant};

/// Which of two decrees is the later one: that of the larger stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// One more than any that its author knew.
    pub number: u32,
    /// The node on which it was said.
    pub by: NodeId,
}

/// What the operator has said last, with deadlines on the clock of the node that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decree {
    /// Which decree it is.
    pub stamp: Stamp,
    /// The groups that are to be stopped and started nowhere.
    pub disabled: GroupSet,
    /// What is in maintenance. It stays here when it is over.
    pub maintenance: Option<Maintenance>,
    /// Where a group is to go. It stays here when that is long ago.
    pub moving: Option<Moving>,
}

/// Groups with which nothing is done for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Maintenance {
    /// Which.
    pub groups: GroupSet,
    /// Until when.
    pub until: Instant,
}

/// A group that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moving {
    /// Which.
    pub group: GroupId,
    /// To which node.
    pub to: NodeId,
    /// Nobody takes this up after this moment.
    pub until: Instant,
}

/// A decree as it is told: with the time that is left in place of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Told {
    /// Which decree it is.
    pub stamp: Stamp,
    /// The groups that are disabled.
    pub disabled: GroupSet,
    /// The groups in maintenance, and for how many milliseconds yet; 0 if that is over.
    pub maintenance: Option<(GroupSet, u32)>,
    /// Which group is to move to which node, and for how many milliseconds yet somebody may take
    /// that up.
    pub moving: Option<(GroupId, NodeId, u16)>,
}

/// The longest that a decree is told in, in bytes: varints hold 7 bits a byte.
pub const MAX_TOLD_LEN: usize = (5 + 1) + 5 + (1 + 5 + 5) + (1 + 1 + 1 + 3);

/// The longest maintenance, so that none can be forgotten for good: 30 days.
pub const MAX_MAINTENANCE: Duration = Duration::from_millis(30 * 24 * 3600 * 1000);
const _: () = assert!(MAX_MAINTENANCE.as_millis() < u32::MAX as u64, "it can be told");

/// Something that an operator says to the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Saying {
    /// Do nothing with a group, or with any, for so long, at most [`MAX_MAINTENANCE`].
    Maintain(Option<GroupId>, Duration),
    /// The maintenance of a group, or of all, is over.
    Resume(Option<GroupId>),
    /// Stop a group and start it nowhere.
    Disable(GroupId),
    /// A group may be started again.
    Enable(GroupId),
    /// Bring a group to a node.
    Move(GroupId, NodeId),
}

impl Decree {
    /// Returns the decree that follows `before` when `saying` is said on the node `by` of a cluster
    /// with the groups `all`, or `None` after the last stamp. A move can be taken up for
    /// `patience`.
    #[must_use]
    pub fn following(
        before: Option<&Self>,
        saying: &Saying,
        by: NodeId,
        all: GroupSet,
        patience: Duration,
        now: Instant,
    ) -> Option<Self> {
        let number = before.map_or(Some(1), |before| before.stamp.number.checked_add(1))?;
        let maintenance = before.and_then(|before| before.maintenance);
        let lasting = maintenance.filter(|maintenance| !now.has_reached(maintenance.until));
        let disabled = before.map(|before| before.disabled).unwrap_or_default();
        let mut next =
            Self { stamp: Stamp { number, by }, disabled, maintenance: lasting, moving: None };
        match *saying {
            Saying::Maintain(group, span) => {
                let until = now + span.min(MAX_MAINTENANCE);
                let groups = group.map_or(all, |group| GroupSet::EMPTY.with(group));
                next.maintenance = Some(extended(lasting, groups, until));
            }
            Saying::Resume(group) => {
                let over = group.map_or(all, |group| GroupSet::EMPTY.with(group));
                next.maintenance = lasting.and_then(|lasting| {
                    let groups = lasting.groups.difference(over);
                    (!groups.is_empty()).then_some(Maintenance { groups, ..lasting })
                });
            }
            Saying::Disable(group) => next.disabled = disabled.with(group),
            Saying::Enable(group) => next.disabled = disabled.without(group),
            Saying::Move(group, to) => {
                next.moving = Some(Moving { group, to, until: now + patience });
            }
        }
        Some(next)
    }

    /// Returns this decree as it is told at `now`.
    #[must_use]
    pub fn told(&self, now: Instant) -> Told {
        let left = |until: Instant| until.since(now).as_millis();
        Told {
            stamp: self.stamp,
            disabled: self.disabled,
            maintenance: self.maintenance.map(|Maintenance { groups, until }| {
                (groups, u32::try_from(left(until)).unwrap_or(u32::MAX))
            }),
            moving: self.moving.map(|Moving { group, to, until }| {
                (group, to, u16::try_from(left(until)).unwrap_or(u16::MAX))
            }),
        }
    }

    /// Returns the decree that was told after `since`: the time that is left counts from there.
    #[must_use]
    pub fn heard(told: &Told, since: Instant) -> Self {
        let end = |millis: u64| since + Duration::from_millis(millis).min(MAX_MAINTENANCE);
        Self {
            stamp: told.stamp,
            disabled: told.disabled,
            maintenance: told
                .maintenance
                .map(|(groups, left)| Maintenance { groups, until: end(left.into()) }),
            moving: told.moving.map(|(group, to, left)| Moving {
                group,
                to,
                until: end(left.into()),
            }),
        }
    }

    /// Returns until when `group` is in maintenance, if it is at `now`.
    #[must_use]
    pub fn maintenance_end(&self, group: GroupId, now: Instant) -> Option<Instant> {
        let lasting = self.maintenance.filter(|lasting| lasting.groups.contains(group))?;
        (!now.has_reached(lasting.until)).then_some(lasting.until)
    }

    /// Returns the group that the node `me` is to take, unless that was said too long ago.
    #[must_use]
    pub fn taken_up_by(&self, me: NodeId, now: Instant) -> Option<GroupId> {
        let moving = self.moving.filter(|moving| moving.to == me)?;
        (!now.has_reached(moving.until)).then_some(moving.group)
    }

    /// Whether the times that are left agree decides nothing: two nodes never tell the same.
    /// Anything else only differs under one stamp where a node has lost its memory and its disk,
    /// and then any order will do that is the same everywhere. A decree that was read from a disk
    /// without its maintenance comes before the same one with it.
    fn weight(&self) -> (Stamp, GroupSet, Option<GroupSet>) {
        (self.stamp, self.disabled, self.maintenance.map(|lasting| lasting.groups))
    }

    /// Returns whether this decree takes the place of `known`.
    #[must_use]
    pub fn replaces(&self, known: Option<&Self>) -> bool {
        known.is_none_or(|known| self.weight() > known.weight())
    }
}

/// Returns maintenance of `groups` until `until`, and of what is in maintenance already. Whoever
/// speaks of all that is in maintenance sets the time anew; otherwise nobody's time is cut short.
fn extended(lasting: Option<Maintenance>, groups: GroupSet, until: Instant) -> Maintenance {
    match lasting.filter(|lasting| !lasting.groups.difference(groups).is_empty()) {
        None => Maintenance { groups, until },
        Some(lasting) => {
            Maintenance { groups: lasting.groups.union(groups), until: lasting.until.max(until) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: GroupSet = GroupSet::first(2);
    const HOUR: Duration = Duration::from_millis(3_600_000);

    fn group(number: u8) -> GroupId {
        GroupId::new(number).unwrap()
    }

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn say(before: Option<&Decree>, saying: Saying, by: u8, now: Instant) -> Decree {
        Decree::following(before, &saying, node(by), ALL, HOUR, now).unwrap()
    }

    #[test]
    fn each_word_is_later_than_the_one_before_and_keeps_what_it_does_not_speak_of() {
        let one = say(None, Saying::Disable(group(1)), 0, at(5));
        let two = say(Some(&one), Saying::Maintain(Some(group(0)), HOUR), 1, at(6));
        assert!(two.replaces(Some(&one)) && !one.replaces(Some(&two)) && one.replaces(None));
        assert!(two.disabled.contains(group(1)) && !two.disabled.contains(group(0)));
        assert_eq!(two.maintenance_end(group(0), at(6)), Some(at(6) + HOUR));
        assert_eq!(two.maintenance_end(group(1), at(6)), None);
        assert_eq!(two.maintenance_end(group(0), at(6) + HOUR), None, "it expires");
        let three = say(Some(&two), Saying::Enable(group(1)), 0, at(7));
        assert!(three.disabled.is_empty());
        assert_eq!(three.maintenance, two.maintenance);
        let four = say(Some(&three), Saying::Resume(None), 0, at(8));
        assert_eq!((four.maintenance, four.stamp.number), (None, 4));
        assert!(four.replaces(Some(&three)));
    }

    #[test]
    fn of_two_words_said_at_once_one_wins_everywhere() {
        let (one, two) = (Saying::Disable(group(0)), Saying::Disable(group(1)));
        let (one, two) = (say(None, one, 0, at(1)), say(None, two, 1, at(2)));
        assert!(two.replaces(Some(&one)) && !one.replaces(Some(&two)));
    }

    #[test]
    fn a_move_is_said_once_and_not_by_later_words() {
        let one = say(None, Saying::Move(group(0), node(1)), 0, at(1));
        assert_eq!(one.taken_up_by(node(1), at(1)), Some(group(0)));
        assert_eq!(one.taken_up_by(node(0), at(1)), None);
        let late = Decree::heard(&one.told(at(1) + HOUR), at(1) + HOUR);
        assert_eq!(late.taken_up_by(node(1), at(1) + HOUR), None, "it was said long ago");
        assert_eq!(say(Some(&one), Saying::Enable(group(0)), 0, at(2)).moving, None);
    }

    #[test]
    fn maintenance_is_set_anew_for_all_that_is_in_it_and_else_never_cut_short() {
        let all = say(None, Saying::Maintain(None, HOUR.times(2)), 0, at(0));
        let shorter = say(Some(&all), Saying::Maintain(None, HOUR), 0, at(1));
        assert_eq!(shorter.maintenance_end(group(1), at(1)), Some(at(1) + HOUR));
        let one = say(Some(&all), Saying::Maintain(Some(group(0)), HOUR), 0, at(1));
        assert_eq!(one.maintenance, all.maintenance);
        let over = say(Some(&all), Saying::Resume(Some(group(0))), 0, at(1));
        assert_eq!(over.maintenance_end(group(0), at(1)), None);
        assert_eq!(over.maintenance_end(group(1), at(1)), Some(at(0) + HOUR.times(2)));
        let later = at(0) + HOUR.times(2);
        let anew = say(Some(&all), Saying::Maintain(Some(group(0)), HOUR), 0, later);
        assert_eq!(anew.maintenance_end(group(1), later), None, "what is over is not prolonged");
        let endless = Saying::Maintain(None, Duration::from_micros(u64::MAX));
        let longest = say(None, endless, 0, at(0)).maintenance.unwrap().until;
        assert_eq!(longest, at(0) + MAX_MAINTENANCE);
    }

    /// However a word is passed on, from a frame that was sent at any time after the one that it
    /// echoes, no deadline lies behind the first one, and none is moved by hearing it once more.
    #[test]
    fn the_time_that_is_left_never_grows() {
        let first = say(None, Saying::Maintain(None, HOUR), 0, Instant::from_micros(123_456));
        let end = first.maintenance.unwrap().until;
        let (mut kept, mut now) = (first, Instant::from_micros(123_456));
        for hop in 0..200 {
            let sent = now + Duration::from_micros(7 * hop);
            let told = kept.told(sent + Duration::from_micros(hop * hop % 40_000));
            let heard = Decree::heard(&told, sent);
            assert!(heard.maintenance.unwrap().until <= kept.maintenance.unwrap().until);
            assert!(!heard.replaces(Some(&kept)), "the same word");
            (kept, now) = (heard, sent + Duration::from_millis(40));
        }
        assert!(kept.maintenance.unwrap().until <= end);
        let over = first.told(end + HOUR);
        assert_eq!(over.maintenance.unwrap().1, 0);
        assert_eq!(Decree::heard(&over, end).maintenance_end(group(0), end), None);
    }

    #[test]
    fn who_has_forgotten_the_maintenance_learns_it_again_and_who_knows_it_is_over_does_not() {
        let whole = say(None, Saying::Maintain(None, HOUR), 0, at(0));
        let restored = Decree { maintenance: None, ..whole };
        let heard = Decree::heard(&whole.told(at(5)), at(4));
        assert!(heard.replaces(Some(&restored)) && !restored.replaces(Some(&heard)));
        let over = Maintenance { until: at(1), ..whole.maintenance.unwrap() };
        let expired = Decree { maintenance: Some(over), ..whole };
        assert!(!heard.replaces(Some(&expired)));
    }

    #[test]
    fn the_longest_word_is_as_long_as_foretold() {
        let told = Told {
            stamp: Stamp { number: u32::MAX, by: node(18) },
            disabled: GroupSet::first(32),
            maintenance: Some((GroupSet::first(32), u32::MAX)),
            moving: Some((group(31), node(18), u16::MAX)),
        };
        let mut buffer = [0; 64];
        assert_eq!(postcard::to_slice(&told, &mut buffer).unwrap().len(), MAX_TOLD_LEN);
        let last = Decree { stamp: told.stamp, ..Decree::heard(&told, at(0)) };
        let next = Saying::Resume(None);
        assert_eq!(Decree::following(Some(&last), &next, node(0), ALL, HOUR, at(0)), None);
    }
}
