//! What a daemon tells of networks and its adapters on them.

use serde::{Deserialize, Serialize};

/// A network with its adapters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Its name.
    pub name: String,
    /// Whether the reporting node can serve on it.
    pub is_able: bool,
    /// The service addresses on it.
    pub addresses: Vec<String>,
    /// The reporting node's adapters, in the order of the settings.
    pub adapters: Vec<SeatReport>,
}

/// An adapter of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatReport {
    /// Its name in the settings.
    pub adapter: String,
    /// The link over it.
    pub link: Option<String>,
    /// The service addresses that sit on it while they are held.
    pub serves: Vec<String>,
    /// `well`; `no-carrier`, `mute` or `port`, where it has failed on this node's side; `peer`,
    /// `network`, `alone` or `unknown`.
    pub verdict: String,
    /// The same as the rest of a sentence.
    pub why: String,
    /// Whether a third station answers on it; nothing where none is asked.
    #[serde(default)]
    pub answered: Option<bool>,
}
