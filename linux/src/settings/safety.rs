//! The inequality for these settings, the configuration of the engine, and what all nodes must
//! agree on.

use core::fmt;
use core::fmt::Write;

use heapless::Vec as Fixed;
use lifesign_core::config::{Config, ConfigError, Lease};
use lifesign_core::group::{Failback, GroupConfig, Guard};
use lifesign_core::node::{ClusterId, NodeId};
use lifesign_core::time::Duration;
use sha2::{Digest, Sha256};

use super::document::RawTiming;
use super::line::Overload;
use super::{Group, Link, LinkKind, Service, Settings, Watchdog};

/// K of `valid_lft`; from this on, no absolute deadline in the kernel is assumed.
const VALID_LFT_OVERSHOOT: Duration = Duration::from_millis(1000);

/// What a round trip between members is allowed to take, the peers' own delays included.
pub const ROUND_TRIP: Duration = Duration::from_millis(1);

/// What stopping takes besides the stop commands: to begin each, and to end it by force at its
/// limit.
const STOP_MARGIN: Duration = Duration::from_millis(100);

impl Group {
    /// Returns S: the budget for stopping once authority has ended. Where stopping is the guard,
    /// the services' stop limits and 100 ms for each service; else nothing, for nothing rests on
    /// who has stopped: the addresses are silent, or the server is fenced.
    #[must_use]
    pub fn stop_budget(&self) -> Duration {
        stop_budget(self.guard, &self.services)
    }

    /// Returns how long stopping may take, whatever the guard is.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        stop_time(&self.services)
    }
}

fn stop_budget(guard: Guard, services: &[Service]) -> Duration {
    match guard {
        Guard::Address | Guard::Fence => Duration::ZERO,
        Guard::Stop => stop_time(services),
    }
}

fn stop_time(services: &[Service]) -> Duration {
    services.iter().fold(Duration::ZERO, |sum, service| sum + service.stop_limit + STOP_MARGIN)
}

/// Returns L of a group that does not say: the cluster's promise, lengthened so that neither
/// stopping nor a watchdog with this K shortens anybody's authority. It follows from the settings
/// alone, so all nodes agree.
pub(super) fn default_promise(
    guard: Guard,
    services: &[Service],
    watchdog: Option<Duration>,
    timing: &RawTiming,
) -> Duration {
    let granularity = if guard == Guard::Address { Duration::ZERO } else { timing.heartbeat };
    let watchdog = watchdog.filter(|_| guard == Guard::Stop).unwrap_or_default();
    let spent = stop_budget(guard, services) + granularity + watchdog;
    timing.promise + promise_for(spent, timing.clock_error)
}

/// Returns the shortest promise, in whole milliseconds, that secures `span` with clocks of this
/// error.
pub(crate) fn promise_for(span: Duration, clock_error: u32) -> Duration {
    if span == Duration::ZERO {
        return span;
    }
    let error = u64::from(clock_error);
    let promise = span.scaled(1_000_000 + error, 1_000_000_u64.saturating_sub(error));
    // One microsecond for each of the two roundings, on the way here and on the way back.
    let micros = promise.as_micros().saturating_add(2);
    Duration::from_millis(micros.div_ceil(1000))
}

impl Settings {
    /// Returns the terms of the inequality for `group`, where the kernel lease may overshoot by
    /// `overshoot`.
    ///
    /// The daemon's own lateness g counts as one heartbeat, and as nothing where the kernel holds
    /// an absolute deadline: the guard is the address and the overshoot is less than that of
    /// `valid_lft`. Where a watchdog enforces that services have stopped, its overshoot counts if
    /// it is the longer one.
    #[must_use]
    pub fn lease(&self, group: &Group, overshoot: Duration) -> Lease {
        let lease = self.lease_without_watchdog(group, overshoot);
        let watchdog = self.enforcing_watchdog(group).map(Watchdog::overshoot);
        Lease { overshoot: lease.overshoot.max(watchdog.unwrap_or_default()), ..lease }
    }

    /// Returns the watchdog, if it is what enforces that the services of `group` have stopped.
    #[must_use]
    pub fn enforcing_watchdog(&self, group: &Group) -> Option<&Watchdog> {
        self.watchdog.as_ref().filter(|_| group.watchdog && group.guard == Guard::Stop)
    }

