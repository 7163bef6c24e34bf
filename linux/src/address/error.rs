//! Why an address, an adapter or the kernel lease could not be changed.

use std::fmt;
use std::net::IpAddr;

use nix::errno::Errno;

/// What went wrong, with the thing it went wrong on.
///
/// No variant leaves a lease open that was to be closed: what fails open is tried again or named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A system call refused: what it was to do, on what.
    Call {
        /// What was asked, as in "add 10.0.0.1/24 to eth0".
        what: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The kernel's answer did not come within the call that asked, or made no sense.
    NoAnswer {
        /// What was asked.
        what: String,
    },
    /// No adapter of this machine carries the subnet of the address, or has the name given with it.
    NoAdapter {
        /// The address that has nowhere to go.
        ip: IpAddr,
        /// The name it was to go by; empty where it is found by subnet.
        adapter: String,
    },
    /// The address is still installed after it was deleted.
    NotGone {
        /// The address.
        ip: IpAddr,
    },
    /// The lease ran out before it was renewed: it is closed and only a grant opens it.
    Expired,
    /// So little of the lease remains that the enforcer cannot count it.
    TooShort {
        /// What remains, in microseconds.
        remaining_us: u64,
        /// The least that can be counted, in microseconds.
        least_us: u64,
    },
    /// The machine paused within each of many attempts to extend the lease, so it was closed.
    Stalled,
    /// An adapter of a service address does not carry Ethernet frames.
    NotEthernet,
    /// This enforcer cannot silence the hardware address of a group.
    NoMacLease,
    /// The addresses of a group with a hardware address are on several adapters.
    Apart {
        /// The address that is elsewhere than the first one.
        ip: IpAddr,
    },
    /// An adapter was to have the hardware addresses of two groups.
    TwoMacs {
        /// The adapter.
        adapter: String,
    },
    /// An adapter's driver does not take another hardware address while it is in use.
    FixedMac {
        /// The adapter.
        adapter: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// No enforcer works here: the reason of each.
    NoEnforcer {
        /// The enforcers that were tried, each with its reason.
        refusals: String,
    },
    /// A group number that was not given to `open`.
    NoGroup {
        /// The number.
        group: usize,
    },
    /// More service addresses than the lease can hold.
    TooMany {
        /// How many were given.
        count: usize,
    },
}

impl Error {
    /// Returns a function that says `what` about a system call's error.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { what: what.into(), errno }
    }

    /// Whether the kernel's reason was `errno`.
    pub(crate) fn is(&self, wanted: Errno) -> bool {
        matches!(self, Self::Call { errno, .. } if *errno == wanted)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { what, errno } => write!(f, "{what}: {}", errno.desc()),
            Self::NoAnswer { what } => write!(f, "{what}: no answer from the kernel"),
            Self::NoAdapter { ip, adapter } if adapter.is_empty() => {
                write!(f, "{ip}: no adapter has an address in its subnet")
            }
            Self::NoAdapter { ip, adapter } => write!(f, "{ip}: no adapter is named {adapter}"),
            Self::NotGone { ip } => write!(f, "{ip}: still installed after it was deleted"),
            Self::Expired => write!(f, "the lease ran out before it was renewed"),
            Self::TooShort { remaining_us, least_us } => {
                write!(f, "{remaining_us} us of lease are left, and {least_us} us can be counted")
            }
            Self::Stalled => write!(f, "the machine paused whenever the lease was extended"),
            Self::NotEthernet => write!(f, "an adapter does not carry Ethernet frames"),
            Self::NoMacLease => write!(f, "it cannot silence the hardware address of a group"),
            Self::Apart { ip } => write!(
                f,
                "{ip}: not on the adapter of the first address of its group, which has a MAC \
                 address; one adapter must have them all"
            ),
            Self::TwoMacs { adapter } => write!(
                f,
                "{adapter}: two groups would put their MAC addresses on it; leave out \
                 mac_on = \"adapter\", or use another adapter"
            ),
            Self::FixedMac { adapter, errno } => write!(
                f,
                "{adapter}: its driver changes no MAC address while it is switched on ({}); use \
                 mac_on = \"macvlan\", or another adapter",
                errno.desc()
            ),
            Self::NoEnforcer { refusals } => write!(f, "no enforcer works here: {refusals}"),
            Self::NoGroup { group } => write!(f, "group {group} has no addresses"),
            Self::TooMany { count } => write!(f, "{count} service addresses are too many"),
        }
    }
}

impl core::error::Error for Error {}
