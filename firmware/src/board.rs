//! The board: ports, clock, watchdog, reset lines, LEDs and the store, as the loop sees them.
//!
//! Interrupts and the loop share nothing but queues: the interrupt of a port owns its UART and one
//! end of the port's two queues, the loop owns the other ends. Neither ever waits for the other.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use lifesign_core::dongle::Cause;
use lifesign_core::time::{Duration, Instant};
use lifesign_firmware::clock::Clock;
use lifesign_firmware::queue::Queue;
use lifesign_firmware::store::{Area, Medium};

// With paths, because the test on the target includes this file from elsewhere.
#[cfg(feature = "board-mps2-an385")]
#[path = "board/mps2_an385.rs"]
#[expect(clippy::arithmetic_side_effects, reason = "addresses and fields are constants")]
mod mps2_an385;
#[path = "board/register.rs"]
mod register;
#[cfg(feature = "board-stm32f405")]
#[path = "board/stm32f405.rs"]
#[expect(clippy::arithmetic_side_effects, reason = "addresses and fields are constants")]
mod stm32f405;

#[cfg(feature = "board-mps2-an385")]
use mps2_an385 as chip;
#[cfg(feature = "board-stm32f405")]
use stm32f405 as chip;

/// The board's name.
pub(crate) const NAME: &str = chip::NAME;
/// How many ports it has.
pub(crate) const PORTS: usize = chip::PORTS;

/// One entry of the table of interrupts.
pub(crate) type Vector = extern "C" fn();

/// The number of an interrupt of this chip.
#[derive(Clone, Copy, Debug)]
struct Interrupt(u16);

// SAFETY: the boards name the numbers that their manuals give, and these stay the same.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// How many received bytes wait for the loop at most. At 115200 baud
/// this is 22 ms, several times as long as the slowest turn of the loop.
const RX_LEN: usize = 256;
/// How many bytes wait for the UART at most.
const TX_LEN: usize = 64;
/// The loop is woken to send more when there is room for this many bytes.
const TX_ROOM: usize = TX_LEN / 2;
/// The longest sleep; the watchdog waits several times as long.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// The queues of one port. Its interrupt fills the one and empties the other.
struct Port {
    received: Queue<RX_LEN>,
    to_send: Queue<TX_LEN>,
    /// How many bytes were lost, for want of room or of time.
    lost: AtomicU32,
}

static PORT: [Port; PORTS] =
    [const { Port { received: Queue::new(), to_send: Queue::new(), lost: AtomicU32::new(0) } };
        PORTS];

/// Serves the UART of `port`. Only the interrupt of that port calls it.
fn service(port: usize) {
    let Some(Port { received, to_send, lost }) = PORT.get(port) else { return };
    let mut count = 0u32;
    let receive = |byte| count = count.saturating_add((!received.put(byte)).into());
    let is_lost = chip::exchange(port, receive, || to_send.take());
    let count = count.saturating_add(is_lost.into());
    if count > 0 {
        lost.store(lost.load(Ordering::Relaxed).saturating_add(count), Ordering::Relaxed);
    }
}

extern "C" fn unexpected() {
    crate::fault::interrupt();
}

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Vector; chip::INTERRUPTS] = chip::vectors(unexpected);

/// The timer that ends a sleep has nothing else to do.
#[exception]
fn SysTick() {}

/// The board, as the loop sees it.
pub(crate) struct Board {
    clock: Clock,
    timer: SYST,
    fed: Instant,
}

impl core::fmt::Debug for Board {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(NAME)
    }
}

#[expect(clippy::needless_pass_by_ref_mut, reason = "what they change is not in memory")]
impl Board {
    /// Makes the reset lines inactive, then starts clock, watchdog and ports.
    pub(crate) fn start(mut timer: SYST) -> Self {
        chip::start();
        timer.set_clock_source(SystClkSource::Core);
        (0..PORTS).for_each(chip::start_port);
        Self { clock: Clock::new(chip::counter()), timer, fed: Instant::ZERO }
    }

    /// Returns the time since the start.
    pub(crate) fn now(&mut self) -> Instant {
        self.clock.read(chip::counter())
    }

    /// Moves what port `port` has received to `into`, as much as fits, and returns how many bytes.
    pub(crate) fn receive(&mut self, port: usize, into: &mut [u8]) -> usize {
        let Some(port) = PORT.get(port) else { return 0 };
        let received = core::iter::from_fn(|| port.received.take());
        let mut count = 0usize;
        // The place comes first: a byte is taken only if there is one.
        for (place, byte) in into.iter_mut().zip(received) {
            *place = byte;
            count = count.saturating_add(1);
        }
        count
    }

    /// Takes as many of `bytes` as fit into the queue of port `port`, and returns how many.
    pub(crate) fn transmit(&mut self, port: usize, bytes: &[u8]) -> usize {
        let Some(at) = PORT.get(port) else { return 0 };
        let mut count = 0usize;
        for _byte in bytes.iter().take_while(|byte| at.to_send.put(**byte)) {
            count = count.saturating_add(1);
        }
        if count > 0 {
            chip::pend(port);
        }
        count
    }

