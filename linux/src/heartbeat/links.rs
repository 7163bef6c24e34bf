//! From media to links: one for each adapter, one for the serial lines, and who has which address.

use core::net::IpAddr;

use super::fault::{Faults, File, Place};
use super::ha_cf::{HaCf, Said};
use super::medium::{SerialMedium, UdpMedium, Way};
use super::surroundings::{Network, Surroundings};
use super::{Choices, Witness};

/// A link over UDP.
#[derive(Clone, Debug)]
pub(super) struct UdpPlan<'a> {
    pub(super) name: String,
    pub(super) medium: &'a UdpMedium,
    /// Each member with its address, and how that is known.
    pub(super) members: Vec<(String, IpAddr, &'static str)>,
    /// Media on the same adapter that add nothing.
    pub(super) idle: Vec<Place>,
}

/// A link over serial lines of one speed.
#[derive(Clone, Debug)]
pub(super) struct SerialPlan<'a> {
    pub(super) name: String,
    pub(super) lines: Vec<&'a SerialMedium>,
    /// The witness that is the dongle on them.
    pub(super) witness: Option<String>,
}

/// Every link, and the witness.
#[derive(Clone, Debug, Default)]
pub(super) struct Links<'a> {
    pub(super) udp: Vec<UdpPlan<'a>>,
    pub(super) serial: Vec<SerialPlan<'a>>,
    pub(super) witness: Option<Said<String>>,
}

impl<'a> Links<'a> {
    /// Makes links of the media of `ha`, and notes whose address is not known.
    pub(super) fn plan(ha: &'a HaCf, finder: &Finder<'_>, faults: &mut Faults) -> Self {
        let mut links = Self::default();
        for medium in &ha.media.udp {
            let known = links.udp.iter_mut().find(|plan| plan.medium.adapter == medium.adapter);
            match known {
                Some(plan) => {
                    let is_peer = |way: &Way| matches!(way, Way::Unicast(_));
                    if !(is_peer(&plan.medium.way) && is_peer(&medium.way)) {
                        plan.idle.push(medium.place);
                    }
                }
                None => links.udp.push(UdpPlan {
                    name: link_name(&medium.adapter),
                    medium,
                    members: Vec::new(),
                    idle: Vec::new(),
                }),
            }
        }
        for (at, plan) in links.udp.iter_mut().enumerate() {
            plan.members = finder.members(at, plan.medium, faults);
        }
        for line in &ha.media.serial {
            match links.serial.iter_mut().find(|plan| plan.lines[0].speed == line.speed) {
                Some(plan) => plan.lines.push(line),
                None => {
                    let name = match links.serial.len() {
                        0 => "serial".to_owned(),
                        count => format!("serial-{}", count + 1),
                    };
                    links.serial.push(SerialPlan { name, lines: vec![line], witness: None });
                }
            }
        }
        links.add_witness(ha, finder, faults);
        links
    }

    /// Adds the witness that was chosen, or the quorum server of the file.
    fn add_witness(&mut self, ha: &HaCf, finder: &Finder<'_>, faults: &mut Faults) {
        let server = ha.quorum_server.as_ref();
        let (place, witness) = match (&finder.choices.witness, server) {
            (Some(witness), _) => (Place { file: File::HaCf, line: 0 }, witness.clone()),
            (None, Some(server)) => {
                let Some(ip) = finder.surroundings.lookup(&server.value).first().copied() else {
                    let what = format!("the address of {} is not known", server.value);
                    faults.add(server.place, what, "say --witness NAME=IP");
                    return;
                };
                let is_name = server.value.parse::<IpAddr>().is_err();
                let name = if is_name { server.value.to_lowercase() } else { "quorum".to_owned() };
                (server.place, Witness { name, ip: Some(ip) })
            }
            (None, None) => return,
        };
        let Witness { name, ip } = witness;
        if ha.nodes.iter().any(|node| node.value == name) {
            faults.add(place, format!("the witness {name} is a node"), "a third machine decides");
            return;
        }
        let has_place = match ip {
            Some(ip) => {
                let is_it = |plan: &&mut UdpPlan<'_>| plan.medium.is_ipv6 == ip.is_ipv6();
                let plan = self.udp.iter_mut().find(is_it);
                plan.map(|plan| plan.members.push((name.clone(), ip, "the witness"))).is_some()
            }
            None => {
                let plan = self.serial.first_mut();
                plan.map(|plan| plan.witness = Some(name.clone())).is_some()
            }
        };
        if !has_place {
            let what = format!("no medium reaches the witness {name}");
            faults.add(
                place,
                what,
                "--witness NAME=IP needs a bcast, mcast or ucast of its family, \
                and --witness NAME, a dongle, a serial line",
            );
        }
        self.witness = Some(Said { value: name, place });
    }
}

/// Returns a name for the link of an adapter.
fn link_name(adapter: &str) -> String {
    let plain = |letter: char| if is_plain(letter) { letter } else { '-' };
    adapter.chars().map(plain).collect()
}

/// Returns whether a letter may stand in a name.
pub(super) fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_.-".contains(letter)
}

