//! The settings that say what Linux-HA's files said, with remarks.

use core::fmt::Display;
use std::path::Path;

use lifesign_core::time::Duration;

use super::Choices;
use super::authkeys::Authkeys;
use super::groups::{GroupPlan, ServicePlan};
use super::ha_cf::{AutoFailback, HaCf, Said};
use super::links::{Links, SerialPlan, UdpPlan};
use super::medium::Way;
use super::respawn;
use super::stonith;
use super::text::{Text, listed, quoted};
use crate::settings::written_span;

/// Everything that the settings are made of.
#[derive(Debug)]
pub(super) struct Translation<'a> {
    pub(super) directory: &'a Path,
    pub(super) ha: &'a HaCf,
    pub(super) links: Links<'a>,
    pub(super) groups: Vec<GroupPlan<'a>>,
    /// The addresses to ping.
    pub(super) pings: Vec<String>,
    /// The keys, if authkeys is where they come from.
    pub(super) authkeys: Option<&'a Authkeys>,
    pub(super) key_file: &'a Path,
    pub(super) choices: &'a Choices,
}

/// What two nodes without a witness must know.
pub(super) const NO_WITNESS: &str = "two nodes and no witness: when one of them is dead or cut \
    off, neither has a majority, and nobody serves until they meet again: safe, but down, where \
    Linux-HA would serve twice after a split; a node that leaves in good order still hands over. \
    Say --witness NAME=IP for a third machine that runs `lifesign witness`, or --witness NAME for \
    a dongle on the serial line, and the node that it sees goes on; --accept-split-brain does as \
    Linux-HA did";

