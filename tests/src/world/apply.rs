//! What the world does when a fault happens.

use lifesign_core::decree::Saying;
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;

use super::World;
use super::network::Burst;
use crate::fault::{Fault, Order};
use crate::random::Random;
use crate::seen::Seen;

impl World {
    /// Lets `fault` happen now. A fault that names what this world does not have changes nothing.
    pub fn apply(&mut self, fault: &Fault) {
        self.note(fault.to_string());
        self.see(Seen::Fault(*fault));
        self.sight.is_fault = true;
        if !(self.disturb_network(fault) || self.disturb_host(fault)) {
            self.disturb_line(fault);
        }
        self.sight.is_fault = false;
        self.look_at_network();
    }

    fn disturb_network(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Loss { percent } => self.network.loss = percent.into(),
            Fault::Delay { delay, jitter } => {
                self.network.delay = delay;
                self.network.jitter = jitter;
            }
            Fault::Duplicates { percent } => self.network.duplicates = percent.into(),
            Fault::Burst { enter, leave, percent } => {
                self.network.burst = Some(Burst { enter, leave, percent });
            }
            Fault::Reorder { percent, span } => self.network.late = (percent.into(), span),
            Fault::Damage { percent, checksum_right } => {
                self.network.damage = (percent.into(), checksum_right);
            }
            Fault::SwapLinks { one, other } => self.network.swapped = Some((one, other)),
            Fault::HoldBack { from, to, span } => {
                self.network.held.push((from, to, self.now + span));
            }
            Fault::Reflect { host, span } => self.network.reflected.push((host, self.now + span)),
            Fault::Flood { to, count, rubbish, pick } => self.flood(to, count, rubbish, pick),
            Fault::SwapClasses { to, count, pick } => self.swap_classes(to, count, pick),
            Fault::Cut { from, to, link } => {
                for link in self.links_of(link) {
                    self.network.cuts.insert((from, to, link));
                }
            }
            Fault::Mend { from, to, link } => {
                for link in self.links_of(link) {
                    self.network.cuts.remove(&(from, to, link));
                }
            }
            Fault::CutNetworks => self.cut_networks(),
            Fault::Heal => self.heal(),
            Fault::Record { on } => self.recording = on,
            Fault::Replay { count, to, pick } => self.replay(count, to, pick),
            _ => return false,
        }
        true
    }

    fn disturb_host(&mut self, fault: &Fault) -> bool {
        match *fault {
            Fault::Kill { host } => self.kill(host),
            Fault::Crash { host } => self.crash(host),
            Fault::Boot { host } => {
                if !self.is_running(host) {
                    self.start(host);
                }
            }
            Fault::Pause { host, span } => self.pause(host, span),
            Fault::ClockRate { host, error_ppm } => self.set_clock_error(host, error_ppm.into()),
            Fault::Freeze { host, span } => self.stand_still(host, span, false),
            Fault::Suspend { host, span } => self.stand_still(host, span, true),
            Fault::Order { host, group, order } => self.tell(host, group, order),
            Fault::Reconfigure { host, digest, promise_ms } => {
                self.reconfigure(host, digest, promise_ms);
            }
            Fault::Rekey { host, keys } => self.rekey(host, keys),
            _ => return self.disturb_machine(fault),
        }
        true
    }

    fn disturb_machine(&mut self, fault: &Fault) -> bool {
        let now = self.now;
        let Some(host) = fault.host().and_then(|host| self.hosts.get_mut(host)) else {
            return false;
        };
        match *fault {
            Fault::CrashIn { step, boot, .. } => host.dies = Some((step, boot)),
            Fault::LoseState { .. } => {
                (host.disk.reserved, host.disk.decree) = (Token(0), None);
                host.disk.torn = false;
            }
            Fault::TearState { .. } => host.disk.torn = true,
            Fault::SaveFails { span, .. } => host.disk.fails_until = now + span,
            Fault::SaveSlow { span, .. } => host.disk.takes = span,
            Fault::Agent { group, manner, .. } => {
                if let Some(agents) = host.agents.get_mut(usize::from(group)) {
                    *agents = manner;
                }
            }
            _ => return false,
        }
        true
    }

    fn disturb_line(&mut self, fault: &Fault) {
        let at = |line: u8, way: u8| 2 * usize::from(line) + usize::from(way % 2);
        match *fault {
            Fault::CutLine { line, way } => {
                let ways = way.map_or(0..2, |way| way % 2..way % 2 + 1);
                for way in ways {
                    if let Some(line) = self.lines.get_mut(at(line, way)) {
                        line.cut = true;
                    }
                }
            }
            Fault::StickLine { line, way } => {
                if let Some(line) = self.lines.get_mut(at(line, way)) {
                    line.stuck = true;
                }
            }
            Fault::Noise { line, way, rate } => {
                if let Some(line) = self.lines.get_mut(at(line, way)) {
                    line.noise = rate.into();
                }
            }
            Fault::MendLine { line } => self.heal_line(line.into()),
            Fault::Bytes { to, port, count, pick } => {
                let mut random = Random::new(pick.into());
                let bytes: Vec<u8> = (0..count).map(|_| random.bits().to_le_bytes()[0]).collect();
                self.inject_bytes(to, port, &bytes);
            }
            Fault::Stranger { to, port, about } => {
                let message = [&[1, 0x30, about, 0, 7, 0, 0, 0][..], &[5; 60][..]].concat();
                self.inject_message(to, port, &message);
            }
            Fault::ReplayRequest { pick } => self.replay_request(pick.into()),
            Fault::ResetStuck { stuck } => self.reset_stuck = stuck,
            _ => {}
        }
    }

    fn links_of(&self, link: Option<u8>) -> std::ops::Range<u8> {
        link.map_or(0..self.setup.links, |link| link..link.saturating_add(1))
    }

    fn tell(&mut self, host: u8, group: Option<u8>, order: Order) {
        let group = group.and_then(GroupId::new);
        if let Some(saying) = saying(order, group) {
            return self.say(host, &saying);
        }
        self.order(host, |engine, now| {
            let groups = || GroupId::all().take(engine.config().groups.len());
            let each: Vec<GroupId> =
                groups().filter(|at| group.is_none_or(|it| it == *at)).collect();
            match order {
                Order::Standby => engine.handle_standby(group, now),
                Order::Takeover => engine.handle_takeover(group, now),
                Order::Leave => engine.handle_leave(now),
                // The shell shows what fails in maintenance, and does nothing about it.
                Order::Failed => {
                    for group in each {
                        if engine.maintenance_end(group).is_none() {
                            engine.handle_failed(group, now);
                        }
                    }
                }
                Order::Able | Order::Unable => {
                    let able = order == Order::Able;
                    each.iter().for_each(|group| engine.handle_able(*group, able, now));
                }
                _ => {}
            }
        });
    }
}

/// Returns what is said to the whole cluster, if `order` is such a word.
fn saying(order: Order, group: Option<GroupId>) -> Option<Saying> {
    let one = group.unwrap_or(FIRST);
    Some(match order {
        Order::Maintain(span) => Saying::Maintain(group, Duration::from_micros(span)),
        Order::Resume => Saying::Resume(group),
        Order::Disable => Saying::Disable(one),
        Order::Enable => Saying::Enable(one),
        Order::Move(to) => Saying::Move(one, NodeId::new(to)?),
        Order::Standby
        | Order::Takeover
        | Order::Leave
        | Order::Failed
        | Order::Able
        | Order::Unable => return None,
    })
}

/// What is said of no group in particular is said of the first.
const FIRST: GroupId = match GroupId::new(0) {
    Some(group) => group,
    None => panic!("there is a first group"),
};
