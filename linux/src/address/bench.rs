//! The adapters of a network on this machine, and for which addresses each is.

use std::net::IpAddr;

use lifesign_core::network::{Choice, Origin};
use lifesign_core::time::{Duration, Instant};

use super::error::Error;
use super::netlink::{Adapter, Netlink};
use super::subject::Subject;
use super::{arp, ndp};

/// The adapters of a network on this machine, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// The adapters by their names: the service adapter first, then the standby ones.
    pub adapters: Vec<String>,
    /// The service addresses that sit on one of them, each with its origin on this machine.
    pub services: Vec<(IpAddr, Origin)>,
    /// Third stations that are asked whether they are there.
    pub ask: Vec<IpAddr>,
}

/// Adapters of a network, and which of them have the addresses.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) seats: Seats,
    /// Each adapter's number, while it is there.
    pub(super) indices: Vec<Option<u32>>,
    /// The place of the adapter for each service address.
    pub(super) places: Vec<usize>,
    /// When a third station last answered on each adapter.
    pub(super) answered: Vec<Option<Instant>>,
    /// When they were first asked of late, and when last.
    pub(super) asked: Option<(Instant, Instant)>,
    /// The adapters that answered for the addresses of others as well, with what they had before.
    pub(super) ignoring: Vec<(u32, u32)>,
}

impl Bench {
    pub(super) fn new(seats: Seats) -> Self {
        let count = seats.adapters.len();
        let (indices, answered) = (vec![None; count], vec![None; count]);
        let first = Choice::new(count);
        let places = seats.services.iter().map(|(_, origin)| first.current(*origin)).collect();
        Self { seats, indices, places, answered, asked: None, ignoring: Vec::new() }
    }

    /// Returns those of all networks.
    pub(super) fn all(networks: &[Seats], adapters: &[Adapter]) -> Vec<Self> {
        let mut all: Vec<Self> = networks.iter().cloned().map(Self::new).collect();
        all.iter_mut().for_each(|bench| bench.find(adapters));
        all
    }

    /// Returns the network of a service address.
    pub(super) fn of(benches: &[Self], ip: IpAddr) -> Option<&Self> {
        benches.iter().find(|bench| bench.place(ip).is_some())
    }

    /// Returns the place of the adapter for a service address, if it is on this network.
    pub(super) fn place(&self, ip: IpAddr) -> Option<usize> {
        let mut services = self.seats.services.iter().zip(&self.places);
        services.find(|((service, _), _)| *service == ip).map(|(_, place)| *place)
    }

    /// Returns the service addresses of an origin.
    pub(super) fn services(&self, origin: Origin) -> impl Iterator<Item = IpAddr> {
        let services = self.seats.services.iter();
        services.filter(move |(_, other)| *other == origin).map(|(ip, _)| *ip)
    }

    /// Finds the adapters: by name, or the same one under another name.
    pub(super) fn find(&mut self, adapters: &[Adapter]) {
        for (name, index) in self.seats.adapters.iter().zip(&mut self.indices) {
            let named = adapters.iter().find(|adapter| adapter.name == *name);
            let known = adapters.iter().find(|adapter| Some(adapter.index) == *index);
            *index = named.or(known).map(|adapter| adapter.index);
        }
    }

    /// Whether the addresses may be on one of several adapters.
    pub(super) fn is_shared(&self) -> bool {
        self.seats.adapters.len() > 1
    }

    /// Returns the addresses that ARP speaks for and that may be on one of several adapters.
    pub(super) fn shared(benches: &[Self]) -> Vec<Subject> {
        let shared = benches.iter().filter(|bench| bench.is_shared());
        let services = shared.flat_map(|bench| bench.seats.services.iter().map(|(ip, _)| *ip));
        services.filter(IpAddr::is_ipv4).map(Subject::from).collect()
    }

    /// Has an adapter answer for its own addresses alone, and notes what it did before.
    pub(super) fn ignore(&mut self, netlink: &mut Netlink, adapter: &Adapter) -> Result<(), Error> {
        if !self.is_shared() || self.ignoring.iter().any(|(index, _)| *index == adapter.index) {
            return Ok(());
        }
        let path = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", adapter.name);
        let before = std::fs::read_to_string(path).ok();
        let before = before.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // Larger numbers ignore even more.
        if before == 0 {
            netlink.set_arp_ignore(adapter.index, OWN_ALONE)?;
        }
        self.ignoring.push((adapter.index, before));
        Ok(())
    }

    /// Notes an answer of a third station that came in on an adapter.
    pub(super) fn hear(&mut self, index: u32, frame: &[u8], now: Instant) {
        let is_asked = |ip: IpAddr| self.seats.ask.contains(&ip);
        let is_answer = arp::read(frame)
            .is_some_and(|heard| heard.is_answer && is_asked(heard.sender.into()))
            || ndp::read(frame)
                .is_some_and(|heard| heard.is_advertisement && is_asked(heard.target.into()));
        if !is_answer {
            return;
        }
        for (at, answered) in self.indices.iter().zip(&mut self.answered) {
            if *at == Some(index) {
                *answered = Some(now);
            }
        }
    }

    /// Returns whether a third station answers on an adapter.
    pub(super) fn is_answered(&self, at: usize, now: Instant) -> Option<bool> {
        let (first, _) = self.asked?;
        let is_recent = |answered: &Instant| now.since(*answered) < ASK_PATIENCE;
        let is_there = self.answered.get(at).copied().flatten().is_some_and(|at| is_recent(&at));
        (is_there || now.since(first) >= ASK_PATIENCE).then_some(is_there)
    }
}

/// After how long a station that does not answer is not there.
const ASK_PATIENCE: Duration = Duration::from_millis(750);
/// What `arp_ignore` is on an adapter that answers for its own addresses alone.
const OWN_ALONE: u32 = 1;
