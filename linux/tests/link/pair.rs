//! Two network namespaces joined by a pair of adapters.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use lifesign::link::failure::OpenError;
use lifesign::link::{Link, LinkSpec, State};
use lifesign::namespace::{self, Users};
use lifesign_core::time::Instant;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};

/// Starts the test anew in namespaces of its own; returns whether this is that.
pub(crate) fn enter(test: &str) -> bool {
    namespace::enter(test, Users::New).unwrap().is_some()
}

/// Waits until something has arrived.
pub(crate) fn wait(link: &Link) {
    let mut descriptors = [PollFd::new(link.descriptor().unwrap(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut descriptors, 10_000_u16).unwrap(), 1, "nothing arrived");
}

/// Sends `frame` until the adapter, which is coming up, takes it.
pub(crate) fn wait_until_sent(link: &mut Link, frame: &[u8]) {
    for _ in 0..1000 {
        link.send(frame, Instant::ZERO);
        if link.state() == State::Up {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("still {}", link.state());
}

pub(crate) fn run(command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{command}");
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, joined to the test's by the adapters `left` and
/// `right`.
pub(crate) struct Beta {
    jobs: Sender<Job>,
}

impl Beta {
    pub(crate) fn new() -> Self {
        let (jobs, inbox): (_, Receiver<Job>) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            while let Ok(job) = inbox.recv() {
                job();
            }
        });
        let beta = Self { jobs };
        let thread = beta.run(nix::unistd::gettid);
        let namespace = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        run(&format!("ip link add left type veth peer name right netns {namespace}"));
        set_up("left", ["10.77.0.1/24", "fd77::1/64", "fe80::77:1/64"]);
        beta.run(|| {
            set_up("right", ["10.77.0.2/24", "fd77::2/64", "fe80::77:2/64"]);
            run("ip address add 10.77.0.66/24 dev right");
            run("ip address add fd77::66/64 dev right nodad");
        });
        beta
    }

    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        let job = move || sender.send(job()).unwrap();
        self.jobs.send(Box::new(job)).unwrap();
        result.recv().unwrap()
    }

    pub(crate) fn open(&self, spec: LinkSpec) -> Result<Link, OpenError> {
        self.run(move || Link::open(&spec))
    }
}

fn set_up(adapter: &str, [v4, v6, local]: [&str; 3]) {
    run(&format!("ip address add {v4} dev {adapter}"));
    run(&format!("ip link set {adapter} up"));
    run(&format!("ip address add {v6} dev {adapter} nodad"));
    run(&format!("ip address add {local} dev {adapter} nodad"));
}
