//! Agents: programs by which others have taught a manager to start, stop and watch a service.
//!
//! | kind | program | called with | said by |
//! |---|---|---|---|
//! | `ocf:PROVIDER:TYPE` | `$OCF_ROOT/resource.d/PROVIDER/TYPE` | `start` `stop` `monitor` | exit code |
//! | `systemd:UNIT` | `systemctl` | `start` `stop` `is-active` | exit code and word |
//! | `lsb:SCRIPT` | `/etc/init.d/SCRIPT` | `start` `stop` `status` | exit code |
//! | `heartbeat:SCRIPT` | `/etc/ha.d/resource.d/SCRIPT`, `/etc/init.d/SCRIPT` | arguments, then the same | text |
//! | `lifesign:dns`, `lifesign:route` | this one, `agent dns` | `start` `stop` `monitor`, parameters | exit code |
//!
//! The settings name an [`Agent`] and turn it into the commands and the environment of a
//! [`Service`]; [`Places::settle`] lets them lead to where the program is on this machine.
//! [`command`] is what the daemon and its supervisor run, and [`convention::judge`] how both read
//! the outcome. A stop is believed when the agent, asked again, says that nothing runs.
//!
//! | file | what it is |
//! |---|---|
//! | [`convention`] | what exit codes and output mean |
//! | [`own`] | those that are part of lifesign |
//! | [`ocf`] | the environment and the exit codes of OCF |
//! | [`fence`] | the agents that make certain that a server is silent |
//! | [`attempt`] | trying them, without harm |
//! | [`inspect`] | whether a machine has its agents, and whether they know their parameters |
//! | [`metadata`] | what an OCF agent says of itself |
//! | `child` | a program that is asked something, bounded in time and output |

pub mod attempt;
mod child;
pub mod convention;
pub mod fence;
pub mod inspect;
pub mod metadata;
pub mod ocf;
pub mod own;

use core::fmt;
use core::ops::Range;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lifesign_core::group::Token;
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;

use self::convention::Convention;
use self::own::Own;
use crate::executor::message::Command;
use crate::executor::{GRACE, OUTPUT_LEN_MAX};
use crate::settings::{Service, Settings, said};

/// An agent as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Which program it is.
    pub kind: Kind,
    /// Where the settings name it, in bytes.
    pub span: Range<usize>,
    /// What it is told of the service, in the order of the file; OCF and our own alone.
    pub parameters: Vec<Parameter>,
    /// What stands before the action on its command line; scripts of Linux-HA alone.
    pub arguments: Vec<String>,
}

/// Which program an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An agent after the Open Cluster Framework.
    Ocf {
        /// The folder that it is in, such as `heartbeat`.
        provider: String,
        /// Its name, such as `nginx`.
        name: String,
    },
    /// A unit of systemd.
    Systemd {
        /// Its name, such as `nginx.service`.
        unit: String,
    },
    /// An init script after the Linux Standard Base.
    Lsb {
        /// Its name or its absolute path.
        script: String,
    },
    /// A resource script of Linux-HA.
    Heartbeat {
        /// Its name or its absolute path.
        script: String,
    },
    /// An agent that is part of lifesign.
    Lifesign(Own),
}

/// One thing that an agent is told of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where its name stands in the settings, in bytes.
    pub span: Range<usize>,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ocf { provider, name } => write!(formatter, "ocf:{provider}:{name}"),
            Self::Systemd { unit } => write!(formatter, "systemd:{unit}"),
            Self::Lsb { script } => write!(formatter, "lsb:{script}"),
            Self::Heartbeat { script } => write!(formatter, "heartbeat:{script}"),
            Self::Lifesign(own) => write!(formatter, "lifesign:{own}"),
        }
    }
}

impl Kind {
    /// Returns how its exit codes and output are read.
    #[must_use]
    pub const fn convention(&self) -> Convention {
        match self {
            Self::Ocf { .. } => Convention::Ocf,
            Self::Systemd { .. } => Convention::Systemd,
            Self::Lsb { .. } => Convention::Lsb,
            Self::Heartbeat { .. } => Convention::Heartbeat,
            // It looks itself whether it has done what it was asked.
            Self::Lifesign(_) => Convention::Command,
        }
    }

    /// Returns where its program may be, the best place first.
    #[must_use]
    pub fn programs(&self, places: &Places) -> Vec<PathBuf> {
        match self {
            Self::Ocf { provider, name } => {
                vec![places.ocf_root.join("resource.d").join(provider).join(name)]
            }
            Self::Systemd { .. } => vec![PathBuf::from(SYSTEMCTL)],
            // An absolute path takes the place of the folder.
            Self::Lsb { script } => vec![Path::new(INIT_SCRIPTS).join(script)],
            Self::Heartbeat { script } if script.starts_with('/') => vec![PathBuf::from(script)],
            Self::Heartbeat { script } => [HEARTBEAT_SCRIPTS, INIT_SCRIPTS]
                .map(|folder| Path::new(folder).join(script))
                .into(),
            Self::Lifesign(_) => vec![PathBuf::from(OURSELVES)],
        }
    }
}

