//! Ports, and sets of them.

use crate::numbered::numbered;

/// The most ports of one relay.
pub const MAX_PORTS: usize = 8;

numbered! {
    /// One port of a relay, by its place, 0 to 7.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    PortId below MAX_PORTS;
    /// A set of ports.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    PortSet of u8
}
