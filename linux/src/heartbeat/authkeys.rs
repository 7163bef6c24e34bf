//! authkeys: words from which keys are made.
//!
//! Linux-HA signed with HMAC over MD5 or SHA-1, or not at all (`crc`). Here every frame is signed
//! with HMAC-SHA256, so a line's method does not matter, and its word becomes a key of 32 bytes:
//! the SHA-256 of a label, the number of the key and the word, the same on every node.

use lifesign_core::seal::{KEY_LEN, MAX_KEYS};
use sha2::{Digest, Sha256};

use super::fault::{Faults, File, Place};
use crate::settings::key::KeyFile;

/// What an authkeys says. The keys are never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authkeys {
    /// The keys.
    pub keys: KeyFile,
    /// What is weak or left out, without any key.
    pub warnings: Vec<String>,
}

/// The largest number of a key.
const MOST_ID: u8 = 15;
/// A word that is shorter than this is found by trying.
const SHORT: usize = 16;

const LABEL: &[u8] = b"lifesign key from authkeys 1\0";

/// What to do about `crc`.
const CRC_HINT: &str = "run `lifesign keygen /etc/lifesign/key`, copy that file to all nodes, and \
    say --key-file /etc/lifesign/key";

/// A line with a key.
struct Entry<'t> {
    place: Place,
    id: u8,
    /// The word, or nothing for `crc`.
    word: Option<&'t str>,
}

impl Authkeys {
    /// Reads the text of an authkeys and notes everything that is wrong, without showing any of it.
    pub fn parse(text: &str, faults: &mut Faults) -> Option<Self> {
        let mut found = Faults::default();
        let mut signer: Option<(Place, u8)> = None;
        let mut entries: Vec<Entry<'_>> = Vec::new();
        let mut warnings = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let place = Place { file: File::Authkeys, line: number };
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["auth", id] => match (id_of(id), signer) {
                    (Some(_), Some((first, _))) => {
                        found.add(place, format!("`auth` is at {first} already"), "keep one");
                    }
                    (Some(id), None) => signer = Some((place, id)),
                    (None, _) => found.add(place, "this is no number of a key", ID_HINT),
                },
                ["auth", ..] => found.add(place, "`auth` takes one number", ID_HINT),
                [id, method, rest @ ..] => {
                    let entry = entry(place, id, method, rest, &mut found);
                    if rest.len() > 1 {
                        warnings.push(format!("{place}: a key is one word; the rest is left out"));
                    }
                    entries.extend(entry);
                }
                [_] => found.add(place, "a line is `NUMBER METHOD KEY`", "complete it"),
            }
        }
        let keys = made(signer, &entries, &mut found);
        for entry in entries.iter().filter(|entry| entry.word.is_none()) {
            if signer.is_some_and(|(_, id)| id != entry.id) {
                warnings.push(format!("{}: crc proves nothing and is not accepted", entry.place));
            }
        }
        for entry in entries.iter().filter(|entry| entry.word.is_some_and(is_short)) {
            let (place, id) = (entry.place, entry.id);
            warnings.push(format!(
                "{place}: the word of key {id} is so short that it can be found by trying; make a \
                 random one with `lifesign keygen`"
            ));
        }
        let is_good = found.is_empty();
        for fault in found.list() {
            faults.add(fault.place, fault.what.clone(), fault.hint.clone());
        }
        keys.filter(|_| is_good).map(|keys| Self { keys, warnings })
    }

    /// Reads the text of an authkeys as a key file.
    ///
    /// # Errors
    /// A line, from 1, and what is wrong there.
    pub fn key_file(text: &str) -> Result<KeyFile, (usize, String)> {
        let mut faults = Faults::default();
        let parsed = Self::parse(text, &mut faults);
        parsed.map(|authkeys| authkeys.keys).ok_or_else(|| {
            let first = faults
                .list()
                .first()
                .map(|fault| (fault.place.line.max(1), format!("{}; {}", fault.what, fault.hint)));
            first.unwrap_or_else(|| (1, "there is no key".to_owned()))
        })
    }
}

const ID_HINT: &str = "write a number from 0 to 15";

fn id_of(text: &str) -> Option<u8> {
    text.parse().ok().filter(|id| *id <= MOST_ID)
}

fn is_short(word: &str) -> bool {
    word.len() < SHORT
}

fn entry<'t>(
    place: Place,
    id: &str,
    method: &str,
    rest: &[&'t str],
    found: &mut Faults,
) -> Option<Entry<'t>> {
    let Some(id) = id_of(id) else {
        found.add(place, "a line begins with `auth` or the number of a key", ID_HINT);
        return None;
    };
    let word = rest.first().copied();
    match (method, word) {
        ("crc", None) => Some(Entry { place, id, word: None }),
        ("crc", Some(_)) => {
            found.add(place, "crc takes no key", "write `NUMBER sha1 KEY`");
            None
        }
        ("md5" | "sha1", Some(word)) => Some(Entry { place, id, word: Some(word) }),
        ("md5" | "sha1", None) => {
            found.add(place, "the key is missing", "write it behind the method");
            None
        }
        _ => {
            // A slip may have put the key here, so it is not shown.
            let known = "known are crc, md5 and sha1";
            found.add(place, "the method is unknown", known);
            None
        }
    }
}

