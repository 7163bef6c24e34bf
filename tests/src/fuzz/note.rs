//! A note about connections out of any bytes.

use lifesign::connections::note::{self, MAX_NOTE_LEN, NoteError, Origin};
use lifesign_core::node::ClusterId;
use lifesign_core::seal::{Key, KeyId, Keyring, TAG_LEN};

/// Reads any bytes as a note: as they come, and with a right tag.
///
/// # Panics
/// If one of these is not so:
///
/// - Bytes without a right tag are not a note.
/// - What is accepted is written again as it was read, as far as it fits.
pub fn note(input: &[u8]) {
    let ring = Keyring::new(&[(KeyId(1), Key::new([7; 32]))], KeyId(1)).expect("a keyring");
    let keys = note::keys(&ring);
    let cluster = ClusterId(u32::from_le_bytes(*b"trel"));
    assert!(note::decode(input, cluster, &keys).is_err(), "nobody guesses a tag");
    let mut bytes = vec![note::MARK, 1, input.first().copied().unwrap_or(0), 1];
    bytes.extend(b"trel");
    bytes.extend(input);
    bytes.extend(keys.tag(&bytes));
    let (origin, connections): (Origin, _) = match note::decode(&bytes, cluster, &keys) {
        Ok(read) => read,
        Err(error) => return assert_eq!(error, NoteError::Form),
    };
    assert!(bytes.len() <= MAX_NOTE_LEN);
    let (again, count) = note::encode(&origin, cluster, &connections, &keys);
    assert!(again.len() > TAG_LEN && again.len() <= MAX_NOTE_LEN);
    let read = note::decode(&again, cluster, &keys);
    assert_eq!(read, Ok((origin, connections[..count].to_vec())));
}
