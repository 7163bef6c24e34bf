//! What settings promise: the inequality with its numbers, what they survive, and the worst
//! failover times.
//!
//! Every bound is a sum of named terms, so that a reader can doubt each on its own. Bounds are for
//! one failure at a time, on machines whose daemon runs when it is due.

pub mod witness;

use core::fmt;

use lifesign_core::config::Lease;
use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;
use lifesign_core::quorum::Module;
use lifesign_core::time::Duration;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use crate::address::lease::{Enforcer, EnforcerChoice};
use crate::settings::safety::ROUND_TRIP;
use crate::settings::{Group, Settings, key};

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
    /// The terms of the inequality.
    pub terms: Terms,
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

/// The worst times without an answer from a group's addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// The holder and its links are gone at once.
    pub crash_ms: f64,
    /// What `crash_ms` is the sum of: the longest silence before the last voter is free, the
    /// back-off of the last candidate, its claim, and the start of the addresses.
    pub crash_terms: Vec<(&'static str, f64)>,
    /// The holder's daemon is killed, and its supervisor lives.
    pub daemon_killed_ms: f64,
    /// The group is moved in good order.
    pub switchover_ms: f64,
    /// A holder that nobody hears is silent, counted from the sending of the last frame that a
    /// quorum echoed.
    pub isolated_silent_ms: f64,
    /// What the services may take to start after that, and in a switchover to stop before.
    pub services_start_ms: f64,
}

/// What bringing addresses up may take: a netlink transaction and the first announcement.
const START: Duration = Duration::from_millis(10);
/// What the supervisor may take to clean up after a killed daemon and to send the farewell.
const CLEANUP: Duration = Duration::from_millis(20);
/// What handing over may take besides the claim: addresses down on one node and up on the other.
const HANDOVER: Duration = Duration::from_millis(5);
/// Below this, in millionths, no clock is honest: NTP alone may slew by 500 (adjtimex(2)), and
/// quartz adds 100.
const HONEST_CLOCK_ERROR: u32 = 600;

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
            warnings: warnings(settings),
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
        if let Err(error) = key::load(&settings.key_file, &settings.cluster) {
            self.warnings.push(error.to_string());
        }
        self
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
        let (heartbeat, dead) = (settings.timing.heartbeat, settings.timing.dead);
        Self {
            name: group.name.clone(),
            guard: word(group.guard),
            nodes: group.prefer.iter().map(|node| settings.name_of(*node)).collect(),
            terms: Terms {
                authority_ms: millis(authority),
                stop_ms: millis(lease.stop),
                granularity_ms: millis(lease.granularity),
                overshoot_ms: millis(lease.overshoot),
                promise_ms: millis(lease.promise),
                clock_error_ppm: lease.holder_error,
                secured_ms: millis(lease.secured()),
            },
            // A peer is silent for one heartbeat when nothing is lost. An echo may wait a heartbeat
            // for its frame, so support is up to two heartbeats old when nothing is lost.
            survives: Survives {
                dead: lost_in_a_row(dead, heartbeat, 1),
                authority: lost_in_a_row(authority, heartbeat, 2),
            },
            bounds,
        }
    }
}

/// Returns how many heartbeats more than `always` fit `span`, with a round trip.
fn lost_in_a_row(span: Duration, heartbeat: Duration, always: u64) -> u64 {
    let room = span.checked_sub(ROUND_TRIP).unwrap_or_default();
    (room.as_micros() / heartbeat.as_micros().max(1)).saturating_sub(always)
}

impl Bounds {
    fn new(settings: &Settings, group: &Group, lease: &Lease) -> Self {
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
            ("round trip", ROUND_TRIP),
            ("start", START),
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
            services_start_ms: millis(
                services.iter().fold(Duration::ZERO, |sum, service| sum + service.start_limit),
            ),
        }
    }
}

const fn word(guard: Guard) -> &'static str {
    match guard {
        Guard::Address => "address",
        Guard::Stop => "stop",
        Guard::Fence => "fence",
    }
}

fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    let (modules, votes) = (settings.quorum.modules(), settings.quorum.total());
    if modules.contains(&Module::TwoNodes) {
        warn("two-nodes: nodes that lose each other both hold every address until they meet");
    } else if votes.is_multiple_of(2) && settings.witnesses.is_empty() {
        warn("no witness: when half of the votes lose the other half, neither half may serve");
    }
    if votes % 2 == 1 && !settings.witnesses.is_empty() {
        warn("an odd number of votes cannot tie, so the witness is never asked");
    }
    if settings.links.len() == 1 && settings.nodes.len() > 1 {
        warn("one link: its switch or cable is a single point of failure");
    }
    if settings.clock_error < HONEST_CLOCK_ERROR {
        warn(
            "clock_error below 0.06 %: NTP may slew a clock by 0.05 %, and quartz drifts by 0.01 %",
        );
    }
    if settings.nodes.len() == 1 {
        warn("one node: nothing can take over");
    }
    for group in settings.groups.iter().filter(|group| group.prefer.len() == 1) {
        warn(&format!("group {} may run on one node alone", group.name));
    }
    warnings
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

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}, digest {}", self.heading, self.digest)?;
        for group in &self.groups {
            writeln!(formatter)?;
            group.write(formatter, &self.enforcer)?;
        }
        if !self.warnings.is_empty() {
            writeln!(formatter)?;
        }
        for warning in &self.warnings {
            writeln!(formatter, "warning: {warning}")?;
        }
        for error in &self.errors {
            writeln!(formatter, "error: {error}")?;
        }
        writeln!(formatter)?;
        formatter.write_str(match (self.accepted, self.safe) {
            (true, true) => "SAFE: no two nodes can answer for one address",
            (true, false) => "NOT SAFE, by your consent: two nodes can answer for one address",
            (false, _) => "REFUSED: these settings are not run",
        })
    }
}

impl GroupCheck {
    fn write(&self, formatter: &mut fmt::Formatter<'_>, enforcer: &str) -> fmt::Result {
        let terms = &self.terms;
        writeln!(
            formatter,
            "group {}, guard {}, on {}",
            self.name,
            self.guard,
            self.nodes.join(", ")
        )?;
        let rho = f64::from(terms.clock_error_ppm) / 10_000.0;
        let stop = if self.guard == "address" {
            "the kernel silences the addresses"
        } else {
            "stop limits and margins"
        };
        let granularity = if terms.granularity_ms == 0.0 {
            "the kernel holds the deadline"
        } else {
            "one heartbeat"
        };
        for (letter, name, value, unit, why) in [
            ("L", "promise", terms.promise_ms, "ms", "on a voter's clock"),
            ("rho", "clock error", rho, "% ", "of every clock"),
            ("S", "stop budget", terms.stop_ms, "ms", stop),
            ("g", "daemon's lateness", terms.granularity_ms, "ms", granularity),
            ("K", "kernel's overshoot", terms.overshoot_ms, "ms", enforcer),
            ("D", "authority", terms.authority_ms, "ms", "what is left"),
        ] {
            writeln!(formatter, "  {letter:<3}  {name:<20} {value:>11.3} {unit}  {why}")?;
        }
        let sum = terms.authority_ms + terms.stop_ms + terms.granularity_ms + terms.overshoot_ms;
        let relation = if self.bounds.is_some() { "<=" } else { "is too little of" };
        writeln!(
            formatter,
            "  D + S + g + K = {:.3} ms {relation} L * (1 - rho) / (1 + rho) = {:.3} ms",
            sum, terms.secured_ms
        )?;
        self.bounds.as_ref().map_or(Ok(()), |bounds| self.write_bounds(formatter, bounds))
    }

