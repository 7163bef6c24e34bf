//! What is known of the dongle on each serial link, and what is said to it.

use lifesign_core::dongle::{
    self, Info, Lock, MAX_MESSAGE_LEN, Reply, Request, Sealed, VERSION, decode, encode, seal,
};
use lifesign_core::node::{BootId, ClusterId, LinkId, NodeId};
use lifesign_core::seal::Keyring;
use lifesign_core::time::{Duration, Instant};

use super::Daemon;
use crate::link::serial::line_time;
use crate::report::{DongleReport, millis};
use crate::settings::Settings;
use crate::settings::safety::cluster_id;
use crate::settings::witness::place_of_witness;

/// A dongle that is a witness.
#[derive(Debug)]
pub(super) struct Dongle {
    link: LinkId,
    witness: NodeId,
    /// How often it is asked how it is.
    every: Duration,
    next: Instant,
    /// What it said last, and when.
    said: Option<(Instant, Box<Info>)>,
    rate: Rate,
}

/// How fast a dongle's clock goes, as seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rate {
    /// When its clock showed what, in which start.
    begun: Option<(BootId, Instant, Instant)>,
    /// By how many millionths it is fast, or slow if less than nothing, as far as is certain.
    off: Option<i64>,
}

/// How often a dongle is asked how it is, at most.
const ASK: Duration = Duration::from_millis(10_000);
/// How many times as often it is asked while something is wrong with it.
const IMPATIENCE: u64 = 5;
/// What an answer takes on a line at most, in bytes.
const ANSWER_LEN: usize = MAX_MESSAGE_LEN + 8;
/// An answer may come this much later than another.
const JITTER: Duration = Duration::from_millis(200);
/// A clock is judged over at least this time.
const LEAST_SPAN: Duration = Duration::from_millis(60_000);

impl Dongle {
    /// Returns every dongle of `settings`.
    pub(super) fn all(settings: &Settings, now: Instant) -> Vec<Self> {
        let dongle = |(link, settings): (LinkId, &crate::settings::Link)| {
            let serial = settings.serial()?;
            // An answer may fill a hundredth of the line.
            let every = line_time(ANSWER_LEN, serial.speed).times(100).max(ASK);
            let (witness, rate) = (serial.witness?, Rate::default());
            Some(Self { link, witness, every, next: now, said: None, rate })
        };
        settings.links().filter_map(dongle).collect()
    }
}

impl Rate {
    /// Takes note that the clock of the start `boot` showed `theirs` about `ours`.
    fn note(&mut self, boot: BootId, theirs: Instant, ours: Instant) {
        let Some((_, then_theirs, then_ours)) = self.begun.filter(|(begun, ..)| *begun == boot)
        else {
            *self = Self { begun: Some((boot, theirs, ours)), off: None };
            return;
        };
        let (theirs, ours) = (theirs.since(then_theirs), ours.since(then_ours));
        if ours < LEAST_SPAN {
            return;
        }
        let [theirs, ours] = [theirs, ours].map(|span| i128::from(span.as_micros()));
        let jitter = i128::from(JITTER.as_micros());
        let gain = theirs - ours;
        // What a late answer may account for is not held against the clock.
        let certain = gain.signum() * (gain.abs() - jitter).max(0);
        self.off = i64::try_from(certain * 1_000_000 / ours.max(1)).ok();
    }
}

impl Daemon {
    /// Asks each dongle how it is, if it is time.
    pub(super) fn ask_dongles(&mut self, now: Instant) {
        for dongle in &mut self.dongles {
            if !now.has_reached(dongle.next) {
                continue;
            }
            let is_well =
                dongle.said.is_some() && faults(dongle, &Demands::of(&self.settings)).is_empty();
            let pause = if is_well { dongle.every } else { dongle.every.scaled(1, IMPATIENCE) };
            dongle.next = now + pause;
            let mut buffer = [0; MAX_MESSAGE_LEN];
            if let Some(len) = encode(&Request::Info, &mut buffer)
                && let Some(link) = self.links.get_mut(dongle.link.index())
            {
                link.ask(&buffer[..len], now);
            }
        }
    }

    /// Says to the dongle on `link` what only a member of the cluster may say.
    pub(super) fn ask_sealed(&mut self, link: LinkId, request: &Request, now: Instant) {
        let mut buffer = [0; MAX_MESSAGE_LEN];
        if let Some(len) = seal(request, &self.control_keys, &mut buffer)
            && let Some(link) = self.links.get_mut(link.index())
        {
            link.ask(&buffer[..len], now);
        }
    }

