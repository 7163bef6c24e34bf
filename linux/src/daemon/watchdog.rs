//! The daemon's part in the watchdog: until when the machine is fed, and when the device counts.
//!
//! The limit is set before anything of a group is started, moved whenever the group's authority
//! is, and lifted when the group has stopped. See [`watchdog`](crate::watchdog) for why that is
//! enough.

use std::io;

use lifesign_core::group::{GroupId, Role};
use lifesign_core::node::NodeId;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::watchdog::fed_until;
use nix::unistd::Pid;

use super::Daemon;
use super::conduct::{Conduct, Progress};
use crate::log::Level;
use crate::report::{BiteReport, WatchdogReport};
use crate::settings::Settings;
use crate::watchdog::Limit;
use crate::watchdog::feeder::{self, Facts, Keeper, Plan, State};
use crate::watchdog::note::{self, Note};

/// How alerts on the watchdog begin.
const WATCHDOG: &str = "watchdog: ";
/// How long arming may take before a start that waits for it has failed.
const PATIENCE: Duration = Duration::from_millis(3000);

/// What the daemon knows of its machine's watchdog.
#[derive(Debug)]
pub(super) struct Watch {
    /// The way to the feeder, while there is one.
    keeper: Option<Keeper>,
    process: Pid,
    state: State,
    /// What is known of each group, by its index.
    ends: Vec<End>,
    /// How the last watchdog of this node that was not fed any more has bitten.
    last: Option<Note>,
}

/// When the time of a group that may be up ends.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// The end of its authority, as it was last known.
    authority: Option<Instant>,
    stopping_since: Option<Instant>,
    /// Since when its start waits for the device.
    waiting_since: Option<Instant>,
}

impl Watch {
    /// Forks what feeds the watchdog of node `me`, if it has one that is needed.
    ///
    /// # Errors
    /// As [`feeder::part`].
    pub(super) fn part(
        settings: &Settings,
        me: NodeId,
    ) -> io::Result<Option<(Plan, feeder::Parted)>> {
        let Some(plan) = Self::plan(settings, me) else { return Ok(None) };
        Ok(Some((plan.clone(), feeder::part(plan)?)))
    }

    fn plan(settings: &Settings, me: NodeId) -> Option<Plan> {
        let watchdog = settings.watchdog.as_ref()?;
        let device = watchdog.device(me)?.to_owned();
        let is_needed = settings.groups.iter().any(|it| it.watchdog && it.prefer.contains(&me));
        is_needed.then(|| Plan {
            device,
            timeout: watchdog.timeout,
            overshoot: watchdog.overshoot(),
            groups: settings.groups.iter().map(|group| group.name.clone()).collect(),
            note: note::path(&settings.state_dir, &settings.name_of(me)),
        })
    }

    /// Makes what the daemon knows when the feeder has parted, a `process` of its own.
    pub(super) fn new(keeper: Keeper, process: Pid, plan: &Plan) -> Self {
        let ends = vec![End::default(); plan.groups.len()];
        let last = Note::load(&plan.note);
        Self { keeper: Some(keeper), process, state: State::Opening, ends, last }
    }

    /// Returns the feeder's process.
    pub(super) const fn process(&self) -> Pid {
        self.process
    }

    /// Returns the way to the feeder, to be waited at.
    pub(super) const fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Returns whether the device counts, by the last order.
    fn is_armed(&self) -> bool {
        let is_heeded = self.keeper.as_ref().is_some_and(Keeper::is_heeded);
        is_heeded && matches!(self.state, State::Armed(_))
    }
}

impl End {
    /// Takes in how a group is that may be up, and until when its authority lasts if that is known;
    /// returns whether all of it is being stopped.
    fn look(&mut self, conduct: &Conduct, authority: Option<Instant>, now: Instant) -> bool {
        let is_stopping = match conduct.progress() {
            Progress::Cancelling(_) | Progress::Releasing | Progress::Stuck => true,
            // A service that is restarted in place is none that has to be gone.
            Progress::Stopping(_) => !conduct.has_addresses(),
            _ => false,
        };
        self.authority = authority.or(self.authority);
        let since = self.stopping_since.unwrap_or(now);
        self.stopping_since = is_stopping.then_some(since);
        is_stopping
    }

