//! A port of an emulated dongle: a device that others open, and the wire to it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use lifesign_core::time::{Duration, Instant};

use crate::link::serial::{SPEED, line_time};
use crate::sys::terminal;
use crate::wire::{End, Faults, Side, Wire};

/// How many bytes a UART takes ahead of the line.
const AHEAD: usize = 16;
/// A line that was busy so recently is taken to have been busy without a pause.
const BUSY: Duration = Duration::from_micros(5000);
/// What is left of bytes at another speed: nothing that passes a check.
const GARBLED: Faults =
    Faults { is_cut: false, is_stalled: false, is_drowned: false, bit_errors: 250_000 };

/// The dongle's end of a line.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    ours: UnixStream,
    wire: Wire,
    /// The device that others open, to see at which speed.
    device: File,
    /// The only speed that is understood; that of whoever opens the device if it is none.
    fixed: Option<u32>,
    /// The speed of the line.
    speed: u32,
    /// The speed of the device.
    opened: u32,
    /// When what was given to the line has gone out.
    free: Instant,
}

impl Port {
    /// Makes the device at `path`, to which a line leads.
    pub(super) fn new(path: &Path, fixed: Option<u32>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let end = End::Terminal(path.to_owned());
        let speed = fixed.unwrap_or(SPEED);
        let wire = Wire::join(End::Descriptor(theirs.into()), end, Some(speed))?;
        let device = File::options().read(true).custom_flags(libc::O_NOCTTY).open(path)?;
        terminal::set_speed(device.as_fd(), speed)?;
        let (path, free) = (path.to_owned(), Instant::ZERO);
        Ok(Self { path, ours, wire, device, fixed, speed, opened: speed, free })
    }

    /// Goes on as the speed demands to which the device has been set.
    pub(super) fn follow(&mut self) {
        let opened = terminal::speed(self.device.as_fd()).unwrap_or(self.opened);
        if opened == self.opened || opened == 0 {
            return;
        }
        self.opened = opened;
        match self.fixed {
            None => {
                self.speed = opened;
                self.wire.set_speed(Some(opened));
            }
            Some(fixed) => {
                let is_near = u64::from(opened.abs_diff(fixed)) * 40 <= u64::from(fixed);
                let faults = if is_near { Faults::default() } else { GARBLED };
                for side in Side::ALL {
                    self.wire.set_faults(side, faults);
                }
            }
        }
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
