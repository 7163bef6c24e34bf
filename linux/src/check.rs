//! What settings promise: the inequality with its numbers, what they survive, and the worst
//! failover times.
//!
//! Every bound is a sum of named terms, so that a reader can doubt each on its own. Bounds are for
//! one failure at a time, on machines whose daemon runs when it is due.

mod advice;
mod bounds;
pub mod line;
mod page;
pub mod watchdog;
pub mod witness;

use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;
use lifesign_core::quorum::Module;
use lifesign_core::time::Duration;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

pub use self::bounds::{Bounds, Swap};
use self::line::LineCheck;
use self::watchdog::WatchdogCheck;
use crate::address::lease::{Enforcer, EnforcerChoice};
use crate::address::mac::GroupMac;
use crate::agent::Places;
use crate::agent::inspect::{Lack, inspect};
use crate::settings::mistake::Mistakes;
use crate::settings::{Group, Link, Settings, key};

/// Everything that can be said of settings before anything starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The version of this form: 1.
    pub version: u32,
    /// The cluster.
    pub cluster: String,
    /// Whether these settings may be run.
    pub accepted: bool,
    /// Whether no two nodes can answer for one address: not with `two-nodes` in the quorum chain.
    pub safe: bool,
    /// What is taken to enforce the kernel lease.
    pub enforcer: String,
    /// How often a heartbeat is sent.
    pub heartbeat_ms: f64,
    /// After how much silence a peer is lost.
    pub dead_ms: f64,
    /// The digest on which nodes must agree.
    pub digest: String,
    /// The groups.
    pub groups: Vec<GroupCheck>,
    /// The serial links.
    pub lines: Vec<LineCheck>,
    /// The most bytes that each node records for a replay, if it records anything.
    pub record_bytes: Option<u64>,
    /// What must be true of machines that cannot be asked from here.
    pub assumptions: Vec<String>,
    /// What is allowed and not wise.
    pub warnings: Vec<String>,
    /// Why these settings may not be run.
    pub errors: Vec<String>,
    #[serde(skip)]
    heading: String,
}

/// What can be said of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupCheck {
    /// Its name.
    pub name: String,
    /// What must be certain before it may start elsewhere.
    pub guard: &'static str,
    /// Which nodes may hold it, the preferred first.
    pub nodes: Vec<String>,
    /// The MAC address that moves with it, and what it is on, if it has one.
    pub mac: Option<String>,
    /// The terms of the inequality.
    pub terms: Terms,
    /// What a watchdog does or would do to them, if services must have stopped.
    pub watchdog: Option<WatchdogCheck>,
    /// How many heartbeats in a row may be lost.
    pub survives: Survives,
    /// The worst times, if the group is safe.
    pub bounds: Option<Bounds>,
}

/// The terms of D + S + g + K <= L * (1 - rho) / (1 + rho).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// D.
    pub authority_ms: f64,
    /// S.
    pub stop_ms: f64,
    /// g.
    pub granularity_ms: f64,
    /// K.
    pub overshoot_ms: f64,
    /// L.
    pub promise_ms: f64,
    /// rho, in millionths.
    pub clock_error_ppm: u32,
    /// The right side.
    pub secured_ms: f64,
}

/// How many heartbeats in a row may be lost on every path at once, with every phase at its worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Survives {
    /// Before a peer is taken for dead.
    pub dead: u64,
    /// Before a holder lets go. A path to one voter that completes its quorum is enough to keep it.
    pub authority: u64,
}

impl Check {
    /// Judges `settings` for machines whose kernel lease is `enforcement`.
    #[must_use]
    pub fn new(settings: &Settings, enforcement: Enforcer) -> Self {
        let overshoot = Duration::from_micros(enforcement.overshoot_us());
        let mut errors = Vec::new();
        let groups: Vec<GroupCheck> = settings
            .groups
            .iter()
            .map(|group| GroupCheck::new(settings, group, overshoot, &mut errors))
            .collect();
        let lines = LineCheck::all(settings, &mut errors);
        if errors.is_empty() {
            // Every node has the same file, so what the engine finds broken, it finds for the
            // first.
            let first = NodeId::new(0).map(|first| settings.engine_config(first, overshoot));
            errors.extend(first.and_then(Result::err).map(|error| error.to_string()));
        }
        Self {
            version: 1,
            cluster: settings.cluster.clone(),
            accepted: errors.is_empty(),
            safe: errors.is_empty() && !settings.quorum.modules().contains(&Module::TwoNodes),
            enforcer: enforcement.to_string(),
            heartbeat_ms: millis(settings.timing.heartbeat),
            dead_ms: millis(settings.timing.dead),
            digest: format!("{:08x}", settings.digest()),
            groups,
            lines,
            record_bytes: settings.record,
            assumptions: advice::assumptions(settings),
            warnings: advice::warnings(settings),
            errors,
            heading: heading(settings),
        }
    }

