//! Real daemons on real kernels: a laboratory with settings files, built for one test.
//!
//! A [`Setup`] says which nodes there are and what their settings are; a [`Ground`] builds it and
//! starts nothing by itself. Spans are those of a calm cluster, because other work shares the
//! machine of the tests: what must hold at any speed is asserted, and how fast it is is not.
//!
//! Machines are named as the nodes are: `alpha`, `beta`, `gamma`; besides there are the witness
//! `quorum` and the `client`. Group number `g` has the address [`address`]`(g)`.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::Duration;

use lifesign::demo::client::Client;
use lifesign::demo::cluster::Cluster;
use lifesign::demo::lab::{Lab, MachinePlan, Plan, Role};
use nix::sys::signal::Signal;

/// The nodes that there can be.
pub const NODES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The quorum server.
pub const WITNESS: &str = "quorum";

/// Which nodes there are and what they are told.
#[derive(Clone, Debug)]
pub struct Setup {
    nodes: usize,
    groups: usize,
    has_witness: bool,
    timing: String,
    cluster: String,
}

impl Setup {
    /// Returns two nodes with a witness and one group.
    #[must_use]
    pub fn pair() -> Self {
        Self {
            nodes: 2,
            groups: 1,
            has_witness: true,
            timing: CALM.to_owned(),
            cluster: "proof".to_owned(),
        }
    }

    /// Returns three nodes without a witness and one group.
    #[must_use]
    pub fn trio() -> Self {
        Self { nodes: 3, has_witness: false, ..Self::pair() }
    }

    /// Returns the setup with `groups` groups; each prefers another node.
    #[must_use]
    pub const fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Returns the setup with this text in the table `timing`.
    #[must_use]
    pub fn with_timing(mut self, timing: &str) -> Self {
        timing.clone_into(&mut self.timing);
        self
    }

    /// Returns the setup with another name of the cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: &str) -> Self {
        cluster.clone_into(&mut self.cluster);
        self
    }

    /// Returns the names of the nodes.
    #[must_use]
    pub fn names(&self) -> &'static [&'static str] {
        &NODES[..self.nodes]
    }

    /// Returns the settings of every node, whose key is the file `key`.
    #[must_use]
    pub fn settings(&self, key: &Path) -> String {
        let quorum = if self.has_witness { r#""majority", "witness""# } else { r#""majority""# };
        let mut text = format!(
            "version = 1\ncluster = \"{}\"\nkey_file = \"{}\"\nprofile = \"standard\"\n\
             quorum = [{quorum}]\n[timing]\n{}\n",
            self.cluster,
            key.display(),
            self.timing
        );
        let mut members = Vec::new();
        for (index, name) in self.names().iter().enumerate() {
            text += &format!("[[node]]\nname = \"{name}\"\n");
            members.push(format!("{name} = \"{}\"", node_address(index)));
        }
        if self.has_witness {
            text += &format!("[[witness]]\nname = \"{WITNESS}\"\n");
            members.push(format!("{WITNESS} = \"{WITNESS_ADDRESS}\""));
        }
        text += &format!("{LINK}members = {{ {} }}\n", members.join(", "));
        for group in 0..self.groups {
            let mut order: Vec<&str> = self.names().to_vec();
            order.rotate_left(group % self.nodes);
            text += &format!(
                "[[group]]\nname = \"{}\"\nguard = \"address\"\naddresses = [\"{}/24\"]\nprefer = [\"{}\"]\n",
                group_name(group),
                address(group),
                order.join("\", \"")
            );
        }
        text
    }

    /// Returns the settings of the witness.
    #[must_use]
    pub fn witness_settings(&self, key: &Path, control: &Path) -> String {
        format!(
            "version = 1\nlisten = [\"0.0.0.0:6940\"]\nlongest_promise = \"2s\"\ncontrol = \"{}\"\n\
             state_dir = \"{}\"\n[[cluster]]\n\
             name = \"{}\"\nkey_file = \"{}\"\nwitness = 1\nheartbeat = \"50ms\"\ndead = \"500ms\"\n",
            control.display(),
            control.with_extension("state").display(),
            self.cluster,
            key.display()
        )
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::new();
        for (index, name) in self.names().iter().enumerate() {
            let cable = format!("{}/24", node_address(index));
            plan = plan.with_machine(MachinePlan::new(name, Role::Server).with_cable(0, &cable));
        }
        let witness = MachinePlan::new(WITNESS, Role::Witness);
        plan = plan.with_machine(witness.with_cable(0, &format!("{WITNESS_ADDRESS}/24")));
        let client = MachinePlan::new("client", Role::Client).with_cable(0, "10.77.0.50/24");
        plan = plan.with_machine(client);
        (0..self.groups).fold(plan, |plan, group| plan.with_watched(0, &address(group)))
    }
}

