//! BIRD: one daemon for all protocols and both families.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{FAMILIES, Family, Protocol, Station, start_program, system};
use crate::trial::Trial;

/// What it tells of the kernel's table: our routes alone, by the number of their protocol. They
/// come before what others tell, or who takes over would wait until nobody does.
const KERNEL: &str = "protocol kernel { learn; FAMILY { preference 200; import filter \
    { if krt_source = 76 then accept; reject; }; \
    export filter { if source = RTS_INHERIT then reject; accept; }; }; }\n";

/// How BFD finds that a neighbour is dead.
const BFD: &str = "protocol bfd { interface \"eth*\" \
    { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }\n";

/// Starts it.
pub(super) fn start(
    trial: &mut Trial,
    station: &Station,
    folder: &Path,
    protocol: Protocol,
    has_bfd: bool,
) {
    let file = folder.join("bird.conf");
    fs::write(&file, settings(station, protocol, has_bfd)).expect("settings");
    let mut command = Command::new("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(file).arg("-s").arg(folder.join("bird.ctl"));
    start_program(trial, station, folder, command, "bird2");
}

fn settings(station: &Station, protocol: Protocol, has_bfd: bool) -> String {
    let mut text = format!("router id {};\nprotocol device {{ scan time 1; }}\n", station.id());
    if has_bfd {
        text += BFD;
    }
    let bfd = if has_bfd { "bfd on; " } else { "" };
    for family in FAMILIES {
        text += &KERNEL.replace("FAMILY", &format!("ipv{}", family.version));
        text += &match protocol {
            Protocol::Bgp => bgp(station, family, bfd),
            Protocol::Ospf => ospf(station, family, bfd),
        };
    }
    text
}

fn bgp(station: &Station, family: Family, bfd: &str) -> String {
    let version = family.version;
    let mut text = String::new();
    if station.is_router() {
        text += &format!("protocol direct {{ ipv{version}; interface \"eth0\"; }}\n");
    }
    for neighbour in station.neighbours(family) {
        text += &format!(
            "protocol bgp {{ local {} as {}; neighbor {} as {}; {bfd}hold time 3; \
             keepalive time 1; connect delay time 1; connect retry time 1; error wait time 1, 2; \
             ipv{version} {{ import all; export all; next hop self; }}; }}\n",
            neighbour.own,
            system(station.number),
            neighbour.other,
            neighbour.system,
        );
    }
    text
}

fn ospf(station: &Station, family: Family, bfd: &str) -> String {
    let version = family.version;
    let protocol = if version == 4 { "v2" } else { "v3" };
    let stub = if station.is_router() { "interface \"eth0\" { stub; }; " } else { "" };
    let adapters: Vec<String> =
        station.networks.iter().map(|(_, adapter)| format!("\"{adapter}\"")).collect();
    format!(
        "protocol ospf {protocol} {{ ipv{version} {{ import all; \
         export where source = RTS_INHERIT; }}; area 0 {{ {stub}\
         interface {} {{ type ptp; hello 1; dead 3; retransmit 2; {bfd}}}; }}; }}\n",
        adapters.join(", ")
    )
}
