//! Real daemons whose clients are connected by TCP when the server changes.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use lifesign::address::mac::{GroupMac, written};
use lifesign::clock;
use lifesign::connections::{MOST_LISTED, destroy, list};
use lifesign::namespace::{self, Users};
use lifesign_tests::figures;
use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, socket,
};

/// Where the first group's service is.
const SERVICE: &str = "10.77.0.100:7000";
/// Where the service of the group with an address of IPv6 is.
const SIX: &str = "[fd00:77::100]:7000";
/// That group.
const SIX_GROUP: &str = "\n[[group]]\nname = \"six\"\naddresses = [\"fd00:77::100/64\"]\n\
    prefer = [\"alpha\", \"beta\"]\n";

/// Two servers that stay what they are on a machine that stands still for seconds.
fn patient() -> Setup {
    let spans = "heartbeat = \"100ms\"\ndead = \"3s\"\npromise = \"4s\"\nsettle = \"7s\"\n";
    Setup::pair().with_spans(spans).with_longest_promise("4s")
}

fn tried(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// A client that waits for an answer that never comes.
struct Waiting {
    ended: Receiver<(io::Result<usize>, u64)>,
    /// The server's end.
    server: TcpStream,
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
        server.set_nonblocking(true).expect("a socket");
        Self { ended, server }
    }

    /// Returns why the server's end has ended, if it has.
    fn server_end(&self) -> Option<ErrorKind> {
        let error = (&self.server).read(&mut [0; 1]).expect_err("nothing was sent");
        (error.kind() != ErrorKind::WouldBlock).then(|| error.kind())
    }

    /// Returns how reading has ended, and when, if it has.
    fn end(&self) -> Option<(ErrorKind, u64)> {
        let (read, at_us) = self.ended.try_recv().ok()?;
        Some((read.expect_err("an answer"), at_us)).map(|(error, at)| (error.kind(), at))
    }
}

