//! The daemon: one thread that decides, and never waits for anything but the next event.
//!
//! ```text
//! prepare   settings, keys, tokens, executor, addresses (leftovers down), supervisor, links
//! loop      wake up: authority first, then frames, then what else is readable, then timers,
//!           then what the engine decided, then frames out, then sleep until the next deadline
//! leave     offer and stop every group, say farewell, take the kernel's rules out
//! ```

mod alerts;
mod clients;
mod conduct;
mod connections;
mod dongle;
mod doubt;
mod errand;
mod failures;
mod fence;
mod lines;
mod machine;
mod networks;
mod notifying;
mod outbox;
mod pursuits;
mod remedy;
mod upkeep;

mod paths;
mod ping;
mod prepare;
mod recording;
mod routes;
mod sole;
mod telling;
mod wake;
mod watchdog;
mod word;

use std::collections::VecDeque;

use lifesign_core::decree::Stamp;
use lifesign_core::group::Token;
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::seal::Keyring;
use lifesign_core::time::{Duration, Instant};
use nix::sys::epoll::Epoll;
use nix::sys::signalfd::SignalFd;

use self::clients::Kept;
use self::conduct::Conduct;
use self::connections::Connected;
use self::dongle::Dongle;
use self::failures::Failures;
use self::fence::Fencing;
use self::networks::Watched;
use self::notifying::Notifying;
use self::paths::IpSide;
use self::ping::Pinger;
use self::pursuits::Chase;
use self::pursuits::told::Ended;
use self::watchdog::Watch;
use self::word::Saving;
use crate::address::Addresses;
use crate::agent::Action;
use crate::agent::convention::Patience;
use crate::clock::Timer;
use crate::control::server::Control;
use crate::executor::Executor;
use crate::link::Link;
use crate::log::{Level, Logger};
use crate::notify::Notifier;
use crate::realtime::Obtained;
use crate::record::{Health, Recorded};
use crate::reservation::Reservation;
use crate::settings::{Group, Settings};
use crate::supervisor::Supervisor;

pub use self::prepare::{Options, StartError, run};

/// Everything the decision thread works with.
#[derive(Debug)]
struct Daemon {
    settings: Settings,
    me: NodeId,
    engine: Recorded,
    addresses: Addresses,
    links: Vec<Link>,
    executor: Executor,
    supervisor: Supervisor,
    control: Control,
    logger: Logger,
    notifier: Option<Notifier>,
    reservation: Reservation,
    /// What is being written, until it is known to be on the disk.
    reserving: Option<Token>,
    reserve_retry: Option<Instant>,
    /// The operator's word, until it is known to be on the disk.
    saving: Saving,
    groups: Vec<Holding>,
    errands: Vec<(u32, Errand)>,
    next_errand: u32,
    epoll: Epoll,
    timer: Timer,
    signals: SignalFd,
    notify_at: Instant,
    started: Instant,
    obtained: Obtained,
    decisions: VecDeque<(Instant, String)>,
    alerts: Alerts,
    /// Whether clients can reach this node, where that can be told.
    ip_side: Option<IpSide>,
    pinger: Pinger,
    networks: Vec<Watched>,
    notifying: Notifying,
    clients: Vec<Kept>,
    /// Who is connected with what is held.
    connected: Connected,
    dongles: Vec<Dongle>,
    /// Under which a dongle is spoken to.
    control_keys: Keyring,
    fencing: Fencing,
    /// Who is being fenced.
    pursuits: Vec<Chase>,
    /// The last fence of each server that is over.
    fenced: Vec<Ended>,
    /// This machine's watchdog, if it has one that is needed.
    watch: Option<Watch>,
    is_ready: bool,
}

/// What the shell does for one group.
#[derive(Debug)]
struct Holding {
    conduct: Conduct,
    /// What has failed of it here of late.
    failures: Failures,
    /// Whether a machine that is none of ours may have its addresses.
    is_doubtful: bool,
    /// Until when its addresses may answer.
    lease_end: Instant,
    /// When a step that failed is tried again.
    retry: Option<Instant>,
    /// The adapters without which it cannot be served, that have no carrier now.
    impaired: Vec<String>,
    /// Until when it is kept although this node's IP side is down, because nobody took it.
    keep_until: Option<Instant>,
    /// How each service is, in a few words.
    services: Vec<String>,
    /// When the change of a service that is under way began.
    begun: Instant,
    /// How long each service has been on its way.
    patience: Vec<Patience>,
}

