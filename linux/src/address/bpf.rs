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
//! A frame that touches an address passes while `CLOCK_BOOTTIME` is before the deadline of the
//! address, and is dropped from then on. Every other frame passes on to the next program, as do
//! frames too short to have the fields, which the kernel's own stack drops.
//! The instruction set is RFC 9669.

use std::net::{IpAddr, Ipv6Addr};

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

/// Returns the program for `direction` where `addresses[n]` answers until word `n` of the map.
///
/// `map` is the descriptor of the map; the words are nanoseconds of `CLOCK_BOOTTIME`.
pub(crate) fn program(direction: Direction, addresses: &[IpAddr], map: u32) -> Vec<Instruction> {
    let mut assembler = Assembler::default();
    if !addresses.is_empty() {
        assembler.direction(direction, addresses, map);
    }
    // Without addresses this is all, as the kernel refuses instructions that nothing reaches.
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
    Pass,
}

impl Label {
    const COUNT: usize = 5;
}

impl Assembler {
    /// Writes the whole program.
    fn direction(&mut self, direction: Direction, addresses: &[IpAddr], map: u32) {
        let ingress = direction == Direction::Ingress;
        self.emit(MOVE, CONTEXT, 1, 0, 0);
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
        self.match_ipv4(addresses, map);
        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Ipv4);
        self.load_bytes(if ingress { IPV4_DESTINATION } else { IPV4_SOURCE }, 4, BUFFER);
        self.emit(LOAD_WORD, KEY, FRAME, BUFFER, 0);
        self.match_ipv4(addresses, map);
        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Ipv6);
        self.load_ipv6(if ingress { IPV6_DESTINATION } else { IPV6_SOURCE });
        self.match_ipv6(addresses, map);
        self.load_bytes(IPV6_NEXT_HEADER, 1, BUFFER);
        self.emit(LOAD_BYTE, KEY, FRAME, BUFFER, 0);
        self.jump(JUMP_NOT_EQUAL, KEY, ICMPV6, Label::Pass);
        self.load_bytes(ICMPV6_KIND, 1, BUFFER);
        self.emit(LOAD_BYTE, KEY, FRAME, BUFFER, 0);
        let kind = if ingress { NEIGHBOUR_SOLICITATION } else { NEIGHBOUR_ADVERTISEMENT };
        self.jump(JUMP_NOT_EQUAL, KEY, kind, Label::Pass);
        self.load_ipv6(NEIGHBOUR_TARGET);
        self.match_ipv6(addresses, map);

        self.jump(JUMP, 0, 0, Label::Pass);

        self.place(Label::Judge);
        // A word is read in one piece, so a deadline that moves meanwhile is the old or the new.
        self.emit(LOAD_DOUBLE, KEY, DEADLINE, 0, 0);
        self.emit(CALL, 0, 0, 0, CALL_BOOT_TIME);
        self.jump_register(JUMP_LESS_REGISTER, 0, KEY, Label::Pass);
        self.emit(MOVE_IMMEDIATE, 0, 0, 0, VERDICT_DROP);
        self.emit(EXIT, 0, 0, 0, 0);
    }

    /// Writes the end which lets a frame pass.
    fn pass(&mut self) {
        self.place(Label::Pass);
        self.emit(MOVE_IMMEDIATE, 0, 0, 0, VERDICT_NEXT);
        self.emit(EXIT, 0, 0, 0, 0);
    }

    /// Judges by the deadline of the IPv4 address that the key is; goes on where it is none.
    fn match_ipv4(&mut self, addresses: &[IpAddr], map: u32) {
        for (slot, address) in addresses.iter().enumerate() {
            if let IpAddr::V4(address) = address {
                let immediate = u32::from_ne_bytes(address.octets());
                // Compared in 32 bits: a key is never sign-extended, and the constant would be.
                self.emit(JUMP_NOT_EQUAL_32, KEY, 0, 3, immediate);
                self.load_slot(slot, map);
                self.jump(JUMP, 0, 0, Label::Judge);
            }
        }
    }

    /// Judges by the deadline of the IPv6 address that both keys are; goes on where it is none.
    fn match_ipv6(&mut self, addresses: &[IpAddr], map: u32) {
        for (slot, address) in addresses.iter().enumerate() {
            if let IpAddr::V6(address) = address {
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
mod tests {
    use super::*;

    const MAP: u32 = 77;
    const FIRST: [u8; 4] = [10, 77, 0, 100];
    const HIGH: [u8; 4] = [200, 255, 3, 129];
    const SIX: &str = "fd00::100";

    /// Runs the program on `frame` at `now` and returns its verdict.
    fn run(program: &[Instruction], frame: &[u8], deadlines: &[u64], now: u64) -> u32 {
        let mut register = [0_u64; 11];
        let mut stack = [0_u8; 512];
        let mut at = 0;
        for _ in 0..10_000 {
            let i = program[at];
            let (target, source) = (usize::from(i.target), usize::from(i.source));
            let wide = i64::from(i.immediate.cast_signed()).cast_unsigned();
            at += 1;
            let mut jump = |taken: bool| {
                if taken {
                    at = at.checked_add_signed(i.offset.into()).unwrap();
                }
            };
            let place = |offset: i16| usize::try_from(512 + i64::from(offset)).unwrap();
            match i.code {
                MOVE => register[target] = register[source],
                MOVE_IMMEDIATE => register[target] = wide,
                ADD_IMMEDIATE => register[target] = register[target].wrapping_add(wide),
                LOAD_BYTE => register[target] = stack[place(i.offset)].into(),
                LOAD_HALF => {
                    let bytes = stack[place(i.offset)..].first_chunk().unwrap();
                    register[target] = u16::from_ne_bytes(*bytes).into();
                }
                LOAD_WORD => {
                    let bytes = stack[place(i.offset)..].first_chunk().unwrap();
                    register[target] = u32::from_ne_bytes(*bytes).into();
                }
                LOAD_DOUBLE if i.source == FRAME => {
                    let bytes = stack[place(i.offset)..].first_chunk().unwrap();
                    register[target] = u64::from_ne_bytes(*bytes);
                }
                LOAD_DOUBLE => {
                    assert_eq!(register[source] >> 32, u64::from(MAP), "reads a map it was given");
                    let slot = usize::try_from(register[source] & 0xffff_ffff).unwrap() / 8;
                    register[target] = deadlines[slot];
                }
                LOAD_CONSTANT if i.source == MARK_MAP_VALUE => {
                    register[target] =
                        u64::from(i.immediate) << 32 | u64::from(program[at].immediate);
                    at += 1;
                }
                LOAD_CONSTANT => {
                    register[target] =
                        u64::from(program[at].immediate) << 32 | u64::from(i.immediate);
                    at += 1;
                }
                JUMP => jump(true),
                JUMP_EQUAL => jump(register[target] == wide),
                JUMP_NOT_EQUAL => jump(register[target] != wide),
                JUMP_NOT_EQUAL_32 => jump(register[target] & 0xffff_ffff != u64::from(i.immediate)),
                JUMP_EQUAL_REGISTER => jump(register[target] == register[source]),
                JUMP_NOT_EQUAL_REGISTER => jump(register[target] != register[source]),
                JUMP_LESS_REGISTER => jump(register[target] < register[source]),
                CALL if i.immediate == CALL_BOOT_TIME => register[0] = now,
                CALL if i.immediate == CALL_LOAD_BYTES => {
                    let number = |at: usize| usize::try_from(register[at]).unwrap();
                    let (from, len) = (number(2), number(4));
                    let to = number(3).wrapping_add(512);
                    register[0] = match frame.get(from..from + len) {
                        Some(bytes) => {
                            stack[to..to + len].copy_from_slice(bytes);
                            0
                        }
                        None => (-14_i64).cast_unsigned(),
                    };
                    // The kernel forgets these over a call, so a program that reads them is wrong.
                    register[1..6].fill(0xdead_beef_dead_beef);
                }
                EXIT => return u32::try_from(register[0] & 0xffff_ffff).unwrap(),
                code => panic!("instruction {code:#x}"),
            }
        }
        panic!("does not end");
    }

    /// Whether the frame passes with only `live` open until 1000, at time 999.
    fn passes(direction: Direction, frame: &[u8], live: &[usize]) -> bool {
        let addresses: [IpAddr; 3] = [FIRST.into(), SIX.parse().unwrap(), HIGH.into()];
        let program = program(direction, &addresses, MAP);
        let mut deadlines = [0; 3];
        for slot in live {
            deadlines[*slot] = 1000;
        }
        let closed = run(&program, frame, &[0; 3], 999);
        assert_eq!(run(&program, frame, &deadlines, 1000), closed, "closed at the deadline");
        match run(&program, frame, &deadlines, 999) {
            VERDICT_NEXT => true,
            VERDICT_DROP => false,
            other => panic!("verdict {other}"),
        }
    }

    fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(source);
        packet.extend(destination);
        ethernet(0x0800, &packet)
    }

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation, 1, 1, 1, 1, 1, 1];
        packet.extend(sender);
        packet.extend([0; 6]);
        packet.extend(target);
        ethernet(0x0806, &packet)
    }

    fn ipv6(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, u8::try_from(payload.len()).unwrap(), next, 255];
        packet.extend(source.parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        ethernet(0x86dd, &packet)
    }

    fn neighbour(kind: u8, target: &str) -> Vec<u8> {
        let mut payload = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        payload.extend(target.parse::<Ipv6Addr>().unwrap().octets());
        ipv6("fe80::1", "ff02::1:ff00:100", 58, &payload)
    }

    use Direction::{Egress, Ingress};

    const OTHER: [u8; 4] = [10, 77, 0, 9];

    #[test]
    fn ipv4_to_a_service_address_enters_only_while_it_is_live() {
        for (slot, address) in [(0, FIRST), (2, HIGH)] {
            let frame = ipv4(OTHER, address);
            assert!(!passes(Ingress, &frame, &[]));
            assert!(!passes(Ingress, &frame, &[2 - slot]), "another lease opens nothing");
            assert!(passes(Ingress, &frame, &[slot]));
            assert!(passes(Egress, &frame, &[]), "a client here may ask the holder elsewhere");
        }
    }

    #[test]
    fn ipv4_from_a_service_address_leaves_only_while_it_is_live() {
        for (slot, address) in [(0, FIRST), (2, HIGH)] {
            let frame = ipv4(address, OTHER);
            assert!(!passes(Egress, &frame, &[]));
            assert!(passes(Egress, &frame, &[slot]));
            assert!(passes(Ingress, &frame, &[]), "the holder elsewhere may answer");
        }
    }

    #[test]
    fn arp_questions_and_probes_are_unheard_while_closed() {
        for frame in [arp(1, OTHER, FIRST), arp(1, [0; 4], FIRST), arp(2, OTHER, FIRST)] {
            assert!(!passes(Ingress, &frame, &[]));
            assert!(passes(Ingress, &frame, &[0]));
            assert!(passes(Egress, &frame, &[]), "we may ask, and probe");
        }
    }

    #[test]
    fn arp_answers_and_announcements_leave_only_while_live() {
        for operation in [1, 2] {
            for frame in [arp(operation, FIRST, OTHER), arp(operation, FIRST, FIRST)] {
                assert!(!passes(Egress, &frame, &[]));
                assert!(passes(Egress, &frame, &[0]));
                assert!(passes(Ingress, &frame, &[]), "another holder's is heard");
            }
        }
    }

    #[test]
    fn ipv6_follows_the_same_rule() {
        let to = ipv6("fd00::9", SIX, 17, &[0; 8]);
        let from = ipv6(SIX, "fd00::9", 17, &[0; 8]);
        assert!(!passes(Ingress, &to, &[]) && passes(Ingress, &to, &[1]));
        assert!(!passes(Egress, &from, &[]) && passes(Egress, &from, &[1]));
        assert!(passes(Ingress, &from, &[]) && passes(Egress, &to, &[]));
    }

    #[test]
    fn addresses_which_share_half_are_told_apart() {
        for near in ["fd00::101", "fd01::100", "fd00:1::100"] {
            assert!(passes(Ingress, &ipv6("fd00::9", near, 17, &[0; 8]), &[]), "{near}");
        }
        assert!(passes(Ingress, &ipv4(OTHER, [200, 255, 3, 128]), &[]));
        assert!(passes(Ingress, &ipv4(OTHER, [10, 77, 1, 100]), &[]));
    }

    #[test]
    fn neighbour_discovery_is_silent_while_closed() {
        let (asked, told) = (neighbour(135, SIX), neighbour(136, SIX));
        assert!(!passes(Ingress, &asked, &[]) && passes(Ingress, &asked, &[1]));
        assert!(!passes(Egress, &told, &[]) && passes(Egress, &told, &[1]));
        assert!(passes(Egress, &asked, &[]), "we may ask who has it");
        assert!(passes(Ingress, &told, &[]), "another holder's is heard");
        assert!(passes(Ingress, &neighbour(135, "fd00::9"), &[]));
        assert!(passes(Ingress, &neighbour(128, SIX), &[]), "an echo has no target");
    }

    #[test]
    fn frames_cut_short_and_other_traffic_pass() {
        let whole = [ipv4(OTHER, FIRST), arp(1, OTHER, FIRST), ipv6("::1", SIX, 17, &[])];
        for frame in whole {
            let dropped_from = (0..=frame.len()).find(|len| !passes(Ingress, &frame[..*len], &[]));
            assert!(dropped_from.is_some_and(|len| len > 33), "{dropped_from:?}");
        }
        for kind in [0x88cc, 0x8100, 0x88a8, 0x0008] {
            let mut frame = ipv4(FIRST, FIRST);
            frame[12..14].copy_from_slice(&u16::to_be_bytes(kind));
            assert!(passes(Ingress, &frame, &[]) && passes(Egress, &frame, &[]), "{kind:#x}");
        }
        assert!(passes(Ingress, &[], &[]) && passes(Egress, &[0; 13], &[]));
    }

    #[test]
    fn the_bytes_of_an_instruction_are_those_of_the_kernel() {
        let instruction =
            Instruction { code: 0x85, target: 1, source: 2, offset: -2, immediate: 0x0102_0304 };
        if cfg!(target_endian = "little") {
            assert_eq!(instruction.bytes(), [0x85, 0x21, 0xfe, 0xff, 4, 3, 2, 1]);
        }
    }

    #[test]
    fn the_longest_program_is_within_reach_of_every_jump() {
        let addresses: Vec<IpAddr> =
            (0..64_u16).map(|n| Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, n).into()).collect();
        let program = program(Ingress, &addresses, MAP);
        assert!(program.iter().all(|i| i.offset >= 0 || i.code & 7 != 5), "no jump goes back");
        let frame = ipv6("::1", "1:2:3:4:5:6:7:3f", 17, &[]);
        assert_eq!(run(&program, &frame, &[0; 64], 1), VERDICT_DROP);
    }
}
