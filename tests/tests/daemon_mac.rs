//! Real daemons whose group has a hardware address of its own: one port of the switch at a time.
#![expect(clippy::print_stdout, reason = "figures are shown")]

use std::io;
use std::process::Command;

use lifesign::address::mac::{GroupMac, written};
use lifesign_tests::trial::{self, Setup, Trial, pause};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn moving(test: &str, mac_on: &str, body: impl FnOnce(&mut Trial)) {
    let keys = format!("mac = \"auto\"\nmac_on = \"{mac_on}\"\n");
    let setup = Setup::pair().with_table("www", "address", &keys);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.lab().switch().watch_source(mac());
        trial.begin();
        body(trial);
        expect_one_port(trial);
    });
}

fn mac() -> [u8; 6] {
    GroupMac::generate("trial", "www")
}

/// Demands that no two servers sent from the group's hardware address at once.
fn expect_one_port(trial: &Trial) {
    let seen = trial.lab().switch().source(mac());
    assert_eq!(seen.two_holders_us(0, u64::MAX), 0, "{:?}", seen.spans());
    assert!(seen.spans().len() > 1, "it has moved");
}

/// Runs a command on a machine and returns what it prints.
fn run_on(trial: &mut Trial, name: &str, words: &str) -> String {
    let mut parts = words.split(' ');
    let program = parts.next().unwrap_or_default();
    let machine = trial.cluster_mut().lab_mut().machine(name);
    let output = machine.within(|| Command::new(program).args(parts).output());
    String::from_utf8_lossy(&output.map(|output| output.stdout).unwrap_or_default()).into_owned()
}

/// Demands that the client knows the group at its hardware address.
fn expect_neighbour(trial: &mut Trial) {
    let text = run_on(trial, "client", "ip neighbour show to 10.77.0.100");
    assert!(text.contains(&written(mac())), "{text}");
}

fn moves_in_every_way(trial: &mut Trial) {
    let client = trial.client();
    expect_answers_then_neighbour(trial, &client);
    let since_us = |trial: &Trial| trial.lab().now_us();
    let mut outages = Vec::new();
    let mut note = |trial: &mut Trial, what: &str, from_us: u64| {
        expect_answers_then_neighbour(trial, &client);
        expect_one_port(trial);
        let until_us = trial.lab().now_us();
        outages.push(format!("{what} {}", client.log().longest_outage_us(from_us, until_us)));
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

fn expect_answers_then_neighbour(trial: &mut Trial, client: &lifesign::demo::client::Client) {
    let since_us = trial.lab().now_us();
    trial.await_that("the client has an answer", |_| {
        client.last_arrival_us().is_some_and(|last| last > since_us)
    });
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
fn adapters(trial: &mut Trial, name: &str) -> io::Result<(String, usize)> {
    let text = run_on(trial, name, "ip -o link show");
    let own = text.lines().find(|line| line.contains("eth0") && !line.contains("ls-"));
    let own = own.and_then(|line| line.split_once("link/ether "));
    let own = own.ok_or_else(|| io::Error::other(text.clone()))?.1;
    let own = own.split(' ').next().unwrap_or_default().to_owned();
    let up = text.lines().filter(|line| line.contains("ls-") && line.contains(",UP"));
    Ok((own, up.count()))
}

fn killed_at_any_moment(trial: &mut Trial) {
    let Ok((own, _)) = adapters(trial, "beta") else { panic!("beta has an adapter") };
    for round in 0..10 {
        let control = trial.cluster().control("beta");
        let program = env!("CARGO_BIN_EXE_subject");
        let mut child = Command::new(program)
            .args(["takeover", "www", "--control"])
            .arg(&control)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}"));
        pause(3 + 9 * round);
        kill_everything(trial, "beta");
        let _ = child.kill();
        let _ = child.wait();
        trial.await_holder("alpha");
        trial.start_again("beta");
        trial.await_ready();
        let Ok((now, up)) = adapters(trial, "beta") else { panic!("beta has an adapter") };
        let is_holder = usize::from(trial.holder(0).as_deref() == Some("beta"));
        assert_eq!((now, up), (own.clone(), is_holder), "round {round}");
    }
}

#[test]
fn whoever_is_killed_at_any_moment_is_put_right_by_the_next_start() {
    let test = "whoever_is_killed_at_any_moment_is_put_right_by_the_next_start";
    moving(test, "macvlan", |trial| {
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        killed_at_any_moment(trial);
    });
}
