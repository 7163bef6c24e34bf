//! Lifesign and heartbeat 3.0.6 on the same files: in which order are resource scripts called, and
//! on which node?
//!
//! What heartbeat did stands in `tests/heartbeat-3.0.6`, recorded by the command `record` there
//! with the package of Debian. Each story is a list of events; after each the calls of all scripts
//! were written down. The spans of `ha.cf` alone are shorter here: order does not hang on them.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifesign_tests::trial::{self, Setup, Trial, WITNESS, pause};

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// The scripts of each line of haresources, without its address.
const GROUPS: [&[&str]; 2] = [&["web", "db"], &["mail"]];

/// What is not compared, because heartbeat and lifesign differ in it on purpose.
///
/// | what | heartbeat 3.0.6 | lifesign |
/// |---|---|---|
/// | addresses | a script adds them | the kernel lease guards them; no script is called |
/// | `status` | before each start | before each start, after each stop, and at intervals |
/// | double stop | stops all lines of the file, held or not | stops what it has started |
/// | order of lines | one after the other | each by itself, so lines are compared one by one |
/// | both start | each waits for the other's word | who is ready first serves, and gives back |
const SPANS: [(&str, &str); 4] = [
    ("keepalive 200ms", "keepalive 100ms"),
    ("deadtime 2", "deadtime 600ms"),
    ("warntime 1", "warntime 400ms"),
    ("initdead 10", "initdead 2"),
];

/// An event after which lifesign calls other scripts than heartbeat does.
struct Difference {
    story: &'static str,
    event: &'static str,
    /// Why.
    why: &'static str,
    /// What lifesign calls, for each line of haresources.
    calls: [&'static [&'static str]; 2],
}

const DIFFERENCES: [Difference; 2] = [
    Difference {
        story: "start-fails",
        event: "start both",
        why: "heartbeat gives up the wrong lines when a script in the middle of one does not start, \
              so the line stays down everywhere",
        calls: [
            &[
                "alpha web one two start",
                "alpha db start fails",
                "alpha db stop",
                "alpha web one two stop",
                "beta web one two start",
                "beta db start",
            ],
            &["beta mail start"],
        ],
    },
    Difference {
        story: "start-fails",
        event: "stop alpha",
        why: "for lifesign the line has long been on beta",
        calls: [&[], &[]],
    },
];

