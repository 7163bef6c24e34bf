//! One wake-up of a process, step by step, as the daemon does it.

use lifesign_core::engine::{Condition, Event};
use lifesign_core::frame;
use lifesign_core::member::{Heard, Rejected};
use lifesign_core::node::NodeId;
use lifesign_core::peer::{Ending, Peers};
use lifesign_core::promise::{Promise as Word, Voter};
use lifesign_core::relay::PortId;
use lifesign_core::time::Instant;

use super::cable::Cable;
use super::clock::Clock;
use super::dongle::Dongle;
use super::host::{Brain, Hosts};
use super::queue::{Happening, Parcel};
use super::{Arbiter, DONGLE, Server, World};
use crate::fault::Step;
use crate::seen::{End, Promise, Seen};

/// The machine has died in the middle of a wake-up.
struct Died;

impl World {
    /// Lets the process on the host at `place` run once.
    pub(super) fn run_process(&mut self, place: usize) {
        let now = self.now;
        let host = self.hosts.at(place);
        let (number, local) = (host.number, host.clock.read(now));
        let Some(mut brain) = host.brain.take() else { return };
        self.counts.moves += 1;
        let wake = match &mut brain {
            Brain::Server(engine, cable) => {
                self.run_server(place, engine, cable.as_deref_mut(), local)
            }
            Brain::Witness(witness) => self.run_witness(place, witness, local),
            Brain::Dongle(dongle) => Ok(self.run_dongle(place, dongle, local)),
        };
        let host = self.hosts.at(place);
        host.brain = Some(brain);
        match wake {
            Ok(wake) => host.wake = host.clock.when(wake).max(now + 1),
            Err(Died) => self.die(number),
        }
        if self.setup.wiring.is_some() {
            self.follow_reset_line();
            self.pump_all(number);
        }
    }

    fn run_server(
        &mut self,
        place: usize,
        engine: &mut Server,
        mut cable: Option<&mut Cable>,
        now: Instant,
    ) -> Result<Instant, Died> {
        let number = self.hosts.at(place).number;
        engine.check_authority(now);
        self.step(place, Step::Authority)?;
        self.read_inbox(place, |link, bytes| engine.handle_frame(link, bytes, now));
        if let Some(cable) = &mut cable {
            let arrivals =
                self.read_ports(place, |port, bytes| cable.hear(port, bytes, engine, now));
            for (bytes, result) in arrivals.into_iter().flatten() {
                self.arrived(number, &bytes, &result);
            }
        }
        self.step(place, Step::Frames)?;
        engine.handle_timeout(now);
        self.step(place, Step::Decision)?;
        while let Some(first) = engine.poll_event() {
            let rest = std::iter::from_fn(|| engine.poll_event());
            let mut events: Vec<Event> = [first].into_iter().chain(rest).collect();
            // Whom it sees is why it does what it does.
            events.sort_by_key(|event| !matches!(event, Event::Peer { .. }));
            for event in events {
                self.carry_out(place, engine, cable.as_deref_mut(), event);
            }
        }
        self.tell_promises(place, &engine.member().voter, now);
        self.move_leases(place, engine);
        self.step(place, Step::Events)?;
        let first = engine.member().sequence.newest();
        while let Some(transmit) = engine.poll_transmit(now, &mut self.buffer) {
            if engine.member().sequence.newest() > first {
                self.tell_sent(number, engine);
            }
            match cable.as_mut().filter(|cable| cable.link() == transmit.link) {
                Some(cable) => cable.send(engine.config().me, &self.buffer[..transmit.len]),
                None => self.send(number, None, transmit.link.number(), transmit.len),
            }
            self.step(place, Step::OneFrame)?;
        }
        let wake = engine.poll_timeout();
        let Some(cable) = cable else { return Ok(wake) };
        for arm in cable.press(engine, now) {
            self.tell_fired(arm);
        }
        Ok(cable.poll_timeout().map_or(wake, |press| press.min(wake)))
    }

