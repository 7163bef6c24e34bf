//! Those who watch, from their request until they go.

use lifesign_core::time::{Duration, Instant};

use super::{ConnectionId, Control};
use crate::control::connection::Connection;
use crate::control::{Picture, Request, Response, line};
use crate::notice::Notice;

/// How many clients may watch at once.
pub const MOST_WATCHERS: usize = 16;
/// How long one who watches may take to read what it was sent. It can come back, and is told then
/// what it has missed.
pub const WATCHER_PATIENCE: Duration = Duration::from_millis(60_000);

impl Control {
    /// Tells `connection`, which has asked to watch, from here on what happens; if it has gone
    /// meanwhile, nothing happens.
    pub fn watch(&mut self, connection: ConnectionId, request: &Request, now: Instant) {
        let watching = self.connections.values().filter(|it| it.reader.is_some());
        if watching.count() >= MOST_WATCHERS {
            let why = format!("{MOST_WATCHERS} others watch already");
            return self.answer(connection, &Response::refused(why), now);
        }
        let reader = self.feed.reader(request.since, request.start.as_deref());
        if let Some(it) = self.connections.get_mut(&connection.0) {
            it.watch(reader);
            self.settle(connection.0);
        }
    }

    /// Takes in that something has happened, and returns it with its number.
    pub fn announce(&mut self, notice: Notice) -> Notice {
        self.feed.push(notice)
    }

    /// Returns whether somebody who watches waits for a snapshot.
    #[must_use]
    pub fn needs_picture(&self) -> bool {
        self.listening()
            .any(|(_, it)| it.reader.as_ref().is_some_and(|reader| self.feed.is_behind(reader)))
    }

    /// Tells those who watch what they do not know, as far as they have read all before; `picture`
    /// is how things are, for those who wait for a snapshot.
    pub fn tell_watchers(&mut self, picture: Option<Picture>, now: Instant) {
        let (start, sequence) = self.feed.place();
        let snapshot = picture.map(|picture| {
            let snapshot = line(&Response::Snapshot { start, sequence, picture });
            let too_long = || line(&Response::refused("the snapshot is too long"));
            snapshot.or_else(too_long).unwrap_or_default()
        });
        for key in self.with_news() {
            if let Some(it) = self.connections.get_mut(&key) {
                it.follow(&self.feed, snapshot.as_deref(), now);
            }
            self.settle(key);
        }
    }

    /// Tells those who watch the last of what has happened, and that no more will, as far as they
    /// can be told at once. To be called after [`tell_watchers`](Self::tell_watchers).
    pub fn end(&mut self, text: &str, now: Instant) {
        while !self.with_news().is_empty() && !self.needs_picture() {
            self.tell_watchers(None, now);
        }
        let end = Response::End { text: text.to_owned() };
        let is_listening = |it: &&mut Connection| it.reader.is_some() && it.output.is_empty();
        self.connections.values_mut().filter(is_listening).for_each(|it| it.end(&end, now));
    }

    /// Returns who can be told something.
    fn with_news(&self) -> Vec<u64> {
        let has_news =
            |it: &Connection| it.reader.as_ref().is_some_and(|it| self.feed.has_news(it));
        self.listening().filter(|(_, it)| has_news(it)).map(|(key, _)| key).collect()
    }

    /// Returns who watches and has read all that was sent.
    fn listening(&self) -> impl Iterator<Item = (u64, &Connection)> {
        let all = self.connections.iter().map(|(key, it)| (*key, it));
        all.filter(|(_, it)| it.reader.is_some() && it.output.is_empty())
    }
}