/// Returns the service address of a group.
#[must_use]
pub fn address(group: usize) -> String {
    format!("10.77.0.{}", 100 + group)
}

/// Returns the name of a group.
#[must_use]
pub fn group_name(group: usize) -> String {
    format!("www{group}")
}

/// Returns a key file with keys of the numbers in `keys`, of which the number `sign` signs.
#[must_use]
pub fn key_text(sign: u8, keys: &[u8]) -> String {
    let mut text = format!("version = 1\nsign = {sign}\n[keys]\n");
    for key in keys {
        text += &format!("{key} = \"{}\"\n", format!("{key:02x}").repeat(32));
    }
    text
}

/// A laboratory with the settings of a [`Setup`]; dropping it ends everything and removes its files.
#[derive(Debug)]
pub struct Ground {
    cluster: Cluster,
    setup: Setup,
}

impl Ground {
    /// Builds the laboratory and writes the settings; every daemon is still to be started.
    ///
    /// `program` is the lifesign program.
    ///
    /// # Panics
    /// If the kernel or the file system refuses anything, as all methods here.
    #[must_use]
    pub fn build(program: &str, setup: Setup) -> Self {
        let directory = std::env::temp_dir().join(format!("lifesign-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the directory is made");
        let lab = Lab::build(program.as_ref(), &setup.plan()).expect("the laboratory is built");
        let ground = Self { cluster: Cluster::new(lab, PathBuf::from(program), directory), setup };
        let key = ground.put("key", &key_text(1, &[1]));
        ground.put("settings", &ground.setup.settings(&key));
        let control = ground.cluster.control(WITNESS);
        ground.put("witness", &ground.setup.witness_settings(&key, &control));
        ground
    }

    /// Writes a file beside the others, for its owner alone, and returns its path.
    ///
    /// # Panics
    /// See [`build`](Self::build).
    #[must_use]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.put(name, text)
    }

    /// Starts every daemon with the common settings.
    pub fn start_all(&mut self) {
        if self.setup.has_witness {
            self.start_witness();
        }
        for name in self.setup.names() {
            self.start(name);
        }
    }

    /// Starts the daemon of `name` with the common settings, on its machine, booted if it is off.
    pub fn start(&mut self, name: &str) {
        let settings = self.cluster.directory().join("settings");
        self.start_with(name, &settings);
    }

    /// Starts the daemon of `name` with other settings.
    ///
    /// # Panics
    /// See [`build`](Self::build).
    pub fn start_with(&mut self, name: &str, settings: &Path) {
        self.cluster.lab_mut().machine(name).boot().expect("the machine boots");
        self.cluster.start_node(name, settings).expect("the daemon starts");
    }

    /// Starts the daemon of `name` after it was killed, as often as an init system would.
    ///
    /// What the killed one left behind keeps its lock for a moment.
    ///
    /// # Panics
    /// If it does not answer within [`PATIENCE_US`].
    pub fn start_again(&mut self, name: &str) {
        let begun_us = self.lab().now_us();
        while self.cluster.status(name).is_none() {
            let waited_us = self.lab().now_us() - begun_us;
            assert!(waited_us < PATIENCE_US, "{name} does not start\n{}", self.journals());
            if !self.cluster.is_running(name) {
                self.start(name);
            }
            self.pause(50);
        }
    }

    /// Starts the witness.
    ///
    /// # Panics
    /// See [`build`](Self::build).
    pub fn start_witness(&mut self) {
        let settings = self.cluster.directory().join("witness");
        self.cluster.start_witness(WITNESS, &settings).expect("the witness starts");
    }

    /// Starts a client of a group.
    ///
    /// # Panics
    /// See [`build`](Self::build).
    #[must_use]
    pub fn client(&mut self, group: usize) -> Client {
        let address = address(group).parse().expect("an address");
        Client::start(self.cluster.lab_mut().machine("client"), address).expect("a client")
    }

    /// Crashes the machine `name` with its cables.
    pub fn crash(&mut self, name: &str) {
        self.cluster.lab_mut().crash(name);
    }

    /// Returns the daemons, to do what is not here.
    pub const fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Returns the daemons.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the laboratory.
    #[must_use]
    pub const fn lab(&self) -> &Lab {
        self.cluster.lab()
    }

