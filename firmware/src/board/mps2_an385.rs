//! The emulated board: `qemu-system-arm -M mps2-an385`, a Cortex-M3 at 25 MHz.
//!
//! Five UARTs are the ports. The eight LEDs of the system controller are the reset lines, one for
//! each port, so that `-trace led_change_intensity` tells each change (`SCC LED0` is the line of
//! port 0); the board's own two LEDs are the first two LEDs of the dongle. What a real board keeps
//! in flash is kept in the third memory, which the program's file has no part in and a reset of the
//! machine leaves alone.
//!
//! There is no button that a test could press: the word at [`UNLOCK`] unlocks the dongle if it
//! holds `LOCK` in ASCII (`0x4b434f4c`), say by `-device loader,addr=0x21000ffc,data=0x4b434f4c,
//! data-len=4`.

use cortex_m::peripheral::NVIC;
use lifesign_core::dongle::Cause;

use super::register::Register;
use super::{Area, Interrupt, Vector, service};

/// The board's name.
pub(super) const NAME: &str = "mps2-an385";
/// How many ports there are.
pub(super) const PORTS: usize = 5;
/// The processor's clock, in kHz, which the timer that ends a sleep counts.
pub(super) const CLOCK_KHZ: u32 = 25_000;
/// How many interrupts the table has.
pub(super) const INTERRUPTS: usize = 22;
/// The length of each of the two areas of the store, in bytes.
pub(super) const AREA_LEN: usize = 4096;

/// Where the dongle is unlocked, see above.
const UNLOCK: usize = 0x2100_0ffc;
const UNLOCKED: u32 = 0x4b43_4f4c;
/// Where the store begins.
const STORE: usize = 0x2100_1000;

/// The clock of the peripherals, in Hz.
const PERIPHERAL_HZ: u32 = 25_000_000;
const BAUD: u32 = 115_200;

/// One UART (Arm Cortex-M System Design Kit, APB UART).
struct Uart {
    data: Register,
    state: Register,
    control: Register,
    pending: Register,
    divider: Register,
    /// Its receive interrupt; the transmit interrupt is the next.
    interrupt: u16,
}

impl Uart {
    const fn at(address: usize, interrupt: u16) -> Self {
        Self {
            data: register(address),
            state: register(address + 4),
            control: register(address + 8),
            pending: register(address + 12),
            divider: register(address + 16),
            interrupt,
        }
    }
}

static UARTS: [Uart; PORTS] = [
    Uart::at(0x4000_4000, 0),
    Uart::at(0x4000_5000, 2),
    Uart::at(0x4000_6000, 4),
    Uart::at(0x4000_7000, 18),
    Uart::at(0x4000_9000, 20),
];

const TX_FULL: u32 = 1 << 0;
const RX_FULL: u32 = 1 << 1;
const RX_OVERRUN: u32 = 1 << 3;
/// Transmitter, receiver and both their interrupts.
const ENABLED: u32 = 0b1111;
const BOTH_INTERRUPTS: u32 = 0b11;

/// Returns the register at `address`, which is one that the manuals of the board (AN385) and of the
/// system design kit name.
const fn register(address: usize) -> Register {
    // SAFETY: this is called in constants of this file alone, for the UARTs, the watchdog, the
    // system controller and the block of LEDs and counters, none of which writes memory.
    unsafe { Register::at(address) }
}

const TIMER_CONTROL: Register = register(0x4000_0000);
const TIMER_VALUE: Register = register(0x4000_0004);
const TIMER_RELOAD: Register = register(0x4000_0008);
const WATCHDOG_LOAD: Register = register(0x4000_8000);
const WATCHDOG_CONTROL: Register = register(0x4000_8008);
const WATCHDOG_FEED: Register = register(0x4000_800c);
const WATCHDOG_LOCK: Register = register(0x4000_8c00);
const LINES: Register = register(0x4002_f004);
const LEDS: Register = register(0x4002_8000);
const COUNTER: Register = register(0x4002_8018);
const PRESCALE: Register = register(0x4002_801c);

const WATCHDOG_UNLOCK: u32 = 0x1acc_e551;
/// Half a second until the watchdog interrupts, and as much again until it resets.
const WATCHDOG_TICKS: u32 = PERIPHERAL_HZ / 2;

/// Makes the reset lines inactive and starts the clock and the watchdog.
pub(super) fn start() {
    set_lines(0);
    PRESCALE.write(PERIPHERAL_HZ / 1_000_000 - 1);
    COUNTER.write(0);
    WATCHDOG_LOCK.write(WATCHDOG_UNLOCK);
    WATCHDOG_LOAD.write(WATCHDOG_TICKS);
    WATCHDOG_CONTROL.write(BOTH_INTERRUPTS);
    WATCHDOG_LOCK.write(0);
}

