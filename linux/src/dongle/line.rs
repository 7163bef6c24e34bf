//! The line to a dongle: a serial device, or a socket where an emulator stands in for one.

use core::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Group, read, write};
use serialport::{SerialPortInfo, SerialPortType};

use crate::clock;
use crate::link::failure::Failure;
use crate::link::serial::line_time;
use crate::link::serial::terminal::{Refused, Terminal};
use crate::settings::said;

/// Speeds that devices are commonly set to, the likeliest first.
pub const COMMON_SPEEDS: [u32; 8] =
    [115_200, 9600, 57_600, 38_400, 19_200, 230_400, 460_800, 921_600];

/// A line that belongs to this process alone while it is open.
#[derive(Debug)]
pub struct Line {
    path: PathBuf,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    Terminal { port: Terminal, speed: u32 },
    Socket(UnixStream),
}

impl Line {
    /// Opens the device at `path` at `speed` baud, for this process alone. A socket is connected
    /// to, and has no speed.
    ///
    /// # Errors
    /// Says why it cannot be used. Nobody else is disturbed.
    pub fn open(path: &Path, speed: u32) -> Result<Self, LineError> {
        let wrong = |kind| LineError { path: path.to_owned(), kind };
        let is_socket = fs::metadata(path).is_ok_and(|about| about.file_type().is_socket());
        let ends = if is_socket {
            let socket = UnixStream::connect(path)
                .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            Ends::Socket(socket.map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => wrong(LineErrorKind::Deserted),
                io::ErrorKind::PermissionDenied => wrong(LineErrorKind::Permission { group: None }),
                _ => wrong(LineErrorKind::System(said(&error))),
            })?)
        } else {
            let port = Terminal::open(path, speed, true);
            let port = port.map_err(|refused| wrong(LineErrorKind::of(refused, path, speed)))?;
            Ends::Terminal { port, speed }
        };
        Ok(Self { path: path.to_owned(), ends })
    }

    /// Returns where the line is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the speed in baud, or `None` of a socket.
    #[must_use]
    pub const fn speed(&self) -> Option<u32> {
        match &self.ends {
            Ends::Terminal { speed, .. } => Some(*speed),
            Ends::Socket(_) => None,
        }
    }

    /// Returns how long `len` bytes are on the way; no time on a socket.
    #[must_use]
    pub fn line_time(&self, len: usize) -> Duration {
        self.speed().map_or(Duration::ZERO, |speed| line_time(len, speed))
    }

    /// Writes all of `bytes`, for at most `limit`.
    ///
    /// # Errors
    /// The line is gone, or takes nothing.
    pub fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), LineError> {
        let until = clock::now() + limit;
        let mut rest = bytes;
        while !rest.is_empty() {
            match write(self.descriptor(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    if !self.wait(PollFlags::POLLOUT, until) {
                        return Err(self.wrong(LineErrorKind::Stuck));
                    }
                }
                Err(errno) => return Err(self.lost(errno)),
            }
        }
        Ok(())
    }

    /// Reads what there is into `bytes`, waits until `until` for the first of it, and returns how
    /// many there were: none if the time is over.
    ///
    /// # Errors
    /// The line is gone.
    pub fn read(&mut self, bytes: &mut [u8], until: Instant) -> Result<usize, LineError> {
        loop {
            match read(self.descriptor(), bytes) {
                Ok(0) => return Err(self.wrong(LineErrorKind::HungUp)),
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    if !self.wait(PollFlags::POLLIN, until) {
                        return Ok(0);
                    }
                }
                Err(errno) => return Err(self.lost(errno)),
            }
        }
    }

    /// Waits for `what`, and returns whether it came before `until`.
    fn wait(&self, what: PollFlags, until: Instant) -> bool {
        loop {
            let left = until.since(clock::now());
            let left = TimeSpec::from_duration(std::time::Duration::from_micros(left.as_micros()));
            match ppoll(&mut [PollFd::new(self.descriptor(), what)], Some(left), None) {
                Err(Errno::EINTR) => {}
                ready => return ready.is_ok_and(|count| count > 0),
            }
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Terminal { port, .. } => port.as_fd(),
            Ends::Socket(socket) => socket.as_fd(),
        }
    }

    fn lost(&self, errno: Errno) -> LineError {
        self.wrong(match errno {
            Errno::EIO | Errno::EPIPE | Errno::ECONNRESET | Errno::ENODEV | Errno::ENXIO => {
                LineErrorKind::HungUp
            }
            errno => LineErrorKind::System(errno.desc().to_lowercase()),
        })
    }

    fn wrong(&self, kind: LineErrorKind) -> LineError {
        LineError { path: self.path.clone(), kind }
    }
}

