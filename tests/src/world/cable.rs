//! A server's serial ports: its own frames go out of each, what comes in at one goes once out of
//! the others. And its word with a dongle on the line, when somebody has to be reset.

use std::collections::BTreeMap;

use lifesign_core::dongle::{self, MAX_MESSAGE_LEN, Reply, Request, Sealed};
use lifesign_core::group::{GroupId, Role};
use lifesign_core::member::{Heard, Rejected};
use lifesign_core::node::{BootId, LinkId, NodeId, NodeSet};
use lifesign_core::relay::{Origin, PortId, PortSet, Relay};
use lifesign_core::reset::{Arm, Asker, RequestId, Step};
use lifesign_core::seal::Keyring;
use lifesign_core::stream::MAX_LINE_LEN;
use lifesign_core::time::{Duration, Instant};

use super::Server;
use super::line::Reader;

/// How often a step of a reset is repeated that is not answered.
const REPEATED: Duration = Duration::from_millis(100);
/// An asker counts its attempts on from its first number, so that two must be far apart.
const NUMBERS_APART: u32 = 1_000_000;

/// The serial link of a server.
#[derive(Clone, Debug)]
pub(super) struct Cable {
    link: LinkId,
    ports: usize,
    relay: Box<Relay<2, 8, MAX_LINE_LEN, 8>>,
    readers: Vec<Reader>,
    control: Keyring,
    askers: BTreeMap<NodeId, Asker>,
    /// For whose resets alone some claim waits.
    asking: NodeSet,
    asked: u32,
}

impl Cable {
    pub(super) fn new(link: LinkId, ports: usize, keys: &Keyring) -> Self {
        Self {
            link,
            ports,
            relay: Box::default(),
            readers: vec![Reader::new(); ports],
            control: keys.derive(dongle::PURPOSE),
            askers: BTreeMap::new(),
            asking: NodeSet::EMPTY,
            asked: 0,
        }
    }

    pub(super) const fn link(&self) -> LinkId {
        self.link
    }

    /// Takes other keys for its word with a dongle.
    pub(super) fn set_keyring(&mut self, keys: &Keyring) {
        self.control = keys.derive(dongle::PURPOSE);
    }

    /// Takes in what came at `port`, as the daemon does: only frames with a right tag are passed
    /// on, and never own ones. Returns the frames, and what the engine said to each.
    pub(super) fn hear(
        &mut self,
        port: PortId,
        bytes: &[u8],
        engine: &mut Server,
        now: Instant,
    ) -> Vec<(Vec<u8>, Result<Heard, Rejected>)> {
        let mut heard = Vec::new();
        let Some(reader) = self.readers.get_mut(port.index()) else { return heard };
        let mut messages = Vec::new();
        for byte in bytes {
            if let Some(Ok(message)) = reader.push(*byte) {
                messages.push(message.to_vec());
            }
        }
        for message in messages {
            if dongle::is_dongle_message(&message) {
                self.hear_dongle(&message, engine, now);
                continue;
            }
            let result = engine.handle_frame(self.link, &message, now);
            let passes = match result {
                Ok(_) => true,
                Err(rejected) => rejected.is_authentic() && rejected != Rejected::Loop,
            };
            if passes && self.ports > 1 {
                let _seen = self.relay.forward(&message, port);
            }
            heard.push((message, result));
        }
        heard
    }

    fn hear_dongle(&mut self, message: &[u8], engine: &mut Server, now: Instant) {
        let read = dongle::decode::<Reply>(message, Some(&self.control));
        let Ok((Reply::Reset(answer), Sealed::Yes)) = read else { return };
        for (node, asker) in &mut self.askers {
            if asker.handle_answer(&answer, now) && asker.is_done() {
                engine.handle_fenced(*node, asker.arm().target_boot, now);
            }
        }
    }

    /// Sends an own frame.
    pub(super) fn send(&mut self, me: NodeId, frame: &[u8]) {
        let _too_long = self.relay.send(Origin::Node(me), frame, PortSet::first(self.ports));
    }

    /// Asks for a reset, as long as the group's claim lasts.
    pub(super) fn ask(
        &mut self,
        engine: &Server,
        group: GroupId,
        target: NodeId,
        target_boot: Option<BootId>,
    ) {
        let Some(token) = engine.group(group).and_then(|state| state.role().token()) else {
            return;
        };
        self.asked += NUMBERS_APART;
        let asker = engine.config().me;
        let id = RequestId { asker, boot: engine.member().sequence.boot(), number: self.asked };
        let arm = Arm { id, group, token, target, target_boot };
        self.askers.insert(target, Asker::new(arm, REPEATED, engine.now()));
    }

    /// Drops requests that nothing waits for, and sends what is due of the others. Returns the
    /// second steps among it.
    pub(super) fn press(&mut self, engine: &Server, now: Instant) -> Vec<Arm> {
        let waits = |arm: &Arm| {
            let role = engine.group(arm.group).map(|state| state.role());
            matches!(role, Some(Role::Claiming(claim)) if claim.token == arm.token)
        };
        self.askers.retain(|_, asker| waits(asker.arm()));
        let mut fired = Vec::new();
        let arms = self.askers.values().map(|asker| asker.arm());
        let asking = arms.filter(|arm| engine.waits_for_fence(arm.group, arm.token, arm.target));
        self.asking = asking.map(|arm| arm.target).collect();
        let asks = |asker: &&mut Asker| self.asking.contains(asker.arm().target);
        for asker in self.askers.values_mut().filter(asks) {
            let request = match asker.poll_transmit(now) {
                Some(Step::Arm(arm)) => Request::Arm(arm),
                Some(Step::Fire(fire)) => {
                    fired.push(Arm { id: fire.id, ..*asker.arm() });
                    Request::Fire(fire)
                }
                None => continue,
            };
            let mut buffer = [0; MAX_MESSAGE_LEN];
            let port = PortSet::first(1);
            if let (Some(len), Some(first)) =
                (dongle::seal(&request, &self.control, &mut buffer), PortId::new(0))
            {
                let _too_long = self.relay.send(Origin::Answer(first), &buffer[..len], port);
            }
        }
        fired
    }

    /// Returns when the next step is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let asking = self.askers.iter().filter(|(target, _)| self.asking.contains(**target));
        asking.filter_map(|(_, asker)| asker.poll_timeout()).min()
    }

    pub(super) fn pending(&mut self, port: PortId) -> &[u8] {
        self.relay.pending(port)
    }

    pub(super) fn sent(&mut self, port: PortId, count: usize) {
        self.relay.sent(port, count);
    }
}
