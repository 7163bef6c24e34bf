//! Groups and services.

use core::net::IpAddr;

use lifesign_core::group::{Failback, GroupSet, Guard, MAX_GROUPS};
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

use super::callers::Callers;
use super::document::{RawTiming, check_promise, unknown_word};
use super::mac::{self, RawMac};
use super::members::{Members, Names};
use super::mistake::Mistakes;
use super::place::{self, Place};
use super::profile::Profile;
use super::table::{Misfit, Table, parsed_of};
use super::watchdog::{self, Watchdog};
use super::{Group, Network, Service, agent, network, own, safety, value};
use crate::address::ServiceAddress;
use crate::agent::convention::Convention;
use crate::agent::{Places, instance};

/// The most addresses, and the most services, of one group.
const MOST_RESOURCES: usize = 64;

/// What the groups of a file rest on.
#[derive(Debug)]
pub(super) struct Basis<'b> {
    /// The cluster's name.
    pub(super) cluster: &'b str,
    pub(super) members: &'b Members,
    pub(super) base: Profile,
    pub(super) timing: &'b RawTiming,
    pub(super) watchdog: Option<&'b Watchdog>,
}

/// Reads the groups.
pub(super) fn read(
    top: &mut Table<'_>,
    basis: &Basis<'_>,
    networks: &mut [Network],
    mistakes: &mut Mistakes,
) -> Vec<Group> {
    let Basis { cluster, members, base, timing, watchdog } = *basis;
    let (mut names, mut taken, mut instances) = (Names::new("group"), Vec::new(), Vec::new());
    let (mut groups, mut places, mut macs) = (Vec::new(), Vec::new(), Vec::new());
    for mut table in top.tables("group", MAX_GROUPS, mistakes) {
        let name = names.read(&mut table, mistakes);
        let guard = read_guard(&mut table, mistakes);
        let has_address = table.value("addresses").is_some_and(|value| !is_empty(value));
        let addresses = read_addresses(&mut table, members, &mut taken, mistakes);
        let callers = Callers::read(&mut table, &addresses, mistakes);
        macs.push(RawMac::read(&mut table, &addresses, mistakes));
        network::seat(&mut table, &addresses, members, networks, mistakes);
        let place = Place::read(&mut table, mistakes);
        let (prefer, home, failback) = read_order(&mut table, &place, members, mistakes);
        let [promise, probe, failure_window] = ["promise", "conflict_probe", "failure_window"]
            .map(|key| table.parsed(key, mistakes, value::span));
        let moves = read_moves(&mut table, &place, prefer.len(), mistakes);
        let services = read_services(&mut table, &name, members, &mut instances, mistakes);
        own::check(&services, &addresses, members, &prefer, mistakes);
        check_content(&table, guard, has_address, table.has("service"), mistakes);
        let is_guarded = watchdog::read_guarded(&mut table, guard, watchdog, mistakes);
        let promise = promise.unwrap_or_else(|| {
            let overshoot = watchdog.filter(|_| is_guarded).map(Watchdog::overshoot);
            let default = safety::default_promise(guard, &services, overshoot, timing);
            Spanned::new(table.span(), default)
        });
        if *promise.get_ref() != timing.promise {
            // The cluster's own promise has been checked where it stands.
            check_promise(&promise, mistakes);
        }
        table.finish(mistakes);
        groups.push(Group {
            name,
            guard,
            watchdog: is_guarded,
            addresses,
            mac: None,
            prefer,
            home,
            failback,
            promise: promise.into_inner(),
            conflict_probe: probe.map_or_else(|| base.conflict_probe(), Spanned::into_inner),
            failure_window: failure_window.map_or(FAILURE_WINDOW, Spanned::into_inner),
            moves,
            services,
            callers,
            with: None,
            apart: GroupSet::EMPTY,
        });
        places.push(place);
    }
    place::resolve(&mut groups, &places, mistakes);
    mac::settle(cluster, &mut groups, &macs, mistakes);
    groups
}

fn read_guard(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Guard {
    table.parsed("guard", mistakes, guard_of).map_or(Guard::Address, Spanned::into_inner)
}

fn guard_of(text: &str) -> Result<Guard, Misfit> {
    match text {
        "address" => Ok(Guard::Address),
        "stop" => Ok(Guard::Stop),
        "fence" => Ok(Guard::Fence),
        _ => Err(unknown_word("guard", text, &["address", "stop", "fence"])),
    }
}

fn is_empty(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::Array(array) if array.iter().next().is_none())
}

