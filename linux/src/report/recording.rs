//! What a daemon tells of its recording.

use serde::{Deserialize, Serialize};

/// What is known of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingReport {
    /// The directory of its segments.
    pub directory: String,
    /// The most bytes that they may have.
    pub bound: u64,
    /// How many entries were lost since the start.
    pub lost: u64,
    /// What the disk has refused last, if it has refused anything.
    pub error: Option<String>,
}
