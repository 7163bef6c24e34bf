//! What a seed is played with: spans, servers, witnesses and lines.

use lifesign_core::group::{Failback, Guard};
use lifesign_core::time::Duration;

use crate::random::Random;
use crate::world::{Setup, Wiring};

/// Spans that fit together.
///
/// | profile | heartbeat | dead | promise |
/// |---|---|---|---|
/// | `fast` | 5 ms | 22 ms | 25 ms |
/// | `standard` | 100 ms | 700 ms | 1 s |
/// | `slow` | 1 s | 8 s | 12 s |
/// | `serial` | 25 ms | 110 ms | 125 ms |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Failover in tens of milliseconds.
    Fast,
    /// Failover in about a second.
    Standard,
    /// Failover in about ten seconds.
    Slow,
    /// What serial lines can carry; every world of it has some.
    Serial,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Fast, Self::Standard, Self::Slow, Self::Serial];

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Standard => "standard",
            Self::Slow => "slow",
            Self::Serial => "serial",
        }
    }

    /// Returns the profile of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.word() == word)
    }

    /// Draws a profile; a third of all have serial lines.
    pub(super) fn draw(random: &mut Random) -> Self {
        random.pick(&[
            Self::Fast,
            Self::Fast,
            Self::Fast,
            Self::Serial,
            Self::Serial,
            Self::Standard,
        ])
    }

    /// Draws what a world is made of.
    pub(super) fn setup(self, random: &mut Random) -> Setup {
        let setup = match self {
            Self::Serial => wired(random),
            Self::Fast | Self::Standard | Self::Slow => {
                let (nodes, witnesses) = random.pick(&SHAPES);
                let guard = random.pick(&[Guard::Address, Guard::Address, Guard::Stop]);
                Setup { links: random.pick(&[1, 2]), guard, ..self.spans(nodes, witnesses) }
            }
        };
        let heartbeat = setup.heartbeat_ms * 1000;
        let failback = random.chance(30).then(|| Duration::from_micros(20 * heartbeat));
        let groups = random.pick(&[1, 1, 2, 3]);
        // Drawn beside the rest, so that seeds mean the same otherwise.
        let (with, apart) = places(groups, &mut random.clone());
        Setup {
            groups,
            with,
            apart,
            failback: failback.map_or(Failback::Off, Failback::After),
            start_us: random.pick(&[1, heartbeat / 50, heartbeat, heartbeat]),
            watchdog_ms: if setup.guard == Guard::Stop { setup.stop_ms / 6 } else { 0 },
            ..setup
        }
    }

    fn spans(self, nodes: u8, witnesses: u8) -> Setup {
        match self {
            Self::Fast | Self::Serial => Setup::fast(nodes, witnesses),
            Self::Standard => Setup::standard(nodes, witnesses),
            Self::Slow => Setup {
                heartbeat_ms: 1000,
                dead_ms: 8000,
                promise_ms: 12_000,
                stop_ms: 2000,
                ..Setup::fast(nodes, witnesses)
            },
        }
    }
}

/// How many servers and witnesses, with the usual shapes more often.
const SHAPES: [(u8, u8); 7] = [(2, 1), (2, 1), (2, 3), (3, 0), (3, 0), (4, 1), (5, 0)];

/// Pairs of groups: one whose place depends on the other, and that other one.
type Pairs = &'static [(u8, u8)];
/// Which group follows which, and which makes way for which.
type Relations = (Vec<(u8, u8)>, Vec<(u8, u8)>);

/// Draws who is where others are, such that two servers have room for everybody.
fn places(groups: u8, random: &mut Random) -> Relations {
    const TWO: [(Pairs, Pairs); 4] =
        [(&[(1, 0)], &[]), (&[(0, 1)], &[]), (&[], &[(1, 0)]), (&[], &[(0, 1)])];
    const THREE: [(Pairs, Pairs); 8] = [
        (&[(1, 0), (2, 1)], &[]),
        (&[(0, 2), (1, 2)], &[]),
        (&[(2, 0)], &[(1, 0)]),
        (&[(1, 0)], &[(2, 0)]),
        (&[(2, 1)], &[(1, 0)]),
        (&[(0, 2)], &[(2, 1)]),
        (&[(2, 1)], &[(0, 1), (0, 2)]),
        (&[], &[(1, 0), (2, 0)]),
    ];
    let (with, apart) = match groups {
        2 if random.chance(50) => random.pick(&TWO),
        3 if random.chance(60) => random.pick(&THREE),
        _ => return (Vec::new(), Vec::new()),
    };
    (with.to_vec(), apart.to_vec())
}

fn wired(random: &mut Random) -> Setup {
    use Wiring::{Dongle, NullModem, Ring};
    let shapes = [
        (2, 1, Dongle),
        (2, 1, Dongle),
        (3, 1, Dongle),
        (3, 0, Ring),
        (4, 1, Ring),
        (2, 1, NullModem),
    ];
    let (nodes, witnesses, wiring) = random.pick(&shapes);
    let is_dongle = wiring == Dongle;
    let guards = [Guard::Address, Guard::Stop, Guard::Fence, Guard::Fence];
    Setup {
        links: if is_dongle { random.pick(&[0, 1, 2]) } else { 1 },
        guard: random.pick(if is_dongle { &guards } else { &guards[..2] }),
        // One in five has a line that cannot carry all that is said.
        baud: random.pick(&[57_600, 460_800, 460_800, 460_800, 1_000_000]),
        witness_error: random.pick(&[10_000, 30_000]),
        ..Setup::wired(nodes, witnesses, wiring)
    }
}
