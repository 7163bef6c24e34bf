//! A link by one socket on one adapter of this machine: what UDP and raw Ethernet have in common.
//!
//! The socket is the [`Carrier`]: how it is opened, and one frame out or in. Everything else is
//! here: what fails is counted, a socket whose adapter went is closed and opened again after a
//! pause, and nothing blocks.

use core::fmt;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use lifesign_core::time::Instant;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, RxqOvfl};
use nix::sys::socket::{ControlMessageOwned, RecvMsg, setsockopt};

use super::backoff::BackOff;
use super::failure::{Failure, OpenError};
use super::{BATCH, Source, State, Statistics, Verdict};

/// A socket on one adapter.
pub(super) trait Carrier: Sized + fmt::Debug {
    /// What to open.
    type Spec: fmt::Debug;

    /// Opens the socket.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn open(spec: &Self::Spec) -> Result<Self, OpenError>;

    /// Hands a frame to the kernel, once for each destination, and tells what became of each: how
    /// many bytes went, or why none did. A destination has an address if it has one in IP.
    fn send(&self, frame: &[u8], tell: &mut dyn FnMut(Option<IpAddr>, Result<usize, Errno>));

    /// Takes the next datagram into `buffer`.
    ///
    /// # Errors
    /// `EAGAIN` where none waits; else what the kernel says.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Datagram, Errno>;

    /// Returns what has become of the adapter.
    fn adapter(&self, spec: &Self::Spec) -> Adapter;

    /// Returns what is behind a failure to send to anybody, as far as the socket can tell.
    fn judge(&self, spec: &Self::Spec, failure: Failure) -> Failure;

    /// Returns the descriptor.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

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

/// What came in.
#[derive(Debug)]
pub(super) struct Datagram {
    /// Where the frame stands in the buffer; empty if there is none.
    pub(super) frame: core::ops::Range<usize>,
    /// From where, if the kernel says.
    pub(super) source: Option<Source>,
    /// Whether it is for us at all.
    pub(super) is_accepted: bool,
    /// Whether it was longer than the buffer.
    pub(super) is_truncated: bool,
    /// Datagrams dropped by the kernel since the one before this.
    pub(super) drops: Option<u32>,
}

/// An open link on one adapter, or one that waits to be opened again.
#[derive(Debug)]
pub(super) struct AdapterLink<C: Carrier> {
    spec: C::Spec,
    open: Option<C>,
    state: State,
    backoff: BackOff,
    statistics: Statistics,
}

impl<C: Carrier> AdapterLink<C> {
    /// Opens the link; see [`Link::open`](super::Link::open).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) fn open(spec: C::Spec) -> Result<Self, OpenError> {
        let open = Some(C::open(&spec)?);
        let (backoff, statistics) = (BackOff::default(), Statistics::default());
        Ok(Self { spec, open, state: State::Up, backoff, statistics })
    }

    /// Sends a frame to everybody; see [`Link::send`](super::Link::send).
    pub(super) fn send(&mut self, frame: &[u8], now: Instant) {
        let Some(open) = &self.open else { return };
        let statistics = &mut self.statistics;
        let (mut is_sent, mut failed) = (false, None);
        open.send(frame, &mut |destination, outcome| match outcome {
            Ok(len) => {
                is_sent = true;
                statistics.sent += 1;
                statistics.bytes_sent += len as u64;
            }
            Err(errno) => failed = Some(statistics.send_failures.count(errno, destination)),
        });
        if is_sent {
            self.state = State::Up;
            self.backoff.settled();
        } else if let Some(failure) = failed {
            self.handle_total_failure(failure, now);
        }
    }

    /// Takes frames that have arrived; see [`Link::receive`](super::Link::receive).
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let (mut delivered, mut failed) = (0, 0);
        for _ in 0..BATCH {
            match open.receive(buffer) {
                Ok(datagram) => {
                    self.statistics.kernel_drops += u64::from(datagram.drops.unwrap_or(0));
                    let Some(source) = datagram.source else { continue };
                    let frame = buffer.get(datagram.frame).unwrap_or_default();
                    if datagram.is_truncated {
                        self.statistics.too_long += 1;
                    } else if !datagram.is_accepted {
                        self.statistics.filtered += 1;
                    } else {
                        delivered += 1;
                        self.statistics.received += 1;
                        self.statistics.bytes_received += frame.len() as u64;
                        let _verdict = deliver(frame, source);
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    failed += 1;
                    self.statistics.receive_failures.count(errno, None);
                }
            }
        }
        if failed == BATCH {
            // An error that reading does not clear would wake the daemon for ever.
            self.close(Failure::Other, now);
        }
        delivered
    }

