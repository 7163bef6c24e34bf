//! What an engine says, in the words of its settings: the same for the daemon and for a replay.

mod voter;

use lifesign_core::decree::{Maintenance, Moving, Saying, Stamp};
use lifesign_core::engine::{Condition, Engine, Event, Group as State, Obstacle};
use lifesign_core::frame::Body;
use lifesign_core::group::{GroupId, GroupSet, Guard, Reason, Role, Token};
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::quorum::{Answer, Module};
use lifesign_core::time::Instant;

use crate::address::mac::GroupMac;
use crate::explain::{self, Names, Penalty};
use crate::page::{list, span};
use crate::report::{
    GroupReport, GroupRole, ModuleReport, PeerKind, PeerLinkReport, PeerReport, PeerState,
    QuorumReport, ServiceReport, millis,
};
use crate::settings::{Group, Settings};

/// What explanations refer to besides the engine, in words.
pub trait Surroundings {
    /// Returns what is wrong with this node's IP side, if anything is.
    fn ip_side(&self, now: Instant) -> Option<String>;

    /// Returns why this node leaves `group` alone because of what has failed here, if it does.
    fn penalty(&self, group: GroupId) -> Option<Penalty>;

    /// Returns why this node leaves `group` alone because of its watchdog, if it does.
    fn unguarded(&self, group: GroupId) -> Option<String>;

    /// Returns why a member may not be heard, if that is known.
    fn unheard(&self, member: NodeId) -> Option<String>;

    /// Returns what is known of the reset of `node` that `group` waits for.
    fn reset(&self, group: GroupId, node: NodeId) -> String;
}

/// An engine with everything that its words need.
#[derive(Clone, Copy)]
pub struct View<'v> {
    /// The settings.
    pub settings: &'v Settings,
    /// The engine.
    pub engine: &'v Engine,
    /// What stands around it.
    pub around: &'v dyn Surroundings,
}

impl core::fmt::Debug for View<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("View").field("engine", self.engine).finish_non_exhaustive()
    }
}