    /// Returns the terms as if there were no watchdog; see [`lease`](Self::lease).
    #[must_use]
    pub fn lease_without_watchdog(&self, group: &Group, overshoot: Duration) -> Lease {
        let is_absolute = group.guard == Guard::Address && overshoot < VALID_LFT_OVERSHOOT;
        Lease {
            promise: group.promise,
            stop: group.stop_budget(),
            granularity: if is_absolute { Duration::ZERO } else { self.timing.heartbeat },
            overshoot: if group.addresses.is_empty() { Duration::ZERO } else { overshoot },
            holder_error: self.clock_error,
            voter_error: self.clock_error,
        }
    }

    /// Returns D for `group`, where the kernel lease may overshoot by `overshoot`.
    ///
    /// # Errors
    /// Says by how much the promise is too short, if authority would end before two heartbeats and
    /// a round trip: a holder would lose it without losing a single frame.
    pub fn authority(&self, group: &Group, overshoot: Duration) -> Result<Duration, Shortfall> {
        let lease = self.lease(group, overshoot);
        let needed = self.timing.heartbeat.times(2) + self.round_trip();
        match lease.authority() {
            Some(authority) if authority >= needed => Ok(authority),
            authority => {
                let spent = needed + lease.stop + lease.granularity + lease.overshoot;
                Err(Shortfall {
                    group: group.name.clone(),
                    authority: authority.unwrap_or(Duration::ZERO),
                    needed,
                    heartbeat: self.timing.heartbeat,
                    watchdog: self.enforcing_watchdog(group).map(|watchdog| watchdog.timeout),
                    lease,
                    sufficient: promise_for(spent, self.clock_error),
                })
            }
        }
    }

    /// Returns the configuration of the engine on node `me`, whose kernel lease may overshoot by
    /// `overshoot`.
    ///
    /// Each node derives its own authority from what it obtained; only the promises must be the
    /// same everywhere.
    ///
    /// # Errors
    /// Says which group's promise is too short for this machine, which serial line cannot carry the
    /// heartbeats, or which rule the engine finds broken.
    pub fn engine_config(&self, me: NodeId, overshoot: Duration) -> Result<Config, UnsafeError> {
        self.check_lines().map_err(UnsafeError::Line)?;
        let mut groups = Fixed::new();
        for group in &self.groups {
            let config = GroupConfig {
                guard: group.guard,
                promise: group.promise,
                authority: self.authority(group, overshoot).map_err(UnsafeError::Shortfall)?,
                order: group.prefer.iter().copied().collect(),
                failback: group.failback,
                with: group.with,
                apart: group.apart,
            };
            // Settings hold no more groups than the engine does.
            groups.push(config).map_err(|_| UnsafeError::TooManyGroups)?;
        }
        let config = Config {
            cluster: cluster_id(&self.cluster),
            me,
            quorum: self.quorum.clone(),
            links: self.links.iter().map(Link::class).collect(),
            timing: self.timing,
            groups,
            digest: self.digest(),
        };
        Config::new(config).map_err(UnsafeError::Config)
    }

    /// Returns the digest of everything on which safety depends, the same on nodes that agree: the
    /// first 4 bytes of the SHA-256 of [`agreement`](Self::agreement), big-endian.
    #[must_use]
    pub fn digest(&self) -> u32 {
        first_word(&self.agreement())
    }

    /// Returns everything on which safety depends, as text: cluster, votes, witnesses, quorum,
    /// timing, by what each node is fenced, the order and kinds of the links, which witness is a
    /// dongle and whom it can reset, the networks with their links and addresses, the spans of the
    /// watchdog, and of each group the addresses, MAC address, guard, order, promise, failback,
    /// leader, those it is kept apart from and whether a watchdog guards it. Adapters, devices and
    /// their speed, paths, commands and parameters may differ.
    #[must_use]
    pub fn agreement(&self) -> String {
        let mut text = format!("lifesign 1\ncluster {}\n", self.cluster);
        for node in &self.nodes {
            let _ = writeln!(text, "node {} {}", node.name, node.votes);
            for fence in &node.fence {
                let (kind, manner, level) = (&fence.kind, fence.manner, fence.level);
                let _ = writeln!(text, "fence {kind} {manner:?} {level}");
            }
        }
        for witness in &self.witnesses {
            let _ = writeln!(text, "witness {witness}");
        }
        let timing = &self.timing;
        let spans = [
            timing.heartbeat,
            timing.dead,
            timing.longest_promise,
            timing.settle,
            timing.dispute,
            timing.offer,
        ]
        .map(Duration::as_micros);
        let _ = writeln!(text, "quorum {:?}", self.quorum.modules());
        let _ = writeln!(text, "timing {spans:?} {}", self.clock_error);
        for link in &self.links {
            let _ = match &link.kind {
                LinkKind::Udp(_) => writeln!(text, "link {} udp", link.name),
                LinkKind::Ether(ether) => {
                    let (ethertype, vlan) = (ether.ethertype, ether.vlan);
                    writeln!(text, "link {} ether {ethertype:#x} {vlan:?}", link.name)
                }
                LinkKind::Serial(serial) => {
                    let witness = serial.witness.map(NodeId::number);
                    let resets: Vec<u8> = serial.resets.iter().map(NodeId::number).collect();
                    writeln!(text, "link {} serial {witness:?} {resets:?}", link.name)
                }
            };
        }
        self.networks.iter().for_each(|network| network.write(&mut text));
        if let Some(watchdog) = &self.watchdog {
            let spans = [watchdog.timeout, watchdog.reset_limit].map(Duration::as_micros);
            let _ = writeln!(text, "watchdog {spans:?} {}", watchdog.required);
        }
        for group in &self.groups {
            write_group(&mut text, group);
        }
        text
    }
}