impl Translation<'_> {
    /// Returns the settings, with promises of this length.
    pub(super) fn text(&self, promise: Duration) -> String {
        let mut text = Text::default();
        text.remark(&format!(
            "Made of {} by `lifesign import`; what needed thought is said with its old file and \
             line.",
            self.directory.display()
        ));
        text.key("version", "1");
        self.write_top(&mut text);
        self.write_timing(&mut text, promise);
        self.write_members(&mut text);
        for link in &self.links.udp {
            write_udp(&mut text, link);
        }
        for link in &self.links.serial {
            write_serial(&mut text, link);
        }
        self.write_watchdog(&mut text);
        for (at, group) in self.groups.iter().enumerate() {
            self.write_group(&mut text, group, at == 0);
        }
        respawn::write(&mut text, &self.ha.clients);
        if !self.ha.remarks.is_empty() {
            text.gap();
            text.remark("What has no key here:");
            for remark in &self.ha.remarks {
                text.remark(&format!("{}: {}", remark.place, remark.text));
            }
        }
        text.into_text()
    }

    /// Returns whether two nodes have nobody to decide between them.
    pub(super) fn is_undecided(&self) -> bool {
        let is_even = self.ha.nodes.len().is_multiple_of(2);
        is_even && self.links.witness.is_none() && !self.choices.accept_split_brain
    }

    fn write_top(&self, text: &mut Text) {
        match &self.ha.cluster {
            Some(cluster) => text.key("cluster", &quoted(&cluster.value)),
            None => {
                text.remark("ha.cf: no cluster is named; this is the name that Linux-HA gave");
                text.key("cluster", &quoted("linux-ha"));
            }
        }
        if self.authkeys.is_some() {
            text.remark(
                "authkeys: the words are made into keys of 32 bytes, and every frame is signed \
                 with HMAC-SHA256, whatever the method was",
            );
        }
        for warning in self.authkeys.iter().flat_map(|authkeys| &authkeys.warnings) {
            text.remark(warning);
        }
        text.key("key_file", &quoted(&self.key_file.display().to_string()));
        self.write_quorum(text);
        if !self.pings.is_empty() {
            if let [first, ..] = self.ha.pings.as_slice() {
                text.remark(&format!("{}: one that answers is enough", first.place));
            }
            text.key("ping", &listed(&self.pings));
        }
    }

    fn write_quorum(&self, text: &mut Text) {
        if let Some(witness) = &self.links.witness {
            if witness.place.line > 0 {
                text.remark(&format!(
                    "{}: the quorum server becomes the witness, asked when the votes are in halves",
                    witness.place
                ));
            }
            text.key("quorum", &listed(&["majority", "witness"]));
        } else if self.choices.accept_split_brain {
            text.remark("As Linux-HA: nodes that lose each other both serve until they meet.");
            text.key("quorum", &listed(&["majority", "two-nodes"]));
            text.key("accept_split_brain", "true");
        } else {
            if self.is_undecided() {
                let said = if self.ha.nodes.len() == 2 { NO_WITNESS } else { NO_WITNESS_OF_MANY };
                text.remark(said);
            }
            text.key("quorum", &listed(&["majority"]));
        }
    }

    fn write_timing(&self, text: &mut Text, promise: Duration) {
        let ha = self.ha;
        text.table("[timing]");
        remark_span(text, "keepalive", ha.keepalive.as_ref(), "Linux-HA's default");
        text.key("heartbeat", &span(ha.heartbeat()));
        remark_span(text, "deadtime", ha.deadtime.as_ref(), "Linux-HA's default");
        text.key("dead", &span(ha.dead()));
        if promise > whole_millis(ha.dead()) {
            text.remark(
                "longer than deadtime, so that a holder keeps what it serves between frames",
            );
        } else {
            text.remark(
                "after so much silence another node may take over, as after deadtime before",
            );
        }
        text.key("promise", &span(promise));
        match &ha.initdead {
            Some(initdead) if self.choices.accept_split_brain => {
                text.remark(&format!("{}: initdead, before anything is claimed", initdead.place));
                text.key("settle", &span(initdead.value));
            }
            Some(initdead) => text.remark(&format!(
                "{}: initdead {} is not needed: whoever starts alone has no majority and claims \
                 nothing, however long the others take",
                initdead.place, initdead.value
            )),
            None => {}
        }
    }

    fn write_members(&self, text: &mut Text) {
        for node in &self.ha.nodes {
            text.table("[[node]]");
            text.key("name", &quoted(&node.value));
            stonith::write(text, &node.value, &self.ha.devices);
        }
        if let Some(witness) = &self.links.witness {
            text.table("[[witness]]");
            let is_dongle = self.links.serial.iter().any(|link| link.witness.is_some());
            text.remark(if is_dongle {
                "A dongle: `lifesign dongle provision` gives it these settings."
            } else {
                "Run `lifesign witness` there; its longest_promise must be at least the longest \
                 promise that `lifesign check` shows."
            });
            text.key("name", &quoted(&witness.value));
        }
    }

    fn write_watchdog(&self, text: &mut Text) {
        let Some(watchdog) = &self.ha.watchdog else { return };
        text.table("[watchdog]");
        text.remark(&format!(
            "{}: as there, it resets a machine after deadtime and 10 ms without a feed, in whole \
             seconds, and one that cannot be had is only told of; a takeover waits for it where \
             guard = \"stop\"",
            watchdog.place
        ));
        text.key("device", &quoted(&watchdog.value.display().to_string()));
        text.key("timeout", &span(watchdog_timeout(self.ha.dead())));
        text.key("required", "false");
    }

    fn write_group(&self, text: &mut Text, group: &GroupPlan<'_>, is_first: bool) {
        text.table("[[group]]");
        text.remark(&format!("{}: {}", group.line.place, group.line.home));
        text.key("name", &quoted(&group.name));
        for remark in &group.remarks {
            text.remark(remark);
        }
        if !group.addresses.is_empty() {
            text.key("addresses", &listed(&group.addresses));
        }
        text.key("prefer", &listed(&group.prefer));
        self.write_failback(text, is_first);
        let is_fenced = !self.ha.devices.is_empty();
        let stops_first = group.is_guarded_by_stop() && !is_fenced;
        if is_fenced {
            text.remark("as with Linux-HA, a dead node is fenced before anything starts elsewhere");
            text.key("guard", &quoted("fence"));
        } else if let Some(storage) = &group.storage {
            text.remark(&format!(
                "{storage} must have stopped before it starts elsewhere, so a takeover waits for \
                 the stop limits; with a `[[node.fence]]` for each server guard = \"fence\" is safer"
            ));
        } else if group.is_guarded_by_stop() {
            text.remark("without an address the services themselves must have stopped first");
        }
        if stops_first {
            text.key("guard", &quoted("stop"));
        }
        if self.ha.watchdog.is_some() && !group.services.is_empty() {
            text.key("watchdog", "true");
        }
        let stop_limit = if stops_first { "10s" } else { "20s" };
        for service in &group.services {
            self.write_service(text, service, stop_limit);
        }
    }

    fn write_service(&self, text: &mut Text, service: &ServicePlan, stop_limit: &str) {
        text.table("[[group.service]]");
        text.remark(&format!(
            "{}: its status is asked again and again, which Linux-HA never did",
            service.place
        ));
        text.key("name", &quoted(&service.name));
        text.key("agent", &quoted(&format!("heartbeat:{}", self.script(&service.script))));
        if !service.arguments.is_empty() {
            text.key("arguments", &listed(&service.arguments));
        }
        text.key("start_limit", &quoted("60s"));
        text.key("stop_limit", &quoted(stop_limit));
    }

    /// Returns where a script is: in the directory's own `resource.d`, if that is elsewhere than
    /// Linux-HA's, or else wherever scripts are looked for.
    fn script(&self, script: &str) -> String {
        let own = self.directory.join("resource.d").join(script);
        let is_elsewhere = self.directory != Path::new("/etc/ha.d");
        if !script.starts_with('/') && is_elsewhere && own.is_file() {
            return own.display().to_string();
        }
        script.to_owned()
    }

    fn write_failback(&self, text: &mut Text, is_first: bool) {
        if is_first {
            match &self.ha.auto_failback {
                None => text.remark(
                    "ha.cf: auto_failback is not there, which means legacy: groups return home",
                ),
                Some(Said { value: AutoFailback::Legacy, place }) => {
                    text.remark(&format!("{place}: legacy: groups return home"));
                }
                Some(Said { value: AutoFailback::On | AutoFailback::Off, .. }) => {}
            }
        }
        if self.ha.returns() {
            text.key("failback", &quoted("on"));
            text.key("hold_off", &quoted("10s"));
        } else {
            text.key("failback", &quoted("off"));
        }
    }
}

