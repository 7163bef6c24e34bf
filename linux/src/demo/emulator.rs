//! The dongle's real firmware, on a board that QEMU emulates.
//!
//! [`command`] starts QEMU on a machine of the laboratory, so that it ends with that machine;
//! [`Emulator`] is what can be done with one that runs. Each serial port of the board is a Unix
//! socket in a directory. QEMU moves bytes as fast as they come: put a
//! [`Wire`](crate::wire::Wire) between a socket and whoever talks to the dongle.
//!
//! What QEMU writes, the journal of its process, tells each change of a reset line: see [`trace`].

pub mod monitor;
pub mod trace;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use self::monitor::Monitor;
use self::trace::Pulse;

/// A board for which there is firmware and which QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// Arm's MPS2 with the AN385 image: five ports, a watchdog, and lines that can be seen.
    Mps2An385,
    /// The STM32F405 of a Netduino Plus 2: three ports; its pins and watchdog are not emulated.
    Stm32F405,
}

impl Board {
    /// Returns the name of the board, as the firmware has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mps2An385 => "mps2-an385",
            Self::Stm32F405 => "stm32f405",
        }
    }

    /// Returns the name of QEMU's machine.
    #[must_use]
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Mps2An385 => "mps2-an385",
            Self::Stm32F405 => "netduinoplus2",
        }
    }

    /// Returns how many serial ports it has.
    #[must_use]
    pub const fn ports(self) -> usize {
        match self {
            Self::Mps2An385 => 5,
            Self::Stm32F405 => 3,
        }
    }

    /// Returns the file of its firmware in the source tree.
    fn image(self) -> PathBuf {
        format!("firmware/target/images/lifesign-dongle-{}.elf", self.name()).into()
    }
}

/// Returns the firmware of `board` in one of `places` or a directory above it.
///
/// # Errors
/// [`Missing::Image`] if it was not built, [`Missing::Qemu`] if nothing could run it.
pub fn image(board: Board, places: &[PathBuf]) -> Result<PathBuf, Missing> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&search).any(|place| place.join(QEMU).is_file()) {
        return Err(Missing::Qemu);
    }
    let above = places.iter().flat_map(|place| place.ancestors());
    let mut candidates = above.map(|place| place.join(board.image()));
    candidates.find(|path| path.is_file()).ok_or(Missing::Image(board))
}

/// The program.
const QEMU: &str = "qemu-system-arm";

/// Returns the command that runs `image` on `board`, with its sockets in `directory`.
///
/// The two streams that it writes must be drained, or it stands still.
#[must_use]
pub fn command(board: Board, image: &Path, directory: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command.args(["-M", board.machine(), "-nodefaults", "-display", "none", "-monitor", "none"]);
    command.arg("-kernel").arg(image);
    // Each line of the trace begins with its time.
    command.args(["-msg", "timestamp=on", "-trace", "led_change_intensity"]);
    let socket = |place: &Path| format!("{},server=on,wait=off", place.display());
    command.arg("-qmp").arg(format!("unix:{}", socket(&monitor_path(directory))));
    for port in 0..board.ports() {
        let place = socket(&port_path(directory, port));
        command.arg("-chardev").arg(format!("socket,id=port{port},path={place}"));
        command.arg("-serial").arg(format!("chardev:port{port}"));
    }
    command
}

fn monitor_path(directory: &Path) -> PathBuf {
    directory.join("monitor")
}

fn port_path(directory: &Path, port: usize) -> PathBuf {
    directory.join(format!("port{port}"))
}

/// A running QEMU with the dongle's firmware.
#[derive(Debug)]
pub struct Emulator {
    directory: PathBuf,
    journal: PathBuf,
    monitor: Monitor,
}

impl Emulator {
    /// Returns the QEMU that was started by [`command`] with the same `directory` and that writes
    /// to the file `journal`, as soon as it can be talked to.
    ///
    /// # Errors
    /// What it wrote, if it cannot be talked to within ten seconds.
    pub fn attach(directory: &Path, journal: &Path) -> io::Result<Self> {
        let place = monitor_path(directory);
        for _ in 0..ATTEMPTS {
            match Monitor::connect(&place) {
                Ok(monitor) => {
                    let (directory, journal) = (directory.to_owned(), journal.to_owned());
                    return Ok(Self { directory, journal, monitor });
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        let said = fs::read_to_string(journal).unwrap_or_default();
        Err(io::Error::other(format!("{QEMU} does not answer; it wrote: {}", said.trim())))
    }

    /// Returns the socket of the serial port with this number, from 0.
    #[must_use]
    pub fn port(&self, port: usize) -> PathBuf {
        port_path(&self.directory, port)
    }

    /// Returns the monitor of QEMU.
    pub const fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// Resets the board, as if its button were pressed: memory keeps what it has.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn reset(&mut self) -> io::Result<()> {
        self.monitor.execute("system_reset", None).map(drop)
    }

    /// Returns every time that a reset line was active.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        trace::pulses(&fs::read_to_string(&self.journal).unwrap_or_default())
    }
}

/// How often QEMU is tried while it starts, every ten milliseconds.
const ATTEMPTS: u32 = 1_000;

/// What the real firmware in QEMU wants and this machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// QEMU is not installed.
    Qemu,
    /// The firmware was not built.
    Image(Board),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qemu => {
                write!(f, "{QEMU} is not installed: `apt-get install qemu-system-arm`")
            }
            Self::Image(board) => {
                write!(f, "{} is not there: `firmware/build` makes it", board.image().display())
            }
        }
    }
}

impl core::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_cures_it() {
        let said = Missing::Image(Board::Mps2An385).to_string();
        let expected = "firmware/target/images/lifesign-dongle-mps2-an385.elf is not there: \
            `firmware/build` makes it";
        assert_eq!(said, expected);
        assert!(Missing::Qemu.to_string().contains("apt-get install"));
    }

    #[test]
    fn each_port_is_a_socket_in_the_directory() {
        let command = command(Board::Stm32F405, Path::new("image"), Path::new("/run/x"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let serials = words.iter().filter(|word| *word == "-serial").count();
        assert_eq!(serials, 3);
        assert!(words.contains(&"socket,id=port2,path=/run/x/port2,server=on,wait=off".into()));
    }
}
