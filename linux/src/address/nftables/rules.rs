//! The lease's tables as netlink messages.
//!
//! All tables have the same name. Two have the sets `own4` (service addresses) and `live4` (those
//! that may answer); table `inet` has `own6` and `live6` besides, and `guard`. Where groups have
//! hardware addresses there is a third, `netdev`, with the sets `own` and `live` of those. "Closed"
//! is: in `own` and not in `live`. Packets are dropped here, wherever they come in or go out:
//!
//! | table | chain | drops what is closed |
//! |-------|-------|----------------------|
//! | inet | prerouting | packets *to* an address installed here, before any translation |
//! | inet | input | packets to it, and neighbour solicitations *for* it |
//! | inet | output | packets *from* it, and neighbour advertisements *of* it |
//! | inet | postrouting | packets from an address installed here, after any translation |
//! | arp | input | ARP to it; announcements by another holder pass |
//! | arp | output | ARP from it |
//! | netdev | `out..` | frames from a hardware address; ARP of its addresses from another one |
//!
//! A table of another name, of ARP alone, has the sets `own4` (addresses that may be on one of
//! several adapters) and `adapters`: ARP from such an address leaves by no other adapter, as
//! [`speakers`](super::speakers) tells.
//!
//! No other chain belongs to an adapter, so adapters come and go, and an address is closed on all
//! of them. Packets that are only forwarded between a client and the holder elsewhere pass.

use super::super::message::Writer;
use super::super::subject::Subject;
use super::expression::{
    ACCEPT, ADVERTISEMENT, DATA_VALUE, DROP, ETHERNET, ICMPV6, IPV4, IPV6, LIST_ITEM,
    LOCAL_DESTINATION, LOCAL_SOURCE, META_FAMILY, META_PROTOCOL, NETWORK, Rule, SOLICITATION,
    TRANSPORT,
};
use super::set::{Family, GUARD, SPEAKER_SETS, SPEAKERS, Set, live, octets, own};

/// Messages that the kernel applies together.
#[derive(Debug)]
pub(super) struct Batch {
    table: &'static str,
    writer: Writer,
    first: u32,
    sequence: u32,
}

impl Batch {
    /// Returns an empty batch about the tables named `table`.
    pub(super) fn new(table: &'static str) -> Self {
        Self { table, writer: Writer::default(), first: 0, sequence: 0 }
    }

    /// Forgets the batch before and begins one.
    pub(super) fn begin(&mut self) {
        self.writer.clear();
        self.first = self.sequence.wrapping_add(1);
        self.frame(BATCH_BEGIN);
    }

    /// Ends the batch; returns its bytes and the numbers of its first and last message.
    pub(super) fn finish(&mut self) -> (&[u8], u32, u32) {
        self.writer.acknowledge();
        self.frame(BATCH_END);
        (self.writer.finish(), self.first, self.sequence)
    }

    /// Removes tables, whether or not they are there.
    pub(super) fn remove_tables(&mut self, families: &[Family]) {
        let table = self.table;
        for family in families.iter().copied() {
            for message in [NEW_TABLE, DELETE_TABLE] {
                self.message(family, message, 0).text(TABLE_NAME, table);
            }
        }
    }

    /// Adds the tables of `families`, closed for every one of `subjects`.
    pub(super) fn add_tables(&mut self, families: &[Family], subjects: &[Subject], lookup: bool) {
        for family in families.iter().copied() {
            self.add_table(family, family.sets());
        }
        for subject in subjects {
            for family in Family::of(*subject) {
                self.element(*family, NEW_ELEMENT, own(*subject), &octets(*subject), None);
            }
        }
        self.add_arp_rules();
        self.add_inet_rules();
        if lookup {
            self.add_translation_rules();
        }
    }

    /// Adds the table by which ARP from `services` leaves only by the adapters in its set, which is
    /// empty.
    pub(super) fn add_speakers(&mut self, services: &[Subject]) {
        self.add_table(Family::Arp, &SPEAKER_SETS);
        for service in services {
            self.element(Family::Arp, NEW_ELEMENT, own(*service), &octets(*service), None);
        }
        self.add_chain(Family::Arp, "output", ARP_OUTPUT, FIRST_PRIORITY);
        self.add_rule(Family::Arp, "output", |rule| {
            rule.payload(NETWORK, 14, 4).within("own4").adapter().outside(SPEAKERS).verdict(DROP);
        });
    }

    /// Adds adapter `index` to those by which ARP may leave.
    pub(super) fn add_speaker(&mut self, index: u32) {
        self.element(Family::Arp, NEW_ELEMENT, SPEAKERS, &index.to_ne_bytes(), None);
    }

    /// Deletes it from them.
    pub(super) fn delete_speaker(&mut self, index: u32) {
        self.element(Family::Arp, DELETE_ELEMENT, SPEAKERS, &index.to_ne_bytes(), None);
    }

