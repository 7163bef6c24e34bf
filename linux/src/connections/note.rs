//! What a node tells the others of the connections it has: a datagram beside the heartbeats.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | [`MARK`], which no version of frames has |
//! | 1 | 1 | version of the body, 1 |
//! | 2 | 1 | sender |
//! | 3 | 1 | key id |
//! | 4 | 4 | cluster id |
//! | 8 | 8 | boot id of the sender's start |
//! | 16 | 8 | number, from 1, among the notes of that start |
//! | 24 | n | a list of [`Connection`]s in postcard's format |
//! | 24 + n | 16 | tag over everything before it, under keys that are good for notes alone |
//!
//! Numbers are little-endian, and the header is laid out as that of a frame, so that one filter
//! serves both. A note goes out on the links that are networks; a serial line has no room for it.
//! It counts once, and only if it comes from the start of a peer that is known to be alive.

use lifesign_core::node::{BootId, ClusterId, NodeId};
use lifesign_core::seal::{KeyId, Keyring, TAG_LEN};

use super::{Connection, MAX_CONNECTION_LEN};

/// How a note begins.
pub const MARK: u8 = 0xc1;
/// The version of the body.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 24;
/// The longest note: as long as the longest frame.
pub const MAX_NOTE_LEN: usize = lifesign_core::frame::MAX_FRAME_LEN;
/// The largest length of a list that is one byte.
const MOST: u8 = 127;
/// How many connections fit any note, whatever they are.
pub const ROOM: usize = (MAX_NOTE_LEN - HEADER_LEN - TAG_LEN - 1) / MAX_CONNECTION_LEN;

/// Who says something, and in which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The sender.
    pub sender: NodeId,
    /// Its start.
    pub boot: BootId,
    /// The note's number in that start.
    pub number: u64,
}

/// Returns the keys for notes, so that a note can never be taken for a frame.
#[must_use]
pub fn keys(keyring: &Keyring) -> Keyring {
    keyring.derive(b"lifesign note of connections")
}

/// Returns whether bytes say that they are a note.
#[must_use]
pub fn is_note(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MARK)
}

/// Writes a note about the first of `connections`, and returns it with how many those are: as many
/// as fit, at least [`ROOM`].
#[must_use]
pub fn encode(
    origin: &Origin,
    cluster: ClusterId,
    connections: &[Connection],
    keys: &Keyring,
) -> (Vec<u8>, usize) {
    let mut bytes = vec![MARK, VERSION, origin.sender.number(), keys.signer().0];
    bytes.extend(cluster.0.to_le_bytes());
    bytes.extend(origin.boot.bits().to_le_bytes());
    bytes.extend(origin.number.to_le_bytes());
    // A list is its length, here of one byte, and then its members.
    bytes.push(0);
    let mut count = 0_u8;
    for connection in connections {
        let mut buffer = [0; MAX_CONNECTION_LEN];
        let Ok(written) = postcard::to_slice(connection, &mut buffer) else { break };
        if bytes.len() + written.len() + TAG_LEN > MAX_NOTE_LEN || count == MOST {
            break;
        }
        bytes.extend_from_slice(written);
        count += 1;
    }
    bytes[HEADER_LEN] = count;
    bytes.extend(keys.tag(&bytes));
    (bytes, count.into())
}

/// Reads a note.
///
/// # Errors
/// Why the bytes are not a note of this cluster. The tag is checked before the body is read.
pub fn decode(
    bytes: &[u8],
    cluster: ClusterId,
    keys: &Keyring,
) -> Result<(Origin, Vec<Connection>), NoteError> {
    let (message, tag) = bytes.split_last_chunk::<TAG_LEN>().ok_or(NoteError::Form)?;
    let (head, body) = message.split_first_chunk::<HEADER_LEN>().ok_or(NoteError::Form)?;
    let [mark, version, sender, key, c0, c1, c2, c3, rest @ ..] = *head;
    if mark != MARK || version != VERSION || bytes.len() > MAX_NOTE_LEN {
        return Err(NoteError::Form);
    }
    if ClusterId(u32::from_le_bytes([c0, c1, c2, c3])) != cluster {
        return Err(NoteError::Foreign);
    }
    if keys.verify(KeyId(key), message, tag) != Some(true) {
        return Err(NoteError::Foreign);
    }
    let [boot, number] = [0, 8].map(|at| {
        let bytes = rest.get(at..).and_then(<[u8]>::first_chunk::<8>);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    });
    let sender = NodeId::new(sender).ok_or(NoteError::Form)?;
    let connections = postcard::from_bytes(body).map_err(|_| NoteError::Form)?;
    Ok((Origin { sender, boot: BootId::new(boot), number }, connections))
}