    /// Opens a closed link if it is time; see
    /// [`Link::handle_timeout`](super::Link::handle_timeout).
    pub(super) fn reopen(&mut self, now: Instant) -> bool {
        if self.open.is_some() || !self.backoff.is_due(now) {
            return false;
        }
        match C::open(&self.spec) {
            Ok(opened) => {
                self.open = Some(opened);
                self.state = State::Up;
                self.backoff.succeeded();
                self.statistics.reopened += 1;
                true
            }
            Err(error) => {
                self.state = State::Down(self.statistics.send_failures.count(error.errno(), None));
                self.backoff.failed(now);
                false
            }
        }
    }

    /// Looks at the adapter again; see
    /// [`Link::handle_adapter_change`](super::Link::handle_adapter_change).
    pub(super) fn handle_adapter_change(&mut self, now: Instant) -> bool {
        match self.open.as_ref().map(|open| open.adapter(&self.spec)) {
            Some(Adapter::Same | Adapter::Renamed) => return false,
            Some(Adapter::Missing | Adapter::Replaced) => {
                self.close(Failure::AdapterMissing, now);
            }
            None => {}
        }
        self.backoff.hurry(now);
        self.reopen(now)
    }

    /// Returns when the link is to be opened again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.backoff.poll_timeout()
    }

    /// Returns the descriptor to wait on.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(Carrier::descriptor)
    }

    /// Returns whether frames can be sent.
    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Returns the counters.
    pub(super) const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Finds out what is behind a failure to send to anybody.
    fn handle_total_failure(&mut self, failure: Failure, now: Instant) {
        let Some(open) = self.open.as_ref().filter(|_| failure.is_lasting()) else { return };
        match open.adapter(&self.spec) {
            Adapter::Missing | Adapter::Replaced => self.close(Failure::AdapterMissing, now),
            Adapter::Same | Adapter::Renamed => {
                self.state = State::Down(open.judge(&self.spec, failure));
            }
        }
    }

    fn close(&mut self, failure: Failure, now: Instant) {
        self.open = None;
        self.state = State::Down(failure);
        self.backoff.failed(now);
    }
}

/// Returns the index of an adapter.
///
/// # Errors
/// There is none of this name.
pub(super) fn index_of(adapter: &str) -> Result<u32, OpenError> {
    if_nametoindex(adapter).map_err(|errno| adapter_error("look up adapter", adapter, errno.into()))
}

/// Returns the error of a step of opening a socket on `adapter`.
pub(super) fn adapter_error(
    step: &'static str,
    adapter: &str,
    source: std::io::Error,
) -> OpenError {
    let adapter = adapter.to_owned();
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => OpenError::UnknownAdapter { adapter },
        _ => OpenError::Refused { step, adapter, source },
    }
}

/// Returns how many datagrams the kernel has dropped since it was asked last; `total` is what it
/// had said then. It adds its count only when it is not zero, and starts over at 2^32.
pub(super) fn drops<S>(message: &RecvMsg<'_, '_, S>, total: &mut u32) -> Option<u32> {
    let mut said = message.cmsgs().ok()?;
    let now = said.find_map(|message| match message {
        ControlMessageOwned::RxqOvfl(total) => Some(total),
        _ => None,
    })?;
    Some(now.wrapping_sub(core::mem::replace(total, now)))
}

/// The highest priority in the adapter's queue that needs no right.
pub(super) const PRIORITY: u32 = 6;

/// Has the kernel count what it drops, and keep over a thousand frames for a daemon that is late.
pub(super) fn set_buffer(socket: &socket2::Socket) -> std::io::Result<()> {
    setsockopt(socket, RxqOvfl, &1)?;
    // Past the machine's limit where that is allowed; else up to it.
    if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER_LEN).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN)?;
    }
    Ok(())
}

const RECEIVE_BUFFER_LEN: usize = 1 << 20;
