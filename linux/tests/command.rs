//! The command as its users meet it: what it prints where, and how it ends.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const SETTINGS: &str = r#"version = 1
cluster = "web"
key_file = "FOLDER/key"
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
adapter = "lo"
members = { alpha = "10.77.0.1", beta = "10.77.0.2", quorum = "10.77.0.9" }
[[group]]
name = "www"
addresses = ["10.77.0.100/24"]
"#;

/// A folder of its own with the settings above in it.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lifesign-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let place = Self { folder };
        place.write(SETTINGS);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, settings: &str) {
        let text = settings.replace("FOLDER", &self.folder.to_string_lossy());
        fs::write(self.path("web.toml"), text).unwrap();
    }

    fn check(&self, more: &[&str]) -> Said {
        run(Command::new(PROGRAM).arg("check").arg(self.path("web.toml")).args(more))
    }

    fn keygen(&self, more: &[&str]) -> Said {
        run(Command::new(PROGRAM).arg("keygen").args(more).arg(self.path("key")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_lifesign");

fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Said { code: status.code(), out, err }
}

fn lifesign(words: &[&str]) -> Said {
    run(Command::new(PROGRAM).args(words))
}

#[test]
fn good_settings_are_shown_with_their_numbers() {
    let place = Place::new("good");
    let said = place.check(&[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("D + S + g + K = 24.504 ms <="), "{}", said.out);
    assert!(said.out.contains("crash of the holder            46.3 ms"), "{}", said.out);
    let said = place.check(&["--json"]);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["groups"][0]["bounds"]["crash_ms"], 46.252);
}

#[test]
fn wrong_settings_end_with_2_and_touch_nothing() {
    let place = Place::new("wrong");
    place.write(
        &SETTINGS.replace("\"fast\"", "\"fats\"").replace("name = \"beta\"", "nmae = \"beta\""),
    );
    let said = place.check(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    let expected = format!(
        "error: `profile` cannot be \"fats\"
 --> {}:4:11
  |
4 | profile = \"fats\"
  |           ^^^^^^ there is no such profile
  |
  = help: did you mean \"fast\"?

error: this `[[node]]` has no `name`",
        place.path("web.toml").display()
    );
    assert!(said.err.starts_with(&expected), "{}", said.err);
    assert!(said.err.contains("= help: did you mean \"name\"?"), "{}", said.err);
    let said = run(Command::new(PROGRAM).arg("check").arg(place.path("none.toml")));
    assert_eq!(said.code, Some(2));
    assert!(said.err.ends_with("none.toml: no such file or directory\n"), "{}", said.err);
}

#[test]
fn unsafe_settings_end_with_2_and_name_the_term() {
    let place = Place::new("unsafe");
    place.write(&SETTINGS.replace("profile =", "enforcer = \"valid_lft\"\nprofile ="));
    let expected = "error: group www: authority would be 0 ms, shorter than 2 heartbeats and a \
                    round trip (11 ms): promise 25 ms is too short for heartbeat 5 ms with an \
                    overshoot of 1000 ms: raise promise to at least 1037 ms\n";
    let said = place.check(&[]);
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains(expected) && said.out.contains("REFUSED"), "{}", said.out);
    let said = place.check(&["--json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(2), expected));
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["accepted"], false);
}

#[test]
fn a_machine_is_looked_at_as_the_node_that_it_is() {
    let place = Place::new("node");
    let missing =
        format!("open key file {}: no such file or directory", place.path("key").display());
    let said = place.check(&["--node", "alpha"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains(&missing), "{}", said.out);
    assert_eq!(place.keygen(&[]).code, Some(0));
    assert!(!place.check(&["--node", "alpha"]).out.contains("key file"));
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let said = place.check(&["--node", "alpha"]);
    assert!(said.out.contains("mode 0640 lets others in; run `chmod 600"), "{}", said.out);
    let said = place.check(&["--node", "gamma"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.err, "error: there is no node \"gamma\"; known are alpha and beta\n");
}

#[test]
fn the_file_of_a_quorum_server_is_known_by_its_content() {
    let place = Place::new("witness");
    let witness = "version = 1\nlisten = [\"0.0.0.0:6940\"]\nlongest_promise = \"10s\"\n\
                   [[cluster]]\nname = \"web\"\nkey_file = \"FOLDER/key\"\n";
    place.write(witness);
    assert_eq!(place.keygen(&[]).code, Some(0));
    let said = place.check(&[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.ends_with("cluster web: witness 1, heartbeat 100 ms, dead 700 ms\n"));
    place.write(&witness.replace("10s", "10"));
    let said = place.check(&[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("a unit is missing"), "{}", said.err);
}

#[test]
fn keys_are_made_rotated_and_never_lost() {
    let place = Place::new("keys");
    assert_eq!(place.keygen(&[]).code, Some(0));
    let first = fs::read(place.path("key")).unwrap();
    let said = place.keygen(&[]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is there already"), "{}", said.err);
    assert_eq!(fs::read(place.path("key")).unwrap(), first);
    for (words, expected) in [
        (&["--add"][..], "key 2 is added"),
        (&["--sign", "2"], "key 2 signs"),
        (&["--remove", "1"], "key 1 is gone"),
    ] {
        let said = place.keygen(words);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains(expected), "{}", said.out);
        let file = fs::read_to_string(place.path("key")).unwrap();
        let secrets: Vec<&str> = file.split('"').filter(|text| text.len() == 64).collect();
        assert!(!secrets.is_empty() && !secrets.iter().any(|secret| said.out.contains(secret)));
    }
    assert_eq!(place.keygen(&["--add", "--sign", "1"]).code, Some(2), "one thing at a time");
}

#[test]
fn without_a_daemon_that_is_said_in_one_line() {
    let place = Place::new("nobody");
    let socket = place.path("control");
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["why", "www"],
        &["watch"],
        &["watch", "--json", "--since", "1"],
        &["standby"],
        &["takeover"],
    ] {
        let said = run(Command::new(PROGRAM).args(words).arg("--control").arg(&socket));
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{words:?}");
        let expected = format!("error: no lifesign daemon is running at {}\n", socket.display());
        assert_eq!(said.err, expected);
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for words in [
        &[][..],
        &["reboot"],
        &["check"],
        &["status", "--json", "--watch"],
        &["watch", "--start", "1"],
    ] {
        assert_eq!(lifesign(words).code, Some(2), "{words:?}");
    }
    assert_eq!(lifesign(&["--help"]).code, Some(0));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let place = Place::new("pages");
    let commands = ["check", "keygen", "status", "why", "watch", "standby", "takeover"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = lifesign(&["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(commands.iter().all(|command| said.out.contains(command)), "{shell}");
    }
    let said = run(Command::new(PROGRAM).arg("manual").arg(&place.folder));
    assert_eq!(said.code, Some(0), "{}", said.err);
    for command in commands {
        let page = fs::read_to_string(place.path(&format!("lifesign-{command}.1"))).unwrap();
        assert!(page.contains("Example"), "{command}");
    }
    let said = lifesign(&["manual", "/nonexistent"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err, "error: write into /nonexistent: no such file or directory\n");
}

#[test]
fn a_reader_who_has_heard_enough_is_no_failure() {
    let place = Place::new("pipe");
    let file = place.path("web.toml");
    for words in [&["check", file.to_str().unwrap()][..], &["completions", "bash"], &["--help"]] {
        let said = closed(words);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}

/// Runs the program with a standard output that nobody reads, and returns what it complains of.
fn closed(words: &[&str]) -> String {
    let mut child = Command::new(PROGRAM)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}
