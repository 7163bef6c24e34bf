//! One watchdog, opened: a device of the kernel, or a program that stands in for one.
//!
//! Opening it starts its counting. A Unix socket in the place of a device is answered by a program:
//! every call is 8 bytes, the number of the kernel's call and one integer, both little-endian, and
//! every answer [`ANSWER_LEN`] bytes, an error number, an integer and what else the call returns.
//! First the program says by such an answer whether the device is free. It serves those who try
//! what a bite does to a machine, and machines that are reset by another program.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::sys::watchdog as sys;

/// A watchdog. It goes on counting when it is dropped; see [`disarm`](Self::disarm).
#[derive(Debug)]
pub struct Device {
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Kernel(OwnedFd),
    Program(UnixStream),
}

/// A call, by the number that it has in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    /// What the device is.
    Info = 0,
    /// Why the machine was started.
    BootStatus = 2,
    /// Stop or start counting: 1 or 2.
    SetOptions = 4,
    /// Feed it.
    KeepAlive = 5,
    /// Set the timeout, in seconds.
    SetTimeout = 6,
    /// Get the timeout, in seconds.
    Timeout = 7,
    /// Write this byte.
    Write = 8,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 7] = [
        Self::Info,
        Self::BootStatus,
        Self::SetOptions,
        Self::KeepAlive,
        Self::SetTimeout,
        Self::Timeout,
        Self::Write,
    ];
}

/// What a watchdog says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Its name.
    pub identity: String,
    /// The version of its firmware.
    pub firmware: u32,
    /// Whether the byte `V` before closing stops it.
    pub has_magic_close: bool,
}

/// `WDIOS_DISABLECARD`.
pub const DISABLE: i32 = 1;
/// `WDIOS_ENABLECARD`.
pub const ENABLE: i32 = 2;
/// The byte that has the device stop when it is closed next.
pub const MAGIC: u8 = b'V';
/// `WDIOF_MAGICCLOSE`.
pub const MAGIC_CLOSE: u32 = 0x100;
/// How long a program's answer is: an error number, an integer, and room for `watchdog_info`.
pub const ANSWER_LEN: usize = 48;

impl Device {
    /// Opens the device at `path`, which starts counting.
    ///
    /// # Errors
    /// What the system refused; `EBUSY` if another program has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kind = fs::metadata(path)?.file_type();
        if kind.is_socket() {
            return Self::connect(path);
        }
        if !kind.is_char_device() {
            return Err(io::Error::other("not a device"));
        }
        let handle = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { handle: Handle::Kernel(handle) })
    }

    fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        answer(&stream)?;
        Ok(Self { handle: Handle::Program(stream) })
    }

    /// Returns what it says of itself.
    ///
    /// # Errors
    /// Not a watchdog.
    pub fn info(&self) -> Result<Info, Errno> {
        let (options, firmware, identity) = match &self.handle {
            Handle::Program(stream) => {
                let bytes = ask(stream, Call::Info, 0)?;
                let identity: [u8; 32] = bytes[16..].try_into().map_err(|_| Errno::EPROTO)?;
                (word(&bytes, 8).cast_unsigned(), word(&bytes, 12).cast_unsigned(), identity)
            }
            Handle::Kernel(device) => {
                let info = sys::info(device.as_fd())?;
                (info.options, info.firmware, info.identity)
            }
        };
        let identity = identity.split(|byte| *byte == 0).next().unwrap_or_default();
        let identity = String::from_utf8_lossy(identity).trim().escape_debug().to_string();
        Ok(Info { identity, firmware, has_magic_close: options & MAGIC_CLOSE != 0 })
    }

    /// Feeds it: its timeout begins anew.
    ///
    /// # Errors
    /// What the driver said.
    pub fn feed(&self) -> Result<(), Errno> {
        self.call(Call::KeepAlive, 0).map(drop)
    }

    /// Sets the timeout to at most `seconds` and returns what the driver counts afterwards.
    ///
    /// # Errors
    /// What the driver said. That it cannot be set is none where it can be read.
    pub fn set_timeout(&self, seconds: i32) -> Result<i32, Errno> {
        match self.call(Call::SetTimeout, seconds) {
            Ok(_) | Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
        // Drivers round, and what they return of the call above is not always what they count.
        self.call(Call::Timeout, 0)
    }

    /// Returns why the machine was started, in words, where the driver knows.
    #[must_use]
    pub fn boot_status(&self) -> Vec<String> {
        let bits = self.call(Call::BootStatus, 0).unwrap_or(0);
        let known = BOOT_STATUS.iter().filter(|(bit, _)| bits & bit != 0);
        known.map(|(_, text)| (*text).to_owned()).collect()
    }

    /// Stops the counting without closing it.
    ///
    /// # Errors
    /// The driver cannot, or may not: nowayout.
    pub fn rest(&self) -> Result<(), Errno> {
        self.call(Call::SetOptions, DISABLE).map(drop)
    }

    /// Starts the counting again.
    ///
    /// # Errors
    /// What the driver said.
    pub fn arm(&self) -> Result<(), Errno> {
        self.call(Call::SetOptions, ENABLE)?;
        self.feed()
    }

    /// Says that it may stop, and closes it. With nowayout it goes on counting.
    ///
    /// # Errors
    /// What the driver said; then it goes on counting too.
    pub fn disarm(self) -> Result<(), Errno> {
        match &self.handle {
            Handle::Program(stream) => ask(stream, Call::Write, MAGIC.into()).map(drop),
            Handle::Kernel(device) => nix::unistd::write(device, &[MAGIC]).map(drop),
        }
    }

    fn call(&self, call: Call, value: i32) -> Result<i32, Errno> {
        let device = match &self.handle {
            Handle::Program(stream) => return Ok(word(&ask(stream, call, value)?, 4)),
            Handle::Kernel(device) => device.as_fd(),
        };
        match call {
            Call::BootStatus => sys::boot_status(device),
            Call::SetOptions => sys::set_options(device, value),
            Call::KeepAlive => sys::keep_alive(device),
            Call::SetTimeout => sys::set_timeout(device, value),
            Call::Timeout => sys::timeout(device),
            Call::Info | Call::Write => Err(Errno::EINVAL),
        }
    }
}

