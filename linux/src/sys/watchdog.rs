//! What the kernel's watchdog devices can be asked, of `linux/watchdog.h`, which libc leaves out.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `WATCHDOG_IOCTL_BASE`.
const BASE: u32 = b'W' as u32;

/// `WDIOC_GETSUPPORT`.
const GET_SUPPORT: libc::Ioctl = libc::_IOR::<Info>(BASE, 0);
/// `WDIOC_GETBOOTSTATUS`.
const GET_BOOT_STATUS: libc::Ioctl = libc::_IOR::<libc::c_int>(BASE, 2);
/// `WDIOC_SETOPTIONS`.
const SET_OPTIONS: libc::Ioctl = libc::_IOR::<libc::c_int>(BASE, 4);
/// `WDIOC_KEEPALIVE`.
const KEEP_ALIVE: libc::Ioctl = libc::_IOR::<libc::c_int>(BASE, 5);
/// `WDIOC_SETTIMEOUT`.
const SET_TIMEOUT: libc::Ioctl = libc::_IOWR::<libc::c_int>(BASE, 6);
/// `WDIOC_GETTIMEOUT`.
const GET_TIMEOUT: libc::Ioctl = libc::_IOR::<libc::c_int>(BASE, 7);

/// `watchdog_info`: what a driver can do, its version, and its name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) options: u32,
    pub(crate) firmware: u32,
    pub(crate) identity: [u8; 32],
}

const _: () = assert!(size_of::<Info>() == 40);

/// Returns what the driver says of itself.
///
/// # Errors
/// Not a watchdog.
pub(crate) fn info(device: BorrowedFd<'_>) -> Result<Info, Errno> {
    let mut info = Info::default();
    // SAFETY: the descriptor is open, and the kernel writes one watchdog_info, which outlives the
    // call.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), GET_SUPPORT, &raw mut info) };
    Errno::result(outcome)?;
    Ok(info)
}

/// Feeds the device, so that its timeout begins anew.
///
/// # Errors
/// What the driver said.
pub(crate) fn keep_alive(device: BorrowedFd<'_>) -> Result<i32, Errno> {
    exchange(device, KEEP_ALIVE, 0)
}

/// Asks for a timeout in seconds, and returns the one that the driver made of it.
///
/// # Errors
/// The driver has one timeout only, or not this one.
pub(crate) fn set_timeout(device: BorrowedFd<'_>, seconds: i32) -> Result<i32, Errno> {
    exchange(device, SET_TIMEOUT, seconds)
}

/// Returns the timeout in seconds.
///
/// # Errors
/// The driver does not tell.
pub(crate) fn timeout(device: BorrowedFd<'_>) -> Result<i32, Errno> {
    exchange(device, GET_TIMEOUT, 0)
}

/// Returns why the machine was started, as bits.
///
/// # Errors
/// The driver does not tell.
pub(crate) fn boot_status(device: BorrowedFd<'_>) -> Result<i32, Errno> {
    exchange(device, GET_BOOT_STATUS, 0)
}

/// Stops or starts the counting: `WDIOS_DISABLECARD` is 1 and `WDIOS_ENABLECARD` is 2.
///
/// # Errors
/// The driver cannot, or may not.
pub(crate) fn set_options(device: BorrowedFd<'_>, options: i32) -> Result<i32, Errno> {
    exchange(device, SET_OPTIONS, options)
}

/// Makes a call that reads or writes one integer, and returns what stands there afterwards.
fn exchange(device: BorrowedFd<'_>, request: libc::Ioctl, value: i32) -> Result<i32, Errno> {
    let mut value: libc::c_int = value;
    // SAFETY: the descriptor is open, and the kernel reads and writes one integer, which outlives
    // the call.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), request, &raw mut value) };
    Errno::result(outcome)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `linux/watchdog.h` gives them on every machine but mips, powerpc and sparc.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    fn the_numbers_are_those_of_the_kernel() {
        let numbers =
            [GET_SUPPORT, GET_BOOT_STATUS, SET_OPTIONS, KEEP_ALIVE, SET_TIMEOUT, GET_TIMEOUT];
        let known: [libc::Ioctl; 6] =
            [0x8028_5700, 0x8004_5702, 0x8004_5704, 0x8004_5705, 0xc004_5706, 0x8004_5707];
        assert_eq!(numbers, known);
    }
}
