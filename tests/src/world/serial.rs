//! What the world does with serial lines and reset lines.

use lifesign_core::node::NodeId;
use lifesign_core::relay::PortId;
use lifesign_core::reset::Arm;
use lifesign_core::stream::{enframe, line_len};

use super::host::{Brain, Host};
use super::line::Line;
use super::queue::{Happening, Parcel};
use super::resets::Pulse;
use super::{Micros, World};
use crate::seen::{End, Seen};

/// What a reader's buffer holds, in bytes; the newest are lost.
const BUFFER: usize = 4096;

impl World {
    /// Returns every pulse that reached its server.
    #[must_use]
    pub fn pulses(&self) -> &[Pulse] {
        &self.resets.pulses
    }

    /// Returns how many requests have reached the dongle.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.resets.requests.len()
    }

    /// Lets the process on `number` run again.
    pub fn resume(&mut self, number: u8) {
        let now = self.now;
        self.by_hand();
        if let Some(host) = self.hosts.get_mut(number) {
            host.paused_until = now;
        }
        self.pump_all(number);
    }

    /// Lets the line of this number run again, both directions.
    pub fn heal_line(&mut self, number: usize) {
        self.by_hand();
        self.lines.iter_mut().skip(2 * number).take(2).for_each(Line::heal);
        for at in 2 * number..2 * number + 2 {
            self.pump(at);
        }
    }

    /// Cuts the line of this number, counted from 0 in both directions.
    pub fn cut_line(&mut self, number: usize) {
        self.by_hand();
        self.note(format!("line {number} is cut"));
        for line in self.lines.iter_mut().skip(2 * number).take(2) {
            line.cut = true;
        }
    }

    /// Puts a message on the line to the port `port` of `to`, as somebody with a cable would.
    ///
    /// # Panics
    /// If the message is too long for a line.
    pub fn inject_message(&mut self, to: u8, port: u8, message: &[u8]) {
        self.by_hand();
        let mut line = vec![0; line_len(message.len())];
        let len = enframe(message, &mut line).expect("room for any message");
        self.receive((to, port), &line[..len]);
    }

    /// Puts bytes on the line to the port `port` of `to`.
    pub fn inject_bytes(&mut self, to: u8, port: u8, bytes: &[u8]) {
        self.by_hand();
        self.receive((to, port), bytes);
    }

    /// Sends the dongle one of the requests it has had once more, over the same line.
    pub fn replay_request(&mut self, number: u64) {
        let count = self.resets.requests.len().max(1) as u64;
        let at = usize::try_from(number % count).unwrap_or(0);
        if let Some((port, message)) = self.resets.requests.get(at).cloned() {
            self.note(format!("somebody replays request {at}"));
            self.inject_message(16, port, &message);
        }
    }

    /// Vouches, as an operator would, that `target` is silent in its start `boot`.
    pub fn fence_by_hand(&mut self, at: u8, target: NodeId, boot: Option<u64>) {
        self.see(Seen::Vouched { to: at, target: target.number(), boot });
        let boot = boot.map(lifesign_core::node::BootId::new);
        self.order(at, |engine, now| engine.handle_fenced(target, boot, now));
    }

    pub(super) fn heal_lines(&mut self) {
        self.reset_stuck = false;
        self.lines.iter_mut().for_each(Line::heal);
        for number in self.numbers() {
            self.pump_all(number);
        }
    }

    /// Forgets what the earlier start of `number` has sent.
    pub(super) fn forget_lines(&mut self, number: u8) {
        self.lines.iter_mut().filter(|line| line.from.0 == number).for_each(Line::forget);
        if self.setup.is_dongle(number) {
            self.resets.forget();
        }
    }

    /// Lets every line from `number` go on.
    pub(super) fn pump_all(&mut self, number: u8) {
        for at in 0..self.lines.len() {
            if self.lines[at].from.0 == number {
                self.pump(at);
            }
        }
    }

    /// Puts the next bytes on a line, if its writer has any and runs.
    fn pump(&mut self, at: usize) {
        let Some(line) = self.lines.get_mut(at) else { return };
        let Some(host) = self.hosts.get_mut(line.from.0) else { return };
        if line.busy || line.stuck || host.held_until(self.now).is_some() {
            return;
        }
        let Some(port) = PortId::new(line.from.1) else { return };
        let most = 1 + usize::try_from(self.random.below(48)).unwrap_or(0);
        let take = |bytes: &[u8]| bytes[..bytes.len().min(most)].to_vec();
        let bytes = match &mut host.brain {
            Some(Brain::Server(_, Some(cable))) => {
                let bytes = take(cable.pending(port));
                cable.sent(port, bytes.len());
                bytes
            }
            Some(Brain::Dongle(dongle)) => {
                let bytes = take(dongle.pending(port));
                dongle.sent(port, bytes.len());
                bytes
            }
            _ => return,
        };
        if bytes.is_empty() {
            return;
        }
        line.busy = true;
        let seen = line.watch(u8::try_from(at).unwrap_or(u8::MAX), &bytes);
        let span = Line::span(self.setup.baud, bytes.len());
        let parcel = self.parcels.put(&bytes);
        self.queue.push(self.now + span, Happening::Bytes { line: at, parcel });
        seen.into_iter().for_each(|seen| self.see(seen));
    }

    /// Bytes have gone over a line.
    pub(super) fn arrive(&mut self, at: usize, parcel: Parcel) {
        let bytes = self.parcels.bytes(parcel).to_vec();
        self.parcels.release(parcel);
        let line = &mut self.lines[at];
        line.busy = false;
        let to = line.to;
        let bytes = line.disturbed(bytes, &mut self.random);
        self.receive(to, &bytes);
        self.pump(at);
    }

    fn receive(&mut self, (to, port): (u8, u8), bytes: &[u8]) {
        let now = self.now;
        let runs = |host: &&mut Host| host.brain.is_some() && host.standstill.is_none();
        let Some(host) = self.hosts.get_mut(to).filter(runs) else { return };
        if let Some(waiting) = host.received.get_mut(usize::from(port)) {
            let room = BUFFER.saturating_sub(waiting.len());
            waiting.extend(bytes.iter().take(room));
            host.wake = now;
        }
    }

    /// A server has asked for the second step of a reset.
    pub(super) fn tell_fired(&mut self, arm: Arm) {
        self.see(Seen::ResetAsked {
            asker: arm.id.asker.number(),
            request: arm.id.number.into(),
            group: arm.group.number(),
            token: arm.token.0,
            target: arm.target.number(),
            boot: arm.target_boot.map(lifesign_core::node::BootId::bits),
        });
    }

    /// Lets the servers feel what the dongle does to their reset lines.
    pub(super) fn follow_reset_line(&mut self) {
        let line = self.hosts.iter().find_map(|host| match &host.brain {
            Some(Brain::Dongle(dongle)) => dongle.line(),
            _ => None,
        });
        let before = self.resets.active.map(|(target, _)| target);
        if line == before {
            return;
        }
        if let Some((target, since)) = self.resets.active.take() {
            self.end_pulse(target, since);
        }
        if let Some(target) = line {
            self.begin_pulse(target);
        }
    }

    fn begin_pulse(&mut self, target: u8) {
        let now = self.now;
        self.note(format!("the reset line of {target} becomes active"));
        self.see(Seen::Pulse { target, felt: !self.reset_stuck });
        self.resets.active = Some((target, now));
        if self.reset_stuck {
            return;
        }
        let engine = self.engine(target);
        let killed = engine.map(|engine| engine.member().sequence.boot().bits());
        self.resets.pulses.push(Pulse { target, killed, at: now, whole: false });
        self.end(target, End::Reset);
    }

    fn end_pulse(&mut self, target: u8, since: Micros) {
        let (now, (pulse_ms, _)) = (self.now, self.setup.pulse_ms);
        self.note(format!("the reset line of {target} is inactive again"));
        self.see(Seen::PulseEnded { target });
        // The dongle's clock may be fast.
        let whole = (now - since) * 11 >= pulse_ms * 1000 * 10;
        let mut felt = false;
        for pulse in &mut self.resets.pulses {
            if pulse.target == target && pulse.at == since {
                pulse.whole = whole;
                felt = true;
            }
        }
        if felt {
            self.queue.push(now + self.setup.boot_us, Happening::Boot { node: target });
        }
    }
}