/// Asks a program, and returns its answer.
fn ask(mut program: &UnixStream, call: Call, value: i32) -> Result<[u8; ANSWER_LEN], Errno> {
    let mut packet = [0; 8];
    packet[..4].copy_from_slice(&(call as u32).to_le_bytes());
    packet[4..].copy_from_slice(&value.to_le_bytes());
    program.write_all(&packet).map_err(|error| errno(&error))?;
    answer(program)
}

fn answer(mut program: &UnixStream) -> Result<[u8; ANSWER_LEN], Errno> {
    let mut bytes = [0; ANSWER_LEN];
    program.read_exact(&mut bytes).map_err(|error| errno(&error))?;
    match word(&bytes, 0) {
        0 => Ok(bytes),
        errno => Err(Errno::from_raw(errno)),
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EPIPE, Errno::from_raw)
}

/// How long a program may take to answer.
const PATIENCE: core::time::Duration = core::time::Duration::from_secs(1);

/// Returns the integer at `at`.
fn word(bytes: &[u8], at: usize) -> i32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, i32::from_le_bytes)
}

/// What the bits of the boot status say.
const BOOT_STATUS: [(i32, &str); 6] = [
    (0x20, "the watchdog had reset the machine"),
    (0x01, "the machine had overheated"),
    (0x02, "a fan had failed"),
    (0x10, "the power had failed"),
    (0x40, "the power was over its limit"),
    (0x04, "an external line had reset it"),
];

/// Returns whether the driver of the device at `path` never stops once it counts, if the kernel
/// tells.
#[must_use]
pub fn nowayout(path: &Path) -> Option<bool> {
    let text = fs::read_to_string(class_of(path)?.join("nowayout")).ok()?;
    Some(text.trim() == "1")
}

/// Returns where the kernel tells of the device at `path`.
fn class_of(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok().filter(|it| it.file_type().is_char_device())?;
    let device = metadata.rdev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    // The device of old is another name of the first one.
    let place = match (major, minor) {
        (10, 130) => "/sys/class/watchdog/watchdog0".to_owned(),
        (major, minor) => format!("/sys/dev/char/{major}:{minor}"),
    };
    Some(place.into())
}

/// Returns which process has a watchdog of the kernel open, in words, if that can be seen.
#[must_use]
pub fn holder() -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?;
    let numbers = processes.filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| *number != std::process::id()).find_map(|number| {
        let mut open = fs::read_dir(format!("/proc/{number}/fd")).ok()?;
        let is_it = |path: PathBuf| {
            path.starts_with("/dev") && {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with("watchdog")
            }
        };
        open.any(|it| it.ok().and_then(|it| fs::read_link(it.path()).ok()).is_some_and(is_it)).then(
            || {
                let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
                format!("{} (process {number})", name.trim().escape_debug())
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_not_opened() {
        for (path, expected) in [
            ("/nowhere/watchdog", "No such file"),
            ("/dev", "not a device"),
            ("/proc/self/status", "not a device"),
        ] {
            let said = Device::open(Path::new(path)).unwrap_err().to_string();
            assert!(said.contains(expected), "{path}: {said}");
        }
        let null = Device::open(Path::new("/dev/null")).unwrap();
        assert_eq!(null.info(), Err(Errno::ENOTTY));
        assert_eq!(nowayout(Path::new("/dev/null")), None);
    }

    #[test]
    fn calls_have_the_numbers_of_the_kernel() {
        assert_eq!(Call::ALL.map(|call| call as u32), [0, 2, 4, 5, 6, 7, 8]);
    }
}
