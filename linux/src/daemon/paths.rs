//! Which ways to peers are left: redundancy that is lost, and an IP side that is dead here alone.
//!
//! As long as one way to a peer is left, nothing moves: what is lost is told, for the next failure
//! would count. It is otherwise where the cause is on this node. If no IP link hears anybody and
//! nobody answers a ping, while a link without IP shows that a peer is alive, then clients cannot
//! reach this node either, and a peer that can be reached should serve. So this node calls itself
//! unable to serve: it offers its groups, and takes none. It takes none from the first moment of
//! such a silence on, long before it offers what it has: so a peer that notices the same failure a
//! little later does not take what is offered, and nothing moves when the network between all of
//! them is what has failed.

use lifesign_core::frame::LinkClass;
use lifesign_core::group::{GroupId, Reason, Role};
use lifesign_core::node::{LinkId, LinkSet, NodeId};
use lifesign_core::peer::Session;
use lifesign_core::time::{Duration, Instant};

use super::Daemon;
use crate::page::list;
use crate::report::{IpSideReport, PingReport, millis};
use crate::settings::Settings;

/// Whether this node's IP side works, damped so that a blink or a start does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpSide {
    /// For how long there must be no sign of it, or signs without a pause.
    patience: Duration,
    /// When there was last a sign of it.
    seen: Instant,
    /// Since when there have been signs again.
    back_since: Option<Instant>,
    state: IpState,
}

/// How an IP side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpState {
    /// There are signs of it, or nobody else could serve.
    Works,
    /// There is no sign of it, not for long enough to be sure: nothing is taken.
    Silent,
    /// It has been silent for so long that another node should serve.
    Down,
}

/// What this node notices at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    /// Somebody is heard over IP, or answers.
    pub(super) ip: bool,
    /// A peer is heard over a link without IP.
    pub(super) other: bool,
}

impl IpSide {
    /// Begins at `start`, the moment from which silence counts.
    pub(super) const fn new(patience: Duration, start: Instant) -> Self {
        Self { patience, seen: start, back_since: None, state: IpState::Works }
    }

    /// Takes note of `signs`.
    ///
    /// | | a sign of IP | none, and a peer without IP | none, and nobody there |
    /// |---|---|---|---|
    /// | works | works | silent | works |
    /// | silent | works | down after the patience | works |
    /// | down | works after the patience | down | works: nobody else could serve |
    pub(super) fn look(&mut self, signs: Signs, now: Instant) {
        if signs.ip {
            self.seen = self.seen.max(now);
        }
        self.back_since = if signs.ip { self.back_since.or(Some(now)) } else { None };
        let is_back = self.back_since.is_some_and(|since| now.since(since) >= self.patience);
        let is_overdue = now.since(self.seen) >= self.patience;
        self.state = match (self.state, signs.ip, signs.other) {
            (IpState::Works | IpState::Silent, true, _) | (_, false, false) => IpState::Works,
            (IpState::Works | IpState::Silent, false, true) if is_overdue => IpState::Down,
            (IpState::Works | IpState::Silent, false, true) => IpState::Silent,
            (IpState::Down, true, _) if is_back => IpState::Works,
            (IpState::Down, _, _) => IpState::Down,
        };
    }

    /// Returns how it is.
    pub(super) const fn state(&self) -> IpState {
        self.state
    }
}

/// Returns whether anything but the peers on links without IP can tell this node that its IP side
/// works: two servers that only lose each other cannot know whose side is down.
pub(super) fn has_reference(settings: &Settings) -> bool {
    let has = |ip| settings.links().any(|(id, _)| is_for_clients(settings, id) == ip);
    let mut udp = settings.links.iter().filter_map(|link| link.udp());
    let has_witness = udp.any(|udp| udp.witnesses().next().is_some());
    let is_known = has_witness || !settings.ping.is_empty() || settings.nodes.len() > 2;
    has(true) && has(false) && is_known
}

/// Returns whether a link needs IP, like most clients, or has adapters on which service addresses
/// may sit.
fn is_for_clients(settings: &Settings, id: LinkId) -> bool {
    let is_ip = settings.links.get(id.index()).is_some_and(|link| is_ip(link.class()));
    is_ip || settings.networks.iter().any(|network| network.links.contains(&id))
}

