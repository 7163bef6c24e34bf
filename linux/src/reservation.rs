//! The tokens that may have been used, kept on disk so that no later start uses one again.
//!
//! The file holds one number: all tokens up to it may have been used. It is written ahead, so that
//! a claim waits for no disk, and replaced as a whole, so that it is never torn. A checksum tells
//! damage; a daemon does not start on damaged tokens, because a token used twice could let an old
//! holder's writes through.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifesign_core::group::Token;

use crate::settings::said;

/// Where the reservation of one member of a cluster is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    path: PathBuf,
}

impl Reservation {
    /// Returns the reservation `name` in the directory `state`.
    #[must_use]
    pub fn new(state: &Path, name: &str) -> Self {
        Self { path: state.join(format!("{name}.tokens")) }
    }

    /// Reads which tokens may have been used: all up to the one returned. Without a file, none.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged. Nothing is changed.
    pub fn load(&self) -> Result<Token, StateError> {
        let Some(text) = read(&self.path)? else { return Ok(Token(0)) };
        let token = text.lines().nth(1).and_then(|line| line.strip_prefix("used up to "));
        token
            .and_then(|number| number.parse().ok().map(Token))
            .filter(|token| Self::contents(*token) == text)
            .ok_or_else(|| StateError::Damaged { path: self.path.clone(), advice: ADVICE })
    }

    /// Returns the file's path and contents for "all tokens up to `token` may have been used".
    #[must_use]
    pub fn file(&self, token: Token) -> (String, Vec<u8>) {
        (self.path.to_string_lossy().into_owned(), Self::contents(token).into_bytes())
    }

    fn contents(token: Token) -> String {
        checked(&format!("lifesign tokens, version 1\nused up to {}\n", token.0))
    }
}

const ADVICE: &str = "if no resource relies on tokens, remove it and start again";

/// Reads what stands at `path`, or `None` if there is nothing. What is no text was not written
/// here, and reads as an empty one.
pub(crate) fn read(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(StateError::Read { path: path.to_owned(), error }),
    }
}

/// Returns `text` with a line that tells damage.
pub(crate) fn checked(text: &str) -> String {
    let check = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(text.as_bytes());
    format!("{text}check {check:08x}\n")
}

/// Why what must outlive the daemon cannot be read. Nothing was changed.
#[derive(Debug)]
pub enum StateError {
    /// The system refuses.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(formatter, "read {}: {}", path.display(), said(error))
            }
            Self::Damaged { path, advice } => {
                write!(formatter, "read {}: damaged; {advice}", path.display())
            }
        }
    }
}

impl std::error::Error for StateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;

    #[test]
    fn what_is_written_is_read_and_nothing_means_none() {
        let folder = Folder::new("tokens");
        let reservation = Reservation::new(&folder.path, "alpha");
        assert_eq!(reservation.load().unwrap(), Token(0));
        let (path, contents) = reservation.file(Token(1007));
        fs::write(path, contents).unwrap();
        assert_eq!(reservation.load().unwrap(), Token(1007));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = Folder::new("damage");
        let reservation = Reservation::new(&folder.path, "alpha");
        let (path, contents) = reservation.file(Token(1007));
        for at in 0..contents.len() {
            let mut damaged = contents.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(reservation.load().is_err(), "byte {at}");
            damaged[at] = 0xff;
            fs::write(&path, &damaged).unwrap();
            let said = reservation.load().unwrap_err().to_string();
            assert!(said.contains("damaged"), "byte {at}: {said}");
            fs::write(&path, &contents[..at]).unwrap();
            assert!(reservation.load().is_err(), "cut at {at}");
        }
    }
}
