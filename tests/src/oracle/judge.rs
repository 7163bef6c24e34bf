//! Each promise, judged.

use lifesign_core::engine::Condition;
use lifesign_core::group::Guard;

use super::Oracle;
use super::book::Flaw;
use super::resets::Request;
use super::service::{Cause, TooLong};
use super::terms::{ROUNDING, Voters};
use super::verdict::{Assumption, Rule, Wrong, rests_on};
use crate::seen::{ENDLESS, Promise, Seen};
use crate::world::Micros;

/// Whom a verdict is about.
type About = (Option<u8>, Option<u8>);

impl Oracle {
    fn blame(&mut self, rule: Rule, at: Micros, (host, group): About, what: String) {
        let wrong = Wrong { rule, at, host, group, what, beyond: None };
        let terms = &self.terms;
        self.verdicts.blame(wrong, |broken| rests_on(terms, rule, broken));
    }

    /// Judges what a host makes of the operator's word.
    pub(super) fn blame_word(&mut self, host: u8, wrong: Option<(Rule, String)>, at: Micros) {
        if let Some((rule, what)) = wrong {
            self.blame(rule, at, (Some(host), None), format!("{host}: {what}"));
        }
    }

    /// Judges what a host has up as of now, and for how long unless it says so again.
    pub(super) fn judge_answers(
        &mut self,
        host: u8,
        group: u8,
        token: u32,
        until: Micros,
        at: Micros,
    ) {
        self.judge_book(group, at);
        let place = self.terms.place(host);
        if until > at && self.book.served_until(group) <= at {
            self.judge_gap(group, at);
        }
        let before = self.book.get(group, place);
        if until > at && before.until <= at {
            self.places.rises(host, group, at);
        }
        let about = (Some(host), Some(group));
        // What a fence guards goes on until it is stopped, also when the machine has stood still:
        // nobody starts it elsewhere meanwhile.
        let goes_on = self.terms.guard == Guard::Fence && before.token == token;
        if !goes_on && (before.until <= at || before.token != token) {
            let voters = self.book.supporters(group, place, token, at);
            if until > at && !self.terms.is_quorum(voters) {
                let what = format!(
                    "{host} has group {group} up under token {token}, promised by {}",
                    self.terms.names(voters)
                );
                self.blame(Rule::Backed, at, about, what);
            }
        }
        if until != ENDLESS && until > at && !self.is_in_time(host, place, until, at) {
            let what = format!(
                "{host} is to have group {group} up until {until} us, {} us from now, and no \
                 quorum has heard it so recently",
                until - at
            );
            self.blame(Rule::SilentInTime, at, about, what);
        }
        if let Some(Flaw::Doubled { other }) = self.book.up(group, place, token, until, at) {
            let other = self.terms.host(other);
            let what = format!("{host} and {other} both have group {group} up");
            self.blame(Rule::OneHolder, at, about, what);
        }
    }

    /// Returns whether a quorum has heard frames of `host` that are young enough for what it has up
    /// until `until`: D + S on the slowest honest clock, counted from sending.
    fn is_in_time(&self, host: u8, place: usize, until: Micros, at: Micros) -> bool {
        let Some(member) = self.members.get(place) else { return true };
        let authority = self.terms.authority(member.promise.max(self.terms.promise));
        let sent = until.saturating_sub(self.terms.longest(host, authority) + ROUNDING);
        let hears = |voter: &usize| {
            let newest =
                if *voter == place { Some(at) } else { self.hearing.newest_sent(place, *voter) };
            newest.is_some_and(|newest| newest >= sent)
        };
        let voters = (0..self.terms.members()).filter(hears);
        self.terms.is_quorum(voters.fold(0, |all: Voters, voter| all | 1 << voter))
    }

    /// Judges where groups are that follow others or are kept apart, as far as that was said before
    /// `at`.
    pub(super) fn judge_places(&mut self, at: Micros) {
        for (rule, host, group, what) in self.places.judge(&self.terms, at) {
            self.blame(rule, at, (Some(host), Some(group)), what);
        }
        for (host, group, when) in self.places.take_risen(at) {
            self.judge_beside(host, group, when);
        }
    }

