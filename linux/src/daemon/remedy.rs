//! What is done about a service that is dead, and a group that has failed here.

use lifesign_core::frame::Flags;
use lifesign_core::group::GroupId;
use lifesign_core::node::NodeId;
use lifesign_core::time::Instant;

use super::conduct::{Progress, Step};
use super::failures::Remedy;
use super::{Daemon, Errand};
use crate::agent::Action;
use crate::executor::message::Request;
use crate::explain::Penalty;
use crate::page::times;
use crate::report::{FailuresReport, RestartsReport};

/// How alerts on failures begin.
const FAILING: &str = "failing: ";

impl Daemon {
    /// A monitor has found a service dead: it is restarted in place, or its group goes.
    pub(super) fn handle_dead(&mut self, at: usize, service: usize, now: Instant) {
        let name = self.service_name(at, service);
        let Some(holding) = self.groups.get_mut(at) else { return };
        let step = match holding.failures.handle_dead(service, now) {
            Remedy::Move => Some(Step::Failed),
            Remedy::Restart => {
                let step = holding.conduct.restart(service);
                let (count, most) = holding.failures.restarts(service, now);
                let window = holding.failures.window_text();
                self.forget_monitors(at);
                self.decided(format!(
                    "restarts {name} in place: {count} of {most} times within {window}"
                ));
                step
            }
        };
        self.take_steps(at, step, now);
    }

    /// Ends the questions that are still asked of a group's services: what they would find is no
    /// news of what is up after this.
    pub(super) fn forget_monitors(&mut self, at: usize) {
        let is_ours = |errand: &Errand| match errand {
            Errand::Service { group, action, .. } => *group == at && *action == Action::Monitor,
            Errand::Reserve(_)
            | Errand::Word(_)
            | Errand::Notify { .. }
            | Errand::Client(_)
            | Errand::List
            | Errand::Destroy
            | Errand::Fence { .. }
            | Errand::PowerOn { .. } => false,
        };
        for (id, _) in self.errands.iter().filter(|(_, errand)| is_ours(errand)) {
            // One that is not cancelled ends by itself, and nobody waits for its answer.
            let _asked = self.executor.submit(&Request::Cancel { id: *id });
        }
        self.errands.retain(|(_, errand)| !is_ours(errand));
    }

    /// A service of a held group could not be kept up: the group goes, and that counts. Until those
    /// that follow it have stopped, nobody asks how it is.
    pub(super) fn give_up(&mut self, group: GroupId, now: Instant) {
        self.forget_monitors(group.index());
        if let Some(holding) = self.groups.get_mut(group.index()) {
            holding.conduct.monitors.fill(None);
        }
        self.engine.handle_failed(group, now);
        self.count_failure(group.index(), now);
    }

    /// A group could not be started: that counts if a service is to blame.
    pub(super) fn give_up_start(&mut self, group: GroupId, now: Instant) {
        self.engine.handle_started(group, false, now);
        let at = group.index();
        let progress = self.groups.get(at).map(|holding| holding.conduct.progress());
        if matches!(progress, Some(Progress::Starting(_))) {
            self.count_failure(at, now);
        }
    }

    fn count_failure(&mut self, at: usize, now: Instant) {
        let Some(holding) = self.groups.get_mut(at) else { return };
        holding.failures.handle_failed(now);
        self.tell_able(at, now);
    }

    /// Goes back to groups whose penalty has ended, or that nobody else can take.
    pub(super) fn end_penalties(&mut self, now: Instant) {
        for at in 0..self.groups.len() {
            if self.groups.get_mut(at).is_some_and(|holding| holding.failures.handle_timeout(now)) {
                let name = self.group_name(at);
                self.decided(format!("tries {name} again: its failures here are long ago"));
                self.tell_able(at, now);
            }
            if self.is_penalised(at, now) && self.is_last(at) {
                self.try_alone(at, now);
            }
        }
    }

    /// Takes a group that this node leaves alone all the same, if it has not done so of late: there
    /// is nobody else.
    fn try_alone(&mut self, at: usize, now: Instant) {
        if self.groups.get_mut(at).is_some_and(|holding| holding.failures.reprieve(now)) {
            let name = self.group_name(at);
            self.decided(format!(
                "tries {name} in spite of its failures here: nobody else is alive who could take it"
            ));
            self.tell_able(at, now);
        }
    }

