//! The feeder: a process that has the device and feeds it while it may.
//!
//! It obeys two: the daemon, which says whether the device is to count at all and moves the
//! [`Bowl`]'s limit, and after the daemon's death the supervisor, which says whether everything has
//! stopped. When both are dead it leaves to the device what may still be up. What takes time beside
//! the device itself, the disk, is done by a thread of its own.

mod work;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use lifesign_core::time::Duration;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use self::work::Work;
use super::device::Info;
use super::{Bowl, Limit};
use crate::log::Logger;
use crate::{executor, realtime, sys};

/// What the feeder is to work with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The device.
    pub device: PathBuf,
    /// W, in whole seconds.
    pub timeout: Duration,
    /// 2 W + F: after so long without a feed the machine is gone.
    pub overshoot: Duration,
    /// The names of the groups.
    pub groups: Vec<String>,
    /// Where it is written down why feeding ended.
    pub note: PathBuf,
}

/// How the device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is being opened.
    Opening,
    /// It cannot be had, and is tried again.
    Unusable(String),
    /// It is open and counts nothing.
    Resting(Facts),
    /// It counts.
    Armed(Facts),
}

impl State {
    /// Returns whether the device is there to be armed.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Resting(_) | Self::Armed(_))
    }
}

/// What is known of an open device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What it says of itself.
    pub info: Info,
    /// The timeout that the driver counts, in seconds: at most the one that was asked for.
    pub timeout_s: u32,
    /// Whether it can stop counting while it is open.
    pub can_rest: bool,
    /// Whether it never stops once it counts, if that is known.
    pub nowayout: Option<bool>,
    /// Why the machine was started, as far as the driver knows.
    pub boot_status: Vec<String>,
}

/// The daemon's end. Nothing here blocks.
#[derive(Debug)]
pub struct Keeper {
    bowl: Bowl,
    socket: OwnedFd,
    /// What was ordered last.
    is_armed: Option<bool>,
    /// How many orders were given, and how many of them were carried out.
    orders: (u32, u32),
    is_gone: bool,
}

/// How the device is once so many orders have been carried out.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    orders: u32,
    state: State,
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Feeding {
    socket: OwnedFd,
}

/// The end that feeds.
#[derive(Debug)]
pub struct Feeder {
    plan: Plan,
    bowl: Bowl,
    daemon: OwnedFd,
    supervisor: OwnedFd,
}

/// Which of the two processes this is after they have parted.
#[derive(Debug)]
pub enum Parted {
    /// The daemon, with the supervisor's end, and the feeder's process.
    Daemon(Keeper, Feeding, Pid),
    /// The feeder.
    Feeder(Feeder),
}

/// Forks the feeder. Call while the process has one thread.
///
/// # Errors
/// Out of memory, descriptors or processes, or the process has more than one thread.
pub fn part(plan: Plan) -> io::Result<Parted> {
    let (keeper, feeding, feeder) = ends(plan)?;
    Ok(match sys::fork()? {
        Some(process) => Parted::Daemon(keeper, feeding, process),
        None => {
            drop((keeper, feeding));
            Parted::Feeder(feeder)
        }
    })
}

/// Makes the three ends; each process drops those of the others.
fn ends(plan: Plan) -> io::Result<(Keeper, Feeding, Feeder)> {
    let bowl = Bowl::new()?;
    let (socket, daemon) = executor::pair()?;
    let keeper =
        Keeper { bowl: bowl.clone(), socket, is_armed: None, orders: (0, 0), is_gone: false };
    let (socket, supervisor) = executor::pair()?;
    Ok((keeper, Feeding { socket }, Feeder { plan, bowl, daemon, supervisor }))
}

impl Keeper {
    /// Sets until when feeding is allowed; without an end if nothing is up that needs the watchdog.
    pub fn set(&self, limit: Option<Limit>) {
        self.bowl.set(limit);
    }

    /// Returns until when feeding is allowed, if there is an end.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.bowl.get()
    }

    /// Says whether the device is to count; says nothing if it is known.
    pub fn arm(&mut self, is_armed: bool) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if self.is_armed != Some(is_armed)
            && send(self.socket.as_raw_fd(), &[is_armed.into()], flags).is_ok()
        {
            self.is_armed = Some(is_armed);
            self.orders.0 = self.orders.0.wrapping_add(1);
        }
    }

    /// Returns whether what was ordered last has been carried out, or could not be.
    #[must_use]
    pub const fn is_heeded(&self) -> bool {
        self.orders.0 == self.orders.1
    }

    /// Returns how the device is if that is news; ask until there is none when readable.
    pub fn poll_state(&mut self) -> Option<State> {
        let mut buffer = [0; STATE_LEN_MAX];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return None,
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => {
                    self.is_gone = true;
                    return None;
                }
                Ok(len) => {
                    let told: Told = postcard::from_bytes(&buffer[..len]).ok()?;
                    self.orders.1 = told.orders;
                    return Some(told.state);
                }
            }
        }
    }

    /// Returns whether the feeder is dead: nothing feeds the device any more.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.is_gone
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A state is a few words.
const STATE_LEN_MAX: usize = 2048;

impl Feeder {
    /// Feeds until everything has stopped, or the machine should be gone, and ends the process.
    /// Drop first what is the daemon's alone.
    pub fn serve(self, logger: Logger) -> ! {
        let mut blocked = SigSet::empty();
        blocked.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]);
        let _blocked = blocked.thread_block();
        let _named = nix::sys::prctl::set_name(c"lifesign-feed");
        let _obtained = realtime::hurry(realtime::PRIORITY);
        let fed = self.feed(nix::unistd::getppid(), Arc::new(logger));
        std::process::exit(i32::from(fed.is_err()))
    }

    /// Feeds; `daemon` is the process that moves the limit.
    fn feed(self, daemon: Pid, logger: Arc<Logger>) -> io::Result<()> {
        Work::new(self, daemon, logger)?.run();
        Ok(())
    }
}

impl Feeding {
    /// Everything that needs the watchdog has stopped: has it disarmed, and waits until it is
    /// closed or that takes too long.
    pub fn disarm(&self) {
        self.say(&[DISARM]);
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let _closed = poll(&mut waiting, PollTimeout::from(CLOSING_MS));
    }

    /// Something did not stop: has nothing fed any more, because of `why`.
    pub fn leave(&self, why: &str) {
        self.say(why.as_bytes());
    }

    fn say(&self, word: &[u8]) {
        // One that is dead feeds nothing either.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _sent = send(self.socket.as_raw_fd(), word, flags);
    }
}

/// What the supervisor says in place of a reason when everything has stopped.
const DISARM: u8 = 0;
/// How long closing the device may take, in milliseconds.
const CLOSING_MS: u16 = 1000;

#[cfg(test)]
mod tests;
