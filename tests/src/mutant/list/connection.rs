//! Rules about clients' connections: who is believed, and until when clients are told.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "clients-told-without-authority",
        "Nobody speaks to clients in the name of an address that may be another's.",
        &[Change {
            file: "linux/src/connections/tickle.rs",
            find: "        if now >= until {",
            replace: "        if now < until && until < now {",
        }],
    )
    .quick(),
    caught(
        "note-counts-again",
        "A note that was kept back does not bring back connections that have ended.",
        &[Change {
            file: "linux/src/connections/note.rs",
            find: "last.boot == origin.boot && last.number >= origin.number",
            replace: "last.boot == origin.boot && last.number > origin.number + u64::from(u32::MAX)",
        }],
    ),
    caught(
        "note-of-a-stranger",
        "A note without the cluster's tag says nothing.",
        &[Change {
            file: "linux/src/connections/note.rs",
            find: "keys.verify(KeyId(key), message, tag) != Some(true)",
            replace: "keys.verify(KeyId(key), message, tag).is_none()",
        }],
    ),
];
