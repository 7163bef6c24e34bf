//! What a daemon tells of programs that run beside it.

use serde::{Deserialize, Serialize};

use crate::page::span;

/// A program that is kept running while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Its name.
    pub name: String,
    /// `running`; `waiting` for its next start; `ended`, because it wants no other; `given up`,
    /// because it has died too quickly too often, or cannot be started here.
    pub state: String,
    /// How long it has been so.
    pub since_ms: u64,
    /// How often it was started.
    pub starts: u32,
    /// How it ended last, with its last words, or why it cannot be started.
    #[serde(default)]
    pub last: Option<String>,
}

impl ClientReport {
    /// Returns the same in a sentence, without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { name, state, since_ms, starts, last } = self;
        let last = last.as_ref().map(|last| format!("; last: {last}")).unwrap_or_default();
        format!("{name} {state} for {}, {starts} starts{last}", span(*since_ms))
    }
}
