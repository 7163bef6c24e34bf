//! Starts of processes, with what each is told.

use lifesign_core::frame::LinkClass;
use lifesign_core::group::GroupId;
use lifesign_core::node::{BootId, ClusterId, NodeId};
use lifesign_core::seal::{KEY_LEN, Key, KeyId, Keyring};
use lifesign_core::time::Duration;
use lifesign_core::witness::WitnessConfig;

use super::dongle::Dongle;
use super::host::{Brain, Hosts, Settings};
use super::setup::Neighbours;
use super::{Arbiter, Server, ServerConfig, World};
use crate::fault::{Keys, Manner};
use crate::seen::Seen;

impl World {
    /// Starts the process on `number` with a fresh boot id; service addresses left there are taken
    /// down first. On damaged tokens a process does not start.
    ///
    /// # Panics
    /// If the setup is inconsistent.
    pub fn start(&mut self, number: u8) {
        self.start_with(number, |_| {});
    }

    /// Starts the process on `number` like [`start`](Self::start), with other settings than the
    /// rest.
    ///
    /// # Panics
    /// If the settings are inconsistent.
    pub fn start_with(&mut self, number: u8, change: impl FnOnce(&mut ServerConfig)) {
        let Some(host) = self.hosts.get(number) else { return };
        let is_held = self.resets.active.is_some_and(|(held, _)| held == number);
        if is_held || host.disk.torn || host.standstill.is_some() {
            return self.note(format!("{number} cannot start"));
        }
        let boot = self.random.bits();
        self.end(number, crate::seen::End::Killed);
        self.forget_lines(number);
        self.take_down(number);
        let brain = self.brain(number, boot, change);
        let now = self.now;
        let Some(host) = self.hosts.get_mut(number) else { return };
        host.received.iter_mut().for_each(Vec::clear);
        host.paused_until = 0;
        host.wake = now;
        host.brain = Some(brain);
        self.note(format!("{number} starts"));
        if Hosts::is_own(number) {
            self.see(Seen::Started { host: number, boot });
        }
        self.remember(number);
    }

    fn brain(&mut self, number: u8, bits: u64, change: impl FnOnce(&mut ServerConfig)) -> Brain {
        let (now, cluster) = (self.now, self.cluster_of(number));
        let keys = self.keys_of(number);
        let setup = &self.setup;
        let host = self.hosts.get_mut(number).expect("a host that starts");
        let (boot, local, reserved) = (BootId::new(bits), host.clock.read(now), host.disk.reserved);
        let id = NodeId::new(number % 32).expect("a configured number");
        if setup.is_dongle(number) {
            return Brain::Dongle(Box::new(Dongle::new(setup, id, &mut host.store, bits, local)));
        }
        if id.is_witness() {
            let config = WitnessConfig {
                cluster,
                me: id,
                class: LinkClass::Udp,
                longest_promise: Duration::from_millis(host.settings.promise_ms),
                heartbeat: Duration::from_millis(setup.heartbeat_ms),
                dead: Duration::from_millis(setup.dead_ms),
            };
            return Brain::Witness(Box::new(Arbiter::new(&config, keys, boot, reserved, local)));
        }
        let own = if Hosts::is_own(number) {
            super::Setup { promise_ms: host.settings.promise_ms, ..setup.clone() }
        } else {
            setup.of_neighbours()
        };
        let mut config = own.config(id);
        (config.cluster, config.digest) = (cluster, host.settings.digest);
        change(&mut config);
        let config = ServerConfig::new(config).expect("a consistent configuration");
        let cable = setup.cable(number, &keys).map(Box::new);
        Brain::Server(Box::new(Server::new(config, keys, boot, reserved, local)), cable)
    }

    fn cluster_of(&self, number: u8) -> ClusterId {
        let is_other = self.setup.neighbours == Some(Neighbours::OtherCluster);
        if is_other && !Hosts::is_own(number) { OTHER_CLUSTER } else { CLUSTER }
    }

    fn keys_of(&self, number: u8) -> Keyring {
        let is_other = self.setup.neighbours == Some(Neighbours::OtherKey);
        if is_other && !Hosts::is_own(number) {
            return other_keyring();
        }
        keyring_of(self.hosts.get(number).map_or(Keys::Old, |host| host.settings.keys))
    }

