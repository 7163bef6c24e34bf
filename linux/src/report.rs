//! What a daemon tells of itself, of what it sees, and of why.
//!
//! The same [`Report`] is shown to people by [`status`](crate::status) and [`why`](crate::why) and
//! given to machines as JSON. Within version 1 fields may be added; none changes its meaning.
//! Members, links and groups go by their names. Times are milliseconds, short ones with decimals.

mod client;
mod connections;
mod enforcer;
mod failures;
mod fence;
mod line;
mod network;
mod news;
mod quorum;
mod recording;
mod timing;
mod watchdog;
pub mod witness;
mod word;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::client::ClientReport;
pub use self::connections::ConnectionsReport;
pub use self::enforcer::EnforcerReport;
pub use self::failures::{FailuresReport, RestartsReport};
pub use self::fence::{FenceReport, FencedReport};
pub use self::line::{DongleReport, IpSideReport, LineErrorsReport, PingReport, PortReport};
pub use self::network::{NetworkReport, SeatReport};
pub use self::news::{Alert, Decision};
pub use self::quorum::{ModuleReport, QuorumReport};
pub use self::recording::RecordingReport;
pub use self::timing::TimingReport;
pub use self::watchdog::{BiteReport, WatchdogReport};
pub use self::word::WordReport;

/// The version of this form.
pub const VERSION: u32 = 1;

/// One node's view of its cluster at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Who reports.
    pub node: String,
    /// Its cluster.
    pub cluster: String,
    /// What it is doing.
    pub state: NodeState,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The digest of the settings on which nodes must agree, in hexadecimal.
    pub digest: String,
    /// Whether the members that are alive here could decide.
    pub quorum: QuorumReport,
    /// The groups, in the order of the settings.
    pub groups: Vec<GroupReport>,
    /// The other nodes, then the witnesses, in the order of the settings.
    pub peers: Vec<PeerReport>,
    /// The links, in the order of the settings.
    pub links: Vec<LinkReport>,
    /// Whom the reporting node is fencing.
    #[serde(default)]
    pub fencing: Vec<FenceReport>,
    /// How its last attempt to fence each server has ended, the latest last.
    #[serde(default)]
    pub fenced: Vec<FencedReport>,
    /// Whether clients can reach the reporting node, where it can tell.
    #[serde(default)]
    pub ip_side: Option<IpSideReport>,
    /// The networks with their adapters, in the order of the settings.
    #[serde(default)]
    pub networks: Vec<NetworkReport>,
    /// The moment of this report, in microseconds of boot time; a replay answers for the same one.
    #[serde(default)]
    pub at_us: u64,
    /// What the operator has said last to the whole cluster, if anything was ever said.
    #[serde(default)]
    pub word: Option<WordReport>,
    /// What is recorded for a replay, if anything is.
    #[serde(default)]
    pub recording: Option<RecordingReport>,
    /// The programs that run beside the daemon, in the order of the settings.
    #[serde(default)]
    pub clients: Vec<ClientReport>,
    /// The watchdog of the reporting node, if it has one that a group needs.
    #[serde(default)]
    pub watchdog: Option<WatchdogReport>,
    /// Connections of clients with service addresses, where anybody looks after them.
    #[serde(default)]
    pub connections: Option<ConnectionsReport>,
    /// What somebody should look at, the latest first.
    pub alerts: Vec<Alert>,
    /// When a node counts as silent.
    #[serde(default)]
    pub timing: TimingReport,
    /// The scheduling class that was obtained, such as `fifo 50, memory locked`.
    pub scheduling: String,
    /// What enforces the kernel lease.
    pub enforcer: EnforcerReport,
    /// The latest decisions, the latest first; at most 32.
    pub decisions: Vec<Decision>,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It has just started: it meets its peers, and promises and claims nothing.
    Booting,
    /// It takes part.
    Online,
    /// It votes, and the operator wants it free of all groups.
    Standby,
    /// It gives up what it holds and will end.
    Leaving,
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Its guard: `address`, `stop` or `fence`.
    pub guard: String,
    /// The part the reporting node plays.
    pub role: GroupRole,
    /// Who holds it, if the reporting node knows: itself, or a peer that is alive here.
    pub holder: Option<String>,
    /// The token under which it is held, or else the largest that was seen; 0 is none.
    pub token: u32,
    /// Its addresses with their prefixes.
    pub addresses: Vec<String>,
    /// The MAC address that moves with them, and what it is on, if it has one.
    #[serde(default)]
    pub mac: Option<String>,
    /// Which nodes may hold it, the preferred first.
    pub nodes: Vec<String>,
    /// The group that it follows, if it follows one.
    #[serde(default)]
    pub with: Option<String>,
    /// The groups that come first where both cannot be.
    #[serde(default)]
    pub apart: Vec<String>,
    /// Why the role is what it is: a sentence, without a full stop.
    pub reason: String,
    /// For how long.
    pub since_ms: u64,
    /// How long the authority lasts if nothing more is heard, while the role needs it.
    pub authority_left_ms: Option<f64>,
    /// What each voter says to the reporting node's want, or, if it has none, to nobody's.
    pub voters: Vec<VoterReport>,
    /// What stands between the reporting node and this group: a sentence, without a full stop.
    pub obstacle: Option<String>,
    /// What would have to happen for that to change: sentences, without full stops.
    pub would_change: Vec<String>,
    /// Whether the operator wants it started nowhere.
    #[serde(default)]
    pub disabled: bool,
    /// For how long yet nothing is done with it, if it is in maintenance.
    #[serde(default)]
    pub maintenance_left_ms: Option<u64>,
    /// Whether a watchdog resets a server that does not stop it in time.
    #[serde(default)]
    pub watched: bool,
    /// What has failed of it on the reporting node of late, if anything has.
    #[serde(default)]
    pub failures: Option<FailuresReport>,
    /// Its services, in the order of their start.
    #[serde(default)]
    pub services: Vec<ServiceReport>,
}

