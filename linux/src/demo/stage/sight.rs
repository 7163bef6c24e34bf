//! How the stage looks.

use std::net::IpAddr;

use super::super::picture::{self, Health, MachineView};
use super::{SERVERS, Stage};

impl Stage {
    /// Shows how everything is at present.
    pub(super) fn refresh(&mut self) {
        self.drawn_us = self.now_us();
        if !self.show.has_picture() {
            return;
        }
        let lab = self.cluster.lab();
        let machine = |name: &str| {
            let held = |group: &usize| lab.holders(*group).contains(&name);
            let held: Vec<IpAddr> =
                (0..self.groups()).filter(held).map(|group| self.services[group]).collect();
            MachineView {
                name: name.to_owned(),
                health: self.health(name),
                cables: lab.unplugged(name),
                held: picture::shortened(&held),
            }
        };
        let (servers, arbiter) = (SERVERS.map(machine), machine(self.arbiter.name()));
        self.view.servers = servers;
        self.view.arbiter = arbiter;
        self.view.lines = self.dongle.as_ref().map(|_| self.power.active());
        self.view.cut = lab.is_cut(SERVERS[0], SERVERS[1]);
        self.view.answered = self.is_answered();
        self.view.elapsed_ds = (self.now_us() - self.begun_us) / 100_000;
        self.show.draw(&self.view);
    }

    fn health(&self, name: &str) -> Health {
        match self.cluster.daemon(name) {
            _ if !self.cluster.lab().is_on(name) => Health::Off,
            Ok(daemon) if !daemon.is_running() => Health::Dead,
            Ok(daemon) if daemon.is_frozen() => Health::Frozen,
            Ok(_) => Health::Running,
            Err(_) => Health::Dead,
        }
    }
}