    fn run_witness(
        &mut self,
        place: usize,
        witness: &mut Arbiter,
        now: Instant,
    ) -> Result<Instant, Died> {
        let number = self.hosts.at(place).number;
        self.read_inbox(place, |link, bytes| witness.handle_frame(link, bytes, now));
        self.step(place, Step::Frames)?;
        witness.handle_timeout(now);
        self.tell_peers(place, &witness.member().peers);
        self.tell_promises(place, &witness.member().voter, now);
        self.step(place, Step::Decision)?;
        let mut told = witness.member().sequence.newest();
        while let Some(answer) = witness.poll_transmit(now, &mut self.buffer) {
            let sequence = &witness.member().sequence;
            if sequence.newest() > told {
                told = sequence.newest();
                let boot = sequence.boot().bits();
                self.see(Seen::Sent { from: number, boot, sequence: told });
            }
            self.send(number, Some(answer.to.number()), 0, answer.len);
            self.step(place, Step::OneFrame)?;
        }
        if let Some(token) = witness.poll_reserve()
            && self.save(place, witness.member().sequence.boot().bits(), token)
        {
            witness.handle_reserved(token, now);
            self.tell_promises(place, &witness.member().voter, now);
        }
        Ok(witness.poll_timeout())
    }

    fn run_dongle(&mut self, place: usize, dongle: &mut Dongle, now: Instant) -> Instant {
        let follows = !self.reset_stuck;
        let mut heard = Vec::new();
        for (port, bytes) in (0..).zip(&self.hosts.at(place).received) {
            self.resets.hear(port, bytes, &mut heard);
        }
        for (from, boot, sequence) in heard {
            self.see(Seen::Arrived { from, to: DONGLE, boot, sequence });
        }
        self.read_ports(place, |port, bytes| dongle.handle_bytes(port, bytes, now));
        let sent = dongle.sequence();
        dongle.handle_timeout(follows, &mut self.hosts.at(place).store, now);
        if let Some(witness) = dongle.witness() {
            let member = witness.member();
            self.tell_peers(place, &member.peers);
            self.tell_promises(place, &member.voter, now);
            let boot = member.sequence.boot().bits();
            for sequence in sent + 1..=member.sequence.newest() {
                self.see(Seen::Sent { from: DONGLE, boot, sequence });
            }
        }
        dongle.poll_timeout()
    }

    /// Lets the machine die here if it is its time.
    fn step(&mut self, place: usize, step: Step) -> Result<(), Died> {
        let host = self.hosts.at(place);
        let Some((_, boot)) = host.dies.filter(|(dies, _)| *dies == step) else { return Ok(()) };
        let number = host.number;
        if let Some(boot) = boot {
            self.queue.push(self.now + boot, Happening::Boot { node: number });
        }
        Err(Died)
    }

    fn die(&mut self, number: u8) {
        self.note(format!("{number} crashes in the middle"));
        self.end(number, End::Crashed);
    }

    fn read_inbox(
        &mut self,
        place: usize,
        mut read: impl FnMut(lifesign_core::node::LinkId, &[u8]) -> Result<Heard, Rejected>,
    ) {
        let host = self.hosts.at(place);
        let number = host.number;
        let mut inbox: Vec<(_, Parcel)> = std::mem::take(&mut host.inbox);
        for (link, parcel) in inbox.drain(..) {
            let result = read(link, self.parcels.bytes(parcel));
            if let Some(seen) = arrival(number, self.parcels.bytes(parcel), &result) {
                self.see(seen);
            }
            self.parcels.release(parcel);
        }
        self.hosts.at(place).inbox = inbox;
    }

    fn read_ports<T>(&mut self, place: usize, mut read: impl FnMut(PortId, &[u8]) -> T) -> Vec<T> {
        let mut results = Vec::new();
        for (port, bytes) in PortId::all().zip(&mut self.hosts.at(place).received) {
            if !bytes.is_empty() {
                results.push(read(port, bytes));
                bytes.clear();
            }
        }
        results
    }

    fn arrived(&mut self, to: u8, bytes: &[u8], result: &Result<Heard, Rejected>) {
        if let Some(seen) = arrival(to, bytes, result) {
            self.see(seen);
        }
    }

