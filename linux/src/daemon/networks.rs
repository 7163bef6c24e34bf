//! Networks with several adapters: which of them has failed, and the move of service addresses
//! from one to the other inside this node, which changes neither holder nor token.
//!
//! A lost carrier counts at once. That frames have stopped counts when two looks in a row say so,
//! with all that waited to be read taken in between.

mod verdict;

use lifesign_core::frame::Body;
use lifesign_core::network::{self, Choice, Origin, Sight, Verdict};
use lifesign_core::node::{LinkId, NodeId, NodeSet};
use lifesign_core::peer::Session;
use lifesign_core::time::Instant;

use self::verdict::{said, said_of, word};
use super::Daemon;
use crate::address::Seat;
use crate::page::list;
use crate::report::{NetworkReport, SeatReport};
use crate::settings::Settings;

/// One network, as this node sees it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    name: String,
    /// The links over this node's adapters, in the order of the settings.
    links: Vec<LinkId>,
    choice: Choice,
    /// How each adapter is.
    verdicts: Vec<Verdict>,
    /// Whether each adapter is there.
    there: Vec<bool>,
    /// What the last look saw, if that was something else.
    pending: Option<Vec<Verdict>>,
    /// Since when every adapter has failed on this node's side.
    failed_since: Option<Instant>,
    is_able: bool,
    is_down: bool,
}

impl Watched {
    /// Returns the networks of `settings` as they are at the start of node `me`.
    pub(super) fn all(settings: &Settings, me: NodeId) -> Vec<Self> {
        let links = |network: &crate::settings::Network| -> Vec<LinkId> {
            let has_adapter =
                |id: &LinkId| settings.links.get(id.index())?.adapter(me).map(|_| *id);
            network.links.iter().filter_map(has_adapter).collect()
        };
        let all = settings.networks.iter().map(|network| {
            let links = links(network);
            Self {
                name: network.name.clone(),
                choice: Choice::new(links.len()),
                verdicts: vec![Verdict::Unknown; links.len()],
                there: vec![true; links.len()],
                links,
                pending: None,
                failed_since: None,
                is_able: true,
                is_down: false,
            }
        });
        all.collect()
    }

    /// Takes note of what is seen, and returns whether that counts.
    fn confirm(&mut self, seen: &[Verdict]) -> bool {
        let is_certain = |(before, after): (&Verdict, &Verdict)| {
            before == after || *after == Verdict::NoCarrier || *before == Verdict::NoCarrier
        };
        let is_certain = self.verdicts.iter().zip(seen).all(is_certain);
        if is_certain || self.pending.as_deref() == Some(seen) {
            self.pending = None;
            return true;
        }
        self.pending = Some(seen.to_vec());
        false
    }
}

impl Daemon {
    /// Looks how the adapters of every network are, and moves addresses where that helps.
    pub(super) fn look_at_networks(&mut self, now: Instant) {
        for at in 0..self.networks.len() {
            let seats = self.addresses.seats(at, now);
            let sights = self.sights(at, &seats, now);
            let seen: Vec<Verdict> = network::judge(&sights).collect();
            if seen.iter().any(|verdict| *verdict != Verdict::Well) {
                self.addresses.ask(at, now);
            }
            let Some(watched) = self.networks.get_mut(at) else { continue };
            if watched.confirm(&seen) {
                let before = std::mem::replace(&mut watched.verdicts, seen.clone());
                let there: Vec<bool> = seats.iter().map(|seat| seat.is_there).collect();
                let is_news = before != seen || watched.there != there;
                watched.there = there;
                let serving = self.serving(at);
                let Some(watched) = self.networks.get_mut(at) else { continue };
                let chosen = watched.choice.clone();
                watched.choice.look(&seen, now);
                for origin in Origin::ALL {
                    self.swap(at, origin, chosen.current(origin), now);
                }
                if is_news {
                    self.tell_verdicts(at, &before, &serving, &seats);
                }
            }
            for origin in Origin::ALL {
                let place = self.networks.get(at).map(|it| it.choice.current(origin));
                if place.is_some_and(|place| !self.addresses.is_seated(at, origin, place)) {
                    self.take_seat(at, origin, now);
                }
            }
            self.look_whether_able(at, now);
        }
    }

