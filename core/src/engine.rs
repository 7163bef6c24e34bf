//! One server of a cluster: the only file that knows all the others.
//!
//! The engine does no I/O. Its caller feeds it bytes and moments and carries out what it decides:
//!
//! ```text
//! loop {
//!     wait until a frame comes or poll_timeout() is reached
//!     check_authority(now)            first, so that nothing is held a moment too long
//!     handle_frame(..) for each frame that waits
//!     handle_timeout(now)
//!     poll_event() until None         start, stop, log
//!     poll_transmit(..) until None    send
//! }
//! ```
//!
//! Outputs are state and not queues: a frame is written from the present state when it is asked
//! for, and an event is the difference between what is and what was last reported. Nothing can
//! overflow, and a slow caller sees the latest state; of a change and its reversal in between it
//! sees nothing.

mod candidate;
mod decreed;
mod event;
mod frames;
mod holder;
mod obstacle;
mod place;
mod snapshot;

pub use decreed::Unsaid;
pub use event::{Condition, Event};
pub use obstacle::Obstacle;
pub use snapshot::Contradiction;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::authority::Support;
use crate::cadence::Cadence;
use crate::config::{Config, Timing};
use crate::decree::{Decree, Stamp};
use crate::frame::{Body, LinkClass, MAX_ECHOES, Want};
use crate::group::{GroupConfig, GroupId, MAX_GROUPS, Reason, Role, Token};
use crate::member::{Heard, Identity, Member, Rejected, Spans};
use crate::node::{BootId, LinkId, LinkSet, MAX_LINKS, MAX_MEMBERS, NodeId, NodeSet};
use crate::peer::Accepted;
use crate::seal::Keyring;
use crate::time::{Duration, Instant};

/// One server of a cluster of `MEMBERS` servers and witnesses, this one among them, with room for
/// `ECHOES` echoes in a frame, one for each other member. Members beyond are not heard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Engine<
    const MEMBERS: usize = MAX_MEMBERS,
    const ECHOES: usize = MAX_ECHOES,
    const GROUPS: usize = MAX_GROUPS,
    const LINKS: usize = MAX_LINKS,
> {
    config: Config<GROUPS, LINKS>,
    /// The groups as their places are decided, by the settings.
    #[serde(skip)]
    order: Vec<GroupId, GROUPS>,
    member: Member<MEMBERS, ECHOES, GROUPS, LINKS>,
    cadence: Cadence,
    groups: Vec<Group<MEMBERS>, GROUPS>,
    started: Instant,
    now: Instant,
    /// Whether authority has been looked at in the present moment.
    is_checked: bool,
    standby: bool,
    leaving: bool,
    farewells: u8,
    /// By the place among the others.
    #[serde(with = "crate::array")]
    fenced: [Option<Fenced>; MEMBERS],
    /// By the place among the others.
    #[serde(with = "crate::array")]
    conditions: [Condition; MEMBERS],
    /// What the operator has said last.
    decree: Option<Decree>,
    /// Whether the shell knows that.
    is_decree_told: bool,
    /// Which decree each peer knows, by the place among the others.
    #[serde(with = "crate::array")]
    known: [Option<Stamp>; MEMBERS],
    /// The number of the frame that is being handed out, and the links it has yet to go to.
    owed: LinkSet,
    sequence: u64,
}

/// What is known of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group<const MEMBERS: usize = MAX_MEMBERS> {
    role: Role,
    reason: Reason,
    since: Instant,
    reported: (Role, Reason),
    support: Support<MEMBERS>,
    largest: Token,
    /// Since when nothing but its rank keeps this node from claiming.
    clear_since: Option<Instant>,
    /// Not before this moment does this node claim or offer again.
    retry: Instant,
    standby: bool,
    /// Whether this machine can serve it.
    able: bool,
    /// Who held it last, as far as this start knows, and whether that ended in good order.
    last_holder: Option<(NodeId, bool)>,
    /// Since when the operator has it here: only who has come back since may have it back.
    placed: Option<Instant>,
    fence_asked: NodeSet,
}

/// A fence that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Fenced {
    /// Which start of the node, if any had been heard of.
    boot: Option<BootId>,
}

/// A frame to send: the first `len` bytes of the buffer, over one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Over which link.
    pub link: LinkId,
    /// How many bytes of the buffer.
    pub len: usize,
}

