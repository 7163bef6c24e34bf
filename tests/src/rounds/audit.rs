//! The audit: what an observer finds who asks the network, the machines and the services, and then
//! compares what the daemons say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use lifesign::demo::client::Client;
use lifesign::demo::observer::SILENCE_US;
use serde_json::Value;

use super::scenery::{DISK, GROUPS, services_of};
use super::stage::{Outcome, PATIENCE_US, Stage};
use super::view::State;
use crate::trial::pause;

/// The processes of one machine.
#[derive(Debug, Default)]
struct Census {
    /// The services, as `GROUP.SERVICE`.
    services: BTreeSet<String>,
    daemons: usize,
    /// The command lines of all else.
    others: Vec<String>,
}

/// The processes of a daemon of a node: itself, its executor and its supervisor.
const PROCESSES_OF_A_NODE: usize = 3;

/// Who is to hold a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Exactly one of these.
    One(Vec<&'static str>),
    /// Nobody: nobody who may has a quorum.
    Nobody,
}

impl Stage {
    /// Returns who is to hold each group. For the one that has to be certain of everybody else,
    /// those are fenced who could hold it.
    pub(super) fn expected(&self) -> Expected {
        let view = self.view();
        let may_hold = |name: &&'static str| view.has_quorum(name) && !view.resting.contains(name);
        let able: Vec<&'static str> = self.shape.nodes().iter().copied().filter(may_hold).collect();
        if able.is_empty() { Expected::Nobody } else { Expected::One(able) }
    }

    /// Returns everything that is not as it is to be, each a sentence.
    pub(super) fn audit(&mut self) -> Vec<String> {
        let is_up = |name: &&'static str| self.state(name) == State::Up;
        let gone = |name: &&'static str| !self.trial.cluster().is_running(name);
        let ended = self.members().into_iter().filter(is_up).filter(gone);
        let mut complaints: Vec<String> =
            ended.map(|name| format!("{name}: its daemon has ended by itself")).collect();
        let mut holders = BTreeMap::new();
        for (index, group) in GROUPS.iter().enumerate() {
            match self.audit_holder(index) {
                Ok(holder) => drop(holders.insert(*group, holder)),
                Err(complaint) => complaints.push(complaint),
            }
        }
        if complaints.is_empty() {
            self.audit_processes(&holders, &mut complaints);
            self.audit_statuses(&holders, &mut complaints);
        }
        if complaints.is_empty() {
            self.audit_reach(&holders, &mut complaints);
        }
        if complaints.is_empty() {
            let holder = holders.get(DISK).copied().flatten();
            complaints.extend(self.audit_fences(holder));
        }
        complaints
    }