/// Notes if a group has nothing to move, or a guard that guards nothing.
fn check_content(
    table: &Table<'_>,
    guard: Guard,
    has_address: bool,
    has_service: bool,
    mistakes: &mut Mistakes,
) {
    if !has_address && !has_service {
        mistakes
            .add(table.span(), "this group is empty")
            .hint("add addresses = [\"10.0.0.100/24\"] or a `[[group.service]]`");
    } else if guard == Guard::Address && !has_address {
        mistakes.add(table.span(), "the guard of this group is its address, and it has none").hint(
            "write guard = \"stop\": the services must have stopped before they start elsewhere",
        );
    } else if guard == Guard::Stop && !has_service {
        mistakes
            .add(table.span(), "the guard of this group is stopping, and it has nothing to stop")
            .hint("leave `guard` out, or add a `[[group.service]]`");
    }
}

fn read_addresses(
    table: &mut Table<'_>,
    members: &Members,
    taken: &mut Vec<Spanned<IpAddr>>,
    mistakes: &mut Mistakes,
) -> Vec<ServiceAddress> {
    let Some(texts) = table.texts("addresses", mistakes) else { return Vec::new() };
    if let Some(text) = texts.get_ref().get(MOST_RESOURCES) {
        mistakes
            .add(text.span(), "too many addresses for one group")
            .label(format!("there can be {MOST_RESOURCES}"));
    }
    let mut addresses = Vec::new();
    for text in texts.get_ref().iter().take(MOST_RESOURCES) {
        let Some(address) = parsed_of(text, "addresses", mistakes, value::service_address) else {
            continue;
        };
        let ip = address.get_ref().ip;
        if let Some(first) = taken.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(text.span(), format!("the service address {ip} is there twice"))
                .label("the second")
                .other(first.span(), "the first");
        } else if let Some(member) = members.addresses.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(text.span(), format!("the service address {ip} is a member's own"))
                .label("a service needs an address of its own")
                .other(member.span(), "the member's");
        } else {
            taken.push(Spanned::new(text.span(), ip));
        }
        addresses.push(address.into_inner());
    }
    addresses
}

/// Reads who may hold a group, where it is at home, and whether it returns; its leader decides if
/// it follows one.
fn read_order(
    table: &mut Table<'_>,
    place: &Place,
    members: &Members,
    mistakes: &mut Mistakes,
) -> (Vec<NodeId>, Option<NodeId>, Failback) {
    if place.follows() {
        return (NodeId::all().take(members.nodes.len()).collect(), None, Failback::Off);
    }
    let prefer = read_prefer(table, members, mistakes);
    let home = prefer.first().filter(|_| table.has("prefer")).copied();
    (prefer, home, read_failback(table, mistakes))
}

