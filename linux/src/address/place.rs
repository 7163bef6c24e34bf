//! Where a service address belongs: which adapter, and what is known of it.

use std::net::IpAddr;

use super::arp::Mac;
use super::netlink::{Adapter, Installed};

/// An address that moves between machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// The address.
    pub ip: IpAddr,
    /// How many leading bits name its subnet.
    pub prefix: u8,
    /// The name of its adapter; where empty, the adapter with an address in the same subnet.
    pub adapter: String,
}

impl ServiceAddress {
    /// Returns whether `ip` is in its subnet.
    #[must_use]
    pub fn covers(&self, ip: IpAddr) -> bool {
        same_subnet(self.ip, ip, self.prefix)
    }
}

/// The adapter of a service address, as it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The adapter's number.
    pub(crate) index: u32,
    /// Its name when it was found.
    pub(crate) name: String,
    /// Its hardware address.
    pub(crate) mac: Option<Mac>,
    /// Whether the address needs a route to its subnet, which no other address brings.
    pub(crate) needs_route: bool,
}

impl Place {
    /// Whether its adapter carries Ethernet frames.
    pub(crate) const fn is_ethernet(&self) -> bool {
        self.mac.is_some()
    }

    /// Finds the adapter of `service`; `None` where this machine has none.
    ///
    /// Service addresses do not count for their own subnet: they come and go.
    pub(crate) fn find(
        service: &ServiceAddress,
        adapters: &[Adapter],
        installed: &[Installed],
        is_service: impl Fn(IpAddr) -> bool,
    ) -> Option<Self> {
        let is_service = &is_service;
        let adapter = adapters.iter().find(|adapter| {
            if service.adapter.is_empty() {
                !adapter.loopback && covers(adapter.index, service, installed, is_service)
            } else {
                adapter.name == service.adapter
            }
        })?;
        Some(Self::on(adapter, service, installed, is_service))
    }

    /// Returns the place of `service` on an adapter.
    pub(crate) fn on(
        adapter: &Adapter,
        service: &ServiceAddress,
        installed: &[Installed],
        is_service: impl Fn(IpAddr) -> bool,
    ) -> Self {
        Self {
            index: adapter.index,
            name: adapter.name.clone(),
            mac: adapter.mac,
            needs_route: !covers(adapter.index, service, installed, is_service),
        }
    }
}

/// Whether an adapter has an address in the subnet of `service` that is no service address.
fn covers(
    index: u32,
    service: &ServiceAddress,
    installed: &[Installed],
    is_service: impl Fn(IpAddr) -> bool,
) -> bool {
    installed.iter().any(|other| {
        other.index == index
            && !is_service(other.ip)
            && same_subnet(other.ip, service.ip, other.prefix)
    })
}

/// Returns the other adapters with an address in the subnet of one of `services`: by the weak host
/// model the kernel answers for a service address there too.
pub(crate) fn siblings(
    services: &[IpAddr],
    adapters: &[Adapter],
    installed: &[Installed],
) -> Vec<u32> {
    let is_near = |address: &&Installed| {
        let is_other = !services.contains(&address.ip);
        is_other && services.iter().any(|ip| same_subnet(*ip, address.ip, address.prefix))
    };
    let indices = installed.iter().filter(is_near).map(|address| address.index);
    let is_ethernet = |index: &u32| {
        adapters.iter().any(|adapter| adapter.index == *index && adapter.mac.is_some())
    };
    indices.filter(is_ethernet).collect()
}

/// Returns the adapters `own` and their siblings, each once.
pub(crate) fn guarded(
    own: &[u32],
    services: &[IpAddr],
    adapters: &[Adapter],
    installed: &[Installed],
) -> Vec<u32> {
    let mut indices = siblings(services, adapters, installed);
    indices.extend(own);
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// Whether the first `prefix` bits of both addresses are the same.
pub(crate) fn same_subnet(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: u32, name: &str) -> Adapter {
        let loopback = name == "lo";
        let mac = (!loopback).then_some([2, 0, 0, 0, 0, 1]);
        Adapter { index, name: name.into(), mac, up: true, carrier: true, loopback }
    }

    fn service(text: &str, name: &str) -> ServiceAddress {
        ServiceAddress { ip: text.parse().unwrap(), prefix: 24, adapter: name.into() }
    }

    fn installed(index: u32, text: &str, prefix: u8) -> Installed {
        Installed { index, ip: text.parse().unwrap(), prefix }
    }

    fn find(service: &ServiceAddress, installed: &[Installed]) -> Option<(u32, bool)> {
        let adapters = [adapter(1, "lo"), adapter(2, "eth0"), adapter(3, "eth1")];
        let leftover: IpAddr = "10.3.0.100".parse().unwrap();
        Place::find(service, &adapters, installed, |ip| ip == leftover)
            .map(|place| (place.index, place.needs_route))
    }

    #[test]
    fn the_adapter_is_the_one_named_or_the_one_in_the_subnet() {
        let known = [
            installed(1, "10.1.0.1", 24),
            installed(2, "10.2.0.1", 24),
            installed(3, "10.3.0.1", 24),
            installed(3, "fd00::1", 64),
        ];
        assert_eq!(find(&service("10.3.0.100", ""), &known), Some((3, false)));
        assert_eq!(find(&service("fd00::100", ""), &known), Some((3, false)));
        assert_eq!(find(&service("fd00:1::100", ""), &known), None);
        assert_eq!(find(&service("10.3.0.100", "eth0"), &known), Some((2, true)));
        assert_eq!(find(&service("10.1.0.100", ""), &known), None, "loopback is no adapter");
        assert_eq!(find(&service("10.9.0.100", ""), &known), None);
        assert_eq!(find(&service("10.3.0.100", "eth7"), &known), None);
    }

    #[test]
    fn a_leftover_service_address_does_not_find_its_adapter() {
        assert_eq!(find(&service("10.3.0.100", ""), &[installed(2, "10.3.0.100", 24)]), None);
    }

    #[test]
    fn siblings_are_the_adapters_in_the_same_subnet() {
        let adapters =
            [adapter(1, "lo"), adapter(2, "eth0"), adapter(3, "eth1"), adapter(4, "eth2")];
        let known = [
            installed(1, "10.3.0.9", 24),
            installed(2, "10.3.0.1", 24),
            installed(2, "10.3.0.100", 24),
            installed(3, "10.3.0.2", 16),
            installed(4, "10.4.0.2", 24),
        ];
        let services = ["10.3.0.100".parse().unwrap()];
        assert_eq!(siblings(&services, &adapters, &known), [2, 3]);
    }

    #[test]
    fn subnets_end_at_any_bit() {
        let (a, b) = ("10.0.0.127".parse().unwrap(), "10.0.0.128".parse().unwrap());
        assert!(same_subnet(a, b, 24) && !same_subnet(a, b, 25) && same_subnet(a, a, 32));
        assert!(same_subnet(a, "11.0.0.1".parse().unwrap(), 0));
        assert!(!same_subnet(a, "::1".parse().unwrap(), 0));
    }
}
