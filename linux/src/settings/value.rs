//! Values that TOML has no type for: spans, parts, names, addresses, paths.

use core::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use lifesign_core::time::Duration;

use super::table::Misfit;
use crate::address::ServiceAddress;
use crate::record::{LEAST_BOUND, MOST_BOUND};

/// Returns the span of a text such as `10ms`, `1.5s` or `2m`: a decimal number and one of us, ms,
/// s, m, h, with no space between. It is exact in microseconds, more than zero, and at most a week.
pub(super) fn span(text: &str) -> Result<Duration, Misfit> {
    let misfit = |why: &str| {
        Misfit::new(why, "write a number and a unit, as in \"10ms\", \"1.5s\" or \"2m\"")
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let Some(at) = digits else { return Err(misfit("a unit is missing")) };
    let (number, unit) = text.split_at(at);
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err(misfit("known units are us, ms, s, m and h")),
    };
    let total = scaled(number, micros).ok_or_else(|| misfit("not a number of this unit"))?;
    match total {
        0 => Err(misfit("must be more than zero")),
        1..=LONGEST_SPAN => Ok(Duration::from_micros(total)),
        _ => Err(misfit("longer than a week")),
    }
}

/// Returns the span that stands on a command line, or what is wrong with it and how to write one.
pub(crate) fn span_said(text: &str) -> Result<Duration, String> {
    span(text).map_err(Misfit::into_said)
}

const LONGEST_SPAN: u64 = 7 * 24 * 3_600_000_000;

/// Returns `number`, with or without decimals, in units of one `scale`-th; `None` if it is no
/// number, too large, or has more decimals than the scale can express.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    if number.contains(|letter: char| !letter.is_ascii_digit() && letter != '.') {
        return None;
    }
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(part.len()).ok().filter(|digits| *digits <= 9)?;
    let part: u64 = part.parse().ok()?;
    let divisor = 10u64.pow(digits);
    let product = part.checked_mul(scale)?;
    if product % divisor != 0 {
        return None;
    }
    whole.checked_mul(scale)?.checked_add(product / divisor)
}

/// Returns the bytes of a text such as `16MiB`: a decimal number and one of KiB, MiB, GiB, with no
/// space between. It is what a recording may have: 1 MiB to 64 GiB.
pub(super) fn record_bound(text: &str) -> Result<u64, Misfit> {
    let misfit =
        |why: &str| Misfit::new(why, "write a number and a unit, as in \"16MiB\" or \"1GiB\"");
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let Some(at) = digits else { return Err(misfit("a unit is missing")) };
    let (number, unit) = text.split_at(at);
    let scale: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(misfit("known units are KiB, MiB and GiB")),
    };
    let bytes = scaled(number, scale).ok_or_else(|| misfit("not a number of this unit"))?;
    match bytes {
        LEAST_BOUND..=MOST_BOUND => Ok(bytes),
        0..LEAST_BOUND => Err(misfit("less than 1 MiB is too little to see anything in")),
        _ => Err(misfit("more than 64 GiB")),
    }
}

/// Returns the bound that stands on a command line, or what is wrong with it.
pub(crate) fn record_bound_said(text: &str) -> Result<u64, String> {
    record_bound(text).map_err(Misfit::into_said)
}

/// Returns the millionths of a text such as `1%` or `0.05%`, from 0 to 20 %.
pub(super) fn percentage(text: &str) -> Result<u32, Misfit> {
    let misfit = |why: &str| Misfit::new(why, "write a percentage, as in \"1%\" or \"0.05%\"");
    let Some(number) = text.strip_suffix('%') else { return Err(misfit("the % is missing")) };
    let millionths = scaled(number, 10_000).ok_or_else(|| misfit("not a number"))?;
    u32::try_from(millionths)
        .ok()
        .filter(|millionths| *millionths <= MOST_CLOCK_ERROR)
        .ok_or_else(|| misfit("a clock that is more than 20 % wrong is broken"))
}

const MOST_CLOCK_ERROR: u32 = 200_000;

/// Returns `text` as a name: 1 to 64 letters, digits, `_`, `.` or `-`, of ASCII.
pub(super) fn name(text: &str) -> Result<String, Misfit> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(is_name) {
        return Ok(text.to_owned());
    }
    Err(Misfit { why: "a name is 1 to 64 letters, digits, `_`, `.` or `-`".to_owned(), hint: None })
}

