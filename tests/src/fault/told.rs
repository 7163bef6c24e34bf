//! Faults in words: one line each, for a trace, and a name of each kind, for a table.

use std::fmt::{Display, Formatter, Result};

use super::Fault;

impl Fault {
    /// Returns the name of this kind of fault, as in a kept plan.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Loss { .. } => "loss",
            Self::Burst { .. } => "burst",
            Self::Delay { .. } => "delay",
            Self::Reorder { .. } => "reorder",
            Self::Duplicates { .. } => "duplicates",
            Self::Damage { .. } => "damage",
            Self::Cut { .. } => "cut",
            Self::Mend { .. } => "mend",
            Self::CutNetworks => "cut-networks",
            Self::Heal => "heal",
            Self::Kill { .. } => "kill",
            Self::Crash { .. } => "crash",
            Self::CrashIn { .. } => "crash-in",
            Self::Boot { .. } => "boot",
            Self::Pause { .. } => "pause",
            Self::Freeze { .. } => "freeze",
            Self::Suspend { .. } => "suspend",
            Self::ClockRate { .. } => "clock-rate",
            Self::LoseState { .. } => "lose-state",
            Self::TearState { .. } => "tear-state",
            Self::SaveFails { .. } => "save-fails",
            Self::SaveSlow { .. } => "save-slow",
            Self::Agent { .. } => "agent",
            Self::Order { .. } => "order",
            Self::Reconfigure { .. } => "reconfigure",
            Self::Rekey { .. } => "rekey",
            Self::Record { .. } => "record",
            Self::Replay { .. } => "replay",
            Self::HoldBack { .. } => "hold-back",
            Self::Reflect { .. } => "reflect",
            Self::Flood { .. } => "flood",
            Self::SwapLinks { .. } => "swap-links",
            Self::SwapClasses { .. } => "swap-classes",
            Self::CutLine { .. } => "cut-line",
            Self::StickLine { .. } => "stick-line",
            Self::Noise { .. } => "noise",
            Self::MendLine { .. } => "mend-line",
            Self::Bytes { .. } => "bytes",
            Self::Stranger { .. } => "stranger",
            Self::ReplayRequest { .. } => "replay-request",
            Self::ResetStuck { .. } => "reset-stuck",
        }
    }

    /// Returns the host it happens to, if it happens to one.
    #[must_use]
    pub const fn host(&self) -> Option<u8> {
        match self {
            Self::Kill { host }
            | Self::Crash { host }
            | Self::CrashIn { host, .. }
            | Self::Boot { host }
            | Self::Pause { host, .. }
            | Self::Freeze { host, .. }
            | Self::Suspend { host, .. }
            | Self::ClockRate { host, .. }
            | Self::LoseState { host }
            | Self::TearState { host }
            | Self::SaveFails { host, .. }
            | Self::SaveSlow { host, .. }
            | Self::Agent { host, .. }
            | Self::Order { host, .. }
            | Self::Reconfigure { host, .. }
            | Self::Rekey { host, .. }
            | Self::Reflect { host, .. } => Some(*host),
            Self::Cut { to, .. }
            | Self::Mend { to, .. }
            | Self::HoldBack { to, .. }
            | Self::Flood { to, .. }
            | Self::SwapClasses { to, .. }
            | Self::Bytes { to, .. }
            | Self::Stranger { to, .. } => Some(*to),
            _ => None,
        }
    }
}

/// A part of a network, a group or a line, or all of it.
struct Part(&'static str, Option<u8>);

impl Display for Part {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        match self.1 {
            Some(number) => write!(to, "{} {number}", self.0),
            None => write!(to, "every {}", self.0),
        }
    }
}

/// A span of microseconds.
struct Span(u64);

impl Display for Span {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        if self.0 < 10_000 {
            write!(to, "{} us", self.0)
        } else {
            write!(to, "{} ms", self.0 / 1000)
        }
    }
}

impl Display for Fault {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        self.of_network(to)
            .or_else(|| self.of_host(to))
            .or_else(|| self.of_stranger(to))
            .unwrap_or(Ok(()))
    }
}

