//! Which layer leads clients to a new holder, how long each cache on the way may keep the old
//! answer, and what a client sees at worst.
//!
//! The times until somebody else answers are those of [`check`](crate::check). To them a layer adds
//! how long clients are still led to the old place: *told*, where the first telling arrives;
//! *missed*, where that one is lost and the next arrives; and *untold*, where all are lost and the
//! cache goes stale by itself. What lies with others, and is not said in the settings, is unknown.

use core::fmt;

use lifesign_core::time::Duration;
use serde::Serialize;

use crate::address::lease::Enforcer;
use crate::address::presence::announcement_us;
use crate::agent::Kind;
use crate::agent::own::Own;
use crate::agent::own::record::Plan;
use crate::agent::own::route::RoutePlan;
use crate::check::{Bounds, Check};
use crate::connections::tickle;
use crate::page::wrap;
use crate::settings::{Group, Network, Settings};

/// What leads clients of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layers {
    /// The version of this format.
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Each group.
    pub groups: Vec<GroupLayers>,
}

/// What leads clients of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupLayers {
    /// Its name.
    pub name: String,
    /// The longest time from a crash until another node holds it, in milliseconds.
    pub crash_ms: f64,
    /// How long its services may then take to start, in milliseconds.
    pub start_ms: f64,
    /// The layers that lead clients, from the cable upwards.
    pub layers: Vec<Layer>,
    /// The worst times that clients see after a crash, by where they are.
    pub clients: Vec<Client>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// What it is called.
    pub name: &'static str,
    /// Whom it leads, and how.
    pub redirects: String,
    /// How long the old answer is kept.
    pub keeps: Keeps,
    /// Where these times come from.
    pub why: String,
}

/// How long an old answer is kept, in milliseconds; what is unknown here is null.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Keeps {
    /// Where the first telling arrives.
    pub told_ms: Option<f64>,
    /// Where the first telling is lost.
    pub missed_ms: Option<f64>,
    /// Where every telling is lost.
    pub untold_ms: Option<f64>,
}

/// What clients in one place see after a crash.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Where they are.
    pub place: &'static str,
    /// The layer whose cache they wait for.
    pub layer: &'static str,
    /// The longest time without an answer.
    pub worst: Keeps,
}

/// For how long others keep what they have learned and are told nothing more, as far as that is
/// theirs to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// A host or router of the same subnet, for a MAC address.
    pub neighbours: Duration,
    /// A switch, for a port from which nothing comes.
    pub switches: Duration,
}

impl Default for Caches {
    /// Those of Linux: a neighbour believes for 15 to 45 s, waits 5 s for other signs, and asks
    /// three times, a second apart; a bridge forgets after 300 s.
    fn default() -> Self {
        let neighbours = Duration::from_millis(45_000 + 5_000 + 3 * 1_000);
        Self { neighbours, switches: Duration::from_millis(300_000) }
    }
}

/// Until Linux gives up a connection on which it waits for an answer (`tcp_retries2` = 15).
const CONNECTION_MS: f64 = 924_600.0;

impl Layers {
    /// Explains `settings`, whose lease `enforcement` is to enforce, where others have `caches`.
    #[must_use]
    pub fn new(settings: &Settings, enforcement: Enforcer, caches: Caches) -> Self {
        let check = Check::new(settings, enforcement);
        let groups = settings.groups.iter().zip(&check.groups);
        let groups = groups
            .filter_map(|(group, checked)| Some((group, checked.bounds.as_ref()?)))
            .map(|(group, bounds)| GroupLayers::new(settings, group, bounds, caches));
        Self { version: 1, cluster: settings.cluster.clone(), groups: groups.collect() }
    }
}

