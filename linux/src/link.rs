//! Links: the ways to reach peers.
//!
//! A [`Link`] carries whole frames, loses them like any network does, and never stops the daemon:
//! each failure is counted by kind, shown as the link's [`State`], and cured by opening the link
//! again after a pause. Only a link that cannot work as configured is an error, and only when it is
//! opened first.
//!
//! ```text
//! open ──► Up ◄──────── a send succeeds ────────► Down, socket kept (adapter down, ..)
//!           │                                    │
//!           └── adapter gone ──► Down, closed ◄──┘   reopened after 100 ms, 200 ms, .. 2 s
//! ```
//!
//! A serial link consists of ports, each of which goes down and up by itself like that.
//!
//! A kind of link is one variant of [`Specification`] and one of `Transport`, and a file below
//! `link/`.

mod adapter;
pub mod backoff;
pub mod ether;
pub mod failure;
pub mod filter;
pub mod serial;
pub mod udp;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use lifesign_core::frame::FrameError;
use lifesign_core::member::Rejected;
use lifesign_core::time::Instant;

use self::ether::{EtherLink, EtherSpec};
use self::failure::{Failures, OpenError};
use self::serial::port::Port;
use self::serial::{Answer, SerialLink, SerialSpec};
use self::udp::{UdpLink, UdpSpec};

/// What to open: a name for people, and one kind of link with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// The name in the settings, in the status and in log lines.
    pub name: String,
    /// The kind of link.
    pub kind: Specification,
}

/// The particulars of each kind of link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Specification {
    /// UDP over IPv4 or IPv6.
    Udp(UdpSpec),
    /// Raw Ethernet.
    Ether(EtherSpec),
    /// Serial lines.
    Serial(SerialSpec),
}

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this address.
    Udp(SocketAddr),
    /// From the adapter with this MAC address.
    Ether([u8; 6]),
    /// At the port with this place in [`Link::ports`].
    Port(usize),
}

/// What became of a frame, as far as a link needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its tag is right: it may be passed on, whether or not it was of use here.
    Authentic,
    /// It is this node's own: the link is a loop.
    Own,
    /// It was sent on another link.
    OtherLink,
    /// It is of another cluster, or signed with another key.
    Foreign,
    /// It is of another version of the protocol.
    OtherVersion,
    /// It is no frame.
    Damaged,
}

impl Verdict {
    /// Returns what a link needs to know of the engine's answer.
    #[must_use]
    pub fn of<T>(result: &Result<T, Rejected>) -> Self {
        match result {
            Ok(_) => Self::Authentic,
            Err(Rejected::Loop) => Self::Own,
            Err(Rejected::WrongLink) => Self::OtherLink,
            Err(Rejected::Frame(FrameError::Version)) => Self::OtherVersion,
            Err(Rejected::Frame(FrameError::Cluster | FrameError::Key | FrameError::Tag)) => {
                Self::Foreign
            }
            Err(rejected) if rejected.is_authentic() => Self::Authentic,
            Err(_) => Self::Damaged,
        }
    }
}

/// An open link, or one that waits to be opened again.
#[derive(Debug)]
pub struct Link {
    name: String,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Udp(Box<UdpLink>),
    Ether(Box<EtherLink>),
    Serial(Box<SerialLink>),
}

impl Link {
    /// Opens a link.
    ///
    /// An own address that is not there (yet) is no error: sending says so, and the link comes up
    /// with the address. Nor is a serial device that cannot be had: its port says so, and it is
    /// opened when it can.
    ///
    /// # Errors
    ///
    /// What only the administrator can cure: an unknown adapter, a port in use, a contradiction in
    /// `spec`, a missing right.
    pub fn open(spec: &LinkSpec) -> Result<Self, OpenError> {
        let transport = match &spec.kind {
            Specification::Udp(udp) => Transport::Udp(Box::new(UdpLink::open(udp.clone())?)),
            Specification::Ether(ether) => {
                Transport::Ether(Box::new(EtherLink::open(ether.clone())?))
            }
            Specification::Serial(serial) => {
                Transport::Serial(Box::new(SerialLink::open(serial.clone())?))
            }
        };
        Ok(Self { name: spec.name.clone(), transport })
    }

    /// Sends a frame to every peer and witness of this link; never blocks, and never retries.
    ///
    /// What fails is counted in [`statistics`](Self::statistics) and may change
    /// [`state`](Self::state).
    pub fn send(&mut self, frame: &[u8], now: Instant) {
        match &mut self.transport {
            Transport::Udp(link) => link.send(frame, now),
            Transport::Ether(link) => link.send(frame, now),
            Transport::Serial(link) => link.send(frame, now),
        }
    }

