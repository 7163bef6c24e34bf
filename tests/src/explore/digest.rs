//! Hashes of states: fast, and 128 bits wide, so that two states hardly ever share one.

use std::hash::{BuildHasher, Hash, Hasher};

/// A hasher with two lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Digest {
    left: u64,
    right: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { left: 0x243f_6a88_85a3_08d3, right: 0x1319_8a2e_0370_7344 }
    }
}

impl Digest {
    /// Returns the hash of `value`, 128 bits wide.
    pub fn of(value: &impl Hash) -> u128 {
        let mut digest = Self::default();
        value.hash(&mut digest);
        u128::from(mixed(digest.left)) << 64 | u128::from(mixed(digest.right ^ digest.left))
    }

    /// Returns the hash of `value`, 64 bits wide.
    pub fn short(value: &impl Hash) -> u64 {
        let mut digest = Self::default();
        value.hash(&mut digest);
        digest.finish()
    }

    fn take(&mut self, word: u64) {
        self.left = (self.left.rotate_left(27) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.right = (self.right ^ word).wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(31);
    }
}

/// Spreads every bit over the whole word (the last steps of splitmix64).
const fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        mixed(self.left ^ self.right.rotate_left(32))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.take(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.take(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.take(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.take(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.take(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.take(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.take(number as u64);
    }
}

/// Makes a [`Digest`] for each key of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digests;

impl BuildHasher for Digests {
    type Hasher = Digest;

    fn build_hasher(&self) -> Digest {
        Digest::default()
    }
}

/// Passes on a key that is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Makes a [`Ready`] for each key of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlreadyHashed;

impl BuildHasher for AlreadyHashed {
    type Hasher = Ready;

    fn build_hasher(&self) -> Ready {
        Ready::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_have_hashes_far_apart() {
        let mut seen = BTreeSet::new();
        for left in 0u32..300 {
            for right in 0u16..300 {
                let hash = Digest::of(&(left, right));
                assert!(seen.insert(hash) && Digest::short(&(left, right)) != 0);
            }
        }
        let halves: BTreeSet<u64> =
            seen.iter().map(|hash| u64::try_from(hash >> 64).unwrap_or(0)).collect();
        assert_eq!(halves.len(), seen.len(), "each half tells them apart");
    }
}
