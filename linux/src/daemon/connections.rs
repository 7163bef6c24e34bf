//! Clients that are connected with what this node holds or takes over: listed by the executor, told
//! of in notes, and tickled. When an address has gone, the executor ends what is left of them here.

use std::net::IpAddr;

use lifesign_core::group::GroupId;
use lifesign_core::node::ClusterId;
use lifesign_core::seal::Keyring;
use lifesign_core::time::Instant;

use super::{Daemon, Errand};
use crate::clock;
use crate::connections::destroy::Destroyed;
use crate::connections::note::{self, Heard, NoteError, Origin};
use crate::connections::tickle::{Tickler, Tickling};
use crate::connections::{Connection, EVERY, Known, MOST_LISTED, Own};
use crate::executor::message::Request;
use crate::link::Verdict;
use crate::record::Recorded;
use crate::report::ConnectionsReport;
use crate::settings::Settings;
use crate::settings::safety::cluster_id;

/// What is known of clients' connections, and what is done for them.
#[derive(Debug)]
pub(super) struct Connected {
    cluster: ClusterId,
    keys: Keyring,
    own: Own,
    known: Known,
    /// The number of the last note.
    number: u64,
    heard: Heard,
    /// Notes that did not count.
    rejected: u64,
    /// When connections are listed next.
    due: Instant,
    is_listing: bool,
    /// Whether there are more than are listed.
    is_cut: bool,
    /// For each group, the clients that are told.
    tickling: Vec<Tickling>,
    tickler: Tickler,
    tickled: u64,
    unsent: u64,
    destroyed: u64,
}

impl Connected {
    /// Returns what is known at the start: nothing.
    pub(super) fn new(settings: &Settings, keyring: &Keyring, now: Instant) -> Self {
        Self {
            cluster: cluster_id(&settings.cluster),
            keys: note::keys(keyring),
            own: Own::default(),
            known: Known::default(),
            number: 0,
            heard: Heard::default(),
            rejected: 0,
            due: now,
            is_listing: false,
            is_cut: false,
            tickling: settings.groups.iter().map(|_| Tickling::default()).collect(),
            tickler: Tickler::default(),
            tickled: 0,
            unsent: 0,
            destroyed: 0,
        }
    }

    /// Takes other keys from now on.
    pub(super) fn set_keyring(&mut self, keyring: &Keyring) {
        self.keys = note::keys(keyring);
    }

    /// Takes in a note, if it is the next one of a start that is alive.
    pub(super) fn handle_note(&mut self, bytes: &[u8], engine: &Recorded, now: Instant) -> Verdict {
        let result = note::decode(bytes, self.cluster, &self.keys);
        let (origin, connections) = match result {
            Ok(read) => read,
            Err(error) => {
                self.rejected += 1;
                return match error {
                    NoteError::Form => Verdict::Damaged,
                    NoteError::Foreign => Verdict::Foreign,
                };
            }
        };
        let session = engine.member().peers.session(origin.sender);
        let is_alive = session.is_some_and(|session| session.boot == origin.boot);
        if !is_alive || !self.heard.counts(&origin) {
            // A copy on another link, or of an earlier time.
            return Verdict::Authentic;
        }
        self.known.learn(&connections, now);
        Verdict::Authentic
    }

    /// Returns when there is something to do, besides listing.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.tickling.iter().filter_map(Tickling::poll_timeout).min()
    }

    /// Returns what machines are told.
    pub(super) fn report(&self) -> ConnectionsReport {
        ConnectionsReport {
            own: self.own.count() as u64,
            has_more: self.is_cut,
            known: self.known.count() as u64,
            dropped: self.known.dropped(),
            rejected: self.rejected,
            tickled: self.tickled,
            unsent: self.unsent,
            destroyed: self.destroyed,
        }
    }
}

impl Daemon {
    /// Returns the addresses that are up here and whose clients are looked after.
    fn looked_after(&self) -> impl Iterator<Item = IpAddr> {
        let groups = self.settings.groups.iter().zip(&self.groups);
        let up = groups.filter(|(group, it)| group.callers.tickle && it.conduct.has_addresses());
        up.flat_map(|(group, _)| group.addresses.iter().map(|address| address.ip))
    }

    /// Has connections listed when it is time, and tickles who is to be.
    pub(super) fn look_after_connections(&mut self, now: Instant) {
        self.tickle_on();
        if self.connected.is_listing || !now.has_reached(self.connected.due) {
            return;
        }
        self.connected.due = now + EVERY;
        self.connected.known.forget(now);
        let services: Vec<IpAddr> = self.looked_after().collect();
        if services.is_empty() {
            self.connected.own = Own::default();
            return;
        }
        let sent = self.send_errand(Errand::List, |id| Request::List { id, services });
        // An executor that is busy is asked again.
        self.connected.is_listing = sent.is_ok();
    }

