//! The `lifesign` command.

#[cfg(lifesign_stub_tag)]
compile_error!("with tags without cryptography there are simulations alone");

use std::process::ExitCode;

fn main() -> ExitCode {
    lifesign::cli::main()
}
