//! The links of a report, and the ports and dongles of serial ones.

use core::fmt::Write;

use super::column;
use crate::page::{Page, Paint, list, span, wrap};
use crate::report::{DongleReport, LinkReport, NetworkReport, PortReport, Report};

/// Writes a row for each link, and what there is to say of it below.
pub(super) fn write(text: &mut String, report: &Report, page: Page) {
    let names = column("LINK", report.links.iter().map(|link| link.name.as_str()), 10);
    let heading = format!(
        "{:names$}{:16}{:>11}{:>11}{:>9}{:>10}  STATE",
        "LINK", "ADAPTER", "SENT", "RECEIVED", "DROPPED", "REJECTED"
    );
    let _ = writeln!(text, "{}", page.paint(Paint::Heading, &heading));
    for link in &report.links {
        let rejected: u64 = link.rejected.values().sum();
        let _ = writeln!(
            text,
            "{}  {}{:>11}{:>11}{:>9}{rejected:>10}  {}",
            page.fit(&link.name, names - 2),
            page.fit(&place(link), 16),
            link.sent,
            link.received,
            link.drops,
            if link.is_up() { "up".to_owned() } else { page.paint(Paint::Bad, "down") },
        );
        if !link.is_up() && link.ports.is_empty() {
            text.push_str(&wrap("    ", &link.state));
        }
        for port in &link.ports {
            text.push_str(&wrap("    ", &described(port)));
        }
        if let Some(dongle) = &link.dongle {
            text.push_str(&wrap("    ", &introduced(dongle)));
        }
        let kinds: Vec<String> =
            link.rejected.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !kinds.is_empty() {
            text.push_str(&wrap("    rejected: ", &kinds.join(", ")));
        }
    }
    for network in &report.networks {
        text.push_str(&wrap("", &seated(network)));
    }
    text.push('\n');
}

/// Returns how the adapters of a network are, in one sentence.
fn seated(network: &NetworkReport) -> String {
    let adapters = network.adapters.iter().map(|seat| {
        let serves: Vec<&str> = seat.serves.iter().map(String::as_str).collect();
        let serves =
            if serves.is_empty() { String::new() } else { format!(" ({})", list(&serves)) };
        format!("{}{serves} {}", seat.adapter, seat.why)
    });
    format!("network {}: {}", network.name, adapters.collect::<Vec<_>>().join("; "))
}

/// Returns where a link leaves this node, in a few letters.
fn place(link: &LinkReport) -> String {
    match link.speed {
        Some(speed) => format!("serial {speed}"),
        None => link.adapter.clone(),
    }
}

/// Returns what is known of a port, in one line.
fn described(port: &PortReport) -> String {
    let said = port.diagnosis.as_deref().unwrap_or(&port.state);
    let errors = port.line_errors;
    let counts = [
        (port.lost, "lost"),
        (port.garbage, "damaged"),
        (errors.map_or(0, |errors| errors.framing), "framing errors"),
        (errors.map_or(0, |errors| errors.parity), "parity errors"),
        (errors.map_or(0, |errors| errors.overruns), "overruns"),
        (errors.map_or(0, |errors| errors.breaks), "breaks"),
        (port.hang_ups, "hang-ups"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let mut counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    match (port.latency_timer_ms, port.low_latency) {
        (Some(wait), _) if wait > 1 => counts.push(format!("waits {wait} ms for more bytes")),
        (_, Some(false)) => counts.push("waits for more bytes".to_owned()),
        _ => {}
    }
    if counts.is_empty() {
        return format!("{}: {said}", port.device);
    }
    format!("{}: {said} ({})", port.device, counts.join(", "))
}

/// Returns who a dongle is and how it is, in one line.
fn introduced(dongle: &DongleReport) -> String {
    let name = &dongle.witness;
    let (Some(firmware), Some(board)) = (&dongle.firmware, &dongle.board) else {
        return format!("dongle {name}: has not answered");
    };
    let uptime = dongle.uptime_ms.map(span).unwrap_or_default();
    let promises = if dongle.promises == Some(true) { "promises" } else { "does not promise yet" };
    let mut said =
        format!("dongle {name}: {promises}, up {uptime}, firmware {firmware} on {board}");
    for fault in &dongle.faults {
        let _ = write!(said, "; {fault}");
    }
    said
}
