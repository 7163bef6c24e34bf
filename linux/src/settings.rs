//! The settings: one file, the same on every node, checked in full before anything is touched.
//!
//! [`Settings::load`] reads the file and either returns settings without a contradiction or *all*
//! the mistakes it found, each with its line, a caret and a hint. What depends on the machine
//! (adapters, keys, enforcers of the lease) is not judged here: [`key::load`] reads keys, and
//! [`Settings::engine_config`] proves the inequality of [`lifesign_core::config`] for one of these.
//!
//! | file | what it is |
//! |---|---|
//! | [`mistake`] | mistakes, shown where they stand |
//! | `table` | a TOML table, read key by key |
//! | [`value`] | spans, percentages, addresses, names |
//! | [`profile`] | spans that fit together, to begin with |
//! | `document` | the top level of the file, and its timing |
//! | `members` | nodes and witnesses |
//! | `link` | links, and below it each kind of them |
//! | `network` | the adapters of a network, and the service addresses on it |
//! | `resources` | groups and services |
//! | `mac` | the hardware addresses of groups |
//! | `place` | groups that follow others, and groups that are kept apart |
//! | `agent`, `own` | the agents of services, and what our own are told |
//! | `fence` | what makes certain that a node is silent |
//! | `watchdog` | what ends a machine that does not stop in time |
//! | `private` | files that nobody but root and the caller may read |
//! | `callers` | what is done for those who reach a group when its server changes |
//! | `notify` | who is told of what happens |
//! | `client` | programs that run beside the daemon |
//! | [`mod@line`] | what serial lines have to carry |
//! | [`safety`] | the inequality, the cluster's id and the digest |
//! | [`key`] | the key file |
//! | [`witness`] | the file of the quorum server |

mod agent;
mod callers;
pub(crate) mod client;
mod document;
pub(crate) mod fence;
pub mod key;
pub mod line;
mod link;
mod mac;
mod members;
pub mod mistake;
mod network;
mod notify;
mod own;
mod place;
pub(crate) mod private;
pub mod profile;
mod resources;
pub mod safety;
mod table;
pub mod value;
pub(crate) mod watchdog;
pub mod witness;

use core::fmt;
use core::net::IpAddr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lifesign_core::config::Timing;
use lifesign_core::group::{Failback, GroupId, GroupSet, Guard};
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::quorum::Quorum;
use lifesign_core::time::Duration;

use self::mistake::Mistakes;
use self::profile::Profile;
use crate::address::ServiceAddress;
use crate::address::lease::EnforcerChoice;
use crate::address::mac::{GroupMac, MacPlan};
use crate::agent::{Agent, convention::Convention, fence::Fence};
use crate::link::LinkSpec;
use crate::page::unknown;

pub use self::callers::Callers;
pub use self::client::Client;
pub(crate) use self::document::written as written_span;
pub use self::link::ether::EtherLinkSettings;
pub use self::link::serial::SerialLinkSettings;
pub use self::link::udp::UdpLinkSettings;
pub use self::link::{Link, LinkKind};
pub use self::network::Network;
pub use self::notify::{Target, Way};
pub use self::watchdog::Watchdog;

/// The settings of a cluster, without a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The file with the keys.
    pub key_file: PathBuf,
    /// The directory for what must outlive the daemon.
    pub state_dir: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// The most bytes that the daemon records of what it does, if it records anything.
    pub record: Option<u64>,
    /// The profile that the timing began with.
    pub profile: Profile,
    /// What is to enforce the kernel lease.
    pub enforcer: EnforcerChoice,
    /// Votes, witnesses and the chain that counts them.
    pub quorum: Quorum,
    /// The spans of the protocol.
    pub timing: Timing,
    /// The rate error that every clock is credited with, in millionths.
    pub clock_error: u32,
    /// The servers, by id: 1 to 16.
    pub nodes: Vec<Node>,
    /// The witnesses' names, by id: 0, 1 or 3.
    pub witnesses: Vec<String>,
    /// The links, by id: 1 to 8.
    pub links: Vec<Link>,
    /// The watchdogs of the servers, if there are any.
    pub watchdog: Option<Watchdog>,
    /// Machines beyond the cluster that answer to echo requests while this network works.
    pub ping: Vec<IpAddr>,
    /// The networks with their adapters.
    pub networks: Vec<Network>,
    /// The groups, by id: 0 to 32.
    pub groups: Vec<Group>,
    /// Who is told of what happens.
    pub notify: Vec<Target>,
    /// The programs that run beside the daemon: 0 to 16.
    pub clients: Vec<Client>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How many votes it has.
    pub votes: u8,
    /// What makes certain that it is silent, in the order of the file.
    pub fence: Vec<Fence>,
}

