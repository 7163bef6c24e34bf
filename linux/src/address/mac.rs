//! Hardware addresses that move with a group: what they are, and how what belongs to them is known.
//!
//! A group's hardware address is locally administered and of one machine (the second-lowest bit of
//! its first byte is set, the lowest is not), so that no maker has given it to an adapter.

use std::fmt;

use lifesign_core::node::ClusterId;
use sha2::{Digest, Sha256};

/// A hardware address of Ethernet.
pub(crate) type Mac = [u8; 6];

/// The hardware address of a group, and where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMac {
    /// The address.
    pub address: Mac,
    /// Where it is put.
    pub on: MacOn,
}

/// Where a group's hardware address is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacOn {
    /// On an adapter of its own, a macvlan upon the adapter of the group's addresses, which keeps
    /// its own hardware address.
    #[default]
    Macvlan,
    /// On the adapter of the group's addresses itself, in place of its own.
    Adapter,
}

impl MacOn {
    /// Returns its name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Adapter => "adapter",
        }
    }
}

impl GroupMac {
    /// Returns the address that `group` of `cluster` has if it names none: the same on every node,
    /// from the first bytes of SHA-256("lifesign mac " + cluster + "/" + group).
    #[must_use]
    pub fn generate(cluster: &str, group: &str) -> Mac {
        let hash = Sha256::digest(format!("lifesign mac {cluster}/{group}"));
        let mut address = [0; 6];
        address.copy_from_slice(&hash[..6]);
        address[0] = address[0] & !GROUP | LOCAL;
        address
    }

    /// Whether `address` is locally administered and of one machine.
    #[must_use]
    pub const fn is_allowed(address: Mac) -> bool {
        address[0] & (GROUP | LOCAL) == LOCAL
    }

    /// Reads six bytes in hexadecimal with colons between.
    #[must_use]
    pub fn read(text: &str) -> Option<Mac> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(address)
    }
}

impl fmt::Display for GroupMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.address))
    }
}

impl GroupMac {
    /// Says the address and what it is on, as in "02:00:5e:10:00:01 (macvlan)".
    #[must_use]
    pub fn said(&self) -> String {
        format!("{self} ({})", self.on.name())
    }
}

/// Returns a hardware address as people write it.
#[must_use]
pub fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The bit of addresses that are of many machines.
const GROUP: u8 = 1;
/// The bit of addresses that no maker gives.
const LOCAL: u8 = 2;

/// The hardware addresses of all groups of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacPlan {
    /// The cluster, whose mark everything has that belongs to them.
    pub cluster: ClusterId,
    /// The address of each group, if it has one.
    pub groups: Vec<Option<GroupMac>>,
}

/// By what a cluster knows its adapters and routing tables again, also those of an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u32);

impl Mark {
    /// Returns the mark of a cluster.
    pub(crate) const fn new(cluster: ClusterId) -> Self {
        Self(cluster.0)
    }

    /// Returns the name of the adapter of a group, upon the adapter with this place among those
    /// that its addresses may be on, of which there are at most ten: at most 15 bytes.
    pub(crate) fn adapter(self, group: usize, place: usize) -> String {
        let place = if place == 0 { String::new() } else { place.to_string() };
        format!("ls-{:08x}-{group:02}{place}", self.0)
    }

    /// Whether an adapter with this name is one of ours.
    pub(crate) fn is_ours(self, name: &str) -> bool {
        name.strip_prefix(&format!("ls-{:08x}-", self.0)).is_some_and(|at| {
            (2..=3).contains(&at.len()) && at.bytes().all(|it| it.is_ascii_digit())
        })
    }

    /// Returns the name that an adapter gets besides while a group's address is in place of `mac`.
    pub(crate) fn note(self, mac: Mac) -> String {
        let digits = mac.map(|byte| format!("{byte:02x}")).concat();
        format!("ls-{:08x}-was-{digits}", self.0)
    }

    /// Reads such a name: the hardware address which the adapter had.
    pub(crate) fn read_note(self, name: &str) -> Option<Mac> {
        let digits = name.strip_prefix(&format!("ls-{:08x}-was-", self.0))?;
        let bits = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 12)?;
        let [_, _, mac @ ..] = bits.to_be_bytes();
        Some(mac)
    }

    /// Returns the number of the routing table of a group.
    pub(crate) fn table(self, group: usize) -> u32 {
        self.tables() | u32::try_from(group).unwrap_or(0) & 0xff
    }

    /// Whether a routing table with this number is one of ours.
    pub(crate) const fn is_our_table(self, table: u32) -> bool {
        table & !0xff == self.tables()
    }

    /// Returns the part that our tables' numbers share; never that of small numbers, which others
    /// choose.
    const fn tables(self) -> u32 {
        self.0 & !0xff | 0x8000_0000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_address_is_stable_local_and_of_one_machine() {
        let www = GroupMac::generate("web", "www");
        assert_eq!(www, GroupMac::generate("web", "www"));
        assert_eq!(written(www), "9e:f3:47:e5:ca:35");
        assert_ne!(www, GroupMac::generate("web", "db"));
        assert_ne!(www, GroupMac::generate("webw", "ww"));
        for number in 0..1000 {
            assert!(GroupMac::is_allowed(GroupMac::generate("web", &number.to_string())));
        }
    }

    #[test]
    fn only_addresses_that_no_maker_gives_are_allowed() {
        assert!(GroupMac::is_allowed([2, 0, 0, 0, 0, 1]));
        for first in [0x00, 0x01, 0x03, 0x52 ^ 2, 0xff] {
            assert!(!GroupMac::is_allowed([first, 0, 0, 0, 0, 1]), "{first:#x}");
        }
    }

    #[test]
    fn addresses_are_six_bytes_with_colons() {
        assert_eq!(GroupMac::read("02:00:5e:Ab:0c:ff"), Some([2, 0, 0x5e, 0xab, 0x0c, 0xff]));
        let wrong = [
            "",
            "02",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "02-00-5e-10-00-01",
        ];
        for text in wrong.into_iter().chain(["+2:00:5e:10:00:01", "0g:00:5e:10:00:01"]) {
            assert_eq!(GroupMac::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_belongs_to_another_cluster_is_not_ours() {
        let (mark, other) = (Mark::new(ClusterId(0x1a2b_3c4d)), Mark::new(ClusterId(0x1a2b_3d4d)));
        for name in [mark.adapter(31, 0), mark.adapter(31, 9)] {
            assert!(name.len() <= 15 && mark.is_ours(&name) && !other.is_ours(&name), "{name}");
        }
        let name = mark.adapter(31, 1);
        let was = [0x52, 0x54, 0, 0x0a, 0xff, 1];
        assert_eq!(mark.read_note(&mark.note(was)), Some(was));
        assert_eq!((other.read_note(&mark.note(was)), mark.read_note(&name)), (None, None));
        assert!(mark.is_our_table(mark.table(31)) && !other.is_our_table(mark.table(31)));
        for strange in
            ["ls-1a2b3c4d-", "ls-1a2b3c4d-1", "ls-1a2b3c4d-xx", "eth0", "ls-1a2b3c4d-1000"]
        {
            assert!(!mark.is_ours(strange), "{strange}");
        }
        assert!((0..=1000).all(|table| !Mark::new(ClusterId(0)).is_our_table(table)));
    }
}
