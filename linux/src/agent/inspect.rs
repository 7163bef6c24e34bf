//! Whether a machine has the agents that its groups need, and whether they know their parameters.
//!
//! Only what runs on this node is looked at. Nothing is started: an OCF agent is asked for its
//! meta-data, and systemd for the state of a unit. Fence agents are in `fences`.

mod fences;

use core::ops::Range;
use std::collections::BTreeMap;
use std::path::Path;

use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use nix::unistd::{AccessFlags, access};

use super::metadata::Metadata;
use super::{Agent, Kind, Parameter, child};
use crate::settings::fence::is_secret;
use crate::settings::mistake::{Mistakes, did_you_mean};
use crate::settings::{Service, Settings};

/// What it means that this machine lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is worth a word: the settings may be meant for another machine.
    Noted,
    /// It is a mistake.
    Refused,
}

/// Looks at every agent that may run on node `me`, which is this machine. The `settings`, settled
/// for it, are those of `source`, which came from `path`; they learn which fence agents can tell
/// whether a server has power. Returns what is not wise.
///
/// # Errors
/// Every mistake, where the settings have it.
pub fn inspect(
    settings: &mut Settings,
    me: NodeId,
    (path, source): (&str, &str),
    lack: Lack,
) -> Result<Vec<String>, Mistakes> {
    let mut inspector = Inspector {
        mistakes: Mistakes::new(path, source),
        advice: Vec::new(),
        lack,
        known: BTreeMap::new(),
    };
    for group in settings.groups.iter().filter(|group| group.prefer.contains(&me)) {
        for service in &group.services {
            let Some(agent) = &service.agent else { continue };
            inspector.look_at(agent, service, &format!("{}/{}", group.name, service.name));
        }
    }
    inspector.look_at_fences(settings, me);
    let Inspector { mistakes, advice, .. } = inspector;
    mistakes.or(Some(advice))
}

/// An agent, in the words of the settings.
pub(super) struct Subject<'s> {
    /// What it is called.
    name: String,
    /// Where the settings name it.
    span: &'s Range<usize>,
    /// Where to get it.
    source: Option<String>,
}

impl Subject<'_> {
    /// Returns how the parameter called `name` would be written.
    fn example(&self, name: &str) -> String {
        if is_secret(name) {
            return format!("add `secrets = {{ {name} = \"/path/of/file\" }}`");
        }
        format!("add `parameters = {{ {name} = \"..\" }}`")
    }
}

impl Agent {
    fn subject(&self) -> Subject<'_> {
        let source = source_of(&self.kind);
        Subject { name: self.kind.to_string(), span: &self.span, source }
    }
}

struct Inspector {
    mistakes: Mistakes,
    advice: Vec<String>,
    lack: Lack,
    /// What each agent says of itself; many services may have the same.
    known: BTreeMap<String, Result<Metadata, String>>,
}

impl Inspector {
    fn look_at(&mut self, agent: &Agent, service: &Service, name: &str) {
        let Some(program) = service.start.first() else { return };
        match &agent.kind {
            Kind::Systemd { unit } => self.ask_systemd(agent, unit, name),
            Kind::Ocf { .. } => {
                if self.is_there(&agent.subject(), program) {
                    self.ask_agent(agent, service, program, name);
                }
            }
            Kind::Lifesign(own) => {
                if let Err(why) = own.inspect(&agent.parameters) {
                    self.lacks(&agent.subject(), &why, None);
                }
            }
            Kind::Lsb { .. } | Kind::Heartbeat { .. } => {
                self.is_there(&agent.subject(), program);
            }
        }
    }

    /// Returns whether the agent's program can be run, and notes if not.
    pub(super) fn is_there(&mut self, subject: &Subject<'_>, program: &str) -> bool {
        let path = Path::new(program);
        if !path.is_file() {
            let hint = subject.source.clone();
            self.lacks(subject, &format!("there is no {program}"), hint);
            return false;
        }
        let is_executable = access(path, AccessFlags::X_OK).is_ok();
        if !is_executable {
            let why = format!("{program} may not be executed");
            self.lacks(subject, &why, Some(format!("chmod 755 {program}")));
        }
        is_executable
    }