    /// Gives frames that have arrived to `deliver`, with their source, and returns how many there
    /// were. `deliver` says what it made of the frame; on a link of several serial ports one with a
    /// right tag is passed on.
    ///
    /// Call when the descriptor is readable *or in error*: pending errors are consumed here. At
    /// most [`BATCH`] datagrams are taken, so one flooded link cannot hold up the others; what is
    /// left keeps the descriptor readable. `buffer` must hold the longest frame; longer datagrams
    /// are counted and dropped.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) -> usize {
        match &mut self.transport {
            Transport::Udp(link) => link.receive(buffer, now, deliver),
            Transport::Ether(link) => link.receive(buffer, now, deliver),
            Transport::Serial(link) => link.receive(buffer, now, deliver),
        }
    }

    /// Opens what is closed again and sends what waited for its line, as far as it is time, and
    /// returns whether there is a fresh descriptor to register.
    ///
    /// Call when [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        match &mut self.transport {
            Transport::Udp(link) => link.reopen(now),
            Transport::Ether(link) => link.reopen(now),
            Transport::Serial(link) => link.handle_timeout(now),
        }
    }

    /// Looks at the adapter again, because netlink said that something about adapters or addresses
    /// changed.
    ///
    /// Returns whether there is a fresh descriptor to register: the adapter came back, or another
    /// one has its name.
    pub fn handle_adapter_change(&mut self, now: Instant) -> bool {
        match &mut self.transport {
            Transport::Udp(link) => link.handle_adapter_change(now),
            Transport::Ether(link) => link.handle_adapter_change(now),
            Transport::Serial(_) => false,
        }
    }

    /// Sends a message for a dongle out of every serial port, in place of one that still waits.
    pub fn ask(&mut self, message: &[u8], now: Instant) {
        if let Transport::Serial(link) = &mut self.transport {
            link.ask(message, now);
        }
    }

    /// Returns a message of a dongle that came in, the oldest first. Of many that wait, the newest
    /// are kept.
    pub fn poll_reply(&mut self) -> Option<Answer> {
        match &mut self.transport {
            Transport::Udp(_) | Transport::Ether(_) => None,
            Transport::Serial(link) => link.poll_reply(),
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work; `None` if it has none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.transport {
            Transport::Udp(link) => link.poll_timeout(),
            Transport::Ether(link) => link.poll_timeout(),
            Transport::Serial(link) => link.poll_timeout(),
        }
    }

    /// Returns the descriptor to wait on for readability, level-triggered; `None` while the link is
    /// closed.
    ///
    /// A descriptor that is closed leaves an epoll set by itself, as long as no other process
    /// shares it.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.transport {
            Transport::Udp(link) => link.descriptor(),
            Transport::Ether(link) => link.descriptor(),
            Transport::Serial(link) => Some(link.descriptor()),
        }
    }

    /// Returns the name in the settings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether it is a network: one that has room for more than frames.
    #[must_use]
    pub const fn is_network(&self) -> bool {
        match self.transport {
            Transport::Udp(_) | Transport::Ether(_) => true,
            Transport::Serial(_) => false,
        }
    }

    /// Returns whether frames can be sent, and if not, why.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.transport {
            Transport::Udp(link) => link.state(),
            Transport::Ether(link) => link.state(),
            Transport::Serial(link) => link.state(),
        }
    }

    /// Returns the counters since the link was first opened.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        match &self.transport {
            Transport::Udp(link) => link.statistics(),
            Transport::Ether(link) => link.statistics(),
            Transport::Serial(link) => link.statistics(),
        }
    }

    /// Returns the serial ports; none if it is another kind of link.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        match &self.transport {
            Transport::Udp(_) | Transport::Ether(_) => &[],
            Transport::Serial(link) => link.ports(),
        }
    }
}

/// The most datagrams taken from one link at one wake-up.
pub const BATCH: usize = 64;

/// Whether a link can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The last attempt to send reached the network for at least one destination.
    Up,
    /// The last attempt reached none, or the link is closed, for this reason.
    Down(failure::Failure),
}

impl core::fmt::Display for State {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Up => formatter.write_str("up"),
            Self::Down(failure) => write!(formatter, "down: {failure}"),
        }
    }
}

/// What a link has done since it was first opened. Counters wrap in no time that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Datagrams handed to the network, one for each destination of a frame; messages handed to
    /// serial devices, one for each port.
    pub sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Frames given to the daemon.
    pub received: u64,
    /// Bytes in them.
    pub bytes_received: u64,
    /// Datagrams from nobody we know, which the kernel's filter let through because it is not
    /// attached.
    pub filtered: u64,
    /// Datagrams longer than any frame.
    pub too_long: u64,
    /// What the kernel dropped: full receive buffer, datagrams refused by the filter, and with
    /// broadcast delivery the copies of our own frames. As of the last frame received; the kernel
    /// does not tell them apart.
    pub kernel_drops: u64,
    /// Failures to send, by kind.
    pub send_failures: Failures,
    /// Failures to receive, and errors the network reported for what was sent, by kind.
    pub receive_failures: Failures,
    /// How often a closed link was opened again.
    pub reopened: u64,
}
