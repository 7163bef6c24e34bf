//! A client that asks the service address for an echo each millisecond.
//!
//! It sits on a machine of its own, so its kernel alone decides by ARP or neighbour discovery where
//! the echo requests go: what it suffers is what any user of the service suffers. Arrivals are
//! stamped by the kernel.
//!
//! The measure is the longest time without an answer, from one arrival to the next: a service that
//! always answers shows [`PERIOD_US`]. Time in which the client itself was late with asking is no
//! outage and is taken off, see [`Log::longest_outage_us`].

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::machine::Machine;
use super::stopwatch::Stopwatch;
use crate::sys;

/// The time from one question to the next, in microseconds.
pub const PERIOD_US: u64 = 1_000;

/// When each question was sent and when its answer arrived.
#[derive(Clone, Debug, Default)]
pub struct Log {
    sent_us: Vec<u64>,
    arrivals_us: Vec<u64>,
}

impl Log {
    /// Notes that a question was sent; later calls have later times.
    pub fn handle_sent(&mut self, at_us: u64) {
        self.sent_us.push(at_us);
    }

    /// Notes that an answer arrived; later calls have later times.
    pub fn handle_arrival(&mut self, at_us: u64) {
        self.arrivals_us.push(at_us);
    }

    /// Returns when the newest answer arrived, in microseconds.
    #[must_use]
    pub fn last_arrival_us(&self) -> Option<u64> {
        self.arrivals_us.last().copied()
    }

    /// Returns how many questions were sent and how many answers arrived.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize) {
        (self.sent_us.len(), self.arrivals_us.len())
    }

    /// Returns how many questions were sent between two times, and how many answers arrived.
    #[must_use]
    pub fn counts_between(&self, from_us: u64, to_us: u64) -> (usize, usize) {
        let within = |&&at: &&u64| from_us < at && at < to_us;
        let [sent, arrived] =
            [&self.sent_us, &self.arrivals_us].map(|times| times.iter().filter(within).count());
        (sent, arrived)
    }

    /// Returns the longest time without an answer between `from_us` and `to_us`, in microseconds.
    ///
    /// A time without an answer goes from one arrival to the next; the ends of the interval count
    /// as arrivals. Of the time from one question to the next within it, what is beyond
    /// [`PERIOD_US`] is the client's own lateness and does not count.
    #[must_use]
    pub fn longest_outage_us(&self, from_us: u64, to_us: u64) -> u64 {
        let within = |&&at: &&u64| from_us < at && at < to_us;
        let mut longest_us = 0;
        let mut begun_us = from_us;
        for &at_us in self.arrivals_us.iter().filter(within).chain([&to_us]) {
            let silent_us = at_us.saturating_sub(begun_us);
            // Most gaps are short, and only a longer one than the longest so far is worth a look.
            if silent_us > longest_us {
                let own_us = self.own_lateness_us(begun_us, at_us);
                longest_us = longest_us.max(silent_us.saturating_sub(own_us));
            }
            begun_us = at_us;
        }
        longest_us
    }

    /// Returns by how much in all the questions between two times came later than they should.
    #[must_use]
    pub fn own_lateness_us(&self, from_us: u64, to_us: u64) -> u64 {
        let first = self.sent_us.partition_point(|&sent_us| sent_us <= from_us);
        let after = self.sent_us.partition_point(|&sent_us| sent_us <= to_us);
        let mut before_us = from_us;
        let mut late_us = 0;
        for &sent_us in self.sent_us[first..after].iter().chain([&to_us]) {
            late_us += (sent_us - before_us).saturating_sub(PERIOD_US);
            before_us = sent_us;
        }
        late_us
    }
}

/// A running client; dropping it stops it.
#[derive(Debug)]
pub struct Client {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts asking `address` from `machine`.
    ///
    /// # Errors
    /// What the kernel refused for the socket, the timer or the thread.
    pub fn start(machine: &Machine, address: IpAddr) -> io::Result<Self> {
        let socket = machine.within(|| open_socket(address))?;
        Self::run(socket, Way::Echo(address))
    }

    /// Starts asking a service that sends datagrams back.
    ///
    /// # Errors
    /// What the kernel refused for the socket, the timer or the thread.
    pub fn start_datagrams(machine: &Machine, service: SocketAddr) -> io::Result<Self> {
        let socket = machine.within(|| {
            let socket = Socket::new(Domain::for_address(service), Type::DGRAM, None)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            socket.connect(&service.into())?;
            Ok(socket)
        })?;
        Self::run(socket, Way::Datagram)
    }

