//! The `lifesign` command as these tests build it, so that what they start is what they were built
//! with.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifesign::cli::main()
}
