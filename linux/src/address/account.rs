//! What was done with addresses, measured and counted.

use lifesign_core::time::Duration;

/// How long each step of taking a group's addresses took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Opening the lease.
    pub lease: Duration,
    /// Installing the addresses.
    pub install: Duration,
    /// Sending the first announcements.
    pub announce: Duration,
}

/// What went wrong without anyone to return it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that an adapter did not take.
    pub frames_unsent: u64,
    /// Questions to the kernel that failed while events were handled.
    pub failures: u64,
    /// Events which nobody took before there were too many.
    pub events_lost: u64,
}
