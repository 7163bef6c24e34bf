//! Machines beyond the cluster, asked whether they are there: echo requests of ICMP, RFC 792 and
//! RFC 4443.
//!
//! Each is asked over a socket that is connected to it, so nobody else can wake the daemon. An
//! answer counts if it repeats what this start has drawn at random.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// The machines that are asked.
#[derive(Debug)]
pub(super) struct Pinger {
    targets: Vec<Target>,
    every: Duration,
    next: Instant,
    secret: [u8; SECRET_LEN],
    /// What all sockets wait in.
    epoll: Epoll,
}

/// One machine that is asked.
#[derive(Debug)]
pub(super) struct Target {
    /// Its address.
    pub(super) ip: IpAddr,
    /// When it last answered.
    pub(super) answered: Option<Instant>,
    /// Why it cannot be asked, if it cannot.
    pub(super) failure: Option<Errno>,
    socket: Option<Socket>,
    sequence: u16,
    /// How many requests in a row it has not answered.
    unanswered: u32,
}

const SECRET_LEN: usize = 16;
const REQUEST_LEN: usize = 8 + SECRET_LEN;
/// An answer counts if it is to one of this many requests.
const RECENT: u16 = 4;
/// After this many requests without an answer a socket is made anew: its source address may not be
/// the right one any more.
const TIRED: u32 = 4;
/// The longest answer that is looked at: the longest IPv4 header, and ours.
const LONGEST: usize = 60 + REQUEST_LEN;

impl Pinger {
    /// Makes a pinger that asks each of `targets` `every` so often.
    pub(super) fn new(targets: &[IpAddr], every: Duration, now: Instant) -> io::Result<Self> {
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let targets = targets.iter().map(|ip| Target::new(*ip)).collect();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { targets, every, next: now, secret, epoll })
    }

    /// Asks everybody if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.targets.is_empty() || !now.has_reached(self.next) {
            return;
        }
        self.next = now + self.every;
        for target in &mut self.targets {
            target.failure = target.ask(&self.secret, &self.epoll).err().map(|error| errno(&error));
            if target.failure.is_some() || target.unanswered >= TIRED {
                target.socket = None;
                target.unanswered = 0;
            }
        }
    }

    /// Takes in the answers that have come.
    pub(super) fn handle_readable(&mut self, now: Instant) {
        for target in &mut self.targets {
            if target.has_answered(&self.secret) {
                target.answered = Some(now);
                target.unanswered = 0;
            }
        }
    }

    /// Returns when everybody is asked next, if anybody is.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.targets.is_empty()).then_some(self.next)
    }

    /// Returns whether anybody has answered within the last three rounds.
    pub(super) fn is_answered(&self, now: Instant) -> bool {
        let is_recent = |answered: Instant| now.since(answered) < self.patience();
        self.targets.iter().filter_map(|target| target.answered).any(is_recent)
    }

    /// Returns after how long a machine that was there counts as gone.
    pub(super) fn patience(&self) -> Duration {
        self.every.times(3)
    }

    /// Returns who is asked.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }
}

impl AsFd for Pinger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Target {
    const fn new(ip: IpAddr) -> Self {
        Self { ip, answered: None, failure: None, socket: None, sequence: 0, unanswered: 0 }
    }

    fn ask(&mut self, secret: &[u8; SECRET_LEN], epoll: &Epoll) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = connect(self.ip)?;
            epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        self.sequence = self.sequence.wrapping_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        socket.send(&request(self.ip, self.sequence, secret)).map(|_| ())
    }

    fn has_answered(&self, secret: &[u8; SECRET_LEN]) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut buffer = [0; LONGEST];
        let mut has_answered = false;
        // What is wrong with the socket is found when it is asked over next.
        while let Ok(len) = io::Read::read(&mut &*socket, &mut buffer) {
            let answer = sequence_of(self.ip, &buffer[..len], secret);
            has_answered |=
                answer.is_some_and(|answer| self.sequence.wrapping_sub(answer) < RECENT);
        }
        has_answered
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

