//! The quorum server: a voter over UDP for many clusters, asked only in a tie.
//!
//! Each cluster has its own [`Witness`](lifesign_core::witness::Witness), told apart by the cluster
//! id in a frame's header and proved by its key. A node is answered wherever it is heard, over each
//! of its networks. Its addresses are taken from frames that were accepted, or, while the node has
//! no session, that are rightly tagged; a copy never takes the place of an address that is heard,
//! so a recorder cannot draw the answers to a live node away.

mod served;
mod telling;
mod watching;
mod way;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;

use lifesign_core::frame::{MAX_FRAME_LEN, peek};
use lifesign_core::node::ClusterId;
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::served::Served;
use crate::clock::{self, Timer};
use crate::connections::note;
use crate::control::server::Control;
use crate::executor::message::Reply;
use crate::executor::{self, Executor};
use crate::log::{Level, Logger};
use crate::notify::Notifier;
use crate::realtime::{self, Obtained};
use crate::settings::safety::cluster_id;
use crate::settings::witness::WitnessSettings;
use crate::settings::{LoadError, key, said};

/// Why a quorum server does not start. Nothing was touched.
#[derive(Debug)]
pub enum WitnessError {
    /// The settings are wrong or cannot be read.
    Settings(LoadError),
    /// Anything else, in one line: what is wrong, where, and what to do.
    Refused(String),
}

impl fmt::Display for WitnessError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(formatter),
            Self::Refused(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for WitnessError {}

fn refused(what: impl fmt::Display) -> WitnessError {
    WitnessError::Refused(what.to_string())
}

/// What the command line says to a quorum server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file of settings.
    pub file: PathBuf,
    /// In place of the settings' directory for what must outlive the server.
    pub state_dir: Option<PathBuf>,
    /// In place of the settings' control socket.
    pub control: Option<PathBuf>,
}

/// Runs a quorum server until it is asked to end.
///
/// # Errors
/// Why it does not start.
pub fn run(options: Options) -> Result<(), WitnessError> {
    let mut settings = WitnessSettings::load(&options.file).map_err(WitnessError::Settings)?;
    settings.state_dir = options.state_dir.unwrap_or(settings.state_dir);
    settings.control = options.control.unwrap_or(settings.control);
    let mut server = Server::prepare(&settings)?;
    server.run();
    Ok(())
}

struct Server {
    sockets: Vec<UdpSocket>,
    clusters: HashMap<ClusterId, Served>,
    executor: Executor,
    logger: Logger,
    notifier: Option<Notifier>,
    signals: SignalFd,
    timer: Timer,
    epoll: Epoll,
    notify_at: Instant,
    is_ready: bool,
    strangers: u64,
    control: Control,
    longest_promise: Duration,
    started: Instant,
    obtained: Obtained,
}

const RETRY: Duration = Duration::from_millis(500);
/// The most datagrams taken from one socket at one wake-up.
const BATCH: usize = 256;

