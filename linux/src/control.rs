//! The control socket: what the commands of an operator ask a running daemon.
//!
//! A Unix stream socket of mode 0600. The client writes one line of JSON, a [`Request`] of at most
//! [`LONGEST_REQUEST`] bytes; the server answers with one line, a [`Response`] of at most
//! [`LONGEST_RESPONSE`] bytes. The next request may follow on the same connection. Only `watch`
//! is answered by many lines, until the client goes: a snapshot, then every event with its number,
//! and after a gap a snapshot again.
//!
//! ```text
//! > {"version":1,"command":"takeover","group":"www"}
//! < {"version":1,"answer":"accepted","wait_ms":1000}
//!
//! > {"version":1,"command":"watch"}
//! < {"version":1,"answer":"snapshot","start":"9f0c2b51d4e86a37","sequence":41,"report":{...}}
//! < {"version":1,"answer":"event","event":"group","group":"www",...,"sequence":42,...}
//! ```
//!
//! [`server`] is made for an event loop that never waits; [`client`] waits, with a limit. Those who
//! watch share one `feed` of the last events, in which each has a place.

pub mod client;
mod connection;
mod feed;
pub mod server;

use lifesign_core::time::Duration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// For `watch`: the number of the last event that is known already. What follows it is told, or
    /// a snapshot if that is kept no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// For `watch`: which start of the daemon that number is of, as a snapshot says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Which node is spoken of: the one that is off, or to which a group shall move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// In which start, as a report has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// How long it shall last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl Request {
    /// Returns the request to do `command` for `group`, or for all groups.
    #[must_use]
    pub const fn new(command: Command, group: Option<String>) -> Self {
        Self {
            version: VERSION,
            command,
            group,
            since: None,
            start: None,
            node: None,
            boot: None,
            for_ms: None,
        }
    }

    /// Returns the request to watch, from after the event `since` of `start` if they are named.
    #[must_use]
    pub fn watch(since: Option<u64>, start: Option<String>) -> Self {
        Self { since, start, ..Self::new(Command::Watch, None) }
    }

    /// Returns a person's word that `node` is off in its start `boot`.
    #[must_use]
    pub fn confirm(node: &str, boot: &str) -> Self {
        let (node, boot) = (Some(node.to_owned()), Some(boot.to_owned()));
        Self { node, boot, ..Self::new(Command::Confirm, None) }
    }

    /// Returns the request with the node to which something shall move.
    #[must_use]
    pub fn to(self, node: String) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Returns the request with the span for which something shall last.
    #[must_use]
    pub fn lasting(self, span: Duration) -> Self {
        Self { for_ms: Some(span.as_millis()), ..self }
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
    /// Take a person's word that a node is off.
    Confirm,
    /// Report, and then tell what happens.
    Watch,
    /// Do nothing with a group, or with any, on any node, for so long.
    Maintain,
    /// That is over.
    Resume,
    /// Stop a group wherever it is, and start it nowhere.
    Disable,
    /// It may be started again.
    Enable,
    /// Bring a group to a node.
    Move,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Response {
    /// To `status` and `why`.
    Report {
        /// How things are.
        report: Box<Report>,
    },
    /// To `status`, from a quorum server.
    Witness {
        /// How things are.
        report: Box<WitnessReport>,
    },
    /// It will be tried; ask `status` for the outcome.
    Accepted {
        /// How long that may take.
        wait_ms: u64,
    },
    /// To `watch`, at first and after a gap: how things are, no earlier than after the event
    /// `sequence`.
    Snapshot {
        /// Which start of the daemon this is.
        start: String,
        /// How many events there were since.
        sequence: u64,
        /// How things are.
        #[serde(flatten)]
        picture: Picture,
    },
    /// To `watch`: something has happened.
    Event {
        /// What, in the fields of a [`Notice`](crate::notice::Notice).
        #[serde(flatten)]
        fields: Map<String, Value>,
    },
    /// To `watch`: something was left out; a snapshot follows.
    Gap(Gap),
    /// To `watch`: nothing more follows, for the daemon ends.
    End {
        /// The same as a sentence.
        text: String,
    },
    /// It is said to the whole cluster; ask `status` who knows it, and for the outcome.
    Said {
        /// The name of the word, by which reports call it.
        word: String,
        /// How long it may take until it is done.
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

/// How things are, at whatever answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// The daemon of a node.
    Report(Box<Report>),
    /// A quorum server.
    Witness(Box<WitnessReport>),
}

/// What somebody who watches has not been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many events, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The same as a sentence, with the reason.
    pub text: String,
}

/// A message with the version before it.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    message: T,
}

/// Returns a response as a line, with its end, if it is short enough for one.
fn line(response: &Response) -> Option<String> {
    let message = Versioned { version: VERSION, message: response };
    let line = serde_json::to_string(&message).ok().filter(|line| line.len() < LONGEST_RESPONSE);
    line.map(|line| line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_the_documented_ones() {
        let request = Request::new(Command::Takeover, Some("www".to_owned()));
        let line = r#"{"version":1,"command":"takeover","group":"www"}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let request = Request::new(Command::Move, Some("www".to_owned())).to("beta".to_owned());
        let line = r#"{"version":1,"command":"move","group":"www","node":"beta"}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let request = Request::new(Command::Maintain, None).lasting(Duration::from_millis(7));
        let line = r#"{"version":1,"command":"maintain","for_ms":7}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        let response =
            Versioned { version: VERSION, message: Response::Accepted { wait_ms: 1000 } };
        let line = r#"{"version":1,"answer":"accepted","wait_ms":1000}"#;
        assert_eq!(serde_json::to_string(&response).unwrap(), line);
    }
}
