//! A state of the whole cluster, and everything that can happen next.

use lifesign_core::group::Token;

use super::setup::{ANY, HOSTS, LAST_KEYS, Limits, Order, Ways};
use super::stage::{ActorId, Cue, MessageId, Stage};

/// Marks a message that has come before.
const COPY: MessageId = 1 << 31;
/// Marks a message that was sent at an earlier moment.
const LATE: MessageId = 1 << 30;
/// The number of a message without the marks.
pub const MESSAGE: MessageId = LATE - 1;
/// How many messages wait at most for a process that does not run.
const INBOX: usize = 2;

/// A state of the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The true time.
    pub at: u16,
    /// Each host's state.
    pub actors: [ActorId; HOSTS],
    /// Whose processes do not run, one bit each.
    pub paused: u8,
    /// Between whom nothing passes.
    pub cut: Cut,
    /// What may still go wrong.
    pub left: Limits,
    /// The largest token under which the group was ever begun to be held.
    pub token: Token,
    /// Messages of this moment whose fate is open, the next first.
    pub open: Vec<MessageId>,
    /// Messages that come at a later moment.
    pub later: Vec<MessageId>,
}

/// One step of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next message comes.
    Deliver,
    /// The next message is lost.
    Lose,
    /// The next message comes later.
    Delay,
    /// The next message comes now and a copy of it later.
    Copy,
    /// Time goes on by one unit, and whoever has something to do does it.
    Tick,
    /// Nothing passes any more over these ways, and everything over all others.
    Cut(Cut),
    /// A process stops to run.
    Pause(u8),
    /// It runs on.
    Resume(u8),
    /// A process is killed and starts anew.
    Restart(u8),
    /// The operator wants something of a server.
    Order(u8, Order),
}

/// What a step has led to.
#[derive(Debug)]
pub struct Next {
    /// The state.
    pub state: State,
    /// Who has begun to hold the group, under which token.
    pub begun: Vec<(usize, Token)>,
}

/// Ways over which nothing passes: one bit for each of two different hosts, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cut(u16);

impl Cut {
    /// Returns whether messages pass from one host to another.
    #[must_use]
    pub const fn passes(self, from: usize, to: usize) -> bool {
        self.0 >> (from * HOSTS + to) & 1 == 0
    }

    /// Returns the network whole, each way cut, each pair cut both ways, and each host cut off: not
    /// heard, not hearing, or neither.
    pub fn all(which: Ways) -> impl Iterator<Item = Self> {
        let ways = |cut: fn(usize, usize, usize, usize) -> bool| {
            (0..HOSTS * HOSTS).map(move |which| Self::of(which / HOSTS, which % HOSTS, cut))
        };
        let one_way = ways(|from, to, one, other| (from, to) == (one, other));
        let pairs = ways(|from, to, one, other| {
            one < other && ((from, to) == (one, other) || (to, from) == (one, other))
        });
        let hosts = ways(|from, to, one, manner| match manner {
            0 => from == one,
            1 => to == one,
            _ => from == one || to == one,
        });
        let cuts = one_way.chain(pairs).chain(hosts).filter(|cut| cut.0 != 0);
        let both = move |cut: &Self| which == Ways::Each || cut.is_symmetric();
        std::iter::once(Self::default()).chain(cuts.filter(both))
    }

    fn is_symmetric(self) -> bool {
        let ways = (0..HOSTS * HOSTS).map(|way| (way / HOSTS, way % HOSTS));
        ways.into_iter().all(|(from, to)| self.passes(from, to) == self.passes(to, from))
    }

    fn of(one: usize, other: usize, cut: fn(usize, usize, usize, usize) -> bool) -> Self {
        let ways = (0..HOSTS * HOSTS).map(|way| (way, way / HOSTS, way % HOSTS));
        let bits = ways.filter(|(_, from, to)| from != to && cut(*from, *to, one, other));
        Self(bits.fold(0, |bits, (way, ..)| bits | 1 << way))
    }
}

