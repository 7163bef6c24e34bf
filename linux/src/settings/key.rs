//! The key file: who may know it, what is in it, and how it is replaced.
//!
//! ```toml
//! version = 1
//! sign = 2                 # the key that signs; all are accepted
//! [keys]
//! 1 = "64 hexadecimal digits"
//! 2 = "64 hexadecimal digits"
//! ```
//!
//! What is wrong with it is said in one line, and never shown: the file is a secret.
//!
//! A file that is called `authkeys` is one of Linux-HA, whose words are made into keys.

use core::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring, KeyringError, MAX_KEYS};
use toml::de::{DeTable, DeValue};

use super::private::{self, PrivateError};
use crate::heartbeat::authkeys::Authkeys;

/// What a key file says. Its keys are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The id of the key that signs.
    pub sign: u8,
    keys: Vec<(u8, [u8; KEY_LEN])>,
}

impl KeyFile {
    /// Returns a file with one key, number 1, which signs.
    #[must_use]
    pub fn new(secret: [u8; KEY_LEN]) -> Self {
        Self { sign: 1, keys: vec![(1, secret)] }
    }

    /// Returns a file with these keys, one of which signs, or `None` if they make no keyring.
    #[must_use]
    pub fn of(sign: u8, mut keys: Vec<(u8, [u8; KEY_LEN])>) -> Option<Self> {
        keys.sort_unstable_by_key(|(id, _)| *id);
        let file = Self { sign, keys };
        file.keyring("").is_ok().then_some(file)
    }

    /// Reads the file at `path`, which nobody but root and the caller may be able to read.
    ///
    /// # Errors
    /// Says who else may read it, or what is wrong in it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = private::read(path, LONGEST).map_err(|error| KeyError {
            path: path.to_owned(),
            kind: KeyErrorKind::Private(error),
        })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a key file, which came from `path`.
    ///
    /// # Errors
    /// Says which line is wrong, and shows nothing of it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, KeyError> {
        let is_authkeys = path.file_name().is_some_and(|name| name == AUTHKEYS);
        let read = if is_authkeys { Authkeys::key_file(text) } else { Self::read(text) };
        read.map_err(|(line, why)| {
            let kind = KeyErrorKind::Wrong(line, why);
            KeyError { path: path.to_owned(), kind }
        })
    }

    /// Reads the text of a key file; an error is a line, from 1, and what is wrong there.
    fn read(text: &str) -> Result<Self, (usize, String)> {
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let document = DeTable::parse(text).map_err(|error| {
            (line(error.span().map_or(0, |span| span.start)), "not TOML".to_owned())
        })?;
        let number = |value: &DeValue<'_>| match value {
            DeValue::Integer(number) => u8::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let (mut version, mut sign, mut keys) = (None, None, Vec::new());
        for (name, value) in document.get_ref().iter() {
            let at = line(name.span().start);
            match (&**name.get_ref(), value.get_ref()) {
                ("version", value) => version = number(value),
                ("sign", value) => sign = number(value),
                ("keys", DeValue::Table(table)) => {
                    for (id, value) in table.iter() {
                        let at = line(id.span().start);
                        let digits = "a key must be 64 hexadecimal digits in quotes";
                        let id = id.get_ref().parse().map_err(|_| {
                            (at, "a key's name must be a number from 0 to 255".to_owned())
                        })?;
                        let secret = match value.get_ref() {
                            DeValue::String(text) => from_hex(text),
                            _ => None,
                        };
                        keys.push((id, secret.ok_or_else(|| (at, digits.to_owned()))?));
                    }
                }
                ("keys", _) => return Err((at, "`keys` must be a table".to_owned())),
                _ => return Err((at, "known are version, sign and [keys]".to_owned())),
            }
        }
        if version != Some(1) {
            return Err((1, "`version = 1` is missing".to_owned()));
        }
        let Some(sign) = sign else {
            return Err((1, "`sign` must be the number of a key".to_owned()));
        };
        // In the table names are in the order of letters, in which 10 comes before 9.
        keys.sort_unstable_by_key(|(id, _)| *id);
        let file = Self { sign, keys };
        file.keyring("").map_err(|error| (1, error.to_string()))?;
        Ok(file)
    }

    /// Returns the file's text, with the secrets.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "# The secret of a lifesign cluster, the same on every node and witness.\n\
             version = 1\nsign = {}\n\n[keys]\n",
            self.sign
        );
        for (id, secret) in &self.keys {
            text.push_str(&format!("{id} = \"{}\"\n", hex(secret)));
        }
        text
    }

    /// Adds a key that does not sign, and returns its number: the one after the largest, or the
    /// smallest free one.
    ///
    /// # Errors
    /// There are four keys already.
    pub fn add(&mut self, secret: [u8; KEY_LEN]) -> Result<u8, KeyringError> {
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyringError::TooManyKeys);
        }
        let is_free = |id: &u8| self.keys.iter().all(|(other, _)| other != id);
        let largest = self.keys.iter().map(|(id, _)| *id).max().unwrap_or(0);
        let next = largest.checked_add(1).or_else(|| (0..=u8::MAX).find(is_free));
        let id = next.ok_or(KeyringError::TooManyKeys)?;
        self.keys.push((id, secret));
        Ok(id)
    }

    /// Lets key `id` sign.
    ///
    /// # Errors
    /// There is no such key.
    pub fn sign_with(&mut self, id: u8) -> Result<(), KeyringError> {
        if !self.ids().any(|other| other == id) {
            return Err(KeyringError::NoSigner);
        }
        self.sign = id;
        Ok(())
    }

    /// Takes key `id` away.
    ///
    /// # Errors
    /// There is no such key, or it signs.
    pub fn remove(&mut self, id: u8) -> Result<(), KeyringError> {
        if id == self.sign || !self.ids().any(|other| other == id) {
            return Err(KeyringError::NoSigner);
        }
        self.keys.retain(|(other, _)| *other != id);
        Ok(())
    }

    /// Writes the file to `path` in one step, readable for its owner alone, and on the disk before
    /// this returns.
    ///
    /// # Errors
    /// What the system said; a file that was there is then unchanged. Without `may_replace`, one
    /// that is there is an error.
    pub fn write(&self, path: &Path, may_replace: bool) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let draft = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written =
            file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
                if may_replace {
                    std::fs::rename(&draft, path)
                } else {
                    // Unlike a rename, a hard link never replaces what somebody else has put there
                    // meanwhile.
                    std::fs::hard_link(&draft, path)
                }
            });
        if written.is_err() || !may_replace {
            std::fs::remove_file(&draft)?;
        }
        written?;
        File::open(folder)?.sync_all()
    }

    /// Returns the numbers of all keys.
    pub fn ids(&self) -> impl Iterator<Item = u8> {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Returns the keyring for `cluster`: each key is good for this cluster's heartbeats and
    /// nothing else.
    ///
    /// # Errors
    /// Says what is wrong with the keys.
    pub fn keyring(&self, cluster: &str) -> Result<Keyring, KeyringError> {
        let purpose = format!("lifesign heartbeat 1 {cluster}");
        let derived = |(id, secret): &(u8, [u8; KEY_LEN])| {
            (KeyId(*id), Key::new(*secret).derive(purpose.as_bytes()))
        };
        let keys: Vec<_> = self.keys.iter().map(derived).collect();
        Keyring::new(&keys, KeyId(self.sign))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyFile").field("sign", &self.sign).finish_non_exhaustive()
    }
}

