//! The socket of a UDP link: how it is set up, and one datagram out or in.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, RxqOvfl};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Socket, Type};

use super::{Delivery, UdpSpec};
use crate::link::failure::OpenError;
use crate::link::filter;

/// What has become of the adapter that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adapter {
    /// It is there.
    Same,
    /// It is there under another name, and no other has its name: the link works on.
    Renamed,
    /// Another adapter has its name.
    Replaced,
    /// It is gone.
    Missing,
}

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) socket: Socket,
    index: u32,
    source: Source,
    pub(super) destinations: Vec<Destination>,
    control: Vec<u8>,
    drops: u32,
}

#[derive(Debug)]
pub(super) struct Destination {
    socket_address: SockaddrStorage,
    pub(super) address: IpAddr,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

pub(super) struct Datagram {
    pub(super) len: usize,
    pub(super) source: Option<SocketAddr>,
    pub(super) is_truncated: bool,
    /// Datagrams dropped by the kernel since the one before this.
    pub(super) drops: Option<u32>,
}

impl Opened {
    pub(super) fn new(spec: &UdpSpec, accepted: &[IpAddr]) -> Result<Self, OpenError> {
        let index = if_nametoindex(spec.adapter.as_str())
            .map_err(|errno| adapter_error("look up adapter", &spec.adapter, errno.into()))?;
        let step = |step| move |source: io::Error| adapter_error(step, &spec.adapter, source);
        let domain = if spec.own.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(step("open a UDP socket for"))?;
        socket.bind_device(Some(spec.adapter.as_bytes())).map_err(step("bind to adapter"))?;
        attach_filter(&socket, accepted, spec.own.is_ipv6());
        set_options(&socket, spec).map_err(step("set socket options for"))?;
        bind(&socket, spec, index)?;
        own_address_must_exist(&socket, spec).map_err(step("set socket options for"))?;
        join(&socket, spec, index).map_err(step("join the multicast group on"))?;
        Ok(Self {
            socket,
            index,
            source: source(spec.own, index),
            destinations: destinations(spec, index),
            control: nix::cmsg_space!(u32),
            drops: 0,
        })
    }

    pub(super) fn send(&self, frame: &[u8], destination: &Destination) -> Result<usize, Errno> {
        let control = match &self.source {
            Source::V4(information) => ControlMessage::Ipv4PacketInfo(information),
            Source::V6(information) => ControlMessage::Ipv6PacketInfo(information),
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let to = Some(&destination.socket_address);
        sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(frame)], &[control], flags, to)
    }

    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<Datagram, Errno> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        // The kernel adds its count only when it is not zero, and starts over at 2^32.
        let total = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::RxqOvfl(total) => Some(total),
                _ => None,
            })
        });
        let drops = total.map(|total| total.wrapping_sub(self.drops));
        self.drops = total.unwrap_or(self.drops);
        Ok(Datagram {
            len: message.bytes,
            source: message.address.as_ref().and_then(socket_address),
            is_truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
            drops,
        })
    }

    /// Returns whether the machine has no such address as `own`; `false` where the kernel does not
    /// say.
    pub(super) fn is_address_missing(&self, own: IpAddr) -> bool {
        let Ok(probe) = Socket::new(domain(own), Type::DGRAM, Some(Protocol::UDP)) else {
            return false;
        };
        let address = scoped(own, 0, self.index);
        let outcome = probe.bind(&address.into());
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }

    pub(super) fn adapter(&self, name: &str) -> Adapter {
        match self.socket.device() {
            Ok(Some(current)) if current == name.as_bytes() => Adapter::Same,
            Ok(_) if if_nametoindex(name).is_ok() => Adapter::Replaced,
            Ok(_) => Adapter::Renamed,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Adapter::Missing,
            // The kernel did not say; what fails next will.
            Err(_) => Adapter::Same,
        }
    }
}

/// Attaches the members' filter; without it, frames are sorted out after they have woken the
/// daemon.
fn attach_filter(socket: &Socket, accepted: &[IpAddr], is_ipv6: bool) {
    let program: Vec<SockFilter> =
        filter::member_frames(accepted, is_ipv6).into_iter().map(SockFilter::from).collect();
    // Refused where classic filters are not built in; `Statistics::filtered` then counts what it
    // would drop.
    let _unattached = socket.attach_filter(&program);
}

fn domain(own: IpAddr) -> Domain {
    if own.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 }
}

