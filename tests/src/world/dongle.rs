//! A dongle: the relay, the witness and the reset lines behind its ports.

use lifesign_core::dongle::{self, MAX_MESSAGE_LEN, Reply, Request, Sealed};
use lifesign_core::frame::{LinkClass, MAX_FRAME_LEN};
use lifesign_core::group::Token;
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::relay::{Origin, PortId, PortSet, Relay};
use lifesign_core::reset::{Answer, Arm, Outcome, Refusal, Resetter};
use lifesign_core::seal::Keyring;
use lifesign_core::stream::MAX_LINE_LEN;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};

use super::keyring;
use super::line::Reader;
use super::setup::Setup;
use crate::random::Random;

/// The ports of the dongle.
pub(super) const PORTS: usize = 4;

/// The state of a dongle since its start.
#[derive(Clone, Debug)]
pub(super) struct Dongle {
    pub(super) witness: Box<Witness>,
    relay: Box<Relay<PORTS, 10, MAX_LINE_LEN, 8>>,
    readers: [Reader; PORTS],
    resetter: Resetter,
    control: Keyring,
    random: Random,
    me: NodeId,
    nodes: u8,
    ports: usize,
    /// Where the request came in that is being served.
    asked_at: Option<PortId>,
}

impl Dongle {
    pub(super) fn new(setup: &Setup, me: NodeId, reserved: Token, seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let config = WitnessConfig {
            cluster: ClusterId(7),
            me,
            class: LinkClass::Serial,
            longest_promise: Duration::from_millis(setup.promise_ms),
            heartbeat: Duration::from_millis(setup.heartbeat_ms),
            dead: Duration::from_millis(setup.dead_ms),
        };
        let boot = BootId::new(random.bits());
        let (pulse, distance) = setup.pulse_ms;
        Self {
            witness: Box::new(Witness::new(&config, keyring(), boot, reserved, now)),
            relay: Box::default(),
            readers: [(); PORTS].map(|()| Reader::new()),
            resetter: Resetter::new(
                Duration::from_millis(pulse),
                Duration::from_millis(distance),
                now,
            ),
            control: keyring().derive(dongle::PURPOSE),
            random,
            me,
            nodes: setup.nodes,
            ports: setup.nodes.into(),
            asked_at: None,
        }
    }

    pub(super) fn handle_bytes(&mut self, port: PortId, bytes: &[u8], now: Instant) {
        let Some(reader) = self.readers.get_mut(port.index()) else { return };
        let mut messages = Vec::new();
        for byte in bytes {
            if let Some(Ok(message)) = reader.push(*byte) {
                messages.push(message.to_vec());
            }
        }
        for message in messages {
            if dongle::is_dongle_message(&message) {
                self.handle_request(port, &message, now);
                continue;
            }
            let Some(link) = LinkId::new(port.number()) else { continue };
            let heard = self.witness.handle_frame(link, &message, now);
            if heard.is_ok() || heard.is_err_and(Rejected::is_authentic) {
                let _seen = self.relay.forward(&message, port);
            }
        }
    }

    fn handle_request(&mut self, port: PortId, message: &[u8], now: Instant) {
        let read = dongle::decode::<Request>(message, Some(&self.control));
        let Ok((request, Sealed::Yes)) = read else { return };
        self.witness.handle_timeout(now);
        let (witness, nodes) = (&self.witness, self.nodes);
        let allows = |arm: &Arm| {
            let wired = arm.target.number() < nodes;
            if wired { witness.allows(arm) } else { Err(Refusal::NoLine) }
        };
        let answer = match request {
            Request::Arm(arm) => self.resetter.handle_arm(&arm, allows, self.random.bits(), now),
            Request::Fire(fire) => self.resetter.handle_fire(&fire, allows, now),
            _ => return,
        };
        if answer.outcome == Outcome::Pulsing {
            self.asked_at = Some(port);
        }
        self.answer(port, answer);
    }

    fn answer(&mut self, port: PortId, answer: Answer) {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        if let Some(len) = dongle::seal(&Reply::Reset(answer), &self.control, &mut buffer) {
            let to = PortSet::EMPTY.with(port);
            let _too_long = self.relay.send(Origin::Answer(port), &buffer[..len], to);
        }
    }

    /// Does what is due by `now`; `follows` is what the line that is driven reads as.
    pub(super) fn handle_timeout(&mut self, follows: bool, now: Instant) {
        self.witness.handle_timeout(now);
        if let Some(answer) = self.resetter.handle_timeout(follows, now)
            && let Some(port) = self.asked_at.take()
        {
            self.answer(port, answer);
        }
        let mut buffer = [0; MAX_FRAME_LEN];
        if let Some(len) = self.witness.poll_broadcast(now, &mut buffer) {
            let to = PortSet::first(self.ports);
            let _too_long = self.relay.send(Origin::Node(self.me), &buffer[..len], to);
        }
    }

    pub(super) const fn line(&self) -> Option<NodeId> {
        self.resetter.line()
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let witness = self.witness.poll_timeout();
        self.resetter.poll_timeout().map_or(witness, |at| at.min(witness))
    }

    pub(super) fn pending(&mut self, port: PortId) -> &[u8] {
        self.relay.pending(port)
    }

    pub(super) fn sent(&mut self, port: PortId, count: usize) {
        self.relay.sent(port, count);
    }
}
