//! What the operator has said last, kept on disk so that it outlives a restart of the whole
//! cluster.
//!
//! Groups and nodes stand there by their names, because their numbers belong to the settings. The
//! end of a maintenance is a moment of this machine's clock, which begins anew when the machine
//! starts anew: then it is forgotten here, and learned again from a peer that remembers it. The
//! file is replaced as a whole, and a checksum tells damage; a daemon does not start on a damaged
//! one, because it could start what is to stay down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifesign_core::decree::{Decree, Maintenance, Stamp};
use lifesign_core::group::{GroupId, GroupSet};
use lifesign_core::time::Instant;

use crate::reservation::{StateError, checked, read};
use crate::settings::Settings;

/// Where the operator's word is kept for one node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    path: PathBuf,
    /// Which start of the machine this is.
    machine: String,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the operator has said last, if anything was ever said.
    pub decree: Option<Decree>,
    /// Groups of which it speaks and which the settings do not have any more.
    pub unknown: Vec<String>,
}

impl Keep {
    /// Returns the place of the word that the node `name` keeps in the directory `state`, on a
    /// machine whose present start has the id `machine`.
    #[must_use]
    pub fn new(state: &Path, name: &str, machine: &str) -> Self {
        Self { path: state.join(format!("{name}.word")), machine: machine.to_owned() }
    }

    /// Reads what was said last.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged. Nothing is changed.
    pub fn load(&self, settings: &Settings) -> Result<Kept, StateError> {
        let Some(text) = read(&self.path)? else { return Ok(Kept::default()) };
        self.parse(&text, settings)
            .ok_or_else(|| StateError::Damaged { path: self.path.clone(), advice: ADVICE })
    }

    /// Returns the file's path and contents for `decree`.
    #[must_use]
    pub fn file(&self, decree: &Decree, settings: &Settings) -> (String, Vec<u8>) {
        let names = |groups: GroupSet| {
            let names = groups.iter().filter_map(|group| settings.groups.get(group.index()));
            names.map(|group| group.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let mut text = format!(
            "{HEAD}said {} {}\ndisabled {}\n",
            decree.stamp.number,
            settings.name_of(decree.stamp.by),
            names(decree.disabled)
        );
        if let Some(Maintenance { groups, until }) = decree.maintenance {
            let (until, machine) = (until.as_micros(), &self.machine);
            text += &format!("maintenance until {until} of {machine}: {}\n", names(groups));
        }
        (self.path.to_string_lossy().into_owned(), checked(&text).into_bytes())
    }

    fn parse(&self, text: &str, settings: &Settings) -> Option<Kept> {
        let (body, _) = text.split_at_checked(text.rfind("check ")?)?;
        if checked(body) != text {
            return None;
        }
        let mut lines = body.strip_prefix(HEAD)?.lines();
        let (number, by) = lines.next()?.strip_prefix("said ")?.split_once(' ')?;
        let mut unknown = Vec::new();
        let mut groups = |names: &str| -> GroupSet {
            let known = |name: &str| -> Option<GroupId> {
                let group = settings.group(name);
                if group.is_none() {
                    unknown.push(name.to_owned());
                }
                group
            };
            names.split_whitespace().filter_map(known).collect()
        };
        let disabled = groups(lines.next()?.strip_prefix("disabled ")?);
        let maintenance = match lines.next() {
            None => None,
            Some(line) => {
                let (until, rest) = line.strip_prefix("maintenance until ")?.split_once(" of ")?;
                let (machine, names) = rest.split_once(": ")?;
                let until = Instant::from_micros(until.parse().ok()?);
                let lasting = Maintenance { groups: groups(names), until };
                (machine == self.machine).then_some(lasting)
            }
        };
        // A node that is gone from the settings loses nothing but a tie.
        let by = settings.node(by).or_else(|| settings.members().next().map(|(node, _)| node))?;
        let stamp = Stamp { number: number.parse().ok()?, by };
        Some(Kept { decree: Some(Decree { stamp, disabled, maintenance, moving: None }), unknown })
    }
}

const HEAD: &str = "lifesign word, version 1\n";

/// Returns which start of this machine is running: moments of its clock mean nothing in another.
///
/// # Errors
/// The kernel does not say so.
pub fn machine() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

const ADVICE: &str = "it says which groups are disabled: remove it and start again, and disable \
                      once more what is to stay down";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{Folder, example};
    use lifesign_core::node::NodeId;

    fn decree() -> Decree {
        let groups = GroupSet::first(1);
        let until = Instant::from_micros(7_000_000);
        Decree {
            stamp: Stamp { number: 12, by: NodeId::new(1).unwrap() },
            disabled: groups,
            maintenance: Some(Maintenance { groups, until }),
            moving: None,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_means_that_nothing_was_said() {
        let (folder, settings) = (Folder::new("word"), example());
        let keep = Keep::new(&folder.path, "alpha", "m1");
        assert_eq!(keep.load(&settings).unwrap(), Kept::default());
        for decree in [
            decree(),
            Decree { maintenance: None, ..decree() },
            Decree { disabled: GroupSet::EMPTY, ..decree() },
        ] {
            let (path, contents) = keep.file(&decree, &settings);
            fs::write(path, contents).unwrap();
            let kept = keep.load(&settings).unwrap();
            assert_eq!(kept, Kept { decree: Some(decree), unknown: Vec::new() });
        }
    }

    #[test]
    fn another_start_of_the_machine_knows_no_end_of_a_maintenance() {
        let (folder, settings) = (Folder::new("word-machine"), example());
        let (path, contents) = Keep::new(&folder.path, "alpha", "m1").file(&decree(), &settings);
        fs::write(path, contents).unwrap();
        let kept = Keep::new(&folder.path, "alpha", "m2").load(&settings).unwrap();
        assert_eq!(kept.decree, Some(Decree { maintenance: None, ..decree() }));
    }

    #[test]
    fn groups_that_the_settings_do_not_have_any_more_are_named() {
        let (folder, settings) = (Folder::new("word-unknown"), example());
        let keep = Keep::new(&folder.path, "alpha", "m1");
        let (path, _) = keep.file(&decree(), &settings);
        fs::write(path, checked(&format!("{HEAD}said 3 gone\ndisabled old www\n"))).unwrap();
        let kept = keep.load(&settings).unwrap();
        assert_eq!(kept.unknown, ["old"]);
        assert_eq!(kept.decree.unwrap().stamp.number, 3);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (folder, settings) = (Folder::new("word-damage"), example());
        let keep = Keep::new(&folder.path, "alpha", "m1");
        let (path, contents) = keep.file(&decree(), &settings);
        for at in 0..contents.len() {
            let mut damaged = contents.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(keep.load(&settings).is_err(), "byte {at}");
            damaged[at] = 0xff;
            fs::write(&path, &damaged).unwrap();
            assert!(keep.load(&settings).unwrap_err().to_string().contains("damaged"), "{at}");
            fs::write(&path, &contents[..at]).unwrap();
            assert!(keep.load(&settings).is_err(), "cut at {at}");
        }
    }
}
