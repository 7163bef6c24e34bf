//! One port of a serial link: its device while it is there, its line, and what it has seen.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use lifesign_core::relay::PortCounters;
use lifesign_core::stream::{Deframer, Garbage, MAX_LINE_LEN};
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::diagnosis::{Diagnosis, Recent, Sign};
use super::opener::{Opened, Task};
use super::terminal::{LineErrors, LowLatency, Refused, Terminal};
use super::{SerialSpec, line_time};
use crate::link::State;
use crate::link::backoff::BackOff;
use crate::link::failure::Failure;

/// A port, open or waiting to be opened again.
#[derive(Debug)]
pub struct Port {
    device: PathBuf,
    pub(super) terminal: Option<Terminal>,
    pub(super) deframer: Deframer<{ MAX_LINE_LEN - 2 }>,
    pub(super) account: Account,
    /// Why it was last closed, or could not be opened.
    refused: Option<Refused>,
    backoff: BackOff,
    /// When the line has carried what was handed over.
    free_at: Instant,
    /// Since when the device takes nothing.
    blocked_since: Option<Instant>,
    is_stuck: bool,
    /// When the driver's counters were last asked for.
    counted_at: Instant,
}

/// What a port has done since the link was first opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Bytes handed to the device.
    pub bytes_sent: u64,
    /// Bytes that came in.
    pub bytes_received: u64,
    /// Frames and other messages handed to the device whole.
    pub sent: u64,
    /// Frames that came in whole, copies among them.
    pub received: u64,
    /// Messages of a dongle that came in.
    pub answers: u64,
    /// Frames that came in here and went on to the other ports.
    pub relayed: u64,
    /// Frames that came in here after they had come in at another port.
    pub copies: u64,
    /// Own frames that came back: around a ring, which is harmless, or from a loopback plug.
    pub returned: u64,
    /// Frames replaced by newer ones of the same sender before the line was free for them.
    pub displaced: u64,
    /// Frames and other messages lost because the device took nothing or was closed.
    pub dropped: u64,
    /// What came in and was no message, by kind.
    pub garbage: GarbageCounts,
    /// What the driver counted; `None` if it does not.
    pub line_errors: Option<LineErrors>,
    /// How often the device hung up.
    pub hang_ups: u64,
    /// How often it was opened again.
    pub reopened: u64,
}

/// Counts of each kind of [`Garbage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GarbageCounts {
    /// Not stuffed as it should be.
    pub stuffing: u64,
    /// Longer than any message.
    pub length: u64,
    /// The check was wrong.
    pub check: u64,
}

impl GarbageCounts {
    /// Returns how much garbage there was.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stuffing + self.length + self.check
    }
}

/// What is counted while a message is being looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) statistics: PortStatistics,
    pub(super) recent: Recent,
}

impl Account {
    pub(super) fn garbage(&mut self, garbage: Garbage, now: Instant) {
        let counts = &mut self.statistics.garbage;
        match garbage {
            Garbage::Stuffing => counts.stuffing += 1,
            Garbage::Length => counts.length += 1,
            Garbage::Check => counts.check += 1,
        }
        self.recent.sign(Sign::Damage, now);
    }

    pub(super) fn bytes(&mut self, len: usize, now: Instant) {
        self.statistics.bytes_received += len as u64;
        self.recent.bytes(len, now);
    }
}

impl Port {
    pub(super) fn new(device: PathBuf) -> Self {
        Self {
            device,
            terminal: None,
            deframer: Deframer::new(),
            account: Account::default(),
            refused: None,
            backoff: BackOff::default(),
            free_at: Instant::ZERO,
            blocked_since: None,
            is_stuck: false,
            counted_at: Instant::ZERO,
        }
    }

    /// Returns what is to be opened for port `at`.
    pub(super) fn task(&self, at: usize, spec: &SerialSpec) -> Task {
        let (speed, low_latency) = (spec.speed, spec.low_latency);
        Task { at, device: self.device.clone(), speed, low_latency }
    }

    /// Returns whether the device is closed and it is time to open it; then somebody does.
    pub(super) fn begin_to_open(&mut self, now: Instant) -> bool {
        let is_due = self.terminal.is_none() && self.backoff.is_due(now);
        if is_due {
            self.backoff.succeeded();
        }
        is_due
    }

