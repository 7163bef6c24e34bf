//! Hardware addresses that move with groups: two servers and a client at a bridge that learns.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]
#![expect(clippy::print_stdout, reason = "figures are shown")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;

use lifesign::address::event::AddressEvent;
use lifesign::address::lease::{Enforcer, EnforcerChoice};
use lifesign::address::mac::{GroupMac, MacOn, MacPlan, written};
use lifesign::address::{Addresses, ServiceAddress};
use lifesign::clock;
use lifesign::namespace::{self, Users, cable};
use lifesign_core::node::ClusterId;
use lifesign_core::time::{Duration, Instant};
use lifesign_tests::bridge::{Bridge, Passed, speaks_for};

const MAC: [u8; 6] = [2, 0, 0x5e, 0x10, 0, 1];
const SERVICES: [&str; 2] = ["10.77.0.100", "fd00:77::100"];
const CLUSTER: ClusterId = ClusterId(0x1a2b_3c4d);
const FRONT: &str = "ls-1a2b3c4d-00";

#[test]
fn clients_reach_a_group_at_its_mac_and_the_server_at_its_own() {
    let Some(_) = enter("clients_reach_a_group_at_its_mac_and_the_server_at_its_own") else {
        return;
    };
    for enforcer in enforcers() {
        let world = World::build();
        let own = world.own_mac("alpha");
        let alpha = world.open("alpha", enforcer, MacOn::Macvlan);
        assert!(!world.is_up("alpha"), "prepared, and switched off");
        world.expect_silence();
        let mut alpha = world.acquire("alpha", alpha, 600_000);
        assert!(world.is_up("alpha"));
        world.expect_answers();
        for (ip, mac) in [("10.77.0.1", own), ("fd00:77::1", own)] {
            assert!((0..20).any(|_| world.ask(ip)), "{ip}");
            assert_eq!(world.learned(ip), Some(mac), "{enforcer}: {ip}");
        }
        for ip in SERVICES {
            assert_eq!(world.learned(ip), Some(MAC), "{enforcer}: {ip}");
        }
        assert_eq!(world.bridge.port_of(MAC), Some(0));
        assert_eq!(world.own_mac("alpha"), own);
        // What the group says, it says from its address, answers to clients included.
        let said: Vec<Passed> = world.bridge.take_passed();
        let of_service = said.iter().filter(|frame| speaks(frame));
        let mut sources: Vec<[u8; 6]> = of_service.map(|frame| frame.source).collect();
        assert!(sources.len() > 4);
        sources.dedup();
        assert_eq!(sources, [MAC], "{enforcer}");
        let foreign =
            said.iter().find(|frame| frame.source == MAC && !speaks(frame) && !is_quiet(frame));
        assert_eq!(foreign, None, "{enforcer}: the group's address says nothing else");
        alpha = world.release("alpha", alpha);
        assert!(!world.is_up("alpha"), "{enforcer}: switched off");
        world.expect_silence();
        world.close("alpha", alpha);
        assert!(!world.has_front("alpha"));
        let rules = world.bridge.run("alpha", "ip", "rule show");
        assert!(!rules.contains("10.77.0.100"), "{rules}");
    }
}