    /// Judges what `host` has up besides `group`, which has come up there at `at`.
    fn judge_beside(&mut self, host: u8, group: u8, at: Micros) {
        let place = self.terms.place(host);
        if self.book.until(group, place) <= at {
            // It was silent again at the same moment, as where a machine wakes up and crashes.
            return;
        }
        let related =
            self.terms.apart.iter().filter(|(one, other)| *one == group || *other == group);
        let others = related.map(|(one, other)| if *one == group { *other } else { *one });
        let beside = others.into_iter().find(|other| self.book.until(*other, place) > at);
        if let Some(other) = beside {
            let what = format!("{host} has groups {group} and {other} up, which are kept apart");
            self.blame(Rule::Apart, at, (Some(host), Some(group)), what);
        }
        let mut leaders = self.terms.with.iter().filter(|(follower, _)| *follower == group);
        if let Some((_, leader)) = leaders.find(|(_, leader)| self.book.until(*leader, place) <= at)
        {
            let what = format!("{host} has group {group} up, and not {leader}, which it follows");
            self.blame(Rule::Together, at, (Some(host), Some(group)), what);
        }
    }

    /// Judges what is up of `group` until `at` by what has been promised.
    pub(super) fn judge_book(&mut self, group: u8, at: Micros) {
        if self.terms.guard == Guard::Fence {
            // What runs there is not up to promises once it has started.
            return;
        }
        let flaw = self.book.judge(&self.terms, group, at);
        if let Some(Flaw::Unbacked { place, token, from }) = flaw {
            let host = self.terms.host(place);
            let voters = self.book.supporters(group, place, token, from);
            let what = format!(
                "{host} has group {group} up under token {token} from {from} us on, promised by {}",
                self.terms.names(voters)
            );
            self.blame(Rule::Backed, at, (Some(host), Some(group)), what);
        }
    }

    /// Judges what a voter promises, or frees before its end.
    pub(super) fn judge_promise(
        &mut self,
        voter: u8,
        group: u8,
        promise: Option<Promise>,
        at: Micros,
    ) {
        self.judge_book(group, at);
        let place = self.terms.place(voter);
        let before = self.book.promise(group, place);
        let gone = self.book.promised(group, place, promise, at);
        let Some(member) = self.members.get(place) else { return };
        let about = (Some(voter), Some(group));
        let waited = self.terms.most_shown(voter, at.saturating_sub(member.since));
        // That a clock has changed moves the true end of what was promised before.
        let retold = |new: &Promise| {
            let left = |it: &Promise| it.until.saturating_sub(at);
            let same = |it: &Promise| (it.to, it.boot, it.token) == (new.to, new.boot, new.token);
            before.is_some_and(|it| same(&it) && left(new) <= left(&it) * 11 / 10)
        };
        if let Some(new) = promise.filter(|new| !retold(new))
            && waited + ROUNDING < member.promise
        {
            let what =
                format!("{voter} promises group {group} to {} {waited} us after its start", new.to);
            self.blame(Rule::BootWait, at, about, what);
        }
        if let Some(old) = gone.filter(|old| self.still_wants(group, old)) {
            let what = format!(
                "{voter} takes group {group} from {}, to whom it is promised under token {} until \
                 {} us, and who wants it still; it is promised to {:?} now",
                old.to,
                old.token,
                old.until,
                promise.map(|new| new.to)
            );
            self.blame(Rule::PromiseKept, at, about, what);
        }
    }

    /// Returns whether the one to whom this was promised may still count on it: in the start that
    /// was promised it, it wants the group under this token, or did when it died.
    fn still_wants(&self, group: u8, old: &Promise) -> bool {
        let Some(member) = self.member(old.to) else { return false };
        let wants = member.wants.get(usize::from(group)).copied().flatten();
        member.boot == old.boot && wants == Some(old.token)
    }

