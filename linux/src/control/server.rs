//! The side of the control socket that answers, for an event loop that never waits.
//!
//! One descriptor stands for the listener and all connections. Write this into the loop:
//!
//! ```text
//! readable, or poll_timeout reached:  handle_ready(now)
//! then, until None:                   poll_request() -> (connection, request)
//! for each, at once or later:         answer(connection, &response, now), or watch(..)
//! whenever something happens:         announce(notice)
//! at the end of the turn:             tell_watchers(a picture if needs_picture(), now)
//! ```
//!
//! A client that says nothing, or does not read, is dropped after [`PATIENCE`]; until then it costs
//! one of [`MOST_CONNECTIONS`] places. Whoever finds no place waits in the kernel's queue. Those
//! who watch have at most [`MOST_WATCHERS`] of these places, and [`WATCHER_PATIENCE`].

mod watchers;

use core::fmt;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::connection::Connection;
use super::feed::Feed;
use super::{Request, Response};
use crate::settings::said;

pub use self::watchers::{MOST_WATCHERS, WATCHER_PATIENCE};

/// How many clients are served at once.
pub const MOST_CONNECTIONS: usize = 32;
/// How long a client may take to ask, and to read an answer.
pub const PATIENCE: Duration = Duration::from_millis(5000);
/// How long nobody is accepted after the system has refused.
const MUTE: Duration = Duration::from_millis(1000);
/// How many clients may wait in the kernel's queue.
const BACKLOG: i32 = 128;
/// The most events and reads of one call, so that a flood of requests cannot hold up the caller.
pub(super) const BATCH: usize = 64;

/// The server's socket and its connections.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    epoll: Epoll,
    connections: BTreeMap<u64, Connection>,
    feed: Feed,
    next: u64,
    is_listening: bool,
    /// Until when nobody is accepted, because descriptors have run out.
    muted_until: Option<Instant>,
    dropped: u64,
    /// The process that serves; the socket is not its children's to remove.
    process: u32,
    /// Held as long as this process lives; the kernel gives it back whatever ends the process.
    _lock: File,
}

/// A connection, as long as it lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// The listener's key among the keys of connections.
const LISTENER: u64 = 0;