/// Returns `text` as the name of a network adapter: 1 to 15 bytes, without space, slash or colon.
pub(super) fn adapter(text: &str) -> Result<String, Misfit> {
    let is_wrong =
        |letter: char| letter.is_whitespace() || letter.is_control() || "/:".contains(letter);
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(is_wrong)
    {
        let why = "an adapter's name has 1 to 15 letters, and no space, slash or colon";
        return Err(Misfit { why: why.to_owned(), hint: None });
    }
    Ok(text.to_owned())
}

/// Returns `text` as an absolute path.
pub(super) fn path(text: &str) -> Result<PathBuf, Misfit> {
    let path = PathBuf::from(text);
    if text.contains('\0') {
        Err(Misfit { why: "a path has no NUL".to_owned(), hint: None })
    } else if path.is_absolute() {
        Ok(path)
    } else {
        Err(Misfit::new(
            "not an absolute path",
            "begin with `/`: the file is the same on all nodes",
        ))
    }
}

/// Returns `text` as the path of a serial device.
pub(super) fn device(text: &str) -> Result<PathBuf, Misfit> {
    if text.contains(char::is_control) {
        return Err(Misfit { why: "a device's path has no such letters".to_owned(), hint: None });
    }
    if !text.starts_with('/') {
        let hint = match text {
            "" => "write \"/dev/ttyS0\" or \"/dev/serial/by-id/..\"".to_owned(),
            text => format!("write \"/dev/{text}\" if it is there"),
        };
        return Err(Misfit::new("not an absolute path", hint));
    }
    if text.ends_with('/') {
        return Err(Misfit::new("this is a folder", "see `ls /dev/serial/by-id/`"));
    }
    path(text)
}

/// Returns `text` as the address of a machine beyond the cluster that is asked whether it is there.
pub(super) fn ping_target(text: &str) -> Result<IpAddr, Misfit> {
    let ip = host(text)?;
    if ip.is_loopback() {
        return Err(Misfit::new("this machine itself", "name a router or a name server"));
    }
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            Err(Misfit::new("every adapter has such a network", "name an address beyond the link"))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(ip),
    }
}

/// Returns `text` as the path of a Unix socket, which is short.
pub(super) fn socket(text: &str) -> Result<PathBuf, Misfit> {
    const LONGEST: usize = 107; // sun_path of unix(7), less its NUL
    let socket = path(text)?;
    if text.len() > LONGEST {
        let why = format!("a socket's path has at most {LONGEST} letters");
        return Err(Misfit { why, hint: None });
    }
    Ok(socket)
}

/// Returns `text` as the address of one machine.
pub(super) fn host(text: &str) -> Result<IpAddr, Misfit> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| Misfit::new("not an IP address", "write \"10.0.0.1\" or \"fd00::1\""))?;
    let why = if ip.is_unspecified() {
        "no machine has the unspecified address"
    } else if ip.is_multicast() {
        "a multicast address belongs to no machine"
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "the broadcast address belongs to no machine"
    } else if ip != ip.to_canonical() {
        return Err(Misfit::new(
            "an IPv4 address in IPv6 clothes",
            format!("write \"{}\"", ip.to_canonical()),
        ));
    } else {
        return Ok(ip);
    };
    Err(Misfit { why: why.to_owned(), hint: None })
}

/// Returns `text` as a multicast address.
pub(super) fn multicast(text: &str) -> Result<IpAddr, Misfit> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_multicast() => Ok(ip),
        Ok(_) => Err(Misfit::new(
            "not a multicast address",
            "use one of your own from 239.255.0.0/16, or ff02:: or ff05:: for IPv6",
        )),
        Err(_) => {
            Err(Misfit::new("not an IP address", "write \"239.255.76.83\" or \"ff02::4c53\""))
        }
    }
}

/// Returns the service address of a text such as `10.0.0.100/24` or `fd00::100/64@eth0`.
pub(super) fn service_address(text: &str) -> Result<ServiceAddress, Misfit> {
    let (rest, adapter) = match text.split_once('@') {
        None => (text, String::new()),
        Some((rest, name)) => (rest, adapter(name)?),
    };
    let Some((ip, prefix)) = rest.split_once('/') else {
        let example = if host(rest)?.is_ipv4() { 24 } else { 64 };
        return Err(Misfit::new(
            "the length of the network's prefix is missing",
            format!("write \"{rest}/{example}\" if the network has {example} bits"),
        ));
    };
    let ip = host(ip)?;
    let bits: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let prefix =
        prefix.parse().ok().filter(|prefix| (1..=bits).contains(prefix)).ok_or_else(|| Misfit {
            why: format!("the prefix of such an address has 1 to {bits} bits"),
            hint: None,
        })?;
    if let IpAddr::V4(ip) = ip
        && prefix < 31
    {
        let host_bits = ip.to_bits() << prefix;
        if host_bits == 0 || host_bits == u32::MAX << prefix {
            let why = "this is the address of the network or its broadcast address";
            return Err(Misfit::new(why, "a service needs the address of a machine in it"));
        }
    }
    Ok(ServiceAddress { ip, prefix, adapter })
}

