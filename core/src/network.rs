//! Networks with several adapters on each node: which of them has failed, and which one serves.
//!
//! A network is some links, one adapter of each node on each. Every link is judged by itself, by
//! what is seen of it at one moment: [`Sight::judge`]. Who is heard, whom the others hear, and
//! whether a third station answers tell an adapter of this node from one of a peer, and both from
//! a network on which nobody hears anybody. Where that cannot be told, it is not guessed.
//!
//! A [`Choice`] keeps to the adapter that comes first, leaves one that has failed at once for the
//! best of the others, and returns only to one that has been well for a while: one second after
//! the first failure, twice as long after each further one, at most [`MOST_HOLD_OFF`]. Which
//! adapter comes first depends on the [`Origin`] of an address: two nodes that take each other's
//! groups over keep what is their own apart from what they have taken.

use crate::node::{MAX_LINKS, NodeSet};
use crate::time::{Duration, Instant};

/// What a node sees of one link of a network at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sight {
    /// Whether this node's adapter is there and carries frames.
    pub carrier: bool,
    /// The others that are alive and have an adapter on this link.
    pub others: NodeSet,
    /// Those of them that this node hears on it.
    pub heard: NodeSet,
    /// Those of them that say that they hear this node on it.
    pub hear_me: NodeSet,
    /// Whether a node among them says that it hears another of them on it. A witness numbers its
    /// own links, so what it hears tells nothing of this one.
    pub others_meet: bool,
    /// Whether a third station answers on it; `None` where none is asked.
    pub answered: Option<bool>,
}

/// What is wrong with a link of a network, as far as this node can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing: all that are alive are heard, and hear this node.
    Well,
    /// This node's adapter: it is gone, or carries nothing.
    NoCarrier,
    /// This node's adapter: it hears others, and nobody hears it.
    Mute,
    /// The switch's port of this node, or the path to it: the adapter has a carrier and hears
    /// nobody, while others hear each other or answer elsewhere.
    Port,
    /// An adapter of a peer, or the path to it: others are heard, or a third station answers.
    Peer,
    /// The network: nobody hears anybody on it.
    Network,
    /// It cannot be told: nobody else that has an adapter there is alive.
    Alone,
    /// It cannot be told: there is nobody else to compare with.
    #[default]
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 8] = [
        Self::Well,
        Self::NoCarrier,
        Self::Mute,
        Self::Port,
        Self::Peer,
        Self::Network,
        Self::Alone,
        Self::Unknown,
    ];

    /// Returns whether what has failed is on this node's side.
    #[must_use]
    pub const fn is_mine(self) -> bool {
        matches!(self, Self::NoCarrier | Self::Mute | Self::Port)
    }

    /// Returns whether this node's adapter is known to work.
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Well | Self::Peer)
    }

    /// Returns how good an adapter is to serve on, the best the highest.
    const fn rank(self) -> u8 {
        match self {
            Self::Well | Self::Peer => PROVEN,
            Self::Network | Self::Alone | Self::Unknown => DOUBTFUL,
            Self::Mute | Self::Port => 1,
            Self::NoCarrier => 0,
        }
    }
}

const PROVEN: u8 = 3;
const DOUBTFUL: u8 = 2;