/// Writes on what of `group` nodes must agree.
fn write_group(text: &mut String, group: &Group) {
    let failback = match group.failback {
        Failback::Off => 0,
        Failback::After(hold_off) => hold_off.as_micros(),
    };
    let (guard, promise) = (group.guard, group.promise.as_micros());
    let _ = writeln!(text, "group {} {guard:?} {promise} {failback}", group.name);
    let order: Vec<u8> = group.prefer.iter().map(|node| node.number()).collect();
    let _ = writeln!(text, "order {order:?}");
    if let Some(leader) = group.with {
        let _ = writeln!(text, "with {}", leader.number());
    }
    for first in group.apart.iter() {
        let _ = writeln!(text, "apart {}", first.number());
    }
    if group.watchdog {
        text.push_str("watched\n");
    }
    if let Some(mac) = &group.mac {
        let _ = writeln!(text, "mac {mac} {}", mac.on.name());
    }
    for address in &group.addresses {
        let _ = writeln!(text, "address {}/{}", address.ip, address.prefix);
    }
}

/// Returns the id of the cluster called `name`: the first 4 bytes of SHA-256("lifesign cluster " +
/// name), big-endian.
#[must_use]
pub fn cluster_id(name: &str) -> ClusterId {
    ClusterId(first_word(&format!("lifesign cluster {name}")))
}

fn first_word(text: &str) -> u32 {
    let hash = Sha256::digest(text.as_bytes());
    let mut word = [0; 4];
    word.copy_from_slice(&hash[..4]);
    u32::from_be_bytes(word)
}

/// A promise that is too short for the terms that eat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The group.
    pub group: String,
    /// What is left of the promise.
    pub authority: Duration,
    /// Two heartbeats and a round trip.
    pub needed: Duration,
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
    /// W, if a watchdog enforces the end.
    pub watchdog: Option<Duration>,
    /// The terms.
    pub lease: Lease,
    /// The shortest promise that would do.
    pub sufficient: Duration,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = &self.lease;
        let terms = [
            ("a stop budget", lease.stop),
            ("the daemon's lateness", lease.granularity),
            ("an overshoot", lease.overshoot),
        ];
        let largest = terms.into_iter().max_by_key(|(_, span)| *span);
        write!(
            formatter,
            "group {}: authority would be {}, shorter than 2 heartbeats and a round trip ({}): \
             promise {} is too short for heartbeat {}",
            self.group, self.authority, self.needed, lease.promise, self.heartbeat,
        )?;
        if let Some((name, span)) = largest.filter(|(_, span)| *span > Duration::ZERO) {
            write!(formatter, " with {name} of {span}")?;
        }
        write!(formatter, ": raise promise to at least {}", self.sufficient)?;
        match self.watchdog {
            Some(timeout) => write!(formatter, ", or lower the watchdog's timeout of {timeout}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Shortfall {}

/// Why settings cannot be run with safely on this machine. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsafeError {
    /// A promise is too short.
    Shortfall(Shortfall),
    /// A serial line is too slow.
    Line(Overload),
    /// The engine finds a rule broken.
    Config(ConfigError),
    /// There are more groups than the engine holds.
    TooManyGroups,
}

impl fmt::Display for UnsafeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shortfall(shortfall) => shortfall.fmt(formatter),
            Self::Line(overload) => overload.fmt(formatter),
            Self::Config(error) => error.fmt(formatter),
            Self::TooManyGroups => formatter.write_str("more groups than a cluster can have"),
        }
    }
}

