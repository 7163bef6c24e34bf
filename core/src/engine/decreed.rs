//! The operator's lasting word: saying it, hearing it from peers, and what it forbids.

use super::Engine;
use crate::decree::{Decree, Saying, Stamp, Told};
use crate::frame::Phase;
use crate::group::{Claim, GroupId, GroupSet, Reason};
use crate::node::NodeId;
use crate::time::Instant;

/// Why a word is not said. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unsaid {
    /// There is no such group.
    NoSuchGroup,
    /// This node is leaving, and could take the word with it.
    Leaving,
    /// Until this moment this node meets its peers, who may know a later word.
    Settling(Instant),
    /// The group's order does not name the node that it is to move to.
    NotInOrder,
    /// The node that it is to move to is not alive here, or has other settings.
    NotAlive,
    /// The operator wants the node that it is to move to free of groups.
    Standby,
    /// The group is disabled.
    Disabled,
    /// The group is in maintenance until this moment.
    Maintenance(Instant),
    /// Four thousand million words have been said.
    Exhausted,
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Says something to the whole cluster, and returns the stamp under which it is known. If
    /// another word is said elsewhere at the same time, only one of them lasts.
    ///
    /// # Errors
    /// Says why it is not said; nothing has changed.
    pub fn handle_saying(&mut self, saying: &Saying, now: Instant) -> Result<Stamp, Unsaid> {
        self.check_authority(now);
        self.unsaid(saying).map_or(Ok(()), Err)?;
        let all = GroupSet::first(self.groups.len());
        let patience = self.config.timing.offer;
        let before = self.decree.as_ref();
        let decree = Decree::following(before, saying, self.config.me, all, patience, self.now)
            .ok_or(Unsaid::Exhausted)?;
        self.take_over(decree);
        self.decide();
        Ok(decree.stamp)
    }

    /// Takes up, before anything else, what an earlier start of this node has saved of the
    /// operator's word: with moments of the clock that this start counts by, and without what is
    /// told in none.
    pub fn handle_remembered(&mut self, decree: Decree, now: Instant) {
        self.check_authority(now);
        self.decree = Some(Decree { moving: None, ..decree });
    }

    /// Returns what the operator has said last, as far as this node knows.
    #[must_use]
    pub const fn decree(&self) -> Option<&Decree> {
        self.decree.as_ref()
    }

    /// Returns which word of the operator `node` knew when it last spoke.
    #[must_use]
    pub fn decree_known_to(&self, node: NodeId) -> Option<Stamp> {
        self.known.get(self.member.others().place(node)?).copied().flatten()
    }

    /// Returns whether the operator wants `group` started nowhere.
    #[must_use]
    pub fn is_disabled(&self, group: GroupId) -> bool {
        self.decree.is_some_and(|decree| decree.disabled.contains(group))
    }

    /// Returns until when `group` is in maintenance, if it is.
    #[must_use]
    pub fn maintenance_end(&self, group: GroupId) -> Option<Instant> {
        self.decree.and_then(|decree| decree.maintenance_end(group, self.now))
    }

    /// Takes note of the word that a living peer of the same settings knows, which it told after
    /// `sent`.
    pub(super) fn hear_decree(&mut self, from: NodeId, told: Option<&Told>, sent: Instant) {
        if from.is_witness() {
            return;
        }
        let place = self.member.others().place(from);
        if let Some(known) = place.and_then(|place| self.known.get_mut(place)) {
            *known = told.map(|told| told.stamp);
        }
        let heard = told.map(|told| Decree::heard(told, sent));
        if let Some(heard) = heard.filter(|heard| heard.replaces(self.decree.as_ref())) {
            self.take_over(heard);
        }
    }

    /// Returns the stamp of a decree of which the shell does not know yet.
    pub(super) fn poll_decree(&mut self) -> Option<Stamp> {
        let is_told = core::mem::replace(&mut self.is_decree_told, true);
        self.decree.filter(|_| !is_told).map(|decree| decree.stamp)
    }

    /// Returns why a claim must not go on. What began before maintenance did is brought to its end:
    /// a group that somebody is giving up must not be left with nobody.
    pub(super) fn forbidden(&self, group: GroupId, claim: &Claim) -> Option<Reason> {
        if self.is_disabled(group) {
            return Some(Reason::Disabled);
        }
        self.maintenance_end(group)?;
        let is_offered = matches!(self.holder(group), Some((_, Phase::Offering)));
        let was_given_up = matches!(self.group(group)?.last_holder, Some((_, true)));
        let limit = super::claim_limit(self.settings(group)?, self.config.timing.heartbeat);
        let is_young = self.now.since(claim.since) < limit;
        (!is_offered && !was_given_up && !is_young).then_some(Reason::Maintenance)
    }

    fn take_over(&mut self, decree: Decree) {
        self.decree = Some(decree);
        self.is_decree_told = false;
        self.cadence.tell();
        if let Some(group) = decree.taken_up_by(self.config.me, self.now) {
            self.with(group, |state| state.standby = false);
            self.ask_for(group);
        }
    }

    fn unsaid(&self, saying: &Saying) -> Option<Unsaid> {
        let group = match *saying {
            Saying::Maintain(group, _) | Saying::Resume(group) => group,
            Saying::Disable(group) | Saying::Enable(group) | Saying::Move(group, _) => Some(group),
        };
        let settled = self.started + self.config.timing.settle;
        if group.is_some_and(|group| group.index() >= self.groups.len()) {
            Some(Unsaid::NoSuchGroup)
        } else if self.leaving {
            Some(Unsaid::Leaving)
        } else if !self.now.has_reached(settled) {
            Some(Unsaid::Settling(settled))
        } else if let Saying::Move(group, to) = *saying {
            self.immovable(group, to)
        } else {
            None
        }
    }

    /// Returns why `group` cannot move to `to`, as far as this node can tell.
    fn immovable(&self, group: GroupId, to: NodeId) -> Option<Unsaid> {
        let is_me = to == self.config.me;
        if self.settings(group).and_then(|settings| settings.rank(to)).is_none() {
            Some(Unsaid::NotInOrder)
        } else if self.is_disabled(group) {
            Some(Unsaid::Disabled)
        } else if let Some(until) = self.maintenance_end(group) {
            Some(Unsaid::Maintenance(until))
        } else if if is_me { self.standby } else { self.is_in_standby(to) } {
            Some(Unsaid::Standby)
        } else {
            let is_alive = is_me || self.takers(group).any(|node| node == to);
            (!is_alive).then_some(Unsaid::NotAlive)
        }
    }

    fn is_in_standby(&self, node: NodeId) -> bool {
        let session = self.member.peers.session(node);
        session.is_some_and(|session| session.body.flags.has(crate::frame::Flags::STANDBY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Timing};
    use crate::engine::{Event, Obstacle};
    use crate::frame::{LinkClass, MAX_FRAME_LEN};
    use crate::group::{Failback, GroupConfig, Guard, Role, Token};
    use crate::node::{BootId, ClusterId, LinkId};
    use crate::quorum::{Module, Quorum};
    use crate::seal::{KEY_LEN, Key, KeyId, Keyring};
    use crate::time::Duration;
    use heapless::Vec;

    type Server = Engine<3, 2, 2, 1>;

    const SETTLE: Duration = Duration::from_millis(100);
    const HOUR: Duration = Duration::from_millis(3_600_000);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn group(number: u8) -> GroupId {
        GroupId::new(number).unwrap()
    }

    fn server(me: u8, boot: u64, now: Instant) -> Server {
        server_of(me, boot, 9, now)
    }

    fn server_of(me: u8, boot: u64, digest: u32, now: Instant) -> Server {
        let settings = GroupConfig {
            guard: Guard::Address,
            promise: ms(40),
            authority: ms(30),
            order: (0..3).map(node).collect(),
            failback: Failback::Off,
            with: None,
            apart: GroupSet::EMPTY,
        };
        let config = Config::new(Config {
            cluster: ClusterId(7),
            me: node(me),
            quorum: Quorum::new(&[1, 1, 1], 0, &[Module::Majority], false).unwrap(),
            links: Vec::from_slice(&[LinkClass::Udp]).unwrap(),
            timing: Timing {
                heartbeat: ms(5),
                dead: ms(20),
                longest_promise: ms(40),
                settle: SETTLE,
                dispute: ms(500),
                offer: ms(500),
            },
            groups: Vec::from_slice(&[settings.clone(), settings]).unwrap(),
            digest,
        });
        let keys = Keyring::new(&[(KeyId(1), Key::new([1; KEY_LEN]))], KeyId(1)).unwrap();
        Server::new(config.unwrap(), keys, BootId::new(boot), Token(0), now)
    }

    /// Servers that hear each other at once, and shells that do at once what they are told.
    struct Cluster {
        servers: std::vec::Vec<Server>,
        now: Instant,
        events: std::vec::Vec<(usize, Event)>,
    }

    impl Cluster {
        fn settled(count: u8) -> Self {
            let now = Instant::from_micros(1_000_000);
            let servers = (0..count).map(|me| server(me, u64::from(me) + 1, now)).collect();
            let mut cluster = Self { servers, now, events: std::vec::Vec::new() };
            cluster.run(400);
            cluster
        }

        fn run(&mut self, millis: u64) {
            for _ in 0..millis {
                self.now = self.now + ms(1);
                for at in 0..self.servers.len() {
                    self.wake(at);
                }
            }
        }

        fn wake(&mut self, at: usize) {
            let (now, mut buffer) = (self.now, [0; MAX_FRAME_LEN]);
            let Self { servers, events, .. } = self;
            servers[at].handle_timeout(now);
            while let Some(event) = servers[at].poll_event() {
                events.push((at, event));
                match event {
                    Event::Group { group, role: Role::Starting(_), .. } => {
                        servers[at].handle_started(group, true, now);
                    }
                    Event::Group { group, role: Role::Stopping(_), .. } => {
                        servers[at].handle_stopped(group, true, now);
                    }
                    Event::Reserve(token) => servers[at].handle_reserved(token, now),
                    _ => {}
                }
            }
            while let Some(sent) = servers[at].poll_transmit(now, &mut buffer) {
                let others = servers.iter_mut().enumerate().filter(|(other, _)| *other != at);
                for (_, other) in others {
                    let _refused =
                        other.handle_frame(LinkId::new(0).unwrap(), &buffer[..sent.len], now);
                }
            }
        }

        fn say(&mut self, at: usize, saying: Saying) -> Result<Stamp, Unsaid> {
            self.servers[at].handle_saying(&saying, self.now)
        }

        fn holder(&self, of: u8) -> Option<usize> {
            let holds = |server: &Server| server.group(group(of)).unwrap().role().is_up();
            self.servers.iter().position(holds)
        }
    }

    #[test]
    fn a_word_is_known_to_all_and_told_to_every_shell_once() {
        let mut cluster = Cluster::settled(3);
        assert_eq!(cluster.servers[0].decree(), None);
        cluster.events.clear();
        let stamp = cluster.say(1, Saying::Disable(group(1))).unwrap();
        assert_eq!(stamp, Stamp { number: 1, by: node(1) });
        cluster.run(20);
        for at in 0..3 {
            let told = cluster.events.iter().filter(|event| **event == (at, Event::Decreed(stamp)));
            assert_eq!(told.count(), 1);
            assert!(cluster.servers[at].is_disabled(group(1)));
            let others = (0..3).filter(|other| usize::from(*other) != at).map(node);
            for other in others {
                assert_eq!(cluster.servers[at].decree_known_to(other), Some(stamp));
            }
        }
        let next = cluster.say(2, Saying::Enable(group(1))).unwrap();
        assert_eq!(next.number, 2);
    }

    #[test]
    fn a_disabled_group_stops_in_good_order_and_starts_nowhere_until_it_is_enabled() {
        let mut cluster = Cluster::settled(3);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (Some(0), Some(0)));
        cluster.say(2, Saying::Disable(group(0))).unwrap();
        cluster.events.clear();
        cluster.run(1000);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (None, Some(0)));
        let stops = |(at, event): &(usize, Event)| {
            let reason = Reason::Disabled;
            *at == 0 && matches!(event, Event::Group { reason: is, .. } if *is == reason)
        };
        assert_eq!(cluster.events.iter().filter(|event| stops(event)).count(), 1);
        for server in &cluster.servers {
            assert_eq!(server.obstacle(group(0)), Some(Obstacle::Disabled));
        }
        let now = cluster.now;
        cluster.servers[1].handle_takeover(Some(group(0)), now);
        cluster.run(100);
        assert_eq!(cluster.holder(0), None);
        cluster.say(1, Saying::Enable(group(0))).unwrap();
        cluster.run(100);
        assert!(cluster.holder(0).is_some());
    }

    #[test]
    fn in_maintenance_nothing_moves_until_it_is_over_by_itself() {
        let mut cluster = Cluster::settled(3);
        cluster.say(1, Saying::Maintain(None, ms(2000))).unwrap();
        cluster.run(20);
        let now = cluster.now;
        cluster.servers[0].handle_standby(None, now);
        cluster.servers[2].handle_takeover(Some(group(1)), now);
        cluster.run(100);
        for at in 0..2 {
            let role = cluster.servers[0].group(group(at)).unwrap().role();
            assert!(matches!(role, Role::Holding { offered_until: None, .. }), "{role:?}");
        }
        cluster.run(800);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (Some(0), Some(0)));
        let Some(Obstacle::Maintenance(until)) = cluster.servers[2].obstacle(group(1)) else {
            panic!("{:?}", cluster.servers[2].obstacle(group(1)));
        };
        assert!(until > cluster.now && until <= cluster.now + ms(1100));
        // It dies: nobody takes what it held until the time is over.
        let dead = cluster.servers.remove(0);
        cluster.run(900);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (None, None));
        cluster.run(400);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (Some(0), Some(0)));
        drop(dead);
    }

    #[test]
    fn maintenance_is_ended_from_any_node_and_outlives_the_one_where_it_was_said() {
        let mut cluster = Cluster::settled(3);
        cluster.say(2, Saying::Maintain(Some(group(0)), HOUR)).unwrap();
        cluster.run(20);
        cluster.servers.pop();
        cluster.run(200);
        assert!(cluster.servers[1].maintenance_end(group(0)).is_some());
        assert_eq!(cluster.servers[1].maintenance_end(group(1)), None);
        cluster.say(1, Saying::Resume(None)).unwrap();
        cluster.run(20);
        assert_eq!(cluster.servers[0].maintenance_end(group(0)), None);
    }

    #[test]
    fn a_holder_without_authority_stops_in_maintenance_too() {
        let mut cluster = Cluster::settled(3);
        cluster.say(0, Saying::Maintain(None, HOUR)).unwrap();
        cluster.run(20);
        cluster.servers.truncate(1);
        cluster.run(100);
        assert_eq!(cluster.holder(0), None);
    }

    #[test]
    fn who_has_started_anew_learns_before_it_speaks() {
        let mut cluster = Cluster::settled(3);
        cluster.say(0, Saying::Disable(group(0))).unwrap();
        cluster.say(0, Saying::Disable(group(1))).unwrap();
        cluster.run(20);
        cluster.servers[1] = server(1, 99, cluster.now);
        let settled = cluster.now + SETTLE;
        cluster.run(10);
        let early = cluster.say(1, Saying::Enable(group(0)));
        assert_eq!(early, Err(Unsaid::Settling(settled)));
        cluster.run(200);
        assert!(cluster.servers[1].is_disabled(group(0)));
        let stamp = cluster.say(1, Saying::Enable(group(0))).unwrap();
        assert_eq!(stamp.number, 3);
        cluster.run(200);
        assert!(cluster.holder(0).is_some() && cluster.holder(1).is_none());
    }

    #[test]
    fn what_a_disk_remembers_counts_until_a_later_word_is_heard() {
        let mut cluster = Cluster::settled(3);
        cluster.say(0, Saying::Disable(group(0))).unwrap();
        cluster.run(20);
        let kept = *cluster.servers[0].decree().unwrap();
        let now = cluster.now;
        for at in 0..3u8 {
            cluster.servers[usize::from(at)] = server(at, 50 + u64::from(at), now);
            cluster.servers[usize::from(at)].handle_remembered(kept, now);
        }
        cluster.run(600);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (None, Some(0)));
        cluster.say(1, Saying::Enable(group(0))).unwrap();
        cluster.run(20);
        cluster.servers[2] = server(2, 77, cluster.now);
        let now = cluster.now;
        cluster.servers[2].handle_remembered(kept, now);
        cluster.run(200);
        assert!(cluster.servers.iter().all(|server| !server.is_disabled(group(0))));
        assert!(cluster.holder(0).is_some());
    }

    #[test]
    fn a_group_moves_to_the_node_that_is_named_wherever_that_is_said() {
        let mut cluster = Cluster::settled(3);
        cluster.say(0, Saying::Move(group(0), node(2))).unwrap();
        cluster.run(100);
        assert_eq!((cluster.holder(0), cluster.holder(1)), (Some(2), Some(0)));
        cluster.say(0, Saying::Move(group(0), node(1))).unwrap();
        cluster.run(100);
        assert_eq!(cluster.holder(0), Some(1));
        cluster.say(1, Saying::Move(group(0), node(1))).unwrap();
        cluster.run(100);
        assert_eq!(cluster.holder(0), Some(1), "it is there");
    }

    #[test]
    fn a_move_that_cannot_be_is_refused_where_that_is_known() {
        let mut cluster = Cluster::settled(3);
        let to = |number| Saying::Move(group(0), node(number));
        let now = cluster.now;
        cluster.servers[2].handle_standby(None, now);
        cluster.run(20);
        assert_eq!(cluster.say(0, to(2)), Err(Unsaid::Standby));
        assert_eq!(cluster.say(2, to(2)), Err(Unsaid::Standby));
        assert_eq!(cluster.say(0, to(7)), Err(Unsaid::NotInOrder));
        assert_eq!(cluster.say(0, Saying::Enable(group(5))), Err(Unsaid::NoSuchGroup));
        cluster.servers.pop();
        cluster.run(100);
        assert_eq!(cluster.say(0, to(2)), Err(Unsaid::NotAlive));
        cluster.say(0, Saying::Maintain(None, HOUR)).unwrap();
        assert!(matches!(cluster.say(0, to(1)), Err(Unsaid::Maintenance(_))));
        cluster.say(0, Saying::Disable(group(0))).unwrap();
        assert_eq!(cluster.say(0, to(1)), Err(Unsaid::Disabled));
        let now = cluster.now;
        cluster.servers[1].handle_leave(now);
        assert_eq!(cluster.say(1, Saying::Resume(None)), Err(Unsaid::Leaving));
    }

    #[test]
    fn what_is_being_handed_over_when_maintenance_begins_is_brought_to_its_end() {
        let mut cluster = Cluster::settled(3);
        let now = cluster.now;
        cluster.servers[1].handle_takeover(Some(group(0)), now);
        cluster.run(1);
        cluster.say(2, Saying::Maintain(None, HOUR)).unwrap();
        cluster.run(500);
        assert!(cluster.holder(0).is_some());
        assert!(cluster.servers.iter().all(|server| {
            !matches!(server.group(group(0)).unwrap().role(), Role::Claiming(_))
        }));
    }

    /// A switch may keep a frame for a while: it is as fresh as before, and its words are older.
    #[test]
    fn what_is_held_back_on_its_way_does_not_last_longer() {
        let mut cluster = Cluster::settled(2);
        cluster.say(0, Saying::Maintain(None, HOUR)).unwrap();
        let end = cluster.servers[0].maintenance_end(group(0)).unwrap();
        let (mut now, mut buffer) = (cluster.now, [0; MAX_FRAME_LEN]);
        let sent = cluster.servers[0].poll_transmit(now, &mut buffer).unwrap();
        now = now + ms(19);
        let other = &mut cluster.servers[1];
        other.handle_frame(LinkId::new(0).unwrap(), &buffer[..sent.len], now).unwrap();
        let heard = other.maintenance_end(group(0)).unwrap();
        assert!(heard <= end, "{:?} later", heard.since(end));
        assert!(end.since(heard) < ms(20));
    }

    #[test]
    fn the_word_of_other_settings_is_not_taken_over() {
        let mut cluster = Cluster::settled(2);
        cluster.servers[1] = server_of(1, 99, 8, cluster.now);
        cluster.run(200);
        cluster.say(0, Saying::Disable(group(0))).unwrap();
        cluster.run(50);
        assert_eq!(cluster.servers[1].decree(), None);
        assert!(cluster.servers[1].member().peers.session(node(0)).is_some());
    }

    #[test]
    fn who_comes_back_does_not_take_up_an_old_move() {
        let mut cluster = Cluster::settled(3);
        let away = cluster.servers.remove(1);
        cluster.say(0, Saying::Move(group(0), node(1))).unwrap();
        cluster.run(700);
        cluster.servers.insert(1, away);
        cluster.run(300);
        let stamp = cluster.servers[0].decree().unwrap().stamp;
        assert_eq!(cluster.servers[1].decree().unwrap().stamp, stamp, "it has learned it");
        assert_eq!(cluster.holder(0), Some(0));
    }
}
