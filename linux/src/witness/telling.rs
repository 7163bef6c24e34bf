//! What the quorum server tells those who ask at its control socket.

use lifesign_core::group::GroupId;
use lifesign_core::member::Rejected;
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::peer::Ending;
use lifesign_core::time::Instant;

use super::Server;
use super::served::Served;
use crate::control::{Command, Request, Response};
use crate::report::witness::{ClusterReport, LivePromise, WitnessReport, WitnessedNode};
use crate::report::{VERSION, millis};
use crate::settings::witness::place_of_witness;

impl Server {
    /// Answers what is asked at the control socket.
    pub(super) fn handle_requests(&mut self, now: Instant) {
        self.control.handle_ready(now);
        while let Some((connection, request)) = self.control.poll_request() {
            match self.answer(&request, now) {
                Some(response) => self.control.answer(connection, &response, now),
                None => self.control.watch(connection, &request, now),
            }
        }
    }

    /// Returns the answer to what is asked, or `None` if it is to watch.
    fn answer(&self, request: &Request, now: Instant) -> Option<Response> {
        Some(match request.command {
            Command::Status => Response::Witness { report: Box::new(self.report(now)) },
            Command::Watch => return None,
            Command::Why
            | Command::Standby
            | Command::Takeover
            | Command::Confirm
            | Command::Maintain
            | Command::Resume
            | Command::Disable
            | Command::Enable
            | Command::Move => Response::refused("this is a quorum server, which holds nothing"),
        })
    }

    pub(super) fn report(&self, now: Instant) -> WitnessReport {
        let mut clusters: Vec<ClusterReport> =
            self.clusters.values().map(|served| served.report(now)).collect();
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        WitnessReport {
            version: VERSION,
            uptime_ms: now.since(self.started).as_millis(),
            longest_promise_ms: self.longest_promise.as_millis(),
            strangers: self.strangers,
            scheduling: self.obtained.to_string(),
            clusters,
        }
    }
}

impl Served {
    pub(super) fn report(&self, now: Instant) -> ClusterReport {
        let member = self.witness.member();
        let count = |kind: usize| {
            let links = LinkId::all().map(|link| u64::from(member.counters(link).rejected[kind]));
            links.sum::<u64>()
        };
        let rejected = Rejected::names().into_iter().enumerate();
        let rejected = rejected.map(|(kind, name)| (name, count(kind))).filter(|it| it.1 > 0);
        let live = |group| {
            let promise = member.voter.promise(group, now)?;
            Some(LivePromise {
                group: group.number(),
                node: promise.to.node.number(),
                token: promise.to.token.0,
                left_ms: millis(promise.until.since(now).as_micros()),
            })
        };
        ClusterReport {
            name: self.settings.name.clone(),
            witness: place_of_witness(self.settings.witness),
            booting_ms: member.voter.ready().since(now).as_millis(),
            nodes: member.others().iter().filter_map(|node| self.node(node, now)).collect(),
            promises: GroupId::all().filter_map(live).collect(),
            rejected: rejected.map(|(name, count)| (name.to_owned(), count)).collect(),
        }
    }

    /// Returns how `node` is, if anything has ever come from it that may be its own.
    pub(super) fn state(&self, node: NodeId, now: Instant) -> Option<&'static str> {
        self.places(node, now).next()?;
        let peer = self.witness.member().peers.get(node)?;
        Some(match (peer.session(), peer.ending()) {
            (Some(_), _) => "alive",
            (None, Some(Ending::Lost(_))) => "lost",
            (None, Some(Ending::Left(_))) => "left",
            (None, None) => "unproven",
        })
    }

    fn node(&self, node: NodeId, now: Instant) -> Option<WitnessedNode> {
        let (_, address) = self.places(node, now).next()?;
        let state = self.state(node, now)?;
        let peer = self.witness.member().peers.get(node)?;
        let hears = peer.session().map(|session| session.body.hears()).unwrap_or_default();
        Some(WitnessedNode {
            number: node.number(),
            address: address.to_string(),
            state: state.to_owned(),
            is_favoured: self.witness.favoured().contains(node),
            hears: hears.iter().map(NodeId::number).collect(),
        })
    }
}
