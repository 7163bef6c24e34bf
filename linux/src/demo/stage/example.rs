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
