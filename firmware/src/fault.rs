//! What is left of a fault: the reset lines let go, and a mark for the next start.

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};

use crate::board;
use crate::kept;

/// Lets go of the reset lines, leaves a mark, and starts anew.
fn die(fault: kept::Fault, place: u32) -> ! {
    board::release_lines();
    kept::leave_mark(fault, place);
    SCB::sys_reset()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die(kept::Fault::Panic, info.location().map_or(0, core::panic::Location::line))
}

/// A fault of the processor: the mark tells the instruction.
// SAFETY: it changes nothing that the program could find half changed, for there is no way back.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    die(kept::Fault::Processor, frame.pc())
}

/// The watchdog's first bite, where it has one: the next is a reset, which this does not wait for.
// SAFETY: as above.
#[exception]
unsafe fn NonMaskableInt() -> ! {
    die(kept::Fault::Watchdog, 0)
}

/// An interrupt that nobody has asked for.
pub(crate) fn interrupt() -> ! {
    die(kept::Fault::Interrupt, 0)
}
