//! Fencing by agents: level after level, until it is certain that one start of a server is silent.
//!
//! A server may have several means, each of a level. They are tried level after level; what has
//! the same level acts together, and all of it must have worked. A [`Pursuit`] says what to ask of
//! whom next, and is told how that ended. It believes
//!
//! - an agent that was asked to switch the server off, if it says that this was done, and, where it
//!   can tell, says afterwards that the server is off;
//! - an agent that was asked to reboot the server, if it says that this was done.
//!
//! Of several power supplies each is switched off and all are asked, before any is switched on
//! again. What fails or does not end in time makes way for the next level, and after the last level
//! and a pause the first comes again, for as long as somebody waits for it.

use heapless::Vec;

use crate::engine::Condition;
use crate::node::{BootId, NodeId};
use crate::time::{Duration, Instant};

/// The most means that a server has.
pub const MAX_MEANS: usize = 8;
/// How long the last level's failure is slept over before the first comes again.
pub const PAUSE: Duration = Duration::from_millis(5000);

/// A way to make certain that a server is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Means {
    /// How.
    pub manner: Manner,
    /// Its place in the order. Means of the same level act together.
    pub level: u8,
    /// How long it may take.
    pub limit: Duration,
    /// Whether it can say if the server has power.
    pub tells: bool,
}

/// How a server is made silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manner {
    /// It is switched off, and stays off.
    Off,
    /// It is switched off and on again, or reset.
    Reboot,
    /// A dongle pulls its reset line, which is asked for elsewhere ([`crate::reset`]).
    Line,
}

/// What an agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// To switch the server off.
    Off,
    /// To switch it off and on again, or to reset it.
    Reboot,
    /// To say whether it has power.
    Status,
    /// To switch it on.
    On,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The agent says that it has done what it was asked.
    Done,
    /// The agent says that the server is off.
    IsOff,
    /// The agent says that the server is on.
    IsOn,
    /// It has failed, or did not end in time, or its end is not known.
    Failed,
}

/// Something to ask of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The place of the means among those of the server.
    pub means: u8,
    /// What it is asked.
    pub deed: Deed,
    /// How long that may take.
    pub limit: Duration,
}

/// How far a pursuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The next step can be taken.
    Ready,
    /// This was asked at this moment, and has not ended.
    Running(Order, Instant),
    /// A dongle is asked to pull the reset line, up to this moment if there are other means.
    Line(Option<Instant>),
    /// Every level has failed; the first comes again at this moment.
    Resting(Instant),
    /// The start that is pursued is silent for certain.
    Done,
}

/// The fencing of one start of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pursuit {
    target: NodeId,
    boot: Option<BootId>,
    means: Vec<Means, MAX_MEANS>,
    level: u8,
    /// Which step of the level comes next.
    step: u8,
    stage: Stage,
    /// What each means has taken in this round.
    spent: [Duration; MAX_MEANS],
    rounds: u32,
}

impl Pursuit {
    /// Begins to pursue `target` in its start `boot`, or, if none is known, in whatever start it
    /// may have been. Means beyond [`MAX_MEANS`] are not used.
    #[must_use]
    pub fn new(target: NodeId, boot: Option<BootId>, means: impl Iterator<Item = Means>) -> Self {
        let means: Vec<Means, MAX_MEANS> = means.take(MAX_MEANS).collect();
        let level = means.iter().map(|means| means.level).min().unwrap_or_default();
        let spent = [Duration::ZERO; MAX_MEANS];
        Self { target, boot, means, level, step: 0, stage: Stage::Ready, spent, rounds: 0 }
    }

    /// Returns who is pursued.
    #[must_use]
    pub const fn target(&self) -> NodeId {
        self.target
    }

    /// Returns in which start; `None` if none is known.
    #[must_use]
    pub const fn boot(&self) -> Option<BootId> {
        self.boot
    }

    /// Returns how far it is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns how often every level has failed.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Returns whether the server has any means at all.
    #[must_use]
    pub fn has_means(&self) -> bool {
        !self.means.is_empty()
    }

