//! Peers: who is alive, by frames that prove to be recent.
//!
//! A frame counts as life only if it is *fresh*: it echoes one of the last [`FRESH_FRAMES`] frames
//! of this start. So whatever a recorder replays or a switch held back changes counters and nothing
//! else, and a peer that is heard but does not hear us is not taken for alive. A session is one
//! start of a peer, opened by a fresh frame. While it lives, another boot id neither displaces it
//! nor takes over its echo; once it has ended, the newest stranger is echoed so that it can prove
//! itself, and a start that has been displaced never comes back.

use core::hash::{Hash, Hasher};

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::deadline::Expectation;
use crate::frame::{Body, Echo, Flags, Header, MAX_ECHOES};
use crate::group::MAX_GROUPS;
use crate::node::{BootId, LinkId, LinkSet, MAX_LINKS, MAX_MEMBERS, NodeId, NodeSet};
use crate::time::{Duration, Instant};

/// How many of its own last frames a node accepts echoes of as proof that a frame is recent.
pub const FRESH_FRAMES: u64 = 8;
const FRESH_SLOTS: usize = 8;
const _: () =
    assert!(FRESH_SLOTS as u64 == FRESH_FRAMES, "a slot for each frame that proves freshness");
/// How many displaced starts of a peer are remembered.
const RETIRED: usize = 4;

/// The numbering of a sender's own frames, and when the last of them were sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sequence {
    boot: BootId,
    newest: u64,
    sent: [Instant; FRESH_SLOTS],
}

impl Sequence {
    /// Begins the numbering of the start `boot`.
    #[must_use]
    pub const fn new(boot: BootId) -> Self {
        Self { boot, newest: 0, sent: [Instant::ZERO; FRESH_SLOTS] }
    }

    /// Takes the next number for a frame that is sent `now`.
    pub fn advance(&mut self, now: Instant) -> u64 {
        self.newest = self.newest.saturating_add(1);
        if let Some(slot) = self.sent.get_mut(Self::slot(self.newest)) {
            *slot = now;
        }
        self.newest
    }

    /// Returns the boot id of this start.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// Returns the number of the newest frame, 0 before the first.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns when the frame that `echo` answers was sent, or `None` if it is not one of the last
    /// frames of this start.
    #[must_use]
    pub fn sent(&self, echo: &Echo) -> Option<Instant> {
        let recent = echo.sequence >= 1
            && echo.sequence <= self.newest
            && self.newest - echo.sequence < FRESH_FRAMES
            && echo.boot == self.boot;
        if recent { self.sent.get(Self::slot(echo.sequence)).copied() } else { None }
    }

    const fn slot(number: u64) -> usize {
        let [low, ..] = number.to_le_bytes();
        low as usize % FRESH_SLOTS
    }
}

/// One start of a peer that has proved to be alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session<const ECHOES: usize = MAX_ECHOES, const GROUPS: usize = MAX_GROUPS> {
    /// Which start.
    pub boot: BootId,
    /// The number of its newest fresh frame.
    pub newest: u64,
    /// When its newest fresh frame came.
    pub heard: Instant,
    /// When the session was opened.
    pub since: Instant,
    /// What its newest fresh frame said.
    pub body: Body<ECHOES, GROUPS>,
}

/// How the last session of a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ending {
    /// It fell silent on every link.
    Lost(BootId),
    /// It left in good order and holds nothing.
    Left(BootId),
}

impl Ending {
    /// Returns which start ended.
    #[must_use]
    pub const fn boot(self) -> BootId {
        match self {
            Self::Lost(boot) | Self::Left(boot) => boot,
        }
    }
}

/// What the copies of a peer's frames on one link tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerLink {
    /// When it is heard there, and how late.
    pub expectation: Expectation,
    window: Window,
}

/// Which of the last 64 numbers were seen on one link, for one start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    newest: u64,
    seen: u64,
}

/// Which of the older numbers were seen decides something only for frames of these numbers that
/// still come, so states that differ in that alone have one hash. Whoever takes states of one hash
/// for the same must tell apart himself whether a frame that is still on its way has come before.
impl Hash for Window {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.newest.hash(state);
    }
}