/// Returns the name that `text` is, or what is wrong with it.
pub(crate) fn name_said(text: &str) -> Result<String, String> {
    name(text).map_err(Misfit::into_said)
}

/// Returns the name of an adapter that `text` is, or what is wrong with it.
pub(crate) fn adapter_said(text: &str) -> Result<String, String> {
    adapter(text).map_err(Misfit::into_said)
}

/// Returns the serial device that `text` is, or what is wrong with it.
pub(crate) fn device_said(text: &str) -> Result<PathBuf, String> {
    device(text).map_err(Misfit::into_said)
}

/// Returns the address of a machine that `text` is, or what is wrong with it.
pub(crate) fn host_said(text: &str) -> Result<IpAddr, String> {
    host(text).map_err(Misfit::into_said)
}

/// Returns the multicast address that `text` is, or what is wrong with it.
pub(crate) fn multicast_said(text: &str) -> Result<IpAddr, String> {
    multicast(text).map_err(Misfit::into_said)
}

/// Returns the address to ping that `text` is, or what is wrong with it.
pub(crate) fn ping_said(text: &str) -> Result<IpAddr, String> {
    ping_target(text).map_err(Misfit::into_said)
}

/// Returns the service address that `text` is, or what is wrong with it.
pub(crate) fn service_address_said(text: &str) -> Result<ServiceAddress, String> {
    service_address(text).map_err(Misfit::into_said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_exact() {
        for (text, micros) in [
            ("10ms", 10_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            ("250us", 250),
            ("0.001ms", 1),
        ] {
            assert_eq!(span(text).unwrap(), Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn spans_that_are_none_are_refused() {
        for text in [
            "",
            "10",
            "ms",
            "0ms",
            "-1s",
            "1.2.3s",
            "1 s",
            "1d",
            "0.0001ms",
            "1e3s",
            "169h",
            ".s",
            "1.s",
            "99999999999999999999s",
            "1.0000000001s",
            "٣s",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_become_millionths() {
        assert_eq!(percentage("1%").unwrap(), 10_000);
        assert_eq!(percentage("0.05%").unwrap(), 500);
        assert_eq!(percentage("0%").unwrap(), 0);
        for text in ["", "%", "1", "-1%", "+1%", "21%", "1%%"] {
            assert!(percentage(text).is_err(), "{text}");
        }
    }

    #[test]
    fn service_addresses_need_a_network_and_a_place_in_it() {
        let good = service_address("10.77.0.100/24@eth0").unwrap();
        let expected =
            ServiceAddress { ip: [10, 77, 0, 100].into(), prefix: 24, adapter: "eth0".to_owned() };
        assert_eq!(good, expected);
        assert_eq!(service_address("fd00::1/64").unwrap().adapter, "");
        assert!(service_address("10.77.0.0/31").is_ok(), "RFC 3021 has no network address");
        assert!(
            service_address("fd00::/64").is_ok(),
            "the anycast address of routers is an address"
        );
        for text in [
            "10.77.0.100",
            "10.77.0.0/24",
            "10.77.0.255/24",
            "10.77.0.1/0",
            "10.77.0.1/33",
            "fd00::1/129",
            "224.0.0.1/24",
            "0.0.0.0/8",
            "::/64",
            "::ffff:10.0.0.1/96",
            "10.77.0.1/24@",
            "10.77.0.1/24@a b",
            "x/24",
            "/",
            "@",
        ] {
            assert!(service_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_recording_has_a_bound_with_a_unit() {
        assert_eq!(record_bound("16MiB").unwrap(), 16 << 20);
        assert_eq!(record_bound("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(record_bound("1024KiB").unwrap(), 1 << 20);
        for text in ["", "16", "16 MiB", "16MB", "16mib", "1023KiB", "65GiB", "-1MiB", "MiB"] {
            assert!(record_bound(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_plain() {
        assert!(name("web-1.example_a").is_ok());
        for text in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
