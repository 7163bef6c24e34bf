//! Reset lines: dead servers are reset by a dongle before a `fence` group starts elsewhere.
//!
//! When its turn comes among the means against a server, a dongle with a reset line to it is asked
//! in two steps ([`lifesign_core::reset`]) for as long as the group's claim lasts. Only its word
//! that the pulse was seen on the line frees the group.

use lifesign_core::dongle::Request;
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::reset::{Answer, Arm, Asker, Outcome, Refusal, RequestId, Step};
use lifesign_core::time::{Duration, Instant};

use super::Daemon;
use super::pursuits::{MUST_BE_FENCED, NOT_FENCED_BY, NOT_RESET, boot_text, is_claiming};
use crate::agent::fence::{fences_of, means_against};
use crate::link::State;
use crate::link::serial::line_time;
use crate::report::FenceReport;

/// The resets that this node asks for.
#[derive(Debug)]
pub(super) struct Fencing {
    boot: BootId,
    /// The number of the next request of this start.
    number: u32,
    wishes: Vec<Wish>,
}

/// Somebody to be reset for a claim.
#[derive(Clone, Debug)]
struct Wish {
    link: LinkId,
    asker: Asker,
    every: Duration,
    /// The number after the last that its requests may have.
    last: u32,
    /// When it began, or the dongle last answered it.
    since: Instant,
    /// What was last told of it.
    told: Option<Told>,
    /// Its claim lacks more than this reset, so nothing is asked for.
    rests: bool,
}

/// What is told of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The dongle does not answer.
    Silent,
    /// It has said this.
    Said(Outcome),
}

/// News of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) link: LinkId,
    pub(super) arm: Arm,
    pub(super) told: Told,
}

/// So many times a step is repeated before the dongle counts as silent.
const SILENT_AFTER: u64 = 5;

impl Fencing {
    /// Begins without a wish in the start `boot`.
    pub(super) const fn new(boot: BootId) -> Self {
        Self { boot, number: 1, wishes: Vec::new() }
    }

    /// Begins to ask over `link` that `target` be reset in its start `target_boot`, and repeats
    /// what is not answered `every` so often.
    pub(super) fn begin(
        &mut self,
        link: LinkId,
        (asker, group, token): (NodeId, GroupId, Token),
        (target, target_boot): (NodeId, Option<BootId>),
        every: Duration,
        now: Instant,
    ) {
        let is_same = |wish: &Wish| {
            let arm = wish.asker.arm();
            (arm.group, arm.token, arm.target, arm.target_boot)
                == (group, token, target, target_boot)
        };
        // A claim that has lost its quorum for a moment still waits for the same pulse.
        if self.wishes.iter().any(is_same) {
            return;
        }
        let number = self.take_numbers();
        let id = RequestId { asker, boot: self.boot, number };
        let arm = Arm { id, group, token, target, target_boot };
        let asker = Asker::new(arm, every, now);
        self.wishes.push(Wish {
            link,
            asker,
            every,
            last: number + ATTEMPTS,
            since: now,
            told: None,
            rests: false,
        });
    }

    /// Returns the first of [`ATTEMPTS`] numbers that nobody else uses.
    const fn take_numbers(&mut self) -> u32 {
        let first = self.number;
        // After four thousand million requests a dongle takes them for repetitions.
        self.number = self.number.saturating_add(ATTEMPTS);
        first
    }

