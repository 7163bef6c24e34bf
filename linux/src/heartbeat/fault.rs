//! What is wrong in Linux-HA's files: where, what, and what to do.

use core::fmt;
use std::path::Path;

/// One of Linux-HA's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// Who takes part, how they are reached, and when silence counts.
    HaCf,
    /// The keys.
    Authkeys,
    /// The resources, with their home nodes.
    Haresources,
}

impl File {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HaCf, Self::Authkeys, Self::Haresources];

    /// Returns its name in the directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HaCf => "ha.cf",
            Self::Authkeys => "authkeys",
            Self::Haresources => "haresources",
        }
    }
}

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: File,
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.file.name())?;
        if self.line > 0 { write!(formatter, ":{}", self.line) } else { Ok(()) }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Adds what is wrong at `place`, and what to do.
    pub fn add(&mut self, place: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Fault { place, what: what.into(), hint: hint.into() });
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns what is wrong, in the order of the files and lines.
    #[must_use]
    pub fn list(&self) -> Vec<&Fault> {
        let mut list: Vec<&Fault> = self.list.iter().collect();
        list.sort_by_key(|fault| fault.place);
        list
    }

    /// Returns one line for each fault of the files in `directory`.
    #[must_use]
    pub fn render(&self, directory: &Path) -> String {
        let lines = self.list().into_iter().map(|fault| {
            let file = directory.join(fault.place.file.name());
            let line = match fault.place.line {
                0 => String::new(),
                line => format!(":{line}"),
            };
            let line = format!("error: {}{line}: {}; {}", file.display(), fault.what, fault.hint);
            plain(&line).collect()
        });
        lines.collect::<Vec<String>>().join("\n")
    }
}

/// Returns `text` for people: at most 60 characters, and none that moves a cursor.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut short: String = plain(text).take(MOST_SHOWN).collect();
    if text.chars().count() > MOST_SHOWN {
        short.push_str("..");
    }
    short
}

fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter })
}

const MOST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_the_order_of_the_files() {
        let mut faults = Faults::default();
        let place = |file, line| Place { file, line };
        faults.add(place(File::Haresources, 2), "no such node", "add it");
        faults.add(place(File::Authkeys, 0), "not there", "make it");
        faults.add(place(File::HaCf, 9), "wrong", "mend it");
        assert_eq!(
            faults.render(Path::new("/etc/ha.d")),
            "error: /etc/ha.d/ha.cf:9: wrong; mend it\n\
             error: /etc/ha.d/authkeys: not there; make it\n\
             error: /etc/ha.d/haresources:2: no such node; add it"
        );
    }

    #[test]
    fn what_is_shown_moves_no_cursor() {
        assert_eq!(shown("a\x1b[2Jb"), "a?[2Jb");
        assert_eq!(shown(&"x".repeat(61)).len(), 62);
        let mut faults = Faults::default();
        faults.add(Place { file: File::HaCf, line: 1 }, "a\x1b[2J", "b\r");
        let said = faults.render(Path::new("/etc/ha.d"));
        assert_eq!(said, "error: /etc/ha.d/ha.cf:1: a?[2J; b?");
    }
}
