//! What the daemon tells those who ask at its control socket, and the orders it takes there.

use std::collections::BTreeMap;

use lifesign_core::engine::{Condition, Group as State, Obstacle};
use lifesign_core::group::{GroupId, Guard, Reason, Role};
use lifesign_core::member::Rejected;
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::quorum::{Answer, Module};
use lifesign_core::time::{Duration, Instant};

use super::Daemon;
use super::wake::{Ready, Source};
use crate::control::{Command, Request, Response};
use crate::explain;
use crate::report::{
    Alert, Decision, EnforcerReport, GroupReport, GroupRole, LinkReport, ModuleReport, NodeState,
    PeerKind, PeerLinkReport, PeerReport, PeerState, QuorumReport, Report, ServiceReport, VERSION,
    millis,
};
use crate::settings::{Group, Link, LinkKind};

/// How often those who watch are told.
const WATCH: Duration = Duration::from_millis(1000);

impl Daemon {
    /// Answers what is asked at the control socket.
    pub(super) fn handle_requests(&mut self, ready: Ready, now: Instant) {
        let is_due = self.control.poll_timeout().is_some_and(|due| now.has_reached(due));
        if is_due || ready.has(Source::Control) {
            self.control.handle_ready(now);
        }
        while let Some((connection, request)) = self.control.poll_request() {
            let response = self.answer(&request, now);
            self.control.answer(connection, &response, now);
        }
        if now.has_reached(self.watch_at) {
            self.watch_at = now + WATCH;
            let watchers: Vec<_> = self.control.watchers().collect();
            if !watchers.is_empty() {
                let response = Response::Report { report: Box::new(self.report(now)) };
                for connection in watchers {
                    self.control.answer(connection, &response, now);
                }
            }
        }
    }

    /// Returns when those who watch are told again.
    pub(super) fn next_watch(&self) -> Option<Instant> {
        self.control.watchers().next().map(|_| self.watch_at)
    }

    fn answer(&mut self, request: &Request, now: Instant) -> Response {
        let group = match &request.group {
            None => None,
            Some(name) => match self.settings.group(name) {
                Some(group) => Some(group),
                None => return Response::refused(format!("there is no group \"{name}\"")),
            },
        };
        match request.command {
            Command::Status | Command::Why | Command::Watch => {
                Response::Report { report: Box::new(self.report(now)) }
            }
            Command::Standby => self.order_standby(group, now),
            Command::Takeover => self.order_takeover(group, now),
        }
    }

    fn order_standby(&mut self, group: Option<GroupId>, now: Instant) -> Response {
        if self.engine.is_leaving() {
            return Response::refused("this node is leaving already");
        }
        let what =
            group.map_or_else(|| "everything".to_owned(), |group| self.group_name(group.index()));
        self.decided(format!("standby for {what}, as the operator asks"));
        self.engine.handle_standby(group, now);
        self.accepted(group)
    }

    fn order_takeover(&mut self, group: Option<GroupId>, now: Instant) -> Response {
        if self.engine.is_leaving() {
            return Response::refused("this node is leaving");
        }
        if group.is_some() && self.engine.is_standby() {
            return Response::refused(
                "this node is in standby as a whole; `lifesign takeover` without a group ends that",
            );
        }
        let what =
            group.map_or_else(|| "everything".to_owned(), |group| self.group_name(group.index()));
        self.decided(format!("takes over {what}, as the operator asks"));
        self.engine.handle_takeover(group, now);
        // A single group that is not even claimed now has something of its own in the way.
        if let Some(group) = group
            && self.engine.group(group).is_some_and(|state| state.role() == Role::Idle)
            && let Some(obstacle) = self.engine.obstacle(group)
        {
            return Response::refused(self.explained(group, &obstacle).what);
        }
        self.accepted(group)
    }

    /// Returns the answer that a move will be tried, with the longest time it may take.
    fn accepted(&self, group: Option<GroupId>) -> Response {
        let groups =
            self.settings.groups().filter(|(id, _)| group.is_none_or(|group| group == *id));
        let longest = groups.map(|(_, group)| {
            let limits =
                group.services.iter().map(|service| service.start_limit + service.stop_limit);
            limits.fold(group.conflict_probe, |sum, limit| sum + limit)
        });
        let services = longest.max().unwrap_or_default();
        let wait = self.settings.timing.offer + self.settings.timing.dead.times(4) + services;
        Response::Accepted { wait_ms: wait.as_millis() }
    }

    fn explained(&self, group: GroupId, obstacle: &Obstacle) -> explain::Explanation {
        if *obstacle == Obstacle::Unable
            && let Some(what) = self.ip_side_text(self.engine.now())
        {
            return explain::cut_off(what);
        }
        let name = |node| self.settings.name_of(node);
        let mut explained = explain::obstacle(obstacle, &name, self.engine.now());
        if let Obstacle::Unfenced(node) = obstacle {
            explained.what = format!("{}; {}", explained.what, self.reset_state(group, *node));
        }
        explained
    }