    /// Adds the chain called `chain` for what leaves by the adapter called `adapter`.
    pub(super) fn add_adapter(&mut self, chain: &str, adapter: &str, subjects: &[Subject]) {
        let table = self.table;
        let writer = self.message(Family::Netdev, NEW_CHAIN, CREATE);
        writer.text(CHAIN_TABLE, table);
        writer.text(CHAIN_NAME, chain);
        writer.nest(CHAIN_HOOK, |inside| {
            inside.number(HOOK_NUMBER, EGRESS);
            inside.number(HOOK_PRIORITY, FIRST_PRIORITY.cast_unsigned());
            inside.text(HOOK_ADAPTER, adapter);
        });
        writer.number(CHAIN_POLICY, ACCEPT);
        writer.text(CHAIN_KIND, "filter");
        self.add_rule(Family::Netdev, chain, |rule| {
            rule.payload(ETHERNET, 6, 6).muted().verdict(DROP);
        });
        for (ip, mac) in subjects.iter().filter_map(Subject::bound) {
            self.add_rule(Family::Netdev, chain, |rule| {
                rule.payload(ETHERNET, 12, 2)
                    .equal(&ARP_TYPE)
                    .payload(ETHERNET, 28, 4)
                    .equal(&ip.octets())
                    .payload(ETHERNET, 6, 6)
                    .differs(&mac)
                    .verdict(DROP);
            });
        }
    }

    /// Adds a subject to the live ones for `timeout_ms`.
    pub(super) fn add_element(&mut self, family: Family, subject: Subject, timeout_ms: u64) {
        let key = octets(subject);
        self.element(family, NEW_ELEMENT, live(subject), &key, Some(timeout_ms));
    }

    /// Deletes a subject from the live ones.
    pub(super) fn delete_element(&mut self, family: Family, subject: Subject) {
        self.element(family, DELETE_ELEMENT, live(subject), &octets(subject), None);
    }

    /// Adds a guard for `timeout_ms`.
    pub(super) fn add_guard(&mut self, key: u32, timeout_ms: u64) {
        let key = key.to_be_bytes();
        self.element(Family::Inet, NEW_ELEMENT, GUARD, &key, Some(timeout_ms));
    }

    /// Deletes a guard.
    pub(super) fn delete_guard(&mut self, key: u32) {
        self.element(Family::Inet, DELETE_ELEMENT, GUARD, &key.to_be_bytes(), None);
    }

    /// Adds the rules for ARP, whose header has the sender at 14 and the target at 24.
    fn add_arp_rules(&mut self) {
        self.add_chain(Family::Arp, "input", ARP_INPUT, FIRST_PRIORITY);
        self.add_rule(Family::Arp, "input", |rule| {
            rule.payload(NETWORK, 14, 4).within("own4").verdict(ACCEPT);
        });
        self.add_rule(Family::Arp, "input", |rule| {
            rule.payload(NETWORK, 24, 4).closed(4).verdict(DROP);
        });
        self.add_chain(Family::Arp, "output", ARP_OUTPUT, FIRST_PRIORITY);
        self.add_rule(Family::Arp, "output", |rule| {
            rule.payload(NETWORK, 14, 4).closed(4).verdict(DROP);
        });
    }

    /// Adds the rules for packets of this machine itself.
    fn add_inet_rules(&mut self) {
        let chains =
            [("input", INPUT, 16, 24, SOLICITATION), ("output", OUTPUT, 12, 8, ADVERTISEMENT)];
        for (chain, hook, offset4, offset6, neighbour) in chains {
            self.add_chain(Family::Inet, chain, hook, FIRST_PRIORITY);
            self.add_rule(Family::Inet, chain, |rule| {
                rule.meta(META_FAMILY, IPV4).payload(NETWORK, offset4, 4).closed(4).verdict(DROP);
            });
            self.add_rule(Family::Inet, chain, |rule| {
                rule.meta(META_FAMILY, IPV6).payload(NETWORK, offset6, 16).closed(6).verdict(DROP);
            });
            self.add_rule(Family::Inet, chain, |rule| {
                rule.meta(META_FAMILY, IPV6)
                    .meta(META_PROTOCOL, ICMPV6)
                    .payload(TRANSPORT, 0, 1)
                    .equal(&[neighbour])
                    .payload(TRANSPORT, 8, 16)
                    .closed(6)
                    .verdict(DROP);
            });
        }
    }

