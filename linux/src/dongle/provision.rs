//! From the settings of a cluster to what a dongle stores, and into the dongle.

mod choice;

use std::fmt::Write;
use std::path::Path;

use lifesign_core::dongle::{
    Info, Lock, NotProvisioned, PURPOSE, Provision, Request, Settings as Stored,
};
use lifesign_core::seal::{Key, KeyId, Keyring};
use lifesign_core::time::Duration;

use self::choice::Named;
use super::DongleError;
use super::client::Client;
use super::picture::room_faults;
use crate::page;
use crate::settings::safety::cluster_id;
use crate::settings::{Settings, key};

/// What the command line says besides the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which node is at which port, ports from 1.
    pub ports: Vec<(u8, String)>,
    /// Which witness it is.
    pub witness: Option<String>,
    /// Whom its reset lines reset; what the settings say if it is empty.
    pub resets: Vec<String>,
    /// How long a reset line is held.
    pub pulse: Duration,
}

/// The least time between two pulses. A server that was reset takes longer to come back.
const DISTANCE_MS: u16 = 2000;
/// The shortest and the longest pulse, in milliseconds: what buttons for it see, and less than what
/// switches machines off.
const PULSES_MS: core::ops::RangeInclusive<u64> = 10..=3000;

/// What is to be stored in a dongle, with names for people.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    stored: Stored,
    keyring: Keyring,
    cluster: String,
    witness: String,
    /// The node at each port, and whether its reset line leads there too.
    ports: Named,
    /// The speed that the settings have for the dongle's lines.
    speed: Option<u32>,
    /// What people should know.
    notes: Vec<String>,
}

