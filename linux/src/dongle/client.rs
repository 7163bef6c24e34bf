//! Asking a dongle, and telling its answers from all else on the line.
//!
//! Frames of servers pass by on the same line, noise may, and messages get lost. So a question is
//! asked again until it is answered or nothing has come for long enough, and what came instead is
//! counted: it tells why nobody answers.

use lifesign_core::dongle::{
    self, EVENTS_PER_REPLY, Event, Info, Log, MAX_ECHO_LEN, MAX_MESSAGE_LEN, NotAMessage,
    NotProvisioned, Reply, Request, VERSION,
};
use lifesign_core::frame;
use lifesign_core::seal::Keyring;
use lifesign_core::stream::{Deframer, MAX_LINE_LEN, enframe, line_len};
use lifesign_core::time::{Duration, Instant};

use super::DongleError;
use super::line::Line;
use crate::clock;

/// How often a question is asked.
const TRIES: usize = 3;
/// How long a dongle may think, besides the time on the line.
const THOUGHT: Duration = Duration::from_millis(500);
/// How long it may take to store settings: flash is erased for it.
const STORING: Duration = Duration::from_millis(5000);
/// What else may be on the line before the answer: the frame that is going out.
const BEFORE: usize = MAX_LINE_LEN;

/// What came over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Bytes in all.
    pub bytes: u64,
    /// Messages of a dongle.
    pub answers: u64,
    /// Frames of servers.
    pub frames: u64,
    /// Runs of bytes that are no message.
    pub garbage: u64,
    /// What this end had sent itself.
    pub own: u64,
    /// Messages of a dongle that are not understood here, or whose sender does not understand.
    pub strange: u64,
}

/// An answer, with the moments between which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed<T> {
    /// When the question began to go out.
    pub asked: Instant,
    /// When the answer was in.
    pub answered: Instant,
    /// The answer.
    pub answer: T,
}

/// One dongle, as seen from one of its lines.
#[derive(Debug)]
pub struct Client {
    line: Line,
    deframer: Box<Deframer<{ MAX_LINE_LEN - 2 }>>,
    heard: Heard,
}