const NO_WITNESS_OF_MANY: &str = "an even number of nodes and no witness: when half of them lose \
    the other half, nobody serves until they meet again; say --witness NAME=IP for a machine that \
    runs `lifesign witness`";

/// Says where a span of the timing comes from.
fn remark_span(text: &mut Text, name: &str, said: Option<&Said<Duration>>, default: impl Display) {
    match said {
        Some(said) => text.remark(&format!("{}: {name}", said.place)),
        None => text.remark(&format!("ha.cf: {name} is not there; this is {default}")),
    }
}

fn span(span: Duration) -> String {
    quoted(&written_span(span))
}

/// Returns the timeout that Linux-HA gave its watchdog: the dead time and 10 ms, in whole seconds,
/// not less than it; here at most the ten minutes that a driver may count.
fn watchdog_timeout(dead: Duration) -> Duration {
    let seconds = (dead + Duration::from_millis(10)).as_micros().div_ceil(1_000_000);
    Duration::from_millis(seconds.min(600) * 1000)
}

/// Returns `span` in whole milliseconds, not less than it.
pub(super) fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(span.as_micros().div_ceil(1000))
}

fn write_udp(text: &mut Text, link: &UdpPlan<'_>) {
    let medium = link.medium;
    text.table("[[link]]");
    text.remark(&format!("{}", medium.place));
    text.key("name", &quoted(&link.name));
    text.key("kind", &quoted("udp"));
    for place in &link.idle {
        text.remark(&format!("{place}: the same adapter once more makes nothing redundant"));
    }
    text.key("adapter", &quoted(&medium.adapter));
    match &medium.way {
        Way::Broadcast => text.key("delivery", &quoted("broadcast")),
        Way::Unicast(_) => text.key("delivery", &quoted("unicast")),
        Way::Multicast(group) => {
            text.key("delivery", &quoted("multicast"));
            text.key("multicast", &quoted(&group.to_string()));
        }
    }
    text.key("port", &medium.port.to_string());
    let known = link.members.iter().map(|(name, ip, how)| format!("{name} {ip} {how}"));
    text.remark(&known.collect::<Vec<_>>().join(", "));
    let members = link.members.iter();
    let members = members.map(|(name, ip, _)| format!("{} = \"{ip}\"", quoted(name)));
    text.key("members", &format!("{{ {} }}", members.collect::<Vec<_>>().join(", ")));
}

fn write_serial(text: &mut Text, link: &SerialPlan<'_>) {
    text.table("[[link]]");
    text.remark(&format!("{}", link.lines[0].place));
    text.key("name", &quoted(&link.name));
    text.key("kind", &quoted("serial"));
    let devices: Vec<String> =
        link.lines.iter().map(|line| line.device.display().to_string()).collect();
    match devices.as_slice() {
        [device] => text.key("device", &quoted(device)),
        devices => {
            text.remark("all lines are one link: with more than two nodes they are a ring");
            text.key("device", &listed(devices));
        }
    }
    text.key("speed", &link.lines[0].speed.to_string());
    if let Some(witness) = &link.witness {
        text.key("witness", &quoted(witness));
    }
}
