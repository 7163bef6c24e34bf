//! What the decision thread asks of the kernel so that it runs when it must, and what it got.
//!
//! None of it is needed to be safe: a thread that comes late loses its authority, never keeps it.
//! It is needed not to come late on a busy machine. So each wish that the kernel refuses is a line
//! in the status, and the daemon goes on.

use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroUsize;

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::sys;

/// What [`enter`] obtained.
#[derive(Debug)]
pub struct Obtained {
    /// When the thread runs.
    pub scheduling: Scheduling,
    /// Whether its memory is never waited for; why not.
    pub memory: Result<(), String>,
    /// Whether its timers are not put off to go together with others; why not.
    pub timers: Result<(), String>,
    /// Whether it is the last to be ended when memory runs out; why not.
    pub survival: Result<(), String>,
}

/// When a thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// Before every ordinary thread.
    Fifo {
        /// Its priority, 1 to 99.
        priority: i32,
        /// Whether the process had to leave its control group for it.
        is_moved: bool,
    },
    /// With the largest share that an ordinary thread can have.
    Nice {
        /// Why it is not [`Fifo`](Self::Fifo).
        reason: String,
    },
    /// Like any other.
    Ordinary {
        /// Why it is not [`Fifo`](Self::Fifo).
        reason: String,
    },
}

/// Makes the calling thread real-time with `priority`, and locks the memory of its process.
///
/// What it starts afterwards is ordinary again. Call when all processes have been forked that
/// should be ordinary from the start, and before time matters: locking takes milliseconds.
#[must_use]
pub fn enter(priority: i32) -> Obtained {
    prefault_stack();
    sys::keep_heap();
    Obtained {
        memory: lock_memory(),
        timers: set_timerslack(1).map_err(|errno| errno.desc().to_owned()),
        survival: survive(),
        // Last, since what comes before may take its time.
        scheduling: schedule(priority),
    }
}

/// The priority to ask for where the settings name none: above what is merely urgent, below the
/// kernel's own threads that move frames.
pub const PRIORITY: i32 = 50;

/// Makes the calling thread real-time with `priority`, without locking memory: for a process that
/// has little to do, which the daemon's own locked pages serve as well.
#[must_use]
pub fn hurry(priority: i32) -> Scheduling {
    schedule(priority)
}

fn schedule(priority: i32) -> Scheduling {
    let fifo = |is_moved| Scheduling::Fifo { priority, is_moved };
    let Err(refusal) = sys::set_fifo_priority(priority) else { return fifo(false) };
    let reason = match leave_group() {
        Ok(()) => match sys::set_fifo_priority(priority) {
            Ok(()) => return fifo(true),
            Err(error) => format!("{error}, in the root control group too"),
        },
        Err(_) => refusal.to_string(),
    };
    match sys::set_nice(HIGHEST_SHARE) {
        Ok(()) => Scheduling::Nice { reason },
        Err(_) => Scheduling::Ordinary { reason },
    }
}

/// Moves the process to the root control group of the processor's controller.
///
/// With `CONFIG_RT_GROUP_SCHED` every other group begins without a share of real time, and refuses
/// the real-time classes until somebody gives it one.
///
/// # Errors
///
/// It is there already, no such hierarchy is mounted, or the move is refused.
fn leave_group() -> io::Result<()> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let root = processor_root(&groups, &mounts)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no group to leave"))?;
    fs::write(format!("{root}/cgroup.procs"), std::process::id().to_string())
}

