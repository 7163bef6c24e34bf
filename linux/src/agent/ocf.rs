//! The environment and the exit codes of the Open Cluster Framework's resource agents, version 1.0.
//!
//! Without `OCF_ROOT` an agent ends with code 2. Spans are in milliseconds, as agents expect them.

use lifesign_core::time::Duration;

use super::{Action, Parameter, Places};

/// Returns the environment of an agent, whatever it is asked.
#[must_use]
pub fn environment(
    provider: &str,
    name: &str,
    instance: &str,
    parameters: &[Parameter],
    places: &Places,
) -> Vec<(String, String)> {
    let own = [
        ("OCF_RA_VERSION_MAJOR", "1"),
        ("OCF_RA_VERSION_MINOR", "0"),
        ("OCF_RESOURCE_INSTANCE", instance),
        ("OCF_RESOURCE_TYPE", name),
        ("OCF_RESOURCE_PROVIDER", provider),
        ("OCF_CHECK_LEVEL", "0"),
    ];
    let told = parameters
        .iter()
        .map(|parameter| (format!("OCF_RESKEY_{}", parameter.name), parameter.value.clone()));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    surroundings(places).into_iter().chain(own).chain(told).collect()
}

/// Returns what agents and scripts of Linux-HA are told of the machine.
#[must_use]
pub fn surroundings(places: &Places) -> Vec<(String, String)> {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    [
        ("OCF_ROOT", path(&places.ocf_root)),
        ("HA_RSCTMP", path(&places.temporary)),
        // They write to standard error then, which ends up in the daemon's log.
        ("HA_LOGFACILITY", "none".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Returns what an agent is told of one call.
#[must_use]
pub fn call(action: Action, limit: Duration, interval: Duration) -> Vec<(String, String)> {
    let interval = if action == Action::Monitor { interval.as_millis() } else { 0 };
    [
        ("__OCF_ACTION", action.word().to_owned()),
        ("OCF_RESKEY_CRM_meta_name", action.word().to_owned()),
        ("OCF_RESKEY_CRM_meta_timeout", limit.as_millis().to_string()),
        ("OCF_RESKEY_CRM_meta_interval", interval.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// It did what it was asked; the service runs.
pub const SUCCESS: i32 = 0;
/// The service does not run, and nothing is left of it.
pub const NOT_RUNNING: i32 = 7;
/// The service runs, and not as well as it should.
pub const DEGRADED: i32 = 190;

/// Returns the name of an exit code, with its number.
#[must_use]
pub fn name(code: i32) -> String {
    let name = match code {
        SUCCESS => "running",
        1 => "generic error",
        2 => "wrong arguments",
        3 => "not implemented",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        NOT_RUNNING => "not running",
        8 => "promoted, which nobody asked for",
        9 => "failed as promoted",
        DEGRADED => "degraded",
        191 => "degraded as promoted",
        _ => return format!("exit status {code}"),
    };
    format!("{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_have_names() {
        assert_eq!(name(5), "not installed (5)");
        assert_eq!(name(NOT_RUNNING), "not running (7)");
        assert_eq!(name(99), "exit status 99");
    }
}
