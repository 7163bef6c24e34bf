//! The settings files of the demonstration.

/// The key of the demonstration, which protects nothing that leaves this machine.
pub(super) const KEY: &str = r#"version = 1
sign = 1
[keys]
1 = "6c6966657369676e2064656d6f206b65792c206e6f7420612073656372657421"
"#;

/// Where the servers' table of spans goes.
pub(super) const TIMING: &str = "TIMING";

/// Where the witness's spans go.
pub(super) const PACE: &str = "PACE";

/// Spans for daemons that have to wait for a processor like everybody else.
pub(super) const CALM: [&str; 2] = [
    "[timing]\nheartbeat = \"20ms\"\ndead = \"200ms\"\npromise = \"250ms\"",
    "heartbeat = \"20ms\"\ndead = \"200ms\"",
];

/// The settings of both servers, with `DIRECTORY`, [`TIMING`] and [`PACE`] to fill in.
pub(super) const SETTINGS: &str = r#"version = 1
cluster = "demo"
key_file = "DIRECTORY/key"
profile = "fast"
quorum = ["majority", "witness"]
TIMING

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

[[link]]
name = "spare"
kind = "ether"
adapter = "eth1"

[[network]]
name = "front"
links = ["lan", "spare"]
ask = ["10.77.0.50"]

[[group]]
name = "www"
guard = "address"
addresses = ["10.77.0.100/24"]
prefer = ["alpha", "beta"]
"#;

/// The settings of the quorum server, with `DIRECTORY`, [`TIMING`] and [`PACE`] to fill in.
pub(super) const WITNESS_SETTINGS: &str = r#"version = 1
listen = ["0.0.0.0:6940"]
longest_promise = "400ms"
state_dir = "DIRECTORY/quorum"
control = "DIRECTORY/quorum.control"

[[cluster]]
name = "demo"
key_file = "DIRECTORY/key"
witness = 1
profile = "fast"
PACE
"#;

/// The spans of the servers with a dongle, where daemons have to wait for a processor.
pub(super) const DONGLE_CALM: [&str; 2] =
    ["[timing]\nheartbeat = \"100ms\"\ndead = \"600ms\"\npromise = \"800ms\"\nsettle = \"2s\"", ""];

/// The spans of the servers with a dongle, which its lines can carry.
pub(super) const DONGLE_TIMING: &str =
    "[timing]\nheartbeat = \"50ms\"\ndead = \"300ms\"\npromise = \"400ms\"\nsettle = \"1s\"";

/// The settings of both servers with a dongle, with `DIRECTORY` and [`TIMING`] to fill in.
pub(super) const DONGLE_SETTINGS: &str = r#"version = 1
cluster = "demo"
key_file = "DIRECTORY/key"
quorum = ["majority", "witness"]
ping = ["10.77.0.50"]
TIMING

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
delivery = "multicast"
multicast = "239.255.76.83"
port = 6940
members = { alpha = "10.77.0.1", beta = "10.77.0.2" }

[[link]]
name = "private"
kind = "udp"
adapter = "eth1"
delivery = "multicast"
multicast = "239.255.76.83"
port = 6940
members = { alpha = "10.78.0.1", beta = "10.78.0.2" }

[[link]]
name = "wire"
kind = "serial"
device = { alpha = "DIRECTORY/alpha.tty", beta = "DIRECTORY/beta.tty" }
speed = 115200
witness = "dongle"
resets = ["alpha", "beta"]

[[group]]
name = "www"
guard = "address"
addresses = ["10.77.0.100/24"]
prefer = ["alpha", "beta"]
conflict_probe = "50ms"

[[group]]
name = "disk"
guard = "fence"
addresses = ["10.77.0.101/24"]
prefer = ["alpha", "beta"]
conflict_probe = "50ms"
"#;
