//! Neighbour discovery frames about service addresses (RFC 4861; probes are RFC 4862 section 5.4).

use std::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::arp::Mac;
use super::packet::{Operation, hear_any, hear_from};

/// Returns the announcement to all nodes that `ip` is at `mac`, which overrides what they know.
pub(crate) fn announcement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let advertisement = NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: ip,
        lladdr: Some(lladdr(mac)),
    };
    frame(mac, ip, multicast_mac(ALL_NODES), ALL_NODES, advertisement)
}

/// Returns the question whether anyone has `ip`, which changes no table.
pub(crate) fn probe(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let to = solicited_node(ip);
    let solicitation = NdiscRepr::NeighborSolicit { target_addr: ip, lladdr: None };
    frame(mac, Ipv6Addr::UNSPECIFIED, multicast_mac(to), to, solicitation)
}

/// Returns a question from `ip` at `mac` to one neighbour, or to its group where its hardware
/// address is not known: who answers has learnt where `ip` is.
pub(crate) fn question(mac: Mac, ip: Ipv6Addr, to: Option<Mac>, neighbour: Ipv6Addr) -> Vec<u8> {
    let solicitation =
        NdiscRepr::NeighborSolicit { target_addr: neighbour, lladdr: Some(lladdr(mac)) };
    let group = solicited_node(neighbour);
    match to {
        Some(to) => frame(mac, ip, to, neighbour, solicitation),
        None => frame(mac, ip, multicast_mac(group), group, solicitation),
    }
}

/// What a frame of neighbour discovery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Who says it: the hardware address it names, or else the one it came from.
    pub(crate) mac: Mac,
    /// The address it came from; unspecified in a probe.
    pub(crate) source: Ipv6Addr,
    /// The address it was sent to.
    pub(crate) destination: Ipv6Addr,
    /// The address which it is about.
    pub(crate) target: Ipv6Addr,
    /// Whether it says that `target` is at `mac`.
    pub(crate) is_advertisement: bool,
}

/// Reads a frame; `None` where it is not a valid solicitation or advertisement.
pub(crate) fn read(bytes: &[u8]) -> Option<Heard> {
    let ethernet = EthernetFrame::new_checked(bytes).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv6 {
        return None;
    }
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    // What went through a router is not of this wire (RFC 4861 section 7.1).
    if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != HOP_LIMIT {
        return None;
    }
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let verify = ChecksumCapabilities::default();
    let repr = Icmpv6Repr::parse(&source, &destination, &icmp, &verify).ok()?;
    let (target, lladdr, is_advertisement) = match repr {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, lladdr, .. }) => {
            (target_addr, lladdr, true)
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, lladdr }) => {
            (target_addr, lladdr, false)
        }
        _ => return None,
    };
    let named = lladdr.and_then(|lladdr| Mac::try_from(lladdr.as_bytes()).ok());
    let mac = named.unwrap_or_else(|| ethernet.src_addr().0);
    Some(Heard { mac, source, destination, target, is_advertisement })
}

/// Returns the kernel's filter: neighbour discovery about, or in answer to, one of `addresses`, and
/// whatever comes from one of `macs`.
///
/// It compares the last four bytes, and [`read`]'s caller the rest.
pub(crate) fn filter(addresses: &[Ipv6Addr], macs: &[Mac]) -> Vec<Operation> {
    let values: Vec<u32> = addresses
        .iter()
        .map(|address| {
            let [.., a, b, c, d] = address.octets();
            u32::from_be_bytes([a, b, c, d])
        })
        .collect();
    let mut filter = Vec::new();
    hear_from(&mut filter, macs);
    filter.extend([
        Operation::byte(14 + 6),
        Operation::equal(58, 1, 0),
        Operation::end(false),
        Operation::byte(14 + 40),
        Operation::equal(135, 2, 0),
        Operation::equal(136, 1, 0),
        Operation::end(false),
    ]);
    hear_any(&mut filter, 14 + 24 + 12, &values);
    hear_any(&mut filter, 14 + 48 + 12, &values);
    filter.push(Operation::end(false));
    filter
}

