//! The commands about dongles as their users meet them, with an emulated one.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use lifesign::namespace::{self, Users};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lifesign");

const SETTINGS: &str = r#"version = 1
cluster = "web"
key_file = "FOLDER/key"
profile = "standard"
quorum = ["majority", "witness"]
[[node]]
name = "alpha"
[[node]]
name = "beta"
[[witness]]
name = "dongle"
[[link]]
name = "wire"
kind = "serial"
device = "/dev/ttyS0"
witness = "dongle"
resets = ["beta"]
"#;

/// A folder with settings and a key, and a dongle that runs in it.
struct Place {
    folder: PathBuf,
    dongle: Option<Child>,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lifesign-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let text = SETTINGS.replace("FOLDER", &folder.to_string_lossy());
        fs::write(folder.join("web.toml"), text).unwrap();
        let place = Self { folder, dongle: None };
        let key = place.path("key");
        assert!(Command::new(PROGRAM).arg("keygen").arg(key).output().unwrap().status.success());
        place
    }

    /// Starts the dongle, and returns the line in which it names its first port.
    fn emulate(&mut self, more: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(["dongle", "emulate", "--dir"]).arg(self.path("dongle")).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        self.dongle = Some(child);
        first
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn dongle(&self, words: &[&str]) -> Said {
        self.told(words, "")
    }

    /// Runs `lifesign dongle` with `words` in the folder, which reads `input`.
    fn told(&self, words: &[&str], input: &str) -> Said {
        let mut command = Command::new(PROGRAM);
        command.current_dir(&self.folder).arg("dongle").args(words).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Said { code: status.code(), out, err }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut dongle) = self.dongle.take() {
            let _ = dongle.kill();
            let _ = dongle.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const PROVISION: [&str; 8] = [
    "provision",
    "dongle/port1",
    "--settings",
    "web.toml",
    "--port",
    "1=alpha",
    "--port",
    "2=beta",
];

#[test]
fn a_dongle_is_set_up_and_shows_it() {
    let mut place = Place::new("dongle");
    let first = place.emulate(&[]);
    assert!(first.ends_with("dongle/port1\n"), "{first}");
    let said = place.told(&PROVISION, "y\n");
    assert_eq!(said.code, Some(2));
    assert_eq!(said.err, "error: there is no terminal to ask on: say --yes if it shall be done\n");
    let said = place.dongle(&["info", "dongle/port1", "--settings", "web.toml"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("error: it is not provisioned"), "{}", said.out);
    let said = place.dongle(&[&PROVISION[..], &["--yes"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("go over this cable in clear"), "{}", said.out);
    assert!(said.out.contains("The dongle is the witness dongle of cluster web"), "{}", said.out);
    let said = place.dongle(&["info", "dongle/port2", "--json", "--settings", "web.toml"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&value["cluster"], &value["port"]), (&"web".into(), &2.into()));
    assert_eq!(value["ports"][1]["name"], "beta");
    let said = place.dongle(&["log", "dongle/port1", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["events"][1]["text"], "new settings are in force");
    let mail = fs::read_to_string(place.path("web.toml")).unwrap().replace("\"web\"", "\"mail\"");
    fs::write(place.path("mail.toml"), mail).unwrap();
    let said = place.dongle(&["info", "dongle/port1", "--settings", "mail.toml"]);
    assert_eq!(said.code, Some(5));
    assert!(said.out.contains("error: it belongs to another cluster: its id is"), "{}", said.out);
}

#[test]
fn nothing_is_stored_without_a_yes() {
    let mut place = Place::new("dongle-asked");
    place.emulate(&[]);
    for (answer, code) in [("\n", 1), ("n\n", 1), ("yes\n", 0)] {
        let terminal = openpty(None, None).unwrap();
        let mut command = Command::new(PROGRAM);
        command.current_dir(&place.folder).arg("dongle").args(PROVISION).stdin(terminal.slave);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        nix::unistd::write(&terminal.master, answer.as_bytes()).unwrap();
        let Output { status, stdout, .. } = child.wait_with_output().unwrap();
        let out = String::from_utf8(stdout).unwrap();
        assert_eq!(status.code(), Some(code), "{out}");
        assert!(out.contains("Store this? [y/N] "), "{out}");
        let said = place.dongle(&["info", "dongle/port1"]);
        assert_eq!(said.out.contains("cluster   none yet"), code == 1, "{}", said.out);
    }
}

#[test]
fn a_line_is_tried_and_ends_are_clean() {
    let mut place = Place::new("dongle-test");
    let first = place.emulate(&["--json", "--ports", "1"]);
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&value["event"], &value["port"]), (&"port".into(), &1.into()));
    let words = ["test", "dongle/port1", "--seconds", "1", "--settings", "web.toml", "--json"];
    let said = place.dongle(&words);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["clock"]["allowed_ppm"], 10_000, "{}", said.out);
    assert!(value["sizes"][0]["median_ms"].as_f64().unwrap() > 1.0, "paced: {}", said.out);
    let mut dongle = place.dongle.take().unwrap();
    let number = Pid::from_raw(dongle.id().try_into().unwrap());
    kill(number, Signal::SIGTERM).unwrap();
    assert_eq!(dongle.wait().unwrap().code(), Some(0));
    assert!(!place.path("dongle/port1").exists(), "nothing leads nowhere");
    let said = place.dongle(&["info", "dongle/port1"]);
    assert_eq!(said.code, Some(3));
    assert!(said.err.starts_with("error: open dongle/port1: no such device; "), "{}", said.err);
}

#[test]
fn what_cannot_be_used_is_said_in_one_line() {
    let place = Place::new("dongle-wrong");
    for (words, code, expected) in [
        (&["info", "/dev/null"][..], 3, "error: open /dev/null: not a serial device\n"),
        (&["test", "web.toml"], 3, "error: open web.toml: not a serial device\n"),
        (&["info", "nowhere", "--settings", "none.toml"], 2, "none.toml: no such file or"),
        (&["emulate", "--dir", "web.toml"], 1, "error: open web.toml: file exists\n"),
        (&["info", "nowhere", "--speed", "1"], 2, "1 is not in 300..=4000000"),
        (&["provision", "nowhere", "--settings", "web.toml", "--port", "1"], 2, "like 1=alpha"),
    ] {
        let said = place.dongle(words);
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert!(said.err.contains(expected), "{}", said.err);
    }
    let said = place.dongle(&[&PROVISION[..], &["--resets", "gamma"]].concat());
    let expected = "error: there is no node \"gamma\"; known are alpha and beta\n";
    assert_eq!((said.code, said.err.as_str()), (Some(2), expected));
}

/// A daemon in a process group of its own, so that all of it can be frozen.
struct Daemon(Child);

impl Daemon {
    fn start(place: &Place, node: &str) -> Self {
        let state = place.path(node);
        fs::create_dir(&state).unwrap();
        let mut command = Command::new(PROGRAM);
        // A machine has one daemon, and a network namespace is one.
        namespace::isolate(&mut command, Users::Same);
        command.args(["run", "--node", node, "--state-dir"]).arg(&state);
        command.arg("--control").arg(state.join("control")).arg(place.path("web.toml"));
        let log = fs::File::create(place.path(&format!("{node}.log"))).unwrap();
        let child = command.process_group(0).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        fs::write(place.path(&format!("{node}.pid")), child.id().to_string()).unwrap();
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.0.id().try_into().unwrap()), signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Two servers whose only link is the dongle; the holder of the service freezes.
#[test]
fn a_frozen_holder_is_reset_before_its_service_starts_elsewhere() {
    let test = "a_frozen_holder_is_reset_before_its_service_starts_elsewhere";
    if namespace::enter(test, Users::New).unwrap().is_none() {
        return;
    }
    let mut place = Place::new("dongle-reset");
    let folder = place.folder.to_string_lossy().into_owned();
    let group = "[[group]]\nname = \"job\"\nguard = \"fence\"\n[[group.service]]\nname = \"s\"\n\
                 start = [\"/bin/sh\", \"-c\", \"echo start >> FOLDER/story\"]\n\
                 stop = [\"/bin/true\"]\nstop_limit = \"100ms\"\n";
    let device = "device = { alpha = \"FOLDER/dongle/port1\", beta = \"FOLDER/dongle/port2\" }";
    let text = SETTINGS
        .replace("device = \"/dev/ttyS0\"", device)
        .replace("resets = [\"beta\"]", "resets = [\"alpha\", \"beta\"]");
    let text = format!("{text}{group}").replace("FOLDER", &folder);
    fs::write(place.path("web.toml"), text).unwrap();
    let on_reset =
        format!("echo reset >> {folder}/story; kill -9 -$(cat {folder}/$LIFESIGN_NAME.pid)");
    place.emulate(&["--on-reset", &on_reset]);
    let said = place.dongle(&[&PROVISION[..], &["--yes"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let daemons = ["alpha", "beta"].map(|node| (node, Daemon::start(&place, node)));
    let story = |lines: usize| {
        let begun = std::time::Instant::now();
        loop {
            let story = fs::read_to_string(place.path("story")).unwrap_or_default();
            if story.lines().count() >= lines {
                return story;
            }
            let logs = ["alpha", "beta"].map(|node| {
                fs::read_to_string(place.path(&format!("{node}.log"))).unwrap_or_default()
            });
            assert!(begun.elapsed().as_secs() < 40, "{story}\n{}\n{}", logs[0], logs[1]);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    assert_eq!(story(1), "start\n");
    let status = |node: &str| {
        let control = place.path(node).join("control");
        let mut command = Command::new(PROGRAM);
        command.args(["status", "--json", "--control"]).arg(control);
        let said = command.output().unwrap().stdout;
        serde_json::from_slice::<serde_json::Value>(&said).unwrap()
    };
    let said = place.dongle(&["info", "dongle/port1"]);
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains("port1: busy: lifesign (process "), "{}", said.err);
    let holder = status("alpha")["groups"][0]["holder"].as_str().unwrap().to_owned();
    let (_, frozen) = daemons.iter().find(|(node, _)| **node == holder).unwrap();
    frozen.signal(Signal::SIGSTOP);
    assert_eq!(story(3), "start\nreset\nstart\n");
}
