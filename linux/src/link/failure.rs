//! What can go wrong with a link, sorted by what it means.

use std::fmt;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;

/// Why the kernel did not send or receive, in kinds that tell an administrator what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The adapter's queue or the socket's buffer is full (`ENOBUFS`, `EAGAIN`, `ENOMEM`):
    /// congestion on this machine.
    Congested,
    /// The adapter is there and switched off (`ENETDOWN`).
    AdapterDown,
    /// There is no such adapter any more (`ENODEV`, `ENXIO`).
    AdapterMissing,
    /// The own address is not on this machine (`EADDRNOTAVAIL`, and `EINVAL` where a source address
    /// is given).
    AddressMissing,
    /// No route, or no neighbour answers (`ENETUNREACH`, `EHOSTUNREACH`).
    Unreachable,
    /// A packet filter or a missing right (`EPERM`, `EACCES`).
    Forbidden,
    /// Longer than the adapter can send (`EMSGSIZE`).
    TooLong,
    /// The other side has nobody listening (`ECONNREFUSED`).
    Refused,
    /// This process or machine has no more descriptors (`EMFILE`, `ENFILE`).
    NoDescriptors,
    /// There is no such serial device, or none behind its name (`ENOENT`, `ENODEV`, `ENXIO`).
    DeviceMissing,
    /// Another program has the serial device (`EBUSY`, or its lock).
    Busy,
    /// The path leads to something that is not a serial line (`ENOTTY`).
    NotSerial,
    /// The serial device cannot have the speed.
    SpeedRefused,
    /// The serial device hung up: unplugged, or the other end of a pseudo-terminal was closed.
    HungUp,
    /// The serial device takes no more bytes: nobody reads at the other end.
    Stuck,
    /// Anything else; see the error number beside it.
    Other,
}

impl Failure {
    /// Every kind, in the order of [`Failures`].
    pub const ALL: [Self; 16] = [
        Self::Congested,
        Self::AdapterDown,
        Self::AdapterMissing,
        Self::AddressMissing,
        Self::Unreachable,
        Self::Forbidden,
        Self::TooLong,
        Self::Refused,
        Self::NoDescriptors,
        Self::DeviceMissing,
        Self::Busy,
        Self::NotSerial,
        Self::SpeedRefused,
        Self::HungUp,
        Self::Stuck,
        Self::Other,
    ];

    /// Returns the kind of an error number of a network.
    #[must_use]
    pub fn of(errno: Errno) -> Self {
        match errno {
            Errno::ENOBUFS | Errno::EAGAIN | Errno::ENOMEM => Self::Congested,
            Errno::ENETDOWN => Self::AdapterDown,
            Errno::ENODEV | Errno::ENXIO => Self::AdapterMissing,
            Errno::EADDRNOTAVAIL | Errno::EINVAL => Self::AddressMissing,
            Errno::ENETUNREACH | Errno::EHOSTUNREACH => Self::Unreachable,
            Errno::EPERM | Errno::EACCES => Self::Forbidden,
            Errno::EMSGSIZE => Self::TooLong,
            Errno::ECONNREFUSED => Self::Refused,
            Errno::EMFILE | Errno::ENFILE => Self::NoDescriptors,
            _ => Self::Other,
        }
    }

    /// Returns the kind of an error number of a serial device.
    #[must_use]
    pub fn of_device(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV | Errno::ENXIO => Self::DeviceMissing,
            Errno::EBUSY => Self::Busy,
            Errno::ENOTTY | Errno::EISDIR => Self::NotSerial,
            Errno::EIO | Errno::EPIPE => Self::HungUp,
            Errno::EAGAIN => Self::Stuck,
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Self::Forbidden,
            Errno::EMFILE | Errno::ENFILE => Self::NoDescriptors,
            _ => Self::Other,
        }
    }

    /// Returns whether it says something about the link, rather than about the moment.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        !matches!(self, Self::Congested)
    }

    fn index(self) -> usize {
        match self {
            Self::Congested => 0,
            Self::AdapterDown => 1,
            Self::AdapterMissing => 2,
            Self::AddressMissing => 3,
            Self::Unreachable => 4,
            Self::Forbidden => 5,
            Self::TooLong => 6,
            Self::Refused => 7,
            Self::NoDescriptors => 8,
            Self::DeviceMissing => 9,
            Self::Busy => 10,
            Self::NotSerial => 11,
            Self::SpeedRefused => 12,
            Self::HungUp => 13,
            Self::Stuck => 14,
            Self::Other => 15,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Congested => "congested",
            Self::AdapterDown => "adapter switched off",
            Self::AdapterMissing => "no such adapter",
            Self::AddressMissing => "own address missing",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::TooLong => "frame too long for the adapter",
            Self::Refused => "refused by the other side",
            Self::NoDescriptors => "out of file descriptors",
            Self::DeviceMissing => "no such device",
            Self::Busy => "in use by another program",
            Self::NotSerial => "not a serial device",
            Self::SpeedRefused => "the device cannot have this speed",
            Self::HungUp => "hung up",
            Self::Stuck => "takes no bytes",
            Self::Other => "failed",
        })
    }
}

