//! Faults as plain data: what can go wrong, in one list that plans, traces and coverage share.
//!
//! Hosts are numbers: servers from 0, witnesses (or the dongle) from 16. Spans are microseconds of
//! true time. What a fault has to draw at random it draws from its own `pick`, so that taking one
//! fault out of a plan changes nothing of what the others do.
//!
//! There is no fault for the wall clock, because no part of the core can read one: every moment is
//! an argument, and what is given is the host's steady clock ([`ClockRate`](Fault::ClockRate)).

mod choice;
mod told;

pub use choice::{Keys, Manner, Order, Rubbish, Step};

use serde::{Deserialize, Serialize};

use crate::world::Micros;

/// One thing that goes wrong, or comes right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fault {
    /// Frames are lost, each by itself.
    Loss {
        /// How many in a hundred.
        percent: u8,
    },
    /// Frames are lost in bursts: each way of each link is in a good state or in a bad one
    /// (Gilbert and Elliott).
    Burst {
        /// Of 10,000 frames in the good state, how many begin a bad one.
        enter: u16,
        /// Of 10,000 frames in the bad state, how many end it.
        leave: u16,
        /// How many in a hundred are lost in the bad state.
        percent: u8,
    },
    /// Frames take their time. If they differ by more than their distance, they overtake each
    /// other.
    Delay {
        /// The shortest time.
        delay: Micros,
        /// How much longer a frame may take.
        jitter: Micros,
    },
    /// Some frames take so much longer that later ones overtake them.
    Reorder {
        /// How many in a hundred.
        percent: u8,
        /// How much longer.
        span: Micros,
    },
    /// Frames come twice.
    Duplicates {
        /// How many in a hundred.
        percent: u8,
    },
    /// Bits of frames flip.
    Damage {
        /// How many in a hundred frames.
        percent: u8,
        /// Whether the checksum of the layer below is right all the same, so that the frame reaches
        /// the process. Otherwise the kernel throws it away.
        checksum_right: bool,
    },
    /// Nothing passes one way.
    Cut {
        /// Whose frames.
        from: u8,
        /// Who does not get them.
        to: u8,
        /// Over which link, or over all.
        link: Option<u8>,
    },
    /// What was cut passes again, one way.
    Mend {
        /// Whose frames.
        from: u8,
        /// Who gets them.
        to: u8,
        /// Over which link, or over all.
        link: Option<u8>,
    },
    /// Every network is cut: nothing but serial lines is left.
    CutNetworks,
    /// The network and the serial lines are whole, and the attacker goes home. Hosts stay as they
    /// are.
    Heal,

    /// The process dies; its kernel answers on until the lease ends.
    Kill {
        /// Whose.
        host: u8,
    },
    /// The machine dies.
    Crash {
        /// Which.
        host: u8,
    },
    /// The machine dies in the middle of a wake-up of its process.
    CrashIn {
        /// Which.
        host: u8,
        /// After which step.
        step: Step,
        /// How long after that it boots again, if it does.
        boot: Option<Micros>,
    },
    /// The process starts if it does not run, with leftovers of the one before taken down.
    Boot {
        /// Whose.
        host: u8,
    },
    /// The process does not run for a while, as after SIGSTOP; its kernel lives.
    Pause {
        /// Whose.
        host: u8,
        /// How long.
        span: Micros,
    },
    /// The whole machine stands still for a while, kernel and all: nothing answers. Its clocks go
    /// on.
    Freeze {
        /// Which.
        host: u8,
        /// How long.
        span: Micros,
    },
    /// The virtual machine is suspended for a while: nothing answers, and its clocks stand still.
    /// Beyond what is assumed.
    Suspend {
        /// Which.
        host: u8,
        /// How long.
        span: Micros,
    },
    /// A clock runs at another rate from now on.
    ClockRate {
        /// Whose.
        host: u8,
        /// Its error, in millionths.
        error_ppm: i32,
    },
    /// The file with the reserved tokens is gone, as from a new disk. Beyond what is assumed: the
    /// daemon reads that none were used.
    LoseState {
        /// Whose.
        host: u8,
    },
    /// The file with the reserved tokens is damaged: the daemon refuses to start until somebody has
    /// removed it, which this world does at [`Heal`](Fault::Heal).
    TearState {
        /// Whose.
        host: u8,
    },
    /// Tokens cannot be saved for a while.
    SaveFails {
        /// Whose.
        host: u8,
        /// How long.
        span: Micros,
    },
    /// Saving tokens takes a while, from now on.
    SaveSlow {
        /// Whose.
        host: u8,
        /// How long.
        span: Micros,
    },
    /// The agents of a group behave differently from now on.
    Agent {
        /// Whose.
        host: u8,
        /// Of which group.
        group: u8,
        /// How they behave.
        manner: Manner,
    },

    /// An operator, or the shell around the engine, says something.
    Order {
        /// To whom.
        host: u8,
        /// About which group, or about all.
        group: Option<u8>,
        /// What.
        order: Order,
    },
    /// A server starts again with other settings than before.
    Reconfigure {
        /// Which.
        host: u8,
        /// The digest of its settings.
        digest: u32,
        /// How long its promises last, in milliseconds; its authority fits that.
        promise_ms: u64,
    },
    /// A process is given other keys while it runs.
    Rekey {
        /// Whose.
        host: u8,
        /// Which.
        keys: Keys,
    },

    /// Somebody writes down every frame from now on, or stops doing so.
    Record {
        /// Whether.
        on: bool,
    },
    /// Somebody sends frames that were written down, as they were.
    Replay {
        /// How many.
        count: u16,
        /// To whom, or each to whom it was for.
        to: Option<u8>,
        /// Which.
        pick: u32,
    },
    /// Somebody holds back what one host sends another, and lets it go all at once.
    HoldBack {
        /// Whose frames.
        from: u8,
        /// For whom.
        to: u8,
        /// For how long.
        span: Micros,
    },
    /// A host's frames come back to it for a while, besides going where they should.
    Reflect {
        /// Whose.
        host: u8,
        /// For how long.
        span: Micros,
    },
    /// Somebody sends rubbish.
    Flood {
        /// To whom.
        to: u8,
        /// How many frames, one a microsecond.
        count: u16,
        /// Of which kind.
        rubbish: Rubbish,
        /// Which rubbish.
        pick: u32,
    },
    /// Frames of one link arrive on another, and the other way round, until the network is healed.
    SwapLinks {
        /// One.
        one: u8,
        /// The other.
        other: u8,
    },
    /// Somebody puts recorded frames of one kind of link on another: from the network onto a serial
    /// line.
    SwapClasses {
        /// To whose first serial port.
        to: u8,
        /// How many.
        count: u16,
        /// Which.
        pick: u32,
    },

    /// A serial line is cut, one way or both.
    CutLine {
        /// Which line.
        line: u8,
        /// Which direction, or both.
        way: Option<u8>,
    },
    /// One direction of a serial line takes nothing any more.
    StickLine {
        /// Which line.
        line: u8,
        /// Which direction.
        way: u8,
    },
    /// Bits flip on one direction of a serial line.
    Noise {
        /// Which line.
        line: u8,
        /// Which direction.
        way: u8,
        /// Of 10,000 bytes, how many have a wrong bit.
        rate: u16,
    },
    /// A serial line is whole again, both ways.
    MendLine {
        /// Which.
        line: u8,
    },
    /// Random bytes come in at a serial port.
    Bytes {
        /// Whose.
        to: u8,
        /// Which port.
        port: u8,
        /// How many.
        count: u16,
        /// Which.
        pick: u32,
    },
    /// A well-formed message without a right tag comes in at a serial port.
    Stranger {
        /// Whose.
        to: u8,
        /// Which port.
        port: u8,
        /// Whom it speaks of.
        about: u8,
    },
    /// A request that the dongle has had comes in once more.
    ReplayRequest {
        /// Which.
        pick: u32,
    },
    /// The reset lines do not follow the dongle any more, or do so again.
    ResetStuck {
        /// Whether they do not.
        stuck: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept {
        at: Micros,
        #[serde(flatten)]
        fault: Fault,
    }

    #[test]
    fn a_fault_is_kept_as_one_table_under_its_name_and_told_in_one_line() {
        let faults = [
            Fault::Heal,
            Fault::Cut { from: 0, to: 1, link: None },
            Fault::CrashIn { host: 2, step: Step::Events, boot: Some(5000) },
            Fault::Agent { host: 0, group: 1, manner: Manner::Slow(300) },
            Fault::Order { host: 0, group: Some(1), order: Order::Takeover },
            Fault::Damage { percent: 9, checksum_right: true },
        ];
        for fault in faults {
            let kept = Kept { at: 7, fault };
            let text = toml::to_string(&kept).unwrap();
            assert!(text.contains(&format!("fault = \"{}\"", kept.fault.kind())), "{text}");
            assert_eq!(toml::from_str::<Kept>(&text).unwrap(), kept, "{text}");
            let line = kept.fault.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line}");
        }
    }
}
