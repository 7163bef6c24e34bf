//! Segments that make clients find out that their connection is gone.
//!
//! A tickle is an acknowledgment from the service address that fits no window. By RFC 9293 (section
//! 3.10.7.4) the client answers it with one of its own; the kernel here, which has no such
//! connection, refuses that with a reset that fits (section 3.5.2), and the client's connection is
//! closed. Where the client has opened a new connection from the same port meanwhile, its answer is
//! an acknowledgment like any other and does no harm.
//!
//! Tickles go by the machine's routes, so clients behind routers are reached as well. Some repeat,
//! as the first may be lost, or come before the client's router knows where the address is.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::net::{IpAddr, SocketAddr};

use lifesign_core::time::{Duration, Instant};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Connection;

/// The clients of a group that are told.
#[derive(Debug, Default)]
pub struct Tickling {
    clients: Vec<Connection>,
    start: Instant,
    /// How many turns have begun.
    turns: usize,
    /// Those who are to be told in this turn.
    left: VecDeque<Connection>,
}

impl Tickling {
    /// Begins to tell `clients`, in place of those before; [`V6_READY`] later if an address is of
    /// IPv6.
    pub fn begin(&mut self, clients: Vec<Connection>, now: Instant) {
        let has_v6 = clients.iter().any(|connection| connection.service.is_ipv6());
        let start = if has_v6 { now + V6_READY } else { now };
        *self = Self { clients, start, turns: 0, left: VecDeque::new() };
    }

    /// Tells nobody any more: the address is not held.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// Returns the clients to tell now, at most [`BURST`]. Nobody is told from `until` on, when
    /// the address may be another's.
    pub fn poll(&mut self, now: Instant, until: Instant) -> Vec<Connection> {
        if now >= until {
            self.end();
            return Vec::new();
        }
        if self.left.is_empty() && self.turn_due().is_some_and(|due| now.has_reached(due)) {
            self.turns += 1;
            self.left = self.clients.iter().copied().collect();
        }
        let count = self.left.len().min(BURST);
        self.left.drain(..count).collect()
    }

    /// Returns when [`poll`](Self::poll) next has somebody.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left.is_empty() { self.turn_due() } else { Some(self.start) }
    }

    fn turn_due(&self) -> Option<Instant> {
        if self.clients.is_empty() {
            return None;
        }
        turn(self.turns).map(|after| self.start + after)
    }
}

/// Returns how long after the takeover the turn `number`, from 0, begins.
pub(crate) fn turn(number: usize) -> Option<Duration> {
    TURNS_MS.get(number).map(|after| Duration::from_millis(*after))
}

/// How long after the takeover each turn begins. A client answers one connection's misfits every
/// half second at most.
const TURNS_MS: [u64; 3] = [0, 1000, 3000];
/// How long after it has added an address of IPv6 the kernel may take what is sent there for
/// somebody else's. If it asked for a neighbour meanwhile, it would miss the answer, and ask again
/// only after a second, for which the client would hear nothing at all.
pub const V6_READY: Duration = Duration::from_millis(20);
/// The most segments that are sent at one wake-up.
pub const BURST: usize = 64;

/// The sockets by which segments go out: one for each service address, bound to it, so that
/// segments take the ways of what comes from there, whatever adapter and hardware address those
/// lead out of.
#[derive(Debug, Default)]
pub struct Tickler {
    sockets: BTreeMap<IpAddr, Socket>,
}

impl Tickler {
    /// Sends one segment. Its service address is on this machine.
    ///
    /// # Errors
    /// Not permitted without `CAP_NET_RAW`; no route to the client; a full queue.
    pub fn send(&mut self, connection: &Connection) -> io::Result<()> {
        let packet = packet(connection).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = match self.sockets.entry(connection.service.ip()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let socket = open(*place.key())?;
                place.insert(socket)
            }
        };
        // A raw socket takes no port.
        let to = SocketAddr::new(connection.client.ip(), 0);
        socket.send_to(&packet, &to.into()).map(drop)
    }
}

/// Opens a socket that hears nothing and sends from `service`.
fn open(service: IpAddr) -> io::Result<Socket> {
    let own = SocketAddr::new(service, 0);
    let protocol = Some(Protocol::from(RAW));
    let socket = Socket::new(Domain::for_address(own), Type::RAW.nonblocking(), protocol)?;
    socket.bind(&own.into())?;
    Ok(socket)
}

/// Sends packets that have their IP header (raw(7)).
const RAW: i32 = 255;