    /// Returns what to ask of an agent, if anything is due. While nobody `is_waiting`, nothing is
    /// begun; what runs goes on.
    pub fn poll_order(&mut self, is_waiting: bool, now: Instant) -> Option<Order> {
        if !is_waiting || !self.has_means() {
            if let Stage::Line(_) = self.stage {
                self.stage = Stage::Ready;
            }
            return None;
        }
        match self.stage {
            Stage::Resting(until) if now.has_reached(until) => self.stage = Stage::Ready,
            Stage::Line(Some(until)) if now.has_reached(until) => self.fail(now),
            _ => {}
        }
        if self.stage != Stage::Ready {
            return None;
        }
        let (at, deed) = self.next_step()?;
        let means = *self.means.get(usize::from(at))?;
        if means.manner == Manner::Line {
            let is_alone = self.means.iter().all(|other| other.level == means.level);
            self.stage = Stage::Line((!is_alone).then(|| now + means.limit));
            return None;
        }
        let spent = self.spent.get(usize::from(at)).copied().unwrap_or_default();
        let limit = means.limit.checked_sub(spent).unwrap_or_default();
        let order = Order { means: at, deed, limit };
        self.stage = Stage::Running(order, now);
        Some(order)
    }

    /// Takes in what came of the order that runs.
    pub fn handle_answer(&mut self, answer: Answer, now: Instant) {
        let Stage::Running(order, since) = self.stage else { return };
        if let Some(spent) = self.spent.get_mut(usize::from(order.means)) {
            *spent = *spent + now.since(since);
        }
        let is_believed = match order.deed {
            Deed::Off | Deed::Reboot | Deed::On => answer == Answer::Done,
            Deed::Status => answer == Answer::IsOff,
        };
        if !is_believed {
            return self.fail(now);
        }
        self.step = self.step.saturating_add(1);
        self.stage = if self.next_step().is_some() { Stage::Ready } else { Stage::Done };
    }

    /// Takes note that an order could not be handed over; it is given again.
    pub fn handle_not_begun(&mut self) {
        if let Stage::Running(..) = self.stage {
            self.stage = Stage::Ready;
        }
    }

    /// Takes note that the reset line was pulled, or that it never will be.
    pub fn handle_line(&mut self, is_pulled: bool, now: Instant) {
        match self.stage {
            _ if is_pulled => self.stage = Stage::Done,
            Stage::Line(Some(_)) => self.fail(now),
            _ => {}
        }
    }

    /// Returns whose start is silent for certain: if it is, and if that start is still the one to
    /// fence, for all that is known of it. What was done to a start that has been followed by
    /// another says nothing of the other.
    #[must_use]
    pub fn proof(&self, condition: Condition) -> Option<(NodeId, Option<BootId>)> {
        let is_same = condition.start_to_fence() == Some(self.boot);
        (self.stage == Stage::Done && is_same).then_some((self.target, self.boot))
    }

    /// Returns which means were only switched off and are to be switched on again, once all is
    /// done.
    pub fn to_switch_on(&self) -> impl Iterator<Item = u8> {
        let together = self.of_level().count() > 1;
        let is_done = self.stage == Stage::Done;
        let reboots = self.of_level().filter(|(_, means)| means.manner == Manner::Reboot);
        reboots.filter(move |_| together && is_done).map(|(at, _)| at)
    }

