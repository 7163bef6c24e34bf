//! What a lease is about.

use std::net::{IpAddr, Ipv4Addr};

use super::mac::Mac;

/// What a lease lets answer, or speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A service address. Where its group has a hardware address, ARP speaks for it only from
    /// there.
    Ip(IpAddr, Option<Mac>),
    /// The hardware address of a group: no frame leaves from it while its lease is closed.
    Mac(Mac),
}

impl From<IpAddr> for Subject {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip, None)
    }
}

impl Subject {
    /// Whether it is a hardware address.
    pub(crate) const fn is_mac(&self) -> bool {
        matches!(self, Self::Mac(_))
    }

    /// Returns the IPv4 address that ARP speaks for from one hardware address alone, and that one.
    pub(crate) const fn bound(&self) -> Option<(Ipv4Addr, Mac)> {
        match self {
            Self::Ip(IpAddr::V4(ip), Some(mac)) => Some((*ip, *mac)),
            Self::Ip(..) | Self::Mac(_) => None,
        }
    }
}
