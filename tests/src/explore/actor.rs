//! One host as the exploration sees it: the real engine or witness, and what its kernel has up.

use lifesign_core::engine::{Engine, Event};
use lifesign_core::group::{GroupId, Role, Token};
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::promise::Promise;
use lifesign_core::reset::{self, Arm, Asker, RequestId, Resetter, Step};
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::Witness;

use super::setup::{Flaw, HOSTS, LAST_KEYS, Order, PROMISE, Setup, boot, keyring};

/// A server of the clusters explored: three members, one group, one link.
pub type Server = Engine<HOSTS, 2, 1, 1>;
/// A witness of the clusters explored.
pub type Arbiter = Witness<HOSTS, 2, 1, 1>;

/// The only group.
pub const GROUP: GroupId = match GroupId::new(0) {
    Some(group) => group,
    None => panic!("there is a first group"),
};
const LINK: LinkId = match LinkId::new(0) {
    Some(link) => link,
    None => panic!("there is a first link"),
};
const FRAME_LEN: usize = 256;
/// The end of what no kernel ends.
const NEVER: Instant = Instant::from_micros(1 << 50);
/// How long a reset line is active, and the least time between two pulses.
const PULSE: Duration = Duration::from_micros(5000);

/// What runs on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Brain {
    /// A server's process.
    Server(Box<Server>),
    /// A witness's.
    Witness(Box<Arbiter>),
    /// Nothing: its reset line has been active.
    Nothing,
}

/// Something on its way from one host to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who sent it.
    pub from: u8,
    /// To whom.
    pub to: u8,
    /// What it says.
    pub parcel: Parcel,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Parcel {
    /// A frame, as it is on the wire.
    Frame(Vec<u8>),
    /// A step towards a reset.
    Step(Step),
    /// What the dongle says to it.
    Answer(reset::Answer),
}

/// What happens to a host.
#[derive(Clone, Copy, Debug)]
pub enum Input<'m> {
    /// It is time.
    Wake,
    /// A message comes.
    Hear(&'m Message),
    /// The operator wants something.
    Order(Order),
    /// Its process is killed and starts anew.
    Restart,
    /// Its reset line becomes active.
    Reset,
}

/// What a host has up: its kernel answers for the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answering {
    /// Under which token.
    pub token: Token,
    /// Until when by its own clock, if nothing moves the end.
    pub until: Instant,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Which.
    pub host: usize,
    /// Its process.
    pub brain: Brain,
    /// How often its process was started.
    pub starts: u8,
    /// What answers.
    pub answering: Option<Answering>,
    /// Tokens up to this one are saved as used.
    saved: Token,
    /// What earlier starts have promised and this one does not remember.
    pub forgotten: Vec<(NodeId, Token, Instant)>,
    /// How many steps of a key rotation it has made.
    pub keys: u8,
    asker: Option<Asker>,
    resetter: Option<Resetter>,
    /// How many numbers the dongle has drawn.
    draws: u64,
}

/// What a host did with an input, besides changing.
#[derive(Debug, Default)]
pub struct Deeds {
    /// What it sends.
    pub sent: Vec<Message>,
    /// The token under which it began to hold the group.
    pub begun: Option<Token>,
}

impl Actor {
    /// Makes the host; no process runs there yet.
    #[must_use]
    pub const fn new(host: usize) -> Self {
        Self {
            host,
            brain: Brain::Nothing,
            starts: 0,
            answering: None,
            saved: Token(0),
            forgotten: Vec::new(),
            keys: 0,
            asker: None,
            resetter: None,
            draws: 0,
        }
    }

    fn start(&mut self, setup: &Setup, now: Instant) {
        let boot = boot(self.host, self.starts);
        let keys = keyring(self.keys);
        let is_hasty = setup.flaw == Some(Flaw::NoBootWait) && self.starts > 1;
        let begun = if is_hasty { now - PROMISE } else { now };
        self.asker = None;
        self.brain = if self.host < usize::from(setup.servers) {
            let config = setup.config(self.host);
            Brain::Server(Box::new(Server::new(config, keys, boot, self.saved, begun)))
        } else {
            let witness = Arbiter::new(&setup.witness(), keys, boot, self.saved, begun);
            let lines = setup.has_reset_lines;
            self.resetter = lines.then(|| Resetter::new(PULSE, PULSE, now));
            Brain::Witness(Box::new(witness))
        };
    }