    /// Forgets every wish that is not `wanted` any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Arm) -> bool) {
        self.wishes.retain(|wish| wanted(wish.asker.arm()));
    }

    /// Lets wishes rest whose claim lacks more than the reset, until it does not any more.
    pub(super) fn let_rest(&mut self, may_ask: impl Fn(&Arm) -> bool, now: Instant) {
        for wish in &mut self.wishes {
            wish.rests = !may_ask(wish.asker.arm());
            if wish.rests {
                wish.since = now;
            }
        }
    }

    /// Returns what to say to a dongle, and over which link. Of several groups that wait for the
    /// same server, one asks.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<(LinkId, Request)> {
        for at in 0..self.wishes.len() {
            if !self.is_first(at) {
                continue;
            }
            let wish = self.wishes.get_mut(at)?;
            if let Some(step) = wish.asker.poll_transmit(now) {
                let request = match step {
                    Step::Arm(arm) => Request::Arm(arm),
                    Step::Fire(fire) => Request::Fire(fire),
                };
                return Some((wish.link, request));
            }
        }
        None
    }

    /// Takes in an answer whose tag was right, and returns whose start is silent for certain.
    pub(super) fn handle_answer(
        &mut self,
        answer: &Answer,
        now: Instant,
    ) -> Option<(NodeId, Option<BootId>)> {
        let wish = self.wishes.iter_mut().find(|wish| wish.asker.arm().id == answer.id)?;
        wish.since = now;
        let is_for_it = wish.asker.handle_answer(answer, now);
        let mut arm = *wish.asker.arm();
        if arm.id.number >= wish.last {
            // It was refused so often that its numbers are used up.
            arm.id.number = self.number;
            self.number = self.number.saturating_add(ATTEMPTS);
            wish.last = self.number;
            wish.asker = Asker::new(arm, wish.every, now + wish.every);
        }
        (is_for_it && wish.asker.is_done()).then_some((arm.target, arm.target_boot))
    }

    /// Returns something to tell people, each once.
    pub(super) fn poll_news(&mut self, patience: Duration, now: Instant) -> Option<News> {
        self.wishes.iter_mut().find_map(|wish| {
            let is_silent = !wish.asker.is_done() && now.since(wish.since) >= patience;
            let said = wish.asker.outcome().map(Told::Said);
            let told = if is_silent { Some(Told::Silent) } else { said };
            let is_news = told.is_some() && told != wish.told;
            wish.told = told.or(wish.told);
            let news = News { link: wish.link, arm: *wish.asker.arm(), told: told? };
            is_news.then_some(news)
        })
    }

    /// Returns when there is next something to send.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let firsts = (0..self.wishes.len()).filter(|at| self.is_first(*at));
        firsts.filter_map(|at| self.wishes.get(at)?.asker.poll_timeout()).min()
    }

    /// Returns whether this wish may ask, and no earlier one that may is for the same server.
    fn is_first(&self, at: usize) -> bool {
        let target = |wish: &Wish| (!wish.rests).then(|| wish.asker.arm().target);
        let Some(own) = self.wishes.get(at).and_then(target) else { return false };
        self.wishes.iter().take(at).all(|wish| target(wish) != Some(own))
    }
}

/// How many numbers for its requests a wish takes at once.
const ATTEMPTS: u32 = 1024;

impl Daemon {
    /// Has a server reset by the dongle that has a line to it, when its turn comes.
    pub(super) fn ask_dongle(
        &mut self,
        group: GroupId,
        token: Token,
        (node, boot): (NodeId, Option<BootId>),
        now: Instant,
    ) {
        let Some(link) = self.reset_line(node) else { return };
        let (name, target) = (self.group_name(group.index()), self.settings.name_of(node));
        let every = self.fence_interval(link);
        self.fencing.begin(link, (self.me, group, token), (node, boot), every, now);
        if fences_of(&self.settings, node).is_empty() {
            self.decided(format!(
                "{name}: asks the dongle to reset {target}, which could be holding it"
            ));
        }
    }

    /// Returns the link whose dongle has a reset line to `node`, one that is up first.
    fn reset_line(&self, node: NodeId) -> Option<LinkId> {
        let has = |link: &LinkId| {
            let serial = self.settings.links.get(link.index()).and_then(|link| link.serial());
            serial.is_some_and(|serial| serial.resets.contains(node))
        };
        let links = || self.settings.links().map(|(id, _)| id).filter(has);
        let is_up = |link: &LinkId| {
            self.links.get(link.index()).is_some_and(|link| link.state() == State::Up)
        };
        links().find(is_up).or_else(|| links().next())
    }

