//! A router between the client and the servers, and the routing daemons of all of them.
//!
//! ```text
//! client 10.90.0.50 --- 10.90.0.2 router 10.91.0.2 --- 10.91.0.1 alpha
//!        fd90::50       fd90::2          10.92.0.2 --- 10.92.0.1 beta, likewise with fd91 and fd92
//! ```
//!
//! Heartbeats have a network of their own. There the laboratory's switch asks both servers for the
//! service address of IPv4 again and again, whatever routers believe.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::Trial;

/// The router's name.
pub const ROUTER: &str = "router";
/// The service address behind it.
pub const ROUTED: &str = "192.0.2.77";
/// The service address of IPv6 behind it.
pub const ROUTED_V6: &str = "2001:db8::77";

/// What routers tell each other by, with spans for a silent neighbour of two seconds or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// BGP between three systems; hold time 3 s, keepalives each second.
    Bgp,
    /// OSPF in one area, in version 3 for IPv6; hello each second, dead after 3 s.
    Ospf,
}

/// What BIRD tells of the kernel's table: our routes alone, by the number of their protocol.
const KERNEL: &str = "protocol kernel { learn; FAMILY { import filter \
    { if krt_source = 76 then accept; reject; }; \
    export filter { if source = RTS_INHERIT then reject; accept; }; }; }\n";

/// Returns what the daemon of a server with this number is told, or the router's.
fn bird(name: &str, number: u8, protocol: Protocol) -> String {
    let families = [("ipv4", "10.", ".0."), ("ipv6", "fd", "::")];
    let each = families.map(|family| bird_of(family, name == ROUTER, number, protocol));
    let head = format!("router id 10.{number}.0.1;\nprotocol device {{ scan time 1; }}\n");
    head + &each.concat()
}

/// The same for one family, whose addresses are `begin`, the network, `middle` and a number.
fn bird_of(
    (family, begin, middle): (&str, &str, &str),
    is_router: bool,
    number: u8,
    protocol: Protocol,
) -> String {
    let mut text = KERNEL.replace("FAMILY", family);
    let (from, to) = if is_router { (91, 92) } else { (number, number) };
    match protocol {
        Protocol::Bgp => {
            if is_router {
                text += &format!("protocol direct {{ {family}; interface \"eth0\"; }}\n");
            }
            for network in from..=to {
                let (own, other) = if is_router { (2, 1) } else { (1, 2) };
                let (as_own, as_other) = if is_router { (90, network) } else { (network, 90) };
                let (as_own, as_other) = (65_000 + u32::from(as_own), 65_000 + u32::from(as_other));
                text += &format!(
                    "protocol bgp {{ local {begin}{network}{middle}{own} as {as_own}; \
                     neighbor {begin}{network}{middle}{other} as {as_other}; hold time 3; \
                     keepalive time 1; connect delay time 1; connect retry time 1; \
                     error wait time 1, 2; \
                     {family} {{ import all; export all; next hop self; }}; }}\n"
                );
            }
        }
        Protocol::Ospf => {
            let version = if family == "ipv4" { "v2" } else { "v3" };
            let stub = if is_router { "interface \"eth0\" { stub; }; " } else { "" };
            let adapters = if is_router { "\"eth1\", \"eth2\"" } else { "\"eth1\"" };
            text += &format!(
                "protocol ospf {version} {{ {family} {{ import all; \
                 export where source = RTS_INHERIT; }}; area 0 {{ {stub}\
                 interface {adapters} {{ type ptp; hello 1; dead 3; }}; }}; }}\n"
            );
        }
    }
    text
}

/// Lets the router forward and the client use it, and starts every routing daemon.
pub fn start_routing(trial: &mut Trial, protocol: Protocol) {
    for (name, words) in [
        (ROUTER, "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"),
        (ROUTER, "ip addr add fd90::2/64 dev eth0 nodad"),
        (ROUTER, "ip addr add fd91::2/64 dev eth1 nodad"),
        (ROUTER, "ip addr add fd92::2/64 dev eth2 nodad"),
        ("alpha", "ip addr add fd91::1/64 dev eth1 nodad"),
        ("beta", "ip addr add fd92::1/64 dev eth1 nodad"),
        ("client", "ip addr add fd90::50/64 dev eth1 nodad"),
        ("client", "ip route add 192.0.2.0/24 via 10.90.0.2"),
        ("client", "ip route add 2001:db8::/64 via fd90::2"),
    ] {
        trial.run_on(name, words);
    }
    for name in [ROUTER, "alpha", "beta"] {
        start_daemon(trial, name, protocol);
    }
}

/// Starts the routing daemon of a server or the router.
fn start_daemon(trial: &mut Trial, name: &str, protocol: Protocol) {
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
    let log = File::create(folder.join("log")).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    let started = trial.cluster_mut().lab_mut().machine(name).start(command);
    started.unwrap_or_else(|error| panic!("bird on {name}: {error}; install bird2, iproute2"));
}

/// Returns the router's ways to the service addresses, in the words of `ip route`; empty if it has
/// none.
pub fn ways(trial: &mut Trial) -> [String; 2] {
    [ROUTED, ROUTED_V6].map(|ip| {
        let family = if ip.contains(':') { "-6" } else { "-4" };
        trial.run_on(ROUTER, &format!("ip {family} route show {ip}"))
    })
}

/// Returns the routes of ours on `name`.
pub fn routes_of(trial: &mut Trial, name: &str) -> String {
    trial.run_on(name, "ip -4 route show proto 76")
        + &trial.run_on(name, "ip -6 route show proto 76")
}
