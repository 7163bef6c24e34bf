//! Fence agents: programs that make certain that another server is silent.
//!
//! | kind | program | is told | answers |
//! |---|---|---|---|
//! | `fence_NAME` | `/usr/sbin/fence_NAME`, `/sbin/fence_NAME` | `key=value` lines on standard input | exit status; of `status` 0 is on and 2 is off |
//! | `external/NAME` | `/usr/lib/stonith/plugins/external/NAME` | parameters in the environment, `reset NODE` | exit status |
//! | `dongle` | the reset line of a dongle, over its serial link | | an acknowledgement |
//!
//! The first are those of Red Hat's cluster and of Pacemaker, the second those of cluster-glue and
//! so of Linux-HA. Passwords are in files that only root may read: the executor reads them when
//! they are used, so they are in no settings, no argument, no recording and no message.

use core::fmt;
use core::ops::Range;
use std::path::{Path, PathBuf};

use lifesign_core::fence::{Answer, Deed, Manner, Means};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;

use super::{GRACE, Parameter};
use crate::executor::PATH;
use crate::executor::message::{Command, Outcome, Place, Secret};
use crate::settings::{Link, Settings};

/// One way to make certain that a node is silent, as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Which program it is.
    pub kind: Kind,
    /// Where the settings name it, in bytes.
    pub span: Range<usize>,
    /// Whether the node is switched off, or is back afterwards.
    pub manner: Manner,
    /// Its place in the order; those of the same level act together.
    pub level: u8,
    /// What it is told, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// What it is told that nobody else may know: the value is a file.
    pub secrets: Vec<Parameter>,
    /// How long it may take.
    pub limit: Duration,
    /// Its program; on this machine, once that has been looked for.
    pub program: PathBuf,
    /// Whether it can say if the node has power, as far as is known.
    pub tells: bool,
}

/// Which program a fence agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An agent of Red Hat's cluster and of Pacemaker: its name or its absolute path.
    Rhcs(String),
    /// An external plug-in of cluster-glue: its name or its absolute path.
    External(String),
    /// The dongle with a reset line to the node.
    Dongle,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(name) if !name.starts_with('/') => write!(formatter, "external/{name}"),
            Self::Rhcs(name) | Self::External(name) => formatter.write_str(name),
            Self::Dongle => formatter.write_str("dongle"),
        }
    }
}

/// Where agents of Red Hat's cluster are.
const AGENTS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Where the external plug-ins of cluster-glue are.
const PLUGINS: [&str; 2] =
    ["/usr/lib/stonith/plugins/external", "/usr/lib64/stonith/plugins/external"];
/// Where cluster-glue keeps what its plug-ins call.
const SHARED: &str = "/usr/share/cluster-glue";

impl Kind {
    /// Returns where its program may be, the best place first. An absolute path is the only place.
    #[must_use]
    pub fn programs(&self) -> Vec<PathBuf> {
        let (folders, name) = match self {
            Self::Rhcs(name) => (AGENTS, name),
            Self::External(name) => (PLUGINS, name),
            Self::Dongle => return Vec::new(),
        };
        let mut programs = folders.map(|folder| Path::new(folder).join(name)).to_vec();
        programs.dedup();
        programs
    }

    /// Returns the place of its program on this machine, or the best place if it is nowhere.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        let programs = self.programs();
        let there = programs.iter().find(|program| program.is_file());
        there.or_else(|| programs.first()).cloned().unwrap_or_default()
    }

    /// Returns the word by which it is asked for `deed`, if it can be.
    #[must_use]
    pub const fn word(&self, deed: Deed) -> Option<&'static str> {
        match (self, deed) {
            (Self::Dongle, _) | (Self::External(_), Deed::Status) => None,
            (_, Deed::Off) => Some("off"),
            (_, Deed::On) => Some("on"),
            (Self::External(_), Deed::Reboot) => Some("reset"),
            (Self::Rhcs(_), Deed::Reboot) => Some("reboot"),
            (Self::Rhcs(_), Deed::Status) => Some("status"),
        }
    }
}

impl Fence {
    /// Returns it as the core needs it.
    #[must_use]
    pub const fn means(&self) -> Means {
        let tells = self.tells && matches!(self.kind, Kind::Rhcs(_));
        Means { manner: self.manner, level: self.level, limit: self.limit, tells }
    }

    /// Returns what to run so that the agent does `deed` to `node`, within `limit`.
    #[must_use]
    pub fn command(&self, deed: Deed, node: &str, limit: Duration) -> Option<Command> {
        Some(self.call(self.kind.word(deed)?, node, limit))
    }

    /// Returns what to run so that the agent does what `word` says, about `node`.
    #[must_use]
    pub fn call(&self, word: &str, node: &str, limit: Duration) -> Command {
        let mut arguments = vec![self.program.display().to_string()];
        let pairs = self.parameters.iter();
        let pairs = pairs.map(|parameter| (parameter.name.clone(), parameter.value.clone()));
        let (mut environment, mut input) = (Vec::new(), String::new());
        let place = if let Kind::Rhcs(_) = self.kind {
            input = format!("action={word}\nnodename={node}\n");
            input.extend(pairs.map(|(name, value)| format!("{name}={value}\n")));
            Place::Input
        } else {
            arguments.extend([word.to_owned(), node.to_owned()]);
            environment.push(("PATH".to_owned(), format!("{PATH}:{SHARED}")));
            // They write to standard error then, which is kept with what they say.
            environment.push(("HA_LOGFACILITY".to_owned(), "none".to_owned()));
            environment.extend(pairs);
            Place::Environment
        };
        let secret = |parameter: &Parameter| Secret {
            name: parameter.name.clone(),
            path: parameter.value.clone(),
            place,
        };
        Command {
            arguments,
            environment,
            limit_us: limit.as_micros(),
            grace_us: GRACE.as_micros(),
            output_len_max: OUTPUT_LEN,
            input: input.into_bytes(),
            secrets: self.secrets.iter().map(secret).collect(),
            ..Command::default()
        }
    }
}

