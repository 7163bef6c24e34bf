//! From lines of haresources to groups: names, prefixes, guards, and what must be told.

use core::net::IpAddr;

use super::fault::{Faults, Place, shown};
use super::ha_cf::HaCf;
use super::haresources::address::AddressText;
use super::haresources::{Resource, ResourceGroup, ResourceKind};
use super::links::is_plain;
use super::surroundings::Network;
use crate::settings::value::service_address_said;

/// A group as the settings will have it.
#[derive(Clone, Debug)]
pub(super) struct GroupPlan<'a> {
    pub(super) name: String,
    pub(super) line: &'a ResourceGroup,
    /// The nodes, home first.
    pub(super) prefer: Vec<String>,
    /// The addresses as the settings write them.
    pub(super) addresses: Vec<String>,
    pub(super) services: Vec<ServicePlan>,
    /// What must be told of the addresses.
    pub(super) remarks: Vec<String>,
    /// A service that must never run twice, if there is one.
    pub(super) storage: Option<String>,
}

/// A service as the settings will have it.
#[derive(Clone, Debug)]
pub(super) struct ServicePlan {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) script: String,
    pub(super) arguments: Vec<String>,
}

/// The scripts that give one node what two must never have: disks and what is on them.
const STORAGE: [&str; 10] = [
    "Filesystem",
    "ICP",
    "LVM",
    "LinuxSCSI",
    "Raid1",
    "ServeRAID",
    "WAS",
    "datadisk",
    "db2",
    "drbddisk",
];

/// Makes groups of `lines`, and notes what cannot be.
pub(super) fn plan<'a>(
    ha: &HaCf,
    lines: &'a [ResourceGroup],
    networks: &[Network],
    faults: &mut Faults,
) -> Vec<GroupPlan<'a>> {
    let mut taken: Vec<(IpAddr, Place)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut groups = Vec::new();
    for line in lines {
        if !ha.nodes.iter().any(|node| node.value == line.home) {
            let known: Vec<&str> = ha.nodes.iter().map(|node| node.value.as_str()).collect();
            let what = format!("{} is no node of ha.cf", shown(&line.home));
            faults.add(line.place, what, format!("its nodes are {}", known.join(", ")));
        }
        let others = ha.nodes.iter().map(|node| node.value.clone());
        let others = others.filter(|node| *node != line.home);
        let mut group = GroupPlan {
            name: unique(group_name(line), &mut names),
            line,
            prefer: [line.home.clone()].into_iter().chain(others).collect(),
            addresses: Vec::new(),
            services: Vec::new(),
            remarks: Vec::new(),
            storage: None,
        };
        let mut service_names = Vec::new();
        for resource in &line.resources {
            match &resource.kind {
                ResourceKind::Address(address) => {
                    note_twice(resource, address, &mut taken, faults);
                    group.add_address(resource, address, networks, faults);
                }
                ResourceKind::Script { script, arguments } => {
                    let name = script.rsplit('/').next().unwrap_or(script);
                    if STORAGE.contains(&name) && group.storage.is_none() {
                        group.storage = Some(name.to_owned());
                    }
                    group.services.push(ServicePlan {
                        place: resource.place,
                        name: unique(plain(name), &mut service_names),
                        script: script.clone(),
                        arguments: arguments.clone(),
                    });
                }
            }
        }
        groups.push(group);
    }
    groups
}

/// Notes if an address is in the file already.
fn note_twice(
    resource: &Resource,
    address: &AddressText,
    taken: &mut Vec<(IpAddr, Place)>,
    faults: &mut Faults,
) {
    let ip = address.ip;
    match taken.iter().find(|(other, _)| *other == ip) {
        Some((_, first)) => {
            let what = format!("{ip} is at {first} already");
            faults.add(resource.place, what, "an address belongs to one group");
        }
        None => taken.push((ip, resource.place)),
    }
}

impl GroupPlan<'_> {
    /// Returns whether its services must have stopped before they start elsewhere.
    pub(super) const fn is_guarded_by_stop(&self) -> bool {
        self.storage.is_some() || self.addresses.is_empty()
    }

    fn add_address(
        &mut self,
        resource: &Resource,
        address: &AddressText,
        networks: &[Network],
        faults: &mut Faults,
    ) {
        let place = resource.place;
        let Some(prefix) = address.prefix.or_else(|| self.guess(place, address, networks)) else {
            let what = format!(
                "{}: its mask is not written, and this machine has no such network",
                shown(&resource.text)
            );
            let bits = if address.ip.is_ipv4() { 24 } else { 64 };
            faults.add(place, what, format!("write it, as in {}/{bits}", address.ip));
            return;
        };
        let mut text = format!("{}/{prefix}", address.ip);
        if let Some(adapter) = &address.adapter {
            text = format!("{text}@{adapter}");
        }
        if let Err(why) = service_address_said(&text) {
            faults.add(place, format!("{}: {why}", shown(&resource.text)), "give another address");
            return;
        }
        if address.has_label {
            self.remarks.push(format!("{place}: the label is left out: addresses have none here"));
        }
        if let Some(broadcast) = address.odd_broadcast() {
            self.remarks.push(format!(
                "{place}: the broadcast address {broadcast} is left out; the network's own is used"
            ));
        }
        if !self.services.is_empty() {
            self.remarks.push(format!(
                "{place}: {} stood behind a service; here addresses come first, and clients may be \
                 refused until the services are up",
                address.ip
            ));
        }
        self.addresses.push(text);
    }

    /// Returns the prefix of the network that `address` falls into, with a remark.
    fn guess(&mut self, place: Place, address: &AddressText, networks: &[Network]) -> Option<u8> {
        let fits = |network: &&Network| {
            let is_there = address.adapter.as_ref().is_none_or(|name| *name == network.adapter);
            let most = if address.ip.is_ipv4() { 32 } else { 128 };
            is_there && !network.ip.is_loopback() && network.prefix < most
        };
        let networks = networks.iter().filter(fits);
        let found = networks.filter(|network| network.contains(address.ip));
        let network = found.max_by_key(|network| network.prefix)?;
        self.remarks.push(format!(
            "{place}: the mask is not written; {} of this machine has a network of {} bits",
            network.adapter, network.prefix
        ));
        Some(network.prefix)
    }
}

/// Returns the name of a group: that of its first resource.
fn group_name(line: &ResourceGroup) -> String {
    match line.resources.first().map(|resource| &resource.kind) {
        Some(ResourceKind::Address(address)) => plain(&address.ip.to_string()),
        Some(ResourceKind::Script { script, .. }) => {
            plain(script.rsplit('/').next().unwrap_or(script))
        }
        None => plain(&line.home),
    }
}

/// Returns `text` with nothing in it that cannot stand in a name.
fn plain(text: &str) -> String {
    let letters = text.chars().take(MOST_LETTERS);
    letters.map(|letter| if is_plain(letter) { letter } else { '-' }).collect()
}

/// There is room for a number behind it.
const MOST_LETTERS: usize = 56;

/// Returns `name`, with a number behind it if it is taken.
fn unique(name: String, taken: &mut Vec<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = [name.clone()].into_iter().chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or(name);
    taken.push(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let mut taken = Vec::new();
        let names =
            ["a", "a", "a-2", "a", "fd00::1", ""].map(|name| unique(plain(name), &mut taken));
        assert_eq!(names, ["a", "a-2", "a-2-2", "a-3", "fd00--1", ""]);
    }
}
