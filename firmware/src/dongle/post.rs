//! What a provisioned dongle does: it is a witness, and has its hand on the reset lines.

use lifesign_core::dongle::{NotProvisioned, Request, Settings, What};
use lifesign_core::frame::{FrameError, LinkClass};
use lifesign_core::group::Token;
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, LinkId, NodeId, NodeSet};
use lifesign_core::relay::{PortId, PortSet};
use lifesign_core::reset::{Answer, Outcome, Refusal, Resetter};
use lifesign_core::seal::Keyring;
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::{Witness, WitnessConfig};

/// Whether a frame is to be passed on, and what there is to write down about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It has a right tag.
    Authentic,
    /// It has a right tag, and says more than there is room for.
    TooLarge,
    /// It is this dongle's own.
    Loop,
    /// Its tag is wrong.
    Forged,
    /// It is none of this cluster's.
    Foreign,
}

/// A witness with its settings.
#[derive(Debug)]
pub(super) struct Post<
    const PORTS: usize,
    const MEMBERS: usize,
    const ECHOES: usize,
    const GROUPS: usize,
> {
    pub(super) settings: Settings,
    /// Seals what is said between this dongle and servers.
    pub(super) control: Keyring,
    pub(super) witness: Witness<MEMBERS, ECHOES, GROUPS, PORTS>,
    resetter: Resetter,
    /// For whom a line was armed last.
    armed: Option<NodeId>,
    /// Where the reset was asked for that is under way.
    asked_at: Option<PortId>,
    /// The lines that pins can be expected to show.
    expected: PortSet,
    heard: NodeSet,
    favoured: NodeSet,
}

/// What a witness is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) boot: BootId,
    /// Tokens up to this one may have been promised under; `None` if nothing may be promised.
    pub(super) tokens: Option<Token>,
    /// How long promises of earlier starts can last.
    pub(super) wait: Duration,
    pub(super) now: Instant,
}

