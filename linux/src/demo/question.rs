//! What the switch asks a server about a service address, and how it knows an answer.
//!
//! Every kernel that holds an address answers an ARP request and an echo request for it (for IPv6 a
//! neighbour solicitation and an echo request) by itself, whatever its daemons do. The switch asks
//! each server by name, so the answer does not hang on where the network believes the address to
//! be: a server which lost the address in everybody's tables and still holds it answers too.
//!
//! A frame *speaks for* an address when it makes a receiver believe that its sender has it: ARP
//! with the address as its sender, requests and announcements included (RFC 826); a neighbour
//! advertisement of the address (RFC 4861); any packet with the address as its source. A probe in
//! the sense of RFC 5227, whose sender is 0.0.0.0, speaks for nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress as Hardware, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::fabric::EthernetAddress;

/// The Ethernet address from which the switch asks.
pub const ASKER: EthernetAddress = [0x02, 0x4c, 0x53, 0xff, 0xff, 0xfe];

/// Returns the address from which the switch asks about `address`, in the same network.
///
/// For IPv4 it is the last address of the /24 around `address`, for IPv6 one of the /64: what is
/// asked from a link-local one is answered by the adapter at which it came in, wherever the address
/// sits.
#[must_use]
pub const fn asker_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 254))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0x4c53, 0xfffe))
        }
    }
}

/// Returns the frames that ask the server at `server` for `address`: for the neighbour, then an
/// echo.
///
/// The echo needs what the first question taught the server about the asker, so order matters.
#[must_use]
pub fn questions(address: IpAddr, server: EthernetAddress) -> [Vec<u8>; 2] {
    match (address, asker_of(address)) {
        (IpAddr::V4(address), IpAddr::V4(asker)) => {
            let request = arp(ArpOperation::Request, (ASKER, asker), ([0; 6], address), BROADCAST);
            [request, echo_v4(asker, address, server)]
        }
        (IpAddr::V6(address), IpAddr::V6(asker)) => {
            let solicitation = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
                target_addr: address,
                lladdr: Some(RawHardwareAddress::from_bytes(&ASKER)),
            });
            let (group, to) = solicited_node(address);
            let echo = Icmpv6Repr::EchoRequest { ident: ECHO_IDENTITY, seq_no: 0, data: &[] };
            [icmp_v6(asker, group, to, &solicitation), icmp_v6(asker, address, server, &echo)]
        }
        _ => [Vec::new(), Vec::new()],
    }
}

/// Returns the addresses for which `frame` speaks, and nothing for what is malformed.
#[must_use]
pub fn speaks_for(frame: &[u8]) -> [Option<IpAddr>; 2] {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return [None; 2];
    };
    match ethernet.ethertype() {
        EthernetProtocol::Arp => [arp_sender(ethernet.payload()).map(IpAddr::V4), None],
        EthernetProtocol::Ipv4 => {
            let source =
                Ipv4Packet::new_checked(ethernet.payload()).map(|packet| packet.src_addr());
            [source.ok().map(IpAddr::V4), None]
        }
        EthernetProtocol::Ipv6 => {
            let Ok(packet) = Ipv6Packet::new_checked(ethernet.payload()) else {
                return [None; 2];
            };
            let target = neighbour_message(&packet, Icmpv6Message::NeighborAdvert);
            [Some(IpAddr::V6(packet.src_addr())), target.map(IpAddr::V6)]
        }
        EthernetProtocol::Unknown(_) => [None; 2],
    }
}

