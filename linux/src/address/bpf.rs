//! The lease as a program in the kernel: whether a frame may pass, given deadlines in shared
//! memory.
//!
//! [`program`] returns the instructions for one direction. They are values: tests run them here, by
//! an interpreter, on frames made by hand. [`attach`](super::attach) gives them to the kernel.
//!
//! | frame | arriving: closed when this is a service address | leaving |
//! |-------|---------------------------------|---------|
//! | IPv4, IPv6 | destination | source |
//! | ARP | target, unless it is the sender too (an announcement of another node) | sender |
//! | neighbour discovery | target of a solicitation | target of an advertisement |
//!
//! The hardware address of a group is judged first, by the source of whatever leaves. Of addresses
//! in such a group ARP leaves from that hardware address alone, and is dropped where it does not.
//!
//! A frame that touches an address passes while `CLOCK_BOOTTIME` is before the deadline of the
//! address, and is dropped from then on. Every other frame passes on to the next program, as do
//! frames too short to have the fields, which the kernel's own stack drops.
//! The instruction set is RFC 9669.

use std::net::{IpAddr, Ipv6Addr};

use super::mac::Mac;
use super::subject::Subject;

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the adapter.
    Ingress,
    /// To the adapter.
    Egress,
}

impl Direction {
    /// Both, in the order in which they are attached.
    pub(crate) const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// One instruction of eight bytes, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// What to do.
    pub(crate) code: u8,
    /// The register changed or compared.
    pub(crate) target: u8,
    /// The register read, or a mark of what `immediate` means.
    pub(crate) source: u8,
    /// The distance of a jump in instructions, or of a memory access in bytes.
    pub(crate) offset: i16,
    /// The constant.
    pub(crate) immediate: u32,
}

impl Instruction {
    /// Returns the bytes of the instruction in this machine's order.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let registers = if cfg!(target_endian = "little") {
            self.source << 4 | self.target
        } else {
            self.target << 4 | self.source
        };
        let [o0, o1] = self.offset.to_ne_bytes();
        let [i0, i1, i2, i3] = self.immediate.to_ne_bytes();
        [self.code, registers, o0, o1, i0, i1, i2, i3]
    }
}

/// Returns the program for `direction` where `subjects[n]` answers until word `n` of the map.
///
/// `map` is the descriptor of the map; the words are nanoseconds of `CLOCK_BOOTTIME`.
pub(crate) fn program(direction: Direction, subjects: &[Subject], map: u32) -> Vec<Instruction> {
    let mut assembler = Assembler::default();
    if !subjects.is_empty() {
        assembler.direction(direction, subjects, map);
    }
    // Without subjects this is all, as the kernel refuses instructions that nothing reaches.
    assembler.pass();
    assembler.link()
}

/// Instructions with jumps to places that are not yet known.
#[derive(Debug, Default)]
struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    places: [Option<usize>; Label::COUNT],
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Ipv4,
    Arp,
    Ipv6,
    Judge,
    JudgeMac,
    Payload,
    Drop,
    Pass,
}

impl Label {
    const COUNT: usize = 8;
}

