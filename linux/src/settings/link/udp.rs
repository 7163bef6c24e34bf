//! Links of kind UDP.

use core::net::IpAddr;
use core::ops::Range;

use lifesign_core::node::NodeId;
use toml::Spanned;

use super::{Link, adapter, family};
use crate::link::udp::{Delivery, UdpSpec};
use crate::settings::document::unknown_word;
use crate::settings::members::Members;
use crate::settings::mistake::Mistakes;
use crate::settings::table::{Table, parsed_of};
use crate::settings::value;

/// UDP on one adapter of each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpLinkSettings {
    /// The adapter on each node, by the node's id.
    pub adapters: Vec<String>,
    /// How a frame reaches the other nodes; witnesses are always sent to by unicast.
    pub delivery: Delivery,
    /// The UDP port of everybody on this link.
    pub port: u16,
    /// The address of each node, and of each witness on this link. All of one family.
    pub members: Vec<(NodeId, IpAddr)>,
}

impl UdpLinkSettings {
    /// Returns the address of `member` on this link.
    #[must_use]
    pub fn address(&self, member: NodeId) -> Option<IpAddr> {
        self.members.iter().find(|(other, _)| *other == member).map(|(_, address)| *address)
    }

    /// Returns the adapter of this link on `node`.
    #[must_use]
    pub fn adapter(&self, node: NodeId) -> Option<&str> {
        self.adapters.get(node.index()).map(String::as_str)
    }

    /// Returns what to open on node `me`, or `None` if it is not on this link.
    #[must_use]
    pub fn spec(&self, me: NodeId) -> Option<UdpSpec> {
        Some(UdpSpec {
            adapter: self.adapter(me)?.to_owned(),
            delivery: self.delivery,
            port: self.port,
            own: self.address(me)?,
            peers: self.peers(me).map(|(_, address)| address).collect(),
            witnesses: self.witnesses().map(|(_, address)| address).collect(),
        })
    }

    /// Returns the addresses of the other nodes, without witnesses.
    pub fn peers(&self, me: NodeId) -> impl Iterator<Item = (NodeId, IpAddr)> {
        self.members
            .iter()
            .copied()
            .filter(move |(member, _)| *member != me && !member.is_witness())
    }

    /// Returns the addresses of the witnesses on this link.
    pub fn witnesses(&self) -> impl Iterator<Item = (NodeId, IpAddr)> {
        self.members.iter().copied().filter(|(member, _)| member.is_witness())
    }
}

/// Reads what stands in a link of kind UDP besides its name.
pub(super) fn read(
    table: &mut Table<'_>,
    members: &mut Members,
    mistakes: &mut Mistakes,
) -> UdpLinkSettings {
    let port = table.integer("port", 1..=65_535, mistakes).map(Spanned::into_inner);
    let adapters = adapter::read(table, members, mistakes);
    let addresses = read_addresses(table, members, mistakes);
    let delivery = read_delivery(table, &addresses, mistakes);
    for key in ["ethertype", "vlan"] {
        table.refuse(
            key,
            "a link of kind udp",
            "write kind = \"ether\" for raw Ethernet",
            mistakes,
        );
    }
    for key in ["device", "speed", "low_latency", "witness", "resets"] {
        table.refuse(
            key,
            "a link of kind udp",
            "write kind = \"serial\" for a serial line",
            mistakes,
        );
    }
    let link = UdpLinkSettings {
        adapters,
        delivery,
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT),
        members: addresses.iter().map(|(id, address)| (*id, *address.get_ref())).collect(),
    };
    members.addresses.extend(addresses.into_iter().map(|(_, address)| address));
    link
}

const PORT: u16 = 6940;

/// Notes if two links would open the same port on one adapter of one node.
pub(super) fn note_same_socket(
    members: &Members,
    link: (&Link, &Range<usize>),
    other: (&Link, &Range<usize>),
    mistakes: &mut Mistakes,
) {
    let ((link, place), (other, first)) = (link, other);
    let (Some(link), Some(other)) = (link.udp(), other.udp()) else { return };
    let is_shared = |id: NodeId| {
        let both_unicast =
            link.delivery == Delivery::Unicast && other.delivery == Delivery::Unicast;
        let is_same_address = link.address(id).is_some() && link.address(id) == other.address(id);
        let is_same_adapter = link.adapter(id).is_some_and(|adapter| !adapter.is_empty())
            && link.adapter(id) == other.adapter(id);
        is_same_address || is_same_adapter && !both_unicast
    };
    if link.port != other.port {
        return;
    }
    if let Some((_, node)) = members.node_ids().find(|(id, _)| is_shared(*id)) {
        mistakes
            .add(place.clone(), format!("two links share port {} of {node:?}", link.port))
            .label("this link")
            .other(first.clone(), "and this")
            .hint("give one of them another `port`");
    }
}