    /// Returns how often a step is repeated over `link`: not before its answer can be there.
    fn fence_interval(&self, link: LinkId) -> Duration {
        let serial = self.settings.links.get(link.index()).and_then(|link| link.serial());
        let way = serial.map(|serial| line_time(STEP_LEN, serial.speed)).unwrap_or_default();
        self.settings.timing.heartbeat.times(2).max(way.times(4)).max(LEAST_INTERVAL)
    }

    /// Goes on with the resets that are wanted, and tells what has become of them.
    pub(super) fn go_on_with_lines(&mut self, now: Instant) {
        let engine = &self.engine;
        self.fencing.keep(|arm| {
            is_claiming(engine, arm.group, arm.token)
                && engine.condition(arm.target).start_to_fence() == Some(arm.target_boot)
        });
        let wished = self.fencing.wishes.iter().map(|wish| *wish.asker.arm());
        let turns: Vec<Arm> = wished
            .filter(|arm| {
                self.is_at_line(arm.target, arm.target_boot)
                    && self.engine.waits_for_fence(arm.group, arm.token, arm.target)
            })
            .collect();
        self.fencing.let_rest(|arm| turns.contains(arm), now);
        while let Some((link, request)) = self.fencing.poll_transmit(now) {
            self.ask_sealed(link, &request, now);
        }
        let patience = self.settings.links().map(|(id, _)| self.fence_interval(id)).max();
        let patience = patience.unwrap_or_default().times(SILENT_AFTER);
        while let Some(news) = self.fencing.poll_news(patience, now) {
            self.tell_reset(&news, now);
        }
    }

    /// Takes in a dongle's answer to a step.
    pub(super) fn handle_reset(&mut self, answer: &Answer, now: Instant) {
        let fenced = self.fencing.handle_answer(answer, now);
        let patience = Duration::from_micros(u64::MAX);
        while let Some(news) = self.fencing.poll_news(patience, now) {
            self.tell_reset(&news, now);
        }
        if let Some((node, boot)) = fenced {
            self.engine.handle_fenced(node, boot, now);
        }
    }

    fn tell_reset(&mut self, news: &News, now: Instant) {
        let group = self.group_name(news.arm.group.index());
        let target = self.settings.name_of(news.arm.target);
        let dongle = self.dongle_name(news.link);
        let said = reset_text(news.told, &dongle, &target);
        let start = format!("{group}: {target}{NOT_RESET}");
        self.all_clear(&start);
        match news.told {
            Told::Silent | Told::Said(Outcome::Refused(_)) => {
                self.alert(format!("{start}: {said}"));
            }
            Told::Said(_) => self.decided(format!("{group}: {said}")),
        }
        let is_over = match news.told {
            Told::Said(Outcome::Done) => Some(true),
            // What will not be otherwise by waiting makes way for what comes next.
            Told::Said(Outcome::Refused(Refusal::NoLine | Refusal::LineStuck)) => Some(false),
            Told::Silent | Told::Said(_) => None,
        };
        if let Some(is_pulled) = is_over {
            let whom = (news.arm.target, news.arm.target_boot);
            self.handle_line(whom, news.arm.group, is_pulled, (dongle, said), now);
        }
    }

    /// Returns what is known of the fencing of `node` that `group` waits for, in a sentence.
    pub(super) fn reset_state(&self, group: GroupId, node: NodeId) -> String {
        let is_it = |wish: &&Wish| {
            let arm = wish.asker.arm();
            (arm.group, arm.target) == (group, node) && self.is_at_line(arm.target, arm.target_boot)
        };
        let target = self.settings.name_of(node);
        if let Some(wish) = self.fencing.wishes.iter().find(is_it) {
            return self.wish_text(wish);
        }
        self.pursuit_state(group, node).unwrap_or_else(|| {
            if means_against(&self.settings, node).is_empty() {
                return format!("nothing can fence {target}");
            }
            format!("{target} will be fenced")
        })
    }