    fn write_bounds(&self, formatter: &mut fmt::Formatter<'_>, bounds: &Bounds) -> fmt::Result {
        writeln!(
            formatter,
            "  survives {} lost in a row before a peer is taken for dead, {} before it lets go",
            heartbeats(self.survives.dead),
            self.survives.authority,
        )?;
        writeln!(formatter, "  worst time without an answer")?;
        let sum: Vec<String> = bounds
            .crash_terms
            .iter()
            .filter(|(_, term)| *term > 0.0)
            .map(|(name, term)| format!("{term:.1} {name}"))
            .collect();
        for (what, value) in [
            ("crash of the holder", bounds.crash_ms),
            ("daemon killed", bounds.daemon_killed_ms),
            ("orderly switchover", bounds.switchover_ms),
        ] {
            writeln!(formatter, "    {what:<23} {value:>11.1} ms")?;
        }
        writeln!(formatter, "    a crash is {}", sum.join(" + "))?;
        if self.guard == "fence" {
            writeln!(formatter, "    and the time that fencing takes")?;
        }
        if bounds.services_start_ms > 0.0 {
            let start = bounds.services_start_ms;
            writeln!(formatter, "    its services may then take {start} ms to start")?;
        }
        writeln!(
            formatter,
            "  an isolated holder is silent {:.1} ms after its last answered heartbeat",
            bounds.isolated_silent_ms
        )
    }
}

