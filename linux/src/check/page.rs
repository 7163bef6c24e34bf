//! A check as a page that can be doubted term by term.

use core::fmt;

use super::{Bounds, Check, GroupCheck};

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}, digest {}", self.heading, self.digest)?;
        for group in &self.groups {
            writeln!(formatter)?;
            group.write(formatter, &self.enforcer)?;
        }
        for line in &self.lines {
            write!(formatter, "\n{line}")?;
        }
        if let Some(bytes) = self.record_bytes {
            let most = bytes >> 20;
            writeln!(formatter, "\nrecords: each node up to {most} MiB, for `lifesign replay`")?;
        }
        if !self.assumptions.is_empty() {
            writeln!(formatter)?;
        }
        for assumption in &self.assumptions {
            writeln!(formatter, "assumes: {assumption}")?;
        }
        if !self.warnings.is_empty() {
            writeln!(formatter)?;
        }
        for warning in &self.warnings {
            writeln!(formatter, "warning: {warning}")?;
        }
        for error in &self.errors {
            writeln!(formatter, "error: {error}")?;
        }
        writeln!(formatter)?;
        formatter.write_str(match (self.accepted, self.safe) {
            (true, true) => "SAFE: no two nodes can answer for one address",
            (true, false) => "NOT SAFE, by your consent: two nodes can answer for one address",
            (false, _) => "REFUSED: these settings are not run",
        })
    }
}

impl GroupCheck {
    fn write(&self, formatter: &mut fmt::Formatter<'_>, enforcer: &str) -> fmt::Result {
        let terms = &self.terms;
        writeln!(
            formatter,
            "group {}, guard {}, on {}",
            self.name,
            self.guard,
            self.nodes.join(", ")
        )?;
        if let Some(mac) = &self.mac {
            writeln!(formatter, "  MAC address {mac}")?;
        }
        let rho = f64::from(terms.clock_error_ppm) / 10_000.0;
        let stop = match self.guard {
            "stop" => "stop limits and margins",
            "fence" => "who could still be holding it is fenced",
            _ => "the kernel silences the addresses",
        };
        let granularity = if terms.granularity_ms == 0.0 {
            "the kernel holds the deadline"
        } else {
            "one heartbeat"
        };
        let watchdog = self.watchdog.and_then(|watchdog| watchdog.source());
        let enforcer = watchdog.as_deref().unwrap_or(enforcer);
        let overshoot = if watchdog.is_some() { "overshoot" } else { "kernel's overshoot" };
        for (letter, name, value, unit, why) in [
            ("L", "promise", terms.promise_ms, "ms", "on a voter's clock"),
            ("rho", "clock error", rho, "% ", "of every clock"),
            ("S", "stop budget", terms.stop_ms, "ms", stop),
            ("g", "daemon's lateness", terms.granularity_ms, "ms", granularity),
            ("K", overshoot, terms.overshoot_ms, "ms", enforcer),
            ("D", "authority", terms.authority_ms, "ms", "what is left"),
        ] {
            writeln!(formatter, "  {letter:<3}  {name:<20} {value:>11.3} {unit}  {why}")?;
        }
        let sum = terms.authority_ms + terms.stop_ms + terms.granularity_ms + terms.overshoot_ms;
        let relation = if self.bounds.is_some() { "<=" } else { "is too little of" };
        writeln!(
            formatter,
            "  D + S + g + K = {:.3} ms {relation} L * (1 - rho) / (1 + rho) = {:.3} ms",
            sum, terms.secured_ms
        )?;
        if let Some(watchdog) = &self.watchdog {
            writeln!(formatter, "  {}", watchdog.otherwise())?;
        }
        self.bounds.as_ref().map_or(Ok(()), |bounds| self.write_bounds(formatter, bounds))
    }

    fn write_bounds(&self, formatter: &mut fmt::Formatter<'_>, bounds: &Bounds) -> fmt::Result {
        writeln!(
            formatter,
            "  survives {} lost in a row before a peer is taken for dead, {} before it lets go",
            heartbeats(self.survives.dead),
            self.survives.authority,
        )?;
        writeln!(formatter, "  worst time without an answer")?;
        let sum: Vec<String> = bounds
            .crash_terms
            .iter()
            .filter(|(_, term)| *term > 0.0)
            .map(|(name, term)| format!("{term:.1} {name}"))
            .collect();
        let times = [
            ("crash of the holder", Some(bounds.crash_ms)),
            ("daemon killed", Some(bounds.daemon_killed_ms)),
            ("orderly switchover", Some(bounds.switchover_ms)),
            ("adapter unplugged", bounds.swap.map(|swap| swap.no_carrier_ms)),
            ("adapter silent", bounds.swap.map(|swap| swap.silent_ms)),
        ];
        let times = times.into_iter().filter_map(|(what, value)| Some((what, value?)));
        for (what, value) in times {
            writeln!(formatter, "    {what:<23} {value:>11.1} ms")?;
        }
        writeln!(formatter, "    a crash is {}", sum.join(" + "))?;
        let is_fenced =
            bounds.crash_terms.iter().any(|(name, term)| *name == "fence" && *term > 0.0);
        if self.guard == "fence" && !is_fenced {
            writeln!(formatter, "    and the time until what cannot be fenced is back")?;
        }
        if bounds.services_start_ms > 0.0 {
            let start = bounds.services_start_ms;
            writeln!(formatter, "    its services may then take {start} ms to start")?;
        }
        writeln!(
            formatter,
            "  an isolated holder is silent {:.1} ms after its last answered heartbeat",
            bounds.isolated_silent_ms
        )
    }
}

fn heartbeats(count: u64) -> String {
    if count == 1 { "1 heartbeat".to_owned() } else { format!("{count} heartbeats") }
}
