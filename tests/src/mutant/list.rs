//! The rules that keep two nodes from holding one group, and the text that carries each.

mod authority;
mod dongle;
mod frame;
mod voter;

use super::Mutant;

/// Returns all mutants, in the order in which the rules are met: from the bytes of a frame to the
/// end of authority, and from there to the dongle.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [frame::MUTANTS, voter::MUTANTS, authority::MUTANTS, dongle::MUTANTS].into_iter().flatten()
}
