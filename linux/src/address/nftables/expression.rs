//! A rule as its expressions: load something, compare it, decide.

use super::super::message::Writer;

/// The expressions of a rule; what is loaded goes through the first register.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    writer: &'a mut Writer,
}

impl<'a> Rule<'a> {
    /// Returns a rule without expressions, to be written by `writer`.
    pub(super) const fn new(writer: &'a mut Writer) -> Self {
        Self { writer }
    }

    /// Loads bytes of a header.
    pub(super) fn payload(&mut self, base: u32, offset: u32, len: u32) -> &mut Self {
        self.expression("payload", |data| {
            for (kind, value) in (1..).zip([REGISTER, base, offset, len]) {
                data.number(kind, value);
            }
        })
    }

    /// Goes on where what the kernel knows of the packet is `value`.
    pub(super) fn meta(&mut self, key: u32, value: u8) -> &mut Self {
        self.load(key).equal(&[value])
    }

    /// Loads the number of the adapter by which the packet leaves.
    pub(super) fn adapter(&mut self) -> &mut Self {
        self.load(META_OUT)
    }

    /// Loads what the kernel knows of the packet.
    fn load(&mut self, key: u32) -> &mut Self {
        self.expression("meta", |data| {
            data.number(1, REGISTER);
            data.number(2, key);
        })
    }

    /// Goes on where what is loaded is `value`.
    pub(super) fn equal(&mut self, value: &[u8]) -> &mut Self {
        self.compare(0, value)
    }

    /// Goes on where what is loaded is not `value`.
    pub(super) fn differs(&mut self, value: &[u8]) -> &mut Self {
        self.compare(1, value)
    }

    /// Compares what is loaded with `value`.
    fn compare(&mut self, how: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |data| {
            data.number(1, REGISTER);
            data.number(2, how);
            data.nest(3, |inside| inside.attribute(DATA_VALUE, value));
        })
    }

    /// Goes on where what is loaded is in a set.
    pub(super) fn within(&mut self, set: &str) -> &mut Self {
        self.lookup(set, 0)
    }

    /// Goes on where what is loaded is not in a set.
    pub(super) fn outside(&mut self, set: &str) -> &mut Self {
        self.lookup(set, 1)
    }

    /// Goes on where what is loaded is a service address that may not answer.
    pub(super) fn closed(&mut self, version: u8) -> &mut Self {
        let (own, live) = if version == 4 { ("own4", "live4") } else { ("own6", "live6") };
        self.lookup(own, 0).lookup(live, 1)
    }

    /// Goes on where what is loaded is a group's hardware address that may not speak.
    pub(super) fn muted(&mut self) -> &mut Self {
        self.lookup("own", 0).lookup("live", 1)
    }

    /// Goes on where the address that `which` names is installed on this machine.
    pub(super) fn local(&mut self, which: u32) -> &mut Self {
        self.expression("fib", |data| {
            for (kind, value) in (1..).zip([REGISTER, 3, which]) {
                data.number(kind, value);
            }
        })
        // The kind of a route to an address of one's own.
        .equal(&2_u32.to_ne_bytes())
    }

    /// Ends with a verdict.
    pub(super) fn verdict(&mut self, verdict: u32) {
        self.expression("immediate", |data| {
            data.number(1, 0);
            data.nest(2, |inside| inside.nest(2, |code| code.number(1, verdict)));
        });
    }

    /// Goes on where what is loaded is in a set, or by the flag of 1 where it is not.
    fn lookup(&mut self, set: &str, flags: u32) -> &mut Self {
        self.expression("lookup", |data| {
            data.text(1, set);
            data.number(2, REGISTER);
            data.number(5, flags);
        })
    }

    /// Adds an expression.
    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Writer)) -> &mut Self {
        self.writer.nest(LIST_ITEM, |item| {
            item.text(1, name);
            item.nest(2, write);
        });
        self
    }
}

pub(super) const DATA_VALUE: u16 = 1;
pub(super) const LIST_ITEM: u16 = 1;
pub(super) const DROP: u32 = 0;
pub(super) const ACCEPT: u32 = 1;
/// The first register of sixteen bytes.
const REGISTER: u32 = 1;
pub(super) const ETHERNET: u32 = 0;
pub(super) const NETWORK: u32 = 1;
pub(super) const TRANSPORT: u32 = 2;
const META_OUT: u32 = 5;
pub(super) const META_FAMILY: u32 = 15;
pub(super) const META_PROTOCOL: u32 = 16;
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
pub(super) const LOCAL_SOURCE: u32 = 1;
pub(super) const LOCAL_DESTINATION: u32 = 2;
