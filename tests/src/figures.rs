//! Figures that tests measure by the way.

use std::fs::File;
use std::io::Write;

/// The environment variable that names a file for figures; tests that measure measure more then.
const FILE: &str = "LIFESIGN_FIGURES";

/// Returns whether somebody wants figures.
#[must_use]
pub fn are_wanted() -> bool {
    std::env::var_os(FILE).is_some()
}

/// Appends a line to the file of figures, if there is one.
///
/// # Panics
/// If it cannot be written.
pub fn note(line: &str) {
    let Some(path) = std::env::var_os(FILE) else { return };
    let file = File::options().append(true).create(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).expect("a file for figures");
}
