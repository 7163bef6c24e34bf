//! Neighbours that the kernel asks for in the name of a service address.

use super::error::Error;
use super::message::Message;
use super::netlink::{NEIGHBOUR_HEADER_LEN, Netlink};

/// Forgets the neighbours on adapter `index` that have not answered yet, and what waits for them.
///
/// What was to be said from an address before it went would be said when they answer, which may be
/// seconds later, and until then the kernel asks for them in the name of that address.
///
/// # Errors
/// [`Error::Call`] where they cannot be listed. One that has answered meanwhile is none of them.
pub(super) fn forget_unanswered(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    netlink.begin(libc::RTM_GETNEIGH, libc::NLM_F_DUMP).put(&[0; NEIGHBOUR_HEADER_LEN]);
    let unanswered = |message: &Message<'_>| {
        let header = message.body.first_chunk::<NEIGHBOUR_HEADER_LEN>()?;
        let [family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *header;
        let is_it = u32::from_ne_bytes([i0, i1, i2, i3]) == index
            && u16::from_ne_bytes([s0, s1]) & INCOMPLETE != 0;
        let mut attributes = message.attributes(NEIGHBOUR_HEADER_LEN);
        let (_, ip) = attributes.find(|(kind, _)| is_it && *kind == libc::NDA_DST)?;
        Some((family, ip.to_vec()))
    };
    for (family, ip) in netlink.dump("list neighbours", libc::RTM_NEWNEIGH, unanswered)? {
        let writer = netlink.begin(libc::RTM_DELNEIGH, 0);
        writer.put(&[family, 0, 0, 0]);
        writer.put(&index.to_ne_bytes());
        writer.put(&[0; 4]);
        writer.attribute(libc::NDA_DST, &ip);
        let _gone = netlink.request(|| "forget a neighbour".to_owned());
    }
    Ok(())
}

/// The state of a neighbour that is asked for and has not answered.
const INCOMPLETE: u16 = 1;