#[test]
fn a_client_keeps_its_neighbour_when_the_group_moves() {
    let Some(_) = enter("a_client_keeps_its_neighbour_when_the_group_moves") else { return };
    for enforcer in enforcers() {
        for on in [MacOn::Macvlan, MacOn::Adapter] {
            let world = World::build();
            let own = ["alpha", "beta"].map(|name| world.own_mac(name));
            let mut alpha = world.open("alpha", enforcer, on);
            let mut beta = world.open("beta", enforcer, on);
            alpha = world.acquire("alpha", alpha, 600_000);
            world.expect_answers();
            let mut all = world.bridge.take_passed();
            for (from, to, port) in [("alpha", "beta", 1), ("beta", "alpha", 0)] {
                let began = if from == "alpha" {
                    alpha = world.release(from, alpha);
                    let began = clock::now();
                    beta = world.acquire(to, beta, 600_000);
                    began
                } else {
                    beta = world.release(from, beta);
                    let began = clock::now();
                    alpha = world.acquire(to, alpha, 600_000);
                    began
                };
                let asked = clock::now();
                while world.bridge.port_of(MAC) != Some(port) {
                    assert!(clock::now().since(asked) < LONG, "{on:?}: the bridge does not learn");
                }
                // It learns by the first frame from there.
                let passed = world.bridge.take_passed();
                let of_group = |frame: &&Passed| frame.source == MAC && frame.machine == port;
                let learned = passed.iter().find(of_group).map(|frame| frame.at.since(began));
                println!("{enforcer}, {on:?}: the bridge has learned {learned:?} after the call");
                all.extend(passed);
                for ip in SERVICES {
                    assert_eq!(world.learned(ip), Some(MAC), "before it has asked again");
                }
                world.expect_answers();
            }
            all.extend(world.bridge.take_passed());
            expect_one_port_at_a_time(&all, enforcer);
            // Linux takes no other word for a neighbour within a second.
            thread::sleep(std::time::Duration::from_millis(1_200));
            drop(world.release("alpha", alpha));
            for ip in ["10.77.0.1", "fd00:77::1"] {
                assert_eq!(world.learned(ip), Some(own[0]), "{on:?}: {ip}");
            }
            assert_eq!(["alpha", "beta"].map(|name| world.own_mac(name)), own, "{on:?}");
        }
    }
}

/// Whatever it is: ARP, multicast listeners, frames of programs, answers.
#[test]
fn no_frame_leaves_from_the_mac_after_the_deadline() {
    let Some(_) = enter("no_frame_leaves_from_the_mac_after_the_deadline") else { return };
    for enforcer in enforcers() {
        for on in [MacOn::Macvlan, MacOn::Adapter] {
            let world = World::build();
            let front = if on == MacOn::Macvlan { FRONT } else { "eth0" };
            let alpha = world.open("alpha", enforcer, on);
            let deadline = clock::now() + Duration::from_millis(1_500);
            let alpha = world.acquire_until("alpha", alpha, deadline);
            speak_in_every_way(&world, front);
            wait_until(deadline + Duration::from_micros(enforcer.overshoot_us()));
            thread::sleep(std::time::Duration::from_millis(20));
            let before = world.bridge.take_passed();
            let kinds = kinds_of(&before);
            for kind in [0x0806, 0x86dd, 0x88b5] {
                assert!(
                    kinds.contains(&kind),
                    "{enforcer}, {on:?}: {kind:#x} is not among {kinds:x?}"
                );
            }
            speak_in_every_way(&world, front);
            assert_eq!(kinds_of(&world.bridge.take_passed()), [0; 0], "{enforcer}, {on:?}");
            drop(alpha);
        }
    }
}

#[test]
fn what_a_killed_life_left_is_put_right_by_the_next_and_by_the_supervisor() {
    let name = "what_a_killed_life_left_is_put_right_by_the_next_and_by_the_supervisor";
    let Some(_) = enter(name) else { return };
    for enforcer in enforcers() {
        for on in [MacOn::Macvlan, MacOn::Adapter] {
            let world = World::build();
            let own = world.own_mac("alpha");
            let alpha = world.open("alpha", enforcer, on);
            // As after a kill: nothing of it is undone.
            drop(world.acquire("alpha", alpha, 600_000));
            world.expect_answers();
            let alpha = world.open("alpha", enforcer, on);
            world.expect_silence();
            assert_eq!(world.own_mac("alpha"), own, "{enforcer}, {on:?}");
            assert!(!world.is_up("alpha") || on == MacOn::Adapter);
            let alpha = world.acquire("alpha", alpha, 600_000);
            world.expect_answers();
            let taken = world.bridge.on("alpha", move || {
                let count = alpha.take_down().unwrap().run().unwrap();
                (count, alpha)
            });
            assert_eq!(taken.0, 2);
            world.expect_silence();
            assert!(!world.has_front("alpha"), "{enforcer}");
            assert_eq!(world.own_mac("alpha"), own, "{enforcer}, {on:?}");
        }
    }
}

