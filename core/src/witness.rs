//! A witness: a voter that holds nothing, asked only in a tie. The quorum server and the dongle run
//! it.
//!
//! Write the same loop around it as around an [`Engine`](crate::engine::Engine): bytes into
//! [`handle_frame`](Witness::handle_frame), time into [`handle_timeout`](Witness::handle_timeout),
//! frames out of [`poll_transmit`](Witness::poll_transmit) until there are none, then sleep until
//! [`poll_timeout`](Witness::poll_timeout).

use crate::cadence::Cadence;
use crate::frame::{Body, LinkClass, MAX_ECHOES, Want};
use crate::group::{GroupId, MAX_GROUPS, Token};
use crate::member::{Heard, Identity, Member, Rejected, Spans};
use crate::node::{BootId, ClusterId, LinkId, MAX_LINKS, MAX_MEMBERS, NodeId, NodeSet};
use crate::peer::{Accepted, Ending};
use crate::promise::Supported;
use crate::reset::{Arm, Refusal};
use crate::seal::Keyring;
use crate::side::Side;
use crate::time::{Duration, Instant};

/// The settings of a witness for one cluster. It needs to know no groups and no votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WitnessConfig {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which of its witnesses this is.
    pub me: NodeId,
    /// The kind of its links.
    pub class: LinkClass,
    /// The longest promise it makes, and how long it waits after its start before it makes any.
    pub longest_promise: Duration,
    /// How often it speaks to each node that it hears.
    pub heartbeat: Duration,
    /// A node silent for this long is lost.
    pub dead: Duration,
}

/// A witness's own links have numbers that mean nothing to nodes, so its frames all carry the
/// first.
const FIRST_LINK: LinkId = match LinkId::new(0) {
    Some(link) => link,
    None => panic!("there is a first link"),
};

/// A witness of one cluster, with room for the first `MEMBERS` servers and `GROUPS` groups; it
/// hears no others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness<
    const MEMBERS: usize = MAX_MEMBERS,
    const ECHOES: usize = MAX_ECHOES,
    const GROUPS: usize = MAX_GROUPS,
    const LINKS: usize = MAX_LINKS,
> {
    member: Member<MEMBERS, ECHOES, GROUPS, LINKS>,
    side: Side,
    cadence: Cadence,
    /// How long it sleeps while nobody is heard.
    patience: Duration,
    class: LinkClass,
    now: Instant,
    /// The number of the frame that is being handed out, and to whom it has yet to go.
    owed: NodeSet,
    sequence: u64,
}

