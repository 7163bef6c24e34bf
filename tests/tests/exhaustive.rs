//! Everything that can happen in small clusters, within limits, tried on the real core.

use lifesign_tests::explore::list;
use lifesign_tests::explore::run::explore;

/// Explores what is quick of the configuration `name`.
fn try_all(name: &str) {
    let configurations = list::all();
    let variants = configurations.into_iter().filter(|configuration| configuration.name == name);
    let mut tried = (0, 0);
    for variant in variants.flat_map(|configuration| configuration.variants) {
        if !variant.is_quick {
            continue;
        }
        let outcome = explore(&variant, true);
        assert!(outcome.is_expected(), "{name}{outcome}");
        let is_moved = outcome.report.moved > 0 || variant.setup.is_always_held;
        assert!(variant.must_break || is_moved, "nothing ever happened: {name}{outcome}");
        tried.0 += u32::from(!variant.must_break);
        tried.1 += u32::from(variant.must_break);
    }
    assert!(tried.0 > 0 && tried.1 > 0, "what must hold says nothing without what must break");
}

#[test]
fn authority_ends_before_any_promise_and_no_later_than_it_must() {
    try_all("lease");
}

#[test]
fn a_witness_supports_one_side_at_a_time() {
    try_all("side");
}

#[test]
fn what_is_given_up_and_claimed_again_is_held_once() {
    try_all("release");
}

#[test]
fn a_disk_is_taken_over_only_from_who_is_silent() {
    try_all("fence");
}

#[test]
fn keys_change_while_the_group_is_held() {
    try_all("keys");
}

#[test]
fn one_of_three_may_forget_everything() {
    try_all("amnesia");
}

#[test]
fn voters_that_start_again_and_again_wait_each_time() {
    try_all("boot-wait");
}
