//! STM32F405 boards, and the same program under `qemu-system-arm -M netduinoplus2`.
//!
//! | pins | what |
//! |---|---|
//! | PA9, PA10 | port 0: USART1, transmit and receive |
//! | PA2, PA3 | port 1: USART2, transmit and receive |
//! | PB10, PB11 | port 2: USART3, transmit and receive |
//! | PB13, PB14, PB15 | reset lines of ports 0, 1 and 2: open drain, pulled low while active |
//! | PC12, PC11, PC10 | LEDs, lit while low |
//! | PA0 | high unlocks; pulled low inside |
//!
//! The chip runs from its internal oscillator at 16 MHz, so the program needs to know nothing of a
//! board's crystal: it is right to 1 % at room temperature and to 4 % from -10 to 85 degrees.
//!
//! The emulator has neither pins nor clocks nor flash registers, and counts faster. It is told from
//! the chip by the clock's register, which can never read as zero on silicon. There the store lies
//! in the upper memory, and lines read back as they were set.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cortex_m::peripheral::NVIC;
use lifesign_core::dongle::Cause;

use super::register::Register;
use super::{Interrupt, Vector, service};

#[path = "stm32f405/flash.rs"]
mod flash;

pub(super) use flash::{AREA_LEN, area, erase, program};

/// The board's name.
pub(super) const NAME: &str = "stm32f405";
/// How many ports there are.
pub(super) const PORTS: usize = 3;
/// The processor's clock, in kHz, which the timer that ends a sleep counts. The emulator's is ten
/// times faster, so there sleep ends early, which costs one more look.
pub(super) const CLOCK_KHZ: u32 = 16_000;
/// How many interrupts the table has.
pub(super) const INTERRUPTS: usize = 40;
/// Where the dongle is unlocked under the emulator, and by what word.
const EMULATED_UNLOCK: usize = 0x2001_fffc;
const UNLOCKED: u32 = 0x4b43_4f4c;

const HZ: u32 = 16_000_000;
const EMULATED_TIMER_HZ: u32 = 1_000_000_000;
const BAUD: u32 = 115_200;

/// Returns the register at `address`, which is one that the manual of the chip (RM0090) names.
const fn register(address: usize) -> Register {
    // SAFETY: this is called in constants of this file alone, for clocks, pins, USARTs, timer,
    // watchdog, flash control and the chip's number, none of which writes memory.
    unsafe { Register::at(address) }
}

const RCC_CR: Register = register(0x4002_3800);
const RCC_AHB1ENR: Register = register(0x4002_3830);
const RCC_APB1ENR: Register = register(0x4002_3840);
const RCC_APB2ENR: Register = register(0x4002_3844);
const RCC_CSR: Register = register(0x4002_3874);
const IWDG_KEY: Register = register(0x4000_3000);
const IWDG_PRESCALE: Register = register(0x4000_3004);
const IWDG_RELOAD: Register = register(0x4000_3008);
const TIMER_CONTROL: Register = register(0x4000_0000);
const TIMER_EVENT: Register = register(0x4000_0014);
const TIMER_COUNT: Register = register(0x4000_0024);
const TIMER_PRESCALE: Register = register(0x4000_0028);
const TIMER_RELOAD: Register = register(0x4000_002c);
const CHIP_NUMBER: [Register; 3] =
    [register(0x1fff_7a10), register(0x1fff_7a14), register(0x1fff_7a18)];

/// The registers of a bank of 16 pins.
struct Bank {
    mode: Register,
    is_open_drain: Register,
    pull: Register,
    input: Register,
    set: Register,
    alternate_low: Register,
    alternate_high: Register,
}

impl Bank {
    const fn at(address: usize) -> Self {
        Self {
            mode: register(address),
            is_open_drain: register(address + 0x04),
            pull: register(address + 0x0c),
            input: register(address + 0x10),
            set: register(address + 0x18),
            alternate_low: register(address + 0x20),
            alternate_high: register(address + 0x24),
        }
    }
}

const A: Bank = Bank::at(0x4002_0000);
const B: Bank = Bank::at(0x4002_0400);
const C: Bank = Bank::at(0x4002_0800);

/// One USART.
struct Uart {
    status: Register,
    data: Register,
    divider: Register,
    control: Register,
    interrupt: u16,
}

impl Uart {
    const fn at(address: usize, interrupt: u16) -> Self {
        Self {
            status: register(address),
            data: register(address + 4),
            divider: register(address + 8),
            control: register(address + 12),
            interrupt,
        }
    }
}

static UARTS: [Uart; PORTS] =
    [Uart::at(0x4001_1000, 37), Uart::at(0x4000_4400, 38), Uart::at(0x4000_4800, 39)];