/// The type of Ethernet frames with IPv6.
pub(crate) const ETHERTYPE: u16 = 0x86dd;
/// What a packet of this wire has.
const HOP_LIMIT: u8 = 255;
/// Every node on the wire.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Returns the group in which whoever has `ip` listens (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = ip.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// Returns the hardware address of a group (RFC 2464 section 7).
const fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// Returns the hardware address as an option holds it.
fn lladdr(mac: Mac) -> RawHardwareAddress {
    RawHardwareAddress::from(EthernetAddress(mac))
}

/// Writes a frame.
fn frame(
    mac: Mac,
    source: Ipv6Addr,
    to: Mac,
    destination: Ipv6Addr,
    what: NdiscRepr<'_>,
) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(what);
    let ipv6 = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let mut bytes = vec![0; 14 + ipv6.buffer_len() + icmp.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr {
        src_addr: EthernetAddress(mac),
        dst_addr: EthernetAddress(to),
        ethertype: EthernetProtocol::Ipv6,
    }
    .emit(&mut ethernet);
    let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
    ipv6.emit(&mut packet);
    let mut inside = Icmpv6Packet::new_unchecked(packet.payload_mut());
    icmp.emit(&source, &destination, &mut inside, &ChecksumCapabilities::default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::hears;
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn ip() -> Ipv6Addr {
        "fd00::12:3456".parse().unwrap()
    }

    fn neighbour() -> Ipv6Addr {
        "fd00::9".parse().unwrap()
    }

    #[test]
    fn an_announcement_is_the_bytes_of_the_standard() {
        let frame = announcement(MAC, ip());
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd]);
        assert_eq!(frame[14 + 6..14 + 8], [58, 255]);
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58..62], [0x20, 0, 0, 0], "override alone");
        assert_eq!(frame[78..], [2, 1, 2, 0, 0, 0, 0, 7]);
        let heard = read(&frame).unwrap();
        assert_eq!((heard.target, heard.mac, heard.is_advertisement), (ip(), MAC, true));
    }

    #[test]
    fn a_probe_names_no_sender_and_goes_to_the_group_of_the_address() {
        let frame = probe(MAC, ip());
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let heard = read(&frame).unwrap();
        assert!(heard.source.is_unspecified() && !heard.is_advertisement);
        assert_eq!(heard.destination, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn a_frame_with_a_wrong_byte_says_nothing() {
        let frame = question(MAC, ip(), Some([4; 6]), neighbour());
        assert_eq!(read(&frame).unwrap().target, neighbour());
        for at in 14 + 40..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 1;
            assert_eq!(read(&wrong), None, "byte {at}");
        }
        for len in 0..frame.len() {
            assert_eq!(read(&frame[..len]), None, "{len}");
        }
        let mut routed = frame;
        routed[14 + 7] = 254;
        assert_eq!(read(&routed), None);
    }

    #[test]
    fn the_filter_hears_our_addresses_alone() {
        let filter = filter(&["fd00::1:2".parse().unwrap(), ip()], &[]);
        assert!(hears(&filter, &announcement(MAC, ip())));
        assert!(hears(&filter, &probe(MAC, ip())));
        assert!(!hears(&filter, &question(MAC, ip(), Some(MAC), neighbour())), "our own question");
        assert!(
            hears(&filter, &question(MAC, neighbour(), Some(MAC), ip())),
            "its question, or answer"
        );
        assert!(!hears(&filter, &announcement(MAC, neighbour())));
        let mut other = announcement(MAC, ip());
        other[54] = 128;
        assert!(!hears(&filter, &other));
        other[54] = 136;
        other[20] = 17;
        assert!(!hears(&filter, &other));
    }
}
