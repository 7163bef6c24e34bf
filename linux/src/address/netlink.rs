//! Addresses, adapters and neighbours by netlink, one request at a time.
//!
//! The kernel does what a request asks within the call that sends it, and its answer is there when
//! that call returns. So no request waits: an answer that is not there is an error. Events come by
//! a socket of their own, see [`Monitor`](super::monitor::Monitor).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

use super::error::Error;
use super::message::{DONE, Message, Messages, Writer};
use crate::sys;

/// A connection to the kernel's routing tables.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    writer: Writer,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Connects to the routing tables of the caller's network namespace.
    ///
    /// # Errors
    /// [`Error::Call`] where the kernel has no netlink or no memory.
    pub fn open() -> Result<Self, Error> {
        Self::open_protocol(SockProtocol::NetlinkRoute)
    }

    /// Connects to the part of the kernel that `protocol` names.
    pub(crate) fn open_protocol(protocol: SockProtocol) -> Result<Self, Error> {
        let socket = connect(protocol, 0)?;
        if protocol == SockProtocol::NetlinkRoute {
            // Lists of one table are that; kernels before 4.20 list all, and readers choose.
            let _ = sys::set_option(socket.as_fd(), libc::SOL_NETLINK, STRICT, 1);
        }
        Ok(Self { socket, sequence: 0, writer: Writer::default(), buffer: vec![0; BUFFER_LEN] })
    }

    /// Installs an address, or changes the lifetime of one that is installed.
    ///
    /// The address is usable at once (no duplicate address detection by the kernel). It lives for
    /// `lifetime_s` seconds, or for ever. No route to its subnet is added unless `route` asks.
    ///
    /// # Errors
    /// [`Error::Call`] with the kernel's reason: no such adapter, not permitted.
    pub fn add_address(
        &mut self,
        address: Installed,
        route: bool,
        lifetime_s: Option<u32>,
    ) -> Result<(), Error> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let features = if route { 0 } else { libc::IFA_F_NOPREFIXROUTE };
        self.begin(libc::RTM_NEWADDR, flags);
        self.put_address(address, features | libc::IFA_F_NODAD);
        if let Some(seconds) = lifetime_s {
            let mut lifetimes = [0; 16];
            lifetimes[..4].copy_from_slice(&seconds.to_ne_bytes());
            lifetimes[4..8].copy_from_slice(&seconds.to_ne_bytes());
            self.writer.attribute(libc::IFA_CACHEINFO, &lifetimes);
        }
        self.request(|| format!("add {}/{}", address.ip, address.prefix))
    }

    /// Deletes an address.
    ///
    /// # Errors
    /// [`Error::Call`], also where the address is not installed.
    pub fn delete_address(&mut self, address: Installed) -> Result<(), Error> {
        self.begin(libc::RTM_DELADDR, 0);
        self.put_address(address, 0);
        self.request(|| format!("delete {}/{}", address.ip, address.prefix))
    }

    /// Returns every address of every adapter.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub fn addresses(&mut self) -> Result<Vec<Installed>, Error> {
        self.begin(libc::RTM_GETADDR, libc::NLM_F_DUMP);
        self.writer.put(&[0; ADDRESS_HEADER_LEN]);
        self.dump("list addresses", libc::RTM_NEWADDR, read_address)
    }

    /// Returns every adapter.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub fn adapters(&mut self) -> Result<Vec<Adapter>, Error> {
        self.begin(libc::RTM_GETLINK, libc::NLM_F_DUMP);
        self.writer.put(&[0; ADAPTER_HEADER_LEN]);
        self.dump("list adapters", libc::RTM_NEWLINK, read_adapter)
    }

    /// Returns the neighbours whose hardware address is known on adapter `index`.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<Neighbour>, Error> {
        self.begin(libc::RTM_GETNEIGH, libc::NLM_F_DUMP);
        self.writer.put(&[0; NEIGHBOUR_HEADER_LEN]);
        let all = self.dump("list neighbours", libc::RTM_NEWNEIGH, read_neighbour)?;
        Ok(all.into_iter().filter(|neighbour| neighbour.index == index).collect())
    }

    /// Begins a request which is to be acknowledged.
    pub(crate) fn begin(&mut self, kind: u16, flags: i32) -> &mut Writer {
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.clear();
        self.writer.begin(kind, request_flags(flags), self.sequence);
        &mut self.writer
    }

    /// Returns what writes the request that has been begun.
    pub(super) const fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Sends what has been begun and returns the kernel's verdict.
    pub(crate) fn request(&mut self, what: impl Fn() -> String) -> Result<(), Error> {
        let sequence = self.sequence;
        send(&self.socket, self.writer.finish()).map_err(Error::call(what()))?;
        while let Some(len) =
            receive(&self.socket, &mut self.buffer).map_err(Error::call(what()))?
        {
            for message in Messages::new(self.buffer.get(..len).unwrap_or(&[])) {
                if message.sequence == sequence
                    && let Some(number) = message.answer()
                {
                    return verdict(number).map_err(Error::call(what()));
                }
            }
        }
        Err(Error::NoAnswer { what: what() })
    }

    /// Sends a batch of messages and hands over every answer to them.
    pub(crate) fn exchange(
        &mut self,
        batch: &[u8],
        mut handle: impl FnMut(u32, i32),
    ) -> Result<(), Errno> {
        send(&self.socket, batch)?;
        while let Some(len) = receive(&self.socket, &mut self.buffer)? {
            for message in Messages::new(self.buffer.get(..len).unwrap_or(&[])) {
                if let Some(number) = message.answer() {
                    handle(message.sequence, number);
                }
            }
        }
        Ok(())
    }

    /// Sends what has been begun and collects what `read` makes of the answers of `kind`.
    pub(crate) fn dump<T>(
        &mut self,
        what: &str,
        kind: u16,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        self.dump_while(what, kind, |message| {
            found.extend(read(message));
            true
        })?;
        Ok(found)
    }

    /// Sends what has been begun and hands over the answers of `kind` for as long as `handle` wants
    /// more; returns whether it has had all of them. After fewer, this connection is of no use.
    ///
    /// The kernel adds the next part whenever one is received, so nothing is waited for.
    pub(crate) fn dump_while(
        &mut self,
        what: &str,
        kind: u16,
        mut handle: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<bool, Error> {
        let sequence = self.sequence;
        send(&self.socket, self.writer.finish()).map_err(Error::call(what))?;
        while let Some(len) = receive(&self.socket, &mut self.buffer).map_err(Error::call(what))? {
            for message in Messages::new(self.buffer.get(..len).unwrap_or(&[])) {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(number) = message.answer() {
                    verdict(number).map_err(Error::call(what))?;
                } else if message.kind == DONE {
                    return Ok(true);
                } else if message.kind == kind && !handle(&message) {
                    return Ok(false);
                }
            }
        }
        Err(Error::NoAnswer { what: what.to_owned() })
    }

    /// Writes the header and the attributes which name an address.
    fn put_address(&mut self, address: Installed, features: u32) {
        let family = if address.ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        self.writer.put(&[u8::try_from(family).unwrap_or(0), address.prefix, 0, 0]);
        self.writer.put(&address.index.to_ne_bytes());
        match address.ip {
            IpAddr::V4(ip) => {
                self.writer.attribute(libc::IFA_LOCAL, &ip.octets());
                self.writer.attribute(libc::IFA_ADDRESS, &ip.octets());
            }
            IpAddr::V6(ip) => self.writer.attribute(libc::IFA_ADDRESS, &ip.octets()),
        }
        self.writer.attribute(libc::IFA_FLAGS, &features.to_ne_bytes());
    }
}

