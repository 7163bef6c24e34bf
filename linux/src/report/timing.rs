//! The spans by which a node goes.

use lifesign_core::config::Timing;
use serde::{Deserialize, Serialize};

/// The spans of the settings that say when a node counts as silent, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingReport {
    /// How often it speaks.
    pub heartbeat_ms: u64,
    /// After how long a silence a node is lost.
    pub dead_ms: u64,
    /// How long a node that has just started waits to meet its peers.
    pub settle_ms: u64,
}

impl From<&Timing> for TimingReport {
    fn from(timing: &Timing) -> Self {
        Self {
            heartbeat_ms: timing.heartbeat.as_millis(),
            dead_ms: timing.dead.as_millis(),
            settle_ms: timing.settle.as_millis(),
        }
    }
}
