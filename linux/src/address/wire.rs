//! The sockets on adapters that carry service addresses, behind one descriptor.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Socket, Type};

use super::error::Error;
use super::mac::Mac;
use super::monitor::{Change, Monitor};
use super::packet::PacketSocket;
use super::{arp, ndp};

/// Everything that can be read.
#[derive(Debug)]
pub(crate) struct Wires {
    epoll: Epoll,
    monitor: Monitor,
    wires: BTreeMap<u32, Wire>,
    buffer: Vec<u8>,
}

/// The sockets on one adapter, for the kinds of addresses there are.
#[derive(Debug)]
struct Wire {
    arp: Option<PacketSocket>,
    ndp: Option<PacketSocket>,
    /// Membership in the groups in which IPv6 addresses are asked for.
    ///
    /// The kernel joins them a moment after an address is installed, and a client whose question
    /// falls into that moment asks again only after a second.
    _groups: Option<Socket>,
}

impl Wires {
    /// Returns no wires, and a monitor for those that come.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = || Error::call("open epoll");
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed())?;
        let monitor = Monitor::open()?;
        epoll.add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, 0)).map_err(failed())?;
        Ok(Self { epoll, monitor, wires: BTreeMap::new(), buffer: vec![0; LONGEST_FRAME] })
    }

    /// Hears of routes too, from here on.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn hear_routes(&self) -> Result<(), Error> {
        self.monitor.hear_routes()
    }

    /// Opens the sockets on adapter `index`, which hear of `services`, answers of the stations
    /// `asked`, and what comes from `macs`.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn connect(
        &mut self,
        index: u32,
        services: &[IpAddr],
        asked: &[IpAddr],
        macs: &[Mac],
    ) -> Result<(), Error> {
        let (ipv4, ipv6) = apart(&[services, asked].concat());
        let (_, groups) = apart(services);
        let open = |is_wanted: bool, ethertype, filter: Vec<_>| {
            is_wanted.then(|| PacketSocket::open(index, ethertype, &filter)).transpose()
        };
        let wire = Wire {
            arp: open(!ipv4.is_empty(), arp::ETHERTYPE, arp::filter(&ipv4, macs))?,
            ndp: open(!ipv6.is_empty(), ndp::ETHERTYPE, ndp::filter(&ipv6, macs))?,
            _groups: (!groups.is_empty()).then(|| join(index, &groups)).transpose()?,
        };
        for socket in wire.sockets() {
            self.epoll
                .add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))
                .map_err(Error::call("watch a packet socket"))?;
        }
        self.wires.insert(index, wire);
        Ok(())
    }

    /// Whether there are sockets on an adapter.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.wires.contains_key(&index)
    }

    /// Closes the sockets on an adapter.
    pub(crate) fn disconnect(&mut self, index: u32) {
        self.wires.remove(&index);
    }

    /// Sends a frame about `ip` on an adapter.
    ///
    /// # Errors
    /// The adapter's, or `ENODEV` where there is no socket on it.
    pub(crate) fn send(&self, index: u32, ip: IpAddr, frame: &[u8]) -> Result<(), Errno> {
        let wire = self.wires.get(&index).ok_or(Errno::ENODEV)?;
        let socket = if ip.is_ipv4() { &wire.arp } else { &wire.ndp };
        socket.as_ref().ok_or(Errno::ENODEV)?.send(frame)
    }

    /// Returns what the monitor tells, at most [`BURST`] datagrams of it.
    pub(crate) fn changes(&mut self, failures: &mut u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..BURST {
            match self.monitor.poll(|change| changes.push(change)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    *failures += 1;
                    break;
                }
            }
        }
        changes
    }

    /// Hands over frames with the number of their adapter, at most [`BURST`] of each socket.
    pub(crate) fn hear(&mut self, mut handle: impl FnMut(u32, &[u8])) {
        for (index, wire) in &self.wires {
            for socket in wire.sockets() {
                for _ in 0..BURST {
                    match socket.receive(&mut self.buffer) {
                        Ok(Some(len)) => handle(*index, self.buffer.get(..len).unwrap_or(&[])),
                        // An adapter that went down says so once, and reading it clears that.
                        Ok(None) | Err(_) => break,
                    }
                }
            }
        }
    }
}

impl AsFd for Wires {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Wire {
    /// Returns the sockets there are.
    fn sockets(&self) -> impl Iterator<Item = &PacketSocket> {
        [&self.arp, &self.ndp].into_iter().flatten()
    }
}

/// Returns the addresses of each family.
fn apart(addresses: &[IpAddr]) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(ip) => ipv4.push(*ip),
            IpAddr::V6(ip) => ipv6.push(*ip),
        }
    }
    (ipv4, ipv6)
}

/// Joins the groups of all `addresses` on an adapter, for as long as the socket is open.
fn join(index: u32, addresses: &[Ipv6Addr]) -> Result<Socket, Error> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        Error::call(format!("join the groups of IPv6 addresses on adapter {index}"))(errno)
    };
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).map_err(failed)?;
    let mut groups: Vec<Ipv6Addr> = addresses.iter().copied().map(ndp::solicited_node).collect();
    // Addresses with the same end share a group, which can be joined once.
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        socket.join_multicast_v6(&group, index).map_err(failed)?;
    }
    Ok(socket)
}

/// How much is taken from a socket before the others have their turn; the rest stays readable.
const BURST: usize = 64;
/// Longer than any frame about an address; what is cut off is of no interest.
const LONGEST_FRAME: usize = 2048;
