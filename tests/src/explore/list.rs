//! What is explored.

use lifesign_core::group::Guard;

use super::setup::{ANY, AUTHORITY_US, FAST, Flaw, HOSTS, Limits, Order, SLOW, Setup, Ways};

/// A question that an exploration answers.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is tried, in a sentence.
    pub says: &'static str,
    /// The clusters.
    pub variants: Vec<Variant>,
}

/// One cluster of a configuration.
#[derive(Clone, Debug)]
pub struct Variant {
    /// In what it differs from the others.
    pub what: String,
    /// The cluster.
    pub setup: Setup,
    /// Whether a law must hold in it or must be broken: without the latter the former says nothing.
    pub must_break: bool,
    /// Whether it takes seconds and not minutes.
    pub is_quick: bool,
}

/// Returns every configuration.
#[must_use]
pub fn all() -> Vec<Configuration> {
    vec![lease(), side(), release(), fence(), keys(), amnesia(), boot_wait()]
}

/// Every choice of the slowest and the fastest clock for each host.
fn clocks() -> impl Iterator<Item = [u64; HOSTS]> {
    let choice =
        |mask: usize| std::array::from_fn(|host| if mask >> host & 1 == 1 { FAST } else { SLOW });
    (0..1 << HOSTS).map(choice)
}

/// The first holder's clock is slow, everybody else's is fast: promises end as early as they can.
const TIGHT: [u64; HOSTS] = [SLOW, FAST, FAST];
/// The first holder's clock is fast, everybody else's is slow.
const LOOSE: [u64; HOSTS] = [FAST, SLOW, SLOW];

fn holds(what: &str, setup: Setup) -> Variant {
    Variant { what: what.into(), setup, must_break: false, is_quick: true }
}

fn breaks(what: &str, setup: Setup) -> Variant {
    Variant { must_break: true, ..holds(what, setup) }
}

fn deep(variant: Variant) -> Variant {
    Variant { is_quick: false, ..variant }
}

fn under_each_clock(what: &str, setup: Setup) -> impl Iterator<Item = Variant> {
    clocks().map(move |rates| {
        let names = rates.map(|rate| if rate == SLOW { "slow" } else { "fast" });
        let what = format!("{what}, clocks {}", names.join(" "));
        Variant { what, ..holds("", Setup { rates, ..setup }) }
    })
}

fn lease() -> Configuration {
    let one_cut = Limits { losses: 1, cuts: 1, ..Limits::NONE };
    let setup = Setup { rates: TIGHT, ..Setup::new(2, 10, one_cut) };
    let two = Setup { looks_at_promises: false, ..setup };
    let paused = Setup { rates: TIGHT, ..Setup::new(2, 9, Limits { pauses: 1, ..Limits::NONE }) };
    let mut variants: Vec<Variant> =
        under_each_clock("D at its limit, a cut and a loss", setup).collect();
    variants.extend([
        breaks("D one microsecond longer", Setup { authority_us: AUTHORITY_US + 1, ..two }),
        breaks(
            "D at its limit, a voter's clock faster than assumed",
            Setup { rates: [SLOW, FAST + 1, FAST + 1], ..setup },
        ),
        holds("D at its limit, a process that does not run", paused),
        breaks(
            "D at its limit, a process that does not run, no kernel lease",
            Setup { has_kernel_lease: false, ..paused },
        ),
        deep(holds(
            "D at its limit, a cut and three losses",
            with(setup, |limits| limits.losses = 3),
        )),
        deep(holds(
            "D at its limit, two cuts",
            with(setup, |limits| (limits.cuts, limits.losses) = (2, 0)),
        )),
    ]);
    Configuration {
        name: "lease",
        says: "Two servers and a witness: authority ends before any promise does, \
               at the limit of the inequality, and not beyond it.",
        variants,
    }
}

fn with(mut setup: Setup, change: impl Fn(&mut Limits)) -> Setup {
    change(&mut setup.limits);
    setup
}

fn side() -> Configuration {
    let limits = Limits { cuts: 3, ..Limits::NONE };
    let setup = Setup { ways: Ways::Both, ..Setup::new(2, 13, limits) };
    let of = |rates| Setup { rates, ..setup };
    let restarts = with(of(TIGHT), |limits| (limits.cuts, limits.restarts) = (2, 1));
    Configuration {
        name: "side",
        says: "Two servers and a witness: wherever the network falls apart and grows together \
               again, the witness supports one side, and the other only after its promise.",
        variants: vec![
            holds("three cuts, the holder slow", of(TIGHT)),
            holds("three cuts, the holder fast", of(LOOSE)),
            holds("three cuts, the witness fast", of([SLOW, SLOW, FAST])),
            breaks(
                "a witness that starts anew and does not wait",
                Setup {
                    flaw: Some(Flaw::NoBootWait),
                    looks_at_promises: false,
                    shaky: 1 << 2,
                    ..restarts
                },
            ),
            holds("a witness that starts anew", Setup { shaky: 1 << 2, ..restarts }),
        ],
    }
}

