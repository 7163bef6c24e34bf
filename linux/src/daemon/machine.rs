//! What a machine must have before a daemon starts on it.

use std::fs;

use lifesign_core::node::NodeId;

use super::StartError;
use crate::agent::Places;
use crate::agent::inspect::{Lack, inspect};
use crate::settings::{LoadError, Settings};

/// Every adapter that a link or an address names must be there at the start.
pub(super) fn check_adapters(settings: &Settings, me: NodeId) -> Result<(), String> {
    let linked = settings
        .links()
        .filter_map(|(_, link)| Some((link.adapter(me)?, format!("of link \"{}\"", link.name))));
    let serving = settings.groups().flat_map(|(_, group)| {
        let of = format!("of group \"{}\"", group.name);
        let named = group
            .addresses
            .iter()
            .map(|address| address.adapter.as_str())
            .filter(|name| !name.is_empty());
        named.map(move |adapter| (adapter, of.clone()))
    });
    for (adapter, of) in linked.chain(serving) {
        if nix::net::if_::if_nametoindex(adapter).is_err() {
            let there = nix::net::if_::if_nameindex().map(|list| {
                let names: Vec<String> =
                    list.iter().map(|one| one.name().to_string_lossy().into_owned()).collect();
                names.join(", ")
            });
            let there = there.unwrap_or_default();
            return Err(format!("no adapter \"{adapter}\" {of} on this machine; it has {there}"));
        }
    }
    Ok(())
}

/// Leads every agent to its program on this machine, which is node `me`, and returns what is not
/// wise about them. The `settings` are those of a file: its path and its text.
///
/// # Errors
/// An agent is not here or does not know its parameters, or agents could not keep their state.
pub(super) fn prepare_agents(
    settings: &mut Settings,
    me: NodeId,
    file: (&str, &str),
) -> Result<Vec<String>, StartError> {
    let places = Places::here();
    places.settle(settings);
    let advice = inspect(settings, me, file, Lack::Refused)
        .map_err(|mistakes| StartError::Settings(LoadError::Wrong(mistakes)))?;
    places.prepare(settings, me).map_err(StartError::Refused)?;
    Ok(advice)
}

/// Whoever runs this must be allowed to change addresses and to speak for them.
pub(super) fn check_rights() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    // Where the kernel does not tell, what is refused later says so itself.
    let Some(rights) = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()) else {
        return Ok(());
    };
    let needed = [(CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_NET_RAW, "CAP_NET_RAW")];
    match needed.into_iter().find(|(number, _)| rights >> number & 1 == 0) {
        Some((_, name)) => Err(format!(
            "this user may not change addresses: {name} is missing; run lifesign as root"
        )),
        None => Ok(()),
    }
}

/// The right to change addresses, adapters and packet filters.
const CAP_NET_ADMIN: u32 = 12;
/// The right to speak in any protocol.
const CAP_NET_RAW: u32 = 13;
