//! What the daemon does not start with: one clear message, an exit status, and nothing touched.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lifesign::address::netlink::{Installed, Netlink};
use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// Returns a command that starts the daemon of alpha with `settings`, all of it below `place`.
fn daemon(program: &Path, settings: &Path, place: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg(settings).args(["--node", "alpha"]);
    command.arg("--state-dir").arg(place.join("alpha"));
    command.arg("--control").arg(place.join("alpha.control"));
    command.stdin(Stdio::null());
    command
}

/// Runs the daemon of alpha on its machine until it ends by itself.
fn start(trial: &mut Trial, settings: &Path) -> Output {
    let place = trial.cluster().directory().to_owned();
    let mut command = daemon(Path::new(PROGRAM), settings, &place);
    // It enters the machine's network before it starts, as everything on that machine does.
    trial.cluster_mut().lab_mut().machine("alpha").within(|| command.output()).unwrap()
}

/// Demands one message that contains `expected`, the exit status, and that nothing is left.
fn refuses(trial: &mut Trial, settings: &Path, status: i32, expected: &str) {
    let output = start(trial, settings);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{expected}: {said}");
    assert!(said.contains(expected), "should say {expected:?}: {said}");
    assert_eq!(said.matches("error: ").count(), 1, "one message: {said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(!trial.cluster().control("alpha").exists(), "{expected}: a socket is left");
    assert_eq!(addresses(trial), ["10.77.0.1"], "{expected}: an address is left");
}

/// Returns the addresses of alpha on its first adapter, of version 4.
fn addresses(trial: &mut Trial) -> Vec<String> {
    let list = || {
        let mut netlink = Netlink::open().map_err(io::Error::other)?;
        netlink.addresses().map_err(io::Error::other)
    };
    let installed = trial.cluster_mut().lab_mut().machine("alpha").within(list).unwrap();
    let ours = installed.iter().map(|one| one.ip).filter(|ip| ip.is_ipv4() && !ip.is_loopback());
    ours.map(|ip| ip.to_string()).collect()
}

/// Demands that no rule keeps the service address from answering on alpha.
fn nothing_guards_the_address(trial: &mut Trial) {
    let ip: IpAddr = "10.77.0.100".parse().unwrap();
    let add = || {
        let mut netlink = Netlink::open().map_err(io::Error::other)?;
        let adapters = netlink.adapters().map_err(io::Error::other)?;
        let index = adapters.iter().find(|adapter| adapter.name == "eth0").unwrap().index;
        let address = Installed { index, ip, prefix: 24 };
        netlink.add_address(address, false, None).map_err(io::Error::other)
    };
    trial.cluster_mut().lab_mut().machine("alpha").within(add).unwrap();
    trial.await_that("it answers", |trial| trial.lab().holders(0) == ["alpha"]);
}

#[test]
fn settings_that_are_wrong_are_refused() {
    let table = [
        ("heartbeat = ", "heartbaet = ", 2, "unknown key `heartbaet`"),
        ("port = 6940", "port = \"6940\"", 2, "`port` must be a whole number"),
        (
            "name = \"beta\"",
            "name = \"beta\"\n[[node]]\nname = \"beta\"",
            2,
            "\"beta\" is there twice",
        ),
        (
            "beta = \"10.77.0.2\"",
            "beta = \"10.77.0.1\"",
            2,
            "two members have the address 10.77.0.1",
        ),
        ("10.77.0.100/24", "10.77.0.2/24", 2, "10.77.0.2"),
        ("adapter = \"eth0\"", "adapter = \"eth7\"", 1, "no adapter \"eth7\" of link \"lan0\""),
        ("promise = \"600ms\"", "promise = \"190ms\"", 1, "promise 190 ms is too short"),
        ("/key\"", "/nowhere\"", 1, "nowhere: no such file or directory"),
        ("version = 1", "version = 2", 2, "version 2 is unknown"),
    ];
    run("settings_that_are_wrong_are_refused", |trial| {
        for (number, (from, to, status, expected)) in table.into_iter().enumerate() {
            let settings = trial.write_changed(&format!("wrong{number}.toml"), from, to);
            refuses(trial, &settings, status, expected);
        }
        let nowhere = trial.cluster().directory().join("nowhere.toml");
        refuses(trial, &nowhere, 2, "nowhere.toml");
        nothing_guards_the_address(trial);
    });
}

#[test]
fn a_machine_that_is_not_ready_is_refused() {
    run("a_machine_that_is_not_ready_is_refused", |trial| {
        let settings = trial.settings().to_owned();
        let place = trial.cluster().directory().to_owned();
        let (key, state) = (place.join("key"), place.join("alpha"));
        for mode in [0o640, 0o604] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            refuses(trial, &settings, 1, "lets others in");
        }
        fs::write(&key, "version = 1\nsign = 1\n[keys]\n1 = \"12\"\n").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        refuses(trial, &settings, 1, "key");
        trial.write("key", trial::KEY);

        fs::create_dir_all(&state).unwrap();
        for damaged in [b"\xff\xfe".as_slice(), b"", b"used up to 7\n"] {
            fs::write(state.join("alpha.tokens"), damaged).unwrap();
            refuses(trial, &settings, 1, "alpha.tokens: damaged");
        }
        fs::remove_file(state.join("alpha.tokens")).unwrap();

        let bind = || UdpSocket::bind("0.0.0.0:6940");
        let other = trial.cluster_mut().lab_mut().machine("alpha").within(bind).unwrap();
        refuses(trial, &settings, 1, "port 6940 on eth0: in use");
        drop(other);
        nothing_guards_the_address(trial);
    });
}

