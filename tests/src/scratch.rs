//! Folders for what a test writes.
//!
//! A [`Scratch`] goes with its owner. One whose process was killed is left, unlocked, and the next
//! that is made anywhere on the machine takes it away.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A folder, until it is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// The folder, locked for as long as its process lives.
    _lock: File,
}

impl Scratch {
    /// Makes a folder with a name of its own, and removes those that were left behind.
    ///
    /// # Panics
    /// If the directory for temporary files cannot be written to.
    #[must_use]
    pub fn new(purpose: &str) -> Self {
        let place = std::env::temp_dir();
        sweep(&place);
        let template = place.join(format!("{PREFIX}{purpose}-XXXXXX"));
        loop {
            let path = nix::unistd::mkdtemp(&template).expect("a directory");
            // Before it is locked somebody may take it for one that was left behind.
            let lock = File::open(&path).and_then(|folder| folder.lock().map(|()| folder));
            if let Ok(lock) = lock
                && is_at(&lock, &path)
            {
                return Self { path, _lock: lock };
            }
        }
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.path);
    }
}

/// Says whether this open folder is the one with this path.
fn is_at(folder: &File, path: &Path) -> bool {
    let number = |metadata: std::io::Result<fs::Metadata>| metadata.ok().map(|it| it.ino());
    number(folder.metadata()).is_some_and(|own| number(fs::metadata(path)) == Some(own))
}

/// Removes the folders whose processes are gone.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // Who cannot open it has no right to remove it either.
        if let Ok(folder) = File::open(&path)
            && folder.try_lock().is_ok()
        {
            let _gone = fs::remove_dir_all(&path);
        }
    }
}

/// How the names of all of them begin.
const PREFIX: &str = "lifesign-test-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_and_those_of_others_stay() {
        let (one, other) = (Scratch::new("laws"), Scratch::new("laws"));
        fs::write(one.path().join("file"), "text").unwrap();
        let path = one.path().to_owned();
        assert!(path.is_dir() && other.path().is_dir() && path != other.path());
        drop(one);
        assert!(!path.exists() && other.path().is_dir());
    }

    #[test]
    fn what_nobody_has_locked_is_removed() {
        let template = std::env::temp_dir().join(format!("{PREFIX}left-XXXXXX"));
        let left = nix::unistd::mkdtemp(&template).unwrap();
        fs::write(left.join("file"), "text").unwrap();
        // Another test may be about to remove it, and keep this one from it meanwhile.
        let is_gone = (0..1_000).any(|_| {
            let _next = Scratch::new("laws");
            std::thread::sleep(std::time::Duration::from_millis(10));
            !left.exists()
        });
        assert!(is_gone);
    }
}