/// The last note of each node that counted.
#[derive(Clone, Debug, Default)]
pub struct Heard(Vec<Origin>);

impl Heard {
    /// Notes where a note is from, and returns whether it counts: whether it is later than all
    /// before of the same start. What was kept back or comes by another link does not.
    pub fn counts(&mut self, origin: &Origin) -> bool {
        let last = self.0.iter_mut().find(|last| last.sender == origin.sender);
        match last {
            Some(last) if last.boot == origin.boot && last.number >= origin.number => false,
            Some(last) => {
                *last = *origin;
                true
            }
            None => {
                self.0.push(*origin);
                true
            }
        }
    }
}

/// Why bytes are not a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// They are too short, too long, of another version, or make no sense.
    Form,
    /// They are of another cluster, or signed with another key.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::tests::connection;
    use lifesign_core::seal::Key;

    const CLUSTER: ClusterId = ClusterId(0x1234_5678);

    fn keyring(secret: u8) -> Keyring {
        keys(&Keyring::new(&[(KeyId(1), Key::new([secret; 32]))], KeyId(1)).unwrap())
    }

    fn origin() -> Origin {
        Origin { sender: NodeId::new(1).unwrap(), boot: BootId::new(0xabcd), number: 7 }
    }

    fn long(number: u16) -> Connection {
        Connection {
            service: "[fd00:ffff:ffff:ffff::100]:65535".parse().unwrap(),
            client: format!("[fd00:ffff:ffff:ffff::5]:{}", 60_000 + number).parse().unwrap(),
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let told = [connection(1), long(1)];
        let (bytes, count) = encode(&origin(), CLUSTER, &told, &keyring(1));
        assert_eq!(count, 2);
        assert_eq!(decode(&bytes, CLUSTER, &keyring(1)), Ok((origin(), told.to_vec())));
        assert!(is_note(&bytes) && !is_note(&[1, 2, 3]) && !is_note(&[]));
    }

    #[test]
    fn the_longest_note_is_as_long_as_a_frame_and_the_rest_goes_into_the_next() {
        let short: Vec<Connection> = (0..100).map(connection).collect();
        let long: Vec<Connection> = (0..100).map(long).collect();
        for (told, least) in [(&short, 3 * ROOM / 2), (&long, ROOM)] {
            let (bytes, count) = encode(&origin(), CLUSTER, told, &keyring(1));
            assert!(bytes.len() <= MAX_NOTE_LEN && bytes.len() > MAX_NOTE_LEN - 40);
            assert!(count >= least && count < 100, "{count}");
            let (_, read) = decode(&bytes, CLUSTER, &keyring(1)).unwrap();
            assert_eq!(read, told[..count]);
        }
    }

    #[test]
    fn every_bit_is_under_the_tag() {
        let (bytes, _) = encode(&origin(), CLUSTER, &[connection(1)], &keyring(1));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed, CLUSTER, &keyring(1)).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], CLUSTER, &keyring(1)).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn strangers_and_frames_are_refused() {
        let (bytes, _) = encode(&origin(), CLUSTER, &[connection(1)], &keyring(1));
        assert_eq!(decode(&bytes, CLUSTER, &keyring(2)), Err(NoteError::Foreign));
        assert_eq!(decode(&bytes, ClusterId(1), &keyring(1)), Err(NoteError::Foreign));
        let underived = Keyring::new(&[(KeyId(1), Key::new([1; 32]))], KeyId(1)).unwrap();
        assert_eq!(decode(&bytes, CLUSTER, &underived), Err(NoteError::Foreign));
    }

    #[test]
    fn a_note_counts_once_and_in_its_order() {
        let mut heard = Heard::default();
        let mut counts = |sender: u8, boot, number| {
            let sender = NodeId::new(sender).unwrap();
            heard.counts(&Origin { sender, boot: BootId::new(boot), number })
        };
        assert!(counts(0, 5, 1) && counts(0, 5, 2) && counts(1, 5, 1));
        assert!(!counts(0, 5, 2) && !counts(0, 5, 1), "again");
        assert!(counts(0, 6, 1), "another start");
        assert!(!counts(0, 6, 1) && counts(0, 6, 9) && counts(1, 5, 2));
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let (bytes, _) = encode(&origin(), CLUSTER, &[connection(0x1234)], &keyring(1));
        let head = [
            0xc1, 1, 1, 1, 0x78, 0x56, 0x34, 0x12, 0xcd, 0xab, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0,
            0, 0,
        ];
        let body = [1, 0, 10, 77, 0, 100, 80, 0, 10, 77, 0, 5, 0xb4, 0x24];
        assert_eq!(bytes[..24], head);
        assert_eq!(bytes[24..24 + body.len()], body);
        assert_eq!(bytes.len(), 24 + body.len() + TAG_LEN);
    }
}
