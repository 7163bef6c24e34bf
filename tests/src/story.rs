//! The words in which stories are told: what tests in virtual time say again and again.

use lifesign_core::group::GroupId;

use crate::world::{Micros, World};

/// A millisecond of true time.
pub const MS: Micros = 1000;

/// Returns the first group.
///
/// # Panics
/// Never: there is one.
#[must_use]
pub fn group() -> GroupId {
    GroupId::new(0).expect("the first group")
}

/// Demands that nothing was ever wrong.
///
/// # Panics
/// If something was.
pub fn safe(world: &World) {
    assert_eq!(world.wrong(), None, "{}", world.told());
}

/// Runs for `millis` and demands that `node` holds the first group at the end.
///
/// # Panics
/// If it does not, or if something was wrong.
pub fn expect_holder(world: &mut World, millis: u64, node: Option<u8>) {
    world.run_for(millis * MS);
    safe(world);
    assert_eq!(world.holder(0), node, "{}", world.told());
}
