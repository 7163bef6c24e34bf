//! The `lifesign` command as these tests build it, so that what they start is what they were built with.

use std::process::ExitCode;

fn main() -> ExitCode {
    match lifesign::demo::machine::play_role() {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
