//! A key file out of any text.

use std::path::Path;

use lifesign::settings::key::KeyFile;

/// Reads any text as a key file.
///
/// # Panics
/// If one of these is not so:
///
/// - What is wrong is said in one line, which names the file and a line that it has, and shows
///   nothing of what may be a key.
/// - What is accepted makes a keyring, in which the named key signs.
/// - It is written again in one form only: read back, it says the same, and its text stays.
pub fn keyfile(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    match KeyFile::parse(Path::new(PATH), text) {
        Err(error) => demand_discreet(&error.to_string(), text),
        Ok(file) => {
            let ids: Vec<u8> = file.ids().collect();
            assert!((1..=4).contains(&ids.len()) && ids.contains(&file.sign), "{ids:?}");
            let keyring = file.keyring("web").expect("an accepted file makes a keyring");
            assert_eq!(keyring.signer().0, file.sign);
            let again = file.text();
            let read = KeyFile::parse(Path::new(PATH), &again).expect("what is written is read");
            assert!(read == file && read.text() == again, "written again, it says the same");
            assert!(!format!("{file:?}").contains(again.rsplit('"').nth(1).unwrap_or("none")));
        }
    }
}

const PATH: &str = "/etc/lifesign/web.key";
/// A run of hexadecimal digits as long as this may be part of a key.
const TELLING: usize = 8;

fn demand_discreet(error: &str, text: &str) {
    let rest = error.strip_prefix("key file /etc/lifesign/web.key: line ").expect("file and line");
    let (line, why) = rest.split_once(": ").expect("a line and what is wrong there");
    let line: usize = line.parse().expect("a number of a line");
    assert!((1..=text.split('\n').count()).contains(&line), "line {line} is not there");
    assert!(!why.is_empty() && !error.contains('\n'), "{error}");
    let digits = why.as_bytes().windows(TELLING);
    let is_shown = |part: &[u8]| part.iter().all(u8::is_ascii_hexdigit);
    assert!(!digits.into_iter().any(is_shown), "part of a key is shown: {error}");
}
