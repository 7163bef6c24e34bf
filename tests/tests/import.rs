//! Whole directories of Linux-HA heartbeat, as the command takes them.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// The two nodes of an article of 2002, as it has them, with the names of this machine's network.
const HA_CF: &str = "\
debugfile /var/log/ha-debug
logfile /var/log/ha-log
logfacility local0
keepalive 2
deadtime 10
hopfudge 1
baud 19200
serial /dev/ttyS0
udpport 694
udp eth0
node clustnode1
node clustnode2
";
const CRC: &str = "auth 1\n1 crc\n";
const SHA1: &str = "auth 1\n1 sha1 TheOldSecretOfTheTwoServers\n";
const HARESOURCES: &str = "clustnode1 192.168.10.10/24 httpd\n";
/// What nobody can look up for names that are not there.
const ADDRESSES: [&str; 4] =
    ["--address", "clustnode1=192.168.10.1", "--address", "clustnode2=192.168.10.2"];

/// A directory of its own.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(ha_cf: &str, authkeys: &str, haresources: &str) -> Self {
        let template = std::env::temp_dir().join("lifesign-import-XXXXXX");
        let place = Self { folder: nix::unistd::mkdtemp(&template).unwrap() };
        for (name, text) in [("ha.cf", ha_cf), ("authkeys", authkeys), ("haresources", haresources)]
        {
            fs::write(place.path(name), text).unwrap();
        }
        fs::set_permissions(place.path("authkeys"), Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn import(&self, more: &[&str]) -> Said {
        lifesign(&[&["import", self.folder.to_str().unwrap()], more].concat())
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

fn lifesign(words: &[&str]) -> Said {
    let mut command = Command::new(PROGRAM);
    let Output { status, stdout, stderr } =
        command.args(words).stdin(Stdio::null()).output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Said { code: status.code(), out, err }
}

#[test]
fn crc_is_refused_with_the_way_out() {
    let place = Place::new(HA_CF, CRC, HARESOURCES);
    let said = place.import(&ADDRESSES);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    let expected = format!(
        "error: {}:2: key 1 is crc, with which anybody could claim the addresses; run `lifesign \
         keygen /etc/lifesign/key`, copy that file to all nodes, and say --key-file \
         /etc/lifesign/key\n",
        place.path("authkeys").display()
    );
    assert_eq!(said.err, expected);
    // That way is open.
    let said = place.import(&[&ADDRESSES[..], &["--key-file", "/etc/lifesign/key"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("key_file = \"/etc/lifesign/key\""), "{}", said.out);
}

#[test]
fn the_article_is_imported_and_checked() {
    let place = Place::new(HA_CF, SHA1, HARESOURCES);
    let said = place.import(&ADDRESSES);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("warning: ") && said.err.contains("two nodes and no witness"));
    assert!(!said.out.contains("TheOldSecret") && !said.err.contains("TheOldSecret"));
    let settings: toml::Table = said.out.parse().unwrap();
    assert_eq!(settings["timing"]["heartbeat"].as_str(), Some("2s"));
    assert_eq!(settings["timing"]["dead"].as_str(), Some("10s"));
    assert_eq!(settings["link"].as_array().unwrap().len(), 2);
    assert_eq!(settings["link"][0]["delivery"].as_str(), Some("broadcast"));
    assert_eq!(settings["link"][1]["device"].as_str(), Some("/dev/ttyS0"));
    let group = &settings["group"][0];
    assert_eq!(group["prefer"][0].as_str(), Some("clustnode1"));
    assert_eq!(group["failback"].as_str(), Some("on"), "the master reclaims when it is back");
    assert_eq!(group["service"][0]["agent"].as_str(), Some("heartbeat:httpd"));
    let file = place.path("lifesign.toml");
    fs::write(&file, &said.out).unwrap();
    let checked = lifesign(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
}

#[test]
fn a_key_file_is_the_same_on_both_nodes_and_never_overwritten_by_accident() {
    let [one, two] = [(); 2].map(|()| Place::new(HA_CF, SHA1, HARESOURCES));
    let keys = [&one, &two].map(|place| {
        let key = place.path("key");
        let words = [&ADDRESSES[..], &["--key", key.to_str().unwrap()]].concat();
        let said = place.import(&words);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains(&format!("key_file = \"{}\"", key.display())), "{}", said.out);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let again = place.import(&words);
        assert_eq!((again.code, again.out.as_str()), (Some(1), ""));
        assert!(again.err.contains("is there already; --force replaces it"), "{}", again.err);
        assert_eq!(place.import(&[&words[..], &["--force"]].concat()).code, Some(0));
        fs::read_to_string(key).unwrap()
    });
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let place = Place::new(
        &HA_CF.replace("keepalive", "keepalve").replace("udp eth0", "stonith null /x"),
        &SHA1.replace("auth 1", "auth 2"),
        "clustnode1\n",
    );
    let said = place.import(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    let lines: Vec<&str> = said.err.lines().collect();
    for (line, expected) in lines.iter().zip([
        "/ha.cf:4: there is no directive \"keepalve\"; did you mean \"keepalive\"?",
        "/ha.cf:10: stonith null: it cannot be taken over; it makes nothing silent",
        "/authkeys:1: there is no key 2; add its line",
        "/haresources:1: node clustnode1 has no resources; add them behind it",
    ]) {
        assert!(line.contains(expected), "{line} is not {expected}");
    }
    assert_eq!(lines.len(), 4, "{}", said.err);
}

#[test]
fn the_directives_are_listed() {
    let said = lifesign(&["import", "--directives"]);
    assert_eq!(said.code, Some(0));
    let line = said.out.lines().find(|line| line.starts_with("keepalive ")).unwrap();
    assert!(line.contains("implemented"), "{line}");
}

#[test]
fn run_takes_settings_or_a_directory_and_not_both() {
    let place = Place::new(HA_CF, CRC, HARESOURCES);
    let folder = place.folder.to_str().unwrap();
    for (words, expected) in [
        (&["run"][..], "required"),
        (&["run", "--ha-d", folder, "/etc/lifesign.toml"], "cannot be used with"),
        (&["run", "--witness", "q=10.0.0.9", "/etc/lifesign.toml"], "go with --ha-d"),
        (&["run", "--ha-d", folder], "authkeys:2: key 1 is crc"),
    ] {
        let said = lifesign(words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
}

#[test]
fn a_link_called_like_an_old_tool_is_that_tool() {
    let place = Place::new(HA_CF, SHA1, HARESOURCES);
    let control = place.path("control");
    let control = control.to_str().unwrap();
    let stopped = "Heartbeat is stopped on this machine.\n";
    let tool = |name: &str, words: &[&str]| {
        let link = place.path(name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let output = Command::new(link).args(["--control", control]).args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(tool("cl_status", &["hbstatus"]), (Some(1), stopped.to_owned()));
    assert_eq!(tool("hb_standby", &["foreign"]), (Some(1), String::new()));
    assert_eq!(tool("hb_takeover", &[]), (Some(1), String::new()));
    let said = lifesign(&["cl_status", "--control", control, "hbstatus", "-v"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), stopped));
    assert_eq!(lifesign(&["cl_status", "--control", control]).code, Some(11));
}
