//! ha.cf: who takes part, how they are reached, and when silence counts.

use std::path::PathBuf;

use lifesign_core::time::Duration;

use super::directive::{self, DIRECTIVES};
use super::fault::{Faults, File, Place, shown};
use super::line::{BOOLEAN_HINT, Line, keep};
use super::medium::Media;
use super::respawn::Respawned;
use super::span::boolean;
use super::stonith::{self, Device};
use crate::settings::mistake::did_you_mean;
use crate::settings::value::name_said;
use crate::settings::watchdog::device_said;

/// Something that a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// Something to tell whoever reads the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where it stands.
    pub place: Place,
    /// What stands there, and what became of it.
    pub text: String,
}

/// Whether groups return to their home nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoFailback {
    /// They return.
    On,
    /// They stay.
    Off,
    /// They return, asked for one by one.
    Legacy,
}

/// What a ha.cf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HaCf {
    /// The members, in the order of the file.
    pub nodes: Vec<Said<String>>,
    /// The cluster's name.
    pub cluster: Option<Said<String>>,
    /// How often a heartbeat is sent.
    pub keepalive: Option<Said<Duration>>,
    /// After how much silence a node counts as dead.
    pub deadtime: Option<Said<Duration>>,
    /// The same before communication is up.
    pub initdead: Option<Said<Duration>>,
    /// The ways between the members.
    pub media: Media,
    /// The machines that are pinged: names or addresses.
    pub pings: Vec<Said<String>>,
    /// Whether groups return to their home nodes.
    pub auto_failback: Option<Said<AutoFailback>>,
    /// The machine of the quorum server.
    pub quorum_server: Option<Said<String>>,
    /// The programs that are kept running.
    pub clients: Vec<Said<Respawned>>,
    /// What makes nodes silent.
    pub devices: Vec<Said<Device>>,
    /// The watchdog's device.
    pub watchdog: Option<Said<PathBuf>>,
    /// What has no key of its own.
    pub remarks: Vec<Remark>,
    warntime: Option<Said<Duration>>,
    deadping: Option<Said<Duration>>,
}

impl HaCf {
    /// How often a heartbeat is sent where the file does not say.
    pub const KEEPALIVE: Duration = Duration::from_millis(1000);
    /// The dead time where the file does not say.
    pub const DEADTIME: Duration = Duration::from_millis(30_000);

    /// Reads the text of a ha.cf and notes everything that is wrong in it.
    #[must_use]
    pub fn parse(text: &str, faults: &mut Faults) -> Self {
        let mut ha = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let place = Place { file: File::HaCf, line: number };
            let end = line.find(is_blank).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            match directive::find(name) {
                Some(directive) => {
                    let words = rest.split(is_blank).filter(|word| !word.is_empty()).collect();
                    let line = Line { place, directive, words, text: line };
                    (directive.read)(&mut ha, &line, faults);
                }
                None => {
                    let known = DIRECTIVES.iter().map(|directive| directive.name);
                    let hint = did_you_mean(name, known)
                        .unwrap_or_else(|| "see `lifesign import --directives`".to_owned());
                    faults.add(place, format!("there is no directive \"{}\"", shown(name)), hint);
                }
            }
        }
        ha.check(faults);
        ha
    }

    /// Returns how often a heartbeat is sent.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.keepalive.as_ref().map_or(Self::KEEPALIVE, |said| said.value)
    }

    /// Returns the dead time.
    #[must_use]
    pub fn dead(&self) -> Duration {
        self.deadtime.as_ref().map_or(Self::DEADTIME, |said| said.value)
    }

    /// Returns whether groups return to their home nodes.
    #[must_use]
    pub fn returns(&self) -> bool {
        let word = self.auto_failback.as_ref().map_or(AutoFailback::Legacy, |said| said.value);
        word != AutoFailback::Off
    }

    /// Notes what contradicts itself or is missing.
    fn check(&self, faults: &mut Faults) {
        stonith::check(self, faults);
        let file = Place { file: File::HaCf, line: 0 };
        if self.nodes.is_empty() {
            faults.add(file, "there is no node", "add a line `node NAME NAME`");
        }
        if self.media.is_empty() {
            faults.add(file, "there is no medium", "add a line such as `bcast eth0`");
        }
        let (keepalive, dead) = (self.heartbeat(), self.dead());
        let place = |said: &Option<Said<Duration>>| said.as_ref().map(|said| said.place);
        let of_both = place(&self.deadtime).or_else(|| place(&self.keepalive)).unwrap_or(file);
        if dead <= keepalive.times(2) {
            faults.add(
                of_both,
                format!("deadtime {dead} is not more than twice keepalive {keepalive}"),
                "make deadtime longer or keepalive shorter",
            );
        }
        if let Some(said) = self.deadping.as_ref().filter(|said| said.value <= keepalive.times(2)) {
            let what = format!("deadping {} is not more than twice keepalive", said.value);
            faults.add(said.place, what, "make it longer");
        }
        if let Some(said) = self.initdead.as_ref().filter(|said| said.value < dead) {
            let what = format!("initdead {} is shorter than deadtime {dead}", said.value);
            faults.add(said.place, what, "make it longer, or take the line out");
        }
        if let Some(said) = self.warntime.as_ref().filter(|said| said.value > dead) {
            let what = format!("warntime {} is longer than deadtime {dead}", said.value);
            faults.add(said.place, what, "make it shorter, or take the line out");
        }
    }
}

