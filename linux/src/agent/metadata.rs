//! What an agent of OCF, or a fence agent, says of itself: its parameters and its actions.

use lifesign_core::time::Duration;
use roxmltree::{Document, Node, ParsingOptions};

use super::{child, fence};

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What it can be told.
    pub parameters: Vec<Known>,
    /// How long its actions may take, in its own opinion.
    pub timeouts: Vec<(String, Duration)>,
    /// What it can be asked; fence agents alone.
    pub actions: Vec<String>,
    /// Whether what it has fenced must be let in again before it can work; fence agents alone.
    pub must_let_in: bool,
}

/// A parameter that an agent knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Whether it must be there: it is required and has no value by itself.
    pub is_required: bool,
    /// Whether it should not be used any more.
    pub is_deprecated: bool,
    /// Which other parameter it takes the place of.
    pub obsoletes: Option<String>,
}

impl Known {
    fn optional(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, is_required: false, is_deprecated: false, obsoletes: None }
    }
}

impl Metadata {
    /// Asks the agent at `program`.
    ///
    /// # Errors
    /// Why there is no answer, or none that can be read, in a few words.
    pub fn ask(program: &str, environment: &[(String, String)]) -> Result<Self, String> {
        let mut environment = environment.to_vec();
        environment.push(("__OCF_ACTION".to_owned(), ACTION.to_owned()));
        let answer = child::ask(&[program, ACTION], &environment, b"", PATIENCE, LONGEST)?;
        Self::parse(&answer.good(super::ocf::name)?)
    }

    /// Asks the fence agent of `kind` at `program`.
    ///
    /// # Errors
    /// Why there is no answer, or none that can be read, in a few words.
    pub fn ask_fence(kind: &fence::Kind, program: &str) -> Result<Self, String> {
        let ask = |words: &[&str], input: &[u8]| {
            let arguments: Vec<&str> = core::iter::once(&program).chain(words).copied().collect();
            let answer = child::ask(&arguments, &[], input, PATIENCE, LONGEST)?;
            answer.good(|code| format!("exit status {code}"))
        };
        if let fence::Kind::Rhcs(_) = kind {
            return Self::parse(&ask(&[], b"action=metadata\n")?);
        }
        // Some describe other parameters than they take, so both count.
        let (text, names) = (ask(&["getinfo-xml"], b"")?, ask(&["getconfignames"], b"")?);
        if text.trim().is_empty() {
            return Err("it says nothing of itself".to_owned());
        }
        let mut metadata = Self::parse(&format!("<resource-agent>{text}</resource-agent>"))?;
        for name in names.split_whitespace() {
            if !metadata.parameters.iter().any(|known| known.name == name) {
                metadata.parameters.push(Known::optional(name));
            }
        }
        metadata.actions = ["reset", "off", "on"].map(str::to_owned).into();
        Ok(metadata)
    }

    /// Reads what an agent has written.
    ///
    /// # Errors
    /// Why it cannot be read, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Agents name the file of the standard's grammar, which nobody reads.
        let options =
            ParsingOptions { allow_dtd: true, nodes_limit: MOST_NODES, ..Default::default() };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| format!("it is no XML: {error}"))?;
        let root = document.root_element();
        if root.tag_name().name() != "resource-agent" {
            return Err("it does not describe a resource agent".to_owned());
        }
        let named = |parent: &str, child: &'static str| {
            let parent = root.children().find(|node| node.has_tag_name(parent));
            let children = parent.map(|parent| parent.children().collect::<Vec<_>>());
            children.unwrap_or_default().into_iter().filter(move |node| node.has_tag_name(child))
        };
        Ok(Self {
            parameters: named("parameters", "parameter").filter_map(known).collect(),
            timeouts: named("actions", "action").filter_map(timeout).collect(),
            actions: named("actions", "action")
                .filter_map(|node| node.attribute("name").map(str::to_owned))
                .collect(),
            must_let_in: named("actions", "action").any(|node| {
                node.attribute("name") == Some("on") && node.attribute("automatic") == Some("1")
            }),
        })
    }

    /// Returns the names that it must be told and is not, if it is told those of `told`. Of a
    /// parameter and the one whose place it takes, one is enough.
    pub fn missing<'a>(&'a self, told: &[&str]) -> impl Iterator<Item = &'a str> {
        let is_told = move |known: &Known| {
            let names = self.parameters.iter().filter(|other| {
                known.name == other.name
                    || known.obsoletes.as_ref() == Some(&other.name)
                    || other.obsoletes.as_ref() == Some(&known.name)
            });
            names.map(|other| other.name.as_str()).any(|name| told.contains(&name))
        };
        let needed = self.parameters.iter().filter(|known| known.is_required);
        let needed = needed.filter(|known| {
            !known.is_deprecated || !self.parameters.iter().any(|other| replaces(other, known))
        });
        let missing: Vec<&str> =
            needed.filter(|known| !is_told(known)).map(|known| known.name.as_str()).collect();
        missing.into_iter()
    }

    /// Returns how long `action` may take, in the agent's opinion.
    #[must_use]
    pub fn timeout(&self, action: &str) -> Option<Duration> {
        let mut own = self.timeouts.iter().filter(|(name, _)| name == action);
        own.next().map(|(_, timeout)| *timeout)
    }
}

