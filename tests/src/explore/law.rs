//! What must hold in every state, by true time and in the eyes of nobody inside.

use std::fmt;

use lifesign_core::group::Token;
use lifesign_core::node::NodeSet;

use super::stage::Stage;
use super::state::{Next, State};

/// A law that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Two servers answer for the group.
    Two(usize, usize),
    /// A server answers for longer than a quorum has promised it the group, forgotten promises
    /// included.
    Unbacked(usize),
    /// A server has begun to hold the group under a token that is not larger than every one before.
    Token(usize, Token, Token),
    /// Nobody holds the group, although nothing has happened that is a reason.
    Unheld,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Two(one, other) => write!(formatter, "hosts {one} and {other} both answer"),
            Self::Unbacked(host) => {
                write!(formatter, "host {host} answers for longer than a quorum has promised")
            }
            Self::Token(host, token, before) => {
                write!(formatter, "host {host} begins under token {} after {}", token.0, before.0)
            }
            Self::Unheld => formatter.write_str("nobody answers, without a reason"),
        }
    }
}

/// Takes note of who has begun to hold the group, and says which law is broken, if one is.
pub fn judge(stage: &Stage, next: &mut Next) -> Option<Broken> {
    for (host, token) in std::mem::take(&mut next.begun) {
        let before = std::mem::replace(&mut next.state.token, token);
        if token <= before {
            return Some(Broken::Token(host, token, before));
        }
    }
    let state = &next.state;
    let looks_at_promises = stage.setup.looks_at_promises && stage.setup.has_kernel_lease;
    let mut answering = state.answering(stage);
    match (answering.next(), answering.next()) {
        (Some(one), Some(other)) => Some(Broken::Two(one, other)),
        (Some(host), None) if looks_at_promises && !is_backed(stage, state, host) => {
            Some(Broken::Unbacked(host))
        }
        (None, _) if stage.setup.is_always_held => Some(Broken::Unheld),
        _ => None,
    }
}

/// Returns whether a quorum has promised `host` the group for as long as it answers.
fn is_backed(stage: &Stage, state: &State, host: usize) -> bool {
    let setup = &stage.setup;
    let Some(answering) = stage.summary(state.actors[host]).answering else { return true };
    let mut voters = NodeSet::EMPTY;
    for (voter, actor) in state.actors.iter().enumerate() {
        let lasts = |(to, token, until): &(_, _, _)| {
            let is_meant = *to == setup.id(host) && *token == answering.token;
            is_meant && !setup.is_before((voter, *until), (host, answering.until))
        };
        if stage.summary(*actor).promises.iter().any(lasts) {
            voters.insert(setup.id(voter));
        }
    }
    stage.quorum.is_met_by(voters)
}
