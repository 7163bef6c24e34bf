//! Verdicts on adapters, for people and for machines.

use lifesign_core::network::Verdict;

use crate::address::Seat;

/// Returns the word for a verdict.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Well => "well",
        Verdict::NoCarrier => "no-carrier",
        Verdict::Mute => "mute",
        Verdict::Port => "port",
        Verdict::Peer => "peer",
        Verdict::Network => "network",
        Verdict::Alone => "alone",
        Verdict::Unknown => "unknown",
    }
}

/// Returns what a verdict says of an adapter, as the rest of a sentence.
pub(super) const fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Well => "is well",
        Verdict::NoCarrier => "carries nothing",
        Verdict::Mute => "hears others, and nobody hears it",
        Verdict::Port => {
            "hears nobody, while others are there: its port at the switch, or the path"
        }
        Verdict::Peer => "is well; a peer's adapter there is silent",
        Verdict::Network => "hears nobody, and nobody hears anybody there: the network",
        Verdict::Alone => "cannot be judged: nobody else there is alive",
        Verdict::Unknown => "cannot be judged: nobody else is there to compare with",
    }
}

/// Returns the same, or that the adapter is gone.
pub(super) fn said_of(verdict: Verdict, seat: &Seat) -> String {
    let text =
        if verdict == Verdict::NoCarrier && !seat.is_there { "is gone" } else { said(verdict) };
    text.to_owned()
}