fn heartbeats(count: u64) -> String {
    if count == 1 { "1 heartbeat".to_owned() } else { format!("{count} heartbeats") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{EXAMPLE, example};

    fn checked(source: &str, enforcement: Enforcer) -> Check {
        Check::new(&Settings::parse("test.toml", source).unwrap(), enforcement)
    }

    #[test]
    fn the_page_shows_every_term() {
        let check = checked(EXAMPLE, Enforcer::Bpf);
        let digest = format!("{:08x}", example().digest());
        let page = "\
cluster web: 2 nodes, 1 witness, 1 link, 1 group
heartbeat 5 ms, dead 22 ms, settle 200 ms, dispute 66 ms, longest promise 25 ms, digest DIGEST

group www, guard address, on alpha, beta
  L    promise                   25.000 ms  on a voter's clock
  rho  clock error                1.000 %   of every clock
  S    stop budget                0.000 ms  the kernel silences the addresses
  g    daemon's lateness          0.000 ms  the kernel holds the deadline
  K    kernel's overshoot         0.100 ms  bpf
  D    authority                 24.404 ms  what is left
  D + S + g + K = 24.504 ms <= L * (1 - rho) / (1 + rho) = 24.504 ms
  survives 3 heartbeats lost in a row before a peer is taken for dead, 2 before it lets go
  worst time without an answer
    crash of the holder            46.3 ms
    daemon killed                  30.0 ms
    orderly switchover             15.0 ms
    a crash is 25.3 silence + 10.0 claim + 1.0 round trip + 10.0 start
    its services may then take 10000 ms to start
  an isolated holder is silent 24.5 ms after its last answered heartbeat

warning: one link: its switch or cable is a single point of failure

SAFE: no two nodes can answer for one address";
        assert_eq!(check.to_string(), page.replace("DIGEST", &digest));
    }

    #[test]
    fn the_numbers_are_the_sum_of_their_terms() {
        let check = checked(EXAMPLE, Enforcer::Bpf);
        let group = &check.groups[0];
        let terms = &group.terms;
        assert!((terms.authority_ms - 24.404).abs() < 1e-9, "{terms:?}");
        assert!((terms.secured_ms - 24.504).abs() < 1e-9, "{terms:?}");
        assert_eq!(group.survives, Survives { dead: 3, authority: 2 });
        let bounds = group.bounds.as_ref().unwrap();
        // 25 ms on a clock that is 1 % slow, two heartbeats, 1 ms and 10 ms.
        assert!((bounds.crash_ms - 46.252).abs() < 1e-9, "{bounds:?}");
        assert!((bounds.daemon_killed_ms - 30.0).abs() < 1e-9);
        assert!((bounds.switchover_ms - 15.0).abs() < 1e-9);
        assert!((bounds.isolated_silent_ms - 24.504).abs() < 1e-9);
        let sum: f64 = bounds.crash_terms.iter().map(|(_, term)| term).sum();
        assert!((sum - bounds.crash_ms).abs() < 1e-9);
    }

    #[test]
    fn the_slower_profiles_survive_more() {
        for (profile, expected) in [
            ("standard", Survives { dead: 5, authority: 7 }),
            ("slow", Survives { dead: 6, authority: 9 }),
        ] {
            let source = EXAMPLE.replace("\"fast\"", &format!("{profile:?}"));
            let check = checked(&source, Enforcer::Bpf);
            assert_eq!(check.groups[0].survives, expected, "{profile}");
        }
    }

    #[test]
    fn what_is_unsafe_is_refused_and_has_no_bounds() {
        let check = checked(EXAMPLE, Enforcer::ValidLifetime);
        assert!(!check.accepted && !check.safe && check.groups[0].bounds.is_none());
        assert_eq!(
            check.errors,
            ["group www: authority would be 0 ms, shorter than 2 heartbeats and a round trip \
                 (11 ms): promise 25 ms is too short for heartbeat 5 ms with an overshoot of \
                 1000 ms: raise promise to at least 1037 ms"]
        );
        assert!(check.to_string().ends_with("REFUSED: these settings are not run"));
    }

    #[test]
    fn what_is_not_wise_is_said() {
        let warned = |from: &str, to: &str, expected: &str| {
            let source = EXAMPLE.replace(from, to);
            assert_ne!(source, EXAMPLE);
            let check = checked(&source, Enforcer::Bpf);
            assert!(
                check.warnings.iter().any(|warning| warning.contains(expected)),
                "{:?}",
                check.warnings
            );
        };
        assert_eq!(checked(EXAMPLE, Enforcer::Bpf).warnings.len(), 1, "one link");
        warned("votes = 1", "votes = 2", "cannot tie");
        warned("[[witness]]", "[timing]\nclock_error = \"0.01%\"\n[[witness]]", "clock_error");
        warned("prefer = [\"alpha\", \"beta\"]", "prefer = [\"beta\"]", "one node alone");
        let no_witness = EXAMPLE
            .replace("[[witness]]\nname = \"quorum\"\n", "")
            .replace(", quorum = \"10.77.0.9\"", "");
        let majority = no_witness.replace(", \"witness\"]", "]");
        let check = checked(&majority, Enforcer::Bpf);
        assert!(check.warnings[0].starts_with("no witness"), "{:?}", check.warnings);
        let two =
            no_witness.replace(", \"witness\"]", ", \"two-nodes\"]\naccept_split_brain = true");
        let check = checked(&two, Enforcer::Bpf);
        assert!(check.warnings[0].starts_with("two-nodes"), "{:?}", check.warnings);
        assert!(check.accepted && !check.safe && check.to_string().contains("NOT SAFE"));
    }

    #[test]
    fn the_answer_for_machines_has_the_promised_keys() {
        let value = serde_json::to_value(checked(EXAMPLE, Enforcer::Bpf)).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["safe"], true);
        let group = &value["groups"][0];
        assert_eq!(group["name"], "www");
        for key in ["crash_ms", "daemon_killed_ms", "switchover_ms"] {
            assert!(group["bounds"][key].as_f64().is_some_and(|bound| bound > 0.0), "{key}");
        }
        assert_eq!(group["terms"]["promise_ms"], 25.0);
    }

    #[test]
    fn a_missing_adapter_and_key_are_warnings() {
        let source = EXAMPLE
            .replace("\"eth0\"", "\"lifesign-none0\"")
            .replace("/etc/lifesign/key", "/nonexistent/key");
        let settings = Settings::parse("test.toml", &source).unwrap();
        let me = settings.node("alpha").unwrap();
        let check = Check::new(&settings, Enforcer::Bpf).on_this_machine(&settings, me);
        assert!(check.accepted && check.safe);
        assert_eq!(
            check.warnings[1..],
            [
                "this machine, as alpha, has no adapter lifesign-none0".to_owned(),
                "open key file /nonexistent/key: no such file or directory".to_owned()
            ]
        );
    }
}