/// Returns the name and number of a process that has the device at `path` open, as far as this
/// user may see.
fn holder(path: &Path) -> Option<String> {
    let device = path.canonicalize().ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let number = process.file_name().to_string_lossy().into_owned();
        if !number.bytes().all(|digit| digit.is_ascii_digit())
            || number == std::process::id().to_string()
        {
            continue;
        }
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to == device);
        if open.flatten().any(has) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {number})", name.trim_end()));
        }
    }
    None
}

/// Returns the serial ports of this machine behind which there is something, for a hint.
fn candidates() -> Vec<String> {
    let ports = serialport::available_ports().unwrap_or_default();
    let mut found: Vec<String> = ports.iter().filter_map(candidate).collect();
    found.sort();
    found
}

/// Returns the name of a port and of the adapter it is on, unless it is one of those that are there
/// for as many ports as a machine could have.
fn candidate(port: &SerialPortInfo) -> Option<String> {
    let name = &port.port_name;
    match &port.port_type {
        SerialPortType::UsbPort(adapter) => Some(match &adapter.product {
            Some(product) => format!("{name} ({product})"),
            None => format!("{name} (USB {:04x}:{:04x})", adapter.vid, adapter.pid),
        }),
        SerialPortType::PciPort | SerialPortType::BluetoothPort => Some(name.clone()),
        SerialPortType::Unknown => None,
    }
}

/// Why a line cannot be used, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    path: PathBuf,
    kind: LineErrorKind,
}

impl LineError {
    /// Returns what is wrong.
    #[must_use]
    pub const fn kind(&self) -> &LineErrorKind {
        &self.kind
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineErrorKind {
    /// There is no such device.
    Missing,
    /// There is a file, and it is not a serial device.
    NotSerial,
    /// The device is there, and no hardware behind it.
    NoHardware,
    /// This user may not use it.
    Permission {
        /// The group whose members may.
        group: Option<String>,
    },
    /// Somebody else has it.
    Busy {
        /// Who, if that can be seen.
        by: Option<String>,
    },
    /// Nobody listens at the socket.
    Deserted,
    /// The device does not have this speed.
    Speed(u32),
    /// The device went away while it was in use.
    HungUp,
    /// The device takes no bytes.
    Stuck,
    /// Anything else, as the system said it.
    System(String),
}

impl LineErrorKind {
    /// Returns why the device at `path` was refused.
    fn of(refused: Refused, path: &Path, speed: u32) -> Self {
        match (refused.failure, refused.errno) {
            (Failure::DeviceMissing, Errno::ENOENT | Errno::ENOTDIR) => Self::Missing,
            // A node without a port behind it, as for the built-in ports that a machine lacks.
            (Failure::DeviceMissing | Failure::HungUp, _) => Self::NoHardware,
            (Failure::Busy, _) => Self::Busy { by: holder(path) },
            (Failure::NotSerial, _) => Self::NotSerial,
            (Failure::SpeedRefused, _) => Self::Speed(speed),
            (Failure::Forbidden, _) => Self::Permission { group: group_of(path) },
            (_, errno) => Self::System(errno.desc().to_lowercase()),
        }
    }
}

/// Returns the group whose members may use the device at `path`.
fn group_of(path: &Path) -> Option<String> {
    let about = fs::metadata(path).ok().filter(|about| about.mode() & 0o060 == 0o060)?;
    let group = Group::from_gid(Gid::from_raw(about.gid())).ok().flatten()?;
    // Nobody is told to join root.
    Some(group.name).filter(|name| name != "root")
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            LineErrorKind::Missing => {
                write!(formatter, "open {path}: no such device; ")?;
                match candidates().as_slice() {
                    [] => formatter.write_str("is the cable plugged in?"),
                    known => write!(formatter, "there is {}", known.join(", ")),
                }
            }
            LineErrorKind::NotSerial => write!(formatter, "open {path}: not a serial device"),
            LineErrorKind::NoHardware => {
                write!(formatter, "open {path}: no serial hardware is behind this device")
            }
            LineErrorKind::Permission { group: Some(group) } => write!(
                formatter,
                "open {path}: permission denied; members of group {group} may: \
                 `sudo usermod -aG {group} $USER`, and log in again"
            ),
            LineErrorKind::Permission { group: None } => {
                write!(formatter, "open {path}: permission denied; try as root")
            }
            LineErrorKind::Busy { by } => {
                let by = by.as_deref().unwrap_or("another program");
                write!(
                    formatter,
                    "open {path}: busy: {by} has it; if that is the daemon, stop it \
                     (`systemctl stop lifesign`) or use another port of the dongle"
                )
            }
            LineErrorKind::Deserted => write!(formatter, "open {path}: nobody listens there"),
            LineErrorKind::Speed(speed) => {
                write!(formatter, "open {path}: this device does not do {speed} baud")
            }
            LineErrorKind::HungUp => {
                write!(formatter, "{path}: the device went away; was it unplugged?")
            }
            LineErrorKind::Stuck => {
                write!(formatter, "open {path}: it takes no bytes; is the adapter stuck?")
            }
            LineErrorKind::System(what) => write!(formatter, "open {path}: {what}"),
        }
    }
}