impl Holding {
    fn new(group: &Group) -> Self {
        Self {
            conduct: Conduct::new(&group.services),
            failures: Failures::new(group),
            is_doubtful: false,
            lease_end: Instant::ZERO,
            retry: None,
            impaired: Vec::new(),
            keep_until: None,
            services: vec!["stopped".to_owned(); group.services.len()],
            begun: Instant::ZERO,
            patience: vec![Patience::default(); group.services.len()],
        }
    }
}

/// What the executor was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    /// Write the reservation.
    Reserve(Token),
    /// Write the operator's word.
    Word(Stamp),
    /// Run a service's command.
    Service { group: usize, service: usize, action: Action },
    /// Tell a target what has happened.
    Notify { target: usize },
    /// List the connections of clients.
    List,
    /// End the connections of clients with addresses that have gone.
    Destroy,
    /// Keep a program running beside the daemon.
    Client(usize),
    /// Run a fence agent against this start of a server.
    Fence { target: NodeId, boot: Option<BootId> },
    /// Switch a server on again, by this one of its means.
    PowerOn { target: NodeId, means: u8 },
}

/// What somebody should look at: each with when it began, the latest first.
#[derive(Debug, Default)]
struct Alerts {
    list: VecDeque<(Instant, String)>,
    /// The counters as they were when they were last looked at.
    suspicious: u16,
    reported: Vec<(NodeId, u16)>,
    lost_records: u64,
    /// What was said of the recording last.
    recording: Option<Health>,
    /// Which peers were lost within the last minute, and when.
    losses: Vec<(Instant, NodeId)>,
    looked_at: Instant,
}

/// The most decisions that are remembered for people.
const MOST_DECISIONS: usize = 32;
/// The most alerts that are remembered for people.
const MOST_ALERTS: usize = 32;
/// How long a step that failed waits until it is tried again.
const RETRY: Duration = Duration::from_millis(500);

impl Daemon {
    /// Remembers a decision and logs it.
    fn decided(&mut self, text: String) {
        self.logger.write(Level::Info, format_args!("{text}"));
        self.decisions.push_front((self.engine.now(), text));
        self.decisions.truncate(MOST_DECISIONS);
    }

    /// Remembers something that somebody should look at, and logs it. What is said already is not
    /// said again.
    fn alert(&mut self, text: String) {
        if self.alerts.list.iter().any(|(_, known)| *known == text) {
            return;
        }
        self.logger.write(Level::Warning, format_args!("{text}"));
        self.notify_of_alert(&text, false);
        self.alerts.list.push_front((self.engine.now(), text));
        self.alerts.list.truncate(MOST_ALERTS);
    }

    /// Lets the alerts that begin with `start` be those of `present`: raises what is new, and logs
    /// what is over.
    fn replace_alerts(&mut self, start: &str, present: Vec<String>) {
        let is_over =
            |text: &str| text.starts_with(start) && !present.iter().any(|one| one == text);
        for text in self.end_alerts(is_over) {
            self.logger.write(Level::Info, format_args!("over: {text}"));
        }
        for text in present {
            self.alert(text);
        }
    }

    /// Forgets the alerts that begin with `start`, because they are over.
    fn all_clear(&mut self, start: &str) {
        self.end_alerts(|text| text.starts_with(start));
    }

    /// Forgets the alerts that are over, has it told, and returns them.
    fn end_alerts(&mut self, is_over: impl Fn(&str) -> bool) -> Vec<String> {
        let alerts = self.alerts.list.drain(..);
        let (over, rest): (Vec<_>, Vec<_>) = alerts.partition(|(_, text)| is_over(text));
        self.alerts.list = rest.into();
        let over: Vec<String> = over.into_iter().map(|(_, text)| text).collect();
        for text in &over {
            self.notify_of_alert(text, true);
        }
        over
    }
}
