//! How the demonstration speaks: a live picture on a terminal, lines in a pipe, JSON for machines.

use std::io::{self, IsTerminal, Stdout, Write};

use super::picture::{Screen, View, draw};
use super::scene::Outcome;

/// Where the demonstration writes.
#[derive(Debug)]
pub enum Show {
    /// A terminal with a picture.
    Picture(Screen<Stdout>),
    /// One line for each thing that happens.
    Lines,
    /// Nothing until the end.
    Json,
}

impl Show {
    /// Returns what fits the standard output.
    #[must_use]
    pub fn for_standard_output(json: bool) -> Self {
        if json {
            Self::Json
        } else if io::stdout().is_terminal() {
            Self::Picture(Screen::new(io::stdout()))
        } else {
            Self::Lines
        }
    }

    /// Says one sentence; the picture has it in its own place.
    pub fn say(&mut self, sentence: &str) {
        if matches!(self, Self::Lines) {
            write_out(&format!("{sentence}\n"));
        }
    }

    /// Shows a picture where one can be shown.
    pub fn draw(&mut self, view: &View) {
        if let Self::Picture(screen) = self {
            // A terminal that has gone shows nothing, and the scenes go on for the exit status.
            drop(screen.show(&draw(view)));
        }
    }

    /// Returns whether there is a picture to draw.
    #[must_use]
    pub const fn has_picture(&self) -> bool {
        matches!(self, Self::Picture(_))
    }

    /// Writes what was measured in all scenes.
    pub fn conclude(&mut self, outcomes: &[Outcome]) {
        match self {
            Self::Json => match serde_json::to_string_pretty(outcomes) {
                Ok(text) => write_out(&format!("{text}\n")),
                Err(error) => write_out(&format!("{error}\n")),
            },
            Self::Picture(_) | Self::Lines => write_out(&format!("\n{}", table(outcomes))),
        }
    }
}

/// Returns the outcomes as a table.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<22} {:>14} {:>12} {:>12}  {}\n",
        "scene", "longest outage", "two holders", "promised", "kept"
    );
    for outcome in outcomes {
        text += &format!(
            "{:<22} {:>11.1} ms {:>9.1} ms {:>9.1} ms  {}\n",
            outcome.scene,
            outcome.outage_ms,
            outcome.two_holders_ms,
            outcome.bound_ms,
            if outcome.kept { "yes" } else { "NO" },
        );
        for told in &outcome.observed {
            text += &format!("    {told}\n");
        }
    }
    text
}

/// Writes to the standard output; who closed it does not want it.
fn write_out(text: &str) {
    let mut out = io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_scene() {
        let outcome = |scene, kept| Outcome {
            scene,
            outage_ms: 1.25,
            two_holders_ms: 0.0,
            bound_ms: 60.0,
            kept,
            observed: if kept { vec!["a cat was seen".to_owned()] } else { Vec::new() },
        };
        let expected = "scene                  longest outage  two holders     promised  kept
switchover                     1.2 ms       0.0 ms      60.0 ms  yes
    a cat was seen
server crashed                 1.2 ms       0.0 ms      60.0 ms  NO
";
        assert_eq!(
            table(&[outcome("switchover", true), outcome("server crashed", false)]),
            expected
        );
    }
}