    /// Forgets what was told of resets for `group`, because it does not wait for them any more.
    pub(super) fn forget_resets(&mut self, group: GroupId) {
        let name = self.group_name(group.index());
        let ours = format!("{name}: ");
        let whats = [MUST_BE_FENCED, NOT_RESET, NOT_FENCED_BY];
        let is_over =
            |text: &str| text.starts_with(&ours) && whats.iter().any(|what| text.contains(what));
        self.alerts.list.retain(|(_, text)| !is_over(text));
    }

    fn wish_text(&self, wish: &Wish) -> String {
        let target = self.settings.name_of(wish.asker.arm().target);
        let dongle = self.dongle_name(wish.link);
        match wish.told.or_else(|| wish.asker.outcome().map(Told::Said)) {
            None => format!("{dongle} is being asked to reset {target}"),
            Some(told) => reset_text(told, &dongle, &target),
        }
    }

    /// Returns what machines are told of resets.
    pub(super) fn fence_reports(&self, now: Instant) -> Vec<FenceReport> {
        let report = |wish: &Wish| {
            let arm = wish.asker.arm();
            FenceReport {
                group: self.group_name(arm.group.index()),
                node: self.settings.name_of(arm.target),
                boot: boot_text(arm.target_boot),
                by: self.dongle_name(wish.link),
                state: match wish.told {
                    None => "asked",
                    Some(Told::Silent) => "silent",
                    Some(Told::Said(Outcome::Armed { .. })) => "armed",
                    Some(Told::Said(Outcome::Pulsing)) => "fired",
                    Some(Told::Said(Outcome::Done)) => "done",
                    Some(Told::Said(Outcome::Refused(_))) => "refused",
                }
                .to_owned(),
                text: self.wish_text(wish),
                since_ms: now.since(wish.since).as_millis(),
            }
        };
        let at_line = |wish: &&Wish| {
            let arm = wish.asker.arm();
            self.is_at_line(arm.target, arm.target_boot)
        };
        let lines = self.fencing.wishes.iter().filter(at_line).map(report);
        lines.chain(self.chase_reports(now)).collect()
    }
}

/// Returns what became of a reset, in a sentence.
fn reset_text(told: Told, dongle: &str, target: &str) -> String {
    match told {
        Told::Silent => format!("{dongle} does not answer"),
        Told::Said(Outcome::Armed { .. }) => {
            format!("{dongle} has armed the reset line of {target}")
        }
        Told::Said(Outcome::Pulsing) => format!("{dongle} is resetting {target}"),
        Told::Said(Outcome::Done) => format!("{dongle} has reset {target}"),
        Told::Said(Outcome::Refused(refusal)) => format!("{dongle} refuses: {refusal}"),
    }
}