impl Window {
    /// Returns whether `number` is seen for the first time, and remembers it. What is too old to
    /// tell counts as seen.
    fn first_time(&mut self, number: u64) -> bool {
        if number > self.newest {
            let ahead = number - self.newest;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 } | 1;
            self.newest = number;
            return true;
        }
        let behind = self.newest - number;
        if behind >= 64 || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer<
    const ECHOES: usize = MAX_ECHOES,
    const GROUPS: usize = MAX_GROUPS,
    const LINKS: usize = MAX_LINKS,
> {
    session: Option<Session<ECHOES, GROUPS>>,
    stranger: Option<Echo>,
    /// The last start that was heard and is not that of the session, and when.
    newcomer: Option<(BootId, Instant)>,
    ending: Option<Ending>,
    /// The number of the newest fresh frame of the session that ended last.
    ended_at: u64,
    retired: Vec<BootId, RETIRED>,
    #[serde(with = "crate::array")]
    links: [PeerLink; LINKS],
}

impl<const ECHOES: usize, const GROUPS: usize, const LINKS: usize> Default
    for Peer<ECHOES, GROUPS, LINKS>
{
    fn default() -> Self {
        Self {
            session: None,
            stranger: None,
            newcomer: None,
            ending: None,
            ended_at: 0,
            retired: Vec::new(),
            links: [PeerLink::default(); LINKS],
        }
    }
}

/// Why a rightly tagged frame is not taken as life. No variant changes more than counters and what
/// is echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stale {
    /// It was seen on this link before, or is older than the last frame of the session of its start
    /// that has ended, or is too old to tell. Where networks duplicate or hold back frames.
    Replayed,
    /// It echoes none of this node's last frames. While a session is opened, and when frames are
    /// held back.
    NotFresh,
    /// It is of another start than the session that lives. When a peer restarts quickly, or
    /// somebody replays.
    OtherStart,
}

/// What a fresh frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// It is the newest of its session.
    Newest,
    /// It opened a session.
    Opened,
    /// It is a copy of one that came on another link, or was overtaken by a newer one.
    Copy,
    /// The peer has left in good order.
    Farewell,
}

impl<const ECHOES: usize, const GROUPS: usize, const LINKS: usize> Peer<ECHOES, GROUPS, LINKS> {
    /// Takes in a rightly tagged frame that came over `link`. Silence is judged by
    /// [`lapse`](Self::lapse) alone, so that frames which waited while this process could not run
    /// are heard before their sender is given up.
    ///
    /// # Errors
    /// Says why it is not life.
    pub fn accept(
        &mut self,
        header: &Header,
        body: Body<ECHOES, GROUPS>,
        link: LinkId,
        fresh: bool,
        heartbeat: Duration,
        now: Instant,
    ) -> Result<Accepted, Stale> {
        if self.retired.contains(&header.boot) || self.ending == Some(Ending::Left(header.boot)) {
            return Err(Stale::OtherStart);
        }
        let living = self.session.as_ref().map(|session| session.boot);
        if living.is_some_and(|boot| boot != header.boot) {
            self.newcomer = Some((header.boot, now));
            return Err(Stale::OtherStart);
        }
        if living.is_some() && body.flags.has(Flags::FAREWELL) {
            return Ok(self.bid_farewell(header.boot));
        }
        if living.is_none() && self.is_overtaken(header) {
            return Err(Stale::Replayed);
        }
        if living.is_none() && self.stranger.is_none_or(|stranger| stranger.boot != header.boot) {
            self.forget_windows_of_others(header.boot);
        }
        let first_time = self
            .links
            .get_mut(link.index())
            .is_some_and(|at| at.window.first_time(header.sequence));
        if !first_time {
            return Err(Stale::Replayed);
        }
        if !fresh {
            if living.is_none() {
                self.note_stranger(header, link, now);
            }
            return Err(Stale::NotFresh);
        }
        if let Some(at) = self.links.get_mut(link.index()) {
            at.expectation.note(heartbeat, now);
        }
        Ok(self.apply(header, body, now))
    }

