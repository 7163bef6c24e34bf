//! One daemon for a node, and one on a machine.
//!
//! A node has a file that its daemon locks: two with the same name would use the same tokens.
//!
//! The tables of the lease have one name in a network namespace, and whoever starts there replaces
//! them by its own: a second daemon, of whatever cluster, would leave the addresses of the first
//! without a lease. So each has a name in the abstract namespace of Unix sockets (unix(7)), which
//! belongs to a network namespace.
//!
//! Either is free again when the last process that has it is gone. A daemon that was killed is
//! being cleaned up behind, by children that share both: that is waited for.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use lifesign_core::time::Duration;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::geteuid;

use crate::clock;
use crate::settings::said;

/// Takes the lock that keeps a second daemon of the same node away.
///
/// # Errors
/// In one line, that another daemon has it, or that its directory cannot be used.
pub(super) fn lock(state_dir: &Path, name: &str) -> Result<Flock<File>, String> {
    let fails = |error: io::Error, path: &Path| {
        let (path, error) = (path.display(), said(&error));
        format!("open {path}: {error}; make the directory, writable for the daemon")
    };
    fs::create_dir_all(state_dir).map_err(|error| fails(error, state_dir))?;
    let path = state_dir.join(format!("{name}.lock"));
    let file = File::options().create(true).write(true).truncate(false).open(&path);
    let mut file = Some(file.map_err(|error| fails(error, &path))?);
    let attempt = || {
        let taken = file.take().ok_or(Errno::EBADF)?;
        Flock::lock(taken, FlockArg::LockExclusiveNonblock).map_err(|(again, errno)| {
            file = Some(again);
            errno
        })
    };
    await_free(attempt)
        .map_err(|_| format!("lock {}: another lifesign is running as {name}", path.display()))
}

/// Tries until it succeeds, for [`PATIENCE`] at most.
fn await_free<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let until = clock::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if !clock::now().has_reached(until) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

/// Whether this is the only daemon here.
#[derive(Debug)]
pub(super) enum Sole {
    /// It is, for as long as this is open in any process.
    Yes(#[expect(dead_code, reason = "what is kept open keeps the name")] OwnedFd),
    /// A process of another user has the name, which may be nobody's daemon: what to say of it.
    Unknown(String),
}

impl Sole {
    /// Takes the name.
    ///
    /// # Errors
    /// In one line, that another daemon has it, or what the kernel refused.
    pub(super) fn claim() -> Result<Self, String> {
        match await_free(take) {
            Ok(name) => Ok(Self::Yes(name)),
            Err(Errno::EADDRINUSE) => judge(owner()),
            Err(errno) => Err(format!("take the name @{NAME}: {}", errno.desc().to_lowercase())),
        }
    }

    /// Returns what to say where that cannot be told.
    pub(super) fn doubt(&self) -> Option<&str> {
        match self {
            Self::Yes(_) => None,
            Self::Unknown(doubt) => Some(doubt),
        }
    }
}

/// Who has the name: the user and the process, both as they are seen from here.
type Owner = (u32, i32);

fn judge(owner: Option<Owner>) -> Result<Sole, String> {
    match owner {
        Some((user, process)) if user != geteuid().as_raw() => Ok(Sole::Unknown(format!(
            "cannot tell whether another lifesign is running on this machine: process {process} of \
             user {user} has the name @{NAME}"
        ))),
        owner => {
            let process = owner.map(|(_, process)| format!(", process {process}"));
            Err(format!(
                "another lifesign is running on this machine{}: it would lose its kernel lease; \
                 make one cluster of both, or give this one a network namespace of its own",
                process.unwrap_or_default()
            ))
        }
    }
}

/// Binds the name.
fn take() -> Result<OwnedFd, Errno> {
    let (socket, address) = unbound()?;
    bind(socket.as_raw_fd(), &address)?;
    // Who listens is told to whoever connects.
    listen(&socket, Backlog::new(1)?)?;
    Ok(socket)
}

/// Returns who has the name; `None` where that cannot be found out.
fn owner() -> Option<Owner> {
    let (socket, address) = unbound().ok()?;
    connect(socket.as_raw_fd(), &address).ok()?;
    let owner = getsockopt(&socket, PeerCredentials).ok()?;
    Some((owner.uid(), owner.pid()))
}

fn unbound() -> Result<(OwnedFd, UnixAddr), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    Ok((socket, UnixAddr::new_abstract(NAME.as_bytes())?))
}

/// How long what a daemon has is waited for.
const PATIENCE: Duration = Duration::from_millis(2000);
/// The name in the abstract namespace.
const NAME: &str = "lifesign";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Users, enter};
    use nix::sched::{CloneFlags, unshare};

    #[test]
    fn a_name_is_had_once_in_a_network_namespace_and_is_free_when_it_is_let_go() {
        let test = "daemon::sole::tests::\
                    a_name_is_had_once_in_a_network_namespace_and_is_free_when_it_is_let_go";
        if enter(test, Users::New).unwrap().is_none() {
            return;
        }
        let is_free = || matches!(Sole::claim(), Ok(Sole::Yes(_)));
        let first = Sole::claim().unwrap();
        let said = Sole::claim().unwrap_err();
        let me = format!("running on this machine, process {}: ", std::process::id());
        assert!(said.contains(&me), "{said}");
        let elsewhere = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            is_free()
        });
        assert!(elsewhere.join().unwrap(), "another network namespace");
        drop(first);
        assert!(is_free());
    }

    #[test]
    fn a_stranger_with_the_name_keeps_nobody_from_starting() {
        let other = geteuid().as_raw() + 1;
        let Ok(Sole::Unknown(said)) = judge(Some((other, 77))) else { panic!("refused") };
        assert!(said.contains(&format!("process 77 of user {other} has the name @lifesign")));
        assert!(judge(None).is_err() && judge(Some((other - 1, 77))).is_err());
    }
}