/// Starts port `port`: from here on its interrupts call [`service`].
pub(super) fn start_port(port: usize) {
    let Some(uart) = UARTS.get(port) else { return };
    uart.divider.write(PERIPHERAL_HZ / BAUD);
    uart.control.write(ENABLED);
    uart.pending.write(BOTH_INTERRUPTS);
    for line in [uart.interrupt, uart.interrupt + 1] {
        // SAFETY: unmasking cannot break a critical section here, for the loop has none yet, and
        // the handlers stand in `VECTORS`.
        unsafe { NVIC::unmask(Interrupt(line)) };
    }
}

/// Calls the interrupt of port `port`, so that it begins to send.
pub(super) fn pend(port: usize) {
    if let Some(uart) = UARTS.get(port) {
        NVIC::pend(Interrupt(uart.interrupt));
    }
}

/// Serves the UART of `port`: what came goes to `receive`, what is to go comes from `send`.
/// Returns whether a byte was lost in the UART.
pub(super) fn exchange(
    port: usize,
    mut receive: impl FnMut(u8),
    mut send: impl FnMut() -> Option<u8>,
) -> bool {
    let Some(uart) = UARTS.get(port) else { return false };
    // First of all: what comes after the last look below must interrupt again.
    uart.pending.write(BOTH_INTERRUPTS);
    let lost = uart.state.read() & RX_OVERRUN != 0;
    if lost {
        uart.state.write(RX_OVERRUN);
    }
    while uart.state.read() & RX_FULL != 0 {
        let [byte, ..] = uart.data.read().to_le_bytes();
        receive(byte);
    }
    while uart.state.read() & TX_FULL == 0 {
        let Some(byte) = send() else { break };
        uart.data.write(u32::from(byte));
    }
    lost
}

/// Returns the microseconds since the start, in 32 bits.
pub(super) fn counter() -> u32 {
    COUNTER.read()
}

/// Sets the counter, which only a test does.
pub(super) fn set_counter(count: u32) {
    COUNTER.write(count);
}

/// Returns a count that goes down with every tick of the processor's clock, for a test.
pub(super) fn ticks() -> u32 {
    if TIMER_CONTROL.read() == 0 {
        TIMER_RELOAD.write(u32::MAX);
        TIMER_VALUE.write(u32::MAX);
        TIMER_CONTROL.write(1);
    }
    TIMER_VALUE.read()
}

/// Tells the watchdog that all is well.
pub(super) fn feed() {
    WATCHDOG_LOCK.write(WATCHDOG_UNLOCK);
    WATCHDOG_FEED.write(1);
    WATCHDOG_LOCK.write(0);
}

/// Returns what has reset the machine. The emulator does not say.
pub(super) fn cause() -> Cause {
    Cause::Unknown
}

/// Makes exactly the reset lines `lines` active, one bit for each port.
pub(super) fn set_lines(lines: u8) {
    LINES.write(u32::from(lines));
}

/// Returns which reset lines are active.
pub(super) fn lines() -> u8 {
    let [lines, ..] = LINES.read().to_le_bytes();
    lines
}

/// Lights exactly the LEDs `leds`, one bit each.
pub(super) fn set_leds(leds: u8) {
    LEDS.write(u32::from(leds & 0b11));
}

/// Returns whether somebody who can touch the board unlocks it.
pub(super) fn is_unlocked() -> bool {
    let word = core::ptr::with_exposed_provenance::<u32>(UNLOCK);
    // SAFETY: the third memory lies there, and nothing in it is known to Rust.
    unsafe { word.read_volatile() == UNLOCKED }
}

/// Returns bits that differ from board to board and from start to start, as far as there are any.
pub(super) fn seed() -> u64 {
    u64::from(COUNTER.read())
}

/// Returns where `area` of the store begins.
pub(super) fn area(area: Area) -> usize {
    match area {
        Area::First => STORE,
        Area::Second => STORE + AREA_LEN,
    }
}

/// Erases `area` of the store.
pub(super) fn erase(area: Area) {
    for offset in (0..AREA_LEN).step_by(4) {
        program(area, offset, u32::MAX);
    }
}

/// Writes one word of `area` of the store.
pub(super) fn program(area: Area, offset: usize, word: u32) {
    let place = core::ptr::with_exposed_provenance_mut::<u32>(self::area(area) + offset);
    // SAFETY: the caller stays within the area, which lies in the third memory, and nothing in it
    // is known to Rust.
    unsafe { place.write_volatile(word) }
}

extern "C" fn port_0() {
    service(0);
}

extern "C" fn port_1() {
    service(1);
}

extern "C" fn port_2() {
    service(2);
}

extern "C" fn port_3() {
    service(3);
}

extern "C" fn port_4() {
    service(4);
}

/// Returns the table of interrupts: two for each UART.
pub(super) const fn vectors(none: Vector) -> [Vector; INTERRUPTS] {
    let mut table = [none; INTERRUPTS];
    [table[0], table[1]] = [port_0 as Vector; 2];
    [table[2], table[3]] = [port_1 as Vector; 2];
    [table[4], table[5]] = [port_2 as Vector; 2];
    [table[18], table[19]] = [port_3 as Vector; 2];
    [table[20], table[21]] = [port_4 as Vector; 2];
    table
}
