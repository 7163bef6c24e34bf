//! What the settings of a quorum server promise.

use core::fmt;

use serde::Serialize;

use crate::report::millis;
use crate::settings::key;
use crate::settings::witness::{WitnessSettings, place_of_witness};

/// Everything that can be said of a quorum server before it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WitnessCheck {
    /// The version of this form: 1.
    pub version: u32,
    /// Where it listens.
    pub listen: Vec<String>,
    /// The longest promise it makes; for as long it makes none after its start.
    pub longest_promise_ms: f64,
    /// The clusters it serves.
    pub clusters: Vec<WitnessedCheck>,
    /// What is allowed and not wise, or not there yet.
    pub warnings: Vec<String>,
}

/// What can be said of one cluster of a quorum server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WitnessedCheck {
    /// Its name.
    pub name: String,
    /// Which of its witnesses this is, from 1.
    pub witness: u8,
    /// How often this witness speaks.
    pub heartbeat_ms: f64,
    /// After how much silence a node is lost.
    pub dead_ms: f64,
}

impl WitnessCheck {
    /// Judges `settings`, and whether this machine has their keys.
    #[must_use]
    pub fn new(settings: &WitnessSettings) -> Self {
        let clusters = settings.clusters.iter().map(|cluster| WitnessedCheck {
            name: cluster.name.clone(),
            witness: place_of_witness(cluster.witness),
            heartbeat_ms: millis(cluster.heartbeat.as_micros()),
            dead_ms: millis(cluster.dead.as_micros()),
        });
        let keys = settings.clusters.iter();
        let errors = keys.filter_map(|cluster| key::load(&cluster.key_file, &cluster.name).err());
        Self {
            version: 1,
            listen: settings.listen.iter().map(ToString::to_string).collect(),
            longest_promise_ms: millis(settings.longest_promise.as_micros()),
            clusters: clusters.collect(),
            warnings: errors.map(|error| error.to_string()).collect(),
        }
    }
}

impl fmt::Display for WitnessCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "quorum server at {}", self.listen.join(", "))?;
        let longest = self.longest_promise_ms;
        writeln!(
            formatter,
            "promises at most {longest} ms, and none for {longest} ms at its start"
        )?;
        for cluster in &self.clusters {
            writeln!(
                formatter,
                "cluster {}: witness {}, heartbeat {} ms, dead {} ms",
                cluster.name, cluster.witness, cluster.heartbeat_ms, cluster.dead_ms
            )?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(formatter, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_cluster() {
        let source = "version = 1\nlisten = [\"0.0.0.0:6940\"]\nlongest_promise = \"10s\"\n\
                      [[cluster]]\nname = \"web\"\nkey_file = \"/nonexistent/key\"\nwitness = 3\n\
                      profile = \"fast\"\n";
        let settings = WitnessSettings::parse("witness.toml", source).unwrap();
        assert_eq!(
            WitnessCheck::new(&settings).to_string(),
            "quorum server at 0.0.0.0:6940\n\
             promises at most 10000 ms, and none for 10000 ms at its start\n\
             cluster web: witness 3, heartbeat 5 ms, dead 22 ms\n\
             warning: open key file /nonexistent/key: no such file or directory\n"
        );
    }
}
