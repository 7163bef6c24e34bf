//! What a daemon tells of connections of clients with service addresses.

use serde::{Deserialize, Serialize};

/// Connections of clients, as far as the reporting node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsReport {
    /// Those with addresses that are up on the reporting node.
    pub own: u64,
    /// Whether there are more than are listed.
    pub has_more: bool,
    /// Those of other nodes, as they told.
    pub known: u64,
    /// How many of other nodes had no room.
    pub dropped: u64,
    /// Notes of others that were not authentic.
    pub rejected: u64,
    /// Segments sent to clients after takeovers.
    pub tickled: u64,
    /// Segments that could not be sent.
    pub unsent: u64,
    /// Connections ended here because their addresses have gone.
    #[serde(default)]
    pub destroyed: u64,
}