/// Returns whether a letter parts words.
const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | ',' | '\r')
}

pub(super) fn node(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    for word in line.some(faults) {
        let name = word.to_lowercase();
        if let Err(why) = name_said(&name) {
            line.wrong(faults, &why, "name the node as `uname -n` does");
        } else if let Some(first) = ha.nodes.iter().find(|node| node.value == name) {
            let what = format!("{name} is a node already, at {}", first.place);
            line.wrong(faults, &what, "name each once");
        } else {
            ha.nodes.push(Said { value: name, place: line.place });
        }
    }
}

pub(super) fn cluster(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    match name_said(word) {
        Ok(value) => {
            keep(&mut ha.cluster, Some(Said { value, place: line.place }), line, faults);
        }
        Err(why) => line.wrong(faults, &why, "rename the cluster"),
    }
}

pub(super) fn keepalive(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let said = line.span(faults);
    if said.as_ref().is_some_and(|said| said.value < Duration::from_millis(1)) {
        line.wrong(faults, "a heartbeat may be sent once in 1 ms at most", "write 1ms or more");
        return;
    }
    keep(&mut ha.keepalive, said, line, faults);
}

pub(super) fn deadtime(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    keep(&mut ha.deadtime, line.span(faults), line, faults);
}

pub(super) fn warntime(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    keep(&mut ha.warntime, line.span(faults), line, faults);
    line.remark(ha, line.directive.help);
}

pub(super) fn initdead(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    keep(&mut ha.initdead, line.span(faults), line, faults);
}

pub(super) fn deadping(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    keep(&mut ha.deadping, line.span(faults), line, faults);
    line.remark(ha, line.directive.help);
}

pub(super) fn ping(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let hosts = line.some(faults).iter();
    ha.pings.extend(hosts.map(|host| Said { value: (*host).to_owned(), place: line.place }));
}

pub(super) fn ping_group(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    match line.words.as_slice() {
        [_, hosts @ ..] if !hosts.is_empty() => {
            let hosts = hosts.iter();
            ha.pings
                .extend(hosts.map(|host| Said { value: (*host).to_owned(), place: line.place }));
        }
        _ => line.wrong(faults, "a group has a name and machines", "write ping_group NAME HOST .."),
    }
}

pub(super) fn auto_failback(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let value = line.parsed(faults, failback_of, "write on, off or legacy");
    let said = value.map(|value| Said { value, place: line.place });
    keep(&mut ha.auto_failback, said, line, faults);
}

fn failback_of(word: &str) -> Option<AutoFailback> {
    match boolean(word) {
        Some(true) => Some(AutoFailback::On),
        Some(false) => Some(AutoFailback::Off),
        None => word.eq_ignore_ascii_case("legacy").then_some(AutoFailback::Legacy),
    }
}

pub(super) fn nice_failback(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let value = line.parsed(faults, boolean, BOOLEAN_HINT);
    let value = value.map(|is_nice| if is_nice { AutoFailback::Off } else { AutoFailback::Legacy });
    let said = value.map(|value| Said { value, place: line.place });
    keep(&mut ha.auto_failback, said, line, faults);
    line.remark(ha, line.directive.help);
}

pub(super) fn quorum_server(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    let said = Said { value: word.to_owned(), place: line.place };
    keep(&mut ha.quorum_server, Some(said), line, faults);
}

pub(super) fn watchdog(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    match device_said(word) {
        Ok(value) => {
            keep(&mut ha.watchdog, Some(Said { value, place: line.place }), line, faults);
        }
        Err(why) => line.wrong(faults, &why, "write watchdog /dev/watchdog"),
    }
}

pub(super) fn autojoin(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    match line.only(faults) {
        Some("none") => line.remark(ha, line.directive.help),
        Some(_) => line.wrong(
            faults,
            "strangers never join: votes are counted against those that are named",
            "name all members in `node`, and take the line out",
        ),
        None => {}
    }
}

pub(super) fn apphbd(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    match line.parsed(faults, boolean, BOOLEAN_HINT) {
        Some(true) => {
            line.wrong(faults, "there is no apphbd", "use WatchdogSec of the service manager");
        }
        Some(false) => line.remark(ha, line.directive.help),
        None => {}
    }
}

pub(super) fn crm(ha: &mut HaCf, line: &Line<'_>, faults: &mut Faults) {
    let Some(word) = line.only(faults) else { return };
    if boolean(word) == Some(false) {
        line.remark(ha, "haresources rules");
    } else {
        line.wrong(
            faults,
            "resources that Pacemaker manages cannot be taken over",
            "write them as haresources, and crm off",
        );
    }
}
