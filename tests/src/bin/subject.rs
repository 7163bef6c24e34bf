//! The `lifesign` command as these tests build it, so that what they start is what they were built
//! with.

use std::process::ExitCode;

#[cfg(lifesign_stub_tag)]
fn main() -> ExitCode {
    panic!("with tags without cryptography there are simulations alone")
}

#[cfg(not(lifesign_stub_tag))]
fn main() -> ExitCode {
    lifesign::cli::main()
}
