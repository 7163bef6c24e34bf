//! The kernel's list of connections with service addresses, by netlink (`sock_diag(7)`).
//!
//! The kernel looks through all of its connections for it and hands over those of the service
//! addresses alone, so a busy server's others cost no copying. Even so it may take milliseconds,
//! which is why the executor asks, and not the decision thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::SockProtocol;

use super::{Connection, MOST_LISTED};
use crate::address::error::Error;
use crate::address::netlink::Netlink;

/// Returns the established TCP connections of `services`, at most [`MOST_LISTED`], and whether
/// there are more.
///
/// # Errors
/// The kernel has no such list, or no memory.
pub fn connections(services: &[IpAddr]) -> Result<(Vec<Connection>, bool), Error> {
    let mut found = Vec::new();
    let mut netlink = Netlink::open_protocol(SockProtocol::NetlinkSockDiag)?;
    for family in FAMILIES {
        let is_whole = look(&mut netlink, family, 1 << ESTABLISHED, services, |body| {
            found.extend(read(body));
            found.len() <= MOST_LISTED
        })?;
        if !is_whole {
            found.truncate(MOST_LISTED);
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// Hands over what the kernel says of each TCP socket over `family` that is in one of `states` and
/// whose own address is one of `services`, until `handle` says no. Returns whether it never did.
pub(super) fn look(
    netlink: &mut Netlink,
    family: i32,
    states: u32,
    services: &[IpAddr],
    mut handle: impl FnMut(&[u8]) -> bool,
) -> Result<bool, Error> {
    let writer = netlink.begin(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP);
    let mut request = [0; REQUEST_LEN];
    request[0] = u8::try_from(family).unwrap_or(0);
    request[1] = TCP;
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    writer.put(&request);
    writer.attribute(REQUEST_FILTER, &filter(services));
    netlink.dump_while("list connections", SOCK_DIAG_BY_FAMILY, |message| handle(message.body))
}

/// Returns what names the socket of which the kernel has said this, and no other.
pub(super) fn request_for(body: &[u8]) -> Option<[u8; REQUEST_LEN]> {
    let mut request = [0; REQUEST_LEN];
    request[0] = *body.first()?;
    request[1] = TCP;
    request[8..].copy_from_slice(body.get(SOCKET_AT..SOCKET_AT + REQUEST_LEN - 8)?);
    Some(request)
}

/// Returns a program of the kernel's for this purpose: is the own address one of `services`?
///
/// Each operation jumps ahead by what it says for yes or for no; to end behind the last one is
/// yes, and four bytes further is no.
fn filter(services: &[IpAddr]) -> Vec<u8> {
    let conditions: Vec<Vec<u8>> = services.iter().map(|ip| condition(*ip)).collect();
    let mut left: usize = conditions.iter().map(|one| one.len() + 2 * OPERATION_LEN).sum();
    left = left.saturating_sub(OPERATION_LEN);
    let mut program = Vec::new();
    for (at, condition) in conditions.iter().enumerate() {
        let len = OPERATION_LEN + condition.len();
        program.extend(operation(SOURCE_IS, len, len + OPERATION_LEN));
        program.extend(condition);
        left -= len;
        if at + 1 < conditions.len() {
            program.extend(operation(JUMP, OPERATION_LEN, left));
            left -= OPERATION_LEN;
        }
    }
    program
}

fn operation(code: u8, yes: usize, no: usize) -> [u8; OPERATION_LEN] {
    let [n0, n1] = u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes();
    [code, u8::try_from(yes).unwrap_or(u8::MAX), n0, n1]
}

/// Returns what is compared: family, length of the prefix, any port, the address.
fn condition(ip: IpAddr) -> Vec<u8> {
    let (family, octets) = match ip {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let bits = u8::try_from(octets.len() * 8).unwrap_or(u8::MAX);
    let mut bytes = vec![u8::try_from(family).unwrap_or(0), bits, 0, 0];
    bytes.extend((-1_i32).to_ne_bytes());
    bytes.extend(octets);
    bytes
}

/// Reads one connection of the list.
pub(super) fn read(body: &[u8]) -> Option<Connection> {
    let family = i32::from(*body.first()?);
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let ip = |at: usize| -> Option<IpAddr> {
        let bytes = body.get(at..)?;
        if family == libc::AF_INET {
            return Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into());
        }
        Some(IpAddr::from(Ipv6Addr::from(*bytes.first_chunk::<16>()?)).to_canonical())
    };
    Some(Connection {
        service: SocketAddr::new(ip(SOURCE_AT)?, port(SOURCE_PORT_AT)?),
        client: SocketAddr::new(ip(CLIENT_AT)?, port(CLIENT_PORT_AT)?),
    })
}

/// The families of sockets. A service that listens on IPv6 serves IPv4 as well, by sockets of IPv6.
pub(super) const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `INET_DIAG_REQ_BYTECODE` of `linux/inet_diag.h`.
const REQUEST_FILTER: u16 = 1;
/// The length of `struct inet_diag_req_v2`: family, protocol, two bytes, states, which socket.
pub(super) const REQUEST_LEN: usize = 56;
/// The protocol's number.
const TCP: u8 = 6;
/// The number of the state.
const ESTABLISHED: u32 = 1;
/// `INET_DIAG_BC_JMP`
const JUMP: u8 = 1;
/// `INET_DIAG_BC_S_COND`
const SOURCE_IS: u8 = 7;
/// Code, yes, no.
const OPERATION_LEN: usize = 4;
/// Where `struct inet_diag_msg` has what names the socket, and in it the ports and the addresses.
const SOCKET_AT: usize = 4;
const SOURCE_PORT_AT: usize = 4;
const CLIENT_PORT_AT: usize = 6;
const SOURCE_AT: usize = 8;
const CLIENT_AT: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// Runs a filter as the kernel does.
    fn accepts(program: &[u8], ip: IpAddr) -> bool {
        let mut at = 0;
        while at < program.len() {
            let yes = usize::from(program[at + 1]);
            let no = usize::from(u16::from_ne_bytes([program[at + 2], program[at + 3]]));
            let wanted = condition(ip);
            let holds = match program[at] {
                JUMP => false,
                _ => program[at + OPERATION_LEN..at + yes] == wanted[..],
            };
            at += if holds { yes } else { no };
        }
        at == program.len()
    }

    #[test]
    fn the_filter_accepts_the_services_and_nobody_else() {
        let services: Vec<IpAddr> =
            ["10.77.0.100", "fd00::100", "10.77.0.101"].map(|ip| ip.parse().unwrap()).to_vec();
        for count in 1..=services.len() {
            let program = filter(&services[..count]);
            for (at, service) in services.iter().enumerate() {
                assert_eq!(accepts(&program, *service), at < count, "{service} of {count}");
            }
            assert!(!accepts(&program, "10.77.0.1".parse().unwrap()));
        }
    }

    #[test]
    fn the_kernel_lists_the_connections_of_the_services_alone() {
        let [four, six] = ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        let mut held = Vec::new();
        let mut expected = Vec::new();
        for ip in [four, six, four] {
            let client = TcpStream::connect((ip, port)).unwrap();
            let (server, _) = both.accept().unwrap();
            let service = SocketAddr::new(ip, port);
            expected.push(Connection { service, client: client.local_addr().unwrap() });
            held.push((client, server));
        }
        let of = |services: &[IpAddr]| {
            let (mut list, is_cut) = connections(services).unwrap();
            assert!(!is_cut);
            // A client on the same machine is a connection of the address as well.
            list.retain(|one| one.service.port() == port);
            list.sort_unstable();
            list
        };
        let wanted = |ip: IpAddr| {
            let mut wanted = expected.clone();
            wanted.retain(|one| one.service.ip() == ip);
            wanted.sort_unstable();
            wanted
        };
        assert_eq!(of(&[four]), wanted(four));
        assert_eq!(of(&[six]), wanted(six));
        assert_eq!(of(&["10.77.0.100".parse().unwrap()]), []);
        assert_eq!(of(&["10.77.0.100".parse().unwrap(), four, six]).len(), 3);
    }
}
