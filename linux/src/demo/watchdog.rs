//! A watchdog for a machine of the laboratory: it kills all of it at once when it is not fed.
//!
//! It stands beside the machine, as hardware does: a thread of the laboratory's process, which
//! nothing on the machine can stop.
//!
//! It answers at a socket in the place of the device, and does what the kernel's part of every
//! driver does: one opener at a time, counting from the opening on, a least timeout, the magic
//! byte, nowayout, and one feed of its own when it is closed without a word.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::watchdog::device::{ANSWER_LEN, Call, DISABLE, ENABLE, MAGIC, MAGIC_CLOSE};

/// What kind of watchdog it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The least timeout that can be set, in seconds; what it counts where less is asked for.
    pub least_s: i32,
    /// Whether it never stops once it counts.
    pub nowayout: bool,
}

impl Kind {
    /// Returns one that does whatever it is asked for.
    #[must_use]
    pub const fn obedient() -> Self {
        Self { least_s: 1, nowayout: false }
    }
}

/// What has become of a watchdog.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// Whether it counts.
    pub is_counting: bool,
    /// What it counts, in seconds.
    pub timeout_s: i32,
    /// How often it was fed.
    pub fed: u64,
    /// How often it was closed after the magic byte.
    pub disarmed: u32,
    /// When it has bitten, in microseconds of the machine's clock.
    pub bites_us: Vec<u64>,
}

#[derive(Debug)]
struct Shared {
    dial: Dial,
    machine: Option<Pid>,
    fires_us: u64,
    is_over: bool,
}

