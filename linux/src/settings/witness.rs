//! The file of the quorum server.
//!
//! ```toml
//! version = 1
//! listen = ["0.0.0.0:6940"]
//! longest_promise = "10s"
//! [[cluster]]
//! name = "web"
//! key_file = "/etc/lifesign/web.key"
//! witness = 1              # which of that cluster's witnesses this is, from 1
//! profile = "standard"     # that cluster's profile, for heartbeat and dead
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{check_promise, profile_of, read_version};
use super::members::Names;
use super::mistake::Mistakes;
use super::profile::Profile;
use super::table::{Misfit, Table, parsed_of};
use super::{LoadError, read, value};

/// The settings of a quorum server, without a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// The addresses to listen on: at least one.
    pub listen: Vec<SocketAddr>,
    /// The longest promise it makes, and how long it is silent after its start.
    pub longest_promise: Duration,
    /// The control socket.
    pub control: PathBuf,
    /// The directory for what must outlive it.
    pub state_dir: PathBuf,
    /// The clusters it serves: at least one.
    pub clusters: Vec<WitnessedCluster>,
}

/// A cluster that the quorum server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessedCluster {
    /// Its name.
    pub name: String,
    /// The file with its keys.
    pub key_file: PathBuf,
    /// Which of its witnesses this is.
    pub witness: NodeId,
    /// How often this witness speaks to each node that it hears.
    pub heartbeat: Duration,
    /// After how much silence a node is lost. At least two heartbeats.
    pub dead: Duration,
}

impl WitnessSettings {
    /// Reads the settings in the file at `path`.
    ///
    /// # Errors
    /// Says why the file cannot be read, or every mistake in it. Nothing is touched.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let source = read(path)?;
        Self::parse(&path.to_string_lossy(), &source).map_err(LoadError::Wrong)
    }

    /// Returns whether the file at `path` is meant for a quorum server, as far as one can tell: it
    /// has tables `[[cluster]]`, or says where to listen.
    #[must_use]
    pub fn is_meant(path: &Path) -> bool {
        let Ok(source) = read(path) else { return false };
        DeTable::parse(&source).is_ok_and(|document| {
            let is_array = |value: &DeValue<'_>| matches!(value, DeValue::Array(_));
            let cluster = document.get_ref().get("cluster").map(Spanned::get_ref);
            cluster.is_some_and(is_array) || document.get_ref().contains_key("listen")
        })
    }

    /// Reads the settings `source`, which came from `path`.
    ///
    /// # Errors
    /// Every mistake in it, in the order of their places.
    pub fn parse(path: &str, source: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new(path, source);
        let document = match DeTable::parse(source) {
            Ok(document) => document,
            Err(error) => {
                // What follows the first slip of syntax is guesswork; it alone is shown.
                mistakes.add(error.span().unwrap_or(0..0), error.message());
                return mistakes.or(None);
            }
        };
        let mut top = Table::new(document.get_ref(), 0..0, "the file");
        read_version(&mut top, &mut mistakes);
        let listen = read_listen(&mut top, &mut mistakes);
        let longest = top.required("longest_promise", "\"10s\"", &mut mistakes, value::span);
        if let Some(longest) = &longest {
            check_promise(longest, &mut mistakes);
        }
        let control = top.parsed("control", &mut mistakes, value::socket);
        let state_dir = top.parsed("state_dir", &mut mistakes, value::path);
        let clusters = read_clusters(&mut top, &mut mistakes);
        top.finish(&mut mistakes);
        let settings = longest.map(|longest| Self {
            listen,
            longest_promise: longest.into_inner(),
            control: control.map_or_else(|| PathBuf::from(CONTROL), Spanned::into_inner),
            state_dir: state_dir.map_or_else(|| PathBuf::from(STATE_DIR), Spanned::into_inner),
            clusters,
        });
        mistakes.or(settings)
    }
}

const CONTROL: &str = "/run/lifesign/witness";
const STATE_DIR: &str = "/var/lib/lifesign";
/// The most addresses that one quorum server listens on.
const MOST_ADDRESSES: usize = 64;
/// The most clusters that one quorum server serves.
const MOST_CLUSTERS: usize = 256;

/// Returns which witness `member` is, as settings and people count them: from 1, and 0 if it is
/// none.
#[must_use]
pub fn place_of_witness(member: NodeId) -> u8 {
    member.witness_number().map_or(0, |number| number + 1)
}