impl State {
    /// Returns everything that can happen next. There is none at the horizon.
    #[must_use]
    pub fn actions(&self, stage: &Stage, horizon: u16) -> Vec<Action> {
        if let Some(message) = self.open.first() {
            return self.fates(stage, *message);
        }
        if self.at >= horizon {
            return Vec::new();
        }
        let mut actions = vec![Action::Tick];
        if self.left.cuts > 0 {
            actions
                .extend(Cut::all(stage.setup.ways).filter(|cut| *cut != self.cut).map(Action::Cut));
        }
        for host in 0..HOSTS {
            self.disturbances(stage, host, &mut actions);
        }
        actions
    }

    /// What can become of the next message.
    fn fates(&self, stage: &Stage, message: MessageId) -> Vec<Action> {
        let to = stage.message(message & MESSAGE).to;
        let has_room = self.later.len() < self.left.flight.into();
        if self.paused >> to & 1 == 1 {
            let waits = |other: &&MessageId| stage.message(**other & MESSAGE).to == to;
            let fits = self.later.iter().filter(waits).count() < INBOX;
            return if fits { vec![Action::Delay] } else { vec![Action::Lose] };
        }
        let mut actions = vec![Action::Deliver];
        if self.left.losses > 0 {
            actions.push(Action::Lose);
        }
        if has_room && (message & LATE != 0 || self.left.delays > 0) {
            actions.push(Action::Delay);
        }
        if has_room && self.left.copies > 0 {
            actions.push(Action::Copy);
        }
        actions
    }

    fn disturbances(&self, stage: &Stage, host: usize, actions: &mut Vec<Action>) {
        let setup = &stage.setup;
        let number = u8::try_from(host).unwrap_or(u8::MAX);
        if !stage.is_running(self.actors[host]) {
            let lines = self.actors.iter().filter_map(|actor| stage.summary(*actor).line);
            if !lines.into_iter().any(|target| setup.host(target) == host) {
                actions.push(Action::Restart(number));
            }
            return;
        }
        if self.paused >> host & 1 == 1 {
            return actions.push(Action::Resume(number));
        }
        let is_shaky = setup.shaky >> host & 1 == 1;
        if is_shaky && self.left.pauses > 0 {
            actions.push(Action::Pause(number));
        }
        if is_shaky && self.left.restarts > 0 {
            actions.push(Action::Restart(number));
        }
        for order in setup.orders.iter().filter(|_| self.left.orders > 0) {
            let is_due = match order {
                Order::Rekey => self.may_rekey(stage, host),
                Order::Standby | Order::Takeover | Order::Leave => number < setup.servers,
            };
            if is_due {
                actions.push(Action::Order(number, *order));
            }
        }
    }

    /// A step of a key rotation waits until everybody has made the one before, or has none left.
    fn may_rekey(&self, stage: &Stage, host: usize) -> bool {
        let keys = |host: usize| stage.summary(self.actors[host]).keys;
        let slowest = (0..HOSTS).map(keys).min().unwrap_or(0);
        keys(host) < LAST_KEYS && keys(host) == slowest
    }

    /// Takes one of the steps that can be taken.
    #[must_use]
    pub fn step(&self, stage: &mut Stage, action: Action) -> Next {
        let mut next = Next { state: self.clone(), begun: Vec::new() };
        match action {
            Action::Deliver => {
                let message = next.state.open.remove(0);
                next.deliver(stage, message);
            }
            Action::Lose => {
                let message = next.state.open.remove(0);
                let to = stage.message(message & MESSAGE).to;
                if self.paused >> to & 1 == 0 {
                    spend(&mut next.state.left.losses);
                }
            }
            Action::Delay => {
                let message = next.state.open.remove(0);
                let to = stage.message(message & MESSAGE).to;
                if message & LATE == 0 && self.paused >> to & 1 == 0 {
                    spend(&mut next.state.left.delays);
                }
                next.state.later.push(message | LATE);
            }
            Action::Copy => {
                let message = next.state.open.remove(0);
                spend(&mut next.state.left.copies);
                next.state.later.push(message | COPY | LATE);
                next.deliver(stage, message);
            }
            Action::Tick => next.tick(stage),
            Action::Cut(cut) => {
                spend(&mut next.state.left.cuts);
                next.state.cut = cut;
            }
            Action::Pause(host) => {
                spend(&mut next.state.left.pauses);
                next.state.paused |= 1 << host;
            }
            Action::Resume(host) => next.resume(stage, host.into()),
            Action::Restart(host) => {
                if stage.is_running(self.actors[usize::from(host)]) {
                    spend(&mut next.state.left.restarts);
                }
                next.turn(stage, host.into(), Cue::Restart);
            }
            Action::Order(host, order) => {
                spend(&mut next.state.left.orders);
                next.turn(stage, host.into(), Cue::Order(order));
            }
        }
        next
    }