/// A frame to send: the first `len` bytes of the buffer, to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// To whom.
    pub to: NodeId,
    /// How many bytes of the buffer.
    pub len: usize,
}

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Witness<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Starts a witness. `boot` must be drawn at random at each start; tokens up to `reserved` may
    /// have been promised under by earlier starts.
    #[inline]
    #[must_use]
    pub fn new(
        config: &WitnessConfig,
        keyring: Keyring,
        boot: BootId,
        reserved: Token,
        now: Instant,
    ) -> Self {
        let identity = Identity {
            cluster: config.cluster,
            me: config.me,
            others: NodeId::all().filter(|node| !node.is_witness()).collect(),
            boot,
            reserved,
            started: now,
        };
        let spans = Spans {
            heartbeat: config.heartbeat,
            dead: config.dead,
            longest_promise: config.longest_promise,
        };
        Self {
            member: Member::new(&identity, keyring, &spans),
            side: Side::default(),
            cadence: Cadence::new(config.heartbeat, now),
            patience: config.dead,
            now,
            owed: NodeSet::EMPTY,
            sequence: 0,
            class: config.class,
        }
    }

    /// Takes in the bytes that came over `link`. Afterwards drain
    /// [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    /// Says why they are not taken in; only counters have changed.
    pub fn handle_frame(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Heard, Rejected> {
        self.advance(now);
        let favoured = self.side.favoured();
        let admits = |_: &Body<ECHOES, GROUPS>, node, _: &Want| favoured.contains(node);
        let result = self.member.hear(link, self.class, bytes, admits, self.now);
        let favoured_anew = self.choose();
        let news = result.is_ok_and(|heard| heard.promised || heard.accepted == Accepted::Opened);
        if favoured_anew || news {
            self.cadence.tell();
        }
        if result.is_ok_and(|heard| self.member.wants_answer(&heard)) {
            self.cadence.answer(self.now);
        }
        result
    }

    /// Does what is due by `now`. Calling it early or often changes nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let lost = self.member.peers.lapse(self.now);
        let expired = self.member.voter.expire(self.now);
        if self.choose() || (expired && self.reconsider()) {
            self.cadence.tell();
        }
        if !lost.is_empty() {
            self.cadence.tell();
        }
    }

    /// Writes the next frame into `buffer`, or returns `None` when all are written. A frame is
    /// written from the present state; none is older than that.
    #[must_use]
    pub fn poll_transmit<const LEN: usize>(
        &mut self,
        now: Instant,
        buffer: &mut [u8; LEN],
    ) -> Option<Answer> {
        self.now = self.now.max(now);
        if self.owed.is_empty() {
            let audience: NodeSet =
                self.member.peers.echoes(self.now).map(|echo| echo.node).collect();
            if audience.is_empty() || !self.cadence.take(self.now) {
                return None;
            }
            self.sequence = self.member.sequence.advance(self.now);
            self.owed = audience;
        }
        let to = self.owed.iter().next()?;
        self.owed.remove(to);
        let mut body = self.member.body(self.now);
        body.favours = self.side.favoured();
        let len = self.member.write(FIRST_LINK, self.class, self.sequence, &body, buffer);
        Some(Answer { to, len })
    }

    /// Writes the next frame into `buffer` and returns its length, or `None` if none is due. It is
    /// for all nodes at once: a dongle's lines carry everything to everybody.
    #[must_use]
    pub fn poll_broadcast<const LEN: usize>(
        &mut self,
        now: Instant,
        buffer: &mut [u8; LEN],
    ) -> Option<usize> {
        let answer = self.poll_transmit(now, buffer)?;
        self.owed = NodeSet::EMPTY;
        Some(answer.len)
    }

    /// Judges a request for a reset by what this witness knows itself; call
    /// [`handle_timeout`](Self::handle_timeout) first, so that it knows who is silent.
    ///
    /// # Errors
    /// Says why the target is not to be reset.
    pub fn allows(&self, arm: &Arm) -> Result<(), Refusal> {
        let to = Supported { node: arm.id.asker, boot: arm.id.boot, token: arm.token };
        let promised = self.member.voter.promise(arm.group, self.now);
        let is_favoured = self.side.favoured().contains(arm.id.asker);
        if !is_favoured || promised.is_none_or(|promise| promise.to != to) {
            return Err(Refusal::NotPromised);
        }
        let Some(peer) = self.member.peers.get(arm.target) else { return Ok(()) };
        if peer.session().is_some() || arm.target == arm.id.asker {
            return Err(Refusal::Alive);
        }
        let ending = peer.ending();
        if let Some(Ending::Left(_)) = ending {
            return Err(Refusal::Left);
        }
        // A start that has yet to prove itself is one all the same: the target may be coming back.
        let newcomer = peer.newcomer(self.member.peers.dead(), self.now);
        let is_other = match (newcomer, ending) {
            (Some(boot), _) => Some(boot) != arm.target_boot,
            // Who has met no start of the target cannot name the one that has ended here.
            (None, Some(ended)) => arm.target_boot.is_some_and(|boot| boot != ended.boot()),
            (None, None) => false,
        };
        if is_other {
            return Err(Refusal::OtherStart);
        }
        Ok(())
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work; ask again after every
    /// call.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        // What is due has to wait as long as nobody is there to hear it.
        let is_alone = self.member.peers.echoes(self.now).next().is_none();
        let spoken = if is_alone { self.now + self.patience } else { self.cadence.next(self.now) };
        let changes = [self.member.peers.next_change(), self.member.voter.next_change(self.now)];
        changes.into_iter().flatten().fold(spoken, Instant::min)
    }

    /// Returns up to which token the caller must save that all may have been promised under; say so
    /// with [`handle_reserved`](Self::handle_reserved).
    #[must_use]
    pub fn poll_reserve(&mut self) -> Option<Token> {
        let wants = self.member.peers.sessions().flat_map(|(_, session)| &session.body.wants);
        let seen = wants.map(|want| want.token).max().unwrap_or_default();
        self.member.voter.poll_reserve(seen)
    }

    /// Takes note that tokens up to `reserved` are saved as used, so that promises may be made
    /// under them.
    pub fn handle_reserved(&mut self, reserved: Token, now: Instant) {
        self.advance(now);
        self.member.voter.reserved(reserved);
        if self.reconsider() {
            self.cadence.tell();
        }
    }

    /// Returns the common part: sessions, promises and counters.
    #[must_use]
    pub const fn member(&self) -> &Member<MEMBERS, ECHOES, GROUPS, LINKS> {
        &self.member
    }

    /// Returns the nodes it would promise to.
    #[must_use]
    pub const fn favoured(&self) -> NodeSet {
        self.side.favoured()
    }

    /// Takes the keys `keyring` into use from the next frame on.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        self.member.set_keyring(keyring);
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        // What is said from here on is news: no copy of an older frame may go out under its number
        // any more.
        if !self.owed.is_empty() {
            self.owed = NodeSet::EMPTY;
            self.cadence.tell();
        }
    }

    /// Chooses a side anew, and returns whether promises have changed hands by it.
    fn choose(&mut self) -> bool {
        let before = self.side;
        let (peers, voter, now) = (&self.member.peers, &self.member.voter, self.now);
        let hears =
            |node| peers.session(node).map_or(NodeSet::EMPTY, |session| session.body.hears());
        // Counted once for all nodes: this runs for every frame.
        let mut counts = [0; MAX_MEMBERS];
        for promise in GroupId::all().filter_map(|group| voter.promise(group, now)) {
            if let Some(count) = counts.get_mut(promise.to.node.index()) {
                *count += 1;
            }
        }
        let promised = |node: NodeId| counts.get(node.index()).copied().unwrap_or(0);
        self.side.choose(peers.alive(), hears, promised);
        self.side != before && self.reconsider()
    }

    fn reconsider(&mut self) -> bool {
        let favoured = self.side.favoured();
        let rank = |node: NodeId| favoured.contains(node).then_some(0);
        let now = self.now;
        let mut changed = false;
        for group in GroupId::all() {
            changed |= self.member.reconsider(group, |_, node, _| rank(node), now);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Echo, Flags, Header, MAX_FRAME_LEN, Phase};
    use crate::node::LinkSet;
    use crate::peer::Sequence;
    use crate::seal::{KEY_LEN, Key, KeyId};

    const DEAD: Duration = Duration::from_millis(100);

    fn witness() -> Witness {
        let config = WitnessConfig {
            cluster: ClusterId(1),
            me: NodeId::witness(0).unwrap(),
            class: LinkClass::Serial,
            longest_promise: DEAD,
            heartbeat: Duration::from_millis(20),
            dead: DEAD,
        };
        let keyring = Keyring::new(&[(KeyId(0), Key::new([1; KEY_LEN]))], KeyId(0)).unwrap();
        Witness::new(&config, keyring, BootId::new(1), Token(0), Instant::ZERO)
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Lets `from` say in its start `boot` that it hears the witness and `hears`, and that it wants
    /// the first group if `wants`; its frames are numbered by the clock.
    fn say(
        witness: &mut Witness,
        (from, boot): (u8, u64),
        hears: &[u8],
        (flags, wants): (Flags, bool),
        millis: u64,
    ) {
        let echo = |node, boot, sequence| Echo { node, boot, sequence, links: LinkSet::first(1) };
        let own = &witness.member.sequence;
        let proof = echo(witness.member.me(), own.boot(), own.newest());
        let others = hears.iter().map(|other| echo(node(*other), BootId::new(0), 1));
        let group = GroupId::new(0).unwrap();
        let want = Want { group, phase: Phase::Claiming, token: Token(5), promise_ms: 90 };
        let body = Body::<MAX_ECHOES, MAX_GROUPS> {
            flags,
            echoes: core::iter::once(proof).chain(others).collect(),
            wants: core::iter::once(want).filter(|_| wants).collect(),
            ..Body::default()
        };
        let (class, link, key) = (LinkClass::Serial, FIRST_LINK, KeyId(0));
        let (sender, boot) = (node(from), BootId::new(boot));
        let cluster = ClusterId(1);
        let header = Header { class, link, sender, key, cluster, boot, sequence: millis };
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = frame::encode(&header, &body, witness.member.keyring(), &mut buffer);
        let _stale = witness.handle_frame(link, &buffer[..len], at(millis));
        let _sent = witness.poll_broadcast(at(millis + 1), &mut buffer);
    }

    /// A witness that has promised the first group to node 0 in its start 10 under token 5, at
    /// 310 ms, and hears nothing of node 1 any more since 200 ms, which was in its start 11.
    fn promised() -> Witness {
        promised_after(None)
    }

    /// The same, where node 1 speaks once in its start 12 at `return_ms`.
    fn promised_after(return_ms: Option<u64>) -> Witness {
        let mut witness = witness();
        witness.handle_reserved(Token(50), at(0));
        for millis in (20..=310).step_by(10) {
            if millis <= 200 {
                say(&mut witness, (1, 11), &[0], (Flags::default(), false), millis);
            }
            if Some(millis) == return_ms {
                say(&mut witness, (1, 12), &[0], (Flags::default(), false), millis);
            }
            say(&mut witness, (0, 10), &[1], (Flags::default(), millis == 310), millis + 2);
        }
        witness.handle_timeout(at(314));
        witness
    }

    fn arm() -> Arm {
        let id = crate::reset::RequestId { asker: node(0), boot: BootId::new(10), number: 1 };
        let (group, target_boot) = (GroupId::new(0).unwrap(), Some(BootId::new(11)));
        Arm { id, group, token: Token(5), target: node(1), target_boot }
    }

    #[test]
    fn a_reset_is_for_whom_the_group_is_promised_to() {
        let witness = promised();
        let id = arm().id;
        let strangers = [
            Arm { token: Token(6), ..arm() },
            Arm { group: GroupId::new(1).unwrap(), ..arm() },
            Arm { id: crate::reset::RequestId { asker: node(2), ..id }, ..arm() },
            Arm { id: crate::reset::RequestId { boot: BootId::new(9), ..id }, ..arm() },
        ];
        assert_eq!(witness.allows(&arm()), Ok(()));
        for stranger in strangers {
            assert_eq!(witness.allows(&stranger), Err(Refusal::NotPromised), "{stranger:?}");
        }
        let mut late = witness;
        late.handle_timeout(at(410));
        assert_eq!(late.allows(&arm()), Err(Refusal::NotPromised), "it has run out");
    }

    #[test]
    fn a_reset_is_for_the_favoured_side() {
        let mut witness = promised();
        let unmet = Arm { target: node(3), ..arm() };
        assert_eq!(witness.allows(&unmet), Ok(()));
        for millis in (320..=340).step_by(10) {
            say(&mut witness, (1, 12), &[2], (Flags::default(), false), millis);
            say(&mut witness, (2, 13), &[1], (Flags::default(), false), millis + 2);
        }
        assert_eq!(witness.member.peers.alive().len(), 3);
        assert_eq!(witness.allows(&unmet), Err(Refusal::NotPromised), "two hear each other");
    }

    #[test]
    fn nobody_is_reset_who_is_alive_or_has_left_or_is_in_another_start() {
        let lost = promised();
        let named = |boot: Option<u64>| Arm { target_boot: boot.map(BootId::new), ..arm() };
        assert_eq!(lost.allows(&named(Some(12))), Err(Refusal::OtherStart));
        assert_eq!(lost.allows(&named(None)), Ok(()), "the asker has met no start of it");
        assert_eq!(lost.allows(&Arm { target: node(0), ..arm() }), Err(Refusal::Alive));

        let mut coming = lost.clone();
        // What it echoes is of an earlier start of this witness, so it has not proved itself.
        coming.member.sequence = Sequence::new(BootId::new(2));
        say(&mut coming, (1, 12), &[], (Flags::default(), false), 320);
        coming.member.sequence = lost.member.sequence.clone();
        for boot in [None, Some(11)] {
            assert_eq!(coming.allows(&named(boot)), Err(Refusal::OtherStart));
        }
        coming.now = at(420);
        assert_ne!(coming.allows(&arm()), Err(Refusal::OtherStart), "it came to nothing");
        let returned = promised_after(Some(290));
        assert_eq!(returned.member.peers.session(node(1)), None);
        assert_eq!(returned.allows(&arm()), Err(Refusal::OtherStart), "heard before it was lost");

        let mut alive = lost;
        say(&mut alive, (1, 11), &[0], (Flags::default(), false), 320);
        assert_eq!(alive.allows(&arm()), Err(Refusal::Alive));
        say(&mut alive, (1, 11), &[0], (Flags::FAREWELL, false), 330);
        assert_eq!(alive.allows(&arm()), Err(Refusal::Left));
    }

    #[test]
    fn while_nobody_is_heard_it_sleeps() {
        let mut witness = witness();
        let mut buffer = [0; MAX_FRAME_LEN];
        let (mut now, mut steps) = (Instant::ZERO, 0);
        while !now.has_reached(Instant::ZERO + DEAD.times(20)) {
            witness.handle_timeout(now);
            assert_eq!(witness.poll_transmit(now, &mut buffer), None);
            now = witness.poll_timeout().max(now + Duration::from_micros(1));
            steps += 1;
        }
        assert!(steps <= 22, "{steps} steps");
    }
}
