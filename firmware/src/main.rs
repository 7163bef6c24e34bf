//! The dongle's program: reset, board, and the loop.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(lifesign_stub_tag)]
compile_error!("with tags without cryptography there are simulations alone");

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "registers and interrupts")]
mod board;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the runtime demands it of handlers of faults")]
mod fault;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "memory that outlives a reset")]
mod kept;
#[cfg(target_os = "none")]
mod turn;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    static mut PLACE: turn::Place = turn::Place::new();
    turn::run(PLACE)
}

/// On a host there is no board; the library has the tests.
#[cfg(not(target_os = "none"))]
fn main() {}
