//! A link over serial lines, from one to four ports.
//!
//! With one port it is a null modem to another server, or a cable to a dongle. With more it is part
//! of a ring: own frames go out of every port, and a frame that comes in at one port is given to
//! the daemon once and, if its tag is right, goes out once of every other port, by the same
//! [`Relay`] that the dongle runs.
//!
//! A line carries little, so what waits must not be old: a port hands one message to its device and
//! the next when the line has had the time for it; until then newer frames replace older ones of
//! the same sender. A port that takes nothing loses its own frames only.
//!
//! Devices are never missing for good: whatever is wrong with one is its port's state, and it is
//! opened again by its path after a pause.

pub mod diagnosis;
mod opener;
pub mod port;
mod sorter;
pub mod terminal;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use heapless::Deque;
use lifesign_core::dongle::MAX_MESSAGE_LEN;
use lifesign_core::frame;
use lifesign_core::node::{BootId, MAX_MEMBERS, NodeId};
use lifesign_core::relay::{Origin, PortId, PortSet, Relay};
use lifesign_core::stream::MAX_LINE_LEN;
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use self::opener::{Opened, Opener};
use self::port::Port;
use self::sorter::Sorter;
use super::failure::{Failure, OpenError};
use super::{Source, State, Statistics, Verdict};

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialSpec {
    /// The devices, one for each port, 1 to [`MAX_PORTS`].
    pub devices: Vec<PathBuf>,
    /// Bits per second, with one start and one stop bit around each byte.
    pub speed: u32,
    /// Whether to ask drivers to hand on each byte at once.
    pub low_latency: bool,
    /// This node, whose own frames replace one another.
    pub own: NodeId,
}

/// The most ports of one link.
pub const MAX_PORTS: usize = 4;

/// The speed of a line for which none is given, in bits per second. It is the dongle's.
pub const SPEED: u32 = 115_200;

/// The speeds that can be asked for. A device may know fewer.
pub const SPEEDS: core::ops::RangeInclusive<u32> = 1200..=4_000_000;

/// Returns how long a line of `speed` bits per second is busy with `len` bytes, each between a
/// start and a stop bit.
#[must_use]
pub const fn line_time(len: usize, speed: u32) -> Duration {
    let bits = 10 * len as u64;
    Duration::from_micros((bits * 1_000_000).div_ceil(if speed == 0 { 1 } else { speed as u64 }))
}

impl SerialSpec {
    fn check(&self) -> Result<(), OpenError> {
        let is_twice = |at: usize| self.devices[..at].contains(&self.devices[at]);
        let reason = if self.devices.is_empty() {
            "a serial link needs a device"
        } else if self.devices.len() > MAX_PORTS {
            "a serial link has at most 4 devices"
        } else if (0..self.devices.len()).any(is_twice) {
            "two ports of a link must not be the same device"
        } else if !SPEEDS.contains(&self.speed) {
            "the speed of a serial link must be from 1200 to 4000000"
        } else {
            return Ok(());
        };
        Err(OpenError::Contradiction { reason })
    }
}

/// A serial link. It is never closed: its ports are, one by one.
#[derive(Debug)]
pub struct SerialLink {
    spec: SerialSpec,
    ports: Vec<Port>,
    /// This node, and its present start, as its frames have it.
    own: Option<(NodeId, BootId)>,
    relay: Box<LinkRelay>,
    opener: Opener,
    /// What all ports wait in, so that the daemon waits for one descriptor.
    epoll: Epoll,
    answers: Deque<Answer, MOST_ANSWERS>,
    statistics: Statistics,
}

type LinkRelay = Relay<MAX_PORTS, SLOTS, MAX_LINE_LEN, STARTS>;

/// For each member a frame that waits and for each port a question; and what each is sending.
const SLOTS: usize = MAX_MEMBERS + 2 * MAX_PORTS;

/// The present start of each member, and the one before.
const STARTS: usize = 2 * MAX_MEMBERS;

/// A message of a dongle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The place of the port where it came in.
    pub port: usize,
    /// The message, open or sealed.
    pub bytes: heapless::Vec<u8, MAX_MESSAGE_LEN>,
}