/// Returns whether links of `class` need IP, like most clients.
fn is_ip(class: LinkClass) -> bool {
    class == LinkClass::Udp
}

/// For how long a group that nobody took is kept before it is offered again.
const KEEP: Duration = Duration::from_millis(60_000);

impl Daemon {
    /// Looks whether this node's IP side works, and tells the engine what it can serve.
    pub(super) fn look_at_ip_side(&mut self, now: Instant) {
        let Some(mut side) = self.ip_side else { return };
        let before = side.state();
        side.look(self.signs(now), now);
        self.ip_side = Some(side);
        if side.state() != before {
            self.tell_ip_side(before, side.state(), now);
        }
        for at in 0..self.groups.len() {
            let until = self.groups.get(at).and_then(|holding| holding.keep_until);
            if until.is_some_and(|until| now.has_reached(until)) {
                self.set_kept(at, None, now);
            }
        }
    }

    /// Keeps a group for a while that was offered and that nobody took, because nobody else has an
    /// IP side that works either; takes note when it is gone.
    pub(super) fn keep_what_nobody_takes(
        &mut self,
        group: GroupId,
        role: Role,
        reason: Reason,
        now: Instant,
    ) {
        let at = group.index();
        let is_held = matches!(role, Role::Holding { offered_until: None, .. });
        let kept = self.groups.get(at).and_then(|holding| holding.keep_until);
        self.set_kept(
            at,
            match (self.ip_state(), reason) {
                (IpState::Down, Reason::NoTaker) if is_held => Some(now + KEEP),
                (IpState::Down, _) if is_held => kept,
                _ => None,
            },
            now,
        );
    }

    fn set_kept(&mut self, at: usize, until: Option<Instant>, now: Instant) {
        if let Some(holding) = self.groups.get_mut(at) {
            holding.keep_until = until;
        }
        self.tell_able(at, now);
    }

    fn ip_state(&self) -> IpState {
        self.ip_side.map_or(IpState::Works, |side| side.state())
    }

    /// Returns whether a group's addresses could be reached here: enough to go on with it if it is
    /// held, enough to take it if not.
    pub(super) fn is_reachable(&self, at: usize) -> bool {
        if self.settings.groups.get(at).is_none_or(|group| group.addresses.is_empty()) {
            return true;
        }
        let group = GroupId::at(at).and_then(|group| self.engine.group(group));
        let is_up = group.is_some_and(|group| group.role().is_up());
        let is_kept = self.groups.get(at).is_some_and(|holding| holding.keep_until.is_some());
        match self.ip_state() {
            IpState::Works => true,
            IpState::Silent => is_up,
            IpState::Down => is_up && is_kept,
        }
    }

    fn tell_ip_side(&mut self, before: IpState, state: IpState, now: Instant) {
        self.note_surroundings();
        match (before, state) {
            (_, IpState::Down) => {
                let text = self.ip_side_text(now).unwrap_or_default();
                self.alert(format!("{text}: it offers its groups and takes none"));
            }
            (IpState::Down, _) => {
                self.all_clear(IP_SIDE);
                self.decided(format!("{IP_SIDE} works again"));
            }
            (IpState::Works | IpState::Silent, IpState::Works | IpState::Silent) => {}
        }
        for at in 0..self.groups.len() {
            self.set_kept(at, None, now);
        }
    }

    /// Returns in a sentence what is wrong with this node's IP side, or `None` if nothing is.
    pub(super) fn ip_side_text(&self, now: Instant) -> Option<String> {
        let state = match self.ip_state() {
            IpState::Works => return None,
            IpState::Silent => "silent",
            IpState::Down => "down",
        };
        let pings = if self.pinger.targets().is_empty() { "" } else { " and no ping is answered" };
        let heard = self.heard_over(false, now);
        let heard: Vec<String> = heard.map(|node| self.settings.name_of(node)).collect();
        let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
        let whom = match heard.as_slice() {
            [] => String::new(),
            [one] => format!(", while {one} is alive on a link without IP"),
            all => format!(", while {} are alive on links without IP", list(all)),
        };
        Some(format!("{IP_SIDE} is {state}: no IP link hears anybody{pings}{whom}"))
    }

