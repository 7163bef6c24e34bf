//! Nodes, witnesses and links.

use core::net::IpAddr;
use core::ops::Range;

use lifesign_core::node::{MAX_LINKS, MAX_NODES, MAX_WITNESSES, NodeId};
use toml::Spanned;
use toml::de::DeValue;

use super::mistake::{Mistakes, did_you_mean};
use super::table::{Misfit, Table, parsed_of};
use super::{Link, Node, value};
use crate::link::udp::Delivery;

/// Who takes part, and the ways between them.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) nodes: Vec<Node>,
    pub(super) witnesses: Vec<String>,
    pub(super) links: Vec<Link>,
    /// Every address of a member, with its place.
    pub(super) addresses: Vec<Spanned<IpAddr>>,
}

impl Members {
    /// Returns the node called `name`, or notes that there is none.
    pub(super) fn node(&self, name: &Spanned<&str>, mistakes: &mut Mistakes) -> Option<NodeId> {
        let at = self.nodes.iter().position(|node| node.name == *name.get_ref());
        if at.is_none() {
            let known = self.nodes.iter().map(|node| node.name.as_str());
            note_stranger("node", name, known, mistakes);
        }
        NodeId::all().nth(at?)
    }

    /// Returns the node or witness called `name`, or notes that there is none.
    fn member(&self, name: &Spanned<&str>, mistakes: &mut Mistakes) -> Option<NodeId> {
        let is_it = |other: &String| other == name.get_ref();
        if let Some(at) = self.witnesses.iter().position(is_it) {
            return u8::try_from(at).ok().and_then(NodeId::witness);
        }
        let at = self.nodes.iter().position(|node| is_it(&node.name));
        if at.is_none() {
            let known = self.nodes.iter().map(|node| &node.name).chain(&self.witnesses);
            note_stranger("node or witness", name, known.map(String::as_str), mistakes);
        }
        NodeId::all().nth(at?)
    }

    fn node_ids(&self) -> impl Iterator<Item = (NodeId, &str)> {
        NodeId::all().zip(self.nodes.iter().map(|node| node.name.as_str()))
    }
}

fn note_stranger<'a>(
    what: &str,
    name: &Spanned<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
    mistakes: &mut Mistakes,
) {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(name.get_ref(), known).unwrap_or_else(|| format!("known are {all}"));
    let shown = super::table::printable(name.get_ref());
    mistakes
        .add(name.span(), format!("there is no {what} \"{shown}\""))
        .label("unknown here")
        .hint(hint);
}

/// Names that must differ, with their places.
#[derive(Debug)]
pub(super) struct Names {
    what: &'static str,
    taken: Vec<Spanned<String>>,
}

impl Names {
    /// Starts with no name of a `what`.
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, taken: Vec::new() }
    }

    /// Reads the `name` of `table` and notes if it is taken. A table without a right name gets an
    /// empty one.
    pub(super) fn read(&mut self, table: &mut Table<'_>, mistakes: &mut Mistakes) -> String {
        let Some(name) = table.required("name", "\"..\"", mistakes, value::name) else {
            return String::new();
        };
        match self.taken.iter().find(|other| other.get_ref() == name.get_ref()) {
            Some(first) => {
                let what = self.what;
                mistakes
                    .add(name.span(), format!("{what} {:?} is there twice", name.get_ref()))
                    .label("the second")
                    .other(first.span(), "the first");
            }
            None => self.taken.push(name.clone()),
        }
        name.into_inner()
    }
}