    /// Tells of every clock how wrong it is.
    pub(super) fn tell_clocks(&mut self) {
        for number in self.numbers() {
            let error_ppm = self.hosts.get(number).map_or(0, |host| host.clock.error());
            self.see(Seen::Clock { host: number, error_ppm });
        }
    }

    /// Gives the process on `number` other keys, now and at every later start.
    pub(super) fn rekey(&mut self, number: u8, keys: Keys) {
        let Some(host) = self.hosts.get_mut(number) else { return };
        host.settings.keys = keys;
        match &mut host.brain {
            Some(Brain::Server(engine, cable)) => {
                engine.set_keyring(keyring_of(keys));
                if let Some(cable) = cable {
                    cable.set_keyring(&keyring_of(keys));
                }
            }
            Some(Brain::Witness(witness)) => witness.set_keyring(keyring_of(keys)),
            Some(Brain::Dongle(_)) | None => {}
        }
    }

    /// Starts a host again with other settings.
    pub(super) fn reconfigure(&mut self, number: u8, digest: u32, promise_ms: u64) {
        if let Some(host) = self.hosts.get_mut(number) {
            host.settings = Settings { digest, promise_ms, ..host.settings };
            self.start(number);
        }
    }

    /// Repairs whatever is broken: the network and the lines, clocks and disks, agents and
    /// settings; whoever has died or left starts again, standby is taken back, and so is what the
    /// operator has said last, which takes a while if anything was. Machines that stand still and
    /// processes that are paused go on when it is their time.
    pub fn repair(&mut self) {
        self.heal();
        for number in self.numbers() {
            self.repair_host(number);
        }
        self.take_words_back();
        self.healed();
    }

    fn repair_host(&mut self, number: u8) {
        let settings = Settings::new(&self.setup);
        let Some(host) = self.hosts.get_mut(number) else { return };
        host.agents.fill(Manner::Honest);
        host.dies = None;
        (host.disk.fails_until, host.disk.takes) = (0, 0);
        if host.disk.torn {
            // An operator has removed what is damaged.
            (host.disk.torn, host.disk.reserved) = (false, Default::default());
            host.disk.decree = None;
        }
        let is_changed = host.settings != settings;
        host.settings = settings;
        let assumed = self.assumed_error(number);
        let error = self.hosts.get(number).map_or(0, |host| host.clock.error());
        if error.abs() > assumed {
            self.set_clock_error(number, 0);
        }
        let leaves = self.engine(number).is_some_and(Server::is_leaving);
        if leaves || is_changed || !self.is_running(number) {
            self.crash(number);
            self.start(number);
        }
        // Standby is an order, not a fault: it is taken back, of all groups or of one.
        self.order(number, |engine, now| {
            if engine.is_standby() {
                engine.handle_takeover(None, now);
            }
            for group in GroupId::all() {
                if engine.group(group).is_some_and(lifesign_core::engine::Group::is_standby) {
                    engine.handle_takeover(Some(group), now);
                }
            }
        });
    }

    fn assumed_error(&self, number: u8) -> i64 {
        let is_witness = number >= 16;
        i64::from(if is_witness { self.setup.witness_error } else { self.setup.clock_error })
    }
}

/// The cluster that is watched.
pub(super) const CLUSTER: ClusterId = ClusterId(7);
/// Another one.
pub(super) const OTHER_CLUSTER: ClusterId = ClusterId(8);

/// Returns the keys of a step of their rotation.
pub(super) fn keyring_of(keys: Keys) -> Keyring {
    let old = (KeyId(0), Key::new([9; KEY_LEN]));
    let new = (KeyId(1), Key::new([10; KEY_LEN]));
    let made = match keys {
        Keys::Old => Keyring::new(&[old], KeyId(0)),
        Keys::BothOldSigns => Keyring::new(&[old, new], KeyId(0)),
        Keys::BothNewSigns => Keyring::new(&[old, new], KeyId(1)),
        Keys::New => Keyring::new(&[new], KeyId(1)),
    };
    made.expect("keys of which one signs")
}

/// Returns the keys of another cluster under the same number.
pub(super) fn other_keyring() -> Keyring {
    Keyring::new(&[(KeyId(0), Key::new([11; KEY_LEN]))], KeyId(0)).expect("one key that signs")
}
