//! The fence devices of Linux-HA, made into fences of nodes.
//!
//! A line names a plug-in of cluster-glue and its parameters in the order in which the plug-in
//! lists their names; the last one has all the rest. Where a plug-in needs a password the line is
//! refused with what to write, for settings have none, and no password is shown.

use super::fault::{Faults, Place, shown};
use super::ha_cf::{HaCf, Said};
use super::line::Line;
use super::text::{Text, quoted};
use crate::settings::fence::is_secret;

/// A fence device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The machine to which it is connected, if not to all.
    pub from: Option<String>,
    /// Whom it makes silent.
    pub hosts: Vec<String>,
    /// What does it, or a person if there is nothing.
    pub agent: Option<String>,
    /// What it is told: names and values.
    pub parameters: Vec<(String, String)>,
}

/// A plug-in.
struct PlugIn {
    /// Its name after `external/`, or that of one that was written in C.
    name: &'static str,
    /// The names of its parameters, in the order of its lines.
    names: &'static [&'static str],
    /// What does the same here.
    same: Same,
}

/// What does the same here as a plug-in.
enum Same {
    /// The plug-in itself, which is told whom it can fence by its first parameter.
    Itself,
    /// A plug-in of this name, told alike.
    PlugIn(&'static str),
    /// A person.
    Person,
    /// An agent that is called otherwise: its name, and that of each parameter, or nothing where
    /// there is none.
    Agent(&'static str, &'static [&'static str]),
    /// Nothing, for this reason; and what to do.
    Nothing(&'static str),
}

use Same::{Agent, Itself, Nothing, Person};

const fn plug_in(name: &'static str, names: &'static [&'static str], same: Same) -> PlugIn {
    PlugIn { name, names, same }
}

const SERIAL: &str = "a dongle with a reset line does it: write `resets` in its `[[link]]`";
const SILENT: &str = "it makes nothing silent; name a device that does";

/// The scripts, by their names after `external/`, as cluster-glue 1.0.12 has them.
const EXTERNAL: &[PlugIn] = &[
    plug_in("drac5", &["hostname", "ipaddr", "userid"], Itself),
    plug_in("hetzner", &["hostname", "remote_ip"], Itself),
    plug_in("hmchttp", &["hostlist", "hmc_ipaddr", "user", "password"], Itself),
    plug_in("ibmrsa", &["hostname", "ipaddr", "userid", "passwd", "type"], Itself),
    plug_in("ipmi", &["hostname", "ipaddr", "userid", "passwd", "interface"], Itself),
    plug_in("kdumpcheck", &["hostlist", "identity_file"], Nothing(SILENT)),
    plug_in("libvirt", &["hostlist", "hypervisor_uri", "reboot_method"], Itself),
    plug_in("rackpdu", &["hostlist", "pduip", "community"], Itself),
    plug_in("riloe", &["hostlist", "ilo_hostname", "ilo_user", "ilo_password"], Itself),
    plug_in("ssh", &["hostlist"], Itself),
    plug_in("xen0", &["hostlist", "dom0"], Itself),
    plug_in("xen0-ha", &["hostlist", "dom0_cluster_ip", "timeout"], Itself),
];

/// Those that were written in C.
const IN_C: &[PlugIn] = &[
    plug_in("meatware", &["hostlist"], Person),
    plug_in("ssh", &["hostlist"], Same::PlugIn("external/ssh")),
    plug_in("null", &["hostlist"], Nothing(SILENT)),
    plug_in("suicide", &[], Nothing("whom nobody hears cannot be asked; name another device")),
    plug_in("apcmaster", &["ipaddr", "login", "password"], APC),
    plug_in("apcmastersnmp", &["ipaddr", "port", "community"], APC_SNMP),
    plug_in("drac3", &["host", "login", "password"], DRAC),
    plug_in(
        "ipmilan",
        &["hostname", "ipaddr", "port", "auth", "priv", "login", "password"],
        Agent("fence_ipmilan", &["", "ip", "ipport", "auth", "privlvl", "username", "password"]),
    ),
    plug_in("wti_nps", &["ipaddr", "password"], Agent("fence_wti", &["ip", "password", "plug"])),
    plug_in("apcsmart", &["ttydev", "hostlist"], Nothing(SERIAL)),
    plug_in("nw_rpc100s", &["ttydev", "hostlist"], Nothing(SERIAL)),
    plug_in("rcd_serial", &["hostlist", "ttydev", "dtr_rts", "msduration"], Nothing(SERIAL)),
    plug_in("rps10", &["serial_to_targets"], Nothing(SERIAL)),
];

const APC: Same = Agent("fence_apc", &["ip", "username", "password", "plug"]);
const APC_SNMP: Same = Agent("fence_apc_snmp", &["ip", "udpport", "community", "plug"]);
const DRAC: Same = Agent("fence_drac", &["ip", "username", "password"]);

const NO_SUCH: &str = "give each node a `[[node.fence]]` with an agent that this machine has: \
    \"fence_NAME\" or \"external/NAME\"; `lifesign check` says what it must be told";

/// Returns the plug-in that is called `kind`.
fn find(kind: &str) -> Option<&'static PlugIn> {
    match kind.strip_prefix("external/") {
        Some(name) => EXTERNAL.iter().find(|plug_in| plug_in.name == name),
        None => IN_C.iter().find(|plug_in| plug_in.name == kind),
    }
}

pub(super) fn stonith_host(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let rest = line.text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    let Some((from, rest)) = word(rest) else {
        return line.wrong(faults, "a host and a type are missing", "take the line out");
    };
    let Some((kind, rest)) = word(rest) else {
        return line.wrong(faults, "a type is missing", "take the line out");
    };
    let from = (from != "*").then(|| from.to_lowercase());
    add(ha, line, (from, kind, Some(rest)), faults);
}

/// The parameters are in a file, which is not read: it is this machine's alone.
pub(super) fn stonith(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    match line.text.split_whitespace().nth(1) {
        Some(kind) => add(ha, line, (None, kind, None), faults),
        None => line.wrong(faults, "a type is missing", "take the line out"),
    }
}

/// Returns the first word of a text, and what comes after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (!text.is_empty()).then(|| text.split_at(end))
}

/// Takes a device in, with its parameters if they are known.
fn add(
    ha: &mut HaCf,
    line: &Line<'_>,
    (from, kind, told): (Option<String>, &str, Option<&str>),
    faults: &mut Faults,
) {
    // What comes behind the type may be a password.
    let mut wrong = |what: &str, hint: &str| {
        let line_said = format!("{} {}", line.directive.name, shown(kind));
        faults.add(line.place, format!("{line_said}: {what}"), hint);
    };
    let Some(plug_in) = find(kind) else {
        return wrong("it is not known how it is told what", NO_SUCH);
    };
    let parameters = told.map(|told| named(plug_in.names, told)).unwrap_or_default();
    let agent = match &plug_in.same {
        Nothing(hint) => return wrong("it cannot be taken over", hint),
        Agent(name, names) => {
            return wrong("another agent does it here", &hint(name, names, plug_in, &parameters));
        }
        Person => None,
        Itself => Some(kind.to_owned()),
        Same::PlugIn(name) => Some((*name).to_owned()),
    };
    let is_whole = parameters.iter().any(|(_, value)| !value.is_empty());
    if plug_in.names.iter().any(|name| is_secret(name)) || !is_whole {
        let what = if is_whole { "it needs a password" } else { "its parameters are not here" };
        let agent = agent.as_deref().unwrap_or("a person");
        return wrong(what, &hint(agent, plug_in.names, plug_in, &parameters));
    }
    let hosts = hosts_of(parameters.first().map_or("", |(_, value)| value.as_str()));
    let value = Device { from, hosts, agent, parameters };
    ha.devices.push(Said { value, place: line.place });
}

/// Returns each parameter with its name; the last has all the rest.
fn named(names: &[&str], told: &str) -> Vec<(String, String)> {
    let mut rest = told;
    let mut parameters = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let Some((value, after)) = word(rest) else { break };
        let is_last = at + 1 == names.len();
        let value = if is_last { rest.trim() } else { value };
        parameters.push(((*name).to_owned(), value.to_owned()));
        rest = after;
    }
    parameters
}

/// Returns the machines in a list such as `one,two:domain`.
fn hosts_of(list: &str) -> Vec<String> {
    let hosts = list.split([',', ' ', '\t']).filter(|host| !host.is_empty());
    hosts.map(|host| host.split(':').next().unwrap_or(host).to_lowercase()).collect()
}

/// Returns what to write in place of a line, told by `names` what the plug-in was told.
fn hint(agent: &str, names: &[&str], plug_in: &PlugIn, told: &[(String, String)]) -> String {
    let value = |name: &&str| told.iter().find(|(other, _)| other == *name).map(|(_, value)| value);
    let mut parameters = Vec::new();
    let mut secrets = Vec::new();
    for (at, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if is_secret(name) {
            secrets.push(format!("{name} = \"/etc/lifesign/NODE.{name}\""));
        } else {
            let known = plug_in.names.get(at).and_then(value).map_or("..", String::as_str);
            parameters.push(format!("{name} = {}", quoted(known)));
        }
    }
    let parameters = parameters.join(", ");
    let (secrets, file) = match secrets.as_slice() {
        [] => (String::new(), ""),
        secrets => (
            format!(", secrets = {{ {} }}", secrets.join(", ")),
            ", and the password into that file, mode 600",
        ),
    };
    let agent = quoted(agent);
    format!(
        "import without the line, and write in the `[[node]]` that it makes silent: fence = [{{ \
         agent = {agent}, parameters = {{ {parameters} }}{secrets} }}]{file}"
    )
}

/// Notes where devices fence strangers, or not everybody, or cannot be used by all others.
pub(super) fn check(ha: &HaCf, faults: &mut Faults) {
    // That there are no nodes is told by itself.
    if ha.nodes.is_empty() {
        return;
    }
    let nodes = || ha.nodes.iter().map(|node| &node.value);
    for Said { value: device, place } in &ha.devices {
        let strangers = device.hosts.iter().chain(&device.from);
        for host in strangers.filter(|host| !nodes().any(|node| node == *host)) {
            let what = format!("there is no node {}", shown(host));
            faults.add(*place, what, "name nodes as `node` does");
        }
    }
    let Some(first) = ha.devices.first() else { return };
    for target in nodes() {
        let others = || nodes().filter(|node| *node != target);
        let cut = |said: &&Said<Device>| said.value.hosts.contains(target);
        if !ha.devices.iter().any(|said| cut(&said)) {
            let what = format!("nothing fences {target}, and others are fenced");
            faults.add(first.place, what, format!("add a line for {target}, or take all out"));
        }
        for Said { value: device, place } in ha.devices.iter().filter(cut) {
            let has = |node: &String| {
                let like = |said: &&Said<Device>| {
                    let other = &said.value;
                    other.agent == device.agent && other.parameters == device.parameters
                };
                let mut same = ha.devices.iter().filter(like);
                same.any(|said| said.value.from.as_ref().is_none_or(|from| from == node))
            };
            if let Some(without) = others().find(|node| !has(node)) {
                faults.add(
                    *place,
                    format!("{without} has no way to it, and would have to fence {target}"),
                    "write * in place of the host if every node can reach the device",
                );
            }
        }
    }
}

/// Writes what fences `node`, each device once.
pub(super) fn write(text: &mut Text, node: &str, devices: &[Said<Device>]) {
    let mut written: Vec<&Device> = Vec::new();
    for Said { value: device, place } in devices {
        let is_same =
            |other: &&Device| other.agent == device.agent && other.parameters == device.parameters;
        if !device.hosts.iter().any(|host| host == node) || written.iter().any(is_same) {
            continue;
        }
        written.push(device);
        write_device(text, node, *place, device);
    }
}

fn write_device(text: &mut Text, node: &str, place: Place, device: &Device) {
    let Some(agent) = &device.agent else {
        text.remark(&format!("{place}: a person says it: `lifesign fence confirm {node}`"));
        return;
    };
    text.table("[[node.fence]]");
    text.remark(&format!("{place}"));
    text.key("agent", &quoted(agent));
    let pair = |(name, value): &(String, String)| format!("{} = {}", quoted(name), quoted(value));
    let pairs: Vec<String> = device.parameters.iter().map(pair).collect();
    text.key("parameters", &format!("{{ {} }}", pairs.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parameter_has_all_the_rest() {
        let pairs = named(&["hostlist", "dom0"], " one,two   a b\tc ");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("hostlist", "one,two"), pair("dom0", "a b\tc")]);
        assert_eq!(named(&["hostlist"], "one two"), [pair("hostlist", "one two")]);
        assert_eq!(named(&["a", "b"], "x"), [pair("a", "x")]);
        assert_eq!(hosts_of("One, two:domain"), ["one", "two"]);
    }
}
