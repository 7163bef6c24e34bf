//! Processes in network namespaces of their own, so that what touches adapters can be tried
//! anywhere.
//!
//! [`isolate`] prepares any command. [`enter`] does it for a test: the test starts itself anew in
//! fresh namespaces, as an ordinary user or as root, and reports what the new process found.
//!
//! ```no_run
//! use lifesign::namespace::{self, Users};
//!
//! // #[test]
//! fn an_address_answers() {
//!     let role = namespace::enter("an_address_answers", Users::New).unwrap();
//!     if role.is_some() {
//!         // The process is alone with its own loopback adapter and every network capability.
//!     }
//! }
//! ```

pub mod cable;
pub mod elsewhere;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::Command;

use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::sys;

/// Whether isolated processes get a user namespace besides the network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// A new user namespace whose root is the caller: needs no privilege, and allows no BPF.
    New,
    /// The caller's users: needs `CAP_SYS_ADMIN`.
    Same,
}

/// Makes `command` start in a network namespace of its own, with `users`.
///
/// Failure shows as an error of `spawn`: permission denied where the kernel forbids namespaces.
pub fn isolate(command: &mut Command, users: Users) {
    let flags = match users {
        Users::New => CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET,
        Users::Same => CloneFlags::CLONE_NEWNET,
    };
    sys::start_in_namespaces(command, flags);
}

/// Makes `command` end by SIGKILL when the thread that starts it has ended, in whatever way.
///
/// A program that changes its user, or gets more capabilities than it was started with, lives on.
pub fn end_with_starter(command: &mut Command) {
    sys::end_with_starter(command);
}

/// Raises the loopback adapter of the caller's network namespace, which starts down.
///
/// # Errors
/// What the kernel refused: not permitted outside a namespace of one's own.
pub fn raise_loopback() -> io::Result<()> {
    sys::raise_loopback()
}

/// Returns the role to play inside fresh namespaces, or nothing where the test has been done there.
///
/// `test` is the full name of the calling test, as the harness prints it. The first call runs the
/// test once more in a new process, waits for it and returns `None`. In that process the same call
/// returns [`MAIN`]; in one started by [`player`] it returns the role named there. Every process
/// ends after [`TIME_LIMIT_SECONDS`], or with the thread that started it, whatever it does.
///
/// # Errors
/// [`Error::Start`] where the namespaces are refused, [`Error::Failed`] where the test failed in
/// them or where no test has the name `test`.
pub fn enter(test: &str, users: Users) -> Result<Option<String>, Error> {
    if let Ok(role) = std::env::var(ROLE) {
        nix::unistd::alarm::set(TIME_LIMIT_SECONDS);
        // An alarm does not reach a process that is stopped, and its open output would be waited
        // for without end.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| Error::Start(errno.into()))?;
        if role == MAIN {
            raise_loopback().map_err(Error::Start)?;
        }
        return Ok(Some(role));
    }
    let mut command = player(test, MAIN).map_err(Error::Start)?;
    isolate(&mut command, users);
    let output = command.output().map_err(Error::Start)?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    // A name that no test has gives success with nothing tried.
    if output.status.success() && said.contains("test result: ok. 1 passed") {
        Ok(None)
    } else {
        Err(Error::Failed { test: test.to_owned(), said })
    }
}

/// Returns a command which runs `test` in `role`, in the caller's namespaces.
///
/// # Errors
/// Where the path of the running program is unknown.
pub fn player(test: &str, role: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let arguments: [OsString; 5] = [
        "--exact".into(),
        test.into(),
        "--nocapture".into(),
        "--include-ignored".into(),
        "--test-threads=1".into(),
    ];
    command.args(arguments).env(ROLE, role);
    Ok(command)
}

/// The role of the process which [`enter`] starts.
pub const MAIN: &str = "main";

/// How long a process that has entered may live.
pub const TIME_LIMIT_SECONDS: u32 = 120;

/// The variable which tells a process its role.
const ROLE: &str = "LIFESIGN_TEST_ROLE";

/// Why a test could not be done in namespaces, or failed there.
#[derive(Debug)]
pub enum Error {
    /// The process did not start, or found no loopback adapter.
    Start(io::Error),
    /// The test failed, or no test has this name.
    Failed {
        /// The name that was asked for.
        test: String,
        /// What the process wrote.
        said: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "start in new namespaces: {error}"),
            Self::Failed { test, said } => write!(f, "{test} in new namespaces:\n{said}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_process_is_alone_with_a_raised_loopback() {
        let name = "namespace::tests::the_process_is_alone_with_a_raised_loopback";
        let Some(role) = enter(name, Users::New).unwrap() else {
            return;
        };
        assert_eq!(role, MAIN);
        let adapters = fs::read_to_string("/proc/self/net/dev").unwrap();
        assert_eq!(adapters.lines().count(), 3, "two heads and lo: {adapters}");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        assert_eq!(socket.send_to(b"x", own).unwrap(), 1);
        assert!(nix::unistd::geteuid().is_root());
    }

    #[test]
    fn a_failure_inside_is_a_failure_outside() {
        let name = "namespace::tests::a_failure_inside_is_a_failure_outside";
        if std::env::var(ROLE).is_ok() {
            panic!("as meant");
        }
        let error = enter(name, Users::New).unwrap_err();
        assert!(error.to_string().contains("as meant"), "{error}");
    }

    #[test]
    fn a_name_which_no_test_has_is_an_error() {
        let error = enter("namespace::tests::nobody", Users::New).unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{error}");
    }

    #[test]
    fn a_player_shares_the_namespaces_and_knows_its_role() {
        let name = "namespace::tests::a_player_shares_the_namespaces_and_knows_its_role";
        let Some(role) = enter(name, Users::New).unwrap() else {
            return;
        };
        let here = fs::read_link("/proc/self/ns/net").unwrap();
        if role != MAIN {
            assert_eq!(role, here.to_str().unwrap());
            return;
        }
        let status = player(name, here.to_str().unwrap()).unwrap().status().unwrap();
        assert!(status.success());
    }
}
