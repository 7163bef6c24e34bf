//! Who plays which part now, as an observer knows it.
//!
//! | mark | a server of which this is the mark for a group |
//! |---|---|
//! | `.` | does not run |
//! | `x` | does not run, and its kernel still answers |
//! | `-` | has nothing to do with it |
//! | `c` | claims it |
//! | `s` `S` | starts it; large letters: and its kernel answers |
//! | `h` `H` | holds it |
//! | `o` `O` | holds it and offers it to others |
//! | `e` `E` | stops it |
//! | `!` | could not stop it |
//! | `z` `Z` | its process does not run for a while |
//!
//! A witness has the number of the server that it promises the group to, `-` if there is none, and
//! `.` if it does not run.

use lifesign_core::group::Role;

use crate::fault::Fault;
use crate::seen::{Promise, Seen};
use crate::world::{Micros, Setup};

/// What a server does with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Idle,
    Claiming,
    Starting,
    Holding,
    Offering,
    Stopping,
    Stuck,
}

impl Part {
    const fn of(role: &Role) -> Self {
        match role {
            Role::Idle => Self::Idle,
            Role::Claiming(_) => Self::Claiming,
            Role::Starting(_) => Self::Starting,
            Role::Holding { offered_until: None, .. } => Self::Holding,
            Role::Holding { offered_until: Some(_), .. } => Self::Offering,
            Role::Stopping(_) => Self::Stopping,
            Role::Stuck(_) => Self::Stuck,
        }
    }

    const fn mark(self) -> char {
        match self {
            Self::Idle => '-',
            Self::Claiming => 'c',
            Self::Starting => 's',
            Self::Holding => 'h',
            Self::Offering => 'o',
            Self::Stopping => 'e',
            Self::Stuck => '!',
        }
    }
}

/// What the server that has a group does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// No server has it.
    Nobody,
    /// It starts it.
    Starting,
    /// It holds it.
    Holding,
    /// It offers it to others.
    Offering,
    /// It stops it, or could not.
    Stopping,
    /// Its process is dead and its kernel answers.
    Gone,
    /// Its process does not run for a while.
    Paused,
}

impl Holder {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Nobody,
        Self::Starting,
        Self::Holding,
        Self::Offering,
        Self::Stopping,
        Self::Gone,
        Self::Paused,
    ];
}

/// What the server does that is nearest to taking the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taker {
    /// No other server runs.
    Off,
    /// No other server's process runs now.
    Paused,
    /// Nobody else asks for it.
    Idle,
    /// It claims it.
    Claiming,
}

impl Taker {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Off, Self::Paused, Self::Idle, Self::Claiming];
}

#[derive(Clone, Debug)]
struct Actor {
    host: u8,
    runs: bool,
    paused_until: Micros,
    parts: Vec<Part>,
    /// Until when its kernel answers for each group.
    answers: Vec<Micros>,
    promises: Vec<Option<Promise>>,
}

/// Who plays which part now.
#[derive(Clone, Debug)]
pub struct Scene {
    now: Micros,
    actors: Vec<Actor>,
}

