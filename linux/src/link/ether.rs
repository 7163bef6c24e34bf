//! A link over raw Ethernet on one adapter: no address, no route and no firewall is in its way.
//!
//! ```text
//! | destination | source | [802.1Q tag] | type | length | frame            | padding |
//! | 6           | 6      | 4            | 2    | 2      | as on every link |         |
//! ```
//!
//! The length, of the frame alone and in network byte order, is there because adapters pad what is
//! short, and some add more. The kernel writes the addresses, so an adapter may change its own at
//! any time. Frames go to a group address that is administered locally, or to everybody; they never
//! leave the adapter's network.
//!
//! The kernel hands on frames of the right type alone, and of those, by a filter, none of another
//! cluster. It takes a VLAN's tag off and does not say which it was: what comes in is heard from
//! every VLAN that reaches the adapter. The frame's tag is what keeps strangers out.

use core::ops::RangeInclusive;
use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::node::ClusterId;
use nix::errno::Errno;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg};
use socket2::{Domain, SockFilter, Socket, Type};

use super::adapter::{
    Adapter, AdapterLink, Carrier, Datagram, PRIORITY, adapter_error, drops, index_of, set_buffer,
};
use super::failure::{Failure, OpenError};
use super::{Source, filter};
use crate::sys;

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtherSpec {
    /// The adapter's name on this node.
    pub adapter: String,
    /// Whose frames are heard.
    pub cluster: ClusterId,
    /// The Ethernet type of all nodes on this link.
    pub ethertype: u16,
    /// The VLAN that frames are sent into, if the adapter does not tag them itself.
    pub vlan: Option<u16>,
    /// Whether frames go to everybody, not to the group.
    pub broadcast: bool,
}

/// The Ethernet type that is used if none is set: the first of two that the IEEE leaves to local
/// use (IEEE 802, clause 9.2.4).
pub const ETHERTYPE: u16 = 0x88b5;
/// The VLANs there can be (IEEE 802.1Q, clause 9.6).
pub const VLANS: RangeInclusive<u16> = 1..=4094;

/// Returns why a link must not have this Ethernet type.
///
/// # Errors
/// In a few words.
pub fn judge_ethertype(ethertype: u16) -> Result<(), &'static str> {
    match ethertype {
        0..0x600 => Err("below 0x0600 it is a length, not a type"),
        0x0800 | 0x86dd => Err("that is the type of IP"),
        0x0806 => Err("that is the type of ARP"),
        TAGGED | 0x88a8 => Err("that is the type of VLAN tags"),
        _ => Ok(()),
    }
}

/// An open link over raw Ethernet, or one that waits to be opened again.
pub(super) type EtherLink = AdapterLink<Opened>;

/// The socket. It is without a header of its own: the kernel writes that, and takes it off.
#[derive(Debug)]
pub(super) struct Opened {
    socket: Socket,
    index: u32,
    spec: EtherSpec,
    control: Vec<u8>,
    drops: u32,
}

impl Carrier for Opened {
    type Spec = EtherSpec;

    fn open(spec: &EtherSpec) -> Result<Self, OpenError> {
        if judge_ethertype(spec.ethertype).is_err() {
            return Err(OpenError::Contradiction { reason: "the Ethernet type is another's" });
        }
        let index = index_of(&spec.adapter)?;
        let step = |step| move |source: io::Error| adapter_error(step, &spec.adapter, source);
        // Without a protocol it hears nothing until the filter stands and it is bound.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)
            .map_err(step("open a packet socket for"))?;
        let program = filter::cluster_frames(spec.cluster, LENGTH_LEN);
        let program: Vec<SockFilter> = program.into_iter().map(SockFilter::from).collect();
        // Where it is refused, frames of other clusters wake the daemon and are counted there.
        let _unattached = socket.attach_filter(&program);
        socket.set_priority(PRIORITY).map_err(step("set socket options for"))?;
        set_buffer(&socket).map_err(step("set socket options for"))?;
        if !spec.broadcast {
            sys::join_packet_group(socket.as_fd(), index, GROUP)
                .map_err(|errno| step("join the group address on")(errno.into()))?;
        }
        sys::bind_packet(socket.as_fd(), spec.ethertype, index)
            .map_err(|errno| step("bind to adapter")(errno.into()))?;
        let (control, spec) = (nix::cmsg_space!(u32), spec.clone());
        Ok(Self { socket, index, spec, control, drops: 0 })
    }