/// Returns the whole packet, or `None` where the addresses are of different kinds.
fn packet(connection: &Connection) -> Option<Vec<u8>> {
    let Connection { service, client } = *connection;
    let segment = TcpRepr {
        src_port: service.port(),
        dst_port: client.port(),
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: Some(TcpSeqNumber(0)),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let capabilities = ChecksumCapabilities::default();
    let len = segment.buffer_len();
    let header_len = match (service.ip(), client.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => IPV4_HEADER_LEN,
        (IpAddr::V6(_), IpAddr::V6(_)) => IPV6_HEADER_LEN,
        _ => return None,
    };
    let mut bytes = vec![0; header_len + len];
    let (header, body) = bytes.split_at_mut(header_len);
    match (service.ip(), client.ip()) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: len,
            hop_limit: HOPS,
        }
        .emit(&mut Ipv4Packet::new_unchecked(header), &capabilities),
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: len,
            hop_limit: HOPS,
        }
        .emit(&mut Ipv6Packet::new_unchecked(header)),
        _ => return None,
    }
    let (from, to) = (IpAddress::from(service.ip()), IpAddress::from(client.ip()));
    segment.emit(&mut TcpPacket::new_unchecked(body), &from, &to, &capabilities);
    Some(bytes)
}

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
/// Through how many routers a segment may go.
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::tests::connection;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    const LATE: Instant = Instant::from_micros(1 << 50);

    #[test]
    fn each_client_is_told_at_once_and_twice_again() {
        let mut tickling = Tickling::default();
        assert_eq!(tickling.poll_timeout(), None);
        tickling.begin(vec![connection(1), connection(2)], at(10));
        let mut turns = Vec::new();
        while let Some(due) = tickling.poll_timeout() {
            assert!(tickling.poll(at(9), LATE).is_empty(), "not before");
            assert_eq!(tickling.poll(due, LATE), [connection(1), connection(2)]);
            assert!(tickling.poll(due, LATE).is_empty());
            turns.push(due);
        }
        assert_eq!(turns, [at(10), at(1010), at(3010)]);
    }

    #[test]
    fn clients_of_ipv6_are_told_when_the_kernel_is_ready() {
        let v6 = ["[fd00::100]:80", "[fd00::5]:4660"].map(|end| end.parse().unwrap());
        let v6 = Connection { service: v6[0], client: v6[1] };
        let mut tickling = Tickling::default();
        tickling.begin(vec![connection(1), v6], at(10));
        assert_eq!(tickling.poll_timeout(), Some(at(30)));
        assert!(tickling.poll(at(29), LATE).is_empty());
        assert_eq!(tickling.poll(at(30), LATE), [connection(1), v6]);
        assert_eq!(tickling.poll_timeout(), Some(at(1030)));
    }

    #[test]
    fn many_are_told_in_bursts() {
        let mut tickling = Tickling::default();
        let count = u16::try_from(2 * BURST + 1).unwrap();
        tickling.begin((0..count).map(connection).collect(), at(0));
        let mut lens = Vec::new();
        for _ in 0..3 {
            assert_eq!(tickling.poll_timeout(), Some(at(0)));
            lens.push(tickling.poll(at(0), LATE).len());
        }
        assert_eq!(lens, [BURST, BURST, 1]);
        assert_eq!(tickling.poll_timeout(), Some(at(1000)));
    }

    #[test]
    fn nobody_is_told_once_authority_has_ended() {
        let mut tickling = Tickling::default();
        tickling.begin(vec![connection(1)], at(0));
        assert!(tickling.poll(at(5), at(5)).is_empty());
        assert!(tickling.poll(at(5), LATE).is_empty(), "and not later either");
        assert_eq!(tickling.poll_timeout(), None);
    }

    #[test]
    fn a_segment_is_an_acknowledgment_that_fits_nothing() {
        for (service, client) in
            [("10.77.0.100:80", "10.77.0.5:4660"), ("[fd00::100]:80", "[fd00::5]:4660")]
        {
            let connection =
                Connection { service: service.parse().unwrap(), client: client.parse().unwrap() };
            let bytes = packet(&connection).unwrap();
            let (from, to): (IpAddress, IpAddress) =
                (connection.service.ip().into(), connection.client.ip().into());
            let body = if connection.client.is_ipv4() {
                let packet = Ipv4Packet::new_checked(&bytes).unwrap();
                assert!(packet.verify_checksum());
                assert_eq!((packet.src_addr(), packet.dst_addr()).0.to_string(), "10.77.0.100");
                bytes[IPV4_HEADER_LEN..].to_vec()
            } else {
                let packet = Ipv6Packet::new_checked(&bytes).unwrap();
                assert_eq!(packet.dst_addr().to_string(), "fd00::5");
                bytes[IPV6_HEADER_LEN..].to_vec()
            };
            let segment = TcpPacket::new_checked(&body[..]).unwrap();
            assert!(segment.verify_checksum(&from, &to));
            assert!(segment.ack() && !segment.syn() && !segment.rst() && !segment.fin());
            assert_eq!((segment.src_port(), segment.dst_port()), (80, 4660));
            assert_eq!(segment.payload().len(), 0);
        }
        let mixed = Connection {
            service: "10.77.0.100:80".parse().unwrap(),
            client: "[fd00::5]:4660".parse().unwrap(),
        };
        assert_eq!(packet(&mixed), None);
    }
}
