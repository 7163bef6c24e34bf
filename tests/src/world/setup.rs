//! What a world is made of.

use lifesign_core::config::{Config, Lease, Timing};
use lifesign_core::frame::LinkClass;
use lifesign_core::group::{Failback, GroupConfig, GroupId, Guard};
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::quorum::{Module, Quorum};
use lifesign_core::seal::Keyring;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::watchdog;
use serde::{Deserialize, Serialize};

use super::cable::Cable;
use super::{GROUPS, LINKS, Micros, ServerConfig};

/// How serial lines run, besides the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wiring {
    /// One line between the first two servers.
    NullModem,
    /// A line from each server to the next, and from the last to the first.
    Ring,
    /// A line from each server to the dongle, which is the only witness and on no network.
    Dongle,
}

/// A second cluster on the same network: two servers with the numbers of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Neighbours {
    /// It has another key, and the same cluster id.
    OtherKey,
    /// It has the same key, and another cluster id.
    OtherCluster,
}

/// What a world is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// How many servers.
    pub nodes: u8,
    /// How many witnesses: 0, 1 or 3.
    pub witnesses: u8,
    /// How many groups; group g prefers node g modulo the number of nodes.
    pub groups: u8,
    /// How many links between everybody.
    pub links: u8,
    /// The heartbeat, in milliseconds.
    pub heartbeat_ms: u64,
    /// The silence after which a peer is lost, in milliseconds.
    pub dead_ms: u64,
    /// The promise, in milliseconds.
    pub promise_ms: u64,
    /// The age at which authority ends, in milliseconds, if it is not the longest safe one.
    #[serde(default)]
    pub authority_ms: Option<u64>,
    /// What is assumed of the clocks' rates, in millionths.
    pub clock_error: u32,
    /// The guard of every group.
    pub guard: Guard,
    /// The failback of every group.
    pub failback: Failback,
    /// How long starting and stopping take, in microseconds.
    pub start_us: Micros,
    /// The budget for stopping where the guard is `stop`, in milliseconds; then a watchdog ends the
    /// machine.
    pub stop_ms: u64,
    /// W, in milliseconds: the watchdog may bite so much after the budget, and once more. With 0 it
    /// bites at the end of the budget.
    #[serde(default)]
    pub watchdog_ms: u64,
    /// How serial lines run, if there are any. They are one more link, the last.
    pub wiring: Option<Wiring>,
    /// The speed of serial lines, in bits a second; a byte takes ten.
    pub baud: u64,
    /// What is assumed of the witnesses' clocks' rates, in millionths.
    pub witness_error: u32,
    /// How long a reset line is active, and the least time between two pulses, in milliseconds.
    pub pulse_ms: (u64, u64),
    /// How long a server takes from the end of a reset to the start of its process, in
    /// microseconds.
    pub boot_us: Micros,
    /// Whether there is a second cluster on the same network.
    #[serde(default)]
    pub neighbours: Option<Neighbours>,
    /// Which group follows which: it runs only where that one does.
    #[serde(default)]
    pub with: Vec<(u8, u8)>,
    /// Which group never runs where which other one does; that other one comes first.
    #[serde(default)]
    pub apart: Vec<(u8, u8)>,
}

impl Setup {
    /// Returns the fast profile: a heartbeat of 5 ms and a promise of 25 ms.
    #[must_use]
    pub fn fast(nodes: u8, witnesses: u8) -> Self {
        Self {
            nodes,
            witnesses,
            groups: 1,
            links: 1,
            heartbeat_ms: 5,
            dead_ms: 22,
            promise_ms: 25,
            authority_ms: None,
            clock_error: 10_000,
            guard: Guard::Address,
            failback: Failback::Off,
            start_us: 100,
            stop_ms: 6,
            watchdog_ms: 0,
            wiring: None,
            baud: 115_200,
            witness_error: 10_000,
            pulse_ms: (50, 500),
            boot_us: 300_000,
            neighbours: None,
            with: Vec::new(),
            apart: Vec::new(),
        }
    }

    /// Returns the standard profile: a heartbeat of 100 ms and a promise of 1 s.
    #[must_use]
    pub fn standard(nodes: u8, witnesses: u8) -> Self {
        Self {
            heartbeat_ms: 100,
            dead_ms: 700,
            promise_ms: 1000,
            stop_ms: 200,
            ..Self::fast(nodes, witnesses)
        }
    }

    /// Returns a profile that a serial line can carry in half of its time: a heartbeat of 25 ms and
    /// a promise of 125 ms.
    #[must_use]
    pub fn wired(nodes: u8, witnesses: u8, wiring: Wiring) -> Self {
        Self {
            heartbeat_ms: 25,
            dead_ms: 110,
            promise_ms: 125,
            stop_ms: 30,
            wiring: Some(wiring),
            baud: 460_800,
            ..Self::fast(nodes, witnesses)
        }
    }

    /// Returns whether serial lines carry what everybody says at a heartbeat in half of its time.
    #[must_use]
    pub fn has_room_on_lines(&self) -> bool {
        const FRAME_BITS: u64 = 130 * 10;
        let bits = (u64::from(self.nodes) + 1) * FRAME_BITS;
        self.wiring.is_none() || bits * 1000 * 2 <= self.baud * self.heartbeat_ms
    }

