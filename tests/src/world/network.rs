//! The network: what it does to frames, and what somebody on it does.

use std::collections::BTreeSet;

use super::host::Hosts;
use super::queue::{Happening, Parcel};
use super::{Micros, World};

/// Bursts of losses, by Gilbert and Elliott: each way of each link is in a good or in a bad state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// Of 10,000 frames in the good state, how many begin a bad one.
    pub(super) enter: u16,
    /// Of 10,000 frames in the bad state, how many end it.
    pub(super) leave: u16,
    /// How many in a hundred frames are lost in the bad state.
    pub(super) percent: u8,
}

/// Faults of the network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How many in a hundred frames are lost.
    pub loss: u64,
    /// How many in a hundred frames come twice.
    pub duplicates: u64,
    /// The shortest delay, in microseconds.
    pub delay: Micros,
    /// How much longer a frame may take.
    pub jitter: Micros,
    /// Pairs (from, to, link) over which nothing passes.
    pub cuts: BTreeSet<(u8, u8, u8)>,
    pub(super) burst: Option<Burst>,
    /// Where the bad state rules.
    pub(super) bad: BTreeSet<(u8, u8, u8)>,
    /// How many in a hundred frames are late, and by how much.
    pub(super) late: (u64, Micros),
    /// How many in a hundred frames are damaged, and whether their checksum is right all the same.
    pub(super) damage: (u64, bool),
    /// What is held back: from, to, until when.
    pub(super) held: Vec<(u8, u8, Micros)>,
    /// Whose frames come back, until when.
    pub(super) reflected: Vec<(u8, Micros)>,
    /// Two links that are swapped.
    pub(super) swapped: Option<(u8, u8)>,
}

impl Network {
    /// Returns a network that does nothing but carry frames.
    pub(super) fn whole() -> Self {
        Self { delay: 50, jitter: 100, ..Self::default() }
    }

    /// Returns whether it does nothing but carry frames with their usual delay.
    pub(super) fn is_whole(&self, now: Micros) -> bool {
        let usual = Self::whole();
        (self.loss, self.duplicates, self.late.0, self.damage.0) == (0, 0, 0, 0)
            && (self.delay, self.jitter) == (usual.delay, usual.jitter)
            && self.cuts.is_empty()
            && self.burst.is_none()
            && self.swapped.is_none()
            && self.held.iter().all(|(_, _, until)| *until <= now)
            && self.reflected.iter().all(|(_, until)| *until <= now)
    }

    /// Returns the link on which a frame arrives that was sent on `link`.
    fn arrival(&self, link: u8) -> u8 {
        match self.swapped {
            Some((one, other)) if link == one => other,
            Some((one, other)) if link == other => one,
            _ => link,
        }
    }
}

/// The most frames that somebody writes down; then the oldest are overwritten.
const MOST_RECORDED: usize = 20_000;

impl World {
    /// Sends the first `len` bytes of the buffer from `from` over `link` to everybody else, or to
    /// one host.
    pub(super) fn send(&mut self, from: u8, to: Option<u8>, link: u8, len: usize) {
        let parcel = self.parcels.put(&self.buffer[..len]);
        for place in 0..self.hosts.len() {
            let other = self.hosts.at(place).number;
            if other == from || to.is_some_and(|to| to != other) || self.setup.is_dongle(other) {
                continue;
            }
            // A witness answers over the first link that is whole, or in vain.
            let link = to.map_or(link, |_| {
                let whole = |link: &u8| !self.network.cuts.contains(&(from, other, *link));
                (0..self.setup.links).find(whole).unwrap_or(0)
            });
            self.carry(from, other, link, parcel);
        }
        if !self.network.reflected.is_empty() {
            let now = self.now;
            let mut mirrors = self.network.reflected.iter();
            if mirrors.any(|(host, until)| *host == from && *until > now) {
                self.deliver_later(from, link, parcel, self.network.delay);
            }
        }
        self.parcels.release(parcel);
    }

    fn carry(&mut self, from: u8, to: u8, link: u8, parcel: Parcel) {
        if self.recording && Hosts::is_own(to) {
            self.record((from, to, link, self.parcels.bytes(parcel).to_vec()));
        }
        if self.is_lost(from, to, link) {
            return;
        }
        let damaged = self.network.damage.0 > 0 && self.random.chance(self.network.damage.0);
        if damaged && !self.network.damage.1 {
            return;
        }
        let parcel = if damaged { self.flip_bits(parcel) } else { self.parcels.share(parcel) };
        let twice = self.network.duplicates > 0 && self.random.chance(self.network.duplicates);
        let link = self.network.arrival(link);
        for _ in 0..=u8::from(twice) {
            let delay = self.delay(from, to);
            self.deliver_later(to, link, parcel, delay);
        }
        self.parcels.release(parcel);
    }

