//! The `lifesign` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifesign::cli::main()
}