impl Control {
    /// Opens the socket at `path`. What a dead daemon left there is replaced.
    ///
    /// Call it in the process that will serve, before anything is touched: a lock beside the socket
    /// belongs to that process alone, so neither a child that outlives it nor a socket left behind
    /// looks like a daemon. A child that is forked later must drop its copy, which changes nothing
    /// here; else clients of a dead daemon wait in vain.
    ///
    /// # Errors
    /// Another daemon serves there, or the system refuses; the message names the file.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |what: &'static str| {
            let path = path.to_owned();
            move |error: io::Error| ControlError { path, kind: Kind::Io(what, error) }
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            // The folder is on a file system that is empty at each start of the machine.
            fs::create_dir(folder).map_err(failed("create the folder of"))?;
        }
        let lock = lock(path)?;
        let start = getrandom::u64()
            .map_err(|error| failed("draw a number for")(io::Error::other(error.to_string())))?;
        match fs::symlink_metadata(path) {
            Ok(status) if !status.file_type().is_socket() => {
                return Err(ControlError { path: path.to_owned(), kind: Kind::NotASocket });
            }
            Ok(_) => fs::remove_file(path).map_err(failed("replace"))?,
            Err(_) => {}
        }
        let listener = listen(path).map_err(failed("listen at"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failed("watch")(errno.into()))?;
        epoll
            .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))
            .map_err(|errno| failed("watch")(errno.into()))?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            epoll,
            connections: BTreeMap::new(),
            feed: Feed::new(format!("{start:016x}")),
            next: LISTENER + 1,
            is_listening: true,
            muted_until: None,
            dropped: 0,
            process: std::process::id(),
            _lock: lock,
        })
    }

    /// Accepts, reads and writes what is ready, and drops clients whose time is over.
    pub fn handle_ready(&mut self, now: Instant) {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in events.iter().take(count) {
            let key = event.data();
            if key == LISTENER {
                self.accept(now);
            } else if let Some(connection) = self.connections.get_mut(&key) {
                connection.handle_ready(event.events(), now);
                self.settle(key);
            }
        }
        let is_over = |connection: &Connection| {
            connection.deadline.is_some_and(|deadline| now.has_reached(deadline))
        };
        let over: Vec<u64> =
            self.connections.iter().filter(|(_, it)| is_over(it)).map(|(key, _)| *key).collect();
        for key in over {
            self.dropped = self.dropped.saturating_add(1);
            self.connections.remove(&key);
        }
        self.muted_until = self.muted_until.filter(|until| !now.has_reached(*until));
        self.listen_if_there_is_room();
    }

    /// Returns a request that waits for its answer, and who asks.
    pub fn poll_request(&mut self) -> Option<(ConnectionId, Request)> {
        let (key, connection) =
            self.connections.iter_mut().find(|(_, connection)| connection.request.is_some())?;
        let request = connection.request.take()?;
        Some((ConnectionId(*key), request))
    }

    /// Answers `connection`; if it has gone meanwhile, nothing happens.
    pub fn answer(&mut self, connection: ConnectionId, response: &Response, now: Instant) {
        if let Some(it) = self.connections.get_mut(&connection.0) {
            it.answer(response, now);
            self.settle(connection.0);
            self.listen_if_there_is_room();
        }
    }

    /// Returns when [`handle_ready`](Self::handle_ready) has a client to drop, or to accept again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.connections.values().filter_map(|connection| connection.deadline);
        deadlines.chain(self.muted_until).min()
    }

    /// Returns how many clients were dropped because they took too long.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many clients are being served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn accept(&mut self, now: Instant) {
        while self.connections.len() < MOST_CONNECTIONS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // The client stays in the queue, and would wake the caller again at once.
                    self.muted_until = Some(now + MUTE);
                    return;
                }
            };
            let own = geteuid().as_raw();
            let uid = getsockopt(&stream, PeerCredentials).map(|credentials| credentials.uid());
            if !uid.is_ok_and(|uid| may_ask(uid, own)) || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let key = self.next;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, key);
            if self.epoll.add(&stream, event).is_ok() {
                self.next += 1;
                let mut connection = Connection::new(stream, now);
                connection.read(now); // most clients have asked already
                self.connections.insert(key, connection);
                self.settle(key);
            }
        }
    }

    /// Takes the consequences of what a connection has just done.
    fn settle(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.is_over() {
            self.connections.remove(&key);
            return;
        }
        let mut event = EpollEvent::new(connection.interest(&self.feed), key);
        let _ = self.epoll.modify(&connection.stream, &mut event);
    }

    /// A listener without a free place would wake the caller for nothing.
    fn listen_if_there_is_room(&mut self) {
        let has_room = self.connections.len() < MOST_CONNECTIONS && self.muted_until.is_none();
        if has_room != self.is_listening {
            let interest = if has_room { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(interest, LISTENER);
            if self.epoll.modify(&self.listener, &mut event).is_ok() {
                self.is_listening = has_room;
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // While this process holds the lock, the file is ours.
        if std::process::id() == self.process {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns whether user `uid` may ask a daemon of user `own`.
const fn may_ask(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

/// Takes the lock beside `path`.
fn lock(path: &Path) -> Result<File, ControlError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |error| ControlError { path: name.clone(), kind: Kind::Io("open", error) };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    let mut wish = whole_file();
    match fcntl(&file, FcntlArg::F_SETLK(&wish)) {
        Ok(_) => Ok(file),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            let holder = fcntl(&file, FcntlArg::F_GETLK(&mut wish)).ok().map(|_| wish.l_pid);
            let kind = Kind::Running(holder.filter(|pid| *pid > 0));
            Err(ControlError { path: path.to_owned(), kind })
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Returns a write lock on a whole file, which fcntl(2) gives to a process and not to its children.
#[expect(clippy::cast_possible_truncation, reason = "both constants are below 4")]
const fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before listen nobody can connect, so there is no moment at which others could.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Why the control socket was not opened. Nothing was touched, or only what a dead daemon left.
#[derive(Debug)]
pub struct ControlError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Another daemon serves there: its process, if the system says.
    Running(Option<i32>),
    /// Something that is no socket is in the place.
    NotASocket,
    /// The system refuses.
    Io(&'static str, io::Error),
}

impl ControlError {
    /// Returns whether another daemon serves there.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.kind, Kind::Running(_))
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            Kind::Running(None) => write!(formatter, "another lifesign is running at {path}"),
            Kind::Running(Some(pid)) => {
                write!(formatter, "another lifesign is running at {path}, process {pid}")
            }
            Kind::NotASocket => write!(formatter, "{path} is in the way and not a socket"),
            Kind::Io(what, error) => write!(formatter, "{what} {path}: {}", said(error)),
        }
    }
}

impl core::error::Error for ControlError {}

#[cfg(test)]
mod tests;
