//! The only place where a clock is read.
//!
//! Everything decides by `CLOCK_BOOTTIME`: it never steps, ignores the wall clock being set, and
//! keeps counting while the machine sleeps, so a promise cannot outlive a suspend. The wall clock
//! is read for one purpose: the time stamp that a person sees in a log line. Ticks tell the packet
//! filter's timeouts how much of a tick is left, and decide nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use lifesign_core::time::Instant;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::ClockId as Clock;

/// Returns the time since the machine started, sleep included.
///
/// Costs a few tens of nanoseconds: the kernel answers from a page mapped into the process.
///
/// # Panics
///
/// If the kernel has no `CLOCK_BOOTTIME` (Linux older than 2.6.39): without a clock nothing here is
/// safe.
#[must_use]
pub fn now() -> Instant {
    let time = Clock::CLOCK_BOOTTIME.now().expect("CLOCK_BOOTTIME is readable");
    Instant::from_micros(micros(time.into()))
}

/// Returns the microseconds since 1970 by the wall clock, for log lines alone; 0 if it is set
/// before that.
#[must_use]
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    micros(since)
}

/// Returns when the running tick of the kernel's timers began, in microseconds of a clock of its
/// own, and how long ago that was; both zero where that is not told.
#[must_use]
pub fn tick_us() -> (u64, u64) {
    let told = |clock: Clock| clock.now().map_or(0, |time| micros(time.into()));
    let begun_us = told(Clock::CLOCK_MONOTONIC_COARSE);
    (begun_us, told(Clock::CLOCK_MONOTONIC).saturating_sub(begun_us))
}

fn micros(since: std::time::Duration) -> u64 {
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One absolute deadline on the clock of [`now`], as a descriptor for epoll.
///
/// Readable from the deadline on, until [`consume`](Self::consume) or the next [`arm`](Self::arm).
/// A deadline that has already passed makes it readable at once.
#[derive(Debug)]
pub struct Timer {
    descriptor: TimerFd,
    armed: Option<Instant>,
}

impl Timer {
    /// Returns a timer without a deadline.
    ///
    /// # Errors
    ///
    /// The kernel's: out of descriptors or memory.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let descriptor = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        Ok(Self { descriptor, armed: None })
    }

    /// Sets the deadline to `at`, replacing the former; no system call if it is the same.
    ///
    /// # Errors
    ///
    /// The kernel's, which it has no reason to give: deadlines past what it can count (`i64`
    /// seconds) are clamped.
    pub fn arm(&mut self, at: Instant) -> Result<(), Errno> {
        if self.armed == Some(at) {
            return Ok(());
        }
        // Zero would disarm, so the earliest deadline is one microsecond after the start of the
        // machine.
        let since = std::time::Duration::from_micros(at.as_micros().clamp(1, FURTHEST_US));
        let time = TimeSpec::from_duration(since);
        self.descriptor.set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.armed = Some(at);
        Ok(())
    }

    /// Clears the deadline.
    ///
    /// # Errors
    ///
    /// The kernel's, which it has no reason to give.
    pub fn disarm(&mut self) -> Result<(), Errno> {
        self.armed = None;
        self.descriptor.unset()
    }

    /// Makes the descriptor unreadable again and returns whether the deadline had passed; never
    /// blocks.
    ///
    /// # Errors
    ///
    /// The kernel's, other than "not yet" and an interruption, which are both `false`.
    pub fn consume(&mut self) -> Result<bool, Errno> {
        match self.descriptor.wait() {
            Ok(()) => {
                self.armed = None;
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Returns the deadline, if one is set and has not been consumed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.armed
    }
}

/// A century: beyond any deadline, within what the kernel counts in nanoseconds.
const FURTHEST_US: u64 = 100 * 366 * 24 * 3600 * 1_000_000;

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use lifesign_core::time::Duration;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn the_clock_does_not_run_backwards() {
        let mut before = now();
        for _ in 0..10_000 {
            let now = now();
            assert!(now >= before);
            before = now;
        }
        assert!(before > Instant::ZERO);
    }

    #[test]
    fn a_passed_deadline_is_readable_at_once_and_a_future_one_is_not() {
        let mut timer = Timer::new().unwrap();
        assert!(!is_readable(&timer, PollTimeout::ZERO), "nothing armed");
        timer.arm(now() + Duration::from_millis(3_600_000)).unwrap();
        assert!(!is_readable(&timer, PollTimeout::ZERO), "an hour away");
        assert!(!timer.consume().unwrap());
        timer.arm(Instant::ZERO).unwrap();
        assert!(is_readable(&timer, PollTimeout::NONE), "long passed");
        assert!(timer.consume().unwrap());
        assert!(!is_readable(&timer, PollTimeout::ZERO), "consumed");
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn the_deadline_is_on_the_clock_that_is_read() {
        let mut timer = Timer::new().unwrap();
        let deadline = now() + Duration::from_millis(20);
        timer.arm(deadline).unwrap();
        assert!(is_readable(&timer, PollTimeout::NONE));
        assert!(now() >= deadline, "never early");
    }

    #[test]
    fn arming_again_after_consuming_works_with_the_same_deadline() {
        let mut timer = Timer::new().unwrap();
        timer.arm(Instant::from_micros(1)).unwrap();
        assert!(timer.consume().unwrap());
        timer.arm(Instant::from_micros(1)).unwrap();
        assert!(timer.consume().unwrap(), "a second expiry of the same deadline");
        timer.arm(Instant::from_micros(u64::MAX)).unwrap();
        timer.disarm().unwrap();
        assert!(!is_readable(&timer, PollTimeout::ZERO));
    }

    fn is_readable(timer: &Timer, timeout: PollTimeout) -> bool {
        let mut descriptors = [PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, timeout).unwrap() == 1
    }
}
