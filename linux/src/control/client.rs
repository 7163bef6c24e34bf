//! The side of the control socket that asks.

use core::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration as Wait;

use lifesign_core::time::{Duration, Instant};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{LONGEST_RESPONSE, Request, Response, VERSION, Versioned};
use crate::clock;
use crate::settings::said;

/// Asks the daemon at `path`, and waits at most about `limit` for the answer.
///
/// # Errors
/// Says why there is no answer.
pub fn ask(path: &Path, request: &Request, limit: Duration) -> Result<Response, AskError> {
    let until = clock::now() + limit;
    let mut asked = Conversation::begin(path, request, limit)?;
    asked.hear(Some(until)).map(|heard| heard.response)
}

/// A request that has been made, and what is answered.
#[derive(Debug)]
pub struct Conversation {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The line, without its end.
    pub line: String,
    /// What it says.
    pub response: Response,
}

impl Conversation {
    /// Asks the daemon at `path`; a full queue there is waited for, at most about `limit`.
    ///
    /// # Errors
    /// Says why it cannot be asked.
    pub fn begin(path: &Path, request: &Request, limit: Duration) -> Result<Self, AskError> {
        let failed = |kind| AskError { path: path.to_owned(), kind };
        let io_failed = |error: io::Error| failed(Kind::from(error));
        let stream = connect(path, limit).map_err(io_failed)?;
        let mut line = serde_json::to_vec(request).map_err(|_| failed(Kind::NotOurs))?;
        line.push(b'\n');
        (&stream).write_all(&line).map_err(io_failed)?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Waits for the next answer, until then if that is said.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn hear(&mut self, until: Option<Instant>) -> Result<Heard, AskError> {
        self.line(until).map_err(|kind| AskError { path: self.path.clone(), kind })
    }

    fn line(&mut self, until: Option<Instant>) -> Result<Heard, Kind> {
        let mut line = Vec::new();
        loop {
            let left = until.map(|until| until.since(clock::now()));
            if left == Some(Duration::ZERO) {
                return Err(Kind::Late);
            }
            let left = left.map(|left| Wait::from_micros(left.as_micros()));
            self.stream.get_ref().set_read_timeout(left)?;
            let part = match self.stream.fill_buf() {
                Ok(part) => part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if part.is_empty() {
                return Err(if line.is_empty() { Kind::HungUp } else { Kind::NotOurs });
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            let len = end.map_or(part.len(), |at| at + 1);
            self.stream.consume(len);
            if line.len() >= LONGEST_RESPONSE {
                return Err(Kind::NotOurs);
            }
            if end.is_some() {
                break;
            }
        }
        let answer: Versioned<Response> =
            serde_json::from_slice(&line).map_err(|_| Kind::NotOurs)?;
        let line = String::from_utf8(line).map_err(|_| Kind::NotOurs)?;
        let response = (answer.version == VERSION).then_some(answer.message);
        response.map(|response| Heard { line, response }).ok_or(Kind::NotOurs)
    }
}

/// Connects; a full queue of the daemon holds this up for `limit` at most.
fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let limit = Wait::from_micros(limit.as_micros().max(1));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Why a daemon has not answered.
#[derive(Debug)]
pub struct AskError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nobody listens.
    Nobody,
    /// The caller may not ask.
    Denied,
    /// The answer did not come in time.
    Late,
    /// The connection was closed without an answer: the caller may not ask, or the daemon ended.
    HungUp,
    /// The answer is none that this program understands.
    NotOurs,
    /// Anything else.
    Io(io::Error),
}

impl From<io::Error> for Kind {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::Nobody,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::HungUp,
            _ => Self::Io(error),
        }
    }
}

impl AskError {
    /// Returns whether the daemon went without an answer.
    #[must_use]
    pub const fn has_hung_up(&self) -> bool {
        matches!(self.kind, Kind::HungUp)
    }

    /// Returns whether nobody listens there at all.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        matches!(self.kind, Kind::Nobody)
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            Kind::Nobody => write!(formatter, "no lifesign daemon is running at {path}"),
            Kind::Denied => write!(formatter, "ask at {path}: permission denied; are you root?"),
            Kind::Late => write!(formatter, "the daemon at {path} does not answer in time"),
            Kind::HungUp => write!(formatter, "the daemon at {path} hung up without an answer"),
            Kind::NotOurs => {
                write!(formatter, "the daemon at {path} speaks another version of lifesign")
            }
            Kind::Io(error) => write!(formatter, "ask at {path}: {}", said(error)),
        }
    }
}

impl core::error::Error for AskError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Command;
    use crate::settings::tests::Folder;
    use std::os::unix::net::UnixListener;

    /// Asks somebody who says `answer` and hangs up, or who says nothing while it is asked.
    fn asked(answer: Option<&'static [u8]>) -> String {
        let folder = Folder::new("client");
        let path = folder.path.join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let (server, _listener) = match answer {
            None => (None, Some(listener)),
            Some(answer) => (Some(std::thread::spawn(move || serve(&listener, answer))), None),
        };
        // Silence is waited for; everything else comes long before.
        let limit = Duration::from_millis(if server.is_some() { 60_000 } else { 30 });
        let result = ask(&path, &Request::new(Command::Status, None), limit);
        if let Some(server) = server {
            let request = server.join().unwrap();
            assert_eq!(request, "{\"version\":1,\"command\":\"status\"}\n");
        }
        let shown = path.display().to_string();
        match result {
            Ok(response) => format!("{response:?}"),
            Err(error) => error.to_string().replace(&shown, "PATH"),
        }
    }

    fn serve(listener: &UnixListener, answer: &[u8]) -> String {
        let (stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        (&stream).write_all(answer).unwrap();
        request
    }

    #[test]
    fn every_kind_of_answer_is_told_apart() {
        for (answer, expected) in [
            (
                &b"{\"version\":1,\"answer\":\"accepted\",\"wait_ms\":7}\n"[..],
                "Accepted { wait_ms: 7 }",
            ),
            (b"", "the daemon at PATH hung up without an answer"),
            (b"{\"version\":1,", "the daemon at PATH speaks another version of lifesign"),
            (
                b"{\"version\":2,\"answer\":\"accepted\",\"wait_ms\":7}\n",
                "the daemon at PATH speaks another version of lifesign",
            ),
            (b"hello\n", "the daemon at PATH speaks another version of lifesign"),
        ] {
            assert_eq!(asked(Some(answer)), expected);
        }
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_not_waited_for() {
        assert_eq!(asked(None), "the daemon at PATH does not answer in time");
    }

    #[test]
    fn where_no_daemon_runs_that_is_said() {
        let folder = Folder::new("client");
        let path = folder.path.join("control");
        let ask = || ask(&path, &Request::new(Command::Status, None), Duration::from_millis(1000));
        let expected = format!("no lifesign daemon is running at {}", path.display());
        assert_eq!(ask().unwrap_err().to_string(), expected);
        drop(UnixListener::bind(&path).unwrap());
        let error = ask().unwrap_err();
        assert!(error.is_nobody());
        assert_eq!(error.to_string(), expected, "a socket without a daemon");
    }
}
