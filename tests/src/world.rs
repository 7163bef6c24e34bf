//! Servers and witnesses in virtual time, and an observer who sees who answers.

mod apply;
mod cable;
mod dongle;
mod host;
mod line;
mod resets;
mod serial;
mod setup;
mod show;

pub use line::Line as SerialLine;
pub use resets::Pulse;
pub use setup::{Setup, Wiring};

use std::collections::{BTreeMap, BTreeSet};

use lifesign_core::config::Config;
use lifesign_core::engine::{Engine, Event};
use lifesign_core::frame::LinkClass;
use lifesign_core::group::{GroupId, Guard, Role, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};

use crate::random::Random;
use crate::seen::{End, Seen};
use dongle::Dongle;
use host::{Answering, Brain, Deeds, Host};
use resets::Resets;
use setup::Clock;
use show::{FOREVER, Show};

/// True time in microseconds; no node can read it.
pub type Micros = u64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Frame { to: u8, link: u8, bytes: Vec<u8> },
    Done { node: u8, boot: u64, group: u8, started: bool },
    Bytes { line: usize, bytes: Vec<u8> },
    Boot { node: u8 },
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
}

/// One line of what was seen from outside.
pub type Line = (Micros, String);

/// Servers, witnesses and the network between them.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    hosts: BTreeMap<u8, Host>,
    queue: BTreeMap<(Micros, u64), Happening>,
    serial: u64,
    now: Micros,
    random: Random,
    /// What the network does to frames.
    pub network: Network,
    /// The serial lines, each direction of its own; a line's two stand side by side.
    pub lines: Vec<SerialLine>,
    /// The reset lines do not follow the dongle.
    pub reset_stuck: bool,
    resets: Resets,
    show: Show,
    /// Every frame that was ever sent, for an attacker to replay.
    pub recorded: Vec<(u8, u8, u8, Vec<u8>)>,
    /// Whether frames are recorded.
    pub recording: bool,
    /// What was seen.
    pub trace: Vec<Line>,
    wrong: Option<String>,
    tokens: Vec<Token>,
    silent_since: Vec<Option<Micros>>,
    /// The longest span in which nobody answered, for each group, since it was last cleared.
    pub outage: Vec<Micros>,
}

impl World {
    /// Makes a world in which nobody runs yet. Clocks differ at random within the assumed error.
    #[must_use]
    pub fn new(setup: Setup, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let numbers = (0..setup.nodes).chain((0..setup.witnesses).map(|number| 16 + number));
        let groups = usize::from(setup.groups);
        let hosts =
            numbers.map(|number| (number, Host::new(&setup, number, &mut random))).collect();
        Self {
            hosts,
            queue: BTreeMap::new(),
            serial: 0,
            now: 1_000_000,
            network: Network { delay: 50, jitter: 100, ..Network::default() },
            recorded: Vec::new(),
            recording: false,
            trace: Vec::new(),
            wrong: None,
            lines: SerialLine::all(&setup),
            reset_stuck: false,
            resets: Resets::default(),
            show: Show::default(),
            tokens: vec![Token(0); groups],
            silent_since: vec![Some(1_000_000); groups],
            outage: vec![0; groups],
            random,
            setup,
        }
    }

    /// Makes a world in which everybody runs and every group is held.
    ///
    /// # Panics
    /// If a group is not held after five seconds.
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

