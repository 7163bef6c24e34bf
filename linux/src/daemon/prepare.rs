//! From a file of settings to a running daemon: everything that can fail does so here, in one line,
//! before anything is touched.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use lifesign_core::config::Config;
use lifesign_core::engine::Engine;
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::seal::Keyring;
use lifesign_core::time::{Duration, Instant};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::clients;
use super::connections::Connected;
use super::dongle::{self, Dongle};
use super::paths::{self, IpSide};
use super::sole::{self, Sole};
use super::{Alerts, Daemon, Holding, machine, recording};
use super::{fence::Fencing, networks::Watched, notifying::Notifying};
use super::{ping::Pinger, watchdog::Watch, word::Saving};
use crate::address::lease::{Enforcer, EnforcerChoice};
use crate::address::{Addresses, ServiceAddress};
use crate::clock::{self, Timer};
use crate::control::server::Control;
use crate::executor;
use crate::link::Link;
use crate::notify::Notifier;
use crate::realtime;
use crate::record::{Recorded, Recorder, writer::Writer};
use crate::reservation::Reservation;
use crate::settings::{self, LoadError, Settings, host_name, key};
use crate::supervisor::{self, Parted, Supervisor, Tools};
use crate::watchdog::feeder;

/// What the command line says to a daemon.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file of settings, or where `text` comes from.
    pub file: PathBuf,
    /// The settings themselves, if they are not what stands in the file.
    pub text: Option<String>,
    /// Which node this is; by default the one with this machine's host name.
    pub node: Option<String>,
    /// In place of the settings' directory for what must outlive the daemon.
    pub state_dir: Option<PathBuf>,
    /// In place of the settings' control socket.
    pub control: Option<PathBuf>,
    /// In place of the settings' bound of what is recorded.
    pub record: Option<u64>,
}

