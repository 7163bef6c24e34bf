//! Networks: the adapters of each node on one of them, and the service addresses there.

use core::fmt::Write;
use core::net::IpAddr;

use lifesign_core::network::Origin;
use lifesign_core::node::{LinkId, MAX_LINKS, NodeId};
use toml::Spanned;

use super::document::unknown_word;
use super::members::{Members, Names, note_stranger};
use super::mistake::Mistakes;
use super::table::{Misfit, Table, parsed_of};
use super::{Link, Settings, value};
use crate::address::{Seats, ServiceAddress, same_subnet};

/// A network on which every node has an adapter, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The links over its adapters: each node's service adapter first, then the standby ones.
    pub links: Vec<LinkId>,
    /// Third stations on it, which are asked where two nodes cannot tell whose adapter has failed.
    pub ask: Vec<IpAddr>,
    /// The service addresses on it.
    pub services: Vec<IpAddr>,
    /// Whether addresses of groups that are at home on another node sit on a standby adapter.
    pub parts_taken: bool,
}

impl Settings {
    /// Returns the adapters of `node` on `network`, the service adapter first.
    #[must_use]
    pub fn adapters_on(&self, network: &Network, node: NodeId) -> Vec<String> {
        let links = network.links.iter().filter_map(|id| self.links.get(id.index()));
        links.filter_map(|link| link.adapter(node)).map(str::to_owned).collect()
    }

    /// Returns where the service addresses of each network may sit on `node`.
    #[must_use]
    pub fn seats(&self, node: NodeId) -> Vec<Seats> {
        let seats = |network: &Network| Seats {
            adapters: self.adapters_on(network, node),
            services: self.origins(network, node),
            ask: network.ask.clone(),
        };
        self.networks.iter().map(seats).collect()
    }

    /// Returns the service addresses on `network`, and where each comes from on `node`.
    fn origins(&self, network: &Network, node: NodeId) -> Vec<(IpAddr, Origin)> {
        let groups = self.groups.iter().flat_map(|group| {
            let is_taken = network.parts_taken && group.home.is_some_and(|home| home != node);
            let origin = if is_taken { Origin::Taken } else { Origin::Home };
            group.addresses.iter().map(move |address| (address.ip, origin))
        });
        groups.filter(|(ip, _)| network.services.contains(ip)).collect()
    }

    /// Returns the network of a service address, if it is on one.
    #[must_use]
    pub fn network_of(&self, ip: IpAddr) -> Option<&Network> {
        self.networks.iter().find(|network| network.services.contains(&ip))
    }
}

impl Network {
    /// Writes what nodes must agree on.
    pub(super) fn write(&self, text: &mut String) {
        let links: Vec<u8> = self.links.iter().map(|link| link.number()).collect();
        let _ = writeln!(text, "network {} {links:?} {:?}", self.name, self.services);
    }
}

