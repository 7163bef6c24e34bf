//! Reset lines as seen from outside: whom they hit, and what was asked of the dongle.

use std::collections::BTreeMap;

use lifesign_core::dongle::is_dongle_message;
use lifesign_core::frame::{self, MAX_ECHOES};
use lifesign_core::group::MAX_GROUPS;

use super::Micros;
use super::line::Reader;
use super::start::{CLUSTER, keyring_of};
use crate::fault::Keys;

/// One pulse of a reset line that reached its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Who was reset.
    pub target: u8,
    /// Which start of it ended by that, if one ran.
    pub killed: Option<u64>,
    /// When the line became active.
    pub at: Micros,
    /// Whether the line was active to the end.
    pub whole: bool,
}

/// What the observer knows of resets.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// Every pulse that reached its server.
    pub(super) pulses: Vec<Pulse>,
    /// Whose line is active, and since when.
    pub(super) active: Option<(u8, Micros)>,
    readers: BTreeMap<u8, Box<Reader>>,
    /// What was asked of the dongle, for an attacker to replay.
    pub(super) requests: Vec<(u8, Vec<u8>)>,
}

impl Resets {
    /// Takes note of what comes in at a port of the dongle, and lists who has sent each frame of
    /// it, in which start and under which number.
    pub(super) fn hear(&mut self, port: u8, bytes: &[u8], heard: &mut Vec<(u8, u64, u64)>) {
        let reader = self.readers.entry(port).or_default();
        for byte in bytes {
            let Some(Ok(message)) = reader.push(*byte) else { continue };
            if is_dongle_message(message) {
                self.requests.push((port, message.to_vec()));
            } else if let Ok((header, _)) = frame::decode::<MAX_ECHOES, MAX_GROUPS>(
                message,
                CLUSTER,
                &keyring_of(Keys::BothOldSigns),
            ) {
                let (sender, boot) = (header.sender.number(), header.boot.bits());
                heard.push((sender, boot, header.sequence));
            }
        }
    }

    /// Takes note that the dongle has started anew.
    pub(super) fn forget(&mut self) {
        self.readers.clear();
    }
}
