//! What is joined at one end of a wire, while it is there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::End;

/// An end, and what is open there.
#[derive(Debug)]
pub(super) struct Joined {
    end: End,
    open: Option<Open>,
    is_plugged: bool,
    /// When to look again for what is not there.
    retry: Option<Instant>,
}

#[derive(Debug)]
enum Open {
    /// The device itself is kept open, or the pseudo-terminal would report a hang-up whenever
    /// nobody else has it.
    Terminal {
        master: PtyMaster,
        _device: OwnedFd,
    },
    Other(OwnedFd),
    /// The descriptor of [`End::Descriptor`].
    Given,
}

impl Joined {
    pub(super) fn new(end: End) -> io::Result<Self> {
        let mut joined = Self { end, open: None, is_plugged: false, retry: None };
        joined.plug()?;
        Ok(joined)
    }

    pub(super) fn plug(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        self.is_plugged = true;
        match &self.end {
            End::Terminal(path) => self.open = Some(make_terminal(path)?),
            End::Device(_) | End::Socket(_) => self.retry = Some(Instant::ZERO),
            End::Descriptor(descriptor) => {
                let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
                fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
                self.open = Some(Open::Given);
            }
        }
        Ok(())
    }

    pub(super) fn unplug(&mut self) {
        self.is_plugged = false;
        self.retry = None;
        if let (End::Terminal(path), Some(_)) = (&self.end, &self.open) {
            // Who opens the path must not find a terminal that is about to hang up.
            let _gone = fs::remove_file(path);
        }
        self.open = None;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match (self.open.as_ref()?, &self.end) {
            (Open::Terminal { master, .. }, _) => Some(master.as_fd()),
            (Open::Other(descriptor), _) | (Open::Given, End::Descriptor(descriptor)) => {
                Some(descriptor.as_fd())
            }
            (Open::Given, _) => None,
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.retry
    }

    /// Looks for what is not there, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if !self.retry.is_some_and(|retry| now.has_reached(retry)) {
            return;
        }
        let opened = match &self.end {
            End::Device(path) => open_device(path),
            End::Socket(path) => call(path),
            End::Terminal(_) | End::Descriptor(_) => return,
        };
        self.open = opened.ok().map(Open::Other);
        self.retry = self.open.is_none().then(|| now + RETRY);
    }

    /// Returns how many bytes there were to take.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> usize {
        let Some(descriptor) = self.descriptor() else { return 0 };
        match read(descriptor, buffer) {
            Ok(len) if len > 0 => len,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Ok(_) | Err(_) => {
                self.lose(now);
                0
            }
        }
    }

    /// Returns how many of `bytes` were accepted.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        let Some(descriptor) = self.descriptor() else { return 0 };
        match write(descriptor, bytes) {
            Ok(len) => len,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => {
                self.lose(now);
                0
            }
        }
    }

    fn lose(&mut self, now: Instant) {
        self.open = None;
        if self.is_plugged && matches!(self.end, End::Device(_) | End::Socket(_)) {
            self.retry = Some(now + RETRY);
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// Makes a pseudo-terminal and lets `path` lead to it.
fn make_terminal(path: &Path) -> io::Result<Open> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname_r(&master)?;
    let device = open_device(Path::new(&name))?;
    // A link is replaced at once by another, so that the path never leads nowhere.
    let mut fresh = path.to_owned().into_os_string();
    fresh.push(".new");
    let _none = fs::remove_file(&fresh);
    symlink(&name, &fresh)?;
    fs::rename(&fresh, path)?;
    Ok(Open::Terminal { master, _device: device })
}

/// Opens a terminal raw: without that it would echo what arrives before the daemon opens it.
fn open_device(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let device = open(path, flags, Mode::empty())?;
    let mut settings = tcgetattr(&device)?;
    cfmakeraw(&mut settings);
    tcsetattr(&device, SetArg::TCSANOW, &settings)?;
    Ok(device)
}

fn call(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let called = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&called), &UnixAddr::new(path)?)?;
    Ok(called)
}

/// How long to wait before looking again for what is not there.
const RETRY: Duration = Duration::from_millis(20);
