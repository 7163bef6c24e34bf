//! Real daemons with a switch for their service adapters and one for their standby adapters:
//! whatever fails, and whatever fails besides, clients reach the address if anybody could serve
//! it, at one port.

use lifesign_tests::random::Random;
use lifesign_tests::trial::{self, Setup, Trial};

/// An adapter: the server, and the switch it is plugged into.
type Adapter = (&'static str, usize);

const ADAPTERS: [Adapter; 4] = [("alpha", 0), ("alpha", 1), ("beta", 0), ("beta", 1)];
const SWITCHES: [usize; 2] = [0, 1];
const KINDS: usize = 3;

/// What fails at once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// One adapter, or the port at which it ends.
    One(Adapter),
    /// Two of them.
    Two(Adapter, Adapter),
    /// A switch with all its ports.
    Switch(usize),
}

impl Fault {
    fn all() -> Vec<Self> {
        let ones = ADAPTERS.map(Self::One).into_iter();
        let twos = ADAPTERS.into_iter().enumerate().flat_map(|(at, one)| {
            ADAPTERS.into_iter().skip(at + 1).map(move |other| Self::Two(one, other))
        });
        ones.chain(twos).chain(SWITCHES.map(Self::Switch)).collect()
    }

    const fn kind(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Two(..) => 1,
            Self::Switch(_) => 2,
        }
    }

    fn hits(&self, adapter: Adapter) -> bool {
        match self {
            Self::One(own) => *own == adapter,
            Self::Two(one, other) => *one == adapter || *other == adapter,
            Self::Switch(switch) => *switch == adapter.1,
        }
    }
}

/// How a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Carriers are lost.
    Dark,
    /// Nothing passes, and the carriers stay.
    Silent,
}

impl Manner {
    /// Lets exactly what `faults` hit be broken.
    fn set(self, trial: &Trial, faults: &[&Fault]) {
        let is_hit = |adapter| faults.iter().any(|fault| fault.hits(adapter));
        let is_dead = |switch| {
            faults.iter().any(|fault| matches!(fault, Fault::Switch(own) if *own == switch))
        };
        let broken = |adapter: Adapter| {
            let of_server = ADAPTERS.contains(&adapter);
            if of_server { is_hit(adapter) } else { is_dead(adapter.1) }
        };
        for adapter in ADAPTERS.into_iter().chain(SWITCHES.map(|at| (trial::WITNESS, at))) {
            let (name, cable) = adapter;
            match self {
                Self::Dark => {
                    trial.lab().set_carrier(name, cable, !broken(adapter)).expect("a carrier");
                }
                Self::Silent => {
                    trial.lab().switch().set_down(trial.lab().port(name, cable), broken(adapter));
                }
            }
        }
    }

    /// Waits until the servers have seen which carriers are lost: where an address goes away and
    /// returns before anybody looks, it seems to have been there all along.
    fn settle(self, trial: &Trial, faults: &[&Fault]) {
        for adapter in ADAPTERS.into_iter().filter(|_| self == Self::Dark) {
            let is_hit = faults.iter().any(|fault| fault.hits(adapter));
            trial.await_that(&format!("{adapter:?} is seen, {is_hit}"), |trial| {
                verdict(trial, adapter).is_some_and(|said| (said == "no-carrier") == is_hit)
            });
        }
    }
}

/// Returns what a server says of its adapter.
fn verdict(trial: &Trial, (name, cable): Adapter) -> Option<String> {
    trial.verdicts(name).into_iter().nth(cable)
}

/// Waits until somebody is reached at one port that works, if there is one.
fn await_service(trial: &Trial, faults: &[&Fault]) {
    let works = |adapter: &Adapter| !faults.iter().any(|fault| fault.hits(*adapter));
    let ports: Vec<usize> = ADAPTERS
        .into_iter()
        .filter(works)
        .map(|(name, cable)| trial.lab().port(name, cable))
        .collect();
    if ports.is_empty() {
        return;
    }
    trial.await_that(&format!("somebody is reached in spite of {faults:?}"), |trial| {
        let at = trial.lab().switch().record(0).at_port.holders(trial.lab().now_us());
        matches!(&at[..], [port] if ports.contains(port))
    });
}

/// Returns a walk over faults. Where carriers are lost, every fault follows every other one; where
/// frames stop, which is waited for, every kind of them follows every kind, one adapter every other
/// one, and the rest as chance has it.
fn walk(manner: Manner) -> Vec<Fault> {
    let all = Fault::all();
    let mut random = Random::new(7);
    let places: Vec<usize> = (0..all.len()).collect();
    let count = if manner == Manner::Dark { all.len() } else { ADAPTERS.len() };
    let mut owed: Vec<(usize, usize)> = (0..count)
        .flat_map(|one| (0..count).map(move |other| (one, other)))
        .filter(|(one, other)| one != other)
        .collect();
    let mut walk = vec![0];
    let mut kinds = [[false; KINDS]; KINDS];
    let is_done = |kinds: &[[bool; KINDS]; KINDS]| kinds.iter().flatten().all(|seen| *seen);
    while !owed.is_empty() || !is_done(&kinds) || walk.len() < STEPS {
        let here = walk[walk.len() - 1];
        let next = owed.iter().position(|(one, _)| *one == here).map(|at| owed.remove(at).1);
        let next = next.or_else(|| owed.first().map(|(one, _)| *one));
        let next = next.unwrap_or_else(|| {
            let any = random.pick(&places);
            if any == here { (any + 1) % all.len() } else { any }
        });
        kinds[all[here].kind()][all[next].kind()] = true;
        walk.push(next);
    }
    walk.into_iter().map(|at| all[at].clone()).collect()
}

/// How many faults there are at least, one after the other.
const STEPS: usize = 40;

/// Breaks one thing after the other, and repairs each when the next is broken too.
fn stroll(test: &str, manner: Manner) {
    let setup = Setup::pair().with_second_switch();
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.start_all();
        trial.await_ready();
        await_service(trial, &[]);
        let faults = walk(manner);
        for pair in faults.windows(2) {
            let [first, second] = pair else { continue };
            for faults in [&[first][..], &[first, second]] {
                manner.set(trial, faults);
                await_service(trial, faults);
                manner.settle(trial, faults);
            }
        }
        manner.set(trial, &[]);
        await_service(trial, &[]);
        trial.await_ready();
        let record = trial.lab().switch().record(0).at_port;
        assert_eq!(record.two_holders_us(0, u64::MAX), 0, "two ports answered: {record:?}");
        for adapter in ADAPTERS {
            trial.await_that("all is well again", |trial| {
                verdict(trial, adapter).is_some_and(|said| said == "well")
            });
        }
    });
}

#[test]
fn the_address_is_reached_whichever_two_things_lose_their_carriers() {
    let test = "the_address_is_reached_whichever_two_things_lose_their_carriers";
    stroll(test, Manner::Dark);
}

#[test]
fn the_address_is_reached_whichever_two_things_fall_silent() {
    stroll("the_address_is_reached_whichever_two_things_fall_silent", Manner::Silent);
}
