//! Fencing: who could still be holding a group is made silent before it starts here.
//!
//! The engine says which start of which server a claim waits for, [`Pursuit`] what to do about it
//! next. Agents are run by the executor; a dongle's reset line is asked for in
//! [`fence`](super::fence). What has ended stays to be told, the last of each server, by `told`.

pub(super) mod told;

use lifesign_core::engine::{Condition, Engine};
use lifesign_core::fence::{Answer, Deed, Pursuit, Stage};
use lifesign_core::group::{GroupId, Role, Token};
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::time::Instant;

use self::told::Ended;
use super::{Daemon, Errand};
use crate::agent::fence::{deed_word, fences_of, has_line, judge, means_against};
use crate::control::Response;
use crate::executor::message::{Outcome, Request, last_words};
use crate::page::span;

/// Alerts on fencing begin with `GROUP: SERVER` and one of these.
pub(super) const MUST_BE_FENCED: &str = " must be fenced";
pub(super) const NOT_FENCED_BY: &str = " is not fenced by";
pub(super) const NOT_RESET: &str = " is not reset";

/// One start of one server that is being fenced, for those claims that wait for it.
#[derive(Debug)]
pub(super) struct Chase {
    pursuit: Pursuit,
    claims: Vec<(GroupId, Token)>,
    /// The group that began it.
    group: GroupId,
    /// An agent runs and has not ended.
    is_running: bool,
    /// It was told to end, because the server is back.
    is_cancelled: bool,
    /// What failed last.
    failure: Option<String>,
    /// When what is being done began.
    since: Instant,
}

impl Chase {
    fn is_of(&self, target: NodeId, boot: Option<BootId>) -> bool {
        (self.pursuit.target(), self.pursuit.boot()) == (target, boot)
    }
}

impl Daemon {
    /// Begins to make certain that `node` is silent, for `group`.
    pub(super) fn fence(
        &mut self,
        group: GroupId,
        node: NodeId,
        boot: Option<BootId>,
        now: Instant,
    ) {
        let (name, target) = (self.group_name(group.index()), self.settings.name_of(node));
        let Some(token) = self.engine.group(group).and_then(|state| state.role().token()) else {
            return;
        };
        let means = means_against(&self.settings, node);
        if means.is_empty() {
            self.alert(format!(
                "{name}: {target}{MUST_BE_FENCED} before it can start here, and nothing can fence \
                 {target}: when it is certainly off, say `lifesign fence confirm {target}`"
            ));
        }
        if has_line(&self.settings, node) {
            self.ask_dongle(group, token, (node, boot), now);
        }
        let at = self.pursuits.iter().position(|chase| chase.is_of(node, boot));
        let at = at.unwrap_or_else(|| {
            self.pursuits.push(Chase {
                pursuit: Pursuit::new(node, boot, means.into_iter()),
                claims: Vec::new(),
                group,
                is_running: false,
                is_cancelled: false,
                failure: None,
                since: now,
            });
            self.pursuits.len() - 1
        });
        if let Some(chase) =
            self.pursuits.get_mut(at).filter(|chase| !chase.claims.contains(&(group, token)))
        {
            chase.claims.push((group, token));
        }
    }

    /// Goes on with everybody who is being fenced.
    pub(super) fn go_on_fencing(&mut self, now: Instant) {
        self.keep_pursuits();
        for at in 0..self.pursuits.len() {
            self.go_on_with(at, now);
        }
        self.go_on_with_lines(now);
    }

    /// Forgets whom nobody waits for any more, and ends agents against whoever has come back.
    fn keep_pursuits(&mut self) {
        let (engine, executor, errands) = (&self.engine, &mut self.executor, &self.errands);
        self.pursuits.retain_mut(|chase| {
            let (target, boot) = (chase.pursuit.target(), chase.pursuit.boot());
            chase.claims.retain(|(group, token)| is_claiming(engine, *group, *token));
            let condition = engine.condition(target);
            let is_waiting = chase
                .claims
                .iter()
                .any(|(group, token)| engine.waits_for_fence(*group, *token, target));
            let is_back = matches!(condition, Condition::Alive(_) | Condition::Left(_));
            let errand = Errand::Fence { target, boot };
            if chase.is_running && is_back && !is_waiting && !chase.is_cancelled {
                let id = errands.iter().find(|(_, other)| *other == errand).map(|(id, _)| *id);
                // One that cannot be cancelled ends at its limit.
                chase.is_cancelled =
                    id.is_some_and(|id| executor.submit(&Request::Cancel { id }).is_ok());
            }
            let is_meant = condition.start_to_fence() == Some(boot) && !chase.claims.is_empty();
            chase.is_running || is_meant
        });
    }

