//! What stands around a replayed engine.

use lifesign_core::group::GroupId;
use lifesign_core::node::NodeId;
use lifesign_core::time::Instant;

use crate::explain::Penalty;
use crate::record::entry::Note;
use crate::view::Surroundings;

/// What explanations refer to besides the engine, as the daemon took note of it.
#[derive(Debug)]
pub(super) struct Notes {
    list: Vec<Note>,
}

impl Notes {
    /// Returns these notes.
    pub(super) const fn new(list: Vec<Note>) -> Self {
        Self { list }
    }

    /// Takes note, in the place of what was noted before on the same matter.
    pub(super) fn take(&mut self, note: &Note) {
        self.list.retain(|other| !note.replaces(other));
        self.list.push(note.clone());
    }
}

impl Surroundings for Notes {
    fn ip_side(&self, _: Instant) -> Option<String> {
        self.list.iter().find_map(|note| match note {
            Note::IpSide(text) => text.clone(),
            _ => None,
        })
    }

    fn penalty(&self, group: GroupId) -> Option<Penalty> {
        self.list.iter().find_map(|note| match note {
            Note::Penalty(other, penalty) if *other == group => penalty.clone(),
            _ => None,
        })
    }

    fn unguarded(&self, group: GroupId) -> Option<String> {
        self.list.iter().find_map(|note| match note {
            Note::Unguarded(other, text) if *other == group => text.clone(),
            _ => None,
        })
    }

    fn unheard(&self, member: NodeId) -> Option<String> {
        self.list.iter().find_map(|note| match note {
            Note::Unheard(other, text) if *other == member => text.clone(),
            _ => None,
        })
    }

    fn reset(&self, group: GroupId, node: NodeId) -> String {
        let known = self.list.iter().find_map(|note| match note {
            Note::Reset(at, target, text) if (*at, *target) == (group, node) => Some(text.clone()),
            _ => None,
        });
        known.unwrap_or_default()
    }
}
