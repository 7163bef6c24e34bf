//! The cluster on which rounds are played: its groups, their services and their settings.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::fences;
use super::ledger::Listed;
use crate::trial::{Setup, Trial};

/// Which members there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Three servers.
    Three,
    /// Two servers and a quorum server.
    Pair,
}

impl Shape {
    /// Returns the shape of this name: `three` or `pair`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Three, Self::Pair].into_iter().find(|shape| shape.word() == word)
    }

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Three => "three",
            Self::Pair => "pair",
        }
    }

    /// Returns the servers.
    #[must_use]
    pub const fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Three => &["alpha", "beta", "gamma"],
            Self::Pair => &["alpha", "beta"],
        }
    }

    /// Returns what the trial is built from: two networks, and a group for each way to serve.
    pub(super) fn setup(self) -> Setup {
        let setup = match self {
            Self::Three => Setup::three(),
            Self::Pair => Setup::pair().with_longest_promise("8s"),
        };
        setup
            .with_second_link()
            .with_spans(SPANS)
            .with_each(fences::TABLE)
            .with_group(APP, self.nodes())
            .with_group(DISK, self.nodes())
            .with_table(WWW, "address", &own_services(services_of(WWW)))
            .with_table(APP, "stop", &agents(services_of(APP)))
            .with_table(DISK, "fence", &own_services(services_of(DISK)))
    }
}

/// The group whose address alone counts; its services are commands.
pub(super) const WWW: &str = "www";

/// The group that has to have stopped before it starts elsewhere; its services are OCF agents.
pub(super) const APP: &str = "app";

/// The group that never starts while another node could still run it.
pub(super) const DISK: &str = "disk";

/// The groups, in the order in which they are watched.
pub(super) const GROUPS: [&str; 3] = [WWW, APP, DISK];

/// Returns the services of a group, in the order of their start.
pub(super) fn services_of(group: &str) -> &'static [&'static str] {
    match group {
        WWW => &["db", "web"],
        APP => &["one", "two"],
        _ => &["data"],
    }
}

/// Returns whose records are read, and which laws they keep.
pub(super) fn listed() -> Vec<Listed> {
    let listed = |name| Listed { name, services: services_of(name), is_exclusive: name != WWW };
    GROUPS.map(listed).into()
}

/// Spans that a busy machine keeps, at which a failover still takes but seconds.
const SPANS: &str = "heartbeat = \"100ms\"\ndead = \"1s\"\npromise = \"1500ms\"\n\
    settle = \"2s\"\noffer = \"1s\"\n";

/// Every limit, with much room for a machine that does other things.
const LIMITS: &str = "start_limit = \"15s\"\nstop_limit = \"3s\"\nmonitor_limit = \"15s\"\n\
    monitor_interval = \"1500ms\"\nrestarts = 9\n";

/// Returns services whose commands are the script.
fn own_services(names: &[&str]) -> String {
    let of = |name: &&str| {
        let command = |action| format!("[\"DIRECTORY/service\", \"{action}\"]");
        format!(
            "[[group.service]]\nname = \"{name}\"\nstart = {}\nstop = {}\nmonitor = {}\n{LIMITS}",
            command("start"),
            command("stop"),
            command("monitor")
        )
    };
    format!("{WINDOW}{}", names.iter().map(of).collect::<String>())
}

/// Returns services that are OCF agents, all of them the script.
fn agents(names: &[&str]) -> String {
    let of = |name: &&str| {
        format!("[[group.service]]\nname = \"{name}\"\nagent = \"ocf:own:service\"\n{LIMITS}")
    };
    format!("{WINDOW}{}", names.iter().map(of).collect::<String>())
}

/// A failure of one round is forgotten in the next.
const WINDOW: &str = "failure_window = \"5s\"\n";

/// The services: each is a process that waits at a pipe which bears its name, and each start and
/// stop is written down.
const SERVICE: &str = "#!/bin/sh
cd DIRECTORY || exit 1
me=$LIFESIGN_NODE.$LIFESIGN_GROUP.$LIFESIGN_SERVICE
note() { echo \"$LIFESIGN_NODE $LIFESIGN_GROUP $LIFESIGN_SERVICE $1 $LIFESIGN_TOKEN\" >>ledger; }
runs() { [ -e $me.pid ] && kill -0 $(cat $me.pid) 2>/dev/null; }
case $1 in
start)
    note starting
    if ! runs; then
        [ -p $me.pipe ] || mkfifo $me.pipe
        sh -c 'read line <\"$0\"' $me.pipe </dev/null >/dev/null 2>&1 &
        echo $! >$me.pid
    fi
    note started ;;
stop)
    note stopping
    if runs; then kill -9 $(cat $me.pid); while runs; do sleep 0.01; done; fi
    rm -f $me.pid
    note stopped ;;
monitor) runs || exit 7 ;;
meta-data) echo '<resource-agent><parameters/></resource-agent>' ;;
*) exit 3 ;;
esac
";

/// Writes the scripts, where commands and agents are looked for.
///
/// # Panics
/// Where the files cannot be written.
pub(super) fn write_services(trial: &mut Trial) {
    let place = trial.cluster().directory().to_owned();
    fs::create_dir_all(place.join("fences")).expect("a folder");
    let service = "ocf/resource.d/own/service";
    for (name, text) in [("service", SERVICE), (service, SERVICE), ("fence_lab", fences::AGENT)] {
        let path = place.join(name);
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(&path, text.replace("DIRECTORY", &place.display().to_string()))
            .expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
    }
    trial.cluster_mut().set_environment("OCF_ROOT", &place.join("ocf"));
    trial.cluster_mut().set_environment("HA_RSCTMP", &place.join("temporary"));
}