    /// Returns whether a claim waits for nothing but this, and no other start of the server is
    /// being fenced.
    fn is_wanted(&self, at: usize) -> bool {
        let Some(chase) = self.pursuits.get(at) else { return false };
        let target = chase.pursuit.target();
        let mut others = self.pursuits.iter().enumerate();
        let is_busy = others.any(|(other, chase)| {
            other != at && chase.pursuit.target() == target && chase.is_running
        });
        let waits =
            |(group, token): &(GroupId, Token)| self.engine.waits_for_fence(*group, *token, target);
        let is_same = self.engine.condition(target).start_to_fence() == Some(chase.pursuit.boot());
        is_same && !is_busy && chase.claims.iter().any(waits)
    }

    /// Returns whether the dongle's turn has come to reset this start of a server.
    pub(super) fn is_at_line(&self, target: NodeId, boot: Option<BootId>) -> bool {
        let chase = self.pursuits.iter().find(|chase| chase.is_of(target, boot));
        chase.is_some_and(|chase| matches!(chase.pursuit.stage(), Stage::Line(_)))
    }

    fn go_on_with(&mut self, at: usize, now: Instant) {
        let is_wanted = self.is_wanted(at);
        let Some(chase) = self.pursuits.get_mut(at) else { return };
        let Some(order) = chase.pursuit.poll_order(is_wanted, now) else { return };
        if chase.is_running {
            return;
        }
        let (target, boot) = (chase.pursuit.target(), chase.pursuit.boot());
        let group = chase.claims.first().map_or(chase.group, |(group, _)| *group);
        chase.group = group;
        if order.deed != Deed::Status {
            chase.since = now;
        }
        let name = self.settings.name_of(target);
        let fence = fences_of(&self.settings, target).get(usize::from(order.means));
        let asked = fence.and_then(|fence| {
            Some((fence.command(order.deed, &name, order.limit)?, fence.kind.to_string()))
        });
        let errand = Errand::Fence { target, boot };
        let sent = asked.map(|(command, kind)| {
            let sent = self.send_errand(errand, |id| Request::Run { id, command });
            (sent.is_ok(), kind)
        });
        let Some(chase) = self.pursuits.get_mut(at) else { return };
        match sent {
            Some((true, kind)) => {
                chase.is_running = true;
                chase.is_cancelled = false;
                let group = self.group_name(group.index());
                if let Some(what) = wish_word(order.deed) {
                    self.decided(format!(
                        "{group}: asks {kind} to {what} {name}, which could be holding it"
                    ));
                }
            }
            Some((false, _)) => chase.pursuit.handle_not_begun(),
            None => chase.pursuit.handle_answer(Answer::Failed, now),
        }
    }

    /// Takes in how an agent has ended.
    pub(super) fn handle_fence(
        &mut self,
        (target, boot): (NodeId, Option<BootId>),
        outcome: &Outcome,
        output: &str,
        now: Instant,
    ) {
        let Some(at) = self.pursuits.iter().position(|chase| chase.is_of(target, boot)) else {
            return;
        };
        let chase = &mut self.pursuits[at];
        chase.is_running = false;
        let Stage::Running(order, _) = chase.pursuit.stage() else { return };
        let (answer, said) = judge(order.deed, outcome);
        let is_cancelled = chase.is_cancelled && *outcome == Outcome::Cancelled;
        chase.pursuit.handle_answer(answer, now);
        let stage = chase.pursuit.stage();
        let (group, took) = (chase.group, now.since(chase.since));
        let proof = chase.pursuit.proof(self.engine.condition(target));
        let by = self.agent_of(target, order.means);
        let what = format!("{} {said}{}", deed_word(order.deed), last_words(output));
        let text = format!("{by} {what}");
        if matches!(stage, Stage::Ready) && matches!(answer, Answer::Done | Answer::IsOff) {
            return;
        }
        let is_fenced = stage == Stage::Done;
        let (name, to) = (self.group_name(group.index()), self.settings.name_of(target));
        let ended = Ended { node: target, group, by, is_fenced, text: text.clone(), at: now, took };
        if is_cancelled {
            self.remember(ended);
            self.decided(format!("{to} is back, so {text}"));
        } else if !is_fenced {
            if let Some(chase) = self.pursuits.get_mut(at) {
                chase.failure = Some(text);
            }
            let start = format!("{name}: {to}{NOT_FENCED_BY} {}: ", ended.by);
            self.replace_alerts(&start, vec![format!("{start}{what}")]);
            self.remember(ended);
        } else {
            self.remember(ended);
            self.end_pursuit(at, proof, &format!("{text}, after {}", span(took.as_millis())), now);
        }
    }

    /// A pursuit has reached its end: the engine is told if that is still of use.
    fn end_pursuit(
        &mut self,
        at: usize,
        proof: Option<(NodeId, Option<BootId>)>,
        text: &str,
        now: Instant,
    ) {
        let chase = self.pursuits.swap_remove(at);
        let target = chase.pursuit.target();
        let (name, to) = (self.group_name(chase.group.index()), self.settings.name_of(target));
        for means in chase.pursuit.to_switch_on() {
            self.switch_on(target, means);
        }
        match proof {
            Some((node, boot)) => {
                self.decided(format!("{name}: {to} is fenced: {text}"));
                self.tell_fenced(target, text);
                self.engine.handle_fenced(node, boot, now);
            }
            None => self.decided(format!(
                "{text}: that says nothing of {to}, which has started again since"
            )),
        }
    }

