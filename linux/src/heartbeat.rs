//! Linux-HA heartbeat's own files: ha.cf, authkeys and haresources, made into settings.
//!
//! [`import`] reads the three files of a directory and returns settings that our own parser has
//! accepted, or everything that is wrong with its place. The result does not depend on the node:
//! what the files leave out, such as addresses of nodes and lengths of prefixes, is looked up where
//! all nodes should find the same, and nodes that differ in what matters refuse each other by the
//! digest of their settings.
//!
//! | file | what it is |
//! |---|---|
//! | [`fault`] | what is wrong in the files, and where |
//! | [`span`] | times and booleans |
//! | [`directive`] | every directive of ha.cf, and what becomes of it |
//! | [`ha_cf`], [`mod@line`] | ha.cf, and one line of it |
//! | [`medium`] | its media |
//! | [`respawn`], [`stonith`] | the programs that it keeps running, and fence devices |
//! | [`authkeys`] | words made into keys |
//! | [`haresources`] | groups of resources, and below it addresses |
//! | [`surroundings`] | what the machine knows that the files leave out |
//! | `links`, `groups` | what the settings will have |
//! | `text`, `translate` | the settings, with remarks |
//! | [`tool`] | `cl_status`, `hb_standby`, `hb_takeover` |

pub mod authkeys;
pub mod directive;
pub mod fault;
mod groups;
pub mod ha_cf;
pub mod haresources;
pub mod line;
mod links;
pub mod medium;
pub mod respawn;
pub mod span;
pub mod stonith;
pub mod surroundings;
mod text;
pub mod tool;
mod translate;

use core::net::IpAddr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lifesign_core::time::Duration;

use self::authkeys::Authkeys;
use self::fault::{Faults, File, Place};
use self::ha_cf::HaCf;
use self::haresources::{ResourceGroup, ResourceKind};
use self::links::{Finder, Links};
use self::surroundings::Surroundings;
use self::translate::{NO_WITNESS, Translation, whole_millis};
use crate::check::{Check, expected};
use crate::settings::key::KeyFile;
use crate::settings::mistake::Mistakes;
use crate::settings::private::openness;
use crate::settings::value::ping_said;
use crate::settings::{Settings, said};

/// What the files leave open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Which node this machine is; by default the one in `nodeinfo`, or with its host name.
    pub node: Option<String>,
    /// The addresses of nodes, on an adapter or on the first one.
    pub addresses: Vec<NodeAddress>,
    /// Who decides between two halves.
    pub witness: Option<Witness>,
    /// Whether nodes that lose each other shall both serve.
    pub accept_split_brain: bool,
    /// A key file in the place of authkeys.
    pub key_file: Option<PathBuf>,
    /// Where the keys that are made of authkeys will be, if not in authkeys itself.
    pub keys_into: Option<PathBuf>,
}

/// The address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub node: String,
    /// The adapter, if only there.
    pub adapter: Option<String>,
    /// The address.
    pub ip: IpAddr,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Its address; without one it is a dongle on the serial lines.
    pub ip: Option<IpAddr>,
}

impl Choices {
    /// Returns the address of `node` on an adapter, which is the first of all if `is_first`.
    fn address(&self, node: &str, adapter: &str, is_first: bool) -> Option<IpAddr> {
        let of_node = || self.addresses.iter().filter(|address| address.node == node);
        let exact = of_node().find(|address| address.adapter.as_deref() == Some(adapter));
        let any = of_node().find(|address| is_first && address.adapter.is_none());
        exact.or(any).map(|address| address.ip)
    }
}

/// Settings made of Linux-HA's files.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Their text.
    pub text: String,
    /// The same, read.
    pub settings: Settings,
    /// The keys that were made of authkeys, if it was read.
    pub keys: Option<KeyFile>,
    /// Which node this machine is.
    pub node: String,
    /// What the user must know.
    pub warnings: Vec<String>,
}

/// Why files are not made into settings. Nothing was touched.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The files are wrong.
    Faults(Faults),
    /// The files are good, and the settings made of them are not.
    Settings(Mistakes),
    /// The settings made of them could not be run safely.
    Unsafe(Vec<String>),
}

