//! A voter's promises: whom it supports for each group, and until when.
//!
//! The rules are few. A promise is kept until it runs out on this voter's clock, counted from the
//! receipt of the frame that renewed it; only the node it was made to can end it sooner, by a newer
//! frame of the same start that no longer wants the group, or by a verified newer start. A voter
//! that has just started makes none until its longest promise has passed, because it may have
//! forgotten one. Tokens are saved ahead: a voter promises only under tokens that are known to be
//! saved as used, so that after a restart it can tell every earlier token from a new one. The same
//! [`Voter`] serves a server, a quorum server and a dongle.

use serde::{Deserialize, Serialize};

use crate::frame::{Phase, Want};
use crate::group::{GroupId, MAX_GROUPS, Token};
use crate::node::{BootId, NodeId};
use crate::time::{Duration, Instant};

/// To whom a promise is made: one claim of one start of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supported {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub boot: BootId,
    /// The token of its claim.
    pub token: Token,
}

/// A voter's word that it supports nobody else for a group until a moment on its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// To whom.
    pub to: Supported,
    /// The number of the frame that renewed it last. An echo of any later frame is no proof of this
    /// promise.
    pub renewed_by: u64,
    /// Until when.
    pub until: Instant,
}

/// Whose frame asks for a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub boot: BootId,
    /// The frame's number.
    pub sequence: u64,
}

/// Why a voter does not promise. Nothing is changed by a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It has just started and may have forgotten a promise; it makes promises from this moment on.
    Booting(Instant),
    /// The group is promised to another claim.
    Promised(Promise),
    /// The claim's token is not larger than one that was promised under before.
    OldToken(Token),
    /// The claim asks for a longer promise than this voter makes.
    TooLong,
    /// The claim asks for a promise of no length, which would run out as it is made, and wake its
    /// voter to make it again, without end.
    TooShort,
    /// The claim's token is beyond those that are saved as used.
    Unsaved,
    /// This voter has no room for promises of this group.
    NoRoom,
}

/// One voter's promises, for groups below `GROUPS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voter<const GROUPS: usize = MAX_GROUPS> {
    ready: Instant,
    longest: Duration,
    saved: Token,
    asked: Token,
    seen: Token,
    #[serde(with = "crate::array")]
    groups: [Slot; GROUPS],
}

/// How many tokens are saved ahead, so that a claim waits for no disk.
const AHEAD: u32 = 1000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Slot {
    promise: Option<Promise>,
    largest: Token,
}

impl<const GROUPS: usize> Voter<GROUPS> {
    /// Makes a voter that has started `now`, forgets nothing from now on, and makes no promise
    /// longer than `longest`. Tokens up to `saved` may have been used before.
    #[inline]
    #[must_use]
    pub fn new(longest: Duration, saved: Token, now: Instant) -> Self {
        let slot = Slot { promise: None, largest: saved };
        Self {
            ready: now + longest,
            longest,
            saved,
            asked: saved,
            seen: saved,
            groups: [slot; GROUPS],
        }
    }

    /// Promises the wanted group to the claimant, renews that promise, or says why not.
    ///
    /// A claim must come under a token larger than any promised under before; a holder's token was
    /// judged when it claimed, and a failed claim of somebody else must not shut the holder out.
    ///
    /// # Errors
    /// The refusal, with nothing changed.
    pub fn consider(&mut self, want: &Want, from: Claimant, now: Instant) -> Result<(), Refusal> {
        let Claimant { node, boot, sequence } = from;
        if !now.has_reached(self.ready) {
            return Err(Refusal::Booting(self.ready));
        }
        let length = Duration::from_millis(u64::from(want.promise_ms));
        if length > self.longest {
            return Err(Refusal::TooLong);
        }
        if length == Duration::ZERO {
            return Err(Refusal::TooShort);
        }
        if want.token > self.saved {
            return Err(Refusal::Unsaved);
        }
        let slot = self.groups.get_mut(want.group.index()).ok_or(Refusal::NoRoom)?;
        let same =
            slot.promise.filter(|promise| promise.to.node == node && promise.to.boot == boot);
        if let Some(promise) =
            slot.promise.filter(|promise| same.is_none() && !now.has_reached(promise.until))
        {
            return Err(Refusal::Promised(promise));
        }
        let renewed = same.is_some_and(|promise| promise.to.token == want.token);
        let claimed = matches!(want.phase, Phase::Claiming | Phase::Asking);
        if claimed && !renewed && want.token <= slot.largest {
            return Err(Refusal::OldToken(slot.largest));
        }
        // A promise is never cut short: a claim that asks for less than is already promised gets
        // the longer one.
        let until = same.map_or(Instant::ZERO, |promise| promise.until).max(now + length);
        let to = Supported { node, boot, token: want.token };
        slot.promise = Some(Promise { to, renewed_by: sequence, until });
        slot.largest = slot.largest.max(want.token);
        Ok(())
    }

