//! What the engine says in its frames, and what it learns from those of others.

use super::Engine;
use crate::frame::{Body, Flags, Phase, Want};
use crate::group::{Claim, GroupId, Role};
use crate::member::Heard;
use crate::node::{LinkId, NodeId};
use crate::peer::{Accepted, Ending};
use crate::promise::Claimant;

impl<const MEMBERS: usize, const ECHOES: usize, const GROUPS: usize, const LINKS: usize>
    Engine<MEMBERS, ECHOES, GROUPS, LINKS>
{
    /// Writes this start's farewell for `link` into `buffer` and returns its length. It is never
    /// sent by a living engine: a supervisor keeps it and sends it when this process is dead and
    /// everything it held has stopped.
    pub fn farewell<const LEN: usize>(&self, link: LinkId, buffer: &mut [u8; LEN]) -> usize {
        let digest = self.config.digest.to_le_bytes();
        let body = Body { flags: Flags::FAREWELL, digest, ..Body::default() };
        self.member.write(link, self.class(link), u64::MAX, &body, buffer)
    }

    pub(super) fn body(&self) -> Body<ECHOES, GROUPS> {
        let mut body = self.member.body(self.now);
        // After a start it could tell a token of every group there can be; a small witness has no
        // room for groups that are not configured.
        let groups = self.groups.len();
        body.words.retain(|word| word.group.index() < groups);
        body.digest = self.config.digest.to_le_bytes();
        if self.standby {
            body.flags = body.flags.with(Flags::STANDBY);
        }
        if self.has_left() {
            body.flags = body.flags.with(Flags::FAREWELL);
        }
        for group in GroupId::all().take(self.groups.len()) {
            if let Some(want) = self.want(group) {
                let _room = body.wants.push(want);
            }
        }
        body
    }

    pub(super) fn want(&self, group: GroupId) -> Option<Want> {
        let (state, settings) = (self.group(group)?, self.settings(group)?);
        let phase = match state.role {
            Role::Idle => return None,
            Role::Claiming(Claim { asked: true, .. }) => Phase::Asking,
            Role::Claiming(_) => Phase::Claiming,
            // While it is being stopped it is as good as offered: whoever is to have it next may
            // claim it already.
            Role::Holding { offered_until: Some(_), .. } | Role::Stopping(_) => Phase::Offering,
            Role::Starting(_) | Role::Holding { .. } | Role::Stuck(_) => Phase::Holding,
        };
        let promise_ms = u32::try_from(settings.promise.as_millis()).unwrap_or(u32::MAX);
        Some(Want { group, phase, token: state.role.token()?, promise_ms })
    }

    /// This node's promise to itself obeys the voter's rule; while it wants a group, it renews it.
    pub(super) fn renew_own_promises(&mut self) {
        let (node, boot) = (self.config.me, self.member.sequence.boot());
        for group in GroupId::all().take(self.groups.len()) {
            if let Some(want) = self.want(group) {
                let from = Claimant { node, boot, sequence: 0 };
                let _refused = self.member.voter.consider(&want, from, self.now);
            }
        }
    }

    /// Takes over what a newly heard frame says: support for claims, tokens, holders, restarts.
    pub(super) fn learn(&mut self, heard: Heard) {
        let me = self.config.me;
        let Some(session) = self.member.peers.session(heard.from) else {
            self.forget_holder(heard.from, true);
            return;
        };
        if heard.accepted == Accepted::Copy {
            return;
        }
        let echo = session.body.echo_of(me);
        let sent = echo.and_then(|echo| Some((echo.sequence, self.member.sequence.sent(&echo)?)));
        let has_same_settings = session.body.digest == self.config.digest.to_le_bytes();
        for (group, state) in GroupId::all().zip(&mut self.groups) {
            let (want, word) = (session.body.want(group), session.body.word(group));
            let seen =
                want.map(|want| want.token).max(word.map(|word| word.token)).unwrap_or_default();
            state.largest = state.largest.max(seen);
            if want.is_some_and(|want| want.phase.is_held()) {
                state.last_holder = Some((heard.from, false));
            } else if state.last_holder == Some((heard.from, false)) {
                state.last_holder = Some((heard.from, true));
            }
            let mine = word
                .is_some_and(|word| word.to == Some(me) && Some(word.token) == state.role.token());
            if let (true, Some((number, sent))) = (mine, sent) {
                let first = if let Role::Claiming(claim) = state.role { claim.first } else { 0 };
                if number >= first {
                    state.support.note(heard.from, sent);
                }
            }
        }
        // Groups go by their numbers, which other settings may give to other groups.
        if has_same_settings && let Some((_, sent)) = sent {
            self.hear_decree(heard.from, heard.decree.as_ref(), sent);
        }
    }

    pub(super) fn forget_holder(&mut self, node: NodeId, in_good_order: bool) {
        let left = matches!(
            self.member.peers.get(node).and_then(|peer| peer.ending()),
            Some(Ending::Left(_))
        );
        for state in &mut self.groups {
            if state.last_holder.is_some_and(|(holder, _)| holder == node) {
                state.last_holder = Some((node, in_good_order || left));
            }
        }
        self.cadence.tell();
    }
}
