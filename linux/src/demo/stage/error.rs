//! Why the stage could not be set.

use std::fmt;
use std::io;

use super::super::cluster::ClusterError;
use super::super::lab::LabError;

/// Why the stage could not be set.
#[derive(Debug)]
pub enum StageError {
    /// The laboratory was not built.
    Lab(LabError),
    /// Something was not written or not started.
    Start(io::Error),
    /// The program refused the settings of the demonstration.
    Settings(ClusterError),
    /// The program did not say what the demonstration has to know.
    Program(&'static str),
    /// No server served in time; with what the daemons wrote.
    NotReady(String),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lab(error) => write!(f, "{error}"),
            Self::Start(error) => write!(f, "start the demonstration: {error}"),
            Self::Settings(error) => write!(f, "{error}"),
            Self::Program(what) => write!(f, "the program's answer is not understood: {what}"),
            Self::NotReady(journals) => {
                write!(f, "no server serves; the daemons wrote:\n{journals}")
            }
        }
    }
}

impl core::error::Error for StageError {}