const RX_FULL: u32 = 1 << 5;
const TX_EMPTY: u32 = 1 << 7;
const RX_OVERRUN: u32 = 1 << 3;
/// USART, transmitter, receiver and the receiver's interrupt.
const ENABLED: u32 = 1 << 13 | 1 << 3 | 1 << 2 | 1 << 5;
/// The interrupt of an empty transmitter.
const TX_INTERRUPT: u32 = 1 << 7;

/// The first reset line's pin in bank B.
const FIRST_LINE: u32 = 13;
/// The pins of the LEDs in bank C.
const LED_PINS: [u32; 3] = [12, 11, 10];

/// The reset lines as they were set last.
static COMMANDED: AtomicU8 = AtomicU8::new(0);

/// Whether this is the emulator, once [`start`] has looked.
static EMULATED: AtomicBool = AtomicBool::new(false);

fn is_emulated() -> bool {
    EMULATED.load(Ordering::Relaxed)
}

/// Makes the reset lines inactive and starts the clock and the watchdog.
pub(super) fn start() {
    RCC_AHB1ENR.change(0, 0b111);
    set_lines(0);
    // On silicon the oscillator that the chip started with is on and ready.
    EMULATED.store(RCC_CR.read() & 0b11 == 0, Ordering::Relaxed);
    set_leds(0);
    start_pins();
    RCC_APB1ENR.change(0, 1 << 0 | 1 << 17 | 1 << 18);
    RCC_APB2ENR.change(0, 1 << 4);
    let hz = if is_emulated() { EMULATED_TIMER_HZ } else { HZ };
    TIMER_PRESCALE.write(hz / 1_000_000 - 1);
    TIMER_RELOAD.write(u32::MAX);
    // The prescaler is taken over at an update, which this asks for.
    TIMER_EVENT.write(1);
    TIMER_CONTROL.write(1);
    // The watchdog's own oscillator has 32 kHz, or anything from 17 to 47: it bites after 1.4 to
    // 3.8 seconds. Erasing a sector takes up to 1.1.
    IWDG_KEY.write(0xcccc);
    IWDG_KEY.write(0x5555);
    IWDG_PRESCALE.write(3);
    IWDG_RELOAD.write(2000);
    IWDG_KEY.write(0xaaaa);
}

/// Sets up the pins. Those of the reset lines were let go before they become outputs.
fn start_pins() {
    let field = |pin: u32, width: u32, value: u32| value << (pin * width);
    let (input, output, alternate) = (0, 1, 2);
    let modes = |pins: &[(u32, u32)]| {
        pins.iter().fold((0, 0), |(clear, set), (pin, mode)| {
            (clear | field(*pin, 2, 3), set | field(*pin, 2, *mode))
        })
    };
    // USART1 and USART2 are function 7 of their pins, and so is USART3 of its.
    A.alternate_low.change(field(2, 4, 15) | field(3, 4, 15), field(2, 4, 7) | field(3, 4, 7));
    A.alternate_high.change(field(1, 4, 15) | field(2, 4, 15), field(1, 4, 7) | field(2, 4, 7));
    B.alternate_high.change(field(2, 4, 15) | field(3, 4, 15), field(2, 4, 7) | field(3, 4, 7));
    // The receivers are pulled up, so that an open line is silence; the unlocking pin down.
    let (up, down) = (1, 2);
    let (clear, set) = modes(&[(3, up), (10, up), (0, down)]);
    A.pull.change(clear, set);
    let (clear, set) = modes(&[(11, up)]);
    B.pull.change(clear, set);
    B.is_open_drain.change(0, 0b111 << FIRST_LINE);
    let (clear, set) =
        modes(&[(0, input), (2, alternate), (3, alternate), (9, alternate), (10, alternate)]);
    A.mode.change(clear, set);
    let (clear, set) =
        modes(&[(10, alternate), (11, alternate), (13, output), (14, output), (15, output)]);
    B.mode.change(clear, set);
    let (clear, set) = modes(&LED_PINS.map(|pin| (pin, output)));
    C.mode.change(clear, set);
}

/// Starts port `port`: from here on its interrupts call [`service`].
pub(super) fn start_port(port: usize) {
    let Some(uart) = UARTS.get(port) else { return };
    uart.divider.write((HZ + BAUD / 2) / BAUD);
    uart.control.write(ENABLED);
    // SAFETY: unmasking cannot break a critical section here, for the loop has none yet, and the
    // handler stands in `VECTORS`.
    unsafe { NVIC::unmask(Interrupt(uart.interrupt)) };
}

