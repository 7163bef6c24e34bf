//! What the operator has said last, for machines.

use serde::{Deserialize, Serialize};

/// What the operator has said last, as far as the reporting node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordReport {
    /// Which word it is; each later one has another name.
    pub name: String,
    /// The node on which it was said.
    pub by: String,
    /// Whether the reporting node has it on its disk.
    pub saved: bool,
    /// The living nodes with the same settings that have not said yet that they know it.
    pub unheard_by: Vec<String>,
    /// The groups that are to be started nowhere.
    pub disabled: Vec<String>,
    /// The groups with which nothing is done; empty once that is over.
    pub maintenance: Vec<String>,
    /// For how long yet, if there are any.
    pub maintenance_left_ms: Option<u64>,
}
