//! Resetting a dead server, in two steps: arm, then fire.
//!
//! A server that has claimed a group, and has its quorum, may ask the dongle on its line to reset a
//! server that could still be holding it. The request names the target's start, so that a server
//! which has come back meanwhile is not hit by a request that was meant for its former life. The
//! dongle answers the first step with a number that is good for one pulse within
//! [`ARMED_FOR`]; only the second step, with that number, moves the line. At both steps the dongle
//! looks for itself whether it has promised the group to the asker and hears nothing of the target.
//!
//! One pulse at a time, and some time between two: whoever is refused asks again. A request that
//! is repeated because its answer was lost gets the answer again and not another pulse.
//!
//! [`Resetter`] is the dongle's side, [`Asker`] the server's.

use serde::{Deserialize, Serialize};

use crate::group::{GroupId, Token};
use crate::node::{BootId, NodeId};
use crate::time::{Duration, Instant};

/// How long a line stays armed for the second step.
pub const ARMED_FOR: Duration = Duration::from_millis(2000);

/// Which request of which start of which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// Who asks.
    pub asker: NodeId,
    /// In which start.
    pub boot: BootId,
    /// The number of the request in that start.
    pub number: u32,
}

/// The first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arm {
    /// Which request this is.
    pub id: RequestId,
    /// The group that waits for the reset.
    pub group: GroupId,
    /// The token of the asker's claim.
    pub token: Token,
    /// Who is to be reset.
    pub target: NodeId,
    /// In which start; `None` if the asker has heard of none.
    pub target_boot: Option<BootId>,
}

/// The second step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fire {
    /// Which request this is.
    pub id: RequestId,
    /// The number that the first step was answered with.
    pub nonce: u64,
}

/// What the dongle says to either step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// To which request.
    pub id: RequestId,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The line is armed: fire with this number.
    Armed {
        /// Good for one pulse.
        nonce: u64,
    },
    /// The line is active.
    Pulsing,
    /// The line was active for the whole pulse, as read back. The target is silent in the start
    /// that was named.
    Done,
    /// Nothing was done, or it did not work.
    Refused(Refusal),
}

/// Why a target is not reset. Nothing was done, except with [`Refusal::LineStuck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The dongle has not promised the group to this start of the asker under this token, so the
    /// asker has no claim, or is on the side that the dongle does not favour.
    NotPromised,
    /// The dongle hears the target.
    Alive,
    /// The dongle has last heard another start of the target.
    OtherStart,
    /// The target has left in good order: there is nothing to reset.
    Left,
    /// No reset line of this dongle leads to the target.
    NoLine,
    /// Another request is armed or its pulse not over.
    Busy,
    /// The last pulse was too short a time ago.
    TooSoon,
    /// The number is not that of an armed line: too late, or used, or made up.
    NotArmed,
    /// The line did not follow when it was driven.
    LineStuck,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::NotPromised => "the dongle has not promised the group to this node",
            Self::Alive => "the dongle hears the node that was to be reset",
            Self::OtherStart => "the dongle has heard another start of that node",
            Self::Left => "that node has left in good order",
            Self::NoLine => "no reset line of the dongle leads to that node",
            Self::Busy => "the dongle is busy with another reset",
            Self::TooSoon => "the last reset was too short a time ago",
            Self::NotArmed => "the reset line is not armed for this request any more",
            Self::LineStuck => "the reset line did not follow when it was driven",
        })
    }
}

impl core::error::Error for Refusal {}

/// The dongle's side: arms one line at a time and pulses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resetter {
    pulse: Duration,
    distance: Duration,
    state: State,
    /// When the last pulse ended.
    ended: Option<Instant>,
    /// The last pulse and what came of it.
    last: Option<(Arm, u64, Outcome)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Armed { arm: Arm, nonce: u64, until: Instant },
    Pulsing { arm: Arm, nonce: u64, until: Instant, followed: bool },
}

impl Resetter {
    /// Makes a resetter whose pulses last `pulse`, with at least `distance` between two; the first
    /// one too waits for `distance` after the start, because a pulse may just have ended.
    #[must_use]
    pub const fn new(pulse: Duration, distance: Duration, now: Instant) -> Self {
        Self { pulse, distance, state: State::Idle, ended: Some(now), last: None }
    }

    /// Takes in the first step. `allows` judges a request by what the dongle itself knows; `nonce`
    /// must be unpredictable and never used before.
    pub fn handle_arm(
        &mut self,
        arm: &Arm,
        allows: impl Fn(&Arm) -> Result<(), Refusal>,
        nonce: u64,
        now: Instant,
    ) -> Answer {
        let outcome = self.arm(arm, allows, nonce, now).unwrap_or_else(Outcome::Refused);
        Answer { id: arm.id, outcome }
    }

