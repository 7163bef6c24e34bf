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
        "connections-end-with-the-address-here",
        "A connection ends when its address has gone, and not before.",
        &[Change {
            file: "linux/src/connections/destroy.rs",
            find: "!installed.iter().any(|address| address.ip == *ip)",
            replace: "!installed.iter().any(|address| address.ip == *ip && address.prefix == 77)",
        }],
    ),
    caught(
        "connections-stay-without-address",
        "Who waits for answers on an address that has gone is told so.",
        &[Change {
            file: "linux/src/connections/destroy.rs",
            find: "netlink.begin(SOCK_DESTROY, 0)",
            replace: "netlink.begin(SOCK_DESTROY - 1, 0)",
        }],
    ),
    caught(
        "connections-of-others-end",
        "Connections with other addresses live on.",
        &[Change {
            file: "linux/src/connections/list.rs",
            find: "writer.attribute(REQUEST_FILTER, &filter(services));",
            replace: "let _of_all = (REQUEST_FILTER, filter(services));",
        }],
    ),
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
