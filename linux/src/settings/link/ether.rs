//! Links of raw Ethernet.

use core::ops::Range;

use lifesign_core::node::{ClusterId, NodeId};
use toml::Spanned;

use super::{Link, adapter};
use crate::link::ether::{ETHERTYPE, EtherSpec, VLANS, judge_ethertype};
use crate::settings::document::unknown_word;
use crate::settings::members::Members;
use crate::settings::mistake::Mistakes;
use crate::settings::table::Table;

/// Raw Ethernet on one adapter of each node. Witnesses are not on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtherLinkSettings {
    /// The adapter on each node, by the node's id.
    pub adapters: Vec<String>,
    /// The Ethernet type of everybody on this link.
    pub ethertype: u16,
    /// The VLAN that frames are sent into, if the adapters do not tag them themselves.
    pub vlan: Option<u16>,
    /// Whether frames go to everybody on the network, not to the nodes' group address.
    pub broadcast: bool,
}

impl EtherLinkSettings {
    /// Returns the adapter of this link on `node`.
    #[must_use]
    pub fn adapter(&self, node: NodeId) -> Option<&str> {
        self.adapters.get(node.index()).map(String::as_str)
    }

    /// Returns what to open on node `me` for frames of `cluster`, or `None` if it is not on this
    /// link.
    pub(super) fn spec(&self, me: NodeId, cluster: ClusterId) -> Option<EtherSpec> {
        Some(EtherSpec {
            adapter: self.adapter(me)?.to_owned(),
            cluster,
            ethertype: self.ethertype,
            vlan: self.vlan,
            broadcast: self.broadcast,
        })
    }
}

/// Reads what stands in a link of raw Ethernet besides its name.
pub(super) fn read(
    table: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> EtherLinkSettings {
    let adapters = adapter::read(table, members, mistakes);
    let number = |it: Spanned<u64>| u16::try_from(it.into_inner()).ok();
    let range = u64::from(*VLANS.start())..=u64::from(*VLANS.end());
    let vlan = table.integer("vlan", range, mistakes).and_then(number);
    let ethertype = table.integer("ethertype", 0..=0xffff, mistakes).and_then(|written| {
        let span = written.span();
        let ethertype = number(written)?;
        if let Err(why) = judge_ethertype(ethertype) {
            let title = format!("{ethertype:#06x} cannot be the type of heartbeats");
            let hint = format!("leave it out for {ETHERTYPE:#06x}, which is for local use");
            mistakes.add(span, title).label(why).hint(hint);
        }
        Some(ethertype)
    });
    let delivery = table.parsed("delivery", mistakes, |text| match text {
        "multicast" => Ok(false),
        "broadcast" => Ok(true),
        _ => Err(unknown_word("delivery", text, &["multicast", "broadcast"])),
    });
    let no_address = "raw Ethernet needs no address: every node is on this link";
    let only_serial = "write kind = \"serial\" for a serial line";
    for (key, hint) in [
        ("members", no_address),
        ("port", "raw Ethernet has no ports: leave it out, or write `ethertype`"),
        ("multicast", "the nodes' group address is always the same: leave it out"),
        ("device", only_serial),
        ("speed", only_serial),
        ("low_latency", only_serial),
        ("witness", only_serial),
        ("resets", only_serial),
    ] {
        table.refuse(key, "a link of kind ether", hint, mistakes);
    }
    EtherLinkSettings {
        adapters,
        ethertype: ethertype.unwrap_or(ETHERTYPE),
        vlan,
        broadcast: delivery.is_some_and(Spanned::into_inner),
    }
}

/// Notes if two links of raw Ethernet are one on some node.
pub(super) fn note_same_wire(
    members: &Members,
    link: (&Link, &Range<usize>),
    other: (&Link, &Range<usize>),
    mistakes: &mut Mistakes,
) {
    let ((link, place), (other, first)) = (link, other);
    let (Some(link), Some(other)) = (link.ether(), other.ether()) else { return };
    if link.ethertype != other.ethertype {
        return;
    }
    let is_shared = |id: NodeId| {
        let adapter = link.adapter(id).filter(|adapter| !adapter.is_empty());
        adapter.is_some() && adapter == other.adapter(id)
    };
    if let Some((_, node)) = members.node_ids().find(|(id, _)| is_shared(*id)) {
        mistakes
            .add(place.clone(), format!("two links share raw Ethernet on one adapter of {node:?}"))
            .label("this link")
            .other(first.clone(), "and this")
            .hint("give one of them another adapter: one cable is one way to reach a peer");
    }
}