    /// Judges a start: under a new token, and with proof where the guard asks for it.
    pub(super) fn judge_start(&mut self, host: u8, group: u8, token: u32, at: Micros) {
        let place = self.terms.place(host);
        let about = (Some(host), Some(group));
        let voters = self.book.supporters(group, place, token, at);
        let (before, earlier) = self.book.token(group, token, voters);
        if token <= before {
            let what = format!("{host} starts group {group} under token {token} after {before}");
            let lost = |voter: usize| {
                let lost = Assumption::StateKept { host: self.terms.host(voter) };
                self.verdicts.broken.contains(&lost)
            };
            let common = (0..self.terms.members()).filter(|it| (voters & earlier) >> it & 1 == 1);
            let all_lost = common.into_iter().all(lost);
            let rule = Rule::TokensGrow;
            let wrong = Wrong { rule, at, host: about.0, group: about.1, what, beyond: None };
            let excuses = |broken| matches!(broken, Assumption::StateKept { .. }) && all_lost;
            self.verdicts.blame(wrong, excuses);
        }
        let own = self.members.get(place).map_or(0, |member| member.boot);
        if super::fenced(&self.terms)
            && let Some(other) = self.resets.unproven(&self.terms, host, own)
        {
            let what = format!("{host} starts group {group} and nothing proves {other} silent");
            self.blame(Rule::Proof, at, about, what);
        }
    }

    /// Judges how a host sees a peer: nobody is lost who was heard within `dead`, as the fastest
    /// honest clock counts.
    pub(super) fn judge_peer(&mut self, host: u8, peer: u8, condition: Condition, at: Micros) {
        self.resets.sees(host, peer, condition, at);
        let (by, of) = (self.terms.place(host), self.terms.place(peer));
        self.hearing.sees(by, of, condition, at);
        let Condition::Lost(boot) = condition else { return };
        let Some(last) = self.hearing.fresh_at(by, of, boot.bits()) else { return };
        let silent = self.terms.most_shown(host, at.saturating_sub(last));
        if silent + ROUNDING < self.terms.dead {
            let what = format!("{host} gives {peer} up, of whom it has heard {} us ago", at - last);
            self.blame(Rule::NotLost, at, (Some(host), None), what);
        }
    }

    /// Judges for how long nobody has had `group` up.
    pub(super) fn judge_gap(&mut self, group: u8, at: Micros) {
        let since = self.book.served_until(group);
        let Some(long) = self.service.gap(&self.terms, group, since, at) else { return };
        let TooLong { since, span, bound, cause } = long;
        let after = match cause {
            Cause::Nothing => "although nothing has happened",
            Cause::Death => "after its holder's death",
            Cause::Move => "while it is moved",
        };
        let what = format!(
            "nobody has group {group} up for {span} us from {since} us on {after}, and {bound} \
             us are promised"
        );
        self.blame(Rule::Outage, at, (None, Some(group)), what);
    }

    /// Judges what has come due by `at`: every group is held once all is repaired.
    pub(super) fn judge_due(&mut self, at: Micros) {
        let Some((healed, due)) = self.service.due(&self.terms, at) else { return };
        for group in 0..self.terms.groups {
            if self.terms.has_room && self.book.served_until(group) <= due {
                let what = format!(
                    "nobody has group {group} up {} us after everything was repaired",
                    due - healed
                );
                self.blame(Rule::Converges, at, (None, Some(group)), what);
            }
            let (starts, most) = (self.places.starts(group), self.terms.starts(group));
            if self.terms.has_room && starts > most {
                let what = format!(
                    "group {group} was started {starts} times since everything was repaired, and \
                     {most} would do"
                );
                self.blame(Rule::Settles, at, (None, Some(group)), what);
            }
        }
    }