/// Returns where the processor controller's hierarchy is mounted, if the process is below its root.
fn processor_root<'a>(groups: &str, mounts: &'a str) -> Option<&'a str> {
    // "ID:CONTROLLERS:PATH" each; the unified hierarchy has no controllers here.
    let group_of = |controller: &str| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        lines.find_map(|mut fields| {
            let names = fields.next()?;
            names.split(',').any(|name| name == controller).then(|| fields.next())?
        })
    };
    // "DEVICE DIRECTORY TYPE OPTIONS .." each.
    let mount_of = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (directory, its_kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let has_option = option.is_empty() || options.split(',').any(|each| each == option);
            (its_kind == kind && has_option).then_some(directory)
        })
    };
    match group_of("cpu") {
        Some("/") => None,
        Some(_) => mount_of("cgroup", "cpu"),
        None => group_of("").filter(|group| *group != "/").and_then(|_| mount_of("cgroup2", "")),
    }
}

fn lock_memory() -> Result<(), String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|errno| errno.to_string())?;
    // Below a limit, locking may succeed and the next allocation fail for it: worse than no lock.
    let is_free = limit == RLIM_INFINITY
        || setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok()
        || exceeding(limit).is_some_and(sys::may_lock);
    if !is_free {
        return Err(format!("the limit on locked memory is {} KiB", limit / 1024));
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(|errno: Errno| errno.desc().to_owned())
}

fn exceeding(limit: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(limit).ok()?.checked_add(1)?)
}

fn survive() -> Result<(), String> {
    fs::write("/proc/self/oom_score_adj", "-1000").map_err(|error| error.to_string())
}

/// Touches as much stack as the daemon will ever use, so that it is there.
#[inline(never)]
fn prefault_stack() {
    let mut stack = [0_u8; STACK_LEN];
    std::hint::black_box(&mut stack);
}

/// Far more than the deepest chain of calls, frames' buffers included.
const STACK_LEN: usize = 256 * 1024;
/// The nice value with the largest share of the processor.
const HIGHEST_SHARE: i32 = -20;

impl fmt::Display for Scheduling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo { priority, is_moved } => {
                write!(formatter, "real-time (FIFO {priority})")?;
                formatter.write_str(if *is_moved { " in the root control group" } else { "" })
            }
            Self::Nice { reason } => {
                write!(formatter, "nice {HIGHEST_SHARE}, not real-time: {reason}")
            }
            Self::Ordinary { reason } => write!(formatter, "ordinary, not real-time: {reason}"),
        }
    }
}

impl fmt::Display for Obtained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.scheduling)?;
        let wishes = [
            ("memory locked", "memory not locked", &self.memory),
            ("exact timers", "timers may be put off", &self.timers),
            ("spared when memory runs out", "may be ended when memory runs out", &self.survival),
        ];
        for (granted, refused, outcome) in wishes {
            match outcome {
                Ok(()) => write!(formatter, "; {granted}")?,
                Err(reason) => write!(formatter, "; {refused}: {reason}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "proc /proc proc rw 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
        cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
        cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n";

    #[test]
    fn the_way_to_the_root_group_is_found_in_both_kinds_of_hierarchy() {
        let v1 = "4:cpu,cpuacct:/system.slice/x.service\n3:cpuset:/\n0::/system.slice/x.service\n";
        assert_eq!(processor_root(v1, MOUNTS), Some("/sys/fs/cgroup/cpu,cpuacct"));
        let v2 = "0::/system.slice/x.service\n";
        assert_eq!(processor_root(v2, MOUNTS), Some("/sys/fs/cgroup/unified"));
        for at_root in ["4:cpu,cpuacct:/\n0::/system.slice\n", "0::/\n", ""] {
            assert_eq!(processor_root(at_root, MOUNTS), None, "{at_root}");
        }
        assert_eq!(processor_root(v1, "proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn what_was_obtained_is_one_line() {
        let obtained = Obtained {
            scheduling: Scheduling::Fifo { priority: 50, is_moved: true },
            memory: Err("the limit on locked memory is 8192 KiB".into()),
            timers: Ok(()),
            survival: Ok(()),
        };
        assert_eq!(
            obtained.to_string(),
            "real-time (FIFO 50) in the root control group; memory not locked: the limit on \
             locked memory is 8192 KiB; exact timers; spared when memory runs out"
        );
    }
}
