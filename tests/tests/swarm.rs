//! Many seeds, each with a random choice of faults; then everything heals and must come together
//! again.
//!
//! `LIFESIGN_SEEDS` sets how many seeds run, `LIFESIGN_SEED` is the first; alone it is the only
//! one.

use std::sync::atomic::{AtomicU64, Ordering};

use lifesign_core::group::{Failback, Guard};
use lifesign_core::time::Duration;
use lifesign_tests::random::Random;
use lifesign_tests::world::{Setup, World};

const MS: u64 = 1000;

/// Which faults a seed switches on.
struct Faults {
    loss: bool,
    jitter: bool,
    duplicates: bool,
    cuts: bool,
    kills: bool,
    pauses: bool,
    orders: bool,
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        let mut flag = || random.chance(50);
        Self {
            loss: flag(),
            jitter: flag(),
            duplicates: flag(),
            cuts: flag(),
            kills: flag(),
            pauses: flag(),
            orders: flag(),
        }
    }
}

fn setup(random: &mut Random) -> Setup {
    let (nodes, witnesses) = random.pick(&[(2, 1), (2, 1), (2, 3), (3, 0), (4, 1), (5, 0)]);
    let failback =
        if random.chance(30) { Failback::After(Duration::from_millis(100)) } else { Failback::Off };
    let groups = random.pick(&[1, 2, 3]);
    let start_us = random.pick(&[1, 100, 5000]);
    let guard = random.pick(&[Guard::Address, Guard::Address, Guard::Stop]);
    Setup {
        groups,
        links: random.pick(&[1, 2]),
        failback,
        guard,
        start_us,
        ..Setup::fast(nodes, witnesses)
    }
}

fn disturb(world: &mut World, faults: &Faults, random: &mut Random) {
    let numbers = world.numbers();
    let one = random.pick(&numbers);
    let other = random.pick(&numbers);
    match random.below(12) {
        0 if faults.loss => world.network.loss = random.below(60),
        1 if faults.jitter => {
            world.network.jitter = random.pick(&[100, 2000, 20_000, 100_000]);
        }
        2 if faults.duplicates => world.network.duplicates = random.below(50),
        3 | 4 if faults.cuts && one != other => world.cut(one, other),
        5 if faults.cuts => {
            world.network.cuts.insert((one, other, random.pick(&[0, 1])));
        }
        6 if faults.cuts => world.network.cuts.clear(),
        7 if faults.kills => world.kill(one),
        8 if faults.kills => {
            world.crash(one);
            world.start(one);
        }
        9 | 10 if faults.pauses => world.pause(one, random.below(60 * MS)),
        11 if faults.orders => match random.below(3) {
            0 => world.order(one, |engine, now| engine.handle_takeover(None, now)),
            1 => world.order(one, |engine, now| engine.handle_standby(None, now)),
            _ => world.order(one, |engine, now| engine.handle_leave(now)),
        },
        _ => {}
    }
}

/// Runs one seed and says what went wrong, if anything.
fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let faults = Faults::draw(&mut random);
    let setup = setup(&mut random);
    let groups = setup.groups;
    let mut world = World::new(setup, seed);
    for number in world.numbers() {
        world.start(number);
    }
    for _ in 0..60 {
        world.run_for(random.below(40 * MS));
        disturb(&mut world, &faults, &mut random);
        if let Some(wrong) = world.wrong() {
            return Err(format!("{wrong}{}", world.told()));
        }
    }
    world.heal();
    for number in world.numbers() {
        let gone = world.engine(number).is_none_or(lifesign_core::engine::Engine::is_leaving);
        if gone && world.witness(number).is_none() {
            world.crash(number);
            world.start(number);
        }
        // Standby is an order, not a fault: it is taken back, without asking for anything.
        world.order(number, |engine, now| {
            if engine.is_standby() {
                engine.handle_takeover(None, now);
            }
        });
    }
    world.run_for(3000 * MS);
    if let Some(wrong) = world.wrong() {
        return Err(format!("{wrong}{}", world.told()));
    }
    match (0..groups).find(|group| world.holder(*group).is_none()) {
        Some(group) => Err(format!("group {group} is not held after healing{}", world.told())),
        None => Ok(()),
    }
}

#[test]
fn whatever_breaks_no_two_servers_answer_and_healing_brings_one_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("LIFESIGN_SEED") {
        Some(seed) => seed..seed.saturating_add(number("LIFESIGN_SEEDS").unwrap_or(1)),
        None => 0..number("LIFESIGN_SEEDS").unwrap_or(100),
    };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        while let Some(seed) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end)
        {
            if let Err(wrong) = run(seed) {
                // Nobody begins another seed: one failure is enough.
                next.store(seeds.end, Ordering::Relaxed);
                panic!("seed {seed}: {wrong}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
}
