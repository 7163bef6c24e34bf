//! The ways to one node: each network over which it is heard, and where it is there.

use std::net::SocketAddr;

use lifesign_core::node::{LinkId, MAX_LINKS};
use lifesign_core::time::{Duration, Instant};

/// Over which socket a node is reached, and where.
pub(super) type Place = (usize, SocketAddr);

/// The ways to one node. Each is a link of its own to the witness: what came over one of them comes
/// once more over the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways([Option<Way>; MAX_LINKS]);

#[derive(Clone, Copy, Debug)]
struct Way {
    place: Place,
    heard: Instant,
}

impl Ways {
    /// Returns as which link frames from `place` are judged, and whether a frame that is but a copy
    /// may open that link: it never takes the place of a way that lives.
    pub(super) fn link(&self, place: Place, dead: Duration, now: Instant) -> (LinkId, bool) {
        let at = |is: &dyn Fn(&Option<Way>) -> bool| self.0.iter().position(is);
        let known = at(&|way| way.is_some_and(|way| way.place == place));
        let free = || at(&|way| way.is_none_or(|way| now.since(way.heard) >= dead));
        let found = known.or_else(free);
        // All live: whatever is newest has come from where the node is.
        let oldest = || (0..MAX_LINKS).min_by_key(|at| self.0[*at].map(|way| way.heard));
        let index = found.or_else(oldest).and_then(|at| LinkId::new(u8::try_from(at).ok()?));
        (index.unwrap_or(FIRST), found.is_some())
    }

    /// Notes that a frame from `place` was taken as one over `link`.
    pub(super) fn note(&mut self, link: LinkId, place: Place, now: Instant) {
        self.0[link.index()] = Some(Way { place, heard: now });
    }

    /// Returns where the node has been heard within `dead`, and where it was heard last.
    pub(super) fn live(&self, dead: Duration, now: Instant) -> impl Iterator<Item = Place> {
        let last = self.0.iter().flatten().map(|way| way.heard).max();
        let is_live = move |way: &&Way| now.since(way.heard) < dead || Some(way.heard) == last;
        self.0.iter().flatten().filter(is_live).map(|way| way.place)
    }
}

const FIRST: LinkId = match LinkId::new(0) {
    Some(link) => link,
    None => panic!("there is a first link"),
};

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn place(network: u8) -> Place {
        (0, SocketAddr::from(([10, network, 0, 1], 6940)))
    }

    fn heard(ways: &mut Ways, network: u8, millis: u64) -> bool {
        let (link, may_open) = ways.link(place(network), DEAD, at(millis));
        ways.note(link, place(network), at(millis));
        may_open
    }

    fn live(ways: &Ways, millis: u64) -> Vec<Place> {
        ways.live(DEAD, at(millis)).collect()
    }

    #[test]
    fn every_network_is_a_way_until_it_falls_silent() {
        let mut ways = Ways::default();
        for millis in [0, 100, 200] {
            assert!(heard(&mut ways, 1, millis) && heard(&mut ways, 2, millis));
        }
        assert_eq!(live(&ways, 200), [place(1), place(2)]);
        assert!(heard(&mut ways, 2, 600));
        assert_eq!(live(&ways, 800), [place(2)]);
        assert_eq!(live(&ways, 5_000), [place(2)], "one that returns is answered there");
        assert!(heard(&mut ways, 3, 5_000), "what is silent makes room");
        assert_eq!(live(&ways, 5_000), [place(3)]);
    }

    #[test]
    fn a_copy_takes_no_living_way_away() {
        let mut ways = Ways::default();
        for network in 0..8 {
            assert!(heard(&mut ways, network, u64::from(network)));
        }
        let (link, may_open) = ways.link(place(9), DEAD, at(10));
        assert_eq!((link.index(), may_open), (0, false));
        assert!(ways.link(place(5), DEAD, at(10)).1);
        assert!(ways.link(place(9), DEAD, at(500)).1);
    }
}
