//! The dongle: a microcontroller on the serial ports of servers, which passes their heartbeats on,
//! is their witness, and has its hand on their reset lines.
//!
//! This library is all of it but the hardware. It decides nothing that the
//! [core](lifesign_core) has not decided already: relay, witness and resets are the core's, and the
//! same ones that daemons and quorum servers run.
//!
//! # The files, in reading order
//!
//! | file | what it is |
//! |---|---|
//! | [`dongle`] | bytes and moments in; bytes, lines and lights out |
//! | `dongle/desk` | where messages are sorted |
//! | `dongle/post` | what a provisioned dongle does: witness, and reset lines |
//! | `dongle/request` | requests of people and servers, and what is answered |
//! | [`store`] | what outlives a cut of power at any moment |
//! | [`events`] | the last 64 things that happened |
//! | [`lights`] | what the LEDs tell |
//! | [`clock`] | a counter of 32 bits, continued over its wraps |
//! | [`queue`] | bytes on their way between an interrupt and the loop |
//! | `main`, `turn` | the program: reset, and one turn of its loop |
//! | `board`, `board/*` | ports, clock, watchdog, lines, LEDs and store of each board |
//! | `fault`, `kept` | what is left of a fault, and where it outlives a reset |
//! | `build`, `stack` | builds images, and computes how deep the stack becomes |
//!
//! # Building
//!
//! ```text
//! firmware/build            images of all boards, in firmware/target/images
//! firmware/build --check    besides: clippy for the target
//! firmware/build --test     besides: the processor's own stories, in QEMU
//! cargo test                in firmware/: the library's stories, on the host
//! ```
//!
//! With rustup: `rustup target add thumbv7m-none-eabi`. On Debian, where core is built from source:
//! `apt install rustc-web cargo-web rust-web-src binutils-arm-none-eabi`. Both boards are built for
//! `thumbv7m-none-eabi`: the STM32F405 could do more, but nothing here counts in fractions, and
//! interrupts are shorter if no unit for fractions is in use. The build fails if a panic is linked,
//! or if the stack could become deeper than the linker's script allows.
//!
//! # Capacities
//!
//! [`Small`], on the STM32F405, hears 4 nodes with 8 groups and passes on frames up to 320 bytes;
//! [`Large`], under QEMU and on hosts, hears 16 nodes with 32 groups. A frame that says more than
//! there is room for is passed on and noted, but its sender gets no promise; a reset line cannot be
//! provisioned for a node that the dongle cannot hear.
//!
//! # Flashing an STM32F405
//!
//! By an ST-Link on SWDIO, SWCLK, NRST and ground, with any one of:
//!
//! ```text
//! st-flash --reset write lifesign-dongle-stm32f405.bin 0x08000000
//! openocd -f interface/stlink.cfg -f target/stm32f4x.cfg \
//!     -c "program lifesign-dongle-stm32f405.elf verify reset exit"
//! probe-rs run --chip STM32F405RG lifesign-dongle-stm32f405.elf
//! ```
//!
//! By the loader that is built into the chip, over USB (PA11 and PA12) and without a programmer:
//! hold BOOT0 high, press reset, then
//!
//! ```text
//! dfu-util -a 0 -s 0x08000000:leave -D lifesign-dongle-stm32f405.bin
//! ```
//!
//! and let BOOT0 go. The program takes sectors 0 to 2 and the settings sectors 3 and 4, so another
//! version of the program leaves the settings alone. A mass erase does not. Keys lie in flash as
//! they are: whoever can attach a programmer can read them, unless read-out protection is set.
//!
//! # Wiring
//!
//! The pins stand in `board/stm32f405.rs`.
//!
//! - *Ports* are 3.3 V. An RS-232 port needs a level shifter (MAX3232 or the like) on transmit and
//!   receive; a USB adapter with 3.3 V levels is connected as it is, its receive to our transmit.
//!   Ground is common to all servers, so a shifter that isolates is worth its price between
//!   machines on different supplies. 115200 baud, 8 bits, no parity, one stop bit, no handshake.
//! - *Reset lines* are open drain: a line that is active is pulled low, one that is not floats.
//!   Each goes through an optocoupler: 3.3 V, 680 ohms, its LED, the pin; its transistor across the
//!   two pins of the server's reset header, where the button is. A dongle without power, in reset,
//!   in its loader or below its brown-out level lets the pins float, so no LED is lit and nobody is
//!   reset. A fault lets them go first of all.
//! - *Power* comes from both servers: the 5 V of a USB port of each, through a Schottky diode each,
//!   to the board's 5 V. With power from one server alone, the dongle dies with it, and the other
//!   has no witness when it needs one. What is lost without power is nothing but time: it waits out
//!   the longest promise when it comes back.
//! - *Unlocking*: PA0 to 3.3 V while provisioning.
//!
//! The oscillator inside is right to 1 % at room temperature and to 4 % from -10 to 85 degrees; the
//! settings of a cluster have to allow for it.
//!
//! # Under QEMU
//!
//! ```text
//! qemu-system-arm -M mps2-an385 -kernel lifesign-dongle-mps2-an385.elf -display none \
//!     -trace led_change_intensity -qmp unix:qmp,server=on,wait=off \
//!     -chardev socket,id=p0,path=p0,server=on,wait=off -serial chardev:p0    (and so on, up to 5)
//! qemu-system-arm -M netduinoplus2 -kernel lifesign-dongle-stm32f405.elf ... (up to 3 ports)
//! ```
//!
//! Settings, starts and events outlive `system_reset`, not the emulator. On mps2-an385 the LEDs
//! `SCC LED0` to `SCC LED4` are the reset lines of ports 0 to 4; at each reset of the machine the
//! emulator itself shows all LEDs lit until the program's first instructions, which no pin would
//! do. On netduinoplus2 lines appear with `-d unimp` as writes to `GPIOB`, offset 0x18 (bits 29 to
//! 31 make lines 0 to 2 active, bits 13 to 15 let them go), the watchdog as writes to `I2S2ext`. A
//! peer that stops reading there stops the whole emulator, which on silicon it cannot.
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
