//! Who is asked from a service address, so that it learns where that is: hosts that are named, the
//! router, and the neighbours of which the kernel has heard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use super::error::Error;
use super::netlink::{Netlink, read_ip};
use super::presence::Asked;
use super::routing::{HEADER_LEN, bits, family, octets};
use super::wire::Wires;
use super::{Addresses, Counters, Slot};
use crate::clock;

impl Addresses {
    /// Has `hosts` asked from the addresses of `group` whenever it is acquired, whether or not this
    /// machine has heard of them, so that they learn where those are.
    ///
    /// # Errors
    /// [`Error::NoGroup`]
    pub fn refresh(&mut self, group: usize, hosts: &[IpAddr]) -> Result<(), Error> {
        for slot in self.members(group)? {
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.refresh = hosts.to_vec();
            }
        }
        Ok(())
    }
}

impl Slot {
    /// Asks who is to be refreshed, the router, and the neighbours on the adapter.
    pub(super) fn ask(
        &mut self,
        netlink: &mut Netlink,
        wires: &Wires,
        now_us: u64,
        counters: &mut Counters,
    ) {
        let (Some(below), Some((index, mac))) = (self.index(), self.seat()) else { return };
        let Ok(neighbours) = netlink.neighbours(below) else {
            counters.failures += 1;
            return;
        };
        let ip = self.service.ip;
        let router = netlink.router(below, ip.is_ipv4()).unwrap_or_else(|_| {
            counters.failures += 1;
            None
        });
        let known = |ip| neighbours.iter().find(|other| other.ip == ip).map(|other| other.mac);
        let named = self.refresh.iter().copied().chain(router);
        let mut others: Vec<Asked> = named.map(|ip| Asked { ip, mac: known(ip) }).collect();
        others.extend(neighbours.iter().map(|it| Asked { ip: it.ip, mac: Some(it.mac) }));
        let now_us = now_us.max(clock::now().as_micros());
        self.presence.ask(&others, mac, now_us, |frame| {
            counters.frames_unsent += u64::from(wires.send(index, ip, frame).is_err());
        });
    }
}

impl Netlink {
    /// Returns the router by which adapter `index` reaches what is far away, if there is one.
    ///
    /// The kernel is asked for one route and not for all of them, of which a router has a million.
    /// It is the one to addresses that are kept for documents (RFC 5737, RFC 3849); nothing is sent
    /// there.
    ///
    /// # Errors
    /// [`Error::Call`], but not where there is no route.
    pub fn router(&mut self, index: u32, is_ipv4: bool) -> Result<Option<IpAddr>, Error> {
        let far: IpAddr = if is_ipv4 { FAR_IPV4.into() } else { FAR_IPV6.into() };
        let writer = self.begin(libc::RTM_GETROUTE, 0);
        writer.put(&[family(far), bits(far), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        writer.attribute(libc::RTA_DST, &octets(far));
        writer.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        let mut router = None;
        let outcome = self.dump_while("look for the router", libc::RTM_NEWROUTE, |message| {
            let mut attributes = message.attributes(HEADER_LEN);
            router = attributes
                .find_map(|(kind, value)| (kind == libc::RTA_GATEWAY).then(|| read_ip(value))?);
            false
        });
        match outcome {
            Ok(_) => Ok(router),
            Err(error) if error.is(Errno::ENETUNREACH) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Addresses that nobody has.
const FAR_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