/// Why a daemon does not start. Nothing was touched.
#[derive(Debug)]
pub enum StartError {
    /// The settings are wrong or cannot be read.
    Settings(LoadError),
    /// Anything else, in one line: what is wrong, where, and what to do.
    Refused(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(formatter),
            Self::Refused(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

fn refused(what: impl fmt::Display) -> StartError {
    StartError::Refused(what.to_string())
}

/// Runs the daemon until it has left in good order.
///
/// # Errors
/// Why it does not start; nothing was touched then.
pub fn run(options: &Options) -> Result<(), StartError> {
    let loaded = match &options.text {
        Some(text) => Settings::parse(&options.file.to_string_lossy(), text)
            .map(|settings| (settings, text.clone()))
            .map_err(LoadError::Wrong),
        None => Settings::load_with_source(&options.file),
    };
    let (mut settings, source) = loaded.map_err(StartError::Settings)?;
    if let Some(state_dir) = &options.state_dir {
        settings.state_dir.clone_from(state_dir);
    }
    if let Some(control) = &options.control {
        settings.control.clone_from(control);
    }
    settings.record = options.record.or(settings.record);
    let me = choose_node(&settings, options.node.as_deref())?;
    let keyring = key::load(&settings.key_file, &settings.cluster).map_err(refused)?;
    machine::check_adapters(&settings, me).map_err(StartError::Refused)?;
    machine::check_rights().map_err(StartError::Refused)?;
    let place = (options.file.to_string_lossy(), source.as_str());
    let advice = machine::prepare_agents(&mut settings, me, (&place.0, place.1))?;
    let name = settings.name_of(me);
    let _lock = sole::lock(&settings.state_dir, &name).map_err(StartError::Refused)?;
    let sole = Sole::claim().map_err(StartError::Refused)?;
    let reservation = Reservation::new(&settings.state_dir, &name);
    let (recorder, writer) =
        recording::open(&settings, &name, &options.file, source).map_err(refused)?;
    let mut daemon = prepare(settings, me, keyring, reservation, (recorder, writer))?;
    let doubt = sole.doubt().map(str::to_owned);
    for text in advice.into_iter().chain(doubt).chain(daemon.saving.take_advice()) {
        daemon.logger.write(crate::log::Level::Warning, format_args!("{text}"));
    }
    daemon.run();
    Ok(())
}

/// Returns which node this machine is.
fn choose_node(settings: &Settings, named: Option<&str>) -> Result<NodeId, StartError> {
    if let Some(name) = named {
        return settings.known_node(name).map_err(refused);
    }
    let name = host_name();
    settings.node(&name).ok_or_else(|| {
        let names: Vec<&str> = settings.nodes.iter().map(|node| node.name.as_str()).collect();
        refused(format!(
            "no node is called \"{name}\" like this machine; say --node with one of {}",
            names.join(", ")
        ))
    })
}

fn prepare(
    settings: Settings,
    me: NodeId,
    keyring: Keyring,
    reservation: Reservation,
    (recorder, writer): (Option<Recorder>, Option<Writer>),
) -> Result<Daemon, StartError> {
    let name = settings.name_of(me);
    let reserved = reservation.load().map_err(refused)?;
    let saving = Saving::load(&settings, &name).map_err(StartError::Refused)?;
    let boot = draw_boot()?;
    let system = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| refused(format!("{what}: {}", settings::said(&error)))
    };
    let errno = |what: &str| {
        let what = what.to_owned();
        move |error: nix::errno::Errno| refused(format!("{what}: {}", error.desc().to_lowercase()))
    };
    let expected = obtainable(settings.enforcer)?;
    configure(&settings, me, expected)?;
    let notifier = Notifier::from_environment().map_err(system("reach the service manager"))?;
    let signals = catch_signals().map_err(errno("catch signals"))?;
    // Before any socket is open: what the executor inherited would never be closed.
    let started = executor::start(&name, writer).map_err(system("start the executor"))?;
    let (watch, feeding) = match Watch::part(&settings, me).map_err(system("feed the watchdog"))? {
        None => (None, None),
        Some((plan, feeder::Parted::Daemon(keeper, feeding, process))) => {
            (Some(Watch::new(keeper, process, &plan)), Some(feeding))
        }
        Some((_, feeder::Parted::Feeder(feeder))) => {
            drop((started.daemon, started.supervisor, notifier, signals));
            feeder.serve(started.logger)
        }
    };
    let links = settings
        .links
        .iter()
        .map(|link| open_link(&settings, link, me))
        .collect::<Result<Vec<_>, _>>()?;
    let control = Control::bind(&settings.control).map_err(refused)?;
    let groups: Vec<Vec<ServiceAddress>> =
        settings.groups.iter().map(|group| group.addresses.clone()).collect();
    // From here on the kernel is touched.
    let mut addresses = Addresses::open_on(
        &groups,
        &settings.seats(me),
        Some(&settings.mac_plan()),
        settings.enforcer,
    )
    .map_err(refused)?;
    for (at, group) in settings.groups.iter().enumerate() {
        addresses.refresh(at, &group.callers.refresh).map_err(refused)?;
    }
    let config = configure(&settings, me, addresses.enforcer())?;
    let take_down = addresses.take_down().map_err(refused)?;
    let (executor, logger) = (started.daemon, started.logger);
    let mut supervisor = match Supervisor::part().map_err(system("start the supervisor"))? {
        Parted::Daemon(supervisor) => supervisor,
        Parted::Supervisor(post) => {
            // What stays open here would neither close nor leave an epoll set when the daemon
            // closes it.
            drop((addresses, links, control, executor, notifier, signals, watch));
            let groups = settings.groups.clone();
            let links = supervisor::ways(&settings, me);
            let executor = started.supervisor;
            post.watch(Tools { take_down, executor, node: name, groups, links, feeding }, &logger)
        }
    };
    drop((take_down, started.supervisor, feeding));
    for leftover in addresses.remove_leftovers().map_err(refused)? {
        logger.write(
            crate::log::Level::Warning,
            format_args!("took down {leftover}, left by an earlier start"),
        );
    }
    for adapter in addresses.prepare_macs().map_err(refused)? {
        logger.write(
            crate::log::Level::Warning,
            format_args!("put {adapter} right, whose MAC address an earlier start had left"),
        );
    }
    let now = clock::now();
    let connected = Connected::new(&settings, &keyring, now);
    let control_keys = dongle::control_keys(&keyring);
    let mut engine = Engine::new(config, keyring, boot, reserved, now);
    if let Some(decree) = saving.remembered() {
        engine.handle_remembered(decree, now);
    }
    leave_farewells(&engine, &mut supervisor);
    let clients = clients::kept(&settings, me, now);
    let obtained = realtime::enter(realtime::PRIORITY);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(errno("wait for events"))?;
    let timer = Timer::new().map_err(errno("make a timer"))?;
    let holdings = settings.groups.iter().map(Holding::new).collect();
    let (pinger, ip_side) = watch_ip_side(&settings, now).map_err(system("prepare to ping"))?;
    let mut daemon = Daemon {
        me,
        engine: Recorded::new(engine, recorder),
        addresses,
        links,
        executor,
        supervisor,
        control,
        logger,
        notifier,
        reservation,
        reserving: None,
        reserve_retry: None,
        saving,
        groups: holdings,
        errands: Vec::new(),
        next_errand: 0,
        epoll,
        timer,
        signals,
        notify_at: now,
        started: now,
        obtained,
        decisions: std::collections::VecDeque::new(),
        alerts: Alerts::default(),
        ip_side,
        pinger,
        networks: Watched::all(&settings, me),
        notifying: Notifying::new(&settings),
        clients,
        connected,
        dongles: Dongle::all(&settings, now),
        control_keys,
        fencing: Fencing::new(boot),
        pursuits: Vec::new(),
        fenced: Vec::new(),
        watch,
        is_ready: false,
        settings,
    };
    daemon.register().map_err(errno("wait for events"))?;
    daemon.begin_watching(now);
    Ok(daemon)
}

/// Returns the enforcer that this machine would give, without touching anything.
fn obtainable(choice: EnforcerChoice) -> Result<Enforcer, StartError> {
    let is_allowed = |enforcer: &Enforcer| match choice {
        EnforcerChoice::Auto => true,
        EnforcerChoice::Only(only) => only == *enforcer,
    };
    let mut reasons = Vec::new();
    for enforcer in Enforcer::ALL.into_iter().filter(is_allowed) {
        match enforcer.check() {
            Ok(()) => return Ok(enforcer),
            Err(error) => reasons.push(format!("{enforcer}: {error}")),
        }
    }
    Err(refused(format!("no kernel lease can be had here: {}", reasons.join("; "))))
}

fn configure(settings: &Settings, me: NodeId, enforcer: Enforcer) -> Result<Config, StartError> {
    let overshoot = Duration::from_micros(enforcer.overshoot_us());
    settings.engine_config(me, overshoot).map_err(refused)
}

/// Leaves with the supervisor what it says when this process is dead.
pub(super) fn leave_farewells(engine: &Engine, supervisor: &mut Supervisor) -> bool {
    let mut buffer = [0; MAX_FRAME_LEN];
    LinkId::all().take(engine.config().links.len()).fold(true, |all, link| {
        let len = engine.farewell(link, &mut buffer);
        supervisor.leave_farewell(link.number(), &buffer[..len]) && all
    })
}

/// Prepares to ask whether clients can reach this node, as far as the settings make that possible.
fn watch_ip_side(settings: &Settings, now: Instant) -> io::Result<(Pinger, Option<IpSide>)> {
    let timing = &settings.timing;
    let is_watched = paths::has_reference(settings);
    let targets = if is_watched { settings.ping.as_slice() } else { &[] };
    let every = timing.heartbeat.times(10).max(LEAST_PING);
    let pinger = Pinger::new(targets, every, now)?;
    let patience = timing.dead.times(2);
    let patience = if targets.is_empty() { patience } else { patience.max(pinger.patience()) };
    let side = is_watched.then(|| IpSide::new(patience, now + timing.settle));
    Ok((pinger, side))
}

/// The least time between two pings of one machine.
const LEAST_PING: Duration = Duration::from_millis(100);

fn draw_boot() -> Result<BootId, StartError> {
    let bits =
        getrandom::u64().map_err(|error| refused(format!("draw a random boot id: {error}")))?;
    Ok(BootId::new(bits))
}

fn catch_signals() -> Result<SignalFd, nix::errno::Errno> {
    let mut caught = SigSet::empty();
    caught.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD]);
    caught.thread_block()?;
    SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn open_link(settings: &Settings, link: &settings::Link, me: NodeId) -> Result<Link, StartError> {
    let missing =
        || refused(format!("link \"{}\" has no address or adapter for this node", link.name));
    let spec = settings.spec_of(link, me).ok_or_else(missing)?;
    Link::open(&spec).map_err(|error| refused(format!("link \"{}\": {error}", link.name)))
}

impl Daemon {
    /// Puts every descriptor that is there from the start into the epoll set.
    fn register(&self) -> Result<(), nix::errno::Errno> {
        use super::wake::Source;
        for (source, descriptor) in [
            (Source::Timer, self.timer.as_fd()),
            (Source::Signals, self.signals.as_fd()),
            (Source::Addresses, self.addresses.as_fd()),
            (Source::Executor, self.executor.as_fd()),
            (Source::Control, self.control.as_fd()),
            (Source::Pings, self.pinger.as_fd()),
        ] {
            self.epoll.add(descriptor, source.event())?;
        }
        if let Some(keeper) = self.watch.as_ref().and_then(Watch::keeper) {
            self.epoll.add(keeper, Source::Watchdog.event())?;
        }
        for (link, at) in self.links.iter().zip(0..) {
            if let Some(descriptor) = link.descriptor() {
                self.epoll.add(descriptor, Source::Link(at).event())?;
            }
        }
        Ok(())
    }
}