    /// Ends the session if it has been silent for `dead`, and returns whether it has ended now.
    pub fn lapse(&mut self, dead: Duration, now: Instant) -> bool {
        let Some(session) =
            self.session.as_ref().filter(|session| now.since(session.heard) >= dead)
        else {
            return false;
        };
        self.ending = Some(Ending::Lost(session.boot));
        self.ended_at = session.newest;
        self.stranger = None;
        self.session = None;
        true
    }

    /// Returns the living session.
    #[must_use]
    pub const fn session(&self) -> Option<&Session<ECHOES, GROUPS>> {
        self.session.as_ref()
    }

    /// Returns how the last session ended, if none lives and there was one.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        if self.session.is_some() { None } else { self.ending }
    }

    /// Returns what is known of the peer's copies on `link`.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<&PeerLink> {
        self.links.get(link.index())
    }

    /// Returns the links on which the peer was heard within `dead`.
    #[must_use]
    pub fn heard_on(&self, dead: Duration, now: Instant) -> LinkSet {
        let mut heard = LinkSet::EMPTY;
        for (link, at) in LinkId::all().zip(&self.links) {
            if at.expectation.is_fresh(dead, now) {
                heard.insert(link);
            }
        }
        heard
    }

    /// Returns what to echo to this peer: the newest fresh frame of its session, or, without a
    /// session, the newest of the stranger that has yet to prove itself.
    #[must_use]
    pub fn echo(&self, node: NodeId, dead: Duration, now: Instant) -> Option<Echo> {
        match &self.session {
            Some(session) => {
                let links = self.heard_on(dead, now);
                Some(Echo { node, boot: session.boot, sequence: session.newest, links })
            }
            None => self.stranger,
        }
    }

    /// Returns the start that has yet to prove itself, if it was heard within `dead`, also while
    /// the session of the one before it lived.
    #[must_use]
    pub fn newcomer(&self, dead: Duration, now: Instant) -> Option<BootId> {
        let recent = |(boot, heard): (BootId, Instant)| (now.since(heard) < dead).then_some(boot);
        self.newcomer.and_then(recent)
    }

    fn apply(&mut self, header: &Header, body: Body<ECHOES, GROUPS>, now: Instant) -> Accepted {
        match &mut self.session {
            Some(session) if header.sequence > session.newest => {
                session.newest = header.sequence;
                session.heard = now;
                session.body = body;
                Accepted::Newest
            }
            // A copy on another link, or one that was overtaken: what it says is old, but its link
            // works.
            Some(_) => Accepted::Copy,
            None => {
                self.retire_predecessor(header.boot);
                self.stranger = None;
                let (boot, newest) = (header.boot, header.sequence);
                self.session = Some(Session { boot, newest, heard: now, since: now, body });
                Accepted::Opened
            }
        }
    }

    fn bid_farewell(&mut self, boot: BootId) -> Accepted {
        self.session = None;
        self.ending = Some(Ending::Left(boot));
        Accepted::Farewell
    }

    fn retire_predecessor(&mut self, boot: BootId) {
        if let Some(ending) = self.ending.filter(|ending| ending.boot() != boot) {
            if self.retired.is_full() {
                let mut is_oldest = true;
                self.retired.retain(|_| !core::mem::take(&mut is_oldest));
            }
            // There is room: one was taken out if there was none.
            let _room = self.retired.push(ending.boot());
        }
    }

    fn note_stranger(&mut self, header: &Header, link: LinkId, now: Instant) {
        self.newcomer = Some((header.boot, now));
        let mut links = LinkSet::EMPTY;
        links.insert(link);
        let known = self.stranger.filter(|stranger| stranger.boot == header.boot);
        let newest = known.map_or(0, |stranger| stranger.sequence).max(header.sequence);
        self.stranger =
            Some(Echo { node: header.sender, boot: header.boot, sequence: newest, links });
    }

    /// Returns whether the session that ended last was of the same start, and newer: what
    /// this one says may have been taken back, and must not be news once more.
    fn is_overtaken(&self, header: &Header) -> bool {
        let ended = self.ending.is_some_and(|ending| ending.boot() == header.boot);
        ended && header.sequence <= self.ended_at
    }

    /// Numbers start anew with each start of the peer; a lapsed session of the same start keeps its
    /// windows.
    fn forget_windows_of_others(&mut self, boot: BootId) {
        let same =
            self.ending.is_some_and(|ending| ending.boot() == boot) && self.stranger.is_none();
        if !same {
            for at in &mut self.links {
                at.window = Window::default();
            }
        }
    }
}

