//! What is done to the servers, and what has to come of it.
//!
//! Each [`Scene`] starts when one server serves and every daemon is ready, does its harm, waits
//! until the service is settled, repairs what it broke and waits until all is ready again. What is
//! measured covers all of that: coming back must not hurt either.

mod observation;
mod outcome;

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use self::observation::{Observation, Votes};
pub use self::outcome::Outcome;
pub(super) use self::outcome::milliseconds;
use super::dongle::{Dongle, PULSE_MS};
use super::stage::{Arbiter, Bounds, SERVERS, Stage};

/// A thing that happens to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// The service moves because an administrator says so.
    Switchover,
    /// The holder's daemon is killed by SIGKILL.
    DaemonKilled,
    /// The holder's daemon is stopped by SIGSTOP for five seconds.
    DaemonFrozen,
    /// Everything on the holder dies at once, and its cables are pulled.
    ServerCrashed,
    /// Nothing passes between the servers; both reach the witness and the client.
    LinkCut,
    /// The servers hear each other again.
    LinkHealed,
    /// The witness is stopped.
    WitnessStopped,
    /// The witness is started again.
    WitnessBack,
    /// Nothing passes between the servers on any network; the dongle's lines are left.
    NetworksCut,
    /// The servers hear each other on all networks again.
    NetworksHealed,
    /// Both serial lines are cut; the networks are left.
    LinesCut,
    /// The serial lines carry again.
    LinesHealed,
    /// As `ServerCrashed`, while a client asks a service by UDP.
    UdpService,
    /// As `ServerCrashed`, while a client waits on a TCP connection.
    TcpService,
    /// The adapter by which the holder serves loses its carrier.
    AdapterUnplugged,
    /// Nothing passes the adapter by which the holder serves, and its carrier stays.
    AdapterSilent,
    /// Everything on the holder of what needs fencing is stopped by SIGSTOP.
    MachineFrozen,
}