/// Resources that move together: the addresses first, then the services, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What must be certain before it may start elsewhere.
    pub guard: Guard,
    /// Whether a watchdog resets a server that does not stop it in time, where there is one.
    pub watchdog: bool,
    /// Its addresses.
    pub addresses: Vec<ServiceAddress>,
    /// The hardware address that moves with them, if it has one.
    pub mac: Option<GroupMac>,
    /// Which nodes may hold it, the preferred first.
    pub prefer: Vec<NodeId>,
    /// The node at which it is at home: the first that `prefer` names, if the key is there.
    pub home: Option<NodeId>,
    /// Whether it returns to a preferred node.
    pub failback: Failback,
    /// L: how long a promise for it lasts. Whole milliseconds.
    pub promise: Duration,
    /// How long a node asks whether somebody else has the addresses before it takes them.
    pub conflict_probe: Duration,
    /// How long it counts that something of it has failed.
    pub failure_window: Duration,
    /// How often it may move within that span because of failures: at least once for each node.
    pub moves: u32,
    /// Its services, in the order of their start.
    pub services: Vec<Service>,
    /// What is done for those who reach its addresses.
    pub callers: Callers,
    /// The group that it follows: it runs only where that one does, which decides `prefer`.
    pub with: Option<GroupId>,
    /// The groups that come before it: it never runs on the node that runs one of them.
    pub apart: GroupSet,
}

/// A program that is started, watched and stopped by commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The agent whose commands these are, if they do not stand in the settings themselves.
    pub agent: Option<Agent>,
    /// How exit codes and output of its commands are read.
    pub convention: Convention,
    /// What its commands find in their environment, besides what every command does.
    pub environment: Vec<(String, String)>,
    /// The command that starts it: a program and arguments.
    pub start: Vec<String>,
    /// The command that stops it.
    pub stop: Vec<String>,
    /// The command that says whether it is well, if there is one.
    pub monitor: Option<Vec<String>>,
    /// How long starting may take, with the question whether it runs already.
    pub start_limit: Duration,
    /// How long stopping may take, with the question whether it has stopped.
    pub stop_limit: Duration,
    /// How long an answer of the monitor may take.
    pub monitor_limit: Duration,
    /// How often the monitor is asked.
    pub monitor_interval: Duration,
    /// How often it is restarted in place within the group's window when its monitor finds it dead.
    pub restarts: u32,
}

