//! Frames in few bytes: each as what differs from the frame before it of the same sender and link.
//!
//! Heartbeats differ in little more than their numbers, so a recording holds several times as
//! many. A packed frame is its sender's number, its length in two bytes, and pieces: how many bytes
//! are as before, how many are not, and those. What is beyond the end of the frame before counts as
//! zero, and so does all of it at the beginning of a segment.

use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::node::{MAX_LINKS, MAX_MEMBERS};

/// The last frames, by which the next are told.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    last: Vec<Vec<u8>>,
}

/// The longest packed frame: what is worth a piece of its own saves more than the piece costs.
pub const LONGEST_PACKED: usize = MAX_FRAME_LEN + 64;

/// Where the number of its sender stands in a frame.
const SENDER_AT: usize = 2;
/// How many bytes in a row must be as before to be left out.
const LEAST_SKIP: usize = 3;

impl Packer {
    /// Begins anew, as for a segment.
    pub fn clear(&mut self) {
        self.last.iter_mut().for_each(Vec::clear);
    }

    /// Packs `message`, which came over link number `link`, into `packed` and returns the length.
    pub fn pack(&mut self, link: u8, message: &[u8], packed: &mut [u8; LONGEST_PACKED]) -> usize {
        let sender = message.get(SENDER_AT).copied().unwrap_or(u8::MAX);
        let last = self.last_of(link, sender);
        let before =
            |at: usize| last.as_deref().and_then(|last| last.get(at)).copied().unwrap_or(0);
        let len = u16::try_from(message.len()).unwrap_or(u16::MAX).to_le_bytes();
        let mut to = Cursor { packed, len: 0 };
        to.push(&[sender, len[0], len[1]]);
        let is_same = |at: &usize| message.get(*at).is_some_and(|byte| *byte == before(*at));
        let mut at = 0;
        loop {
            let skip = (at..message.len()).take_while(is_same).count();
            let begin = at + skip;
            let mut end = begin;
            while end < message.len() {
                let same = (end..message.len()).take_while(is_same).take(LEAST_SKIP).count();
                if same == LEAST_SKIP || (same > 0 && end + same == message.len()) {
                    break;
                }
                end += same.max(1);
            }
            if begin == end {
                break;
            }
            to.piece(skip, message.get(begin..end).unwrap_or_default());
            at = end;
        }
        let len = to.len;
        if let Some(last) = last {
            last.clear();
            last.extend_from_slice(message);
        }
        len
    }

    /// Returns the frame that `packed` says, or `None` if it says none.
    pub fn unpack(&mut self, link: u8, packed: &[u8]) -> Option<Vec<u8>> {
        let ([sender, low, high], mut rest) = packed.split_first_chunk::<3>()?;
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let last = self.last_of(link, *sender);
        let mut message = last.as_deref().cloned().unwrap_or_default();
        message.resize(len, 0);
        let mut at = 0;
        while let Some(([skip, count], after)) = rest.split_first_chunk::<2>() {
            at += usize::from(*skip);
            let (bytes, after) = after.split_at_checked((*count).into())?;
            message.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
        if let Some(last) = last {
            last.clone_from(&message);
        }
        Some(message)
    }

    /// Returns the last frame of a sender that can be one of the cluster's, empty if there is none.
    fn last_of(&mut self, link: u8, sender: u8) -> Option<&mut Vec<u8>> {
        let (link, sender) = (usize::from(link), usize::from(sender));
        if link >= MAX_LINKS || sender >= MAX_MEMBERS {
            return None;
        }
        let at = link * MAX_MEMBERS + sender;
        if self.last.len() <= at {
            self.last.resize(at + 1, Vec::new());
        }
        self.last.get_mut(at)
    }
}

/// A packed frame that is being written: pieces of skipped and of told bytes in turn.
struct Cursor<'p> {
    packed: &'p mut [u8; LONGEST_PACKED],
    len: usize,
}

impl Cursor<'_> {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(to) = self.packed.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn piece(&mut self, mut skip: usize, told: &[u8]) {
        while skip > 255 {
            self.push(&[255, 0]);
            skip -= 255;
        }
        for part in told.chunks(255) {
            self.push(&[skip.to_le_bytes()[0], part.len().to_le_bytes()[0]]);
            self.push(part);
            skip = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames of a few senders with few differences, as on a wire, and some of any kind.
    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let few = proptest::collection::vec((0_u16..1010, 0_u8..4), 0..9);
        let likely =
            (0_u8..3, 0_u8..20, few, 0_usize..1010).prop_map(|(link, sender, few, len)| {
                let mut message = vec![7; len];
                for (at, byte) in few {
                    if let Some(place) = message.get_mut(usize::from(at)) {
                        *place = byte;
                    }
                }
                if let Some(place) = message.get_mut(SENDER_AT) {
                    *place = sender;
                }
                (link, message)
            });
        let any = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..1010));
        proptest::collection::vec(prop_oneof![likely, any], 1..20)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(frames in frames()) {
            let (mut packer, mut other) = (Packer::default(), Packer::default());
            for (link, message) in frames {
                let mut packed = [0; LONGEST_PACKED];
                let len = packer.pack(link, &message, &mut packed);
                prop_assert_eq!(other.unpack(link, &packed[..len]), Some(message));
            }
        }

        #[test]
        fn nonsense_is_refused_or_unpacked(
            link: u8,
            packed in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let _frame = Packer::default().unpack(link, &packed);
        }
    }

    #[test]
    fn a_heartbeat_after_another_takes_a_few_bytes() {
        let mut packer = Packer::default();
        let mut packed = [0; LONGEST_PACKED];
        let mut message = [9; 80];
        message[SENDER_AT] = 1;
        assert!(packer.pack(0, &message, &mut packed) > 80);
        (message[16], message[50]) = (10, 11);
        assert_eq!(packer.pack(0, &message, &mut packed), 3 + 3 + 3);
        packer.clear();
        assert!(packer.pack(0, &message, &mut packed) > 80);
    }
}
