//! A machine: a process with its clock, its ports, and what its kernel has up.

use lifesign_core::engine::{Engine, Event};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::Token;
use lifesign_core::node::LinkId;
use lifesign_core::relay::PortId;
use lifesign_core::reset::Arm;
use lifesign_core::time::Instant;
use lifesign_core::witness::Witness;

use super::Micros;
use super::cable::Cable;
use super::dongle::{Dongle, Store};
use super::setup::{Clock, Setup};
use crate::random::Random;

#[derive(Debug)]
pub(super) enum Brain {
    Server(Box<Engine>, Option<Box<Cable>>),
    Witness(Box<Witness>),
    Dongle(Box<Dongle>),
}

/// What one group has up on one server: addresses for which its kernel answers, or services that
/// have to be stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answering {
    /// Until when by the server's clock.
    pub(super) until: Option<Instant>,
    /// The first true moment that is no longer within it, so that looking needs no arithmetic.
    pub(super) ends: Micros,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) clock: Clock,
    pub(super) brain: Option<Brain>,
    pub(super) paused_until: Micros,
    pub(super) inbox: Vec<(LinkId, Vec<u8>)>,
    /// What waits at each serial port to be read.
    pub(super) received: Vec<Vec<u8>>,
    pub(super) leases: Vec<Answering>,
    pub(super) reserved: Token,
    /// What is kept if this is a dongle.
    pub(super) store: Store,
    /// When the process next wants to run, in true time.
    pub(super) wake: Micros,
}

/// What a process has done in one go.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// Frames for the network: to whom, if not to all, over which link, and what.
    pub(super) frames: Vec<(Option<u8>, u8, Vec<u8>)>,
    pub(super) events: Vec<Event>,
    /// Second steps of resets that were asked for.
    pub(super) fired: Vec<Arm>,
}

impl Answering {
    pub(super) fn new(until: Option<Instant>, clock: Clock) -> Self {
        Self { until, ends: until.map_or(0, |until| clock.when(until)) }
    }
}

impl Host {
    pub(super) fn new(setup: &Setup, number: u8, random: &mut Random) -> Self {
        let is_witness = number >= 16;
        let error = if is_witness { setup.witness_error } else { setup.clock_error };
        let error = i64::from(error);
        let errors = [-error, 0, error];
        let pick = usize::try_from(random.below(3)).unwrap_or(0);
        Self {
            clock: Clock { start: 1_000_000_000 + random.below(1 << 40), error: errors[pick] },
            brain: None,
            paused_until: 0,
            inbox: Vec::new(),
            received: vec![Vec::new(); setup.ports(number)],
            leases: vec![Answering::default(); setup.groups.into()],
            reserved: Token(0),
            store: Store::new(),
            wake: 0,
        }
    }

    /// Lets the process run once; `follows` is what a reset line that is driven reads as.
    pub(super) fn run(&mut self, now: Micros, follows: bool) -> Deeds {
        let local = self.clock.read(now);
        let mut deeds = Deeds::default();
        let wake = match self.brain.take() {
            Some(Brain::Server(mut engine, mut cable)) => {
                let wake = self.run_server(&mut engine, cable.as_deref_mut(), local, &mut deeds);
                self.brain = Some(Brain::Server(engine, cable));
                wake
            }
            Some(Brain::Witness(mut witness)) => {
                let wake = self.run_witness(&mut witness, local, &mut deeds);
                self.brain = Some(Brain::Witness(witness));
                wake
            }
            Some(Brain::Dongle(mut dongle)) => {
                let wake = self.run_dongle(&mut dongle, follows, local);
                self.brain = Some(Brain::Dongle(dongle));
                wake
            }
            None => return deeds,
        };
        self.wake = self.clock.when(wake).max(now + 1);
        deeds
    }

    fn run_server(
        &mut self,
        engine: &mut Engine,
        mut cable: Option<&mut Cable>,
        now: Instant,
        deeds: &mut Deeds,
    ) -> Instant {
        let mut buffer = [0; MAX_FRAME_LEN];
        engine.check_authority(now);
        for (link, bytes) in std::mem::take(&mut self.inbox) {
            let _rejected = engine.handle_frame(link, &bytes, now);
        }
        if let Some(cable) = &mut cable {
            self.read_ports(|port, bytes| cable.hear(port, bytes, engine, now));
        }
        engine.handle_timeout(now);
        deeds.events.extend(std::iter::from_fn(|| engine.poll_event()));
        while let Some(transmit) = engine.poll_transmit(now, &mut buffer) {
            let frame = &buffer[..transmit.len];
            match cable.as_mut().filter(|cable| cable.link() == transmit.link) {
                Some(cable) => cable.send(engine.config().me, frame),
                None => deeds.frames.push((None, transmit.link.number(), frame.to_vec())),
            }
        }
        let wake = engine.poll_timeout();
        let Some(cable) = cable else { return wake };
        deeds.fired = cable.press(engine, now);
        cable.poll_timeout().map_or(wake, |press| press.min(wake))
    }

    fn run_witness(&mut self, witness: &mut Witness, now: Instant, deeds: &mut Deeds) -> Instant {
        let mut buffer = [0; MAX_FRAME_LEN];
        for (link, bytes) in std::mem::take(&mut self.inbox) {
            let _rejected = witness.handle_frame(link, &bytes, now);
        }
        witness.handle_timeout(now);
        while let Some(answer) = witness.poll_transmit(now, &mut buffer) {
            deeds.frames.push((Some(answer.to.number()), 0, buffer[..answer.len].to_vec()));
        }
        if let Some(token) = witness.poll_reserve() {
            self.reserved = token;
            witness.handle_reserved(token, now);
        }
        witness.poll_timeout()
    }

    fn run_dongle(&mut self, dongle: &mut Dongle, follows: bool, now: Instant) -> Instant {
        self.read_ports(|port, bytes| dongle.handle_bytes(port, bytes, now));
        dongle.handle_timeout(follows, &mut self.store, now);
        dongle.poll_timeout()
    }

    fn read_ports(&mut self, mut read: impl FnMut(PortId, &[u8])) {
        for (port, bytes) in PortId::all().zip(&mut self.received) {
            let bytes = std::mem::take(bytes);
            if !bytes.is_empty() {
                read(port, &bytes);
            }
        }
    }
}