    /// Returns how many bytes were lost at port `port`.
    #[must_use]
    pub(crate) fn lost(&self, port: usize) -> u32 {
        PORT.get(port).map_or(0, |port| port.lost.load(Ordering::Relaxed))
    }

    /// Makes exactly the reset lines `lines` active, one bit for each port.
    pub(crate) fn set_lines(&mut self, lines: u8) {
        if chip::lines() != lines {
            chip::set_lines(lines);
        }
    }

    /// Returns which reset lines are active, read back from the pins.
    #[must_use]
    pub(crate) fn lines(&self) -> u8 {
        chip::lines()
    }

    /// Lights exactly the LEDs `leds`.
    pub(crate) fn set_leds(&mut self, leds: u8) {
        chip::set_leds(leds);
    }

    /// Returns whether somebody who can touch the board unlocks it.
    #[must_use]
    pub(crate) fn is_unlocked(&self) -> bool {
        chip::is_unlocked()
    }

    /// Feeds the watchdog, but only if time has gone on since it was last fed: a board whose clock
    /// stands still keeps no promise.
    pub(crate) fn feed(&mut self, now: Instant) {
        if now > self.fed {
            self.fed = now;
            chip::feed();
        }
    }

    /// Sleeps until `until`, until a byte comes, or until a port of `sending`, one bit each, has
    /// room for more.
    pub(crate) fn sleep(&mut self, until: Instant, sending: u8) {
        let began = self.now();
        let until = until.min(began + LONGEST_SLEEP);
        loop {
            let left = until.since(self.now());
            if left == Duration::ZERO {
                return;
            }
            // Interrupts wait from here to the end of the sleep, and end it: one that comes after
            // the look at the queues is not slept through.
            cortex_m::interrupt::disable();
            let is_due = is_due(sending);
            if !is_due {
                self.arm(left);
                cortex_m::asm::dsb();
                cortex_m::asm::wfi();
                self.timer.disable_counter();
            }
            // SAFETY: the loop runs with interrupts enabled, and no critical section surrounds it.
            unsafe { cortex_m::interrupt::enable() };
            if is_due {
                return;
            }
        }
    }

    /// Sets the timer that ends a sleep. Nobody counts its interrupts: under an emulator, or a
    /// debugger, some are lost.
    fn arm(&mut self, left: Duration) {
        let micros = u32::try_from(left.as_micros()).unwrap_or(u32::MAX).min(100_000);
        let ticks = micros.saturating_mul(chip::CLOCK_KHZ / 1000);
        self.timer.set_reload(ticks.clamp(1, 0x00ff_ffff));
        self.timer.clear_current();
        self.timer.enable_interrupt();
        self.timer.enable_counter();
    }
}

/// Returns whether a byte has come, or a port of `sending` has room for more.
fn is_due(sending: u8) -> bool {
    let mut bit = 1u8;
    PORT.iter().any(|port| {
        let is_sending = sending & bit != 0;
        bit = bit.wrapping_shl(1);
        !port.received.is_empty() || (is_sending && port.to_send.room() >= TX_ROOM)
    })
}

/// Sets the hardware's counter, which only a test does.
#[cfg_attr(not(test), expect(dead_code, reason = "for the test on the target"))]
pub(crate) fn set_counter(count: u32) {
    chip::set_counter(count);
}

/// Returns a count that goes down with time, for a test.
#[cfg_attr(not(test), expect(dead_code, reason = "for the test on the target"))]
pub(crate) fn ticks() -> u32 {
    chip::ticks()
}

/// Makes all reset lines inactive, whatever else is wrong.
pub(crate) fn release_lines() {
    chip::set_lines(0);
}

/// Returns what has reset the chip, and forgets it.
#[must_use]
pub(crate) fn cause() -> Cause {
    chip::cause()
}

/// Returns bits that differ from board to board and from start to start, as far as there are any.
#[must_use]
pub(crate) fn seed() -> u64 {
    chip::seed()
}

/// The store of this board.
#[derive(Debug)]
pub(crate) struct Flash;

impl Medium for Flash {
    fn area_len(&self) -> usize {
        chip::AREA_LEN
    }

    fn read(&self, area: Area, offset: usize) -> u32 {
        if offset > chip::AREA_LEN.saturating_sub(4) || !offset.is_multiple_of(4) {
            return u32::MAX;
        }
        let place =
            core::ptr::with_exposed_provenance::<u32>(chip::area(area).wrapping_add(offset));
        // SAFETY: this lies within the area, aligned, and only `program` and `erase` change it.
        unsafe { place.read_volatile() }
    }

    fn erase(&mut self, area: Area) {
        chip::erase(area);
    }

    fn program(&mut self, area: Area, offset: usize, word: u32) {
        if offset <= chip::AREA_LEN.saturating_sub(4) && offset.is_multiple_of(4) {
            chip::program(area, offset, word);
        }
    }
}