fn set_options(socket: &Socket, spec: &UdpSpec) -> io::Result<()> {
    if spec.own.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(CLASS_SELECTOR_6)?;
    } else {
        socket.set_tos_v4(CLASS_SELECTOR_6)?;
    }
    // Set after the type of service, which sets a priority of its own.
    socket.set_priority(PRIORITY)?;
    setsockopt(socket, RxqOvfl, &1)?;
    // Past the machine's limit where that is allowed; else up to it.
    if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER_LEN).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN)?;
    }
    match (spec.delivery, spec.own) {
        (Delivery::Multicast(_), IpAddr::V4(_)) => {
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_all_v4(false)?;
            socket.set_multicast_ttl_v4(1)
        }
        (Delivery::Multicast(_), IpAddr::V6(_)) => {
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_all_v6(false)?;
            socket.set_multicast_hops_v6(1)
        }
        (Delivery::Broadcast, _) => socket.set_broadcast(true),
        // The own address may come later than the daemon, or be tentative still.
        (Delivery::Unicast, IpAddr::V4(_)) => socket.set_freebind_v4(true),
        (Delivery::Unicast, IpAddr::V6(_)) => socket.set_freebind_v6(true),
    }
}

fn bind(socket: &Socket, spec: &UdpSpec, index: u32) -> Result<(), OpenError> {
    let address = match (spec.delivery, spec.own) {
        (Delivery::Unicast, own) => own,
        (_, IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (_, IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    socket.bind(&scoped(address, spec.port, index).into()).map_err(|source| {
        let adapter = spec.adapter.clone();
        if source.kind() == io::ErrorKind::AddrInUse {
            OpenError::PortInUse { port: spec.port, adapter }
        } else {
            OpenError::Refused { step: "bind the port on", adapter, source }
        }
    })
}

/// Makes sending fail while the own address is missing, which binding has overlooked.
///
/// Frames from an address that is not here would reach peers whose answers get nowhere. Over IPv4
/// the permission to bind is none to send.
fn own_address_must_exist(socket: &Socket, spec: &UdpSpec) -> io::Result<()> {
    match (spec.delivery, spec.own) {
        (Delivery::Unicast, IpAddr::V6(_)) => socket.set_freebind_v6(false),
        (Delivery::Unicast | Delivery::Multicast(_) | Delivery::Broadcast, _) => Ok(()),
    }
}

fn join(socket: &Socket, spec: &UdpSpec, index: u32) -> io::Result<()> {
    match spec.delivery {
        Delivery::Multicast(IpAddr::V4(group)) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
        }
        Delivery::Multicast(IpAddr::V6(group)) => socket.join_multicast_v6(&group, index),
        Delivery::Broadcast | Delivery::Unicast => Ok(()),
    }
}

fn destinations(spec: &UdpSpec, index: u32) -> Vec<Destination> {
    let peers = match spec.delivery {
        Delivery::Multicast(group) => vec![group],
        Delivery::Broadcast => vec![IpAddr::V4(Ipv4Addr::BROADCAST)],
        Delivery::Unicast => spec.peers.clone(),
    };
    let all = peers.into_iter().chain(spec.witnesses.iter().copied());
    all.map(|address| Destination {
        socket_address: scoped(address, spec.port, index).into(),
        address,
    })
    .collect()
}

/// Returns a socket address, with the adapter where an IPv6 address means nothing without it (RFC
/// 4007).
fn scoped(address: IpAddr, port: u16, index: u32) -> SocketAddr {
    match address {
        IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, port)),
        IpAddr::V6(address) => {
            let is_local = address.is_unicast_link_local() || address.is_multicast();
            let scope = if is_local { index } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope))
        }
    }
}

fn source(own: IpAddr, index: u32) -> Source {
    match own {
        IpAddr::V4(address) => Source::V4(libc::in_pktinfo {
            ipi_ifindex: index.cast_signed(),
            ipi_spec_dst: libc::in_addr { s_addr: address.to_bits().to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }),
        IpAddr::V6(address) => Source::V6(libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
            ipi6_ifindex: index,
        }),
    }
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

fn adapter_error(step: &'static str, adapter: &str, source: io::Error) -> OpenError {
    let adapter = adapter.to_owned();
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => OpenError::UnknownAdapter { adapter },
        _ => OpenError::Refused { step, adapter, source },
    }
}

/// Network control traffic, as routing protocols mark theirs: CS6 (RFC 2474, RFC 4594 section 3.1).
const CLASS_SELECTOR_6: u32 = 48 << 2;
/// The highest priority in the adapter's queue that needs no right.
const PRIORITY: u32 = 6;
/// What a receive buffer may hold: over a thousand frames, for a daemon that comes late.
const RECEIVE_BUFFER_LEN: usize = 1 << 20;
