//! What is said between the executor and those who use it: one message a packet.

use std::net::IpAddr;

use lifesign_core::time::Duration;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::connections::Connection;
use crate::connections::destroy::Destroyed;

/// What a client asks of the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a command; answered by [`Reply::Done`].
    Run {
        /// Chosen by the client, which should not use it again before the answer.
        id: u32,
        /// What to run.
        command: Command,
    },
    /// Write a file; answered by [`Reply::Persisted`], and then on the disk, old or new, never in
    /// part. Files are written in the order they were asked for.
    Persist {
        /// Chosen by the client.
        id: u32,
        /// The file; its directory must exist.
        path: String,
        /// All of its contents.
        contents: Vec<u8>,
    },
    /// List the TCP connections of addresses of this machine; answered by [`Reply::Listed`].
    List {
        /// Chosen by the client.
        id: u32,
        /// The addresses.
        services: Vec<IpAddr>,
    },
    /// End the TCP connections of addresses that have gone from this machine; answered by
    /// [`Reply::Destroyed`].
    Destroy {
        /// Chosen by the client.
        id: u32,
        /// The addresses.
        services: Vec<IpAddr>,
    },
    /// End a command of this client before its time; it is answered by [`Outcome::Cancelled`],
    /// unless it has ended by itself. An unknown id is ignored.
    Cancel {
        /// The command's id.
        id: u32,
    },
    /// End every command, whoever asked for it: what the supervisor says before it stops services
    /// that a dead daemon may be starting.
    CancelAll,
}

/// One program run to its end, bounded in time and output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program (looked up in [`PATH`](super::PATH) if it has no slash) and its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides `PATH` and `LC_ALL`; nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// How long it may run, in microseconds; then its process group is asked to end.
    pub limit_us: u64,
    /// How long it may take to end once asked, in microseconds; then its process group is killed.
    pub grace_us: u64,
    /// How many bytes of the end of its output to give back; at most
    /// [`OUTPUT_LEN_MAX`](super::OUTPUT_LEN_MAX).
    pub output_len_max: u32,
    /// What it finds on its standard input, at most [`INPUT_LEN_MAX`](super::INPUT_LEN_MAX) bytes.
    pub input: Vec<u8>,
    /// What it is told besides, out of files.
    pub secrets: Vec<Secret>,
    /// As whom it runs, if not as the executor's user.
    pub identity: Option<Identity>,
    /// Whether it runs until it is cancelled, without a limit. Whatever else
    /// is in its process group when it ends is killed.
    pub stays: bool,
}

/// Something that a command is told and that stands in a file which only root may read. It is read
/// when the command is started, and taken out of its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Under which name it is told.
    pub name: String,
    /// The file; its first line is the value.
    pub path: String,
    /// Where it is told.
    pub place: Place,
}

/// Where a command is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In a line `name=value` at the end of its standard input.
    Input,
    /// In its environment.
    Environment,
}

/// What the executor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A command has ended, or never began.
    Done {
        /// The command's id.
        id: u32,
        /// How it ended.
        outcome: Outcome,
        /// The end of what it wrote to standard output and standard error.
        output: String,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// A file is on the disk, or is not.
    Persisted {
        /// The id of the request.
        id: u32,
        /// Nothing, or what failed ("write /var/lib/lifesign/tokens: no space left").
        failure: Option<String>,
    },
    /// The connections that there are.
    Listed {
        /// The id of the request.
        id: u32,
        /// They, and whether there are more; or what failed.
        list: Result<(Vec<Connection>, bool), String>,
    },
    /// Connections have been ended.
    Destroyed {
        /// The id of the request.
        id: u32,
        /// They, or what failed.
        result: Result<Destroyed, String>,
    },
}

impl Reply {
    /// Returns how long the command took.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        match self {
            Self::Done { took_us, .. } => Some(Duration::from_micros(*took_us)),
            Self::Persisted { .. } | Self::Listed { .. } | Self::Destroyed { .. } => None,
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// By itself, with this exit status.
    Exited(i32),
    /// By a signal which the executor did not send.
    Signalled(i32),
    /// It reached its limit and was ended.
    TimedOut,
    /// It was cancelled and has ended.
    Cancelled,
    /// It was not started, for this reason.
    NotStarted(String),
    /// It reached its limit or was cancelled, and does not end even when killed: it waits inside
    /// the kernel.
    Unkillable,
}

impl Outcome {
    /// Returns whether it ended by itself with status 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(formatter, "exit status {status}"),
            Self::Signalled(signal) => write!(formatter, "ended by signal {signal}"),
            Self::TimedOut => formatter.write_str("ended at its time limit"),
            Self::Cancelled => formatter.write_str("cancelled"),
            Self::NotStarted(reason) => write!(formatter, "not started: {reason}"),
            Self::Unkillable => formatter.write_str("cannot be ended even by SIGKILL"),
        }
    }
}

/// Returns the last line of what a command has written, in quotes and brackets after a space, or
/// nothing if there is none.
#[must_use]
pub fn last_words(output: &str) -> String {
    match output.lines().last().unwrap_or("").trim() {
        "" => String::new(),
        said => format!(" (\"{said}\")"),
    }
}