impl ImportError {
    /// Returns the error as people read it, for files in `directory`.
    #[must_use]
    pub fn render(&self, directory: &Path, is_coloured: bool) -> String {
        match self {
            Self::Faults(faults) => faults.render(directory),
            Self::Settings(mistakes) => {
                let mistakes = mistakes.render(is_coloured);
                format!("{mistakes}\n\nthese settings were made of {}", directory.display())
            }
            Self::Unsafe(errors) => {
                let place = directory.join(File::HaCf.name());
                let lines =
                    errors.iter().map(|error| format!("error: {}: {error}", place.display()));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// Makes settings of the files in `directory`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn import(
    directory: &Path,
    choices: &Choices,
    surroundings: &dyn Surroundings,
) -> Result<Imported, ImportError> {
    let mut faults = Faults::default();
    let ha = read(directory, File::HaCf, &mut faults).map(|text| HaCf::parse(&text, &mut faults));
    let is_good = faults.is_empty();
    let authkeys = match &choices.key_file {
        Some(_) => None,
        None => read_authkeys(directory, &mut faults),
    };
    let lines = read(directory, File::Haresources, &mut faults)
        .map(|text| haresources::parse(&text, &mut faults));
    let (Some(ha), Some(lines)) = (ha, lines) else { return Err(ImportError::Faults(faults)) };
    if !is_good {
        return Err(ImportError::Faults(faults)); // what follows would be guesswork
    }
    let node = this_node(directory, choices, surroundings);
    let place = absolute(directory);
    let source =
        Source { directory: &place, ha: &ha, lines: &lines, choices, surroundings, node: &node };
    let named = choices.key_file.as_deref().or(choices.keys_into.as_deref());
    let key_file = named.map_or_else(|| absolute(directory).join(File::Authkeys.name()), absolute);
    let translation = source.translation(authkeys.as_ref(), &key_file, &mut faults);
    if !faults.is_empty() {
        return Err(ImportError::Faults(faults));
    }
    let (text, settings) = lengthened(&translation)?;
    let mut warnings = authkeys.as_ref().map_or_else(Vec::new, |keys| keys.warnings.clone());
    if translation.is_undecided() && ha.nodes.len() == 2 {
        warnings.push(NO_WITNESS.to_owned());
    }
    let keys = authkeys.map(|authkeys| authkeys.keys);
    Ok(Imported { text, settings, keys, node, warnings })
}

/// Returns the settings with promises that are long enough, as text and read.
fn lengthened(translation: &Translation<'_>) -> Result<(String, Settings), ImportError> {
    let mut promise = whole_millis(translation.ha.dead());
    loop {
        let text = translation.text(promise);
        let settings = Settings::parse("settings.toml", &text).map_err(ImportError::Settings)?;
        let enforcer = expected(settings.enforcer);
        let overshoot = Duration::from_micros(enforcer.overshoot_us());
        let groups = settings.groups.iter();
        let missing = groups.filter_map(|group| settings.authority(group, overshoot).err());
        let missing = missing
            .filter_map(|shortfall| shortfall.sufficient.checked_sub(shortfall.lease.promise));
        match missing.max().filter(|more| *more > Duration::ZERO) {
            Some(more) => promise = whole_millis(promise + more),
            None => {
                let check = Check::new(&settings, enforcer);
                let is_good = check.accepted;
                return if is_good {
                    Ok((text, settings))
                } else {
                    Err(ImportError::Unsafe(check.errors))
                };
            }
        }
    }
}

/// What is known before anything is translated.
struct Source<'a> {
    directory: &'a Path,
    ha: &'a HaCf,
    lines: &'a [ResourceGroup],
    choices: &'a Choices,
    surroundings: &'a dyn Surroundings,
    node: &'a str,
}

impl<'a> Source<'a> {
    fn translation(
        &self,
        authkeys: Option<&'a Authkeys>,
        key_file: &'a Path,
        faults: &mut Faults,
    ) -> Translation<'a> {
        let networks = self.surroundings.networks();
        let groups = groups::plan(self.ha, self.lines, &networks, faults);
        let resources = self.lines.iter().flat_map(|line| &line.resources);
        let services = resources.filter_map(|resource| match &resource.kind {
            ResourceKind::Address(address) => Some(address.ip),
            ResourceKind::Script { .. } => None,
        });
        for address in &self.choices.addresses {
            if !self.ha.nodes.iter().any(|node| node.value == address.node) {
                let what = format!("--address names {}, which is no node", address.node);
                faults.add(Place { file: File::HaCf, line: 0 }, what, "name one of its nodes");
            }
        }
        let finder = Finder {
            ha: self.ha,
            choices: self.choices,
            surroundings: self.surroundings,
            services: services.collect(),
            networks,
            me: self.node.to_owned(),
        };
        Translation {
            directory: self.directory,
            ha: self.ha,
            links: Links::plan(self.ha, &finder, faults),
            groups,
            pings: self.pings(faults),
            authkeys,
            key_file,
            choices: self.choices,
        }
    }

    /// Returns the addresses to ping, and notes which are not known.
    fn pings(&self, faults: &mut Faults) -> Vec<String> {
        let mut pings: Vec<String> = Vec::new();
        for host in &self.ha.pings {
            let Some(ip) = self.surroundings.lookup(&host.value).first().copied() else {
                let what = format!("the address of {} is not known", fault::shown(&host.value));
                faults.add(host.place, what, "write it in place of the name");
                continue;
            };
            let text = ip.to_string();
            if let Err(why) = ping_said(&text) {
                faults.add(host.place, format!("{text}: {why}"), "name a router");
            } else if !pings.contains(&text) {
                pings.push(text);
            }
        }
        pings
    }
}

/// Returns which node this machine is: the one named, or in `nodeinfo`, or with its host name.
fn this_node(directory: &Path, choices: &Choices, surroundings: &dyn Surroundings) -> String {
    if let Some(node) = &choices.node {
        return node.to_lowercase();
    }
    let told = std::fs::read_to_string(directory.join("nodeinfo")).ok();
    let told = told.and_then(|text| text.split_whitespace().next().map(str::to_lowercase));
    told.unwrap_or_else(|| surroundings.host())
}

fn absolute(directory: &Path) -> PathBuf {
    std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
}

/// Returns the text of a file, or notes why there is none.
fn read(directory: &Path, file: File, faults: &mut Faults) -> Option<String> {
    let place = Place { file, line: 0 };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(directory.join(file.name()));
    match opened.and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > LONGEST => {
            faults.add(place, format!("longer than {LONGEST} bytes"), "is it the right file?");
            None
        }
        // Old remarks are in old encodings.
        Ok(_) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            faults.add(place, said(&error), "name the directory that has the file");
            None
        }
    }
}

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads the keys, or notes why there are none.
fn read_authkeys(directory: &Path, faults: &mut Faults) -> Option<Authkeys> {
    let path = directory.join(File::Authkeys.name());
    let place = Place { file: File::Authkeys, line: 0 };
    if let Ok(status) = std::fs::metadata(&path)
        && let Some(what) = openness(status.mode())
    {
        faults.add(place, what, format!("run `chmod 600 {}`", path.display()));
    }
    let text = read(directory, File::Authkeys, faults)?;
    Authkeys::parse(&text, faults)
}

#[cfg(test)]
mod tests;
