//! Devices opened again apart from the thread that decides.
//!
//! To set up an adapter on the bus takes milliseconds, and one that has half died takes seconds to
//! refuse. A thread does that, begun when it is needed first: nobody pays for it before a device
//! went away, and the process can still be divided at its start.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::terminal::{Refused, Terminal};

/// A thread that opens devices one after another, and what leads to it and back.
#[derive(Debug)]
pub(super) struct Opener {
    tasks: Option<Sender<Task>>,
    opened: Receiver<Opened>,
    /// Where the thread puts what it opened.
    results: Sender<Opened>,
    /// Rings when something was put there.
    bell: Arc<EventFd>,
}

/// A device to open.
#[derive(Debug)]
pub(super) struct Task {
    /// For which port.
    pub(super) at: usize,
    pub(super) device: PathBuf,
    pub(super) speed: u32,
    pub(super) low_latency: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) at: usize,
    pub(super) result: Result<Terminal, Refused>,
}

impl Task {
    pub(super) fn run(self) -> Opened {
        let result = Terminal::open(&self.device, self.speed, self.low_latency);
        Opened { at: self.at, result }
    }
}

impl Opener {
    /// Makes an opener without a thread.
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let (results, opened) = channel();
        Ok(Self { tasks: None, opened, results, bell })
    }

    /// Has a device opened. Without a thread to do it, it is done here.
    pub(super) fn open(&mut self, task: Task) {
        if self.tasks.is_none() {
            self.tasks = self.start().ok();
        }
        let refused = match &self.tasks {
            Some(tasks) => tasks.send(task).err().map(|error| error.0),
            None => Some(task),
        };
        if let Some(task) = refused {
            let _heard = self.results.send(task.run());
            let _full = self.bell.write(1);
        }
    }

    /// Returns what was opened, or could not be.
    pub(super) fn poll_opened(&self) -> Option<Opened> {
        let _quiet = self.bell.read();
        self.opened.try_recv().ok()
    }

    fn start(&self) -> std::io::Result<Sender<Task>> {
        let (tasks, incoming) = channel::<Task>();
        let (results, bell) = (self.results.clone(), Arc::clone(&self.bell));
        // The thread ends with the link, and what it opened in vain is closed again.
        let run = move || {
            for task in incoming {
                if results.send(task.run()).is_err() {
                    return;
                }
                let _full = bell.write(1);
            }
        };
        Builder::new().name("opener".into()).stack_size(STACK).spawn(run)?;
        Ok(tasks)
    }
}

/// Readable when something was opened.
impl AsFd for Opener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Room for a thread that calls the kernel and little else; it is locked in memory like the rest.
const STACK: usize = 128 * 1024;
