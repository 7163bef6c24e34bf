//! Real daemons that run the files of Linux-HA heartbeat.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lifesign_tests::trial::{self, Setup, Trial, WITNESS};

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

const HA_CF: &str = "keepalive 100ms\ndeadtime 600ms\nudpport 6940\ncluster trial\n\
    ucast eth0 10.77.0.1\nucast eth0 10.77.0.2\nnode alpha beta\nauto_failback on\n\
    quorum_server 10.77.0.9\n";

/// Notes how it is called; it runs where it has been started last.
const SCRIPT: &str = "#!/bin/sh\nplace=$(dirname \"$0\")/../..\nstate=$place/web.$LIFESIGN_NODE\n\
    [ \"$3\" = status ] || echo \"$LIFESIGN_NODE $*\" >>\"$place/calls\"\ncase $3 in\n\
    start) : >\"$state\" ;;\nstop) rm -f \"$state\" ;;\n\
    status) [ -e \"$state\" ] && echo running || echo stopped ;;\nesac\n";

/// Writes the directory, and the keys that are made of it for the quorum server.
fn write(trial: &Trial) {
    let place = trial.cluster().directory();
    fs::create_dir_all(place.join("ha.d/resource.d")).unwrap();
    trial.write("ha.d/ha.cf", HA_CF);
    trial.write("ha.d/authkeys", "auth 1\n1 sha1 a-word-that-is-long-enough\n");
    trial.write("ha.d/haresources", "alpha 10.77.0.100/24/eth0 web::one::two\n");
    trial.write("ha.d/resource.d/web", SCRIPT);
    let script = place.join("ha.d/resource.d/web");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let (directory, key) = (place.join("ha.d"), place.join("key"));
    let mut import = Command::new(PROGRAM);
    import.arg("import").arg(directory).arg("--force").arg("--key").arg(key);
    let said = import.args(["--node", "alpha", "--address", "alpha=10.77.0.1"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

/// Starts the daemon of `name` from the directory.
fn start(trial: &mut Trial, name: &str) {
    let place = trial.cluster().directory().to_owned();
    let state = place.join(name);
    fs::create_dir_all(&state).unwrap();
    let mut command = Command::new(Path::new(PROGRAM));
    command.arg("run").arg("--ha-d").arg(place.join("ha.d")).args(["--node", name]);
    command.arg("--state-dir").arg(state).arg("--control").arg(trial.cluster().control(name));
    trial.cluster_mut().lab_mut().machine(name).boot().unwrap();
    trial.cluster_mut().start(name, command).unwrap();
}

#[test]
fn a_directory_of_linux_ha_is_run_and_its_master_reclaims() {
    let name = "a_directory_of_linux_ha_is_run_and_its_master_reclaims";
    trial::run(name, PROGRAM, Setup::pair(), |trial| {
        write(trial);
        trial.start(WITNESS);
        for node in ["alpha", "beta"] {
            start(trial, node);
        }
        trial.await_ready();
        trial.await_holder("alpha");
        for (name, peer) in [("alpha", "beta"), ("beta", "alpha")] {
            assert_eq!(trial.peer(name, peer)["settings_agree"], true, "{}", trial.status(name));
        }
        trial.crash("alpha");
        trial.await_holder("beta");
        // What ran on it has ended with it.
        fs::remove_file(trial.cluster().directory().join("web.alpha")).unwrap();
        trial.cluster().lab().set_cables("alpha", true);
        start(trial, "alpha");
        trial.await_holder("alpha");
        let calls = fs::read_to_string(trial.cluster().directory().join("calls")).unwrap();
        let calls: Vec<&str> = calls.lines().collect();
        let expected = ["alpha one two start", "beta one two start"];
        assert_eq!(calls[..2], expected, "{calls:?}");
        assert_eq!(calls[2..], ["beta one two stop", "alpha one two start"], "{calls:?}");
    });
}
