//! Files that are old or new after a crash, never half of each.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces the contents of the file at `path`, and returns when they are on the disk.
///
/// A new file beside it is written, synchronised and renamed, and the directory synchronised. May
/// take as long as the disk does. The file is readable by its owner alone.
///
/// # Errors
///
/// What failed, with the file's name.
pub fn persist(path: &Path, contents: &[u8]) -> Result<(), String> {
    write_beside(path, contents).map_err(|error| format!("write {}: {error}", path.display()))
}

fn write_beside(path: &Path, contents: &[u8]) -> io::Result<()> {
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let name = path.file_name().ok_or_else(|| invalid("no file named"))?;
    let directory = path.parent().ok_or_else(|| invalid("no directory named"))?;
    if !path.is_absolute() {
        return Err(invalid("not an absolute path"));
    }
    let mut new_name = OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new_path = directory.join(new_name);
    // What a crash has left behind, or what somebody has put there to be followed.
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new_path)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&new_path, path));
    if let Err(error) = renamed {
        let _absent = fs::remove_file(&new_path);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn contents_are_replaced_whole_and_nothing_is_left_beside() {
        let directory = Directory::new("replaced");
        let path = directory.0.join("tokens");
        persist(&path, b"a longer first version").unwrap();
        persist(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_or_an_enemy_left_beside_is_not_written_through() {
        let directory = Directory::new("beside");
        let victim = directory.0.join("victim");
        fs::write(&victim, "unharmed").unwrap();
        symlink(&victim, directory.0.join(".tokens.new")).unwrap();
        persist(&directory.0.join("tokens"), b"ours").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"unharmed");
    }

    #[test]
    fn failures_name_the_file_and_leave_the_old_contents() {
        let directory = Directory::new("failures");
        let missing = directory.0.join("missing/tokens");
        let said = persist(&missing, b"x").unwrap_err();
        assert!(said.contains("missing/tokens"), "{said}");
        for path in ["/", "relative", ""] {
            assert!(persist(Path::new(path), b"x").is_err(), "{path:?}");
        }
        // A directory cannot be replaced by a file: the last step fails, and cleans up.
        let taken = directory.0.join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(persist(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("persist-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}