impl<const PORTS: usize, const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize>
    Post<PORTS, MEMBERS, ECHOES, GROUPS>
{
    /// Checks that `settings` can work on this dongle.
    pub(super) fn check(settings: &Settings) -> Result<(), NotProvisioned> {
        settings.check(PORTS)?;
        // A node that this dongle cannot hear would always seem dead to it.
        let mut targets = settings.ports.iter().filter_map(|port| port.resets);
        if targets.any(|node| node.index() >= MEMBERS) {
            return Err(NotProvisioned::Ports);
        }
        Ok(())
    }

    /// Takes up the post, with the keys of frames and those derived for control.
    pub(super) fn new(
        settings: Settings,
        (keyring, control): (Keyring, Keyring),
        beginning: &Beginning,
    ) -> Self {
        let Beginning { boot, tokens, wait, now } = *beginning;
        let span = |millis: u32| Duration::from_millis(u64::from(millis));
        let longest = span(settings.longest_promise_ms);
        let config = WitnessConfig {
            cluster: settings.cluster,
            me: settings.me,
            class: LinkClass::Serial,
            longest_promise: longest,
            heartbeat: span(settings.heartbeat_ms),
            dead: span(settings.dead_ms),
        };
        // A witness waits for its own longest promise; where an earlier one can last longer, it
        // begins that much later, and says nothing until then.
        let begins = now + wait.checked_sub(longest).unwrap_or_default();
        let (pulse, distance) = (settings.pulse_ms.into(), settings.distance_ms.into());
        Self {
            control,
            witness: Witness::new(&config, keyring, boot, tokens.unwrap_or_default(), begins),
            resetter: Resetter::new(span(pulse), span(distance), now),
            settings,
            armed: None,
            asked_at: None,
            expected: PortSet::EMPTY,
            heard: NodeSet::EMPTY,
            favoured: NodeSet::EMPTY,
        }
    }

    /// Takes in a frame.
    pub(super) fn handle_frame(&mut self, port: PortId, frame: &[u8], now: Instant) -> Judged {
        let Some(link) = LinkId::new(port.number()) else { return Judged::Foreign };
        match self.witness.handle_frame(link, frame, now) {
            Ok(_) => Judged::Authentic,
            Err(Rejected::Loop) => Judged::Loop,
            Err(Rejected::Frame(FrameError::Body)) => Judged::TooLarge,
            Err(Rejected::Frame(FrameError::Tag)) => Judged::Forged,
            Err(rejected) if rejected.is_authentic() => Judged::Authentic,
            Err(_) => Judged::Foreign,
        }
    }

    /// Takes in either step of a reset, which was sealed, and returns the answer and what there is
    /// to write down.
    pub(super) fn handle_reset(
        &mut self,
        port: PortId,
        request: &Request,
        nonce: u64,
        now: Instant,
    ) -> Option<(Answer, Option<What>)> {
        self.witness.handle_timeout(now);
        let Self { witness, resetter, settings, armed, .. } = self;
        let allows = |arm: &_| {
            let lifesign_core::reset::Arm { target, .. } = arm;
            line_of(settings, *target).ok_or(Refusal::NoLine)?;
            witness.allows(arm)
        };
        let before = resetter.line();
        let (answer, target) = match request {
            Request::Arm(arm) => (resetter.handle_arm(arm, allows, nonce, now), arm.target),
            Request::Fire(fire) => {
                let answer = resetter.handle_fire(fire, allows, now);
                (answer, armed.unwrap_or(fire.id.asker))
            }
            Request::Info | Request::Log { .. } | Request::Echo { .. } | Request::Provision(_) => {
                return None;
            }
        };
        let what = match answer.outcome {
            Outcome::Armed { .. } => {
                *armed = Some(target);
                Some(What::Armed(target))
            }
            Outcome::Pulsing if before.is_none() => Some(What::Fired(target)),
            Outcome::Pulsing | Outcome::Done => None,
            Outcome::Refused(refusal) => Some(What::Refused(target, refusal)),
        };
        self.asked_at = Some(port);
        Some((answer, what))
    }

    /// Does what is due, and returns the answer to a reset that is over, where to, and what there
    /// is to write down.
    pub(super) fn handle_timeout(
        &mut self,
        lines: PortSet,
        now: Instant,
    ) -> Option<(Answer, Option<PortId>, What)> {
        self.witness.handle_timeout(now);
        let target = self.resetter.line();
        let line = target.and_then(|node| line_of(&self.settings, node));
        let follows = line.is_none_or(|line| lines.contains(line) || !self.expected.contains(line));
        let answer = self.resetter.handle_timeout(follows, now);
        self.expected = self.lines();
        let (answer, target) = (answer?, target?);
        let what = match answer.outcome {
            Outcome::Refused(refusal) => What::Refused(target, refusal),
            Outcome::Armed { .. } | Outcome::Pulsing | Outcome::Done => What::Reset(target),
        };
        Some((answer, self.asked_at.take(), what))
    }

    /// Returns the reset lines that are to be active.
    pub(super) fn lines(&self) -> PortSet {
        let line = self.resetter.line().and_then(|target| line_of(&self.settings, target));
        line.map_or(PortSet::EMPTY, |line| PortSet::EMPTY.with(line))
    }

    /// Returns one thing that has changed since it was last asked: who is heard, who is favoured.
    pub(super) fn poll_change(&mut self) -> Option<What> {
        let hears = self.hears();
        if let Some(node) = hears.difference(self.heard).iter().next() {
            self.heard.insert(node);
            return Some(What::Heard(node));
        }
        if let Some(node) = self.heard.difference(hears).iter().next() {
            self.heard.remove(node);
            return Some(What::Lost(node));
        }
        let favoured = self.witness.favoured();
        if favoured != self.favoured {
            self.favoured = favoured;
            let [low, high, ..] = favoured.bits().to_le_bytes();
            return Some(What::Favours(u16::from_le_bytes([low, high])));
        }
        None
    }

    /// Returns whom it hears.
    pub(super) fn hears(&self) -> NodeSet {
        self.witness.member().peers.alive()
    }

    /// Returns from when on it promises, if it may.
    pub(super) fn ready(&self) -> Instant {
        self.witness.member().voter.ready()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work.
    pub(super) fn poll_timeout(&self) -> Instant {
        let witness = self.witness.poll_timeout();
        self.resetter.poll_timeout().map_or(witness, |reset| reset.min(witness))
    }
}

/// Returns whose port's reset line resets `node`.
fn line_of(settings: &Settings, node: NodeId) -> Option<PortId> {
    PortId::all().zip(&settings.ports).find(|(_, port)| port.resets == Some(node)).map(|(id, _)| id)
}
