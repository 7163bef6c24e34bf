//! The hardware addresses of groups.

use toml::Spanned;

use super::Group;
use super::document::unknown_word;
use super::mistake::Mistakes;
use super::table::{Misfit, Table};
use crate::address::ServiceAddress;
use crate::address::mac::{GroupMac, MacOn, written};

/// What a group of a file says of its hardware address.
#[derive(Debug)]
pub(super) struct RawMac {
    /// The address; `None` where it is to be generated.
    address: Option<[u8; 6]>,
    on: MacOn,
    place: core::ops::Range<usize>,
}

impl RawMac {
    /// Reads `mac` and `mac_on` of a group with these addresses.
    pub(super) fn read(
        table: &mut Table<'_>,
        addresses: &[ServiceAddress],
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let has_mac = table.has("mac");
        let address = table.parsed("mac", mistakes, address_of);
        let on = table.parsed("mac_on", mistakes, |text| match text {
            "macvlan" => Ok(MacOn::Macvlan),
            "adapter" => Ok(MacOn::Adapter),
            _ => Err(unknown_word("mac_on", text, &["macvlan", "adapter"])),
        });
        if let Some(on) = on.as_ref().filter(|_| !has_mac) {
            mistakes
                .add(on.span(), "`mac_on` without `mac`")
                .label("this group has no MAC address of its own")
                .hint("add mac = \"auto\", or leave `mac_on` out");
        }
        let address = address?;
        let place = address.span();
        let first = addresses.first();
        if first.is_none() {
            mistakes
                .add(place.clone(), "a group without addresses has no use for a MAC address")
                .hint("add addresses = [\"10.0.0.100/24\"], or leave `mac` out");
        }
        let other = addresses.iter().find(|one| first.is_some_and(|it| it.adapter != one.adapter));
        if let (Some(other), Some(first)) = (other, first) {
            let (ip, first) = (other.ip, first.ip);
            mistakes
                .add(place.clone(), format!("{ip} and {first} name different adapters"))
                .label("one adapter has the MAC address, and must have all addresses of the group")
                .hint("name the same adapter for all of them, or make two groups");
        }
        let on = on.map_or(MacOn::Macvlan, Spanned::into_inner);
        Some(Self { address: address.into_inner(), on, place })
    }
}

/// Gives the groups of `cluster` their hardware addresses, of which no two may be the same.
pub(super) fn settle(
    cluster: &str,
    groups: &mut [Group],
    raws: &[Option<RawMac>],
    mistakes: &mut Mistakes,
) {
    let mut taken: Vec<([u8; 6], core::ops::Range<usize>)> = Vec::new();
    for (group, raw) in groups.iter_mut().zip(raws) {
        let Some(raw) = raw else { continue };
        let address = raw.address.unwrap_or_else(|| GroupMac::generate(cluster, &group.name));
        if let Some((_, first)) = taken.iter().find(|(other, _)| *other == address) {
            mistakes
                .add(raw.place.clone(), format!("two groups have {}", written(address)))
                .label("the second")
                .other(first.clone(), "the first")
                .hint("groups move one by one: each needs a MAC address of its own");
        }
        taken.push((address, raw.place.clone()));
        group.mac = Some(GroupMac { address, on: raw.on });
    }
}

/// Reads a hardware address; `None` for one that is to be generated.
fn address_of(text: &str) -> Result<Option<[u8; 6]>, Misfit> {
    const HINT: &str = "write \"auto\", or one such as \"02:00:5e:10:00:01\"";
    if text == "auto" {
        return Ok(None);
    }
    match GroupMac::read(text) {
        None => Err(Misfit::new("a MAC address is six bytes in hexadecimal, with colons", HINT)),
        Some(address) if !GroupMac::is_allowed(address) => Err(Misfit::new(
            "only addresses that no maker gives: the second digit is 2, 6, a or e",
            HINT,
        )),
        Some(address) => Ok(Some(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EXAMPLE, example};
    use super::*;
    use crate::settings::Settings;

    fn with(line: &str) -> Settings {
        let text = EXAMPLE.replacen("failback = \"off\"", line, 1);
        Settings::parse("test.toml", &text).unwrap()
    }

    #[test]
    fn a_mac_is_generated_or_named_and_part_of_the_agreement() {
        assert_eq!(example().groups[0].mac, None);
        let auto = with("mac = \"auto\"");
        let mac = auto.groups[0].mac.unwrap();
        assert_eq!(mac, GroupMac { address: GroupMac::generate("web", "www"), on: MacOn::Macvlan });
        let named = with("mac = \"06:00:5E:10:00:01\"\nmac_on = \"adapter\"");
        let mac = named.groups[0].mac.unwrap();
        assert_eq!(mac, GroupMac { address: [6, 0, 0x5e, 0x10, 0, 1], on: MacOn::Adapter });
        let plain = with("mac = \"06:00:5e:10:00:01\"");
        let digests = [example(), auto, named, plain].map(|settings| settings.digest());
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
    }

    #[test]
    fn an_address_that_is_generated_may_be_that_of_another_group() {
        let same = written(GroupMac::generate("web", "www"));
        let group = "[[group]]\nname = \"db\"\naddresses = [\"10.77.0.101/24\"]\n";
        let text = EXAMPLE.replacen("failback = \"off\"", "mac = \"auto\"", 1);
        let text = format!("{text}{group}mac = \"{same}\"\n");
        let mistakes = Settings::parse("test.toml", &text).unwrap_err().to_string();
        assert!(mistakes.contains(&format!("two groups have {same}")), "{mistakes}");
    }
}
