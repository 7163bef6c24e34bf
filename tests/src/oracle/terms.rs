//! What is promised, in numbers: the quorum, the inequality and the bounds, written anew from the
//! README and not taken from the core.

use lifesign_core::group::{Failback, Guard};

use crate::world::{Micros, Setup, Wiring};

/// A set of members: a bit for each, servers first.
pub(super) type Voters = u32;

/// How long a round trip over a network may take, in microseconds.
const ROUND_TRIP: Micros = 1000;
/// What handing over may take besides the claim, in microseconds.
const HANDOVER: Micros = 5000;
/// What a computed moment may differ by: each division rounds once.
pub(super) const ROUNDING: Micros = 3;

/// The terms of everything that is promised.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) nodes: u8,
    pub(super) witnesses: u8,
    pub(super) groups: u8,
    pub(super) guard: Guard,
    /// R: the heartbeat.
    pub(super) heartbeat: Micros,
    /// The silence after which a peer is lost.
    pub(super) dead: Micros,
    /// L: how long a promise lasts.
    pub(super) promise: Micros,
    /// S + 2 W: the budget for stopping, and what a watchdog may take after it.
    pub(super) stop: Micros,
    /// rho of the servers, in millionths.
    pub(super) error: u64,
    /// rho of the witnesses, in millionths.
    pub(super) witness_error: u64,
    /// How long starting and stopping take.
    pub(super) start: Micros,
    /// Groups return to the server they prefer.
    pub(super) returns: bool,
    /// The hold-off before they do.
    pub(super) hold_off: Micros,
    /// There is a link besides serial lines.
    pub(super) has_network: bool,
    /// The witness is a dongle.
    pub(super) has_dongle: bool,
    /// The least time between two pulses, by the dongle's clock, and how long one lasts.
    pub(super) pulses: (Micros, Micros),
    /// How long a server takes from a reset to the start of its process.
    pub(super) boot: Micros,
    /// The round trip over the best link.
    pub(super) round_trip: Micros,
    /// Serial lines carry what is said at a heartbeat in half of its time.
    pub(super) has_room: bool,
    /// Which group follows which.
    pub(super) with: Vec<(u8, u8)>,
    /// Which group makes way for which.
    pub(super) apart: Vec<(u8, u8)>,
}

impl Terms {
    pub(super) fn new(setup: &Setup) -> Self {
        let has_to_stop = setup.guard == Guard::Stop;
        let line = 2 * (u64::from(setup.nodes) + 1) * 130 * 10_000_000 / setup.baud.max(1);
        Self {
            nodes: setup.nodes,
            witnesses: setup.witnesses,
            groups: setup.groups,
            guard: setup.guard,
            heartbeat: setup.heartbeat_ms * 1000,
            dead: setup.dead_ms * 1000,
            promise: setup.promise_ms * 1000,
            stop: if has_to_stop { (setup.stop_ms + 2 * setup.watchdog_ms) * 1000 } else { 0 },
            error: setup.clock_error.into(),
            witness_error: setup.witness_error.into(),
            start: setup.start_us,
            returns: setup.failback != Failback::Off,
            hold_off: match setup.failback {
                Failback::Off => 0,
                Failback::After(span) => span.as_micros(),
            },
            has_network: setup.links > 0,
            has_dongle: setup.wiring == Some(Wiring::Dongle),
            pulses: (setup.pulse_ms.1 * 1000, setup.pulse_ms.0 * 1000),
            boot: setup.boot_us,
            round_trip: if setup.links > 0 { ROUND_TRIP } else { ROUND_TRIP + 2 * line },
            has_room: setup.has_room_on_lines(),
            with: setup.with.clone(),
            apart: setup.apart.clone(),
        }
    }

    /// Returns how many members there are.
    pub(super) fn members(&self) -> usize {
        usize::from(self.nodes) + usize::from(self.witnesses)
    }

