//! How a seed becomes faults: which kinds are switched on, when the next one comes, and which.

use std::collections::BTreeMap;

use lifesign_core::group::Guard;

use super::Profile;
use crate::coverage::KINDS;
use crate::fault::{Fault, Keys, Manner, Order, Rubbish, Step};
use crate::random::Random;
use crate::scene::{Holder, Scene, Taker};
use crate::world::{Micros, Setup};

/// Returns whether faults of this kind stay within what is assumed under `guard`.
fn is_assumed(kind: &str, guard: Guard) -> bool {
    match kind {
        "lose-state" | "tear-state" | "reconfigure" | "lie-started" => false,
        // Whoever is fenced may stand still for as long as it likes.
        "suspend" => guard == Guard::Fence,
        "lie-stopped" => guard == Guard::Address,
        _ => true,
    }
}

/// Kinds for serial lines.
const LINES: [&str; 10] = [
    "cut-networks",
    "swap-classes",
    "cut-line",
    "stick-line",
    "noise",
    "mend-line",
    "bytes",
    "stranger",
    "replay-request",
    "reset-stuck",
];

/// When the next fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// After this long.
    After(Micros),
    /// Some time after a group's holder and taker do this, or after the longest wait.
    When { group: u8, holder: Holder, taker: Taker, longest: Micros, then: Micros },
}

/// Chooses faults.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    random: Random,
    kinds: Vec<&'static str>,
    setup: Setup,
    /// Whether faults may go beyond what is assumed.
    is_beyond: bool,
    keys: BTreeMap<u8, Keys>,
    steps: u64,
}

impl Draw {
    /// Draws what a seed is played with.
    pub(super) fn new(seed: u64, profile: Option<Profile>) -> Self {
        // The world has the seed itself; what is drawn here must not depend on it.
        let mut random = Random::new(seed ^ 0x706c_616e);
        let drawn = Profile::draw(&mut random);
        let setup = profile.unwrap_or(drawn).setup(&mut random);
        let is_beyond = random.chance(7);
        let percent = random.pick(&[0, 10, 25, 25, 50, 80]);
        let fits = |kind: &&str| {
            (is_beyond || is_assumed(kind, setup.guard))
                && (setup.wiring.is_some() || !LINES.contains(kind))
        };
        let mut kinds: Vec<&'static str> = KINDS.into_iter().filter(fits).collect();
        kinds.retain(|kind| {
            // Who breaks something may also mend it.
            let mends = matches!(*kind, "mend" | "mend-line" | "boot") && percent > 0;
            let beyond = is_beyond && !is_assumed(kind, setup.guard);
            mends || random.chance(if beyond { 50 } else { percent })
        });
        let steps = random.pick(&[4, 12, 30, 60]);
        Self { random, kinds, setup, is_beyond, keys: BTreeMap::new(), steps }
    }

    pub(super) const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns how many faults there are, or how many moments pass without one.
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns what breaks before the first draw: an attacker has to have listened.
    pub(super) fn first(&self) -> Vec<Fault> {
        let listens = ["replay", "swap-classes"].iter().any(|kind| self.kinds.contains(kind));
        if listens { vec![Fault::Record { on: true }] } else { Vec::new() }
    }

    /// Returns how long nobody looks while a moment is waited for.
    pub(super) const fn glance(&self) -> Micros {
        self.heartbeat() / 50
    }

    /// Returns how long the last faults last.
    pub(super) fn rest(&mut self) -> Micros {
        self.random.below(20 * self.heartbeat())
    }

    const fn heartbeat(&self) -> Micros {
        self.setup.heartbeat_ms * 1000
    }

    /// Returns a span that means something here, or nearly so.
    fn span(&mut self) -> Micros {
        let (setup, heartbeat) = (&self.setup, self.heartbeat());
        let (dead, promise) = (setup.dead_ms * 1000, setup.promise_ms * 1000);
        let spans = [
            heartbeat,
            dead,
            setup.authority().as_micros(),
            promise,
            promise + dead,
            15 * heartbeat,
            40 * heartbeat,
            setup.start_us,
            setup.stop_ms * 1000,
        ];
        let span = self.random.pick(&spans);
        match self.random.below(4) {
            0 => span,
            1 => span.saturating_sub(self.random.below(heartbeat / 8 + 1)),
            2 => span + self.random.below(heartbeat / 8 + 1),
            _ => self.random.below(2 * span + 1),
        }
    }

    /// Says when the next fault comes.
    pub(super) fn moment(&mut self) -> Moment {
        let heartbeat = self.heartbeat();
        match self.random.below(10) {
            0 => Moment::After(self.random.below(3)),
            1..=3 => Moment::After(self.random.below(8 * heartbeat)),
            4 | 5 => Moment::After(self.span()),
            _ => Moment::When {
                group: u8::try_from(self.random.below(self.setup.groups.into())).unwrap_or(0),
                holder: self.random.pick(&Holder::ALL),
                taker: self.random.pick(&[
                    Taker::Off,
                    Taker::Idle,
                    Taker::Claiming,
                    Taker::Claiming,
                ]),
                longest: self.random.pick(&[4, 10, 60]) * heartbeat,
                then: self.random.pick(&[0, 0, 1, heartbeat / 10, heartbeat]),
            },
        }
    }

