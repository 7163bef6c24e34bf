//! Plans as text that is kept and read again.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::fault::Fault;
use crate::world::{Micros, Setup};

/// Why a plan cannot be read or written.
#[derive(Debug)]
pub enum PlanError {
    /// The file cannot be used.
    Io(std::io::Error),
    /// The text is no plan.
    Read(Box<toml::de::Error>),
    /// The plan cannot be written as text.
    Write(Box<toml::ser::Error>),
}

impl fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Read(error) => error.fmt(formatter),
            Self::Write(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for PlanError {}

/// A plan as it stands in a file; the words for faults are those of [`Fault`].
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    seed: u64,
    heals_at: Micros,
    setup: Setup,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Step {
    at: Micros,
    #[serde(flatten)]
    fault: Fault,
}

impl Plan {
    /// Returns the plan as text, with what it taught in its first line.
    ///
    /// # Errors
    /// If a number in it is too large for the text.
    pub fn write(&self, lesson: &str) -> Result<String, PlanError> {
        let steps = self.steps.iter().map(|(at, fault)| Step { at: *at, fault: *fault }).collect();
        let written =
            Written { seed: self.seed, heals_at: self.heals_at, setup: self.setup.clone(), steps };
        let text = toml::to_string(&written).map_err(|error| PlanError::Write(Box::new(error)))?;
        Ok(format!("# {lesson}\n{text}"))
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// Says what in the text is no plan.
    pub fn read(text: &str) -> Result<Self, PlanError> {
        let written: Written =
            toml::from_str(text).map_err(|error| PlanError::Read(Box::new(error)))?;
        let steps = written.steps.into_iter().map(|step| (step.at, step.fault)).collect();
        let (seed, setup) = (written.seed, written.setup);
        Ok(Self { seed, setup, heals_at: written.heals_at, steps })
    }

    /// Reads the plan in a file.
    ///
    /// # Errors
    /// If the file cannot be read, or is no plan.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        Self::read(&fs::read_to_string(path).map_err(PlanError::Io)?)
    }
}
