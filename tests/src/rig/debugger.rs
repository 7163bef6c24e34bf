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
    /// Stops the processor of QEMU, and talks to it by a socket in `directory`.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn attach(monitor: &mut Monitor, directory: &Path) -> io::Result<Self> {
        let place = directory.join("debugger");
        monitor.console(&format!("gdbserver unix:{},server=on,wait=off", place.display()))?;
        let stream = UnixStream::connect(&place)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // QEMU stops the processor when somebody connects, and says so in a moment.
        thread::sleep(Duration::from_millis(50));
        let mut debugger = Self { stream };
        debugger.ask_for_stop("?")?;
        Ok(debugger)
    }

    /// Writes `value` to a register of the board, by an instruction of the processor: QEMU's own
    /// writes reach memory alone.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn write_register(&mut self, address: u32, value: u32) -> io::Result<()> {
        // Timers go on during a step, for the processor may be asleep and wait for one; what they
        // interrupt comes after it.
        self.expect_ok("Qqemu.sstep=3")?;
        let saved = self.registers()?;
        let place = word(&saved, PROGRAM_COUNTER)?;
        let original = self.ask(&format!("m{place:x},2"))?;
        self.write(place, &STORE_R1_AT_R0)?;
        self.expect_ok(&format!("G{}{}{}", digits(address), digits(value), &saved[16..]))?;
        self.ask_for_stop("s")?;
        let reached = word(&self.registers()?, PROGRAM_COUNTER)?;
        self.expect_ok(&format!("M{place:x},2:{original}"))?;
        self.expect_ok(&format!("G{saved}"))?;
        if reached == place + 2 {
            return Ok(());
        }
        Err(io::Error::other(format!("the processor went from {place:#x} to {reached:#x}")))
    }

    /// Writes `bytes` to memory.
    fn write(&mut self, address: u32, bytes: &[u8]) -> io::Result<()> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.expect_ok(&format!("M{address:x},{:x}:{text}", bytes.len()))
    }

    /// Returns all registers, eight digits each.
    fn registers(&mut self) -> io::Result<String> {
        self.ask("g")
    }

    fn expect_ok(&mut self, text: &str) -> io::Result<()> {
        match self.ask(text)?.as_str() {
            "OK" => Ok(()),
            other => Err(io::Error::other(format!("{text}: {other}"))),
        }
    }

    /// Has the processor do nothing but one jump to itself from here on, interrupts excepted.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn hang(&mut self) -> io::Result<()> {
        let place = word(&self.registers()?, PROGRAM_COUNTER)?;
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
        self.send(text)?;
        loop {
            // That it has stopped may be told by itself, and is no answer to this.
            let answer = self.read_packet()?;
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    /// Sends a packet that is answered when the processor stands still.
    fn ask_for_stop(&mut self, text: &str) -> io::Result<()> {
        self.send(text)?;
        while !self.read_packet()?.starts_with('T') {}
        Ok(())
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${text}#{sum:02x}").as_bytes())
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
                self.stream.write_all(b"+")?;
                return Ok(text);
            }
            text.push(char::from(byte[0]));
        }
    }
}

/// Which register the program counter is.
const PROGRAM_COUNTER: usize = 15;

/// Returns the register with this number among the digits of all.
fn word(registers: &str, number: usize) -> io::Result<u32> {
    let digits = registers.get(number * 8..number * 8 + 8).ok_or(io::ErrorKind::InvalidData)?;
    u32::from_str_radix(digits, 16).map(u32::swap_bytes).map_err(io::Error::other)
}

fn digits(word: u32) -> String {
    format!("{:08x}", word.swap_bytes())
}

/// The Thumb instruction `str r1, [r0]`.
const STORE_R1_AT_R0: [u8; 2] = [0x01, 0x60];

/// The Thumb instruction `b .`.
const JUMP_TO_ITSELF: [u8; 2] = [0xfe, 0xe7];