/// How many answers wait for [`poll_reply`](SerialLink::poll_reply); the oldest is lost to another.
const MOST_ANSWERS: usize = 8;

impl SerialLink {
    /// Opens the link; see [`Link::open`](super::Link::open). A device that cannot be had is no
    /// error.
    ///
    /// # Errors
    ///
    /// `spec` contradicts itself, or the kernel refused to make an epoll set.
    pub fn open(spec: SerialSpec) -> Result<Self, OpenError> {
        spec.check()?;
        let refused = |errno: Errno| OpenError::Refused {
            step: "wait for",
            adapter: spec.devices[0].display().to_string(),
            source: errno.into(),
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?;
        let opener = Opener::new().map_err(refused)?;
        epoll.add(&opener, EpollEvent::new(EpollFlags::EPOLLIN, BELL)).map_err(refused)?;
        let ports: Vec<Port> = spec.devices.iter().cloned().map(Port::new).collect();
        let mut link = Self {
            spec,
            ports,
            own: None,
            relay: Box::new(Relay::new()),
            opener,
            epoll,
            answers: Deque::new(),
            statistics: Statistics::default(),
        };
        // Nothing is decided yet, so nothing is held up. What cannot be had is tried again as soon
        // as there is a time.
        for (at, port) in link.ports.iter_mut().enumerate() {
            let opened = port.task(at, &link.spec).run();
            port.handle_opened(opened, &link.epoll, Instant::ZERO);
        }
        Ok(link)
    }

    /// Sends a frame out of every port; see [`Link::send`](super::Link::send). It replaces an own
    /// frame that still waits.
    pub fn send(&mut self, frame: &[u8], now: Instant) {
        self.own = frame::peek(frame).ok().map(|header| (header.sender, header.boot));
        let sent = self.relay.send(Origin::Node(self.spec.own), frame, self.open_ports());
        if sent.is_err() {
            self.statistics.send_failures.count(Errno::EMSGSIZE, None);
        }
        self.pump(now);
    }

    /// Sends a message for a dongle out of every port, in place of one that still waits.
    pub fn ask(&mut self, message: &[u8], now: Instant) {
        for port in self.open_ports().iter() {
            let alone = PortSet::EMPTY.with(port);
            if self.relay.send(Origin::Answer(port), message, alone).is_err() {
                self.statistics.send_failures.count(Errno::EMSGSIZE, None);
            }
        }
        self.pump(now);
    }

    /// Returns a message of a dongle that came in, the oldest first. When too many wait, the oldest
    /// are lost.
    pub fn poll_reply(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// Takes what has come in at the ports; see [`Link::receive`](super::Link::receive).
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) -> usize {
        let mut events = [EpollEvent::empty(); MAX_PORTS + 1];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let before = self.statistics.received;
        for event in &events[..ready] {
            if event.data() == BELL {
                while let Some(opened) = self.opener.poll_opened() {
                    self.handle_opened(opened, now);
                }
                continue;
            }
            let at = usize::try_from(event.data()).unwrap_or(MAX_PORTS);
            let has_hung_up =
                event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            self.read(at, has_hung_up, buffer, now, deliver);
        }
        self.pump(now);
        usize::try_from(self.statistics.received - before).unwrap_or(usize::MAX)
    }

    /// Has ports opened again and sends what waited for its line, as far as it is time; see
    /// [`Link::handle_timeout`](super::Link::handle_timeout). What was opened makes the descriptor
    /// readable.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        for (at, port) in self.ports.iter_mut().enumerate() {
            if port.begin_to_open(now) {
                self.opener.open(port.task(at, &self.spec));
            }
        }
        self.pump(now);
        // The descriptor is that of the set, and stays.
        false
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ports = PortId::all().zip(&self.ports);
        ports.filter_map(|(id, port)| port.poll_timeout(self.relay.is_idle(id))).min()
    }

    /// Returns the descriptor to wait on, the same for ever.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Returns whether frames can be sent at any port.
    #[must_use]
    pub fn state(&self) -> State {
        let mut states = self.ports.iter().map(Port::state);
        let first = states.next().unwrap_or(State::Down(Failure::Other));
        std::iter::once(first).chain(states).find(|state| *state == State::Up).unwrap_or(first)
    }

    /// Returns the counters of all ports together.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns the ports, in the order of their devices.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn open_ports(&self) -> PortSet {
        let ports = PortId::all().zip(&self.ports);
        let open = ports.filter(|(_, port)| port.terminal.is_some());
        open.fold(PortSet::EMPTY, |set, (id, _)| set.with(id))
    }

    /// Reads what has come in at one port.
    fn read(
        &mut self,
        at: usize,
        has_hung_up: bool,
        buffer: &mut [u8],
        now: Instant,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) {
        let Self { own, ports, relay, answers, statistics, .. } = self;
        let own = *own;
        let count = ports.len();
        let (Some(port), Some(id)) = (ports.get_mut(at), PortId::at(at)) else { return };
        let mut sorter = Sorter { own, at, id, count, relay, answers, statistics, now };
        for _ in 0..READS {
            let Some(terminal) = &port.terminal else { return };
            match terminal.read(buffer) {
                Ok(len) => {
                    port.account.bytes(len, now);
                    for byte in &buffer[..len] {
                        match port.deframer.push(*byte) {
                            None => {}
                            Some(Ok(message)) => sorter.take(message, &mut port.account, deliver),
                            Some(Err(garbage)) => port.account.garbage(garbage, now),
                        }
                    }
                    if len < buffer.len() && !has_hung_up {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !has_hung_up => return,
                Err(errno) => {
                    let errno = if errno == Errno::EAGAIN { Errno::EIO } else { errno };
                    return self.close(at, errno, now);
                }
            }
        }
    }

    fn handle_opened(&mut self, opened: Opened, now: Instant) {
        let Some(port) = self.ports.get_mut(opened.at) else { return };
        if port.handle_opened(opened, &self.epoll, now) {
            self.statistics.reopened += 1;
            port.account.statistics.reopened += 1;
        }
    }

    /// Hands to each port what its line has the time for.
    fn pump(&mut self, now: Instant) {
        for (at, id) in PortId::all().take(MAX_PORTS).enumerate() {
            match self.ports.get_mut(at) {
                Some(port) if port.terminal.is_some() => {
                    port.count_line_errors(now);
                    if let Err(errno) = self.pump_port(at, id, now) {
                        self.close(at, errno, now);
                    }
                }
                // What the relay passes on goes to ports that are not there as well.
                Some(_) | None => self.relay.clear(id),
            }
            if let Some(port) = self.ports.get_mut(at) {
                port.note(self.relay.counters(id));
            }
        }
    }

    fn pump_port(&mut self, at: usize, id: PortId, now: Instant) -> Result<(), Errno> {
        let Self { spec, ports, relay, statistics, .. } = self;
        let Some(port) = ports.get_mut(at) else { return Ok(()) };
        if relay.is_idle(id) || !port.is_free(spec, now) {
            return Ok(());
        }
        let Some(terminal) = &port.terminal else { return Ok(()) };
        let bytes = relay.pending(id);
        match terminal.write(bytes) {
            Ok(count) if count > 0 => {
                statistics.sent += u64::from(count == bytes.len());
                statistics.bytes_sent += count as u64;
                port.handle_sent(count, spec, now);
                relay.sent(id, count);
            }
            Err(Errno::EINTR) => {}
            Ok(_) | Err(Errno::EAGAIN) => {
                statistics.send_failures.count_device(Errno::EAGAIN);
                port.handle_stuck(now);
            }
            Err(errno) => {
                statistics.send_failures.count_device(errno);
                return Err(errno);
            }
        }
        Ok(())
    }

    fn close(&mut self, at: usize, errno: Errno, now: Instant) {
        if let (Some(port), Some(id)) = (self.ports.get_mut(at), PortId::at(at)) {
            self.statistics.receive_failures.count_device(errno);
            port.close(errno, &self.epoll, now);
            self.relay.clear(id);
        }
    }
}

/// The number of the opener in the epoll set; ports have their places.
const BELL: u64 = MAX_PORTS as u64;

/// How many times a buffer is filled at one port at one wake-up, so that a line of garbage cannot
/// hold up the others; what is left keeps the descriptor readable.
const READS: usize = 8;
