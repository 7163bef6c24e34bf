//! An engine that was written and read again goes on as if nothing had been.

use lifesign_core::engine::Contradiction;
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::GroupId;
use lifesign_core::time::{Duration, Instant};
use lifesign_tests::random::Random;
use lifesign_tests::world::{Server, Setup, World, keyring};

const MS: u64 = 1000;

/// Runs `test` where there is room for many copies of the largest engine.
fn with_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    thread.spawn(test).expect("a thread").join().expect("the test");
}

fn written(engine: &Server) -> Vec<u8> {
    postcard::to_extend(engine, Vec::new()).expect("an engine that can be written")
}

fn read(bytes: &[u8]) -> Option<Result<Box<Server>, Contradiction>> {
    let (engine, rest) = postcard::take_from_bytes::<Server>(bytes).ok()?;
    rest.is_empty().then(|| engine.with_keyring(keyring()).map(Box::new))
}

/// Lets two servers and a witness live through what hurts, and with `is_renewed` puts engines that
/// were written and read in the place of those that run, at random moments.
fn live(seed: u64, is_renewed: bool) -> World {
    let mut world = World::running(Setup::fast(2, 1), seed);
    let mut random = Random::new(seed);
    for round in 0..40 {
        world.run_for(random.below(60 * MS));
        match random.below(9) {
            0 => world.cut(0, 1),
            1 => world.cut(1, 16),
            2 => world.heal(),
            3 => world.crash(u8::from(round % 2 == 0)),
            4 => world.order(0, |engine, now| engine.handle_standby(None, now)),
            5 => world.order(1, |engine, now| engine.handle_takeover(None, now)),
            6 => world.order(0, |engine, now| engine.handle_takeover(None, now)),
            7 => world.pause(0, 20 * MS),
            _ => world.network.loss = 10,
        }
        for number in [0, 1] {
            if !world.is_running(number) {
                world.start(number);
            }
            world.order(number, |engine, _| {
                if is_renewed {
                    let renewed = read(&written(engine)).expect("what was written");
                    *engine = *renewed.expect("an engine as it was");
                }
            });
        }
    }
    world
}

#[test]
fn an_engine_that_was_read_goes_on_like_the_one_that_was_written() {
    with_stack(|| {
        for seed in 0..30 {
            let (plain, renewed) = (live(seed, false), live(seed, true));
            assert_eq!(plain.told(), renewed.told(), "seed {seed}");
            for number in [0, 1] {
                assert!(plain.engine(number) == renewed.engine(number), "seed {seed}, {number}");
                assert!(plain.engine(number).is_some(), "seed {seed}: {number} runs");
            }
        }
    });
}

/// Whatever a damaged state says, the engine refuses it or goes on with it, and never fails.
#[test]
fn a_damaged_state_does_no_harm() {
    with_stack(|| {
        let world = World::running(Setup::fast(2, 1), 3);
        let engine = world.engine(0).expect("a server");
        let bytes = written(engine);
        let (mut refused, mut taken) = (0, 0);
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xff, 0x7f, bytes[at]] {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                match read(&damaged) {
                    Some(Ok(mut engine)) => {
                        taken += 1;
                        exercise(&mut engine);
                    }
                    Some(Err(Contradiction)) | None => refused += 1,
                }
            }
            assert!(read(&bytes[..at]).is_none_or(|engine| engine.is_err()), "cut at {at}");
        }
        assert!(refused > 100 && taken > 100, "{refused} refused, {taken} taken");
    });
}

fn exercise(engine: &mut Server) {
    let mut buffer = [0; MAX_FRAME_LEN];
    let moments =
        [engine.now(), engine.now() + Duration::from_millis(50), Instant::from_micros(u64::MAX)];
    for now in moments {
        engine.check_authority(now);
        engine.handle_timeout(now);
        engine.handle_takeover(None, now);
        let _next = engine.poll_timeout();
        for _ in 0..20 {
            let _event = engine.poll_event();
            let _frame = engine.poll_transmit(now, &mut buffer);
        }
        for group in GroupId::all() {
            let _obstacle = engine.obstacle(group);
            engine.handle_started(group, true, now);
        }
    }
}
