//! What can be said of serial lines before anything starts.

use core::fmt;

use serde::Serialize;

use crate::report::millis;
use crate::settings::line::{LineLoad, MOST_PERCENT, Overload, SPEEDS};
use crate::settings::{Link, Settings};

/// What a serial link's lines have to carry at most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LineCheck {
    /// The link.
    pub link: String,
    /// The bits a second.
    pub speed: u32,
    /// The dongle on its lines, if it is a witness.
    pub dongle: Option<String>,
    /// The longest frame of a node, in bytes.
    pub frame_bytes: usize,
    /// What all frames of one heartbeat take on a line in its busiest direction, in bytes.
    pub line_bytes: usize,
    /// And in time.
    pub line_ms: f64,
    /// And in parts of the heartbeat.
    pub line_percent: f64,
    /// The most that is accepted.
    pub most_percent: u64,
    /// The shortest heartbeat that would be accepted.
    pub shortest_heartbeat_ms: f64,
}

impl LineCheck {
    /// Judges every serial link of `settings`, and says in `errors` which is too slow.
    pub(super) fn all(settings: &Settings, errors: &mut Vec<String>) -> Vec<Self> {
        let mut lines = Vec::new();
        for link in &settings.links {
            let Some(load) = settings.line_load(link) else { continue };
            lines.push(Self::new(settings, link, &load));
            if !load.fits() {
                errors.push(Overload { link: link.name.clone(), load }.to_string());
            }
        }
        lines
    }

    fn new(settings: &Settings, link: &Link, load: &LineLoad) -> Self {
        let dongle = link.serial().and_then(|serial| serial.witness);
        Self {
            link: link.name.clone(),
            speed: load.speed,
            dongle: dongle.map(|witness| settings.name_of(witness)),
            frame_bytes: load.frame,
            line_bytes: load.bytes,
            line_ms: millis(load.time.as_micros()),
            line_percent: millis(load.per_mille().saturating_mul(100)),
            most_percent: MOST_PERCENT,
            shortest_heartbeat_ms: millis(load.shortest_heartbeat().as_micros()),
        }
    }

    /// Returns what is allowed and not wise about the lines of `settings`.
    pub(super) fn warnings(settings: &Settings) -> Vec<String> {
        let mut warnings = Vec::new();
        for link in &settings.links {
            let Some(serial) = link.serial() else { continue };
            if !SPEEDS.contains(&serial.speed) {
                warnings.push(format!(
                    "link {}: {} bits/s is no usual speed, and some adapters cannot do it",
                    link.name, serial.speed
                ));
            }
        }
        warnings
    }
}

impl fmt::Display for LineCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dongle = self.dongle.as_ref().map(|dongle| format!(", with the dongle {dongle}"));
        writeln!(
            formatter,
            "link {}, serial at {} bits/s{}",
            self.link,
            self.speed,
            dongle.unwrap_or_default()
        )?;
        writeln!(
            formatter,
            "  each heartbeat puts at most {} bytes on its busiest line (the longest frame has {})",
            self.line_bytes, self.frame_bytes
        )?;
        writeln!(
            formatter,
            "  they take {:.1} ms, {:.1} % of the line; at most {} % may be filled",
            self.line_ms, self.line_percent, self.most_percent
        )
    }
}
