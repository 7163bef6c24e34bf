//! What a dongle is told once and keeps: its cluster, its keys and its ports.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::{MAX_NAME_LEN, MAX_PORTS};
use crate::node::{ClusterId, NodeId, NodeSet};
use crate::seal::{KEY_LEN, Key, KeyId, Keyring};

/// The most keys that a dongle keeps.
pub const MAX_DONGLE_KEYS: usize = 2;

/// What a dongle stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which witness it is.
    pub me: NodeId,
    /// How often it speaks, in milliseconds.
    pub heartbeat_ms: u32,
    /// A node silent for this long is lost, in milliseconds.
    pub dead_ms: u32,
    /// The longest promise it makes, and how long it waits after a start, in milliseconds.
    pub longest_promise_ms: u32,
    /// The keys of the cluster's frames.
    pub keys: Vec<(KeyId, [u8; KEY_LEN]), MAX_DONGLE_KEYS>,
    /// Which of them signs.
    pub signer: KeyId,
    /// How long a reset line is active, in milliseconds.
    pub pulse_ms: u16,
    /// The least time between two pulses, in milliseconds.
    pub distance_ms: u16,
    /// The ports in order.
    pub ports: Vec<PortSettings, MAX_PORTS>,
}

/// What a port is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortSettings {
    /// Its name.
    pub name: String<MAX_NAME_LEN>,
    /// Whom the reset line of this port resets, if it is wired.
    pub resets: Option<NodeId>,
}

impl Settings {
    /// Returns the keyring of the cluster's frames, or `None` if it cannot work.
    #[must_use]
    pub fn keyring(&self) -> Option<Keyring> {
        let mut keys: Vec<(KeyId, Key), MAX_DONGLE_KEYS> = Vec::new();
        for (id, bytes) in &self.keys {
            // As many fit as there are.
            let _room = keys.push((*id, Key::new(*bytes)));
        }
        Keyring::new(&keys, self.signer).ok()
    }

    /// Checks that these settings can work on a dongle with `ports` ports.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn check(&self, ports: usize) -> Result<(), NotProvisioned> {
        let spans = [self.heartbeat_ms, self.dead_ms, self.longest_promise_ms];
        if !self.me.is_witness() {
            return Err(NotProvisioned::NotAWitness);
        }
        if spans.contains(&0) || u64::from(self.dead_ms) < u64::from(self.heartbeat_ms) * 2 {
            return Err(NotProvisioned::Timing);
        }
        if self.keyring().is_none() {
            return Err(NotProvisioned::Keys);
        }
        let mut targets = NodeSet::EMPTY;
        let mut again = |node: NodeId| {
            let twice = targets.contains(node);
            targets.insert(node);
            twice || node.is_witness()
        };
        if self.ports.len() > ports
            || self.ports.iter().filter_map(|port| port.resets).any(&mut again)
        {
            return Err(NotProvisioned::Ports);
        }
        Ok(())
    }
}

/// Why settings were not taken. The old ones stay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotProvisioned {
    /// The dongle is locked, and this is not sealed by its present key.
    Locked,
    /// The challenge is not that of the last answer to [`Request::Info`](super::Request::Info).
    Challenge,
    /// The member is not a witness.
    NotAWitness,
    /// A span is zero, or the dead time shorter than two heartbeats.
    Timing,
    /// There is no key, or the signing key is not among them.
    Keys,
    /// More ports than there are, or two reset lines for one node.
    Ports,
    /// They could not be stored.
    Store,
}

impl core::fmt::Display for NotProvisioned {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Locked => "the dongle is locked, and this is not sealed by its present key",
            Self::Challenge => "the challenge is out of date",
            Self::NotAWitness => "a dongle can only be a witness",
            Self::Timing => "a span is zero, or the dead time shorter than two heartbeats",
            Self::Keys => "there is no key, or the signing key is not among them",
            Self::Ports => "more ports than the dongle has, or two reset lines for one node",
            Self::Store => "the dongle could not store them",
        })
    }
}

impl core::error::Error for NotProvisioned {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::dongle) fn name() -> String<MAX_NAME_LEN> {
        String::try_from("abcdefghijklmno").unwrap()
    }

    pub(in crate::dongle) fn settings() -> Settings {
        let port = |number| PortSettings { name: name(), resets: NodeId::new(number) };
        Settings {
            cluster: ClusterId(u32::MAX),
            me: NodeId::witness(0).unwrap(),
            heartbeat_ms: u32::MAX / 4,
            dead_ms: u32::MAX,
            longest_promise_ms: u32::MAX,
            keys: Vec::from_array([(KeyId(255), [255; KEY_LEN]), (KeyId(254), [254; KEY_LEN])]),
            signer: KeyId(254),
            pulse_ms: u16::MAX,
            distance_ms: u16::MAX,
            ports: Vec::from_array([0, 1, 2, 3, 4].map(port)),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert_eq!(settings().check(5), Ok(()));
        assert_eq!(settings().check(3), Err(NotProvisioned::Ports));
        type Change = fn(&mut Settings);
        let cases: [(Change, NotProvisioned); 6] = [
            (|it| it.me = NodeId::new(3).unwrap(), NotProvisioned::NotAWitness),
            (|it| it.heartbeat_ms = 0, NotProvisioned::Timing),
            (|it| it.dead_ms = it.heartbeat_ms * 2 - 1, NotProvisioned::Timing),
            (|it| it.signer = KeyId(1), NotProvisioned::Keys),
            (|it| it.ports[0].resets = NodeId::new(1), NotProvisioned::Ports),
            (|it| it.ports[0].resets = NodeId::witness(0), NotProvisioned::Ports),
        ];
        for (change, expected) in cases {
            let mut settings = settings();
            change(&mut settings);
            assert_eq!(settings.check(5), Err(expected));
        }
    }
}