/// Reads the networks of `members`.
pub(super) fn read(
    top: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Vec<Network> {
    let mut names = Names::new("network");
    let mut taken = Vec::new();
    let mut networks = Vec::new();
    for mut table in top.tables("network", MAX_LINKS, mistakes) {
        let name = names.read(&mut table, mistakes);
        let links = read_links(&mut table, members, &mut taken, mistakes);
        let ask = read_ask(&mut table, members, mistakes);
        let taken_over = table.parsed("taken_over", mistakes, taken_over_of);
        let parts_taken = taken_over.is_none_or(Spanned::into_inner);
        check_adapters(&table, members, &links, mistakes);
        table.finish(mistakes);
        networks.push(Network { name, links, ask, services: Vec::new(), parts_taken });
    }
    networks
}

fn read_links(
    table: &mut Table<'_>,
    members: &Members,
    taken: &mut Vec<Spanned<LinkId>>,
    mistakes: &mut Mistakes,
) -> Vec<LinkId> {
    let Some(names) = table.texts("links", mistakes) else {
        if table.value("links").is_none() {
            table.missing("links", "[\"lan0\", \"lan1\"]", mistakes);
        }
        return Vec::new();
    };
    if names.get_ref().is_empty() {
        mistakes
            .add(names.span(), "this network has no link")
            .hint("name the link of the service adapters, then those of the standby adapters");
    }
    let mut links = Vec::new();
    for name in names.get_ref() {
        let at = members.links.iter().position(|link| link.name == *name.get_ref());
        let Some((link, id)) = at.and_then(|at| Some((members.links.get(at)?, LinkId::at(at)?)))
        else {
            let known = members.links.iter().map(|link| link.name.as_str());
            note_stranger("link", name, known, mistakes);
            continue;
        };
        if link.serial().is_some() {
            mistakes
                .add(name.span(), format!("link {:?} is serial", link.name))
                .label("no address can sit there")
                .hint("a network consists of links of kind udp and ether");
        } else if let Some(first) = taken.iter().find(|other| *other.get_ref() == id) {
            mistakes
                .add(name.span(), format!("link {:?} is on a network twice", link.name))
                .label("the second")
                .other(first.span(), "the first");
        } else {
            taken.push(Spanned::new(name.span(), id));
            links.push(id);
        }
    }
    links
}

fn read_ask(table: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> Vec<IpAddr> {
    let Some(texts) = table.texts("ask", mistakes) else { return Vec::new() };
    if let Some(text) = texts.get_ref().get(MOST_ASKED) {
        mistakes
            .add(text.span(), "too many stations to ask")
            .label(format!("there can be {MOST_ASKED}"));
    }
    let mut stations: Vec<IpAddr> = Vec::new();
    for text in texts.get_ref().iter().take(MOST_ASKED) {
        let Some(station) = parsed_of(text, "ask", mistakes, value::ping_target) else { continue };
        let ip = station.into_inner();
        if let Some(member) = members.addresses.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(text.span(), format!("{ip} is a member's address"))
                .label("it is no third station")
                .other(member.span(), "there")
                .hint("name a router or another machine on this network");
        } else if stations.contains(&ip) {
            mistakes.add(text.span(), format!("{ip} is there twice"));
        } else {
            stations.push(ip);
        }
    }
    stations
}

fn taken_over_of(text: &str) -> Result<bool, Misfit> {
    match text {
        "standby" => Ok(true),
        "service" => Ok(false),
        _ => Err(unknown_word("adapter", text, &["standby", "service"])),
    }
}

/// Notes where a node has no adapter on a network, or the same one twice.
fn check_adapters(table: &Table<'_>, members: &Members, links: &[LinkId], mistakes: &mut Mistakes) {
    for (node, name) in members.node_ids().filter(|_| !links.is_empty()) {
        let links = links.iter().filter_map(|id| members.links.get(id.index()));
        let adapters: Vec<&str> = links.filter_map(|link: &Link| link.adapter(node)).collect();
        if adapters.is_empty() {
            mistakes.add(table.span(), format!("node {name:?} has no adapter on this network"));
        }
        let twice = adapters.iter().enumerate().find(|(at, one)| adapters[..*at].contains(one));
        if let Some((_, adapter)) = twice.filter(|(_, adapter)| !adapter.is_empty()) {
            mistakes
                .add(table.span(), format!("{adapter} of {name} is on this network twice"))
                .hint("an adapter that fails takes all its links along: name each once");
        }
    }
}

/// Reads on which network the addresses of a group are: the one it names, or else the only one
/// with a member's address in the same subnet.
pub(super) fn seat(
    table: &mut Table<'_>,
    addresses: &[ServiceAddress],
    members: &Members,
    networks: &mut [Network],
    mistakes: &mut Mistakes,
) {
    let named = table.text("network", mistakes);
    let at = named.as_ref().and_then(|name| {
        let at = networks.iter().position(|network| network.name == *name.get_ref());
        if at.is_none() {
            let known = networks.iter().map(|network| network.name.as_str());
            note_stranger("network", name, known, mistakes);
        }
        at
    });
    let mut seated = Vec::new();
    for address in addresses {
        if let Some(asked) = networks.iter().find(|network| network.ask.contains(&address.ip)) {
            let what = format!("{} is asked on network {:?}", address.ip, asked.name);
            mistakes.add(table.span(), what).label("whoever holds it would answer itself");
        }
        if address.adapter.is_empty() {
            let near = || near(address, members, networks);
            let at = if named.is_some() { at } else { near() };
            seated.push(at);
            let network = at.and_then(|at| networks.get_mut(at));
            let stays = table.peek("mac_on") == Some("adapter");
            if stays && network.as_ref().is_some_and(|it| it.links.len() > 1) {
                mistakes
                    .add(table.span(), "the MAC address of this group stays on one adapter")
                    .label(format!("{} may sit on one of several", address.ip))
                    .hint("leave `mac_on` out, or name an adapter: \"IP/24@eth0\"");
            }
            network.into_iter().for_each(|network| network.services.push(address.ip));
        } else if let Some(named) = &named {
            mistakes
                .add(named.span(), format!("{} names an adapter besides", address.ip))
                .label("the network has its own")
                .hint("take the `@` away from the address, or `network` from the group");
        }
    }
    let is_several = |at: &Option<usize>| {
        let network = at.and_then(|at| networks.get(at));
        network.is_some_and(|network| network.links.len() > 1)
    };
    let is_apart = seated.iter().any(|at| Some(at) != seated.first());
    if table.has("mac") && is_apart && seated.iter().any(is_several) {
        mistakes
            .add(table.span(), "one MAC address, and addresses that are not on one network")
            .label("some may move to another adapter, and the others stay")
            .hint("name the network of all of them: network = \"front\"");
    }
    if let Some(named) = named.filter(|_| addresses.is_empty()) {
        mistakes
            .add(named.span(), "this group has no address for a network")
            .hint("leave `network` out");
    }
}

/// Returns the only network with a member's address in the subnet of `address`.
fn near(address: &ServiceAddress, members: &Members, networks: &[Network]) -> Option<usize> {
    let is_near = |network: &&Network| {
        let links = network.links.iter().filter_map(|id| members.links.get(id.index()));
        let mut udp = links.filter_map(|link: &Link| link.udp());
        udp.any(|udp| {
            let mut own = members.node_ids().filter_map(|(node, _)| udp.address(node));
            own.any(|own| same_subnet(own, address.ip, address.prefix))
        })
    };
    let mut found = networks.iter().enumerate().filter(|(_, network)| is_near(network));
    let (at, _) = found.next()?;
    found.next().is_none().then_some(at)
}

/// The most third stations of a network.
const MOST_ASKED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::EXAMPLE;

    /// The example with a standby adapter on each node.
    pub(crate) fn twofold(network: &str) -> String {
        let wire = "[[link]]\nname = \"wire\"\nkind = \"ether\"\n\
                    adapter = { alpha = \"eth1\", beta = \"ens1\" }\n";
        EXAMPLE.replace("[[group]]\nname", &format!("{wire}{network}[[group]]\nname"))
    }

    const FRONT: &str = "[[network]]\nname = \"front\"\nlinks = [\"lan\", \"wire\"]\n\
                         ask = [\"10.77.0.254\"]\n";

    #[test]
    fn an_address_sits_on_the_network_of_its_subnet_or_the_one_that_is_named() {
        let parse = |text: &str| Settings::parse("test.toml", text).unwrap();
        let found = parse(&twofold(FRONT));
        let ip: IpAddr = [10, 77, 0, 100].into();
        assert_eq!(found.network_of(ip).unwrap().name, "front");
        let [seats] = &found.seats(NodeId::new(1).unwrap())[..] else { panic!() };
        assert_eq!(seats.adapters, ["eth0", "ens1"]);
        assert_eq!((&seats.services[..], seats.ask.len()), (&[(ip, Origin::Taken)][..], 1));
        let elsewhere = |text: &str| text.replace("10.77.0.100/24", "10.9.0.100/24");
        assert_eq!(parse(&elsewhere(&twofold(FRONT))).networks[0].services, [] as [IpAddr; 0]);
        let named = twofold(FRONT).replace("guard = \"a", "network = \"front\"\nguard = \"a");
        let named = parse(&elsewhere(&named));
        assert_eq!(named.networks[0].services, ["10.9.0.100".parse::<IpAddr>().unwrap()]);
        assert_ne!(named.digest(), parse(&elsewhere(&twofold(FRONT))).digest());
        let back = FRONT.replace("front", "back").replace("\"lan\", ", "");
        let front = FRONT.replace(", \"wire\"", "");
        let apart = parse(&twofold(&format!("{front}{back}")));
        assert_eq!(apart.networks[0].services, [ip], "a network without IP has no subnet");
    }

    #[test]
    fn a_group_is_taken_over_wherever_it_is_not_at_home() {
        let origins = |text: &str| {
            let settings = Settings::parse("test.toml", text).unwrap();
            [0, 1].map(|node| settings.seats(NodeId::new(node).unwrap())[0].services[0].1)
        };
        let text = twofold(FRONT);
        assert_eq!(origins(&text), [Origin::Home, Origin::Taken]);
        let turned = text.replace("[\"alpha\", \"beta\"]", "[\"beta\", \"alpha\"]");
        assert_eq!(origins(&turned), [Origin::Taken, Origin::Home]);
        let nowhere = text.replace("prefer = [\"alpha\", \"beta\"]\n", "");
        assert_eq!(origins(&nowhere), [Origin::Home, Origin::Home]);
        let together = format!("{FRONT}taken_over = \"service\"\n");
        assert_eq!(origins(&twofold(&together)), [Origin::Home, Origin::Home]);
    }

    #[test]
    fn an_adapter_named_in_the_address_stays_where_it_is() {
        let text = twofold(FRONT).replace("10.77.0.100/24", "10.77.0.100/24@eth0");
        let settings = Settings::parse("test.toml", &text).unwrap();
        assert!(settings.networks[0].services.is_empty());
    }
}