    /// Lets the host take in `input` at the true time `at`.
    pub fn take(&mut self, setup: &Setup, input: &Input<'_>, at: u16) -> Deeds {
        let now = setup.local(self.host, at);
        match input {
            Input::Restart => {
                self.end(now);
                self.starts += 1;
                self.start(setup, now);
            }
            Input::Reset => {
                self.end(now);
                self.brain = Brain::Nothing;
            }
            Input::Order(Order::Rekey) => {
                let skips = setup.flaw == Some(Flaw::KeysAtOnce);
                self.keys = if skips { LAST_KEYS } else { self.keys + 1 };
            }
            Input::Wake | Input::Hear(_) | Input::Order(_) => {}
        }
        self.forgotten.retain(|(_, _, until)| !now.has_reached(*until));
        let mut deeds = Deeds::default();
        match std::mem::replace(&mut self.brain, Brain::Nothing) {
            Brain::Server(mut engine) => {
                self.run_server(&mut engine, setup, input, now, &mut deeds);
                self.brain = Brain::Server(engine);
            }
            Brain::Witness(mut witness) => {
                self.run_witness(&mut witness, setup, input, now, &mut deeds);
                self.brain = Brain::Witness(witness);
            }
            Brain::Nothing => {}
        }
        deeds
    }

    /// Ends its process. What it has promised holds on, and nobody there knows of it.
    fn end(&mut self, now: Instant) {
        if let Some(Promise { to, until, .. }) = self.promise(now) {
            self.forgotten.push((to.node, to.token, until));
        }
        self.answering = None;
    }

    fn run_server(
        &mut self,
        engine: &mut Server,
        setup: &Setup,
        input: &Input<'_>,
        now: Instant,
        deeds: &mut Deeds,
    ) {
        engine.check_authority(now);
        match input {
            Input::Hear(Message { parcel: Parcel::Frame(bytes), .. }) => {
                let _rejected = engine.handle_frame(LINK, bytes, now);
            }
            Input::Hear(Message { parcel: Parcel::Answer(answer), .. }) => {
                if let Some(asker) = &mut self.asker
                    && asker.handle_answer(answer, now)
                    && asker.is_done()
                {
                    engine.handle_fenced(asker.arm().target, asker.arm().target_boot, now);
                }
            }
            Input::Order(Order::Standby) => engine.handle_standby(None, now),
            Input::Order(Order::Takeover) => engine.handle_takeover(None, now),
            Input::Order(Order::Leave) => engine.handle_leave(now),
            Input::Order(Order::Rekey) => engine.set_keyring(keyring(self.keys)),
            Input::Hear(_) | Input::Wake | Input::Restart | Input::Reset => {}
        }
        engine.handle_timeout(now);
        while let Some(event) = engine.poll_event() {
            self.carry_out(event, engine, setup, now, deeds);
        }
        let holds = engine.group(GROUP).is_some_and(|state| state.role().needs_authority());
        let end = engine.authority_end(GROUP).filter(|_| holds);
        if let (Some(answering), Some(end)) = (&mut self.answering, end) {
            answering.until = if setup.has_kernel_lease { end } else { NEVER };
        }
        let mut buffer = [0; FRAME_LEN];
        while let Some(transmit) = engine.poll_transmit(now, &mut buffer) {
            for to in (0..HOSTS).filter(|to| *to != self.host) {
                deeds.send(self.host, to, Parcel::Frame(buffer[..transmit.len].to_vec()));
            }
        }
        self.press(engine, setup, now, deeds);
    }

    /// Carries out what the engine decides, in no time.
    fn carry_out(
        &mut self,
        event: Event,
        engine: &mut Server,
        setup: &Setup,
        now: Instant,
        deeds: &mut Deeds,
    ) {
        match event {
            Event::Group { role: Role::Starting(token), group, .. } => {
                self.answering = Some(Answering { token, until: now });
                deeds.begun = Some(token);
                engine.handle_started(group, true, now);
            }
            Event::Group { role: Role::Stopping(_), group, .. } => {
                if setup.flaw == Some(Flaw::StopsLate) {
                    let late = now + Duration::from_micros(setup.rates[self.host]);
                    self.answering = self.answering.map(|at| Answering { until: late, ..at });
                } else {
                    self.answering = None;
                }
                engine.handle_stopped(group, true, now);
            }
            Event::Reserve(token) => {
                self.saved = token;
                engine.handle_reserved(token, now);
            }
            Event::FenceNeeded { group, node, boot } => {
                let token = engine.group(group).and_then(|state| state.role().token());
                let id = RequestId {
                    asker: engine.config().me,
                    boot: engine.member().sequence.boot(),
                    number: self.asker.as_ref().map_or(1, |before| before.arm().id.number + 100),
                };
                self.asker = token.map(|token| {
                    let arm = Arm { id, group, token, target: node, target_boot: boot };
                    Asker::new(arm, PULSE, now)
                });
            }
            _ => {}
        }
    }