    pub(super) fn lacks(&mut self, subject: &Subject<'_>, why: &str, hint: Option<String>) {
        let title = format!("this machine has no agent {}", subject.name);
        match self.lack {
            Lack::Noted => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                self.advice.push(format!("{title}: {why}{hint}"));
            }
            Lack::Refused => {
                self.mistakes.add(subject.span.clone(), title).label(why).maybe_hint(hint);
            }
        }
    }

    fn ask_agent(&mut self, agent: &Agent, service: &Service, program: &str, name: &str) {
        let ask = || Metadata::ask(program, &service.environment);
        let known = self.known.entry(program.to_owned()).or_insert_with(ask);
        let metadata = match known {
            Ok(metadata) => metadata,
            Err(why) => {
                self.advice.push(format!(
                    "{name}: the parameters are not checked, for {} meta-data: {why}",
                    agent.kind
                ));
                return;
            }
        };
        let told: Vec<&Parameter> = agent.parameters.iter().collect();
        check_parameters(&agent.subject(), &told, metadata, &mut self.mistakes);
        self.advice.extend(deprecated(&agent.subject(), &told, metadata, name));
        for (action, key, limit) in [
            ("start", "start_limit", service.start_limit),
            ("stop", "stop_limit", service.stop_limit),
            ("monitor", "monitor_limit", service.monitor_limit),
        ] {
            if let Some(advised) = metadata.timeout(action).filter(|advised| *advised > limit) {
                self.advice.push(format!(
                    "{name}: {key} is {limit}, and {} advises {advised}",
                    agent.kind
                ));
            }
        }
    }

    fn ask_systemd(&mut self, agent: &Agent, unit: &str, name: &str) {
        let question = [
            super::SYSTEMCTL,
            "show",
            "--property=LoadState",
            "--property=UnitFileState",
            "--",
            unit,
        ];
        let answer = child::ask(&question, &[], b"", PATIENCE, LONGEST);
        let text = match answer {
            Ok(answer) if answer.status.success() => answer.text,
            Ok(answer) => {
                let why = format!("systemd does not answer (systemctl: {})", answer.status);
                return self.lacks(&agent.subject(), &why, None);
            }
            Err(why) => {
                let why = format!("systemd does not answer (systemctl: {why})");
                return self.lacks(&agent.subject(), &why, None);
            }
        };
        let (lack, is_enabled) = unit_state(unit, &text);
        if let Some((why, hint)) = lack {
            self.lacks(&agent.subject(), &why, hint);
        }
        if is_enabled {
            self.advice.push(format!(
                "{name}: {unit} starts by itself with the machine, wherever its group is: systemctl \
                 disable {unit}"
            ));
        }
    }
}

/// Returns what is wrong with a unit of which systemd says `text`, with a cure, and whether it
/// starts with the machine.
fn unit_state(unit: &str, text: &str) -> (Option<(String, Option<String>)>, bool) {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(other, _)| *other == key).map(|(_, value)| value).next_back()
    };
    let lack = match value("LoadState") {
        Some("loaded") => None,
        Some("not-found") => Some((format!("there is no unit {unit}"), None)),
        Some("masked") => {
            Some(("the unit is masked".to_owned(), Some(format!("systemctl unmask {unit}"))))
        }
        state => Some((format!("the unit is {}", state.unwrap_or("unknown")), None)),
    };
    (lack, value("UnitFileState") == Some("enabled"))
}

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_millis(10_000);
/// How much it may say, in bytes.
const LONGEST: usize = 64 * 1024;

/// Returns where to get an agent.
fn source_of(kind: &Kind) -> Option<String> {
    let package = match kind {
        Kind::Ocf { provider, .. } => match provider.as_str() {
            "heartbeat" => "resource-agents",
            "pacemaker" => "pacemaker-resource-agents",
            _ => return None,
        },
        Kind::Heartbeat { script } if !script.starts_with('/') => "heartbeat",
        Kind::Systemd { .. } | Kind::Lsb { .. } | Kind::Heartbeat { .. } | Kind::Lifesign(_) => {
            return None;
        }
    };
    Some(format!("install the package {package}"))
}