    pub(super) fn see_reset(&mut self, at: Micros, seen: &Seen) {
        match *seen {
            Seen::ResetAsked { .. } => self.judge_request(at, seen),
            Seen::Pulse { target, felt } => self.judge_pulse(target, felt, at),
            Seen::PulseEnded { .. } => self.resets.ends(&self.terms, at),
            Seen::Vouched { to, target, boot } => {
                self.service.disturbed(at);
                let place = self.terms.place(target);
                if (0..self.terms.groups).any(|group| self.book.until(group, place) > at) {
                    self.verdicts.broke(Assumption::TrueWord { target });
                }
                self.resets.vouched(to, target, boot);
            }
            _ => {}
        }
    }

    /// Judges a request for a reset: the asker's claim has a quorum.
    fn judge_request(&mut self, at: Micros, seen: &Seen) {
        let Some((request, group, token)) = super::request(seen) else { return };
        let Request { asker, target, .. } = request;
        if !self.resets.asked(request) {
            return;
        }
        let voters = self.book.supporters(group, self.terms.place(asker), token, at);
        if !self.terms.is_quorum(voters) {
            let what = format!(
                "{asker} asks that {target} be reset for group {group}, promised by {}",
                self.terms.names(voters)
            );
            self.blame(Rule::ResetAsked, at, (Some(asker), Some(group)), what);
        }
    }

    /// Judges a pulse that begins: somebody asked for it, long enough after the last one, for the
    /// start that runs, and the target is not alive for those who count.
    fn judge_pulse(&mut self, target: u8, felt: bool, at: Micros) {
        let about = (Some(target), None);
        let (request, ended) = self.resets.begins(target, felt, at);
        if let Some(ended) = ended
            && self.terms.most_shown(16, at - ended) + ROUNDING < self.terms.pulses.0
        {
            let what = format!("{target} is reset {} us after the last pulse", at - ended);
            self.blame(Rule::PulsesApart, at, about, what);
        }
        let Some(request) = request else {
            let what = format!("{target} is reset and nobody has asked for it");
            return self.blame(Rule::ResetAsked, at, about, what);
        };
        let (place, dongle) = (self.terms.place(target), self.terms.place(16));
        let dead = self.terms.dead;
        // On a line that cannot carry what is said, what comes in last may be of an earlier start.
        if let Some((boot, last)) = self.hearing.last(dongle, place)
            && self.terms.has_room
            && last < at
            && request.boot.is_some_and(|named| named != boot)
            && at - last < dead * 9 / 10
        {
            let what = format!("{target} is reset in another start than the one that is meant");
            self.blame(Rule::RightStart, at, about, what);
        }
        let Some(member) = self.member(target).filter(|member| member.running) else { return };
        let boot = member.boot;
        let long = |since: Option<Micros>, span| since.is_some_and(|since| at - since > span);
        // On a line that is too slow for its traffic frames are old when they arrive, and an old
        // frame is no sign of life; settings with such lines are refused.
        if self.terms.has_room && long(self.hearing.since(dongle, place, boot, at), 2 * dead) {
            let what = format!("{target} is reset although the dongle hears it");
            self.blame(Rule::LivingTarget, at, about, what);
        }
        let asker = request.asker;
        let met = self.resets.alive_since(asker, target, boot);
        if long(met, self.terms.promise + 2 * dead) {
            let what = format!("{target} is reset although {asker} hears it");
            self.blame(Rule::LivingTarget, at, about, what);
        }
    }

    pub(super) fn judge_line(&mut self, at: Micros, seen: &Seen) {
        let (writer, line, what) = match *seen {
            Seen::OnLine { writer, line, frame: Some(frame) } => {
                if !self.lines.again(writer, line, frame) {
                    return;
                }
                (writer, line, format!("{frame:?} once more"))
            }
            Seen::OnLine { writer, line, frame: None } => {
                (writer, line, "what has no right tag".to_owned())
            }
            Seen::Garbage { writer, line } => (writer, line, "what is no message".to_owned()),
            _ => return,
        };
        let what = format!("{writer} sends {what} on line {line}");
        self.blame(Rule::RelayOnce, at, (Some(writer), None), what);
    }
}
