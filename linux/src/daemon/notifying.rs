//! Who is told of what happens: those who watch, and through the executor the targets of the
//! settings. The decision thread only fills queues.

use std::path::PathBuf;

use lifesign_core::engine::{Condition, Event};
use lifesign_core::group::{GroupId, Reason, Role};
use lifesign_core::time::{Duration, Instant};

use super::outbox::Outbox;
use super::{Daemon, Errand};
use crate::clock;
use crate::executor::GRACE;
use crate::executor::message::{Command, Outcome, Request, last_words};
use crate::log::WallTime;
use crate::notice::{Kind, Notice};
use crate::settings::{Settings, Target, Way};

/// What waits to be told.
#[derive(Debug)]
pub(super) struct Notifying {
    /// One for each target of the settings.
    outboxes: Vec<Outbox>,
    /// Whether each group was told to be up here.
    up: Vec<bool>,
    /// While a group is ours: whether another node held it before, and whether its acquisition was
    /// told.
    acquired: Vec<Option<(bool, bool)>>,
    /// This program, which posts events when it is told to.
    program: PathBuf,
}

impl Notifying {
    /// Returns what waits for the targets of `settings`: nothing.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            outboxes: vec![Outbox::default(); settings.notify.len()],
            up: vec![false; settings.groups.len()],
            acquired: vec![None; settings.groups.len()],
            program: std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into()),
        }
    }

    /// Returns when a delivery is due.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.outboxes.iter().filter_map(|outbox| outbox.poll_timeout(now)).min()
    }

    fn command(&self, target: &Target, notice: &Notice) -> Command {
        let program = self.program.to_string_lossy().into_owned();
        let (arguments, input) = match &target.way {
            Way::Command(words) => (words.clone(), String::new()),
            Way::Mail(address) => {
                let words = ["/usr/sbin/sendmail", "-t", "-i"].map(str::to_owned);
                (words.to_vec(), notice.mail(address))
            }
            Way::Webhook(address) => {
                (vec![program, "post".to_owned(), address.to_string()], notice.json())
            }
        };
        Command {
            arguments,
            environment: notice.environment(),
            limit_us: target.limit.as_micros(),
            grace_us: GRACE.as_micros(),
            output_len_max: OUTPUT_LEN,
            input: input.into_bytes(),
            ..Command::default()
        }
    }
}

impl Daemon {
    /// Tells those who watch what the engine has decided, and targets if it is news for them;
    /// `text` says it.
    pub(super) fn notify_of(&mut self, event: &Event, text: &str) {
        let text = text.to_owned();
        match *event {
            Event::Group { group, role, reason } => self.notify_of_group(group, role, reason, text),
            Event::Peer { node, condition } => {
                let (state, hook) = match condition {
                    Condition::Unmet => return,
                    Condition::Alive(_) => ("alive", "node_up"),
                    Condition::Lost(_) => ("lost", "node_down"),
                    Condition::Left(_) => ("left", "node_down"),
                };
                let (subject, state) = (self.settings.name_of(node), state.to_owned());
                let kind = Kind::Peer;
                let notice = Notice { kind, subject, state, text, hook, ..Notice::default() };
                self.announce(notice, true);
            }
            _ => {}
        }
    }

    fn notify_of_group(&mut self, group: GroupId, role: Role, reason: Reason, text: String) {
        let state = match role {
            Role::Idle => "idle",
            Role::Claiming(_) => "claiming",
            Role::Starting(_) => "starting",
            Role::Holding { offered_until: None, .. } => "holding",
            Role::Holding { .. } => "offering",
            Role::Stopping(_) => "stopping",
            Role::Stuck(_) => "stuck",
        };
        let Some(was_up) = self.notifying.up.get_mut(group.index()) else { return };
        // A claim that comes to nothing is no news.
        let is_news = match role {
            Role::Claiming(_) => false,
            role => core::mem::replace(was_up, role.is_up()) || role != Role::Idle,
        };
        let hook = self.hook_of(group, role);
        let reason = self.view().reason_text(group, reason);
        let token = role.token().map(|token| token.0);
        let (subject, state) = (self.group_name(group.index()), state.to_owned());
        let kind = Kind::Group;
        let notice =
            Notice { kind, subject, state, text, reason, token, hook, ..Notice::default() };
        self.announce(notice, is_news);
    }

