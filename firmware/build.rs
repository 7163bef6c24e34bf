//! Writes the memory's layout of the board that is built for.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a build that cannot go on ends with a message"
)]

use std::env;
use std::fs;
use std::path::PathBuf;

/// Where a board's memory lies, in bytes.
struct Layout {
    flash: u32,
    flash_len: u32,
    ram: u32,
    ram_len: u32,
    /// The part of the memory below the data.
    stack_len: u32,
    /// The part of the memory above the data that outlives a reset.
    kept: u32,
    kept_len: u32,
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_target = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none");
    if !is_target {
        return;
    }
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let layout = match (has("BOARD_MPS2_AN385"), has("BOARD_STM32F405")) {
        (true, false) => MPS2_AN385,
        (false, true) => STM32F405,
        (false, false) => return,
        (true, true) => panic!("choose one board, not both"),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let written = fs::write(out.join("memory.x"), layout.script())
        .and_then(|()| fs::write(out.join("device.x"), "/* vectors: board.rs */\n"));
    if let Err(error) = written {
        panic!("{}: {error}", out.display());
    }
    println!("cargo::rustc-link-search={}", out.display());
}

/// The emulated board. Its two memories are as large as nobody needs; what outlives a reset lies
/// in the third, because the emulator writes the program's own memory anew at each reset.
const MPS2_AN385: Layout = Layout {
    flash: 0x0000_0000,
    flash_len: 64 << 10,
    ram: 0x2000_0000,
    ram_len: 98 << 10,
    stack_len: 48 << 10,
    kept: 0x2100_0000,
    kept_len: 2 << 10,
};

/// The first three sectors hold the program and the next two the settings, so that neither is
/// erased with the other.
const STM32F405: Layout = Layout {
    flash: 0x0800_0000,
    flash_len: 48 << 10,
    ram: 0x2000_0000,
    ram_len: 20 << 10,
    stack_len: 10 << 10,
    kept: 0x2000_4c00,
    kept_len: 1 << 10,
};

impl Layout {
    /// Returns the linker's script: the stack below the data, so that a stack too deep leaves the
    /// memory and faults, and does not run into data.
    fn script(&self) -> String {
        let Self { flash, flash_len, ram, ram_len, stack_len, kept, kept_len } = self;
        let (data, end) = (ram + stack_len, ram + ram_len);
        let data_end = if (*ram..end).contains(kept) { *kept } else { end };
        let data_len = data_end - data;
        format!(
            "MEMORY\n{{\n\
             \x20 FLASH : ORIGIN = {flash:#x}, LENGTH = {flash_len:#x}\n\
             \x20 STACK : ORIGIN = {ram:#x}, LENGTH = {stack_len:#x}\n\
             \x20 RAM : ORIGIN = {data:#x}, LENGTH = {data_len:#x}\n\
             \x20 KEPT : ORIGIN = {kept:#x}, LENGTH = {kept_len:#x}\n\
             }}\n\
             _stack_start = ORIGIN(STACK) + LENGTH(STACK);\n\
             _stack_end = ORIGIN(STACK);\n\
             _kept_start = ORIGIN(KEPT);\n\
             _kept_end = ORIGIN(KEPT) + LENGTH(KEPT);\n\
             SECTIONS\n{{\n\
             \x20 .stack_sizes (INFO) : {{ KEEP(*(.stack_sizes)); }}\n\
             }}\n"
        )
    }
}
