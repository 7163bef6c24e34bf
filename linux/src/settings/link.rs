//! Links: what stands in each `[[link]]`, by its kind.

mod adapter;
pub(super) mod ether;
pub(super) mod serial;
pub(super) mod udp;

use core::net::IpAddr;
use core::ops::Range;

use lifesign_core::frame::LinkClass;
use lifesign_core::node::{ClusterId, MAX_LINKS, NodeId};
use toml::Spanned;

use self::ether::EtherLinkSettings;
use self::serial::SerialLinkSettings;
use self::udp::UdpLinkSettings;
use super::document::unknown_word;
use super::members::{Members, Names};
use super::mistake::Mistakes;
use super::table::Table;
use crate::link::{LinkSpec, Specification};

/// A way to reach peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
}

/// What a link is, with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// UDP on one adapter of each node.
    Udp(UdpLinkSettings),
    /// Raw Ethernet on one adapter of each node.
    Ether(EtherLinkSettings),
    /// Serial lines at up to four ports of each node.
    Serial(SerialLinkSettings),
}

impl Link {
    /// Returns the kind that stands in each frame.
    #[must_use]
    pub const fn class(&self) -> LinkClass {
        match &self.kind {
            LinkKind::Udp(_) => LinkClass::Udp,
            LinkKind::Ether(_) => LinkClass::Ether,
            LinkKind::Serial(_) => LinkClass::Serial,
        }
    }

    /// Returns the particulars of a link of kind UDP.
    #[must_use]
    pub const fn udp(&self) -> Option<&UdpLinkSettings> {
        match &self.kind {
            LinkKind::Udp(udp) => Some(udp),
            LinkKind::Ether(_) | LinkKind::Serial(_) => None,
        }
    }

    /// Returns the particulars of a link of raw Ethernet.
    #[must_use]
    pub const fn ether(&self) -> Option<&EtherLinkSettings> {
        match &self.kind {
            LinkKind::Ether(ether) => Some(ether),
            LinkKind::Udp(_) | LinkKind::Serial(_) => None,
        }
    }

    /// Returns the particulars of a serial link.
    #[must_use]
    pub const fn serial(&self) -> Option<&SerialLinkSettings> {
        match &self.kind {
            LinkKind::Serial(serial) => Some(serial),
            LinkKind::Udp(_) | LinkKind::Ether(_) => None,
        }
    }

    /// Returns whether `member` takes part in it.
    #[must_use]
    pub fn reaches(&self, member: NodeId) -> bool {
        match &self.kind {
            LinkKind::Udp(udp) => udp.address(member).is_some(),
            LinkKind::Ether(ether) => ether.adapter(member).is_some(),
            LinkKind::Serial(serial) => serial.reaches(member),
        }
    }

    /// Returns the adapter of this link on `node`, if it has one.
    #[must_use]
    pub fn adapter(&self, node: NodeId) -> Option<&str> {
        match &self.kind {
            LinkKind::Udp(udp) => udp.adapter(node),
            LinkKind::Ether(ether) => ether.adapter(node),
            LinkKind::Serial(_) => None,
        }
    }