    /// Takes in what dongles have answered.
    pub(super) fn handle_answers(&mut self, now: Instant) {
        for at in 0..self.links.len() {
            while let Some(answer) = self.links.get_mut(at).and_then(|link| link.poll_reply()) {
                match decode::<Reply>(&answer.bytes, Some(&self.control_keys)) {
                    Ok((Reply::Reset(answer), Sealed::Yes)) => self.handle_reset(&answer, now),
                    Ok((Reply::Info(info), _)) => self.handle_info(at, info, now),
                    // Nothing else was asked, or nobody else may say it.
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    fn handle_info(&mut self, at: usize, info: Info, now: Instant) {
        let Some(dongle) = self.dongles.iter_mut().find(|dongle| dongle.link.index() == at) else {
            return;
        };
        dongle.rate.note(info.boot, info.uptime, now);
        dongle.said = Some((now, Box::new(info)));
    }

    /// Tells what is wrong with a dongle, and when that is over.
    pub(super) fn look_at_dongles(&mut self) {
        let wrong: Vec<String> = self
            .dongles
            .iter()
            .flat_map(|dongle| {
                let name = self.dongle_name(dongle.link);
                let faults = faults(dongle, &Demands::of(&self.settings));
                faults.into_iter().map(move |fault| format!("{DONGLE}{name}: {fault}"))
            })
            .collect();
        self.replace_alerts(DONGLE, wrong);
    }

    /// Returns when a dongle is asked next.
    pub(super) fn next_dongle_due(&self) -> Option<Instant> {
        self.dongles.iter().map(|dongle| dongle.next).min()
    }

    /// Returns the name of the dongle on `link`.
    pub(super) fn dongle_name(&self, link: LinkId) -> String {
        let serial = self.settings.links.get(link.index()).and_then(|link| link.serial());
        let witness = serial.and_then(|serial| serial.witness);
        witness.map_or_else(|| "the dongle".to_owned(), |witness| self.settings.name_of(witness))
    }

    /// Returns what is known of the dongle on `link`, if there is one.
    pub(super) fn dongle_report(&self, link: LinkId, now: Instant) -> Option<DongleReport> {
        let dongle = self.dongles.iter().find(|dongle| dongle.link == link)?;
        let said = dongle.said.as_ref();
        let info = said.map(|(_, info)| info);
        Some(DongleReport {
            witness: self.settings.name_of(dongle.witness),
            said_ms: said.map(|(at, _)| now.since(*at).as_millis()),
            firmware: info.map(|info| info.firmware.map(|part| part.to_string()).join(".")),
            board: info.map(|info| info.board.to_string()),
            uptime_ms: said
                .map(|(at, info)| (info.uptime.since(Instant::ZERO) + now.since(*at)).as_millis()),
            starts: info.map(|info| info.starts),
            promises: info.map(|info| info.promises),
            clock_off_percent: dongle.rate.off.map(percent),
            faults: faults(dongle, &Demands::of(&self.settings)),
        })
    }
}

/// How alerts on dongles begin.
const DONGLE: &str = "dongle ";

/// Returns millionths as a percentage.
fn percent(millionths: i64) -> f64 {
    let size = millis(millionths.unsigned_abs()) / 10.0;
    if millionths < 0 { -size } else { size }
}

/// What a cluster demands of its dongle.
#[derive(Clone, Copy, Debug)]
struct Demands {
    cluster: ClusterId,
    /// By how many millionths its clock may be wrong.
    clock_error: u32,
    nodes: usize,
    groups: usize,
    /// The longest frame, in bytes.
    frame: usize,
}

impl Demands {
    fn of(settings: &Settings) -> Self {
        Self {
            cluster: cluster_id(&settings.cluster),
            clock_error: settings.clock_error,
            nodes: settings.nodes.len(),
            groups: settings.groups.len(),
            frame: settings.longest_frame().max(settings.longest_witness_frame()),
        }
    }
}

/// Returns what is wrong with a dongle by what it says of itself, in sentences.
fn faults(dongle: &Dongle, demands: &Demands) -> Vec<String> {
    let mut faults = Vec::new();
    let Some((_, info)) = &dongle.said else { return faults };
    if info.version != VERSION {
        faults.push(format!(
            "it speaks version {} of the dongle's messages, and this lifesign version {VERSION}",
            info.version
        ));
    }
    match info.member {
        _ if info.lock == Lock::Unprovisioned => faults.push(
            "it is not provisioned, so it passes nothing on: run `lifesign dongle provision`"
                .to_owned(),
        ),
        Some((other, _)) if other != demands.cluster => {
            faults.push("it belongs to another cluster".to_owned());
        }
        Some((_, witness)) if witness != dongle.witness => faults.push(format!(
            "it is provisioned as witness {}, not {}",
            place_of_witness(witness),
            place_of_witness(dongle.witness)
        )),
        _ => {}
    }
    let (nodes, groups, frame) = info.limits;
    let room = [nodes.into(), groups.into(), frame.into()];
    let needed = [demands.nodes, demands.groups, demands.frame];
    if room.iter().zip(&needed).any(|(room, needed): (&usize, &usize)| room < needed) {
        let [nodes, groups, frame] = room;
        faults.push(format!(
            "it has room for {nodes} nodes, {groups} groups and frames of {frame} bytes, and this \
             cluster needs {}, {} and {}",
            demands.nodes, demands.groups, demands.frame
        ));
    }
    if let Some(off) =
        dongle.rate.off.filter(|off| off.unsigned_abs() > u64::from(demands.clock_error))
    {
        let direction = if off < 0 { "slow" } else { "fast" };
        faults.push(format!(
            "its clock is {:.2} % {direction} as seen from here, and clock_error covers {:.2} %",
            percent(off).abs(),
            percent(i64::from(demands.clock_error))
        ));
    }
    faults
}

/// Returns the keys under which a dongle is spoken to.
pub(super) fn control_keys(keyring: &Keyring) -> Keyring {
    keyring.derive(dongle::PURPOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_clock_is_judged_by_what_is_certain() {
        let boot = BootId::new(1);
        let mut rate = Rate::default();
        rate.note(boot, at(5000), at(1000));
        rate.note(boot, at(35_000), at(31_000));
        assert_eq!(rate.off, None, "too soon");
        // 3 % fast over 100 s, of which 0.2 s may be the answer's delay.
        rate.note(boot, at(5000 + 103_000), at(1000 + 100_000));
        assert_eq!(rate.off, Some(28_000));
        rate.note(boot, at(5000 + 97_000), at(1000 + 100_000));
        assert_eq!(rate.off, Some(-28_000));
        rate.note(boot, at(5000 + 100_150), at(1000 + 100_000));
        assert_eq!(rate.off, Some(0), "as much may be delay");
        rate.note(BootId::new(2), at(10), at(200_000));
        assert_eq!(rate.off, None, "another start has another clock");
    }

    #[test]
    fn what_a_dongle_says_of_itself_is_compared_with_the_settings() {
        let cluster = cluster_id("web");
        let witness = NodeId::witness(0).unwrap();
        let info = Info {
            version: VERSION,
            firmware: [0, 1, 0],
            board: heapless::String::new(),
            port: 0,
            lock: Lock::Locked,
            challenge: 1,
            member: Some((cluster, witness)),
            longest_promise_ms: 1000,
            promises: true,
            uptime: at(9),
            cause: dongle::Cause::Power,
            starts: 1,
            boot: BootId::new(1),
            limits: (16, 32, 1024),
            hears: lifesign_core::node::NodeSet::EMPTY,
            ports: heapless::Vec::new(),
        };
        let said = |info: Info, off: Option<i64>| {
            let dongle = Dongle {
                link: LinkId::new(0).unwrap(),
                witness,
                every: ASK,
                next: at(0),
                said: Some((at(0), Box::new(info))),
                rate: Rate { begun: None, off },
            };
            let demands = Demands { cluster, clock_error: 10_000, nodes: 2, groups: 3, frame: 130 };
            faults(&dongle, &demands).join("; ")
        };
        assert_eq!(said(info.clone(), Some(-9000)), "");
        assert_eq!(
            said(info.clone(), Some(-28_000)),
            "its clock is 2.80 % slow as seen from here, and clock_error covers 1.00 %"
        );
        let other = NodeId::witness(2).unwrap();
        assert_eq!(
            said(Info { member: Some((cluster, other)), ..info.clone() }, None),
            "it is provisioned as witness 3, not 1"
        );
        let stranger = cluster_id("mail");
        assert_eq!(
            said(Info { member: Some((stranger, witness)), ..info.clone() }, None),
            "it belongs to another cluster"
        );
        assert_eq!(
            said(Info { limits: (8, 2, 130), ..info.clone() }, None),
            "it has room for 8 nodes, 2 groups and frames of 130 bytes, and this cluster needs 2, 3 \
             and 130"
        );
        let new = Info { lock: Lock::Unprovisioned, member: None, version: 9, ..info };
        assert!(said(new, None).contains("version 9"));
    }
}