    /// Chooses a host: often the one that has a group, or the one that is nearest to taking it.
    fn host(&mut self, scene: &Scene) -> u8 {
        let group = u8::try_from(self.random.below(self.setup.groups.into())).unwrap_or(0);
        let server = u8::try_from(self.random.below(self.setup.nodes.into())).unwrap_or(0);
        let witness =
            16 + u8::try_from(self.random.below(self.setup.witnesses.into())).unwrap_or(0);
        match self.random.below(10) {
            0..=3 => scene.holder(group).unwrap_or(server),
            4 | 5 => scene.taker(group).unwrap_or(server),
            6 | 7 if self.setup.witnesses > 0 => witness,
            _ => server,
        }
    }

    fn server(&mut self, scene: &Scene) -> u8 {
        let host = self.host(scene);
        if host < 16 { host } else { scene.holder(0).unwrap_or(0) }
    }

    fn pick(&mut self) -> u32 {
        u32::try_from(self.random.bits() >> 32).unwrap_or(0)
    }

    fn percent(&mut self, end: u64) -> u8 {
        u8::try_from(self.random.below(end)).unwrap_or(0)
    }

    /// Chooses the next fault, if there is one.
    pub(super) fn fault(&mut self, scene: &Scene) -> Option<Fault> {
        let kind = (!self.kinds.is_empty()).then(|| self.random.pick(&self.kinds))?;
        Some(self.make(kind, scene))
    }

    /// Makes a fault of this kind.
    pub(super) fn make(&mut self, kind: &str, scene: &Scene) -> Fault {
        let heartbeat = self.heartbeat();
        match kind {
            "loss" => Fault::Loss { percent: self.percent(60) },
            "burst" => Fault::Burst {
                enter: self.random.pick(&[0, 20, 100, 500]),
                leave: self.random.pick(&[100, 500, 2000]),
                percent: self.random.pick(&[50, 90, 100]),
            },
            "delay" => Fault::Delay {
                delay: self.random.pick(&[50, heartbeat / 4, 3 * heartbeat]),
                jitter: self.random.pick(&[100, heartbeat / 2, 4 * heartbeat, 20 * heartbeat]),
            },
            "reorder" => Fault::Reorder { percent: self.percent(50), span: self.span() },
            "duplicates" => Fault::Duplicates { percent: self.percent(50) },
            "damage" => {
                Fault::Damage { percent: self.percent(60), checksum_right: self.random.chance(70) }
            }
            "swap-links" => Fault::SwapLinks { one: 0, other: 1 },
            "cut-networks" => Fault::CutNetworks,
            "cut" | "mend" => self.cut(kind == "mend", scene),
            "replay" | "hold-back" | "reflect" | "flood" | "swap-classes" => {
                self.attack(kind, scene)
            }
            "hang" | "fail-start" | "fail-stop" | "lie-started" | "lie-stopped" | "slow" => {
                self.agent(kind, scene)
            }
            "standby" | "takeover" | "leave" | "failed" | "unable" | "maintain" | "resume"
            | "disable" | "enable" | "move" => self.order(kind, scene),
            "cut-line" | "stick-line" | "noise" | "mend-line" | "bytes" | "stranger"
            | "replay-request" | "reset-stuck" | "reset-free" => self.line(kind, scene),
            _ => self.hit(kind, scene),
        }
    }

    fn cut(&mut self, mends: bool, scene: &Scene) -> Fault {
        let (from, mut to) = (self.host(scene), self.host(scene));
        if from == to {
            to = if from == 0 { 1 } else { 0 };
        }
        let links: &[_] = if self.setup.links > 1 { &[None, Some(0), Some(1)] } else { &[None] };
        let link = self.random.pick(links);
        if mends { Fault::Mend { from, to, link } } else { Fault::Cut { from, to, link } }
    }

    fn hit(&mut self, kind: &str, scene: &Scene) -> Fault {
        let host = self.host(scene);
        let span = self.span();
        match kind {
            "kill" => Fault::Kill { host },
            "crash" => Fault::Crash { host },
            "crash-in" => Fault::CrashIn {
                host,
                step: self.random.pick(&[
                    Step::Authority,
                    Step::Frames,
                    Step::Decision,
                    Step::Events,
                    Step::OneFrame,
                ]),
                boot: self.random.chance(70).then_some(span),
            },
            "pause" => Fault::Pause { host, span },
            "freeze" => Fault::Freeze { host, span },
            "suspend" => Fault::Suspend { host, span },
            "clock-rate" => Fault::ClockRate { host, error_ppm: self.clock_error(host) },
            "lose-state" => Fault::LoseState { host },
            "tear-state" => Fault::TearState { host },
            "save-fails" => Fault::SaveFails { host, span },
            "save-slow" => Fault::SaveSlow { host, span: self.random.pick(&[0, 100, span]) },
            "reconfigure" => Fault::Reconfigure {
                host: self.server(scene),
                digest: self.random.pick(&[1, 2]),
                promise_ms: self.setup.promise_ms,
            },
            "rekey" => self.rekey(host),
            _ => Fault::Boot { host },
        }
    }

