//! A path told step by step, one line an action, with what each host made of it.

use std::fmt::Write;

use lifesign_core::frame::{self, Body, Header, Phase};
use lifesign_core::group::Role;
use lifesign_core::node::{ClusterId, NodeId};
use lifesign_core::time::Instant;

use super::actor::{Message, Parcel};
use super::search::Violation;
use super::setup::{HOSTS, keyring};
use super::stage::Stage;
use super::state::{Action, MESSAGE, State};

/// Returns the path of `violation`, one line an action, and the law it breaks.
pub fn story(stage: &mut Stage, violation: &Violation) -> String {
    let mut state = violation.root.clone();
    let begins = state.at;
    let mut told = String::from("    when  what\n");
    for host in 0..HOSTS {
        let _ = writeln!(told, "          {}", describe(stage, &state, begins, host));
    }
    for action in &violation.path {
        let at = state.at + u16::from(*action == Action::Tick) - begins;
        let _ = writeln!(told, "{at:>8}  {}", name(stage, &state, *action));
        let next = state.step(stage, *action).state;
        for host in 0..HOSTS {
            let before = describe(stage, &state, begins, host);
            let after = describe(stage, &next, begins, host);
            if before != after {
                let _ = writeln!(told, "          {after}");
            }
        }
        state = next;
    }
    let _ = writeln!(told, "          broken: {}", violation.broken);
    told
}

fn name(stage: &Stage, state: &State, action: Action) -> String {
    let message = state.open.first().map(|id| stage.message(id & MESSAGE));
    let message = message.map(parcel).unwrap_or_default();
    match action {
        Action::Deliver => format!("{message} comes"),
        Action::Lose => format!("{message} is lost"),
        Action::Delay => format!("{message} is held up"),
        Action::Copy => format!("{message} comes, and once more later"),
        Action::Tick => "time goes on".into(),
        Action::Cut(cut) => {
            let ways = (0..HOSTS * HOSTS).map(|way| (way / HOSTS, way % HOSTS));
            let cut = ways.filter(|(from, to)| !cut.passes(*from, *to));
            let names: Vec<String> = cut.map(|(from, to)| format!("{from}->{to}")).collect();
            format!("nothing passes from now on over: {}", names.join(" "))
        }
        Action::Pause(host) => format!("host {host} stops to run"),
        Action::Resume(host) => format!("host {host} runs on"),
        Action::Restart(host) => format!("host {host} starts anew"),
        Action::Order(host, order) => format!("host {host} is ordered: {order:?}"),
    }
}

fn parcel(message: &Message) -> String {
    let Message { from, to, parcel } = message;
    let said = match parcel {
        Parcel::Frame(bytes) => (0..=2).find_map(|step| {
            let read = frame::decode::<2, 1>(bytes, ClusterId(7), &keyring(step));
            read.ok().map(|(header, body)| said(&header, &body))
        }),
        Parcel::Step(step) => Some(format!("{step:?}")),
        Parcel::Answer(answer) => Some(format!("{:?}", answer.outcome)),
    };
    format!("{from}->{to} {}", said.unwrap_or_default())
}

fn said(header: &Header, body: &Body<2, 1>) -> String {
    let mut said = format!("frame {}", header.sequence);
    for want in &body.wants {
        let wants = match want.phase {
            Phase::Claiming => "claims",
            Phase::Asking => "asks",
            Phase::Holding => "holds",
            Phase::Offering => "offers",
        };
        let _ = write!(said, ", {wants} under {}", want.token.0);
    }
    for word in &body.words {
        let to = word.to.map_or_else(|| "nobody".into(), |to| short(to).to_string());
        let _ = write!(said, ", promised to {to} under {}", word.token.0);
    }
    for echo in &body.echoes {
        let _ = write!(said, ", heard {}:{}", short(echo.node), echo.sequence);
    }
    said
}

fn describe(stage: &Stage, state: &State, begins: u16, host: usize) -> String {
    let (actor, summary) = (stage.actor(state.actors[host]), stage.summary(state.actors[host]));
    let units = |moment: Instant| {
        let start = stage.setup.local(host, 0);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let units = moment.since(start).as_micros() as f64 / stage.setup.rates[host] as f64;
        units - f64::from(begins)
    };
    let mut told = format!("host {host}:");
    let _ = match actor.role() {
        Some(Role::Idle) => write!(told, " idle"),
        Some(Role::Claiming(claim)) => write!(told, " claims under {}", claim.token.0),
        Some(role) => {
            write!(told, " holds under {}", role.token().map_or(0, |token| token.0))
        }
        None if stage.is_running(state.actors[host]) => write!(told, " witness"),
        None => write!(told, " off"),
    };
    for (to, token, until) in &summary.promises {
        let (to, until) = (short(*to), units(*until));
        let _ = write!(told, ", promised to {to} under {} until {until:.2}", token.0);
    }
    if let Some(answering) = summary.answering {
        let (token, until) = (answering.token.0, units(answering.until));
        let _ = write!(told, ", answers under {token} until {until:.2}");
    }
    told
}

fn short(node: NodeId) -> u8 {
    if node.is_witness() { 2 } else { node.number() }
}
