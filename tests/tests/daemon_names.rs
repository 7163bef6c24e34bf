//! Real daemons that write a name where clients look for it.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::net::IpAddr;
use std::process::Stdio;

use lifesign::namespace::{self, Users};
use lifesign_tests::doomed;
use lifesign_tests::name_server::{KEYS, Software, dig, write_key};
use lifesign_tests::trial::{self, Setup, Trial, WITNESS};

/// Where the name server is.
const SERVER: &str = "10.77.0.9";

const SERVICES: &str = "[[group.service]]\nname = \"web\"\nstart = [\"/bin/true\"]\n\
    stop = [\"/bin/true\"]\n[[group.service]]\nname = \"name\"\nagent = \"lifesign:dns\"\n\
    monitor_interval = \"200ms\"\nparameters = { server = \"10.77.0.9\", zone = \"example.org\", \
    name = \"www.example.org\", a = { alpha = \"10.77.0.1\", beta = \"10.77.0.2\" }, \
    aaaa = { alpha = \"fd00::1\", beta = \"fd00::2\" }, key_file = \"DIRECTORY/dns.key\" }\n";

/// Runs `body` with alpha in place and a name server that knows it.
fn served(test: &str, body: impl FnOnce(&mut Trial)) {
    let setup = Setup::pair().with_services(SERVICES);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let folder = trial.cluster().directory().to_owned();
        let (name, secret) = KEYS[0];
        let _key = write_key(&folder, "dns.key", name, secret, 0o600);
        let _process = start_bind(trial);
        trial.begin();
        await_name(trial, "10.77.0.1 fd00::1");
        body(trial);
    });
}

/// Starts a name server beside the quorum server, and returns the number of its process.
fn start_bind(trial: &mut Trial) -> i32 {
    let folder = trial.cluster().directory().join("bind");
    let mut command = Software::Bind.command(&folder, &[SERVER.parse().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    trial.cluster_mut().lab_mut().machine(WITNESS).start(command).unwrap().id()
}

/// Waits until clients see these addresses.
fn await_name(trial: &mut Trial, expected: &str) {
    let mut seen = String::new();
    for _ in 0..300 {
        let ip: IpAddr = SERVER.parse().unwrap();
        let ask = |kind: &str| dig(ip, "www.example.org", kind);
        let client = trial.cluster_mut().lab_mut().machine("client");
        seen = client.within(|| Ok(format!("{} {}", ask("A"), ask("AAAA")))).unwrap();
        if seen == expected {
            return;
        }
        trial::pause(100);
    }
    panic!("the name leads to {seen}, not to {expected}: {}", trial.status("alpha"));
}

#[test]
fn a_name_follows_a_takeover_and_a_crash() {
    served("a_name_follows_a_takeover_and_a_crash", |trial| {
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        await_name(trial, "10.77.0.2 fd00::2");
        trial.crash("beta");
        trial.await_holder("alpha");
        await_name(trial, "10.77.0.1 fd00::1");
    });
}

#[test]
fn what_the_supervisor_stops_has_no_name() {
    served("what_the_supervisor_stops_has_no_name", |trial| {
        trial.order("alpha", &["disable", "www"]);
        await_name(trial, " ");
        trial.order("alpha", &["enable", "www"]);
        trial.await_holder("alpha");
        await_name(trial, "10.77.0.1 fd00::1");
        trial.stop("beta");
        trial.kill("alpha");
        await_name(trial, " ");
    });
}

#[test]
fn nothing_outlives_a_trial() {
    let test = "nothing_outlives_a_trial";
    let role = namespace::enter(test, Users::New).unwrap_or_else(|error| panic!("{error}"));
    let Some(role) = role else { return };
    if role == namespace::MAIN {
        return doomed::expect_nothing_left(test, "doomed");
    }
    let setup = Setup::pair().with_services(SERVICES);
    let mut trial = Trial::build(env!("CARGO_BIN_EXE_subject"), setup);
    trial.start_all();
    let mut processes = vec![start_bind(&mut trial)];
    for name in ["alpha", "beta", WITNESS] {
        let machine = trial.cluster_mut().lab_mut().machine(name);
        processes.extend(machine.process_ids().unwrap());
    }
    doomed::wait(&processes, trial.cluster().directory());
}
