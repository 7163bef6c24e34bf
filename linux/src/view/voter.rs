//! What each voter says to a want of this node, and why one does not support it.

use lifesign_core::engine::Group as State;
use lifesign_core::frame::Flags;
use lifesign_core::group::GroupId;
use lifesign_core::node::NodeId;
use lifesign_core::time::Instant;

use super::View;
use crate::report::{VoterReport, millis};

impl View<'_> {
    pub(super) fn voters(&self, group: GroupId, state: &State, now: Instant) -> Vec<VoterReport> {
        let authority = self
            .engine
            .config()
            .groups
            .get(group.index())
            .map(|group| group.authority)
            .unwrap_or_default();
        let wants = state.role().token().is_some();
        self.settings
            .members()
            .map(|(node, name)| {
                let sent = if node == self.me() { Some(now) } else { state.support().of(node) };
                let age = sent.filter(|_| wants).map(|sent| now.since(sent));
                let supports = age.is_some_and(|age| age < authority);
                VoterReport {
                    name: name.to_owned(),
                    supports,
                    age_ms: age.map(|age| millis(age.as_micros())),
                    why_not: if supports { None } else { Some(self.why_not(group, node, wants)) },
                }
            })
            .collect()
    }

    fn why_not(&self, group: GroupId, node: NodeId, wants: bool) -> String {
        let Some(session) = self.engine.member().peers.session(node) else {
            return if node == self.me() {
                "this node wants nothing".to_owned()
            } else {
                match self.around.unheard(node) {
                    None => "it is not heard".to_owned(),
                    Some(why) => format!("it is not heard: {why}"),
                }
            };
        };
        if !wants {
            return "this node wants nothing".to_owned();
        }
        if session.body.flags.has(Flags::BOOTING) {
            return "it has just started and promises nothing yet".to_owned();
        }
        let asked = self.settings.groups.get(group.index()).map(|group| group.promise.as_millis());
        let longest = u64::from(session.body.longest_promise_ms);
        if asked.is_some_and(|asked| asked > longest) {
            return format!("it promises at most {longest} ms, less than this group asks for");
        }
        if node.is_witness() && !session.body.favours.contains(self.me()) {
            return "it favours the other side".to_owned();
        }
        match session.body.word(group).and_then(|word| word.to) {
            Some(to) if to != self.me() => {
                format!("it has promised it to {}", self.settings.name_of(to))
            }
            Some(_) => "its promise is too old".to_owned(),
            None => "it has not promised it".to_owned(),
        }
    }
}