/// Returns the answer that the asker owes to `frame`, if it is a neighbour's question for the
/// asker.
///
/// A server checks from time to time whether the neighbour to which it sends is still there.
#[must_use]
pub fn asker_reply(frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let Hardware(to) = ethernet.src_addr();
    match ethernet.ethertype() {
        EthernetProtocol::Arp => {
            let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
            let ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr,
                source_protocol_addr,
                target_protocol_addr,
                ..
            } = ArpRepr::parse(&packet).ok()?
            else {
                return None;
            };
            let target = IpAddr::V4(target_protocol_addr);
            let asked = target == asker_of(target) && ethernet.src_addr().0 != ASKER;
            let sender = (source_hardware_addr.0, source_protocol_addr);
            asked.then(|| arp(ArpOperation::Reply, (ASKER, target_protocol_addr), sender, to))
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let target = neighbour_message(&packet, Icmpv6Message::NeighborSolicit)?;
            let asked = IpAddr::V6(target) == asker_of(IpAddr::V6(target));
            let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
                target_addr: target,
                lladdr: Some(RawHardwareAddress::from_bytes(&ASKER)),
            });
            asked.then(|| icmp_v6(target, packet.src_addr(), to, &advertisement))
        }
        EthernetProtocol::Ipv4 | EthernetProtocol::Unknown(_) => None,
    }
}

const BROADCAST: EthernetAddress = [0xff; 6];

/// The identity in the switch's echo requests.
const ECHO_IDENTITY: u16 = 0x4c53;

/// Returns the multicast group of a neighbour solicitation and its Ethernet address (RFC 4291,
/// 2464).
const fn solicited_node(address: Ipv6Addr) -> (Ipv6Addr, EthernetAddress) {
    let octets = address.octets();
    let low = [octets[13], octets[14], octets[15]];
    let [_, _, _, _, _, _, high, last] = address.segments();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), last);
    (group, [0x33, 0x33, 0xff, low[0], low[1], low[2]])
}

fn arp(
    operation: ArpOperation,
    source: (EthernetAddress, Ipv4Addr),
    target: (EthernetAddress, Ipv4Addr),
    to: EthernetAddress,
) -> Vec<u8> {
    let message = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: Hardware(source.0),
        source_protocol_addr: source.1,
        target_hardware_addr: Hardware(target.0),
        target_protocol_addr: target.1,
    };
    ethernet(to, EthernetProtocol::Arp, message.buffer_len(), |payload| {
        message.emit(&mut ArpPacket::new_unchecked(payload));
    })
}

fn echo_v4(from: Ipv4Addr, to: Ipv4Addr, server: EthernetAddress) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let echo = Icmpv4Repr::EchoRequest { ident: ECHO_IDENTITY, seq_no: 0, data: &[] };
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmp,
        payload_len: echo.buffer_len(),
        hop_limit: 64,
    };
    let len = header.buffer_len() + echo.buffer_len();
    ethernet(server, EthernetProtocol::Ipv4, len, |payload| {
        let mut packet = Ipv4Packet::new_unchecked(payload);
        header.emit(&mut packet, &checksums);
        echo.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &checksums);
    })
}

fn icmp_v6(
    from: Ipv6Addr,
    to: Ipv6Addr,
    hardware: EthernetAddress,
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let header = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        // Neighbour messages from farther away are refused (RFC 4861 section 7.1).
        hop_limit: 255,
    };
    let len = header.buffer_len() + message.buffer_len();
    ethernet(hardware, EthernetProtocol::Ipv6, len, |payload| {
        let mut packet = Ipv6Packet::new_unchecked(payload);
        header.emit(&mut packet);
        let mut inner = Icmpv6Packet::new_unchecked(packet.payload_mut());
        message.emit(&from, &to, &mut inner, &ChecksumCapabilities::default());
    })
}