#[test]
fn a_second_daemon_of_a_node_is_refused_and_the_first_goes_on() {
    run("a_second_daemon_of_a_node_is_refused_and_the_first_goes_on", |trial| {
        trial.begin();
        let since_us = trial.lab().now_us();
        let settings = trial.settings().to_owned();
        let output = start(trial, &settings);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("another lifesign is running as alpha"), "{said}");
        trial.expect_throughout(500, "the first goes on", |trial| trial.is_complete("alpha"));
        assert_eq!(trial.seen_since(since_us), [0]);
    });
}

#[test]
fn a_daemon_of_a_second_cluster_is_refused_and_the_first_keeps_its_lease() {
    let test = "a_daemon_of_a_second_cluster_is_refused_and_the_first_keeps_its_lease";
    run(test, |trial| {
        trial.begin();
        let text = fs::read_to_string(trial.settings()).unwrap();
        let text = text.replace("cluster = \"trial\"", "cluster = \"second\"");
        let text = text.replace("6940", "6950").replace("10.77.0.100", "10.77.0.200");
        trial.write("second.toml", &text);
        let place = trial.cluster().directory().join("second");
        let settings = trial.settings().with_file_name("second.toml");
        let mut command = Command::new("timeout");
        let second = daemon(Path::new(PROGRAM), &settings, &place);
        command.arg("20").arg(second.get_program()).args(second.get_args());
        let machine = trial.cluster_mut().lab_mut().machine("alpha");
        let output = machine.within(|| command.output()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("another lifesign is running on this machine, process "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // Whoever is frozen is silent only where its lease is in force.
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_holder("beta");
        trial.expect_one_holder_at_most();
    });
}

/// Without namespaces, as a user who may change nothing.
#[test]
fn a_user_without_rights_is_told_so() {
    let template = std::env::temp_dir().join("lifesign-trial-XXXXXX");
    let place = nix::unistd::mkdtemp(&template).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    let (program, settings) = (place.join("lifesign"), place.join("settings.toml"));
    fs::copy(PROGRAM, &program).unwrap();
    let text = Setup::pair().text(&place).replace("eth0", "lo");
    fs::write(&settings, text).unwrap();
    fs::write(place.join("key"), trial::KEY).unwrap();
    fs::set_permissions(place.join("key"), Permissions::from_mode(0o600)).unwrap();
    let mut command = daemon(&program, &settings, &place);
    if nix::unistd::geteuid().is_root() {
        chown(place.join("key"), Some(NOBODY), None).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("CAP_NET_ADMIN is missing; run lifesign as root"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!place.join("alpha").exists() && !place.join("alpha.control").exists());
    fs::remove_dir_all(place).unwrap();
}

const NOBODY: u32 = 65534;

fn run(test: &str, body: impl FnOnce(&mut Trial)) {
    trial::run(test, PROGRAM, Setup::pair(), body);
}