impl GroupLayers {
    fn new(settings: &Settings, group: &Group, bounds: &Bounds, caches: Caches) -> Self {
        let (crash_ms, start_ms) = (bounds.crash_ms, bounds.services_start_ms);
        let is_near = group.addresses.iter().any(|address| address.adapter != LOOPBACK);
        let (mut layers, mut clients) = (Vec::new(), Vec::new());
        let held = crash_ms + start_ms;
        let networks = group.addresses.iter().filter_map(|it| settings.network_of(it.ip));
        let mut networks: Vec<&Network> = networks.filter(|it| it.links.len() > 1).collect();
        networks.dedup();
        layers.extend(networks.into_iter().map(|it| adapters(it, settings.timing.dead)));
        if is_near {
            let layer = if group.mac.is_some() { switch(caches) } else { neighbours(caches) };
            for place in ["in the same subnet", "in another subnet"] {
                clients.push(Client { place, layer: layer.name, worst: layer.keeps.after(held) });
            }
            layers.push(layer);
        }
        for agent in group.services.iter().filter_map(|service| service.agent.as_ref()) {
            match agent.kind {
                Kind::Lifesign(Own::Route) => {
                    let Ok(plan) = RoutePlan::read(&agent.parameters) else { continue };
                    let layer = route(&plan);
                    // The router counts from the crash as well, and not from when it was noticed.
                    let later = plan.hold.map_or(0.0, |hold| (millis(hold) - held).max(0.0));
                    let untold = layer.keeps.untold_ms.and(plan.convergence).map(millis);
                    let worst = Keeps {
                        told_ms: layer.keeps.told_ms,
                        ..Keeps::always(untold.map(|ms| ms + later))
                    };
                    let worst = worst.after(held);
                    let client = Client { place: "behind a router", layer: layer.name, worst };
                    // One for each family of addresses, mostly alike.
                    if !clients.contains(&client) {
                        clients.push(client);
                    }
                    layers.push(layer);
                }
                Kind::Lifesign(Own::Dns) => {
                    let Ok(plan) = Plan::read(&agent.parameters) else { continue };
                    let layer = name(&plan);
                    let worst = layer.keeps.after(held);
                    clients.push(Client { place: "who look up the name", layer: "name", worst });
                    layers.push(layer);
                }
                _ => {}
            }
        }
        if !group.addresses.is_empty() {
            layers.push(connections(group));
        }
        Self { name: group.name.clone(), crash_ms, start_ms, layers, clients }
    }
}

/// Where addresses are that no network has.
const LOOPBACK: &str = "lo";

impl Keeps {
    /// The same, however it is told.
    const fn always(ms: Option<f64>) -> Self {
        Self { told_ms: ms, missed_ms: ms, untold_ms: ms }
    }

    /// Told at once, told again as addresses are announced, or not at all until `untold_ms`.
    fn announced(untold_ms: f64) -> Self {
        let again = announcement_us(1).map(|us| millis(Duration::from_micros(us)));
        Self { told_ms: Some(0.0), missed_ms: again, untold_ms: Some(untold_ms) }
    }

    /// The same, from `ms` on.
    fn after(self, ms: f64) -> Self {
        let later = |kept: Option<f64>| kept.map(|kept| kept + ms);
        Self {
            told_ms: later(self.told_ms),
            missed_ms: later(self.missed_ms),
            untold_ms: later(self.untold_ms),
        }
    }
}

fn adapters(network: &Network, dead: Duration) -> Layer {
    let dead_ms = millis(dead);
    let apart = if network.parts_taken {
        "; a takeover, to the standby adapter of the survivor"
    } else {
        ""
    };
    Layer {
        name: "adapters",
        redirects: format!(
            "the addresses on network {}, to another adapter of their node{apart}",
            network.name
        ),
        keeps: Keeps { told_ms: Some(0.0), missed_ms: Some(dead_ms), untold_ms: None },
        why: format!(
            "a lost carrier is told at once; that frames have stopped is seen after {dead}, which \
             is `dead`; what cannot be told apart stays where it is"
        ),
    }
}

fn neighbours(caches: Caches) -> Layer {
    Layer {
        name: "neighbours",
        redirects: "hosts and routers of the subnet, to the MAC address of the holder".to_owned(),
        keeps: Keeps::announced(millis(caches.neighbours)),
        why: format!(
            "announced by ARP or, for IPv6, by neighbour discovery, after {}; untold, a \
             neighbour keeps it for {}: one of Linux for 53 s, by base_reachable_time_ms, \
             delay_first_probe_time and ucast_solicit in its net.ipv4.neigh and net.ipv6.neigh; \
             some routers for hours, which `--neighbours` says here",
            announcements(),
            caches.neighbours
        ),
    }
}

