//! What the host's tests try, tried again on the dongle's processor, and what only it can show.
//!
//! `build --test` runs it on the emulated mps2-an385, with one nanosecond for each instruction. Its
//! last story lets the watchdog bite, so the program runs twice.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "registers and interrupts")]
#[expect(dead_code, reason = "the test needs only a part of it")]
#[path = "../src/board.rs"]
mod board;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the runtime demands it of handlers of faults")]
#[path = "../src/fault.rs"]
mod fault;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "memory that outlives a reset")]
#[path = "../src/kept.rs"]
mod kept;
#[cfg(target_os = "none")]
#[path = "bench/processor.rs"]
mod processor;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    processor::run()
}

/// On a host there is nothing to try here.
#[cfg(not(target_os = "none"))]
fn main() {}