/// What a step takes on a line at most, in bytes.
const STEP_LEN: usize = 100;
/// The least time between two steps.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use lifesign_core::reset::Refusal;

    const EVERY: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn wanted(group: u8, target: u8) -> Fencing {
        let mut fencing = Fencing::new(BootId::new(7));
        begin(&mut fencing, group, target);
        fencing
    }

    fn begin(fencing: &mut Fencing, group: u8, target: u8) {
        let claim = (node(0), GroupId::new(group).unwrap(), Token(3));
        let target = (node(target), Some(BootId::new(9)));
        fencing.begin(LinkId::new(1).unwrap(), claim, target, EVERY, at(0));
    }

    fn id(request: &Request) -> RequestId {
        match request {
            Request::Arm(arm) => arm.id,
            Request::Fire(fire) => fire.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reset_is_asked_for_in_two_steps_and_told_once() {
        let mut fencing = wanted(0, 1);
        let (link, request) = fencing.poll_transmit(at(0)).unwrap();
        assert!(matches!(request, Request::Arm(_)) && link == LinkId::new(1).unwrap());
        assert_eq!(fencing.poll_transmit(at(0)), None);
        let armed = Answer { id: id(&request), outcome: Outcome::Armed { nonce: 5 } };
        assert_eq!(fencing.handle_answer(&armed, at(10)), None);
        assert_eq!(fencing.poll_news(EVERY, at(10)).unwrap().told, Told::Said(armed.outcome));
        assert_eq!(fencing.poll_news(EVERY, at(10)), None);
        let (_, request) = fencing.poll_transmit(at(10)).unwrap();
        assert!(matches!(request, Request::Fire(fire) if fire.nonce == 5));
        let done = Answer { id: id(&request), outcome: Outcome::Done };
        assert_eq!(fencing.handle_answer(&done, at(20)), Some((node(1), Some(BootId::new(9)))));
        assert_eq!(fencing.poll_timeout(), None);
    }

    #[test]
    fn a_refusal_is_told_once_and_asked_again_as_another_request() {
        let mut fencing = wanted(0, 1);
        let (_, first) = fencing.poll_transmit(at(0)).unwrap();
        let outcome = Outcome::Refused(Refusal::TooSoon);
        fencing.handle_answer(&Answer { id: id(&first), outcome }, at(1));
        assert!(fencing.poll_news(EVERY, at(1)).is_some());
        let (_, second) = fencing.poll_transmit(at(101)).unwrap();
        assert_ne!(id(&first), id(&second));
        let late = Answer { id: id(&first), outcome: Outcome::Done };
        assert_eq!(fencing.handle_answer(&late, at(102)), None, "an answer to an earlier request");
        fencing.handle_answer(&Answer { id: id(&second), outcome }, at(103));
        assert_eq!(fencing.poll_news(EVERY, at(103)), None, "the same refusal is no news");
    }

    #[test]
    fn one_of_several_groups_asks_and_the_next_goes_on() {
        let mut fencing = wanted(0, 1);
        begin(&mut fencing, 1, 1);
        begin(&mut fencing, 1, 2);
        let asked: Vec<_> = core::iter::from_fn(|| fencing.poll_transmit(at(0))).collect();
        assert_eq!(asked.len(), 2, "two servers");
        fencing.keep(|arm| arm.group != GroupId::new(0).unwrap());
        let (_, request) = fencing.poll_transmit(at(0)).unwrap();
        assert!(matches!(request, Request::Arm(arm) if arm.target == node(1)));
        assert!(!asked.iter().any(|(_, other)| id(other) == id(&request)), "numbers differ");
    }

    #[test]
    fn a_claim_that_lacks_more_than_the_reset_asks_for_nothing() {
        let mut fencing = wanted(0, 1);
        begin(&mut fencing, 1, 1);
        let first = GroupId::new(0).unwrap();
        fencing.let_rest(|_| false, at(0));
        assert_eq!(fencing.poll_transmit(at(0)), None);
        assert_eq!(fencing.poll_timeout(), None, "it does not wake up in vain");
        fencing.let_rest(|_| false, at(900));
        assert_eq!(fencing.poll_news(Duration::from_millis(500), at(900)), None, "nor complains");
        fencing.let_rest(|arm| arm.group != first, at(900));
        let (_, request) = fencing.poll_transmit(at(900)).unwrap();
        assert!(matches!(request, Request::Arm(arm) if arm.group != first), "the next one asks");
    }

    #[test]
    fn a_dongle_that_does_not_answer_is_named_once() {
        let mut fencing = wanted(0, 1);
        let patience = Duration::from_millis(500);
        assert_eq!(fencing.poll_news(patience, at(499)), None);
        assert_eq!(fencing.poll_news(patience, at(500)).unwrap().told, Told::Silent);
        assert_eq!(fencing.poll_news(patience, at(900)), None);
    }
}
