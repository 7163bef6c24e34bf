//! Rules about the hardware addresses of groups: who sends from there, and what is put back.

use crate::mutant::{Change, Mutant, caught};

pub(super) const MUTANTS: &[Mutant] = &[
    caught(
        "mac-without-lease",
        "The lease of a group covers its hardware address: once it is over no frame leaves from it.",
        &[Change {
            file: "linux/src/address/nftables/rules.rs",
            find: "rule.payload(ETHERNET, 6, 6).muted().verdict(DROP);",
            replace: "rule.payload(ETHERNET, 6, 6).muted().verdict(ACCEPT);",
        }],
    ),
    caught(
        "mac-without-lease-in-bpf",
        "The same where a program enforces it.",
        &[Change {
            file: "linux/src/address/bpf.rs",
            find: "        if !ingress && subjects.iter().any(Subject::is_mac) {",
            replace: "        if ingress && !ingress && subjects.iter().any(Subject::is_mac) {",
        }],
    ),
    caught(
        "mac-lease-not-granted",
        "What is closed is what is opened: the hardware address with the addresses.",
        &[Change {
            file: "linux/src/address/front.rs",
            find: "places.extend(self.fronts.as_ref().and_then(|fronts| fronts.subject(group)));",
            replace: "places.extend(None::<usize>);",
        }],
    ),
    caught(
        "mac-replaced-before-noted",
        "The original of an adapter is noted before it is replaced.",
        &[Change {
            file: "linux/src/address/front/leftover.rs",
            find: "        netlink.set_name(base.index, &mark.note(original), true)?;\n    }\n    \
                   netlink.set_mac(base.index, mac).map_err(",
            replace: "        netlink.set_mac(base.index, mac)?;\n        \
                      netlink.set_name(base.index, &mark.note(original), true)?;\n    }\n    \
                      netlink.set_mac(base.index, mac).map_err(",
        }],
    ),
    caught(
        "mac-left-by-an-earlier-life",
        "What an earlier life left is taken away before the first frame.",
        &[Change {
            file: "linux/src/address/front/leftover.rs",
            find: "        if layer.is_macvlan && mark.is_ours(&layer.name) {",
            replace: "        if layer.is_macvlan && mark.is_ours(&layer.name) && layer.mac.is_none() {",
        }],
    ),
    caught(
        "mac-not-restored-by-the-next-life",
        "The original is put back by the next life.",
        &[Change {
            file: "linux/src/address/front/leftover.rs",
            find: "                netlink.set_mac(layer.index, original)?;",
            replace: "",
        }],
    ),
    caught(
        "mac-switched-off-last",
        "The adapter of a group is switched off before anything else is given up.",
        &[
            Change {
                file: "linux/src/address.rs",
                find: "        let switched = self.switch_off(group);\n",
                replace: "",
            },
            Change {
                file: "linux/src/address.rs",
                find: "        let put_back = self.put_back(group);\n",
                replace: "        let put_back = self.put_back(group);\n        \
                          let switched = self.switch_off(group);\n",
            },
        ],
    ),
    caught(
        "mac-of-a-stranger-taken",
        "Where somebody else sends from the group's hardware address, it is not taken at the first \
         start.",
        &[Change {
            file: "linux/src/address/front.rs",
            find: "if members.any(|slot| slot.presence.is_probing()) {",
            replace: "if members.any(|slot| slot.presence.is_probing() && slot.is_installed) {",
        }],
    ),
    caught(
        "mac-at-two-adapters",
        "A group's hardware address is off on one adapter of a network before it is on on another.",
        &[
            Change {
                file: "linux/src/address/seat.rs",
                find: "                self.switch_off(group)?;\n",
                replace: "",
            },
            Change {
                file: "linux/src/address/front.rs",
                find: "                self.switch_off_but(group, Some(index))?;\n",
                replace: "",
            },
        ],
    ),
];