impl Scene {
    /// Returns all scenes with `arbiter` in the order in which they play: of a pair, the second
    /// repairs the harm of the first.
    #[must_use]
    pub const fn all(arbiter: Arbiter) -> &'static [Self] {
        match arbiter {
            Arbiter::QuorumServer => &[
                Self::Switchover,
                Self::DaemonKilled,
                Self::DaemonFrozen,
                Self::ServerCrashed,
                Self::UdpService,
                Self::TcpService,
                Self::AdapterUnplugged,
                Self::AdapterSilent,
                Self::LinkCut,
                Self::LinkHealed,
                Self::WitnessStopped,
                Self::WitnessBack,
            ],
            Arbiter::Dongle => &[
                Self::NetworksCut,
                Self::NetworksHealed,
                Self::LinesCut,
                Self::LinesHealed,
                Self::ServerCrashed,
                Self::MachineFrozen,
            ],
        }
    }

    /// Returns the scene's name in results and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::DaemonKilled => "daemon-killed",
            Self::DaemonFrozen => "daemon-frozen",
            Self::ServerCrashed => "server-crashed",
            Self::LinkCut => "link-cut",
            Self::LinkHealed => "link-healed",
            Self::WitnessStopped => "witness-stopped",
            Self::WitnessBack => "witness-back",
            Self::NetworksCut => "networks-cut",
            Self::NetworksHealed => "networks-healed",
            Self::LinesCut => "lines-cut",
            Self::LinesHealed => "lines-healed",
            Self::UdpService => "udp-service",
            Self::TcpService => "tcp-service",
            Self::AdapterUnplugged => "adapter-unplugged",
            Self::AdapterSilent => "adapter-silent",
            Self::MachineFrozen => "machine-frozen",
        }
    }

    /// Returns the group whose holder is hurt: the first, or the one that needs fencing.
    const fn group(self) -> usize {
        match self {
            Self::MachineFrozen => 1,
            _ => 0,
        }
    }

    /// Returns what happens, with the holder and the other server.
    #[must_use]
    pub fn title(self, holder: &str, other: &str) -> String {
        match self {
            Self::Switchover => format!("{other} takes over from {holder} in good order"),
            Self::DaemonKilled => format!("the daemon on {holder} is killed"),
            Self::DaemonFrozen => format!("the daemon on {holder} is frozen for five seconds"),
            Self::ServerCrashed => format!("{holder} crashes with its cables"),
            Self::LinkCut => "the link between the servers is cut".to_owned(),
            Self::LinkHealed => "the link between the servers is back".to_owned(),
            Self::WitnessStopped => "the witness stops".to_owned(),
            Self::WitnessBack => "the witness is back".to_owned(),
            Self::NetworksCut => "every network between the servers is cut".to_owned(),
            Self::NetworksHealed => "the networks between the servers are back".to_owned(),
            Self::LinesCut => "both serial lines are cut".to_owned(),
            Self::LinesHealed => "the serial lines are back".to_owned(),
            Self::UdpService => format!("{holder} crashes while a client asks by UDP"),
            Self::TcpService => format!("{holder} crashes while a client waits on TCP"),
            Self::AdapterUnplugged => format!("the adapter by which {holder} serves is unplugged"),
            Self::AdapterSilent => format!("nothing passes the adapter by which {holder} serves"),
            Self::MachineFrozen => format!("everything on {holder} is frozen"),
        }
    }

    /// Returns the longest outage that was promised for the scene, in milliseconds.
    #[must_use]
    pub const fn bound_ms(self, bounds: Bounds) -> f64 {
        match self {
            Self::Switchover => bounds.switchover_ms,
            Self::DaemonKilled => bounds.daemon_killed_ms,
            Self::DaemonFrozen | Self::ServerCrashed | Self::UdpService => bounds.crash_ms,
            Self::TcpService => bounds.crash_ms + TOLD_MS,
            Self::AdapterUnplugged => bounds.no_carrier_ms,
            Self::AdapterSilent => bounds.silent_ms,
            Self::MachineFrozen => bounds.crash_ms + FENCING_MS,
            Self::LinkCut
            | Self::LinkHealed
            | Self::WitnessStopped
            | Self::WitnessBack
            | Self::NetworksCut
            | Self::NetworksHealed
            | Self::LinesCut
            | Self::LinesHealed => bounds.unaffected_ms,
        }
    }

    /// Plays the scene and returns what came of it.
    ///
    /// # Errors
    /// What kept the scene from being played; a service that stays away is an outcome.
    pub fn play(self, stage: &mut Stage) -> io::Result<Outcome> {
        let group = self.group();
        let holder = stage.holder(group).unwrap_or(SERVERS[0]);
        let other = Stage::other(holder);
        if self == Self::MachineFrozen {
            stage.await_line_rested();
        }
        if self == Self::TcpService && !stage.await_known_client(other) {
            return Err(io::Error::other(format!("{other} heard of no client")));
        }
        let begun_us = stage.now_us();
        stage.announce(&self.title(holder, other));
        self.harm(stage, holder, other)?;
        let votes = self.votes(stage, other);
        let mut settled = stage.await_settled();
        let observation = Observation::of(self, stage, holder, begun_us).with_votes(votes);
        let repaired = self.repair(stage, holder)?;
        if repaired {
            settled &= stage.await_ready();
        }
        let (judged_us, now_us) = stage.take_judged_us();
        let outage_us = observation
            .outage_us
            .unwrap_or_else(|| stage.log(group).longest_outage_us(begun_us, now_us));
        let two_holders_us = stage.two_holders_us(judged_us, now_us);
        let bound_ms = self.bound_ms(stage.bounds(group));
        let is_well = settled && observation.is_expected;
        let outcome = Outcome::new(self, [outage_us, two_holders_us], bound_ms, is_well)
            .with_observed(observation.told);
        stage.report(&outcome.to_string());
        Ok(outcome)
    }

    /// Returns by whose votes the survivor of a crash holds, where a dongle should have one: at
    /// once, for the dongle may bring the other server back.
    fn votes(self, stage: &mut Stage, other: &str) -> Option<Votes> {
        let is_asked = self == Self::ServerCrashed && stage.dongle().is_some();
        is_asked.then(|| {
            stage.await_holder(self.group(), other);
            Votes::of(stage, self.group(), other)
        })
    }

    fn harm(self, stage: &mut Stage, holder: &str, other: &str) -> io::Result<()> {
        match self {
            Self::Switchover => {
                let said = stage.cluster().ask(other, &["takeover"])?;
                if !said.status.success() {
                    let words = [said.stdout, said.stderr].concat();
                    return Err(io::Error::other(
                        String::from_utf8_lossy(&words).trim().to_owned(),
                    ));
                }
                stage.pause(OBSERVED_MS);
            }
            Self::DaemonKilled => {
                stage.cluster().signal(holder, Signal::SIGKILL)?;
                stage.pause(OBSERVED_MS);
            }
            Self::DaemonFrozen => {
                stage.cluster().signal(holder, Signal::SIGSTOP)?;
                stage.pause(FROZEN_MS);
                stage.cluster().signal(holder, Signal::SIGCONT)?;
                stage.pause(OBSERVED_MS);
            }
            Self::UdpService | Self::TcpService => {
                stage.cluster_mut().lab_mut().crash(holder);
                stage.pause(OBSERVED_MS);
            }
            Self::ServerCrashed => {
                stage.cluster_mut().lab_mut().crash(holder);
                // A dongle brings it back soon, so its vote must be looked at before.
                if stage.dongle().is_none() {
                    stage.pause(OBSERVED_MS);
                }
            }
            Self::LinkCut | Self::NetworksCut => {
                stage.cluster().lab().cut(SERVERS[0], SERVERS[1]);
                stage.pause(if self == Self::LinkCut { OBSERVED_MS } else { CUT_MS });
            }
            Self::LinkHealed | Self::NetworksHealed => stage.cluster().lab().heal(),
            Self::WitnessStopped => {
                stage.cluster().stop(Arbiter::QuorumServer.name(), STOP_LIMIT)?;
                stage.pause(OBSERVED_MS);
            }
            Self::WitnessBack => stage.start_witness()?,
            Self::LinesCut => {
                stage.dongle().into_iter().for_each(Dongle::cut_lines);
                stage.pause(CUT_MS);
            }
            Self::LinesHealed => stage.dongle().into_iter().for_each(Dongle::heal_lines),
            Self::MachineFrozen => {
                stage.cluster_mut().lab_mut().machine(holder).freeze()?;
                stage.pause(OBSERVED_MS);
            }
            Self::AdapterUnplugged | Self::AdapterSilent => {
                let adapter = stage.adapter(holder).unwrap_or_default();
                self.set_adapter(stage, (holder, adapter), false)?;
                stage.pause(OBSERVED_MS);
            }
        }
        Ok(())
    }

    /// Repairs what the scene broke; returns whether everything should be ready after it.
    fn repair(self, stage: &mut Stage, holder: &str) -> io::Result<bool> {
        match self {
            Self::DaemonKilled => stage.start_node(holder)?,
            Self::ServerCrashed | Self::UdpService | Self::TcpService => {
                stage.cluster().lab().set_cables(holder, true);
                // A dongle may have reset it, and so started it, before.
                if !stage.cluster().is_running(holder) {
                    stage.start_node(holder)?;
                }
            }
            Self::AdapterUnplugged | Self::AdapterSilent => {
                let pulled = stage.pulled_adapter(holder).unwrap_or_default();
                self.set_adapter(stage, (holder, pulled), true)?;
                return Ok(stage.await_adapter(holder, pulled));
            }
            Self::Switchover
            | Self::DaemonFrozen
            | Self::LinkHealed
            | Self::WitnessBack
            | Self::NetworksHealed
            | Self::LinesHealed
            | Self::MachineFrozen => {}
            Self::LinkCut | Self::WitnessStopped | Self::NetworksCut | Self::LinesCut => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the cable out of an adapter of a server, or puts it back; `AdapterSilent` leaves the
    /// carrier there.
    fn set_adapter(
        self,
        stage: &Stage,
        (name, adapter): (&str, usize),
        works: bool,
    ) -> io::Result<()> {
        let lab = stage.cluster().lab();
        lab.set_cable(name, adapter, works);
        if self == Self::AdapterUnplugged {
            lab.set_carrier(name, adapter, works).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// How long a scene is watched before its end is awaited, in milliseconds.
const OBSERVED_MS: u64 = 1_000;

/// How long all networks or lines are cut: several times as long as it takes to lose a peer.
const CUT_MS: u64 = 3_000;

/// How long the daemon is frozen, in milliseconds.
const FROZEN_MS: u64 = 5_000;

/// What fencing adds to the failover of a group that needs it, in milliseconds: the pulse, and the
/// two steps that ask for it, some of them refused or lost.
const FENCING_MS: f64 = PULSE_MS + 500.0;

/// How long a client that waits may take to be told and to connect anew, in milliseconds.
const TOLD_MS: f64 = 100.0;

/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_scenes_have_one_name() {
        for arbiter in [Arbiter::QuorumServer, Arbiter::Dongle] {
            let mut names: Vec<&str> = Scene::all(arbiter).iter().map(|it| it.name()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}
