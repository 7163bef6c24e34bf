//! What the daemon tells those who ask at its control socket, and the orders it takes there.

use std::collections::BTreeMap;

use lifesign_core::group::{GroupId, Role};
use lifesign_core::member::Rejected;
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::time::{Duration, Instant};

use super::Daemon;
use super::wake::{Ready, Source};
use crate::control::{Command, Picture, Request, Response};
use crate::explain::Penalty;
use crate::report::{
    Alert, Decision, EnforcerReport, GroupReport, LinkReport, NodeState, Report, VERSION,
};
use crate::settings::{Group, Link, LinkKind};
use crate::view::{Surroundings, View};

impl Daemon {
    /// Answers what is asked at the control socket.
    pub(super) fn handle_requests(&mut self, ready: Ready, now: Instant) {
        let is_due = self.control.poll_timeout().is_some_and(|due| now.has_reached(due));
        if is_due || ready.has(Source::Control) {
            self.control.handle_ready(now);
        }
        while let Some((connection, request)) = self.control.poll_request() {
            match self.answer(&request, now) {
                Some(response) => self.control.answer(connection, &response, now),
                None => self.control.watch(connection, &request, now),
            }
        }
    }

    /// Tells those who watch what has happened in this turn.
    pub(super) fn tell_watchers(&mut self, now: Instant) {
        let picture = self.control.needs_picture().then(|| {
            self.note_telling(now);
            Picture::Report(Box::new(self.report(now)))
        });
        self.control.tell_watchers(picture, now);
    }

    /// Returns the answer to what is asked, or `None` if it is to watch.
    fn answer(&mut self, request: &Request, now: Instant) -> Option<Response> {
        let group = match &request.group {
            None => None,
            Some(name) => match self.settings.known_group(name) {
                Ok(group) => Some(group),
                Err(unknown) => return Some(Response::refused(unknown)),
            },
        };
        Some(match request.command {
            Command::Watch => return None,
            Command::Status | Command::Why => {
                self.note_telling(now);
                Response::Report { report: Box::new(self.report(now)) }
            }
            Command::Standby => self.order_standby(group, now),
            Command::Takeover => self.order_takeover(group, now),
            Command::Confirm => {
                let (node, boot) = (request.node.as_deref(), request.boot.as_deref());
                self.order_confirm(node.unwrap_or_default(), boot.unwrap_or_default(), now)
            }
            Command::Maintain
            | Command::Resume
            | Command::Disable
            | Command::Enable
            | Command::Move => self.order_word(request, group, now),
        })
    }

    fn order_standby(&mut self, group: Option<GroupId>, now: Instant) -> Response {
        if self.engine.is_leaving() {
            return Response::refused("this node is leaving already");
        }
        let settings = group.and_then(|group| self.settings.groups.get(group.index()));
        if let Some(group) = settings
            && let Some(leader) = group.with
        {
            let (name, leader) = (&group.name, self.group_name(leader.index()));
            return Response::refused(format!(
                "{name} follows {leader}: `lifesign standby {leader}` sends both away"
            ));
        }
        if let Some(refusal) = self.kept_by_maintenance(group) {
            return refusal;
        }
        self.decided(self.view().standby_text(group));
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
        if let Some(refusal) = self.kept_by_maintenance(group) {
            return refusal;
        }
        self.decided(self.view().takeover_text(group));
        self.clear_failures(group, now);
        self.engine.handle_takeover(group, now);
        // A single group that is not even claimed now has something of its own in the way.
        if let Some(group) = group
            && self.engine.group(group).is_some_and(|state| state.role() == Role::Idle)
            && let Some(obstacle) = self.engine.obstacle(group)
        {
            return Response::refused(self.view().explained(group, &obstacle).what);
        }
        self.accepted(group)
    }

    /// Returns the answer that a move will be tried.
    fn accepted(&self, group: Option<GroupId>) -> Response {
        Response::Accepted { wait_ms: self.patience(group).as_millis() }
    }

