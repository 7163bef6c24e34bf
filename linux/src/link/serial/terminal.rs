//! A serial device, opened for this program alone and set up to carry bytes as they are.
//!
//! Opened here rather than by a library: what was refused must keep its error number to be named,
//! an attempt that finds the device in use must not undo the lock of who has it, and nothing may
//! wait for a modem's carrier.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, major};
use nix::sys::termios::{
    ControlFlags, FlushArg, InputFlags, SetArg, cfmakeraw, tcflush, tcgetattr, tcsetattr,
};
use nix::unistd;

use super::super::failure::Failure;
use crate::sys::terminal as call;
use crate::sys::terminal::DriverCounts;

/// An open serial device: raw, eight bits, no parity, one stop bit, no flow control, without
/// regard to modem lines, and never blocking.
///
/// It is locked for as long as any process has it: a process that parts from this one and closes
/// its copy does not give up the lock. What waits to go out when the last one closes it still does.
#[derive(Debug)]
pub struct Terminal {
    descriptor: File,
    low_latency: LowLatency,
    latency_timer_ms: Option<u32>,
    /// What the driver had counted when it was last asked; `None` if it does not count.
    counts: Option<DriverCounts>,
}

/// Whether the driver hands on each byte at once, rather than waiting for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowLatency {
    /// It does.
    On,
    /// It does not, and was not asked to.
    Off,
    /// It does not, although it was asked to.
    Refused,
    /// It has no such mode: pseudo-terminals, and adapters that do not need one.
    Unknown,
}

/// What went wrong on a line, as far as the driver tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineErrors {
    /// Bytes without a stop bit: noise, or the wrong speed.
    pub framing: u64,
    /// Bytes with a parity bit that is wrong.
    pub parity: u64,
    /// Bytes that came faster than they were taken.
    pub overruns: u64,
    /// Breaks: the line was held at zero, as when the other side is switched off.
    pub breaks: u64,
}

/// Why a serial device is not open, and the error number behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kind of failure.
    pub failure: Failure,
    /// The kernel's reason.
    pub errno: Errno,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { failure: Failure::of_device(errno), errno }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure {
            Failure::Other => formatter.write_str(self.errno.desc()),
            Failure::Forbidden => formatter.write_str("this user may not open it"),
            failure => failure.fmt(formatter),
        }
    }
}

impl std::error::Error for Refused {}

