//! The state of an engine outside of it: what it takes to go on with it elsewhere.
//!
//! An engine is written without its keys. Read again it knows none: it takes nothing in, decides
//! nothing, and what it writes has no tag that anybody accepts, until
//! [`with_keyring`](Engine::with_keyring) has looked whether its parts fit together. What comes
//! from outside may say anything, and must not be able to make the core fail.

use super::Engine;
use crate::config::{Config, Timing};
use crate::node::NodeSet;
use crate::seal::Keyring;

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Gives an engine that was written and read again its keys, with which it goes on.
    ///
    /// # Errors
    /// Its parts do not fit together: it was not written by an engine.
    pub fn with_keyring(mut self, keyring: Keyring) -> Result<Self, Contradiction> {
        let config = &self.config;
        let voters = config.quorum.members();
        let others = voters.difference(NodeSet::EMPTY.with(config.me));
        let Timing { heartbeat, dead, longest_promise, .. } = config.timing;
        let is_sound = Config::new(config.clone()).is_ok()
            && self.groups.len() == config.groups.len()
            && self.groups.iter().all(|group| group.support.voters() == voters)
            && self.cadence.heartbeat() == heartbeat
            && self.member.voter.longest() == longest_promise
            && self.member.peers.is_of(others, heartbeat, dead)
            && (self.member.me(), self.member.others()) == (config.me, others);
        if !is_sound {
            return Err(Contradiction);
        }
        self.order = self.config.decision_order();
        self.member.set_keyring(keyring);
        Ok(self)
    }
}

/// The error of a state whose parts do not fit together. Nothing was changed; no engine writes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl core::fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("the parts of this state do not fit together")
    }
}

impl core::error::Error for Contradiction {}
