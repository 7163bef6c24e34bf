//! The agents that are part of lifesign: what shows clients the way to a group that has started.
//!
//! | agent | start | stop |
//! |---|---|---|
//! | `lifesign:dns` | writes A and AAAA records, with the token beside them | takes them away |
//! | `lifesign:route` | adds a host route, which a routing daemon passes on | deletes it |
//!
//! Order, limits, monitors and failures are those of every service. They run as children of the
//! executor, as `lifesign agent dns start NAME=VALUE..`, and say in one line what is wrong.
//!
//! | file | what it is |
//! |---|---|
//! | [`record`] | a name's records: who may change them, and how |
//! | [`primary`] | signed questions and updates to a name server |
//! | [`route`] | a host route that a routing daemon passes on |
//! | [`secret`] | the files in which keys of name servers stand |

pub mod primary;
pub mod record;
pub mod route;
pub mod secret;

use core::fmt;
use core::str::FromStr;

use lifesign_core::group::Token;

use self::primary::Primary;
use self::record::{Holder, Plan};
use self::route::RoutePlan;
use super::Parameter;

/// Which of our own agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Records of a name server.
    Dns,
    /// A host route.
    Route,
}

impl Own {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Dns, Self::Route];

    /// Returns its word in the settings, after `lifesign:`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Route => "route",
        }
    }

    /// Returns the names of its parameters, each with whether nodes may have different ones.
    #[must_use]
    pub const fn parameters(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Dns => Plan::PARAMETERS,
            Self::Route => RoutePlan::PARAMETERS,
        }
    }
}

impl Own {
    /// Looks whether this machine has what the agent needs with `parameters`.
    ///
    /// # Errors
    /// What it has not, in one line.
    pub fn inspect(self, parameters: &[Parameter]) -> Result<(), String> {
        match self {
            Self::Dns => {
                let plan = Plan::read(parameters).map_err(|fault| fault.to_string())?;
                secret::read(&plan.key_file).map(|_| ())
            }
            Self::Route => Ok(()),
        }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|own| own.word() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::word);
            format!("there is no such agent; known are {}", known.join(", "))
        })
    }
}

/// What an agent is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// To show the way to this node.
    Start,
    /// To show it no longer.
    Stop,
    /// To say whether it is shown.
    Monitor,
}

impl FromStr for Deed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "start" => Ok(Self::Start),
            "stop" => Ok(Self::Stop),
            "monitor" => Ok(Self::Monitor),
            _ => Err("write start, stop or monitor"),
        }
    }
}

/// What is wrong with parameters: which of them, if it is one, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The parameter's name; none where one is missing.
    pub name: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    pub(crate) fn of(name: &str, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: Some(name.to_owned()), why: why.into(), hint: hint.into() }
    }

    /// The parameter `name` is not there; it could be `example`.
    pub(crate) fn missing(name: &str, example: &str) -> Self {
        let why = format!("the parameter `{name}` is missing");
        Self { name: None, why, hint: format!("add `parameters = {{ {name} = {example} }}`") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name}: {}; {}", self.why, self.hint),
            None => write!(formatter, "{}; {}", self.why, self.hint),
        }
    }
}

/// Does `deed` with the parameters `words`, each `NAME=VALUE`, for node `node` under `token`, and
/// returns what there is to say about it.
///
/// # Errors
/// Why it is not done, or not as it should be, in one line.
pub fn run(
    own: Own,
    deed: Deed,
    words: &[String],
    node: &str,
    token: Token,
) -> Result<String, String> {
    let parameters = words.iter().map(|word| parameter(word)).collect::<Result<Vec<_>, _>>()?;
    match own {
        Own::Dns => {
            let plan = Plan::read(&parameters).map_err(|fault| fault.to_string())?;
            let mut primary = Primary::open(&plan)?;
            let holder = Holder { token, node: node.to_owned() };
            let addresses = plan.addresses_of(node);
            match deed {
                Deed::Start => record::take(&mut primary, &holder, &addresses),
                Deed::Stop => record::give_up(&mut primary, &holder),
                Deed::Monitor => record::look(&mut primary, &holder, &addresses),
            }
        }
        Own::Route => {
            let plan = RoutePlan::read(&parameters).map_err(|fault| fault.to_string())?;
            match deed {
                Deed::Start => plan.start(),
                Deed::Stop => plan.stop(),
                Deed::Monitor => plan.monitor(),
            }
        }
    }
}

fn parameter(word: &str) -> Result<Parameter, String> {
    let (name, value) =
        word.split_once('=').ok_or_else(|| format!("{word:?}: write NAME=VALUE"))?;
    Ok(Parameter { name: name.to_owned(), value: value.to_owned(), span: 0..0 })
}
