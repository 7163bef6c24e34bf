//! The executor: an ordinary process that does what the decision thread must not wait for.
//!
//! Starting a program from a real-time process with locked memory stalls it for milliseconds, and
//! a disk may stall it for seconds. So before the daemon becomes such a process, it forks the
//! executor, which runs commands, writes files and writes log lines for it. They talk by packets:
//!
//! ```text
//! daemon ────── requests, replies ──┐
//!        ────── log records ────────┤ executor ──► commands, each in its own process group
//! supervisor ── requests, replies ──┘          ──► files, log lines
//! ```
//!
//! The executor lives as long as one of its clients does: when the daemon is killed, the
//! supervisor still has it at hand to stop services with. It does not react to the signals that a
//! terminal or a service manager sends to all processes at once, for stopping needs it most.

pub mod identity;
pub mod message;
pub mod persist;
mod running;
pub mod secret;
pub mod server;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lifesign_core::time::Duration;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::Pid;

use self::message::{Command, Outcome, Reply, Request};
use self::running::Running;
pub(crate) use self::running::{bare, has_exited, stdin};
use crate::clock;
use crate::connections::{MAX_CONNECTION_LEN, MOST_LISTED};
use crate::log::{self, Drain, Logger};
use crate::record::writer::Writer;
use crate::settings::said;
use crate::sys;

/// What [`start`] leaves in the process that called it.
#[derive(Debug)]
pub struct Started {
    /// The daemon's end.
    pub daemon: Executor,
    /// The supervisor's end. Each of the two processes drops the other's end after they part, or
    /// the executor would not see one of them go.
    pub supervisor: Executor,
    /// Where log records go; a copy is the supervisor's by its fork.
    pub logger: Logger,
    /// The executor's process; our child.
    pub process: Pid,
}

/// Forks the executor; log lines will bear the name `node`, and if there is a `recording`, it is
/// written there.
///
/// Call while the process has one thread, ordinary priority and no locked memory: the executor
/// inherits all of that.
///
/// # Errors
///
/// Out of descriptors or processes, or the process has more than one thread.
pub fn start(node: &str, recording: Option<Writer>) -> io::Result<Started> {
    let (daemon, for_daemon) = pair()?;
    let (supervisor, for_supervisor) = pair()?;
    let (logger, drain) = log::channel(node)?;
    match sys::fork()? {
        Some(process) => {
            let (daemon, supervisor) = (Executor::new(daemon), Executor::new(supervisor));
            Ok(Started { daemon, supervisor, logger, process })
        }
        None => {
            // Kept open here, these ends would never be seen to close.
            drop((daemon, supervisor, logger));
            std::process::exit(run(vec![for_daemon, for_supervisor], drain, recording))
        }
    }
}

fn run(clients: Vec<OwnedFd>, drain: Drain, recording: Option<Writer>) -> i32 {
    // Blocked, not ignored: programs would inherit that a signal is ignored.
    let mut blocked = SigSet::empty();
    blocked.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]);
    let _blocked = blocked.thread_block();
    let _named = nix::sys::prctl::set_name(c"lifesign-exec");
    let logging = thread::Builder::new().name("log".into()).spawn(move || drain.run());
    let is_over = Arc::new(AtomicBool::new(false));
    let recorded = recording.map(|writer| {
        let is_over = Arc::clone(&is_over);
        thread::Builder::new().name("record".into()).spawn(move || writer.run(&is_over))
    });
    let served = server::serve(clients);
    is_over.store(true, Ordering::Release);
    if let Some(Ok(writing)) = recorded {
        let _ended = writing.join();
    }
    // The last records follow the last client's end closely. Standard error may be a pipe that
    // nobody empties, which is no reason to stay for ever.
    let has_logged = logging.is_ok_and(|logging| {
        (0..LAST_RECORDS_MS).any(|_| {
            thread::sleep(std::time::Duration::from_millis(1));
            logging.is_finished()
        })
    });
    i32::from(served.is_err() || !has_logged)
}

/// How long to wait for the last records to be written, in milliseconds.
const LAST_RECORDS_MS: u32 = 1000;

/// Returns two connected packet sockets, closed on exec.
///
/// # Errors
///
/// Out of descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// A client's end of the executor. Nothing here blocks.
#[derive(Debug)]
pub struct Executor {
    socket: OwnedFd,
    buffer: Vec<u8>,
    is_gone: bool,
}

impl Executor {
    /// Returns the client of whoever [`serve`](server::serve)s the other end of `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MESSAGE_LEN_MAX], is_gone: false }
    }

    /// Hands a request over.
    ///
    /// # Errors
    ///
    /// Nothing of the request has been done. [`SubmitError::Full`] passes; the others do not.
    pub fn submit(&mut self, request: &Request) -> Result<(), SubmitError> {
        let bytes =
            postcard::to_slice(request, &mut self.buffer).map_err(|_| SubmitError::TooLong)?;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.socket.as_raw_fd(), bytes, flags) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => {
                Err(SubmitError::Full)
            }
            Err(Errno::EMSGSIZE) => Err(SubmitError::TooLong),
            Err(_) => {
                self.is_gone = true;
                Err(SubmitError::Gone)
            }
        }
    }

    /// Returns the next reply, if one has come. Call until there is none when the descriptor is
    /// readable, and then ask [`is_gone`](Self::is_gone).
    pub fn poll_reply(&mut self) -> Option<Reply> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return None,
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => {
                    self.is_gone = true;
                    return None;
                }
                Ok(len) => match postcard::from_bytes(&self.buffer[..len]) {
                    Ok(reply) => return Some(reply),
                    // Not written by our executor: something is badly wrong with the other end.
                    Err(_) => {
                        self.is_gone = true;
                        return None;
                    }
                },
            }
        }
    }

    /// Returns whether the executor has ended: its descriptor stays readable, so take it out of
    /// the epoll set.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }
}

impl AsFd for Executor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a request was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The executor is behind: try again later, or do without.
    Full,
    /// Longer than [`MESSAGE_LEN_MAX`].
    TooLong,
    /// The executor has ended.
    Gone,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "the executor is busy",
            Self::TooLong => "the request is too long for the executor",
            Self::Gone => "the executor has ended",
        })
    }
}

impl std::error::Error for SubmitError {}

/// The longest request or reply.
pub const MESSAGE_LEN_MAX: usize = 32 * 1024;
/// The most that is kept of a command's output.
pub const OUTPUT_LEN_MAX: usize = 8 * 1024;
/// The most that a command finds on its standard input: what every pipe takes at once.
pub const INPUT_LEN_MAX: usize = 4096;
/// How long a command may take to end once it is asked to.
pub const GRACE: Duration = Duration::from_millis(500);
/// Where programs are looked up.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const _: () = assert!(MOST_LISTED * MAX_CONNECTION_LEN < MESSAGE_LEN_MAX - 64, "a list fits");
const _: () = assert!(3 * OUTPUT_LEN_MAX < MESSAGE_LEN_MAX, "each byte may become three");

/// Runs a command in this process and waits for it, as the executor would have run it: for a person
/// who waits too.
#[must_use]
pub fn run_here(command: &Command) -> (Outcome, String) {
    let mut running = match Running::start(command, clock::now()) {
        Ok(running) => running,
        Err(error) => return (Outcome::NotStarted(said(&error)), String::new()),
    };
    loop {
        if let Some(outcome) = running.step(clock::now()) {
            return (outcome, running.take_output());
        }
        thread::sleep(std::time::Duration::from_millis(LOOK_MS));
    }
}

/// How often to look whether a command has ended that somebody waits for, in milliseconds.
const LOOK_MS: u64 = 5;
