//! The media of ha.cf: the ways between the members.

use core::net::IpAddr;
use std::path::PathBuf;

use super::fault::{Faults, Place};
use super::ha_cf::{HaCf, Said};
use super::line::Line;
use crate::link::serial::SPEEDS;
use crate::settings::value::{adapter_said, device_said, multicast_said};

/// How frames reach the others on a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To everybody on the network.
    Broadcast,
    /// To a group of addresses.
    Multicast(IpAddr),
    /// To this peer: a name or an address.
    Unicast(String),
}

/// UDP on an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpMedium {
    /// Where it stands.
    pub place: Place,
    /// The adapter.
    pub adapter: String,
    /// How frames reach the others.
    pub way: Way,
    /// The UDP port.
    pub port: u16,
    /// Whether it is for IPv6.
    pub is_ipv6: bool,
}

/// A serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialMedium {
    /// Where it stands.
    pub place: Place,
    /// The device.
    pub device: PathBuf,
    /// How many bits a second it carries.
    pub speed: u32,
}

/// Every medium, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Those of IP.
    pub udp: Vec<UdpMedium>,
    /// Those without.
    pub serial: Vec<SerialMedium>,
    port: Option<Said<u16>>,
    speed: Option<Said<u32>>,
}

impl Media {
    /// Returns whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.serial.is_empty()
    }
}

/// The port where the file does not say: the registered one.
const PORT: u16 = 694;
/// The speed where the file does not say.
const SPEED: u32 = 19_200;

pub(super) fn udp_port(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    match word.parse::<u16>() {
        Ok(value) if value > 0 => {
            if !ha.media.udp.is_empty() {
                line.remark(ha, "it holds for the media after this line; those before keep theirs");
            }
            ha.media.port = Some(Said { value, place: line.place });
        }
        _ => line.wrong(faults, "this is no port", "write a number from 1 to 65535"),
    }
}

pub(super) fn baud(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    match word.parse::<u32>() {
        Ok(value) if SPEEDS.contains(&value) => {
            if !ha.media.serial.is_empty() {
                line.remark(ha, "it holds for the lines after this one; those before keep theirs");
            }
            ha.media.speed = Some(Said { value, place: line.place });
        }
        _ => line.wrong(faults, "this is no speed", "write a number such as 19200 or 115200"),
    }
}

/// Returns the adapter called `word`, or notes that it cannot be.
fn adapter(line: &Line<'_>, word: &str, faults: &mut Faults) -> Option<String> {
    match adapter_said(word) {
        Ok(adapter) => Some(adapter),
        Err(why) => {
            line.wrong(faults, &why, "name the adapter as `ip link` does, such as eth0");
            None
        }
    }
}

fn add(ha: &mut HaCf, line: &Line<'_>, adapter: String, way: Way, is_ipv6: bool) {
    let port = ha.media.port.as_ref().map_or(PORT, |said| said.value);
    ha.media.udp.push(UdpMedium { place: line.place, adapter, way, port, is_ipv6 });
}

pub(super) fn broadcast(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    for word in line.some(faults) {
        if let Some(adapter) = adapter(line, word, faults) {
            add(ha, line, adapter, Way::Broadcast, false);
        }
    }
}

pub(super) fn udp(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    broadcast(ha, line, faults);
    line.remark(ha, line.directive.help);
}

pub(super) fn multicast(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    join(ha, line, false, faults);
}

pub(super) fn multicast6(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    join(ha, line, true, faults);
}

fn join(ha: &mut HaCf, line: &Line<'_>, is_ipv6: bool, faults: &mut Faults) {
    let hint = if is_ipv6 {
        "write mcast6 ADAPTER ff02::4c53 694 1 0"
    } else {
        "write mcast ADAPTER 225.0.0.1 694 1 0"
    };
    let [name, group, port, rest @ ..] = line.words.as_slice() else {
        line.wrong(faults, "an adapter, a group and a port are needed", hint);
        return;
    };
    let group = match multicast_said(group) {
        Ok(group) if group.is_ipv6() == is_ipv6 => Some(group),
        Ok(_) => {
            line.wrong(faults, "the group is of the other family", hint);
            None
        }
        Err(why) => {
            line.wrong(faults, &why, hint);
            None
        }
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        line.wrong(faults, "this is no port", hint);
    }
    match rest {
        [] | ["0" | "1"] | ["0" | "1", "0" | "1"] => {}
        [hops, ..] if !["0", "1"].contains(hops) => line.wrong(
            faults,
            "frames are never passed on by routers",
            "write 1 for the hops, or use ucast to reach another network",
        ),
        _ => line.wrong(faults, "too many or wrong values", hint),
    }
    let adapter = adapter(line, name, faults);
    if let (Some(adapter), Some(group), Some(port)) = (adapter, group, port) {
        let place = line.place;
        let way = Way::Multicast(group);
        ha.media.udp.push(UdpMedium { place, adapter, way, port, is_ipv6 });
    }
}

pub(super) fn unicast(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    send(ha, line, false, faults);
}

pub(super) fn unicast6(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    send(ha, line, true, faults);
}

fn send(ha: &mut HaCf, line: &Line<'_>, is_ipv6: bool, faults: &mut Faults) {
    let name = line.directive.name;
    let [word, peer] = line.words.as_slice() else {
        let hint = format!("write {name} ADAPTER ADDRESS, one line for each peer");
        line.wrong(faults, "an adapter and a peer are needed", hint);
        return;
    };
    if peer.parse::<IpAddr>().is_ok_and(|peer| peer.is_ipv6() != is_ipv6) {
        let other = if is_ipv6 { "ucast" } else { "ucast6" };
        line.wrong(faults, "the address is of the other family", format!("write {other}"));
    } else if let Some(adapter) = adapter(line, word, faults) {
        add(ha, line, adapter, Way::Unicast((*peer).to_owned()), is_ipv6);
    }
}

pub(super) fn serial(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let speed = ha.media.speed.as_ref().map_or(SPEED, |said| said.value);
    for word in line.some(faults) {
        match device_said(word) {
            Ok(device) if ha.media.serial.iter().any(|other| other.device == device) => {
                line.wrong(faults, &format!("{word} is there twice"), "name it once");
            }
            Ok(device) => {
                ha.media.serial.push(SerialMedium { place: line.place, device, speed });
            }
            Err(why) => line.wrong(faults, &why, "write serial /dev/ttyS0"),
        }
    }
}
