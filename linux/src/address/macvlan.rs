//! Adapters upon adapters, and the hardware addresses of both, by netlink.
//!
//! What is made here is known again by its name, so that a later life, or the supervisor, finds it.
//! An adapter whose hardware address is changed keeps the original in a name of its own besides:
//! that stands where the change does and ends when it does, with the adapter or the machine.

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::error::Error;
use super::mac::{Mac, written};
use super::message::{Attributes, Message, Writer};
use super::netlink::Netlink;

/// An adapter as far as hardware addresses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Its number.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its further names.
    pub(crate) names: Vec<String>,
    /// Its hardware address; `None` where that is not of Ethernet.
    pub(crate) mac: Option<Mac>,
    /// Whether it is a macvlan.
    pub(crate) is_macvlan: bool,
}

impl Netlink {
    /// Returns every adapter.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub(crate) fn layers(&mut self) -> Result<Vec<Layer>, Error> {
        self.begin(libc::RTM_GETLINK, libc::NLM_F_DUMP).put(&[0; HEADER_LEN]);
        self.dump("list adapters", libc::RTM_NEWLINK, read)
    }

    /// Makes a macvlan upon adapter `base`, switched off, and returns its number.
    ///
    /// It answers ARP for its own addresses alone, and gives itself none.
    ///
    /// # Errors
    /// [`Error::Call`]: the name is taken, or the kernel has no macvlan.
    pub(crate) fn add_macvlan(
        &mut self,
        name: &str,
        base: u32,
        mac: Mac,
        alias: &str,
    ) -> Result<u32, Error> {
        let writer = self.begin(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        writer.put(&[0; HEADER_LEN]);
        writer.text(libc::IFLA_IFNAME, name);
        writer.attribute(libc::IFLA_ADDRESS, &mac);
        writer.attribute(libc::IFLA_LINK, &base.to_ne_bytes());
        writer.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, MACVLAN);
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.attribute(MODE, &MODE_BRIDGE.to_ne_bytes());
            });
        });
        self.request(|| format!("make adapter {name} with {}", written(mac)))?;
        let index = if_nametoindex(name).map_err(Error::call(format!("find adapter {name}")))?;
        self.change(index).attribute(libc::IFLA_IFALIAS, alias.as_bytes());
        self.request(|| format!("name adapter {name}"))?;
        self.set_arp_ignore(index, 1)?;
        self.change(index).nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(IPV6, |family| family.attribute(GENERATION, &[GENERATION_NONE]));
        });
        match self.request(|| format!("settle IPv6 on adapter {name}")) {
            // This machine has no IPv6 at all.
            Err(error) if error.is(Errno::EAFNOSUPPORT) => {}
            outcome => outcome?,
        }
        // What routers say is for the adapter below. Where this file is not there, or cannot be
        // written, an address that a router gives stands here as well, and goes with the adapter.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0");
        Ok(index)
    }

    /// Deletes an adapter that was made.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn delete_adapter(&mut self, index: u32) -> Result<(), Error> {
        self.begin(libc::RTM_DELLINK, 0).put(&header(index, 0));
        self.request(|| format!("delete adapter {index}"))
    }

    /// Switches an adapter on or off.
    ///
    /// # Errors
    /// [`Error::Call`]; no such device where it has gone.
    pub(crate) fn switch(&mut self, index: u32, on: bool) -> Result<(), Error> {
        let flags = if on { libc::IFF_UP.unsigned_abs() } else { 0 };
        self.begin(libc::RTM_SETLINK, 0).put(&header(index, flags));
        self.request(|| format!("switch adapter {index} {}", if on { "on" } else { "off" }))
    }

    /// Gives an adapter another hardware address.
    ///
    /// # Errors
    /// [`Error::Call`]; busy where its driver can do that only while it is switched off.
    pub(crate) fn set_mac(&mut self, index: u32, mac: Mac) -> Result<(), Error> {
        self.change(index).attribute(libc::IFLA_ADDRESS, &mac);
        self.request(|| format!("give adapter {index} the MAC address {}", written(mac)))
    }

    /// Gives an adapter a further name, or takes it away.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn set_name(&mut self, index: u32, name: &str, is_there: bool) -> Result<(), Error> {
        let (kind, flags) = if is_there {
            (RTM_NEWLINKPROP, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
        } else {
            (RTM_DELLINKPROP, 0)
        };
        let writer = self.begin(kind, flags);
        writer.put(&header(index, 0)[..12]);
        writer.put(&[0; 4]);
        writer.nest(libc::IFLA_PROP_LIST, |names| names.text(libc::IFLA_ALT_IFNAME, name));
        self.request(|| format!("note {name} on adapter {index}"))
    }

    /// Sets which questions an adapter leaves unanswered: `arp_ignore` of the kernel.
    ///
    /// # Errors
    /// [`Error::Call`] or [`Error::NoAnswer`].
    pub fn set_arp_ignore(&mut self, index: u32, value: u32) -> Result<(), Error> {
        self.change(index).nest(libc::IFLA_AF_SPEC, |inside| {
            inside.nest(u16::try_from(libc::AF_INET).unwrap_or(0), |inside| {
                inside.nest(INET_CONF, |inside| inside.attribute(ARP_IGNORE, &value.to_ne_bytes()));
            });
        });
        self.request(|| format!("set arp_ignore of adapter {index}"))
    }

    /// Begins a change of an adapter's attributes.
    fn change(&mut self, index: u32) -> &mut Writer {
        let writer = self.begin(libc::RTM_SETLINK, 0);
        writer.put(&header(index, 0)[..12]);
        writer.put(&[0; 4]);
        writer
    }
}