    fn arm(
        &mut self,
        arm: &Arm,
        allows: impl Fn(&Arm) -> Result<(), Refusal>,
        nonce: u64,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        if let Some((_, _, outcome)) = self.last.filter(|(last, ..)| last == arm) {
            return Ok(outcome);
        }
        match self.state {
            State::Pulsing { arm: other, .. } => {
                return if other == *arm { Ok(Outcome::Pulsing) } else { Err(Refusal::Busy) };
            }
            State::Armed { arm: other, until, .. }
                if other.id.asker != arm.id.asker && !now.has_reached(until) =>
            {
                return Err(Refusal::Busy);
            }
            State::Armed { .. } | State::Idle => {}
        }
        allows(arm)?;
        if self.ended.is_some_and(|ended| now.since(ended) < self.distance) {
            return Err(Refusal::TooSoon);
        }
        self.state = State::Armed { arm: *arm, nonce, until: now + ARMED_FOR };
        Ok(Outcome::Armed { nonce })
    }

    /// Takes in the second step. From here on [`line`](Self::line) says which line to drive.
    pub fn handle_fire(
        &mut self,
        fire: &Fire,
        allows: impl Fn(&Arm) -> Result<(), Refusal>,
        now: Instant,
    ) -> Answer {
        let outcome = self.fire(fire, allows, now).unwrap_or_else(Outcome::Refused);
        Answer { id: fire.id, outcome }
    }

    fn fire(
        &mut self,
        fire: &Fire,
        allows: impl Fn(&Arm) -> Result<(), Refusal>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        let is_it = |arm: &Arm, nonce: u64| arm.id == fire.id && nonce == fire.nonce;
        if let Some((_, _, outcome)) = self.last.filter(|(arm, nonce, _)| is_it(arm, *nonce)) {
            return Ok(outcome);
        }
        match self.state {
            State::Pulsing { arm, nonce, .. } if is_it(&arm, nonce) => Ok(Outcome::Pulsing),
            State::Armed { arm, nonce, until } if is_it(&arm, nonce) && !now.has_reached(until) => {
                self.state = State::Idle;
                allows(&arm)?;
                let until = now + self.pulse;
                self.state = State::Pulsing { arm, nonce, until, followed: true };
                Ok(Outcome::Pulsing)
            }
            State::Pulsing { .. } => Err(Refusal::Busy),
            State::Armed { .. } | State::Idle => Err(Refusal::NotArmed),
        }
    }

    /// Takes note of what the line that is driven reads as, and ends the pulse when it is time.
    /// Returns the answer that its asker waits for.
    pub fn handle_timeout(&mut self, follows: bool, now: Instant) -> Option<Answer> {
        match &mut self.state {
            State::Pulsing { arm, nonce, until, followed } => {
                *followed &= follows;
                if !now.has_reached(*until) {
                    return None;
                }
                let outcome =
                    if *followed { Outcome::Done } else { Outcome::Refused(Refusal::LineStuck) };
                let answer = Answer { id: arm.id, outcome };
                self.last = Some((*arm, *nonce, outcome));
                self.ended = Some(now);
                self.state = State::Idle;
                Some(answer)
            }
            State::Armed { until, .. } if now.has_reached(*until) => {
                self.state = State::Idle;
                None
            }
            State::Armed { .. } | State::Idle => None,
        }
    }

    /// Returns whose reset line is to be active.
    #[must_use]
    pub const fn line(&self) -> Option<NodeId> {
        match self.state {
            State::Pulsing { arm, .. } => Some(arm.target),
            State::Armed { .. } | State::Idle => None,
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pulsing { until, .. } | State::Armed { until, .. } => Some(until),
            State::Idle => None,
        }
    }
}

/// The server's side of one reset: repeats each step until it is answered, and begins anew when it
/// is refused, until the reset is done or no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    arm: Arm,
    nonce: Option<u64>,
    outcome: Option<Outcome>,
    every: Duration,
    next: Instant,
}

/// What an [`Asker`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The first step.
    Arm(Arm),
    /// The second step.
    Fire(Fire),
}

impl Asker {
    /// Begins to ask for `arm`, and repeats what is not answered `every` so often.
    #[must_use]
    pub const fn new(arm: Arm, every: Duration, now: Instant) -> Self {
        Self { arm, nonce: None, outcome: None, every, next: now }
    }

