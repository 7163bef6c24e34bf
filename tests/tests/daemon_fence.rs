//! Real daemons and the dongle's own firmware: a server that could still be holding a group is
//! reset before the group starts elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lifesign::namespace;
use lifesign_tests::trial::{self, Setup, Trial};
use nix::sys::signal::Signal;

/// Two servers on a network and on the lines of a dongle, which is their witness. On a busy machine
/// the dongle may be without a processor for a second, and no promise may run out for that.
const SETTINGS: &str = r#"version = 1
cluster = "trial"
key_file = "DIRECTORY/key"
state_dir = "DIRECTORY"
quorum = ["majority", "witness"]

[timing]
heartbeat = "100ms"
dead = "2s"
promise = "3s"
settle = "3s"

[[node]]
name = "alpha"
[[node]]
name = "beta"
[[witness]]
name = "dongle"

[[link]]
name = "lan"
kind = "udp"
adapter = "eth0"
members = { alpha = "10.77.0.1", beta = "10.77.0.2" }
[[link]]
name = "wire"
kind = "serial"
device = { alpha = "DIRECTORY/dongle/port1", beta = "DIRECTORY/dongle/port2" }
witness = "dongle"
resets = ["alpha", "beta"]

[[group]]
name = "www"
guard = "fence"
addresses = ["10.77.0.100/24"]
prefer = ["alpha", "beta"]
conflict_probe = "50ms"
"#;

/// The firmware on this machine, ended with its value.
struct Dongle {
    process: Child,
    resets: PathBuf,
}