    /// Returns when [`poll_order`](Self::poll_order) has something to do by itself.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Resting(until) => Some(until),
            Stage::Line(until) => until,
            Stage::Ready | Stage::Running(..) | Stage::Done => None,
        }
    }

    fn fail(&mut self, now: Instant) {
        self.step = 0;
        let later = self.means.iter().map(|means| means.level).filter(|level| *level > self.level);
        if let Some(next) = later.min() {
            self.level = next;
            self.stage = Stage::Ready;
            return;
        }
        self.level = self.means.iter().map(|means| means.level).min().unwrap_or_default();
        self.spent = [Duration::ZERO; MAX_MEANS];
        self.rounds = self.rounds.saturating_add(1);
        self.stage = Stage::Resting(now + PAUSE);
    }

    /// Returns the means of the present level with their places.
    fn of_level(&self) -> impl Iterator<Item = (u8, &Means)> {
        (0..).zip(&self.means).filter(|(_, means)| means.level == self.level)
    }

    /// Returns the step of the present level that comes next, or `None` after the last.
    fn next_step(&self) -> Option<(u8, Deed)> {
        let together = self.of_level().count() > 1;
        let stays_off = move |means: &Means| together || means.manner == Manner::Off;
        let deeds = self
            .of_level()
            .map(move |(at, means)| (at, if stays_off(means) { Deed::Off } else { Deed::Reboot }));
        let proofs = self
            .of_level()
            .filter(move |(_, means)| means.tells && stays_off(means))
            .map(|(at, _)| (at, Deed::Status));
        deeds.chain(proofs).nth(usize::from(self.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(60_000);

    fn means(manner: Manner, level: u8) -> Means {
        Means { manner, level, limit: LIMIT, tells: true }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis.saturating_mul(1000))
    }

    fn pursuit(means: &[Means]) -> Pursuit {
        let target = NodeId::new(1).expect("a node");
        Pursuit::new(target, Some(BootId::new(7)), means.iter().copied())
    }

    /// Asks for the next order and answers it, which must be `expected`.
    fn step(pursuit: &mut Pursuit, expected: (u8, Deed), answer: Answer, now: Instant) {
        let order = pursuit.poll_order(true, now).expect("an order");
        assert_eq!((order.means, order.deed), expected);
        assert_eq!(pursuit.poll_order(true, now), None, "one at a time");
        pursuit.handle_answer(answer, now);
    }

    fn lost(boot: u64) -> Condition {
        Condition::Lost(BootId::new(boot))
    }

    #[test]
    fn off_is_believed_when_status_says_off() {
        let mut one = pursuit(&[means(Manner::Off, 1)]);
        step(&mut one, (0, Deed::Off), Answer::Done, at(0));
        assert_eq!(one.proof(lost(7)), None, "not before it was asked");
        step(&mut one, (0, Deed::Status), Answer::IsOff, at(1));
        assert_eq!(one.proof(lost(7)), Some((one.target(), Some(BootId::new(7)))));
        assert_eq!(one.to_switch_on().count(), 0);
    }

    #[test]
    fn nothing_but_the_right_answer_is_believed() {
        for answer in [Answer::IsOn, Answer::Failed, Answer::Done] {
            let mut one = pursuit(&[means(Manner::Off, 1)]);
            step(&mut one, (0, Deed::Off), Answer::Done, at(0));
            step(&mut one, (0, Deed::Status), answer, at(1));
            assert_eq!(one.stage(), Stage::Resting(at(1) + PAUSE), "{answer:?}");
        }
        for answer in [Answer::IsOn, Answer::Failed, Answer::IsOff] {
            for (manner, deed) in [(Manner::Off, Deed::Off), (Manner::Reboot, Deed::Reboot)] {
                let mut one = pursuit(&[means(manner, 1)]);
                step(&mut one, (0, deed), answer, at(0));
                assert_eq!(one.proof(lost(7)), None, "{answer:?} to {deed:?}");
            }
        }
    }

    #[test]
    fn a_reboot_and_an_agent_that_cannot_tell_are_believed_by_their_word() {
        let mut reboots = pursuit(&[means(Manner::Reboot, 1)]);
        step(&mut reboots, (0, Deed::Reboot), Answer::Done, at(0));
        assert!(reboots.proof(lost(7)).is_some());
        let mut mute = pursuit(&[Means { tells: false, ..means(Manner::Off, 1) }]);
        step(&mut mute, (0, Deed::Off), Answer::Done, at(0));
        assert!(mute.proof(lost(7)).is_some());
    }

    #[test]
    fn levels_come_in_order_and_again_after_a_pause_without_end() {
        let mut two = pursuit(&[means(Manner::Reboot, 5), means(Manner::Off, 2)]);
        for round in 0..3_u32 {
            let now = at(10_000 * u64::from(round));
            assert_eq!(two.rounds(), round);
            step(&mut two, (1, Deed::Off), Answer::Failed, now);
            step(&mut two, (0, Deed::Reboot), Answer::Failed, now);
            assert_eq!(two.poll_timeout(), Some(now + PAUSE));
            assert_eq!(two.poll_order(true, now + Duration::from_millis(4999)), None);
        }
        step(&mut two, (1, Deed::Off), Answer::Failed, at(30_000));
        step(&mut two, (0, Deed::Reboot), Answer::Done, at(30_000));
        assert!(two.proof(lost(7)).is_some());
    }

    #[test]
    fn two_power_supplies_are_both_off_before_either_is_on_again() {
        let supplies = [means(Manner::Reboot, 1), means(Manner::Reboot, 1)];
        let mut both = pursuit(&supplies);
        step(&mut both, (0, Deed::Off), Answer::Done, at(0));
        step(&mut both, (1, Deed::Off), Answer::Done, at(1));
        step(&mut both, (0, Deed::Status), Answer::IsOff, at(2));
        assert_eq!(both.proof(lost(7)), None, "one of two");
        assert_eq!(both.to_switch_on().count(), 0);
        step(&mut both, (1, Deed::Status), Answer::IsOff, at(3));
        assert!(both.proof(lost(7)).is_some());
        assert!(both.to_switch_on().eq([0, 1]));
        let mut one = pursuit(&supplies);
        step(&mut one, (0, Deed::Off), Answer::Done, at(0));
        step(&mut one, (1, Deed::Off), Answer::Failed, at(1));
        assert!(matches!(one.stage(), Stage::Resting(_)), "one of two is nothing");
    }

    #[test]
    fn what_was_done_to_a_start_says_nothing_of_another() {
        let mut one = pursuit(&[means(Manner::Reboot, 1)]);
        step(&mut one, (0, Deed::Reboot), Answer::Done, at(0));
        for condition in [
            lost(8),
            Condition::Alive(BootId::new(8)),
            Condition::Left(BootId::new(7)),
            Condition::Unmet,
        ] {
            assert_eq!(one.proof(condition), None, "{condition:?}");
        }
        assert!(one.proof(lost(7)).is_some());
    }

    #[test]
    fn nothing_is_begun_for_nobody_and_what_runs_goes_on() {
        let mut one = pursuit(&[means(Manner::Off, 1)]);
        assert_eq!(one.poll_order(false, at(0)), None);
        assert!(one.poll_order(true, at(1)).is_some());
        assert_eq!(one.poll_order(false, at(2)), None);
        one.handle_answer(Answer::Done, at(3));
        assert_eq!(one.poll_order(false, at(4)), None, "not even the question");
        assert_eq!(one.poll_order(true, at(5)).map(|order| order.deed), Some(Deed::Status));
    }

    #[test]
    fn the_question_has_what_the_deed_has_left_of_the_limit() {
        let mut one = pursuit(&[means(Manner::Off, 1)]);
        assert_eq!(one.poll_order(true, at(0)).map(|order| order.limit), Some(LIMIT));
        one.handle_answer(Answer::Done, at(59_000));
        let left = one.poll_order(true, at(59_500)).map(|order| order.limit);
        assert_eq!(left, Some(Duration::from_millis(1000)));
        one.handle_not_begun();
        assert!(one.poll_order(true, at(59_600)).is_some(), "it is given again");
    }

    #[test]
    fn a_reset_line_has_its_place_in_the_order() {
        let line = Means { limit: Duration::from_millis(15_000), ..means(Manner::Line, 0) };
        let mut mixed = pursuit(&[line, means(Manner::Reboot, 1)]);
        assert_eq!(mixed.poll_order(true, at(0)), None);
        assert_eq!(mixed.stage(), Stage::Line(Some(at(15_000))));
        assert_eq!(mixed.poll_order(false, at(10)), None);
        assert_eq!(mixed.stage(), Stage::Ready, "its time begins when somebody waits");
        assert_eq!(mixed.poll_order(true, at(20)), None);
        step(&mut mixed, (1, Deed::Reboot), Answer::Failed, at(15_020));
        assert_eq!(mixed.poll_order(true, at(20_020)), None);
        mixed.handle_line(true, at(20_030));
        assert!(mixed.proof(lost(7)).is_some());
        let mut alone = pursuit(&[line]);
        assert_eq!(alone.poll_order(true, at(0)), None);
        assert_eq!(alone.stage(), Stage::Line(None), "there is nothing else to try");
        alone.handle_line(false, at(1));
        assert_eq!(alone.stage(), Stage::Line(None));
    }

    #[test]
    fn without_means_nothing_is_ever_done() {
        let mut none = pursuit(&[]);
        assert_eq!(none.poll_order(true, at(0)), None);
        assert_eq!((none.stage(), none.proof(lost(7))), (Stage::Ready, None));
    }
}
