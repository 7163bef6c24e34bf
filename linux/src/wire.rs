//! The null-modem cable of the demo and of tests.
//!
//! A [`Wire`] joins two ends in a thread of its own: pseudo-terminals whose devices have stable
//! names, sockets of an emulator, devices that somebody else made. A pseudo-terminal moves bytes as
//! fast as they come and never loses one; a wire takes the time that a line of its speed takes, and
//! has the faults that lines have.
//!
//! ```text
//!   daemon ── /run/x/alpha -> /dev/pts/7 ══ wire ══ socket of QEMU ── UART of the dongle
//!                                  left end        right end
//! ```
//!
//! What a side sends is taken from it no faster than the line carries it, so that a sender who does
//! not pace itself finds its own buffer full, as with a real port. What the other side does not
//! take when it arrives is lost, as in a real receiver.
//!
//! ```no_run
//! use lifesign::wire::{End, Faults, Side, Wire};
//!
//! let [alpha, beta] = ["/run/x/alpha", "/run/x/beta"].map(|path| End::Terminal(path.into()));
//! let wire = Wire::join(alpha, beta, Some(115_200))?;
//! wire.cut();
//! wire.heal();
//! wire.set_faults(Side::Left, Faults { bit_errors: 100, ..Faults::default() });
//! wire.unplug(Side::Left);
//! wire.plug(Side::Left)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod course;
mod end;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use lifesign_core::time::{Duration, Instant};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use self::course::Course;
use self::end::Joined;
use crate::clock;

/// One end of a wire.
#[derive(Debug)]
pub enum End {
    /// A pseudo-terminal, raw from its birth. A symbolic link at this path leads to it while it is
    /// plugged in; the same path leads to another device when it is plugged in again.
    Terminal(PathBuf),
    /// A terminal that somebody else made, opened when it is there.
    Device(PathBuf),
    /// A Unix socket at which somebody listens (an emulator's serial port), connected when it is
    /// there, and again when it has gone.
    Socket(PathBuf),
    /// Bytes from and to a descriptor that is already open. Unplugged, it is gone for good.
    Descriptor(OwnedFd),
}

/// Which end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that was given first.
    Left,
    /// The end that was given second.
    Right,
}

impl Side {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Left, Self::Right];

    /// Returns the end across the wire.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }
}

/// What is wrong with the conductor on which one side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What the side sends is lost.
    pub is_cut: bool,
    /// Nothing is taken from the side, so that its buffer fills; what waits in it arrives later.
    pub is_stalled: bool,
    /// Garbage arrives at the full speed of the line, or as fast as [`FLOOD_SPEED`] if it has none,
    /// and what the side sends is lost in it.
    pub is_drowned: bool,
    /// How many of a million bits are turned over.
    pub bit_errors: u32,
}

/// How fast garbage comes on a wire without a speed, in bits per second.
pub const FLOOD_SPEED: u32 = 4_000_000;

/// What one side has sent, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Taken from this side.
    pub taken: u64,
    /// Arrived on the other side, garbage included.
    pub arrived: u64,
    /// Lost on a cut conductor, drowned in garbage, or sent to an end that is not plugged in.
    pub lost: u64,
    /// Not taken by the other side when they arrived.
    pub overrun: u64,
    /// Bits turned over.
    pub bits_turned: u64,
}

/// Two byte ends, and a thread that carries bytes between them until the wire is dropped.
///
/// Each method returns when the thread has done what it says.
#[derive(Debug)]
pub struct Wire {
    orders: Option<Sender<Order>>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Joins two ends by a line of `speed` bits per second, with one start and one stop bit around
    /// each byte; `None` is as fast as the machine.
    ///
    /// # Errors
    ///
    /// What the kernel refused: no pseudo-terminal, no symbolic link at a path, no thread.
    pub fn join(left: End, right: End, speed: Option<u32>) -> io::Result<Self> {
        let ends = [Joined::new(left)?, Joined::new(right)?];
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let (orders, incoming) = channel();
        let carrier = Carrier { ends, courses: [Course::new(1), Course::new(2)], speed };
        let heard = Arc::clone(&bell);
        let thread = std::thread::Builder::new().name("wire".into());
        let thread = thread.spawn(move || carrier.run(&incoming, &heard))?;
        Ok(Self { orders: Some(orders), bell, thread: Some(thread) })
    }

    /// Cuts both conductors: what is sent is lost.
    pub fn cut(&self) {
        for side in Side::ALL {
            self.set_faults(side, Faults { is_cut: true, ..Faults::default() });
        }
    }

