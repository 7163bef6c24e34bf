//! A port of an emulated dongle: a device that others open, and the wire to it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use lifesign_core::time::{Duration, Instant};

use crate::link::serial::line_time;
use crate::wire::{End, Wire};

/// How many bytes a UART takes ahead of the line.
const AHEAD: usize = 16;
/// A line that was busy so recently is taken to have been busy without a pause.
const BUSY: Duration = Duration::from_micros(5000);

/// The dongle's end of a line.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    ours: UnixStream,
    _wire: Wire,
    speed: u32,
    /// When what was given to the line has gone out.
    free: Instant,
}

impl Port {
    /// Makes the device at `path`, to which a line of `speed` baud leads.
    pub(super) fn new(path: &Path, speed: u32) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let end = End::Terminal(path.to_owned());
        let wire = Wire::join(End::Descriptor(theirs.into()), end, Some(speed))?;
        Ok(Self { path: path.to_owned(), ours, _wire: wire, speed, free: Instant::ZERO })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many bytes have come in.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> usize {
        self.ours.read(bytes).unwrap_or(0)
    }

    /// Gives as many of `bytes` to the line as it has room for, and returns how many.
    ///
    /// What has been given cannot be replaced by newer state any more, so no more is given than a
    /// real port would take.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        if bytes.is_empty() || !now.has_reached(self.free) {
            return 0;
        }
        let some = bytes.get(..AHEAD).unwrap_or(bytes);
        // What nobody takes is lost, as on a real line.
        let count = self.ours.write(some).unwrap_or(some.len());
        let begin = if now.since(self.free) < BUSY { self.free } else { now };
        self.free = begin + line_time(count, self.speed);
        count
    }

    /// Returns when the line has room again.
    pub(super) const fn poll_timeout(&self) -> Instant {
        self.free
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}
