//! One exploration from beginning to end, and what came of it.

use std::fmt;
use std::fs;

use super::list::Variant;
use super::search::{Report, Search};
use super::tell::story;

/// How many different states are met at most; as many take about 3 GB.
const MOST: u64 = 25_000_000;

/// What came of an exploration.
#[derive(Debug)]
pub struct Outcome {
    what: String,
    must_break: bool,
    /// Figures.
    pub report: Report,
    /// The path that broke a law.
    pub story: Option<String>,
    shows_story: bool,
}

/// Explores a variant; a path that breaks a law as expected is told if `shows_story`.
#[must_use]
pub fn explore(variant: &Variant, shows_story: bool) -> Outcome {
    let (report, mut stage) = Search::new(variant.setup).run(MOST);
    let story = report.violation.as_ref().map(|violation| story(&mut stage, violation));
    let (what, must_break) = (variant.what.clone(), variant.must_break);
    Outcome { what, must_break, report, story, shows_story }
}

impl Outcome {
    /// Returns whether what had to hold held everywhere, or what had to break broke.
    #[must_use]
    pub const fn is_expected(&self) -> bool {
        if self.must_break { self.report.violation.is_some() } else { self.report.is_complete }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let verdict = match (&report.violation, report.is_complete) {
            (Some(violation), _) => {
                format!("{} (in {} steps)", violation.broken, violation.path.len())
            }
            (None, true) => "holds, complete".into(),
            (None, false) => "STOPPED, too many states".into(),
        };
        let expected = if self.is_expected() { "" } else { "UNEXPECTED: " };
        writeln!(formatter, "  {}: {expected}{verdict}", self.what)?;
        let (actors, messages, turns) = report.counts;
        let Report { ends, held, moved, .. } = report;
        write!(
            formatter,
            "    {} states, {} different, depth {}, {actors} host states, {messages} messages, \
             {turns} turns; of {ends} ends {held} held, {moved} anew; {:.1} s, {} MiB",
            report.generated,
            report.unique,
            report.depth,
            report.took.as_secs_f64(),
            most_memory_mib(),
        )?;
        match &self.story {
            Some(story) if self.shows_story || !self.must_break => write!(formatter, "\n{story}"),
            _ => Ok(()),
        }
    }
}

/// Returns the most memory this process ever had, in MiB; 0 where the kernel does not tell.
fn most_memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
