//! Somebody on the wire who means ill: what was recorded comes again, elsewhere or at once, and
//! rubbish besides.

use lifesign_core::frame::{self, Body, Header, LinkClass, MAX_ECHOES, MAX_FRAME_LEN};
use lifesign_core::group::MAX_GROUPS;
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::seal::{KeyId, Keyring};

use super::start::{CLUSTER, OTHER_CLUSTER, other_keyring};
use super::{Micros, World, keyring};
use crate::fault::Rubbish;
use crate::random::Random;

impl World {
    /// Sends frames once more that were recorded, as they were.
    pub(super) fn replay(&mut self, count: u16, to: Option<u8>, pick: u32) {
        let mut random = Random::new(pick.into());
        for delay in 1..=Micros::from(count) {
            let Some((_, was_to, link, bytes)) = self.any_recorded(&mut random) else { return };
            self.inject_after(delay, to.unwrap_or(was_to), link, &bytes);
        }
    }

    /// Puts recorded frames on the line to the first serial port of `to`.
    pub(super) fn swap_classes(&mut self, to: u8, count: u16, pick: u32) {
        let mut random = Random::new(pick.into());
        for _ in 0..count {
            let Some((_, _, _, bytes)) = self.any_recorded(&mut random) else { return };
            self.inject_message(to, 0, &bytes);
        }
    }

    fn any_recorded(&self, random: &mut Random) -> Option<(u8, u8, u8, Vec<u8>)> {
        let at = random.below(self.recorded.len().max(1) as u64);
        self.recorded.get(usize::try_from(at).ok()?).cloned()
    }

    /// Sends rubbish to `to`.
    pub(super) fn flood(&mut self, to: u8, count: u16, rubbish: Rubbish, pick: u32) {
        let mut random = Random::new(pick.into());
        for delay in 1..=Micros::from(count) {
            let from = u8::try_from(random.below(self.setup.nodes.into())).unwrap_or(0);
            let link = u8::try_from(random.below(self.setup.links.max(1).into())).unwrap_or(0);
            let bytes = match rubbish {
                Rubbish::Bytes => {
                    let len = random.below(200);
                    (0..len).map(|_| random.bits().to_le_bytes()[0]).collect()
                }
                Rubbish::Forged => {
                    let mut bytes = forged(from, link, CLUSTER, &keyring(), random.bits());
                    for byte in bytes.iter_mut().skip(frame::HEADER_LEN) {
                        *byte ^= random.bits().to_le_bytes()[0];
                    }
                    bytes
                }
                Rubbish::WrongKey => forged(from, link, CLUSTER, &other_keyring(), random.bits()),
                Rubbish::OtherCluster => {
                    forged(from, link, OTHER_CLUSTER, &keyring(), random.bits())
                }
            };
            self.inject_after(delay, to, link, &bytes);
        }
    }
}

/// Returns a frame that looks as if `from` had sent it.
fn forged(from: u8, link: u8, cluster: ClusterId, keyring: &Keyring, boot: u64) -> Vec<u8> {
    let (Some(sender), Some(link)) = (NodeId::new(from), LinkId::new(link)) else {
        return Vec::new();
    };
    let (class, key, boot, sequence) = (LinkClass::Udp, KeyId(0), BootId::new(boot), 1);
    let header = Header { class, link, sender, key, cluster, boot, sequence };
    let mut buffer = [0; MAX_FRAME_LEN];
    let body = Body::<MAX_ECHOES, MAX_GROUPS>::default();
    let len = frame::encode(&header, &body, keyring, &mut buffer);
    buffer[..len].to_vec()
}
