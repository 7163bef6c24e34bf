//! Cables between network namespaces: pairs of adapters of which each is the other's far end.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::address::error::Error;
use crate::address::netlink::{Installed, Netlink};
use crate::address::packet::{Operation, PacketSocket};

/// Lays a cable in the caller's network namespace between two new adapters.
///
/// # Errors
/// [`Error::Call`]: not permitted; a name that is taken.
pub fn lay(near: &str, far: &str) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    let writer = netlink.begin(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    writer.put(&[0; 16]);
    writer.text(libc::IFLA_IFNAME, near);
    writer.nest(libc::IFLA_LINKINFO, |information| {
        information.text(INFO_KIND, "veth");
        information.nest(INFO_DATA, |data| {
            data.nest(FAR_END, |end| {
                end.put(&[0; 16]);
                end.text(libc::IFLA_IFNAME, far);
            });
        });
    });
    netlink.request(|| format!("lay a cable from {near} to {far}"))
}

/// Gives an adapter to another network namespace.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn give(adapter: &str, to: impl AsFd) -> Result<(), Error> {
    let number = to.as_fd().as_raw_fd();
    change(adapter, "give away", (0, 0), |netlink| {
        netlink.attribute(libc::IFLA_NET_NS_FD, &number.to_ne_bytes());
    })
}

/// Switches an adapter on or off.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn switch(adapter: &str, on: bool) -> Result<(), Error> {
    let up = libc::IFF_UP.unsigned_abs();
    change(adapter, "switch", (if on { up } else { 0 }, up), |_| ())
}

/// Switches an adapter on, gives it addresses, each with the length of its prefix, and returns its
/// number.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn settle(adapter: &str, own: &[(IpAddr, u8)]) -> Result<u32, Error> {
    switch(adapter, true)?;
    let mut netlink = Netlink::open()?;
    let index = index_of(&mut netlink, adapter)?;
    for (ip, prefix) in own {
        netlink.add_address(Installed { index, ip: *ip, prefix: *prefix }, true, None)?;
    }
    Ok(index)
}

/// Lays a cable with both ends here that never speaks by itself, and settles its near end.
#[cfg(test)]
pub(crate) fn lay_silent(near: &str, far: &str, own: &[(IpAddr, u8)]) -> Result<u32, Error> {
    lay(near, far)?;
    for name in [near, far] {
        silence(name)?;
        switch(name, true)?;
    }
    settle(near, own)
}

/// Gives an adapter another name.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn rename(adapter: &str, to: &str) -> Result<(), Error> {
    change(adapter, "rename", (0, 0), |netlink| netlink.text(libc::IFLA_IFNAME, to))
}

/// Keeps an adapter from giving itself IPv6 addresses, so that it never speaks by itself.
///
/// # Errors
/// [`Error::Call`], also in a kernel without IPv6, or [`Error::NoAnswer`]
pub fn silence(adapter: &str) -> Result<(), Error> {
    change(adapter, "silence", (0, 0), |message| {
        message.nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(FAMILY_IPV6, |inside| inside.attribute(ADDRESSES_FROM, &[NOTHING]));
        });
    })
}

/// Sends a frame with its Ethernet header out of an adapter, past the network stack.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn send(adapter: &str, frame: &[u8]) -> Result<(), Error> {
    let index = index_of(&mut Netlink::open()?, adapter)?;
    let socket = PacketSocket::open(index, UNKNOWN_TYPE, &[Operation::end(false)])?;
    socket.send(frame).map_err(Error::call(format!("send out of {adapter}")))
}

/// Removes an adapter, and with it the one at the far end.
///
/// # Errors
/// [`Error::Call`] or [`Error::NoAnswer`]
pub fn remove(adapter: &str) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    let index = index_of(&mut netlink, adapter)?;
    let writer = netlink.begin(libc::RTM_DELLINK, 0);
    writer.put(&header(index, (0, 0)));
    netlink.request(|| format!("remove {adapter}"))
}

/// Returns the number of the adapter with a name.
///
/// # Errors
/// [`Error::NoAnswer`] where there is none.
pub fn index_of(netlink: &mut Netlink, adapter: &str) -> Result<u32, Error> {
    let known = netlink.adapters()?;
    let found = known.iter().find(|known| known.name == adapter);
    found
        .map(|known| known.index)
        .ok_or_else(|| Error::NoAnswer { what: format!("find {adapter}") })
}

/// Changes the flags under a mask, and what `write` adds, of an adapter.
fn change(
    adapter: &str,
    what: &str,
    flags: (u32, u32),
    write: impl FnOnce(&mut crate::address::Writer),
) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    let index = index_of(&mut netlink, adapter)?;
    let writer = netlink.begin(libc::RTM_NEWLINK, 0);
    writer.put(&header(index, flags));
    write(writer);
    netlink.request(|| format!("{what} {adapter}"))
}

/// Returns the fixed header of a message about an adapter.
fn header(index: u32, (flags, mask): (u32, u32)) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&mask.to_ne_bytes());
    header
}

/// An Ethernet type that is free for experiments.
const UNKNOWN_TYPE: u16 = 0x88b5;
/// Within the description of an adapter: its kind.
const INFO_KIND: u16 = 1;
/// Within the description of an adapter: what its kind needs.
const INFO_DATA: u16 = 2;
/// Within what a cable needs: the adapter at its far end.
const FAR_END: u16 = 1;
/// The family IPv6 as the kind of an attribute.
const FAMILY_IPV6: u16 = 10;
/// Within what is particular to IPv6: what an adapter makes its own addresses from.
const ADDRESSES_FROM: u16 = 8;
/// It makes none.
const NOTHING: u8 = 1;