    /// Returns a reason of the engine as a sentence.
    pub(super) fn reason_text(&self, reason: Reason) -> String {
        let side = self.ip_side_text(self.engine.now()).filter(|_| reason == Reason::Unable);
        side.unwrap_or_else(|| explain::reason(reason, &|node| self.settings.name_of(node)))
    }

    fn report(&self, now: Instant) -> Report {
        let age = |since: Instant| now.since(since).as_millis();
        let enforcer = self.addresses.enforcer();
        let refused = self.addresses.refusals().iter();
        Report {
            version: VERSION,
            node: self.settings.name_of(self.me),
            cluster: self.settings.cluster.clone(),
            state: self.state(),
            uptime_ms: age(self.started),
            digest: format!("{:08x}", self.engine.config().digest),
            quorum: self.quorum_report(),
            groups: self
                .settings
                .groups()
                .filter_map(|(id, group)| self.group_report(id, group, now))
                .collect(),
            peers: self
                .settings
                .members()
                .filter(|(node, _)| *node != self.me)
                .map(|(node, _)| self.peer_report(node, now))
                .collect(),
            links: self
                .settings
                .links()
                .map(|(id, link)| self.link_report(id, link, now))
                .collect(),
            fencing: self.fence_reports(now),
            ip_side: self.ip_side_report(now),
            alerts: self
                .alerts
                .list
                .iter()
                .map(|(since, text)| Alert { text: text.clone(), since_ms: age(*since) })
                .collect(),
            scheduling: self.obtained.to_string(),
            enforcer: EnforcerReport {
                name: enforcer.to_string(),
                overshoot_us: enforcer.overshoot_us(),
                refused: refused
                    .map(|refusal| format!("{}: {}", refusal.enforcer, refusal.reason))
                    .collect(),
            },
            decisions: self
                .decisions
                .iter()
                .map(|(at, text)| Decision { ago_ms: age(*at), text: text.clone() })
                .collect(),
        }
    }

    fn state(&self) -> NodeState {
        let (engine, now) = (&self.engine, self.engine.now());
        if engine.is_leaving() {
            NodeState::Leaving
        } else if !now.has_reached(
            engine.member().voter.ready().max(self.started + self.settings.timing.settle),
        ) {
            NodeState::Booting
        } else if engine.is_standby() {
            NodeState::Standby
        } else {
            NodeState::Online
        }
    }

    fn quorum_report(&self) -> QuorumReport {
        let quorum = &self.settings.quorum;
        let alive = self.engine.member().peers.alive().with(self.me);
        let mut is_decided = false;
        let modules = quorum.modules().iter().map(|module| {
            let answer = match quorum.ask(*module, alive) {
                _ if is_decided => "not asked",
                Answer::Have => "have",
                Answer::No => "no",
                Answer::Tie => "tie",
            };
            is_decided |= answer == "have" || answer == "no";
            let name = match module {
                Module::Majority => "majority",
                Module::Witness => "witness",
                Module::TwoNodes => "two-nodes",
            };
            ModuleReport { name: name.to_owned(), answer: answer.to_owned() }
        });
        QuorumReport {
            modules: modules.collect(),
            have: quorum.is_met_by(alive),
            votes: quorum.count(alive),
            total: quorum.total(),
        }
    }

    fn group_report(&self, id: GroupId, group: &Group, now: Instant) -> Option<GroupReport> {
        let state = self.engine.group(id)?;
        let (reason, since) = state.reason();
        let obstacle = self.engine.obstacle(id).map(|obstacle| self.explained(id, &obstacle));
        let needs = state.role().needs_authority();
        let end = self.engine.authority_end(id).filter(|_| needs);
        let services = self
            .groups
            .get(id.index())
            .map(|holding| holding.services.as_slice())
            .unwrap_or_default();
        let named = group.services.iter().zip(services);
        let name = |node: &NodeId| self.settings.name_of(*node);
        Some(GroupReport {
            name: group.name.clone(),
            guard: match group.guard {
                Guard::Address => "address",
                Guard::Stop => "stop",
                Guard::Fence => "fence",
            }
            .to_owned(),
            role: role(state),
            holder: self.holder(id).map(|node| self.settings.name_of(node)),
            token: state.largest_token().0,
            addresses: group
                .addresses
                .iter()
                .map(|address| format!("{}/{}", address.ip, address.prefix))
                .collect(),
            nodes: group.prefer.iter().map(name).collect(),
            reason: self.reason_text(reason),
            since_ms: now.since(since).as_millis(),
            authority_left_ms: end.map(|end| millis(end.since(now).as_micros())),
            voters: self.voters(id, state, now),
            obstacle: obstacle.as_ref().map(|explained| explained.what.clone()),
            would_change: obstacle.map(|explained| explained.would_change).unwrap_or_default(),
            services: named
                .map(|(service, state)| ServiceReport {
                    name: service.name.clone(),
                    state: state.clone(),
                })
                .collect(),
        })
    }

