//! The ports of serial links: what is told of each, and what is worth an alert.

use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::time::Instant;

use super::Daemon;
use crate::link::State;
use crate::link::serial::diagnosis::Diagnosis;
use crate::link::serial::port::Port;
use crate::link::serial::terminal::LowLatency;
use crate::report::{LineErrorsReport, PortReport};

/// How alerts on ports begin.
const PORT: &str = "port ";

impl Daemon {
    /// Tells which ports cannot be had or hear what they should not, and when that is over.
    pub(super) fn look_at_ports(&mut self, now: Instant) {
        let wrong: Vec<String> = self
            .links
            .iter()
            .flat_map(|link| {
                let faults = link.ports().iter().filter_map(|port| fault(port, now));
                faults.map(|fault| format!("{PORT}{fault} (link {})", link.name()))
            })
            .collect();
        self.replace_alerts(PORT, wrong);
    }

    /// Returns why the dongle that is `witness` may not be heard, as far as its line tells.
    pub(super) fn why_unheard(&self, witness: NodeId) -> Option<String> {
        let is_it = |(_, link): &(LinkId, &crate::settings::Link)| {
            link.serial().is_some_and(|serial| serial.witness == Some(witness))
        };
        let (id, _) = self.settings.links().find(is_it)?;
        let now = self.engine.now();
        let ports = self.links.get(id.index())?.ports();
        let faults = self.dongle_report(id, now).map(|dongle| dongle.faults).unwrap_or_default();
        let is_up = |port: &&Port| port.state() == State::Up;
        match (ports.iter().find(is_up), faults.into_iter().next()) {
            (_, Some(fault)) => Some(fault),
            (None, None) => ports.first().map(Port::to_string),
            (Some(port), None) => {
                Some(format!("{}: {}", port.device().display(), port.diagnosis(now)))
            }
        }
    }

    /// Returns what is known of the ports of `link`.
    pub(super) fn port_reports(&self, link: LinkId, now: Instant) -> Vec<PortReport> {
        let ports = self.links.get(link.index()).map(|link| link.ports()).unwrap_or_default();
        ports.iter().map(|port| report(port, now)).collect()
    }
}

/// Returns what is wrong at a port, if it is worth an alert. That nothing comes in is none: with a
/// peer that is alive, redundancy is lost and that is told.
fn fault(port: &Port, now: Instant) -> Option<String> {
    if port.state() != State::Up {
        return Some(port.to_string());
    }
    let diagnosis = port.diagnosis(now);
    match diagnosis {
        Diagnosis::Good | Diagnosis::Silent | Diagnosis::Noisy | Diagnosis::DongleAlone => None,
        Diagnosis::Noise
        | Diagnosis::Loopback
        | Diagnosis::Swapped
        | Diagnosis::Foreign
        | Diagnosis::OtherVersion => Some(format!("{}: {diagnosis}", port.device().display())),
    }
}

fn report(port: &Port, now: Instant) -> PortReport {
    let statistics = port.statistics();
    let is_up = port.state() == State::Up;
    let said = port.to_string();
    let state = said.strip_prefix(&format!("{}: ", port.device().display())).unwrap_or(&said);
    PortReport {
        device: port.device().display().to_string(),
        state: if is_up { "up".to_owned() } else { format!("down: {state}") },
        diagnosis: is_up.then(|| port.diagnosis(now).to_string()),
        sent: statistics.sent,
        received: statistics.received,
        relayed: statistics.relayed,
        copies: statistics.copies,
        returned: statistics.returned,
        low_latency: match port.low_latency() {
            Some(LowLatency::On) => Some(true),
            Some(LowLatency::Off | LowLatency::Refused) => Some(false),
            Some(LowLatency::Unknown) | None => None,
        },
        latency_timer_ms: port.latency_timer_ms(),
        lost: statistics.displaced + statistics.dropped,
        garbage: statistics.garbage.total(),
        line_errors: statistics.line_errors.map(|errors| LineErrorsReport {
            framing: errors.framing,
            parity: errors.parity,
            overruns: errors.overruns,
            breaks: errors.breaks,
        }),
        hang_ups: statistics.hang_ups,
        reopened: statistics.reopened,
    }
}
