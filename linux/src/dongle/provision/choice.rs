//! What of the settings goes into a dongle: which witness, whom to reset, which ports and keys.

use heapless::Vec as Fixed;
use lifesign_core::dongle::settings::MAX_DONGLE_KEYS;
use lifesign_core::dongle::{MAX_NAME_LEN, MAX_PORTS, PortSettings};
use lifesign_core::node::{NodeId, NodeSet};
use lifesign_core::seal::{KEY_LEN, KeyId, Keyring};

use crate::page::unknown;
use crate::settings::Settings;

/// Returns which witness the dongle shall be: the one named, else the one that a serial link has,
/// else the only one.
pub(super) fn witness(settings: &Settings, name: Option<&str>) -> Result<NodeId, String> {
    let witnesses: Vec<(NodeId, &str)> =
        settings.members().filter(|(member, _)| member.is_witness()).collect();
    let names: Vec<&str> = witnesses.iter().map(|(_, name)| *name).collect();
    if names.is_empty() {
        return Err("the settings have no witness: add a [[witness]] for the dongle".to_owned());
    }
    if let Some(name) = name {
        let found = witnesses.iter().find(|(_, known)| *known == name);
        let unknown = || unknown("witness", name, names.iter().copied());
        return found.map(|(id, _)| *id).ok_or_else(unknown);
    }
    let mut on_lines = settings.links.iter().filter_map(|link| link.serial()?.witness);
    match (on_lines.next(), on_lines.next(), witnesses.as_slice()) {
        (Some(one), other, _) if other.is_none_or(|other| other == one) => Ok(one),
        (None, _, [(only, _)]) => Ok(*only),
        _ => Err(format!("which witness is it? Say --witness with one of {}", names.join(", "))),
    }
}

/// Returns whom the dongle can reset: those named, else what the settings say of its links.
pub(super) fn resets(settings: &Settings, me: NodeId, names: &[String]) -> Result<NodeSet, String> {
    if names.is_empty() {
        let links = settings.links.iter().filter_map(|link| link.serial());
        let own = links.filter(|link| link.witness == Some(me));
        return Ok(own.fold(NodeSet::EMPTY, |all, link| all.union(link.resets)));
    }
    let nodes = names.iter().map(|name| settings.known_node(name));
    nodes.collect::<Result<Vec<_>, _>>().map(|nodes| nodes.into_iter().collect())
}

/// The node at each port, and whether its reset line leads there.
pub(super) type Named = Vec<Option<(String, bool)>>;

/// Returns the ports in order, as they are stored and as people are told.
pub(super) fn ports(
    settings: &Settings,
    wanted: &[(u8, String)],
    mut resets: NodeSet,
) -> Result<(Fixed<PortSettings, MAX_PORTS>, Named), String> {
    let most = wanted.iter().map(|(number, _)| usize::from(*number)).max().unwrap_or(0);
    if most > MAX_PORTS || wanted.iter().any(|(number, _)| *number == 0) {
        return Err(format!("ports are numbered from 1 to {MAX_PORTS}"));
    }
    let mut ports: Fixed<PortSettings, MAX_PORTS> =
        core::iter::repeat_n(PortSettings::default(), most).collect();
    let mut named = vec![None; most];
    for (number, name) in wanted {
        let at = usize::from(*number) - 1;
        let id = settings.known_node(name)?;
        if named[at].is_some() {
            return Err(format!("port {number} is there twice"));
        }
        // The first port of a node has its reset line.
        let is_reset = resets.contains(id);
        resets.remove(id);
        ports[at].name = short(name);
        ports[at].resets = is_reset.then_some(id);
        named[at] = Some((name.clone(), is_reset));
    }
    if let Some(left) = resets.iter().next() {
        return Err(format!(
            "{} is to be reset, and no port leads there: say --port N={0}",
            settings.name_of(left)
        ));
    }
    Ok((ports, named))
}

/// Returns as much of `name` as a dongle keeps.
fn short(name: &str) -> heapless::String<MAX_NAME_LEN> {
    let mut short = heapless::String::new();
    for letter in name.chars() {
        // What does not fit is left away from there on.
        if short.push(letter).is_err() {
            break;
        }
    }
    short
}

/// The keys of a dongle.
pub(super) type Keys = Fixed<(KeyId, [u8; KEY_LEN]), MAX_DONGLE_KEYS>;

/// Returns the key that signs and the one that was added last, as far as a dongle keeps keys.
pub(super) fn keys(keyring: &Keyring, notes: &mut Vec<String>) -> Keys {
    let signer = keyring.signer();
    let all: Vec<(KeyId, _)> = keyring.secrets().collect();
    let signing = all.iter().filter(|(id, _)| *id == signer);
    let others = all.iter().rev().filter(|(id, _)| *id != signer);
    let keys: Keys =
        signing.chain(others).take(MAX_DONGLE_KEYS).map(|(id, secret)| (*id, **secret)).collect();
    let left: Vec<String> = all
        .iter()
        .filter(|(id, _)| keys.iter().all(|(kept, _)| kept != id))
        .map(|(id, _)| id.0.to_string())
        .collect();
    if !left.is_empty() {
        notes.push(format!(
            "a dongle keeps {MAX_DONGLE_KEYS} keys; it will not know key {}",
            left.join(" and ")
        ));
    }
    keys
}
