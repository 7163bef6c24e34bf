//! Cables of the laboratory: pairs of virtual Ethernet adapters, one end here, one in a machine.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::fabric::EthernetAddress;
use crate::address::error::Error;
use crate::address::netlink::Netlink;

/// A cable to lay.
#[derive(Debug)]
pub(crate) struct Cable<'a> {
    /// The name of the end here.
    pub(crate) near: &'a str,
    /// The name of the end in the machine.
    pub(crate) far: &'a str,
    /// The Ethernet address of the end in the machine.
    pub(crate) hardware: EthernetAddress,
    /// The machine's network namespace.
    pub(crate) namespace: BorrowedFd<'a>,
}

/// Lays a cable; both ends are down.
///
/// # Errors
/// What the kernel refused: a name that is taken, not permitted.
pub(crate) fn lay(netlink: &mut Netlink, cable: &Cable<'_>) -> Result<(), Error> {
    let namespace = cable.namespace.as_raw_fd().to_ne_bytes();
    let message = netlink.begin(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    message.put(&[0; HEADER_LEN]);
    message.text(libc::IFLA_IFNAME, cable.near);
    message.nest(libc::IFLA_LINKINFO, |kind| {
        kind.text(libc::IFLA_INFO_KIND, "veth");
        kind.nest(libc::IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |peer| {
                peer.put(&[0; HEADER_LEN]);
                peer.text(libc::IFLA_IFNAME, cable.far);
                peer.attribute(libc::IFLA_ADDRESS, &cable.hardware);
                peer.attribute(libc::IFLA_NET_NS_FD, &namespace);
            });
        });
    });
    netlink.request(|| format!("lay the cable {}", cable.near))
}

/// Takes the cable whose end here is the adapter `index` away, both ends at once.
///
/// # Errors
/// What the kernel refused: no such adapter.
pub(crate) fn take_away(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let message = netlink.begin(libc::RTM_DELLINK, 0);
    message.put(&[0; 4]);
    message.put(&index.to_ne_bytes());
    message.put(&[0; 8]);
    netlink.request(|| format!("take the cable of adapter {index} away"))
}

/// Raises the adapter `index` or takes it down; the other end of its cable loses the carrier.
///
/// # Errors
/// What the kernel refused: no such adapter, not permitted.
pub(crate) fn set_up(netlink: &mut Netlink, index: u32, up: bool) -> Result<(), Error> {
    let flag = libc::IFF_UP.unsigned_abs();
    let wanted = if up { flag } else { 0 };
    let message = netlink.begin(libc::RTM_NEWLINK, 0);
    message.put(&[0; 4]);
    message.put(&index.to_ne_bytes());
    message.put(&wanted.to_ne_bytes());
    message.put(&flag.to_ne_bytes());
    netlink.request(|| format!("raise adapter {index}: {up}"))
}

/// Keeps the adapter `index` from giving itself IPv6 addresses, so that it never speaks by itself.
///
/// # Errors
/// What the kernel refused: no such adapter, no IPv6.
pub(crate) fn silence(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let message = netlink.begin(libc::RTM_NEWLINK, 0);
    message.put(&[0; 4]);
    message.put(&index.to_ne_bytes());
    message.put(&[0; 8]);
    message.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(FAMILY_IPV6, |inside| {
            inside.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
        });
    });
    netlink.request(|| format!("silence adapter {index}"))
}

/// Family, kind, adapter, flags, mask of changes.
const HEADER_LEN: usize = 16;
/// `VETH_INFO_PEER` of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
/// `AF_INET6` as an attribute's kind.
const FAMILY_IPV6: u16 = 10;
/// `IFLA_INET6_ADDR_GEN_MODE` of `linux/if_link.h`.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE` of `linux/if_link.h`.
const ADDR_GEN_MODE_NONE: u8 = 1;