/// What is looked up in the search path of commands.
const SYSTEMCTL: &str = "systemctl";
/// This program, to whoever runs it.
const OURSELVES: &str = "/proc/self/exe";
/// Where init scripts are.
const INIT_SCRIPTS: &str = "/etc/init.d";
/// Where the resource scripts of Linux-HA are.
const HEARTBEAT_SCRIPTS: &str = "/etc/ha.d/resource.d";

impl Agent {
    /// Writes into `service` of the group called `group` what it takes to run this agent, whose
    /// program is `program`.
    pub fn equip(&self, service: &mut Service, group: &str, program: &Path, places: &Places) {
        let program = program.to_string_lossy().into_owned();
        let command = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            core::iter::once(program.clone()).chain(words).collect::<Vec<String>>()
        };
        let with_action = |action: &str| {
            let mut words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            words.push(action);
            command(&words)
        };
        let [start, stop, monitor] = match &self.kind {
            Kind::Ocf { .. } => ["start", "stop", "monitor"].map(|action| command(&[action])),
            Kind::Systemd { unit } => {
                ["start", "stop", "is-active"].map(|action| command(&[action, "--", unit]))
            }
            Kind::Lsb { .. } => ["start", "stop", "status"].map(|action| command(&[action])),
            Kind::Heartbeat { .. } => ["start", "stop", "status"].map(with_action),
            Kind::Lifesign(own) => ["start", "stop", "monitor"].map(|action| {
                let mut words = command(&["agent", own.word(), action]);
                let told = self.parameters.iter();
                words.extend(told.map(|told| format!("{}={}", told.name, told.value)));
                words
            }),
        };
        service.start = start;
        service.stop = stop;
        service.monitor = Some(monitor);
        service.convention = self.kind.convention();
        service.environment = match &self.kind {
            Kind::Ocf { provider, name } => {
                let instance = instance(group, &service.name);
                ocf::environment(provider, name, &instance, &self.parameters, places)
            }
            Kind::Heartbeat { .. } => ocf::surroundings(places),
            Kind::Systemd { .. } | Kind::Lsb { .. } | Kind::Lifesign(_) => Vec::new(),
        };
    }
}

/// Returns the name under which OCF agents keep what they remember of a service.
#[must_use]
pub fn instance(group: &str, service: &str) -> String {
    format!("{group}_{service}")
}

/// Where this machine keeps what agents need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The folder of OCF.
    pub ocf_root: PathBuf,
    /// Where agents keep what must not outlive the machine's next start.
    pub temporary: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { ocf_root: OCF_ROOTS[0].into(), temporary: TEMPORARY.into() }
    }
}

/// Where the folder of OCF may be.
const OCF_ROOTS: [&str; 3] = ["/usr/lib/ocf", "/usr/libexec/ocf", "/usr/lib64/ocf"];
/// Where agents keep what must not outlive the machine's next start, where nobody says otherwise.
const TEMPORARY: &str = "/run/resource-agents";

impl Places {
    /// Returns those of this machine: `OCF_ROOT` and `HA_RSCTMP` of the environment, else the usual
    /// ones that are there.
    #[must_use]
    pub fn here() -> Self {
        let said = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let usual = || OCF_ROOTS.iter().map(PathBuf::from).find(|root| root.is_dir());
        let default = Self::default();
        Self {
            ocf_root: said("OCF_ROOT").or_else(usual).unwrap_or(default.ocf_root),
            temporary: said("HA_RSCTMP").unwrap_or(default.temporary),
        }
    }

    /// Lets every service with an agent run the program that is on this machine. What is nowhere
    /// keeps its best place.
    pub fn settle(&self, settings: &mut Settings) {
        for group in &mut settings.groups {
            for service in &mut group.services {
                let Some(agent) = service.agent.take() else { continue };
                let programs = agent.kind.programs(self);
                let there = programs.iter().find(|program| program.is_file());
                if let Some(program) = there.or_else(|| programs.first()) {
                    agent.equip(service, &group.name, program, self);
                }
                service.agent = Some(agent);
            }
        }
    }

