//! Errands for the executor: commands of services, and the reservation of tokens.

use lifesign_core::group::{GroupId, Token};
use lifesign_core::time::{Duration, Instant};

use super::conduct::{Progress, Step};
use super::{Daemon, Errand, RETRY};
use crate::agent::convention::{self, Judgement, Patience};
use crate::agent::{self, Action, Call};
use crate::executor::SubmitError;
use crate::executor::message::{Outcome, Reply, Request, last_words};

impl Daemon {
    pub(super) fn run_service(
        &mut self,
        at: usize,
        service: usize,
        action: Action,
    ) -> Option<Step> {
        if self.submit_service(at, service, action) {
            return None;
        }
        self.alert(format!("{}: the executor takes no command", self.group_name(at)));
        self.groups.get_mut(at)?.conduct.done(service, action, false)
    }

    fn submit_service(&mut self, at: usize, service: usize, action: Action) -> bool {
        let now = self.engine.now();
        let Some(group) = self.settings.groups.get(at) else { return false };
        let Some(settings) = group.services.get(service) else { return false };
        let Some(holding) = self.groups.get_mut(at) else { return false };
        if settings.convention.begins_with(action) {
            holding.begun = now;
        }
        let token = GroupId::at(at).and_then(|group| self.engine.group(group)?.role().token());
        let node = self.settings.name_of(self.me);
        let call = Call {
            group: &group.name,
            node: &node,
            token: token.unwrap_or_default(),
            limit: agent::limit(settings, action, now.since(holding.begun)),
        };
        let Some(command) = agent::command(settings, action, &call) else { return false };
        let errand = Errand::Service { group: at, service, action };
        let is_taken = self.send_errand(errand, |id| Request::Run { id, command }).is_ok();
        if is_taken
            && action.is_change()
            && let Some(state) =
                self.groups.get_mut(at).and_then(|holding| holding.services.get_mut(service))
        {
            *state = format!("{action} is running");
        }
        is_taken
    }

    pub(super) fn cancel(&mut self, at: usize) -> Option<Step> {
        let running = self.errands.iter().find(|(_, errand)| {
            matches!(
                errand,
                Errand::Service { group, action: Action::Look | Action::Start, .. } if *group == at
            )
        });
        match running {
            Some((id, _)) if self.executor.submit(&Request::Cancel { id: *id }).is_ok() => None,
            // Its own time limit ends it if it could not be cancelled.
            Some(_) => None,
            None => self.groups.get_mut(at)?.conduct.nothing_to_cancel(),
        }
    }

    /// Asks the executor for something, under a number of its own, and remembers what it is for.
    ///
    /// # Errors
    /// Nothing was asked for.
    pub(super) fn send_errand(
        &mut self,
        errand: Errand,
        request: impl FnOnce(u32) -> Request,
    ) -> Result<(), SubmitError> {
        self.next_errand = self.next_errand.wrapping_add(1);
        self.executor.submit(&request(self.next_errand))?;
        self.errands.push((self.next_errand, errand));
        Ok(())
    }

    /// Takes in what the executor answers.
    pub(super) fn handle_errands(&mut self, now: Instant) {
        while let Some(reply) = self.executor.poll_reply() {
            let (Reply::Done { id, .. }
            | Reply::Persisted { id, .. }
            | Reply::Listed { id, .. }
            | Reply::Destroyed { id, .. }) = &reply;
            let Some(at) = self.errands.iter().position(|(other, _)| other == id) else { continue };
            let (_, errand) = self.errands.swap_remove(at);
            match (errand, reply) {
                (Errand::Reserve(token), Reply::Persisted { failure, .. }) => {
                    self.handle_reserved(token, failure, now);
                }
                (Errand::Word(stamp), Reply::Persisted { failure, .. }) => {
                    self.handle_word_saved(stamp, failure, now);
                }
                (
                    Errand::Service { group, service, action },
                    Reply::Done { outcome, output, .. },
                ) => {
                    self.handle_service(group, service, action, &outcome, &output, now);
                }
                (Errand::Notify { target }, Reply::Done { outcome, output, .. }) => {
                    self.handle_told(target, &outcome, &output, now);
                }
                (Errand::Client(at), Reply::Done { outcome, output, .. }) => {
                    self.handle_client(at, &outcome, &output, now);
                }
                (Errand::Fence { target, boot }, Reply::Done { outcome, output, .. }) => {
                    self.handle_fence((target, boot), &outcome, &output, now);
                }
                (Errand::PowerOn { target, means }, Reply::Done { outcome, output, .. }) => {
                    self.handle_power_on(target, means, &outcome, &output);
                }
                (Errand::List, Reply::Listed { list, .. }) => self.handle_listed(list),
                (Errand::Destroy, Reply::Destroyed { result, .. }) => {
                    self.handle_destroyed(result, now);
                }
                _ => {}
            }
        }
    }

