//! The core linked without the standard library and without an allocator.
//!
//! That this builds is the proof. It brings a panic handler of its own, so the standard library
//! anywhere below would be a second one, and no allocator, so any use of one would go unanswered.
#![no_std]

use core::panic::PanicInfo;

use lifesign_core::engine::Engine;
use lifesign_core::witness::Witness;

/// Returns what an engine and a witness take of memory, in bytes; all of it is known beforehand.
#[must_use]
pub const fn footprint() -> (usize, usize) {
    (size_of::<Engine>(), size_of::<Witness>())
}

#[panic_handler]
fn halt(_: &PanicInfo<'_>) -> ! {
    loop {}
}
