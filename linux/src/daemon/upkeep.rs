//! What the shell does for groups: their addresses, and the leases under which they answer.

use std::net::IpAddr;

use lifesign_core::group::{GroupId, Role};
use lifesign_core::time::{Duration, Instant};

use super::conduct::{Progress, Step};
use super::watchdog::Readiness;
use super::{Daemon, RETRY};
use crate::address::Learned;
use crate::address::error::Error;
use crate::address::event::AddressEvent;
use crate::address::mac::written;
use crate::clock;

impl Daemon {
    /// Plays the part that the engine has for this node.
    pub(super) fn play(&mut self, group: GroupId, role: Role, now: Instant) {
        let at = group.index();
        let is_cold = self.is_cold(group);
        let Some(holding) = self.groups.get_mut(at) else { return };
        let step = match role {
            Role::Starting(_) => holding.conduct.start(is_cold),
            Role::Stopping(_) => {
                self.silence_if_authority_is_lost(group);
                self.groups.get_mut(at).and_then(|holding| holding.conduct.stop())
            }
            Role::Idle | Role::Claiming(_) | Role::Holding { .. } | Role::Stuck(_) => None,
        };
        self.take_steps(at, step, now);
    }

    /// Where authority has ended, addresses fall silent before anything else is stopped.
    fn silence_if_authority_is_lost(&mut self, group: GroupId) {
        let now = clock::now();
        let has_authority = self.engine.authority_end(group).is_some_and(|end| now < end);
        if !has_authority && let Err(error) = self.addresses.release(group.index()) {
            self.alert(format!("{error}"));
        }
    }

    /// Does one step after the other until one has to be waited for.
    pub(super) fn take_steps(&mut self, at: usize, first: Option<Step>, now: Instant) {
        let Some(group) = GroupId::at(at) else { return };
        let mut next = first;
        while let Some(step) = next.take() {
            next = match step {
                Step::Probe => self.probe(at, now),
                Step::Acquire => self.acquire(group),
                Step::Release => self.release(at),
                Step::Run(service, action) => self.run_service(at, service, action),
                Step::Cancel => self.cancel(at),
                Step::Started => {
                    self.arm_monitors(at, now);
                    self.engine.handle_started(group, true, now);
                    None
                }
                Step::StartFailed => {
                    self.give_up_start(group, now);
                    None
                }
                Step::Restarted => {
                    self.arm_monitors(at, now);
                    None
                }
                Step::Failed => {
                    self.give_up(group, now);
                    None
                }
                Step::Stopped => {
                    self.engine.handle_stopped(group, true, now);
                    None
                }
                Step::StopFailed => {
                    self.engine.handle_stopped(group, false, now);
                    self.set_retry(at, now);
                    None
                }
            };
        }
        let is_up = self.groups.get(at).is_some_and(|holding| holding.conduct.is_up());
        let token = self.engine.group(group).and_then(|state| state.role().token());
        self.forget_routes(group, is_up);
        if !self.supervisor.set_up(group, is_up.then(|| token.unwrap_or_default())) {
            self.alert(
                "the supervisor does not listen: a killed daemon would not be cleaned up".into(),
            );
        }
    }

    fn probe(&mut self, at: usize, now: Instant) -> Option<Step> {
        let window =
            self.settings.groups.get(at).map(|group| group.conflict_probe).unwrap_or_default();
        if window == Duration::ZERO {
            return self.groups.get_mut(at)?.conduct.probed(true);
        }
        match self.addresses.probe(at, window, now) {
            Ok(()) => None,
            Err(error) => {
                self.alert(format!("{}: {error}", self.group_name(at)));
                self.groups.get_mut(at)?.conduct.probed(false)
            }
        }
    }

    fn acquire(&mut self, group: GroupId) -> Option<Step> {
        let at = group.index();
        let now = clock::now();
        match self.readiness(at, now) {
            Readiness::Ready => {}
            Readiness::Wait => {
                self.set_retry(at, now);
                return None;
            }
            Readiness::Refused => {
                let why =
                    self.unguarded(at).unwrap_or_else(|| "it is not armed in time".to_owned());
                self.alert(format!("{}: {why}", self.group_name(at)));
                return self.groups.get_mut(at)?.conduct.acquired(false);
            }
        }
        let end = self.engine.authority_end(group).filter(|end| now < *end);
        let result = match end {
            Some(end) => {
                self.extend_routes(group, end, now);
                self.addresses.acquire(at, end, now).map(|_| end)
            }
            // The engine gives the group up at its next look; until then nothing is taken.
            None => return None,
        };
        let is_taken = match result {
            Ok(end) => {
                let holding = self.groups.get_mut(at)?;
                holding.lease_end = end;
                holding.retry = None;
                true
            }
            Err(Error::TooShort { .. } | Error::Stalled) => {
                // Too little authority is left to be worth the kernel's while, or this machine
                // stood still for as long as there was some; the next echo brings more.
                self.groups.get_mut(at)?.retry = Some(now + Duration::from_millis(1));
                return None;
            }
            Err(error) => {
                self.alert(format!("{}: {error}", self.group_name(at)));
                false
            }
        };
        if is_taken {
            self.tickle(group, now);
        }
        self.groups.get_mut(at)?.conduct.acquired(is_taken)
    }

