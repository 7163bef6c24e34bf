//! FRR: zebra, which has the kernel's table, and a daemon for each protocol.
//!
//! Its daemons change to a user of their own, which a namespace with one user does not have. As
//! root they stay what they are, and the group of their control sockets must be theirs.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use super::{FAMILIES, Protocol, Station, start_program, system};
use crate::trial::Trial;

/// What is passed on of the kernel's table: our routes alone, by their prefixes.
const OURS: &str = "ip prefix-list service seq 5 permit 192.0.2.77/32\n\
    ipv6 prefix-list service seq 5 permit 2001:db8::77/128\n\
    route-map four permit 10\n match ip address prefix-list service\n\
    route-map six permit 10\n match ipv6 address prefix-list service\n";

/// Starts zebra, and what speaks `protocol` when that can be used.
pub(super) fn start(trial: &mut Trial, station: &Station, folder: &Path, protocol: Protocol) {
    start_daemon(trial, station, folder, "zebra", &format!("hostname {}\n", station.name));
    let socket = folder.join("zebra.api");
    // Who does not find it at once asks again after ten seconds.
    trial.await_that("zebra listens", |_| UnixStream::connect(&socket).is_ok());
    match protocol {
        Protocol::Bgp => start_daemon(trial, station, folder, "bgpd", &bgp(station)),
        Protocol::Ospf => {
            start_daemon(trial, station, folder, "ospfd", &ospf(station, OSPF));
            start_daemon(trial, station, folder, "ospf6d", &ospf(station, OSPF6));
        }
    }
}

fn start_daemon(trial: &mut Trial, station: &Station, folder: &Path, name: &str, text: &str) {
    let file = folder.join(name).with_extension("conf");
    fs::write(&file, text).expect("settings");
    let mut command = Command::new(Path::new("/usr/lib/frr").join(name));
    command.args(["-u", "root", "-g", "frrvty", "-P", "0", "--log", "stdout", "-f"]).arg(file);
    command.arg("-i").arg(folder.join(name).with_extension("pid"));
    command.arg("-z").arg(folder.join("zebra.api")).arg("--vty_socket").arg(folder);
    start_program(trial, station, folder, command, "frr");
}

fn bgp(station: &Station) -> String {
    let mut text = format!(
        "{OURS}router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n timers bgp 1 3\n",
        system(station.number),
        station.id()
    );
    let told = if station.is_router() { "connected" } else { "kernel route-map" };
    for (family, map) in FAMILIES.iter().zip(["four", "six"]) {
        let map = if station.is_router() { "" } else { map };
        let mut active = String::new();
        for neighbour in station.neighbours(*family) {
            let name = &neighbour.other;
            text += &format!(
                " neighbor {name} remote-as {}\n neighbor {name} timers connect 1\n \
                 neighbor {name} advertisement-interval 0\n",
                neighbour.system
            );
            active += &format!("  neighbor {name} activate\n");
        }
        text += &format!(
            " address-family ipv{} unicast\n  redistribute {told} {map}\n{active} \
             exit-address-family\n",
            family.version
        );
    }
    text
}

/// How the versions of OSPF are written down.
struct Words {
    /// Before what an adapter is told.
    adapter: &'static str,
    /// The protocol, and what its number begins with.
    protocol: &'static str,
    id: &'static str,
    map: &'static str,
    /// What lets a route be told again at once, where it can be said.
    pace: &'static str,
}

const OSPF: Words = Words {
    adapter: "ip ospf",
    protocol: "ospf",
    id: "ospf router-id",
    map: "four",
    pace: " timers throttle lsa all 0\n timers lsa min-arrival 0\n",
};

const OSPF6: Words = Words {
    adapter: "ipv6 ospf6",
    protocol: "ospf6",
    id: "ospf6 router-id",
    map: "six",
    pace: " timers lsa min-arrival 0\n",
};

fn ospf(station: &Station, words: Words) -> String {
    let Words { adapter, protocol, id, map, pace } = words;
    let mut text = OURS.to_owned();
    for (_, name) in station.networks {
        text += &format!(
            "interface {name}\n {adapter} network point-to-point\n {adapter} area 0.0.0.0\n \
             {adapter} hello-interval 1\n {adapter} dead-interval 3\n"
        );
    }
    if station.is_router() {
        text += &format!("interface eth0\n {adapter} area 0.0.0.0\n {adapter} passive\n");
    }
    text += &format!("router {protocol}\n {id} {}\n{pace}", station.id());
    if !station.is_router() {
        text += &format!(" redistribute kernel route-map {map}\n");
    }
    text
}