    /// Returns when a network is to be looked at again, whatever happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let (peers, now) = (&self.engine.member().peers, self.engine.now());
        let dead = peers.dead();
        let dues = self.networks.iter().enumerate().flat_map(|(at, watched)| {
            let silent = watched.links.iter().flat_map(move |link| {
                let heard = move |(node, _): (NodeId, &Session)| {
                    let heard = peers.get(node)?.link(*link)?.expectation.heard()?;
                    Some(heard + dead).filter(|due| now < *due)
                };
                peers.sessions().filter_map(heard)
            });
            let pending = watched.pending.as_ref().map(|_| now);
            let able = watched.failed_since.filter(|_| watched.is_able);
            let able = able.map(|since| since + dead.times(2));
            let own = [
                pending,
                able,
                watched.choice.poll_timeout(),
                self.addresses.next_question(at, now),
            ];
            own.into_iter().flatten().chain(silent)
        });
        dues.min()
    }

    /// Returns what is seen of each link of a network.
    fn sights(&self, at: usize, seats: &[Seat], now: Instant) -> Vec<Sight> {
        let Some(watched) = self.networks.get(at) else { return Vec::new() };
        let links = watched.links.iter().zip(seats);
        links.map(|(link, seat)| self.sight(*link, seat, now)).collect()
    }

    fn sight(&self, link: LinkId, seat: &Seat, now: Instant) -> Sight {
        let peers = &self.engine.member().peers;
        let dead = peers.dead();
        let mut sight =
            Sight { carrier: seat.carrier, answered: seat.answered, ..Sight::default() };
        let mut last_here = Instant::ZERO;
        // Who has just come has not been heard everywhere yet.
        let is_settled = |session: &Session| now.since(session.since) >= dead.times(2);
        for (node, session) in peers.sessions().filter(|(_, session)| is_settled(session)) {
            let is_on = self.settings.links.get(link.index()).is_some_and(|it| it.reaches(node));
            sight.others_meet |= meets_others(node, &session.body, (self.me, link));
            let Some(peer) = peers.get(node).filter(|_| is_on) else { continue };
            let heard = |link| peer.link(link).and_then(|link| link.expectation.heard());
            let newest = LinkId::all().filter_map(heard).max().unwrap_or_default();
            let here = heard(link).unwrap_or_default();
            last_here = last_here.max(here);
            if now.since(here) < dead {
                sight.heard.insert(node);
            } else if newest.since(here).times(2) < dead {
                // It has fallen silent everywhere: that says nothing of this link.
                continue;
            }
            sight.others.insert(node);
            // A witness numbers its own links; it answers over the one it hears.
            let is_answered = node.is_witness() && sight.heard.contains(node);
            let echo = session.body.echo_of(self.me);
            if echo.is_some_and(|echo| is_answered || echo.links.contains(link)) {
                sight.hear_me.insert(node);
            }
        }
        if sight.heard == NodeSet::EMPTY {
            sight.answered = seat.answered_since(last_here);
        }
        sight
    }

    /// Moves the addresses of an origin on a network from one adapter to the one that is chosen, if
    /// that is another.
    fn swap(&mut self, at: usize, origin: Origin, from: usize, now: Instant) {
        let chosen = self.networks.get(at).map(|watched| watched.choice.current(origin));
        let Some(to) = chosen.filter(|to| *to != from) else { return };
        self.take_seat(at, origin, now);
        let held = self.held(at, origin);
        let Some(watched) = self.networks.get(at).filter(|_| !held.is_empty()) else { return };
        let held: Vec<&str> = held.iter().map(String::as_str).collect();
        let names = [from, to].map(|place| self.seat_name(at, place));
        let why = watched.verdicts.get(from).copied().unwrap_or_default();
        let [from, to] = &names;
        let reason = if why.is_proven() {
            format!("{to} comes first, and has been well for long enough")
        } else {
            format!("{from} {}", said(why))
        };
        let text = format!(
            "network {}: moves {} from {from} to {to}: {reason}",
            watched.name,
            list(&held)
        );
        let network = watched.name.clone();
        self.notify_of_network(network, ("swap_adapter", to), text.clone());
        self.decided(text);
    }

    /// Has the addresses of an origin on a network sit where they are to, and takes those that are
    /// held there.
    fn take_seat(&mut self, at: usize, origin: Origin, now: Instant) {
        let Some(place) = self.networks.get(at).map(|watched| watched.choice.current(origin))
        else {
            return;
        };
        if let Err(error) = self.addresses.seat(at, origin, place) {
            let name = self.network_name(at);
            self.alert(format!("network {name}: {error}; tried again"));
            return;
        }
        let mut moved: Vec<usize> =
            self.addresses.services_on(at, origin).into_iter().map(|(group, _)| group).collect();
        moved.dedup();
        for group in moved {
            let Some(holding) = self.groups.get_mut(group) else { continue };
            let addresses = &self.addresses;
            holding.impaired.retain(|adapter| addresses.is_on(group, adapter));
            let is_up = holding.conduct.has_addresses();
            if is_up && self.addresses.is_placed(group) {
                self.restore(group, now);
            }
            self.tell_able(group, now);
        }
    }

    /// Notes whether this node can serve on a network: what is not told by a lost carrier must have
    /// lasted, as the others may have noticed it a little later.
    fn look_whether_able(&mut self, at: usize, now: Instant) {
        let dead = self.engine.member().peers.dead();
        let Some(watched) = self.networks.get_mut(at) else { return };
        let has_failed = !watched.choice.is_able();
        watched.failed_since = if has_failed { watched.failed_since.or(Some(now)) } else { None };
        let is_able = watched.failed_since.is_none_or(|since| now.since(since) < dead.times(2));
        if std::mem::replace(&mut watched.is_able, is_able) != is_able {
            for group in self.groups_of(at) {
                self.tell_able(group, now);
            }
        }
    }

    /// Returns whether the networks of a group can be served from here.
    pub(super) fn is_networked(&self, group: usize) -> bool {
        let mut networks = self.networks.iter().enumerate();
        networks.all(|(at, watched)| watched.is_able || !self.groups_of(at).contains(&group))
    }

    /// Returns the groups with an address on a network.
    fn groups_of(&self, at: usize) -> Vec<usize> {
        let Some(network) = self.settings.networks.get(at) else { return Vec::new() };
        let groups = self.settings.groups.iter().enumerate();
        let is_on = |ip| network.services.contains(ip);
        groups
            .filter(|(_, group)| group.addresses.iter().any(|address| is_on(&address.ip)))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns the service addresses of an origin on a network that this node holds.
    fn held(&self, at: usize, origin: Origin) -> Vec<String> {
        let is_held =
            |group: usize| self.groups.get(group).is_some_and(|it| it.conduct.has_addresses());
        let own = self.addresses.services_on(at, origin).into_iter();
        own.filter(|(group, _)| is_held(*group)).map(|(_, ip)| ip.to_string()).collect()
    }

    /// Returns the places of the adapters of a network on which addresses are held.
    fn serving(&self, at: usize) -> Vec<usize> {
        let Some(watched) = self.networks.get(at) else { return Vec::new() };
        let held = Origin::ALL.into_iter().filter(|origin| !self.held(at, *origin).is_empty());
        held.map(|origin| watched.choice.current(origin)).collect()
    }

    fn network_name(&self, at: usize) -> String {
        self.networks.get(at).map(|watched| watched.name.clone()).unwrap_or_default()
    }

    fn seat_name(&self, at: usize, place: usize) -> String {
        self.addresses.seat_name(at, place).unwrap_or_default().to_owned()
    }

    /// Tells people and hooks what has changed on a network, on which addresses were held at the
    /// places `serving`.
    fn tell_verdicts(&mut self, at: usize, before: &[Verdict], serving: &[usize], seats: &[Seat]) {
        let Some(watched) = self.networks.get(at) else { return };
        let name = watched.name.clone();
        let verdicts = watched.verdicts.clone();
        let changes = before.iter().zip(&verdicts).zip(seats).enumerate();
        let mut alerts = Vec::new();
        for (place, ((before, after), seat)) in changes {
            let text = format!("network {name}: {} {}", seat.name, said_of(*after, seat));
            if !matches!(after, Verdict::Well | Verdict::Alone | Verdict::Unknown) {
                alerts.push(text.clone());
            }
            let hook = match (before.is_mine(), after.is_mine()) {
                (false, true) if !serving.contains(&place) => "fail_standby",
                (true, false) if after.is_proven() && !serving.contains(&place) => "join_standby",
                _ => continue,
            };
            self.notify_of_network(name.clone(), (hook, &seat.name), text);
        }
        let is_lost = |verdict: &Verdict| verdict.is_mine() || *verdict == Verdict::Network;
        let is_down = verdicts.iter().all(is_lost);
        let is_up = verdicts.iter().any(|verdict| verdict.is_proven());
        let was_down = self.networks.get(at).is_some_and(|watched| watched.is_down);
        if is_down != was_down && (is_down || is_up) {
            if let Some(watched) = self.networks.get_mut(at) {
                watched.is_down = is_down;
            }
            let (hook, how) =
                if is_down { ("network_down", "is down") } else { ("network_up", "is up again") };
            let text = format!("network {name} {how} on this node");
            self.notify_of_network(name.clone(), (hook, ""), text.clone());
            self.decided(text);
        }
        self.replace_alerts(&format!("network {name}: "), alerts);
    }

    /// Returns what is told of every network.
    pub(super) fn network_reports(&self, now: Instant) -> Vec<NetworkReport> {
        let networks = self.networks.iter().zip(&self.settings.networks).enumerate();
        let report = |(at, (watched, network)): (usize, (&Watched, &_))| {
            let network: &crate::settings::Network = network;
            let seats = self.addresses.seats(at, now);
            let links = watched.links.iter().zip(&seats).zip(&watched.verdicts).enumerate();
            let serves = |place: usize| {
                let own = Origin::ALL.into_iter();
                let own = own.filter(|origin| watched.choice.current(*origin) == place);
                let own = own.flat_map(|origin| self.addresses.services_on(at, origin));
                own.map(|(_, ip)| ip.to_string()).collect()
            };
            let seat = |(place, ((link, seat), verdict)): (usize, ((&LinkId, &Seat), &Verdict))| {
                SeatReport {
                    adapter: seat.name.clone(),
                    link: self.settings.links.get(link.index()).map(|link| link.name.clone()),
                    serves: serves(place),
                    verdict: word(*verdict).to_owned(),
                    why: said_of(*verdict, seat),
                    answered: seat.answered,
                }
            };
            NetworkReport {
                name: watched.name.clone(),
                is_able: watched.is_able,
                addresses: network.services.iter().map(ToString::to_string).collect(),
                adapters: links.map(seat).collect(),
            }
        };
        networks.map(report).collect()
    }

    /// Returns in a sentence why a group cannot be served here because of its networks.
    pub(super) fn network_text(&self, group: usize) -> Option<String> {
        let networks = self.networks.iter().enumerate();
        let mut failed =
            networks.filter(|(at, it)| !it.is_able && self.groups_of(*at).contains(&group));
        let (at, watched) = failed.next()?;
        let adapters = watched.verdicts.iter().enumerate();
        let said: Vec<String> = adapters
            .map(|(place, verdict)| format!("{} {}", self.seat_name(at, place), said(*verdict)))
            .collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        Some(format!("no adapter is left on network {}: {}", watched.name, list(&said)))
    }
}

