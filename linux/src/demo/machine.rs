//! One machine of the laboratory: a network namespace, and a process namespace while it is on.
//!
//! The network namespace stays as long as the [`Machine`]. Each boot has a process namespace of
//! its own, whose first process is [`serve_as_first_process`]. When the machine crashes, the kernel
//! kills that process and with it everything else in the namespace at once, as a power cut does.
//! The first process dies with the laboratory's process, so nothing outlives the laboratory.
//!
//! Threads enter the namespaces, not the process: a thread that has entered starts the machine's
//! processes, which inherit where it is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::{clock, namespace};

/// A machine with its own network.
#[derive(Debug)]
pub struct Machine {
    program: PathBuf,
    network: File,
    life: Option<Life>,
}

/// What ends when the machine crashes.
#[derive(Debug)]
struct Life {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
    first: Child,
    processes: Vec<Process>,
}

/// A command to start, and where to send what came of it.
struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

impl Machine {
    /// Returns a machine that is off, with nothing but a loopback adapter.
    ///
    /// `program` is a lifesign program: started with `demo` and the [`ROLE`] of the first
    /// process in its environment, it becomes [`serve_as_first_process`].
    ///
    /// # Errors
    /// What the kernel refused for the namespace.
    pub fn new(program: PathBuf) -> io::Result<Self> {
        let network = thread::scope(|scope| {
            let created = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                namespace::raise_loopback()?;
                File::open("/proc/thread-self/ns/net")
            });
            joined(created.join())
        })?;
        Ok(Self { program, network, life: None })
    }

    /// Switches the machine on, which it may be already.
    ///
    /// # Errors
    /// What the kernel refused for the process namespace or its first process.
    pub fn boot(&mut self) -> io::Result<()> {
        if self.life.is_some() {
            return Ok(());
        }
        let network = self.network.try_clone()?;
        let mut command = Command::new(&self.program);
        command.arg("demo").env(ROLE, FIRST_PROCESS).stdin(Stdio::null());
        let (orders, received) = mpsc::channel();
        let (reply, started) = mpsc::channel();
        let thread = thread::Builder::new().name("machine".into()).spawn(move || {
            let entered = enter(&network).and_then(|()| Ok(unshare(CloneFlags::CLONE_NEWPID)?));
            let first = entered.and_then(|()| command.spawn());
            let alive = first.is_ok();
            if reply.send(first).is_ok() && alive {
                start_commands(&received);
            }
        })?;
        let first = started.recv().map_err(io::Error::other)??;
        self.life = Some(Life { orders, thread, first, processes: Vec::new() });
        Ok(())
    }

    /// Kills everything on the machine at once and waits until it is dead.
    ///
    /// The addresses stay as they are: nobody is left to take them away.
    pub fn crash(&mut self) {
        let Some(mut life) = self.life.take() else {
            return;
        };
        // A process that has ended by itself cannot be killed any more, which is as good.
        drop(life.first.kill());
        for process in &life.processes {
            drop(process.lock().wait());
        }
        drop(life.first.wait());
        drop(life.orders);
        drop(life.thread.join());
    }

    /// Stops everything on the machine by SIGSTOP, as if its processors stood still.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn freeze(&self) -> io::Result<()> {
        for id in self.process_ids()? {
            // One that has ended meanwhile stands still as well.
            let _ended = kill(Pid::from_raw(id), Signal::SIGSTOP);
        }
        Ok(())
    }

    /// Starts `command` on the machine.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] while the machine is off, or what kept the command from
    /// starting.
    pub fn start(&mut self, command: Command) -> io::Result<Process> {
        let life = self.life.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let (reply, started) = mpsc::channel();
        life.orders.send(Order { command, reply }).map_err(io::Error::other)?;
        let child = started.recv().map_err(io::Error::other)??;
        let process = Process {
            id: Pid::from_raw(child.id().cast_signed()),
            child: Arc::new(Mutex::new(child)),
        };
        life.processes.retain(Process::is_running);
        life.processes.push(process.clone());
        Ok(process)
    }

    /// Returns whether the machine is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.life.is_some()
    }

    /// Returns the number of the machine's first process while it is on, as this process sees it.
    ///
    /// Whoever kills it kills everything on the machine, as [`crash`](Self::crash) does.
    #[must_use]
    pub fn first_process(&self) -> Option<i32> {
        self.life.as_ref().map(|life| life.first.id().cast_signed())
    }

    /// Returns the numbers of all processes on the machine but its first, as this process sees
    /// them.
    ///
    /// # Errors
    /// What kept the process table from being read.
    pub fn process_ids(&self) -> io::Result<Vec<i32>> {
        let Some(life) = &self.life else {
            return Ok(Vec::new());
        };
        let space = |id: u32| std::fs::read_link(format!("/proc/{id}/ns/pid"));
        let first = life.first.id();
        let own = space(first)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process that has ended meanwhile, or is not ours to look at, is not one of ours.
            if id != first && space(id).is_ok_and(|space| space == own) {
                found.push(id.cast_signed());
            }
        }
        Ok(found)
    }

    /// Runs `inside` on a thread in the machine's network and returns its result.
    ///
    /// Sockets that it opens belong to the machine wherever they are used.
    ///
    /// # Errors
    /// What the kernel refused for entering, or the error of `inside`.
    pub fn within<T: Send>(&self, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let done = scope.spawn(|| enter(&self.network).and_then(|()| inside()));
            joined(done.join())
        })
    }

    /// Returns the network namespace.
    #[must_use]
    pub fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.crash();
    }
}

