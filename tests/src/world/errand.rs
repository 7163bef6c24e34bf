//! What the shell around an engine does for it: agents, the disk, fences.

use lifesign_core::engine::Event;
use lifesign_core::group::{GroupId, Role, Token};
use lifesign_core::node::BootId;

use super::cable::Cable;
use super::host::{Brain, Hosts};
use super::queue::Happening;
use super::{Micros, Server, World};
use crate::fault::Manner;
use crate::seen::Seen;

impl World {
    pub(super) fn carry_out(
        &mut self,
        place: usize,
        engine: &mut Server,
        cable: Option<&mut Cable>,
        event: Event,
    ) {
        let number = self.hosts.at(place).number;
        let boot = engine.member().sequence.boot().bits();
        match event {
            Event::Group { group, role, reason } => {
                self.note(format!("{number} {group:?} {role:?} because {reason:?}"));
                if Hosts::is_own(number) {
                    self.see(Seen::Role { host: number, group: group.number(), role, reason });
                }
                match role {
                    Role::Starting(_) => self.begin(place, boot, group, true),
                    Role::Stopping(_) => self.begin(place, boot, group, false),
                    Role::Stuck(_) => {
                        let group = group.number();
                        let again = Happening::Again { node: number, boot, group };
                        self.queue.push(self.now + self.retry(), again);
                    }
                    _ => {}
                }
            }
            Event::Reserve(token) if self.save(place, boot, token) => {
                engine.handle_reserved(token, engine.now());
            }
            Event::FenceNeeded { group, node, boot } => {
                self.note(format!("{number} needs {node:?} fenced"));
                if let Some(cable) = cable {
                    cable.ask(engine, group, node, boot);
                }
            }
            Event::Decreed(stamp) => {
                self.note(format!("{number} hears of {stamp:?}"));
                self.keep_word(place, engine);
            }
            Event::Peer { node, condition } => {
                self.note(format!("{number} sees {node:?} {condition:?}"));
                if Hosts::is_own(number) {
                    self.see(Seen::Peer { host: number, peer: node.number(), condition });
                }
            }
            _ => {}
        }
    }

    /// How long the shell waits before it tries again what has failed.
    const fn retry(&self) -> Micros {
        self.setup.heartbeat_ms * 5 * 1000
    }

    /// How long an agent may take before it is killed.
    const fn patience(&self) -> Micros {
        self.setup.heartbeat_ms * 20 * 1000
    }

    /// Starts or stops a group, which takes a while.
    fn begin(&mut self, place: usize, boot: u64, group: GroupId, started: bool) {
        let host = self.hosts.at(place);
        let (node, usual) = (host.number, self.setup.start_us);
        let manner = host.agents.get(group.index()).copied().unwrap_or(Manner::Honest);
        let (span, good) = match manner {
            Manner::Hang => (self.patience(), false),
            Manner::FailStart => (usual, !started),
            Manner::FailStop => (usual, started),
            Manner::Slow(span) => (span.min(self.patience()), span <= self.patience()),
            Manner::Honest | Manner::LieStarted | Manner::LieStopped => (usual, true),
        };
        let done = Happening::Done { node, boot, group: group.number(), started, good };
        self.queue.push(self.now + span, done);
    }

    /// An agent has come to its end. The process wakes up to hear of it, so it looks at its
    /// authority first, like on any other wake-up.
    pub(super) fn finish(&mut self, happening: Happening) {
        let Happening::Done { node, boot, group, started, good } = happening else { return };
        let now = self.now;
        let Some(host) = self.hosts.get_mut(node) else { return };
        if let Some(until) = host.held_until(now) {
            return self.queue.push(until, happening);
        }
        let local = host.clock.read(now);
        if let (Some(Brain::Server(engine, _)), Some(id)) = (&mut host.brain, GroupId::new(group))
            && engine.member().sequence.boot().bits() == boot
        {
            engine.check_authority(local);
            if started {
                engine.handle_started(id, good, local);
            } else {
                engine.handle_stopped(id, good, local);
            }
            host.wake = now;
        }
    }

    /// The shell tries again to stop what could not be stopped, as long as it has to be.
    pub(super) fn stop_again(&mut self, node: u8, boot: u64, group: u8) {
        let (now, retry) = (self.now, self.retry());
        let (Some(place), Some(id)) = (self.hosts.find(node), GroupId::new(group)) else { return };
        let host = self.hosts.at(place);
        let until = host.held_until(now);
        let Some(Brain::Server(engine, _)) = &host.brain else { return };
        let is_stuck = engine.group(id).is_some_and(|state| matches!(state.role(), Role::Stuck(_)));
        if engine.member().sequence.boot().bits() != boot || !is_stuck {
            return;
        }
        if until.is_none() {
            self.begin(place, boot, id, false);
        }
        let next = until.unwrap_or(now) + retry + self.patience();
        self.queue.push(next, Happening::Again { node, boot, group });
    }

    /// Has the tokens up to `token` saved as used, as the executor does: the file is old or new
    /// after a crash, and never half of each. Returns whether that was done at once.
    pub(super) fn save(&mut self, place: usize, boot: u64, token: Token) -> bool {
        let now = self.now;
        let host = self.hosts.at(place);
        let (node, life) = (host.number, host.life);
        let fails = host.disk.fails_until > now;
        if host.disk.takes > 0 || fails {
            let saved = Happening::Saved { node, life, token, good: !fails };
            self.queue.push(now + self.hosts.at(place).disk.takes, saved);
            if fails {
                let again = Happening::Save { node, boot, token };
                self.queue.push(now + self.retry(), again);
            }
            return false;
        }
        self.write(node, token);
        true
    }

    fn write(&mut self, node: u8, token: Token) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        host.disk.reserved = token;
        host.disk.torn = false;
        if Hosts::is_own(node) {
            self.see(Seen::Saved { host: node, token: token.0 });
        }
    }

    /// The executor has written tokens, or could not.
    pub(super) fn saved(&mut self, happening: Happening) {
        let Happening::Saved { node, life, token, good } = happening else { return };
        let now = self.now;
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.life == life) else { return };
        if let Some(until) = host.held_until(now) {
            return self.queue.push(until, happening);
        }
        if !good {
            return;
        }
        self.write(node, token);
        let Some(host) = self.hosts.get_mut(node) else { return };
        let local = host.clock.read(now);
        host.wake = now;
        match &mut host.brain {
            Some(Brain::Server(engine, _)) => engine.handle_reserved(token, local),
            Some(Brain::Witness(witness)) => witness.handle_reserved(token, local),
            Some(Brain::Dongle(_)) | None => {}
        }
    }

    /// The shell tries again to save tokens.
    pub(super) fn save_again(&mut self, node: u8, boot: u64, token: Token) {
        let Some(place) = self.hosts.find(node) else { return };
        if self.boot_of(node) != Some(BootId::new(boot)) || !self.save(place, boot, token) {
            return;
        }
        let life = self.hosts.at(place).life;
        self.saved(Happening::Saved { node, life, token, good: true });
    }
}
