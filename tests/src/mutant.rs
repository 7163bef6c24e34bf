//! Mutants: lifesign with one safety rule taken out, so that it can be shown that a test notices.
//!
//! [`list`] names each rule and the text that carries it, [`judge`] builds a copy of the sources
//! without that text and runs the tests on it. The program `mutants` does both for all.

pub mod judge;
pub mod list;

/// One rule and how to take it out.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// A short name of what goes wrong without the rule.
    pub name: &'static str,
    /// The rule that is taken out, in one sentence.
    pub rule: &'static str,
    /// What is changed in the sources.
    pub changes: &'static [Change],
    /// What is expected of the tests.
    pub fate: Fate,
    /// Whether it belongs to the quick choice, one of each kind of rule.
    pub quick: bool,
}

/// What is expected of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// At least one test fails.
    Caught,
    /// No test fails, because another rule covers this one.
    Covered {
        /// The other rule, and why it is enough.
        because: &'static str,
        /// The mutant that takes out both, and is caught.
        both: &'static str,
    },
}

/// One piece of text and what takes its place.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The file, from the root of the sources.
    pub file: &'static str,
    /// The text, which must stand there exactly once.
    pub find: &'static str,
    /// Its replacement.
    pub replace: &'static str,
}

impl Change {
    /// Returns `source` with the change made.
    ///
    /// # Errors
    /// Returns how often the text stands there if that is not once.
    pub fn apply(&self, source: &str) -> Result<String, usize> {
        match source.matches(self.find).count() {
            1 => Ok(source.replacen(self.find, self.replace, 1)),
            count => Err(count),
        }
    }
}

/// Returns a mutant that some test is to catch.
const fn caught(name: &'static str, rule: &'static str, changes: &'static [Change]) -> Mutant {
    Mutant { name, rule, changes, fate: Fate::Caught, quick: false }
}

impl Mutant {
    /// Returns the same mutant as one of the quick choice.
    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::list;
    use super::*;
    use std::path::Path;

    #[test]
    fn every_change_finds_its_text_exactly_once_and_changes_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut wrong = Vec::new();
        for mutant in list::all() {
            assert!(!mutant.changes.is_empty(), "{} changes nothing", mutant.name);
            for change in mutant.changes {
                let source = std::fs::read_to_string(root.join(change.file)).unwrap();
                let changed = change.apply(&source);
                if changed.is_err() || changed == Ok(source) {
                    wrong.push(format!("{}: {:?}: {}", mutant.name, changed.err(), change.find));
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    #[test]
    fn names_are_unique_and_what_is_covered_has_a_mutant_without_both_rules() {
        for (at, mutant) in list::all().enumerate() {
            assert!(list::all().skip(at + 1).all(|other| other.name != mutant.name));
            if let Fate::Covered { both, .. } = mutant.fate {
                let other = list::all().find(|other| other.name == both).unwrap();
                assert_eq!(other.fate, Fate::Caught, "{both}");
                assert!(other.changes.len() > mutant.changes.len(), "{both}");
            }
        }
    }
}