/// A watchdog beside a machine.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts a watchdog that answers at the socket `path`.
    ///
    /// # Errors
    /// What the system refused.
    pub fn start(path: &Path, kind: Kind) -> io::Result<Self> {
        let dial = Dial { timeout_s: kind.least_s.max(30), ..Dial::default() };
        let shared = Shared { dial, machine: None, fires_us: u64::MAX, is_over: false };
        let shared = Arc::new(Mutex::new(shared));
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let desk = Desk { shared: Arc::clone(&shared), kind, listener, opener: None, magic: false };
        let thread = thread::Builder::new().name("watchdog".into()).spawn(move || desk.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Lets it stand beside the machine whose first process is this one, which has just booted.
    pub fn stand_beside(&self, first: i32) {
        let mut shared = lock(&self.shared);
        let first = Pid::from_raw(first);
        if shared.machine != Some(first) {
            shared.machine = Some(first);
            shared.dial.is_counting = false;
            shared.fires_us = u64::MAX;
        }
    }

    /// Returns what has become of it.
    #[must_use]
    pub fn dial(&self) -> Dial {
        lock(&self.shared).dial.clone()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        lock(&self.shared).is_over = true;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Where it answers.
struct Desk {
    shared: Arc<Mutex<Shared>>,
    kind: Kind,
    listener: UnixListener,
    opener: Option<UnixStream>,
    magic: bool,
}

impl Desk {
    fn run(mut self) {
        while !lock(&self.shared).is_over {
            self.admit();
            self.answer_all();
            self.bite_if_due();
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn admit(&mut self) {
        let Ok((guest, _)) = self.listener.accept() else { return };
        if self.opener.is_some() {
            reply(&guest, Errno::EBUSY as i32, 0, &[]);
            return;
        }
        reply(&guest, 0, 0, &[]);
        self.opener = Some(guest);
        self.magic = false;
        self.count(true);
    }

    fn count(&self, is_counting: bool) {
        let mut shared = lock(&self.shared);
        shared.dial.is_counting = is_counting;
        let span_us = u64::from(shared.dial.timeout_s.unsigned_abs()) * 1_000_000;
        let now_us = clock::now().as_micros();
        shared.fires_us = if is_counting { now_us + span_us } else { u64::MAX };
    }

    fn answer_all(&mut self) {
        while let Some(opener) = self.opener.take() {
            let mut packet = [0; 8];
            // A call comes whole or not at all: it is one write of a few bytes.
            let is_quiet = opener.set_nonblocking(true).is_ok();
            match (&opener).read(&mut packet) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_quiet => {
                    self.opener = Some(opener);
                    return;
                }
                Ok(8) => {
                    let [number, value] = [0, 4].map(|at| word(&packet, at));
                    let (errno, value, rest) = self.carry_out(number, value);
                    reply(&opener, errno, value, &rest);
                    self.opener = Some(opener);
                }
                _ => self.close(),
            }
        }
    }

    /// It was closed: it stops if it was told that it may, and is fed once more if not.
    fn close(&self) {
        let is_counting = lock(&self.shared).dial.is_counting;
        if self.magic {
            lock(&self.shared).dial.disarmed += 1;
        }
        let may_stop = self.magic && !self.kind.nowayout;
        if is_counting {
            self.count(!may_stop);
        }
    }

    fn carry_out(&mut self, number: i32, value: i32) -> (i32, i32, Vec<u8>) {
        let call = Call::ALL.into_iter().find(|call| *call as i32 == number);
        let is_counting = lock(&self.shared).dial.is_counting;
        match call {
            Some(Call::Info) => {
                let mut info = Vec::from(MAGIC_CLOSE.to_le_bytes());
                info.extend(7_u32.to_le_bytes());
                info.extend(b"laboratory");
                (0, 0, info)
            }
            Some(Call::BootStatus) => {
                let has_bitten = !lock(&self.shared).dial.bites_us.is_empty();
                (0, if has_bitten { CARD_RESET } else { 0 }, Vec::new())
            }
            Some(Call::SetOptions) if value == DISABLE && self.kind.nowayout => {
                (Errno::EBUSY as i32, 0, Vec::new())
            }
            Some(Call::SetOptions) if value == DISABLE || value == ENABLE => {
                self.count(value == ENABLE);
                (0, 0, Vec::new())
            }
            Some(Call::KeepAlive) => {
                lock(&self.shared).dial.fed += 1;
                if is_counting {
                    self.count(true);
                }
                (0, 0, Vec::new())
            }
            Some(Call::SetTimeout) if value < self.kind.least_s => {
                (Errno::EINVAL as i32, 0, Vec::new())
            }
            Some(Call::SetTimeout) => {
                lock(&self.shared).dial.timeout_s = value;
                if is_counting {
                    self.count(true);
                }
                (0, value, Vec::new())
            }
            Some(Call::Timeout) => (0, lock(&self.shared).dial.timeout_s, Vec::new()),
            Some(Call::Write) => {
                self.magic = value == i32::from(MAGIC);
                (0, 0, Vec::new())
            }
            Some(Call::SetOptions) | None => (Errno::EINVAL as i32, 0, Vec::new()),
        }
    }

    fn bite_if_due(&self) {
        let mut shared = lock(&self.shared);
        let now_us = clock::now().as_micros();
        if now_us < shared.fires_us {
            return;
        }
        shared.fires_us = u64::MAX;
        shared.dial.is_counting = false;
        // One that was off already is reset as well, and nobody notices.
        if shared.machine.is_none_or(|first| kill(first, Signal::SIGKILL).is_ok()) {
            shared.dial.bites_us.push(now_us);
        }
    }
}

/// `WDIOF_CARDRESET`.
const CARD_RESET: i32 = 0x20;

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn word(packet: &[u8; 8], at: usize) -> i32 {
    packet[at..].first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

fn reply(mut to: &UnixStream, errno: i32, value: i32, rest: &[u8]) {
    let mut packet = [0; ANSWER_LEN];
    packet[..4].copy_from_slice(&errno.to_le_bytes());
    packet[4..8].copy_from_slice(&value.to_le_bytes());
    packet[8..8 + rest.len()].copy_from_slice(rest);
    let _sent = to.write_all(&packet);
}
