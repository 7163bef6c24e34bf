//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use lifesign_core::time::Instant;
use nix::sys::epoll::EpollFlags;

use super::server::{BATCH, PATIENCE};
use super::{Command, LONGEST_REQUEST, LONGEST_RESPONSE, Request, Response, VERSION, Versioned};

/// One client.
///
/// It asks, then waits for the answer, then reads it, then may ask again; its next request is not
/// read before the answer to the last has left.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket.
    pub(super) stream: UnixStream,
    /// What has come and is not a whole request yet.
    pub(super) input: Vec<u8>,
    /// A request that has not been given out.
    pub(super) request: Option<Request>,
    /// Whether a request has been given out that is not answered yet.
    is_asking: bool,
    /// Whether it has asked to watch.
    pub(super) is_watching: bool,
    /// The answer, of which `written` bytes have left.
    pub(super) output: Vec<u8>,
    written: usize,
    /// Close once everything is written.
    is_last: bool,
    is_gone: bool,
    /// When the client has had its time.
    pub(super) deadline: Option<Instant>,
}

impl Connection {
    /// Begins to serve a client that has just connected.
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Self {
            stream,
            input: Vec::new(),
            request: None,
            is_asking: false,
            is_watching: false,
            output: Vec::new(),
            written: 0,
            is_last: false,
            is_gone: false,
            deadline: Some(now + PATIENCE),
        }
    }

    /// Reads and writes what `flags` say is ready.
    pub(super) fn handle_ready(&mut self, flags: EpollFlags, now: Instant) {
        if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            self.is_gone = true;
            return;
        }
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.write(now);
        }
        if flags.contains(EpollFlags::EPOLLIN) {
            self.read(now);
        }
    }

    /// Answers the request that was given out.
    pub(super) fn answer(&mut self, response: &Response, now: Instant) {
        if !self.is_asking && !self.is_watching {
            return;
        }
        self.is_asking = false;
        if self.is_watching && !self.output.is_empty() {
            return; // a watcher that is slow misses what it has no time for
        }
        self.send(response, now);
    }

    fn send(&mut self, response: &Response, now: Instant) {
        let message = Versioned { version: VERSION, message: response };
        let line = serde_json::to_vec(&message).ok().filter(|line| line.len() < LONGEST_RESPONSE);
        let Some(line) = line else {
            self.is_gone = true;
            return;
        };
        self.output.extend_from_slice(&line);
        self.output.push(b'\n');
        self.deadline = Some(now + PATIENCE);
        self.write(now);
    }

    fn write(&mut self, now: Instant) {
        while self.written < self.output.len() {
            match (&self.stream).write(&self.output[self.written..]) {
                Ok(0) => self.is_gone = true,
                Ok(len) => {
                    self.written += len;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.is_gone = true,
            }
            return;
        }
        self.output.clear();
        self.written = 0;
        self.deadline = (!self.is_watching).then(|| now + PATIENCE);
        self.parse(now);
    }

    /// Reads until a request is whole, or nothing more has come.
    pub(super) fn read(&mut self, now: Instant) {
        let mut chunk = [0; LONGEST_REQUEST];
        for _ in 0..BATCH {
            let room = LONGEST_REQUEST.saturating_sub(self.input.len());
            if room == 0 || !self.wants_input() {
                break;
            }
            match (&self.stream).read(&mut chunk[..room]) {
                Ok(0) => {
                    self.is_gone = true;
                    return;
                }
                Ok(len) => {
                    self.input.extend_from_slice(&chunk[..len]);
                    self.parse(now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
    }

    /// Takes a request out of the input, if it is whole.
    fn parse(&mut self, now: Instant) {
        if !self.wants_input() {
            return;
        }
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            if self.input.len() >= LONGEST_REQUEST {
                self.refuse("the request is too long", now);
            }
            return;
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) if request.version == VERSION => {
                self.is_watching = request.command == Command::Watch;
                self.request = Some(request);
                self.is_asking = true;
                self.deadline = None;
            }
            Ok(_) => self.refuse("this daemon speaks version 1", now),
            Err(_) => self.refuse("the request is not understood", now),
        }
    }

    fn refuse(&mut self, why: &str, now: Instant) {
        self.is_last = true;
        self.input.clear();
        self.send(&Response::refused(why), now);
    }

    fn wants_input(&self) -> bool {
        !self.is_asking && !self.is_watching && !self.is_last && self.output.is_empty()
    }

    /// Returns whether there is nothing more to do for this client.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone || self.is_last && self.output.is_empty()
    }

    /// Returns what to wait for. A client that has gone shows without being asked for.
    pub(super) fn interest(&self) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        if self.wants_input() {
            interest |= EpollFlags::EPOLLIN;
        }
        if !self.output.is_empty() {
            interest |= EpollFlags::EPOLLOUT;
        }
        interest
    }
}
