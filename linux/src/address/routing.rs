//! What messages about routes and about rules for them share: a header of one length, addresses,
//! numbers and tables as bytes, and a list that may be cut short.

use std::net::IpAddr;

use nix::errno::Errno;

use super::error::Error;
use super::message::{Message, Writer};
use super::netlink::Netlink;

/// The length of their header: family, lengths of both prefixes, service, table, protocol, scope,
/// kind or action, flags.
pub(super) const HEADER_LEN: usize = 12;

/// The families of addresses, as headers have them.
pub(super) const FAMILIES: [u8; 2] = [2, 10];

/// Returns the family of an address, as headers have it.
pub(super) const fn family(ip: IpAddr) -> u8 {
    let [ipv4, ipv6] = FAMILIES;
    if ip.is_ipv4() { ipv4 } else { ipv6 }
}

/// Returns how many bits an address has.
pub(super) const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Returns an address as attributes have it.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Reads a number of four bytes.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// Writes which table a route is of, or which one is listed.
pub(super) fn put_table(writer: &mut Writer, table: u32) {
    writer.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
}

/// Hands over the first [`MOST_ROUTES`] routes of a table and family, the default route among them:
/// a router has a million, and the decision thread has no time for them.
///
/// Kernels before 4.20 count those of all tables, and hand them over.
///
/// # Errors
/// [`Error::Call`], [`Error::NoAnswer`].
pub(super) fn first_routes(
    family: u8,
    table: u32,
    mut handle: impl FnMut(&Message<'_>),
) -> Result<(), Error> {
    // Where the list is cut short, the rest of it would be in the way of later answers.
    let mut lister = Netlink::open()?;
    let writer = lister.begin(libc::RTM_GETROUTE, libc::NLM_F_DUMP);
    writer.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    put_table(writer, table);
    let mut count = 0;
    let is_whole = lister.dump_while("list routes", libc::RTM_NEWROUTE, |message| {
        handle(message);
        count += 1;
        count < MOST_ROUTES
    });
    match is_whole {
        // No route has ever been in that table.
        Err(error) if error.is(Errno::ENOENT) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// The table that routes are in unless another one is named.
pub(super) const MAIN_TABLE: u32 = 254;
/// The most routes of a family that are looked at.
const MOST_ROUTES: usize = 1000;
