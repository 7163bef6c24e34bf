//! What is explored: a small cluster, its clocks, and how much may go wrong.

use lifesign_core::config::{Config, Timing};
use lifesign_core::frame::LinkClass;
use lifesign_core::group::{Failback, GroupConfig, GroupSet, Guard};
use lifesign_core::node::{BootId, ClusterId, NodeId};
use lifesign_core::quorum::{Module, Quorum};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::{Duration, Instant};
use lifesign_core::witness::WitnessConfig;

/// The most servers and witnesses together.
pub const HOSTS: usize = 3;
/// As often as one likes.
pub const ANY: u8 = u8::MAX;
/// What the slowest honest clock shows of one unit of true time, in microseconds.
pub const SLOW: u64 = 4000;
/// What the fastest honest clock shows of one unit of true time, in microseconds.
pub const FAST: u64 = 5000;
/// What all clocks show when true time begins.
const EPOCH: Instant = Instant::from_micros(1_000_000);

/// How often something may go wrong, or be ordered, from the prologue to the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Messages lost.
    pub losses: u8,
    /// Cuts of the network into parts, and their mending.
    pub cuts: u8,
    /// Messages that come later than at the moment they are sent.
    pub delays: u8,
    /// How many messages are on their way from one moment to the next.
    pub flight: u8,
    /// Messages that come twice.
    pub copies: u8,
    /// Processes that are killed and started anew at once, and have forgotten all but their tokens.
    pub restarts: u8,
    /// Processes that do not run for as long as one likes; their kernels and clocks go on.
    pub pauses: u8,
    /// Orders of the operator.
    pub orders: u8,
}

impl Limits {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        losses: 0,
        cuts: 0,
        delays: 0,
        flight: 2,
        copies: 0,
        restarts: 0,
        pauses: 0,
        orders: 0,
    };
}

/// Which ways a cut can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ways {
    /// Also one direction alone.
    Each,
    /// Both directions between two hosts, or between one host and all others.
    Both,
}

/// What the operator may ask of any server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Be free of the group.
    Standby,
    /// Take the group.
    Takeover,
    /// Leave in good order.
    Leave,
    /// Go on to the next keys of the rotation.
    Rekey,
}

/// Something outside the core that is deliberately wrong, to show that the exploration notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A process that has started claims to have run for long: its voter does not wait.
    NoBootWait,
    /// The shell says that it has stopped a group and stops it a unit of time later.
    StopsLate,
    /// The reset line is reported to have been active although it does not lead to anybody.
    LooseResetLine,
    /// Every host is given the last keys at its first step.
    KeysAtOnce,
}

/// A small cluster and how much may go wrong in it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many servers; with two there is a witness.
    pub servers: u8,
    /// What each host's clock shows of one unit of true time, in microseconds; the witness is last.
    pub rates: [u64; HOSTS],
    /// The guard of the group.
    pub guard: Guard,
    /// The age at which authority ends, in microseconds.
    pub authority_us: u64,
    /// Whether the witness is a dongle with a reset line to each server.
    pub has_reset_lines: bool,
    /// Whether the first holder has been reset once already, has started anew, and has been given
    /// the group again, before anything is tried.
    pub was_reset: bool,
    /// For how many units of true time everything is tried.
    pub horizon: u16,
    /// How much may go wrong.
    pub limits: Limits,
    /// Which hosts may be restarted and paused, one bit each.
    pub shaky: u8,
    /// What the operator may ask.
    pub orders: &'static [Order],
    /// Whether the kernel ends what answers by itself; a disk is used until the process that holds
    /// it lets it go.
    pub has_kernel_lease: bool,
    /// Whether the group must be held at every moment: nothing that may go wrong is a reason to let
    /// it go.
    pub is_always_held: bool,
    /// Which ways are cut.
    pub ways: Ways,
    /// Whether every moment's promises are looked at, or the servers that answer alone.
    pub looks_at_promises: bool,
    /// What is deliberately wrong.
    pub flaw: Option<Flaw>,
}

/// L: a promise lasts four units on the fastest clock and five on the slowest.
pub const PROMISE: Duration = Duration::from_millis(20);
/// D, at the limit of the inequality: what the slowest clock shows while the fastest shows L.
pub const AUTHORITY_US: u64 = 16_000;
const HEARTBEAT: Duration = Duration::from_millis(4);
const DEAD: Duration = Duration::from_millis(12);

