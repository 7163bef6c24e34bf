//! What a daemon tells of its quorum.

use serde::{Deserialize, Serialize};

/// Whether the members that are alive could decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumReport {
    /// Whether they could.
    pub have: bool,
    /// Their votes.
    pub votes: u32,
    /// All votes.
    pub total: u32,
    /// What each module of the chain says.
    pub modules: Vec<ModuleReport>,
}

/// What one quorum module says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// Its word in the settings.
    pub name: String,
    /// `have`, `no`, `tie`, or `not asked`.
    pub answer: String,
}