    /// Takes what was opened for it and adds it to `epoll`; if it could not be, the next attempt is
    /// due after a pause. Returns whether the port is open.
    pub(super) fn handle_opened(&mut self, opened: Opened, epoll: &Epoll, now: Instant) -> bool {
        let watched = opened.result.and_then(|terminal| {
            epoll.add(terminal.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, opened.at as u64))?;
            Ok(terminal)
        });
        match watched {
            Ok(terminal) => {
                self.terminal = Some(terminal);
                self.refused = None;
                self.deframer = Deframer::new();
                (self.blocked_since, self.is_stuck) = (None, false);
                self.free_at = now;
                self.count_line_errors(now);
                true
            }
            Err(refused) => {
                self.refused = Some(refused);
                self.backoff.failed(now);
                false
            }
        }
    }

    /// Closes the device, because of `errno`, until it can be opened again.
    pub(super) fn close(&mut self, errno: Errno, epoll: &Epoll, now: Instant) {
        let Some(terminal) = self.terminal.take() else { return };
        // Whatever else may hold the device open, it is not to wake this link any more.
        let _gone = epoll.delete(terminal.as_fd());
        let refused = Refused::from(errno);
        self.account.statistics.hang_ups += u64::from(refused.failure == Failure::HungUp);
        self.refused = Some(refused);
        self.backoff.failed(now);
    }

    /// Returns whether the line is free for a message, and if not, looks again when it may be.
    pub(super) fn is_free(&mut self, spec: &SerialSpec, now: Instant) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        if !now.has_reached(self.free_at) {
            return false;
        }
        // The line's own clock may be slower than ours, and its driver holds a lot.
        let waiting = terminal.bytes_waiting();
        if waiting > 0 {
            self.free_at = now + line_time(waiting, spec.speed).min(PATIENCE);
            self.note_blocked(now);
        }
        waiting == 0
    }

    /// Takes note that the device accepted `count` bytes.
    pub(super) fn handle_sent(&mut self, count: usize, spec: &SerialSpec, now: Instant) {
        self.free_at = now + line_time(count, spec.speed);
        (self.blocked_since, self.is_stuck) = (None, false);
        self.account.statistics.bytes_sent += count as u64;
        self.backoff.settled();
    }

    /// Takes note that the device accepts nothing.
    pub(super) fn handle_stuck(&mut self, now: Instant) {
        self.is_stuck = true;
        self.free_at = now + PATIENCE;
    }

    fn note_blocked(&mut self, now: Instant) {
        let since = *self.blocked_since.get_or_insert(now);
        self.is_stuck |= now.since(since) >= STUCK;
    }

    /// Takes over what the relay has counted.
    pub(super) fn note(&mut self, counters: PortCounters) {
        let statistics = &mut self.account.statistics;
        statistics.sent = counters.sent.into();
        statistics.displaced = counters.displaced.into();
        statistics.dropped = counters.dropped.into();
    }

    /// Asks the driver what went wrong on the line, if that was not done lately.
    pub(super) fn count_line_errors(&mut self, now: Instant) {
        if now.since(self.counted_at) < COUNTING && self.counted_at != Instant::ZERO {
            return;
        }
        self.counted_at = now;
        let Some(terminal) = &mut self.terminal else { return };
        let Some(errors) = terminal.take_line_errors() else { return };
        let sum = self.account.statistics.line_errors.get_or_insert_default();
        sum.framing += errors.framing;
        sum.parity += errors.parity;
        sum.overruns += errors.overruns;
        sum.breaks += errors.breaks;
        if errors.framing + errors.parity > 0 {
            self.account.recent.sign(Sign::Damage, now);
        }
    }

    /// Returns when opening or sending next has work, given whether there is `nothing` to send.
    pub(super) fn poll_timeout(&self, nothing: bool) -> Option<Instant> {
        match &self.terminal {
            None => self.backoff.poll_timeout(),
            Some(_) => (!nothing).then_some(self.free_at),
        }
    }

    /// Returns the path of the device, as it is in the settings.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Returns whether frames can be sent, and if not, why.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.terminal, self.refused) {
            (Some(_), _) if self.is_stuck => State::Down(Failure::Stuck),
            (Some(_), _) => State::Up,
            (None, refused) => {
                State::Down(refused.map_or(Failure::Other, |refused| refused.failure))
            }
        }
    }

    /// Returns what the port hears, and so what is probably wrong with its cable.
    #[must_use]
    pub fn diagnosis(&self, now: Instant) -> Diagnosis {
        self.account.recent.diagnosis(now)
    }

    /// Returns the counters.
    #[must_use]
    pub const fn statistics(&self) -> &PortStatistics {
        &self.account.statistics
    }

    /// Returns whether the driver hands on each byte at once; `None` while the device is closed.
    #[must_use]
    pub fn low_latency(&self) -> Option<LowLatency> {
        self.terminal.as_ref().map(Terminal::low_latency)
    }

    /// Returns for how many milliseconds a USB adapter collects bytes, where its driver tells.
    #[must_use]
    pub fn latency_timer_ms(&self) -> Option<u32> {
        self.terminal.as_ref()?.latency_timer_ms()
    }
}

/// Shows the device and its state: "/dev/ttyS0: in use by another program".
impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.device.display())?;
        match (self.state(), self.refused) {
            (State::Up, _) => formatter.write_str("up"),
            (State::Down(_), Some(refused)) => refused.fmt(formatter),
            (State::Down(failure), None) => failure.fmt(formatter),
        }
    }
}

/// How long to wait before trying again what the device did not take.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a device may take nothing before it counts as stuck: the longest message of all takes
/// a second at 9600 bits per second.
const STUCK: Duration = Duration::from_millis(2000);

/// How often the driver is asked for its counters, at most.
const COUNTING: Duration = Duration::from_millis(1000);
