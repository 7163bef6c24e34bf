//! Errands for the executor: commands of services, and the reservation of tokens.

use lifesign_core::group::{GroupId, Token};
use lifesign_core::time::{Duration, Instant};

use super::conduct::{Action, Progress, Step};
use super::{Daemon, Errand, RETRY};
use crate::executor::message::{Command, Outcome, Reply, Request};

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
        let Some(group) = self.settings.groups.get(at) else { return false };
        let Some(settings) = group.services.get(service) else { return false };
        let (arguments, limit) = match action {
            Action::Start => (Some(&settings.start), settings.start_limit),
            Action::Stop => (Some(&settings.stop), settings.stop_limit),
            Action::Monitor => (settings.monitor.as_ref(), settings.monitor_limit),
        };
        let Some(arguments) = arguments else { return false };
        let token =
            GroupId::all().nth(at).and_then(|group| self.engine.group(group)?.role().token());
        let environment = [
            ("LIFESIGN_GROUP", group.name.clone()),
            ("LIFESIGN_SERVICE", settings.name.clone()),
            ("LIFESIGN_ACTION", action.word().to_owned()),
            ("LIFESIGN_TOKEN", token.unwrap_or_default().0.to_string()),
            ("LIFESIGN_NODE", self.settings.name_of(self.me)),
        ];
        let command = Command {
            arguments: arguments.clone(),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            limit_us: limit.as_micros(),
            grace_us: GRACE.as_micros(),
            output_len_max: OUTPUT_LEN,
        };
        let id = self.new_errand(Errand::Service { group: at, service, action });
        let is_taken = self.executor.submit(&Request::Run { id, command }).is_ok();
        if !is_taken {
            self.errands.retain(|(other, _)| *other != id);
        } else if let Some(state) =
            self.groups.get_mut(at).and_then(|holding| holding.services.get_mut(service))
            && action != Action::Monitor
        {
            *state = format!("{} is running", action.word());
        }
        is_taken
    }

    pub(super) fn cancel(&mut self, at: usize) -> Option<Step> {
        let running = self.errands.iter().find(|(_, errand)| {
            matches!(errand, Errand::Service { group, action: Action::Start, .. } if *group == at)
        });
        match running {
            Some((id, _)) if self.executor.submit(&Request::Cancel { id: *id }).is_ok() => None,
            // Its own time limit ends it if it could not be cancelled.
            Some(_) => None,
            None => self.groups.get_mut(at)?.conduct.nothing_to_cancel(),
        }
    }

    pub(super) fn new_errand(&mut self, errand: Errand) -> u32 {
        self.next_errand = self.next_errand.wrapping_add(1);
        self.errands.push((self.next_errand, errand));
        self.next_errand
    }

    /// Takes in what the executor answers.
    pub(super) fn handle_errands(&mut self, now: Instant) {
        while let Some(reply) = self.executor.poll_reply() {
            let (Reply::Done { id, .. } | Reply::Persisted { id, .. }) = &reply;
            let Some(at) = self.errands.iter().position(|(other, _)| other == id) else { continue };
            let (_, errand) = self.errands.swap_remove(at);
            match (errand, reply) {
                (Errand::Reserve(token), Reply::Persisted { failure, .. }) => {
                    self.handle_reserved(token, failure, now);
                }
                (
                    Errand::Service { group, service, action },
                    Reply::Done { outcome, output, .. },
                ) => {
                    self.handle_service(group, service, action, &outcome, &output, now);
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
        let is_good = outcome.is_success();
        let name = self.service_name(at, service);
        if is_good && action != Action::Stop {
            self.all_clear(&format!("{name}: "));
        }
        if !is_good && *outcome != Outcome::Cancelled {
            let said = output.lines().last().unwrap_or("").trim();
            let said = if said.is_empty() { String::new() } else { format!(" (\"{said}\")") };
            let what = format!("{name}: {} {outcome}{said}", action.word());
            if let Some(holding) = self.groups.get_mut(at) {
                holding.failures.note(&what);
            }
            self.alert(what);
        }
        let Some(holding) = self.groups.get_mut(at) else { return };
        if let Some(state) = holding.services.get_mut(service) {
            *state = match (action, is_good) {
                (Action::Start | Action::Monitor, true) => "started".to_owned(),
                (Action::Stop, true) => "stopped".to_owned(),
                (_, false) => format!("{} failed: {outcome}", action.word()),
            };
        }
        if action == Action::Monitor {
            return self.handle_monitor(at, service, is_good, now);
        }
        let step = holding.conduct.done(service, action, is_good);
        self.take_steps(at, step, now);
    }

    fn handle_monitor(&mut self, at: usize, service: usize, is_good: bool, now: Instant) {
        let Some(holding) = self.groups.get_mut(at) else { return };
        if holding.conduct.progress() != Progress::Up {
            return;
        }
        if !is_good {
            return self.handle_dead(at, service, now);
        }
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
        let id = self.new_errand(Errand::Reserve(token));
        if self.executor.submit(&Request::Persist { id, path, contents }).is_err() {
            self.errands.retain(|(other, _)| *other != id);
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

/// How long a command may take to end once it is asked to.
const GRACE: Duration = Duration::from_millis(500);
/// How much of a command's output is kept for people, in bytes.
const OUTPUT_LEN: u32 = 512;
/// How often a service without an interval is asked; settings always have one.
const IDLE_MONITOR: Duration = Duration::from_millis(10_000);