/// The part a node plays for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupRole {
    /// Not ours.
    Idle,
    /// Asked for, not yet backed by a quorum.
    Claiming,
    /// Backed by a quorum, being started.
    Starting,
    /// Started.
    Holding,
    /// Started, and offered to others.
    Offering,
    /// Being stopped.
    Stopping,
    /// Stopping failed.
    Stuck,
}

impl GroupRole {
    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Claiming => "claiming",
            Self::Starting => "starting",
            Self::Holding => "holding",
            Self::Offering => "offering",
            Self::Stopping => "stopping",
            Self::Stuck => "stuck",
        }
    }

    /// Returns whether the group's resources may be up on the reporting node.
    #[must_use]
    pub const fn is_up(self) -> bool {
        !matches!(self, Self::Idle | Self::Claiming)
    }
}

/// What a voter says to a want.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoterReport {
    /// Who.
    pub name: String,
    /// Whether its promise is fresh enough to count.
    pub supports: bool,
    /// How old its support is, counted from the sending of what it echoed.
    pub age_ms: Option<f64>,
    /// Why it does not support.
    pub why_not: Option<String>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Such as `started`, `stopped`, `failed: exit status 1`.
    pub state: String,
}

/// What is known of another member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PeerKind,
    /// How it is.
    pub state: PeerState,
    /// The start of it that is or was met, in hexadecimal.
    pub boot: Option<String>,
    /// For how long nothing has been heard of it, on any link.
    pub silent_ms: Option<f64>,
    /// The links to it.
    pub links: Vec<PeerLinkReport>,
    /// How many suspicious frames it says it has rejected.
    pub rejected_reported: u64,
    /// Whether it has the same settings; unknown until it is met.
    pub settings_agree: Option<bool>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// A server.
    Node,
    /// A voter that holds nothing.
    Witness,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// It hears and is heard.
    Alive,
    /// It has fallen silent on every link.
    Lost,
    /// It has left in good order.
    Left,
    /// It has not been met since the reporting node started.
    Unmet,
    /// It is heard and does not hear the reporting node, on every link.
    OneWay,
}

