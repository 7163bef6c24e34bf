//! Tags without cryptography, for simulations that cannot wait for it. They tell keys and messages
//! apart, and no more: whoever wants to can forge them. Nothing that is shipped is built with it.

use super::{KEY_LEN, TAG_LEN};

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mixed(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(FACTOR);
    product ^ (product >> 32)
}

fn absorbed(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| mixed(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mixed(mixed(state, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// Returns the tag of `message` under a key.
pub(super) fn tag(key: &[u8; KEY_LEN], message: &[u8]) -> [u8; TAG_LEN] {
    let (words, _) = key.as_chunks::<8>();
    let begun = words.iter().fold(FACTOR, |state, word| mixed(state, u64::from_le_bytes(*word)));
    let (low, high) = (absorbed(begun, message), begun.rotate_left(29));
    let [a, b, c, d, e, f, g, h] = low.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = mixed(high, low).to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Returns a key for one purpose.
pub(super) fn derived(key: &[u8; KEY_LEN], purpose: &[u8]) -> [u8; KEY_LEN] {
    let mut derived = [0; KEY_LEN];
    let (halves, _) = derived.as_chunks_mut::<TAG_LEN>();
    let mut source = tag(key, purpose);
    for half in halves {
        *half = source;
        source = tag(key, &source);
    }
    derived
}