impl Assembler {
    /// Writes the whole program.
    fn direction(&mut self, direction: Direction, subjects: &[Subject], map: u32) {
        let ingress = direction == Direction::Ingress;
        self.emit(MOVE, CONTEXT, 1, 0, 0);
        if !ingress && subjects.iter().any(Subject::is_mac) {
            self.judge_source(subjects, map);
        }
        self.load_bytes(ETHERTYPE, 2, BUFFER);
        self.emit(LOAD_HALF, KEY, FRAME, BUFFER, 0);
        for (kind, label) in
            [(0x0800_u16, Label::Ipv4), (0x0806, Label::Arp), (0x86dd, Label::Ipv6)]
        {
            let immediate = u32::from(u16::from_ne_bytes(kind.to_be_bytes()));
            self.jump(JUMP_EQUAL, KEY, immediate, label);
        }
        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Arp);
        self.load_bytes(ARP_SENDER, 4, BUFFER);
        self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
        if ingress {
            self.emit(MOVE, KEY_LOW, KEY, 0, 0);
            self.load_bytes(ARP_TARGET, 4, BUFFER);
            self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
            self.jump_register(JUMP_EQUAL_REGISTER, KEY, KEY_LOW, Label::Pass);
        }
        self.match_ipv4(subjects, map, !ingress);
        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Ipv4);
        self.load_bytes(if ingress { IPV4_DESTINATION } else { IPV4_SOURCE }, 4, BUFFER);
        self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
        self.match_ipv4(subjects, map, false);
        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Ipv6);
        self.load_ipv6(if ingress { IPV6_DESTINATION } else { IPV6_SOURCE });
        self.match_ipv6(subjects, map);
        self.load_bytes(IPV6_NEXT_HEADER, 1, BUFFER);
        self.emit(LOAD_BYTE, KEY, FRAME, BUFFER, 0);
        self.jump(JUMP_NOT_EQUAL, KEY, ICMPV6, Label::Pass);
        self.load_bytes(ICMPV6_KIND, 1, BUFFER);
        self.emit(LOAD_BYTE, KEY, FRAME, BUFFER, 0);
        let kind = if ingress { NEIGHBOUR_SOLICITATION } else { NEIGHBOUR_ADVERTISEMENT };
        self.jump(JUMP_NOT_EQUAL, KEY, kind, Label::Pass);
        self.load_ipv6(NEIGHBOUR_TARGET);
        self.match_ipv6(subjects, map);

        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Judge);
        // A word is read in one piece, so a deadline that moves meanwhile is the old or the new.
        self.emit(LOAD_DOUBLE, KEY, DEADLINE, 0, 0);
        self.emit(CALL, 0, 0, 0, CALL_BOOT_TIME);
        self.jump_register(JUMP_LESS_REGISTER, 0, KEY, Label::Pass);
        self.place(Label::Drop);
        self.emit(MOVE_IMMEDIATE, 0, 0, 0, VERDICT_DROP);
        self.emit(EXIT, 0, 0, 0, 0);
    }

    /// Writes the end which lets a frame pass.
    fn pass(&mut self) {
        self.place(Label::Pass);
        self.emit(MOVE_IMMEDIATE, 0, 0, 0, VERDICT_NEXT);
        self.emit(EXIT, 0, 0, 0, 0);
    }

    /// Drops a frame whose source is a hardware address that is closed; goes on otherwise.
    fn judge_source(&mut self, subjects: &[Subject], map: u32) {
        self.load_source();
        self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
        self.emit(LOAD_HALF, KEY_LOW, FRAME, BUFFER + 4, 0);
        for (slot, subject) in subjects.iter().enumerate() {
            if let Subject::Mac(mac) = subject {
                let [high, low] = parts(*mac);
                self.emit(JUMP_NOT_EQUAL_32, KEY, 0, 4, high);
                self.emit(JUMP_NOT_EQUAL, KEY_LOW, 0, 3, low);
                self.load_slot(slot, map);
                self.jump(JUMP, 0, 0, Label::JudgeMac);
            }
        }
        self.jump(JUMP, 0, 0, Label::Payload);
        self.place(Label::JudgeMac);
        self.emit(LOAD_DOUBLE, KEY, DEADLINE, 0, 0);
        self.emit(CALL, 0, 0, 0, CALL_BOOT_TIME);
        self.jump_register(JUMP_LESS_REGISTER, 0, KEY, Label::Payload);
        self.jump(JUMP, 0, 0, Label::Drop);
        self.place(Label::Payload);
    }

    /// Judges by the deadline of the IPv4 address that the key is; goes on where it is none. Where
    /// `from_source`, the frame must come from the hardware address of the address's group, if that
    /// has one.
    fn match_ipv4(&mut self, subjects: &[Subject], map: u32, from_source: bool) {
        for (slot, subject) in subjects.iter().enumerate() {
            if let Subject::Ip(IpAddr::V4(address), mac) = subject {
                let immediate = u32::from_ne_bytes(address.octets());
                let branch = self.code.len();
                // Compared in 32 bits: a key is never sign-extended, and the constant would be.
                self.emit(JUMP_NOT_EQUAL_32, KEY, 0, 0, immediate);
                if let Some(mac) = mac.filter(|_| from_source) {
                    let [high, low] = parts(mac);
                    self.load_source();
                    self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
                    self.jump(JUMP_NOT_EQUAL_32, KEY, high, Label::Drop);
                    self.emit(LOAD_HALF, KEY, FRAME, BUFFER + 4, 0);
                    self.jump(JUMP_NOT_EQUAL, KEY, low, Label::Drop);
                }
                self.load_slot(slot, map);
                self.jump(JUMP, 0, 0, Label::Judge);
                let distance = self.code.len() - branch - 1;
                if let Some(instruction) = self.code.get_mut(branch) {
                    instruction.offset = i16::try_from(distance).unwrap_or(-1);
                }
            }
        }
    }

    /// Copies the source of the frame.
    fn load_source(&mut self) {
        self.load_bytes(SOURCE, 6, BUFFER);
    }

    /// Judges by the deadline of the IPv6 address that both keys are; goes on where it is none.
    fn match_ipv6(&mut self, subjects: &[Subject], map: u32) {
        for (slot, subject) in subjects.iter().enumerate() {
            if let Subject::Ip(IpAddr::V6(address), _) = subject {
                let [high, low] = halves(*address);
                self.load_constant(high);
                self.emit(JUMP_NOT_EQUAL_REGISTER, KEY, DEADLINE, 6, 0);
                self.load_constant(low);
                self.emit(JUMP_NOT_EQUAL_REGISTER, KEY_LOW, DEADLINE, 3, 0);
                self.load_slot(slot, map);
                self.jump(JUMP, 0, 0, Label::Judge);
            }
        }
    }

    /// Copies the IPv6 address at `offset` of the frame into both keys.
    fn load_ipv6(&mut self, offset: u32) {
        self.load_bytes(offset, 16, BUFFER);
        self.emit(LOAD_DOUBLE, KEY, FRAME, BUFFER, 0);
        self.emit(LOAD_DOUBLE, KEY_LOW, FRAME, BUFFER + 8, 0);
    }

    /// Copies bytes of the frame, wherever they are kept, to the stack; passes a frame too short.
    fn load_bytes(&mut self, offset: u32, len: u32, to: i16) {
        self.emit(MOVE, 1, CONTEXT, 0, 0);
        self.emit(MOVE_IMMEDIATE, 2, 0, 0, offset);
        self.emit(MOVE, 3, FRAME, 0, 0);
        self.emit(ADD_IMMEDIATE, 3, 0, 0, i32::from(to).cast_unsigned());
        self.emit(MOVE_IMMEDIATE, 4, 0, 0, len);
        self.emit(CALL, 0, 0, 0, CALL_LOAD_BYTES);
        self.jump(JUMP_NOT_EQUAL, 0, 0, Label::Pass);
    }

    /// Takes a constant of 64 bits.
    fn load_constant(&mut self, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.emit(LOAD_CONSTANT, DEADLINE, 0, 0, u32::from_le_bytes([a, b, c, d]));
        self.emit(0, 0, 0, 0, u32::from_le_bytes([e, f, g, h]));
    }

    /// Takes the place of a word in the map.
    fn load_slot(&mut self, slot: usize, map: u32) {
        let offset = u32::try_from(slot * 8).unwrap_or(u32::MAX);
        self.emit(LOAD_CONSTANT, DEADLINE, MARK_MAP_VALUE, 0, map);
        self.emit(0, 0, 0, 0, offset);
    }

    /// Compares `register` with a constant and jumps.
    fn jump(&mut self, code: u8, register: u8, immediate: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(code, register, 0, 0, immediate);
    }

    /// Compares two registers and jumps.
    fn jump_register(&mut self, code: u8, left: u8, right: u8, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(code, left, right, 0, 0);
    }

    /// Makes the next instruction the one that jumps to `label` reach.
    fn place(&mut self, label: Label) {
        if let Some(place) = self.places.get_mut(label as usize) {
            *place = Some(self.code.len());
        }
    }

    /// Adds an instruction.
    fn emit(&mut self, code: u8, target: u8, source: u8, offset: i16, immediate: u32) {
        self.code.push(Instruction { code, target, source, offset, immediate });
    }

    /// Gives each jump its distance, counted from the instruction behind it.
    fn link(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let place = self.places.get(label as usize).copied().flatten();
            if let (Some(place), Some(instruction)) = (place, self.code.get_mut(at)) {
                // A distance too great loops here, and the kernel refuses the program.
                let distance = place.checked_sub(at + 1).and_then(|far| i16::try_from(far).ok());
                instruction.offset = distance.unwrap_or(-1);
            }
        }
        self.code
    }
}

