//! One file of a recording, read and checked.

use core::fmt;

use crate::record::block::{Blocks, FormatError, Kind, Next, Origin};
use crate::record::entry::{Entry, Start};
use crate::settings::Settings;

/// A segment up to its entries.
#[derive(Debug)]
pub struct Segment<'f> {
    /// Where it comes from.
    pub origin: Origin,
    /// The settings that the node ran with.
    pub settings: Settings,
    /// The state that it begins with.
    pub start: Start,
    /// What follows.
    pub entries: Entries<'f>,
}

impl<'f> Segment<'f> {
    /// Reads what stands before the entries of `file`.
    ///
    /// # Errors
    /// It is no recording, of another version or program, damaged, or cut off there.
    pub fn read(file: &'f [u8]) -> Result<Self, ReadError> {
        let mut blocks = Blocks::new(file).map_err(ReadError::Format)?;
        let origin: Origin = whole(expect(&mut blocks, Kind::Origin)?)
            .ok_or_else(|| ReadError::NotUnderstood(String::new()))?;
        let not_understood = || ReadError::NotUnderstood(origin.program.clone());
        let start: Start = whole(expect(&mut blocks, Kind::Start)?).ok_or_else(not_understood)?;
        let settings = Settings::parse(&origin.path, &origin.settings)
            .map_err(|_| ReadError::Settings(origin.program.clone()))?;
        let entries = Entries { blocks, rest: &[], ending: Ending::Open };
        Ok(Self { origin, settings, start, entries })
    }
}

/// Returns what the next block says, which must be of this kind.
fn expect<'f>(blocks: &mut Blocks<'f>, kind: Kind) -> Result<&'f [u8], ReadError> {
    match blocks.next_block().map_err(ReadError::Format)? {
        Next::Block(found, said) if found == kind => Ok(said),
        Next::Block(..) => Err(ReadError::Format(FormatError::Damaged { at: blocks.position() })),
        Next::Over | Next::Torn(_) => Err(ReadError::NoState),
    }
}

/// Returns the value that all of `bytes` say.
fn whole<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// The entries of a segment.
#[derive(Clone, Debug)]
pub struct Entries<'f> {
    blocks: Blocks<'f>,
    rest: &'f [u8],
    ending: Ending,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its last entry: the next goes on, or the daemon was killed.
    Open,
    /// In good order: the daemon has left.
    Left,
    /// In what was being written.
    Torn,
}

impl<'f> Entries<'f> {
    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    /// What follows is damaged or not understood.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'f>>, ReadError> {
        while self.rest.is_empty() {
            match self.blocks.next_block().map_err(ReadError::Format)? {
                Next::Block(Kind::Entries, said) if self.ending == Ending::Open => self.rest = said,
                Next::Block(Kind::End, []) if self.ending == Ending::Open => {
                    self.ending = Ending::Left;
                }
                Next::Block(..) => {
                    let at = self.blocks.position();
                    return Err(ReadError::Format(FormatError::Damaged { at }));
                }
                Next::Over => return Ok(None),
                Next::Torn(_) => {
                    self.ending = Ending::Torn;
                    return Ok(None);
                }
            }
        }
        let (entry, rest) = postcard::take_from_bytes(self.rest)
            .map_err(|_| ReadError::NotUnderstood(String::new()))?;
        self.rest = rest;
        Ok(Some(entry))
    }

    /// Returns how the segment ends, once the last entry was read.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }
}

/// Why a segment cannot be read, or not on from some point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Its form is wrong.
    Format(FormatError),
    /// It was cut off before its first state: there is nothing to begin with.
    NoState,
    /// What it says is not understood; the version of the program that wrote it, if it is known.
    NotUnderstood(String),
    /// Its settings are refused; the version of the program that took them.
    Settings(String),
    /// Its state contradicts itself.
    Contradiction,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = env!("CARGO_PKG_VERSION");
        match self {
            Self::Format(error) => error.fmt(formatter),
            Self::NoState => formatter.write_str("cut off before its first state"),
            Self::NotUnderstood(program) if program.is_empty() => {
                formatter.write_str("it says what this lifesign does not understand")
            }
            Self::NotUnderstood(program) => write!(
                formatter,
                "its state is not understood: it was recorded by lifesign {program}, this is {own}"
            ),
            Self::Settings(program) => write!(
                formatter,
                "lifesign {program} took its settings, this lifesign {own} does not"
            ),
            Self::Contradiction => formatter.write_str("its state contradicts itself"),
        }
    }
}

impl core::error::Error for ReadError {}
