//! A debugger of the firmware in QEMU, by GDB's remote protocol.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lifesign::demo::emulator::monitor::Monitor;

/// A processor that stands still until [`resume`](Self::resume).
#[derive(Debug)]
pub struct Debugger {
    stream: UnixStream,
}

impl Debugger {
    /// Stops the processor of QEMU, whose files are in `directory`.
    pub(super) fn attach(monitor: &mut Monitor, directory: &Path) -> io::Result<Self> {
        let place = directory.join("debugger");
        monitor.console(&format!("gdbserver unix:{},server=on,wait=off", place.display()))?;
        let stream = UnixStream::connect(&place)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // QEMU stops the processor when somebody connects, and says so in a moment.
        thread::sleep(Duration::from_millis(50));
        let mut debugger = Self { stream };
        debugger.ask("?")?;
        Ok(debugger)
    }

    /// Returns the address of the next instruction.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn program_counter(&mut self) -> io::Result<u32> {
        // Fifteen registers of eight digits come before it.
        let registers = self.ask("g")?;
        let digits = registers.get(15 * 8..16 * 8).ok_or(io::ErrorKind::InvalidData)?;
        let value = u32::from_str_radix(digits, 16).map_err(io::Error::other)?;
        Ok(value.swap_bytes())
    }

    /// Writes `bytes` to `address`, memory or a register of the board.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> io::Result<()> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.ask(&format!("M{address:x},{:x}:{digits}", bytes.len()))?.as_str() {
            "OK" => Ok(()),
            other => Err(io::Error::other(format!("write to {address:#x}: {other}"))),
        }
    }

    /// Has the processor do nothing but one jump to itself from here on, interrupts excepted.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn hang(&mut self) -> io::Result<()> {
        let place = self.program_counter()?;
        self.write(place, &JUMP_TO_ITSELF)
    }

    /// Lets the processor go on.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn resume(mut self) -> io::Result<()> {
        self.ask("D").map(drop)
    }

    /// Sends a packet and returns the answer.
    fn ask(&mut self, text: &str) -> io::Result<String> {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${text}#{sum:02x}").as_bytes())?;
        loop {
            let answer = self.read_packet()?;
            self.stream.write_all(b"+")?;
            // That it has stopped is told once by itself, and is no answer to anything but `?`.
            if text == "?" || !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    fn read_packet(&mut self) -> io::Result<String> {
        let mut byte = [0];
        while byte != *b"$" {
            self.stream.read_exact(&mut byte)?;
        }
        let mut text = String::new();
        loop {
            self.stream.read_exact(&mut byte)?;
            if byte == *b"#" {
                let mut sum = [0; 2];
                self.stream.read_exact(&mut sum)?;
                return Ok(text);
            }
            text.push(char::from(byte[0]));
        }
    }
}

/// The Thumb instruction `b .`.
const JUMP_TO_ITSELF: [u8; 2] = [0xfe, 0xe7];
