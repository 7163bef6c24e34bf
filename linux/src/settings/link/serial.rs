//! Serial links.

use core::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use lifesign_core::node::{NodeId, NodeSet};
use toml::Spanned;
use toml::de::DeValue;

use crate::link::serial::{MAX_PORTS, SPEED, SPEEDS, SerialSpec};
use crate::settings::members::Members;
use crate::settings::mistake::Mistakes;
use crate::settings::table::{Table, parsed_of, text_of, wrong_kind};
use crate::settings::value;

/// Serial lines at up to [`MAX_PORTS`] ports of each node: a null modem between two servers, a ring
/// of them among more, or lines to a dongle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialLinkSettings {
    /// The devices of each node, by the node's id.
    pub devices: Vec<Vec<PathBuf>>,
    /// How many bits a second its lines carry.
    pub speed: u32,
    /// Whether the driver is asked to pass on every byte at once.
    pub low_latency: bool,
    /// Which witness the dongle on these lines is, if it is one.
    pub witness: Option<NodeId>,
    /// The nodes that the dongle can reset.
    pub resets: NodeSet,
}

impl SerialLinkSettings {
    /// Returns the devices of `node`.
    #[must_use]
    pub fn devices(&self, node: NodeId) -> &[PathBuf] {
        self.devices.get(node.index()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns whether `member` takes part in it.
    #[must_use]
    pub fn reaches(&self, member: NodeId) -> bool {
        self.witness == Some(member) || !self.devices(member).is_empty()
    }

    /// Returns what to open on node `me`, or `None` if it has no device.
    pub(super) fn spec(&self, me: NodeId) -> Option<SerialSpec> {
        let devices = self.devices(me);
        (!devices.is_empty()).then(|| SerialSpec {
            devices: devices.to_vec(),
            speed: self.speed,
            low_latency: self.low_latency,
            own: me,
        })
    }
}

/// Reads what stands in a serial link besides its name.
pub(super) fn read(
    table: &mut Table<'_>,
    members: &mut Members,
    mistakes: &mut Mistakes,
) -> SerialLinkSettings {
    let devices = read_devices(table, members, mistakes);
    let speed = table.integer("speed", speeds(), mistakes).map(Spanned::into_inner);
    let low_latency = table.boolean("low_latency", true, mistakes);
    let witness = table.text("witness", mistakes);
    let witness = witness.and_then(|name| members.witness(&name, mistakes));
    let resets = read_resets(table, members, mistakes);
    for (key, hint) in [
        ("members", "whoever has a `device` is on this link, and its `witness`"),
        ("adapter", "a serial line has no adapter: write `device`"),
        ("port", "a serial line has no port numbers: write `device`"),
        ("delivery", "a serial line has two ends, or a dongle that relays: leave it out"),
        ("ethertype", "a serial line is no Ethernet: leave it out"),
        ("vlan", "a serial line is no Ethernet: leave it out"),
        ("multicast", "a serial line has two ends, or a dongle that relays: leave it out"),
    ] {
        table.refuse(key, "a serial link", hint, mistakes);
    }
    let plain = |devices: &Vec<Spanned<PathBuf>>| {
        devices.iter().map(|device| device.get_ref().clone()).collect()
    };
    SerialLinkSettings {
        devices: devices.iter().map(plain).collect(),
        speed: speed.and_then(|speed| u32::try_from(speed).ok()).unwrap_or(SPEED),
        low_latency,
        witness,
        resets,
    }
}

fn speeds() -> RangeInclusive<u64> {
    u64::from(*SPEEDS.start())..=u64::from(*SPEEDS.end())
}

/// Returns the devices of each node, none where they are wrong.
fn read_devices(
    table: &mut Table<'_>,
    members: &mut Members,
    mistakes: &mut Mistakes,
) -> Vec<Vec<Spanned<PathBuf>>> {
    let mut devices = vec![Vec::new(); members.nodes.len()];
    match table.value("device") {
        None => table.missing("device", "\"/dev/ttyS0\"", mistakes),
        Some(value) if matches!(value.get_ref(), DeValue::Table(_)) => {
            let Some(named) = table.table("device", mistakes) else { return devices };
            for (name, value) in named.named_values() {
                let node = members.node(&name, mistakes);
                let own = devices_of(value, mistakes);
                if let Some(node) = node {
                    note_taken(members, node, &own, mistakes);
                    devices[node.index()] = own;
                }
            }
            note_absent(members, &named, mistakes);
        }
        Some(value) => {
            let own = devices_of(value, mistakes);
            // What is said of all is wrong once.
            if let Some((first, _)) = members.node_ids().next() {
                note_taken(members, first, &own, mistakes);
            }
            devices.fill(own);
        }
    }
    for (node, own) in NodeId::all().zip(&devices) {
        members.devices.extend(own.iter().map(|device| (node, device.clone())));
    }
    devices
}

/// Returns the devices that `value` lists, a text or an array of texts.
fn devices_of(value: &Spanned<DeValue<'_>>, mistakes: &mut Mistakes) -> Vec<Spanned<PathBuf>> {
    let texts: Vec<Spanned<&str>> = match value.get_ref() {
        DeValue::String(text) => vec![Spanned::new(value.span(), &**text)],
        DeValue::Array(array) => {
            if array.iter().next().is_none() {
                mistakes.add(value.span(), "`device` is empty").hint(
                    "write \"/dev/ttyS0\", or [\"/dev/ttyS0\", \"/dev/ttyS1\"] for two ports",
                );
            }
            if let Some(item) = array.get(MAX_PORTS) {
                let count = array.iter().count();
                mistakes
                    .add(item.span(), format!("{count} ports of one link are too many"))
                    .label(format!("there can be {MAX_PORTS} on a node"));
            }
            let items = array.iter().take(MAX_PORTS);
            items.filter_map(|item| text_of(item, "device", mistakes)).collect()
        }
        _ => {
            wrong_kind(value, "device", "a text in quotes or an array of such texts", mistakes);
            return Vec::new();
        }
    };
    let mut devices: Vec<Spanned<PathBuf>> = Vec::new();
    for text in &texts {
        let Some(device) = parsed_of(text, "device", mistakes, value::device) else { continue };
        match devices.iter().find(|other| other.get_ref() == device.get_ref()) {
            Some(first) => note_twice(&device, first.span(), "", mistakes),
            None => devices.push(device),
        }
    }
    devices
}

/// Notes which of its devices a node uses for an earlier link.
fn note_taken(members: &Members, node: NodeId, own: &[Spanned<PathBuf>], mistakes: &mut Mistakes) {
    let name = members.node_ids().find(|(id, _)| *id == node).map_or("", |(_, name)| name);
    for device in own {
        let is_it = |(other, taken): &&(NodeId, Spanned<PathBuf>)| {
            *other == node && taken.get_ref() == device.get_ref()
        };
        if let Some((_, first)) = members.devices.iter().find(is_it) {
            note_twice(device, first.span(), &format!(" of {name:?}"), mistakes);
        }
    }
}

fn note_twice(device: &Spanned<PathBuf>, first: Range<usize>, of: &str, mistakes: &mut Mistakes) {
    let title = format!("the device {:?}{of} is there twice", device.get_ref());
    mistakes.add(device.span(), title).label("the second").other(first, "the first");
}

/// Notes which nodes are not on the link.
fn note_absent(members: &Members, named: &Table<'_>, mistakes: &mut Mistakes) {
    for (_, node) in members.node_ids().filter(|(_, node)| !node.is_empty()) {
        if !named.has(node) {
            mistakes
                .add(named.span(), format!("node {node:?} is not on this link"))
                .label("every node must be")
                .hint(format!("add `{node} = \"/dev/ttyS0\"`"));
        }
    }
}

/// Returns whom the dongle can reset.
fn read_resets(table: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> NodeSet {
    let Some(names) = table.texts("resets", mistakes) else { return NodeSet::EMPTY };
    if !table.has("witness") {
        mistakes
            .add(names.span(), "`resets` needs a dongle that is a witness")
            .label("nobody is there to reset")
            .hint("add `witness = \"..\"`, the name of the dongle's `[[witness]]`");
    }
    let mut resets = NodeSet::EMPTY;
    for name in names.get_ref() {
        let Some(node) = members.node(name, mistakes) else { continue };
        if resets.contains(node) {
            mistakes.add(name.span(), format!("`resets` names {:?} twice", name.get_ref()));
        }
        resets.insert(node);
    }
    resets
}