    /// Returns which servers answer for the group.
    pub fn answering<'s>(&'s self, stage: &'s Stage) -> impl Iterator<Item = usize> + 's {
        (0..HOSTS).filter(move |host| {
            let answering = stage.summary(self.actors[*host]).answering;
            answering.is_some_and(|at| stage.setup.local(*host, self.at) < at.until)
        })
    }
}

impl Next {
    fn deliver(&mut self, stage: &mut Stage, message: MessageId) {
        let to = stage.message(message & MESSAGE).to;
        self.turn(stage, to.into(), Cue::Hear(message & MESSAGE));
    }

    /// Lets time go on. Everybody looks at the clock before anything of the new moment comes.
    fn tick(&mut self, stage: &mut Stage) {
        self.state.at += 1;
        self.state.open = std::mem::take(&mut self.state.later);
        for host in 0..HOSTS {
            let is_paused = self.state.paused >> host & 1 == 1;
            let wake = stage.summary(self.state.actors[host]).wake;
            let now = stage.setup.local(host, self.state.at);
            if !is_paused && wake.is_some_and(|wake| now.has_reached(wake)) {
                self.turn(stage, host, Cue::Wake);
            }
        }
    }

    /// Lets a process run on: it looks at the clock, then at what has come meanwhile.
    fn resume(&mut self, stage: &mut Stage, host: usize) {
        self.state.paused &= !(1 << host);
        self.turn(stage, host, Cue::Wake);
        let later = std::mem::take(&mut self.state.later);
        let is_to = |message: &MessageId| usize::from(stage.message(message & MESSAGE).to) == host;
        let (waiting, rest): (Vec<_>, Vec<_>) = later.into_iter().partition(is_to);
        self.state.open.extend(waiting);
        self.state.later = rest;
    }

    fn turn(&mut self, stage: &mut Stage, host: usize, cue: Cue) {
        let turn = stage.turn(self.state.actors[host], cue, self.state.at);
        self.state.actors[host] = turn.actor;
        let cut = self.state.cut;
        let passing = turn.sent.iter().filter(|(to, _)| cut.passes(host, (*to).into()));
        self.state.open.extend(passing.map(|(_, message)| *message));
        if let Some(token) = turn.begun {
            self.begun.push((host, token));
        }
        self.follow_reset_line(stage);
    }

    /// Ends the process whose reset line has become active.
    fn follow_reset_line(&mut self, stage: &mut Stage) {
        let witness = usize::from(stage.setup.servers);
        let Some(summary) = self.state.actors.get(witness).map(|id| stage.summary(*id)) else {
            return;
        };
        let target = summary.line.map(|target| stage.setup.host(target));
        let is_loose = stage.setup.flaw == Some(super::setup::Flaw::LooseResetLine);
        if let Some(target) = target.filter(|_| !is_loose)
            && stage.is_running(self.state.actors[target])
        {
            self.turn(stage, target, Cue::Reset);
            self.state.paused &= !(1 << target);
        }
    }
}

fn spend(left: &mut u8) {
    if *left != ANY {
        *left = left.saturating_sub(1);
    }
}