fn read_addresses(
    table: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Vec<(NodeId, Spanned<IpAddr>)> {
    let Some(named) = table.table("members", mistakes) else {
        if table.value("members").is_none() {
            table.missing("members", "{ .. }", mistakes);
        }
        return Vec::new();
    };
    let mut addresses: Vec<(NodeId, Spanned<IpAddr>)> = Vec::new();
    let mut mentioned = Vec::new();
    for (name, text) in named.named_texts(mistakes) {
        mentioned.push(*name.get_ref());
        let member = members.member(&name, mistakes);
        let address = parsed_of(&text, "members", mistakes, value::host);
        let (Some(member), Some(address)) = (member, address) else { continue };
        let ip = *address.get_ref();
        if let Some((_, first)) = addresses.iter().find(|(_, other)| *other.get_ref() == ip) {
            mistakes
                .add(address.span(), format!("two members have the address {ip}"))
                .label("the second")
                .other(first.span(), "the first");
        } else if let Some((_, first)) =
            addresses.first().filter(|(_, other)| other.get_ref().is_ipv4() != ip.is_ipv4())
        {
            mistakes
                .add(address.span(), "a link's members must be all IPv4 or all IPv6")
                .label(family(ip))
                .other(first.span(), family(*first.get_ref()))
                .hint("make two links of it");
        } else if let Some((owner, first)) = owner_elsewhere(members, ip)
            && owner != member
        {
            mistakes
                .add(address.span(), format!("{ip} is another member's address"))
                .label("here")
                .other(first, "there");
        }
        addresses.push((member, address));
    }
    for (_, node) in members.node_ids().filter(|(_, node)| !node.is_empty()) {
        if !mentioned.contains(&node) {
            mistakes
                .add(named.span(), format!("node {node:?} is not on this link"))
                .label("every node must be")
                .hint(format!("add `{node} = \"IP\"` to its members"));
        }
    }
    addresses
}

/// Returns who has `ip` on an earlier link, and where that is said.
fn owner_elsewhere(members: &Members, ip: IpAddr) -> Option<(NodeId, Range<usize>)> {
    let mut all = members.links.iter().filter_map(Link::udp).flat_map(|link| &link.members);
    let (owner, _) = all.find(|(_, other)| *other == ip)?;
    let place = members.addresses.iter().find(|address| *address.get_ref() == ip)?;
    Some((*owner, place.span()))
}

fn read_delivery(
    table: &mut Table<'_>,
    addresses: &[(NodeId, Spanned<IpAddr>)],
    mistakes: &mut Mistakes,
) -> Delivery {
    let multicast = table.parsed("multicast", mistakes, value::multicast);
    let has_multicast = table.value("multicast").is_some();
    let word = table.parsed("delivery", mistakes, |text| match text {
        "multicast" | "broadcast" | "unicast" => Ok(text.to_owned()),
        _ => Err(unknown_word("delivery", text, &["multicast", "broadcast", "unicast"])),
    });
    let is_ipv6 = addresses.first().map(|(_, first)| first.get_ref().is_ipv6());
    match word.as_ref().map(|word| word.get_ref().as_str()) {
        Some("broadcast") if is_ipv6 == Some(true) => {
            let span = word.map_or(0..0, |word| word.span());
            mistakes.add(span, "IPv6 has no broadcast").hint("write delivery = \"multicast\"");
            Delivery::Broadcast
        }
        Some("broadcast") => Delivery::Broadcast,
        Some("multicast") => read_multicast(table, multicast, is_ipv6, has_multicast, mistakes),
        None if has_multicast => read_multicast(table, multicast, is_ipv6, has_multicast, mistakes),
        _ => Delivery::Unicast,
    }
}

fn read_multicast(
    table: &Table<'_>,
    multicast: Option<Spanned<IpAddr>>,
    is_ipv6: Option<bool>,
    has_multicast: bool,
    mistakes: &mut Mistakes,
) -> Delivery {
    match multicast {
        Some(group) => {
            if is_ipv6.is_some_and(|is_ipv6| is_ipv6 != group.get_ref().is_ipv6()) {
                mistakes
                    .add(group.span(), "the multicast group is of another family than the members")
                    .label(family(*group.get_ref()));
            }
            Delivery::Multicast(group.into_inner())
        }
        None => {
            if !has_multicast {
                let example =
                    if is_ipv6 == Some(true) { "\"ff02::4c53\"" } else { "\"239.255.76.83\"" };
                table.missing("multicast", example, mistakes);
            }
            Delivery::Unicast
        }
    }
}