impl Setup {
    /// Returns two servers and a witness, or three servers, with everybody's clock the same.
    #[must_use]
    pub const fn new(servers: u8, horizon: u16, limits: Limits) -> Self {
        Self {
            servers,
            rates: [FAST; HOSTS],
            guard: Guard::Address,
            authority_us: AUTHORITY_US,
            has_reset_lines: false,
            was_reset: false,
            horizon,
            limits,
            shaky: u8::MAX,
            orders: &[],
            has_kernel_lease: true,
            is_always_held: false,
            ways: Ways::Each,
            looks_at_promises: true,
            flaw: None,
        }
    }

    /// Returns what the clock of `host` shows at the true time `at`.
    #[must_use]
    pub fn local(&self, host: usize, at: u16) -> Instant {
        EPOCH + Duration::from_micros(self.rates[host] * u64::from(at))
    }

    /// Returns whether `one` on the clock of one host comes before `other` on that of another.
    #[must_use]
    pub fn is_before(&self, one: (usize, Instant), other: (usize, Instant)) -> bool {
        let shown = |moment: Instant| u128::from(moment.since(EPOCH).as_micros());
        let rate = |host: usize| u128::from(self.rates[host]);
        shown(one.1) * rate(other.0) < shown(other.1) * rate(one.0)
    }

    /// Returns the id of `host`.
    ///
    /// # Panics
    /// If there is no such host.
    #[must_use]
    pub fn id(&self, host: usize) -> NodeId {
        let number = u8::try_from(host).expect("few hosts");
        let id = if number < self.servers { NodeId::new(number) } else { NodeId::witness(0) };
        id.expect("a host's number")
    }

    /// Returns the place of the host with this id.
    #[must_use]
    pub fn host(&self, id: NodeId) -> usize {
        if id.is_witness() { self.servers.into() } else { id.index() }
    }

    /// Returns the votes.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        let quorum = if self.servers == 2 {
            Quorum::new(&[1, 1], 1, &[Module::Majority, Module::Witness], false)
        } else {
            Quorum::new(&[1, 1, 1], 0, &[Module::Majority], false)
        };
        quorum.expect("a safe chain")
    }

    /// Returns the settings of a server. The quickest ones that are safe: no time is spent waiting
    /// that could be spent on going wrong.
    ///
    /// # Panics
    /// If the setup is inconsistent.
    #[must_use]
    pub fn config(&self, host: usize) -> Config<1, 1> {
        let quorum = self.quorum();
        let group = GroupConfig {
            guard: self.guard,
            promise: PROMISE,
            authority: Duration::from_micros(self.authority_us),
            order: quorum.nodes().iter().collect(),
            failback: Failback::Off,
            with: None,
            apart: GroupSet::EMPTY,
        };
        let timing = Timing {
            heartbeat: HEARTBEAT,
            dead: DEAD,
            longest_promise: PROMISE,
            settle: HEARTBEAT,
            dispute: DEAD,
            offer: PROMISE,
        };
        Config::new(Config {
            cluster: ClusterId(7),
            me: self.id(host),
            quorum,
            links: [LinkClass::Udp].into_iter().collect(),
            timing,
            groups: [group].into_iter().collect(),
            digest: 1,
        })
        .expect("a consistent configuration")
    }

    /// Returns the settings of the witness.
    #[must_use]
    pub fn witness(&self) -> WitnessConfig {
        WitnessConfig {
            cluster: ClusterId(7),
            me: self.id(self.servers.into()),
            class: LinkClass::Udp,
            longest_promise: PROMISE,
            heartbeat: HEARTBEAT,
            dead: DEAD,
        }
    }
}

/// Returns the boot id of the start `number` of `host`; it is told from all others, and readable.
#[must_use]
pub const fn boot(host: usize, number: u8) -> BootId {
    BootId::new(host as u64 * 100 + number as u64)
}

/// Returns the keys after so many steps of a rotation: give everybody the new key, let everybody
/// sign with it, take the old one away.
///
/// # Panics
/// Never.
#[must_use]
pub fn keyring(step: u8) -> Keyring {
    let old = (KeyId(1), Key::new([0x11; KEY_LEN]));
    let new = (KeyId(2), Key::new([0x22; KEY_LEN]));
    let ring = match step {
        0 => Keyring::new(&[old], KeyId(1)),
        1 => Keyring::new(&[old, new], KeyId(1)),
        2 => Keyring::new(&[old, new], KeyId(2)),
        _ => Keyring::new(&[new], KeyId(2)),
    };
    ring.expect("a signer among the keys")
}

/// The last step of a rotation.
pub const LAST_KEYS: u8 = 3;