impl core::error::Error for UnsafeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{EXAMPLE, example};

    #[test]
    fn every_profile_is_safe_and_live_with_every_enforcer_it_names() {
        for (profile, enforcers) in [
            ("fast", &[100, 4000, 8000, 13_000][..]),
            ("standard", &[100, 4000, 8000, 20_000]),
            ("slow", &[100, 4000, 8000, 20_000, 1_000_000]),
        ] {
            let source = EXAMPLE.replace("\"fast\"", &format!("{profile:?}"));
            let settings = Settings::parse("test.toml", &source).unwrap();
            for overshoot in enforcers.iter().copied().map(Duration::from_micros) {
                let me = settings.node("beta").unwrap();
                let config = settings.engine_config(me, overshoot).unwrap();
                let group = &config.groups[0];
                let lease = settings.lease(&settings.groups[0], overshoot);
                assert!(lease.holds(group.authority), "{profile} with {overshoot}");
                assert!(!lease.holds(group.authority + Duration::from_micros(1)));
                assert!(group.authority >= settings.timing.heartbeat.times(2) + ROUND_TRIP);
                assert!(
                    settings.timing.dead <= group.promise,
                    "a lost peer's promise has not ended"
                );
            }
        }
    }

    #[test]
    fn the_fast_profile_leaves_16_ms_with_two_ticks_of_4_ms() {
        let settings = example();
        let authority = settings.authority(&settings.groups[0], Duration::from_millis(8)).unwrap();
        assert_eq!(authority, Duration::from_micros(16_504));
    }

    #[test]
    fn the_fast_profile_is_refused_with_two_ticks_of_10_ms() {
        let settings = example();
        let me = settings.node("alpha").unwrap();
        let error = settings.engine_config(me, Duration::from_millis(20)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group www: authority would be 4.504 ms, shorter than 2 heartbeats and a round trip \
             (11 ms): promise 25 ms is too short for heartbeat 5 ms with an overshoot of 20 ms: \
             raise promise to at least 32 ms"
        );
    }

    #[test]
    fn a_promise_too_short_for_the_overshoot_is_refused_with_the_numbers() {
        let mut settings = example();
        let overshoot = Duration::from_millis(14);
        let me = settings.node("alpha").unwrap();
        let error = settings.engine_config(me, overshoot).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group www: authority would be 10.504 ms, shorter than 2 heartbeats and a round trip \
             (11 ms): promise 25 ms is too short for heartbeat 5 ms with an overshoot of 14 ms: \
             raise promise to at least 26 ms"
        );
        settings.groups[0].promise = Duration::from_millis(25);
        assert!(settings.authority(&settings.groups[0], overshoot).is_err(), "26 ms is the least");
        settings.groups[0].promise = Duration::from_millis(26);
        assert!(settings.authority(&settings.groups[0], overshoot).is_ok());
    }

    #[test]
    fn the_least_promise_secures_the_span_and_is_the_least() {
        for micros in [1, 999, 1000, 27_000, 980_198, 5_000_000, 61_234_567] {
            for error in [0, 1, 500, 10_000, 200_000] {
                let span = Duration::from_micros(micros);
                let promise = promise_for(span, error);
                let secured = |promise| {
                    let lease = Lease {
                        promise,
                        stop: Duration::ZERO,
                        granularity: Duration::ZERO,
                        overshoot: Duration::ZERO,
                        holder_error: error,
                        voter_error: error,
                    };
                    lease.secured()
                };
                assert!(secured(promise) >= span, "{promise} for {span} at {error}");
                let less = promise.checked_sub(Duration::from_micros(1003)).unwrap_or_default();
                assert!(secured(less) < span, "{promise} is too long for {span} at {error}");
            }
        }
    }

    #[test]
    fn stopping_lengthens_the_promise_and_not_the_authority() {
        let source = EXAMPLE.replace("guard = \"address\"", "guard = \"stop\"");
        let settings = Settings::parse("test.toml", &source).unwrap();
        let group = &settings.groups[0];
        assert_eq!(group.stop_budget(), Duration::from_millis(5100));
        assert_eq!(settings.timing.longest_promise, group.promise);
        let overshoot = Duration::from_micros(100);
        let addressed = example();
        let plain = addressed.authority(&addressed.groups[0], overshoot).unwrap();
        assert!(settings.authority(group, overshoot).unwrap() >= plain);
    }

    fn watched(lines: &str) -> Settings {
        let source = EXAMPLE
            .replace("guard = \"address\"", &format!("guard = \"stop\"\n{lines}"))
            .replace("[[group]]", "[watchdog]\ndevice = \"/dev/watchdog\"\n[[group]]");
        Settings::parse("test.toml", &source).unwrap()
    }

    #[test]
    fn a_watchdog_lengthens_the_promise_and_not_the_authority() {
        let source = EXAMPLE.replace("guard = \"address\"", "guard = \"stop\"");
        let alone = Settings::parse("test.toml", &source).unwrap();
        let settings = watched("");
        let group = &settings.groups[0];
        let tick = Duration::from_micros(100);
        let lease = settings.lease(group, tick);
        assert_eq!(lease.overshoot, Duration::from_millis(10_500), "2 W + F, and no ticks beside");
        assert_eq!(lease.stop, alone.lease(&alone.groups[0], tick).stop);
        let addressed = example();
        let plain = addressed.authority(&addressed.groups[0], tick).unwrap();
        let authority = settings.authority(group, tick).unwrap();
        assert!(authority >= plain && lease.holds(authority));
        let longer = settings.groups[0].promise.checked_sub(alone.groups[0].promise).unwrap();
        // 10.5 s on a clock that is 1 % fast, as one counts that is 1 % slow.
        assert!(longer >= Duration::from_millis(10_712), "{longer}");
        assert!(longer <= Duration::from_millis(10_714), "{longer}");
    }

    #[test]
    fn a_watchdog_that_a_promise_has_no_room_for_is_refused() {
        let settings = watched("promise = \"10s\"");
        let error = settings.authority(&settings.groups[0], Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group www: authority would be 0 ms, shorter than 2 heartbeats and a round trip \
             (11 ms): promise 10 s is too short for heartbeat 5 ms with an overshoot of \
             10.5 s: raise promise to at least 15.932 s, or lower the watchdog's timeout of \
             5000 ms"
        );
        let other = watched("watchdog = false");
        assert!(other.authority(&other.groups[0], Duration::ZERO).is_ok());
        assert_ne!(other.digest(), watched("").digest());
    }

    #[test]
    fn whoever_is_fenced_is_not_given_time_to_stop() {
        let promise = |guard: &str, limit: &str| {
            let source = EXAMPLE.replace("\"address\"", &format!("\"{guard}\""));
            let source = format!("{source}stop_limit = \"{limit}\"\n");
            Settings::parse("test.toml", &source).unwrap().groups[0].promise
        };
        assert!(promise("stop", "120s") > promise("stop", "5s"));
        assert_eq!(promise("fence", "120s"), promise("fence", "5s"));
        let lateness = example().timing.heartbeat;
        let plain = promise("address", "5s") + lateness;
        assert!(promise("fence", "120s") <= plain + Duration::from_millis(1));
    }

    #[test]
    fn the_digest_covers_what_safety_depends_on_and_nothing_else() {
        let digest = example().digest();
        let with = |from: &str, to: &str| {
            assert!(EXAMPLE.contains(from), "{from} is in the example");
            Settings::parse("test.toml", &EXAMPLE.replace(from, to)).unwrap().digest()
        };
        for (from, to) in [
            ("\"eth0\"", "\"ens3\""),
            ("/etc/lifesign/key", "/etc/key"),
            ("10.77.0.100/24\"", "10.77.0.100/24@eth1\""),
            ("\"nginx\", \"start\"", "\"nginx\", \"restart\""),
        ] {
            assert_eq!(with(from, to), digest, "{from} may differ");
        }
        for (from, to) in [
            ("\"web\"", "\"mail\""),
            ("10.77.0.100", "10.77.0.101"),
            ("\"fast\"", "\"standard\""),
            ("votes = 1", "votes = 3"),
            ("guard = \"address\"", "guard = \"fence\""),
            ("failback = \"off\"", "failback = \"on\""),
            ("prefer = [\"alpha\", \"beta\"]", "prefer = [\"beta\", \"alpha\"]"),
            ("name = \"quorum\"", "name = \"other\""),
        ] {
            let with_members = if from.contains("quorum") {
                EXAMPLE.replace("quorum = \"10", "other = \"10")
            } else {
                EXAMPLE.to_owned()
            };
            let changed = Settings::parse("test.toml", &with_members.replace(from, to)).unwrap();
            assert_ne!(changed.digest(), digest, "{from} must be the same");
        }
    }

    /// Computed with sha256sum.
    #[test]
    fn the_cluster_id_is_the_hash_of_its_name() {
        assert_eq!(cluster_id("web"), ClusterId(CLUSTER_WEB));
    }

    const CLUSTER_WEB: u32 = 0xbd8c_22cc;
}
