//! A run in words: one event a line.
//!
//! The columns are the time in milliseconds since the start, the host (`-` for what concerns all),
//! the marks of all hosts, servers first, one block for each group, and what happened. The marks
//! are those of [`scene`](crate::scene), after the event.

use std::collections::BTreeMap;

use crate::scene::Scene;
use crate::seen::{End, Seen};
use crate::world::Micros;

/// Turns what is told of a run into lines, and leaves out what only repeats what was said.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// To whom each voter has promised each group.
    promised: BTreeMap<(u8, u8), Option<u8>>,
    /// Until when each server answers for each group.
    answers: BTreeMap<(u8, u8), Micros>,
}

impl Trace {
    /// Returns the line for this, if it deserves one.
    pub fn line(&mut self, at: Micros, seen: &Seen, scene: &Scene) -> Option<String> {
        let (host, what) = match seen {
            Seen::Fault(fault) => (fault.host(), format!("* {fault}")),
            seen => self.words(at, seen)?,
        };
        let host = host.map_or_else(|| "-".into(), |host| host.to_string());
        let (millis, micros) = (at / 1000, at % 1000);
        Some(format!("{millis:>9}.{micros:03} {host:>3}  {}  {what}", scene.marks()))
    }

    fn words(&mut self, at: Micros, seen: &Seen) -> Option<(Option<u8>, String)> {
        let (host, what) = match seen {
            Seen::Started { host, boot } => (*host, format!("starts as {boot:016x}")),
            Seen::Ended { host, how } => (*host, format!("ends: {}", end(*how))),
            Seen::Role { host, group, role, reason } => {
                (*host, format!("group {group}: {role:?}, because {reason:?}"))
            }
            Seen::Answers { host, group, token, until } => {
                let before = self.answers.insert((*host, *group), *until);
                if before.is_some_and(|before| before > at) {
                    return None;
                }
                (*host, format!("answers for group {group} under token {token}"))
            }
            Seen::Silent { host, group } => {
                self.answers.remove(&(*host, *group));
                (*host, format!("is silent for group {group}"))
            }
            Seen::Promised { voter, group, promise } => {
                let to = promise.map(|promise| promise.to);
                if self.promised.insert((*voter, *group), to) == Some(to) {
                    return None;
                }
                let to = to.map_or_else(|| "nobody".into(), |to| to.to_string());
                (*voter, format!("promises group {group} to {to}"))
            }
            Seen::Decreed { host, stamp, .. } => (*host, format!("knows word {stamp:?}")),
            Seen::Saved { host, token } => (*host, format!("has saved token {token}")),
            Seen::Peer { host, peer, condition } => (*host, format!("sees {peer}: {condition:?}")),
            Seen::Clock { host, error_ppm } => {
                (*host, format!("has a clock that is {error_ppm} millionths wrong"))
            }
            Seen::Healed => return Some((None, "all is repaired".into())),
            Seen::ResetAsked { asker, target, .. } => {
                (*asker, format!("asks that {target} be reset"))
            }
            Seen::Pulse { target, felt: true } => (*target, "is being reset".into()),
            Seen::Pulse { target, felt: false } => {
                (*target, "would be reset, and its line does not follow".into())
            }
            Seen::PulseEnded { target } => (*target, "is no longer being reset".into()),
            Seen::Vouched { to, target, .. } => (*to, format!("is told that {target} is silent")),
            Seen::ByHand => return Some((None, "somebody does something by hand".into())),
            Seen::Fault(_)
            | Seen::Sent { .. }
            | Seen::Arrived { .. }
            | Seen::Network { .. }
            | Seen::OnLine { .. }
            | Seen::Garbage { .. } => return None,
        };
        Some((Some(host), what))
    }
}

const fn end(how: End) -> &'static str {
    match how {
        End::Killed => "killed",
        End::Crashed => "the machine has crashed",
        End::Reset => "reset",
        End::Left => "left in good order",
    }
}
