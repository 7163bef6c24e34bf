//! The system calls that no library of ours wraps, and the only unsafe code of the crate.
#![allow(unsafe_code, reason = "every unsafe block of the crate is in this file")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

/// Makes `command` start in the namespaces of `flags`; a user namespace maps its only user and
/// group to the caller's.
///
/// The maps are written by the child itself before it becomes the command, so the caller may have
/// threads, and the command is the first to see its namespaces.
pub(crate) fn start_in_namespaces(command: &mut Command, flags: CloneFlags) {
    let user = format!("0 {} 1\n", nix::unistd::geteuid());
    let group = format!("0 {} 1\n", nix::unistd::getegid());
    let enter = move || {
        unshare(flags)?;
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            // An ordinary user may map a group only after giving up setgroups.
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", user.as_bytes())?;
            write_file(c"/proc/self/gid_map", group.as_bytes())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor
    // takes a lock, and what it reads is owned by it.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Raises the loopback adapter of the caller's network namespace.
///
/// # Errors
/// What socket or SIOCSIFFLAGS refused.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zeroes is a valid ifreq: integers and arrays of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = FLAG_UP;
    // SAFETY: the descriptor is open and the kernel reads one ifreq, which outlives the call.
    let outcome =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(outcome)?;
    Ok(())
}

/// `IFF_UP`, in the width which the request has.
const FLAG_UP: libc::c_short = 1;

/// Writes `bytes` to the existing file `path` by one call, without allocation.
fn write_file(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    let file: OwnedFd = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    if nix::unistd::write(&file, bytes)? == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
