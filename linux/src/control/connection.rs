//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use lifesign_core::time::Instant;
use nix::sys::epoll::EpollFlags;

use super::feed::{Feed, Reader};
use super::server::{BATCH, PATIENCE, WATCHER_PATIENCE};
use super::{LONGEST_REQUEST, Request, Response, VERSION, line};

/// One client.
///
/// It asks, then waits for the answer, then reads it, then may ask again; its next request is not
/// read before the answer to the last has left. One that watches is read no more.
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
    /// How far it has been told of events, if it watches.
    pub(super) reader: Option<Reader>,
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
            reader: None,
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
        if self.is_asking {
            self.is_asking = false;
            self.send(response, now);
        }
    }

    /// Tells it from here on what happens, in place of an answer.
    pub(super) fn watch(&mut self, reader: Reader) {
        if self.is_asking {
            self.is_asking = false;
            self.reader = Some(reader);
        }
    }

    /// Tells one that watches what it has not been told, if it has read all that was; `snapshot` is
    /// for one that is behind.
    pub(super) fn follow(&mut self, feed: &Feed, snapshot: Option<&str>, now: Instant) {
        if !self.output.is_empty() {
            return;
        }
        let Some(reader) = &mut self.reader else { return };
        let lines = feed.read(reader, snapshot);
        self.say(&lines, now);
    }

    /// Says the last thing to one that watches.
    pub(super) fn end(&mut self, response: &Response, now: Instant) {
        self.is_last = true;
        self.send(response, now);
    }

    fn send(&mut self, response: &Response, now: Instant) {
        match line(response) {
            Some(line) => self.say(&line, now),
            None => self.is_gone = true,
        }
    }

    fn say(&mut self, text: &str, now: Instant) {
        if text.is_empty() {
            return;
        }
        self.output.extend_from_slice(text.as_bytes());
        let patience = if self.reader.is_some() { WATCHER_PATIENCE } else { PATIENCE };
        self.deadline = Some(now + patience);
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
        self.deadline = self.reader.is_none().then(|| now + PATIENCE);
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
        !self.is_asking && self.reader.is_none() && !self.is_last && self.output.is_empty()
    }

    /// Returns whether there is nothing more to do for this client.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone || self.is_last && self.output.is_empty()
    }

    /// Returns what to wait for. A client that has gone shows without being asked for.
    pub(super) fn interest(&self, feed: &Feed) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        if self.wants_input() {
            interest |= EpollFlags::EPOLLIN;
        }
        let has_news = self.reader.as_ref().is_some_and(|reader| feed.has_news(reader));
        if has_news || !self.output.is_empty() {
            interest |= EpollFlags::EPOLLOUT;
        }
        interest
    }
}