    fn run(socket: Socket, way: Way) -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        let period = TimeSpec::from(Duration::from_micros(PERIOD_US));
        timer.set(Expiration::Interval(period), TimerSetTimeFlags::empty())?;
        let log = Arc::new(Mutex::new(Log::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let runner = Runner {
            socket,
            way,
            timer,
            stopwatch: Stopwatch::new(),
            log: Arc::clone(&log),
            stop: Arc::clone(&stop),
        };
        let thread =
            std::thread::Builder::new().name("client".into()).spawn(move || runner.run())?;
        Ok(Self { log, stop, thread: Some(thread) })
    }

    /// Returns what was sent and what arrived so far.
    #[must_use]
    pub fn log(&self) -> Log {
        lock(&self.log).clone()
    }

    /// Returns when the newest answer arrived, in microseconds of boot time.
    #[must_use]
    pub fn last_arrival_us(&self) -> Option<u64> {
        lock(&self.log).last_arrival_us()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by itself; there is nothing left to stop.
            drop(thread.join());
        }
    }
}

/// How the client asks.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The kernel of whoever has this address, by echo requests.
    Echo(IpAddr),
    /// A service, by datagrams on a connected socket.
    Datagram,
}

impl Way {
    /// Returns whether `bytes` from an address are an answer. On a socket for echoes arrives what
    /// every other client on the machine is answered, too.
    fn is_answer(self, from: Option<IpAddr>, bytes: &[u8]) -> bool {
        match self {
            Self::Echo(address) => from == Some(address) && is_echo_reply(address, bytes),
            Self::Datagram => bytes.len() == 2,
        }
    }
}

/// What the client's thread owns.
struct Runner {
    socket: Socket,
    way: Way,
    timer: TimerFd,
    stopwatch: Stopwatch,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
}

impl Runner {
    fn run(mut self) {
        // Without real-time priority it asks as it can, and the log shows how late that was.
        drop(sys::set_fifo_priority(PRIORITY));
        let mut number: u16 = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let (timer_ready, socket_ready) = self.wait();
            self.stopwatch.calibrate();
            if timer_ready && self.timer.wait().is_ok() {
                self.ask(number);
                number = number.wrapping_add(1);
            }
            if socket_ready {
                self.receive();
            }
        }
    }

    /// Returns whether the timer and the socket are ready; one of them is, unless interrupted.
    fn wait(&self) -> (bool, bool) {
        let mut ends = [
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut ends, PollTimeout::NONE).is_err() {
            return (false, false);
        }
        let [timer, socket] = ends.map(|end| end.any().unwrap_or(false));
        (timer, socket)
    }

    fn ask(&self, number: u16) {
        lock(&self.log).handle_sent(self.stopwatch.now_us());
        // No way to the address is an outage, and the missing answer shows it.
        drop(match self.way {
            Way::Echo(address) => {
                let to = SocketAddr::new(address, 0);
                self.socket.send_to(&echo_request(address, number), &to.into())
            }
            Way::Datagram => self.socket.send(&number.to_be_bytes()),
        });
    }

    fn receive(&self) {
        let mut bytes = [0; 512];
        let mut control = nix::cmsg_space!(TimeSpec);
        loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let socket = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let Ok(message) = recvmsg(socket, &mut parts, Some(&mut control), flags) else {
                // Nothing more to read; an error that waits on the socket is taken away by this.
                return;
            };
            let mut at_us = self.stopwatch.now_us();
            for item in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::ScmTimestampns(stamp) = item {
                    at_us = self.stopwatch.from_wall_clock_us(stamp);
                }
            }
            let (len, from) = (message.bytes, message.address.and_then(ip_of));
            if self.way.is_answer(from, &bytes[..len]) {
                lock(&self.log).handle_arrival(at_us);
            }
        }
    }
}

/// The real-time priority of the client: below the switch, which carries its questions.
const PRIORITY: i32 = 55;

/// The identity in the client's echo requests, which the kernel copies into the answers.
const ECHO_IDENTITY: u16 = 0x4c43;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

