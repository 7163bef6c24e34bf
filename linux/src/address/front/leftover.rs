//! What hardware addresses leave on a machine: made, noted, and put right again.

use std::net::IpAddr;

use nix::errno::Errno;

use super::super::arp::{self, Mac};
use super::super::error::Error;
use super::super::mac::Mark;
use super::super::ndp;
use super::super::netlink::Netlink;
use super::super::packet::{Operation, PacketSocket};
use super::super::place::Place;

/// Puts `mac` in place of the hardware address of an adapter, which is noted before.
///
/// Where its driver does that only while the adapter is switched off, it is left as it is: with
/// that would go its routes, its addresses of IPv6 and, for seconds, its carrier, which heartbeats
/// and others on this machine need, and who is killed in between leaves nobody to put them back.
///
/// # Errors
/// [`Error::FixedMac`], [`Error::NotEthernet`], [`Error::Call`].
pub(super) fn substitute(
    netlink: &mut Netlink,
    mark: Mark,
    base: &Place,
    mac: Mac,
) -> Result<(), Error> {
    let layers = netlink.layers()?;
    let layer = layers.iter().find(|layer| layer.index == base.index);
    let Some((layer, original)) = layer.and_then(|layer| Some((layer, layer.mac?))) else {
        return Err(Error::NotEthernet);
    };
    if original == mac {
        return Ok(());
    }
    if !layer.names.iter().any(|name| mark.read_note(name).is_some()) {
        netlink.set_name(base.index, &mark.note(original), true)?;
    }
    netlink.set_mac(base.index, mac).map_err(|error| refused(error, &base.name))?;
    announce(netlink, base.index, mac);
    Ok(())
}

/// Tells of a driver that refuses a change what it means.
fn refused(error: Error, adapter: &str) -> Error {
    match error {
        Error::Call { errno: errno @ (Errno::EBUSY | Errno::EOPNOTSUPP), .. } => {
            Error::FixedMac { adapter: adapter.to_owned(), errno }
        }
        other => other,
    }
}

/// Announces once that the addresses of an adapter are at `mac`: neighbours have them elsewhere,
/// and that may be another machine by now. Who misses it asks again, as neighbours do.
fn announce(netlink: &mut Netlink, index: u32, mac: Mac) {
    let Ok(installed) = netlink.addresses() else { return };
    let send = |ethertype: u16, frame: &[u8]| {
        let socket = PacketSocket::open(index, ethertype, &[Operation::end(false)]);
        let _ = socket.map(|socket| socket.send(frame));
    };
    for address in installed.into_iter().filter(|address| address.index == index) {
        match address.ip {
            IpAddr::V4(ip) => {
                arp::announcements(mac, ip).iter().for_each(|frame| send(arp::ETHERTYPE, frame));
            }
            IpAddr::V6(ip) => send(ndp::ETHERTYPE, &ndp::announcement(mac, ip)),
        }
    }
}

/// Puts back every hardware address that a note tells of; returns the names of the adapters.
pub(super) fn restore(netlink: &mut Netlink, mark: Mark) -> Result<Vec<String>, Error> {
    let mut restored = Vec::new();
    for layer in netlink.layers()? {
        for note in &layer.names {
            let Some(original) = mark.read_note(note) else { continue };
            if layer.mac != Some(original) {
                netlink.set_mac(layer.index, original)?;
                announce(netlink, layer.index, original);
                restored.push(layer.name.clone());
            }
            // Last, so that whoever is killed before leaves the note.
            netlink.set_name(layer.index, note, false)?;
        }
    }
    Ok(restored)
}

/// Takes away all that belongs to hardware addresses of a cluster; returns the adapters' names.
///
/// # Errors
/// The first failure; everything else has been tried all the same.
pub(in crate::address) fn clear(netlink: &mut Netlink, mark: Mark) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    let mut outcome = Ok(());
    for layer in netlink.layers()? {
        if layer.is_macvlan && mark.is_ours(&layer.name) {
            let deleted = netlink.delete_adapter(layer.index);
            if deleted.is_ok() {
                removed.push(layer.name);
            }
            outcome = outcome.and(deleted);
        }
    }
    let restored = restore(netlink, mark).map(|restored| removed.extend(restored));
    outcome.and(restored).map(|()| removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_while_the_adapter_is_on_is_named_with_what_to_do() {
        let what = "give adapter 2 the MAC address 02:00:5e:10:00:01";
        let said = |errno| refused(Error::call(what)(errno), "eth0").to_string();
        // Drivers of Ethernet that want it switched off, as the kernel says for them.
        let busy = said(Errno::EBUSY);
        assert!(busy.starts_with("eth0: ") && busy.contains("mac_on = \"macvlan\""), "{busy}");
        assert!(said(Errno::ENODEV).starts_with(what));
    }
}
