//! What is allowed and not wise, and what is taken for granted.

use std::path::Path;

use lifesign_core::frame::LinkClass;
use lifesign_core::group::Guard;
use lifesign_core::quorum::Module;

use super::line::LineCheck;
use super::watchdog;
use crate::address::mac::MacOn;
use crate::agent::fence::means_against;
use crate::page::list;
use crate::settings::{Group, Link, Settings};

/// Below this, in millionths, no clock is honest: NTP alone may slew by 500 (adjtimex(2)), and
/// quartz adds 100.
const HONEST_CLOCK_ERROR: u32 = 600;

/// Returns what is allowed and not wise.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
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
    for group in settings.groups.iter() {
        if group.mac.is_some_and(|mac| mac.on == MacOn::Adapter) {
            warn(&format!(
                "group {}: with mac_on = \"adapter\" nothing at all leaves by its adapter while its \
                 holder is frozen or everything on it was killed; macvlan keeps the adapter's own \
                 traffic",
                group.name
            ));
        }
    }
    warnings.extend(unfenced(settings));
    warnings.extend(absent_clients(settings));
    warnings.extend(watchdog::warnings(settings));
    warnings.extend(LineCheck::warnings(settings));
    warnings.extend(idle_pings(settings));
    warnings.extend(crowded_dongles(settings));
    warnings.extend(networks(settings));
    warnings.extend(shared_adapters(settings));
    warnings
}

/// Says what cannot be told apart on a network, and where nothing stands by.
fn networks(settings: &Settings) -> Vec<String> {
    let mut said = Vec::new();
    for network in &settings.networks {
        let name = &network.name;
        let servers = settings.members().filter(|(node, _)| !node.is_witness());
        let single: Vec<&str> = servers
            .filter(|(node, _)| settings.adapters_on(network, *node).len() == 1)
            .map(|(_, name)| name)
            .collect();
        if !single.is_empty() {
            said.push(format!(
                "network {name}: one adapter of {} on it: where that fails, or its port at the \
                 switch, nothing stands by, and its groups go to another node",
                list(&single)
            ));
        }
        let links = network.links.iter().filter_map(|id| settings.links.get(id.index()));
        let has_witness = |link: &Link| {
            let mut witnesses = settings.members().filter(|(member, _)| member.is_witness());
            witnesses.any(|(witness, _)| link.reaches(witness))
        };
        let alone: Vec<&str> =
            links.filter(|link| !has_witness(link)).map(|link| link.name.as_str()).collect();
        if settings.nodes.len() == 2 && network.ask.is_empty() && !alone.is_empty() {
            said.push(format!(
                "network {name}: on {} two nodes alone cannot tell whose adapter has failed, or \
                 the network, and one that is left not whether its own works: add `ask` with a \
                 router",
                list(&alone)
            ));
        }
        if network.services.is_empty() {
            said.push(format!("network {name}: no group has an address on it"));
        }
    }
    said
}

/// Says which links run over one adapter, and fail with it.
fn shared_adapters(settings: &Settings) -> Vec<String> {
    let mut said = Vec::new();
    for (node, name) in settings.members().filter(|(node, _)| !node.is_witness()) {
        for (at, link) in settings.links.iter().enumerate() {
            let Some(adapter) = link.adapter(node) else { continue };
            let mut others = settings.links.iter().take(at);
            if let Some(other) = others.find(|other| other.adapter(node) == Some(adapter)) {
                said.push(format!(
                    "links {} and {} share {adapter} of {name}: they fail together",
                    other.name, link.name
                ));
            }
        }
    }
    said
}

/// What the smallest dongle has room for ([`lifesign_firmware::Small`]): nodes, groups, and bytes
/// in a frame.
const SMALL_DONGLE: [usize; 3] = [4, 8, 320];