/// A process on a machine; clones are the same process.
#[derive(Clone, Debug)]
pub struct Process {
    id: Pid,
    child: Arc<Mutex<Child>>,
}

impl Process {
    /// Sends `signal` to this process alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] once the process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // The lock keeps the number from being given to another process meanwhile.
        if self.lock().try_wait()?.is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill(self.id, signal)?)
    }

    /// Returns how the process ended, or nothing if it runs on after `limit`.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn wait(&self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let begun_us = clock::now().as_micros();
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        loop {
            let status = self.lock().try_wait()?;
            if status.is_some() || clock::now().as_micros() - begun_us >= limit_us {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns whether the process has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// Returns whether the process was stopped by a signal and has not been continued.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id));
        // The name before the state is in parentheses and may have some of its own.
        let state = stat.ok().and_then(|stat| stat.rsplit_once(')')?.1.trim().chars().next());
        state == Some('T')
    }

    /// Returns the number of the process as this process sees it.
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.id.as_raw()
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is the first process of a machine until it is killed: collects orphans and does nothing else.
///
/// # Errors
/// What the kernel refused; with it the machine ends.
pub fn serve_as_first_process() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut died = SigSet::empty();
    died.add(Signal::SIGCHLD);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&died), None)?;
    loop {
        match wait() {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                died.wait()?;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Plays the part that the environment gives to this process, or returns nothing where it gives
/// none.
///
/// # Errors
/// What kept it from playing.
#[must_use]
pub fn play_role() -> Option<io::Result<()>> {
    match std::env::var(ROLE).ok()?.as_str() {
        FIRST_PROCESS => Some(serve_as_first_process()),
        _ => None,
    }
}

/// The environment variable that gives a started program its part in the laboratory.
pub const ROLE: &str = "LIFESIGN_DEMO_ROLE";

/// The [`ROLE`] of a machine's first process.
pub const FIRST_PROCESS: &str = "first-process";

/// Starts what is ordered until nobody can order any more.
fn start_commands(orders: &Receiver<Order>) {
    while let Ok(Order { mut command, reply }) = orders.recv() {
        // Whoever does not wait for the reply does not want it.
        drop(reply.send(command.spawn()));
    }
}

/// Puts the calling thread into a network namespace.
fn enter(network: &File) -> io::Result<()> {
    Ok(setns(network, CloneFlags::CLONE_NEWNET)?)
}

/// Returns what a thread returned; a panic in it becomes an error.
fn joined<T>(outcome: thread::Result<io::Result<T>>) -> io::Result<T> {
    outcome.unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}
