//! A name's records: who may change them, and how.
//!
//! Beside the name stands who has it, `_lifesign.NAME TXT "token=42 node=alpha"`. Who starts reads
//! that text and asks the name server to change it together with the addresses, on the condition
//! that it is still what was read. The server decides, so of two who start at once one reads anew;
//! and a larger token is never replaced, not even by a node that knows nothing of its loss. A stop
//! takes the addresses away and leaves the text with `stopped` behind it: whoever comes back with
//! an older token is refused also then.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use domain::base::Name;
use lifesign_core::group::Token;
use lifesign_core::time::Duration;

use super::{Fault, Parameter};
use crate::settings::value;

/// A name of the domain name system.
pub type DomainName = Name<Vec<u8>>;

/// What stands beside the name, before it.
const LABEL: &str = "_lifesign";
/// The port of name servers.
const PORT: u16 = 53;
/// The longest time that a record may be kept by resolvers.
const TTL_MOST: Duration = Duration::from_millis(86_400_000);
/// How long records may be kept by resolvers, and how long a name server may take, if the settings
/// do not say.
const TTL: Duration = Duration::from_millis(5000);
const PATIENCE: Duration = Duration::from_millis(3000);

/// What the settings say of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where changes of the zone are taken.
    pub server: SocketAddr,
    /// The zone.
    pub zone: DomainName,
    /// The name that leads to the group.
    pub name: DomainName,
    /// What stands beside it.
    pub beside: DomainName,
    /// How long resolvers may keep its addresses, in whole seconds.
    pub ttl: Duration,
    /// Where the key is.
    pub key_file: PathBuf,
    /// How long all of a start, a stop or a look may take.
    pub patience: Duration,
    /// The addresses that the name may have: for which node, or for all.
    addresses: Vec<(Option<String>, IpAddr)>,
}

impl Plan {
    /// The names of its parameters, and whether nodes may have different ones.
    pub const PARAMETERS: &'static [(&'static str, bool)] = &[
        ("server", false),
        ("zone", false),
        ("name", false),
        ("a", true),
        ("aaaa", true),
        ("ttl", false),
        ("key_file", false),
        ("patience", false),
    ];

    /// Reads the parameters; `a.alpha` is what `a` is for alpha.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(parameters: &[Parameter]) -> Result<Self, Fault> {
        let text = |name: &str| {
            let found = parameters.iter().find(|parameter| parameter.name == name);
            found.map(|parameter| parameter.value.as_str())
        };
        let required =
            |name: &str, example: &str| text(name).ok_or_else(|| Fault::missing(name, example));
        let span = |name: &str, default: Duration| match text(name) {
            None => Ok(default),
            Some(text) => {
                value::span_said(text).map_err(|why| Fault::of(name, why, "write \"5s\""))
            }
        };
        let server = server(required("server", "\"10.0.0.53\"")?)?;
        let zone = domain_name("zone", required("zone", "\"example.org\"")?)?;
        let name = domain_name("name", required("name", "\"www.example.org\"")?)?;
        if !name.ends_with(&zone) {
            let why = format!("{name} is not in the zone {zone}");
            return Err(Fault::of("name", why, "write a name that ends with that of the zone"));
        }
        let beside = DomainName::from_str(&format!("{LABEL}.{name}.")).map_err(|_| {
            Fault::of("name", "it is too long", format!("{LABEL}. stands before it"))
        })?;
        let ttl = span("ttl", TTL)?;
        if ttl.as_micros() % 1_000_000 != 0 || ttl > TTL_MOST {
            let why = format!("{ttl} is not in whole seconds, up to {TTL_MOST}");
            return Err(Fault::of("ttl", why, "write \"5s\""));
        }
        let key_file = PathBuf::from(required("key_file", "\"/etc/lifesign/dns.key\"")?);
        if !key_file.is_absolute() {
            return Err(Fault::of("key_file", "it must be an absolute path", "begin it with /"));
        }
        let patience = span("patience", PATIENCE)?;
        let addresses = addresses(parameters)?;
        if addresses.is_empty() {
            return Err(Fault::missing("a", "\"10.0.0.100\""));
        }
        Ok(Self { server, zone, name, beside, ttl, key_file, patience, addresses })
    }

    /// Returns the addresses that the name has while `node` holds the group.
    #[must_use]
    pub fn addresses_of(&self, node: &str) -> Vec<IpAddr> {
        let of_node = |owner: &Option<String>| owner.as_ref().is_none_or(|owner| owner == node);
        let own = self.addresses.iter().filter(|(owner, _)| of_node(owner));
        own.map(|(_, ip)| *ip).collect()
    }

    /// Returns whether the settings say anything of IPv4, and of IPv6: records of a kind that they
    /// do not speak of are left alone.
    #[must_use]
    pub fn kinds(&self) -> (bool, bool) {
        let any = |is_v4: bool| self.addresses.iter().any(|(_, ip)| ip.is_ipv4() == is_v4);
        (any(true), any(false))
    }
}

