//! The programs that are compared, and how each is set up for its fastest failover.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use lifesign::demo::cluster::Cluster;

/// The two servers.
pub(crate) const SERVERS: [&str; 2] = ["alpha", "beta"];

/// The quorum server; keepalived has none and leaves it idle.
pub(crate) const WITNESS: &str = "quorum";

/// A program that keeps an address alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// keepalived with the shortest interval it takes.
    Keepalived,
    /// The same with real-time priority.
    KeepalivedRealtime,
    /// The same with a MAC address that moves (`use_vmac`).
    KeepalivedMac,
    /// lifesign with the profile `fast`.
    Lifesign,
    /// The same with a MAC address that moves.
    LifesignMac,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] = [
        Self::Keepalived,
        Self::KeepalivedRealtime,
        Self::KeepalivedMac,
        Self::Lifesign,
        Self::LifesignMac,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::KeepalivedRealtime => "keepalived-realtime",
            Self::KeepalivedMac => "keepalived-mac",
            Self::Lifesign => "lifesign",
            Self::LifesignMac => "lifesign-mac",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Starts what the witness runs.
    pub(crate) fn start_witness(self, cluster: &mut Cluster) -> io::Result<()> {
        if !matches!(self, Self::Lifesign | Self::LifesignMac) {
            return Ok(());
        }
        let settings = write_with_place(cluster, "witness.toml", WITNESS_SETTINGS)?;
        cluster.start_witness(WITNESS, &settings)
    }

    /// Starts what the server `name` runs.
    pub(crate) fn start_server(self, cluster: &mut Cluster, name: &str) -> io::Result<()> {
        match self {
            Self::Lifesign | Self::LifesignMac => {
                cluster.write("key", KEY)?;
                let mac = if self == Self::LifesignMac { "mac = \"auto\"\n" } else { "" };
                let text = format!("{SETTINGS}{mac}");
                let settings = write_with_place(cluster, "lifesign.toml", &text)?;
                cluster.start_node(name, &settings)
            }
            Self::Keepalived | Self::KeepalivedRealtime | Self::KeepalivedMac => {
                self.start_keepalived(cluster, name)
            }
        }
    }

    fn start_keepalived(self, cluster: &mut Cluster, name: &str) -> io::Result<()> {
        let priority = if name == SERVERS[0] { "110" } else { "100" };
        let realtime = match self {
            Self::KeepalivedRealtime => "vrrp_rt_priority 50\n    vrrp_rlimit_rttime 1000000",
            Self::Keepalived | Self::KeepalivedMac | Self::Lifesign | Self::LifesignMac => "",
        };
        let text = KEEPALIVED
            .replace("NAME", name)
            .replace("PRIORITY", priority)
            .replace("REALTIME", realtime);
        let text = if self == Self::KeepalivedMac {
            text.replace(" dev eth0", "").replace("    priority", "    use_vmac\n    priority")
        } else {
            text
        };
        let settings = cluster.write(&format!("{name}.conf"), &text)?;
        let file = |suffix: &str| settings.with_extension(suffix);
        let (id, child_id) = (file("pid"), file("vrrp.pid"));
        // A crash leaves them behind, and they would say that it still runs.
        for left in [&id, &child_id] {
            match std::fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut command = Command::new("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(&settings);
        command.arg("--pid").arg(id).arg("--vrrp_pid").arg(child_id);
        cluster.start(name, command)
    }
}

fn write_with_place(cluster: &Cluster, name: &str, text: &str) -> io::Result<PathBuf> {
    let place = cluster.directory().display().to_string();
    cluster.write(name, &text.replace("DIRECTORY", &place))
}

const KEEPALIVED: &str = "global_defs {
    router_id NAME
    vrrp_version 3
    REALTIME
}
vrrp_instance www {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority PRIORITY
    advert_int 0.01
    virtual_ipaddress {
        10.77.0.100/24 dev eth0
    }
}
";

const KEY: &str = r#"version = 1
sign = 1
[keys]
1 = "636f6d706172696e6720636f6e74656e64657273206f6e206f6e65206c616221"
"#;

const SETTINGS: &str = r#"version = 1
cluster = "compare"
key_file = "DIRECTORY/key"
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

const WITNESS_SETTINGS: &str = r#"version = 1
listen = ["0.0.0.0:6940"]
longest_promise = "100ms"
state_dir = "DIRECTORY/quorum"
control = "DIRECTORY/quorum.control"
[[cluster]]
name = "compare"
key_file = "DIRECTORY/key"
witness = 1
profile = "fast"
"#;
