//! Addresses as haresources writes them: `ip[/mask[/adapter[:label]][/broadcast]]`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::settings::value::{adapter_said, host_said};

/// An address of haresources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressText {
    /// The address.
    pub ip: IpAddr,
    /// How many bits its network has, if that is written.
    pub prefix: Option<u8>,
    /// The adapter, if that is written.
    pub adapter: Option<String>,
    /// Whether the adapter has a label behind it.
    pub has_label: bool,
    /// The network's broadcast address, if that is written.
    pub broadcast: Option<Ipv4Addr>,
}

/// What to write in the place of a wrong address.
pub(super) const HINT: &str =
    "write ADDRESS/BITS or ADDRESS/BITS/ADAPTER, as in 10.0.0.100/24/eth0";

impl AddressText {
    /// Returns whether a resource is an address by itself, without the name of a script.
    pub(super) fn is_meant(word: &str) -> bool {
        let host = word.split('/').next().unwrap_or_default();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_quad = host.split('.').count() == 4 && host.split('.').all(is_number);
        is_quad || host.parse::<Ipv6Addr>().is_ok()
    }

    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let ip = host_said(parts.next().unwrap_or_default())?;
        let prefix = match parts.next() {
            None | Some("") => None,
            Some(mask) => Some(prefix_of(mask, ip)?),
        };
        let mut address = Self { ip, prefix, adapter: None, has_label: false, broadcast: None };
        for part in parts.filter(|part| !part.is_empty()) {
            if let Ok(broadcast) = part.parse::<Ipv4Addr>() {
                if !ip.is_ipv4() || address.broadcast.replace(broadcast).is_some() {
                    return Err("there is a broadcast address too many".to_owned());
                }
            } else if address.adapter.is_some() || address.broadcast.is_some() {
                return Err(format!("\"{part}\" is one part too many"));
            } else {
                let (name, label) = part.split_once(':').unwrap_or((part, ""));
                address.adapter = Some(adapter_said(name)?);
                address.has_label = !label.is_empty();
            }
        }
        Ok(address)
    }

    /// Returns the broadcast address that is written, if the network has another one.
    #[must_use]
    pub fn odd_broadcast(&self) -> Option<Ipv4Addr> {
        let (Some(broadcast), IpAddr::V4(ip), Some(prefix)) =
            (self.broadcast, self.ip, self.prefix)
        else {
            return self.broadcast.filter(|_| self.prefix.is_some());
        };
        let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        (broadcast.to_bits() != ip.to_bits() | host_bits).then_some(broadcast)
    }
}

/// Returns how many bits the network of `mask` has.
fn prefix_of(mask: &str, ip: IpAddr) -> Result<u8, String> {
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if let (Ok(mask), IpAddr::V4(_)) = (mask.parse::<Ipv4Addr>(), ip) {
        let bits = mask.to_bits();
        let ones = bits.leading_ones();
        if bits.count_ones() != ones || ones == 0 {
            return Err(format!("{mask} is no mask of a network"));
        }
        return u8::try_from(ones).map_err(|error| error.to_string());
    }
    let prefix = mask.parse::<u8>().ok().filter(|prefix| (1..=most).contains(prefix));
    prefix.ok_or_else(|| format!("the network of such an address has 1 to {most} bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> AddressText {
        AddressText::parse(text).unwrap()
    }

    #[test]
    fn each_part_may_be_there_or_not() {
        let plain = address("10.0.0.100");
        assert_eq!((plain.prefix, plain.adapter, plain.broadcast), (None, None, None));
        let full = address("10.0.0.100/25/eth0:0/10.0.0.127");
        assert_eq!(full.prefix, Some(25));
        assert_eq!(full.adapter.as_deref(), Some("eth0"));
        assert!(full.has_label);
        assert_eq!(full.broadcast, Some(Ipv4Addr::new(10, 0, 0, 127)));
        assert_eq!(full.odd_broadcast(), None);
        let short = address("10.0.0.100/255.255.255.128/10.0.0.255");
        assert_eq!(short.prefix, Some(25));
        assert_eq!(short.odd_broadcast(), Some(Ipv4Addr::new(10, 0, 0, 255)));
        assert_eq!(address("fd00::1/64/eth0").prefix, Some(64));
        assert_eq!(address("10.0.0.1/32").prefix, Some(32));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "/24",
            "10.0.0.1/0",
            "10.0.0.1/33",
            "10.0.0.1/255.0.255.0",
            "10.0.0.1/0.0.0.0",
            "10.0.0.1/24/eth0/eth1",
            "10.0.0.1/24/10.0.0.255/10.0.0.255",
            "10.0.0.1/24/10.0.0.255/eth0",
            "10.0.0.1/24/an-adapter-of-too-many-letters",
            "224.0.0.1/24",
            "fd00::1/129",
            "fd00::1/64/eth0/10.0.0.255",
            "host/24",
        ] {
            assert!(AddressText::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_word_is_an_address_or_a_script() {
        for text in ["10.0.0.1", "10.0.0.300/24", "fd00::1", "fd00::1/64", "::1"] {
            assert!(AddressText::is_meant(text), "{text}");
        }
        for text in ["httpd", "a.b.c.d", "1.2.3", "IPaddr::10.0.0.1", "Filesystem::/dev/sda", ""] {
            assert!(!AddressText::is_meant(text), "{text}");
        }
    }
}
