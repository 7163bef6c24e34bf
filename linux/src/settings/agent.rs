//! A service's agent, its parameters and its arguments.

use core::ops::Range;

use toml::Spanned;

use super::members::Members;
use super::mistake::{Mistakes, did_you_mean};
use super::table::{Misfit, Table, printable};
use super::{own, value};
use crate::agent::{Agent, Kind, Parameter};

/// The most bytes that one service's parameters, or arguments, may have.
const MOST_BYTES: usize = 8 * 1024;

/// What stands in the table of a service with an agent in place of commands.
const COMMANDS: [&str; 3] = ["start", "stop", "monitor"];

/// Reads the agent of a service, or notes that a service without one has keys of an agent.
///
/// Nothing comes of an agent that is wrong; then there is a mistake.
pub(super) fn read(
    table: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Option<Agent> {
    if !table.has("agent") {
        for key in ["parameters", "arguments"] {
            let what = "a service with commands";
            table.refuse(key, what, "add `agent`, or write it into the commands", mistakes);
        }
        return None;
    }
    for key in COMMANDS {
        let what = "a service with an `agent`";
        table.refuse(key, what, "the agent does this: leave out one of the two", mistakes);
    }
    let kind = table.parsed("agent", mistakes, kind_of);
    let takes_arguments =
        kind.as_ref().is_none_or(|kind| matches!(kind.get_ref(), Kind::Heartbeat { .. }));
    let parameters = match kind.as_ref().map(Spanned::get_ref) {
        None | Some(Kind::Ocf { .. }) => read_parameters(table, mistakes),
        Some(Kind::Lifesign(own)) => own::read_parameters(table, *own, members, mistakes),
        Some(Kind::Systemd { .. } | Kind::Lsb { .. } | Kind::Heartbeat { .. }) => {
            let hint = "agents of the kinds `ocf` and `lifesign` alone have parameters";
            table.refuse("parameters", "a service with such an agent", hint, mistakes);
            Vec::new()
        }
    };
    let arguments = if takes_arguments {
        read_arguments(table, mistakes)
    } else {
        let hint = "agents of kind `heartbeat` alone have arguments";
        table.refuse("arguments", "a service with such an agent", hint, mistakes);
        Vec::new()
    };
    let kind = kind?;
    Some(Agent { span: kind.span(), kind: kind.into_inner(), parameters, arguments })
}

fn read_parameters(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Parameter> {
    let Some(table) = table.table("parameters", mistakes) else { return Vec::new() };
    let mut parameters = Vec::new();
    for (name, text) in table.named_texts(mistakes) {
        let (span, name) = (name.span(), *name.get_ref());
        if !is_parameter(name) {
            mistakes
                .add(span, format!("no parameter is called `{}`", printable(name)))
                .label("its name has letters, digits and `_` only");
        } else if name.starts_with("CRM_meta_") {
            mistakes
                .add(span, format!("`{name}` is no parameter"))
                .label("lifesign says this by itself")
                .hint("write start_limit, stop_limit, monitor_limit or monitor_interval");
        } else if text.get_ref().contains('\0') {
            mistakes.add(text.span(), format!("`{name}` has a NUL"));
        } else {
            let value = (*text.get_ref()).to_owned();
            parameters.push(Parameter { name: name.to_owned(), value, span });
        }
    }
    check_length(&parameters, table.span(), MOST_BYTES, mistakes);
    parameters
}

/// Notes if what stands at `span` is too long.
pub(super) fn check_length(
    parameters: &[Parameter],
    span: Range<usize>,
    most: usize,
    mistakes: &mut Mistakes,
) {
    let len = |parameter: &Parameter| parameter.name.len() + parameter.value.len() + 2;
    let len: usize = parameters.iter().map(len).sum();
    if len > most {
        mistakes
            .add(span, "the parameters are too long")
            .label(format!("{len} bytes; there can be {most}"));
    }
}

fn is_parameter(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.len() <= 64
        && name.starts_with(is_letter)
        && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn read_arguments(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let Some(words) = table.texts("arguments", mistakes) else { return Vec::new() };
    if let Some(word) = words.get_ref().iter().find(|word| word.get_ref().contains('\0')) {
        mistakes.add(word.span(), "an argument has a NUL");
    }
    let len: usize = words.get_ref().iter().map(|word| word.get_ref().len() + 1).sum();
    if len > MOST_BYTES {
        mistakes
            .add(words.span(), "the arguments are too long")
            .label(format!("{len} bytes; there can be {MOST_BYTES}"));
    }
    words.into_inner().into_iter().map(|word| (*word.get_ref()).to_owned()).collect()
}

/// Notes if `agent`, called `instance`, would keep its state under the same name as one of `taken`.
pub(super) fn check_instance(
    agent: &Agent,
    instance: String,
    taken: &mut Vec<Spanned<String>>,
    mistakes: &mut Mistakes,
) {
    if !matches!(agent.kind, Kind::Ocf { .. }) {
        return;
    }
    if let Some(first) = taken.iter().find(|other| *other.get_ref() == instance) {
        mistakes
            .add(agent.span.clone(), format!("two agents would keep their state as {instance}"))
            .label("the second")
            .other(first.span(), "the first")
            .hint("that is the group's name, `_` and the service's: change one of them");
    }
    taken.push(Spanned::new(agent.span.clone(), instance));
}

/// The kinds of agents, as they are written.
const KINDS: [(&str, &str); 5] = [
    ("ocf", "\"ocf:PROVIDER:TYPE\""),
    ("systemd", "\"systemd:UNIT\""),
    ("lsb", "\"lsb:SCRIPT\""),
    ("heartbeat", "\"heartbeat:SCRIPT\""),
    ("lifesign", "\"lifesign:dns\" or \"lifesign:route\""),
];

/// Returns the agent that is called `text`.
fn kind_of(text: &str) -> Result<Kind, Misfit> {
    let (word, rest) = text.split_once(':').unwrap_or((text, ""));
    let Some((_, form)) = KINDS.iter().find(|(kind, _)| *kind == word) else {
        let forms = KINDS.map(|(_, form)| form).join(", ");
        let meant = did_you_mean(word, KINDS.iter().map(|(kind, _)| *kind));
        let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
        return Err(Misfit::new("there is no such kind of agent", format!("write {forms}{meant}")));
    };
    let misfit = |why: &str| Misfit::new(why, format!("write {form}"));
    let kind = match word {
        "ocf" => {
            let (provider, name) =
                rest.split_once(':').ok_or_else(|| misfit("the type is missing"))?;
            if !is_file_name(provider) || !is_file_name(name) {
                return Err(misfit("this is no name of an agent"));
            }
            Kind::Ocf { provider: provider.to_owned(), name: name.to_owned() }
        }
        "systemd" if is_unit(rest) => Kind::Systemd { unit: rest.to_owned() },
        "systemd" => return Err(misfit("this is no name of a unit")),
        "lifesign" => Kind::Lifesign(rest.parse().map_err(|why: String| misfit(&why))?),
        "lsb" => Kind::Lsb { script: script(rest, misfit)? },
        _ => Kind::Heartbeat { script: script(rest, misfit)? },
    };
    if adds_address(&kind) {
        return Err(Misfit::new(
            "the kernel lease does not guard an address that an agent adds",
            "write it in the group, addresses = [\"10.0.0.100/24\"], and leave this service out",
        ));
    }
    Ok(kind)
}

/// Returns whether an agent adds service addresses, which lifesign does itself.
fn adds_address(kind: &Kind) -> bool {
    let file = |script: &str| script.rsplit('/').next().unwrap_or_default().to_owned();
    let name = match kind {
        Kind::Ocf { name, .. } => name.clone(),
        Kind::Lsb { script } | Kind::Heartbeat { script } => file(script),
        Kind::Systemd { .. } | Kind::Lifesign(_) => return false,
    };
    name.starts_with("IPaddr") || name == "IPv6addr"
}

/// Returns the name or the absolute path of a script.
fn script(text: &str, misfit: impl Fn(&str) -> Misfit) -> Result<String, Misfit> {
    if text.starts_with('/') {
        value::path(text)?;
    } else if !is_file_name(text) {
        return Err(misfit("a script is a name or an absolute path"));
    }
    Ok(text.to_owned())
}

pub(super) fn is_file_name(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.+-".contains(letter);
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['.', '-'])
        && text.chars().all(is_plain)
}

/// Returns whether `text` can be the name of a unit, as systemd.unit(5) has it.
fn is_unit(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    !text.is_empty() && text.len() <= 255 && text.chars().all(is_plain)
}
