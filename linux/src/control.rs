//! The control socket: what the commands of an operator ask a running daemon.
//!
//! A Unix stream socket of mode 0600. The client writes one line of JSON, a [`Request`] of at most
//! [`LONGEST_REQUEST`] bytes; the server answers with one line, a [`Response`] of at most
//! [`LONGEST_RESPONSE`] bytes. The next request may follow on the same connection. Only `watch`
//! is answered by many lines, until the client goes.
//!
//! ```text
//! > {"version":1,"command":"takeover","group":"www"}
//! < {"version":1,"answer":"accepted","wait_ms":1000}
//! ```
//!
//! [`server`] is made for an event loop that never waits; [`client`] waits, with a limit.

pub mod client;
mod connection;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::report::witness::WitnessReport;

/// The version of requests and responses.
pub const VERSION: u32 = 1;
/// The longest request, with its line end, in bytes.
pub const LONGEST_REQUEST: usize = 4096;
/// The longest response, with its line end, in bytes.
pub const LONGEST_RESPONSE: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    version: u32,
    /// What to do.
    pub command: Command,
    /// For which group; for all of them if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Request {
    /// Returns the request to do `command` for `group`, or for all groups.
    #[must_use]
    pub const fn new(command: Command, group: Option<String>) -> Self {
        Self { version: VERSION, command, group }
    }
}

/// What a daemon can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Report once.
    Status,
    /// Report once, about a group.
    Why,
    /// Give a group, or everything, to others.
    Standby,
    /// Take a group, or everything; ends standby.
    Takeover,
    /// Report again and again.
    Watch,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Response {
    /// To `status`, `why` and `watch`.
    Report {
        /// How things are.
        report: Box<Report>,
    },
    /// To `status` and `watch`, from a quorum server.
    Witness {
        /// How things are.
        report: Box<WitnessReport>,
    },
    /// It will be tried; ask `status` for the outcome.
    Accepted {
        /// How long that may take.
        wait_ms: u64,
    },
    /// Nothing has been or will be done.
    Refused {
        /// Why: a sentence, without a full stop.
        reason: String,
    },
}

impl Response {
    /// Returns the refusal for `reason`.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}

/// A message with the version before it.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    message: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_the_documented_ones() {
        let request = Request::new(Command::Takeover, Some("www".to_owned()));
        let line = r#"{"version":1,"command":"takeover","group":"www"}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let response =
            Versioned { version: VERSION, message: Response::Accepted { wait_ms: 1000 } };
        let line = r#"{"version":1,"answer":"accepted","wait_ms":1000}"#;
        assert_eq!(serde_json::to_string(&response).unwrap(), line);
    }
}
