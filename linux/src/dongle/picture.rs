//! How a dongle is, for people and for machines, and whether it fits a cluster.

use std::fmt::Write;
use std::path::Path;

use lifesign_core::dongle::{Cause, Info, Lock};
use lifesign_core::frame;
use lifesign_core::node::{ClusterId, NodeId, NodeSet};
use serde::Serialize;

use super::history::History;
use crate::page::{self, Page, Paint, span};
use crate::settings::safety::cluster_id;
use crate::settings::witness::place_of_witness;
use crate::settings::{Link, Settings};

/// How a dongle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// The device at which it was asked.
    pub device: String,
    /// The board.
    pub board: String,
    /// The version of its firmware.
    pub firmware: String,
    /// The version of its messages.
    pub version: u8,
    /// `unprovisioned`, `locked` or `unlocked`.
    pub lock: &'static str,
    /// The id of its cluster, in hexadecimal.
    pub cluster_id: Option<String>,
    /// The name of its cluster, where the settings at hand are of the same.
    pub cluster: Option<String>,
    /// Which witness it is, from 1.
    pub witness_number: Option<u8>,
    /// The name of that witness.
    pub witness: Option<String>,
    /// The longest promise it makes, which it also waits after a start.
    pub longest_promise_ms: u32,
    /// Whether it promises yet.
    pub promises: bool,
    /// For how long it has run.
    pub uptime_ms: u64,
    /// How often it has started; `None` if it cannot count.
    pub starts: Option<u32>,
    /// Why it started last.
    pub cause: &'static str,
    /// Its boot id, in hexadecimal.
    pub boot: String,
    /// What it has room for.
    pub room: Room,
    /// Whom it hears.
    pub hears: Vec<String>,
    /// The port at which it was asked, from 1.
    pub port: u8,
    /// All ports.
    pub ports: Vec<Port>,
    /// What it has noted about reset lines, the newest last.
    pub resets: Vec<String>,
    /// What is wrong with it for the cluster of the settings.
    pub faults: Vec<String>,
    /// Whether it belongs to another cluster than that of the settings.
    pub is_foreign: bool,
}

/// What a dongle has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Nodes, from the first of the settings.
    pub nodes: u8,
    /// Groups, from the first of the settings.
    pub groups: u8,
    /// Bytes of a frame.
    pub frame_len: u16,
}

/// A port of a dongle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its number, from 1.
    pub port: u8,
    /// Its name.
    pub name: Option<String>,
    /// Whom its reset line resets, if it is wired.
    pub resets: Option<String>,
    /// Whether it is the one at which this was asked.
    pub is_here: bool,
    /// Messages that came in whole.
    pub received: u32,
    /// Messages sent.
    pub sent: u32,
    /// Runs of bytes that were no message.
    pub garbage: u32,
    /// Frames that were refused.
    pub refused: u32,
    /// Bytes lost because the dongle was too slow.
    pub overruns: u32,
    /// Messages that never went out.
    pub lost: u32,
}

impl Picture {
    /// Draws the dongle that said `info` on `device`, held against `settings` if there are any.
    #[must_use]
    pub fn of(info: &Info, device: &Path, settings: Option<&Settings>) -> Self {
        let is_own =
            |id: ClusterId| settings.filter(|settings| cluster_id(&settings.cluster) == id);
        let own = info.member.and_then(|(id, _)| is_own(id));
        let me = info.member.map(|(_, me)| me);
        let name = |node: NodeId| match own {
            Some(settings) => settings.name_of(node),
            None => format!("node {}", node.number()),
        };
        let [major, minor, patch] = info.firmware;
        let (nodes, groups, frame_len) = info.limits;
        Self {
            device: device.display().to_string(),
            board: info.board.to_string(),
            firmware: format!("{major}.{minor}.{patch}"),
            version: info.version,
            lock: lock(info.lock),
            cluster_id: info.member.map(|(id, _)| format!("{:08x}", id.0)),
            cluster: own.map(|settings| settings.cluster.clone()),
            witness_number: me.map(place_of_witness).filter(|place| *place > 0),
            witness: me.zip(own).map(|(me, settings)| settings.name_of(me)),
            longest_promise_ms: info.longest_promise_ms,
            promises: info.promises,
            uptime_ms: info.uptime.as_micros() / 1000,
            starts: Some(info.starts).filter(|starts| *starts > 0),
            cause: cause(info.cause),
            boot: format!("{:016x}", info.boot.bits()),
            room: Room { nodes, groups, frame_len },
            hears: info.hears.iter().map(&name).collect(),
            port: info.port.saturating_add(1),
            ports: ports(info, name),
            resets: Vec::new(),
            faults: settings.map(|settings| faults(info, settings)).unwrap_or_default(),
            is_foreign: settings.is_some() && info.member.is_some() && own.is_none(),
        }
    }

