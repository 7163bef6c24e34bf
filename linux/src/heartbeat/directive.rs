//! Every directive of ha.cf, and what becomes of it.

use core::fmt;

use super::fault::Faults;
use super::ha_cf::{self, HaCf};
use super::line::{self, Line};
use super::medium;
use super::respawn;
use super::stonith;

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does here what it did there, or what stands in its place.
    Implemented,
    /// It is another word for something that is implemented.
    Aliased,
    /// It is read, has nothing to act on, and is remarked upon.
    Accepted,
    /// It is an error, because it asks for something that is not done.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Implemented => "implemented",
            Self::Aliased => "alias",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        })
    }
}

/// Takes a line of its directive in, or notes what is wrong.
pub type Reader = fn(&mut HaCf, &Line<'_>, &mut Faults);

/// A directive.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What it is for, or why it has nothing to act on, or why it is refused and what to do.
    pub help: &'static str,
    /// How it is read.
    pub read: Reader,
}

const fn implemented(name: &'static str, read: Reader, help: &'static str) -> Directive {
    Directive { name, verdict: Verdict::Implemented, help, read }
}

const fn alias(name: &'static str, read: Reader, help: &'static str) -> Directive {
    Directive { name, verdict: Verdict::Aliased, help, read }
}

const fn accepted(name: &'static str, read: Reader, help: &'static str) -> Directive {
    Directive { name, verdict: Verdict::Accepted, help, read }
}

const fn refused(name: &'static str, help: &'static str) -> Directive {
    Directive { name, verdict: Verdict::Refused, help, read: line::refuse }
}

/// Refused with more than its help.
const fn unread(name: &'static str, read: Reader, help: &'static str) -> Directive {
    Directive { name, verdict: Verdict::Refused, help, read }
}

/// Returns the directive called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name == name)
}

/// Returns the table for people, one line for each directive.
#[must_use]
pub fn table() -> String {
    let lines = DIRECTIVES
        .iter()
        .map(|Directive { name, verdict, help, .. }| format!("{name:<24} {verdict:<12} {help}"));
    lines.collect::<Vec<_>>().join("\n")
}

const NO_CRM: &str = "belongs to Pacemaker, which lifesign does not run; take the line out";
const NO_CLIENTS: &str = "lifesign has no clients that sign on; its control socket is root's";
const LOGS: &str = "lines go to standard error, which the service manager keeps";
const FRAMES: &str = "frames have one form, small and signed";
const MEMORY: &str = "the daemon locks what it has, and takes no more";
const GENERATION: &str = "each start draws a number of its own, and tokens are kept in state_dir";

/// Every directive.
pub const DIRECTIVES: &[Directive] = &[
    implemented("node", ha_cf::node, "the members; names are lower-cased"),
    implemented("cluster", ha_cf::cluster, "the cluster's name"),
    implemented("keepalive", ha_cf::keepalive, "how often a heartbeat is sent"),
    implemented("deadtime", ha_cf::deadtime, "after how much silence a node counts as dead"),
    implemented("warntime", ha_cf::warntime, "lateness is counted per link, see `lifesign status`"),
    implemented("initdead", ha_cf::initdead, "patience with absent nodes after a start"),
    implemented("deadping", ha_cf::deadping, "patience with pings follows from the dead time"),
    accepted("hopfudge", line::note_number, "a ring passes each frame on once"),
    implemented("udpport", medium::udp_port, "the UDP port of the media after it"),
    implemented("baud", medium::baud, "the speed of the serial lines after it"),
    implemented("bcast", medium::broadcast, "broadcasts on adapters"),
    implemented("mcast", medium::multicast, "multicasts on an adapter"),
    implemented("mcast6", medium::multicast6, "multicasts over IPv6"),
    implemented("ucast", medium::unicast, "frames to one peer after the other"),
    implemented("ucast6", medium::unicast6, "the same over IPv6"),
    implemented("serial", medium::serial, "null modem cables, or a ring of them"),
    alias("udp", medium::udp, "means bcast"),
    implemented("ping", ha_cf::ping, "machines that tell whether this node's network works"),
    alias("ping6", ha_cf::ping, "means ping"),
    implemented("ping_group", ha_cf::ping_group, "likewise: one that answers is enough"),
    refused("hbaping", "pings over Fibre Channel are not there; use ping, and a dongle"),
    refused("tipc", "is not there; use mcast or ucast"),
    refused("rds", "is not there; use mcast or ucast"),
    refused("openais", "is not there; use mcast or ucast"),
    refused("ppp-udp", "is not there; use serial, which needs no PPP"),
    implemented("auto_failback", ha_cf::auto_failback, "whether groups return to their home"),
    alias("nice_failback", ha_cf::nice_failback, "on means auto_failback off, off means legacy"),
    unread("stonith", stonith::stonith, "its file is not read; it says what to write"),
    implemented("stonith_host", stonith::stonith_host, "becomes `[[node.fence]]`"),
    implemented(
        "watchdog",
        ha_cf::watchdog,
        "resets a machine on which nothing is stopped in time",
    ),
    implemented("respawn", respawn::respawn, "programs become `[[client]]`; ipfail is built in"),
    implemented("failfast", respawn::failfast, "ipfail is built in; other clients are refused"),
    accepted("apiauth", line::note, NO_CLIENTS),
    accepted("env", line::note, NO_CLIENTS),
    accepted("logfacility", line::note, LOGS),
    accepted("logfile", line::note, LOGS),
    accepted("debugfile", line::note, LOGS),
    accepted("use_logd", line::note_boolean, LOGS),
    accepted("conn_logd_time", line::note_span, LOGS),
    accepted("syslogmsgfmt", line::note_boolean, LOGS),
    accepted("debug", line::note_number, "`record` in the settings keeps all there is to see"),
    accepted("coredumps", line::note_boolean, "the service manager's LimitCORE decides"),
    accepted("coreroot", line::note, "the kernel's core_pattern decides"),
    accepted("realtime", line::note_boolean, "real-time priority is taken wherever it is allowed"),
    accepted("rtprio", line::note_number, "the priority is fixed, below the kernel's own threads"),
    accepted("memreserve", line::note_number, MEMORY),
    accepted("hbgenmethod", line::note, GENERATION),
    accepted("uuidfrom", line::note, "nodes are known by their names"),
    implemented("autojoin", ha_cf::autojoin, "members are those that are named"),
    accepted("max_rexmit_delay", line::note_number, "nothing is sent twice: each frame says all"),
    accepted("msgfmt", line::note, FRAMES),
    accepted("compression", line::note, FRAMES),
    accepted("compression_threshold", line::note_number, FRAMES),
    accepted("traditional_compression", line::note_boolean, FRAMES),
    accepted(
        "log_badpack",
        line::note_boolean,
        "they are counted, and an alert tells of forgeries",
    ),
    implemented("quorum_server", ha_cf::quorum_server, "the witness: run `lifesign witness` there"),
    accepted("normalpoll", line::note_boolean, "there is one way to poll"),
    implemented("use_apphbd", ha_cf::apphbd, "only off; the service manager's watchdog does it"),
    implemented("crm", ha_cf::crm, "only off"),
    alias("pacemaker", ha_cf::crm, "means crm"),
    refused("crm_daemon_dir", NO_CRM),
    refused("crmd_spawns_pengine", NO_CRM),
    refused("record_config_changes", NO_CRM),
    refused("record_pengine_inputs", NO_CRM),
    refused("enable_config_writes", NO_CRM),
];
