//! A link over UDP, IPv4 or IPv6, on one adapter.
//!
//! One socket, bound to the adapter. With unicast delivery it is bound to the own address as well;
//! with multicast or broadcast delivery to none, so that frames for the group and frames for this
//! node both arrive. `SO_REUSEADDR` is never set: a second program on the port is an error at the
//! start, not a silent sharing of frames.
//!
//! The source address of each frame is the own address in the settings, whatever the routing table
//! would choose: a service address on the same adapter must not become the address that peers'
//! filters reject. Witnesses are always sent to by unicast, with the ordinary hop limit, since they
//! may be beyond a router.

mod opened;

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use lifesign_core::time::Instant;
use nix::errno::Errno;

use self::opened::{Adapter, Opened};
use super::backoff::BackOff;
use super::failure::{Failure, OpenError};
use super::{BATCH, Source, State, Statistics, Verdict};

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSpec {
    /// The adapter's name on this node.
    pub adapter: String,
    /// How a frame reaches the peers.
    pub delivery: Delivery,
    /// The port of all nodes and witnesses on this link.
    pub port: u16,
    /// The address this node sends from.
    pub own: IpAddr,
    /// The other nodes' addresses, of the same family.
    pub peers: Vec<IpAddr>,
    /// The witnesses' addresses, of the same family.
    pub witnesses: Vec<IpAddr>,
}

/// How a frame reaches the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One datagram to this group, for the adapter's own network alone.
    Multicast(IpAddr),
    /// One datagram to everybody on the adapter's network; IPv4 alone.
    Broadcast,
    /// One datagram for each peer.
    Unicast,
}

impl UdpSpec {
    fn check(&self) -> Result<(), OpenError> {
        let is_ipv6 = self.own.is_ipv6();
        let mut others = self.peers.iter().chain(&self.witnesses);
        let contradiction = if self.port == 0 {
            "the port of a link must not be 0"
        } else if others.any(|address| address.is_ipv6() != is_ipv6) {
            "a link's members must be all IPv4 or all IPv6"
        } else if self.peers.contains(&self.own) || self.witnesses.contains(&self.own) {
            "two members of a link must not have the same address"
        } else {
            match self.delivery {
                Delivery::Multicast(group) if group.is_ipv6() != is_ipv6 => {
                    "a link's multicast group and its members must be both IPv4 or both IPv6"
                }
                Delivery::Multicast(group) if !group.is_multicast() => {
                    "a link's multicast group must be a multicast address"
                }
                Delivery::Broadcast if is_ipv6 => "IPv6 has no broadcast; use multicast",
                Delivery::Multicast(_) | Delivery::Broadcast | Delivery::Unicast => return Ok(()),
            }
        };
        Err(OpenError::Contradiction { reason: contradiction })
    }

    /// Returns whom to accept frames from.
    ///
    /// The own address is among them: a frame of ours that comes back tells of a loop in the
    /// network. Not so with broadcast delivery, where the kernel hands us a copy of each frame we
    /// send.
    fn accepted(&self) -> Vec<IpAddr> {
        let own = (self.delivery != Delivery::Broadcast).then_some(self.own);
        self.peers.iter().chain(&self.witnesses).copied().chain(own).collect()
    }
}

/// An open UDP link, or one that waits to be opened again.
#[derive(Debug)]
pub struct UdpLink {
    spec: UdpSpec,
    accepted: Vec<IpAddr>,
    open: Option<Opened>,
    state: State,
    backoff: BackOff,
    statistics: Statistics,
}