    /// Returns until when the machine may be fed because of the group.
    fn fed_until(&self, stop_time: Duration, granularity: Duration) -> Instant {
        match self.authority {
            Some(end) => fed_until(end, self.stopping_since, stop_time, granularity),
            // In doubt, nothing is fed.
            None => Instant::ZERO,
        }
    }
}

/// What becomes of a start that the watchdog has to know of first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The machine is guarded, or need not be.
    Ready,
    /// The device is being armed.
    Wait,
    /// It is not armed, and the settings require it.
    Refused,
}

impl Daemon {
    /// Takes in how the device is.
    pub(super) fn handle_watchdog(&mut self, now: Instant) {
        let Some(watch) = &mut self.watch else { return };
        let mut news = None;
        while let Some(state) = watch.keeper.as_mut().and_then(Keeper::poll_state) {
            news = Some(state);
        }
        if watch.keeper.as_ref().is_some_and(Keeper::is_gone) {
            // What is closed is not waited at.
            watch.keeper = None;
            news = Some(State::Unusable("nothing feeds it, the feeder is dead".to_owned()));
        }
        for holding in &mut self.groups {
            if holding.conduct.progress() == Progress::Acquiring {
                holding.retry = Some(now);
            }
        }
        let Some(state) = news else { return };
        let before = std::mem::replace(&mut watch.state, state);
        if watch.state != before {
            self.tell_watchdog_state(&before);
        }
        for at in 0..self.groups.len() {
            if self.settings.groups.get(at).is_some_and(|group| group.watchdog) {
                self.tell_able(at, now);
            }
        }
    }

    /// Sets until when the machine is fed, and has the device count while anything that needs it is
    /// up or claimed here.
    pub(super) fn guard_machine(&mut self, now: Instant) {
        if self.watch.is_none() {
            return;
        }
        let (mut limit, mut is_needed) = (None, false);
        for group in GroupId::all().take(self.groups.len()) {
            let at = group.index();
            if !self.settings.groups.get(at).is_some_and(|group| group.watchdog) {
                continue;
            }
            is_needed |= self.engine.group(group).is_some_and(|it| it.role() != Role::Idle);
            let Some(next) = self.limit_of(group, now) else { continue };
            is_needed = true;
            limit = Some(limit.filter(|first: &Limit| first.until <= next.until).unwrap_or(next));
        }
        if let Some(keeper) = self.watch.as_mut().and_then(|watch| watch.keeper.as_mut()) {
            keeper.set(limit);
            keeper.arm(is_needed);
        }
    }

    /// Returns until when the machine may be fed because of `group`, if anything of it may be up.
    fn limit_of(&mut self, group: GroupId, now: Instant) -> Option<Limit> {
        let at = group.index();
        let authority = self.engine.authority_end(group);
        let conduct = &self.groups.get(at)?.conduct;
        let settings = self.settings.groups.get(at)?;
        let end = self.watch.as_mut()?.ends.get_mut(at)?;
        if !conduct.is_up() {
            *end = End::default();
            return None;
        }
        let is_stopping = end.look(conduct, authority, now);
        let until = end.fed_until(settings.stop_time(), self.settings.timing.heartbeat);
        Some(Limit { until, group: at, is_stopping })
    }

    /// Returns whether a group may be started as far as the watchdog is concerned, which knows by
    /// then until when the machine may be fed because of it.
    pub(super) fn readiness(&mut self, at: usize, now: Instant) -> Readiness {
        if !self.settings.groups.get(at).is_some_and(|group| group.watchdog) {
            return Readiness::Ready;
        }
        self.guard_machine(now);
        let is_required = self.settings.watchdog.as_ref().is_some_and(|it| it.required);
        let Some(watch) = &mut self.watch else {
            return if is_required { Readiness::Refused } else { Readiness::Ready };
        };
        if watch.is_armed() {
            return Readiness::Ready;
        }
        let since = match watch.ends.get_mut(at) {
            Some(end) => *end.waiting_since.get_or_insert(now),
            None => now,
        };
        let is_hopeless = !watch.state.is_usable() || now.since(since) >= PATIENCE;
        match (is_hopeless, is_required) {
            (false, _) => Readiness::Wait,
            (true, true) => Readiness::Refused,
            (true, false) => Readiness::Ready,
        }
    }

