//! The rules that keep two nodes from holding one group, and the text that carries each.

mod authority;
mod connection;
mod dongle;
mod fence;
mod frame;
mod mac;
mod network;
mod own;
mod place;
mod service;
mod voter;
mod watchdog;
mod word;

use super::Mutant;

/// Returns all mutants, in the order in which the rules are met: from the bytes of a frame to the
/// end of authority, to the operator's word, and from there to the dongle, to services, to the
/// watchdog, to clients, to what leads them, to hardware addresses and to networks.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    let decisions = [frame::MUTANTS, voter::MUTANTS, authority::MUTANTS, place::MUTANTS];
    let rest = [word::MUTANTS, dongle::MUTANTS, fence::MUTANTS, service::MUTANTS];
    let last = [watchdog::MUTANTS, connection::MUTANTS, own::MUTANTS, mac::MUTANTS];
    decisions.into_iter().chain(rest).chain(last).chain([network::MUTANTS]).flatten()
}