    /// Returns the numbers of all hosts, servers first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u8> {
        self.hosts.keys().copied().collect()
    }

    /// Starts the process on `number` with a fresh boot id; service addresses left there are taken
    /// down first.
    ///
    /// # Panics
    /// If the setup is inconsistent.
    pub fn start(&mut self, number: u8) {
        self.start_with(number, |_| {});
    }

    /// Starts the process on `number` like [`start`](Self::start), with other settings than the
    /// rest.
    ///
    /// # Panics
    /// If the settings are inconsistent.
    pub fn start_with(&mut self, number: u8, change: impl FnOnce(&mut Config)) {
        if self.resets.active.is_some_and(|(held, _)| held == number) {
            return;
        }
        let bits = self.random.bits();
        let boot = BootId::new(bits);
        let (now, setup) = (self.now, self.setup.clone());
        self.forget_lines(number);
        self.resets.begun(bits, now);
        let Some(host) = self.hosts.get_mut(&number) else { return };
        let id = NodeId::new(number).expect("a configured number");
        let local = host.clock.read(now);
        host.leases.fill(Answering::default());
        host.inbox.clear();
        host.received.iter_mut().for_each(Vec::clear);
        host.paused_until = 0;
        host.wake = now;
        host.brain = Some(if setup.is_dongle(number) {
            Brain::Dongle(Box::new(Dongle::new(&setup, id, &mut host.store, bits, local)))
        } else if id.is_witness() {
            let config = WitnessConfig {
                cluster: ClusterId(7),
                me: id,
                class: LinkClass::Udp,
                longest_promise: Duration::from_millis(setup.promise_ms),
                heartbeat: Duration::from_millis(setup.heartbeat_ms),
                dead: Duration::from_millis(setup.dead_ms),
            };
            Brain::Witness(Box::new(Witness::new(&config, keyring(), boot, host.reserved, local)))
        } else {
            let mut config = setup.config(id);
            change(&mut config);
            let config = Config::new(config).expect("a consistent configuration");
            let engine = Engine::new(config, keyring(), boot, host.reserved, local);
            Brain::Server(Box::new(engine), setup.cable(number).map(Box::new))
        });
        self.note(format!("{number} starts"));
        self.show.forget(number);
        self.see(Seen::Started { host: number, boot: bits });
    }

    /// Kills the process on `number`. Its kernel answers on until the lease ends.
    pub fn kill(&mut self, number: u8) {
        self.note(format!("{number} is killed"));
        self.end(number, End::Killed);
    }

    fn end(&mut self, number: u8, how: End) {
        let host = self.hosts.get_mut(&number);
        if let Some(host) = host.filter(|host| host.brain.is_some() || how != End::Killed) {
            host.brain = None;
            if how != End::Killed {
                host.leases.fill(Answering::default());
            }
            self.see(Seen::Ended { host: number, how });
        }
        self.follow_reset_line();
    }

    /// Kills the whole machine: nothing answers any more.
    pub fn crash(&mut self, number: u8) {
        self.note(format!("{number} crashes"));
        self.end(number, End::Crashed);
        self.observe();
    }

    /// Stops the process on `number` from running for `span` microseconds; its kernel goes on.
    pub fn pause(&mut self, number: u8, span: Micros) {
        self.note(format!("{number} is paused for {span} us"));
        let until = self.now + span;
        if let Some(host) = self.hosts.get_mut(&number) {
            host.paused_until = host.paused_until.max(until);
        }
    }

    /// Lets the fixed rate error of a clock be `error` millionths from now on, beyond what is
    /// assumed if so wished.
    pub fn set_clock_error(&mut self, number: u8, error: i64) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&number) {
            let shown = host.clock.read(now).as_micros();
            let ahead = i128::from(now) * (1_000_000 + i128::from(error)) / 1_000_000;
            let start = shown.saturating_sub(u64::try_from(ahead).unwrap_or(0));
            host.clock = Clock { start, error };
            for lease in &mut host.leases {
                *lease = Answering::new(lease.until, host.clock);
            }
            self.see(Seen::Clock { host: number, error_ppm: error });
            for group in GroupId::all().take(self.setup.groups.into()) {
                self.show_lease(number, group, Answering::default());
            }
        }
    }

    /// Cuts everything between `one` and `other`, both ways, on all links.
    pub fn cut(&mut self, one: u8, other: u8) {
        for link in 0..self.setup.links {
            self.network.cuts.insert((one, other, link));
            self.network.cuts.insert((other, one, link));
        }
        self.note(format!("{one} and {other} are cut off from each other"));
    }

    /// Heals the network.
    pub fn heal(&mut self) {
        self.network = Network { delay: 50, jitter: 100, ..Network::default() };
        self.heal_lines();
        self.note("the network is healed".into());
    }

    /// Returns whether the process on `number` runs.
    #[must_use]
    pub fn is_running(&self, number: u8) -> bool {
        self.hosts.get(&number).is_some_and(|host| host.brain.is_some())
    }

    /// Returns the server's engine, if it runs.
    #[must_use]
    pub fn engine(&self, number: u8) -> Option<&Engine> {
        match self.hosts.get(&number)?.brain.as_ref()? {
            Brain::Server(engine, _) => Some(engine),
            Brain::Witness(_) | Brain::Dongle(_) => None,
        }
    }

    /// Returns the witness, if it runs and is a server; a dongle shows nothing but its lines.
    #[must_use]
    pub fn witness(&self, number: u8) -> Option<&Witness> {
        match self.hosts.get(&number)?.brain.as_ref()? {
            Brain::Witness(witness) => Some(witness),
            Brain::Server(..) | Brain::Dongle(_) => None,
        }
    }

    /// Gives the engine on `number` an order, at its own present moment.
    pub fn order(&mut self, number: u8, order: impl FnOnce(&mut Engine, Instant)) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&number) {
            let local = host.clock.read(now);
            if let Some(Brain::Server(engine, _)) = &mut host.brain {
                order(engine, local);
                host.wake = now;
            }
        }
    }

    /// Puts bytes on a link to `to`, as an attacker would.
    pub fn inject(&mut self, to: u8, link: u8, bytes: Vec<u8>) {
        self.schedule(1, Happening::Frame { to, link, bytes });
    }

    /// Returns the only server that answers for `group` now.
    #[must_use]
    pub fn holder(&self, group: u8) -> Option<u8> {
        let answering = self.answering(group);
        answering.first().copied().filter(|_| answering.len() == 1)
    }

    /// Returns what was wrong first, if anything ever was: two servers that answered for one group,
    /// a token used twice, a reset that was not due.
    #[must_use]
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    fn blame(&mut self, what: String) {
        if self.wrong.is_none() {
            self.note(what.clone());
            self.wrong = Some(what);
        }
    }

    /// Forgets the outages so far.
    pub fn clear_outage(&mut self) {
        self.outage.fill(0);
    }

    /// Returns the true time, in microseconds.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// Returns the last lines of the trace.
    #[must_use]
    pub fn told(&self) -> String {
        let lines = self.trace.iter().rev().take(60).rev();
        lines.map(|(at, line)| format!("\n{:>12.3} ms {line}", *at as f64 / 1000.0)).collect()
    }

    /// Lets `span` microseconds pass.
    pub fn run_for(&mut self, span: Micros) {
        let end = self.now + span;
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.deliver();
            for number in self.due() {
                self.run_process(number);
            }
            self.observe();
        }
        self.now = end;
        self.observe();
    }

    fn next_moment(&self) -> Option<Micros> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let running = self.hosts.values().filter(|host| host.brain.is_some());
        let wakes = running.map(|host| host.wake.max(host.paused_until));
        wakes.chain(queued).min()
    }

    /// Returns the hosts whose processes run now, in the order of their numbers.
    fn due(&self) -> Vec<u8> {
        let due = |host: &Host| {
            host.brain.is_some() && host.paused_until <= self.now && host.wake <= self.now
        };
        self.hosts.iter().filter(|(_, host)| due(host)).map(|(number, _)| *number).collect()
    }

    fn deliver(&mut self) {
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= self.now) {
            match next.remove() {
                Happening::Frame { to, link, bytes } => {
                    if let (Some(host), Some(link)) = (self.hosts.get_mut(&to), LinkId::new(link)) {
                        // A socket's buffer is finite: a process that does not run loses the
                        // newest.
                        if host.brain.is_some() && host.inbox.len() < 200 {
                            host.inbox.push((link, bytes));
                            host.wake = self.now;
                        }
                    }
                }
                Happening::Done { node, boot, group, started } => {
                    self.finish(node, boot, group, started);
                }
                Happening::Bytes { line, bytes } => self.arrive(line, bytes),
                Happening::Boot { node } => {
                    if self.hosts.get(&node).is_some_and(|host| host.brain.is_none()) {
                        self.start(node);
                    }
                }
            }
        }
    }

    fn finish(&mut self, node: u8, boot: u64, group: u8, started: bool) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&node) else { return };
        if host.paused_until > now {
            let at = host.paused_until - now;
            return self.schedule(at, Happening::Done { node, boot, group, started });
        }
        let local = host.clock.read(now);
        let id = GroupId::new(group).expect("a configured group");
        if let Some(Brain::Server(engine, _)) = &mut host.brain
            && engine.member().sequence.boot().bits() == boot
        {
            // The process wakes up to hear of it, so it looks at its authority first, like on any
            // other wake-up.
            engine.check_authority(local);
            if started {
                engine.handle_started(id, true, local);
            } else {
                engine.handle_stopped(id, true, local);
            }
            host.wake = now;
        }
    }

    fn run_process(&mut self, number: u8) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&number) else { return };
        if self.setup.is_dongle(number) {
            for (port, bytes) in (0..).zip(&host.received) {
                self.resets.hear(port, bytes, now);
            }
        }
        let Deeds { frames, events, fired } = host.run(now, !self.reset_stuck);
        for event in events {
            self.carry_out(number, event);
        }
        self.move_leases(number);
        self.show_promises(number);
        for (to, link, bytes) in frames {
            self.send(number, to, link, &bytes);
        }
        for arm in fired {
            self.resets.fired(arm, now);
        }
        self.follow_reset_line();
        self.pump_all(number);
    }

    fn carry_out(&mut self, number: u8, event: Event) {
        match event {
            Event::Group { group, role, reason } => {
                self.note(format!("{number} {group:?} {role:?} because {reason:?}"));
                self.see(Seen::Role { host: number, group: group.number(), role, reason });
                match role {
                    Role::Starting(token) => {
                        self.judge_start(number, group, token);
                        self.begin(number, group, true);
                    }
                    Role::Stopping(_) => self.begin(number, group, false),
                    _ => {}
                }
            }
            Event::Reserve(token) => {
                if let Some(host) = self.hosts.get_mut(&number) {
                    host.reserved = token;
                }
                self.see(Seen::Saved { host: number, token: token.0 });
                self.order(number, |engine, now| engine.handle_reserved(token, now));
                self.wake_next(number);
            }
            Event::FenceNeeded { group, node, boot } => {
                self.note(format!("{number} needs {node:?} fenced"));
                let brain = self.hosts.get_mut(&number).and_then(|host| host.brain.as_mut());
                if let Some(Brain::Server(engine, Some(cable))) = brain {
                    cable.ask(engine, group, node, boot);
                }
                self.wake_next(number);
            }
            Event::Peer { node, condition } => {
                self.note(format!("{number} sees {node:?} {condition:?}"));
                self.see(Seen::Peer { host: number, peer: node.number(), condition });
            }
            _ => {}
        }
    }

    /// Starts or stops a group, which takes a while.
    fn begin(&mut self, number: u8, group: GroupId, started: bool) {
        let boot = self.engine(number).map_or(0, |engine| engine.member().sequence.boot().bits());
        let done = Happening::Done { node: number, boot, group: group.number(), started };
        self.schedule(self.setup.start_us, done);
    }

    /// Judges a start: under a new token, and with proof of what the guard demands.
    fn judge_start(&mut self, number: u8, group: GroupId, token: Token) {
        if let Some(what) = self.unproven(number) {
            self.blame(what);
        }
        let Some(last) = self.tokens.get_mut(group.index()) else { return };
        let before = std::mem::replace(last, token);
        if token <= before {
            self.blame(format!("token {token:?} after {before:?} for {group:?}"));
        }
    }

    fn wake_next(&mut self, number: u8) {
        let next = self.now + 1;
        if let Some(host) = self.hosts.get_mut(&number) {
            host.wake = next;
        }
    }

    /// Moves what a server has up to what its engine says now. A group is answered for while it is
    /// started; what has to be stopped is up until it has been, or until the watchdog ends the
    /// machine.
    fn move_leases(&mut self, number: u8) {
        let Some(host) = self.hosts.get_mut(&number) else { return };
        let mut moved = Vec::new();
        if let Some(Brain::Server(engine, _)) = &host.brain {
            for (group, lease) in GroupId::all().zip(&mut host.leases) {
                let role = engine.group(group).map_or(Role::Idle, |group| group.role());
                let until = if role.is_up() && self.setup.guard == Guard::Fence {
                    // Nothing ends it but a stop or a reset.
                    Some(FOREVER)
                } else if role.needs_authority() {
                    engine.authority_end(group).map(|end| end + self.setup.stop())
                } else if role.is_up() && self.setup.guard == Guard::Stop {
                    lease.until
                } else {
                    None
                };
                if lease.until != until {
                    moved.push((group, *lease));
                    *lease = Answering::new(until, host.clock);
                }
            }
        }
        for (group, before) in moved {
            self.show_lease(number, group, before);
        }
    }

    fn send(&mut self, from: u8, to: Option<u8>, link: u8, bytes: &[u8]) {
        for other in self.numbers() {
            if other == from || to.is_some_and(|to| to != other) || self.setup.is_dongle(other) {
                continue;
            }
            // A witness answers over the first link that is whole, or in vain.
            let link = to.map_or(link, |_| {
                let whole = |link: &u8| !self.network.cuts.contains(&(from, other, *link));
                (0..self.setup.links).find(whole).unwrap_or(0)
            });
            if self.recording {
                self.recorded.push((from, other, link, bytes.to_vec()));
            }
            if self.network.cuts.contains(&(from, other, link))
                || self.random.chance(self.network.loss)
            {
                continue;
            }
            let copies = 1 + u64::from(self.random.chance(self.network.duplicates));
            for _ in 0..copies {
                let delay = self.network.delay + self.random.below(self.network.jitter + 1);
                self.schedule(delay, Happening::Frame { to: other, link, bytes: bytes.to_vec() });
            }
        }
    }

    fn schedule(&mut self, delay: Micros, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), happening);
    }

    fn answering(&self, group: u8) -> Vec<u8> {
        let answers = |host: &Host| {
            host.leases.get(usize::from(group)).is_some_and(|lease| self.now < lease.ends)
        };
        self.hosts.iter().filter(|(_, host)| answers(host)).map(|(number, _)| *number).collect()
    }

    fn observe(&mut self) {
        for group in 0..self.setup.groups {
            let answering = self.answering(group);
            if answering.len() > 1 {
                self.blame(format!("{answering:?} all answer for group {group}"));
            }
            let (at, now) = (usize::from(group), self.now);
            let since = if answering.is_empty() {
                self.silent_since[at].or_else(|| Some(self.lease_end(group)))
            } else {
                None
            };
            let was = std::mem::replace(&mut self.silent_since[at], since);
            if let Some(since) = was.or(since) {
                self.outage[at] = self.outage[at].max(now.saturating_sub(since));
            }
        }
    }

    /// Returns when the last lease of `group` ran out, if it did by itself, or now.
    fn lease_end(&self, group: u8) -> Micros {
        let ends = self.hosts.values().filter_map(|host| {
            let until = host.leases.get(usize::from(group))?.until?;
            Some(host.clock.when(until))
        });
        ends.max().unwrap_or(self.now).min(self.now)
    }

    fn note(&mut self, line: String) {
        self.trace.push((self.now, line));
        if self.trace.len() > 4000 {
            self.trace.drain(..2000);
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