    /// Returns whether nobody else is alive who could take a group.
    fn is_last(&self, at: usize) -> bool {
        let nodes = self.settings.groups.get(at).map_or(&[][..], |group| &group.prefer);
        let peers = &self.engine.member().peers;
        let is_free = |node: NodeId| {
            peers.session(node).is_some_and(|session| !session.body.flags.has(Flags::STANDBY))
        };
        !nodes.iter().any(|node| *node != self.me && is_free(*node))
    }

    /// Forgets what has failed of a group, or of all, because the operator wants it here.
    pub(super) fn clear_failures(&mut self, group: Option<GroupId>, now: Instant) {
        for id in GroupId::all().take(self.groups.len()) {
            if group.is_some_and(|group| group != id) {
                continue;
            }
            if let Some(holding) = self.groups.get_mut(id.index()) {
                holding.failures.clear();
            }
            self.tell_able(id.index(), now);
        }
        self.look_at_failures(now);
    }

    /// Returns whether a group has failed here so often that this node leaves it alone.
    pub(super) fn is_penalised(&self, at: usize, now: Instant) -> bool {
        let holding = self.groups.get(at);
        holding.is_some_and(|holding| holding.failures.penalised_until(now).is_some())
    }

    /// Returns why a group is left alone, if it is.
    pub(super) fn penalty_of(&self, group: GroupId) -> Option<Penalty> {
        let at = group.index();
        let mut penalty = self.groups.get(at)?.failures.penalty(self.engine.now())?;
        if !self.has_adapters(at) {
            penalty.what += "; an adapter it needs here is gone or has no carrier, too";
        }
        Some(penalty)
    }

    /// Tells what has failed of late, and when that is long ago.
    pub(super) fn look_at_failures(&mut self, now: Instant) {
        let mut all = Vec::new();
        for group in GroupId::all().take(self.groups.len()) {
            let texts = self.failing(group.index(), now);
            let is_up = self.engine.group(group).is_some_and(|state| state.role().is_up());
            if texts.is_empty() && !is_up {
                // What its services did here is long ago, too.
                self.all_clear(&format!("{}/", self.group_name(group.index())));
            }
            all.extend(texts);
        }
        self.replace_alerts(FAILING, all);
    }

    fn failing(&self, at: usize, now: Instant) -> Vec<String> {
        let Some(failures) = self.groups.get(at).map(|holding| &holding.failures) else {
            return Vec::new();
        };
        let (name, window) = (self.group_name(at), failures.window_text());
        let mut texts = Vec::new();
        match (failures.count(now), failures.penalised_until(now)) {
            (0, _) => {}
            (count, None) => {
                let count = times(count as u64);
                texts.push(format!("{FAILING}{name} has failed here {count} within {window}"));
            }
            (count, Some(_)) => texts.push(format!(
                "{FAILING}{name} has failed here {} within {window}, and this node leaves it alone",
                times(count as u64)
            )),
        }
        for restarts in self.restarts(at, now) {
            let RestartsReport { service, count, most } = restarts;
            texts.push(format!(
                "{FAILING}{name}/{service} was restarted {count} of {most} times within {window}"
            ));
        }
        texts
    }

    fn restarts(&self, at: usize, now: Instant) -> Vec<RestartsReport> {
        let (Some(holding), Some(group)) = (self.groups.get(at), self.settings.groups.get(at))
        else {
            return Vec::new();
        };
        let services = group.services.iter().enumerate().map(|(service, settings)| {
            let (count, most) = holding.failures.restarts(service, now);
            let (count, most) = (count as u64, most as u64);
            RestartsReport { service: settings.name.clone(), count, most }
        });
        services.filter(|restarts| restarts.count > 0).collect()
    }

    /// Returns what machines are told of a group's failures.
    pub(super) fn failures_report(&self, at: usize, now: Instant) -> Option<FailuresReport> {
        let failures = &self.groups.get(at)?.failures;
        let (count, restarts) = (failures.count(now), self.restarts(at, now));
        (count > 0 || !restarts.is_empty()).then(|| FailuresReport {
            window_ms: failures.window().as_millis(),
            count: count as u64,
            share: failures.share() as u64,
            next_attempt_ms: failures
                .penalised_until(now)
                .map(|until| until.since(now).as_millis()),
            last: failures.last().map(str::to_owned),
            restarts,
        })
    }
}