fn release() -> Configuration {
    let limits = Limits { orders: 2, delays: 1, ..Limits::NONE };
    let setup = Setup {
        rates: TIGHT,
        orders: &[Order::Standby, Order::Takeover, Order::Leave],
        ..Setup::new(2, 9, limits)
    };
    Configuration {
        name: "release",
        says: "Two servers and a witness: the group is given up and claimed again, by the same \
               server and by the other, while messages of before are still on their way.",
        variants: vec![
            holds("two orders, a delay, the holder slow", setup),
            deep(holds("two orders, a delay, the holder fast", Setup { rates: LOOSE, ..setup })),
            holds(
                "two orders, a copy",
                with(Setup { horizon: 7, ..setup }, |limits| {
                    (limits.copies, limits.delays) = (1, 0);
                }),
            ),
            breaks(
                "what is said to be stopped stops late",
                Setup { flaw: Some(Flaw::StopsLate), looks_at_promises: false, ..setup },
            ),
            deep(holds(
                "three orders",
                with(setup, |limits| (limits.orders, limits.delays) = (3, 0)),
            )),
            deep(holds(
                "an order, two delays",
                with(setup, |limits| (limits.orders, limits.delays) = (1, 2)),
            )),
        ],
    }
}

fn fence() -> Configuration {
    let limits = Limits { pauses: 1, delays: 1, ..Limits::NONE };
    let setup = Setup {
        rates: TIGHT,
        guard: Guard::Fence,
        has_kernel_lease: false,
        has_reset_lines: true,
        shaky: 1,
        ..Setup::new(2, 12, limits)
    };
    Configuration {
        name: "fence",
        says: "Two servers and a dongle with reset lines, a disk that no kernel takes away: the \
               request is armed and fired, answers come late or never, and the target stops to \
               run, runs on, and starts anew meanwhile.",
        variants: vec![
            holds("the holder does not run", with(setup, |limits| limits.delays = 0)),
            deep(holds("the holder does not run, a delay", setup)),
            deep(holds(
                "the holder does not run, a loss",
                with(setup, |limits| (limits.delays, limits.losses) = (0, 1)),
            )),
            holds(
                "the holder starts anew, a cut",
                with(setup, |limits| {
                    *limits = Limits { restarts: 1, cuts: 1, ..Limits::NONE };
                }),
            ),
            holds(
                "the holder was reset before and does not run",
                Setup { was_reset: true, ..with(setup, |limits| limits.delays = 0) },
            ),
            breaks(
                "a reset line that leads nowhere",
                Setup { flaw: Some(Flaw::LooseResetLine), ..setup },
            ),
            breaks("a disk guarded like an address", Setup { guard: Guard::Address, ..setup }),
        ],
    }
}

fn keys() -> Configuration {
    let limits = Limits { orders: ANY, delays: 1, ..Limits::NONE };
    let setup = Setup { orders: &[Order::Rekey], is_always_held: true, ..Setup::new(2, 6, limits) };
    Configuration {
        name: "keys",
        says: "Two servers and a witness: keys are changed host by host, each step when everybody \
               has made the one before; nobody is shut out, and nobody else holds.",
        variants: vec![
            holds("a delay", setup),
            holds("a loss", with(setup, |limits| (limits.losses, limits.delays) = (1, 0))),
            breaks(
                "the new keys alone at once",
                Setup { flaw: Some(Flaw::KeysAtOnce), horizon: 10, ..setup },
            ),
        ],
    }
}

fn amnesia() -> Configuration {
    let limits = Limits { restarts: 1, cuts: 1, ..Limits::NONE };
    let setup = Setup { rates: TIGHT, ..Setup::new(3, 11, limits) };
    let hasty = Setup {
        flaw: Some(Flaw::NoBootWait),
        looks_at_promises: false,
        shaky: 1 << 1,
        ways: Ways::Both,
        ..with(setup, |limits| limits.cuts = 2)
    };
    let mut variants: Vec<Variant> = under_each_clock("a restart and a cut", setup).collect();
    variants.extend([
        breaks("a voter that starts anew and does not wait", hasty),
        deep(holds("a restart, a cut and a loss", with(setup, |limits| limits.losses = 1))),
    ]);
    Configuration {
        name: "amnesia",
        says: "Three servers: one is killed and starts anew at once, and has forgotten what it \
               has promised.",
        variants,
    }
}

fn boot_wait() -> Configuration {
    let limits = Limits { restarts: 2, cuts: 1, ..Limits::NONE };
    let setup = Setup { rates: TIGHT, ways: Ways::Both, ..Setup::new(2, 10, limits) };
    Configuration {
        name: "boot-wait",
        says: "Two servers and a witness: voters start anew again and again and promise nothing \
               until their longest promise has passed.",
        variants: vec![
            holds("two restarts, a cut", setup),
            deep(holds("two restarts, a cut, the holder fast", Setup { rates: LOOSE, ..setup })),
            breaks(
                "a voter that does not wait",
                Setup {
                    flaw: Some(Flaw::NoBootWait),
                    looks_at_promises: false,
                    ..with(setup, |limits| (limits.restarts, limits.cuts) = (1, 2))
                },
            ),
        ],
    }
}
