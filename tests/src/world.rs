//! Servers and witnesses in virtual time, and an observer who sees who answers.
//!
//! Nothing here reads a clock or draws from anything but the seed, and nothing runs beside it: one
//! seed plays the same on every machine. Nor can the wall clock of a simulated machine matter: no
//! part of the core can read one, and every moment that it is given comes from the machine's own
//! steady `clock`, which runs at its own rate and never steps.
//!
//! | what | where |
//! |---|---|
//! | machines, their clocks and disks | `host`, `clock` |
//! | one wake-up of a process | `process`, `cable`, `dongle` |
//! | what the shell does for it | `errand`, `word` |
//! | what goes on without it: kernel lease, watchdog, standstill | `kernel` |
//! | frames on their way | `queue`, `network`, `serial`, `line` |
//! | faults, and somebody who means ill | `apply`, `attack` |
//! | what is seen of it all | `observe`, `resets` |

mod apply;
mod attack;
mod cable;
mod clock;
mod dongle;
mod errand;
mod host;
mod kernel;
mod line;
mod network;
mod observe;
mod process;
mod queue;
mod resets;
mod serial;
mod setup;
mod start;
mod word;

pub use line::Line as SerialLine;
pub use network::Network;
pub use observe::{Counts, Line};
pub use resets::Pulse;
pub use setup::{Neighbours, Setup, Wiring};

use lifesign_core::engine::{Condition, Engine};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::node::BootId;
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::Instant;
use lifesign_core::witness::Witness;

use crate::random::Random;
use crate::seen::{End, Seen};
use host::{Brain, Hosts};
use observe::Sight;
use queue::{Happening, Parcels, Queue};
use resets::Resets;

/// True time in microseconds; no node can read it.
pub type Micros = u64;

/// The most servers and witnesses of a simulated cluster.
pub const MEMBERS: usize = 5;
const ECHOES: usize = MEMBERS - 1;
/// The number of the dongle, if there is one.
const DONGLE: u8 = 16;
/// The most groups of a simulated cluster.
pub const GROUPS: usize = 4;
/// The most links of a simulated cluster.
pub const LINKS: usize = 4;

/// A simulated server, with tables no larger than needed.
pub type Server = Engine<MEMBERS, ECHOES, GROUPS, LINKS>;
/// A simulated witness.
pub type Arbiter = Witness<MEMBERS, ECHOES, GROUPS, LINKS>;
/// The settings of a simulated server.
pub type ServerConfig = lifesign_core::config::Config<GROUPS, LINKS>;

/// Servers, witnesses and the network between them.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    hosts: Hosts,
    queue: Queue,
    parcels: Parcels,
    /// Where frames are written.
    buffer: Box<[u8; MAX_FRAME_LEN]>,
    now: Micros,
    random: Random,
    /// What the network does to frames.
    pub network: Network,
    /// The serial lines, each direction of its own; a line's two stand side by side.
    pub lines: Vec<SerialLine>,
    /// The reset lines do not follow the dongle.
    pub reset_stuck: bool,
    resets: Resets,
    /// Every frame that was ever sent, for an attacker to replay.
    pub recorded: Vec<(u8, u8, u8, Vec<u8>)>,
    /// Whether frames are recorded.
    pub recording: bool,
    overwritten: usize,
    sight: Sight,
    /// The last number of a frame that was told.
    told_last: (u64, u64),
    /// How much was done.
    pub counts: Counts,
    /// The longest span in which nobody answered, for each group, since it was last cleared.
    pub outage: Vec<Micros>,
}

impl World {
    /// Makes a world in which nobody runs yet. Clocks differ at random within the assumed error.
    ///
    /// # Panics
    /// If the setup has more members, groups or links than there is room for.
    #[must_use]
    pub fn new(setup: Setup, seed: u64) -> Self {
        assert!(usize::from(setup.nodes + setup.witnesses) <= MEMBERS, "at most {MEMBERS} members");
        assert!(usize::from(setup.groups) <= GROUPS, "at most {GROUPS} groups");
        let links = usize::from(setup.links) + usize::from(setup.wiring.is_some());
        assert!(links <= LINKS, "at most {LINKS} links");
        let mut random = Random::new(seed);
        let groups = usize::from(setup.groups);
        let begun = 1_000_000;
        let mut world = Self {
            hosts: Hosts::new(&setup, &mut random),
            queue: Queue::default(),
            parcels: Parcels::default(),
            buffer: Box::new([0; MAX_FRAME_LEN]),
            now: begun,
            network: Network::whole(),
            recorded: Vec::new(),
            recording: false,
            overwritten: 0,
            lines: SerialLine::all(&setup),
            reset_stuck: false,
            resets: Resets::default(),
            sight: Sight::new(&setup, begun),
            told_last: (0, 0),
            counts: Counts::default(),
            outage: vec![0; groups],
            random,
            setup,
        };
        world.tell_clocks();
        world
    }

    /// Makes a world in which everybody runs and every group is held.
    ///
    /// # Panics
    /// If a group is not held after 200 heartbeats.
    #[must_use]
    pub fn running(setup: Setup, seed: u64) -> Self {
        let mut world = Self::new(setup, seed);
        for number in world.numbers() {
            world.start(number);
        }
        world.run_for(200 * world.setup.heartbeat_ms * 1000);
        for group in 0..world.setup.groups {
            assert!(world.holder(group).is_some(), "group {group} is not held: {}", world.told());
        }
        world.clear_outage();
        world
    }

