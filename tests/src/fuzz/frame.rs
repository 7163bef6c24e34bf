//! One frame out of any bytes.

use std::sync::LazyLock;

use lifesign_core::decree::Told;
use lifesign_core::frame::{
    self, Body, FrameError, HEADER_LEN, Header, MAX_FRAME_LEN, MIN_FRAME_LEN, VERSION,
};
use lifesign_core::node::ClusterId;
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring, TAG_LEN};

/// The cluster of all frames here.
pub(super) const CLUSTER: u32 = 7;
/// The numbers of the keys that are accepted.
pub(super) const KEYS: [u8; 2] = [1, 2];

/// Two keyrings of the same two keys; each key signs in one of them.
pub(super) static KEYRINGS: LazyLock<[Keyring; 2]> = LazyLock::new(|| {
    let keys = KEYS.map(|id| (KeyId(id), Key::new([id; KEY_LEN])));
    KEYS.map(|id| Keyring::new(&keys, KeyId(id)).expect("two keys make a keyring"))
});

/// Decodes any bytes: the first byte says whether the rest is a whole frame (even) or wants a tag
/// (odd), and with how small a table it is decoded besides.
///
/// # Panics
/// If one of these is not so:
///
/// - What is wrong with a header is said as a second reading of the published table says it, and
///   [`peek`](frame::peek) says the same as [`decode`](frame::decode).
/// - Only what has a right tag is decoded.
/// - What is decoded is written again as it was. Only where a number was written longer than it
///   need be, the frame becomes shorter, and reads the same.
/// - No node or group occurs twice in a list.
/// - A smaller table reads the same, or refuses what it has no room for.
pub fn frame(input: &[u8]) {
    let Some((form, bytes)) = input.split_first() else { return };
    let bytes = if form & 1 == 0 { bytes.to_vec() } else { sealed(bytes) };
    let told = frame::decode_told(&bytes, ClusterId(CLUSTER), &KEYRINGS[0]);
    let word = told.as_ref().ok().and_then(|(_, _, word)| *word);
    let full = told.map(|(header, body, _)| (header, body));
    assert_eq!(sorted(&full), foretold(&bytes), "decoded as the table says");
    let peeked = frame::peek(&bytes);
    match (&full, peeked) {
        (Ok((header, _)), peeked) => assert_eq!(peeked, Ok(*header)),
        (Err(error), Err(peeked)) => assert_eq!(*error, peeked),
        (Err(error), Ok(_)) => assert!(is_behind_the_header(*error), "{error:?}"),
    }
    if let Ok((header, body)) = &full {
        write_again(header, body, word, &bytes);
        demand_distinct(body);
    }
    match form >> 1 & 3 {
        0 => demand_same::<1, 1>(&full, &bytes),
        1 => demand_same::<2, 4>(&full, &bytes),
        2 => demand_same::<6, 8>(&full, &bytes),
        _ => demand_same::<18, 1>(&full, &bytes),
    }
}

type Decoded<const ECHOES: usize, const GROUPS: usize> =
    Result<(Header, Body<ECHOES, GROUPS>), FrameError>;

/// Returns `message` with a tag of the key that its header names, or of the first key.
pub(super) fn sealed(message: &[u8]) -> Vec<u8> {
    let named = KEYS.iter().position(|id| message.get(3) == Some(id));
    let mut bytes = message.to_vec();
    bytes.extend(KEYRINGS[named.unwrap_or(0)].tag(message));
    bytes
}

/// What the table of the wire format says of `bytes` up to the body, of which it knows nothing.
fn foretold(bytes: &[u8]) -> Option<FrameError> {
    if bytes.len() < MIN_FRAME_LEN || bytes.len() > MAX_FRAME_LEN {
        return Some(FrameError::Length);
    }
    let [version, link, sender, key] = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if version != VERSION {
        return Some(FrameError::Version);
    }
    if !(0x10..0x40).contains(&link) || link & 0x0f > 7 || sender > 18 {
        return Some(FrameError::Header);
    }
    if bytes[4..8] != CLUSTER.to_le_bytes() {
        return Some(FrameError::Cluster);
    }
    let Some(ring) = KEYS.iter().position(|id| *id == key) else { return Some(FrameError::Key) };
    let (message, tag) = bytes.split_at(bytes.len() - TAG_LEN);
    (KEYRINGS[ring].tag(message) != tag).then_some(FrameError::Tag)
}

/// Returns the error that is not about the body.
fn sorted<const ECHOES: usize, const GROUPS: usize>(
    decoded: &Decoded<ECHOES, GROUPS>,
) -> Option<FrameError> {
    decoded.as_ref().err().copied().filter(|error| *error != FrameError::Body)
}

const fn is_behind_the_header(error: FrameError) -> bool {
    !matches!(error, FrameError::Length | FrameError::Version | FrameError::Header)
}

fn write_again(header: &Header, body: &Body, word: Option<Told>, bytes: &[u8]) {
    let ring = KEYS.iter().position(|id| *id == header.key.0).expect("its tag was right");
    let mut buffer = [0; MAX_FRAME_LEN];
    let len = frame::encode_told(header, body, word.as_ref(), &KEYRINGS[ring], &mut buffer);
    let again = &buffer[..len];
    assert!(again.len() <= bytes.len(), "{} bytes became {}", bytes.len(), again.len());
    if again.len() == bytes.len() {
        assert_eq!(again, bytes, "one frame, two forms");
    } else {
        assert_eq!(again[..HEADER_LEN], bytes[..HEADER_LEN]);
        let read = frame::decode_told(again, ClusterId(CLUSTER), &KEYRINGS[0]);
        let same = (*header, body.clone(), word);
        assert_eq!(read.as_ref(), Ok(&same), "written again, it reads the same");
    }
}

fn demand_distinct(body: &Body) {
    fn is_distinct(numbers: impl Iterator<Item = u8>) -> bool {
        let mut numbers: Vec<u8> = numbers.collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() == count
    }
    assert!(is_distinct(body.echoes.iter().map(|echo| echo.node.number())), "{body:?}");
    assert!(is_distinct(body.wants.iter().map(|want| want.group.number())), "{body:?}");
    assert!(is_distinct(body.words.iter().map(|word| word.group.number())), "{body:?}");
}

fn demand_same<const ECHOES: usize, const GROUPS: usize>(
    full: &Decoded<{ frame::MAX_ECHOES }, { lifesign_core::group::MAX_GROUPS }>,
    bytes: &[u8],
) {
    let small: Decoded<ECHOES, GROUPS> = frame::decode(bytes, ClusterId(CLUSTER), &KEYRINGS[0]);
    let (full_header, full) = match full {
        Err(error) => return assert_eq!(small.err(), Some(*error)),
        Ok((header, body)) => (header, body),
    };
    let fits =
        full.echoes.len() <= ECHOES && full.wants.len() <= GROUPS && full.words.len() <= GROUPS;
    match small {
        Err(error) => assert!(error == FrameError::Body && !fits, "{error:?}, with room: {full:?}"),
        Ok((header, small)) => {
            assert!(fits, "there was no room");
            let scalars =
                |digest, longest, suspicious, favours| (digest, longest, suspicious, favours);
            assert_eq!(header, *full_header);
            assert_eq!(small.flags, full.flags);
            assert_eq!(
                scalars(small.digest, small.longest_promise_ms, small.suspicious, small.favours),
                scalars(full.digest, full.longest_promise_ms, full.suspicious, full.favours)
            );
            assert_eq!(small.echoes, full.echoes);
            assert_eq!((&small.wants[..], &small.words[..]), (&full.wants[..], &full.words[..]));
        }
    }
}