impl core::error::Error for LineError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::serial::SPEED;
    use crate::settings::tests::Folder;
    use crate::wire::{End, Wire};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_port_is_called_by_what_it_is() {
        let adapter = |product: Option<&str>| {
            SerialPortType::UsbPort(serialport::UsbPortInfo {
                vid: 0x0403,
                pid: 0x6001,
                serial_number: None,
                manufacturer: None,
                product: product.map(str::to_owned),
            })
        };
        let called = |port_type| {
            candidate(&SerialPortInfo { port_name: "/dev/ttyUSB0".to_owned(), port_type })
        };
        let named = called(adapter(Some("FT232R USB UART")));
        assert_eq!(named.as_deref(), Some("/dev/ttyUSB0 (FT232R USB UART)"));
        assert_eq!(called(adapter(None)).as_deref(), Some("/dev/ttyUSB0 (USB 0403:6001)"));
        assert_eq!(called(SerialPortType::PciPort).as_deref(), Some("/dev/ttyUSB0"));
        assert_eq!(called(SerialPortType::Unknown), None, "a name without a chip behind it");
    }

    /// Returns our end of a line, and the wire that leads to the device at `path`.
    fn wired(path: &Path) -> (UnixStream, Wire) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let end = End::Terminal(path.to_owned());
        (ours, Wire::join(End::Descriptor(theirs.into()), end, None).unwrap())
    }

    fn refusal(path: &Path) -> String {
        Line::open(path, SPEED).unwrap_err().to_string()
    }

    fn soon() -> Instant {
        clock::now() + Duration::from_millis(200)
    }

    #[test]
    fn what_cannot_be_a_line_is_named_in_one_line() {
        let folder = Folder::new("line");
        let missing = folder.path.join("ttyUSB7");
        let said = refusal(&missing);
        assert!(said.starts_with(&format!("open {}: no such device; ", missing.display())));
        assert!(!said.contains('\n'));
        let file = folder.path.join("file");
        fs::write(&file, "").unwrap();
        for path in [file.as_path(), &folder.path, Path::new("/dev/null")] {
            let expected = format!("open {}: not a serial device", path.display());
            assert_eq!(refusal(path), expected);
        }
        let socket = folder.path.join("socket");
        drop(UnixListener::bind(&socket).unwrap());
        let expected = format!("open {}: nobody listens there", socket.display());
        assert_eq!(refusal(&socket), expected);
    }

    #[test]
    fn each_refusal_of_the_system_has_words_of_its_own() {
        let of = |errno| LineErrorKind::of(Refused::from(errno), Path::new("/dev/null"), 1234);
        assert_eq!(of(Errno::ENXIO), LineErrorKind::NoHardware);
        assert_eq!(of(Errno::EIO), LineErrorKind::NoHardware);
        assert_eq!(of(Errno::EMFILE), LineErrorKind::System("too many open files".to_owned()));
        let refused = Refused { failure: Failure::SpeedRefused, errno: Errno::EINVAL };
        assert_eq!(LineErrorKind::of(refused, Path::new("/"), 1234), LineErrorKind::Speed(1234));
        let says = |kind| LineError { path: "/dev/ttyS0".into(), kind }.to_string();
        let group = Some("dialout".to_owned());
        assert_eq!(
            says(LineErrorKind::Permission { group }),
            "open /dev/ttyS0: permission denied; members of group dialout may: \
             `sudo usermod -aG dialout $USER`, and log in again"
        );
        for kind in [
            LineErrorKind::Permission { group: None },
            LineErrorKind::NoHardware,
            LineErrorKind::Speed(1234),
            LineErrorKind::Stuck,
            of(Errno::EMFILE),
        ] {
            assert!(says(kind).starts_with("open /dev/ttyS0: "));
        }
    }

    #[test]
    fn a_line_is_nobody_elses_while_it_is_open() {
        let folder = Folder::new("line");
        let path = folder.path.join("device");
        let _wired = wired(&path);
        let line = Line::open(&path, SPEED).unwrap();
        let said = refusal(&path);
        assert!(said.contains(": busy: "), "{said}");
        assert!(said.contains("stop it (`systemctl stop lifesign`) or use another port"), "{said}");
        drop(line);
        Line::open(&path, SPEED).unwrap();
    }

    #[test]
    fn bytes_go_both_ways_until_the_other_end_goes() {
        let folder = Folder::new("line");
        let path = folder.path.join("device");
        let (mut ours, wire) = wired(&path);
        let mut line = Line::open(&path, 9600).unwrap();
        assert_eq!(line.speed(), Some(9600));
        assert_eq!(line.line_time(96), Duration::from_millis(100));
        let mut bytes = [0; 8];
        assert_eq!(line.read(&mut bytes, clock::now()), Ok(0), "nothing came");
        ours.write_all(b"ping").unwrap();
        assert_eq!(line.read(&mut bytes, soon()), Ok(4));
        line.write(b"\0pong", Duration::from_millis(200)).unwrap();
        ours.read_exact(&mut bytes[..5]).unwrap();
        assert_eq!(&bytes[..5], b"\0pong", "nothing is translated");
        drop(wire);
        let error = line.read(&mut bytes, soon()).unwrap_err();
        assert_eq!(error.kind(), &LineErrorKind::HungUp, "{error}");
    }

    #[test]
    fn a_line_that_takes_nothing_is_given_up() {
        let folder = Folder::new("line");
        let path = folder.path.join("device");
        let (_ours, wire) = wired(&path);
        wire.set_faults(
            crate::wire::Side::Right,
            crate::wire::Faults { is_stalled: true, ..Default::default() },
        );
        let mut line = Line::open(&path, SPEED).unwrap();
        let error = line.write(&[1; 1 << 17], Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), &LineErrorKind::Stuck, "{error}");
    }

    #[test]
    fn a_socket_stands_in_for_a_device() {
        let folder = Folder::new("line");
        let path = folder.path.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut line = Line::open(&path, SPEED).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        other.write_all(b"ping").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(line.read(&mut bytes, soon()), Ok(4));
        assert_eq!((line.speed(), line.line_time(96)), (None, Duration::ZERO));
        drop(other);
        let error = line.read(&mut bytes, soon()).unwrap_err();
        assert_eq!(error.kind(), &LineErrorKind::HungUp);
    }
}
