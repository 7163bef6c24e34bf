//! The socket of a UDP link: how it is set up, and one datagram out or in.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Socket, Type};

use super::{Delivery, UdpSpec};
use crate::link::adapter::{
    Adapter, Carrier, Datagram, PRIORITY, adapter_error, drops, index_of, set_buffer,
};
use crate::link::failure::{Failure, OpenError};
use crate::link::{Source, filter};

#[derive(Debug)]
pub(in crate::link) struct Opened {
    socket: Socket,
    index: u32,
    accepted: Vec<IpAddr>,
    source: Origin,
    destinations: Vec<Destination>,
    control: Vec<u8>,
    drops: u32,
}

#[derive(Debug)]
struct Destination {
    socket_address: SockaddrStorage,
    address: IpAddr,
}

/// From which address a frame is sent.
#[derive(Clone, Copy, Debug)]
enum Origin {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Carrier for Opened {
    type Spec = UdpSpec;

    fn open(spec: &UdpSpec) -> Result<Self, OpenError> {
        spec.check()?;
        let accepted = spec.accepted();
        let index = index_of(&spec.adapter)?;
        let step = |step| move |source: io::Error| adapter_error(step, &spec.adapter, source);
        let domain = domain(spec.own);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(step("open a UDP socket for"))?;
        socket.bind_device(Some(spec.adapter.as_bytes())).map_err(step("bind to adapter"))?;
        attach_filter(&socket, &accepted, spec.own.is_ipv6());
        set_options(&socket, spec).map_err(step("set socket options for"))?;
        bind(&socket, spec, index)?;
        own_address_must_exist(&socket, spec).map_err(step("set socket options for"))?;
        join(&socket, spec, index).map_err(step("join the multicast group on"))?;
        Ok(Self {
            socket,
            index,
            accepted,
            source: source(spec.own, index),
            destinations: destinations(spec, index),
            control: nix::cmsg_space!(u32),
            drops: 0,
        })
    }

    fn send(&self, frame: &[u8], tell: &mut dyn FnMut(Option<IpAddr>, Result<usize, Errno>)) {
        let control = match &self.source {
            Origin::V4(information) => ControlMessage::Ipv4PacketInfo(information),
            Origin::V6(information) => ControlMessage::Ipv6PacketInfo(information),
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        for Destination { socket_address, address } in &self.destinations {
            let (frame, to) = ([IoSlice::new(frame)], Some(socket_address));
            tell(Some(*address), sendmsg(self.socket.as_raw_fd(), &frame, &[control], flags, to));
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Datagram, Errno> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let source = message.address.as_ref().and_then(socket_address);
        Ok(Datagram {
            frame: 0..message.bytes,
            source: source.map(Source::Udp),
            is_accepted: source.is_some_and(|source| self.accepted.contains(&source.ip())),
            is_truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
            drops: drops(&message, &mut self.drops),
        })
    }

    fn adapter(&self, spec: &UdpSpec) -> Adapter {
        let name = spec.adapter.as_str();
        match self.socket.device() {
            Ok(Some(current)) if current == name.as_bytes() => Adapter::Same,
            Ok(_) if if_nametoindex(name).is_ok() => Adapter::Replaced,
            Ok(_) => Adapter::Renamed,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Adapter::Missing,
            // The kernel did not say; what fails next will.
            Err(_) => Adapter::Same,
        }
    }

    /// An address that goes takes its routes with it, and the kernel may complain of those.
    fn judge(&self, spec: &UdpSpec, failure: Failure) -> Failure {
        let is_about_routes = matches!(failure, Failure::Unreachable | Failure::AddressMissing);
        if is_about_routes && self.is_address_missing(spec.own) {
            return Failure::AddressMissing;
        }
        failure
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Opened {
    /// Returns whether the machine has no such address as `own`; `false` where the kernel does not
    /// say.
    fn is_address_missing(&self, own: IpAddr) -> bool {
        let Ok(probe) = Socket::new(domain(own), Type::DGRAM, Some(Protocol::UDP)) else {
            return false;
        };
        let address = scoped(own, 0, self.index);
        let outcome = probe.bind(&address.into());
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
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
    set_buffer(socket)?;
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

fn source(own: IpAddr, index: u32) -> Origin {
    match own {
        IpAddr::V4(address) => Origin::V4(libc::in_pktinfo {
            ipi_ifindex: index.cast_signed(),
            ipi_spec_dst: libc::in_addr { s_addr: address.to_bits().to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }),
        IpAddr::V6(address) => Origin::V6(libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
            ipi6_ifindex: index,
        }),
    }
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

/// Network control traffic, as routing protocols mark theirs: CS6 (RFC 2474, RFC 4594 section 3.1).
const CLASS_SELECTOR_6: u32 = 48 << 2;
