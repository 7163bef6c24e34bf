//! What happens to adapters and addresses, as the kernel tells it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, SockProtocol, sockopt};

use super::error::Error;
use super::message::Messages;
use super::netlink::{
    Adapter, BUFFER_LEN, Installed, connect, read_adapter, read_address, receive,
};

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
    /// Changes were lost: list everything anew.
    Lost,
}
