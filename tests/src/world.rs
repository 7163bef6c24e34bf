//! Servers and witnesses in virtual time, and an observer who sees who answers.

use std::collections::{BTreeMap, BTreeSet};

use lifesign_core::config::{Config, Lease, Timing};
use lifesign_core::engine::{Engine, Event};
use lifesign_core::frame::{LinkClass, MAX_FRAME_LEN};
use lifesign_core::group::{Failback, GroupConfig, GroupId, Guard, Role, Token};
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::quorum::{Module, Quorum};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};

use crate::random::Random;

/// True time in microseconds; no node can read it.
pub type Micros = u64;

/// What a world is made of.
#[derive(Clone, Debug)]
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
}

impl Setup {
    /// Returns the fast profile: a heartbeat of 5 ms and a promise of 25 ms.
    #[must_use]
    pub const fn fast(nodes: u8, witnesses: u8) -> Self {
        Self {
            nodes,
            witnesses,
            groups: 1,
            links: 1,
            heartbeat_ms: 5,
            dead_ms: 22,
            promise_ms: 25,
            clock_error: 10_000,
            guard: Guard::Address,
            failback: Failback::Off,
            start_us: 100,
            stop_ms: 6,
        }
    }

    /// Returns the age at which authority ends.
    #[must_use]
    pub fn authority(&self) -> Duration {
        let lease = Lease {
            promise: Duration::from_millis(self.promise_ms),
            stop: self.stop(),
            granularity: Duration::ZERO,
            overshoot: Duration::ZERO,
            holder_error: self.clock_error,
            voter_error: self.clock_error,
        };
        lease.authority().unwrap_or_default()
    }

    /// Returns how long what is held may stay up after authority has ended.
    fn stop(&self) -> Duration {
        let has_to_stop = self.guard == Guard::Stop;
        if has_to_stop { Duration::from_millis(self.stop_ms) } else { Duration::ZERO }
    }

    fn config(&self, me: NodeId) -> Config {
        let modules: &[Module] = if self.witnesses > 0 {
            &[Module::Majority, Module::Witness]
        } else {
            &[Module::Majority]
        };
        let votes = vec![1; self.nodes.into()];
        let quorum = Quorum::new(&votes, self.witnesses, modules, false).expect("a safe chain");
        let nodes: Vec<NodeId> = quorum.nodes().iter().collect();
        let group = |number: u8| {
            let mut order = nodes.clone();
            order.rotate_left(usize::from(number) % nodes.len());
            GroupConfig {
                guard: self.guard,
                promise: Duration::from_millis(self.promise_ms),
                authority: self.authority(),
                order: order.into_iter().collect(),
                failback: self.failback,
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
        let links = (0..self.links).map(|_| LinkClass::Udp).collect();
        let groups = (0..self.groups).map(group).collect();
        let parts = Config { cluster: ClusterId(7), me, quorum, links, timing, groups, digest: 1 };
        Config::new(parts).expect("a consistent configuration")
    }
}

/// A clock that runs at its own rate from its own start.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: u64,
    /// Its rate error, in millionths.
    error: i64,
}

impl Clock {
    fn read(self, at: Micros) -> Instant {
        let scaled = i128::from(at) * (1_000_000 + i128::from(self.error)) / 1_000_000;
        Instant::from_micros(self.start + u64::try_from(scaled).unwrap_or(0))
    }