fn read_listen(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<SocketAddr> {
    let Some(texts) = top.texts("listen", mistakes) else {
        if top.value("listen").is_none() {
            top.missing("listen", "[\"0.0.0.0:6940\"]", mistakes);
        }
        return Vec::new();
    };
    if texts.get_ref().is_empty() {
        mistakes.add(texts.span(), "`listen` is empty").hint("write [\"0.0.0.0:6940\"]");
    }
    let mut addresses: Vec<Spanned<SocketAddr>> = Vec::new();
    if let Some(text) = texts.get_ref().get(MOST_ADDRESSES) {
        mistakes
            .add(text.span(), "too many addresses to listen on")
            .label(format!("there can be {MOST_ADDRESSES}"));
    }
    for text in texts.get_ref().iter().take(MOST_ADDRESSES) {
        let Some(address) = parsed_of(text, "listen", mistakes, socket_address) else { continue };
        match addresses.iter().find(|other| other.get_ref() == address.get_ref()) {
            Some(first) => {
                mistakes
                    .add(address.span(), format!("{} is there twice", address.get_ref()))
                    .label("the second")
                    .other(first.span(), "the first");
            }
            None => addresses.push(address),
        }
    }
    addresses.into_iter().map(Spanned::into_inner).collect()
}

fn socket_address(text: &str) -> Result<SocketAddr, Misfit> {
    let hint = "write \"0.0.0.0:6940\" or \"[::]:6940\"";
    let address: SocketAddr =
        text.parse().map_err(|_| Misfit::new("not an IP address with a port", hint))?;
    if address.port() == 0 || address.ip().is_multicast() {
        return Err(Misfit::new("nothing can listen there", hint));
    }
    Ok(address)
}

fn read_clusters(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<WitnessedCluster> {
    let mut names = Names::new("cluster");
    let mut clusters = Vec::new();
    let tables = top.tables("cluster", MOST_CLUSTERS, mistakes);
    if tables.is_empty() {
        mistakes.add(top.span(), "the file has no `[[cluster]]`").hint("add one for each cluster");
    }
    for mut table in tables {
        let name = names.read(&mut table, mistakes);
        let key_file = table.required("key_file", "\"/etc/lifesign/key\"", mistakes, value::path);
        let number = table.integer("witness", 1..=3, mistakes).map_or(1, Spanned::into_inner);
        let profile = table.parsed("profile", mistakes, profile_of);
        let profile = profile.map_or(Profile::Standard, Spanned::into_inner);
        let heartbeat = table.parsed("heartbeat", mistakes, value::span);
        let dead = table.parsed("dead", mistakes, value::span);
        let place =
            dead.as_ref().or(heartbeat.as_ref()).map_or_else(|| table.span(), Spanned::span);
        let heartbeat = heartbeat.map_or_else(|| profile.heartbeat(), Spanned::into_inner);
        let dead = dead.map_or_else(|| profile.dead(), Spanned::into_inner);
        if dead < heartbeat.times(2) {
            mistakes
                .add(place, "the dead time must be at least two heartbeats")
                .label(format!("dead is {dead}, heartbeat is {heartbeat}"));
        }
        table.finish(mistakes);
        let witness = u8::try_from(number - 1).ok().and_then(NodeId::witness);
        if let (Some(key_file), Some(witness)) = (key_file, witness) {
            let key_file = key_file.into_inner();
            clusters.push(WitnessedCluster { name, key_file, witness, heartbeat, dead });
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "\
version = 1
listen = [\"0.0.0.0:6940\", \"[::]:6941\"]
longest_promise = \"10s\"
[[cluster]]
name = \"web\"
key_file = \"/etc/lifesign/web.key\"
witness = 1
[[cluster]]
name = \"mail\"
key_file = \"/etc/lifesign/mail.key\"
witness = 3
profile = \"fast\"
dead = \"30ms\"
";

    #[test]
    fn the_example_is_read() {
        let settings = WitnessSettings::parse("witness.toml", EXAMPLE).unwrap();
        assert_eq!(settings.listen.len(), 2);
        assert_eq!(settings.longest_promise, Duration::from_millis(10_000));
        assert_eq!(settings.control, Path::new("/run/lifesign/witness"));
        let witnesses: Vec<u8> =
            settings.clusters.iter().map(|cluster| cluster.witness.number()).collect();
        assert_eq!(witnesses, [16, 18]);
        let spans: Vec<_> = settings
            .clusters
            .iter()
            .map(|cluster| (cluster.heartbeat.as_millis(), cluster.dead.as_millis()))
            .collect();
        assert_eq!(spans, [(100, 700), (5, 30)]);
    }

    #[test]
    fn every_mistake_is_shown_at_once() {
        let source = EXAMPLE
            .replace("\"mail\"", "\"web\"")
            .replace("10s", "10d")
            .replace("witness = 3", "witnes = 3")
            .replace("30ms", "9ms")
            .replace("[::]:6941", "0.0.0.0:6940");
        let mistakes = WitnessSettings::parse("witness.toml", &source).unwrap_err();
        let titles: Vec<&str> = mistakes.list().iter().map(|mistake| mistake.title()).collect();
        assert_eq!(
            titles,
            [
                "0.0.0.0:6940 is there twice",
                "`longest_promise` cannot be \"10d\"",
                "cluster \"web\" is there twice",
                "unknown key `witnes`",
                "the dead time must be at least two heartbeats"
            ]
        );
    }

    #[test]
    fn an_empty_file_lacks_everything() {
        let mistakes = WitnessSettings::parse("witness.toml", "").unwrap_err();
        assert_eq!(mistakes.list().len(), 4);
        assert!(mistakes.to_string().contains("longest_promise"));
    }
}
