//! Keys and tags.
//!
//! A tag is the first 16 bytes of HMAC-SHA256 (RFC 2104, FIPS 198-1) over the frame's header and
//! body, compared in constant time. Several keys are accepted and one signs, so that keys can be
//! rotated without a gap: give every member the new key, then let every member sign with it, then
//! take the old one away.
//!
//! Simulations can be built with `--cfg lifesign_stub_tag`: tags are then a mix of 64 bits that
//! tells right from wrong and withstands nobody. No program that is shipped compiles with it.

#[cfg(lifesign_stub_tag)]
mod stub;

use heapless::Vec;
#[cfg(not(lifesign_stub_tag))]
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
#[cfg(not(lifesign_stub_tag))]
use sha2::Sha256;

/// The length of a tag, in bytes.
pub const TAG_LEN: usize = 16;
/// The length of a key, in bytes.
pub const KEY_LEN: usize = 32;
/// The most keys a keyring can have.
pub const MAX_KEYS: usize = 4;
#[cfg(not(lifesign_stub_tag))]
/// The block of SHA-256, in bytes (FIPS 180-4).
const BLOCK_LEN: usize = 64;

/// A number that says which key of a keyring made a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyId(pub u8);

/// A secret of 32 bytes. It is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// Returns the key made of these bytes, which must be random.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns a key that is good for `purpose` alone, so that a tag made in one place is void in
    /// another.
    #[cfg(not(lifesign_stub_tag))]
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Self {
        let mut mac = self.mac();
        mac.update(purpose);
        Self(mac.finalize().into_bytes().into())
    }

    /// Returns a key that is good for `purpose` alone, so that a tag made in one place is void in
    /// another.
    #[cfg(lifesign_stub_tag)]
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Self {
        Self(stub::derived(&self.0, purpose))
    }

    #[cfg(not(lifesign_stub_tag))]
    fn tag(&self, message: &[u8]) -> [u8; TAG_LEN] {
        let mut mac = self.mac();
        mac.update(message);
        let mut tag = [0; TAG_LEN];
        for (to, from) in tag.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
        tag
    }

    #[cfg(lifesign_stub_tag)]
    fn tag(&self, message: &[u8]) -> [u8; TAG_LEN] {
        stub::tag(&self.0, message)
    }

    #[cfg(not(lifesign_stub_tag))]
    fn verify(&self, message: &[u8], tag: &[u8; TAG_LEN]) -> bool {
        let mut mac = self.mac();
        mac.update(message);
        mac.verify_truncated_left(tag).is_ok()
    }

    #[cfg(lifesign_stub_tag)]
    fn verify(&self, message: &[u8], tag: &[u8; TAG_LEN]) -> bool {
        stub::tag(&self.0, message) == *tag
    }

    #[cfg(not(lifesign_stub_tag))]
    fn mac(&self) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros to the block of its hash; done here, the length cannot
        // be wrong.
        let mut block = [0; BLOCK_LEN];
        for (to, from) in block.iter_mut().zip(self.0) {
            *to = from;
        }
        <Hmac<Sha256> as KeyInit>::new(&block.into())
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// The keys that are accepted, and which of them signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyring {
    keys: Vec<(KeyId, Key), MAX_KEYS>,
    signer: KeyId,
}

impl Keyring {
    /// Makes a keyring of `keys`, of which `signer` signs.
    ///
    /// # Errors
    /// Says what is wrong with the keys. Nothing is changed.
    pub fn new(keys: &[(KeyId, Key)], signer: KeyId) -> Result<Self, KeyringError> {
        let keys: Vec<(KeyId, Key), MAX_KEYS> =
            Vec::from_slice(keys).map_err(|_| KeyringError::TooManyKeys)?;
        let times = |id: KeyId| keys.iter().filter(|(other, _)| *other == id).count();
        if keys.iter().any(|(id, _)| times(*id) > 1) {
            return Err(KeyringError::SameId);
        }
        if times(signer) == 0 {
            return Err(KeyringError::NoSigner);
        }
        Ok(Self { keys, signer })
    }

    /// Returns a keyring without a key, which accepts nothing and whose tags nobody accepts.
    pub(crate) const fn none() -> Self {
        Self { keys: Vec::new(), signer: KeyId(0) }
    }