fn switch(caches: Caches) -> Layer {
    Layer {
        name: "MAC",
        redirects: "switches, to the port of the holder; neighbours keep what they know".to_owned(),
        keeps: Keeps::announced(millis(caches.switches)),
        why: format!(
            "any frame of the holder teaches a switch, and it announces after {}; untold, a switch \
             forgets after {}, which is its ageing time: `--switches` says it here",
            announcements(),
            caches.switches
        ),
    }
}

fn route(plan: &RoutePlan) -> Layer {
    let said = |span: Option<Duration>, key: &str| match span {
        Some(span) => format!("{span}, as `{key}` says"),
        None => format!("a time that is unknown here: say it as `{key}`"),
    };
    let told_ms = plan.convergence.map(millis);
    let untold_ms = told_ms.zip(plan.hold).map(|(told, hold)| told + millis(hold));
    Layer {
        name: "route",
        redirects: format!("routers, for {}, to the server that has the route", plan.ip),
        keeps: Keeps { told_ms, ..Keeps::always(untold_ms) },
        why: format!(
            "who lives withdraws it, behind a frozen daemon its supervisor, and routers follow \
             within {}: milliseconds by BGP, and up to a second where BIRD has OSPF, which \
             computes once in each `tick`; a dead server is followed for {} besides, which is the \
             hold time of BGP, the dead interval of OSPF, or the detection time of BFD; what \
             changes again within 5 s waits that long by OSPF (MinLSInterval)",
            said(plan.convergence, "convergence"),
            said(plan.hold, "hold"),
        ),
    }
}

fn name(plan: &Plan) -> Layer {
    Layer {
        name: "name",
        redirects: format!("resolvers, for {}, to the addresses of the holder", plan.name),
        keeps: Keeps::always(Some(millis(plan.ttl))),
        why: "resolvers are not told, and keep an answer for its `ttl`, or for longer if they are \
             set so (cache-min-ttl, min-cache-ttl); so may clients. How long the name server \
             takes is part of the start"
            .to_owned(),
    }
}

fn connections(group: &Group) -> Layer {
    let (keeps, why) = if group.callers.tickle {
        let why = "the new holder tickles those it knows of, and again after 1 and 3 s; untold, a \
                   client waits for as long as Linux does (its tcp_retries2), if it has sent \
                   something, else for ever";
        let has_v6 = group.addresses.iter().any(|address| address.ip.is_ipv6());
        let ready = if has_v6 { tickle::V6_READY } else { Duration::ZERO };
        let keeps = Keeps {
            told_ms: Some(millis(ready)),
            missed_ms: tickle::turn(1).map(|again| millis(ready + again)),
            untold_ms: Some(CONNECTION_MS),
        };
        (keeps, why)
    } else {
        let why = "no `tickle`: a client waits for as long as Linux does (its tcp_retries2), if it \
                   has sent something, else for ever";
        (Keeps::always(Some(CONNECTION_MS)), why)
    };
    let redirects = "TCP connections with the dead server, to a reset".to_owned();
    Layer { name: "connections", redirects, keeps, why: why.to_owned() }
}

/// Says when addresses are announced.
fn announcements() -> String {
    let all: Vec<String> = (0..)
        .map_while(announcement_us)
        .map(|us| format!("{}", Duration::from_micros(us).as_micros() / 1000))
        .collect();
    format!("{} ms", all.join(", "))
}

/// Returns a span in milliseconds.
fn millis(span: Duration) -> f64 {
    std::time::Duration::from_micros(span.as_micros()).as_secs_f64() * 1e3
}

impl fmt::Display for Layers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cluster {}: how clients find the new holder", self.cluster)?;
        for group in &self.groups {
            write!(formatter, "\n\n{group}")?;
        }
        Ok(())
    }
}