    /// Adds the rules for packets whose address is translated on the way.
    fn add_translation_rules(&mut self) {
        let chains = [
            ("prerouting", PREROUTING, FIRST_PRIORITY, 16, 24, LOCAL_DESTINATION),
            ("postrouting", POSTROUTING, LAST_PRIORITY, 12, 8, LOCAL_SOURCE),
        ];
        for (chain, hook, priority, offset4, offset6, which) in chains {
            self.add_chain(Family::Inet, chain, hook, priority);
            for (family, version, offset, len) in [(IPV4, 4, offset4, 4), (IPV6, 6, offset6, 16)] {
                self.add_rule(Family::Inet, chain, |rule| {
                    rule.meta(META_FAMILY, family)
                        .payload(NETWORK, offset, len)
                        .closed(version)
                        .local(which)
                        .verdict(DROP);
                });
            }
        }
    }

    /// Adds a table with its sets.
    fn add_table(&mut self, family: Family, sets: &[Set]) {
        let table = self.table;
        self.message(family, NEW_TABLE, CREATE).text(TABLE_NAME, table);
        for (number, set) in (1..).zip(sets) {
            self.add_set(family, number, set);
        }
    }

    /// Adds a set.
    fn add_set(&mut self, family: Family, number: u32, set: &Set) {
        let table = self.table;
        let writer = self.message(family, NEW_SET, CREATE);
        writer.text(SET_TABLE, table);
        writer.text(SET_NAME, set.name);
        writer.number(SET_FLAGS, if set.times_out { SET_TIMES_OUT } else { 0 });
        writer.number(SET_KEY_KIND, set.key_kind);
        writer.number(SET_KEY_LEN, set.key_len);
        writer.number(SET_NUMBER, number);
    }

    /// Adds a chain at a hook which lets pass what no rule drops.
    fn add_chain(&mut self, family: Family, chain: &str, hook: u32, priority: i32) {
        let table = self.table;
        let writer = self.message(family, NEW_CHAIN, CREATE);
        writer.text(CHAIN_TABLE, table);
        writer.text(CHAIN_NAME, chain);
        writer.nest(CHAIN_HOOK, |inside| {
            inside.number(HOOK_NUMBER, hook);
            inside.number(HOOK_PRIORITY, priority.cast_unsigned());
        });
        writer.number(CHAIN_POLICY, ACCEPT);
        writer.text(CHAIN_KIND, "filter");
    }

    /// Appends a rule of what `write` adds.
    fn add_rule(&mut self, family: Family, chain: &str, write: impl FnOnce(&mut Rule<'_>)) {
        let table = self.table;
        let writer = self.message(family, NEW_RULE, CREATE | APPEND);
        writer.text(RULE_TABLE, table);
        writer.text(RULE_CHAIN, chain);
        writer.nest(RULE_EXPRESSIONS, |writer| write(&mut Rule::new(writer)));
    }

    /// Adds or deletes an element of a set.
    fn element(
        &mut self,
        family: Family,
        message: u8,
        set: &str,
        key: &[u8],
        timeout_ms: Option<u64>,
    ) {
        let flags = if message == NEW_ELEMENT { CREATE } else { 0 };
        let table = self.table;
        let writer = self.message(family, message, flags);
        writer.text(ELEMENT_TABLE, table);
        writer.text(ELEMENT_SET, set);
        writer.nest(ELEMENTS, |list| {
            list.nest(LIST_ITEM, |element| {
                element.nest(ELEMENT_KEY, |value| value.attribute(DATA_VALUE, key));
                if let Some(timeout_ms) = timeout_ms {
                    element.attribute(ELEMENT_TIMEOUT, &timeout_ms.to_be_bytes());
                }
            });
        });
    }

    /// Begins a message about a table of `family`.
    fn message(&mut self, family: Family, message: u8, flags: u16) -> &mut Writer {
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.begin(SUBSYSTEM << 8 | u16::from(message), REQUEST | flags, self.sequence);
        self.writer.put(&[family as u8, 0, 0, 0]);
        &mut self.writer
    }

    /// Writes one of the messages around the batch.
    fn frame(&mut self, kind: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.begin(kind, REQUEST, self.sequence);
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.writer.put(&[0, 0, high, low]);
    }
}

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const NEW_SET: u8 = 9;
const NEW_ELEMENT: u8 = 12;
const DELETE_ELEMENT: u8 = 14;

const REQUEST: u16 = 0x001;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_KIND: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_ADAPTER: u16 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_KIND: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_NUMBER: u16 = 10;
const SET_TIMES_OUT: u32 = 0x10;
const ELEMENT_TABLE: u16 = 1;
const ELEMENT_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;

const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const ARP_INPUT: u32 = 0;
const ARP_OUTPUT: u32 = 1;
const EGRESS: u32 = 1;
/// The Ethernet type of ARP, as on the wire.
const ARP_TYPE: [u8; 2] = [8, 6];
/// Before connection tracking and translation.
const FIRST_PRIORITY: i32 = -310;
/// Behind both.
const LAST_PRIORITY: i32 = 310;