    fn deliver_later(&mut self, to: u8, link: u8, parcel: Parcel, delay: Micros) {
        let parcel = self.parcels.share(parcel);
        self.queue.push(self.now + delay, Happening::Frame { to, link, parcel });
    }

    fn record(&mut self, frame: (u8, u8, u8, Vec<u8>)) {
        if self.recorded.len() < MOST_RECORDED {
            self.recorded.push(frame);
        } else {
            self.recorded[self.overwritten % MOST_RECORDED] = frame;
            self.overwritten += 1;
        }
    }

    fn is_lost(&mut self, from: u8, to: u8, link: u8) -> bool {
        let Self { network, random, .. } = self;
        let way = (from, to, link);
        if !network.cuts.is_empty() && network.cuts.contains(&way) {
            return true;
        }
        if let Some(burst) = network.burst {
            let is_bad = network.bad.contains(&way);
            let turns = u64::from(if is_bad { burst.leave } else { burst.enter });
            let is_bad = is_bad != (random.below(10_000) < turns);
            if is_bad {
                network.bad.insert(way);
            } else {
                network.bad.remove(&way);
            }
            if is_bad && random.chance(burst.percent.into()) {
                return true;
            }
        }
        network.loss > 0 && random.chance(network.loss)
    }

    fn delay(&mut self, from: u8, to: u8) -> Micros {
        let Self { network, random, now, .. } = self;
        let mut delay = network.delay + random.below(network.jitter + 1);
        if network.late.0 > 0 && random.chance(network.late.0) {
            delay += network.late.1;
        }
        for (_, _, until) in network.held.iter().filter(|held| (held.0, held.1) == (from, to)) {
            delay = delay.max(until.saturating_sub(*now));
        }
        delay
    }

    fn flip_bits(&mut self, parcel: Parcel) -> Parcel {
        let mut bytes = self.parcels.bytes(parcel).to_vec();
        for _ in 0..=self.random.below(3) {
            let bit = self.random.below(8 * bytes.len() as u64);
            bytes[usize::try_from(bit / 8).unwrap_or(0)] ^= 1 << (bit % 8);
        }
        self.parcels.put(&bytes)
    }

    /// A frame has come in.
    pub(super) fn take_in(&mut self, to: u8, link: u8, parcel: Parcel) {
        let now = self.now;
        let host = self.hosts.get_mut(to).filter(|host| host.brain.is_some());
        match (host, lifesign_core::node::LinkId::new(link)) {
            // A socket's buffer is finite: a process that does not run loses the newest.
            (Some(host), Some(link)) if host.standstill.is_none() && host.inbox.len() < 200 => {
                host.inbox.push((link, parcel));
                host.wake = now;
                self.counts.frames += 1;
            }
            _ => self.parcels.release(parcel),
        }
    }

    /// Puts bytes on a link to `to`, as an attacker would.
    pub fn inject(&mut self, to: u8, link: u8, bytes: Vec<u8>) {
        self.by_hand();
        self.inject_after(1, to, link, &bytes);
    }

    pub(super) fn inject_after(&mut self, delay: Micros, to: u8, link: u8, bytes: &[u8]) {
        let parcel = self.parcels.put(bytes);
        self.queue.push(self.now + delay, Happening::Frame { to, link, parcel });
    }

    /// Cuts everything between `one` and `other`, both ways, on all links.
    pub fn cut(&mut self, one: u8, other: u8) {
        self.by_hand();
        for link in 0..self.setup.links {
            self.network.cuts.insert((one, other, link));
            self.network.cuts.insert((other, one, link));
        }
        self.note(format!("{one} and {other} are cut off from each other"));
    }

    /// Cuts every network: nothing but serial lines is left.
    pub fn cut_networks(&mut self) {
        self.by_hand();
        for one in self.numbers() {
            for other in self.numbers().into_iter().filter(|other| *other != one) {
                self.network.cuts.extend((0..self.setup.links).map(|link| (one, other, link)));
            }
        }
        self.note("every network is cut".into());
    }

    /// Heals the network and the serial lines, and sends the attacker home.
    pub fn heal(&mut self) {
        self.network = Network::whole();
        self.recording = false;
        self.heal_lines();
        self.note("the network is healed".into());
    }
}
