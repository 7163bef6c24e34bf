//! Beyond what is assumed two servers do answer, and that is told: the promise is not empty.

use lifesign_core::group::Guard;
use lifesign_tests::fault::Fault;
use lifesign_tests::oracle::{Assumption, Rule, Wrong};
use lifesign_tests::story::MS;
use lifesign_tests::world::{Setup, Wiring, World};

/// Plays `faults` on seeds, one after the other with a pause, and returns every verdict.
fn play(setup: &Setup, faults: &[(u64, Fault)]) -> Vec<Wrong> {
    let seeds = 0..20;
    let play = |seed| {
        let mut world = World::running(setup.clone(), seed);
        world.run_for(600 * MS + seed * 317);
        for (millis, fault) in faults {
            world.apply(fault);
            world.run_for(millis * MS);
        }
        world.run_for(3000 * MS);
        assert_eq!(world.wrong(), None, "an assumption was broken: {}", world.told());
        world.verdicts().to_vec()
    };
    seeds.flat_map(play).collect()
}

fn doubled(verdicts: &[Wrong]) -> Vec<Option<Assumption>> {
    let doubled = verdicts.iter().filter(|wrong| wrong.rule == Rule::OneHolder);
    doubled.map(|wrong| wrong.beyond).collect()
}

/// The holder loses everybody just before its clock is what it is.
fn isolated(error_ppm: i32) -> Vec<(u64, Fault)> {
    let mut faults = vec![(0, Fault::ClockRate { host: 0, error_ppm })];
    for other in [1, 16] {
        faults.push((0, Fault::Cut { from: 0, to: other, link: None }));
        faults.push((0, Fault::Cut { from: other, to: 0, link: None }));
    }
    faults
}

#[test]
fn a_clock_that_is_wrong_by_more_than_assumed_lets_two_answer() {
    let setup = Setup::fast(2, 1);
    let doubled = |error| doubled(&play(&setup, &isolated(error)));
    assert_eq!(doubled(-10_000), []);
    let told = doubled(-300_000);
    assert!(!told.is_empty(), "three tenths of its time are as much as a promise has to spare");
    assert!(told.iter().all(|beyond| *beyond == Some(Assumption::ClockRate { host: 0 })));
}

#[test]
fn a_suspended_virtual_machine_may_answer_when_it_resumes() {
    let suspended = [(300, Fault::Suspend { host: 0, span: 200 * MS })];
    let told = doubled(&play(&Setup::fast(2, 1), &suspended));
    assert!(!told.is_empty());
    assert!(told.iter().all(|beyond| *beyond == Some(Assumption::ClocksGoOn { host: 0 })));
    // A machine whose clocks go on knows that its time is over.
    let frozen = [(300, Fault::Freeze { host: 0, span: 200 * MS })];
    assert_eq!(doubled(&play(&Setup::fast(2, 1), &frozen)), []);
}

#[test]
fn a_fence_needs_no_clock() {
    let setup = Setup { guard: Guard::Fence, ..Setup::wired(2, 1, Wiring::Dongle) };
    let suspended = [(3000, Fault::Suspend { host: 0, span: 2000 * MS })];
    assert_eq!(doubled(&play(&setup, &suspended)), []);
    assert_eq!(doubled(&play(&setup, &isolated(-300_000))), []);
    // The same without a fence.
    let setup = Setup { guard: Guard::Address, ..setup };
    assert!(!doubled(&play(&setup, &suspended)).is_empty());
}