/// An address on an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The adapter's number.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// How many leading bits name its subnet.
    pub prefix: u8,
}

/// A network adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Its number: another one each time it comes.
    pub index: u32,
    /// Its name, which can change.
    pub name: String,
    /// Its hardware address; `None` where that is not of Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it can carry frames: switched on, with a cable to something that is.
    pub carrier: bool,
    /// Whether it leads back to this machine.
    pub loopback: bool,
}

/// A neighbour with a known hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The adapter which it is behind.
    pub index: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// Reads the body of an adapter's message.
pub(super) fn read_adapter(message: &Message<'_>) -> Option<Adapter> {
    let header = message.body.first_chunk::<ADAPTER_HEADER_LEN>()?;
    let [family, _, k0, k1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    // What bridges and address families tell of their part of an adapter is not of the adapter.
    if i32::from(family) != libc::AF_UNSPEC {
        return None;
    }
    let kind = u16::from_ne_bytes([k0, k1]);
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let has = |flag: i32| flags & flag.unsigned_abs() != 0;
    let mut adapter = Adapter {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: String::new(),
        mac: None,
        up: has(libc::IFF_UP),
        carrier: has(libc::IFF_UP) && has(libc::IFF_LOWER_UP),
        loopback: has(libc::IFF_LOOPBACK),
    };
    for (attribute, value) in message.attributes(ADAPTER_HEADER_LEN) {
        match attribute {
            libc::IFLA_IFNAME => {
                let name = value.strip_suffix(&[0]).unwrap_or(value);
                adapter.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS if kind == libc::ARPHRD_ETHER => {
                adapter.mac = value.try_into().ok();
            }
            libc::IFLA_CARRIER => adapter.carrier &= value == [1],
            _ => {}
        }
    }
    Some(adapter)
}

/// Reads the body of an address's message.
pub(super) fn read_address(message: &Message<'_>) -> Option<Installed> {
    let [_, prefix, _, _, i0, i1, i2, i3] = *message.body.first_chunk::<ADDRESS_HEADER_LEN>()?;
    let (mut local, mut remote) = (None, None);
    for (attribute, value) in message.attributes(ADDRESS_HEADER_LEN) {
        match attribute {
            libc::IFA_LOCAL => local = read_ip(value),
            libc::IFA_ADDRESS => remote = read_ip(value),
            _ => {}
        }
    }
    // Where both are given, the one not called local is the far end of a wire with two ends.
    Some(Installed { index: u32::from_ne_bytes([i0, i1, i2, i3]), ip: local.or(remote)?, prefix })
}

/// Reads the body of a neighbour's message; `None` where its hardware address is not known.
fn read_neighbour(message: &Message<'_>) -> Option<Neighbour> {
    let header = message.body.first_chunk::<NEIGHBOUR_HEADER_LEN>()?;
    let [_, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *header;
    if u16::from_ne_bytes([s0, s1]) & NEIGHBOUR_KNOWN == 0 {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for (attribute, value) in message.attributes(NEIGHBOUR_HEADER_LEN) {
        match attribute {
            libc::NDA_DST => ip = read_ip(value),
            libc::NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour { index: u32::from_ne_bytes([i0, i1, i2, i3]), ip: ip?, mac: mac? })
}

/// Reads an address by its length.
pub(super) fn read_ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// Returns a socket for `protocol` that hears the multicast groups in `groups`.
pub(super) fn connect(protocol: SockProtocol, groups: u32) -> Result<OwnedFd, Error> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
        .map_err(Error::call("open netlink"))?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))
        .map_err(Error::call("bind netlink"))?;
    Ok(socket)
}

/// Sends one datagram to the kernel.
fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    #[cfg(test)]
    steps::take();
    socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT).map(|_| ())
}

