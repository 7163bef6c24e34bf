//! What a watchdog does to the inequality of a group whose services must have stopped.

use lifesign_core::config::Lease;
use lifesign_core::group::Guard;
use lifesign_core::time::Duration;
use lifesign_core::watchdog::overshoot;
use serde::Serialize;

use super::millis;
use crate::page::list;
use crate::settings::safety::promise_for;
use crate::settings::watchdog::{RESET_LIMIT, TIMEOUT};
use crate::settings::{Group, Settings, written_span};

/// A group's K with a watchdog and without, and how long the promise must be with the other one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WatchdogCheck {
    /// Whether there is one; else the terms are those of one with the usual spans.
    pub present: bool,
    /// W.
    pub timeout_ms: f64,
    /// F.
    pub reset_limit_ms: f64,
    /// K if it were otherwise: without the watchdog, or with one.
    pub other_overshoot_ms: f64,
    /// L that would leave the same authority then.
    pub other_promise_ms: f64,
}

impl WatchdogCheck {
    /// Judges `group`, whose terms are `lease` and whose authority is `authority`, if stopping is
    /// its guard.
    pub(super) fn new(
        settings: &Settings,
        group: &Group,
        kernel: Duration,
        lease: &Lease,
        authority: Duration,
    ) -> Option<Self> {
        if group.guard != Guard::Stop {
            return None;
        }
        let present = settings.enforcing_watchdog(group);
        let known = settings.watchdog.as_ref();
        let (timeout, reset_limit) =
            known.map_or((TIMEOUT, RESET_LIMIT), |known| (known.timeout, known.reset_limit));
        let without = settings.lease_without_watchdog(group, kernel).overshoot;
        let other = match present {
            Some(_) => without,
            None => without.max(overshoot(timeout, reset_limit)),
        };
        let spent = authority + lease.stop + lease.granularity + other;
        Some(Self {
            present: present.is_some(),
            timeout_ms: millis(timeout),
            reset_limit_ms: millis(reset_limit),
            other_overshoot_ms: millis(other),
            other_promise_ms: millis(promise_for(spent, settings.clock_error)),
        })
    }

    /// Returns where K comes from, if it is the watchdog's.
    pub(super) fn source(&self) -> Option<String> {
        let Self { present, timeout_ms, reset_limit_ms, .. } = self;
        present
            .then(|| format!("2 W + F of the watchdog, W {timeout_ms} ms, F {reset_limit_ms} ms"))
    }

    /// Returns what would be otherwise with the watchdog gone, or there.
    pub(super) fn otherwise(&self) -> String {
        let (k, promise) = (self.other_overshoot_ms, self.other_promise_ms);
        if self.present {
            format!("without the watchdog K is {k} ms, and L = {promise} ms leaves the same D")
        } else {
            let (w, f) = (self.timeout_ms, self.reset_limit_ms);
            format!(
                "with a watchdog, W {w} ms and F {f} ms, K is {k} ms, and L = {promise} ms leaves \
                 the same D"
            )
        }
    }
}

/// Says which groups nothing stops on a server whose daemon hangs, and when a watchdog is there in
/// vain.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let unwatched = settings
        .groups
        .iter()
        .filter(|group| group.guard == Guard::Stop && settings.enforcing_watchdog(group).is_none());
    let unwatched: Vec<&str> = unwatched.map(|group| group.name.as_str()).collect();
    let mut warnings = Vec::new();
    if !unwatched.is_empty() {
        let plural = if unwatched.len() > 1 { "groups" } else { "group" };
        warnings.push(format!(
            "{plural} {}: guard \"stop\" rests on stop commands alone: where the daemon hangs, \
             services run on while they start elsewhere; add a `[watchdog]`, or write guard = \
             \"fence\"",
            list(&unwatched)
        ));
    }
    if let Some(watchdog) = &settings.watchdog {
        if !settings.groups.iter().any(|group| group.watchdog) {
            warnings.push(
                "the watchdog guards nothing: no group has guard = \"stop\" or watchdog = true"
                    .to_owned(),
            );
        } else if !watchdog.required {
            warnings.push(
                "the watchdog is not required: a node that cannot arm it takes the groups all the \
                 same, and then the inequality rests on stop commands alone"
                    .to_owned(),
            );
        }
    }
    warnings
}

/// Returns what must be true of a watchdog.
pub(super) fn assumption(settings: &Settings) -> Option<String> {
    let watchdog = settings.watchdog.as_ref()?;
    let enforces = settings.groups.iter().any(|it| settings.enforcing_watchdog(it).is_some());
    let span = written_span(watchdog.reset_limit);
    enforces.then(|| {
        format!(
            "a machine is silent {span} after its watchdog has expired: hardware resets at once; \
             softdog is a timer of the kernel, and no help against a kernel that hangs"
        )
    })
}