/// Returns the keys of `entries`, or notes why there are none.
fn made(signer: Option<(Place, u8)>, entries: &[Entry<'_>], found: &mut Faults) -> Option<KeyFile> {
    let file = Place { file: File::Authkeys, line: 0 };
    let Some((place, sign)) = signer else {
        found.add(file, "there is no `auth` line", "add `auth NUMBER`");
        return None;
    };
    for (at, entry) in entries.iter().enumerate() {
        if let Some(first) = entries[..at].iter().find(|other| other.id == entry.id) {
            let what = format!("key {} is at {} already", entry.id, first.place);
            found.add(entry.place, what, "give one another number");
        }
    }
    match entries.iter().find(|entry| entry.id == sign) {
        None => found.add(place, format!("there is no key {sign}"), "add its line"),
        Some(entry) if entry.word.is_none() => {
            let what = format!("key {sign} is crc, with which anybody could claim the addresses");
            found.add(entry.place, what, CRC_HINT);
        }
        Some(_) => {}
    }
    let keys: Vec<(u8, [u8; KEY_LEN])> = entries
        .iter()
        .filter_map(|entry| Some((entry.id, derived(entry.id, entry.word?))))
        .collect();
    if let Some(extra) = entries.iter().filter(|entry| entry.word.is_some()).nth(MAX_KEYS) {
        let what = format!("there are more than {MAX_KEYS} keys");
        found.add(extra.place, what, "take out those that nobody signs with any more");
    }
    KeyFile::of(sign, keys)
}

fn derived(id: u8, word: &str) -> [u8; KEY_LEN] {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    hash.update([id]);
    hash.update(word.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn refused(text: &str) -> String {
        let mut faults = Faults::default();
        assert_eq!(Authkeys::parse(text, &mut faults), None, "{text}");
        faults.render(Path::new("/x"))
    }

    fn parsed(text: &str) -> Authkeys {
        let mut faults = Faults::default();
        let parsed = Authkeys::parse(text, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        parsed.unwrap()
    }

    const WORD: &str = "a-word-that-is-long-enough";

    #[test]
    fn the_same_words_are_the_same_keys_everywhere() {
        let one = parsed(&format!("# ours\nauth 2\n1 md5 {WORD}\n2 sha1 {WORD}\n"));
        assert_eq!(one.keys.sign, 2);
        assert_eq!(one.keys.ids().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(one.warnings, Vec::<String>::new());
        let other = parsed(&format!("2 sha1 {WORD}\n auth 2 \n\n1   sha1\t{WORD}\n"));
        assert_eq!(one.keys, other.keys, "neither order, blanks nor the method matter");
        let changed = parsed(&format!("auth 2\n1 md5 {WORD}\n2 sha1 {WORD}x\n"));
        assert_ne!(one.keys, changed.keys);
        let swapped = parsed(&format!("auth 1\n1 md5 {WORD}\n"));
        assert!(!one.keys.text().contains(&swapped.keys.text()));
    }

    /// The keys of a cluster outlive the program that derived them.
    #[test]
    fn the_derivation_is_frozen() {
        let text = parsed("auth 1\n1 sha1 ThisIsASampleKey\n").keys.text();
        let mut hash = Sha256::new();
        hash.update(b"lifesign key from authkeys 1\0\x01ThisIsASampleKey");
        let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(text.contains(&format!("1 = \"{expected}\"")), "{text}");
    }

    #[test]
    fn crc_cannot_sign_and_is_accepted_from_nobody() {
        let said = refused("auth 1\n1 crc\n");
        assert!(said.contains("/x/authkeys:2: key 1 is crc"), "{said}");
        assert!(said.contains("lifesign keygen /etc/lifesign/key"), "{said}");
        let mixed = parsed(&format!("auth 2\n1 crc\n2 sha1 {WORD}\n"));
        assert_eq!(mixed.keys.ids().collect::<Vec<_>>(), [2]);
        assert_eq!(mixed.warnings, ["authkeys:2: crc proves nothing and is not accepted"]);
    }

    #[test]
    fn every_mistake_is_told_and_no_word_is_shown() {
        let text = "auth 16\n1 sha1\n2 crc secret1\n3 SecretAsMethod secret2\n\
                    16 sha1 secret3\nsecret4\nauth 1 2\nauth\n";
        let said = refused(text);
        assert_eq!(said.lines().count(), 9, "{said}");
        assert!(!said.to_lowercase().contains("secret"), "{said}");
        let said = refused("auth 1\nauth 1\n1 sha1 secret\n1 md5 secret\n");
        assert!(said.contains(":2: `auth` is at authkeys:1 already"), "{said}");
        assert!(said.contains(":4: key 1 is at authkeys:3 already"), "{said}");
        assert!(refused("auth 3\n1 sha1 secret\n").contains(":1: there is no key 3"));
        assert!(refused("").contains("/x/authkeys: there is no `auth` line"));
    }

    #[test]
    fn a_keyring_has_room_for_four() {
        let keys: String = (1..=5).map(|id| format!("{id} sha1 {WORD}{id}\n")).collect();
        let said = refused(&format!("auth 1\n{keys}"));
        assert!(said.contains("/x/authkeys:6: there are more than 4 keys"), "{said}");
    }

    #[test]
    fn weak_words_and_lost_ones_are_warned_of_without_being_shown() {
        let weak = parsed("auth 1\n1 sha1 hunter2 and more\n");
        assert_eq!(weak.warnings.len(), 2);
        assert!(weak.warnings.iter().all(|warning| !warning.contains("hunter2")));
        assert!(!format!("{weak:?}").contains("hunter2"));
    }
}