    /// Adds what the dongle has noted about reset lines.
    #[must_use]
    pub fn with_pulses(self, history: &History) -> Self {
        let about = history.events.iter().filter(|event| event.is_reset);
        let resets = about.map(|event| format!("{} ({})", event.text, event.when())).collect();
        Self { resets, ..self }
    }

    /// Returns it as a page for people.
    #[must_use]
    pub fn render(&self, page: Page) -> String {
        let mut text = format!(
            "{} on {}, firmware {}\n",
            page.paint(Paint::Heading, &format!("dongle {}", self.board)),
            self.device,
            self.firmware
        );
        let mut row = |name: &str, value: &str| text.push_str(&page::wrap(&label(name), value));
        row("cluster", &self.whose());
        row("lock", self.meaning());
        if self.cluster_id.is_some() {
            let wait = span(u64::from(self.longest_promise_ms));
            row(
                "promises",
                &match (self.promises, self.starts) {
                    (true, _) => format!("yes, up to {wait}"),
                    (false, Some(_)) => format!("not yet: it waits {wait} after its start"),
                    (false, None) => "never: it cannot count its starts".to_owned(),
                },
            );
        }
        let starts = self.starts.map_or_else(
            || "cannot count its starts".to_owned(),
            |starts| format!("start number {starts}"),
        );
        row("running", &format!("{}, {starts}, {}", span(self.uptime_ms), self.cause));
        let Room { nodes, groups, frame_len } = self.room;
        row("room", &format!("{nodes} nodes, {groups} groups, frames of {frame_len} bytes"));
        let heard: Vec<&str> = self.hears.iter().map(String::as_str).collect();
        row("hears", &page::list(&heard));
        // The last ones; `lifesign dongle log` has them all.
        for reset in self.resets.iter().rev().take(3).rev() {
            row("resets", reset);
        }
        text.push_str(&self.table(page));
        for fault in &self.faults {
            let mark = page.paint(Paint::Bad, "error:");
            let _ = writeln!(text, "{mark} {fault}");
        }
        text
    }

    fn whose(&self) -> String {
        let Some(id) = &self.cluster_id else {
            return "none yet; it passes nothing on: see `lifesign dongle provision --help`"
                .to_owned();
        };
        let number = self.witness_number.unwrap_or_default();
        match (&self.cluster, &self.witness) {
            (Some(cluster), Some(witness)) => {
                format!("{cluster} (id {id}), as its witness {witness}, number {number}")
            }
            _ if self.is_foreign => {
                format!("another one than that of the settings (id {id}), as witness {number}")
            }
            _ => format!("id {id}, as witness {number}; --settings shows its name"),
        }
    }

    fn meaning(&self) -> &'static str {
        match self.lock {
            "unprovisioned" => "open: it takes the first settings it is given",
            "unlocked" => "unlocked by hand: it takes any settings; release the unlock pin",
            _ => "locked: it takes settings from whoever has its cluster's key",
        }
    }

    fn table(&self, page: Page) -> String {
        let head = "  port name             received     sent  garbage  refused  overrun     lost";
        let mut text = format!("{}\n", page.paint(Paint::Heading, head));
        for port in &self.ports {
            let name = page.fit(port.name.as_deref().unwrap_or("-"), 15);
            let _ = write!(text, "  {:>4} {name}", port.port);
            let counts = [
                (port.received, false),
                (port.sent, false),
                (port.garbage, true),
                (port.refused, true),
                (port.overruns, true),
                (port.lost, true),
            ];
            for (count, is_bad) in counts {
                let shown = format!("{count:>9}");
                let is_bad = is_bad && count > 0;
                text.push_str(&if is_bad { page.paint(Paint::Warning, &shown) } else { shown });
            }
            if let Some(node) = &port.resets {
                let _ = write!(text, "  resets {node}");
            }
            text.push_str(if port.is_here { "  < here\n" } else { "\n" });
        }
        text
    }
}

