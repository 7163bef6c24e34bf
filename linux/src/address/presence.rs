//! What a service address says on its adapter and hears there: probes, announcements, questions.
//!
//! Pure: frames go out by a function of the caller's, and time is an argument.
//!
//! - A *probe* asks three times within a window whether someone has the address (RFC 5227 2.1).
//! - *Announcements* follow a takeover at once and after 0.1, 1, 3 and 10 seconds, as the first may
//!   be lost in a switch that is still learning; and once more when another claims the address, at
//!   most once a second (RFC 5227 2.4).
//! - *Questions* from the address to up to [`MAX_ASKED`] others on the wire make them learn where
//!   it is, and each answer, which comes to the adapter's hardware address, is proof that one did.
//!   Who is silent is asked again after 1 and 3 seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::arp::{self, Mac};
use super::ndp;

/// One address on its adapter.
#[derive(Debug)]
pub(crate) struct Presence {
    ip: IpAddr,
    is_held: bool,
    /// When the lease ends, beyond which nothing is said in the name of the address.
    until_us: Option<u64>,
    announcements: Option<Schedule>,
    probe: Option<Schedule>,
    probe_window_us: u64,
    defended_us: Option<u64>,
    questions: Option<Questions>,
}

/// Frames that repeat: when it began and how many steps are done.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start_us: u64,
    done: usize,
}

/// Whom is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its address.
    pub(crate) ip: IpAddr,
    /// Its hardware address, where it is known.
    pub(crate) mac: Option<Mac>,
}

/// Those who are asked, and whether each has answered.
#[derive(Debug)]
struct Questions {
    start_us: u64,
    asked: Vec<(Asked, bool)>,
    /// How often those who are silent have been asked.
    tries: usize,
    last_answer_us: Option<u64>,
}

/// How many neighbours know where an address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Neighbours asked from the address.
    pub asked: usize,
    /// Those who answered to this machine.
    pub answered: usize,
    /// How long the last answer took, in microseconds; `None` where none came.
    pub last_answer_us: Option<u64>,
}

/// What came of frames and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Another has the address, or probes for it as we do.
    Conflict(Mac),
    /// The window of a probe is over and nobody spoke up.
    Free,
    /// The questions are answered, or their time is over.
    Learned(Learned),
}

