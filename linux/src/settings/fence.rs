//! What makes certain that a node is silent: its fence agents, in order.

use core::ops::Range;
use std::collections::BTreeMap;

use lifesign_core::fence::{MAX_MEANS, Manner};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use toml::Spanned;

use super::agent::{check_length, is_file_name};
use super::document::unknown_word;
use super::mistake::Mistakes;
use super::table::{Misfit, Table, printable};
use super::{Link, Node, value};
use crate::agent::Parameter;
use crate::agent::fence::{Fence, Kind, LINE_LIMIT};

/// The most agents of one node; the reset line of a dongle may come on top.
const MOST: usize = MAX_MEANS - 1;
/// The most bytes that one agent's parameters may have: with what else it is told and its secrets
/// they fit its standard input.
const MOST_BYTES: usize = 2048;
/// How long an agent may take.
const LIMIT: Duration = Duration::from_millis(60_000);

/// Reads what stands under `[[node.fence]]` of the node called `name`.
pub(super) fn read(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut levels = Vec::new();
    for (at, mut table) in (1..).zip(table.tables("fence", MOST, mistakes)) {
        let level = table.integer("level", 1..=9, mistakes);
        let kind = table.required("agent", "\"fence_ipmilan\"", mistakes, kind_of);
        let limit = table.parsed("limit", mistakes, value::span);
        levels.push((table.span(), level.as_ref().map(|level| *level.get_ref())));
        let is_line = kind.as_ref().is_some_and(|kind| *kind.get_ref() == Kind::Dongle);
        let (manner, [parameters, secrets]) = if is_line {
            for key in ["action", "parameters", "secrets"] {
                let hint = "the dongle pulls the reset line; leave the key out";
                table.refuse(key, "a dongle", hint, mistakes);
            }
            (Manner::Line, [Vec::new(), Vec::new()])
        } else {
            let manner = table.parsed("action", mistakes, manner_of);
            let told = read_told(&mut table, mistakes);
            (manner.map_or(Manner::Reboot, Spanned::into_inner), told)
        };
        table.finish(mistakes);
        let Some(kind) = kind else { continue };
        let default = if is_line { LINE_LIMIT } else { LIMIT };
        fences.push(Fence {
            program: kind.get_ref().programs().into_iter().next().unwrap_or_default(),
            span: kind.span(),
            kind: kind.into_inner(),
            manner,
            level: level.map_or(at, |level| u8::try_from(level.into_inner()).unwrap_or(at)),
            parameters,
            secrets,
            limit: limit.map_or(default, Spanned::into_inner),
            tells: manner == Manner::Off,
        });
    }
    check_levels(&levels, &fences, mistakes);
    fences
}

/// Notes where some agents of a node have a level and others have none, or where a reset line is
/// to act together with something else.
fn check_levels(levels: &[(Range<usize>, Option<u64>)], fences: &[Fence], mistakes: &mut Mistakes) {
    let without = levels.iter().find(|(_, level)| level.is_none());
    let with = levels.iter().find(|(_, level)| level.is_some());
    if let (Some((span, _)), Some((other, _))) = (without, with) {
        mistakes
            .add(span.clone(), "this fence has no `level`, and another of the node has one")
            .label("when does its turn come?")
            .other(other.clone(), "this one has a level")
            .hint("write `level` in all of them, or in none: then they come in order");
    }
    let mut by_level: BTreeMap<u8, Vec<&Fence>> = BTreeMap::new();
    for fence in fences {
        by_level.entry(fence.level).or_default().push(fence);
    }
    for together in by_level.values().filter(|together| together.len() > 1) {
        if let Some(line) = together.iter().find(|fence| fence.kind == Kind::Dongle) {
            mistakes
                .add(line.span.clone(), "a dongle does not act together with others")
                .label("its reset line is enough by itself")
                .hint("give it a level of its own");
        }
    }
}

/// Reads parameters and secrets.
fn read_told(table: &mut Table<'_>, mistakes: &mut Mistakes) -> [Vec<Parameter>; 2] {
    let parameters = read_pairs(table, "parameters", mistakes, |name, text, mistakes| {
        if is_secret(name) {
            mistakes.hide(text.span());
            mistakes
                .add(text.span(), format!("`{}` does not belong into the settings", printable(name)))
                .label("whoever reads them would know it")
                .hint(format!(
                    "write it into a file of mode 600, and secrets = {{ {name} = \"/path/of/file\" }}"
                ));
        }
    });
    let secrets = read_pairs(table, "secrets", mistakes, |_, text, mistakes| {
        if let Err(misfit) = value::path(text.get_ref()) {
            // It may be the secret itself.
            mistakes.hide(text.span());
            mistakes
                .add(text.span(), "a secret is the path of a file")
                .label(misfit.why)
                .hint("write the secret into a file of mode 600, and its absolute path here");
        }
    });
    for secret in &secrets {
        if let Some(twice) = parameters.iter().find(|other| other.name == secret.name) {
            mistakes
                .add(secret.span.clone(), format!("`{}` is there twice", printable(&secret.name)))
                .label("as a secret")
                .other(twice.span.clone(), "as a parameter");
        }
    }
    [parameters, secrets]
}

