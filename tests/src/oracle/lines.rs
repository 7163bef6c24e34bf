//! What goes out on serial lines: frames with a right tag, each once.

use std::collections::BTreeMap;

/// How many numbers below the newest are remembered.
const WINDOW: u64 = 256;

/// Which of a sender's frames have gone out on one direction of a line.
#[derive(Clone, Debug, Default)]
struct Gone {
    newest: u64,
    /// One place for each of the last numbers; the number that went there last.
    last: Vec<u64>,
}

/// What has gone out on each direction of each line since its writer started.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// By writer, direction, and the sender's start.
    gone: BTreeMap<(u8, u8, u8, u64), Gone>,
}

impl Lines {
    /// A writer starts: it remembers nothing of what it has sent.
    pub(super) fn started(&mut self, writer: u8) {
        self.gone.retain(|(from, ..), _| *from != writer);
    }

    /// Returns whether a frame goes out for the second time, or is so old that it may be.
    pub(super) fn again(&mut self, writer: u8, line: u8, frame: (u8, u64, u64)) -> bool {
        let (sender, boot, number) = frame;
        let gone = self.gone.entry((writer, line, sender, boot)).or_default();
        if gone.newest > number + WINDOW {
            return true;
        }
        gone.newest = gone.newest.max(number);
        gone.last.resize(256, 0);
        let place = usize::try_from(number % WINDOW).unwrap_or(0);
        std::mem::replace(&mut gone.last[place], number) == number
    }
}
