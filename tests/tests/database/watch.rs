//! What is seen from outside: on which machines PostgreSQL runs, and when one is switched off.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use lifesign::clock;
use lifesign_tests::trial::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A machine that was switched off by its fence agent.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Which.
    pub(crate) node: String,
    /// Whether PostgreSQL still ran on it.
    pub(crate) had_postgres: bool,
    /// When it was off, in microseconds of boot time.
    pub(crate) at_us: u64,
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Machines on which PostgreSQL began to run, with the time.
    pub(crate) starts: Vec<(String, u64)>,
    /// Descriptions of moments at which it ran on two.
    pub(crate) twice: Vec<String>,
    /// Machines that were switched off.
    pub(crate) cuts: Vec<Cut>,
}

/// Watches, and is the power switch, until it is dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    data: PathBuf,
    power: PathBuf,
    /// The first process of each machine that was switched on.
    machines: Mutex<BTreeMap<String, i32>>,
    seen: Mutex<Seen>,
    stop: AtomicBool,
}

impl Watch {
    /// Starts watching for PostgreSQL in the folder `data`, and for requests in `power`.
    pub(crate) fn start(data: PathBuf, power: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            data: fs::canonicalize(data).expect("the folder of the database"),
            power,
            machines: Mutex::default(),
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let run = |work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    work(&shared);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let threads = vec![run(Shared::look), run(Shared::switch)];
        Self { shared, threads }
    }

    /// Connects a machine that has just been switched on.
    pub(crate) fn connect(&self, trial: &mut Trial, node: &str) {
        let first = trial.cluster_mut().lab_mut().machine(node).first_process();
        let power = self.shared.power.join(node);
        for name in ["cut", "off"] {
            // Of a machine that was never switched off there is nothing to remove.
            drop(fs::remove_file(power.with_extension(name)));
        }
        lock(&self.shared.machines).insert(node.to_owned(), first.expect("a machine that is on"));
    }

    /// Returns what has been seen.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.shared.seen)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it has panicked with has been written.
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Looks on which machines a process works in the database's folder, as all of PostgreSQL do.
    fn look(&self) {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        for process in processes() {
            if let Some(machine) = self.machine_of(&process) {
                found.insert(machine, process);
            }
        }
        let at_us = clock::now().as_micros();
        let mut seen = lock(&self.seen);
        for machine in found.keys() {
            if seen.starts.last().is_none_or(|(last, _)| last != machine) {
                seen.starts.push((machine.clone(), at_us));
            }
        }
        // Whoever is still there when another has been seen runs beside it.
        let running = found.iter().filter(|(_, process)| self.machine_of(process).is_some());
        let running: Vec<&String> = running.map(|(machine, _)| machine).collect();
        if running.len() > 1 && seen.twice.len() < 10 {
            seen.twice.push(format!("at {at_us} us on {running:?}"));
        }
    }

    /// Returns the machine of a process that works in the database's folder.
    fn machine_of(&self, process: &Path) -> Option<String> {
        if fs::read_link(process.join("cwd")).ok()? != self.data {
            return None;
        }
        // The agent's shell goes there too, for other programs.
        if fs::read_to_string(process.join("comm")).ok()?.trim() != "postgres" {
            return None;
        }
        let space = fs::read_link(process.join("ns/pid")).ok()?;
        let machines = lock(&self.machines);
        let same = |first: &i32| {
            fs::read_link(format!("/proc/{first}/ns/pid")).is_ok_and(|own| own == space)
        };
        let found = machines.iter().find(|(_, first)| same(first));
        Some(found.map_or_else(|| space.display().to_string(), |(name, _)| name.clone()))
    }

    /// Switches machines off of which it is asked, and says so when they are.
    fn switch(&self) {
        let machines = lock(&self.machines).clone();
        for (node, first) in machines {
            let power = self.power.join(&node);
            let (asked, answered) = (power.with_extension("cut"), power.with_extension("off"));
            if !asked.exists() || answered.exists() {
                continue;
            }
            let had_postgres = self.runs_on(&node);
            let first_process = Path::new("/proc").join(first.to_string());
            let space = fs::read_link(first_process.join("ns/pid")).ok();
            // It may be off already.
            let _ended = kill(Pid::from_raw(first), Signal::SIGKILL);
            let on_it = |process: &PathBuf| {
                let own = fs::read_link(process.join("ns/pid"));
                *process != first_process && own.is_ok_and(|own| Some(own) == space)
            };
            while processes().any(|process| on_it(&process) && is_alive(&process)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!self.runs_on(&node), "what is off runs nothing");
            let at_us = clock::now().as_micros();
            lock(&self.seen).cuts.push(Cut { node, had_postgres, at_us });
            fs::write(answered, "").expect("an answer");
        }
    }

    fn runs_on(&self, node: &str) -> bool {
        processes().any(|process| self.machine_of(&process).as_deref() == Some(node))
    }
}

/// Returns the folder of each process.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").expect("the process table").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("stat").exists())
}

/// Returns whether a process runs, and is not merely still to be noticed by whoever started it.
fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