impl Fault {
    fn of_network(&self, to: &mut Formatter<'_>) -> Option<Result> {
        Some(match self {
            Self::Loss { percent } => write!(to, "of 100 frames {percent} are lost"),
            Self::Burst { enter, leave, percent } => write!(
                to,
                "bursts begin at {enter} and end at {leave} of 10,000 frames and lose {percent} %"
            ),
            Self::Delay { delay, jitter } => {
                write!(to, "frames take {} and up to {} more", Span(*delay), Span(*jitter))
            }
            Self::Reorder { percent, span } => {
                write!(to, "of 100 frames {percent} take {} more", Span(*span))
            }
            Self::Duplicates { percent } => write!(to, "of 100 frames {percent} come twice"),
            Self::Damage { percent, checksum_right } => {
                let right = if *checksum_right { "right" } else { "wrong" };
                write!(to, "of 100 frames {percent} are damaged, with a {right} checksum below")
            }
            Self::Cut { from, to: other, link } => {
                write!(to, "{} is cut from {from} to {other}", Part("link", *link))
            }
            Self::Mend { from, to: other, link } => {
                write!(to, "{} is whole again from {from} to {other}", Part("link", *link))
            }
            Self::CutNetworks => to.write_str("every network is cut"),
            Self::Heal => to.write_str("the network is healed"),
            Self::CutLine { line, way } => {
                write!(to, "{} of line {line} is cut", Part("way", *way))
            }
            Self::StickLine { line, way } => write!(to, "way {way} of line {line} is stuck"),
            Self::Noise { line, way, rate } => {
                write!(to, "way {way} of line {line} flips bits in {rate} of 10,000 bytes")
            }
            Self::MendLine { line } => write!(to, "line {line} is whole again"),
            Self::ResetStuck { stuck: true } => to.write_str("the reset lines are stuck"),
            Self::ResetStuck { stuck: false } => to.write_str("the reset lines work"),
            _ => return None,
        })
    }

    fn of_host(&self, to: &mut Formatter<'_>) -> Option<Result> {
        Some(match self {
            Self::Kill { host } => write!(to, "{host} is killed"),
            Self::Crash { host } => write!(to, "{host} crashes"),
            Self::CrashIn { host, step, boot: None } => {
                write!(to, "{host} crashes after its next step {step:?}")
            }
            Self::CrashIn { host, step, boot: Some(boot) } => {
                write!(
                    to,
                    "{host} crashes after its next step {step:?} and boots {} later",
                    Span(*boot)
                )
            }
            Self::Boot { host } => write!(to, "{host} boots"),
            Self::Pause { host, span } => write!(to, "{host} is paused for {}", Span(*span)),
            Self::Freeze { host, span } => write!(to, "{host} stands still for {}", Span(*span)),
            Self::Suspend { host, span } => {
                write!(to, "{host} is suspended with its clocks for {}", Span(*span))
            }
            Self::ClockRate { host, error_ppm } => {
                write!(to, "the clock of {host} is wrong by {error_ppm} millionths")
            }
            Self::LoseState { host } => write!(to, "{host} loses its reserved tokens"),
            Self::TearState { host } => write!(to, "the reserved tokens of {host} are damaged"),
            Self::SaveFails { host, span } => {
                write!(to, "{host} cannot save tokens for {}", Span(*span))
            }
            Self::SaveSlow { host, span } => {
                write!(to, "{host} takes {} to save tokens", Span(*span))
            }
            Self::Agent { host, group, manner } => {
                write!(to, "the agents of group {group} on {host}: {manner:?}")
            }
            Self::Order { host, group, order } => {
                write!(to, "{host} is told {order:?} for {}", Part("group", *group))
            }
            Self::Reconfigure { host, digest, promise_ms } => {
                write!(to, "{host} restarts with settings {digest} and promises of {promise_ms} ms")
            }
            Self::Rekey { host, keys } => write!(to, "{host} is given the keys {keys:?}"),
            _ => return None,
        })
    }

    fn of_stranger(&self, to: &mut Formatter<'_>) -> Option<Result> {
        Some(match self {
            Self::Record { on: true } => to.write_str("somebody writes frames down"),
            Self::Record { on: false } => to.write_str("nobody writes frames down any more"),
            Self::Replay { count, to: Some(host), .. } => {
                write!(to, "somebody replays {count} frames to {host}")
            }
            Self::Replay { count, to: None, .. } => write!(to, "somebody replays {count} frames"),
            Self::HoldBack { from, to: other, span } => {
                write!(to, "somebody holds back what {from} sends {other} for {}", Span(*span))
            }
            Self::Reflect { host, span } => {
                write!(to, "somebody reflects the frames of {host} for {}", Span(*span))
            }
            Self::Flood { to: host, count, rubbish, .. } => {
                write!(to, "somebody sends {host} {count} frames of rubbish: {rubbish:?}")
            }
            Self::SwapLinks { one, other } => write!(to, "links {one} and {other} are swapped"),
            Self::SwapClasses { to: host, count, .. } => {
                write!(to, "somebody puts {count} frames of the network on the line to {host}")
            }
            Self::Bytes { to: host, port, count, .. } => {
                write!(to, "{count} random bytes come to port {port} of {host}")
            }
            Self::Stranger { to: host, port, about } => {
                write!(to, "an unsigned message about {about} comes to port {port} of {host}")
            }
            Self::ReplayRequest { pick } => write!(to, "somebody replays request {pick}"),
            _ => return None,
        })
    }
}
