//! Real daemons whose group has a hardware address of its own: one port of the switch at a time.
#![expect(clippy::print_stdout, reason = "figures are shown")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use lifesign::address::mac::{GroupMac, written};
use lifesign::demo::client::Client;
use lifesign_tests::bridge::{listen, speaks_for};
use lifesign_tests::trial::{self, Setup, Trial, pause};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;

fn moving(test: &str, mac_on: &str, body: impl FnOnce(&mut Trial)) {
    let keys = format!("mac = \"auto\"\nmac_on = \"{mac_on}\"\n");
    let setup = Setup::pair().with_table("www", "address", &keys);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.lab().switch().watch_source(mac());
        add_ipv6(trial);
        let listening = Listening::begin(trial);
        trial.begin();
        body(trial);
        expect_one_port(trial);
        listening.expect_one_source();
    });
}

const SERVICES: [&str; 2] = ["10.77.0.100", "fd00:77::100"];

/// Gives the group an address of IPv6 besides, and one to each machine.
fn add_ipv6(trial: &mut Trial) {
    trial.add_ipv6(&["alpha", "beta", "client"]);
    let path = trial.settings().to_owned();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let more = text.replace("10.77.0.100/24\"", "10.77.0.100/24\", \"fd00:77::100/64\"");
    assert_ne!(text, more);
    assert!(fs::write(path, more).is_ok());
}

/// What the client hears that speaks for the group.
struct Listening {
    stop: Arc<AtomicBool>,
    /// How often each address was spoken for, and the hardware addresses that did.
    heard: JoinHandle<([u64; 2], BTreeSet<[u8; 6]>)>,
}

impl Listening {
    fn begin(trial: &mut Trial) -> Self {
        let machine = trial.cluster_mut().lab_mut().machine("client");
        let Ok(socket) = machine.within(|| Ok(listen())) else { panic!("the client listens") };
        let (stop, services) = (Arc::new(AtomicBool::new(false)), SERVICES.map(|ip| ip.parse()));
        let ended = Arc::clone(&stop);
        let heard = thread::spawn(move || {
            let (mut counts, mut sources, mut frame) = ([0; 2], BTreeSet::new(), [0; 128]);
            while !ended.load(Ordering::Relaxed) {
                let len = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap_or(0);
                let frame = frame.get(..len).unwrap_or(&frame);
                for (ip, count) in services.iter().zip(&mut counts) {
                    if ip.as_ref().is_ok_and(|ip| speaks_for(frame, *ip)) {
                        *count += 1;
                        sources.extend(frame[6..].first_chunk::<6>());
                    }
                }
            }
            (counts, sources)
        });
        Self { stop, heard }
    }

    /// Demands that both addresses were spoken for, and from nowhere but the group's hardware
    /// address.
    fn expect_one_source(self) {
        self.stop.store(true, Ordering::Relaxed);
        let Ok((counts, sources)) = self.heard.join() else { panic!("the client listens") };
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        let sources: Vec<String> = sources.into_iter().map(written).collect();
        assert_eq!(sources, [written(mac())]);
    }
}

fn mac() -> [u8; 6] {
    GroupMac::generate("trial", "www")
}

/// Demands that no frames came from the group's hardware address at two ports at once.
fn expect_one_port(trial: &Trial) {
    let seen = trial.lab().switch().source(mac());
    assert_eq!(seen.two_holders_us(0, u64::MAX), 0, "{:?}", seen.spans());
    assert!(seen.spans().len() > 1, "it has moved");
}

/// Demands that the client knows the group's addresses at its hardware address.
fn expect_neighbour(trial: &mut Trial) {
    for ip in SERVICES {
        let text = trial.said_on("client", &format!("ip neighbour show to {ip}"));
        assert!(text.contains(&written(mac())), "{text}");
    }
}

fn moves_in_every_way(trial: &mut Trial) {
    let client = clients(trial);
    expect_answers_then_neighbour(trial, &client);
    let since_us = |trial: &Trial| trial.lab().now_us();
    let mut outages = Vec::new();
    let mut note = |trial: &mut Trial, what: &str, from_us: u64| {
        expect_answers_then_neighbour(trial, &client);
        expect_one_port(trial);
        let until_us = trial.lab().now_us();
        let outage = |at: &Client| at.log().longest_outage_us(from_us, until_us);
        outages.push(format!("{what} {:?}", client.each_ref().map(outage)));
    };

    let from_us = since_us(trial);
    trial.order("beta", &["takeover", "www"]);
    trial.await_holder("beta");
    note(trial, "switchover", from_us);

    let from_us = since_us(trial);
    trial.kill("beta");
    trial.await_holder("alpha");
    note(trial, "killed", from_us);
    trial.start_again("beta");
    trial.await_ready();

    let from_us = since_us(trial);
    trial.signal("alpha", Signal::SIGSTOP);
    trial.await_holder("beta");
    note(trial, "frozen", from_us);
    trial.signal("alpha", Signal::SIGCONT);
    trial.await_ready();
    trial.expect_to_stay("beta", 1000);

    let from_us = since_us(trial);
    trial.crash("beta");
    trial.await_holder("alpha");
    note(trial, "crashed", from_us);
    trial.repair("beta");
    trial.await_ready();

    trial.lab().cut("alpha", "beta");
    pause(3000);
    expect_one_port(trial);
    trial.lab().heal();
    trial.await_ready();
    println!("outages in us: {}", outages.join(", "));
}

