//! What a command is told out of files that only root may read, and what it may not repeat.

use std::io;
use std::path::Path;

use super::message::{Command, Place};
use crate::settings::private;

/// A command's input and environment with its secrets in them.
pub(super) struct Told {
    /// What it finds on its standard input.
    pub(super) input: Vec<u8>,
    /// What it finds in its environment besides.
    pub(super) environment: Vec<(String, String)>,
    /// What must not come out again.
    pub(super) veil: Veil,
}

/// Reads the secrets of `command`.
///
/// # Errors
/// Says which file is not there, or open to others, and shows nothing of it.
pub(super) fn read(command: &Command) -> io::Result<Told> {
    let mut told = Told {
        input: command.input.clone(),
        environment: Vec::new(),
        veil: Veil { values: Vec::new() },
    };
    for secret in &command.secrets {
        let value = first_line(Path::new(&secret.path)).map_err(io::Error::other)?;
        match secret.place {
            Place::Input => {
                told.input.extend_from_slice(format!("{}={value}\n", secret.name).as_bytes());
            }
            Place::Environment => told.environment.push((secret.name.clone(), value.clone())),
        }
        told.veil.values.push(value);
    }
    Ok(told)
}

/// Returns the first line of a file that only root and this process's user may read.
///
/// # Errors
/// What is wrong with the file, in one line.
pub fn first_line(path: &Path) -> Result<String, String> {
    let text = private::read(path, LONGEST).map_err(|error| error.of("secret", path))?;
    let line = text.lines().next().unwrap_or_default();
    match line {
        "" => Err(format!("secret {}: its first line is empty", path.display())),
        line if line.contains('\0') => Err(format!("secret {}: it has a NUL", path.display())),
        line => Ok(line.to_owned()),
    }
}

/// The longest file with a secret, in bytes.
const LONGEST: u64 = 1024;

/// What must not come out again.
#[derive(Debug, Default)]
pub(super) struct Veil {
    values: Vec<String>,
}

impl Veil {
    /// Returns how many bytes more of the output must be kept, so that no part of a secret is left
    /// at its beginning.
    pub(super) fn margin(&self) -> usize {
        self.values.iter().map(String::len).max().unwrap_or_default()
    }

    /// Returns the last `most` bytes of `text` without secrets.
    pub(super) fn over(&self, mut text: String, most: usize) -> String {
        for value in &self.values {
            text = text.replace(value.as_str(), VEILED);
        }
        let surplus = text.ceil_char_boundary(text.len().saturating_sub(most));
        text.split_off(surplus)
    }
}

/// What stands in the place of a secret.
const VEILED: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::message::Secret;
    use crate::settings::tests::Folder;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn written(text: &str, mode: u32) -> (Folder, Command) {
        let folder = Folder::new("secret");
        let path = folder.path.join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let secret =
            |place| Secret { name: "password".to_owned(), path: path.display().to_string(), place };
        let secrets = vec![secret(Place::Input), secret(Place::Environment)];
        (folder, Command { input: b"action=off\n".to_vec(), secrets, ..Command::default() })
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let (_folder, command) = written("hush hush\nnot this\n", 0o600);
        let told = read(&command).unwrap();
        assert_eq!(told.input, b"action=off\npassword=hush hush\n");
        assert_eq!(told.environment, [("password".to_owned(), "hush hush".to_owned())]);
    }

    #[test]
    fn a_file_that_others_may_read_is_no_secret() {
        for (text, mode, expected) in [
            ("hush", 0o644, "mode 0644 lets others in; run `chmod 600 "),
            ("", 0o600, "its first line is empty"),
            ("\nhush", 0o600, "its first line is empty"),
        ] {
            let (_folder, command) = written(text, mode);
            let error = read(&command).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains("hush\""), "{error}");
        }
        let (folder, command) = written("hush", 0o600);
        drop(folder);
        assert!(read(&command).err().unwrap().to_string().starts_with("open secret /"));
    }

    #[test]
    fn secrets_are_taken_out_of_what_is_said() {
        let veil = Veil { values: vec!["hush".to_owned(), "mum".to_owned()] };
        assert_eq!(veil.margin(), 4);
        assert_eq!(veil.over("-P hush: mum's the word".to_owned(), 100), "-P ***: ***'s the word");
        assert_eq!(veil.over("hush hush and more".to_owned(), 9), " and more");
    }
}
