//! How much time is simulated in an hour of a processor.
//!
//! It prints a figure and demands none, because machines differ:
//! `cargo test --release -p lifesign-tests --test speed -- --ignored --nocapture`, and once more
//! with `RUSTFLAGS="--cfg lifesign_stub_tag"` for frames without cryptography.

use std::time::Instant;

use lifesign_tests::world::{Micros, Setup, World};

const DAY: Micros = 24 * 3600 * 1_000_000;

/// Returns the processor time that this thread has had, in seconds.
fn spent() -> f64 {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock.now().map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

#[test]
#[ignore = "a measurement"]
fn a_processor_simulates_years_in_an_hour() {
    let mut world = World::running(Setup::standard(3, 0), 1);
    let (begun, clock) = (spent(), Instant::now());
    let start = world.now();
    while clock.elapsed().as_secs() < 10 {
        world.run_for(DAY / 24);
        assert_eq!(world.wrong(), None);
    }
    let years = (world.now() - start) as f64 / (365.25 * DAY as f64);
    let hours = (spent() - begun) / 3600.0;
    eprintln!(
        "{:.2} cluster-years a CPU-hour, {:.2} node-years",
        years / hours,
        3.0 * years / hours
    );
}
