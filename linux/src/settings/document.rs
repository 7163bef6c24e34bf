//! The top level of the file, and its timing.

use core::net::IpAddr;
use core::ops::Range;
use std::path::PathBuf;

use lifesign_core::config::{MAX_PROMISE_MILLIS, Timing};
use lifesign_core::quorum::{Module, Quorum, QuorumError};
use lifesign_core::time::Duration;
use toml::Spanned;
use toml::de::DeTable;

use super::members::Members;
use super::mistake::{Mistakes, did_you_mean};
use super::profile::Profile;
use super::table::{Misfit, Table};
use super::{Group, Settings, client, members, network, notify, resources, value, watchdog};
use crate::address::lease::{Enforcer, EnforcerChoice};

/// Reads a whole file.
pub(super) fn parse(path: &str, source: &str) -> Result<Settings, Mistakes> {
    let mut mistakes = Mistakes::new(path, source);
    let document = match DeTable::parse(source) {
        Ok(document) => document,
        Err(error) => {
            // What follows the first slip of syntax is guesswork; it alone is shown.
            mistakes.add(error.span().unwrap_or(0..0), error.message());
            return mistakes.or(None);
        }
    };
    let top = Table::new(document.get_ref(), 0..0, "the file");
    let settings = read_top(top, &mut mistakes);
    mistakes.or(settings)
}

fn read_top(mut top: Table<'_>, mistakes: &mut Mistakes) -> Option<Settings> {
    read_version(&mut top, mistakes);
    let cluster = top.required("cluster", "\"web\"", mistakes, value::name);
    let key_file = top.required("key_file", "\"/etc/lifesign/key\"", mistakes, value::path);
    let state_dir = top.parsed("state_dir", mistakes, value::path);
    let control = top.parsed("control", mistakes, value::socket);
    let record = top.parsed("record", mistakes, value::record_bound);
    let profile = top.parsed("profile", mistakes, profile_of);
    let enforcer = top.parsed("enforcer", mistakes, enforcer_of);
    let chain = Chain::read(&mut top, mistakes);
    let members = members::read(&mut top, mistakes);
    let quorum = chain.count(&members, mistakes);
    let base = profile.map_or(Profile::Standard, Spanned::into_inner);
    let table = top.table("timing", mistakes);
    let timing = RawTiming::read(table, base, mistakes);
    let watchdog = watchdog::read(&mut top, &members, mistakes);
    let basis = resources::Basis {
        cluster: cluster.as_ref().map_or("", |cluster| cluster.get_ref()),
        members: &members,
        base,
        timing: &timing,
        watchdog: watchdog.as_ref(),
    };
    let mut networks = network::read(&mut top, &members, mistakes);
    let groups = resources::read(&mut top, &basis, &mut networks, mistakes);
    watchdog::check(watchdog.as_ref(), &groups, &members, mistakes);
    let longest = groups.iter().map(|group| group.promise).max().unwrap_or(timing.promise);
    let complete = timing.complete(longest, mistakes);
    let ping = read_ping(&mut top, &members, &groups, mistakes);
    let notify = notify::read(&mut top, mistakes);
    let clients = client::read(&mut top, &members, mistakes);
    top.finish(mistakes);
    Some(Settings {
        cluster: cluster?.into_inner(),
        key_file: key_file?.into_inner(),
        state_dir: state_dir.map_or_else(|| PathBuf::from(STATE_DIR), Spanned::into_inner),
        control: control.map_or_else(|| PathBuf::from(CONTROL), Spanned::into_inner),
        record: record.map(Spanned::into_inner),
        profile: base,
        enforcer: enforcer.map_or(EnforcerChoice::Auto, Spanned::into_inner),
        quorum: quorum?,
        clock_error: timing.clock_error,
        timing: complete,
        links: members.links,
        watchdog,
        ping,
        networks,
        nodes: members.nodes,
        witnesses: members.witnesses,
        groups,
        notify,
        clients,
    })
}

/// Reads the addresses that are asked whether this network works.
fn read_ping(
    top: &mut Table<'_>,
    members: &Members,
    groups: &[Group],
    mistakes: &mut Mistakes,
) -> Vec<IpAddr> {
    let Some(texts) = top.texts("ping", mistakes) else { return Vec::new() };
    if let Some(text) = texts.get_ref().get(MOST_PINGED) {
        mistakes
            .add(text.span(), "too many addresses to ping")
            .label(format!("there can be {MOST_PINGED}"));
    }
    let mut targets: Vec<Spanned<IpAddr>> = Vec::new();
    for text in texts.get_ref().iter().take(MOST_PINGED) {
        let parsed = super::table::parsed_of(text, "ping", mistakes, value::ping_target);
        let Some(target) = parsed else { continue };
        let ip = *target.get_ref();
        let mut served = groups.iter().flat_map(|group| &group.addresses);
        if let Some(first) = targets.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(target.span(), format!("{ip} is there twice"))
                .label("the second")
                .other(first.span(), "the first");
        } else if let Some(member) = members.addresses.iter().find(|other| *other.get_ref() == ip) {
            mistakes
                .add(target.span(), format!("{ip} is a member's address"))
                .label("it says nothing of the network beyond the cluster")
                .other(member.span(), "there")
                .hint("name a router or a name server");
        } else if served.any(|address| address.ip == ip) {
            mistakes
                .add(target.span(), format!("{ip} is a group's address"))
                .label("whoever holds it would answer itself")
                .hint("name a router or a name server");
        } else {
            targets.push(target);
        }
    }
    targets.into_iter().map(Spanned::into_inner).collect()
}

