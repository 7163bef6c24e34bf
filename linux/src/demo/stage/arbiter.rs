//! Who decides when the servers do not hear each other, and what follows from it.

use std::io;
use std::net::IpAddr;

use super::super::dongle::DONGLE;
use super::super::lab::{Lab, MachinePlan, Plan, Role};
use super::super::traffic::Traffic;
use super::example::{CALM, DONGLE_CALM, DONGLE_SETTINGS, DONGLE_TIMING, SETTINGS};
use super::{Family, SERVERS};

/// Who decides when the servers do not hear each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arbiter {
    /// A quorum server on the servers' network, where each of them has a standby adapter.
    #[default]
    QuorumServer,
    /// A dongle with a serial line to each server, and two networks between them.
    Dongle,
}

/// The machine of the quorum server.
const QUORUM_SERVER: &str = "quorum";

impl Arbiter {
    /// Returns the name of its machine, which is also its name in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuorumServer => QUORUM_SERVER,
            Self::Dongle => DONGLE,
        }
    }

    /// Returns the service address of each group, in the order of the settings.
    #[must_use]
    pub fn services(self, family: Family) -> Vec<IpAddr> {
        let services: &[&str] = match self {
            Self::QuorumServer => &["10.77.0.100"],
            Self::Dongle => &["10.77.0.100", "10.77.0.101"],
        };
        services.iter().filter_map(|service| family.adapt(service).parse().ok()).collect()
    }

    /// Returns the servers' settings, and the spans of daemons that wait for a processor like
    /// everybody else.
    pub(super) const fn settings(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::QuorumServer => (SETTINGS, CALM),
            Self::Dongle => (DONGLE_SETTINGS, DONGLE_CALM),
        }
    }

    /// Returns the spans of daemons that have real-time priority.
    pub(super) const fn spans(self) -> [&'static str; 2] {
        match self {
            Self::QuorumServer => ["", ""],
            Self::Dongle => [DONGLE_TIMING, ""],
        }
    }

    /// Returns for how long the laboratory itself may hold frames up, in milliseconds.
    ///
    /// A switch and a client that wait for a processor like everybody else take longer than with
    /// real-time priority, and so they do beside an emulated board and its lines.
    pub(super) const fn unaffected_ms(self, is_realtime: bool) -> f64 {
        match (self, is_realtime) {
            (_, false) => 50.0,
            (Self::QuorumServer, true) => 5.0,
            (Self::Dongle, true) => 25.0,
        }
    }

    /// Starts a service with clients, where a scene is about them.
    pub(super) fn start_traffic(
        self,
        lab: &mut Lab,
        address: IpAddr,
    ) -> io::Result<Option<Traffic>> {
        match self {
            Self::QuorumServer => Traffic::start(lab, &SERVERS, address).map(Some),
            Self::Dongle => Ok(None),
        }
    }

    pub(super) fn plan(self, family: Family) -> Plan {
        let cabled = |machine: MachinePlan, network, address: &str| {
            machine.with_cable(network, &family.adapt(address))
        };
        let mut plan = Plan::new();
        for (number, server) in (1..).zip(SERVERS) {
            let (network, address) = match self {
                Self::QuorumServer => (0, format!("10.77.0.1{number}/24")),
                Self::Dongle => (1, format!("10.78.0.{number}/24")),
            };
            let machine = MachinePlan::new(server, Role::Server);
            let machine = cabled(machine, 0, &format!("10.77.0.{number}/24"));
            plan = plan.with_machine(cabled(machine, network, &address));
        }
        let arbiter = MachinePlan::new(self.name(), Role::Witness);
        let arbiter = match self {
            Self::QuorumServer => cabled(arbiter, 0, "10.77.0.9/24"),
            Self::Dongle => arbiter,
        };
        let client = cabled(MachinePlan::new("client", Role::Client), 0, "10.77.0.50/24");
        let plan = plan.with_machine(arbiter).with_machine(client);
        let services = self.services(family).into_iter();
        services.fold(plan, |plan, service| plan.with_watched(0, &service.to_string()))
    }
}