    /// Returns the longest that a move of `group`, or of all groups, may take.
    pub(super) fn patience(&self, group: Option<GroupId>) -> Duration {
        let limits = |group: &Group| {
            let limits =
                group.services.iter().map(|service| service.start_limit + service.stop_limit);
            limits.fold(group.conflict_probe, |sum, limit| sum + limit)
        };
        let groups =
            self.settings.groups().filter(|(id, _)| group.is_none_or(|group| group == *id));
        let longest = groups.map(|(_, group)| limits(group)).max().unwrap_or_default();
        // Others may have to stop first.
        let placed = |group: &&Group| group.with.is_some() || !group.apart.is_empty();
        let others = self.settings.groups.iter().filter(placed).map(limits);
        let services = others.fold(longest, |sum, limit| sum + limit);
        self.settings.timing.offer + self.settings.timing.dead.times(4) + services
    }

    /// Returns the engine with everything that its words need.
    pub(super) fn view(&self) -> View<'_> {
        View { settings: &self.settings, engine: &self.engine, around: self }
    }

    fn report(&self, now: Instant) -> Report {
        let view = self.view();
        let age = |since: Instant| now.since(since).as_millis();
        Report {
            version: VERSION,
            node: self.settings.name_of(self.me),
            cluster: self.settings.cluster.clone(),
            state: self.state(),
            uptime_ms: age(self.started),
            digest: format!("{:08x}", self.engine.config().digest),
            quorum: view.quorum_report(),
            groups: self
                .settings
                .groups()
                .filter_map(|(id, group)| {
                    let services = self.groups.get(id.index()).map(|held| held.services.as_slice());
                    let told = view.group_report(id, group, services.unwrap_or_default(), now)?;
                    Some(GroupReport { failures: self.failures_report(id.index(), now), ..told })
                })
                .collect(),
            peers: self
                .settings
                .members()
                .filter(|(node, _)| *node != self.me)
                .map(|(node, _)| view.peer_report(node, now))
                .collect(),
            links: self
                .settings
                .links()
                .map(|(id, link)| self.link_report(id, link, now))
                .collect(),
            fencing: self.fence_reports(now),
            fenced: self.fenced_reports(now),
            ip_side: self.ip_side_report(now),
            networks: self.network_reports(now),
            at_us: now.as_micros(),
            word: self.word_report(now),
            recording: self.recording_report(),
            clients: self.client_reports(now),
            watchdog: self.watchdog_report(now),
            connections: self.connections_report(),
            alerts: self
                .alerts
                .list
                .iter()
                .map(|(since, text)| Alert { text: text.clone(), since_ms: age(*since) })
                .collect(),
            timing: (&self.settings.timing).into(),
            scheduling: self.obtained.to_string(),
            enforcer: self.enforcer_report(),
            decisions: self
                .decisions
                .iter()
                .map(|(at, text)| Decision { ago_ms: age(*at), text: text.clone() })
                .collect(),
        }
    }

    fn enforcer_report(&self) -> EnforcerReport {
        let enforcer = self.addresses.enforcer();
        let refused = self.addresses.refusals().iter();
        EnforcerReport {
            name: enforcer.to_string(),
            overshoot_us: enforcer.overshoot_us(),
            refused: refused
                .map(|refusal| format!("{}: {}", refusal.enforcer, refusal.reason))
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
                LinkKind::Ether(_) => "ether",
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

impl Surroundings for Daemon {
    fn ip_side(&self, now: Instant) -> Option<String> {
        self.ip_side_text(now)
    }

    fn penalty(&self, group: GroupId) -> Option<Penalty> {
        self.penalty_of(group)
    }

    fn unguarded(&self, group: GroupId) -> Option<String> {
        Self::unguarded(self, group.index()).or_else(|| self.network_text(group.index()))
    }

    fn unheard(&self, member: NodeId) -> Option<String> {
        self.why_unheard(member)
    }

    fn reset(&self, group: GroupId, node: NodeId) -> String {
        self.reset_state(group, node)
    }
}
