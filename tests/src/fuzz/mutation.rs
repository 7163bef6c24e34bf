//! Small changes of inputs, the same for the same seed: enough to fuzz a little wherever tests run.

use crate::random::Random;

/// The longest input that is made, in bytes.
pub const LONGEST: usize = 8192;

/// Numbers at the edges of what fields hold.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 35,
    u64::MAX >> 1,
    u64::MAX,
];

/// Returns one of `kept` with a few changes: bits flipped, bytes put in, taken out, repeated or set
/// to numbers at an edge, and pieces of another of `kept` put in.
///
/// # Panics
/// If `kept` is empty.
#[must_use]
pub fn mutated(kept: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| &kept[place(kept.len(), random)];
    let mut input = pick(random).clone();
    for _ in 0..=random.below(4) {
        let other = pick(random);
        change(&mut input, other, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = place(input.len(), random);
    let len = place(17, random).min(input.len() - at);
    match random.below(8) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            let bytes = random.bits().to_le_bytes();
            input.splice(at..at, bytes[..1 + place(8, random)].to_vec());
        }
        3 => drop(input.drain(at..at + len)),
        4 => {
            let piece = input[at..at + len].to_vec();
            for _ in 0..=random.below(3) {
                input.splice(at..at, piece.clone());
            }
        }
        5 => {
            let edge = random.pick(&EDGES).to_le_bytes();
            let width = random.pick(&[1, 2, 4, 8]);
            for (to, from) in input[at..].iter_mut().zip(&edge[..width]) {
                *to = *from;
            }
        }
        6 => {
            let from = place(other.len(), random);
            let count = place(65, random).min(other.len() - from);
            input.splice(at..at + len, other[from..from + count].to_vec());
        }
        _ => input.truncate(at),
    }
}

/// Returns a place below `end`, or 0 if there is none.
fn place(end: usize, random: &mut Random) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}