impl Sight {
    /// Returns what is wrong. `answered_elsewhere` says whether a third station answers on another
    /// link of the network.
    ///
    /// | heard | besides | verdict |
    /// |---|---|---|
    /// | | no carrier | no carrier |
    /// | nobody is alive | a third station answers | well |
    /// | nobody is alive | a third station answers elsewhere alone | port |
    /// | nobody is alive | else | alone |
    /// | some, nobody hears me | a third station answers | peer |
    /// | some, nobody hears me | several are heard, or a third station is silent | mute |
    /// | some, nobody hears me | else | unknown |
    /// | some, not all | | peer |
    /// | all | | well |
    /// | nobody | a third station answers | peer |
    /// | nobody | others hear each other | port |
    /// | nobody | a third station answers elsewhere alone | port |
    /// | nobody | several others, or a third station is silent | network |
    /// | nobody | else | unknown |
    #[must_use]
    pub fn judge(&self, answered_elsewhere: bool) -> Verdict {
        let heard = self.heard.intersection(self.others);
        let hear_me = self.hear_me.intersection(self.others);
        let is_answered = self.answered == Some(true);
        let is_unanswered = self.answered == Some(false);
        if !self.carrier {
            Verdict::NoCarrier
        } else if self.others == NodeSet::EMPTY {
            if is_answered {
                Verdict::Well
            } else if is_unanswered && answered_elsewhere {
                Verdict::Port
            } else {
                Verdict::Alone
            }
        } else if heard == NodeSet::EMPTY {
            if is_answered {
                Verdict::Peer
            } else if self.others_meet || (is_unanswered && answered_elsewhere) {
                Verdict::Port
            } else if is_unanswered || is_several(self.others) {
                Verdict::Network
            } else {
                Verdict::Unknown
            }
        } else if hear_me == NodeSet::EMPTY {
            if is_answered {
                Verdict::Peer
            } else if is_unanswered || is_several(heard) {
                Verdict::Mute
            } else {
                Verdict::Unknown
            }
        } else if heard.covers(self.others) {
            Verdict::Well
        } else {
            Verdict::Peer
        }
    }
}

/// Returns whether there is more than one in a set.
fn is_several(nodes: NodeSet) -> bool {
    nodes.iter().nth(1).is_some()
}

/// Returns what is wrong with each link of a network; there are at most [`MAX_LINKS`].
pub fn judge(sights: &[Sight]) -> impl Iterator<Item = Verdict> {
    sights.iter().enumerate().map(|(at, sight)| {
        let mut others = sights.iter().enumerate().filter(|(other, _)| *other != at);
        sight.judge(others.any(|(_, other)| other.carrier && other.answered == Some(true)))
    })
}

/// How long an adapter must be well before the address returns to it, after its first failure.
pub const FIRST_HOLD_OFF: Duration = Duration::from_millis(1000);
/// The longest time that an adapter must be well before the address returns to it. One that was
/// well for as long begins anew.
pub const MOST_HOLD_OFF: Duration = Duration::from_millis(64_000);

/// Whose the groups are whose addresses sit on a network, seen from one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// They are at home on this node, or nowhere: they sit on the first adapter of the list.
    Home,
    /// They are at home on another node, and this one takes them over: they sit on the second
    /// adapter of the list, then on those after it, and last on the first.
    Taken,
}

impl Origin {
    /// Both origins.
    pub const ALL: [Self; 2] = [Self::Home, Self::Taken];

    /// Returns the places of `count` adapters, the one that comes first at the front.
    fn order(self, count: usize) -> impl Iterator<Item = usize> + Clone {
        (0..count).cycle().skip(self as usize).take(count)
    }
}

/// Which adapters of a network serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    /// The place of the adapter for the addresses of each origin.
    currents: [usize; Origin::ALL.len()],
    count: usize,
    ways: [Way; MAX_LINKS],
}

/// What is remembered of one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Way {
    verdict: Verdict,
    /// Since when it is known to work.
    since: Option<Instant>,
    /// For how long it must work before the address returns to it.
    hold_off: Duration,
}

impl Way {
    const NEW: Self = Self { verdict: Verdict::Unknown, since: None, hold_off: Duration::ZERO };