#[test]
fn a_mac_follows_its_adapter() {
    let Some(_) = enter("a_mac_follows_its_adapter") else { return };
    for enforcer in enforcers() {
        for on in [MacOn::Macvlan, MacOn::Adapter] {
            let world = World::build();
            let alpha = world.open("alpha", enforcer, on);
            let alpha = world.acquire("alpha", alpha, 600_000);
            world.expect_answers();
            // With another name the adapter is guarded as before.
            for (from, to) in [("eth0", "lan"), ("lan", "eth0")] {
                world.bridge.run("alpha", "ip", &format!("link set {from} name {to}"));
            }
            let alpha = world.settle("alpha", alpha);
            world.expect_answers();
            world.bridge.replace_adapter("alpha");
            world.expect_silence();
            let own = world.own_mac("alpha");
            let alpha = world.settle("alpha", alpha);
            let deadline = clock::now() + Duration::from_millis(1_500);
            let alpha = world.acquire_until("alpha", alpha, deadline);
            world.expect_answers();
            assert_eq!(world.learned("10.77.0.100"), Some(MAC));
            wait_until(deadline + Duration::from_micros(enforcer.overshoot_us()));
            thread::sleep(std::time::Duration::from_millis(20));
            let _ = world.bridge.take_passed();
            speak_in_every_way(&world, if on == MacOn::Macvlan { FRONT } else { "eth0" });
            assert_eq!(kinds_of(&world.bridge.take_passed()), [0; 0], "{enforcer}, {on:?}");
            drop(world.release("alpha", alpha));
            assert_eq!(world.own_mac("alpha"), own, "{enforcer}, {on:?}");
        }
    }
}

#[test]
fn a_stranger_with_the_mac_is_noticed_before_and_while_it_is_held() {
    let name = "a_stranger_with_the_mac_is_noticed_before_and_while_it_is_held";
    let Some(_) = enter(name) else { return };
    let world = World::build();
    let alpha = world.open("alpha", Enforcer::Nftables, MacOn::Macvlan);
    let (alpha, events) = world.probe("alpha", alpha);
    assert_eq!(events, [AddressEvent::Free { group: 0 }]);
    world.bridge.run("client", "ip", &format!("link set eth0 address {}", written(MAC)));
    // It speaks of itself alone, and of no address of the group.
    let asking = world.bridge.on("client", || {
        let words = ["-q", "-c", "30", "-i", "0.5", "10.77.0.77"];
        Command::new("ping").args(words).stderr(std::process::Stdio::null()).spawn()
    });
    let mut asking = asking.unwrap();
    let (alpha, events) = world.probe("alpha", alpha);
    let conflict = AddressEvent::MacConflict { group: 0, mac: MAC };
    assert_eq!(events.first(), Some(&conflict));
    let mut alpha = world.acquire("alpha", alpha, 600_000);
    let began = clock::now();
    let told = loop {
        let (again, event) = world.next_event("alpha", alpha);
        alpha = again;
        if event.as_ref().is_some_and(|event| *event == conflict) {
            break true;
        }
        if clock::now().since(began) > LONG {
            break false;
        }
    };
    assert!(told, "while it is held");
    let _ = asking.kill();
    let _ = asking.wait();
}

#[test]
fn what_comes_from_the_group_follows_the_routes_of_its_adapter() {
    let name = "what_comes_from_the_group_follows_the_routes_of_its_adapter";
    let Some(_) = enter(name) else { return };
    let world = World::build();
    world.bridge.run("alpha", "ip", "route add default via 10.77.0.2");
    let alpha = world.open("alpha", Enforcer::Nftables, MacOn::Macvlan);
    let mut alpha = world.acquire("alpha", alpha, 600_000);
    let way = |world: &World| {
        world.bridge.run("alpha", "ip", "route get 192.0.2.1 from 10.77.0.100").replace('\n', " ")
    };
    let first = way(&world);
    assert!(first.contains("via 10.77.0.2") && first.contains(FRONT), "{first}");
    world.bridge.run("alpha", "ip", "route change default via 10.77.0.3");
    let began = clock::now();
    while !way(&world).contains("via 10.77.0.3") {
        assert!(clock::now().since(began) < LONG, "{}", way(&world));
        alpha = world.next_event("alpha", alpha).0;
    }
    assert!(way(&world).contains(FRONT), "{}", way(&world));
    world.bridge.run("alpha", "ip", "route delete default");
    while world.bridge.run("alpha", "ip", "route show table all").contains("default via") {
        assert!(clock::now().since(began) < LONG, "a route is left");
        alpha = world.next_event("alpha", alpha).0;
    }
}

/// Two servers, and a client that asks.
struct World {
    bridge: Bridge,
}