    /// Returns the numbers of all hosts, servers first; not those of the other cluster on the wire.
    #[must_use]
    pub fn numbers(&self) -> Vec<u8> {
        self.hosts.iter().map(|host| host.number).filter(|number| Hosts::is_own(*number)).collect()
    }

    /// Kills the process on `number`. Its kernel answers on until the lease ends.
    pub fn kill(&mut self, number: u8) {
        self.note(format!("{number} is killed"));
        self.end(number, End::Killed);
        self.follow_reset_line();
    }

    /// Kills the whole machine: nothing answers any more.
    pub fn crash(&mut self, number: u8) {
        self.note(format!("{number} crashes"));
        self.end(number, End::Crashed);
        self.follow_reset_line();
    }

    /// Ends the process on `number`, and unless it is killed alone, the machine with it.
    fn end(&mut self, number: u8, how: End) {
        let Some(host) = self.hosts.get_mut(number) else { return };
        let ran = host.brain.take().is_some();
        for (_, parcel) in std::mem::take(&mut host.inbox) {
            self.parcels.release(parcel);
        }
        let Some(host) = self.hosts.get_mut(number) else { return };
        host.dies = None;
        host.promised.fill(None);
        host.conditions.fill(Condition::Unmet);
        if how != End::Killed {
            host.life += 1;
            host.standstill = None;
            host.paused_until = 0;
            self.take_down(number);
        }
        if ran && Hosts::is_own(number) {
            self.see(Seen::Ended { host: number, how });
        }
    }

    /// Stops the process on `number` from running for `span` microseconds; its kernel goes on.
    pub fn pause(&mut self, number: u8, span: Micros) {
        self.by_hand();
        self.note(format!("{number} is paused for {span} us"));
        let until = self.now + span;
        if let Some(host) = self.hosts.get_mut(number) {
            host.paused_until = host.paused_until.max(until);
        }
    }

    /// Returns whether the process on `number` runs.
    #[must_use]
    pub fn is_running(&self, number: u8) -> bool {
        self.hosts.get(number).is_some_and(|host| host.brain.is_some())
    }

    /// Returns the server's engine, if it runs.
    #[must_use]
    pub fn engine(&self, number: u8) -> Option<&Server> {
        match self.hosts.get(number)?.brain.as_ref()? {
            Brain::Server(engine, _) => Some(engine),
            Brain::Witness(_) | Brain::Dongle(_) => None,
        }
    }

    /// Returns the witness, if it runs and is a server; a dongle shows nothing but its lines.
    #[must_use]
    pub fn witness(&self, number: u8) -> Option<&Arbiter> {
        match self.hosts.get(number)?.brain.as_ref()? {
            Brain::Witness(witness) => Some(witness),
            Brain::Server(..) | Brain::Dongle(_) => None,
        }
    }

    /// Returns the present start of the process on `number`.
    fn boot_of(&self, number: u8) -> Option<BootId> {
        let engine = self.engine(number).map(|engine| engine.member().sequence.boot());
        engine.or_else(|| self.witness(number).map(|it| it.member().sequence.boot()))
    }

    /// Gives the engine on `number` an order, at its own present moment.
    pub fn order(&mut self, number: u8, order: impl FnOnce(&mut Server, Instant)) {
        let now = self.now;
        self.by_hand();
        if let Some(host) = self.hosts.get_mut(number) {
            let local = host.local(now);
            if let Some(Brain::Server(engine, _)) = &mut host.brain {
                order(engine, local);
                host.wake = now;
            }
        }
    }

    /// Returns the true time, in microseconds.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// Lets `span` microseconds pass.
    pub fn run_for(&mut self, span: Micros) {
        let end = self.now + span;
        self.look_at_network();
        loop {
            let own = self.hosts.iter().map(host::Host::next);
            let next = own.chain(self.queue.next()).min().unwrap_or(Micros::MAX);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.sight.moment = self.now;
            if !self.sight.whole {
                self.look_at_network();
            }
            while let Some(happening) = self.queue.pop(self.now) {
                self.happen(happening);
            }
            self.run_kernels();
            for place in 0..self.hosts.len() {
                if self.hosts.at(place).is_due(self.now) {
                    self.run_process(place);
                }
            }
        }
        self.now = end;
        self.count_outages();
        self.look_at_network();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Frame { to, link, parcel } => self.take_in(to, link, parcel),
            Happening::Done { .. } => self.finish(happening),
            Happening::Again { node, boot, group } => self.stop_again(node, boot, group),
            Happening::Saved { .. } => self.saved(happening),
            Happening::Save { node, boot, token } => self.save_again(node, boot, token),
            Happening::Bytes { line, parcel } => self.arrive(line, parcel),
            Happening::Boot { node } => {
                if !self.is_running(node) {
                    self.start(node);
                }
            }
        }
    }
}

/// Returns the keys that everybody has.
///
/// # Panics
/// Never: there is one key, and it signs.
#[must_use]
pub fn keyring() -> Keyring {
    Keyring::new(&[(KeyId(0), Key::new([9; KEY_LEN]))], KeyId(0)).expect("one key that signs")
}