/// What an agent is asked.
const ACTION: &str = "meta-data";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_millis(10_000);
/// How much it may say, in bytes.
const LONGEST: usize = 1 << 20;
/// How many elements, attributes and texts that may have.
const MOST_NODES: u32 = 100_000;

fn known(node: Node<'_, '_>) -> Option<Known> {
    let is_set = |name: &str| {
        let value = node.attribute(name).unwrap_or_default();
        ["1", "true", "yes"].iter().any(|word| value.eq_ignore_ascii_case(word))
    };
    let content = node.children().find(|child| child.has_tag_name("content"));
    let default = content.and_then(|content| content.attribute("default"));
    Some(Known {
        name: node.attribute("name")?.to_owned(),
        is_required: is_set("required") && default.is_none_or(str::is_empty),
        is_deprecated: is_set("deprecated")
            || node.children().any(|child| child.has_tag_name("deprecated")),
        obsoletes: node.attribute("obsoletes").map(str::to_owned),
    })
}

/// Returns whether `new` takes the place of `old`.
fn replaces(new: &Known, old: &Known) -> bool {
    new.obsoletes.as_ref() == Some(&old.name)
}

fn timeout(node: Node<'_, '_>) -> Option<(String, Duration)> {
    let name = node.attribute("name")?.to_owned();
    Some((name, span(node.attribute("timeout")?)?))
}

/// Returns the span of a text such as `20`, `20s`, `20000ms` or `1min`; seconds without a unit.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" => 1,
        "" | "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" | "hr" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="thing" version="1.0">
<version>1.0</version>
<shortdesc lang="en">A thing &amp; more</shortdesc>
<parameters>
<parameter name="state" unique="1" required="0"><content type="string" default="/x" /></parameter>
<parameter name="target" required="1"><content type="string" /></parameter>
<parameter name="mode" required="1"><content type="string" default="fast"/></parameter>
<parameter name="old" deprecated="1"><content type="string" default=""/></parameter>
<parameter name="older"><deprecated/><content type="string"/></parameter>
</parameters>
<actions>
<action name="start" timeout="20s" />
<action name="stop" timeout="90" />
<action name="monitor" timeout="1min" interval="10s" depth="0"/>
<action name="monitor" timeout="5s" depth="10"/>
<action name="meta-data" timeout="5000ms"/>
<action name="validate-all"/>
<action name="reload" timeout="soon"/>
</actions>
</resource-agent>
"#;

    #[test]
    fn what_an_agent_says_is_read() {
        let metadata = Metadata::parse(EXAMPLE).unwrap();
        let known = |name: &str, is_required, is_deprecated| Known {
            name: name.to_owned(),
            is_required,
            is_deprecated,
            obsoletes: None,
        };
        assert_eq!(
            metadata.parameters,
            [
                known("state", false, false),
                known("target", true, false),
                known("mode", false, false),
                known("old", false, true),
                known("older", false, true)
            ]
        );
        for (action, expected_ms) in [
            ("start", Some(20_000)),
            ("stop", Some(90_000)),
            ("monitor", Some(60_000)),
            ("meta-data", Some(5000)),
            ("validate-all", None),
            ("reload", None),
        ] {
            assert_eq!(
                metadata.timeout(action),
                expected_ms.map(Duration::from_millis),
                "{action}"
            );
        }
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for (text, expected) in [
            ("", "it is no XML"),
            ("usage: thing {start|stop}", "it is no XML"),
            ("<resource-agent>", "it is no XML"),
            ("<html/>", "it does not describe a resource agent"),
        ] {
            let error = Metadata::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert_eq!(Metadata::parse("<resource-agent/>").unwrap(), Metadata::default());
    }

    #[test]
    fn entities_that_grow_without_end_are_refused() {
        let mut text = "<!DOCTYPE r [<!ENTITY a0 \"aaaaaaaaaa\">".to_owned();
        for level in 1..12 {
            let inner = format!("&a{};", level - 1).repeat(10);
            text += &format!("<!ENTITY a{level} \"{inner}\">");
        }
        text += "]><resource-agent>&a11;</resource-agent>";
        assert!(Metadata::parse(&text).is_err());
    }
}
