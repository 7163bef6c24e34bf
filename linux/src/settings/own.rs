//! What our own agents are told, and where they may stand.

use lifesign_core::node::NodeId;
use toml::Spanned;
use toml::de::DeValue;

use super::Service;
use super::members::Members;
use super::mistake::{Mistakes, did_you_mean};
use super::table::{Table, printable, text_of, wrong_kind};
use crate::address::ServiceAddress;
use crate::agent::own::record::Plan;
use crate::agent::own::route::RoutePlan;
use crate::agent::own::{Fault, Own};
use crate::agent::{Agent, Kind, Parameter};

/// Reads the parameters of `own`. What differs by node becomes one parameter for each.
pub(super) fn read_parameters(
    table: &mut Table<'_>,
    own: Own,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Vec<Parameter> {
    let Some(table) = table.table("parameters", mistakes) else { return Vec::new() };
    let known = own.parameters();
    let mut parameters = Vec::new();
    for (name, value) in table.named_values() {
        let Some((_, may_differ)) = known.iter().find(|(known, _)| known == name.get_ref()) else {
            let names = known.iter().map(|(name, _)| *name);
            let all: Vec<&str> = names.clone().collect();
            let meant = did_you_mean(name.get_ref(), names);
            mistakes
                .add(name.span(), format!("unknown parameter `{}`", printable(name.get_ref())))
                .label(format!("lifesign:{own} has no such parameter"))
                .hint(meant.unwrap_or_else(|| format!("known are {}", all.join(", "))));
            continue;
        };
        match value.get_ref() {
            DeValue::Table(each) if *may_differ => {
                for (node, value) in each {
                    let owner = Spanned::new(node.span(), &**node.get_ref());
                    let text = text_of(value, name.get_ref(), mistakes);
                    let (Some(_), Some(text)) = (members.node(&owner, mistakes), text) else {
                        continue;
                    };
                    let name = format!("{}.{}", name.get_ref(), owner.get_ref());
                    add(&mut parameters, name, &text, mistakes);
                }
            }
            DeValue::String(_) => {
                if let Some(text) = text_of(value, name.get_ref(), mistakes) {
                    add(&mut parameters, (*name.get_ref()).to_owned(), &text, mistakes);
                }
            }
            _ => {
                let what = if *may_differ { "a text, or one for each node" } else { "a text" };
                wrong_kind(value, name.get_ref(), what, mistakes);
            }
        }
    }
    super::agent::check_length(&parameters, table.span(), MOST_BYTES, mistakes);
    parameters
}

/// The most bytes that one service's parameters may have.
const MOST_BYTES: usize = 8 * 1024;

fn add(
    parameters: &mut Vec<Parameter>,
    name: String,
    text: &Spanned<&str>,
    mistakes: &mut Mistakes,
) {
    if text.get_ref().contains('\0') {
        mistakes.add(text.span(), format!("`{name}` has a NUL"));
        return;
    }
    parameters.push(Parameter { name, value: (*text.get_ref()).to_owned(), span: text.span() });
}

/// Notes what our own agents among `services` cannot do, of a group with `addresses` that the nodes
/// `prefer` may hold.
pub(super) fn check(
    services: &[Service],
    addresses: &[ServiceAddress],
    members: &Members,
    prefer: &[NodeId],
    mistakes: &mut Mistakes,
) {
    for (at, service) in services.iter().enumerate() {
        let Some(agent) = &service.agent else { continue };
        let Kind::Lifesign(own) = agent.kind else { continue };
        let behind = services.get(at + 1..).unwrap_or_default();
        if let Some(other) = behind.iter().find(|other| !is_own(other)) {
            let other = &other.name;
            mistakes
                .add(agent.span.clone(), format!("{} comes before {other:?}", agent.kind))
                .label("it would lead clients to what has not started")
                .hint("move it to the end of the group: it starts last and stops first");
        }
        match own {
            Own::Dns => check_dns(agent, service, members, prefer, mistakes),
            Own::Route => check_route(agent, addresses, mistakes),
        }
    }
}

fn is_own(service: &Service) -> bool {
    service.agent.as_ref().is_some_and(|agent| matches!(agent.kind, Kind::Lifesign(_)))
}

fn check_dns(
    agent: &Agent,
    service: &Service,
    members: &Members,
    prefer: &[NodeId],
    mistakes: &mut Mistakes,
) {
    let plan = match Plan::read(&agent.parameters) {
        Ok(plan) => plan,
        Err(fault) => return blame(agent, &fault, mistakes),
    };
    for (id, name) in members.node_ids().filter(|(id, _)| prefer.contains(id)) {
        let _ = id;
        if plan.addresses_of(name).is_empty() {
            mistakes
                .add(agent.span.clone(), format!("{name:?} has no address for {}", plan.name))
                .label("it may hold the group")
                .hint(format!("say `a` or `aaaa` for {name}"));
        }
    }
    let limits = [
        ("start_limit", service.start_limit),
        ("stop_limit", service.stop_limit),
        ("monitor_limit", service.monitor_limit),
    ];
    if let Some((key, limit)) = limits.iter().find(|(_, limit)| *limit <= plan.patience) {
        let patience = plan.patience;
        mistakes
            .add(agent.span.clone(), format!("its patience of {patience} does not end in time"))
            .label(format!("{key} is {limit}"))
            .hint(format!("write `patience` or `{key}` so that it can say what is wrong"));
    }
}

fn check_route(agent: &Agent, addresses: &[ServiceAddress], mistakes: &mut Mistakes) {
    let plan = match RoutePlan::read(&agent.parameters) {
        Ok(plan) => plan,
        Err(fault) => return blame(agent, &fault, mistakes),
    };
    if !addresses.iter().any(|address| address.ip == plan.ip) {
        let ip = plan.ip;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        mistakes
            .add(agent.span.clone(), format!("{ip} is no address of this group"))
            .label("the kernel lease would not guard what it leads to")
            .hint(format!("write it into the group, addresses = [\"{ip}/{bits}@lo\"]"));
    }
}

/// Notes `fault` where the settings have it.
fn blame(agent: &Agent, fault: &Fault, mistakes: &mut Mistakes) {
    let named = agent.parameters.iter().find(|other| Some(&other.name) == fault.name.as_ref());
    let span = named.map_or_else(|| agent.span.clone(), |parameter| parameter.span.clone());
    let title = match &fault.name {
        Some(name) => format!("`{name}` cannot be used: {}", fault.why),
        None => fault.why.clone(),
    };
    mistakes.add(span, title).hint(fault.hint.clone());
}