    /// Returns why this node leaves a group alone because of its watchdog, if it does.
    pub(super) fn unguarded(&self, at: usize) -> Option<String> {
        let group = self.settings.groups.get(at).filter(|group| group.watchdog)?;
        let watchdog = self.settings.watchdog.as_ref().filter(|watchdog| watchdog.required)?;
        let Some(device) = watchdog.device(self.me) else {
            return Some(format!("{} requires a watchdog, and this node has none", group.name));
        };
        let why = match &self.watch.as_ref()?.state {
            State::Resting(_) | State::Armed(_) => return None,
            State::Opening => "being opened".to_owned(),
            State::Unusable(why) => why.clone(),
        };
        Some(format!("its watchdog {} cannot be armed: {why}", device.display()))
    }

    fn tell_watchdog_state(&mut self, before: &State) {
        let Some(watch) = &self.watch else { return };
        let device = self.settings.watchdog.as_ref().and_then(|it| it.device(self.me));
        let device = device.unwrap_or_else(|| "".as_ref()).display().to_string();
        match &watch.state {
            State::Opening => {}
            State::Unusable(why) => {
                let is_required = self.settings.watchdog.as_ref().is_some_and(|it| it.required);
                let follows = if is_required {
                    "this node leaves the groups alone that need it"
                } else {
                    "where the daemon hangs, nothing ends the services in time"
                };
                let text = format!("{WATCHDOG}{device} cannot be armed: {why}; {follows}");
                self.replace_alerts(WATCHDOG, vec![text]);
            }
            State::Resting(facts) | State::Armed(facts) => {
                if before.is_usable() {
                    return;
                }
                let text = described(&device, facts);
                self.all_clear(WATCHDOG);
                self.decided(text);
            }
        }
    }

    /// Says when the daemon starts why the machine was not fed any more, if that ever was, and
    /// takes note that the device is yet to be opened.
    pub(super) fn begin_watching(&mut self, now: Instant) {
        for at in 0..self.groups.len() {
            self.tell_able(at, now);
        }
        if let Some(note) = self.watch.as_ref().and_then(|watch| watch.last.as_ref()) {
            let text = BiteReport::from(note).sentence();
            self.logger.write(Level::Warning, format_args!("{WATCHDOG}{text}"));
        }
    }

    /// Tells when the machine is not fed any more, and when it is again.
    pub(super) fn look_at_watchdog(&mut self, now: Instant) {
        let Some(keeper) = self.watch.as_ref().and_then(Watch::keeper) else { return };
        let over = keeper.limit().filter(|limit| now.has_reached(limit.until));
        let text = over.map(|limit| {
            let name = self.group_name(limit.group);
            format!("{WATCHDOG}not fed any more, the machine will be reset: {name} has not stopped")
        });
        match text {
            Some(text) => self.alert(text),
            None => self.all_clear(&format!("{WATCHDOG}not fed")),
        }
    }

