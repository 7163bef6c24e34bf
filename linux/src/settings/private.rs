//! Files that hold a secret: nobody but root and the caller may be able to read them.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;

use super::said;

/// Why a file with a secret is not read. Nothing of it is shown.
#[derive(Debug)]
pub(crate) enum PrivateError {
    /// The system does not give it.
    Open(io::Error),
    /// It is a folder, a pipe or a device.
    NotAFile,
    /// Others may read or run it, or its owner may run it.
    Mode(String),
    /// It belongs to somebody who is neither root nor the caller.
    Owner(u32),
    /// It has more bytes than this.
    TooLong(u64),
}

impl PrivateError {
    /// Returns the error as one line about the file at `path`, which is a `what`.
    pub(crate) fn of(&self, what: &str, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Open(_) => format!("open {what} {path}: {self}"),
            Self::Mode(_) => format!("{what} {path}: {self}; run `chmod 600 {path}`"),
            Self::NotAFile | Self::Owner(_) | Self::TooLong(_) => {
                format!("{what} {path}: {self}")
            }
        }
    }
}

impl fmt::Display for PrivateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => formatter.write_str(&said(error)),
            Self::NotAFile => formatter.write_str("not a file"),
            Self::Mode(what) => formatter.write_str(what),
            Self::Owner(uid) => {
                write!(formatter, "belongs to user {uid}, not to root or the caller")
            }
            Self::TooLong(most) => write!(formatter, "longer than {most} bytes"),
        }
    }
}

/// Returns the text of the file at `path`, of at most `most` bytes.
///
/// # Errors
/// Says who else may read it, or why it cannot be read.
pub(crate) fn read(path: &Path, most: u64) -> Result<String, PrivateError> {
    // Without O_NONBLOCK, a FIFO in the place of the file would hold the program up.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(PrivateError::Open)?;
    let status = file.metadata().map_err(PrivateError::Open)?;
    if !status.is_file() {
        return Err(PrivateError::NotAFile);
    }
    if let Some(what) = openness(status.mode()) {
        return Err(PrivateError::Mode(what));
    }
    if status.uid() != 0 && status.uid() != geteuid().as_raw() {
        return Err(PrivateError::Owner(status.uid()));
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(PrivateError::Open)?;
    if text.len() as u64 > most {
        return Err(PrivateError::TooLong(most));
    }
    Ok(text)
}

/// Returns what is wrong with the mode of a file of secrets, if others may read or run it, or its
/// owner may run it.
pub(crate) fn openness(mode: u32) -> Option<String> {
    (mode & 0o177 != 0).then(|| format!("mode {:04o} lets others in", mode & 0o7777))
}