impl Client {
    /// Returns a client that asks over `line`.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self { line, deframer: Box::default(), heard: Heard::default() }
    }

    /// Asks how the dongle is.
    ///
    /// # Errors
    /// Nobody answers, the line is gone, or the dongle speaks another version.
    pub fn info(&mut self) -> Result<Info, DongleError> {
        self.insist(&Request::Info, |reply| match reply {
            Reply::Info(info) => Some(info),
            _ => None,
        })
        .and_then(|timed| self.of_this_version(timed.answer))
    }

    /// Asks once how the dongle is, for its clock. An answer that is late is not mistaken for that
    /// to a later question: there is none before the line is quiet.
    ///
    /// # Errors
    /// The line is gone.
    pub fn reading(&mut self) -> Result<Option<Timed<Info>>, DongleError> {
        let read = self.once(&Request::Info, THOUGHT, |reply| match reply {
            Reply::Info(info) => Some(info),
            _ => None,
        })?;
        if read.is_none() {
            self.settle()?;
        }
        Ok(read)
    }

    /// Sends `filler` there and back, once.
    ///
    /// # Errors
    /// The line is gone.
    pub fn echo(&mut self, number: u16, filler: &[u8]) -> Result<Option<Timed<bool>>, DongleError> {
        let len = filler.len().min(MAX_ECHO_LEN);
        let sent = filler.iter().copied().take(len).collect();
        let request = Request::Echo { number, filler: sent };
        let expected = filler.get(..len).unwrap_or_default();
        self.once(&request, THOUGHT, |reply| match reply {
            Reply::Echo { number: other, filler } if other == number => {
                Some(filler.as_slice() == expected)
            }
            _ => None,
        })
    }

    /// Reads everything that the dongle has noted, the oldest first, with its numbers.
    ///
    /// # Errors
    /// Nobody answers, or the line is gone.
    pub fn log(&mut self) -> Result<Vec<(u32, Event)>, DongleError> {
        let mut events: Vec<(u32, Event)> = Vec::new();
        let mut from = 0;
        loop {
            let Log { next, events: some } = self
                .insist(&Request::Log { from }, |reply| match reply {
                    // An answer to an earlier question has older events.
                    Reply::Log(log) if log.events.iter().all(|(number, _)| *number >= from) => {
                        Some(log)
                    }
                    _ => None,
                })?
                .answer;
            let is_last = some.len() < EVENTS_PER_REPLY;
            events.extend(some);
            let Some((newest, _)) = events.last() else { return Ok(events) };
            from = newest.saturating_add(1);
            if is_last || from >= next {
                return Ok(events);
            }
        }
    }

    /// Gives the dongle settings, sealed by `control` if there is one, and returns what it says;
    /// `None` if it says nothing, which leaves open whether they are stored.
    ///
    /// # Errors
    /// The line is gone.
    pub fn provision(
        &mut self,
        request: &Request,
        control: Option<&Keyring>,
    ) -> Result<Option<Result<(), NotProvisioned>>, DongleError> {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = match control {
            Some(control) => dongle::seal(request, control, &mut buffer),
            None => dongle::encode(request, &mut buffer),
        };
        let len = len.ok_or(DongleError::TooLong)?;
        let message = buffer.get(..len).unwrap_or_default();
        // Asked once: the challenge in it is good for one answer.
        let answered = self.exchange(message, STORING, |reply| match reply {
            Reply::Provisioned(result) => Some(result),
            _ => None,
        })?;
        Ok(answered.map(|timed| timed.answer))
    }

    /// Waits until nothing has come for a moment, or for three seconds.
    ///
    /// # Errors
    /// The line is gone.
    pub fn settle(&mut self) -> Result<(), DongleError> {
        let end = clock::now() + THOUGHT.times(6);
        let mut bytes = [0; 256];
        loop {
            let now = clock::now();
            let count = self.line.read(&mut bytes, end.min(now + QUIET))?;
            if count == 0 || now.has_reached(end) {
                *self.deframer = Deframer::new();
                return Ok(());
            }
        }
    }

    /// Returns the line.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Returns what has come so far.
    #[must_use]
    pub const fn heard(&self) -> Heard {
        self.heard
    }

    /// Returns why nobody answers, by what came instead.
    #[must_use]
    pub fn no_answer(&self) -> DongleError {
        DongleError::NoAnswer {
            path: self.line.path().to_owned(),
            speed: self.line.speed(),
            heard: self.heard,
        }
    }

    fn of_this_version(&self, info: Info) -> Result<Info, DongleError> {
        if info.version == VERSION {
            Ok(info)
        } else {
            let path = self.line.path().to_owned();
            Err(DongleError::OtherVersion { path, version: Some(info.version) })
        }
    }

    /// Asks until there is an answer.
    fn insist<T>(
        &mut self,
        request: &Request,
        is_it: impl Fn(Reply) -> Option<T>,
    ) -> Result<Timed<T>, DongleError> {
        for _ in 0..TRIES {
            if let Some(answer) = self.once(request, THOUGHT, &is_it)? {
                return Ok(answer);
            }
        }
        if self.heard.strange > 0 {
            let path = self.line.path().to_owned();
            return Err(DongleError::OtherVersion { path, version: None });
        }
        Err(self.no_answer())
    }

    fn once<T>(
        &mut self,
        request: &Request,
        thought: Duration,
        is_it: impl Fn(Reply) -> Option<T>,
    ) -> Result<Option<Timed<T>>, DongleError> {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = dongle::encode(request, &mut buffer).ok_or(DongleError::TooLong)?;
        self.exchange(buffer.get(..len).unwrap_or_default(), thought, is_it)
    }

    /// Sends `message`, and waits for the answer that `is_it` recognises for as long as the line
    /// and `thought` take.
    fn exchange<T>(
        &mut self,
        message: &[u8],
        thought: Duration,
        is_it: impl Fn(Reply) -> Option<T>,
    ) -> Result<Option<Timed<T>>, DongleError> {
        let mut line = [0; line_len(MAX_MESSAGE_LEN)];
        let len = enframe(message, &mut line).ok_or(DongleError::TooLong)?;
        let longest = self.line.line_time(len + line.len() + 2 * BEFORE);
        let asked = clock::now();
        self.line.write(line.get(..len).unwrap_or_default(), longest + thought)?;
        let until = asked + longest + thought;
        let mut bytes = [0; 256];
        loop {
            let count = self.line.read(&mut bytes, until)?;
            if count == 0 {
                return Ok(None);
            }
            let answered = clock::now();
            let mut found = None;
            // All of them, so that what follows the answer is not lost.
            for byte in bytes.iter().take(count) {
                self.heard.bytes += 1;
                if let Some(reply) = sort(self.deframer.push(*byte), message, &mut self.heard)
                    && found.is_none()
                {
                    found = is_it(reply);
                }
            }
            if let Some(answer) = found {
                return Ok(Some(Timed { asked, answered, answer }));
            }
            if answered.has_reached(until) {
                return Ok(None);
            }
        }
    }
}

/// For this long nothing comes on a line that is quiet.
const QUIET: Duration = Duration::from_millis(100);

/// Counts what came, and returns it if it is a dongle's reply. `sent` is what was asked.
fn sort(
    came: Option<Result<&[u8], lifesign_core::stream::Garbage>>,
    sent: &[u8],
    heard: &mut Heard,
) -> Option<Reply> {
    let Ok(message) = came? else {
        heard.garbage += 1;
        return None;
    };
    // Alone an echo looks the same in both directions.
    let is_own = message == sent;
    match dongle::decode::<Reply>(message, None) {
        Ok((Reply::NotUnderstood, _)) => heard.strange += 1,
        Ok((reply, _)) => {
            heard.answers += 1;
            return Some(reply);
        }
        Err(_) if is_own => heard.own += 1,
        // Sealed: an answer to a server, about a reset.
        Err(NotAMessage::Key | NotAMessage::Tag) => heard.answers += 1,
        Err(NotAMessage::OtherKind) if message.first() == Some(&frame::VERSION) => {
            heard.frames += 1;
        }
        Err(NotAMessage::OtherKind) => heard.garbage += 1,
        Err(_) => heard.strange += 1,
    }
    None
}
