//! When the reset lines of the emulated board were active, as QEMU traces it.
//!
//! The lines are LEDs of the board, numbered from 0 as the ports are. A reset of the board lights
//! all of its eight LEDs until the firmware runs. This is a trait of the emulated board and no
//! pulse: it is known by the thread of QEMU that does it, which is another one than the processor,
//! and that thread is known by the last LED, which no port has.

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
    let changes: Vec<Change> = journal.lines().filter_map(change).collect();
    let mut pulses = of_changes(&changes);
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
    thread: u32,
    at_us: u64,
    led: usize,
    is_lit: bool,
}

/// The highest LED, which is no port's line.
const LAST_LED: usize = 7;

/// Returns the pulses among the changes, by the time at which they began.
fn of_changes(changes: &[Change]) -> Vec<Pulse> {
    let is_last = |change: &&Change| change.led == LAST_LED && change.is_lit;
    let resetter = changes.iter().find(is_last).map(|change| change.thread);
    let mut pulses: Vec<Pulse> = Vec::new();
    for &Change { thread, at_us, led, is_lit } in changes {
        if is_lit {
            if Some(thread) != resetter {
                pulses.push(Pulse { port: led, begun_us: at_us, ended_us: None });
            }
        } else if let Some(pulse) = pulses.iter_mut().rfind(|pulse| pulse.port == led) {
            pulse.ended_us = pulse.ended_us.or(Some(at_us));
        }
    }
    pulses
}

/// Returns what a line of the trace says of an LED of the lines.
fn change(line: &str) -> Option<Change> {
    let (place, text) = line.split_once(":led_change_intensity ")?;
    let (thread, time) = place.split_once('@')?;
    let (seconds, micros) = time.split_once('.')?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    let (_, rest) = text.split_once("desc:'SCC LED")?;
    let (led, rest) = rest.split_once('\'')?;
    let to = rest.rsplit("-> ").next()?;
    let is_lit = to.trim() != "0%";
    let (thread, led) = (thread.parse().ok()?, led.parse().ok()?);
    Some(Change { thread, at_us: seconds * 1_000_000 + micros, led, is_lit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: u32 = 2;
    const PROCESSOR: u32 = 5;

    fn line(thread: u32, at_us: u64, led: usize, is_lit: bool) -> String {
        let (from, to) = if is_lit { (0, 100) } else { (100, 0) };
        format!(
            "{thread}@{}.{:06}:led_change_intensity LED desc:'SCC LED{led}' color:green \
             intensity {from}% -> {to}%",
            at_us / 1_000_000,
            at_us % 1_000_000
        )
    }

    fn reset(at_us: u64) -> Vec<String> {
        (0..8).map(|led| line(BOARD, at_us, led, true)).collect()
    }

    fn start(at_us: u64) -> Vec<String> {
        (0..8).map(|led| line(PROCESSOR, at_us, led, false)).collect()
    }

    fn found(lines: &[String]) -> Vec<(usize, u64, Option<u64>)> {
        let changes: Vec<Change> = lines.iter().filter_map(|line| change(line)).collect();
        let pulses = of_changes(&changes);
        pulses.iter().map(|pulse| (pulse.port, pulse.begun_us, pulse.ended_us)).collect()
    }

    #[test]
    fn a_pulse_lasts_from_one_change_to_the_next() {
        let other = "2026-11-22T00:07:00Z qemu-system-arm: warning: no peer".to_owned();
        let button = line(PROCESSOR, 1_500_000, 1, true).replace("SCC LED", "USERLED");
        let ends = [(1_000_007, true), (1_500_009, false)];
        let [begun, ended] = ends.map(|(at_us, is_lit)| line(PROCESSOR, at_us, 1, is_lit));
        let lines = [other, begun, button, ended];
        assert_eq!(found(&lines), [(1, 1_000_007, Some(1_500_009))]);
        assert_eq!(found(&lines[..2]), [(1, 1_000_007, None)]);
    }

    #[test]
    fn a_reset_of_the_board_is_no_pulse_and_may_end_one() {
        let mut lines = [reset(5), start(900)].concat();
        assert_eq!(found(&lines), []);
        lines.push(line(PROCESSOR, 2_000_000, 0, true));
        lines.extend(reset(2_300_000).into_iter().skip(1));
        lines.extend(start(2_300_500));
        assert_eq!(found(&lines), [(0, 2_000_000, Some(2_300_500))]);
    }
}