    /// Returns the same keys, each derived for `purpose`.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Self {
        let mut derived = self.clone();
        for (_, key) in &mut derived.keys {
            *key = key.derive(purpose);
        }
        derived
    }

    /// Returns the keys themselves, for the store of a dongle.
    pub fn secrets(&self) -> impl Iterator<Item = (KeyId, &[u8; KEY_LEN])> {
        self.keys.iter().map(|(id, key)| (*id, &key.0))
    }

    /// Returns which key signs.
    #[must_use]
    pub const fn signer(&self) -> KeyId {
        self.signer
    }

    /// Returns the ids of all accepted keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Returns the tag of `message` under the signing key.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> [u8; TAG_LEN] {
        self.key(self.signer).map_or([0; TAG_LEN], |key| key.tag(message))
    }

    /// Returns whether `tag` is the tag of `message` under key `id`, or `None` if there is no such
    /// key. The time it takes does not depend on where tags differ.
    #[must_use]
    pub fn verify(&self, id: KeyId, message: &[u8], tag: &[u8; TAG_LEN]) -> Option<bool> {
        Some(self.key(id)?.verify(message, tag))
    }

    fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|(other, _)| *other == id).map(|(_, key)| key)
    }
}

/// What is wrong with a set of keys. No state changes; none of these happens in a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// There are more keys than [`MAX_KEYS`].
    TooManyKeys,
    /// Two keys have the same id.
    SameId,
    /// The signing key is not among the keys.
    NoSigner,
}

impl core::fmt::Display for KeyringError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::TooManyKeys => "more than 4 keys",
            Self::SameId => "two keys have the same id",
            Self::NoSigner => "the signing key is not among the keys",
        })
    }
}

impl core::error::Error for KeyringError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[u8], signer: u8) -> Result<Keyring, KeyringError> {
        let keys: std::vec::Vec<_> =
            ids.iter().map(|id| (KeyId(*id), Key::new([*id; KEY_LEN]))).collect();
        Keyring::new(&keys, KeyId(signer))
    }

    /// RFC 4231, test case 2, is for a short key; ours are 32 bytes, so this vector was made with
    /// an independent implementation: the key is 32 bytes of 0x0b, the message "Hi There".
    #[cfg(not(lifesign_stub_tag))]
    #[test]
    fn the_tag_is_truncated_hmac_sha256() {
        let ring = ring(&[0x0b], 0x0b).unwrap();
        let expected = [
            0x19, 0x8a, 0x60, 0x7e, 0xb4, 0x4b, 0xfb, 0xc6, 0x99, 0x03, 0xa0, 0xf1, 0xcf, 0x2b,
            0xbd, 0xc5,
        ];
        assert_eq!(ring.tag(b"Hi There"), expected);
    }

    #[test]
    fn every_bit_of_tag_and_message_matters() {
        let ring = ring(&[1], 1).unwrap();
        let message = *b"forty bytes of a message that is signed.";
        let tag = ring.tag(&message);
        assert_eq!(ring.verify(KeyId(1), &message, &tag), Some(true));
        for bit in 0..TAG_LEN * 8 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                ring.verify(KeyId(1), &message, &wrong),
                Some(false),
                "bit {bit} of the tag"
            );
        }
        for bit in 0..message.len() * 8 {
            let mut wrong = message;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                ring.verify(KeyId(1), &wrong, &tag),
                Some(false),
                "bit {bit} of the message"
            );
        }
    }

    #[test]
    fn keys_rotate_without_a_gap() {
        let (old, both, new) =
            (ring(&[1], 1).unwrap(), ring(&[1, 2], 2).unwrap(), ring(&[2], 2).unwrap());
        let halfway = ring(&[1, 2], 1).unwrap();
        for (sender, receiver) in
            [(&old, &halfway), (&halfway, &old), (&halfway, &both), (&both, &new), (&new, &both)]
        {
            let tag = sender.tag(b"frame");
            assert_eq!(receiver.verify(sender.signer(), b"frame", &tag), Some(true));
        }
        assert_eq!(new.verify(old.signer(), b"frame", &old.tag(b"frame")), None);
    }

    #[test]
    fn a_key_for_one_purpose_is_void_for_another() {
        let master = Key::new([7; KEY_LEN]);
        assert_ne!(master.derive(b"heartbeat"), master.derive(b"control"));
        assert_ne!(master.derive(b"heartbeat"), master);
    }

    #[test]
    fn keyrings_that_cannot_work_are_refused() {
        assert_eq!(ring(&[1, 2, 3, 4, 5], 1).unwrap_err(), KeyringError::TooManyKeys);
        assert_eq!(ring(&[1, 1], 1).unwrap_err(), KeyringError::SameId);
        assert_eq!(ring(&[1], 2).unwrap_err(), KeyringError::NoSigner);
    }
}
