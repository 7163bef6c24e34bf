//! Programs that run beside the daemon, and are started again when they end.
//!
//! They are started in order with the daemon, and stopped in reverse once it holds nothing any
//! more. What a client has started, in its process group, ends with it. A client that dies within
//! [`QUICK`] of its start, more than [`MOST_QUICK`] times in a row, is given up until the daemon is
//! started again: nothing else suffers from it. Exit status [`NO_MORE`] says that it wants no other
//! start.

use lifesign_core::time::{Duration, Instant};

use super::{Daemon, Errand, RETRY};
use crate::clock;
use crate::executor::identity::Identity;
use crate::executor::message::{Command, Outcome, Request, last_words};
use crate::report::ClientReport;
use crate::settings::{Client, Settings};

/// Whoever dies sooner after its start dies quickly.
const QUICK: Duration = Duration::from_millis(30_000);
/// How often a client may die quickly, one time after the other.
const MOST_QUICK: u32 = 10;
/// The exit status of a client that wants no other start.
const NO_MORE: i32 = 100;
/// How much of what a client says last is kept for people, in bytes.
const OUTPUT_LEN: u32 = 512;
/// How much longer than its limit a client that is killed is waited for.
const PATIENCE: Duration = Duration::from_millis(6000);

/// A client of this node.
#[derive(Debug)]
pub(super) struct Kept {
    settings: Client,
    identity: Option<Identity>,
    life: Life,
}

/// How a client fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    state: State,
    since: Instant,
    starts: u32,
    /// How often it has died quickly, one time after the other.
    quick: u32,
    /// How it ended last.
    last: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is started at this moment.
    Waiting(Instant),
    Running,
    Ended,
    GivenUp,
}

impl Life {
    const fn new(now: Instant) -> Self {
        Self { state: State::Waiting(now), since: now, starts: 0, quick: 0, last: None }
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    fn handle_started(&mut self, now: Instant) {
        self.starts = self.starts.saturating_add(1);
        self.enter(State::Running, now);
    }

    /// Takes in how it has ended, with its last words.
    fn handle_ended(&mut self, outcome: &Outcome, words: &str, now: Instant) {
        let is_quick = now.since(self.since) < QUICK;
        self.quick = if is_quick { self.quick.saturating_add(1) } else { 0 };
        self.last = Some(format!("{outcome}{words}"));
        let state = match outcome {
            Outcome::Exited(NO_MORE) => State::Ended,
            _ if self.quick > MOST_QUICK => State::GivenUp,
            _ => State::Waiting(now + RETRY),
        };
        self.enter(state, now);
    }

    /// Gives it up for this reason.
    fn give_up(&mut self, why: String, now: Instant) {
        self.last = Some(why);
        self.enter(State::GivenUp, now);
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Waiting(due) if now.has_reached(due))
    }

    /// Returns when it is started, or when it has run for long enough to be well.
    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(due) => Some(due),
            State::Running if self.last.is_some() => Some(self.since + QUICK),
            State::Running | State::Ended | State::GivenUp => None,
        }
    }

    /// Returns what somebody should look at.
    fn alert(&self) -> Option<String> {
        let last = self.last.as_deref()?;
        match self.state {
            State::GivenUp if self.quick > MOST_QUICK => Some(format!(
                "{last}; it died {} times within {QUICK} of its start and is given up until the \
                 daemon is started again",
                self.quick
            )),
            State::GivenUp => Some(last.to_owned()),
            State::Waiting(_) | State::Running => Some(format!("{last}; it is started again")),
            State::Ended => None,
        }
    }

    /// Forgets how it ended once it has run for long enough.
    fn look(&mut self, now: Instant) {
        if self.state == State::Running && now.since(self.since) >= QUICK {
            self.last = None;
        }
    }

    fn report(&self, name: &str, now: Instant) -> ClientReport {
        let state = match self.state {
            State::Waiting(_) => "waiting",
            State::Running => "running",
            State::Ended => "ended",
            State::GivenUp => "given up",
        };
        ClientReport {
            name: name.to_owned(),
            state: state.to_owned(),
            since_ms: now.since(self.since).as_millis(),
            starts: self.starts,
            last: self.last.clone(),
        }
    }
}

/// Returns the clients of `me`, to be started. May ask the machine's user database.
pub(super) fn kept(
    settings: &Settings,
    me: lifesign_core::node::NodeId,
    now: Instant,
) -> Vec<Kept> {
    let own = settings.clients.iter().filter(|client| client.runs_on(me));
    let keep = |client: &Client| {
        let mut life = Life::new(now);
        let found = client.user.as_deref().map(Identity::find).transpose();
        let identity = found.unwrap_or_else(|error| {
            life.give_up(format!("it is not started: {error}"), now);
            None
        });
        Kept { settings: client.clone(), identity: identity.flatten(), life }
    };
    own.map(keep).collect()
}

impl Kept {
    fn command(&self, node: &str, cluster: &str) -> Command {
        let told = [("LIFESIGN_NODE", node), ("LIFESIGN_CLUSTER", cluster)];
        Command {
            arguments: self.settings.command.clone(),
            environment: told.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            grace_us: self.settings.stop_limit.as_micros(),
            output_len_max: OUTPUT_LEN,
            identity: self.identity.clone(),
            stays: true,
            ..Command::default()
        }
    }
}