fn server(text: &str) -> Result<SocketAddr, Fault> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    text.parse().map_err(|_| {
        let why = format!("{text:?} is no address");
        Fault::of("server", why, "write \"10.0.0.53\", \"10.0.0.53:5353\" or \"[fd00::53]:53\"")
    })
}

fn domain_name(parameter: &str, text: &str) -> Result<DomainName, Fault> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.*".contains(letter);
    let name = text.chars().all(is_plain).then(|| DomainName::from_str(text));
    match name {
        Some(Ok(name)) if name.label_count() > 1 => Ok(name),
        _ => {
            let why = format!("{text:?} is no name of a domain");
            Err(Fault::of(parameter, why, "write \"www.example.org\""))
        }
    }
}

fn addresses(parameters: &[Parameter]) -> Result<Vec<(Option<String>, IpAddr)>, Fault> {
    let mut addresses = Vec::new();
    for Parameter { name, value, .. } in parameters {
        let (kind, node) = match name.split_once('.') {
            Some((kind, node)) => (kind, Some(node.to_owned())),
            None => (name.as_str(), None),
        };
        let not = |what: &str, example: &str| {
            Fault::of(
                name,
                format!("{value:?} is no address of {what}"),
                format!("write {example}"),
            )
        };
        let ip: IpAddr = match kind {
            "a" => value.parse::<Ipv4Addr>().map_err(|_| not("IPv4", "\"10.0.0.100\""))?.into(),
            "aaaa" => value.parse::<Ipv6Addr>().map_err(|_| not("IPv6", "\"fd00::100\""))?.into(),
            _ => continue,
        };
        addresses.push((node, ip));
    }
    Ok(addresses)
}

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Under which the group is held.
    pub token: Token,
    /// The node.
    pub node: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "token={} node={}", self.token.0, self.node)
    }
}

/// What the text beside a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    holder: Holder,
    is_stopped: bool,
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let (rest, is_stopped) = match text.strip_suffix(STOPPED) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (token, node) = rest.strip_prefix("token=")?.split_once(" node=")?;
        let holder = Holder { token: Token(token.parse().ok()?), node: node.to_owned() };
        Some(Self { holder, is_stopped })
    }
}

/// What stands behind a holder that has stopped.
const STOPPED: &str = " stopped";

/// Why a name server has not done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It says no, or what it says makes no sense.
    Said(String),
    /// It says nothing, so nothing is known.
    Silent(String),
}

impl Failure {
    /// Returns why, in one line.
    #[must_use]
    pub fn into_said(self) -> String {
        match self {
            Self::Said(why) | Self::Silent(why) => why,
        }
    }
}

/// A change of a name, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What must stand beside the name for the change to be made: this one text, or none.
    pub was: Option<String>,
    /// What stands there then.
    pub becomes: String,
    /// The name's addresses then.
    pub addresses: Vec<IpAddr>,
}

/// A zone in which a name is.
pub trait Zone {
    /// Returns what stands beside the name.
    ///
    /// # Errors
    /// What the server has not done.
    fn beside(&mut self) -> Result<Option<String>, Failure>;

    /// Returns the name's addresses.
    ///
    /// # Errors
    /// What the server has not done.
    fn addresses(&mut self) -> Result<Vec<IpAddr>, Failure>;