/// Returns the header of a message about an adapter, which changes whether it is switched on.
fn header(index: u32, flags: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&libc::IFF_UP.unsigned_abs().to_ne_bytes());
    header
}

/// Reads an adapter's message.
pub(super) fn read(message: &Message<'_>) -> Option<Layer> {
    let [family, _, k0, k1, i0, i1, i2, i3, ..] = *message.body.first_chunk::<HEADER_LEN>()?;
    if i32::from(family) != libc::AF_UNSPEC {
        return None;
    }
    let is_ethernet = u16::from_ne_bytes([k0, k1]) == libc::ARPHRD_ETHER;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let (name, names) = (String::new(), Vec::new());
    let mut layer = Layer { index, name, names, mac: None, is_macvlan: false };
    for (attribute, value) in message.attributes(HEADER_LEN) {
        match attribute {
            libc::IFLA_IFNAME => layer.name = text(value),
            libc::IFLA_ADDRESS if is_ethernet => layer.mac = value.try_into().ok(),
            libc::IFLA_PROP_LIST => {
                layer.names = Attributes::new(value).map(|(_, value)| text(value)).collect();
            }
            libc::IFLA_LINKINFO => {
                layer.is_macvlan = Attributes::new(value)
                    .any(|(kind, value)| kind == libc::IFLA_INFO_KIND && text(value) == MACVLAN);
            }
            _ => {}
        }
    }
    Some(layer)
}

/// Reads text with a closing zero.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// Family, kind, adapter, flags, mask of changes.
const HEADER_LEN: usize = 16;
const MACVLAN: &str = "macvlan";
/// The attribute with how adapters upon one adapter reach each other, and that they do so at once.
const MODE: u16 = 1;
const MODE_BRIDGE: u32 = 4;
/// The settings of IPv4 on an adapter.
const INET_CONF: u16 = 1;
/// Which of them says what questions of ARP are left unanswered.
const ARP_IGNORE: u16 = 19;
/// A family as an attribute.
const IPV6: u16 = 10;
/// The attribute with how an adapter gives itself addresses of IPv6: not at all.
const GENERATION: u16 = 8;
const GENERATION_NONE: u8 = 1;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;
