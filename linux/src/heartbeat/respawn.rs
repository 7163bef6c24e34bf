//! The programs that Linux-HA kept running, made into clients.

use super::fault::{Faults, Place};
use super::ha_cf::{HaCf, Said};
use super::line::Line;
use super::text::{Text, listed, quoted};
use crate::settings::client::{MOST, is_user};

/// A program that is kept running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respawned {
    /// A name, different from those of the others.
    pub name: String,
    /// As whom it runs.
    pub user: String,
    /// Its absolute path and its arguments.
    pub command: Vec<String>,
}

const IPFAIL: &str = "built in: with a `ping` and a serial link, a node whose network is down \
    gives its groups to one that clients can reach";

/// Programs of Linux-HA itself, with what stands in their place. They speak to its API, which is
/// not there.
const KNOWN: [(&str, &str); 9] = [
    (
        "dopd",
        "guard = \"fence\" does it: the peer is certainly off before DRBD is promoted here; take \
         the line out, and fence-peer handlers out of drbd.conf",
    ),
    ("ccm", "membership is built in; take the line out"),
    ("cib", NO_PACEMAKER),
    ("crmd", NO_PACEMAKER),
    ("pingd", "write `ping` lines; take the line out"),
    ("stonithd", "write a `[[node.fence]]` for each node; take the line out"),
    ("lha-snmpagent", "let SNMP ask `lifesign status --json`; take the line out"),
    ("hbagent", "let SNMP ask `lifesign status --json`; take the line out"),
    ("mgmtd", NO_PACEMAKER),
];

const NO_PACEMAKER: &str = "it belongs to Pacemaker; take the line out";

/// Returns the user and the words of the command. Only blanks part words here.
fn words<'t>(line: &Line<'t>) -> Vec<&'t str> {
    line.text.split_whitespace().skip(1).collect()
}

fn program<'t>(words: &[&'t str]) -> Option<&'t str> {
    words.get(1).and_then(|path| path.rsplit('/').next())
}

pub(super) fn respawn(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let words = words(line);
    let (Some(program), [user, command @ ..]) = (program(&words), words.as_slice()) else {
        return line.wrong(faults, "a user and a path are missing", "take the line out");
    };
    if program == "ipfail" {
        return line.remark(ha, IPFAIL);
    }
    if let Some((_, hint)) = KNOWN.iter().find(|(name, _)| *name == program) {
        let what = format!("{program} speaks to Linux-HA, which does not run");
        return line.wrong(faults, &what, *hint);
    }
    if !is_user(user) {
        return line.wrong(faults, "no user is called so", "name the user before the path");
    }
    if !command.first().is_some_and(|path| path.starts_with('/')) {
        return line.wrong(faults, "the path is not absolute", "write the whole path");
    }
    if ha.clients.len() == MOST {
        let what = format!("there are {MOST} clients already");
        return line.wrong(faults, &what, "make it a unit of the service manager");
    }
    let value = Respawned {
        name: name_for(program, &ha.clients),
        user: (*user).to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
    };
    ha.clients.push(Said { value, place: line.place });
}

/// Returns a name for `program` that is not taken.
fn name_for(program: &str, taken: &[Said<Respawned>]) -> String {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let plain: String = program.chars().filter(|letter| is_letter(*letter)).take(50).collect();
    let plain = plain.trim_start_matches(['-', '.', '_']);
    let plain = if plain.is_empty() { "client" } else { plain };
    let is_free = |name: &String| !taken.iter().any(|other| other.value.name == *name);
    let numbered = (2..).map(|number| format!("{plain}-{number}"));
    let mut names = core::iter::once(plain.to_owned()).chain(numbered);
    names.find(is_free).unwrap_or_default()
}

pub(super) fn failfast(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    match program(&words(line)) {
        Some("ipfail") => line.remark(ha, IPFAIL),
        Some(_) => line.wrong(
            faults,
            "no machine is restarted because a client has died",
            "make it a service of a group, which moves when its monitor finds it dead, or write \
             `respawn`",
        ),
        None => line.wrong(faults, "a user and a path are missing", "take the line out"),
    }
}

/// Writes the clients.
pub(super) fn write(text: &mut Text, clients: &[Said<Respawned>]) {
    for Said { value: Respawned { name, user, command }, place } in clients {
        text.table("[[client]]");
        remark(text, *place);
        text.key("name", &quoted(name));
        text.key("command", &listed(command));
        text.key("user", &quoted(user));
    }
}

fn remark(text: &mut Text, place: Place) {
    text.remark(&format!(
        "{place}: started again when it ends, unless by exit status 100; it finds no API"
    ));
}
