//! The watchdogs of the servers: what ends a machine that does not stop in time.

use core::ops::Range;
use std::path::{Path, PathBuf};

use lifesign_core::group::Guard;
use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use lifesign_core::watchdog::overshoot;
use toml::Spanned;
use toml::de::DeValue;

use super::members::Members;
use super::mistake::Mistakes;
use super::table::{Misfit, Table, parsed_of};
use super::{Group, value};

/// The watchdogs, one on each server that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The device of each node, by the node's id, if it has one.
    pub devices: Vec<Option<PathBuf>>,
    /// W: how long after its last feed the device resets the machine. Whole seconds.
    pub timeout: Duration,
    /// F: how long it may take from there until the machine is silent.
    pub reset_limit: Duration,
    /// Whether a node without an armed watchdog leaves the groups alone that need one.
    pub required: bool,
    /// Where the table begins in the file.
    span: Range<usize>,
}

impl Watchdog {
    /// Returns the device of `node`, if it has one.
    #[must_use]
    pub fn device(&self, node: NodeId) -> Option<&Path> {
        self.devices.get(node.index())?.as_deref()
    }

    /// Returns K of a group whose end it enforces: 2 W + F.
    #[must_use]
    pub fn overshoot(&self) -> Duration {
        overshoot(self.timeout, self.reset_limit)
    }
}