/// Returns the events of a story with what heartbeat called after each.
fn recorded(story: &str) -> Vec<(String, Vec<String>)> {
    let path = home().join(format!("{story}.calls"));
    let mut events: Vec<(String, Vec<String>)> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        match line.strip_prefix("# ") {
            Some(event) => events.push((event.to_owned(), Vec::new())),
            None => events.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    events
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("heartbeat-3.0.6")
}

/// The scripts that run, by node and name: a stop of any other is left out.
#[derive(Default)]
struct Running(BTreeSet<(String, String)>);

impl Running {
    /// Returns what counts of `calls`, for each line of haresources, and takes note of it.
    fn reduced(&mut self, calls: &[String], fails: &str) -> [Vec<String>; 2] {
        let mut lines = [Vec::new(), Vec::new()];
        for call in calls {
            let words: Vec<&str> = call.split(' ').collect();
            let (node, script, action) = (words[0], words[1], *words.last().unwrap());
            let Some(line) = GROUPS.iter().position(|scripts| scripts.contains(&script)) else {
                continue;
            };
            let place = (node.to_owned(), script.to_owned());
            let counts = match action {
                "start" => {
                    self.0.insert(place);
                    true
                }
                "stop" => self.0.remove(&place),
                _ => false,
            };
            if counts {
                let failed =
                    if fails == format!("{node}.{script}.{action}") { " fails" } else { "" };
                lines[line].push(format!("{call}{failed}"));
            }
        }
        lines
    }

    fn crash(&mut self, node: &str) {
        self.0.retain(|(name, _)| name != node);
    }
}

/// Writes the directory of Linux-HA, and the keys that are made of it for the quorum server.
fn write(trial: &Trial, failback: &str) {
    let place = trial.cluster().directory();
    fs::create_dir_all(place.join("ha.d/resource.d")).unwrap();
    let read = |name: &str| fs::read_to_string(home().join(name)).unwrap();
    let mut settings =
        read("ha.d/ha.cf").replace("auto_failback on", &format!("auto_failback {failback}"));
    for (from, to) in SPANS {
        assert!(settings.contains(from), "{from}");
        settings = settings.replace(from, to);
    }
    trial.write("ha.d/ha.cf", &(settings + "cluster trial\n"));
    for name in ["ha.d/authkeys", "ha.d/haresources"] {
        trial.write(name, &read(name));
    }
    for name in GROUPS.concat() {
        let script = place.join("ha.d/resource.d").join(name);
        fs::write(&script, read("script")).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut import = Command::new(PROGRAM);
    import.arg("import").arg(place.join("ha.d")).arg("--force").arg("--key").arg(place.join("key"));
    import.args(["--witness", "quorum=10.77.0.9", "--node", "alpha"]);
    let said = import.args(["--address", "alpha=10.77.0.1"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

fn start(trial: &mut Trial, name: &str) {
    let place = trial.cluster().directory().to_owned();
    let state = place.join(name);
    fs::create_dir_all(&state).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--ha-d").arg(place.join("ha.d")).args(["--node", name]);
    command.args(["--witness", "quorum=10.77.0.9", "--state-dir"]).arg(state);
    command.arg("--control").arg(trial.cluster().control(name));
    trial.lab().set_cables(name, true);
    trial.cluster_mut().lab_mut().machine(name).boot().unwrap();
    trial.cluster_mut().start(name, command).unwrap();
}

/// Gives an order until it is taken: a node that has just started takes none.
fn order(trial: &Trial, name: &str, words: &[&str]) {
    trial.await_that(&format!("{name} takes {words:?}"), |trial| {
        trial.cluster().ask(name, words).unwrap().status.success()
    });
}

/// Returns a line's calls without those on a node that was ready first and gave all of it back.
fn without_detour(mut calls: Vec<String>) -> Vec<String> {
    let node = |call: &String| call.split(' ').next().map(str::to_owned);
    let first = calls.first().and_then(node);
    let stay = calls.iter().take_while(|call| node(call) == first).count();
    let count = |end: &str| calls[..stay].iter().filter(|call| call.ends_with(end)).count();
    let gave_back = count(" start") == count(" stop") && count(" fails") == 0;
    if gave_back && stay < calls.len() { calls.split_off(stay) } else { calls }
}

/// Does to lifesign what was done to heartbeat.
fn do_event(trial: &mut Trial, running: &mut Running, event: &str) {
    let (verb, name) = event.split_once(' ').unwrap();
    match (verb, name) {
        ("start", "both") => ["alpha", "beta"].into_iter().for_each(|name| start(trial, name)),
        ("start", name) => start(trial, name),
        ("stop", name) => trial.stop(name),
        ("standby", name) => order(trial, name, &["hb_standby", "all"]),
        ("takeover", name) => order(trial, name, &["hb_takeover", "local"]),
        ("crash", name) => {
            trial.crash(name);
            running.crash(name);
            // What ran there has ended with it.
            for script in GROUPS.concat() {
                let state = trial.cluster().directory().join(format!("up.{name}.{script}"));
                drop(fs::remove_file(state));
            }
        }
        _ => panic!("no event: {event}"),
    }
}

/// Plays a story, in which the call `fails` does, on lifesign, and compares.
fn compare(test: &str, story: &'static str, failback: &str, fails: &str) {
    trial::run(test, PROGRAM, Setup::pair(), |trial| {
        write(trial, failback);
        if !fails.is_empty() {
            trial.write(&format!("fail.{fails}"), "");
        }
        trial.start(WITNESS);
        let (mut theirs, mut ours) = (Running::default(), Running::default());
        for (event, calls) in recorded(story) {
            if let Some(name) = event.strip_prefix("crash ") {
                theirs.crash(name);
            }
            let mut expected = theirs.reduced(&calls, fails);
            let known = DIFFERENCES.iter().find(|it| it.story == story && it.event == event);
            let mut why = String::new();
            if let Some(known) = known {
                let calls =
                    known.calls.map(|line| line.iter().map(|it| (*it).to_owned()).collect());
                assert_ne!(expected, calls, "no difference any more: {story}, {event}");
                (expected, why) = (calls, format!(" ({})", known.why));
            }
            do_event(trial, &mut ours, &event);
            let found = await_calls(trial, &ours, &expected, fails);
            let _taken = ours.reduced(&take_calls(trial), fails);
            assert_eq!(found, expected, "{story}: after `{event}`{why}");
        }
    });
}

/// Returns what was called when that is what is expected, or when nothing more comes.
fn await_calls(
    trial: &Trial,
    before: &Running,
    expected: &[Vec<String>; 2],
    fails: &str,
) -> [Vec<String>; 2] {
    let look = || {
        let lines = Running(before.0.clone()).reduced(&read_calls(trial), fails);
        if before.0.is_empty() { lines.map(without_detour) } else { lines }
    };
    for _ in 0..200 {
        if look() == *expected {
            break;
        }
        pause(100);
    }
    // Whatever else would come is as wrong as what is missing.
    pause(1_500);
    look()
}

fn read_calls(trial: &Trial) -> Vec<String> {
    let text = fs::read_to_string(trial.cluster().directory().join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn take_calls(trial: &Trial) -> Vec<String> {
    let calls = read_calls(trial);
    trial.write("calls", "");
    calls
}

#[test]
fn a_master_reclaims_as_heartbeat_let_it() {
    compare("a_master_reclaims_as_heartbeat_let_it", "failback-on", "on", "");
}

#[test]
fn without_failback_all_stays_as_heartbeat_left_it() {
    compare("without_failback_all_stays_as_heartbeat_left_it", "failback-off", "off", "");
}

#[test]
fn a_script_that_does_not_start_moves_its_line() {
    let test = "a_script_that_does_not_start_moves_its_line";
    compare(test, "start-fails", "on", "alpha.db.start");
}
