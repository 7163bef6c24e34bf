//! What a daemon has decided of late, and what somebody should look at.

use serde::{Deserialize, Serialize};

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What: a sentence, without a full stop.
    pub text: String,
    /// For how long.
    pub since_ms: u64,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// How long ago.
    pub ago_ms: u64,
    /// What: a sentence, without a full stop.
    pub text: String,
}