    fn handle_service(
        &mut self,
        at: usize,
        service: usize,
        action: Action,
        outcome: &Outcome,
        output: &str,
        now: Instant,
    ) {
        let judgement = self.judge(at, service, action, outcome, output, now);
        let is_good = judgement.is_good;
        let name = self.service_name(at, service);
        if is_good && !matches!(action, Action::Stop | Action::Verify) {
            self.all_clear(&format!("{name}: "));
        }
        // That something does not run before it is started is no news.
        if !is_good && *outcome != Outcome::Cancelled && action != Action::Look {
            let what = format!("{name}: {action} {}{}", judgement.said, last_words(output));
            if let Some(holding) = self.groups.get_mut(at) {
                holding.failures.note(&what);
            }
            self.alert(what);
        }
        let Some(holding) = self.groups.get_mut(at) else { return };
        if let Some(state) = holding.services.get_mut(service)
            && let Some(text) = state_text(action, &judgement)
        {
            *state = text;
        }
        if action == Action::Monitor {
            return self.handle_monitor(at, service, is_good, now);
        }
        let step = holding.conduct.done(service, action, is_good);
        self.take_steps(at, step, now);
    }

    fn judge(
        &mut self,
        at: usize,
        service: usize,
        action: Action,
        outcome: &Outcome,
        output: &str,
        now: Instant,
    ) -> Judgement {
        let settings = self.settings.groups.get(at).and_then(|group| group.services.get(service));
        let convention = settings.map(|settings| settings.convention).unwrap_or_default();
        let judgement = convention::judge(convention, action, outcome, output);
        let limit = settings.map(|settings| settings.start_limit).unwrap_or_default();
        let patience = self.groups.get_mut(at).and_then(|held| held.patience.get_mut(service));
        match patience {
            Some(patience) if action == Action::Monitor => patience.judge(judgement, limit, now),
            Some(patience) => {
                *patience = Patience::default();
                judgement
            }
            None => judgement,
        }
    }

    fn handle_monitor(&mut self, at: usize, service: usize, is_good: bool, now: Instant) {
        let Some(holding) = self.groups.get_mut(at) else { return };
        if holding.conduct.progress() != Progress::Up {
            return;
        }
        // In maintenance it is shown, asked again, and left alone.
        let is_left_alone = self.is_in_maintenance(at);
        if !is_good && !is_left_alone {
            return self.handle_dead(at, service, now);
        }
        let Some(holding) = self.groups.get_mut(at) else { return };
        let interval = self.settings.groups.get(at).and_then(|group| group.services.get(service));
        let interval = interval.map(|service| service.monitor_interval).unwrap_or(IDLE_MONITOR);
        if let Some(due) = holding.conduct.monitors.get_mut(service) {
            *due = Some(now + interval);
        }
    }

    pub(super) fn arm_monitors(&mut self, at: usize, now: Instant) {
        self.forget_monitors(at);
        let (Some(holding), Some(group)) = (self.groups.get_mut(at), self.settings.groups.get(at))
        else {
            return;
        };
        for (due, service) in holding.conduct.monitors.iter_mut().zip(&group.services) {
            *due = service.monitor.as_ref().map(|_| now + service.monitor_interval);
        }
    }

    /// Asks the services whose time has come whether they are well.
    pub(super) fn ask_monitors(&mut self, now: Instant) {
        for at in 0..self.groups.len() {
            let due = |due: &Option<Instant>| due.is_some_and(|due| now.has_reached(due));
            while let Some(service) = self
                .groups
                .get(at)
                .and_then(|holding| holding.conduct.monitors.iter().position(due))
            {
                if let Some(slot) = self
                    .groups
                    .get_mut(at)
                    .and_then(|holding| holding.conduct.monitors.get_mut(service))
                {
                    *slot = None;
                }
                if !self.submit_service(at, service, Action::Monitor) {
                    self.handle_monitor(at, service, true, now);
                }
            }
        }
    }

    /// Has the tokens up to `token` saved as used.
    pub(super) fn reserve(&mut self, token: Token) {
        self.reserving = Some(token);
        let (path, contents) = self.reservation.file(token);
        let written =
            self.send_errand(Errand::Reserve(token), |id| Request::Persist { id, path, contents });
        if written.is_err() {
            self.reserve_retry = Some(self.engine.now() + RETRY);
        }
    }

    fn handle_reserved(&mut self, token: Token, failure: Option<String>, now: Instant) {
        match failure {
            None => {
                self.all_clear("tokens cannot be saved");
                if self.reserving == Some(token) {
                    self.reserving = None;
                }
                self.engine.handle_reserved(token, now);
            }
            Some(reason) => {
                self.alert(format!(
                    "tokens cannot be saved, so nothing new can be claimed: {reason}"
                ));
                self.reserve_retry = Some(now + RETRY);
            }
        }
    }

    pub(super) fn service_name(&self, at: usize, service: usize) -> String {
        let group = self.group_name(at);
        let name = self.settings.groups.get(at).and_then(|group| group.services.get(service));
        name.map_or_else(|| group.clone(), |service| format!("{group}/{}", service.name))
    }
}

/// Returns how a service is after `action`, in a few words, if that is known then.
fn state_text(action: Action, judgement: &Judgement) -> Option<String> {
    let Judgement { is_good, said, .. } = judgement;
    match (action, is_good) {
        (Action::Monitor, true) if !said.is_empty() => Some(format!("started, {said}")),
        (Action::Start | Action::Monitor | Action::Look, true) => Some("started".to_owned()),
        (Action::Stop | Action::Verify, true) => Some("stopped".to_owned()),
        (Action::Look, false) => None,
        (Action::Verify, false) => Some(format!("stop failed: {said}")),
        (Action::Start | Action::Stop | Action::Monitor, false) => {
            Some(format!("{action} failed: {said}"))
        }
    }
}

/// How often a service without an interval is asked; settings always have one.
const IDLE_MONITOR: Duration = Duration::from_millis(10_000);