impl View<'_> {
    /// Returns which node the engine is.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.engine.config().me
    }

    /// Returns what the engine has decided as a sentence, if it is one for people.
    #[must_use]
    pub fn event_text(&self, event: &Event) -> Option<String> {
        match event {
            Event::Group { group, role, reason } => {
                let name = self.group_name(*group);
                let verb = match role {
                    Role::Idle => "is not ours",
                    Role::Claiming(_) => "claims",
                    Role::Starting(_) => "starts",
                    Role::Holding { offered_until: Some(_), .. } => "offers",
                    Role::Holding { .. } => "holds",
                    Role::Stopping(_) => "stops",
                    Role::Stuck(_) => "cannot stop",
                };
                let why = self.reason_text(*group, *reason);
                let token =
                    role.token().map(|token| format!(" (token {})", token.0)).unwrap_or_default();
                Some(match role {
                    Role::Idle => format!("{name} {verb}: {why}"),
                    _ => format!("{verb} {name}{token}: {why}"),
                })
            }
            Event::Peer { node, condition } => {
                let name = self.settings.name_of(*node);
                Some(match condition {
                    Condition::Unmet => format!("{name} has not been met"),
                    Condition::Alive(_) => format!("{name} is alive"),
                    Condition::Lost(_) => format!("{name} is lost: silent on every link"),
                    Condition::Left(_) => format!("{name} has left in good order"),
                })
            }
            Event::Decreed(stamp) => Some(self.decree_text(*stamp)),
            _ => None,
        }
    }

    /// Returns the operator's word that this node has learned, as a sentence.
    fn decree_text(&self, stamp: Stamp) -> String {
        let by = self.settings.name_of(stamp.by);
        let mut said = Vec::new();
        if let Some(decree) = self.engine.decree().filter(|decree| decree.stamp == stamp) {
            let now = self.engine.now();
            let lasting = decree.maintenance.filter(|lasting| !now.has_reached(lasting.until));
            if let Some(Maintenance { groups, until }) = lasting {
                let left = span(until.since(now).as_millis());
                said.push(format!("maintenance of {} for {left}", self.names(groups)));
            }
            if !decree.disabled.is_empty() {
                said.push(format!("{} disabled", self.names(decree.disabled)));
            }
            if let Some(Moving { group, to, .. }) = decree.moving {
                let (group, to) = (self.group_name(group), self.settings.name_of(to));
                said.push(format!("{group} to move to {to}"));
            }
        }
        let said = if said.is_empty() { "nothing forbidden".to_owned() } else { said.join(", ") };
        format!("the operator's word {} of {by} holds: {said}", stamp.number)
    }

    fn names(&self, groups: GroupSet) -> String {
        let names: Vec<String> = groups.iter().map(|group| self.group_name(group)).collect();
        list(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns what the operator says to the whole cluster, as a sentence.
    #[must_use]
    pub fn saying_text(&self, saying: &Saying) -> String {
        let asked = match *saying {
            Saying::Maintain(group, lasting) => {
                let lasting = span(lasting.as_millis());
                format!("maintenance of {} for {lasting}", self.what_is_meant(group))
            }
            Saying::Resume(group) => {
                format!("the end of maintenance of {}", self.what_is_meant(group))
            }
            Saying::Disable(group) => format!("{} disabled", self.group_name(group)),
            Saying::Enable(group) => format!("{} enabled", self.group_name(group)),
            Saying::Move(group, to) => {
                format!("{} on {}", self.group_name(group), self.settings.name_of(to))
            }
        };
        format!("tells the cluster that the operator wants {asked}")
    }

    /// Returns the operator's wish that this node be free of a group, or of all, as a sentence.
    #[must_use]
    pub fn standby_text(&self, group: Option<GroupId>) -> String {
        format!("standby for {}, as the operator asks", self.what_is_meant(group))
    }

    /// Returns the operator's wish that a group, or all, be here, as a sentence.
    #[must_use]
    pub fn takeover_text(&self, group: Option<GroupId>) -> String {
        format!("takes over {}, as the operator asks", self.what_is_meant(group))
    }

    fn what_is_meant(&self, group: Option<GroupId>) -> String {
        group.map_or_else(|| "everything".to_owned(), |group| self.group_name(group))
    }

    /// Returns the name of a group; a stranger's is its number.
    #[must_use]
    pub fn group_name(&self, group: GroupId) -> String {
        let known = self.settings.groups.get(group.index());
        known.map_or_else(|| group.number().to_string(), |group| group.name.clone())
    }

    fn named<T>(&self, tell: impl FnOnce(Names<'_>) -> T) -> T {
        let member = |node| self.settings.name_of(node);
        tell(Names { member: &member, group: &|group| self.group_name(group) })
    }

    /// Returns what `obstacle` keeps this node from, and what would change that.
    #[must_use]
    pub fn explained(&self, group: GroupId, obstacle: &Obstacle) -> explain::Explanation {
        let unable = self.unable(group).filter(|_| *obstacle == Obstacle::Unable);
        let mut explained = unable.unwrap_or_else(|| {
            self.named(|names| explain::obstacle(obstacle, names, self.engine.now()))
        });
        match obstacle {
            Obstacle::Unfenced(node) => {
                explained.what += &format!("; {}", self.around.reset(group, *node));
            }
            Obstacle::Occupied(other) => {
                let role = self.engine.group(*other).map(State::role);
                if matches!(role, Some(Role::Stuck(_))) {
                    explained.what += "; it could not be stopped";
                }
            }
            Obstacle::Unable => {
                let leader = self.settings.groups.get(group.index()).and_then(|it| it.with);
                let moves = |leader| format!("{} goes to another node", self.group_name(leader));
                explained.would_change.extend(leader.map(moves));
            }
            _ => {}
        }
        explained
    }

    /// Returns why this machine cannot serve a group, if its adapters are not all there is to it.
    fn unable(&self, group: GroupId) -> Option<explain::Explanation> {
        let now = self.engine.now();
        let side = self.around.ip_side(now).map(explain::cut_off);
        let penalty = self.around.penalty(group);
        let name = self.group_name(group);
        let failed = penalty.map(|penalty| explain::penalised(&penalty, &name, now));
        let unguarded = self.around.unguarded(group).map(explain::unguarded);
        [failed, unguarded, side].into_iter().flatten().reduce(explain::both)
    }

    /// Returns a reason of the engine for the part that this node plays for `group` as a sentence.
    #[must_use]
    pub fn reason_text(&self, group: GroupId, reason: Reason) -> String {
        let unable = Some(reason).filter(|reason| *reason == Reason::Unable);
        let side = unable.and_then(|_| self.around.ip_side(self.engine.now()));
        let unguarded = unable.and_then(|_| self.around.unguarded(group));
        side.or(unguarded).unwrap_or_else(|| self.named(|names| explain::reason(reason, names)))
    }

    /// Returns whether the members that are alive here could decide.
    #[must_use]
    pub fn quorum_report(&self) -> QuorumReport {
        let quorum = &self.settings.quorum;
        let alive = self.engine.member().peers.alive().with(self.me());
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

    /// Returns under which token a group is held, or `largest` if nobody is known to hold it.
    fn token(&self, id: GroupId, largest: Token) -> Token {
        let holder = self.holder(id);
        let own = || self.engine.group(id)?.role().token();
        let session = |node| self.engine.member().peers.session(node);
        let theirs = || Some(session(holder?)?.body.want(id)?.token);
        let is_here = holder == Some(self.me());
        if is_here { own() } else { theirs() }.unwrap_or(largest)
    }

    /// Returns what is known of a group, whose services are as `services` says.
    #[must_use]
    pub fn group_report(
        &self,
        id: GroupId,
        group: &Group,
        services: &[String],
        now: Instant,
    ) -> Option<GroupReport> {
        let state = self.engine.group(id)?;
        let (reason, since) = state.reason();
        let obstacle = self.engine.obstacle(id).map(|obstacle| self.explained(id, &obstacle));
        let needs = state.role().needs_authority();
        let end = self.engine.authority_end(id).filter(|_| needs);
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
            token: self.token(id, state.largest_token()).0,
            addresses: group
                .addresses
                .iter()
                .map(|address| format!("{}/{}", address.ip, address.prefix))
                .collect(),
            mac: group.mac.as_ref().map(GroupMac::said),
            nodes: group.prefer.iter().map(name).collect(),
            with: group.with.map(|leader| self.group_name(leader)),
            apart: group.apart.iter().map(|first| self.group_name(first)).collect(),
            reason: self.reason_text(id, reason),
            since_ms: now.since(since).as_millis(),
            authority_left_ms: end.map(|end| millis(end.since(now).as_micros())),
            voters: self.voters(id, state, now),
            obstacle: obstacle.as_ref().map(|explained| explained.what.clone()),
            would_change: obstacle.map(|explained| explained.would_change).unwrap_or_default(),
            disabled: self.engine.is_disabled(id),
            maintenance_left_ms: self
                .engine
                .maintenance_end(id)
                .map(|until| until.since(now).as_millis()),
            watched: group.watchdog,
            failures: None,
            services: named
                .map(|(service, state)| ServiceReport {
                    name: service.name.clone(),
                    state: state.clone(),
                })
                .collect(),
        })
    }

    /// Returns who holds `group`, as far as this node knows.
    #[must_use]
    pub fn holder(&self, group: GroupId) -> Option<NodeId> {
        if self.engine.group(group)?.role().is_up() {
            return Some(self.me());
        }
        let mut sessions = self.engine.member().peers.sessions();
        let holds = |body: &Body| body.want(group).is_some_and(|want| want.phase.is_held());
        sessions.find_map(|(node, session)| holds(&session.body).then_some(node))
    }

    /// Returns what is known of a member.
    #[must_use]
    pub fn peer_report(&self, node: NodeId, now: Instant) -> PeerReport {
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
            .and_then(|session| session.body.echo_of(self.me()))
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