impl World {
    fn build() -> Self {
        let world = Self { bridge: Bridge::build(&["alpha", "beta", "client"]) };
        for ip in ["10.77.0.1", "10.77.0.2", "fd00:77::1", "fd00:77::2"] {
            while !world.ask(ip) {}
        }
        let _ = world.bridge.take_passed();
        world
    }

    /// Opens the addresses of a server as a daemon does when it starts.
    fn open(&self, name: &str, enforcer: Enforcer, on: MacOn) -> Addresses {
        self.bridge.on(name, move || {
            let service = |ip: IpAddr| {
                let prefix = if ip.is_ipv4() { 24 } else { 64 };
                ServiceAddress { ip, prefix, adapter: String::new() }
            };
            let group = SERVICES.iter().map(|ip| service(ip.parse().unwrap())).collect();
            let mac = GroupMac { address: MAC, on };
            let plan = MacPlan { cluster: CLUSTER, groups: vec![Some(mac)] };
            let choice = EnforcerChoice::Only(enforcer);
            let mut addresses = Addresses::open_with_macs(&[group], Some(&plan), choice).unwrap();
            addresses.remove_leftovers().unwrap();
            addresses.prepare_macs().unwrap();
            addresses
        })
    }

    fn acquire(&self, name: &str, addresses: Addresses, milliseconds: u64) -> Addresses {
        self.acquire_until(name, addresses, clock::now() + Duration::from_millis(milliseconds))
    }

    fn acquire_until(&self, name: &str, mut addresses: Addresses, deadline: Instant) -> Addresses {
        self.bridge.on(name, move || {
            addresses.acquire(0, deadline, clock::now()).unwrap();
            addresses
        })
    }

    fn release(&self, name: &str, mut addresses: Addresses) -> Addresses {
        self.bridge.on(name, move || {
            addresses.release(0).unwrap();
            addresses
        })
    }

    fn close(&self, name: &str, mut addresses: Addresses) {
        self.bridge.on(name, move || addresses.close().unwrap());
    }

    /// Asks whether anybody has the addresses; returns what came of it.
    fn probe(&self, name: &str, mut addresses: Addresses) -> (Addresses, Vec<AddressEvent>) {
        let window = Duration::from_millis(2500);
        addresses = self.bridge.on(name, move || {
            addresses.probe(0, window, clock::now()).unwrap();
            addresses
        });
        loop {
            let (again, event) = self.next_event(name, addresses);
            addresses = again;
            if let Some(event) = event {
                return (addresses, vec![event]);
            }
        }
    }

    /// Runs the daemon's loop once and returns the next event.
    fn next_event(
        &self,
        name: &str,
        mut addresses: Addresses,
    ) -> (Addresses, Option<AddressEvent>) {
        self.bridge.on(name, move || {
            thread::sleep(std::time::Duration::from_millis(1));
            addresses.handle_readable(clock::now());
            addresses.handle_timeout(clock::now());
            let event = addresses.poll_event();
            (addresses, event)
        })
    }

    /// Lets a server take in what has happened to its adapters.
    fn settle(&self, name: &str, mut addresses: Addresses) -> Addresses {
        self.bridge.on(name, move || {
            while addresses.handle_readable(clock::now()) {
                addresses.handle_timeout(clock::now());
            }
            addresses
        })
    }

    /// Asks as the client and returns whether there was an answer within a moment.
    fn ask(&self, ip: &str) -> bool {
        let ip: IpAddr = ip.parse().unwrap();
        self.bridge.on("client", move || {
            let limit = std::time::Duration::from_millis(50);
            match TcpStream::connect_timeout(&SocketAddr::new(ip, 7), limit) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            }
        })
    }

    fn expect_answers(&self) {
        for ip in SERVICES {
            assert!((0..40).any(|_| self.ask(ip)), "{ip} does not answer");
        }
    }

    fn expect_silence(&self) {
        for ip in SERVICES {
            assert!(!self.ask(ip), "{ip} answers");
        }
    }

    /// Returns the hardware address that the client knows of a neighbour.
    fn learned(&self, ip: &str) -> Option<[u8; 6]> {
        let text = self.bridge.run("client", "ip", &format!("neighbour show to {ip}"));
        let (_, rest) = text.split_once("lladdr ")?;
        GroupMac::read(rest.split(' ').next()?)
    }

    fn own_mac(&self, name: &str) -> [u8; 6] {
        let text = self.bridge.run(name, "ip", "-o link show dev eth0");
        let (_, rest) = text.split_once("link/ether ").unwrap();
        GroupMac::read(rest.split(' ').next().unwrap()).unwrap()
    }

    fn has_front(&self, name: &str) -> bool {
        self.bridge.run(name, "ip", "-o link show").contains(FRONT)
    }

    /// Whether the adapter of the group is there and switched on.
    fn is_up(&self, name: &str) -> bool {
        let text = self.bridge.run(name, "ip", "-o link show");
        text.lines().any(|line| line.contains(FRONT) && line.contains(",UP"))
    }
}