    /// Returns up to which token the caller must save that all may have been used, if that has to
    /// be soon; `seen` is the largest that was heard of. At least half of what is saved ahead is
    /// always left.
    #[must_use]
    pub fn poll_reserve(&mut self, seen: Token) -> Option<Token> {
        self.seen = self.seen.max(seen);
        if self.asked.0.saturating_sub(self.seen.0) >= AHEAD / 2 {
            return None;
        }
        let ahead = Token(self.seen.0.saturating_add(AHEAD));
        // Behind the last token there is nothing to save.
        if ahead <= self.asked {
            return None;
        }
        self.asked = ahead;
        Some(ahead)
    }

    /// Takes note that all tokens up to `saved` are saved as used.
    pub fn reserved(&mut self, saved: Token) {
        self.saved = self.saved.max(saved);
    }

    /// Returns the largest token that is saved as used.
    #[must_use]
    pub const fn saved(&self) -> Token {
        self.saved
    }

    /// Frees what is promised to `node` in the start `boot` for `group`, because a newer frame no
    /// longer wants it.
    pub fn release(&mut self, group: GroupId, node: NodeId, boot: BootId) -> bool {
        self.groups
            .get_mut(group.index())
            .is_some_and(|slot| slot.free(|to| to.node == node && to.boot == boot))
    }

    /// Frees everything promised to earlier starts of `node`, because the start `boot` is verified.
    pub fn restarted(&mut self, node: NodeId, boot: BootId) -> bool {
        self.free(|to| to.node == node && to.boot != boot)
    }

    /// Frees everything promised to `node` in the start `boot`, because it has left in good order.
    pub fn left(&mut self, node: NodeId, boot: BootId) -> bool {
        self.free(|to| to.node == node && to.boot == boot)
    }

    /// Drops the promises that have run out, and returns whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for slot in &mut self.groups {
            if slot.promise.is_some_and(|promise| now.has_reached(promise.until)) {
                slot.promise = None;
                changed = true;
            }
        }
        changed
    }

    /// Returns the promise for `group` that is still live.
    #[must_use]
    pub fn promise(&self, group: GroupId, now: Instant) -> Option<Promise> {
        let promise = self.groups.get(group.index()).and_then(|slot| slot.promise)?;
        (!now.has_reached(promise.until)).then_some(promise)
    }

    /// Returns the largest token ever promised under for `group`.
    #[must_use]
    pub fn largest_token(&self, group: GroupId) -> Token {
        self.groups.get(group.index()).map_or(Token(0), |slot| slot.largest)
    }

    /// Returns the moment from which this voter makes promises.
    #[must_use]
    pub const fn ready(&self) -> Instant {
        self.ready
    }

    /// Returns the longest promise this voter makes.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns when the next promise runs out, or when the first may be made.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let ready = (!now.has_reached(self.ready)).then_some(self.ready);
        let expiries =
            self.groups.iter().filter_map(|slot| slot.promise.map(|promise| promise.until));
        expiries.chain(ready).min()
    }

    fn free(&mut self, matches: impl Fn(&Supported) -> bool) -> bool {
        let mut has_freed = false;
        for slot in &mut self.groups {
            has_freed |= slot.free(&matches);
        }
        has_freed
    }
}