/// Returns a frame from the asker whose payload of `len` bytes `fill` writes.
fn ethernet(
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = EthernetRepr { src_addr: Hardware(ASKER), dst_addr: Hardware(to), ethertype };
    let mut bytes = vec![0; header.buffer_len() + len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    header.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

/// Returns the sender of an ARP message, unless it is the probe of one that has no address yet.
fn arp_sender(payload: &[u8]) -> Option<Ipv4Addr> {
    let packet = ArpPacket::new_checked(payload).ok()?;
    let ArpRepr::EthernetIpv4 { source_protocol_addr, .. } = ArpRepr::parse(&packet).ok()? else {
        return None;
    };
    (!source_protocol_addr.is_unspecified()).then_some(source_protocol_addr)
}

/// Returns the target of a neighbour message of the kind `kind`.
fn neighbour_message(packet: &Ipv6Packet<&[u8]>, kind: Icmpv6Message) -> Option<Ipv6Addr> {
    if packet.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    (message.msg_type() == kind).then(|| message.target_addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: EthernetAddress = [2, 0, 0, 0, 0, 1];
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd4c, 0, 0, 0, 0, 0, 0x12_34, 0x56_78));

    /// An ARP message as RFC 826 lays it out, written by hand.
    fn arp_bytes(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let ethernet = [&[0xff; 6][..], &SERVER, &[0x08, 0x06]].concat();
        let head = [0, 1, 0x08, 0x00, 6, 4, 0, operation];
        [&ethernet[..], &head, &SERVER, &sender, &[0; 6], &target].concat()
    }

    #[test]
    fn the_first_question_is_an_arp_request_of_the_asker() {
        let [arp, _] = questions(V4, SERVER);
        let head = [&[0xff; 6][..], &ASKER, &[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]].concat();
        let body = [&ASKER[..], &[10, 77, 0, 254], &[0; 6], &[10, 77, 0, 100]].concat();
        assert_eq!(arp, [head, body].concat());
    }

    #[test]
    fn the_echo_goes_to_the_server_whoever_is_believed_to_hold_the_address() {
        for address in [V4, V6] {
            let [_, echo] = questions(address, SERVER);
            assert_eq!(echo[..6], SERVER);
            assert_eq!(speaks_for(&echo)[0], Some(asker_of(address)));
        }
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_the_address() {
        let [solicitation, _] = questions(V6, SERVER);
        assert_eq!(solicitation[..6], [0x33, 0x33, 0xff, 0x34, 0x56, 0x78]);
        let group = "ff02::1:ff34:5678".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(solicitation[38..54], group);
    }

    #[test]
    fn requests_replies_and_announcements_speak_for_their_sender() {
        let address = [10, 77, 0, 100];
        for (operation, target) in [(1, [10, 77, 0, 9]), (2, [10, 77, 0, 50]), (1, address)] {
            let frame = arp_bytes(operation, address, target);
            assert_eq!(speaks_for(&frame), [Some(V4), None]);
        }
    }

    #[test]
    fn a_probe_speaks_for_nothing() {
        assert_eq!(speaks_for(&arp_bytes(1, [0; 4], [10, 77, 0, 100])), [None; 2]);
    }

    #[test]
    fn an_advertisement_speaks_for_its_source_and_its_target() {
        let (IpAddr::V6(target), IpAddr::V6(source)) = (V6, asker_of(V6)) else {
            unreachable!("both are IPv6");
        };
        let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: target,
            lladdr: None,
        });
        let frame = icmp_v6(source, target, SERVER, &advertisement);
        assert_eq!(speaks_for(&frame), [Some(asker_of(V6)), Some(V6)]);
    }

    #[test]
    fn the_asker_answers_for_itself_alone() {
        let reply = asker_reply(&arp_bytes(1, [10, 77, 0, 1], [10, 77, 0, 254])).unwrap();
        assert_eq!(reply[..6], SERVER);
        assert_eq!(speaks_for(&reply)[0], Some(asker_of(V4)));
        assert_eq!(asker_reply(&arp_bytes(1, [10, 77, 0, 1], [10, 77, 0, 100])), None);
        assert_eq!(asker_reply(&arp_bytes(2, [10, 77, 0, 1], [10, 77, 0, 254])), None);
        let IpAddr::V6(asker) = asker_of(V6) else { unreachable!("IPv6") };
        let solicitation =
            Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: asker, lladdr: None });
        let reply = asker_reply(&icmp_v6(asker, asker, SERVER, &solicitation)).unwrap();
        assert_eq!(speaks_for(&reply)[1], Some(asker_of(V6)));
    }

    /// Reads `frame` in both ways; what is found does not matter here.
    fn unharmed(frame: &[u8]) {
        drop((speaks_for(frame), asker_reply(frame)));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let frames = [questions(V4, SERVER), questions(V6, SERVER)].concat();
        for frame in frames {
            for len in 0..frame.len() {
                unharmed(&frame[..len]);
            }
            for index in 0..frame.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut changed = frame.clone();
                    changed[index] = value;
                    unharmed(&changed);
                }
            }
        }
    }
}