/// Reads nodes, witnesses and links.
pub(super) fn read(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Members {
    let mut names = Names::new("node or witness");
    let mut members = Members {
        nodes: Vec::new(),
        witnesses: Vec::new(),
        links: Vec::new(),
        addresses: Vec::new(),
    };
    for mut table in top.tables("node", MAX_NODES, mistakes) {
        let name = names.read(&mut table, mistakes);
        let votes = table.integer("votes", 0..=100, mistakes).map_or(1, Spanned::into_inner);
        members.nodes.push(Node { name, votes: u8::try_from(votes).unwrap_or(1) });
        table.finish(mistakes);
    }
    if members.nodes.is_empty() {
        mistakes.add(top.span(), "the file has no `[[node]]`").hint("add one for each server");
    }
    for mut table in top.tables("witness", MAX_WITNESSES, mistakes) {
        members.witnesses.push(names.read(&mut table, mistakes));
        table.finish(mistakes);
    }
    read_links(top, &mut members, mistakes);
    members
}

fn read_links(top: &mut Table<'_>, members: &mut Members, mistakes: &mut Mistakes) {
    let mut names = Names::new("link");
    let tables = top.tables("link", MAX_LINKS, mistakes);
    if tables.is_empty() && top.value("link").is_none() {
        mistakes.add(top.span(), "the file has no `[[link]]`").hint("add one, with kind = \"udp\"");
    }
    let mut places = Vec::new();
    for mut table in tables {
        let place = table.span();
        let link = read_link(&mut table, members, &mut names, mistakes);
        table.finish(mistakes);
        for (other, first) in members.links.iter().zip(&places) {
            note_same_socket(members, (&link, &place), (other, first), mistakes);
        }
        members.links.push(link);
        places.push(place);
    }
    let is_unreached = |id: NodeId| members.links.iter().all(|link| link.address(id).is_none());
    for (name, id) in members.witnesses.iter().zip((0..).filter_map(NodeId::witness)) {
        if is_unreached(id) && !name.is_empty() && !members.links.is_empty() {
            let title = format!("no link reaches the witness {name:?}");
            let place = places.first().cloned().unwrap_or(0..0);
            mistakes.add(place, title).hint(format!("add `{name} = \"IP\"` to its members"));
        }
    }
}

/// Notes if two links would open the same port on one adapter of one node.
fn note_same_socket(
    members: &Members,
    link: (&Link, &Range<usize>),
    other: (&Link, &Range<usize>),
    mistakes: &mut Mistakes,
) {
    let ((link, place), (other, first)) = (link, other);
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

fn read_link(
    table: &mut Table<'_>,
    members: &mut Members,
    names: &mut Names,
    mistakes: &mut Mistakes,
) -> Link {
    let name = names.read(table, mistakes);
    table.parsed("kind", mistakes, |text| match text {
        "udp" => Ok(()),
        _ => Err(Misfit::new("there is no such kind of link", "known is udp")),
    });
    let port = table.integer("port", 1..=65_535, mistakes).map(Spanned::into_inner);
    let adapters = read_adapters(table, members, mistakes);
    let addresses = read_addresses(table, members, mistakes);
    let delivery = read_delivery(table, &addresses, mistakes);
    let link = Link {
        name,
        adapters,
        delivery,
        port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT),
        members: addresses.iter().map(|(id, address)| (*id, *address.get_ref())).collect(),
    };
    members.addresses.extend(addresses.into_iter().map(|(_, address)| address));
    link
}

const PORT: u16 = 6940;

/// Returns the adapter of each node, an empty name where it is wrong.
fn read_adapters(table: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> Vec<String> {
    let mut adapters = vec![String::new(); members.nodes.len()];
    match table.value("adapter").map(Spanned::get_ref) {
        None => table.missing("adapter", "\"eth0\"", mistakes),
        Some(DeValue::Table(_)) => {
            let Some(named) = table.table("adapter", mistakes) else { return adapters };
            for (name, text) in named.named_texts(mistakes) {
                let node = members.node(&name, mistakes);
                let adapter = parsed_of(&text, "adapter", mistakes, value::adapter);
                if let (Some(node), Some(adapter)) = (node, adapter) {
                    adapters[node.index()] = adapter.into_inner();
                }
            }
            let named_nodes = named.named_texts(&mut Mistakes::new("", ""));
            for (_, node) in members.node_ids().filter(|(_, node)| !node.is_empty()) {
                if !named_nodes.iter().any(|(name, _)| *name.get_ref() == node) {
                    mistakes
                        .add(named.span(), format!("no adapter for node {node:?}"))
                        .hint(format!("add `{node} = \"eth0\"`"));
                }
            }
        }
        Some(_) => {
            if let Some(adapter) = table.parsed("adapter", mistakes, value::adapter) {
                adapters.fill(adapter.into_inner());
            }
        }
    }
    adapters
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
    let mut all = members.links.iter().flat_map(|link| &link.members);
    let (owner, _) = all.find(|(_, other)| *other == ip)?;
    let place = members.addresses.iter().find(|address| *address.get_ref() == ip)?;
    Some((*owner, place.span()))
}

const fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "this is IPv4",
        IpAddr::V6(_) => "this is IPv6",
    }
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
        _ => Err(super::document::unknown_word(
            "delivery",
            text,
            &["multicast", "broadcast", "unicast"],
        )),
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
