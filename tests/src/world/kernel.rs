//! What goes on without the process: kernel leases, the watchdog, and machines that stand still.

use lifesign_core::group::{GroupId, Guard, Role, Token};
use lifesign_core::time::Instant;

use super::host::{Answering, Hosts, Standstill};
use super::queue::Happening;
use super::{Micros, Server, World};
use crate::fault::Manner;
use crate::seen::{ENDLESS, End, Seen};

/// A lease that nothing ends but a stop or a reset.
const FOREVER: Instant = Instant::from_micros(u64::MAX / 2);

impl World {
    /// Moves what a server has up to what its engine says now. A group is answered for while it is
    /// started; what has to be stopped is up until it has been, or until the watchdog ends the
    /// machine.
    pub(super) fn move_leases(&mut self, place: usize, engine: &Server) {
        for group in GroupId::all().take(self.setup.groups.into()) {
            let Some(role) = engine.group(group).map(|group| group.role()) else { continue };
            let host = self.hosts.at(place);
            let before = host.leases[group.index()];
            let manner = host.agents[group.index()];
            let until = match self.setup.guard {
                _ if matches!(role, Role::Starting(_)) && manner == Manner::FailStart => None,
                _ if role.needs_authority() && manner == Manner::LieStarted => None,
                Guard::Fence if role.needs_authority() => Some(FOREVER),
                // What has not come up does not do so by being stopped.
                Guard::Fence if role.is_up() => before.until,
                Guard::Fence if manner == Manner::LieStopped => before.until,
                _ if role.needs_authority() => {
                    engine.authority_end(group).map(|end| self.setup.up_until(end))
                }
                Guard::Stop if role.is_up() || manner == Manner::LieStopped => before.until,
                _ => None,
            };
            if until != before.until {
                let token = role.token().unwrap_or(before.token);
                self.set_lease(place, group, until, token);
            }
        }
        if self.setup.guard == Guard::Stop {
            self.feed_watchdog(place);
        }
    }

    fn set_lease(&mut self, place: usize, group: GroupId, until: Option<Instant>, token: Token) {
        let host = self.hosts.at(place);
        let ends = match until {
            None => 0,
            Some(FOREVER) => ENDLESS,
            Some(until) => host.clock.when(until),
        };
        self.answer(place, group.index(), Answering { until, ends, token });
    }

    /// Lets a machine answer for a group until another moment than before.
    fn answer(&mut self, place: usize, group: usize, lease: Answering) {
        let now = self.now;
        let host = self.hosts.at(place);
        let number = host.number;
        let before = std::mem::replace(&mut host.leases[group], lease);
        if !Hosts::is_own(number) {
            return;
        }
        self.note_answering(group, number, before.ends, lease.ends);
        let group = u8::try_from(group).unwrap_or(u8::MAX);
        if lease.ends > now {
            let (token, until) = (lease.token.0, lease.ends);
            self.see(Seen::Answers { host: number, group, token, until });
        } else if before.ends > now {
            self.see(Seen::Silent { host: number, group });
        }
    }

    /// Everything that a machine has up is down.
    pub(super) fn take_down(&mut self, number: u8) {
        let Some(place) = self.hosts.find(number) else { return };
        for group in 0..usize::from(self.setup.groups) {
            self.answer(place, group, Answering::default());
        }
        self.hosts.at(place).bite = Micros::MAX;
    }

    /// Tells the watchdog until when the machine may live on what is up; it counts by its own
    /// clock.
    fn feed_watchdog(&mut self, place: usize) {
        let now = self.now;
        let host = self.hosts.at(place);
        let local = host.clock.read(now);
        let first = host.leases.iter().filter_map(|lease| lease.until).min();
        host.bite = first.map_or(Micros::MAX, |until| {
            now.saturating_add(host.watchdog.lasts(until.since(local).as_micros()))
        });
    }

    /// What happens by itself by now: watchdogs bite, machines go on.
    pub(super) fn run_kernels(&mut self) {
        let now = self.now;
        for place in 0..self.hosts.len() {
            let host = self.hosts.at(place);
            let (number, standstill) = (host.number, host.standstill);
            if host.bite <= now {
                self.note(format!("the watchdog of {number} bites"));
                self.end(number, End::Reset);
                self.queue.push(now + self.setup.boot_us, Happening::Boot { node: number });
            } else if let Some(standstill) = standstill.filter(|still| still.until <= now) {
                self.go_on(place, standstill);
            }
        }
    }

    /// Lets a machine stand still for `span`, with its clocks or without them.
    pub(super) fn stand_still(&mut self, number: u8, span: Micros, stops_clocks: bool) {
        let (now, until) = (self.now, self.now + span);
        let Some(place) = self.hosts.find(number) else { return };
        if self.hosts.at(place).standstill.is_some() {
            return;
        }
        let leases = self.hosts.at(place).leases.clone();
        for (group, lease) in leases.iter().enumerate() {
            self.answer(place, group, Answering { ends: 0, ..*lease });
        }
        let host = self.hosts.at(place);
        host.standstill = Some(Standstill { since: now, until, stops_clocks });
        if stops_clocks && host.bite < Micros::MAX {
            host.bite = host.bite.saturating_add(span);
        }
    }

    fn go_on(&mut self, place: usize, standstill: Standstill) {
        let now = self.now;
        let host = self.hosts.at(place);
        host.standstill = None;
        host.wake = host.wake.max(now);
        if standstill.stops_clocks {
            host.clock = host.clock.stopped(now - standstill.since, now);
        }
        let number = host.number;
        self.note(format!("{number} goes on"));
        self.tell_promises_anew(place);
        self.judge_leases_anew(place);
        self.pump_all(number);
    }

    /// Finds out when leases end now that a clock has changed.
    pub(super) fn judge_leases_anew(&mut self, place: usize) {
        let host = self.hosts.at(place);
        if host.standstill.is_some() {
            return;
        }
        let leases = host.leases.clone();
        for (group, lease) in GroupId::all().zip(leases) {
            if lease.until.is_some() {
                self.set_lease(place, group, lease.until, lease.token);
            }
        }
    }

    /// Lets the rate error of a clock be `error` millionths from now on, beyond what is assumed if
    /// so wished.
    pub fn set_clock_error(&mut self, number: u8, error: i64) {
        let now = self.now;
        let Some(place) = self.hosts.find(number) else { return };
        let host = self.hosts.at(place);
        host.clock = host.clock.at_rate(error, now);
        if Hosts::is_own(number) {
            self.see(Seen::Clock { host: number, error_ppm: error });
        }
        self.tell_promises_anew(place);
        self.judge_leases_anew(place);
    }
}