    fn clock_error(&mut self, host: u8) -> i32 {
        let assumed = if host < 16 { self.setup.clock_error } else { self.setup.witness_error };
        let assumed = i32::try_from(assumed).unwrap_or(0);
        let beyond = [-300_000, -3 * assumed, 3 * assumed, 300_000];
        let within = [-assumed, -assumed / 2, 0, assumed];
        let error = self.random.pick(&within);
        if self.is_beyond { self.random.pick(&beyond) } else { error }
    }

    /// The next step of a rotation for this host, if all others are near enough; otherwise it is
    /// for the host that is furthest behind.
    fn rekey(&mut self, host: u8) -> Fault {
        const ORDER: [Keys; 4] = [Keys::Old, Keys::BothOldSigns, Keys::BothNewSigns, Keys::New];
        let hosts = (0..self.setup.nodes).chain((0..self.setup.witnesses).map(|it| 16 + it));
        let behind =
            |keys: Option<&Keys>| ORDER.iter().position(|it| keys == Some(it)).unwrap_or_default();
        let last = hosts.min_by_key(|it| behind(self.keys.get(it))).unwrap_or(host);
        let (least, own) = (behind(self.keys.get(&last)), behind(self.keys.get(&host)));
        let host = if own > least { last } else { host };
        let next = ORDER[(behind(self.keys.get(&host)) + 1).min(3)];
        self.keys.insert(host, next);
        Fault::Rekey { host, keys: next }
    }

    fn attack(&mut self, kind: &str, scene: &Scene) -> Fault {
        let (from, mut to) = (self.host(scene), self.host(scene));
        if from == to {
            to = if from == 0 { 1 } else { 0 };
        }
        let (count, pick) = (self.random.pick(&[1, 10, 100]), self.pick());
        match kind {
            "replay" => Fault::Replay { count, to: self.random.chance(20).then_some(to), pick },
            "hold-back" => Fault::HoldBack { from, to, span: self.span() },
            "reflect" => Fault::Reflect { host: from, span: self.span() },
            "swap-classes" => Fault::SwapClasses { to: self.server(scene), count, pick },
            _ => Fault::Flood {
                to,
                count,
                rubbish: self.random.pick(&[
                    Rubbish::Bytes,
                    Rubbish::Forged,
                    Rubbish::WrongKey,
                    Rubbish::OtherCluster,
                ]),
                pick,
            },
        }
    }

    fn agent(&mut self, kind: &str, scene: &Scene) -> Fault {
        let manner = match kind {
            _ if self.random.chance(30) => Manner::Honest,
            "hang" => Manner::Hang,
            "fail-start" => Manner::FailStart,
            "fail-stop" => Manner::FailStop,
            "lie-started" => Manner::LieStarted,
            "lie-stopped" => Manner::LieStopped,
            _ => Manner::Slow(self.span()),
        };
        let group = u8::try_from(self.random.below(self.setup.groups.into())).unwrap_or(0);
        Fault::Agent { host: self.server(scene), group, manner }
    }

    fn order(&mut self, kind: &str, scene: &Scene) -> Fault {
        let group = u8::try_from(self.random.below(self.setup.groups.into())).unwrap_or(0);
        let order = match kind {
            "standby" => Order::Standby,
            "takeover" => Order::Takeover,
            "leave" => Order::Leave,
            "failed" => Order::Failed,
            "maintain" => Order::Maintain(self.random.pick(&[1, 4, 10]) * self.span()),
            "resume" => Order::Resume,
            "disable" => Order::Disable,
            "enable" => Order::Enable,
            "move" => Order::Move(self.server(scene)),
            _ if self.random.chance(50) => Order::Able,
            _ => Order::Unable,
        };
        let is_of_one = matches!(order, Order::Disable | Order::Enable | Order::Move(_));
        let one = order != Order::Leave && (is_of_one || self.random.chance(50));
        Fault::Order { host: self.server(scene), group: one.then_some(group), order }
    }

    fn line(&mut self, kind: &str, scene: &Scene) -> Fault {
        let line = self.percent(u64::from(self.setup.nodes));
        let way = self.percent(2);
        let (to, port, pick) = (self.host(scene), self.percent(2), self.pick());
        match kind {
            "cut-line" => Fault::CutLine { line, way: self.random.chance(50).then_some(way) },
            "stick-line" => Fault::StickLine { line, way },
            "noise" => Fault::Noise { line, way, rate: self.random.pick(&[1, 10, 100, 1000]) },
            "mend-line" => Fault::MendLine { line },
            "bytes" => Fault::Bytes { to, port, count: 300, pick },
            "stranger" => {
                Fault::Stranger { to, port, about: self.percent(u64::from(self.setup.nodes)) }
            }
            "replay-request" => Fault::ReplayRequest { pick },
            _ => Fault::ResetStuck { stuck: kind == "reset-stuck" },
        }
    }
}
