//! Ports, and sets of them.

/// The most ports of one relay.
pub const MAX_PORTS: usize = 8;
const PORT_NUMBERS: u8 = 8;
const _: () = assert!(PORT_NUMBERS as usize == MAX_PORTS, "numbers count the same ports as tables");

/// One port of a relay, by its place, 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u8);

impl PortId {
    /// Returns the port with this number, or `None` if there can be none.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < PORT_NUMBERS { Some(Self(number)) } else { None }
    }

    /// Returns the number, from 0.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the place of this port in a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns every possible port.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PORT_NUMBERS).map(Self)
    }
}

/// A set of ports, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortSet(u8);

impl PortSet {
    /// No port at all.
    pub const EMPTY: Self = Self(0);

    /// Returns the first `count` ports.
    #[must_use]
    pub fn first(count: usize) -> Self {
        PortId::all().take(count).fold(Self::EMPTY, Self::with)
    }

    /// Returns the set with `port` in it.
    #[must_use]
    pub const fn with(self, port: PortId) -> Self {
        Self(self.0 | 1 << port.0)
    }

    /// Returns the set without `port`.
    #[must_use]
    pub const fn without(self, port: PortId) -> Self {
        Self(self.0 & !(1 << port.0))
    }

    /// Returns whether `port` is in the set.
    #[must_use]
    pub const fn contains(self, port: PortId) -> bool {
        self.0 >> port.0 & 1 == 1
    }

    /// Returns whether no port is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the set as bits, one for each port's number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns the ports in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        PortId::all().filter(move |port| self.contains(*port))
    }
}