impl Dongle {
    /// Starts one in `directory` that notes whom it resets.
    fn start(directory: &Path) -> Self {
        let resets = directory.join("resets");
        let noted = format!("echo $LIFESIGN_NAME >> {}", resets.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject"));
        command.args(["dongle", "emulate", "--ports", "3", "--on-reset", &noted, "--dir"]);
        command.arg(directory.join("dongle")).stdin(Stdio::null()).stdout(Stdio::null());
        namespace::end_with_starter(&mut command);
        Self { process: command.spawn().expect("a dongle"), resets }
    }

    /// Returns whom it has reset, in order.
    fn resets(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.resets).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Dongle {
    fn drop(&mut self) {
        // One that has ended by itself is ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Tries a pair whose dongle has these settings, and reset lines to `resets`.
fn with(test: &str, resets: &str, body: impl FnOnce(&mut Trial, &Dongle)) {
    with_new(test, |trial, dongle| {
        provision(trial, resets);
        start(trial);
        for name in ["alpha", "beta"] {
            trial.await_that("all are heard", |trial| trial.is_complete(name));
        }
        trial.await_that("somebody holds it", |trial| trial.holder(0).is_some());
        if trial.holder(0).as_deref() != Some("alpha") {
            trial.order("alpha", &["takeover", "www"]);
        }
        trial.await_holder("alpha");
        body(trial, dongle);
    });
}

/// Tries a pair whose dongle is new and whose daemons are not started.
fn with_new(test: &str, body: impl FnOnce(&mut Trial, &Dongle)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), Setup::pair(), |trial| {
        let directory = trial.cluster().directory().to_owned();
        let text = SETTINGS.replace("DIRECTORY", &directory.display().to_string());
        trial.write("fenced.toml", &text);
        let dongle = Dongle::start(&directory);
        let port = directory.join("dongle/port3");
        trial.await_that("a dongle", |_| port.exists());
        body(trial, &dongle);
    });
}

/// Tells the dongle whose it is, at the port that no daemon uses.
fn provision(trial: &Trial, resets: &str) {
    let directory = trial.cluster().directory();
    let [port, file] = ["dongle/port3", "fenced.toml"].map(|name| directory.join(name));
    let [port, file] = [port, file].map(|path| path.display().to_string());
    let words = ["dongle", "provision", &port, "--settings", &file, "--yes"];
    let lines = ["--port", "1=alpha", "--port", "2=beta", "--resets", resets];
    let output = trial.run_program(&[&words[..], &lines[..]].concat());
    assert!(output.status.success(), "{output:?}");
}

fn start(trial: &mut Trial) {
    let settings = trial.cluster().directory().join("fenced.toml");
    for name in ["alpha", "beta"] {
        trial.start_with(name, &settings);
    }
}

#[test]
fn a_frozen_holder_is_reset_before_its_group_starts_elsewhere() {
    let test = "a_frozen_holder_is_reset_before_its_group_starts_elsewhere";
    with(test, "alpha,beta", |trial, dongle| {
        trial.await_that("the dongle is known", |trial| {
            let known = &trial.status("beta")["links"][1]["dongle"];
            known["promises"] == true && known["faults"].as_array().is_some_and(Vec::is_empty)
        });
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_that("the reset is explained", |trial| {
            let why = trial.ask("beta", &["why", "www"]);
            assert!(trial.holder(0).as_deref() != Some("beta") || !dongle.resets().is_empty());
            why.contains("alpha could still be holding it; dongle")
                || trial.holder(0).as_deref() == Some("beta")
        });
        trial.await_that("alpha is reset", |_| dongle.resets() == ["alpha"]);
        trial.crash("alpha");
        trial.await_holder("beta");
        assert_eq!(dongle.resets(), ["alpha"], "exactly one pulse");
        let journal = trial.cluster().journal("beta");
        for said in ["asks the dongle to reset alpha", "dongle has reset alpha"] {
            assert_eq!(journal.matches(said).count(), 1, "{said}: {journal}");
        }
        assert!(!trial.has_alert("beta", "is not reset"), "{}", trial.status("beta"));
    });
}

#[test]
fn nobody_is_reset_while_the_wire_shows_that_he_lives() {
    let test = "nobody_is_reset_while_the_wire_shows_that_he_lives";
    with(test, "alpha,beta", |trial, dongle| {
        trial.lab().cut("alpha", "beta");
        trial.await_that("lost redundancy is told", |trial| {
            trial.has_alert("beta", "redundancy is lost")
        });
        trial.expect_to_stay("alpha", 3_000);
        assert_eq!(dongle.resets(), Vec::<String>::new());
    });
}

#[test]
fn a_group_whose_holder_cannot_be_reset_waits_and_says_so() {
    let test = "a_group_whose_holder_cannot_be_reset_waits_and_says_so";
    with(test, "beta", |trial, dongle| {
        trial.signal("alpha", Signal::SIGSTOP);
        let refusal = "www: alpha is not reset: dongle refuses: no reset line of the dongle";
        trial.await_that("the refusal is told", |trial| trial.has_alert("beta", refusal));
        let why = trial.ask("beta", &["why", "www"]);
        assert!(why.contains("dongle refuses"), "{why}");
        trial.expect_throughout(2_000, "nobody serves", |trial| trial.lab().holders(0).is_empty());
        let journal = trial.cluster().journal("beta");
        assert_eq!(journal.matches(refusal).count(), 1, "{journal}");
        trial.signal("alpha", Signal::SIGCONT);
        trial.await_that("somebody serves", |trial| trial.holder(0).is_some());
        trial.await_that("all is clear", |trial| !trial.has_alert("beta", "is not reset"));
        assert_eq!(dongle.resets(), Vec::<String>::new());
    });
}

#[test]
fn a_dongle_that_is_new_says_so_until_it_is_told_whose_it_is() {
    let test = "a_dongle_that_is_new_says_so_until_it_is_told_whose_it_is";
    with_new(test, |trial, _| {
        start(trial);
        for name in ["alpha", "beta"] {
            trial.await_that("it is told", |trial| {
                trial.has_alert(name, "dongle dongle: it is not provisioned")
            });
        }
        let voters = trial.status("alpha")["groups"][0]["voters"].to_string();
        assert!(voters.contains("it is not heard: it is not provisioned"), "{voters}");
        provision(trial, "alpha,beta");
        for name in ["alpha", "beta"] {
            trial.await_that("all is well", |trial| {
                trial.is_complete(name) && !trial.has_alert(name, "dongle dongle")
            });
        }
    });
}
