//! Machines at a learning bridge of the kernel, and every frame that comes to it.
//!
//! Each machine is a network namespace with one adapter, `eth0`, and addresses in 10.77.0.0/24 and
//! `fd00:77::/64` that end with its number, from 1. All frames are heard by one socket at the
//! bridge's ports, so they are in the order in which they came.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lifesign::clock;
use lifesign::namespace::cable;
use lifesign::namespace::elsewhere::Elsewhere;
use lifesign_core::time::Instant;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// A frame that came to the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When it was read.
    pub at: Instant,
    /// The machine that it came from, by its place among the names.
    pub machine: usize,
    /// The hardware address it came from.
    pub source: [u8; 6],
    /// The frame, at most its first 128 bytes.
    pub bytes: Vec<u8>,
}

/// A bridge with its machines.
#[derive(Debug)]
pub struct Bridge {
    switch: Elsewhere,
    machines: Vec<(&'static str, Elsewhere)>,
    /// The ports by their number in the kernel.
    ports: Arc<Mutex<Vec<usize>>>,
    passed: Arc<Mutex<Vec<Passed>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Builds a bridge with a machine for each of `names`, in the caller's namespaces.
    #[must_use]
    pub fn build(names: &[&'static str]) -> Self {
        let switch = Elsewhere::open().expect("a namespace");
        let bridge = "link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0";
        run(&switch, "ip", bridge);
        run(&switch, "ip", "link set br0 up");
        let mut machines = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let machine = Elsewhere::open().expect("a namespace");
            plug(&switch, &machine, at);
            machines.push((*name, machine));
        }
        let ports = Arc::new(Mutex::new(ports_of(&switch, names.len())));
        let socket = switch.run(listen);
        let passed = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (there, heard, ended) = (Arc::clone(&ports), Arc::clone(&passed), Arc::clone(&stop));
        let thread = std::thread::spawn(move || hear(&socket, &there, &heard, &ended));
        Self { switch, machines, ports, passed, stop, thread: Some(thread) }
    }

    /// Does something on a machine.
    pub fn on<T: Send + 'static>(&self, name: &str, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.machine(name).1.run(job)
    }

    /// Runs a command on a machine, whose words are divided by spaces.
    #[allow(clippy::must_use_candidate, reason = "many commands print nothing")]
    pub fn run(&self, name: &str, program: &str, words: &str) -> String {
        run(self.machine(name).1, program, words)
    }

    /// Returns the frames that have come so far, and forgets them.
    #[must_use]
    pub fn take_passed(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.passed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the machine to which the bridge would send a frame for `mac`, by its place.
    #[must_use]
    pub fn port_of(&self, mac: [u8; 6]) -> Option<usize> {
        let mac = lifesign::address::mac::written(mac);
        let table = run(&self.switch, "bridge", "fdb show br br0");
        let line = table.lines().find(|line| line.starts_with(&mac))?;
        line.split_once("dev port")?.1.split(' ').next()?.parse().ok()
    }

    /// Pulls the cable of a machine and lays another one, with a new adapter at both ends.
    pub fn replace_adapter(&self, name: &str) {
        let (at, machine) = self.machine(name);
        run(machine, "ip", "link delete eth0");
        plug(&self.switch, machine, at);
        let ports = ports_of(&self.switch, self.machines.len());
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    fn machine(&self, name: &str) -> (usize, &Elsewhere) {
        let at = self.machines.iter().position(|(known, _)| *known == name);
        let at = at.expect("a machine with this name");
        (at, &self.machines[at].1)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Lays a cable from the port with this number to a machine, and settles both ends.
fn plug(switch: &Elsewhere, machine: &Elsewhere, at: usize) {
    let port = format!("port{at}");
    cable::lay("near", &port).expect("a cable");
    cable::give("near", machine).expect("a cable");
    cable::give(&port, switch).expect("a cable");
    run(switch, "ip", &format!("link set {port} master br0 up"));
    machine.run(move || {
        cable::rename("near", "eth0").expect("a name");
        cable::silence("eth0").expect("an adapter");
        let host = at + 1;
        let own = [(format!("10.77.0.{host}"), 24), (format!("fd00:77::{host}"), 64)];
        let own = own.map(|(ip, prefix)| (ip.parse().expect("an address"), prefix));
        cable::settle("eth0", &own).expect("an adapter");
    });
}

/// Runs a command in a namespace and returns what it prints.
fn run(place: &Elsewhere, program: &str, words: &str) -> String {
    let mut command = Command::new(program);
    command.args(words.split(' '));
    let said = format!("{program} {words}");
    let output = place.run(move || command.output()).expect("iproute2 is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ports_of(switch: &Elsewhere, count: usize) -> Vec<usize> {
    let index = |at| if_nametoindex(format!("port{at}").as_str()).expect("a port");
    let number = move |at| usize::try_from(index(at)).expect("a small number");
    switch.run(move || (0..count).map(number).collect())
}

/// Whether a frame speaks for an address: from it, or telling neighbours of it.
#[must_use]
pub fn speaks_for(frame: &[u8], ip: IpAddr) -> bool {
    let is_at = |at: usize| match ip {
        IpAddr::V4(ip) => frame.get(at..at + 4) == Some(&ip.octets()[..]),
        IpAddr::V6(ip) => frame.get(at..at + 16) == Some(&ip.octets()[..]),
    };
    // Ethernet, the fixed header of IPv6, ICMPv6 with a neighbour advertisement.
    let is_advertisement = || frame.get(20) == Some(&58) && frame.get(54) == Some(&136);
    match (frame.get(12..14), ip) {
        (Some([0x08, 0x00]), IpAddr::V4(_)) => is_at(26),
        (Some([0x08, 0x06]), IpAddr::V4(_)) => is_at(28),
        (Some([0x86, 0xdd]), IpAddr::V6(_)) => is_at(22) || (is_advertisement() && is_at(62)),
        _ => false,
    }
}

/// Opens a socket that hears every frame of every adapter of the namespace; reading it waits for a
/// moment at most.
#[must_use]
pub fn listen() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let kind = (AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
    let socket = socket(kind.0, kind.1, kind.2, kind.3).expect("a packet socket");
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20));
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000)).expect("a limit");
    socket
}

/// Notes every frame that comes in at one of `ports`, until told to stop.
fn hear(
    socket: &OwnedFd,
    ports: &Mutex<Vec<usize>>,
    passed: &Mutex<Vec<Passed>>,
    stop: &AtomicBool,
) {
    let mut buffer = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        let (len, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((len, Some(from))) => (len.min(buffer.len()), from),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(errno) => panic!("hear: {errno}"),
        };
        let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = ports.iter().position(|port| *port == from.ifindex());
        drop(ports);
        let (Some(machine), Some(source)) = (machine, buffer.get(6..12)) else { continue };
        if len < 14 || from.pkttype() == OUTGOING {
            continue;
        }
        let source = source.try_into().expect("six bytes");
        let frame = Passed { at: clock::now(), machine, source, bytes: buffer[..len].to_vec() };
        passed.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }
}

/// What the kernel calls frames that an adapter sends.
const OUTGOING: u8 = 4;