impl UdpLink {
    /// Opens the link; see [`Link::open`](super::Link::open).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(spec: UdpSpec) -> Result<Self, OpenError> {
        spec.check()?;
        let accepted = spec.accepted();
        let opened = Opened::new(&spec, &accepted)?;
        Ok(Self {
            spec,
            accepted,
            open: Some(opened),
            state: State::Up,
            backoff: BackOff::default(),
            statistics: Statistics::default(),
        })
    }

    /// Sends a frame to all peers and witnesses; see [`Link::send`](super::Link::send).
    pub fn send(&mut self, frame: &[u8], now: Instant) {
        let Some(open) = &self.open else { return };
        let mut is_sent = false;
        let mut failed = None;
        for destination in &open.destinations {
            match open.send(frame, destination) {
                Ok(len) => {
                    is_sent = true;
                    self.statistics.sent += 1;
                    self.statistics.bytes_sent += len as u64;
                }
                Err(errno) => {
                    failed = Some((errno, destination.address));
                    self.statistics.send_failures.count(errno, Some(destination.address));
                }
            }
        }
        if is_sent {
            self.state = State::Up;
            self.backoff.settled();
        } else if let Some((errno, _)) = failed {
            self.handle_total_failure(Failure::of(errno), now);
        }
    }

    /// Takes frames that have arrived; see [`Link::receive`](super::Link::receive).
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let (mut delivered, mut failed) = (0, 0);
        for _ in 0..BATCH {
            match open.receive(buffer) {
                Ok(datagram) => {
                    if let Some(drops) = datagram.drops {
                        self.statistics.kernel_drops += u64::from(drops);
                    }
                    let Some(source) = datagram.source else {
                        continue;
                    };
                    if datagram.is_truncated {
                        self.statistics.too_long += 1;
                    } else if !self.accepted.contains(&source.ip()) {
                        self.statistics.filtered += 1;
                    } else {
                        delivered += 1;
                        self.statistics.received += 1;
                        self.statistics.bytes_received += datagram.len as u64;
                        let _verdict = deliver(&buffer[..datagram.len], Source::Udp(source));
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    failed += 1;
                    self.statistics.receive_failures.count(errno, None);
                }
            }
        }
        if failed == BATCH {
            // An error that reading does not clear would wake the daemon for ever.
            self.close(Failure::Other, now);
        }
        delivered
    }

    /// Opens a closed link if it is time; see
    /// [`Link::handle_timeout`](super::Link::handle_timeout).
    pub fn reopen(&mut self, now: Instant) -> bool {
        if self.open.is_some() || !self.backoff.is_due(now) {
            return false;
        }
        match Opened::new(&self.spec, &self.accepted) {
            Ok(opened) => {
                self.open = Some(opened);
                self.state = State::Up;
                self.backoff.succeeded();
                self.statistics.reopened += 1;
                true
            }
            Err(error) => {
                self.state = State::Down(self.statistics.send_failures.count(error.errno(), None));
                self.backoff.failed(now);
                false
            }
        }
    }

    /// Looks at the adapter again; see
    /// [`Link::handle_adapter_change`](super::Link::handle_adapter_change).
    pub fn handle_adapter_change(&mut self, now: Instant) -> bool {
        match self.open.as_ref().map(|open| open.adapter(&self.spec.adapter)) {
            Some(Adapter::Same | Adapter::Renamed) => return false,
            Some(Adapter::Missing | Adapter::Replaced) => {
                self.close(Failure::AdapterMissing, now);
            }
            None => {}
        }
        self.backoff.hurry(now);
        self.reopen(now)
    }

    /// Returns when the link is to be opened again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.backoff.poll_timeout()
    }

    /// Returns the descriptor to wait on.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }

    /// Returns whether frames can be sent.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the counters.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Finds out what is behind a failure to send to anybody.
    fn handle_total_failure(&mut self, failure: Failure, now: Instant) {
        let Some(open) = self.open.as_ref().filter(|_| failure.is_lasting()) else {
            return;
        };
        match open.adapter(&self.spec.adapter) {
            Adapter::Missing | Adapter::Replaced => self.close(Failure::AdapterMissing, now),
            Adapter::Same | Adapter::Renamed => {
                // An address that goes takes its routes with it, and the kernel may complain of
                // those.
                let is_about_routes =
                    matches!(failure, Failure::Unreachable | Failure::AddressMissing);
                let failure = if is_about_routes && open.is_address_missing(self.spec.own) {
                    Failure::AddressMissing
                } else {
                    failure
                };
                self.state = State::Down(failure);
            }
        }
    }

    fn close(&mut self, failure: Failure, now: Instant) {
        self.open = None;
        self.state = State::Down(failure);
        self.backoff.failed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_told_before_anything_is_opened() {
        let cases = [
            (UdpSpec { port: 0, ..spec() }, "port"),
            (UdpSpec { peers: vec!["fd00::2".parse().unwrap()], ..spec() }, "all IPv4 or all IPv6"),
            (UdpSpec { witnesses: vec!["fd00::2".parse().unwrap()], ..spec() }, "all IPv4"),
            (UdpSpec { peers: vec![spec().own], ..spec() }, "same address"),
            (UdpSpec { delivery: multicast("10.0.0.1"), ..spec() }, "a multicast address"),
            (UdpSpec { delivery: multicast("ff02::1"), ..spec() }, "group and its members"),
            (
                UdpSpec {
                    own: "fd00::1".parse().unwrap(),
                    peers: Vec::new(),
                    delivery: Delivery::Broadcast,
                    ..spec()
                },
                "IPv6 has no broadcast",
            ),
        ];
        for (spec, expected) in cases {
            let said = UdpLink::open(spec).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn an_unknown_adapter_is_an_error_that_names_it() {
        let spec = UdpSpec { adapter: "nowhere0".into(), ..spec() };
        let said = UdpLink::open(spec).unwrap_err().to_string();
        assert_eq!(said, "adapter nowhere0: not found");
    }

    #[test]
    fn only_broadcast_excludes_the_own_address_from_what_is_accepted() {
        let own = spec().own;
        assert!(spec().accepted().contains(&own));
        assert!(!UdpSpec { delivery: Delivery::Broadcast, ..spec() }.accepted().contains(&own));
    }

    fn multicast(group: &str) -> Delivery {
        Delivery::Multicast(group.parse().unwrap())
    }

    fn spec() -> UdpSpec {
        UdpSpec {
            adapter: "lo".into(),
            delivery: Delivery::Unicast,
            port: 6940,
            own: "127.0.0.1".parse().unwrap(),
            peers: vec!["127.0.0.2".parse().unwrap()],
            witnesses: Vec::new(),
        }
    }
}
