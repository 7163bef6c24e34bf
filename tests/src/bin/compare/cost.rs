//! What the processes of a machine cost: processor time and memory.

use std::fs;
use std::io;

use lifesign::demo::machine::Machine;

/// The cost of all processes on a machine at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Processor time since they started, with that of children which have ended, in seconds.
    pub(crate) processor_s: f64,
    /// Memory in their proportional share, in mebibytes.
    pub(crate) memory_mib: f64,
}

impl Cost {
    /// Returns the cost of what runs on `machine`, without the laboratory's own process there.
    pub(crate) fn of(machine: &Machine) -> io::Result<Self> {
        let mut cost = Self::default();
        for id in machine.process_ids()? {
            let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
            let shares = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            cost.processor_s += ticks(&stat) / TICKS_IN_SECOND;
            cost.memory_mib += share_kib(&shares) / 1024.0;
        }
        Ok(cost)
    }
}

/// The unit of processor times, `USER_HZ`, which is the same on all architectures of Linux here.
const TICKS_IN_SECOND: f64 = 100.0;

/// Returns the sum of the four processor times in `/proc/PID/stat`: its fields 14 to 17.
fn ticks(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The field after the name is the third.
    let times = after_name.split_whitespace().skip(14 - 3).take(4);
    times.filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// Returns the proportional share in `/proc/PID/smaps_rollup`, in kibibytes.
fn share_kib(shares: &str) -> f64 {
    let line = shares.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
