//! What is done for those who reach a group's addresses when the server changes: `refresh` and
//! `tickle`.

use core::net::IpAddr;

use toml::Spanned;

use super::mistake::Mistakes;
use super::table::{Table, parsed_of};
use super::value;
use crate::address::ServiceAddress;

/// The most hosts that are asked for a group.
const MOST_REFRESHED: usize = 32;

/// What is done for those who reach a group's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Hosts that are asked from the group's addresses once it has moved, so that they learn where
    /// those are, whether or not this machine has heard of them.
    pub refresh: Vec<IpAddr>,
    /// Whether clients that are connected with the dead server are told that it is another.
    pub tickle: bool,
}

impl Callers {
    /// Reads them for a group with these addresses.
    pub(super) fn read(
        table: &mut Table<'_>,
        addresses: &[ServiceAddress],
        mistakes: &mut Mistakes,
    ) -> Self {
        let has_addresses = !addresses.is_empty();
        if !has_addresses && !table.has("addresses") {
            for key in ["refresh", "tickle"] {
                let hint = "nobody can be connected with a group that has no `addresses`";
                table.refuse(key, "a group without addresses", hint, mistakes);
            }
            return Self::default();
        }
        let tickle = table.boolean("tickle", true, mistakes) && has_addresses;
        Self { refresh: read_refresh(table, addresses, mistakes), tickle }
    }
}

fn read_refresh(
    table: &mut Table<'_>,
    addresses: &[ServiceAddress],
    mistakes: &mut Mistakes,
) -> Vec<IpAddr> {
    let Some(texts) = table.texts("refresh", mistakes) else { return Vec::new() };
    if let Some(text) = texts.get_ref().get(MOST_REFRESHED) {
        mistakes
            .add(text.span(), "too many hosts to refresh for one group")
            .label(format!("there can be {MOST_REFRESHED}"));
    }
    let mut hosts: Vec<Spanned<IpAddr>> = Vec::new();
    for text in texts.get_ref().iter().take(MOST_REFRESHED) {
        let host = parsed_of(text, "refresh", mistakes, value::ping_target);
        let Some(host) = host else { continue };
        let ip = *host.get_ref();
        if let Some(first) = hosts.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(text.span(), format!("`refresh` names {ip} twice"))
                .label("the second")
                .other(first.span(), "the first");
            continue;
        }
        if !addresses.is_empty() && !addresses.iter().any(|address| address.covers(ip)) {
            mistakes
                .add(text.span(), format!("{ip} is in no subnet of this group's addresses"))
                .label("it learns nothing: its router does")
                .hint("name hosts and routers of the same subnet; whoever is beyond needs nothing");
            continue;
        }
        hosts.push(host);
    }
    hosts.into_iter().map(Spanned::into_inner).collect()
}
