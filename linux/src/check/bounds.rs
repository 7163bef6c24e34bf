//! The worst times without an answer.

use lifesign_core::config::Lease;
use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use serde::Serialize;

use super::millis;
use crate::agent::fence::means_against;
use crate::settings::{Group, Settings};

/// The worst times without an answer from a group's addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// The holder and its links are gone at once.
    pub crash_ms: f64,
    /// What `crash_ms` is the sum of: the longest silence before the last voter is free, the
    /// back-off of the last candidate, its claim, the start of the addresses, and for a `fence`
    /// group every time limit of the slowest server's means, of which the last must work.
    pub crash_terms: Vec<(&'static str, f64)>,
    /// The holder's daemon is killed, and its supervisor lives.
    pub daemon_killed_ms: f64,
    /// The group is moved in good order.
    pub switchover_ms: f64,
    /// A holder that nobody hears is silent, counted from the sending of the last frame that a
    /// quorum echoed.
    pub isolated_silent_ms: f64,
    /// The addresses go to another adapter of the holder, if there is one.
    pub swap: Option<Swap>,
    /// What the services may take to start after that, and in a switchover to stop before.
    pub services_start_ms: f64,
}

/// The worst times without an answer where an address moves to another adapter of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Swap {
    /// The adapter has lost its carrier.
    pub no_carrier_ms: f64,
    /// Frames have stopped, and the carrier is there.
    pub silent_ms: f64,
}

/// What bringing addresses up may take: a netlink transaction and the first announcement.
const START: Duration = Duration::from_millis(10);
/// What the supervisor may take to clean up after a killed daemon and to send the farewell.
const CLEANUP: Duration = Duration::from_millis(20);
/// What handing over may take besides the claim: addresses down on one node and up on the other.
const HANDOVER: Duration = Duration::from_millis(5);

impl Bounds {
    pub(super) fn new(settings: &Settings, group: &Group, lease: &Lease) -> Self {
        let heartbeat = settings.timing.heartbeat;
        let claim = heartbeat.times(2);
        let others = group.prefer.len().saturating_sub(2);
        let back_off = heartbeat.times(u64::try_from(others).unwrap_or(u64::MAX));
        // A voter's slow clock makes its promise, and its patience with the silent holder, longer
        // in true time.
        let silence =
            Lease { promise: group.promise.max(settings.timing.dead), ..*lease }.longest();
        let terms = [
            ("silence", silence),
            ("back-off", back_off),
            ("claim", claim),
            ("round trip", settings.round_trip()),
            ("start", START),
            ("fence", longest_fence(settings, group).unwrap_or_default()),
        ];
        let crash = terms.iter().fold(Duration::ZERO, |sum, (_, term)| sum + *term);
        let services = &group.services;
        Self {
            crash_ms: millis(crash),
            crash_terms: terms.map(|(name, term)| (name, millis(term))).to_vec(),
            daemon_killed_ms: millis(CLEANUP + claim),
            switchover_ms: millis(HANDOVER + claim),
            isolated_silent_ms: millis(
                lease.authority().unwrap_or_default()
                    + lease.granularity
                    + lease.overshoot
                    + lease.stop,
            ),
            swap: Swap::new(settings, group),
            services_start_ms: millis(
                services.iter().fold(Duration::ZERO, |sum, service| sum + service.start_limit),
            ),
        }
    }
}

impl Swap {
    /// Returns the times where an address of `group` may be on several adapters of some node.
    fn new(settings: &Settings, group: &Group) -> Option<Self> {
        let mut networks = group.addresses.iter().filter_map(|it| settings.network_of(it.ip));
        let is_several = |node: &NodeId, network| settings.adapters_on(network, *node).len() > 1;
        networks.find(|network| group.prefer.iter().any(|node| is_several(node, network)))?;
        let move_within = START.times(2);
        let silent = settings.timing.dead + settings.round_trip() + move_within;
        Some(Self { no_carrier_ms: millis(move_within), silent_ms: millis(silent) })
    }
}

/// Returns what it may take until the last of a server's means has fenced it, for the slowest of
/// those that could be holding `group`, or `None` if nobody need be fenced or nothing limits it.
fn longest_fence(settings: &Settings, group: &Group) -> Option<Duration> {
    if group.guard != Guard::Fence {
        return None;
    }
    let mut longest = Duration::ZERO;
    for (node, _) in settings.members().filter(|(node, _)| group.prefer.contains(node)) {
        let means = means_against(settings, node);
        if means.is_empty() {
            return None;
        }
        longest = longest.max(means.iter().fold(Duration::ZERO, |sum, one| sum + one.limit));
    }
    Some(longest)
}