    /// Returns what people call the place where it leaves `node`: an adapter or devices.
    #[must_use]
    pub fn place(&self, node: NodeId) -> String {
        match &self.kind {
            LinkKind::Udp(_) | LinkKind::Ether(_) => {
                self.adapter(node).unwrap_or_default().to_owned()
            }
            LinkKind::Serial(serial) => {
                let devices = serial.devices(node).iter();
                devices.map(|device| device.display().to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Returns what to open on node `me` for frames of `cluster`, or `None` if it is not on this
    /// link.
    #[must_use]
    pub(super) fn spec(&self, me: NodeId, cluster: ClusterId) -> Option<LinkSpec> {
        let kind = match &self.kind {
            LinkKind::Udp(udp) => Specification::Udp(udp.spec(me)?),
            LinkKind::Ether(ether) => Specification::Ether(ether.spec(me, cluster)?),
            LinkKind::Serial(serial) => Specification::Serial(serial.spec(me)?),
        };
        Some(LinkSpec { name: self.name.clone(), kind })
    }
}

/// Reads every link of `members`.
pub(super) fn read(top: &mut Table<'_>, members: &mut Members, mistakes: &mut Mistakes) {
    let mut names = Names::new("link");
    let tables = top.tables("link", MAX_LINKS, mistakes);
    if tables.is_empty() && top.value("link").is_none() {
        mistakes.add(top.span(), "the file has no `[[link]]`").hint("add one, with kind = \"udp\"");
    }
    let mut places = Vec::new();
    for mut table in tables {
        let place = table.span();
        let link = read_link(&mut table, members, &mut names, mistakes);
        table.finish(mistakes);
        for (other, first) in members.links.iter().zip(&places) {
            udp::note_same_socket(members, (&link, &place), (other, first), mistakes);
            ether::note_same_wire(members, (&link, &place), (other, first), mistakes);
            note_same_dongle(members, (&link, &place), (other, first), mistakes);
        }
        members.links.push(link);
        places.push(place);
    }
    let place = places.first().cloned().unwrap_or(0..0);
    for (id, name) in members.witness_ids() {
        if name.is_empty() || members.links.is_empty() {
            continue; // that has been noted
        }
        if !members.links.iter().any(|link| link.reaches(id)) {
            let title = format!("no link reaches the witness {name:?}");
            mistakes.add(place.clone(), title).hint(how_to_reach(members, name));
        }
    }
}

/// Returns what would make a link reach the witness `name`.
fn how_to_reach(members: &Members, name: &str) -> String {
    let address = format!("add `{name} = \"IP\"` to its members");
    let is_free = |link: &Link| link.serial().is_some_and(|serial| serial.witness.is_none());
    match members.links.iter().find(|link| is_free(link)) {
        None => address,
        Some(link) => {
            let wire = format!("if it is a dongle, add `witness = \"{name}\"` to {:?}", link.name);
            let has_udp = members.links.iter().any(|link| link.udp().is_some());
            if has_udp { format!("{address}, or {wire}") } else { wire }
        }
    }
}

/// Notes if a witness is a dongle on one link and something else on another.
fn note_same_dongle(
    members: &Members,
    link: (&Link, &Range<usize>),
    other: (&Link, &Range<usize>),
    mistakes: &mut Mistakes,
) {
    let ((link, place), (other, first)) = (link, other);
    let dongle = [link, other].into_iter().find_map(|link| link.serial()?.witness);
    let Some(witness) = dongle.filter(|id| link.reaches(*id) && other.reaches(*id)) else {
        return;
    };
    let (_, name) =
        members.witness_ids().find(|(id, _)| *id == witness).unwrap_or((witness, "of this number"));
    let hint = if link.serial().is_some() && other.serial().is_some() {
        "a dongle is one link: list all of a node's ports to it as one `device`"
    } else {
        "a dongle has no address; another machine needs a `[[witness]]` of its own"
    };
    mistakes
        .add(place.clone(), format!("the dongle {name:?} is on two links"))
        .label("this link")
        .other(first.clone(), "and this")
        .hint(hint);
}

/// The kinds of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Ether,
    Serial,
}

fn read_link(
    table: &mut Table<'_>,
    members: &mut Members,
    names: &mut Names,
    mistakes: &mut Mistakes,
) -> Link {
    let name = names.read(table, mistakes);
    let kind = match read_kind(table, mistakes) {
        Kind::Udp => LinkKind::Udp(udp::read(table, members, mistakes)),
        Kind::Ether => LinkKind::Ether(ether::read(table, members, mistakes)),
        Kind::Serial => LinkKind::Serial(serial::read(table, members, mistakes)),
    };
    Link { name, kind }
}

/// Returns the kind as written, or else the one that was probably meant.
fn read_kind(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Kind {
    let is_serial = table.has("device") && !table.has("adapter");
    let kind = table.parsed("kind", mistakes, |text| match text {
        "udp" => Ok(Kind::Udp),
        "ether" => Ok(Kind::Ether),
        "serial" => Ok(Kind::Serial),
        _ => Err(unknown_word("kind of link", text, &["udp", "ether", "serial"])),
    });
    if is_serial && !table.has("kind") {
        mistakes
            .add(table.span(), "a link with a `device` must say that it is serial")
            .hint("add `kind = \"serial\"`");
    }
    let probable = if is_serial { Kind::Serial } else { Kind::Udp };
    kind.map_or(probable, Spanned::into_inner)
}

/// Returns what family an address is of, for a mistake.
const fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "this is IPv4",
        IpAddr::V6(_) => "this is IPv6",
    }
}
