//! How everything begins: nothing goes wrong until the first server holds the group.

use lifesign_core::group::Token;

use super::actor::Actor;
use super::setup::{HOSTS, Limits, Order};
use super::stage::Stage;
use super::state::{Action, Cut, State};

/// What happens before anything is tried.
#[derive(Debug)]
pub struct Prologue<'s> {
    stage: &'s mut Stage,
    state: State,
}

/// For how many units somebody has held the group before it is called quiet.
const QUIET: u16 = 4;
/// For how many units a quiet moment is waited for.
const PATIENCE: u16 = 60;
/// After how many units the other servers start, so that the first one holds the group.
const LATER: u16 = 3;

impl<'s> Prologue<'s> {
    /// Sets the stage; nobody runs yet.
    pub fn new(stage: &'s mut Stage) -> Self {
        let actors: [Actor; HOSTS] = std::array::from_fn(Actor::new);
        let state = State {
            at: 0,
            actors: actors.map(|actor| stage.actor_id(actor, 0)),
            paused: 0,
            cut: Cut::default(),
            left: Limits { pauses: 1, orders: 1, ..Limits::NONE },
            token: Token(0),
            open: Vec::new(),
            later: Vec::new(),
        };
        Self { stage, state }
    }

    /// Plays it, and returns the state in which everything may go wrong.
    ///
    /// # Panics
    /// If a server never holds the group when it should.
    #[must_use]
    pub fn play(mut self) -> State {
        self.start_all(true);
        self.wait(LATER);
        self.start_all(false);
        self.wait_for_holder(0);
        if self.stage.setup.was_reset {
            self.take(Action::Pause(0));
            self.wait_for_holder(1);
            self.restart(0);
            self.wait(2 * QUIET);
            self.take(Action::Order(0, Order::Takeover));
            self.wait_for_holder(0);
        }
        self.state.left = self.stage.setup.limits;
        self.state
    }

    /// Starts the first server and the witness, or the others.
    fn start_all(&mut self, first: bool) {
        for host in 0..HOSTS {
            if first == (host == 0 || host >= usize::from(self.stage.setup.servers)) {
                self.restart(host);
            }
        }
    }

    fn restart(&mut self, host: usize) {
        self.take(Action::Restart(u8::try_from(host).unwrap_or(0)));
    }

    /// Takes a step, and lets everything come that is sent because of it.
    fn take(&mut self, action: Action) {
        self.step(action);
        while !self.state.open.is_empty() {
            let fates = self.state.actions(self.stage, u16::MAX);
            self.step(fates.first().copied().unwrap_or(Action::Deliver));
        }
    }

    fn step(&mut self, action: Action) {
        let next = self.state.step(self.stage, action);
        self.state = next.state;
        for (_, token) in next.begun {
            self.state.token = token;
        }
    }

    fn wait(&mut self, units: u16) {
        for _ in 0..units {
            self.take(Action::Tick);
        }
    }

    fn wait_for_holder(&mut self, host: usize) {
        let end = self.state.at + PATIENCE;
        let mut held_for = 0;
        while held_for < QUIET {
            assert!(self.state.at < end, "server {host} never holds the group");
            self.take(Action::Tick);
            let is_held = self.state.answering(self.stage).eq([host]);
            held_for = if is_held { held_for + 1 } else { 0 };
        }
    }
}
