//! What terminals can be asked beyond what POSIX has: any speed, exclusive use, low latency, and
//! what went wrong on the line.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Sets the speed of both directions to any number of bits per second, and returns the one that the
/// driver made of it.
///
/// # Errors
/// What the driver refused: not a terminal, a speed it cannot have.
pub(crate) fn set_speed(terminal: BorrowedFd<'_>, speed: u32) -> Result<u32, Errno> {
    let mut settings = settings(terminal)?;
    settings.c_cflag &= !(libc::CBAUD | libc::CIBAUD);
    settings.c_cflag |= libc::BOTHER;
    (settings.c_ispeed, settings.c_ospeed) = (speed, speed);
    // SAFETY: the descriptor is open, and the kernel reads one termios2, which outlives the call.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TCSETS2, &raw const settings) };
    Errno::result(outcome)?;
    self::speed(terminal)
}

/// Returns the speed of a terminal in bits per second.
///
/// # Errors
/// Not a terminal.
pub(crate) fn speed(terminal: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(settings(terminal)?.c_ospeed)
}

fn settings(terminal: BorrowedFd<'_>) -> Result<libc::termios2, Errno> {
    // SAFETY: all zeroes is a valid termios2: integers and arrays of integers.
    let mut settings: libc::termios2 = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the kernel writes one termios2, which outlives the call.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TCGETS2, &raw mut settings) };
    Errno::result(outcome)?;
    Ok(settings)
}

/// Lets nobody open the terminal any more who is not root, until it is closed.
///
/// # Errors
/// Not a terminal.
pub(crate) fn set_exclusive(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the call takes no argument besides the descriptor, which is open.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCEXCL) };
    Errno::result(outcome).map(drop)
}

/// Returns how many bytes wait to go out.
///
/// # Errors
/// Not a terminal, or one that has hung up.
pub(crate) fn bytes_waiting(terminal: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one integer, which outlives the call.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    Errno::result(outcome)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Asks the driver to hand on each byte at once, and returns whether it does.
///
/// # Errors
/// The driver has no such mode, or does not let us.
pub(crate) fn set_low_latency(terminal: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut serial = serial(terminal)?;
    if serial.flags & ASYNC_LOW_LATENCY == 0 {
        serial.flags |= ASYNC_LOW_LATENCY;
        // SAFETY: the descriptor is open, and the kernel reads one serial_struct as it gave it.
        let outcome =
            unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSSERIAL, &raw const serial) };
        Errno::result(outcome)?;
    }
    Ok(self::serial(terminal)?.flags & ASYNC_LOW_LATENCY != 0)
}

/// Returns whether the driver hands on each byte at once.
///
/// # Errors
/// The driver has no such mode.
pub(crate) fn has_low_latency(terminal: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(serial(terminal)?.flags & ASYNC_LOW_LATENCY != 0)
}

fn serial(terminal: BorrowedFd<'_>) -> Result<Serial, Errno> {
    // SAFETY: all zeroes is a valid Serial: integers, and addresses that nobody follows.
    let mut serial: Serial = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the kernel writes one serial_struct, which outlives the
    // call.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGSERIAL, &raw mut serial) };
    Errno::result(outcome)?;
    Ok(serial)
}

/// What the driver has counted since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DriverCounts {
    pub(crate) framing: u32,
    pub(crate) overruns: u32,
    pub(crate) parity: u32,
    pub(crate) breaks: u32,
}

/// Returns what went wrong on the line since the machine started.
///
/// # Errors
/// The driver does not count.
pub(crate) fn driver_counts(terminal: BorrowedFd<'_>) -> Result<DriverCounts, Errno> {
    let mut counts = Counts::default();
    // SAFETY: the descriptor is open, and the kernel writes one serial_icounter_struct, which
    // outlives the call.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGICOUNT, &raw mut counts) };
    Errno::result(outcome)?;
    Ok(DriverCounts {
        framing: counts.frame.cast_unsigned(),
        // The driver's own buffer can run over as well as the chip's.
        overruns: counts.overrun.wrapping_add(counts.buf_overrun).cast_unsigned(),
        parity: counts.parity.cast_unsigned(),
        breaks: counts.brk.cast_unsigned(),
    })
}

/// `serial_icounter_struct` of `linux/serial.h`.
#[repr(C)]
#[derive(Default)]
struct Counts {
    cts: libc::c_int,
    dsr: libc::c_int,
    rng: libc::c_int,
    dcd: libc::c_int,
    rx: libc::c_int,
    tx: libc::c_int,
    frame: libc::c_int,
    overrun: libc::c_int,
    parity: libc::c_int,
    brk: libc::c_int,
    buf_overrun: libc::c_int,
    reserved: [libc::c_int; 9],
}

/// `serial_struct` of `linux/serial.h`.
#[repr(C)]
struct Serial {
    kind: libc::c_int,
    line: libc::c_int,
    port: libc::c_uint,
    irq: libc::c_int,
    flags: libc::c_int,
    xmit_fifo_size: libc::c_int,
    custom_divisor: libc::c_int,
    baud_base: libc::c_int,
    close_delay: libc::c_ushort,
    io_type: libc::c_char,
    reserved_char: libc::c_char,
    hub6: libc::c_int,
    closing_wait: libc::c_ushort,
    closing_wait2: libc::c_ushort,
    iomem_base: usize,
    iomem_reg_shift: libc::c_ushort,
    port_high: libc::c_uint,
    iomap_base: libc::c_ulong,
}

/// `ASYNC_LOW_LATENCY` of `linux/tty_flags.h`.
const ASYNC_LOW_LATENCY: libc::c_int = 1 << 13;

// On every machine with 64-bit addresses.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Serial>() == 72 && size_of::<Counts>() == 80);