/// Returns the beginning of a line of the page.
fn label(name: &str) -> String {
    format!("  {name:<10}")
}

fn ports(info: &Info, name_of: impl Fn(NodeId) -> String) -> Vec<Port> {
    let numbered = (1..).zip(&info.ports);
    numbered
        .map(|(port, about)| Port {
            port,
            name: Some(about.name.to_string()).filter(|name| !name.is_empty()),
            resets: about.resets.map(&name_of),
            is_here: port == info.port.saturating_add(1),
            received: about.received,
            sent: about.sent,
            garbage: about.garbage,
            refused: about.refused,
            overruns: about.overruns,
            lost: about.lost,
        })
        .collect()
}

/// Returns why the dongle that said `info` does not serve the cluster of `settings`.
fn faults(info: &Info, settings: &Settings) -> Vec<String> {
    let mut faults = room_faults(info, settings);
    let cluster = &settings.cluster;
    let Some((id, me)) = info.member else {
        faults.push(format!(
            "it is not provisioned: it does nothing for cluster {cluster} until `lifesign dongle \
             provision`"
        ));
        return faults;
    };
    if id != cluster_id(cluster) {
        faults.push(format!(
            "it belongs to another cluster: its id is {:08x}, and that of {cluster} is {:08x}",
            id.0,
            cluster_id(cluster).0
        ));
        return faults;
    }
    if !settings.members().any(|(member, _)| member == me) {
        faults.push(format!("the settings have no witness number {}", place_of_witness(me)));
    }
    let needed = settings.timing.longest_promise;
    if u64::from(info.longest_promise_ms) * 1000 < needed.as_micros() {
        faults.push(format!(
            "it promises {} at most and the settings ask for {needed}: provision it again",
            span(u64::from(info.longest_promise_ms))
        ));
    }
    faults.extend(missing_lines(info, me, settings));
    faults
}

/// Returns whom the settings would have reset by the dongle, which is their witness `me`, and it
/// has no line for.
fn missing_lines(info: &Info, me: NodeId, settings: &Settings) -> Vec<String> {
    let serial = settings.links.iter().filter_map(Link::serial);
    let wanted = serial.filter(|serial| serial.witness == Some(me)).map(|serial| serial.resets);
    let wanted = wanted.fold(NodeSet::EMPTY, NodeSet::union);
    let wired = info.ports.iter().filter_map(|port| port.resets).collect();
    let missing = wanted.difference(wired);
    let said = missing.iter().map(|node| {
        let node = settings.name_of(node);
        format!(
            "it has no reset line to {node}, and the settings say that it has: provision it with \
             `--resets`"
        )
    });
    said.collect()
}

/// Returns what of the cluster of `settings` the dongle has no room for.
pub(super) fn room_faults(info: &Info, settings: &Settings) -> Vec<String> {
    let (nodes, groups, frame_len) = info.limits;
    let mut faults = Vec::new();
    let mut weigh = |what: &str, room: usize, needed: usize| {
        if needed > room {
            faults.push(format!("it has room for {room} {what} and the settings have {needed}"));
        }
    };
    weigh("nodes", usize::from(nodes), settings.nodes.len());
    weigh("groups", usize::from(groups), settings.groups.len());
    let members = settings.nodes.len() + settings.witnesses.len();
    let longest = frame::longest(members, settings.groups.len());
    weigh("bytes of a frame", usize::from(frame_len), longest);
    faults
}

pub(super) const fn lock(lock: Lock) -> &'static str {
    match lock {
        Lock::Unprovisioned => "unprovisioned",
        Lock::Locked => "locked",
        Lock::Unlocked => "unlocked",
    }
}

/// Returns why a dongle started, as the end of a sentence.
#[must_use]
pub const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Power => "after power came",
        Cause::BrownOut => "after its supply was too low",
        Cause::Pin => "after its reset button or line",
        Cause::Watchdog => "after its watchdog bit: the program had stopped",
        Cause::Fault => "after it found a fault in itself",
        Cause::Software => "by its own decision, as for other settings",
        _ => "for a reason it does not know",
    }
}