    /// Mends both conductors.
    pub fn heal(&self) {
        for side in Side::ALL {
            self.set_faults(side, Faults::default());
        }
    }

    /// Sets what is wrong with the conductor on which `side` sends.
    pub fn set_faults(&self, side: Side, faults: Faults) {
        self.order(move |carrier| carrier.courses[side.index()].faults = faults);
    }

    /// Begins the random bits of garbage and bit errors anew.
    pub fn set_seed(&self, seed: u64) {
        self.order(move |carrier| {
            for (course, salt) in carrier.courses.iter_mut().zip(1..) {
                course.set_seed(seed.wrapping_mul(2).wrapping_add(salt));
            }
        });
    }

    /// Sets the speed of both directions; see [`join`](Self::join).
    pub fn set_speed(&self, speed: Option<u32>) {
        self.order(move |carrier| carrier.speed = speed);
    }

    /// Takes an end away: a pseudo-terminal hangs up and its path is gone, a socket is closed.
    pub fn unplug(&self, side: Side) {
        self.order(move |carrier| carrier.ends[side.index()].unplug());
    }

    /// Brings an end back: a pseudo-terminal under its old path, a socket connected anew.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn plug(&self, side: Side) -> io::Result<()> {
        self.order(move |carrier| carrier.ends[side.index()].plug()).unwrap_or(Ok(()))
    }

    /// Returns whether there is something at the end: a pseudo-terminal, a connected socket.
    #[must_use]
    pub fn is_plugged(&self, side: Side) -> bool {
        self.order(move |carrier| carrier.ends[side.index()].is_open()).unwrap_or(false)
    }

    /// Returns what `side` has sent since the beginning.
    #[must_use]
    pub fn traffic(&self, side: Side) -> Traffic {
        self.order(move |carrier| carrier.courses[side.index()].traffic).unwrap_or_default()
    }

    /// Has the thread do something, and waits for what comes of it; nothing if the thread is dead.
    fn order<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Carrier) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = channel();
        let order: Box<dyn FnOnce(&mut Carrier) + Send> = Box::new(move |carrier| {
            // Who asked waits for the answer, and so is there.
            let _unheard = answer.send(what(carrier));
        });
        self.orders.as_ref()?.send(Order(order)).ok()?;
        let _full = self.bell.write(1);
        answered.recv().ok()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.orders = None;
        let _full = self.bell.write(1);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Order(Box<dyn FnOnce(&mut Carrier) + Send>);

impl fmt::Debug for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Order")
    }
}

/// What the thread has.
#[derive(Debug)]
struct Carrier {
    ends: [Joined; 2],
    /// What each side sends.
    courses: [Course; 2],
    speed: Option<u32>,
}

impl Carrier {
    fn run(mut self, orders: &Receiver<Order>, bell: &EventFd) {
        loop {
            let _quiet = bell.read();
            loop {
                match orders.try_recv() {
                    Ok(Order(order)) => order(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let now = clock::now();
            self.carry(now);
            self.wait(bell, now);
        }
    }

    fn carry(&mut self, now: Instant) {
        for end in &mut self.ends {
            end.handle_timeout(now);
        }
        let [left, right] = &mut self.ends;
        let [rightward, leftward] = &mut self.courses;
        rightward.carry(left, right, self.speed, now);
        leftward.carry(right, left, self.speed, now);
    }

    /// Sleeps until something can be taken, something arrives, or there is an order.
    fn wait(&self, bell: &EventFd, now: Instant) {
        let mut watched = heapless::Vec::<PollFd<'_>, 3>::new();
        let mut due: Option<Instant> = None;
        let _full = watched.push(PollFd::new(bell.as_fd(), PollFlags::POLLIN));
        for (course, end) in self.courses.iter().zip(&self.ends) {
            if let Some(descriptor) = end.descriptor().filter(|_| course.is_taking()) {
                let _full = watched.push(PollFd::new(descriptor, PollFlags::POLLIN));
            }
            let dues = [course.poll_timeout(), end.poll_timeout(), due];
            due = dues.into_iter().flatten().min();
        }
        let rest = due.map(|due| TimeSpec::from_duration(std_duration(due.since(now))));
        // Whatever wakes it, and an interruption too, everything is looked at.
        let _ready = ppoll(&mut watched, rest, None);
    }
}

fn std_duration(duration: Duration) -> std::time::Duration {
    std::time::Duration::from_micros(duration.as_micros())
}