    /// Returns the place of a host in a table of all members, past the end for a stranger.
    pub(super) fn place(&self, host: u8) -> usize {
        if host < self.nodes {
            host.into()
        } else if (16..16 + self.witnesses).contains(&host) {
            usize::from(self.nodes) + usize::from(host - 16)
        } else {
            usize::MAX
        }
    }

    /// Returns the host at a place.
    pub(super) fn host(&self, place: usize) -> u8 {
        let place = u8::try_from(place).unwrap_or(u8::MAX);
        if place < self.nodes { place } else { 16 + (place - self.nodes) }
    }

    /// Returns whether these voters may decide: more than half of the servers, or exactly half with
    /// more than half of the witnesses.
    pub(super) fn is_quorum(&self, voters: Voters) -> bool {
        let servers = (1 << self.nodes) - 1;
        let (have, all) = (2 * (voters & servers).count_ones(), u32::from(self.nodes));
        let consent = 2 * (voters >> self.nodes).count_ones() > u32::from(self.witnesses);
        have > all || (have == all && self.witnesses > 0 && consent)
    }

    /// Returns what is assumed of the rate of this host's clock, in millionths.
    pub(super) fn error_of(&self, host: u8) -> u64 {
        if host < 16 { self.error } else { self.witness_error }
    }

    /// Returns the longest true time that `span` takes on an honest clock of this host.
    pub(super) fn longest(&self, host: u8, span: Micros) -> Micros {
        span * 1_000_000 / (1_000_000 - self.error_of(host)).max(1)
    }

    /// Returns the most that an honest clock of this host shows of a true span.
    pub(super) fn most_shown(&self, host: u8, span: Micros) -> Micros {
        span + span * self.error_of(host) / 1_000_000
    }

    /// Returns D + S for promises of `promise`: how old the support may be of what is up, on the
    /// holder's clock.
    pub(super) fn authority(&self, promise: Micros) -> Micros {
        let voters =
            if self.witnesses > 0 { self.error.max(self.witness_error) } else { self.error };
        promise * (1_000_000 - self.error) / (1_000_000 + voters)
    }

    fn slowest(&self, span: Micros) -> Micros {
        let error =
            if self.witnesses > 0 { self.error.max(self.witness_error) } else { self.error };
        span * 1_000_000 / (1_000_000 - error).max(1)
    }

    /// Returns the worst time without an answer after a crash of the holder:
    /// `max(L, dead) / (1 - rho) + (servers - 2) * R + 2 * R + round trip`, and what starting
    /// takes.
    pub(super) fn crash(&self) -> Micros {
        let back_off = self.heartbeat * u64::from(self.nodes.saturating_sub(2));
        let claim = 2 * self.heartbeat;
        self.slowest(self.promise.max(self.dead)) + back_off + claim + self.round_trip + self.start
    }

    /// Returns the worst time without an answer when a group is moved in good order: 2 * R, and
    /// what stopping and starting take.
    pub(super) fn switchover(&self) -> Micros {
        2 * self.heartbeat + self.round_trip + HANDOVER.max(2 * self.start)
    }

    /// Returns in what true time every group is held again after everything was repaired:
    ///
    /// ```text
    /// (settle + L + 2 * dead + dispute + 2 * claim + offer) / (1 - rho) + S + start + fence
    /// ```
    ///
    /// where settle is 40 R, dispute 15 R, offer 200 R, a claim that is not answered makes way
    /// after 2 L + 4 R, and fence, where the guard asks for it, is two pulses with the distance
    /// between them and a boot. A group whose start or stop has failed is tried again after ten
    /// offers, which come on top if one has. A group whose place depends on others settles after
    /// those, so all of this is multiplied by the most groups that settle one after the other.
    pub(super) fn convergence(&self, has_failed: bool) -> Micros {
        let claim = 2 * self.promise + 4 * self.heartbeat;
        let spans = 40 + 15 + 200 + if has_failed { 2000 } else { 0 };
        let waits =
            spans * self.heartbeat + self.promise + 2 * self.dead + 2 * claim + self.hold_off;
        let fence = if self.guard == Guard::Fence {
            2 * (self.pulses.0 + self.pulses.1) + self.boot
        } else {
            0
        };
        (self.slowest(waits + fence) + self.stop + 2 * self.start) * self.levels()
    }