    /// Returns what becomes of the service addresses of a group, in the words of the field.
    fn hook_of(&mut self, group: GroupId, role: Role) -> &'static str {
        let at = group.index();
        let has_addresses =
            self.settings.groups.get(at).is_some_and(|group| !group.addresses.is_empty());
        let holder = self.engine.group(group).and_then(|state| state.last_holder());
        let is_from_another = holder.is_some_and(|(node, _)| node != self.me);
        let Some(acquired) = self.notifying.acquired.get_mut(at).filter(|_| has_addresses) else {
            return "";
        };
        match role {
            // Who held it before is known as long as nobody else does.
            Role::Claiming(_) | Role::Starting(_) if acquired.is_none() => {
                *acquired = Some((is_from_another, false));
                ""
            }
            Role::Holding { .. } => match acquired {
                Some((_, true)) => "",
                Some((is_from_another, is_told)) => {
                    *is_told = true;
                    if *is_from_another { "acquire_takeover" } else { "acquire_service" }
                }
                None => "",
            },
            Role::Idle => match acquired.take() {
                Some((_, true)) => "release_service",
                Some(_) | None => "",
            },
            Role::Claiming(_) | Role::Starting(_) | Role::Stopping(_) | Role::Stuck(_) => "",
        }
    }

    /// Tells what has become of a network: `hook` names it, `text` says it, and `adapter` is what
    /// it is about.
    pub(super) fn notify_of_network(
        &mut self,
        network: String,
        (hook, adapter): (&'static str, &str),
        text: String,
    ) {
        let state = match hook {
            "network_down" => "down",
            "network_up" => "up",
            "fail_standby" => "failed",
            "join_standby" => "standby",
            _ => "swapped",
        };
        let (state, adapter) = (state.to_owned(), adapter.to_owned());
        let (kind, subject) = (Kind::Network, network);
        let notice = Notice { kind, subject, state, text, hook, adapter, ..Notice::default() };
        self.announce(notice, true);
    }

    /// Tells that the node called `name` is fenced.
    pub(super) fn notify_of_fence(&mut self, name: &str, text: String) {
        let (subject, state) = (name.to_owned(), "fenced".to_owned());
        let notice = Notice { kind: Kind::Peer, subject, state, text, ..Notice::default() };
        self.announce(notice, true);
    }

    /// Tells that an alert was raised, or is over.
    pub(super) fn notify_of_alert(&mut self, text: &str, is_over: bool) {
        let state = if is_over { "over" } else { "raised" }.to_owned();
        let said = if is_over { format!("over: {text}") } else { text.to_owned() };
        let notice = Notice { subject: text.to_owned(), state, text: said, ..Notice::default() };
        // What does not arrive must not make more of what does not arrive.
        self.announce(notice, !text.starts_with(NOTIFY));
    }

    /// Tells those who watch, and targets if it `is_news` for them.
    fn announce(&mut self, notice: Notice, is_news: bool) {
        let notice = Notice {
            node: self.settings.name_of(self.me),
            cluster: self.settings.cluster.clone(),
            time: WallTime { micros: clock::wall_us() }.to_string(),
            ..notice
        };
        let notice = self.control.announce(notice);
        for (outbox, target) in self.notifying.outboxes.iter_mut().zip(&self.settings.notify) {
            if is_news && target.events.contains(&notice.kind) {
                outbox.push(notice.clone());
            }
        }
    }

    /// Hands over what is due, one notice for each target at a time.
    pub(super) fn deliver(&mut self, now: Instant) {
        for at in 0..self.notifying.outboxes.len() {
            let polled = self.notifying.outboxes.get_mut(at).and_then(|outbox| outbox.poll(now));
            let (Some(notice), Some(target)) = (polled, self.settings.notify.get(at)) else {
                continue;
            };
            let command = self.notifying.command(target, &notice);
            let errand = Errand::Notify { target: at };
            if let Err(error) = self.send_errand(errand, |id| Request::Run { id, command }) {
                self.handle_undelivered(at, error.to_string(), now);
            }
        }
    }

    /// Takes in how telling a target has ended.
    pub(super) fn handle_told(&mut self, at: usize, outcome: &Outcome, said: &str, now: Instant) {
        if outcome.is_success() {
            if let Some(outbox) = self.notifying.outboxes.get_mut(at) {
                outbox.handle_delivered();
            }
            self.look_at_deliveries();
            return;
        }
        self.handle_undelivered(at, format!("{outcome}{}", last_words(said)), now);
    }

    fn handle_undelivered(&mut self, at: usize, why: String, now: Instant) {
        if let Some(outbox) = self.notifying.outboxes.get_mut(at) {
            outbox.handle_failed(why, now);
        }
        self.look_at_deliveries();
    }

    /// Tells at which targets nothing arrives.
    fn look_at_deliveries(&mut self) {
        let all = self.notifying.outboxes.iter().zip(&self.settings.notify);
        let failing = all.filter_map(|(outbox, target)| {
            let why = outbox.failure()?;
            let name = match &target.way {
                Way::Command(words) => words.first().cloned().unwrap_or_default(),
                Way::Mail(address) => format!("mail to {address}"),
                Way::Webhook(address) => address.to_string(),
            };
            Some(format!("{NOTIFY}{name}: {why}; tried again until it arrives"))
        });
        let failing = failing.collect();
        self.replace_alerts(NOTIFY, failing);
    }

    /// Waits a little until the last notices have been delivered. Only for a node that has left:
    /// nothing is held any more, so nothing is late.
    pub(super) fn wait_for_deliveries(&mut self) {
        let until = clock::now() + LAST_DELIVERIES;
        while self.notifying.outboxes.iter().any(|outbox| !outbox.is_empty()) {
            let now = clock::now();
            if now.has_reached(until) || self.executor.is_gone() {
                return;
            }
            self.handle_errands(now);
            self.deliver(now);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// How alerts on notifications begin.
const NOTIFY: &str = "notify: ";
/// How much of a command's output is kept for people, in bytes.
const OUTPUT_LEN: u32 = 512;
/// How long a node that has left waits for its last notices.
const LAST_DELIVERIES: Duration = Duration::from_millis(2000);
