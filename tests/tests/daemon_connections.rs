//! Real daemons whose clients are connected by TCP when the server changes.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use lifesign::address::mac::{GroupMac, written};
use lifesign::clock;
use lifesign_tests::trial::{self, Setup, Trial};

/// Where the first group's service is.
const SERVICE: &str = "10.77.0.100:7000";
/// Where the service of the group with an address of IPv6 is.
const SIX: &str = "[fd00:77::100]:7000";
/// That group.
const SIX_GROUP: &str = "\n[[group]]\nname = \"six\"\naddresses = [\"fd00:77::100/64\"]\n\
    prefer = [\"alpha\", \"beta\"]\n";

fn tried(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// A client that waits for an answer that never comes.
struct Waiting {
    ended: Receiver<(io::Result<usize>, u64)>,
    /// The server's end.
    _server: TcpStream,
}

impl Waiting {
    /// Connects a client with the service on `server`.
    fn begin(trial: &mut Trial, server: &str, service: &str) -> Self {
        let service: SocketAddr = service.parse().expect("an address");
        let everywhere = if service.is_ipv4() { "0.0.0.0" } else { "::" };
        let machine = trial.cluster_mut().lab_mut().machine(server);
        let listener =
            machine.within(|| TcpListener::bind((everywhere, service.port()))).expect("a listener");
        let machine = trial.cluster_mut().lab_mut().machine("client");
        let mut stream = machine
            .within(|| TcpStream::connect_timeout(&service, Duration::from_secs(20)))
            .expect("a connection");
        let (server, _) = listener.accept().expect("its other end");
        let (tell, ended) = channel();
        thread::spawn(move || {
            let read = stream.read(&mut [0; 1]);
            let _told = tell.send((read, clock::now().as_micros()));
        });
        Self { ended, _server: server }
    }

    /// Returns how reading has ended, and when, if it has.
    fn end(&self) -> Option<(ErrorKind, u64)> {
        let (read, at_us) = self.ended.try_recv().ok()?;
        Some((read.expect_err("an answer"), at_us)).map(|(error, at)| (error.kind(), at))
    }
}

fn known(trial: &Trial, name: &str) -> u64 {
    trial.status(name)["connections"]["known"].as_u64().unwrap_or(0)
}

/// Waits until a client has been reset.
fn await_reset(trial: &Trial, client: &Waiting) -> u64 {
    let mut end = None;
    trial.await_that("the client is told", |_| {
        end = end.or_else(|| client.end());
        end.is_some()
    });
    let (kind, at_us) = end.expect("an end");
    assert_eq!(kind, ErrorKind::ConnectionReset);
    at_us
}

#[test]
fn a_client_that_waits_learns_at_once_that_its_server_is_another() {
    let test = "a_client_that_waits_learns_at_once_that_its_server_is_another";
    tried(test, Setup::pair().with_services(SIX_GROUP), |trial| {
        trial.add_ipv6(&["alpha", "beta", "client"]);
        trial.begin();
        trial.await_that("the other group is held", |trial| {
            trial.status("alpha")["groups"][1]["role"] == "holding"
        });
        let clients = [SERVICE, SIX].map(|service| Waiting::begin(trial, "alpha", service));
        trial.await_that("beta has heard of both", |trial| known(trial, "beta") == 2);
        assert_eq!(trial.status("alpha")["connections"]["own"], 2);
        assert!(clients.iter().all(|client| client.end().is_none()), "nobody is told too early");
        trial.crash("alpha");
        for client in &clients {
            await_reset(trial, client);
        }
        trial.await_holder("beta");
        assert!(
            trial
                .cluster()
                .journal("beta")
                .contains("www: tells the clients of 1 connections that their server is another")
        );
    });
}

#[test]
fn after_an_orderly_move_clients_are_told_as_well() {
    let test = "after_an_orderly_move_clients_are_told_as_well";
    tried(test, Setup::pair(), |trial| {
        trial.begin();
        let client = Waiting::begin(trial, "alpha", SERVICE);
        trial.await_that("beta has heard of it", |trial| known(trial, "beta") == 1);
        trial.order("beta", &["takeover", "www"]);
        await_reset(trial, &client);
        trial.await_that("it is forgotten where it was", |trial| {
            trial.status("alpha")["connections"]["own"] == 0
        });
    });
}

/// What comes from a group's address leaves from the group's hardware address, or switches and
/// clients would be told something else.
#[test]
fn clients_are_told_from_the_hardware_address_of_the_group() {
    let test = "clients_are_told_from_the_hardware_address_of_the_group";
    let setup = Setup::pair().with_table("www", "address", "mac = \"auto\"\n");
    tried(test, setup, |trial| {
        trial.begin();
        let client = Waiting::begin(trial, "alpha", SERVICE);
        trial.await_that("beta has heard of it", |trial| known(trial, "beta") == 1);
        let mac = written(GroupMac::generate("trial", "www"));
        let from = "nft add rule netdev seen in ip saddr 10.77.0.100 ip protocol tcp ether saddr";
        for words in [
            "nft add table netdev seen",
            "nft add chain netdev seen in { type filter hook ingress device eth0 priority 0; }",
            &format!("{from} {mac} counter"),
            &format!("{from} != {mac} counter"),
        ] {
            trial.run_on("client", words);
        }
        trial.crash("alpha");
        await_reset(trial, &client);
        let text = trial.run_on("client", "nft list table netdev seen");
        let counts: Vec<&str> = text.lines().filter(|line| line.contains("counter")).collect();
        let [ours, others] = counts[..] else { panic!("{text}") };
        assert!(!ours.contains("packets 0 "), "the segment and the reset: {text}");
        assert!(others.contains("packets 0 "), "{text}");
    });
}

#[test]
fn without_tickles_a_client_hangs() {
    let test = "without_tickles_a_client_hangs";
    let setup = Setup::pair().with_table("www", "address", "tickle = false\n");
    tried(test, setup, |trial| {
        trial.begin();
        assert!(trial.status("alpha")["connections"].is_null());
        let client = Waiting::begin(trial, "alpha", SERVICE);
        trial.crash("alpha");
        trial.await_holder("beta");
        trial.expect_throughout(3_000, "it hangs", |_| client.end().is_none());
    });
}

/// Who is told knows it from a note alone: a forged one is none.
#[test]
fn who_is_not_known_to_speak_for_a_node_is_not_believed() {
    let test = "who_is_not_known_to_speak_for_a_node_is_not_believed";
    tried(test, Setup::pair(), |trial| {
        trial.begin();
        let machine = trial.cluster_mut().lab_mut().machine("alpha");
        let sent = machine.within(|| {
            // From alpha's own address, so that only the tag tells.
            let socket = std::net::UdpSocket::bind("10.77.0.1:0")?;
            let mut forged = [0xaa; 64];
            forged[0] = lifesign::connections::note::MARK;
            forged[1] = 1;
            socket.send_to(&forged, "10.77.0.2:6940")
        });
        assert!(sent.is_ok_and(|len| len == 64));
        trial.await_that("it is counted", |trial| {
            trial.status("beta")["connections"]["rejected"] == 1
        });
        assert_eq!(known(trial, "beta"), 0);
    });
}

#[test]
fn the_router_and_hosts_that_are_named_are_asked_though_nobody_has_heard_of_them() {
    let test = "the_router_and_hosts_that_are_named_are_asked_though_nobody_has_heard_of_them";
    let refresh = "refresh = [\"10.77.0.77\"]\n";
    let setup = Setup::pair().with_table("www", "address", refresh);
    tried(test, setup, |trial| {
        trial.begin();
        trial.run_on("beta", "ip route add default via 10.77.0.50 dev eth0");
        trial.run_on("beta", "ip neighbour flush dev eth0");
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        // The client is the router; the other host is not there. The servers know one another.
        let text = |trial: &Trial| trial.cluster().journal("beta");
        trial.await_that("the client has answered, and the other has not", |trial| {
            let text = text(trial);
            let told: Vec<&str> =
                text.lines().filter(|line| line.contains("have learned")).collect();
            told.iter().any(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let at = words.iter().position(|word| *word == "neighbours").unwrap_or(0);
                let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
                let [answered, asked] =
                    [at.wrapping_sub(3), at.wrapping_sub(1)].map(|at| number(at).unwrap_or(0));
                answered >= 1 && asked == answered + 1
            })
        });
        let shown = trial.run_on("client", "ip neighbour show");
        assert!(shown.contains("10.77.0.100 dev eth0 lladdr"), "{shown}");
    });
}