impl fmt::Display for GroupLayers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, crash_ms, start_ms, .. } = self;
        writeln!(
            formatter,
            "group {name}: after a crash it is held elsewhere in {crash_ms:.1} ms"
        )?;
        if *start_ms > 0.0 {
            writeln!(formatter, "  its services may then take {start_ms} ms to start")?;
        }
        write!(formatter, "  {:<33} {:>12} {:>12} {:>12}", "layer", "told", "missed", "untold")?;
        for Layer { name, redirects, keeps, why } in &self.layers {
            write!(formatter, "\n  {name:<33} {keeps}")?;
            for text in [redirects, why] {
                write!(formatter, "\n{}", wrap("    ", text).trim_end())?;
            }
        }
        if self.clients.is_empty() {
            return write!(formatter, "\n  nothing leads clients to it");
        }
        write!(formatter, "\n  worst time without an answer, for clients")?;
        for Client { place, worst, .. } in &self.clients {
            write!(formatter, "\n    {place:<31} {worst}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Keeps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said =
            |ms: Option<f64>| ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        let Self { told_ms, missed_ms, untold_ms } = *self;
        let (told, missed, untold) = (said(told_ms), said(missed_ms), said(untold_ms));
        write!(formatter, "{told:>12} {missed:>12} {untold:>12}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::WIDTH;
    use crate::settings::tests::EXAMPLE;

    fn explained(from: &str, to: &str) -> Layers {
        assert!(EXAMPLE.contains(from), "{from}");
        let settings = Settings::parse("test.toml", &EXAMPLE.replacen(from, to, 1)).unwrap();
        Layers::new(&settings, Enforcer::Bpf, Caches::default())
    }

    fn in_a_line(page: &str) -> String {
        page.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    const WORST: &str = "worst time without an answer, for clients\n";

    #[test]
    fn the_sum_is_that_of_check_and_of_the_cache() {
        let page = explained("web", "web").to_string();
        let (_, worst) = page.split_once(WORST).unwrap();
        // 46.252 ms until another node holds it, and ten seconds for its service.
        assert_eq!(
            worst,
            "    in the same subnet                10046.3 ms   10146.3 ms   63046.3 ms\n\
             \x20   in another subnet                 10046.3 ms   10146.3 ms   63046.3 ms"
        );
        assert!(in_a_line(&page).contains("0, 100, 1000, 3000, 10000 ms;"), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        let settings = Settings::parse("test.toml", EXAMPLE).unwrap();
        let caches =
            Caches { neighbours: Duration::from_millis(4 * 3_600_000), ..Caches::default() };
        let slow = Layers::new(&settings, Enforcer::Bpf, caches);
        let kept = slow.groups[0].layers[0].keeps;
        assert_eq!((kept.missed_ms, kept.untold_ms), (Some(100.0), Some(14_400_000.0)));
        let check = Check::new(&settings, Enforcer::Bpf);
        let crash = check.groups[0].bounds.as_ref().unwrap().crash_ms;
        assert!((explained("web", "web").groups[0].crash_ms - crash).abs() < 1e-9);
    }

    #[test]
    fn behind_a_router_its_hold_time_runs_beside_ours() {
        let routed = |more: &str| {
            let service = "name = \"nginx\"\nstart = [\"/usr/sbin/service\", \"nginx\", \"start\"]\n\
                           stop = [\"/usr/sbin/service\", \"nginx\", \"stop\"]\n";
            let begin = EXAMPLE.find("addresses").unwrap();
            let source = format!(
                "{}addresses = [\"192.0.2.77/32@lo\"]\n[[group.service]]\nname = \"route\"\n\
                 agent = \"lifesign:route\"\nstart_limit = \"1s\"\n\
                 parameters = {{ prefix = \"192.0.2.77/32\"{more} }}\n",
                &EXAMPLE[..begin]
            );
            assert!(EXAMPLE.contains(service));
            let settings = Settings::parse("test.toml", &source);
            let settings = settings.unwrap_or_else(|mistakes| panic!("{mistakes}"));
            Layers::new(&settings, Enforcer::Nftables, Caches::default()).groups[0].clone()
        };
        for (hold, convergence) in [
            (None, None),
            (Some(90_000.0), None),
            (None, Some(1_000.0)),
            (Some(90_000.0), Some(1_000.0)),
            (Some(10.0), Some(20.0)),
        ] {
            let say = |key: &str, ms: Option<f64>| {
                ms.map_or_else(String::new, |ms| format!(", {key} = \"{ms}ms\""))
            };
            let group = routed(&(say("hold", hold) + &say("convergence", convergence)));
            let held = group.crash_ms + group.start_ms;
            let [client] = group.clients.as_slice() else { panic!("{group}") };
            assert_eq!((client.place, client.layer), ("behind a router", "route"));
            let Keeps { told_ms, missed_ms, untold_ms } = client.worst;
            assert_eq!(told_ms, convergence.map(|span| span + held));
            let both = hold.zip(convergence);
            let expected = both.map(|(hold, span): (f64, f64)| hold.max(held) + span);
            assert_eq!(untold_ms.is_some(), expected.is_some(), "{group}");
            let (untold, expected) = (untold_ms.unwrap_or(0.0), expected.unwrap_or(0.0));
            assert!((untold - expected).abs() < 1e-6, "{untold}, not {expected}: {group}");
            assert_eq!(missed_ms, untold_ms);
            let layer = group.layers.iter().find(|layer| layer.name == "route").unwrap();
            assert_eq!(layer.keeps.told_ms, convergence);
            assert_eq!(layer.keeps.untold_ms, both.map(|(hold, span)| hold + span));
        }
        assert!(in_a_line(&routed("").to_string()).contains("say it as `hold`"));
        assert!(in_a_line(&routed("").to_string()).contains("say it as `convergence`"));
    }

    #[test]
    fn a_name_is_kept_for_its_ttl() {
        let layers = explained(
            "start = [\"/usr/sbin/service\", \"nginx\", \"start\"]\n\
             stop = [\"/usr/sbin/service\", \"nginx\", \"stop\"]\n",
            "agent = \"lifesign:dns\"\nparameters = { server = \"10.0.0.53\", ttl = \"7s\", \
             zone = \"example.org\", name = \"www.example.org\", key_file = \"/k\", a = \"10.0.0.1\" }",
        );
        let group = &layers.groups[0];
        let client = group.clients.last().unwrap();
        assert_eq!(client.place, "who look up the name");
        let expected = Keeps::always(Some(group.crash_ms + group.start_ms + 7000.0));
        assert_eq!(client.worst, expected);
    }

    #[test]
    fn a_mac_address_leaves_neighbours_alone_and_a_tickle_ends_connections() {
        let names = |layers: &Layers| -> Vec<&str> {
            layers.groups[0].layers.iter().map(|layer| layer.name).collect()
        };
        let plain = explained("prefer", "tickle = false\nprefer");
        assert_eq!(names(&plain), ["neighbours", "connections"]);
        assert_eq!(plain.groups[0].layers[1].keeps, Keeps::always(Some(CONNECTION_MS)));
        let moved = explained("prefer", "mac = \"auto\"\ntickle = true\nprefer");
        assert_eq!(names(&moved), ["MAC", "connections"]);
        let keeps = moved.groups[0].layers[1].keeps;
        assert_eq!((keeps.missed_ms, keeps.untold_ms), (Some(1000.0), Some(CONNECTION_MS)));
    }

    #[test]
    fn several_adapters_are_a_layer_of_their_own() {
        let network = "[[link]]\nname = \"spare\"\nkind = \"ether\"\nadapter = \"eth1\"\n\
                       [[network]]\nname = \"front\"\nlinks = [\"lan\", \"spare\"]\n[[group]]\n";
        let layers = explained("[[group]]\n", network);
        let [adapters, ..] = &layers.groups[0].layers[..] else { panic!("{layers}") };
        assert_eq!((adapters.name, adapters.keeps.missed_ms), ("adapters", Some(22.0)));
        assert!(adapters.redirects.contains("network front"), "{}", adapters.redirects);
    }
}