/// How many farewells are sent, in case some are lost.
const FAREWELLS: u8 = 3;

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Starts a server. `boot` must be drawn at random at each start; tokens up to `reserved` may
    /// have been used by earlier starts.
    #[must_use]
    pub fn new(
        config: Config<GROUPS, LINKS>,
        keyring: Keyring,
        boot: BootId,
        reserved: Token,
        now: Instant,
    ) -> Self {
        const {
            assert!(MEMBERS <= MAX_MEMBERS && GROUPS <= MAX_GROUPS && LINKS <= MAX_LINKS);
            assert!(ECHOES + 1 == MEMBERS, "there is room for an echo of everybody else");
        }
        let voters = config.quorum.members();
        let others = voters.difference(NodeSet::EMPTY.with(config.me));
        let (cluster, me) = (config.cluster, config.me);
        let identity = Identity { cluster, me, others, boot, reserved, started: now };
        let Timing { heartbeat, dead, longest_promise, .. } = config.timing;
        let spans = Spans { heartbeat, dead, longest_promise };
        let groups = config.groups.iter().map(|_| Group::new(voters, reserved, now)).collect();
        Self {
            member: Member::new(&identity, keyring, &spans),
            cadence: Cadence::new(config.timing.heartbeat, now),
            groups,
            started: now,
            now,
            is_checked: false,
            standby: false,
            leaving: false,
            farewells: 0,
            fenced: [None; MEMBERS],
            conditions: [Condition::Unmet; MEMBERS],
            decree: None,
            is_decree_told: true,
            known: [None; MEMBERS],
            owed: LinkSet::EMPTY,
            sequence: 0,
            order: config.decision_order(),
            config,
        }
    }

    /// Takes in the bytes that came over `link`, and as a voter judges what they want. What else
    /// follows from them is decided by [`handle_timeout`](Self::handle_timeout), which comes after
    /// all frames that wait.
    ///
    /// # Errors
    /// Says why they are not taken in; only counters have changed.
    pub fn handle_frame(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Heard, Rejected> {
        let class = self.class(link);
        self.check_authority(now);
        let digest = self.config.digest.to_le_bytes();
        let admits =
            |body: &Body<ECHOES, GROUPS>, _: NodeId, want: &Want| admissible(body, want, digest);
        let heard = self.member.hear(link, class, bytes, admits, self.now)?;
        if heard.promised || heard.accepted == Accepted::Opened {
            self.cadence.tell();
        }
        if self.member.wants_answer(&heard) {
            self.cadence.answer(self.now);
        }
        self.learn(heard);
        Ok(heard)
    }

    /// Does what is due by `now`. Calling it early or often changes nothing; calling it late delays
    /// what it decides by as much, and never lets anything be held too long if
    /// [`check_authority`](Self::check_authority) comes first.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_authority(now);
        for node in self.member.peers.lapse(self.now).iter() {
            self.forget_holder(node, false);
        }
        self.member.voter.expire(self.now);
        self.decide();
    }

    /// Gives up every group whose authority has ended by `now`. It is cheap, and the first thing to
    /// do on each wake-up, before any frame is read.
    pub fn check_authority(&mut self, now: Instant) {
        // What is said from here on is news: no copy of an older frame may go out under its number
        // any more.
        if !self.owed.is_empty() {
            self.owed = LinkSet::EMPTY;
            self.cadence.tell();
        }
        if now <= self.now && self.is_checked {
            return;
        }
        self.now = self.now.max(now);
        self.is_checked = true;
        self.renew_own_promises();
        for group in GroupId::all().take(self.groups.len()) {
            self.end_authority(group);
        }
    }

    /// Writes the next frame into `buffer`, or returns `None` when all are written. Send what it
    /// returns before the next `handle_*`.
    #[must_use]
    pub fn poll_transmit<const LEN: usize>(
        &mut self,
        now: Instant,
        buffer: &mut [u8; LEN],
    ) -> Option<Transmit> {
        self.is_checked &= now <= self.now;
        self.now = self.now.max(now);
        if self.owed.is_empty() {
            if !self.cadence.take(self.now) {
                return None;
            }
            self.sequence = self.member.sequence.advance(self.now);
            self.owed = LinkSet::first(self.config.links.len());
            if self.has_left() {
                self.farewells = self.farewells.saturating_add(1);
                self.cadence.tell();
            }
        }
        let link = self.owed.iter().next()?;
        self.owed.remove(link);
        let (body, class) = (self.body(), self.class(link));
        let told = self.decree.map(|decree| decree.told(self.now));
        let said = (&body, told.as_ref());
        let len = self.member.write_told(link, class, self.sequence, said, buffer);
        Some(Transmit { link, len })
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work; ask again after every
    /// call.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let spoken = self.cadence.next(self.now);
        let voter = self.member.voter.next_change(self.now);
        let waits =
            self.groups.iter().zip(GroupId::all()).filter_map(|(_, group)| self.next_change(group));
        let all = [self.member.peers.next_change(), voter].into_iter().flatten().chain(waits);
        all.fold(spoken, Instant::min)
    }

    /// Takes note that the shell has started the group, or could not.
    pub fn handle_started(&mut self, group: GroupId, started: bool, now: Instant) {
        self.check_authority(now);
        if let Some(Role::Starting(token)) = self.group(group).map(|state| state.role) {
            if started {
                self.set_role(group, Role::Holding { token, offered_until: None }, Reason::Started);
            } else {
                self.set_role(group, Role::Stopping(token), Reason::StartFailed);
            }
        }
        self.decide();
    }

    /// Takes note that the shell has stopped the group, or could not. Only a confirmed stop frees
    /// it for others.
    pub fn handle_stopped(&mut self, group: GroupId, stopped: bool, now: Instant) {
        self.check_authority(now);
        match self.group(group).map(|state| state.role) {
            Some(Role::Stopping(_) | Role::Stuck(_)) if stopped => self.let_go(group),
            Some(Role::Stopping(token)) => {
                self.set_role(group, Role::Stuck(token), Reason::StopFailed);
            }
            _ => {}
        }
        self.decide();
    }

    /// Takes note that something of a group that is held has failed: it is stopped, after those
    /// that follow it, and whoever comes first may take it.
    pub fn handle_failed(&mut self, group: GroupId, now: Instant) {
        self.check_authority(now);
        if let Some(Role::Holding { token, .. }) = self.group(group).map(|state| state.role) {
            self.part(group, token, Reason::Failed);
        }
        self.decide();
    }

    /// Takes note whether this machine can serve `group` at all. While it cannot, it does not claim
    /// the group, and offers it to any node that may take it.
    pub fn handle_able(&mut self, group: GroupId, able: bool, now: Instant) {
        self.check_authority(now);
        self.with(group, |state| state.able = able);
        self.decide();
    }

    /// Takes note that tokens up to `reserved` are saved as used, so that claims may mint them.
    pub fn handle_reserved(&mut self, reserved: Token, now: Instant) {
        self.check_authority(now);
        self.member.voter.reserved(reserved);
        self.decide();
    }

    /// Takes note that `node` is certain to be silent in its start `boot`, or, if none of its
    /// starts has been heard of, in whatever start it may have been. Any later start of it is not.
    pub fn handle_fenced(&mut self, node: NodeId, boot: Option<BootId>, now: Instant) {
        self.check_authority(now);
        let place = self.member.others().place(node);
        if let Some(fenced) = place.and_then(|place| self.fenced.get_mut(place)) {
            *fenced = Some(Fenced { boot });
        }
        self.decide();
    }

    /// Asks that this node be free of `group`, or of all groups: they are offered to whoever may
    /// take them. A single group that follows another stays with its leader.
    pub fn handle_standby(&mut self, group: Option<GroupId>, now: Instant) {
        self.check_authority(now);
        match group {
            None => self.standby = true,
            Some(group) if self.leader(group).is_some() => {}
            Some(group) => self.with(group, |state| state.standby = true),
        }
        self.cadence.tell();
        self.decide();
    }

    /// Asks that this node take `group`, or all groups, also from a node that holds them; ends
    /// standby.
    pub fn handle_takeover(&mut self, group: Option<GroupId>, now: Instant) {
        self.check_authority(now);
        if group.is_none() {
            self.standby = false;
        }
        for at in GroupId::all()
            .take(self.groups.len())
            .filter(|at| group.is_none_or(|group| group == *at))
        {
            self.with(at, |state| state.standby = false);
            self.ask_for(at);
        }
        self.cadence.tell();
        self.decide();
    }

    /// Begins to leave in good order: groups are offered, then stopped, then a farewell is sent.
    pub fn handle_leave(&mut self, now: Instant) {
        self.check_authority(now);
        self.leaving = true;
        self.cadence.tell();
        self.decide();
    }

    /// Returns whether this node has left: nothing is held, and the farewells have been written.
    #[must_use]
    pub fn has_said_farewell(&self) -> bool {
        self.has_left() && self.farewells >= FAREWELLS
    }

    /// Takes the keys `keyring` into use from the next frame on.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        self.member.set_keyring(keyring);
    }

    /// Returns the settings.
    #[must_use]
    pub const fn config(&self) -> &Config<GROUPS, LINKS> {
        &self.config
    }

    /// Returns the common part: sessions, promises and counters.
    #[must_use]
    pub const fn member(&self) -> &Member<MEMBERS, ECHOES, GROUPS, LINKS> {
        &self.member
    }

    /// Returns what is known of `group`.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&Group<MEMBERS>> {
        self.groups.get(group.index())
    }

    /// Returns whether the operator wants this node free of all groups.
    #[must_use]
    pub const fn is_standby(&self) -> bool {
        self.standby
    }

    /// Returns whether this node is leaving.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Returns the latest moment this engine has been told of.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    fn has_left(&self) -> bool {
        self.leaving && self.groups.iter().all(|group| group.role == Role::Idle)
    }

    fn class(&self, link: LinkId) -> LinkClass {
        self.config.links.get(link.index()).copied().unwrap_or(LinkClass::Udp)
    }

    fn settings(&self, group: GroupId) -> Option<&GroupConfig> {
        self.config.groups.get(group.index())
    }

    fn with(&mut self, group: GroupId, change: impl FnOnce(&mut Group<MEMBERS>)) {
        if let Some(state) = self.groups.get_mut(group.index()) {
            change(state);
        }
    }

    fn set_role(&mut self, group: GroupId, role: Role, reason: Reason) {
        let now = self.now;
        self.with(group, |state| {
            state.role = role;
            state.reason = reason;
            state.since = now;
            state.clear_since = None;
        });
        self.cadence.tell();
    }
}

