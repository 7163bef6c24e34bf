//! What a person does with a dongle: look at it, set it up, read what it has noted, try its line,
//! and be one without hardware.
//!
//! | file | what it is |
//! |---|---|
//! | [`mod@line`] | the serial device, for one process alone |
//! | [`client`] | questions over it, and answers |
//! | [`picture`] | how a dongle is, for people and for machines |
//! | [`provision`] | from settings to what a dongle stores |
//! | [`history`] | what a dongle has noted |
//! | [`trial`] | a line put to the test |
//! | [`measure`] | what times and a far clock say |
//! | [`emulate`] | a dongle without hardware |

pub mod client;
pub mod emulate;
pub mod history;
pub mod line;
pub mod measure;
pub mod picture;
pub mod provision;
pub mod trial;

use core::fmt;
use std::path::PathBuf;

use lifesign_core::dongle::VERSION;

use self::client::Heard;
use self::line::LineError;
use crate::settings::LoadError;

/// Why a dongle was not asked, or what it was asked was not done.
#[derive(Debug)]
#[non_exhaustive]
pub enum DongleError {
    /// The settings are wrong or cannot be read.
    Settings(LoadError),
    /// What was asked for does not fit the settings, or the key file cannot be used.
    Unfit(String),
    /// The device cannot be used.
    Line(LineError),
    /// Nobody answers.
    NoAnswer {
        /// The device.
        path: PathBuf,
        /// At which speed, unless it is a socket.
        speed: Option<u32>,
        /// What came instead.
        heard: Heard,
    },
    /// The dongle speaks another version of these messages.
    OtherVersion {
        /// The device.
        path: PathBuf,
        /// Which, if it could say so.
        version: Option<u8>,
    },
    /// The dongle belongs to somebody else.
    OtherCluster(String),
    /// The dongle did not do it, or this machine; nothing has changed unless it says so.
    Failed(String),
    /// What is to be said is longer than a message can be.
    TooLong,
}

impl DongleError {
    /// Returns the exit status of a command that ends with it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::TooLong => 1,
            Self::Settings(_) | Self::Unfit(_) => 2,
            Self::Line(_) => 3,
            Self::NoAnswer { .. } => 4,
            Self::OtherVersion { .. } | Self::OtherCluster(_) => 5,
        }
    }
}

impl From<LineError> for DongleError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

impl fmt::Display for DongleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(formatter),
            Self::Line(error) => error.fmt(formatter),
            Self::Unfit(text) | Self::OtherCluster(text) | Self::Failed(text) => {
                formatter.write_str(text)
            }
            Self::NoAnswer { path, speed, heard } => {
                write!(formatter, "no dongle answers on {}", path.display())?;
                if let Some(speed) = speed {
                    write!(formatter, " at {speed} baud")?;
                }
                write!(formatter, ": {}", Absence::of(*heard))
            }
            Self::OtherVersion { path, version } => {
                write!(formatter, "the dongle on {} speaks ", path.display())?;
                match version {
                    Some(version) => write!(formatter, "version {version} of its messages")?,
                    None => formatter.write_str("another version of its messages")?,
                }
                write!(
                    formatter,
                    " and this is version {VERSION}: flash it with the firmware of this release"
                )
            }
            Self::TooLong => formatter.write_str("longer than a message to a dongle can be"),
        }
    }
}

impl core::error::Error for DongleError {}

/// Why nobody answers on a line, by what came over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing came.
    Silence,
    /// What was sent comes back.
    Loopback,
    /// A server is at the other end.
    Server,
    /// Bytes came, and no message.
    Noise {
        /// How many.
        bytes: u64,
    },
    /// A dongle speaks, and not of what it was asked.
    Deaf,
}

impl Absence {
    /// Returns what `heard` shows, the most certain first.
    #[must_use]
    pub const fn of(heard: Heard) -> Self {
        if heard.own > 0 {
            Self::Loopback
        } else if heard.answers > 0 {
            Self::Deaf
        } else if heard.frames > 0 {
            Self::Server
        } else if heard.bytes > 0 {
            Self::Noise { bytes: heard.bytes }
        } else {
            Self::Silence
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => formatter.write_str(
                "nothing comes back; is it powered, are the conductors crossed, and is this its \
                 speed?",
            ),
            Self::Loopback => formatter.write_str(
                "what is sent comes back: the conductors are joined, as by a loopback plug",
            ),
            Self::Server => formatter.write_str(
                "heartbeats come, so a server is at the other end, or a dongle that does not hear \
                 this end",
            ),
            Self::Noise { bytes } => write!(
                formatter,
                "{bytes} bytes came and no message; perhaps it has another speed: `lifesign \
                 dongle test` finds it"
            ),
            Self::Deaf => formatter.write_str(
                "it answers others and not this; is the line disturbed? Try `lifesign dongle test`",
            ),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