    /// Returns who answers for the group to questions that are asked from here on.
    pub(super) fn answering(&self, group: usize) -> Outcome<Vec<&'static str>> {
        let begun_us = self.trial.lab().now_us();
        loop {
            let asked_us = self.trial.lab().now_us();
            let rounds = || self.trial.lab().switch().counters().rounds;
            let before = rounds();
            while rounds() < before + 2 && self.trial.lab().now_us() - asked_us < SILENCE_US {
                pause(1);
            }
            let holders = self.trial.lab().holders(group);
            let named = |name: &&&str| holders.contains(*name);
            let seen = self.shape.nodes().iter().filter(named).copied().collect();
            // Whoever has answered since is still in sight, unless this thread or the switch's was
            // kept from running.
            if rounds() >= before + 2 && self.trial.lab().now_us() - asked_us < SILENCE_US {
                return Ok(seen);
            }
            if self.trial.lab().now_us() - begun_us > PATIENCE_US {
                return Err("the switch does not ask".to_owned());
            }
        }
    }

    /// Returns who answers for a group by the switch, if that may be.
    fn audit_holder(&self, group: usize) -> Outcome<Option<&'static str>> {
        let answering = self.answering(group)?;
        match (self.expected(), answering[..].as_ref()) {
            (Expected::One(able), [holder]) if able.contains(holder) => Ok(Some(*holder)),
            (Expected::Nobody, []) => Ok(None),
            (expected, _) => {
                Err(format!("{}: {answering:?} answer, expected {expected:?}", GROUPS[group]))
            }
        }
    }

    /// Looks at the processes of each machine.
    fn audit_processes(
        &mut self,
        holders: &BTreeMap<&str, Option<&'static str>>,
        complaints: &mut Vec<String>,
    ) {
        for name in self.shape.nodes() {
            let state = self.state(name);
            let census = self.census(name);
            let expected: BTreeSet<String> = holders
                .iter()
                .filter(|(_, holder)| **holder == Some(*name))
                .flat_map(|(group, _)| {
                    services_of(group).iter().map(move |it| format!("{group}.{it}"))
                })
                .collect();
            let daemons = if state == State::Up { PROCESSES_OF_A_NODE } else { 0 };
            // A frozen daemon cannot stop anything, and a live one looks at its services at times.
            if state != State::Frozen
                && (census.services != expected
                    || census.daemons != daemons
                    || state != State::Up && !census.others.is_empty())
            {
                complaints.push(format!(
                    "{name} ({state:?}): expected {expected:?} and {daemons} processes of the \
                     daemon, found {census:?}"
                ));
            }
        }
    }

    fn census(&mut self, name: &str) -> Census {
        let mut census = Census::default();
        let machine = self.trial.cluster_mut().lab_mut().machine(name);
        for id in machine.process_ids().unwrap_or_default() {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let words: Vec<String> = line
                .split(|byte| *byte == 0)
                .filter(|word| !word.is_empty())
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            let (Some(first), Some(last)) = (words.first(), words.last()) else {
                // It has ended meanwhile.
                continue;
            };
            let service = last.strip_suffix(".pipe").and_then(|word| word.split_once('.'));
            if let Some((node, service)) = service.filter(|_| first == "sh") {
                // One of another machine would be as bad as one too many.
                let of_another = if node == name { "" } else { " of another node" };
                census.services.insert(format!("{service}{of_another}"));
            } else if first == &self.trial.cluster().program().display().to_string() {
                census.daemons += 1;
            } else {
                census.others.push(words.join(" "));
            }
        }
        census
    }

    /// Compares what the daemons say with each other and with what was found.
    fn audit_statuses(
        &self,
        holders: &BTreeMap<&str, Option<&'static str>>,
        complaints: &mut Vec<String>,
    ) {
        let mut tokens: BTreeMap<&str, u64> = BTreeMap::new();
        for name in self.shape.nodes() {
            if self.state(name) != State::Up {
                continue;
            }
            let status = self.trial.status(name);
            self.audit_peers(name, &status, complaints);
            for (index, group) in GROUPS.iter().enumerate() {
                let said = &status["groups"][index];
                let Some(holder) = holders.get(group).copied().flatten() else { continue };
                let knows = self.view().hear(name, holder) || *name == holder;
                let role = if *name == holder { "holding" } else { "idle" };
                if knows && (said["holder"] != holder || said["role"] != role) {
                    complaints.push(format!(
                        "{group}: {holder} holds it, and {name} says {} of {} ({})",
                        said["role"], said["holder"], said["reason"]
                    ));
                }
                let token = said["token"].as_u64().unwrap_or_default();
                if knows && *tokens.entry(*group).or_insert(token) != token {
                    complaints
                        .push(format!("{group}: under token {token}, says {name}: {tokens:?}"));
                }
            }
        }
    }

    /// Looks at what `name` says of the others, and at its alerts when all is well.
    fn audit_peers(&self, name: &'static str, status: &Value, complaints: &mut Vec<String>) {
        for peer in self.members().into_iter().filter(|peer| *peer != name) {
            let is_alive = self.state(peer) == State::Up && self.view().hear(name, peer);
            let peers = status["peers"].as_array().into_iter().flatten();
            let said = peers.clone().find(|entry| entry["name"] == peer);
            let state = said.map_or(&Value::Null, |entry| &entry["state"]);
            if (state == "alive") != is_alive {
                complaints.push(format!("{name} says that {peer} is {state}"));
            }
        }
        let alerts = status["alerts"].as_array().map_or(0, Vec::len);
        if self.view().is_whole() && alerts > 0 {
            complaints.push(format!("{name} has alerts: {}", status["alerts"]));
        }
        // Of two halves that a witness hears, it chooses one.
        let has = status["quorum"]["have"] == true;
        if has && !self.view().has_quorum(name) || !has && self.view().is_whole() {
            complaints.push(format!("{name} says of its quorum: {}", status["quorum"]));
        }
    }

    /// Asks for each address as a client does, whose kernel alone decides whom to ask.
    fn audit_reach(
        &mut self,
        holders: &BTreeMap<&str, Option<&'static str>>,
        complaints: &mut Vec<String>,
    ) {
        for (index, group) in GROUPS.iter().enumerate() {
            if holders.get(group).copied().flatten().is_none() {
                continue;
            }
            let address: IpAddr = [10, 77, 0, 100 + u8::try_from(index).unwrap_or(0)].into();
            let machine = self.trial.cluster_mut().lab_mut().machine("client");
            let Ok(client) = Client::start(machine, address) else {
                complaints.push("the client cannot ask".to_owned());
                continue;
            };
            let mut tries = 0;
            while client.last_arrival_us().is_none() && tries < 100 {
                pause(10);
                tries += 1;
            }
            if client.last_arrival_us().is_none() {
                complaints.push(format!("{group}: a client gets no answer"));
            }
        }
    }

    /// Says what ought never to be, if it was.
    pub(super) fn demand_safety(&mut self) -> Outcome {
        let outcome = self.look_for_two();
        self.is_broken |= outcome.is_err();
        outcome
    }

    fn look_for_two(&mut self) -> Outcome {
        for (index, group) in GROUPS.iter().enumerate() {
            let both_us = self.trial.lab().two_holders_us(index, 0, u64::MAX);
            if both_us > 0 {
                return Err(format!("two servers answered for {group} for {both_us} us"));
            }
        }
        let text = fs::read_to_string(self.ledger_path()).unwrap_or_default();
        let broken = self.ledger.read(&text);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
    }
}
