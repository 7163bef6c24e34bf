//! A link over UDP, IPv4 or IPv6, on one adapter.
//!
//! One socket, bound to the adapter. With unicast delivery it is bound to the own address as well;
//! with multicast or broadcast delivery to none, so that frames for the group and frames for this
//! node both arrive. `SO_REUSEADDR` is never set: a second program on the port is an error at the
//! start, not a silent sharing of frames.
//!
//! The source address of each frame is the own address in the settings, whatever the routing table
//! would choose: a service address on the same adapter must not become the address that peers'
//! filters reject. Witnesses are always sent to by unicast, with the ordinary hop limit, since they
//! may be beyond a router.

mod opened;

use std::net::IpAddr;

use self::opened::Opened;
use super::adapter::AdapterLink;
use super::failure::OpenError;

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSpec {
    /// The adapter's name on this node.
    pub adapter: String,
    /// How a frame reaches the peers.
    pub delivery: Delivery,
    /// The port of all nodes and witnesses on this link.
    pub port: u16,
    /// The address this node sends from.
    pub own: IpAddr,
    /// The other nodes' addresses, of the same family.
    pub peers: Vec<IpAddr>,
    /// The witnesses' addresses, of the same family.
    pub witnesses: Vec<IpAddr>,
}

/// How a frame reaches the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One datagram to this group, for the adapter's own network alone.
    Multicast(IpAddr),
    /// One datagram to everybody on the adapter's network; IPv4 alone.
    Broadcast,
    /// One datagram for each peer.
    Unicast,
}

impl UdpSpec {
    fn check(&self) -> Result<(), OpenError> {
        let is_ipv6 = self.own.is_ipv6();
        let mut others = self.peers.iter().chain(&self.witnesses);
        let contradiction = if self.port == 0 {
            "the port of a link must not be 0"
        } else if others.any(|address| address.is_ipv6() != is_ipv6) {
            "a link's members must be all IPv4 or all IPv6"
        } else if self.peers.contains(&self.own) || self.witnesses.contains(&self.own) {
            "two members of a link must not have the same address"
        } else {
            match self.delivery {
                Delivery::Multicast(group) if group.is_ipv6() != is_ipv6 => {
                    "a link's multicast group and its members must be both IPv4 or both IPv6"
                }
                Delivery::Multicast(group) if !group.is_multicast() => {
                    "a link's multicast group must be a multicast address"
                }
                Delivery::Broadcast if is_ipv6 => "IPv6 has no broadcast; use multicast",
                Delivery::Multicast(_) | Delivery::Broadcast | Delivery::Unicast => return Ok(()),
            }
        };
        Err(OpenError::Contradiction { reason: contradiction })
    }

    /// Returns whom to accept frames from.
    ///
    /// The own address is among them: a frame of ours that comes back tells of a loop in the
    /// network. Not so with broadcast delivery, where the kernel hands us a copy of each frame we
    /// send.
    fn accepted(&self) -> Vec<IpAddr> {
        let own = (self.delivery != Delivery::Broadcast).then_some(self.own);
        self.peers.iter().chain(&self.witnesses).copied().chain(own).collect()
    }
}

/// An open UDP link, or one that waits to be opened again.
pub(super) type UdpLink = AdapterLink<Opened>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_told_before_anything_is_opened() {
        let cases = [
            (UdpSpec { port: 0, ..spec() }, "port"),
            (UdpSpec { peers: vec!["fd00::2".parse().unwrap()], ..spec() }, "all IPv4 or all IPv6"),
            (UdpSpec { witnesses: vec!["fd00::2".parse().unwrap()], ..spec() }, "all IPv4"),
            (UdpSpec { peers: vec![spec().own], ..spec() }, "same address"),
            (UdpSpec { delivery: multicast("10.0.0.1"), ..spec() }, "a multicast address"),
            (UdpSpec { delivery: multicast("ff02::1"), ..spec() }, "group and its members"),
            (
                UdpSpec {
                    own: "fd00::1".parse().unwrap(),
                    peers: Vec::new(),
                    delivery: Delivery::Broadcast,
                    ..spec()
                },
                "IPv6 has no broadcast",
            ),
        ];
        for (spec, expected) in cases {
            let said = UdpLink::open(spec).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn an_unknown_adapter_is_an_error_that_names_it() {
        let spec = UdpSpec { adapter: "nowhere0".into(), ..spec() };
        let said = UdpLink::open(spec).unwrap_err().to_string();
        assert_eq!(said, "adapter nowhere0: not found");
    }

    #[test]
    fn only_broadcast_excludes_the_own_address_from_what_is_accepted() {
        let own = spec().own;
        assert!(spec().accepted().contains(&own));
        assert!(!UdpSpec { delivery: Delivery::Broadcast, ..spec() }.accepted().contains(&own));
    }

    fn multicast(group: &str) -> Delivery {
        Delivery::Multicast(group.parse().unwrap())
    }

    fn spec() -> UdpSpec {
        UdpSpec {
            adapter: "lo".into(),
            delivery: Delivery::Unicast,
            port: 6940,
            own: "127.0.0.1".parse().unwrap(),
            peers: vec!["127.0.0.2".parse().unwrap()],
            witnesses: Vec::new(),
        }
    }
}