/// Returns an address as two words in the order in which memory has them.
fn halves(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address.octets();
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

/// Returns the first four bytes of a hardware address and the last two, as memory has them.
fn parts(mac: Mac) -> [u32; 2] {
    let [a, b, c, d, e, f] = mac;
    [u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]).into()]
}

/// The verdict that lets the next program decide, and delivers the frame after the last.
pub(crate) const VERDICT_NEXT: u32 = u32::MAX;
/// The verdict that drops the frame.
pub(crate) const VERDICT_DROP: u32 = 2;

/// Register that keeps the frame's handle over calls.
const CONTEXT: u8 = 6;
/// Register with what is looked for, or its first half.
const KEY: u8 = 7;
/// Register with the second half.
const KEY_LOW: u8 = 8;
/// Register with the place of a deadline, and constants on the way there.
const DEADLINE: u8 = 9;
/// Register with the end of the stack.
const FRAME: u8 = 10;
/// Where on the stack bytes of the frame are copied to.
const BUFFER: i16 = -16;

const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const ADD_IMMEDIATE: u8 = 0x07;
const LOAD_BYTE: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const LOAD_DOUBLE: u8 = 0x79;
const LOAD_CONSTANT: u8 = 0x18;
const JUMP: u8 = 0x05;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_32: u8 = 0x56;
const JUMP_EQUAL_REGISTER: u8 = 0x1d;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const JUMP_LESS_REGISTER: u8 = 0xad;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// In the source field of a constant: it is the place of a map's value.
const MARK_MAP_VALUE: u8 = 2;
/// Copies bytes of a frame.
const CALL_LOAD_BYTES: u32 = 26;
/// Returns nanoseconds of `CLOCK_BOOTTIME`.
const CALL_BOOT_TIME: u32 = 125;

const SOURCE: u32 = 6;
const ETHERTYPE: u32 = 12;
const ARP_SENDER: u32 = 14 + 14;
const ARP_TARGET: u32 = 14 + 24;
const IPV4_SOURCE: u32 = 14 + 12;
const IPV4_DESTINATION: u32 = 14 + 16;
const IPV6_NEXT_HEADER: u32 = 14 + 6;
const IPV6_SOURCE: u32 = 14 + 8;
const IPV6_DESTINATION: u32 = 14 + 24;
const ICMPV6_KIND: u32 = 14 + 40;
const NEIGHBOUR_TARGET: u32 = 14 + 48;
const ICMPV6: u32 = 58;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

#[cfg(test)]
mod tests;
