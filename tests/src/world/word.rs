//! The operator's lasting word: said to a server, saved by each, remembered after a start.

use lifesign_core::decree::{Decree, Saying};
use lifesign_core::group::GroupId;

use super::clock::Clock;
use super::host::{Brain, Hosts};
use super::{Micros, Server, World};
use crate::seen::Seen;

impl World {
    /// Says something to the whole cluster, on the server `number`. It may refuse to pass it on.
    pub fn say(&mut self, number: u8, saying: &Saying) {
        let mut said = None;
        self.order(number, |engine, now| said = Some(engine.handle_saying(saying, now)));
        self.note(format!("{number} is told {saying:?}: {said:?}"));
    }

    /// Saves the word that a server has learned, unless its disk fails.
    pub(super) fn keep_word(&mut self, place: usize, engine: &Server) {
        let now = self.now;
        let host = self.hosts.at(place);
        let Some(decree) = engine.decree() else { return };
        if host.disk.fails_until <= now {
            host.disk.decree = Some((*decree, host.life));
        }
        let (number, clock) = (host.number, host.clock);
        self.tell_word(number, decree, clock);
    }

    /// Lets a process that starts remember what was saved. Of a maintenance it knows no more once
    /// the machine has started anew.
    pub(super) fn remember(&mut self, number: u8) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(number) else { return };
        let Some((mut decree, life)) = host.disk.decree else { return };
        if life != host.life {
            decree.maintenance = None;
        }
        let (clock, local) = (host.clock, host.clock.read(now));
        if let Some(Brain::Server(engine, _)) = &mut host.brain {
            engine.handle_remembered(decree, local);
            self.tell_word(number, &decree, clock);
        }
    }

    fn tell_word(&mut self, number: u8, decree: &Decree, clock: Clock) {
        // What is over has no end any more that could be told in true time.
        let now = clock.read(self.now);
        let lasting = decree.maintenance.filter(|it| !now.has_reached(it.until));
        if Hosts::is_own(number) {
            self.see(Seen::Decreed {
                host: number,
                stamp: (decree.stamp.number, decree.stamp.by.number()),
                disabled: decree.disabled,
                maintenance: lasting.map(|it| (it.groups, clock.when(it.until))),
            });
        }
    }

    /// Takes back what the operator has said: wherever a word still forbids anything, it is ended
    /// there, until nothing is forbidden anywhere. Who has just started cannot speak yet, and who
    /// is paused may know a word of which nobody else has heard.
    pub(super) fn take_words_back(&mut self) {
        let heartbeat: Micros = self.setup.heartbeat_ms * 1000;
        for _ in 0..MOST_HEARTBEATS {
            let forbidding: Vec<u8> =
                self.numbers().into_iter().filter(|it| self.forbids(*it)).collect();
            let Some(first) = forbidding.first() else { return };
            let disabled = self.engine(*first).and_then(Server::decree).map(|it| it.disabled);
            for group in disabled.into_iter().flat_map(|disabled| disabled.iter()) {
                self.say(*first, &Saying::Enable(group));
            }
            self.say(*first, &Saying::Resume(None));
            self.run_for(2 * heartbeat);
        }
    }

    fn forbids(&self, number: u8) -> bool {
        let forbids = |engine: &Server| {
            let groups = || GroupId::all().take(engine.config().groups.len());
            groups().any(|it| engine.is_disabled(it) || engine.maintenance_end(it).is_some())
        };
        self.engine(number).is_some_and(forbids)
    }
}

/// For how many rounds of two heartbeats words are taken back at most.
const MOST_HEARTBEATS: u32 = 400;