impl Slot {
    fn free(&mut self, matches: impl Fn(&Supported) -> bool) -> bool {
        self.promise.take_if(|promise| matches(&promise.to)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: u32 = 100;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn group() -> GroupId {
        GroupId::new(3).unwrap()
    }

    fn want(phase: Phase, token: u32) -> Want {
        Want { group: group(), phase, token: Token(token), promise_ms: L }
    }

    fn who(number: u8) -> (NodeId, BootId) {
        (NodeId::new(number).unwrap(), BootId::new(u64::from(number)))
    }

    fn voter(millis: u64) -> Voter {
        let mut voter = <Voter>::new(Duration::from_millis(L.into()), Token(0), at(millis));
        voter.reserved(Token(50));
        voter
    }

    /// A voter that is past its boot wait at 100 ms and has promised the group to node 0 under
    /// token 5 at 200 ms.
    fn promised() -> Voter {
        let mut voter = voter(0);
        ask(&mut voter, 0, want(Phase::Claiming, 5), 200).unwrap();
        voter
    }

    fn ask(voter: &mut Voter, number: u8, want: Want, millis: u64) -> Result<(), Refusal> {
        let (node, boot) = who(number);
        voter.consider(&want, Claimant { node, boot, sequence: millis }, at(millis))
    }

    #[test]
    fn a_voter_that_has_just_started_promises_nothing() {
        let mut voter = voter(1000);
        assert_eq!(
            ask(&mut voter, 0, want(Phase::Claiming, 1), 1099),
            Err(Refusal::Booting(at(1100)))
        );
        assert_eq!(
            ask(&mut voter, 0, want(Phase::Holding, 1), 1099),
            Err(Refusal::Booting(at(1100)))
        );
        assert_eq!(ask(&mut voter, 0, want(Phase::Claiming, 1), 1100), Ok(()));
    }

    #[test]
    fn a_promise_is_kept_to_its_last_microsecond() {
        let mut voter = promised();
        for millis in [200, 250, 299] {
            assert!(matches!(
                ask(&mut voter, 1, want(Phase::Asking, 6), millis),
                Err(Refusal::Promised(_))
            ));
        }
        assert_eq!(ask(&mut voter, 1, want(Phase::Claiming, 6), 300), Ok(()));
        assert!(matches!(
            ask(&mut voter, 0, want(Phase::Holding, 5), 301),
            Err(Refusal::Promised(_))
        ));
    }

    #[test]
    fn a_renewal_counts_from_its_receipt_and_never_shortens() {
        let mut voter = promised();
        ask(&mut voter, 0, want(Phase::Holding, 5), 250).unwrap();
        ask(&mut voter, 0, Want { promise_ms: 1, ..want(Phase::Holding, 5) }, 251).unwrap();
        let promise = voter.promise(group(), at(349)).unwrap();
        assert_eq!((promise.until, promise.renewed_by), (at(350), 251));
        assert_eq!(voter.promise(group(), at(350)), None);
    }

    #[test]
    fn only_the_supported_start_can_free_a_promise() {
        let mut voter = promised();
        assert!(!voter.release(group(), who(1).0, who(0).1));
        assert!(!voter.release(group(), who(0).0, who(1).1));
        assert!(!voter.release(GroupId::new(4).unwrap(), who(0).0, who(0).1));
        assert!(!voter.restarted(who(0).0, who(0).1), "the same start has not restarted");
        assert!(voter.promise(group(), at(201)).is_some());
        assert!(voter.clone().restarted(who(0).0, BootId::new(77)));
        assert!(voter.clone().left(who(0).0, who(0).1));
        assert!(voter.release(group(), who(0).0, who(0).1));
        assert_eq!(ask(&mut voter, 1, want(Phase::Claiming, 6), 201), Ok(()));
    }

    #[test]
    fn tokens_of_claims_grow_and_a_failed_claim_does_not_shut_the_holder_out() {
        let mut voter = promised();
        assert_eq!(
            ask(&mut voter, 1, want(Phase::Claiming, 5), 300),
            Err(Refusal::OldToken(Token(5)))
        );
        assert_eq!(ask(&mut voter, 1, want(Phase::Claiming, 6), 300), Ok(()));
        assert!(voter.release(group(), who(1).0, who(1).1));
        assert_eq!(voter.largest_token(group()), Token(6));
        assert_eq!(ask(&mut voter, 0, want(Phase::Holding, 5), 301), Ok(()), "the holder goes on");
        assert_eq!(voter.largest_token(group()), Token(6));
        assert_eq!(
            ask(&mut voter, 0, want(Phase::Claiming, 6), 302),
            Err(Refusal::OldToken(Token(6)))
        );
    }

    #[test]
    fn promises_longer_than_this_voter_makes_and_of_no_length_are_refused() {
        let mut voter = voter(0);
        let long = Want { promise_ms: L + 1, ..want(Phase::Claiming, 1) };
        assert_eq!(ask(&mut voter, 0, long, 500), Err(Refusal::TooLong));
        let empty = Want { promise_ms: 0, ..want(Phase::Claiming, 1) };
        assert_eq!(ask(&mut voter, 0, empty, 500), Err(Refusal::TooShort));
    }

    #[test]
    fn tokens_of_an_earlier_start_are_not_promised_under_again() {
        let (node, boot) = who(0);
        let from = Claimant { node, boot, sequence: 1 };
        let mut voter = <Voter>::new(Duration::from_millis(L.into()), Token(7), at(0));
        assert_eq!(
            voter.consider(&want(Phase::Claiming, 7), from, at(500)),
            Err(Refusal::OldToken(Token(7)))
        );
        assert_eq!(voter.consider(&want(Phase::Claiming, 8), from, at(500)), Err(Refusal::Unsaved));
        assert_eq!(voter.poll_reserve(Token(0)), Some(Token(1007)), "at the start");
        assert_eq!(voter.poll_reserve(Token(507)), None, "asked already, and enough is left");
        assert_eq!(voter.poll_reserve(Token(508)), Some(Token(1508)));
        assert_eq!(voter.poll_reserve(Token(0)), None, "what was seen stays seen");
        let mut spent = voter.clone();
        assert_eq!(spent.poll_reserve(Token(u32::MAX)), Some(Token(u32::MAX)));
        assert_eq!(spent.poll_reserve(Token(u32::MAX)), None, "there are no more");
        voter.reserved(Token(1008));
        assert_eq!(voter.consider(&want(Phase::Claiming, 8), from, at(500)), Ok(()));
    }

    #[test]
    fn the_next_change_is_the_boot_wait_or_the_first_expiry() {
        let voter = voter(0);
        assert_eq!(voter.next_change(at(0)), Some(at(100)));
        assert_eq!(voter.next_change(at(100)), None);
        let mut voter = promised();
        assert_eq!(voter.next_change(at(201)), Some(at(300)));
        assert!(!voter.expire(at(299)) && voter.expire(at(300)));
        assert_eq!(voter.next_change(at(301)), None);
    }
}