    /// Returns when connections are listed next, while something is held.
    pub(super) fn next_look_after_connections(&self) -> Option<Instant> {
        let is_due = !self.connected.is_listing && self.looked_after().next().is_some();
        is_due.then_some(self.connected.due)
    }

    /// Takes in the list, and tells the others.
    pub(super) fn handle_listed(&mut self, result: Result<(Vec<Connection>, bool), String>) {
        self.connected.is_listing = false;
        match result {
            Ok((list, is_cut)) => {
                self.connected.own.replace(list);
                self.connected.is_cut = is_cut;
                let why = format!("{UNLISTED}more than {MOST_LISTED} are connected");
                self.replace_alerts(UNLISTED, is_cut.then_some(why).into_iter().collect());
            }
            Err(error) => {
                let text = format!("{UNLISTED}{error}");
                return self.replace_alerts(UNLISTED, vec![text]);
            }
        }
        self.tell_of_connections();
    }

    fn tell_of_connections(&mut self) {
        let now = clock::now();
        let (sender, boot) = (self.me, self.engine.member().sequence.boot());
        let Connected { cluster, own, keys, number, .. } = &mut self.connected;
        for _ in 0..NOTES {
            let waiting = own.waiting();
            if waiting.is_empty() {
                return;
            }
            *number += 1;
            let origin = Origin { sender, boot, number: *number };
            let (bytes, count) = note::encode(&origin, *cluster, waiting, keys);
            own.told(count);
            for link in self.links.iter_mut().filter(|link| link.is_network()) {
                link.send(&bytes, now);
            }
        }
    }

    /// Returns the addresses of a group whose clients are looked after.
    fn addresses_looked_after(&self, at: usize) -> Vec<IpAddr> {
        let group = self.settings.groups.get(at).filter(|group| group.callers.tickle);
        let addresses = group.into_iter().flat_map(|group| &group.addresses);
        addresses.map(|address| address.ip).collect()
    }

    /// Has the connections ended that clients have with the addresses of a group, which have just
    /// gone from here.
    pub(super) fn end_connections(&mut self, at: usize) {
        let services = self.addresses_looked_after(at);
        if services.is_empty() {
            return;
        }
        let sent = self.send_errand(Errand::Destroy, |id| Request::Destroy { id, services });
        if let Err(error) = sent {
            self.replace_alerts(UNENDED, vec![format!("{UNENDED}{error}")]);
        }
    }

    /// Takes in what has been ended.
    pub(super) fn handle_destroyed(&mut self, result: Result<Destroyed, String>, now: Instant) {
        let Destroyed { count, connections } = match result {
            Ok(destroyed) => destroyed,
            // The same is said once.
            Err(error) => {
                return self.replace_alerts(UNENDED, vec![format!("{UNENDED}{error}")]);
            }
        };
        self.replace_alerts(UNENDED, Vec::new());
        self.connected.destroyed += count;
        // If the address comes back here, it is this node that tells them.
        self.connected.known.learn(&connections, now);
        if count > 0 {
            self.decided(format!("has ended {count} connections with addresses that have gone"));
        }
    }

    /// Begins to tell the clients of a group that has just come here.
    pub(super) fn tickle(&mut self, group: GroupId, now: Instant) {
        let at = group.index();
        let services = self.addresses_looked_after(at);
        let clients = self.connected.known.of(&services, now);
        if clients.is_empty() {
            return;
        }
        self.decided(format!(
            "{}: tells the clients of {} connections that their server is another",
            self.group_name(at),
            clients.len()
        ));
        if let Some(tickling) = self.connected.tickling.get_mut(at) {
            tickling.begin(clients, now);
        }
        self.tickle_on();
    }

    /// Sends the segments that are due, each while its group's authority lasts.
    fn tickle_on(&mut self) {
        for group in GroupId::all().take(self.groups.len()) {
            // Between the wake-up and here this process may have been stopped.
            let now = clock::now();
            let until = self.engine.authority_end(group).unwrap_or(now);
            let Connected { tickling, tickler, tickled, unsent, .. } = &mut self.connected;
            let Some(tickling) = tickling.get_mut(group.index()) else { continue };
            for connection in tickling.poll(now, until) {
                *if tickler.send(&connection).is_ok() { &mut *tickled } else { &mut *unsent } += 1;
            }
        }
    }
}

impl Daemon {
    /// Returns what machines are told of connections, where anybody looks after them.
    pub(super) fn connections_report(&self) -> Option<ConnectionsReport> {
        let is_wanted = self.settings.groups.iter().any(|group| group.callers.tickle);
        is_wanted.then(|| self.connected.report())
    }
}

/// How the alert begins that connections cannot be listed.
const UNLISTED: &str = "some clients would hang after a takeover: ";
/// How the alert begins that connections cannot be ended.
const UNENDED: &str = "connections with addresses that have gone wait here for their timeouts: ";
/// The most notes of one turn.
const NOTES: usize = 4;
