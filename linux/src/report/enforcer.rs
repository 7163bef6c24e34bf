//! What is told of the kernel lease.

use serde::{Deserialize, Serialize};

/// What enforces the kernel lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcerReport {
    /// `bpf`, `nftables` or `valid_lft`.
    pub name: String,
    /// By how much it may overshoot.
    pub overshoot_us: u64,
    /// Why better ones were not obtained.
    pub refused: Vec<String>,
}
