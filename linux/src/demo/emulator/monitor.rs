//! QEMU's monitor, which speaks JSON over a socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::time::{TimeSpec, TimeValLike};
use serde_json::{Value, json};

use crate::demo::stopwatch::Stopwatch;

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    events: Vec<Event>,
    stopwatch: Stopwatch,
}

/// Something that QEMU told by itself.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in microseconds of boot time.
    pub at_us: u64,
    /// Its name, such as `RESET`.
    pub name: String,
    /// What it says besides.
    pub data: Value,
}

impl Monitor {
    /// Connects to the monitor whose socket is at `path`.
    ///
    /// # Errors
    /// Nobody listens there, or somebody who is not QEMU.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let writer = UnixStream::connect(path)?;
        writer.set_read_timeout(Some(LIMIT))?;
        let reader = BufReader::new(writer.try_clone()?);
        let stopwatch = Stopwatch::new();
        let mut monitor = Self { reader, writer, events: Vec::new(), stopwatch };
        let _greeting = monitor.read()?;
        monitor.execute("qmp_capabilities", None)?;
        Ok(monitor)
    }

    /// Has QEMU do something and returns its answer.
    ///
    /// # Errors
    /// What QEMU refused, or that it has gone.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> io::Result<Value> {
        let mut order = json!({ "execute": command });
        if let Some(arguments) = arguments {
            order["arguments"] = arguments;
        }
        self.writer.write_all(format!("{order}\n").as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("QEMU, {command}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            self.events.extend(self.event(&answer));
        }
    }

    /// Has QEMU's console do something and returns what that wrote.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn console(&mut self, line: &str) -> io::Result<String> {
        let arguments = json!({ "command-line": line });
        let said = self.execute("human-monitor-command", Some(arguments))?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// Returns everything that QEMU has told by itself so far.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn events(&mut self) -> io::Result<&[Event]> {
        // What it had told before the answer has been read with the answer.
        self.execute("query-status", None)?;
        Ok(&self.events)
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn event(&self, told: &Value) -> Option<Event> {
        let part = |name: &str| told.get("timestamp")?.get(name)?.as_i64();
        let micros = part("seconds")?.checked_mul(1_000_000)?.checked_add(part("microseconds")?)?;
        Some(Event {
            at_us: self.stopwatch.from_wall_clock_us(TimeSpec::microseconds(micros)),
            name: told.get("event")?.as_str()?.to_owned(),
            data: told.get("data").cloned().unwrap_or_default(),
        })
    }
}

/// How long QEMU may take for an answer.
const LIMIT: Duration = Duration::from_secs(10);
