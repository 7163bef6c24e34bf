//! What happens to adapters and addresses, as the kernel tells it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, SockProtocol, sockopt};

use super::error::Error;
use super::message::Messages;
use super::netlink::{
    Adapter, BUFFER_LEN, Installed, connect, read_adapter, read_address, receive,
};
use super::routing::MAIN_TABLE;
use crate::sys;

/// A subscription to what happens to adapters and addresses.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribes in the caller's network namespace.
    ///
    /// # Errors
    /// [`Error::Call`] where the kernel has no netlink or no memory.
    pub fn open() -> Result<Self, Error> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let socket = connect(SockProtocol::NetlinkRoute, groups.unsigned_abs())?;
        // A larger buffer only makes losses rarer, and each is made good by listing anew.
        let larger = 1 << 20;
        if socket::setsockopt(&socket, sockopt::RcvBufForce, &larger).is_err() {
            let _ = socket::setsockopt(&socket, sockopt::RcvBuf, &larger);
        }
        Ok(Self { socket, buffer: vec![0; BUFFER_LEN] })
    }

    /// Hears of routes too, from here on.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub fn hear_routes(&self) -> Result<(), Error> {
        for group in ROUTE_GROUPS {
            sys::set_option(self.socket.as_fd(), libc::SOL_NETLINK, JOIN_GROUP, group).map_err(
                |error| {
                    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                    Error::call("hear of routes")(errno)
                },
            )?;
        }
        Ok(())
    }

    /// Hands over the changes that one datagram tells of; false where there is none.
    ///
    /// [`Change::Lost`] stands for changes that the kernel had no room to tell.
    ///
    /// # Errors
    /// [`Error::Call`] where the socket fails otherwise.
    pub fn poll(&mut self, mut handle: impl FnMut(Change)) -> Result<bool, Error> {
        let len = match receive(&self.socket, &mut self.buffer) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(false),
            Err(Errno::ENOBUFS) => {
                handle(Change::Lost);
                return Ok(true);
            }
            Err(errno) => return Err(Error::call("read events of adapters")(errno)),
        };
        for message in Messages::new(self.buffer.get(..len).unwrap_or(&[])) {
            let change = match message.kind {
                libc::RTM_NEWLINK => read_adapter(&message).map(Change::Adapter),
                libc::RTM_DELLINK => read_adapter(&message).map(Change::AdapterGone),
                libc::RTM_NEWADDR => read_address(&message).map(Change::Address),
                libc::RTM_DELADDR => read_address(&message).map(Change::AddressGone),
                // The table stands behind family, bits and service; large numbers read as none.
                libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                    let table = message.body.get(4).copied().map(u32::from);
                    (table == Some(MAIN_TABLE)).then_some(Change::Routes)
                }
                _ => None,
            };
            if let Some(change) = change {
                handle(change);
            }
        }
        Ok(true)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a [`Monitor`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An adapter came, or is as described from here on.
    Adapter(Adapter),
    /// An adapter went.
    AdapterGone(Adapter),
    /// An address was installed or changed, whoever did it.
    Address(Installed),
    /// An address was deleted, whoever did it.
    AddressGone(Installed),
    /// A route of the main table came or went, whoever did it.
    Routes,
    /// Changes were lost: list everything anew.
    Lost,
}

/// The groups of routes of IPv4 and IPv6, and the option that joins one.
const ROUTE_GROUPS: [libc::c_int; 2] = [7, 11];
const JOIN_GROUP: libc::c_int = 1;
