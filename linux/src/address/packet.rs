//! Frames to and from one adapter, past the network stack, with the kernel's filter in front.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

use super::error::Error;
use super::mac::Mac;
use crate::sys;

/// A socket for frames of one Ethernet type on one adapter.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on adapter `index` that hears what passes `filter`.
    ///
    /// # Errors
    /// [`Error::Call`]: not permitted without `CAP_NET_RAW`; no such device.
    pub(crate) fn open(index: u32, ethertype: u16, filter: &[Operation]) -> Result<Self, Error> {
        let failed = || Error::call(format!("open a packet socket on adapter {index}"));
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Without a protocol it hears nothing until the filter stands and it is bound.
        let socket =
            socket::socket(AddressFamily::Packet, SockType::Raw, flags, None).map_err(failed())?;
        let filter: Vec<_> = filter
            .iter()
            .map(|operation| {
                let Operation { code, if_true, if_false, value } = *operation;
                socket2::SockFilter::new(code, if_true, if_false, value)
            })
            .collect();
        socket2::SockRef::from(&socket)
            .attach_filter(&filter)
            .map_err(|error| failed()(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        sys::bind_packet(socket.as_fd(), ethertype, index).map_err(failed())?;
        Ok(Self { socket })
    }

    /// Sends one frame with its Ethernet header.
    ///
    /// # Errors
    /// `ENETDOWN` or `ENXIO` where the adapter is down or went, `ENOBUFS` where its queue is full.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        let send =
            || socket::send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).map(drop);
        match send() {
            // Said once, also when the adapter is up again.
            Err(Errno::ENETDOWN) => send(),
            outcome => outcome,
        }
    }

    /// Returns the length of the next frame, nothing where none is there.
    ///
    /// # Errors
    /// `ENETDOWN` once after the adapter went down.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        match socket::recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One operation of the kernel's classic packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

impl Operation {
    /// Loads a byte of the frame.
    pub(crate) const fn byte(offset: u32) -> Self {
        Self { code: LOAD_BYTE, if_true: 0, if_false: 0, value: offset }
    }

    /// Loads four bytes of the frame.
    pub(crate) const fn word(offset: u32) -> Self {
        Self { code: LOAD_WORD, if_true: 0, if_false: 0, value: offset }
    }

    /// Skips operations by whether what is loaded is `value`.
    pub(crate) const fn equal(value: u32, if_true: u8, if_false: u8) -> Self {
        Self { code: JUMP_EQUAL, if_true, if_false, value }
    }

    /// Ends: the frame is heard, or not.
    pub(crate) const fn end(heard: bool) -> Self {
        Self { code: RETURN, if_true: 0, if_false: 0, value: if heard { u32::MAX } else { 0 } }
    }
}

/// Adds operations that end with "heard" where the frame comes from one of `macs`.
pub(crate) fn hear_from(filter: &mut Vec<Operation>, macs: &[Mac]) {
    for [a, b, c, d, e, f] in macs {
        filter.push(Operation::word(6));
        filter.push(Operation::equal(u32::from_be_bytes([*a, *b, *c, *d]), 0, 3));
        filter.push(Operation::word(8));
        filter.push(Operation::equal(u32::from_be_bytes([*c, *d, *e, *f]), 0, 1));
        filter.push(Operation::end(true));
    }
}

/// Adds operations that end with "heard" where the word at `offset` is one of `values`.
pub(crate) fn hear_any(filter: &mut Vec<Operation>, offset: u32, values: &[u32]) {
    filter.push(Operation::word(offset));
    for value in values {
        filter.push(Operation::equal(*value, 0, 1));
        filter.push(Operation::end(true));
    }
}

const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a filter as the kernel does: a load beyond the frame ends with "not heard".
    pub(crate) fn hears(filter: &[Operation], frame: &[u8]) -> bool {
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let operation = filter[at];
            let offset = operation.value as usize;
            at += 1;
            match operation.code {
                LOAD_BYTE => match frame.get(offset) {
                    Some(byte) => loaded = (*byte).into(),
                    None => return false,
                },
                LOAD_WORD => match frame.get(offset..).and_then(<[u8]>::first_chunk) {
                    Some(bytes) => loaded = u32::from_be_bytes(*bytes),
                    None => return false,
                },
                JUMP_EQUAL => {
                    let equal = loaded == operation.value;
                    at += usize::from(if equal { operation.if_true } else { operation.if_false });
                }
                _ => return operation.value != 0,
            }
        }
    }
}
