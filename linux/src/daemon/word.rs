//! What an operator says to the whole cluster: taking it, saving it, and telling of it.

use lifesign_core::decree::{Decree, Saying, Stamp};
use lifesign_core::engine::Unsaid;
use lifesign_core::group::{GroupId, GroupSet};
use lifesign_core::time::{Duration, Instant};

use super::{Daemon, Errand, RETRY};
use crate::control::{Command, Request, Response};
use crate::decree::{self, Keep, Kept};
use crate::executor::message::Request as Order;
use crate::explain;
use crate::report::WordReport;
use crate::settings::Settings;

/// How alerts on a word that is not on the disk begin.
const UNSAVED: &str = "the operator's word cannot be saved";

/// The operator's word on its way to the disk.
#[derive(Debug)]
pub(super) struct Saving {
    keep: Keep,
    /// What is known to be on the disk.
    saved: Option<Stamp>,
    retry: Option<Instant>,
    /// What was on the disk at the start.
    kept: Kept,
}

impl Saving {
    /// Reads what the node `name` has kept.
    ///
    /// # Errors
    /// Says in one line why a daemon must not start on that.
    pub(super) fn load(settings: &Settings, name: &str) -> Result<Self, String> {
        let machine = decree::machine()
            .map_err(|error| format!("read which start of this machine this is: {error}"))?;
        let keep = Keep::new(&settings.state_dir, name, &machine);
        let kept = keep.load(settings).map_err(|error| error.to_string())?;
        let saved = kept.decree.map(|decree| decree.stamp);
        Ok(Self { keep, saved, retry: None, kept })
    }

    /// Returns what was on the disk at the start.
    pub(super) const fn remembered(&self) -> Option<Decree> {
        self.kept.decree
    }

    /// Returns what somebody should know of it, once.
    pub(super) fn take_advice(&mut self) -> Vec<String> {
        let unknown = std::mem::take(&mut self.kept.unknown);
        let text = |name| {
            format!("the operator's word speaks of \"{name}\", which the settings do not have")
        };
        unknown.into_iter().map(text).collect()
    }

    /// Returns when saving is tried again.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.retry
    }
}

impl Daemon {
    /// Takes an order that is meant for the whole cluster.
    pub(super) fn order_word(
        &mut self,
        request: &Request,
        group: Option<GroupId>,
        now: Instant,
    ) -> Response {
        let saying = match self.saying(request, group) {
            Ok(saying) => saying,
            Err(refusal) => return Response::refused(refusal),
        };
        match self.engine.handle_saying(&saying, now) {
            Ok(stamp) => {
                self.decided(self.view().saying_text(&saying));
                let wait_ms = self.patience(group).as_millis();
                Response::Said { word: self.word_name(stamp), wait_ms }
            }
            Err(unsaid) => Response::refused(self.why_unsaid(&unsaid, request, now)),
        }
    }

    fn saying(&self, request: &Request, group: Option<GroupId>) -> Result<Saying, String> {
        let one = || group.ok_or_else(|| "say which group".to_owned());
        Ok(match request.command {
            Command::Maintain => {
                let millis = request.for_ms.ok_or("say for how long")?;
                Saying::Maintain(group, Duration::from_millis(millis))
            }
            Command::Resume => Saying::Resume(group),
            Command::Disable => Saying::Disable(one()?),
            Command::Enable => Saying::Enable(one()?),
            _ => {
                let name = request.node.as_deref().ok_or("say to which node")?;
                Saying::Move(one()?, self.settings.known_node(name)?)
            }
        })
    }

    /// Returns why nothing may be moved by hand: what is asked for is in maintenance.
    pub(super) fn kept_by_maintenance(&self, group: Option<GroupId>) -> Option<Response> {
        let groups = self.settings.groups().map(|(id, _)| id);
        let mut asked = groups.filter(|id| group.is_none_or(|group| group == *id));
        let until = asked.find_map(|id| self.engine.maintenance_end(id))?;
        Some(Response::refused(explain::maintenance(until, self.engine.now())))
    }

    fn why_unsaid(&self, unsaid: &Unsaid, request: &Request, now: Instant) -> String {
        let node = request.node.as_deref().unwrap_or("that node");
        explain::unsaid(unsaid, node, now)
    }

    fn word_name(&self, stamp: Stamp) -> String {
        format!("{} of {}", stamp.number, self.settings.name_of(stamp.by))
    }

    /// Has the operator's word saved.
    pub(super) fn save_word(&mut self) {
        let Some(decree) = self.engine.decree() else { return };
        let (stamp, (path, contents)) =
            (decree.stamp, self.saving.keep.file(decree, &self.settings));
        let order = |id| Order::Persist { id, path, contents };
        if self.send_errand(Errand::Word(stamp), order).is_err() {
            self.saving.retry = Some(self.engine.now() + RETRY);
        }
    }

    /// Takes in whether a word is on the disk.
    pub(super) fn handle_word_saved(
        &mut self,
        stamp: Stamp,
        failure: Option<String>,
        now: Instant,
    ) {
        match failure {
            None => {
                self.all_clear(UNSAVED);
                self.saving.saved = Some(stamp);
            }
            Some(reason) => {
                self.alert(format!("{UNSAVED}, and a restart here would forget it: {reason}"));
                self.saving.retry = Some(now + RETRY);
            }
        }
    }

    /// Tries again to save the operator's word.
    pub(super) fn retry_word(&mut self, now: Instant) {
        if self.saving.retry.is_some_and(|due| now.has_reached(due)) {
            self.saving.retry = None;
            self.save_word();
        }
    }

    /// Returns whether nothing may be done about what fails of a group.
    pub(super) fn is_in_maintenance(&self, at: usize) -> bool {
        let group = GroupId::at(at);
        group.is_some_and(|group| self.engine.maintenance_end(group).is_some())
    }

    /// Returns what machines are told of the operator's word.
    pub(super) fn word_report(&self, now: Instant) -> Option<WordReport> {
        let decree = self.engine.decree()?;
        let names = |groups: GroupSet| groups.iter().map(|it| self.view().group_name(it)).collect();
        let lasting = decree.maintenance.filter(|lasting| !now.has_reached(lasting.until));
        let digest = self.engine.config().digest.to_le_bytes();
        let sessions = self.engine.member().peers.sessions();
        let listens =
            sessions.filter(|(node, session)| !node.is_witness() && session.body.digest == digest);
        let unheard = listens
            .map(|(node, _)| node)
            .filter(|node| self.engine.decree_known_to(*node) != Some(decree.stamp));
        Some(WordReport {
            name: self.word_name(decree.stamp),
            by: self.settings.name_of(decree.stamp.by),
            saved: self.saving.saved == Some(decree.stamp),
            unheard_by: unheard.map(|node| self.settings.name_of(node)).collect(),
            disabled: names(decree.disabled),
            maintenance: lasting.map(|lasting| names(lasting.groups)).unwrap_or_default(),
            maintenance_left_ms: lasting.map(|lasting| lasting.until.since(now).as_millis()),
        })
    }
}