    /// Asks for a reset, as long as the claim that needs it lasts.
    fn press(&mut self, engine: &Server, setup: &Setup, now: Instant, deeds: &mut Deeds) {
        let role = engine.group(GROUP).map(|state| state.role());
        let claimed = if let Some(Role::Claiming(claim)) = role { Some(claim.token) } else { None };
        self.asker = self.asker.take().filter(|asker| claimed == Some(asker.arm().token));
        let asking = self.asker.as_mut();
        let asking =
            asking.filter(|it| engine.waits_for_fence(GROUP, it.arm().token, it.arm().target));
        if let Some(step) = asking.and_then(|asker| asker.poll_transmit(now)) {
            deeds.send(self.host, setup.servers.into(), Parcel::Step(step));
        }
    }

    fn run_witness(
        &mut self,
        witness: &mut Arbiter,
        setup: &Setup,
        input: &Input<'_>,
        now: Instant,
        deeds: &mut Deeds,
    ) {
        match input {
            Input::Hear(Message { parcel: Parcel::Frame(bytes), .. }) => {
                let _rejected = witness.handle_frame(LINK, bytes, now);
            }
            Input::Hear(Message { parcel: Parcel::Step(step), from, .. }) => {
                witness.handle_timeout(now);
                if let Some(answer) = self.judge(witness, step, now) {
                    deeds.send(self.host, (*from).into(), Parcel::Answer(answer));
                }
            }
            Input::Order(Order::Rekey) => witness.set_keyring(keyring(self.keys)),
            Input::Hear(_) | Input::Order(_) | Input::Wake | Input::Restart | Input::Reset => {}
        }
        witness.handle_timeout(now);
        let ended = self.resetter.as_mut().and_then(|resetter| resetter.handle_timeout(true, now));
        if let Some(answer) = ended {
            let to = setup.host(answer.id.asker);
            deeds.send(self.host, to, Parcel::Answer(answer));
        }
        if let Some(token) = witness.poll_reserve() {
            self.saved = token;
            witness.handle_reserved(token, now);
        }
        let mut buffer = [0; FRAME_LEN];
        while let Some(answer) = witness.poll_transmit(now, &mut buffer) {
            let frame = Parcel::Frame(buffer[..answer.len].to_vec());
            deeds.send(self.host, setup.host(answer.to), frame);
        }
    }

    fn judge(&mut self, witness: &Arbiter, step: &Step, now: Instant) -> Option<reset::Answer> {
        let resetter = self.resetter.as_mut()?;
        let allows = |arm: &Arm| witness.allows(arm);
        Some(match step {
            Step::Arm(arm) => {
                self.draws += 1;
                resetter.handle_arm(arm, allows, self.draws, now)
            }
            Step::Fire(fire) => resetter.handle_fire(fire, allows, now),
        })
    }

    /// Returns when it next has something to do by itself.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let (brain, asker) = match &self.brain {
            Brain::Server(engine) => {
                let asks =
                    |it: &&Asker| engine.waits_for_fence(GROUP, it.arm().token, it.arm().target);
                (engine.poll_timeout(), self.asker.as_ref().filter(asks))
            }
            Brain::Witness(witness) => (witness.poll_timeout(), None),
            Brain::Nothing => return None,
        };
        let step = asker.and_then(Asker::poll_timeout);
        let pulse = self.resetter.as_ref().and_then(Resetter::poll_timeout);
        Some([step, pulse].into_iter().flatten().fold(brain, Instant::min))
    }

    /// Returns what it has promised, as a voter, and remembers.
    #[must_use]
    pub fn promise(&self, now: Instant) -> Option<Promise> {
        match &self.brain {
            Brain::Server(engine) => engine.member().voter.promise(GROUP, now),
            Brain::Witness(witness) => witness.member().voter.promise(GROUP, now),
            Brain::Nothing => None,
        }
    }

    /// Returns whose reset line it holds active.
    #[must_use]
    pub fn line(&self) -> Option<NodeId> {
        self.resetter.as_ref().and_then(Resetter::line)
    }

    /// Returns the part it plays for the group.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match &self.brain {
            Brain::Server(engine) => engine.group(GROUP).map(|state| state.role()),
            Brain::Witness(_) | Brain::Nothing => None,
        }
    }
}

impl Deeds {
    fn send(&mut self, from: usize, to: usize, parcel: Parcel) {
        let number = |host: usize| u8::try_from(host).unwrap_or(u8::MAX);
        self.sent.push(Message { from: number(from), to: number(to), parcel });
    }
}
