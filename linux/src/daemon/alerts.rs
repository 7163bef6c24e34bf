//! What people are told: decisions in sentences, alerts, and what was counted.

use lifesign_core::engine::{Condition, Event};
use lifesign_core::group::{Reason, Role};
use lifesign_core::member::Rejected;
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::time::{Duration, Instant};

use super::Daemon;

/// How often counters are looked at for alerts.
const LOOK: Duration = Duration::from_millis(1000);
const MINUTE: Duration = Duration::from_millis(60_000);
/// How often a peer may be lost within a minute before that is worth a word.
const MANY_LOSSES: usize = 5;

impl Daemon {
    /// Tells people what the engine has decided.
    pub(super) fn tell(&mut self, event: &Event) {
        if let Some(text) = self.view().event_text(event) {
            self.notify_of(event, &text);
            self.decided(text);
        }
        match event {
            Event::Group { group, role, reason } => {
                if !matches!(role, Role::Claiming(_)) {
                    self.forget_resets(*group);
                }
                if let Reason::Disputed(node) = reason {
                    let name = self.group_name(group.index());
                    let node = self.settings.name_of(*node);
                    self.alert(format!(
                        "{name}: taken by quorum alone; {node} withheld its consent"
                    ));
                }
            }
            Event::Peer { node, condition } => {
                if matches!(condition, Condition::Lost(_)) {
                    self.note_loss(*node);
                }
            }
            _ => {}
        }
    }

    /// Looks once a second at what was counted, and raises alerts.
    pub(super) fn look_for_alerts(&mut self, now: Instant) {
        if now.since(self.alerts.looked_at) < LOOK {
            return;
        }
        self.alerts.looked_at = now;
        self.look_at_tags();
        self.look_at_peers();
        self.look_at_redundancy();
        self.look_at_ports(now);
        self.look_at_dongles();
        self.look_at_counters();
        self.look_at_recording();
        self.look_at_failures(now);
        self.look_at_watchdog(now);
        let lost = self.logger.lost();
        if lost > self.alerts.lost_records {
            self.alerts.lost_records = lost;
            self.alert("log records were lost: the log cannot keep up".to_owned());
        }
    }

    /// A peer that comes and goes has a bad link, or speaks too seldom for this cluster.
    fn note_loss(&mut self, node: NodeId) {
        let now = self.engine.now();
        self.alerts.losses.retain(|(at, _)| now.since(*at) < MINUTE);
        self.alerts.losses.push((now, node));
        let count = self.alerts.losses.iter().filter(|(_, other)| *other == node).count();
        if count >= MANY_LOSSES {
            let name = self.settings.name_of(node);
            self.alert(format!(
                "{name} comes and goes: its links lose frames, or its heartbeat is slower than this \
                 cluster's"
            ));
        }
    }

    fn look_at_tags(&mut self) {
        let suspicious = self.engine.member().suspicious();
        if suspicious != self.alerts.suspicious {
            self.alerts.suspicious = suspicious;
            self.all_clear("possible break-in: this node");
            self.alert(format!(
                "possible break-in: this node has seen {suspicious} frames with a wrong tag"
            ));
        }
        let reported: Vec<(NodeId, u16)> = {
            let sessions = self.engine.member().peers.sessions();
            sessions.map(|(node, session)| (node, session.body.suspicious)).collect()
        };
        for (node, count) in &reported {
            let before = self
                .alerts
                .reported
                .iter()
                .find(|(other, _)| other == node)
                .map_or(0, |(_, count)| *count);
            if *count != before && *count != 0 {
                let name = self.settings.name_of(*node);
                self.all_clear(&format!("possible break-in: {name} "));
                self.alert(format!(
                    "possible break-in: {name} has seen {count} frames with a wrong tag"
                ));
            }
        }
        self.alerts.reported = reported;
    }

    fn look_at_peers(&mut self) {
        let digest = self.engine.config().digest.to_le_bytes();
        let disagree: Vec<(NodeId, bool)> = {
            let sessions =
                self.engine.member().peers.sessions().filter(|(node, _)| !node.is_witness());
            sessions.map(|(node, session)| (node, session.body.digest != digest)).collect()
        };
        for (node, is_other) in disagree {
            let text = format!("{} has other settings", self.settings.name_of(node));
            if is_other {
                self.alert(format!("{text}: neither supports a new claim of the other"));
            } else {
                self.all_clear(&text);
            }
        }
        let now = self.engine.now();
        self.alerts.losses.retain(|(at, _)| now.since(*at) < MINUTE);
        for (node, _) in self.engine.member().peers.sessions() {
            if !self.alerts.losses.iter().any(|(_, other)| *other == node) {
                let text = format!("{} comes and goes", self.settings.name_of(node));
                self.alerts.list.retain(|(_, known)| !known.starts_with(&text));
            }
        }
        self.look_at_short_promises();
        self.replace_alerts("one way: ", self.one_way_links());
    }

    /// A voter that promises less than groups ask for promises nothing at all.
    fn look_at_short_promises(&mut self) {
        let longest = self.settings.groups.iter().map(|group| group.promise.as_millis()).max();
        let Some(longest) = longest else { return };
        let short: Vec<(NodeId, u64)> = {
            let sessions = self.engine.member().peers.sessions();
            let promises = sessions.map(|(node, session)| (node, session.body.longest_promise_ms));
            let promises = promises.map(|(node, most)| (node, u64::from(most)));
            promises.filter(|(_, most)| *most < longest).collect()
        };
        for (node, most) in short {
            let name = self.settings.name_of(node);
            self.alert(format!(
                "{name} promises at most {most} ms, and a group asks for {longest} ms: raise \
                 longest_promise there"
            ));
        }
    }

    /// Returns which links carry frames in one direction alone, in words.
    fn one_way_links(&self) -> Vec<String> {
        let mut found = Vec::new();
        let me = self.me;
        for (node, session, heard) in self.settled_peers().filter(|(node, ..)| !node.is_witness()) {
            let hears = session.body.echo_of(me).map(|echo| echo.links).unwrap_or_default();
            let (peer, own) = (self.settings.name_of(node), self.settings.name_of(me));
            for (link, settings) in self.settings.links() {
                match (heard.contains(link), hears.contains(link)) {
                    (true, false) => found.push(format!(
                        "one way: {own} to {peer} is lost on link {}",
                        settings.name
                    )),
                    (false, true) => found.push(format!(
                        "one way: {peer} to {own} is lost on link {}",
                        settings.name
                    )),
                    _ => {}
                }
            }
        }
        found
    }

    fn look_at_counters(&mut self) {
        let (loops, own) = (Rejected::Loop.kind().0, Rejected::OwnId.kind().0);
        for link in LinkId::all().take(self.links.len()) {
            let rejected = self.engine.member().counters(link).rejected;
            let name = self
                .settings
                .links
                .get(link.index())
                .map_or("", |link| link.name.as_str())
                .to_owned();
            if rejected.get(loops).is_some_and(|count| *count > 0) {
                self.alert(format!("link {name} is a loop: own frames come back"));
            }
            if rejected.get(own).is_some_and(|count| *count > 0) {
                let me = self.settings.name_of(self.me);
                self.alert(format!(
                    "link {name}: another start or another machine sends frames as {me}"
                ));
            }
        }
    }
}
