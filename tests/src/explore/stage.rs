//! Every different host and message once, and what each did with each.
//!
//! States of the whole cluster are few numbers: which host is in which of its states, and which
//! messages are on their way. A host's own step depends on nothing but its state, its input and the
//! time, so it is taken once and looked up whenever some state of the cluster needs it again.

use std::collections::HashMap;

use lifesign_core::group::Token;
use lifesign_core::node::NodeId;
use lifesign_core::quorum::Quorum;
use lifesign_core::time::Instant;

use super::actor::{Actor, Answering, Brain, Input, Message};
use super::digest::{Digest, Digests};
use super::setup::{Order, Setup};

/// The number of one state of one host.
pub type ActorId = u32;
/// The number of one message.
pub type MessageId = u32;

/// What the laws want to know of a host's state.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What answers there.
    pub answering: Option<Answering>,
    /// What it has promised, in this start and in earlier ones: to whom, under which token, until
    /// when by its own clock.
    pub promises: Vec<(NodeId, Token, Instant)>,
    /// When it next has something to do by itself; `None` if no process runs.
    pub wake: Option<Instant>,
    /// Whose reset line it holds active.
    pub line: Option<NodeId>,
    /// How many steps of a key rotation it has made.
    pub keys: u8,
}

/// What a host did with an input.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The state it is in now.
    pub actor: ActorId,
    /// What it sends, to whom.
    pub sent: Box<[(u8, MessageId)]>,
    /// The token under which it began to hold the group.
    pub begun: Option<Token>,
}

/// What a turn begins with, besides the host's state and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cue {
    /// It is time.
    Wake,
    /// This message comes.
    Hear(MessageId),
    /// The operator wants something.
    Order(Order),
    /// Its process is killed and starts anew.
    Restart,
    /// Its reset line becomes active.
    Reset,
}

/// All hosts and messages that were met.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub setup: Setup,
    /// Its votes.
    pub quorum: Quorum,
    actors: Vec<(Actor, Summary)>,
    actor_ids: HashMap<u128, ActorId, Digests>,
    messages: Vec<Message>,
    message_ids: HashMap<u128, MessageId, Digests>,
    turns: Vec<Turn>,
    turn_ids: HashMap<(ActorId, Cue, u16), u32, Digests>,
}

impl Stage {
    /// Makes an empty stage.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            quorum: setup.quorum(),
            setup,
            actors: Vec::new(),
            actor_ids: HashMap::default(),
            messages: Vec::new(),
            message_ids: HashMap::default(),
            turns: Vec::new(),
            turn_ids: HashMap::default(),
        }
    }

    /// Lets the host in the state `actor` take its cue at the true time `at`.
    pub fn turn(&mut self, actor: ActorId, cue: Cue, at: u16) -> &Turn {
        let key = (actor, cue, at);
        if let Some(id) = self.turn_ids.get(&key) {
            return &self.turns[*id as usize];
        }
        let mut changed = self.actors[actor as usize].0.clone();
        let input = match cue {
            Cue::Wake => Input::Wake,
            Cue::Hear(message) => Input::Hear(&self.messages[message as usize]),
            Cue::Order(order) => Input::Order(order),
            Cue::Restart => Input::Restart,
            Cue::Reset => Input::Reset,
        };
        let deeds = changed.take(&self.setup, &input, at);
        let turn = Turn {
            actor: self.actor_id(changed, at),
            sent: deeds.sent.into_iter().map(|sent| (sent.to, self.message_id(sent))).collect(),
            begun: deeds.begun,
        };
        let id = number(self.turns.len());
        self.turns.push(turn);
        self.turn_ids.insert(key, id);
        &self.turns[id as usize]
    }

    /// Returns the number of a host's state.
    pub fn actor_id(&mut self, actor: Actor, at: u16) -> ActorId {
        let hash = Digest::of(&actor);
        if let Some(id) = self.actor_ids.get(&hash) {
            return *id;
        }
        let id = number(self.actors.len());
        let summary = self.sum_up(&actor, at);
        self.actors.push((actor, summary));
        self.actor_ids.insert(hash, id);
        id
    }

    fn message_id(&mut self, message: Message) -> MessageId {
        let hash = Digest::of(&message);
        if let Some(id) = self.message_ids.get(&hash) {
            return *id;
        }
        let id = number(self.messages.len());
        self.messages.push(message);
        self.message_ids.insert(hash, id);
        id
    }

    fn sum_up(&self, actor: &Actor, at: u16) -> Summary {
        let promise = actor.promise(self.setup.local(actor.host, at));
        let kept = promise.map(|promise| (promise.to.node, promise.to.token, promise.until));
        Summary {
            answering: actor.answering,
            promises: kept.into_iter().chain(actor.forgotten.iter().copied()).collect(),
            wake: actor.wake(),
            line: actor.line(),
            keys: actor.keys,
        }
    }

    /// Returns a host in one of its states.
    #[must_use]
    pub fn actor(&self, id: ActorId) -> &Actor {
        &self.actors[id as usize].0
    }

    /// Returns what the laws want to know of it.
    #[must_use]
    pub fn summary(&self, id: ActorId) -> &Summary {
        &self.actors[id as usize].1
    }

    /// Returns whether a process runs there.
    #[must_use]
    pub fn is_running(&self, id: ActorId) -> bool {
        self.actor(id).brain != Brain::Nothing
    }

    /// Returns a message.
    #[must_use]
    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id as usize]
    }

    /// Returns how many different hosts, messages and turns were met.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.actors.len(), self.messages.len(), self.turns.len())
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("less than four thousand millions")
}
