//! Log lines that never hold up who writes them.
//!
//! A [`Logger`] sends each record as one packet, of bounded length, to a [`Drain`] in another
//! process. If the drain is behind, the record is dropped and counted, and the next one that gets
//! through tells how many are missing. The drain adds time and name, makes control characters
//! visible, and writes lines to standard error: with a priority in front where that leads to the
//! journal, and with a time stamp elsewhere.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use lifesign_core::time::Instant;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::{clock, executor};

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The service is not what it should be, and nobody but the administrator can help.
    Error,
    /// Something to look into before it becomes one.
    Warning,
    /// What changed.
    Info,
    /// Why.
    Debug,
}

impl Level {
    /// Returns the priority of RFC 5424, table 2.
    #[must_use]
    pub fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    fn from_priority(priority: u8) -> Self {
        match priority {
            0..=3 => Self::Error,
            4 => Self::Warning,
            5..=6 => Self::Info,
            7.. => Self::Debug,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// Returns the two ends of a new log; lines will bear the name `node`.
///
/// # Errors
///
/// Out of descriptors.
pub fn channel(node: &str) -> io::Result<(Logger, Drain)> {
    let (socket, other) = executor::pair()?;
    let logger = Logger { socket, dropped: AtomicU64::new(0), lost: AtomicU64::new(0) };
    Ok((logger, Drain { socket: other, node: node.to_owned() }))
}

/// The end that records are written to. Never blocks.
#[derive(Debug)]
pub struct Logger {
    socket: OwnedFd,
    /// Records dropped since the last that got through.
    dropped: AtomicU64,
    /// Records dropped altogether.
    lost: AtomicU64,
}

impl Logger {
    /// Writes a record, cut at [`TEXT_LEN_MAX`] bytes; costs one system call and no allocation.
    pub fn write(&self, level: Level, text: fmt::Arguments<'_>) {
        let mut packet = Packet { bytes: [0; PACKET_LEN_MAX], len: HEADER_LEN };
        let dropped = self.dropped.load(Ordering::Relaxed);
        packet.bytes[0] = level.priority();
        packet.bytes[1..9].copy_from_slice(&clock::now().as_micros().to_le_bytes());
        packet.bytes[9..17].copy_from_slice(&dropped.to_le_bytes());
        // It fails where the text is cut, or where a value's own formatting does: both are seen.
        let _cut = packet.write_fmt(text);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if send(self.socket.as_raw_fd(), &packet.bytes[..packet.len], flags).is_ok() {
            self.dropped.fetch_sub(dropped, Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many records were dropped since the start, for the status.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The longest text of a record, in bytes; what is longer is cut.
pub const TEXT_LEN_MAX: usize = PACKET_LEN_MAX - HEADER_LEN;

const PACKET_LEN_MAX: usize = 1024;
const HEADER_LEN: usize = 1 + 8 + 8;

struct Packet {
    bytes: [u8; PACKET_LEN_MAX],
    len: usize,
}

impl fmt::Write for Packet {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = PACKET_LEN_MAX - self.len;
        let len = text.floor_char_boundary(room);
        self.bytes[self.len..self.len + len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        if len == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The end that lines come from.
#[derive(Debug)]
pub struct Drain {
    socket: OwnedFd,
    node: String,
}

impl Drain {
    /// Writes lines to standard error until every copy of the other end is closed.
    pub fn run(self) {
        let style = if is_journal() { Style::Journal } else { Style::Plain };
        self.copy(style, &mut io::stderr());
    }

    fn copy(&self, style: Style, output: &mut dyn Write) {
        let mut packet = [0; PACKET_LEN_MAX];
        loop {
            let len = match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) => return,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
                Ok(len) => len,
            };
            if let Some(record) = Record::decode(&packet[..len]) {
                // Where standard error is closed or full, there is nobody to tell.
                let _unread = output.write_all(record.lines(&self.node, style).as_bytes());
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Journal,
    Plain,
}

#[derive(Debug)]
struct Record<'a> {
    level: Level,
    time: Instant,
    dropped: u64,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    fn decode(packet: &'a [u8]) -> Option<Self> {
        let (priority, rest) = packet.split_first()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (dropped, text) = rest.split_first_chunk()?;
        Some(Self {
            level: Level::from_priority(*priority),
            time: Instant::from_micros(u64::from_le_bytes(*time)),
            dropped: u64::from_le_bytes(*dropped),
            text,
        })
    }

    fn lines(&self, node: &str, style: Style) -> String {
        let mut lines = String::new();
        if self.dropped > 0 {
            let text = format!("{} log records before this one are lost", self.dropped);
            self.line(&mut lines, Level::Warning, &text, node, style);
        }
        let text = String::from_utf8_lossy(self.text);
        self.line(&mut lines, self.level, &text, node, style);
        lines
    }

    fn line(&self, lines: &mut String, level: Level, text: &str, node: &str, style: Style) {
        let boot = self.time.as_micros();
        let (seconds, micros) = (boot / 1_000_000, boot % 1_000_000);
        // Writing to a string cannot fail.
        let _written = match style {
            Style::Journal => {
                write!(lines, "<{}>[{seconds}.{micros:06}] {node}: ", level.priority())
            }
            Style::Plain => {
                let since = clock::now().since(self.time).as_micros();
                let wall = WallTime { micros: clock::wall_us().saturating_sub(since) };
                write!(lines, "{wall} [{seconds}.{micros:06}] {node} {level:<7} ")
            }
        };
        escape(lines, text);
        lines.push('\n');
    }
}

/// Appends `text` so that it stays one line, and no terminal takes part of it for a command.
fn escape(to: &mut String, text: &str) {
    for character in text.chars() {
        // Besides control characters, those that change the direction of the text beside them.
        let is_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || is_direction {
            to.extend(character.escape_default());
        } else {
            to.push(character);
        }
    }
}

/// Returns whether standard error leads to the journal, by systemd's own sign: the variable
/// `JOURNAL_STREAM` names the device and inode of the stream.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr())
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// A time of the wall clock, in UTC, as people read it.
pub(crate) struct WallTime {
    /// Microseconds since 1970.
    pub(crate) micros: u64,
}

impl fmt::Display for WallTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.micros / 1_000_000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let (year, month, day) = date(seconds / 86_400);
        let millis = self.micros / 1000 % 1000;
        write!(
            formatter,
            "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Returns the year, month and day, `days` after 1 January 1970 in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of the year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months always have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// Days in 400 years, after which the calendar repeats.
const DAYS_IN_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_a_line() {
        let (logger, drain) = channel("alpha").unwrap();
        logger.write(Level::Warning, format_args!("link {} is down", "lan"));
        drop(logger);
        let text = copied(&drain, Style::Journal);
        assert!(text.starts_with("<4>["), "{text}");
        assert!(text.ends_with("] alpha: link lan is down\n"), "{text}");
    }

    #[test]
    fn plain_lines_bear_level_name_and_both_times() {
        let (logger, drain) = channel("alpha").unwrap();
        logger.write(Level::Info, format_args!("ready"));
        drop(logger);
        let text = copied(&drain, Style::Plain);
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(words[2..], ["alpha", "info", "ready"], "{text}");
        assert!(words[0].starts_with("20") && words[0].ends_with('Z'), "{text}");
        assert!(words[1].starts_with('[') && words[1].ends_with(']'), "{text}");
    }

    #[test]
    fn control_characters_are_made_visible() {
        let mut line = String::new();
        escape(&mut line, "a\nb\u{1b}[2Jc\u{202e}d\u{9b}e\u{7f} é");
        assert_eq!(line, r"a\nb\u{1b}[2Jc\u{202e}d\u{9b}e\u{7f} é");
    }

    #[test]
    fn a_full_log_drops_and_the_next_record_tells_how_many() {
        let (logger, drain) = channel("alpha").unwrap();
        let mut written = 0;
        while logger.lost() < 5 {
            logger.write(Level::Debug, format_args!("{written}"));
            written += 1;
        }
        let mut packet = [0; PACKET_LEN_MAX];
        for expected in 0..written - 5 {
            let len = recv(drain.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT).unwrap();
            let record = Record::decode(&packet[..len]).unwrap();
            assert_eq!(record.text, expected.to_string().as_bytes());
            assert_eq!(record.dropped, 0);
        }
        logger.write(Level::Info, format_args!("through"));
        logger.write(Level::Info, format_args!("again"));
        drop(logger);
        let text = copied(&drain, Style::Journal);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("5 log records before this one are lost"), "{text}");
        assert_eq!(lines.len(), 3, "{text}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let (logger, drain) = channel("alpha").unwrap();
        logger.write(Level::Info, format_args!("x{}", "é".repeat(TEXT_LEN_MAX)));
        drop(logger);
        let text = copied(&drain, Style::Journal);
        assert_eq!(text.matches('é').count(), (TEXT_LEN_MAX - 1) / 2);
        assert!(!text.contains(char::REPLACEMENT_CHARACTER));
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(20_778), (2026, 11, 21));
        // Every day of four centuries follows the one before it.
        let (mut year, mut month, mut day) = date(0);
        for days in 1..=DAYS_IN_ERA {
            let next = date(days);
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = if day < last {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            assert_eq!(next, expected);
            (year, month, day) = next;
        }
    }

    fn copied(drain: &Drain, style: Style) -> String {
        let mut output = Vec::new();
        drain.copy(style, &mut output);
        String::from_utf8(output).unwrap()
    }
}