    /// Makes a change, and returns whether what stood beside the name was as it says.
    ///
    /// # Errors
    /// What the server has not done.
    fn change(&mut self, change: &Change) -> Result<bool, Failure>;
}

/// How often what somebody else has changed meanwhile is read anew.
const ATTEMPTS: u32 = 5;

/// Gives the name to `holder`, with `addresses`.
///
/// # Errors
/// Why it is not given, in one line: somebody with a larger token has it, or the server.
pub fn take(zone: &mut impl Zone, holder: &Holder, addresses: &[IpAddr]) -> Result<String, String> {
    for _ in 0..ATTEMPTS {
        let was = zone.beside().map_err(Failure::into_said)?;
        if let Some(text) = &was {
            let mark = Mark::parse(text).ok_or_else(|| stranger(text))?;
            check_newest(&mark.holder, holder)?;
        }
        let change = Change { was, becomes: holder.to_string(), addresses: addresses.to_vec() };
        if zone.change(&change).map_err(Failure::into_said)? {
            return Ok(String::new());
        }
    }
    Err(format!("others have changed the name {ATTEMPTS} times meanwhile"))
}

/// Takes the addresses of the name away, if `holder` has it.
///
/// A server that says nothing is no reason to stay: what it keeps is replaced under the next token.
///
/// # Errors
/// Why they are still there, in one line.
pub fn give_up(zone: &mut impl Zone, holder: &Holder) -> Result<String, String> {
    for _ in 0..ATTEMPTS {
        let was = match zone.beside() {
            Ok(was) => was,
            Err(failure) => return unless_silent(failure),
        };
        let mark = was.as_deref().and_then(Mark::parse);
        let Some(mark) = mark.filter(|mark| mark.holder == *holder && !mark.is_stopped) else {
            let who = was.unwrap_or_else(|| "nobody".to_owned());
            return Ok(format!("the name is left alone, for it is not ours: {who}"));
        };
        let becomes = format!("{}{STOPPED}", mark.holder);
        match zone.change(&Change { was, becomes, addresses: Vec::new() }) {
            Ok(true) => return Ok(String::new()),
            Ok(false) => {}
            Err(failure) => return unless_silent(failure),
        }
    }
    Err(format!("others have changed the name {ATTEMPTS} times meanwhile"))
}

/// Says whether the name leads to `holder`, with `addresses`. A server that says nothing changes
/// nothing either.
///
/// # Errors
/// What is there in place of it, in one line.
pub fn look(zone: &mut impl Zone, holder: &Holder, addresses: &[IpAddr]) -> Result<String, String> {
    let was = match zone.beside() {
        Ok(was) => was,
        Err(failure) => return unless_silent(failure),
    };
    if was.as_deref() != Some(&holder.to_string()) {
        let who = was.unwrap_or_else(|| "nobody".to_owned());
        return Err(format!("the name is not ours: {who}"));
    }
    let mut there = match zone.addresses() {
        Ok(there) => there,
        Err(failure) => return unless_silent(failure),
    };
    let mut expected = addresses.to_vec();
    there.sort_unstable();
    expected.sort_unstable();
    if there == expected {
        return Ok(String::new());
    }
    let list = |ips: &[IpAddr]| {
        let texts: Vec<String> = ips.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "nowhere".to_owned() } else { texts.join(", ") }
    };
    Err(format!("the name leads to {}, not to {}", list(&there), list(&expected)))
}

/// Notes that whoever has the name has a larger token than `own`, which then must not take it.
fn check_newest(other: &Holder, own: &Holder) -> Result<(), String> {
    let is_older = other.token < own.token || other == own;
    if is_older { Ok(()) } else { Err(format!("the name has a newer holder: {other}")) }
}

fn stranger(text: &str) -> String {
    format!("beside the name stands something that is not ours: {text:?}; remove that record")
}

fn unless_silent(failure: Failure) -> Result<String, String> {
    match failure {
        Failure::Said(why) => Err(why),
        Failure::Silent(why) => Ok(why),
    }
}

#[cfg(test)]
mod tests;
