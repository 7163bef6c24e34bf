//! ARP frames about service addresses (RFC 826; probes and announcements are RFC 5227).

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr,
};

use super::packet::{Operation, hear_any, hear_from};

pub(crate) use super::mac::Mac;

/// A frame of ARP with its Ethernet header.
pub(crate) type Frame = [u8; FRAME_LEN];

/// The length of an Ethernet header and an ARP packet; the adapter pads it.
const FRAME_LEN: usize = 14 + 28;

/// Returns both forms of the announcement that `ip` is at `mac`: a question and an answer.
///
/// Some neighbours update their tables by the one, some by the other (RFC 5227 section 3).
pub(crate) fn announcements(mac: Mac, ip: Ipv4Addr) -> [Frame; 2] {
    [
        frame(ArpOperation::Request, mac, ip, BROADCAST, [0; 6], ip),
        frame(ArpOperation::Reply, mac, ip, BROADCAST, mac, ip),
    ]
}

/// Returns the question whether anyone has `ip`, which changes no table (RFC 5227 section 2.1.1).
pub(crate) fn probe(mac: Mac, ip: Ipv4Addr) -> Frame {
    frame(ArpOperation::Request, mac, Ipv4Addr::UNSPECIFIED, BROADCAST, [0; 6], ip)
}

/// Returns a question from `ip` at `mac` to one neighbour, or to everybody where its own hardware
/// address is not known: who answers has learnt where `ip` is.
pub(crate) fn question(mac: Mac, ip: Ipv4Addr, to: Option<Mac>, neighbour: Ipv4Addr) -> Frame {
    frame(ArpOperation::Request, mac, ip, to.unwrap_or(BROADCAST), [0; 6], neighbour)
}

/// What a frame of ARP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Who says it.
    pub(crate) mac: Mac,
    /// The address which it says is at `mac`; unspecified in a probe.
    pub(crate) sender: Ipv4Addr,
    /// The address asked for, or answered to.
    pub(crate) target: Ipv4Addr,
    /// Whether it answers.
    pub(crate) is_answer: bool,
}

/// Reads a frame; `None` where it is not ARP for IPv4 over Ethernet.
pub(crate) fn read(bytes: &[u8]) -> Option<Heard> {
    let ethernet = EthernetFrame::new_checked(bytes).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    Some(Heard {
        mac: source_hardware_addr.0,
        sender: source_protocol_addr,
        target: target_protocol_addr,
        is_answer: operation == ArpOperation::Reply,
    })
}

/// Returns the kernel's filter: ARP whose sender or target is one of `addresses`, and whatever
/// comes from one of `macs`.
pub(crate) fn filter(addresses: &[Ipv4Addr], macs: &[Mac]) -> Vec<Operation> {
    let values: Vec<u32> = addresses.iter().copied().map(u32::from).collect();
    let mut filter = Vec::new();
    hear_from(&mut filter, macs);
    hear_any(&mut filter, 14 + 14, &values);
    hear_any(&mut filter, 14 + 24, &values);
    filter.push(Operation::end(false));
    filter
}

/// The type of Ethernet frames with ARP.
pub(crate) const ETHERTYPE: u16 = 0x0806;
/// Everybody on the wire.
const BROADCAST: Mac = [0xff; 6];

/// Writes a frame.
fn frame(
    operation: ArpOperation,
    mac: Mac,
    sender: Ipv4Addr,
    to: Mac,
    target_mac: Mac,
    target: Ipv4Addr,
) -> Frame {
    let mut bytes = [0; FRAME_LEN];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr {
        src_addr: EthernetAddress(mac),
        dst_addr: EthernetAddress(to),
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut ethernet);
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress(target_mac),
        target_protocol_addr: target,
    }
    .emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::hears;
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];
    const IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
    const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

    #[test]
    fn an_announcement_is_the_bytes_of_the_standard() {
        let [asked, answered] = announcements(MAC, IP);
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 8, 6, //
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 10, 77, 0, 100, //
            0, 0, 0, 0, 0, 0, 10, 77, 0, 100,
        ];
        assert_eq!(asked, expected);
        assert_eq!(answered[20..22], [0, 2]);
        assert_eq!(answered[32..38], MAC);
    }

    #[test]
    fn a_probe_names_no_sender() {
        let heard = read(&probe(MAC, IP)).unwrap();
        let sender = Ipv4Addr::UNSPECIFIED;
        assert_eq!(heard, Heard { mac: MAC, sender, target: IP, is_answer: false });
    }

    #[test]
    fn a_question_goes_to_one_neighbour() {
        let frame = question(MAC, IP, Some([4; 6]), NEIGHBOUR);
        assert_eq!(frame[..6], [4; 6]);
        let heard = read(&frame).unwrap();
        assert_eq!((heard.sender, heard.target), (IP, NEIGHBOUR));
    }

    #[test]
    fn frames_cut_short_or_of_another_kind_say_nothing() {
        let frame = probe(MAC, IP);
        for len in 0..frame.len() {
            assert_eq!(read(&frame[..len]), None, "{len}");
        }
        let mut other = frame;
        other[12] = 0x86;
        assert_eq!(read(&other), None);
        let mut other = frame;
        other[15] = 6;
        assert_eq!(read(&other), None, "another kind of hardware");
    }

    #[test]
    fn the_filter_hears_our_addresses_alone() {
        let filter = filter(&[Ipv4Addr::new(10, 0, 0, 1), IP], &[[2; 6], [2, 0, 0, 0, 0, 9]]);
        assert!(hears(&filter, &probe(MAC, IP)));
        assert!(hears(&filter, &question(MAC, IP, Some(MAC), NEIGHBOUR)));
        assert!(hears(&filter, &announcements(MAC, IP)[1]));
        assert!(!hears(&filter, &announcements(MAC, NEIGHBOUR)[0]));
        for near in [[2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 1, 9], [3, 0, 0, 0, 0, 9]] {
            assert!(!hears(&filter, &announcements(near, NEIGHBOUR)[0]), "{near:x?}");
        }
        assert!(hears(&filter, &announcements([2, 0, 0, 0, 0, 9], NEIGHBOUR)[0]));
        assert!(!hears(&filter, &probe(MAC, IP)[..40]));
    }
}