fn connect(ip: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match ip {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(ip, 0).into())?;
    Ok(socket)
}

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Returns an echo request. Its identifier is the beginning of the secret.
fn request(ip: IpAddr, sequence: u16, secret: &[u8; SECRET_LEN]) -> [u8; REQUEST_LEN] {
    let mut packet = [0; REQUEST_LEN];
    packet[0] = if ip.is_ipv4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    packet[4..6].copy_from_slice(&secret[..2]);
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[8..].copy_from_slice(secret);
    if ip.is_ipv4() {
        // Over IPv6 the kernel fills the checksum in.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Returns the number of the request that `bytes` answer, if they do.
fn sequence_of(ip: IpAddr, bytes: &[u8], secret: &[u8; SECRET_LEN]) -> Option<u16> {
    let (kind, message) = match ip {
        // A raw socket of IPv4 gives the header too, with its length in words.
        IpAddr::V4(_) => (ECHO_REPLY_V4, bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?),
        IpAddr::V6(_) => (ECHO_REPLY_V6, bytes),
    };
    let (head, rest) = message.split_first_chunk::<8>()?;
    let [found, 0, _, _, one, two, high, low] = *head else { return None };
    let is_ours = found == kind && [one, two] == secret[..2] && rest == secret;
    is_ours.then(|| u16::from_be_bytes([high, low]))
}

/// Returns the checksum of RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::namespace::{self, Users};

    const SECRET: [u8; SECRET_LEN] = *b"0123456789abcdef";
    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 254));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn a_request_has_the_checksum_of_the_rfc() {
        let packet = request(V4, 7, &SECRET);
        assert_eq!(checksum(&packet), 0, "a packet with its checksum sums up to nothing");
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_an_answer_with_the_secret_counts() {
        let answer = |ip: IpAddr| {
            let mut packet = request(ip, 7, &SECRET).to_vec();
            packet[0] = if ip.is_ipv4() { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
            if ip.is_ipv4() {
                let mut whole = vec![0x46; 24];
                whole.append(&mut packet);
                packet = whole;
            }
            packet
        };
        for ip in [V4, V6] {
            let good = answer(ip);
            assert_eq!(sequence_of(ip, &good, &SECRET), Some(7));
            assert_eq!(sequence_of(ip, &good, &[0; SECRET_LEN]), None);
            assert_eq!(sequence_of(ip, &request(ip, 7, &SECRET), &SECRET), None, "a request");
            for len in 0..good.len() {
                assert_eq!(sequence_of(ip, &good[..len], &SECRET), None, "{len} bytes");
            }
            let mut longer = good;
            longer.push(0);
            assert_eq!(sequence_of(ip, &longer, &SECRET), None);
        }
        assert_eq!(sequence_of(V4, &[0x4f; 30], &SECRET), None, "a header longer than the packet");
    }

    #[test]
    fn machines_of_both_families_answer_and_nobody_else_does() {
        let name = "daemon::ping::tests::machines_of_both_families_answer_and_nobody_else_does";
        if namespace::enter(name, Users::New).unwrap().is_none() {
            return;
        }
        let every = Duration::from_millis(20);
        let there = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), V6];
        let away: IpAddr = "192.0.2.1".parse().unwrap();
        let mut pinger = Pinger::new(&[there[0], there[1], away], every, clock::now()).unwrap();
        for _ in 0..20 {
            pinger.handle_timeout(clock::now());
            std::thread::sleep(core::time::Duration::from_millis(10));
            pinger.handle_readable(clock::now());
        }
        let answered = |ip: IpAddr| {
            let target = pinger.targets().iter().find(|target| target.ip == ip);
            target.is_some_and(|target| target.answered.is_some())
        };
        assert!(there.into_iter().all(answered), "{pinger:?}");
        assert!(!answered(away));
        assert!(pinger.is_answered(clock::now()));
        assert!(!pinger.is_answered(clock::now() + pinger.patience()));
        assert_eq!(pinger.targets()[2].failure, Some(Errno::ENETUNREACH));
    }

    #[test]
    fn nobody_is_asked_where_nobody_is_named() {
        let mut pinger = Pinger::new(&[], Duration::from_millis(100), Instant::ZERO).unwrap();
        pinger.handle_timeout(Instant::ZERO);
        assert_eq!(pinger.poll_timeout(), None);
        assert!(!pinger.is_answered(Instant::ZERO));
    }
}
