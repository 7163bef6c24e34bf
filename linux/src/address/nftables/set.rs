//! The tables of the lease by family, and the sets in them.

use std::net::IpAddr;

use super::super::subject::Subject;

/// The families of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// ARP.
    Arp = 3,
    /// Frames of adapters.
    Netdev = 5,
}

impl Family {
    /// Every family with a table of ours.
    pub(super) const ALL: [Self; 3] = [Self::Inet, Self::Arp, Self::Netdev];
    /// Those of service addresses.
    pub(super) const ADDRESSES: [Self; 2] = [Self::Inet, Self::Arp];

    /// Returns the families whose table has the subject in its sets.
    pub(super) const fn of(subject: Subject) -> &'static [Self] {
        match subject {
            Subject::Ip(IpAddr::V4(_), _) => &Self::ADDRESSES,
            Subject::Ip(IpAddr::V6(_), _) => &[Self::Inet],
            Subject::Mac(_) => &[Self::Netdev],
        }
    }

    /// Returns the sets of its table.
    pub(super) const fn sets(self) -> &'static [Set] {
        match self {
            Self::Inet => &INET_SETS,
            Self::Arp => &ARP_SETS,
            Self::Netdev => &NETDEV_SETS,
        }
    }
}

/// A set of a table.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) key_kind: u32,
    pub(super) key_len: u32,
    pub(super) times_out: bool,
}

impl Set {
    const fn ipv4(name: &'static str, times_out: bool) -> Self {
        Self { name, key_kind: 7, key_len: 4, times_out }
    }

    const fn ipv6(name: &'static str, times_out: bool) -> Self {
        Self { name, key_kind: 8, key_len: 16, times_out }
    }

    const fn adapter(name: &'static str) -> Self {
        Self { name, key_kind: 20, key_len: 4, times_out: false }
    }

    const fn mac(name: &'static str, times_out: bool) -> Self {
        Self { name, key_kind: 9, key_len: 6, times_out }
    }
}

const INET_SETS: [Set; 5] = [
    Set::ipv4("own4", false),
    Set::ipv4("live4", true),
    Set::ipv6("own6", false),
    Set::ipv6("live6", true),
    Set::ipv4(GUARD, true),
];
const ARP_SETS: [Set; 2] = [Set::ipv4("own4", false), Set::ipv4("live4", true)];
const NETDEV_SETS: [Set; 2] = [Set::mac("own", false), Set::mac("live", true)];

/// The sets of the table that binds ARP to adapters.
pub(super) const SPEAKER_SETS: [Set; 2] = [Set::ipv4("own4", false), Set::adapter(SPEAKERS)];

/// Returns the set of subjects of the same kind.
pub(super) const fn own(subject: Subject) -> &'static str {
    match subject {
        Subject::Ip(IpAddr::V4(_), _) => "own4",
        Subject::Ip(IpAddr::V6(_), _) => "own6",
        Subject::Mac(_) => "own",
    }
}

/// Returns the set of those that may answer.
pub(super) const fn live(subject: Subject) -> &'static str {
    match subject {
        Subject::Ip(IpAddr::V4(_), _) => "live4",
        Subject::Ip(IpAddr::V6(_), _) => "live6",
        Subject::Mac(_) => "live",
    }
}

/// Returns the subject as a set's key.
pub(super) fn octets(subject: Subject) -> Vec<u8> {
    match subject {
        Subject::Ip(IpAddr::V4(address), _) => address.octets().to_vec(),
        Subject::Ip(IpAddr::V6(address), _) => address.octets().to_vec(),
        Subject::Mac(mac) => mac.to_vec(),
    }
}

/// The set of the guards.
pub(super) const GUARD: &str = "guard";
/// The set of the adapters by which ARP may leave.
pub(super) const SPEAKERS: &str = "adapters";
