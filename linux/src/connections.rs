//! Connections of clients with service addresses, so that they need not hang when their server is
//! dead.
//!
//! A client that waits for an answer of a dead server hears nothing: the server that took over
//! knows nothing of the connection, and the client has nothing to say that it could refuse. So
//! whoever holds an address tells the others who is connected to it, in [`note`]s beside the
//! heartbeats, and whoever takes over sends each of these clients a [`tickle`]: a segment that it
//! must answer. The kernel refuses the answer, and the client learns at once that its connection is
//! gone.
//!
//! ```text
//! holder    kernel ──list──► Own ──note──► other nodes: Known
//! takeover  Known ──► Tickling ──segment──► client ──answer──► kernel ──reset──► client
//! ```
//!
//! Where the address was, [`destroy`] ends the connections, once it is gone from there: nobody else
//! would until their timeouts.
//!
//! All of this is a courtesy: nothing is decided by it, and a note that is lost is made up for by
//! the next.

pub mod destroy;
pub mod list;
pub mod note;
pub mod tickle;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use lifesign_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// A TCP connection of a client with a service address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// The service address, and the port of the service.
    pub service: SocketAddr,
    /// Where the client is.
    pub client: SocketAddr,
}

/// The longest connection in postcard's format: two addresses of IPv6 with their kinds and ports.
pub const MAX_CONNECTION_LEN: usize = 2 * (1 + 16 + 3);

/// The connections of this node, and which of them the others are told of next.
#[derive(Debug, Default)]
pub struct Own {
    /// In order.
    list: Vec<Connection>,
    /// Those that have not had their turn.
    waiting: VecDeque<Connection>,
}

impl Own {
    /// Takes in the connections that there are now. The new ones have their turn first.
    pub fn replace(&mut self, mut list: Vec<Connection>) {
        list.sort_unstable();
        list.dedup();
        self.waiting.retain(|one| list.binary_search(one).is_ok());
        if self.waiting.is_empty() {
            self.waiting.extend(&list);
        }
        let is_new = |one: &&Connection| self.list.binary_search(one).is_err();
        let new: Vec<Connection> = list.iter().filter(is_new).copied().collect();
        self.waiting.retain(|one| new.binary_search(one).is_err());
        for one in new.into_iter().rev() {
            self.waiting.push_front(one);
        }
        self.list = list;
    }

    /// Returns those that have not had their turn, in the order of their turns.
    pub fn waiting(&mut self) -> &[Connection] {
        self.waiting.make_contiguous()
    }

    /// Notes that the first `count` of them have had it.
    pub fn told(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.list.len()
    }
}

/// The connections of other nodes, as far as they told of them of late.
#[derive(Debug, Default)]
pub struct Known {
    heard: BTreeMap<Connection, Instant>,
    dropped: u64,
}

impl Known {
    /// Takes in what a node has told.
    pub fn learn(&mut self, told: &[Connection], now: Instant) {
        self.forget(now);
        for connection in told {
            if self.heard.len() < MOST_KNOWN || self.heard.contains_key(connection) {
                self.heard.insert(*connection, now);
            } else {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    /// Returns the connections with one of `services` of which somebody told of late.
    #[must_use]
    pub fn of(&self, services: &[IpAddr], now: Instant) -> Vec<Connection> {
        let is_wanted = |(connection, heard): &(&Connection, &Instant)| {
            now.since(**heard) <= MEMORY && services.contains(&connection.service.ip())
        };
        self.heard.iter().filter(is_wanted).map(|(connection, _)| *connection).collect()
    }

    /// Forgets what nobody has told of for long.
    pub fn forget(&mut self, now: Instant) {
        self.heard.retain(|_, heard| now.since(*heard) <= MEMORY);
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.heard.len()
    }

    /// Returns how many had no room.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// How often connections are listed and told of.
pub const EVERY: Duration = Duration::from_millis(500);
/// The most connections of one node that are listed. All of them have their turn well within
/// [`MEMORY`].
pub const MOST_LISTED: usize = 768;
/// The most connections of others that are remembered.
pub const MOST_KNOWN: usize = 4096;
/// How long a connection is remembered of which nobody tells any more.
pub const MEMORY: Duration = Duration::from_millis(10_000);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn connection(number: u16) -> Connection {
        Connection {
            service: "10.77.0.100:80".parse().unwrap(),
            client: SocketAddr::new([10, 77, 0, 5].into(), number),
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// Returns the numbers of those who have their turn next, at most `count`.
    fn turn(own: &mut Own, count: usize) -> Vec<u16> {
        let told: Vec<u16> =
            own.waiting().iter().take(count).map(|one| one.client.port()).collect();
        own.told(count);
        told
    }

    #[test]
    fn new_connections_are_told_first_and_all_have_their_turn() {
        let mut own = Own::default();
        own.replace((1..=5).map(connection).collect());
        assert_eq!(turn(&mut own, 3), [1, 2, 3]);
        own.replace([9, 8, 5, 4, 3, 2, 1].map(connection).to_vec());
        assert_eq!(turn(&mut own, 3), [8, 9, 4]);
        own.replace([9, 8, 5, 4, 3, 2, 1].map(connection).to_vec());
        assert_eq!(turn(&mut own, 9), [5]);
        own.replace([9, 8, 5, 4, 3, 2, 1].map(connection).to_vec());
        assert_eq!(turn(&mut own, 9), [1, 2, 3, 4, 5, 8, 9]);
        assert_eq!((turn(&mut own, 9), own.count()), (vec![], 7));
    }

    #[test]
    fn what_has_ended_is_not_told() {
        let mut own = Own::default();
        own.replace((1..=5).map(connection).collect());
        own.replace(vec![connection(5)]);
        assert_eq!(turn(&mut own, 9), [5]);
        own.replace(Vec::new());
        assert!(turn(&mut own, 9).is_empty());
    }

    #[test]
    fn what_others_told_is_known_for_a_while_and_by_address() {
        let mut known = Known::default();
        known.learn(&[connection(1), connection(2)], at(0));
        known.learn(&[connection(2)], at(6000));
        let [ours, other] = ["10.77.0.100", "10.77.0.101"].map(|ip| ip.parse().unwrap());
        assert_eq!(known.of(&[ours, other], at(10_000)), [connection(1), connection(2)]);
        assert!(known.of(&[other], at(10_000)).is_empty());
        assert_eq!(known.of(&[ours], at(10_001)), [connection(2)]);
        known.forget(at(16_001));
        assert_eq!(known.count(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_and_the_rest_is_counted() {
        let mut known = Known::default();
        let number = |number| connection(u16::try_from(number).unwrap());
        let all: Vec<Connection> = (0..MOST_KNOWN + 3).map(number).collect();
        known.learn(&all, at(0));
        known.learn(&all[..9], at(0));
        assert_eq!((known.count(), known.dropped()), (MOST_KNOWN, 3));
        known.learn(&all[MOST_KNOWN..], at(10_001));
        assert_eq!((known.count(), known.dropped()), (3, 3), "what is old makes room");
    }
}