/// Has alpha hold the groups of both families, with a client of each, of which beta has heard.
fn both_connected(trial: &mut Trial) -> [Waiting; 2] {
    trial.add_ipv6(&["alpha", "beta", "client"]);
    trial.begin();
    let holds_six = |trial: &Trial, name| trial.status(name)["groups"][1]["role"] == "holding";
    trial.await_that("the other group is held", |trial| {
        ["alpha", "beta"].iter().any(|name| holds_six(trial, name))
    });
    // On a busy machine beta may have been first.
    if !holds_six(trial, "alpha") {
        trial.order("alpha", &["takeover", "six"]);
    }
    trial.await_that("alpha holds it", |trial| holds_six(trial, "alpha"));
    let clients = [SERVICE, SIX].map(|service| Waiting::begin(trial, "alpha", service));
    trial.await_that("beta has heard of both", |trial| known(trial, "beta") == 2);
    clients
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
        let clients = both_connected(trial);
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

/// The service's end of a connection ends where the address was, and nobody hears of that from
/// there: who has the address tells the client.
#[test]
fn after_an_orderly_move_clients_are_told_and_services_too() {
    let test = "after_an_orderly_move_clients_are_told_and_services_too";
    tried(test, patient().with_services(SIX_GROUP), |trial| {
        let clients = both_connected(trial);
        let mac = trial.mac_of("alpha", "eth0");
        let resets = |family: &str, saddr: &str| {
            format!(
                "nft add rule netdev seen in ether saddr {mac} {family} saddr {saddr} \
                 tcp flags & rst == rst counter"
            )
        };
        for words in [
            "nft add table netdev seen",
            "nft add chain netdev seen in { type filter hook ingress device eth0 priority 0; }",
            &resets("ip", "10.77.0.100"),
            &resets("ip6", "fd00:77::100"),
        ] {
            trial.run_on("client", words);
        }
        for group in ["www", "six"] {
            trial.order("beta", &["takeover", group]);
        }
        for client in &clients {
            await_reset(trial, client);
            let mut end = None;
            trial.await_that("the service is told", |_| {
                end = client.server_end();
                end.is_some()
            });
            assert_eq!(end, Some(ErrorKind::ConnectionAborted));
        }
        trial.await_that("both are counted and forgotten where they were", |trial| {
            let connections = &trial.status("alpha")["connections"];
            connections["own"] == 0 && connections["destroyed"] == 2
        });
        let text = trial.run_on("client", "nft list table netdev seen");
        let is_silent = text.matches("counter packets 0 ").count() == 2;
        // Who lost it to a starved machine meanwhile has given alpha the word again.
        let is_lost = trial.cluster().journal("beta").contains("the authority ran out");
        assert!(is_silent || is_lost, "{text}");
    });
}

/// Where the same server takes the address again, nobody else tells those whose connections it has
/// ended.
#[test]
fn clients_of_an_address_that_comes_back_are_told() {
    let test = "clients_of_an_address_that_comes_back_are_told";
    tried(test, patient(), |trial| {
        trial.begin();
        trial.kill("beta");
        // On a busy machine an address may come back too late.
        let is_told = (0..5).any(|_| {
            let client = Waiting::begin(trial, "alpha", SERVICE);
            trial.order("alpha", &["disable", "www"]);
            trial.order("alpha", &["enable", "www"]);
            trial.await_holder("alpha");
            (0..60).any(|_| {
                trial::pause(50);
                client.end().is_some_and(|(kind, _)| kind == ErrorKind::ConnectionReset)
            })
        });
        assert!(is_told, "{}", trial.status("alpha"));
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

/// As many as a busy server has, which are listed and ended in several rounds.
#[test]
fn ten_thousand_connections_are_listed_and_ended() {
    let test = "ten_thousand_connections_are_listed_and_ended";
    let entered = namespace::enter(test, Users::New).unwrap_or_else(|error| panic!("{error}"));
    if entered.is_none() {
        return;
    }
    // Everybody may raise this limit up to the other one.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(most > 10_100, "10100 open files are wanted, and `ulimit -Hn` allows {most}");
    setrlimit(Resource::RLIMIT_NOFILE, 10_100, most).expect("a higher limit");
    let ip = |words: &str| {
        let status = Command::new("ip").args(words.split(' ')).status();
        assert!(status.is_ok_and(|status| status.success()), "ip {words}");
    };
    ip("address add 10.9.0.1/32 dev lo");
    let [service, other]: [IpAddr; 2] = ["10.9.0.1", "10.9.0.2"].map(|ip| ip.parse().expect("one"));
    // They are not accepted, so that the clients' ends alone are open files.
    let listeners = [(); 4].map(|()| TcpListener::bind("0.0.0.0:0").expect("a listener"));
    let clients: Vec<OwnedFd> = (0..10_000)
        .map(|at| {
            let listener = &listeners[at % listeners.len()];
            if at < listeners.len() {
                listen(listener, Backlog::MAXCONN).expect("a longer queue");
            }
            let port = listener.local_addr().expect("a port").port();
            connected_from_elsewhere(SocketAddr::new(service, port)).expect("a connection")
        })
        .collect();
    let measure = |what: &str, deed: &dyn Fn() -> u64| {
        let begun = clock::now();
        let count = deed();
        let took_us = clock::now().since(begun).as_micros();
        figures::note(&format!("connections, {what}: {count} of 10000 in {took_us} us"));
        count
    };
    let listed = |ip| list::connections(&[ip]).expect("a list").0.len() as u64;
    for _ in 0..5 {
        assert_eq!(measure("listed, of another address", &|| listed(other)), 0);
        assert_eq!(measure("listed", &|| listed(service)), MOST_LISTED as u64);
    }
    ip("address delete 10.9.0.1/32 dev lo");
    let end = || destroy::destroy(&[service]).expect("an end").count;
    assert_eq!(measure("ended", &end), 10_000);
    assert_eq!(listed(service), 0);
    drop(clients);
}

/// Connects with `service` on this machine from another address than its own.
fn connected_from_elsewhere(service: SocketAddr) -> nix::Result<OwnedFd> {
    let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let own: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 0));
    bind(client.as_raw_fd(), &SockaddrStorage::from(own))?;
    connect(client.as_raw_fd(), &SockaddrStorage::from(service))?;
    Ok(client)
}