    /// Returns who holds `group`, as far as this node knows.
    fn holder(&self, group: GroupId) -> Option<NodeId> {
        if self.engine.group(group)?.role().is_up() {
            return Some(self.me);
        }
        let mut sessions = self.engine.member().peers.sessions();
        let holds = |body: &lifesign_core::frame::Body| {
            body.want(group).is_some_and(|want| want.phase.is_held())
        };
        sessions.find_map(|(node, session)| holds(&session.body).then_some(node))
    }

    fn peer_report(&self, node: NodeId, now: Instant) -> PeerReport {
        let member = self.engine.member();
        let (peer, session) = (member.peers.get(node), member.peers.session(node));
        let (state, boot) = match self.engine.condition(node) {
            Condition::Unmet => (PeerState::Unmet, None),
            Condition::Alive(boot) => (PeerState::Alive, Some(boot)),
            Condition::Lost(boot) => (PeerState::Lost, Some(boot)),
            Condition::Left(boot) => (PeerState::Left, Some(boot)),
        };
        let heard_unproven = session.is_none()
            && peer.is_some_and(|peer| peer.echo(node, member.peers.dead(), now).is_some());
        let heard = LinkId::all().filter_map(|link| peer?.link(link)?.expectation.heard()).max();
        let hears = session
            .and_then(|session| session.body.echo_of(self.me))
            .map(|echo| echo.links)
            .unwrap_or_default();
        let ways = self.settings.links().filter(|(_, link)| link.reaches(node));
        let links = ways.filter_map(|(id, link)| {
            let seen = peer?.link(id)?.expectation;
            Some(PeerLinkReport {
                link: link.name.clone(),
                heard_ms: seen.heard().map(|heard| millis(now.since(heard).as_micros())),
                heard: seen.is_fresh(member.peers.dead(), now),
                // A witness numbers its own links; it answers over the one it hears.
                hears_us: hears.contains(id)
                    || (node.is_witness()
                        && !hears.is_empty()
                        && seen.is_fresh(member.peers.dead(), now)),
                lateness: seen.lateness().into(),
            })
        });
        let digest = self.engine.config().digest.to_le_bytes();
        PeerReport {
            name: self.settings.name_of(node),
            kind: if node.is_witness() { PeerKind::Witness } else { PeerKind::Node },
            state: if heard_unproven && state != PeerState::Left {
                PeerState::OneWay
            } else {
                state
            },
            boot: boot.map(|boot: BootId| format!("{:016x}", boot.bits())),
            silent_ms: heard.map(|heard| millis(now.since(heard).as_micros())),
            links: links.collect(),
            rejected_reported: session.map_or(0, |session| session.body.suspicious.into()),
            settings_agree: session
                .filter(|_| !node.is_witness())
                .map(|session| session.body.digest == digest),
        }
    }

    fn link_report(&self, id: LinkId, settings: &Link, now: Instant) -> LinkReport {
        let counters = self.engine.member().counters(id);
        let kinds = Rejected::names().into_iter().zip(counters.rejected);
        let rejected: BTreeMap<String, u64> = kinds
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        let (state, statistics) = match self.links.get(id.index()) {
            Some(link) => (link.state().to_string(), link.statistics().clone()),
            None => ("closed".to_owned(), crate::link::Statistics::default()),
        };
        LinkReport {
            name: settings.name.clone(),
            kind: match settings.kind {
                LinkKind::Udp(_) => "udp",
                LinkKind::Serial(_) => "serial",
            }
            .to_owned(),
            state,
            adapter: settings.place(self.me),
            speed: settings.serial().map(|serial| serial.speed),
            ports: self.port_reports(id, now),
            dongle: self.dongle_report(id, now),
            sent: statistics.sent,
            received: statistics.received,
            bytes: statistics.bytes_sent + statistics.bytes_received,
            drops: statistics.kernel_drops + statistics.send_failures.total(),
            rejected,
        }
    }
}

const fn role(state: &State) -> GroupRole {
    match state.role() {
        Role::Idle => GroupRole::Idle,
        Role::Claiming(_) => GroupRole::Claiming,
        Role::Starting(_) => GroupRole::Starting,
        Role::Holding { offered_until: Some(_), .. } => GroupRole::Offering,
        Role::Holding { .. } => GroupRole::Holding,
        Role::Stopping(_) => GroupRole::Stopping,
        Role::Stuck(_) => GroupRole::Stuck,
    }
}
