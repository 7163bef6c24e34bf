//! Networks with several adapters: which of them has failed, and the move of service addresses
//! from one to the other inside this node, which changes neither holder nor token.
//!
//! A lost carrier counts at once. That frames have stopped counts when two looks in a row say so,
//! with all that waited to be read taken in between.

use lifesign_core::network::{self, Choice, Sight, Verdict};
use lifesign_core::node::{LinkId, NodeId};
use lifesign_core::peer::Session;
use lifesign_core::time::Instant;

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
                let serving = watched.choice.current();
                if let Some(to) = watched.choice.look(&seen, now) {
                    self.swap(at, serving, to, now);
                }
                if is_news {
                    self.tell_verdicts(at, &before, &seats);
                }
            }
            if self.addresses.seated(at) != self.networks.get(at).map(|it| it.choice.current()) {
                self.take_seat(at, now);
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
        // Who has just come has not been heard everywhere yet.
        let is_settled = |session: &Session| now.since(session.since) >= dead.times(2);
        for (node, session) in peers.sessions().filter(|(_, session)| is_settled(session)) {
            let is_on = self.settings.links.get(link.index()).is_some_and(|it| it.reaches(node));
            let meets = |echo: &lifesign_core::frame::Echo| {
                echo.node != self.me && echo.links.contains(link)
            };
            sight.others_meet |= session.body.echoes.iter().any(meets);
            let Some(peer) = peers.get(node).filter(|_| is_on) else { continue };
            let heard = |link| peer.link(link).and_then(|link| link.expectation.heard());
            let newest = LinkId::all().filter_map(heard).max().unwrap_or_default();
            let here = heard(link).unwrap_or_default();
            if now.since(here) < dead {
                sight.heard.insert(node);
            } else if newest.since(here).times(2) < dead {
                // It has fallen silent everywhere: that says nothing of this link.
                continue;
            }
            sight.others.insert(node);
            if session.body.echo_of(self.me).is_some_and(|echo| echo.links.contains(link)) {
                sight.hear_me.insert(node);
            }
        }
        sight
    }

    /// Moves the addresses of a network from one adapter to another.
    fn swap(&mut self, at: usize, from: usize, to: usize, now: Instant) {
        self.take_seat(at, now);
        let Some(watched) = self.networks.get(at) else { return };
        let names = [from, to].map(|place| self.seat_name(at, place));
        let why = watched.verdicts.get(from).copied().unwrap_or_default();
        let [from, to] = &names;
        let reason = if why.is_proven() {
            format!("{to} comes first, and has been well for long enough")
        } else {
            format!("{from} {}", said(why))
        };
        let text = format!(
            "network {}: the service addresses go from {from} to {to}: {reason}",
            watched.name
        );
        let network = watched.name.clone();
        self.notify_of_network(network, ("swap_adapter", to), text.clone());
        self.decided(text);
    }

    /// Has the addresses of a network sit where they are to, and takes those that are held there.
    fn take_seat(&mut self, at: usize, now: Instant) {
        let Some(place) = self.networks.get(at).map(|watched| watched.choice.current()) else {
            return;
        };
        if let Err(error) = self.addresses.seat(at, place) {
            let name = self.network_name(at);
            self.alert(format!("network {name}: {error}; tried again"));
            return;
        }
        for group in self.groups_of(at) {
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

    fn network_name(&self, at: usize) -> String {
        self.networks.get(at).map(|watched| watched.name.clone()).unwrap_or_default()
    }

    fn seat_name(&self, at: usize, place: usize) -> String {
        self.addresses.seat_name(at, place).unwrap_or_default().to_owned()
    }

    /// Tells people and hooks what has changed on a network.
    fn tell_verdicts(&mut self, at: usize, before: &[Verdict], seats: &[Seat]) {
        let Some(watched) = self.networks.get(at) else { return };
        let (name, serving) = (watched.name.clone(), watched.choice.current());
        let verdicts = watched.verdicts.clone();
        let changes = before.iter().zip(&verdicts).zip(seats).enumerate();
        let mut alerts = Vec::new();
        for (place, ((before, after), seat)) in changes {
            let text = format!("network {name}: {} {}", seat.name, said_of(*after, seat));
            if !matches!(after, Verdict::Well | Verdict::Unknown) {
                alerts.push(text.clone());
            }
            let hook = match (before.is_mine(), after.is_mine()) {
                (false, true) if place != serving => "fail_standby",
                (true, false) if after.is_proven() && place != serving => "join_standby",
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
            let seat = |(place, ((link, seat), verdict)): (usize, ((&LinkId, &Seat), &Verdict))| {
                SeatReport {
                    adapter: seat.name.clone(),
                    link: self.settings.links.get(link.index()).map(|link| link.name.clone()),
                    serves: place == watched.choice.current(),
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

/// Returns the word for a verdict.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Well => "well",
        Verdict::NoCarrier => "no-carrier",
        Verdict::Mute => "mute",
        Verdict::Port => "port",
        Verdict::Peer => "peer",
        Verdict::Network => "network",
        Verdict::Unknown => "unknown",
    }
}

/// Returns what a verdict says of an adapter, as the rest of a sentence.
const fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Well => "is well",
        Verdict::NoCarrier => "carries nothing",
        Verdict::Mute => "hears others, and nobody hears it",
        Verdict::Port => {
            "hears nobody, while others are there: its port at the switch, or the path"
        }
        Verdict::Peer => "is well; a peer's adapter there is silent",
        Verdict::Network => "hears nobody, and nobody hears anybody there: the network",
        Verdict::Unknown => "cannot be judged: nobody else is there to compare with",
    }
}

fn said_of(verdict: Verdict, seat: &Seat) -> String {
    let text =
        if verdict == Verdict::NoCarrier && !seat.is_there { "is gone" } else { said(verdict) };
    text.to_owned()
}