/// Finds the addresses of nodes.
#[derive(Debug)]
pub(super) struct Finder<'a> {
    pub(super) ha: &'a HaCf,
    pub(super) choices: &'a Choices,
    pub(super) surroundings: &'a dyn Surroundings,
    /// The addresses of the groups, which are no node's.
    pub(super) services: Vec<IpAddr>,
    /// The addresses of this machine.
    pub(super) networks: Vec<Network>,
    /// Which node this machine is, if it is one.
    pub(super) me: String,
}

impl Finder<'_> {
    /// Returns the address of every node on link `at`, or notes whose is not known.
    fn members(
        &self,
        at: usize,
        medium: &UdpMedium,
        faults: &mut Faults,
    ) -> Vec<(String, IpAddr, &'static str)> {
        let peers = self.peers(medium);
        let mut members: Vec<(String, Option<(IpAddr, &'static str)>)> = self
            .ha
            .nodes
            .iter()
            .map(|node| (node.value.clone(), self.address(at, medium, &peers, &node.value)))
            .collect();
        self.take_the_last(&peers, &mut members);
        let mut known: Vec<(String, IpAddr, &'static str)> = Vec::new();
        for (node, found) in members {
            let adapter = &medium.adapter;
            let hint = format!("say --address {node}=IP, or --address {node}@{adapter}=IP");
            match found {
                None => {
                    let what = format!("the address of {node} on {adapter} is not known");
                    faults.add(medium.place, what, hint);
                }
                Some((ip, how)) => {
                    if let Some((other, ..)) = known.iter().find(|(_, taken, _)| *taken == ip) {
                        let what = format!("{other} and {node} both have {ip} on {adapter}");
                        faults.add(medium.place, what, hint);
                    }
                    known.push((node, ip, how));
                }
            }
        }
        known
    }

    /// Returns the peers of all `ucast` lines of this adapter.
    fn peers(&self, medium: &UdpMedium) -> Vec<&str> {
        let same = self
            .ha
            .media
            .udp
            .iter()
            .filter(|other| other.adapter == medium.adapter && other.is_ipv6 == medium.is_ipv6);
        let peers = same.filter_map(|other| match &other.way {
            Way::Unicast(peer) => Some(peer.as_str()),
            Way::Broadcast | Way::Multicast(_) => None,
        });
        peers.collect()
    }

    /// Returns the address of `node` on link `at`, and how it is known.
    fn address(
        &self,
        at: usize,
        medium: &UdpMedium,
        peers: &[&str],
        node: &str,
    ) -> Option<(IpAddr, &'static str)> {
        let adapter = &medium.adapter;
        if let Some(ip) = self.choices.address(node, adapter, at == 0) {
            return Some((ip, "as --address says"));
        }
        let names = self.candidates(medium, node);
        let is_peer = |ip: &&IpAddr| peers.iter().any(|peer| peer.parse() == Ok(**ip));
        if let Some(ip) = names.iter().find(is_peer) {
            return Some((*ip, "as its ucast line says"));
        }
        if peers.iter().any(|peer| peer.eq_ignore_ascii_case(node))
            && let Some(ip) = names.first()
        {
            return Some((*ip, "as its ucast line says"));
        }
        let own: Vec<&Network> = self
            .networks
            .iter()
            .filter(|network| network.adapter == *adapter && self.is_usable(medium, network.ip))
            .collect();
        if node == self.me
            && let Some(network) = own.first()
        {
            return Some((network.ip, "as this machine has it"));
        }
        let fits = |ip: &&IpAddr| match own.as_slice() {
            [] => at == 0,
            own => own.iter().any(|network| network.contains(**ip)),
        };
        names.iter().find(fits).map(|ip| (*ip, "by its name"))
    }

    /// Returns the addresses that the name of `node` has.
    fn candidates(&self, medium: &UdpMedium, node: &str) -> Vec<IpAddr> {
        let mut found = self.surroundings.lookup(node);
        found.retain(|ip| self.is_usable(medium, *ip));
        found
    }

    /// Returns whether `ip` can be a node's own on this medium.
    fn is_usable(&self, medium: &UdpMedium, ip: IpAddr) -> bool {
        let is_local = match ip {
            IpAddr::V4(_) => false,
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        ip.is_ipv6() == medium.is_ipv6
            && !ip.is_loopback()
            && !is_local
            && !self.services.contains(&ip)
    }

    /// Gives the only peer that is nobody's to the only node without an address.
    fn take_the_last(
        &self,
        peers: &[&str],
        members: &mut [(String, Option<(IpAddr, &'static str)>)],
    ) {
        let is_taken = |ip: &IpAddr| {
            members.iter().any(|(_, found)| found.is_some_and(|(taken, _)| taken == *ip))
        };
        let mut free: Vec<IpAddr> = peers.iter().filter_map(|peer| peer.parse().ok()).collect();
        free.retain(|ip| !is_taken(ip) && !self.services.contains(ip));
        free.dedup();
        let mut without = members.iter_mut().filter(|(_, found)| found.is_none());
        if let ([ip], Some((_, found)), None) = (free.as_slice(), without.next(), without.next()) {
            *found = Some((*ip, "the ucast line that is left"));
        }
    }
}