    /// Returns what to send, if anything is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Step> {
        if self.is_done() || !now.has_reached(self.next) {
            return None;
        }
        self.next = now + self.every;
        let id = self.arm.id;
        Some(self.nonce.map_or(Step::Arm(self.arm), |nonce| Step::Fire(Fire { id, nonce })))
    }

    /// Takes in an answer whose tag was right, and returns whether it was meant for this request.
    pub fn handle_answer(&mut self, answer: &Answer, now: Instant) -> bool {
        if answer.id != self.arm.id || self.is_done() {
            return false;
        }
        match answer.outcome {
            Outcome::Armed { nonce } => {
                if self.nonce != Some(nonce) {
                    self.next = now;
                }
                self.nonce = Some(nonce);
            }
            Outcome::Pulsing | Outcome::Done => {}
            Outcome::Refused(_) => {
                // The next attempt is another request, so that no late answer to this one counts.
                self.nonce = None;
                self.arm.id.number = self.arm.id.number.saturating_add(1);
                self.next = now + self.every;
            }
        }
        self.outcome = Some(answer.outcome);
        true
    }

    /// Returns whether the target has been reset.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Done))
    }

    /// Returns what was last heard of the request; `None` if nothing.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Returns the request as it is asked at present.
    #[must_use]
    pub const fn arm(&self) -> &Arm {
        &self.arm
    }

    /// Returns when there is next something to send; `None` when the reset is done.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        if self.is_done() { None } else { Some(self.next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULSE: Duration = Duration::from_millis(500);
    const DISTANCE: Duration = Duration::from_millis(10_000);
    const EVERY: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn arm(asker: u8, target: u8) -> Arm {
        let id = RequestId { asker: NodeId::new(asker).unwrap(), boot: BootId::new(7), number: 1 };
        Arm {
            id,
            group: GroupId::new(0).unwrap(),
            token: Token(5),
            target: NodeId::new(target).unwrap(),
            target_boot: Some(BootId::new(9)),
        }
    }

    fn dongle() -> Resetter {
        Resetter::new(PULSE, DISTANCE, at(0))
    }

    fn nonce(answer: &Answer) -> u64 {
        match answer.outcome {
            Outcome::Armed { nonce } => nonce,
            other => panic!("{other:?}"),
        }
    }

    fn allowed(_: &Arm) -> Result<(), Refusal> {
        Ok(())
    }

    #[test]
    fn two_steps_make_one_pulse_and_repeating_them_makes_no_other() {
        let mut dongle = dongle();
        let request = arm(0, 1);
        let armed = dongle.handle_arm(&request, allowed, 42, at(10_000));
        assert_eq!(dongle.line(), None, "the first step moves nothing");
        let fire = Fire { id: request.id, nonce: nonce(&armed) };
        assert_eq!(dongle.handle_fire(&fire, allowed, at(10_010)).outcome, Outcome::Pulsing);
        assert_eq!(dongle.line(), NodeId::new(1));
        assert_eq!(dongle.handle_timeout(true, at(10_509)), None);
        let done = dongle.handle_timeout(true, at(10_510)).unwrap();
        assert_eq!((done.id, done.outcome, dongle.line()), (request.id, Outcome::Done, None));
        for millis in [10_600, 30_000] {
            let again = dongle.handle_fire(&fire, allowed, at(millis));
            assert_eq!(again.outcome, Outcome::Done);
            let again = dongle.handle_arm(&request, allowed, 43, at(millis));
            assert_eq!((again.outcome, dongle.line()), (Outcome::Done, None), "recorded requests");
        }
    }

    #[test]
    fn of_two_at_once_one_is_served_and_the_other_waits_for_the_distance() {
        let mut dongle = dongle();
        let (first, second) = (arm(0, 1), arm(1, 0));
        let armed = dongle.handle_arm(&first, allowed, 1, at(20_000));
        let refused = dongle.handle_arm(&second, allowed, 2, at(20_000));
        assert_eq!(refused.outcome, Outcome::Refused(Refusal::Busy));
        let fire = Fire { id: first.id, nonce: nonce(&armed) };
        dongle.handle_fire(&fire, allowed, at(20_001));
        let during = dongle.handle_arm(&second, allowed, 3, at(20_100));
        assert_eq!(during.outcome, Outcome::Refused(Refusal::Busy));
        dongle.handle_timeout(true, at(20_501)).unwrap();
        let soon = dongle.handle_arm(&second, allowed, 4, at(30_500));
        assert_eq!(soon.outcome, Outcome::Refused(Refusal::TooSoon));
        nonce(&dongle.handle_arm(&second, allowed, 5, at(30_501)));
    }

    #[test]
    fn a_made_up_late_or_used_number_moves_nothing() {
        let mut dongle = dongle();
        let request = arm(0, 1);
        let armed = nonce(&dongle.handle_arm(&request, allowed, 42, at(10_000)));
        for (id, nonce, millis) in [
            (request.id, armed + 1, 10_001),
            (RequestId { number: 2, ..request.id }, armed, 10_001),
            (request.id, armed, 12_000),
        ] {
            let answer = dongle.handle_fire(&Fire { id, nonce }, allowed, at(millis));
            assert_eq!(answer.outcome, Outcome::Refused(Refusal::NotArmed));
            assert_eq!(dongle.line(), None);
        }
    }

    #[test]
    fn what_the_dongle_knows_counts_at_both_steps() {
        let mut dongle = dongle();
        let request = arm(0, 1);
        let refuses = |_: &Arm| Err(Refusal::Alive);
        let answer = dongle.handle_arm(&request, refuses, 1, at(10_000));
        assert_eq!(answer.outcome, Outcome::Refused(Refusal::Alive));
        let armed = nonce(&dongle.handle_arm(&request, allowed, 2, at(10_000)));
        let fire = Fire { id: request.id, nonce: armed };
        let answer = dongle.handle_fire(&fire, refuses, at(10_100));
        assert_eq!(answer.outcome, Outcome::Refused(Refusal::Alive), "it came back in between");
        let answer = dongle.handle_fire(&fire, allowed, at(10_200));
        assert_eq!(answer.outcome, Outcome::Refused(Refusal::NotArmed), "and the number is spent");
    }

    #[test]
    fn a_line_that_does_not_follow_is_no_reset() {
        let mut dongle = dongle();
        let request = arm(0, 1);
        let armed = nonce(&dongle.handle_arm(&request, allowed, 2, at(10_000)));
        dongle.handle_fire(&Fire { id: request.id, nonce: armed }, allowed, at(10_000));
        assert_eq!(dongle.handle_timeout(false, at(10_100)), None);
        let answer = dongle.handle_timeout(true, at(10_500)).unwrap();
        assert_eq!(answer.outcome, Outcome::Refused(Refusal::LineStuck));
    }

    #[test]
    fn nothing_is_reset_right_after_a_start() {
        let answer = dongle().handle_arm(&arm(0, 1), allowed, 1, at(9_999));
        assert_eq!(answer.outcome, Outcome::Refused(Refusal::TooSoon));
    }

    /// Every second message is lost, in both directions.
    #[test]
    fn an_asker_gets_through_a_line_that_loses_much() {
        let mut dongle = dongle();
        let mut asker = Asker::new(arm(0, 1), EVERY, at(10_000));
        let (mut pulses, mut was_active, mut sent) = (0, false, 0);
        for millis in 10_000..14_000 {
            let mut answer = dongle.handle_timeout(true, at(millis));
            if let Some(step) = asker.poll_transmit(at(millis)) {
                sent += 1;
                if sent % 2 == 0 {
                    answer = Some(match step {
                        Step::Arm(arm) => dongle.handle_arm(&arm, allowed, millis, at(millis)),
                        Step::Fire(fire) => dongle.handle_fire(&fire, allowed, at(millis)),
                    });
                }
            }
            if let Some(answer) = answer.filter(|_| sent % 4 != 2) {
                asker.handle_answer(&answer, at(millis));
            }
            pulses += u32::from(dongle.line().is_some() && !was_active);
            was_active = dongle.line().is_some();
        }
        assert!(asker.is_done());
        assert_eq!((pulses, asker.poll_timeout()), (1, None));
    }

    #[test]
    fn a_refused_asker_begins_another_request_and_ignores_answers_to_the_old_one() {
        let request = arm(0, 1);
        let mut asker = Asker::new(request, EVERY, at(0));
        assert_eq!(asker.poll_transmit(at(0)), Some(Step::Arm(request)));
        let refused = Answer { id: request.id, outcome: Outcome::Refused(Refusal::Busy) };
        assert!(asker.handle_answer(&refused, at(1)));
        assert_eq!(asker.poll_transmit(at(50)), None);
        let done = Answer { id: request.id, outcome: Outcome::Done };
        assert!(!asker.handle_answer(&done, at(60)), "of a request that was given up");
        let Some(Step::Arm(next)) = asker.poll_transmit(at(101)) else { panic!("asks again") };
        assert_eq!(next.id.number, 2);
    }
}