    /// Returns the first true moment at which this clock shows `local` or more.
    fn when(self, local: Instant) -> Micros {
        let shown = i128::from(local.as_micros().saturating_sub(self.start));
        let rate = 1_000_000 + i128::from(self.error);
        u64::try_from((shown * 1_000_000 + rate - 1) / rate).unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
enum Brain {
    Server(Box<Engine>),
    Witness(Box<Witness>),
}

/// What one group has up on one server: addresses for which its kernel answers, or services that
/// have to be stopped.
#[derive(Clone, Copy, Debug, Default)]
struct Answering {
    /// Until when by the server's clock.
    until: Option<Instant>,
    /// The first true moment that is no longer within it, so that looking needs no arithmetic.
    ends: Micros,
}

#[derive(Clone, Debug)]
struct Host {
    clock: Clock,
    brain: Option<Brain>,
    paused_until: Micros,
    inbox: Vec<(LinkId, Vec<u8>)>,
    leases: Vec<Answering>,
    reserved: Token,
    /// When the process next wants to run, in true time.
    wake: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Frame { to: u8, link: u8, bytes: Vec<u8> },
    Done { node: u8, boot: u64, group: u8, started: bool },
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
    /// Every frame that was ever sent, for an attacker to replay.
    pub recorded: Vec<(u8, u8, u8, Vec<u8>)>,
    /// Whether frames are recorded.
    pub recording: bool,
    /// What was seen.
    pub trace: Vec<Line>,
    overlap: Option<String>,
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
        let hosts = numbers.map(|number| (number, Host::new(&setup, &mut random))).collect();
        Self {
            hosts,
            queue: BTreeMap::new(),
            serial: 0,
            now: 1_000_000,
            network: Network { delay: 50, jitter: 100, ..Network::default() },
            recorded: Vec::new(),
            recording: false,
            trace: Vec::new(),
            overlap: None,
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
        let boot = BootId::new(self.random.bits());
        let (now, setup) = (self.now, self.setup.clone());
        let Some(host) = self.hosts.get_mut(&number) else { return };
        let id = NodeId::new(number).expect("a configured number");
        let local = host.clock.read(now);
        host.leases.fill(Answering::default());
        host.inbox.clear();
        host.paused_until = 0;
        host.wake = now;
        host.brain = Some(if id.is_witness() {
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
            Brain::Server(Box::new(Engine::new(
                Config::new(config).expect("a consistent configuration"),
                keyring(),
                boot,
                host.reserved,
                local,
            )))
        });
        self.note(format!("{number} starts"));
    }

    /// Kills the process on `number`. Its kernel answers on until the lease ends.
    pub fn kill(&mut self, number: u8) {
        self.note(format!("{number} is killed"));
        if let Some(host) = self.hosts.get_mut(&number) {
            host.brain = None;
        }
    }

    /// Kills the whole machine: nothing answers any more.
    pub fn crash(&mut self, number: u8) {
        self.kill(number);
        if let Some(host) = self.hosts.get_mut(&number) {
            host.leases.fill(Answering::default());
        }
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
        self.note("the network is healed".into());
    }

    /// Returns the server's engine, if it runs.
    #[must_use]
    pub fn engine(&self, number: u8) -> Option<&Engine> {
        match self.hosts.get(&number)?.brain.as_ref()? {
            Brain::Server(engine) => Some(engine),
            Brain::Witness(_) => None,
        }
    }

    /// Returns the witness, if it runs.
    #[must_use]
    pub fn witness(&self, number: u8) -> Option<&Witness> {
        match self.hosts.get(&number)?.brain.as_ref()? {
            Brain::Witness(witness) => Some(witness),
            Brain::Server(_) => None,
        }
    }

    /// Gives the engine on `number` an order, at its own present moment.
    pub fn order(&mut self, number: u8, order: impl FnOnce(&mut Engine, Instant)) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&number) {
            let local = host.clock.read(now);
            if let Some(Brain::Server(engine)) = &mut host.brain {
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

    /// Returns what was wrong, if ever two servers answered for one group.
    #[must_use]
    pub fn overlap(&self) -> Option<&str> {
        self.overlap.as_deref()
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
        if let Some(Brain::Server(engine)) = &mut host.brain
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
        let local = host.clock.read(now);
        let inbox = std::mem::take(&mut host.inbox);
        let mut frames = Vec::new();
        let mut events = Vec::new();
        let mut buffer = [0; MAX_FRAME_LEN];
        match host.brain.as_mut() {
            Some(Brain::Server(engine)) => {
                engine.check_authority(local);
                for (link, bytes) in inbox {
                    let _rejected = engine.handle_frame(link, &bytes, local);
                }
                engine.handle_timeout(local);
                events.extend(std::iter::from_fn(|| engine.poll_event()));
                while let Some(transmit) = engine.poll_transmit(local, &mut buffer) {
                    frames.push((None, transmit.link.number(), buffer[..transmit.len].to_vec()));
                }
                host.wake = host.clock.when(engine.poll_timeout());
            }
            Some(Brain::Witness(witness)) => {
                for (link, bytes) in inbox {
                    let _rejected = witness.handle_frame(link, &bytes, local);
                }
                witness.handle_timeout(local);
                while let Some(answer) = witness.poll_transmit(local, &mut buffer) {
                    frames.push((Some(answer.to.number()), 0, buffer[..answer.len].to_vec()));
                }
                if let Some(token) = witness.poll_reserve() {
                    host.reserved = token;
                    witness.handle_reserved(token, local);
                }
                host.wake = host.clock.when(witness.poll_timeout());
            }
            None => {}
        }
        host.wake = host.wake.max(now + 1);
        for event in events {
            self.carry_out(number, event);
        }
        self.move_leases(number);
        for (to, link, bytes) in frames {
            self.send(number, to, link, &bytes);
        }
    }

    fn carry_out(&mut self, number: u8, event: Event) {
        let span = self.setup.start_us;
        match event {
            Event::Group { group, role, reason } => {
                self.note(format!("{number} {group:?} {role:?} because {reason:?}"));
                let boot =
                    self.engine(number).map_or(0, |engine| engine.member().sequence.boot().bits());
                match role {
                    Role::Starting(token) => {
                        if let Some(last) = self.tokens.get_mut(group.index()) {
                            if token <= *last {
                                self.overlap =
                                    Some(format!("token {token:?} after {last:?} for {group:?}"));
                            }
                            *last = token;
                        }
                        let done = Happening::Done {
                            node: number,
                            boot,
                            group: group.number(),
                            started: true,
                        };
                        self.schedule(span, done);
                    }
                    Role::Stopping(_) => {
                        let done = Happening::Done {
                            node: number,
                            boot,
                            group: group.number(),
                            started: false,
                        };
                        self.schedule(span, done);
                    }
                    _ => {}
                }
            }
            Event::Reserve(token) => {
                let now = self.now;
                if let Some(host) = self.hosts.get_mut(&number) {
                    host.reserved = token;
                    host.wake = now + 1;
                    let local = host.clock.read(now);
                    if let Some(Brain::Server(engine)) = &mut host.brain {
                        engine.handle_reserved(token, local);
                    }
                }
            }
            Event::Peer { node, condition } => {
                self.note(format!("{number} sees {node:?} {condition:?}"));
            }
            _ => {}
        }
    }

    /// Moves what a server has up to what its engine says now. A group is answered for while it is
    /// started; what has to be stopped is up until it has been, or until the watchdog ends the
    /// machine.
    fn move_leases(&mut self, number: u8) {
        let Some(host) = self.hosts.get_mut(&number) else { return };
        if let Some(Brain::Server(engine)) = &host.brain {
            for (group, lease) in GroupId::all().zip(&mut host.leases) {
                let role = engine.group(group).map_or(Role::Idle, |group| group.role());
                let until = if role.needs_authority() {
                    engine.authority_end(group).map(|end| end + self.setup.stop())
                } else if role.is_up() && self.setup.guard == Guard::Stop {
                    lease.until
                } else {
                    None
                };
                if lease.until != until {
                    *lease = Answering::new(until, host.clock);
                }
            }
        }
    }

    fn send(&mut self, from: u8, to: Option<u8>, link: u8, bytes: &[u8]) {
        for other in self.numbers() {
            if other == from || to.is_some_and(|to| to != other) {
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
            if answering.len() > 1 && self.overlap.is_none() {
                self.note(format!("{answering:?} all answer for group {group}"));
                self.overlap = Some(format!("{answering:?} all answer for group {group}"));
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

impl Answering {
    fn new(until: Option<Instant>, clock: Clock) -> Self {
        Self { until, ends: until.map_or(0, |until| clock.when(until)) }
    }
}

impl Host {
    fn new(setup: &Setup, random: &mut Random) -> Self {
        let error = i64::from(setup.clock_error);
        let errors = [-error, 0, error];
        let pick = usize::try_from(random.below(3)).unwrap_or(0);
        Self {
            clock: Clock { start: 1_000_000_000 + random.below(1 << 40), error: errors[pick] },
            brain: None,
            paused_until: 0,
            inbox: Vec::new(),
            leases: vec![Answering::default(); setup.groups.into()],
            reserved: Token(0),
            wake: 0,
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