impl Presence {
    /// Returns the silent presence of `ip`.
    pub(crate) const fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            is_held: false,
            until_us: None,
            announcements: None,
            probe: None,
            probe_window_us: 0,
            defended_us: None,
            questions: None,
        }
    }

    /// Starts asking whether someone has the address, for `window_us`.
    pub(crate) fn probe(&mut self, window_us: u64, now_us: u64) {
        self.probe = Some(Schedule { start_us: now_us, done: 0 });
        self.probe_window_us = window_us;
    }

    /// Starts announcing the address and defending it.
    pub(crate) fn announce(&mut self, now_us: u64) {
        self.probe = None;
        self.is_held = true;
        self.announcements = Some(Schedule { start_us: now_us, done: 0 });
    }

    /// Lets the address be announced, defended and asked from until `until_us`.
    ///
    /// What enforces the lease may not see frames that this process writes itself. A process that
    /// wakes up late would claim the address once more, and draw traffic away from who has it by
    /// then.
    pub(crate) const fn speak_until(&mut self, until_us: u64) {
        self.until_us = Some(until_us);
    }

    /// Says nothing more.
    pub(crate) fn fall_silent(&mut self) {
        *self = Self::new(self.ip);
    }

    /// Ends a probe without an outcome.
    pub(crate) const fn stop_probing(&mut self) {
        self.probe = None;
    }

    /// Asks `others` from the address, if it is held: the first [`MAX_ASKED`] of its kind.
    pub(crate) fn ask(&mut self, others: &[Asked], mac: Mac, now_us: u64, send: impl FnMut(&[u8])) {
        // What fell silent as its lease ended is held no more, and has forgotten when that was.
        if !self.is_held || self.is_over(now_us) {
            return;
        }
        let mut asked: Vec<(Asked, bool)> = Vec::new();
        for other in others {
            let is_ours = other.ip.is_ipv4() == self.ip.is_ipv4() && other.ip != self.ip;
            let is_known = asked.iter().any(|(known, _)| known.ip == other.ip);
            if is_ours && !is_known && !other.ip.is_multicast() && asked.len() < MAX_ASKED {
                asked.push((*other, false));
            }
        }
        let questions = Questions { start_us: now_us, asked, tries: 1, last_answer_us: None };
        questions.send(self.ip, mac, send);
        self.questions = Some(questions);
    }

    /// Sends what is due from hardware address `mac`; `now_us` is read just before.
    pub(crate) fn handle_timeout(
        &mut self,
        mac: Mac,
        now_us: u64,
        mut send: impl FnMut(&[u8]),
    ) -> Option<Outcome> {
        if self.is_over(now_us) {
            self.fall_silent();
            return None;
        }
        while self.announcement_due_us().is_some_and(|due| due <= now_us) {
            match self.ip {
                IpAddr::V4(ip) => {
                    arp::announcements(mac, ip).iter().for_each(|frame| send(frame));
                }
                IpAddr::V6(ip) => send(&ndp::announcement(mac, ip)),
            }
            step(&mut self.announcements, now_us, announcement_us);
        }
        if self.probe_due_us().is_some_and(|due| due <= now_us) {
            if self.probe.is_some_and(|probe| probe.done == PROBES) {
                self.probe = None;
                return Some(Outcome::Free);
            }
            match self.ip {
                IpAddr::V4(ip) => send(&arp::probe(mac, ip)),
                IpAddr::V6(ip) => send(&ndp::probe(mac, ip)),
            }
            // Late probes are not made up for: the window is over when it is over.
            if let Some(probe) = &mut self.probe {
                probe.done += 1;
            }
        }
        let questions = self.questions.as_mut().filter(|asked| asked.due_us() <= now_us)?;
        let learned = questions.learned();
        if questions.tries < TRIES && learned.answered < learned.asked {
            questions.tries += 1;
            questions.send(self.ip, mac, send);
        } else {
            self.questions = None;
        }
        Some(Outcome::Learned(learned))
    }

    /// Takes in a frame that came on the adapter; `is_own` knows this machine's hardware addresses.
    pub(crate) fn handle_frame(
        &mut self,
        bytes: &[u8],
        is_own: impl Fn(Mac) -> bool,
        now_us: u64,
    ) -> Option<Outcome> {
        let word = match self.ip {
            IpAddr::V4(ip) => read_arp(ip, bytes)?,
            IpAddr::V6(ip) => read_ndp(ip, bytes)?,
        };
        match word {
            Word::Answer(neighbour) => self.handle_answer(neighbour, now_us),
            Word::Claim(mac) | Word::Probe(mac) if is_own(mac) => None,
            Word::Claim(mac) if self.is_held => {
                if self.defended_us.is_some_and(|last| now_us < last + DEFENCE_US) {
                    return None;
                }
                self.defended_us = Some(now_us);
                self.announcements = Some(Schedule { start_us: now_us, done: 0 });
                Some(Outcome::Conflict(mac))
            }
            Word::Claim(mac) | Word::Probe(mac) => {
                self.probe.take().map(|_| Outcome::Conflict(mac))
            }
        }
    }

    /// Whether a probe is under way.
    pub(crate) const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) next has work.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let questions = self.questions.as_ref().map(Questions::due_us);
        [self.announcement_due_us(), self.probe_due_us(), questions].into_iter().flatten().min()
    }

    /// Whether the lease has ended.
    fn is_over(&self, now_us: u64) -> bool {
        self.until_us.is_some_and(|until_us| until_us <= now_us)
    }

    /// Notes an answer, and tells when it was the last.
    fn handle_answer(&mut self, neighbour: IpAddr, now_us: u64) -> Option<Outcome> {
        let questions = self.questions.as_mut()?;
        let (_, answered) = questions.asked.iter_mut().find(|(asked, _)| asked.ip == neighbour)?;
        if !*answered {
            *answered = true;
            questions.last_answer_us = Some(now_us.saturating_sub(questions.start_us));
        }
        if questions.asked.iter().all(|(_, answered)| *answered) {
            return self.questions.take().map(|asked| Outcome::Learned(asked.learned()));
        }
        None
    }

    /// Returns when the next announcement is due.
    fn announcement_due_us(&self) -> Option<u64> {
        let schedule = self.announcements?;
        Some(schedule.start_us.saturating_add(announcement_us(schedule.done)?))
    }

    /// Returns when the next probe, or the end of the window, is due.
    fn probe_due_us(&self) -> Option<u64> {
        let probe = self.probe?;
        let part = u64::try_from(probe.done).unwrap_or(0);
        Some(probe.start_us.saturating_add(self.probe_window_us * part / PROBES as u64))
    }
}

