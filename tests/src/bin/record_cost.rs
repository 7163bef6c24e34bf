//! Measures what recording costs: two servers in one laboratory with one group each, of which one
//! records and the other does not, at the same time; then the other way round. Usage:
//!
//! `record_cost [--rounds N] [--seconds N]`
//!
//! It prints the processor time of each in milliseconds a second, executor and supervisor included,
//! and the ratio over all rounds.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use lifesign::demo::cluster::Cluster;
use lifesign::demo::lab::{Lab, MachinePlan, Plan, Role};
use lifesign::demo::machine::{self, Machine, ROLE};
use lifesign::namespace::{self, Users};
use nix::sys::signal::Signal;

const SERVERS: [&str; 2] = ["alpha", "beta"];
const WITNESS: &str = "quorum";
/// How long a cluster may take to settle.
const READY: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command says why it failed")]
            {
                eprintln!("record_cost: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    if let Some(played) = machine::play_role() {
        return Ok(played?);
    }
    let (mut rounds, mut seconds) = (6, 10);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = match argument.as_str() {
            "--rounds" => &mut rounds,
            "--seconds" => &mut seconds,
            other => return Err(format!("what is {other}?").into()),
        };
        *number = arguments.next().ok_or("a number is missing")?.parse()?;
    }
    if std::env::var_os(ROLE).is_none() {
        return isolate_self();
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    namespace::raise_loopback()?;
    let (mut with, mut without, mut bytes) = (0.0, 0.0, 0);
    for round in 0..rounds {
        let directory = std::env::temp_dir().join(format!("record-cost-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let recording = if round % 2 == 0 { 0 } else { 1 };
        let measured = measure(recording, seconds, directory.clone());
        fs::remove_dir_all(&directory)?;
        let (costs, len) = measured?;
        let (one, other) = (costs[recording], costs[1 - recording]);
        say(&format!("round {round}: {one:.3} ms a second with, {other:.3} without recording"));
        (with, without, bytes) = (with + one, without + other, bytes + len);
    }
    let kilobytes = real(bytes) / 1024.0 / real(rounds * seconds);
    say(&format!(
        "recording costs {:.1} % of the daemon's processor time and {kilobytes:.1} KiB a second",
        (with / without - 1.0) * 100.0
    ));
    Ok(())
}

/// Returns what each server costs in milliseconds a second while the one with the index `recording`
/// records, and how many bytes that takes.
fn measure(
    recording: usize,
    seconds: u64,
    directory: PathBuf,
) -> Result<([f64; 2], u64), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let lab = Lab::build(&program, &plan())?;
    let mut cluster = Cluster::new(lab, program.with_file_name("subject"), directory);
    let place = cluster.directory().display().to_string();
    cluster.write("key", KEY)?;
    let plain = cluster.write("plain.toml", &SETTINGS.replace("DIRECTORY", &place))?;
    let recorded = format!("record = \"64MiB\"\n{SETTINGS}").replace("DIRECTORY", &place);
    let recorded = cluster.write("recorded.toml", &recorded)?;
    let witness = cluster.write("witness.toml", &WITNESS_SETTINGS.replace("DIRECTORY", &place))?;
    cluster.start_witness(WITNESS, &witness)?;
    for (at, name) in SERVERS.into_iter().enumerate() {
        cluster.start_node(name, if at == recording { &recorded } else { &plain })?;
    }
    cluster.lab().switch().set_asking(false);
    thread::sleep(READY);
    for (name, group) in SERVERS.into_iter().zip(["www", "mail"]) {
        let said = cluster.ask(name, &["takeover", group])?;
        if !said.status.success() {
            return Err(format!("{name} takes no {group}: {said:?}").into());
        }
    }
    let folder = cluster.directory().join(SERVERS[recording]);
    let folder = lifesign::record::directory(&folder, SERVERS[recording]);
    let (len, before) = (length(&folder)?, costs(&mut cluster)?);
    thread::sleep(Duration::from_secs(seconds));
    let (after, grown) = (costs(&mut cluster)?, length(&folder)? - len);
    let spent = |at: usize| real(after[at] - before[at]) / 1e6 / real(seconds);
    Ok(([spent(0), spent(1)], grown))
}

fn length(folder: &Path) -> io::Result<u64> {
    Ok(lifesign::record::writer::list(folder)?.iter().map(|(_, len)| *len).sum())
}

fn costs(cluster: &mut Cluster) -> io::Result<[u64; 2]> {
    let [one, other] = SERVERS.map(|name| cost(cluster.lab_mut().machine(name)));
    Ok([one?, other?])
}

/// Returns the processor time of all that runs on `machine`, in nanoseconds.
fn cost(machine: &Machine) -> io::Result<u64> {
    let mut sum = 0;
    for id in machine.process_ids()? {
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let time = text.split_whitespace().next().and_then(|time| time.parse::<u64>().ok());
            sum += time.ok_or_else(|| io::Error::other("this kernel does not count"))?;
        }
    }
    Ok(sum)
}

/// Runs this program once more in namespaces, with the caller's users where those allow it.
fn isolate_self() -> Result<(), Box<dyn Error>> {
    let start = |users| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).env(ROLE, "inner");
        namespace::isolate(&mut command, users);
        command.status()
    };
    let status = match start(Users::Same) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => start(Users::New)?,
        outcome => outcome?,
    };
    if status.success() { Ok(()) } else { Err("the run in its namespaces failed".into()) }
}

fn plan() -> Plan {
    Plan::new()
        .with_machine(MachinePlan::new(SERVERS[0], Role::Server).with_cable(0, "10.77.0.1/24"))
        .with_machine(MachinePlan::new(SERVERS[1], Role::Server).with_cable(0, "10.77.0.2/24"))
        .with_machine(MachinePlan::new(WITNESS, Role::Witness).with_cable(0, "10.77.0.9/24"))
        .with_watched(0, "10.77.0.100")
}

const KEY: &str = r#"version = 1
sign = 1
[keys]
1 = "636f6d706172696e6720636f6e74656e64657273206f6e206f6e65206c616221"
"#;

const SETTINGS: &str = r#"version = 1
cluster = "cost"
key_file = "DIRECTORY/key"
profile = "fast"
quorum = ["majority", "witness"]
[[node]]
name = "alpha"
[[node]]
name = "beta"
[[witness]]
name = "quorum"
[[link]]
name = "lan"
kind = "udp"
adapter = "eth0"
delivery = "multicast"
multicast = "239.255.76.83"
port = 6940
members = { alpha = "10.77.0.1", beta = "10.77.0.2", quorum = "10.77.0.9" }
[[group]]
name = "www"
addresses = ["10.77.0.100/24"]
prefer = ["alpha", "beta"]
[[group]]
name = "mail"
addresses = ["10.77.0.101/24"]
prefer = ["beta", "alpha"]
"#;

const WITNESS_SETTINGS: &str = r#"version = 1
listen = ["0.0.0.0:6940"]
longest_promise = "100ms"
state_dir = "DIRECTORY/quorum"
control = "DIRECTORY/quorum.control"
[[cluster]]
name = "cost"
key_file = "DIRECTORY/key"
witness = 1
profile = "fast"
"#;

#[expect(clippy::cast_precision_loss, reason = "all that is measured is far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::print_stdout, reason = "the measurements are what this command is for")]
fn say(line: &str) {
    println!("{line}");
}