    fn send(&self, frame: &[u8], tell: &mut dyn FnMut(Option<IpAddr>, Result<usize, Errno>)) {
        let EtherSpec { ethertype, vlan, broadcast, .. } = self.spec;
        let to = if broadcast { BROADCAST } else { GROUP };
        tell(
            None,
            match payload(ethertype, vlan, frame) {
                Some((kind, bytes)) => {
                    sys::send_packet(self.socket.as_fd(), (self.index, kind, to), &bytes)
                }
                None => Err(Errno::EMSGSIZE),
            },
        );
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Datagram, Errno> {
        // The length takes no room from the frame.
        let mut length = [0; LENGTH_LEN];
        let mut parts = [IoSliceMut::new(&mut length), IoSliceMut::new(buffer)];
        let message = recvmsg::<LinkAddr>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let (came, flags) = (message.bytes.saturating_sub(LENGTH_LEN), message.flags);
        let source = message.address.and_then(|address| address.addr()).map(Source::Ether);
        let drops = drops(&message, &mut self.drops);
        let len = usize::from(u16::from_be_bytes(length));
        Ok(Datagram {
            frame: 0..len.min(came),
            source,
            is_accepted: len <= came,
            is_truncated: flags.contains(MsgFlags::MSG_TRUNC),
            drops,
        })
    }

    fn adapter(&self, spec: &EtherSpec) -> Adapter {
        // The wrapper takes an index that nobody has for one without a name.
        let is_there = || if_indextoname(self.index).is_ok_and(|name| !name.is_empty());
        match if_nametoindex(spec.adapter.as_str()) {
            Ok(index) if index == self.index => Adapter::Same,
            Ok(_) => Adapter::Replaced,
            Err(_) if is_there() => Adapter::Renamed,
            Err(_) => Adapter::Missing,
        }
    }

    fn judge(&self, _: &EtherSpec, failure: Failure) -> Failure {
        failure
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What follows the header that the kernel writes.
type Payload = heapless::Vec<u8, { TAG_LEN + LENGTH_LEN + MAX_FRAME_LEN }>;

/// Returns the Ethernet type in the header and what follows it, or `None` for what is longer than
/// any frame.
fn payload(ethertype: u16, vlan: Option<u16>, frame: &[u8]) -> Option<(u16, Payload)> {
    let mut payload = Payload::new();
    if let Some(vlan) = vlan {
        let tag = NETWORK_CONTROL << 13 | vlan;
        payload.extend_from_slice(&tag.to_be_bytes()).ok()?;
        payload.extend_from_slice(&ethertype.to_be_bytes()).ok()?;
    }
    payload.extend_from_slice(&u16::try_from(frame.len()).ok()?.to_be_bytes()).ok()?;
    payload.extend_from_slice(frame).ok()?;
    Some((if vlan.is_some() { TAGGED } else { ethertype }, payload))
}

/// What a VLAN's tag adds: itself, and the type behind it.
const TAG_LEN: usize = 4;
/// The length before each frame.
const LENGTH_LEN: usize = 2;
/// The group address of all nodes: a group's, administered locally, and then "LS" (IEEE 802, clause
/// 8.2).
const GROUP: [u8; 6] = [0x03, b'L', b'S', 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
/// The type of what has a VLAN's tag (IEEE 802.1Q, clause 9.4).
const TAGGED: u16 = 0x8100;
/// The priority in a VLAN's tag: network control (IEEE 802.1Q, annex I).
const NETWORK_CONTROL: u16 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_before_the_type_and_the_length() {
        let frame = [0xa5; 0x0102];
        let (kind, plain) = payload(ETHERTYPE, None, &frame).unwrap();
        assert_eq!(
            (kind, plain[..2].to_vec(), plain[2..].to_vec()),
            (0x88b5, vec![1, 2], frame.to_vec())
        );
        let (kind, tagged) = payload(ETHERTYPE, Some(7), &frame[..96]).unwrap();
        assert_eq!((kind, tagged[..6].to_vec()), (0x8100, vec![0xe0, 7, 0x88, 0xb5, 0, 96]));
        assert_eq!(tagged[6..], frame[..96]);
    }

    #[test]
    fn types_that_others_have_are_refused() {
        assert_eq!(judge_ethertype(ETHERTYPE), Ok(()));
        for taken in [0, 0x5ff, 0x800, 0x806, 0x86dd, 0x8100, 0x88a8] {
            assert!(judge_ethertype(taken).is_err(), "{taken:#x}");
        }
    }

    #[test]
    fn an_unknown_adapter_is_an_error_that_names_it() {
        let spec = EtherSpec {
            adapter: "nowhere0".into(),
            cluster: ClusterId(1),
            ethertype: ETHERTYPE,
            vlan: None,
            broadcast: false,
        };
        assert_eq!(EtherLink::open(spec).unwrap_err().to_string(), "adapter nowhere0: not found");
    }
}