/// All peers of a participant, servers and witnesses, with room for the first `MEMBERS` of them;
/// others are not heard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peers<
    const MEMBERS: usize = MAX_MEMBERS,
    const ECHOES: usize = MAX_ECHOES,
    const GROUPS: usize = MAX_GROUPS,
    const LINKS: usize = MAX_LINKS,
> {
    /// Whose slots these are, in the order of their numbers.
    others: NodeSet,
    #[serde(with = "crate::array")]
    table: [Peer<ECHOES, GROUPS, LINKS>; MEMBERS],
    /// A peer silent on every link for this long is lost.
    dead: Duration,
    heartbeat: Duration,
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Peers<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Makes a table of `others` in which nobody has been met.
    #[inline]
    #[must_use]
    pub fn new(others: NodeSet, heartbeat: Duration, dead: Duration) -> Self {
        Self { others, table: core::array::from_fn(|_| Peer::default()), dead, heartbeat }
    }

    /// Returns whether these are `others`, judged by these spans.
    pub(crate) fn is_of(&self, others: NodeSet, heartbeat: Duration, dead: Duration) -> bool {
        (self.others, self.heartbeat, self.dead) == (others, heartbeat, dead)
    }

    /// Takes in a rightly tagged frame of a member. See [`Peer::accept`].
    ///
    /// # Errors
    /// Says why it is not life.
    pub fn accept(
        &mut self,
        header: &Header,
        body: Body<ECHOES, GROUPS>,
        link: LinkId,
        fresh: bool,
        now: Instant,
    ) -> Result<Accepted, Stale> {
        let heartbeat = self.heartbeat;
        let place = self.others.place(header.sender);
        match place.and_then(|place| self.table.get_mut(place)) {
            Some(peer) => peer.accept(header, body, link, fresh, heartbeat, now),
            None => Err(Stale::OtherStart),
        }
    }

    /// Ends the sessions that have been silent too long, and returns whose have ended now.
    pub fn lapse(&mut self, now: Instant) -> NodeSet {
        let dead = self.dead;
        let table = self.others.iter().zip(&mut self.table);
        table.filter_map(|(node, peer)| peer.lapse(dead, now).then_some(node)).collect()
    }

    /// Returns one peer.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Peer<ECHOES, GROUPS, LINKS>> {
        self.table.get(self.others.place(node)?)
    }

    /// Returns the living session of `node`.
    #[must_use]
    pub fn session(&self, node: NodeId) -> Option<&Session<ECHOES, GROUPS>> {
        self.get(node).and_then(Peer::session)
    }

    /// Returns the living sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (NodeId, &Session<ECHOES, GROUPS>)> {
        self.others.iter().zip(&self.table).filter_map(|(node, peer)| Some((node, peer.session()?)))
    }

    /// Returns whose sessions live.
    #[must_use]
    pub fn alive(&self) -> NodeSet {
        self.sessions().map(|(node, _)| node).collect()
    }

    /// Returns what to echo to every peer that has been heard.
    pub fn echoes(&self, now: Instant) -> impl Iterator<Item = Echo> {
        let dead = self.dead;
        let table = self.others.iter().zip(&self.table);
        table.filter_map(move |(node, peer)| peer.echo(node, dead, now))
    }

    /// Returns when the next session lapses if nothing more is heard.
    #[must_use]
    pub fn next_change(&self) -> Option<Instant> {
        self.sessions().map(|(_, session)| session.heard + self.dead).min()
    }

    /// Returns the span of silence after which a peer is lost.
    #[must_use]
    pub const fn dead(&self) -> Duration {
        self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkClass;
    use crate::node::ClusterId;
    use crate::seal::KeyId;

    const DEAD: Duration = Duration::from_millis(25);
    const HEARTBEAT: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn link(number: u8) -> LinkId {
        LinkId::new(number).unwrap()
    }

    fn header(boot: u64, sequence: u64) -> Header {
        Header {
            class: LinkClass::Udp,
            link: link(0),
            sender: NodeId::new(1).unwrap(),
            key: KeyId(0),
            cluster: ClusterId(0),
            boot: BootId::new(boot),
            sequence,
        }
    }

    fn frame(
        peer: &mut Peer,
        boot: u64,
        sequence: u64,
        fresh: bool,
        millis: u64,
    ) -> Result<Accepted, Stale> {
        peer.accept(&header(boot, sequence), Body::default(), link(0), fresh, HEARTBEAT, at(millis))
    }

    fn farewell(peer: &mut Peer, boot: u64, millis: u64) -> Result<Accepted, Stale> {
        let body = Body { flags: Flags::FAREWELL, ..Body::default() };
        peer.accept(&header(boot, u64::MAX), body, link(0), false, HEARTBEAT, at(millis))
    }

    fn echoed(peer: &Peer, millis: u64) -> Option<(u64, u64)> {
        let echo = peer.echo(NodeId::new(1).unwrap(), DEAD, at(millis))?;
        Some((echo.boot.bits(), echo.sequence))
    }

    #[test]
    fn only_the_last_eight_frames_of_this_start_prove_freshness() {
        let mut sequence = Sequence::new(BootId::new(7));
        let echo = |boot, number| Echo {
            node: NodeId::new(0).unwrap(),
            boot: BootId::new(boot),
            sequence: number,
            links: LinkSet::EMPTY,
        };
        assert_eq!(sequence.sent(&echo(7, 0)), None, "nothing has been sent");
        for millis in 1..=20 {
            sequence.advance(at(millis));
        }
        for number in 13..=20 {
            assert_eq!(sequence.sent(&echo(7, number)), Some(at(number)));
            assert_eq!(sequence.sent(&echo(8, number)), None, "another start");
        }
        for number in [0, 1, 11, 12, 21, u64::MAX] {
            assert_eq!(sequence.sent(&echo(7, number)), None, "{number}");
        }
    }

    #[test]
    fn a_session_opens_by_a_fresh_frame_alone() {
        let mut peer = <Peer>::default();
        assert_eq!(frame(&mut peer, 1, 1, false, 0), Err(Stale::NotFresh));
        assert!(peer.session().is_none());
        assert_eq!(
            echoed(&peer, 0),
            Some((1, 1)),
            "a stranger is echoed so that it can prove itself"
        );
        assert_eq!(frame(&mut peer, 1, 2, true, 10), Ok(Accepted::Opened));
        assert_eq!(frame(&mut peer, 1, 3, true, 20), Ok(Accepted::Newest));
    }

    #[test]
    fn stale_frames_neither_feed_nor_advance_a_session() {
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 1, true, 0).unwrap();
        assert_eq!(frame(&mut peer, 1, 2, false, 20), Err(Stale::NotFresh));
        assert_eq!(echoed(&peer, 20), Some((1, 1)), "an echo is proof of a frame that was fresh");
        assert!(!peer.clone().lapse(DEAD, at(24)) && peer.lapse(DEAD, at(25)));
        assert_eq!(peer.ending(), Some(Ending::Lost(BootId::new(1))));
    }

    #[test]
    fn a_frame_counts_once_a_link() {
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 5, true, 0).unwrap();
        assert_eq!(frame(&mut peer, 1, 5, true, 1), Err(Stale::Replayed));
        assert_eq!(frame(&mut peer, 1, 4, true, 1), Ok(Accepted::Copy), "overtaken");
        assert_eq!(frame(&mut peer, 1, 4, true, 1), Err(Stale::Replayed));
        let copy = peer.accept(&header(1, 5), Body::default(), link(1), true, HEARTBEAT, at(2));
        assert_eq!(copy, Ok(Accepted::Copy), "the other link's copy");
        assert_eq!(peer.heard_on(DEAD, at(3)), LinkSet::first(2));
        assert_eq!(
            peer.session().unwrap().heard,
            at(0),
            "copies of old news do not feed the session"
        );
    }

    #[test]
    fn the_replay_window_is_sixty_four_frames_wide() {
        let mut window = Window::default();
        assert!(window.first_time(100));
        assert!(window.first_time(37) && !window.first_time(37));
        assert!(!window.first_time(36), "too old to tell");
        assert!(window.first_time(164) && !window.first_time(100));
        assert!(window.first_time(101) && !window.first_time(164));
    }

    #[test]
    fn another_start_waits_until_the_session_has_ended() {
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 9, true, 0).unwrap();
        for fresh in [false, true] {
            assert_eq!(frame(&mut peer, 2, 1, fresh, 10), Err(Stale::OtherStart));
        }
        assert_eq!(echoed(&peer, 10), Some((1, 9)));
        assert!(peer.lapse(DEAD, at(25)));
        assert_eq!(frame(&mut peer, 2, 2, false, 25), Err(Stale::NotFresh));
        assert_eq!(echoed(&peer, 25), Some((2, 2)));
        assert_eq!(frame(&mut peer, 2, 3, true, 30), Ok(Accepted::Opened));
        assert!(peer.lapse(DEAD, at(60)));
        assert_eq!(
            frame(&mut peer, 1, 10, true, 61),
            Err(Stale::OtherStart),
            "displaced starts stay dead"
        );
    }

    #[test]
    fn the_same_start_returns_after_a_cut() {
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 9, true, 0).unwrap();
        assert!(peer.lapse(DEAD, at(50)));
        assert_eq!(frame(&mut peer, 1, 12, false, 50), Err(Stale::NotFresh));
        assert_eq!(frame(&mut peer, 1, 9, true, 51), Err(Stale::Replayed), "its window is kept");
        assert_eq!(frame(&mut peer, 1, 13, true, 52), Ok(Accepted::Opened));
    }

    #[test]
    fn an_overtaken_frame_does_not_reopen_its_session() {
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 9, true, 0).unwrap();
        assert!(peer.lapse(DEAD, at(25)));
        for fresh in [true, false] {
            assert_eq!(frame(&mut peer, 1, 8 - u64::from(fresh), fresh, 26), Err(Stale::Replayed));
        }
        assert_eq!(echoed(&peer, 26), None);
        assert_eq!(frame(&mut peer, 2, 1, false, 27), Err(Stale::NotFresh), "windows start anew");
        assert_eq!(frame(&mut peer, 1, 9, true, 28), Err(Stale::Replayed));
        assert_eq!(echoed(&peer, 28), Some((2, 1)), "nor does it stand in the way of a new start");
        assert_eq!(frame(&mut peer.clone(), 2, 2, true, 29), Ok(Accepted::Opened));
        assert_eq!(frame(&mut peer, 1, 10, true, 29), Ok(Accepted::Opened));
    }

    #[test]
    fn a_farewell_ends_a_start_for_good() {
        let mut peer = <Peer>::default();
        assert_eq!(
            farewell(&mut peer, 1, 0),
            Err(Stale::NotFresh),
            "a stranger's farewell is no news"
        );
        let mut peer = <Peer>::default();
        frame(&mut peer, 1, 9, true, 0).unwrap();
        assert_eq!(farewell(&mut peer, 2, 1), Err(Stale::OtherStart));
        assert_eq!(farewell(&mut peer, 1, 2), Ok(Accepted::Farewell));
        assert_eq!(peer.ending(), Some(Ending::Left(BootId::new(1))));
        assert_eq!(frame(&mut peer, 1, 10, true, 3), Err(Stale::OtherStart));
        assert_eq!(frame(&mut peer, 2, 1, true, 4), Ok(Accepted::Opened));
    }
}
