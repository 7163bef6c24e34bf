//! Measures what recording costs: two servers in one laboratory with one group each, of which one
//! records and the other does not, at the same time; then the other way round. Usage:
//!
//! `record_cost [--rounds N] [--seconds N]`
//!
//! It prints the processor time of each in milliseconds a second, executor and supervisor included,
//! and the ratio over all rounds; then what a wake-up costs more in one thread, which no other
//! process disturbs, as a part of that.

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
use lifesign::record::entry::Entry;
use lifesign::record::{self, Recorded, Recorder};
use lifesign::replay::segment::Segment;
use lifesign::settings::Settings;
use lifesign_core::engine::Engine;
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::Token;
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::seal::{Key, KeyId, Keyring};
use lifesign_core::time::{Duration as Span, Instant};
use nix::sys::signal::Signal;
use nix::time::ClockId;

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
    let (mut with, mut without, mut bytes, mut woken) = (0.0, 0.0, 0, 0.0);
    for round in 0..rounds {
        let directory = std::env::temp_dir().join(format!("record-cost-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let recording = if round % 2 == 0 { 0 } else { 1 };
        let measured = measure(recording, seconds, directory.clone());
        fs::remove_dir_all(&directory)?;
        let (costs, len, wakes) = measured?;
        woken += wakes;
        let (one, other) = (costs[recording], costs[1 - recording]);
        say(&format!("round {round}: {one:.3} ms a second with, {other:.3} without recording"));
        (with, without, bytes) = (with + one, without + other, bytes + len);
    }
    let kilobytes = real(bytes) / 1024.0 / real(rounds * seconds);
    say(&format!(
        "side by side: {:+.1} % of the daemon's processor time; {kilobytes:.1} KiB a second",
        (with / without - 1.0) * 100.0
    ));
    // Two processes on a busy machine differ by more than that; so it is counted besides.
    let (cost, wakes, spent) = (count()?, woken / real(rounds), without / real(rounds));
    say(&format!(
        "counted: {cost} ns a wake-up with a frame, {wakes:.0} wake-ups a second: {:.2} % of \
         {spent:.1} ms a second",
        real(cost) * wakes / 1e6 / spent * 100.0
    ));
    Ok(())
}

/// Returns what a wake-up costs more when it is recorded, in nanoseconds.
fn count() -> Result<u64, Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("record-cost-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let place = directory.clone();
    let counting = move || wake_cost(&place).map_err(|error| error.to_string());
    let counted = thread::Builder::new().stack_size(64 << 20).spawn(counting)?.join();
    fs::remove_dir_all(&directory)?;
    Ok(counted.map_err(|_| "the count has failed")??)
}

/// Returns what each server costs in milliseconds a second while the one with the index `recording`
/// records, and how many bytes that takes.
fn measure(
    recording: usize,
    seconds: u64,
    directory: PathBuf,
) -> Result<([f64; 2], u64, f64), Box<dyn Error>> {
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
    let folder = record::directory(&folder, SERVERS[recording]);
    let (len, before) = (length(&folder)?, costs(&mut cluster)?);
    thread::sleep(Duration::from_secs(seconds));
    let (after, grown) = (costs(&mut cluster)?, length(&folder)? - len);
    let spent = |at: usize| real(after[at] - before[at]) / 1e6 / real(seconds);
    // What is in the ring still is missing: a second at most.
    let (wakes, _) = wakes(&folder)?;
    Ok(([spent(0), spent(1)], grown, real(wakes) / (real(seconds) + READY.as_secs_f64())))
}

/// Returns what one wake-up with one frame costs more when it is recorded, the writer's part
/// included, in nanoseconds of processor time.
fn wake_cost(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let mut least = [u64::MAX; 2];
    for round in 0..16 {
        let is_recorded = round % 2 == 1;
        let plan = record::Plan {
            directory: directory.join("wakes"),
            bound: 64 << 20,
            origin: record::block::Origin {
                program: String::new(),
                node: SERVERS[0].to_owned(),
                path: String::new(),
                settings: SETTINGS.replace("DIRECTORY", "/tmp"),
            },
        };
        let (recorder, mut writer) = record::open(plan)?;
        let recorder = is_recorded.then_some(recorder);
        let spent = wake_often(recorder, || writer.drain())?;
        let of_this = &mut least[usize::from(is_recorded)];
        *of_this = (*of_this).min(spent);
    }
    Ok(least[1].saturating_sub(least[0]) / WAKES)
}

const WAKES: u64 = 20_000;

/// Wakes a server up that hears another, and returns the processor time of all that.
fn wake_often(recorder: Option<Recorder>, mut drain: impl FnMut()) -> Result<u64, Box<dyn Error>> {
    let settings = Settings::parse("lifesign.toml", &SETTINGS.replace("DIRECTORY", "/tmp"))
        .map_err(|mistakes| mistakes.to_string())?;
    let mut now = Instant::from_micros(1_000_000);
    let engine = |number: u8| -> Result<Engine, Box<dyn Error>> {
        let me = NodeId::new(number).ok_or("a node")?;
        let config = settings.engine_config(me, Span::from_millis(8))?;
        let key = Key::new([1; 32]);
        let keyring =
            Keyring::new(&[(KeyId(1), key)], KeyId(1)).map_err(|error| error.to_string())?;
        Ok(Engine::new(config, keyring, BootId::new(number.into()), Token(0), now))
    };
    let (mut alpha, mut beta) = (Recorded::new(engine(0)?, recorder), engine(1)?);
    let mut buffer = [0; MAX_FRAME_LEN];
    let begun = processor_time()?;
    for wake in 0..WAKES {
        now = now + Span::from_micros(2_500);
        beta.handle_timeout(now);
        while let Some(transmit) = beta.poll_transmit(now, &mut buffer) {
            let _heard = alpha.handle_frame(transmit.link, &buffer[..transmit.len], now);
        }
        alpha.check_authority(now);
        alpha.handle_timeout(now);
        for _ in 0..2 {
            while alpha.poll_event().is_some() {}
        }
        while let Some(transmit) = alpha.poll_transmit(now, &mut buffer) {
            let _heard = beta.handle_frame(transmit.link, &buffer[..transmit.len], now);
        }
        if wake % 400 == 0 {
            drain();
        }
    }
    drain();
    Ok(processor_time()? - begun)
}

fn processor_time() -> Result<u64, Box<dyn Error>> {
    let time: Duration = ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into();
    Ok(u64::try_from(time.as_nanos())?)
}

/// Returns how often a daemon woke up and how many frames came, in all segments in `folder`.
fn wakes(folder: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut wakes, mut frames) = (0, 0);
    for path in record::writer::segments(folder)? {
        let file = fs::read(path)?;
        let mut entries = Segment::read(&file)?.entries;
        while let Some(entry) = entries.next_entry()? {
            wakes += u64::from(matches!(entry, Entry::Check(_)));
            frames += u64::from(matches!(entry, Entry::Frame { .. }));
        }
    }
    Ok((wakes, frames))
}

fn length(folder: &Path) -> io::Result<u64> {
    Ok(record::writer::list(folder)?.iter().map(|(_, len)| *len).sum())
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
