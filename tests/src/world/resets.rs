//! Reset lines as seen from outside: whom they hit, and whether that was right.

use std::collections::BTreeMap;

use lifesign_core::frame;
use lifesign_core::reset::Arm;

use super::Micros;
use super::line::Reader;

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
            if let Some(Ok(message)) = reader.push(*byte)
                && let Ok(header) = frame::peek(message)
            {
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

    /// Returns whether it is proved that `target` is silent in the start `boot`, or in whatever
    /// start it was.
    pub(super) fn is_fenced(&self, target: u8, boot: Option<u64>) -> bool {
        let hit = |pulse: &&Pulse| {
            pulse.whole
                && pulse.target == target
                && (pulse.killed.is_none() || boot.is_none() || pulse.killed == boot)
        };
        self.pulses.iter().any(|pulse| hit(&pulse)) || self.by_hand.contains(&(target, boot))
    }
}