/// Reads the key file at `path` and returns the keyring for `cluster`.
///
/// # Errors
/// Says who else may read it, or what is wrong in it.
pub fn load(path: &Path, cluster: &str) -> Result<Keyring, KeyError> {
    let keyring = KeyFile::load(path)?.keyring(cluster);
    let wrong = |error| KeyError { path: path.to_owned(), kind: KeyErrorKind::Keys(error) };
    keyring.map_err(wrong)
}

/// What Linux-HA calls its keys.
const AUTHKEYS: &str = "authkeys";

/// The longest key file that is read, in bytes.
const LONGEST: u64 = 4096;

fn from_hex(text: &str) -> Option<[u8; KEY_LEN]> {
    let mut secret = [0; KEY_LEN];
    if text.len() != 2 * KEY_LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in secret.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(secret)
}

fn hex(secret: &[u8]) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a key file is not used. Nothing was touched.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    kind: KeyErrorKind,
}

#[derive(Debug)]
enum KeyErrorKind {
    /// It cannot be read, or others may read it.
    Private(PrivateError),
    /// A line is wrong.
    Wrong(usize, String),
    /// The keys do not make a keyring.
    Keys(KeyringError),
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            KeyErrorKind::Private(error) => formatter.write_str(&error.of("key file", &self.path)),
            KeyErrorKind::Wrong(line, why) => {
                write!(formatter, "key file {path}: line {line}: {why}")
            }
            KeyErrorKind::Keys(error) => write!(formatter, "key file {path}: {error}"),
        }
    }
}

