//! Rules about networks with several adapters on each node.

use crate::mutant::{Change, Mutant, caught};

const NETWORK: &str = "core/src/network.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "adapter-blamed-in-doubt",
        "Who hears nobody and has nobody to compare with blames no adapter.",
        &[Change {
            file: NETWORK,
            find: "if self.others_meet || (is_unanswered && answered_elsewhere) {",
            replace: "if self.others_meet || answered_elsewhere || !is_several(self.others) {",
        }],
    )
    .quick(),
    caught(
        "deaf-peer-makes-mute",
        "Where a third station answers, it is not this node's adapter that nobody hears.",
        &[Change {
            file: NETWORK,
            find: "            if is_answered {\n                Verdict::Peer\n            } else if \
                   is_unanswered || is_several(heard) {",
            replace: "            if is_unanswered || is_answered || is_several(heard) {",
        }],
    ),
    caught(
        "witness-tells-who-meets",
        "A witness, which numbers its own links, does not tell who meets on one of this node's.",
        &[Change {
            file: "linux/src/daemon/networks.rs",
            find: "!node.is_witness() && echoes.any(",
            replace: "echoes.any(",
        }],
    ),
    caught(
        "adapter-returned-to-at-once",
        "An address returns only to an adapter that has been well for its hold-off.",
        &[Change {
            file: NETWORK,
            find: "self.since.map(|since| since + self.hold_off)",
            replace: "self.since",
        }],
    ),
    caught(
        "hold-off-never-grows",
        "An adapter that flaps is left alone for twice as long each time.",
        &[Change {
            file: NETWORK,
            find: "let doubled = self.hold_off.times(2).min(MOST_HOLD_OFF);",
            replace: "let doubled = self.hold_off.min(MOST_HOLD_OFF);",
        }],
    ),
    caught(
        "hold-off-without-end",
        "The hold-off of an adapter is bounded.",
        &[Change {
            file: NETWORK,
            find: "let doubled = self.hold_off.times(2).min(MOST_HOLD_OFF);",
            replace: "let doubled = self.hold_off.times(2);",
        }],
    ),
    caught(
        "dead-peer-is-a-flap",
        "The death of a peer is no failure of an adapter.",
        &[Change {
            file: NETWORK,
            find: "verdict.is_mine() || is_doubted",
            replace: "!verdict.is_proven()",
        }],
    ),
    caught(
        "moves-for-nothing",
        "An address leaves an adapter only for a better one.",
        &[Change {
            file: NETWORK,
            find: "let next = if rank(current) < best && best >= DOUBTFUL {",
            replace: "let next = if rank(current) <= best && rank(current) < PROVEN {",
        }],
    ),
    caught(
        "silence-of-the-dead-is-a-flap",
        "An adapter on which nobody else is alive has not failed.",
        &[Change { file: NETWORK, find: " && *verdict != Verdict::Alone;", replace: ";" }],
    ),
    caught(
        "taken-over-beside-ones-own",
        "What is taken over sits on the standby adapter first.",
        &[Change { file: NETWORK, find: ".skip(self as usize)", replace: "" }],
    ),
    caught(
        "taken-over-moves-ones-own",
        "Where an address that is taken over goes moves none of this node's own.",
        &[Change {
            file: NETWORK,
            find: "Origin::ALL.map(|origin| self.next(origin, best, now));",
            replace: "Origin::ALL.map(|_| self.next(Origin::Taken, best, now));",
        }],
    ),
    caught(
        "returns-to-any-adapter",
        "An address returns only to an adapter that comes before its own.",
        &[Change {
            file: NETWORK,
            find: "order.take_while(|at| *at != current).find(is_stable)",
            replace: "order.filter(|at| *at < current).find(is_stable)",
        }],
    ),
    caught(
        "adapter-answers-before-it-is-prepared",
        "An adapter that has just come answers for no address that may be on another.",
        &[Change {
            file: "linux/src/address/nftables/rules.rs",
            find: ".adapter().outside(SPEAKERS).verdict(DROP);",
            replace: ".adapter().outside(SPEAKERS).verdict(ACCEPT);",
        }],
    ),
    caught(
        "number-of-an-adapter-that-went",
        "An adapter that went is none by which ARP may leave, whoever gets its number.",
        &[Change {
            file: "linux/src/address/seat.rs",
            find: "self.speakers.as_mut().map(|speakers| speakers.forget(gone));",
            replace: "self.speakers.as_mut().map(|speakers| speakers.forget(gone & 0));",
        }],
    ),
    caught(
        "standby-answers-too",
        "An adapter of a network answers for its own addresses alone.",
        &[Change {
            file: "linux/src/address/bench.rs",
            find: "netlink.set_arp_ignore(adapter.index, OWN_ALONE)?;",
            replace: "netlink.set_arp_ignore(adapter.index, before)?;",
        }],
    ),
    caught(
        "address-on-two-adapters",
        "An address is deleted where it was before it is added anywhere else.",
        &[Change {
            file: "linux/src/address/seat.rs",
            find: "                self.delete_if_there(*address)?;",
            replace: "                let _left = address;",
        }],
    ),
];