/// Counters of [`Failure`] by kind, and the last one with its error number and destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    counts: [u64; Failure::ALL.len()],
    last: Option<(Errno, Option<IpAddr>)>,
}

impl Failures {
    /// Counts one, and returns its kind.
    pub fn count(&mut self, errno: Errno, destination: Option<IpAddr>) -> Failure {
        let failure = Failure::of(errno);
        self.counts[failure.index()] += 1;
        self.last = Some((errno, destination));
        failure
    }

    /// Counts one of a serial device, and returns its kind.
    pub fn count_device(&mut self, errno: Errno) -> Failure {
        let failure = Failure::of_device(errno);
        self.counts[failure.index()] += 1;
        self.last = Some((errno, None));
        failure
    }

    /// Returns how many there were of a kind.
    #[must_use]
    pub fn of(&self, failure: Failure) -> u64 {
        self.counts[failure.index()]
    }

    /// Returns how many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the last one's error number, and where the datagram was to go, if that is known.
    #[must_use]
    pub fn last(&self) -> Option<(Errno, Option<IpAddr>)> {
        self.last
    }

    /// Returns the last one in words ("10.77.0.2: network is unreachable"), for the status.
    #[must_use]
    pub fn last_text(&self) -> Option<String> {
        let (errno, destination) = self.last?;
        Some(match destination {
            Some(address) => format!("{address}: {}", errno.desc()),
            None => errno.desc().to_owned(),
        })
    }
}

/// Why a link cannot be opened, for the administrator to cure.
#[derive(Debug)]
pub enum OpenError {
    /// No adapter has this name.
    UnknownAdapter {
        /// The name.
        adapter: String,
    },
    /// Another socket on this machine has the port.
    PortInUse {
        /// The port.
        port: u16,
        /// The adapter.
        adapter: String,
    },
    /// The specification contradicts itself.
    Contradiction {
        /// How.
        reason: &'static str,
    },
    /// The kernel refused a step of opening.
    Refused {
        /// The step, as in "join multicast group on".
        step: &'static str,
        /// The adapter.
        adapter: String,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    /// Returns the kind of failure it would be for a link that is already in use.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::UnknownAdapter { .. } => Failure::AdapterMissing,
            Self::PortInUse { .. } | Self::Contradiction { .. } => Failure::Other,
            Self::Refused { source, .. } => Failure::of(errno(source)),
        }
    }

    /// Returns the error number nearest to it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::UnknownAdapter { .. } => Errno::ENODEV,
            Self::PortInUse { .. } => Errno::EADDRINUSE,
            Self::Contradiction { .. } => Errno::UnknownErrno,
            Self::Refused { source, .. } => errno(source),
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAdapter { adapter } => write!(formatter, "adapter {adapter}: not found"),
            Self::PortInUse { port, adapter } => {
                write!(formatter, "UDP port {port} on {adapter}: in use by another program")
            }
            Self::Contradiction { reason } => formatter.write_str(reason),
            Self::Refused { step, adapter, source } => {
                write!(formatter, "{step} {adapter}: {source}")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::UnknownAdapter { .. } | Self::PortInUse { .. } | Self::Contradiction { .. } => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_counter_and_name() {
        let mut names = Vec::new();
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), index);
            names.push(failure.to_string());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Failure::ALL.len());
    }

    #[test]
    fn failures_are_counted_by_kind_and_the_last_is_told() {
        let mut failures = Failures::default();
        assert_eq!(failures.last_text(), None);
        failures.count(Errno::ENOBUFS, None);
        failures.count(Errno::EAGAIN, None);
        failures.count(Errno::ENETUNREACH, Some("10.77.0.2".parse().unwrap()));
        assert_eq!(failures.of(Failure::Congested), 2);
        assert_eq!(failures.of(Failure::Unreachable), 1);
        assert_eq!(failures.total(), 3);
        assert_eq!(failures.last_text().unwrap(), "10.77.0.2: Network is unreachable");
    }

    #[test]
    fn an_error_says_what_and_where() {
        let error = OpenError::UnknownAdapter { adapter: "eth7".into() };
        assert_eq!(error.to_string(), "adapter eth7: not found");
        let source = io::Error::from_raw_os_error(Errno::EPERM as i32);
        let error = OpenError::Refused { step: "bind to", adapter: "eth0".into(), source };
        assert!(error.to_string().starts_with("bind to eth0: "));
        assert_eq!(error.failure(), Failure::Forbidden);
    }
}
