//! What the world lets an observer see. Nobody is shown anything before somebody watches.

use std::collections::BTreeMap;

use lifesign_core::group::GroupId;
use lifesign_core::time::Instant;

use super::host::{Answering, Brain};
use super::{Micros, World};
use crate::seen::{ENDLESS, Promise, Seen};

/// What was seen since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Show {
    watched: bool,
    seen: Vec<(Micros, Seen)>,
    /// What each voter has promised for each group, as it was last said.
    promised: BTreeMap<(u8, u8), Promise>,
}

impl World {
    /// Shows from now on what an observer sees, the clocks first.
    pub fn watch(&mut self) {
        self.show.watched = true;
        let clocks: Vec<(u8, i64)> =
            self.hosts.iter().map(|(number, host)| (*number, host.clock.error)).collect();
        for (host, error_ppm) in clocks {
            self.see(Seen::Clock { host, error_ppm });
        }
    }

    /// Returns what was seen since the last time.
    pub fn take_seen(&mut self) -> Vec<(Micros, Seen)> {
        std::mem::take(&mut self.show.seen)
    }

    /// Says that whatever was broken has been repaired, and that nothing will be broken any more.
    pub fn healed(&mut self) {
        self.see(Seen::Healed);
    }

    pub(super) fn see(&mut self, seen: Seen) {
        if self.show.watched {
            self.show.seen.push((self.now, seen));
        }
    }

    /// Shows what the voter on `number` has promised, if that is otherwise than before.
    pub(super) fn show_promises(&mut self, number: u8) {
        if !self.show.watched {
            return;
        }
        let Some(host) = self.hosts.get(&number) else { return };
        let local = host.clock.read(self.now);
        let groups = GroupId::all().take(self.setup.groups.into());
        for group in groups {
            let promise = match &host.brain {
                Some(Brain::Server(engine, _)) => engine.member().voter.promise(group, local),
                Some(Brain::Witness(witness)) => witness.member().voter.promise(group, local),
                Some(Brain::Dongle(_)) | None => return,
            };
            let promise = promise.map(|promise| Promise {
                to: promise.to.node.number(),
                boot: promise.to.boot.bits(),
                token: promise.to.token.0,
                until: host.clock.when(promise.until),
            });
            let key = (number, group.number());
            let before = self.show.promised.get(&key).copied();
            // What has run out by itself is not worth a word.
            let before = before.filter(|before| before.until > self.now);
            if promise == before {
                continue;
            }
            match promise {
                Some(promise) => self.show.promised.insert(key, promise),
                None => self.show.promised.remove(&key),
            };
            let seen = Seen::Promised { voter: number, group: group.number(), promise };
            self.show.seen.push((self.now, seen));
        }
    }

    /// Shows that what `number` has up for a group goes from `before` to `after`.
    pub(super) fn show_lease(&mut self, number: u8, group: GroupId, before: Answering) {
        let Some(host) = self.hosts.get(&number) else { return };
        let Some(lease) = host.leases.get(group.index()) else { return };
        let (host, ends) = (number, lease.ends);
        let group = group.number();
        if ends > self.now {
            let token = self
                .engine(number)
                .and_then(|engine| engine.group(GroupId::new(group)?)?.role().token());
            let until = if lease.until == Some(FOREVER) { ENDLESS } else { ends };
            let token = token.map_or(0, |token| token.0);
            self.see(Seen::Answers { host, group, token, until });
        } else if before.ends > self.now {
            self.see(Seen::Silent { host, group });
        }
    }
}

/// The local moment that stands for no end.
pub(super) const FOREVER: Instant = Instant::from_micros(u64::MAX / 2);

impl Show {
    /// Forgets what a process that begins had promised.
    pub(super) fn forget(&mut self, number: u8) {
        self.promised.retain(|(voter, _), _| *voter != number);
    }
}
