//! A router between the client and the servers, and the routing daemons of all of them.
//!
//! ```text
//! client 10.90.0.50 --- 10.90.0.2 router 10.91.0.2 --- 10.91.0.1 alpha
//!                                       10.92.0.2 --- 10.92.0.1 beta
//! ```
//!
//! Heartbeats have a network of their own. There the laboratory's switch asks both servers for the
//! service address again and again, whatever routers believe.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::Trial;

/// The router's name.
pub const ROUTER: &str = "router";
/// The service address behind it.
pub const ROUTED: &str = "192.0.2.77";

/// What routers tell each other by, with spans for a silent neighbour of two seconds or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// BGP between three systems; hold time 3 s, keepalives each second.
    Bgp,
    /// OSPF in one area; hello each second, dead after 3 s.
    Ospf,
}

/// What BIRD tells of the kernel's table: our routes alone, by the number of their protocol.
const BIRD: &str = "protocol device { scan time 1; }\n\
    protocol kernel { learn; ipv4 { import filter { if krt_source = 76 then accept; reject; }; \
    export filter { if source = RTS_INHERIT then reject; accept; }; }; }\n";

fn bird(name: &str, number: u8, protocol: Protocol) -> String {
    let mut text = format!("router id 10.{number}.0.1;\n{BIRD}");
    let is_router = name == ROUTER;
    let (from, to) = if is_router { (91, 92) } else { (number, number) };
    match protocol {
        Protocol::Bgp => {
            if is_router {
                text += "protocol direct { ipv4; interface \"eth0\"; }\n";
            }
            for network in from..=to {
                let (own, other) = if is_router { (2, 1) } else { (1, 2) };
                let (as_own, as_other) = if is_router { (90, network) } else { (network, 90) };
                let (as_own, as_other) = (65_000 + u32::from(as_own), 65_000 + u32::from(as_other));
                text += &format!(
                    "protocol bgp b{network} {{ local 10.{network}.0.{own} as {as_own}; \
                     neighbor 10.{network}.0.{other} as {as_other}; hold time 3; keepalive time 1; \
                     connect delay time 1; connect retry time 1; error wait time 1, 2; \
                     ipv4 {{ import all; export all; next hop self; }}; }}\n"
                );
            }
        }
        Protocol::Ospf => {
            let stub = if is_router { "interface \"eth0\" { stub; }; " } else { "" };
            let adapters = if is_router { "\"eth1\", \"eth2\"" } else { "\"eth1\"" };
            text += &format!(
                "protocol ospf v2 {{ ipv4 {{ import all; export where source = RTS_INHERIT; }}; \
                 area 0 {{ {stub}interface {adapters} {{ type ptp; hello 1; dead 3; }}; }}; }}\n"
            );
        }
    }
    text
}

/// Starts `command` on `name`, with its output in a file of this name.
fn start(trial: &mut Trial, name: &str, file: &str, mut command: Command) {
    let path = trial.cluster().directory().join(format!("{name}.{file}.log"));
    let log = File::create(path).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    let started = trial.cluster_mut().lab_mut().machine(name).start(command);
    started.unwrap_or_else(|error| panic!("{file} on {name}: {error}; install bird2, iproute2"));
}

fn shell(trial: &mut Trial, name: &str, script: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    start(trial, name, "shell", command);
}

/// Lets the router forward and the client use it, and starts the router's daemon.
pub fn start_router(trial: &mut Trial, protocol: Protocol) {
    shell(trial, ROUTER, "echo 1 >/proc/sys/net/ipv4/ip_forward");
    shell(trial, "client", "ip route add 192.0.2.0/24 via 10.90.0.2");
    start_daemon(trial, ROUTER, protocol);
}

/// Starts the routing daemon of a server or the router, also after a crash.
pub fn start_daemon(trial: &mut Trial, name: &str, protocol: Protocol) {
    let folder = trial.cluster().directory().join(format!("{name}.routing"));
    fs::create_dir_all(&folder).expect("a folder");
    let number = match name {
        ROUTER => 90,
        "alpha" => 91,
        _ => 92,
    };
    fs::write(folder.join("bird.conf"), bird(name, number, protocol)).expect("settings");
    let mut command = Command::new("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(folder.join("bird.conf"));
    command.arg("-s").arg(folder.join("bird.ctl"));
    start(trial, name, "bird", command);
}

/// Returns the router's way to the service address, in the words of `ip route`; empty if it has
/// none.
pub fn way(trial: &mut Trial) -> String {
    let router = trial.cluster_mut().lab_mut().machine(ROUTER);
    let ask = || Command::new("/bin/ip").args(["route", "show", ROUTED]).output();
    let output = router.within(ask).unwrap_or_else(|error| panic!("ip: {error}; install iproute2"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
