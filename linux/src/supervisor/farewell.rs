//! The farewell of a dead daemon, which it has signed in advance.

use std::net::{SocketAddr, UdpSocket};

use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;

use crate::clock;
use crate::link::failure::Failure;
use crate::link::{Link, LinkSpec, State};
use crate::settings::{LinkKind, Settings, UdpLinkSettings};

/// How a farewell goes over a link.
#[derive(Debug)]
pub enum Way {
    /// From each of these addresses to the other.
    Udp(Vec<(SocketAddr, SocketAddr)>),
    /// Out of the adapter of this link.
    Ether(LinkSpec),
    /// Out of the ports of this serial link, which are free once the daemon is dead.
    Serial(LinkSpec),
}

/// Sends each farewell three times: as unicast to every peer and witness, or out of every port.
pub(super) fn bid(links: &[Way], farewells: &[(u8, Vec<u8>)]) {
    let mut lines = Vec::new();
    for (link, frame) in farewells {
        // One that cannot be sent is one that a peer waits for no longer than its promise.
        match links.get(usize::from(*link)) {
            Some(Way::Udp(ways)) => send_datagrams(ways, frame),
            Some(Way::Ether(spec)) => send_over_link(spec, frame),
            Some(Way::Serial(spec)) => lines.push((spec, frame)),
            None => {}
        }
    }
    // A line takes its time, for which nobody on a network need wait.
    for (spec, frame) in lines {
        send_over_link(spec, frame);
    }
}

fn send_datagrams(ways: &[(SocketAddr, SocketAddr)], frame: &[u8]) {
    for (from, to) in ways {
        if let Ok(socket) = UdpSocket::bind(from) {
            for _ in 0..3 {
                let _sent = socket.send_to(frame, to);
            }
        }
    }
}

fn send_over_link(spec: &LinkSpec, frame: &[u8]) {
    let Some(mut link) = open_when_free(spec) else { return };
    for _ in 0..3 {
        link.send(frame, clock::now());
        // What is sent before the line is free again takes the place of what waits for it.
        let until = clock::now() + LINE_PATIENCE;
        while let Some(due) = link.poll_timeout().filter(|due| *due < until) {
            std::thread::sleep(core::time::Duration::from_micros(
                due.since(clock::now()).as_micros().max(1000),
            ));
            link.handle_timeout(clock::now());
        }
    }
}

/// Opens a serial link, whose devices the dead daemon may not have let go of yet.
fn open_when_free(spec: &LinkSpec) -> Option<Link> {
    let until = clock::now() + LINE_PATIENCE;
    loop {
        let link = Link::open(spec).ok()?;
        if link.state() != State::Down(Failure::Busy) || clock::now().has_reached(until) {
            return Some(link);
        }
        drop(link);
        std::thread::sleep(core::time::Duration::from_millis(2));
    }
}

/// How long a line may take for a farewell, and to become free.
const LINE_PATIENCE: Duration = Duration::from_millis(200);

/// Returns for each link how a farewell of `me` goes over it.
#[must_use]
pub fn ways(settings: &Settings, me: NodeId) -> Vec<Way> {
    let of = |link: &crate::settings::Link| match (&link.kind, settings.spec_of(link, me)) {
        (LinkKind::Udp(udp), _) => Way::Udp(addresses(udp, me)),
        (LinkKind::Ether(_), Some(spec)) => Way::Ether(spec),
        (LinkKind::Serial(_), Some(spec)) => Way::Serial(spec),
        (LinkKind::Ether(_) | LinkKind::Serial(_), None) => Way::Udp(Vec::new()),
    };
    settings.links.iter().map(of).collect()
}

/// Returns from where and to whom a farewell of `me` goes.
fn addresses(udp: &UdpLinkSettings, me: NodeId) -> Vec<(SocketAddr, SocketAddr)> {
    let Some(own) = udp.address(me) else { return Vec::new() };
    let others = udp.members.iter().filter(|(member, _)| *member != me);
    others
        .map(|(_, address)| (SocketAddr::new(own, 0), SocketAddr::new(*address, udp.port)))
        .collect()
}