impl Scene {
    /// Returns the scene before anybody has started.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let groups = usize::from(setup.groups);
        let hosts = (0..setup.nodes).chain((0..setup.witnesses).map(|number| 16 + number));
        let actor = |host| Actor {
            host,
            runs: false,
            paused_until: 0,
            parts: vec![Part::Idle; groups],
            answers: vec![0; groups],
            promises: vec![None; groups],
        };
        Self { now: 0, actors: hosts.map(actor).collect() }
    }

    fn actor(&mut self, host: u8) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.host == host)
    }

    /// Lets the scene be at this moment.
    pub const fn at(&mut self, now: Micros) {
        self.now = now;
    }

    /// Takes in what was seen.
    pub fn see(&mut self, at: Micros, seen: &Seen) {
        self.now = at;
        match *seen {
            Seen::Started { host, .. } => {
                if let Some(actor) = self.actor(host) {
                    actor.runs = true;
                    actor.paused_until = 0;
                    actor.parts.fill(Part::Idle);
                    actor.promises.fill(None);
                }
            }
            Seen::Ended { host, .. } => {
                if let Some(actor) = self.actor(host) {
                    actor.runs = false;
                    actor.parts.fill(Part::Idle);
                    actor.promises.fill(None);
                }
            }
            Seen::Role { host, group, ref role, .. } => {
                let slot = self.actor(host).and_then(|it| it.parts.get_mut(usize::from(group)));
                slot.into_iter().for_each(|part| *part = Part::of(role));
            }
            Seen::Answers { host, group, until, .. } => self.answer(host, group, until),
            Seen::Silent { host, group } => self.answer(host, group, 0),
            Seen::Promised { voter, group, promise } => {
                let slot = self.actor(voter).and_then(|it| it.promises.get_mut(usize::from(group)));
                slot.into_iter().for_each(|slot| *slot = promise);
            }
            Seen::Fault(fault) => self.stand_still(at, &fault),
            _ => {}
        }
    }

    fn answer(&mut self, host: u8, group: u8, until: Micros) {
        let slot = self.actor(host).and_then(|actor| actor.answers.get_mut(usize::from(group)));
        slot.into_iter().for_each(|answers| *answers = until);
    }

    /// Takes note for how long a process does not run: nothing else shows that.
    fn stand_still(&mut self, at: Micros, fault: &Fault) {
        let (Fault::Pause { host, span }
        | Fault::Freeze { host, span }
        | Fault::Suspend { host, span }) = *fault
        else {
            return;
        };
        if let Some(actor) = self.actor(host) {
            actor.paused_until = actor.paused_until.max(at + span);
        }
    }

    /// Returns the server that has `group`, if one has.
    #[must_use]
    pub fn holder(&self, group: u8) -> Option<u8> {
        let has = |actor: &&Actor| self.is_up(actor, group);
        let found = self.actors.iter().filter(has);
        found.max_by_key(|actor| self.answers(actor, group)).map(|actor| actor.host)
    }

    /// Returns the server that is nearest to taking `group`, if one is there.
    #[must_use]
    pub fn taker(&self, group: u8) -> Option<u8> {
        let holder = self.holder(group);
        let others = self.servers().filter(|actor| Some(actor.host) != holder);
        others.rev().max_by_key(|actor| self.taking(actor, group)).map(|actor| actor.host)
    }

    /// Returns what the holder of `group` does, and what the taker does.
    #[must_use]
    pub fn states(&self, group: u8) -> (Holder, Taker) {
        let host = self.holder(group);
        let holder = self.servers().find(|actor| Some(actor.host) == host);
        let state =
            holder.map_or(Holder::Nobody, |actor| match actor.parts.get(usize::from(group)) {
                _ if !actor.runs => Holder::Gone,
                _ if actor.paused_until > self.now => Holder::Paused,
                Some(Part::Starting) => Holder::Starting,
                Some(Part::Offering) => Holder::Offering,
                Some(Part::Stopping | Part::Stuck) => Holder::Stopping,
                _ => Holder::Holding,
            });
        let others = self.servers().filter(|actor| Some(actor.host) != host);
        let taker = others.map(|actor| self.taking(actor, group)).max().unwrap_or(Taker::Off);
        (state, taker)
    }

    fn servers(&self) -> impl DoubleEndedIterator<Item = &Actor> {
        self.actors.iter().filter(|actor| actor.host < 16)
    }

    fn taking(&self, actor: &Actor, group: u8) -> Taker {
        match actor.parts.get(usize::from(group)) {
            _ if !actor.runs => Taker::Off,
            _ if actor.paused_until > self.now => Taker::Paused,
            Some(Part::Claiming) => Taker::Claiming,
            _ => Taker::Idle,
        }
    }

    fn answers(&self, actor: &Actor, group: u8) -> bool {
        actor.answers.get(usize::from(group)).is_some_and(|until| self.now < *until)
    }

    fn is_up(&self, actor: &Actor, group: u8) -> bool {
        let part = actor.parts.get(usize::from(group));
        part.is_some_and(|part| *part >= Part::Starting) || self.answers(actor, group)
    }

    /// Returns one mark for each host, for each group.
    #[must_use]
    pub fn marks(&self) -> String {
        let groups = self.actors.first().map_or(0, |actor| actor.parts.len());
        let columns = (0..groups).map(|group| {
            let group = u8::try_from(group).unwrap_or(u8::MAX);
            self.actors.iter().map(|actor| self.mark(actor, group)).collect::<String>()
        });
        columns.collect::<Vec<_>>().join(" ")
    }

    fn mark(&self, actor: &Actor, group: u8) -> char {
        let (at, answers) = (usize::from(group), self.answers(actor, group));
        if actor.host >= 16 {
            let promise = actor.promises[at].filter(|promise| promise.until > self.now);
            let to = promise.and_then(|promise| char::from_digit(promise.to.into(), 16));
            return if actor.runs { to.unwrap_or('-') } else { '.' };
        }
        let mark = match actor.parts[at] {
            _ if !actor.runs => return if answers { 'x' } else { '.' },
            _ if actor.paused_until > self.now => 'z',
            part => part.mark(),
        };
        if answers { mark.to_ascii_uppercase() } else { mark }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_run_is_marked_for_as_long() {
        let mut scene = Scene::new(&Setup::fast(2, 0));
        for host in [0, 1] {
            scene.see(10, &Seen::Started { host, boot: 7 });
        }
        scene.see(20, &Seen::Fault(Fault::Pause { host: 1, span: 5 }));
        assert_eq!((scene.marks().as_str(), scene.states(0).1), ("-z", Taker::Idle));
        scene.see(20, &Seen::Fault(Fault::Freeze { host: 0, span: 9 }));
        assert_eq!((scene.marks().as_str(), scene.states(0).1), ("zz", Taker::Paused));
        scene.at(25);
        assert_eq!(scene.marks(), "z-");
    }
}