/// Reads `[watchdog]`, if it is there.
pub(super) fn read(
    top: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Option<Watchdog> {
    let mut table = top.table("watchdog", mistakes)?;
    let span = table.span();
    let devices = read_devices(&mut table, members, mistakes);
    let timeout = table.parsed("timeout", mistakes, timeout_of);
    let reset_limit = table.parsed("reset_limit", mistakes, value::span);
    let required = table.boolean("required", true, mistakes);
    table.finish(mistakes);
    Some(Watchdog {
        devices,
        timeout: timeout.map_or(TIMEOUT, Spanned::into_inner),
        reset_limit: reset_limit.map_or(RESET_LIMIT, Spanned::into_inner),
        required,
        span,
    })
}

/// W where the file does not say.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(5000);
/// F where the file does not say.
pub(crate) const RESET_LIMIT: Duration = Duration::from_millis(500);
/// The longest W.
const LONGEST: Duration = Duration::from_millis(600_000);
/// What is shown to whoever has to name a device.
const EXAMPLE: &str = "\"/dev/watchdog\"";

fn timeout_of(text: &str) -> Result<Duration, Misfit> {
    let timeout = value::span(text)?;
    if timeout.as_micros().is_multiple_of(1_000_000) && timeout <= LONGEST {
        return Ok(timeout);
    }
    Err(Misfit::new(
        "drivers count whole seconds, and none of use more than ten minutes",
        "write \"5s\", or \"1s\" for the shortest failover",
    ))
}

/// Returns the device of each node: the same for all, or each node's own.
fn read_devices(
    table: &mut Table<'_>,
    members: &Members,
    mistakes: &mut Mistakes,
) -> Vec<Option<PathBuf>> {
    let mut devices = vec![None; members.nodes.len()];
    match table.value("device") {
        None => table.missing("device", EXAMPLE, mistakes),
        Some(value) if matches!(value.get_ref(), DeValue::Table(_)) => {
            let Some(named) = table.table("device", mistakes) else { return devices };
            for (name, text) in named.named_texts(mistakes) {
                let device = parsed_of(&text, "device", mistakes, device_of);
                if let Some(node) = members.node(&name, mistakes)
                    && let Some(own) = devices.get_mut(node.index())
                {
                    *own = device.map(Spanned::into_inner);
                }
            }
        }
        Some(_) => {
            let device = table.parsed("device", mistakes, device_of);
            devices.fill(device.map(Spanned::into_inner));
        }
    }
    devices
}

fn device_of(text: &str) -> Result<PathBuf, Misfit> {
    let misfit = |why: &str| Misfit::new(why, format!("write {EXAMPLE}"));
    if text.contains(char::is_control) {
        Err(misfit("a device's path has no such letters"))
    } else if !text.starts_with('/') || text.ends_with('/') {
        Err(misfit("not the absolute path of a device"))
    } else {
        value::path(text)
    }
}

/// Returns the device that `text` is, or what is wrong with it.
pub(crate) fn device_said(text: &str) -> Result<PathBuf, String> {
    device_of(text).map_err(Misfit::into_said)
}

/// Reads whether the watchdog ends a machine that does not stop the group of `table` in time: with
/// `guard = "stop"` it does unless the file says otherwise.
pub(super) fn read_guarded(
    table: &mut Table<'_>,
    guard: Guard,
    watchdog: Option<&Watchdog>,
    mistakes: &mut Mistakes,
) -> bool {
    let is_guarded = table.boolean("watchdog", guard == Guard::Stop, mistakes);
    if is_guarded && watchdog.is_none() && table.has("watchdog") {
        mistakes
            .add(table.span(), "this group wants a watchdog, and there is none")
            .hint(format!("add a table `[watchdog]` with device = {EXAMPLE}"));
    }
    is_guarded && watchdog.is_some()
}

/// Notes which nodes could never take a group, because it requires a watchdog that they lack.
pub(super) fn check(
    watchdog: Option<&Watchdog>,
    groups: &[Group],
    members: &Members,
    mistakes: &mut Mistakes,
) {
    let Some(watchdog) = watchdog.filter(|watchdog| watchdog.required) else { return };
    let needs = |node| groups.iter().find(|group| group.watchdog && group.prefer.contains(&node));
    for (node, name) in members.node_ids() {
        // Where the key itself is wrong, nobody has a device.
        let has_some = watchdog.devices.iter().any(Option::is_some);
        if let Some(group) = needs(node).filter(|_| has_some && watchdog.device(node).is_none()) {
            mistakes
                .add(watchdog.span.clone(), format!("node {name:?} has no watchdog"))
                .label(format!("group {:?} may run there and requires one", group.name))
                .hint("add its `device`, leave it out of `prefer`, or write required = false");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::tests::EXAMPLE as FILE;

    fn parse(table: &str, guard: &str) -> Result<Settings, String> {
        let source = FILE
            .replace("[[group]]", &format!("[watchdog]\n{table}\n[[group]]"))
            .replace("guard = \"address\"", guard);
        Settings::parse("test.toml", &source).map_err(|mistakes| mistakes.to_string())
    }

    const STOP: &str = "guard = \"stop\"";

    #[test]
    fn a_device_is_enough_and_the_rest_has_defaults() {
        let settings = parse("device = \"/dev/watchdog\"", STOP).unwrap();
        let watchdog = settings.watchdog.as_ref().unwrap();
        let beta = settings.node("beta").unwrap();
        assert_eq!(watchdog.device(beta), Some(Path::new("/dev/watchdog")));
        assert_eq!((watchdog.timeout, watchdog.reset_limit), (TIMEOUT, RESET_LIMIT));
        assert_eq!(watchdog.overshoot(), Duration::from_millis(10_500));
        assert!(watchdog.required && settings.groups[0].watchdog);
        let address = parse("device = \"/dev/watchdog\"", "guard = \"address\"").unwrap();
        assert!(!address.groups[0].watchdog, "the kernel lease is enough for addresses");
        let wanted = parse("device = \"/dev/watchdog\"", "watchdog = true").unwrap();
        assert!(wanted.groups[0].watchdog);
        let unwanted = parse("device = \"/dev/watchdog\"", &format!("{STOP}\nwatchdog = false"));
        assert!(!unwanted.unwrap().groups[0].watchdog);
    }

    #[test]
    fn each_node_may_have_a_device_of_its_own() {
        let own = "device = { alpha = \"/dev/watchdog1\", beta = \"/dev/watchdog0\" }";
        let settings = parse(own, STOP).unwrap();
        let devices = &settings.watchdog.as_ref().unwrap().devices;
        let named = |device: &Option<PathBuf>| device.as_ref().unwrap().display().to_string();
        let named: Vec<String> = devices.iter().map(named).collect();
        assert_eq!(named, ["/dev/watchdog1", "/dev/watchdog0"]);
        let one = "device = { alpha = \"/dev/watchdog1\" }";
        let said = parse(one, STOP).unwrap_err();
        assert!(said.contains("node \"beta\" has no watchdog"), "{said}");
        assert!(parse(&format!("{one}\nrequired = false"), STOP).is_ok());
        assert!(parse(one, "guard = \"address\"").is_ok(), "nobody needs it there");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (table, expected) in [
            ("", "has no `device`"),
            ("device = \"watchdog\"", "not the absolute path of a device"),
            ("device = \"/dev/watchdog\"\ntimeout = \"1500ms\"", "drivers count whole seconds"),
            ("device = \"/dev/watchdog\"\ntimeout = \"1h\"", "none of use more than ten minutes"),
            ("device = \"/dev/watchdog\"\ntimeout = 5", "put it in quotes, with its unit"),
            ("device = \"/dev/watchdog\"\nrequired = \"yes\"", "must be true or false"),
            ("device = \"/dev/watchdog\"\ntime_out = \"5s\"", "unknown key `time_out`"),
            ("device = { gamma = \"/dev/watchdog\" }", "gamma"),
        ] {
            let said = parse(table, STOP).unwrap_err();
            assert!(said.contains(expected), "{table}: {said}");
        }
        let source = FILE.replace("guard = \"address\"", "watchdog = true");
        let said = Settings::parse("test.toml", &source).unwrap_err().to_string();
        assert!(said.contains("this group wants a watchdog, and there is none"), "{said}");
    }
}