    /// Returns when the address may return to it, if it works.
    fn stable_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.hold_off)
    }

    fn is_stable(&self, now: Instant) -> bool {
        self.stable_at().is_some_and(|at| now.has_reached(at))
    }

    /// Takes note of a verdict; `is_flap` says whether it would be a failure of this adapter.
    fn look(&mut self, verdict: Verdict, is_flap: bool, now: Instant) {
        self.verdict = verdict;
        if verdict.is_proven() {
            self.since = self.since.or(Some(now));
        } else if let Some(since) = self.since.take()
            && is_flap
        {
            let doubled = self.hold_off.times(2).min(MOST_HOLD_OFF);
            let is_forgotten = now.since(since) >= MOST_HOLD_OFF;
            self.hold_off = if is_forgotten { FIRST_HOLD_OFF } else { doubled.max(FIRST_HOLD_OFF) };
        } else if is_flap && self.hold_off < FIRST_HOLD_OFF {
            self.hold_off = FIRST_HOLD_OFF;
        }
    }
}

impl Choice {
    /// Begins with the adapters that come first of `count`.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let count = count.min(MAX_LINKS);
        let first = |origin: Origin| origin.order(count).next().unwrap_or_default();
        Self { currents: Origin::ALL.map(first), count, ways: [Way::NEW; MAX_LINKS] }
    }

    /// Takes note of how each adapter is, and chooses anew where the addresses are to be.
    ///
    /// An adapter that has failed is left at once for the best that is left, one of which nothing
    /// can be told for one that is known to work. Nothing else is a reason to leave but a better
    /// placed adapter that has been well for its hold-off.
    pub fn look(&mut self, verdicts: &[Verdict], now: Instant) {
        let ranks = verdicts.iter().take(self.count).map(|verdict| verdict.rank());
        let Some(best) = ranks.max() else { return };
        for (way, verdict) in self.ways.iter_mut().zip(verdicts).take(self.count) {
            // Where nothing is heard because nobody is there, no adapter has failed.
            let is_doubted = verdict.rank() < best && best == PROVEN && *verdict != Verdict::Alone;
            way.look(*verdict, verdict.is_mine() || is_doubted, now);
        }
        self.currents = Origin::ALL.map(|origin| self.next(origin, best, now));
    }

    /// Returns the adapter for the addresses of an origin, where the best has the rank `best`.
    fn next(&self, origin: Origin, best: u8, now: Instant) -> usize {
        let current = self.current(origin);
        let rank = |at: usize| self.ways.get(at).map_or(0, |way| way.verdict.rank());
        let is_stable = |at: &usize| self.ways.get(*at).is_some_and(|way| way.is_stable(now));
        let order = origin.order(self.count);
        let next = if rank(current) < best && best >= DOUBTFUL {
            let mut best = order.filter(|at| rank(*at) == best);
            best.clone().find(is_stable).or_else(|| best.next())
        } else {
            order.take_while(|at| *at != current).find(is_stable)
        };
        next.unwrap_or(current)
    }

    /// Returns which adapter serves the addresses of an origin, by its place in the list.
    #[must_use]
    pub const fn current(&self, origin: Origin) -> usize {
        let [home, taken] = self.currents;
        match origin {
            Origin::Home => home,
            Origin::Taken => taken,
        }
    }

    /// Returns how an adapter is.
    #[must_use]
    pub fn verdict(&self, at: usize) -> Verdict {
        self.ways.get(at).map_or(Verdict::Unknown, |way| way.verdict)
    }

    /// Returns when addresses may return to an adapter that comes before the one which serves.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let before = |origin: Origin| {
            let better = origin.order(self.count).take_while(move |at| *at != self.current(origin));
            better.filter_map(|at| self.ways.get(at)?.stable_at())
        };
        Origin::ALL.into_iter().flat_map(before).min()
    }

    /// Returns whether this node can serve on this network: not where every adapter has failed on
    /// its own side.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.ways.iter().take(self.count).any(|way| !way.verdict.is_mine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn set(bits: u32) -> NodeSet {
        NodeSet::from_bits(bits)
    }

    /// Every sight of up to three others, with whether a third station answers elsewhere.
    fn all_sights() -> impl Iterator<Item = (Sight, bool)> {
        (0..8_u32 * 8 * 8 * 2 * 3 * 2 * 2).map(|number| {
            let answered = [None, Some(false), Some(true)];
            let sight = Sight {
                others: set(number % 8),
                heard: set(number / 8 % 8),
                hear_me: set(number / 64 % 8),
                others_meet: number / 512 % 2 == 1,
                answered: answered[number as usize / 1024 % 3],
                carrier: number / 3072 % 2 == 1,
            };
            (sight, number / 6144 % 2 == 1)
        })
    }

    #[test]
    fn every_sight_has_the_verdict_of_the_table() {
        let mut seen = [0; Verdict::ALL.len()];
        for (sight, elsewhere) in all_sights() {
            let others = sight.others.bits();
            let (heard, hear_me) = (sight.heard.bits() & others, sight.hear_me.bits() & others);
            let count = |bits: u32| bits.count_ones();
            let station = sight.answered;
            let expected = match (count(others), count(heard), count(hear_me)) {
                _ if !sight.carrier => Verdict::NoCarrier,
                (0, ..) if station == Some(true) => Verdict::Well,
                (0, ..) if station == Some(false) && elsewhere => Verdict::Port,
                (0, ..) => Verdict::Alone,
                (_, 0, _) if station == Some(true) => Verdict::Peer,
                (_, 0, _) if sight.others_meet => Verdict::Port,
                (_, 0, _) if station == Some(false) && elsewhere => Verdict::Port,
                (_, 0, _) if station == Some(false) => Verdict::Network,
                (2.., 0, _) => Verdict::Network,
                (_, 0, _) => Verdict::Unknown,
                (_, _, 0) if station == Some(true) => Verdict::Peer,
                (_, _, 0) if station == Some(false) => Verdict::Mute,
                (_, 2.., 0) => Verdict::Mute,
                (_, _, 0) => Verdict::Unknown,
                (all, some, _) if some < all => Verdict::Peer,
                _ => Verdict::Well,
            };
            let said = sight.judge(elsewhere);
            assert_eq!(said, expected, "{sight:?} {elsewhere}");
            seen[Verdict::ALL.iter().position(|verdict| *verdict == said).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    #[test]
    fn nobody_is_blamed_without_a_witness_to_it() {
        for (sight, elsewhere) in all_sights() {
            let verdict = sight.judge(elsewhere);
            if matches!(verdict, Verdict::Mute | Verdict::Port) {
                // Somebody else must have been able to tell.
                let several = is_several(sight.others);
                assert!(several || sight.others_meet || sight.answered.is_some(), "{sight:?}");
                assert_ne!(sight.answered, Some(true), "{sight:?}");
            }
            assert!(!(verdict.is_mine() && verdict.is_proven()));
        }
    }

    #[test]
    fn a_third_station_that_answers_elsewhere_tells_the_port_from_the_network() {
        let silent = Sight { carrier: true, others: set(1), ..Sight::default() };
        let asked = |answered| Sight { answered: Some(answered), ..silent };
        let judged = |sights: &[Sight]| judge(sights).collect::<Vec<_>>();
        assert_eq!(judged(&[silent, silent]), [Verdict::Unknown, Verdict::Unknown]);
        assert_eq!(judged(&[asked(false), asked(true)]), [Verdict::Port, Verdict::Peer]);
        assert_eq!(judged(&[asked(false), asked(false)]), [Verdict::Network, Verdict::Network]);
        let unplugged = Sight { carrier: false, ..asked(true) };
        assert_eq!(judged(&[asked(false), unplugged]), [Verdict::Network, Verdict::NoCarrier]);
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// Returns when an address of this node's own moved, and to which adapter, in `verdicts` that
    /// last until the next.
    ///
    /// One that is taken over must move like it where the adapters change places.
    fn moves(verdicts: &[(u64, [Verdict; 2])], end: u64) -> Vec<(u64, usize)> {
        let (mut choice, mut turned) = (Choice::new(2), Choice::new(2));
        let (mut moved, mut known) = (Vec::new(), None);
        for millis in 0..end {
            let changed = verdicts.iter().find(|(from, _)| *from == millis);
            known = changed.map(|(_, verdicts)| *verdicts).or(known);
            let Some([first, second]) = known else { continue };
            let before = choice.current(Origin::Home);
            choice.look(&[first, second], at(millis));
            turned.look(&[second, first], at(millis));
            let after = choice.current(Origin::Home);
            assert_eq!(1 - turned.current(Origin::Taken), after, "{millis} of {verdicts:?}");
            moved.extend((before != after).then_some((millis, after)));
        }
        moved
    }

    const WELL: [Verdict; 2] = [Verdict::Well, Verdict::Well];

    #[test]
    fn a_failed_adapter_is_left_at_once_and_returned_to_after_the_hold_off() {
        for failed in [Verdict::NoCarrier, Verdict::Mute, Verdict::Port, Verdict::Unknown] {
            let story = [(0, WELL), (500, [failed, Verdict::Well]), (700, WELL)];
            assert_eq!(moves(&story, 3000), [(500, 1), (1700, 0)], "{failed:?}");
        }
    }

    #[test]
    fn what_is_not_better_elsewhere_moves_nothing() {
        for same in Verdict::ALL {
            assert_eq!(moves(&[(0, WELL), (500, [same, same])], 3000), [], "{same:?}");
        }
        let peer = [Verdict::Peer, Verdict::Well];
        assert_eq!(moves(&[(0, WELL), (500, peer)], 3000), [], "another's adapter");
        let standby = [Verdict::Well, Verdict::NoCarrier];
        assert_eq!(moves(&[(0, WELL), (500, standby)], 3000), []);
        let worse = [Verdict::Unknown, Verdict::Port];
        assert_eq!(moves(&[(0, WELL), (500, worse)], 3000), []);
    }

    #[test]
    fn any_adapter_with_a_carrier_is_better_than_none() {
        let alone = [Verdict::NoCarrier, Verdict::Unknown];
        assert_eq!(moves(&[(0, alone)], 10), [(0, 1)]);
        let both = [Verdict::NoCarrier, Verdict::NoCarrier];
        let story = [(0, WELL), (10, [both[0], Verdict::Well]), (20, both), (30, alone)];
        assert_eq!(moves(&story, 3000), [(10, 1)]);
    }

    #[test]
    fn an_adapter_that_flaps_is_left_alone_for_longer_and_longer() {
        for period in [100, 500, 1000, 2000, 5000] {
            let flap = |count: u64| {
                let (from, half) = (100 + count * period, period / 2);
                [(from, [Verdict::NoCarrier, Verdict::Well]), (from + half, WELL)]
            };
            let mut story: Vec<_> = [(0, WELL)].to_vec();
            let flaps = 120_000 / period;
            story.extend((0..flaps).flat_map(flap));
            let moved = moves(&story, 120_000);
            assert!(moved.len() <= 5, "{period}: {moved:?}");
            let last = moved.last().unwrap();
            assert!(last.1 == 1 && last.0 < 30_000, "{period}: {moved:?}");
            // Once it is well for good, the address returns, and soon enough.
            let end = 100 + flaps * period + MOST_HOLD_OFF.as_millis() + 10;
            let returned = moves(&story, end);
            assert_eq!(returned.last().unwrap().1, 0, "{period}: {returned:?}");
        }
    }

    #[test]
    fn the_hold_off_is_bounded_and_forgotten() {
        let mut choice = Choice::new(2);
        let mut now = 0;
        for _ in 0..100 {
            choice.look(&WELL, at(now));
            choice.look(&[Verdict::Port, Verdict::Well], at(now + 1));
            now += 2;
        }
        assert_eq!(choice.ways[0].hold_off, MOST_HOLD_OFF);
        choice.look(&WELL, at(now));
        assert_eq!(choice.poll_timeout(), Some(at(now) + MOST_HOLD_OFF));
        now += MOST_HOLD_OFF.as_millis();
        choice.look(&WELL, at(now));
        assert_eq!(choice.current(Origin::Home), 0);
        choice.look(&[Verdict::Port, Verdict::Well], at(now + 1));
        assert_eq!(choice.ways[0].hold_off, FIRST_HOLD_OFF);
    }

    #[test]
    fn the_death_of_the_only_peer_is_no_flap_of_an_adapter() {
        let unknown = [Verdict::Unknown, Verdict::Unknown];
        let mut choice = Choice::new(2);
        for millis in 0..10 {
            choice.look(if millis % 2 == 0 { &WELL } else { &unknown }, at(millis));
        }
        assert_eq!((choice.currents, choice.ways[0].hold_off), ([0, 1], Duration::ZERO));
        // Where a third station is still to answer on one of them, that one serves as soon as it
        // has.
        let alone = [Verdict::Well, Verdict::Alone];
        for millis in 10..20 {
            let (verdicts, taken) = if millis % 2 == 0 { (WELL, 1) } else { (alone, 0) };
            choice.look(&verdicts, at(millis));
            assert_eq!((choice.currents, choice.ways[1].hold_off), ([0, taken], Duration::ZERO));
        }
    }

    #[test]
    fn what_is_taken_over_sits_apart_from_what_is_at_home_as_long_as_two_adapters_work() {
        for (first, second) in
            Verdict::ALL.into_iter().flat_map(|one| Verdict::ALL.map(|other| (one, other)))
        {
            let mut choice = Choice::new(2);
            choice.look(&WELL, at(0));
            choice.look(&[first, second], at(10));
            let (home, taken) = (choice.current(Origin::Home), choice.current(Origin::Taken));
            let (one, other) = (first.rank(), second.rank());
            let best = one.max(other);
            let expected = match (one == best, other == best) {
                _ if best < DOUBTFUL => (0, 1),
                (true, false) => (0, 0),
                (false, true) => (1, 1),
                _ => (0, 1),
            };
            assert_eq!((home, taken), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn each_returns_to_its_own_adapter() {
        let mut choice = Choice::new(3);
        let mut seen = |millis, broken: &[usize]| {
            let mut verdicts = [Verdict::Well; 3];
            broken.iter().for_each(|place| verdicts[*place] = Verdict::Port);
            choice.look(&verdicts, at(millis));
            (choice.currents, choice.poll_timeout())
        };
        assert_eq!(seen(0, &[]), ([0, 1], None));
        assert_eq!(seen(10, &[1]), ([0, 2], None));
        assert_eq!(seen(20, &[1, 2]), ([0, 0], None));
        assert_eq!(seen(30, &[1]), ([0, 0], Some(at(1030))));
        assert_eq!(seen(1030, &[1]), ([0, 2], None));
        assert_eq!(seen(1040, &[]), ([0, 2], Some(at(2040))));
        assert_eq!(seen(1050, &[0]), ([2, 2], Some(at(2040))));
        assert_eq!(seen(1060, &[]), ([2, 2], Some(at(2040))));
        assert_eq!(seen(2040, &[]), ([1, 1], Some(at(2060))));
        assert_eq!(seen(2060, &[]), ([0, 1], None));
    }

    #[test]
    fn one_adapter_has_everything() {
        for count in [0, 1] {
            let mut choice = Choice::new(count);
            choice.look(&[Verdict::Well], at(0));
            assert_eq!(choice.currents, [0, 0]);
        }
    }

    #[test]
    fn who_has_no_adapter_left_cannot_serve() {
        for (one, other) in
            Verdict::ALL.into_iter().flat_map(|one| Verdict::ALL.map(|other| (one, other)))
        {
            let mut choice = Choice::new(2);
            choice.look(&[one, other], at(0));
            assert_eq!(choice.is_able(), !(one.is_mine() && other.is_mine()), "{one:?} {other:?}");
            let best = one.rank().max(other.rank());
            for chosen in Origin::ALL.map(|origin| choice.verdict(choice.current(origin))) {
                assert!(best < DOUBTFUL || chosen.rank() == best, "{one:?} {other:?}");
            }
        }
    }
}
