//! The dongle.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod clock;
pub mod dongle;
pub mod events;
pub mod lights;
pub mod queue;
pub mod store;

use lifesign_core::stream::line_len;

/// The version of this firmware: major, minor, patch.
pub const VERSION: [u8; 3] = [0, 1, 0];

/// The longest frame that a [`Small`] dongle takes and passes on.
const SMALL_FRAME: usize = 320;
/// The longest frame there is.
const LARGE_FRAME: usize = lifesign_core::frame::MAX_FRAME_LEN;

/// A dongle for a small chip.
pub type Small<'r, const PORTS: usize, const SLOTS: usize> = dongle::Dongle<
    'r,
    PORTS,
    4,
    6,
    8,
    SLOTS,
    { line_len(SMALL_FRAME) },
    { line_len(SMALL_FRAME) - 2 },
>;

/// A dongle with room for the largest cluster.
pub type Large<'r, const PORTS: usize, const SLOTS: usize> = dongle::Dongle<
    'r,
    PORTS,
    16,
    18,
    32,
    SLOTS,
    { line_len(LARGE_FRAME) },
    { line_len(LARGE_FRAME) - 2 },
>;