    fn release(&mut self, at: usize) -> Option<Step> {
        let result = self.addresses.release(at);
        match &result {
            Ok(()) => self.end_connections(at),
            Err(error) => self.alert(format!("{}: {error}", self.group_name(at))),
        }
        self.groups.get_mut(at)?.conduct.released(result.is_ok())
    }

    /// Returns when a step is tried again, a service is asked, or a penalty ends.
    pub(super) fn next_errand_due(&self) -> Option<Instant> {
        let monitors =
            self.groups.iter().flat_map(|holding| holding.conduct.monitors.iter().flatten());
        let penalties = self.groups.iter().filter_map(|holding| holding.failures.poll_timeout());
        let retries = self.groups.iter().filter_map(|holding| holding.retry);
        monitors.copied().chain(retries).chain(penalties).min()
    }

    /// Tries again what could not be done before.
    pub(super) fn retry_steps(&mut self, now: Instant) {
        for at in 0..self.groups.len() {
            let Some(holding) = self.groups.get_mut(at) else { continue };
            if holding.retry.is_none_or(|due| !now.has_reached(due)) {
                continue;
            }
            holding.retry = None;
            let step = match holding.conduct.progress() {
                Progress::Acquiring => Some(Step::Acquire),
                Progress::Stuck => holding.conduct.stop(),
                Progress::Up => {
                    self.restore(at, now);
                    None
                }
                _ => None,
            };
            self.take_steps(at, step, now);
        }
    }

    fn set_retry(&mut self, at: usize, now: Instant) {
        if let Some(holding) = self.groups.get_mut(at) {
            holding.retry = Some(now + RETRY);
        }
    }

    /// Moves every lease to the end of its group's authority, if it has moved by enough to be worth
    /// the kernel's while.
    pub(super) fn renew_leases(&mut self) {
        let step = Duration::from_micros(self.settings.timing.heartbeat.as_micros() / 4);
        for group in GroupId::all().take(self.groups.len()) {
            let at = group.index();
            let needs =
                self.engine.group(group).is_some_and(|state| state.role().needs_authority());
            let Some(holding) =
                self.groups.get(at).filter(|holding| needs && holding.conduct.has_addresses())
            else {
                continue;
            };
            let Some(end) =
                self.engine.authority_end(group).filter(|end| end.since(holding.lease_end) >= step)
            else {
                continue;
            };
            let now = clock::now();
            if now.has_reached(end) {
                continue;
            }
            self.extend_routes(group, end, now);
            match self.addresses.renew(at, end, now) {
                Ok(()) => {
                    if let Some(holding) = self.groups.get_mut(at) {
                        holding.lease_end = end;
                    }
                }
                Err(Error::TooShort { .. }) => {}
                // The kernel was quicker than this thread; authority is there, so the lease is
                // opened anew.
                Err(_) => self.restore(at, now),
            }
        }
    }

    /// Takes the addresses of a held group again: they were removed, or their lease ran out.
    pub(super) fn restore(&mut self, at: usize, now: Instant) {
        let Some(group) = GroupId::at(at) else { return };
        let Some(end) = self.engine.authority_end(group).filter(|end| now < *end) else { return };
        self.extend_routes(group, end, now);
        match self.addresses.acquire(at, end, now) {
            Ok(_) => {
                if let Some(holding) = self.groups.get_mut(at) {
                    holding.lease_end = end;
                }
            }
            // The next renewal tries again.
            Err(Error::TooShort { .. } | Error::Stalled) => {}
            Err(error) => {
                self.alert(format!("{}: {error}", self.group_name(at)));
                self.set_retry(at, now);
            }
        }
    }

