//! Files in which the key of a name server stands.
//!
//! They are written as `tsig-keygen` does, `key "NAME" { algorithm hmac-sha256; secret "..."; };`,
//! or in one line as `keymgr tsig` does, `hmac-sha256:NAME:SECRET`. As for every file with a
//! secret, nobody but root and the caller may be able to read it, and nothing of it is shown.

use core::str::FromStr;
use std::path::Path;

use domain::tsig::{Algorithm, Key, KeyName};
use domain::utils::base64;

use crate::settings::private;

/// The longest such file, in bytes.
const MOST: u64 = 4096;

/// Reads the key in the file at `path`.
///
/// # Errors
/// Why it is not one, in one line that shows nothing of it.
pub fn read(path: &Path) -> Result<Key, String> {
    let text = private::read(path, MOST).map_err(|error| error.of("key file", path))?;
    parse(&text).map_err(|why| format!("key file {}: {why}", path.display()))
}

/// Returns the key that `text` is.
fn parse(text: &str) -> Result<Key, &'static str> {
    // What `keymgr` says for people begins with "# ", and its line for tools stands behind it.
    let bare = text.lines().map(|line| line.trim().trim_start_matches("# "));
    let mut lines = bare.filter(|line| line.starts_with("hmac-") && line.contains(':'));
    if let Some(line) = lines.next() {
        let mut parts = line.splitn(3, ':');
        let (algorithm, name, secret) = (parts.next(), parts.next(), parts.next());
        return key(algorithm, name, secret);
    }
    let mut words = words(text);
    if words.next().as_deref() != Some("key") {
        return Err("it has no key; write it with `tsig-keygen`");
    }
    let name = words.next();
    let (mut algorithm, mut secret) = (None, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "algorithm" => algorithm = words.next(),
            "secret" => secret = words.next(),
            "key" => return Err("it has more than one key"),
            "{" | "}" | ";" => {}
            _ => return Err("it has a word that is not key, algorithm or secret"),
        }
    }
    key(algorithm.as_deref(), name.as_deref(), secret.as_deref())
}

fn key(
    algorithm: Option<&str>,
    name: Option<&str>,
    secret: Option<&str>,
) -> Result<Key, &'static str> {
    let algorithm = algorithm.ok_or("its algorithm is missing")?.to_ascii_lowercase();
    let algorithm = algorithm.trim_end_matches('.');
    let algorithm = Algorithm::from_str(algorithm)
        .map_err(|_| "its algorithm is not hmac-sha256, hmac-sha384, hmac-sha512 or hmac-sha1")?;
    let name = KeyName::from_str(name.ok_or("its name is missing")?);
    let name = name.map_err(|_| "its name is no name of a key")?;
    let secret: Vec<u8> = base64::decode(secret.ok_or("its secret is missing")?)
        .map_err(|_| "its secret is not in base64")?;
    if secret.is_empty() {
        return Err("its secret is empty");
    }
    Key::new(algorithm, &secret, name, None, None).map_err(|_| "its key cannot be used")
}

/// Splits what is written in the manner of BIND: words, texts in quotes, braces and semicolons.
/// What stands behind `#` or `//` is for people.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let mut rest = line.trim();
        while !rest.is_empty() && !rest.starts_with('#') && !rest.starts_with("//") {
            let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let (word, behind) = if let Some((word, behind)) = quoted {
                (word, behind)
            } else if rest.starts_with(['{', '}', ';']) {
                rest.split_at(1)
            } else {
                let is_end = |letter: char| letter.is_whitespace() || "{};\"".contains(letter);
                let end = rest.find(is_end).unwrap_or(rest.len()).max(1);
                rest.split_at_checked(end).unwrap_or((rest, ""))
            };
            words.push(word.to_owned());
            rest = behind.trim_start();
        }
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_name_servers_write_them() {
        for text in [
            "key \"lifesign.\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0LXNlY3JldA==\";\n};\n",
            "# ours\nkey lifesign{algorithm HMAC-SHA256;secret c2VjcmV0LXNlY3JldA==;}; // end",
            "hmac-sha256:lifesign:c2VjcmV0LXNlY3JldA==\n",
            "# hmac-sha256:lifesign:c2VjcmV0LXNlY3JldA==\nkey:\n  - id: lifesign\n",
        ] {
            let key = parse(text).unwrap();
            assert_eq!(key.name().to_string(), "lifesign", "{text}");
            assert_eq!(key.algorithm(), Algorithm::Sha256);
        }
    }

    #[test]
    fn what_is_no_key_is_said_without_showing_it() {
        for (text, expected) in [
            ("", "it has no key; write it with `tsig-keygen`"),
            ("secret c2VjcmV0", "it has no key; write it with `tsig-keygen`"),
            ("key a { secret c2VjcmV0; };", "its algorithm is missing"),
            ("key a { algorithm hmac-sha256; };", "its secret is missing"),
            ("key a { algorithm hmac-sha256; secret \"\"; };", "its secret is empty"),
            ("key a { algorithm hmac-sha256; secret \"c2Vj!\"; };", "its secret is not in base64"),
            ("hmac-sha256:a", "its secret is missing"),
            (
                "key a..b { algorithm hmac-sha256; secret \"c2VjcmV0\"; };",
                "its name is no name of a key",
            ),
            (
                "key a { algorithm rot13; secret \"c2VjcmV0\"; };",
                "its algorithm is not hmac-sha256, hmac-sha384, hmac-sha512 or hmac-sha1",
            ),
            (
                "key a { algorithm hmac-sha256; secret \"c2VjcmV0\"; }; key b { };",
                "it has more than one key",
            ),
            ("key a { c2VjcmV0 }", "it has a word that is not key, algorithm or secret"),
        ] {
            assert_eq!(parse(text).err(), Some(expected), "{text}");
        }
    }
}
