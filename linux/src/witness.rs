//! The quorum server: a voter over UDP for many clusters, asked only in a tie.
//!
//! Each cluster has its own [`Witness`], told apart by the cluster id in a frame's header and
//! proved by its key. A frame is answered to where it came from: a node's address is taken from its
//! newest frame that was accepted, or, while the node has no session, from its newest rightly
//! tagged frame, so that a recorder cannot draw the answers to a live node away.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;

use lifesign_core::frame::{LinkClass, MAX_FRAME_LEN, peek};
use lifesign_core::group::Token;
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::peer::Stale;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock::{self, Timer};
use crate::executor::message::{Reply, Request};
use crate::executor::{self, Executor};
use crate::log::{Level, Logger};
use crate::notify::Notifier;
use crate::realtime;
use crate::reservation::Reservation;
use crate::settings::safety::cluster_id;
use crate::settings::witness::{WitnessSettings, WitnessedCluster};
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

/// Runs the quorum server of `file` until it is asked to end.
///
/// # Errors
/// Why it does not start.
pub fn run(file: &std::path::Path, state_dir: Option<PathBuf>) -> Result<(), WitnessError> {
    let mut settings = WitnessSettings::load(file).map_err(WitnessError::Settings)?;
    if let Some(state_dir) = state_dir {
        settings.state_dir = state_dir;
    }
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
}

/// One cluster that is served.
struct Served {
    settings: WitnessedCluster,
    witness: Witness,
    reservation: Reservation,
    /// What is being written, and when it is tried again if that failed.
    reserving: Option<(Token, Option<Instant>)>,
    /// Over which socket each node is reached, and where.
    ways: HashMap<NodeId, (usize, SocketAddr)>,
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
        let mut sockets = Vec::new();
        for address in &settings.listen {
            sockets.push(listen(*address)?);
        }
        let started = executor::start("witness").map_err(refused)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?;
        let timer = Timer::new().map_err(refused)?;
        let _obtained = realtime::enter(realtime::PRIORITY);
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
        };
        let event = |number| EpollEvent::new(EpollFlags::EPOLLIN, number);
        let watch =
            |number, descriptor| server.epoll.add(descriptor, event(number)).map_err(refused);
        watch(0, server.timer.as_fd())?;
        watch(1, server.signals.as_fd())?;
        watch(2, server.executor.as_fd())?;
        for (socket, number) in server.sockets.iter().zip(3..) {
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
                return;
            }
            self.attend(now);
            self.tell_manager(now);
            let due = self.clusters.values().map(Served::due).min().unwrap_or(now + RETRY);
            let due = if self.notifier.is_some() { due.min(self.notify_at) } else { due };
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
            served.witness.handle_timeout(now);
            served.reserve(*cluster, &mut self.executor, now);
            while let Some(answer) = served.witness.poll_transmit(now, &mut buffer) {
                let Some((at, to)) = served.ways.get(&answer.to) else { continue };
                if let Some(socket) = self.sockets.get(*at) {
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

impl Served {
    fn new(
        settings: &WitnessSettings,
        cluster: &WitnessedCluster,
        now: Instant,
    ) -> Result<Self, WitnessError> {
        let keyring = key::load(&cluster.key_file, &cluster.name).map_err(refused)?;
        let reservation =
            Reservation::new(&settings.state_dir, &format!("witness-{}", cluster.name));
        let reserved = reservation.load().map_err(refused)?;
        let bits =
            getrandom::u64().map_err(|error| refused(format!("draw a random boot id: {error}")))?;
        let config = WitnessConfig {
            cluster: cluster_id(&cluster.name),
            me: cluster.witness,
            class: LinkClass::Udp,
            longest_promise: settings.longest_promise,
            heartbeat: cluster.heartbeat,
            dead: cluster.dead,
        };
        Ok(Self {
            settings: cluster.clone(),
            witness: Witness::new(&config, keyring, BootId::new(bits), reserved, now),
            reservation,
            reserving: None,
            ways: HashMap::new(),
        })
    }

    fn hear(&mut self, bytes: &[u8], way: (usize, SocketAddr), now: Instant) {
        let Some(link) = LinkId::new(0) else { return };
        let heard = self.witness.handle_frame(link, bytes, now);
        let sender = match heard {
            Ok(heard) => Some(heard.from),
            Err(Rejected::Stale(Stale::NotFresh)) => peek(bytes).ok().map(|header| header.sender),
            Err(_) => None,
        };
        let Some(sender) = sender else { return };
        if heard.is_ok() || self.witness.member().peers.session(sender).is_none() {
            self.ways.insert(sender, way);
        }
    }

    fn reserve(&mut self, cluster: ClusterId, executor: &mut Executor, now: Instant) {
        let again = self.reserving.filter(|(_, due)| due.is_some_and(|due| now.has_reached(due)));
        let token = match self.witness.poll_reserve() {
            Some(token) => Some(token),
            None => again.map(|(token, _)| token),
        };
        let Some(token) = token else { return };
        let (path, contents) = self.reservation.file(token);
        let is_taken = executor.submit(&Request::Persist { id: cluster.0, path, contents }).is_ok();
        self.reserving = Some((token, if is_taken { None } else { Some(now + RETRY) }));
    }

    fn due(&self) -> Instant {
        let retry = self.reserving.and_then(|(_, due)| due);
        retry.into_iter().fold(self.witness.poll_timeout(), Instant::min)
    }
}

fn listen(address: SocketAddr) -> Result<UdpSocket, WitnessError> {
    let socket = UdpSocket::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket.map_err(|error| refused(format!("listen on {address}: {}", said(&error))))
}
