//! The part of memory that outlives a reset: the mark of a fault, and the ring of events.

use core::sync::atomic::{AtomicBool, Ordering};

use lifesign_firmware::events::Ring;

/// A fault that ends a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Fault {
    /// The program has found itself wrong.
    Panic = 1,
    /// The processor has.
    Processor = 2,
    /// The loop did not feed the watchdog.
    Watchdog = 3,
    /// An interrupt came that nobody has asked for.
    Interrupt = 4,
}

/// What lies there. Any bits are one.
#[repr(C)]
struct Kept {
    mark: [u32; 4],
    ring: Ring,
}

unsafe extern "C" {
    static mut _kept_start: Kept;
}

const MAGIC: u32 = u32::from_le_bytes(*b"mark");
const _: () = assert!(size_of::<Kept>() <= 1024, "there is room on every board");

/// Leaves a mark of `fault` for the next start; `place` is a line or an instruction.
pub(crate) fn leave_mark(fault: Fault, place: u32) {
    let kind = fault as u32;
    // SAFETY: the linker's script sets this memory aside and nothing else refers to the mark. The
    // next start reads it, so it is written as it stands.
    unsafe { (&raw mut _kept_start.mark).write_volatile([MAGIC, kind, place, !kind ^ place]) }
}

/// Returns the fault that has ended the last start, if one has, and wipes its mark.
#[must_use]
pub(crate) fn take_mark() -> Option<Fault> {
    // SAFETY: as above; any bits are a mark.
    let [magic, kind, place, check] = unsafe { (&raw const _kept_start.mark).read_volatile() };
    // SAFETY: as above.
    unsafe { (&raw mut _kept_start.mark).write_volatile([0; 4]) }
    let faults = [Fault::Panic, Fault::Processor, Fault::Watchdog, Fault::Interrupt];
    let is_mark = magic == MAGIC && check == !kind ^ place;
    faults.into_iter().find(|fault| is_mark && *fault as u32 == kind)
}

/// Whether somebody has the ring.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Returns the ring of events, empty if power has just come. To be called once.
#[must_use]
pub(crate) fn ring() -> &'static mut Ring {
    if TAKEN.swap(true, Ordering::Relaxed) {
        crate::fault::interrupt();
    }
    // SAFETY: the place alone is named here.
    let place = unsafe { &raw mut _kept_start.ring };
    // SAFETY: any bits are a ring, and nobody else has it.
    let ring = unsafe { &mut *place };
    if !ring.is_whole() {
        ring.clear();
    }
    ring
}
