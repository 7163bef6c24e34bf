//! A socket filter that lets only members' frames wake the daemon.
//!
//! Classic BPF (`McCanne` and Jacobson, "The BSD Packet Filter", 1993), built here as plain data
//! and attached to the link's socket. On a UDP socket the program sees the datagram from its UDP
//! header on; the addresses before it are reached through an offset that the kernel reserves for
//! the network header.
//!
//! The filter is a courtesy to the processor, never a defence: whoever can forge a source address
//! passes it, and the frame's tag is what stops them. What it drops, the kernel counts together
//! with what a full buffer lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lifesign_core::frame::{MAX_FRAME_LEN, MIN_FRAME_LEN, VERSION};
use lifesign_core::node::ClusterId;
use socket2::SockFilter;

use crate::connections::note::MARK;

/// One instruction of classic BPF, as `struct sock_filter` of `linux/filter.h` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size and mode.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

impl Instruction {
    const fn plain(code: u16, operand: u32) -> Self {
        Self { code, jump_true: 0, jump_false: 0, operand }
    }

    const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Self {
        Self { code, jump_true, jump_false, operand }
    }
}

impl From<Instruction> for SockFilter {
    fn from(from: Instruction) -> Self {
        Self::new(from.code, from.jump_true, from.jump_false, from.operand)
    }
}