    /// Makes the folder in which agents keep what they remember, if node `me` may run one that
    /// wants it.
    ///
    /// # Errors
    /// Why it cannot be made, in one line.
    pub fn prepare(&self, settings: &Settings, me: NodeId) -> Result<(), String> {
        let wants_folder = |service: &Service| {
            matches!(service.convention, Convention::Ocf | Convention::Heartbeat)
        };
        let mut own = settings.groups.iter().filter(|group| group.prefer.contains(&me));
        if self.temporary.is_dir() || !own.any(|group| group.services.iter().any(wants_folder)) {
            return Ok(());
        }
        // As its package makes it: everybody may write there, and remove nothing of others.
        let made = DirBuilder::new().recursive(true).mode(0o1755).create(&self.temporary);
        made.map_err(|error| {
            let folder = self.temporary.display();
            format!(
                "make {folder}: {}; agents keep their state there, or where HA_RSCTMP says",
                said(&error)
            )
        })
    }
}

/// What a service is asked to do, or is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To say whether it runs, before it is started.
    Look,
    /// To start.
    Start,
    /// To stop.
    Stop,
    /// To say whether it runs, after it was stopped.
    Verify,
    /// To say whether it is well.
    Monitor,
}

impl Action {
    /// Returns the word that commands find in their environment.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Look | Self::Verify | Self::Monitor => "monitor",
        }
    }

    /// Returns whether it changes the service, rather than to ask about it.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Start | Self::Stop)
    }
}

/// What happens is told in these words.
impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Look => "before start",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Verify => "after stop",
            Self::Monitor => "monitor",
        })
    }
}

/// The circumstances under which a service's command runs.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The name of its group.
    pub group: &'a str,
    /// The name of this node.
    pub node: &'a str,
    /// Under which the group is held.
    pub token: Token,
    /// How long it may run.
    pub limit: Duration,
}