    /// A dongle has pulled the reset line, or refuses for good.
    pub(super) fn handle_line(
        &mut self,
        (target, boot): (NodeId, Option<BootId>),
        group: GroupId,
        is_pulled: bool,
        (by, text): (String, String),
        now: Instant,
    ) {
        let Some(at) = self.pursuits.iter().position(|chase| chase.is_of(target, boot)) else {
            return;
        };
        let Some(chase) = self.pursuits.get_mut(at) else { return };
        chase.pursuit.handle_line(is_pulled, now);
        let took = now.since(chase.since);
        if !is_pulled {
            chase.failure = Some(text.clone());
        } else {
            if !chase.is_running {
                self.pursuits.swap_remove(at);
            }
            self.tell_fenced(target, &text);
        }
        let ended = Ended { node: target, group, by, is_fenced: is_pulled, text, at: now, took };
        self.remember(ended);
    }

    /// Switches a power supply on again that was switched off together with others.
    fn switch_on(&mut self, target: NodeId, means: u8) {
        let name = self.settings.name_of(target);
        let Some(fence) = fences_of(&self.settings, target).get(usize::from(means)) else { return };
        let Some(command) = fence.command(Deed::On, &name, fence.limit) else { return };
        let errand = Errand::PowerOn { target, means };
        if let Err(error) = self.send_errand(errand, |id| Request::Run { id, command }) {
            self.alert(format!("{name} is not switched on again: {error}"));
        }
    }

    /// Takes in how switching on has ended.
    pub(super) fn handle_power_on(
        &mut self,
        target: NodeId,
        means: u8,
        outcome: &Outcome,
        output: &str,
    ) {
        let (name, by) = (self.settings.name_of(target), self.agent_of(target, means));
        let start = format!("{name} is not switched on again by {by}");
        if judge(Deed::On, outcome).0 == Answer::Done {
            self.all_clear(&start);
            self.decided(format!("{by} has switched {name} on again"));
        } else {
            let words = last_words(output);
            self.replace_alerts(&start, vec![format!("{start}: {outcome}{words}")]);
        }
    }

    /// Takes a person's word that `name` is off in the start `boot`, which is in hexadecimal.
    pub(super) fn order_confirm(&mut self, name: &str, boot: &str, now: Instant) -> Response {
        let node = match self.settings.known_node(name) {
            Ok(node) => node,
            Err(unknown) => return Response::refused(unknown),
        };
        let is_it = |chase: &Chase| chase.pursuit.target() == node;
        let Some(at) = (0..self.pursuits.len())
            .find(|at| self.pursuits.get(*at).is_some_and(is_it) && self.is_wanted(*at))
        else {
            return Response::refused(format!("nothing here waits for {name} to be fenced"));
        };
        let chase = &self.pursuits[at];
        if boot_text(chase.pursuit.boot()) != boot {
            return Response::refused(format!(
                "{name} has started again since you were asked; look, and confirm again"
            ));
        }
        let (group, boot, took) = (chase.group, chase.pursuit.boot(), now.since(chase.since));
        let text = "a person has made certain that it is off".to_owned();
        let by = "a person".to_owned();
        self.remember(Ended { node, group, by, is_fenced: true, text, at: now, took });
        let group = self.group_name(group.index());
        self.decided(format!("{group}: {name} is fenced: the operator says that it is off"));
        self.tell_fenced(node, "the operator says that it is off");
        self.engine.handle_fenced(node, boot, now);
        Response::Accepted { wait_ms: 0 }
    }

    fn agent_of(&self, target: NodeId, means: u8) -> String {
        let fence = fences_of(&self.settings, target).get(usize::from(means));
        fence.map_or_else(|| "dongle".to_owned(), |fence| fence.kind.to_string())
    }

    /// Returns when there is something to do against somebody by itself.
    pub(super) fn next_pursuit(&self) -> Option<Instant> {
        self.pursuits.iter().filter_map(|chase| chase.pursuit.poll_timeout()).min()
    }
}

/// Returns whether `group` is claimed here under `token`.
pub(super) fn is_claiming(engine: &Engine, group: GroupId, token: Token) -> bool {
    let role = engine.group(group).map(|state| state.role());
    matches!(role, Some(Role::Claiming(claim)) if claim.token == token)
}

/// Returns a start as machines are told of it: hexadecimal, or `none` if none is known.
pub(super) fn boot_text(boot: Option<BootId>) -> String {
    boot.map_or_else(|| "none".to_owned(), |boot| format!("{:016x}", boot.bits()))
}

/// Returns what an agent is asked, if that is worth a line.
const fn wish_word(deed: Deed) -> Option<&'static str> {
    match deed {
        Deed::Off => Some("switch off"),
        Deed::Reboot => Some("reboot"),
        Deed::On => Some("switch on"),
        Deed::Status => None,
    }
}
