//! A machine: a process with its clock, its ports and its disk, and what its kernel has up.

use lifesign_core::decree::Decree;
use lifesign_core::engine::Condition;
use lifesign_core::group::Token;
use lifesign_core::node::LinkId;
use lifesign_core::promise::Promise;
use lifesign_core::time::Instant;

use super::cable::Cable;
use super::clock::Clock;
use super::dongle::{Dongle, Store};
use super::queue::Parcel;
use super::setup::Setup;
use super::{Arbiter, Micros, Server};
use crate::fault::{Keys, Manner, Step};
use crate::random::Random;

/// What decides on a host.
#[derive(Debug)]
pub(super) enum Brain {
    Server(Box<Server>, Option<Box<Cable>>),
    Witness(Box<Arbiter>),
    Dongle(Box<Dongle>),
}

/// What one group has up on one server: addresses for which its kernel answers, or services that
/// have to be stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answering {
    /// Until when by the server's clock.
    pub(super) until: Option<Instant>,
    /// The first true moment that is no longer within it, so that looking needs no arithmetic.
    pub(super) ends: Micros,
    /// Under which token it was started.
    pub(super) token: Token,
}

/// A machine that stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    pub(super) since: Micros,
    pub(super) until: Micros,
    /// Its clocks stand still too.
    pub(super) stops_clocks: bool,
}

/// The disk with the reserved tokens and the operator's word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disk {
    pub(super) reserved: Token,
    /// What the operator has said last, and in which life of the machine that was saved: moments
    /// of its clock mean nothing in another.
    pub(super) decree: Option<(Decree, u32)>,
    /// What stands there is damaged.
    pub(super) torn: bool,
    /// Nothing can be written before this moment.
    pub(super) fails_until: Micros,
    /// How long writing takes.
    pub(super) takes: Micros,
}

/// What a host is told at each start, where that differs from the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) digest: u32,
    pub(super) promise_ms: u64,
    pub(super) keys: Keys,
}

impl Settings {
    pub(super) const fn new(setup: &Setup) -> Self {
        Self { digest: 1, promise_ms: setup.promise_ms, keys: Keys::Old }
    }
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: u8,
    pub(super) clock: Clock,
    /// The watchdog's.
    pub(super) watchdog: Clock,
    pub(super) brain: Option<Brain>,
    /// How often the machine has died.
    pub(super) life: u32,
    pub(super) paused_until: Micros,
    pub(super) standstill: Option<Standstill>,
    pub(super) inbox: Vec<(LinkId, Parcel)>,
    /// What waits at each serial port to be read.
    pub(super) received: Vec<Vec<u8>>,
    pub(super) leases: Vec<Answering>,
    /// When the watchdog ends the machine.
    pub(super) bite: Micros,
    pub(super) agents: Vec<Manner>,
    /// How a witness was seen to see the servers last.
    pub(super) conditions: Vec<Condition>,
    /// The promises that were seen last.
    pub(super) promised: Vec<Option<Promise>>,
    /// The same, also those that a later start has forgotten.
    pub(super) given: Vec<Option<Promise>>,
    pub(super) disk: Disk,
    pub(super) settings: Settings,
    /// What is kept if this is a dongle.
    pub(super) store: Store,
    /// After which step of its next wake-up the machine dies, and how long after that it boots.
    pub(super) dies: Option<(Step, Option<Micros>)>,
    /// When the process next wants to run, in true time.
    pub(super) wake: Micros,
}

impl Host {
    pub(super) fn new(setup: &Setup, number: u8, random: &mut Random) -> Self {
        let is_witness = (16..32).contains(&number);
        let error = i64::from(if is_witness { setup.witness_error } else { setup.clock_error });
        let errors = [-error, 0, error];
        let own = random.pick(&errors);
        let groups = usize::from(setup.groups);
        Self {
            number,
            clock: Clock::new(1_000_000_000 + random.below(1 << 40), own),
            watchdog: Clock::new(0, random.pick(&errors)),
            brain: None,
            life: 0,
            paused_until: 0,
            standstill: None,
            inbox: Vec::new(),
            received: vec![Vec::new(); setup.ports(number)],
            leases: vec![Answering::default(); groups],
            bite: Micros::MAX,
            agents: vec![Manner::Honest; groups],
            conditions: vec![Condition::Unmet; setup.nodes.into()],
            promised: vec![None; groups],
            given: vec![None; groups],
            disk: Disk::default(),
            settings: Settings::new(setup),
            store: Store::new(),
            dies: None,
            wake: 0,
        }
    }

    /// Returns when something happens here by itself: its process runs, it goes on after a
    /// standstill, its watchdog bites.
    pub(super) fn next(&self) -> Micros {
        let process = match (&self.brain, self.standstill) {
            (_, Some(standstill)) => standstill.until,
            (Some(_), None) => self.wake.max(self.paused_until),
            (None, None) => Micros::MAX,
        };
        process.min(self.bite)
    }

    /// Returns whether its process runs at `now`.
    pub(super) fn is_due(&self, now: Micros) -> bool {
        self.brain.is_some()
            && self.standstill.is_none()
            && self.paused_until <= now
            && self.wake <= now
    }

    /// Returns until when its process does not run, if it does not.
    pub(super) fn held_until(&self, now: Micros) -> Option<Micros> {
        // Its clock is set right only when it goes on.
        let still = self.standstill.map_or(0, |standstill| standstill.until.max(now + 1));
        Some(still.max(self.paused_until)).filter(|until| *until > now)
    }

    /// Returns what its clock shows at `now`, also while it stands still.
    pub(super) fn local(&self, now: Micros) -> Instant {
        let stopped = self.standstill.filter(|standstill| standstill.stops_clocks);
        self.clock.read(stopped.map_or(now, |standstill| standstill.since))
    }
}

/// All machines, in the order of their numbers: servers from 0, witnesses from 16, and the servers
/// of the other cluster on the wire from 32.
#[derive(Debug)]
pub(super) struct Hosts {
    list: Vec<Host>,
    servers: usize,
    witnesses: usize,
}

impl Hosts {
    pub(super) fn new(setup: &Setup, random: &mut Random) -> Self {
        let neighbours = if setup.neighbours.is_some() { 32..34 } else { 32..32 };
        let numbers = (0..setup.nodes).chain(16..16 + setup.witnesses).chain(neighbours);
        Self {
            list: numbers.map(|number| Host::new(setup, number, random)).collect(),
            servers: setup.nodes.into(),
            witnesses: setup.witnesses.into(),
        }
    }

    fn place(&self, number: u8) -> Option<usize> {
        let (kind, at) = (number / 16, usize::from(number % 16));
        match kind {
            0 => (at < self.servers).then_some(at),
            1 => (at < self.witnesses).then_some(self.servers + at),
            _ => Some(self.servers + self.witnesses + usize::from(number) - 32),
        }
    }

    pub(super) fn find(&self, number: u8) -> Option<usize> {
        self.place(number).filter(|place| *place < self.list.len())
    }

    pub(super) fn get(&self, number: u8) -> Option<&Host> {
        self.list.get(self.place(number)?)
    }

    pub(super) fn get_mut(&mut self, number: u8) -> Option<&mut Host> {
        let place = self.place(number)?;
        self.list.get_mut(place)
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Host {
        &mut self.list[place]
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Host> {
        self.list.iter()
    }

    /// Returns whether `number` is a server or a witness of the cluster that is watched.
    pub(super) const fn is_own(number: u8) -> bool {
        number < 32
    }
}
