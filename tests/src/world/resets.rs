//! Reset lines as seen from outside: whom they hit, and whether that was right.

use std::collections::BTreeMap;

use lifesign_core::dongle::is_dongle_message;
use lifesign_core::frame::{self, MAX_ECHOES};
use lifesign_core::group::MAX_GROUPS;
use lifesign_core::reset::Arm;

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
    /// When the last pulse ended.
    pub(super) ended: Option<Micros>,
    /// Second steps that were sent and have not led to a pulse.
    fires: Vec<(Micros, Arm)>,
    spent: Vec<Arm>,
    /// For each server, the start of it that the dongle has heard last since its own start.
    heard: BTreeMap<u8, (u64, Micros)>,
    readers: BTreeMap<u8, Box<Reader>>,
    /// When each start of a server began.
    starts: BTreeMap<u64, Micros>,
    /// What was asked of the dongle, for an attacker to replay.
    pub(super) requests: Vec<(u8, Vec<u8>)>,
    /// Starts that somebody has vouched for by hand.
    pub(super) by_hand: Vec<(u8, Option<u64>)>,
}

impl Resets {
    /// Takes note that a server asks for the second step.
    pub(super) fn fired(&mut self, arm: Arm, now: Micros) {
        let known = self.fires.iter().any(|(_, other)| other.id == arm.id);
        if !known && !self.spent.iter().any(|other| other.id == arm.id) {
            self.fires.push((now, arm));
        }
    }

    /// Takes note of what comes in at a port of the dongle.
    pub(super) fn hear(&mut self, port: u8, bytes: &[u8], now: Micros) {
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
                self.heard.insert(header.sender.number(), (header.boot.bits(), now));
            }
        }
    }

    /// Takes note that the dongle has started anew.
    pub(super) fn forget(&mut self) {
        self.heard.clear();
        self.readers.clear();
    }

    /// Returns when the dongle last heard `target`, in which start, before `now`.
    pub(super) fn last_heard(&self, target: u8, now: Micros) -> Option<(u64, Micros)> {
        self.heard.get(&target).copied().filter(|(_, at)| *at < now)
    }

    /// Returns the request behind a pulse of `target`, which can be used up only once.
    pub(super) fn spend(&mut self, target: u8) -> Option<Arm> {
        let at = self.fires.iter().position(|(_, arm)| arm.target.number() == target)?;
        let (_, arm) = self.fires.remove(at);
        self.spent.push(arm);
        Some(arm)
    }

    /// Takes note that a server begins a start.
    pub(super) fn begun(&mut self, boot: u64, now: Micros) {
        self.starts.insert(boot, now);
    }

    /// Returns whether `asker` has proof that `target` is silent in the start `boot`: a whole pulse
    /// that came after it had begun. If it knows of no start, any pulse since its own will do.
    pub(super) fn is_fenced(&self, asker: u64, target: u8, boot: Option<u64>) -> bool {
        let begun = self.starts.get(&boot.unwrap_or(asker)).copied().unwrap_or(Micros::MAX);
        let hit = |pulse: &Pulse| pulse.whole && pulse.target == target && pulse.at >= begun;
        self.pulses.iter().any(hit) || self.by_hand.contains(&(target, boot))
    }
}