impl Questions {
    /// Returns when the silent are asked again, or answers count no more; at once where nobody was
    /// asked.
    fn due_us(&self) -> u64 {
        let after_us = if self.asked.is_empty() { None } else { question_us(self.tries) };
        self.start_us.saturating_add(after_us.unwrap_or(0))
    }

    /// Asks those who have not answered.
    fn send(&self, own: IpAddr, mac: Mac, mut send: impl FnMut(&[u8])) {
        for (asked, _) in self.asked.iter().filter(|(_, has_answered)| !has_answered) {
            match (own, asked.ip) {
                (IpAddr::V4(ip), IpAddr::V4(to)) => send(&arp::question(mac, ip, asked.mac, to)),
                (IpAddr::V6(ip), IpAddr::V6(to)) => send(&ndp::question(mac, ip, asked.mac, to)),
                _ => {}
            }
        }
    }

    /// Returns the counts.
    fn learned(&self) -> Learned {
        let answered = self.asked.iter().filter(|(_, answered)| *answered).count();
        Learned { asked: self.asked.len(), answered, last_answer_us: self.last_answer_us }
    }
}

/// What a frame says about an address.
enum Word {
    /// It is at this hardware address.
    Claim(Mac),
    /// Someone asks whether it is free.
    Probe(Mac),
    /// A neighbour answers a question from it.
    Answer(IpAddr),
}

/// Reads what a frame of ARP says about `ip`.
fn read_arp(ip: Ipv4Addr, bytes: &[u8]) -> Option<Word> {
    let heard = arp::read(bytes)?;
    if heard.sender == ip {
        Some(Word::Claim(heard.mac))
    } else if heard.target != ip {
        None
    } else if heard.is_answer {
        Some(Word::Answer(heard.sender.into()))
    } else if heard.sender.is_unspecified() {
        Some(Word::Probe(heard.mac))
    } else {
        None
    }
}

/// Reads what a frame of neighbour discovery says about `ip`.
fn read_ndp(ip: Ipv6Addr, bytes: &[u8]) -> Option<Word> {
    let heard = ndp::read(bytes)?;
    if heard.is_advertisement && heard.target == ip {
        Some(Word::Claim(heard.mac))
    } else if heard.is_advertisement && heard.destination == ip {
        Some(Word::Answer(heard.target.into()))
    } else if heard.source.is_unspecified() && heard.target == ip {
        Some(Word::Probe(heard.mac))
    } else {
        None
    }
}

/// Counts a step, and those whose time has passed meanwhile, so that none is sent in a burst.
fn step(schedule: &mut Option<Schedule>, now_us: u64, after_us: impl Fn(usize) -> Option<u64>) {
    if let Some(current) = schedule {
        let elapsed_us = now_us.saturating_sub(current.start_us);
        current.done += 1;
        while after_us(current.done).is_some_and(|due| due <= elapsed_us) {
            current.done += 1;
        }
        if after_us(current.done).is_none() {
            *schedule = None;
        }
    }
}

/// Returns how long after the takeover announcement number `number` is due.
pub(crate) const fn announcement_us(number: usize) -> Option<u64> {
    Some(match number {
        0 => 0,
        1 => 100_000,
        2 => 1_000_000,
        3 => 3_000_000,
        4 => 10_000_000,
        _ => return None,
    })
}

/// Returns how long after the first question those who are silent are asked for the time `number`,
/// from 0; the last is when answers count no more.
const fn question_us(number: usize) -> Option<u64> {
    Some(match number {
        0 => 0,
        1 => 1_000_000,
        2 => 3_000_000,
        TRIES => 4_000_000,
        _ => return None,
    })
}

