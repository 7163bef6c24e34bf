//! A second network namespace within one process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// A thread in a network namespace of its own, which does what it is given.
#[derive(Debug)]
pub struct Elsewhere {
    network: File,
    jobs: Sender<Job>,
}

/// Something to do.
type Job = Box<dyn FnOnce() + Send>;

impl Elsewhere {
    /// Starts the thread, whose loopback adapter is raised.
    ///
    /// # Errors
    /// Not permitted without `CAP_SYS_ADMIN` over the caller's user namespace.
    pub fn open() -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let (ready, started) = channel();
        thread::Builder::new().name("elsewhere".to_owned()).spawn(move || {
            let opened = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| super::raise_loopback())
                .and_then(|()| File::open("/proc/thread-self/ns/net"));
            let is_ready = opened.is_ok();
            if ready.send(opened).is_ok() && is_ready {
                waiting.into_iter().for_each(|job| job());
            }
        })?;
        let network = started.recv().map_err(io::Error::other)??;
        Ok(Self { network, jobs })
    }

    /// Does `job` there and returns what it returns; sockets which it opens stay there.
    ///
    /// # Panics
    /// Where an earlier job or this one did.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = channel();
        let job = Box::new(move || drop(done.send(job())));
        self.jobs.send(job).expect("the thread is there while nothing panicked in it");
        outcome.recv().expect("the job returned")
    }
}

impl AsFd for Elsewhere {
    /// Returns the namespace, as [`cable::give`](super::cable::give) takes it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }
}