    /// Sends a signal to the process started on `name`.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.cluster.signal(name, signal).expect("the daemon runs");
    }

    /// Runs a command against the daemon of `name` and returns what it said.
    ///
    /// # Panics
    /// See [`build`](Self::build).
    #[must_use]
    pub fn ask(&self, name: &str, words: &[&str]) -> Output {
        self.cluster.ask(name, words).expect("the command starts")
    }

    /// Runs a command against the daemon of `name`, which does it.
    ///
    /// # Panics
    /// If the command fails.
    pub fn order(&self, name: &str, words: &[&str]) {
        let output = self.ask(name, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?} on {name}: {said}\n{}", self.journals());
    }

    /// Returns the node that alone is seen to hold the address of `group`.
    #[must_use]
    pub fn holder(&self, group: usize) -> Option<&'static str> {
        let [holder] = self.lab().holders(group)[..] else {
            return None;
        };
        NODES.into_iter().find(|name| *name == holder)
    }

    /// Waits until one node holds the address of `group` and has for a while, and returns it.
    ///
    /// # Panics
    /// If that takes more than [`PATIENCE_US`].
    #[must_use]
    pub fn await_holder(&self, group: usize) -> &'static str {
        let mut steady: Option<(&'static str, u64)> = None;
        self.await_that("one node holds the address", || {
            let now_us = self.lab().now_us();
            steady = match (self.holder(group), steady) {
                (Some(holder), Some((before, since_us))) if holder == before => {
                    Some((holder, since_us))
                }
                (holder, _) => holder.map(|holder| (holder, now_us)),
            };
            steady.is_some_and(|(_, since_us)| now_us - since_us >= STEADY_US)
        });
        steady.expect("it has been waited for").0
    }

    /// Waits until `name` holds the address of `group`.
    ///
    /// # Panics
    /// If that takes more than [`PATIENCE_US`].
    pub fn await_holding(&self, group: usize, name: &str) {
        self.await_that(&format!("{name} holds the address"), || self.holder(group) == Some(name));
    }

    /// Waits until nobody holds the address of `group`.
    ///
    /// # Panics
    /// If that takes more than [`PATIENCE_US`].
    pub fn await_nobody(&self, group: usize) {
        self.await_that("nobody holds the address", || self.lab().holders(group).is_empty());
    }

    /// Waits until `condition` holds, for much longer than it should take.
    ///
    /// # Panics
    /// If that takes more than [`PATIENCE_US`]; with what the daemons wrote.
    pub fn await_that(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begun_us = self.lab().now_us();
        while !condition() {
            let waited_us = self.lab().now_us() - begun_us;
            assert!(waited_us < PATIENCE_US, "waited for: {what}\n{}", self.journals());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets `milliseconds` pass.
    pub fn pause(&self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds));
    }

    /// Asserts that no address was ever held by two nodes, from the start to the present.
    ///
    /// # Panics
    /// If one was.
    pub fn assert_one_holder(&self) {
        for group in 0..self.setup.groups {
            let two_us = self.lab().two_holders_us(group, 0, self.lab().now_us());
            assert_eq!(two_us, 0, "us with two holders of group {group}\n{}", self.journals());
        }
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        self.cluster.write(name, text).expect("the file is written")
    }

    /// Returns what all daemons wrote.
    #[must_use]
    pub fn journals(&self) -> String {
        let names = self.setup.names().iter().chain([&WITNESS]);
        names.map(|name| format!("--- {name}\n{}", self.cluster.journal(name))).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What cannot be removed lies in the directory for temporary files.
        drop(std::fs::remove_dir_all(self.cluster.directory()));
    }
}

/// How long one waits for what should come by itself, in microseconds.
pub const PATIENCE_US: u64 = 30_000_000;

/// How long a holder has to hold before it counts, in microseconds.
const STEADY_US: u64 = 300_000;

const WITNESS_ADDRESS: &str = "10.77.0.9";

/// Spans that a shared machine keeps, in the table `timing`.
const CALM: &str = "heartbeat = \"50ms\"\ndead = \"500ms\"\npromise = \"800ms\"\nsettle = \"1s\"";

const LINK: &str = "[[link]]
name = \"lan\"
kind = \"udp\"
adapter = \"eth0\"
delivery = \"multicast\"
multicast = \"239.255.76.83\"
port = 6940
";

fn node_address(index: usize) -> String {
    format!("10.77.0.{}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_every_node_and_rotate_the_preference() {
        let text = Setup::pair().with_groups(2).settings(Path::new("/k"));
        assert!(text.contains("members = { alpha = \"10.77.0.1\", beta = \"10.77.0.2\", quorum"));
        assert!(text.contains("prefer = [\"alpha\", \"beta\"]"));
        assert!(text.contains("prefer = [\"beta\", \"alpha\"]"));
        assert!(!Setup::trio().settings(Path::new("/k")).contains("witness"));
    }

    #[test]
    fn keys_are_of_64_digits() {
        let text = key_text(2, &[1, 2]);
        assert!(
            text.contains("sign = 2") && text.contains(&format!("1 = \"{}\"", "01".repeat(32)))
        );
    }
}
