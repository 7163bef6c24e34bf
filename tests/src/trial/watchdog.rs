//! Watchdogs beside the machines of a trial.

use lifesign::demo::watchdog::{Dial, Kind, Watchdog};

use super::Trial;

impl Trial {
    /// Puts a watchdog beside the machine of `name`; its device is the file `NAME.watchdog` beside
    /// the settings.
    pub fn add_watchdog(&mut self, name: &str, kind: Kind) {
        let path = self.cluster.directory().join(format!("{name}.watchdog"));
        let watchdog = Watchdog::start(&path, kind).expect("a watchdog");
        self.watchdogs.push((name.to_owned(), watchdog));
    }

    /// Returns what has become of the watchdog of `name`.
    #[must_use]
    pub fn dial(&self, name: &str) -> Dial {
        let found = self.watchdogs.iter().find(|(owner, _)| owner == name);
        found.expect("a watchdog").1.dial()
    }

    /// Waits until the watchdog of `name` has bitten, pulls the cables of the dead machine, and
    /// returns when it bit.
    pub fn await_bite(&mut self, name: &str) -> u64 {
        self.await_that(&format!("the watchdog of {name} bites"), |trial| {
            !trial.dial(name).bites_us.is_empty()
        });
        self.crash(name);
        self.dial(name).bites_us.last().copied().unwrap_or_default()
    }

    /// Lets the watchdogs of `name` know that its machine is on.
    pub(super) fn tell_watchdogs(&mut self, name: &str) {
        let first = self.cluster.lab_mut().machine(name).first_process();
        for (_, watchdog) in self.watchdogs.iter().filter(|(owner, _)| owner == name) {
            first.into_iter().for_each(|first| watchdog.stand_beside(first));
        }
    }
}