/// The most addresses that are pinged.
const MOST_PINGED: usize = 8;

const STATE_DIR: &str = "/var/lib/lifesign";
const CONTROL: &str = "/run/lifesign/control";

/// Reads `version`, which every file of ours begins with.
pub(super) fn read_version(top: &mut Table<'_>, mistakes: &mut Mistakes) {
    match top.integer("version", 0..=999, mistakes) {
        Some(version) if *version.get_ref() != 1 => {
            mistakes
                .add(version.span(), format!("version {} is unknown", version.get_ref()))
                .label("this lifesign reads version 1");
        }
        Some(_) => {}
        None if top.value("version").is_none() => top.missing("version", "1", mistakes),
        None => {}
    }
}

/// Returns the profile called `text`.
pub(super) fn profile_of(text: &str) -> Result<Profile, Misfit> {
    let words = Profile::ALL.map(Profile::word);
    let found = Profile::ALL.into_iter().find(|profile| profile.word() == text);
    found.ok_or_else(|| unknown_word("profile", text, &words))
}

fn enforcer_of(text: &str) -> Result<EnforcerChoice, Misfit> {
    if text == "auto" {
        return Ok(EnforcerChoice::Auto);
    }
    let words = Enforcer::ALL.map(|enforcer| enforcer.to_string());
    let found = Enforcer::ALL.into_iter().zip(&words).find(|(_, word)| *word == text);
    found.map(|(enforcer, _)| EnforcerChoice::Only(enforcer)).ok_or_else(|| {
        let known: Vec<&str> =
            ["auto"].into_iter().chain(words.iter().map(String::as_str)).collect();
        unknown_word("enforcer", text, &known)
    })
}

/// Returns the misfit of a word that is none of `words`.
pub(super) fn unknown_word(what: &str, text: &str, words: &[&str]) -> Misfit {
    let known = format!("known are {}", words.join(", "));
    let hint = did_you_mean(text, words.iter().copied()).unwrap_or(known);
    Misfit::new(format!("there is no such {what}"), hint)
}

/// The chain of quorum modules as written.
#[derive(Debug)]
struct Chain {
    span: Range<usize>,
    modules: Option<Vec<Module>>,
    accepts_split_brain: bool,
}

