//! What a daemon tells of a group's failures.

use serde::{Deserialize, Serialize};

/// What has failed of a group on the reporting node within a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailuresReport {
    /// How long a failure counts.
    pub window_ms: u64,
    /// How often the group failed here: it could not be started, or a service of it died too often.
    pub count: u64,
    /// How often it may, before this node leaves it alone.
    pub share: u64,
    /// In what time this node tries again, if it leaves the group alone until then.
    pub next_attempt_ms: Option<u64>,
    /// What was seen to fail last, if anything was.
    pub last: Option<String>,
    /// The services that were restarted in place.
    pub restarts: Vec<RestartsReport>,
}

/// How often a service was restarted in place within that span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartsReport {
    /// The service.
    pub service: String,
    /// How often it was.
    pub count: u64,
    /// How often it may be, before the group moves.
    pub most: u64,
}