impl core::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Without what is stored, which has the keys in it.
        formatter.debug_struct("Plan").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Plan {
    /// Derives what to store from `settings`, the key file they name, and `wish`.
    ///
    /// # Errors
    /// What does not fit the settings, or why the key file is not used.
    pub fn new(settings: &Settings, wish: &Wish) -> Result<Self, DongleError> {
        let unfit = |why: String| Err(DongleError::Unfit(why));
        let keyring = key::load(&settings.key_file, &settings.cluster)
            .map_err(|error| DongleError::Unfit(error.to_string()))?;
        let me = choice::witness(settings, wish.witness.as_deref()).map_err(DongleError::Unfit)?;
        let resets = choice::resets(settings, me, &wish.resets).map_err(DongleError::Unfit)?;
        let (ports, named) =
            choice::ports(settings, &wish.ports, resets).map_err(DongleError::Unfit)?;
        let pulse = wish.pulse.as_millis();
        if !PULSES_MS.contains(&pulse) {
            let (least, most) = (PULSES_MS.start(), PULSES_MS.end());
            return unfit(format!("a pulse must last {least} ms to {most} ms"));
        }
        let timing = &settings.timing;
        let mut links = settings.links.iter().filter_map(|link| link.serial());
        let speed = links.find(|link| link.witness == Some(me)).map(|link| link.speed);
        let mut notes = Vec::new();
        let keys = choice::keys(&keyring, &mut notes);
        let stored = Stored {
            cluster: cluster_id(&settings.cluster),
            me,
            // To speak a little more often and to wait a little longer is always safe.
            heartbeat_ms: millis(timing.heartbeat.as_micros() / 1000).max(1),
            dead_ms: millis(timing.dead.as_micros().div_ceil(1000)).max(2),
            longest_promise_ms: millis(timing.longest_promise.as_micros().div_ceil(1000)),
            keys,
            signer: keyring.signer(),
            pulse_ms: u16::try_from(pulse).unwrap_or(u16::MAX),
            distance_ms: DISTANCE_MS,
            ports,
        };
        Ok(Self {
            stored,
            keyring,
            cluster: settings.cluster.clone(),
            witness: settings.name_of(me),
            ports: named,
            speed,
            notes,
        })
    }

    /// Returns what will happen, for the person who is asked whether it shall; `speed` is that of
    /// the line.
    #[must_use]
    pub fn explain(&self, info: &Info, device: &Path, speed: Option<u32>) -> String {
        let stored = &self.stored;
        let mut text = format!(
            "This makes the dongle {} on {} a witness of cluster {}.\n",
            info.board,
            device.display(),
            self.cluster
        );
        let mut row = |name: &str, value: &str| {
            text.push_str(&page::wrap(&format!("  {name:<10}"), value));
        };
        row("witness", &self.witness);
        row(
            "timing",
            &format!(
                "heartbeat {} ms, dead {} ms, longest promise {} ms",
                stored.heartbeat_ms, stored.dead_ms, stored.longest_promise_ms
            ),
        );
        for (number, port) in (1..).zip(&self.ports) {
            let Some((node, is_reset)) = port else { continue };
            let line = if *is_reset {
                format!("{node}, reset by a pulse of {} ms", stored.pulse_ms)
            } else {
                node.clone()
            };
            row(&format!("port {number}"), &line);
        }
        let count = stored.keys.len();
        let keys = if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
        row(
            "keys",
            &format!(
                "{keys} of the cluster, which go over this cable in clear: whoever listens on it \
                 could speak for a node"
            ),
        );
        if let (Some((id, _)), Lock::Unlocked) = (info.member, info.lock)
            && id != stored.cluster
        {
            row("before", &format!("it belonged to another cluster (id {:08x})", id.0));
        }
        for note in &self.notes {
            row("note", note);
        }
        if let (Some(speed), Some(wanted)) = (speed, self.speed)
            && speed != wanted
        {
            row(
                "note",
                &format!(
                    "it answers at {speed} baud, and the settings have its lines at {wanted}: \
                     write `speed = {speed}` there"
                ),
            );
        }
        text
    }

    /// Stores it in the dongle, which has just said `info`, and returns what is stored there then,
    /// for people.
    ///
    /// # Errors
    /// Why it is not stored, or that it is not known whether it is.
    pub fn carry_out(&self, client: &mut Client, info: Info) -> Result<String, DongleError> {
        self.check(&info)?;
        let mut info = info;
        let mut refused = None;
        // A dongle may not know yet the key that signs: then one of the others opens it.
        for control in self.controls(&info) {
            let provision = Provision { challenge: info.challenge, settings: self.stored.clone() };
            let said = client.provision(&Request::Provision(provision), control.as_ref())?;
            let before = info;
            info = client.info()?;
            match said {
                Some(Ok(())) if self.is_stored(&info) => return Ok(self.report(&info)),
                Some(Ok(())) => {
                    return Err(DongleError::Failed(format!(
                        "the dongle says that it has stored the settings, and shows others: {}",
                        self.state(&info)
                    )));
                }
                None if self.is_stored(&info) && !self.is_stored(&before) => {
                    return Ok(self.report(&info));
                }
                None if self.is_stored(&info) => {
                    return Err(DongleError::Failed(
                        "the dongle did not say whether it has stored the settings, and shows the \
                         same ones as before: give the command again"
                            .to_owned(),
                    ));
                }
                None => refused = refused.or(Some(NotProvisioned::Locked)),
                Some(Err(why)) => refused = Some(why),
            }
            if refused.is_some_and(|why| why != NotProvisioned::Locked) {
                break;
            }
        }
        Err(self.refusal(refused.unwrap_or(NotProvisioned::Locked), &info))
    }

    /// Looks for what the dongle would refuse.
    fn check(&self, info: &Info) -> Result<(), DongleError> {
        let has = info.ports.len();
        if self.stored.ports.len() > has {
            return Err(DongleError::Unfit(format!(
                "there is no port {}: the dongle has {has}",
                self.stored.ports.len()
            )));
        }
        match info.member {
            Some((id, _)) if info.lock == Lock::Locked && id != self.stored.cluster => {
                Err(DongleError::OtherCluster(format!(
                    "the dongle belongs to another cluster (its id is {:08x}, and that of {} is \
                     {:08x}): {UNLOCK}",
                    id.0, self.cluster, self.stored.cluster.0
                )))
            }
            _ => self.stored.check(has).map_err(|why| DongleError::Unfit(why.to_string())),
        }
    }

    /// Returns what to seal the settings with, in the order in which to try it.
    fn controls(&self, info: &Info) -> Vec<Option<Keyring>> {
        if info.lock != Lock::Locked {
            return vec![None];
        }
        let keys: Vec<(KeyId, Key)> =
            self.keyring.secrets().map(|(id, secret)| (id, Key::new(*secret))).collect();
        let signer = self.keyring.signer();
        let others = self.keyring.ids().filter(|id| *id != signer);
        let order = [signer].into_iter().chain(others);
        order
            .filter_map(|id| Keyring::new(&keys, id).ok())
            .map(|it| Some(it.derive(PURPOSE)))
            .collect()
    }

    fn is_stored(&self, info: &Info) -> bool {
        let stored = &self.stored;
        info.member == Some((stored.cluster, stored.me))
            && info.longest_promise_ms == stored.longest_promise_ms
            && stored.ports.iter().zip(&info.ports).all(|(wanted, port)| wanted.name == port.name)
    }

    fn report(&self, info: &Info) -> String {
        format!(
            "{}\nIt promises for the first time when {} ms have passed: it could have forgotten \
             older promises.",
            self.state(info),
            info.longest_promise_ms
        )
    }

    /// Returns what the dongle has stored, as it says itself.
    fn state(&self, info: &Info) -> String {
        match info.member {
            None => "The dongle has no settings and passes nothing on.".to_owned(),
            Some((id, me)) if (id, me) == (self.stored.cluster, self.stored.me) => format!(
                "The dongle is the witness {} of cluster {}, and promises up to {} ms.",
                self.witness, self.cluster, info.longest_promise_ms
            ),
            Some((id, _)) => format!("The dongle belongs to a cluster with id {:08x}.", id.0),
        }
    }

    fn refusal(&self, why: NotProvisioned, info: &Info) -> DongleError {
        let advice = match why {
            NotProvisioned::Locked => format!(
                "; it knows none of the keys in this key file: use the file it was given last, or \
                 {UNLOCK}"
            ),
            NotProvisioned::Challenge => "; somebody else asks it, too: try again".to_owned(),
            _ => String::new(),
        };
        let mut text = format!("the dongle has not taken the settings: {why}{advice}.");
        let _ = write!(text, " {}", self.state(info));
        DongleError::Failed(text)
    }

    /// Returns what of the cluster the dongle has no room for.
    #[must_use]
    pub fn faults(info: &Info, settings: &Settings) -> Vec<String> {
        room_faults(info, settings)
    }
}

/// How a dongle is opened by hand.
const UNLOCK: &str = "to take it over, hold its unlock pin (on STM32F405 boards: connect PA0 to 3.3 V) and \
                      give the command again";

fn millis(millis: u64) -> u32 {
    u32::try_from(millis).unwrap_or(u32::MAX)
}