/// Returns the program for a UDP socket that accepts plausible frames from `members` and drops all
/// else.
///
/// Plausible: as long as a frame may be, and with the first byte of the protocol version, or of a
/// [note](crate::connections::note). Addresses of the other family than `is_ipv6` says are ignored.
/// Eight instructions and at most nine for each member, so any list of nodes fits the kernel's
/// limit of 4096.
#[must_use]
pub fn member_frames(members: &[IpAddr], is_ipv6: bool) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::plain(LOAD_LENGTH, 0),
        Instruction::jump(JUMP_GREATER_OR_EQUAL, UDP_HEADER_LEN + SHORTEST, 0, 4),
        Instruction::jump(JUMP_GREATER, UDP_HEADER_LEN + LONGEST, 3, 0),
        Instruction::plain(LOAD_BYTE, UDP_HEADER_LEN),
        Instruction::jump(JUMP_EQUAL, u32::from(VERSION), 2, 0),
        Instruction::jump(JUMP_EQUAL, u32::from(MARK), 1, 0),
        Instruction::plain(RETURN, DROP),
    ];
    for member in members {
        match member {
            IpAddr::V4(address) if !is_ipv6 => accept_v4(&mut program, *address),
            IpAddr::V6(address) if is_ipv6 => accept_v6(&mut program, *address),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    program.push(Instruction::plain(RETURN, DROP));
    program
}

/// Returns the program for a packet socket that accepts plausible frames of `cluster` and drops all
/// else. Its frames begin at `start`, behind the Ethernet header.
#[must_use]
pub fn cluster_frames(cluster: ClusterId, start: usize) -> Vec<Instruction> {
    let [start, at] = [start, start + CLUSTER_AT].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
    // Loads read in network byte order.
    let cluster = u32::from_be_bytes(cluster.0.to_le_bytes());
    vec![
        Instruction::plain(LOAD_BYTE, start),
        Instruction::jump(JUMP_EQUAL, u32::from(VERSION), 1, 0),
        Instruction::jump(JUMP_EQUAL, u32::from(MARK), 0, 3),
        Instruction::plain(LOAD_WORD, at),
        Instruction::jump(JUMP_EQUAL, cluster, 0, 1),
        Instruction::plain(RETURN, ACCEPT),
        Instruction::plain(RETURN, DROP),
    ]
}

fn accept_v4(program: &mut Vec<Instruction>, address: Ipv4Addr) {
    program.extend([
        Instruction::plain(LOAD_WORD, NETWORK_HEADER + IPV4_SOURCE),
        Instruction::jump(JUMP_EQUAL, address.to_bits(), 0, 1),
        Instruction::plain(RETURN, ACCEPT),
    ]);
}

fn accept_v6(program: &mut Vec<Instruction>, address: Ipv6Addr) {
    // A word that differs skips what is left of this member: two instructions a word, and the
    // return.
    let words = address.octets();
    for (index, skip) in [(0_u32, 7), (1, 5), (2, 3), (3, 1)] {
        let start = 4 * index as usize;
        let word = u32::from_be_bytes([
            words[start],
            words[start + 1],
            words[start + 2],
            words[start + 3],
        ]);
        program.push(Instruction::plain(LOAD_WORD, NETWORK_HEADER + IPV6_SOURCE + 4 * index));
        program.push(Instruction::jump(JUMP_EQUAL, word, 0, skip));
    }
    program.push(Instruction::plain(RETURN, ACCEPT));
}

/// [`MIN_FRAME_LEN`], as an operand.
#[expect(clippy::cast_possible_truncation, reason = "a few dozen")]
const SHORTEST: u32 = MIN_FRAME_LEN as u32;
/// [`MAX_FRAME_LEN`], as an operand.
#[expect(clippy::cast_possible_truncation, reason = "some thousand")]
const LONGEST: u32 = MAX_FRAME_LEN as u32;
/// Where a frame's header has the cluster.
const CLUSTER_AT: usize = 4;
/// Length of a UDP header (RFC 768).
const UDP_HEADER_LEN: u32 = 8;
/// Offset of the source address in an IPv4 header (RFC 791).
const IPV4_SOURCE: u32 = 12;
/// Offset of the source address in an IPv6 header (RFC 8200).
const IPV6_SOURCE: u32 = 8;
/// Where the kernel maps the network header: `SKF_NET_OFF`, -0x100000.
const NETWORK_HEADER: u32 = 0xfff0_0000;
/// Keep so many bytes: more than any datagram has.
const ACCEPT: u32 = 0x0004_0000;
/// Keep nothing.
const DROP: u32 = 0;

/// `BPF_LD | BPF_W | BPF_LEN`
const LOAD_LENGTH: u16 = 0x80;
/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD_WORD: u16 = 0x20;
/// `BPF_LD | BPF_B | BPF_ABS`
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
const JUMP_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_frames_pass_and_nothing_else_does() {
        let members = [v4(1), v4(2), v4(255)];
        let program = member_frames(&members, false);
        for last in 0..=255 {
            let expected = [1, 2, 255].contains(&last);
            let passes = passes(&program, v4(last), &frame(96));
            assert_eq!(passes, expected, "10.77.0.{last}");
        }
    }

    #[test]
    fn each_word_of_an_ipv6_source_counts() {
        let member: Ipv6Addr = "fd00:1:2:3:4:5:6:7".parse().unwrap();
        let other: Ipv6Addr = "fe80::8".parse().unwrap();
        let program = member_frames(&[IpAddr::V6(other), IpAddr::V6(member)], true);
        assert!(passes(&program, IpAddr::V6(member), &frame(40)));
        assert!(passes(&program, IpAddr::V6(other), &frame(40)));
        for bit in 0..128 {
            let stranger = Ipv6Addr::from_bits(member.to_bits() ^ (1 << bit));
            assert!(!passes(&program, IpAddr::V6(stranger), &frame(40)), "{stranger}");
        }
    }

    #[test]
    fn length_and_version_are_checked_at_their_edges() {
        let program = member_frames(&[v4(1)], false);
        for (len, expected) in [(0, false), (39, false), (40, true), (1024, true), (1025, false)] {
            assert_eq!(passes(&program, v4(1), &frame(len)), expected, "{len} bytes");
        }
        for version in [0, 2, 255] {
            let mut bytes = frame(64);
            bytes[0] = version;
            assert!(!passes(&program, v4(1), &bytes), "version {version}");
        }
    }

    #[test]
    fn notes_pass_as_well() {
        let mut bytes = frame(64);
        bytes[0] = MARK;
        assert!(passes(&member_frames(&[v4(1)], false), v4(1), &bytes));
        assert!(!passes(&member_frames(&[v4(1)], false), v4(2), &bytes));
    }

    #[test]
    fn without_members_of_the_family_everything_is_dropped() {
        assert!(!passes(&member_frames(&[], false), v4(1), &frame(64)));
        assert!(!passes(&member_frames(&[v4(1)], true), v4(1), &frame(64)));
    }

    #[test]
    fn the_largest_cluster_fits_the_kernels_limit_and_every_jump_lands() {
        let members: Vec<_> = (0..64_u16)
            .map(|host| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)))
            .collect();
        let program = member_frames(&members, true);
        assert!(program.len() <= 4096);
        for (at, instruction) in program.iter().enumerate() {
            let furthest = instruction.jump_true.max(instruction.jump_false);
            assert!(at + usize::from(furthest) < program.len());
        }
        for member in &members {
            assert!(passes(&program, *member, &frame(500)));
        }
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
    }

    fn frame(len: usize) -> Vec<u8> {
        let mut bytes = vec![0xaa; len];
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        bytes
    }

    /// Runs `program` as the kernel would on a datagram from `source`.
    fn passes(program: &[Instruction], source: IpAddr, frame: &[u8]) -> bool {
        let mut network = vec![0x55; 40];
        match source {
            IpAddr::V4(address) => network[12..16].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => network[8..24].copy_from_slice(&address.octets()),
        }
        let mut datagram = vec![0x77; 8];
        datagram.extend_from_slice(frame);
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[at];
            at += 1;
            let mut branch =
                |holds: bool| at += usize::from(if holds { jump_true } else { jump_false });
            match code {
                0x80 => accumulator = u32::try_from(datagram.len()).unwrap(),
                0x20 | 0x30 => match load(&network, &datagram, operand, code == 0x20) {
                    Some(value) => accumulator = value,
                    None => return false, // the kernel drops when a load lies outside
                },
                0x15 => branch(accumulator == operand),
                0x25 => branch(accumulator > operand),
                0x35 => branch(accumulator >= operand),
                0x06 => return operand > 0,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    fn load(network: &[u8], datagram: &[u8], offset: u32, is_word: bool) -> Option<u32> {
        let (bytes, start) = match offset.checked_sub(0xfff0_0000) {
            Some(start) => (network, start),
            None => (datagram, offset),
        };
        let start = start as usize;
        if is_word {
            let word = bytes.get(start..start + 4)?;
            Some(u32::from_be_bytes(word.try_into().unwrap()))
        } else {
            bytes.get(start).map(|byte| u32::from(*byte))
        }
    }
}
