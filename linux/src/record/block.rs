//! The format on disk, and what damage looks like.
//!
//! # Version 1
//!
//! All numbers are little-endian. A segment is a file of its own:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 12 | `lifesign-rec` |
//! | 12 | 4 | version, 1 |
//! | 16 | | blocks, without a gap |
//!
//! and a block:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length n of its contents |
//! | 4 | 4 | its number in the segment, from 0 |
//! | 8 | 4 | check of the contents, CRC-32C |
//! | 12 | 4 | check of the 12 bytes before it |
//! | 16 | n | its kind in one byte, and what it says in postcard's format |
//!
//! The first block is the [`Origin`], the second the [`Start`](super::entry::Start); then come
//! blocks of [`Entry`](super::entry::Entry)s, and an end if the daemon has left in good order. What
//! is written while a machine crashes is torn: it ends before its length says, or in zeros.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::entry::check;

/// The version of recordings that this code writes and reads.
///
/// It has to grow whenever an entry or the state of the engine is written in another way.
pub const VERSION: u32 = 1;

/// What a file begins with.
pub const MAGIC: [u8; 12] = *b"lifesign-rec";

/// The length of what stands before the first block.
pub const PREFIX_LEN: usize = MAGIC.len() + 4;
/// The length of what stands before the contents of a block.
pub const HEAD_LEN: usize = 16;
/// The longest contents of a block.
pub const LONGEST_BLOCK: usize = 4 << 20;

/// Where a recording comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The version of the program that made it.
    pub program: String,
    /// The name of the node.
    pub node: String,
    /// The file of its settings.
    pub path: String,
    /// The text of its settings.
    pub settings: String,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The [`Origin`].
    Origin,
    /// The [`Start`](super::entry::Start).
    Start,
    /// [`Entry`](super::entry::Entry)s, one after the other.
    Entries,
    /// The daemon has left in good order.
    End,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Origin => 1,
            Self::Start => 2,
            Self::Entries => 3,
            Self::End => 4,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Origin),
            2 => Some(Self::Start),
            3 => Some(Self::Entries),
            4 => Some(Self::End),
            _ => None,
        }
    }
}

/// Returns what a file begins with.
#[must_use]
pub fn prefix() -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    prefix[..MAGIC.len()].copy_from_slice(&MAGIC);
    prefix[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    prefix
}

/// Appends block `number` of the kind `kind` to `file`.
pub fn write(file: &mut Vec<u8>, number: u32, kind: Kind, said: &[u8]) {
    let begin = file.len();
    let len = u32::try_from(said.len() + 1).unwrap_or(u32::MAX);
    file.extend_from_slice(&[0; HEAD_LEN]);
    file.push(kind.byte());
    file.extend_from_slice(said);
    let contents = check(&file[begin + HEAD_LEN..]);
    let head = &mut file[begin..begin + HEAD_LEN];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&number.to_le_bytes());
    head[8..12].copy_from_slice(&contents.to_le_bytes());
    let own = check(&head[..12]);
    head[12..].copy_from_slice(&own.to_le_bytes());
}

/// The blocks of a segment.
#[derive(Clone, Debug)]
pub struct Blocks<'f> {
    file: &'f [u8],
    at: usize,
    number: u32,
}

/// What comes next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'f> {
    /// A whole block.
    Block(Kind, &'f [u8]),
    /// Nothing: the file ends with the last block.
    Over,
    /// So many bytes of a block that was being written when the machine crashed.
    Torn(usize),
}

impl<'f> Blocks<'f> {
    /// Begins to read `file`.
    ///
    /// # Errors
    /// It is no recording, or one of another version.
    pub fn new(file: &'f [u8]) -> Result<Self, FormatError> {
        let (magic, rest) = file.split_first_chunk::<12>().ok_or(FormatError::Foreign)?;
        let (version, _) = rest.split_first_chunk::<4>().ok_or(FormatError::Foreign)?;
        if *magic != MAGIC {
            return Err(FormatError::Foreign);
        }
        match u32::from_le_bytes(*version) {
            VERSION => Ok(Self { file, at: PREFIX_LEN, number: 0 }),
            other => Err(FormatError::Version(other)),
        }
    }

    /// Returns where the next block begins.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Returns what comes next.
    ///
    /// # Errors
    /// What comes next is damaged; what came before it is not.
    pub fn next_block(&mut self) -> Result<Next<'f>, FormatError> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Next::Over);
        }
        // A file that had grown when the machine crashed, and whose contents had not come yet.
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(Next::Torn(rest.len()));
        }
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_LEN>() else {
            return Ok(Next::Torn(rest.len()));
        };
        let damaged = FormatError::Damaged { at: self.at };
        let [l0, l1, l2, l3, n0, n1, n2, n3, c0, c1, c2, c3, own @ ..] = *head;
        if check(&head[..12]) != u32::from_le_bytes(own) {
            return Err(damaged);
        }
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| damaged)?;
        if u32::from_le_bytes([n0, n1, n2, n3]) != self.number || len == 0 || len > LONGEST_BLOCK {
            return Err(damaged);
        }
        let Some(contents) = rest.get(..len) else {
            return Ok(Next::Torn(HEAD_LEN + rest.len()));
        };
        if check(contents) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(damaged);
        }
        let (kind, said) = contents.split_first().ok_or(damaged)?;
        let kind = Kind::from_byte(*kind).ok_or(damaged)?;
        self.at += HEAD_LEN + len;
        self.number = self.number.wrapping_add(1);
        Ok(Next::Block(kind, said))
    }
}

/// Why a file cannot be read, or not on from some point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// It is no recording.
    Foreign,
    /// It is of another version.
    Version(u32),
    /// Some of its bytes are not what was written.
    Damaged {
        /// Where the damage begins, or shortly before it.
        at: usize,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => formatter.write_str("this is no recording of lifesign"),
            Self::Version(version) => write!(
                formatter,
                "a recording of version {version}; this lifesign reads version {VERSION}, so use \
                 the one that made it"
            ),
            Self::Damaged { at } => write!(formatter, "damaged at byte {at}"),
        }
    }
}

impl core::error::Error for FormatError {}