    /// Returns the age at which authority ends.
    #[must_use]
    pub fn authority(&self) -> Duration {
        let lease = Lease {
            promise: Duration::from_millis(self.promise_ms),
            stop: self.stop(),
            granularity: Duration::ZERO,
            overshoot: self.watchdog_overshoot(),
            holder_error: self.clock_error,
            voter_error: self.clock_error.max(if self.witnesses > 0 {
                self.witness_error
            } else {
                0
            }),
        };
        let safe = lease.authority().unwrap_or_default();
        self.authority_ms.map_or(safe, Duration::from_millis)
    }

    /// Returns how long stopping may take after authority has ended.
    fn stop(&self) -> Duration {
        let has_to_stop = self.guard == Guard::Stop;
        if has_to_stop { Duration::from_millis(self.stop_ms) } else { Duration::ZERO }
    }

    /// Returns K, where the watchdog is the enforcer.
    fn watchdog_overshoot(&self) -> Duration {
        match self.guard {
            Guard::Stop => watchdog::overshoot(self.watchdog(), Duration::ZERO),
            Guard::Address | Guard::Fence => Duration::ZERO,
        }
    }

    const fn watchdog(&self) -> Duration {
        Duration::from_millis(self.watchdog_ms)
    }

    /// Returns until when what is held is up at the latest if authority ends at `end` and nobody
    /// stops it: whoever feeds the watchdog looks at the clock just in time, pauses, and feeds once
    /// more just before it would bite.
    pub(super) fn up_until(&self, end: Instant) -> Instant {
        match self.guard {
            Guard::Stop => {
                let fed = watchdog::fed_until(end, None, self.stop(), Duration::ZERO);
                fed + self.watchdog() + self.watchdog()
            }
            Guard::Address | Guard::Fence => end,
        }
    }

    pub(super) fn config(&self, me: NodeId) -> ServerConfig {
        let modules: &[Module] = if self.witnesses > 0 {
            &[Module::Majority, Module::Witness]
        } else {
            &[Module::Majority]
        };
        let votes = vec![1; self.nodes.into()];
        let quorum = Quorum::new(&votes, self.witnesses, modules, false).expect("a safe chain");
        let nodes: Vec<NodeId> = quorum.nodes().iter().collect();
        let of = |number| move |relation: &&(u8, u8)| relation.0 == number;
        let group = |number: u8| {
            let mut order = nodes.clone();
            // A follower prefers what its leader prefers.
            let mut root = number;
            while let Some((_, leader)) = self.with.iter().find(of(root)) {
                root = *leader;
            }
            order.rotate_left(usize::from(root) % nodes.len());
            GroupConfig {
                guard: self.guard,
                promise: Duration::from_millis(self.promise_ms),
                authority: self.authority(),
                order: order.into_iter().collect(),
                failback: if root == number { self.failback } else { Failback::Off },
                with: self
                    .with
                    .iter()
                    .find(of(number))
                    .and_then(|(_, leader)| GroupId::new(*leader)),
                apart: self
                    .apart
                    .iter()
                    .filter(of(number))
                    .filter_map(|(_, first)| GroupId::new(*first))
                    .collect(),
            }
        };
        let heartbeat = Duration::from_millis(self.heartbeat_ms);
        let timing = Timing {
            heartbeat,
            dead: Duration::from_millis(self.dead_ms),
            longest_promise: Duration::from_millis(self.promise_ms),
            settle: heartbeat.times(40),
            dispute: heartbeat.times(15),
            offer: heartbeat.times(200),
        };
        let networks = (0..self.links).map(|_| LinkClass::Udp);
        let links = networks.chain(self.wiring.map(|_| LinkClass::Serial)).collect();
        let groups = (0..self.groups).map(group).collect();
        let parts: Config<GROUPS, LINKS> =
            Config { cluster: super::start::CLUSTER, me, quorum, links, timing, groups, digest: 1 };
        Config::new(parts).expect("a consistent configuration")
    }

    /// Returns what the second cluster on the network is made of.
    pub(super) fn of_neighbours(&self) -> Self {
        Self { nodes: 2, witnesses: 0, wiring: None, ..self.clone() }
    }

    /// Returns whether the host `number` is a dongle.
    pub(super) fn is_dongle(&self, number: u8) -> bool {
        (16..32).contains(&number) && self.wiring == Some(Wiring::Dongle)
    }

    /// Returns how many serial ports the host `number` has.
    pub(super) fn ports(&self, number: u8) -> usize {
        let is_server = number < self.nodes;
        match self.wiring {
            Some(Wiring::NullModem) => usize::from(number < 2),
            Some(Wiring::Ring) if is_server => 2,
            Some(Wiring::Dongle) if is_server => 1,
            Some(Wiring::Dongle) => self.nodes.into(),
            Some(Wiring::Ring) | None => 0,
        }
    }

    /// Returns the serial link of the server `number`, if it has one.
    pub(super) fn cable(&self, number: u8, keys: &Keyring) -> Option<Cable> {
        let ports = self.ports(number);
        let link = LinkId::new(self.links).filter(|_| ports > 0)?;
        Some(Cable::new(link, ports, keys))
    }
}
