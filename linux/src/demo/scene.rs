//! What is done to the servers, and what has to come of it.
//!
//! Each [`Scene`] starts when one server serves and every daemon is ready, does its harm, waits
//! until the service is settled, repairs what it broke and waits until all is ready again. What is
//! measured covers all of that: coming back must not hurt either.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;

use super::client::PERIOD_US;
use super::stage::{Bounds, SERVERS, Stage, WITNESS};

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
}

impl Scene {
    /// All scenes in the order in which they play: the last four repair each other's harm.
    pub const ALL: [Self; 8] = [
        Self::Switchover,
        Self::DaemonKilled,
        Self::DaemonFrozen,
        Self::ServerCrashed,
        Self::LinkCut,
        Self::LinkHealed,
        Self::WitnessStopped,
        Self::WitnessBack,
    ];

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
        }
    }

    /// Returns the scene of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scene| scene.name() == name)
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
        }
    }

    /// Returns the longest outage that was promised for the scene, in milliseconds.
    #[must_use]
    pub const fn bound_ms(self, bounds: Bounds) -> f64 {
        match self {
            Self::Switchover => bounds.switchover_ms,
            Self::DaemonKilled => bounds.daemon_killed_ms,
            Self::DaemonFrozen | Self::ServerCrashed => bounds.crash_ms,
            Self::LinkCut | Self::LinkHealed | Self::WitnessStopped | Self::WitnessBack => {
                bounds.unaffected_ms
            }
        }
    }

    /// Plays the scene and returns what came of it.
    ///
    /// # Errors
    /// What kept the scene from being played; a service that stays away is an outcome.
    pub fn play(self, stage: &mut Stage) -> io::Result<Outcome> {
        let holder = stage.holder().unwrap_or(SERVERS[0]);
        let other = Stage::other(holder);
        let begun_us = stage.now_us();
        stage.announce(&self.title(holder, other));
        self.harm(stage, holder, other)?;
        let mut settled = stage.await_settled();
        let repaired = self.repair(stage, holder)?;
        if repaired {
            settled &= stage.await_ready();
        }
        let (judged_us, now_us) = stage.take_judged_us();
        let outage_us = stage.log().longest_outage_us(begun_us, now_us);
        let two_holders_us = stage.cluster().lab().two_holders_us(0, judged_us, now_us);
        let bound_ms = self.bound_ms(stage.bounds());
        let outcome = Outcome::new(self, [outage_us, two_holders_us], bound_ms, settled);
        stage.report(&outcome.to_string());
        Ok(outcome)
    }

    fn harm(self, stage: &mut Stage, holder: &str, other: &str) -> io::Result<()> {
        match self {
            Self::Switchover => {
                let said = stage.cluster().ask(other, &["takeover"])?;
                if !said.status.success() {
                    let words = String::from_utf8_lossy(&said.stderr).into_owned();
                    return Err(io::Error::other(words));
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
            Self::ServerCrashed => {
                stage.cluster_mut().lab_mut().crash(holder);
                stage.pause(OBSERVED_MS);
            }
            Self::LinkCut => {
                stage.cluster().lab().cut(SERVERS[0], SERVERS[1]);
                stage.pause(OBSERVED_MS);
            }
            Self::LinkHealed => stage.cluster().lab().heal(),
            Self::WitnessStopped => {
                stage.cluster().stop(WITNESS, STOP_LIMIT)?;
                stage.pause(OBSERVED_MS);
            }
            Self::WitnessBack => stage.start_witness()?,
        }
        Ok(())
    }

    /// Repairs what the scene broke; returns whether everything should be ready after it.
    fn repair(self, stage: &mut Stage, holder: &str) -> io::Result<bool> {
        match self {
            Self::DaemonKilled => stage.start_node(holder)?,
            Self::ServerCrashed => {
                stage.cluster().lab().set_cables(holder, true);
                stage.start_node(holder)?;
            }
            Self::Switchover | Self::DaemonFrozen | Self::LinkHealed | Self::WitnessBack => {}
            Self::LinkCut | Self::WitnessStopped => return Ok(false),
        }
        Ok(true)
    }
}

/// What was measured in a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The scene's name.
    pub scene: &'static str,
    /// The longest time without an answer, in milliseconds.
    pub outage_ms: f64,
    /// For how long two servers answered, in milliseconds.
    pub two_holders_ms: f64,
    /// What was promised for the outage, in milliseconds.
    pub bound_ms: f64,
    /// Whether both promises were kept and the service was there at the end.
    pub kept: bool,
}

impl Outcome {
    /// Returns the outcome of `scene` from `measured_us`: the longest outage and two holders.
    ///
    /// A client that asks once in a period sees up to one period more than there was.
    fn new(scene: Scene, measured_us: [u64; 2], bound_ms: f64, settled: bool) -> Self {
        let [outage_ms, two_holders_ms] = measured_us.map(milliseconds);
        let in_time = outage_ms <= bound_ms + milliseconds(PERIOD_US);
        Self {
            scene: scene.name(),
            outage_ms,
            two_holders_ms,
            bound_ms,
            kept: settled && in_time && measured_us[1] == 0,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.kept { "kept" } else { "NOT KEPT" };
        write!(
            f,
            "{}: outage {:.1} of {:.1} ms, two holders {:.1} ms: {verdict}",
            self.scene, self.outage_ms, self.bound_ms, self.two_holders_ms
        )
    }
}

/// How long a scene is watched before its end is awaited, in milliseconds.
const OBSERVED_MS: u64 = 1_000;

/// How long the daemon is frozen, in milliseconds.
const FROZEN_MS: u64 = 5_000;

/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Returns microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 microseconds")]
pub(super) fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_scenes() {
        for scene in Scene::ALL {
            assert_eq!(Scene::from_name(scene.name()), Some(scene));
        }
        assert_eq!(Scene::from_name("flood"), None);
    }

    #[test]
    fn a_promise_is_kept_within_the_clients_resolution() {
        let kept = |outage_us, two_us, settled| {
            Outcome::new(Scene::Switchover, [outage_us, two_us], 2.0, settled).kept
        };
        assert!(kept(3_000, 0, true));
        assert!(!kept(3_001, 0, true));
        assert!(!kept(1_000, 1, true));
        assert!(!kept(1_000, 0, false));
    }

    #[test]
    fn an_outcome_in_json_has_the_agreed_fields() {
        let outcome = Outcome::new(Scene::LinkCut, [1_250, 0], 5.0, true);
        let text = serde_json::to_string(&outcome).unwrap();
        let expected = r#"{"scene":"link-cut","outage_ms":1.25,"two_holders_ms":0.0,"bound_ms":5.0,"kept":true}"#;
        assert_eq!(text, expected);
    }
}