impl Settings {
    /// Reads the settings in the file at `path`.
    ///
    /// # Errors
    /// Says why the file cannot be read, or every mistake in it. Nothing is touched.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::load_with_source(path).map(|(settings, _)| settings)
    }

    /// Reads the settings in the file at `path` and returns them with their text.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_source(path: &Path) -> Result<(Self, String), LoadError> {
        let source = read(path)?;
        match Self::parse(&path.to_string_lossy(), &source) {
            Ok(settings) => Ok((settings, source)),
            Err(mistakes) => Err(LoadError::Wrong(mistakes)),
        }
    }

    /// Reads the settings `source`, which came from `path`.
    ///
    /// # Errors
    /// Every mistake in it, in the order of their places.
    pub fn parse(path: &str, source: &str) -> Result<Self, Mistakes> {
        document::parse(path, source)
    }

    /// Returns the id of the node called `name`, or `None` if none is.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<NodeId> {
        let at = self.nodes.iter().position(|node| node.name == name)?;
        NodeId::at(at)
    }

    /// Returns the id of the node called `name`.
    ///
    /// # Errors
    /// There is none; the sentence names those there are.
    pub fn known_node(&self, name: &str) -> Result<NodeId, String> {
        let names = self.nodes.iter().map(|node| node.name.as_str());
        self.node(name).ok_or_else(|| unknown("node", name, names))
    }

    /// Returns the id of the group called `name`.
    ///
    /// # Errors
    /// There is none; the sentence names those there are.
    pub fn known_group(&self, name: &str) -> Result<GroupId, String> {
        let names = self.groups.iter().map(|group| group.name.as_str());
        self.group(name).ok_or_else(|| unknown("group", name, names))
    }

    /// Returns the id of the group called `name`, or `None` if none is.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<GroupId> {
        let at = self.groups.iter().position(|group| group.name == name)?;
        GroupId::at(at)
    }

    /// Returns what to open on node `me` for `link`, or `None` if it is not on this link.
    #[must_use]
    pub fn spec_of(&self, link: &Link, me: NodeId) -> Option<LinkSpec> {
        link.spec(me, safety::cluster_id(&self.cluster))
    }

    /// Returns the hardware addresses of all groups.
    #[must_use]
    pub fn mac_plan(&self) -> MacPlan {
        let cluster = safety::cluster_id(&self.cluster);
        MacPlan { cluster, groups: self.groups.iter().map(|group| group.mac).collect() }
    }

    /// Returns the name of a node or witness; a stranger's is its number.
    #[must_use]
    pub fn name_of(&self, member: NodeId) -> String {
        let name = self.members().find_map(|(other, name)| (other == member).then_some(name));
        name.map_or_else(|| member.number().to_string(), str::to_owned)
    }

    /// Returns every node and witness with its name, servers first.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let servers = NodeId::all().zip(self.nodes.iter().map(|node| node.name.as_str()));
        let witnesses = NodeId::all().filter(|member| member.is_witness());
        servers.chain(witnesses.zip(self.witnesses.iter().map(String::as_str)))
    }

    /// Returns every link with its id.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        LinkId::all().zip(&self.links)
    }

    /// Returns every group with its id.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        GroupId::all().zip(&self.groups)
    }
}

/// Returns the name of this machine, by which it finds itself among nodes; empty if it has none.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// Why a file of settings could not be loaded. Nothing was touched.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is longer than [`LONGEST_FILE`].
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text in UTF-8.
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first byte that is none, from 1.
        line: usize,
    },
    /// The file has mistakes.
    Wrong(Mistakes),
}

impl LoadError {
    /// Returns the error as people read it, with the colours of a terminal if `is_coloured`.
    #[must_use]
    pub fn render(&self, is_coloured: bool) -> String {
        match self {
            Self::Wrong(mistakes) => mistakes.render(is_coloured),
            Self::Read { .. } | Self::TooLong { .. } | Self::NotText { .. } => {
                format!("error: {self}")
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(formatter, "read {}: {}", path.display(), said(error))
            }
            Self::TooLong { path } => {
                write!(formatter, "read {}: longer than {LONGEST_FILE} bytes", path.display())
            }
            Self::NotText { path, line } => {
                write!(formatter, "read {}: line {line} is not text in UTF-8", path.display())
            }
            Self::Wrong(mistakes) => mistakes.fmt(formatter),
        }
    }
}

impl core::error::Error for LoadError {}

/// The longest file of settings that is read, in bytes.
pub const LONGEST_FILE: u64 = 1 << 20;

/// Returns the text of the file at `path`.
fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |error| LoadError::Read { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(LoadError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        LoadError::NotText { path: path.to_owned(), line }
    })
}

/// Returns what the system said, in its own words and lower case.
pub(crate) fn said(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