impl Terminal {
    /// Opens a serial device for exclusive use at `speed` bits per second, and forgets what came in
    /// before.
    ///
    /// # Errors
    ///
    /// It is missing, in use, forbidden, no serial device, or cannot have the speed.
    pub fn open(path: &Path, speed: u32, low_latency: bool) -> Result<Self, Refused> {
        if attribute(path, TYPE) == Some(NO_CHIP) {
            return Err(Errno::ENODEV.into());
        }
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let descriptor = File::from(open(path, flags, Mode::empty())?);
        let mut settings = tcgetattr(&descriptor)?;
        descriptor.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Errno::EBUSY,
            TryLockError::Error(error) => Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })?;
        // A pseudo-terminal stays exclusive after its user was killed, for as long as the other end
        // lives, and only root could open it again. There, the lock alone must do.
        if !is_pseudo(&descriptor)? {
            call::set_exclusive(descriptor.as_fd())?;
        }
        cfmakeraw(&mut settings);
        settings.input_flags.remove(InputFlags::IXOFF | InputFlags::IXANY | InputFlags::INPCK);
        settings.control_flags.remove(UNWANTED);
        settings.control_flags.insert(ControlFlags::CREAD | ControlFlags::CLOCAL);
        tcsetattr(&descriptor, SetArg::TCSANOW, &settings)?;
        let refused = |errno| Refused { failure: Failure::SpeedRefused, errno };
        let actual = call::set_speed(descriptor.as_fd(), speed).map_err(|errno| match errno {
            Errno::EINVAL | Errno::ERANGE => refused(errno),
            errno => errno.into(),
        })?;
        if !is_near(actual, speed) {
            return Err(refused(Errno::EINVAL));
        }
        let low_latency = latency(&descriptor, low_latency);
        tcflush(&descriptor, FlushArg::TCIOFLUSH)?;
        let counts = call::driver_counts(descriptor.as_fd()).ok();
        let latency_timer_ms = attribute(path, "device/latency_timer");
        Ok(Self { descriptor, low_latency, latency_timer_ms, counts })
    }

    /// Takes bytes that came in.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there are none; `EIO` if it has hung up.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match unistd::read(&self.descriptor, buffer) {
            Ok(0) => Err(Errno::EIO),
            outcome => outcome,
        }
    }

    /// Hands over bytes to go out, and returns how many were accepted.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if none are; `EIO` if it has hung up.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        unistd::write(&self.descriptor, bytes)
    }

    /// Returns how many bytes were accepted and have not gone out, as far as the driver tells.
    #[must_use]
    pub fn bytes_waiting(&self) -> usize {
        call::bytes_waiting(self.descriptor.as_fd()).unwrap_or(0)
    }

    /// Returns what went wrong on the line since this was last asked; `None` if the driver does not
    /// count.
    pub fn take_line_errors(&mut self) -> Option<LineErrors> {
        let before = self.counts?;
        let counts = call::driver_counts(self.descriptor.as_fd()).ok()?;
        self.counts = Some(counts);
        let since = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        Some(LineErrors {
            framing: since(counts.framing, before.framing),
            parity: since(counts.parity, before.parity),
            overruns: since(counts.overruns, before.overruns),
            breaks: since(counts.breaks, before.breaks),
        })
    }

    /// Returns whether the driver hands on each byte at once.
    #[must_use]
    pub const fn low_latency(&self) -> LowLatency {
        self.low_latency
    }

    /// Returns for how many milliseconds a USB adapter collects bytes, where its driver tells.
    #[must_use]
    pub const fn latency_timer_ms(&self) -> Option<u32> {
        self.latency_timer_ms
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whatever is not eight bits, no parity and one stop bit; flow control by lines; and the drop of
/// the line DTR at the end, which resets boards that wire it to their reset.
const UNWANTED: ControlFlags = ControlFlags::PARENB
    .union(ControlFlags::CSTOPB)
    .union(ControlFlags::CRTSCTS)
    .union(ControlFlags::HUPCL);

/// Returns whether receiver and sender still understand each other: they may be apart by half a bit
/// in ten, and both have clocks of their own.
fn is_near(actual: u32, speed: u32) -> bool {
    u64::from(actual.abs_diff(speed)) * 100 <= u64::from(speed) * 3
}

fn is_pseudo(descriptor: &File) -> Result<bool, Errno> {
    // The numbers of Documentation/admin-guide/devices.txt in the kernel's sources.
    Ok((136..=143).contains(&major(fstat(descriptor.as_fd())?.st_rdev)))
}

fn latency(descriptor: &File, is_wanted: bool) -> LowLatency {
    let has = call::has_low_latency(descriptor.as_fd());
    match (has, is_wanted) {
        (Err(_), _) => LowLatency::Unknown,
        (Ok(true), _) => LowLatency::On,
        (Ok(false), false) => LowLatency::Off,
        (Ok(false), true) => match call::set_low_latency(descriptor.as_fd()) {
            Ok(true) => LowLatency::On,
            Ok(false) | Err(_) => LowLatency::Refused,
        },
    }
}

/// Returns a number that a driver shows in the system's tree of devices.
fn attribute(path: &Path, name: &str) -> Option<u32> {
    let device = fs::canonicalize(path).ok()?;
    let place = Path::new("/sys/class/tty").join(device.file_name()?);
    fs::read_to_string(place.join(name)).ok()?.trim().parse().ok()
}

/// The attribute that tells what chip is behind a device, and that there is none: some names are
/// there for as many ports as a machine could have.
const TYPE: &str = "type";
const NO_CHIP: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_may_be_off_by_what_a_receiver_forgives() {
        for (actual, is_good) in
            [(115_200, true), (117_647, true), (111_900, true), (120_000, false), (9600, false)]
        {
            assert_eq!(is_near(actual, 115_200), is_good, "{actual}");
        }
        assert!(is_near(4_000_000, 4_000_000) && !is_near(0, 4_000_000));
    }

    #[test]
    fn what_is_no_serial_device_says_so() {
        let cases = [
            ("/dev/null", Failure::NotSerial, "not a serial device"),
            ("/dev/nowhere/at/all", Failure::DeviceMissing, "no such device"),
            ("/", Failure::NotSerial, "not a serial device"),
            ("/dev/null/below", Failure::DeviceMissing, "no such device"),
        ];
        for (path, failure, text) in cases {
            let refused = Terminal::open(Path::new(path), 115_200, true).unwrap_err();
            assert_eq!((refused.failure, refused.to_string().as_str()), (failure, text), "{path}");
        }
    }
}