    /// Returns what machines are told of this node's IP side.
    pub(super) fn ip_side_report(&self, now: Instant) -> Option<IpSideReport> {
        let works = self.ip_side?.state() == IpState::Works;
        let pings = self.pinger.targets().iter().map(|target| PingReport {
            address: target.ip.to_string(),
            answered_ms: target.answered.map(|at| millis(now.since(at).as_micros())),
            failure: target.failure.map(|errno| errno.desc().to_lowercase()),
        });
        let why = self.ip_side_text(now);
        Some(IpSideReport { works, why, pings: pings.collect() })
    }

    fn signs(&self, now: Instant) -> Signs {
        let ip = self.pinger.is_answered(now) || self.heard_over(true, now).next().is_some();
        let mut others = self.heard_over(false, now);
        Signs { ip, other: others.any(|node| !node.is_witness()) }
    }

    /// Returns who is alive and heard over IP, or on a link without it.
    fn heard_over(&self, ip: bool, now: Instant) -> impl Iterator<Item = NodeId> {
        let peers = &self.engine.member().peers;
        let links = self.links_over(ip);
        peers.sessions().filter_map(move |(node, _)| {
            let heard = peers.get(node)?.heard_on(peers.dead(), now);
            heard.iter().any(|link| links.contains(link)).then_some(node)
        })
    }

    fn links_over(&self, ip: bool) -> LinkSet {
        let is_it = |(id, _): &(LinkId, _)| is_for_clients(&self.settings, *id) == ip;
        let links = self.settings.links().filter(is_it);
        links.map(|(id, _)| id).collect()
    }

    /// Tells which peers are heard over one way alone, and when that is over.
    pub(super) fn look_at_redundancy(&mut self) {
        self.replace_alerts(REDUNDANCY, self.lost_redundancy());
    }

    /// Returns each peer that was alive for long enough to be heard everywhere, its session, and
    /// the links on which it is heard.
    pub(super) fn settled_peers(&self) -> impl Iterator<Item = (NodeId, &Session, LinkSet)> {
        let (peers, now) = (&self.engine.member().peers, self.engine.now());
        let settled =
            peers.sessions().filter(move |(_, it)| now.since(it.since) >= peers.dead().times(4));
        settled.map(move |(node, session)| {
            let heard = peers.get(node).map(|peer| peer.heard_on(peers.dead().times(2), now));
            (node, session, heard.unwrap_or_default())
        })
    }

    fn lost_redundancy(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (node, _, heard) in self.settled_peers() {
            let ways: Vec<Way<'_>> = self
                .settings
                .links()
                .filter(|(_, link)| link.reaches(node))
                .map(|(id, link)| Way { id, name: &link.name, class: link.class() })
                .collect();
            found.extend(redundancy(&self.settings.name_of(node), &ways, heard));
        }
        found
    }
}

/// A link on which a peer could be heard.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    id: LinkId,
    name: &'a str,
    class: LinkClass,
}