fn read_prefer(table: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> Vec<NodeId> {
    let Some(names) = table.texts("prefer", mistakes) else {
        return NodeId::all().take(members.nodes.len()).collect();
    };
    if names.get_ref().is_empty() {
        mistakes
            .add(names.span(), "`prefer` names nobody")
            .hint("name the nodes that may hold the group, or leave the key out for all of them");
    }
    let mut order: Vec<NodeId> = Vec::new();
    for name in names.get_ref() {
        let Some(node) = members.node(name, mistakes) else { continue };
        if order.contains(&node) {
            mistakes.add(name.span(), format!("`prefer` names {:?} twice", name.get_ref()));
        } else {
            order.push(node);
        }
    }
    order
}

fn read_failback(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Failback {
    let hold_off = table.parsed("hold_off", mistakes, value::span);
    let hold_off = hold_off.map_or(HOLD_OFF, Spanned::into_inner);
    let word = table.parsed("failback", mistakes, |text| match text {
        "off" => Ok(Failback::Off),
        "on" => Ok(Failback::After(hold_off)),
        _ => Err(unknown_word("failback", text, &["off", "on"])),
    });
    word.map_or(Failback::Off, Spanned::into_inner)
}

const HOLD_OFF: Duration = Duration::from_millis(300_000);

/// Reads how often a group that `nodes` may hold may move because of failures, if it follows none.
fn read_moves(table: &mut Table<'_>, place: &Place, nodes: usize, mistakes: &mut Mistakes) -> u32 {
    let nodes = if place.follows() { 1 } else { nodes };
    let least = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
    let Some(moves) = table.integer("moves", 1..=1000, mistakes) else { return MOVES.max(least) };
    let number = u32::try_from(*moves.get_ref()).unwrap_or(u32::MAX);
    if number < least {
        mistakes
            .add(moves.span(), format!("`moves` is less than the {least} nodes of this group"))
            .label("each node must be able to try once")
            .hint(format!("write {least} or more, or let `prefer` name fewer nodes"));
    }
    number
}

/// How long failures count.
const FAILURE_WINDOW: Duration = Duration::from_millis(600_000);
/// How often a group may move because of failures.
const MOVES: u32 = 4;
/// How often a service is restarted in place.
const RESTARTS: u32 = 2;

fn read_services(
    table: &mut Table<'_>,
    group: &str,
    members: &Members,
    instances: &mut Vec<Spanned<String>>,
    mistakes: &mut Mistakes,
) -> Vec<Service> {
    let mut names = Names::new("service of this group");
    let mut services = Vec::new();
    for mut table in table.tables("service", MOST_RESOURCES, mistakes) {
        let name = names.read(&mut table, mistakes);
        let agent = agent::read(&mut table, members, mistakes);
        let [start, stop, monitor] = read_commands(&mut table, mistakes);
        let restarts = table.integer("restarts", 0..=1000, mistakes);
        let restarts = restarts
            .map_or(RESTARTS, |number| u32::try_from(number.into_inner()).unwrap_or(RESTARTS));
        let mut limit = |key, default| {
            let span = table.parsed(key, mistakes, value::span);
            span.map_or_else(|| Duration::from_millis(default), Spanned::into_inner)
        };
        let mut service = Service {
            name,
            agent: None,
            convention: Convention::Command,
            environment: Vec::new(),
            start: start.unwrap_or_default(),
            stop: stop.unwrap_or_default(),
            monitor,
            start_limit: limit("start_limit", 10_000),
            stop_limit: limit("stop_limit", 5000),
            monitor_limit: limit("monitor_limit", 5000),
            monitor_interval: limit("monitor_interval", 10_000),
            restarts,
        };
        if let Some(agent) = agent {
            let instance = instance(group, &service.name);
            agent::check_instance(&agent, instance, instances, mistakes);
            let places = Places::default();
            if let Some(program) = agent.kind.programs(&places).first() {
                agent.equip(&mut service, group, program, &places);
            }
            service.agent = Some(agent);
        }
        services.push(service);
        table.finish(mistakes);
    }
    services
}

/// Reads the commands of a service: to start, to stop and to ask it. One without an agent must have
/// the first two.
fn read_commands(table: &mut Table<'_>, mistakes: &mut Mistakes) -> [Option<Vec<String>>; 3] {
    if table.has("agent") {
        return [None, None, None];
    }
    let [has_start, has_stop] = ["start", "stop"].map(|key| table.has(key));
    if !has_start && !has_stop {
        mistakes
            .add(table.span(), "this service has neither commands nor an agent")
            .hint("add `start` and `stop`, or `agent = \"systemd:nginx.service\"`");
    } else if let Some((key, _)) =
        [("start", has_start), ("stop", has_stop)].iter().find(|(_, is_there)| !is_there)
    {
        table.missing(key, "[\"/usr/sbin/service\", \"..\"]", mistakes);
    }
    ["start", "stop", "monitor"].map(|key| read_command(table, key, mistakes))
}

/// Reads a command: an absolute path and arguments.
pub(super) fn read_command(
    table: &mut Table<'_>,
    key: &'static str,
    mistakes: &mut Mistakes,
) -> Option<Vec<String>> {
    let words = table.texts(key, mistakes)?;
    let Some(program) = words.get_ref().first() else {
        mistakes
            .add(words.span(), format!("`{key}` is empty"))
            .hint("write [\"/path/of/program\", \"argument\", ..]");
        return None;
    };
    if !program.get_ref().starts_with('/') {
        mistakes
            .add(program.span(), format!("`{key}` must begin with an absolute path"))
            .label("not absolute")
            .hint("there is no search path and no shell: write \"/usr/bin/..\"");
    }
    if let Some(word) = words.get_ref().iter().find(|word| word.get_ref().contains('\0')) {
        mistakes.add(word.span(), format!("`{key}` has a NUL"));
    }
    Some(words.get_ref().iter().map(|word| (*word.get_ref()).to_owned()).collect())
}