    fn tell_sent(&mut self, number: u8, engine: &Server) {
        let sequence = &engine.member().sequence;
        let (boot, newest) = (sequence.boot().bits(), sequence.newest());
        if Hosts::is_own(number) && self.told_last != (boot, newest) {
            self.told_last = (boot, newest);
            self.see(Seen::Sent { from: number, boot, sequence: newest });
        }
    }

    /// Tells how a witness sees the servers, where that has changed.
    fn tell_peers<const M: usize, const E: usize, const G: usize, const L: usize>(
        &mut self,
        place: usize,
        peers: &Peers<M, E, G, L>,
    ) {
        for peer in 0..self.setup.nodes {
            let Some(of) = NodeId::new(peer).and_then(|peer| peers.get(peer)) else { continue };
            let condition = match (of.session(), of.ending()) {
                (Some(session), _) => Condition::Alive(session.boot),
                (None, Some(Ending::Lost(boot))) => Condition::Lost(boot),
                (None, Some(Ending::Left(boot))) => Condition::Left(boot),
                (None, None) => Condition::Unmet,
            };
            let host = self.hosts.at(place);
            let number = host.number;
            let before = std::mem::replace(&mut host.conditions[usize::from(peer)], condition);
            if before != condition {
                self.see(Seen::Peer { host: number, peer, condition });
            }
        }
    }

    /// Tells which promises are others than when they were last told.
    fn tell_promises<const G: usize>(&mut self, place: usize, voter: &Voter<G>, now: Instant) {
        for at in 0..usize::from(self.setup.groups) {
            let group = u8::try_from(at).unwrap_or(u8::MAX);
            let Some(id) = lifesign_core::group::GroupId::new(group) else { return };
            let host = self.hosts.at(place);
            let (number, clock) = (host.number, host.clock);
            let promise = voter.promise(id, now);
            let before = std::mem::replace(&mut host.promised[at], promise);
            if !Hosts::is_own(number) || is_same(before, promise) {
                continue;
            }
            // What has come to its end by itself is not told.
            if promise.is_none() && before.is_some_and(|before| now.has_reached(before.until)) {
                continue;
            }
            host.given[at] = promise;
            let promise = promise.map(|promise| seen(promise, clock));
            self.see(Seen::Promised { voter: number, group, promise });
        }
    }

    /// Tells anew when promises end, now that a clock has changed.
    pub(super) fn tell_promises_anew(&mut self, place: usize) {
        let host = self.hosts.at(place);
        let (number, clock, now) = (host.number, host.clock, host.clock.read(self.now));
        for (group, given) in (0..).zip(host.given.clone()) {
            let live = given.filter(|given| !now.has_reached(given.until));
            if let Some(promise) = live.filter(|_| Hosts::is_own(number)) {
                let promise = Some(seen(promise, clock));
                self.see(Seen::Promised { voter: number, group, promise });
            }
        }
    }
}

/// Returns a promise as it is seen by who knows the true time.
fn seen(promise: Word, clock: Clock) -> Promise {
    Promise {
        to: promise.to.node.number(),
        boot: promise.to.boot.bits(),
        token: promise.to.token.0,
        until: clock.when(promise.until),
    }
}

/// Returns whether two promises look alike from outside.
fn is_same(one: Option<Word>, other: Option<Word>) -> bool {
    one.map(|one| (one.to, one.until)) == other.map(|other| (other.to, other.until))
}

/// Returns what is seen of a frame that a process has read: nothing unless it was rightly tagged.
fn arrival(to: u8, bytes: &[u8], result: &Result<Heard, Rejected>) -> Option<Seen> {
    if !matches!(result, Ok(_) | Err(Rejected::Stale(_))) || !Hosts::is_own(to) {
        return None;
    }
    let header = frame::peek(bytes).ok()?;
    let (from, boot, sequence) = (header.sender.number(), header.boot.bits(), header.sequence);
    Some(Seen::Arrived { from, to, boot, sequence })
}
