//! What is told of the watchdog.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::page::{span, times};
use crate::watchdog::note::Note;

/// The watchdog of the reporting node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogReport {
    /// Its device.
    pub device: String,
    /// `armed`, `resting`, `opening` or `unusable`.
    pub state: String,
    /// Why it is unusable.
    pub why: Option<String>,
    /// Whether groups that need it are left alone while it is unusable.
    pub required: bool,
    /// W as the driver counts it, or as the settings want it.
    pub timeout_ms: u64,
    /// What the driver calls itself.
    pub identity: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<u32>,
    /// Whether it never stops once it counts, if the kernel tells.
    pub nowayout: Option<bool>,
    /// Whether it goes on counting when it is closed without a word.
    pub magic_close: Option<bool>,
    /// Whether it can stop counting while it is open.
    pub can_rest: Option<bool>,
    /// Why the machine was started, as far as the driver knows.
    pub boot_status: Vec<String>,
    /// For how long it is fed at most if nothing more is heard, while anything that needs it is up.
    pub fed_for_ms: Option<u64>,
    /// The group whose time that is.
    pub fed_because_of: Option<String>,
    /// When it was last left to bite, if ever.
    pub last_bite: Option<BiteReport>,
}

/// That a watchdog was left to bite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BiteReport {
    /// How often that has happened on this node.
    pub count: u64,
    /// When feeding ended, on the wall clock, in microseconds since 1970.
    pub wall_us: u64,
    /// Why: a sentence, without a full stop.
    pub why: String,
    /// Whether the machine has been started since.
    pub machine_started_since: bool,
}

impl From<&Note> for BiteReport {
    fn from(note: &Note) -> Self {
        Self {
            count: note.count,
            wall_us: note.wall_us,
            why: note.why.clone(),
            machine_started_since: note.is_of_another_start(),
        }
    }
}

impl BiteReport {
    /// Returns it as a sentence, without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let ago = span(clock::wall_us().saturating_sub(self.wall_us) / 1000);
        let count = times(self.count);
        let since = if self.machine_started_since {
            "the machine has been started since"
        } else {
            "the machine has not been started since"
        };
        format!(
            "was let bite {ago} ago because {}; {since} (it was let bite {count} in all)",
            self.why
        )
    }
}

impl WatchdogReport {
    /// Returns it in a few words, without the device.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut said = vec![match &self.why {
            Some(why) => format!("cannot be armed: {why}"),
            None => self.state.clone(),
        }];
        if let (Some(identity), Some(firmware)) = (&self.identity, self.firmware) {
            said.push(format!("{identity}, firmware {firmware}"));
        }
        said.push(format!("resets {} after its last feed", span(self.timeout_ms)));
        if let (Some(left), Some(group)) = (self.fed_for_ms, &self.fed_because_of) {
            said.push(match left {
                0 => format!("not fed any more, because {group} has not stopped"),
                left => format!("fed for another {} at most, for {group}", span(left)),
            });
        }
        if self.nowayout == Some(true) {
            said.push("nowayout".to_owned());
        }
        if self.magic_close == Some(false) {
            said.push("no magic close".to_owned());
        }
        if !self.required {
            said.push("not required".to_owned());
        }
        said.extend(self.boot_status.iter().cloned());
        said.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn armed() -> WatchdogReport {
        WatchdogReport {
            device: "/dev/watchdog".to_owned(),
            state: "armed".to_owned(),
            why: None,
            required: true,
            timeout_ms: 5000,
            identity: Some("iTCO_wdt".to_owned()),
            firmware: Some(2),
            nowayout: Some(false),
            magic_close: Some(true),
            can_rest: Some(true),
            boot_status: vec!["the watchdog had reset the machine".to_owned()],
            fed_for_ms: Some(12_000),
            fed_because_of: Some("db".to_owned()),
            last_bite: None,
        }
    }

    #[test]
    fn a_watchdog_is_told_in_a_line() {
        assert_eq!(
            armed().sentence(),
            "armed; iTCO_wdt, firmware 2; resets 5.0 s after its last feed; fed for another 12 s at \
             most, for db; the watchdog had reset the machine"
        );
        let starved = WatchdogReport { fed_for_ms: Some(0), required: false, ..armed() };
        let said = starved.sentence();
        assert!(said.contains("not fed any more, because db has not stopped"), "{said}");
        assert!(said.contains("; not required"), "{said}");
        let unusable =
            WatchdogReport { why: Some("held by sbd (process 7)".to_owned()), ..armed() };
        assert!(unusable.sentence().starts_with("cannot be armed: held by sbd (process 7); "));
    }

    #[test]
    fn a_bite_says_when_and_why_and_how_often() {
        let bite = BiteReport {
            count: 2,
            wall_us: clock::wall_us() - 61_000_000,
            why: "db did not stop in time".to_owned(),
            machine_started_since: true,
        };
        assert_eq!(
            bite.sentence(),
            "was let bite 1 min 01 s ago because db did not stop in time; the machine has been \
             started since (it was let bite 2 times in all)"
        );
    }
}
