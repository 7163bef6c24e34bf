//! A router between the client and the servers, and the routing daemons of all of them.
//!
//! ```text
//! client 10.90.0.50 --- 10.90.0.2 router 10.91.0.2 --- 10.91.0.1 alpha
//!        fd90::50       fd90::2          10.92.0.2 --- 10.92.0.1 beta, likewise with fd91 and fd92
//! ```
//!
//! Heartbeats have a network of their own. There the laboratory's switch asks both servers for the
//! service address of IPv4 again and again, whatever routers believe.

mod bird;
mod frr;

use std::fs::{self, File};
use std::path::Path;
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

/// Which programs are the routing daemons of the servers and the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// BIRD 2.
    Bird,
    /// BIRD 2, with BFD between neighbours: three packets that fail to come, one each 100 ms.
    BirdWithBfd,
    /// FRR: zebra, and one for each protocol.
    Frr,
}

impl Software {
    /// Returns the addresses of the group as they are written in the settings.
    pub(super) fn addresses(self) -> Vec<String> {
        let [four, six] = match self {
            Self::Bird | Self::BirdWithBfd => [32, 128],
            // It takes the address for a route of its own, and prefers it to that of the service.
            Self::Frr => [31, 127],
        };
        vec![format!("{ROUTED}/{four}@lo"), format!("{ROUTED_V6}/{six}@lo")]
    }

    /// Starts the routing daemon of `station`, which keeps what it needs in `folder`.
    fn start(self, trial: &mut Trial, station: &Station, folder: &Path, protocol: Protocol) {
        match self {
            Self::Bird => bird::start(trial, station, folder, protocol, false),
            Self::BirdWithBfd => bird::start(trial, station, folder, protocol, true),
            Self::Frr => frr::start(trial, station, folder, protocol),
        }
    }
}

/// Who has a routing daemon.
#[derive(Clone, Copy, Debug)]
struct Station {
    name: &'static str,
    /// The number of its own system, and of the network of a server.
    number: u8,
    /// The networks of its neighbours, each with the adapter there.
    networks: &'static [(u8, &'static str)],
}

/// All of them, the router first.
const STATIONS: [Station; 3] = [
    Station { name: ROUTER, number: 90, networks: &[(91, "eth1"), (92, "eth2")] },
    Station { name: "alpha", number: 91, networks: &[(91, "eth1")] },
    Station { name: "beta", number: 92, networks: &[(92, "eth1")] },
];

/// The system of the station with this number.
fn system(number: u8) -> u32 {
    65_000 + u32::from(number)
}

/// The versions of IP, and how addresses begin and go on after the number of their network.
const FAMILIES: [Family; 2] = [
    Family { version: 4, begin: "10.", middle: ".0.", service: ROUTED },
    Family { version: 6, begin: "fd", middle: "::", service: ROUTED_V6 },
];

#[derive(Clone, Copy, Debug)]
struct Family {
    version: u8,
    begin: &'static str,
    middle: &'static str,
    service: &'static str,
}

impl Family {
    /// Returns an address in a network.
    fn address(self, network: u8, host: u8) -> String {
        format!("{}{network}{}{host}", self.begin, self.middle)
    }
}

/// What one neighbour is to another in BGP.
struct Neighbour {
    own: String,
    other: String,
    system: u32,
}

impl Station {
    fn is_router(&self) -> bool {
        self.name == ROUTER
    }

    /// Returns a number of 32 bits as routers have it, like an address.
    fn id(&self) -> String {
        format!("10.{}.0.1", self.number)
    }

    /// Returns all neighbours, by their addresses.
    fn neighbours(&self, family: Family) -> impl Iterator<Item = Neighbour> {
        let (own, other) = if self.is_router() { (2, 1) } else { (1, 2) };
        let is_router = self.is_router();
        self.networks.iter().map(move |(network, _)| Neighbour {
            own: family.address(*network, own),
            other: family.address(*network, other),
            system: system(if is_router { *network } else { STATIONS[0].number }),
        })
    }
}

/// Lets the router forward and the client use it, and starts every routing daemon.
pub fn start_routing(trial: &mut Trial, software: Software, protocol: Protocol) {
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
    for station in &STATIONS {
        let folder = trial.cluster().directory().join(format!("{}.routing", station.name));
        fs::create_dir_all(&folder).expect("a folder");
        software.start(trial, station, &folder, protocol);
    }
}

/// Starts a program of `package` on a station; it writes into a file of its own in `folder`.
fn start_program(
    trial: &mut Trial,
    station: &Station,
    folder: &Path,
    mut command: Command,
    package: &str,
) {
    let program = Path::new(command.get_program()).to_owned();
    let log = folder.join(program.file_name().unwrap_or_default()).with_extension("log");
    let log = File::create(log).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    let started = trial.cluster_mut().lab_mut().machine(station.name).start(command);
    started.unwrap_or_else(|error| {
        panic!("{} on {}: {error}; install {package}, iproute2", program.display(), station.name)
    });
}

/// Returns the router's ways to the service addresses, in the words of `ip route`; empty if it has
/// none.
pub fn ways(trial: &mut Trial) -> [String; 2] {
    FAMILIES.map(|Family { version, service, .. }| {
        trial.run_on(ROUTER, &format!("ip -{version} route show {service}"))
    })
}

/// Returns the routes of ours on `name`.
pub fn routes_of(trial: &mut Trial, name: &str) -> String {
    trial.run_on(name, "ip -4 route show proto 76")
        + &trial.run_on(name, "ip -6 route show proto 76")
}