    /// Returns what machines are told of the watchdog.
    pub(super) fn watchdog_report(&self, now: Instant) -> Option<WatchdogReport> {
        let (settings, watch) = (self.settings.watchdog.as_ref()?, self.watch.as_ref()?);
        let (state, why, facts) = match &watch.state {
            State::Opening => ("opening", None, None),
            State::Unusable(why) => ("unusable", Some(why.clone()), None),
            State::Resting(facts) => ("resting", None, Some(facts)),
            State::Armed(facts) => ("armed", None, Some(facts)),
        };
        let limit = watch.keeper().and_then(Keeper::limit);
        Some(WatchdogReport {
            device: settings.device(self.me)?.display().to_string(),
            state: state.to_owned(),
            why,
            required: settings.required,
            timeout_ms: facts
                .map_or(settings.timeout.as_millis(), |facts| u64::from(facts.timeout_s) * 1000),
            identity: facts.map(|facts| facts.info.identity.clone()),
            firmware: facts.map(|facts| facts.info.firmware),
            nowayout: facts.and_then(|facts| facts.nowayout),
            magic_close: facts.map(|facts| facts.info.has_magic_close),
            can_rest: facts.map(|facts| facts.can_rest),
            boot_status: facts.map(|facts| facts.boot_status.clone()).unwrap_or_default(),
            fed_for_ms: limit.map(|limit| limit.until.since(now).as_millis()),
            fed_because_of: limit.map(|limit| self.group_name(limit.group)),
            last_bite: watch.last.as_ref().map(BiteReport::from),
        })
    }
}

/// Returns an open device in words, with what its user should know.
fn described(device: &str, facts: &Facts) -> String {
    let Facts { info, timeout_s, can_rest, nowayout, .. } = facts;
    let mut text = format!(
        "watchdog {device}: {}, firmware {}, resets this machine {timeout_s} s after its last feed",
        info.identity, info.firmware
    );
    if *nowayout == Some(true) {
        text +=
            "; it cannot be stopped (nowayout), so a stopped daemon is to start again before that";
    } else if !can_rest {
        text += "; it counts as long as the daemon runs";
    }
    if !info.has_magic_close {
        text += "; it stops when it is closed (no magic close), so also when its feeder is killed";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Action;
    use crate::settings::tests::example;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    const S: Duration = Duration::from_millis(5000);
    const G: Duration = Duration::from_millis(100);

    /// Returns a group with one service that is up.
    fn up() -> Conduct {
        let mut conduct = Conduct::new(&example().groups[0].services);
        conduct.start(false);
        conduct.acquired(true);
        conduct.done(0, Action::Start, true);
        conduct
    }

    #[test]
    fn feeding_follows_the_authority_and_in_doubt_there_is_none() {
        let (mut end, conduct) = (End::default(), up());
        assert!(!end.look(&conduct, None, at(0)));
        assert_eq!(end.fed_until(S, G), Instant::ZERO, "it was never known");
        end.look(&conduct, Some(at(1000)), at(500));
        assert_eq!(end.fed_until(S, G), at(6100));
        end.look(&conduct, Some(at(1400)), at(900));
        assert_eq!(end.fed_until(S, G), at(6500));
        end.look(&conduct, None, at(1300));
        assert_eq!(end.fed_until(S, G), at(6500), "as it was last known");
    }

    #[test]
    fn a_stop_is_given_its_time_once_whatever_the_authority() {
        let (mut end, mut conduct) = (End::default(), up());
        end.look(&conduct, Some(at(1000)), at(500));
        conduct.stop();
        assert!(end.look(&conduct, Some(at(1200)), at(700)));
        assert_eq!(end.fed_until(S, G), at(5800));
        conduct.done(0, Action::Stop, false);
        conduct.released(true);
        assert!(end.look(&conduct, Some(at(4000)), at(3500)), "it is stuck");
        conduct.stop();
        assert!(end.look(&conduct, Some(at(5000)), at(4500)), "tried again");
        assert_eq!(end.fed_until(S, G), at(5800), "from when it first began");
    }

    #[test]
    fn a_restart_in_place_is_no_stop() {
        let (mut end, mut conduct) = (End::default(), up());
        conduct.restart(0);
        assert!(!end.look(&conduct, Some(at(1000)), at(500)));
        assert_eq!(end.fed_until(S, G), at(6100));
        conduct.done(0, Action::Stop, false);
        conduct.stop();
        assert!(end.look(&conduct, Some(at(1000)), at(900)), "it did not stop: the group goes");
        assert_eq!(end.fed_until(S, G), at(6000));
    }
}