impl PeerState {
    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Lost => "lost",
            Self::Left => "left",
            Self::Unmet => "unmet",
            Self::OneWay => "one-way",
        }
    }
}

/// What one link says of a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerLinkReport {
    /// The link.
    pub link: String,
    /// How long ago the peer was heard on it.
    pub heard_ms: Option<f64>,
    /// Whether it was heard within the dead time.
    pub heard: bool,
    /// Whether the peer says that it hears the reporting node on it.
    pub hears_us: bool,
    /// How late its frames were.
    pub lateness: Lateness,
}

/// How often frames were late, by how much.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// How many frames were less late than this many microseconds: pairs of bound and count, the
    /// bounds growing; the last has no bound.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// The longest gap between two frames.
    pub longest_gap_ms: f64,
}

impl From<&lifesign_core::deadline::Lateness> for Lateness {
    fn from(lateness: &lifesign_core::deadline::Lateness) -> Self {
        use lifesign_core::deadline::LATENESS_BOUNDS_US;

        let bounds = LATENESS_BOUNDS_US.into_iter().map(Some).chain([None]);
        let counts = lateness.counts.into_iter().map(u64::from);
        Self {
            buckets: bounds.zip(counts).collect(),
            longest_gap_ms: millis(lateness.longest.as_micros()),
        }
    }
}

/// What is known of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// `udp`, `ether` or `serial`.
    #[serde(default = "udp")]
    pub kind: String,
    /// `up`, or `down: ` and why; a serial link is up if one of its ports is.
    pub state: String,
    /// The adapter on the reporting node, or its devices.
    pub adapter: String,
    /// How many bits a second a serial link carries.
    #[serde(default)]
    pub speed: Option<u32>,
    /// The ports of a serial link, in the order of the settings.
    #[serde(default)]
    pub ports: Vec<PortReport>,
    /// The dongle on a serial link, if it is a witness.
    #[serde(default)]
    pub dongle: Option<DongleReport>,
    /// Frames sent, one for each destination.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Bytes, both ways.
    pub bytes: u64,
    /// What the kernel dropped or could not send.
    pub drops: u64,
    /// Frames that were not taken in, by kind; kinds that never happened are left out.
    pub rejected: BTreeMap<String, u64>,
}

impl LinkReport {
    /// Returns whether the link works as far as this node can tell.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "up"
    }
}

fn udp() -> String {
    "udp".to_owned()
}