fn read_pairs(
    table: &mut Table<'_>,
    key: &'static str,
    mistakes: &mut Mistakes,
    check: impl Fn(&str, &Spanned<&str>, &mut Mistakes),
) -> Vec<Parameter> {
    let Some(table) = table.table(key, mistakes) else { return Vec::new() };
    let mut pairs = Vec::new();
    for (name, text) in table.named_texts(mistakes) {
        let (span, name) = (name.span(), *name.get_ref());
        let hint = match name {
            "action" | "option" | "method_action" => Some("write action = \"off\" or \"reboot\""),
            "nodename" => Some("it is the node to be fenced"),
            _ if name.starts_with("pcmk_") => Some("those are words of Pacemaker"),
            _ => None,
        };
        if let Some(hint) = hint {
            mistakes
                .add(span, format!("`{name}` is no parameter"))
                .label("lifesign says this by itself")
                .hint(hint);
        } else if !is_parameter(name) {
            mistakes
                .add(span, format!("no parameter is called `{}`", printable(name)))
                .label("its name has letters, digits, `_` and `-` only");
        } else if text.get_ref().contains(['\0', '\n', '\r']) {
            mistakes.add(text.span(), format!("`{name}` is more than one line"));
        } else {
            check(name, &text, mistakes);
            let value = (*text.get_ref()).to_owned();
            pairs.push(Parameter { name: name.to_owned(), value, span });
        }
    }
    check_length(&pairs, table.span(), MOST_BYTES, mistakes);
    pairs
}

/// Returns whether a parameter of this name is a password, by its name.
#[must_use]
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_known = ["pass", "secret", "secret_key", "apikey", "token", "api_token"];
    ["passwd", "password", "_pass"].iter().any(|end| name.ends_with(end))
        || is_known.contains(&name.as_str())
}

fn is_parameter(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    name.len() <= 64
        && name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.chars().all(is_letter)
}

fn manner_of(text: &str) -> Result<Manner, Misfit> {
    match text {
        "off" => Ok(Manner::Off),
        "reboot" => Ok(Manner::Reboot),
        "reset" | "cycle" => Err(Misfit::new("there is no such action", "write \"reboot\"")),
        _ => Err(unknown_word("action", text, &["off", "reboot"])),
    }
}

/// Agents that make nothing silent by themselves, with what to do.
const NO_FENCES: [(&str, &str); 4] = [
    ("fence_ack_manual", "a person says it when asked: `lifesign fence confirm NODE`"),
    (
        "fence_heuristics_ping",
        "it makes nothing silent; a witness or a `ping` decides who may fence",
    ),
    ("fence_watchdog", "it makes nothing silent; Pacemaker waits in its place"),
    ("fence_legacy", "name the plug-in itself: \"external/NAME\""),
];

/// Returns the agent that is called `text`.
fn kind_of(text: &str) -> Result<Kind, Misfit> {
    let misfit = |why: &str| Misfit::new(why, FORMS);
    if text == "dongle" {
        return Ok(Kind::Dongle);
    }
    let kind = match (text.strip_prefix("external/"), text.rsplit_once('/')) {
        (Some(name), _) if is_file_name(name) => Kind::External(name.to_owned()),
        (Some(_), _) => return Err(misfit("this is no name of a plug-in")),
        (None, Some((folder, name))) if text.starts_with('/') => {
            value::path(text)?;
            if name.starts_with("fence_") {
                Kind::Rhcs(text.to_owned())
            } else if folder.ends_with("/external") {
                Kind::External(text.to_owned())
            } else {
                return Err(misfit("which kind of agent is this?"));
            }
        }
        (None, None) if text.starts_with("fence_") && is_file_name(text) => {
            Kind::Rhcs(text.to_owned())
        }
        (None, _) => return Err(misfit("there is no such kind of fence agent")),
    };
    let file = text.rsplit('/').next().unwrap_or_default();
    if let Some((_, hint)) = NO_FENCES.iter().find(|(name, _)| *name == file) {
        return Err(Misfit::new("this agent fences nobody", *hint));
    }
    Ok(kind)
}

const FORMS: &str = "write \"fence_NAME\", \"external/NAME\", the absolute path of such a program, \
    or \"dongle\"";

/// Notes where a dongle is to fence a node to which no link has a reset line.
pub(super) fn check_lines(nodes: &[Node], links: &[Link], mistakes: &mut Mistakes) {
    for (id, node) in NodeId::all().zip(nodes) {
        let has_line = links.iter().filter_map(Link::serial).any(|link| link.resets.contains(id));
        for fence in node.fence.iter().filter(|fence| fence.kind == Kind::Dongle && !has_line) {
            mistakes
                .add(fence.span.clone(), format!("no dongle has a reset line to {}", node.name))
                .label("which dongle?")
                .hint("a serial link with a dongle as `witness` says whom it can reset: `resets`");
        }
    }
}

#[cfg(test)]
mod tests;
