//! What has happened, for those who watch: the last events, each a line that is ready to be sent,
//! and what one reader is to be told next.
//!
//! Nobody has a queue of their own. A [`Reader`] is a place in the [`Feed`]; one that has fallen
//! behind what is kept is told how much it has missed, and then gets a fresh snapshot.

use std::collections::VecDeque;

use super::{Gap, Response, line};
use crate::notice::Notice;

/// How many events are kept for those who read slowly, or come back.
pub(super) const MOST_EVENTS: usize = 512;
/// How much is handed to one reader at once, in bytes; the rest waits for the next turn.
const PORTION: usize = 16 * 1024;

/// The last events since this start.
#[derive(Debug)]
pub(super) struct Feed {
    start: String,
    /// The oldest first.
    lines: VecDeque<String>,
    /// The number of the newest; the first is 1.
    last: u64,
}

/// How far somebody has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// It waits for a snapshot, and is told before it what it has missed, if that is anything.
    Behind(Lag),
    /// Up to this event.
    Told(u64),
}

/// Why somebody needs a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lag {
    /// It has just come.
    None,
    /// It has not read in time what followed this event.
    Slow(u64),
    /// It comes too late for what followed this event.
    Late(u64),
    /// What it knows is of another start.
    OtherStart,
}

impl Feed {
    /// Returns a feed of this start of a daemon, with nothing in it.
    pub(super) const fn new(start: String) -> Self {
        Self { start, lines: VecDeque::new(), last: 0 }
    }

    /// Adds what has happened, and returns it with its number.
    pub(super) fn push(&mut self, notice: Notice) -> Notice {
        self.last += 1;
        let notice = Notice { sequence: self.last, ..notice };
        let event = Response::Event { fields: notice.object() };
        self.lines.push_back(line(&event).unwrap_or_default());
        if self.lines.len() > MOST_EVENTS {
            self.lines.pop_front();
        }
        notice
    }

    /// Returns which start of the daemon this is, and the number of the newest event.
    pub(super) fn place(&self) -> (String, u64) {
        (self.start.clone(), self.last)
    }

    /// Returns the place of somebody who has been told up to `since`, of `start` if it is named.
    pub(super) fn reader(&self, since: Option<u64>, start: Option<&str>) -> Reader {
        let Some(since) = since else { return Reader::Behind(Lag::None) };
        if since > self.last || start.is_some_and(|start| start != self.start) {
            return Reader::Behind(Lag::OtherStart);
        }
        self.place_of(since, Lag::Late)
    }

    /// Returns whether there is something that `reader` has not been told.
    pub(super) fn has_news(&self, reader: &Reader) -> bool {
        *reader != Reader::Told(self.last)
    }

    /// Returns whether `reader` can be told no more without a snapshot.
    pub(super) fn is_behind(&self, reader: &Reader) -> bool {
        match reader {
            Reader::Behind(_) => true,
            Reader::Told(told) => self.missed(*told) > self.lines.len() as u64,
        }
    }

    /// Returns the next lines for `reader`, which has been told of them from here on: the events
    /// that it does not know, or `snapshot` if it is behind. Without one, it waits for it.
    pub(super) fn read(&self, reader: &mut Reader, snapshot: Option<&str>) -> String {
        let mut portion = String::new();
        if let Reader::Told(told) = *reader {
            *reader = self.place_of(told, Lag::Slow);
        }
        match reader {
            Reader::Told(told) => {
                let unknown = usize::try_from(self.missed(*told)).unwrap_or(usize::MAX);
                let known = self.lines.len().saturating_sub(unknown);
                for line in self.lines.range(known..) {
                    if portion.len() >= PORTION {
                        break;
                    }
                    portion.push_str(line);
                    *told += 1;
                }
            }
            Reader::Behind(lag) => {
                let Some(snapshot) = snapshot else { return portion };
                let gap = self.gap(lag).and_then(|gap| line(&Response::Gap(gap)));
                portion = gap.unwrap_or_default() + snapshot;
                *reader = Reader::Told(self.last);
            }
        }
        portion
    }

    fn missed(&self, told: u64) -> u64 {
        self.last.saturating_sub(told)
    }

    fn place_of(&self, told: u64, lag: fn(u64) -> Lag) -> Reader {
        let reader = Reader::Told(told);
        if self.is_behind(&reader) { Reader::Behind(lag(told)) } else { reader }
    }

    fn gap(&self, lag: &Lag) -> Option<Gap> {
        let (told, why) = match lag {
            Lag::None => return None,
            Lag::Slow(told) => (*told, "not read in time"),
            Lag::Late(told) => (*told, "kept no more"),
            Lag::OtherStart => {
                let text = "events may be missing: the daemon has started again".to_owned();
                return Some(Gap { missed: None, text });
            }
        };
        let missed = self.missed(told);
        let text = format!("{missed} events are left out: they were {why}");
        Some(Gap { missed: Some(missed), text })
    }
}