impl Daemon {
    /// Starts the clients whose time has come, unless this node is leaving.
    pub(super) fn keep_clients(&mut self, now: Instant) {
        for at in 0..self.clients.len() {
            if let Some(kept) = self.clients.get_mut(at) {
                kept.life.look(now);
            }
            let is_due = self.clients.get(at).is_some_and(|kept| kept.life.is_due(now));
            if is_due && !self.engine.is_leaving() {
                self.start_client(at, now);
            }
        }
        self.look_at_clients();
    }

    fn start_client(&mut self, at: usize, now: Instant) {
        let Some(kept) = self.clients.get(at) else { return };
        let command = kept.command(&self.settings.name_of(self.me), &self.settings.cluster);
        let sent = self.send_errand(Errand::Client(at), |id| Request::Run { id, command });
        let Some(kept) = self.clients.get_mut(at) else { return };
        kept.life.handle_started(now);
        if let Err(error) = sent {
            let outcome = Outcome::NotStarted(error.to_string());
            kept.life.handle_ended(&outcome, "", now);
        }
    }

    /// Takes in how a client has ended.
    pub(super) fn handle_client(&mut self, at: usize, outcome: &Outcome, said: &str, now: Instant) {
        let Some(kept) = self.clients.get_mut(at) else { return };
        kept.life.handle_ended(outcome, &last_words(said), now);
        if kept.life.state == State::Ended {
            let name = kept.settings.name.clone();
            self.decided(format!("client {name} has ended and wants no other start ({outcome})"));
        }
    }

    fn look_at_clients(&mut self) {
        let wrong =
            |kept: &Kept| Some(format!("{CLIENT}{}: {}", kept.settings.name, kept.life.alert()?));
        let wrong = self.clients.iter().filter_map(wrong).collect();
        self.replace_alerts(CLIENT, wrong);
    }

    /// Returns when there is next something to do for a client.
    pub(super) fn next_client_due(&self) -> Option<Instant> {
        let is_leaving = self.engine.is_leaving();
        let dues = self.clients.iter().filter_map(|kept| kept.life.poll_timeout());
        dues.min().filter(|_| !is_leaving)
    }

    /// Stops every client, the last first, and waits for each. Only for a node that has left:
    /// nothing is held any more, so nothing is late.
    pub(super) fn stop_clients(&mut self) {
        for at in (0..self.clients.len()).rev() {
            let mine = |(_, errand): &&(u32, Errand)| *errand == Errand::Client(at);
            let Some(&(id, _)) = self.errands.iter().find(mine) else { continue };
            let limit = self.clients.get(at).map(|kept| kept.settings.stop_limit);
            let until = clock::now() + limit.unwrap_or_default() + PATIENCE;
            // Whoever cannot be asked ends with the executor.
            let _asked = self.executor.submit(&Request::Cancel { id });
            while self.errands.iter().any(|(other, _)| *other == id) {
                let now = clock::now();
                if now.has_reached(until) || self.executor.is_gone() {
                    break;
                }
                self.handle_errands(now);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    pub(super) fn client_reports(&self, now: Instant) -> Vec<ClientReport> {
        self.clients.iter().map(|kept| kept.life.report(&kept.settings.name, now)).collect()
    }
}

/// How alerts on clients begin.
const CLIENT: &str = "client ";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// Lets it run for `lived_ms` and end, and returns when it is started again.
    fn dies(life: &mut Life, lived_ms: u64, outcome: &Outcome) -> Option<Instant> {
        let State::Waiting(due) = life.state else { panic!("{life:?}") };
        assert!(life.is_due(due) && !life.is_due(Instant::from_micros(due.as_micros() - 1)));
        life.handle_started(due);
        assert_eq!(life.report("mon", due).state, "running");
        life.handle_ended(outcome, "", due + Duration::from_millis(lived_ms));
        life.poll_timeout()
    }

    #[test]
    fn eleven_quick_deaths_in_a_row_are_too_many() {
        let mut life = Life::new(at(1));
        for death in 1..=10 {
            assert!(dies(&mut life, 29_999, &Outcome::Exited(0)).is_some(), "death {death}");
        }
        assert_eq!(dies(&mut life, 0, &Outcome::Signalled(11)), None);
        assert_eq!(life.report("mon", life.since).state, "given up");
        let alert = life.alert().unwrap();
        assert!(alert.contains("ended by signal 11; it died 11 times within 30 s"), "{alert}");
    }

    #[test]
    fn one_long_life_makes_good_for_ten_short_ones() {
        let mut life = Life::new(at(1));
        for _ in 0..3 {
            for _ in 0..10 {
                dies(&mut life, 5, &Outcome::Exited(3)).unwrap();
            }
            dies(&mut life, 30_000, &Outcome::Exited(3)).unwrap();
        }
        assert_eq!(life.starts, 33);
    }

    #[test]
    fn status_100_wants_no_other_start() {
        let mut life = Life::new(at(1));
        assert_eq!(dies(&mut life, 5, &Outcome::Exited(100)), None);
        assert_eq!((life.report("mon", at(9)).state.as_str(), life.alert()), ("ended", None));
    }

    #[test]
    fn a_death_is_forgotten_after_a_while_and_not_before() {
        let mut life = Life::new(at(1));
        let due = dies(&mut life, 5, &Outcome::Exited(3)).unwrap();
        assert_eq!(due, at(6) + RETRY);
        assert_eq!(life.alert().as_deref(), Some("exit status 3; it is started again"));
        life.handle_started(due);
        assert_eq!(life.poll_timeout(), Some(due + QUICK));
        life.look(due + Duration::from_millis(29_999));
        assert!(life.alert().is_some());
        life.look(due + QUICK);
        assert_eq!((life.alert(), life.poll_timeout()), (None, None));
    }
}
