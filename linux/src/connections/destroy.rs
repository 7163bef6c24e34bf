//! Ending the connections of addresses that have gone from this node, by netlink (`sock_diag(7)`).
//!
//! Here they would wait for answers that go elsewhere, until their timeouts, and so would the
//! service. The kernel takes leave of each client by a reset in the name of the address, which
//! nobody may see: who has the address is another, and tells the clients itself. So this comes when
//! the address is gone. From then on IPv4 has no route from it, and what IPv6 would send is kept in
//! by the lease, which was closed before.

use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use serde::{Deserialize, Serialize};

use super::list::{self, FAMILIES, REQUEST_LEN};
use super::{Connection, MOST_LISTED};
use crate::address::error::Error;
use crate::address::netlink::Netlink;

/// What has been ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    /// How many.
    pub count: u64,
    /// The first of them, at most [`MOST_LISTED`].
    pub connections: Vec<Connection>,
}

/// Ends every TCP connection of those of `services` that this machine does not have any more.
///
/// # Errors
/// The kernel has no such list or cannot end connections (it is built without
/// `CONFIG_INET_DIAG_DESTROY`), or this process may not.
pub fn destroy(services: &[IpAddr]) -> Result<Destroyed, Error> {
    let installed = Netlink::open()?.addresses()?;
    let is_gone = |ip: &IpAddr| !installed.iter().any(|address| address.ip == *ip);
    let services: Vec<IpAddr> = services.iter().copied().filter(is_gone).collect();
    let mut destroyed = Destroyed::default();
    if services.is_empty() {
        return Ok(destroyed);
    }
    for family in FAMILIES {
        for _ in 0..MOST_ROUNDS {
            let mut found = Vec::new();
            // A list that is not read to its end is in the way of the next.
            let mut netlink = Netlink::open_protocol(SockProtocol::NetlinkSockDiag)?;
            let is_whole = list::look(&mut netlink, family, STATES, &services, |body| {
                found.extend(list::request_for(body).zip(list::read(body)));
                found.len() < ROUND
            })?;
            destroyed.take(&found)?;
            if is_whole {
                break;
            }
        }
    }
    Ok(destroyed)
}

impl Destroyed {
    /// Ends these, and counts those that were still there.
    fn take(&mut self, found: &[([u8; REQUEST_LEN], Connection)]) -> Result<(), Error> {
        let mut netlink = Netlink::open_protocol(SockProtocol::NetlinkSockDiag)?;
        for (request, connection) in found {
            netlink.begin(SOCK_DESTROY, 0).put(request);
            match netlink.request(|| "end connections".to_owned()) {
                Ok(()) => self.count += 1,
                // It has ended by itself.
                Err(Error::Call { errno: Errno::ENOENT, .. }) => continue,
                Err(error) => return Err(error),
            }
            if self.connections.len() < MOST_LISTED {
                self.connections.push(*connection);
            }
        }
        Ok(())
    }
}

/// `SOCK_DESTROY` of `linux/sock_diag.h`.
const SOCK_DESTROY: u16 = 21;
/// Established, SYN sent, both FIN waits, close wait, last ACK, closing: whatever has a client and
/// waits. Who listens goes on.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// How many are listed before they are ended.
const ROUND: usize = 4096;
/// The most rounds, should something not end that the kernel says has ended.
const MOST_ROUNDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
    };

    use crate::address::netlink::Installed;
    use crate::namespace::{self, Users};

    /// A client that is not at the address of the service, and the server's end.
    fn connected(listener: &TcpListener, service: IpAddr) -> (TcpStream, TcpStream) {
        let place = SocketAddr::new(service, listener.local_addr().unwrap().port());
        let (family, own) = match service {
            IpAddr::V4(_) => (AddressFamily::Inet, "127.0.0.1:0"),
            IpAddr::V6(_) => (AddressFamily::Inet6, "[::1]:0"),
        };
        let client = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let own: SocketAddr = own.parse().unwrap();
        bind(client.as_raw_fd(), &SockaddrStorage::from(own)).unwrap();
        // The kernel gets ready for an address of IPv6 beside the call that adds it.
        let is_connected = (0..600).any(|_| {
            let outcome = connect(client.as_raw_fd(), &SockaddrStorage::from(place));
            let is_early = outcome == Err(Errno::ENETUNREACH);
            if is_early {
                std::thread::sleep(std::time::Duration::from_millis(50));
            } else {
                outcome.unwrap();
            }
            !is_early
        });
        assert!(is_connected, "no way to {service}");
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (TcpStream::from(client), server)
    }

    fn state(mut end: &TcpStream) -> ErrorKind {
        end.read(&mut [0; 1]).unwrap_err().kind()
    }

    #[test]
    fn connections_of_an_address_end_when_it_is_gone() {
        let name = "connections::destroy::tests::connections_of_an_address_end_when_it_is_gone";
        let Some(_) = namespace::enter(name, Users::New).unwrap() else { return };
        let services: [IpAddr; 2] = ["10.9.0.1", "fd00::9"].map(|ip| ip.parse().unwrap());
        let mut netlink = Netlink::open().unwrap();
        let installed = services.map(|ip| Installed {
            index: 1,
            ip,
            prefix: if ip.is_ipv4() { 32 } else { 128 },
        });
        for address in installed {
            netlink.add_address(address, true, None).unwrap();
        }
        let listener = TcpListener::bind("[::]:0").unwrap();
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        let ends = services.map(|ip| connected(&listener, ip));
        let (_client, other) = connected(&listener, own);
        assert_eq!(destroy(&services).unwrap(), Destroyed::default(), "they are here");
        let servers = ends.each_ref().map(|(_, server)| server);
        assert_eq!(servers.map(state), [ErrorKind::WouldBlock; 2]);

        netlink.delete_address(installed[0]).unwrap();
        assert_eq!(destroy(&services).unwrap().count, 1, "one is gone");
        assert_eq!(servers.map(state), [ErrorKind::ConnectionAborted, ErrorKind::WouldBlock]);
        netlink.delete_address(installed[1]).unwrap();
        let Destroyed { count, connections } = destroy(&services).unwrap();
        assert_eq!(state(servers[1]), ErrorKind::ConnectionAborted);
        let client = ends[1].0.local_addr().unwrap();
        let service = SocketAddr::new(services[1], listener.local_addr().unwrap().port());
        assert_eq!((count, connections), (1, vec![Connection { service, client }]));

        assert_eq!(destroy(&services).unwrap().count, 0);
        assert_eq!(state(&other), ErrorKind::WouldBlock, "another address is none of ours");
        let (_client, again) = connected(&listener, own);
        assert_eq!(state(&again), ErrorKind::WouldBlock, "and the service goes on");
    }
}