    /// Returns how many groups settle one after the other, at most.
    fn levels(&self) -> u64 {
        1 + (self.with.len() + self.apart.len()) as u64
    }

    /// Returns whether the place of `group` depends on other groups.
    pub(super) fn is_placed(&self, group: u8) -> bool {
        self.with.iter().chain(&self.apart).any(|(one, _)| *one == group)
    }

    /// Returns whether `group` waits for others to stop here before it starts or goes.
    pub(super) fn waits_for_stops(&self, group: u8) -> bool {
        self.with.iter().chain(&self.apart).any(|(_, other)| *other == group)
    }

    /// Returns how often `group` may be started until it has settled: each time one that decides
    /// its place has, and some more.
    pub(super) fn starts(&self, group: u8) -> u32 {
        let deciding = self.with.iter().chain(&self.apart).filter(|(one, _)| *one == group);
        deciding.fold(4, |sum, (_, other)| sum + self.starts(*other))
    }

    /// Returns how long nothing may have been broken before a cluster counts as calm: nobody waits
    /// for anything any more.
    pub(super) fn calm(&self) -> Micros {
        self.convergence(false) + self.slowest(2 * self.promise)
    }

    /// Returns the names of `voters`.
    pub(super) fn names(&self, voters: Voters) -> String {
        let places = (0..self.members()).filter(|place| voters >> place & 1 == 1);
        let names: Vec<String> = places.map(|place| self.host(place).to_string()).collect();
        if names.is_empty() { "nobody".into() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_decides_and_a_tie_asks_the_witnesses() {
        let quorum = |nodes, witnesses| Terms::new(&Setup::fast(nodes, witnesses));
        for (terms, voters, expected) in [
            (quorum(2, 1), 0b011, true),
            (quorum(2, 1), 0b101, true),
            (quorum(2, 1), 0b100, false),
            (quorum(2, 1), 0b001, false),
            (quorum(2, 0), 0b01, false),
            (quorum(2, 0), 0b11, true),
            (quorum(3, 0), 0b011, true),
            (quorum(3, 0), 0b001, false),
            (quorum(4, 3), 0b011_0011, true),
            (quorum(4, 3), 0b001_0011, false),
            (quorum(4, 3), 0b111_0001, false),
            (quorum(4, 3), 0b000_0111, true),
        ] {
            assert_eq!(terms.is_quorum(voters), expected, "{voters:b} of {terms:?}");
        }
        let terms = quorum(2, 1);
        assert_eq!([0, 1, 16].map(|host| terms.place(host)), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|place| terms.host(place)), [0, 1, 16]);
        assert_eq!(terms.place(17), usize::MAX);
    }

    #[test]
    fn any_two_quorums_share_a_voter() {
        for (nodes, witnesses) in [(2, 0), (2, 1), (2, 3), (3, 0), (4, 1), (5, 0)] {
            let terms = Terms::new(&Setup::fast(nodes, witnesses));
            let all = 1 << terms.members();
            let quorums: Vec<Voters> = (0..all).filter(|it| terms.is_quorum(*it)).collect();
            for one in &quorums {
                assert!(quorums.iter().all(|other| one & other != 0), "{one:b} of {terms:?}");
            }
        }
    }

    #[test]
    fn the_inequality_is_the_readme_s() {
        let terms = Terms::new(&Setup::fast(2, 1));
        // 25 ms * 0.99 / 1.01, and 25 ms / 0.99.
        assert_eq!(terms.authority(25_000), 24_504);
        assert_eq!(terms.longest(0, 25_000), 25_252);
        assert_eq!(terms.crash(), 25_252 + 10_000 + 1000 + 100);
        assert_eq!(terms.switchover(), 10_000 + 1000 + 5000);
    }
}
