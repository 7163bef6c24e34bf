//! What becomes of a message that came in at a port.

use heapless::Deque;
use lifesign_core::dongle::{OPEN, SEALED};
use lifesign_core::frame;
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::relay::PortId;
use lifesign_core::time::Instant;

use super::diagnosis::Sign;
use super::port::Account;
use super::{Answer, LinkRelay, MOST_ANSWERS};
use crate::link::{Source, Statistics, Verdict};

/// What decides about a message that came in.
pub(super) struct Sorter<'a> {
    /// This node, and its present start, once it has sent a frame.
    pub(super) own: Option<(NodeId, BootId)>,
    pub(super) at: usize,
    pub(super) id: PortId,
    /// How many ports there are.
    pub(super) count: usize,
    pub(super) relay: &'a mut LinkRelay,
    pub(super) answers: &'a mut Deque<Answer, MOST_ANSWERS>,
    pub(super) statistics: &'a mut Statistics,
    pub(super) now: Instant,
}

impl Sorter<'_> {
    pub(super) fn take(
        &mut self,
        message: &[u8],
        account: &mut Account,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) {
        match message.first() {
            None => {}
            Some(&OPEN | &SEALED) => self.take_answer(message, account),
            Some(_) => self.take_frame(message, account, deliver),
        }
    }

    fn take_answer(&mut self, message: &[u8], account: &mut Account) {
        let Ok(bytes) = heapless::Vec::from_slice(message) else { return };
        account.statistics.answers += 1;
        account.recent.sign(Sign::Dongle, self.now);
        if self.answers.is_full() {
            let _lost = self.answers.pop_front();
        }
        let _room = self.answers.push_back(Answer { port: self.at, bytes });
    }

    fn take_frame(
        &mut self,
        message: &[u8],
        account: &mut Account,
        deliver: &mut dyn FnMut(&[u8], Source) -> Verdict,
    ) {
        account.statistics.received += 1;
        let header = frame::peek(message).ok();
        let is_ring = self.count > 1;
        if let Some(header) = header.filter(|_| is_ring) {
            // Around a ring own frames come back whenever the longer way was the faster one.
            if Some((header.sender, header.boot)) == self.own {
                account.statistics.returned += 1;
                return account.recent.sign(Sign::Own, self.now);
            }
            if self.relay.has_seen(&header) {
                account.statistics.copies += 1;
                return account.recent.sign(Sign::Copy, self.now);
            }
        }
        self.statistics.received += 1;
        self.statistics.bytes_received += message.len() as u64;
        let verdict = deliver(message, Source::Port(self.at));
        let sign = match verdict {
            Verdict::Authentic => Sign::Good,
            Verdict::Own => Sign::Own,
            Verdict::OtherLink => Sign::OtherLink,
            Verdict::Foreign => Sign::Foreign,
            Verdict::OtherVersion => Sign::OtherVersion,
            Verdict::Damaged => Sign::Damage,
        };
        account.recent.sign(sign, self.now);
        account.statistics.returned += u64::from(verdict == Verdict::Own);
        if is_ring && verdict == Verdict::Authentic {
            let passed_on = self.relay.forward(message, self.id);
            account.statistics.relayed += u64::from(passed_on.is_ok());
        }
    }
}
