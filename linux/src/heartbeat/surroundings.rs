//! What the machine knows that Linux-HA's files leave out: names' addresses, and networks.

use core::fmt::Debug;
use core::net::IpAddr;
use std::net::ToSocketAddrs;

use crate::settings::host_name;

/// An address of an adapter, with its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The adapter.
    pub adapter: String,
    /// Its address.
    pub ip: IpAddr,
    /// How many bits the network has.
    pub prefix: u8,
}

impl Network {
    /// Returns whether `ip` belongs to this network.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let differing = own.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= prefix
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let differing = own.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whoever knows.
pub trait Surroundings: Debug {
    /// Returns this machine's name, in lower case.
    fn host(&self) -> String;

    /// Returns the addresses of a name or an address, none if it is unknown.
    fn lookup(&self, name: &str) -> Vec<IpAddr>;

    /// Returns the addresses of this machine's adapters.
    fn networks(&self) -> Vec<Network>;
}

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Surroundings for Machine {
    fn host(&self) -> String {
        host_name().to_lowercase()
    }

    fn lookup(&self, name: &str) -> Vec<IpAddr> {
        if let Ok(ip) = name.parse() {
            return vec![ip];
        }
        let found = (name, 0).to_socket_addrs();
        let mut addresses: Vec<IpAddr> =
            found.into_iter().flatten().map(|address| address.ip()).collect();
        addresses.dedup();
        addresses
    }

    fn networks(&self) -> Vec<Network> {
        let Ok(addresses) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
        let networks = addresses.filter_map(|address| {
            let ip = ip_of(address.address.as_ref()?)?;
            let prefix = match ip_of(address.netmask.as_ref()?)? {
                IpAddr::V4(mask) => mask.to_bits().leading_ones(),
                IpAddr::V6(mask) => mask.to_bits().leading_ones(),
            };
            let prefix = u8::try_from(prefix).ok()?;
            Some(Network { adapter: address.interface_name, ip, prefix })
        });
        networks.collect()
    }
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    ipv4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine of the tests: its name, names' addresses, networks.
    #[derive(Clone, Debug, Default)]
    pub(in crate::heartbeat) struct Known {
        pub(in crate::heartbeat) host: &'static str,
        pub(in crate::heartbeat) names: Vec<(&'static str, &'static str)>,
        pub(in crate::heartbeat) networks: Vec<(&'static str, &'static str, u8)>,
    }

    impl Surroundings for Known {
        fn host(&self) -> String {
            self.host.to_owned()
        }

        fn lookup(&self, name: &str) -> Vec<IpAddr> {
            if let Ok(ip) = name.parse() {
                return vec![ip];
            }
            let known = self.names.iter().filter(|(other, _)| *other == name);
            known.map(|(_, ip)| ip.parse().unwrap()).collect()
        }

        fn networks(&self) -> Vec<Network> {
            let known = self.networks.iter();
            let network = |(adapter, ip, prefix): &(&str, &str, u8)| Network {
                adapter: (*adapter).to_owned(),
                ip: ip.parse().unwrap(),
                prefix: *prefix,
            };
            known.map(network).collect()
        }
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        let network = |ip: &str, prefix| Network {
            adapter: "eth0".to_owned(),
            ip: ip.parse().unwrap(),
            prefix,
        };
        let has = |network: &Network, ip: &str| network.contains(ip.parse().unwrap());
        assert!(has(&network("10.0.0.1", 24), "10.0.0.255"));
        assert!(!has(&network("10.0.0.1", 24), "10.0.1.1"));
        assert!(has(&network("10.0.0.1", 0), "192.0.2.1"));
        assert!(has(&network("10.0.0.1", 32), "10.0.0.1"));
        assert!(has(&network("fd00::1", 64), "fd00::ffff"));
        assert!(!has(&network("fd00::1", 64), "fd00:0:0:1::1"));
        assert!(!has(&network("fd00::1", 0), "10.0.0.1"));
    }

    #[test]
    fn this_machine_knows_its_loopback() {
        let networks = Machine.networks();
        assert!(networks.iter().any(|network| network.ip.is_loopback()), "{networks:?}");
        assert!(Machine.lookup("127.0.0.1").iter().all(IpAddr::is_loopback));
        assert_eq!(Machine.lookup("no-such-name.invalid"), Vec::<IpAddr>::new());
        assert_eq!(Machine.host(), Machine.host().to_lowercase());
    }
}