/// How often somebody is asked.
const TRIES: usize = 3;
/// The most who are asked.
pub(crate) const MAX_ASKED: usize = 64;
/// How many probes a window has (RFC 5227's `PROBE_NUM`).
const PROBES: usize = 3;
/// The least time between two defences; RFC 5227's ten seconds suit hosts that may give up.
const DEFENCE_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const FOREIGN: Mac = [2, 0, 0, 0, 0, 2];

    fn addresses() -> [IpAddr; 2] {
        [[10, 77, 0, 100].into(), "fd00::100".parse().unwrap()]
    }

    fn claim(ip: IpAddr, mac: Mac) -> Vec<u8> {
        match ip {
            IpAddr::V4(ip) => arp::announcements(mac, ip)[1].to_vec(),
            IpAddr::V6(ip) => ndp::announcement(mac, ip),
        }
    }

    fn is_own(mac: Mac) -> bool {
        mac == OWN
    }

    /// Returns somebody in the network of `ip`.
    fn neighbour_of(ip: IpAddr) -> Asked {
        let ip = if ip.is_ipv4() { [10, 77, 0, 9].into() } else { "fd00::9".parse().unwrap() };
        Asked { ip, mac: Some(FOREIGN) }
    }

    /// Runs timeouts until none is left and returns when frames went out, and what came of it.
    fn run(presence: &mut Presence) -> (Vec<u64>, Vec<Outcome>) {
        let (mut sent, mut outcomes) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let Some(due) = presence.poll_timeout() else {
                return (sent, outcomes);
            };
            outcomes.extend(presence.handle_timeout(OWN, due, |_| sent.push(due)));
        }
        panic!("never ends");
    }

    #[test]
    fn announcements_follow_the_schedule() {
        let mut presence = Presence::new(addresses()[1]);
        presence.announce(50);
        let expected = [50, 100_050, 1_000_050, 3_000_050, 10_000_050];
        assert_eq!(run(&mut presence), (expected.to_vec(), vec![]));
        let mut presence = Presence::new(addresses()[0]);
        presence.announce(0);
        assert_eq!(run(&mut presence).0.len(), 10, "both forms each time");
    }

    #[test]
    fn nothing_is_said_once_the_lease_has_ended_even_in_defence() {
        for ip in addresses() {
            let mut presence = Presence::new(ip);
            presence.announce(0);
            presence.speak_until(200_000);
            let mut sent = 0;
            presence.handle_timeout(OWN, 100_000, |_| sent += 1);
            assert!(sent > 0, "before the end");
            let conflict = presence.handle_frame(&claim(ip, FOREIGN), is_own, 300_000);
            assert_eq!(conflict, Some(Outcome::Conflict(FOREIGN)));
            let unsaid = |_: &[u8]| panic!("said after the end");
            presence.ask(&[neighbour_of(ip)], OWN, 300_000, unsaid);
            assert_eq!(presence.handle_timeout(OWN, 300_000, unsaid), None);
            assert_eq!(presence.poll_timeout(), None);
        }
    }

    #[test]
    fn who_was_too_late_to_announce_asks_nobody_either() {
        for ip in addresses() {
            let mut presence = Presence::new(ip);
            presence.announce(0);
            presence.speak_until(200_000);
            let unsaid = |_: &[u8]| panic!("said after the end");
            assert_eq!(presence.handle_timeout(OWN, 300_000, unsaid), None);
            presence.ask(&[neighbour_of(ip)], OWN, 300_010, unsaid);
            assert_eq!(presence.poll_timeout(), None);
        }
    }

    #[test]
    fn late_announcements_are_not_made_up_for() {
        let mut presence = Presence::new(addresses()[1]);
        presence.announce(0);
        let mut sent = 0;
        presence.handle_timeout(OWN, 5_000_000, |_| sent += 1);
        assert_eq!((sent, presence.poll_timeout()), (1, Some(10_000_000)));
    }

    #[test]
    fn a_probe_that_nobody_answers_ends_free_after_its_window() {
        for ip in addresses() {
            let mut presence = Presence::new(ip);
            presence.probe(300, 1000);
            let (sent, outcomes) = run(&mut presence);
            assert_eq!((sent, outcomes), (vec![1000, 1100, 1200], vec![Outcome::Free]));
        }
    }

    #[test]
    fn a_probe_ends_with_the_first_who_has_the_address_or_wants_it() {
        for ip in addresses() {
            let probe = match ip {
                IpAddr::V4(ip) => arp::probe(FOREIGN, ip).to_vec(),
                IpAddr::V6(ip) => ndp::probe(FOREIGN, ip),
            };
            for frame in [claim(ip, FOREIGN), probe] {
                let mut presence = Presence::new(ip);
                presence.probe(300, 0);
                let outcome = presence.handle_frame(&frame, is_own, 10);
                assert_eq!(outcome, Some(Outcome::Conflict(FOREIGN)));
                assert_eq!(presence.poll_timeout(), None);
            }
        }
    }

    #[test]
    fn a_foreign_claim_is_answered_once_a_second() {
        for ip in addresses() {
            let mut presence = Presence::new(ip);
            presence.announce(0);
            run(&mut presence);
            let frame = claim(ip, FOREIGN);
            let at = |presence: &mut Presence, now| presence.handle_frame(&frame, is_own, now);
            assert_eq!(at(&mut presence, 20_000_000), Some(Outcome::Conflict(FOREIGN)));
            assert_eq!(presence.poll_timeout(), Some(20_000_000));
            assert_eq!(at(&mut presence, 20_999_999), None);
            assert_eq!(at(&mut presence, 21_000_000), Some(Outcome::Conflict(FOREIGN)));
        }
    }

    #[test]
    fn own_claims_and_claims_on_what_is_not_held_are_none_of_its_business() {
        for ip in addresses() {
            let mut presence = Presence::new(ip);
            assert_eq!(presence.handle_frame(&claim(ip, FOREIGN), is_own, 0), None);
            presence.announce(0);
            assert_eq!(presence.handle_frame(&claim(ip, OWN), is_own, 0), None);
            let other =
                if ip.is_ipv4() { [10, 77, 0, 9].into() } else { "fd00::9".parse().unwrap() };
            assert_eq!(presence.handle_frame(&claim(other, FOREIGN), is_own, 0), None);
            presence.fall_silent();
            assert_eq!(presence.handle_frame(&claim(ip, FOREIGN), is_own, 0), None);
            assert_eq!(presence.poll_timeout(), None);
        }
    }

    #[test]
    fn answers_of_neighbours_are_counted_once_each() {
        let [ip, _] = addresses();
        let neighbour = |n: u8| Asked { ip: [10, 77, 0, n].into(), mac: Some([n; 6]) };
        let known: Vec<_> = (1..=2).map(neighbour).chain([neighbour(100)]).collect();
        let mut presence = Presence::new(ip);
        presence.announce(0);
        let mut sent = 0;
        presence.ask(&known, OWN, 1000, |_| sent += 1);
        assert_eq!(sent, 2, "not itself");
        let answer = |n: u8| {
            let mut frame =
                arp::question([n; 6], [10, 77, 0, n].into(), Some(OWN), [10, 77, 0, 100].into());
            frame[21] = 2;
            frame
        };
        assert_eq!(presence.handle_frame(&answer(1), is_own, 1300), None);
        assert_eq!(presence.handle_frame(&answer(1), is_own, 1400), None);
        assert_eq!(presence.handle_frame(&answer(7), is_own, 1400), None, "was not asked");
        let learned = Learned { asked: 2, answered: 2, last_answer_us: Some(500) };
        let outcome = presence.handle_frame(&answer(2), is_own, 1500);
        assert_eq!(outcome, Some(Outcome::Learned(learned)));
    }

    #[test]
    fn who_is_silent_is_asked_three_times_and_only_so_many_are() {
        let [_, ip] = addresses();
        let known: Vec<_> = (1..=80)
            .map(|n| Asked { ip: format!("fd00::{n}").parse().unwrap(), mac: None })
            .collect();
        let mut presence = Presence::new(ip);
        presence.announce(0);
        run(&mut presence);
        let mut asked = 0;
        presence.ask(&known, OWN, 0, |_| asked += 1);
        assert_eq!(asked, MAX_ASKED);
        let answer = ndp::question(FOREIGN, "fd00::1".parse().unwrap(), Some(OWN), {
            let IpAddr::V6(ip) = ip else { panic!() };
            ip
        });
        let unanswered = Learned { asked: MAX_ASKED, answered: 0, last_answer_us: None };
        assert_eq!(presence.handle_frame(&answer, is_own, 5), None, "a question is no answer");
        let (sent, outcomes) = run(&mut presence);
        let again = |ms: u64| [ms * 1000; MAX_ASKED];
        assert_eq!(sent, [again(1000), again(3000)].concat());
        assert_eq!(outcomes, [Outcome::Learned(unanswered); 3]);
        presence.ask(&[], OWN, 5, |_| ());
        assert_eq!(run(&mut presence).1, [Outcome::Learned(Learned::default())]);
    }

    #[test]
    fn who_has_answered_is_left_alone() {
        let [ip, _] = addresses();
        let mut presence = Presence::new(ip);
        presence.announce(0);
        run(&mut presence);
        let others = [7, 8, 7].map(|n: u8| Asked { ip: [10, 77, 0, n].into(), mac: None });
        presence.ask(&others, OWN, 0, |_| ());
        let mut answer =
            arp::question([7; 6], [10, 77, 0, 7].into(), Some(OWN), [10, 77, 0, 100].into());
        answer[21] = 2;
        assert_eq!(presence.handle_frame(&answer, is_own, 300), None);
        let (sent, outcomes) = run(&mut presence);
        assert_eq!(sent, [1_000_000, 3_000_000], "the other one");
        let learned = Learned { asked: 2, answered: 1, last_answer_us: Some(300) };
        assert_eq!(outcomes, [Outcome::Learned(learned); 3]);
    }
}