impl Server {
    fn prepare(settings: &WitnessSettings) -> Result<Self, WitnessError> {
        fs::create_dir_all(&settings.state_dir).map_err(|error| {
            refused(format!("open {}: {}", settings.state_dir.display(), said(&error)))
        })?;
        let notifier = Notifier::from_environment().map_err(refused)?;
        let mut caught = SigSet::empty();
        caught.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        caught.thread_block().map_err(refused)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&caught, flags).map_err(refused)?;
        let now = clock::now();
        let mut clusters = HashMap::new();
        for cluster in &settings.clusters {
            let served = Served::new(settings, cluster, now)?;
            clusters.insert(cluster_id(&cluster.name), served);
        }
        // Before the sockets are opened, which it would inherit.
        let started = executor::start("witness", None).map_err(refused)?;
        let mut sockets = Vec::new();
        for address in &settings.listen {
            sockets.push(listen(*address)?);
        }
        let control = Control::bind(&settings.control).map_err(refused)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?;
        let timer = Timer::new().map_err(refused)?;
        let obtained = realtime::enter(realtime::PRIORITY);
        let server = Self {
            sockets,
            clusters,
            executor: started.daemon,
            logger: started.logger,
            notifier,
            signals,
            timer,
            epoll,
            notify_at: now,
            is_ready: false,
            strangers: 0,
            control,
            longest_promise: settings.longest_promise,
            started: now,
            obtained,
        };
        let event = |number| EpollEvent::new(EpollFlags::EPOLLIN, number);
        let watch =
            |number, descriptor| server.epoll.add(descriptor, event(number)).map_err(refused);
        watch(0, server.timer.as_fd())?;
        watch(1, server.signals.as_fd())?;
        watch(2, server.executor.as_fd())?;
        watch(3, server.control.as_fd())?;
        for (socket, number) in server.sockets.iter().zip(4..) {
            watch(number, socket.as_fd())?;
        }
        Ok(server)
    }

    fn run(&mut self) {
        self.logger.write(Level::Info, format_args!("serves {} clusters", self.clusters.len()));
        let mut ready = [EpollEvent::empty(); 16];
        loop {
            let now = clock::now();
            self.receive(now);
            self.hear_executor(now);
            if self.is_asked_to_end() {
                self.logger.write(Level::Info, format_args!("ends, as asked by a signal"));
                self.tell_watchers(now);
                self.control.end("the quorum server ends, as asked by a signal", now);
                return;
            }
            self.handle_requests(now);
            self.attend(now);
            self.tell_watchers(now);
            self.tell_manager(now);
            let due = self.clusters.values().map(Served::due).min().unwrap_or(now + RETRY);
            let due = if self.notifier.is_some() { due.min(self.notify_at) } else { due };
            let due = self.control.poll_timeout().map_or(due, |patience| due.min(patience));
            let timeout = match self.timer.arm(due) {
                Ok(()) => EpollTimeout::NONE,
                Err(_) => EpollTimeout::from(1u8),
            };
            if let Err(error) = self.epoll.wait(&mut ready, timeout)
                && error != Errno::EINTR
            {
                self.logger
                    .write(Level::Error, format_args!("cannot wait for events: {}", error.desc()));
            }
            let _expired = self.timer.consume();
        }
    }

    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; MAX_FRAME_LEN + 1];
        for (at, socket) in self.sockets.iter().enumerate() {
            for _ in 0..BATCH {
                match socket.recv_from(&mut buffer) {
                    // What servers tell one another of their clients is not for it.
                    Ok((len, _)) if note::is_note(&buffer[..len]) => {}
                    Ok((len, from)) => {
                        let cluster = peek(&buffer[..len]).ok().map(|header| header.cluster);
                        match cluster.and_then(|cluster| self.clusters.get_mut(&cluster)) {
                            Some(served) => served.hear(&buffer[..len], (at, from), now),
                            None => self.strangers = self.strangers.saturating_add(1),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An answer that could not be delivered is reported here; the next is another
                    // matter.
                    Err(_) => {}
                }
            }
        }
    }

    fn attend(&mut self, now: Instant) {
        let mut buffer = [0; MAX_FRAME_LEN];
        for (cluster, served) in &mut self.clusters {
            served.is_touched |= now.has_reached(served.due());
            served.witness.handle_timeout(now);
            served.reserve(*cluster, &mut self.executor, now);
            while let Some(answer) = served.witness.poll_transmit(now, &mut buffer) {
                for (at, to) in served.places(answer.to, now) {
                    let Some(socket) = self.sockets.get(at) else { continue };
                    // What is lost here is lost like on the wire; the next heartbeat says it again.
                    let _sent = socket.send_to(&buffer[..answer.len], to);
                }
            }
        }
    }

    fn hear_executor(&mut self, now: Instant) {
        while let Some(reply) = self.executor.poll_reply() {
            let Reply::Persisted { id, failure } = reply else { continue };
            let Some(served) = self.clusters.get_mut(&ClusterId(id)) else { continue };
            let Some((token, _)) = served.reserving else { continue };
            match failure {
                None => {
                    served.reserving = None;
                    served.witness.handle_reserved(token, now);
                }
                Some(reason) => {
                    served.reserving = Some((token, Some(now + RETRY)));
                    let name = &served.settings.name;
                    self.logger.write(
                        Level::Error,
                        format_args!("cluster {name}: tokens cannot be saved, so no new claim is promised: {reason}"),
                    );
                }
            }
        }
    }

    fn is_asked_to_end(&mut self) -> bool {
        let mut is_asked = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => is_asked = true,
                Ok(Ok(Signal::SIGHUP)) => self.reload_keys(),
                _ => {}
            }
        }
        is_asked
    }

    fn reload_keys(&mut self) {
        for served in self.clusters.values_mut() {
            let name = &served.settings.name;
            match key::load(&served.settings.key_file, name) {
                Ok(keyring) => {
                    let signer = keyring.signer().0;
                    served.witness.set_keyring(keyring);
                    self.logger.write(
                        Level::Info,
                        format_args!("cluster {name}: signs with key {signer}"),
                    );
                }
                Err(error) => {
                    self.logger.write(
                        Level::Error,
                        format_args!("cluster {name}: the old keys stay in use: {error}"),
                    );
                }
            }
        }
    }

    fn tell_manager(&mut self, now: Instant) {
        let Some(notifier) = &mut self.notifier else { return };
        if !self.is_ready {
            self.is_ready = notifier.ready();
        }
        if now.has_reached(self.notify_at) {
            notifier.alive();
            let every = notifier.watchdog().unwrap_or(RETRY.times(20));
            self.notify_at = now + Duration::from_micros(every.as_micros() / 3);
        }
    }
}

fn listen(address: SocketAddr) -> Result<UdpSocket, WitnessError> {
    let socket = UdpSocket::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket.map_err(|error| refused(format!("listen on {address}: {}", said(&error))))
}