    /// Adds warnings about this machine as node `me`: adapters and keys that are not there (yet).
    #[must_use]
    pub fn on_this_machine(mut self, settings: &Settings, me: NodeId) -> Self {
        let name = settings.name_of(me);
        for adapter in missing_adapters(settings, me) {
            self.warnings.push(format!("this machine, as {name}, has no adapter {adapter}"));
        }
        let serial = settings.links.iter().filter_map(Link::serial);
        for device in serial.flat_map(|serial| serial.devices(me)).filter(|path| !path.exists()) {
            let device = device.display();
            self.warnings.push(format!("this machine, as {name}, has no device {device}"));
        }
        if let Err(error) = key::load(&settings.key_file, &settings.cluster) {
            self.warnings.push(error.to_string());
        }
        self
    }

    /// Adds warnings about the agents that node `me` may run, which is this machine. The `settings`
    /// are those of a file: its path and its text.
    ///
    /// # Errors
    /// Every parameter that an agent does not know, or lacks.
    pub fn with_agents(
        mut self,
        mut settings: Settings,
        me: NodeId,
        file: (&str, &str),
    ) -> Result<Self, Mistakes> {
        Places::here().settle(&mut settings);
        self.warnings.extend(inspect(&mut settings, me, file, Lack::Noted)?);
        Ok(self)
    }
}

/// Returns the adapters that node `me` needs by name and that this machine, as seen from the
/// calling process's network namespace, does not have.
#[must_use]
pub fn missing_adapters(settings: &Settings, me: NodeId) -> Vec<&str> {
    let of_links = settings.links.iter().filter_map(|link| link.adapter(me));
    let addresses = settings.groups.iter().flat_map(|group| &group.addresses);
    let of_groups = addresses.map(|address| address.adapter.as_str());
    let mut names: Vec<&str> = of_links.chain(of_groups.filter(|name| !name.is_empty())).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| if_nametoindex(*name).is_err());
    names
}

/// Returns the enforcer that `choice` comes to at worst; for `auto` it is nftables, which works in
/// every kernel of use.
#[must_use]
pub const fn expected(choice: EnforcerChoice) -> Enforcer {
    match choice {
        EnforcerChoice::Auto => Enforcer::Nftables,
        EnforcerChoice::Only(enforcer) => enforcer,
    }
}

impl GroupCheck {
    fn new(
        settings: &Settings,
        group: &Group,
        overshoot: Duration,
        errors: &mut Vec<String>,
    ) -> Self {
        let lease = settings.lease(group, overshoot);
        let authority = settings.authority(group, overshoot);
        let bounds = authority.is_ok().then(|| Bounds::new(settings, group, &lease));
        let authority = authority.unwrap_or_else(|shortfall| {
            errors.push(shortfall.to_string());
            shortfall.authority
        });
        let dead = settings.timing.dead;
        Self {
            name: group.name.clone(),
            guard: word(group.guard),
            nodes: group.prefer.iter().map(|node| settings.name_of(*node)).collect(),
            mac: group.mac.as_ref().map(GroupMac::said),
            terms: Terms {
                authority_ms: millis(authority),
                stop_ms: millis(lease.stop),
                granularity_ms: millis(lease.granularity),
                overshoot_ms: millis(lease.overshoot),
                promise_ms: millis(lease.promise),
                clock_error_ppm: lease.holder_error,
                secured_ms: millis(lease.secured()),
            },
            watchdog: WatchdogCheck::new(settings, group, overshoot, &lease, authority),
            // A peer is silent for one heartbeat when nothing is lost. An echo may wait a heartbeat
            // for its frame, so support is up to two heartbeats old when nothing is lost.
            survives: Survives {
                dead: lost_in_a_row(settings, dead, 1),
                authority: lost_in_a_row(settings, authority, 2),
            },
            bounds,
        }
    }
}

/// Returns how many heartbeats more than `always` fit `span`, with a round trip.
fn lost_in_a_row(settings: &Settings, span: Duration, always: u64) -> u64 {
    let heartbeat = settings.timing.heartbeat;
    let room = span.checked_sub(settings.round_trip()).unwrap_or_default();
    (room.as_micros() / heartbeat.as_micros().max(1)).saturating_sub(always)
}

const fn word(guard: Guard) -> &'static str {
    match guard {
        Guard::Address => "address",
        Guard::Stop => "stop",
        Guard::Fence => "fence",
    }
}

fn heading(settings: &Settings) -> String {
    let counted = |count: usize, one: &str| match (count, one) {
        (1, one) => format!("1 {one}"),
        (count, "witness") => format!("{count} witnesses"),
        (count, one) => format!("{count} {one}s"),
    };
    let parts = [
        counted(settings.nodes.len(), "node"),
        counted(settings.witnesses.len(), "witness"),
        counted(settings.links.len(), "link"),
        counted(settings.groups.len(), "group"),
    ];
    let timing = &settings.timing;
    format!(
        "cluster {}: {}\nheartbeat {}, dead {}, settle {}, dispute {}, longest promise {}",
        settings.cluster,
        parts.join(", "),
        timing.heartbeat,
        timing.dead,
        timing.settle,
        timing.dispute,
        timing.longest_promise,
    )
}

#[expect(clippy::cast_precision_loss, reason = "spans of the settings are below 2^53 microseconds")]
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