/// Returns what is lost of the `ways` to `peer`, which is heard on some of them, in a sentence.
fn redundancy(peer: &str, ways: &[Way<'_>], heard: LinkSet) -> Option<String> {
    let (alive, silent): (Vec<Way<'_>>, Vec<Way<'_>>) =
        ways.iter().partition(|way| heard.contains(way.id));
    let is_other = |way: &Way<'_>| !is_ip(way.class);
    let names: Vec<&str> = silent.iter().map(|way| way.name).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    match alive.as_slice() {
        [] => None,
        all if all.iter().all(is_other) && !silent.iter().all(is_other) => {
            let others: Vec<&str> = all.iter().map(|way| way.name).collect();
            Some(format!(
                "{REDUNDANCY}: {peer} is heard without IP alone ({}); {} {verb} silent",
                list(&others),
                list(&names)
            ))
        }
        [only] if !silent.is_empty() => Some(format!(
            "{REDUNDANCY}: {peer} is heard on {} alone; {} {verb} silent",
            only.name,
            list(&names)
        )),
        _ => None,
    }
}

/// How alerts on redundancy begin.
const REDUNDANCY: &str = "redundancy is lost";
/// How alerts on this node's IP side begin.
const IP_SIDE: &str = "this node's IP side";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{EXAMPLE, SERIAL, example};

    const PATIENCE: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn signs(ip: bool, other: bool) -> Signs {
        Signs { ip, other }
    }

    /// Looks every 10 ms from `from` to `to`.
    fn pass(side: &mut IpSide, from: u64, to: u64, signs: Signs) {
        for millis in (from..=to).step_by(10) {
            side.look(signs, at(millis));
        }
    }

    #[test]
    fn silence_counts_after_the_patience_and_only_where_somebody_else_is_alive() {
        let mut side = IpSide::new(PATIENCE, at(1000));
        pass(&mut side, 0, 1090, signs(false, true));
        assert_eq!(side.state(), IpState::Silent, "it has just started");
        side.look(signs(false, true), at(1100));
        assert_eq!(side.state(), IpState::Down);
        let mut alone = IpSide::new(PATIENCE, at(0));
        pass(&mut alone, 0, 5000, signs(false, false));
        assert_eq!(alone.state(), IpState::Works);
        side.look(signs(false, false), at(1110));
        assert_eq!(side.state(), IpState::Works, "nobody else could serve");
    }

    #[test]
    fn a_blink_changes_nothing_in_either_direction() {
        let mut side = IpSide::new(PATIENCE, at(0));
        pass(&mut side, 0, 500, signs(true, true));
        pass(&mut side, 510, 590, signs(false, true));
        pass(&mut side, 600, 600, signs(true, true));
        pass(&mut side, 610, 690, signs(false, true));
        assert_eq!(side.state(), IpState::Silent);
        side.look(signs(false, true), at(700));
        assert_eq!(side.state(), IpState::Down);
        pass(&mut side, 710, 800, signs(true, true));
        assert_eq!(side.state(), IpState::Down, "back for too short a time");
        pass(&mut side, 810, 810, signs(false, true));
        pass(&mut side, 820, 910, signs(true, true));
        assert_eq!(side.state(), IpState::Down);
        side.look(signs(true, true), at(920));
        assert_eq!(side.state(), IpState::Works);
    }

    #[test]
    fn two_servers_without_a_third_opinion_never_blame_themselves() {
        assert!(!has_reference(&example()), "no serial link");
        let serial =
            "[[link]]\nname = \"wire\"\nkind = \"serial\"\ndevice = \"/dev/ttyS0\"\n[[group]]";
        let parse = |source: &str| Settings::parse("test.toml", source).unwrap();
        let both = EXAMPLE.replace("[[group]]\nname", &format!("{serial}\nname"));
        assert!(has_reference(&parse(&both)), "the witness");
        let alone = both
            .replace("[[witness]]\nname = \"quorum\"\n", "")
            .replace(", quorum = \"10.77.0.9\"", "")
            .replace(", \"witness\"]", "]");
        assert!(!has_reference(&parse(&alone)));
        let pinged = alone.replace("profile", "ping = [\"10.77.0.254\"]\nprofile");
        assert!(has_reference(&parse(&pinged)));
        assert!(!has_reference(&parse(SERIAL)), "no IP link");
    }

    #[test]
    fn what_is_left_is_told_from_what_is_lost() {
        let link = |number| LinkId::new(number).unwrap();
        let way = |number, name, class| Way { id: link(number), name, class };
        let ways = [
            way(0, "lan", LinkClass::Udp),
            way(1, "direct", LinkClass::Udp),
            way(2, "wire", LinkClass::Serial),
        ];
        let heard = |numbers: &[u8]| {
            let mut set = LinkSet::EMPTY;
            numbers.iter().for_each(|number| set.insert(link(*number)));
            set
        };
        for (numbers, expected) in [
            (&[0, 1, 2][..], None),
            (&[0, 1], None),
            (&[0, 2], None),
            (&[0], Some("beta is heard on lan alone; direct and wire are silent")),
            (&[2], Some("beta is heard without IP alone (wire); lan and direct are silent")),
            (&[], None),
        ] {
            let expected = expected.map(|text| format!("redundancy is lost: {text}"));
            assert_eq!(redundancy("beta", &ways, heard(numbers)), expected, "{numbers:?}");
        }
        assert_eq!(redundancy("beta", &ways[2..], heard(&[2])), None, "there is no other");
    }
}
