//! When the machine on which all of this runs stood still.
//!
//! Rounds judge what daemons do, and a daemon that gets no processor does nothing. The kernel
//! counts how long each thread has waited for a processor (`/proc/ID/schedstat`); a thread of ours
//! reads that again and again, and looks at its own delays. What is noted is a single wait of more
//! than [`LIMIT_US`]: then heartbeats may have been missed through nobody's fault.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lifesign::clock;

use crate::trial::pause;

/// A thread that notes when it, or a daemon, was kept from running.
#[derive(Debug)]
pub(super) struct Gauge {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    watched: BTreeMap<&'static str, Watched>,
    stalls: Vec<Stall>,
}

/// A process and how long it had waited when it was looked at last, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Watched {
    id: i32,
    waited_ns: Option<u64>,
}

/// A time for which somebody got no processor.
#[derive(Clone, Debug)]
pub(super) struct Stall {
    /// When it was over, by the boot clock.
    pub(super) end_us: u64,
    /// How long it was.
    pub(super) length_us: u64,
    /// Who had to wait.
    pub(super) who: &'static str,
}

/// The longest wait in which nothing is missed: less than half of the span after which a silent
/// member is lost.
pub(super) const LIMIT_US: u64 = 400_000;

/// How often it is looked.
const EVERY_MS: u64 = 50;

impl Gauge {
    /// Starts to look.
    pub(super) fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (for_thread, until) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut last_us = clock::now().as_micros();
            while !until.load(Ordering::Relaxed) {
                pause(EVERY_MS);
                let now_us = clock::now().as_micros();
                lock(&for_thread).look(last_us, now_us, waited_ns);
                last_us = now_us;
            }
        });
        Self { shared, stop, thread: Some(thread) }
    }

    /// Looks at the process `id` from here on, which is the daemon of `name`.
    pub(super) fn watch(&self, name: &'static str, id: i32) {
        lock(&self.shared).watched.insert(name, Watched { id, waited_ns: None });
    }

    /// Returns what was noted since a time.
    pub(super) fn stalls(&self, since_us: u64) -> Vec<Stall> {
        let stalls = lock(&self.shared).stalls.clone();
        stalls.into_iter().filter(|stall| stall.end_us >= since_us).collect()
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say in the end.
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Notes who has waited for too long between two looks.
    fn look(&mut self, last_us: u64, now_us: u64, waited_ns: impl Fn(i32) -> Option<u64>) {
        let own_us = now_us.saturating_sub(last_us).saturating_sub(EVERY_MS * 1_000);
        let mut late = vec![("the observer", own_us)];
        for (name, watched) in &mut self.watched {
            let waited = waited_ns(watched.id);
            if let (Some(before), Some(waited)) = (watched.waited_ns, waited) {
                late.push((name, waited.saturating_sub(before) / 1_000));
            }
            watched.waited_ns = waited;
        }
        let late = late.into_iter().filter(|(_, length_us)| *length_us > LIMIT_US);
        self.stalls.extend(late.map(|(who, length_us)| Stall { end_us: now_us, length_us, who }));
    }
}

/// Returns for how long the first thread of a process has waited for a processor.
fn waited_ns(id: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/schedstat")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_wait_is_noted_and_of_whom() {
        let mut shared = Shared::default();
        shared.watched.insert("alpha", Watched { id: 1, waited_ns: None });
        let look = |shared: &mut Shared, at_us, waited_us: u64| {
            shared.look(at_us - 50_000, at_us, |_| Some(waited_us * 1_000));
            shared.stalls.iter().map(|it| (it.who, it.length_us, it.end_us)).collect::<Vec<_>>()
        };
        assert_eq!(look(&mut shared, 1_000_000, 9_000_000), [], "what was before");
        assert_eq!(look(&mut shared, 1_050_000, 9_000_000 + LIMIT_US), []);
        let noted = ("alpha", LIMIT_US + 1, 1_100_000);
        assert_eq!(look(&mut shared, 1_100_000, 9_000_001 + 2 * LIMIT_US), [noted]);
        shared.look(1_100_000, 1_150_001 + LIMIT_US, |_| None);
        assert_eq!(shared.stalls[1].who, "the observer");
        assert_eq!(shared.stalls[1].length_us, LIMIT_US + 1);
        assert_eq!(shared.stalls.len(), 2, "a process that has ended does not wait");
    }

    #[test]
    fn this_kernel_counts_waits() {
        let id = std::process::id().cast_signed();
        assert!(waited_ns(id).is_some(), "no /proc/{id}/schedstat");
    }
}
