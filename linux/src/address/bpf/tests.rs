//! The programs as the kernel would run them, on frames made by hand.

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
                register[target] = u64::from(i.immediate) << 32 | u64::from(program[at].immediate);
                at += 1;
            }
            LOAD_CONSTANT => {
                register[target] = u64::from(program[at].immediate) << 32 | u64::from(i.immediate);
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
    let program = program(direction, &addresses.map(Subject::from), MAP);
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
    let last = |n: u16| IpAddr::from([1, 2, 3, 4, 5, 6, 7, n]).into();
    let addresses: Vec<Subject> = (0..64).map(last).collect();
    let program = program(Ingress, &addresses, MAP);
    assert!(program.iter().all(|i| i.offset >= 0 || i.code & 7 != 5), "no jump goes back");
    let frame = ipv6("::1", "1:2:3:4:5:6:7:3f", 17, &[]);
    assert_eq!(run(&program, &frame, &[0; 64], 1), VERDICT_DROP);
}

/// Whether a frame leaves at 999, where the address is open or not, and then the hardware address.
fn leaves(frame: &[u8], open: [bool; 2]) -> bool {
    let mac = [2, 0xff, 0xff, 0xff, 0xff, 0xff];
    let other = [2, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let subjects = [
        Subject::Ip(FIRST.into(), Some(mac)),
        Subject::Ip(HIGH.into(), None),
        Subject::Mac(mac),
        Subject::Mac(other),
    ];
    let [address, source] = open.map(|is_open| if is_open { 1000 } else { 0 });
    let deadlines = [address, 1000, source, 0];
    let verdict = run(&program(Egress, &subjects, MAP), frame, &deadlines, 999);
    assert_eq!(run(&program(Ingress, &subjects, MAP), frame, &deadlines, 999), VERDICT_NEXT);
    verdict == VERDICT_NEXT
}

/// Returns the frame as sent from another source.
fn from(source: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[6..12].copy_from_slice(&source);
    frame
}

#[test]
fn nothing_leaves_from_a_hardware_address_that_is_closed() {
    let mac = [2, 0xff, 0xff, 0xff, 0xff, 0xff];
    let listeners = ipv6("::", "ff02::16", 0, &[0; 36]);
    for frame in [ethernet(0x88cc, &[1, 2]), ipv4(OTHER, OTHER), arp(1, OTHER, OTHER), listeners] {
        assert!(!leaves(&from(mac, frame.clone()), [true, false]));
        assert!(leaves(&from(mac, frame.clone()), [false, true]));
        for near in [[2, 0xff, 0xff, 0xff, 0xff, 0xfd], [3, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            assert!(leaves(&from(near, frame.clone()), [false, false]), "{near:x?}");
        }
    }
    assert!(!leaves(&from(mac, ipv4(FIRST, OTHER)), [false, true]), "the address counts too");
    assert!(leaves(&from(mac, ipv4(FIRST, OTHER)), [true, true]));
}

#[test]
fn arp_of_a_group_with_a_hardware_address_leaves_from_there_alone() {
    let mac = [2, 0xff, 0xff, 0xff, 0xff, 0xff];
    for operation in [1, 2] {
        let frame = arp(operation, FIRST, OTHER);
        assert!(leaves(&from(mac, frame.clone()), [true, true]));
        for near in [[2, 0xff, 0xff, 0xff, 0xff, 0], [2, 0, 0xff, 0xff, 0xff, 0xff]] {
            assert!(!leaves(&from(near, frame.clone()), [true, true]), "{near:x?}");
        }
    }
    assert!(leaves(&arp(1, HIGH, OTHER), [true, true]), "an address of another group");
    assert!(leaves(&ipv4(FIRST, OTHER), [true, true]), "it need not be the source of packets");
}
