//! What some faults leave to choose.

use serde::{Deserialize, Serialize};

use crate::world::Micros;

/// A step in a wake-up of a process, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It has looked at its authority.
    Authority,
    /// It has read the frames that waited.
    Frames,
    /// It has decided.
    Decision,
    /// What it decided has been carried out, and no frame says so yet.
    Events,
    /// One of the frames has gone out.
    OneFrame,
}

/// How agents behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// They do what they say.
    Honest,
    /// They come to no end, and are killed when their time is up.
    Hang,
    /// They cannot start.
    FailStart,
    /// They cannot stop.
    FailStop,
    /// They say they have started and have not.
    LieStarted,
    /// They say they have stopped and have not. Beyond what is assumed where stopping matters.
    LieStopped,
    /// They take this many microseconds.
    Slow(Micros),
}

/// What somebody says to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Be free of it.
    Standby,
    /// Take it.
    Takeover,
    /// Leave in good order; of all groups alone.
    Leave,
    /// Something of it has failed.
    Failed,
    /// This machine can serve it.
    Able,
    /// This machine cannot serve it.
    Unable,
    /// Do nothing with it for so long, anywhere.
    Maintain(Micros),
    /// Its maintenance is over.
    Resume,
    /// Stop it wherever it is, and start it nowhere.
    Disable,
    /// It may be started again.
    Enable,
    /// Bring it to this server.
    Move(u8),
}

/// Which keys a process has while they are rotated, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// The old one alone.
    Old,
    /// Both; the old one signs.
    BothOldSigns,
    /// Both; the new one signs.
    BothNewSigns,
    /// The new one alone.
    New,
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rubbish {
    /// Random bytes.
    Bytes,
    /// A right header, then random bytes.
    Forged,
    /// A rightly tagged frame of the same cluster with another key.
    WrongKey,
    /// A frame with the right key of another cluster.
    OtherCluster,
}