/// Returns microseconds as milliseconds.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "285 years of microseconds are exact")]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lifesign_core::deadline::Expectation;
    use lifesign_core::time::{Duration, Instant};

    /// Two nodes and a witness; alpha reports and holds `www`.
    pub(crate) fn good() -> Report {
        Report {
            version: VERSION,
            node: "alpha".to_owned(),
            cluster: "web".to_owned(),
            state: NodeState::Online,
            uptime_ms: 273_840_000,
            digest: "24687572".to_owned(),
            quorum: QuorumReport {
                have: true,
                votes: 2,
                total: 2,
                modules: vec![module("majority", "have"), module("witness", "not asked")],
            },
            groups: vec![held("www", "alpha", GroupRole::Holding)],
            peers: vec![
                peer("beta", PeerKind::Node, PeerState::Alive),
                peer("quorum", PeerKind::Witness, PeerState::Alive),
            ],
            links: vec![LinkReport {
                name: "lan".to_owned(),
                kind: udp(),
                state: "up".to_owned(),
                adapter: "eth0".to_owned(),
                speed: None,
                ports: Vec::new(),
                dongle: None,
                sent: 5_475_210,
                received: 5_474_988,
                bytes: 1_051_000_000,
                drops: 0,
                rejected: BTreeMap::new(),
            }],
            fencing: Vec::new(),
            fenced: Vec::new(),
            ip_side: None,
            networks: Vec::new(),
            at_us: 0,
            word: None,
            recording: None,
            clients: Vec::new(),
            watchdog: None,
            connections: None,
            alerts: Vec::new(),
            timing: TimingReport { heartbeat_ms: 50, dead_ms: 200, settle_ms: 1000 },
            scheduling: "fifo 50, memory locked".to_owned(),
            enforcer: EnforcerReport {
                name: "bpf".to_owned(),
                overshoot_us: 100,
                refused: Vec::new(),
            },
            decisions: vec![Decision {
                ago_ms: 7_380_000,
                text: "www: holding, because it has been started".to_owned(),
            }],
        }
    }

    pub(crate) fn module(name: &str, answer: &str) -> ModuleReport {
        ModuleReport { name: name.to_owned(), answer: answer.to_owned() }
    }

    pub(crate) fn held(name: &str, holder: &str, role: GroupRole) -> GroupReport {
        let voter = |name: &str, age_ms| VoterReport {
            name: name.to_owned(),
            supports: true,
            age_ms: Some(age_ms),
            why_not: None,
        };
        GroupReport {
            name: name.to_owned(),
            guard: "address".to_owned(),
            role,
            holder: Some(holder.to_owned()),
            token: 17,
            addresses: vec!["10.77.0.100/24".to_owned()],
            mac: None,
            nodes: vec!["alpha".to_owned(), "beta".to_owned()],
            with: None,
            apart: Vec::new(),
            reason: "it has been started".to_owned(),
            since_ms: 7_380_000,
            authority_left_ms: Some(20.3),
            voters: vec![voter("alpha", 0.4), voter("beta", 6.1), voter("quorum", 3.9)],
            obstacle: None,
            would_change: Vec::new(),
            disabled: false,
            maintenance_left_ms: None,
            watched: false,
            failures: None,
            services: Vec::new(),
        }
    }

    pub(crate) fn peer(name: &str, kind: PeerKind, state: PeerState) -> PeerReport {
        let is_alive = state == PeerState::Alive;
        let is_heard = is_alive || state == PeerState::OneWay;
        PeerReport {
            name: name.to_owned(),
            kind,
            state,
            boot: is_heard.then(|| "00000000deadbeef".to_owned()),
            silent_ms: is_heard.then_some(4.2),
            links: vec![PeerLinkReport {
                link: "lan".to_owned(),
                heard_ms: is_heard.then_some(4.2),
                heard: is_heard,
                hears_us: is_alive,
                lateness: Lateness::default(),
            }],
            rejected_reported: 0,
            settings_agree: is_heard.then_some(true),
        }
    }

    #[test]
    fn a_report_survives_json() {
        let report = good();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        assert!(text.contains(r#""role":"holding""#), "{text}");
        assert!(text.contains(r#""state":"online""#), "{text}");
    }

    #[test]
    fn later_fields_are_ignored_and_missing_ones_are_not() {
        let mut value = serde_json::to_value(good()).unwrap();
        value["invented_later"] = 7.into();
        assert_eq!(serde_json::from_value::<Report>(value.clone()).unwrap(), good());
        value.as_object_mut().unwrap().remove("groups");
        assert!(serde_json::from_value::<Report>(value).is_err());
    }

    #[test]
    fn lateness_keeps_its_bounds() {
        let mut expectation = Expectation::default();
        for at in [0, 10_000, 20_500, 60_000] {
            expectation.note(Duration::from_millis(10), Instant::from_micros(at));
        }
        let lateness = Lateness::from(expectation.lateness());
        assert_eq!(lateness.buckets.len(), 12);
        assert_eq!(lateness.buckets[0], (Some(1000), 2));
        assert_eq!(lateness.buckets[5], (Some(50_000), 1));
        assert_eq!(lateness.buckets[11], (None, 0));
        assert!((lateness.longest_gap_ms - 39.5).abs() < 1e-9);
    }
}