/// Calls the interrupt of port `port`, so that it begins to send.
pub(super) fn pend(port: usize) {
    if let Some(uart) = UARTS.get(port) {
        NVIC::pend(Interrupt(uart.interrupt));
    }
}

/// Serves the USART of `port`: what came goes to `receive`, what is to go comes from `send`.
/// Returns whether a byte was lost in the USART.
pub(super) fn exchange(
    port: usize,
    mut receive: impl FnMut(u8),
    mut send: impl FnMut() -> Option<u8>,
) -> bool {
    let Some(uart) = UARTS.get(port) else { return false };
    let mut lost = false;
    let mut status = uart.status.read();
    while status & (RX_FULL | RX_OVERRUN) != 0 {
        // Reading the status and then the data clears both conditions.
        let [byte, ..] = uart.data.read().to_le_bytes();
        if status & RX_FULL != 0 {
            receive(byte);
        }
        lost |= status & RX_OVERRUN != 0;
        status = uart.status.read();
    }
    let mut is_more = true;
    while is_more && uart.status.read() & TX_EMPTY != 0 {
        match send() {
            Some(byte) => uart.data.write(u32::from(byte)),
            None => is_more = false,
        }
    }
    uart.control.write(if is_more { ENABLED | TX_INTERRUPT } else { ENABLED });
    lost
}

/// Returns the microseconds since the start, in 32 bits.
pub(super) fn counter() -> u32 {
    TIMER_COUNT.read()
}

/// Sets the counter, which only a test does.
pub(super) fn set_counter(count: u32) {
    TIMER_COUNT.write(count);
}

/// Returns a count that goes down with time, for a test.
pub(super) fn ticks() -> u32 {
    !TIMER_COUNT.read()
}

/// Tells the watchdog that all is well.
pub(super) fn feed() {
    IWDG_KEY.write(0xaaaa);
}

/// Returns what has reset the chip, and forgets it.
pub(super) fn cause() -> Cause {
    let flags = RCC_CSR.read();
    RCC_CSR.change(0, 1 << 24);
    let has = |bit: u32| flags & 1 << bit != 0;
    match () {
        () if has(29) => Cause::Watchdog,
        () if has(28) => Cause::Software,
        () if has(27) => Cause::Power,
        () if has(25) => Cause::BrownOut,
        () if has(26) => Cause::Pin,
        () => Cause::Unknown,
    }
}

/// Makes exactly the reset lines `lines` active, one bit for each port.
pub(super) fn set_lines(lines: u8) {
    COMMANDED.store(lines, Ordering::Relaxed);
    let (active, all) = (u32::from(lines) & 0b111, 0b111);
    // The upper half clears, which pulls a line low.
    B.set.write((all & !active) << FIRST_LINE | active << (FIRST_LINE + 16));
}

/// Returns which reset lines are active, as the pins say.
pub(super) fn lines() -> u8 {
    if is_emulated() {
        return COMMANDED.load(Ordering::Relaxed);
    }
    let [lines, ..] = (!B.input.read() >> FIRST_LINE & 0b111).to_le_bytes();
    lines
}

/// Lights exactly the LEDs `leds`, one bit each.
pub(super) fn set_leds(leds: u8) {
    let words = (0..).zip(LED_PINS).map(|(led, pin)| {
        let is_lit = u32::from(leds) >> led & 1 == 1;
        if is_lit { 1 << (pin + 16) } else { 1 << pin }
    });
    C.set.write(words.fold(0, |all, word| all | word));
}

/// Returns whether somebody who can touch the board unlocks it.
pub(super) fn is_unlocked() -> bool {
    if is_emulated() {
        let word = core::ptr::with_exposed_provenance::<u32>(EMULATED_UNLOCK);
        // SAFETY: memory lies there that nothing else uses.
        return unsafe { word.read_volatile() == UNLOCKED };
    }
    A.input.read() & 1 != 0
}

/// Returns bits that differ from board to board and from start to start, as far as there are any.
pub(super) fn seed() -> u64 {
    let number = CHIP_NUMBER.map(|part| if is_emulated() { 0 } else { part.read() });
    let mixed = number.into_iter().fold(0, |mixed: u32, part| mixed.rotate_left(11) ^ part);
    u64::from(mixed) << 32 | u64::from(TIMER_COUNT.read())
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

/// Returns the table of interrupts: one for each USART.
pub(super) const fn vectors(none: Vector) -> [Vector; INTERRUPTS] {
    let mut table = [none; INTERRUPTS];
    table[37] = port_0;
    table[38] = port_1;
    table[39] = port_2;
    table
}