/// Says when not every dongle has room for this cluster.
fn crowded_dongles(settings: &Settings) -> Option<String> {
    let has_dongle =
        settings.links.iter().filter_map(Link::serial).any(|serial| serial.witness.is_some());
    let frame = settings.longest_frame().max(settings.longest_witness_frame());
    let needed = [settings.nodes.len(), settings.groups.len(), frame];
    let is_crowded = needed.iter().zip(SMALL_DONGLE).any(|(needed, room)| *needed > room);
    let [nodes, groups, frame] = needed;
    let [most_nodes, most_groups, most_bytes] = SMALL_DONGLE;
    (has_dongle && is_crowded).then(|| {
        format!(
            "{nodes} nodes, {groups} groups and frames of {frame} bytes: a dongle on a small chip \
             has room for {most_nodes}, {most_groups} and {most_bytes}; see `lifesign dongle info`"
        )
    })
}

/// Says which nodes nothing can fence, if a group waits for that, and which are fenced for nobody.
fn unfenced(settings: &Settings) -> Vec<String> {
    let nodes = settings.members().filter(|(node, _)| !node.is_witness());
    let missing: Vec<&str> = nodes
        .filter(|(node, _)| means_against(settings, *node).is_empty())
        .map(|(_, name)| name)
        .collect();
    let waits = |group: &&Group| group.guard == Guard::Fence;
    if !settings.groups.iter().any(|group| waits(&group)) {
        let named = settings.nodes.iter().filter(|node| !node.fence.is_empty());
        let named: Vec<&str> = named.map(|node| node.name.as_str()).collect();
        return (!named.is_empty())
            .then(|| {
                format!("{} is fenced for nobody: no group has guard = \"fence\"", list(&named))
            })
            .into_iter()
            .collect();
    }
    let groups = settings.groups.iter().filter(waits);
    let groups = groups.filter(|_| !missing.is_empty() && settings.nodes.len() > 1);
    let said = groups.map(|group| {
        format!(
            "group {}: nothing can fence {}: after a crash of such a node the group waits until it \
             is back or a person says that it is off; add a `[[node.fence]]` with an agent, or a \
             dongle with `resets`",
            group.name,
            list(&missing)
        )
    });
    said.collect()
}

/// Says which clients this machine does not have.
fn absent_clients(settings: &Settings) -> impl Iterator<Item = String> {
    settings.clients.iter().filter_map(|client| {
        let program = client.command.first()?;
        let is_there = Path::new(program).exists();
        (!is_there).then(|| format!("client {}: {program} is not on this machine", client.name))
    })
}

/// Says when addresses to ping are there in vain.
fn idle_pings(settings: &Settings) -> Option<String> {
    let has = |class| settings.links.iter().any(|link| link.class() == class);
    let is_without_ip = has(LinkClass::Ether) || has(LinkClass::Serial);
    let missing = match (has(LinkClass::Udp), is_without_ip) {
        _ if settings.ping.is_empty() => None,
        (false, _) => Some("udp"),
        (_, false) => Some("serial or ether"),
        (true, true) => None,
    };
    missing.map(|kind| format!("ping: nobody is asked, because there is no link of kind {kind}"))
}

/// Returns what must be true of watchdogs, and of dongles, which nobody can ask before they are
/// connected.
pub(super) fn assumptions(settings: &Settings) -> Vec<String> {
    let serial = settings.links.iter().filter_map(Link::serial);
    let dongles = serial.filter_map(|serial| serial.witness).map(|id| settings.name_of(id));
    let said = dongles.flat_map(|dongle| {
        [
            format!(
                "the clock of {dongle} is right to {:.2} %, like every other: quartz is; an RC \
                 oscillator may be 3 % off, and needs clock_error = \"3%\"",
                f64::from(settings.clock_error) / 10_000.0
            ),
            format!(
                "{dongle} has power of its own or from every server: powered by one, it dies with it"
            ),
        ]
    });
    said.chain(watchdog::assumption(settings)).collect()
}