/// Returns the length of the next datagram, or nothing where none is there.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    loop {
        match socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => return Ok(Some(len)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Returns the error that an answer's number means.
fn verdict(number: i32) -> Result<(), Errno> {
    if number == 0 { Ok(()) } else { Err(Errno::from_raw(number)) }
}

/// Returns the flags of a request; a dump is ended by a message of its own.
fn request_flags(flags: i32) -> u16 {
    let always = libc::NLM_F_REQUEST | if flags == libc::NLM_F_DUMP { 0 } else { libc::NLM_F_ACK };
    u16::try_from(flags | always).unwrap_or(0)
}

/// The most that one datagram of a dump holds, as the kernel caps it.
pub(super) const BUFFER_LEN: usize = 1 << 15;
/// The option by which the kernel heeds what a list is asked for.
const STRICT: libc::c_int = 12;
/// Family, prefix, flags, scope, adapter.
const ADDRESS_HEADER_LEN: usize = 8;
/// Family, kind, adapter, flags, mask of changes.
const ADAPTER_HEADER_LEN: usize = 16;
/// Family, adapter, state, flags, kind.
pub(super) const NEIGHBOUR_HEADER_LEN: usize = 12;
/// Reachable, stale, delay, probe or permanent.
const NEIGHBOUR_KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

#[cfg(test)]
pub(super) mod steps;
