//! When the reset lines of the emulated board were active, as QEMU traces it.
//!
//! The lines are LEDs of the board, numbered from 0 as the ports are. A reset of the board lights
//! all of its eight LEDs until the firmware runs, which takes less than a millisecond when the
//! processor is free. This is a trait of the emulated board and no pulse: it is known by the LEDs
//! that no port has.

use nix::sys::time::{TimeSpec, TimeValLike};

use crate::demo::stopwatch::Stopwatch;

/// A time in which a reset line was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The port whose line it is, from 0.
    pub port: usize,
    /// When it became active, in microseconds of boot time.
    pub begun_us: u64,
    /// When it became inactive again, if it has.
    pub ended_us: Option<u64>,
}

/// Returns every pulse in what QEMU wrote, by the time at which they began.
#[must_use]
pub fn pulses(journal: &str) -> Vec<Pulse> {
    let stopwatch = Stopwatch::new();
    let mut pulses = of_changes(journal.lines().filter_map(change));
    let boot_time = |at_us: u64| {
        let at_us = i64::try_from(at_us).unwrap_or(i64::MAX);
        stopwatch.from_wall_clock_us(TimeSpec::microseconds(at_us))
    };
    for pulse in &mut pulses {
        pulse.begun_us = boot_time(pulse.begun_us);
        pulse.ended_us = pulse.ended_us.map(boot_time);
    }
    pulses
}

/// A change of an LED.
#[derive(Clone, Copy, Debug)]
struct Change {
    at_us: u64,
    led: usize,
    is_lit: bool,
}

/// The highest LED, which is no port's line.
const LAST_LED: usize = 7;

/// How long after a line's LED the last one comes on if all of them do.
const TOGETHER_US: u64 = 1_000;

/// Returns the pulses among the changes, by the time at which they began.
fn of_changes(changes: impl Iterator<Item = Change>) -> Vec<Pulse> {
    let mut pulses: Vec<Pulse> = Vec::new();
    for Change { at_us, led, is_lit } in changes {
        if led == LAST_LED && is_lit {
            pulses.retain(|pulse| at_us.saturating_sub(pulse.begun_us) > TOGETHER_US);
        } else if is_lit {
            pulses.push(Pulse { port: led, begun_us: at_us, ended_us: None });
        } else if let Some(pulse) = pulses.iter_mut().rfind(|pulse| pulse.port == led) {
            pulse.ended_us = pulse.ended_us.or(Some(at_us));
        }
    }
    pulses
}

/// Returns what a line of the trace says of an LED of the lines.
fn change(line: &str) -> Option<Change> {
    let (place, text) = line.split_once(":led_change_intensity ")?;
    let (seconds, micros) = place.split_once('@')?.1.split_once('.')?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    let (_, rest) = text.split_once("desc:'SCC LED")?;
    let (led, rest) = rest.split_once('\'')?;
    let to = rest.rsplit("-> ").next()?;
    let is_lit = to.trim() != "0%";
    Some(Change { at_us: seconds * 1_000_000 + micros, led: led.parse().ok()?, is_lit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_us: u64, led: usize, is_lit: bool) -> String {
        let (from, to) = if is_lit { (0, 100) } else { (100, 0) };
        format!(
            "17@{}.{:06}:led_change_intensity LED desc:'SCC LED{led}' color:green \
             intensity {from}% -> {to}%",
            at_us / 1_000_000,
            at_us % 1_000_000
        )
    }

    fn all(at_us: u64, is_lit: bool) -> Vec<String> {
        (0..8).map(|led| line(at_us + led, usize::try_from(led).unwrap(), is_lit)).collect()
    }

    fn found(lines: &[String]) -> Vec<(usize, u64, Option<u64>)> {
        let pulses = of_changes(lines.iter().filter_map(|line| change(line)));
        pulses.iter().map(|pulse| (pulse.port, pulse.begun_us, pulse.ended_us)).collect()
    }

    #[test]
    fn a_pulse_lasts_from_one_change_to_the_next() {
        let other = "2026-11-22T00:07:00Z qemu-system-arm: warning: no peer".to_owned();
        let button = line(1_500_000, 1, true).replace("SCC LED", "USERLED");
        let lines = [other, line(1_000_007, 1, true), button, line(1_500_009, 1, false)];
        assert_eq!(found(&lines), [(1, 1_000_007, Some(1_500_009))]);
        assert_eq!(found(&lines[..2]), [(1, 1_000_007, None)]);
    }

    #[test]
    fn a_reset_of_the_board_is_no_pulse_and_may_end_one() {
        let mut lines = [all(5, true), all(900, false)].concat();
        assert_eq!(found(&lines), []);
        lines.push(line(2_000_000, 0, true));
        lines.extend(all(2_300_000, true).into_iter().skip(1));
        lines.extend(all(2_300_500, false));
        assert_eq!(found(&lines), [(0, 2_000_000, Some(2_300_500))]);
    }
}