impl<const MEMBERS: usize> Group<MEMBERS> {
    fn new(voters: NodeSet, reserved: Token, now: Instant) -> Self {
        Self {
            role: Role::Idle,
            reason: Reason::Start,
            since: now,
            reported: (Role::Idle, Reason::Start),
            support: Support::new(voters),
            largest: reserved,
            clear_since: None,
            retry: now,
            standby: false,
            able: true,
            last_holder: None,
            placed: None,
            fence_asked: NodeSet::EMPTY,
        }
    }

    /// Returns the part this node plays.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns why it plays that part, and since when.
    #[must_use]
    pub const fn reason(&self) -> (Reason, Instant) {
        (self.reason, self.since)
    }

    /// Returns whether the operator wants this node free of the group.
    #[must_use]
    pub const fn is_standby(&self) -> bool {
        self.standby
    }

    /// Returns the largest token that this start knows of, 0 before the first.
    #[must_use]
    pub const fn largest_token(&self) -> Token {
        self.largest
    }

    /// Returns when each voter's newest supporting echo was sent.
    #[must_use]
    pub const fn support(&self) -> &Support<MEMBERS> {
        &self.support
    }

    /// Returns who held it last, as far as this start knows, and whether that ended in good order.
    #[must_use]
    pub const fn last_holder(&self) -> Option<(NodeId, bool)> {
        self.last_holder
    }
}

/// A voter supports a new claim only of a node with the same settings; a holder is not shut out by
/// a change of them.
fn admissible<const ECHOES: usize, const GROUPS: usize>(
    body: &Body<ECHOES, GROUPS>,
    want: &Want,
    digest: [u8; 4],
) -> bool {
    want.phase.is_held() || body.digest == digest
}

/// The span in which a claim must be answered before it makes way for others.
fn claim_limit(settings: &GroupConfig, heartbeat: Duration) -> Duration {
    settings.promise.times(2) + heartbeat.times(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_cluster_takes_little_memory() {
        assert!(size_of::<Engine<3, 2, 1, 1>>() <= 5 << 9);
        assert!(size_of::<Engine<3, 2, 2, 2>>() <= 3 << 10);
    }
}