/// Returns what the end of `deed` says, and the same in a few words.
#[must_use]
pub fn judge(deed: Deed, outcome: &Outcome) -> (Answer, String) {
    let answer = match (deed, outcome) {
        (Deed::Status, Outcome::Exited(0)) => return (Answer::IsOn, "says that it is on".into()),
        (Deed::Status, Outcome::Exited(2)) => return (Answer::IsOff, "says that it is off".into()),
        (Deed::Off | Deed::Reboot | Deed::On, Outcome::Exited(0)) => Answer::Done,
        _ => Answer::Failed,
    };
    (answer, outcome.to_string())
}

/// Returns the word for `deed`, for people.
#[must_use]
pub const fn deed_word(deed: Deed) -> &'static str {
    match deed {
        Deed::Off => "off",
        Deed::Reboot => "reboot",
        Deed::Status => "status",
        Deed::On => "on",
    }
}

/// Returns every means of `settings` against `node`. A dongle with a reset line to it comes first
/// if the settings do not place it.
#[must_use]
pub fn means_against(settings: &Settings, node: NodeId) -> Vec<Means> {
    let named = fences_of(settings, node);
    let is_placed = named.iter().any(|fence| fence.kind == Kind::Dongle);
    let line = (!is_placed && has_line(settings, node)).then_some(Means {
        manner: Manner::Line,
        level: 0,
        limit: LINE_LIMIT,
        tells: false,
    });
    // The line comes last in the list, so that places in it are those in the settings.
    named.iter().map(Fence::means).chain(line).collect()
}

/// Returns the fences of `node` that its settings name.
#[must_use]
pub fn fences_of(settings: &Settings, node: NodeId) -> &[Fence] {
    settings.nodes.get(node.index()).map(|node| node.fence.as_slice()).unwrap_or_default()
}

/// Returns whether a dongle has a reset line to `node`.
#[must_use]
pub fn has_line(settings: &Settings, node: NodeId) -> bool {
    settings.links.iter().filter_map(Link::serial).any(|serial| serial.resets.contains(node))
}

/// How long a dongle is asked before the next level, where nobody says.
pub const LINE_LIMIT: Duration = Duration::from_millis(15_000);
/// How much of an agent's output is kept, in bytes.
const OUTPUT_LEN: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(kind: Kind) -> Fence {
        let parameter = |name: &str, value: &str| Parameter {
            name: name.to_owned(),
            value: value.to_owned(),
            span: 0..0,
        };
        Fence {
            program: kind.program(),
            kind,
            span: 0..0,
            manner: Manner::Off,
            level: 1,
            parameters: vec![parameter("ip", "10.0.0.1")],
            secrets: vec![parameter("password", "/etc/lifesign/alpha.password")],
            limit: Duration::from_millis(60_000),
            tells: true,
        }
    }

    #[test]
    fn each_kind_is_called_in_its_own_way() {
        let limit = Duration::from_millis(1000);
        let rhcs = fence(Kind::Rhcs("fence_none".into()));
        let command = rhcs.command(Deed::Reboot, "alpha", limit).unwrap();
        assert_eq!(command.arguments, ["/usr/sbin/fence_none"], "nothing on the command line");
        assert_eq!(command.input, b"action=reboot\nnodename=alpha\nip=10.0.0.1\n");
        assert!(command.environment.is_empty());
        assert_eq!(command.secrets[0].place, Place::Input);
        let external = fence(Kind::External("none".into()));
        let command = external.command(Deed::Reboot, "alpha", limit).unwrap();
        let program = "/usr/lib/stonith/plugins/external/none";
        assert_eq!(command.arguments, [program, "reset", "alpha"]);
        assert!(command.input.is_empty());
        assert!(command.environment.contains(&("ip".to_owned(), "10.0.0.1".to_owned())));
        assert_eq!(command.secrets[0].place, Place::Environment);
        assert_eq!(external.command(Deed::Status, "alpha", limit), None, "that of the device");
        assert!(!external.means().tells && rhcs.means().tells);
    }

    #[test]
    fn an_end_is_good_by_exit_status_alone() {
        for deed in [Deed::Off, Deed::Reboot, Deed::On] {
            assert_eq!(judge(deed, &Outcome::Exited(0)).0, Answer::Done);
            for bad in [
                Outcome::Exited(1),
                Outcome::Exited(2),
                Outcome::Signalled(9),
                Outcome::TimedOut,
                Outcome::Cancelled,
                Outcome::Unkillable,
                Outcome::NotStarted(String::new()),
            ] {
                assert_eq!(judge(deed, &bad).0, Answer::Failed, "{deed:?}: {bad:?}");
            }
        }
        for (status, answer) in [(0, Answer::IsOn), (2, Answer::IsOff), (1, Answer::Failed)] {
            assert_eq!(judge(Deed::Status, &Outcome::Exited(status)).0, answer);
        }
    }
}