/// Whether a frame speaks for the group.
fn speaks(frame: &Passed) -> bool {
    SERVICES.iter().any(|ip| speaks_for(&frame.bytes, ip.parse().unwrap()))
}

/// Whether a frame comes from no address at all: reports of multicast listeners.
fn is_quiet(frame: &Passed) -> bool {
    kind_of(frame) == 0x86dd && frame.bytes.get(22..38) == Some(&[0; 16][..])
}

fn kind_of(frame: &Passed) -> u16 {
    u16::from_be_bytes(frame.bytes[12..14].try_into().unwrap())
}

/// Returns the Ethernet types of the frames from the group's address, each once.
fn kinds_of(passed: &[Passed]) -> Vec<u16> {
    let own = passed.iter().filter(|frame| frame.source == MAC);
    let mut kinds: Vec<u16> = own.map(kind_of).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Makes a server say all that it can from an adapter.
fn speak_in_every_way(world: &World, adapter: &'static str) {
    let ask = |program: &str, words: String| {
        world.bridge.on("alpha", {
            let program = program.to_owned();
            move || {
                let words = words.split(' ');
                drop(Command::new(program).args(words).output().unwrap());
            }
        });
    };
    world.bridge.on("alpha", move || send_raw(adapter));
    // New listeners report themselves, from no address.
    ask("ip", format!("maddress add 33:33:00:00:12:34 dev {adapter}"));
    ask("ping", "-c1 -W1 -w1 -I fd00:77::100 fd00:77::3".to_owned());
    // The last one waits for somebody who is not there.
    for target in ["10.77.0.3", "10.77.0.77"] {
        ask("ping", format!("-c1 -W1 -i0.1 -w1 -I 10.77.0.100 {target}"));
    }
    let _ = world.ask(SERVICES[0]);
    let _ = world.ask(SERVICES[1]);
    thread::sleep(std::time::Duration::from_millis(20));
}

/// Sends a frame of no known kind from the group's hardware address, past the network stack.
fn send_raw(adapter: &str) {
    let mut frame = vec![0xff; 6];
    frame.extend(MAC);
    frame.extend([0x88, 0xb5]);
    frame.extend([0; 46]);
    // What the lease refuses is an error of the sender under one enforcer alone.
    let _ = cable::send(adapter, &frame);
}

/// From one machine's first frame from the group's address on, the one before says nothing more.
fn expect_one_port_at_a_time(passed: &[Passed], enforcer: Enforcer) {
    let mut ports: Vec<usize> =
        passed.iter().filter(|frame| frame.source == MAC).map(|frame| frame.machine).collect();
    ports.dedup();
    assert_eq!(ports, [0, 1, 0], "{enforcer}: the ports of {} in order", written(MAC));
}

fn wait_until(end: Instant) {
    while !clock::now().has_reached(end) {
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Runs the test in namespaces of its own: as root among the machine's users, so that BPF works.
fn enter(test: &str) -> Option<String> {
    let is_root = Enforcer::Bpf.check().is_ok();
    namespace::enter(test, if is_root { Users::Same } else { Users::New }).unwrap()
}

/// Returns the enforcers that can be tried here.
fn enforcers() -> Vec<Enforcer> {
    let exact = [Enforcer::Bpf, Enforcer::Nftables];
    let found: Vec<_> = exact.into_iter().filter(|enforcer| enforcer.check().is_ok()).collect();
    assert!(found.contains(&Enforcer::Nftables), "every user has nftables in a namespace");
    println!("with {found:?}");
    found
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_millis(20_000);
