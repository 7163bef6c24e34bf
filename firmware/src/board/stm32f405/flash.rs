//! The store in flash: the two sectors behind the program's three, 16 KiB of each.

use lifesign_firmware::store::Area;

use super::{feed, is_emulated, register};
use crate::board::register::Register;

/// The length of each of the two areas of the store, in bytes.
pub(in crate::board) const AREA_LEN: usize = 16 << 10;

/// Sectors 3 and 4.
const STORE: usize = 0x0800_c000;
const FIRST_SECTOR: u32 = 3;
/// The store under the emulator.
const EMULATED_STORE: usize = 0x2001_0000;
const FLASH_KEY: Register = register(0x4002_3c04);
const FLASH_STATUS: Register = register(0x4002_3c0c);
const FLASH_CONTROL: Register = register(0x4002_3c10);

const FLASH_BUSY: u32 = 1 << 16;
const FLASH_ERRORS: u32 = 0b1111_0010;
/// Whole words: the supply has 2.7 V or more.
const BY_WORDS: u32 = 2 << 8;
const LOCK: u32 = 1 << 31;

/// Returns where `area` of the store begins.
pub(in crate::board) fn area(area: Area) -> usize {
    let store = if is_emulated() { EMULATED_STORE } else { STORE };
    match area {
        Area::First => store,
        Area::Second => store + AREA_LEN,
    }
}

/// Lets the flash be changed by `change`, and waits until it is. The processor itself stands still
/// meanwhile, for it reads its instructions from the same flash.
fn change_flash(change: impl FnOnce()) {
    FLASH_KEY.write(0x4567_0123);
    FLASH_KEY.write(0xcdef_89ab);
    FLASH_STATUS.write(FLASH_ERRORS);
    change();
    while FLASH_STATUS.read() & FLASH_BUSY != 0 {}
    FLASH_CONTROL.write(LOCK);
}

/// Erases `area` of the store. On silicon this takes half a second, at most 1.1: the watchdog
/// is fed before.
pub(in crate::board) fn erase(area: Area) {
    if is_emulated() {
        for offset in (0..AREA_LEN).step_by(4) {
            program(area, offset, u32::MAX);
        }
        return;
    }
    let sector = match area {
        Area::First => FIRST_SECTOR,
        Area::Second => FIRST_SECTOR + 1,
    };
    feed();
    change_flash(|| {
        FLASH_CONTROL.write(BY_WORDS | 1 << 1 | sector << 3);
        FLASH_CONTROL.write(BY_WORDS | 1 << 1 | sector << 3 | 1 << 16);
    });
}

/// Writes one word of `area` of the store.
pub(in crate::board) fn program(area: Area, offset: usize, word: u32) {
    let place = core::ptr::with_exposed_provenance_mut::<u32>(self::area(area) + offset);
    let write = || {
        // SAFETY: the caller stays within the area, and nothing in it is known to Rust. While the
        // flash takes the word, the processor waits.
        unsafe { place.write_volatile(word) }
    };
    if is_emulated() {
        return write();
    }
    change_flash(|| {
        FLASH_CONTROL.write(BY_WORDS | 1);
        write();
    });
}