/// Returns whether what `node` says proves that it hears another than `me` on a link.
///
/// A witness numbers its own links, so its numbers prove nothing of this node's.
fn meets_others(node: NodeId, body: &Body, (me, link): (NodeId, LinkId)) -> bool {
    let mut echoes = body.echoes.iter();
    !node.is_witness() && echoes.any(|echo| echo.node != me && echo.links.contains(link))
}

#[cfg(test)]
mod tests {
    use lifesign_core::frame::Echo;
    use lifesign_core::node::{BootId, LinkSet};

    use super::*;

    #[test]
    fn a_witness_does_not_tell_by_its_own_numbers_who_meets_on_a_link() {
        let node = |number| NodeId::new(number).unwrap();
        let (me, peer, witness) = (node(0), node(1), NodeId::witness(0).unwrap());
        let link = |number| LinkId::new(number).unwrap();
        let hears = |node, number| {
            let links = LinkSet::from_bits(1_u8 << number);
            let echo = Echo { node, boot: BootId::new(1), sequence: 1, links };
            let mut body = Body::default();
            body.echoes.push(echo).unwrap();
            body
        };
        for number in [0, 1] {
            let body = hears(peer, number);
            assert!(!meets_others(witness, &body, (me, link(0))), "{number}");
            assert!(!meets_others(witness, &body, (me, link(1))), "{number}");
            let body = hears(witness, number);
            assert_eq!(meets_others(peer, &body, (me, link(1))), number == 1);
            assert!(!meets_others(peer, &hears(me, number), (me, link(number))), "itself");
        }
    }
}