    /// Takes in what happened to addresses and their adapters.
    pub(super) fn handle_address(&mut self, event: AddressEvent, now: Instant) {
        match event {
            AddressEvent::Free { group } => {
                let step =
                    self.groups.get_mut(group).and_then(|holding| holding.conduct.probed(true));
                self.take_steps(group, step, now);
            }
            AddressEvent::Conflict { group, ip, mac } => {
                let what = format!("{ip} is used by another machine, {}", written(mac));
                self.handle_stranger(group, &what, now);
            }
            AddressEvent::MacConflict { group, mac } => {
                let what = format!("another machine sends from its MAC address {}", written(mac));
                self.handle_stranger(group, &what, now);
            }
            AddressEvent::AddressRemoved { group, ip } => {
                self.decided(format!(
                    "{}: somebody removed {ip}; taking it again",
                    self.group_name(group)
                ));
                self.restore(group, now);
            }
            AddressEvent::CarrierLost { adapter, groups } => {
                self.handle_carrier_lost(&adapter, groups, now);
            }
            AddressEvent::AdapterLost { adapter, groups } => {
                if !groups.iter().all(|group| self.addresses.is_placed(*group)) {
                    self.alert(format!("adapter {adapter} is gone"));
                }
                // What is gone has no carrier to wait for.
                self.set_impaired(&adapter, &groups, false, now);
            }
            AddressEvent::CarrierBack { adapter, groups } => {
                self.all_clear(&format!("adapter {adapter} "));
                self.set_impaired(&adapter, &groups, false, now);
            }
            AddressEvent::AdapterBack { adapter, groups } => {
                self.handle_adapter_back(&adapter, &groups, now);
            }
            AddressEvent::AdapterUnusable { adapter, reason } => {
                self.alert(format!("adapter {adapter} cannot be used: {reason}"));
            }
            AddressEvent::Renamed { from, to } => {
                self.handle_rename(&from, &to);
            }
            AddressEvent::NeighboursLearned { group, ip, learned } => {
                self.tell_learned(group, ip, learned);
            }
        }
    }

    /// Tells once how many neighbours have learned an address; when the claims of others make it be
    /// announced again and again, that is no news.
    fn tell_learned(&mut self, group: usize, ip: IpAddr, learned: Learned) {
        let (name, Learned { answered, asked, last_answer_us }) = (self.group_name(group), learned);
        let text = format!("{name}: {answered} of {asked} neighbours have learned {ip}");
        if !self.decisions.iter().any(|(_, known)| known.starts_with(&text)) {
            let when = last_answer_us.map(|us| format!(" within {} ms", us.div_ceil(1000)));
            self.decided(text + &when.unwrap_or_default());
        }
    }

    fn handle_carrier_lost(&mut self, adapter: &str, mut groups: Vec<usize>, now: Instant) {
        // Where another adapter was at hand, the addresses are there by now.
        groups.retain(|group| self.addresses.is_on(*group, adapter));
        if !groups.is_empty() {
            self.alert(format!("adapter {adapter} carries nothing"));
            self.set_impaired(adapter, &groups, true, now);
        }
    }

    fn handle_adapter_back(&mut self, adapter: &str, groups: &[usize], now: Instant) {
        self.set_impaired(adapter, groups, false, now);
        // It may have had another name when it went.
        if (0..self.groups.len()).all(|at| self.has_adapters(at)) {
            self.all_clear("adapter ");
        }
    }

    fn handle_rename(&mut self, from: &str, to: &str) {
        for name in self.groups.iter_mut().flat_map(|holding| &mut holding.impaired) {
            if name == from {
                to.clone_into(name);
            }
        }
        self.decided(format!("adapter {from} is called {to} from now on"));
    }

    /// Returns whether each address of a group has an adapter, and each of those a carrier.
    pub(super) fn has_adapters(&self, at: usize) -> bool {
        let has_carriers = self.groups.get(at).is_some_and(|holding| holding.impaired.is_empty());
        has_carriers && self.addresses.is_placed(at)
    }

    fn set_impaired(&mut self, adapter: &str, groups: &[usize], is_impaired: bool, now: Instant) {
        for at in groups {
            let Some(holding) = self.groups.get_mut(*at) else {
                continue;
            };
            holding.impaired.retain(|other| other != adapter);
            if is_impaired {
                holding.impaired.push(adapter.to_owned());
            }
            let is_up = holding.conduct.has_addresses();
            self.tell_able(*at, now);
            if self.has_adapters(*at) && is_up {
                self.restore(*at, now);
            }
        }
    }

    /// Tells the engine whether this machine can serve a group.
    pub(super) fn tell_able(&mut self, at: usize, now: Instant) {
        if let Some(group) = GroupId::at(at) {
            let is_able = self.has_adapters(at)
                && self.is_reachable(at)
                && self.is_networked(at)
                && !self.is_penalised(at, now)
                && self.unguarded(at).is_none();
            self.engine.handle_able(group, is_able, now);
        }
    }

    pub(super) fn group_name(&self, at: usize) -> String {
        self.settings.groups.get(at).map_or_else(|| at.to_string(), |group| group.name.clone())
    }
}
