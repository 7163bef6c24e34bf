//! Makes key files, and rotates the keys in them.
//!
//! A rotation takes three steps, each done on every machine before the next: add a key, sign with
//! it, remove the old one. At every moment every member accepts what every other signs with.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lifesign_core::seal::{KEY_LEN, KeyringError};

use crate::settings::key::{KeyError, KeyFile};
use crate::settings::said;

/// What to do with a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Write a file with one fresh key; an old file is replaced only if `may_replace`.
    Create {
        /// Whether an old file may be replaced.
        may_replace: bool,
    },
    /// Add a fresh key that is accepted and does not sign.
    Add,
    /// Sign with this key from the next start on.
    Sign(u8),
    /// Take this key away.
    Remove(u8),
}

/// Does `task` with the file at `path`, and returns what was done and what comes next, for people.
///
/// # Errors
/// Says what is wrong with the file or the wish. The file is unchanged.
pub fn run(path: &Path, task: Task) -> Result<String, KeygenError> {
    let failed = |kind| KeygenError { path: path.to_owned(), kind };
    let shown = path.display();
    let load = || KeyFile::load(path).map_err(|error| failed(Kind::Load(error)));
    let change = |change: &dyn Fn(&mut KeyFile) -> Result<u8, KeyringError>| {
        let mut file = load()?;
        let id = change(&mut file).map_err(|error| failed(Kind::Keys(error)))?;
        file.write(path, true).map_err(|error| failed(Kind::Write(error)))?;
        Ok((id, file.sign))
    };
    match task {
        Task::Create { may_replace } => {
            let file = KeyFile::new(fresh().map_err(failed)?);
            file.write(path, may_replace).map_err(|error| failed(Kind::Write(error)))?;
            Ok(format!(
                "{shown}: one fresh key, number 1, which signs.\n\
                 Copy the file to every node and witness, mode 0600, over a way you trust."
            ))
        }
        Task::Add => {
            let secret = fresh().map_err(failed)?;
            let (id, sign) = change(&|file| file.add(secret))?;
            Ok(format!(
                "{shown}: key {id} is added and accepted; key {sign} signs as before.\n\
                 1. Copy the file to every node and witness; reload lifesign on each (SIGHUP).\n\
                 2. lifesign keygen --sign {id} {shown}, copy and reload again.\n\
                 3. lifesign keygen --remove {sign} {shown}, copy and reload again."
            ))
        }
        Task::Sign(id) => {
            change(&|file| file.sign_with(id).map(|()| id))?;
            Ok(format!(
                "{shown}: key {id} signs.\n\
                 Copy the file to every node and witness, reload lifesign on each (SIGHUP); \
                 each must know key {id} already.\n\
                 When all sign with it, remove the old key with `lifesign keygen --remove`."
            ))
        }
        Task::Remove(id) => {
            change(&|file| file.remove(id).map(|()| id))?;
            Ok(format!(
                "{shown}: key {id} is gone, and what it signs is refused.\n\
                 Copy the file to every node and witness, reload lifesign on each (SIGHUP)."
            ))
        }
    }
}

fn fresh() -> Result<[u8; KEY_LEN], Kind> {
    let mut secret = [0; KEY_LEN];
    getrandom::fill(&mut secret).map_err(|error| Kind::Random(error.to_string()))?;
    Ok(secret)
}

/// Why a key file was not made or changed. The file is as it was.
#[derive(Debug)]
pub struct KeygenError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Random(String),
    Load(KeyError),
    Keys(KeyringError),
    Write(io::Error),
}

impl fmt::Display for KeygenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            Kind::Random(error) => write!(formatter, "draw a random key: {error}"),
            Kind::Load(error) => error.fmt(formatter),
            Kind::Keys(KeyringError::NoSigner) => {
                write!(formatter, "{path}: there is no such key, or it is the one that signs")
            }
            Kind::Keys(error) => write!(formatter, "{path}: {error}"),
            Kind::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(
                    formatter,
                    "{path}: is there already; --force replaces it, --add keeps its keys"
                )
            }
            Kind::Write(error) => write!(formatter, "write {path}: {}", said(error)),
        }
    }
}

impl core::error::Error for KeygenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;

    #[test]
    fn a_rotation_never_leaves_a_gap() {
        let folder = Folder::new("keygen");
        let path = folder.path.join("key");
        run(&path, Task::Create { may_replace: false }).unwrap();
        let mut stages = vec![KeyFile::load(&path).unwrap()];
        for task in [Task::Add, Task::Sign(2), Task::Remove(1)] {
            run(&path, task).unwrap();
            stages.push(KeyFile::load(&path).unwrap());
        }
        for pair in stages.windows(2) {
            let [one, other] = [&pair[0], &pair[1]].map(|file| file.keyring("web").unwrap());
            for (sender, receiver) in [(&one, &other), (&other, &one)] {
                let tag = sender.tag(b"frame");
                assert_eq!(receiver.verify(sender.signer(), b"frame", &tag), Some(true));
            }
        }
        assert_ne!(stages[0], stages[3]);
    }

    #[test]
    fn a_key_is_never_overwritten_by_accident() {
        let folder = Folder::new("keygen");
        let path = folder.path.join("key");
        run(&path, Task::Create { may_replace: false }).unwrap();
        let before = KeyFile::load(&path).unwrap();
        let error = run(&path, Task::Create { may_replace: false }).unwrap_err();
        let expected = "is there already; --force replaces it, --add keeps its keys";
        assert_eq!(error.to_string(), format!("{}: {expected}", path.display()));
        for task in [Task::Sign(9), Task::Remove(1), Task::Remove(9)] {
            assert!(run(&path, task).is_err(), "{task:?}");
        }
        assert_eq!(KeyFile::load(&path).unwrap(), before);
        run(&path, Task::Create { may_replace: true }).unwrap();
        assert_ne!(KeyFile::load(&path).unwrap(), before);
    }
}
