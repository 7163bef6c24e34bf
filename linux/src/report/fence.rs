//! What a daemon tells of servers that are fenced, or were.

use serde::{Deserialize, Serialize};

use crate::page::span;

/// A server that is being fenced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// The group that waits for it.
    pub group: String,
    /// Who is to be silent.
    pub node: String,
    /// In which start, in hexadecimal, or `none` if none is known.
    #[serde(default)]
    pub boot: String,
    /// By what: a dongle, an agent, or a person; empty between two of them.
    pub by: String,
    /// Of a dongle `asked`, `armed`, `fired`, `done`, `refused` or `silent`; of agents `waiting`,
    /// `running` or `pausing`.
    pub state: String,
    /// The same in a sentence, without a full stop.
    pub text: String,
    /// Since when, or since the dongle's last answer.
    pub since_ms: u64,
}

/// How the last attempt to fence a server has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedReport {
    /// Who was to be silent.
    pub node: String,
    /// The group that waited for it.
    pub group: String,
    /// By what: a dongle, an agent, or a person.
    pub by: String,
    /// Whether that start of it is silent for certain.
    pub fenced: bool,
    /// What was done, how that ended, and its last words.
    pub text: String,
    /// How long ago it ended.
    pub ago_ms: u64,
    /// How long it took.
    pub took_ms: u64,
}

impl FencedReport {
    /// Returns the same in a sentence, without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { node, group, fenced, text, ago_ms, .. } = self;
        let is = if *fenced { "was fenced" } else { "was not fenced" };
        format!("{node} {is} for {group}, {} ago: {text}", span(*ago_ms))
    }
}