/// Returns what to run for `action` of `service`, if it has a command for it.
#[must_use]
pub fn command(service: &Service, action: Action, call: &Call<'_>) -> Option<Command> {
    let arguments = match action {
        Action::Start => &service.start,
        Action::Stop => &service.stop,
        Action::Look | Action::Verify | Action::Monitor => service.monitor.as_ref()?,
    };
    let mut environment = service.environment.clone();
    if service.convention == Convention::Ocf {
        environment.extend(ocf::call(action, call.limit, service.monitor_interval));
    }
    let own = [
        ("LIFESIGN_GROUP", call.group.to_owned()),
        ("LIFESIGN_SERVICE", service.name.clone()),
        ("LIFESIGN_ACTION", action.word().to_owned()),
        ("LIFESIGN_TOKEN", call.token.0.to_string()),
        ("LIFESIGN_NODE", call.node.to_owned()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Some(Command {
        arguments: arguments.clone(),
        environment,
        limit_us: call.limit.as_micros(),
        grace_us: GRACE.as_micros(),
        output_len_max: OUTPUT_LEN,
        input: Vec::new(),
        ..Command::default()
    })
}

/// Returns how long `action` of `service` may run, if the change that it is part of began
/// `elapsed` ago: a change and the question that belongs to it share one limit.
#[must_use]
pub fn limit(service: &Service, action: Action, elapsed: Duration) -> Duration {
    let left = |limit: Duration| limit.checked_sub(elapsed).unwrap_or_default();
    match action {
        Action::Look => service.monitor_limit.min(left(service.start_limit)),
        Action::Start => left(service.start_limit),
        Action::Stop | Action::Verify => left(service.stop_limit),
        Action::Monitor => service.monitor_limit,
    }
}

/// How much of a command's output is kept, in bytes: what a script of Linux-HA says of its state is
/// in it.
const OUTPUT_LEN: u32 = 4096;

const _: () = assert!(OUTPUT_LEN as usize <= OUTPUT_LEN_MAX, "the executor keeps as much");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::EXAMPLE;

    /// Returns the first service of the example with `lines` in place of its commands.
    fn service(lines: &str) -> Service {
        let begin = EXAMPLE.find("start = ").unwrap();
        let source = format!("{}{lines}\n", &EXAMPLE[..begin]);
        let settings = Settings::parse("test.toml", &source);
        settings.unwrap_or_else(|mistakes| panic!("{mistakes}")).groups[0].services[0].clone()
    }

    fn environment(service: &Service, action: Action) -> Vec<(String, String)> {
        let limit = Duration::from_millis(1500);
        let call = Call { group: "www", node: "alpha", token: Token(7), limit };
        command(service, action, &call).unwrap().environment
    }

    #[test]
    fn each_kind_of_agent_becomes_three_commands() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        for (lines, program, arguments, asked) in [
            (
                "agent = \"ocf:heartbeat:nginx\"",
                "/usr/lib/ocf/resource.d/heartbeat/nginx",
                "",
                "monitor",
            ),
            ("agent = \"lsb:nginx\"", "/etc/init.d/nginx", "", "status"),
            ("agent = \"lsb:/opt/nginx\"", "/opt/nginx", "", "status"),
            ("agent = \"heartbeat:db\"", "/etc/ha.d/resource.d/db", "", "status"),
            (
                "agent = \"heartbeat:/opt/db\"\narguments = [\"10.0.0.1\", \"x\"]",
                "/opt/db",
                "10.0.0.1 x ",
                "status",
            ),
        ] {
            let service = service(lines);
            assert_eq!(service.start, words(&format!("{program} {arguments}start")), "{lines}");
            assert_eq!(service.stop, words(&format!("{program} {arguments}stop")), "{lines}");
            let monitor = words(&format!("{program} {arguments}{asked}"));
            assert_eq!(service.monitor.unwrap(), monitor, "{lines}");
        }
        let unit = service("agent = \"systemd:nginx.service\"");
        assert_eq!(unit.start, ["systemctl", "start", "--", "nginx.service"]);
        assert_eq!(unit.stop, ["systemctl", "stop", "--", "nginx.service"]);
        assert_eq!(unit.monitor.unwrap(), ["systemctl", "is-active", "--", "nginx.service"]);
    }

    #[test]
    fn an_ocf_agent_is_told_its_parameters_and_what_the_standard_wants() {
        let service = service(
            "agent = \"ocf:heartbeat:nginx\"\nparameters = { port = \"80\", options = \"\" }\n\
             monitor_interval = \"3s\"",
        );
        let environment = environment(&service, Action::Monitor);
        let said = |name: &str| {
            let mut values = environment.iter().filter(|(other, _)| other == name);
            let value = values.next().map(|(_, value)| value.as_str());
            assert_eq!(values.next(), None, "{name} is there once");
            value
        };
        for (name, value) in [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "0"),
            ("OCF_RESOURCE_INSTANCE", "www_nginx"),
            ("OCF_RESOURCE_TYPE", "nginx"),
            ("OCF_RESOURCE_PROVIDER", "heartbeat"),
            ("OCF_RESKEY_port", "80"),
            ("OCF_RESKEY_options", ""),
            ("OCF_RESKEY_CRM_meta_timeout", "1500"),
            ("OCF_RESKEY_CRM_meta_interval", "3000"),
            ("OCF_RESKEY_CRM_meta_name", "monitor"),
            ("__OCF_ACTION", "monitor"),
            ("HA_RSCTMP", "/run/resource-agents"),
            ("HA_LOGFACILITY", "none"),
            ("LIFESIGN_GROUP", "www"),
            ("LIFESIGN_SERVICE", "nginx"),
            ("LIFESIGN_ACTION", "monitor"),
            ("LIFESIGN_TOKEN", "7"),
            ("LIFESIGN_NODE", "alpha"),
        ] {
            assert_eq!(said(name), Some(value), "{name}");
        }
    }

    #[test]
    fn a_question_before_or_after_a_change_is_none_of_the_regular_ones() {
        let service = service("agent = \"ocf:heartbeat:nginx\"");
        for action in [Action::Look, Action::Start, Action::Stop, Action::Verify] {
            let environment = environment(&service, action);
            let interval = ("OCF_RESKEY_CRM_meta_interval".to_owned(), "0".to_owned());
            assert!(environment.contains(&interval), "{action:?}");
        }
    }

    #[test]
    fn plain_commands_are_told_what_lifesign_knows_and_nothing_else() {
        let service = service("start = [\"/bin/a\"]\nstop = [\"/bin/b\"]");
        let environment = environment(&service, Action::Stop);
        assert!(environment.iter().all(|(name, _)| name.starts_with("LIFESIGN_")));
        assert_eq!(environment.len(), 5);
        let call =
            Call { group: "www", node: "alpha", token: Token(7), limit: Duration::from_millis(1) };
        assert_eq!(command(&service, Action::Monitor, &call), None);
    }

    #[test]
    fn a_change_and_its_question_share_one_limit() {
        let service = service(
            "agent = \"lsb:x\"\nstart_limit = \"3s\"\nstop_limit = \"2s\"\nmonitor_limit = \"1s\"",
        );
        for (action, elapsed_ms, expected_ms) in [
            (Action::Look, 0, 1000),
            (Action::Look, 2500, 500),
            (Action::Start, 1000, 2000),
            (Action::Stop, 0, 2000),
            (Action::Verify, 1900, 100),
            (Action::Verify, 5000, 0),
            (Action::Monitor, 5000, 1000),
        ] {
            let left = limit(&service, action, Duration::from_millis(elapsed_ms));
            assert_eq!(left, Duration::from_millis(expected_ms), "{action:?} after {elapsed_ms}");
        }
    }
}