/// Starts a client of each address.
fn clients(trial: &mut Trial) -> [Client; 2] {
    let machine = trial.cluster_mut().lab_mut().machine("client");
    SERVICES.map(|ip| {
        let started = ip.parse().map(|ip| Client::start(machine, ip));
        started.ok().and_then(Result::ok).unwrap_or_else(|| panic!("a client of {ip}"))
    })
}

fn expect_answers_then_neighbour(trial: &mut Trial, clients: &[Client; 2]) {
    let since_us = trial.lab().now_us();
    for client in clients {
        trial.await_that("the client has an answer", |_| {
            client.last_arrival_us().is_some_and(|last| last > since_us)
        });
    }
    expect_neighbour(trial);
}

#[test]
fn a_macvlan_is_at_one_port_however_the_group_moves() {
    let test = "a_macvlan_is_at_one_port_however_the_group_moves";
    moving(test, "macvlan", moves_in_every_way);
}

#[test]
fn an_adapters_mac_is_at_one_port_however_the_group_moves() {
    let test = "an_adapters_mac_is_at_one_port_however_the_group_moves";
    moving(test, "adapter", moves_in_every_way);
}

/// Kills the daemon, its supervisor and all else that runs on a machine.
fn kill_everything(trial: &mut Trial, name: &str) {
    let machine = trial.cluster_mut().lab_mut().machine(name);
    let processes = machine.process_ids().unwrap_or_default();
    for process in processes {
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}

/// Returns the hardware address of the adapter, and the adapters upon it that are switched on.
fn adapters(trial: &mut Trial, name: &str) -> (String, usize) {
    let text = trial.said_on(name, "ip -o link show");
    let up = text.lines().filter(|line| line.contains("ls-") && line.contains(",UP"));
    (trial.mac_of(name, "eth0"), up.count())
}

fn killed_at_any_moment(trial: &mut Trial) {
    let own = trial.mac_of("beta", "eth0");
    for round in 0..10 {
        let control = trial.cluster().control("beta");
        let program = env!("CARGO_BIN_EXE_subject");
        let mut child = Command::new(program)
            .args(["takeover", "www", "--control"])
            .arg(&control)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}"));
        pause(3 + 9 * round);
        kill_everything(trial, "beta");
        let _ = child.kill();
        let _ = child.wait();
        trial.await_holder("alpha");
        trial.start_again("beta");
        trial.await_ready();
        if trial.holder(0).as_deref() == Some("beta") {
            trial.order("alpha", &["takeover", "www"]);
            trial.await_holder("alpha");
        }
        assert_eq!(adapters(trial, "beta"), (own.clone(), 0), "round {round}");
    }
}

fn killed_at_any_moment_of_a_takeover(test: &str, mac_on: &str) {
    moving(test, mac_on, |trial| {
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        killed_at_any_moment(trial);
    });
}

#[test]
fn whoever_is_killed_at_any_moment_is_put_right_by_the_next_start() {
    let test = "whoever_is_killed_at_any_moment_is_put_right_by_the_next_start";
    killed_at_any_moment_of_a_takeover(test, "macvlan");
}

#[test]
fn an_adapter_of_whoever_is_killed_at_any_moment_has_its_own_mac_again() {
    let test = "an_adapter_of_whoever_is_killed_at_any_moment_has_its_own_mac_again";
    killed_at_any_moment_of_a_takeover(test, "adapter");
}

#[test]
fn a_macvlan_follows_its_group_to_the_standby_adapter_and_back() {
    let test = "a_macvlan_follows_its_group_to_the_standby_adapter_and_back";
    let setup = Setup::pair().with_standby("ether", "");
    let keys = "mac = \"auto\"\nnetwork = \"front\"\n";
    let setup = setup.with_table("www", "address", keys);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.lab().switch().watch_source(mac());
        add_ipv6(trial);
        let listening = Listening::begin(trial);
        trial.begin();
        let clients = clients(trial);
        expect_answers_then_neighbour(trial, &clients);
        let token = trial.status("alpha")["groups"][0]["token"].clone();
        for (adapter, is_there) in [(1, false), (0, true)] {
            let from_us = trial.lab().now_us();
            trial.lab().set_carrier("alpha", 0, is_there).unwrap_or_else(|error| panic!("{error}"));
            let port = trial.lab().port("alpha", adapter);
            trial.await_that("the group speaks at the other port", |trial| {
                let seen = trial.lab().switch().source(mac());
                seen.spans().last().is_some_and(|span| span.server == port)
            });
            expect_answers_then_neighbour(trial, &clients);
            let until_us = trial.lab().now_us();
            let outage = |at: &Client| at.log().longest_outage_us(from_us, until_us);
            println!("to adapter {adapter}: outages in us: {:?}", clients.each_ref().map(outage));
            expect_one_port(trial);
        }
        let status = trial.status("alpha");
        assert_eq!(status["groups"][0]["token"], token, "no other node took it meanwhile");
        assert!(!trial.has_alert("alpha", "another machine"), "{}", status["alerts"]);
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        expect_answers_then_neighbour(trial, &clients);
        expect_one_port(trial);
        listening.expect_one_source();
    });
}
