//! What a quorum server tells of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A quorum server's view at one moment. It knows nodes and groups by their numbers alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessReport {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The longest promise it makes.
    pub longest_promise_ms: u64,
    /// Frames of clusters that it does not serve.
    pub strangers: u64,
    /// The scheduling class that was obtained.
    pub scheduling: String,
    /// The clusters it serves, by name.
    pub clusters: Vec<ClusterReport>,
}

/// One cluster that is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Its name.
    pub name: String,
    /// Which of its witnesses this is, from 1.
    pub witness: u8,
    /// How long it still makes no promises, after its start.
    pub booting_ms: u64,
    /// The nodes that have been heard.
    pub nodes: Vec<WitnessedNode>,
    /// The promises that are live.
    pub promises: Vec<LivePromise>,
    /// Frames that were not taken in, by kind; kinds that never happened are left out.
    pub rejected: BTreeMap<String, u64>,
}

/// One node as a witness sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessedNode {
    /// Its number: its place in the settings of the cluster, from 0.
    pub number: u8,
    /// Where it was heard last.
    pub address: String,
    /// `alive`, `lost`, `left`, or `unproven` while it has yet to prove itself.
    pub state: String,
    /// Whether it belongs to the side that this witness favours.
    pub is_favoured: bool,
    /// The nodes that it hears.
    pub hears: Vec<u8>,
}

/// One promise that is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LivePromise {
    /// The group's number: its place in the settings of the cluster, from 0.
    pub group: u8,
    /// To which node.
    pub node: u8,
    /// Under which token.
    pub token: u32,
    /// How long it still holds if it is not renewed.
    pub left_ms: f64,
}
