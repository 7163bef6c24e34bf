//! Name servers: BIND and Knot, each with a zone whose records may be changed under a key.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lifesign::namespace;

use crate::scratch::Scratch;

/// The zone.
pub const ZONE: &str = "example.org";
/// The key that may change it, and one that may not.
pub const KEYS: [(&str, &str); 2] =
    [("lifesign", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYyE="), ("other", "b3RoZXItb3RoZXI=")];

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// BIND 9.
    Bind,
    /// Knot DNS.
    Knot,
}

impl Software {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bind, Self::Knot];

    /// Writes what it needs into `folder`, and returns the command that serves at `ips`.
    #[must_use]
    pub fn command(self, folder: &Path, ips: &[IpAddr]) -> Command {
        let place = folder.display();
        fs::create_dir_all(folder).expect("a folder");
        let zone = "$TTL 60\n@ IN SOA ns hostmaster 1 60 60 600 60\n@ IN NS ns\n\
                    ns IN A 127.0.0.1\n";
        fs::write(folder.join("zone"), zone).expect("a zone");
        let addresses = |version: bool| {
            let own = ips.iter().filter(|ip| ip.is_ipv4() == version);
            own.map(|ip| format!("{ip}; ")).collect::<String>()
        };
        match self {
            Self::Bind => {
                let keys = KEYS.map(|(name, secret)| {
                    format!("key {name} {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")
                });
                let text = format!(
                    "options {{ directory \"{place}\"; listen-on {{ {}}}; \
                     listen-on-v6 {{ {}}}; pid-file none; session-keyfile none; recursion no; \
                     dnssec-validation no; notify no; empty-zones-enable no; }};\ncontrols {{ }};\n\
                     {}zone \"{ZONE}\" {{ type primary; file \"zone\"; \
                     update-policy {{ grant lifesign subdomain {ZONE}. A AAAA TXT; }}; }};\n",
                    addresses(true),
                    addresses(false),
                    keys.concat(),
                );
                fs::write(folder.join("named.conf"), text).expect("settings");
                let mut command = Command::new("/usr/sbin/named");
                command.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf"));
                command
            }
            Self::Knot => {
                let keys = KEYS.map(|(name, secret)| {
                    format!("  - id: {name}\n    algorithm: hmac-sha256\n    secret: {secret}\n")
                });
                let listen: Vec<String> = ips.iter().map(|ip| format!("{ip}@53")).collect();
                let text = format!(
                    "server:\n  rundir: {place}\n  listen: [{}]\n  udp-workers: 1\n  \
                     tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: {place}\n\
                     log:\n  - target: stderr\n    any: info\nkey:\n{}acl:\n  - id: ours\n    \
                     key: lifesign\n    action: update\nzone:\n  - domain: {ZONE}\n    \
                     storage: {place}\n    file: zone\n    acl: ours\n",
                    listen.join(", "),
                    keys.concat(),
                );
                fs::write(folder.join("knot.conf"), text).expect("settings");
                let mut command = Command::new("/usr/sbin/knotd");
                command.arg("-c").arg(folder.join("knot.conf"));
                command
            }
        }
    }
}

/// A name server that runs here, until it is dropped or the thread ends that has started it.
#[derive(Debug)]
pub struct NameServer {
    process: Child,
    scratch: Scratch,
}

impl NameServer {
    /// Starts one in the caller's network and waits until it serves.
    #[must_use]
    pub fn start(software: Software, ips: &[IpAddr]) -> Self {
        let scratch = Scratch::new("names");
        let folder = scratch.path();
        let journal = fs::File::create(folder.join("log")).expect("a file");
        let mut command = software.command(folder, ips);
        command.stdin(Stdio::null()).stdout(journal.try_clone().expect("a file")).stderr(journal);
        namespace::end_with_starter(&mut command);
        let process = command.spawn();
        let process = process.unwrap_or_else(|error| {
            panic!("{command:?}: {error}; install bind9, bind9-dnsutils and knot")
        });
        let server = Self { process, scratch };
        let is_there = (0..300).any(|_| {
            thread::sleep(Duration::from_millis(50));
            ips.iter().all(|ip| !dig(*ip, ZONE, "SOA").is_empty())
        });
        let journal = fs::read_to_string(server.folder().join("log")).unwrap_or_default();
        assert!(is_there, "{software:?} does not serve:\n{journal}");
        server
    }

    /// Writes a file with the key `name` and `secret`, readable with `mode`, and returns its path.
    #[must_use]
    pub fn write_key(&self, file: &str, name: &str, secret: &str, mode: u32) -> PathBuf {
        write_key(self.folder(), file, name, secret, mode)
    }

    /// Returns the name server's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the number of its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}

/// Writes a file with the key `name` and `secret` into `folder`, and returns its path.
#[must_use]
pub fn write_key(folder: &Path, file: &str, name: &str, secret: &str, mode: u32) -> PathBuf {
    let path = folder.join(file);
    let text = format!("key {name} {{\n\talgorithm hmac-sha256;\n\tsecret \"{secret}\";\n}};\n");
    fs::write(&path, text).expect("a key");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    path
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Asks the name server `ip` as any client does, and returns its answer, sorted, in one line.
#[must_use]
pub fn dig(ip: IpAddr, name: &str, kind: &str) -> String {
    let mut command = Command::new("/usr/bin/dig");
    command.args(["+short", "+time=1", "+tries=1", "+noall", "+answer", &format!("@{ip}")]);
    let output = command.args(["-q", name, "-t", kind]).output();
    let output = output.unwrap_or_else(|error| panic!("dig: {error}; install bind9-dnsutils"));
    if !output.status.success() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// Returns the place of `ip` at which name servers serve.
#[must_use]
pub fn port_of(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 53)
}
