//! Netlink messages as bytes: the envelope and attributes which routing and packet filters share.
//!
//! | offset | length | field |
//! |-------:|-------:|-------|
//! | 0 | 4 | length with this header, host order |
//! | 4 | 2 | kind |
//! | 6 | 2 | flags |
//! | 8 | 4 | sequence number of the request |
//! | 12 | 4 | port of the socket |
//!
//! Attributes follow a header of fixed size: length with its own four bytes, kind, value; each
//! starts at a multiple of four. Readers skip what they do not know and stop where bytes run out.

/// Messages being written one after the other into one buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    start: usize,
}

impl Writer {
    /// Forgets every message and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Ends the message before and begins one; its length stands once it is ended.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.end();
        self.start = self.bytes.len();
        self.put(&[0; 4]);
        self.put(&kind.to_ne_bytes());
        self.put(&flags.to_ne_bytes());
        self.put(&sequence.to_ne_bytes());
        self.put(&[0; 4]);
    }

    /// Asks for an answer to the message which has begun.
    pub(crate) fn acknowledge(&mut self) {
        let flags = self.bytes.get(self.start + 6..).and_then(<[u8]>::first_chunk::<2>);
        let flags = flags.map_or(0, |bytes| u16::from_ne_bytes(*bytes));
        self.patch(self.start + 6, &(flags | ACKNOWLEDGE).to_ne_bytes());
    }

    /// Adds bytes of the fixed header.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.attribute_of(kind, |inside| inside.put(value));
    }

    /// Adds an attribute whose value is a number in network order.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds an attribute whose value is text with a closing zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attribute_of(kind, |inside| {
            inside.put(value.as_bytes());
            inside.put(&[0]);
        });
    }

    /// Adds an attribute which holds those that `inside` writes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        self.attribute_of(kind | NESTED, inside);
    }

    /// Ends the last message and returns all of them.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.end();
        &self.bytes
    }

    /// Adds an attribute whose value is whatever `inside` writes.
    fn attribute_of(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(&[0; 2]);
        self.put(&kind.to_ne_bytes());
        inside(self);
        // A value too long for its length field reads as such, and the kernel refuses it.
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.patch(start, &len.to_ne_bytes());
        while !self.bytes.len().is_multiple_of(ALIGNMENT) {
            self.bytes.push(0);
        }
    }

    /// Writes the length of the message which has begun, if any has.
    fn end(&mut self) {
        if self.bytes.len() > self.start {
            let len = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
            self.patch(self.start, &len.to_ne_bytes());
        }
    }

    /// Replaces the bytes at `start`.
    fn patch(&mut self, start: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(start).zip(bytes) {
            *to = *from;
        }
    }
}

/// One message as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// What it is.
    pub(crate) kind: u16,
    /// The request which it answers; zero in events.
    pub(crate) sequence: u32,
    /// What follows the envelope.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns the attributes behind a fixed header of `header_len` bytes.
    pub(crate) fn attributes(&self, header_len: usize) -> Attributes<'a> {
        Attributes::new(self.body.get(header_len..).unwrap_or(&[]))
    }

    /// Returns the error number of an answer, zero in an acknowledgement, `None` in other messages.
    pub(crate) fn answer(&self) -> Option<i32> {
        if self.kind != ERROR {
            return None;
        }
        let bytes = self.body.first_chunk::<4>()?;
        Some(i32::from_ne_bytes(*bytes).saturating_neg())
    }
}

/// The messages of one datagram, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Returns the messages in `bytes`.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.rest.first_chunk::<HEADER_LEN>()?;
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
        let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = self.rest.get(HEADER_LEN..len)?;
        self.rest = self.rest.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    }
}

/// Attributes in order, each as its kind without flags and its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Returns the attributes in the value of another one.
    pub(crate) const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let [l0, l1, k0, k1] = *self.rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.rest.get(4..len)?;
        self.rest = self.rest.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([k0, k1]) & KIND_MASK, value))
    }
}

/// The kind of an answer to a request.
pub(crate) const ERROR: u16 = 2;
/// The kind which ends a dump.
pub(crate) const DONE: u16 = 3;

/// The flag which asks for an answer also to a message that did what it should.
const ACKNOWLEDGE: u16 = 4;
/// The length of the envelope.
const HEADER_LEN: usize = 16;
/// What messages and attributes start at a multiple of.
const ALIGNMENT: usize = 4;
/// The flag of attributes that hold attributes.
const NESTED: u16 = 0x8000;
/// A kind without its flags for nesting and byte order.
const KIND_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.begin(20, 5, 7);
        writer.put(&[1, 2, 3, 4]);
        writer.attribute(1, &[9]);
        writer.nest(2, |inside| inside.text(3, "ab"));
        writer.begin(21, 0, 8);
        writer.number(4, 0x0102_0304);
        let bytes = writer.finish().to_vec();
        let mut messages = Messages::new(&bytes);
        let first = messages.next().unwrap();
        assert_eq!((first.kind, first.sequence, &first.body[..4]), (20, 7, &[1, 2, 3, 4][..]));
        let attributes: Vec<_> = first.attributes(4).collect();
        assert_eq!(attributes[0], (1, &[9][..]));
        assert_eq!(attributes[1].0, 2);
        assert_eq!(attributes[1].1, [7, 0, 3, 0, b'a', b'b', 0, 0]);
        let second = messages.next().unwrap();
        assert_eq!(second.attributes(0).next(), Some((4, &[1, 2, 3, 4][..])));
        assert_eq!(messages.next(), None);
    }

    #[test]
    fn bytes_cut_anywhere_end_the_reading() {
        let mut writer = Writer::default();
        writer.begin(20, 0, 1);
        writer.attribute(1, &[1, 2, 3, 4, 5]);
        let bytes = writer.finish().to_vec();
        for len in 0..bytes.len() {
            assert_eq!(Messages::new(&bytes[..len]).next(), None, "cut at {len}");
        }
        let mut lying = bytes;
        lying[16] = 200;
        let message = Messages::new(&lying).next().unwrap();
        assert_eq!(message.attributes(0).next(), None);
    }

    #[test]
    fn an_answer_is_a_positive_error_number() {
        let body = (-17_i32).to_ne_bytes();
        let message = Message { kind: ERROR, sequence: 0, body: &body };
        assert_eq!(message.answer(), Some(17));
        assert_eq!(Message { kind: ERROR, sequence: 0, body: &[0; 4] }.answer(), Some(0));
        assert_eq!(Message { kind: DONE, sequence: 0, body: &body }.answer(), None);
        assert_eq!(Message { kind: ERROR, sequence: 0, body: &[] }.answer(), None);
    }
}