impl core::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn written(name: &str, text: &str, mode: u32) -> (Folder, PathBuf) {
        let folder = Folder::new(name);
        let path = folder.path.join("key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn good() -> String {
        KeyFile::new([7; KEY_LEN]).text()
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o644, 0o700, 0o610] {
            let (_folder, path) = written("mode", &good(), mode);
            let error = load(&path, "web").unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "key file {0}: mode {mode:04o} lets others in; run `chmod 600 {0}`",
                    path.display()
                )
            );
        }
        for mode in [0o600, 0o400] {
            let (_folder, path) = written("mode", &good(), mode);
            assert!(load(&path, "web").is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_the_key() {
        let key = "ab".repeat(32);
        for (text, expected) in [
            (
                format!("version = 1\nsign = 1\n[keys]\n1 = \"{key}0\"\n"),
                "line 4: a key must be 64 hexadecimal digits in quotes",
            ),
            (
                format!("version = 1\nsign = 1\n[keys]\n256 = \"{key}\"\n"),
                "line 4: a key's name must be a number from 0 to 255",
            ),
            (
                format!("version = 1\nsign = 2\n[keys]\n1 = \"{key}\"\n"),
                "line 1: the signing key is not among the keys",
            ),
            (
                format!("version = 2\nsign = 1\n[keys]\n1 = \"{key}\"\n"),
                "line 1: `version = 1` is missing",
            ),
            (format!("version = 1\nsign = 1\n[keys]\n1 = {key}\n"), "line 4: not TOML"),
            (
                format!("version = 1\nsing = 1\n[keys]\n1 = \"{key}\"\n"),
                "line 2: known are version, sign and [keys]",
            ),
            (
                format!("version = 1\nsign = 1\n[keys]\n1 = \"{key}\"\n01 = \"{key}\"\n"),
                "line 1: two keys have the same id",
            ),
            (String::new(), "line 1: `version = 1` is missing"),
        ] {
            let (_folder, path) = written("wrong", &text, 0o600);
            let error = load(&path, "web").unwrap_err();
            assert_eq!(error.to_string(), format!("key file {}: {expected}", path.display()));
            assert!(!format!("{error:?}").contains(&key), "the key is shown");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = Folder::new("nofile");
        let error = load(&folder.path, "web").unwrap_err().to_string();
        assert!(error.ends_with(": not a file"), "{error}");
        let pipe = folder.path.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = load(&pipe, "web").unwrap_err().to_string();
        assert!(error.ends_with(": not a file"), "{error}");
        let error = load(&folder.path.join("none"), "web").unwrap_err().to_string();
        assert!(error.ends_with(": no such file or directory"), "{error}");
    }

    #[test]
    fn a_key_is_good_for_one_cluster() {
        let (_folder, path) = written("cluster", &good(), 0o600);
        let [web, mail] = ["web", "mail"].map(|cluster| load(&path, cluster).unwrap());
        assert_ne!(web.tag(b"frame"), mail.tag(b"frame"));
    }

    #[test]
    fn a_rotation_is_written_and_read_back() {
        let folder = Folder::new("rotate");
        let path = folder.path.join("key");
        let mut file = KeyFile::new([1; KEY_LEN]);
        file.write(&path, false).unwrap();
        assert_eq!(file.write(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(file.add([2; KEY_LEN]), Ok(2));
        assert_eq!(file.sign_with(3), Err(KeyringError::NoSigner));
        assert_eq!(file.sign_with(2), Ok(()));
        assert_eq!(file.remove(2), Err(KeyringError::NoSigner));
        file.write(&path, true).unwrap();
        let mut read = KeyFile::load(&path).unwrap();
        assert_eq!(read, file);
        assert_eq!(read.remove(1), Ok(()));
        assert_eq!(read.ids().collect::<Vec<_>>(), [2]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(&folder.path).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn the_keys_of_linux_ha_are_read_by_the_name_of_their_file() {
        let folder = Folder::new("authkeys");
        let path = folder.path.join("authkeys");
        std::fs::write(&path, "auth 1\n1 sha1 a-word-of-some-length\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = KeyFile::load(&path).unwrap();
        assert_eq!(file.ids().collect::<Vec<_>>(), [1]);
        std::fs::write(&path, "auth 1\n1 crc\n").unwrap();
        let error = KeyFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("authkeys: line 2: key 1 is crc"), "{error}");
    }

    #[test]
    fn numbers_run_out_and_start_again() {
        let mut file = KeyFile::new([1; KEY_LEN]);
        file.keys[0].0 = 255;
        assert_eq!(file.add([2; KEY_LEN]), Ok(0));
        assert_eq!(file.add([3; KEY_LEN]), Ok(1));
        assert_eq!(file.add([4; KEY_LEN]), Ok(2));
        assert_eq!(file.add([5; KEY_LEN]), Err(KeyringError::TooManyKeys));
    }
}