fn open_socket(address: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// Returns an echo request without IP header (RFC 792, RFC 4443).
fn echo_request(address: IpAddr, number: u16) -> [u8; 8] {
    let kind = if address.is_ipv4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    let [identity_high, identity_low] = ECHO_IDENTITY.to_be_bytes();
    let [number_high, number_low] = number.to_be_bytes();
    let mut request = [kind, 0, 0, 0, identity_high, identity_low, number_high, number_low];
    // For IPv6 the kernel writes the checksum, which covers addresses that it chooses.
    if address.is_ipv4() {
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    request
}

/// Returns the address of a sender.
fn ip_of(sender: SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = sender.as_sockaddr_in().map(|sender| sender.ip().into());
    ipv4.or_else(|| sender.as_sockaddr_in6().map(|sender| sender.ip().into()))
}

/// Returns whether `bytes` are an answer to one of our requests, in the family of `address`.
///
/// An IPv4 packet comes with its header, an IPv6 packet without.
fn is_echo_reply(address: IpAddr, bytes: &[u8]) -> bool {
    let (kind, message) = match address {
        IpAddr::V4(_) => {
            let first = bytes.first().copied().unwrap_or_default();
            let header_len = usize::from(first & 0x0f) * 4;
            (ECHO_REPLY_V4, bytes.get(header_len..).unwrap_or_default())
        }
        IpAddr::V6(_) => (ECHO_REPLY_V6, bytes),
    };
    message.first() == Some(&kind) && message.get(4..6) == Some(&ECHO_IDENTITY.to_be_bytes())
}

/// Returns the Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or(0)
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with a question each millisecond and an answer 50 us after those in `answered`.
    fn log(questions: u64, answered: impl Fn(u64) -> bool) -> Log {
        let mut log = Log::default();
        for number in 0..questions {
            log.handle_sent(number * PERIOD_US);
            if answered(number) {
                log.handle_arrival(number * PERIOD_US + 50);
            }
        }
        log
    }

    #[test]
    fn a_service_that_always_answers_shows_one_period() {
        let log = log(100, |_| true);
        assert_eq!(log.longest_outage_us(0, 99_060), PERIOD_US);
        assert_eq!(log.counts(), (100, 100));
    }

    #[test]
    fn an_outage_goes_from_the_last_answer_to_the_next() {
        let log = log(100, |number| !(20..45).contains(&number) && number != 70);
        assert_eq!(log.longest_outage_us(0, 99_060), 26_000);
        assert_eq!(log.longest_outage_us(50_000, 99_060), 2_000);
    }

    #[test]
    fn silence_at_the_ends_counts() {
        let log = log(100, |number| (30..60).contains(&number));
        assert_eq!(log.longest_outage_us(0, 99_000), 39_950);
        assert_eq!(log.longest_outage_us(0, 70_000), 30_050);
        assert_eq!(Log::default().longest_outage_us(5, 5), 0);
    }

    #[test]
    fn the_clients_own_lateness_is_no_outage() {
        let mut log = Log::default();
        for sent_us in [0, 1_000, 31_000, 32_000, 33_000] {
            log.handle_sent(sent_us);
            log.handle_arrival(sent_us + 50);
        }
        // From the answer at 1.05 ms to the question at 31 ms it asked nothing for 29.95 ms.
        assert_eq!(log.longest_outage_us(0, 33_060), 1_050);
    }

    #[test]
    fn lateness_within_an_outage_leaves_the_rest_of_it() {
        let mut log = Log::default();
        for number in 0..10 {
            log.handle_sent(number * PERIOD_US);
        }
        for number in 40..45 {
            log.handle_sent(number * PERIOD_US);
        }
        log.handle_arrival(50);
        log.handle_arrival(44_050);
        // It asked in vain at 1 to 9 and at 40 to 43, and was 30 ms late between.
        assert_eq!(log.longest_outage_us(0, 44_060), 44_000 - 30_000);
    }

    #[test]
    fn requests_have_the_checksum_of_rfc_1071() {
        let request = echo_request("10.77.0.100".parse().unwrap(), 0x0102);
        assert_eq!(request, [8, 0, 0xaa, 0xba, 0x4c, 0x43, 1, 2]);
        assert_eq!(echo_request("::1".parse().unwrap(), 1)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_answers_to_this_client_count() {
        let own = ECHO_IDENTITY.to_be_bytes();
        let families = [
            (["10.77.0.100", "10.77.0.101"], ECHO_REPLY_V4, [&[0x45; 1][..], &[0; 19]].concat()),
            (["fd00:77::100", "fd00:77::101"], ECHO_REPLY_V6, Vec::new()),
        ];
        for (addresses, reply, header) in families {
            let [asked, other] = addresses.map(|address| address.parse::<IpAddr>().unwrap());
            let packet = |kind, identity: [u8; 2]| {
                [&header[..], &[kind, 0, 0, 0], &identity, &[0; 2]].concat()
            };
            let counts = |from, bytes: &[u8]| Way::Echo(asked).is_answer(from, bytes);
            let answer = packet(reply, own);
            assert!(counts(Some(asked), &answer));
            assert!(!counts(Some(other), &answer), "another client's");
            assert!(!counts(None, &answer));
            assert!(!counts(Some(asked), &packet(3, own)));
            assert!(!counts(Some(asked), &packet(reply, [0, 0])));
            for len in 0..answer.len() - 2 {
                assert!(!counts(Some(asked), &answer[..len]));
            }
        }
    }
}