impl Chain {
    fn read(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Self {
        let accepts_split_brain = top.boolean("accept_split_brain", false, mistakes);
        let Some(texts) = top.texts("quorum", mistakes) else {
            let is_absent = top.value("quorum").is_none();
            let modules = is_absent.then(|| vec![Module::Majority]);
            return Self { span: top.span(), modules, accepts_split_brain };
        };
        let count = texts.get_ref().len();
        let span = texts.span();
        let modules: Vec<Module> = texts
            .get_ref()
            .iter()
            .filter_map(|text| super::table::parsed_of(text, "quorum", mistakes, module_of))
            .map(Spanned::into_inner)
            .collect();
        let is_whole = modules.len() == count;
        Self { span, modules: is_whole.then_some(modules), accepts_split_brain }
    }

    /// Counts the votes of `members` with this chain, or notes why that cannot be.
    fn count(self, members: &Members, mistakes: &mut Mistakes) -> Option<Quorum> {
        let modules = self.modules?;
        let votes: Vec<u8> = members.nodes.iter().map(|node| node.votes).collect();
        let witnesses = u8::try_from(members.witnesses.len()).ok()?;
        if votes.is_empty() {
            return None; // a missing node has been noted
        }
        match Quorum::new(&votes, witnesses, &modules, self.accepts_split_brain) {
            Ok(quorum) => Some(quorum),
            Err(error) => {
                let hint = match error {
                    QuorumError::BadChain | QuorumError::UnusedWitness => {
                        Some("write quorum = [\"majority\", \"witness\"]")
                    }
                    QuorumError::NoWitness => Some(
                        "add a `[[witness]]` with a name, or take \"witness\" out of the chain",
                    ),
                    QuorumError::SplitBrainNotAccepted => {
                        Some("safer, with a third machine: quorum = [\"majority\", \"witness\"]")
                    }
                    QuorumError::NoVotes => Some("give a node `votes = 1`"),
                    _ => None,
                };
                mistakes.add(self.span, error.to_string()).maybe_hint(hint.map(str::to_owned));
                None
            }
        }
    }
}

fn module_of(text: &str) -> Result<Module, Misfit> {
    match text {
        "majority" => Ok(Module::Majority),
        "witness" => Ok(Module::Witness),
        "two-nodes" => Ok(Module::TwoNodes),
        _ => Err(unknown_word("quorum module", text, &["majority", "witness", "two-nodes"])),
    }
}

/// The timing as written, completed by the profile, with the places to point at.
#[derive(Debug)]
pub(super) struct RawTiming {
    /// How often a heartbeat is sent.
    pub(super) heartbeat: Duration,
    /// L of groups that do not say otherwise.
    pub(super) promise: Duration,
    /// In millionths.
    pub(super) clock_error: u32,
    dead: Duration,
    settle: Duration,
    dispute: Option<Duration>,
    offer: Option<Duration>,
    longest_promise: Option<Spanned<Duration>>,
}

impl RawTiming {
    fn read(table: Option<Table<'_>>, profile: Profile, mistakes: &mut Mistakes) -> Self {
        let empty = DeTable::new();
        let mut table = table.unwrap_or_else(|| Table::new(&empty, 0..0, "`timing`"));
        let mut span = |key| table.parsed(key, mistakes, value::span);
        let heartbeat = span("heartbeat");
        let dead = span("dead");
        let promise = span("promise");
        let settle = span("settle");
        let dispute = span("dispute");
        let offer = span("offer");
        let longest_promise = span("longest_promise");
        let clock_error = table.parsed("clock_error", mistakes, value::percentage);
        let table_span = table.span();
        table.finish(mistakes);
        let or = |value: &Option<Spanned<Duration>>, default| {
            value.as_ref().map_or(default, |value| *value.get_ref())
        };
        let beat = or(&heartbeat, profile.heartbeat());
        let raw = Self {
            heartbeat: beat,
            promise: or(&promise, profile.promise()),
            clock_error: clock_error.map_or(Profile::CLOCK_ERROR, Spanned::into_inner),
            dead: or(&dead, profile.dead()),
            // Long enough to meet everybody, also where only the heartbeat was made longer.
            settle: or(&settle, profile.settle().max(beat.times(6))),
            dispute: dispute.map(Spanned::into_inner),
            offer: offer.map(Spanned::into_inner),
            longest_promise,
        };
        let place = |written: &Option<Spanned<Duration>>| {
            written
                .as_ref()
                .or(heartbeat.as_ref())
                .map_or_else(|| table_span.clone(), Spanned::span)
        };
        raw.check(place(&heartbeat), place(&dead), mistakes);
        if let Some(promise) = &promise {
            check_promise(promise, mistakes);
        }
        raw
    }

    fn check(&self, heartbeat: Range<usize>, dead: Range<usize>, mistakes: &mut Mistakes) {
        if self.heartbeat < SHORTEST_HEARTBEAT {
            mistakes
                .add(heartbeat, format!("a heartbeat every {} is too much", self.heartbeat))
                .label(format!("must be at least {SHORTEST_HEARTBEAT}"));
        }
        if self.dead < self.heartbeat.times(2) {
            mistakes
                .add(dead, "the dead time must be at least two heartbeats")
                .label(format!("dead is {}, heartbeat is {}", self.dead, self.heartbeat))
                .hint(format!("write dead = \"{}\" or more", written(self.heartbeat.times(2))));
        }
    }

    /// Returns the timing with `longest` as the longest promise that a group asks for.
    fn complete(&self, longest: Duration, mistakes: &mut Mistakes) -> Timing {
        let longest_promise = match &self.longest_promise {
            None => longest,
            Some(span) => {
                check_promise(span, mistakes);
                if *span.get_ref() < longest {
                    mistakes
                        .add(span.span(), "the longest promise is shorter than a group's")
                        .label(format!("a group asks for {longest}"));
                }
                *span.get_ref()
            }
        };
        Timing {
            heartbeat: self.heartbeat,
            dead: self.dead,
            longest_promise,
            settle: self.settle,
            dispute: self.dispute.unwrap_or_else(|| self.dead.times(3)),
            offer: self.offer.unwrap_or_else(|| self.heartbeat.times(20).max(SHORTEST_OFFER)),
        }
    }
}

const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(1);
const SHORTEST_OFFER: Duration = Duration::from_millis(1000);

/// Notes if `promise` does not fit a frame.
pub(super) fn check_promise(promise: &Spanned<Duration>, mistakes: &mut Mistakes) {
    let span = *promise.get_ref();
    if !span.as_micros().is_multiple_of(1000) || span.as_millis() > MAX_PROMISE_MILLIS {
        mistakes
            .add(promise.span(), "a promise of this length fits no frame")
            .label(format!("must be whole milliseconds, at most {MAX_PROMISE_MILLIS} ms"));
    }
}

/// Returns a span as it would stand in the file.
pub(crate) fn written(span: Duration) -> String {
    match span.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1000 == 0 => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    }
}
