//! The demonstration as a user starts it: what it prints, and what it leaves behind.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A directory of one test, which the demonstration takes for that of temporary files.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject"));
        command.args(["demo", "--unprivileged"]).args(arguments).env("TMPDIR", &self.0);
        command.stdin(Stdio::null());
        command
    }

    fn entries(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }

    /// Counts the processes that were started with this place in their environment.
    fn processes(&self) -> usize {
        self.all().count()
    }

    /// Returns whether `word` stands in this file of the kernel on the network of one of them.
    fn knows(&self, file: &str, word: &str) -> bool {
        let text = |process: PathBuf| fs::read_to_string(process.join("net").join(file));
        self.all().any(|process| text(process).is_ok_and(|text| text.contains(word)))
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries.filter(|process| mentions(process, &self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed lies in the directory for temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The service's address as the kernel lists it.
const SERVICE_IN_IPV6: &str = "fd000077000000000000000000000100";

fn mentions(process: &Path, place: &Path) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    String::from_utf8_lossy(&environment).contains(place.to_str().unwrap())
}

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited for: {what}");
}

/// Starts a demonstration and waits until machines, daemons and the client are there.
fn started(place: &Place) -> Child {
    let child = place.demo(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The outer and the inner process, four first processes and three daemons.
    await_that("everything runs", || place.processes() >= 9);
    child
}

#[test]
fn a_scene_in_json_is_an_array_of_one_outcome() {
    let place = Place::new("json");
    let output = place.demo(&["--json", "--scene", "switchover"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let outcomes: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let [outcome] = &outcomes.as_array().unwrap()[..] else { panic!("{outcomes}") };
    assert_eq!(outcome["scene"], "switchover");
    assert_eq!(outcome["two_holders_ms"], 0.0);
    assert!(outcome["outage_ms"].as_f64().unwrap() > 0.0);
    assert!(outcome["bound_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(outcome["kept"].as_bool().unwrap(), output.status.success());
    assert_eq!((place.entries(), place.processes()), (0, 0));
}

#[test]
fn an_adapter_that_fails_moves_the_address_inside_its_server() {
    let place = Place::new("adapter");
    for words in [&["adapter-silent"][..], &["adapter-unplugged", "--ipv6"]] {
        let output = place.demo(&["--json", "--scene"]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcomes: Value = serde_json::from_slice(&output.stdout).expect(&said);
        let [outcome] = &outcomes.as_array().unwrap()[..] else { panic!("{outcomes}") };
        assert_eq!(
            (&outcome["scene"], &outcome["two_holders_ms"]),
            (&words[0].into(), &0.0.into())
        );
        let observed = outcome["observed"].as_array().unwrap();
        assert!(observed[0].as_str().unwrap().contains(" by its other adapter after "), "{said}");
        assert!(observed[1].as_str().unwrap().ends_with(" did not answer"), "{outcomes}");
    }
    assert_eq!(place.entries(), 0);
}

#[test]
fn scenes_play_in_ipv6_alone() {
    let place = Place::new("ipv6");
    let scenes = ["udp-service", "link-cut"];
    let mut command = place.demo(&["--ipv6", "--json"]);
    command.args(scenes.iter().flat_map(|scene| ["--scene", scene]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_that("a server has the address", || place.knows("if_inet6", SERVICE_IN_IPV6));
    assert!(!place.knows("fib_trie", "10.77.0."), "nobody has an address of the other family");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let outcomes: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let outcomes = outcomes.as_array().unwrap();
    let played: Vec<&str> = outcomes.iter().filter_map(|it| it["scene"].as_str()).collect();
    assert_eq!(played, scenes);
    for outcome in outcomes {
        assert_eq!(outcome["two_holders_ms"], 0.0, "{outcome}");
        assert!(outcome["outage_ms"].as_f64().unwrap() > 0.0, "{outcome}");
        assert!(outcome["bound_ms"].as_f64().unwrap() > 0.0, "{outcome}");
    }
    let datagrams = outcomes[0]["observed"][0].as_str().unwrap();
    let mut counts = datagrams.split(' ').filter_map(|word| word.parse::<usize>().ok());
    assert!(counts.next() < counts.next(), "no answer came: {datagrams}");
    let kept = outcomes.iter().all(|outcome| outcome["kept"] == true);
    assert_eq!(kept, output.status.success());
    await_that("no process is left", || place.processes() == 0);
    assert_eq!(place.entries(), 0);
}

/// With the real firmware where it was built, else with the emulation, which is there always.
#[test]
fn a_dongle_resets_a_frozen_machine_before_the_other_server_starts() {
    let place = Place::new("dongle");
    let arguments = ["--dongle", "--json", "--scene", "machine-frozen"];
    let output = place.demo(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let outcomes: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let [outcome] = &outcomes.as_array().unwrap()[..] else { panic!("{outcomes}") };
    assert_eq!(outcome["two_holders_ms"], 0.0);
    let [reset, answered] = &outcome["observed"].as_array().unwrap()[..] else {
        panic!("{outcome}")
    };
    assert!(reset.as_str().unwrap().starts_with("the dongle reset "), "{reset}");
    assert!(answered.as_str().unwrap().contains(" answered at "), "{answered}");
    await_that("no process is left", || place.processes() == 0);
    assert_eq!(place.entries(), 0);
}

#[test]
fn a_signal_ends_everything_and_leaves_nothing() {
    let place = Place::new("signal");
    let mut child = started(&place);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    await_that("no process is left", || place.processes() == 0);
    assert_eq!(place.entries(), 0);
}

#[test]
fn a_kill_of_the_outer_process_ends_everything() {
    let place = Place::new("kill");
    let mut child = started(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    await_that("no process is left", || place.processes() == 0);
    // The directory itself is left, but what was in it was in memory.
    let left = fs::read_dir(&place.0).unwrap().flatten();
    assert!(left.flat_map(|entry| fs::read_dir(entry.path()).unwrap()).next().is_none());
}

#[test]
fn a_scene_that_is_none_is_refused_with_the_names_of_all() {
    let place = Place::new("name");
    let output = place.demo(&["--scene", "flood"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("flood") && said.contains("server-crashed"), "{said}");
    assert_eq!(place.entries(), 0);
}