/// Notes those of `told` that the agent does not know, and what it must be told besides.
pub(super) fn check_parameters(
    subject: &Subject<'_>,
    told: &[&Parameter],
    metadata: &Metadata,
    mistakes: &mut Mistakes,
) {
    let name = &subject.name;
    let names = || metadata.parameters.iter().map(|known| known.name.as_str());
    for parameter in told {
        if names().any(|known| known == parameter.name) {
            continue;
        }
        let hint = did_you_mean(&parameter.name, names()).unwrap_or_else(|| {
            let known: Vec<&str> = names().collect();
            if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("known are {}", known.join(", "))
            }
        });
        mistakes
            .add(parameter.span.clone(), format!("unknown parameter `{}`", parameter.name))
            .label(format!("{name} has no such parameter"))
            .hint(hint);
    }
    let given: Vec<&str> = told.iter().map(|parameter| parameter.name.as_str()).collect();
    for missing in metadata.missing(&given) {
        mistakes
            .add(subject.span.clone(), format!("the parameter `{missing}` is missing"))
            .label("this agent must have it")
            .hint(subject.example(missing));
    }
}

/// Says which of `told` the agent would rather be told in another way; `name` is who tells it.
pub(super) fn deprecated(
    subject: &Subject<'_>,
    told: &[&Parameter],
    metadata: &Metadata,
    name: &str,
) -> Vec<String> {
    let is_old = |parameter: &&&Parameter| {
        let mut known = metadata.parameters.iter();
        known.any(|known| known.name == parameter.name && known.is_deprecated)
    };
    let old = told.iter().filter(is_old).map(|parameter| {
        let newer = metadata.parameters.iter();
        let mut newer = newer.filter(|known| known.obsoletes.as_ref() == Some(&parameter.name));
        let hint = newer.next().map(|known| format!(" in favour of `{}`", known.name));
        let hint = hint.unwrap_or_default();
        format!("{name}: {} deprecates `{}`{hint}", subject.name, parameter.name)
    });
    old.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Places;
    use crate::settings::tests::{EXAMPLE, Folder};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const METADATA: &str = "#!/bin/sh\necho called >>$0.calls\n\
        [ \"$1 $__OCF_ACTION $OCF_RESOURCE_TYPE\" = \"meta-data meta-data thing\" ] || exit 2\n\
        cat <<END\n<resource-agent name=\"thing\"><parameters>\n\
        <parameter name=\"state\"/><parameter name=\"old\" deprecated=\"1\"/>\n\
        <parameter name=\"target\" required=\"1\"><content type=\"string\"/></parameter>\n\
        </parameters><actions><action name=\"start\" timeout=\"10\"/>\n\
        <action name=\"stop\" timeout=\"90s\"/></actions></resource-agent>\nEND\n";

    /// A machine with the agent `thing` of `own`, which is `script`.
    fn machine(script: &str, mode: u32) -> (Folder, Places) {
        let folder = Folder::new("inspect");
        let agents = folder.path.join("resource.d/own");
        fs::create_dir_all(&agents).unwrap();
        fs::write(agents.join("thing"), script).unwrap();
        fs::set_permissions(agents.join("thing"), fs::Permissions::from_mode(mode)).unwrap();
        let places = Places { ocf_root: folder.path.clone(), ..Places::default() };
        (folder, places)
    }

    /// Returns what is said of the example with `lines` in place of the service's commands.
    fn said(places: &Places, lines: &str, lack: Lack) -> Result<Vec<String>, String> {
        let begin = EXAMPLE.find("start = ").unwrap();
        let source = format!("{}{lines}\n", &EXAMPLE[..begin]);
        let parsed = Settings::parse("test.toml", &source);
        let mut settings = parsed.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        places.settle(&mut settings);
        let me = settings.node("alpha").unwrap();
        inspect(&mut settings, me, ("test.toml", &source), lack)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn parameters_are_checked_where_they_stand() {
        let (_folder, places) = machine(METADATA, 0o755);
        let lines = "agent = \"ocf:own:thing\"\nparameters = { stat = \"1\", old = \"2\" }";
        let text = said(&places, lines, Lack::Noted).unwrap_err();
        for expected in [
            "error: unknown parameter `stat`\n  --> test.toml:32:16",
            "did you mean \"state\"?",
            "error: the parameter `target` is missing\n  --> test.toml:31:9",
            "add `parameters = { target = \"..\" }`",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn limits_below_what_the_agent_advises_are_said() {
        let (folder, places) = machine(METADATA, 0o755);
        let lines = "agent = \"ocf:own:thing\"\nparameters = { old = \"1\", target = \"2\" }";
        let advice = said(&places, lines, Lack::Refused).unwrap();
        assert_eq!(
            advice,
            [
                "www/nginx: ocf:own:thing deprecates `old`",
                "www/nginx: stop_limit is 5000 ms, and ocf:own:thing advises 90 s"
            ]
        );
        let calls = fs::read_to_string(folder.path.join("resource.d/own/thing.calls")).unwrap();
        assert_eq!(calls, "called\n");
    }

    #[test]
    fn an_agent_that_is_not_there_is_a_mistake_where_it_would_run() {
        let (_folder, places) = machine(METADATA, 0o644);
        let missing = "agent = \"ocf:heartbeat:nginx\"";
        let text = said(&places, missing, Lack::Refused).unwrap_err();
        assert!(text.contains("this machine has no agent ocf:heartbeat:nginx"), "{text}");
        assert!(text.contains("install the package resource-agents"), "{text}");
        let advice = said(&places, missing, Lack::Noted).unwrap();
        assert!(advice[0].ends_with("; install the package resource-agents"), "{advice:?}");
        let text = said(&places, "agent = \"ocf:own:thing\"", Lack::Refused).unwrap_err();
        assert!(text.contains("may not be executed"), "{text}");
    }

    #[test]
    fn an_agent_without_metadata_is_advised_against() {
        let (_folder, places) = machine("#!/bin/sh\nexit 3\n", 0o755);
        let lines = "agent = \"ocf:own:thing\"\nparameters = { any = \"1\" }";
        assert_eq!(
            said(&places, lines, Lack::Refused).unwrap(),
            ["www/nginx: the parameters are not checked, for ocf:own:thing meta-data: not \
              implemented (3)"]
        );
    }

    #[test]
    fn units_must_be_loaded_and_should_not_start_by_themselves() {
        for (text, lack, is_enabled) in [
            ("LoadState=loaded\nUnitFileState=disabled\n", None, false),
            ("LoadState=loaded\nUnitFileState=enabled\n", None, true),
            ("LoadState=not-found\nUnitFileState=\n", Some("there is no unit x"), false),
            ("LoadState=masked\nUnitFileState=masked\n", Some("the unit is masked"), false),
            ("LoadState=bad-setting\n", Some("the unit is bad-setting"), false),
            ("", Some("the unit is unknown"), false),
        ] {
            let (said, starts) = unit_state("x", text);
            let said = said.map(|(why, _)| why);
            assert_eq!((said.as_deref(), starts), (lack, is_enabled), "{text}");
        }
    }

    #[test]
    fn agents_of_other_nodes_are_not_looked_at() {
        let (_folder, places) = machine(METADATA, 0o755);
        let begin = EXAMPLE.find("start = ").unwrap();
        let source = format!("{}agent = \"lsb:/no/such\"\n", &EXAMPLE[..begin]);
        let source = source.replace("prefer = [\"alpha\", \"beta\"]", "prefer = [\"beta\"]");
        let mut settings = Settings::parse("test.toml", &source).unwrap();
        places.settle(&mut settings);
        let mut look = |name: &str| {
            let me = settings.node(name).unwrap();
            inspect(&mut settings, me, ("test.toml", &source), Lack::Refused)
        };
        assert_eq!(look("alpha").unwrap(), Vec::<String>::new());
        assert!(look("beta").is_err());
    }
}
